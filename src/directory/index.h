/* directory/index.h - which registrations hold an attribute: one posting list per (name, value),
 * in registration order, so that a lookup by an indexed attribute touches its matches and nothing else.
 *
 * Lists borrow registrations. Every change of a list, and of a registration in it, gives the list
 * a new generation number, never used before: an answer made from a list holds while that stays. */
#pragma once
#include "base/span.h"

struct registration;

enum index_name { INDEX_EP, INDEX_D, INDEX_RT, INDEX_IF, INDEX_ET, INDEX_NAME_COUNT };

struct posting_entry {
	uint64_t order;
	struct registration *reg;              /* NULL = left; its place is used again or squeezed out */
};

struct posting {
	struct posting_entry *e;
	size_t n, n_dead, cap;
	uint64_t generation;
};

struct index_term;

struct index {
	struct posting all;                    /* every visible registration */
	struct index_term *terms[INDEX_NAME_COUNT];
	uint64_t generation;                   /* the last one given out */
};

void index_done(struct index *ix);
/* The index of a name, or -1 when it has none. */
int index_name_parse(struct span name);

void index_add_all(struct index *ix, uint64_t order, struct registration *reg);
void index_remove_all(struct index *ix, uint64_t order);
void index_add(struct index *ix, enum index_name name, struct span value, uint64_t order, struct registration *reg);
void index_remove(struct index *ix, enum index_name name, struct span value, uint64_t order);

/* NULL = nobody holds it. Borrowed until the next change. */
const struct posting *index_get(const struct index *ix, enum index_name name, struct span value);
/* Every list whose value starts with prefix, in no order. */
void index_each_prefix(const struct index *ix, enum index_name name, struct span prefix,
		       void (*fn)(void *ctx, const struct posting *p), void *ctx);

static inline size_t posting_count(const struct posting *p) { return p ? p->n - p->n_dead : 0; }
/* Position of the first entry with an order above `after`; may be p->n. The entry may have left. */
size_t posting_seek(const struct posting *p, uint64_t after);
