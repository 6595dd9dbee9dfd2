/* The freestanding multicast receiver (dormouse-multicast(7)): what it tells and when (MCD-8), when it listens (MCD-11), whom it believes
 * (MCD-4, MCD-10), what it costs (MCD-17). */
#include "receiver_rig.h"

#include <math.h>
#include <string.h>

#include "codec/mcast_message.h"

static struct rig *armed(uint32_t size, unsigned k, uint64_t seed)
{
	struct rig *g = rig_new(size, 64, k, seed);

	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);
	(void)mcr_step(&g->r, g->now);
	return g;
}

static struct mcast_status status(uint8_t seq, uint8_t flags)
{
	return (struct mcast_status){ .seq = seq, .flags = flags, .prob = 255, .window_slots = 40, .n_expected = 10 };
}

static void delays_are_those_of_the_formula(void **state)
{
	static const unsigned expected[] = { 0, 1, 2, 10, 64, 1000, 65535 };

	for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
		double lambda = log(expected[i] ? expected[i] : 1) + 1, t = 5000;
		uint32_t last = 0;
		for (unsigned u = 0; u < 65536; u += 127) {
			double x = u / 65536.0 * lambda / t + lambda / (t * (exp(lambda) - 1));
			double want = t / lambda * log(x * (exp(lambda) - 1) * t / lambda);
			uint32_t is = mcr_report_delay(5000, expected[i], u);
			assert_true(fabs(want - is) < 3);
			assert_in_range(is, last, 5000);
			last = is;
		}
	}
}

static void reports_are_read_by_the_gateway_and_fit_a_frame(void **state)
{
	struct mcr_report r = { .sid = { 1, 2, 3, 4, 5, 6, 7, 8 }, .seq = 255, .loss_permille = 1000, .flags = 63 };
	uint8_t bytes[MCR_REPORT_BYTES];
	struct mcast_report d;

	for (unsigned n = 0; n <= MCR_REPORT_ENTRIES; n++) {
		for (unsigned wide = 0; wide < 3; wide++) {
			r.n = (uint8_t)n;
			for (unsigned i = 0; i < n; i++) {
				r.entries[i].g = (uint8_t)(wide == 2 ? 60 + i : i);
				r.entries[i].d = (uint16_t)(wide == 0 ? 20 : wide == 1 ? 200 - i : 500 - i);
			}
			r.flags = 1;
			size_t len = mcr_report_encode(&r, bytes);
			assert_int_equal(mcast_report_decode(SPAN(bytes, len), &d), 0);
			assert_int_equal(d.seq, 255);
			assert_int_equal(d.loss_permille, 1000);
			assert_true(d.n_deficits == n || (d.flags & MCAST_REPORT_MORE && d.n_deficits > 7));
			for (size_t i = 0; i < d.n_deficits; i++) {
				assert_int_equal(d.deficits[i].g, r.entries[i].g);
				assert_int_equal(d.deficits[i].d, r.entries[i].d);
			}
		}
	}
}

static void a_status_is_answered_once_within_its_window(void **state)
{
	struct rig *g = armed(131072, 512, 1);
	struct mcast_status s = status(1, MCAST_STATUS_ALL);

	rig_pass(g, 100);
	uint32_t heard = g->now;
	assert_true(rig_status(g, &s));
	assert_true(rig_status(g, &s));
	rig_wait(g, 3000);
	assert_int_equal(g->n_reports, 1);
	assert_in_range(g->report_at[0] - heard, 0, 2000);
	assert_int_equal(g->reports[0].seq, 1);
	assert_in_range(g->reports[0].loss_permille, 70, 130);
	assert_int_equal(g->reports[0].n, 4);
	for (unsigned i = 1; i < 4; i++)
		assert_true(g->reports[0].entries[i].d <= g->reports[0].entries[i - 1].d);
	s.seq = 2;
	s.prob = 0;
	g->n_reports = 0;
	for (unsigned i = 0; i < 200; i++) {           /* one in 256 */
		s.seq = (uint8_t)(2 + i);
		(void)rig_status(g, &s);
		rig_wait(g, 2100);
	}
	assert_in_range(g->n_reports, 0, 6);
	rig_free(g);
}

