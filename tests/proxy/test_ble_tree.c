/* The ble: tree over nodes without a radio: links on demand and shared, values read, written and observed, and what goes wrong. BLE-2 to
 * BLE-5, BLE-8, BLE-10, OB-8 to OB-11. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "../delivery/fake_ble.h"
#include "../until.h"
#include "proxy/ble_list.h"
#include "proxy/ble_tree.h"

#define ID "ble-c00000000001"

static const uint8_t battery[BLE_UUID_BYTES] = GATT_UUID16(0x180f), level[BLE_UUID_BYTES] = GATT_UUID16(0x2a19);
static const uint8_t vendor[BLE_UUID_BYTES] = { 0x12, 0x34 }, knob[BLE_UUID_BYTES] = { 0x12, 0x34, 1 }, ticks[BLE_UUID_BYTES] = { 0x12, 0x34, 2 };
static const uint8_t switches[BLE_UUID_BYTES] = { 0x12, 0x34, 3 };
static const uint8_t smp[BLE_UUID_BYTES] = { 0x8d, 0x53, 0xdc, 0x1d, 0x1d, 0xb7, 0x4c, 0xd3, 0x86, 0x8b, 0x8a, 0x52, 0x74, 0x60, 0xaa, 0x84 };
static const uint8_t smp_characteristic[BLE_UUID_BYTES] = { 0xda, 0x2e, 0x78, 0x28, 0xfb, 0xce, 0x4e, 0x01, 0xae, 0x9e, 0x26, 0x11, 0x74, 0x99, 0x7c, 0x48 };

enum { MS = 5000, ANSWERS = 24 };

struct rig {
	struct loop *loop;
	struct ble *ble;
	struct fake_node *node;
	struct ble_tree *tree;
	uint16_t h_level, h_knob, h_ticks, h_switches, h_smp;
	/* the node's side */
	int read_error, write_error;
	unsigned n_reads, n_writes, n_subscribed, n_unsubscribed;
	bool last_with_response;
	char level;
	char written[600];
	size_t n_written;
	/* answers */
	struct { uint8_t code; int format; int64_t max_age_s; bool is_observed; char body[600]; size_t n; } got[ANSWERS];
	unsigned n_got, want;
	/* what the tree told */
	unsigned n_learned, n_changed, n_wrote, n_values, n_ended;
	uint8_t ended_code;
	char value[64], who[64];
	struct ble_tree_watcher *w[4];
};

static int on_node_read(void *ctx, uint16_t handle, uint8_t *ret)
{
	struct rig *r = ctx;

	r->n_reads++;
	if (r->read_error)
		return r->read_error;
	ret[0] = (uint8_t)r->level;
	return handle == r->h_level ? 1 : 0;
}

static int on_node_write(void *ctx, uint16_t handle, struct span value, bool with_response)
{
	struct rig *r = ctx;

	(void)handle;
	r->n_writes++;
	r->last_with_response = with_response;
	r->n_written = value.n;
	memcpy(r->written, value.p, value.n);
	return r->write_error;
}

static void on_node_subscribed(void *ctx, uint16_t handle, bool is_on)
{
	struct rig *r = ctx;

	(void)handle;
	if (is_on)
		r->n_subscribed++;
	else
		r->n_unsubscribed++;
}

static const struct fake_node_ops node_ops = { .read = on_node_read, .write = on_node_write, .subscribed = on_node_subscribed };

static void on_learned(void *ctx, const char *id)
{
	assert_string_equal(id, ID);
	((struct rig *)ctx)->n_learned++;
}

static void on_changed(void *ctx, const char *path)
{
	assert_true(*path);
	((struct rig *)ctx)->n_changed++;
}

