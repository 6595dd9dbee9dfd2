#include "directory/deadlines.h"

#include <stdlib.h>

#include "base/mem.h"

static void place(struct deadlines *d, size_t at, struct registration *reg)
{
	d->heap[at] = reg;
	reg->queue_at = (uint32_t)at;
}

static void sift_up(struct deadlines *d, struct registration *reg)
{
	size_t at = reg->queue_at;

	while (at > 0 && mono_before(reg->queued, d->heap[(at - 1) / 2]->queued)) {
		place(d, at, d->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	place(d, at, reg);
}

static void sift_down(struct deadlines *d, struct registration *reg)
{
	size_t at = reg->queue_at;

	for (;;) {
		size_t child = 2 * at + 1;
		if (child + 1 < d->n && mono_before(d->heap[child + 1]->queued, d->heap[child]->queued))
			child++;
		if (child >= d->n || !mono_before(d->heap[child]->queued, reg->queued))
			break;
		place(d, at, d->heap[child]);
		at = child;
	}
	place(d, at, reg);
}

void deadlines_done(struct deadlines *d)
{
	free(d->heap);
	*d = (struct deadlines){ 0 };
}

void deadlines_add(struct deadlines *d, struct registration *reg)
{
	if (d->n == d->cap) {
		d->cap = d->cap ? d->cap + d->cap / 2 : 16;
		d->heap = mem_resize(d->heap, d->cap, sizeof(struct registration *));
	}
	reg->queued = reg->deadline;
	place(d, d->n++, reg);
	sift_up(d, reg);
}

void deadlines_remove(struct deadlines *d, struct registration *reg)
{
	struct registration *last = d->heap[--d->n];

	if (last == reg)
		return;
	place(d, reg->queue_at, last);
	sift_up(d, last);
	sift_down(d, last);
}

void deadlines_moved(struct deadlines *d, struct registration *reg)
{
	if (!mono_before(reg->deadline, reg->queued))
		return;
	reg->queued = reg->deadline;
	sift_up(d, reg);
}

struct registration *deadlines_due(struct deadlines *d, struct mono now, int64_t *ret_wait_ms)
{
	while (d->n) {
		struct registration *reg = d->heap[0];
		*ret_wait_ms = mono_diff_ms(reg->queued, now);
		if (*ret_wait_ms > 0)
			return NULL;
		if (!mono_before(now, reg->deadline))
			return reg;
		reg->queued = reg->deadline;
		sift_down(d, reg);
	}
	*ret_wait_ms = -1;
	return NULL;
}
