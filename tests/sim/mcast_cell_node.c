#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/mcast_message.h"
#include "mcast_cell_internal.h"

/* The power fails within an operation: the core is left as it stands (it holds nothing outside its own memory), what
 * was done of the operation stays done. */
#define CELL_POWERED(n_) (!((n_)->fuse && setjmp((n_)->dark)))

static bool burns(struct cell_node *n)
{
	return n->fuse && --n->fuse == 0;
}

static struct mcast_flash *area_of(struct cell_node *n, enum mcr_area area)
{
	return area == MCR_OBJECT ? &n->object : &n->scratch;
}

static int node_read(void *ctx, enum mcr_area area, uint32_t off, uint8_t *ret, size_t len)
{
	return mcast_flash_read(area_of(ctx, area), off, ret, (uint32_t)len);
}

static int node_program(void *ctx, enum mcr_area area, uint32_t off, const uint8_t *data, size_t len)
{
	struct cell_node *n = ctx;

	if (burns(n)) {
		(void)mcast_flash_program(area_of(n, area), off, data, (uint32_t)len / 2 / MCAST_FLASH_WORD * MCAST_FLASH_WORD);
		longjmp(n->dark, 1);
	}
	return mcast_flash_program(area_of(n, area), off, data, (uint32_t)len);
}

static int node_erase(void *ctx, enum mcr_area area, uint32_t off, uint32_t len)
{
	struct cell_node *n = ctx;

	if (burns(n)) {
		(void)mcast_flash_erase(area_of(n, area), off, len / 2 / MCR_ERASE_BYTES * MCR_ERASE_BYTES);
		longjmp(n->dark, 1);
	}
	return mcast_flash_erase(area_of(n, area), off, len);
}

static int node_save(void *ctx, uint16_t key, const uint8_t *data, size_t len)
{
	struct cell_node *n = ctx;

	if (key >= CELL_RECORDS || len > MCR_RECORD_BYTES)
		return -EINVAL;
	if (burns(n))
		longjmp(n->dark, 1);
	n->records[key].n = (uint8_t)len;
	if (len)
		memcpy(n->records[key].data, data, len);
	return 0;
}

static int node_load(void *ctx, uint16_t key, uint8_t *ret, size_t max)
{
	struct cell_node *n = ctx;

	if (key >= CELL_RECORDS || n->records[key].n > max)
		return -EINVAL;
	memcpy(ret, n->records[key].data, n->records[key].n);
	return n->records[key].n;
}

static bool node_mic_ok(void *ctx, uint32_t gid, const uint8_t sid[8], const uint8_t *frame, size_t len, const uint8_t *mic, size_t n_mic)
{
	struct cell_node *n = ctx;

	if (gid != n->cell->config.gid)
		return false;
	return cell_mic_ok(n->cell, sid, frame, len, mic, n_mic);
}

/* What equals the object has the object's digest. */
static int node_sha256(void *ctx, uint32_t off, uint32_t len, uint8_t ret[32])
{
	struct cell_node *n = ctx;
	struct cell *cell = n->cell;
	struct digest d;

	if (off > cell->c.object_bytes || len > cell->c.object_bytes - off)
		return -EINVAL;
	if (len == cell->c.object_bytes && memcmp(n->object.bytes, cell->bytes, len) == 0) {
		d = cell->digest;
	} else {
		unsigned g = mcast_geometry_at(&cell->geo, off);
		struct mcast_generation gen = mcast_geometry_generation(&cell->geo, g);

		d = gen.offset == off && gen.length == len && memcmp(n->object.bytes + off, cell->bytes + off, len) == 0
		    ? cell->part[g] : digest_of(SPAN(n->object.bytes + off, len));
	}
	memcpy(ret, d.b, 32);
	return 0;
}

