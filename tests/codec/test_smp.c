/* SMP-1 (header), SMP-2 (definite and indefinite maps, all forms of errors). Messages were built by hand from the public SMP
 * specification (Zephyr's "MCUmgr SMP protocol"). */
#include <errno.h>

#include "codec/smp.h"
#include "vectors.h"

static int reply_of(const char *hex, struct smp_header *h, struct smp_reply *r)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct span body;

	add_hex(&b, hex);
	struct cursor c = { .s = buf_span(&b) };
	int e = smp_message_next(&c, h, &body);
	return e < 0 ? e : smp_reply_decode(body, r);
}

static void requests_are_those_of_the_specification(void **state)
{
	static const uint8_t sha[SMP_SHA_BYTES] = { 0xaa };
	const struct {
		struct smp_header h;
		struct smp_request r;
		const char *hex;
	} t[] = {
		{ { .op = SMP_READ, .version = SMP_V2, .group = 0, .seq = 7, .command = SMP_OS_PARAMS }, { 0 }, "08 00 0001 0000 07 06 a0" },
		{ { .op = SMP_READ, .version = SMP_V1, .group = 1, .seq = 255 }, { 0 }, "00 00 0001 0001 ff 00 a0" },
		{ { .op = SMP_WRITE, .version = SMP_V2, .group = 1, .seq = 1, .command = SMP_IMAGE_UPLOAD },
		  { .has_off = true, .off = 300, .data = SPAN_LIT("\x01\x02") },
		  "0a 00 0010 0001 01 01 a2 636f6666 19012c 6464617461 420102" },
		{ { .op = SMP_WRITE, .version = SMP_V2, .group = 1, .seq = 2 }, { .hash = SPAN_LIT("\xbb"), .has_confirm = true },
		  "0a 00 0011 0001 02 00 a2 6468617368 41bb 67636f6e6669726d f4" },
		{ { .op = SMP_WRITE, .version = SMP_V2, .group = 1, .seq = 3 }, { .has_confirm = true, .confirm = true },
		  "0a 00 000a 0001 03 00 a1 67636f6e6669726d f5" },
		{ { .op = SMP_WRITE, .version = SMP_V2, .group = 0, .seq = 4, .command = SMP_OS_RESET }, { 0 }, "0a 00 0001 0000 04 05 a0" },
		{ { .op = SMP_WRITE, .version = SMP_V2, .group = 1, .seq = 5, .command = SMP_IMAGE_UPLOAD },
		  { .has_off = true, .has_len = true, .len = 70000, .image = 1, .sha = SPAN_OF(sha), .data = SPAN_LIT("\x3d") },
		  "0a 00 0043 0001 05 01 a5 65696d616765 01 636c656e 1a00011170 636f6666 00 63736861 5820 aa00000000000000000000000000000000000000"
		  "000000000000000000000000 6464617461 413d" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		_cleanup_buf_ struct buf b = { 0 }, want = { 0 }, scratch = { 0 };
		struct cursor c;
		struct smp_header h;
		struct smp_request r;
		struct span body;

		smp_request_encode(&b, &t[i].h, &t[i].r);
		add_hex(&want, t[i].hex);
		assert_int_equal(b.n, want.n);
		assert_memory_equal(b.p, want.p, want.n);
		c = (struct cursor){ .s = buf_span(&b) };
		assert_int_equal(smp_message_next(&c, &h, &body), 0);
		assert_true(cur_at_end(&c));
		assert_int_equal(h.seq, t[i].h.seq);
		assert_int_equal(h.group, t[i].h.group);
		assert_int_equal(smp_request_decode(body, &scratch, &r), 0);
		assert_true(r.off == t[i].r.off && r.len == t[i].r.len && r.image == t[i].r.image && r.confirm == t[i].r.confirm);
		assert_true(span_eq(r.data, t[i].r.data) && span_eq(r.sha, t[i].r.sha) && span_eq(r.hash, t[i].r.hash));
	}
}

static void a_list_reads_the_same_from_definite_and_indefinite_maps(void **state)
{
	/* {images: [{slot 0, version "1.2.3", hash h'0102', bootable, confirmed, active}], splitStatus: 0} */
	static const char *const forms[] = {
		"09 00 0050 0001 07 00 a2 66696d61676573 81 a6 64736c6f74 00 6776657273696f6e 65312e322e33 6468617368 420102 68626f6f7461626c65 f5"
		" 69636f6e6669726d6564 f5 66616374697665 f5 6b73706c6974537461747573 00",
		"09 00 0055 0001 07 00 bf 66696d61676573 9f bf 64736c6f74 00 6776657273696f6e 65312e322e33 6468617368 5802 0102 68626f6f7461626c65 f5"
		" 69636f6e6669726d6564 f5 66616374697665 f5 ff ff 6b73706c6974537461747573 1800 ff",
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct smp_reply r;
		struct span body;

		add_hex(&b, forms[i]);
		body = span_sub(buf_span(&b), SMP_HEADER_BYTES, b.n); /* the length in the text above is not what is tried here */
		assert_int_equal(smp_reply_decode(body, &r), 0);
		assert_true(r.has_images && r.n_images == 1 && !smp_failed(&r.error));
		assert_string_equal(r.images[0].version, "1.2.3");
		assert_true(r.images[0].active && r.images[0].confirmed && r.images[0].bootable && !r.images[0].pending && !r.images[0].permanent);
		assert_int_equal(r.images[0].n_hash, 2);
		assert_memory_equal(r.images[0].hash, "\x01\x02", 2);
	}
}

/* ---- what others say (tests/vectors/smp/README.md) ---- */

/* The message of that name, into b. */
static struct span message_of(const char *file, const char *name, struct buf *b, struct smp_header *h)
{
	_cleanup_buf_ struct buf text = { 0 };
	char key[32];
	struct span body = SPAN_NONE;

	add_file(&text, file);
	(void)snprintf(key, sizeof(key), "\n%s ", name); /* ours, short */
	char *at = strstr((char *)text.p, key);
	assert_non_null(at);
	at += strlen(key);
	at[strcspn(at, "\n")] = 0;
	buf_clear(b);
	add_hex(b, at);
	struct cursor c = { .s = buf_span(b) };
	assert_int_equal(smp_message_next(&c, h, &body), 0);
	assert_true(cur_at_end(&c));
	return body;
}

static void replies_of_a_zephyr_server_are_read(void **state)
{
	static const struct {
		const char *name, *running, *other;
		bool confirmed, pending;
	} lists[] = {
		{ "list-before", "7.0.0.7", "6.0.0.6", true, false }, { "list-uploaded", "7.0.0.7", "8.0.0.8", true, false },
		{ "test", "7.0.0.7", "8.0.0.8", true, true }, { "list-on-trial", "8.0.0.8", "7.0.0.7", false, false },
		{ "confirm", "8.0.0.8", "7.0.0.7", true, false }, { "list-confirmed", "8.0.0.8", "7.0.0.7", true, false },
		{ "list-reverted", "8.0.0.8", "9.0.0.9", true, false },
	};
	static const struct { const char *name; uint64_t off; } uploads[] = { { "upload-first", 429 }, { "upload-last", 108183 } };
	_cleanup_buf_ struct buf b = { 0 };
	struct smp_header h;
	struct smp_reply r;

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		assert_int_equal(smp_reply_decode(message_of("smp/zephyr-3.2.99.txt", lists[i].name, &b, &h), &r), 0);
		assert_int_equal(h.version, SMP_V1); /* whatever the request was */
		assert_true(r.has_images && r.n_images == 2 && !smp_failed(&r.error));
		assert_string_equal(r.images[0].version, lists[i].running);
		assert_string_equal(r.images[1].version, lists[i].other);
		assert_true(r.images[0].active && r.images[0].bootable && !r.images[1].active);
		assert_int_equal(r.images[0].confirmed, lists[i].confirmed);
		assert_int_equal(r.images[1].pending, lists[i].pending);
		assert_true(r.images[0].n_hash == 32 && r.images[1].n_hash == 32);
	}
	for (size_t i = 0; i < sizeof(uploads) / sizeof(*uploads); i++) {
		assert_int_equal(smp_reply_decode(message_of("smp/zephyr-3.2.99.txt", uploads[i].name, &b, &h), &r), 0);
		assert_true(r.has_off && r.off == uploads[i].off && !r.has_match && !smp_failed(&r.error));
	}
	assert_int_equal(smp_reply_decode(message_of("smp/zephyr-3.2.99.txt", "reset", &b, &h), &r), 0);
	assert_true(h.group == SMP_GROUP_OS && h.command == SMP_OS_RESET && !smp_failed(&r.error));
	assert_int_equal(smp_reply_decode(message_of("smp/zephyr-3.2.99.txt", "params-refused", &b, &h), &r), 0);
	assert_true(smp_is_base(&r.error, SMP_NOTSUP));
}

