#include "delivery/mcast_session.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "mcast_rig.h"

enum { KB = 1024 };

static unsigned count_ready(const struct rig *r)
{
	return rig_view(r).members[MCAST_MEMBER_READY];
}

/* How many frames of a type came before the first of another. */
static size_t first_of(const struct rig *r, enum mcast_type type)
{
	for (size_t i = 0; i < r->n_frames; i++)
		if (r->frames[i].type == type)
			return i;
	return r->n_frames;
}

static bool rig_position_is(struct rig *r, unsigned position)
{
	return rig_view(r).position >= position;
}

/* ---- order ---- */

/* C6: three ANNOUNCE, the systematic pass, a sampled STATUS, parity, STATUS without Participants, END 0 as the last frame. */
static void frames_come_in_the_order_of_the_specification(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 40, 0.1, 1);
	size_t i = 0, n_systematic = 0;

	(void)state;
	rig_start(r);
	rig_run_to_end(r);
	for (; i < 3; i++)
		assert_int_equal(r->frames[i].type, MCAST_ANNOUNCE);
	for (; r->frames[i].type != MCAST_STATUS; i++)
		if (r->frames[i].type == MCAST_DATA) {
			assert_true(r->frames[i].data.n <= mcast_geometry_generation(&r->geo, r->frames[i].data.g).m);
			n_systematic++;
		}
	assert_int_equal(n_systematic, 2048);
	assert_int_equal(r->frames[i].status.flags, MCAST_STATUS_ALL);
	assert_int_equal(r->frames[i].status.n_expected, 20);
	for (i++; i < r->n_frames && r->frames[i].type != MCAST_STATUS; i++)
		if (r->frames[i].type == MCAST_DATA)
			assert_true(r->frames[i].data.n > mcast_geometry_generation(&r->geo, r->frames[i].data.g).m);
	assert_false(r->frames[i].status.flags & MCAST_STATUS_ALL);
	assert_int_equal(r->frames[r->n_frames - 1].type, MCAST_END);
	assert_int_equal(r->frames[r->n_frames - 1].end, MCAST_END_COMPLETE);
	assert_int_equal(r->frames[r->n_frames - 2].type, MCAST_STATUS);        /* the second silent one */
	assert_int_equal(r->frames[r->n_frames - 3].type, MCAST_STATUS);
	for (unsigned m = 0; m < r->n_members; m++)
		assert_true(rig_complete(r, &r->members[m]) || r->members[m].ready);
	rig_free(r);
}

/* C6.2: blocks of 8 generations, N = 1..M round robin in each. */
static void systematic_pass_interleaves_eight_generations(void **state)
{
	struct rig *r = rig_new(320 * KB, 512, 3, 0, 1);               /* 10 generations of 512 */
	unsigned seen = 0;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SAMPLE));
	for (size_t i = 0; i < r->n_frames; i++) {
		const struct mcast_data *d = &r->frames[i].data;

		if (r->frames[i].type != MCAST_DATA)
			continue;
		if (seen < 8 * 512) {
			assert_int_equal(d->g, seen % 8);
			assert_int_equal(d->n, seen / 8 + 1);
		} else {
			assert_int_equal(d->g, 8 + (seen - 8 * 512) % 2);
			assert_int_equal(d->n, (seen - 8 * 512) / 2 + 1);
		}
		seen++;
	}
	assert_int_equal(seen, 5120);
	rig_free(r);
}

/* C6.1: at the start and every 256 frames; when every member has joined, every 1024. */
static void announce_is_repeated_while_somebody_has_to_hear_it(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 3, 0, 1);
	size_t last = 2, n = 0;

	(void)state;
	rig_start(r);
	assert_int_equal(mcast_session_member_add(r->s, &(struct mcast_member_config){ "silent", true }, r->now), 3);
	assert_true(rig_run(r, rig_position_is, 1000, 3600 * 1000));
	for (size_t i = 3; i < r->n_frames; i++) {
		if (r->frames[i].type != MCAST_ANNOUNCE)
			continue;
		assert_true(i - last >= 255 && i - last <= 257);
		last = i;
		n++;
	}
	assert_int_equal(n, 3);
	assert_int_equal(mcast_session_descriptor_fetched(r->s, 3, r->now), 0);
	assert_true(rig_run_phase(r, MCAST_PHASE_SAMPLE));
	for (size_t i = last + 1; i < r->n_frames; i++) {
		if (r->frames[i].type != MCAST_ANNOUNCE)
			continue;
		assert_int_equal(i - last, 1024);
		last = i;
		n++;
	}
	assert_int_equal(n, 4);
	assert_int_equal(r->frames[0].announce.gfirst, 0);
	assert_int_equal(r->frames[0].announce.glast, 3);
	assert_int_equal(r->frames[0].announce.length_s, 0);
	rig_free(r);
}

