/* store/image_cache.h - images (and envelopes) as files named by their SHA-256 in STATE/images/,
 * partial downloads in STATE/partial/. What stands under a digest's name has that digest: it is hashed
 * while it is written, made durable before it appears, and hashed again before it is opened for serving the
 * first time in a process. The index of what is there lives in memory, read from the directory at start.
 *
 * Calls marked [worker] block on disk or hashing and must run on a worker thread. The index is shared under one
 * mutex that is never held over reading, writing or hashing a file, so every call may run beside every other one, but
 * for the calls on one and the same image_partial. An image_file may be used and released on any thread. Never logs. */
#pragma once
#include "base/digest.h"
#include "base/time.h"

enum { IMAGE_BYTES_MAX_DEFAULT = 64 * 1024 * 1024 };

struct image_cache;
struct image_file;                             /* an open, verified, immutable file; reference counted */

int image_cache_open(const char *state_dir, uint64_t quota_bytes, struct image_cache **ret);   /* sweeps temporary files of a process that died: nobody else may be writing in state_dir yet */
struct image_cache *image_cache_close(struct image_cache *c);
void image_cache_set_quota(struct image_cache *c, uint64_t quota_bytes);
uint64_t image_cache_bytes(const struct image_cache *c);
size_t image_cache_count(const struct image_cache *c);
void image_cache_each(const struct image_cache *c, void (*fn)(void *ctx, const struct digest *d, uint64_t bytes, unsigned pins, bool is_verified, struct wall used_at), void *ctx);

bool image_cache_has(const struct image_cache *c, const struct digest *d, uint64_t *ret_bytes);
/* A pinned image is never evicted: an open job, or an available update, needs it. Counted; not persisted (the owners pin again at start). */
void image_cache_pin(struct image_cache *c, const struct digest *d);
void image_cache_unpin(struct image_cache *c, const struct digest *d);
/* Make room for n more bytes, in the quota and on the disk, by evicting the longest unused unpinned images, then downloads
 * nobody has open; -ENOSPC when what is left fills it. An open download counts with all that it was promised. */
int image_cache_reserve(struct image_cache *c, uint64_t n);
int image_cache_remove(struct image_cache *c, const struct digest *d);         /* -EBUSY pinned, -ENOENT */

/* [worker] Store bytes already in memory. ret_digest may be NULL. */
int image_cache_put(struct image_cache *c, struct span bytes, struct digest *ret_digest);
/* It is used now, and is in the index (put and commit saw to that already; harmless to repeat). */
void image_cache_added(struct image_cache *c, const struct digest *d, uint64_t bytes);
/* [worker] Open after hashing the whole file (skipped when it was verified in this process and the file is unchanged:
 * same inode, size, mtime, ctime). -ENOENT; -EBADMSG: its content is not its name or cannot be read; it has been removed. */
int image_cache_verify(struct image_cache *c, const struct digest *d, struct image_file **ret);
/* Loop: the open file, when verified before in this process; -EAGAIN: ask image_cache_verify() on a worker first; -ENOENT. */
int image_cache_get(struct image_cache *c, const struct digest *d, struct image_file **ret);
struct image_file *image_file_ref(struct image_file *f);
struct image_file *image_file_unref(struct image_file *f);
uint64_t image_file_bytes(const struct image_file *f);
const struct digest *image_file_digest(const struct image_file *f);
int image_file_read(struct image_file *f, uint64_t off, uint8_t *ret, size_t n);       /* exactly n, or -errno */

/* A download in progress, kept across restarts by name (the expected digest). */
struct image_partial;
/* [loop or worker] Opens or creates; ret_from: bytes already there. max_bytes: the size the manifest promises, the file must have
 * it in the end. -EBUSY: open already. */
int image_partial_open(struct image_cache *c, const struct digest *expect, uint64_t max_bytes, struct image_partial **ret, uint64_t *ret_from);
int image_partial_write(struct image_partial *p, uint64_t off, struct span bytes);     /* -EFBIG over max_bytes; -EINVAL would leave a hole; page cache only */
int image_partial_reset(struct image_partial *p);                                      /* start again at 0 */
/* [worker] Hash the whole, fsync, rename into place. -EBADMSG: wrong digest or size; the partial is removed. */
int image_partial_commit(struct image_partial *p);
struct image_partial *image_partial_close(struct image_partial *p);                    /* keeps the file unless committed */

static inline void image_file_unrefp(struct image_file **f) { image_file_unref(*f); }
