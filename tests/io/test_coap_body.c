/* io/coap_body.c: the arithmetic of RFC 7959. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "io/coap_body.h"

static void a_block_option_is_read_and_written_back(void **state)
{
	static const struct { uint8_t b[3]; size_t n; struct coap_block want; } rows[] = {
		{ { 0 }, 0, { 0, false, 0 } },
		{ { 0x06 }, 1, { 0, false, 6 } },
		{ { 0x0e }, 1, { 0, true, 6 } },
		{ { 0x33 }, 1, { 3, false, 3 } },
		{ { 0x01, 0x0a }, 2, { 16, true, 2 } },
		{ { 0xff, 0xff, 0xfe }, 3, { 0xfffff, true, 6 } },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct coap_block b;
		uint8_t out[3];

		assert_int_equal(coap_block_decode(SPAN(rows[i].b, rows[i].n), &b), 0);
		assert_int_equal(b.num, rows[i].want.num);
		assert_int_equal(b.more, rows[i].want.more);
		assert_int_equal(b.szx, rows[i].want.szx);
		assert_int_equal(coap_block_encode(&b, out), rows[i].n);
		assert_memory_equal(out, rows[i].b, rows[i].n);
	}
}

/* BW-1: SZX 7 is reserved on UDP. */
static void szx_7_and_four_bytes_are_refused(void **state)
{
	struct coap_block b;

	assert_int_equal(coap_block_decode(SPAN_LIT("\x07"), &b), -EBADMSG);
	assert_int_equal(coap_block_decode(SPAN_LIT("\x12\x3f"), &b), -EBADMSG);
	assert_int_equal(coap_block_decode(SPAN_LIT("\0\0\0\x01"), &b), -EBADMSG);
}

static void offsets_and_numbers_agree_at_every_size(void **state)
{
	for (uint8_t szx = 0; szx <= COAP_SZX_MAX; szx++) {
		struct coap_block b;

		assert_int_equal(coap_block_bytes(szx), 16u << szx);
		assert_int_equal(coap_block_szx_for(coap_block_bytes(szx)), szx);
		assert_int_equal(coap_block_szx_for(coap_block_bytes(szx) - 1), szx ? szx - 1 : 0);
		assert_int_equal(coap_block_at((uint64_t)COAP_BLOCK_NUM_MAX << (szx + 4), szx, &b), 0);
		assert_int_equal(coap_block_offset(&b), (uint64_t)COAP_BLOCK_NUM_MAX << (szx + 4));
		assert_int_equal(coap_block_at((COAP_BLOCK_NUM_MAX + 1ull) << (szx + 4), szx, &b), -ERANGE);
		assert_int_equal(coap_block_at(coap_block_bytes(szx) + 8, szx, &b), -EINVAL);
	}
	assert_int_equal(coap_block_szx_for(5000), 6);
}

/* BW-2. */
static void a_body_is_cut_and_past_its_end_there_is_nothing(void **state)
{
	static const struct { uint64_t total; uint32_t num; uint8_t szx; int r; size_t n; bool more; } rows[] = {
		{ 0, 0, 6, 0, 0, false }, { 0, 1, 6, -ERANGE, 0, false }, { 1024, 0, 6, 0, 1024, false },
		{ 1025, 0, 6, 0, 1024, true }, { 1025, 1, 6, 0, 1, false }, { 1025, 2, 6, -ERANGE, 0, false },
		{ 1024, 1, 6, -ERANGE, 0, false }, { 100, 6, 0, 0, 4, false }, { 100, 5, 0, 0, 16, true }, { 100, 7, 0, -ERANGE, 0, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct coap_block want = { rows[i].num, false, rows[i].szx }, got;
		size_t n = 0;

		assert_int_equal(coap_block_cut(rows[i].total, &want, &got, &n), rows[i].r);
		if (rows[i].r < 0)
			continue;
		assert_int_equal(n, rows[i].n);
		assert_int_equal(got.more, rows[i].more);
		assert_int_equal(got.num, rows[i].num);
	}
}

static uint8_t bytes[4096];

static enum coap_assembly_step add(struct coap_assembly *a, uint32_t num, bool more, uint8_t szx, int cf, size_t n)
{
	struct coap_block b = { num, more, szx };

	return coap_assembly_add(a, &b, cf, SPAN(bytes + coap_block_offset(&b), n));
}

static void an_upload_is_gathered_in_order(void **state)
{
	struct coap_assembly a;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 ^ i >> 8);
	coap_assembly_init(&a, 1000);
	assert_int_equal(add(&a, 0, true, 4, 60, 256), COAP_ASSEMBLY_MORE);
	assert_int_equal(add(&a, 1, true, 4, 60, 256), COAP_ASSEMBLY_MORE);
	assert_int_equal(add(&a, 1, true, 4, 60, 256), COAP_ASSEMBLY_MORE); /* again, the same bytes */
	assert_int_equal(add(&a, 16, true, 1, 60, 32), COAP_ASSEMBLY_MORE); /* the client went smaller */
	assert_int_equal(add(&a, 17, false, 1, 60, 5), COAP_ASSEMBLY_WHOLE);
	assert_int_equal(a.body.n, 549);
	assert_memory_equal(a.body.p, bytes, 549);
	coap_assembly_done(&a);
}

