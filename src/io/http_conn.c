#include "io/http_conn.h"

#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/mem.h"

enum {
	HTTP_READ_BYTES_MAX = 64 * 1024,       /* read ahead of what is being handled */
	HTTP_LINGER_MS = 2000,
};

static void conn_run(struct http_conn *c);

static struct evbuffer *conn_input(struct http_conn *c)
{
	return bufferevent_get_input(c->bev);
}

static void conn_enter(struct http_conn *c, enum http_conn_state state, int64_t deadline_ms)
{
	c->state = state;
	c->drained_seen = c->drained;
	loop_timer_set(c->deadline, deadline_ms);
}

static void conn_idle(struct http_conn *c)
{
	conn_enter(c, HTTP_CONN_IDLE, c->server->limits.idle_ms);
	DL_DELETE(c->server->conns, c);        /* the longest idle stay in front */
	DL_APPEND(c->server->conns, c);
}

void http_conn_free(struct http_conn *c)
{
	struct http_server *s = c->server;

	DL_DELETE(s->conns, c);
	s->n_conns--;
	loop_timer_free(c->deadline);
	if (c->x && c->state == HTTP_CONN_HANDLING)
		http_exchange_orphan(c->x);
	else
		http_exchange_abandon(c->x);
	if (c->stream)
		http_stream_gone(c->stream);
	bufferevent_free(c->bev);
	free(c);
}

/* All is said: let the peer read it before the socket goes, or a reset might overtake the answer. */
static void conn_linger(struct http_conn *c)
{
	SSL *ssl = c->is_tls ? bufferevent_openssl_get_ssl(c->bev) : NULL;

	if (c->eof) {
		http_conn_free(c);
		return;
	}
	if (ssl)
		(void)SSL_shutdown(ssl);       /* a courtesy; the socket goes either way */
	(void)shutdown(bufferevent_getfd(c->bev), SHUT_WR); /* likewise */
	conn_enter(c, HTTP_CONN_LINGER, HTTP_LINGER_MS);
	(void)evbuffer_drain(conn_input(c), evbuffer_get_length(conn_input(c))); /* fails only for a frozen buffer */
}

void http_conn_replied(struct http_conn *c, bool close)
{
	c->x = NULL;
	if (close)
		c->close_after = true;
	conn_enter(c, HTTP_CONN_WRITING, c->server->limits.write_ms);
	if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0) /* nothing will drain: go on all the same */
		bufferevent_trigger(c->bev, EV_WRITE, BEV_TRIG_DEFER_CALLBACKS);
}

void http_conn_streaming(struct http_conn *c, struct http_stream *st)
{
	c->x = NULL;
	c->stream = st;
	c->server->n_streams++;
	c->close_after = true;
	conn_enter(c, HTTP_CONN_STREAM, c->server->limits.write_ms);
	if (c->eof)                            /* the asker hung up while the handler thought */
		bufferevent_trigger_event(c->bev, BEV_EVENT_EOF, BEV_TRIG_DEFER_CALLBACKS);
}

void http_conn_stream_sent(struct http_conn *c)
{
	if (loop_timer_armed(c->deadline))
		return;
	c->drained_seen = c->drained;
	loop_timer_set(c->deadline, c->server->limits.write_ms);
}

/* A request that does not reach the handler: answer and close, since what follows cannot be trusted. */
static void conn_refuse(struct http_conn *c, int status, const char *why)
{
	if (!c->x)
		c->x = http_exchange_new(c, NULL);
	c->close_after = true;
	http_reply_problem(c->x, status, "%s", why);
}

static const char *refusal_text(int status)
{
	switch (status) {
	case 414:
		return "the request target is too long";
	case 417:
		return "only 100-continue can be expected";
	case 431:
		return "too many or too long header fields";
	case 501:
		return "unknown method or transfer coding";
	case 505:
		return "only HTTP/1.1 is spoken here";
	default:
		return "the request is malformed";
	}
}

