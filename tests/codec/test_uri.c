#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "codec/uri.h"

/* RFC 3986 section 5.4, base http://a/b/c/d;p?q */
static const char *const rfc3986[][2] = {
	{ "g:h", "g:h" }, { "g", "http://a/b/c/g" }, { "./g", "http://a/b/c/g" }, { "g/", "http://a/b/c/g/" },
	{ "/g", "http://a/g" }, { "//g", "http://g" }, { "?y", "http://a/b/c/d;p?y" }, { "g?y", "http://a/b/c/g?y" },
	{ "#s", "http://a/b/c/d;p?q#s" }, { "g#s", "http://a/b/c/g#s" }, { "g?y#s", "http://a/b/c/g?y#s" },
	{ ";x", "http://a/b/c/;x" }, { "g;x", "http://a/b/c/g;x" }, { "g;x?y#s", "http://a/b/c/g;x?y#s" },
	{ "", "http://a/b/c/d;p?q" }, { ".", "http://a/b/c/" }, { "./", "http://a/b/c/" }, { "..", "http://a/b/" },
	{ "../", "http://a/b/" }, { "../g", "http://a/b/g" }, { "../..", "http://a/" }, { "../../", "http://a/" },
	{ "../../g", "http://a/g" }, { "../../../g", "http://a/g" }, { "../../../../g", "http://a/g" }, { "/./g", "http://a/g" },
	{ "/../g", "http://a/g" }, { "g.", "http://a/b/c/g." }, { ".g", "http://a/b/c/.g" }, { "g..", "http://a/b/c/g.." },
	{ "..g", "http://a/b/c/..g" }, { "./../g", "http://a/b/g" }, { "./g/.", "http://a/b/c/g/" }, { "g/./h", "http://a/b/c/g/h" },
	{ "g/../h", "http://a/b/c/h" }, { "g;x=1/./y", "http://a/b/c/g;x=1/y" }, { "g;x=1/../y", "http://a/b/c/y" },
	{ "g?y/./x", "http://a/b/c/g?y/./x" }, { "g?y/../x", "http://a/b/c/g?y/../x" }, { "g#s/./x", "http://a/b/c/g#s/./x" },
	{ "g#s/../x", "http://a/b/c/g#s/../x" }, { "http:g", "http:g" },
};

static void references_resolve_as_in_rfc3986(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rfc3986) / sizeof(*rfc3986); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		assert_int_equal(uri_resolve(SPAN_LIT("http://a/b/c/d;p?q"), span_str(rfc3986[i][0]), 0, &b), 0);
		assert_string_equal(buf_str(&b), rfc3986[i][1]);
	}
}

static void references_resolve_against_other_bases(void **state)
{
	static const char *const rows[][3] = {
		{ "coap://[2001:db8::1]:61616", "/sensors/temp", "coap://[2001:db8::1]:61616/sensors/temp" },
		{ "coap://host", "x", "coap://host/x" },
		{ "coap://host", "../x", "coap://host/x" },
		{ "coap://host", "?q", "coap://host?q" },
		{ "coap://host/a?b", "", "coap://host/a?b" },
		{ "https://u@h:8443/a/b", "//other/x", "https://other/x" },
		{ "tag:x", "y", "tag:y" },
		{ "x:a/b", "../../c", "x:/c" },
		{ "coap://h/a", "/b//..//c/.", "coap://h/b//c/" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		assert_int_equal(uri_resolve(span_str(rows[i][0]), span_str(rows[i][1]), 0, &b), 0);
		assert_string_equal(buf_str(&b), rows[i][2]);
	}
}

static void a_path_never_becomes_an_authority(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	(void)state;
	assert_int_equal(uri_resolve(SPAN_LIT("x:/a"), SPAN_LIT("/.//evil/y"), 0, &b), -EBADMSG);
	buf_clear(&b);
	assert_int_equal(uri_normalize(SPAN_LIT("x:/.//evil/y"), &b), -EBADMSG);
	assert_int_equal(uri_resolve(SPAN_LIT("/a"), SPAN_LIT("b"), 0, &b), -EBADMSG); /* base is not absolute */
}

static void bad_uris_are_refused(void **state)
{
	static const char *const bad[] = {
		"1a:b", ":b", "a b", "http://h/a b", "http://h/\x01", "http://h/%", "http://h/%1", "http://h/%zz", "http://[::1", "http://[::1]x",
		"http://[]/", "http://[1.2.3.4]/", "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://h:x/", "http://h:65536/",
		"http://h:1:2/", "http://h\\x/", "http://a@b@c/", "http://h/<", "http://h/^", "http://h/#a#b", "http://h/\xc3\xa4", "a\"b",
		"http://h/[", "coap://h?[",
	};
	struct uri u;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (uri_parse(span_str(bad[i]), 0, &u) != -EBADMSG)
			fail_msg("row %zu", i);
	}
	assert_int_equal(uri_parse(SPAN_LIT("/\xc3\xa4"), URI_IRI, &u), 0);
	assert_int_equal(uri_parse(SPAN_LIT("/\xc3"), URI_IRI, &u), -EBADMSG);
	assert_int_equal(uri_parse(SPAN_LIT("/\xc2\x80"), URI_IRI, &u), -EBADMSG);
}

