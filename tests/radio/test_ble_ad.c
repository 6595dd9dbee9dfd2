#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "radio/ble_ad.h"

struct sheet {
	uint8_t p[BLE_AD_BYTES_MAX];
	size_t n;
};

#define AD(s_) ((struct ble_ad){ (s_)->p, &(s_)->n })

static void uuids_are_read_long_and_short(void **state)
{
	static const uint8_t fe59[BLE_UUID_BYTES] = { 0, 0, 0xfe, 0x59, 0, 0, 0x10, 0, 0x80, 0, 0, 0x80, 0x5f, 0x9b, 0x34, 0xfb };
	static const char *const good[] = { "0000fe59-0000-1000-8000-00805f9b34fb", "0000FE59-0000-1000-8000-00805F9B34FB", "fe59", "FE59", "0xfe59", "0000fe59" };
	static const char *const bad[] = { "", "f", "fe5", "fe59-", "0x", "0xfe5", "gggg", "0000fe59-0000-1000-8000-00805f9b34f", "0000fe59-0000-1000-8000-00805f9b34fbb" };
	uint8_t uuid[BLE_UUID_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(ble_uuid_parse(span_str(good[i]), uuid), 0);
		assert_memory_equal(uuid, fe59, sizeof(uuid));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(ble_uuid_parse(span_str(bad[i]), uuid), -EBADMSG);
	assert_int_equal(ble_uuid_bytes(fe59), 2);
	assert_int_equal(ble_uuid_parse(span_str("12345678"), uuid), 0);
	assert_int_equal(ble_uuid_bytes(uuid), 4);
	assert_int_equal(ble_uuid_parse(span_str("8D53DC1D-1DB7-4CD3-868B-8A527460AA84"), uuid), 0);
	assert_int_equal(ble_uuid_bytes(uuid), 16);
}

static void structures_are_length_type_and_value(void **state)
{
	static const uint8_t wanted[] = { 2, 0x01, 0x06, 5, 0x09, 'l', 'a', 'm', 'p', 5, 0xff, 0x59, 0x00, 0xaa, 0xbb };
	struct sheet s = { 0 };

	(void)state;
	assert_int_equal(ble_ad_add(AD(&s), AD_FLAGS, SPAN_NONE, SPAN_LIT("\x06")), 0);
	assert_int_equal(ble_ad_add(AD(&s), AD_NAME, SPAN_NONE, SPAN_LIT("lamp")), 0);
	assert_int_equal(ble_ad_add(AD(&s), AD_MANUFACTURER, SPAN_LIT("\x59\x00"), SPAN_LIT("\xaa\xbb")), 0);
	assert_int_equal(s.n, sizeof(wanted));
	assert_memory_equal(s.p, wanted, sizeof(wanted));
	ble_ad_remove(AD(&s), AD_NAME);
	assert_int_equal(s.n, sizeof(wanted) - 6);
	assert_memory_equal(s.p + 3, wanted + 9, 6);
	ble_ad_remove(AD(&s), AD_NAME);
	ble_ad_remove(AD(&s), AD_FLAGS);
	ble_ad_remove(AD(&s), AD_MANUFACTURER);
	assert_int_equal(s.n, 0);
}

static void services_are_listed_as_in_the_air(void **state)
{
	static const uint8_t wanted[] = { 5, 0x03, 0x59, 0xfe, 0x0f, 0x18, 5, 0x05, 0x78, 0x56, 0x34, 0x12, 17, 0x07, 0x84, 0xaa, 0x60, 0x74, 0x52, 0x8a,
					  0x8b, 0x86, 0xd3, 0x4c, 0xb7, 0x1d, 0x1d, 0xdc, 0x53, 0x8d };
	static const char *const texts[] = { "fe59", "8D53DC1D-1DB7-4CD3-868B-8A527460AA84", "12345678", "180f" };
	uint8_t uuids[4][BLE_UUID_BYTES];
	struct sheet s = { 0 };

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(ble_uuid_parse(span_str(texts[i]), uuids[i]), 0);
	for (int twice = 0; twice < 2; twice++) {
		ble_ad_set_services(AD(&s), (const uint8_t (*)[BLE_UUID_BYTES])uuids, 4);
		assert_int_equal(s.n, sizeof(wanted));
		assert_memory_equal(s.p, wanted, sizeof(wanted));
	}
	assert_int_equal(ble_ad_add_service_data(AD(&s), uuids[0], SPAN_LIT("\x01")), 0);
	assert_memory_equal(s.p + sizeof(wanted), "\x04\x16\x59\xfe\x01", 5);
	ble_ad_set_services(AD(&s), NULL, 0);
	assert_int_equal(s.n, 5);
}

static void what_does_not_fit_is_left_out_whole(void **state)
{
	uint8_t big[BLE_AD_BYTES_MAX] = { 0 }, uuids[BLE_SERVICES_MAX][BLE_UUID_BYTES];
	struct sheet s = { 0 };

	(void)state;
	assert_int_equal(ble_ad_add(AD(&s), AD_NAME, SPAN_NONE, SPAN(big, AD_VALUE_BYTES_MAX + 1)), -EMSGSIZE);
	assert_int_equal(s.n, 0);
	assert_int_equal(ble_ad_add(AD(&s), AD_NAME, SPAN_NONE, SPAN(big, AD_VALUE_BYTES_MAX)), 0);
	assert_int_equal(s.n, BLE_AD_BYTES_MAX);
	assert_int_equal(ble_ad_add(AD(&s), AD_FLAGS, SPAN_NONE, SPAN(big, 0)), -EMSGSIZE);
	ble_ad_remove(AD(&s), AD_NAME);
	for (size_t n = 0; n <= BLE_AD_BYTES_MAX - 2; n++) {
		s.n = 0;
		assert_int_equal(ble_ad_add(AD(&s), AD_MANUFACTURER, SPAN_LIT("\x00\x00"), SPAN(big, n)), n <= AD_VALUE_BYTES_MAX - 2 ? 0 : -EMSGSIZE);
	}
	s.n = 0;
	memset(uuids, 0x55, sizeof(uuids));
	ble_ad_set_services(AD(&s), (const uint8_t (*)[BLE_UUID_BYTES])uuids, BLE_SERVICES_MAX);
	assert_int_equal(s.p[0], 1 + 15 * BLE_UUID_BYTES);
	assert_int_equal(s.n, 2 + 15 * BLE_UUID_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(uuids_are_read_long_and_short),
		cmocka_unit_test(structures_are_length_type_and_value),
		cmocka_unit_test(services_are_listed_as_in_the_air),
		cmocka_unit_test(what_does_not_fit_is_left_out_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