static void an_echo_that_knows_as_much_cancels(void **state)
{
	static const struct { int less; bool leaves_out, all, cancels; } cases[] = {
		{ 0, false, false, true }, { 1, false, false, true }, { 2, false, false, false }, { -5, false, false, true },
		{ 0, true, false, false }, { 0, false, true, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct rig *g = armed(131072, 512, 2);
		struct mcast_status s = status(9, cases[i].all ? MCAST_STATUS_ALL : 0);

		s.window_slots = 400;
		rig_pass(g, 100);
		assert_true(rig_status(g, &s));
		s.flags |= MCAST_STATUS_ECHO;
		for (unsigned gen = 0; gen < 4u - cases[i].leaves_out; gen++)
			s.deficits[s.n_deficits++] =
				(struct mcast_status_deficit){ (uint8_t)gen, (uint8_t)((int)mcr_deficit(&g->r, gen) - cases[i].less) };
		unsigned before = g->n_reports;
		assert_true(rig_status(g, &s));
		rig_wait(g, 21000);
		if (before == 0)
			assert_int_equal(g->n_reports, !cases[i].cancels);
		assert_int_equal(mcr_stats(&g->r, g->now)->n_cancelled, cases[i].cancels && before == 0);
		rig_free(g);
	}
}

/* MCD-10: a STATUS that was heard, or is a little older, is not heard again. */
static void old_status_frames_are_not_answered_again(void **state)
{
	struct rig *g = armed(32768, 512, 3);
	static const struct { uint8_t seq; bool is_new; } seqs[] = {
		{ 250, true }, { 250, false }, { 249, false }, { 251, true }, { 220, false }, { 255, true }, { 3, true }, { 255, false }, { 227, false },
		{ 100, true }, { 99, false }, { 68, false }, { 200, true },
	};

	for (size_t i = 0; i < sizeof(seqs) / sizeof(*seqs); i++) {
		struct mcast_status s = status(seqs[i].seq, 0);
		g->n_reports = 0;
		assert_true(rig_status(g, &s));
		rig_wait(g, 2500);
		assert_int_equal(g->n_reports, seqs[i].is_new);
	}
	struct mcast_status zero = status(1, 0);
	uint8_t f[MCAST_FRAME_BYTES_MAX];
	(void)mcast_status_encode(mcast_sid8(&g->sid), &zero, f);
	f[2] = 0;
	assert_false(rig_feed(g, f, mcast_frame_seal(g->mk, &g->sid, f, 10)));
	rig_free(g);
}

static struct mcast_announce announce(const struct rig *g)
{
	struct mcast_announce a = { .sid = g->sid, .size = g->setup.size, .z = 64, .log2_e = 12, .alg = 1, .k = 512, .pace_ms = 50, .glast = 0,
				    .slot_ms = 50, .gid = RIG_GID };

	memcpy(a.digest16, g->setup.sha256, 16);
	return a;
}

/* MCD-4, MCD-10 */
static void old_sessions_are_not_joined_again(void **state)
{
	struct rig *g = rig_new(8192, 64, 512, 4);

	rig_session(g, 10);
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);   /* repeated */
	g->setup.pace_ms = 70;
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);
	g->setup.size++;
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_CONFLICT);
	g->setup.size--;
	struct mcr_setup same_counter = g->setup, older = g->setup;
	same_counter.sid[6] ^= 1;
	assert_int_equal(mcr_setup(&g->r, &same_counter, g->now), MCR_REPLAYED);
	older.sid[3] = 9;
	assert_int_equal(mcr_setup(&g->r, &older, g->now), MCR_REPLAYED);
	mcr_abort(&g->r);
	rig_boot(g);                           /* it remembers */
	assert_int_equal(mcr_state(&g->r), MCR_IDLE);
	assert_int_equal(mcr_setup(&g->r, &older, g->now), MCR_REPLAYED);
	struct mcast_announce a = announce(g);
	assert_false(rig_announce(g, &a));     /* equal: we left it */
	rig_session(g, 9);
	a.sid = g->sid;
	assert_false(rig_announce(g, &a));
	rig_session(g, 11);
	a.sid = g->sid;
	a.gid = RIG_GID + 1;
	assert_false(rig_announce(g, &a));     /* no such group */
	a.gid = RIG_GID;
	assert_true(rig_announce(g, &a));
	assert_int_equal(g->n_announced, 1);
	assert_false(rig_announce(g, &a));     /* not twice in five minutes */
	rig_wait(g, 5 * 60 * 1000);
	assert_true(rig_announce(g, &a));
	assert_int_equal(g->n_announced, 2);
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);
	rig_pass(g, 0);
	assert_int_equal(mcr_state(&g->r), MCR_READY);
	rig_wait(g, 5 * 60 * 1000);
	rig_session(g, 12);
	a.sid = g->sid;
	assert_false(rig_announce(g, &a));     /* the same object again */
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_HAVE_IT);
	rig_free(g);
}

