#include "store/image_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>

#include "base/mem.h"
#include "base/tmpfile.h"
#include "store/dir.h"
#include "store/image_cache_internal.h"

enum { OPEN_FILES_MAX = 128 };                         /* kept open after verification */
#define PARTIAL_AGE_MS (14 * 86400 * INT64_C(1000))    /* left alone so long, a download starts again */

static struct image_entry *find(const struct image_cache *c, const struct digest *d)
{
	struct image_entry *e;

	HASH_FIND(hh, c->entries, d, sizeof(*d), e);
	return e;
}

static struct image_entry *find_or_add(struct image_cache *c, const struct digest *d)
{
	struct image_entry *e = find(c, d);

	if (!e) {
		e = NEW(struct image_entry);
		e->digest = *d;
		HASH_ADD(hh, c->entries, digest, sizeof(e->digest), e);
	}
	return e;
}

static void close_file(struct image_cache *c, struct image_entry *e)
{
	c->n_open -= e->file != NULL;
	e->file = image_file_unref(e->file);
}

static void touch(struct image_cache *c, struct image_entry *e)
{
	e->used_at = wall_now();
	e->used_tick = ++c->tick;
}

static void forget_if_empty(struct image_cache *c, struct image_entry *e)
{
	if (e->is_present || e->pins)
		return;
	HASH_DEL(c->entries, e);
	free(e);
}

void image_index_add(struct image_cache *c, const struct digest *d, uint64_t bytes)
{
	struct image_entry *e = find_or_add(c, d);

	c->bytes += bytes - (e->is_present ? e->bytes : 0);
	c->n_present += !e->is_present;
	e->is_present = true;
	e->bytes = bytes;
	touch(c, e);
}

static void image_index_drop(struct image_cache *c, struct image_entry *e)
{
	if (e->is_present) {
		c->bytes -= e->bytes;
		c->n_present--;
	}
	close_file(c, e);
	e->is_present = e->is_verified = false;
	forget_if_empty(c, e);
}

/* --- open and close --- */

static void load_image(struct image_cache *c, const struct digest *d, const struct stat *st)
{
	image_index_add(c, d, (uint64_t)st->st_size);
	struct image_entry *e = find(c, d);
	e->used_at = (struct wall){ st->st_mtim.tv_sec * INT64_C(1000) + st->st_mtim.tv_nsec / 1000000 };
	e->used_tick = 0;
}

/* Each regular file named by a digest; temporary files of a process that died are removed, anything else left alone. */
static int load_dir(struct image_cache *c, int dirfd, void (*fn)(struct image_cache *c, const struct digest *d, const struct stat *st))
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;
	struct digest d;
	struct stat st;

	if (!dir) {
		int r = -errno;
		closep(&fd);
		return r;
	}
	for (errno = 0; (de = readdir(dir)); errno = 0) {
		struct span name = span_str(de->d_name);
		if (span_starts(name, SPAN_LIT(".tmp-")))
			(void)unlinkat(dirfd, de->d_name, 0); /* the next start tries again */
		else if (digest_parse(name, &d) == 0 && fstatat(dirfd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			 S_ISREG(st.st_mode))
			fn(c, &d, &st);
	}
	int r = -errno;
	(void)closedir(dir); /* read only */
	return r;
}

/* The state directory itself holds no images, only, perhaps, temporary files to be swept. */
static void load_nothing(struct image_cache *c, const struct digest *d, const struct stat *st)
{
}

static void drop_old_partials(struct image_cache *c)
{
	struct wall now = wall_now();
	struct partial_entry *p, *next;
	char name[DIGEST_HEX_BYTES];

	HASH_ITER(hh, c->partials, p, next) {
		if (now.ms - p->touched_at.ms < PARTIAL_AGE_MS)
			continue;
		(void)unlinkat(c->partial_fd, digest_hex(&p->digest, name), 0); /* counted no more; the next start sees it again */
		HASH_DEL(c->partials, p);
		free(p);
	}
}

