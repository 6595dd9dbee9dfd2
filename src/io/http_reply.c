/* The answering half of io/http_server.h: exchanges, replies, streams. */
#include "io/http_conn.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/metric.h"
#include "codec/json.h"

struct http_exchange {
	struct http_conn *conn;                /* NULL = gone */
	char *head_text;                       /* what head borrows from */
	struct http_head head;
	struct http_chunks chunks;
	struct buf body;
	struct http_request req;
	char peer[HTTP_PEER_BYTES];
	struct buf headers;                    /* of the reply */
};

struct http_stream {
	struct http_conn *conn;
	bool is_chunked;
	void (*closed)(void *ctx);
	void *ctx;
};

struct http_exchange *http_exchange_new(struct http_conn *c, char *head_text)
{
	struct http_exchange *x = NEW(struct http_exchange);

	x->conn = c;
	x->head_text = head_text;
	x->body.max = HTTP_BODY_BYTES_MAX;
	x->headers.max = HTTP_REPLY_HEADERS_BYTES_MAX;
	memcpy(x->peer, c->peer, sizeof(x->peer));
	return x;
}

void http_exchange_abandon(struct http_exchange *x)
{
	if (x) {
		buf_done(&x->body);
		buf_done(&x->headers);
		free(x->head_text);
		free(x);
	}
}

void http_exchange_orphan(struct http_exchange *x)
{
	x->conn = NULL;
}

struct http_head *http_exchange_head(struct http_exchange *x)
{
	return &x->head;
}

struct buf *http_exchange_body(struct http_exchange *x)
{
	return &x->body;
}

struct http_chunks *http_exchange_chunks(struct http_exchange *x)
{
	return &x->chunks;
}

void http_exchange_handle(struct http_exchange *x)
{
	const struct http_conn *c = x->conn;

	metric_add(METRIC_HTTP_REQUESTS, 1);
	x->req = (struct http_request){
		.method = x->head.method == HTTP_HEAD ? HTTP_GET : (enum http_method)x->head.method,
		.path = x->head.path, .is_unix = c->is_unix, .is_tls = c->is_tls, .peer_uid = c->uid, .peer = x->peer,
		.body = buf_span(&x->body),
	};
	c->server->fn(c->server->ctx, x, &x->req); /* x may be gone */
}

const char *http_query(struct http_exchange *x, const char *key)
{
	for (size_t i = 0; i < x->head.n_query; i++) {
		if (strcmp(x->head.query[i].name, key) == 0)
			return x->head.query[i].value;
	}
	return NULL;
}

const char *http_header(struct http_exchange *x, const char *name)
{
	return http_head_field(&x->head, name);
}

bool http_is_gone(const struct http_exchange *x)
{
	return !x->conn;
}

