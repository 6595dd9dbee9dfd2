#include "config/value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/syntax.h"

struct factor {
	const char *word;
	uint64_t factor;
};

static const struct factor byte_factors[] = {
	{ "TiB", 1ull << 40 }, { "GiB", 1ull << 30 }, { "MiB", 1ull << 20 }, { "KiB", 1ull << 10 }, { "B", 1 },
	{ "kB", 1000 }, { "MB", 1000000 }, { "GB", 1000000000 }, { "TB", 1000000000000 }, { NULL, 0 },
};
static const struct factor second_factors[] = {
	{ "s", 1 }, { "sec", 1 }, { "second", 1 }, { "seconds", 1 }, { "min", 60 }, { "minute", 60 }, { "minutes", 60 },
	{ "h", 3600 }, { "hour", 3600 }, { "hours", 3600 }, { "d", 86400 }, { "day", 86400 }, { "days", 86400 },
	{ "week", 604800 }, { "weeks", 604800 }, { NULL, 0 },
};
static const struct factor day_factors[] = {
	{ "d", 1 }, { "day", 1 }, { "days", 1 }, { "week", 7 }, { "weeks", 7 }, { "year", 365 }, { "years", 365 }, { NULL, 0 },
};
static const struct factor no_factors[] = { { NULL, 0 } };

static const struct factor *factors_of(enum schema_unit unit)
{
	switch (unit) {
	case UNIT_BYTES: return byte_factors;
	case UNIT_SECONDS: return second_factors;
	case UNIT_DAYS: return day_factors;
	case UNIT_NONE:
	case UNIT_MODE: break;
	}
	return no_factors;
}

static int parse_mode(struct span s, uint64_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0 || s.n > 5)
		return -EBADMSG;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '7')
			return -EBADMSG;
		v = v << 3 | (uint64_t)(s.p[i] - '0');
	}
	*ret = v;
	return 0;
}

/* "64 MiB", "10 min", "300". */
static int parse_quantity(enum schema_unit unit, struct span s, uint64_t *ret)
{
	size_t digits = 0;
	uint64_t v;

	if (unit == UNIT_MODE)
		return parse_mode(s, ret);
	while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
		digits++;
	int r = text_parse_u64(span_sub(s, 0, digits), UINT64_MAX, &v, 0);
	if (r < 0)
		return r;
	struct span word = span_sub(s, digits, s.n);
	while (word.n && word.p[0] == ' ')
		word = span_sub(word, 1, word.n);
	if (digits == s.n) {
		*ret = v;
		return 0;
	}
	for (const struct factor *f = factors_of(unit); f->word; f++) {
		if (!span_eq_str(word, f->word))
			continue;
		return __builtin_mul_overflow(v, f->factor, ret) ? -ERANGE : 0;
	}
	return -EBADMSG;
}

static const char *wanted(const struct schema_key *k)
{
	switch (k->type) {
	case SCHEMA_STRING:
	case SCHEMA_ENUM: return "a string";
	case SCHEMA_LIST: return "a list of strings";
	case SCHEMA_BOOL: return "true or false";
	case SCHEMA_U32:
	case SCHEMA_U64: break;
	}
	switch (k->unit) {
	case UNIT_SECONDS: return "an integer of seconds, or a string such as \"10 min\"";
	case UNIT_DAYS: return "an integer of days, or a string such as \"2 weeks\"";
	case UNIT_BYTES: return "an integer of bytes, or a string such as \"64 MiB\"";
	case UNIT_MODE: return "permissions such as 0o660 or \"0660\"";
	case UNIT_NONE: break;
	}
	return "an integer";
}

static int wrong(struct buf *why, const char *what, const char *right)
{
	buf_printf(why, "%s; %s would be right", what, right);
	return -EINVAL;
}

