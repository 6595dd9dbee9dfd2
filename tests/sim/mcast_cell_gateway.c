#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/mcast_message.h"
#include "mcast_cell_internal.h"

enum { PERSIST_MS = 30 };                      /* at most: a commit of the database */

static void note_row(struct cell *cell, const uint8_t *frame, size_t n)
{
	struct mcast_frame f;
	uint8_t padded[MCAST_FRAME_BYTES_MAX];
	size_t n_mic = mcast_mic_bytes(frame[0]);

	memcpy(padded, frame, n);
	memset(padded + n, 0, n_mic);
	if (mcast_frame_decode(SPAN(padded, n + n_mic), &f) < 0) {
		fprintf(stderr, "the session sends a malformed frame, type %02x\n", frame[0]);
		abort();
	}
	if (f.type != MCAST_DATA)
		return;
	unsigned m = mcast_geometry_generation(&cell->geo, f.data.g).m;

	if (f.data.n <= m)
		return;
	unsigned row = f.data.n - m;
	uint8_t *bits = cell->rows[f.data.g];

	cell->r->parity_twice += bits[row / 8] >> row % 8 & 1;
	bits[row / 8] |= (uint8_t)(1 << row % 8);
}

static int gateway_send(void *ctx, struct span frame, size_t n_mic)
{
	struct cell *cell = ctx;
	uint8_t sealed[MCAST_FRAME_BYTES_MAX];

	if (n_mic != mcast_mic_bytes(frame.p[0]))
		abort();
	note_row(cell, frame.p, frame.n);
	memcpy(sealed, frame.p, frame.n);
	size_t n = mcast_frame_seal(cell->mk, &cell->sid, sealed, frame.n);

	cell->r->too_long += frame.n + n_mic > 9u + cell->config.z && frame.p[0] == MCAST_DATA;
	cell_foes_remember(cell, sealed, n);
	cell_air(cell, sealed, n);
	return 0;
}

static int gateway_read(void *ctx, uint64_t offset, uint8_t *p, size_t n)
{
	struct cell *cell = ctx;

	if (offset > cell->c.object_bytes || n > cell->c.object_bytes - offset)
		abort();
	memcpy(p, cell->bytes + offset, n);
	return 0;
}

static void gateway_setup(void *ctx, unsigned member, const char *device)
{
	struct cell *cell = ctx;

	(void)device;
	cell_exchange(cell, CELL_SETUP, &cell->nodes[member], 0, 0);
}

static void gateway_pull(void *ctx, unsigned member, const char *device)
{
	struct cell *cell = ctx;

	(void)device;
	cell->nodes[member].was_pulled = true;
	cell_exchange(cell, CELL_PULL, &cell->nodes[member], 0, 0);
}

static void persisted(void *ctx, uint64_t tag)
{
	struct cell *cell = ctx;

	if (tag != cell->gateway_epoch || !cell->pending || !cell->session)
		return;
	free(cell->durable);
	cell->durable = cell->pending;
	cell->n_durable = cell->n_pending;
	cell->pending = NULL;
	mcast_session_persisted(cell->session, cell->pending_token);
	cell_gateway_wake(cell);
}

static void gateway_persist(void *ctx, struct span snapshot, uint32_t token)
{
	struct cell *cell = ctx;

	uint32_t most_ms = cell->c.persist_ms ? cell->c.persist_ms : PERSIST_MS;

	cell->r->too_long += snapshot.n > MCAST_SNAPSHOT_BYTES_MAX;
	free(cell->pending);
	cell->pending = malloc(snapshot.n + 1);
	if (!cell->pending)
		abort();
	memcpy(cell->pending, snapshot.p, snapshot.n);
	cell->n_pending = snapshot.n;
	cell->pending_token = token;
	mcast_clock_at(&cell->clock, cell->clock.now_ms + 1 + mcast_random_below(&cell->random, most_ms), persisted, cell, cell->gateway_epoch);
}

