/* The two files of debugfs, played by ordinary ones: SLP-4. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "radio/lowpan_internal.h"

static char folder[] = "/tmp/dormouse-lowpan-ble-XXXXXX";

static void put(const char *name, const char *text)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static const char *get(const char *name)
{
	static char text[512];
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	assert_true(n >= 0);
	text[n] = 0;
	close(fd);
	return text;
}

static void drop(const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	(void)unlink(path);
}

static void a_missing_module_is_told(void **state)
{
	struct lowpan_settings s = { .kind = LOWPAN_BLE, .create = true };
	char why[LOWPAN_WHY_BYTES];

	drop("6lowpan_enable");
	lowpan_ble_tend(&s, why);
	assert_non_null(strstr(why, "bluetooth_6lowpan loaded"));
}

static void it_is_enabled_and_who_is_missing_is_connected(void **state)
{
	struct lowpan_settings s = { .kind = LOWPAN_BLE, .create = true, .peers = { "00:AA:01:00:00:01", "random C1:23:45:67:89:AB" }, .n_peers = 2 };
	char why[LOWPAN_WHY_BYTES];

	put("6lowpan_enable", "0");
	put("6lowpan_control", "00:aa:01:00:00:01 (type 1)\n");
	lowpan_ble_tend(&s, why);
	assert_string_equal(why, "");
	assert_string_equal(get("6lowpan_enable"), "1");
	/* What is written lies over the list here; the first peer was in it, the second was connected, as a random address. */
	assert_memory_equal(get("6lowpan_control"), "connect C1:23:45:67:89:AB 2", 27);
	put("6lowpan_control", "00:AA:01:00:00:01 (type 1)\nC1:23:45:67:89:AB (type 2)\n");
	lowpan_ble_tend(&s, why);
	assert_string_equal(get("6lowpan_control"), "00:AA:01:00:00:01 (type 1)\nC1:23:45:67:89:AB (type 2)\n");
}

static int setup(void **state)
{
	lowpan_ble_folder = mkdtemp(folder);
	return lowpan_ble_folder ? 0 : -1;
}

static int teardown(void **state)
{
	drop("6lowpan_enable");
	drop("6lowpan_control");
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_missing_module_is_told),
		cmocka_unit_test(it_is_enabled_and_who_is_missing_is_connected),
	};

	return cmocka_run_group_tests_name("radio/lowpan_ble", tests, setup, teardown);
}