static void on_wrote(void *ctx, const char *who, const char *id, uint16_t handle, size_t n)
{
	struct rig *r = ctx;

	(void)handle;
	(void)n;
	assert_string_equal(id, ID);
	r->n_wrote++;
	(void)snprintf(r->who, sizeof(r->who), "%s", who);
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	r->loop = loop_new();
	r->ble = fake_ble_new(r->loop);
	r->node = fake_node_new(r->ble, ID, &node_ops, r);
	r->level = 50;
	r->h_level = fake_node_offers(r->node, battery, level, GATT_READ | GATT_NOTIFY);
	r->h_knob = fake_node_offers(r->node, vendor, knob, GATT_WRITE | GATT_WRITE_NO_RESPONSE);
	r->h_ticks = fake_node_offers(r->node, vendor, ticks, GATT_NOTIFY);
	r->h_switches = fake_node_offers(r->node, vendor, switches, GATT_READ | GATT_WRITE);
	r->h_smp = fake_node_offers(r->node, smp, smp_characteristic, GATT_WRITE_NO_RESPONSE | GATT_NOTIFY);
	r->node->is_here = true;
	r->tree = ble_tree_new(&(struct ble_tree_config){ .loop = r->loop, .ble = r->ble, .changed = on_changed, .learned = on_learned,
							  .wrote = on_wrote, .ctx = r });
	ble_tree_node(r->tree, &r->node->n);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	ble_tree_free(r->tree);
	for (size_t i = 0; i < 4; i++)
		ble_tree_unwatch(r->w[i]);
	fake_ble_free(r->ble);
	loop_free(r->loop);
	free(r);
	return 0;
}

/* ---- asking ---- */

static void keep(struct rig *r, const struct coap_response *res, bool is_observed)
{
	size_t n = res->body.n < sizeof(r->got->body) - 1 ? res->body.n : sizeof(r->got->body) - 1;

	assert_true(r->n_got < ANSWERS);
	r->got[r->n_got].code = res->code;
	r->got[r->n_got].format = res->content_format;
	r->got[r->n_got].max_age_s = res->max_age_s;
	r->got[r->n_got].is_observed = is_observed;
	r->got[r->n_got].n = n;
	if (n)
		memcpy(r->got[r->n_got].body, res->body.p, n);
	r->got[r->n_got].body[n] = 0;
	r->n_got++;
}

static void on_done(void *ctx, const struct ble_tree_answer *a)
{
	keep(ctx, a->res, a->is_observed);
}

struct want { uint8_t method; const char *path; int accept, format; const char *body; size_t n_body; bool noresponse; struct ble_tree_watcher *w; };

static void ask(struct rig *r, const struct want *want)
{
	struct span segment[8];
	char path[200];
	struct coap_response res;
	struct ble_tree_request q = { .method = want->method ? want->method : COAP_M_GET, .path = segment, .prefix = "/ble/", .prefer = COAP_CF_JSON,
				      .accept = want->accept ? want->accept : COAP_CF_NONE, .content_format = want->format ? want->format : COAP_CF_NONE,
				      .is_unacknowledged = want->noresponse, .who = "test", .watcher = want->w,
				      .body = SPAN(want->body, want->body ? want->n_body ? want->n_body : strlen(want->body) : 0) };

	(void)snprintf(path, sizeof(path), "%s", want->path);
	for (char *save = NULL, *s = strtok_r(path, "/", &save); s; s = strtok_r(NULL, "/", &save))
		segment[q.n_path++] = span_str(s);
	coap_response_init(&res);
	if (ble_tree_ask(r->tree, &q, &res, on_done, r) == COAP_HANDLER_DONE)
		keep(r, &res, false);
	coap_response_done(&res);
}

static bool has_answers(void *ctx)
{
	struct rig *r = ctx;

	return r->n_got >= r->want;
}

/* The code of the next answer, which is got[n_got - 1]. */
static uint8_t answer(struct rig *r, const struct want *want)
{
	r->want = r->n_got + 1;
	ask(r, want);
	assert_true(until(r->loop, has_answers, r, MS));
	return r->got[r->n_got - 1].code;
}

static const char *value_path(uint16_t handle)
{
	static char path[2][BLE_PATH_BYTES];
	static unsigned i;

	return ble_path_value(ID, handle, path[++i % 2]);
}

static uint8_t get(struct rig *r, const char *path)
{
	return answer(r, &(struct want){ .path = path });
}

static bool has_no_link(void *ctx) { return fake_ble_links(((struct rig *)ctx)->ble) == 0; }

/* ---- lists ---- */

static void a_list_of_nodes_needs_no_link(void **state)
{
	struct rig *r = *state;

	assert_int_equal(get(r, "gap/nodes/passive"), COAP_205_CONTENT);
	assert_non_null(strstr(r->got[0].body, "\"href\":\"/ble/nodes/" ID "\""));
	assert_int_equal(get(r, "nodes"), COAP_205_CONTENT);
	assert_int_equal(get(r, "nodes/" ID), COAP_205_CONTENT);
	assert_int_equal(get(r, ""), COAP_205_CONTENT);
	assert_int_equal(r->node->n_links, 0);
}

