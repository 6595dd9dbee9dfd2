#include "store/registration_store.h"

#include "store/db_internal.h"

static const struct db_op put = { .sql = {
	"INSERT INTO registration (location, endpoint, sector, base, base_is_explicit, lifetime_s, ord, attributes, links, owner, device)"
	" VALUES (?1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (location) DO UPDATE SET endpoint = ?3, sector = ?4,"
	" base = ?5, base_is_explicit = ?6, lifetime_s = ?7, ord = ?8, attributes = ?9, links = ?10, owner = ?11, device = ?12",
	"INSERT INTO registration_lease (location, expires_at) VALUES (?1, ?2)"
	" ON CONFLICT (location) DO UPDATE SET expires_at = ?2",
} };
static const struct db_op touch = { .sql = { "UPDATE registration_lease SET expires_at = ?2 WHERE location = ?1" } };
static const struct db_op delete = { .sql = { "DELETE FROM registration WHERE location = ?1" } };

void registration_store_put(struct db *db, const struct registration_row *row, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &put, done, ctx, sql_text(row->location), sql_int(row->expires_at.ms), sql_text(row->endpoint),
		 sql_text(row->sector), sql_blob(row->base), sql_int(row->base_is_explicit), sql_int(row->lifetime_s),
		 sql_int((int64_t)row->order), sql_blob(row->attributes), sql_blob(row->links), sql_text(row->owner),
		 sql_text(row->device));
}

void registration_store_touch(struct db *db, const char *location, struct wall expires_at, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &touch, done, ctx, sql_text(location), sql_int(expires_at.ms));
}

void registration_store_delete(struct db *db, const char *location, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &delete, done, ctx, sql_text(location));
}

struct load {
	int (*fn)(void *ctx, const struct registration_row *row);
	void *ctx;
};

static int load_row(void *ctx, sqlite3_stmt *st)
{
	const struct load *l = ctx;
	struct registration_row row = {
		.location = sql_column_str(st, 0),
		.endpoint = sql_column_str(st, 1),
		.sector = sql_column_str(st, 2),
		.base = sql_column_blob(st, 3),
		.base_is_explicit = sqlite3_column_int(st, 4),
		.lifetime_s = (uint32_t)sqlite3_column_int64(st, 5),
		.order = (uint64_t)sqlite3_column_int64(st, 6),
		.attributes = sql_column_blob(st, 7),
		.links = sql_column_blob(st, 8),
		.owner = sql_column_str(st, 9),
		.device = sql_column_str(st, 10),
		.expires_at = { sqlite3_column_int64(st, 11) },
	};

	return l->fn(l->ctx, &row);
}

int registration_store_load(struct db *db, int (*fn)(void *ctx, const struct registration_row *row), void *ctx)
{
	struct load l = { fn, ctx };

	return sql_query(db_reader(db),
			 "SELECT location, endpoint, sector, base, base_is_explicit, lifetime_s, ord, attributes, links, owner, device,"
			 " expires_at FROM registration JOIN registration_lease USING (location) ORDER BY ord",
			 NULL, 0, load_row, &l);
}
