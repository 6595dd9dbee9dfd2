/* The small tables of store/update_store.h that outlive any one update. */
#include "store/update_store.h"

#include <errno.h>

#include "base/log.h"
#include "store/db_internal.h"

static const struct db_op sequence_put = { .sql = {
	"INSERT INTO sequence (vendor_id, class_id, component, sequence, manifest) VALUES (?1, ?2, ?3, ?4, ?5)"
	" ON CONFLICT (vendor_id, class_id, component) DO UPDATE SET sequence = ?4, manifest = ?5",
} };
static const struct db_op revocation_put = { .sql = {
	"INSERT INTO revocation (key, url, kind, der, fetched_at) VALUES (?1, ?2, ?3, ?4, ?5)"
	" ON CONFLICT (key) DO UPDATE SET url = ?2, kind = ?3, der = ?4, fetched_at = ?5",
} };
static const struct db_op revocation_delete = { .sql = { "DELETE FROM revocation WHERE key = ?1" } };
static const struct db_op source_put = { .sql = {
	"INSERT INTO source (name, etag, last_modified, last_envelope, polled_at) VALUES (?1, ?2, ?3, ?4, ?5)"
	" ON CONFLICT (name) DO UPDATE SET etag = ?2, last_modified = ?3, last_envelope = ?4, polled_at = ?5",
} };
static const struct db_op kv_put = { .sql = {
	"INSERT INTO kv (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
} };

struct load {
	int (*sequence)(void *ctx, const struct sequence_row *row);
	int (*revocation)(void *ctx, const struct revocation_row *row);
	int (*source)(void *ctx, const struct source_row *row);
	void *ctx;
};

void sequence_store_put(struct db *db, const struct sequence_row *row, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &sequence_put, done, ctx, sql_blob(SPAN_OF(row->vendor_id)), sql_blob(SPAN_OF(row->class_id)),
		 sql_blob(SPAN(row->component, row->n_component)), sql_int((int64_t)row->sequence),
		 sql_blob(SPAN_OF(row->manifest.b)));
}

static int load_sequence(void *ctx, sqlite3_stmt *st)
{
	const struct load *l = ctx;
	struct sequence_row row = { .sequence = (uint64_t)sqlite3_column_int64(st, 3) };
	struct span component = sql_column_blob(st, 2);

	/* Rollback protection must not be lost silently: this one is an error, not a row left out. */
	if (sql_column_bytes(st, 0, row.vendor_id, 16) < 0 || sql_column_bytes(st, 1, row.class_id, 16) < 0 ||
	    component.n > sizeof(row.component) || sql_column_bytes(st, 4, row.manifest.b, DIGEST_BYTES) < 0)
		return -EBADMSG;
	if (component.n)
		memcpy(row.component, component.p, component.n);
	row.n_component = (uint8_t)component.n;
	return l->sequence(l->ctx, &row);
}

int sequence_store_load(struct db *db, int (*fn)(void *ctx, const struct sequence_row *row), void *ctx)
{
	struct load l = { .sequence = fn, .ctx = ctx };

	return sql_query(db_reader(db), "SELECT vendor_id, class_id, component, sequence, manifest FROM sequence", NULL, 0,
			 load_sequence, &l);
}

void revocation_store_put(struct db *db, const struct revocation_row *row, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &revocation_put, done, ctx, sql_text(row->key), sql_text(row->url), sql_int(row->kind), sql_blob(row->der),
		 sql_int(row->fetched_at.ms));
}

void revocation_store_delete(struct db *db, const char *key, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &revocation_delete, done, ctx, sql_text(key));
}

static int load_revocation(void *ctx, sqlite3_stmt *st)
{
	const struct load *l = ctx;
	struct revocation_row row = {
		.key = sql_column_str(st, 0),
		.url = sql_column_str(st, 1),
		.kind = sqlite3_column_int(st, 2),
		.der = sql_column_blob(st, 3),
		.fetched_at = { sqlite3_column_int64(st, 4) },
	};

	return l->revocation(l->ctx, &row);
}

int revocation_store_load(struct db *db, int (*fn)(void *ctx, const struct revocation_row *row), void *ctx)
{
	struct load l = { .revocation = fn, .ctx = ctx };

	return sql_query(db_reader(db), "SELECT key, url, kind, der, fetched_at FROM revocation ORDER BY key", NULL, 0, load_revocation,
			 &l);
}

void source_store_put(struct db *db, const struct source_row *row, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &source_put, done, ctx, sql_text(row->name), sql_text(row->etag), sql_text(row->last_modified),
		 sql_blob(SPAN_OF(row->last_envelope.b)), sql_int(row->polled_at.ms));
}

static int load_source(void *ctx, sqlite3_stmt *st)
{
	const struct load *l = ctx;
	struct source_row row = {
		.name = sql_column_str(st, 0),
		.etag = sql_column_str(st, 1),
		.last_modified = sql_column_str(st, 2),
		.polled_at = { sqlite3_column_int64(st, 4) },
	};

	if (sql_column_bytes(st, 3, row.last_envelope.b, DIGEST_BYTES) < 0) {
		log_line(LOG_ERR, "a source's state in the database is not understood and left out");
		return 0;
	}
	return l->source(l->ctx, &row);
}

int source_store_load(struct db *db, int (*fn)(void *ctx, const struct source_row *row), void *ctx)
{
	struct load l = { .source = fn, .ctx = ctx };

	return sql_query(db_reader(db), "SELECT name, etag, last_modified, last_envelope, polled_at FROM source ORDER BY name", NULL, 0,
			 load_source, &l);
}

void kv_store_put(struct db *db, const char *key, struct span value, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &kv_put, done, ctx, sql_text(key), sql_blob(value));
}

int kv_store_get(struct db *db, const char *key, uint8_t **ret, size_t *ret_n)
{
	return db_read_blob(db, "SELECT value FROM kv WHERE key = ?1", key, ret, ret_n);
}
