#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void bytes_are_filled_to_the_end(void **state)
{
	uint8_t b[1000] = { 0 }, tail = 0;

	random_bytes(b, sizeof(b));
	for (size_t i = sizeof(b) - 32; i < sizeof(b); i++)
		tail |= b[i];
	assert_int_not_equal(tail, 0);
	random_bytes(NULL, 0);
}

static void values_stay_below_the_bound_and_reach_all_of_it(void **state)
{
	unsigned seen = 0;

	for (int i = 0; i < 10000; i++) {
		uint64_t v = random_below(5);
		assert_true(v < 5);
		seen |= 1u << v;
	}
	assert_int_equal(seen, 0x1f);
	for (int i = 0; i < 100; i++) {
		assert_true(random_below(1) == 0);
		assert_true(random_below((1ull << 63) + 1) <= 1ull << 63);
	}
	assert_true(random_u64() != random_u64());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_are_filled_to_the_end),
		cmocka_unit_test(values_stay_below_the_bound_and_reach_all_of_it),
	};

	return cmocka_run_group_tests_name("base/random", tests, NULL, NULL);
}
