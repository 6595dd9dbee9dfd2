/* MCD-5 (frames) and MCD-10 (MIC). */
#include <errno.h>

#include "codec/mcast_frame.h"
#include "vectors.h"

static const struct mcast_sid sid = { { 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8 } };
static const uint8_t group_key[MCAST_KEY_BYTES] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

static struct mac_cmac *mk_new(void)
{
	uint8_t mk[MAC_CMAC_KEY_BYTES];

	mcast_mic_key(&sid, group_key, mk);
	return mac_cmac_new(mk);
}

static void is_hex(struct span got, const char *hex)
{
	_cleanup_buf_ struct buf want = { 0 };

	add_hex(&want, hex);
	assert_int_equal(got.n, want.n);
	assert_memory_equal(got.p, want.p, want.n);
}

static void the_mic_is_that_of_the_vector(void **state)
{
	uint8_t mk[MAC_CMAC_KEY_BYTES], tag[MAC_CMAC_BYTES], frame[MCAST_FRAME_BYTES_MAX];
	struct mcast_data data = { .g = 0, .n = 9, .fragment = SPAN_LIT("\x0c\x0c\x0c\x0c") };
	struct mcast_frame f;

	(void)state;
	mcast_mic_key(&sid, group_key, mk);
	is_hex(SPAN_OF(mk), "6ca6cd1254692334a6f5bfd95fa9011e");
	size_t n = mcast_data_encode(mcast_sid8(&sid), &data, frame);
	is_hex(SPAN(frame, n), "08a8000900 0c0c0c0c");
	_cleanup_(mac_cmac_freep) struct mac_cmac *m = mac_cmac_new(mk);
	mac_cmac_tag(m, SPAN_OF(sid.b), SPAN(frame, n), tag);
	is_hex(SPAN_OF(tag), "0c86f91f0be93538e8868a04f914d646");
	n = mcast_frame_seal(m, &sid, frame, n);
	is_hex(SPAN(frame, n), "08a8000900 0c0c0c0c 0c86f91f");
	assert_int_equal(mcast_frame_decode(SPAN(frame, n), &f), 0);
	assert_true(mcast_frame_check(m, &sid, &f));
}

static struct mcast_announce example_announce(void)
{
	struct mcast_announce a = { .sid = sid, .size = 131072, .z = 64, .log2_e = 12, .alg = 1, .k = 512, .start_s = 30, .length_s = 600,
				    .pace_ms = 50, .gfirst = 0, .glast = 3, .slot_ms = 50, .gid = 7 };

	for (unsigned i = 0; i < sizeof(a.digest16); i++)
		a.digest16[i] = (uint8_t)(0xd0 + i);
	return a;
}

static struct mcast_status example_status(void)
{
	return (struct mcast_status){ .seq = 5, .flags = MCAST_STATUS_ALL, .prob = 127, .window_slots = 300, .n_expected = 41, .n_deficits = 2,
				      .deficits = { { 3, 12 }, { 0, 255 } } };
}

/* One whole frame of each kind, as in the vectors. Returns its length; body_n is the length without the MIC. */
static size_t example(unsigned i, uint8_t frame[static MCAST_FRAME_BYTES_MAX], size_t *body_n)
{
	_cleanup_(mac_cmac_freep) struct mac_cmac *m = mk_new();
	struct mcast_data systematic = { .g = 6, .n = 300, .fragment = SPAN_LIT("0123456789abcdef") };
	struct mcast_data parity = { .g = 255, .n = MCAST_N_MAX, .fragment = SPAN_LIT("parity") };
	struct mcast_announce a = example_announce();
	struct mcast_status s = example_status();

	switch (i) {
	case 0:
		*body_n = mcast_data_encode(mcast_sid8(&sid), &systematic, frame);
		break;
	case 1:
		*body_n = mcast_data_encode(mcast_sid8(&sid), &parity, frame);
		break;
	case 2:
		*body_n = mcast_status_encode(mcast_sid8(&sid), &s, frame);
		break;
	case 3:
		*body_n = mcast_announce_encode(&a, frame);
		break;
	default:
		*body_n = mcast_end_encode(mcast_sid8(&sid), MCAST_END_WINDOW, frame);
		break;
	}
	return mcast_frame_seal(m, &sid, frame, *body_n);
}

enum { N_EXAMPLES = 5 };

