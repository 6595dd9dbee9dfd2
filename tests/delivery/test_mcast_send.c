/* Credit (C9) and windows (C11): delivery/mcast_send.c and mcast_phase.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "mcast_rig.h"

enum { KB = 1024 };

static bool has_paused(struct rig *r, unsigned why)
{
	return rig_view(r).paused & why;
}

static bool is_over(struct rig *r, unsigned arg)
{
	(void)arg;
	return mcast_session_over(r->s);
}

/* ---- credit ---- */

/* 1024 frames for one word; a sign of life is asked for; 256 frames at an eighth of the rate; silence with a STATUS every
 * 5 minutes; after 12 of them it gives up and everybody is served by unicast. */
static void group_that_says_nothing_is_given_up(void **state)
{
	struct rig *r = rig_new(384 * KB, 512, 3, 0, 1);
	unsigned asked;
	struct mono paused;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	for (unsigned i = 0; i < 3; i++)
		r->members[i].dead = true;
	assert_true(rig_run(r, has_paused, MCAST_PAUSE_CREDIT, 3600 * 1000));
	assert_int_equal(r->n_frames, 1024 * 4 + 256);         /* its own first 1024, and three acks */
	assert_true(mono_diff_ms(r->frames[r->n_frames - 1].at, r->frames[r->n_frames - 256].at) >= 255 * 8 * 50);
	asked = rig_count(r, MCAST_STATUS);
	assert_true(asked >= 1);
	paused = r->now;
	(void)rig_run(r, is_over, 0, 4 * 3600 * 1000);
	assert_int_equal(rig_count(r, MCAST_STATUS) - asked, 12);
	assert_true(mono_diff_ms(r->now, paused) >= 65 * 60 * 1000);
	assert_int_equal(rig_view(r).phase, MCAST_PHASE_ABORTED);
	assert_int_equal(r->last_event[MCAST_EV_GAVE_UP][0], 0);
	for (unsigned i = 0; i < 3; i++)
		assert_true(mcast_member_handed_back(r->state[i]));
	rig_free(r);
}

static void word_of_the_group_brings_it_back(void **state)
{
	struct rig *r = rig_new(256 * KB, 512, 3, 0, 1);

	(void)state;
	r->cfg.tuning.credit = 256;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	for (unsigned i = 0; i < 3; i++)
		r->members[i].mute = true;
	assert_true(rig_run(r, has_paused, MCAST_PAUSE_CREDIT, 3600 * 1000));
	(void)rig_run(r, NULL, 0, 7 * 60 * 1000);
	assert_int_equal(rig_report(r, 0, rig_view(r).status_seq, 0, 0, 0, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		r->members[i].mute = false;
	assert_int_equal(rig_view(r).paused, 0);
	rig_run_to_end(r);
	assert_true(rig_complete(r, &r->members[0]));
	rig_free(r);
}

/* A group that lives keeps the rate although nobody has anything to say: signs of life are asked for in time. */
static void living_group_is_asked_before_the_credit_is_gone(void **state)
{
	struct rig *r = rig_new(512 * KB, 512, 20, 0.05, 1);
	struct mono start;

	(void)state;
	r->cfg.tuning.credit = 64;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	start = r->now;
	assert_true(rig_run_phase(r, MCAST_PHASE_SAMPLE));
	assert_true(mono_diff_ms(r->now, start) < 8192 * 50 * 11 / 10);
	assert_int_equal(r->n_events[MCAST_EV_PAUSED], 0);
	rig_free(r);
}

/* At 868 MHz a word of the group is too old after 10 minutes; the group is asked before. */
static void old_words_do_not_count(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 10, 0.05, 1);

	(void)state;
	mcast_link_profile(MCAST_LINK_868, 0, &r->cfg.link);
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SAMPLE));
	assert_true(rig_count(r, MCAST_STATUS) >= 4);
	assert_int_equal(r->n_events[MCAST_EV_PAUSED], 0);
	assert_true(mono_diff_ms(r->frames[40].at, r->frames[39].at) >= 5300);
	rig_run_to_end(r);
	rig_free(r);
}

