#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/mcast_message.h"
#include "mcast_cell_internal.h"

/* Everything under way is in one list, so that nothing is left when a run ends in the middle of it. */
struct cell_letter {
	LIST_ENTRY(cell_letter) entry;
	struct buf body;
};

struct exchange {
	struct cell_letter letter;             /* first: the answer */
	struct cell *cell;
	struct cell_node *node;
	enum cell_exchange_kind kind;
	uint64_t epoch, gateway_epoch;         /* of who asks: an exchange ends with its asker's life */
	uint32_t offset, bytes;
	unsigned tries;
	bool is_handled;
};

static void *letter_new(struct cell *cell, size_t bytes)
{
	struct cell_letter *l = calloc(1, bytes);

	if (!l)
		abort();
	LIST_INSERT_HEAD(&cell->letters, l, entry);
	return l;
}

static void letter_free(struct cell_letter *l)
{
	LIST_REMOVE(l, entry);
	buf_done(&l->body);
	free(l);
}

void cell_letters_done(struct cell *cell)
{
	while (!LIST_EMPTY(&cell->letters))
		letter_free(LIST_FIRST(&cell->letters));
}

static bool asked_by_gateway(const struct exchange *x)
{
	return x->kind == CELL_SETUP || x->kind == CELL_PULL;
}

/* The link sends a frame again until it is acknowledged, some times; its acknowledgements are not counted and not lost. */
static bool frame_heard(struct cell_node *n, uint64_t *frames)
{
	for (unsigned i = 0; i <= n->cell->c.link_retries; i++) {
		++*frames;
		if (mcast_channel_hears(&n->channel) && cell_node_reachable(n))
			return true;
	}
	return false;
}

bool cell_message_heard(struct cell_node *n, unsigned bytes, uint64_t *frames)
{
	unsigned k = bytes > CELL_FRAME_BYTES ? (bytes + CELL_FRAME_BYTES - 1) / CELL_FRAME_BYTES : 1;
	bool heard = true;

	while (k--)
		heard &= frame_heard(n, frames);
	return heard;
}

static uint64_t *frames_of(const struct exchange *x)
{
	struct mcast_cell_result *r = x->cell->r;

	switch (x->kind) {
	case CELL_SETUP:
		return &r->setup;
	case CELL_DESCRIPTOR:
		return &r->descriptor;
	case CELL_PULL:
		return &r->pull;
	case CELL_BLOCK:
		return x->node->is_handed_back ? &r->fallback : &r->pull;
	case CELL_FALLBACK:
		break;
	}
	return &r->fallback;
}

static unsigned request_bytes(const struct exchange *x)
{
	_cleanup_buf_ struct buf map = { 0 };

	if (x->kind != CELL_SETUP)
		return 1;
	cell_gateway_setup_map(x->cell, &map);
	return (unsigned)map.n;
}

/* At the one who is asked. False: it does not answer (its power failed). */
static bool handle(struct exchange *x)
{
	struct cell *cell = x->cell;
	struct cell_node *n = x->node;

	x->is_handled = true;
	if (x->kind == CELL_SETUP) {
		_cleanup_buf_ struct buf map = { 0 };

		cell_gateway_setup_map(cell, &map);
		return cell_node_setup(n, buf_span(&map), &x->letter.body);
	}
	if (x->kind == CELL_PULL) {
		cell_fetch_missing(n);
	} else if (x->kind == CELL_DESCRIPTOR) {
		cell_gateway_setup_map(cell, &x->letter.body);
		(void)mcast_session_descriptor_fetched(cell->session, n->index, cell_mono(cell));
		cell_gateway_wake(cell);
	} else {
		uint32_t left = cell->c.object_bytes - x->offset;

		buf_add(&x->letter.body, SPAN(cell->bytes + x->offset, x->bytes < left ? x->bytes : left));
		if (x->kind == CELL_BLOCK) {
			(void)mcast_session_blocks_fetched(cell->session, n->index, 1, cell_mono(cell));
			cell_gateway_wake(cell);
		}
	}
	return true;
}

static void again(void *ctx, uint64_t tag)
{
	struct cell_node *n = ctx;

	if (tag != n->epoch || n->is_ready || n->is_busy)
		return;
	if (n->is_handed_back)
		cell_fallback(n);
	else if (n->was_pulled)
		cell_fetch_missing(n);
	else
		cell_exchange(n->cell, CELL_DESCRIPTOR, n, 0, 0);
}

static void node_failed(struct cell_node *n)
{
	int64_t wait_ms = 30000LL << (n->fetch_failures < 5 ? n->fetch_failures : 5);

	n->fetch_failures++;
	mcast_clock_at(&n->cell->clock, n->cell->clock.now_ms + wait_ms, again, n, n->epoch);
}

/* At the one who asked. */
static void finish(struct exchange *x, int error)
{
	struct cell *cell = x->cell;
	struct cell_node *n = x->node;
	struct mcast_ack ack;

	if (x->kind == CELL_SETUP) {
		bool decoded = !error && mcast_ack_decode(buf_span(&x->letter.body), &ack) == 0;

		(void)mcast_session_setup_done(cell->session, n->index, decoded ? &ack : NULL, error, cell_mono(cell));
		cell_gateway_wake(cell);
		return;
	}
	if (x->kind == CELL_PULL)
		return;
	n->is_busy = false;
	if (error) {
		node_failed(n);
		return;
	}
	n->fetch_failures = 0;
	if (x->kind == CELL_DESCRIPTOR) {
		_cleanup_buf_ struct buf own = { 0 };

		(void)cell_node_setup(n, buf_span(&x->letter.body), &own);  /* the ack of it goes nowhere */
		if (n->was_pulled && n->is_up && !n->is_ready)
			cell_fetch_missing(n);
	} else if (x->kind == CELL_BLOCK) {
		if (cell_node_put(n, x->offset, buf_span(&x->letter.body)) >= 0 && !n->is_ready)
			cell_fetch_missing(n);
	} else {
		n->fallback_block++;
		cell_fallback(n);
	}
}