static void print_number(const struct schema_key *k, uint64_t v, struct buf *ret)
{
	if (k->unit == UNIT_MODE) {
		buf_printf(ret, "0o%" PRIo64, v);
		return;
	}
	for (int i = 0; k->unit == UNIT_BYTES && v && i < 4; i++) {
		if (v % byte_factors[i].factor)
			continue;
		buf_printf(ret, "\"%" PRIu64 " %s\"", v / byte_factors[i].factor, byte_factors[i].word);
		return;
	}
	buf_printf(ret, "%" PRIu64, v);
}

static int set_number(const struct schema_key *k, void *field, uint64_t v, struct buf *why)
{
	if (v < k->min || v > k->max) {
		print_number(k, v, why);
		buf_add_str(why, " is out of range; ");
		print_number(k, k->min, why);
		buf_add_str(why, " to ");
		print_number(k, k->max, why);
		buf_add_str(why, " would be right");
		return -EINVAL;
	}
	if (k->type == SCHEMA_U32)
		*(uint32_t *)field = (uint32_t)v;
	else
		*(uint64_t *)field = v;
	return 0;
}

static int wrong_word(const struct schema_key *k, struct span s, struct buf *why)
{
	buf_add_str(why, "\"");
	text_add_escaped(why, s, 64);
	buf_add_str(why, "\" is none of the words; ");
	for (const char *const *w = k->words; *w; w++)
		buf_printf(why, "%s\"%s\"", w == k->words ? "" : w[1] ? ", " : " or ", *w);
	buf_add_str(why, " would be right");
	return -EINVAL;
}

/* The two directories that the service manager may hand us (systemd.exec(5)). */
static int path_from_environment(struct span s, struct buf *ret, struct buf *why)
{
	static const char *const names[] = { "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		size_t n = strlen(names[i]);
		if (s.n < n + 3 || memcmp(s.p + 2, names[i], n) != 0 || s.p[n + 2] != '}' || (s.n > n + 3 && s.p[n + 3] != '/'))
			continue;
		const char *value = getenv(names[i]);
		if (!value || value[0] != '/') {
			buf_printf(why, "%s is not set in the environment", names[i]);
			return wrong(why, "", "running as the service, or a plain path,");
		}
		buf_add(ret, SPAN(value, strcspn(value, ":")));
		buf_add(ret, span_sub(s, n + 3, s.n));
		return 0;
	}
	return wrong(why, "unknown variable in a path", "${CREDENTIALS_DIRECTORY}/... or ${STATE_DIRECTORY}/...");
}

static int path_resolve(struct span s, const char *dir, struct buf *ret, struct buf *why)
{
	if (span_starts(s, SPAN_LIT("${")))
		return path_from_environment(s, ret, why);
	while (span_starts(s, SPAN_LIT("./")))
		s = span_sub(s, 2, s.n);
	if (s.n && s.p[0] != '/')
		buf_printf(ret, "%s/", dir);
	buf_add(ret, s);
	return 0;
}

/* One string, checked and with its path made absolute. */
static int make_string(const struct schema_key *k, const char *dir, struct span s, char **ret, struct buf *why)
{
	_cleanup_buf_ struct buf path = { .max = 3 * CONFIG_STRING_BYTES_MAX };
	struct listen_address a;
	int r = 0;

	if (s.n > CONFIG_STRING_BYTES_MAX)
		return wrong(why, "too long", "at most 4096 bytes");
	if (!text_is_clean(s))
		return wrong(why, "control characters", "printable text");
	const char *right = syntax_check(k, s);
	if (right && k->syntax == SYNTAX_WORD)
		return wrong_word(k, s, why);
	if (right) {
		buf_add_str(why, "\"");
		text_add_escaped(why, s, 128);
		return wrong(why, "\"", right);
	}
	if (k->syntax == SYNTAX_PATH && s.n) {
		r = path_resolve(s, dir, &path, why);
		s = buf_span(&path);
	} else if (k->syntax == SYNTAX_HTTP_ADDRESS && syntax_http_address(s, &a) >= 0 && a.is_unix) {
		buf_add_str(&path, "unix:");
		r = path_resolve(a.host, dir, &path, why);
		s = buf_span(&path);
	}
	if (r < 0)
		return r;
	if (!buf_ok(&path) || syntax_check(k, s)) /* the directory may have made it too long */
		return wrong(why, "too long with its directory", "a shorter path");
	*ret = mem_strndup(s);
	return 0;
}

