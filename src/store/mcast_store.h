/* store/mcast_store.h - multicast groups with their keys, and the sessions that were under way. Keys are secrets: the
 * database file has mode 0600 and nothing here is logged. What a snapshot means is delivery's. */
#pragma once
#include "base/digest.h"
#include "store/db.h"

enum { MCAST_STORE_SID_BYTES = 8, MCAST_STORE_KEY_BYTES = 16, MCAST_STORE_LOSSES = 5 };

struct mcast_group_row {
	const char *name;
	uint8_t gid;
	uint8_t key[MCAST_STORE_KEY_BYTES];
	uint32_t counter;                      /* of sessions; a smaller one than stored is not taken: it would be used twice */
	uint16_t losses[MCAST_STORE_LOSSES];
	struct span members;                   /* device ids, each ended by a zero byte; borrowed */
};

struct mcast_session_row {
	uint8_t sid[MCAST_STORE_SID_BYTES];
	const char *group;
	struct digest manifest, image;
	struct span snapshot;                  /* borrowed */
};

void mcast_group_store_put(struct db *db, const struct mcast_group_row *row, db_done_fn *done, void *ctx);
int mcast_group_store_load(struct db *db, int (*fn)(void *ctx, const struct mcast_group_row *row), void *ctx);

void mcast_session_store_put(struct db *db, const struct mcast_session_row *row, db_done_fn *done, void *ctx);
void mcast_session_store_delete(struct db *db, const uint8_t sid[static MCAST_STORE_SID_BYTES], db_done_fn *done, void *ctx);
int mcast_session_store_load(struct db *db, int (*fn)(void *ctx, const struct mcast_session_row *row), void *ctx);
