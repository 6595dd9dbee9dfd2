/* NDFU-1, NDFU-6: packages are checked before radio is used, and every error of a node is a sentence. Messages are those of Nordic's
 * protocol description (nRF5 SDK, "DFU protocol" and "BLE DFU"); the packages in vectors/nordic are Python's. */
#include <errno.h>

#include "../nordic_make.h"
#include "vectors.h"

static uint8_t image_bytes[5000];

static struct span image(void)
{
	for (size_t i = 0; i < sizeof(image_bytes); i++)
		image_bytes[i] = (uint8_t)(i * 7 + i / 256);
	return SPAN_OF(image_bytes);
}

static int open_made(const struct make_init *m, char reason[static NORDIC_REASON_BYTES])
{
	_cleanup_buf_ struct buf zip = { 0 };
	struct nordic_package p = { 0 };

	make_package(&zip, m);
	int r = nordic_package_open(buf_span(&zip), &p, reason);
	nordic_package_done(&p);
	return r;
}

static void a_package_is_opened(void **state)
{
	_cleanup_buf_ struct buf zip = { 0 };
	struct make_init m = { .image = image(), .version = 4711 };
	char reason[NORDIC_REASON_BYTES];
	struct nordic_package p;

	(void)state;
	make_package(&zip, &m);
	assert_int_equal(nordic_package_open(buf_span(&zip), &p, reason), 0);
	assert_int_equal(p.n_parts, 1);
	assert_false(p.is_legacy);
	assert_true(p.parts[0].kind == NORDIC_APPLICATION && p.parts[0].has_version && p.parts[0].version == 4711);
	assert_int_equal(nordic_package_bytes(&p), sizeof(image_bytes));
	assert_memory_equal(p.parts[0].image.p, image_bytes, sizeof(image_bytes));
	nordic_package_done(&p);
	assert_int_equal(p.n_parts, 0);
}

static void packages_of_another_program_are_opened(void **state)
{
	static const struct { const char *file; size_t n; bool is_legacy; } rows[] = {
		{ "nordic/secure.zip", 1, false }, { "nordic/both.zip", 2, false }, { "nordic/legacy.zip", 1, true },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf zip = { 0 };
		char reason[NORDIC_REASON_BYTES];
		struct nordic_package p;

		add_file(&zip, rows[i].file);
		assert_int_equal(nordic_package_open(buf_span(&zip), &p, reason), 0);
		assert_int_equal(p.n_parts, rows[i].n);
		assert_int_equal(p.is_legacy, rows[i].is_legacy);
		assert_int_equal(p.parts[p.n_parts - 1].kind, NORDIC_APPLICATION);
		if (rows[i].n == 2) {
			assert_int_equal(p.parts[0].kind, NORDIC_SOFTDEVICE_BOOTLOADER);
			assert_int_equal(p.parts[0].softdevice_bytes + p.parts[0].bootloader_bytes, p.parts[0].image.n);
		}
		nordic_package_done(&p);
		for (size_t n = 0; n < zip.n; n += 7) /* each cut is refused, and nothing leaks */
			assert_true(nordic_package_open(span_sub(buf_span(&zip), 0, n), &p, reason) < 0 && reason[0]);
	}
}

static void what_the_node_would_refuse_is_not_sent(void **state)
{
	static const struct { struct make_init m; const char *says; } rows[] = {
		{ { .size_off = 1 }, "its init packet says" },
		{ { .size_off = -1 }, "its init packet says" },
		{ { .has_bad_hash = true }, "another hash than its init packet says" },
		{ { .kind = NORDIC_BOOTLOADER }, "says that it is of the bootloader" },
		{ { .is_unsigned = true }, "not signed" },
		{ { .hash_kind = NORDIC_SHA512 }, "another hash than SHA-256" },
	};
	char reason[NORDIC_REASON_BYTES];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct make_init m = rows[i].m;
		m.image = image();
		assert_true(open_made(&m, reason) < 0);
		assert_non_null(strstr(reason, rows[i].says));
	}
}

