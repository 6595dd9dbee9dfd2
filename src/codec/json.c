#include "codec/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define json_null jansson_null         /* its declaration would clash with ours; not used */
#include <jansson.h>
#undef json_null
#undef json_is_object
#undef json_is_array

#include "base/text.h"

/* ---- the writer ---- */

/* How many bytes at s begin one valid UTF-8 character; 0 when none does. */
static size_t utf8_length(struct span s)
{
	size_t n = s.p[0] < 0x80 ? 1 : s.p[0] < 0xe0 ? 2 : s.p[0] < 0xf0 ? 3 : 4;

	return n <= s.n && text_is_utf8(SPAN(s.p, n)) ? n : 0;
}

static void put_escaped(struct buf *b, uint8_t c)
{
	switch (c) {
	case '"':
		buf_add_str(b, "\\\"");
		break;
	case '\\':
		buf_add_str(b, "\\\\");
		break;
	case '\n':
		buf_add_str(b, "\\n");
		break;
	case '\t':
		buf_add_str(b, "\\t");
		break;
	default:
		buf_printf(b, "\\u%04x", c);
		break;
	}
}

static bool is_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void put_string(struct buf *b, struct span s)
{
	buf_add_u8(b, '"');
	while (s.n > 0) {
		size_t n = 0;
		while (n < s.n && is_plain(s.p[n]))
			n++;
		if (n == 0 && s.p[0] >= 0x80) {
			n = utf8_length(s);
			if (n == 0) {
				buf_add_str(b, "\xef\xbf\xbd"); /* U+FFFD */
				s = span_sub(s, 1, s.n);
				continue;
			}
		}
		if (n > 0) {
			buf_add(b, span_sub(s, 0, n));
		} else {
			put_escaped(b, s.p[0]);
			n = 1;
		}
		s = span_sub(s, n, s.n);
	}
	buf_add_u8(b, '"');
}

static void put_key(struct json_out *j, const char *key)
{
	if (j->need_comma)
		buf_add_u8(j->b, ',');
	j->need_comma = true;
	if (key) {
		put_string(j->b, span_str(key));
		buf_add_u8(j->b, ':');
	}
}

static void open_with(struct json_out *j, const char *key, char c)
{
	put_key(j, key);
	buf_add_u8(j->b, (uint8_t)c);
	j->depth++;
	j->need_comma = false;
}

static void close_with(struct json_out *j, char c)
{
	buf_add_u8(j->b, (uint8_t)c);
	j->depth--;
	j->need_comma = true;
}

void json_open_object(struct json_out *j, const char *key)
{
	open_with(j, key, '{');
}

void json_close_object(struct json_out *j)
{
	close_with(j, '}');
}

void json_open_array(struct json_out *j, const char *key)
{
	open_with(j, key, '[');
}

void json_close_array(struct json_out *j)
{
	close_with(j, ']');
}

void json_raw(struct json_out *j, const char *key, struct span encoded)
{
	put_key(j, key);
	buf_add(j->b, encoded);
}

void json_str(struct json_out *j, const char *key, const char *v)
{
	if (v)
		json_span(j, key, span_str(v));
	else
		json_null(j, key);
}

void json_span(struct json_out *j, const char *key, struct span v)
{
	put_key(j, key);
	put_string(j->b, v);
}

void json_int(struct json_out *j, const char *key, int64_t v)
{
	put_key(j, key);
	buf_printf(j->b, "%" PRId64, v);
}

void json_uint(struct json_out *j, const char *key, uint64_t v)
{
	put_key(j, key);
	buf_printf(j->b, "%" PRIu64, v);
}

void json_bool(struct json_out *j, const char *key, bool v)
{
	put_key(j, key);
	buf_add_str(j->b, v ? "true" : "false");
}

void json_hex(struct json_out *j, const char *key, struct span v)
{
	put_key(j, key);
	buf_add_u8(j->b, '"');
	text_add_hex(j->b, v);
	buf_add_u8(j->b, '"');
}

/* ---- the reader ---- */

struct json_doc {
	json_t *root;
};

/* struct json_value is jansson's json_t; iterators are its void pointers. */
static const json_t *in(const struct json_value *v)
{
	return (const json_t *)(const void *)v;
}

static const struct json_value *out(const json_t *v)
{
	return (const struct json_value *)(const void *)v;
}

