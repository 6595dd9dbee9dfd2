/* The reference node in multicast sessions (dormouse-multicast(7)): invited or asking, whole by the air, by unicast, or by both; killed,
 * lied to, and left alone. The frames are handed to it, nothing is sent to a group. */
#include "gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/mcast_geometry.h"
#include "codec/mcast_message.h"
#include "codec/parity.h"
#include "node/node.h"
#include "../scratch.h"

enum { IMAGE_BYTES = 31000, PATIENCE_MS = 60000, GID = 5, Z = 64, K = 256, TABLE_MAX = 64 };

struct world {
	struct gateway g;
	struct coap_client *client;
	struct node *node;
	struct node_trust trust;
	char dir[64], path[48];
	struct node_setup setup;

	struct mcast_setup s;                  /* the session; s.sid.b[0..3] is its counter */
	struct mcast_geometry geo;
	uint8_t table[TABLE_MAX * MCAST_GENERATION_DIGEST_BYTES];
	struct buf told;                       /* encoded */
	struct mac_cmac *mk;
	bool is_live;                          /* mc/s tells it */
	bool hides_envelope;
	unsigned n_asked, n_tables, n_envelopes, n_reports, n_item_blocks;
	struct mcast_report report;

	struct loop_timer *sender;
	unsigned gen, n, loss, rows, burst, stop_after;        /* next frame; permille; parity rows; frames a turn; 0 = never */
	unsigned n_sent;
	uint32_t random;

	bool has_answer;                       /* to a request of ours */
	int error;
	uint8_t code;
	struct mcast_ack ack;
	struct buf answer;
};

static int on_s(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct world *w = ctx;

	w->n_asked++;
	if (!w->is_live)
		return coap_error(res, COAP_404_NOT_FOUND, "no session");
	res->code = COAP_205_CONTENT;
	res->content_format = COAP_CF_CBOR;
	buf_add(&res->body, buf_span(&w->told));
	return 0;
}

static int on_t(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct world *w = ctx;

	w->n_tables++;
	res->code = COAP_205_CONTENT;
	buf_add(&res->body, SPAN(w->table, w->geo.n_generations * MCAST_GENERATION_DIGEST_BYTES));
	return 0;
}

static int on_e(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct world *w = ctx;
	struct span sid;

	w->n_envelopes++;
	assert_true(coap_query_get(req, "s", &sid) && sid.n == 16);
	if (w->hides_envelope)
		return coap_error(res, COAP_404_NOT_FOUND, "none");
	res->code = COAP_205_CONTENT;
	res->content_format = COAP_CF_SUIT_ENVELOPE;
	buf_add(&res->body, buf_span(&w->g.envelope));
	return 0;
}

static int read_object(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	struct world *w = ctx;

	w->n_item_blocks++;
	assert_true(off + n <= w->g.image.n);
	memcpy(ret, w->g.image.p + off, n);
	return 0;
}

static int on_i(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct world *w = ctx;

	res->code = COAP_205_CONTENT;
	res->content_format = COAP_CF_OCTETS;
	res->etag = (struct coap_etag){ .n = 4, .b = { 1, 2, 3, 4 } };
	res->reader = (struct coap_body_reader){ .bytes = w->g.image.n, .read = read_object, .ctx = w };
	return 0;
}

static int on_r(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct world *w = ctx;

	w->n_reports++;
	assert_int_equal(mcast_report_decode(req->body, &w->report), 0);
	res->code = COAP_204_CHANGED;
	return 0;
}

static void add_routes(struct world *w)
{
	const struct coap_route routes[] = {
		{ .path = "far/mc/s", .methods = 1u << COAP_M_GET, .attributes = "rt=mcd.s;obs", .fn = on_s, .ctx = w },
		{ .path = "far/mc/t", .methods = 1u << COAP_M_GET, .fn = on_t, .ctx = w },
		{ .path = "far/mc/e", .methods = 1u << COAP_M_GET, .fn = on_e, .ctx = w },
		{ .path = "far/mc/i", .methods = 1u << COAP_M_GET, .fn = on_i, .ctx = w },
		{ .path = "far/mc/r", .methods = 1u << COAP_M_POST, .fn = on_r, .ctx = w },
	};

	for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++)
		assert_int_equal(coap_endpoint_add(w->g.endpoint, &routes[i]), 0);
}