static void replies_of_a_zephyr_server_of_version_2_are_read(void **state)
{
	static const struct { const char *name; bool has_group; unsigned rc; } refusals[] = {
		{ "test-unknown-hash", true, SMP_IMAGE_HASH_NOT_FOUND }, { "test-bad-hash", true, SMP_IMAGE_BAD_HASH },
		{ "upload-bad-magic", true, SMP_IMAGE_BAD_MAGIC }, { "upload-no-length", true, SMP_IMAGE_LENGTH_MISSING },
		{ "upload-too-large", true, SMP_IMAGE_TOO_LARGE }, { "unknown-command", false, SMP_NOTSUP }, { "not-cbor", false, SMP_INVAL },
		{ "upload-bad-magic-v1", false, SMP_UNKNOWN },
	};
	_cleanup_buf_ struct buf b = { 0 };
	struct smp_header h;
	struct smp_reply r;

	(void)state;
	assert_int_equal(smp_reply_decode(message_of("smp/zephyr-3.4.99.txt", "params", &b, &h), &r), 0);
	assert_true(h.version == SMP_V2 && r.has_params && r.buf_size == 2048 && r.buf_count == 4);
	assert_int_equal(smp_reply_decode(message_of("smp/zephyr-3.4.99.txt", "list-before", &b, &h), &r), 0);
	assert_true(h.version == SMP_V2 && r.n_images == 2 && r.images[0].active && r.images[0].confirmed);
	assert_int_equal(smp_reply_decode(message_of("smp/zephyr-3.4.99.txt", "list-on-trial", &b, &h), &r), 0);
	assert_true(r.n_images == 2 && r.images[0].active && !r.images[0].confirmed && r.images[1].confirmed);
	assert_int_equal(smp_reply_decode(message_of("smp/zephyr-3.4.99.txt", "upload-first", &b, &h), &r), 0);
	assert_true(r.has_off && r.off == 429);
	assert_int_equal(smp_reply_decode(message_of("smp/zephyr-3.4.99.txt", "reset", &b, &h), &r), 0);
	assert_false(smp_failed(&r.error));
	for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
		assert_int_equal(smp_reply_decode(message_of("smp/zephyr-3.4.99.txt", refusals[i].name, &b, &h), &r), 0);
		assert_int_equal(r.error.has_group, refusals[i].has_group);
		assert_int_equal(r.error.group, refusals[i].has_group ? SMP_GROUP_IMAGE : 0);
		assert_int_equal(r.error.rc, refusals[i].rc);
	}
}