int image_cache_open(const char *state_dir, uint64_t quota_bytes, struct image_cache **ret)
{
	struct image_cache *c = NEW(struct image_cache);
	int r;

	c->dirfd = c->images_fd = c->partial_fd = -1;
	c->quota_bytes = quota_bytes;
	pthread_mutex_init(&c->lock, NULL);
	r = dir_make(AT_FDCWD, state_dir, &c->dirfd);
	if (r == 0)
		r = dir_make(c->dirfd, "images", &c->images_fd);
	if (r == 0)
		r = dir_make(c->dirfd, "partial", &c->partial_fd);
	if (r == 0)
		r = load_dir(c, c->dirfd, load_nothing);
	if (r == 0)
		r = load_dir(c, c->images_fd, load_image);
	if (r == 0)
		r = load_dir(c, c->partial_fd, image_partial_load);
	if (r < 0) {
		image_cache_close(c);
		return r;
	}
	drop_old_partials(c);
	*ret = c;
	return 0;
}

struct image_cache *image_cache_close(struct image_cache *c)
{
	struct image_entry *e, *next;
	struct partial_entry *p, *next_p;

	if (!c)
		return NULL;
	HASH_ITER(hh, c->entries, e, next) {
		close_file(c, e);
		HASH_DEL(c->entries, e);
		free(e);
	}
	HASH_ITER(hh, c->partials, p, next_p) {
		HASH_DEL(c->partials, p);
		free(p);
	}
	closep(&c->partial_fd);
	closep(&c->images_fd);
	closep(&c->dirfd);
	pthread_mutex_destroy(&c->lock);
	free(c);
	return NULL;
}

/* --- what is there --- */

static pthread_mutex_t *lock_of(const struct image_cache *c)
{
	return &((struct image_cache *)c)->lock; /* reading needs the lock too */
}

static void unlockp(pthread_mutex_t **m)
{
	pthread_mutex_unlock(*m);
}

static pthread_mutex_t *locked(pthread_mutex_t *m)
{
	pthread_mutex_lock(m);
	return m;
}

/* To the end of the scope. */
#define HOLD(c_) _cleanup_(unlockp) _unused_ pthread_mutex_t *hold_ = locked(lock_of(c_))

void image_cache_set_quota(struct image_cache *c, uint64_t quota_bytes)
{
	HOLD(c);
	c->quota_bytes = quota_bytes;
}

uint64_t image_cache_bytes(const struct image_cache *c)
{
	HOLD(c);
	return c->bytes;
}

size_t image_cache_count(const struct image_cache *c)
{
	HOLD(c);
	return c->n_present;
}

/* A copy, so that fn may call the cache. */
static size_t snapshot(const struct image_cache *c, struct image_entry **ret)
{
	const struct image_entry *e;
	size_t n = 0;

	HOLD(c);
	*ret = NEW_N(struct image_entry, c->n_present);
	for (e = c->entries; e; e = e->hh.next)
		if (e->is_present)
			(*ret)[n++] = *e;
	return n;
}

void image_cache_each(const struct image_cache *c, void (*fn)(void *ctx, const struct digest *d, uint64_t bytes, unsigned pins, bool is_verified, struct wall used_at), void *ctx)
{
	_cleanup_free_ struct image_entry *all = NULL;
	size_t n = snapshot(c, &all);

	for (size_t i = 0; i < n; i++)
		fn(ctx, &all[i].digest, all[i].bytes, all[i].pins, all[i].is_verified, all[i].used_at);
}

bool image_cache_has(const struct image_cache *c, const struct digest *d, uint64_t *ret_bytes)
{
	HOLD(c);
	const struct image_entry *e = find(c, d);

	if (!e || !e->is_present)
		return false;
	if (ret_bytes)
		*ret_bytes = e->bytes;
	return true;
}

void image_cache_pin(struct image_cache *c, const struct digest *d)
{
	HOLD(c);
	find_or_add(c, d)->pins++;
}

