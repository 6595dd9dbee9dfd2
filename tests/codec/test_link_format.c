#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>

#include "codec/link_format.h"

/* Number of links, or the error. */
static int count(struct span doc)
{
	struct link_reader r;
	struct weblink l;
	int n = 0, e;

	for (link_reader_init(&r, doc); (e = link_reader_next(&r, &l)) > 0; n++)
		;
	if (e < 0) /* an error sticks */
		assert_int_equal(link_reader_next(&r, &l), e);
	return e < 0 ? e : n;
}

/* As the reader gave it, written again. */
static void rewrite(struct span doc, struct buf *b)
{
	struct link_writer w = { .b = b };
	struct link_reader r;
	struct link_param p;
	struct weblink l;

	for (link_reader_init(&r, doc); link_reader_next(&r, &l) > 0;) {
		link_write(&w, l.target);
		for (size_t pos = 0; weblink_param(&l, &pos, &p);)
			link_write_param(&w, &p);
	}
}

static const struct {
	const char *doc;
	int n;
} docs[] = {
	/* RFC 6690 section 5 */
	{ "</sensors>;ct=40;title=\"Sensor Index\",</sensors/temp>;rt=\"temperature-c\";if=\"sensor\","
	  "</sensors/light>;rt=\"light-lux\";if=\"sensor\",<http://www.example.com/sensors/t123>;anchor=\"/sensors/temp\""
	  ";rel=\"describedby\",</t>;anchor=\"/sensors/temp\";rel=\"alternate\"", 5 },
	{ "</firmware/v2.1>;rt=\"firmware\";sz=262144", 1 },
	{ "", 0 },
	{ "<>", 1 },
	{ "</a>", 1 },
	{ "</a>;obs", 1 },
	{ "</a>;title=\"a,b;c<d>\\\"e\",</b>", 2 }, /* LF-2 */
	{ "</a>;title=\"\"", 1 },
	{ "</a>;title*=UTF-8'de'n%c3%a4chstes", 1 },
	{ "</a>;rt=\"a b\";if=x;rel=hosts", 1 },
	{ "</a>;ct=\"0 40\";sz=0", 1 },
	{ "</a>;ver=1.1", 1 },
	{ "</a>;p=<x>", 1 },
	{ "</gr\xc3\xbc\xc3\x9f\x65>", 1 },
	{ " </a>;\r\n rt=x,\n\t</b>;\n obs\n", 2 }, /* LF-7 */
	{ "<", -EBADMSG },
	{ "/a", -EBADMSG },
	{ "</a", -EBADMSG },
	{ "</a b>", -EBADMSG },
	{ "</a\">", -EBADMSG },
	{ "</a>,", -EBADMSG },
	{ ",</a>", -EBADMSG },
	{ "</a>,,</b>", -EBADMSG },
	{ "</a></b>", -EBADMSG },
	{ "</a>;", -EBADMSG },
	{ "</a>;=x", -EBADMSG },
	{ "</a>;rt=", -EBADMSG },
	{ "</a>;rt", -EBADMSG },
	{ "</a>;title=\"x", -EBADMSG },
	{ "</a>;title=\"x\\", -EBADMSG },
	{ "</a>;title=\"x\"y", -EBADMSG },
	{ "</a>;title=\"x\ny\"", -EBADMSG },
	{ "</a>;title=\"\xff\"", -EBADMSG },
	{ "</\xff>", -EBADMSG },
	{ "</a>;title*=\"x\"", -EBADMSG },
	{ "</a>;title*", -EBADMSG },
	{ "</a>;sz=01", -EBADMSG },
	{ "</a>;sz=x", -EBADMSG },
	{ "</a>;ct=\"0 x\"", -EBADMSG },
	{ "</a>;rt=\"a\\b\"", -EBADMSG },
	{ "</a>;a b=c", -EBADMSG },
};

static void documents_are_read_or_refused(void **state) /* LF-1 LF-2 LF-3 LF-7 */
{
	(void)state;
	for (size_t i = 0; i < sizeof(docs) / sizeof(*docs); i++) {
		if (count(span_str(docs[i].doc)) != docs[i].n)
			fail_msg("row %zu", i);
	}
}

static void every_truncation_is_read_or_refused_without_reading_past_it(void **state) /* LF-8 */
{
	(void)state;
	for (size_t i = 0; i < sizeof(docs) / sizeof(*docs); i++)
		for (size_t n = 0; n <= strlen(docs[i].doc); n++) {
			uint8_t *copy = malloc(n ? n : 1); /* so that ASan sees a read past the end */
			memcpy(copy, docs[i].doc, n);
			assert_true(count(SPAN(copy, n)) >= -EMSGSIZE);
			free(copy);
		}
}

static void what_was_read_is_written_byte_for_byte(void **state) /* LF-6 */
{
	(void)state;
	for (size_t i = 0; i < sizeof(docs) / sizeof(*docs); i++) {
		_cleanup_buf_ struct buf b = { 0 }, again = { 0 };
		if (docs[i].n < 0)
			continue;
		rewrite(span_str(docs[i].doc), &b);
		if (!strpbrk(docs[i].doc, "\r\n\t"))
			assert_string_equal(buf_str(&b), docs[i].doc);
		assert_null(strpbrk(buf_str(&b), "\r\n\t"));
		rewrite(buf_span(&b), &again);
		assert_string_equal(buf_str(&again), buf_str(&b));
	}
}

