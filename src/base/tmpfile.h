/* base/tmpfile.h - a file that appears whole or not at all: written under a temporary
 * name in the target directory, then fsync, rename, fsync of the directory. Blocking:
 * call from a worker, or before the loop runs. */
#pragma once
#include "base/digest.h"
#include "base/span.h"

enum { TMPFILE_NAME_BYTES = 40 };

struct tmpfile {
	int fd;                        /* -1 = none */
	int dirfd;                     /* borrowed */
	char name[TMPFILE_NAME_BYTES]; /* ".tmp-<hex>"; a start-up sweep may remove these */
};

int tmpfile_create(struct tmpfile *t, int dirfd);                /* mode 0600 */
int tmpfile_write(struct tmpfile *t, struct span bytes);
int tmpfile_publish(struct tmpfile *t, const char *name);        /* durable on return 0 */
void tmpfile_discard(struct tmpfile *t);                         /* also right after publish */

/* The whole of a regular file of at most max bytes; -EFBIG above, -errno otherwise. ret is NUL-terminated after n. */
int file_read(int dirfd, const char *path, size_t max, uint8_t **ret, size_t *ret_n);
/* Of the whole file, from its first byte, wherever it was read last; and how many bytes that were. 0 or -errno. */
int file_digest(int fd, struct digest *ret, uint64_t *ret_bytes);
/* Durable replacement of dirfd/name by bytes with mode 0600. */
int file_write_durable(int dirfd, const char *name, struct span bytes);
