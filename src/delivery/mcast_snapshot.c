/* The snapshot: a CBOR map, deterministic, read back with every bound checked. */
#include <errno.h>
#include <string.h>

#include "codec/cbor.h"
#include "codec/parity.h"
#include "delivery/mcast_session_internal.h"

enum {
	KEY_VERSION = 1, KEY_SID, KEY_OBJECT, KEY_DIGEST, KEY_GID, KEY_PHASE, KEY_AGE, KEY_SEQ, KEY_ROUND, KEY_PLACE, KEY_LOSS,
	KEY_WINDOWS, KEY_GAP, KEY_FLAGS, KEY_COUNTERS, KEY_GENERATIONS, KEY_MEMBERS,
	KEYS = KEY_MEMBERS,
	FLAG_OPERATOR = 1, FLAG_REKEY_DUE = 2, FLAG_REKEY = 4,
	GENERATION_FIELDS = 6, MEMBER_FIELDS = 13, COUNTERS = MCAST_SENT_KIND_COUNT + 6,
	MEMBER_BYTES = DEVICE_ID_BYTES + 3 + 5 * MEMBER_FIELDS, GENERATION_BYTES = 1 + 3 * GENERATION_FIELDS, FIXED_BYTES = 512,
};

static const double loss_unit = 1e-6, variance_unit = 1e-9;

int mcast_snapshot_reserve(struct mcast_session *s)
{
	size_t need = FIXED_BYTES + s->n_members * (size_t)MEMBER_BYTES + s->geo.n_generations * (size_t)GENERATION_BYTES;

	if (need <= s->snapshot.cap)
		return 0;
	buf_clear(&s->snapshot);
	(void)buf_grow(&s->snapshot, need + need / 2);         /* read by buf_ok() */
	if (!buf_ok(&s->snapshot)) {
		buf_clear(&s->snapshot);
		return -ENOMEM;
	}
	buf_clear(&s->snapshot);
	return 0;
}

void mcast_snapshot_soon(struct mcast_session *s)
{
	struct mono t = mono_add_ms(s->now, MCAST_PERSIST_WAIT_MS);

	if (mono_before(t, s->persist_by))
		s->persist_by = t;
}

/* ---- out ---- */

static void put_array(struct buf *b, const uint64_t *v, size_t n)
{
	cbor_put_array(b, n);
	for (size_t i = 0; i < n; i++)
		cbor_put_uint(b, v[i]);
}

#define PUT(b, key, ...) \
	do { \
		const uint64_t v_[] = { __VA_ARGS__ }; \
		cbor_put_uint(b, key); \
		put_array(b, v_, sizeof(v_) / sizeof(v_[0])); \
	} while (0)

static void put_counters(const struct mcast_session *s, struct buf *b)
{
	cbor_put_uint(b, KEY_COUNTERS);
	cbor_put_array(b, COUNTERS);
	for (unsigned i = 0; i < MCAST_SENT_KIND_COUNT; i++)
		cbor_put_uint(b, s->sent[i]);
	cbor_put_uint(b, s->airtime_us);
	cbor_put_uint(b, s->reports_heard);
	cbor_put_uint(b, s->reports_refused);
	cbor_put_uint(b, s->setups_sent);
	cbor_put_uint(b, s->pulls_sent);
	cbor_put_uint(b, s->unicast_blocks);
}

static void put_generations(const struct mcast_session *s, struct buf *b)
{
	cbor_put_uint(b, KEY_GENERATIONS);
	cbor_put_array(b, s->geo.n_generations);
	for (unsigned g = 0; g < s->geo.n_generations; g++) {
		const struct mcast_gen *gen = &s->gens[g];
		const uint64_t v[GENERATION_FIELDS] = { gen->sent, gen->next_row, gen->rows_left, gen->trim_left, gen->trim_at,
							gen->trimmed };

		put_array(b, v, GENERATION_FIELDS);
	}
}

