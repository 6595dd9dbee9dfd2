/* MCD-4 (setup, acknowledgement), MCD-6 (pull), MCD-8 (reports), and lists of missing blocks. */
#include <errno.h>

#include "codec/mcast_geometry.h"
#include "codec/mcast_message.h"
#include "vectors.h"

#define SID "h'00000003deadbeef'"
#define DIGEST "h'6658ea560262696dd1f13b782239a064da7c6c5cbaf52fded428a6fc83c7e5af'"
#define GROUP "[h'ff030000000000000000000000004d43', 5683]"
#define KEY "h'000102030405060708090a0b0c0d0e0f'"

static const struct mcast_sid sid = { { 0, 0, 0, 3, 0xde, 0xad, 0xbe, 0xef } };

struct item {
	int key;
	const char *text;                      /* NULL: leave it out */
};

/* A setup in which one item is another, or one more, or not there. */
static void setup_with(struct buf *b, struct item with)
{
	static const struct item items[] = {
		{ 1, SID }, { 2, "131072" }, { 3, DIGEST }, { 4, "64" }, { 5, "512" }, { 6, "12" }, { 7, "1" }, { 9, GROUP }, { 10, "7" },
		{ 12, "[0, 0, 0, 0]" }, { 13, "50" }, { 14, "50" },
	};
	_cleanup_buf_ struct buf inner = { 0 };
	size_t n = 0;
	bool used = false;

	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		if (!used && with.key >= 0 && with.text && with.key < items[i].key) {
			cbor_put_uint(&inner, (uint64_t)with.key);
			add_diag(&inner, with.text);
			used = true;
			n++;
		}
		bool is_it = with.key == items[i].key;
		used |= is_it;
		if (is_it && !with.text)
			continue;
		cbor_put_uint(&inner, (uint64_t)items[i].key);
		add_diag(&inner, is_it ? with.text : items[i].text);
		n++;
	}
	if (!used && with.text) {
		cbor_put_int(&inner, with.key);
		add_diag(&inner, with.text);
		n++;
	}
	cbor_put_map(b, n);
	buf_add(b, buf_span(&inner));
}

