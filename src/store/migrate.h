/* store/migrate.h - inside store/ only: the schema's versions (schema/NNNN.sql, embedded) and the step
 * from one to the next. A step and its new user_version are one transaction. */
#pragma once
#include "store/sql.h"

extern const char *const schema_versions[];    /* made at build time by schema/embed.py */
extern const unsigned n_schema_versions;

/* -ENOTSUP: the file was written by a newer version. */
int migrate(struct sql_conn *c);
/* 0 sound, -EBADMSG damaged. */
int migrate_check(struct sql_conn *c);