static void put_members(const struct mcast_session *s, struct buf *b)
{
	cbor_put_uint(b, KEY_MEMBERS);
	cbor_put_array(b, s->n_members);
	for (size_t i = 0; i < s->n_members; i++) {
		const struct mcast_member *m = &s->members[i];

		cbor_put_array(b, MEMBER_FIELDS);
		cbor_put_str(b, m->device);
		cbor_put_uint(b, m->state);
		cbor_put_uint(b, m->why);
		cbor_put_uint(b, m->refusal);
		cbor_put_uint(b, m->tries);
		cbor_put_uint(b, m->strikes);
		cbor_put_uint(b, m->digest_faults);
		cbor_put_uint(b, m->loss_permille);
		cbor_put_uint(b, m->lost_max);
		cbor_put_uint(b, m->flags);
		cbor_put_uint(b, m->n_reports);
		cbor_put_uint(b, m->rounds_alone);
		cbor_put_uint(b, m->rows_alone);
	}
}

static void encode(const struct mcast_session *s, struct buf *b)
{
	int64_t age = mono_diff_ms(s->now, s->started);
	uint64_t flags = (s->paused & MCAST_PAUSE_OPERATOR ? FLAG_OPERATOR : 0u) | (s->rekey_due ? FLAG_REKEY_DUE : 0u) |
			 (s->paused & MCAST_PAUSE_REKEY ? FLAG_REKEY : 0u);

	cbor_put_map(b, KEYS);
	cbor_put_uint(b, KEY_VERSION);
	cbor_put_uint(b, MCAST_SNAPSHOT_VERSION);
	cbor_put_uint(b, KEY_SID);
	cbor_put_bytes(b, SPAN_OF(s->cfg.sid.b));
	PUT(b, KEY_OBJECT, s->cfg.size, s->cfg.z, s->cfg.k, s->cfg.log2_e, s->cfg.alg);
	cbor_put_uint(b, KEY_DIGEST);
	cbor_put_bytes(b, SPAN_OF(s->cfg.digest.b));
	cbor_put_uint(b, KEY_GID);
	cbor_put_uint(b, s->cfg.gid);
	PUT(b, KEY_PHASE, s->phase, s->then);
	cbor_put_uint(b, KEY_AGE);
	cbor_put_uint(b, age > 0 ? (uint64_t)age : 0);
	cbor_put_uint(b, KEY_SEQ);
	cbor_put_uint(b, s->seq);
	PUT(b, KEY_ROUND, s->round, s->last_wanting);
	PUT(b, KEY_PLACE, s->range_first, s->range_n, s->block, s->at_n, s->at_g, s->position);
	PUT(b, KEY_LOSS, s->has_loss, (uint64_t)(s->loss.p / loss_unit + 0.5), (uint64_t)(s->loss.v / variance_unit + 0.5));
	PUT(b, KEY_WINDOWS, s->window, s->carousel_used, s->windows_silent);
	cbor_put_uint(b, KEY_GAP);
	cbor_put_uint(b, s->gap_ms);
	cbor_put_uint(b, KEY_FLAGS);
	cbor_put_uint(b, flags);
	put_counters(s, b);
	put_generations(s, b);
	put_members(s, b);
}

void mcast_snapshot_persist(struct mcast_session *s)
{
	s->persist_due = false;
	s->persist_by = MCAST_NEVER;
	s->since_persist = 0;
	s->persist_since = s->now;
	buf_clear(&s->snapshot);
	encode(s, &s->snapshot);
	if (!buf_ok(&s->snapshot))
		return;                                        /* over its limit, which reserve() excludes */
	s->seq_kept = s->seq;
	for (unsigned g = 0; g < s->geo.n_generations; g++)
		s->gens[g].kept_row = s->gens[g].next_row;
	s->token++;
	s->ops.persist(s->ops.ctx, buf_span(&s->snapshot), s->token);
}

/* ---- in ---- */