static void setups_are_read_item_by_item(void **state)
{
	static const struct {
		struct item with;
		int expected;
	} rows[] = {
		{ { 99, "[1, {2: 3}]" }, 0 },          /* of a later version */
		{ { -1, "1" }, -EBADMSG }, { { 18, "1" }, -EBADMSG },
		{ { 1, NULL }, -EBADMSG }, { { 2, NULL }, -EBADMSG }, { { 3, NULL }, -EBADMSG }, { { 4, NULL }, -EBADMSG }, { { 5, NULL }, -EBADMSG },
		{ { 6, NULL }, -EBADMSG }, { { 7, NULL }, -EBADMSG }, { { 9, NULL }, -EBADMSG }, { { 10, NULL }, -EBADMSG }, { { 12, NULL }, -EBADMSG },
		{ { 13, NULL }, -EBADMSG }, { { 14, NULL }, -EBADMSG },
		{ { 1, "h'00000003deadbe'" }, -EBADMSG }, { { 1, "h'00000003deadbeefff'" }, -EBADMSG }, { { 1, "3" }, -EBADMSG },
		{ { 2, "0" }, -ERANGE }, { { 2, "1" }, 0 }, { { 2, "4294967296" }, -ERANGE }, { { 2, "-1" }, -EBADMSG }, { { 2, "4294967295" }, -EFBIG },
		{ { 2, "8388608" }, 0 }, { { 2, "8388609" }, -EFBIG },  /* 256 generations of 32 KiB, and a byte more */
		{ { 3, "h'00'" }, -EBADMSG }, { { 3, "\"00\"" }, -EBADMSG },
		{ { 4, "7" }, -ERANGE }, { { 4, "8" }, 0 }, { { 4, "232" }, 0 }, { { 4, "233" }, -ERANGE },
		{ { 5, "64" }, 0 }, { { 5, "56" }, -ERANGE }, { { 5, "513" }, -ERANGE }, { { 5, "2040" }, 0 }, { { 5, "2048" }, -ERANGE },
		{ { 6, "5" }, -ERANGE }, { { 6, "6" }, 0 }, { { 6, "15" }, 0 }, { { 6, "16" }, -ERANGE },     /* E > K * Z */
		{ { 7, "0" }, 0 }, { { 7, "2" }, 0 }, { { 7, "3" }, 0 }, { { 7, "256" }, -ERANGE },            /* 3: the ack says that */
		{ { 8, "h'0011223344556677001122334455667700112233445566770011223344556677'" }, 0 },
		{ { 8, "h'001122334455667700112233445566770011223344556677'" }, -EBADMSG }, { { 8, "h''" }, -EBADMSG }, { { 8, "0" }, -EBADMSG },
		{ { 9, "[h'ff030000000000000000000000004d43', 0]" }, -ERANGE }, { { 9, "[h'ff030000000000000000000000004d43', 65536]" }, -ERANGE },
		{ { 9, "[h'fd030000000000000000000000004d43', 5683]" }, -ERANGE }, { { 9, "[h'00000000000000000000ffffe0000101', 5683]" }, 0 },
		{ { 9, "[h'00000000000000000000ffff7f000001', 5683]" }, -ERANGE }, { { 9, "[h'ff03', 5683]" }, -EBADMSG },
		{ { 9, "[h'ff030000000000000000000000004d43']" }, -EBADMSG }, { { 9, "[h'ff030000000000000000000000004d43', 1, 1]" }, -EBADMSG },
		{ { 9, "1" }, -EBADMSG },
		{ { 10, "255" }, 0 }, { { 10, "256" }, -ERANGE }, { { 11, KEY }, 0 }, { { 11, "h'00'" }, -EBADMSG },
		{ { 12, "[0, 600, 3600, 24]" }, 0 }, { { 12, "[0, 600, 600, 24]" }, 0 }, { { 12, "[0, 600, 599, 24]" }, -ERANGE },
		{ { 12, "[0, 600, 0, 1]" }, 0 }, { { 12, "[0, 0, 3600, 24]" }, -ERANGE }, { { 12, "[1, 0, 0, 0]" }, -ERANGE },
		{ { 12, "[0, 600, 3600, 0]" }, -ERANGE }, { { 12, "[0, 600, 3600, 65536]" }, -ERANGE }, { { 12, "[0, 600, 3600]" }, -EBADMSG },
		{ { 12, "[1893456000, 600, 3600, 24]" }, 0 }, { { 12, "[1099511627777, 600, 3600, 24]" }, -ERANGE },
		{ { 12, "[0, 31536001, 31536001, 1]" }, -ERANGE }, { { 12, "[0, 600, \"1\", 1]" }, -EBADMSG },
		{ { 13, "0" }, 0 }, { { 13, "65535" }, 0 }, { { 13, "65536" }, -ERANGE },
		{ { 14, "0" }, -ERANGE }, { { 14, "255" }, 0 }, { { 14, "256" }, -ERANGE },
		{ { 15, "\"mc/e?s=00000003deadbeef\"" }, 0 }, { { 15, "\"\"" }, -EBADMSG }, { { 15, "h'00'" }, -EBADMSG }, { { 15, "\"a\x01\"" }, -EBADMSG },
		{ { 16, "0" }, 0 }, { { 16, "4294967296" }, -ERANGE }, { { 17, "1" }, 0 }, { { 17, "0" }, -ERANGE }, { { 17, "31536001" }, -ERANGE },
	};
	struct mcast_setup s;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		setup_with(&b, rows[i].with);
		int r = mcast_setup_decode(buf_span(&b), &s);
		if (r != rows[i].expected)
			fail_msg("%d => %s: %d", rows[i].with.key, rows[i].with.text ? rows[i].with.text : "(none)", r);
	}
}

static struct mcast_setup full_setup(void)
{
	static const uint8_t address[16] = { 0xff, 3, [14] = 'M', [15] = 'C' };
	static uint8_t table[4 * MCAST_GENERATION_DIGEST_BYTES];
	struct mcast_setup s = { .sid = sid, .size = 131072, .z = 64, .log2_e = 12, .alg = 1, .k = 512, .port = 5683, .gid = 7, .has_key = true,
				 .windows = { 1893456000, 600, 3600, 24 }, .pace_ms = 50, .slot_ms = 50, .has_slot = true, .slot = 1,
				 .lifetime_s = 86400, .envelope_path = SPAN_LIT("mc/e?s=00000003deadbeef") };

