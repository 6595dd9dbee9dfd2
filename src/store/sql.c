#include "store/sql.h"

#include <assert.h>
#include <errno.h>

#include "base/text.h"

static int sql_errno(struct sql_conn *c, int r)
{
	int sys = c->db ? sqlite3_system_errno(c->db) : 0;

	switch (r & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_FORMAT:
		return -EBADMSG;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_TOOBIG:
		return -EMSGSIZE;
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
		return -EINVAL;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		return sys ? -sys : -EIO;
	default:
		return -EIO;
	}
}

int sql_open(struct sql_conn *c, const char *path, int flags)
{
	*c = (struct sql_conn){ 0 };
	int r = sql_errno(c, sqlite3_open_v2(path, &c->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL));
	if (r < 0) {
		sql_close(c);
		return r;
	}
	(void)sqlite3_busy_timeout(c->db, SQL_BUSY_TIMEOUT_MS); /* only a lost connection could refuse */
	return 0;
}

void sql_close(struct sql_conn *c)
{
	for (size_t i = 0; i < c->n_cached; i++)
		(void)sqlite3_finalize(c->cached[i].stmt); /* repeats the statement's last error */
	c->n_cached = 0;
	(void)sqlite3_close_v2(c->db);
	c->db = NULL;
}

int sql_exec(struct sql_conn *c, const char *text)
{
	return sql_errno(c, sqlite3_exec(c->db, text, NULL, NULL, NULL));
}

static int statement(struct sql_conn *c, const char *text, sqlite3_stmt **ret)
{
	for (size_t i = 0; i < c->n_cached; i++)
		if (c->cached[i].text == text) {
			*ret = c->cached[i].stmt;
			return sqlite3_stmt_busy(*ret) ? -EBUSY : 0;
		}
	assert(c->n_cached < SQL_STATEMENTS_MAX);
	int r = sql_errno(c, sqlite3_prepare_v3(c->db, text, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL));
	if (r < 0)
		return r;
	c->cached[c->n_cached++] = (struct sql_cached){ text, *ret };
	return 0;
}

static int bind(sqlite3_stmt *st, int at, const struct sql_value *v)
{
	static const uint8_t empty[1];

	switch (v->kind) {
	case SQL_NULL:
		return sqlite3_bind_null(st, at);
	case SQL_INT:
		return sqlite3_bind_int64(st, at, v->i);
	case SQL_TEXT:
		return sqlite3_bind_text64(st, at, (const char *)(v->s.n ? v->s.p : empty), v->s.n, SQLITE_STATIC, SQLITE_UTF8);
	case SQL_BLOB:
		return sqlite3_bind_blob64(st, at, v->s.n ? v->s.p : empty, v->s.n, SQLITE_STATIC);
	}
	return SQLITE_MISUSE;
}

/* The cached statement, reset, with values bound (more values than the statement has parameters are left out). */
static int sql_prepare(struct sql_conn *c, const char *text, const struct sql_value *values, size_t n, sqlite3_stmt **ret)
{
	sqlite3_stmt *st;
	int r = statement(c, text, &st);

	if (r < 0)
		return r;
	size_t wanted = (size_t)sqlite3_bind_parameter_count(st);
	assert(wanted <= n);
	for (size_t i = 0; i < wanted && r == 0; i++)
		r = sql_errno(c, bind(st, (int)i + 1, &values[i]));
	if (r == 0)
		*ret = st;
	return r;
}

int sql_query(struct sql_conn *c, const char *text, const struct sql_value *values, size_t n,
	      int (*fn)(void *ctx, sqlite3_stmt *row), void *ctx)
{
	sqlite3_stmt *st = NULL;
	int step, r = sql_prepare(c, text, values, n, &st);

	if (r < 0)
		return r;
	while (r == 0 && (step = sqlite3_step(st)) != SQLITE_DONE)
		r = step != SQLITE_ROW ? sql_errno(c, step) : fn ? fn(ctx, st) : 0;
	(void)sqlite3_reset(st); /* repeats the error of step */
	(void)sqlite3_clear_bindings(st); /* cannot fail; values were borrowed */
	return r;
}

int sql_run(struct sql_conn *c, const char *text, const struct sql_value *values, size_t n)
{
	return sql_query(c, text, values, n, NULL, NULL);
}

static int first_int(void *ctx, sqlite3_stmt *row)
{
	*(int64_t *)ctx = sqlite3_column_int64(row, 0);
	return 1;
}

int sql_query_int(struct sql_conn *c, const char *text, int64_t *ret)
{
	int r = sql_query(c, text, NULL, 0, first_int, ret);

	return r < 0 ? r : r == 1 ? 0 : -ENOENT;
}

struct span sql_column_blob(sqlite3_stmt *row, int i)
{
	const void *p = sqlite3_column_blob(row, i); /* before the length: may convert */

	return SPAN(p, (size_t)sqlite3_column_bytes(row, i));
}

const char *sql_column_str(sqlite3_stmt *row, int i)
{
	const unsigned char *p = sqlite3_column_text(row, i);

	return p ? (const char *)p : "";
}

int sql_column_copy(sqlite3_stmt *row, int i, char *ret, size_t ret_bytes)
{
	return text_copy(ret, ret_bytes, span_str(sql_column_str(row, i)));
}

int sql_column_bytes(sqlite3_stmt *row, int i, void *ret, size_t n)
{
	struct span s = sql_column_blob(row, i);

	if (s.n != n)
		return -EBADMSG;
	memcpy(ret, s.p, n);
	return 0;
}
