#include "store/mcast_store.h"

#include "base/log.h"
#include "base/mem.h"
#include "store/db_internal.h"

static const struct db_op group_put = { .sql = {
	"INSERT INTO mcast_group (name, gid, key, counter, losses, members) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
	" ON CONFLICT (name) DO UPDATE SET gid = ?2, key = ?3, counter = max(counter, ?4), losses = ?5, members = ?6",
} };
static const struct db_op session_put = { .sql = {
	"INSERT INTO mcast_session (sid, group_name, manifest, image, snapshot) VALUES (?1, ?2, ?3, ?4, ?5)"
	" ON CONFLICT (sid) DO UPDATE SET group_name = ?2, manifest = ?3, image = ?4, snapshot = ?5",
} };
static const struct db_op session_delete = { .sql = { "DELETE FROM mcast_session WHERE sid = ?1" } };

void mcast_group_store_put(struct db *db, const struct mcast_group_row *row, db_done_fn *done, void *ctx)
{
	uint8_t losses[2 * MCAST_STORE_LOSSES];

	for (size_t i = 0; i < MCAST_STORE_LOSSES; i++) {
		losses[2 * i] = (uint8_t)(row->losses[i] >> 8);
		losses[2 * i + 1] = (uint8_t)row->losses[i];
	}
	/* An empty blob with no address would be NULL. */
	DB_WRITE(db, &group_put, done, ctx, sql_text(row->name), sql_int(row->gid), sql_blob(SPAN_OF(row->key)), sql_int(row->counter),
		 sql_blob(SPAN_OF(losses)), sql_blob(row->members.n ? row->members : SPAN(losses, 0)));
}

struct load {
	int (*group)(void *ctx, const struct mcast_group_row *row);
	int (*session)(void *ctx, const struct mcast_session_row *row);
	void *ctx;
};

static int load_group(void *ctx, sqlite3_stmt *st)
{
	const struct load *l = ctx;
	struct mcast_group_row row = { .name = sql_column_str(st, 0), .gid = (uint8_t)sqlite3_column_int(st, 1),
				       .counter = (uint32_t)sqlite3_column_int64(st, 3), .members = sql_column_blob(st, 5) };
	uint8_t losses[2 * MCAST_STORE_LOSSES];

	if (sql_column_bytes(st, 2, row.key, sizeof(row.key)) < 0 || sql_column_bytes(st, 4, losses, sizeof(losses)) < 0) {
		log_line(LOG_ERR, "a multicast group in the database is not understood and left out");
		return 0;
	}
	for (size_t i = 0; i < MCAST_STORE_LOSSES; i++)
		row.losses[i] = (uint16_t)(losses[2 * i] << 8 | losses[2 * i + 1]);
	int r = l->group(l->ctx, &row);
	mem_wipe(row.key, sizeof(row.key));
	return r;
}

int mcast_group_store_load(struct db *db, int (*fn)(void *ctx, const struct mcast_group_row *row), void *ctx)
{
	struct load l = { .group = fn, .ctx = ctx };

	return sql_query(db_reader(db), "SELECT name, gid, key, counter, losses, members FROM mcast_group ORDER BY name", NULL, 0, load_group,
			 &l);
}

void mcast_session_store_put(struct db *db, const struct mcast_session_row *row, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &session_put, done, ctx, sql_blob(SPAN_OF(row->sid)), sql_text(row->group), sql_blob(SPAN_OF(row->manifest.b)),
		 sql_blob(SPAN_OF(row->image.b)), sql_blob(row->snapshot));
}

void mcast_session_store_delete(struct db *db, const uint8_t sid[static MCAST_STORE_SID_BYTES], db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &session_delete, done, ctx, sql_blob(SPAN(sid, MCAST_STORE_SID_BYTES)));
}

static int load_session(void *ctx, sqlite3_stmt *st)
{
	const struct load *l = ctx;
	struct mcast_session_row row = { .group = sql_column_str(st, 1), .snapshot = sql_column_blob(st, 4) };

	if (sql_column_bytes(st, 0, row.sid, sizeof(row.sid)) < 0 || sql_column_bytes(st, 2, row.manifest.b, DIGEST_BYTES) < 0 ||
	    sql_column_bytes(st, 3, row.image.b, DIGEST_BYTES) < 0) {
		log_line(LOG_ERR, "a multicast session in the database is not understood and left out");
		return 0;
	}
	return l->session(l->ctx, &row);
}

int mcast_session_store_load(struct db *db, int (*fn)(void *ctx, const struct mcast_session_row *row), void *ctx)
{
	struct load l = { .session = fn, .ctx = ctx };

	return sql_query(db_reader(db), "SELECT sid, group_name, manifest, image, snapshot FROM mcast_session ORDER BY sid", NULL, 0,
			 load_session, &l);
}