/* The head is in x: may this request come in? */
static void conn_admit(struct http_conn *c)
{
	const struct http_head *h = http_exchange_head(c->x);
	const struct http_server *s = c->server;

	if (c->check_host && (h->host || !h->is_http10) &&
	    !http_host_is_known(h->host, (const char *const *)s->names, s->n_names)) {
		conn_refuse(c, 421, "the Host is not a name of this gateway");
		return;
	}
	if (h->body_bytes > HTTP_BODY_BYTES_MAX) {
		conn_refuse(c, 413, "the body is too large");
		return;
	}
	conn_enter(c, HTTP_CONN_BODY, s->limits.body_ms);
	if (h->expects_continue && (h->is_chunked || h->body_bytes > 0) && evbuffer_get_length(conn_input(c)) == 0)
		(void)bufferevent_write(c->bev, "HTTP/1.1 100 Continue\r\n\r\n", 25); /* the peer goes on without it, too */
}

/* True when a whole head was taken from the input (and judged). */
static bool conn_read_head(struct http_conn *c)
{
	struct evbuffer *in = conn_input(c);
	char ahead[2];

	while (evbuffer_copyout(in, ahead, 2) == 2 && memcmp(ahead, "\r\n", 2) == 0)
		(void)evbuffer_drain(in, 2);   /* RFC 9112 section 2.2; there, as just seen */
	size_t have = evbuffer_get_length(in);
	if (have > 0 && c->state == HTTP_CONN_IDLE)
		conn_enter(c, HTTP_CONN_HEAD, c->server->limits.head_ms);
	struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
	size_t n = end.pos < 0 ? have : (size_t)end.pos + 4;
	if (n > HTTP_HEADERS_BYTES_MAX) {
		bool in_first_line = evbuffer_search(in, "\r\n", 2, NULL).pos < 0;
		conn_refuse(c, in_first_line ? 414 : 431, refusal_text(in_first_line ? 414 : 431));
		return true;
	}
	if (end.pos < 0)
		return false;
	char *text = mem_new(n + 1, 1);
	(void)evbuffer_remove(in, text, n); /* that much is there */
	c->x = http_exchange_new(c, text);
	int status = http_head_parse(text, n, http_exchange_head(c->x));
	if (status)
		conn_refuse(c, status, refusal_text(status));
	else
		conn_admit(c);
	return true;
}

static int conn_read_chunks(struct http_conn *c, struct evbuffer *in)
{
	int r = 0;

	while (r == 0) {
		size_t n = evbuffer_get_contiguous_space(in), used;
		if (n == 0)
			return 0;
		r = http_chunks_feed(http_exchange_chunks(c->x), SPAN(evbuffer_pullup(in, (ev_ssize_t)n), n),
				     http_exchange_body(c->x), &used);
		(void)evbuffer_drain(in, used); /* that much was there */
	}
	return r;
}

/* 1 whole, 0 more to come, or -errno. */
static int conn_read_plain(struct http_conn *c, struct evbuffer *in)
{
	struct buf *body = http_exchange_body(c->x);
	size_t want = (size_t)http_exchange_head(c->x)->body_bytes - body->n, have = evbuffer_get_length(in);
	size_t n = want < have ? want : have;
	uint8_t *to = n ? buf_grow(body, n) : NULL;

	if (n && !to)
		return -EMSGSIZE;
	if (n)
		(void)evbuffer_remove(in, to, n); /* that much is there */
	return n == want;
}

/* True when the request went to the handler or was refused. */
static bool conn_read_body(struct http_conn *c)
{
	struct evbuffer *in = conn_input(c);
	int r = http_exchange_head(c->x)->is_chunked ? conn_read_chunks(c, in) : conn_read_plain(c, in);

	if (r == -EMSGSIZE) {
		conn_refuse(c, 413, "the body is too large");
	} else if (r < 0) {
		conn_refuse(c, 400, "the chunked body is malformed");
	} else if (r > 0) {
		conn_enter(c, HTTP_CONN_HANDLING, -1);
		http_exchange_handle(c->x);
	}
	return r != 0;
}

