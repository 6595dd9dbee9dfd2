/* Members: setup, those that refuse, are silent, come late, leave, lie; delivery/mcast_member.c and mcast_repair.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "mcast_rig.h"

enum { KB = 1024 };

static struct mcast_member_view member(const struct rig *r, unsigned i)
{
	struct mcast_member_view v;

	assert_int_equal(mcast_session_member(r->s, i, &v), 0);
	return v;
}

static bool rig_is_quiet(struct rig *r, unsigned arg)
{
	(void)arg;
	return mcast_session_over(r->s);
}

/* ---- setup ---- */

/* C14: at most 8 in parallel, 4 tries. */
static void setups_run_eight_at_a_time(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 50, 0.05, 1);

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	assert_int_equal(r->most_asked, 8);
	assert_int_equal(rig_view(r).setups_sent, 50);
	assert_int_equal(rig_view(r).members[MCAST_MEMBER_JOINED], 50);
	rig_free(r);
}

static void silent_and_refusing_members_are_handed_back(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 20, 0.05, 1);

	(void)state;
	r->members[3].ignores_setup = true;
	r->members[4].refuses = true;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	assert_int_equal(r->members[3].n_setups, 4);
	assert_int_equal(r->state[3], MCAST_MEMBER_INVITED);   /* it may have heard the setup */
	assert_int_equal(r->state[5], MCAST_MEMBER_JOINED);
	assert_int_equal(r->state[4], MCAST_MEMBER_REFUSED);
	assert_int_equal(r->members[4].n_setups, 1);
	assert_int_equal(member(r, 4).refusal, MCAST_ACK_NO_SPACE);
	assert_true(mcast_member_handed_back(r->state[4]));
	assert_true(rig_run_phase(r, MCAST_PHASE_UNICAST));
	assert_int_equal(r->state[3], MCAST_MEMBER_SILENT);
	assert_int_equal(r->why[3], MCAST_WHY_NO_ANSWER);
	assert_true(mcast_member_handed_back(r->state[3]));
	rig_free(r);
}

/* Its acks are all lost; what it reports tells that it is there. */
static void member_whose_acks_are_lost_takes_part(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 20, 0.05, 1);

	(void)state;
	r->members[3].ignores_setup = true;
	r->members[3].loss = 0.3;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	r->members[3].joined = true;
	rig_run_to_end(r);
	assert_int_equal(r->members[3].n_pulls, 0);
	assert_true(r->state[3] == MCAST_MEMBER_JOINED || r->state[3] == MCAST_MEMBER_READY);
	assert_true(rig_complete(r, &r->members[3]));
	rig_free(r);
}

static void setups_that_hang_do_not_hold_back_the_others(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 4, 0.05, 1);
	struct mcast_ack ack = { .sid = r->cfg.sid };

	(void)state;
	r->slow_setups = true;
	rig_start(r);
	(void)rig_run(r, NULL, 0, 1000);
	assert_int_equal(mcast_session_setup_done(r->s, 0, &ack, 0, r->now), 0);
	assert_int_equal(mcast_session_setup_done(r->s, 0, &ack, 0, r->now), -ENOENT);
	assert_int_equal(mcast_session_setup_done(r->s, 99, &ack, 0, r->now), -ENOENT);
	(void)rig_run(r, NULL, 0, 200 * 1000);
	assert_int_equal(rig_view(r).phase, MCAST_PHASE_SETUP);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC)); /* after setup_wait_ms */
	assert_int_equal(rig_view(r).members[MCAST_MEMBER_ASKED], 3);
	rig_free(r);
}

static void nobody_to_send_to_ends_it_without_a_frame(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 2, 0, 1);

	(void)state;
	r->members[0].refuses = true;
	r->members[1].ignores_setup = true;
	rig_start(r);
	(void)rig_run(r, rig_is_quiet, 0, 3600 * 1000);
	assert_int_equal(rig_view(r).phase, MCAST_PHASE_DONE);
	assert_int_equal(r->n_frames, 0);
	rig_free(r);
}