	for (unsigned i = 0; i < sizeof(table); i++)
		table[i] = (uint8_t)i;
	s.table = SPAN_OF(table);
	memcpy(s.address, address, sizeof(address));
	for (unsigned i = 0; i < MCAST_KEY_BYTES; i++)
		s.key[i] = (uint8_t)i;
	for (unsigned i = 0; i < DIGEST_BYTES; i++)
		s.digest.b[i] = (uint8_t)(0xd0 + i);
	return s;
}

static void a_setup_comes_back_as_it_was(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct mcast_setup s = full_setup(), back;

	(void)state;
	mcast_setup_encode(&s, &b);
	assert_int_equal(cbor_check(buf_span(&b), CBOR_KEYS_SORTED, NULL), 0);
	assert_int_equal(mcast_post_kind(buf_span(&b)), MCAST_POST_SETUP);
	assert_int_equal(mcast_setup_decode(buf_span(&b), &back), 0);
	assert_true(mcast_sid_eq(&back.sid, &s.sid) && back.size == s.size && digest_eq(&back.digest, &s.digest));
	assert_true(back.z == s.z && back.k == s.k && back.log2_e == s.log2_e && back.alg == s.alg && back.gid == s.gid);
	assert_true(span_eq(back.table, s.table) && span_eq(back.envelope_path, s.envelope_path) && back.port == s.port);
	assert_memory_equal(back.address, s.address, sizeof(s.address));
	assert_true(back.has_key && memcmp(back.key, s.key, sizeof(s.key)) == 0 && back.has_slot && back.slot == 1);
	assert_memory_equal(&back.windows, &s.windows, sizeof(s.windows));
	assert_true(back.pace_ms == 50 && back.slot_ms == 50 && back.lifetime_s == 86400);
	for (size_t n = 0; n < b.n; n++) {
		_cleanup_buf_ struct buf part = { 0 };
		buf_add(&part, SPAN(b.p, n));
		assert_int_equal(mcast_setup_decode(buf_span(&part), &back), -EBADMSG);
		assert_int_equal(mcast_post_kind(buf_span(&part)), -EBADMSG);
	}
	buf_add_u8(&b, 0);
	assert_int_equal(mcast_setup_decode(buf_span(&b), &back), -EBADMSG);
}

static void what_a_setup_leaves_out_has_its_default(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct mcast_setup s;

	(void)state;
	setup_with(&b, (struct item){ 7, "1" });
	assert_int_equal(mcast_setup_decode(buf_span(&b), &s), 0);
	assert_true(!s.has_key && !s.has_slot && s.table.n == 0 && s.envelope_path.n == 0);
	assert_int_equal(s.lifetime_s, MCAST_LIFETIME_S_DEFAULT);
	_cleanup_buf_ struct buf again = { 0 };
	mcast_setup_encode(&s, &again);
	assert_true(span_eq(buf_span(&b), buf_span(&again)));
}

