/* store/db.h - the embedded database (SQLite, WAL, synchronous=FULL): what survives a restart.
 *
 * Reads happen before the loop runs, or on explicit small queries. Writes are queued in order and
 * committed in groups by one writer thread that belongs to this module; `done` runs on the loop after
 * the commit, so an acknowledgement can wait for it. An entry that fails (disk full, I/O error) gets its
 * negative errno; nothing of it is kept, and later entries are tried again. The owner of the loop watches
 * db_fd() and calls db_dispatch(). No SQLite type leaves store/. */
#pragma once
#include "base/span.h"

struct db;

enum { DB_QUEUE_MAX = 20000, DB_GROUP_MAX = 1000 };

typedef void db_done_fn(void *ctx, int error);
/* NULL done = nobody waits; errors are then logged by db_dispatch() as EV_STORE_FAILED. */

int db_open(const char *state_dir, struct db **ret);   /* creates, migrates; a corrupt file is set aside as dormouse.db.corrupt-<time> and reported by db_was_reset() */
struct db *db_close(struct db *db);                    /* commits everything queued, runs their done */
bool db_was_reset(const struct db *db);
int db_fd(struct db *db);                              /* readable when commits are done */
void db_dispatch(struct db *db);
size_t db_queue_length(struct db *db);
void db_flush(struct db *db);                          /* blocks until all queued is committed and dispatched; tests, shutdown */
