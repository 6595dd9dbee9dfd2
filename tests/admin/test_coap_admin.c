/* JSON to CBOR and back: every kind, the depth limit, every truncation, limits plus one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/api.h"
#include "base/text.h"
#include "codec/cbor.h"

enum { DEPTH_MAX = 12, KEY_BYTES_MAX = 63 };

static void encode(const char *json, struct buf *ret)
{
	struct json_doc *doc = NULL;
	char error[100];

	if (json_parse(span_str(json), &doc, error, sizeof(error)) < 0)
		fail_msg("%s: %s", json, error);
	coap_admin_encode(json_root(doc), ret);
	json_doc_free(doc);
}

static void assert_encodes(const char *json, const char *hex)
{
	_cleanup_buf_ struct buf cbor = { 0 }, text = { 0 };

	encode(json, &cbor);
	assert_true(buf_ok(&cbor));
	assert_int_equal(cbor_check(buf_span(&cbor), 0, NULL), 0);
	text_add_hex(&text, buf_span(&cbor));
	assert_string_equal(buf_str(&text), hex);
}

/* Hex in, JSON or an error out. */
static int decode(const char *hex, struct buf *ret)
{
	uint8_t bytes[512];
	size_t n;

	assert_int_equal(text_parse_hex_var(span_str(hex), bytes, sizeof(bytes), &n), 0);
	return coap_admin_decode(SPAN(bytes, n), ret);
}

static void every_kind_is_carried_over(void **state)
{
	(void)state;
	assert_encodes("{}", "a0");
	assert_encodes("[]", "80");
	assert_encodes("[null,true,false]", "83f6f5f4");
	assert_encodes("[0,23,24,255,256,-1,-24,-25]", "880017181818ff19010020373818");
	assert_encodes("[9223372036854775807,-9223372036854775808]", "821b7fffffffffffffff3b7fffffffffffffff");
	assert_encodes("[1.5,1e300]", "82f93e00fb7e37e43c8800759c");
	assert_encodes("[\"\",\"a\",\"\\u00fc\"]", "8360616162c3bc");
	assert_encodes("{\"b\":1,\"a\":[{}]}", "a26162016161" "81a0");   /* in the order of the answer */
}

static void an_answer_nested_too_deep_is_marked_bad(void **state)
{
	char json[64];

	(void)state;
	for (size_t depth = 1; depth < 20; depth++) {
		_cleanup_buf_ struct buf cbor = { 0 };
		memset(json, '[', depth);
		memset(json + depth, ']', depth);
		json[2 * depth] = 0;
		encode(json, &cbor);
		assert_int_equal(buf_ok(&cbor), depth <= DEPTH_MAX + 1);       /* the outermost is at depth 0 */
	}
}

static void a_flat_map_becomes_an_object(void **state)
{
	static const struct { const char *hex, *json; } rows[] = {
		{ "a0", "{}" }, { "a1616161" "62", "{\"a\":\"b\"}" }, { "a1616101", "{\"a\":1}" }, { "a1616120", "{\"a\":-1}" },
		{ "a16161f5", "{\"a\":true}" }, { "a16161f4", "{\"a\":false}" }, { "a161611b7fffffffffffffff", "{\"a\":9223372036854775807}" },
		{ "a161613b7fffffffffffffff", "{\"a\":-9223372036854775808}" }, { "a2616201616102", "{\"b\":1,\"a\":2}" },
		{ "a166726561736f6e62c3bc", "{\"reason\":\"\303\274\"}" }, { "a1616162220a", "{\"a\":\"\\\"\\n\"}" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf json = { 0 };
		assert_int_equal(decode(rows[i].hex, &json), 0);
		assert_string_equal(buf_str(&json), rows[i].json);
	}
}

static void anything_else_is_refused(void **state)
{
	static const char *const rows[] = {
		"", "00", "80", "f6", "60", "a0" "00", /* no map, or more than one item */
		"a1616180", "a16161a0", "a16161f6", "a16161f7", "a1616140", "a16161c101", "a16161f93c00", /* no text, integer or boolean */
		"a10101", "a1410101", "a2616101616102", /* keys: not text, twice */
		"a161611b8000000000000000", "a161613b8000000000000000", /* beyond int64 */
		"a161611801", "bf616101ff", "a1616161ff", "b80161" "6101", /* not the shortest, indefinite, not UTF-8 */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf json = { 0 };
		if (decode(rows[i], &json) != -EBADMSG)
			fail_msg("%s: %s", rows[i], buf_str(&json));
	}
}

static void every_truncation_is_refused(void **state)
{
	_cleanup_buf_ struct buf cbor = { 0 };

	(void)state;
	encode("{\"reason\":\"a reason of some length for it\",\"n\":70000,\"yes\":true}", &cbor);
	for (size_t n = 0; n <= cbor.n; n++) {
		_cleanup_buf_ struct buf json = { 0 };
		assert_int_equal(coap_admin_decode(SPAN(cbor.p, n), &json), n == cbor.n ? 0 : -EBADMSG);
	}
}

static void a_key_has_at_most_so_many_bytes(void **state)
{
	char key[KEY_BYTES_MAX + 2];

	(void)state;
	for (size_t n = KEY_BYTES_MAX; n <= KEY_BYTES_MAX + 1; n++) {
		_cleanup_buf_ struct buf cbor = { 0 }, json = { 0 };
		memset(key, 'k', n);
		key[n] = 0;
		cbor_put_map(&cbor, 1);
		cbor_put_str(&cbor, key);
		cbor_put_uint(&cbor, 1);
		assert_int_equal(coap_admin_decode(buf_span(&cbor), &json), n <= KEY_BYTES_MAX ? 0 : -EBADMSG);
	}
}

/* Keys in order cost nothing to compare; others up to the limit of the codec. */
static void maps_have_bounded_disorder(void **state)
{
	char key[8];

	(void)state;
	for (size_t n = CBOR_UNSORTED_KEYS_MAX; n <= CBOR_UNSORTED_KEYS_MAX + 1; n++) {
		_cleanup_buf_ struct buf cbor = { 0 }, json = { 0 };
		cbor_put_map(&cbor, n);
		for (size_t i = n; i > 0; i--) {
			(void)snprintf(key, sizeof(key), "%03zu", i);
			cbor_put_str(&cbor, key);
			cbor_put_bool(&cbor, true);
		}
		assert_int_equal(coap_admin_decode(buf_span(&cbor), &json), n <= CBOR_UNSORTED_KEYS_MAX ? 0 : -EBADMSG);
	}
}

/* U+0000 is text in CBOR; what reads the JSON afterwards refuses it, and so does the request (coap_admin.c: on_admin). */
static void a_zero_in_text_is_no_json(void **state)
{
	_cleanup_buf_ struct buf json = { 0 };
	struct json_doc *doc = NULL;

	(void)state;
	assert_true(decode("a161616100", &json) < 0 || json_parse(buf_span(&json), &doc, NULL, 0) < 0);
	assert_null(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_is_carried_over), cmocka_unit_test(an_answer_nested_too_deep_is_marked_bad),
		cmocka_unit_test(a_flat_map_becomes_an_object), cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(every_truncation_is_refused), cmocka_unit_test(a_key_has_at_most_so_many_bytes),
		cmocka_unit_test(maps_have_bounded_disorder), cmocka_unit_test(a_zero_in_text_is_no_json),
	};
	return cmocka_run_group_tests_name("admin/coap_admin", tests, NULL, NULL);
}