static void setups_have_a_most(void **state)
{
	struct mcast_setup s = full_setup(), back;
	char path[MCAST_PATH_BYTES_MAX + 2];
	_cleanup_buf_ struct buf b = { 0 };

	(void)state;
	memset(path, 'p', sizeof(path));
	s.envelope_path = SPAN(path, MCAST_PATH_BYTES_MAX);
	static uint8_t table[MCAST_SETUP_TABLE_INLINE_MAX * MCAST_GENERATION_DIGEST_BYTES];
	s.size = MCAST_SETUP_TABLE_INLINE_MAX * 32768u;
	s.table = SPAN_OF(table);
	mcast_setup_encode(&s, &b);
	assert_true(b.n <= MCAST_SETUP_BYTES_MAX);     /* the largest that a gateway makes */
	assert_int_equal(mcast_setup_decode(buf_span(&b), &back), 0);
	s.envelope_path.n++;
	buf_clear(&b);
	mcast_setup_encode(&s, &b);
	assert_int_equal(mcast_setup_decode(buf_span(&b), &back), -EMSGSIZE);
	/* one byte over the whole */
	buf_clear(&b);
	setup_with(&b, (struct item){ 7, "1" });
	b.p[0]++;
	cbor_put_uint(&b, 99);
	size_t fill = MCAST_SETUP_BYTES_MAX - b.n - 3;
	cbor_put_bytes_head(&b, fill);
	(void)buf_grow(&b, fill);
	assert_int_equal(b.n, MCAST_SETUP_BYTES_MAX);
	assert_int_equal(mcast_setup_decode(buf_span(&b), &back), 0);
	buf_add_u8(&b, 0);
	assert_int_equal(mcast_setup_decode(buf_span(&b), &back), -EMSGSIZE);
	assert_int_equal(mcast_post_kind(buf_span(&b)), -EMSGSIZE);
}

static void the_key_is_written_to_one_place(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct mcast_setup s = full_setup();

	(void)state;
	mcast_setup_encode(&s, &b);
	assert_true(b.cap > MCAST_SETUP_BYTES_MAX);    /* so nothing grew on the way */
}

/* CBOR that is not in its one form is refused whatever it says (CB-1). */
static void loose_cbor_is_refused(void **state)
{
	static const char *const rows[] = {
		"", "a0 00", "bf ff", "b8 02 01 4800000003deadbeef 12 01", "a2 1801 4800000003deadbeef 12 01", "a2 01 5808 00000003deadbeef 12 01",
		"a2 01 4800000003deadbeef 12 1801", "a2 01 4800000003deadbeef 01 4800000003deadbeef", "a1 01 5f 4800000003deadbeef ff",
		"c1 a2 01 4800000003deadbeef 12 01", "82 01 02", "01", "f6",
	};
	struct mcast_setup s;
	struct mcast_sid got;
	struct mcast_ack a;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		add_hex(&b, rows[i]);
		assert_int_equal(mcast_post_kind(buf_span(&b)), -EBADMSG);
		assert_int_equal(mcast_setup_decode(buf_span(&b), &s), -EBADMSG);
		assert_int_equal(mcast_pull_decode(buf_span(&b), &got), -EBADMSG);
		assert_int_equal(mcast_ack_decode(buf_span(&b), &a), -EBADMSG);
	}
}

static void a_pull_is_told_from_a_setup(void **state)
{
	static const struct { const char *text; int kind, expected; } rows[] = {
		{ "{1: " SID ", 18: 1}", MCAST_POST_PULL, 0 }, { "{1: " SID ", 18: 1, 77: [1]}", MCAST_POST_PULL, 0 },
		{ "{1: " SID ", 18: 2}", MCAST_POST_PULL, -EBADMSG }, { "{1: " SID ", 18: true}", MCAST_POST_PULL, -EBADMSG },
		{ "{18: 1}", MCAST_POST_PULL, -EBADMSG }, { "{1: h'00', 18: 1}", MCAST_POST_PULL, -EBADMSG },
		{ "{1: " SID "}", MCAST_POST_SETUP, -EBADMSG }, { "{}", MCAST_POST_SETUP, -EBADMSG },
	};
	_cleanup_buf_ struct buf pull = { 0 };
	struct mcast_sid got;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		add_diag(&b, rows[i].text);
		assert_int_equal(mcast_post_kind(buf_span(&b)), rows[i].kind);
		assert_int_equal(mcast_pull_decode(buf_span(&b), &got), rows[i].expected);
	}
	mcast_pull_encode(&sid, &pull);
	assert_int_equal(mcast_pull_decode(buf_span(&pull), &got), 0);
	assert_true(mcast_sid_eq(&got, &sid));
	for (size_t n = 0; n < pull.n; n++)
		assert_int_equal(mcast_pull_decode(SPAN(pull.p, n), &got), -EBADMSG);
}

