/* tests/sim/sim_store.h - when the database commits. The real store/db runs with its real writer thread and SQLite, but
 * the thread works only when the simulation lets it, while the loop waits: what is queued is on disk after a virtual delay,
 * and its done functions run after another. A killed process never wrote what was still queued. */
#pragma once
#include "sim.h"
#include "store/db.h"

/* Opens, and from then on commits by virtual time. */
int sim_db_open(const char *dir, struct loop *l, struct db **ret);
/* Called when a group is on disk, before any done function hears of it. */
void sim_db_set_committed(void (*fn)(void *ctx), void *ctx);
/* From now on nothing reaches the disk: every write ends with -EIO. For a process that is killed; ends with the next open. */
void sim_db_die(void);
/* The disk is full: every write ends with -ENOSPC, until it is not full any more. */
void sim_db_fill(bool is_full);
/* Commits what is queued and runs every done function, at once, until nothing is left; then, or when it was killed, all flow
 * freely: db_flush() and db_close() may follow. */
void sim_db_let_go(struct db *db);
