#include "mcast_air.h"

#include <assert.h>
#include <stdlib.h>

/* splitmix64 (Steele, Lea, Flood 2014): small, seeds of any kind give streams that do not look alike. */
uint64_t mcast_random_u64(struct mcast_random *r)
{
	uint64_t z = r->s += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

void mcast_random_seed(struct mcast_random *r, uint64_t seed, uint64_t stream)
{
	struct mcast_random mix = { seed * 0x2545f4914f6cdd1d + stream };

	r->s = mcast_random_u64(&mix) ^ mcast_random_u64(&mix) << 1;
}

uint32_t mcast_random_below(struct mcast_random *r, uint32_t n)
{
	return (uint32_t)((mcast_random_u64(r) >> 32) * n >> 32);
}

bool mcast_random_chance(struct mcast_random *r, double p)
{
	return (double)(mcast_random_u64(r) >> 11) < p * 9007199254740992.0;
}

void mcast_channel_init(struct mcast_channel *c, uint64_t seed, uint64_t stream, double loss, double burst)
{
	*c = (struct mcast_channel){ .loss = loss, .burst = burst };
	mcast_random_seed(&c->random, seed, stream);
	c->bad = burst > 0 && mcast_random_chance(&c->random, loss);
}

bool mcast_channel_hears(struct mcast_channel *c)
{
	if (c->burst <= 0)
		return !mcast_random_chance(&c->random, c->loss);
	bool bad = c->bad;
	/* Of the time, loss is spent in the bad state: as many ways in as out. */
	double leave = 1 / c->burst, enter = c->loss / (1 - c->loss) * leave;

	if (mcast_random_chance(&c->random, bad ? leave : enter))
		c->bad = !bad;
	return !bad;
}

void mcast_clock_done(struct mcast_clock *c)
{
	free(c->heap);
	*c = (struct mcast_clock){ 0 };
}

static bool before(const struct mcast_event *a, const struct mcast_event *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

void mcast_clock_at(struct mcast_clock *c, int64_t at_ms, mcast_event_fn *fn, void *ctx, uint64_t tag)
{
	if (c->n == c->room) {
		c->room = c->room ? 2 * c->room : 256;
		c->heap = realloc(c->heap, c->room * sizeof(*c->heap));
		assert(c->heap);
	}
	struct mcast_event e = { at_ms < c->now_ms ? c->now_ms : at_ms, c->order++, fn, ctx, tag };
	size_t i = c->n++;

	for (; i && before(&e, &c->heap[(i - 1) / 2]); i = (i - 1) / 2)
		c->heap[i] = c->heap[(i - 1) / 2];
	c->heap[i] = e;
}

static void heap_pop(struct mcast_clock *c)
{
	struct mcast_event last = c->heap[--c->n];
	size_t i = 0;

	for (size_t child; (child = 2 * i + 1) < c->n; i = child) {
		if (child + 1 < c->n && before(&c->heap[child + 1], &c->heap[child]))
			child++;
		if (before(&last, &c->heap[child]))
			break;
		c->heap[i] = c->heap[child];
	}
	c->heap[i] = last;
}

bool mcast_clock_next(struct mcast_clock *c, int64_t until_ms)
{
	if (!c->n || c->heap[0].at_ms > until_ms)
		return false;
	struct mcast_event e = c->heap[0];

	heap_pop(c);
	c->now_ms = e.at_ms;
	c->events++;
	e.fn(e.ctx, e.tag);
	return true;
}