static void say(char *error, size_t error_bytes, const char *text)
{
	if (!error || error_bytes == 0)
		return;
	(void)snprintf(error, error_bytes, "%s", text); /* cut when too long */
	for (char *c = error; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

/* jansson recurses and allocates as the text says, so both are bounded before it looks. */
static int check_bounds(struct span s, char *error, size_t error_bytes)
{
	size_t depth = 0, n_values = 1;
	bool in_string = false;

	if (s.n > JSON_BYTES_MAX) {
		say(error, error_bytes, "text too long");
		return -EMSGSIZE;
	}
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		if (c == '"') {
			in_string = !in_string;
		} else if (in_string) {
			i += c == '\\';
		} else if (c == '[' || c == '{') {
			n_values++;
			if (++depth > JSON_DEPTH_MAX) {
				say(error, error_bytes, "nested too deep");
				return -E2BIG;
			}
		} else if (c == ']' || c == '}') {
			depth -= depth > 0;
		} else if (c == ',' || c == ':') {
			n_values++;
		}
	}
	if (n_values > JSON_VALUES_MAX) {
		say(error, error_bytes, "too many values");
		return -EMSGSIZE;
	}
	return 0;
}

int json_parse(struct span s, struct json_doc **ret, char *error, size_t error_bytes)
{
	int r = check_bounds(s, error, error_bytes);
	json_error_t e;

	if (r < 0)
		return r;
	json_t *root = json_loadb(s.n ? (const char *)s.p : "", s.n, JSON_REJECT_DUPLICATES, &e);
	if (!root) {
		char text[JSON_ERROR_TEXT_LENGTH + 64];
		(void)snprintf(text, sizeof(text), "line %d, column %d: %s", e.line, e.column, e.text); /* it fits */
		say(error, error_bytes, text);
		return -EBADMSG;
	}
	struct json_doc *d = calloc(1, sizeof(*d));
	if (!d) {
		json_decref(root);
		say(error, error_bytes, "out of memory");
		return -ENOMEM;
	}
	d->root = root;
	*ret = d;
	return 0;
}

struct json_doc *json_doc_free(struct json_doc *d)
{
	if (d) {
		json_decref(d->root);
		free(d);
	}
	return NULL;
}

const struct json_value *json_root(const struct json_doc *d)
{
	return out(d->root);
}

const struct json_value *json_get(const struct json_value *obj, const char *key)
{
	return obj ? out(json_object_get(in(obj), key)) : NULL;
}

const char *json_as_str(const struct json_value *v)
{
	return v ? json_string_value(in(v)) : NULL;
}

bool json_as_int(const struct json_value *v, int64_t *ret)
{
	if (!v || !json_is_integer(in(v)))
		return false;
	*ret = json_integer_value(in(v));
	return true;
}

const char *json_get_str(const struct json_value *obj, const char *key)
{
	return json_as_str(json_get(obj, key));
}

bool json_get_int(const struct json_value *obj, const char *key, int64_t *ret)
{
	return json_as_int(json_get(obj, key), ret);
}

bool json_get_bool(const struct json_value *obj, const char *key, bool *ret)
{
	const struct json_value *v = json_get(obj, key);

	if (!v || !json_is_boolean(in(v)))
		return false;
	*ret = json_is_true(in(v));
	return true;
}

enum json_kind json_kind_of(const struct json_value *v)
{
	if (!v)
		return JSON_KIND_NULL;
	switch (json_typeof(in(v))) {
	case JSON_OBJECT:
		return JSON_KIND_OBJECT;
	case JSON_ARRAY:
		return JSON_KIND_ARRAY;
	case JSON_STRING:
		return JSON_KIND_STR;
	case JSON_INTEGER:
		return JSON_KIND_INT;
	case JSON_REAL:
		return JSON_KIND_REAL;
	case JSON_TRUE:
	case JSON_FALSE:
		return JSON_KIND_BOOL;
	case JSON_NULL:
		break;
	}
	return JSON_KIND_NULL;
}

bool json_as_bool(const struct json_value *v)
{
	return json_is_true(in(v));
}

double json_as_real(const struct json_value *v)
{
	return json_number_value(in(v));
}

bool json_is_object(const struct json_value *v)
{
	return v && json_typeof(in(v)) == JSON_OBJECT;
}

bool json_is_array(const struct json_value *v)
{
	return v && json_typeof(in(v)) == JSON_ARRAY;
}

size_t json_n(const struct json_value *v)
{
	return json_is_array(v) ? json_array_size(in(v)) : json_is_object(v) ? json_object_size(in(v)) : 0;
}

const struct json_value *json_at(const struct json_value *arr, size_t i)
{
	return json_is_array(arr) ? out(json_array_get(in(arr), i)) : NULL;
}

const void *json_first(const struct json_value *obj)
{
	return json_is_object(obj) ? json_object_iter((json_t *)(uintptr_t)in(obj)) : NULL;
}

const void *json_next(const struct json_value *obj, const void *it)
{
	return json_object_iter_next((json_t *)(uintptr_t)in(obj), (void *)(uintptr_t)it);
}

const char *json_iter_key(const void *it)
{
	return json_object_iter_key((void *)(uintptr_t)it);
}

const struct json_value *json_iter_value(const void *it)
{
	return out(json_object_iter_value((void *)(uintptr_t)it));
}

static int dump_some(const char *text, size_t n, void *data)
{
	struct buf *b = data;

	buf_add(b, SPAN(text, n));
	return buf_ok(b) ? 0 : -1;
}

void json_dump(const struct json_value *v, bool indent, struct buf *ret)
{
	size_t flags = JSON_ENCODE_ANY | (indent ? JSON_INDENT(2) : JSON_COMPACT);

	if (json_dump_callback(in(v), dump_some, ret, flags) != 0)
		ret->bad = true;
}

const char *json_library_version(void)
{
	return jansson_version_str();
}
