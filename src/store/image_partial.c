/* Downloads in progress, of store/image_cache.h. */
#include "store/image_cache.h"

#include <errno.h>
#include <fcntl.h>

#include "base/mem.h"
#include "base/tmpfile.h"
#include "store/image_cache_internal.h"

struct image_partial {
	struct image_cache *cache;
	struct digest digest;
	int fd;
	uint64_t bytes, max_bytes;
	bool is_done;                          /* committed or discarded: the index knows it no more */
};

static struct partial_entry *find(struct image_cache *c, const struct digest *d)
{
	struct partial_entry *p;

	HASH_FIND(hh, c->partials, d, sizeof(*d), p);
	return p;
}

static struct partial_entry *find_or_add(struct image_cache *c, const struct digest *d)
{
	struct partial_entry *p = find(c, d);

	if (!p) {
		p = NEW(struct partial_entry);
		p->digest = *d;
		HASH_ADD(hh, c->partials, digest, sizeof(p->digest), p);
	}
	return p;
}

void image_partial_load(struct image_cache *c, const struct digest *d, const struct stat *st)
{
	struct partial_entry *p = find_or_add(c, d);

	p->bytes = (uint64_t)st->st_size;
	p->touched_at = (struct wall){ st->st_mtim.tv_sec * INT64_C(1000) };
}

uint64_t image_partial_total(const struct image_cache *c)
{
	uint64_t n = 0;

	for (const struct partial_entry *p = c->partials; p; p = p->hh.next)
		n += p->is_open && p->promised_bytes > p->bytes ? p->promised_bytes : p->bytes;
	return n;
}

static bool remove_entry(struct image_cache *c, struct partial_entry *p)
{
	char name[DIGEST_HEX_BYTES];

	if (unlinkat(c->partial_fd, digest_hex(&p->digest, name), 0) < 0 && errno != ENOENT)
		return false;
	HASH_DEL(c->partials, p);
	free(p);
	return true;
}

bool image_partial_evict(struct image_cache *c)
{
	struct partial_entry *oldest = NULL;

	for (struct partial_entry *p = c->partials; p; p = p->hh.next)
		if (!p->is_open && (!oldest || p->touched_at.ms < oldest->touched_at.ms))
			oldest = p;
	return oldest && remove_entry(c, oldest);
}

/* The index learns how the file grew; is_open false also releases it. */
static void note(struct image_partial *p, bool is_open)
{
	struct image_cache *c = p->cache;

	pthread_mutex_lock(&c->lock);
	struct partial_entry *e = find(c, &p->digest);
	if (e) {
		e->bytes = p->bytes;
		e->is_open = is_open;
		e->touched_at = wall_now();
	}
	pthread_mutex_unlock(&c->lock);
}

static int claim(struct image_cache *c, const struct digest *d, uint64_t max_bytes)
{
	int r = -EBUSY;

	pthread_mutex_lock(&c->lock);
	struct partial_entry *e = find_or_add(c, d);
	if (!e->is_open) {
		e->is_open = true;
		e->promised_bytes = max_bytes;
		r = 0;
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

static int open_file(struct image_partial *p)
{
	char name[DIGEST_HEX_BYTES];
	struct stat st;

	p->fd = openat(p->cache->partial_fd, digest_hex(&p->digest, name), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (p->fd < 0 || fstat(p->fd, &st) < 0)
		return -errno;
	p->bytes = (uint64_t)st.st_size;
	return p->bytes > p->max_bytes ? image_partial_reset(p) : 0;
}

int image_partial_open(struct image_cache *c, const struct digest *expect, uint64_t max_bytes, struct image_partial **ret, uint64_t *ret_from)
{
	int r = claim(c, expect, max_bytes);

	if (r < 0)
		return r;
	struct image_partial *p = NEW(struct image_partial);
	*p = (struct image_partial){ .cache = c, .digest = *expect, .fd = -1, .max_bytes = max_bytes };
	r = open_file(p);
	if (r < 0) {
		image_partial_close(p);
		return r;
	}
	note(p, true);
	*ret = p;
	*ret_from = p->bytes;
	return 0;
}

int image_partial_write(struct image_partial *p, uint64_t off, struct span bytes)
{
	if (p->is_done || off > p->bytes)
		return -EINVAL;
	if (off > p->max_bytes || bytes.n > p->max_bytes - off)
		return -EFBIG;
	int r = 0;
	while (bytes.n && r == 0) {
		ssize_t n = pwrite(p->fd, bytes.p, bytes.n, (off_t)off);
		if (n < 0) {
			r = errno == EINTR ? 0 : -errno;
			continue;
		}
		off += (uint64_t)n;
		bytes = span_sub(bytes, (size_t)n, bytes.n);
		if (off > p->bytes)
			p->bytes = off;
	}
	note(p, true);
	return r;
}

int image_partial_reset(struct image_partial *p)
{
	if (ftruncate(p->fd, 0) < 0)
		return -errno;
	p->bytes = 0;
	note(p, true);
	return 0;
}

static void discard(struct image_partial *p)
{
	pthread_mutex_lock(&p->cache->lock);
	struct partial_entry *e = find(p->cache, &p->digest);
	if (e && !remove_entry(p->cache, e))
		e->is_open = false; /* could not be unlinked: it is cut, and may go by eviction */
	pthread_mutex_unlock(&p->cache->lock);
	(void)!ftruncate(p->fd, 0); /* whether it is gone or not, nothing of it is wanted */
	p->is_done = true;
}

static int move_into_place(struct image_partial *p)
{
	struct image_cache *c = p->cache;
	char name[DIGEST_HEX_BYTES];

	digest_hex(&p->digest, name);
	if (fchmod(p->fd, 0400) < 0 || fsync(p->fd) < 0 || renameat(c->partial_fd, name, c->images_fd, name) < 0 ||
	    fsync(c->images_fd) < 0 || fsync(c->partial_fd) < 0)
		return -errno;
	pthread_mutex_lock(&c->lock);
	struct partial_entry *e = find(c, &p->digest);
	if (e) {
		HASH_DEL(c->partials, e);
		free(e);
	}
	image_index_add(c, &p->digest, p->bytes);
	pthread_mutex_unlock(&c->lock);
	p->is_done = true;
	return 0;
}

int image_partial_commit(struct image_partial *p)
{
	struct digest is;
	uint64_t bytes;

	if (p->is_done)
		return -EALREADY;
	int r = file_digest(p->fd, &is, &bytes);
	if (r < 0)
		return r;
	if (bytes != p->max_bytes || !digest_eq(&is, &p->digest)) {
		discard(p);
		return -EBADMSG;
	}
	return move_into_place(p);
}

struct image_partial *image_partial_close(struct image_partial *p)
{
	if (!p)
		return NULL;
	if (!p->is_done)
		note(p, false);
	closep(&p->fd);
	free(p);
	return NULL;
}
