#include "radio/airtime.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct mono start = { 1000 * 60000 };

static void a_full_frame_takes_what_the_standard_says(void **state)
{
	/* 127 bytes, of which the kernel counts all but the check sum: 133 bytes with preamble and length, 32 us each (IEEE 802.15.4
	 * section 12: 4.256 ms). */
	assert_int_equal(airtime_frames_us(1, 125), 133 * 32);
	assert_int_equal(airtime_frames_us(0, 0), 0);
	assert_int_equal(airtime_ble_us(1, 20), (20 + 10) * 8);
	/* An estimate is not below what frames of that many bytes would take. */
	assert_true(airtime_packets_us(1, 1280) > airtime_frames_us(11, 1280));
}

static void what_is_older_than_an_hour_is_forgotten(void **state)
{
	struct airtime a = { 0 };

	airtime_add(&a, 1000, start);
	airtime_add(&a, 500, mono_add_ms(start, 59 * 60000));
	assert_int_equal(airtime_used_us(&a, mono_add_ms(start, 59 * 60000)), 1500);
	assert_int_equal(airtime_used_us(&a, mono_add_ms(start, 60 * 60000)), 500);
	airtime_add(&a, 7, mono_add_ms(start, 60 * 60000));
	assert_int_equal(airtime_used_us(&a, mono_add_ms(start, 60 * 60000)), 507);
	airtime_add(&a, 3, mono_add_ms(start, 1000 * 60000)); /* many slots later */
	assert_int_equal(airtime_used_us(&a, mono_add_ms(start, 1000 * 60000)), 3);
	assert_int_equal(a.total_us, 1510);
}

static void a_budget_is_free_then_slow_then_over(void **state)
{
	struct airtime a = { 0 };
	const uint64_t tenth_us = 360 * 1000000ull;

	assert_int_equal(airtime_level(&a, 100, start), AIRTIME_FREE);
	airtime_add(&a, tenth_us * 3 / 4 - 1, start);
	assert_int_equal(airtime_level(&a, 100, start), AIRTIME_FREE);
	airtime_add(&a, 1, start);
	assert_int_equal(airtime_level(&a, 100, start), AIRTIME_SLOW);
	airtime_add(&a, tenth_us / 4 - 1, start);
	assert_int_equal(airtime_level(&a, 100, start), AIRTIME_SLOW);
	assert_int_equal(airtime_wait_s(&a, 100, start), 0);
	airtime_add(&a, 1, start);
	assert_int_equal(airtime_level(&a, 100, start), AIRTIME_OVER);
	assert_int_equal(airtime_level(&a, 0, start), AIRTIME_FREE);   /* no budget */
	assert_string_equal(airtime_level_name(AIRTIME_OVER), "over");
}

static void the_wait_is_until_enough_of_the_hour_has_passed(void **state)
{
	struct airtime a = { 0 };
	const uint64_t permille_us = 3600 * 1000ull;
	struct mono now = mono_add_ms(start, 10 * 60000 + 15000);

	airtime_add(&a, permille_us, start);
	airtime_add(&a, permille_us / 2, now);
	assert_int_equal(airtime_level(&a, 1, now), AIRTIME_OVER);
	/* The first slot passes 60 minutes after its begin. */
	assert_int_equal(airtime_wait_s(&a, 1, now), 3600 - 10 * 60 - 15);
	assert_int_equal(airtime_level(&a, 1, mono_add_ms(now, (3600 - 10 * 60 - 15) * 1000)), AIRTIME_FREE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_frame_takes_what_the_standard_says),
		cmocka_unit_test(what_is_older_than_an_hour_is_forgotten),
		cmocka_unit_test(a_budget_is_free_then_slow_then_over),
		cmocka_unit_test(the_wait_is_until_enough_of_the_hour_has_passed),
	};

	return cmocka_run_group_tests_name("radio/airtime", tests, NULL, NULL);
}
