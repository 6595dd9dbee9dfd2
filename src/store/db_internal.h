/* store/db_internal.h - inside store/ only: how a *_store queues its writes and runs its small reads.
 *
 * A write is an op (the statements it runs, in order, all with the same numbered values ?1 ?2 ...) and a
 * copy of the values. Ops are const and live for ever; their address names them. */
#pragma once
#include "store/db.h"
#include "store/sql.h"

enum { DB_OP_STATEMENTS_MAX = 3 };

struct db_op {
	const char *sql[DB_OP_STATEMENTS_MAX];
	/* Instead of sql: code on the writer thread, inside the transaction. It keeps no state of its own, so that a
	 * rollback leaves nothing behind. */
	int (*run)(struct sql_conn *c, const struct sql_value *values, size_t n);
};

/* values are copied; done as in db.h. */
void db_submit(struct db *db, const struct db_op *op, const struct sql_value *values, size_t n, db_done_fn *done, void *ctx);
/* Nothing to write: done gets the error in its turn. */
void db_submit_error(struct db *db, int error, db_done_fn *done, void *ctx);

#define DB_WRITE(db_, op_, done_, ctx_, ...)                                            \
	do {                                                                            \
		const struct sql_value values_[] = { __VA_ARGS__ };                     \
		db_submit((db_), (op_), values_, sizeof(values_) / sizeof(*values_), (done_), (ctx_)); \
	} while (0)

struct sql_conn *db_reader(struct db *db);              /* loop thread */
/* The bytes of the first row's first column: -ENOENT; ret: free(). */
int db_read_blob(struct db *db, const char *sql, const char *key, uint8_t **ret, size_t *ret_n);
