#include "store/update_store.h"

#include <errno.h>

#include "base/log.h"
#include "store/db_internal.h"

static const struct db_op update_put = { .sql = {
	"INSERT INTO updates (id, state, envelope, envelope_bytes, sequence, source, uri, anchor, description, version, approved,"
	" approved_by, found_at, state_at, approved_at, use_before_s, reason)"
	" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)"
	" ON CONFLICT (id) DO UPDATE SET state = ?2, envelope = ?3, envelope_bytes = ?4, sequence = ?5, source = ?6, uri = ?7,"
	" anchor = ?8, description = ?9, version = ?10, approved = ?11, approved_by = ?12, found_at = ?13, state_at = ?14,"
	" approved_at = ?15, use_before_s = ?16, reason = ?17",
	"DELETE FROM update_component WHERE update_id = ?1",
	"DELETE FROM update_image WHERE update_id = ?1",
} };
static const struct db_op component_put = { .sql = {
	"INSERT INTO update_component (update_id, pos, id, vendor_ids, class_ids) VALUES (?1, ?2, ?3, ?4, ?5)",
} };
static const struct db_op image_put = { .sql = {
	"INSERT INTO update_image (update_id, pos, digest, bytes, uri, component, is_integrated, is_cached)"
	" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
} };
static const struct db_op verdict_put = { .sql = {
	"INSERT INTO update_verdict (update_id, verdict) VALUES (?1, ?2) ON CONFLICT (update_id) DO UPDATE SET verdict = ?2",
} };
static const struct db_op update_delete = { .sql = { "DELETE FROM updates WHERE id = ?1" } };
/* The last of a unit: only there to be answered. */
static const struct db_op nothing = { .sql = { NULL } };

void update_store_put(struct db *db, const struct update *u, struct span verdict_json, db_done_fn *done, void *ctx)
{
	db_begin(db);
	DB_WRITE(db, &update_put, NULL, NULL, sql_text(u->id), sql_text(update_state_name(u->state)), sql_blob(SPAN_OF(u->envelope.b)),
		 sql_int((int64_t)u->envelope_bytes), sql_int((int64_t)u->sequence), sql_text(u->source), sql_text(u->uri),
		 sql_text(u->anchor), sql_text(u->description), sql_text(u->version), sql_int(u->approved), sql_text(u->approved_by),
		 sql_int(u->found_at.ms), sql_int(u->state_at.ms), sql_int(u->approved_at.ms),
		 u->has_use_before ? sql_int(u->use_before_s) : sql_null(), sql_text(u->reason));
	for (size_t i = 0; i < u->n_components; i++) {
		const struct update_component *c = &u->components[i];
		DB_WRITE(db, &component_put, NULL, NULL, sql_text(u->id), sql_int((int64_t)i), sql_blob(SPAN(c->id, c->n_id)),
			 sql_blob(SPAN(c->vendor_id, c->n_vendor_id * 16u)), sql_blob(SPAN(c->class_id, c->n_class_id * 16u)));
	}
	for (size_t i = 0; i < u->n_images; i++) {
		const struct update_image *m = &u->images[i];
		DB_WRITE(db, &image_put, NULL, NULL, sql_text(u->id), sql_int((int64_t)i), sql_blob(SPAN_OF(m->digest.b)),
			 sql_int((int64_t)m->bytes), sql_text(m->uri), sql_int(m->component), sql_int(m->is_integrated),
			 sql_int(m->is_cached));
	}
	if (verdict_json.n)
		DB_WRITE(db, &verdict_put, NULL, NULL, sql_text(u->id), sql_blob(verdict_json));
	db_submit(db, &nothing, NULL, 0, done, ctx);
	db_end(db);
}

void update_store_delete(struct db *db, const char *id, db_done_fn *done, void *ctx)
{
	DB_WRITE(db, &update_delete, done, ctx, sql_text(id));
}

static int read_ids(sqlite3_stmt *st, int i, uint8_t (*ret)[16], uint8_t *ret_n)
{
	struct span s = sql_column_blob(st, i);

	if (s.n % 16 || s.n > UPDATE_MODELS_MAX * 16)
		return -EBADMSG;
	if (s.n)
		memcpy(ret, s.p, s.n);
	*ret_n = (uint8_t)(s.n / 16);
	return 0;
}