static void frames_are_those_of_the_vectors(void **state)
{
	_cleanup_fclose_ FILE *f = fopen(VECTORS "/mcast/frames.txt", "r");
	uint8_t frame[MCAST_FRAME_BYTES_MAX];
	char line[512], name[32], hex[256];
	size_t body_n;
	unsigned i = 0;

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (line[0] == '#' || sscanf(line, "%31s %255s", name, hex) != 2)
			continue;
		size_t n = example(i++, frame, &body_n);
		is_hex(SPAN(frame, n), hex);
	}
	assert_int_equal(i, N_EXAMPLES);
}

static void frames_come_back_as_they_were(void **state)
{
	_cleanup_(mac_cmac_freep) struct mac_cmac *m = mk_new();
	uint8_t frame[MCAST_FRAME_BYTES_MAX];
	struct mcast_frame f;
	size_t body_n;

	(void)state;
	for (unsigned i = 0; i < N_EXAMPLES; i++) {
		size_t n = example(i, frame, &body_n);
		assert_int_equal(mcast_frame_decode(SPAN(frame, n), &f), 0);
		assert_int_equal(f.sid8, 0xa8);
		assert_int_equal(f.body.n, body_n);
		assert_int_equal(f.mic.n, mcast_mic_bytes(f.type));
		assert_true(mcast_frame_check(m, &sid, &f));
		switch (f.type) {
		case MCAST_DATA:
			assert_true(i == 0 ? f.data.g == 6 && f.data.n == 300 && span_eq_str(f.data.fragment, "0123456789abcdef") :
					     f.data.g == 255 && f.data.n == MCAST_N_MAX && span_eq_str(f.data.fragment, "parity"));
			break;
		case MCAST_STATUS: {
			struct mcast_status want = example_status();
			assert_memory_equal(&f.status, &want, sizeof(want));
			break;
		}
		case MCAST_ANNOUNCE: {
			struct mcast_announce want = example_announce();
			assert_true(mcast_sid_eq(&f.announce.sid, &sid) && f.announce.size == want.size && f.announce.z == 64);
			assert_true(f.announce.log2_e == 12 && f.announce.alg == 1 && f.announce.k == 512 && f.announce.start_s == 30);
			assert_memory_equal(f.announce.digest16, want.digest16, sizeof(want.digest16));
			assert_true(f.announce.length_s == 600 && f.announce.pace_ms == 50 && f.announce.gfirst == 0 && f.announce.glast == 3);
			assert_true(f.announce.slot_ms == 50 && f.announce.gid == 7);
			break;
		}
		case MCAST_END:
			assert_int_equal(f.end, MCAST_END_WINDOW);
			break;
		}
	}
}

static void no_truncation_passes(void **state)
{
	_cleanup_(mac_cmac_freep) struct mac_cmac *m = mk_new();
	uint8_t frame[MCAST_FRAME_BYTES_MAX];
	struct mcast_frame f;
	size_t body_n;

	(void)state;
	for (unsigned i = 0; i < N_EXAMPLES; i++) {
		size_t n = example(i, frame, &body_n);
		for (size_t short_n = 0; short_n < n; short_n++) {
			_cleanup_buf_ struct buf part = { 0 };
			buf_add(&part, SPAN(frame, short_n));  /* a copy: a sanitizer sees a read past it */
			int r = mcast_frame_decode(buf_span(&part), &f);
			/* the length of DATA is its fragment's: only the MIC tells */
			if (i <= 1 && short_n > MCAST_DATA_HEAD_BYTES + MCAST_MIC_DATA_BYTES) {
				assert_int_equal(r, 0);
				assert_false(mcast_frame_check(m, &sid, &f));
			} else {
				assert_int_equal(r, -EBADMSG);
			}
		}
		if (i > 1) {
			frame[n] = 0;
			assert_int_equal(mcast_frame_decode(SPAN(frame, n + 1), &f), -EBADMSG);
		}
	}
}

static void every_changed_bit_is_seen(void **state)
{
	_cleanup_(mac_cmac_freep) struct mac_cmac *m = mk_new();
	uint8_t frame[MCAST_FRAME_BYTES_MAX];
	struct mcast_frame f;
	size_t body_n;

	(void)state;
	for (unsigned i = 0; i < N_EXAMPLES; i++) {
		size_t n = example(i, frame, &body_n);
		for (size_t bit = 0; bit < 8 * n; bit++) {
			frame[bit / 8] ^= (uint8_t)(1 << (bit % 8));
			assert_false(mcast_frame_decode(SPAN(frame, n), &f) == 0 && mcast_frame_check(m, &sid, &f));
			frame[bit / 8] ^= (uint8_t)(1 << (bit % 8));
		}
	}
}