/* The next number, at most `most`; over it the reader turns bad. */
static uint64_t take(struct cbor *c, uint64_t most)
{
	uint64_t v = cbor_uint(c);

	if (v > most)
		c->bad = true;
	return c->bad ? 0 : v;
}

static void expect(struct cbor *c, bool ok)
{
	if (!ok)
		c->bad = true;
}

static void expect_key(struct cbor *c, unsigned key)
{
	expect(c, cbor_uint(c) == key && cbor_ok(c));
}

static void expect_array(struct cbor *c, size_t n)
{
	expect(c, cbor_array(c) == n && cbor_ok(c));
}

/* 0, -EBADMSG, -ENOTSUP, -ESTALE. */
static int take_identity(struct cbor *c, const struct mcast_session *s)
{
	struct span sid, digest;
	uint64_t object[5];

	expect(c, cbor_map(c) == KEYS);
	expect_key(c, KEY_VERSION);
	if (cbor_uint(c) != MCAST_SNAPSHOT_VERSION)
		return cbor_ok(c) ? -ENOTSUP : -EBADMSG;
	expect_key(c, KEY_SID);
	sid = cbor_bytes(c);
	expect_key(c, KEY_OBJECT);
	expect_array(c, 5);
	for (unsigned i = 0; i < 5; i++)
		object[i] = cbor_uint(c);
	expect_key(c, KEY_DIGEST);
	digest = cbor_bytes(c);
	if (!cbor_ok(c))
		return -EBADMSG;
	if (!span_eq(sid, SPAN_OF(s->cfg.sid.b)) || !span_eq(digest, SPAN_OF(s->cfg.digest.b)) || object[0] != s->cfg.size ||
	    object[1] != s->cfg.z || object[2] != s->cfg.k || object[3] != s->cfg.log2_e || object[4] != s->cfg.alg)
		return -ESTALE;
	return 0;
}

static void take_place(struct cbor *c, struct mcast_session *s)
{
	unsigned n = s->geo.n_generations;

	expect_key(c, KEY_PLACE);
	expect_array(c, 6);
	s->range_first = (unsigned)take(c, n - 1);
	s->range_n = (unsigned)take(c, n);
	s->block = (unsigned)take(c, n);
	s->at_n = (unsigned)take(c, s->cfg.k + 1u);
	s->at_g = (unsigned)take(c, n);
	s->position = (uint32_t)take(c, s->geo.n_fragments);
	expect(c, s->range_n >= 1 && s->range_first + s->range_n <= n && s->at_n >= 1);
}

static void take_state(struct cbor *c, struct mcast_session *s, uint64_t *ret_flags)
{
	expect_key(c, KEY_GID);
	s->cfg.gid = (uint8_t)take(c, UINT8_MAX);
	expect_key(c, KEY_PHASE);
	expect_array(c, 2);
	s->phase = (enum mcast_phase)take(c, MCAST_PHASE_COUNT - 1);
	s->then = (enum mcast_phase)take(c, MCAST_PHASE_REPAIR);
	expect_key(c, KEY_AGE);
	s->started = mono_add_ms(s->now, -(int64_t)take(c, UINT32_MAX));
	expect_key(c, KEY_SEQ);
	s->seq = (uint8_t)take(c, 255);
	expect_key(c, KEY_ROUND);
	expect_array(c, 2);
	s->round = (uint32_t)take(c, UINT32_MAX);
	s->last_wanting = (uint32_t)take(c, 2 * MCAST_MEMBERS_MAX);
	take_place(c, s);
	expect_key(c, KEY_LOSS);
	expect_array(c, 3);
	s->has_loss = take(c, 1);
	s->loss.p = (double)take(c, 1000000) * loss_unit;
	s->loss.v = (double)take(c, 1000000000) * variance_unit;
	expect_key(c, KEY_WINDOWS);
	expect_array(c, 3);
	s->window = (unsigned)take(c, s->cfg.windows.count);
	s->carousel_used = (unsigned)take(c, UINT16_MAX);
	s->windows_silent = (unsigned)take(c, UINT16_MAX);
	expect_key(c, KEY_GAP);
	s->gap_ms = (uint32_t)take(c, UINT32_MAX / 8);
	expect_key(c, KEY_FLAGS);
	*ret_flags = take(c, FLAG_OPERATOR | FLAG_REKEY_DUE | FLAG_REKEY);
	if (s->then < MCAST_PHASE_SYSTEMATIC)
		s->then = MCAST_PHASE_SYSTEMATIC;
}

