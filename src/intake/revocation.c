/* Revocation objects in hand: loaded, fetched again before they grow old, handed to every judgement. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/text.h"
#include "intake/internal.h"
#include "trust/revocation.h"

static const int64_t BLOB_AGE_MS = 60LL * 86400 * 1000;

enum { FAILED_LOOK_MS = 5000, REFRESH_MIN_MS = 1000, CANDIDATE_TRIES_MAX = 3 };

struct rev_blob *blob_ref(struct rev_blob *b)
{
	atomic_fetch_add(&b->refs, 1);
	return b;
}

void blob_unref(struct rev_blob *b)
{
	if (b && atomic_fetch_sub(&b->refs, 1) == 1) {
		free(b->der);
		free(b);
	}
}

static struct rev_blob *blob_put(struct intake *in, enum revocation_kind kind, const char *key, const char *url, struct span der, struct wall at)
{
	struct rev_blob *old, *b = NEW(struct rev_blob);

	atomic_init(&b->refs, 1);
	b->kind = kind;
	b->fetched_at = at;
	b->der = mem_new(der.n, 1);
	b->n = der.n;
	memcpy(b->der, der.p, der.n);
	(void)text_copy(b->key, sizeof(b->key), span_str(key));        /* digests in hex */
	(void)text_copy(b->url, sizeof(b->url), span_sub(span_str(url), 0, sizeof(b->url) - 1));
	HASH_FIND_STR(in->blobs, b->key, old);
	if (old) {
		HASH_DEL(in->blobs, old);
		blob_unref(old);
	}
	HASH_ADD_STR(in->blobs, key, b);
	return b;
}

static int on_load(void *ctx, const struct revocation_row *row)
{
	if (row->kind == REVOCATION_CRL || row->kind == REVOCATION_OCSP)
		(void)blob_put(ctx, (enum revocation_kind)row->kind, row->key, row->url, row->der, row->fetched_at);
	return 0;
}

void blobs_load(struct intake *in)
{
	int r = revocation_store_load(in->c.db, on_load, in);

	if (r < 0)
		log_event(EV_STORE_FAILED, LOG_ERR, "stored revocation status cannot be read (%s); it is fetched again", strerror(-r));
}

void blobs_free(struct intake *in)
{
	struct rev_blob *b, *tmp;

	HASH_ITER(hh, in->blobs, b, tmp) {
		HASH_DEL(in->blobs, b);
		blob_unref(b);
	}
}

static bool entry_needs(const struct entry *e, const char *key);

/* What was not fetched for long and is asked for by no update that is kept. */
void blobs_prune(struct intake *in)
{
	struct rev_blob *b, *b_tmp;
	struct entry *e, *e_tmp;
	int64_t limit_ms = wall_now().ms - BLOB_AGE_MS;

	HASH_ITER(hh, in->blobs, b, b_tmp) {
		bool is_needed = b->is_file || b->fetched_at.ms > limit_ms;
		HASH_ITER(hh, in->entries, e, e_tmp)
			is_needed |= !is_needed && entry_needs(e, b->key);
		if (is_needed)
			continue;
		revocation_store_delete(in->c.db, b->key, NULL, NULL);
		HASH_DEL(in->blobs, b);
		blob_unref(b);
	}
}

void intake_add_revocation_file(struct intake *in, enum revocation_kind kind, const char *name, struct span der)
{
	char key[DIGEST_HEX_BYTES];
	struct digest d = digest_of2(span_str("file:"), span_str(name));

	blob_put(in, kind, digest_hex(&d, key), "", der, wall_now())->is_file = true;
}

void floor_raise(struct intake *in, struct wall proof)
{
	char text[24];

	if (!wall_before(in->floor, proof))
		return;
	in->floor = proof;
	(void)snprintf(text, sizeof(text), "%lld", (long long)proof.ms); /* fits */
	kv_store_put(in->c.db, "clock_floor_ms", span_str(text), NULL, NULL);
}

