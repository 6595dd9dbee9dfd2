#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/text.h"
#include "radio/ble.h"

static void a_node_is_named_by_its_address(void **state)
{
	static const char *const good[] = { "ble-0123456789ab", "ble-0123456789AB", "01:23:45:67:89:AB", "ble:01:23:45:67:89:ab" };
	static const char *const bad[] = { "", "ble", "ble-", "ble:", "ble-0123456789a", "ble-0123456789abc", "ble-0123456789ag", "0123456789ab",
					   "01:23:45:67:89", "01:23:45:67:89:AB:", "01-23-45-67-89-AB", "ble-01:23:45:67:89:AB", "ble:0123456789ab" };
	char id[BLE_ID_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(ble_id_parse(span_str(good[i]), id), 0);
		assert_string_equal(id, "ble-0123456789ab");
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(ble_id_parse(span_str(bad[i]), id), -EINVAL);
}

static void an_address_is_written_as_bluetooth_writes_it(void **state)
{
	char text[BLE_ADDRESS_TEXT_BYTES];

	(void)state;
	assert_string_equal(ble_address_text((const uint8_t[]){ 0x01, 0x23, 0x45, 0x67, 0x89, 0xab }, text), "01:23:45:67:89:AB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_is_named_by_its_address),
		cmocka_unit_test(an_address_is_written_as_bluetooth_writes_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