static void limits_hold_at_the_limit_and_one_above(void **state) /* LF-8 */
{
	(void)state;
	for (int over = 0; over < 2; over++) {
		int want = over ? -EMSGSIZE : 1;
		_cleanup_buf_ struct buf target = { 0 }, params = { 0 }, name = { 0 }, value = { 0 }, doc = { 0 };

		buf_printf(&target, "<%0*d>", LINK_TARGET_BYTES_MAX + over, 0);
		assert_int_equal(count(buf_span(&target)), want);
		buf_add_str(&params, "<>");
		for (int i = 0; i < LINK_PARAMS_MAX + over; i++)
			buf_add_str(&params, ";a");
		assert_int_equal(count(buf_span(&params)), want);
		buf_printf(&name, "<>;%0*d", LINK_NAME_BYTES_MAX + over, 0);
		assert_int_equal(count(buf_span(&name)), want);
		buf_printf(&value, "<>;a=\"%0*d\"", LINK_VALUE_BYTES_MAX + over, 0);
		assert_int_equal(count(buf_span(&value)), want);
		buf_add_str(&doc, "<>;a=b");
		while (doc.n < (size_t)LINK_DOC_BYTES_MAX + (size_t)over)
			buf_add_u8(&doc, ' ');
		assert_int_equal(count(buf_span(&doc)), want);
	}
}

static const struct {
	const char *link, *name, *want;
	bool matches;
} matching[] = {
	{ "</>;rt=\"a b\"", "rt", "a", true },
	{ "</>;rt=\"a b\"", "rt", "b", true }, /* LF-3 */
	{ "</>;rt=\"a b\"", "rt", "a b", false },
	{ "</>;rt=\"light-lux x\"", "rt", "light*", true },
	{ "</>;rt=\"x light-lux\"", "rt", "light*", true },
	{ "</>;rt=\"xlight\"", "rt", "light*", false },
	{ "</>;rt=a;rt=b", "rt", "b", false }, /* LF-4: the first counts */
	{ "</>;if=\"example.regname tag:example.net,2020:sensor\"", "if", "tag:example.net,2020:sensor", true }, /* RFC 9176 6.1 */
	{ "</>;title=\"a b\"", "title", "a b", true },
	{ "</>;title=\"a b\"", "title", "a", false },
	{ "</>;title=\"a b\"", "title", "a*", true },
	{ "</>;title=\"a\\\"b\"", "title", "a\"b", true },
	{ "</>;title=\"a\\\"b\"", "title", "a\"*", true },
	{ "</>;title=\"a\\\"b\"", "title", "a\\\"b", false },
	{ "</>;title=\"a\\\"b\"", "title", "a\"bc*", false },
	{ "</>;title=\"\"", "title", "", true },
	{ "</>;title=\"\"", "title", "*", true },
	{ "</>;title=x", "title", "", false },
	{ "</>;obs", "obs", "", false },
	{ "</>;obs", "obs", "*", false },
	{ "</>;ct=\"0 40\"", "ct", "40", true },
	{ "</>;ct=40", "ct", "4", false },
	{ "</>;sz=40", "sz", "4*", true },
};

static void attributes_match_by_value_token_or_prefix(void **state) /* LF-3 LF-4 LF-5 RD-55 */
{
	(void)state;
	for (size_t i = 0; i < sizeof(matching) / sizeof(*matching); i++) {
		struct link_reader r;
		struct weblink l;
		struct link_param p;

		link_reader_init(&r, span_str(matching[i].link));
		assert_int_equal(link_reader_next(&r, &l), 1);
		assert_true(weblink_get(&l, matching[i].name, &p));
		if (link_param_matches(&p, span_str(matching[i].want)) != matching[i].matches)
			fail_msg("row %zu", i);
	}
}

static void values_come_back_unescaped(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct link_reader r;
	struct weblink l;
	struct link_param p;

	(void)state;
	link_reader_init(&r, SPAN_LIT("</>;title=\"a,\\\"b\\\\\";x=\"\\y\""));
	assert_int_equal(link_reader_next(&r, &l), 1);
	assert_true(weblink_get(&l, "title", &p));
	link_value_add(&b, &p);
	assert_string_equal(buf_str(&b), "a,\"b\\");
	assert_true(weblink_get(&l, "x", &p));
	link_value_add(&b, &p);
	assert_string_equal(buf_str(&b), "a,\"b\\y");
	assert_false(weblink_get(&l, "y", &p));
}

static void the_writer_quotes_what_is_not_a_token(void **state) /* LF-6 */
{
	_cleanup_buf_ struct buf b = { 0 };
	struct link_writer w = { .b = &b };

	(void)state;
	link_write(&w, SPAN_LIT("/a"));
	link_write_value(&w, SPAN_LIT("ct"), SPAN_LIT("40"));
	link_write_value(&w, SPAN_LIT("d"), SPAN_LIT("a b"));
	link_write_value(&w, SPAN_LIT("e"), SPAN_LIT(""));
	link_write_flag(&w, SPAN_LIT("obs"));
	link_write(&w, SPAN_LIT("/b"));
	link_write_quoted(&w, SPAN_LIT("title"), SPAN_LIT("say \"\\\""));
	assert_string_equal(buf_str(&b), "</a>;ct=40;d=\"a b\";e=\"\";obs,</b>;title=\"say \\\"\\\\\\\"\"");
	assert_int_equal(count(buf_span(&b)), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents_are_read_or_refused),
		cmocka_unit_test(every_truncation_is_read_or_refused_without_reading_past_it),
		cmocka_unit_test(what_was_read_is_written_byte_for_byte),
		cmocka_unit_test(limits_hold_at_the_limit_and_one_above),
		cmocka_unit_test(attributes_match_by_value_token_or_prefix),
		cmocka_unit_test(values_come_back_unescaped),
		cmocka_unit_test(the_writer_quotes_what_is_not_a_token),
	};

	return cmocka_run_group_tests_name("codec/link_format", tests, NULL, NULL);
}