/* ---- taking a fetched object in: checked on a worker against what it must be about (RV-10) ---- */

typedef void blob_taken_fn(void *ctx, const char *key, int result);    /* 1 new, 0 as before, < 0 refused (already logged) */

struct take_job {
	struct intake *intake;
	struct revocation_need need;           /* copied: what it must answer */
	uint8_t *der;
	size_t n;
	struct rev_blob *stored;
	struct wall now;
	bool clock_bad;
	struct revocation_object_info info;
	int result;
	blob_taken_fn *done;
	void *ctx;
};

static void take_work(void *arg)
{
	struct take_job *t = arg;

	t->result = revocation_object_check(&t->need, t->now, t->clock_bad, SPAN(t->der, t->n),
					    t->stored ? SPAN(t->stored->der, t->stored->n) : SPAN_NONE, &t->info);
}

static void say_failed(const char *url, const char *why)
{
	log_fields(EV_REVOCATION_FAILED, LOG_WARNING, ({ "GW_REASON", why }), "revocation status from %s: %s; the last good one is kept", url, why);
}

static void take_done(void *arg)
{
	struct take_job *t = arg;
	struct intake *in = t->intake;

	const struct revocation_need *need = &t->need;

	if (t->result >= 0) {
		struct wall now = wall_now();
		(void)blob_put(in, need->kind, need->key, need->url, SPAN(t->der, t->n), now);
		revocation_store_put(in->c.db, &(struct revocation_row){ .key = need->key, .url = need->url, .kind = need->kind,
									 .der = SPAN(t->der, t->n), .fetched_at = now }, NULL, NULL);
		log_event(EV_REVOCATION_NEW, LOG_DEBUG, "revocation status from %s: %s", need->url, t->result == 0 ? "new" : "unchanged");
	} else {
		say_failed(need->url, t->info.why[0] ? t->info.why : strerror(-t->result));
	}
	t->done(t->ctx, need->key, t->result < 0 ? t->result : t->result == 0);
	blob_unref(t->stored);
	free(t->der);
	free(t);
}

static void blob_take(struct intake *in, const struct revocation_need *need, struct span der, blob_taken_fn *done, void *ctx)
{
	struct take_job *t = NEW(struct take_job);
	struct rev_blob *old;

	HASH_FIND_STR(in->blobs, need->key, old);
	*t = (struct take_job){ .intake = in, .need = *need, .n = der.n, .stored = old ? blob_ref(old) : NULL, .result = -ECANCELED,
				.done = done, .ctx = ctx };
	t->now = intake_clock(in, &t->clock_bad);
	t->der = mem_new(der.n, 1);
	if (der.n)
		memcpy(t->der, der.p, der.n);
	if (worker_submit(in->c.workers, take_work, take_done, t) < 0) {
		t->result = -EBUSY;
		take_done(t);
	}
}

/* ---- candidates: wait for what the verdict lacks ---- */

struct candidate_need {
	struct candidate *candidate;
	struct revocation_need need;
};

static void on_candidate_taken(void *ctx, const char *key, int result)
{
	struct candidate *c = ctx;

	(void)key;
	if (result >= 0)
		c->got_any = true;
	if (--c->n_waiting > 0)
		return;
	struct judge_job *j = c->verdict;
	c->verdict = NULL;
	if (c->got_any) {
		judge_free(j);
		candidate_judge(c);
	} else {
		candidate_conclude(c, j);
	}
}

static void on_candidate_need(void *ctx, const char *key, int error, const char *text, struct span der)
{
	struct candidate_need *w = ctx;
	struct candidate *c = w->candidate;

	if (error == 0) {
		blob_take(c->intake, &w->need, der, on_candidate_taken, c);
	} else {
		say_failed(w->need.url, text);
		on_candidate_taken(c, key, error);
	}
	free(w);
}

