#include "base/time.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void times_are_written_as_rfc_3339(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} rows[] = {
		{ 0, "1970-01-01T00:00:00.000Z" },
		{ 1, "1970-01-01T00:00:00.001Z" },
		{ -1, "1969-12-31T23:59:59.999Z" },
		{ 1795338000000, "2026-11-22T09:00:00.000Z" },
		{ INT64_MAX, "never" },
		{ INT64_MIN, "never" },
	};
	char buf[WALL_TEXT_BYTES];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_string_equal(wall_text((struct wall){ rows[i].ms }, buf), rows[i].text);
}

static void times_are_read_strictly(void **state)
{
	static const struct {
		const char *text;
		int r;
		int64_t ms;
	} rows[] = {
		{ "2026-11-22T09:00:00Z", 0, 1795338000000 },
		{ "2026-11-22t09:00:00z", 0, 1795338000000 },
		{ "2026-11-22 09:00:00Z", 0, 1795338000000 },
		{ "2026-11-22T10:30:00+01:30", 0, 1795338000000 },
		{ "2026-11-22T08:00:00-01:00", 0, 1795338000000 },
		{ "2026-11-22T09:00:00.5Z", 0, 1795338000500 },
		{ "2026-11-22T09:00:00.1234567Z", 0, 1795338000123 },
		{ "2024-02-29T00:00:00Z", 0, 1709164800000 },
		{ "1795338000", 0, 1795338000000 },
		{ "0", 0, 0 },
		{ "2023-02-29T00:00:00Z", -EBADMSG, 0 },
		{ "2026-02-30T00:00:00Z", -EBADMSG, 0 },
		{ "2026-04-31T00:00:00Z", -EBADMSG, 0 },
		{ "2026-13-01T00:00:00Z", -EBADMSG, 0 },
		{ "2026-00-01T00:00:00Z", -EBADMSG, 0 },
		{ "2026-11-00T00:00:00Z", -EBADMSG, 0 },
		{ "2026-11-22T24:00:00Z", -EBADMSG, 0 },
		{ "2026-11-22T09:60:00Z", -EBADMSG, 0 },
		{ "2026-11-22T09:00:61Z", -EBADMSG, 0 },
		{ "2026-11-22T09:00:00", -EBADMSG, 0 },
		{ "2026-11-22T09:00:00.Z", -EBADMSG, 0 },
		{ "2026-11-22T09:00:00+1:00", -EBADMSG, 0 },
		{ "2026-11-22T09:00:00+24:00", -EBADMSG, 0 },
		{ "2026-11-22T09:00:00ZZ", -EBADMSG, 0 },
		{ "-5", -EBADMSG, 0 },
		{ "99999999999999999999", -EBADMSG, 0 },
		{ "", -EBADMSG, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct wall t = { 0 };
		assert_int_equal(wall_parse(span_str(rows[i].text), &t), rows[i].r);
		assert_true(t.ms == rows[i].ms);
	}
}

static void a_time_is_refused_at_every_truncation(void **state)
{
	static const char text[] = "2026-11-22T10:30:00.250+01:30";
	struct wall t;

	/* up to 4 characters it is a number of seconds */
	for (size_t n = 5; n < sizeof(text) - 1; n++)
		assert_int_equal(wall_parse(SPAN(text, n), &t), -EBADMSG);
	assert_int_equal(wall_parse(SPAN_LIT(text), &t), 0);
}

static void what_is_written_reads_back(void **state)
{
	char buf[WALL_TEXT_BYTES];
	struct wall back;

	for (int64_t ms = -62135596800000; ms < 253402300800000; ms += 86399999 * 977LL) {
		assert_int_equal(wall_parse(span_str(wall_text((struct wall){ ms }, buf)), &back), 0);
		assert_true(back.ms == ms);
	}
}

static void the_clocks_run(void **state)
{
	struct mono a = mono_now(), b = mono_now();

	assert_false(mono_before(b, a));
	assert_true(mono_before(a, mono_add_ms(a, 1)));
	assert_int_equal(mono_diff_ms(mono_add_ms(a, 250), a), 250);
	assert_true(wall_now().ms > 1577836800000); /* 2020 */
	assert_true(wall_s((struct wall){ -1 }) == -1);
	assert_true(wall_s((struct wall){ -1000 }) == -1);
	assert_true(wall_s(wall_from_s(77)) == 77);
	assert_true(wall_before(wall_from_s(1), wall_add_ms(wall_from_s(1), 1)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_are_written_as_rfc_3339),
		cmocka_unit_test(times_are_read_strictly),
		cmocka_unit_test(a_time_is_refused_at_every_truncation),
		cmocka_unit_test(what_is_written_reads_back),
		cmocka_unit_test(the_clocks_run),
	};

	return cmocka_run_group_tests_name("base/time", tests, NULL, NULL);
}
