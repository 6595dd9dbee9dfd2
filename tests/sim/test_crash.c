/* The gateway is killed and the nodes lose power, again and again, at any instant: in the middle of a transfer, between a
 * commit and its acknowledgement, while an update is judged or fetched. What was acknowledged stays, and every node arrives.
 * What is looked at all the time is in sim_watch.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/tmpfile.h"
#include "sim_site.h"

enum { NODES = 24, SLEEPERS = 8, PART_LOST_BYTES = 4096 };

static const struct site_config config = {
	.n_nodes = NODES, .n_sleepers = SLEEPERS, .sleep_least_ms = 30 * SIM_SECOND, .sleep_most_ms = SIM_HOUR, .awake_ms = 60 * SIM_SECOND,
	.watch_ms = 5 * SIM_MINUTE, .retry_max = 1000, .retry_s = 60, .lifetime_s = 7200, .image_bytes = 30 * 1000, .policy = POLICY_APPROVE,
	.payload_failure = 0.1, .node_crash = 0.01,
	.faults = { .loss_up = 0.03, .loss_down = 0.03, .twice = 0.02, .late = 0.02, .least_ms = 5, .most_ms = 150 },
};

struct story {
	struct site site;
	int64_t until;                         /* no more trouble after it */
	int64_t kill_ms;                       /* mean time between kills of the gateway */
	unsigned n_kills, n_stops, n_powers;
};

static void gateway_dies(void *ctx);

static void gateway_returns(void *ctx)
{
	struct story *st = ctx;

	site_start(&st->site);
	sim_at(sim_between(1, 2 * st->kill_ms), gateway_dies, st);
}

static void gateway_dies(void *ctx)
{
	struct story *st = ctx;

	if (sim_now() >= st->until)
		return;
	if (sim_chance(0.1)) {
		site_stop(&st->site);
		st->n_stops++;
	} else {
		site_kill(&st->site);
		st->n_kills++;
	}
	sim_at(sim_chance(0.2) ? sim_between(SIM_MINUTE, 20 * SIM_MINUTE) : sim_between(10, 10 * SIM_SECOND), gateway_returns, st);
}

/* What was written last and not yet synced is gone, or nonsense. */
static void lose_the_end(const struct site_node *n)
{
	static const uint8_t nothing[PART_LOST_BYTES];
	DIR *d = opendir(n->dir);
	struct stat f;

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		if (strncmp(e->d_name, "part-", 5) != 0 || fstatat(dirfd(d), e->d_name, &f, 0) < 0 || f.st_size == 0)
			continue;
		_cleanup_close_ int fd = openat(dirfd(d), e->d_name, O_WRONLY | O_CLOEXEC);
		off_t from = (off_t)sim_random((uint64_t)f.st_size);
		size_t n_lost = (size_t)(f.st_size - from) < sizeof(nothing) ? (size_t)(f.st_size - from) : sizeof(nothing);
		if (fd >= 0 && sim_chance(0.5))
			assert_int_equal(ftruncate(fd, from), 0);
		else if (fd >= 0)
			assert_int_equal(pwrite(fd, nothing, n_lost, from), (ssize_t)n_lost);
	}
	if (d)
		(void)closedir(d); /* readers only */
}

static void power_goes(void *ctx)
{
	struct story *st = ctx;
	int i = (int)sim_random(NODES);

	if (sim_now() >= st->until)
		return;
	site_node_kill(&st->site, i);
	st->n_powers++;
	if (sim_chance(0.3))
		lose_the_end(&st->site.nodes[i]);
	site_node_start(&st->site, i, sim_between(1, SIM_MINUTE));
	sim_at(sim_between(1, SIM_MINUTE), power_goes, st);
}

static void publish(void *ctx)
{
	struct story *st = ctx;

	site_approve(&st->site, site_publish(&st->site, 2 + st->site.n_releases));
}