/* MCD-10: a device has left the group, and took its key along. What is here stays, and so does what was seen under the old key. */
static void the_key_of_a_live_session_changes(void **state)
{
	struct rig *g = armed(65536, 512, 9);
	uint8_t old[MCAST_FRAME_BYTES_MAX];
	size_t old_n = rig_make_data(g, 0, 301, old);
	struct mcast_status s = status(1, MCAST_STATUS_ALL);

	for (unsigned n = 1; n <= 300; n++)
		assert_true(rig_data(g, 0, n));
	struct mcr_setup first = g->setup;
	rig_rekey(g);
	assert_false(rig_data(g, 0, 301));     /* nobody told it the key yet */
	assert_int_equal(mcr_check_setup(&g->r, &g->setup), MCR_ACCEPTED);
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);   /* repeated */
	assert_int_equal(mcr_state(&g->r), MCR_RECV);
	assert_int_equal(mcr_deficit(&g->r, 0), 212);
	assert_int_equal(mcr_stats(&g->r, g->now)->n_lost, 0);
	assert_false(rig_feed(g, old, old_n));
	assert_int_equal(mcr_deficit(&g->r, 0), 212);
	rig_boot(g);                           /* and it stays so */
	assert_true(rig_data(g, 0, 301));
	rig_rekey(g);
	g->setup.size--;
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_CONFLICT);
	g->setup.size++;
	g->setup.alg = 2;
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_CONFLICT);
	g->setup.alg = first.alg;
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);
	rig_pass(g, 0);
	assert_int_equal(mcr_state(&g->r), MCR_READY);
	assert_true(rig_is_true(g));
	rig_rekey(g);                          /* it has the object, and goes on to say so */
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_HAVE_IT);
	g->n_reports = 0;
	assert_true(rig_status(g, &s));
	rig_wait(g, 3000);
	assert_int_equal(g->n_reports, 1);
	assert_int_equal(g->reports[0].flags, MCR_REPORT_DONE);
	struct mcr_setup older = g->setup;     /* the same counter under the new key as under the one before */
	older.sid[6] ^= 1;
	assert_int_equal(mcr_setup(&g->r, &older, g->now), MCR_REPLAYED);
	older.gid--;
	assert_int_equal(mcr_setup(&g->r, &older, g->now), MCR_REPLAYED);
	rig_free(g);
}

static void setups_beyond_our_limits_are_refused_with_the_reason(void **state)
{
	struct rig *g = rig_new(8192, 64, 512, 5);
	static const struct { uint32_t size; unsigned z, k, e, alg; enum mcr_ack ack; } cases[] = {
		{ 0, 64, 512, 12, 1, MCR_NO_SPACE }, { 524289, 64, 512, 12, 1, MCR_NO_SPACE }, { UINT32_MAX, 64, 512, 12, 1, MCR_NO_SPACE },
		{ 8192, 72, 512, 12, 1, MCR_BAD_Z }, { 8192, 0, 512, 12, 1, MCR_BAD_Z }, { 8192, 60, 512, 12, 1, MCR_BAD_Z },
		{ 8192, 64, 520, 12, 1, MCR_K_TOO_LARGE }, { 8192, 64, 0, 12, 1, MCR_K_TOO_LARGE }, { 8192, 8, 504, 12, 1, MCR_K_TOO_LARGE },
		{ 8192, 64, 512, 11, 1, MCR_NO_SPACE }, { 8192, 64, 512, 32, 1, MCR_NO_SPACE }, { 8192, 64, 512, 12, 3, MCR_BAD_ALG },
		{ 8192, 64, 512, 13, 0, MCR_ACCEPTED },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		rig_session(g, 100 + (uint32_t)i);
		g->setup.size = cases[i].size;
		g->setup.z = (uint16_t)cases[i].z;
		g->setup.k = (uint16_t)cases[i].k;
		g->setup.log2_e = (uint8_t)cases[i].e;
		g->setup.alg = (uint8_t)cases[i].alg;
		assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), cases[i].ack);
	}
	rig_session(g, 200);
	g->setup.gid = 8;                      /* one session at a time */
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_BUSY);
	rig_free(g);
}

