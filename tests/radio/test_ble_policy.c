#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "radio/ble_policy.h"

#define AT(ms_) ((struct mono){ ms_ })

/* BLZ-4 */
static void after_a_local_abort_it_is_tried_again_soon_and_at_random(void **state)
{
	int64_t least = INT64_MAX, most = 0;

	(void)state;
	for (uint64_t chance = 0; chance < 10000; chance++) {
		int64_t ms = ble_retry_ms(1 + (unsigned)chance % 5, true, chance);
		assert_in_range(ms, BLE_RETRY_MIN_MS, BLE_RETRY_MAX_MS);
		least = ms < least ? ms : least;
		most = ms > most ? ms : most;
	}
	assert_int_equal(least, BLE_RETRY_MIN_MS);
	assert_int_equal(most, BLE_RETRY_MAX_MS);
	assert_in_range(ble_retry_ms(1, true, UINT64_MAX), BLE_RETRY_MIN_MS, BLE_RETRY_MAX_MS);
}

static void after_anything_else_the_pause_doubles_up_to_a_limit(void **state)
{
	static const int64_t wanted[] = { 1000, 2000, 4000, 8000, 16000, 30000, 30000 };

	(void)state;
	for (unsigned i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		assert_int_equal(ble_retry_ms(i + 1, false, 0), wanted[i]);
		for (uint64_t chance = 0; chance < 1000; chance++)
			assert_in_range(ble_retry_ms(i + 1, false, chance * 7919), wanted[i], wanted[i] + wanted[i] / 4);
	}
	assert_int_equal(ble_retry_ms(UINT32_MAX, false, 0), BLE_BACKOFF_MAX_MS);
}

/* BLZ-9 */
static void scanning_goes_in_turns(void **state)
{
	const struct ble_scan_facts f = { .scan = BLE_SCAN_AUTO, .scan_s = 5, .scan_every_s = 60, .began_at = AT(1000) };
	static const struct {
		int64_t at, in_ms;
		bool scans;
	} rows[] = { { 1000, 5000, true }, { 5999, 1, true }, { 6000, 55000, false }, { 60999, 1, false }, { 61000, 5000, true }, { 66000, 55000, false } };
	int64_t in_ms;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(ble_scan_now(&f, AT(rows[i].at), &in_ms), rows[i].scans);
		assert_int_equal(in_ms, rows[i].in_ms);
	}
}

static void facts_decide_whether_it_is_scanned_at_all(void **state)
{
	static const struct {
		struct ble_scan_facts f;
		bool at_begin, between;
	} rows[] = {
		{ { .scan = BLE_SCAN_AUTO }, true, false },
		{ { .scan = BLE_SCAN_AUTO, .has_passive = true }, false, false },
		{ { .scan = BLE_SCAN_AUTO, .has_passive = true, .is_searching = true }, true, true },
		{ { .scan = BLE_SCAN_AUTO, .is_searching = true }, true, true },
		{ { .scan = BLE_SCAN_AUTO, .is_searching = true, .is_connecting = true }, false, false },
		{ { .scan = BLE_SCAN_ACTIVE, .has_passive = true }, true, false },
		{ { .scan = BLE_SCAN_ACTIVE, .is_searching = true }, true, true },
		{ { .scan = BLE_SCAN_PASSIVE }, false, false },
		{ { .scan = BLE_SCAN_PASSIVE, .has_passive = true, .is_searching = true }, false, false },
		{ { .scan = BLE_SCAN_PASSIVE, .is_searching = true }, false, false },
		{ { .scan = BLE_SCAN_OFF, .is_searching = true }, false, false },
	};
	int64_t in_ms;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct ble_scan_facts f = rows[i].f;
		f.scan_s = 5;
		f.scan_every_s = 60;
		assert_int_equal(ble_scan_now(&f, AT(0), &in_ms), rows[i].at_begin);
		assert_int_equal(ble_scan_now(&f, AT(10 * 1000), &in_ms), rows[i].between);
	}
}

