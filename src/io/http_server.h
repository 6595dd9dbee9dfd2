/* io/http_server.h - the HTTP face (libevent evhttp): TCP and Unix sockets, a router on path
 * prefixes, whole request bodies up to a limit, and streams for Server-Sent Events. Loop thread. */
#pragma once
#include "base/buf.h"
#include "io/loop.h"

enum { HTTP_BODY_BYTES_MAX = 1024 * 1024, HTTP_HEADERS_BYTES_MAX = 16 * 1024, HTTP_STREAMS_MAX = 64, HTTP_CONNECTIONS_MAX = 256 };

enum http_method { HTTP_GET = 1, HTTP_HEAD = 2, HTTP_POST = 4, HTTP_PUT = 8, HTTP_DELETE = 16, HTTP_PATCH = 32 };

struct http_server;
struct http_exchange;                          /* one request being answered */
struct http_stream;                            /* an answer that goes on */

struct http_request {
	enum http_method method;
	const char *path;                      /* percent-decoded, starts with '/', no query */
	bool is_unix;                          /* came in by the Unix socket */
	unsigned peer_uid;                     /* SO_PEERCRED, when is_unix */
	const char *peer;                      /* "unix:1000" or "127.0.0.1:4711" */
	struct span body;
};

/* Answer now or later with exactly one http_reply*() or http_stream_open(). */
typedef void http_handler_fn(void *ctx, struct http_exchange *x, const struct http_request *req);

struct http_server *http_server_new(struct loop *l, http_handler_fn *fn, void *ctx);
struct http_server *http_server_free(struct http_server *s);
/* "127.0.0.1:8080", "[::1]:0", "unix:/run/dormouse/api.sock" (replaces a stale socket; mode). TLS when cert_file is given. */
int http_server_listen(struct http_server *s, const char *address, unsigned unix_mode, const char *cert_file, const char *key_file);
const char *http_server_address(struct http_server *s, size_t i);      /* with the real port; NULL past the end */

/* Borrowed until the reply. */
const char *http_query(struct http_exchange *x, const char *key);      /* decoded; NULL = absent */
const char *http_header(struct http_exchange *x, const char *name);    /* NULL = absent */

void http_reply_header(struct http_exchange *x, const char *name, const char *value);  /* before the reply */
void http_reply(struct http_exchange *x, int status, const char *content_type, struct span body);
/* problem+json (RFC 9457) with title from the status and this detail. */
void http_reply_problem(struct http_exchange *x, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* text/event-stream or other endless body. closed(ctx) when the reader is gone; then the stream is too. */
struct http_stream *http_stream_open(struct http_exchange *x, const char *content_type, void (*closed)(void *ctx), void *ctx);
/* -EAGAIN: the reader is slow and over its buffer (256 KiB): nothing was queued. */
int http_stream_send(struct http_stream *st, struct span bytes);
struct http_stream *http_stream_close(struct http_stream *st);
