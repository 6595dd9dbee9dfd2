/* Virtual time: a heap of timers, and all that src/io/loop.c, src/io/worker.c, the clocks and the kernel's randomness
 * would give. The clocks and random numbers are put in place by the linker (--wrap). */
#include "sim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/random.h"

enum { START_MS = 1000 * 1000, SAME_INSTANT_MAX = 200 * 1000 };

#define UNARMED SIZE_MAX

struct loop {
	unsigned n_timers;
	bool is_stopped;
};

struct loop_timer {
	struct loop *loop;
	loop_timer_fn *fn;
	void *ctx;
	int64_t due;
	uint64_t order;                        /* among those due at once */
	size_t at;                             /* in the heap */
};

struct once {                                  /* of sim_at() */
	struct once *prev, *next;
	struct loop_timer *timer;
	void (*fn)(void *ctx);
	void *ctx;
};

static struct {
	uint64_t seed, random, trace, n_events, orders;
	int64_t now, wall_off;
	struct loop_timer **heap;
	size_t n, capacity;
	unsigned n_at_once;
	void (*after)(void *ctx);
	void *after_ctx;
	bool workers_are_dead;
	int64_t work_ms;
	struct loop own;                       /* of sim_at() */
	struct once *onces;
} sim;

/* ---- the world ---- */

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Mixed: the generator counts, and neighbours would tell the same story from one number further on. */
void sim_random_restart(void)
{
	sim.random = mix(sim.seed * UINT64_C(0xd1342543de82ef95) + 1);
}

void sim_begin(uint64_t seed)
{
	memset(&sim, 0, sizeof(sim));
	sim.seed = seed;
	sim_random_restart();
	sim.trace = UINT64_C(0xcbf29ce484222325);
	sim.wall_off = INT64_C(1793440800000);         /* 2026-10-31T10:00Z at the start */
}

uint64_t sim_end(void)
{
	struct once *o, *next;

	DL_FOREACH_SAFE(sim.onces, o, next) {
		loop_timer_free(o->timer);
		free(o);
	}
	SIM_CHECK(sim.n == 0, "%zu timers are still armed", sim.n);
	free(sim.heap);
	sim.heap = NULL;
	return sim.trace;
}

uint64_t sim_seed(void) { return sim.seed; }
int64_t sim_now(void) { return sim.now; }
uint64_t sim_events(void) { return sim.n_events; }
void sim_step_wall(int64_t ms) { sim.wall_off += ms; }

void sim_note(uint64_t a, uint64_t b)
{
	const uint64_t words[] = { (uint64_t)sim.now, a, b };

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		sim.trace = (sim.trace ^ words[i]) * UINT64_C(0x100000001b3) ^ sim.trace >> 29;
}

void sim_set_after(void (*fn)(void *ctx), void *ctx)
{
	sim.after = fn;
	sim.after_ctx = ctx;
}

void sim_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "%s:%d: seed %llu, %lld h %lld min %lld.%03lld s: ", file, line, (unsigned long long)sim.seed,
		(long long)(sim.now / SIM_HOUR), (long long)(sim.now / SIM_MINUTE % 60), (long long)(sim.now / SIM_SECOND % 60),
		(long long)(sim.now % SIM_SECOND));
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n(again with DORMOUSE_SIM_SEED=%llu)\n", (unsigned long long)sim.seed);
	fflush(stderr);
	abort();
}

void sim_each_seed(unsigned count, void (*run)(uint64_t seed))
{
	const char *one = getenv("DORMOUSE_SIM_SEED"), *times = getenv("DORMOUSE_SIM_SEEDS");
	unsigned long n = times ? strtoul(times, NULL, 10) : 1;

	if (one) {
		run(strtoull(one, NULL, 10));
		return;
	}
	for (uint64_t seed = 1; seed <= count * (n ? n : 1); seed++)
		run(seed);
}

/* ---- randomness ---- */

static uint64_t next_random(void)              /* splitmix64 */
{
	return mix(sim.random += UINT64_C(0x9e3779b97f4a7c15));
}

uint64_t sim_random(uint64_t n) { return n ? next_random() % n : 0; }
int64_t sim_between(int64_t least, int64_t most) { return least + (int64_t)sim_random((uint64_t)(most - least) + 1); }
bool sim_chance(double p) { return (double)(next_random() >> 11) / 9007199254740992.0 < p; }

