#include "store/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "base/cleanup.h"

int dir_make(int at, const char *name, int *ret_fd)
{
	bool is_new = mkdirat(at, name, 0700) == 0;

	if (!is_new && errno != EEXIST)
		return -errno;
	_cleanup_close_ int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	_cleanup_close_ int parent = is_new ? openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (is_new && (parent < 0 || fsync(parent) < 0))
		return -errno;
	*ret_fd = fd;
	fd = -1;
	return 0;
}
