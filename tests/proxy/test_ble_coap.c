/* The ble: tree over CoAP: who may, Observe by many over one subscription, errors, and that Proxy-Uri is no way in. BLE-4 to BLE-8,
 * BLE-10, OB-8, OB-10. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/coap_client.h"
#include "proxy/ble_coap.h"
#include "proxy/ble_list.h"
#include "proxy_rig.h"
#include "store/device_store.h"

enum { OBSERVERS = 20 };

struct got { unsigned n; int error; uint8_t code; int format; char body[300]; size_t n_body; bool is_notification; };

struct rig {
	struct proxy_rig p;
	struct coap_endpoint *e;
	struct ble_coap *face;
	struct coap_client *client;
	struct coap_session *plain, *viewer, *admin, *device;
	unsigned n_refused;
	struct got got, seen[OBSERVERS];
	unsigned want;
};

static unsigned on_roles(void *ctx, const char *identity)
{
	(void)ctx;
	return strcmp(identity, "admin") == 0 ? ROLE_ADMIN : strcmp(identity, "viewer") == 0 ? ROLE_VIEWER : ROLE_DEVICE;
}

static void on_refused(void *ctx, const struct coap_peer *peer)
{
	(void)peer;
	((struct rig *)ctx)->n_refused++;
}

static int on_psk(void *ctx, struct span identity, uint8_t *ret, size_t max)
{
	(void)ctx;
	if (identity.n > max)
		return -ENOENT;
	memcpy(ret, identity.p, identity.n); /* the key is the name */
	return (int)identity.n;
}

static void on_changed(void *ctx, const char *path)
{
	ble_coap_changed(((struct rig *)ctx)->face, path);
}

static struct coap_session *session(struct rig *r, const char *identity)
{
	struct coap_session_config c = { .uri = coap_endpoint_address(r->e, identity ? 1 : 0), .psk_identity = identity,
					 .psk_key = span_str(identity) };
	struct coap_session *s;

	assert_int_equal(coap_session_open(r->client, &c, &s), 0);
	return s;
}

static int setup(void **state)
{
	static const char *const listen[] = { "coap://127.0.0.1:0", "coaps://127.0.0.1:0" };
	struct rig *r = calloc(1, sizeof(*r));
	int error = 0;

	rig_start(&r->p);
	r->e = coap_endpoint_new(r->p.loop, &(struct coap_endpoint_config){ .listen = listen, .n_listen = 2, .psk = on_psk }, &error);
	assert_non_null(r->e);
	struct ble_coap_config c = { .endpoint = r->e, .tree = r->p.tree, .is_open = true, .roles = on_roles, .refused = on_refused, .ctx = r };
	assert_int_equal(ble_coap_open(&c, &r->face), 0);
	struct ble_coap *again;
	assert_int_equal(ble_coap_open(&c, &again), -EEXIST);
	r->p.changed = on_changed;
	r->p.changed_ctx = r;
	r->client = coap_client_new(r->p.loop);
	r->plain = session(r, NULL);
	r->viewer = session(r, "viewer");
	r->admin = session(r, "admin");
	r->device = session(r, "device");
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	coap_client_free(r->client);
	r->p.changed = NULL;
	ble_tree_free(r->p.tree);
	ble_coap_close(r->face);
	coap_endpoint_free(r->e);
	rig_stop(&r->p);
	free(r);
	return 0;
}

static void on_result(void *ctx, const struct coap_call_result *res)
{
	struct got *g = ctx;

	g->n++;
	g->error = res->error;
	g->code = res->code;
	g->format = res->content_format;
	g->n_body = res->body.n < sizeof(g->body) - 1 ? res->body.n : sizeof(g->body) - 1;
	if (g->n_body)
		memcpy(g->body, res->body.p, g->n_body);
	g->body[g->n_body] = 0;
	g->is_notification = res->is_notification;
}

static bool has_got(void *ctx) { return ((struct got *)ctx)->n > 0; }

static uint8_t call(struct rig *r, struct coap_session *s, struct coap_call_request q)
{
	r->got = (struct got){ 0 };
	if (!q.method)
		q.method = COAP_M_GET;
	if (!q.accept)
		q.accept = COAP_CF_NONE;
	q.content_format = q.content_format ? q.content_format : COAP_CF_NONE;
	q.szx = 6;
	assert_int_equal(coap_call(s, &q, on_result, &r->got, NULL), 0);
	assert_true(until(r->p.loop, has_got, &r->got, MS));
	assert_int_equal(r->got.error, 0);
	return r->got.code;
}

static uint8_t get(struct rig *r, struct coap_session *s, const char *path)
{
	return call(r, s, (struct coap_call_request){ .path = path });
}

static struct coap_call *observe(struct rig *r, struct coap_session *s, const char *path, struct got *g)
{
	struct coap_call_request q = { .method = COAP_M_GET, .path = path, .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE, .observe = true, .szx = 6 };
	struct coap_call *c;