static void take_counters(struct cbor *c, struct mcast_session *s)
{
	expect_key(c, KEY_COUNTERS);
	expect_array(c, COUNTERS);
	for (unsigned i = 0; i < MCAST_SENT_KIND_COUNT; i++)
		s->sent[i] = (uint32_t)take(c, UINT32_MAX);
	s->airtime_us = cbor_uint(c);
	s->reports_heard = (uint32_t)take(c, UINT32_MAX);
	s->reports_refused = (uint32_t)take(c, UINT32_MAX);
	s->setups_sent = (uint32_t)take(c, UINT32_MAX);
	s->pulls_sent = (uint32_t)take(c, UINT32_MAX);
	s->unicast_blocks = (uint32_t)take(c, UINT32_MAX);
}

/* Rows that may have been sent after this snapshot are left out: n + restart_skip. Until a new snapshot is safe, none leave. */
static void take_generations(struct cbor *c, struct mcast_session *s)
{
	expect_key(c, KEY_GENERATIONS);
	expect_array(c, s->geo.n_generations);
	for (unsigned g = 0; g < s->geo.n_generations && cbor_ok(c); g++) {
		struct mcast_gen *gen = &s->gens[g];
		unsigned m = gen->where.m, last = parity_n_max(m) + 1, next;

		expect_array(c, GENERATION_FIELDS);
		gen->sent = (uint16_t)take(c, m);
		gen->safe_row = gen->kept_row = (uint16_t)take(c, last);
		gen->rows_left = (uint16_t)take(c, UINT16_MAX);
		gen->trim_left = (uint16_t)take(c, m);
		gen->trim_at = (uint16_t)take(c, m - 1);
		gen->trimmed = (uint16_t)take(c, UINT16_MAX);
		expect(c, gen->safe_row >= 1);
		next = (unsigned)gen->safe_row + s->cfg.tuning.restart_skip;
		gen->next_row = (uint16_t)(next < last ? next : last);
	}
}

static int take_member(struct cbor *c, struct mcast_session *s)
{
	struct mcast_member *m;
	struct span device;
	char name[DEVICE_ID_BYTES] = "";
	int i;

	expect_array(c, MEMBER_FIELDS);
	device = cbor_text(c);
	if (!cbor_ok(c) || device.n == 0 || device.n >= sizeof(name) || memchr(device.p, 0, device.n))
		return -EBADMSG;
	memcpy(name, device.p, device.n);
	i = mcast_member_append(s, name, MCAST_MEMBER_NEW);
	if (i < 0)
		return i;
	m = &s->members[i];
	s->n_state[MCAST_MEMBER_NEW]--;
	m->state = (uint8_t)take(c, MCAST_MEMBER_STATE_COUNT - 1);
	if (m->state == MCAST_MEMBER_ASKED)
		m->state = MCAST_MEMBER_NEW;                   /* asked again; so is, below, who did not answer */
	m->why = (uint8_t)take(c, MCAST_WHY_COUNT - 1);
	if (m->state == MCAST_MEMBER_INVITED && m->why == MCAST_WHY_NO_ANSWER)
		m->state = MCAST_MEMBER_NEW;
	s->n_state[m->state]++;
	m->refusal = (uint8_t)take(c, MCAST_ACK_COUNT - 1);
	m->tries = (uint8_t)take(c, UINT8_MAX);
	m->strikes = (uint8_t)take(c, UINT8_MAX);
	m->digest_faults = (uint8_t)take(c, UINT8_MAX);
	m->loss_permille = (uint16_t)take(c, UINT16_MAX);
	m->lost_max = (uint16_t)take(c, UINT16_MAX);
	m->flags = (uint32_t)take(c, UINT32_MAX);
	m->n_reports = (uint32_t)take(c, UINT32_MAX);
	m->rounds_alone = (uint16_t)take(c, UINT16_MAX);
	m->rows_alone = (uint32_t)take(c, UINT32_MAX);
	return cbor_ok(c) ? 0 : -EBADMSG;
}