static void services_are_learned_by_one_link_and_remembered(void **state)
{
	struct rig *r = *state;
	char path[64];

	assert_int_equal(get(r, "nodes/" ID "/services"), COAP_205_CONTENT);
	assert_int_equal(r->got[0].format, COAP_CF_JSON);
	assert_non_null(strstr(r->got[0].body, "0000180f-0000-1000-8000-00805f9b34fb"));
	assert_null(strstr(r->got[0].body, "8d53dc1d")); /* how new images come is nobody else's door */
	assert_true(until(r->loop, has_no_link, r, MS));
	r->want = 2;
	ask(r, &(struct want){ .path = "nodes/" ID "/services", .accept = BLE_CF_SERVICELIST });
	assert_int_equal(r->n_got, 2); /* at once */
	assert_int_equal(r->got[1].format, BLE_CF_SERVICELIST);
	(void)snprintf(path, sizeof(path), "nodes/" ID "/s%04x/characteristics", r->h_level - 1);
	assert_int_equal(get(r, path), COAP_205_CONTENT);
	assert_non_null(strstr(r->got[2].body, value_path(r->h_level)));
	assert_int_equal(get(r, "nodes/" ID "/td"), COAP_205_CONTENT);
	assert_int_equal(r->got[3].format, BLE_CF_TD);
	assert_int_equal(get(r, "nodes/" ID "/sffff/characteristics"), COAP_404_NOT_FOUND);
	assert_int_equal(r->node->n_links, 1);
	assert_int_equal(r->n_learned, 1);
	assert_non_null(ble_tree_layout(r->tree, ID));
}

