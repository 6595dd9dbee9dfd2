/* store/db.h - the embedded database (SQLite, WAL, synchronous=FULL): what survives a restart.
 *
 * Reads happen before the loop runs, or on explicit small queries; they see what is committed, not what
 * is still queued. Writes are queued in order and committed in groups by one writer thread that belongs to
 * this module; `done` runs on the loop after the commit, so an acknowledgement can wait for it. An entry that
 * fails (disk full, I/O error) gets its negative errno; nothing of it is kept, and later entries are tried again.
 * The owner of the loop watches db_fd() and calls db_dispatch(), which also tells the operator when the disk begins
 * to fail and when it works again. Values are copied and wiped after use. Everything here is for the loop thread.
 * No SQLite type leaves store/. */
#pragma once
#include "base/span.h"

struct db;

enum {
	DB_QUEUE_MAX = 20000,                  /* entries; one more gets -EBUSY */
	DB_QUEUE_BYTES_MAX = 64 * 1024 * 1024, /* and so do bytes */
	DB_GROUP_MAX = 1000,                   /* entries in one commit */
	DB_DISPATCH_MAX = 256,                 /* done callbacks in one turn of the loop */
};

/* In the order of the writes, but a refusal (-EBUSY, -EMSGSIZE) may come before earlier writes are
 * answered. NULL done = nobody waits. Writing from within done is fine. */
typedef void db_done_fn(void *ctx, int error);

/* Creates (directory 0700, files 0600), migrates; a corrupt file is set aside as dormouse.db.corrupt-<time> and reported by
 * db_was_reset(). -EBUSY: another process has it; -ENOTSUP: written by a newer version. */
int db_open(const char *state_dir, struct db **ret);
struct db *db_close(struct db *db);                    /* commits everything queued, runs their done */
bool db_was_reset(const struct db *db);
const char *db_library_version(void);                  /* of SQLite */
int db_fd(struct db *db);                              /* readable when commits are done */
void db_dispatch(struct db *db);
size_t db_queue_length(struct db *db);
bool db_is_failing(const struct db *db);               /* the last group of writes did not get to the disk */
void db_flush(struct db *db);                          /* blocks until all queued is committed and dispatched; tests, shutdown */
/* What is written between the two is committed as one: all of it or nothing, one error for all. May be nested. */
void db_begin(struct db *db);
void db_end(struct db *db);
