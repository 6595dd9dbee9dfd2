#include "store/device_store.h"

#include <errno.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/db_internal.h"

static const struct db_op device_put = { .sql = {
	"INSERT INTO device (id, name, state, vendor_id, class_id, hw_revision, wake_kind, wake_period_s, wake_window_s, proof, driver,"
	" identity, enrolled_at, last_seen, last_addr, address) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
	" ON CONFLICT (id) DO UPDATE SET name = ?2, state = ?3, vendor_id = ?4, class_id = ?5, hw_revision = ?6, wake_kind = ?7,"
	" wake_period_s = ?8, wake_window_s = ?9, proof = ?10, driver = ?11, identity = ?12, enrolled_at = ?13, last_seen = ?14,"
	" last_addr = ?15, address = ?16",
	"DELETE FROM device_component WHERE device = ?1",
} };
static const struct db_op device_delete = { .sql = { "DELETE FROM device WHERE id = ?1" } };
static const struct db_op component_put = { .sql = {
	"INSERT INTO device_component (device, pos, id, sequence, manifest, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
} };
static const struct db_op credential_put = { .sql = {
	"INSERT INTO credential (identity, kind, roles, secret, device) VALUES (?1, ?2, ?3, ?4, ?5)"
	" ON CONFLICT (identity, kind) DO UPDATE SET roles = ?3, secret = ?4, device = ?5",
} };
static const struct db_op credential_delete = { .sql = { "DELETE FROM credential WHERE identity = ?1 AND kind = ?2" } };

static struct sql_value uuid_or_null(bool has, const uint8_t id[static 16])
{
	return has ? sql_blob(SPAN(id, 16)) : sql_null();
}

void device_store_put(struct db *db, const struct device *d, db_done_fn *done, void *ctx)
{
	bool is_last = d->n_components == 0;

	db_begin(db);
	DB_WRITE(db, &device_put, is_last ? done : NULL, ctx, sql_text(d->id), sql_text(d->name), sql_text(device_state_name(d->state)),
		 uuid_or_null(d->model.has_vendor, d->model.vendor_id), uuid_or_null(d->model.has_class, d->model.class_id),
		 sql_text(d->model.hw_revision), sql_text(wake_kind_name(d->wake.kind)), sql_int(d->wake.period_s),
		 sql_int(d->wake.window_s), sql_text(device_proof_name(d->proof)), sql_text(d->driver), sql_text(d->identity),
		 sql_int(d->enrolled_at.ms), sql_int(d->last_seen.ms), sql_text(d->last_addr), sql_text(d->address));
	for (size_t i = 0; i < d->n_components; i++) {
		const struct device_component *c = &d->components[i];
		is_last = i + 1 == d->n_components;
		DB_WRITE(db, &component_put, is_last ? done : NULL, ctx, sql_text(d->id), sql_int((int64_t)i),
			 sql_blob(SPAN(c->id, c->n_id)), c->has_sequence ? sql_int((int64_t)c->sequence) : sql_null(),
			 c->has_manifest ? sql_blob(SPAN_OF(c->manifest.b)) : sql_null(), sql_text(c->version));
	}
	db_end(db);
}

void device_store_delete(struct db *db, const char *id, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &device_delete, done, ctx, sql_text(id));
}

static int load_component(void *ctx, sqlite3_stmt *st)
{
	struct device *d = ctx;
	struct device_component c = { 0 };
	struct span id = sql_column_blob(st, 0);

	if (id.n > sizeof(c.id) || sql_column_copy(st, 3, c.version, sizeof(c.version)) < 0)
		return -EBADMSG;
	if (id.n)
		memcpy(c.id, id.p, id.n);
	c.n_id = (uint8_t)id.n;
	c.has_sequence = sqlite3_column_type(st, 1) != SQLITE_NULL;
	c.sequence = (uint64_t)sqlite3_column_int64(st, 1);
	c.has_manifest = sql_column_bytes(st, 2, c.manifest.b, DIGEST_BYTES) == 0;
	return device_component_put(d, &c);
}

struct load {
	struct db *db;
	int (*device)(void *ctx, const struct device *d);
	int (*credential)(void *ctx, const struct credential *c);
	void *ctx;
};