/* A session of the gateway's present image. */
static void session(struct world *w, uint32_t counter, bool with_table, bool with_key)
{
	uint8_t mk[MAC_CMAC_KEY_BYTES];

	w->s = (struct mcast_setup){
		.sid = mcast_sid_of(counter, 77 + counter), .size = (uint32_t)w->g.image.n, .digest = w->g.image_digest, .z = Z, .k = K, .log2_e = 12,
		.alg = PARITY_TS004_V1, .address = { 0xff, 0x11, [14] = 0x4d, 0x43 }, .port = (uint16_t)(40000 + getpid() % 20000), .gid = GID,
		.has_key = with_key, .key = { 9, 8, 7 }, .pace_ms = 1, .slot_ms = 5, .envelope_path = span_str("far/mc/e?s=0011223344556677"),
		.lifetime_s = 600,
	};
	assert_int_equal(mcast_geometry_of(w->s.size, Z, K, 12, &w->geo), 0);
	for (unsigned g = 0; g < w->geo.n_generations; g++) {
		struct mcast_generation part = mcast_geometry_generation(&w->geo, g);
		struct digest d = digest_of(SPAN(w->g.image.p + part.offset, part.length));
		memcpy(w->table + g * MCAST_GENERATION_DIGEST_BYTES, d.b, MCAST_GENERATION_DIGEST_BYTES);
	}
	if (with_table)
		w->s.table = SPAN(w->table, w->geo.n_generations * MCAST_GENERATION_DIGEST_BYTES);
	buf_done(&w->told);
	w->told = (struct buf){ 0 };
	mcast_setup_encode(&w->s, &w->told);
	mcast_mic_key(&w->s.sid, w->s.key, mk);
	mac_cmac_free(w->mk);
	w->mk = mac_cmac_new(mk);
	w->gen = w->n = 0;
	w->is_live = true;
}

static void say(struct world *w, uint8_t *frame, size_t n)
{
	n = mcast_frame_seal(w->mk, &w->s.sid, frame, n);
	node_multicast_hear(w->node, SPAN(frame, n));
}

static void say_data(struct world *w, unsigned gen, unsigned n)
{
	struct mcast_generation part = mcast_geometry_generation(&w->geo, gen);
	uint8_t frame[MCAST_FRAME_BYTES_MAX], fragment[MCAST_FRAGMENT_BYTES_MAX] = { 0 };
	const struct mcast_data d = { .g = (uint8_t)gen, .n = (uint16_t)n, .fragment = SPAN(fragment, Z) };
	uint32_t off;

	if (n <= part.m) {
		unsigned bytes = mcast_geometry_fragment(&w->geo, gen, n, &off);
		memcpy(fragment, w->g.image.p + off, bytes);
	} else {
		parity_fragment(SPAN(w->g.image.p + part.offset, part.length), part.m, Z, n - part.m, PARITY_TS004_V1, fragment);
	}
	say(w, frame, mcast_data_encode(mcast_sid8(&w->s.sid), &d, frame));
}

static bool is_lost(struct world *w)
{
	w->random = w->random * 1664525 + 1013904223;
	return (w->random >> 8) % 1000 < w->loss;
}

/* Some frames a turn, once the node listens. */
static void on_send(void *ctx)
{
	struct world *w = ctx;

	for (unsigned i = 0; i < w->burst && w->node && node_status(w->node).state == NODE_LISTEN; i++) {
		if (w->gen == w->geo.n_generations || (w->stop_after && w->n_sent >= w->stop_after))
			break;
		w->n++;
		w->n_sent++;
		if (!is_lost(w))
			say_data(w, w->gen, w->n);
		if (w->n >= mcast_geometry_generation(&w->geo, w->gen).m + w->rows) {
			w->n = 0;
			w->gen++;
		}
	}
	loop_timer_set(w->sender, 1);
}