static void a_turn_as_long_as_its_period_never_ends(void **state)
{
	const struct ble_scan_facts f = { .scan = BLE_SCAN_ACTIVE, .scan_s = 60, .scan_every_s = 60 };
	int64_t in_ms;

	(void)state;
	for (int64_t at = 0; at < 200 * 1000; at += 999) {
		assert_true(ble_scan_now(&f, AT(at), &in_ms));
		assert_int_equal(in_ms, -1);
	}
}

static void who_waited_longest_is_next_exclusive_ones_first_in_a_second(void **state)
{
	static const struct {
		struct ble_waiter w[3];
		size_t next;
	} rows[] = {
		{ { { AT(3000), false }, { AT(1000), false }, { AT(2000), true } }, 1 },
		{ { { AT(1000), false }, { AT(1900), true }, { AT(1950), true } }, 1 },
		{ { { AT(1100), false }, { AT(1050), false }, { AT(2000), true } }, 1 },
		{ { { AT(999), false }, { AT(1000), true }, { AT(1001), true } }, 0 },
		{ { { AT(5), true }, { AT(5), true }, { AT(5), true } }, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_int_equal(ble_turn_next(rows[i].w, 3), rows[i].next);
}

static void idle_ones_give_way_first_then_those_whose_turn_is_over(void **state)
{
	static const struct {
		struct ble_holder h[3];
		uint32_t turn_s;
		size_t who;
		int64_t in_ms;
	} rows[] = {
		{ { { .since = AT(0) }, { .is_idle = true, .since = AT(90000) }, { .is_idle = true, .since = AT(80000) } }, 10, 2, -1 },
		{ { { .since = AT(95000) }, { .since = AT(90000) }, { .since = AT(91000) } }, 10, 1, -1 },
		{ { { .since = AT(95000) }, { .since = AT(90001) }, { .since = AT(91000) } }, 10, 3, 1 },
		{ { { .since = AT(95000) }, { .is_fixed = true, .since = AT(0) }, { .since = AT(96000) } }, 10, 3, 5000 },
		{ { { .since = AT(0) }, { .since = AT(0) }, { .since = AT(0) } }, 0, 3, -1 },
		{ { { .is_fixed = true }, { .is_fixed = true }, { .is_fixed = true, .is_idle = true } }, 1, 3, -1 },
		{ { { .since = AT(0) }, { .is_idle = true, .since = AT(99999) }, { .since = AT(0) } }, 0, 1, -1 },
	};
	int64_t in_ms;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(ble_turn_yield(rows[i].h, 3, rows[i].turn_s, AT(100000), &in_ms), rows[i].who);
		assert_int_equal(in_ms, rows[i].in_ms);
	}
}

/* BLZ-8 */
static void random_addresses_are_identities_only_when_static(void **state)
{
	static const struct {
		uint8_t top;
		bool is_random, is_private;
	} rows[] = { { 0x40, true, true }, { 0x7f, true, true }, { 0x00, true, true }, { 0x3f, true, true }, { 0x80, true, true },
		     { 0xc0, true, false }, { 0xff, true, false }, { 0x40, false, false }, { 0x00, false, false } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_int_equal(ble_address_is_private((uint8_t[BLE_ADDRESS_BYTES]){ rows[i].top, 1, 2, 3, 4, 5 }, rows[i].is_random), rows[i].is_private);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(after_a_local_abort_it_is_tried_again_soon_and_at_random),
		cmocka_unit_test(after_anything_else_the_pause_doubles_up_to_a_limit),
		cmocka_unit_test(scanning_goes_in_turns),
		cmocka_unit_test(facts_decide_whether_it_is_scanned_at_all),
		cmocka_unit_test(a_turn_as_long_as_its_period_never_ends),
		cmocka_unit_test(who_waited_longest_is_next_exclusive_ones_first_in_a_second),
		cmocka_unit_test(idle_ones_give_way_first_then_those_whose_turn_is_over),
		cmocka_unit_test(random_addresses_are_identities_only_when_static),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
