#include <assert.h>
#include <errno.h>

#include "codec/parity.h"
#include "delivery/mcast_session_internal.h"

static uint32_t seconds(int64_t ms, uint32_t most)
{
	int64_t v = ms <= 0 ? 0 : (ms + 999) / 1000;

	return v > most ? most : (uint32_t)v;
}

/* ---- windows ---- */

struct mono mcast_send_window_start(const struct mcast_session *s, unsigned window)
{
	return mono_add_ms(s->cfg.windows.first, (int64_t)window * s->cfg.windows.period_ms);
}

int64_t mcast_send_window_left(const struct mcast_session *s)
{
	if (!s->windowed)
		return INT64_MAX;
	return mono_diff_ms(mono_add_ms(mcast_send_window_start(s, s->window), s->cfg.windows.length_ms), s->now);
}

/* ---- frames into s->frame ---- */

static void set_frame(struct mcast_session *s, size_t n, enum mcast_frame_kind kind)
{
	s->frame_n = n;
	s->frame_kind = kind;
}

/* The generations this window is about: the range, or between the first and the last with a deficit. */
static void announced_range(const struct mcast_session *s, uint8_t *ret_first, uint8_t *ret_last)
{
	unsigned first = s->range_first, last = s->range_first + s->range_n - 1;

	if (s->windowed && s->range_n == s->geo.n_generations && s->then >= MCAST_PHASE_STATUS) {
		while (first < last && s->gens[first].deficit == 0)
			first++;
		while (last > first && s->gens[last].deficit == 0)
			last--;
		if (s->gens[first].deficit == 0) {
			first = s->range_first;
			last = s->range_first + s->range_n - 1;
		}
	}
	*ret_first = (uint8_t)first;
	*ret_last = (uint8_t)last;
}

void mcast_send_announce(struct mcast_session *s)
{
	const struct mcast_session_config *c = &s->cfg;
	struct mcast_announce a = { .sid = c->sid, .size = c->size, .z = (uint8_t)c->z, .log2_e = c->log2_e, .alg = c->alg, .k = c->k,
				    .pace_ms = (uint16_t)(s->gap_ms < UINT16_MAX ? s->gap_ms : UINT16_MAX),
				    .slot_ms = (uint8_t)c->tuning.slot_ms, .gid = c->gid };

	memcpy(a.digest16, c->digest.b, sizeof(a.digest16));
	if (s->windowed) {
		a.start_s = seconds(mono_diff_ms(mcast_send_window_start(s, s->window), s->now), UINT32_MAX);
		a.length_s = (uint16_t)seconds(c->windows.length_ms, UINT16_MAX);
	}
	announced_range(s, &a.gfirst, &a.glast);
	set_frame(s, mcast_announce_encode(&a, s->frame), MCAST_SENT_ANNOUNCE);
	s->since_announce = 0;
}

void mcast_send_end(struct mcast_session *s, enum mcast_end reason)
{
	set_frame(s, mcast_end_encode(mcast_sid8(&s->cfg.sid), reason, s->frame), MCAST_SENT_END);
}

/* The worst deficits told so far, worst first, into an echo. */
static void list_deficits(const struct mcast_session *s, struct mcast_status *st)
{
	bool taken[MCAST_GENERATIONS_MAX] = { false };

	while (st->n_deficits < MCAST_STATUS_DEFICITS_MAX) {
		int best = -1;

		for (unsigned g = 0; g < s->geo.n_generations; g++)
			if (!taken[g] && s->gens[g].deficit && (best < 0 || s->gens[g].deficit > s->gens[best].deficit))
				best = (int)g;
		if (best < 0)
			return;
		taken[best] = true;
		st->deficits[st->n_deficits++] = (struct mcast_status_deficit){
			(uint8_t)best,
			(uint8_t)(s->gens[best].deficit < MCAST_STATUS_DEFICIT_MAX ? s->gens[best].deficit : MCAST_STATUS_DEFICIT_MAX) };
	}
}

void mcast_send_status(struct mcast_session *s, bool echo)
{
	struct mcast_status st = { .seq = s->seq, .window_slots = s->poll.slots, .n_expected = s->poll.n_expected };
	unsigned n = mcast_listeners(s);

	st.flags = (uint8_t)((s->poll.all ? MCAST_STATUS_ALL : 0) | (echo ? MCAST_STATUS_ECHO : 0));
	st.prob = s->poll.all ? mcast_plan_prob(s->poll.n_expected, n) : 255;
	if (echo)
		list_deficits(s, &st);
	set_frame(s, mcast_status_encode(mcast_sid8(&s->cfg.sid), &st, s->frame), echo ? MCAST_SENT_ECHO : MCAST_SENT_STATUS);
}

