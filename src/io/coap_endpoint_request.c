/* From libcoap's PDU to an exchange. Options are iterated, never libcoap's query string (T7, T9). */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "io/coap_endpoint_priv.h"

enum { OPTION_REQUEST_TAG = 292, OPTION_ECHO = 252, OPTION_NO_RESPONSE = 258 };

static void refuse(struct exchange *x, uint8_t code, const char *why)
{
	if (x->refuse)
		return;
	x->refuse = code;
	x->why = why;
}

static void take_etag(struct exchange *x, struct coap_etag *list, size_t *n, struct span v, bool must)
{
	if (*n == COAP_ETAG_MAX || v.n > COAP_ETAG_BYTES_MAX) {
		if (must)
			refuse(x, COAP_400_BAD_REQUEST, "too many If-Match");
		return;
	}
	list[*n].n = (uint8_t)v.n;
	if (v.n)
		memcpy(list[*n].b, v.p, v.n);
	(*n)++;
}

static void take_block(struct exchange *x, struct span v, bool *has, struct coap_block *b)
{
	if (*has)
		refuse(x, COAP_402_BAD_OPTION, "repeated Block");
	*has = true;
	if (coap_block_decode(v, b) < 0)
		refuse(x, COAP_400_BAD_REQUEST, "bad Block");
}

static void take_tag(struct exchange *x, struct span v)
{
	size_t left = sizeof(x->request_tag) - x->n_request_tag;

	if (v.n + 1 > left) {
		refuse(x, COAP_400_BAD_REQUEST, "too many Request-Tag");
		return;
	}
	x->request_tag[x->n_request_tag++] = (uint8_t)v.n; /* lengths keep "a","b" apart from "ab" */
	if (v.n)
		memcpy(x->request_tag + x->n_request_tag, v.p, v.n);
	x->n_request_tag += v.n;
}

/* One-time critical options that come again are as if unknown (RFC 7252 5.4.5). */
static void take_once(struct exchange *x, int *slot, uint64_t v)
{
	if (*slot != COAP_CF_NONE)
		refuse(x, COAP_402_BAD_OPTION, "repeated option");
	*slot = (int)v;
}

static void take_option(struct exchange *x, unsigned number, const coap_opt_t *opt)
{
	struct coap_request *q = &x->req;
	struct span v = coap_lib_option(opt);

	switch (number) {
	case COAP_OPTION_URI_PATH:
		if (q->n_path == COAP_PATH_MAX)
			refuse(x, COAP_404_NOT_FOUND, "path too deep");
		else
			q->path[q->n_path++] = v;
		break;
	case COAP_OPTION_URI_QUERY:
		if (q->n_query == COAP_QUERY_MAX)
			refuse(x, COAP_400_BAD_REQUEST, "too many Uri-Query");
		else
			q->query[q->n_query++] = v;
		break;
	case COAP_OPTION_URI_HOST:
		x->uri_host = v;
		break;
	case COAP_OPTION_URI_PORT:
		x->uri_port = (uint16_t)coap_lib_uint(opt);
		break;
	case COAP_OPTION_PROXY_URI:
		q->proxy_uri = v;
		break;
	case COAP_OPTION_PROXY_SCHEME:
		x->proxy_scheme = v;
		break;
	case COAP_OPTION_ACCEPT:
		take_once(x, &q->accept, coap_lib_uint(opt));
		break;
	case COAP_OPTION_CONTENT_FORMAT:
		q->content_format = (int)coap_lib_uint(opt);
		break;
	case COAP_OPTION_OBSERVE:
		q->observe = coap_lib_uint(opt) > 1 ? -1 : (int)coap_lib_uint(opt); /* unknown values: ignored (OB-1) */
		break;
	case COAP_OPTION_ETAG:
		take_etag(x, q->etag, &q->n_etag, v, false);
		break;
	case COAP_OPTION_IF_MATCH:
		take_etag(x, q->if_match, &q->n_if_match, v, true);
		break;
	case COAP_OPTION_IF_NONE_MATCH:
		q->if_none_match = true;
		break;
	case COAP_OPTION_BLOCK1:
		take_block(x, v, &x->has_block1, &x->block1);
		break;
	case COAP_OPTION_BLOCK2:
		take_block(x, v, &x->has_block2, &x->block2);
		break;
	case COAP_OPTION_SIZE1:
		x->size1 = (int64_t)coap_lib_uint(opt);
		break;
	case OPTION_ECHO:
		q->echo = v;
		break;
	case OPTION_NO_RESPONSE:
		x->no_response = (unsigned)coap_lib_uint(opt);
		break;
	case OPTION_REQUEST_TAG:
		take_tag(x, v);
		break;
	default: /* elective, or refused by libcoap already */
		break;
	}
}