static void manifests_that_are_not_right_are_refused(void **state)
{
	static const struct { const char *json; const char *says; } rows[] = {
		{ "", "cannot be read" }, { "[]", "no \"manifest\"" }, { "{\"manifest\":[]}", "no \"manifest\"" },
		{ "{\"manifest\":{}}", "names no image" }, { "{\"manifest\":{\"external_application\":{}}}", "kind that is not known" },
		{ "{\"manifest\":{\"application\":1}}", "no object" }, { "{\"manifest\":{\"application\":{}}}", "names no dat_file" },
		{ "{\"manifest\":{\"application\":{\"bin_file\":\"app.bin\"}}}", "names no dat_file" },
		{ "{\"manifest\":{\"application\":{\"dat_file\":\"app.dat\"}}}", "names no bin_file" },
		{ "{\"manifest\":{\"application\":{\"dat_file\":\"app.dat\",\"bin_file\":\"../app.bin\"}}}", "is not in the package" },
		{ "{\"manifest\":{\"application\":{\"dat_file\":\"app.bin\",\"bin_file\":\"app.dat\"}}}", "has more than 512 bytes" },
		{ "{\"manifest\":{\"application\":{\"dat_file\":\"empty\",\"bin_file\":\"app.bin\"}}}", "is empty" },
		{ "{\"manifest\":{\"softdevice\":{\"dat_file\":\"sd.dat\",\"bin_file\":\"app.bin\"},\"bootloader\":{\"dat_file\":\"app.dat\",\"bin_file\":\"app.bin\"}}}",
		  "belong into one image" },
	};
	_cleanup_buf_ struct buf init = { 0 }, sd = { 0 };
	struct make_init m = { .image = image() }, m_sd = { .image = image(), .kind = NORDIC_SOFTDEVICE };

	(void)state;
	make_init_packet(&init, &m);
	make_init_packet(&sd, &m_sd);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char reason[NORDIC_REASON_BYTES];
		struct nordic_package p;
		struct make_zip z = { 0 };

		zip_add(&z, "app.bin", image());
		zip_add(&z, "app.dat", buf_span(&init));
		zip_add(&z, "sd.dat", buf_span(&sd));
		zip_add(&z, "empty", SPAN_NONE);
		zip_add(&z, "manifest.json", span_str(rows[i].json));
		zip_end(&z);
		assert_true(nordic_package_open(buf_span(&z.out), &p, reason) < 0);
		if (!strstr(reason, rows[i].says))
			fail_msg("\"%s\": %s", rows[i].json, reason);
		buf_done(&z.out);
	}
}

static void a_legacy_image_needs_its_crc(void **state)
{
	_cleanup_buf_ struct buf zip = { 0 };
	char reason[NORDIC_REASON_BYTES];
	struct nordic_package p;

	(void)state;
	assert_int_equal(nordic_crc16(SPAN_LIT("123456789")), 0x29b1);
	make_legacy_package(&zip, image());
	assert_int_equal(nordic_package_open(buf_span(&zip), &p, reason), 0);
	assert_true(p.is_legacy && p.parts[0].application_bytes == sizeof(image_bytes) && p.parts[0].softdevice_bytes == 0);
	nordic_package_done(&p);

	_cleanup_buf_ struct buf init = { 0 };
	struct make_zip z = { 0 };
	make_legacy_init(&init, image());
	init.p[init.n - 1] ^= 1;
	zip_add(&z, "b", image());
	zip_add(&z, "d", buf_span(&init));
	zip_add(&z, "manifest.json", SPAN_LIT("{\"manifest\":{\"application\":{\"bin_file\":\"b\",\"dat_file\":\"d\",\"init_packet_data\":{}}}}"));
	zip_end(&z);
	assert_int_equal(nordic_package_open(buf_span(&z.out), &p, reason), -EBADMSG);
	assert_non_null(strstr(reason, "another CRC"));
	buf_done(&z.out);
}

static void init_packets_are_read(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct make_init m = { .image = image(), .version = 0xffffffff };
	struct nordic_init in;

	(void)state;
	make_init_packet(&b, &m);
	assert_int_equal(nordic_init_decode(buf_span(&b), &in), 0);
	assert_true(in.is_signed && in.has_version && in.has_hardware && !in.is_debug);
	assert_int_equal(in.version, 0xffffffff);
	assert_int_equal(in.hardware, 52);
	assert_int_equal(in.n_softdevices, 2);
	assert_int_equal(in.softdevices[0], 0x100);
	assert_int_equal(in.softdevices[1], 0xfffe);
	assert_int_equal(in.application_bytes, sizeof(image_bytes));
	assert_int_equal(in.hash_kind, NORDIC_SHA256);
	assert_int_equal(in.hash.n, DIGEST_BYTES);
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(nordic_init_decode(span_sub(buf_span(&b), 0, n), &in), -EBADMSG);
	buf_grow(&b, NORDIC_INIT_BYTES_MAX);
	assert_int_equal(nordic_init_decode(buf_span(&b), &in), -EMSGSIZE);
}

