#include "cli/out.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

enum { CELL_TEXT_MAX = 72, SHORT_CHARS = 12, FIELDS_DEPTH_MAX = 8 };

enum tone { TONE_PLAIN, TONE_GOOD, TONE_BUSY, TONE_BAD, TONE_DIM };

static const char *const tone_on[] = { "", "\033[32m", "\033[33m", "\033[31m", "\033[2m" };

static enum tone tone_of(const char *word)
{
	static const struct { const char *word; enum tone tone; } tones[] = {
		{ "available", TONE_GOOD }, { "confirmed", TONE_GOOD }, { "accepted", TONE_GOOD }, { "enrolled", TONE_GOOD },
		{ "ok", TONE_GOOD }, { "pass", TONE_GOOD }, { "yes", TONE_GOOD }, { "done", TONE_GOOD }, { "healthy", TONE_GOOD },
		{ "held", TONE_BUSY }, { "verified", TONE_BUSY }, { "queued", TONE_BUSY }, { "offered", TONE_BUSY },
		{ "transferring", TONE_BUSY }, { "transferred", TONE_BUSY }, { "applying", TONE_BUSY }, { "running", TONE_BUSY },
		{ "waiting", TONE_BUSY }, { "deferred", TONE_BUSY }, { "undecided", TONE_BUSY }, { "warn", TONE_BUSY },
		{ "seen", TONE_BUSY }, { "degraded", TONE_BUSY },
		{ "rejected", TONE_BAD }, { "recalled", TONE_BAD }, { "failed", TONE_BAD }, { "reverted", TONE_BAD },
		{ "quarantined", TONE_BAD }, { "fail", TONE_BAD }, { "stopped", TONE_BAD }, { "error", TONE_BAD },
		{ "superseded", TONE_DIM }, { "expired", TONE_DIM }, { "cancelled", TONE_DIM }, { "retired", TONE_DIM },
	};

	for (size_t i = 0; i < sizeof(tones) / sizeof(*tones); i++)
		if (!strcmp(tones[i].word, word))
			return tones[i].tone;
	return TONE_PLAIN;
}

/* Columns a terminal uses: code points, since the text has no controls left. */
static size_t width_of(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void add_bytes(struct buf *b, int64_t v)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double d = (double)v;
	size_t u = 0;

	for (; d >= 1024 && u + 1 < sizeof(unit) / sizeof(*unit); u++)
		d /= 1024;
	buf_printf(b, u ? "%.1f %s" : "%.0f %s", d, unit[u]);
}

static void add_scalar(struct buf *b, const struct json_value *v, size_t max)
{
	const char *s = json_as_str(v);
	_cleanup_buf_ struct buf dump = { 0 };

	if (s) {
		text_add_escaped(b, span_str(s), max);
		return;
	}
	json_dump(v, false, &dump);
	if (strcmp(buf_str(&dump), "null") != 0)
		text_add_escaped(b, buf_span(&dump), max);
}

static void add_time(struct buf *b, const char *s)
{
	size_t n = strlen(s);

	if (n > 5 && s[n - 1] == 'Z' && s[n - 5] == '.') { /* the milliseconds are for programs */
		text_add_escaped(b, SPAN(s, n - 5), CELL_TEXT_MAX);
		buf_add_str(b, "Z");
	} else {
		text_add_escaped(b, span_str(s), CELL_TEXT_MAX);
	}
}

static void add_seconds(struct buf *b, int64_t s)
{
	if (s < 0)
		buf_add_str(b, "over");
	else if (s < 120)
		buf_printf(b, "%d s", (int)s);
	else if (s < 7200)
		buf_printf(b, "%d min", (int)(s / 60));
	else if (s < 48 * 3600)
		buf_printf(b, "%d h %02d min", (int)(s / 3600), (int)(s / 60 % 60));
	else
		buf_printf(b, "%lld d", (long long)(s / 86400));
}

static void add_counts(struct buf *b, const struct json_value *o)
{
	int64_t n;

	for (const void *it = json_first(o); it; it = json_next(o, it)) {
		if (!json_as_int(json_iter_value(it), &n) || n == 0)
			continue;
		buf_printf(b, "%s%lld ", b->n ? ", " : "", (long long)n);
		text_add_escaped(b, span_str(json_iter_key(it)), CELL_TEXT_MAX);
	}
}

/* "entry.at", "components.0.version": the field of an object, or of an element, in the item. */
static const struct json_value *field_at(const struct json_value *item, const char *key)
{
	char part[64];
	const char *dot;
	uint64_t i;

	while (item && (dot = strchr(key, '.'))) {
		if (text_copy(part, sizeof(part), SPAN(key, dot - key)) < 0)
			return NULL;
		if (!json_is_array(item))
			item = json_get(item, part);
		else
			item = text_parse_u64(span_str(part), SIZE_MAX, &i, 0) == 0 ? json_at(item, i) : NULL;
		key = dot + 1;
	}
	return item ? json_get(item, key) : NULL;
}