/* A session that was ended by another of the same object goes on with what is here. */
static void the_same_object_in_a_new_session_goes_on(void **state)
{
	struct rig *g = armed(131072, 512, 6);
	uint8_t solved[1];

	for (unsigned n = 1; n <= 512; n++)
		(void)rig_data(g, 0, n);
	for (unsigned n = 1; n <= 100; n++)
		(void)rig_data(g, 1, n);
	assert_true(rig_end(g, MCAST_END_REPLACED));
	assert_int_equal(g->n_events[MCR_EV_END], 1);
	assert_false(mcr_is_listening(&g->r));
	rig_boot(g);
	rig_session(g, 2);
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);
	assert_int_equal(mcr_solved_map(&g->r, solved, sizeof(solved)), 1);
	assert_int_equal(solved[0], 1);
	assert_int_equal(mcr_deficit(&g->r, 1), 412);
	(void)mcr_step(&g->r, g->now);
	rig_pass(g, 0);
	assert_int_equal(mcr_state(&g->r), MCR_READY);
	assert_true(rig_is_true(g));
	rig_free(g);
}

static void a_session_ends_with_its_lifetime(void **state)
{
	struct rig *g = rig_new(8192, 64, 512, 7);

	g->setup.lifetime_s = 1000;
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);
	rig_wait(g, 999000);
	assert_int_equal(mcr_state(&g->r), MCR_ARMED);
	rig_wait(g, 1000);
	assert_int_equal(mcr_state(&g->r), MCR_IDLE);
	assert_int_equal(g->n_events[MCR_EV_EXPIRED], 1);
	rig_boot(g);
	assert_int_equal(mcr_state(&g->r), MCR_IDLE);
	rig_free(g);
}

/* MCD-11 */
static void a_sleeper_listens_in_its_windows_only(void **state)
{
	struct rig *g = rig_new(131072, 64, 512, 8);

	g->setup.windows = (struct mcr_windows){ .first_in_s = 100, .length_s = 60, .period_s = 3600, .count = 2 };
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);
	(void)mcr_step(&g->r, g->now);
	assert_false(mcr_is_listening(&g->r));
	rig_wait(g, 99000);
	assert_false(mcr_is_listening(&g->r));
	rig_wait(g, 900);
	assert_true(mcr_is_listening(&g->r));  /* early, as clocks drift: 2 x 50 ppm x 3600 s + 100 ms */
	rig_wait(g, 1100);
	struct mcast_announce a = announce(g);
	a.length_s = 60;
	a.gfirst = a.glast = 1;
	assert_true(rig_announce(g, &a));
	for (unsigned n = 1; n <= 512; n++)
		(void)rig_data(g, 1, n);
	assert_false(mcr_is_listening(&g->r)); /* all of this window is here */
	rig_wait(g, 57500);
	assert_true(mcr_is_listening(&g->r));  /* for the STATUS at its end */
	assert_true(rig_end(g, MCAST_END_WINDOW));
	assert_false(mcr_is_listening(&g->r));
	rig_wait(g, 3600 * 1000 - 70000);
	assert_false(mcr_is_listening(&g->r));
	rig_wait(g, 15000);
	assert_true(mcr_is_listening(&g->r));
	rig_wait(g, 5000);
	assert_false(mcr_is_listening(&g->r)); /* silence: 3 s and 20 gaps */
	assert_in_range(mcr_stats(&g->r, g->now)->radio_on_ms, 4000, 12000);
	for (unsigned i = 0; i < 3; i++) {     /* the carousel */
		rig_wait(g, 3600 * 1000 - 6000);
		assert_int_equal(mcr_state(&g->r), MCR_RECV);
		rig_wait(g, 6000);
	}
	rig_wait(g, 3600 * 1000);
	assert_int_equal(mcr_state(&g->r), MCR_CLOSED);
	assert_int_equal(g->n_events[MCR_EV_END], 1);
	rig_free(g);
}

