#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

static void a_zeroed_buf_is_empty_text(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	assert_true(buf_ok(&b));
	assert_string_equal(buf_str(&b), "");
	assert_int_equal(buf_span(&b).n, 0);
	buf_add(&b, SPAN_NONE);
	assert_true(buf_ok(&b));
}

static void numbers_go_in_wire_order(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_add_u8(&b, 1);
	buf_add_be(&b, 0x0102030405060708, 3);
	buf_add_le(&b, 0x0102030405060708, 3);
	buf_add_be(&b, UINT64_MAX - 1, 8);
	assert_int_equal(b.n, 15);
	assert_memory_equal(b.p, "\x01\x06\x07\x08\x08\x07\x06\xff\xff\xff\xff\xff\xff\xff\xfe", 15);
}

static void text_stays_terminated_while_it_grows(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	for (int i = 0; i < 1000; i++)
		buf_printf(&b, "%d,", i);
	buf_add_str(&b, "end");
	assert_true(buf_ok(&b));
	assert_int_equal(strlen(buf_str(&b)), b.n);
	assert_string_equal(buf_str(&b) + b.n - 7, "999,end");
}

static void going_over_the_limit_sticks(void **state)
{
	_cleanup_buf_ struct buf b = { .max = 4 };

	buf_add_str(&b, "abcd");
	assert_true(buf_ok(&b));
	buf_add_u8(&b, 'e');
	assert_false(buf_ok(&b));
	assert_string_equal(buf_str(&b), "abcd");
	assert_null(buf_grow(&b, 0));
	buf_clear(&b);
	assert_true(buf_ok(&b));
	buf_printf(&b, "%s", "12345");
	assert_false(buf_ok(&b));
	assert_string_equal(buf_str(&b), "");
	buf_clear(&b);
	assert_null(buf_grow(&b, SIZE_MAX));
	assert_false(buf_ok(&b));
}

static void grown_bytes_are_zero_and_bytes_can_be_taken(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	size_t n;

	buf_add_str(&b, "x");
	uint8_t *at = buf_grow(&b, 100);
	assert_non_null(at);
	for (int i = 0; i < 100; i++)
		assert_int_equal(at[i], 0);
	_cleanup_free_ uint8_t *p = buf_take(&b, &n);
	assert_int_equal(n, 101);
	assert_int_equal(p[0], 'x');
	assert_int_equal(b.n, 0);
	assert_null(b.p);
}

static void memory_helpers_give_zeroed_terminated_copies(void **state)
{
	_cleanup_free_ int *zero = NEW_N(int, 8);
	_cleanup_free_ char *copy = mem_strdup("copy");
	_cleanup_free_ char *part = mem_strndup(SPAN("partial", 4));
	_cleanup_free_ char *made = mem_printf("%d-%s", 7, "x");
	_cleanup_free_ void *none = mem_new(0, 1);
	char secret[4] = "key";

	for (int i = 0; i < 8; i++)
		assert_int_equal(zero[i], 0);
	assert_string_equal(copy, "copy");
	assert_string_equal(part, "part");
	assert_string_equal(made, "7-x");
	assert_non_null(none);
	assert_null(mem_strdup(NULL));
	mem_wipe(secret, sizeof(secret));
	assert_memory_equal(secret, "\0\0\0\0", 4);
	mem_wipe(NULL, 0);
	zero = mem_resize(zero, 100, sizeof(int));
	assert_int_equal(zero[7], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_zeroed_buf_is_empty_text),
		cmocka_unit_test(numbers_go_in_wire_order),
		cmocka_unit_test(text_stays_terminated_while_it_grows),
		cmocka_unit_test(going_over_the_limit_sticks),
		cmocka_unit_test(grown_bytes_are_zero_and_bytes_can_be_taken),
		cmocka_unit_test(memory_helpers_give_zeroed_terminated_copies),
	};

	return cmocka_run_group_tests_name("base/buf", tests, NULL, NULL);
}
