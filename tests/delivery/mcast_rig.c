#include "mcast_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "codec/parity.h"

static double coin(struct rig *r)
{
	r->random ^= r->random << 13;
	r->random ^= r->random >> 7;
	r->random ^= r->random << 17;
	return (double)(r->random >> 11) / 9007199254740992.0;
}

/* ---- members ---- */

unsigned rig_deficit(const struct rig *r, const struct rig_member *m, unsigned g)
{
	unsigned missing = mcast_geometry_generation(&r->geo, g).m - m->n_held[g];

	return missing > m->n_rows[g] ? missing - m->n_rows[g] : 0;
}

bool rig_complete(const struct rig *r, const struct rig_member *m)
{
	for (unsigned g = 0; g < r->geo.n_generations; g++)
		if (rig_deficit(r, m, g) > 0)
			return false;
	return true;
}

static void hear_data(struct rig *r, struct rig_member *m, const struct mcast_data *d, bool lost)
{
	unsigned size = mcast_geometry_generation(&r->geo, d->g).m;

	if (d->n > size) {
		unsigned deficit = rig_deficit(r, m, d->g);

		if (!lost && deficit > 0 && coin(r) >= 1.0 / (double)(1ull << (deficit < 60 ? deficit : 60)))
			m->n_rows[d->g]++;
		return;
	}
	if (m->heard + m->missed < r->geo.n_fragments) {
		m->heard += !lost;
		m->missed += lost;
	}
	if (lost || m->held[d->g][d->n - 1])
		return;
	m->held[d->g][d->n - 1] = 1;
	m->n_held[d->g]++;
	/* What was decoded from rows counts once. */
	if (m->n_held[d->g] + m->n_rows[d->g] > size)
		m->n_rows[d->g] = (uint16_t)(size - m->n_held[d->g]);
}

static void hear_status(struct rig *r, struct rig_member *m, const struct mcast_status *st)
{
	bool covered = true;

	if (st->flags & MCAST_STATUS_ECHO) {
		if (m->seq != st->seq)
			return;
		for (unsigned g = 0; g < r->geo.n_generations; g++) {
			unsigned d = rig_deficit(r, m, g), known = 0;

			for (unsigned i = 0; i < st->n_deficits; i++)
				if (st->deficits[i].g == g)
					known = st->deficits[i].d;
			covered &= d == 0 || known + 1 >= d;
		}
		if (covered)
			m->seq = 0;
		return;
	}
	if (coin(r) >= (st->prob + 1) / 256.0)
		return;
	if (!(st->flags & MCAST_STATUS_ALL) && rig_complete(r, m) && !m->always_wants)
		return;
	m->seq = st->seq;
	m->answer_all = st->flags & MCAST_STATUS_ALL;
	m->answer_at = mono_add_ms(r->now, (int64_t)(coin(r) * st->window_slots * r->cfg.tuning.slot_ms) + 20);
}

static void answer(struct rig *r, unsigned i)
{
	struct rig_member *m = &r->members[i];
	struct mcast_report_deficit d[MCAST_REPORT_DEFICITS_MAX];
	uint32_t total = m->heard + m->missed;
	unsigned n = 0;

	for (unsigned g = 0; g < r->geo.n_generations && n < MCAST_REPORT_DEFICITS_MAX && !m->always_wants; g++)
		if (rig_deficit(r, m, g) > 0)
			d[n++] = (struct mcast_report_deficit){ (uint8_t)g, (uint16_t)rig_deficit(r, m, g) };
	if (m->always_wants)
		d[n++] = (struct mcast_report_deficit){ m->want_g, m->want_d };
	m->n_answers++;
	(void)rig_report(r, i, m->seq, total ? m->missed * 1000 / total : 0, (n ? 0 : MCAST_REPORT_DONE) | m->extra_flags, n, d);
	m->seq = 0;
}

int rig_report(struct rig *r, unsigned i, uint8_t seq, unsigned loss, uint32_t flags, unsigned n, const struct mcast_report_deficit *d)
{
	struct mcast_report rep = { .sid = r->cfg.sid, .seq = seq, .loss_permille = (uint16_t)loss, .flags = flags, .n_deficits = n };

	for (unsigned k = 0; k < n; k++)
		rep.deficits[k] = d[k];
	return mcast_session_report(r->s, i, &rep, r->now);
}

/* ---- ops ---- */

