/* What survives a restart: delivery/mcast_snapshot.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "codec/cbor.h"
#include "mcast_rig.h"

enum { KB = 1024 };

static int restore(struct rig *r, struct span snapshot)
{
	struct mcast_session *s = NULL;
	int e = mcast_session_restore(&r->cfg, &r->ops, snapshot, r->now, &s);

	if (e == 0)
		mcast_session_free(s);
	return e;
}

/* ---- going on ---- */

/* C6.7: whatever was sent after the last snapshot that is safe, no row leaves twice; crashes at every phase and at random. */
static void no_row_is_repeated_after_any_crash(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 12; seed++) {
		struct rig *r = rig_new(64 * KB, 256, 20, 0.15, seed);
		static uint8_t used[MCAST_GENERATIONS_MAX][16384];
		unsigned crashes = 0;

		memset(used, 0, sizeof(used));
		rig_start(r);
		while (crashes < 12 && !rig_run(r, rig_in_phase_or_later, MCAST_PHASE_UNICAST, 400 * (int64_t)(seed * 7 + crashes * 3))) {
			rig_crash(r);
			crashes++;
		}
		rig_run_to_end(r);
		assert_true(crashes > 0);
		for (size_t i = 0; i < r->n_frames; i++) {
			const struct mcast_data *d = &r->frames[i].data;

			if (r->frames[i].type != MCAST_DATA || d->n <= 256)
				continue;
			assert_false(used[d->g][d->n]);
			used[d->g][d->n] = 1;
		}
		for (unsigned i = 0; i < 20; i++)
			assert_true(rig_complete(r, &r->members[i]) || r->members[i].ready);
		rig_free(r);
	}
}

/* Rows wait for a snapshot that is safe: at most restart_skip leave after it. */
static void rows_wait_for_the_snapshot(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 20, 0.3, 3);
	unsigned before;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_PROACTIVE));
	mcast_session_persisted(r->s, r->token);
	r->keep_persist = true;
	before = rig_view(r).sent[MCAST_SENT_PARITY];
	(void)rig_run(r, NULL, 0, 60 * 1000);
	assert_true(rig_view(r).paused & MCAST_PAUSE_PERSIST);
	assert_int_equal(rig_view(r).sent[MCAST_SENT_PARITY] - before, 64);
	mcast_session_persisted(r->s, r->token - 1);           /* an older one says nothing */
	assert_true(rig_view(r).paused & MCAST_PAUSE_PERSIST);
	mcast_session_persisted(r->s, r->token);
	assert_false(rig_view(r).paused & MCAST_PAUSE_PERSIST);
	r->keep_persist = false;
	rig_run_to_end(r);
	rig_free(r);
}

static void snapshots_come_every_256_frames_and_at_transitions(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 3, 0, 3);
	unsigned before;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	(void)rig_run(r, NULL, 0, 5000);
	before = r->n_persisted;
	(void)rig_run(r, NULL, 0, 64 * 1000);                  /* 1280 frames */
	assert_true(r->n_persisted - before >= 4 && r->n_persisted - before <= 6);
	before = r->n_persisted;
	assert_true(rig_run_phase(r, MCAST_PHASE_SAMPLE));
	assert_true(rig_run_phase(r, MCAST_PHASE_STATUS));
	assert_true(r->n_persisted - before >= 2);
	rig_free(r);
}

static void systematic_pass_goes_on_where_it_was(void **state)
{
	struct rig *r = rig_new(128 * KB, 512, 3, 0, 3);
	unsigned n_data = 0;
	size_t at;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SYSTEMATIC));
	(void)rig_run(r, NULL, 0, 50 * 1000);
	at = r->n_frames;
	rig_crash(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SAMPLE));
	for (size_t i = at; i < at + 3; i++)
		assert_int_equal(r->frames[i].type, MCAST_ANNOUNCE);
	assert_int_equal(r->frames[at + 3].type, MCAST_DATA);
	for (size_t i = 0; i < r->n_frames; i++)
		n_data += r->frames[i].type == MCAST_DATA;
	assert_true(n_data >= 2048 && n_data <= 2048 + 256);
	assert_int_equal(rig_view(r).setups_sent, 3);          /* nobody is set up again */
	assert_true(rig_complete(r, &r->members[0]));
	rig_free(r);
}