static int set_text(const struct schema_key *k, void *field, const char *dir, struct span s, struct buf *why)
{
	uint64_t v;
	char *text;
	int r;

	switch (k->type) {
	case SCHEMA_STRING:
		r = make_string(k, dir, s, &text, why);
		if (r < 0)
			return r;
		free(*(char **)field);
		*(char **)field = text;
		return 0;
	case SCHEMA_ENUM:
		for (int i = 0; k->words[i]; i++) {
			if (!span_eq_str(s, k->words[i]))
				continue;
			*(int *)field = i;
			return 0;
		}
		return wrong_word(k, s, why);
	case SCHEMA_U32:
	case SCHEMA_U64:
		r = parse_quantity(k->unit, s, &v);
		if (r >= 0)
			return set_number(k, field, v, why);
		buf_add_str(why, "\"");
		text_add_escaped(why, s, 64);
		return wrong(why, r == -ERANGE ? "\" is too large" : "\"", wanted(k));
	case SCHEMA_BOOL:
	case SCHEMA_LIST:
		break;
	}
	return wrong(why, "a string", wanted(k));
}

static char **list_free(char **list)
{
	for (char **p = list; p && *p; p++)
		free(*p);
	free(list);
	return NULL;
}

static void list_freep(char ***list)
{
	list_free(*list);
}

static bool list_has(char **list, const char *s)
{
	for (; *list; list++)
		if (strcmp(*list, s) == 0)
			return true;
	return false;
}

static int list_add(const struct schema_key *k, char **list, size_t n, const char *dir, struct span s, struct buf *why)
{
	char *text;
	int r = s.n ? make_string(k, dir, s, &text, why) : wrong(why, "an empty string in the list", "leaving it out");

	if (r < 0)
		return r;
	if (list_has(list, text)) {
		free(text);
		buf_add_str(why, "\"");
		text_add_escaped(why, s, 128);
		return wrong(why, "\" stands in the list twice", "once");
	}
	list[n] = text;
	return 0;
}

static int set_list(const struct schema_key *k, void *field, const char *dir, const struct toml_row *row, struct buf *why)
{
	_cleanup_(list_freep) char **list = NULL;

	if (row->n_items > CONFIG_LIST_MAX)
		return wrong(why, "too many items", "at most 64");
	if (row->n_items < k->min)
		return wrong(why, "an empty list", "at least one item");
	list = NEW_N(char *, row->n_items + 1);
	for (size_t i = 0; i < row->n_items; i++) {
		const struct toml_value *item = &row->items[i];
		if (item->type != TOML_STRING) {
			buf_printf(why, "%s in the list", item->type_name);
			return wrong(why, "", "strings");
		}
		int r = list_add(k, list, i, dir, SPAN(item->text, item->text_bytes), why);
		if (r < 0)
			return r;
	}
	list_free(*(char ***)field);
	*(char ***)field = TAKE(list);
	return 0;
}

int value_set(const struct schema_key *k, void *base, const char *dir, const struct toml_row *row, struct buf *why)
{
	void *field = value_field(k, base);

	switch (row->value.type) {
	case TOML_STRING:
		return set_text(k, field, dir, SPAN(row->value.text, row->value.text_bytes), why);
	case TOML_INTEGER:
		if (k->type != SCHEMA_U32 && k->type != SCHEMA_U64)
			break;
		if (row->value.number < 0)
			return wrong(why, "a negative number", wanted(k));
		return set_number(k, field, (uint64_t)row->value.number, why);
	case TOML_BOOL:
		if (k->type != SCHEMA_BOOL)
			break;
		*(bool *)field = row->value.number != 0;
		return 0;
	case TOML_LIST:
		if (k->type != SCHEMA_LIST)
			break;
		return set_list(k, field, dir, row, why);
	case TOML_TABLE:
	case TOML_OTHER:
		break;
	}
	return wrong(why, row->value.type_name, wanted(k));
}

