#include "base/tmpfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/cleanup.h"

static char dir[] = "/tmp/dormouse-tmpfile-XXXXXX";
static int dirfd_ = -1;

static int dir_make(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_ < 0 ? -1 : 0;
}

static int dir_remove(void **state)
{
	close(dirfd_);
	return rmdir(dir); /* also says that no test left anything behind */
}

static unsigned entries(void)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	for (struct dirent *e = readdir(d); e; e = readdir(d))
		n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
	closedir(d);
	return n;
}

static void assert_holds(const char *name, const char *want)
{
	_cleanup_free_ uint8_t *p = NULL;
	size_t n;

	assert_int_equal(file_read(dirfd_, name, 1000, &p, &n), 0);
	assert_string_equal((char *)p, want);
	assert_int_equal(n, strlen(want));
}

static void a_published_file_is_whole_private_and_alone(void **state)
{
	_cleanup_(tmpfile_discard) struct tmpfile t = { .fd = -1 };
	struct stat st;

	assert_int_equal(tmpfile_create(&t, dirfd_), 0);
	assert_int_equal(strncmp(t.name, ".tmp-", 5), 0);
	assert_int_equal(tmpfile_write(&t, SPAN_LIT("one ")), 0);
	assert_int_equal(tmpfile_write(&t, SPAN_LIT("two")), 0);
	assert_int_equal(tmpfile_write(&t, SPAN_NONE), 0);
	assert_int_equal(faccessat(dirfd_, "image", F_OK, 0), -1);
	assert_int_equal(tmpfile_publish(&t, "image"), 0);
	tmpfile_discard(&t);
	tmpfile_discard(&t);
	assert_holds("image", "one two");
	assert_int_equal(fstatat(dirfd_, "image", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(entries(), 1);
	assert_int_equal(unlinkat(dirfd_, "image", 0), 0);
}

static void a_discarded_file_leaves_nothing(void **state)
{
	struct tmpfile t = { .fd = -1 };

	tmpfile_discard(&t);
	assert_int_equal(tmpfile_create(&t, dirfd_), 0);
	assert_int_equal(tmpfile_write(&t, SPAN_LIT("half")), 0);
	assert_int_equal(entries(), 1);
	tmpfile_discard(&t);
	assert_int_equal(entries(), 0);
}

static void a_replacement_is_atomic_and_failures_keep_the_old(void **state)
{
	assert_int_equal(file_write_durable(dirfd_, "f", SPAN_LIT("old")), 0);
	assert_int_equal(file_write_durable(dirfd_, "f", SPAN_LIT("new")), 0);
	assert_holds("f", "new");
	assert_int_equal(file_write_durable(dirfd_, "no-such-dir/f", SPAN_LIT("x")), -ENOENT);
	assert_int_equal(file_write_durable(-1, "f", SPAN_LIT("x")), -EBADF);
	assert_int_equal(entries(), 1);
	assert_int_equal(unlinkat(dirfd_, "f", 0), 0);
}

static void a_full_disk_is_reported_and_leaves_nothing(void **state)
{
	struct tmpfile t = { .fd = -1, .dirfd = dirfd_ };

	t.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_true(t.fd >= 0);
	assert_int_equal(tmpfile_write(&t, SPAN_LIT("x")), -ENOSPC);
	tmpfile_discard(&t);
}

static void reading_is_bounded_and_takes_regular_files_only(void **state)
{
	uint8_t *p = NULL;
	size_t n = 0;

	assert_int_equal(file_write_durable(dirfd_, "f", SPAN_LIT("12345")), 0);
	assert_int_equal(file_read(dirfd_, "f", 4, &p, &n), -EFBIG);
	assert_int_equal(file_read(dirfd_, "f", 0, &p, &n), -EFBIG);
	assert_int_equal(file_read(dirfd_, "none", 10, &p, &n), -ENOENT);
	assert_int_equal(file_read(dirfd_, ".", 10, &p, &n), -EISDIR);
	assert_int_equal(mkfifoat(dirfd_, "fifo", 0600), 0);
	assert_int_equal(file_read(dirfd_, "fifo", 10, &p, &n), -EINVAL);
	assert_null(p);
	assert_int_equal(file_read(dirfd_, "f", 5, &p, &n), 0);
	assert_int_equal(n, 5);
	free(p);
	assert_int_equal(file_write_durable(dirfd_, "f", SPAN_NONE), 0);
	assert_int_equal(file_read(dirfd_, "f", 0, &p, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(p[0], 0);
	free(p);
	assert_int_equal(unlinkat(dirfd_, "f", 0), 0);
	assert_int_equal(unlinkat(dirfd_, "fifo", 0), 0);
}

/* The kernel's own files say size 0 and still hold text. */
static void a_size_of_zero_is_not_believed(void **state)
{
	_cleanup_free_ uint8_t *p = NULL;
	size_t n;

	assert_int_equal(file_read(AT_FDCWD, "/proc/self/status", 1 << 20, &p, &n), 0);
	assert_true(n > 100);
	assert_int_equal(p[n], 0);
	assert_int_equal(file_read(AT_FDCWD, "/proc/self/status", 10, &p, &n), -EFBIG);
}

static void a_digest_is_of_the_whole_file_from_its_start(void **state)
{
	const struct digest want = digest_of(SPAN_LIT("abc"));
	struct digest got;
	uint64_t bytes = 0;

	assert_int_equal(file_write_durable(dirfd_, "d", SPAN_LIT("abc")), 0);
	_cleanup_close_ int fd = openat(dirfd_, "d", O_RDONLY | O_CLOEXEC);
	assert_int_equal(lseek(fd, 2, SEEK_SET), 2);
	assert_int_equal(file_digest(fd, &got, &bytes), 0);
	assert_true(digest_eq(&got, &want));
	assert_int_equal(bytes, 3);
	assert_int_equal(file_digest(dirfd_, &got, &bytes), -EISDIR);
	assert_int_equal(file_digest(-1, &got, &bytes), -EBADF);
	assert_int_equal(unlinkat(dirfd_, "d", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_published_file_is_whole_private_and_alone),
		cmocka_unit_test(a_discarded_file_leaves_nothing),
		cmocka_unit_test(a_replacement_is_atomic_and_failures_keep_the_old),
		cmocka_unit_test(a_full_disk_is_reported_and_leaves_nothing),
		cmocka_unit_test(reading_is_bounded_and_takes_regular_files_only),
		cmocka_unit_test(a_size_of_zero_is_not_believed),
		cmocka_unit_test(a_digest_is_of_the_whole_file_from_its_start),
	};

	return cmocka_run_group_tests_name("base/tmpfile", tests, dir_make, dir_remove);
}
