/* io/loop.h - the one event loop (libevent) and what hangs on it. One thread: everything
 * here except worker functions runs on it. No libevent type leaves io/.
 *
 * Each turn's duration is measured from the first callback that we made to its end:
 * METRIC_LOOP_MAX_US, METRIC_LOOP_SLOW, and EV_LOOP_SLOW above LOOP_SLOW_MS (at most one
 * line in LOOP_SLOW_LOG_S, naming the kind of callback that took longest). */
#pragma once
#include "base/time.h"

enum { LOOP_SLOW_MS = 10, LOOP_SLOW_LOG_S = 60 };

struct loop;
struct loop_io;
struct loop_timer;
struct loop_signal;

struct loop *loop_new(void);                   /* also ignores SIGPIPE for the process */
/* After everything that hangs on it was freed. */
struct loop *loop_free(struct loop *l);
/* Until loop_stop(): 0. -EDEADLK when nothing is left that could ever wake it; -EIO when the kernel refuses to wait. */
int loop_run(struct loop *l);
/* The same for at most in_ms: -ETIMEDOUT then. */
int loop_run_for(struct loop *l, int64_t in_ms);
/* The callback that calls it is the last of the turn; before loop_run(), that returns at once. */
void loop_stop(struct loop *l);

enum { LOOP_READ = 1, LOOP_WRITE = 2 };
typedef void loop_io_fn(void *ctx, int fd, unsigned what);
/* Level-triggered. Safe to free inside its own callback. NULL when the kernel refuses fd (a regular file). */
struct loop_io *loop_io_new(struct loop *l, int fd, unsigned what, loop_io_fn *fn, void *ctx);
struct loop_io *loop_io_free(struct loop_io *io);      /* does not close fd */

typedef void loop_timer_fn(void *ctx);
/* One-shot; unarmed until set. Setting again moves it. Never early by mono_now(). Safe to free inside its own callback. */
struct loop_timer *loop_timer_new(struct loop *l, loop_timer_fn *fn, void *ctx);
void loop_timer_set(struct loop_timer *t, int64_t in_ms);      /* < 0 disarms */
bool loop_timer_armed(const struct loop_timer *t);
struct loop_timer *loop_timer_free(struct loop_timer *t);

typedef void loop_signal_fn(void *ctx, int signo);
/* One per signal number. */
struct loop_signal *loop_signal_new(struct loop *l, int signo, loop_signal_fn *fn, void *ctx);
struct loop_signal *loop_signal_free(struct loop_signal *s);

/* For siblings in io/ only: the struct event_base, as void. */
void *loop_base(struct loop *l);
/* For siblings in io/ whose callbacks come from another library on this base: measure them too.
 * loop_leave(l, "http", loop_enter(l)) around the work; kind is a literal. */
int64_t loop_enter(struct loop *l);
void loop_leave(struct loop *l, const char *kind, int64_t entered);
