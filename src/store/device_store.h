/* store/device_store.h - devices and their credentials. Credentials are secrets: the database file
 * has mode 0600 and nothing here is logged. */
#pragma once
#include "model/device.h"
#include "store/db.h"

void device_store_put(struct db *db, const struct device *d, db_done_fn *done, void *ctx);
void device_store_delete(struct db *db, const char *id, db_done_fn *done, void *ctx);
int device_store_load(struct db *db, int (*fn)(void *ctx, const struct device *d), void *ctx);

enum credential_kind { CREDENTIAL_PSK, CREDENTIAL_MAC };
enum credential_role { ROLE_DEVICE = 1, ROLE_ADMIN = 2, ROLE_VIEWER = 4 };

enum { CREDENTIAL_SECRET_MAX = 64 };

struct credential {
	char identity[DEVICE_IDENTITY_BYTES];  /* PSK identity; for a MAC key, the device id */
	enum credential_kind kind;             /* (identity, kind) is unique */
	unsigned roles;
	uint8_t secret[CREDENTIAL_SECRET_MAX];
	size_t n_secret;
	char device[DEVICE_ID_BYTES];          /* "" for people */
};

void credential_store_put(struct db *db, const struct credential *c, db_done_fn *done, void *ctx);
void credential_store_delete(struct db *db, const char *identity, enum credential_kind kind, db_done_fn *done, void *ctx);
int credential_store_load(struct db *db, int (*fn)(void *ctx, const struct credential *c), void *ctx);