void mcast_send_ask(struct mcast_session *s, enum mcast_poll_kind kind, bool all, unsigned n_expected)
{
	if (n_expected == 0)
		n_expected = 1;
	s->seq = mcast_plan_seq(s->seq, 1);
	s->poll = (struct mcast_poll){ .kind = kind, .number = s->poll.number + 1, .slots = (uint16_t)mcast_plan_slots(n_expected),
				       .n_expected = (uint16_t)(n_expected < UINT16_MAX ? n_expected : UINT16_MAX),
				       .all = all, .is_open = true, .until = MCAST_NEVER };
	if ((s->seq + 255 - s->seq_kept) % 255 >= MCAST_SEQ_SKIP / 2)
		s->persist_due = true;
	if (kind == MCAST_POLL_STATUS)
		for (unsigned g = 0; g < s->geo.n_generations; g++)
			s->gens[g].deficit = 0;
	mcast_send_status(s, false);
}

/* Reads n bytes; false after pausing or giving up. */
static bool read_object(struct mcast_session *s, uint32_t offset, uint8_t *p, size_t n)
{
	int r = n ? s->ops.read(s->ops.ctx, offset, p, n) : 0;

	if (r == 0)
		return true;
	if (r == -EAGAIN) {
		mcast_session_set_paused(s, MCAST_PAUSE_OBJECT, 0);
		s->next_tx = mono_add_ms(s->now, MCAST_OBJECT_RETRY_MS);
	} else {
		mcast_session_give_up(s, 2, r);
	}
	return false;
}

bool mcast_send_fragment(struct mcast_session *s, unsigned g, unsigned n, enum mcast_frame_kind kind)
{
	uint8_t bytes[MCAST_Z_MAX] = { 0 };
	uint32_t offset = 0;
	unsigned got = mcast_geometry_fragment(&s->geo, g, n, &offset);

	if (!read_object(s, offset, bytes, got))
		return false;
	set_frame(s, mcast_data_encode(mcast_sid8(&s->cfg.sid),
				       &(struct mcast_data){ .g = (uint8_t)g, .n = (uint16_t)n, .fragment = SPAN(bytes, s->cfg.z) },
				       s->frame), kind);
	return true;
}

/* Row n may leave only if a restart would not use it again: it goes on at the safe snapshot's row + restart_skip. */
static bool row_is_safe(struct mcast_session *s, struct mcast_gen *gen)
{
	unsigned ahead = (unsigned)(gen->next_row - gen->safe_row);

	if (ahead >= s->cfg.tuning.restart_skip / 2 && (unsigned)(gen->next_row - gen->kept_row) >= s->cfg.tuning.restart_skip / 2)
		s->persist_due = true;
	if (ahead < s->cfg.tuning.restart_skip)
		return true;
	mcast_session_set_paused(s, MCAST_PAUSE_PERSIST, 0);
	return false;
}

bool mcast_send_row(struct mcast_session *s, unsigned g)
{
	struct mcast_gen *gen = &s->gens[g];
	uint8_t parity[MCAST_Z_MAX];

	assert(gen->next_row <= parity_n_max(gen->where.m));
	if (!row_is_safe(s, gen))
		return false;
	if (s->loaded != (int)g) {
		s->loaded = -1;
		if (!read_object(s, gen->where.offset, s->bytes, gen->where.length))
			return false;
		s->loaded = (int)g;
	}
	parity_fragment(SPAN(s->bytes, gen->where.length), gen->where.m, s->cfg.z, gen->next_row, s->cfg.alg, parity);
	set_frame(s, mcast_data_encode(mcast_sid8(&s->cfg.sid),
				       &(struct mcast_data){ .g = (uint8_t)g, .n = (uint16_t)(gen->where.m + gen->next_row),
							     .fragment = SPAN(parity, s->cfg.z) }, s->frame), MCAST_SENT_PARITY);
	gen->next_row++;
	gen->rows_left--;
	return true;
}

/* ---- credit (C9) ---- */

void mcast_send_heard(struct mcast_session *s)
{
	if (mono_diff_ms(s->now, s->heard) >= s->cfg.tuning.credit_ttl_ms)
		s->credit = 0;
	s->credit += s->cfg.tuning.credit;
	if (s->credit > MCAST_CREDIT_MAX)
		s->credit = MCAST_CREDIT_MAX;
	s->heard = s->now;
	s->slow = false;
	s->slow_left = s->cfg.tuning.credit_slow;
	s->polls = 0;
	mcast_session_set_paused(s, 0, MCAST_PAUSE_CREDIT);
}