static void links_have_profiles(void **state)
{
	struct mcast_link l;

	(void)state;
	mcast_link_profile(MCAST_LINK_THREAD, 8, &l);
	assert_int_equal(l.gap_ms, 520);
	assert_int_equal(l.sends_per_frame, 16);
	mcast_link_profile(MCAST_LINK_THREAD, 16, &l);
	assert_int_equal(l.gap_ms, 1040);
	mcast_link_profile(MCAST_LINK_802154, 0, &l);
	assert_int_equal(l.gap_ms, 50);
	assert_int_equal(l.gap_min_ms, 20);
	for (int i = 0; i < MCAST_LINK_KIND_COUNT; i++)
		assert_int_equal(mcast_link_parse(span_str(mcast_link_name((enum mcast_link_kind)i))), i);
	assert_int_equal(mcast_link_parse(SPAN_LIT("lora")), -ENOTSUP);
}

/* ---- windows ---- */

static struct rig *rig_windowed(unsigned n_members, double p, uint32_t length_ms, uint32_t period_ms, unsigned count)
{
	struct rig *r = rig_new(128 * KB, 256, n_members, p, 11);

	r->cfg.windows = (struct mcast_session_windows){ mono_add_ms(r->now, 60 * 1000), length_ms, period_ms, (uint16_t)count };
	return r;
}

/* Every frame inside a window; each window begins with three ANNOUNCE that name its generations and ends with END 3. */
static void frames_stay_inside_their_windows(void **state)
{
	struct rig *r = rig_windowed(20, 0.1, 60 * 1000, 600 * 1000, 0);
	int64_t last = -1;
	unsigned n_windows = 0;

	(void)state;
	rig_start(r);
	rig_run_to_end(r);
	for (size_t i = 0; i < r->n_frames; i++) {
		int64_t at = mono_diff_ms(r->frames[i].at, mono_add_ms((struct mono){ 1000000 }, 60 * 1000)), window = at / (600 * 1000);

		assert_true(at >= 0);
		if (i + 1 < r->n_frames)
			assert_true(at % (600 * 1000) <= 60 * 1000);
		if (window == last)
			continue;
		n_windows++;
		last = window;
		for (size_t k = i; k < i + 3; k++)
			assert_int_equal(r->frames[k].type, MCAST_ANNOUNCE);
		assert_int_equal(r->frames[i].announce.length_s, 60);
		if (i > 0) {
			assert_int_equal(r->frames[i - 1].type, MCAST_END);
			assert_int_equal(r->frames[i - 1].end, MCAST_END_WINDOW);
		}
	}
	assert_true(n_windows >= 3);
	assert_true(mcast_session_config(r->s)->windows.count >= n_windows);
	assert_int_equal(r->frames[r->n_frames - 1].end, MCAST_END_COMPLETE);
	rig_free(r);
}

static void windows_hold_the_generations_they_announce(void **state)
{
	struct rig *r = rig_windowed(20, 0.1, 60 * 1000, 600 * 1000, 0);
	unsigned first = 0, last = 0, seen[8] = { 0 };

	(void)state;
	rig_start(r);
	rig_run_to_end(r);
	for (size_t i = 0; i < r->n_frames; i++) {
		const struct rig_frame *f = &r->frames[i];

		if (f->type == MCAST_ANNOUNCE) {
			first = f->announce.gfirst;
			last = f->announce.glast;
		}
		if (f->type != MCAST_DATA)
			continue;
		assert_true(f->data.g >= first && f->data.g <= last);
		seen[f->data.g] += f->data.n <= 256;
	}
	for (unsigned g = 0; g < 8; g++)
		assert_int_equal(seen[g], 256);
	for (unsigned i = 0; i < 20; i++)
		assert_true(rig_complete(r, &r->members[i]) || r->members[i].ready);
	rig_free(r);
}