static void parts_are_found(void **state)
{
	struct uri u;

	(void)state;
	assert_int_equal(uri_parse(SPAN_LIT("CoAPs://me:pw@[2001:DB8::1]:9/a/b?c=d&e#f"), 0, &u), 0);
	assert_true(span_eq_str(u.scheme, "CoAPs"));
	assert_true(u.has_userinfo && span_eq_str(u.userinfo, "me:pw"));
	assert_true(u.host_is_ip6 && span_eq_str(u.host, "2001:DB8::1"));
	assert_true(u.has_port);
	assert_int_equal(u.port, 9);
	assert_true(span_eq_str(u.path, "/a/b"));
	assert_true(u.has_query && span_eq_str(u.query, "c=d&e"));
	assert_true(u.has_fragment && span_eq_str(u.fragment, "f"));
	assert_int_equal(uri_parse(SPAN_LIT("coaps://h"), 0, &u), 0);
	assert_int_equal(u.port, 5684);
	assert_false(u.has_port);
	assert_int_equal(uri_parse(SPAN_LIT("https://h:/"), 0, &u), 0);
	assert_int_equal(u.port, 443);
	assert_int_equal(uri_parse(SPAN_NONE, 0, &u), 0);
	assert_false(u.has_authority);
	assert_true(span_eq_str(uri_origin(SPAN_LIT("coap://[::1]:7/x?y")), "coap://[::1]:7"));
	assert_true(span_eq_str(uri_origin(SPAN_LIT("coap://h")), "coap://h"));
	assert_int_equal(uri_origin(SPAN_LIT("urn:x")).n, 0);
	assert_int_equal(uri_origin(SPAN_LIT("/x")).n, 0);
}

static void the_length_limit_is_exact(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct uri u;

	(void)state;
	buf_printf(&b, "x:%0*d", URI_BYTES_MAX - 2, 0);
	assert_int_equal(uri_parse(buf_span(&b), 0, &u), 0);
	buf_add_u8(&b, '0');
	assert_int_equal(uri_parse(buf_span(&b), 0, &u), -EMSGSIZE);
}

