#include "mcast_cell_internal.h"

/* Foes and accidents, each by its own chain of events at random instants while the transmission lasts. */

typedef void foe_fn(struct cell *cell);

static struct mcast_generation some_generation(struct cell *cell, unsigned *g)
{
	*g = mcast_random_below(&cell->random, cell->geo.n_generations);
	return mcast_geometry_generation(&cell->geo, *g);
}

static size_t some_data(struct cell *cell, uint8_t *ret)
{
	uint8_t fragment[MCAST_FRAGMENT_BYTES_MAX];
	unsigned g;
	struct mcast_generation gen = some_generation(cell, &g);
	struct mcast_data d = { (uint8_t)g, (uint16_t)(1 + mcast_random_below(&cell->random, gen.m * 5u / 4)), SPAN(fragment, cell->config.z) };

	for (unsigned i = 0; i < cell->config.z; i++)
		fragment[i] = (uint8_t)mcast_random_u64(&cell->random);
	return mcast_data_encode(mcast_sid8(&cell->sid), &d, ret);
}

static size_t some_control(struct cell *cell, uint8_t *ret)
{
	uint8_t sid8 = mcast_sid8(&cell->sid);

	switch (mcast_random_below(&cell->random, 3)) {
	case 0: {
		struct mcast_status s = { .seq = (uint8_t)(1 + mcast_random_below(&cell->random, 255)),
			.flags = (uint8_t)mcast_random_below(&cell->random, 4), .prob = 255, .window_slots = 16, .n_expected = 4,
			.n_deficits = 1, .deficits = { { 0, 255 } } };

		return mcast_status_encode(sid8, &s, ret);
	}
	case 1: {
		struct mcast_announce a = { .sid = cell->sid, .size = cell->c.object_bytes, .z = (uint8_t)cell->config.z, .log2_e = cell->config.log2_e,
			.alg = cell->config.alg, .k = cell->config.k, .start_s = mcast_random_below(&cell->random, 3600), .length_s = 10,
			.pace_ms = 50, .slot_ms = 50, .gid = cell->config.gid };

		a.glast = (uint8_t)(cell->geo.n_generations - 1);
		memcpy(a.digest16, cell->digest.b, sizeof(a.digest16));
		return mcast_announce_encode(&a, ret);
	}
	default:
		return mcast_end_encode(sid8, (enum mcast_end)mcast_random_below(&cell->random, 4), ret);
	}
}

static void air_of_foe(struct cell *cell, const uint8_t *frame, size_t n)
{
	uint64_t before = cell->r->sent_total;

	cell_air(cell, frame, n);
	cell->r->sent_total = before;
	cell->r->foes++;
}

/* Nobody told it the key: the MIC is a guess. */
static void forge(struct cell *cell)
{
	uint8_t frame[MCAST_FRAME_BYTES_MAX];
	size_t n = mcast_random_below(&cell->random, 4) ? some_data(cell, frame) : some_control(cell, frame);

	for (size_t i = mcast_mic_bytes(frame[0]); i; i--)
		frame[n++] = (uint8_t)mcast_random_u64(&cell->random);
	air_of_foe(cell, frame, n);
}

/* A member gone bad: the MIC is right, the contents are not. */
static void insider(struct cell *cell)
{
	uint8_t frame[MCAST_FRAME_BYTES_MAX];
	size_t n = cell->c.insider_ends && mcast_random_below(&cell->random, 2) ? some_control(cell, frame) : some_data(cell, frame);

	air_of_foe(cell, frame, mcast_frame_seal(cell->mk, &cell->sid, frame, n));
}

/* What was said before, said again: of this session, and an announcement of one before it. */
static void replay(struct cell *cell)
{
	uint8_t frame[MCAST_FRAME_BYTES_MAX], key[MAC_CMAC_KEY_BYTES];

	if (cell->n_replay && mcast_random_below(&cell->random, 4)) {
		unsigned i = mcast_random_below(&cell->random, cell->n_replay < CELL_REPLAYS ? cell->n_replay : CELL_REPLAYS);

		air_of_foe(cell, cell->replay[i].b, cell->replay[i].n);
		return;
	}
	struct mcast_announce a = { .sid = mcast_sid_of(mcast_sid_counter(&cell->sid) - 1, 0x11223344), .size = cell->c.object_bytes,
		.z = (uint8_t)cell->config.z, .log2_e = cell->config.log2_e, .alg = cell->config.alg, .k = cell->config.k, .pace_ms = 50, .slot_ms = 50,
		.glast = (uint8_t)(cell->geo.n_generations - 1), .gid = cell->config.gid };
	size_t n = mcast_announce_encode(&a, frame);

	mcast_mic_key(&a.sid, cell->group_key, key);
	struct mac_cmac *mk = mac_cmac_new(key);

	n = mcast_frame_seal(mk, &a.sid, frame, n);
	mac_cmac_free(mk);
	air_of_foe(cell, frame, n);
}