/* MCD-11: a pass, a sample, parity: the radio is off while others are served. */
static void the_radio_is_off_while_parity_is_for_others(void **state)
{
	double sum = 0;

	for (uint64_t seed = 20; seed < 40; seed++) {
		struct rig *g = armed(131072, 512, seed);
		struct mcast_status s = status(1, MCAST_STATUS_ALL);
		rig_pass(g, 100);
		rig_wait(g, 50);
		(void)rig_status(g, &s);
		rig_wait(g, 3000);
		rig_parity(g, 100, 1, 82);
		assert_in_range(mcr_stats(&g->r, g->now)->radio_on_ms, g->n_listened * 49, g->n_listened * 51 + 3500);   /* STATUS, and its window's end */
		sum += g->n_listened / 2048.0;
		rig_free(g);
	}
	print_message("radio on: %.3f of the image's frames\n", sum / 20);
	assert_true(sum / 20 < 1.13);
}

/* MCD-8, MCD-9: data goes on while the group is asked for a sign of life, but not while it is asked for a sample. */
static void nobody_naps_while_data_goes_on(void **state)
{
	for (unsigned answers = 0; answers < 2; answers++) {
		struct rig *g = armed(131072, 512, 41);
		struct mcast_status s = status(1, MCAST_STATUS_ALL);
		s.prob = answers ? 255 : 0;
		for (unsigned n = 1; n <= 100; n++)
			(void)rig_data(g, 0, n);
		assert_true(rig_status(g, &s));
		for (unsigned ms = 0; ms < 3000; ms += 50) {
			assert_true(mcr_is_listening(&g->r));
			rig_wait(g, 50);
		}
		assert_true(answers == 0 || g->n_reports == 1);
		rig_pass(g, 100);
		s.seq = 2;
		assert_true(rig_status(g, &s));        /* the sample: until its window is over */
		rig_wait(g, 1999);
		assert_false(mcr_is_listening(&g->r));
		rig_wait(g, 2);
		assert_true(mcr_is_listening(&g->r));
		assert_true(rig_data(g, 0, 513));
		s.seq = 3;
		assert_true(rig_status(g, &s));        /* between parity */
		rig_wait(g, 1999);
		assert_true(mcr_is_listening(&g->r));
		s.seq = 4;
		s.flags = 0;
		assert_true(rig_status(g, &s));        /* between rounds of repair */
		rig_wait(g, 1999);
		assert_false(mcr_is_listening(&g->r));
		rig_wait(g, 2);
		assert_true(mcr_is_listening(&g->r));
		rig_free(g);
	}
}

/* MCD-17: the memory of the whole receiver, with the default limits. On a 32-bit machine pointers take 8 bytes less. */
static void the_receiver_fits_four_kilobytes(void **state)
{
	assert_int_equal(MCR_L, 160);
	assert_int_equal(MCR_K_MAX, 512);
	assert_int_equal(MCR_F_MAX, 512 * 1024 / 64);
	print_message("%zu bytes\n", sizeof(struct mcast_receiver));
	assert_true(sizeof(struct mcast_receiver) <= 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delays_are_those_of_the_formula),
		cmocka_unit_test(reports_are_read_by_the_gateway_and_fit_a_frame),
		cmocka_unit_test(a_status_is_answered_once_within_its_window),
		cmocka_unit_test(an_echo_that_knows_as_much_cancels),
		cmocka_unit_test(old_status_frames_are_not_answered_again),
		cmocka_unit_test(old_sessions_are_not_joined_again),
		cmocka_unit_test(the_key_of_a_live_session_changes),
		cmocka_unit_test(setups_beyond_our_limits_are_refused_with_the_reason),
		cmocka_unit_test(the_same_object_in_a_new_session_goes_on),
		cmocka_unit_test(a_session_ends_with_its_lifetime),
		cmocka_unit_test(a_sleeper_listens_in_its_windows_only),
		cmocka_unit_test(the_radio_is_off_while_parity_is_for_others),
		cmocka_unit_test(nobody_naps_while_data_goes_on),
		cmocka_unit_test(the_receiver_fits_four_kilobytes),
	};

	return cmocka_run_group_tests_name("node/mcast_reports", tests, NULL, NULL);
}
