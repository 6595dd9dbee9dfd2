#include "gateway.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "trust/delegate.h"
#include "../until.h"

static int on_rd(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct gateway *g = ctx;
	size_t n = 0;

	g->n_requests++;
	g->n_registrations++;
	g->session = req->peer.session;
	(void)snprintf(g->last_links, sizeof(g->last_links), "%.*s", SPAN_ARG(req->body)); /* cut is fine */
	g->last_query[0] = '\0';
	for (size_t i = 0; i < req->n_query && n + 200 < sizeof(g->last_query); i++)
		n += (size_t)snprintf(g->last_query + n, sizeof(g->last_query) - n, "%.*s&", SPAN_ARG(req->query[i]));
	res->code = COAP_201_CREATED;
	res->location[0] = "rd";
	res->location[1] = "a1";
	res->n_location = 2;
	return 0;
}

static int on_location(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct gateway *g = ctx;

	g->n_requests++;
	g->n_refreshes++;
	res->code = COAP_204_CHANGED;
	return 0;
}

static struct coap_etag etag_of(const struct digest *d)
{
	struct coap_etag e = { .n = COAP_ETAG_BYTES_MAX };

	memcpy(e.b, d->b, sizeof(e.b));
	return e;
}

static int on_fw(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct gateway *g = ctx;
	struct coap_etag etag = etag_of(&g->manifest);

	if (!req->is_notify) {
		g->n_requests++;
		g->n_checks++;
	}
	if (!g->is_enrolled)
		return coap_error(res, COAP_403_FORBIDDEN, "not enrolled");
	if (g->has_offer && !coap_request_has_etag(req, &etag)) {
		res->code = COAP_205_CONTENT;
		res->content_format = COAP_CF_SUIT_ENVELOPE;
		res->etag = etag;
		buf_add(&res->body, buf_span(&g->envelope));
		return 0;
	}
	if (!req->n_etag)
		return coap_error(res, COAP_404_NOT_FOUND, "nothing");
	res->code = COAP_203_VALID;
	res->etag = req->etag[0];
	return 0;
}

static int read_image(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	struct gateway *g = ctx;

	g->n_blocks++;
	if (off < g->first_off)
		g->first_off = off;
	if (off + n > g->image.n)
		return -1;
	memcpy(ret, g->image.p + off, n);
	if (g->is_damaged && off == 0 && n)
		ret[0] ^= 1;
	return 0;
}

static int serve_image(struct gateway *g, struct coap_response *res)
{
	res->code = COAP_205_CONTENT;
	res->content_format = COAP_CF_OCTETS;
	res->etag = etag_of(&g->image_digest);
	res->reader = (struct coap_body_reader){ .bytes = g->image.n, .read = read_image, .ctx = g };
	return 0;
}

static int on_image(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct gateway *g = ctx;
	struct digest d;

	g->n_requests++;
	if (!g->has_offer || digest_parse(req->path[req->n_path - 1], &d) < 0 || !digest_eq(&d, &g->image_digest))
		return coap_error(res, COAP_404_NOT_FOUND, "no such image");
	return serve_image(g, res);
}

static int on_proxy(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct gateway *g = ctx;

	g->n_requests++;
	if (!g->has_offer || !span_eq_str(req->proxy_uri, "https://vendor.example/image"))
		return coap_error(res, COAP_505_NO_PROXY, "not that");
	return serve_image(g, res);
}

static int on_report(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct gateway *g = ctx;
	struct node_report r;

	g->n_requests++;
	assert_int_equal(req->content_format, COAP_CF_CBOR);
	assert_int_equal(node_report_decode(req->body, &r), 0);
	if (g->n_reports < REPORTS_MAX) {
		(void)snprintf(g->report_reason[g->n_reports], sizeof(*g->report_reason), "%.*s", SPAN_ARG(r.reason)); /* fits */
		g->reports[g->n_reports++] = r;
	}
	g->n_success += r.result == 1;
	g->n_failure += r.result > 1;
	res->code = COAP_204_CHANGED;
	return 0;
}

static int psk_of(void *ctx, struct span identity, uint8_t *ret, size_t max)
{
	struct gateway *g = ctx;

	if (!span_starts(identity, SPAN_LIT("node")) || max < sizeof(g->psk))
		return -ENOENT;
	memcpy(ret, g->psk, sizeof(g->psk));
	return sizeof(g->psk);
}

static void make_key(struct gateway *g)
{
	static const char *const any[] = { "any", NULL }, *const none[] = { NULL };
	_cleanup_buf_ struct buf private = { 0 }, public = { 0 };
	char error[200];

	assert_int_equal(sign_key_generate(SIGN_P256, &private, &public), 0);
	assert_int_equal(sign_key_load(buf_span(&private), 0, &g->key, error, sizeof(error)), 0);
	const struct trust_anchor_config c = { .name = "a", .pem = buf_span(&public), .vendor_ids = any, .class_ids = none, .hosts = none };
	assert_int_equal(trust_anchors_build(&c, 1, &g->anchors, error, sizeof(error)), 0);
}

