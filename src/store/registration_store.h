/* store/registration_store.h - rows of the Resource Directory (RD-50): written through by
 * directory/registry, loaded once at start. */
#pragma once
#include "base/time.h"
#include "store/db.h"

struct registration_row {
	const char *location;                  /* primary key: the last path segment */
	const char *endpoint, *sector;         /* sector "" = none */
	struct span base;
	bool base_is_explicit;
	uint32_t lifetime_s;
	struct wall expires_at;
	uint64_t order;                        /* registration order, for stable lookups (RD-60) */
	struct span attributes;                /* extra endpoint attributes, encoded by the registry */
	struct span links;                     /* verbatim link-format (RD-32) */
	const char *owner;                     /* credential identity; "" = plain */
	const char *device;                    /* device id; "" = none */
};

void registration_store_put(struct db *db, const struct registration_row *row, db_done_fn *done, void *ctx);
/* Only the lifetime changed: cheaper than a put. */
void registration_store_touch(struct db *db, const char *location, struct wall expires_at, db_done_fn *done, void *ctx);
void registration_store_delete(struct db *db, const char *location, db_done_fn *done, void *ctx);
int registration_store_load(struct db *db, int (*fn)(void *ctx, const struct registration_row *row), void *ctx);
