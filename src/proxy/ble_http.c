#include "proxy/ble_http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/json.h"
#include "codec/uri.h"
#include "proxy/ble_list.h"
#include "store/device_store.h"

struct stream {                                /* a value as it changes, for one reader */
	struct stream *prev, *next;
	struct ble_http *h;
	struct http_exchange *x;               /* until the first answer */
	struct http_stream *stream;            /* after it */
	struct ble_tree_watcher *w;
	char id[BLE_ID_BYTES];
	uint16_t handle;
	bool is_bare;                          /* "?bare": data is the value itself */
};

struct ble_http {
	struct ble_tree *tree;
	struct stream *streams;
	struct loop_timer *keepalive;
};

/* ---- media types ---- */

static const struct { const char *type; int format; } types[] = {
	{ "application/json", COAP_CF_JSON },
	{ "application/cbor", COAP_CF_CBOR },
	{ "application/octet-stream", COAP_CF_OCTETS },
	{ "text/plain", COAP_CF_TEXT },
	{ "application/senml+json", BLE_CF_SENML_JSON },
	{ "application/senml+cbor", BLE_CF_SENML_CBOR },
	{ "application/td+json", BLE_CF_TD },
	{ "application/ble-gap-nodelist", BLE_CF_NODELIST },
	{ "application/ble-gatt-servicelist", BLE_CF_SERVICELIST },
	{ "application/ble-gatt-characteristiclist", BLE_CF_CHARACTERISTICLIST },
};

enum { TYPES = sizeof(types) / sizeof(*types) };

static const char *type_name(int format)
{
	if (format == COAP_CF_TEXT)
		return "text/plain; charset=utf-8";
	for (size_t i = 0; i < TYPES; i++)
		if (types[i].format == format)
			return types[i].type;
	return NULL;
}