static uint64_t fnv(uint64_t h, struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		h = (h ^ s.p[i]) * 0x100000001b3u;
	return h;
}

void exchange_parse(struct exchange *x, const coap_pdu_t *pdu)
{
	coap_bin_const_t token = coap_pdu_get_token(pdu);
	struct coap_request *q = &x->req;
	coap_opt_iterator_t it;
	const uint8_t *data = NULL;
	coap_opt_t *opt;
	uint64_t h = 0xcbf29ce484222325u;
	size_t n = 0;

	q->method = (uint8_t)coap_pdu_get_code(pdu);
	q->accept = q->content_format = COAP_CF_NONE;
	q->observe = -1;
	x->size1 = -1;
	x->is_con = coap_pdu_get_type(pdu) == COAP_MESSAGE_CON;
	x->mid = (uint16_t)coap_pdu_get_mid(pdu);
	x->n_token = token.length < sizeof(x->token) ? token.length : sizeof(x->token);
	if (x->n_token)
		memcpy(x->token, token.s, x->n_token);
	h = fnv(fnv(h, SPAN(&q->method, 1)), SPAN(x->token, x->n_token));
	coap_option_iterator_init(pdu, &it, COAP_OPT_ALL);
	while ((opt = coap_option_next(&it))) {
		uint16_t number = it.number;

		h = fnv(fnv(h, SPAN(&number, sizeof(number))), coap_lib_option(opt));
		take_option(x, number, opt);
	}
	if (coap_get_data(pdu, &n, &data))
		q->body = SPAN(data, n);
	x->fingerprint = fnv(h, q->body);
}

static void key_add(struct buf *b, struct span s)
{
	buf_add_be(b, s.n, 2);
	buf_add(b, s);
}

const struct digest *exchange_key(struct exchange *x)
{
	struct coap_request *q = &x->req;
	struct buf b = { 0 };

	if (x->has_key)
		return &x->key;
	buf_add_be(&b, q->peer.session, 8);
	buf_add_u8(&b, q->method);
	buf_add_be(&b, (uint64_t)(q->accept + 1), 4);
	buf_add_u8(&b, (uint8_t)q->n_path);
	for (size_t i = 0; i < q->n_path; i++)
		key_add(&b, q->path[i]);
	buf_add_u8(&b, (uint8_t)q->n_query);
	for (size_t i = 0; i < q->n_query; i++)
		key_add(&b, q->query[i]);
	key_add(&b, q->proxy_uri);
	x->key = digest_of(buf_span(&b));
	x->has_key = true;
	buf_done(&b);
	return &x->key;
}

/* ---- Proxy-Uri and Proxy-Scheme ---- */

static bool scheme_is(struct span s, const char *name)
{
	return s.n == strlen(name) && strncasecmp((const char *)s.p, name, s.n) == 0;
}

static void add_escaped(struct buf *b, struct span s, const char *also)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    (c && strchr("-._~", c)) || (c && strchr(also, c)))
			buf_add_u8(b, c);
		else
			buf_printf(b, "%%%02X", c);
	}
}

/* The URI that Proxy-Scheme and the Uri-* options mean, so that a proxy handler sees one form only. */
static void compose_uri(struct exchange *x)
{
	struct coap_request *q = &x->req;
	struct buf b = { .max = ENDPOINT_PROXY_URI_BYTES_MAX };
	bool is_v6 = x->uri_host.n && memchr(x->uri_host.p, ':', x->uri_host.n);

	buf_add(&b, x->proxy_scheme);
	buf_add_str(&b, is_v6 ? "://[" : "://");
	buf_add(&b, x->uri_host);
	buf_add_str(&b, is_v6 ? "]" : "");
	if (x->uri_port)
		buf_printf(&b, ":%u", x->uri_port);
	for (size_t i = 0; i < q->n_path; i++) {
		buf_add_str(&b, "/");
		add_escaped(&b, q->path[i], "!$&'()*+,;=:@");
	}
	for (size_t i = 0; i < q->n_query; i++) {
		buf_add_str(&b, i ? "&" : "?");
		add_escaped(&b, q->query[i], "!$'()*+,;=:@/?");
	}
	if (!buf_ok(&b)) {
		refuse(x, COAP_400_BAD_REQUEST, "URI too long");
	} else {
		memcpy(x->e->scratch, b.p, b.n);
		q->proxy_uri = SPAN(x->e->scratch, b.n);
		x->e->n_scratch = b.n;
	}
	buf_done(&b);
}

