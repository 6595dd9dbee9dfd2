/* store/update_store.h - updates with their verdicts, the highest accepted sequences (SU-13), fetched
 * revocation objects, source state and the clock floor (RV-14). */
#pragma once
#include "model/update.h"
#include "store/db.h"

/* verdict_json may be empty: the stored one stays. */
void update_store_put(struct db *db, const struct update *u, struct span verdict_json, db_done_fn *done, void *ctx);
void update_store_delete(struct db *db, const char *id, db_done_fn *done, void *ctx);
int update_store_load(struct db *db, int (*fn)(void *ctx, const struct update *u), void *ctx);
/* A small query on the loop: the verdict document of one update; -ENOENT. ret: free(). */
int update_store_verdict(struct db *db, const char *id, uint8_t **ret, size_t *ret_n);

struct sequence_row {
	uint8_t vendor_id[16], class_id[16], component[64];
	uint8_t n_component;
	uint64_t sequence;
	struct digest manifest;
};
void sequence_store_put(struct db *db, const struct sequence_row *row, db_done_fn *done, void *ctx);
int sequence_store_load(struct db *db, int (*fn)(void *ctx, const struct sequence_row *row), void *ctx);

struct revocation_row {
	const char *key, *url;
	int kind;                              /* enum revocation_kind of trust/trust.h; store cannot see it */
	struct span der;
	struct wall fetched_at;
};
void revocation_store_put(struct db *db, const struct revocation_row *row, db_done_fn *done, void *ctx);
void revocation_store_delete(struct db *db, const char *key, db_done_fn *done, void *ctx);
int revocation_store_load(struct db *db, int (*fn)(void *ctx, const struct revocation_row *row), void *ctx);

struct source_row {
	const char *name, *etag, *last_modified;       /* of the last good poll */
	struct digest last_envelope;
	struct wall polled_at;
};
void source_store_put(struct db *db, const struct source_row *row, db_done_fn *done, void *ctx);
int source_store_load(struct db *db, int (*fn)(void *ctx, const struct source_row *row), void *ctx);

/* Small named values: "clock_floor_ms", ... */
void kv_store_put(struct db *db, const char *key, struct span value, db_done_fn *done, void *ctx);
int kv_store_get(struct db *db, const char *key, uint8_t **ret, size_t *ret_n);        /* -ENOENT; free() */
