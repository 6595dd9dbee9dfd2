#include "trust/freshness.h"

#include <errno.h>

const char *freshness_name(enum freshness f)
{
	switch (f) {
	case FRESHNESS_FIRST:
		return "first";
	case FRESHNESS_NEWER:
		return "newer";
	case FRESHNESS_SAME:
		return "same";
	case FRESHNESS_ROLLBACK:
		return "rollback";
	case FRESHNESS_EQUIVOCATION:
		return "equivocation";
	}
	return "";
}

static void set_component(struct freshness_entry *e, struct span id)
{
	if (id.n > sizeof(e->component)) {
		struct digest d = digest_of(id);
		memcpy(e->component, d.b, sizeof(d.b));
		e->n_component = sizeof(d.b);
		return;
	}
	if (id.n)
		memcpy(e->component, id.p, id.n);
	e->n_component = (uint8_t)id.n;
}

/* Ids that are no UUID (a PEN, tag 112) are told apart by the first half of their SHA-256. */
static void set_id(uint8_t ret[static 16], struct span id)
{
	if (id.n == 16) {
		memcpy(ret, id.p, 16);
	} else if (id.n) {
		struct digest d = digest_of(id);
		memcpy(ret, d.b, 16);
	}
}

bool freshness_same_key(const struct freshness_entry *a, const struct freshness_entry *b)
{
	return memcmp(a->vendor_id, b->vendor_id, 16) == 0 && memcmp(a->class_id, b->class_id, 16) == 0 &&
	       span_eq(SPAN(a->component, a->n_component), SPAN(b->component, b->n_component));
}

static int add(struct freshness_entry *ret, int n, const struct freshness_entry *e)
{
	for (int i = 0; i < n; i++) {
		if (freshness_same_key(&ret[i], e))
			return n;
	}
	if (n >= FRESHNESS_ENTRIES_MAX)
		return -E2BIG;
	ret[n] = *e;
	return n + 1;
}

/* Every vendor with every class of one component; an absent list counts as one empty id. */
static int add_component(const struct suit_component *c, const struct freshness_entry *like, struct freshness_entry *ret, int n)
{
	for (size_t v = 0; v < (c->n_vendor_id ? c->n_vendor_id : 1) && n >= 0; v++) {
		for (size_t k = 0; k < (c->n_class_id ? c->n_class_id : 1) && n >= 0; k++) {
			struct freshness_entry e = *like;
			set_id(e.vendor_id, c->n_vendor_id ? c->vendor_id[v] : SPAN_NONE);
			set_id(e.class_id, c->n_class_id ? c->class_id[k] : SPAN_NONE);
			n = add(ret, n, &e);
		}
	}
	return n;
}

int freshness_entries(const struct suit_manifest *m, const struct digest *manifest_digest,
		      struct freshness_entry ret[static FRESHNESS_ENTRIES_MAX])
{
	static const struct suit_component none;
	struct freshness_entry like = { .sequence = m->sequence, .manifest = *manifest_digest };
	int n = 0;

	set_component(&like, m->root_component);
	if (m->n_components == 0)
		return add_component(&none, &like, ret, n);
	for (size_t i = 0; i < m->n_components && n >= 0; i++)
		n = add_component(&m->components[i], &like, ret, n);
	return n;
}

enum freshness freshness_compare(const struct freshness_entry *seen, size_t n_seen, const struct freshness_entry *entry)
{
	enum freshness result = FRESHNESS_FIRST;

	for (size_t i = 0; i < n_seen; i++) {
		if (!freshness_same_key(&seen[i], entry))
			continue;
		if (entry->sequence < seen[i].sequence)
			return FRESHNESS_ROLLBACK;
		if (entry->sequence == seen[i].sequence && !digest_eq(&entry->manifest, &seen[i].manifest))
			return FRESHNESS_EQUIVOCATION;
		if (entry->sequence == seen[i].sequence)
			result = FRESHNESS_SAME;
		else if (result == FRESHNESS_FIRST)
			result = FRESHNESS_NEWER;
	}
	return result;
}