/* As far as the input goes. May free c. */
static void conn_run(struct http_conn *c)
{
	bool progress = true;

	while (progress) {
		switch (c->state) {
		case HTTP_CONN_IDLE:
		case HTTP_CONN_HEAD:
			progress = conn_read_head(c);
			break;
		case HTTP_CONN_BODY:
			progress = conn_read_body(c);
			break;
		case HTTP_CONN_STREAM:
		case HTTP_CONN_LINGER:
			(void)evbuffer_drain(conn_input(c), evbuffer_get_length(conn_input(c))); /* nobody listens */
			return;
		case HTTP_CONN_HANDLING:
		case HTTP_CONN_WRITING:
			return;
		}
	}
	if (c->eof)
		http_conn_free(c);             /* what is missing will not come */
}

static void read_cb(struct bufferevent *bev, void *arg)
{
	struct http_conn *c = arg;
	struct loop *l = c->server->loop;
	int64_t entered = loop_enter(l);

	conn_run(c);
	loop_leave(l, "http request", entered);
}

static void write_cb(struct bufferevent *bev, void *arg)
{
	struct http_conn *c = arg;
	struct loop *l = c->server->loop;
	int64_t entered = loop_enter(l);

	if (c->state == HTTP_CONN_WRITING && evbuffer_get_length(bufferevent_get_output(bev)) == 0) {
		if (c->close_after) {
			conn_linger(c);
		} else {
			conn_idle(c);
			conn_run(c);
		}
	}
	loop_leave(l, "http answer", entered);
}

static void event_cb(struct bufferevent *bev, short what, void *arg)
{
	struct http_conn *c = arg;

	if (what & BEV_EVENT_ERROR) {
		http_conn_free(c);
		return;
	}
	if (!(what & BEV_EVENT_EOF))
		return;                        /* the TLS handshake is done */
	c->eof = true;
	/* A peer may half-close after its request and still read the answer; of a stream we only see that it ended. */
	if (c->state != HTTP_CONN_HANDLING && c->state != HTTP_CONN_WRITING)
		http_conn_free(c);
}

static void drained_cb(struct evbuffer *out, const struct evbuffer_cb_info *info, void *arg)
{
	struct http_conn *c = arg;

	c->drained += info->n_deleted;
}

static void deadline_cb(void *ctx)
{
	struct http_conn *c = ctx;

	switch (c->state) {
	case HTTP_CONN_HEAD:
	case HTTP_CONN_BODY:
		conn_refuse(c, 408, "the request took too long");
		return;
	case HTTP_CONN_STREAM:
		if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0)
			return;                /* armed again by the next send */
		break;
	case HTTP_CONN_WRITING:
		break;
	case HTTP_CONN_IDLE:
	case HTTP_CONN_LINGER:
	case HTTP_CONN_HANDLING:
		http_conn_free(c);
		return;
	}
	if (c->drained == c->drained_seen)
		http_conn_free(c);
	else
		conn_enter(c, c->state, c->server->limits.write_ms);
}

void http_conn_new(struct http_server *s, struct bufferevent *bev, const struct http_conn *like)
{
	struct http_conn *c = NEW(struct http_conn);

	*c = *like;
	c->server = s;
	c->bev = bev;
	c->deadline = loop_timer_new(s->loop, deadline_cb, c);
	s->n_conns++;
	DL_APPEND(s->conns, c);
	conn_enter(c, HTTP_CONN_IDLE, s->limits.head_ms);
	if (!evbuffer_add_cb(bufferevent_get_output(bev), drained_cb, c))
		abort();                       /* memory is gone */
	bufferevent_setcb(bev, read_cb, write_cb, event_cb, c);
	bufferevent_setwatermark(bev, EV_READ, 0, HTTP_READ_BYTES_MAX);
	if (bufferevent_enable(bev, EV_READ | EV_WRITE) < 0)
		http_conn_free(c);
}