static void ack_may_say_that_the_object_is_there(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 2, 0, 1);
	struct mcast_ack have = { .sid = r->cfg.sid, .code = MCAST_ACK_HAVE_IT }, key = { .sid = r->cfg.sid, .code = MCAST_ACK_NO_KEY };

	(void)state;
	r->slow_setups = true;
	rig_start(r);
	(void)rig_run(r, NULL, 0, 1000);
	assert_int_equal(mcast_session_setup_done(r->s, 0, &have, 0, r->now), 0);
	assert_int_equal(member(r, 0).state, MCAST_MEMBER_READY);
	assert_int_equal(member(r, 0).why, MCAST_WHY_HAD_IT);
	assert_int_equal(mcast_session_setup_done(r->s, 1, &key, 0, r->now), 0);
	assert_int_equal(member(r, 1).state, MCAST_MEMBER_NEW);        /* asked again, with the key */
	(void)rig_run(r, NULL, 0, 20 * 1000);
	assert_int_equal(r->members[1].n_setups, 2);
	rig_free(r);
}

static void members_with_the_key_are_told_by_announce(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 0, 0, 1);

	(void)state;
	rig_start(r);
	assert_int_equal(mcast_session_member_add(r->s, &(struct mcast_member_config){ "a", true }, r->now), 0);
	assert_int_equal(mcast_session_member_add(r->s, &(struct mcast_member_config){ "b", true }, r->now), 1);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	assert_int_equal(rig_view(r).setups_sent, 0);
	assert_int_equal(mcast_session_descriptor_fetched(r->s, 0, r->now), 0);
	assert_int_equal(member(r, 0).state, MCAST_MEMBER_JOINED);
	assert_int_equal(rig_report(r, 1, 0, 10, 0, 0, NULL), 0);
	assert_int_equal(member(r, 1).state, MCAST_MEMBER_JOINED);
	assert_int_equal(mcast_session_descriptor_fetched(r->s, 9, r->now), -ENOENT);
	rig_free(r);
}

/* ---- coming and going ---- */

static void member_that_joins_late_pulls(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 10, 0.1, 1);
	int i;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_PROACTIVE));
	i = mcast_session_member_add(r->s, &(struct mcast_member_config){ .device = "late" }, r->now);
	assert_int_equal(i, 10);
	r->n_members = 11;
	for (unsigned g = 0; g < r->geo.n_generations; g++)
		r->members[10].held[g] = calloc(1, RIG_M_MAX);
	rig_run_to_end(r);
	assert_int_equal(r->why[10], MCAST_WHY_DONE);
	assert_int_equal(r->members[10].n_pulls, 1);
	assert_int_equal(rig_view(r).sent[MCAST_SENT_TRIM], 0);
	rig_free(r);
}

static void members_are_added_once(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 2, 0, 1);
	char device[DEVICE_ID_BYTES + 1];

	(void)state;
	memset(device, 'x', sizeof(device) - 1);
	device[sizeof(device) - 1] = 0;
	rig_start(r);
	assert_int_equal(mcast_session_member_find(r->s, "node-1"), 1);
	assert_int_equal(mcast_session_member_find(r->s, "node-2"), MCAST_MEMBER_NONE);
	assert_int_equal(mcast_session_member_add(r->s, &(struct mcast_member_config){ .device = "node-1" }, r->now), -EEXIST);
	assert_int_equal(mcast_session_member_add(r->s, &(struct mcast_member_config){ .device = "" }, r->now), -EINVAL);
	assert_int_equal(mcast_session_member_add(r->s, &(struct mcast_member_config){ .device = device }, r->now), -EINVAL);
	for (int i = 2; i < MCAST_MEMBERS_MAX; i++) {
		(void)snprintf(device, sizeof(device), "node-%d", i);
		assert_int_equal(mcast_session_member_add(r->s, &(struct mcast_member_config){ .device = device }, r->now), i);
	}
	assert_int_equal(mcast_session_member_add(r->s, &(struct mcast_member_config){ .device = "more" }, r->now), -ENOSPC);
	mcast_session_abort(r->s, MCAST_END_ABORT, r->now);
	assert_int_equal(mcast_session_member_add(r->s, &(struct mcast_member_config){ .device = "more" }, r->now), -ESHUTDOWN);
	rig_free(r);
}

