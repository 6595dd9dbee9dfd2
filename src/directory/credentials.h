/* directory/credentials.h - keys by identity, in memory, wiped when they go. For directory/devices.c, which persists
 * them. Borrowed credentials hold until they are replaced or removed. */
#pragma once
#include "base/buf.h"
#include "store/device_store.h"

enum { CREDENTIAL_KEY_BYTES_MIN = 16 };

struct credentials;

struct credentials *credentials_new(void);
struct credentials *credentials_free(struct credentials *cs);
/* static: from the file. Replaces what has the same identity and kind. */
void credentials_put(struct credentials *cs, const struct credential *c, bool is_static);
void credentials_remove(struct credentials *cs, const struct credential *c);
const struct credential *credentials_get(const struct credentials *cs, struct span identity, enum credential_kind kind);
const struct credential *credentials_next(const struct credentials *cs, const struct credential *after);
bool credentials_is_static(const struct credential *c);
/* Does a PSK credential name this device? */
bool credentials_of_device(const struct credentials *cs, const char *device);
/* As devices_read_credentials(). */
int credentials_read(struct credentials *cs, const char *file, struct buf *error);
void credential_fresh_secret(struct credential *c, size_t n);
