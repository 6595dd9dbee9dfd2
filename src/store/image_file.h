/* store/image_file.h - inside store/ only: an open image, and the stamp by which we see that a file is still the one we
 * hashed. */
#pragma once
#include <stdatomic.h>
#include <sys/stat.h>

#include "store/image_cache.h"

struct image_stamp {
	uint64_t inode, bytes;
	struct timespec mtime, ctime;
};

struct image_file {
	atomic_uint refs;
	int fd;
	struct digest digest;
	uint64_t bytes;
};

struct image_stamp image_stamp_of(const struct stat *st);
bool image_stamp_eq(const struct image_stamp *a, const struct image_stamp *b);
struct image_file *image_file_new(int fd, const struct digest *d, uint64_t bytes);     /* takes fd; one reference */
