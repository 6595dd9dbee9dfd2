/* Thing Descriptions of nodes: what TD 1.1 asks of every one (rd-and-proxy section 13), and that forms say what is true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "codec/json.h"
#include "proxy/ble_td.h"

static struct gatt_service services[] = { { .handle = 0x10, .uuid = GATT_UUID16(0x181a), .is_primary = true } };
static struct gatt_characteristic characteristics[] = {
	{ .handle = 0x12, .service = 0x10, .uuid = GATT_UUID16(0x2a6e), .properties = GATT_READ | GATT_NOTIFY },
	{ .handle = 0x15, .service = 0x10, .uuid = { 0x12, 0x34, 1 }, .properties = GATT_WRITE | GATT_READ },
	{ .handle = 0x17, .service = 0x10, .uuid = { 0x12, 0x34, 2 }, .properties = GATT_WRITE_NO_RESPONSE },
	{ .handle = 0x19, .service = 0x10, .uuid = { 0x12, 0x34, 3 }, .properties = GATT_INDICATE },
	{ .handle = 0x1b, .service = 0x10, .uuid = GATT_UUID16(0x2a00), .properties = GATT_READ | GATT_WRITE },
	{ .handle = 0x1d, .service = 0x10, .uuid = { 0x12, 0x34, 4 }, .properties = GATT_BROADCAST },
};
static const struct ble_layout layout = { .services = services, .characteristics = characteristics, .n_services = 1, .n_characteristics = 6 };
static const struct ble_td_face faces[] = {
	{ .base = "coaps://[2001:db8::1]/ble/", .security = BLE_TD_PSK, .may_write = true },
	{ .base = "coap://[2001:db8::1]/ble/", .security = BLE_TD_NOSEC },
	{ .base = "http://127.0.0.1:8080/hc/ble:/", .security = BLE_TD_BEARER, .is_http = true, .may_write = true },
	{ .base = "http://127.0.0.1:8080/hc/ble:/", .security = BLE_TD_NOSEC, .is_http = true },
};

static struct json_doc *render(size_t n_faces, const struct ble_node *node)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct json_doc *doc = NULL;
	char error[100] = "";

	ble_td_render("ble-c00000000001", node, &layout, faces, n_faces, &b);
	if (json_parse(buf_span(&b), &doc, error, sizeof(error)) < 0)
		fail_msg("%s: %s", error, buf_str(&b));
	return doc;
}

static bool has_text(const struct json_value *array, const char *text)
{
	for (size_t i = 0; i < json_n(array); i++)
		if (json_as_str(json_at(array, i)) && strcmp(json_as_str(json_at(array, i)), text) == 0)
			return true;
	return false;
}

/* Every affordance has a form, every form an op, a type and a security that is defined. */
static void check_affordances(const struct json_value *td, const char *which)
{
	const struct json_value *all = json_get(td, which), *definitions = json_get(td, "securityDefinitions");

	assert_true(json_is_object(all));
	for (const void *it = json_first(all); it; it = json_next(all, it)) {
		const struct json_value *forms = json_get(json_iter_value(it), "forms");
		assert_true(json_is_array(forms) && json_n(forms) > 0);
		for (size_t i = 0; i < json_n(forms); i++) {
			const struct json_value *f = json_at(forms, i), *security = json_get(f, "security");
			assert_non_null(json_get_str(f, "href"));
			assert_non_null(json_get_str(f, "contentType"));
			assert_true(json_n(json_get(f, "op")) > 0);
			assert_int_equal(json_n(security), 1);
			assert_non_null(json_get(definitions, json_as_str(json_at(security, 0))));
		}
	}
}

static const struct json_value *form_of(const struct json_value *td, const char *which, const char *name, const char *op, const char *base)
{
	const struct json_value *forms = json_get(json_get(json_get(td, which), name), "forms");

	for (size_t i = 0; i < json_n(forms); i++) {
		const struct json_value *f = json_at(forms, i);
		if (has_text(json_get(f, "op"), op) && strncmp(json_get_str(f, "href"), base, strlen(base)) == 0)
			return f;
	}
	return NULL;
}

static void a_description_has_what_every_one_must_have(void **state)
{
	struct ble_node node = { .id = "ble-c00000000001", .name = "lamp \"1\"" };
	struct json_doc *doc = render(4, &node);
	const struct json_value *td = json_root(doc);

	(void)state;
	assert_string_equal(json_as_str(json_at(json_get(td, "@context"), 0)), "https://www.w3.org/2022/wot/td/v1.1");
	assert_int_equal(strlen(json_get_str(td, "id")), strlen("urn:uuid:xxxxxxxx-xxxx-8xxx-xxxx-xxxxxxxxxxxx"));
	assert_int_equal(json_get_str(td, "id")[23], '8');
	assert_string_equal(json_get_str(td, "title"), "lamp \"1\"");
	assert_true(has_text(json_get(td, "security"), "psk_sc"));
	assert_string_equal(json_get_str(json_get(json_get(td, "securityDefinitions"), "psk_sc"), "scheme"), "psk");
	assert_string_equal(json_get_str(json_get(json_get(td, "securityDefinitions"), "bearer_sc"), "scheme"), "bearer");
	check_affordances(td, "properties");
	check_affordances(td, "events");
	json_doc_free(doc);
}

