#include "base/tmpfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/text.h"

enum { CREATE_TRIES = 8, READ_BYTES_FIRST = 4096, DIGEST_CHUNK_BYTES = 128 * 1024 };

int tmpfile_create(struct tmpfile *t, int dirfd)
{
	for (int i = 0; i < CREATE_TRIES; i++) {
		uint8_t tail[12];
		char hex[2 * sizeof(tail) + 1];

		random_bytes(tail, sizeof(tail));
		*t = (struct tmpfile){ .fd = -1, .dirfd = dirfd };
		(void)snprintf(t->name, sizeof(t->name), ".tmp-%s", text_hex(SPAN_OF(tail), hex)); /* 29 bytes */
		t->fd = openat(dirfd, t->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (t->fd >= 0)
			return 0;
		t->name[0] = 0;
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

int tmpfile_write(struct tmpfile *t, struct span bytes)
{
	while (bytes.n) {
		ssize_t n = write(t->fd, bytes.p, bytes.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes = span_sub(bytes, (size_t)n, bytes.n);
	}
	return 0;
}

static int sync_dir(int dirfd)
{
	_cleanup_close_ int here = -1;

	if (dirfd == AT_FDCWD) {
		here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (here < 0)
			return -errno;
		dirfd = here;
	}
	return fsync(dirfd) < 0 ? -errno : 0;
}

int tmpfile_publish(struct tmpfile *t, const char *name)
{
	if (fsync(t->fd) < 0)
		return -errno;
	if (renameat(t->dirfd, t->name, t->dirfd, name) < 0)
		return -errno;
	t->name[0] = 0; /* discard has nothing to remove from here on */
	return sync_dir(t->dirfd);
}

void tmpfile_discard(struct tmpfile *t)
{
	if (t->fd >= 0)
		(void)close(t->fd); /* published data is synced, other data is unwanted */
	if (t->name[0])
		(void)unlinkat(t->dirfd, t->name, 0); /* the start-up sweep catches what stays */
	t->fd = -1;
	t->name[0] = 0;
}

/* Reads to the end or until one byte over max, growing as it goes: the size that stat gives is a hint only. */
static int read_all(int fd, size_t hint, size_t max, uint8_t **ret, size_t *ret_n)
{
	size_t n = 0, cap = hint < max ? hint + 2 : max < SIZE_MAX - 2 ? max + 2 : max;
	_cleanup_free_ uint8_t *p = malloc(cap);

	while (p) {
		ssize_t got = read(fd, p + n, cap - 1 - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		n += (size_t)got;
		if (n > max)
			return -EFBIG;
		if (got == 0) {
			p[n] = 0;
			*ret = TAKE(p);
			*ret_n = n;
			return 0;
		}
		if (n + 1 < cap)
			continue;
		uint8_t *more = realloc(p, cap + cap / 2 + READ_BYTES_FIRST);
		if (!more)
			return -ENOMEM;
		p = more;
		cap += cap / 2 + READ_BYTES_FIRST;
	}
	return -ENOMEM;
}

int file_read(int dirfd, const char *path, size_t max, uint8_t **ret, size_t *ret_n)
{
	struct stat st;
	/* NONBLOCK: opening a FIFO must not hang; it is refused below */
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size < 0 || (uint64_t)st.st_size > max)
		return -EFBIG;
	return read_all(fd, (size_t)st.st_size, max, ret, ret_n);
}

int file_digest(int fd, struct digest *ret, uint64_t *ret_bytes)
{
	_cleanup_(digest_stream_freep) struct digest_stream *s = digest_stream_new();
	_cleanup_free_ uint8_t *chunk = mem_new(DIGEST_CHUNK_BYTES, 1);
	uint64_t off = 0;

	for (;;) {
		ssize_t n = pread(fd, chunk, DIGEST_CHUNK_BYTES, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		digest_stream_add(s, SPAN(chunk, (size_t)n));
		off += (uint64_t)n;
	}
	*ret = digest_stream_end(s);
	*ret_bytes = off;
	return 0;
}

int file_write_durable(int dirfd, const char *name, struct span bytes)
{
	_cleanup_(tmpfile_discard) struct tmpfile t = { .fd = -1 };
	int r = tmpfile_create(&t, dirfd);
	if (r < 0)
		return r;
	r = tmpfile_write(&t, bytes);
	if (r < 0)
		return r;
	return tmpfile_publish(&t, name);
}