static int take_members(struct cbor *c, struct mcast_session *s)
{
	size_t n;

	expect_key(c, KEY_MEMBERS);
	n = cbor_array(c);
	if (!cbor_ok(c) || n > MCAST_MEMBERS_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++) {
		int r = take_member(c, s);

		if (r < 0)
			return r;
	}
	return cbor_at_end(c) ? 0 : -EBADMSG;
}

static int decode(struct span in, struct mcast_session *s, uint64_t *ret_flags)
{
	struct cbor c = cbor_reader(in);
	int r;

	if (in.n > MCAST_SNAPSHOT_BYTES_MAX || cbor_check(in, CBOR_KEYS_SORTED, NULL) < 0)
		return -EBADMSG;
	r = take_identity(&c, s);
	if (r < 0)
		return r;
	take_state(&c, s, ret_flags);
	take_counters(&c, s);
	take_generations(&c, s);
	return cbor_ok(&c) ? take_members(&c, s) : -EBADMSG;
}

/* Where a restarted session goes on: data is announced anew, an open question is asked again. */
static void go_on(struct mcast_session *s, uint64_t flags)
{
	s->phase_since = s->now;
	if (s->seq)
		s->seq = mcast_plan_seq(s->seq, MCAST_SEQ_SKIP);
	s->seq_kept = s->seq;
	if (s->gap_ms < s->pace_ms)
		s->gap_ms = s->pace_ms;
	if (s->gap_ms > 8 * s->pace_ms)
		s->gap_ms = 8 * s->pace_ms;
	s->rekey_due = flags & FLAG_REKEY_DUE;
	s->paused = (flags & FLAG_OPERATOR ? MCAST_PAUSE_OPERATOR : 0u) | (flags & FLAG_REKEY ? MCAST_PAUSE_REKEY : 0u);
	s->row_g = s->phase == MCAST_PHASE_PROACTIVE || s->then == MCAST_PHASE_PROACTIVE ? s->range_first : 0;
	s->rows_planned = mcast_send_rows_left(s);
	s->members_dirty = true;
	s->persist_due = true;
	if (s->phase == MCAST_PHASE_SYSTEMATIC || s->phase == MCAST_PHASE_PROACTIVE || s->phase == MCAST_PHASE_REPAIR) {
		s->then = s->phase;
		s->phase = MCAST_PHASE_ANNOUNCE;
	}
	if (s->windowed && s->phase >= MCAST_PHASE_ANNOUNCE && s->phase < MCAST_PHASE_UNICAST) {
		while (s->window + 1u < s->cfg.windows.count && mcast_send_window_left(s) < 3 * (int64_t)s->gap_ms)
			s->window++;
		s->paused |= MCAST_PAUSE_WINDOW;
	}
}

int mcast_session_restore(const struct mcast_session_config *cfg, const struct mcast_session_ops *ops, struct span snapshot,
			  struct mono now, struct mcast_session **ret)
{
	struct mcast_session *s;
	uint64_t flags = 0;
	int r = mcast_session_make(cfg, ops, now, &s);

	if (r < 0)
		return r;
	r = decode(snapshot, s, &flags);
	if (r < 0) {
		mcast_session_free(s);
		return r;
	}
	go_on(s, flags);
	*ret = s;
	return 0;
}
