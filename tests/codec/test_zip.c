/* NDFU-1: archives are read within bounds; what an entry says of itself and what the directory says are the same, or it is refused. */
#include <errno.h>

#include "../nordic_make.h"
#include "codec/zip.h"
#include "vectors.h"

static void make(struct buf *ret, unsigned n)
{
	struct make_zip z = { 0 };
	char name[16];

	for (unsigned i = 0; i < n; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i); /* fits */
		zip_add(&z, name, SPAN_LIT("some bytes"));
	}
	zip_end(&z);
	*ret = z.out;
}

static void stored_entries_are_found_and_unpacked(void **state)
{
	_cleanup_buf_ struct buf file = { 0 }, out = { 0 };
	struct zip z;

	(void)state;
	make(&file, 3);
	assert_int_equal(zip_decode(buf_span(&file), &z), 0);
	assert_int_equal(z.n_entries, 3);
	assert_null(zip_find(&z, SPAN_LIT("f3")));
	const struct zip_entry *e = zip_find(&z, SPAN_LIT("f1"));
	assert_non_null(e);
	assert_int_equal(zip_unpack(e, 9, &out), -EMSGSIZE);
	assert_int_equal(zip_unpack(e, 10, &out), 0);
	assert_string_equal(buf_str(&out), "some bytes");
	assert_int_equal(zip_unpack(e, 10, &out), 0); /* behind what is there */
	assert_int_equal(out.n, 20);
}

static void deflated_entries_of_another_program_are_unpacked(void **state)
{
	_cleanup_buf_ struct buf file = { 0 }, out = { 0 };
	struct zip z;

	(void)state;
	add_file(&file, "nordic/secure.zip");
	assert_int_equal(zip_decode(buf_span(&file), &z), 0);
	const struct zip_entry *e = zip_find(&z, SPAN_LIT("application.bin"));
	assert_non_null(e);
	assert_true(e->is_deflated && e->packed.n < e->bytes);
	assert_int_equal(zip_unpack(e, e->bytes, &out), 0);
	assert_int_equal(out.n, e->bytes);
	assert_int_equal(zip_crc32(0, buf_span(&out)), e->crc);
	for (unsigned v = 0; v < 4; v++) {     /* it unpacks to exactly what was said, or not at all */
		struct zip_entry lie = *e;
		size_t before = out.n;
		lie.bytes += v == 0;
		lie.bytes -= v == 1;
		lie.packed.n -= v == 2;
		lie.crc ^= v == 3;
		assert_int_equal(zip_unpack(&lie, lie.bytes, &out), -EBADMSG);
		assert_int_equal(out.n, before);
	}
}

static void every_truncation_is_refused(void **state)
{
	_cleanup_buf_ struct buf file = { 0 };
	struct zip z;

	(void)state;
	make(&file, 2);
	for (size_t n = 0; n < file.n; n++)
		assert_int_equal(zip_decode(span_sub(buf_span(&file), 0, n), &z), -EBADMSG);
	buf_add_u8(&file, 0); /* and what stands behind the end */
	assert_int_equal(zip_decode(buf_span(&file), &z), -EBADMSG);
}

enum { LOCAL_FLAGS = 6, LOCAL_METHOD = 8, LOCAL_CRC = 14, LOCAL_PACKED = 18, LOCAL_BYTES_AT = 22, LOCAL_NAME = 30 };
enum { DIR_FLAGS = 8, DIR_METHOD = 10, DIR_PACKED = 20, DIR_SIZE = 24, DIR_NAME_BYTES = 28, DIR_DISK = 34, DIR_AT = 42 };
enum { END_DISK = 4, END_HERE = 8, END_ALL = 10, END_SIZE = 12, END_AT = 16 };