static void world_open(struct world *w, bool secure)
{
	*w = (struct world){ .random = 1, .burst = 1 };
	gateway_open(&w->g, secure);
	add_routes(w);
	w->client = coap_client_new(w->g.loop);
	w->sender = loop_timer_new(w->g.loop, on_send, w);
	loop_timer_set(w->sender, 1);
	gateway_node(&w->g, &w->trust, w->dir, &w->setup);
	w->setup.multicast = "lo";
	w->setup.plan.multicast = true;
	w->setup.plan.listen_ms = 60 * 1000;
	if (secure) {
		w->setup.psk_identity = "node-1";
		w->setup.psk_key = SPAN_OF(w->g.psk);
	}
	gateway_offer(&w->g, 2, IMAGE_BYTES, false);
	w->g.has_offer = false;                /* a member of a session has none */
}

static void node_up(struct world *w)
{
	assert_int_equal(node_new(w->g.loop, w->client, &w->setup, NULL, NULL, &w->node), 0);
}

static void node_down(struct world *w)
{
	w->node = node_free(w->node);
}

static void world_close(struct world *w)
{
	node_down(w);
	loop_timer_free(w->sender);
	coap_client_free(w->client);
	gateway_close(&w->g);
	mac_cmac_free(w->mk);
	buf_done(&w->told);
	buf_done(&w->answer);
	scratch_remove(w->dir);
}

static bool is_updated(void *ctx)
{
	struct world *w = ctx;

	return w->g.n_success >= 1 && node_status(w->node).phase == NODE_IDLE;
}

static bool is_watching(void *ctx)
{
	struct world *w = ctx;

	return node_status(w->node).state == NODE_WATCH;
}

static bool is_listening(void *ctx)
{
	struct world *w = ctx;

	return node_status(w->node).state == NODE_LISTEN;
}

static bool has_sent(void *ctx)
{
	struct world *w = ctx;

	return w->n_sent >= w->stop_after;
}

static bool has_answer(void *ctx)
{
	struct world *w = ctx;

	return w->has_answer;
}

static bool has_reported(void *ctx)
{
	struct world *w = ctx;

	return w->n_reports > 0;
}

static bool has_failed(void *ctx)
{
	struct world *w = ctx;

	return w->g.n_failure > 0 && node_status(w->node).phase == NODE_IDLE;
}

static void assert_installed(struct world *w)
{
	char path[128];
	_cleanup_free_ uint8_t *got = malloc(w->g.image.n + 1);

	(void)snprintf(path, sizeof(path), "%s/slot-0", w->dir);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fread(got, 1, w->g.image.n + 1, f), w->g.image.n);
	fclose(f);
	assert_memory_equal(got, w->g.image.p, w->g.image.n);
}

static void on_answer(void *ctx, const struct coap_endpoint_result *res)
{
	struct world *w = ctx;

	w->has_answer = true;
	w->error = res->error;
	w->code = res->code;
	buf_clear(&w->answer);
	buf_add(&w->answer, res->body);
}

/* A request to the node over its own session; its code. */
static unsigned ask(struct world *w, uint8_t method, const char *query, struct span body)
{
	const char *const list[] = { query, NULL };
	const struct coap_endpoint_request q = {
		.method = method, .path = "mc", .query = query ? list : NULL, .accept = COAP_CF_NONE, .content_format = body.n ? COAP_CF_CBOR : COAP_CF_NONE,
		.body = body,
	};

	w->has_answer = false;
	assert_int_equal(coap_endpoint_call(w->g.endpoint, w->g.session, &q, on_answer, w, NULL), 0);
	assert_true(gateway_run(&w->g, has_answer, w, PATIENCE_MS));
	assert_int_equal(w->error, 0);
	memset(&w->ack, 0xff, sizeof(w->ack));
	if (method == COAP_M_POST && w->answer.n)
		(void)mcast_ack_decode(buf_span(&w->answer), &w->ack); /* some answers have none */
	return w->code;
}