	*g = (struct got){ 0 };
	assert_int_equal(coap_call(s, &q, on_result, g, &c), 0);
	assert_true(until(r->p.loop, has_got, g, MS));
	return c;
}

static void lists_are_cbor_unless_json_is_asked_for(void **state)
{
	struct rig *r = *state;

	assert_int_equal(get(r, r->plain, "ble"), COAP_205_CONTENT);
	assert_int_equal(r->got.format, COAP_CF_CBOR);
	assert_int_equal(call(r, r->plain, (struct coap_call_request){ .path = "ble/gap/nodes/passive", .accept = COAP_CF_JSON }), COAP_205_CONTENT);
	assert_non_null(strstr(r->got.body, "\"href\":\"/ble/nodes/" ID "\""));
	assert_int_equal(call(r, r->viewer, (struct coap_call_request){ .path = "ble/nodes/" ID "/services", .accept = BLE_CF_SERVICELIST }),
			 COAP_205_CONTENT);
	assert_int_equal(r->got.format, BLE_CF_SERVICELIST);
	assert_int_equal(call(r, r->plain, (struct coap_call_request){ .path = "ble/nodes", .accept = COAP_CF_LINK }), COAP_406_NOT_ACCEPTABLE);
	assert_int_equal(get(r, r->plain, "ble/nodes/" ID "/td"), COAP_205_CONTENT);
	assert_int_equal(r->got.format, BLE_CF_TD);
}

static void reading_needs_a_viewer_or_an_open_loopback(void **state)
{
	struct rig *r = *state;
	const char *path = rig_path("ble/", r->p.h_level);

	assert_int_equal(get(r, r->plain, path), COAP_205_CONTENT);
	assert_int_equal(get(r, r->viewer, path), COAP_205_CONTENT);
	assert_int_equal(get(r, r->admin, path), COAP_205_CONTENT);
	assert_int_equal(get(r, r->device, path), COAP_403_FORBIDDEN);
	ble_coap_set_open(r->face, false);
	assert_int_equal(get(r, r->plain, path), COAP_401_UNAUTHORIZED);
	assert_int_equal(get(r, r->plain, "ble"), COAP_401_UNAUTHORIZED);
	assert_int_equal(get(r, r->viewer, path), COAP_205_CONTENT);
	assert_int_equal(r->n_refused, 3);
}

static void writing_needs_an_administrator(void **state)
{
	struct rig *r = *state;
	struct coap_call_request put = { .method = COAP_M_PUT, .path = rig_path("ble/", r->p.h_knob), .body = SPAN_LIT("on") };

	assert_int_equal(call(r, r->plain, put), COAP_401_UNAUTHORIZED);
	assert_int_equal(call(r, r->viewer, put), COAP_403_FORBIDDEN);
	assert_int_equal(r->p.n_writes, 0);
	assert_int_equal(call(r, r->admin, put), COAP_204_CHANGED);
	assert_string_equal(r->p.written, "on");
	assert_true(r->p.last_with_response);
	assert_string_equal(r->p.who, "coaps:admin");
	static const char *const noresponse[] = { "noresponse", NULL };
	put.query = noresponse;
	assert_int_equal(call(r, r->admin, put), COAP_204_CHANGED);
	assert_false(r->p.last_with_response);
	put.query = NULL;
	put.method = COAP_M_POST;
	assert_int_equal(call(r, r->admin, put), COAP_204_CHANGED);
	assert_false(r->p.last_with_response);
	put.method = COAP_M_DELETE;
	assert_int_equal(call(r, r->admin, put), COAP_405_METHOD);
}

static bool all_seen(void *ctx)
{
	struct rig *r = ctx;

	for (size_t i = 0; i < OBSERVERS; i++)
		if (r->seen[i].n < r->want)
			return false;
	return true;
}

/* Twenty clients, one subscription (OB-8); the last one that leaves ends it (OB-10). */
static void many_observe_over_one_subscription(void **state)
{
	struct rig *r = *state;
	struct coap_call *calls[OBSERVERS];

	for (size_t i = 0; i < OBSERVERS; i++) {
		calls[i] = observe(r, i % 2 ? r->plain : r->viewer, rig_path("ble/", r->p.h_level), &r->seen[i]);
		assert_int_equal(r->seen[i].code, COAP_205_CONTENT);
		assert_true(r->seen[i].is_notification);
	}
	assert_int_equal(r->p.n_subscribed, 1);
	fake_node_notify(r->p.node, r->p.h_level, SPAN_LIT("7"));
	r->want = 2;
	assert_true(until(r->p.loop, all_seen, r, MS));
	for (size_t i = 0; i < OBSERVERS; i++) {
		assert_string_equal(r->seen[i].body, "7");
		assert_int_equal(r->p.n_unsubscribed, 0);
		coap_call_cancel(calls[i]);
	}
	assert_true(until(r->p.loop, rig_is_unsubscribed, &r->p, MS));
	assert_true(until(r->p.loop, rig_has_no_link, &r->p, MS));
	assert_int_equal(r->p.n_subscribed, 1);
}

