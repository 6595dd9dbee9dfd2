/* /.well-known/core (RFC 6690 section 4): the routes that have attributes, filtered. Ours, not libcoap's, which knows
 * one filter only and ignores Accept (T7, T8). */
#include "io/coap_endpoint_priv.h"

struct attribute {
	struct span name, value;
	bool has_value;
};

/* The next of `name=value;name="quoted";name`; the attributes are our own text. */
static bool next_attribute(struct span *rest, struct attribute *ret)
{
	bool quoted = false;
	size_t n = 0, eq = SIZE_MAX;

	if (rest->n == 0)
		return false;
	while (n < rest->n && (quoted || rest->p[n] != ';')) {
		quoted ^= rest->p[n] == '"';
		if (rest->p[n] == '=' && eq == SIZE_MAX)
			eq = n;
		n++;
	}
	*ret = (struct attribute){ .name = span_sub(*rest, 0, eq < n ? eq : n), .has_value = eq < n };
	if (ret->has_value) {
		ret->value = span_sub(*rest, eq + 1, n - eq - 1);
		if (ret->value.n >= 2 && ret->value.p[0] == '"')
			ret->value = span_sub(ret->value, 1, ret->value.n - 2);
	}
	*rest = span_sub(*rest, n + 1, rest->n);
	return true;
}

static bool value_matches(struct span want, struct span have)
{
	if (want.n > 0 && want.p[want.n - 1] == '*')
		return span_starts(have, span_sub(want, 0, want.n - 1));
	return span_eq(want, have);
}

/* rt, if, rel, rev and ct hold lists of space-separated tokens; any of them may match (LF-3). */
static bool token_matches(struct span want, struct span list)
{
	while (list.n > 0) {
		const uint8_t *end = memchr(list.p, ' ', list.n);
		struct span token = end ? SPAN(list.p, (size_t)(end - list.p)) : list;

		if (value_matches(want, token))
			return true;
		list = span_sub(list, token.n + 1, list.n);
	}
	return false;
}

static bool is_list(struct span name)
{
	return span_eq_str(name, "rt") || span_eq_str(name, "if") || span_eq_str(name, "rel") ||
	       span_eq_str(name, "rev") || span_eq_str(name, "ct");
}

static bool href_matches(const struct route *r, struct span want)
{
	struct buf href = { 0 };
	bool ok;

	buf_printf(&href, "/%s", r->path);
	ok = value_matches(want, buf_span(&href));
	buf_done(&href);
	return ok;
}

static bool matches(const struct route *r, struct span criterion)
{
	const uint8_t *eq = criterion.n ? memchr(criterion.p, '=', criterion.n) : NULL;
	struct span name = eq ? SPAN(criterion.p, (size_t)(eq - criterion.p)) : criterion;
	struct span want = eq ? span_sub(criterion, name.n + 1, criterion.n) : SPAN_NONE;
	struct span rest = span_str(r->attributes);
	struct attribute a;

	if (eq && span_eq_str(name, "href"))
		return href_matches(r, want);
	while (next_attribute(&rest, &a)) {
		if (!span_eq(a.name, name) || a.has_value != (eq != NULL))
			continue;
		if (!eq || (is_list(name) ? token_matches(want, a.value) : value_matches(want, a.value)))
			return true;
	}
	return false;
}

int endpoint_core_handler(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct coap_endpoint *e = ctx;

	res->code = COAP_205_CONTENT;
	res->content_format = COAP_CF_LINK;
	for (size_t i = 0; i < e->n_route; i++) {
		const struct route *r = e->route[i];
		bool all = r->attributes != NULL;

		for (size_t k = 0; k < req->n_query && all; k++)
			all = matches(r, req->query[k]);
		if (!all)
			continue;
		buf_printf(&res->body, "%s</%s>%s%s", res->body.n ? "," : "", r->path, r->attributes[0] ? ";" : "", r->attributes);
	}
	if (res->body.n)
		res->etag = coap_etag_of(buf_span(&res->body));
	return COAP_HANDLER_DONE;
}