static int node_generation_digest(void *ctx, unsigned g, uint8_t ret[8])
{
	struct cell_node *n = ctx;

	if (n->cell->c.no_table)
		return -ENOENT;
	memcpy(ret, n->cell->part[g].b, MCAST_GENERATION_DIGEST_BYTES);
	return 0;
}

static uint32_t node_random(void *ctx)
{
	struct cell_node *n = ctx;

	return (uint32_t)(mcast_random_u64(&n->random) >> 32);
}

static void node_report(void *ctx, const struct mcr_report *report)
{
	cell_report(ctx, report);
}

static void node_event(void *ctx, enum mcr_event ev, unsigned arg)
{
	struct cell_node *n = ctx;

	if (n->cell->c.trace && ev != MCR_EV_SOLVED)
		printf("%9.3f node %u: event %d %u\n", (double)n->cell->clock.now_ms / 1000, n->index, (int)ev, arg);
	if (ev == MCR_EV_SPOILED)
		n->cell->r->spoiled++;
	if (ev == MCR_EV_READY)
		cell_node_has_it(n, n->is_handed_back);
}

static void node_announced(void *ctx, const struct mcr_announce *a)
{
	struct cell_node *n = ctx;

	if (!n->is_busy && memcmp(a->sid, n->cell->sid.b, MCAST_SID_BYTES) == 0)
		cell_exchange(n->cell, CELL_DESCRIPTOR, n, 0, 0);
}

static const struct mcr_ops node_ops = {
	.read = node_read, .program = node_program, .erase = node_erase, .save = node_save, .load = node_load, .mic_ok = node_mic_ok,
	.sha256 = node_sha256, .generation_digest = node_generation_digest, .random = node_random, .report = node_report,
	.event = node_event, .announced = node_announced,
};

uint32_t cell_node_now(const struct cell_node *n)
{
	return n->clock_offset + (uint32_t)n->cell->clock.now_ms;
}

bool cell_node_reachable(const struct cell_node *n)
{
	return n->is_up && !n->is_deaf && !n->is_gone;
}

void cell_node_has_it(struct cell_node *n, bool by_unicast)
{
	struct cell *cell = n->cell;

	if (!by_unicast || mcr_state(&n->core) == MCR_READY)
		cell->r->forged_ready += memcmp(n->object.bytes, cell->bytes, cell->c.object_bytes) != 0;
	if (n->is_ready)
		return;
	n->is_ready = true;
	n->by_unicast = by_unicast;
	n->ready_at = cell->clock.now_ms;
	if (n->role == CELL_HONEST || n->role == CELL_SLEEPER)
		cell->n_unready--;
}

static void node_step_due(void *ctx, uint64_t tag)
{
	struct cell_node *n = ctx;

	(void)tag;
	n->event_at = INT64_MAX;
	if (n->is_up && !n->is_gone)
		cell_node_wake(n);
}

/* One event a node waits in the queue; it is asked for anew only when the node wants to be called sooner. */
void cell_node_wake(struct cell_node *n)
{
	struct mcast_clock *clock = &n->cell->clock;

	if (!n->is_up || n->is_gone)
		return;
	if (clock->now_ms >= n->step_at || n->is_touched) {
		n->is_touched = false;
		if (!CELL_POWERED(n)) {
			cell_node_kill(n);
			return;
		}
		uint32_t in_ms = mcr_step(&n->core, cell_node_now(n));

		n->step_at = in_ms == MCR_NEVER ? INT64_MAX : clock->now_ms + (in_ms ? in_ms : 1);
	}
	if (n->step_at < n->event_at) {
		n->event_at = n->step_at;
		mcast_clock_at(clock, n->step_at, node_step_due, n, 0);
	}
}

void cell_node_hear(struct cell_node *n, const uint8_t *frame, size_t len)
{
	if (!CELL_POWERED(n)) {
		cell_node_kill(n);
		return;
	}
	(void)mcr_frame(&n->core, frame, len, cell_node_now(n));
	n->is_touched = true;
	cell_node_wake(n);
}