/* C10: a key that a former member knows is changed; sending goes on when the others have the new one. */
static void removal_asks_for_a_new_key(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 5, 0.1, 1);
	size_t before;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	(void)rig_run(r, NULL, 0, 2000);
	assert_int_equal(mcast_session_member_remove(r->s, 2, r->now), 0);
	assert_int_equal(mcast_session_member_remove(r->s, 2, r->now), -ENOENT);
	assert_true(mcast_session_rekey_due(r->s));
	r->members[2].dead = true;
	r->slow_setups = true;
	mcast_session_rekey(r->s, 4, r->now);
	assert_false(mcast_session_rekey_due(r->s));
	before = r->n_frames;
	(void)rig_run(r, NULL, 0, 5000);
	assert_int_equal(r->n_frames, before);
	assert_int_equal(rig_view(r).paused, MCAST_PAUSE_REKEY);
	r->slow_setups = false;
	rig_run_to_end(r);
	assert_int_equal(r->frames[before].type, MCAST_ANNOUNCE);
	assert_int_equal(r->frames[before].announce.gid, 4);
	assert_int_equal(r->members[0].n_setups, 2);
	assert_int_equal(r->members[2].n_setups, 1);
	assert_int_equal(rig_report(r, 2, 0, 10, 0, 0, NULL), -ENOENT);
	rig_free(r);
}

/* A member that was handed back may be ordered again. */
static void handed_back_member_may_come_again(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 3, 0.1, 1);

	(void)state;
	r->members[0].refuses = true;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_ANNOUNCE));
	r->members[0].refuses = false;
	assert_int_equal(mcast_session_member_add(r->s, &(struct mcast_member_config){ .device = "node-0" }, r->now), 0);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	(void)rig_run(r, NULL, 0, 1000);
	assert_int_equal(member(r, 0).state, MCAST_MEMBER_JOINED);
	rig_free(r);
}

/* ---- the dead ---- */

static void dead_members_hold_nobody_back_and_are_handed_back(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 30, 0.1, 2);
	int64_t active;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	for (unsigned i = 0; i < 10; i++)
		r->members[i].dead = true;
	rig_run_to_end(r);
	active = mono_diff_ms(r->now, (struct mono){ 1000000 });
	assert_true(active < 200 * 1000);
	for (unsigned i = 10; i < 30; i++) {
		assert_true(rig_complete(r, &r->members[i]));
		assert_int_equal(mcast_session_member_ready(r->s, i, r->now), 0);
	}
	(void)rig_run(r, rig_is_quiet, 0, 3600 * 1000);
	assert_int_equal(rig_view(r).phase, MCAST_PHASE_DONE);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(r->state[i], MCAST_MEMBER_FAILED);
		assert_int_equal(r->why[i], MCAST_WHY_NEVER_HEARD);
		assert_int_equal(r->members[i].n_pulls, 0);
	}
	rig_free(r);
}

static void pull_without_progress_times_out(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 3, 0, 2);

	(void)state;
	r->members[0].always_wants = true;
	r->members[0].want_d = 5;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_UNICAST));
	assert_int_equal(member(r, 0).state, MCAST_MEMBER_PULLING);
	(void)rig_run(r, NULL, 0, 500 * 1000);
	assert_int_equal(mcast_session_blocks_fetched(r->s, 0, 7, r->now), 0);
	(void)rig_run(r, NULL, 0, 500 * 1000);
	assert_int_equal(member(r, 0).state, MCAST_MEMBER_PULLING);    /* it asked for blocks meanwhile */
	assert_int_equal(rig_view(r).unicast_blocks, 7);
	(void)rig_run(r, NULL, 0, 500 * 1000);
	assert_int_equal(r->state[0], MCAST_MEMBER_FAILED);
	assert_int_equal(r->why[0], MCAST_WHY_PULL_TIMEOUT);
	rig_free(r);
}

static void stragglers_pull_eight_at_a_time(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 20, 0.1, 2);
	unsigned n = 0;

	(void)state;
	r->cfg.tuning.rounds_max = 0;
	r->cfg.tuning.unfinished = 1000;
	for (unsigned i = 0; i < 20; i++)
		r->members[i].always_wants = true, r->members[i].want_d = 3;   /* never READY */
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_UNICAST));
	for (unsigned i = 0; i < 20; i++)
		n += r->members[i].n_pulls;
	assert_int_equal(n, 8);
	rig_run_to_end(r);
	rig_free(r);
}

/* ---- liars ---- */