static void attempt(void *ctx, uint64_t tag);

static void retry(struct exchange *x)
{
	struct cell *cell = x->cell;
	int64_t wait_ms = (CELL_ACK_MS + mcast_random_below(&cell->random, CELL_ACK_MS / 2)) << x->tries;

	x->tries++;
	mcast_clock_at(&cell->clock, cell->clock.now_ms + wait_ms, attempt, x, 0);
}

static bool asker_lives(const struct exchange *x)
{
	return asked_by_gateway(x) ? x->cell->session && x->gateway_epoch == x->cell->gateway_epoch
				   : x->node->is_up && x->epoch == x->node->epoch;
}

static void answered(void *ctx, uint64_t tag)
{
	struct exchange *x = ctx;

	(void)tag;
	if (asker_lives(x))
		finish(x, 0);
	letter_free(&x->letter);
}

static void attempt(void *ctx, uint64_t tag)
{
	struct exchange *x = ctx;
	struct cell *cell = x->cell;

	(void)tag;
	if (!asker_lives(x)) {
		letter_free(&x->letter);
		return;
	}
	if (x->tries > CELL_RETRANSMITS) {
		finish(x, -ETIMEDOUT);
		letter_free(&x->letter);
		return;
	}
	if (!asked_by_gateway(x) && !cell_node_reachable(x->node)) {           /* asleep: it does not even ask */
		retry(x);
		return;
	}
	if (!cell_message_heard(x->node, request_bytes(x), frames_of(x)) || !cell->session || (!x->is_handled && !handle(x))) {
		retry(x);
		return;
	}
	unsigned bytes = x->kind == CELL_SETUP ? 1 : (unsigned)x->letter.body.n;

	if (!cell_message_heard(x->node, bytes, frames_of(x))) {
		retry(x);
		return;
	}
	mcast_clock_at(&cell->clock, cell->clock.now_ms + 2 * CELL_HOP_MS, answered, x, 0);
}

void cell_exchange(struct cell *cell, enum cell_exchange_kind kind, struct cell_node *n, uint32_t offset, uint32_t bytes)
{
	struct exchange *x = letter_new(cell, sizeof(*x));

	x->cell = cell;
	x->node = n;
	x->kind = kind;
	x->epoch = n->epoch;
	x->gateway_epoch = cell->gateway_epoch;
	x->offset = offset;
	x->bytes = bytes;
	if (!asked_by_gateway(x))
		n->is_busy = true;
	/* Descriptors and first blocks are asked for after a leisure, so that not everybody asks at once. */
	int64_t leisure_ms = kind == CELL_DESCRIPTOR ? mcast_random_below(&n->random, 5000) : 0;

	mcast_clock_at(&cell->clock, cell->clock.now_ms + leisure_ms, attempt, x, 0);
}

void cell_fetch_missing(struct cell_node *n)
{
	uint32_t off, bytes;

	if (n->is_busy || n->is_ready)
		return;
	if (mcr_missing(&n->core, 0, &off, &bytes)) {
		cell_exchange(n->cell, CELL_BLOCK, n, off, bytes < n->cell->config.z ? bytes : n->cell->config.z);
		return;
	}
	if (n->is_handed_back && mcr_state(&n->core) != MCR_READY)
		cell_fallback(n);
}

void cell_fallback(struct cell_node *n)
{
	uint32_t off, bytes, blocks = (n->cell->c.object_bytes + n->cell->config.z - 1) / n->cell->config.z;

	if (n->is_busy || n->is_ready)
		return;
	if (!n->fallback_block && mcr_missing(&n->core, 0, &off, &bytes)) {
		cell_fetch_missing(n);
		return;
	}
	if (n->fallback_block < blocks)
		cell_exchange(n->cell, CELL_FALLBACK, n, n->fallback_block * n->cell->config.z, n->cell->config.z);
	else
		cell_node_has_it(n, true);     /* written elsewhere by the unicast driver's own code, which has its own tests */
}

struct report {
	struct cell_letter letter;             /* first */
	struct cell_node *node;
};

static void report_arrives(void *ctx, uint64_t tag)
{
	struct report *rep = ctx;

	(void)tag;
	cell_gateway_report(rep->node->cell, rep->node->index, buf_span(&rep->letter.body));
	letter_free(&rep->letter);
}

void cell_report(struct cell_node *n, const struct mcr_report *report)
{
	struct mcr_report said = *report;
	uint8_t bytes[MCR_REPORT_BYTES];

	if (!cell_node_reachable(n))
		return;
	if (n->role == CELL_LIAR)
		cell_liar(n, &said);
	size_t len = mcr_report_encode(&said, bytes);

	if (!cell_message_heard(n, (unsigned)len, &n->cell->r->reports))
		return;
	struct report *rep = letter_new(n->cell, sizeof(*rep));

	rep->node = n;
	buf_add(&rep->letter.body, SPAN(bytes, len));
	mcast_clock_at(&n->cell->clock, n->cell->clock.now_ms + CELL_HOP_MS, report_arrives, rep, 0);
}