static void node_sums(struct cell_node *n)
{
	if (n->is_up)
		n->radio_ms += mcr_stats(&n->core, cell_node_now(n))->radio_on_ms;
}

static void node_boots(void *ctx, uint64_t tag)
{
	struct cell_node *n = ctx;

	if (tag == n->epoch && !n->is_gone)
		cell_node_boot(n);
}

void cell_node_kill(struct cell_node *n)
{
	struct cell *cell = n->cell;

	if (!n->is_up)
		return;
	node_sums(n);
	n->is_up = n->is_busy = false;
	n->fuse = 0;
	n->epoch++;
	memset(&n->core, 0xa5, sizeof(n->core));       /* nothing of it may be used again */
	cell->r->restarts++;
	mcast_clock_at(&cell->clock, cell->clock.now_ms + 1000 + mcast_random_below(&cell->random, 30000), node_boots, n, n->epoch);
}

void cell_node_boot(struct cell_node *n)
{
	n->is_up = true;
	n->clock_offset = (uint32_t)mcast_random_u64(&n->random);
	n->step_at = INT64_MAX;
	if (mcr_init(&n->core, &node_ops, n, cell_node_now(n)) < 0) {
		fprintf(stderr, "node %u: its records cannot be read\n", n->index);
		abort();
	}
	n->is_touched = true;
	cell_node_wake(n);
	if (n->epoch && !n->is_ready)
		cell_exchange(n->cell, CELL_DESCRIPTOR, n, 0, 0);
}

bool cell_node_setup(struct cell_node *n, struct span map, struct buf *ret_ack)
{
	struct mcast_setup s;
	int r = mcast_setup_decode(map, &s);

	if (r < 0) {
		fprintf(stderr, "a setup is malformed: %d\n", r);
		abort();
	}
	struct mcr_setup t = { .size = s.size, .z = s.z, .k = s.k, .log2_e = s.log2_e, .alg = s.alg, .gid = s.gid,
		.windows = { (uint32_t)s.windows.start_s, s.windows.length_s, s.windows.period_s, (uint16_t)s.windows.count },
		.pace_ms = s.pace_ms, .slot_ms = s.slot_ms, .lifetime_s = s.lifetime_s };

	memcpy(t.sid, s.sid.b, sizeof(t.sid));
	memcpy(t.sha256, s.digest.b, sizeof(t.sha256));
	if (!CELL_POWERED(n)) {
		cell_node_kill(n);
		return false;
	}
	enum mcr_ack code = mcr_setup(&n->core, &t, cell_node_now(n));
	uint8_t complete[MCAST_GENERATIONS_MAX / 8];
	struct mcast_ack ack = { .sid = s.sid, .code = code < MCR_CONFLICT ? (enum mcast_ack_code)code : MCAST_ACK_BUSY,
		.l = MCR_L, .k_max = MCR_K_MAX, .z_max = MCR_Z_MAX };

	ack.complete = SPAN(complete, mcr_solved_map(&n->core, complete, sizeof(complete)));
	mcast_ack_encode(&ack, ret_ack);
	n->is_touched = true;
	cell_node_wake(n);
	return true;
}

int cell_node_put(struct cell_node *n, uint32_t off, struct span bytes)
{
	if (!CELL_POWERED(n)) {
		cell_node_kill(n);
		return -EIO;
	}
	int r = mcr_put(&n->core, off, bytes.p, bytes.n, cell_node_now(n));

	n->is_touched = true;
	cell_node_wake(n);
	return r >= 0;
}