static size_t words_of(const char *text, struct toml_value items[static CONFIG_LIST_MAX])
{
	size_t n = 0;

	while (*text && n < CONFIG_LIST_MAX) {
		size_t len = strcspn(text, " ");
		items[n++] = (struct toml_value){ .type = TOML_STRING, .type_name = "a string", .text = text, .text_bytes = len };
		text += len + (text[len] == ' ');
	}
	return n;
}

static void set_own_text(const struct schema_key *k, void *base, const char *text)
{
	_cleanup_buf_ struct buf why = { 0 };
	void *field = value_field(k, base);
	struct toml_value items[CONFIG_LIST_MAX];
	int r = 0;

	if (k->type == SCHEMA_LIST && *text) {
		struct toml_row row = { .items = items, .n_items = words_of(text, items) };
		r = set_list(k, field, "", &row, &why);
	} else if (k->type == SCHEMA_LIST) {
		*(char ***)field = NEW(char *);
	} else if (k->type == SCHEMA_STRING && !*text) {
		*(char **)field = mem_strdup(""); /* a required one, until it is set */
	} else if (k->type == SCHEMA_BOOL) {
		*(bool *)field = strcmp(text, "true") == 0;
	} else {
		r = set_text(k, field, "", span_str(text), &why);
	}
	if (r < 0)
		abort();
}

void value_set_default(const struct schema_key *k, void *base)
{
	set_own_text(k, base, k->def);
}

void value_free(const struct schema_key *k, void *base)
{
	if (k->type == SCHEMA_STRING)
		free(*(char **)value_field(k, base));
	else if (k->type == SCHEMA_LIST)
		list_free(*(char ***)value_field(k, base));
}

static void print_string(const char *s, struct buf *ret)
{
	buf_add_u8(ret, '"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			buf_add_u8(ret, '\\');
		buf_add_u8(ret, (uint8_t)*s);
	}
	buf_add_u8(ret, '"');
}

void value_print(const struct schema_key *k, const void *base, struct buf *ret)
{
	const void *field = value_field(k, base);

	switch (k->type) {
	case SCHEMA_STRING:
		print_string(*(char *const *)field, ret);
		return;
	case SCHEMA_LIST:
		buf_add_str(ret, "[");
		for (char *const *p = *(char **const *)field; *p; p++) {
			buf_add_str(ret, p == *(char **const *)field ? "" : ", ");
			print_string(*p, ret);
		}
		buf_add_str(ret, "]");
		return;
	case SCHEMA_BOOL:
		buf_add_str(ret, *(const bool *)field ? "true" : "false");
		return;
	case SCHEMA_ENUM:
		print_string(k->words[*(const int *)field], ret);
		return;
	case SCHEMA_U32:
		print_number(k, *(const uint32_t *)field, ret);
		return;
	case SCHEMA_U64:
		print_number(k, *(const uint64_t *)field, ret);
		return;
	}
}

void value_print_text(const struct schema_key *k, const char *text, struct buf *ret)
{
	_cleanup_free_ void *base = mem_new(1, k->offset + sizeof(uint64_t));

	set_own_text(k, base, text);
	value_print(k, base, ret);
	value_free(k, base);
}

void value_print_range(const struct schema_key *k, struct buf *ret)
{
	_cleanup_buf_ struct buf range = { 0 };

	if (k->type != SCHEMA_U32 && k->type != SCHEMA_U64)
		return;
	print_number(k, k->min, &range);
	buf_add_str(&range, " to ");
	print_number(k, k->max, &range);
	buf_add_str(ret, " (");
	for (size_t i = 0; i < range.n; i++)
		if (range.p[i] != '"')
			buf_add_u8(ret, range.p[i]);
	buf_add_str(ret, k->unit == UNIT_SECONDS ? " seconds)" : k->unit == UNIT_DAYS ? " days)" : ")");
}
