/* config/secret.h - secrets come by files that nobody else can read. Blocking; before the loop runs or on a worker. */
#pragma once
#include "base/buf.h"

enum { SECRET_BYTES_MAX = 64 * 1024, TOKEN_BYTES_MIN = 16, TOKEN_BYTES_MAX = 1024 };

/**
 * Read a file that holds a secret: a regular file, owned by us or root, with no permission for group and others. Files
 * below $CREDENTIALS_DIRECTORY are the service manager's, which sees to that itself, and may be readable by a group.
 *
 * path  where; symbolic links are followed and the file at their end is judged
 * ret   owned by the caller, NUL-terminated after n; wipe it (mem_wipe) before freeing
 * error gets one line "PATH: what is wrong; what would be right"
 * Returns 0; -EACCES permissions or owner, -EFBIG over SECRET_BYTES_MAX, -EINVAL no regular file, -errno.
 */
int config_secret_read(const char *path, uint8_t **ret, size_t *ret_n, struct buf *error);
/* Judge only: for keys that a library opens by itself. Same returns. */
int config_secret_check(const char *path, struct buf *error);
/* A bearer token: one line of 16 to 1024 printable ASCII characters without spaces; white space at the end is dropped.
 * -EBADMSG otherwise. ret is owned by the caller. */
int config_token_read(const char *path, char **ret, struct buf *error);
