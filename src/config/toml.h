/* config/toml.h - TOML text in, rows out. The C face of toml.cc, the only C++ here: no exception and no C++ type
 * passes it. Values below the second level (tables in tables, lists in lists) come as TOML_OTHER, as the
 * schema has no place for them. Pure; everything in a row is borrowed for the call. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum toml_type { TOML_TABLE, TOML_STRING, TOML_INTEGER, TOML_BOOL, TOML_LIST, TOML_OTHER };

struct toml_value {
	enum toml_type type;
	const char *type_name;                 /* for people: "a string", "a date" */
	const char *text;                      /* TOML_STRING: UTF-8, may hold any character */
	size_t text_bytes;
	int64_t number;                        /* TOML_INTEGER, TOML_BOOL */
	unsigned line;                         /* from 1; 0 = unknown */
};

struct toml_row {
	const char *table;                     /* "" = top of the file */
	size_t table_bytes;
	long index;                            /* in an array of tables; -1 = a plain table */
	const char *key;                       /* empty with type TOML_TABLE: the table itself, before its keys */
	size_t key_bytes;
	struct toml_value value;
	const struct toml_value *items;        /* TOML_LIST */
	size_t n_items;
};

/* Calls fn for each row, in the order of the lines of the file.
 * 0; -EBADMSG not TOML: error and error_line say where; -ENOMEM. Nothing is called on failure. */
int toml_read(const char *text, size_t bytes, void (*fn)(void *ctx, const struct toml_row *row), void *ctx,
	      char *error, size_t error_bytes, unsigned *error_line);

#ifdef __cplusplus
}
#endif
