#include "config/config.h"

#include "base/mem.h"
#include "config/schema.h"
#include "config/value.h"

static void print_table(const struct schema_table *t, const void *base, struct buf *ret)
{
	if (schema_is_array(t))
		buf_printf(ret, "\n[[%s]]\n", t->name);
	else if (*t->name)
		buf_printf(ret, "\n[%s]\n", t->name);
	for (size_t i = 0; i < schema_n_keys; i++) {
		const struct schema_key *k = &schema_keys[i];
		if (schema_table_of(k) != t)
			continue;
		buf_printf(ret, "%s = ", k->key);
		value_print(k, base, ret);
		buf_add_str(ret, "\n");
	}
}

void config_print(const struct config *c, struct buf *ret)
{
	for (size_t i = 0; i < schema_n_tables; i++) {
		const struct schema_table *t = &schema_tables[i];
		for (size_t e = 0; e < schema_count(t, c); e++)
			print_table(t, schema_base(t, c, e), ret);
	}
}

static void sample_table(const struct schema_table *t, struct buf *ret)
{
	const char *off = schema_is_array(t) ? "#" : "";

	buf_printf(ret, "\n# --- %s ---\n", t->line);
	if (*t->name)
		buf_printf(ret, schema_is_array(t) ? "#[[%s]]\n" : "[%s]\n", t->name);
	for (size_t i = 0; i < schema_n_keys; i++) {
		const struct schema_key *k = &schema_keys[i];
		if (schema_table_of(k) != t)
			continue;
		buf_printf(ret, "# %s", k->line);
		value_print_range(k, ret);
		buf_printf(ret, "\n%s%s = ", off, k->key);
		value_print_text(k, k->example ? k->example : k->def, ret);
		buf_add_str(ret, "\n");
	}
}

void config_print_sample(struct buf *ret)
{
	buf_add_str(ret, "# Dormouse's configuration: every key at its default. dormouse.toml(5) says more about each.\n"
			 "# Times are seconds unless the key says otherwise, or strings such as \"10 min\"; sizes are bytes or\n"
			 "# strings such as \"64 MiB\". Relative paths start where this file is. Files in dormouse.d/*.toml beside it\n"
			 "# are read after it, in the order of their names. `dormoused -c FILE --check` shows what comes of it all.\n");
	for (size_t i = 0; i < schema_n_tables; i++)
		sample_table(&schema_tables[i], ret);
}

/* One key of one table in both configurations. */
static size_t diff_key(const struct schema_key *k, const char *element, const void *a, const void *b, struct buf *ret)
{
	_cleanup_buf_ struct buf old = { 0 }, new = { 0 };

	value_print(k, a, &old);
	value_print(k, b, &new);
	if (span_eq(buf_span(&old), buf_span(&new)))
		return 0;
	if (element)
		buf_printf(ret, "%s[%s].%s", schema_table_of(k)->name, element, k->key);
	else
		schema_add_path(ret, k);
	buf_printf(ret, ": %s -> %s%s\n", buf_str(&old), buf_str(&new), k->restart ? " (needs a restart)" : "");
	return 1;
}

static size_t diff_table(const struct schema_table *t, const char *element, const void *a, const void *b, struct buf *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < schema_n_keys; i++)
		if (schema_table_of(&schema_keys[i]) == t)
			n += diff_key(&schema_keys[i], element, a, b, ret);
	return n;
}

/* Elements are known by their first field: the name, or the class. */
static const char *element_name(const struct schema_table *t, const struct config *c, size_t i)
{
	return *(char *const *)schema_base(t, c, i);
}

static const void *element_find(const struct schema_table *t, const struct config *c, const char *name)
{
	for (size_t i = 0; i < schema_count(t, c); i++)
		if (strcmp(element_name(t, c, i), name) == 0)
			return schema_base(t, c, i);
	return NULL;
}

static size_t diff_array(const struct schema_table *t, const struct config *a, const struct config *b, struct buf *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < schema_count(t, a); i++) {
		const char *name = element_name(t, a, i);
		const void *other = element_find(t, b, name);
		if (other) {
			n += diff_table(t, name, schema_base(t, a, i), other, ret);
			continue;
		}
		buf_printf(ret, "%s[%s]: removed\n", t->name, name);
		n++;
	}
	for (size_t i = 0; i < schema_count(t, b); i++) {
		if (element_find(t, a, element_name(t, b, i)))
			continue;
		buf_printf(ret, "%s[%s]: added\n", t->name, element_name(t, b, i));
		n++;
	}
	return n;
}

size_t config_diff(const struct config *a, const struct config *b, struct buf *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < schema_n_tables; i++) {
		const struct schema_table *t = &schema_tables[i];
		n += schema_is_array(t) ? diff_array(t, a, b, ret) : diff_table(t, NULL, a, b, ret);
	}
	return n;
}