static char *cell(const struct json_value *item, const struct column *col)
{
	_cleanup_buf_ struct buf b = { 0 };
	const struct json_value *v = field_at(item, col->key);
	int64_t n, of;
	bool yes;

	switch (col->kind) {
	case COL_TEXT:
	case COL_STATE:
		if (v)
			add_scalar(&b, v, CELL_TEXT_MAX);
		break;
	case COL_SHORT:
		if (v)
			add_scalar(&b, v, CELL_TEXT_MAX);
		if (b.n > SHORT_CHARS)
			b.p[b.n = SHORT_CHARS] = '\0';
		break;
	case COL_BYTES:
		if (v && json_as_int(v, &n))
			add_bytes(&b, n);
		break;
	case COL_TIME:
		if (v && json_as_str(v))
			add_time(&b, json_as_str(v));
		break;
	case COL_BOOL:
		if (json_get_bool(item, col->key, &yes))
			buf_add_str(&b, yes ? "yes" : "no");
		break;
	case COL_SECONDS:
		if (v && json_as_int(v, &n))
			add_seconds(&b, n);
		break;
	case COL_WORDS:
		for (size_t i = 0; v && i < json_n(v) && b.n < CELL_TEXT_MAX; i++) {
			buf_add_str(&b, i ? ", " : "");
			add_scalar(&b, json_at(v, i), CELL_TEXT_MAX);
		}
		break;
	case COL_COUNTS:
		if (v && json_is_object(v))
			add_counts(&b, v);
		break;
	case COL_PROGRESS:
		if (json_get_int(item, col->key, &n) && json_get_int(item, col->key2, &of) && of > 0)
			buf_printf(&b, "%3d%%", n >= of ? 100 : (int)(n * 100 / of));
		break;
	}
	return mem_strdup(b.n ? buf_str(&b) : "-");
}

static void put_padded(const struct cli *cli, const char *s, size_t width, bool last, bool toned)
{
	enum tone t = toned && cli->color ? tone_of(s) : TONE_PLAIN;
	size_t w = width_of(s);

	printf("%s%s%s", tone_on[t], s, t ? "\033[0m" : "");
	if (!last)
		printf("%*s", (int)(width - w + 2), "");
}

void out_table(const struct cli *cli, const struct json_value *items, const struct column *columns, size_t n_columns)
{
	size_t n = json_n(items);
	char **cells = NEW_N(char *, (n + 1) * n_columns);
	size_t *widths = NEW_N(size_t, n_columns);

	for (size_t c = 0; c < n_columns; c++) {
		widths[c] = width_of(columns[c].title);
		for (size_t i = 0; i < n; i++) {
			char *s = cells[i * n_columns + c] = cell(json_at(items, i), &columns[c]);
			widths[c] = width_of(s) > widths[c] ? width_of(s) : widths[c];
		}
	}
	if (cli->color)
		fputs("\033[1m", stdout);
	for (size_t c = 0; c < n_columns; c++)
		put_padded(cli, columns[c].title, widths[c], c + 1 == n_columns, false);
	puts(cli->color ? "\033[0m" : "");
	for (size_t i = 0; i < n; i++) {
		for (size_t c = 0; c < n_columns; c++) {
			put_padded(cli, cells[i * n_columns + c], widths[c], c + 1 == n_columns, columns[c].kind == COL_STATE);
			free(cells[i * n_columns + c]);
		}
		putchar('\n');
	}
	free(cells);
	free(widths);
}

static void fields_at(const struct cli *cli, const struct json_value *v, unsigned depth);

static void field(const struct cli *cli, const char *key, const struct json_value *v, unsigned depth)
{
	_cleanup_buf_ struct buf b = { 0 }, k = { 0 };

	text_add_escaped(&k, span_str(key), CELL_TEXT_MAX);
	if ((json_is_object(v) || json_is_array(v)) && json_n(v) > 0 && depth < FIELDS_DEPTH_MAX) {
		printf("%*s%s:\n", (int)(depth * 2), "", buf_str(&k));
		fields_at(cli, v, depth + 1);
		return;
	}
	add_scalar(&b, v, 4096);
	printf("%*s%s:%*s", (int)(depth * 2), "", buf_str(&k), (int)(k.n < 16 ? 17 - k.n : 1), "");
	out_word(cli, b.n ? buf_str(&b) : "-");
	putchar('\n');
}

static void fields_at(const struct cli *cli, const struct json_value *v, unsigned depth)
{
	if (json_is_array(v)) {
		for (size_t i = 0; i < json_n(v); i++) {
			const struct json_value *e = json_at(v, i);
			if (json_is_object(e) || json_is_array(e)) {
				printf("%*s-\n", (int)(depth * 2), "");
				if (depth < FIELDS_DEPTH_MAX)
					fields_at(cli, e, depth + 1);
				continue;
			}
			_cleanup_buf_ struct buf b = { 0 };
			add_scalar(&b, e, 4096);
			printf("%*s- %s\n", (int)(depth * 2), "", buf_str(&b));
		}
		return;
	}
	for (const void *it = json_first(v); it; it = json_next(v, it))
		field(cli, json_iter_key(it), json_iter_value(it), depth);
}

void out_fields(const struct cli *cli, const struct json_value *object)
{
	fields_at(cli, object, 0);
}

void out_cell(const struct json_value *item, const struct column *col)
{
	_cleanup_free_ char *s = cell(item, col);

	fputs(s, stdout);
}

void out_word(const struct cli *cli, const char *word)
{
	enum tone t = cli->color ? tone_of(word) : TONE_PLAIN;

	printf("%s%s%s", tone_on[t], word, t ? "\033[0m" : "");
}

void out_text(const char *text)
{
	_cleanup_buf_ struct buf b = { 0 };

	text_add_escaped(&b, span_str(text), 4096);
	fputs(buf_str(&b), stdout);
}

void out_json(struct span json)
{
	fwrite(json.p, 1, json.n, stdout);
	if (!json.n || json.p[json.n - 1] != '\n')
		putchar('\n');
}
