#include "base/cursor.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const uint8_t wire[] = { 1, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c };

static void reads_follow_wire_order(void **state)
{
	struct cursor c = { .s = SPAN_OF(wire) };

	assert_int_equal(cur_u8(&c), 1);
	assert_int_equal(cur_be16(&c), 0x0203);
	assert_int_equal(cur_le16(&c), 0x0504);
	assert_int_equal(cur_be32(&c), 0x06070809);
	assert_int_equal(cur_left(&c), 3);
	assert_int_equal(cur_le(&c, 3), 0x0c0b0a);
	assert_true(cur_at_end(&c));
	assert_true(cur_ok(&c));

	c = (struct cursor){ .s = SPAN_OF(wire) };
	assert_true(cur_be64(&c) == 0x0102030405060708);
	assert_int_equal(cur_le32(&c), 0x0c0b0a09);
}

static void the_first_read_past_the_end_sticks(void **state)
{
	struct cursor c = { .s = SPAN_OF(wire), .pos = 10 };

	assert_int_equal(cur_be32(&c), 0);
	assert_false(cur_ok(&c));
	assert_int_equal(cur_left(&c), 0);
	assert_false(cur_at_end(&c));
	assert_int_equal(cur_u8(&c), 0);
	assert_int_equal(cur_take(&c, 0).n, 0);
	assert_false(cur_ok(&c));
}

static void a_length_near_the_top_does_not_wrap(void **state)
{
	struct cursor c = { .s = SPAN_OF(wire), .pos = 4 };

	assert_null(cur_take(&c, SIZE_MAX).p);
	assert_false(cur_ok(&c));
}

static void spans_compare_and_cut_safely(void **state)
{
	struct span s = SPAN_LIT("abcdef");

	assert_true(span_eq_str(span_sub(s, 2, 2), "cd"));
	assert_true(span_eq_str(span_sub(s, 4, SIZE_MAX), "ef"));
	assert_int_equal(span_sub(s, 99, 1).n, 0);
	assert_int_equal(span_sub(SPAN_NONE, 1, 1).n, 0);
	assert_true(span_eq(SPAN_NONE, SPAN_LIT("")));
	assert_true(span_starts(s, SPAN_LIT("abc")));
	assert_true(span_starts(s, SPAN_NONE));
	assert_false(span_starts(SPAN_LIT("ab"), SPAN_LIT("abc")));
	assert_true(span_cmp(SPAN_LIT("ab"), SPAN_LIT("abc")) < 0);
	assert_true(span_cmp(SPAN_LIT("b"), SPAN_LIT("abc")) > 0);
	assert_int_equal(span_cmp(SPAN_NONE, SPAN_NONE), 0);
	assert_int_equal(span_str(NULL).n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_follow_wire_order),
		cmocka_unit_test(the_first_read_past_the_end_sticks),
		cmocka_unit_test(a_length_near_the_top_does_not_wrap),
		cmocka_unit_test(spans_compare_and_cut_safely),
	};

	return cmocka_run_group_tests_name("base/cursor", tests, NULL, NULL);
}