/* C9: the gap is kept, on average, and a late timer is made up for by at most ten frames. */
static void frames_keep_their_gap_and_bursts_are_bounded(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 3, 0, 1);
	size_t before;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	(void)rig_run(r, NULL, 0, 5000);
	for (size_t i = 1; i < r->n_frames; i++)
		assert_true(mono_diff_ms(r->frames[i].at, r->frames[i - 1].at) >= 50);
	before = r->n_frames;
	r->now = mono_add_ms(r->now, 60 * 1000);               /* a minute in which nobody called */
	(void)mcast_session_step(r->s, r->now);
	assert_int_equal(r->n_frames - before, 10);
	(void)mcast_session_step(r->s, r->now);
	assert_true(r->n_frames - before <= 11);
	rig_free(r);
}

/* ---- frames are not lost by us ---- */

static void full_buffers_delay_the_same_frame_by_two_gaps(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 3, 0, 1);
	struct mono failed, wake;
	size_t before;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	(void)rig_run(r, NULL, 0, 1000);
	r->send_error = -ENOBUFS;
	(void)rig_run(r, NULL, 0, 200);
	before = r->n_frames;
	failed = r->now;
	wake = mcast_session_step(r->s, failed);
	assert_true(mono_diff_ms(wake, failed) <= 100);
	r->send_error = 0;
	assert_true(rig_run_phase(r, MCAST_PHASE_SAMPLE));
	for (size_t i = before, n = r->frames[before - 1].data.n; i < r->n_frames && r->frames[i].type == MCAST_DATA; i++)
		assert_int_equal(r->frames[i].data.n, ++n);    /* none skipped, none twice: one generation */
	rig_free(r);
}

static void other_send_errors_are_lost_frames(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 3, 0, 1);

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	r->send_error = -ENETUNREACH;
	(void)rig_run(r, NULL, 0, 1000);
	r->send_error = 0;
	assert_true(rig_view(r).position >= 20);
	rig_run_to_end(r);
	assert_true(rig_complete(r, &r->members[0]) || r->members[0].ready);
	rig_free(r);
}

static void object_that_is_busy_is_read_a_second_later(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 3, 0, 1);

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	r->read_error = -EAGAIN;
	(void)rig_run(r, NULL, 0, 500);
	assert_int_equal(rig_view(r).paused, MCAST_PAUSE_OBJECT);
	r->read_error = 0;
	(void)rig_run(r, NULL, 0, 2000);
	assert_int_equal(rig_view(r).paused, 0);
	r->read_error = -EIO;
	(void)rig_run(r, NULL, 0, 2000);
	assert_int_equal(rig_view(r).phase, MCAST_PHASE_ABORTED);
	assert_int_equal(r->last_event[MCAST_EV_GAVE_UP][0], 2);
	assert_int_equal(r->frames[r->n_frames - 1].end, MCAST_END_ABORT);
	rig_free(r);
}

/* ---- sample and parity ---- */

static void sample_is_tried_three_times(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 20, 0.1, 1);
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		r->members[i].mute = true;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_STATUS));
	for (size_t i = 0; i < r->n_frames; i++)
		n += r->frames[i].type == MCAST_STATUS && r->frames[i].status.flags & MCAST_STATUS_ALL;
	assert_int_equal(n, 3);
	assert_int_equal(rig_view(r).loss_permille, UINT16_MAX);
	assert_int_equal(rig_view(r).sent[MCAST_SENT_PARITY], 0);
	rig_free(r);
}

static void proactive_parity_is_sized_by_the_sample(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 100, 0.1, 4);
	struct mcast_session_view v;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_PROACTIVE));
	v = rig_view(r);
	assert_true(v.loss_permille > 80 && v.loss_permille < 120);
	assert_true(v.sample_reports >= 8 && v.sample_reports <= 40);
	assert_true(v.rows_planned > 4 * 60 && v.rows_planned < 4 * 110);
	assert_true(rig_run_phase(r, MCAST_PHASE_STATUS));
	assert_int_equal(rig_view(r).sent[MCAST_SENT_PARITY], v.rows_planned);
	rig_free(r);
}