static void a_mic_is_of_one_session_and_one_key(void **state)
{
	_cleanup_(mac_cmac_freep) struct mac_cmac *m = mk_new();
	struct mcast_sid other = sid;
	uint8_t frame[MCAST_FRAME_BYTES_MAX], mk[MAC_CMAC_KEY_BYTES];
	struct mcast_frame f;
	size_t body_n, n = example(0, frame, &body_n);

	(void)state;
	assert_int_equal(mcast_frame_decode(SPAN(frame, n), &f), 0);
	other.b[0] ^= 1;
	assert_false(mcast_frame_check(m, &other, &f));        /* the sid is under the MIC */
	mcast_mic_key(&other, group_key, mk);
	_cleanup_(mac_cmac_freep) struct mac_cmac *wrong = mac_cmac_new(mk);
	assert_false(mcast_frame_check(wrong, &sid, &f));      /* and in the key */
}

static void a_data_body_holds_a_ts004_fragment(void **state)
{
	uint8_t frame[MCAST_FRAME_BYTES_MAX], ts004[MCAST_BODY_BYTES_MAX];
	size_t body_n;

	(void)state;
	(void)example(0, frame, &body_n);
	size_t n = mcast_data_ts004(SPAN(frame, body_n), ts004);
	/* 08, then Index&N little-endian: FragIndex 6 & 3 = 2, N = 300 */
	is_hex(SPAN(ts004, n), "08 2c81 30313233343536373839616263646566");
}

static void what_has_no_meaning_is_refused(void **state)
{
	static const struct {
		const char *hex;               /* without the MIC; as many zero bytes follow as the type has */
		int expected;
	} rows[] = {
		{ "08a8000100 00", 0 }, { "08a8000000 00", -EBADMSG },         /* N = 0 */
		{ "08a8000140 00", -EBADMSG }, { "08a8010140 00", 0 }, { "08a8050140 00", 0 }, { "08a8020140 00", -EBADMSG }, /* g & 3 */
		{ "08a8030100 00", -EBADMSG }, { "08a80301c0 00", 0 },
		{ "08a8000100", -EBADMSG },                                    /* no fragment */
		{ "01a8 01 01 ff 1000 0a00 00", 0 }, { "01a8 00 01 ff 1000 0a00 00", -EBADMSG },      /* seq 0 */
		{ "01a8 01 fc ff 1000 0a00 00", 0 },                           /* flags of a later version */
		{ "01a8 01 00 ff 1000 0a00 01", -EBADMSG }, { "01a8 01 00 ff 1000 0a00 01 00", -EBADMSG },
		{ "01a8 01 00 ff 1000 0a00 01 0009", 0 }, { "01a8 01 00 ff 1000 0a00 01 000900", -EBADMSG },
		{ "01a8 01 00 ff 1000 0a00 02 0009 0008", -EBADMSG },          /* a generation twice */
		{ "43a8 00", 0 }, { "43a8 03", 0 }, { "43a8 04", -ENOTSUP }, { "43a8", -EBADMSG }, { "43a8 0000", -EBADMSG },
		{ "42a8 a1a2a3a4a5a6a7a8 00000200 40 0c 01 40 d0d1d2d3d4d5d6d7d8d9dadbdcdddedf 00000000 0000 3200 00 03 32 07", 0 },
		{ "42a7 a1a2a3a4a5a6a7a8 00000200 40 0c 01 40 d0d1d2d3d4d5d6d7d8d9dadbdcdddedf 00000000 0000 3200 00 03 32 07", -EBADMSG }, /* sid8 */
		{ "42a8 a1a2a3a4a5a6a7a8 00000200 00 0c 01 40 d0d1d2d3d4d5d6d7d8d9dadbdcdddedf 00000000 0000 3200 00 03 32 07", -EBADMSG }, /* Z 0 */
		{ "42a8 a1a2a3a4a5a6a7a8 00000200 40 0c 01 00 d0d1d2d3d4d5d6d7d8d9dadbdcdddedf 00000000 0000 3200 00 03 32 07", -EBADMSG }, /* K 0 */
		{ "42a8 a1a2a3a4a5a6a7a8 00000200 40 0c 01 40 d0d1d2d3d4d5d6d7d8d9dadbdcdddedf 00000000 0000 3200 04 03 32 07", -EBADMSG }, /* order */
		{ "00a8 00", -ENOTSUP }, { "02a8 00", -ENOTSUP }, { "40a8 00", -ENOTSUP }, { "41a8 00", -ENOTSUP }, { "44a8 00", -ENOTSUP }, { "ffa8 00", -ENOTSUP },
	};
	struct mcast_frame f;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		add_hex(&b, rows[i].hex);
		size_t mic = mcast_mic_bytes(b.p[0]);
		(void)buf_grow(&b, mic ? mic : MCAST_MIC_CONTROL_BYTES);
		int r = mcast_frame_decode(buf_span(&b), &f);
		if (r != rows[i].expected)
			fail_msg("%s: %d", rows[i].hex, r);
	}
	assert_int_equal(mcast_frame_decode(SPAN_NONE, &f), -EBADMSG);
}

