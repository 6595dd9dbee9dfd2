/* codec/suit_walk_internal.h - what suit_walk.c (commands) and suit_parameters.c (their parameters) share. */
#pragma once
#include <errno.h>

#include "codec/cbor.h"
#include "codec/suit_walk.h"

struct slot {                          /* one component on one path; compared by bytes, so its padding stays zero */
	struct suit_digest digest;
	struct span uri, vendor, class, device;
	uint64_t size, component_slot, found_slot;
	int64_t use_before, priority;
	uint32_t source;
	bool has_size, has_slot, has_source, has_use_before, has_priority, is_encrypted;
	bool is_slot_found, vendor_checked, class_checked;
	bool copied_encrypted;         /* another component is decrypted from it */
	bool bare_cipher, copied_bare_cipher;
	bool fetch_is_open;            /* fetched before its digest was known: noted at the image-match */
	struct span open_uri;
};

struct frame {                         /* one sequence being walked */
	uint64_t current;              /* component set, by slot */
	unsigned depth;
	bool is_soft;                  /* soft-failure was set in it: a failed condition only ends the sequence */
};

static inline int walk_fail(struct walk *w, enum suit_problem p, int r)
{
	*w->problem = p;
	return r;
}

static inline int walk_malformed(struct walk *w)
{
	return walk_fail(w, SUIT_MANIFEST_MALFORMED, -EBADMSG);
}

static inline int walk_spend(struct walk *w, size_t steps)
{
	w->n_steps += steps;
	return w->n_steps > WALK_STEPS_MAX ? walk_fail(w, SUIT_TOO_MANY, -EMSGSIZE) : 0;
}

/* The n_slots slots of a path. */
static inline struct slot *walk_path_at(const struct walk *w, size_t i)
{
	return w->paths + i * w->n_slots;
}

#define FOR_EACH_BIT(i_, set_) \
	for (uint64_t left_##i_ = (set_), i_; left_##i_ && (i_ = (uint64_t)__builtin_ctzll(left_##i_), true); \
	     left_##i_ &= left_##i_ - 1)

/* suit_walk.c */
int walk_slot_of_index(struct walk *w, uint64_t index, size_t *ret);
void walk_note_unknown(struct walk *w, int64_t label);
/* suit_parameters.c: directives 20 and 19 (only_unset), 34, 35 */
int walk_override_parameters(struct walk *w, struct cbor *c, struct frame *f, walk_set set, bool only_unset);
int walk_override_multiple(struct walk *w, struct cbor *c, struct frame *f, walk_set set);
int walk_copy_params(struct walk *w, struct cbor *c, const struct frame *f, walk_set set);