/* MCD-8: 1000 per mille is said by who heard nothing or was restarted, be it most of the group: it says nothing of the air. */
static void those_that_know_no_loss_are_left_out_of_the_sample(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 100, 0.1, 4);
	struct mcast_session_view v;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SAMPLE));
	(void)rig_run(r, NULL, 0, 10);
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(rig_report(r, i, rig_view(r).status_seq, 1000, 0, 0, NULL), 0);
	assert_true(rig_run_phase(r, MCAST_PHASE_PROACTIVE));
	v = rig_view(r);
	assert_true(v.loss_permille > 80 && v.loss_permille < 120);
	assert_true(v.rows_planned < 4 * 120);
	rig_free(r);
}

static void lossless_group_gets_no_parity(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 10, 0, 4);

	(void)state;
	rig_start(r);
	rig_run_to_end(r);
	assert_int_equal(rig_view(r).sent[MCAST_SENT_PARITY], 0);
	assert_int_equal(count_ready(r), 10);                  /* the sample told: everybody answered and was done */
	assert_int_equal(rig_count(r, MCAST_DATA), 2048);
	rig_free(r);
}

/* C6.5: fresh rows only, whatever is asked. */
static void no_parity_row_is_sent_twice(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 60, 0.2, 5);
	unsigned last[MCAST_GENERATIONS_MAX] = { 0 };

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		r->members[i].loss = 0.4;
	rig_start(r);
	rig_run_to_end(r);
	for (size_t i = 0; i < r->n_frames; i++) {
		const struct mcast_data *d = &r->frames[i].data;

		if (r->frames[i].type != MCAST_DATA || d->n <= 512)
			continue;
		assert_int_equal(d->n, 512 + last[d->g] + 1);
		last[d->g]++;
	}
	assert_true(last[0] > 100);
	assert_true(rig_view(r).round > 0);
	rig_free(r);
}

/* ---- status ---- */

/* C6.5: after every 8 reports an echo with the same seq and the worst deficits. */
static void echo_follows_every_eight_reports(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 100, 0.1, 6);
	unsigned echoes = 0;

	(void)state;
	r->cfg.tuning.unfinished = 100 * 4;                    /* z = 0: about half of everybody stays unfinished */
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_REPAIR));
	for (size_t i = 1; i < r->n_frames; i++) {
		const struct mcast_status *st = &r->frames[i].status;

		if (r->frames[i].type != MCAST_STATUS || !(st->flags & MCAST_STATUS_ECHO))
			continue;
		echoes++;
		assert_int_equal(st->seq, r->frames[i - 1].status.seq);
		assert_true(st->n_deficits >= 1 && st->n_deficits <= 4);
		for (unsigned k = 1; k < st->n_deficits; k++)
			assert_true(st->deficits[k - 1].d >= st->deficits[k].d);
	}
	assert_true(echoes >= 1);
	assert_int_equal(rig_view(r).sent[MCAST_SENT_ECHO], echoes);
	assert_true(r->members[0].n_answers + r->members[1].n_answers < 100);
	rig_run_to_end(r);
	rig_free(r);
}

static void two_silent_windows_end_it(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 5, 0, 6);
	size_t end;

	(void)state;
	rig_start(r);
	rig_run_to_end(r);
	end = first_of(r, MCAST_END);
	assert_int_equal(end, r->n_frames - 1);
	assert_int_equal(rig_view(r).sent[MCAST_SENT_STATUS], 3);
	assert_true(mono_diff_ms(r->frames[end].at, r->frames[end - 1].at) >= 16 * 50);
	rig_free(r);
}