static void status_numbers_advance_over_a_crash(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 20, 0.1, 3);
	uint8_t seq;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_REPAIR));
	seq = rig_view(r).status_seq;
	rig_crash(r);
	assert_true(rig_view(r).status_seq > seq);
	assert_true((unsigned)(rig_view(r).status_seq - seq) < 32);
	rig_run_to_end(r);
	rig_free(r);
}

static void pause_members_and_pulls_survive(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 12, 0.05, 3);
	struct mcast_session_view v;
	struct mcast_member_view m;

	(void)state;
	r->members[1].refuses = true;
	r->members[2].always_wants = true;
	r->members[2].want_d = 512;
	r->members[2].extra_flags = MCAST_REPORT_CORE_ONLY;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_UNICAST));
	assert_int_equal(r->members[2].n_pulls, 1);
	(void)rig_run(r, NULL, 0, 5000);
	mcast_session_pause(r->s, r->now);
	(void)rig_run(r, NULL, 0, 100);
	assert_int_equal(mcast_session_member_failed(r->s, 11, r->now), 0);
	(void)rig_run(r, NULL, 0, 10 * 1000);
	rig_crash(r);
	v = rig_view(r);
	assert_int_equal(v.phase, MCAST_PHASE_UNICAST);
	assert_int_equal(v.members[MCAST_MEMBER_REFUSED], 1);
	assert_int_equal(v.members[MCAST_MEMBER_PULLING], 1);
	assert_int_equal(v.members[MCAST_MEMBER_FAILED], 1);
	assert_int_equal(mcast_session_member(r->s, 1, &m), 0);
	assert_int_equal(m.refusal, MCAST_ACK_NO_SPACE);
	assert_string_equal(m.device, "node-1");
	mcast_session_resume(r->s, r->now);
	(void)rig_run(r, NULL, 0, 5000);
	assert_int_equal(r->members[2].n_pulls, 2);            /* told again */
	rig_free(r);
}

/* ---- hostile bytes ---- */

static void every_truncation_and_every_flipped_byte_is_survived(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 5, 0.1, 3);
	uint8_t *copy;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_STATUS));
	(void)rig_run(r, NULL, 0, 100);
	assert_int_equal(restore(r, SPAN(r->snapshot, r->snapshot_n)), 0);
	for (size_t n = 0; n < r->snapshot_n; n++)
		assert_int_equal(restore(r, SPAN(r->snapshot, n)), -EBADMSG);
	copy = malloc(r->snapshot_n + 1);
	assert_non_null(copy);
	memcpy(copy, r->snapshot, r->snapshot_n);
	copy[r->snapshot_n] = 0;
	assert_int_equal(restore(r, SPAN(copy, r->snapshot_n + 1)), -EBADMSG);
	for (size_t i = 0; i < r->snapshot_n; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			int e;

			copy[i] ^= (uint8_t)(1 << bit);
			e = restore(r, SPAN(copy, r->snapshot_n));
			assert_true(e == 0 || e == -EBADMSG || e == -ESTALE || e == -ENOTSUP || e == -EINVAL);
			copy[i] ^= (uint8_t)(1 << bit);
		}
	free(copy);
	rig_free(r);
}