void image_cache_unpin(struct image_cache *c, const struct digest *d)
{
	HOLD(c);
	struct image_entry *e = find(c, d);

	if (e && e->pins) {
		e->pins--;
		forget_if_empty(c, e);
	}
}

/* --- making room --- */

static bool is_older(const struct image_entry *a, const struct image_entry *b)
{
	return a->used_tick != b->used_tick ? a->used_tick < b->used_tick : a->used_at.ms < b->used_at.ms;
}

static int remove_file(struct image_cache *c, struct image_entry *e)
{
	char name[DIGEST_HEX_BYTES];

	if (unlinkat(c->images_fd, digest_hex(&e->digest, name), 0) < 0 && errno != ENOENT)
		return -errno;
	image_index_drop(c, e);
	return 0;
}

static bool evict(struct image_cache *c)
{
	struct image_entry *e, *oldest = NULL;

	for (e = c->entries; e; e = e->hh.next)
		if (e->is_present && !e->pins && (!oldest || is_older(e, oldest)))
			oldest = e;
	return oldest && remove_file(c, oldest) == 0;
}

static bool has_room(const struct image_cache *c, uint64_t n)
{
	uint64_t used = c->bytes + image_partial_total(c);
	struct statvfs fs;

	if (n > c->quota_bytes || used > c->quota_bytes - n)
		return false;
	return fstatvfs(c->images_fd, &fs) < 0 || (uint64_t)fs.f_bavail * fs.f_frsize >= n;
}

int image_cache_reserve(struct image_cache *c, uint64_t n)
{
	HOLD(c);
	if (n > c->quota_bytes)
		return -ENOSPC;
	while (!has_room(c, n))
		if (!evict(c) && !image_partial_evict(c))
			return -ENOSPC;
	return 0;
}

int image_cache_remove(struct image_cache *c, const struct digest *d)
{
	HOLD(c);
	struct image_entry *e = find(c, d);

	if (!e || !e->is_present)
		return -ENOENT;
	return e->pins ? -EBUSY : remove_file(c, e);
}

/* --- bytes in --- */

void image_cache_added(struct image_cache *c, const struct digest *d, uint64_t bytes)
{
	HOLD(c);
	image_index_add(c, d, bytes);
}

int image_cache_put(struct image_cache *c, struct span bytes, struct digest *ret_digest)
{
	_cleanup_(tmpfile_discard) struct tmpfile tmp = { .fd = -1 };
	struct digest d = digest_of(bytes);
	char name[DIGEST_HEX_BYTES];
	int r = tmpfile_create(&tmp, c->images_fd);

	if (r == 0)
		r = tmpfile_write(&tmp, bytes);
	if (r == 0 && fchmod(tmp.fd, 0400) < 0)
		r = -errno;
	if (r == 0)
		r = tmpfile_publish(&tmp, digest_hex(&d, name));
	if (r < 0)
		return r;
	image_cache_added(c, &d, bytes.n);
	if (ret_digest)
		*ret_digest = d;
	return 0;
}

/* --- bytes out --- */