static bool window_is(struct rig *r, unsigned window)
{
	return rig_view(r).window >= window;
}

/* What sleepers missed comes again in further windows, then by unicast. */
static void carousel_serves_who_missed_a_window(void **state)
{
	struct rig *r = rig_windowed(20, 0.05, 60 * 1000, 600 * 1000, 0);

	(void)state;
	r->cfg.tuning.lost_max = 300;
	r->cfg.tuning.member_share_percent = 500;
	rig_start(r);
	assert_true(rig_run(r, window_is, 1, 3600 * 1000));
	for (unsigned i = 0; i < 5; i++)
		r->members[i].sleeping = true;
	assert_true(rig_run(r, window_is, 2, 3600 * 1000));
	for (unsigned i = 0; i < 5; i++)
		r->members[i].sleeping = false;
	rig_run_to_end(r);
	for (unsigned i = 0; i < 20; i++)
		assert_true(rig_complete(r, &r->members[i]) || r->members[i].ready);
	assert_true(rig_view(r).sent[MCAST_SENT_TRIM] + rig_view(r).sent[MCAST_SENT_PARITY] > 300);
	rig_free(r);
}

static void generation_larger_than_a_window_goes_over_several(void **state)
{
	struct rig *r = rig_windowed(5, 0.02, 8 * 1000, 60 * 1000, 0);

	(void)state;
	rig_start(r);
	rig_run_to_end(r);
	for (unsigned i = 0; i < 5; i++)
		assert_true(rig_complete(r, &r->members[i]) || r->members[i].ready);
	assert_true(rig_view(r).window >= 13);
	rig_free(r);
}

static void windows_that_are_used_up_end_in_unicast(void **state)
{
	struct rig *r = rig_windowed(5, 0.1, 60 * 1000, 600 * 1000, 1);

	(void)state;
	rig_start(r);
	(void)rig_run(r, is_over, 0, (int64_t)24 * 3600 * 1000);
	assert_int_equal(rig_view(r).phase, MCAST_PHASE_DONE);
	assert_int_equal(r->frames[r->n_frames - 1].end, MCAST_END_COMPLETE);
	for (unsigned i = 0; i < 5; i++)
		assert_true(r->members[i].ready || mcast_member_handed_back(r->state[i]));
	rig_free(r);
}

static void restart_between_windows_waits_for_the_next(void **state)
{
	struct rig *r = rig_windowed(10, 0.05, 60 * 1000, 600 * 1000, 0);
	size_t before;

	(void)state;
	rig_start(r);
	assert_true(rig_run(r, window_is, 1, 3600 * 1000));
	(void)rig_run(r, NULL, 0, 5000);
	before = r->n_frames;
	rig_crash(r);
	(void)rig_run(r, NULL, 0, 60 * 1000);
	assert_int_equal(r->n_frames, before);
	rig_run_to_end(r);
	assert_int_equal(r->frames[before].type, MCAST_ANNOUNCE);
	for (unsigned i = 0; i < 10; i++)
		assert_true(rig_complete(r, &r->members[i]) || r->members[i].ready);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(group_that_says_nothing_is_given_up),
		cmocka_unit_test(word_of_the_group_brings_it_back),
		cmocka_unit_test(living_group_is_asked_before_the_credit_is_gone),
		cmocka_unit_test(old_words_do_not_count),
		cmocka_unit_test(links_have_profiles),
		cmocka_unit_test(frames_stay_inside_their_windows),
		cmocka_unit_test(windows_hold_the_generations_they_announce),
		cmocka_unit_test(carousel_serves_who_missed_a_window),
		cmocka_unit_test(generation_larger_than_a_window_goes_over_several),
		cmocka_unit_test(windows_that_are_used_up_end_in_unicast),
		cmocka_unit_test(restart_between_windows_waits_for_the_next),
	};

	return cmocka_run_group_tests_name("delivery/mcast_send", tests, NULL, NULL);
}
