#include "directory/index.h"

#include <stdlib.h>

#include "base/mem.h"
#include "directory/map.h"

enum { SQUEEZE_MIN = 16 };                     /* dead entries worth squeezing out */

struct index_term {
	UT_hash_handle hh;
	struct posting posting;
	size_t n_text;
	uint8_t text[];
};

size_t posting_seek(const struct posting *p, uint64_t after)
{
	size_t lo = 0, hi = p->n;

	if (hi && p->e[hi - 1].order <= after)
		return hi;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (p->e[mid].order > after)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static void posting_insert(struct posting *p, uint64_t order, struct registration *reg)
{
	size_t at = posting_seek(p, order - 1);

	if (at < p->n && p->e[at].order == order) {    /* there already, or its own old place */
		p->n_dead -= !p->e[at].reg;
		p->e[at].reg = reg;
		return;
	}
	if (at > 0 && !p->e[at - 1].reg) {
		p->e[at - 1] = (struct posting_entry){ order, reg };
		p->n_dead--;
		return;
	}
	if (p->n == p->cap) {
		p->cap = p->cap ? p->cap + p->cap / 2 + 1 : 1;
		p->e = mem_resize(p->e, p->cap, sizeof(*p->e));
	}
	memmove(p->e + at + 1, p->e + at, (p->n - at) * sizeof(*p->e));
	p->e[at] = (struct posting_entry){ order, reg };
	p->n++;
}

static void posting_squeeze(struct posting *p)
{
	size_t out = 0;

	for (size_t i = 0; i < p->n; i++)
		if (p->e[i].reg)
			p->e[out++] = p->e[i];
	p->n = out;
	p->n_dead = 0;
	p->cap = out ? out : 1;
	p->e = mem_resize(p->e, p->cap, sizeof(*p->e));
}

static bool posting_delete(struct posting *p, uint64_t order)
{
	size_t at = posting_seek(p, order - 1);

	if (at >= p->n || p->e[at].order != order || !p->e[at].reg)
		return false;
	p->e[at].reg = NULL;
	p->n_dead++;
	while (p->n && !p->e[p->n - 1].reg) {
		p->n--;
		p->n_dead--;
	}
	if (p->n_dead >= SQUEEZE_MIN && p->n_dead > p->n / 2)
		posting_squeeze(p);
	return true;
}

int index_name_parse(struct span name)
{
	static const char *const names[INDEX_NAME_COUNT] = {
		[INDEX_EP] = "ep", [INDEX_D] = "d", [INDEX_RT] = "rt", [INDEX_IF] = "if", [INDEX_ET] = "et",
	};

	for (int i = 0; i < INDEX_NAME_COUNT; i++)
		if (span_eq_str(name, names[i]))
			return i;
	return -1;
}

void index_done(struct index *ix)
{
	struct index_term *t, *tmp;

	for (int i = 0; i < INDEX_NAME_COUNT; i++)
		HASH_ITER(hh, ix->terms[i], t, tmp) {
			HASH_DEL(ix->terms[i], t);
			free(t->posting.e);
			free(t);
		}
	free(ix->all.e);
	*ix = (struct index){ 0 };
}

void index_add_all(struct index *ix, uint64_t order, struct registration *reg)
{
	posting_insert(&ix->all, order, reg);
	ix->all.generation = ++ix->generation;
}

void index_remove_all(struct index *ix, uint64_t order)
{
	(void)posting_delete(&ix->all, order); /* not there: nothing to do */
	ix->all.generation = ++ix->generation;
}

static struct index_term *term_find(const struct index *ix, enum index_name name, struct span value)
{
	struct index_term *t;

	HASH_FIND(hh, ix->terms[name], value.n ? (const void *)value.p : "", value.n, t);
	return t;
}

void index_add(struct index *ix, enum index_name name, struct span value, uint64_t order, struct registration *reg)
{
	struct index_term *t = term_find(ix, name, value);

	if (!t) {
		t = mem_new(1, sizeof(*t) + value.n);
		t->n_text = value.n;
		if (value.n)
			memcpy(t->text, value.p, value.n);
		HASH_ADD_KEYPTR(hh, ix->terms[name], t->text, t->n_text, t);
	}
	posting_insert(&t->posting, order, reg);
	t->posting.generation = ++ix->generation;
}

void index_remove(struct index *ix, enum index_name name, struct span value, uint64_t order)
{
	struct index_term *t = term_find(ix, name, value);

	if (!t || !posting_delete(&t->posting, order))
		return;
	t->posting.generation = ++ix->generation;
	if (posting_count(&t->posting))
		return;
	HASH_DEL(ix->terms[name], t);
	free(t->posting.e);
	free(t);
}

const struct posting *index_get(const struct index *ix, enum index_name name, struct span value)
{
	const struct index_term *t = term_find(ix, name, value);

	return t ? &t->posting : NULL;
}

void index_each_prefix(const struct index *ix, enum index_name name, struct span prefix,
		       void (*fn)(void *ctx, const struct posting *p), void *ctx)
{
	for (const struct index_term *t = ix->terms[name]; t; t = t->hh.next)
		if (span_starts(SPAN(t->text, t->n_text), prefix))
			fn(ctx, &t->posting);
}
