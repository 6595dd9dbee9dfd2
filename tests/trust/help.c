#include "help.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/text.h"
#include "base/tmpfile.h"

void help_read(const char *path, struct buf *ret)
{
	uint8_t *p = NULL;
	size_t n = 0;

	if (file_read(AT_FDCWD, path, 64 * 1024 * 1024, &p, &n) < 0)
		fail_msg("cannot read %s", path);
	buf_add(ret, SPAN(p, n));
	free(p);
}

void help_hex(const char *hex, struct buf *ret)
{
	int high = -1;

	for (; *hex; hex++) {
		if (isspace((unsigned char)*hex))
			continue;
		int d = isdigit((unsigned char)*hex) ? *hex - '0' : (tolower((unsigned char)*hex) - 'a') + 10;
		assert_in_range(d, 0, 15);
		if (high >= 0)
			buf_add_u8(ret, (uint8_t)(high << 4 | d));
		high = high >= 0 ? -1 : d;
	}
	assert_int_equal(high, -1);
}

void help_read_vector(const char *folder, const char *name, struct buf *ret)
{
	_cleanup_buf_ struct buf file = { 0 };
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s/%s", VECTORS, folder, name);
	help_read(path, &file);
	if (strlen(name) > 4 && strcmp(name + strlen(name) - 4, ".hex") == 0)
		help_hex(buf_str(&file), ret);
	else
		buf_add(ret, buf_span(&file));
}

struct json_doc *help_json(const char *path)
{
	_cleanup_buf_ struct buf file = { 0 };
	struct json_doc *doc = NULL;
	char error[200];

	help_read(path, &file);
	if (json_parse(buf_span(&file), &doc, error, sizeof(error)) < 0)
		fail_msg("%s: %s", path, error);
	return doc;
}

static struct trust_anchors *build(const struct trust_anchor_config *c)
{
	struct trust_anchors *a = NULL;
	char error[256];

	if (trust_anchors_build(c, 1, &a, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	return a;
}

static const char *const any[] = { "any", NULL };

struct trust_anchors *help_anchor(struct span pem)
{
	return build(&(struct trust_anchor_config){ .name = "test", .pem = pem, .vendor_ids = any });
}

struct trust_anchors *help_anchor_file(const char *name)
{
	_cleanup_buf_ struct buf key = { 0 };
	struct trust_anchor_config c = { .name = name, .vendor_ids = any, .requires_no_identity = true };

	help_read_vector("suit/keys", name, &key);
	if (strstr(name, ".hex"))
		c.mac_key = buf_span(&key);
	else
		c.pem = buf_span(&key);
	return build(&c);
}

const struct verdict_rule *help_rule(const struct verdict *v, const char *id, enum rule_outcome o)
{
	for (size_t i = 0; i < v->n_rules; i++) {
		if (strcmp(v->rules[i].id, id) == 0 && v->rules[i].outcome == o)
			return &v->rules[i];
	}
	return NULL;
}

void help_assert_outcome(const struct verdict *v, enum trust_outcome o, const char *what)
{
	_cleanup_buf_ struct buf text = { 0 };

	if (v->outcome == o)
		return;
	verdict_text(v, &text);
	fail_msg("%s: expected %s, got\n%s", what, trust_outcome_name(o), buf_str(&text));
}
