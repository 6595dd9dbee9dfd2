#include "node/mcast_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	KEYS_MAX = MCR_KEY_GENERATION + MCR_G_MAX,
	COPY_DATA = 8, COPY_CHECK = COPY_DATA + MCR_RECORD_BYTES, CHECK_BYTES = 8, COPY_BYTES = COPY_CHECK + CHECK_BYTES,
};

_Static_assert(MCR_RECORD_BYTES < 256, "a record's length has one byte");

void mcast_files_init(struct mcast_files *f)
{
	*f = (struct mcast_files){ .dirfd = -1, .records_fd = -1, .object_fd = -1 };
	memset(f->scratch, 0xff, sizeof(f->scratch));
}

static void unmap(struct mcast_files *f)
{
	if (f->object)
		(void)munmap(f->object, f->object_bytes); /* of our own mapping */
	if (f->object_fd >= 0)
		(void)close(f->object_fd); /* written by the mapping; synced where it counts */
	f->object = NULL;
	f->object_bytes = 0;
	f->object_fd = -1;
}

static int map(struct mcast_files *f, int fd, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	f->object = p;
	f->object_bytes = bytes;
	f->object_fd = fd;
	return 0;
}

/* The object of before the restart, when there is one. */
static void reopen_object(struct mcast_files *f)
{
	int fd = openat(f->dirfd, "mcast-object", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0)
		return;
	if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size % MCR_ERASE_BYTES != 0 || map(f, fd, (size_t)st.st_size) < 0)
		(void)close(fd); /* of no use: made anew */
}

