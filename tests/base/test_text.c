#include "base/text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void decimal_numbers_are_read_exactly(void **state)
{
	static const struct {
		const char *text;
		uint64_t max;
		unsigned flags;
		int r;
		uint64_t v;
	} rows[] = {
		{ "0", 0, 0, 0, 0 },
		{ "7", 10, 0, 0, 7 },
		{ "18446744073709551615", UINT64_MAX, 0, 0, UINT64_MAX },
		{ "18446744073709551616", UINT64_MAX, 0, -ERANGE, 0 },
		{ "99999999999999999999", UINT64_MAX, 0, -ERANGE, 0 },
		{ "184467440737095516150", UINT64_MAX, 0, -ERANGE, 0 },
		{ "11", 10, 0, -ERANGE, 0 },
		{ "007", 10, 0, -EBADMSG, 0 },
		{ "00", 10, 0, -EBADMSG, 0 },
		{ "007", 10, TEXT_LEADING_ZEROS, 0, 7 },
		{ "", 10, 0, -EBADMSG, 0 },
		{ "+1", 10, 0, -EBADMSG, 0 },
		{ "-1", 10, 0, -EBADMSG, 0 },
		{ " 1", 10, 0, -EBADMSG, 0 },
		{ "1 ", 10, 0, -EBADMSG, 0 },
		{ "99999999999999999999x", 10, 0, -EBADMSG, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint64_t v = 0;
		assert_int_equal(text_parse_u64(span_str(rows[i].text), rows[i].max, &v, rows[i].flags), rows[i].r);
		assert_true(v == rows[i].v);
	}
}

static void hex_is_read_in_either_case_and_exact_length(void **state)
{
	uint8_t b[4] = { 0 };
	size_t n = 9;
	char text[9];

	assert_int_equal(text_parse_hex(SPAN_LIT("00ffAb1C"), b, 4), 0);
	assert_string_equal(text_hex(SPAN_OF(b), text), "00ffab1c");
	assert_int_equal(text_parse_hex(SPAN_LIT("00ffAb1"), b, 4), -EBADMSG);
	assert_int_equal(text_parse_hex(SPAN_LIT("00ffAb"), b, 4), -EBADMSG);
	assert_int_equal(text_parse_hex(SPAN_LIT("00ffAb1g"), b, 4), -EBADMSG);
	assert_int_equal(text_parse_hex_var(SPAN_LIT("0a0b"), b, 4, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(text_parse_hex_var(SPAN_NONE, b, 4, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(text_parse_hex_var(SPAN_LIT("0a0b0c0d0e"), b, 4, &n), -EBADMSG);
	assert_int_equal(text_parse_hex_var(SPAN_LIT("0a0"), b, 4, &n), -EBADMSG);

	_cleanup_buf_ struct buf out = { 0 };
	text_add_hex(&out, SPAN_LIT("\x01\xfe"));
	assert_string_equal(buf_str(&out), "01fe");
}

static void a_uuid_survives_the_round_trip(void **state)
{
	static const char text[] = "fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe";
	uint8_t u[16];
	char again[TEXT_UUID_BYTES];

	assert_int_equal(text_parse_uuid(SPAN_LIT(text), u), 0);
	assert_int_equal(u[0], 0xfa);
	assert_int_equal(u[15], 0xfe);
	assert_string_equal(text_uuid(u, again), text);
	for (size_t n = 0; n < sizeof(text) - 1; n++)
		assert_int_equal(text_parse_uuid(SPAN(text, n), u), -EBADMSG);
	assert_int_equal(text_parse_uuid(SPAN_LIT("fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe0"), u), -EBADMSG);
	assert_int_equal(text_parse_uuid(SPAN_LIT("fa6b4a53d-5ad-5fdf-be9d-e663e4d41ffe"), u), -EBADMSG);
	assert_int_equal(text_parse_uuid(SPAN_LIT("fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffg"), u), -EBADMSG);
}

/* RFC 4648 section 10 */
static const struct {
	const char *plain, *padded, *url;
} base64_rows[] = {
	{ "", "", "" },
	{ "f", "Zg==", "Zg" },
	{ "fo", "Zm8=", "Zm8" },
	{ "foo", "Zm9v", "Zm9v" },
	{ "foob", "Zm9vYg==", "Zm9vYg" },
	{ "fooba", "Zm9vYmE=", "Zm9vYmE" },
	{ "foobar", "Zm9vYmFy", "Zm9vYmFy" },
	{ "\xfb\xff\xfe", "+//+", "-__-" },
};

static void base64_agrees_with_the_vectors_of_rfc_4648(void **state)
{
	for (size_t i = 0; i < sizeof(base64_rows) / sizeof(*base64_rows); i++) {
		_cleanup_buf_ struct buf b = { 0 };

		text_add_base64(&b, span_str(base64_rows[i].plain));
		assert_string_equal(buf_str(&b), base64_rows[i].padded);
		buf_clear(&b);
		text_add_base64url(&b, span_str(base64_rows[i].plain));
		assert_string_equal(buf_str(&b), base64_rows[i].url);
		buf_clear(&b);
		assert_int_equal(text_parse_base64(span_str(base64_rows[i].padded), &b), 0);
		assert_string_equal(buf_str(&b), base64_rows[i].plain);
		buf_clear(&b);
		assert_int_equal(text_parse_base64url(span_str(base64_rows[i].url), &b), 0);
		assert_string_equal(buf_str(&b), base64_rows[i].plain);
	}
}

static void base64_has_one_text_for_each_value(void **state)
{
	static const char *const bad[] = { "Z", "Zg", "Zg=", "Zg===", "Z===", "====", "Zh==", "Zm9=", "Zm9v\n", " Zm9",
					   "Zg==Zg==", "-__-", "=Zg=" };
	static const char *const bad_url[] = { "Z", "Zh", "Zm9v=", "Zg==", "+//+", "Zm9vY" };
	_cleanup_buf_ struct buf b = { 0 };

	buf_add_str(&b, "kept");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(text_parse_base64(span_str(bad[i]), &b), -EBADMSG);
	for (size_t i = 0; i < sizeof(bad_url) / sizeof(*bad_url); i++)
		assert_int_equal(text_parse_base64url(span_str(bad_url[i]), &b), -EBADMSG);
	assert_string_equal(buf_str(&b), "kept");
	b.max = 5;
	assert_int_equal(text_parse_base64(SPAN_LIT("Zm9v"), &b), -EMSGSIZE);
}

static void only_shortest_form_utf8_without_surrogates_is_utf8(void **state)
{
	static const struct {
		const char *text;
		bool utf8, clean;
	} rows[] = {
		{ "", true, true },
		{ "plain", true, true },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xad", true, true },
		{ "tab\there", true, false },
		{ "\x7f", true, false },
		{ "\xc2\x80", true, false },
		{ "\xc2\x9f", true, false },
		{ "\xc2\xa0", true, true },
		{ "\xc0\xaf", false, false },          /* overlong "/" */
		{ "\xe0\x80\xaf", false, false },
		{ "\xf0\x80\x80\xaf", false, false },
		{ "\xed\xa0\x80", false, false },      /* surrogate */
		{ "\xed\x9f\xbf", true, true },
		{ "\xf4\x8f\xbf\xbf", true, true },    /* U+10FFFF */
		{ "\xf4\x90\x80\x80", false, false },
		{ "\xf8\x88\x80\x80\x80", false, false },
		{ "\x80", false, false },
		{ "\xc3", false, false },
		{ "\xe2\x82", false, false },
		{ "\xf0\x9f\x90", false, false },
		{ "\xc3x", false, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(text_is_utf8(span_str(rows[i].text)), rows[i].utf8);
		assert_int_equal(text_is_clean(span_str(rows[i].text)), rows[i].clean);
	}
	assert_true(text_is_utf8(SPAN_LIT("a\0b")));
	assert_false(text_is_clean(SPAN_LIT("a\0b")));
}

static void peer_text_cannot_forge_lines_or_reorder_them(void **state)
{
	static const struct {
		const char *in;
		size_t max;
		const char *out;
	} rows[] = {
		{ "plain \xc3\xa9", 99, "plain \xc3\xa9" },
		{ "a\nerror: b", 99, "a\\x0aerror: b" },
		{ "\x1b[31m", 99, "\\x1b[31m" },
		{ "\xc2\x9b" "31m", 99, "\\xc2\\x9b31m" },
		{ "\xff\xfe", 99, "\\xff\\xfe" },
		{ "a\\x0a", 99, "a\\\\x0a" },
		{ "\xe2\x80\xae" "fdp", 99, "\\u{202e}fdp" },
		{ "\xe2\x80\xa8", 99, "\\u{2028}" },
		{ "\xe2\x81\xa6", 99, "\\u{2066}" },
		{ "abcdef", 6, "abcdef" },
		{ "abcdef", 5, "abcde..." },
		{ "abcd\xc3\xa9", 5, "abcd..." },
		{ "x", 0, "..." },
		{ "", 0, "" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		text_add_escaped(&b, span_str(rows[i].in), rows[i].max);
		assert_string_equal(buf_str(&b), rows[i].out);
		assert_true(text_is_clean(buf_span(&b)));
	}
}

static void a_copy_that_does_not_fit_is_refused(void **state)
{
	char small[4] = "zzz";

	assert_int_equal(text_copy(small, sizeof(small), SPAN_LIT("abc")), 0);
	assert_string_equal(small, "abc");
	assert_int_equal(text_copy(small, sizeof(small), SPAN_LIT("abcd")), -EMSGSIZE);
	assert_string_equal(small, "abc");
	assert_int_equal(text_copy(small, sizeof(small), SPAN_NONE), 0);
	assert_string_equal(small, "");
	assert_int_equal(text_copy(small, 0, SPAN_NONE), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decimal_numbers_are_read_exactly),
		cmocka_unit_test(hex_is_read_in_either_case_and_exact_length),
		cmocka_unit_test(a_uuid_survives_the_round_trip),
		cmocka_unit_test(base64_agrees_with_the_vectors_of_rfc_4648),
		cmocka_unit_test(base64_has_one_text_for_each_value),
		cmocka_unit_test(only_shortest_form_utf8_without_surrogates_is_utf8),
		cmocka_unit_test(peer_text_cannot_forge_lines_or_reorder_them),
		cmocka_unit_test(a_copy_that_does_not_fit_is_refused),
	};

	return cmocka_run_group_tests_name("base/text", tests, NULL, NULL);
}