static unsigned invite(struct world *w) { return ask(w, COAP_M_POST, NULL, buf_span(&w->told)); }

static void start(struct world *w, bool secure)
{
	world_open(w, secure);
	node_up(w);
	assert_true(gateway_run(&w->g, is_watching, w, PATIENCE_MS));
}

static void a_node_that_is_invited_gets_its_image_by_multicast(void **state)
{
	for (int secure = 0; secure < 2; secure++) {
		struct world w;
		start(&w, secure);
		assert_non_null(strstr(w.g.last_links, "rt=\"mcd.n\""));
		assert_int_equal(w.n_asked, 1);
		session(&w, 1, true, true);
		w.loss = 100;
		w.rows = 60;
		assert_int_equal(invite(&w), COAP_201_CREATED);
		assert_int_equal(w.ack.code, MCAST_ACK_ACCEPTED);
		assert_int_equal(w.ack.l, MCR_L);
		assert_int_equal(invite(&w), COAP_201_CREATED);        /* repeated */
		assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
		assert_installed(&w);
		assert_int_equal(w.g.n_blocks, 0);                     /* nothing by unicast */
		assert_int_equal(w.n_item_blocks, 0);
		assert_int_equal(w.n_envelopes, 1);
		assert_int_equal(w.n_tables, 0);
		assert_int_equal(w.g.n_failure, 0);
		assert_true(gateway_run(&w.g, is_watching, &w, PATIENCE_MS));
		assert_int_equal(invite(&w), COAP_409_CONFLICT);       /* it has it, and installed it */
		assert_int_equal(w.ack.code, MCAST_ACK_HAVE_IT);
		assert_int_equal(node_status(w.node).state, NODE_WATCH);
		world_close(&w);
	}
}

static void a_node_that_was_away_asks_by_itself(void **state)
{
	struct world w;

	world_open(&w, false);
	session(&w, 1, false, true);
	w.setup.plan.sleep_ms = 50;
	w.rows = 1;
	node_up(&w);
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_installed(&w);
	assert_true(w.n_asked >= 1);
	assert_int_equal(w.n_tables, 1);       /* it was not in the setup */
	world_close(&w);
}

static void a_node_that_is_killed_goes_on_where_it_was(void **state)
{
	struct world w;
	unsigned kills = 0;

	world_open(&w, false);
	session(&w, 1, true, true);
	w.loss = 100;
	w.rows = 60;
	node_up(&w);
	for (w.stop_after = 100; w.stop_after < 500; w.stop_after += 100) {
		assert_true(gateway_run(&w.g, has_sent, &w, PATIENCE_MS));
		uint64_t before = node_multicast_status(w.node).received_bytes;
		assert_true(before > 0);
		node_down(&w);
		node_up(&w);
		assert_true(gateway_run(&w.g, is_listening, &w, PATIENCE_MS));
		assert_in_range(node_multicast_status(w.node).received_bytes + 2 * 64 * 64, before, UINT32_MAX);
		kills++;
	}
	w.stop_after = 0;
	for (unsigned g = 0; g < w.geo.n_generations; g++)             /* rows and what was not yet on record are sent again */
		for (unsigned n = 1; n <= mcast_geometry_generation(&w.geo, g).m; n += 1 + (n & 1))
			say_data(&w, g, n);
	w.gen = w.n = 0;
	w.rows = 140;
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_installed(&w);
	assert_int_equal(w.n_envelopes, 1);    /* what was accepted is on flash */
	assert_int_equal(kills, 4);
	world_close(&w);
}

