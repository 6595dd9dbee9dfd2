/* IPv6 over BLE by the kernel's module bluetooth_6lowpan (RFC 7668), experimental (SLP-4): it is steered by two files of debugfs, which
 * only root may write, and forgets everything at once. So its list of peers is looked at, and who is missing is connected again. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "radio/lowpan_internal.h"

enum { CONTROL_BYTES_MAX = 8192, PATH_BYTES = 256 };

const char *lowpan_ble_folder = "/sys/kernel/debug/bluetooth";

static int open_file(const char *name, int flags)
{
	char path[PATH_BYTES];

	(void)snprintf(path, sizeof(path), "%.200s/%s", lowpan_ble_folder, name); /* fits */
	int fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int write_file(const char *name, const char *text)
{
	_cleanup_close_ int fd = open_file(name, O_WRONLY);

	if (fd < 0)
		return fd;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* "1" or "Y" is on; a file of another kernel is taken as off. */
static bool is_enabled(void)
{
	_cleanup_close_ int fd = open_file("6lowpan_enable", O_RDONLY);
	char c = 0;

	return fd >= 0 && read(fd, &c, 1) == 1 && (c == '1' || c == 'Y');
}

static int read_control(char ret[static CONTROL_BYTES_MAX])
{
	_cleanup_close_ int fd = open_file("6lowpan_control", O_RDONLY);

	if (fd < 0)
		return fd;
	ssize_t n = read(fd, ret, CONTROL_BYTES_MAX - 1);
	if (n < 0)
		return -errno;
	ret[n] = 0;
	for (char *p = ret; *p; p++)
		if (*p >= 'a' && *p <= 'f')
			*p = (char)(*p - 'a' + 'A');
	return 0;
}

static const char *peer_address(const char *peer, bool *ret_random)
{
	*ret_random = strncmp(peer, "random ", 7) == 0;
	return *ret_random ? peer + 7 : peer;
}

static int connect_peer(const char *address, bool is_random)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "connect %.17s %d", address, is_random ? 2 : 1); /* BDADDR_LE_RANDOM, _PUBLIC */
	return write_file("6lowpan_control", text);
}

static void fault(char why[static LOWPAN_WHY_BYTES], const char *what, int error)
{
	const char *hint = error == -ENOENT ? ": is the module bluetooth_6lowpan loaded, and debugfs mounted?" :
			   error == -EACCES ? ": debugfs is for root alone; see dormouse.toml(5)" : "";

	(void)snprintf(why, LOWPAN_WHY_BYTES, "%s: %s%s", what, strerror(-error), hint); /* clipped for people */
}

void lowpan_ble_tend(const struct lowpan_settings *s, char why[static LOWPAN_WHY_BYTES])
{
	char list[CONTROL_BYTES_MAX];
	int r = is_enabled() ? 0 : write_file("6lowpan_enable", "1");

	why[0] = 0;
	if (r < 0) {
		fault(why, "6lowpan_enable", r);
		return;
	}
	r = read_control(list);
	if (r < 0) {
		fault(why, "6lowpan_control", r);
		return;
	}
	for (size_t i = 0; i < s->n_peers; i++) {
		bool is_random;
		const char *address = peer_address(s->peers[i], &is_random);

		if (strstr(list, address))
			continue;
		r = connect_peer(address, is_random);
		/* An earlier attempt still waits for the node to advertise. */
		if (r < 0 && r != -EBUSY && r != -EALREADY && r != -EINPROGRESS && r != -EEXIST)
			fault(why, address, r);
	}
}
