/* Values of well-known characteristics as text and SenML (BLE-4, RFC 8428). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "codec/cbor.h"
#include "codec/json.h"
#include "proxy/ble_value.h"

static const struct ble_type *type(uint16_t n)
{
	const uint8_t uuid[BLE_UUID_BYTES] = GATT_UUID16(n);

	return ble_type_of(uuid);
}

static void values_are_told_as_text(void **state)
{
	static const struct { uint16_t uuid; struct span value; int r; const char *text; } rows[] = {
		{ 0x2a19, SPAN_LIT("\x64"), 0, "100" },
		{ 0x2a19, SPAN_LIT("\xff"), 0, "255" },
		{ 0x2a19, SPAN_LIT(""), -EBADMSG, "" },
		{ 0x2a19, SPAN_LIT("\x01\x02"), -EBADMSG, "" },
		{ 0x2a6e, SPAN_LIT("\x66\x08"), 0, "21.50" },
		{ 0x2a6e, SPAN_LIT("\xff\xff"), 0, "-0.01" },
		{ 0x2a6e, SPAN_LIT("\x0c\xfe"), 0, "-5.00" },
		{ 0x2a6e, SPAN_LIT("\x00\x80"), -ENODATA, "" },
		{ 0x2a6e, SPAN_LIT("\x66"), -EBADMSG, "" },
		{ 0x2a6f, SPAN_LIT("\x88\x13"), 0, "50.00" },
		{ 0x2a6f, SPAN_LIT("\xff\xff"), -ENODATA, "" },
		{ 0x2a6d, SPAN_LIT("\x72\x76\x0f\x00"), 0, "101336.2" },
		{ 0x2a6d, SPAN_LIT("\xff\xff\xff\xff"), 0, "429496729.5" },
		{ 0x2a29, SPAN_LIT("ACME"), 0, "ACME" },
		{ 0x2a29, SPAN_LIT("ACME\0\0"), 0, "ACME" },
		{ 0x2a26, SPAN_LIT("\xff\xfe"), -EBADMSG, "" },
		{ 0x2a00, SPAN_LIT("a\nb"), -EBADMSG, "" },
		{ 0x2a00, SPAN_LIT(""), 0, "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		assert_int_equal(ble_value_text(type(rows[i].uuid), rows[i].value, &b), rows[i].r);
		assert_string_equal(buf_str(&b), rows[i].text);
	}
}

static void values_in_json_are_numbers_texts_or_base64(void **state)
{
	static const struct { uint16_t uuid; struct span value; int r; const char *json; } rows[] = {
		{ 0x2a6e, SPAN_LIT("\xff\xff"), 0, "-0.01" }, { 0x2a19, SPAN_LIT("\x64"), 0, "100" }, { 0x2a29, SPAN_LIT("A\"B"), 0, "\"A\\\"B\"" },
		{ 0x2a6e, SPAN_LIT("\x00\x80"), -ENODATA, "" }, { 0x2a18, SPAN_LIT("\x00\x80"), 0, "\"AIA=\"" }, { 0x2a18, SPAN_LIT(""), 0, "\"\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		assert_int_equal(ble_value_json(type(rows[i].uuid), rows[i].value, &b), rows[i].r);
		assert_string_equal(buf_str(&b), rows[i].json);
	}
}

static void senml_in_json_is_one_record(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	(void)state;
	assert_int_equal(ble_value_senml(type(0x2a6e), "ble-0123456789ab", SPAN_LIT("\xff\xff"), false, &b), 0);
	assert_string_equal(buf_str(&b), "[{\"bn\":\"ble-0123456789ab/\",\"n\":\"temperature\",\"u\":\"Cel\",\"v\":-0.01}]");
	buf_clear(&b);
	assert_int_equal(ble_value_senml(type(0x2a29), "ble-0123456789ab", SPAN_LIT("A\"B"), false, &b), 0);
	assert_string_equal(buf_str(&b), "[{\"bn\":\"ble-0123456789ab/\",\"n\":\"manufacturer\",\"vs\":\"A\\\"B\"}]");
	buf_clear(&b);
	assert_int_equal(ble_value_senml(type(0x2a19), "x", SPAN_NONE, false, &b), -EBADMSG);
	assert_int_equal(b.n, 0);
}

static void senml_in_cbor_has_its_labels(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	(void)state;
	assert_int_equal(ble_value_senml(type(0x2a6e), "n", SPAN_LIT("\x66\x08"), true, &b), 0);
	assert_int_equal(cbor_check(buf_span(&b), CBOR_KEYS_SORTED, NULL), 0);
	struct cbor c = cbor_reader(buf_span(&b));
	assert_int_equal(cbor_array(&c), 1);
	assert_int_equal(cbor_map(&c), 4);
	assert_int_equal(cbor_int(&c), 0); /* n */
	assert_true(span_eq_str(cbor_text(&c), "temperature"));
	assert_int_equal(cbor_int(&c), 1); /* u */
	assert_true(span_eq_str(cbor_text(&c), "Cel"));
	assert_int_equal(cbor_int(&c), 2); /* v */
	assert_true(cbor_float(&c) == 21.5);
	assert_int_equal(cbor_int(&c), -2); /* bn */
	assert_true(span_eq_str(cbor_text(&c), "n/"));
	assert_true(cbor_at_end(&c));
}

static void senml_in_cbor_of_whole_numbers_and_texts(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	(void)state;
	assert_int_equal(ble_value_senml(type(0x2a19), "n", SPAN_LIT("\x64"), true, &b), 0);
	assert_int_equal(cbor_check(buf_span(&b), CBOR_KEYS_SORTED, NULL), 0);
	buf_clear(&b);
	assert_int_equal(ble_value_senml(type(0x2a00), "n", SPAN_LIT("lamp"), true, &b), 0);
	assert_int_equal(cbor_check(buf_span(&b), CBOR_KEYS_SORTED, NULL), 0);
}

static void what_is_not_known_has_no_type_and_no_title(void **state)
{
	static const uint8_t vendor[BLE_UUID_BYTES] = { 0x12, 0x34, 0x2a, 0x19 };

	(void)state;
	assert_null(type(0x2a18));
	assert_null(ble_type_of(vendor));
	assert_null(ble_uuid_title(vendor));
	assert_string_equal(ble_uuid_title((const uint8_t[])GATT_UUID16(0x180f)), "Battery");
	assert_string_equal(ble_uuid_title((const uint8_t[])GATT_UUID16(0x2a19)), "Battery Level");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_told_as_text), cmocka_unit_test(values_in_json_are_numbers_texts_or_base64), cmocka_unit_test(senml_in_json_is_one_record),
		cmocka_unit_test(senml_in_cbor_has_its_labels), cmocka_unit_test(senml_in_cbor_of_whole_numbers_and_texts),
		cmocka_unit_test(what_is_not_known_has_no_type_and_no_title),
	};
	return cmocka_run_group_tests_name("proxy/ble_value", tests, NULL, NULL);
}