static int read_device(struct db *db, sqlite3_stmt *st, struct device *d)
{
	struct sql_value id = sql_text(sql_column_str(st, 0));

	if (sql_column_copy(st, 0, d->id, sizeof(d->id)) < 0 || sql_column_copy(st, 1, d->name, sizeof(d->name)) < 0 ||
	    device_state_parse(span_str(sql_column_str(st, 2)), &d->state) < 0 ||
	    sql_column_copy(st, 5, d->model.hw_revision, sizeof(d->model.hw_revision)) < 0 ||
	    wake_kind_parse(span_str(sql_column_str(st, 6)), &d->wake.kind) < 0 ||
	    device_proof_parse(span_str(sql_column_str(st, 9)), &d->proof) < 0 ||
	    sql_column_copy(st, 10, d->driver, sizeof(d->driver)) < 0 ||
	    sql_column_copy(st, 11, d->identity, sizeof(d->identity)) < 0 ||
	    sql_column_copy(st, 14, d->last_addr, sizeof(d->last_addr)) < 0 ||
	    sql_column_copy(st, 15, d->address, sizeof(d->address)) < 0)
		return -EBADMSG;
	d->model.has_vendor = sql_column_bytes(st, 3, d->model.vendor_id, 16) == 0;
	d->model.has_class = sql_column_bytes(st, 4, d->model.class_id, 16) == 0;
	d->wake.period_s = (uint32_t)sqlite3_column_int64(st, 7);
	d->wake.window_s = (uint32_t)sqlite3_column_int64(st, 8);
	d->enrolled_at.ms = sqlite3_column_int64(st, 12);
	d->last_seen.ms = sqlite3_column_int64(st, 13);
	return sql_query(db_reader(db), "SELECT id, sequence, manifest, version FROM device_component WHERE device = ?1 ORDER BY pos",
			 &id, 1, load_component, d);
}

static int load_device(void *ctx, sqlite3_stmt *st)
{
	const struct load *l = ctx;
	struct device d = { 0 };
	int r = read_device(l->db, st, &d);

	if (r == 0)
		return l->device(l->ctx, &d);
	log_line(LOG_ERR, "a device in the database is not understood and left out");
	return 0;
}

int device_store_load(struct db *db, int (*fn)(void *ctx, const struct device *d), void *ctx)
{
	struct load l = { .db = db, .device = fn, .ctx = ctx };

	return sql_query(db_reader(db),
			 "SELECT id, name, state, vendor_id, class_id, hw_revision, wake_kind, wake_period_s, wake_window_s, proof, driver,"
			 " identity, enrolled_at, last_seen, last_addr, address FROM device ORDER BY id",
			 NULL, 0, load_device, &l);
}

void credential_store_put(struct db *db, const struct credential *c, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &credential_put, done, ctx, sql_text(c->identity), sql_int(c->kind), sql_int(c->roles),
		 sql_blob(SPAN(c->secret, c->n_secret)), sql_text(c->device));
}

void credential_store_delete(struct db *db, const char *identity, enum credential_kind kind, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &credential_delete, done, ctx, sql_text(identity), sql_int(kind));
}

static int load_credential(void *ctx, sqlite3_stmt *st)
{
	const struct load *l = ctx;
	struct credential c = { .roles = (unsigned)sqlite3_column_int64(st, 2) };
	int64_t kind = sqlite3_column_int64(st, 1);
	struct span secret = sql_column_blob(st, 3);
	int r = 0;

	if (sql_column_copy(st, 0, c.identity, sizeof(c.identity)) < 0 || kind < CREDENTIAL_PSK || kind > CREDENTIAL_MAC ||
	    secret.n > sizeof(c.secret) || sql_column_copy(st, 4, c.device, sizeof(c.device)) < 0) {
		log_line(LOG_ERR, "a credential in the database is not understood and left out");
		return 0;
	}
	c.kind = (enum credential_kind)kind;
	c.n_secret = secret.n;
	if (secret.n)
		memcpy(c.secret, secret.p, secret.n);
	r = l->credential(l->ctx, &c);
	mem_wipe(&c, sizeof(c));
	return r;
}

int credential_store_load(struct db *db, int (*fn)(void *ctx, const struct credential *c), void *ctx)
{
	struct load l = { .credential = fn, .ctx = ctx };

	return sql_query(db_reader(db), "SELECT identity, kind, roles, secret, device FROM credential ORDER BY identity, kind", NULL, 0,
			 load_credential, &l);
}
