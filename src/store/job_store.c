#include "store/job_store.h"

#include "base/log.h"
#include "store/db_internal.h"

static const struct db_op job_put = { .sql = {
	"INSERT INTO job (id, update_id, device, rollout, state, sent_bytes, total_bytes, attempts, result, reason, created_at, state_at)"
	" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (id) DO UPDATE SET update_id = ?2, device = ?3,"
	" rollout = ?4, state = ?5, sent_bytes = ?6, total_bytes = ?7, attempts = ?8, result = ?9, reason = ?10, created_at = ?11,"
	" state_at = ?12",
} };
static const struct db_op job_delete = { .sql = { "DELETE FROM job WHERE id = ?1" } };
static const struct db_op rollout_put = { .sql = {
	"INSERT INTO rollout (id, update_id, state, created_at, state_at) VALUES (?1, ?2, ?3, ?4, ?5)"
	" ON CONFLICT (id) DO UPDATE SET update_id = ?2, state = ?3, created_at = ?4, state_at = ?5",
} };

void job_store_put(struct db *db, const struct job *j, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &job_put, done, ctx, sql_text(j->id), sql_text(j->update), sql_text(j->device), sql_text(j->rollout),
		 sql_text(job_state_name(j->state)), sql_int((int64_t)j->sent_bytes), sql_int((int64_t)j->total_bytes),
		 sql_int(j->attempts), sql_int(j->result), sql_text(j->reason), sql_int(j->created_at.ms), sql_int(j->state_at.ms));
}

void job_store_delete(struct db *db, const char *id, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &job_delete, done, ctx, sql_text(id));
}

struct load {
	int (*job)(void *ctx, const struct job *j);
	int (*rollout)(void *ctx, const struct rollout *r);
	void *ctx;
};

static int load_job(void *ctx, sqlite3_stmt *st)
{
	const struct load *l = ctx;
	struct job j = {
		.sent_bytes = (uint64_t)sqlite3_column_int64(st, 5),
		.total_bytes = (uint64_t)sqlite3_column_int64(st, 6),
		.attempts = (unsigned)sqlite3_column_int64(st, 7),
		.result = (unsigned)sqlite3_column_int64(st, 8),
		.created_at = { sqlite3_column_int64(st, 10) },
		.state_at = { sqlite3_column_int64(st, 11) },
	};

	if (sql_column_copy(st, 0, j.id, sizeof(j.id)) < 0 || sql_column_copy(st, 1, j.update, sizeof(j.update)) < 0 ||
	    sql_column_copy(st, 2, j.device, sizeof(j.device)) < 0 || sql_column_copy(st, 3, j.rollout, sizeof(j.rollout)) < 0 ||
	    job_state_parse(span_str(sql_column_str(st, 4)), &j.state) < 0 ||
	    sql_column_copy(st, 9, j.reason, sizeof(j.reason)) < 0) {
		log_line(LOG_ERR, "a job in the database is not understood and left out");
		return 0;
	}
	return l->job(l->ctx, &j);
}

int job_store_load(struct db *db, int (*fn)(void *ctx, const struct job *j), void *ctx)
{
	struct load l = { .job = fn, .ctx = ctx };

	return sql_query(db_reader(db),
			 "SELECT id, update_id, device, rollout, state, sent_bytes, total_bytes, attempts, result, reason, created_at,"
			 " state_at FROM job ORDER BY created_at, id",
			 NULL, 0, load_job, &l);
}

void rollout_store_put(struct db *db, const struct rollout *r, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &rollout_put, done, ctx, sql_text(r->id), sql_text(r->update), sql_text(rollout_state_name(r->state)),
		 sql_int(r->created_at.ms), sql_int(r->state_at.ms));
}

static int load_rollout(void *ctx, sqlite3_stmt *st)
{
	const struct load *l = ctx;
	struct rollout r = { .created_at = { sqlite3_column_int64(st, 3) }, .state_at = { sqlite3_column_int64(st, 4) } };

	if (sql_column_copy(st, 0, r.id, sizeof(r.id)) < 0 || sql_column_copy(st, 1, r.update, sizeof(r.update)) < 0 ||
	    rollout_state_parse(span_str(sql_column_str(st, 2)), &r.state) < 0) {
		log_line(LOG_ERR, "a rollout in the database is not understood and left out");
		return 0;
	}
	return l->rollout(l->ctx, &r);
}

int rollout_store_load(struct db *db, int (*fn)(void *ctx, const struct rollout *r), void *ctx)
{
	struct load l = { .rollout = fn, .ctx = ctx };

	return sql_query(db_reader(db), "SELECT id, update_id, state, created_at, state_at FROM rollout ORDER BY created_at, id",
			 NULL, 0, load_rollout, &l);
}