static int op_send(void *ctx, struct span frame, size_t mic_bytes)
{
	struct rig *r = ctx;
	uint8_t bytes[MCAST_FRAME_BYTES_MAX] = { 0 };
	struct mcast_frame f;
	struct rig_frame *out = &r->frames[r->n_frames];

	if (r->send_error)
		return r->send_error;
	memcpy(bytes, frame.p, frame.n);
	assert_int_equal(mcast_frame_decode(SPAN(bytes, frame.n + mic_bytes), &f), 0);
	assert_true(r->n_frames < RIG_FRAMES_MAX);
	*out = (struct rig_frame){ .at = r->now, .type = f.type };
	if (f.type == MCAST_DATA)
		out->data = f.data;
	else if (f.type == MCAST_STATUS)
		out->status = f.status;
	else if (f.type == MCAST_ANNOUNCE)
		out->announce = f.announce;
	else
		out->end = f.end;
	r->n_frames++;
	for (unsigned i = 0; i < r->n_members; i++) {
		struct rig_member *m = &r->members[i];
		bool lost = m->sleeping || coin(r) < m->loss;

		if (m->dead || m->ready || !m->joined)
			continue;
		if (f.type == MCAST_DATA)
			hear_data(r, m, &f.data, lost);
		else if (f.type == MCAST_STATUS && !lost && !m->mute)
			hear_status(r, m, &f.status);
	}
	return 0;
}

static int op_read(void *ctx, uint64_t offset, uint8_t *p, size_t n)
{
	struct rig *r = ctx;

	if (r->read_error)
		return r->read_error;
	assert_true(offset + n <= r->cfg.size);
	memcpy(p, r->object + offset, n);
	return 0;
}

static void op_setup(void *ctx, unsigned i, const char *device)
{
	struct rig *r = ctx;
	unsigned n = 0;

	(void)device;
	if (i >= RIG_MEMBERS_MAX)
		return;
	r->setups_pending[i] = true;
	r->members[i].n_setups++;
	for (unsigned k = 0; k < r->n_members; k++)
		n += r->setups_pending[k];
	if (n > r->most_asked)
		r->most_asked = n;
}

static void op_pull(void *ctx, unsigned i, const char *device)
{
	struct rig *r = ctx;

	(void)device;
	r->members[i].n_pulls++;
	r->members[i].pulled = true;
}

static void op_persist(void *ctx, struct span snapshot, uint32_t token)
{
	struct rig *r = ctx;

	free(r->snapshot);
	r->snapshot = malloc(snapshot.n);
	assert_non_null(r->snapshot);
	memcpy(r->snapshot, snapshot.p, snapshot.n);
	r->snapshot_n = snapshot.n;
	r->token = token;
	r->n_persisted++;
}

static void op_member(void *ctx, unsigned i, enum mcast_member_state was, enum mcast_member_state now, enum mcast_member_why why)
{
	struct rig *r = ctx;

	assert_true(was != now);
	if (i >= RIG_MEMBERS_MAX)
		return;
	r->state[i] = now;
	r->why[i] = why;
}

static void op_event(void *ctx, enum mcast_session_event ev, int64_t a, int64_t b)
{
	struct rig *r = ctx;

	r->n_events[ev]++;
	r->last_event[ev][0] = a;
	r->last_event[ev][1] = b;
}

/* ---- running ---- */

struct rig *rig_new(uint32_t size, unsigned k, unsigned n_members, double p, uint64_t seed)
{
	struct rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->random = seed * 0x9e3779b97f4a7c15ull + 0x1234567;
	r->now = (struct mono){ 1000000 };
	r->n_members = n_members;
	r->cfg = (struct mcast_session_config){ .sid = mcast_sid_of(7, 0x01020304), .size = size, .gid = 3, .z = 64, .k = (uint16_t)k,
						.log2_e = 12, .alg = PARITY_TS004_V1, .baseline_permille = UINT16_MAX, .seed = seed };
	mcast_tuning_default(&r->cfg.tuning);
	mcast_link_profile(MCAST_LINK_802154, 0, &r->cfg.link);
	r->ops = (struct mcast_session_ops){ op_send, op_read, op_setup, op_pull, op_persist, op_member, op_event, r };
	r->object = malloc(size);
	r->frames = calloc(RIG_FRAMES_MAX, sizeof(*r->frames));
	assert_true(r->object && r->frames);
	for (uint32_t i = 0; i < size; i++)
		r->object[i] = (uint8_t)(i * 7 + i / 256);
	for (unsigned i = 0; i < n_members; i++)
		r->members[i].loss = p;
	return r;
}

void rig_start(struct rig *r)
{
	assert_int_equal(mcast_geometry_of(r->cfg.size, r->cfg.z, r->cfg.k, r->cfg.log2_e, &r->geo), 0);
	assert_int_equal(mcast_session_new(&r->cfg, &r->ops, r->now, &r->s), 0);
	for (unsigned i = 0; i < r->n_members; i++) {
		char device[DEVICE_ID_BYTES];

		for (unsigned g = 0; g < r->geo.n_generations; g++) {
			r->members[i].held[g] = calloc(1, mcast_geometry_generation(&r->geo, g).m);
			assert_non_null(r->members[i].held[g]);
		}
		(void)snprintf(device, sizeof(device), "node-%u", i);
		assert_int_equal(mcast_session_member_add(r->s, &(struct mcast_member_config){ .device = device }, r->now), (int)i);
	}
}