static void forms_say_how_each_value_is_used(void **state)
{
	struct json_doc *doc = render(4, NULL);
	const struct json_value *td = json_root(doc), *f;
	bool yes;

	(void)state;
	assert_string_equal(json_get_str(td, "title"), "ble-c00000000001");
	f = form_of(td, "properties", "c0012", "readproperty", "coap:");
	assert_string_equal(json_get_str(f, "href"), "coap://[2001:db8::1]/ble/nodes/ble-c00000000001/c0012");
	assert_string_equal(json_get_str(f, "contentType"), "application/json");
	int64_t accept;
	assert_true(json_get_int(f, "cov:accept", &accept) && accept == 50);
	f = form_of(td, "properties", "c0012", "observeproperty", "coaps:");
	assert_string_equal(json_get_str(f, "subprotocol"), "cov:observe");
	assert_true(json_get_int(f, "cov:accept", &accept) && accept == 50);
	f = form_of(td, "properties", "c0012", "observeproperty", "http:");
	assert_string_equal(json_get_str(f, "subprotocol"), "sse");
	assert_non_null(strstr(json_get_str(f, "href"), "/c0012?bare"));
	assert_string_equal(json_get_str(json_get(json_get(td, "properties"), "c0012"), "type"), "number");
	assert_string_equal(json_get_str(json_get(json_get(td, "properties"), "c0015"), "contentEncoding"), "base64");
	f = form_of(td, "properties", "c0017", "writeproperty", "http:");
	assert_string_equal(json_get_str(f, "htv:methodName"), "POST");
	assert_non_null(strstr(json_get_str(f, "href"), "/c0017?noresponse"));
	f = form_of(td, "properties", "c0015", "writeproperty", "coaps:");
	assert_string_equal(json_get_str(f, "cov:method"), "PUT");
	f = form_of(td, "properties", "c001b", "writeproperty", "coaps:");
	assert_string_equal(json_get_str(f, "contentType"), "text/plain;charset=utf-8");
	f = form_of(td, "events", "c0019", "subscribeevent", "coaps:");
	assert_true(has_text(json_get(f, "op"), "unsubscribeevent"));
	assert_null(json_get(json_get(td, "properties"), "c0019"));
	assert_null(json_get(json_get(td, "properties"), "c001d"));
	assert_true(json_get_bool(json_get(json_get(td, "properties"), "c0017"), "writeOnly", &yes) && yes);
	assert_true(json_get_bool(json_get(json_get(td, "properties"), "c0012"), "readOnly", &yes) && yes);
	assert_true(json_get_bool(json_get(json_get(td, "properties"), "c0012"), "observable", &yes) && yes);
	json_doc_free(doc);
}

static void who_may_only_look_is_offered_no_writing(void **state)
{
	struct json_doc *doc = render(4, NULL);
	const struct json_value *forms = json_get(json_get(json_get(json_root(doc), "properties"), "c0015"), "forms");
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < json_n(forms); i++) {
		bool writes = has_text(json_get(json_at(forms, i), "op"), "writeproperty");
		n += writes;
		assert_false(writes && has_text(json_get(json_at(forms, i), "security"), "nosec_sc"));
	}
	assert_int_equal(n, 2);
	json_doc_free(doc);
}

static void without_a_face_there_are_no_affordances(void **state)
{
	struct json_doc *doc = render(0, NULL);
	const struct json_value *td = json_root(doc);

	(void)state;
	assert_int_equal(json_n(json_get(td, "properties")), 0);
	assert_int_equal(json_n(json_get(td, "events")), 0);
	assert_true(has_text(json_get(td, "security"), "nosec_sc"));
	json_doc_free(doc);
}

/* For a validator of others: prints one. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_description_has_what_every_one_must_have), cmocka_unit_test(forms_say_how_each_value_is_used),
		cmocka_unit_test(who_may_only_look_is_offered_no_writing), cmocka_unit_test(without_a_face_there_are_no_affordances),
	};

	if (argc > 1 && strcmp(argv[1], "--print") == 0) {
		_cleanup_buf_ struct buf b = { 0 };
		ble_td_render("ble-c00000000001", NULL, &layout, faces, 4, &b);
		(void)puts(buf_str(&b));
		return 0;
	}
	return cmocka_run_group_tests_name("proxy/ble_td", tests, NULL, NULL);
}
