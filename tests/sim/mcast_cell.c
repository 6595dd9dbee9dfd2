#include "mcast_cell.h"

#include <stdio.h>
#include <stdlib.h>

#include "mcast_cell_internal.h"

enum { HOUR_MS = 3600 * 1000, GID = 1, SESSION_COUNTER = 7 };

void mcast_cell_defaults(struct mcast_cell_config *c)
{
	*c = (struct mcast_cell_config){ .object_bytes = 128 * 1024, .z = MCAST_Z_DEFAULT, .k = MCAST_K_DEFAULT, .log2_e = MCAST_LOG2_E_DEFAULT,
		.alg = 1, .pace_ms = 50, .link_retries = 3, .heartbeat_ms = HOUR_MS / 6, .baseline_permille = UINT16_MAX, .sleep_ms = 20000,
		.classes = { { 100, 0.1, 0 } }, .n_classes = 1, .horizon_ms = 48LL * HOUR_MS };
	mcast_tuning_default(&c->tuning);
	mcast_link_profile(MCAST_LINK_802154, 0, &c->link);
}

bool cell_mic_ok(struct cell *cell, const uint8_t sid[static 8], const uint8_t *frame, size_t n, const uint8_t *mic, size_t n_mic)
{
	struct mcast_sid s;
	struct mcast_frame f = { .body = SPAN(frame, n), .mic = SPAN(mic, n_mic) };

	memcpy(s.b, sid, sizeof(s.b));
	if (mcast_sid_eq(&s, &cell->sid)) {
		if (n + n_mic == cell->n_memo && memcmp(frame, cell->memo, n) == 0 && memcmp(mic, cell->memo + n, n_mic) == 0)
			return cell->memo_ok;
		return mcast_frame_check(cell->mk, &s, &f);
	}
	uint8_t key[MAC_CMAC_KEY_BYTES];

	mcast_mic_key(&s, cell->group_key, key);
	struct mac_cmac *mk = mac_cmac_new(key);
	bool ok = mcast_frame_check(mk, &s, &f);

	mac_cmac_free(mk);
	return ok;
}

static void memoise(struct cell *cell, const uint8_t *frame, size_t n)
{
	size_t n_mic = mcast_mic_bytes(frame[0]);
	struct mcast_frame f = { .body = SPAN(frame, n - n_mic), .mic = SPAN(frame + n - n_mic, n_mic) };

	memcpy(cell->memo, frame, n);
	cell->n_memo = n;
	cell->memo_ok = mcast_frame_check(cell->mk, &cell->sid, &f);
}

void cell_air(struct cell *cell, const uint8_t *frame, size_t n)
{
	cell->r->sent_total++;
	memoise(cell, frame, n);
	for (unsigned i = 0; i < cell->n_nodes; i++) {
		struct cell_node *node = &cell->nodes[i];
		bool heard = mcast_channel_hears(&node->channel);

		if (node->is_gone || !node->is_up)
			continue;
		/* Who is invited hears announcements: its radio is on anyway. */
		if (!mcr_is_listening(&node->core) && !(cell->c.invited && mcr_state(&node->core) == MCR_IDLE))
			continue;
		node->listened++;
		if (!heard || node->is_deaf)
			continue;
		if (cell->c.corrupt > 0 && mcast_random_chance(&node->random, cell->c.corrupt)) {
			uint8_t bad[MCAST_FRAME_BYTES_MAX];

			memcpy(bad, frame, n);
			for (unsigned k = 1 + mcast_random_below(&node->random, 3); k; k--)
				bad[mcast_random_below(&node->random, (uint32_t)n)] ^= (uint8_t)(1 << mcast_random_below(&node->random, 8));
			cell_node_hear(node, bad, n - mcast_random_below(&node->random, 2));
			continue;
		}
		cell_node_hear(node, frame, n);
	}
}