int mcast_files_open(struct mcast_files *f, int dirfd)
{
	mcast_files_init(f);
	f->dirfd = dirfd;
	f->records_fd = openat(dirfd, "mcast-records", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (f->records_fd < 0)
		return -errno;
	reopen_object(f);
	return 0;
}

void mcast_files_close(struct mcast_files *f)
{
	unmap(f);
	if (f->records_fd >= 0)
		(void)close(f->records_fd); /* what was not synced may be older, never torn */
	mcast_files_init(f);
}

int mcast_files_make_room(struct mcast_files *f, uint32_t bytes)
{
	size_t room = ((size_t)bytes + MCR_ERASE_BYTES - 1) / MCR_ERASE_BYTES * MCR_ERASE_BYTES;

	if (bytes == 0 || bytes > MCR_F_MAX * MCR_Z_MAX)
		return -EFBIG;
	if (f->object_bytes == room)
		return 0;
	mcast_files_drop_object(f);
	int fd = openat(f->dirfd, "mcast-object", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	int r = posix_fallocate(fd, 0, (off_t)room); /* a full disk is told now, not by a signal later */
	r = r != 0 ? -r : map(f, fd, room);
	if (r < 0) {
		(void)close(fd);
		(void)unlinkat(f->dirfd, "mcast-object", 0); /* half made */
		return r;
	}
	memset(f->object, 0xff, room);
	return 0;
}

int mcast_files_sync(struct mcast_files *f)
{
	return f->object_fd >= 0 && fdatasync(f->object_fd) < 0 ? -errno : 0;
}

void mcast_files_drop_object(struct mcast_files *f)
{
	unmap(f);
	if (f->dirfd >= 0)
		(void)unlinkat(f->dirfd, "mcast-object", 0); /* not there is as good */
}

static uint8_t *place(struct mcast_files *f, enum mcr_area area, uint32_t off, size_t n)
{
	uint8_t *p = area == MCR_OBJECT ? f->object : f->scratch;
	size_t bytes = area == MCR_OBJECT ? f->object_bytes : sizeof(f->scratch);

	return p && off <= bytes && n <= bytes - off ? p + off : NULL;
}

int mcast_files_read(struct mcast_files *f, enum mcr_area area, uint32_t off, uint8_t *ret, size_t n)
{
	const uint8_t *p = place(f, area, off, n);

	if (!p)
		return -EIO;
	memcpy(ret, p, n);
	return 0;
}

int mcast_files_program(struct mcast_files *f, enum mcr_area area, uint32_t off, const uint8_t *data, size_t n)
{
	uint8_t *p = place(f, area, off, n);

	if (!p)
		return -EIO;
	for (size_t i = 0; i < n; i++)
		p[i] &= data[i];               /* as flash would: what was programmed twice is wrong, and found out */
	return 0;
}

int mcast_files_erase(struct mcast_files *f, enum mcr_area area, uint32_t off, uint32_t n)
{
	uint8_t *p = place(f, area, off, n);

	if (!p)
		return -EIO;
	memset(p, 0xff, n);
	return 0;
}

/* One of the two copies: serial(4), length(1), 3 unused, data, first bytes of the SHA-256 of what is before. */
struct copy {
	uint8_t p[COPY_BYTES];
};

static off_t copy_at(unsigned key, unsigned i) { return (off_t)(2 * key + i) * COPY_BYTES; }

static uint32_t copy_serial(const struct copy *c)
{
	return c->p[0] | (uint32_t)c->p[1] << 8 | (uint32_t)c->p[2] << 16 | (uint32_t)c->p[3] << 24;
}

static bool copy_read(struct mcast_files *f, unsigned key, unsigned i, struct copy *ret)
{
	if (pread(f->records_fd, ret->p, sizeof(ret->p), copy_at(key, i)) != (ssize_t)sizeof(ret->p))
		return false;
	struct digest d = digest_of(SPAN(ret->p, COPY_CHECK));
	return memcmp(d.b, ret->p + COPY_CHECK, CHECK_BYTES) == 0 && ret->p[4] <= MCR_RECORD_BYTES;
}

/* Which copy holds; -1 = none. */
static int newest(struct mcast_files *f, unsigned key, struct copy *ret)
{
	struct copy a, b;
	bool has_a = copy_read(f, key, 0, &a), has_b = copy_read(f, key, 1, &b);

	if (!has_a && !has_b)
		return -1;
	bool is_b = has_b && (!has_a || (int32_t)(copy_serial(&b) - copy_serial(&a)) > 0);
	*ret = is_b ? b : a;
	return is_b;
}

int mcast_files_save(struct mcast_files *f, uint16_t key, const uint8_t *data, size_t n)
{
	struct copy c = { .p = { 0 } }, was;

	if (key >= KEYS_MAX || n > MCR_RECORD_BYTES)
		return -EINVAL;
	int at = newest(f, key, &was);
	uint32_t serial = at < 0 ? 1 : copy_serial(&was) + 1;
	for (unsigned i = 0; i < 4; i++)
		c.p[i] = (uint8_t)(serial >> 8 * i);
	c.p[4] = (uint8_t)n;
	if (n > 0)
		memcpy(c.p + COPY_DATA, data, n);
	struct digest d = digest_of(SPAN(c.p, COPY_CHECK));
	memcpy(c.p + COPY_CHECK, d.b, CHECK_BYTES);
	ssize_t written = pwrite(f->records_fd, c.p, sizeof(c.p), copy_at(key, at == 0));
	return written == (ssize_t)sizeof(c.p) ? 0 : written < 0 ? -errno : -ENOSPC;
}

int mcast_files_load(struct mcast_files *f, uint16_t key, uint8_t *ret, size_t max)
{
	struct copy c;

	if (key >= KEYS_MAX || newest(f, key, &c) < 0)
		return 0;
	if (c.p[4] > max)
		return -EMSGSIZE;
	memcpy(ret, c.p + COPY_DATA, c.p[4]);
	return c.p[4];
}

int mcast_files_sha256(struct mcast_files *f, uint32_t off, uint32_t n, uint8_t ret[32])
{
	const uint8_t *p = place(f, MCR_OBJECT, off, n);

	if (!p)
		return -EIO;
	struct digest d = digest_of(SPAN(p, n));
	memcpy(ret, d.b, sizeof(d.b));
	return 0;
}
