/* store/job_store.h - rollouts and jobs; a finished job stays as history until pruned. */
#pragma once
#include "model/job.h"
#include "model/rollout.h"
#include "store/db.h"

void job_store_put(struct db *db, const struct job *j, db_done_fn *done, void *ctx);
void job_store_delete(struct db *db, const char *id, db_done_fn *done, void *ctx);
int job_store_load(struct db *db, int (*fn)(void *ctx, const struct job *j), void *ctx);
void rollout_store_put(struct db *db, const struct rollout *r, db_done_fn *done, void *ctx);
int rollout_store_load(struct db *db, int (*fn)(void *ctx, const struct rollout *r), void *ctx);