static int open_image(const struct image_cache *c, const struct digest *d, struct stat *ret_st)
{
	char name[DIGEST_HEX_BYTES];
	_cleanup_close_ int fd = openat(c->images_fd, digest_hex(d, name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || fstat(fd, ret_st) < 0)
		return -errno;
	if (!S_ISREG(ret_st->st_mode))
		return -EBADMSG;
	int out = fd;
	fd = -1;
	return out;
}

/* With the lock held: not more than so many files stay open. */
static void keep_open(struct image_cache *c, struct image_entry *e, struct image_file *f)
{
	struct image_entry *i, *oldest = NULL;

	close_file(c, e);
	if (c->n_open >= OPEN_FILES_MAX) {
		for (i = c->entries; i; i = i->hh.next)
			if (i->file && (!oldest || is_older(i, oldest)))
				oldest = i;
		close_file(c, oldest);
	}
	e->file = image_file_ref(f);
	c->n_open++;
}

/* With the lock held: the file as it was verified, or why not. */
static int get_verified(struct image_cache *c, const struct digest *d, struct image_file **ret)
{
	struct image_entry *e = find(c, d);
	struct stat st;
	int fd = -1, r = 0;

	if (!e || !e->is_present)
		return -ENOENT;
	if (!e->is_verified)
		return -EAGAIN;
	if (e->file)
		r = fstat(e->file->fd, &st) < 0 ? -errno : 0;
	else
		r = fd = open_image(c, d, &st);
	struct image_stamp now = r < 0 ? (struct image_stamp){ 0 } : image_stamp_of(&st);
	if (r < 0 || !image_stamp_eq(&now, &e->stamp)) {
		closep(&fd);
		close_file(c, e);
		e->is_verified = false;
		return -EAGAIN; /* verification finds out what happened to it */
	}
	touch(c, e);
	if (e->file) {
		*ret = image_file_ref(e->file);
		return 0;
	}
	*ret = image_file_new(fd, d, e->bytes);
	keep_open(c, e, *ret);
	return 0;
}

int image_cache_get(struct image_cache *c, const struct digest *d, struct image_file **ret)
{
	HOLD(c);
	return get_verified(c, d, ret);
}

/* The name's content is not its own: gone from disk and index, pins stay. inode 0 = whatever is there. */
static int drop_bad(struct image_cache *c, const struct digest *d, uint64_t inode)
{
	char name[DIGEST_HEX_BYTES];
	struct stat st;

	HOLD(c);
	struct image_entry *e = find(c, d);
	digest_hex(d, name);
	if (fstatat(c->images_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && inode && st.st_ino != inode)
		return -EAGAIN; /* a good one came in its place meanwhile, perhaps */
	if (unlinkat(c->images_fd, name, 0) < 0 && errno != ENOENT)
		return -errno;
	if (e)
		image_index_drop(c, e);
	return -EBADMSG;
}

static int add_verified(struct image_cache *c, const struct digest *d, const struct image_stamp *stamp, struct image_file *f)
{
	HOLD(c);
	image_index_add(c, d, stamp->bytes);
	struct image_entry *e = find(c, d);
	e->is_verified = true;
	e->stamp = *stamp;
	keep_open(c, e, f);
	return 0;
}

static void drop_missing(struct image_cache *c, const struct digest *d)
{
	HOLD(c);
	struct image_entry *e = find(c, d);

	if (e)
		image_index_drop(c, e);
}

static int verify_file(struct image_cache *c, const struct digest *d, struct image_file **ret)
{
	struct stat before = { 0 }, after;
	struct digest is;
	uint64_t bytes;
	_cleanup_close_ int fd = open_image(c, d, &before);

	if (fd == -ENOENT)
		drop_missing(c, d);
	if (fd == -EBADMSG || fd == -ELOOP)
		return drop_bad(c, d, 0); /* not a file at all */
	if (fd < 0)
		return fd;
	int r = file_digest(fd, &is, &bytes);
	if (r < 0 && r != -EIO)
		return r;
	struct image_stamp stamp = image_stamp_of(&before), again = stamp;
	if (r == 0 && fstat(fd, &after) == 0)
		again = image_stamp_of(&after);
	if (r < 0 || !digest_eq(&is, d) || bytes != stamp.bytes || !image_stamp_eq(&stamp, &again))
		return drop_bad(c, d, stamp.inode);
	_cleanup_(image_file_unrefp) struct image_file *f = image_file_new(fd, d, bytes);
	fd = -1;
	r = add_verified(c, d, &stamp, f);
	if (r == 0)
		*ret = TAKE(f);
	return r;
}

int image_cache_verify(struct image_cache *c, const struct digest *d, struct image_file **ret)
{
	int r = image_cache_get(c, d, ret);

	return r == 0 ? 0 : verify_file(c, d, ret);
}