static void what_is_missing_is_pulled_when_told_so(void **state)
{
	_cleanup_buf_ struct buf pull = { 0 };
	struct world w;

	start(&w, false);
	session(&w, 1, true, true);
	assert_int_equal(invite(&w), COAP_201_CREATED);
	w.loss = 200;
	w.stop_after = 400;
	assert_true(gateway_run(&w.g, has_sent, &w, PATIENCE_MS));
	assert_int_equal(w.n_item_blocks, 0);
	mcast_pull_encode(&w.s.sid, &pull);
	assert_int_equal(ask(&w, COAP_M_POST, NULL, buf_span(&pull)), COAP_204_CHANGED);
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_installed(&w);
	assert_in_range(w.n_item_blocks, 60, 300);
	assert_int_equal(w.g.n_blocks, 0);
	struct mcast_sid other = mcast_sid_of(9, 9);
	buf_clear(&pull);
	mcast_pull_encode(&other, &pull);
	assert_true(gateway_run(&w.g, is_watching, &w, PATIENCE_MS));
	assert_int_equal(ask(&w, COAP_M_POST, NULL, buf_span(&pull)), COAP_404_NOT_FOUND);
	world_close(&w);
}

static void reports_come_over_its_own_session(void **state)
{
	struct mcast_status s = { .seq = 4, .flags = MCAST_STATUS_ALL, .prob = 255, .window_slots = 4, .n_expected = 1 };
	uint8_t frame[MCAST_FRAME_BYTES_MAX];
	struct mcast_report r;
	struct world w;

	start(&w, false);
	assert_int_equal(ask(&w, COAP_M_GET, NULL, SPAN_NONE), COAP_404_NOT_FOUND);
	session(&w, 1, true, true);
	assert_int_equal(invite(&w), COAP_201_CREATED);
	w.loss = 200;
	w.stop_after = 300;
	assert_true(gateway_run(&w.g, has_sent, &w, PATIENCE_MS));
	say(&w, frame, mcast_status_encode(mcast_sid8(&w.s.sid), &s, frame));
	assert_true(gateway_run(&w.g, has_reported, &w, PATIENCE_MS));
	assert_int_equal(w.report.seq, 4);
	assert_true(mcast_sid_eq(&w.report.sid, &w.s.sid));
	assert_in_range(w.report.loss_permille, 120, 280);
	assert_int_equal(ask(&w, COAP_M_GET, NULL, SPAN_NONE), COAP_205_CONTENT);
	assert_int_equal(mcast_report_decode(buf_span(&w.answer), &r), 0);
	assert_int_equal(r.seq, 0);
	struct mcast_node_status st = node_multicast_status(w.node);
	assert_string_equal(st.phase, "receiving");
	assert_true(st.received_frames > 200 && st.lost_frames > 30);
	world_close(&w);
}

static void setups_that_cannot_be_are_refused_with_the_reason(void **state)
{
	struct world w;

	start(&w, false);
	w.is_live = false;
	session(&w, 1, true, false);
	assert_int_equal(invite(&w), COAP_422_UNPROCESSABLE);
	assert_int_equal(w.ack.code, MCAST_ACK_NO_KEY);
	gateway_offer(&w.g, 3, 600000, false);
	w.g.has_offer = false;
	session(&w, 2, true, true);
	assert_int_equal(invite(&w), COAP_413_TOO_LARGE);
	assert_int_equal(w.ack.code, MCAST_ACK_NO_SPACE);
	gateway_offer(&w.g, 4, 5000, false);
	w.g.has_offer = false;
	session(&w, 20, true, true);
	w.stop_after = 1;                      /* it only listens */
	assert_int_equal(invite(&w), COAP_201_CREATED);
	assert_true(gateway_run(&w.g, is_listening, &w, PATIENCE_MS));
	session(&w, 19, true, true);
	assert_int_equal(invite(&w), COAP_409_CONFLICT);       /* an old one, played again */
	assert_int_equal(ask(&w, COAP_M_POST, NULL, SPAN_LIT("\xa1\x01\x01")), COAP_400_BAD_REQUEST);
	assert_int_equal(ask(&w, COAP_M_PUT, NULL, SPAN_LIT("x")), COAP_405_METHOD);
	session(&w, 21, true, false);          /* the key is known by now */
	w.stop_after = 0;
	w.rows = 10;
	assert_int_equal(invite(&w), COAP_201_CREATED);
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_installed(&w);
	world_close(&w);
}

