#include <errno.h>
#include <math.h>

#include "vectors.h"

static int check_hex(const char *hex, unsigned flags)
{
	_cleanup_buf_ struct buf b = { 0 };

	add_hex(&b, hex);
	return cbor_check(buf_span(&b), flags, NULL);
}

static const char *const well_formed[] = { /* RFC 8949 appendix A, the definite ones */
	"00", "01", "0a", "17", "1818", "1819", "1864", "1903e8", "1a000f4240", "1b000000e8d4a51000", "1bffffffffffffffff",
	"3bffffffffffffffff", "20", "29", "3863", "3903e7", "f90000", "f98000", "f93c00", "fb3ff199999999999a", "f93e00",
	"f97bff", "fa47c35000", "fa7f7fffff", "fb7e37e43c8800759c", "f90001", "f90400", "f9c400", "fbc010666666666666",
	"f97c00", "f97e00", "f9fc00", "f4", "f5", "f6", "f7", "c074323031332d30332d32315432303a30343a30305a", "c11a514b67b0",
	"c1fb41d452d9e2000000", "d74401020304", "d818456449455446", "40", "4401020304", "60", "6161", "6449455446", "62225c",
	"62c3bc", "63e6b0b4", "64f0908591", "80", "83010203", "8301820203820405",
	"98190102030405060708090a0b0c0d0e0f101112131415161718181819", "a0", "a201020304", "a26161016162820203", "826161a161626163",
	"a56161614161626142616361436164614461656145",
};

static void what_the_standard_shows_is_accepted(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(well_formed) / sizeof(well_formed[0]); i++)
		assert_int_equal(check_hex(well_formed[i], 0), 0);
}

static void every_truncation_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(well_formed) / sizeof(well_formed[0]); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		add_hex(&b, well_formed[i]);
		for (size_t n = 0; n < b.n; n++)
			assert_int_equal(cbor_check(SPAN(b.p, n), 0, NULL), -EBADMSG);
	}
}