/* BW-3, BW-5, BW-7: each step breaks one rule. */
static void an_upload_that_breaks_a_rule_is_refused(void **state)
{
	static const struct {
		uint32_t num;
		bool more;
		uint8_t szx;
		int cf;
		size_t n;
		enum coap_assembly_step want;
	} rows[] = {
		{ 2, true, 4, 60, 256, COAP_ASSEMBLY_GAP }, { 1, true, 4, 61, 256, COAP_ASSEMBLY_GAP },
		{ 1, true, 4, 60, 255, COAP_ASSEMBLY_BAD }, { 1, true, 4, 60, 0, COAP_ASSEMBLY_BAD },
		{ 1, false, 4, 60, 257, COAP_ASSEMBLY_BAD }, { 1, true, 6, 60, 1024, COAP_ASSEMBLY_GAP },
		{ 8, false, 1, 60, 17, COAP_ASSEMBLY_TOO_LARGE }, { 8, false, 1, 60, 16, COAP_ASSEMBLY_WHOLE },
		{ 7, false, 1, 60, 32, COAP_ASSEMBLY_GAP }, /* last, but shorter than what is there */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct coap_assembly a;

		coap_assembly_init(&a, 256 + 16);
		assert_int_equal(add(&a, 0, true, 4, 60, 256), COAP_ASSEMBLY_MORE);
		assert_int_equal(add(&a, rows[i].num, rows[i].more, rows[i].szx, rows[i].cf, rows[i].n), rows[i].want);
		coap_assembly_done(&a);
	}
}

static void other_bytes_at_the_same_place_are_a_gap(void **state)
{
	struct coap_block b = { 0, true, 0 };
	struct coap_assembly a;

	coap_assembly_init(&a, 100);
	assert_int_equal(coap_assembly_add(&a, &b, -1, SPAN(bytes, 16)), COAP_ASSEMBLY_MORE);
	b.num = 1;
	assert_int_equal(coap_assembly_add(&a, &b, -1, SPAN(bytes, 16)), COAP_ASSEMBLY_MORE);
	assert_int_equal(coap_assembly_add(&a, &b, -1, SPAN(bytes + 1, 16)), COAP_ASSEMBLY_GAP);
	b.num = 0; /* block 0 starts anew */
	assert_int_equal(coap_assembly_add(&a, &b, -1, SPAN(bytes + 1, 16)), COAP_ASSEMBLY_MORE);
	assert_int_equal(a.body.n, 16);
	coap_assembly_done(&a);
}

static void a_download_notices_gaps_and_changes(void **state)
{
	struct coap_etag e1 = { 1, { 1 } }, e2 = { 1, { 2 } }, none = { 0 };
	struct coap_block b = { 0, true, 6 };
	struct coap_fetch f;

	coap_fetch_init(&f, 0, 6);
	b.szx = 2; /* the server prefers 64 */
	assert_int_equal(coap_fetch_add(&f, &b, &e1, 130, SPAN(bytes, 64)), COAP_FETCH_MORE);
	assert_int_equal(f.szx, 2);
	assert_int_equal(f.total, 130);
	b.num = 2;
	assert_int_equal(coap_fetch_add(&f, &b, &e1, 0, SPAN(bytes, 64)), COAP_FETCH_BAD);
	b.num = 1;
	assert_int_equal(coap_fetch_add(&f, &b, &e2, 0, SPAN(bytes, 64)), COAP_FETCH_CHANGED);
	assert_int_equal(coap_fetch_add(&f, &b, &e1, 0, SPAN(bytes, 63)), COAP_FETCH_BAD);
	assert_int_equal(coap_fetch_add(&f, &b, &e1, 0, SPAN(bytes, 64)), COAP_FETCH_MORE);
	b = (struct coap_block){ 2, false, 2 };
	assert_int_equal(coap_fetch_add(&f, &b, &e1, 0, SPAN(bytes, 2)), COAP_FETCH_WHOLE);
	assert_int_equal(f.total, 130);

	coap_fetch_init(&f, 1024, 6); /* a resumed one wants its own block first */
	assert_int_equal(coap_fetch_add(&f, NULL, &none, 0, SPAN(bytes, 5)), COAP_FETCH_BAD);
	b = (struct coap_block){ 1, false, 6 };
	assert_int_equal(coap_fetch_add(&f, &b, &none, 0, SPAN(bytes, 5)), COAP_FETCH_WHOLE);
	coap_fetch_init(&f, 0, 6);
	assert_int_equal(coap_fetch_add(&f, NULL, &none, 0, SPAN(bytes, 5)), COAP_FETCH_WHOLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_option_is_read_and_written_back),
		cmocka_unit_test(szx_7_and_four_bytes_are_refused),
		cmocka_unit_test(offsets_and_numbers_agree_at_every_size),
		cmocka_unit_test(a_body_is_cut_and_past_its_end_there_is_nothing),
		cmocka_unit_test(an_upload_is_gathered_in_order),
		cmocka_unit_test(an_upload_that_breaks_a_rule_is_refused),
		cmocka_unit_test(other_bytes_at_the_same_place_are_a_gap),
		cmocka_unit_test(a_download_notices_gaps_and_changes),
	};
	return cmocka_run_group_tests_name("io/coap_body", tests, NULL, NULL);
}
