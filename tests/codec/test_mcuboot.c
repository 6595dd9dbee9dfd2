/* FW-1, FW-2, FW-5 for MCUboot images; SMP-6 (the hash is that of the TLV area). Images are made here, field by field, from MCUboot's
 * design document ("Image format"). */
#include <errno.h>

#include "base/digest.h"
#include "codec/mcuboot.h"
#include "vectors.h"

/* Version 1.2.3+4, 16 bytes of body, a protected area with a security counter and a class id, SHA-256. */
static void make_image(struct buf *b)
{
	add_hex(b, "3db8f396 00000008 2000 2400 10000000 00000000 01 02 0300 04000000 00000000"
		   "000102030405060708090a0b0c0d0e0f"
		   "0869 2400 5000 0400 07000000 7500 1000 1492af1425695e48bf429b2d51f2ab45 a000 0000");
	struct digest d = digest_of(buf_span(b));
	add_hex(b, "0769 3000 1000 2000");
	buf_add(b, SPAN_OF(d.b));
	add_hex(b, "0100 0400 01020304");
}

enum { TRAILER_AT = 48, PROTECTED_BYTES = 0x24 };

static int decode(struct span in, struct mcuboot_header *h, struct mcuboot_trailer *t)
{
	int r = mcuboot_header_decode(in, in.n, h);

	return r < 0 ? r : mcuboot_trailer_decode(h, span_sub(in, (size_t)mcuboot_trailer_at(h), in.n), t);
}

static void an_image_is_read(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct mcuboot_header h;
	struct mcuboot_trailer t;
	char version[MCUBOOT_VERSION_BYTES];

	(void)state;
	make_image(&b);
	assert_int_equal(decode(buf_span(&b), &h, &t), 0);
	assert_string_equal(mcuboot_version_text(&h.version, version), "1.2.3.4");
	assert_int_equal(h.image_bytes, 16);
	assert_int_equal(mcuboot_trailer_at(&h), TRAILER_AT);
	assert_int_equal(mcuboot_hashed_bytes(&h), TRAILER_AT + PROTECTED_BYTES);
	assert_int_equal(t.total_bytes, b.n);
	assert_int_equal(t.hash_kind, MCUBOOT_SHA256);
	struct digest d = digest_of(span_sub(buf_span(&b), 0, TRAILER_AT + PROTECTED_BYTES));
	assert_int_equal(t.n_hash, DIGEST_BYTES);
	assert_memory_equal(t.hash, d.b, DIGEST_BYTES);
	assert_true(t.has_security_counter && t.security_counter == 7 && t.has_class && !t.has_vendor);
	h.version.build = 0;
	assert_string_equal(mcuboot_version_text(&h.version, version), "1.2.3");
	buf_add_u8(&b, 0xff); /* padding is told, not refused */
	assert_int_equal(decode(buf_span(&b), &h, &t), 0);
	assert_int_equal(t.total_bytes, b.n - 1);
}

static void every_truncation_is_refused(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct mcuboot_header h;
	struct mcuboot_trailer t;

	(void)state;
	make_image(&b);
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(decode(span_sub(buf_span(&b), 0, n), &h, &t), -EBADMSG);
	for (size_t n = 0; n < MCUBOOT_HEADER_BYTES; n++)
		assert_int_equal(mcuboot_header_decode(span_sub(buf_span(&b), 0, n), b.n, &h), -EBADMSG);
}

static void hostile_fields_are_refused(void **state)
{
	const struct {
		size_t at;
		const char *bytes;
		size_t n;
		int want;
	} t[] = {
		{ 0, "\x3c", 1, -EBADMSG },                    /* the old magic */
		{ 8, "\x1f\x00", 2, -EBADMSG },                /* header too small */
		{ 8, "\xff\xff", 2, -EBADMSG },                /* header past the file */
		{ 10, "\x03\x00", 2, -EBADMSG },               /* protected area smaller than its head */
		{ 10, "\xff\xff", 2, -EBADMSG },
		{ 10, "\x00\x00", 2, -EBADMSG },               /* then the plain area's magic is wrong */
		{ 12, "\x00\x00\x00\x00", 4, -EBADMSG },       /* empty */
		{ 12, "\xff\xff\xff\xff", 4, -EBADMSG },
		{ TRAILER_AT, "\x07", 1, -EBADMSG },           /* magic of the protected area */
		{ TRAILER_AT + 2, "\x25", 1, -EBADMSG },       /* total unlike the header's */
		{ TRAILER_AT + 6, "\xff\xff", 2, -EBADMSG },   /* a TLV past its area */
		{ TRAILER_AT + 6, "\x05\x00", 2, -EBADMSG },
		{ TRAILER_AT + 4, "\x75\x00", 2, -EBADMSG },   /* a class id of 4 bytes */
		{ TRAILER_AT + PROTECTED_BYTES + 2, "\xff\xff", 2, -EBADMSG },
		{ TRAILER_AT + PROTECTED_BYTES + 2, "\x03\x00", 2, -EBADMSG },
		{ TRAILER_AT + PROTECTED_BYTES + 2, "\x04\x00", 2, -ENOENT }, /* no hash */
		{ TRAILER_AT + PROTECTED_BYTES + 4, "\x11\x00", 2, -EBADMSG }, /* SHA-384 of 32 bytes */
		{ TRAILER_AT + PROTECTED_BYTES + 4, "\x20\x00", 2, -ENOENT },
		{ TRAILER_AT + PROTECTED_BYTES + 6, "\x21\x00", 2, -EBADMSG },
		{ TRAILER_AT + PROTECTED_BYTES + 40, "\x10\x00", 2, -EEXIST }, /* two hashes */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct mcuboot_header h;
		struct mcuboot_trailer tr;

		make_image(&b);
		memcpy(b.p + t[i].at, t[i].bytes, t[i].n);
		int r = decode(buf_span(&b), &h, &tr);
		if (r != t[i].want)
			fail_msg("row %zu: %d", i, r);
	}
}

static void what_must_be_protected_counts_only_there(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct mcuboot_header h;
	struct mcuboot_trailer t;

	(void)state;
	add_hex(&b, "3db8f396 00000000 2000 0000 04000000 00000000 01 00 0000 00000000 00000000 00010203 0769 3000 5000 0400 07000000 1000 2000");
	buf_grow(&b, 32);
	assert_int_equal(decode(buf_span(&b), &h, &t), 0);
	assert_false(t.has_security_counter);
}

static void the_number_of_tlvs_is_bounded(void **state)
{
	(void)state;
	for (unsigned n = MCUBOOT_TLVS_MAX - 1; n <= MCUBOOT_TLVS_MAX; n++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct mcuboot_header h;
		struct mcuboot_trailer t;

		add_hex(&b, "3db8f396 00000000 2000 0000 04000000 00000000 01 00 0000 00000000 00000000 00010203 0769");
		buf_add_le(&b, 4 + n * 4 + 36, 2);
		for (unsigned i = 0; i < n; i++)
			add_hex(&b, "a000 0000");
		add_hex(&b, "1000 2000");
		buf_grow(&b, 32);
		assert_int_equal(decode(buf_span(&b), &h, &t), n < MCUBOOT_TLVS_MAX ? 0 : -E2BIG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_image_is_read),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(hostile_fields_are_refused),
		cmocka_unit_test(what_must_be_protected_counts_only_there),
		cmocka_unit_test(the_number_of_tlvs_is_bounded),
	};

	return cmocka_run_group_tests_name("codec/mcuboot", tests, NULL, NULL);
}
