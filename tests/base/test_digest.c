#include "base/digest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* FIPS 180-2 appendix B.1 and B.2 */
static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char two_blocks[] = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
static const char two_blocks_in[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

static void sha_256_agrees_with_the_standard(void **state)
{
	char hex[DIGEST_HEX_BYTES];
	struct digest d = digest_of(SPAN_LIT("abc"));

	assert_string_equal(digest_hex(&d, hex), abc);
	d = digest_of2(SPAN(two_blocks_in, 20), SPAN(two_blocks_in + 20, 36));
	assert_string_equal(digest_hex(&d, hex), two_blocks);
}

static void a_stream_gives_the_same_at_every_split(void **state)
{
	struct digest want = digest_of(SPAN_LIT(two_blocks_in));

	for (size_t n = 0; n < sizeof(two_blocks_in); n++) {
		_cleanup_(digest_stream_freep) struct digest_stream *s = digest_stream_new();
		digest_stream_add(s, SPAN(two_blocks_in, n));
		digest_stream_add(s, SPAN(two_blocks_in + n, sizeof(two_blocks_in) - 1 - n));
		struct digest got = digest_stream_end(s);
		assert_true(digest_eq(&got, &want));
	}
	assert_null(digest_stream_free(NULL));
}

static void digests_are_read_from_64_hex_digits(void **state)
{
	struct digest d, other = digest_of(SPAN_NONE), zero = { { 0 } };

	assert_int_equal(digest_parse(SPAN_LIT(abc), &d), 0);
	assert_false(digest_eq(&d, &other));
	assert_false(digest_is_zero(&d));
	assert_true(digest_is_zero(&zero));
	for (size_t n = 0; n < sizeof(abc) - 1; n++)
		assert_int_equal(digest_parse(SPAN(abc, n), &d), -EBADMSG);
}

static void tags_of_different_length_differ(void **state)
{
	assert_true(bytes_eq_ct(SPAN_LIT("key"), SPAN_LIT("key")));
	assert_false(bytes_eq_ct(SPAN_LIT("key"), SPAN_LIT("kez")));
	assert_false(bytes_eq_ct(SPAN_LIT("key"), SPAN_LIT("ke")));
	assert_true(bytes_eq_ct(SPAN_NONE, SPAN_NONE));
}

/* The vendor id of the SUIT drafts' examples; the class id made from it. */
static void vendors_and_classes_are_named_by_uuid_5(void **state)
{
	static const uint8_t arm_com[16] = { 0xfa, 0x6b, 0x4a, 0x53, 0xd5, 0xad, 0x5f, 0xdf, 0xbe, 0x9d, 0xe6, 0x63, 0xe4, 0xd4, 0x1f, 0xfe };
	uint8_t vendor[16], class[16], again[16];

	uuid_of_vendor(SPAN_LIT("arm.com"), vendor);
	assert_memory_equal(vendor, arm_com, 16);
	uuid_of_vendor(SPAN_LIT("FA6B4A53-d5ad-5fdf-be9d-e663e4d41ffe"), again);
	assert_memory_equal(again, arm_com, 16);
	uuid_of_class(vendor, SPAN_LIT("smart-light-bulb"), class);
	uuid5(vendor, SPAN_LIT("smart-light-bulb"), again);
	assert_memory_equal(class, again, 16);
	assert_int_equal(class[6] >> 4, 5);
	assert_int_equal(class[8] >> 6, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha_256_agrees_with_the_standard),
		cmocka_unit_test(a_stream_gives_the_same_at_every_split),
		cmocka_unit_test(digests_are_read_from_64_hex_digits),
		cmocka_unit_test(tags_of_different_length_differ),
		cmocka_unit_test(vendors_and_classes_are_named_by_uuid_5),
	};

	return cmocka_run_group_tests_name("base/digest", tests, NULL, NULL);
}
