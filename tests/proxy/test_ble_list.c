/* Lists of nodes, services and characteristics in every format (BLE-1 to BLE-3, BLE-6, BLE-8, BLE-9), and what stays closed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "codec/cbor.h"
#include "codec/json.h"
#include "codec/link_format.h"
#include "io/coap.h"
#include "proxy/ble_list.h"

static struct gatt_service services[] = {
	{ .handle = 0x10, .uuid = GATT_UUID16(0x180f), .is_primary = true },
	{ .handle = 0x20, .uuid = { 0x12, 0x34, 0x56, 0x78, 0x12, 0x34, 0x56, 0x78, 0x12, 0x34, 0x56, 0x78, 0x12, 0x34, 0x56, 0x78 } },
};

static struct gatt_characteristic characteristics[] = {
	{ .handle = 0x12, .service = 0x10, .uuid = GATT_UUID16(0x2a19), .properties = GATT_READ | GATT_NOTIFY },
	{ .handle = 0x22, .service = 0x20, .uuid = { 0x12, 0x34, 0x56, 0x79 }, .properties = GATT_WRITE },
};

static const struct ble_layout layout = { .services = services, .characteristics = characteristics, .n_services = 2, .n_characteristics = 2 };
static const struct ble_node node = {
	.id = "ble-c00000000001", .address = { 0xc0, 0, 0, 0, 0, 1 }, .name = "lamp", .adapter = "hci0", .rssi = -60, .is_random = true,
	.n_services = 1, .services = { GATT_UUID16(0x180f) }, .ad = { 2, 1, 6, 3, 3, 0x0f, 0x18 }, .n_ad = 7,
};

static void services_are_of_the_shape_of_their_cddl(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	(void)state;
	ble_list_services(&layout, "/ble/", "ble-c00000000001", BLE_CF_SERVICELIST, &b);
	assert_int_equal(cbor_check(buf_span(&b), CBOR_KEYS_SORTED, NULL), 0);
	struct cbor c = cbor_reader(buf_span(&b));
	assert_int_equal(cbor_array(&c), 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(cbor_map(&c), 2);
		assert_true(span_eq_str(cbor_text(&c), "href"));
		assert_true(span_eq_str(cbor_text(&c), i ? "/ble/nodes/ble-c00000000001/s0020" : "/ble/nodes/ble-c00000000001/s0010"));
		assert_true(span_eq_str(cbor_text(&c), "uuid"));
		assert_true(span_eq(cbor_bytes(&c), SPAN_OF(services[i].uuid)));
	}
	assert_true(cbor_at_end(&c));
}

static void characteristics_show_their_properties(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	(void)state;
	ble_list_characteristics(&layout, "/ble/", "ble-c00000000001", 0x10, BLE_CF_CHARACTERISTICLIST, &b);
	assert_int_equal(cbor_check(buf_span(&b), CBOR_KEYS_SORTED, NULL), 0);
	struct cbor c = cbor_reader(buf_span(&b));
	assert_int_equal(cbor_array(&c), 1); /* the other is of another service */
	assert_int_equal(cbor_map(&c), 3);
	assert_true(span_eq_str(cbor_text(&c), "href"));
	assert_true(span_eq_str(cbor_text(&c), "/ble/nodes/ble-c00000000001/c0012"));
	assert_true(span_eq_str(cbor_text(&c), "uuid"));
	assert_true(span_eq(cbor_bytes(&c), SPAN_OF(characteristics[0].uuid)));
	assert_true(span_eq_str(cbor_text(&c), "properties"));
	assert_true(span_eq(cbor_bytes(&c), SPAN_LIT("\x12")));
	assert_true(cbor_at_end(&c));
	buf_clear(&b);
	ble_list_characteristics(&layout, "/hc/ble:/", "ble-c00000000001", 0x20, COAP_CF_JSON, &b);
	assert_string_equal(buf_str(&b), "[{\"href\":\"/hc/ble:/nodes/ble-c00000000001/c0022\",\"uuid\":\"EjRWeQAAAAAAAAAAAAAAAA==\","
			    "\"uuid_text\":\"12345679-0000-0000-0000-000000000000\",\"properties\":\"CA==\"}]");
}