/* A registration update, a poll: what the node says anyway says that it holds the object, and asks whether there is something. */
static void heartbeat(void *ctx, uint64_t tag)
{
	struct cell_node *n = ctx;
	struct cell *cell = n->cell;

	(void)tag;
	if (n->is_gone)
		return;
	mcast_clock_at(&cell->clock, cell->clock.now_ms + cell->c.heartbeat_ms, heartbeat, n, 0);
	if (!cell_node_reachable(n) || !cell->session)
		return;
	if (n->is_ready && n->role != CELL_LIAR) {
		(void)mcast_session_member_ready(cell->session, n->index, cell_mono(cell));
		cell_gateway_wake(cell);
	} else if (n->is_ready || n->is_busy) {
		return;
	} else if (n->is_handed_back) {
		cell_fallback(n);
	} else if (mcr_state(&n->core) == MCR_IDLE) {
		cell_exchange(cell, CELL_DESCRIPTOR, n, 0, 0);
	}
}

static void turns(void *ctx, uint64_t tag)
{
	struct cell_node *n = ctx;
	struct cell *cell = n->cell;

	(void)tag;
	n->is_deaf = !n->is_deaf;
	mcast_clock_at(&cell->clock, cell->clock.now_ms + cell->c.sleep_ms / 2 + mcast_random_below(&n->random, cell->c.sleep_ms), turns, n, 0);
	if (!n->is_deaf && cell_node_reachable(n) && !n->is_ready && !n->is_busy && !n->is_handed_back &&
	    mcr_state(&n->core) == MCR_IDLE)
		cell_exchange(cell, CELL_DESCRIPTOR, n, 0, 0);
}

static void dies(void *ctx, uint64_t tag)
{
	struct cell_node *n = ctx;

	(void)tag;
	n->is_gone = true;
}

/* An earlier session was here: the record that the core keeps of it, gid and sid. */
static void join_group(struct cell_node *n)
{
	struct mcast_sid sid = mcast_sid_of(mcast_sid_counter(&n->cell->sid) - 1, 0);
	struct cell_record *r = &n->records[MCR_KEY_GROUPS];

	r->n = 4 + MCAST_SID_BYTES;
	memset(r->data, 0, 4);
	r->data[0] = n->cell->config.gid;
	memcpy(r->data + 4, sid.b, MCAST_SID_BYTES);
}

void cell_node_init(struct cell *cell, unsigned index, const struct mcast_class *cls, enum cell_role role)
{
	struct cell_node *n = &cell->nodes[index];
	uint32_t granules = (cell->c.object_bytes + MCR_ERASE_BYTES - 1) / MCR_ERASE_BYTES;

	*n = (struct cell_node){ .cell = cell, .index = index, .role = role, .event_at = INT64_MAX };
	mcast_random_seed(&n->random, cell->c.seed, 2000000 + index);
	mcast_channel_init(&n->channel, cell->c.seed, 1000000 + index, cls->loss, cls->burst);
	mcast_flash_init(&n->object, granules * MCR_ERASE_BYTES, MCR_ERASE_BYTES);
	mcast_flash_init(&n->scratch, CELL_SCRATCH_BYTES, MCR_ERASE_BYTES);
	n->records = calloc(CELL_RECORDS, sizeof(*n->records));
	if (!n->records)
		abort();
	n->is_gone = role == CELL_ABSENT;
	if (cell->c.invited)
		join_group(n);
	cell_node_boot(n);
	mcast_clock_at(&cell->clock, mcast_random_below(&n->random, cell->c.heartbeat_ms), heartbeat, n, 0);
	if (role == CELL_SLEEPER)
		mcast_clock_at(&cell->clock, mcast_random_below(&n->random, cell->c.sleep_ms), turns, n, 0);
	if (role == CELL_DYING)
		mcast_clock_at(&cell->clock, mcast_random_below(&n->random, (uint32_t)cell_estimate_ms(cell)), dies, n, 0);
}

void cell_node_done(struct cell_node *n)
{
	node_sums(n);
	n->flash_twice = n->object.twice + n->scratch.twice;
	mcast_flash_done(&n->object);
	mcast_flash_done(&n->scratch);
	free(n->records);
}