/* C6.5: more lost than the matrix holds: part of the systematic rows again, then parity. */
static void trim_repeats_systematic_rows_from_a_rotating_start(void **state)
{
	struct rig *r = rig_new(64 * KB, 512, 30, 0.05, 7);
	unsigned trims = 0, last = 0;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		r->members[i].loss = 0.5;
	r->cfg.tuning.member_share_percent = 1000;
	rig_start(r);
	(void)rig_run(r, NULL, 0, 24 * 3600 * 1000);           /* also those that were not heard at the end */
	assert_true(rig_view(r).sent[MCAST_SENT_TRIM] > 0);
	assert_true(r->n_events[MCAST_EV_TRIM] > 0);
	for (size_t i = first_of(r, MCAST_STATUS); i < r->n_frames; i++) {
		const struct mcast_data *d = &r->frames[i].data;

		if (r->frames[i].type != MCAST_DATA || d->n > 512)
			continue;
		if (trims++ && d->n != 1)
			assert_true(d->n == last + 1 || last == 512 || r->frames[i - 1].data.g != d->g ||
				    r->frames[i - 1].type != MCAST_DATA || r->frames[i - 1].data.n > 512);
		last = d->n;
	}
	for (unsigned i = 0; i < 30; i++)
		assert_true(rig_complete(r, &r->members[i]) || r->members[i].ready);
	rig_free(r);
}

/* C5: without parity (alg 0) repair is repetition, and ends. */
static void object_without_parity_is_repeated(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 5, 0.02, 7);

	(void)state;
	r->cfg.alg = 0;
	rig_start(r);
	rig_run_to_end(r);
	assert_int_equal(rig_view(r).sent[MCAST_SENT_PARITY], 0);
	for (unsigned i = 0; i < 5; i++)
		assert_true(rig_complete(r, &r->members[i]) || r->members[i].ready);
	rig_free(r);
}

/* C6.6 */
static void stragglers_are_told_to_pull_when_that_is_cheaper(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 30, 0.1, 8);
	unsigned pulls = 0;

	(void)state;
	mcast_link_profile(MCAST_LINK_THREAD, 8, &r->cfg.link);        /* 16 transmissions a frame */
	rig_start(r);
	rig_run_to_end(r);
	for (unsigned i = 0; i < 30; i++) {
		pulls += r->members[i].n_pulls;
		assert_true(rig_complete(r, &r->members[i]) || r->members[i].ready);
	}
	assert_true(pulls > 0);
	assert_int_equal(rig_view(r).pulls_sent, pulls);
	assert_int_equal(rig_view(r).round, 1);
	rig_free(r);
}

static void round_limit_ends_in_unicast(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 6, 0.1, 8);

	(void)state;
	r->cfg.tuning.rounds_max = 0;
	rig_start(r);
	rig_run_to_end(r);
	for (unsigned i = 0; i < 6; i++)
		assert_true(rig_complete(r, &r->members[i]) || r->members[i].n_pulls > 0);
	assert_int_equal(rig_view(r).sent[MCAST_SENT_TRIM], 0);
	rig_free(r);
}

/* ---- commands ---- */

static void pause_and_resume(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 5, 0.1, 9);
	size_t before;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	mcast_session_pause(r->s, r->now);
	before = r->n_frames;
	(void)rig_run(r, NULL, 0, 60 * 1000);
	assert_int_equal(r->n_frames, before);
	assert_int_equal(rig_view(r).paused, MCAST_PAUSE_OPERATOR);
	assert_int_equal(rig_view(r).eta_ms, -1);
	mcast_session_resume(r->s, r->now);
	rig_run_to_end(r);
	assert_int_equal(r->frames[before].type, MCAST_ANNOUNCE);
	assert_int_equal(r->frames[before + 3].type, MCAST_DATA);
	rig_free(r);
}

static void abort_says_so_and_hands_everybody_back(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 5, 0.1, 9);

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	mcast_session_abort(r->s, MCAST_END_REPLACED, r->now);
	mcast_session_abort(r->s, MCAST_END_ABORT, r->now);
	assert_true(mcast_session_sends(r->s));
	(void)rig_run(r, NULL, 0, 1000);
	assert_int_equal(r->frames[r->n_frames - 1].type, MCAST_END);
	assert_int_equal(r->frames[r->n_frames - 1].end, MCAST_END_REPLACED);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(r->state[i], MCAST_MEMBER_FAILED);
		assert_int_equal(r->why[i], MCAST_WHY_SESSION_OVER);
	}
	assert_false(mcast_session_sends(r->s));
	assert_true(mcast_session_over(r->s));
	assert_int_equal(mcast_session_step(r->s, r->now).ms, INT64_MAX);
	rig_free(r);
}

/* C9: a foreign exchange timed out on the same interface. */
static void yield_holds_back_for_a_second(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 5, 0.1, 9);
	struct mono asked;
	size_t before;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	before = r->n_frames;
	asked = r->now;
	mcast_session_yield(r->s, asked);
	(void)rig_run(r, NULL, 0, 1500);
	assert_true(mono_diff_ms(r->frames[before].at, asked) >= 1000);
	assert_true(r->n_frames - before >= 5 && r->n_frames - before <= 12);
	rig_free(r);
}

