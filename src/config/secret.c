#include "config/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/tmpfile.h"

static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	while (n > 1 && dir[n - 1] == '/')
		n--;
	return strncmp(path, dir, n) == 0 && path[n] == '/';
}

static bool is_credential(const char *path)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	char real_path[PATH_MAX], real_dir[PATH_MAX];

	return dir && dir[0] == '/' && dir[1] && realpath(path, real_path) && realpath(dir, real_dir) && is_below(real_path, real_dir);
}

static int refuse(const char *path, int r, const char *what, struct buf *error)
{
	buf_printf(error, "%s: %s\n", path, what);
	return r;
}

static int judge(const char *path, const struct stat *st, struct buf *error)
{
	if (!S_ISREG(st->st_mode))
		return refuse(path, -EINVAL, "no regular file; a file with the secret would be right", error);
	if (is_credential(path))
		return 0;
	if (st->st_mode & 077)
		return refuse(path, -EACCES, "others than its owner may open it; chmod 600 would be right", error);
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return refuse(path, -EACCES, "owned by another user; the daemon's own user or root would be right", error);
	return 0;
}

/* Opened first and judged by the descriptor, so that the file judged is the file read. */
static int open_secret(const char *path, int *ret_fd, struct buf *error)
{
	struct stat st;
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = -errno;
		return refuse(path, r, strerror(-r), error);
	}
	int r = judge(path, &st, error);
	if (r < 0)
		return r;
	*ret_fd = fd;
	fd = -1;
	return 0;
}

int config_secret_check(const char *path, struct buf *error)
{
	_cleanup_close_ int fd = -1;

	return open_secret(path, &fd, error);
}

int config_secret_read(const char *path, uint8_t **ret, size_t *ret_n, struct buf *error)
{
	_cleanup_close_ int fd = -1;
	char self[32];
	int r = open_secret(path, &fd, error);

	if (r < 0)
		return r;
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd); /* fits */
	r = file_read(AT_FDCWD, self, SECRET_BYTES_MAX, ret, ret_n);
	return r < 0 ? refuse(path, r, strerror(-r), error) : 0;
}

int config_token_read(const char *path, char **ret, struct buf *error)
{
	uint8_t *p = NULL;
	size_t n = 0, all;
	bool good = true;
	int r = config_secret_read(path, &p, &all, error);

	if (r < 0)
		return r;
	for (n = all; n > 0 && (p[n - 1] == '\n' || p[n - 1] == '\r' || p[n - 1] == ' ' || p[n - 1] == '\t');)
		p[--n] = 0;
	for (size_t i = 0; i < n; i++)
		good = good && p[i] > ' ' && p[i] < 0x7f;
	if (good && n >= TOKEN_BYTES_MIN && n <= TOKEN_BYTES_MAX) {
		*ret = (char *)p;
		return 0;
	}
	mem_wipe(p, all);
	free(p);
	return refuse(path, -EBADMSG, "no token; one line of 16 to 1024 printable characters without spaces would be right", error);
}
