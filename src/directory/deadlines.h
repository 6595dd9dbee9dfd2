/* directory/deadlines.h - registrations in order of the time they want attention: a binary heap in which a
 * deadline that only moved later costs nothing until its old time comes. Borrows registrations. */
#pragma once
#include "directory/registration.h"

struct deadlines {
	struct registration **heap;
	size_t n, cap;
};

void deadlines_done(struct deadlines *d);
void deadlines_add(struct deadlines *d, struct registration *reg);
void deadlines_remove(struct deadlines *d, struct registration *reg);
/* reg->deadline changed. */
void deadlines_moved(struct deadlines *d, struct registration *reg);
/* The one that is due, or NULL with *ret_wait_ms until the next (-1 = none). */
struct registration *deadlines_due(struct deadlines *d, struct mono now, int64_t *ret_wait_ms);
