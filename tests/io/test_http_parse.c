/* io/http_parse: request heads and chunked bodies, taken strictly (RFC 9112). */
#include "io/http_parse.h"

#include <errno.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "io/http_server.h"

static int parse(struct span in, struct http_head *ret, char **ret_text)
{
	*ret_text = mem_strndup(in);
	return http_head_parse(*ret_text, in.n, ret);
}

#define GET(target_) "GET " target_ " HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define WITH(fields_) "POST /a HTTP/1.1\r\nHost: localhost\r\n" fields_ "\r\n\r\n"

static void heads_are_judged(void **state)
{
	static const struct {
		int status;
		const char *text;
	} cases[] = {
		{ 0, GET("/") },
		{ 0, GET("/a/b%20c?x=1&y=%C3%A4+b&z") },
		{ 0, GET("http://localhost/a") },
		{ 0, "GET / HTTP/1.0\r\n\r\n" },
		{ 0, "GET / HTTP/1.9\r\nHost: a\r\n\r\n" },
		{ 0, WITH("Content-Length: 12") },
		{ 0, WITH("Transfer-Encoding: chunked") },
		{ 0, WITH("X-Odd:\t \xc3\xa4 tab\there  ") },
		/* Request lines (RFC 9112 section 3) */
		{ 400, "\r\n\r\n" },
		{ 400, "GET\r\n\r\n" },
		{ 400, "GET /\r\n\r\n" },
		{ 400, " GET / HTTP/1.1\r\n\r\n" },
		{ 400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n" },
		{ 400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n" },
		{ 400, "G@T / HTTP/1.1\r\nHost: a\r\n\r\n" },
		{ 400, "GET / http/1.1\r\nHost: a\r\n\r\n" },
		{ 505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n" },
		{ 400, "GET / HTTP/1.11\r\nHost: a\r\n\r\n" },
		{ 505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n" },
		{ 501, "BREW / HTTP/1.1\r\nHost: a\r\n\r\n" },
		{ 501, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" },
		{ 501, "get / HTTP/1.1\r\nHost: a\r\n\r\n" },
		/* Targets (RFC 3986) */
		{ 400, GET("a") },
		{ 400, GET("http:///a") },
		{ 400, GET("http://localhost") },
		{ 400, GET("/../etc/passwd") },
		{ 400, GET("/a/./b") },
		{ 400, GET("/a/..") },
		{ 400, GET("/%2e%2e/x") },
		{ 400, GET("/a%2fb") },
		{ 400, GET("/a%5cb") },
		{ 400, GET("/a\\b") },
		{ 400, GET("/%00") },
		{ 400, GET("/%0a") },
		{ 400, GET("/%ff") },
		{ 400, GET("/%c0%af") },
		{ 400, GET("/%") },
		{ 400, GET("/%4") },
		{ 400, GET("/%zz") },
		{ 400, GET("/a#b") },
		{ 400, GET("/\xc3\xa4") },
		{ 400, GET("/?a=%ff") },
		{ 400, GET("/?a=%00") },
		{ 400, GET("/?a=%1") },
		{ 0, GET("/...") },
		{ 0, GET("/.well-known/core") },
		/* Fields (RFC 9112 section 5) */
		{ 400, "GET / HTTP/1.1\r\n\r\n" },                     /* no Host */
		{ 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n" },
		{ 400, WITH("X: a\r\n folded") },
		{ 400, WITH("X : a") },
		{ 400, WITH(": a") },
		{ 400, WITH("X") },
		{ 400, WITH("X: a\nY: b") },
		{ 400, WITH("X: a\rb") },
		{ 400, WITH("X: a\x01") },
		{ 400, WITH("X: a\x7f") },
		{ 400, WITH("X\xc3\xa4: a") },
		/* Lengths (RFC 9112 section 6): what smuggling is made of */
		{ 400, WITH("Content-Length: 1\r\nTransfer-Encoding: chunked") },
		{ 400, WITH("Content-Length: 1\r\nContent-Length: 1") },
		{ 400, WITH("Content-Length: 1, 1") },
		{ 400, WITH("Content-Length: +1") },
		{ 400, WITH("Content-Length: -1") },
		{ 400, WITH("Content-Length: 0x1") },
		{ 400, WITH("Content-Length:") },
		{ 400, WITH("Content-Length: 9223372036854775808") },
		{ 400, WITH("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked") },
		{ 501, WITH("Transfer-Encoding: gzip, chunked") },
		{ 501, WITH("Transfer-Encoding: identity") },
		{ 400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" },
		{ 417, WITH("Expect: miracles") },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct http_head h;
		_cleanup_free_ char *text = NULL;
		int status = parse(span_str(cases[i].text), &h, &text);
		if (status != cases[i].status)
			fail_msg("case %zu gave %d instead of %d:\n%s", i, status, cases[i].status, cases[i].text);
	}
}

static void a_nul_is_refused_anywhere(void **state)
{
	static const char good[] = GET("/a?b=c");

	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		struct http_head h;
		_cleanup_free_ char *text = mem_strndup(span_str(good));
		text[i] = 0;
		assert_int_equal(http_head_parse(text, sizeof(good) - 1, &h), 400);
	}
}

static void a_head_is_taken_apart(void **state)
{
	static const char in[] = "HEAD /d%C3%A4/x?ep=a%26b&ep=2&&flag&s=a+b HTTP/1.1\r\nhOST: gw:8080\r\nAccept: */*\r\n"
				 "Connection: keep-alive, Close\r\nEXPECT: 100-Continue\r\ncontent-length: 007\r\n\r\n";
	struct http_head h;
	_cleanup_free_ char *text = NULL;

	assert_int_equal(parse(span_str(in), &h, &text), 0);
	assert_int_equal(h.method, HTTP_HEAD);
	assert_string_equal(h.path, "/d\xc3\xa4/x");
	assert_string_equal(h.host, "gw:8080");
	assert_int_equal(h.n_query, 4);
	assert_string_equal(h.query[0].value, "a&b");
	assert_string_equal(h.query[1].value, "2");
	assert_string_equal(h.query[2].name, "flag");
	assert_string_equal(h.query[2].value, "");
	assert_string_equal(h.query[3].value, "a b");
	assert_string_equal(http_head_field(&h, "accept"), "*/*");
	assert_null(http_head_field(&h, "Accep"));
	assert_int_equal(h.body_bytes, 7);
	assert_false(h.keep_alive);
	assert_true(h.expects_continue);
	assert_false(h.is_chunked);
}

static void the_authority_of_an_absolute_target_counts(void **state)
{
	struct http_head h;
	_cleanup_free_ char *text = NULL;

	assert_int_equal(parse(span_str("GET http://gw.example:80/x?y=1 HTTP/1.1\r\nHost: other\r\n\r\n"), &h, &text), 0);
	assert_string_equal(h.host, "gw.example:80");
	assert_string_equal(h.path, "/x");
}

static void keep_alive_follows_the_version(void **state)
{
	static const struct {
		const char *text;
		bool keep;
	} cases[] = {
		{ "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true },
		{ "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false },
		{ "GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", true },
		{ "GET / HTTP/1.0\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct http_head h;
		_cleanup_free_ char *text = NULL;
		assert_int_equal(parse(span_str(cases[i].text), &h, &text), 0);
		assert_int_equal(h.keep_alive, cases[i].keep);
	}
}

static int parse_repeated(const char *before, const char *unit, size_t n, const char *after)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct http_head h;

	buf_add_str(&b, before);
	for (size_t i = 0; i < n; i++)
		buf_add_str(&b, unit);
	buf_add_str(&b, after);
	return http_head_parse((char *)b.p, b.n, &h);
}

static void counts_are_limited(void **state)
{
	static const char fields[] = "GET / HTTP/1.1\r\nHost: a\r\n", get[] = "GET /", end[] = " HTTP/1.1\r\nHost: a\r\n\r\n";

	assert_int_equal(parse_repeated(fields, "X: y\r\n", HTTP_FIELDS_MAX - 1, "\r\n"), 0);
	assert_int_equal(parse_repeated(fields, "X: y\r\n", HTTP_FIELDS_MAX, "\r\n"), 431);
	assert_int_equal(parse_repeated("GET /?", "a&", HTTP_QUERY_MAX, end), 0);
	assert_int_equal(parse_repeated("GET /?", "a&", HTTP_QUERY_MAX + 1, end), 414);
	assert_int_equal(parse_repeated(get, "a", HTTP_TARGET_BYTES_MAX - 1, end), 0);
	assert_int_equal(parse_repeated(get, "a", HTTP_TARGET_BYTES_MAX, end), 414);
}

/* Chunks */

static int feed(struct span in, size_t piece, size_t max, struct buf *body, size_t *ret_used)
{
	struct http_chunks c = { 0 };
	int r = 0;

	*ret_used = 0;
	body->max = max;
	while (r == 0 && *ret_used < in.n) {
		size_t used;
		r = http_chunks_feed(&c, span_sub(in, *ret_used, piece), body, &used);
		*ret_used += used;
	}
	return r;
}

static void chunks_are_put_together_whatever_the_pieces(void **state)
{
	static const char in[] = "5\r\nhello\r\n0A ; ext=\"x\"\r\n, world...\r\n00\r\nTrailer: gone\r\n\r\nGET /next";

	for (size_t piece = 1; piece <= sizeof(in) - 1; piece++) {
		_cleanup_buf_ struct buf body = { 0 };
		size_t used;
		assert_int_equal(feed(SPAN_LIT(in), piece, 100, &body, &used), 1);
		assert_string_equal(buf_str(&body), "hello, world...");
		assert_int_equal(used, sizeof(in) - 1 - 9);
	}
	for (size_t n = 0; n < sizeof(in) - 1 - 9; n++) { /* every truncation */
		_cleanup_buf_ struct buf body = { 0 };
		size_t used;
		assert_int_equal(feed(SPAN(in, n), 7, 100, &body, &used), 0);
	}
}

static void bad_chunks_are_refused(void **state)
{
	static const struct {
		int r;
		const char *text;
	} cases[] = {
		{ -EBADMSG, "\r\n" }, { -EBADMSG, "x\r\n" }, { -EBADMSG, "-1\r\n" }, { -EBADMSG, "5\nhello" }, { -EBADMSG, " 5\r\n" },
		{ -EBADMSG, "5\r\nhelloX" }, { -EBADMSG, "5\r\nhello\rX" }, { -EBADMSG, "5;\n" }, { -EBADMSG, "5;a\x01" },
		{ -EBADMSG, "0\r\n\n" }, { -EBADMSG, "0\r\nA: b\n" }, { -EBADMSG, "0\r\nA\rb" }, { -EBADMSG, "5 5\r\nhello\n" },
		{ -EMSGSIZE, "fffffffff\r\n" }, { -EMSGSIZE, "000000001\r\n" }, { -EMSGSIZE, "b\r\nhello world" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		_cleanup_buf_ struct buf body = { 0 };
		size_t used;
		int r = feed(span_str(cases[i].text), 100, 10, &body, &used);
		if (r != cases[i].r)
			fail_msg("case %zu gave %d instead of %d", i, r, cases[i].r);
	}
}

static void chunk_lines_and_trailers_are_limited(void **state)
{
	static const struct {
		const char *before;
		size_t n;
		const char *after;
		int r;
	} cases[] = {
		{ "0;", HTTP_CHUNK_LINE_BYTES_MAX - 3, "\r\n\r\n", 1 },
		{ "0;", HTTP_CHUNK_LINE_BYTES_MAX - 2, "\r\n\r\n", -EBADMSG },
		{ "0\r\n", HTTP_TRAILER_BYTES_MAX - 2, "\r\n\r\n", 1 },
		{ "0\r\n", HTTP_TRAILER_BYTES_MAX - 1, "\r\n\r\n", -EBADMSG },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		_cleanup_buf_ struct buf in = { 0 }, body = { 0 };
		size_t used;
		buf_add_str(&in, cases[i].before);
		for (size_t k = 0; k < cases[i].n; k++)
			buf_add_u8(&in, 'a');
		buf_add_str(&in, cases[i].after);
		assert_int_equal(feed(buf_span(&in), 1000, 10, &body, &used), cases[i].r);
	}
}

static void hosts_of_this_machine_are_known(void **state)
{
	static const char *const names[] = { "gateway.example", "gw" };
	static const struct {
		const char *host;
		bool known;
	} cases[] = {
		{ "localhost", true }, { "LOCALHOST:8080", true }, { "127.0.0.1", true }, { "127.0.0.1:1", true }, { "192.0.2.7", true },
		{ "[::1]", true }, { "[::1]:80", true }, { "gw", true }, { "GW:8", true }, { "gateway.example:8080", true },
		{ "evil.example", false }, { "localhost.evil.example", false }, { "127.0.0.1.evil.example", false }, { "", false },
		{ "[::1", false }, { "[::1]x", false }, { "[evil]", false }, { "evil@localhost", false }, { "0x7f.1", false }, { NULL, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (http_host_is_known(cases[i].host, names, 2) != cases[i].known)
			fail_msg("%s", cases[i].host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heads_are_judged),
		cmocka_unit_test(a_nul_is_refused_anywhere),
		cmocka_unit_test(a_head_is_taken_apart),
		cmocka_unit_test(the_authority_of_an_absolute_target_counts),
		cmocka_unit_test(keep_alive_follows_the_version),
		cmocka_unit_test(counts_are_limited),
		cmocka_unit_test(chunks_are_put_together_whatever_the_pieces),
		cmocka_unit_test(bad_chunks_are_refused),
		cmocka_unit_test(chunk_lines_and_trailers_are_limited),
		cmocka_unit_test(hosts_of_this_machine_are_known),
	};
	return cmocka_run_group_tests_name("io/http_parse", tests, NULL, NULL);
}