static void acknowledgements_are_read(void **state)
{
	static const struct { const char *text; int expected; } rows[] = {
		{ "{1: " SID ", 2: 0}", 0 }, { "{1: " SID ", 2: 9}", 0 }, { "{1: " SID ", 2: 10}", -ERANGE }, { "{1: " SID "}", -EBADMSG }, { "{2: 0}", -EBADMSG },
		{ "{1: " SID ", 2: 0, 3: 160, 4: 512, 5: 64, 6: h'0f', 7: [1]}", 0 },
		{ "{1: " SID ", 2: 0, 3: 2040}", 0 }, { "{1: " SID ", 2: 0, 3: 2041}", -ERANGE }, { "{1: " SID ", 2: 0, 4: 65536}", -ERANGE },
		{ "{1: " SID ", 2: 0, 5: 256}", -ERANGE }, { "{1: " SID ", 2: 0, 6: 1}", -EBADMSG }, { "{1: " SID ", 2: -1}", -EBADMSG },
		{ "{1: " SID ", 2: 0, 6: h'0000000000000000000000000000000000000000000000000000000000000000'}", 0 },
		{ "{1: " SID ", 2: 0, 6: h'000000000000000000000000000000000000000000000000000000000000000000'}", -EMSGSIZE },
		{ "{1: h'00', 2: 0}", -EBADMSG }, { "{-1: 0, 1: " SID ", 2: 0}", -EBADMSG },
	};
	struct mcast_ack a = { .sid = sid, .code = MCAST_ACK_K, .l = 160, .k_max = 512, .z_max = 64, .complete = SPAN_LIT("\x0f\x01") }, back;
	_cleanup_buf_ struct buf full = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		add_diag(&b, rows[i].text);
		int r = mcast_ack_decode(buf_span(&b), &back);
		if (r != rows[i].expected)
			fail_msg("%s: %d", rows[i].text, r);
	}
	mcast_ack_encode(&a, &full);
	assert_int_equal(mcast_ack_decode(buf_span(&full), &back), 0);
	assert_true(mcast_sid_eq(&back.sid, &sid) && back.code == MCAST_ACK_K && back.l == 160 && back.k_max == 512 && back.z_max == 64);
	assert_true(span_eq(back.complete, a.complete));
	for (size_t n = 0; n < full.n; n++)
		assert_int_equal(mcast_ack_decode(SPAN(full.p, n), &back), -EBADMSG);
	(void)buf_grow(&full, MCAST_ACK_BYTES_MAX + 1 - full.n);
	assert_int_equal(mcast_ack_decode(buf_span(&full), &back), -EMSGSIZE);
	for (int code = 0; code < MCAST_ACK_COUNT; code++) {
		assert_string_not_equal(mcast_ack_name((enum mcast_ack_code)code), "unknown");
		unsigned coap = mcast_ack_coap_code((enum mcast_ack_code)code);
		assert_true(code == MCAST_ACK_ACCEPTED ? coap == 201 : coap >= 400 && coap < 500);
	}
}