static void formats_that_there_are_not_are_refused(void **state)
{
	struct rig *r = *state;
	static const struct want rows[] = {
		{ .path = "nodes", .accept = COAP_CF_LINK }, { .path = "nodes", .accept = BLE_CF_SERVICELIST },
		{ .path = "nodes/" ID "/services", .accept = COAP_CF_OCTETS }, { .path = "nodes/" ID "/td", .accept = COAP_CF_CBOR },
		{ .path = "", .accept = COAP_CF_OCTETS }, { .path = "nodes/" ID "/c0011", .accept = COAP_CF_CBOR },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_int_equal(answer(r, &rows[i]), COAP_406_NOT_ACCEPTABLE);
	assert_int_equal(answer(r, &(struct want){ .path = value_path(r->h_switches), .accept = COAP_CF_LINK }), COAP_406_NOT_ACCEPTABLE);
	assert_int_equal(answer(r, &(struct want){ .path = value_path(r->h_switches), .accept = BLE_CF_SENML_JSON }), COAP_406_NOT_ACCEPTABLE);
}

static void names_of_nothing_are_not_found(void **state)
{
	struct rig *r = *state;

	assert_int_equal(get(r, "nodes/ble-ffffffffffff"), COAP_404_NOT_FOUND);
	assert_int_equal(get(r, "nodes/ble-ffffffffffff/services"), COAP_404_NOT_FOUND);
	assert_int_equal(get(r, "x"), COAP_404_NOT_FOUND);
	assert_int_equal(get(r, "nodes/" ID "/cfff0"), COAP_404_NOT_FOUND);
	assert_int_equal(answer(r, &(struct want){ .method = COAP_M_PUT, .path = "nodes", .body = "x" }), COAP_405_METHOD);
	assert_int_equal(answer(r, &(struct want){ .method = COAP_M_DELETE, .path = value_path(r->h_level) }), COAP_405_METHOD);
}

/* ---- values ---- */

static void a_value_is_read_in_the_format_asked_for(void **state)
{
	struct rig *r = *state;

	assert_int_equal(get(r, value_path(r->h_level)), COAP_205_CONTENT);
	assert_int_equal(r->got[0].format, COAP_CF_OCTETS);
	assert_int_equal(r->got[0].max_age_s, 0);
	assert_memory_equal(r->got[0].body, "2", 1);
	struct coap_response res;
	coap_response_init(&res);
	ble_tree_render(r->tree, ID, r->h_level, COAP_CF_TEXT, SPAN_LIT("\x07"), &res);
	assert_string_equal(buf_str(&res.body), "7");
	coap_response_done(&res);
	assert_int_equal(answer(r, &(struct want){ .path = value_path(r->h_level), .accept = BLE_CF_SENML_JSON }), COAP_205_CONTENT);
	assert_string_equal(r->got[1].body, "[{\"bn\":\"" ID "/\",\"n\":\"battery_level\",\"u\":\"%EL\",\"v\":50}]");
	assert_int_equal(answer(r, &(struct want){ .path = value_path(r->h_level), .accept = COAP_CF_JSON }), COAP_205_CONTENT);
	assert_string_equal(r->got[2].body, "50");
	assert_int_equal(r->node->n_links, 1);
}

static void requests_at_once_share_link_and_read(void **state)
{
	struct rig *r = *state;

	r->want = 5;
	for (size_t i = 0; i < 5; i++)
		ask(r, &(struct want){ .path = value_path(r->h_level) });
	assert_true(until(r->loop, has_answers, r, MS));
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(r->got[i].code, COAP_205_CONTENT);
	assert_int_equal(r->n_reads, 1);
	assert_int_equal(r->node->n_links, 1);
}

static void put_waits_for_the_response_and_post_does_not(void **state)
{
	struct rig *r = *state;

	assert_int_equal(answer(r, &(struct want){ .method = COAP_M_PUT, .path = value_path(r->h_knob), .body = "on" }), COAP_204_CHANGED);
	assert_true(r->last_with_response);
	assert_memory_equal(r->written, "on", 2);
	assert_int_equal(answer(r, &(struct want){ .method = COAP_M_POST, .path = value_path(r->h_knob), .body = "off", .format = COAP_CF_OCTETS }),
			 COAP_204_CHANGED);
	assert_false(r->last_with_response);
	assert_int_equal(answer(r, &(struct want){ .method = COAP_M_PUT, .path = value_path(r->h_knob), .body = "x", .noresponse = true }), COAP_204_CHANGED);
	assert_false(r->last_with_response);
	assert_int_equal(r->n_wrote, 3);
	assert_string_equal(r->who, "test");
}

static void writes_that_do_not_fit_are_refused(void **state)
{
	struct rig *r = *state;
	static char big[GATT_VALUE_BYTES_MAX + 1];
	const struct { struct want want; uint8_t code; } rows[] = {
		{ { .method = COAP_M_PUT, .path = value_path(r->h_level), .body = "x" }, COAP_405_METHOD },
		{ { .method = COAP_M_POST, .path = value_path(r->h_switches), .body = "x" }, COAP_405_METHOD },
		{ { .method = COAP_M_PUT, .path = "nodes/" ID "/cfff0", .body = "x" }, COAP_404_NOT_FOUND },
		{ { .method = COAP_M_PUT, .path = "nodes/" ID "/td", .body = "x" }, COAP_405_METHOD },
	};

	for (size_t i = 0; i < 4; i++)
		assert_int_equal(answer(r, &rows[i].want), rows[i].code);
	assert_int_equal(answer(r, &(struct want){ .method = COAP_M_PUT, .path = value_path(r->h_knob), .body = big, .n_body = sizeof(big) }), COAP_413_TOO_LARGE);
	assert_int_equal(answer(r, &(struct want){ .method = COAP_M_PUT, .path = value_path(r->h_knob), .body = "1", .format = COAP_CF_JSON }), COAP_415_FORMAT);
	assert_int_equal(r->n_writes, 0);
	assert_int_equal(answer(r, &(struct want){ .method = COAP_M_PUT, .path = value_path(r->h_knob), .body = big, .n_body = sizeof(big) - 1 }), COAP_204_CHANGED);
}

static void the_service_of_updates_cannot_be_reached(void **state)
{
	struct rig *r = *state;
	char path[64];

	assert_int_equal(get(r, value_path(r->h_smp)), COAP_404_NOT_FOUND);
	assert_int_equal(answer(r, &(struct want){ .method = COAP_M_POST, .path = value_path(r->h_smp), .body = "x" }), COAP_404_NOT_FOUND);
	(void)snprintf(path, sizeof(path), "nodes/" ID "/s%04x/characteristics", r->h_smp - 1);
	assert_int_equal(get(r, path), COAP_404_NOT_FOUND);
	assert_int_equal(r->n_writes, 0);
}

static void further_services_are_closed_while_the_link_is_up(void **state)
{
	struct rig *r = *state;

	assert_int_equal(get(r, value_path(r->h_level)), COAP_205_CONTENT);
	ble_tree_set_closed(r->tree, &battery, 1);
	assert_int_equal(get(r, value_path(r->h_level)), COAP_404_NOT_FOUND);
	ble_tree_set_closed(r->tree, NULL, 0);
	assert_int_equal(get(r, value_path(r->h_level)), COAP_205_CONTENT);
}

/* ---- what goes wrong (BLE-10) ---- */

static void errors_of_the_node_are_mapped(void **state)
{
	struct rig *r = *state;
	static const struct { int error; uint8_t code; } rows[] = {
		{ -EPERM, COAP_405_METHOD }, { -EACCES, COAP_403_FORBIDDEN }, { -ENOENT, COAP_404_NOT_FOUND }, { -EMSGSIZE, COAP_400_BAD_REQUEST },
		{ -EBUSY, COAP_503_UNAVAILABLE }, { -EOPNOTSUPP, COAP_405_METHOD }, { -ETIMEDOUT, COAP_504_TIMEOUT }, { -ENOTCONN, COAP_504_TIMEOUT },
		{ -EIO, COAP_502_BAD_GATEWAY },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		r->read_error = r->write_error = rows[i].error;
		assert_int_equal(get(r, value_path(r->h_level)), rows[i].code);
		assert_int_equal(r->got[r->n_got - 1].max_age_s > 0, rows[i].code == COAP_503_UNAVAILABLE);
		assert_int_equal(answer(r, &(struct want){ .method = COAP_M_PUT, .path = value_path(r->h_knob), .body = "x" }), rows[i].code);
	}
}

static void links_that_fail_are_told(void **state)
{
	struct rig *r = *state;
	static const struct { int error; uint8_t code; } rows[] = {
		{ -ENOENT, COAP_504_TIMEOUT }, { -ETIMEDOUT, COAP_504_TIMEOUT }, { -ECONNRESET, COAP_504_TIMEOUT }, { -EACCES, COAP_403_FORBIDDEN },
		{ -ENOTCONN, COAP_504_TIMEOUT }, { -EBUSY, COAP_503_UNAVAILABLE },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		r->node->connect_error = rows[i].error;
		assert_int_equal(get(r, value_path(r->h_level)), rows[i].code);
	}
	r->node->connect_error = -EAGAIN; /* its turn was over before it began: the next one serves */
	r->node->n_connect_errors = 3;
	assert_int_equal(get(r, value_path(r->h_level)), COAP_205_CONTENT);
}

static void a_node_that_is_updated_is_not_disturbed(void **state)
{
	struct rig *r = *state;

	assert_int_equal(get(r, value_path(r->h_level)), COAP_205_CONTENT);
	r->node->n.is_busy = true;
	ble_tree_node(r->tree, &r->node->n);
	assert_int_equal(get(r, value_path(r->h_level)), COAP_503_UNAVAILABLE);
	assert_true(r->got[1].max_age_s > 0);
	assert_int_equal(get(r, "nodes/" ID "/services"), COAP_205_CONTENT); /* remembered */
	assert_true(until(r->loop, has_no_link, r, MS));
	r->node->n.is_busy = false;
	fake_node_offers_nothing(r->node);
	ble_tree_node(r->tree, &r->node->n);
	assert_int_equal(get(r, value_path(r->h_level)), COAP_404_NOT_FOUND); /* it is another node by now */
	assert_int_equal(r->n_learned, 2);
}

static void too_many_requests_are_told_to_come_later(void **state)
{
	struct rig *r = *state;

	fake_ble_set_slots(r->ble, 1);
	struct fake_node *other = fake_node_new(r->ble, "ble-c00000000002", &node_ops, r);
	(void)other;
	for (size_t i = 0; i < BLE_TREE_NODE_WAITING_MAX; i++)
		ask(r, &(struct want){ .path = value_path(r->h_level) });
	assert_int_equal(r->n_got, 0);
	ask(r, &(struct want){ .path = value_path(r->h_level) });
	assert_int_equal(r->n_got, 1);
	assert_int_equal(r->got[0].code, COAP_503_UNAVAILABLE);
	assert_true(r->got[0].max_age_s > 0);
	r->want = BLE_TREE_NODE_WAITING_MAX + 1;
	assert_true(until(r->loop, has_answers, r, MS));
	assert_int_equal(r->got[1].code, COAP_205_CONTENT);
}

static void who_waits_is_told_when_the_tree_goes(void **state)
{
	struct rig *r = *state;

	ask(r, &(struct want){ .path = value_path(r->h_level) });
	r->tree = ble_tree_free(r->tree);
	assert_int_equal(r->n_got, 1);
	assert_int_equal(r->got[0].code, COAP_503_UNAVAILABLE);
}

/* ---- observations ---- */

static void on_value(void *ctx, struct span value)
{
	struct rig *r = ctx;

	r->n_values++;
	(void)snprintf(r->value, sizeof(r->value), "%.*s", SPAN_ARG(value));
}

static void on_ended(void *ctx, uint8_t code, const char *why)
{
	struct rig *r = ctx;

	assert_non_null(why);
	r->n_ended++;
	r->ended_code = code;
}

static const struct ble_tree_watcher_ops watcher_ops = { .value = on_value, .ended = on_ended };

static uint8_t observe(struct rig *r, size_t i, uint16_t handle)
{
	assert_int_equal(ble_tree_watch(r->tree, ID, handle, &watcher_ops, r, &r->w[i]), 0);
	return answer(r, &(struct want){ .path = value_path(handle), .w = r->w[i] });
}

static bool has_values(void *ctx) { return ((struct rig *)ctx)->n_values >= ((struct rig *)ctx)->want; }
static bool has_subscriptions(void *ctx) { return ((struct rig *)ctx)->n_subscribed >= ((struct rig *)ctx)->want; }
static bool has_ended(void *ctx) { return ((struct rig *)ctx)->n_ended >= ((struct rig *)ctx)->want; }
static bool is_unsubscribed(void *ctx) { return ((struct rig *)ctx)->n_unsubscribed == 1; }

static void all_observers_share_one_subscription(void **state)
{
	struct rig *r = *state;

	assert_int_equal(observe(r, 0, r->h_level), COAP_205_CONTENT);
	assert_true(r->got[0].is_observed);
	assert_memory_equal(r->got[0].body, "2", 1);
	assert_int_equal(observe(r, 1, r->h_level), COAP_205_CONTENT);
	assert_int_equal(observe(r, 2, r->h_level), COAP_205_CONTENT);
	assert_int_equal(r->n_subscribed, 1);
	assert_int_equal(r->n_reads, 1); /* late joiners get what was heard last (OB-9) */
	fake_node_notify(r->node, r->h_level, SPAN_LIT("3"));
	r->want = 3;
	assert_true(until(r->loop, has_values, r, MS));
	assert_string_equal(r->value, "3");
	r->w[0] = ble_tree_unwatch(r->w[0]);
	r->w[1] = ble_tree_unwatch(r->w[1]);
	fake_node_notify(r->node, r->h_level, SPAN_LIT("4"));
	r->want = 4;
	assert_true(until(r->loop, has_values, r, MS));
	assert_int_equal(r->n_unsubscribed, 0);
	r->w[2] = ble_tree_unwatch(r->w[2]);
	assert_true(until(r->loop, is_unsubscribed, r, MS)); /* OB-10 */
	assert_true(until(r->loop, has_no_link, r, MS));
}

static void what_is_only_notified_begins_without_a_value(void **state)
{
	struct rig *r = *state;

	assert_int_equal(observe(r, 0, r->h_ticks), COAP_205_CONTENT);
	assert_true(r->got[0].is_observed);
	assert_int_equal(r->got[0].n, 0);
	assert_int_equal(get(r, value_path(r->h_ticks)), COAP_405_METHOD); /* to read it once is not possible */
}

static void what_is_not_notified_is_answered_once(void **state)
{
	struct rig *r = *state;

	assert_int_equal(observe(r, 0, r->h_switches), COAP_205_CONTENT);
	assert_false(r->got[0].is_observed);
	assert_int_equal(r->ended_code, COAP_405_METHOD);
	assert_int_equal(observe(r, 1, r->h_smp), COAP_404_NOT_FOUND);
	assert_int_equal(observe(r, 2, 0xfff0), COAP_404_NOT_FOUND);
	assert_int_equal(r->n_subscribed, 0);
}

static void an_observation_survives_a_lost_link(void **state)
{
	struct rig *r = *state;

	assert_int_equal(observe(r, 0, r->h_level), COAP_205_CONTENT);
	fake_node_end(r->node, -EAGAIN); /* its turn was over */
	r->want = 2;
	assert_true(until(r->loop, has_subscriptions, r, MS));
	fake_node_end(r->node, -ECONNRESET);
	r->want = 3;
	assert_true(until(r->loop, has_subscriptions, r, 2 * MS));
	fake_node_notify(r->node, r->h_level, SPAN_LIT("9"));
	r->want = 1;
	assert_true(until(r->loop, has_values, r, MS));
	assert_int_equal(r->n_ended, 0);
}

static void an_observation_ends_where_it_can_never_be_had(void **state)
{
	struct rig *r = *state;

	assert_int_equal(observe(r, 0, r->h_level), COAP_205_CONTENT);
	r->node->connect_error = -EACCES;
	fake_node_end(r->node, -EACCES);
	r->want = 1;
	assert_true(until(r->loop, has_ended, r, MS));
	assert_int_equal(r->ended_code, COAP_403_FORBIDDEN);
	r->node->connect_error = 0;
	r->node->wants_bond = true;
	assert_int_equal(observe(r, 1, r->h_level), COAP_403_FORBIDDEN);
}

static void observations_end_with_the_tree(void **state)
{
	struct rig *r = *state;

	assert_int_equal(observe(r, 0, r->h_level), COAP_205_CONTENT);
	r->tree = ble_tree_free(r->tree);
	assert_int_equal(r->n_ended, 1);
	assert_int_equal(r->ended_code, COAP_503_UNAVAILABLE);
}

static void only_so_many_values_are_watched(void **state)
{
	struct ble_tree_watcher *w[BLE_TREE_WATCHES_MAX], *more;
	struct rig *r = *state;

	assert_int_equal(ble_tree_watch(r->tree, "ble-ffffffffffff", 1, &watcher_ops, r, &more), -ENOENT);
	for (uint16_t i = 0; i < BLE_TREE_WATCHES_MAX; i++)
		assert_int_equal(ble_tree_watch(r->tree, ID, 1000 + i, &watcher_ops, r, &w[i]), 0);
	assert_int_equal(ble_tree_watch(r->tree, ID, 999, &watcher_ops, r, &more), -ENOSPC);
	assert_int_equal(ble_tree_watch(r->tree, ID, 1000, &watcher_ops, r, &more), 0); /* another of the same value is none more */
	ble_tree_unwatch(more);
	for (size_t i = 0; i < BLE_TREE_WATCHES_MAX; i++)
		ble_tree_unwatch(w[i]);
}

static void a_node_that_went_is_forgotten(void **state)
{
	struct rig *r = *state;

	assert_int_equal(get(r, "nodes/" ID "/services"), COAP_205_CONTENT);
	fake_node_show(r->node, false);
	ble_tree_gone(r->tree, &r->node->n);
	assert_int_equal(get(r, "nodes/" ID "/services"), COAP_404_NOT_FOUND);
	assert_true(until(r->loop, has_no_link, r, MS));
	fake_node_show(r->node, true);
	ble_tree_node(r->tree, &r->node->n);
	assert_int_equal(get(r, "nodes/" ID "/services"), COAP_205_CONTENT);
	assert_int_equal(r->n_learned, 2);
}

#define T(name_) cmocka_unit_test_setup_teardown(name_, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_list_of_nodes_needs_no_link), T(services_are_learned_by_one_link_and_remembered), T(formats_that_there_are_not_are_refused),
		T(names_of_nothing_are_not_found), T(a_value_is_read_in_the_format_asked_for), T(requests_at_once_share_link_and_read),
		T(put_waits_for_the_response_and_post_does_not), T(writes_that_do_not_fit_are_refused), T(the_service_of_updates_cannot_be_reached),
		T(further_services_are_closed_while_the_link_is_up), T(errors_of_the_node_are_mapped), T(links_that_fail_are_told),
		T(a_node_that_is_updated_is_not_disturbed), T(too_many_requests_are_told_to_come_later), T(who_waits_is_told_when_the_tree_goes),
		T(all_observers_share_one_subscription), T(what_is_only_notified_begins_without_a_value), T(what_is_not_notified_is_answered_once),
		T(an_observation_survives_a_lost_link), T(an_observation_ends_where_it_can_never_be_had), T(observations_end_with_the_tree),
		T(only_so_many_values_are_watched), T(a_node_that_went_is_forgotten),
	};
	return cmocka_run_group_tests_name("proxy/ble_tree", tests, NULL, NULL);
}