/* A report is believed within bounds: generations there are, deficits they can have, "done" or deficits but not both. */
static void impossible_reports_are_refused_and_counted(void **state)
{
	static const struct { uint32_t flags; unsigned n; struct mcast_report_deficit d[2]; } lies[] = {
		{ 0, 1, { { 4, 1 } } }, { 0, 1, { { 0, 513 } } }, { 0, 1, { { 255, 1 } } }, { 0, 2, { { 1, 2 }, { 1, 3 } } },
		{ MCAST_REPORT_DONE, 1, { { 0, 1 } } }, { 0, 1, { { 0, 0 } } },
	};
	struct mcast_report other;
	struct rig *r = rig_new(128 * KB, 512, 10, 0, 3);

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(rig_report(r, i, 0, 10, lies[i].flags, lies[i].n, lies[i].d), -EPROTO);
	assert_int_equal(rig_report(r, 6, 0, 1001, 0, 0, NULL), -EPROTO);
	other = (struct mcast_report){ .sid = mcast_sid_of(8, 9) };
	assert_int_equal(mcast_session_report(r->s, 6, &other, r->now), -ESTALE);
	assert_int_equal(rig_report(r, 6, 77, 10, 0, 0, NULL), -ESTALE);       /* a STATUS that never was */
	assert_int_equal(rig_report(r, 99, 0, 10, 0, 0, NULL), -ENOENT);
	assert_true(member(r, 0).suspect);
	assert_int_equal(r->n_events[MCAST_EV_SUSPECT], 7);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rig_report(r, 0, 0, 10, lies[0].flags, lies[0].n, lies[0].d), -EPROTO);
	assert_int_equal(member(r, 0).state, MCAST_MEMBER_PULLING);
	assert_int_equal(r->why[0], MCAST_WHY_LIED);
	assert_int_equal(rig_view(r).reports_heard, 0);
	rig_free(r);
}

static void reports_are_taken_once_per_question(void **state)
{
	struct mcast_report_deficit d = { 0, 3 };
	struct rig *r = rig_new(128 * KB, 512, 10, 0, 3);
	int32_t credit;
	uint8_t seq;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		r->members[i].mute = true;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SAMPLE));
	(void)rig_run(r, NULL, 0, 100);
	seq = rig_view(r).status_seq;
	assert_int_equal(rig_report(r, 0, seq, 10, 0, 1, &d), 0);
	credit = rig_view(r).credit;
	assert_int_equal(rig_report(r, 0, seq, 900, 0, 1, &d), -EBUSY);
	assert_int_equal(rig_report(r, 0, 0, 10, 0, 1, &d), 0);        /* one unasked */
	assert_int_equal(rig_report(r, 0, 0, 10, 0, 1, &d), -EBUSY);
	assert_true(rig_view(r).credit <= credit + 1024);
	r->now = mono_add_ms(r->now, 10 * 1000);
	assert_int_equal(rig_report(r, 0, 0, 10, 0, 1, &d), 0);
	assert_int_equal(rig_report(r, 0, 0, 10, MCAST_REPORT_DONE, 0, NULL), 0);      /* that is always heard */
	assert_int_equal(member(r, 0).state, MCAST_MEMBER_READY);
	rig_free(r);
}

/* Honest members end at the time they would end without the liar, and the air it costs is bounded. */
static uint32_t frames_with_liar(unsigned claims, bool lies)
{
	struct rig *r = rig_new(128 * KB, 512, 30, 0.1, 4);
	uint32_t frames;

	r->members[0].always_wants = lies;
	r->members[0].want_g = 1;
	r->members[0].want_d = (uint16_t)claims;
	r->members[0].loss = lies ? 0 : 0.1;
	rig_start(r);
	rig_run_to_end(r);
	frames = rig_view(r).sent_total;
	for (unsigned i = 1; i < 30; i++)
		assert_true(rig_complete(r, &r->members[i]) || r->members[i].ready);
	if (lies) {
		assert_int_equal(r->members[0].n_pulls, 1);
		assert_true(mcast_member_handed_back(r->state[0]));
		assert_true(r->why[0] == MCAST_WHY_PULL_TIMEOUT);
	}
	rig_free(r);
	return frames;
}

static void one_that_always_reports_deficits_is_served_by_unicast(void **state)
{
	uint32_t honest = frames_with_liar(0, false);

	(void)state;
	assert_true(frames_with_liar(1, true) < honest + 60);
	assert_true(frames_with_liar(50, true) < honest + 400);
	assert_true(frames_with_liar(512, true) < honest + 2048 * 3 / 2 + 600);    /* what one may cost, and the round that told */
}

