#include "delivery/mcast_plan.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static bool near(double a, double b, double by)
{
	return fabs(a - b) <= by;
}

/* C3: with L = 160 and D = 2, K = 1024 to a loss of 0.10, 512 to 0.21, 256 to 0.44. */
static void k_is_the_largest_that_the_worst_member_decodes(void **state)
{
	static const struct { uint32_t size; uint16_t l, k_max; double loss; unsigned k; } rows[] = {
		{ 1 << 20, 160, 0, 0.095, 1024 }, { 1 << 20, 160, 0, 0.11, 512 }, { 1 << 20, 160, 0, 0.20, 512 },
		{ 1 << 20, 160, 0, 0.22, 256 }, { 1 << 20, 160, 0, 0.43, 256 }, { 1 << 20, 160, 0, 0.50, 128 },
		{ 1 << 20, 160, 0, -1, 512 },                  /* not known: 0.2 */
		{ 1 << 20, 160, 256, 0.01, 256 },              /* a member's Kmax */
		{ 1 << 20, 128, 0, 0.30, 256 },
		{ 128 * 1024, 160, 0, 0.01, 512 },             /* 1024 would leave 2 generations to interleave */
		{ 1 << 20, 4, 0, 0.5, 128 },                   /* none decodes: the smallest */
		{ 4 << 20, 160, 0, 0.9, 256 },                 /* 128 would be 512 generations */
		{ 0, 160, 0, 0.1, 0 },
		{ 64 << 20, 160, 0, 0.1, 0 },                  /* more than 256 generations whatever K */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mcast_plan_size in = { .size = rows[i].size, .z = 64, .log2_e = 12, .interleave = 8, .lost_max = rows[i].l,
					      .k_max = rows[i].k_max, .loss = rows[i].loss };

		if (mcast_plan_k(&in) != rows[i].k)
			fail_msg("row %zu: K = %u, not %u", i, mcast_plan_k(&in), rows[i].k);
	}
}