static void lifetime_ends_it(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 5, 0.1, 9);

	(void)state;
	r->cfg.tuning.lifetime_ms = 10 * 1000;
	rig_start(r);
	assert_false(rig_run(r, NULL, 0, 60 * 1000));
	assert_int_equal(rig_view(r).phase, MCAST_PHASE_ABORTED);
	assert_int_equal(r->last_event[MCAST_EV_GAVE_UP][0], 1);
	rig_free(r);
}

/* C9: the pace is halved when the group loses more than it used to, and comes back. */
static void loss_over_the_baseline_doubles_the_gap(void **state)
{
	struct rig *r = rig_new(64 * KB, 512, 20, 0.2, 10);

	(void)state;
	r->cfg.baseline_permille = 50;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_PROACTIVE));
	assert_int_equal(rig_view(r).gap_ms, 100);
	assert_int_equal(rig_view(r).pace_ms, 50);
	assert_int_equal(r->n_events[MCAST_EV_PACE], 1);
	rig_free(r);
}

static void configuration_is_checked(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 1, 0, 1);
	struct mcast_session_config cfg = r->cfg;
	struct mcast_session *s;

	(void)state;
	cfg.size = 0;
	assert_int_equal(mcast_session_new(&cfg, &r->ops, r->now, &s), -EINVAL);
	cfg = r->cfg;
	cfg.k = 2048;
	assert_int_equal(mcast_session_new(&cfg, &r->ops, r->now, &s), -EINVAL);
	cfg = r->cfg;
	cfg.alg = 3;
	assert_int_equal(mcast_session_new(&cfg, &r->ops, r->now, &s), -EINVAL);
	cfg = r->cfg;
	cfg.tuning.echo_every = 0;
	assert_int_equal(mcast_session_new(&cfg, &r->ops, r->now, &s), -EINVAL);
	cfg = r->cfg;
	cfg.windows = (struct mcast_session_windows){ r->now, 5000, 4000, 1 };
	assert_int_equal(mcast_session_new(&cfg, &r->ops, r->now, &s), -EINVAL);
	cfg = r->cfg;
	cfg.pace_ms = 1;                                       /* under the link's least */
	assert_int_equal(mcast_session_new(&cfg, &r->ops, r->now, &s), 0);
	r->s = s;
	assert_int_equal(rig_view(r).gap_ms, 20);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_come_in_the_order_of_the_specification),
		cmocka_unit_test(systematic_pass_interleaves_eight_generations),
		cmocka_unit_test(announce_is_repeated_while_somebody_has_to_hear_it),
		cmocka_unit_test(frames_keep_their_gap_and_bursts_are_bounded),
		cmocka_unit_test(full_buffers_delay_the_same_frame_by_two_gaps),
		cmocka_unit_test(other_send_errors_are_lost_frames),
		cmocka_unit_test(object_that_is_busy_is_read_a_second_later),
		cmocka_unit_test(sample_is_tried_three_times),
		cmocka_unit_test(proactive_parity_is_sized_by_the_sample),
		cmocka_unit_test(those_that_know_no_loss_are_left_out_of_the_sample),
		cmocka_unit_test(lossless_group_gets_no_parity),
		cmocka_unit_test(no_parity_row_is_sent_twice),
		cmocka_unit_test(echo_follows_every_eight_reports),
		cmocka_unit_test(two_silent_windows_end_it),
		cmocka_unit_test(trim_repeats_systematic_rows_from_a_rotating_start),
		cmocka_unit_test(object_without_parity_is_repeated),
		cmocka_unit_test(stragglers_are_told_to_pull_when_that_is_cheaper),
		cmocka_unit_test(round_limit_ends_in_unicast),
		cmocka_unit_test(pause_and_resume),
		cmocka_unit_test(abort_says_so_and_hands_everybody_back),
		cmocka_unit_test(yield_holds_back_for_a_second),
		cmocka_unit_test(lifetime_ends_it),
		cmocka_unit_test(loss_over_the_baseline_doubles_the_gap),
		cmocka_unit_test(configuration_is_checked),
	};

	return cmocka_run_group_tests_name("delivery/mcast_session", tests, NULL, NULL);
}
