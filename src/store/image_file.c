#include "store/image_file.h"

#include <errno.h>

#include "base/mem.h"

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

struct image_stamp image_stamp_of(const struct stat *st)
{
	return (struct image_stamp){
		.inode = st->st_ino,
		.bytes = (uint64_t)st->st_size,
		.mtime = st->st_mtim,
		.ctime = st->st_ctim,
	};
}

bool image_stamp_eq(const struct image_stamp *a, const struct image_stamp *b)
{
	return a->inode == b->inode && a->bytes == b->bytes && same_time(a->mtime, b->mtime) && same_time(a->ctime, b->ctime);
}

struct image_file *image_file_new(int fd, const struct digest *d, uint64_t bytes)
{
	struct image_file *f = NEW(struct image_file);

	atomic_init(&f->refs, 1);
	f->fd = fd;
	f->digest = *d;
	f->bytes = bytes;
	return f;
}

struct image_file *image_file_ref(struct image_file *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	return f;
}

struct image_file *image_file_unref(struct image_file *f)
{
	if (f && atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1) {
		closep(&f->fd);
		free(f);
	}
	return NULL;
}

uint64_t image_file_bytes(const struct image_file *f)
{
	return f->bytes;
}

const struct digest *image_file_digest(const struct image_file *f)
{
	return &f->digest;
}

int image_file_read(struct image_file *f, uint64_t off, uint8_t *ret, size_t n)
{
	if (off > f->bytes || n > f->bytes - off)
		return -ERANGE;
	while (n) {
		ssize_t got = pread(f->fd, ret, n, (off_t)off);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EIO; /* shorter than when it was verified */
		ret += got;
		off += (uint64_t)got;
		n -= (size_t)got;
	}
	return 0;
}
