#include "store/migrate.h"

#include <errno.h>
#include <stdio.h>

enum { APPLICATION_ID = 0x444d5345 };          /* "DMSE" */

static int step(struct sql_conn *c, unsigned version)
{
	char pragma[64];
	int r = sql_exec(c, "BEGIN IMMEDIATE");

	if (r < 0)
		return r;
	r = sql_exec(c, schema_versions[version - 1]);
	(void)snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %u", version); /* fits */
	if (r == 0)
		r = sql_exec(c, pragma);
	if (r == 0)
		r = sql_exec(c, "COMMIT");
	if (r < 0)
		(void)sql_exec(c, "ROLLBACK"); /* the first error is the one to tell */
	return r;
}

int migrate(struct sql_conn *c)
{
	char pragma[64];
	int64_t have, id;
	int r = sql_query_int(c, "PRAGMA user_version", &have);

	if (r < 0)
		return r;
	if (have < 0 || have > n_schema_versions)
		return -ENOTSUP;
	r = sql_query_int(c, "PRAGMA application_id", &id);
	if (r < 0)
		return r;
	if (have == 0 && id == 0) {
		(void)snprintf(pragma, sizeof(pragma), "PRAGMA application_id = %d", APPLICATION_ID); /* fits */
		r = sql_exec(c, pragma);
	} else if (id != APPLICATION_ID) {
		r = -ENOTSUP;
	}
	for (unsigned v = (unsigned)have + 1; r == 0 && v <= n_schema_versions; v++)
		r = step(c, v);
	return r;
}

static int is_ok(void *ctx, sqlite3_stmt *row)
{
	*(bool *)ctx = strcmp(sql_column_str(row, 0), "ok") == 0;
	return 1;
}

int migrate_check(struct sql_conn *c)
{
	bool ok = false;
	int r = sql_query(c, "PRAGMA quick_check(1)", NULL, 0, is_ok, &ok);

	return r < 0 ? r : ok ? 0 : -EBADMSG;
}
