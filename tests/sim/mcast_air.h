/* tests/sim/mcast_air.h - one radio cell in virtual time: a queue of what happens when, a seeded source of chance, and for each
 * receiver a channel that loses frames. One second of it costs nothing; one seed gives one story.
 *
 * A channel loses each frame on its own (independent), or in bursts (two states, Gilbert and Elliott's: in the bad one nothing
 * is heard; the mean length of a stay there is given, and the mean loss too). A deaf receiver (asleep, out of reach) hears
 * nothing and its channel goes on meanwhile. Time in ms from the start. One thread, no I/O, the queue grows as it must. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mcast_random {
	uint64_t s;
};

void mcast_random_seed(struct mcast_random *r, uint64_t seed, uint64_t stream);
uint64_t mcast_random_u64(struct mcast_random *r);
uint32_t mcast_random_below(struct mcast_random *r, uint32_t n);       /* n > 0 */
bool mcast_random_chance(struct mcast_random *r, double p);

struct mcast_channel {
	struct mcast_random random;
	double loss;                           /* mean */
	double burst;                          /* mean frames in the bad state; 0 = each frame for itself */
	bool bad;
};

void mcast_channel_init(struct mcast_channel *c, uint64_t seed, uint64_t stream, double loss, double burst);
/* One frame goes by: whether it is heard. */
bool mcast_channel_hears(struct mcast_channel *c);

typedef void mcast_event_fn(void *ctx, uint64_t tag);

struct mcast_event {
	int64_t at_ms;
	uint64_t order;                        /* what was asked for first, comes first */
	mcast_event_fn *fn;
	void *ctx;
	uint64_t tag;                          /* the caller's: an epoch, so that what is no longer wanted is known as such */
};

struct mcast_clock {
	int64_t now_ms;
	uint64_t order, events;
	struct mcast_event *heap;
	size_t n, room;
};

void mcast_clock_done(struct mcast_clock *c);
void mcast_clock_at(struct mcast_clock *c, int64_t at_ms, mcast_event_fn *fn, void *ctx, uint64_t tag);        /* not before now */
/* The next event, when there is one up to that time. */
bool mcast_clock_next(struct mcast_clock *c, int64_t until_ms);
