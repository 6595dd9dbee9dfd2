/* Two days of fifty nodes, twenty of them asleep most of the time, on a network that loses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim_site.h"

enum { NODES = 50, SLEEPERS = 20, IMAGE_BYTES = 20 * 1024, BLOCKS = IMAGE_BYTES / 1024 };

static const struct site_config config = {
	.n_nodes = NODES, .n_sleepers = SLEEPERS, .sleep_least_ms = 30 * SIM_SECOND, .sleep_most_ms = 6 * SIM_HOUR, .awake_ms = 90 * SIM_SECOND,
	.watch_ms = 20 * SIM_MINUTE, .retry_max = 5, .retry_s = 600, .lifetime_s = 90000, .image_bytes = IMAGE_BYTES, .policy = POLICY_AUTO,
	.payload_failure = 0.02, .faults = { .twice = 0.02, .late = 0.01, .least_ms = 5, .most_ms = 120 },
};

static void publish(void *ctx)
{
	struct site *s = ctx;

	site_publish(s, 2 + s->n_releases);
}

/* Returns the hash of the story. */
static uint64_t two_days(uint64_t seed, double loss)
{
	struct site *s = calloc(1, sizeof(*s));
	struct site_config c = config;

	sim_begin(seed);
	c.faults.loss_up = c.faults.loss_down = loss;
	site_open(s, &c);
	site_nodes_start(s, SIM_MINUTE);
	sim_at(SIM_HOUR, publish, s);
	sim_at(20 * SIM_HOUR, publish, s);
	sim_run_to(48 * SIM_HOUR);
	bool is_settled = site_is_settled(s);
	if (!is_settled)
		site_describe(s);
	SIM_CHECK(is_settled, "not every node runs the newest after two days at %g %% loss", loss * 100);
	for (int i = 0; i < NODES; i++) {
		const struct site_node *n = &s->nodes[i];
		struct node_status st = node_status(n->node);
		SIM_CHECK(st.failures == 0, "%s failed %u times: %s", n->name, st.failures, st.reason);
		for (size_t k = 0; k < s->n_releases && !n->setup.by_proxy_uri; k++)
			SIM_CHECK(n->blocks[k] <= BLOCKS + 2 * st.resumes + 2, "%s asked for %u blocks of %d, %u resumes", n->name, n->blocks[k],
				  BLOCKS, st.resumes);
	}
	if (getenv("DORMOUSE_SIM_VERBOSE")) {
		struct sim_net_counts k = sim_net_counts();
		fprintf(stderr, "seed %llu loss %g: %llu events, %u commits, up %llu down %llu lost %llu requests %llu repeated %llu notifications %llu "
			"separate %llu asleep %u\n", (unsigned long long)seed, loss, (unsigned long long)sim_events(), s->n_commits,
			(unsigned long long)k.n_up, (unsigned long long)k.n_down, (unsigned long long)k.n_lost, (unsigned long long)k.n_requests,
			(unsigned long long)k.n_repeated, (unsigned long long)k.n_notifications, (unsigned long long)k.n_separate, s->n_sent_asleep);
	}
	site_close(s);
	free(s);
	return sim_end();
}

static void without_loss(uint64_t seed) { (void)two_days(seed, 0); } /* the hash is for one test only */
static void with_5_percent_loss(uint64_t seed) { (void)two_days(seed, 0.05); }
static void with_20_percent_loss(uint64_t seed) { (void)two_days(seed, 0.2); }

static void every_node_ends_on_the_right_image(void **state)
{
	sim_each_seed(3, without_loss);
}

static void every_node_ends_on_the_right_image_with_5_percent_loss(void **state)
{
	sim_each_seed(3, with_5_percent_loss);
}

static void every_node_ends_on_the_right_image_with_20_percent_loss(void **state)
{
	sim_each_seed(3, with_20_percent_loss);
}

static void one_seed_gives_one_story(void **state)
{
	uint64_t story = two_days(7, 0.05);

	assert_int_equal(two_days(7, 0.05), story);
	assert_int_not_equal(two_days(8, 0.05), story);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_node_ends_on_the_right_image),
		cmocka_unit_test(every_node_ends_on_the_right_image_with_5_percent_loss),
		cmocka_unit_test(every_node_ends_on_the_right_image_with_20_percent_loss),
		cmocka_unit_test(one_seed_gives_one_story),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("sim/fleet", tests, NULL, NULL);
}
