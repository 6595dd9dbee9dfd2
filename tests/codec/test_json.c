#include <errno.h>

#include "codec/json.h"
#include "vectors.h"

static int parse(const char *text, struct json_doc **ret)
{
	char error[160];
	int r = json_parse(span_str(text), ret, error, sizeof(error));

	if (r < 0) {
		assert_true(strlen(error) > 0);
		for (const char *c = error; *c; c++)
			assert_in_range(*c, ' ', '~');
	}
	return r;
}

static void what_is_not_json_is_refused(void **state)
{
	static const struct {
		const char *text;
		int expected;
	} rows[] = {
		{ "", -EBADMSG }, { "null", -EBADMSG }, { "1", -EBADMSG }, { "{", -EBADMSG }, { "[1,]", -EBADMSG }, { "{}x", -EBADMSG },
		{ "{\"a\":1,\"a\":2}", -EBADMSG }, { "[\"\\u0000\"]", -EBADMSG }, { "[\"\xff\"]", -EBADMSG }, { "[\"\x01\"]", -EBADMSG },
		{ "[99999999999999999999]", -EBADMSG }, { "[1e999]", -EBADMSG }, { "['a']", -EBADMSG }, { "[\"\\ud800\"]", -EBADMSG },
		{ "[NaN]", -EBADMSG }, { "{a:1}", -EBADMSG }, { "[01]", -EBADMSG }, { "[\"a]", -EBADMSG }, { "]", -EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_doc *doc = NULL;
		assert_int_equal(parse(rows[i].text, &doc), rows[i].expected);
		assert_null(doc);
	}
	struct json_doc *doc = NULL;
	assert_int_equal(json_parse(SPAN("[\"a\0b\"]", 7), &doc, NULL, 0), -EBADMSG);
}

static int parse_nested(size_t depth, char open, char close)
{
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;

	for (size_t i = 0; i < depth; i++)
		buf_add_str(&b, open == '[' || i == 0 ? (open == '[' ? "[" : "{") : "\"a\":{");
	for (size_t i = 0; i < depth; i++)
		buf_add_u8(&b, (uint8_t)close);
	return json_parse(buf_span(&b), &doc, NULL, 0);
}

static int parse_list(size_t n, size_t padding)
{
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;

	buf_add_u8(&b, '[');
	for (size_t i = 0; i < n; i++)
		buf_add_str(&b, i ? ",1" : "1");
	buf_add_u8(&b, ']');
	while (b.n < padding)
		buf_add_u8(&b, ' ');
	return json_parse(buf_span(&b), &doc, NULL, 0);
}

static void limits_hold_to_the_last(void **state)
{
	(void)state;
	assert_int_equal(parse_nested(JSON_DEPTH_MAX, '[', ']'), 0);
	assert_int_equal(parse_nested(JSON_DEPTH_MAX + 1, '[', ']'), -E2BIG);
	assert_int_equal(parse_nested(JSON_DEPTH_MAX, '{', '}'), 0);
	assert_int_equal(parse_nested(JSON_DEPTH_MAX + 1, '{', '}'), -E2BIG);
	assert_int_equal(parse_nested(1000000, '[', ']'), -E2BIG);
	assert_int_equal(parse_list(JSON_VALUES_MAX - 1, 0), 0); /* and the list itself */
	assert_int_equal(parse_list(JSON_VALUES_MAX, 0), -EMSGSIZE);
	assert_int_equal(parse_list(1, JSON_BYTES_MAX), 0);
	assert_int_equal(parse_list(1, JSON_BYTES_MAX + 1), -EMSGSIZE);
}

static void brackets_in_strings_are_not_nesting(void **state)
{
	struct json_doc *doc = NULL;

	(void)state;
	assert_int_equal(parse("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\",\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\\\"]", &doc), 0);
	assert_int_equal(json_n(json_root(doc)), 2);
	json_doc_free(doc);
}

static void values_are_found_by_type(void **state)
{
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;
	int64_t i = 99;
	bool b = false;

	(void)state;
	assert_int_equal(parse("{\"s\":\"x\",\"i\":-9223372036854775808,\"b\":true,\"a\":[1,\"two\"],\"n\":null,\"r\":1.5}", &doc), 0);
	const struct json_value *root = json_root(doc), *a = json_get(root, "a");
	assert_true(json_is_object(root) && json_is_array(a) && !json_is_array(root) && !json_is_object(a));
	assert_string_equal(json_get_str(root, "s"), "x");
	assert_null(json_get_str(root, "i"));
	assert_null(json_get(root, "absent"));
	assert_null(json_get(a, "s"));
	assert_null(json_get(NULL, "s"));
	assert_true(json_get_int(root, "i", &i) && i == INT64_MIN);
	assert_false(json_get_int(root, "r", &i));
	assert_true(json_get_bool(root, "b", &b) && b);
	assert_false(json_get_bool(root, "n", &b));
	assert_int_equal(json_n(a), 2);
	assert_int_equal(json_n(root), 6);
	assert_int_equal(json_n(json_get(root, "s")), 0);
	assert_string_equal(json_as_str(json_at(a, 1)), "two");
	assert_null(json_at(a, 2));
	assert_null(json_at(root, 0));
}

static void kinds_are_told(void **state)
{
	static const enum json_kind kinds[] = { JSON_KIND_NULL, JSON_KIND_BOOL, JSON_KIND_INT, JSON_KIND_REAL, JSON_KIND_STR,
						JSON_KIND_ARRAY, JSON_KIND_OBJECT };
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;

	(void)state;
	assert_int_equal(parse("[null,true,1,1.5,\"x\",[],{}]", &doc), 0);
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(json_kind_of(json_at(json_root(doc), i)), kinds[i]);
	assert_int_equal(json_kind_of(NULL), JSON_KIND_NULL);
	assert_true(json_as_bool(json_at(json_root(doc), 1)) && !json_as_bool(json_at(json_root(doc), 2)));
	assert_true(json_as_real(json_at(json_root(doc), 3)) == 1.5 && json_as_real(json_at(json_root(doc), 4)) == 0);
}

static void objects_are_walked_in_their_order(void **state)
{
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;
	_cleanup_buf_ struct buf keys = { 0 }, dump = { 0 };

	(void)state;
	assert_int_equal(parse(" { \"z\": 1, \"a\": [true, null], \"m\": \"\xc3\xa4\" } ", &doc), 0);
	for (const void *it = json_first(json_root(doc)); it; it = json_next(json_root(doc), it)) {
		assert_non_null(json_iter_value(it));
		buf_add_str(&keys, json_iter_key(it));
	}
	assert_string_equal(buf_str(&keys), "zam");
	json_dump(json_root(doc), false, &dump);
	assert_string_equal(buf_str(&dump), "{\"z\":1,\"a\":[true,null],\"m\":\"\xc3\xa4\"}");
	buf_clear(&dump);
	json_dump(json_get(json_root(doc), "a"), true, &dump);
	assert_string_equal(buf_str(&dump), "[\n  true,\n  null\n]");
	assert_null(json_first(json_get(json_root(doc), "a")));
}

static void the_writer_keeps_commas_and_nesting(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct json_out j = json_writer(&b);

	(void)state;
	json_open_object(&j, NULL);
	json_str(&j, "s", "x");
	json_str(&j, "none", NULL);
	json_open_array(&j, "a");
	json_int(&j, NULL, INT64_MIN);
	json_uint(&j, NULL, UINT64_MAX);
	json_open_object(&j, NULL);
	json_close_object(&j);
	json_bool(&j, NULL, false);
	json_close_array(&j);
	json_null(&j, "n");
	json_hex(&j, "h", SPAN_LIT("\x00\xff"));
	json_raw(&j, "raw", SPAN_LIT("[1]"));
	json_close_object(&j);
	assert_string_equal(buf_str(&b), "{\"s\":\"x\",\"none\":null,\"a\":[-9223372036854775808,18446744073709551615,{},false],"
					 "\"n\":null,\"h\":\"00ff\",\"raw\":[1]}");
	assert_int_equal(j.depth, 0);
}

static void strings_are_escaped_and_bad_utf8_replaced(void **state)
{
	static const struct {
		const char *in;
		size_t n;
		const char *out;
	} rows[] = {
		{ "a\"b\\c", 5, "a\\\"b\\\\c" }, { "\n\t\r\x01\x7f", 5, "\\n\\t\\u000d\\u0001\\u007f" }, { "a\0b", 3, "a\\u0000b" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "\xff\xc3", 2, "\xef\xbf\xbd\xef\xbf\xbd" }, { "\xe2\x82", 2, "\xef\xbf\xbd\xef\xbf\xbd" }, { "\xed\xa0\x80!", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd!" },
		{ "", 0, "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_buf_ struct buf b = { 0 }, expected = { 0 };
		struct json_out j = json_writer(&b);
		json_span(&j, NULL, SPAN(rows[i].in, rows[i].n));
		buf_printf(&expected, "\"%s\"", rows[i].out);
		assert_string_equal(buf_str(&b), buf_str(&expected));
	}
}

static void what_is_written_is_read_again(void **state)
{
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;
	_cleanup_buf_ struct buf b = { 0 };
	struct json_out j = json_writer(&b);
	char all[128];

	(void)state;
	for (size_t i = 0; i < 127; i++)
		all[i] = (char)(i + 1);
	all[127] = 0;
	json_open_object(&j, NULL);
	json_str(&j, all, all);
	json_close_object(&j);
	assert_int_equal(json_parse(buf_span(&b), &doc, NULL, 0), 0);
	assert_string_equal(json_get_str(json_root(doc), all), all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_json_is_refused),
		cmocka_unit_test(limits_hold_to_the_last),
		cmocka_unit_test(brackets_in_strings_are_not_nesting),
		cmocka_unit_test(values_are_found_by_type),
		cmocka_unit_test(kinds_are_told),
		cmocka_unit_test(objects_are_walked_in_their_order),
		cmocka_unit_test(the_writer_keeps_commas_and_nesting),
		cmocka_unit_test(strings_are_escaped_and_bad_utf8_replaced),
		cmocka_unit_test(what_is_written_is_read_again),
	};

	return cmocka_run_group_tests_name("codec/json", tests, NULL, NULL);
}
