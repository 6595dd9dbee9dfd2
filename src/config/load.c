#include "config/load.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

#include "base/mem.h"
#include "base/text.h"
#include "base/tmpfile.h"
#include "config/check.h"
#include "config/nesting.h"
#include "config/toml.h"
#include "config/value.h"

/* One file being read. */
struct reader {
	struct loader *l;
	const char *file;
	char *dir;                             /* where its relative paths start */
	const struct schema_table *table;      /* of the last TOML_TABLE row; NULL = refused, its keys are skipped */
	void *base;
	size_t element;
};

static void error_begin(struct loader *l, const char *file, unsigned line)
{
	l->n_errors++;
	buf_add_str(l->error, file);
	if (line)
		buf_printf(l->error, ":%u", line);
	buf_add_str(l->error, ": ");
}

/* One error too many says so once, then silence. */
static bool error_wanted(struct loader *l)
{
	if (l->n_errors < CONFIG_ERRORS_MAX)
		return true;
	if (l->n_errors++ == CONFIG_ERRORS_MAX)
		buf_add_str(l->error, "... and more\n");
	return false;
}

static void error_at(struct loader *l, const char *file, unsigned line, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void error_at(struct loader *l, const char *file, unsigned line, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	if (!error_wanted(l))
		return;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	error_begin(l, file, line);
	buf_printf(l->error, "%s\n", n < 0 ? "out of memory" : text);
	if (n >= 0)
		free(text);
}

static const struct loader_origin *origin_of(const struct loader *l, const void *field)
{
	for (size_t i = l->n_origins; i > 0; i--) /* the last file that set it counts */
		if (l->origins[i - 1].field == field)
			return &l->origins[i - 1];
	return NULL;
}

static void origin_add(struct reader *rd, const void *field, unsigned line, bool bad)
{
	struct loader *l = rd->l;

	if (l->n_origins == l->cap_origins) {
		l->cap_origins = l->cap_origins ? 2 * l->cap_origins : 128;
		l->origins = mem_resize(l->origins, l->cap_origins, sizeof(*l->origins));
	}
	l->origins[l->n_origins++] = (struct loader_origin){ field, rd->file, line, bad };
}

bool loader_is_good(const struct loader *l, const void *field)
{
	const struct loader_origin *o = origin_of(l, field);

	return !o || !o->bad;
}

bool loader_is_set(const struct loader *l, const void *field)
{
	return origin_of(l, field) != NULL;
}

void loader_error(struct loader *l, const void *field, const char *path, const char *fmt, ...)
{
	const struct loader_origin *o = origin_of(l, field);
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	error_at(l, o ? o->file : l->c->file, o ? o->line : 0, "%s: %s", path, n < 0 ? "out of memory" : text);
	if (n >= 0)
		free(text);
}

static void unknown_key(struct reader *rd, const struct schema_table *t, const struct toml_row *row)
{
	_cleanup_buf_ struct buf text = { 0 }, near_path = { 0 };
	struct span key = SPAN(row->key, row->key_bytes);
	const struct schema_key *near = schema_nearest(t, key);

	buf_printf(&text, "%s%s", t->name, *t->name ? "." : "");
	text_add_escaped(&text, key, 64);
	if (near)
		schema_add_path(&near_path, near);
	if (near)
		error_at(rd->l, rd->file, row->value.line, "%s: unknown key; did you mean %s?", buf_str(&text), buf_str(&near_path));
	else
		error_at(rd->l, rd->file, row->value.line, "%s: unknown key; dormouse.toml(5) lists them", buf_str(&text));
}

static void unknown_table(struct reader *rd, struct span name, unsigned line)
{
	_cleanup_buf_ struct buf text = { 0 };
	const struct schema_table *near = schema_nearest_table(name);

	text_add_escaped(&text, name, 64);
	if (near)
		error_at(rd->l, rd->file, line, "%s: unknown table; did you mean %s%s%s?", buf_str(&text), schema_is_array(near) ? "[[" : "[",
			 near->name, schema_is_array(near) ? "]]" : "]");
	else
		error_at(rd->l, rd->file, line, "%s: unknown table; dormouse.toml(5) lists them", buf_str(&text));
}

/* Room for all elements there may be is made at once: origins point into them. */
static void *element_add(struct reader *rd, const struct schema_table *t, unsigned line)
{
	char *c = (char *)rd->l->c;
	void **list = (void **)(c + t->list_offset);
	size_t *n = (size_t *)(c + t->count_offset);

	if (*n == t->max) {
		error_at(rd->l, rd->file, line, "%s: too many tables; at most %zu would be right", t->name, t->max);
		return NULL;
	}
	if (!*list)
		*list = mem_new(t->max, t->element_bytes);
	rd->element = (*n)++;
	void *base = schema_base(t, rd->l->c, rd->element);
	for (size_t i = 0; i < schema_n_keys; i++)
		if (schema_table_of(&schema_keys[i]) == t)
			value_set_default(&schema_keys[i], base);
	return base;
}

/* Stands for the element itself among the origins. Its own address is that of its first field, a pointer; no field
 * begins at the byte after. */
static const void *element_mark(const void *base)
{
	return (const char *)base + 1;
}

static void check_required(struct reader *rd)
{
	for (size_t i = 0; rd->table && schema_is_array(rd->table) && i < schema_n_keys; i++) {
		const struct schema_key *k = &schema_keys[i];
		if (schema_table_of(k) != rd->table || !k->required || loader_is_set(rd->l, value_field(k, rd->base)))
			continue;
		const struct loader_origin *o = origin_of(rd->l, element_mark(rd->base));
		_cleanup_buf_ struct buf path = { 0 };
		schema_add_path(&path, k);
		error_at(rd->l, rd->file, o ? o->line : 0, "%s: missing; %s", buf_str(&path), k->line);
	}
}

static void begin_table(struct reader *rd, const struct toml_row *row)
{
	struct span name = SPAN(row->table, row->table_bytes);
	const struct schema_table *t = name.n ? schema_find_table(name) : NULL;

	check_required(rd);
	rd->table = NULL;
	if (!t) {
		unknown_table(rd, name, row->value.line);
	} else if (schema_is_array(t) != (row->index >= 0)) {
		error_at(rd->l, rd->file, row->value.line, "%s: %s; %s%s%s would be right", t->name,
			 schema_is_array(t) ? "one of several tables" : "one table", schema_is_array(t) ? "[[" : "[", t->name,
			 schema_is_array(t) ? "]]" : "]");
	} else if (!schema_is_array(t)) {
		rd->table = t;
		rd->base = rd->l->c;
	} else {
		rd->base = element_add(rd, t, row->value.line);
		rd->table = rd->base ? t : NULL;
		if (rd->base)
			origin_add(rd, element_mark(rd->base), row->value.line, false);
	}
}

static void set_key(struct reader *rd, const struct schema_table *t, void *base, const struct toml_row *row)
{
	const struct schema_key *k = schema_find_key(t, SPAN(row->key, row->key_bytes));
	_cleanup_buf_ struct buf why = { 0 }, path = { 0 };

	if (!k) {
		unknown_key(rd, t, row);
		return;
	}
	int r = value_set(k, base, rd->dir, row, &why);
	origin_add(rd, value_field(k, base), row->value.line, r < 0);
	if (r >= 0)
		return;
	schema_add_path(&path, k);
	error_at(rd->l, rd->file, row->value.line, "%s: %s", buf_str(&path), buf_str(&why));
}

static void take_row(void *ctx, const struct toml_row *row)
{
	struct reader *rd = ctx;
	struct span key = SPAN(row->key, row->key_bytes);

	if (row->value.type == TOML_TABLE) {
		begin_table(rd, row);
	} else if (row->table_bytes) {
		if (rd->table)
			set_key(rd, rd->table, rd->base, row);
	} else {
		const struct schema_table *t = schema_find_table(key);
		if (t && schema_is_array(t) && row->value.type == TOML_LIST && row->n_items == 0)
			return; /* source = [] */
		if (t && key.n)
			error_at(rd->l, rd->file, row->value.line, "%s: %s; %s%s%s with keys below it would be right", t->name,
				 row->value.type_name, schema_is_array(t) ? "[[" : "[", t->name, schema_is_array(t) ? "]]" : "]");
		else
			set_key(rd, &schema_tables[0], rd->l->c, row);
	}
}

/* The directory of file, absolute, without a slash at its end. */
static char *dir_of(const char *file)
{
	const char *slash = strrchr(file, '/');
	struct span dir = SPAN(file, slash ? (size_t)(slash - file) : 0);

	if (file[0] == '/')
		return mem_strndup(dir);
	_cleanup_free_ char *here = getcwd(NULL, 0);
	return mem_printf("%s%s%.*s", here && strcmp(here, "/") != 0 ? here : "", dir.n ? "/" : "", SPAN_ARG(dir));
}

static void read_text(struct loader *l, struct span text, const char *file)
{
	struct reader rd = { .l = l, .file = file };
	char what[256];
	unsigned line = nesting_too_deep(text);

	if (line) {
		error_at(l, file, line, "nested too deep; tables of keys and lists of strings would be right");
		return;
	}
	rd.dir = dir_of(file);
	int r = toml_read((const char *)text.p, text.n, take_row, &rd, what, sizeof(what), &line);
	if (r == -EBADMSG) {
		_cleanup_buf_ struct buf escaped = { 0 };
		text_add_escaped(&escaped, span_str(what), sizeof(what));
		error_at(l, file, line, "%s", buf_str(&escaped));
	} else if (r < 0) {
		error_at(l, file, 0, "%s", strerror(-r));
	} else {
		check_required(&rd);
	}
	free(rd.dir);
}

static struct config *config_new(const char *file)
{
	struct config *c = NEW(struct config);

	c->file = mem_strdup(file);
	for (size_t i = 0; i < schema_n_keys; i++)
		if (!schema_is_array(schema_table_of(&schema_keys[i])))
			value_set_default(&schema_keys[i], c);
	const char *state = getenv("STATE_DIRECTORY"); /* several are separated by colons; the first is ours */
	if (state && state[0] == '/') {
		free(c->state_dir);
		c->state_dir = mem_strndup(SPAN(state, strcspn(state, ":")));
	}
	return c;
}

struct config *config_free(struct config *c)
{
	if (!c)
		return NULL;
	for (size_t i = 0; i < schema_n_keys; i++) {
		const struct schema_table *t = schema_table_of(&schema_keys[i]);
		for (size_t e = 0; e < schema_count(t, c); e++)
			value_free(&schema_keys[i], schema_base(t, c, e));
	}
	free(c->sources);
	free(c->anchors);
	free(c->policies);
	free(c->permits);
	free(c->lowpans);
	free(c->multicast_groups);
	free(c->file);
	free(c);
	return NULL;
}

static int finish(struct loader *l, int r, struct config **ret)
{
	if (r >= 0 && l->n_errors < CONFIG_ERRORS_MAX)
		check_config(l);
	free(l->origins);
	if (r >= 0 && l->n_errors)
		r = -EINVAL;
	if (r >= 0)
		*ret = l->c;
	else
		config_free(l->c);
	return r;
}

int config_parse(struct span text, const char *file, struct config **ret, struct buf *error)
{
	struct loader l = { .c = config_new(file), .error = error };

	if (text.n > CONFIG_FILE_BYTES_MAX)
		error_at(&l, file, 0, "too large; at most 1 MiB would be right");
	else
		read_text(&l, text, file);
	return finish(&l, 0, ret);
}

static int read_file(struct loader *l, const char *file)
{
	_cleanup_free_ uint8_t *text = NULL;
	size_t n;
	int r = file_read(AT_FDCWD, file, CONFIG_FILE_BYTES_MAX, &text, &n);

	if (r == -EFBIG) {
		error_at(l, file, 0, "too large; at most 1 MiB would be right");
		return 0;
	}
	if (r < 0) {
		error_at(l, file, 0, "%s", strerror(-r));
		return r;
	}
	read_text(l, SPAN(text, n), file);
	return 0;
}

static int is_dropin(const struct dirent *e)
{
	size_t n = strlen(e->d_name);

	return e->d_name[0] != '.' && n > 5 && strcmp(e->d_name + n - 5, ".toml") == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* names: kept by the caller until loading ends, as the origins borrow them. */
static int read_dropins(struct loader *l, const char *dir, char *names[static CONFIG_DROPINS_MAX])
{
	struct dirent **entries = NULL;
	int n = scandir(dir, &entries, is_dropin, by_bytes);
	int r = 0;

	if (n < 0 && errno == ENOENT)
		return 0;
	if (n < 0) {
		r = -errno;
		error_at(l, dir, 0, "%s", strerror(-r));
		return r;
	}
	if (n > CONFIG_DROPINS_MAX)
		error_at(l, dir, 0, "%d files; at most %d would be right", n, CONFIG_DROPINS_MAX);
	for (int i = 0; i < n; i++) {
		if (i < CONFIG_DROPINS_MAX && r >= 0) {
			names[i] = mem_printf("%s/%s", dir, entries[i]->d_name);
			r = read_file(l, names[i]);
		}
		free(entries[i]);
	}
	free(entries);
	return r;
}

int config_load(const char *file, struct config **ret, struct buf *error)
{
	struct loader l = { .c = config_new(file), .error = error };
	char *names[CONFIG_DROPINS_MAX] = { NULL };
	const char *slash = strrchr(file, '/');
	_cleanup_free_ char *dir = mem_printf("%.*sdormouse.d", slash ? (int)(slash - file + 1) : 0, file);
	int r = read_file(&l, file);

	if (r >= 0)
		r = read_dropins(&l, dir, names);
	r = finish(&l, r, ret);
	for (size_t i = 0; i < CONFIG_DROPINS_MAX; i++)
		free(names[i]);
	return r;
}