static void reports_are_read(void **state)
{
	static const struct { const char *text; int expected; } rows[] = {
		{ "[" SID ", 0, 0, 1, {}]", 0 }, { "[" SID ", 255, 1000, 63, {3: 17, 0: 1}]", 0 }, { "[" SID ", 1, 0, 4294967295, {}]", 0 },
		{ "[" SID ", 256, 0, 0, {}]", -ERANGE }, { "[" SID ", 1, 1001, 0, {}]", -ERANGE }, { "[" SID ", 1, 0, 4294967296, {}]", -ERANGE },
		{ "[" SID ", 1, 0, 0, {256: 1}]", -ERANGE }, { "[" SID ", 1, 0, 0, {255: 2040}]", 0 }, { "[" SID ", 1, 0, 0, {255: 2041}]", -ERANGE },
		{ "[" SID ", 1, 0, 0, {255: 0}]", -ERANGE }, { "[" SID ", 1, 0, 0, {1: 1, 1: 2}]", -EBADMSG }, { "[" SID ", 1, 0, 0, {-1: 1}]", -EBADMSG },
		{ "[" SID ", 1, 0, 0, [1]]", -EBADMSG }, { "[" SID ", 1, 0, 0]", -EBADMSG }, { "[" SID ", 1, 0, 0, {}, 1]", -EBADMSG },
		{ "[h'00', 1, 0, 0, {}]", -EBADMSG }, { "[1, 1, 0, 0, {}]", -EBADMSG }, { "{1: 1}", -EBADMSG }, { "[" SID ", \"1\", 0, 0, {}]", -EBADMSG },
		{ "[" SID ", 1, 0, 0, {0:1,1:1,2:1,3:1,4:1,5:1,6:1,7:1,8:1,9:1,10:1,11:1,12:1,13:1,14:1,15:1,16:1,17:1,18:1,19:1}]", 0 },
		{ "[" SID ", 1, 0, 0, {0:1,1:1,2:1,3:1,4:1,5:1,6:1,7:1,8:1,9:1,10:1,11:1,12:1,13:1,14:1,15:1,16:1,17:1,18:1,19:1,20:1}]", -EMSGSIZE },
	};
	struct mcast_report rep;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		add_diag(&b, rows[i].text);
		int r = mcast_report_decode(buf_span(&b), &rep);
		if (r != rows[i].expected)
			fail_msg("%s: %d", rows[i].text, r);
	}
	_cleanup_buf_ struct buf b = { 0 };
	add_diag(&b, rows[1].text);
	assert_int_equal(mcast_report_decode(buf_span(&b), &rep), 0);
	assert_true(rep.seq == 255 && rep.loss_permille == 1000 && rep.flags == 63 && rep.n_deficits == 2);
	assert_true(rep.deficits[0].g == 3 && rep.deficits[0].d == 17 && rep.deficits[1].g == 0 && rep.deficits[1].d == 1);   /* order kept */
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(mcast_report_decode(SPAN(b.p, n), &rep), -EBADMSG);
	(void)buf_grow(&b, MCAST_REPORT_BYTES_MAX + 1 - b.n);
	assert_int_equal(mcast_report_decode(buf_span(&b), &rep), -EMSGSIZE);
}

static void reports_fit_a_frame_and_say_when_they_are_cut(void **state)
{
	(void)state;
	for (unsigned shape = 0; shape < 64; shape++) {
		struct mcast_report r = { .sid = sid, .seq = shape & 1 ? 200 : 1, .loss_permille = shape & 2 ? 999 : 5,
					  .flags = shape & 4 ? MCAST_REPORT_CORE_ONLY | MCAST_REPORT_LOW_ENERGY : 0,
					  .n_deficits = shape & 8 ? MCAST_REPORT_DEFICITS_MAX : 5 }, back;
		_cleanup_buf_ struct buf b = { 0 };
		for (uint8_t i = 0; i < r.n_deficits; i++) {
			r.deficits[i].g = (uint8_t)(shape & 16 ? 100 + i : i);
			r.deficits[i].d = (uint16_t)(shape & 32 ? 500 : 20 - i);
		}
		mcast_report_encode(&r, &b);
		assert_true(b.n <= MCAST_REPORT_BYTES_MAX);
		assert_int_equal(mcast_report_decode(buf_span(&b), &back), 0);
		assert_int_equal(!!(back.flags & MCAST_REPORT_MORE), back.n_deficits < r.n_deficits);
		assert_int_equal(back.flags & ~(uint32_t)MCAST_REPORT_MORE, r.flags);
		assert_true(back.n_deficits >= 5 && (back.n_deficits == r.n_deficits || b.n > MCAST_REPORT_BYTES_MAX - 6));
		assert_true(back.seq == r.seq && back.loss_permille == r.loss_permille && mcast_sid_eq(&back.sid, &sid));
		for (size_t i = 0; i < back.n_deficits; i++)
			assert_true(back.deficits[i].g == r.deficits[i].g && back.deficits[i].d == r.deficits[i].d);
	}
}

