/* tests/until.h - runs a loop until something is so. Include after cmocka.h. */
#pragma once
#include "io/loop.h"

struct until {
	struct loop *loop;
	struct loop_timer *poll;
	bool (*test)(void *ctx);
	void *ctx;
};

static inline void until_poll(void *ctx)
{
	struct until *u = ctx;

	if (u->test(u->ctx))
		loop_stop(u->loop);
	else
		loop_timer_set(u->poll, 2);
}

/* Whether it was so within ms. */
static inline bool until(struct loop *l, bool (*test)(void *ctx), void *ctx, int64_t ms)
{
	struct until u = { .loop = l, .test = test, .ctx = ctx };

	u.poll = loop_timer_new(l, until_poll, &u);
	loop_timer_set(u.poll, 0);
	(void)loop_run_for(l, ms);
	loop_timer_free(u.poll);
	return test(ctx);
}
