/* io/http_server.h - the HTTP face: HTTP/1.1 on libevent's buffered sockets, over TCP, TLS and Unix
 * sockets; one handler for all, whole request bodies up to a limit, streams for Server-Sent
 * Events. One request of a connection is answered at a time.
 *
 * Not evhttp: it ends the process when a peer talks during a stream, has no limit on how long a
 * head may take nor on connections, and cannot tell that the reader of an idle stream is gone.
 *
 * Refused before the handler sees it: anything http_parse.h finds wrong (400), heads over
 * HTTP_HEADERS_BYTES_MAX (431), bodies over HTTP_BODY_BYTES_MAX (413), unknown methods (501), and on loopback
 * addresses a Host that is no literal address, localhost or name of ours (421: DNS rebinding).
 * Loop thread. */
#pragma once
#include "base/buf.h"
#include "io/loop.h"

enum {
	HTTP_BODY_BYTES_MAX = 1024 * 1024,
	HTTP_HEADERS_BYTES_MAX = 16 * 1024,
	HTTP_STREAMS_MAX = 64,
	HTTP_STREAM_BYTES_MAX = 256 * 1024,    /* waiting for a slow reader */
	HTTP_CONNECTIONS_MAX = 256,            /* one in eight of them is kept for Unix sockets */
	HTTP_LISTENERS_MAX = 8,
};

enum http_method { HTTP_GET = 1, HTTP_HEAD = 2, HTTP_POST = 4, HTTP_PUT = 8, HTTP_DELETE = 16, HTTP_PATCH = 32 };

struct http_server;
struct http_exchange;                          /* one request being answered */
struct http_stream;                            /* an answer that goes on */

struct http_request {
	enum http_method method;               /* HEAD comes as HTTP_GET; its answer is sent without the body */
	const char *path;                      /* percent-decoded, starts with '/', no query, no dot segments, clean UTF-8 */
	bool is_unix;                          /* came in by the Unix socket */
	bool is_tls;
	unsigned peer_uid;                     /* SO_PEERCRED, when is_unix */
	const char *peer;                      /* "unix:1000" or "127.0.0.1:4711" */
	struct span body;
};

/* Answer now or later with exactly one http_reply*() or http_stream_open(), also when the asker has gone
 * (it frees the exchange). req is borrowed until then. The handler may not free the server. */
typedef void http_handler_fn(void *ctx, struct http_exchange *x, const struct http_request *req);

struct http_server *http_server_new(struct loop *l, http_handler_fn *fn, void *ctx);
/* Open streams get their closed(); exchanges not answered yet stay their owner's to answer. */
struct http_server *http_server_free(struct http_server *s);

struct http_limits {
	unsigned head_ms;                      /* from the first byte of a request to the end of its head; also the TLS handshake */
	unsigned body_ms;                      /* for the body */
	unsigned idle_ms;                      /* between requests */
	unsigned write_ms;                     /* without a byte of an answer being taken */
	unsigned n_connections;                /* at most HTTP_CONNECTIONS_MAX */
};
#define HTTP_LIMITS_DEFAULT ((struct http_limits){ 30000, 60000, 60000, 30000, HTTP_CONNECTIONS_MAX })
void http_server_set_limits(struct http_server *s, const struct http_limits *limits);
/* Names, besides localhost, that may stand in Host on loopback listeners; copied, replacing those before. */
void http_server_set_names(struct http_server *s, const char *const *names, size_t n);

/**
 * Listen on "127.0.0.1:8080", "[::1]:0", or "unix:/run/dormouse/api.sock" (mode unix_mode from its first
 * instant; a socket nobody listens on any more is replaced). TLS >= 1.2 when cert_file is given.
 *
 * Returns 0; -EBADMSG not such an address, -EPERM neither loopback nor TLS, -EADDRINUSE, -EADDRNOTAVAIL, -EACCES,
 *         -EEXIST the path is something else, -ENOENT no such folder, -ENAMETOOLONG, -EKEYREJECTED certificate or key
 *         unusable or not belonging together, -ENOSPC over HTTP_LISTENERS_MAX.
 */
int http_server_listen(struct http_server *s, const char *address, unsigned unix_mode, const char *cert_file, const char *key_file);
const char *http_server_address(struct http_server *s, size_t i);      /* with the real port; NULL past the end */

/* Borrowed until the reply. */
const char *http_query(struct http_exchange *x, const char *key);      /* decoded, first of the name; NULL = absent */
const char *http_header(struct http_exchange *x, const char *name);    /* NULL = absent */
bool http_is_gone(const struct http_exchange *x);                      /* nobody waits for the answer any more */

/* Before the reply. Control characters in value become blanks. */
void http_reply_header(struct http_exchange *x, const char *name, const char *value);
/* Content-Length and Date are set here; content_type may be NULL. */
void http_reply(struct http_exchange *x, int status, const char *content_type, struct span body);
/* problem+json (RFC 9457) with title from the status and this detail. */
void http_reply_problem(struct http_exchange *x, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
const char *http_status_title(int status);                             /* "Not Found"; "Unknown" for others */

/* text/event-stream or other endless body. closed(ctx) when the reader is gone; then the stream is too.
 * NULL when there is nothing to send to: HEAD (answered), HTTP_STREAMS_MAX are open (answered 503), the asker has
 * gone; closed is not called then, and x is freed as ever. */
struct http_stream *http_stream_open(struct http_exchange *x, const char *content_type, void (*closed)(void *ctx), void *ctx);
/* -EAGAIN: the reader is slow and over its buffer (HTTP_STREAM_BYTES_MAX): nothing was queued. */
int http_stream_send(struct http_stream *st, struct span bytes);
struct http_stream *http_stream_close(struct http_stream *st);         /* closed is not called */
