/* codec/json.h - JSON (RFC 8259) through jansson; json.c is the only file that knows jansson. A small
 * writer that streams into a buf (what the API answers with) and a bounded reader. Pure. */
#pragma once
#include "base/buf.h"

/* Writer: keeps commas and nesting right. key NULL inside arrays. */
struct json_out {
	struct buf *b;
	unsigned depth;
	bool need_comma;
};
static inline struct json_out json_writer(struct buf *b) { return (struct json_out){ .b = b }; }
void json_open_object(struct json_out *j, const char *key);
void json_close_object(struct json_out *j);
void json_open_array(struct json_out *j, const char *key);
void json_close_array(struct json_out *j);
void json_str(struct json_out *j, const char *key, const char *v);     /* NULL v = null; bad UTF-8 replaced */
void json_span(struct json_out *j, const char *key, struct span v);
void json_int(struct json_out *j, const char *key, int64_t v);
void json_uint(struct json_out *j, const char *key, uint64_t v);
void json_bool(struct json_out *j, const char *key, bool v);
void json_hex(struct json_out *j, const char *key, struct span v);
void json_raw(struct json_out *j, const char *key, struct span encoded);       /* already JSON */
/* Inline, since jansson exports a function of the same name. */
static inline void json_null(struct json_out *j, const char *key) { json_raw(j, key, SPAN_LIT("null")); }

/* Reader: a parsed document, and borrowed values in it. */
struct json_doc;
struct json_value;
enum { JSON_DEPTH_MAX = 32, JSON_BYTES_MAX = 16 * 1024 * 1024, JSON_VALUES_MAX = 1000000 };
/* An object or an array and nothing after it. Duplicate keys, U+0000 in strings and integers beyond int64 are
 * refused. 0; -EBADMSG not JSON, -E2BIG nested too deep, -EMSGSIZE too long or too many values, each with a
 * printable ASCII text for people in error (may be NULL) of error_bytes. */
int json_parse(struct span in, struct json_doc **ret, char *error, size_t error_bytes);
struct json_doc *json_doc_free(struct json_doc *d);
static inline void json_doc_freep(struct json_doc **d) { json_doc_free(*d); }
const struct json_value *json_root(const struct json_doc *d);
const struct json_value *json_get(const struct json_value *obj, const char *key);      /* NULL = absent */
const char *json_get_str(const struct json_value *obj, const char *key);               /* NULL = absent or not a string */
bool json_get_int(const struct json_value *obj, const char *key, int64_t *ret);
bool json_get_bool(const struct json_value *obj, const char *key, bool *ret);
const char *json_as_str(const struct json_value *v);
bool json_as_int(const struct json_value *v, int64_t *ret);
enum json_kind { JSON_KIND_NULL, JSON_KIND_BOOL, JSON_KIND_INT, JSON_KIND_REAL, JSON_KIND_STR, JSON_KIND_ARRAY, JSON_KIND_OBJECT };
enum json_kind json_kind_of(const struct json_value *v);
bool json_as_bool(const struct json_value *v);         /* false for anything else */
double json_as_real(const struct json_value *v);       /* of a number; 0 otherwise */
bool json_is_object(const struct json_value *v);
bool json_is_array(const struct json_value *v);
size_t json_n(const struct json_value *arr_or_obj);
const struct json_value *json_at(const struct json_value *arr, size_t i);     /* NULL past the end */
/* Object iteration: for (it = json_first(o); it; it = json_next(o, it)) */
const void *json_first(const struct json_value *obj);
const void *json_next(const struct json_value *obj, const void *it);
const char *json_iter_key(const void *it);
const struct json_value *json_iter_value(const void *it);
/* Compact, or indented by two spaces; keys in the order they were read. */
void json_dump(const struct json_value *v, bool indent, struct buf *ret);
const char *json_library_version(void);         /* of jansson */