static void sample_is_one_percent_of_the_fragments_within_bounds(void **state)
{
	static const struct { uint32_t f; unsigned n, s; } rows[] = {
		{ 512, 100, 8 }, { 2048, 100, 20 }, { 2048, 10, 10 }, { 8192, 100, 64 }, { 100, 100, 8 }, { 100, 3, 3 }, { 2048, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(mcast_plan_sample(rows[i].f, rows[i].n, 8, 64), rows[i].s);
}

static void probability_gives_the_expected_number_of_answers(void **state)
{
	(void)state;
	assert_int_equal(mcast_plan_prob(10, 10), 255);
	assert_int_equal(mcast_plan_prob(0, 0), 255);
	assert_int_equal(mcast_plan_prob(11, 10), 255);
	assert_int_equal(mcast_plan_prob(50, 100), 127);
	assert_int_equal(mcast_plan_prob(1, 4096), 0);         /* never more than asked for by much, never none */
	for (unsigned n = 20; n <= 4096; n += 7) {
		double expected = (mcast_plan_prob(16, n) + 1) / 256.0 * n;

		assert_true(n > 2000 || (expected > 12 && expected < 21));
	}
}

static void report_window_is_twice_the_reporters_and_bounded(void **state)
{
	(void)state;
	assert_int_equal(mcast_plan_slots(0), 16);
	assert_int_equal(mcast_plan_slots(8), 16);
	assert_int_equal(mcast_plan_slots(9), 18);
	assert_int_equal(mcast_plan_slots(4096), 8192);
	assert_int_equal(mcast_plan_slots(UINT32_MAX), MCAST_PLAN_SLOTS_MAX);
}

/* C6.3: values over 2 x median + 0.01 are not of this group. */
static void estimate_leaves_outliers_out(void **state)
{
	uint16_t values[] = { 100, 90, 1000, 110, 95, 105, 700, 100 };
	uint16_t calm[] = { 0, 0, 0, 10, 11, 0 };
	struct mcast_plan_loss loss;

	(void)state;
	mcast_plan_loss(values, 8, 2048, &loss);
	assert_int_equal(loss.n_used, 6);
	assert_int_equal(loss.n_outliers, 2);
	assert_true(near(loss.p, 0.1, 1e-9));
	assert_true(loss.v == 0);                              /* what binomial numbers do by themselves */
	mcast_plan_loss(calm, 6, 2048, &loss);
	assert_int_equal(loss.n_outliers, 1);
	assert_true(near(loss.p, 0.002, 1e-9));
}

static void variance_counts_only_when_it_is_clearly_there(void **state)
{
	uint16_t wide[] = { 60, 140, 80, 120, 100 }, one[] = { 100 };
	struct mcast_plan_loss loss;

	(void)state;
	mcast_plan_loss(wide, 5, 2048, &loss);
	assert_true(near(loss.p, 0.1, 1e-9));
	assert_true(near(loss.v, 0.001 - 0.1 * 0.9 / 2048, 1e-9));
	mcast_plan_loss(one, 1, 2048, &loss);
	assert_true(near(loss.p, 0.1, 1e-9) && loss.v == 0);
}

static void quantile_is_the_inverse_normal_distribution(void **state)
{
	(void)state;
	assert_true(near(mcast_plan_quantile(0.5), 0, 1e-9));
	assert_true(near(mcast_plan_quantile(0.975), 1.959963984540, 1e-8));
	assert_true(near(mcast_plan_quantile(0.99), 2.326347874041, 1e-8));
	assert_true(near(mcast_plan_quantile(0.001), -3.090232306168, 1e-8));
	assert_true(isfinite(mcast_plan_quantile(0)) && isfinite(mcast_plan_quantile(1)));
}

/* C6.4 by hand: M 512, p 0.1, 100 members, 4 generations: z = 2.3263; (51.2 + 2.3263 sqrt(51.2) + 1.6) / 0.9 = 77.2. */
static void proactive_parity_follows_the_formula(void **state)
{
	struct mcast_plan_loss p10 = { .p = 0.1 }, none = { .p = 0.0001 }, wide = { .p = 0.1, .v = 0.001 }, all = { .p = 1 };

	(void)state;
	assert_int_equal(mcast_plan_proactive(512, &p10, 100, 4, 4), 78);
	assert_int_equal(mcast_plan_proactive(512, &p10, 1, 4, 4), 59);        /* z = 0 */
	assert_int_equal(mcast_plan_proactive(512, &none, 100, 4, 4), 0);
	assert_true(mcast_plan_proactive(512, &wide, 100, 4, 4) > 100);
	assert_int_equal(mcast_plan_proactive(512, &all, 100, 4, 4), 4 * 512);
	assert_int_equal(mcast_plan_proactive(512, &p10, 0, 4, 4), 0);
}

static void repair_and_trim_follow_the_formulas(void **state)
{
	(void)state;
	assert_int_equal(mcast_plan_repair(0, 0.1), 0);
	assert_int_equal(mcast_plan_repair(1, 0), 1);
	assert_int_equal(mcast_plan_repair(1, 0.1), 2);        /* (1 + 0.316) / 0.9 */
	assert_int_equal(mcast_plan_repair(10, 0.1), 13);      /* (10 + 1) / 0.9 = 12.2 */
	assert_int_equal(mcast_plan_trim(512, 160, 160, 0.1), 0);
	assert_int_equal(mcast_plan_trim(512, 200, 160, 0.1), 160);    /* f = 56 / 180 */
	assert_int_equal(mcast_plan_trim(512, 512, 0, 0.1), 512);
	assert_int_equal(mcast_plan_trimmed_deficit(200, 160), 144);
	assert_int_equal(mcast_plan_trimmed_deficit(160, 160), 160);
}

/* C6.6: in a star one deficit is cheaper by a row; behind 16 repeaters it is not. */
static void unicast_takes_over_when_it_is_cheaper(void **state)
{
	(void)state;
	assert_false(mcast_plan_unicast_cheaper(1, 1, 0.1, 1, 2));
	assert_true(mcast_plan_unicast_cheaper(2, 1, 0.1, 16, 2));
	assert_true(mcast_plan_unicast_cheaper(1, 10, 0.1, 1, 200));
	assert_false(mcast_plan_unicast_cheaper(1, 0, 0.1, 1, 0));
}

static void gap_follows_the_loss_between_pace_and_eight_times_it(void **state)
{
	uint32_t gap = 50;

	(void)state;
	assert_int_equal(mcast_plan_gap(50, 50, 0.1, -1), 50);
	for (unsigned i = 0; i < 6; i++)
		gap = mcast_plan_gap(gap, 50, 0.2, 0.1);
	assert_int_equal(gap, 400);
	assert_int_equal(mcast_plan_gap(400, 50, 0.13, 0.1), 400);
	assert_int_equal(mcast_plan_gap(400, 50, 0.1, 0.1), 360);
	assert_int_equal(mcast_plan_gap(51, 50, 0.1, 0.1), 50);
	assert_int_equal(mcast_plan_gap(50, 50, 0.01, 0), 100);        /* a group that never lost anything */
	assert_int_equal(mcast_plan_gap(50, 50, 0, 0), 50);
}

static void windows_hold_whole_generations(void **state)
{
	struct mcast_geometry geo;

	(void)state;
	assert_int_equal(mcast_geometry_of(128 * 1024, 64, 256, 12, &geo), 0);         /* 8 x 256 */
	assert_int_equal(mcast_plan_window(&geo, 0, 3600 * 1000, 50, 50, 0.1), 8);
	assert_int_equal(mcast_plan_window(&geo, 6, 3600 * 1000, 50, 50, 0.1), 2);
	assert_int_equal(mcast_plan_window(&geo, 0, 40 * 1000, 50, 50, 0.1), 2);
	assert_int_equal(mcast_plan_window(&geo, 0, 2000, 50, 50, 0.1), 1);            /* at least one */
	assert_int_equal(mcast_plan_windows(&geo, 3600 * 1000, 50, 50, 0.1), 1);
	assert_int_equal(mcast_plan_windows(&geo, 40 * 1000, 50, 50, 0.1), 4);
	assert_true(mcast_plan_windows(&geo, 2000, 50, 50, 0.1) >= 2048 / 40);
}

/* The figure: 2316 frames for 100 members, 2048 fragments, p = 0.1. */
static void bound_is_the_expected_worst_of_the_group(void **state)
{
	(void)state;
	assert_true(near(mcast_plan_bound(2048, 0.1, 100), 2316, 3));
	assert_true(near(mcast_plan_bound(2048, 0.1, 1), 2048 / 0.9, 1e-6));
	assert_true(near(mcast_plan_bound(2048, 0, 1000), 2048, 1e-9));
}

static void session_ids_count_up_and_keep_their_last_byte_unique(void **state)
{
	uint8_t live[32] = { 0 };
	struct mcast_sid sid;

	(void)state;
	live[4 / 8] |= 1 << 4;
	assert_int_equal(mcast_plan_sid(41, 0xaabbcc04, live, &sid), 0);
	assert_int_equal(mcast_sid_counter(&sid), 42);
	assert_int_equal(mcast_sid8(&sid), 5);
	assert_int_equal(mcast_plan_sid(UINT32_MAX - 1, 0, live, &sid), 0);
	assert_int_equal(mcast_sid_counter(&sid), UINT32_MAX);
	assert_int_equal(mcast_plan_sid(UINT32_MAX, 0, live, &sid), -EOVERFLOW);
	memset(live, 0xff, sizeof(live));
	assert_int_equal(mcast_plan_sid(1, 0, live, &sid), -EBUSY);
	live[31] = 0x7f;
	assert_int_equal(mcast_plan_sid(1, 7, live, &sid), 0);
	assert_int_equal(mcast_sid8(&sid), 255);
}

static void status_numbers_wrap_without_zero(void **state)
{
	(void)state;
	assert_int_equal(mcast_plan_seq(0, 1), 1);
	assert_int_equal(mcast_plan_seq(254, 1), 255);
	assert_int_equal(mcast_plan_seq(255, 1), 1);
	assert_int_equal(mcast_plan_seq(250, 8), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(k_is_the_largest_that_the_worst_member_decodes),
		cmocka_unit_test(sample_is_one_percent_of_the_fragments_within_bounds),
		cmocka_unit_test(probability_gives_the_expected_number_of_answers),
		cmocka_unit_test(report_window_is_twice_the_reporters_and_bounded),
		cmocka_unit_test(estimate_leaves_outliers_out),
		cmocka_unit_test(variance_counts_only_when_it_is_clearly_there),
		cmocka_unit_test(quantile_is_the_inverse_normal_distribution),
		cmocka_unit_test(proactive_parity_follows_the_formula),
		cmocka_unit_test(repair_and_trim_follow_the_formulas),
		cmocka_unit_test(unicast_takes_over_when_it_is_cheaper),
		cmocka_unit_test(gap_follows_the_loss_between_pace_and_eight_times_it),
		cmocka_unit_test(windows_hold_whole_generations),
		cmocka_unit_test(bound_is_the_expected_worst_of_the_group),
		cmocka_unit_test(session_ids_count_up_and_keep_their_last_byte_unique),
		cmocka_unit_test(status_numbers_wrap_without_zero),
	};

	return cmocka_run_group_tests_name("delivery/mcast_plan", tests, NULL, NULL);
}