static void what_only_notifies_tells_its_first_value_when_it_comes(void **state)
{
	struct rig *r = *state;
	struct coap_call *c = observe(r, r->plain, rig_path("ble/", r->p.h_ticks), &r->seen[0]);

	assert_true(r->seen[0].is_notification);
	assert_int_equal(r->seen[0].n_body, 0);
	fake_node_notify(r->p.node, r->p.h_ticks, SPAN_LIT("tick"));
	r->seen[0].n = 0;
	assert_true(until(r->p.loop, has_got, &r->seen[0], MS));
	assert_string_equal(r->seen[0].body, "tick");
	coap_call_cancel(c);
	assert_true(until(r->p.loop, rig_is_unsubscribed, &r->p, MS));
}

static void what_does_not_notify_is_answered_once(void **state)
{
	struct rig *r = *state;

	(void)observe(r, r->plain, "ble/nodes/" ID "/services", &r->seen[0]); /* ended by itself */
	assert_int_equal(r->seen[0].code, COAP_205_CONTENT);
	assert_false(r->seen[0].is_notification);
	(void)observe(r, r->plain, rig_path("ble/", r->p.h_knob), &r->seen[1]);
	assert_int_equal(r->seen[1].code, COAP_405_METHOD);
	(void)observe(r, r->plain, "ble/nodes/ble-ffffffffffff/c0001", &r->seen[2]);
	assert_int_equal(r->seen[2].code, COAP_404_NOT_FOUND);
	assert_true(until(r->p.loop, rig_has_no_link, &r->p, MS));
}

static bool is_over(void *ctx) { return !((struct got *)ctx)->is_notification; }

static void an_observation_that_can_go_on_no_more_ends_with_an_error(void **state)
{
	struct rig *r = *state;

	(void)observe(r, r->plain, rig_path("ble/", r->p.h_level), &r->seen[0]);
	assert_true(r->seen[0].is_notification);
	r->p.node->connect_error = -EACCES;
	fake_node_end(r->p.node, -EACCES);
	assert_true(until(r->p.loop, is_over, &r->seen[0], MS));
	assert_int_equal(r->seen[0].code, COAP_403_FORBIDDEN);
}

static void a_list_of_nodes_can_be_observed(void **state)
{
	struct rig *r = *state;
	struct coap_call *c = observe(r, r->plain, "ble/nodes", &r->seen[0]);

	assert_true(r->seen[0].is_notification);
	r->seen[0].n = 0;
	r->p.node->n.rssi = -40;
	ble_tree_node(r->p.tree, &r->p.node->n);
	assert_true(until(r->p.loop, has_got, &r->seen[0], MS));
	assert_true(r->seen[0].is_notification);
	coap_call_cancel(c);
}

static void errors_of_the_node_are_codes(void **state)
{
	struct rig *r = *state;
	static const struct { int error; uint8_t code; } rows[] = {
		{ -EPERM, COAP_405_METHOD }, { -EACCES, COAP_403_FORBIDDEN }, { -ENOENT, COAP_404_NOT_FOUND }, { -ETIMEDOUT, COAP_504_TIMEOUT },
		{ -EMSGSIZE, COAP_400_BAD_REQUEST }, { -EBUSY, COAP_503_UNAVAILABLE },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		r->p.read_error = rows[i].error;
		assert_int_equal(get(r, r->plain, rig_path("ble/", r->p.h_level)), rows[i].code);
		assert_true(r->got.n_body > 0); /* and says why */
	}
}

/* BLE-7 */
static void proxy_uri_is_not_supported(void **state)
{
	struct rig *r = *state;

	assert_int_equal(call(r, r->plain, (struct coap_call_request){ .proxy_uri = "ble:/gap/nodes/passive" }), COAP_505_NO_PROXY);
}

static void who_waits_when_everything_ends_is_answered(void **state)
{
	struct rig *r = *state;
	struct coap_call_request q = { .method = COAP_M_GET, .path = rig_path("ble/", r->p.h_level), .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE };

	(void)observe(r, r->viewer, rig_path("ble/", r->p.h_ticks), &r->seen[0]);
	fake_node_show(r->p.node, true);
	assert_int_equal(coap_call(r->plain, &q, on_result, &r->got, NULL), 0); /* and teardown */
}

#define T(name_) cmocka_unit_test_setup_teardown(name_, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(lists_are_cbor_unless_json_is_asked_for), T(reading_needs_a_viewer_or_an_open_loopback), T(writing_needs_an_administrator),
		T(many_observe_over_one_subscription), T(what_only_notifies_tells_its_first_value_when_it_comes),
		T(what_does_not_notify_is_answered_once), T(an_observation_that_can_go_on_no_more_ends_with_an_error),
		T(a_list_of_nodes_can_be_observed), T(errors_of_the_node_are_codes), T(proxy_uri_is_not_supported),
		T(who_waits_when_everything_ends_is_answered),
	};
	return cmocka_run_group_tests_name("proxy/ble_coap", tests, NULL, NULL);
}