static void an_envelope_that_is_not_accepted_costs_no_frame(void **state)
{
	struct world w;

	start(&w, false);
	session(&w, 1, true, true);
	memset(w.trust.class_id, 1, 16);
	w.rows = 1;
	assert_int_equal(invite(&w), COAP_201_CREATED);
	assert_true(gateway_run(&w.g, has_failed, &w, PATIENCE_MS));
	assert_int_equal(w.g.reports[w.g.n_reports - 1].result, 6);
	assert_int_equal(w.n_sent, 0);
	world_close(&w);
	start(&w, false);                      /* an object that is not the manifest's */
	session(&w, 1, true, true);
	gateway_offer(&w.g, 5, IMAGE_BYTES, false);
	w.g.has_offer = false;
	assert_int_equal(invite(&w), COAP_201_CREATED);
	assert_true(gateway_run(&w.g, has_failed, &w, PATIENCE_MS));
	assert_int_equal(w.n_sent, 0);
	world_close(&w);
}

static void forged_frames_do_no_harm(void **state)
{
	struct world w;
	uint8_t frame[MCAST_FRAME_BYTES_MAX], bytes[Z] = { 0 };
	const struct mcast_data d = { .g = 0, .n = 1, .fragment = SPAN(bytes, Z) };

	start(&w, false);
	session(&w, 1, true, true);
	w.stop_after = 1;
	w.n_sent = 1;
	assert_int_equal(invite(&w), COAP_201_CREATED);
	assert_true(gateway_run(&w.g, is_listening, &w, PATIENCE_MS));
	for (unsigned i = 0; i < 100; i++) {   /* from outside */
		size_t n = mcast_data_encode(mcast_sid8(&w.s.sid), &d, frame);
		memset(frame + n, (int)i, MCAST_MIC_DATA_BYTES);
		node_multicast_hear(w.node, SPAN(frame, n + MCAST_MIC_DATA_BYTES));
	}
	assert_int_equal(node_multicast_status(w.node).bad_frames, 100);
	assert_int_equal(node_multicast_status(w.node).received_frames, 0);
	say(&w, frame, mcast_data_encode(mcast_sid8(&w.s.sid), &d, frame));    /* and from a member */
	w.stop_after = 0;
	w.n_sent = 0;
	w.rows = 2;
	assert_true(gateway_run(&w.g, has_sent, &w, PATIENCE_MS));
	for (unsigned i = 0; i < 2 && node_status(w.node).state == NODE_LISTEN; i++) {
		w.gen = w.n = 0;
		(void)gateway_run(&w.g, is_updated, &w, 1500);
	}
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_installed(&w);
	world_close(&w);
}

/* MCD-10: the key changes in mid-session. */
static void a_new_key_is_kept_and_the_old_one_opens_nothing(void **state)
{
	struct world w;
	uint8_t frame[MCAST_FRAME_BYTES_MAX], bytes[Z] = { 0 }, mk[MAC_CMAC_KEY_BYTES];
	const struct mcast_data d = { .g = 0, .n = 51, .fragment = SPAN(bytes, Z) };

	start(&w, true);
	session(&w, 1, true, true);
	w.stop_after = 50;
	assert_int_equal(invite(&w), COAP_201_CREATED);
	assert_true(gateway_run(&w.g, has_sent, &w, PATIENCE_MS));
	mcast_mic_key(&w.s.sid, w.s.key, mk);
	struct mac_cmac *old = mac_cmac_new(mk);
	w.s.gid++;
	w.s.key[0]++;
	buf_clear(&w.told);
	mcast_setup_encode(&w.s, &w.told);
	mcast_mic_key(&w.s.sid, w.s.key, mk);
	mac_cmac_free(w.mk);
	w.mk = mac_cmac_new(mk);
	assert_int_equal(invite(&w), COAP_201_CREATED);
	assert_true(gateway_run(&w.g, is_listening, &w, PATIENCE_MS));
	assert_int_equal(node_multicast_status(w.node).received_bytes, 50 * Z);
	uint64_t bad = node_multicast_status(w.node).bad_frames;
	node_multicast_hear(w.node, SPAN(frame, mcast_frame_seal(old, &w.s.sid, frame, mcast_data_encode(mcast_sid8(&w.s.sid), &d, frame))));
	mac_cmac_free(old);
	assert_int_equal(node_multicast_status(w.node).bad_frames, bad + 1);
	assert_int_equal(node_multicast_status(w.node).received_bytes, 50 * Z);
	w.stop_after = 0;                      /* it goes on where it was */
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_installed(&w);
	assert_int_equal(w.n_item_blocks, 0);
	assert_int_equal(w.g.n_blocks, 0);
	world_close(&w);
}

