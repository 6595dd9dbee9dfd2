/* tests/sim/sim.h - simulated time: the io layer's loop, workers, clocks and randomness over a queue of virtual timers,
 * so that days of waiting pass in seconds and one seed gives one story. The code under test is linked unchanged; what it
 * would get from src/io and from the kernel comes from here:
 *   sim_loop.c    io/loop.h, io/worker.h, both clocks, base/random.h
 *   sim_net.c     io/coap_endpoint.h, io/coap_client.h over a network that loses, doubles, delays (sim_net.h)
 *   sim_store.c   when the database commits, and what a killed process never wrote (sim_store.h)
 *   sim_site.c    a gateway put together as the daemon does, a vendor, an operator, nodes (sim_site.h)
 * One world at a time; one thread, but for the database's writer, which runs only while the loop waits for it. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/time.h"
#include "io/loop.h"
#include "io/worker.h"

enum { SIM_SECOND = 1000, SIM_MINUTE = 60 * SIM_SECOND, SIM_HOUR = 60 * SIM_MINUTE, SIM_DAY = 24 * SIM_HOUR };

void sim_begin(uint64_t seed);
/* Every timer but those of sim_at() must be gone: what is left is a leak of the code under test. Returns the hash of all that
 * happened. */
uint64_t sim_end(void);

uint64_t sim_seed(void);
int64_t sim_now(void);                         /* virtual ms since sim_begin() */
void sim_step_wall(int64_t ms);                /* somebody sets the clock; the monotonic one does not notice */
void sim_note(uint64_t a, uint64_t b);         /* into the hash of the story */

void sim_random_restart(void);                 /* after what draws once in a process: every story begins alike */
uint64_t sim_random(uint64_t n);               /* 0 .. n-1 */
int64_t sim_between(int64_t least, int64_t most);
bool sim_chance(double p);

/* Runs everything that is due up to this time, then the clock stands there. */
void sim_run_to(int64_t at_ms);
/* Runs until test says so, at most until the time; what it said last. */
bool sim_run_until(bool (*test)(void *ctx), void *ctx, int64_t at_ms);
/* Called after each event. */
void sim_set_after(void (*fn)(void *ctx), void *ctx);
/* Once, in so many ms. */
void sim_at(int64_t in_ms, void (*fn)(void *ctx), void *ctx);
uint64_t sim_events(void);

/* The process is killed: workers do no more work, their done functions still run when the pool is freed. */
void sim_workers_die(void);
/* From now on each work takes between half of it and so long; 0 = as usual, some ms. */
void sim_workers_take(int64_t ms);

/* Ends the program: a promise is broken. Says the seed and the virtual time. */
void sim_fail(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4), noreturn));
#define SIM_CHECK(cond_, ...)                                         \
	do {                                                          \
		if (!(cond_))                                         \
			sim_fail(__FILE__, __LINE__, __VA_ARGS__);    \
	} while (0)

/* How many seeds: DORMOUSE_SIM_SEEDS times what the test says; DORMOUSE_SIM_SEED=N runs that one alone. */
void sim_each_seed(unsigned count, void (*run)(uint64_t seed));