const char *http_status_title(int status)
{
	static const struct {
		int status;
		const char *title;
	} titles[] = {
		{ 200, "OK" }, { 201, "Created" }, { 202, "Accepted" }, { 204, "No Content" }, { 206, "Partial Content" },
		{ 301, "Moved Permanently" }, { 302, "Found" }, { 303, "See Other" }, { 304, "Not Modified" }, { 307, "Temporary Redirect" },
		{ 308, "Permanent Redirect" }, { 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" },
		{ 404, "Not Found" }, { 405, "Method Not Allowed" }, { 406, "Not Acceptable" }, { 408, "Request Timeout" },
		{ 409, "Conflict" }, { 410, "Gone" }, { 411, "Length Required" }, { 412, "Precondition Failed" },
		{ 413, "Content Too Large" }, { 414, "URI Too Long" }, { 415, "Unsupported Media Type" },
		{ 416, "Range Not Satisfiable" }, { 417, "Expectation Failed" }, { 421, "Misdirected Request" },
		{ 422, "Unprocessable Content" }, { 428, "Precondition Required" }, { 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" }, { 501, "Not Implemented" },
		{ 502, "Bad Gateway" }, { 503, "Service Unavailable" }, { 504, "Gateway Timeout" }, { 505, "HTTP Version Not Supported" },
		{ 507, "Insufficient Storage" },
	};

	for (size_t i = 0; i < sizeof(titles) / sizeof(*titles); i++) {
		if (titles[i].status == status)
			return titles[i].title;
	}
	return "Unknown";
}

void http_reply_header(struct http_exchange *x, const char *name, const char *value)
{
	buf_printf(&x->headers, "%s: ", name);
	for (const char *p = value; *p; p++)
		buf_add_u8(&x->headers, (unsigned char)*p < ' ' || *p == 0x7f ? ' ' : (uint8_t)*p);
	buf_add_str(&x->headers, "\r\n");
}

static void add_date(struct buf *b)
{
	/* Not strftime(): day and month names do not follow the locale (RFC 9110 section 5.6.7). */
	static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t now = (time_t)wall_s(wall_now());
	struct tm tm;

	if (gmtime_r(&now, &tm))
		buf_printf(b, "Date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
			   tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void add_head(struct buf *b, struct http_exchange *x, int status, const char *content_type)
{
	buf_printf(b, "HTTP/1.1 %d %s\r\n", status, http_status_title(status));
	add_date(b);
	if (content_type)
		buf_printf(b, "Content-Type: %s\r\n", content_type);
	if (buf_ok(&x->headers))
		buf_add(b, buf_span(&x->headers));
}

static void conn_write(struct http_conn *c, struct span bytes)
{
	if (bytes.n && bufferevent_write(c->bev, bytes.p, bytes.n) < 0)
		c->close_after = true;         /* memory is gone: what was queued is all there will be */
}

void http_reply(struct http_exchange *x, int status, const char *content_type, struct span body)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct http_conn *c = x->conn;
	bool bodyless = status == 204 || status == 304 || status < 200;

	if (!c) {
		http_exchange_abandon(x);
		return;
	}
	bool close = c->close_after || !x->head.keep_alive || !buf_ok(&x->headers);
	if (!buf_ok(&x->headers)) {
		status = 500;                  /* our own headers over their limit: an answer without them would mislead */
		body = SPAN_NONE;
		bodyless = false;
	}
	add_head(&out, x, status, bodyless || body.n == 0 ? NULL : content_type);
	if (!bodyless)
		buf_printf(&out, "Content-Length: %zu\r\n", body.n);
	buf_add_str(&out, close ? "Connection: close\r\n\r\n" : x->head.is_http10 ? "Connection: keep-alive\r\n\r\n" : "\r\n");
	conn_write(c, buf_span(&out));
	if (!bodyless && x->head.method != HTTP_HEAD)
		conn_write(c, body);
	http_exchange_abandon(x);
	http_conn_replied(c, close);
}

void http_reply_problem(struct http_exchange *x, int status, const char *fmt, ...)
{
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_free_ char *detail = NULL;
	struct json_out j = json_writer(&b);
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&detail, fmt, ap) < 0)
		abort();
	va_end(ap);
	json_open_object(&j, NULL);
	json_str(&j, "type", "about:blank");
	json_str(&j, "title", http_status_title(status));
	json_int(&j, "status", status);
	json_str(&j, "detail", detail);
	json_close_object(&j);
	http_reply(x, status, "application/problem+json", buf_span(&b));
}

/* Streams */

struct http_stream *http_stream_open(struct http_exchange *x, const char *content_type, void (*closed)(void *ctx), void *ctx)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct http_conn *c = x->conn;

	if (!c || x->head.method == HTTP_HEAD) {
		http_reply(x, 200, content_type, SPAN_NONE);
		return NULL;
	}
	if (c->server->n_streams >= HTTP_STREAMS_MAX) {
		http_reply_problem(x, 503, "%d streams are open already", HTTP_STREAMS_MAX);
		return NULL;
	}
	struct http_stream *st = NEW(struct http_stream);
	*st = (struct http_stream){ .conn = c, .is_chunked = !x->head.is_http10, .closed = closed, .ctx = ctx };
	add_head(&out, x, 200, content_type);
	buf_add_str(&out, st->is_chunked ? "Transfer-Encoding: chunked\r\n" : "");
	buf_add_str(&out, "Connection: close\r\n\r\n");
	conn_write(c, buf_span(&out));
	http_exchange_abandon(x);
	http_conn_streaming(c, st);
	return st;
}

int http_stream_send(struct http_stream *st, struct span bytes)
{
	struct evbuffer *out = bufferevent_get_output(st->conn->bev);
	size_t waiting = evbuffer_get_length(out);

	if (bytes.n == 0)                      /* an empty chunk would end it */
		return 0;
	if (waiting > HTTP_STREAM_BYTES_MAX || bytes.n > HTTP_STREAM_BYTES_MAX - waiting)
		return -EAGAIN;
	if (st->is_chunked)
		(void)evbuffer_add_printf(out, "%zx\r\n", bytes.n); /* failures here and below end at the reader as a bad chunk */
	conn_write(st->conn, bytes);
	if (st->is_chunked)
		conn_write(st->conn, SPAN_LIT("\r\n"));
	http_conn_stream_sent(st->conn);
	return 0;
}

struct http_stream *http_stream_close(struct http_stream *st)
{
	if (st) {
		if (st->is_chunked)
			conn_write(st->conn, SPAN_LIT("0\r\n\r\n"));
		st->conn->stream = NULL;
		st->conn->server->n_streams--;
		http_conn_replied(st->conn, true);
		free(st);
	}
	return NULL;
}

void http_stream_gone(struct http_stream *st)
{
	st->conn->server->n_streams--;
	if (st->closed)
		st->closed(st->ctx);
	free(st);
}