static void gateway_member(void *ctx, unsigned member, enum mcast_member_state was, enum mcast_member_state now, enum mcast_member_why why)
{
	struct cell *cell = ctx;
	struct cell_node *n = &cell->nodes[member];

	if (cell->c.trace)
		printf("%9.3f member %u: %s -> %s (%s)\n", (double)cell->clock.now_ms / 1000, member, mcast_member_state_name(was),
		       mcast_member_state_name(now), mcast_why_name(why));
	if (mcast_member_handed_back(now))
		n->is_handed_back = true;      /* asks with its next heartbeat */
}

static void gateway_event(void *ctx, enum mcast_session_event ev, int64_t a, int64_t b)
{
	static const char *const names[MCAST_SESSION_EVENT_COUNT] = { "phase", "paused", "resumed", "loss", "pace", "trim", "suspect", "gave up" };
	struct cell *cell = ctx;

	if (ev == MCAST_EV_PHASE && b == MCAST_PHASE_LAZY && !cell->r->active_ms)
		cell->r->active_ms = cell->clock.now_ms;
	if (!cell->c.trace)
		return;
	if (ev == MCAST_EV_PHASE)
		printf("%9.3f gateway: %s -> %s, %u frames\n", (double)cell->clock.now_ms / 1000, mcast_phase_name((enum mcast_phase)a),
		       mcast_phase_name((enum mcast_phase)b), (unsigned)cell->r->sent_total);
	else
		printf("%9.3f gateway: %s %lld %lld\n", (double)cell->clock.now_ms / 1000, names[ev], (long long)a, (long long)b);
}

static void step_due(void *ctx, uint64_t tag)
{
	struct cell *cell = ctx;

	(void)tag;
	cell->event_at = INT64_MAX;
	if (!cell->session)
		return;
	if (cell->clock.now_ms < cell->step_at) {      /* it changed its mind */
		cell->event_at = cell->step_at;
		if (cell->step_at != INT64_MAX)
			mcast_clock_at(&cell->clock, cell->step_at, step_due, cell, 0);
		return;
	}
	cell_gateway_wake(cell);
}

void cell_gateway_wake(struct cell *cell)
{
	if (!cell->session)
		return;
	struct mono at = mcast_session_step(cell->session, cell_mono(cell));

	cell->step_at = at.ms <= cell->clock.now_ms ? cell->clock.now_ms + 1 : at.ms;
	if (mcast_session_over(cell->session))
		cell->is_over = true;
	if (cell->step_at < cell->event_at) {
		cell->event_at = cell->step_at;
		mcast_clock_at(&cell->clock, cell->step_at, step_due, cell, 0);
	}
}

static const struct mcast_session_ops gateway_ops = {
	.send = gateway_send, .read = gateway_read, .setup = gateway_setup, .pull = gateway_pull, .persist = gateway_persist,
	.member = gateway_member, .event = gateway_event,
};

void cell_gateway_start(struct cell *cell)
{
	struct mcast_session_ops ops = gateway_ops;
	int r;

	ops.ctx = cell;
	if (cell->durable)
		r = mcast_session_restore(&cell->config, &ops, SPAN(cell->durable, cell->n_durable), cell_mono(cell), &cell->session);
	else
		r = mcast_session_new(&cell->config, &ops, cell_mono(cell), &cell->session);
	if (r < 0) {
		fprintf(stderr, "seed %llu: no session: %d\n", (unsigned long long)cell->c.seed, r);
		abort();
	}
	/* The driver's orders are kept elsewhere and are given again: who is a member already stays what it is. */
	for (unsigned i = 0; i < cell->n_nodes; i++) {
		char name[DEVICE_ID_BYTES];

		snprintf(name, sizeof(name), "n%u", i);
		if (mcast_session_member_find(cell->session, name) != MCAST_MEMBER_NONE)
			continue;
		struct mcast_member_config m = { name, cell->c.invited };

		r = mcast_session_member_add(cell->session, &m, cell_mono(cell));
		if (r != (int)i) {
			fprintf(stderr, "member %u has index %d\n", i, r);
			abort();
		}
	}
	cell_gateway_wake(cell);
}