static void lies_about_loss_do_not_move_the_estimate(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 40, 0.1, 5);

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SAMPLE));
	(void)rig_run(r, NULL, 0, 10);
	for (unsigned i = 0; i < 5; i++)
		(void)rig_report(r, i, rig_view(r).status_seq, 999, 0, 0, NULL);
	assert_true(rig_run_phase(r, MCAST_PHASE_PROACTIVE));
	assert_true(rig_view(r).loss_permille < 120);
	rig_free(r);
}

static void digest_failures_end_in_unicast(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 10, 0.1, 5);

	(void)state;
	r->members[3].extra_flags = MCAST_REPORT_DIGEST_FAILED;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	for (unsigned i = 0; i < 3; i++) {
		r->now = mono_add_ms(r->now, 11 * 1000);
		assert_int_equal(rig_report(r, 3, 0, 10, MCAST_REPORT_DIGEST_FAILED, 0, NULL), 0);
	}
	assert_int_equal(r->why[3], MCAST_WHY_DIGEST);
	rig_free(r);
}

static void stock_core_that_lost_too_much_pulls(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 10, 0.05, 6);

	(void)state;
	r->members[2].loss = 0.5;
	r->members[2].extra_flags = MCAST_REPORT_CORE_ONLY;
	rig_start(r);
	rig_run_to_end(r);
	assert_int_equal(r->members[2].n_pulls, 1);
	assert_int_equal(rig_view(r).sent[MCAST_SENT_TRIM], 0);
	rig_free(r);
}

/* ---- after the end ---- */

static void reports_after_completion_change_nothing_more(void **state)
{
	struct mcast_report_deficit d = { 0, 3 };
	struct rig *r = rig_new(32 * KB, 512, 3, 0, 7);

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		r->members[i].mute = true;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_LAZY));
	(void)rig_run(r, NULL, 0, 1000);
	assert_int_equal(rig_report(r, 0, 0, 10, MCAST_REPORT_DONE, 0, NULL), 0);
	assert_int_equal(rig_report(r, 1, 0, 10, 0, 1, &d), 0);        /* a straggler nobody heard of */
	(void)rig_run(r, NULL, 0, 1000);
	assert_int_equal(r->members[1].n_pulls, 1);
	assert_int_equal(mcast_session_member_failed(r->s, 2, r->now), 0);
	(void)rig_run(r, rig_is_quiet, 0, 3600 * 1000);
	assert_int_equal(rig_view(r).phase, MCAST_PHASE_DONE);
	r->now = mono_add_ms(r->now, 60 * 1000);
	assert_int_equal(rig_report(r, 0, 0, 10, MCAST_REPORT_DONE, 0, NULL), -EALREADY);
	assert_int_equal(rig_report(r, 2, 0, 10, 0, 1, &d), -EALREADY);
	assert_int_equal(rig_view(r).members[MCAST_MEMBER_READY], 2);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(setups_run_eight_at_a_time),
		cmocka_unit_test(silent_and_refusing_members_are_handed_back),
		cmocka_unit_test(member_whose_acks_are_lost_takes_part),
		cmocka_unit_test(setups_that_hang_do_not_hold_back_the_others),
		cmocka_unit_test(nobody_to_send_to_ends_it_without_a_frame),
		cmocka_unit_test(ack_may_say_that_the_object_is_there),
		cmocka_unit_test(members_with_the_key_are_told_by_announce),
		cmocka_unit_test(member_that_joins_late_pulls),
		cmocka_unit_test(members_are_added_once),
		cmocka_unit_test(removal_asks_for_a_new_key),
		cmocka_unit_test(handed_back_member_may_come_again),
		cmocka_unit_test(dead_members_hold_nobody_back_and_are_handed_back),
		cmocka_unit_test(pull_without_progress_times_out),
		cmocka_unit_test(stragglers_pull_eight_at_a_time),
		cmocka_unit_test(impossible_reports_are_refused_and_counted),
		cmocka_unit_test(reports_are_taken_once_per_question),
		cmocka_unit_test(one_that_always_reports_deficits_is_served_by_unicast),
		cmocka_unit_test(lies_about_loss_do_not_move_the_estimate),
		cmocka_unit_test(digest_failures_end_in_unicast),
		cmocka_unit_test(stock_core_that_lost_too_much_pulls),
		cmocka_unit_test(reports_after_completion_change_nothing_more),
	};

	return cmocka_run_group_tests_name("delivery/mcast_member", tests, NULL, NULL);
}
