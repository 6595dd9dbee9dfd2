/* io/coap.c: the helpers handlers use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "io/coap.h"

static void paths_compare_segment_by_segment(void **state)
{
	static const struct { const char *segment[3]; size_t n; const char *path; bool same; } rows[] = {
		{ { "rd" }, 1, "rd", true }, { { "rd" }, 1, "r", false }, { { "rd" }, 1, "rd-lookup", false },
		{ { "rd", "x" }, 2, "rd/x", true }, { { "rd", "x" }, 2, "rd", false }, { { "rd" }, 1, "rd/x", false },
		{ { "rd/x" }, 1, "rd", false }, { { "", "x" }, 2, "/x", true }, { { NULL }, 0, "", true },
		{ { "r", "d" }, 2, "rd", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct coap_request q = { .n_path = rows[i].n };

		for (size_t k = 0; k < q.n_path; k++)
			q.path[k] = span_str(rows[i].segment[k]);
		assert_int_equal(coap_path_is(&q, rows[i].path), rows[i].same);
	}
}

static void a_query_value_is_found_by_its_whole_name(void **state)
{
	struct coap_request q = { .query = { SPAN_LIT("epx=1"), SPAN_LIT("ep=a&b=c"), SPAN_LIT("ep=2"), SPAN_LIT("obs") }, .n_query = 4 };
	struct span v;

	assert_true(coap_query_get(&q, "ep", &v));
	assert_true(span_eq_str(v, "a&b=c")); /* one option is one parameter (T9) */
	assert_true(coap_query_get(&q, "obs", &v));
	assert_int_equal(v.n, 0);
	assert_false(coap_query_get(&q, "b", &v));
	assert_false(coap_query_get(&q, "e", &v));
}

static void etags_compare_by_length_and_bytes(void **state)
{
	struct coap_etag a = coap_etag_of(SPAN_LIT("abc")), b = a, c = { .n = 2, .b = { 1, 2 } };
	struct coap_request q = { .etag = { c, a }, .n_etag = 2 };

	assert_int_equal(a.n, 8);
	assert_int_equal(a.b[0], 0xba); /* SHA-256("abc") */
	assert_true(coap_etag_eq(&a, &b));
	b.n = 7;
	assert_false(coap_etag_eq(&a, &b));
	assert_true(coap_request_has_etag(&q, &a));
	assert_false(coap_request_has_etag(&q, &b));
}

static unsigned released;
static void on_release(void *ctx) { released++; }

static void an_error_replaces_all_that_was_set(void **state)
{
	struct coap_response r;

	coap_response_init(&r);
	assert_int_equal(r.code, COAP_500_INTERNAL);
	r.content_format = COAP_CF_CBOR;
	buf_add_str(&r.body, "half a body");
	r.reader.release = on_release;
	assert_int_equal(coap_error(&r, COAP_404_NOT_FOUND, "no %s", "node1"), 0);
	assert_int_equal(released, 1);
	assert_int_equal(r.code, COAP_404_NOT_FOUND);
	assert_int_equal(r.content_format, COAP_CF_NONE);
	assert_string_equal(buf_str(&r.body), "no node1");
	coap_response_done(&r);
	assert_int_equal(released, 1);
}

static void accept_is_absent_or_the_same(void **state)
{
	struct coap_request q = { .accept = COAP_CF_NONE };

	assert_true(coap_request_accepts(&q, COAP_CF_LINK));
	q.accept = COAP_CF_LINK;
	assert_true(coap_request_accepts(&q, COAP_CF_LINK));
	assert_false(coap_request_accepts(&q, COAP_CF_CBOR));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_compare_segment_by_segment),
		cmocka_unit_test(a_query_value_is_found_by_its_whole_name),
		cmocka_unit_test(etags_compare_by_length_and_bytes),
		cmocka_unit_test(an_error_replaces_all_that_was_set),
		cmocka_unit_test(accept_is_absent_or_the_same),
	};
	return cmocka_run_group_tests_name("io/coap", tests, NULL, NULL);
}