/* Bits flipped and accepted, the session still runs to its end. */
static void damaged_but_plausible_snapshots_run_to_the_end(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 60; seed++) {
		struct rig *r = rig_new(32 * KB, 512, 5, 0.1, 3);
		uint8_t *copy;

		rig_start(r);
		assert_true(rig_run_phase(r, seed % 2 ? MCAST_PHASE_REPAIR : MCAST_PHASE_SAMPLE));
		(void)rig_run(r, NULL, 0, 100);
		copy = r->snapshot;
		copy[(seed * 131 + 90) % r->snapshot_n] ^= (uint8_t)(1 << seed % 8);
		if (restore(r, SPAN(copy, r->snapshot_n)) == 0) {
			rig_crash(r);
			(void)rig_run(r, rig_in_phase_or_later, MCAST_PHASE_LAZY, (int64_t)8 * 24 * 3600 * 1000);
			assert_true(rig_view(r).phase >= MCAST_PHASE_LAZY || rig_view(r).paused);
		}
		rig_free(r);
	}
}

static void snapshots_of_others_are_refused(void **state)
{
	struct rig *r = rig_new(32 * KB, 512, 5, 0.1, 3);
	struct mcast_session_config cfg;
	uint8_t *p;

	(void)state;
	rig_start(r);
	assert_true(rig_run_phase(r, MCAST_PHASE_SAMPLE));
	cfg = r->cfg;
	r->cfg.sid = mcast_sid_of(9, 9);
	assert_int_equal(restore(r, SPAN(r->snapshot, r->snapshot_n)), -ESTALE);
	r->cfg = cfg;
	r->cfg.digest.b[0] ^= 1;
	assert_int_equal(restore(r, SPAN(r->snapshot, r->snapshot_n)), -ESTALE);
	r->cfg = cfg;
	r->cfg.size--;
	assert_int_equal(restore(r, SPAN(r->snapshot, r->snapshot_n)), -ESTALE);
	r->cfg = cfg;
	r->cfg.size = 0;
	assert_int_equal(restore(r, SPAN(r->snapshot, r->snapshot_n)), -EINVAL);
	r->cfg = cfg;
	p = r->snapshot;
	assert_int_equal(p[1], 0x01);                          /* the version's key, the version */
	assert_int_equal(p[2], MCAST_SNAPSHOT_VERSION);
	p[2]++;
	assert_int_equal(restore(r, SPAN(p, r->snapshot_n)), -ENOTSUP);
	rig_free(r);
}

static void largest_group_fits_the_limit(void **state)
{
	struct rig *r = rig_new(4096 * KB, 256, 0, 0, 3);
	char device[DEVICE_ID_BYTES];

	(void)state;
	rig_start(r);
	assert_int_equal(r->geo.n_generations, MCAST_GENERATIONS_MAX);
	for (int i = 0; i < MCAST_MEMBERS_MAX; i++) {
		(void)snprintf(device, sizeof(device), "%063d", i);
		assert_int_equal(mcast_session_member_add(r->s, &(struct mcast_member_config){ .device = device }, r->now), i);
	}
	(void)rig_run(r, NULL, 0, 10 * 1000);
	assert_true(r->snapshot_n > MCAST_MEMBERS_MAX * 64 && r->snapshot_n <= MCAST_SNAPSHOT_BYTES_MAX);
	rig_crash(r);
	assert_int_equal(rig_view(r).members[MCAST_MEMBER_NEW], MCAST_MEMBERS_MAX);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_row_is_repeated_after_any_crash),
		cmocka_unit_test(rows_wait_for_the_snapshot),
		cmocka_unit_test(snapshots_come_every_256_frames_and_at_transitions),
		cmocka_unit_test(systematic_pass_goes_on_where_it_was),
		cmocka_unit_test(status_numbers_advance_over_a_crash),
		cmocka_unit_test(pause_members_and_pulls_survive),
		cmocka_unit_test(every_truncation_and_every_flipped_byte_is_survived),
		cmocka_unit_test(damaged_but_plausible_snapshots_run_to_the_end),
		cmocka_unit_test(snapshots_of_others_are_refused),
		cmocka_unit_test(largest_group_fits_the_limit),
	};

	return cmocka_run_group_tests_name("delivery/mcast_snapshot", tests, NULL, NULL);
}