static void init_packets_that_are_not_right_are_refused(void **state)
{
	static const struct { const char *hex; int error; } rows[] = {
		{ "0a04 0801 1200", 0 },                       /* a bare command, nothing in it */
		{ "0a02 0801", -EBADMSG },                     /* init without an init command */
		{ "0a02 0800", -ENOTSUP },                     /* reset */
		{ "0a04 0801 1200 0a04 0801 1200", -EBADMSG }, /* two commands */
		{ "0a04 0801 1200 1200", -EBADMSG },           /* signed and not */
		{ "1206 0a04 0801 1200", -EBADMSG },           /* signed without a signature */
		{ "120b 0a04 0801 1200 1000 1a01aa", 0 },
		{ "0a06 0801 1202 2004", -ENOTSUP },           /* a kind that is not known */
		{ "0a06 0801 1202 0805", 0 },
		{ "0a0c 0801 1208 08ffffffffff7f00", -EBADMSG },       /* more than 32 bits, and a field 0 */
		{ "0a05 0801 1201 0b", -EBADMSG },             /* a group */
		{ "0a05 0801 1201 08", -EBADMSG },
		{ "0a08 0801 1204 42021000", 0 },              /* a hash of no bytes: refused later, by its size */
		{ "0b", -EBADMSG }, { "00", -EBADMSG }, { "", -EBADMSG },
		{ "ffffffffffffffffff7f", -EBADMSG }, { "1801", -EBADMSG },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct nordic_init in;
		add_hex(&b, rows[i].hex);
		int r = nordic_init_decode(buf_span(&b), &in);
		if (r != rows[i].error && !(strstr(rows[i].hex, "42021000") && r == -EBADMSG))
			fail_msg("%s: %d", rows[i].hex, r);
	}
}

static void requests_are_as_described(void **state)
{
	static const struct { struct nordic_request r; const char *hex; } rows[] = {
		{ { .op = NORDIC_CREATE, .object = NORDIC_COMMAND, .bytes = 141 }, "01018d000000" },
		{ { .op = NORDIC_CREATE, .object = NORDIC_DATA, .bytes = 4096 }, "010200100000" },
		{ { .op = NORDIC_SET_PRN, .prn = 0x010c }, "020c01" },
		{ { .op = NORDIC_CRC_GET }, "03" }, { { .op = NORDIC_EXECUTE }, "04" },
		{ { .op = NORDIC_SELECT, .object = NORDIC_DATA }, "0602" },
	};
	uint8_t out[NORDIC_REQUEST_BYTES_MAX];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		add_hex(&b, rows[i].hex);
		assert_true(span_eq(buf_span(&b), SPAN(out, nordic_request_encode(&rows[i].r, out))));
	}
	assert_true(span_eq(SPAN_LIT("\x01"), SPAN(out, nordic_enter_encode(out))));
	assert_true(span_eq(SPAN_LIT("\x02\x08" "Dfu12345"), SPAN(out, nordic_name_encode(SPAN_LIT("Dfu12345 and more"), out))));
	assert_true(span_eq(SPAN_LIT("\x01\x04"), SPAN(out, legacy_request_encode(LEGACY_START, 4, out))));
	assert_true(span_eq(SPAN_LIT("\x02\x01"), SPAN(out, legacy_request_encode(LEGACY_INIT, 1, out))));
	assert_true(span_eq(SPAN_LIT("\x08\x0c\x00"), SPAN(out, legacy_request_encode(LEGACY_SET_PRN, 12, out))));
	assert_true(span_eq(SPAN_LIT("\x05"), SPAN(out, legacy_request_encode(LEGACY_ACTIVATE, 0, out))));
}