static void what_is_not_strict_is_refused(void **state)
{
	static const struct {
		const char *hex;
		int expected;
	} bad[] = {
		{ "1817", -EBADMSG }, { "190017", -EBADMSG }, { "1900ff", -EBADMSG }, { "1a0000ffff", -EBADMSG }, /* not shortest (CB-1) */
		{ "1b00000000ffffffff", -EBADMSG }, { "3817", -EBADMSG }, { "5801aa", -EBADMSG }, { "780161", -EBADMSG },
		{ "980101", -EBADMSG }, { "b8010101", -EBADMSG }, { "d81700", -EBADMSG },
		{ "1c", -EBADMSG }, { "1d", -EBADMSG }, { "1e", -EBADMSG }, { "3f", -EBADMSG }, { "fc", -EBADMSG }, /* reserved */
		{ "5f42010243030405ff", -EBADMSG }, { "7f61616162ff", -EBADMSG }, { "9fff", -EBADMSG }, { "bfff", -EBADMSG }, /* indefinite */
		{ "ff", -EBADMSG }, { "81ff", -EBADMSG },
		{ "e0", -EBADMSG }, { "f3", -EBADMSG }, { "f818", -EBADMSG }, { "f820", -EBADMSG }, { "f8ff", -EBADMSG }, /* simple values */
		{ "61ff", -EBADMSG }, { "62c328", -EBADMSG }, { "63eda080", -EBADMSG }, { "62c080", -EBADMSG }, /* not UTF-8 */
		{ "0000", -EBADMSG }, { "8000", -EBADMSG }, { "a000", -EBADMSG }, /* trailing bytes */
		{ "9b0000000010000000", -EBADMSG }, { "bb00000000ffffffff", -EBADMSG }, { "5bffffffffffffffff00", -EBADMSG }, /* bombs */
		{ "9bffffffffffffffff00", -EBADMSG }, { "bb800000000000000000", -EBADMSG }, { "7b7fffffffffffffff", -EBADMSG },
		{ "a201010102", -EEXIST }, { "a2616101616102", -EEXIST }, { "a301010202ff02", -EBADMSG }, { "a3020101010201", -EEXIST },
		{ "a10182a20101010101", -EEXIST }, { "a2f401f502", -EBADMSG }, { "a1c10101", -EBADMSG }, { "a1a00101", -EBADMSG },
		{ "a1800101", -EBADMSG }, { "a18001", -EBADMSG }, { "a1f93c0001", -EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (check_hex(bad[i].hex, 0) != bad[i].expected)
			fail_msg("%s: %d", bad[i].hex, check_hex(bad[i].hex, 0));
}

static void order_of_keys_is_asked_for_by_a_flag(void **state)
{
	(void)state;
	assert_int_equal(check_hex("a202010101", 0), 0);
	assert_int_equal(check_hex("a202010101", CBOR_KEYS_SORTED), -EBADMSG);
	assert_int_equal(check_hex("a201010201", CBOR_KEYS_SORTED), 0);
	assert_int_equal(check_hex("a218640120f6", CBOR_KEYS_SORTED), 0); /* bytewise, as RFC 8949 4.2.1 has it */
	assert_int_equal(check_hex("a220f6186401", CBOR_KEYS_SORTED), -EBADMSG);
	assert_int_equal(check_hex("a261620161610a", CBOR_KEYS_SORTED), -EBADMSG);
}

static void array_keys_are_allowed_by_a_flag_only(void **state) /* SU-29 */
{
	(void)state;
	assert_int_equal(check_hex("a18141006161", 0), -EBADMSG);
	assert_int_equal(check_hex("a18141006161", CBOR_ARRAY_KEYS), 0);
	assert_int_equal(check_hex("a281410061618141006161", CBOR_ARRAY_KEYS), -EEXIST);
	assert_int_equal(check_hex("a281410061618141016161", CBOR_ARRAY_KEYS), 0);
	assert_int_equal(check_hex("a1a0f6", CBOR_ARRAY_KEYS), -EBADMSG);
}

static void put_pair(struct buf *b, uint64_t key)
{
	cbor_put_uint(b, key);
	cbor_put_null(b);
}

static int check_map_of(size_t n, bool sorted, bool twice)
{
	_cleanup_buf_ struct buf b = { 0 };

	cbor_put_map(&b, n);
	for (size_t i = 0; i < n; i++)
		put_pair(&b, twice && i == n - 1 ? n / 2 + 1 : sorted ? i : n - i);
	return cbor_check(buf_span(&b), 0, NULL);
}

static void sorted_maps_are_unlimited_and_others_small(void **state)
{
	(void)state;
	assert_int_equal(check_map_of(100000, true, false), 0);
	assert_int_equal(check_map_of(CBOR_UNSORTED_KEYS_MAX, false, false), 0);
	assert_int_equal(check_map_of(CBOR_UNSORTED_KEYS_MAX + 1, false, false), -E2BIG);
	assert_int_equal(check_map_of(CBOR_UNSORTED_KEYS_MAX, false, true), -EEXIST);
	assert_int_equal(check_map_of(CBOR_UNSORTED_KEYS_MAX + 1, true, true), -E2BIG); /* sorted until the last key */
	assert_int_equal(check_map_of(CBOR_UNSORTED_KEYS_MAX, true, true), -EEXIST);
}

static int check_nested(size_t depth, const char *shell)
{
	_cleanup_buf_ struct buf b = { 0 };

	for (size_t i = 0; i < depth; i++)
		add_hex(&b, shell);
	buf_add_u8(&b, 0);
	return cbor_check(buf_span(&b), 0, NULL);
}

static void nesting_is_bounded(void **state)
{
	static const char *const shells[] = { "81", "a100", "c1", "8200" };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(check_nested(CBOR_DEPTH_MAX, shells[i]), 0);
		assert_int_equal(check_nested(CBOR_DEPTH_MAX + 1, shells[i]), -E2BIG);
		assert_int_equal(check_nested(100000, shells[i]), -E2BIG);
	}
}

static void the_fault_is_located(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	size_t at = 99;

	(void)state;
	add_hex(&b, "8301021805");
	assert_int_equal(cbor_check(buf_span(&b), 0, &at), -EBADMSG);
	assert_int_equal(at, 3);
	buf_clear(&b);
	add_hex(&b, "a2616101616102");
	assert_int_equal(cbor_check(buf_span(&b), 0, &at), -EEXIST);
	assert_int_equal(at, 4);
}

static void integers_are_read_within_their_range(void **state) /* CB-4 */
{
	static const struct {
		const char *hex;
		bool ok;
		int64_t value;
	} ints[] = {
		{ "00", true, 0 }, { "20", true, -1 }, { "1b7fffffffffffffff", true, INT64_MAX }, { "1b8000000000000000", false, 0 },
		{ "3b7fffffffffffffff", true, INT64_MIN }, { "3b8000000000000000", false, 0 }, { "3bffffffffffffffff", false, 0 },
		{ "40", false, 0 }, { "f6", false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ints) / sizeof(ints[0]); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		add_hex(&b, ints[i].hex);
		struct cbor c = cbor_reader(buf_span(&b));
		assert_true(cbor_int(&c) == ints[i].value);
		assert_int_equal(cbor_ok(&c), ints[i].ok);
		assert_int_equal(cbor_at_end(&c), ints[i].ok);
	}
	struct cbor c = cbor_reader(SPAN_LIT("\x1b\xff\xff\xff\xff\xff\xff\xff\xff"));
	assert_true(cbor_uint(&c) == UINT64_MAX && cbor_at_end(&c));
}

static void errors_of_the_reader_stick(void **state)
{
	struct cbor c = cbor_reader(SPAN_LIT("\x82\x01\x02"));

	(void)state;
	assert_int_equal(cbor_array(&c), 2);
	assert_int_equal(cbor_text(&c).n, 0);
	assert_false(cbor_ok(&c));
	assert_int_equal(cbor_uint(&c), 0);
	assert_int_equal(cbor_peek(&c), CBOR_END);
	assert_int_equal(cbor_skip(&c).n, 0);
	assert_false(cbor_at_end(&c));
}

static void counts_beyond_the_bytes_are_bad(void **state)
{
	struct cbor c = cbor_reader(SPAN_LIT("\x9a\x00\x01\x00\x00\x00"));

	(void)state;
	assert_int_equal(cbor_array(&c), 0);
	assert_false(cbor_ok(&c));
	c = cbor_reader(SPAN_LIT("\xa2\x00\x00\x00"));
	assert_int_equal(cbor_map(&c), 0);
	assert_false(cbor_ok(&c));
	c = cbor_reader(SPAN_LIT("\x44\x00\x00\x00"));
	assert_int_equal(cbor_bytes(&c).n, 0);
	assert_false(cbor_ok(&c));
}

static void whole_items_are_skipped(void **state)
{
	_cleanup_buf_ struct buf b = { 0 }, deep = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(well_formed) / sizeof(well_formed[0]); i++) {
		buf_clear(&b);
		add_hex(&b, well_formed[i]);
		size_t n = b.n;
		buf_add_u8(&b, 0);
		struct cbor c = cbor_reader(buf_span(&b));
		assert_int_equal(cbor_skip(&c).n, n);
		assert_int_equal(cbor_uint(&c), 0);
		assert_true(cbor_at_end(&c));
	}
	memset(buf_grow(&deep, 1000000), 0x81, 1000000); /* unchecked input costs no stack either */
	struct cbor c = cbor_reader(buf_span(&deep));
	assert_int_equal(cbor_skip(&c).n, 0);
	assert_false(cbor_ok(&c));
}

