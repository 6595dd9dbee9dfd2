/* Preloaded into dormoused by system tests: while the tests say so (a shared page), writing below one directory fails with an
 * error of their choice, and the wall clock is off by so many milliseconds. Works without root, at any moment of a run. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control {
	volatile int32_t error;                /* errno of what writes; 0: all is well */
	volatile int32_t hits;                 /* how often it struck */
	volatile int64_t clock_ms;             /* added to the wall clock */
};

static struct control none, *control = &none;
static const char *below = "";

__attribute__((constructor)) static void begin(void)
{
	const char *file = getenv("DORMOUSE_FAULT"), *dir = getenv("DORMOUSE_FAULT_DIR");
	int fd = file ? open(file, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	void *p = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return;
	control = p;
	below = dir ? dir : "";
}

#define REAL(name_) ((__typeof__(&name_))dlsym(RTLD_NEXT, #name_))

static int path_is_ours(const char *path)
{
	return *below && strncmp(path, below, strlen(below)) == 0;
}

static int fd_is_ours(int fd)
{
	char link[40], path[4096];

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd); /* fits */
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return 0;
	path[n] = 0;
	return path_is_ours(path);
}

static int at_is_ours(int dirfd, const char *path)
{
	return *path == '/' ? path_is_ours(path) : dirfd != AT_FDCWD && fd_is_ours(dirfd);
}

static int strike(void)
{
	control->hits++;
	errno = control->error;
	return -1;
}

/* A full disk still lets go: removing and renaming work there, and nothing writes on one that is read-only. */
static int is_read_only(void)
{
	return control->error == EROFS;
}

ssize_t write(int fd, const void *p, size_t n)
{
	return control->error && fd_is_ours(fd) ? strike() : REAL(write)(fd, p, n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t off)
{
	return control->error && fd_is_ours(fd) ? strike() : REAL(pwrite)(fd, p, n, off);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t off)
{
	return control->error && fd_is_ours(fd) ? strike() : REAL(pwrite64)(fd, p, n, off);
}

int fsync(int fd)
{
	return control->error && fd_is_ours(fd) ? strike() : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
	return control->error && fd_is_ours(fd) ? strike() : REAL(fdatasync)(fd);
}

int posix_fallocate(int fd, off_t off, off_t n)
{
	if (control->error && fd_is_ours(fd)) {
		(void)strike(); /* this one returns its error */
		return control->error;
	}
	return REAL(posix_fallocate)(fd, off, n);
}

int fallocate(int fd, int mode, off_t off, off_t n)
{
	return control->error && fd_is_ours(fd) ? strike() : REAL(fallocate)(fd, mode, off, n);
}

static int makes(int flags)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE || (is_read_only() && (flags & O_ACCMODE) != O_RDONLY);
}

#define MODE_(flags_) \
	mode_t mode = 0; \
	if ((flags_) & (O_CREAT | O_TMPFILE)) { \
		va_list ap; \
		va_start(ap, flags_); \
		mode = va_arg(ap, mode_t); \
		va_end(ap); \
	}

int open(const char *path, int flags, ...)
{
	MODE_(flags)
	return control->error && makes(flags) && path_is_ours(path) ? strike() : REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	MODE_(flags)
	return control->error && makes(flags) && path_is_ours(path) ? strike() : REAL(open64)(path, flags, mode);
}

int openat(int dirfd, const char *path, int flags, ...)
{
	MODE_(flags)
	return control->error && makes(flags) && at_is_ours(dirfd, path) ? strike() : REAL(openat)(dirfd, path, flags, mode);
}

int openat64(int dirfd, const char *path, int flags, ...)
{
	MODE_(flags)
	return control->error && makes(flags) && at_is_ours(dirfd, path) ? strike() : REAL(openat64)(dirfd, path, flags, mode);
}

int mkdirat(int dirfd, const char *path, mode_t mode)
{
	return control->error && at_is_ours(dirfd, path) ? strike() : REAL(mkdirat)(dirfd, path, mode);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	return is_read_only() && at_is_ours(to_fd, to) ? strike() : REAL(renameat)(from_fd, from, to_fd, to);
}

int unlinkat(int dirfd, const char *path, int flags)
{
	return is_read_only() && at_is_ours(dirfd, path) ? strike() : REAL(unlinkat)(dirfd, path, flags);
}

/* ---- the wall clock ---- */

int clock_gettime(clockid_t id, struct timespec *ret)
{
	int r = REAL(clock_gettime)(id, ret);

	if (r == 0 && control->clock_ms && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ret->tv_sec += control->clock_ms / 1000;
	return r;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
	int r = REAL(gettimeofday)(ret, zone);

	if (r == 0)
		ret->tv_sec += control->clock_ms / 1000;
	return r;
}

time_t time(time_t *ret)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}