void gateway_open(struct gateway *g, bool secure)
{
	const char *const listen[] = { secure ? "coaps://127.0.0.1:0" : "coap://127.0.0.1:0" };
	int error = 0;

	*g = (struct gateway){ .is_enrolled = true, .psk = { 1, 2, 3 }, .mac_key = { 7, 8, 9 }, .first_off = UINT64_MAX };
	uuid_of_vendor(SPAN_LIT("vendor.example"), g->vendor);
	uuid_of_class(g->vendor, SPAN_LIT("lamp"), g->class);
	make_key(g);
	g->loop = loop_new();
	const struct coap_endpoint_config c = {
		.listen = listen, .n_listen = 1, .psk = psk_of, .psk_ctx = g, .max_sessions = 500, .session_timeout_s = 300, .max_handshakes = 100,
		.block1_total_bytes = 1024 * 1024, .block1_peer_bytes = 64 * 1024, .max_observers = 500, .receive_buffer_bytes = 1024 * 1024,
	};
	g->endpoint = coap_endpoint_new(g->loop, &c, &error);
	assert_non_null(g->endpoint);
	(void)snprintf(g->uri, sizeof(g->uri), "%s", coap_endpoint_address(g->endpoint, 0));     /* fits */
	const struct coap_route routes[] = {
		{ .path = "rd", .methods = 1u << COAP_M_POST, .attributes = "rt=core.rd;ct=40", .fn = on_rd, .ctx = g },
		{ .path = "rd/a1", .methods = 1u << COAP_M_POST, .fn = on_location, .ctx = g },
		/* not the default paths: nodes find them */
		{ .path = "up", .methods = 1u << COAP_M_GET, .attributes = "rt=dormouse.fw;obs", .observable = true, .fn = on_fw, .ctx = g },
		{ .path = "up/img", .is_prefix = true, .methods = 1u << COAP_M_GET, .attributes = "rt=dormouse.fw.image", .fn = on_image, .ctx = g },
		{ .path = "up/rep", .methods = 1u << COAP_M_POST, .attributes = "rt=dormouse.fw.report;ct=60", .fn = on_report, .ctx = g },
	};
	for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++)
		assert_int_equal(coap_endpoint_add(g->endpoint, &routes[i]), 0);
	coap_endpoint_set_proxy(g->endpoint, on_proxy, g);
}

void gateway_close(struct gateway *g)
{
	coap_endpoint_free(g->endpoint);
	loop_free(g->loop);
	sign_key_free(g->key);
	trust_anchors_unref(g->anchors);
	buf_done(&g->image);
	buf_done(&g->envelope);
}

static void add_mac(struct gateway *g)
{
	struct suit_envelope env;
	enum suit_problem problem;
	struct buf with = { 0 };

	assert_int_equal(suit_envelope_decode(buf_span(&g->envelope), 0, &env, &problem), 0);
	assert_int_equal(delegate_add_mac0(&env, SPAN_OF(g->mac_key), SPAN_LIT("node"), &with), 0);
	buf_done(&g->envelope);
	g->envelope = with;
}

void gateway_offer(struct gateway *g, uint64_t sequence, size_t bytes, bool integrated)
{
	_cleanup_buf_ struct buf manifest = { 0 }, members = { 0 }, digest = { 0 }, block = { 0 };
	struct suit_author_component comp = {
		.id = { SPAN_LIT("slot") }, .n_id = 1, .size = bytes, .uri = integrated ? "#image" : "https://vendor.example/image",
	};
	const struct suit_author a = {
		.sequence = sequence, .vendor_id = g->vendor, .class_id = g->class, .components = &comp, .n_components = 1, .version_text = "2.0",
	};
	struct suit_envelope env;
	enum suit_problem problem;
	char error[200];
	size_t n_members = 0;

	buf_clear(&g->image);
	buf_clear(&g->envelope);
	for (size_t i = 0; i < bytes; i++)
		buf_add_u8(&g->image, (uint8_t)(i * 31 + i / 251 + sequence));
	comp.digest = g->image_digest = digest_of(buf_span(&g->image));
	comp.payload = integrated ? buf_span(&g->image) : SPAN_NONE;
	assert_int_equal(suit_manifest_encode(&a, &manifest, &members, &n_members), 0);
	suit_auth_digest_encode(buf_span(&manifest), &digest);
	assert_int_equal(sign_auth_digest(g->key, SPAN_NONE, SPAN_NONE, buf_span(&digest), &block, error, sizeof(error)), 0);
	struct span blocks[] = { buf_span(&block) };
	assert_int_equal(suit_envelope_encode(buf_span(&manifest), buf_span(&digest), blocks, 1, buf_span(&members), n_members, &g->envelope), 0);
	if (g->with_mac)
		add_mac(g);
	assert_int_equal(suit_envelope_decode(buf_span(&g->envelope), 0, &env, &problem), 0);
	g->manifest = env.manifest_digest;
	g->has_offer = true;
	coap_endpoint_changed(g->endpoint, "up");
}

void gateway_node(const struct gateway *g, struct node_trust *trust, char dir[static 64], struct node_setup *ret)
{
	(void)snprintf(dir, 64, "/tmp/node-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	*trust = (struct node_trust){ .proof = PROOF_SIGNATURE, .anchors = g->anchors, .has_vendor = true, .has_class = true };
	memcpy(trust->vendor_id, g->vendor, 16);
	memcpy(trust->class_id, g->class, 16);
	*ret = (struct node_setup){
		.gateway = g->uri, .name = "node-1", .dir = dir, .trust = trust, .lifetime_s = 3600, .szx = 6, .ack_timeout_ms = 100,
		.plan = { .lifetime_ms = 3600 * 1000, .watch_ms = 60 * 1000, .reboot_ms = 5, .pause_ms = 20, .pause_max_ms = 200,
			  .answer_ms = 60 * 1000, .seed = 3 },
	};
}

void gateway_recall(struct gateway *g)
{
	g->has_offer = false;
	coap_endpoint_changed(g->endpoint, "up");
}

bool gateway_run(struct gateway *g, bool (*test)(void *ctx), void *ctx, unsigned ms)
{
	return until(g->loop, test, ctx, ms);
}