static struct span trim(struct span s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = span_sub(s, 1, s.n);
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

static bool is_type(struct span s, const char *type)
{
	return s.n == strlen(type) && strncasecmp((const char *)s.p, type, s.n) == 0;
}

/* The q of RFC 9110 12.4.2 in thousandths. */
static unsigned quality_of(struct span params)
{
	struct span one;

	while (uri_piece_next(&params, ';', &one)) {
		unsigned q, scale = 100;
		one = trim(one);
		if (one.n < 3 || (one.p[0] | 0x20) != 'q' || one.p[1] != '=')
			continue;
		q = one.p[2] == '1' ? 1000 : 0;
		for (size_t i = 4; q < 1000 && i < one.n && i < 7 && one.p[i] >= '0' && one.p[i] <= '9'; i++, scale /= 10)
			q += scale * (unsigned)(one.p[i] - '0');
		return q;
	}
	return 1000;
}

/* False: nothing that we have. */
static bool format_of(struct span type, bool *ret_stream, int *ret_format)
{
	*ret_stream = is_type(type, "text/event-stream");
	*ret_format = COAP_CF_NONE;
	if (*ret_stream || is_type(type, "*/*") || is_type(type, "application/*"))
		return true;
	for (size_t i = 0; i < TYPES; i++) {
		if (is_type(type, types[i].type)) {
			*ret_format = types[i].format;
			return true;
		}
	}
	return false;
}

int ble_http_accept(const char *accept, bool *ret_stream, int *ret_format)
{
	struct span rest = span_str(accept), one;
	unsigned best = 0;

	*ret_stream = false;
	*ret_format = COAP_CF_NONE;
	if (!accept || !trim(rest).n)
		return 0;
	if (rest.n > BLE_HTTP_ACCEPT_BYTES_MAX)
		return -ENOENT;
	while (uri_piece_next(&rest, ',', &one)) {
		struct span params = one, type = SPAN_NONE;
		bool is_stream;
		int format;
		(void)uri_piece_next(&params, ';', &type); /* the first piece is always there */
		if (!format_of(trim(type), &is_stream, &format) || quality_of(params) <= best)
			continue;
		best = quality_of(params);
		*ret_stream = is_stream;
		*ret_format = format;
	}
	return best ? 0 : -ENOENT;
}

int ble_http_type(const char *type, int *ret_format)
{
	struct span rest = span_str(type), name;
	bool is_stream;

	*ret_format = COAP_CF_NONE;
	if (!type)
		return 0;
	(void)uri_piece_next(&rest, ';', &name); /* likewise */
	name = trim(name);
	if (is_type(name, "*/*") || is_type(name, "application/*") || !format_of(name, &is_stream, ret_format) || is_stream)
		return -ENOENT;
	return 0;
}

/* ---- answers ---- */

static int status_of(uint8_t code)
{
	static const struct { uint8_t code; int status; } rows[] = {
		{ COAP_205_CONTENT, 200 }, { COAP_204_CHANGED, 204 }, { COAP_400_BAD_REQUEST, 400 }, { COAP_401_UNAUTHORIZED, 401 },
		{ COAP_403_FORBIDDEN, 403 }, { COAP_404_NOT_FOUND, 404 }, { COAP_405_METHOD, 405 }, { COAP_406_NOT_ACCEPTABLE, 406 },
		{ COAP_413_TOO_LARGE, 413 }, { COAP_415_FORMAT, 415 }, { COAP_502_BAD_GATEWAY, 502 }, { COAP_503_UNAVAILABLE, 503 },
		{ COAP_504_TIMEOUT, 504 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (rows[i].code == code)
			return rows[i].status;
	return 500;
}

static void reply(struct http_exchange *x, const struct coap_response *res, bool is_value)
{
	int status = buf_ok(&res->body) ? status_of(res->code) : 500;
	char seconds[24];

	http_reply_header(x, "Cache-Control", "no-store");
	http_reply_header(x, "Vary", "Accept");
	if (status == 405)
		http_reply_header(x, "Allow", is_value ? "GET, HEAD, PUT, POST" : "GET, HEAD");
	if (status == 503 && res->max_age_s > 0) {
		(void)snprintf(seconds, sizeof(seconds), "%lld", (long long)res->max_age_s); /* fits */
		http_reply_header(x, "Retry-After", seconds);
	}
	if (status >= 400)
		http_reply_problem(x, status, "%.*s", SPAN_ARG(buf_span(&res->body)));
	else
		http_reply(x, status, status == 200 ? type_name(res->content_format == COAP_CF_NONE ? COAP_CF_OCTETS : res->content_format) : NULL,
			   buf_span(&res->body));
}

static void reply_code(struct http_exchange *x, uint8_t code, const char *why)
{
	struct coap_response res;

	coap_response_init(&res);
	(void)coap_error(&res, code, "%s", why); /* always 0 */
	reply(x, &res, true);
	coap_response_done(&res);
}

static void on_done(void *ctx, const struct ble_tree_answer *a)
{
	reply(ctx, a->res, true);
}

/* ---- event streams ---- */

static void stream_free(struct stream *s)
{
	struct ble_http *h = s->h;

	ble_tree_unwatch(s->w);
	DL_DELETE(h->streams, s);
	if (!h->streams)
		loop_timer_set(h->keepalive, -1);
	free(s);
}

/* {"at":"...","octets":"YQ==","text":"21.50"} */
static void put_value(struct stream *s, struct span value, struct buf *ret)
{
	_cleanup_buf_ struct buf octets = { 0 };
	struct json_out o = json_writer(ret);
	char at[WALL_TEXT_BYTES];
	struct coap_response text;

	coap_response_init(&text);
	ble_tree_render(s->h->tree, s->id, s->handle, COAP_CF_TEXT, value, &text);
	text_add_base64(&octets, value);
	json_open_object(&o, NULL);
	json_str(&o, "at", wall_text(wall_now(), at));
	json_span(&o, "octets", buf_span(&octets));
	if (text.code == COAP_205_CONTENT)
		json_span(&o, "text", buf_span(&text.body));
	json_close_object(&o);
	coap_response_done(&text);
}

/* 21.50; null when the node says that it does not know. */
static void put_bare_value(struct stream *s, struct span value, struct buf *ret)
{
	struct coap_response res;

	coap_response_init(&res);
	ble_tree_render(s->h->tree, s->id, s->handle, COAP_CF_JSON, value, &res);
	buf_add(ret, res.code == COAP_205_CONTENT ? buf_span(&res.body) : SPAN_LIT("null"));
	coap_response_done(&res);
}

static void send_value(struct stream *s, struct span value)
{
	_cleanup_buf_ struct buf data = { 0 }, b = { 0 };

	(s->is_bare ? put_bare_value : put_value)(s, value, &data);
	buf_printf(&b, "data: %s\n\n", buf_str(&data));
	(void)http_stream_send(s->stream, buf_span(&b)); /* a reader that is slow misses values, and gets later ones */
}

static void on_value(void *ctx, struct span value)
{
	struct stream *s = ctx;

	if (s->stream)
		send_value(s, value);
}

static void on_watch_ended(void *ctx, uint8_t code, const char *why)
{
	_cleanup_buf_ struct buf data = { 0 }, b = { 0 };
	struct json_out o = json_writer(&data);
	struct stream *s = ctx;

	if (!s->stream)
		return; /* its request is still to be answered */
	json_open_object(&o, NULL);
	json_int(&o, "status", status_of(code));
	json_str(&o, "detail", why);
	json_close_object(&o);
	buf_printf(&b, "event: ended\ndata: %s\n\n", buf_str(&data));
	(void)http_stream_send(s->stream, buf_span(&b)); /* it ends in any case */
	s->stream = http_stream_close(s->stream);
	stream_free(s);
}

static const struct ble_tree_watcher_ops watcher_ops = { .value = on_value, .ended = on_watch_ended };

static void on_closed(void *ctx)
{
	struct stream *s = ctx;

	s->stream = NULL;
	stream_free(s);
}

static void on_stream_done(void *ctx, const struct ble_tree_answer *a)
{
	struct stream *s = ctx;
	struct span value;

	if (a->res->code != COAP_205_CONTENT || !a->is_observed) {
		if (a->res->code == COAP_205_CONTENT)
			reply_code(s->x, COAP_405_METHOD, "the node does not tell of changes of this value");
		else
			reply(s->x, a->res, true);
		stream_free(s);
		return;
	}
	http_reply_header(s->x, "Cache-Control", "no-store");
	s->stream = http_stream_open(s->x, "text/event-stream", on_closed, s);
	if (!s->stream) {
		stream_free(s);
		return;
	}
	(void)http_stream_send(s->stream, SPAN_LIT("retry: 5000\n\n")); /* the first bytes always fit */
	if (ble_tree_watch_value(s->w, &value))
		send_value(s, value);
	if (!loop_timer_armed(s->h->keepalive))
		loop_timer_set(s->h->keepalive, BLE_HTTP_KEEPALIVE_MS);
}

static void on_keepalive(void *ctx)
{
	struct ble_http *h = ctx;
	struct stream *s, *next;

	loop_timer_set(h->keepalive, BLE_HTTP_KEEPALIVE_MS);
	DL_FOREACH_SAFE(h->streams, s, next) {
		if (s->stream)
			(void)http_stream_send(s->stream, SPAN_LIT(": still here\n\n")); /* a slow reader needs none */
	}
}

static void serve_stream(struct ble_http *h, struct http_exchange *x, struct ble_tree_request *q)
{
	struct stream *s = NEW(struct stream);
	struct coap_response res;
	struct ble_path p;

	coap_response_init(&res);
	s->h = h;
	s->x = x;
	s->is_bare = http_query(x, "bare");
	DL_APPEND(h->streams, s);
	int r = ble_path_parse(q->path, q->n_path, &p);
	if (r == 0 && p.kind == BLE_PATH_VALUE)
		r = ble_tree_watch(h->tree, p.id, p.handle, &watcher_ops, s, &s->w);
	else if (r == 0)
		r = -ENOTSUP;
	if (r < 0) {
		reply_code(x, r == -ENOSPC ? COAP_503_UNAVAILABLE : r == -ENOTSUP ? COAP_406_NOT_ACCEPTABLE : COAP_404_NOT_FOUND,
			   r == -ENOSPC ? "too many values are observed" : r == -ENOTSUP ? "only values have event streams" :
			   "no such node is in range");
		stream_free(s);
		return;
	}
	memcpy(s->id, p.id, sizeof(s->id));
	s->handle = p.handle;
	q->watcher = s->w;
	q->accept = COAP_CF_OCTETS;
	if (ble_tree_ask(h->tree, q, &res, on_stream_done, s) == COAP_HANDLER_DONE) {
		reply(x, &res, true);
		stream_free(s);
	}
	coap_response_done(&res);
}

/* ---- requests ---- */

static uint8_t method_of(enum http_method m)
{
	switch (m) {
	case HTTP_GET:
	case HTTP_HEAD:
		return COAP_M_GET;
	case HTTP_POST:
		return COAP_M_POST;
	case HTTP_PUT:
		return COAP_M_PUT;
	case HTTP_DELETE:
		return COAP_M_DELETE;
	case HTTP_PATCH:
		return COAP_M_PATCH;
	}
	return 0;
}

/* False: not below /hc/ble:/, or deeper than anything there. */
static bool split(const char *path, struct span ret[static BLE_PATH_SEGMENTS_MAX], size_t *ret_n)
{
	size_t n = sizeof(BLE_HTTP_PREFIX) - 2; /* without its last slash */
	struct span rest, piece;

	*ret_n = 0;
	if (strncmp(path, BLE_HTTP_PREFIX, n) != 0 || (path[n] && path[n] != '/'))
		return false;
	if (!path[n] || !path[n + 1])
		return true;
	rest = span_str(path + n + 1);
	while (uri_piece_next(&rest, '/', &piece)) {
		if (*ret_n == BLE_PATH_SEGMENTS_MAX)
			return false;
		ret[(*ret_n)++] = piece;
	}
	return true;
}

void ble_http_serve(struct ble_http *h, struct http_exchange *x, const struct http_request *req, unsigned roles, const char *who)
{
	struct span segment[BLE_PATH_SEGMENTS_MAX];
	struct ble_tree_request q = { .method = method_of(req->method), .path = segment, .prefix = BLE_HTTP_PREFIX, .prefer = COAP_CF_JSON,
				      .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE, .body = req->body, .who = who,
				      .is_unacknowledged = http_query(x, "noresponse") };
	bool is_read = req->method == HTTP_GET || req->method == HTTP_HEAD, is_stream = false;
	struct coap_response res;

	if (!split(req->path, segment, &q.n_path))
		reply_code(x, COAP_404_NOT_FOUND, "only ble: is here, such as /hc/ble:/gap/nodes/passive");
	else if (!(roles & (is_read ? ROLE_VIEWER | ROLE_ADMIN : ROLE_ADMIN)))
		reply_code(x, COAP_403_FORBIDDEN, "this needs the role of an administrator");
	else if (is_read && ble_http_accept(http_header(x, "Accept"), &is_stream, &q.accept) < 0)
		reply_code(x, COAP_406_NOT_ACCEPTABLE, "nothing here has a media type that is accepted");
	else if (!is_read && ble_http_type(http_header(x, "Content-Type"), &q.content_format) < 0)
		reply_code(x, COAP_415_FORMAT, "values are written as application/octet-stream");
	else if (is_stream)
		serve_stream(h, x, &q);
	else {
		coap_response_init(&res);
		if (ble_tree_ask(h->tree, &q, &res, on_done, x) == COAP_HANDLER_DONE)
			reply(x, &res, q.n_path == 3 || q.method != COAP_M_GET);
		coap_response_done(&res);
	}
}

/* ---- life ---- */

struct ble_http *ble_http_new(struct loop *l, struct ble_tree *t)
{
	struct ble_http *h = NEW(struct ble_http);

	h->tree = t;
	h->keepalive = loop_timer_new(l, on_keepalive, h);
	return h;
}

struct ble_http *ble_http_free(struct ble_http *h)
{
	struct stream *s, *next;

	if (!h)
		return NULL;
	DL_FOREACH_SAFE(h->streams, s, next)
		stream_free(s);
	loop_timer_free(h->keepalive);
	free(h);
	return NULL;
}