bool candidate_fetch_needs(struct intake *in, struct candidate *c, const struct verdict *v)
{
	if (c->tries++ >= CANDIDATE_TRIES_MAX)
		return false;
	c->got_any = false;
	for (size_t i = 0; i < v->n_needs; i++) {
		const struct revocation_need *n = &v->needs[i];
		if (n->refresh_at.ms > wall_now().ms)
			continue;
		struct candidate_need *w = NEW(struct candidate_need);
		w->candidate = c;
		w->need = *n;
		if (revocation_source_get(in->c.revocation, n->key, n->url, SPAN(n->ocsp_request, n->n_ocsp_request), c->tries == 1,
					  on_candidate_need, w) < 0)
			free(w);
		else
			c->n_waiting++;
	}
	return c->n_waiting > 0;
}

/* ---- entries: refreshed while they live ---- */

void entry_set_needs(struct intake *in, struct entry *e, const struct verdict *v)
{
	struct mono now = mono_now();
	int64_t wall_ms = wall_now().ms, in_ms = (int64_t)in->c.refresh_max_s * 1000;

	/* Also without anything to fetch: certificates and lists brought by hand run out. */
	free(e->needs);
	e->n_needs = v->n_needs;
	e->needs = NEW_N(struct revocation_need, v->n_needs);
	memcpy(e->needs, v->needs, v->n_needs * sizeof(*v->needs));
	for (size_t i = 0; i < v->n_needs; i++)
		if (v->needs[i].refresh_at.ms - wall_ms < in_ms)
			in_ms = v->needs[i].refresh_at.ms - wall_ms;
	if ((v->outcome != TRUST_ACCEPTED || in_ms <= 0) && in_ms < FAILED_LOOK_MS)
		in_ms = FAILED_LOOK_MS; /* overdue means that it failed just now */
	if (in_ms < REFRESH_MIN_MS)
		in_ms = REFRESH_MIN_MS;
	in_ms += (int64_t)random_below((uint64_t)in_ms / 10 + 1);
	e->refresh_at = mono_add_ms(now, in_ms);
	intake_wake(in, in_ms);
}

static bool entry_needs(const struct entry *e, const char *key)
{
	for (size_t i = 0; i < e->n_needs; i++)
		if (strcmp(e->needs[i].key, key) == 0)
			return true;
	return false;
}

struct entry_need {
	struct intake *intake;
	char id[UPDATE_ID_BYTES];
	struct revocation_need need;
};

/* Whatever came of it, judge again: a fresh answer may revoke, a missing one may have let the old one grow stale. */
static void on_entry_taken(void *ctx, const char *key, int result)
{
	struct entry_need *w = ctx;
	struct intake *in = w->intake;
	struct entry *e, *tmp;

	if (result > 0)
		HASH_ITER(hh, in->entries, e, tmp)
			if (entry_needs(e, key))
				entry_judge_again(in, e);
	e = entry_find(in, w->id);
	if (e)
		entry_judge_again(in, e);
	free(w);
}

static void on_entry_need(void *ctx, const char *key, int error, const char *text, struct span der)
{
	struct entry_need *w = ctx;
	struct entry *e = entry_find(w->intake, w->id);

	if (error == 0 && e) {
		blob_take(w->intake, &w->need, der, on_entry_taken, w);
		return;
	}
	if (error != -EAGAIN && error < 0)
		say_failed(w->need.url, text);
	on_entry_taken(w, key, error);
}

void entry_refresh(struct intake *in, struct entry *e, bool force)
{
	size_t n_asked = 0;

	e->refresh_at.ms = 0; /* set again by the next verdict */
	for (size_t i = 0; i < e->n_needs; i++) {
		const struct revocation_need *n = &e->needs[i];
		struct entry_need *w = NEW(struct entry_need);
		w->intake = in;
		w->need = *n;
		memcpy(w->id, e->u.id, sizeof(w->id));
		if (revocation_source_get(in->c.revocation, n->key, n->url, SPAN(n->ocsp_request, n->n_ocsp_request), force,
					  on_entry_need, w) < 0)
			free(w);
		else
			n_asked++;
	}
	if (n_asked == 0)
		entry_judge_again(in, e);
}