void __wrap_random_bytes(void *p, size_t n);
uint64_t __wrap_random_u64(void);
uint64_t __wrap_random_below(uint64_t n);
struct mono __wrap_mono_now(void);
struct wall __wrap_wall_now(void);

void __wrap_random_bytes(void *p, size_t n)
{
	for (uint8_t *at = p; n > 0; n--)
		*at++ = (uint8_t)(next_random() >> 17);
}

uint64_t __wrap_random_u64(void) { return next_random(); }
uint64_t __wrap_random_below(uint64_t n) { return sim_random(n); }
struct mono __wrap_mono_now(void) { return (struct mono){ START_MS + sim.now }; }
struct wall __wrap_wall_now(void) { return (struct wall){ sim.wall_off + sim.now }; }

/* ---- the heap ---- */

static bool is_before(const struct loop_timer *a, const struct loop_timer *b)
{
	return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void place(struct loop_timer *t, size_t at)
{
	sim.heap[at] = t;
	t->at = at;
}

static void sift(struct loop_timer *t, size_t at)
{
	while (at > 0 && is_before(t, sim.heap[(at - 1) / 2])) {
		place(sim.heap[(at - 1) / 2], at);
		at = (at - 1) / 2;
	}
	for (size_t child; (child = 2 * at + 1) < sim.n; at = child) {
		if (child + 1 < sim.n && is_before(sim.heap[child + 1], sim.heap[child]))
			child++;
		if (!is_before(sim.heap[child], t))
			break;
		place(sim.heap[child], at);
	}
	place(t, at);
}

static void disarm(struct loop_timer *t)
{
	size_t at = t->at;

	if (at == UNARMED)
		return;
	t->at = UNARMED;
	struct loop_timer *last = sim.heap[--sim.n];
	if (last != t)
		sift(last, at);
}

static void arm(struct loop_timer *t, int64_t due)
{
	disarm(t);
	if (sim.n == sim.capacity) {
		sim.capacity = sim.capacity ? sim.capacity * 2 : 256;
		sim.heap = mem_resize(sim.heap, sim.capacity, sizeof(struct loop_timer *));
	}
	t->due = due;
	t->order = sim.orders++;
	sift(t, sim.n++);
}

/* ---- io/loop.h ---- */

struct loop *loop_new(void)
{
	return NEW(struct loop);
}

struct loop *loop_free(struct loop *l)
{
	SIM_CHECK(!l || l->n_timers == 0, "%u timers outlive their loop", l->n_timers);
	free(l);
	return NULL;
}

void *loop_base(struct loop *l) { return l; }
int64_t loop_enter(struct loop *l) { return 0; }
void loop_leave(struct loop *l, const char *kind, int64_t entered) { }
void loop_stop(struct loop *l) { l->is_stopped = true; }

struct loop_timer *loop_timer_new(struct loop *l, loop_timer_fn *fn, void *ctx)
{
	struct loop_timer *t = NEW(struct loop_timer);

	*t = (struct loop_timer){ .loop = l, .fn = fn, .ctx = ctx, .at = UNARMED };
	l->n_timers++;
	return t;
}

void loop_timer_set(struct loop_timer *t, int64_t in_ms)
{
	if (in_ms < 0)
		disarm(t);
	else
		arm(t, sim.now + (in_ms < INT64_MAX / 4 ? in_ms : INT64_MAX / 4));
}

bool loop_timer_armed(const struct loop_timer *t) { return t->at != UNARMED; }

struct loop_timer *loop_timer_free(struct loop_timer *t)
{
	if (t) {
		disarm(t);
		t->loop->n_timers--;
		free(t);
	}
	return NULL;
}

struct loop_signal *loop_signal_new(struct loop *l, int signo, loop_signal_fn *fn, void *ctx) { return NULL; }
struct loop_signal *loop_signal_free(struct loop_signal *s) { return NULL; }
/* There are no descriptors in virtual time. */
struct loop_io *loop_io_new(struct loop *l, int fd, unsigned what, loop_io_fn *fn, void *ctx) { return NULL; }
struct loop_io *loop_io_free(struct loop_io *io) { return NULL; }

static void fire(void)
{
	struct loop_timer *t = sim.heap[0];

	sim.n_at_once = t->due > sim.now ? 0 : sim.n_at_once + 1;
	SIM_CHECK(sim.n_at_once < SAME_INSTANT_MAX, "time stands still");
	if (t->due > sim.now)
		sim.now = t->due;
	disarm(t);
	sim.n_events++;
	sim_note(1, t->order);
	t->fn(t->ctx);                         /* t may be gone */
	if (sim.after)
		sim.after(sim.after_ctx);
}

void sim_run_to(int64_t at_ms)
{
	while (sim.n > 0 && sim.heap[0]->due <= at_ms)
		fire();
	if (at_ms > sim.now)
		sim.now = at_ms;
}

bool sim_run_until(bool (*test)(void *ctx), void *ctx, int64_t at_ms)
{
	while (!test(ctx)) {
		if (sim.n == 0 || sim.heap[0]->due > at_ms)
			return false;
		fire();
	}
	return true;
}

int loop_run(struct loop *l)
{
	while (!l->is_stopped && sim.n > 0)
		fire();
	int r = l->is_stopped ? 0 : -EDEADLK;
	l->is_stopped = false;
	return r;
}

int loop_run_for(struct loop *l, int64_t in_ms)
{
	int64_t end = sim.now + in_ms;

	while (!l->is_stopped && sim.n > 0 && sim.heap[0]->due <= end)
		fire();
	bool was_stopped = l->is_stopped;
	l->is_stopped = false;
	return was_stopped ? 0 : -ETIMEDOUT;
}

static void on_once(void *ctx)
{
	struct once *o = ctx, copy = *o;

	DL_DELETE(sim.onces, o);
	loop_timer_free(o->timer);
	free(o);
	copy.fn(copy.ctx);
}

void sim_at(int64_t in_ms, void (*fn)(void *ctx), void *ctx)
{
	struct once *o = NEW(struct once);

	*o = (struct once){ .timer = loop_timer_new(&sim.own, on_once, o), .fn = fn, .ctx = ctx };
	DL_APPEND(sim.onces, o);
	loop_timer_set(o->timer, in_ms);
}

/* ---- io/worker.h ---- */

struct work {
	struct worker_pool *pool;
	struct loop_timer *timer;
	worker_fn *fn;
	worker_done_fn *done;
	void *arg;
	struct work *next;
};

struct worker_pool {
	struct loop *loop;
	struct work *jobs;
	bool is_closing;
};

static void work_end(struct work *w, bool works)
{
	struct work **at = &w->pool->jobs;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	loop_timer_free(w->timer);
	if (works)
		w->fn(w->arg);
	w->done(w->arg);
	free(w);
}

static void on_work(void *ctx)
{
	work_end(ctx, true);
}

struct worker_pool *worker_pool_new(struct loop *l, unsigned n_threads)
{
	struct worker_pool *p = NEW(struct worker_pool);

	p->loop = l;
	sim.workers_are_dead = false;
	return p;
}

struct worker_pool *worker_pool_free(struct worker_pool *p)
{
	if (!p)
		return NULL;
	p->is_closing = true;
	while (p->jobs)                        /* those that began end, the rest never begin */
		work_end(p->jobs, !sim.workers_are_dead && sim_chance(0.5));
	free(p);
	return NULL;
}

void sim_workers_die(void)
{
	sim.workers_are_dead = true;
}

void sim_workers_take(int64_t ms)
{
	sim.work_ms = ms;
}

int worker_submit(struct worker_pool *p, worker_fn *fn, worker_done_fn *done, void *arg)
{
	struct work *w;

	if (p->is_closing)
		return -ESHUTDOWN;
	if (sim_chance(0.01))
		return -EBUSY;
	w = NEW(struct work);
	*w = (struct work){ .pool = p, .timer = loop_timer_new(p->loop, on_work, w), .fn = fn, .done = done, .arg = arg, .next = p->jobs };
	p->jobs = w;
	loop_timer_set(w->timer, sim.work_ms ? sim_between(sim.work_ms / 2, sim.work_ms) : sim_chance(0.03) ? sim_between(1000, 5000)
													    : sim_between(1, 60));
	return 0;
}
