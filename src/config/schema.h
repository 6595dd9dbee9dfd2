/* config/schema.h - every key of the configuration: one row each. Loading, printing, comparing, the sample
 * file (conf/dormouse.toml) and the check of the man page all walk these rows; adding a key is a field in
 * config.h and a row in schema.c, and the tests then ask for its line in the sample and in the man page. */
#pragma once
#include "config/config.h"

enum {
	CONFIG_FILE_BYTES_MAX = 1024 * 1024,
	CONFIG_DROPINS_MAX = 64,
	CONFIG_STRING_BYTES_MAX = 4096,
	CONFIG_LIST_MAX = 64,                  /* items of one list */
	CONFIG_SOURCES_MAX = 64,
	CONFIG_ANCHORS_MAX = 256,
	CONFIG_POLICIES_MAX = 1024,
	CONFIG_PERMITS_MAX = 1024,
	CONFIG_MULTICAST_GROUPS_MAX = 32,
	CONFIG_LOWPANS_MAX = 16,
	CONFIG_ERRORS_MAX = 100,               /* lines; then "and more" */
};

enum schema_type {
	SCHEMA_STRING,                         /* char * */
	SCHEMA_LIST,                           /* char **, NULL-terminated */
	SCHEMA_BOOL,
	SCHEMA_ENUM,                           /* int, index into words */
	SCHEMA_U32,
	SCHEMA_U64,
};

/* What a string, or each item of a list, must look like. */
enum schema_syntax {
	SYNTAX_ANY, SYNTAX_WORD, SYNTAX_NAME, SYNTAX_PATH, SYNTAX_ROUTE, SYNTAX_URL, SYNTAX_UUID, SYNTAX_VENDOR,
	SYNTAX_HOST, SYNTAX_COAP_ADDRESS, SYNTAX_HTTP_ADDRESS, SYNTAX_INTERFACE, SYNTAX_GROUP_ADDRESS, SYNTAX_SHORT_NAME,
	SYNTAX_ADAPTER, SYNTAX_PREFIX, SYNTAX_BLE_PEER, SYNTAX_TIME,
};

enum schema_unit { UNIT_NONE, UNIT_SECONDS, UNIT_DAYS, UNIT_BYTES, UNIT_MODE };

struct schema_table {
	const char *name;                      /* "" = the top of the file */
	const char *line;                      /* one line for people */
	size_t element_bytes;                  /* of an array of tables; 0 = a plain table */
	size_t list_offset, count_offset;      /* in struct config: where the elements and their number stand */
	size_t max;                            /* elements */
};

struct schema_key {
	size_t table;                          /* index into schema_tables */
	const char *key;
	enum schema_type type;
	enum schema_syntax syntax;
	enum schema_unit unit;
	size_t offset;                         /* in struct config, or in the element */
	uint64_t min, max;                     /* numbers: range; strings: 1 = not empty */
	const char *def;                       /* default as text; list items separated by spaces */
	const char *const *words;              /* SYNTAX_WORD and SCHEMA_ENUM: NULL-terminated */
	const char *example;                   /* arrays of tables: what the sample shows; NULL = the default */
	const char *line;                      /* one line for people */
	bool required;                         /* arrays of tables: must be given */
	bool restart;                          /* a change needs a restart */
};

extern const struct schema_table schema_tables[];
extern const size_t schema_n_tables;
extern const struct schema_key schema_keys[];
extern const size_t schema_n_keys;

/* NULL when there is none of that name. */
const struct schema_table *schema_find_table(struct span name);
const struct schema_key *schema_find_key(const struct schema_table *table, struct span key);
/* The key nearest to what was written, for "did you mean": of the same table first, then anywhere; NULL when nothing is near. */
const struct schema_key *schema_nearest(const struct schema_table *table, struct span key);
const struct schema_table *schema_nearest_table(struct span name);
/* "coap.listen", or "state_dir" at the top. */
void schema_add_path(struct buf *b, const struct schema_key *k);

static inline const struct schema_table *schema_table_of(const struct schema_key *k) { return &schema_tables[k->table]; }
static inline bool schema_is_array(const struct schema_table *t) { return t->element_bytes > 0; }
static inline size_t schema_count(const struct schema_table *t, const struct config *c)
{
	return schema_is_array(t) ? *(const size_t *)((const char *)c + t->count_offset) : 1;
}
/* The struct that the table's offsets count from: the config, or element i of its array. */
static inline void *schema_base(const struct schema_table *t, const struct config *c, size_t i)
{
	if (!schema_is_array(t))
		return (char *)(uintptr_t)c;
	return *(char *const *)((const char *)c + t->list_offset) + i * t->element_bytes;
}