static int hex(uint8_t c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Percent-decodes into the endpoint's scratch; the result lives until the next request. */
static int unescape(struct coap_endpoint *e, struct span s, struct span *ret)
{
	size_t start = e->n_scratch;

	for (size_t i = 0; i < s.n; i++) {
		int c = s.p[i];

		if (c == '%') {
			int hi = i + 2 < s.n ? hex(s.p[i + 1]) : -1, lo = i + 2 < s.n ? hex(s.p[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return -EBADMSG;
			c = hi << 4 | lo;
			i += 2;
		}
		if (e->n_scratch == sizeof(e->scratch))
			return -EMSGSIZE;
		e->scratch[e->n_scratch++] = (uint8_t)c;
	}
	*ret = SPAN(e->scratch + start, e->n_scratch - start);
	return 0;
}

/* Splits s at sep into list; -E2BIG when there are more than max. */
static int split(struct coap_endpoint *e, struct span s, char sep, struct span *list, size_t max, size_t *ret_n)
{
	*ret_n = 0;
	for (;;) {
		const uint8_t *end = s.n ? memchr(s.p, sep, s.n) : NULL;
		struct span part = end ? SPAN(s.p, (size_t)(end - s.p)) : s;

		if (*ret_n == max)
			return -E2BIG;
		if (unescape(e, part, &list[*ret_n]) < 0)
			return -EBADMSG;
		(*ret_n)++;
		if (!end)
			return 0;
		s = span_sub(s, part.n + 1, s.n);
	}
}

/* "scheme://authority/path?query" -> its parts; false when it has no authority. */
static bool split_uri(struct span uri, struct span *scheme, struct span *authority, struct span *path, struct span *query)
{
	const uint8_t *p = uri.n ? memchr(uri.p, ':', uri.n) : NULL;
	struct span rest;
	size_t n = 0;

	if (!p)
		return false;
	*scheme = SPAN(uri.p, (size_t)(p - uri.p));
	rest = span_sub(uri, scheme->n + 1, uri.n);
	if (!span_starts(rest, SPAN_LIT("//")))
		return false;
	rest = span_sub(rest, 2, rest.n);
	while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
		n++;
	*authority = span_sub(rest, 0, n);
	rest = span_sub(rest, n, rest.n);
	p = rest.n ? memchr(rest.p, '?', rest.n) : NULL;
	*path = p ? SPAN(rest.p, (size_t)(p - rest.p)) : rest;
	*query = p ? span_sub(rest, path->n + 1, rest.n) : SPAN_NONE;
	return true;
}

static bool is_our_name(struct coap_endpoint *e, const struct coap_uri *u, const coap_session_t *session)
{
	char name[256] = "";
	coap_address_t a;
	bool port_ok = false;

	for (size_t i = 0; i < e->n_listener; i++)
		port_ok = port_ok || (coap_address_get_port(&e->listener[i].addr) == u->port && e->listener[i].secure == u->secure);
	if (!port_ok)
		return false;
	if (coap_lib_resolve(u, false, &a) < 0) {
		(void)gethostname(name, sizeof(name) - 1); /* an empty name matches nothing */
		return strcasecmp(u->host, "localhost") == 0 || strcasecmp(u->host, name) == 0;
	}
	coap_address_set_port(&a, coap_address_get_port(coap_session_get_addr_local(session)));
	return coap_address_equals(&a, coap_session_get_addr_local(session)) || coap_lib_is_local(&a);
}

bool exchange_names_us(struct exchange *x, const coap_session_t *session)
{
	struct coap_request *q = &x->req;
	struct span scheme, authority, path, query;
	struct buf origin = { 0 };
	struct coap_uri u;
	bool ours;

	x->e->n_scratch = 0;
	if (q->proxy_uri.n == 0) {
		if (x->uri_host.n == 0) /* the default is the address the request came to (RFC 7252 5.10.1) */
			return scheme_is(x->proxy_scheme, "coap") || scheme_is(x->proxy_scheme, "coaps");
		compose_uri(x);
	}
	if (x->refuse || !split_uri(q->proxy_uri, &scheme, &authority, &path, &query))
		return false;
	if (!scheme_is(scheme, "coap") && !scheme_is(scheme, "coaps"))
		return false;
	buf_add_str(&origin, scheme_is(scheme, "coaps") ? "coaps://" : "coap://");
	buf_add(&origin, authority);
	ours = coap_uri_parse(buf_span(&origin), &u) == 0 && is_our_name(x->e, &u, session);
	buf_done(&origin);
	if (!ours)
		return false;
	q->n_path = q->n_query = 0;
	if (path.n > 1 && split(x->e, span_sub(path, 1, path.n), '/', q->path, COAP_PATH_MAX, &q->n_path) < 0)
		refuse(x, COAP_400_BAD_REQUEST, "bad path in Proxy-Uri");
	if (query.n > 0 && split(x->e, query, '&', q->query, COAP_QUERY_MAX, &q->n_query) < 0)
		refuse(x, COAP_400_BAD_REQUEST, "bad query in Proxy-Uri");
	q->proxy_uri = SPAN_NONE;
	return true;
}