void rig_free(struct rig *r)
{
	for (unsigned i = 0; i < r->n_members; i++)
		for (unsigned g = 0; g < MCAST_GENERATIONS_MAX; g++)
			free(r->members[i].held[g]);
	mcast_session_free(r->s);
	free(r->object);
	free(r->frames);
	free(r->snapshot);
	free(r);
}

static void run_setups(struct rig *r)
{
	for (unsigned i = 0; i < r->n_members; i++) {
		struct rig_member *m = &r->members[i];
		struct mcast_ack ack = { .sid = r->cfg.sid, .code = m->refuses ? MCAST_ACK_NO_SPACE : MCAST_ACK_ACCEPTED, .l = 160 };

		if (!r->setups_pending[i] || r->slow_setups)
			continue;
		r->setups_pending[i] = false;
		m->joined = !m->dead && !m->ignores_setup && !m->refuses;
		if (m->dead || m->ignores_setup)
			assert_int_equal(mcast_session_setup_done(r->s, i, NULL, -ETIMEDOUT, r->now), 0);
		else
			assert_int_equal(mcast_session_setup_done(r->s, i, &ack, 0, r->now), 0);
	}
}

static void run_members(struct rig *r, struct mono *next)
{
	for (unsigned i = 0; i < r->n_members; i++) {
		struct rig_member *m = &r->members[i];

		if (m->seq && !mono_before(r->now, m->answer_at))
			answer(r, i);
		if (m->seq && mono_before(m->answer_at, *next))
			*next = m->answer_at;
		if (m->pulled && !m->dead && !m->always_wants) {
			m->pulled = false;
			m->ready = true;
			(void)rig_report(r, i, 0, 100, MCAST_REPORT_DONE, 0, NULL);
		}
	}
}

bool rig_run(struct rig *r, rig_until *until, unsigned arg, int64_t most_ms)
{
	struct mono end = mono_add_ms(r->now, most_ms);

	for (unsigned n = 0; n < 2000000; n++) {
		struct mono next = { INT64_MAX }, wake;

		if (until && until(r, arg))
			return true;
		run_setups(r);
		run_members(r, &next);
		wake = mcast_session_step(r->s, r->now);
		if (!r->keep_persist && r->token)
			mcast_session_persisted(r->s, r->token);
		if (until && until(r, arg))
			return true;
		if (mcast_session_over(r->s) && !mcast_session_sends(r->s))
			return false;
		if (mono_before(wake, next))
			next = wake;
		for (unsigned i = 0; i < r->n_members && !r->slow_setups; i++)
			if (r->setups_pending[i])
				next = mono_add_ms(r->now, 100);
		if (!mono_before(next, end)) {
			r->now = end;
			return false;
		}
		if (mono_before(r->now, next))
			r->now = next;
		else
			r->now.ms += 1;                        /* the acknowledgement of a snapshot is seen by the next step */
	}
	fail_msg("the session does not come to rest");
	return false;
}

bool rig_in_phase(struct rig *r, unsigned phase)
{
	return rig_view(r).phase == (enum mcast_phase)phase;
}

bool rig_in_phase_or_later(struct rig *r, unsigned phase)
{
	return rig_view(r).phase >= (enum mcast_phase)phase;
}

bool rig_run_phase(struct rig *r, enum mcast_phase phase)
{
	return rig_run(r, rig_in_phase, phase, 3600 * 1000);
}

void rig_run_to_end(struct rig *r)
{
	assert_true(rig_run(r, rig_in_phase_or_later, MCAST_PHASE_LAZY, (int64_t)14 * 24 * 3600 * 1000));
}

void rig_crash(struct rig *r)
{
	assert_non_null(r->snapshot);
	r->s = mcast_session_free(r->s);
	memset(r->setups_pending, 0, sizeof(r->setups_pending));
	assert_int_equal(mcast_session_restore(&r->cfg, &r->ops, SPAN(r->snapshot, r->snapshot_n), r->now, &r->s), 0);
	r->token = 0;
}

struct mcast_session_view rig_view(const struct rig *r)
{
	struct mcast_session_view v;

	mcast_session_view(r->s, r->now, &v);
	return v;
}

unsigned rig_count(const struct rig *r, enum mcast_type type)
{
	unsigned n = 0;

	for (size_t i = 0; i < r->n_frames; i++)
		n += r->frames[i].type == type;
	return n;
}
