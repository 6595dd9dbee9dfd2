#include "io/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

enum { NS_PER_US = 1000, NS_PER_MS = 1000 * 1000 };

/* The longest timer; it fires again and again until its time has come. */
#define LOOP_TIMER_MS_MAX ((int64_t)7 * 24 * 3600 * 1000)

struct loop {
	struct event_base *base;
	bool stop;
	int64_t turn_began_ns;                 /* of the first callback of this turn; 0 = none yet */
	int64_t longest_ns;                    /* of one callback in this turn */
	const char *longest_kind;
	struct mono slow_logged;
	bool slow_was_logged;
	uint64_t n_slow_unlogged;
};

struct loop_io {
	struct loop *loop;
	struct event *ev;
	loop_io_fn *fn;
	void *ctx;
};

struct loop_timer {
	struct loop *loop;
	struct event *ev;
	struct mono due;
	bool armed;
	loop_timer_fn *fn;
	void *ctx;
};

struct loop_signal {
	struct loop *loop;
	struct event *ev;
	loop_signal_fn *fn;
	void *ctx;
};

static int64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
	return (int64_t)ts.tv_sec * 1000 * NS_PER_MS + ts.tv_nsec;
}

static void library_says(int severity, const char *text)
{
	log_line(severity == EVENT_LOG_ERR ? LOG_ERR : severity == EVENT_LOG_WARN ? LOG_NOTICE : LOG_DEBUG, "libevent: %s", text);
}

struct loop *loop_new(void)
{
	struct loop *l = NEW(struct loop);
	struct event_config *conf = event_config_new();

	event_set_log_callback(library_says);
	/* One thread owns the base (workers use an eventfd), so no locks; ask the clock, not a turn-old cache. */
	if (!conf || event_config_set_flag(conf, EVENT_BASE_FLAG_NOLOCK) < 0 ||
	    event_config_set_flag(conf, EVENT_BASE_FLAG_NO_CACHE_TIME) < 0)
		abort();
	l->base = event_base_new_with_config(conf);
	event_config_free(conf);
	if (!l->base)
		abort();
	(void)signal(SIGPIPE, SIG_IGN); /* a valid signal cannot fail */
	return l;
}

struct loop *loop_free(struct loop *l)
{
	if (l) {
		event_base_free(l->base);
		free(l);
	}
	return NULL;
}

void *loop_base(struct loop *l)
{
	return l->base;
}

int64_t loop_enter(struct loop *l)
{
	int64_t now = now_ns();

	if (!l->turn_began_ns)
		l->turn_began_ns = now;
	return now;
}

void loop_leave(struct loop *l, const char *kind, int64_t entered)
{
	int64_t took = now_ns() - entered;

	if (took > l->longest_ns) {
		l->longest_ns = took;
		l->longest_kind = kind;
	}
}

static void turn_log_slow(struct loop *l, int64_t took_ns)
{
	struct mono now = mono_now();

	if (l->slow_was_logged && mono_diff_ms(now, l->slow_logged) < LOOP_SLOW_LOG_S * 1000) {
		l->n_slow_unlogged++;
		return;
	}
	log_event(EV_LOOP_SLOW, LOG_WARNING,
		  "the event loop was busy for %" PRId64 " ms in one turn (longest: %s callback, %" PRId64 " ms; %" PRIu64
		  " more not logged)", took_ns / NS_PER_MS, l->longest_kind ? l->longest_kind : "no", l->longest_ns / NS_PER_MS,
		  l->n_slow_unlogged);
	l->slow_was_logged = true;
	l->slow_logged = now;
	l->n_slow_unlogged = 0;
}

static void turn_end(struct loop *l)
{
	if (!l->turn_began_ns)
		return;
	int64_t took = now_ns() - l->turn_began_ns;
	metric_max(METRIC_LOOP_MAX_US, took / NS_PER_US);
	if (took > (int64_t)LOOP_SLOW_MS * NS_PER_MS) {
		metric_add(METRIC_LOOP_SLOW, 1);
		turn_log_slow(l, took);
	}
	l->turn_began_ns = 0;
	l->longest_ns = 0;
	l->longest_kind = NULL;
}

int loop_run(struct loop *l)
{
	int r = 0;

	while (r == 0 && !l->stop) {
		int e = event_base_loop(l->base, EVLOOP_ONCE);

		turn_end(l);
		if (l->stop)
			break;
		if (e < 0)
			r = -EIO;
		else if (e == 1)
			r = -EDEADLK;
	}
	l->stop = false;
	return r;
}

struct run_limit {
	struct loop *loop;
	bool over;
};

static void run_limit_over(void *ctx)
{
	struct run_limit *limit = ctx;

	limit->over = true;
	loop_stop(limit->loop);
}