static void fragments_and_deficits_have_a_most(void **state)
{
	static uint8_t big[MCAST_FRAME_BYTES_MAX + 2];
	uint8_t frame[MCAST_FRAME_BYTES_MAX];
	struct mcast_status s = { .seq = 255, .n_deficits = MCAST_STATUS_DEFICITS_MAX };
	struct mcast_frame f;

	(void)state;
	big[0] = MCAST_DATA;
	big[3] = 1;
	const size_t most = MCAST_DATA_HEAD_BYTES + MCAST_FRAGMENT_BYTES_MAX + MCAST_MIC_DATA_BYTES;
	assert_int_equal(mcast_frame_decode(SPAN(big, most), &f), 0);
	assert_int_equal(f.data.fragment.n, MCAST_FRAGMENT_BYTES_MAX);
	for (size_t n = most + 1; n <= sizeof(big); n++)
		assert_int_equal(mcast_frame_decode(SPAN(big, n), &f), -EBADMSG);

	for (uint8_t i = 0; i < MCAST_STATUS_DEFICITS_MAX; i++)
		s.deficits[i] = (struct mcast_status_deficit){ (uint8_t)(10 * i), i };
	size_t n = mcast_status_encode(1, &s, frame);
	assert_int_equal(n, 10 + 2 * MCAST_STATUS_DEFICITS_MAX);
	memset(frame + n, 0, 8);
	assert_int_equal(mcast_frame_decode(SPAN(frame, n + 8), &f), 0);
	assert_memory_equal(&f.status, &s, sizeof(s));
	frame[9]++;                    /* one more than may be, and its bytes are there */
	memset(frame + n, 0xee, 10);
	assert_int_equal(mcast_frame_decode(SPAN(frame, n + 2 + 8), &f), -EBADMSG);
}

static void session_ids_are_counter_and_chance(void **state)
{
	struct mcast_sid s = mcast_sid_of(0x01020304, 0xaabbccdd), back;
	char hex[MCAST_SID_HEX_BYTES];

	(void)state;
	assert_string_equal(mcast_sid_hex(&s, hex), "01020304aabbccdd");
	assert_int_equal(mcast_sid_counter(&s), 0x01020304);
	assert_int_equal(mcast_sid8(&s), 0xdd);
	assert_int_equal(mcast_sid_parse(SPAN_LIT("01020304AABBCCDD"), &back), 0);
	assert_true(mcast_sid_eq(&s, &back));
	assert_int_equal(mcast_sid_parse(SPAN_LIT("01020304aabbccd"), &back), -EBADMSG);
	assert_int_equal(mcast_sid_parse(SPAN_LIT("01020304aabbccddee"), &back), -EBADMSG);
	assert_int_equal(mcast_sid_parse(SPAN_LIT("01020304aabbccdg"), &back), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_mic_is_that_of_the_vector),
		cmocka_unit_test(frames_are_those_of_the_vectors),
		cmocka_unit_test(frames_come_back_as_they_were),
		cmocka_unit_test(no_truncation_passes),
		cmocka_unit_test(every_changed_bit_is_seen),
		cmocka_unit_test(a_mic_is_of_one_session_and_one_key),
		cmocka_unit_test(a_data_body_holds_a_ts004_fragment),
		cmocka_unit_test(what_has_no_meaning_is_refused),
		cmocka_unit_test(fragments_and_deficits_have_a_most),
		cmocka_unit_test(session_ids_are_counter_and_chance),
	};
	return cmocka_run_group_tests_name("codec/mcast_frame", tests, NULL, NULL);
}
