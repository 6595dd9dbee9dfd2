/* store/sql.h - inside store/ only: one SQLite connection with its prepared statements, errors as
 * errno. A connection belongs to one thread at a time. Statements are cached by the address of their
 * text, so that text must be a literal. */
#pragma once
#include <sqlite3.h>

#include "base/span.h"

enum { SQL_STATEMENTS_MAX = 96, SQL_BUSY_TIMEOUT_MS = 5000 };

struct sql_conn {
	sqlite3 *db;
	struct sql_cached {
		const char *text;
		sqlite3_stmt *stmt;
	} cached[SQL_STATEMENTS_MAX];
	size_t n_cached;
};

enum sql_kind { SQL_NULL, SQL_INT, SQL_TEXT, SQL_BLOB };

struct sql_value {
	enum sql_kind kind;
	int64_t i;
	struct span s;                         /* borrowed */
};

static inline struct sql_value sql_null(void) { return (struct sql_value){ .kind = SQL_NULL }; }
static inline struct sql_value sql_int(int64_t i) { return (struct sql_value){ .kind = SQL_INT, .i = i }; }
static inline struct sql_value sql_text(const char *s) { return (struct sql_value){ .kind = SQL_TEXT, .s = span_str(s) }; }
static inline struct sql_value sql_blob(struct span s) { return (struct sql_value){ .kind = SQL_BLOB, .s = s }; }

int sql_open(struct sql_conn *c, const char *path, int flags);
void sql_close(struct sql_conn *c);
int sql_exec(struct sql_conn *c, const char *text);     /* one or more statements without values; not cached */
/* Run to the end, rows dropped. */
int sql_run(struct sql_conn *c, const char *text, const struct sql_value *values, size_t n);
/* Each row to fn; a nonzero answer of fn ends it and is returned. fn must not run the same statement. */
int sql_query(struct sql_conn *c, const char *text, const struct sql_value *values, size_t n,
	      int (*fn)(void *ctx, sqlite3_stmt *row), void *ctx);
/* The first column of the first row; -ENOENT without a row. */
int sql_query_int(struct sql_conn *c, const char *text, int64_t *ret);

struct span sql_column_blob(sqlite3_stmt *row, int i);          /* until the next row */
const char *sql_column_str(sqlite3_stmt *row, int i);           /* "" for NULL; until the next row */
int sql_column_copy(sqlite3_stmt *row, int i, char *ret, size_t ret_bytes);     /* text; -EMSGSIZE */
int sql_column_bytes(sqlite3_stmt *row, int i, void *ret, size_t n);            /* a blob of exactly n bytes, or -EBADMSG */
