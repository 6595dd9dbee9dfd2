/* store/image_cache_internal.h - inside store/ only: the index shared by image_cache.c and image_partial.c.
 * Fields below `lock` are guarded by it. */
#pragma once
#include <pthread.h>
#include <string.h>

/* A digest is a hash already. */
#define HASH_FUNCTION(key_, n_, hash_) memcpy(&(hash_), (key_), sizeof(hash_))
#include <uthash.h>

#include "store/image_file.h"

struct image_entry {
	struct digest digest;                  /* key */
	bool is_present;                       /* else only pinned, still to come */
	uint64_t bytes;
	unsigned pins;
	struct wall used_at;
	uint64_t used_tick;                    /* 0 = not since start: then used_at decides */
	bool is_verified;                      /* in this process, while the file had this stamp */
	struct image_stamp stamp;
	struct image_file *file;               /* kept open; NULL = open when needed */
	UT_hash_handle hh;
};

struct partial_entry {
	struct digest digest;                  /* key */
	uint64_t bytes, promised_bytes;        /* in the file; in the end, while open */
	bool is_open;
	struct wall touched_at;
	UT_hash_handle hh;
};

struct image_cache {
	int dirfd, images_fd, partial_fd;
	pthread_mutex_t lock;
	uint64_t quota_bytes, bytes, tick;
	size_t n_present, n_open;
	struct image_entry *entries;
	struct partial_entry *partials;
};

/* With the lock held. */
void image_index_add(struct image_cache *c, const struct digest *d, uint64_t bytes);
void image_partial_load(struct image_cache *c, const struct digest *d, const struct stat *st);
uint64_t image_partial_total(const struct image_cache *c);
bool image_partial_evict(struct image_cache *c);                       /* the oldest that nobody has open */