int loop_run_for(struct loop *l, int64_t in_ms)
{
	struct run_limit limit = { .loop = l };
	struct loop_timer *t = loop_timer_new(l, run_limit_over, &limit);

	loop_timer_set(t, in_ms < 0 ? 0 : in_ms);
	int r = loop_run(l);
	loop_timer_free(t);
	return r == 0 && limit.over ? -ETIMEDOUT : r;
}

void loop_stop(struct loop *l)
{
	l->stop = true;
	(void)event_base_loopbreak(l->base); /* fails only without a base */
}

/* Descriptors */

static void io_cb(evutil_socket_t fd, short what, void *arg)
{
	struct loop_io *io = arg;
	struct loop *l = io->loop;
	int64_t entered = loop_enter(l);

	io->fn(io->ctx, fd, (what & EV_READ ? LOOP_READ : 0u) | (what & EV_WRITE ? LOOP_WRITE : 0u));
	loop_leave(l, "descriptor", entered); /* io may be gone */
}

struct loop_io *loop_io_new(struct loop *l, int fd, unsigned what, loop_io_fn *fn, void *ctx)
{
	struct loop_io *io = NEW(struct loop_io);
	short flags = EV_PERSIST;

	if (what & LOOP_READ)
		flags |= EV_READ;
	if (what & LOOP_WRITE)
		flags |= EV_WRITE;
	*io = (struct loop_io){ .loop = l, .fn = fn, .ctx = ctx };
	io->ev = event_new(l->base, fd, flags, io_cb, io);
	if (!io->ev)
		abort();
	if (event_add(io->ev, NULL) < 0)
		return loop_io_free(io);
	return io;
}

struct loop_io *loop_io_free(struct loop_io *io)
{
	if (io) {
		event_free(io->ev);
		free(io);
	}
	return NULL;
}

/* Timers */

static void timer_add(struct loop_timer *t, int64_t in_ms)
{
	if (in_ms > LOOP_TIMER_MS_MAX)
		in_ms = LOOP_TIMER_MS_MAX;
	struct timeval tv = { .tv_sec = in_ms / 1000, .tv_usec = in_ms % 1000 * 1000 };
	if (event_add(t->ev, &tv) < 0)
		abort();                       /* only when memory is gone */
}

static void timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct loop_timer *t = arg;
	struct loop *l = t->loop;
	int64_t left = mono_diff_ms(t->due, mono_now());

	if (left > 0) {                        /* libevent reads a coarse clock: up to a tick early */
		timer_add(t, left);
		return;
	}
	int64_t entered = loop_enter(l);
	t->armed = false;
	t->fn(t->ctx);
	loop_leave(l, "timer", entered);       /* t may be gone */
}

struct loop_timer *loop_timer_new(struct loop *l, loop_timer_fn *fn, void *ctx)
{
	struct loop_timer *t = NEW(struct loop_timer);

	*t = (struct loop_timer){ .loop = l, .fn = fn, .ctx = ctx };
	t->ev = evtimer_new(l->base, timer_cb, t);
	if (!t->ev)
		abort();
	return t;
}

void loop_timer_set(struct loop_timer *t, int64_t in_ms)
{
	if (in_ms < 0) {
		t->armed = false;
		(void)event_del(t->ev); /* an event that is not pending is fine */
		return;
	}
	if (in_ms > INT64_MAX / 4)
		in_ms = INT64_MAX / 4;
	t->due = mono_add_ms(mono_now(), in_ms);
	t->armed = true;
	timer_add(t, in_ms);
}

bool loop_timer_armed(const struct loop_timer *t)
{
	return t->armed;
}

struct loop_timer *loop_timer_free(struct loop_timer *t)
{
	if (t) {
		event_free(t->ev);
		free(t);
	}
	return NULL;
}

/* Signals */

static void signal_cb(evutil_socket_t signo, short what, void *arg)
{
	struct loop_signal *s = arg;
	struct loop *l = s->loop;
	int64_t entered = loop_enter(l);

	s->fn(s->ctx, (int)signo);
	loop_leave(l, "signal", entered);      /* s may be gone */
}

struct loop_signal *loop_signal_new(struct loop *l, int signo, loop_signal_fn *fn, void *ctx)
{
	struct loop_signal *s = NEW(struct loop_signal);

	*s = (struct loop_signal){ .loop = l, .fn = fn, .ctx = ctx };
	s->ev = evsignal_new(l->base, signo, signal_cb, s);
	if (!s->ev || event_add(s->ev, NULL) < 0)
		abort();
	return s;
}

struct loop_signal *loop_signal_free(struct loop_signal *s)
{
	if (s) {
		event_free(s->ev);
		free(s);
	}
	return NULL;
}