static void spend_credit(struct mcast_session *s)
{
	s->frames_since_probe++;
	if (mono_diff_ms(s->now, s->heard) >= s->cfg.tuning.credit_ttl_ms)
		s->credit = 0;
	if (s->credit > 0) {
		s->credit--;
		return;
	}
	s->slow = true;
	if (s->slow_left > 0)
		s->slow_left--;
	if (s->slow_left == 0 && !(s->paused & MCAST_PAUSE_CREDIT) && s->phase < MCAST_PHASE_UNICAST) {
		s->poll_at = mono_add_ms(s->now, s->cfg.tuning.credit_poll_ms);
		mcast_session_set_paused(s, MCAST_PAUSE_CREDIT, 0);
	}
}

bool mcast_send_credit_poll(struct mcast_session *s)
{
	if (mono_before(s->now, s->poll_at)) {
		mcast_wake(s, s->poll_at);
		return false;
	}
	if (s->polls >= s->cfg.tuning.credit_polls) {
		mcast_session_give_up(s, 0, s->polls);
		return false;
	}
	s->polls++;
	s->poll_at = mono_add_ms(s->now, s->cfg.tuning.credit_poll_ms);
	mcast_send_ask(s, MCAST_POLL_PROBE, true, s->cfg.tuning.sample_min);
	return true;
}

uint32_t mcast_send_rows_left(const struct mcast_session *s)
{
	uint32_t n = 0;

	for (unsigned g = 0; g < s->geo.n_generations; g++)
		n += s->gens[g].rows_left + s->gens[g].trim_left;
	return n;
}

/* While data flows and nobody has to answer, the group is asked for a sign of life before the credit is gone. */
bool mcast_send_probe_due(struct mcast_session *s)
{
	bool aging = mono_diff_ms(s->now, s->heard) >= (int64_t)s->cfg.tuning.credit_ttl_ms * 4 / 5;

	if (s->credit >= MCAST_CREDIT_LOW && !aging)
		return false;
	if (mono_before(s->now, s->probe_at) || s->frames_since_probe < MCAST_CREDIT_LOW / 3)
		return false;
	return aging || (uint32_t)s->credit < s->geo.n_fragments - s->position + mcast_send_rows_left(s);
}

void mcast_send_probe(struct mcast_session *s)
{
	uint32_t left = s->geo.n_fragments - s->position + mcast_send_rows_left(s);
	unsigned n = 3 + left / s->cfg.tuning.credit;

	mcast_send_ask(s, MCAST_POLL_PROBE, true, n < MCAST_PROBE_MAX ? n : MCAST_PROBE_MAX);
	s->frames_since_probe = 0;
	s->probe_at = mono_add_ms(s->now, (int64_t)s->poll.slots * s->cfg.tuning.slot_ms + s->cfg.tuning.grace_ms);
}

/* ---- out ---- */

static void next_gap(struct mcast_session *s)
{
	int64_t gap = (int64_t)s->gap_ms * (s->slow ? 8 : 1);
	struct mono least = mono_add_ms(s->now, -gap * (MCAST_BURST_MAX - 1));

	if (s->idle && mono_before(s->next_tx, s->now))
		s->next_tx = s->now;
	if (mono_before(s->next_tx, least))
		s->next_tx = least;
	s->next_tx = mono_add_ms(s->next_tx, gap);
	s->idle = false;
}

static void account(struct mcast_session *s, size_t mic)
{
	const struct mcast_link *l = &s->cfg.link;

	s->sent[s->frame_kind]++;
	s->airtime_us += (uint64_t)(s->frame_n + mic + l->overhead_bytes) * l->us_per_byte * l->sends_per_frame;
	s->since_announce++;
	if (++s->since_persist >= s->cfg.tuning.persist_every)
		s->persist_due = true;
	spend_credit(s);
}

int mcast_send_pending(struct mcast_session *s)
{
	size_t mic = mcast_mic_bytes(s->frame[0]);
	int r = s->ops.send(s->ops.ctx, SPAN(s->frame, s->frame_n), mic);

	if (r == -ENOBUFS || r == -EAGAIN) {
		s->next_tx = mono_add_ms(s->now, 2 * (int64_t)s->gap_ms);
		s->idle = false;
		mcast_wake(s, s->next_tx);
		return -EAGAIN;
	}
	if (s->frame_kind == MCAST_SENT_STATUS)
		s->poll.until = mono_add_ms(s->now, (int64_t)s->poll.slots * s->cfg.tuning.slot_ms + s->cfg.tuning.grace_ms);
	account(s, mic);
	s->frame_n = 0;
	next_gap(s);
	return 0;
}
