/* A newer update, a recall, or a hold while nodes are in the middle of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sim_site.h"

enum { NODES = 24, SLEEPERS = 8, SETTLE_MS = 30 * SIM_SECOND };

/* A slow network: a transfer takes a minute, so that trouble finds some nodes before, some in, some after it. */
static const struct site_config config = {
	.n_nodes = NODES, .n_sleepers = SLEEPERS, .sleep_least_ms = 20 * SIM_SECOND, .sleep_most_ms = 20 * SIM_MINUTE, .awake_ms = 40 * SIM_SECOND,
	.watch_ms = 10 * SIM_MINUTE, .retry_max = 3, .retry_s = 600, .lifetime_s = 7200, .image_bytes = 60 * 1000, .policy = POLICY_AUTO,
	.faults = { .loss_up = 0.02, .loss_down = 0.02, .twice = 0.02, .late = 0.01, .least_ms = 200, .most_ms = 900 },
};

static unsigned n_open(const struct site *s, const struct release *r)
{
	unsigned n = 0;

	for (int i = 0; i < NODES; i++) {
		const struct job *j = site_job(s, i, r);
		n += j && job_is_open(j->state);
	}
	return n;
}

static unsigned n_in(const struct site *s, const struct release *r, enum job_state state)
{
	unsigned n = 0;

	for (int i = 0; i < NODES; i++)
		n += site_job_is(s, i, r, state);
	return n;
}

static struct site *begin(uint64_t seed)
{
	struct site *s = calloc(1, sizeof(*s));

	sim_begin(seed);
	site_open(s, &config);
	site_nodes_start(s, SIM_MINUTE);
	sim_run_to(3 * SIM_MINUTE);
	site_publish(s, 2);
	sim_run_to(3 * SIM_MINUTE + sim_between(10 * SIM_SECOND, 4 * SIM_MINUTE));
	return s;
}

static void end(struct site *s)
{
	bool is_settled = sim_run_until(site_is_settled, s, sim_now() + 12 * SIM_HOUR);

	if (!is_settled)
		site_describe(s);
	SIM_CHECK(is_settled, "not every node arrives at the newest");
	site_close(s);
	free(s);
	(void)sim_end(); /* the hash is for another test */
}

static bool newest_is_available(void *ctx)
{
	const struct site *s = ctx;
	const struct update *u = intake_update(s->intake, site_newest(s)->id);

	return u && u->state == UPDATE_AVAILABLE;
}

/* ---- a newer one ---- */

static void supersede(uint64_t seed)
{
	struct site *s = begin(seed);
	const struct release *old = &s->releases[0];

	site_publish(s, 3);
	SIM_CHECK(sim_run_until(newest_is_available, s, sim_now() + 5 * SIM_MINUTE), "the newer one never comes");
	sim_run_to(sim_now() + SETTLE_MS);
	SIM_CHECK(n_open(s, old) == 0, "%u jobs of the superseded update are open", n_open(s, old));
	end(s);
}

static void a_newer_update_takes_the_place_of_the_older(void **state)
{
	sim_each_seed(12, supersede);
}

/* ---- a recall ---- */

static bool is_recalled(void *ctx)
{
	return ((struct site *)ctx)->releases[0].is_recalled;
}

static void recall(uint64_t seed)
{
	struct site *s = begin(seed);
	const struct release *r = &s->releases[0];
	unsigned n_installed = 0, n_later = 0;

	site_recall(s, 0);
	SIM_CHECK(sim_run_until(is_recalled, s, sim_now() + 5 * SIM_MINUTE), "the recall is never acknowledged");
	sim_run_to(sim_now() + SETTLE_MS);
	SIM_CHECK(n_open(s, r) == 0, "%u jobs of the recalled update are open", n_open(s, r));
	for (int i = 0; i < NODES; i++)
		n_installed += s->nodes[i].installed[0];
	if (sim_chance(0.5)) {
		site_kill(s);
		sim_run_to(sim_now() + SIM_MINUTE);
		site_start(s);
	}
	sim_run_to(sim_now() + 2 * SIM_HOUR);
	for (int i = 0; i < NODES; i++)
		n_later += s->nodes[i].installed[0];
	SIM_CHECK(n_later == n_installed, "%u nodes install the recalled update long after its recall", n_later - n_installed);
	SIM_CHECK(n_open(s, r) == 0, "%u jobs of the recalled update are open again", n_open(s, r));
	SIM_CHECK(n_in(s, r, JOB_CONFIRMED) + n_in(s, r, JOB_CANCELLED) + n_in(s, r, JOB_FAILED) <= NODES, "jobs");
	site_publish(s, 3);
	end(s);
}

static void a_recall_stops_every_job_and_no_download_starts_after_it(void **state)
{
	sim_each_seed(16, recall);
}

/* ---- a hold: the image in the cache is damaged while the gateway is down; found out, fetched again ---- */

static void damage(const struct site *s, const struct release *r)
{
	char hex[DIGEST_HEX_BYTES], path[200];
	uint8_t byte;

	(void)snprintf(path, sizeof(path), "%s/images/%s", s->dir, digest_hex(&r->image_digest, hex)); /* fits */
	assert_int_equal(chmod(path, 0600), 0);
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	off_t at = (off_t)sim_random(r->image.n);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static void hold(uint64_t seed)
{
	struct site *s = begin(seed);

	if (!newest_is_available(s))
		SIM_CHECK(sim_run_until(newest_is_available, s, sim_now() + 5 * SIM_MINUTE), "the update never comes");
	sim_run_to(sim_now() + sim_between(0, SIM_MINUTE));
	if (sim_chance(0.5))
		site_kill(s);
	else
		site_stop(s);
	damage(s, &s->releases[0]);
	s->c.payload_failure = 0.7;            /* the hold takes a while */
	site_start(s);
	sim_run_to(sim_now() + sim_between(SIM_SECOND, 20 * SIM_MINUTE));
	s->c.payload_failure = 0;
	end(s);
}

static void a_damaged_image_is_fetched_again_and_the_nodes_go_on(void **state)
{
	sim_each_seed(12, hold);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_newer_update_takes_the_place_of_the_older),
		cmocka_unit_test(a_recall_stops_every_job_and_no_download_starts_after_it),
		cmocka_unit_test(a_damaged_image_is_fetched_again_and_the_nodes_go_on),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("sim/recall", tests, NULL, NULL);
}
