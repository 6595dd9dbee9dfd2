#include "config/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/mem.h"

static char dir[] = "/tmp/dormouse-secret-XXXXXX";
static char file[64];

static void put(const char *text, size_t n, mode_t mode)
{
	_cleanup_close_ int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	assert_int_equal(fchmod(fd, mode), 0);
}

static void a_file_that_others_can_open_is_refused(void **state)
{
	static const mode_t bad[] = { 0640, 0604, 0660, 0644, 0610, 0602, 0777 };
	_cleanup_buf_ struct buf error = { 0 };
	uint8_t *p = NULL;
	size_t n;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		put("secret", 6, bad[i]);
		assert_int_equal(config_secret_read(file, &p, &n, &error), -EACCES);
		assert_int_equal(config_secret_check(file, &error), -EACCES);
	}
	assert_null(p);
	assert_non_null(strstr(buf_str(&error), ": others than its owner may open it; chmod 600 would be right\n"));
	put("secret", 6, 0600);
	assert_int_equal(config_secret_check(file, &error), 0);
	assert_int_equal(config_secret_read(file, &p, &n, &error), 0);
	assert_int_equal(n, 6);
	assert_string_equal((char *)p, "secret");
	free(p);
	put("secret", 6, 0400);
	assert_int_equal(config_secret_check(file, &error), 0);
}

static void a_file_of_another_user_is_refused(void **state)
{
	_cleanup_buf_ struct buf error = { 0 };

	put("secret", 6, 0600);
	if (chown(file, 12345, (gid_t)-1) < 0)
		skip(); /* only root can make the case */
	assert_int_equal(config_secret_check(file, &error), -EACCES);
	assert_non_null(strstr(buf_str(&error), "owned by another user"));
	assert_int_equal(chown(file, geteuid(), (gid_t)-1), 0);
}

static void the_service_managers_credentials_may_have_a_group(void **state)
{
	_cleanup_buf_ struct buf error = { 0 };

	put("secret", 6, 0440);
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", dir, 1), 0);
	assert_int_equal(config_secret_check(file, &error), 0);
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/tmp/dormouse-secre", 1), 0);
	assert_int_equal(config_secret_check(file, &error), -EACCES);
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/", 1), 0);
	assert_int_equal(config_secret_check(file, &error), -EACCES);
	_cleanup_free_ char *up = mem_printf("%s/sub/../%s", dir, strrchr(file, '/') + 1), *sub = mem_printf("%s/sub", dir);
	assert_int_equal(mkdir(sub, 0700), 0);
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", sub, 1), 0);
	assert_int_equal(config_secret_check(up, &error), -EACCES); /* the way out of it is seen through */
	unsetenv("CREDENTIALS_DIRECTORY");
	assert_int_equal(rmdir(sub), 0);
}

static void only_regular_files_of_a_sane_size_are_secrets(void **state)
{
	_cleanup_buf_ struct buf error = { 0 };
	_cleanup_free_ char *big = mem_new(SECRET_BYTES_MAX + 1, 1);
	uint8_t *p = NULL;
	size_t n;

	assert_int_equal(config_secret_check(dir, &error), -EINVAL);
	assert_int_equal(config_secret_check("/dev/null", &error), -EINVAL);
	assert_int_equal(config_secret_check("/nonexistent", &error), -ENOENT);
	put(big, SECRET_BYTES_MAX, 0600);
	assert_int_equal(config_secret_read(file, &p, &n, &error), 0);
	free(p);
	put(big, SECRET_BYTES_MAX + 1, 0600);
	assert_int_equal(config_secret_read(file, &p, &n, &error), -EFBIG);
}

static void a_token_is_one_line_of_some_length(void **state)
{
	static const struct {
		const char *text;
		int r;
	} rows[] = {
		{ "0123456789abcdef", 0 },
		{ "0123456789abcdef\n", 0 },
		{ "0123456789abcdef \r\n\n", 0 },
		{ "0123456789abcde", -EBADMSG },
		{ "0123456789abcdef\nmore", -EBADMSG },
		{ "01234567 89abcdef", -EBADMSG },
		{ " 0123456789abcdef", -EBADMSG },
		{ "0123456789abcde\xc3\xa9", -EBADMSG },
		{ "", -EBADMSG },
	};
	_cleanup_buf_ struct buf error = { 0 };

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_free_ char *token = NULL;
		put(rows[i].text, strlen(rows[i].text), 0600);
		assert_int_equal(config_token_read(file, &token, &error), rows[i].r);
		if (rows[i].r == 0)
			assert_string_equal(token, "0123456789abcdef");
	}
	assert_null(strstr(buf_str(&error), "0123")); /* the secret is not in the complaint */
}

static int dir_make(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(file, sizeof(file), "%s/f", dir); /* fits */
	return 0;
}

static int dir_remove(void **state)
{
	(void)unlink(file); /* the rmdir says whether all is gone */
	return rmdir(dir);
}

int main(void)
{
	unsetenv("CREDENTIALS_DIRECTORY");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_that_others_can_open_is_refused),
		cmocka_unit_test(a_file_of_another_user_is_refused),
		cmocka_unit_test(the_service_managers_credentials_may_have_a_group),
		cmocka_unit_test(only_regular_files_of_a_sane_size_are_secrets),
		cmocka_unit_test(a_token_is_one_line_of_some_length),
	};

	return cmocka_run_group_tests_name("config/secret", tests, dir_make, dir_remove);
}