static void requests_of_another_client_are_read(void **state)
{
	_cleanup_buf_ struct buf b = { 0 }, scratch = { 0 };
	struct smp_header h;
	struct smp_request r;

	(void)state;
	assert_int_equal(smp_request_decode(message_of("smp/cmcumgr-0.2.1.txt", "list", &b, &h), &scratch, &r), 0);
	assert_true(h.op == SMP_READ && h.version == SMP_V1 && h.group == SMP_GROUP_IMAGE && h.command == SMP_IMAGE_STATE);
	assert_int_equal(smp_request_decode(message_of("smp/cmcumgr-0.2.1.txt", "upload-first", &b, &h), &scratch, &r), 0);
	assert_true(h.command == SMP_IMAGE_UPLOAD && r.has_off && r.off == 0 && r.has_len && r.len == 102184);
	assert_true(r.sha.n == 32 && r.data.n == 186);
	assert_int_equal(smp_request_decode(message_of("smp/cmcumgr-0.2.1.txt", "upload-next", &b, &h), &scratch, &r), 0);
	assert_true(r.has_off && r.off == 186 && !r.has_len && r.sha.n == 0 && r.data.n == 227);
	assert_int_equal(smp_request_decode(message_of("smp/cmcumgr-0.2.1.txt", "upload-far", &b, &h), &scratch, &r), 0);
	assert_true(r.off > UINT16_MAX && r.data.n > 0);
	assert_int_equal(smp_request_decode(message_of("smp/cmcumgr-0.2.1.txt", "test", &b, &h), &scratch, &r), 0);
	assert_true(h.command == SMP_IMAGE_STATE && r.hash.n == 32 && !r.confirm);
	assert_int_equal(smp_request_decode(message_of("smp/cmcumgr-0.2.1.txt", "reset", &b, &h), &scratch, &r), 0);
	assert_true(h.op == SMP_WRITE && h.group == SMP_GROUP_OS && h.command == SMP_OS_RESET);
	assert_int_equal(smp_request_decode(message_of("smp/cmcumgr-0.2.1.txt", "confirm", &b, &h), &scratch, &r), 0);
	assert_true(r.has_confirm && r.confirm && r.hash.n == 0);
}