static void what_does_not_fit_is_refused(void **state)
{
	static const struct { bool in_directory, in_end; unsigned at; uint8_t value; int error; } rows[] = {
		{ 0, 0, 0, 0, -EBADMSG }, { 0, 0, LOCAL_FLAGS, 1, -EBADMSG }, { 0, 0, LOCAL_METHOD, 8, -EBADMSG }, { 0, 0, LOCAL_CRC, 1, -EBADMSG },
		{ 0, 0, LOCAL_PACKED, 9, -EBADMSG }, { 0, 0, LOCAL_BYTES_AT, 9, -EBADMSG }, { 0, 0, LOCAL_NAME, 'x', -EBADMSG },
		{ 1, 0, 0, 0, -EBADMSG }, { 1, 0, DIR_FLAGS, 1, -ENOTSUP }, { 1, 0, DIR_METHOD, 12, -ENOTSUP }, { 1, 0, DIR_PACKED, 200, -EBADMSG },
		{ 1, 0, DIR_SIZE, 11, -EBADMSG }, { 1, 0, DIR_NAME_BYTES, 129, -EMSGSIZE }, { 1, 0, DIR_NAME_BYTES, 0, -EBADMSG },
		{ 1, 0, DIR_DISK, 1, -ENOTSUP }, { 1, 0, DIR_AT, 3, -EBADMSG },
		{ 0, 1, END_DISK, 1, -ENOTSUP }, { 0, 1, END_HERE, 1, -ENOTSUP }, { 0, 1, END_SIZE, 1, -EBADMSG }, { 0, 1, END_AT, 1, -EBADMSG },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf file = { 0 };
		struct zip z;

		make(&file, 2);
		for (unsigned k = 0; k < 200 && rows[i].at == DIR_NAME_BYTES; k++) /* room for a long name, in a comment of the file */
			buf_add_u8(&file, 0);
		if (rows[i].at == DIR_NAME_BYTES)
			file.p[file.n - 202] = 200;
		size_t at = rows[i].in_directory ? 2 * (30 + 2 + 10) : rows[i].in_end ? 2 * (30 + 2 + 10) + 2 * (46 + 2) : 0;
		file.p[at + rows[i].at] = rows[i].value;
		int r = zip_decode(buf_span(&file), &z);
		if (rows[i].error == -EMSGSIZE && r == -EBADMSG)
			continue;              /* the directory is shorter than the name */
		assert_int_equal(r, rows[i].error);
	}
}

static void limits_hold(void **state)
{
	struct buf full = { 0 }, over = { 0 };
	struct make_zip z = { 0 };
	struct zip ret;
	char name[ZIP_NAME_BYTES_MAX + 2];

	(void)state;
	make(&full, ZIP_ENTRIES_MAX);
	make(&over, ZIP_ENTRIES_MAX + 1);
	assert_int_equal(zip_decode(buf_span(&full), &ret), 0);
	assert_int_equal(ret.n_entries, ZIP_ENTRIES_MAX);
	assert_int_equal(zip_decode(buf_span(&over), &ret), -E2BIG);
	buf_done(&full);
	buf_done(&over);
	for (unsigned extra = 0; extra < 2; extra++) {
		memset(name, 'n', sizeof(name));
		name[ZIP_NAME_BYTES_MAX + extra] = 0;
		zip_add(&z, name, SPAN_LIT("x"));
		zip_end(&z);
		assert_int_equal(zip_decode(buf_span(&z.out), &ret), extra ? -EMSGSIZE : 0);
		buf_done(&z.out);
		z = (struct make_zip){ 0 };
	}
	assert_int_equal(zip_decode(SPAN(name, (size_t)ZIP_BYTES_MAX + 1), &ret), -EMSGSIZE); /* looked at before the bytes */
}

static void two_of_one_name_are_refused_and_folders_left_out(void **state)
{
	struct make_zip twice = { 0 }, folder = { 0 };
	struct zip ret;

	(void)state;
	zip_add(&twice, "a", SPAN_LIT("1"));
	zip_add(&twice, "a", SPAN_LIT("2"));
	zip_end(&twice);
	assert_int_equal(zip_decode(buf_span(&twice.out), &ret), -EBADMSG);
	buf_done(&twice.out);
	zip_add(&folder, "d/", SPAN_NONE);
	zip_add(&folder, "d/a", SPAN_LIT("1"));
	zip_end(&folder);
	assert_int_equal(zip_decode(buf_span(&folder.out), &ret), 0);
	assert_int_equal(ret.n_entries, 1);
	buf_done(&folder.out);
}

/* Two rows of the directory that share one entry's bytes: how small files become enormous. */
static void entries_that_overlap_are_refused(void **state)
{
	_cleanup_buf_ struct buf file = { 0 };
	struct zip ret;

	(void)state;
	make(&file, 2);
	size_t second = 2 * (30 + 2 + 10) + 46 + 2;
	file.p[second + DIR_AT] = 0;
	file.p[second + 46 + 1] = '0'; /* its name, that the entry may agree */
	assert_int_equal(zip_decode(buf_span(&file), &ret), -EBADMSG);
}

static void an_empty_entry_is_unpacked(void **state)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct zip_entry stored = { .packed = SPAN_NONE }, deflated = { .packed = SPAN_LIT("\x03\x00"), .is_deflated = true };

	(void)state;
	assert_int_equal(zip_unpack(&stored, 0, &out), 0);
	assert_int_equal(zip_unpack(&deflated, 0, &out), 0);
	assert_int_equal(out.n, 0);
	assert_int_equal(zip_crc32(0, SPAN_LIT("123456789")), 0xcbf43926);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stored_entries_are_found_and_unpacked),
		cmocka_unit_test(deflated_entries_of_another_program_are_unpacked),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(two_of_one_name_are_refused_and_folders_left_out),
		cmocka_unit_test(entries_that_overlap_are_refused),
		cmocka_unit_test(an_empty_entry_is_unpacked),
	};
	return cmocka_run_group_tests_name("codec/zip", tests, NULL, NULL);
}
