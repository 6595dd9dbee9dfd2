/* io/worker.h - a small pool of threads for what would block the loop: hashing, signatures,
 * file syncs. A job is a function and its own argument, moved in and handed back: `work` runs
 * on a pool thread and touches nothing but arg; `done` runs on the loop afterwards, always,
 * exactly once, and owns arg again. Order between jobs is not kept.
 *
 * All functions here: loop thread. */
#pragma once
#include "io/loop.h"

enum {
	WORKER_THREADS_MAX = 32,
	WORKER_QUEUE_MAX = 4096,               /* jobs submitted whose done has not run */
};

struct worker_pool;

typedef void worker_fn(void *arg);             /* pool thread */
typedef void worker_done_fn(void *arg);        /* loop; may submit again, may not free the pool */

/* n_threads is clipped to 1..WORKER_THREADS_MAX. NULL with errno set when the system gives no thread or descriptor. */
struct worker_pool *worker_pool_new(struct loop *l, unsigned n_threads);
/* Waits for running jobs, runs their done callbacks, then those of jobs never started
 * (whose work function did not run: arg says so if it must know). */
struct worker_pool *worker_pool_free(struct worker_pool *w);
/* -EBUSY queue full, -ESHUTDOWN while the pool is being freed; arg stays the caller's then. */
int worker_submit(struct worker_pool *w, worker_fn *work, worker_done_fn *done, void *arg);