static void make_object(struct cell *cell)
{
	cell->bytes = malloc(cell->c.object_bytes);
	cell->part = calloc(cell->geo.n_generations, sizeof(*cell->part));
	cell->rows = calloc(cell->geo.n_generations, sizeof(*cell->rows));
	if (!cell->bytes || !cell->part || !cell->rows)
		abort();
	for (uint32_t i = 0; i < cell->c.object_bytes; i++)
		cell->bytes[i] = (uint8_t)mcast_random_u64(&cell->random);
	cell->digest = digest_of(SPAN(cell->bytes, cell->c.object_bytes));
	for (unsigned g = 0; g < cell->geo.n_generations; g++) {
		struct mcast_generation gen = mcast_geometry_generation(&cell->geo, g);

		cell->part[g] = digest_of(SPAN(cell->bytes + gen.offset, gen.length));
	}
}

/* Who is what, by lot. */
static void make_nodes(struct cell *cell)
{
	const unsigned counts[] = { [CELL_SLEEPER] = cell->c.sleepers, [CELL_ABSENT] = cell->c.absent, [CELL_DYING] = cell->c.dying,
		[CELL_LIAR] = cell->c.liars };
	enum cell_role *roles;
	unsigned at = 0, cls = 0, in_class = 0;

	for (unsigned i = 0; i < cell->c.n_classes; i++)
		cell->n_nodes += cell->c.classes[i].n;
	cell->nodes = calloc(cell->n_nodes, sizeof(*cell->nodes));
	roles = calloc(cell->n_nodes, sizeof(*roles));
	if (!cell->nodes || !roles)
		abort();
	for (unsigned role = CELL_SLEEPER; role <= CELL_LIAR; role++)
		for (unsigned k = 0; k < counts[role] && at < cell->n_nodes; k++)
			roles[at++] = (enum cell_role)role;
	for (unsigned i = cell->n_nodes; i > 1; i--) {
		unsigned j = mcast_random_below(&cell->random, i);
		enum cell_role t = roles[i - 1];

		roles[i - 1] = roles[j];
		roles[j] = t;
	}
	for (unsigned i = 0; i < cell->n_nodes; i++) {
		while (in_class == cell->c.classes[cls].n) {
			cls++;
			in_class = 0;
		}
		in_class++;
		cell->n_unready += roles[i] == CELL_HONEST || roles[i] == CELL_SLEEPER;
		cell_node_init(cell, i, &cell->c.classes[cls], roles[i]);
	}
	free(roles);
}

static void make_config(struct cell *cell)
{
	uint8_t key[MAC_CMAC_KEY_BYTES];

	cell->sid = mcast_sid_of(SESSION_COUNTER, (uint32_t)mcast_random_u64(&cell->random));
	for (unsigned i = 0; i < sizeof(cell->group_key); i++)
		cell->group_key[i] = (uint8_t)mcast_random_u64(&cell->random);
	mcast_mic_key(&cell->sid, cell->group_key, key);
	cell->mk = mac_cmac_new(key);
	cell->config = (struct mcast_session_config){ .sid = cell->sid, .size = cell->c.object_bytes, .digest = cell->digest, .gid = GID,
		.z = cell->c.z, .k = cell->c.k, .log2_e = cell->c.log2_e, .alg = cell->c.alg, .pace_ms = cell->c.pace_ms, .link = cell->c.link,
		.windows = { { (int64_t)cell->c.window_s * 100 }, cell->c.window_s * 1000, cell->c.window_period_s * 1000,
			     (uint16_t)cell->c.window_count },
		.baseline_permille = cell->c.baseline_permille, .tuning = cell->c.tuning, .seed = cell->c.seed };
}

static void sums(struct cell *cell)
{
	struct mcast_cell_result *r = cell->r;
	uint64_t listened = 0, ms = 0;
	unsigned honest = 0;

	r->nodes = cell->n_nodes;
	r->missing = cell->n_unready;
	for (unsigned i = 0; i < cell->n_nodes; i++) {
		struct cell_node *n = &cell->nodes[i];

		cell_node_done(n);
		r->flash_twice += n->flash_twice;
		if (n->role != CELL_HONEST && n->role != CELL_SLEEPER)
			continue;
		honest++;
		r->ready += n->is_ready;
		r->by_unicast += n->by_unicast;
		r->pulled += n->was_pulled;
		listened += n->listened;
		ms += n->radio_ms;
		if (n->ready_at > r->end_ms)
			r->end_ms = n->ready_at;
	}
	r->listened = honest ? (double)listened / honest / cell->geo.n_fragments : 0;
	r->listened_ms = honest ? (double)ms / honest / ((double)cell->geo.n_fragments * cell->config.pace_ms) : 0;
	r->unfinished = !cell->is_over;
	r->events = cell->clock.events;
}