/* As mynewt-mcumgr: an upload says rc 0, a list splitStatus 0 and never rc. */
static void an_old_server_says_rc_but_in_a_list(void **state)
{
	const struct smp_header h = { .op = SMP_WRITE_REPLY, .group = 1, .command = 1 }, l = { .op = SMP_READ_REPLY, .group = 1 };
	const struct smp_reply list = { .has_images = true, .n_images = 0 }, off = { .has_off = true, .off = 5 };
	_cleanup_buf_ struct buf b = { 0 }, want = { 0 };

	(void)state;
	smp_reply_encode(&b, &h, &off, SMP_RC_ZERO);
	smp_reply_encode(&b, &l, &list, SMP_RC_ZERO);
	add_hex(&want, "03 00 000a 0001 00 01 a2 627263 00 636f6666 05  01 00 0016 0001 00 00 a2 66696d61676573 80 6b73706c6974537461747573 00");
	assert_int_equal(b.n, want.n);
	assert_memory_equal(b.p, want.p, want.n);
}

static void errors_are_read_in_every_form(void **state)
{
	const struct {
		const char *hex;
		bool has_group;
		unsigned rc;
		const char *text;
	} t[] = {
		{ "03 00 0001 0001 01 01 a0", false, 0, NULL },
		{ "03 00 0005 0001 01 01 a1 627263 00", false, 0, NULL },
		{ "03 00 0006 0001 01 01 bf 627263 08 ff", false, 8, "not supported (rc 8)" },
		{ "03 00 0012 0001 01 01 bf 627263 03 6372736e 67 6d61676963 2021 ff", false, 3, "invalid value (rc 3): magic !" },
		{ "0b 00 0013 0001 01 01 bf 63657272 bf 6567726f7570 01 627263 09 ff ff", true, 9, "no free slot (image error 9)" },
		{ "0b 00 0013 0001 01 01 a1 63657272 a2 6567726f7570 19 0040 627263 09", true, 9, "error 9 of group 64" },
		{ "03 00 0006 0001 01 01 a1 627263 1863", false, 99, "rc 99" },
		{ "03 00 0005 0001 01 01 a1 627263 20", false, 1, "unknown error (rc 1)" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		_cleanup_buf_ struct buf b = { 0 }, text = { 0 };
		struct smp_reply r;

		add_hex(&b, t[i].hex);
		assert_int_equal(smp_reply_decode(span_sub(buf_span(&b), SMP_HEADER_BYTES, b.n), &r), 0);
		assert_int_equal(r.error.has_group, t[i].has_group);
		assert_int_equal(r.error.rc, t[i].rc);
		assert_int_equal(smp_failed(&r.error), t[i].text != NULL);
		if (!t[i].text)
			continue;
		smp_error_text(&r.error, &text);
		assert_string_equal(buf_str(&text), t[i].text);
	}
}

static void bad_messages_are_refused(void **state)
{
	static const char *const bodies[] = {
		"", "bf", "ff", "a1", "a1 636f6666", "bf 636f6666 ff", "a0 00", "bf ff ff",
		"a1 636f6666 20",                     /* off -1 */
		"a1 636f6666 f5",                     /* off true */
		"a1 636f6666 c100",                   /* a tag */
		"a2 636f6666 00 636f6666 01",         /* twice */
		"a1 63657272 a1 627263 01",           /* err without group */
		"a1 63657272 a1 6567726f7570 01",     /* err without rc */
		"bf 636f6666 1a ff",                  /* cut head */
		"a1 636f6666 1c",                     /* reserved length */
		"a1 7f 61 6f ff 00",                  /* text in pieces */
		"bb ffffffffffffffff",                /* hostile count */
		"a1 6464617461 5b ffffffffffffffff",  /* hostile length */
		"a1 66696d61676573 89 a0a0a0a0a0a0a0a0a0",    /* images: nine */
		"a1 6372736e 62 c328",                /* no UTF-8 */
		"a1 6372736e 62 6100",                /* NUL inside */
		"01",
	};
	struct smp_header h;
	struct smp_reply r;

	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		_cleanup_buf_ struct buf b = { 0 };

		add_hex(&b, bodies[i]);
		if (smp_reply_decode(buf_span(&b), &r) >= 0)
			fail_msg("accepted: %s", bodies[i]);
	}
	assert_int_equal(reply_of("0b 00 0002 0001 01 01 a0", &h, &r), -EBADMSG); /* says more than there is: rc 9 with servers */
	assert_int_equal(reply_of("2b 00 0001 0001 01 01 a0", &h, &r), -EBADMSG); /* reserved bits */
	assert_int_equal(reply_of("0d 00 0001 0001 01 01 a0", &h, &r), -EBADMSG); /* op 5 */
	assert_int_equal(reply_of("0b 00 1001 0001 01 01 a0", &h, &r), -EMSGSIZE);
	assert_int_equal(reply_of("0b 00 00", &h, &r), -EBADMSG);
}