static void limited_references_are_full_or_rooted(void **state) /* RD-30 */
{
	static const struct {
		const char *ref;
		bool good;
	} rows[] = {
		{ "/sensors/temp", true }, { "/", true }, { "/a?b", true }, { "http://h/x", true }, { "urn:dev:ow:1", true },
		{ "/\xc3\xa4", true }, { "sensors/x", false }, { "//h/x", false }, { "", false }, { "?x", false }, { "#x", false },
		{ "./x", false }, { "/a b", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_int_equal(uri_is_limited(span_str(rows[i].ref)), rows[i].good);
}

static void hosts_are_matched_and_known_as_local(void **state) /* SU-22 */
{
	static const struct {
		const char *uri, *pattern;
		bool matches, local;
	} rows[] = {
		{ "https://Vendor.example/x", "vendor.example", true, false },
		{ "https://fw.vendor.example/x", "vendor.example", false, false },
		{ "https://fw.vendor.example/x", "*.vendor.example", true, false },
		{ "https://vendor.example/x", "*.vendor.example", false, false },
		{ "https://evilvendor.example/x", "*.vendor.example", false, false },
		{ "https://vendor.example.evil/x", "vendor.example", false, false },
		{ "https://vendor.example@evil/x", "vendor.example", false, false },
		{ "file:///etc/passwd", "", false, false },
		{ "https://localhost/", "localhost", true, true },
		{ "https://x.localhost./", "*", false, true },
		{ "https://127.0.0.1/", "127.0.0.1", true, true },
		{ "https://10.1.2.3/", "x", false, true },
		{ "https://172.31.0.1/", "x", false, true },
		{ "https://172.32.0.1/", "x", false, false },
		{ "https://192.168.1.1/", "x", false, true },
		{ "https://169.254.169.254/", "x", false, true },
		{ "https://100.64.0.1/", "x", false, true },
		{ "https://[::1]/", "::1", true, true },
		{ "https://[::ffff:127.0.0.1]/", "x", false, true },
		{ "https://[64:ff9b::10.0.0.1]/", "x", false, true },
		{ "https://[fe80::1]/", "x", false, true },
		{ "https://[fd00::1]/", "x", false, true },
		{ "https://[ff02::1]/", "x", false, true },
		{ "https://[2001:db8::1]/", "x", false, false },
		{ "https://192.0.2.1/", "x", false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct uri u;
		assert_int_equal(uri_parse(span_str(rows[i].uri), 0, &u), 0);
		if (uri_host_matches(&u, span_str(rows[i].pattern)) != rows[i].matches || uri_host_is_local(&u) != rows[i].local)
			fail_msg("row %zu", i);
	}
}

static void link_local_hosts_are_known(void **state)
{
	static const struct {
		const char *uri;
		bool yes;
	} rows[] = {
		{ "coap://[fe80::1]", true }, { "coap://[febf::1]:5", true }, { "coap://169.254.1.1", true },
		{ "coap://[fec0::1]", false }, { "coap://[2001:db8::1]", false }, { "coap://h", false }, { "/x", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct uri u;
		assert_int_equal(uri_parse(span_str(rows[i].uri), 0, &u), 0);
		assert_int_equal(uri_host_is_link_local(&u), rows[i].yes);
	}
}

static void percent_coding_goes_there_and_back(void **state)
{
	_cleanup_buf_ struct buf enc = { 0 }, dec = { 0 };
	uint8_t all[256];

	(void)state;
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)i;
	uri_encode(SPAN_OF(all), "/:", &enc);
	assert_null(strpbrk(buf_str(&enc), " ?#[]@\"<>"));
	assert_int_equal(uri_decode(buf_span(&enc), &dec), 0);
	assert_true(span_eq(buf_span(&dec), SPAN_OF(all)));
	assert_int_equal(uri_decode(SPAN_LIT("%4"), &dec), -EBADMSG);
	assert_int_equal(uri_decode(SPAN_LIT("%4g"), &dec), -EBADMSG);
}

static void pieces_are_split_as_coap_options(void **state) /* RFC 7252 6.4 */
{
	struct span rest = SPAN_LIT("a//b"), s;

	(void)state;
	assert_true(uri_piece_next(&rest, '/', &s) && span_eq_str(s, "a"));
	assert_true(uri_piece_next(&rest, '/', &s) && s.n == 0);
	assert_true(uri_piece_next(&rest, '/', &s) && span_eq_str(s, "b"));
	assert_false(uri_piece_next(&rest, '/', &s));
	rest = SPAN_LIT("");
	assert_true(uri_piece_next(&rest, '&', &s) && s.n == 0);
	assert_false(uri_piece_next(&rest, '&', &s));
	rest = SPAN_LIT("a&");
	assert_true(uri_piece_next(&rest, '&', &s) && span_eq_str(s, "a"));
	assert_true(uri_piece_next(&rest, '&', &s) && s.n == 0);
	assert_false(uri_piece_next(&rest, '&', &s));
}

static void one_spelling_stands_for_all(void **state)
{
	static const char *const rows[][2] = {
		{ "HTTPS://Vendor.EXAMPLE:443/%7Ea/./b/../c", "https://vendor.example/~a/c" },
		{ "coap://h", "coap://h/" },
		{ "coap://h:5683", "coap://h/" },
		{ "coap://h:5684/", "coap://h:5684/" },
		{ "http://h/%2e%2e/x%2fy?%41=%c3%A4", "http://h/x%2Fy?A=%C3%A4" },
		{ "http://u@[2001:DB8::1]/", "http://u@[2001:db8::1]/" },
		{ "urn:X:y", "urn:X:y" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf b = { 0 }, again = { 0 };
		assert_int_equal(uri_normalize(span_str(rows[i][0]), &b), 0);
		assert_string_equal(buf_str(&b), rows[i][1]);
		assert_int_equal(uri_normalize(buf_span(&b), &again), 0);
		assert_string_equal(buf_str(&again), buf_str(&b));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(references_resolve_as_in_rfc3986),
		cmocka_unit_test(references_resolve_against_other_bases),
		cmocka_unit_test(a_path_never_becomes_an_authority),
		cmocka_unit_test(bad_uris_are_refused),
		cmocka_unit_test(parts_are_found),
		cmocka_unit_test(the_length_limit_is_exact),
		cmocka_unit_test(limited_references_are_full_or_rooted),
		cmocka_unit_test(hosts_are_matched_and_known_as_local),
		cmocka_unit_test(link_local_hosts_are_known),
		cmocka_unit_test(percent_coding_goes_there_and_back),
		cmocka_unit_test(pieces_are_split_as_coap_options),
		cmocka_unit_test(one_spelling_stands_for_all),
	};

	return cmocka_run_group_tests_name("codec/uri", tests, NULL, NULL);
}