static void a_node_says_who_it_is_in_json(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	(void)state;
	ble_list_node(&node, "/hc/ble:/", COAP_CF_JSON, &b);
	assert_string_equal(buf_str(&b), "{\"ad\":[[1,\"Bg==\"],[3,\"Dxg=\"]],\"busy\":false,\"href\":\"/hc/ble:/nodes/ble-c00000000001\",\"name\":\"lamp\","
			    "\"rssi\":-60,\"bdaddr\":\"wAAAAAAB\",\"bonded\":false,\"random\":true,\"adapter\":\"hci0\","
			    "\"address\":\"C0:00:00:00:00:01\",\"services\":[\"AAAYDwAAEACAAACAX5s0+w==\"],\"connected\":false}");
}

static void a_node_in_cbor_is_deterministic_and_says_the_same(void **state)
{
	struct ble_node bare = node;
	_cleanup_buf_ struct buf b = { 0 };

	(void)state;
	ble_list_node(&node, "/ble/", COAP_CF_CBOR, &b);
	assert_int_equal(cbor_check(buf_span(&b), CBOR_KEYS_SORTED, NULL), 0);
	buf_clear(&b);
	bare.n_ad = bare.name[0] = bare.id[0] = 0; /* a private address that advertises nothing */
	bare.rssi = BLE_RSSI_UNKNOWN;
	ble_list_node(&bare, "/ble/", COAP_CF_CBOR, &b);
	assert_int_equal(cbor_check(buf_span(&b), CBOR_KEYS_SORTED, NULL), 0);
	struct cbor c = cbor_reader(buf_span(&b));
	assert_int_equal(cbor_map(&c), 8);
	assert_true(span_eq_str(cbor_text(&c), "busy")); /* no href: nobody's name */
}