void cell_foes_remember(struct cell *cell, const uint8_t *frame, size_t n)
{
	if (!cell->c.replay_ms || mcast_random_below(&cell->random, 8))
		return;
	unsigned i = cell->n_replay++ % CELL_REPLAYS;

	cell->replay[i].n = (uint8_t)n;
	memcpy(cell->replay[i].b, frame, n);
}

static void foe_due(void *ctx, uint64_t tag)
{
	static foe_fn *const acts[] = { forge, insider, replay };
	struct cell *cell = ctx;
	uint32_t every_ms = (const uint32_t[]){ cell->c.forge_ms, cell->c.insider_ms, cell->c.replay_ms }[tag];

	acts[tag](cell);
	if (cell->clock.now_ms < 2 * cell_estimate_ms(cell))
		mcast_clock_at(&cell->clock, cell->clock.now_ms + 1 + mcast_random_below(&cell->random, 2 * every_ms), foe_due, cell, tag);
}

static void gateway_dies(void *ctx, uint64_t tag)
{
	(void)tag;
	cell_gateway_stop(ctx);
}

static void node_dies(void *ctx, uint64_t tag)
{
	struct cell *cell = ctx;
	struct cell_node *n = &cell->nodes[mcast_random_below(&cell->random, cell->n_nodes)];

	(void)tag;
	if (n->is_gone || !n->is_up)
		return;
	if (cell->c.power_fails && mcast_random_below(&cell->random, 2))
		n->fuse = 1 + mcast_random_below(&cell->random, 40);
	else
		cell_node_kill(n);
}

int64_t cell_estimate_ms(const struct cell *cell)
{
	double worst = 0;

	for (unsigned i = 0; i < cell->c.n_classes; i++)
		worst = cell->c.classes[i].loss > worst ? cell->c.classes[i].loss : worst;
	return 5000 + cell->n_nodes * 20 + (int64_t)(cell->geo.n_fragments * (double)cell->config.pace_ms * 1.1 / (1 - worst));
}

void cell_foes_begin(struct cell *cell)
{
	const uint32_t every_ms[] = { cell->c.forge_ms, cell->c.insider_ms, cell->c.replay_ms };
	uint32_t lasts_ms = (uint32_t)cell_estimate_ms(cell);

	for (unsigned i = 0; i < 3; i++)
		if (every_ms[i])
			mcast_clock_at(&cell->clock, 1 + mcast_random_below(&cell->random, 2 * every_ms[i]), foe_due, cell, i);
	for (unsigned i = 0; i < cell->c.gateway_restarts; i++)
		mcast_clock_at(&cell->clock, mcast_random_below(&cell->random, lasts_ms), gateway_dies, cell, 0);
	for (unsigned i = 0; i < cell->c.node_restarts; i++)
		mcast_clock_at(&cell->clock, mcast_random_below(&cell->random, lasts_ms), node_dies, cell, 0);
}

/* Each liar has its own lie. Nothing here is outside what the codec lets through: the session must doubt it itself. */
void cell_liar(struct cell_node *n, struct mcr_report *report)
{
	struct cell *cell = n->cell;

	report->n = 0;
	report->flags = 0;
	switch (n->index % 5) {
	case 0:                                /* lost everything, always */
		report->loss_permille = 1000;
		for (unsigned g = 0; g < cell->geo.n_generations && report->n < MCR_REPORT_ENTRIES; g++) {
			report->entries[report->n].g = (uint8_t)g;
			report->entries[report->n++].d = mcast_geometry_generation(&cell->geo, g).m;
		}
		break;
	case 1:                                /* always a few more */
		report->entries[report->n].g = (uint8_t)mcast_random_below(&n->random, cell->geo.n_generations);
		report->entries[report->n++].d = (uint16_t)(1 + mcast_random_below(&n->random, 100));
		break;
	case 2:                                /* it was done at once */
		report->flags = MCR_REPORT_DONE;
		report->loss_permille = 0;
		break;
	case 3:                                /* digests fail */
		report->flags = MCR_REPORT_DIGEST_FAILED;
		report->entries[report->n].g = 0;
		report->entries[report->n++].d = 160;
		break;
	default:                               /* always the same one row */
		report->loss_permille = (uint16_t)mcast_random_below(&n->random, 1001);
		report->entries[report->n].g = (uint8_t)(cell->geo.n_generations - 1);
		report->entries[report->n++].d = 1;
		break;
	}
}