static void starts_again(void *ctx, uint64_t tag)
{
	struct cell *cell = ctx;

	if (tag == cell->gateway_epoch)
		cell_gateway_start(cell);
}

void cell_gateway_stop(struct cell *cell)
{
	if (!cell->session)
		return;
	cell->session = mcast_session_free(cell->session);
	free(cell->pending);
	cell->pending = NULL;
	cell->gateway_epoch++;
	cell->r->restarts++;
	if (cell->c.trace)
		printf("%9.3f gateway: killed\n", (double)cell->clock.now_ms / 1000);
	mcast_clock_at(&cell->clock, cell->clock.now_ms + 100 + mcast_random_below(&cell->random, 20000), starts_again, cell, cell->gateway_epoch);
}

void cell_gateway_setup_map(struct cell *cell, struct buf *ret)
{
	uint8_t table[MCAST_GENERATIONS_MAX * MCAST_GENERATION_DIGEST_BYTES];
	struct mcast_setup s = { .sid = cell->sid, .size = cell->c.object_bytes, .digest = cell->digest, .z = (uint8_t)cell->config.z,
		.log2_e = cell->config.log2_e, .alg = cell->config.alg, .k = cell->config.k, .address = { 0xff, 0x03, [15] = 0x57 }, .port = 5683,
		.gid = cell->config.gid, .has_key = !cell->c.invited, .pace_ms = (uint16_t)cell->config.pace_ms,
		.slot_ms = (uint8_t)cell->config.tuning.slot_ms, .envelope_path = SPAN_LIT("mc/e?s=0000000100000000"),
		.lifetime_s = cell->config.tuning.lifetime_ms / 1000 };

	for (unsigned g = 0; g < cell->geo.n_generations; g++)
		memcpy(table + g * (size_t)MCAST_GENERATION_DIGEST_BYTES, cell->part[g].b, MCAST_GENERATION_DIGEST_BYTES);
	if (cell->geo.n_generations <= MCAST_SETUP_TABLE_INLINE_MAX)
		s.table = SPAN(table, cell->geo.n_generations * (size_t)MCAST_GENERATION_DIGEST_BYTES);
	memcpy(s.key, cell->group_key, sizeof(s.key));
	const struct mcast_session_config *c = mcast_session_config(cell->session);

	if (c->windows.length_ms) {            /* seconds from now to the next window that begins */
		int64_t in = c->windows.first.ms - cell->clock.now_ms, passed = 0;

		if (in < 0)
			passed = (-in + c->windows.period_ms - 1) / c->windows.period_ms;
		in += passed * c->windows.period_ms;
		if (passed && in + c->windows.length_ms > c->windows.period_ms) {      /* the present one is still open */
			passed--;
			in = 0;
		}
		s.windows.start_s = (uint64_t)(in / 1000);
		s.windows.length_s = c->windows.length_ms / 1000;
		s.windows.period_s = c->windows.period_ms / 1000;
		s.windows.count = passed < c->windows.count ? (uint32_t)(c->windows.count - passed) : 1;
	}
	mcast_setup_encode(&s, ret);
}

void cell_gateway_report(struct cell *cell, unsigned member, struct span body)
{
	struct mcast_report rep;

	if (!cell->session)
		return;
	if (mcast_report_decode(body, &rep) < 0) {
		fprintf(stderr, "a report is malformed\n");
		abort();
	}
	int r = mcast_session_report(cell->session, member, &rep, cell_mono(cell));

	if (cell->c.trace)
		printf("%9.3f report of %u: seq %u, loss %u, flags %x, %zu deficits, first %u:%u -> %d\n", (double)cell->clock.now_ms / 1000,
		       member, rep.seq, rep.loss_permille, (unsigned)rep.flags, rep.n_deficits, rep.deficits[0].g, rep.deficits[0].d, r);
	cell_gateway_wake(cell);
}