static void broken_advertisements_end_the_list(void **state)
{
	static const struct { uint8_t ad[4]; size_t n; const char *want; } rows[] = {
		{ { 2, 1, 6, 9 }, 4, "\"ad\":[[1,\"Bg==\"]]" }, { { 0, 1 }, 2, "\"ad\":[]" }, { { 200, 1 }, 2, "\"ad\":[]" },
		{ { 1, 9 }, 2, "\"ad\":[[9,\"\"]]" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf json = { 0 }, cbor = { 0 };
		struct ble_node n = node;
		memcpy(n.ad, rows[i].ad, sizeof(rows[i].ad));
		n.n_ad = rows[i].n;
		ble_list_node(&n, "/ble/", COAP_CF_JSON, &json);
		ble_list_node(&n, "/ble/", COAP_CF_CBOR, &cbor);
		assert_non_null(strstr(buf_str(&json), rows[i].want));
		assert_int_equal(cbor_check(buf_span(&cbor), CBOR_KEYS_SORTED, NULL), 0);
	}
}

static void what_there_is_tells_of_adapters(void **state)
{
	static const struct ble_adapter a = { .name = "hci0", .address = { 1, 2, 3, 4, 5, 6 }, .is_scanning = true, .n_links = 2 };
	_cleanup_buf_ struct buf json = { 0 }, cbor = { 0 };

	(void)state;
	ble_list_root(BLE_READY, &a, 1, 3, "/ble/", COAP_CF_JSON, &json);
	assert_string_equal(buf_str(&json), "{\"href\":\"/ble/gap/nodes/passive\",\"count\":3,\"health\":\"ready\",\"adapters\":[{\"name\":\"hci0\","
			    "\"links\":2,\"bdaddr\":\"AQIDBAUG\",\"passive\":false,\"scanning\":true}]}");
	ble_list_root(BLE_NO_BLUEZ, &a, 1, 0, "/ble/", COAP_CF_CBOR, &cbor);
	assert_int_equal(cbor_check(buf_span(&cbor), CBOR_KEYS_SORTED, NULL), 0);
}

static void links_for_the_directory_name_types_and_observability(void **state)
{
	static const char *const want[] = {
		"</ble/nodes/ble-c00000000001>;rt=\"ble.node\";ct=\"50 60\"",
		"</ble/nodes/ble-c00000000001/td>;rt=\"wot.thing\";ct=432",
		"</ble/nodes/ble-c00000000001/c0012>;rt=\"ble.2a19\";ct=\"42 50 0 110 112\";obs",
		"</ble/nodes/ble-c00000000001/c0022>;rt=\"urn:uuid:12345679-0000-0000-0000-000000000000\"",
	};
	_cleanup_buf_ struct buf b = { 0 }, whole = { 0 };

	(void)state;
	ble_layout_links(&layout, "/ble/", "ble-c00000000001", &b);
	for (size_t i = 0; i < 4; i++)
		buf_printf(&whole, "%s%s", i ? "," : "", want[i]);
	assert_string_equal(buf_str(&b), buf_str(&whole));
	buf_clear(&b);
	ble_layout_links(NULL, "/ble/", "ble-c00000000001", &b); /* nothing of it is known yet */
	struct link_reader r;
	struct weblink l;
	link_reader_init(&r, buf_span(&b));
	assert_int_equal(link_reader_next(&r, &l), 1);
	assert_int_equal(link_reader_next(&r, &l), 1);
	assert_int_equal(link_reader_next(&r, &l), 0);
}

/* One way to a node for new images, and this is not it. */
static void services_that_take_firmware_are_known(void **state)
{
	static const uint8_t closed[][BLE_UUID_BYTES] = {
		{ 0x8d, 0x53, 0xdc, 0x1d, 0x1d, 0xb7, 0x4c, 0xd3, 0x86, 0x8b, 0x8a, 0x52, 0x74, 0x60, 0xaa, 0x84 },
		{ 0xda, 0x2e, 0x78, 0x28, 0xfb, 0xce, 0x4e, 0x01, 0xae, 0x9e, 0x26, 0x11, 0x74, 0x99, 0x7c, 0x48 },
		GATT_UUID16(0xfe59),
		{ 0x8e, 0xc9, 0x00, 0x03, 0xf3, 0x15, 0x4f, 0x60, 0x9f, 0xb8, 0x83, 0x88, 0x30, 0xda, 0xea, 0x50 },
		{ 0x8e, 0x40, 0x00, 0x01, 0xf3, 0x15, 0x4f, 0x60, 0x9f, 0xb8, 0x83, 0x88, 0x30, 0xda, 0xea, 0x50 },
		{ 0x00, 0x00, 0x15, 0x30, 0x12, 0x12, 0xef, 0xde, 0x15, 0x23, 0x78, 0x5f, 0xea, 0xbc, 0xd1, 0x23 },
		{ 0x00, 0x00, 0x15, 0x32, 0x12, 0x12, 0xef, 0xde, 0x15, 0x23, 0x78, 0x5f, 0xea, 0xbc, 0xd1, 0x23 },
		{ 0xf0, 0x00, 0xff, 0xc0, 0x04, 0x51, 0x40, 0x00, 0xb0 }, { 0xf0, 0x00, 0xff, 0xc5, 0x04, 0x51, 0x40, 0x00, 0xb0 },
		{ 0xf0, 0x00, 0xff, 0xd1, 0x04, 0x51, 0x40, 0x00, 0xb0 },
		{ 0x1d, 0x14, 0xd6, 0xee, 0xfd, 0x63, 0x4f, 0xa1, 0xbf, 0xa4, 0x8f, 0x47, 0xb4, 0x21, 0x19, 0xf0 },
		{ 0xf7, 0xbf, 0x35, 0x64, 0xfb, 0x6d, 0x4e, 0x53, 0x88, 0xa4, 0x5e, 0x37, 0xe0, 0x32, 0x60, 0x63 },
	};
	static const uint8_t open[][BLE_UUID_BYTES] = { GATT_UUID16(0x180a), GATT_UUID16(0xfe58), { 0xf0, 0x00, 0xff, 0xb0, 0x04, 0x51, 0x40, 0x00, 0xb0 } };

	(void)state;
	for (size_t i = 0; i < sizeof(closed) / sizeof(*closed); i++)
		assert_true(ble_uuid_is_firmware(closed[i]));
	for (size_t i = 0; i < sizeof(open) / sizeof(*open); i++)
		assert_false(ble_uuid_is_firmware(open[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(services_are_of_the_shape_of_their_cddl), cmocka_unit_test(characteristics_show_their_properties),
		cmocka_unit_test(a_node_says_who_it_is_in_json), cmocka_unit_test(a_node_in_cbor_is_deterministic_and_says_the_same),
		cmocka_unit_test(broken_advertisements_end_the_list), cmocka_unit_test(what_there_is_tells_of_adapters),
		cmocka_unit_test(links_for_the_directory_name_types_and_observability), cmocka_unit_test(services_that_take_firmware_are_known),
	};
	return cmocka_run_group_tests_name("proxy/ble_list", tests, NULL, NULL);
}
