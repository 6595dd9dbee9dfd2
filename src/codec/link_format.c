#include "codec/link_format.h"

#include <errno.h>

#include "base/text.h"

static bool is_alnum(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* attr-char of RFC 5987, which parmname is made of */
static bool is_name_char(uint8_t c)
{
	return is_alnum(c) || (c && strchr("!#$&+-.^_`|~", c));
}

/* ptokenchar of RFC 6690 */
static bool is_ptoken_char(uint8_t c)
{
	return is_alnum(c) || (c && strchr("!#$%&'()*+-./:<=>?@[]^_`{|}~", c));
}

/* A target is UTF-8 without what would end or break a URI reference (RFC 3986 leaves these out). */
static bool is_target_char(uint8_t c)
{
	return c > 0x20 && c != 0x7f && c != '<' && c != '>' && c != '"' && c != '\\';
}

static void skip_space(struct link_reader *r)
{
	while (r->pos < r->doc.n && is_space(r->doc.p[r->pos]))
		r->pos++;
}

static bool at(const struct link_reader *r, char c)
{
	return r->pos < r->doc.n && r->doc.p[r->pos] == (uint8_t)c;
}

static int fail(struct link_reader *r, int error)
{
	r->error = error;
	return error;
}

void link_reader_init(struct link_reader *r, struct span doc)
{
	*r = (struct link_reader){ .doc = doc };
	if (doc.n > LINK_DOC_BYTES_MAX)
		r->error = -EMSGSIZE;
	skip_space(r);
}

static int read_target(struct link_reader *r, struct span *ret)
{
	if (!at(r, '<'))
		return -EBADMSG;
	size_t start = ++r->pos;
	while (r->pos < r->doc.n && is_target_char(r->doc.p[r->pos]))
		r->pos++;
	if (!at(r, '>'))
		return -EBADMSG;
	*ret = span_sub(r->doc, start, r->pos - start);
	r->pos++;
	if (ret->n > LINK_TARGET_BYTES_MAX)
		return -EMSGSIZE;
	return text_is_utf8(*ret) ? 0 : -EBADMSG;
}

static int read_quoted(struct link_reader *r, struct link_param *ret)
{
	size_t start = ++r->pos;

	ret->is_quoted = true;
	while (r->pos < r->doc.n && r->doc.p[r->pos] != '"') {
		if (r->doc.p[r->pos] == '\\') {
			ret->is_escaped = true;
			r->pos++;
		}
		r->pos++;
	}
	if (r->pos >= r->doc.n)
		return -EBADMSG;
	ret->value = span_sub(r->doc, start, r->pos - start);
	r->pos++;
	return 0;
}

static bool is_cardinal(struct span s)
{
	uint64_t v;

	return text_parse_u64(s, UINT32_MAX, &v, 0) >= 0;
}

/* Rules of the known names (LF-3). */
static bool value_is_good(const struct link_param *p)
{
	struct span rest = p->value, token;

	if (p->name.p[p->name.n - 1] == '*')
		return p->has_value && !p->is_quoted;
	if (span_eq_str(p->name, "sz"))
		return p->has_value && is_cardinal(p->value);
	if (!link_name_is_list(p->name))
		return true;
	if (!p->has_value || p->is_escaped)
		return false;
	if (span_eq_str(p->name, "ct"))
		while (link_token_next(&rest, &token))
			if (!is_cardinal(token))
				return false;
	return true;
}

/* One ";name[=value]"; the position is at the ";". */
static int read_param(struct link_reader *r, struct link_param *ret)
{
	struct link_param p = { 0 };
	int e;

	r->pos++;
	skip_space(r);
	size_t start = r->pos;
	while (r->pos < r->doc.n && is_name_char(r->doc.p[r->pos]))
		r->pos++;
	if (at(r, '*'))
		r->pos++;
	p.name = span_sub(r->doc, start, r->pos - start);
	if (!link_name_is_valid(p.name))
		return p.name.n > LINK_NAME_BYTES_MAX ? -EMSGSIZE : -EBADMSG;
	if (at(r, '=')) {
		p.has_value = true;
		r->pos++;
		if (at(r, '"')) {
			e = read_quoted(r, &p);
			if (e < 0)
				return e;
		} else {
			start = r->pos;
			while (r->pos < r->doc.n && is_ptoken_char(r->doc.p[r->pos]))
				r->pos++;
			p.value = span_sub(r->doc, start, r->pos - start);
			if (!p.value.n)
				return -EBADMSG;
		}
	}
	if (p.value.n > LINK_VALUE_BYTES_MAX)
		return -EMSGSIZE;
	*ret = p;
	return 0;
}

int link_reader_next(struct link_reader *r, struct weblink *ret)
{
	struct weblink l;
	struct link_param p;
	size_t n_params = 0;
	int e;

	if (r->error < 0)
		return r->error;
	if (r->pos >= r->doc.n)
		return 0;
	e = read_target(r, &l.target);
	if (e < 0)
		return fail(r, e);
	size_t start = r->pos;
	while (at(r, ';')) {
		e = ++n_params > LINK_PARAMS_MAX ? -EMSGSIZE : read_param(r, &p);
		if (e < 0)
			return fail(r, e);
		if (!text_is_clean(p.value) || !value_is_good(&p))
			return fail(r, -EBADMSG);
	}
	l.params = span_sub(r->doc, start, r->pos - start);
	bool more = at(r, ',');
	r->pos += more;
	skip_space(r);
	if (more != (r->pos < r->doc.n))
		return fail(r, -EBADMSG);
	*ret = l;
	return 1;
}

int weblink_param(const struct weblink *l, size_t *pos, struct link_param *ret)
{
	struct link_reader r = { .doc = l->params, .pos = *pos };

	if (r.pos >= r.doc.n || read_param(&r, ret) < 0)
		return 0;
	*pos = r.pos;
	return 1;
}

bool weblink_get(const struct weblink *l, const char *name, struct link_param *ret)
{
	struct link_param p;
	size_t pos = 0;

	while (weblink_param(l, &pos, &p))
		if (span_eq_str(p.name, name)) {
			*ret = p;
			return true;
		}
	return false;
}

bool link_name_is_list(struct span name)
{
	return span_eq_str(name, "rt") || span_eq_str(name, "if") || span_eq_str(name, "rel") || span_eq_str(name, "rev") ||
	       span_eq_str(name, "ct");
}

bool link_name_is_single(struct span name)
{
	return span_eq_str(name, "rt") || span_eq_str(name, "if") || span_eq_str(name, "sz") || span_eq_str(name, "rel") ||
	       span_eq_str(name, "anchor") || span_eq_str(name, "title") || span_eq_str(name, "type") || span_eq_str(name, "media");
}

bool link_name_is_valid(struct span name)
{
	size_t n = name.n;

	if (n && name.p[n - 1] == '*')
		n--;
	if (!n || name.n > LINK_NAME_BYTES_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!is_name_char(name.p[i]))
			return false;
	return true;
}

void link_value_add(struct buf *b, const struct link_param *p)
{
	if (!p->is_escaped) {
		buf_add(b, p->value);
		return;
	}
	for (size_t i = 0; i < p->value.n; i++) {
		if (p->value.p[i] == '\\' && i + 1 < p->value.n)
			i++;
		buf_add_u8(b, p->value.p[i]);
	}
}

static bool is_wild(struct span want)
{
	return want.n && want.p[want.n - 1] == '*';
}

bool link_text_matches(struct span text, struct span want)
{
	return is_wild(want) ? span_starts(text, SPAN(want.p, want.n - 1)) : span_eq(text, want);
}

bool link_token_next(struct span *rest, struct span *ret)
{
	size_t i = 0, start;

	while (i < rest->n && is_space(rest->p[i]))
		i++;
	start = i;
	while (i < rest->n && !is_space(rest->p[i]))
		i++;
	*ret = span_sub(*rest, start, i - start);
	*rest = span_sub(*rest, i, rest->n - i);
	return ret->n > 0;
}

/* As link_text_matches(), over a value with escapes. */
static bool escaped_matches(struct span value, struct span want)
{
	bool wild = is_wild(want);
	size_t n_want = want.n - wild, k = 0;

	for (size_t i = 0; i < value.n; i++, k++) {
		if (wild && k == n_want)
			return true;
		if (value.p[i] == '\\' && i + 1 < value.n)
			i++;
		if (k >= n_want || value.p[i] != want.p[k])
			return false;
	}
	return k == n_want;
}

bool link_param_matches(const struct link_param *p, struct span want)
{
	struct span rest = p->value, token;

	if (!p->has_value)
		return false;
	if (!link_name_is_list(p->name))
		return p->is_escaped ? escaped_matches(p->value, want) : link_text_matches(p->value, want);
	while (link_token_next(&rest, &token))
		if (link_text_matches(token, want))
			return true;
	return false;
}

void link_write(struct link_writer *w, struct span target)
{
	if (w->n_links++)
		buf_add_u8(w->b, ',');
	buf_add_u8(w->b, '<');
	buf_add(w->b, target);
	buf_add_u8(w->b, '>');
}

void link_write_flag(struct link_writer *w, struct span name)
{
	buf_add_u8(w->b, ';');
	buf_add(w->b, name);
}

void link_write_param(struct link_writer *w, const struct link_param *p)
{
	link_write_flag(w, p->name);
	if (!p->has_value)
		return;
	buf_add_str(w->b, p->is_quoted ? "=\"" : "=");
	buf_add(w->b, p->value);
	if (p->is_quoted)
		buf_add_u8(w->b, '"');
}

void link_write_quoted(struct link_writer *w, struct span name, struct span value)
{
	link_write_flag(w, name);
	buf_add_str(w->b, "=\"");
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] == '"' || value.p[i] == '\\')
			buf_add_u8(w->b, '\\');
		buf_add_u8(w->b, value.p[i]);
	}
	buf_add_u8(w->b, '"');
}

void link_write_value(struct link_writer *w, struct span name, struct span value)
{
	bool plain = value.n > 0;

	for (size_t i = 0; i < value.n && plain; i++)
		plain = is_ptoken_char(value.p[i]);
	if (!plain) {
		link_write_quoted(w, name, value);
		return;
	}
	link_write_flag(w, name);
	buf_add_u8(w->b, '=');
	buf_add(w->b, value);
}
