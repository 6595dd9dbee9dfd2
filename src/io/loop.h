/* io/loop.h - the one event loop (libevent) and what hangs on it. One thread: everything
 * here except worker functions runs on it. No libevent type leaves io/.
 *
 * Each turn's duration is measured: METRIC_LOOP_MAX_US, METRIC_LOOP_SLOW and EV_LOOP_SLOW
 * above LOOP_SLOW_MS. */
#pragma once
#include "base/time.h"

enum { LOOP_SLOW_MS = 10 };

struct loop;
struct loop_io;
struct loop_timer;
struct loop_signal;

struct loop *loop_new(void);
struct loop *loop_free(struct loop *l);
int loop_run(struct loop *l);                  /* until loop_stop(); 0 or -errno */
void loop_stop(struct loop *l);

enum { LOOP_READ = 1, LOOP_WRITE = 2 };
typedef void loop_io_fn(void *ctx, int fd, unsigned what);
struct loop_io *loop_io_new(struct loop *l, int fd, unsigned what, loop_io_fn *fn, void *ctx);
struct loop_io *loop_io_free(struct loop_io *io);      /* does not close fd */

typedef void loop_timer_fn(void *ctx);
/* One-shot; unarmed until set. Setting again moves it. Safe to free inside its own callback. */
struct loop_timer *loop_timer_new(struct loop *l, loop_timer_fn *fn, void *ctx);
void loop_timer_set(struct loop_timer *t, int64_t in_ms);      /* < 0 disarms */
bool loop_timer_armed(const struct loop_timer *t);
struct loop_timer *loop_timer_free(struct loop_timer *t);

typedef void loop_signal_fn(void *ctx, int signo);
struct loop_signal *loop_signal_new(struct loop *l, int signo, loop_signal_fn *fn, void *ctx);
struct loop_signal *loop_signal_free(struct loop_signal *s);

/* For siblings in io/ only: the struct event_base, as void. */
void *loop_base(struct loop *l);