static void a_session_that_is_aborted_leaves_it_to_unicast(void **state)
{
	for (int by_delete = 0; by_delete < 2; by_delete++) {
		struct world w;
		uint8_t frame[MCAST_FRAME_BYTES_MAX];
		char query[32], hex[MCAST_SID_HEX_BYTES];
		start(&w, false);
		session(&w, 1, true, true);
		w.stop_after = 50;
		assert_int_equal(invite(&w), COAP_201_CREATED);
		assert_true(gateway_run(&w.g, has_sent, &w, PATIENCE_MS));
		w.is_live = false;
		w.g.has_offer = true;
		if (by_delete) {
			(void)snprintf(query, sizeof(query), "s=%s", mcast_sid_hex(&w.s.sid, hex)); /* fits */
			assert_int_equal(ask(&w, COAP_M_DELETE, query, SPAN_NONE), COAP_202_DELETED);
		} else {
			say(&w, frame, mcast_end_encode(mcast_sid8(&w.s.sid), MCAST_END_ABORT, frame));
		}
		assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
		assert_installed(&w);
		assert_true(w.g.n_blocks > 0);
		world_close(&w);
	}
}

/* A member that was given up gets an offer like everybody else, and takes it. */
static void an_offer_by_unicast_ends_listening(void **state)
{
	struct world w;

	start(&w, false);
	session(&w, 1, true, true);
	w.stop_after = 50;
	assert_int_equal(invite(&w), COAP_201_CREATED);
	assert_true(gateway_run(&w.g, has_sent, &w, PATIENCE_MS));
	w.g.has_offer = true;
	coap_endpoint_changed(w.g.endpoint, "up");
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_installed(&w);
	world_close(&w);
}

static void without_an_interface_it_says_so_and_goes_on(void **state)
{
	struct world w;

	world_open(&w, false);
	w.setup.multicast = "no-such-if";
	node_up(&w);
	assert_true(gateway_run(&w.g, is_watching, &w, PATIENCE_MS));
	session(&w, 1, true, true);
	assert_int_equal(invite(&w), COAP_409_CONFLICT);
	assert_int_equal(w.ack.code, MCAST_ACK_DEFERRED);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_that_is_invited_gets_its_image_by_multicast),
		cmocka_unit_test(a_node_that_was_away_asks_by_itself),
		cmocka_unit_test(a_node_that_is_killed_goes_on_where_it_was),
		cmocka_unit_test(what_is_missing_is_pulled_when_told_so),
		cmocka_unit_test(reports_come_over_its_own_session),
		cmocka_unit_test(setups_that_cannot_be_are_refused_with_the_reason),
		cmocka_unit_test(an_envelope_that_is_not_accepted_costs_no_frame),
		cmocka_unit_test(forged_frames_do_no_harm),
		cmocka_unit_test(a_new_key_is_kept_and_the_old_one_opens_nothing),
		cmocka_unit_test(a_session_that_is_aborted_leaves_it_to_unicast),
		cmocka_unit_test(an_offer_by_unicast_ends_listening),
		cmocka_unit_test(without_an_interface_it_says_so_and_goes_on),
	};

	return cmocka_run_group_tests_name("node/mcast_node", tests, NULL, NULL);
}