static void nesting_is_bounded(void **state)
{
	(void)state;
	for (size_t depth = 2; depth < 40; depth++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct smp_reply r;

		for (size_t i = 0; i < depth; i++)
			add_hex(&b, i ? "9f" : "bf 61 78");
		for (size_t i = 0; i < depth; i++)
			buf_add_u8(&b, 0xff);
		assert_int_equal(smp_reply_decode(buf_span(&b), &r), depth <= SMP_DEPTH_MAX ? 0 : -E2BIG);
	}
}

static struct smp_reply full_reply(void)
{
	struct smp_reply r = { .has_off = true, .off = 123456789, .has_match = true, .match = true, .has_params = true, .buf_size = 2048,
			       .buf_count = 4, .has_images = true, .n_images = 2,
			       .error = { .has_group = true, .group = 1, .rc = 30, .reason = "no room" } };

	for (size_t i = 0; i < 2; i++) {
		r.images[i] = (struct smp_image){ .slot = (uint32_t)i, .version = "1.0.0.77", .n_hash = 32, .active = i == 0, .pending = i == 1 };
		memset(r.images[i].hash, (int)(0x10 + i), 32);
	}
	return r;
}

static void replies_survive_both_forms_and_no_truncation(void **state)
{
	struct smp_reply want = full_reply();

	(void)state;
	for (unsigned flags = 0; flags < 2; flags++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct smp_header h = { .op = SMP_WRITE_REPLY, .version = SMP_V2, .group = 1, .seq = 9, .command = 1 };
		struct smp_reply r;

		smp_reply_encode(&b, &h, &want, flags);
		struct span body = span_sub(buf_span(&b), SMP_HEADER_BYTES, b.n);
		assert_int_equal(smp_reply_decode(body, &r), 0);
		assert_true(r.off == want.off && r.match && r.buf_count == 4 && r.n_images == 2 && r.error.rc == 30);
		assert_string_equal(r.error.reason, "no room");
		assert_memory_equal(r.images, want.images, sizeof(want.images));
		for (size_t n = 0; n < body.n; n++)
			assert_true(smp_reply_decode(span_sub(body, 0, n), &r) < 0);
		for (size_t n = 0; n < b.n; n++) {
			struct cursor c = { .s = span_sub(buf_span(&b), 0, n) };
			assert_int_equal(smp_message_next(&c, &h, &body), -EBADMSG);
		}
	}
}

static void an_image_list_over_the_limit_and_a_long_hash_are_refused(void **state)
{
	_cleanup_buf_ struct buf b = { 0 }, hash = { 0 };
	struct smp_reply r;

	(void)state;
	buf_grow(&hash, SMP_HASH_BYTES_MAX + 1);
	for (size_t n = SMP_HASH_BYTES_MAX; n <= SMP_HASH_BYTES_MAX + 1; n++) {
		buf_clear(&b);
		add_hex(&b, "a1 66696d61676573 81 a1 6468617368");
		cbor_put_bytes(&b, span_sub(buf_span(&hash), 0, n));
		assert_int_equal(smp_reply_decode(buf_span(&b), &r), n == SMP_HASH_BYTES_MAX ? 0 : -EBADMSG);
	}
	buf_clear(&b);
	buf_grow(&b, SMP_BODY_BYTES_MAX + 1);
	assert_int_equal(smp_reply_decode(buf_span(&b), &r), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_those_of_the_specification),
		cmocka_unit_test(a_list_reads_the_same_from_definite_and_indefinite_maps),
		cmocka_unit_test(replies_of_a_zephyr_server_are_read),
		cmocka_unit_test(replies_of_a_zephyr_server_of_version_2_are_read),
		cmocka_unit_test(requests_of_another_client_are_read),
		cmocka_unit_test(an_old_server_says_rc_but_in_a_list),
		cmocka_unit_test(errors_are_read_in_every_form),
		cmocka_unit_test(bad_messages_are_refused),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(replies_survive_both_forms_and_no_truncation),
		cmocka_unit_test(an_image_list_over_the_limit_and_a_long_hash_are_refused),
	};

	return cmocka_run_group_tests_name("codec/smp", tests, NULL, NULL);
}