/* What the session says that it sent is what went by: nothing else is trusted here but the split into kinds. */
static void session_sums(struct cell *cell)
{
	struct mcast_session_view v;
	struct mcast_cell_result *r = cell->r;

	if (!cell->session)
		return;
	mcast_session_view(cell->session, cell_mono(cell), &v);
	for (unsigned i = 0; i < MCAST_SENT_KIND_COUNT; i++)
		r->sent[i] = v.sent[i];
	r->loss = v.loss;
	r->rounds = v.round;
	r->control = v.sent[MCAST_SENT_STATUS] + v.sent[MCAST_SENT_ECHO] + v.sent[MCAST_SENT_ANNOUNCE] + v.sent[MCAST_SENT_END] + r->reports;
}

static void bounds(struct cell *cell)
{
	struct mcast_cell_result *r = cell->r;
	const struct mcast_cell_config *c = &cell->c;
	uint64_t data = r->sent_total + r->reports + r->pull + r->fallback;
	bool bursty = false;

	for (unsigned i = 0; i < c->n_classes; i++)
		bursty |= c->classes[i].burst > 0;
	r->bound = mcast_bound(c->classes, c->n_classes, cell->geo.n_fragments);
	r->bound_bursty = bursty ? mcast_bound_bursty(c->classes, c->n_classes, cell->geo.n_fragments, MCAST_BOUND_DRAWS) : r->bound;
	r->unicast = mcast_unicast_frames(c->classes, c->n_classes, cell->geo.n_fragments, false);
	r->unicast_retried = mcast_unicast_frames(c->classes, c->n_classes, cell->geo.n_fragments, true);
	r->ratio = (double)data / r->bound;
	r->ratio_bursty = (double)data / r->bound_bursty;
	r->ratio_with_setup = (double)(data + r->setup + r->descriptor) / r->bound;
}

static void cell_free(struct cell *cell)
{
	mcast_session_free(cell->session);
	cell_letters_done(cell);
	mcast_clock_done(&cell->clock);
	mac_cmac_free(cell->mk);
	free(cell->durable);
	free(cell->pending);
	free(cell->nodes);
	free(cell->bytes);
	free(cell->part);
	free(cell->rows);
	free(cell);
}

void mcast_cell_run(const struct mcast_cell_config *c, struct mcast_cell_result *ret)
{
	struct cell *cell = calloc(1, sizeof(*cell));

	if (!cell)
		abort();
	memset(ret, 0, sizeof(*ret));
	cell->c = *c;
	cell->r = ret;
	cell->event_at = INT64_MAX;
	LIST_INIT(&cell->letters);
	mcast_random_seed(&cell->random, c->seed, 0);
	if (mcast_geometry_of(c->object_bytes, c->z, c->k, c->log2_e, &cell->geo) < 0)
		abort();
	make_object(cell);
	make_config(cell);
	make_nodes(cell);
	cell_gateway_start(cell);
	cell_foes_begin(cell);
	while ((!cell->is_over || cell->n_unready) && mcast_clock_next(&cell->clock, c->horizon_ms))
		;
	session_sums(cell);
	sums(cell);
	bounds(cell);
	cell_free(cell);
}

bool mcast_cell_kept(const struct mcast_cell_config *c, const struct mcast_cell_result *r)
{
	if (!r->forged_ready && !r->missing && !r->parity_twice && !r->flash_twice && !r->too_long && !r->unfinished)
		return true;
	fprintf(stderr, "seed %llu: %u forged, %u missing of %u, %u rows twice, %u words of flash twice, %u too long, %sfinished\n",
		(unsigned long long)c->seed, r->forged_ready, r->missing, r->nodes, r->parity_twice, r->flash_twice, r->too_long,
		r->unfinished ? "not " : "");
	return false;
}