static void trouble(uint64_t seed)
{
	struct story *st = calloc(1, sizeof(*st));
	struct site *s = &st->site;

	sim_begin(seed);
	st->until = 8 * SIM_HOUR;
	st->kill_ms = seed % 3 == 0 ? 20 * SIM_SECOND : seed % 3 == 1 ? 3 * SIM_MINUTE : 15 * SIM_MINUTE;
	site_open(s, &config);
	site_nodes_start(s, SIM_MINUTE);
	sim_at(SIM_MINUTE, publish, st);
	sim_at(3 * SIM_HOUR, publish, st);
	sim_at(6 * SIM_HOUR, publish, st);
	sim_at(st->kill_ms, gateway_dies, st);
	sim_at(SIM_MINUTE, power_goes, st);
	sim_run_to(st->until);
	bool is_settled = sim_run_until(site_is_settled, s, 36 * SIM_HOUR);
	if (!is_settled)
		site_describe(s);
	SIM_CHECK(is_settled, "not every node arrives after %u kills, %u stops, %u power failures", st->n_kills, st->n_stops, st->n_powers);
	if (getenv("DORMOUSE_SIM_VERBOSE"))
		fprintf(stderr, "seed %llu: %u kills, %u stops, %u power failures, settled after %lld min, %u commits\n", (unsigned long long)seed,
			st->n_kills, st->n_stops, st->n_powers, (long long)(sim_now() / SIM_MINUTE), s->n_commits);
	site_close(s);
	free(st);
	(void)sim_end(); /* the hash is for another test */
}

static void what_was_acknowledged_stays_and_every_node_arrives(void **state)
{
	sim_each_seed(12, trouble);
}

/* ---- a gateway that restarts while a slow transfer goes on ---- */

enum { SLOW_NODES = 12, SLOW_BLOCKS = 150 };

static void patience(uint64_t seed)
{
	struct site *s = calloc(1, sizeof(*s));
	struct site_config c = config;
	unsigned n_restarts = 0;

	sim_begin(seed);
	c.n_nodes = SLOW_NODES;
	c.n_sleepers = 0;
	c.node_crash = 0;
	c.policy = POLICY_AUTO;
	c.image_bytes = SLOW_BLOCKS * 1024;
	c.faults = (struct sim_faults){ .loss_up = 0.01, .loss_down = 0.01, .least_ms = 300, .most_ms = 1200 };
	site_open(s, &c);
	site_nodes_start(s, 10 * SIM_SECOND);
	site_publish(s, 2);
	sim_run_to(3 * SIM_MINUTE);
	sim_workers_take(8 * SIM_SECOND);      /* a slow disk: the images are verified before they are read */
	for (; !site_is_settled(s) && n_restarts < 50; n_restarts++) {
		site_kill(s);
		sim_run_to(sim_now() + sim_between(SIM_SECOND, 5 * SIM_SECOND));
		site_start(s);
		sim_run_to(sim_now() + sim_between(20 * SIM_SECOND, 60 * SIM_SECOND));
	}
	SIM_CHECK(sim_run_until(site_is_settled, s, sim_now() + SIM_HOUR), "not every node arrives");
	for (int i = 0; i < SLOW_NODES; i++) {
		const struct site_node *n = &s->nodes[i];
		if (!n->setup.by_proxy_uri)
			SIM_CHECK(n->blocks[0] <= SLOW_BLOCKS + 4 * n_restarts, "%s asked for %u blocks of %d, with %u restarts", n->name, n->blocks[0],
				  SLOW_BLOCKS, n_restarts);
	}
	site_close(s);
	free(s);
	(void)sim_end(); /* the hash is for another test */
}

static void a_restart_of_the_gateway_costs_no_node_what_it_has(void **state)
{
	sim_each_seed(6, patience);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_acknowledged_stays_and_every_node_arrives),
		cmocka_unit_test(a_restart_of_the_gateway_costs_no_node_what_it_has),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("sim/crash", tests, NULL, NULL);
}