static void the_writer_uses_shortest_heads(void **state)
{
	static const struct {
		uint64_t v;
		const char *hex;
	} heads[] = {
		{ 0, "00" }, { 23, "17" }, { 24, "1818" }, { 255, "18ff" }, { 256, "190100" }, { 65535, "19ffff" }, { 65536, "1a00010000" },
		{ UINT32_MAX, "1affffffff" }, { (uint64_t)UINT32_MAX + 1, "1b0000000100000000" }, { UINT64_MAX, "1bffffffffffffffff" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		_cleanup_buf_ struct buf b = { 0 }, expected = { 0 };
		cbor_put_uint(&b, heads[i].v);
		add_hex(&expected, heads[i].hex);
		assert_true(span_eq(buf_span(&b), buf_span(&expected)));
		assert_int_equal(cbor_check(buf_span(&b), CBOR_KEYS_SORTED, NULL), 0);
	}
	_cleanup_buf_ struct buf b = { 0 }, expected = { 0 };
	cbor_put_int(&b, INT64_MIN);
	cbor_put_int(&b, -1);
	cbor_put_bool(&b, true);
	cbor_put_null(&b);
	cbor_put_str(&b, "a");
	cbor_put_tag(&b, 107);
	cbor_put_map(&b, 0);
	add_hex(&expected, "3b7fffffffffffffff20f5f66161d86ba0");
	assert_true(span_eq(buf_span(&b), buf_span(&expected)));
}

static void numbers_with_a_point_take_the_shortest_exact_form(void **state)
{
	static const struct {
		double v;
		const char *hex;
	} floats[] = { /* RFC 8949 appendix A */
		{ 0.0, "f90000" }, { -0.0, "f98000" }, { 1.0, "f93c00" }, { 1.1, "fb3ff199999999999a" }, { 1.5, "f93e00" },
		{ 65504.0, "f97bff" }, { 100000.0, "fa47c35000" }, { 3.4028234663852886e+38, "fa7f7fffff" }, { 1.0e+300, "fb7e37e43c8800759c" },
		{ 5.960464477539063e-8, "f90001" }, { 0.00006103515625, "f90400" }, { -4.0, "f9c400" }, { -4.1, "fbc010666666666666" },
		{ INFINITY, "f97c00" }, { -INFINITY, "f9fc00" }, { 2.98023223876953125e-8, "fa33000000" }, { 0.333251953125, "f93555" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(floats) / sizeof(floats[0]); i++) {
		_cleanup_buf_ struct buf b = { 0 }, expected = { 0 };
		cbor_put_double(&b, floats[i].v);
		add_hex(&expected, floats[i].hex);
		assert_true(span_eq(buf_span(&b), buf_span(&expected)));
		struct cbor c = cbor_reader(buf_span(&b));
		assert_true(cbor_float(&c) == floats[i].v);
		assert_true(cbor_at_end(&c));
	}
	_cleanup_buf_ struct buf b = { 0 };
	cbor_put_double(&b, NAN);
	struct cbor c = cbor_reader(buf_span(&b));
	assert_true(isnan(cbor_float(&c)));
	c = cbor_reader(SPAN_LIT("\x29"));
	assert_true(cbor_float(&c) == -10.0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_standard_shows_is_accepted),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(what_is_not_strict_is_refused),
		cmocka_unit_test(order_of_keys_is_asked_for_by_a_flag),
		cmocka_unit_test(array_keys_are_allowed_by_a_flag_only),
		cmocka_unit_test(sorted_maps_are_unlimited_and_others_small),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(the_fault_is_located),
		cmocka_unit_test(integers_are_read_within_their_range),
		cmocka_unit_test(errors_of_the_reader_stick),
		cmocka_unit_test(counts_beyond_the_bytes_are_bad),
		cmocka_unit_test(whole_items_are_skipped),
		cmocka_unit_test(the_writer_uses_shortest_heads),
		cmocka_unit_test(numbers_with_a_point_take_the_shortest_exact_form),
	};

	return cmocka_run_group_tests_name("codec/cbor", tests, NULL, NULL);
}