static void responses_are_read_and_their_truncations_refused(void **state)
{
	static const struct { const char *hex; struct nordic_response r; } rows[] = {
		{ "600601 00100000 08000000 78563412", { .op = 6, .result = 1, .max_bytes = 4096, .offset = 8, .crc = 0x12345678 } },
		{ "600301 00020000 04030201", { .op = 3, .result = 1, .offset = 512, .crc = 0x01020304 } },
		{ "600101", { .op = 1, .result = 1 } }, { "60040b05", { .op = 4, .result = 11, .extended = 5 } },
	};
	struct nordic_response r;
	uint8_t op, result;
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		add_hex(&b, rows[i].hex);
		assert_int_equal(nordic_response_decode(buf_span(&b), &r), 0);
		assert_true(r.op == rows[i].r.op && r.result == rows[i].r.result && r.extended == rows[i].r.extended);
		assert_true(r.max_bytes == rows[i].r.max_bytes && r.offset == rows[i].r.offset && r.crc == rows[i].r.crc);
		for (size_t n = 0; n < b.n; n++) /* but for the extended error, which the first bootloaders left out */
			assert_int_equal(nordic_response_decode(span_sub(buf_span(&b), 0, n), &r), n == 3 && rows[i].r.result == 11 ? 0 : -EBADMSG);
	}
	assert_int_equal(nordic_response_decode(SPAN_LIT("\x61\x01\x01"), &r), -EBADMSG);
	assert_int_equal(nordic_buttonless_decode(SPAN_LIT("\x20\x01\x01"), &op, &result), 0);
	assert_true(op == 1 && result == 1);
	assert_int_equal(nordic_buttonless_decode(SPAN_LIT("\x20\x01"), &op, &result), -EBADMSG);
	assert_int_equal(nordic_buttonless_decode(SPAN_LIT("\x60\x01\x01"), &op, &result), -EBADMSG);
}

static void legacy_responses_are_read(void **state)
{
	struct legacy_response r;

	(void)state;
	assert_int_equal(legacy_response_decode(SPAN_LIT("\x10\x03\x01"), &r), 0);
	assert_true(!r.is_receipt && r.op == LEGACY_RECEIVE && r.status == LEGACY_OK);
	assert_int_equal(legacy_response_decode(SPAN_LIT("\x11\x00\x02\x00\x00"), &r), 0);
	assert_true(r.is_receipt && r.bytes == 512);
	for (size_t n = 0; n < 5; n++)
		assert_int_equal(legacy_response_decode(SPAN("\x11\x00\x02\x00\x00", n), &r), -EBADMSG);
	assert_int_equal(legacy_response_decode(SPAN_LIT("\x10\x03"), &r), -EBADMSG);
	assert_int_equal(legacy_response_decode(SPAN_LIT("\x12\x03\x01"), &r), -EBADMSG);
}

/* NDFU-6 */
static void every_error_has_a_text_of_its_own(void **state)
{
	static const uint8_t results[] = { 1, 2, 3, 4, 5, 7, 8, 10, 12 };
	const char *texts[64];
	size_t n = 0;
	(void)state;

	for (size_t i = 0; i < sizeof(results); i++)
		texts[n++] = nordic_error_text(results[i], 0);
	for (unsigned e = 0; e <= NORDIC_EX_SPACE + 1; e++)
		texts[n++] = nordic_error_text(NORDIC_EXTENDED, (uint8_t)e);
	for (unsigned s = 1; s <= 7; s++)
		texts[n++] = legacy_status_text((uint8_t)s);
	for (size_t i = 0; i < n; i++) {
		assert_true(strlen(texts[i]) > 3 && strlen(texts[i]) < 100);
		for (size_t j = 0; j < i; j++)
			if (strcmp(texts[i], texts[j]) == 0 && strcmp(texts[i], "done") != 0 && strcmp(texts[i], "the operation failed on the node") != 0)
				fail_msg("%zu and %zu: %s", i, j, texts[i]);
	}
	assert_string_equal(nordic_error_text(NORDIC_EXTENDED, 5), "the firmware's version is lower than the one on the node");
	assert_string_equal(legacy_status_text(0), legacy_status_text(200));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_package_is_opened),
		cmocka_unit_test(packages_of_another_program_are_opened),
		cmocka_unit_test(what_the_node_would_refuse_is_not_sent),
		cmocka_unit_test(manifests_that_are_not_right_are_refused),
		cmocka_unit_test(a_legacy_image_needs_its_crc),
		cmocka_unit_test(init_packets_are_read),
		cmocka_unit_test(init_packets_that_are_not_right_are_refused),
		cmocka_unit_test(requests_are_as_described),
		cmocka_unit_test(responses_are_read_and_their_truncations_refused),
		cmocka_unit_test(legacy_responses_are_read),
		cmocka_unit_test(every_error_has_a_text_of_its_own),
	};
	return cmocka_run_group_tests_name("codec/nordic_dfu", tests, NULL, NULL);
}
