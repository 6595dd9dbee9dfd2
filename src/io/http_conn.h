/* io/http_conn.h - inside of the HTTP server: one connection from accept to linger, the exchange
 * being answered on it and the stream it may become. For io/http_*.c only. */
#pragma once
#include <event2/bufferevent.h>
#include <event2/buffer.h>

#include "io/http_parse.h"
#include "io/http_server.h"

enum { HTTP_PEER_BYTES = 80, HTTP_REPLY_HEADERS_BYTES_MAX = 8 * 1024, HTTP_NAMES_MAX = 16 };

struct http_listener;

enum http_conn_state {
	HTTP_CONN_IDLE,                        /* nothing of the next request yet */
	HTTP_CONN_HEAD,
	HTTP_CONN_BODY,
	HTTP_CONN_HANDLING,                    /* the handler owes an answer */
	HTTP_CONN_WRITING,                     /* a whole answer is on its way */
	HTTP_CONN_STREAM,
	HTTP_CONN_LINGER,                      /* all said; waiting for the peer to hear it (RFC 9112 section 9.6) */
};

struct http_conn {
	struct http_conn *prev, *next;         /* of the server; the longest idle first */
	struct http_server *server;
	struct bufferevent *bev;
	struct loop_timer *deadline;
	enum http_conn_state state;
	bool is_unix, is_tls, check_host, eof, close_after;
	unsigned uid;
	char peer[HTTP_PEER_BYTES];
	uint64_t drained, drained_seen;        /* bytes of answers taken by the socket */
	struct http_exchange *x;               /* from the head until the reply */
	struct http_stream *stream;
};

struct http_server {
	struct loop *loop;
	http_handler_fn *fn;
	void *ctx;
	struct http_limits limits;
	char *names[HTTP_NAMES_MAX];
	size_t n_names;
	struct http_listener *listeners[HTTP_LISTENERS_MAX];
	size_t n_listeners;
	struct http_conn *conns;
	size_t n_conns, n_streams;
	bool full_was_logged;
	struct mono full_logged;
};

/* Owns bev from here on. */
void http_conn_new(struct http_server *s, struct bufferevent *bev, const struct http_conn *like);
void http_conn_free(struct http_conn *c);
/* http_reply.c to http_conn.c: an answer was queued. */
void http_conn_replied(struct http_conn *c, bool close);
void http_conn_streaming(struct http_conn *c, struct http_stream *st);
void http_conn_stream_sent(struct http_conn *c);

struct http_exchange *http_exchange_new(struct http_conn *c, char *head_text);
void http_exchange_abandon(struct http_exchange *x);           /* never shown to the handler: free */
void http_exchange_orphan(struct http_exchange *x);            /* its connection is gone */
struct http_head *http_exchange_head(struct http_exchange *x);
struct buf *http_exchange_body(struct http_exchange *x);
struct http_chunks *http_exchange_chunks(struct http_exchange *x);
void http_exchange_handle(struct http_exchange *x);            /* calls the handler */
void http_stream_gone(struct http_stream *st);                 /* its connection is gone: tell and free */
