/* The names of the ble: tree, BLE-1 to BLE-4, BLE-6. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "proxy/ble_path.h"

static void every_kind_is_found(void **state)
{
	static const struct { const char *text; enum ble_path_kind kind; const char *id; uint16_t handle; } rows[] = {
		{ "", BLE_PATH_ROOT, "", 0 },
		{ "gap/nodes/passive", BLE_PATH_NODES, "", 0 },
		{ "gap/nodes/passive/", BLE_PATH_NODES, "", 0 },
		{ "nodes", BLE_PATH_NODES, "", 0 },
		{ "nodes/ble-0123456789ab", BLE_PATH_NODE, "ble-0123456789ab", 0 },
		{ "nodes/ble-0123456789ab/services", BLE_PATH_SERVICES, "ble-0123456789ab", 0 },
		{ "nodes/ble-0123456789ab/s0001/characteristics", BLE_PATH_CHARACTERISTICS, "ble-0123456789ab", 1 },
		{ "nodes/ble-0123456789ab/cffff", BLE_PATH_VALUE, "ble-0123456789ab", 0xffff },
		{ "nodes/ble-0123456789ab/td", BLE_PATH_TD, "ble-0123456789ab", 0 },
	};
	struct ble_path p;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(ble_path_parse_text(span_str(rows[i].text), &p), 0);
		assert_int_equal(p.kind, rows[i].kind);
		assert_string_equal(p.id, rows[i].id);
		assert_int_equal(p.handle, rows[i].handle);
	}
}

static void what_is_spelled_otherwise_is_not_found(void **state)
{
	static const char *const bad[] = {
		"gap", "gap/nodes", "gap/nodes/active", "gap/nodes/passive/x", "node", "nodes/x", "nodes/01:23:45:67:89:ab", "nodes/ble-0123456789AB",
		"nodes/ble-0123456789a", "nodes/ble-0123456789abc", "nodes/ble-0123456789ab/Services", "nodes/ble-0123456789ab/services/s0001",
		"nodes/ble-0123456789ab/s0001", "nodes/ble-0123456789ab/s001/characteristics", "nodes/ble-0123456789ab/c001",
		"nodes/ble-0123456789ab/c00012", "nodes/ble-0123456789ab/c00AB", "nodes/ble-0123456789ab/c-001", "nodes/ble-0123456789ab/d0001",
		"nodes/ble-0123456789ab/c0001/x", "nodes//services", "//nodes/x", "nodes/ble-0123456789ab/s0001/characteristics/c0002",
	};
	struct ble_path p;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (ble_path_parse_text(span_str(bad[i]), &p) != -ENOENT)
			fail_msg("\"%s\" was found", bad[i]);
}

static void every_truncation_is_another_name_or_none(void **state)
{
	static const char whole[] = "nodes/ble-0123456789ab/s0001/characteristics";
	struct ble_path p;

	(void)state;
	for (size_t n = 0; n < sizeof(whole) - 1; n++) {
		bool is_name = n == 0 || n == 5 || n == 6 || n == 22 || n == 23;
		assert_int_equal(ble_path_parse_text(SPAN(whole, n), &p), is_name ? 0 : -ENOENT);
	}
}

static void a_value_is_named_as_it_is_parsed(void **state)
{
	char text[BLE_PATH_BYTES];
	struct ble_path p;

	(void)state;
	assert_string_equal(ble_path_value("ble-0123456789ab", 0x1f, text), "nodes/ble-0123456789ab/c001f");
	assert_int_equal(ble_path_parse_text(span_str(text), &p), 0);
	assert_int_equal(p.handle, 0x1f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_is_found), cmocka_unit_test(what_is_spelled_otherwise_is_not_found),
		cmocka_unit_test(every_truncation_is_another_name_or_none), cmocka_unit_test(a_value_is_named_as_it_is_parsed),
	};
	return cmocka_run_group_tests_name("proxy/ble_path", tests, NULL, NULL);
}