static int load_component(void *ctx, sqlite3_stmt *st)
{
	struct update *u = ctx;
	struct span id = sql_column_blob(st, 0);

	if (u->n_components == UPDATE_COMPONENTS_MAX || id.n > sizeof(u->components[0].id))
		return -EBADMSG;
	struct update_component *c = &u->components[u->n_components++];
	if (id.n)
		memcpy(c->id, id.p, id.n);
	c->n_id = (uint8_t)id.n;
	int r = read_ids(st, 1, c->vendor_id, &c->n_vendor_id);
	return r < 0 ? r : read_ids(st, 2, c->class_id, &c->n_class_id);
}

static int load_image(void *ctx, sqlite3_stmt *st)
{
	struct update *u = ctx;

	if (u->n_images == UPDATE_IMAGES_MAX)
		return -EBADMSG;
	struct update_image *m = &u->images[u->n_images++];
	m->bytes = (uint64_t)sqlite3_column_int64(st, 1);
	m->component = (uint8_t)sqlite3_column_int(st, 3);
	m->is_integrated = sqlite3_column_int(st, 4);
	m->is_cached = sqlite3_column_int(st, 5);
	int r = sql_column_bytes(st, 0, m->digest.b, DIGEST_BYTES);
	return r < 0 ? r : sql_column_copy(st, 2, m->uri, sizeof(m->uri));
}

struct load {
	struct db *db;
	int (*fn)(void *ctx, const struct update *u);
	void *ctx;
};

static int read_update(struct db *db, sqlite3_stmt *st, struct update *u)
{
	struct sql_value id = sql_text(sql_column_str(st, 0));

	if (sql_column_copy(st, 0, u->id, sizeof(u->id)) < 0 ||
	    update_state_parse(span_str(sql_column_str(st, 1)), &u->state) < 0 ||
	    sql_column_bytes(st, 2, u->envelope.b, DIGEST_BYTES) < 0 || sql_column_copy(st, 5, u->source, sizeof(u->source)) < 0 ||
	    sql_column_copy(st, 6, u->uri, sizeof(u->uri)) < 0 || sql_column_copy(st, 7, u->anchor, sizeof(u->anchor)) < 0 ||
	    sql_column_copy(st, 8, u->description, sizeof(u->description)) < 0 ||
	    sql_column_copy(st, 9, u->version, sizeof(u->version)) < 0 ||
	    sql_column_copy(st, 11, u->approved_by, sizeof(u->approved_by)) < 0 ||
	    sql_column_copy(st, 16, u->reason, sizeof(u->reason)) < 0)
		return -EBADMSG;
	u->envelope_bytes = (uint64_t)sqlite3_column_int64(st, 3);
	u->sequence = (uint64_t)sqlite3_column_int64(st, 4);
	u->approved = sqlite3_column_int(st, 10);
	u->found_at.ms = sqlite3_column_int64(st, 12);
	u->state_at.ms = sqlite3_column_int64(st, 13);
	u->approved_at.ms = sqlite3_column_int64(st, 14);
	u->has_use_before = sqlite3_column_type(st, 15) != SQLITE_NULL;
	u->use_before_s = sqlite3_column_int64(st, 15);
	int r = sql_query(db_reader(db), "SELECT id, vendor_ids, class_ids FROM update_component WHERE update_id = ?1 ORDER BY pos", &id,
			  1, load_component, u);
	if (r < 0)
		return r;
	return sql_query(db_reader(db),
			 "SELECT digest, bytes, uri, component, is_integrated, is_cached FROM update_image WHERE update_id = ?1 ORDER BY pos",
			 &id, 1, load_image, u);
}

static int load_update(void *ctx, sqlite3_stmt *st)
{
	const struct load *l = ctx;
	struct update u = { 0 };

	if (read_update(l->db, st, &u) == 0)
		return l->fn(l->ctx, &u);
	log_line(LOG_ERR, "an update in the database is not understood and left out");
	return 0;
}

int update_store_load(struct db *db, int (*fn)(void *ctx, const struct update *u), void *ctx)
{
	struct load l = { db, fn, ctx };

	return sql_query(db_reader(db),
			 "SELECT id, state, envelope, envelope_bytes, sequence, source, uri, anchor, description, version, approved,"
			 " approved_by, found_at, state_at, approved_at, use_before_s, reason FROM updates ORDER BY found_at, id",
			 NULL, 0, load_update, &l);
}

int update_store_verdict(struct db *db, const char *id, uint8_t **ret, size_t *ret_n)
{
	return db_read_blob(db, "SELECT verdict FROM update_verdict WHERE update_id = ?1", id, ret, ret_n);
}