static void missing_blocks_are_a_sequence(void **state)
{
	static const struct { const char *hex; int expected; } rows[] = {
		{ "00", 1 }, { "00 01 02", 3 }, { "02 00 02", 2 }, { "1863", 1 }, { "1864", -ERANGE }, { "", -EBADMSG }, { "1801", -EBADMSG }, { "20", -EBADMSG },
		{ "80", -EBADMSG }, { "00 18", -EBADMSG }, { "1bffffffffffffffff", -ERANGE }, { "f6", -EBADMSG },
	};
	uint8_t bits[16];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		add_hex(&b, rows[i].hex);
		memset(bits, 0, sizeof(bits));
		assert_int_equal(mcast_missing_decode(buf_span(&b), bits, 100), rows[i].expected);
	}
	static uint8_t long_list[MCAST_MISSING_BYTES_MAX + 1];
	assert_int_equal(mcast_missing_decode(SPAN(long_list, MCAST_MISSING_BYTES_MAX), bits, 100), 1);
	assert_int_equal(mcast_missing_decode(SPAN_OF(long_list), bits, 100), -EMSGSIZE);
}

static void a_long_list_of_missing_blocks_goes_in_parts(void **state)
{
	enum { BLOCKS = 8192 };
	uint8_t bits[BLOCKS / 8], back[BLOCKS / 8] = { 0 };
	unsigned parts = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(bits); i++)
		bits[i] = (uint8_t)(i * 37);
	for (uint32_t next = 0; next < BLOCKS; parts++) {
		_cleanup_buf_ struct buf b = { 0 };
		next = mcast_missing_encode(bits, BLOCKS, next, &b);
		assert_true(b.n > 0 && b.n <= MCAST_MISSING_BYTES_MAX);
		assert_true(mcast_missing_decode(buf_span(&b), back, BLOCKS) > 0);
	}
	assert_true(parts > 1);
	assert_memory_equal(bits, back, sizeof(bits));
}

static void messages_are_those_of_the_vectors(void **state)
{
	_cleanup_fclose_ FILE *f = fopen(VECTORS "/mcast/messages.txt", "r");
	char line[1024], name[32], hex[960];
	unsigned n = 0;

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		_cleanup_buf_ struct buf want = { 0 }, got = { 0 };
		if (line[0] == '#' || sscanf(line, "%31s %959s", name, hex) != 2)
			continue;
		add_hex(&want, hex);
		if (strcmp(name, "setup") == 0) {
			struct mcast_setup s = full_setup();
			mcast_setup_encode(&s, &got);
		} else if (strcmp(name, "ack") == 0) {
			struct mcast_ack a = { .sid = sid, .l = 160, .k_max = 512, .z_max = 64 };
			mcast_ack_encode(&a, &got);
		} else if (strcmp(name, "pull") == 0) {
			mcast_pull_encode(&sid, &got);
		} else if (strcmp(name, "report") == 0) {
			struct mcast_report r = { .sid = sid, .seq = 5, .loss_permille = 104, .n_deficits = 2, .deficits = { { 2, 14 }, { 0, 3 } } };
			mcast_report_encode(&r, &got);
		} else {
			static const uint8_t bits[32] = { [0] = 0x06, [31] = 0x80 };   /* 1, 2, 255 */
			assert_string_equal(name, "missing");
			assert_int_equal(mcast_missing_encode(bits, 256, 0, &got), 256);
		}
		assert_int_equal(got.n, want.n);
		assert_memory_equal(got.p, want.p, want.n);
		n++;
	}
	assert_int_equal(n, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(setups_are_read_item_by_item),
		cmocka_unit_test(a_setup_comes_back_as_it_was),
		cmocka_unit_test(what_a_setup_leaves_out_has_its_default),
		cmocka_unit_test(setups_have_a_most),
		cmocka_unit_test(the_key_is_written_to_one_place),
		cmocka_unit_test(loose_cbor_is_refused),
		cmocka_unit_test(a_pull_is_told_from_a_setup),
		cmocka_unit_test(acknowledgements_are_read),
		cmocka_unit_test(reports_are_read),
		cmocka_unit_test(reports_fit_a_frame_and_say_when_they_are_cut),
		cmocka_unit_test(missing_blocks_are_a_sequence),
		cmocka_unit_test(a_long_list_of_missing_blocks_goes_in_parts),
		cmocka_unit_test(messages_are_those_of_the_vectors),
	};
	return cmocka_run_group_tests_name("codec/mcast_message", tests, NULL, NULL);
}
