/* io/http_server against raw sockets: what it answers, what it refuses, and whom it shows the door. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <sys/stat.h>

#include "io/http_server.h"
#include "wire.h"

struct site {
	struct loop *loop;
	struct http_server *server;
	struct http_exchange *later;
	struct http_stream *stream;
	int n_requests, n_closed;
	char dir[64];
};

static void stream_closed(void *ctx)
{
	struct site *s = ctx;

	s->stream = NULL;
	s->n_closed++;
	loop_stop(s->loop);
}

static void echo(struct http_exchange *x, const struct http_request *req)
{
	_cleanup_buf_ struct buf b = { 0 };
	const char *q = http_query(x, "q"), *h = http_header(x, "x-test");

	buf_printf(&b, "%d %s q=%s h=%s unix=%d uid=%u tls=%d peer=%s body=", (int)req->method, req->path, q ? q : "-", h ? h : "-",
		   req->is_unix, req->peer_uid, req->is_tls, req->is_unix ? req->peer : "tcp");
	buf_add(&b, req->body);
	http_reply_header(x, "X-Reply", "a\r\nInjected: b");
	http_reply(x, 200, "text/plain", buf_span(&b));
}

static void handle(void *ctx, struct http_exchange *x, const struct http_request *req)
{
	struct site *s = ctx;

	s->n_requests++;
	if (strcmp(req->path, "/later") == 0) {
		s->later = x;
		loop_stop(s->loop);
	} else if (strcmp(req->path, "/stream") == 0) {
		struct http_stream *st = http_stream_open(x, "text/event-stream", stream_closed, s);
		if (st)
			s->stream = st;
	} else if (strcmp(req->path, "/empty") == 0) {
		http_reply(x, 204, NULL, SPAN_NONE);
	} else if (strcmp(req->path, "/big") == 0) {
		_cleanup_buf_ struct buf b = { 0 };
		memset(buf_grow(&b, 8 * 1024 * 1024), 'x', 8 * 1024 * 1024);
		http_reply(x, 200, "text/plain", buf_span(&b));
	} else if (strcmp(req->path, "/problem") == 0) {
		http_reply_problem(x, 404, "no \"%s\" \x01\xff here", "thing");
	} else if (strcmp(req->path, "/headers") == 0) {
		for (int i = 0; i < 1000; i++)
			http_reply_header(x, "X-Long", "0123456789");
		http_reply(x, 200, "text/plain", SPAN_LIT("secret"));
	} else {
		echo(x, req);
	}
}

static void site_open(struct site *s)
{
	*s = (struct site){ .loop = loop_new() };
	s->server = http_server_new(s->loop, handle, s);
	(void)strcpy(s->dir, "/tmp/dormouse-http-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	assert_int_equal(http_server_listen(s->server, "127.0.0.1:0", 0, NULL, NULL), 0);
}

static void site_close(struct site *s)
{
	http_server_free(s->server);
	loop_free(s->loop);
	assert_int_equal(rmdir(s->dir), 0);    /* sockets were removed */
}

static void site_limits(struct site *s, unsigned head_ms, unsigned body_ms, unsigned idle_ms, unsigned write_ms, unsigned n)
{
	http_server_set_limits(s->server, &(struct http_limits){ head_ms, body_ms, idle_ms, write_ms, n });
}

static void dial(struct site *s, struct wire *w)
{
	wire_connect(w, s->loop, http_server_address(s->server, 0));
}

/* Say, half-close never, wait for what is expected. */
static void ask(struct site *s, const char *say, const char *expect)
{
	struct wire w;

	dial(s, &w);
	wire_say(&w, span_str(say));
	wire_wait(&w, expect);
	wire_close(&w);
}

#define GET(path_) "GET " path_ " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static void requests_are_answered(void **state)
{
	static const struct {
		const char *say, *expect;
	} cases[] = {
		{ GET("/"), "HTTP/1.1 200 OK\r\nDate: " },
		{ GET("/a%20b?q=1+2"), "\r\n\r\n1 /a b q=1 2 h=- unix=0 uid=0 tls=0 peer=tcp body=" },
		{ GET("/"), "\r\nContent-Length: 45\r\n" },
		{ GET("/"), "\r\nX-Reply: a  Injected: b\r\n" },
		{ GET("/empty"), "HTTP/1.1 204 No Content\r\n" },
		{ "\r\n\r\n" GET("/"), "HTTP/1.1 200 OK" },
		{ "POST / HTTP/1.1\r\nHost: localhost\r\nX-TEST: v\r\nContent-Length: 5\r\n\r\nhello", "4 / q=- h=v unix=0 uid=0 tls=0 peer=tcp body=hello" },
		{ "PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "body=hello" },
		{ "GET / HTTP/1.0\r\n\r\n", "Connection: close" },
		{ "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "Connection: keep-alive" },
		{ "BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 501 Not Implemented" },
		{ "rubbish\r\n\r\n", "HTTP/1.1 400 Bad Request" },
		{ "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "HTTP/1.1 400 Bad Request" },
		{ GET("/problem"), "HTTP/1.1 404 Not Found" },
		{ GET("/headers"), "HTTP/1.1 500 " },
	};
	struct site s;

	site_open(&s);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		ask(&s, cases[i].say, cases[i].expect);
	site_close(&s);
}

static void problems_are_json_whatever_the_detail(void **state)
{
	struct site s;
	struct wire w;

	site_open(&s);
	dial(&s, &w);
	wire_say(&w, SPAN_LIT(GET("/problem")));
	wire_wait(&w, "}");
	assert_true(wire_has(&w, "Content-Type: application/problem+json\r\n"));
	assert_true(wire_has(&w, "\"type\":\"about:blank\""));
	assert_true(wire_has(&w, "\"title\":\"Not Found\""));
	assert_true(wire_has(&w, "\"status\":404"));
	assert_true(wire_has(&w, "\"detail\":\"no \\\"thing\\\" "));
	wire_close(&w);
	site_close(&s);
}

static void head_gets_the_length_but_no_body(void **state)
{
	struct site s;
	struct wire w;

	site_open(&s);
	dial(&s, &w);
	wire_say(&w, SPAN_LIT("HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
	wire_wait_eof(&w);
	assert_true(wire_has(&w, "Content-Length: 45\r\n"));
	assert_memory_equal(w.in.p + w.in.n - 4, "\r\n\r\n", 4);
	assert_int_equal(wire_count(&w, "\r\n\r\n"), 1);
	wire_close(&w);
	dial(&s, &w);
	wire_say(&w, SPAN_LIT("HEAD /stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
	wire_wait_eof(&w);
	assert_true(wire_has(&w, "200 OK"));
	assert_null(s.stream);
	wire_close(&w);
	site_close(&s);
}

static void a_request_may_come_byte_by_byte(void **state)
{
	static const char in[] = "POST /slow?q=x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
	struct site s;
	struct wire w;

	site_open(&s);
	dial(&s, &w);
	for (size_t i = 0; i < sizeof(in) - 1; i++) {
		wire_say(&w, SPAN(in + i, 1));
		(void)loop_run_for(s.loop, 0); /* one more turn or two */
	}
	wire_wait(&w, "/slow q=x h=- unix=0 uid=0 tls=0 peer=tcp body=hello");
	wire_close(&w);
	site_close(&s);
}

static void a_connection_is_kept_and_pipelined_requests_keep_their_order(void **state)
{
	struct site s;
	struct wire w;
	_cleanup_buf_ struct buf b = { 0 };

	site_open(&s);
	dial(&s, &w);
	for (int i = 0; i < 100; i++)
		buf_printf(&b, "GET /n%d HTTP/1.1\r\nHost: localhost\r\n%s\r\n", i, i == 99 ? "Connection: close\r\n" : "");
	wire_say(&w, buf_span(&b));
	wire_wait_eof(&w);
	assert_int_equal(wire_count(&w, "200 OK"), 100);
	assert_int_equal(s.n_requests, 100);
	const uint8_t *last = w.in.p;
	for (int i = 0; i < 100; i++) {
		char path[16];
		(void)snprintf(path, sizeof(path), " /n%d ", i);
		last = memmem(last, (size_t)(w.in.p + w.in.n - last), path, strlen(path));
		assert_non_null(last);
	}
	wire_close(&w);
	site_close(&s);
}

static void a_body_is_asked_for_when_the_peer_waits(void **state)
{
	struct site s;
	struct wire w;

	site_open(&s);
	dial(&s, &w);
	wire_say(&w, SPAN_LIT("POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
	wire_wait(&w, "HTTP/1.1 100 Continue\r\n\r\n");
	assert_int_equal(s.n_requests, 0);
	wire_say(&w, SPAN_LIT("ok"));
	wire_wait(&w, "body=ok");
	wire_close(&w);
	site_close(&s);
}

static void say_many(struct wire *w, const char *before, char c, size_t n, const char *after)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_add_str(&b, before);
	memset(buf_grow(&b, n), c, n);
	buf_add_str(&b, after);
	wire_say(w, buf_span(&b));
}

static void sizes_are_limited_and_the_refusal_is_readable(void **state)
{
	static const struct {
		const char *before;
		size_t n;
		const char *after, *expect;
	} cases[] = {
		{ "GET /", HTTP_HEADERS_BYTES_MAX + 1, "", "414 URI Too Long" },
		{ "GET / HTTP/1.1\r\nHost: localhost\r\nX: ", HTTP_HEADERS_BYTES_MAX, "", "431 Request Header Fields Too Large" },
		{ "GET / HTTP/1.1\r\nHost: localhost\r\nX: ", HTTP_HEADERS_BYTES_MAX, "\r\n\r\n", "431 " },
		{ "GET / HTTP/1.1\r\nHost: localhost\r\nX: ", HTTP_HEADERS_BYTES_MAX - 50, "\r\n\r\n", "200 OK" },
		{ "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n", HTTP_BODY_BYTES_MAX, "", "200 OK" },
		{ "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048577\r\n\r\n", HTTP_BODY_BYTES_MAX + 1, "", "413 Content Too Large" },
		{ "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 107374182400\r\n\r\n", 3000000, "", "413 Content Too Large" },
		{ "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n", HTTP_BODY_BYTES_MAX,
		  "\r\n0\r\n\r\n", "200 OK" },
		{ "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n", HTTP_BODY_BYTES_MAX + 1, "\r\n0\r\n\r\n",
		  "413 Content Too Large" },
	};
	struct site s;

	site_open(&s);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct wire w;
		dial(&s, &w);
		say_many(&w, cases[i].before, 'a', cases[i].n, cases[i].after);
		wire_wait(&w, cases[i].expect);
		if (*cases[i].expect == '4')
			wire_wait_eof(&w);
		wire_close(&w);
	}
	site_close(&s);
}

static void slow_peers_are_let_go(void **state)
{
	static const struct {
		const char *say, *expect;
	} cases[] = {
		{ "GET / HT", "408 Request Timeout" },                       /* slowloris, head */
		{ "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1234", "408 Request Timeout" },
		{ "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", "408 Request Timeout" },
		{ "", "" },                                                  /* never says anything */
		{ GET("/"), "200 OK" },                                      /* idle after its answer */
	};
	struct site s;

	site_open(&s);
	site_limits(&s, 30, 30, 30, 1000, HTTP_CONNECTIONS_MAX);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct wire w;
		dial(&s, &w);
		wire_say(&w, span_str(cases[i].say));
		wire_wait_eof(&w);
		assert_true(w.in.n == 0 ? !*cases[i].expect : wire_has(&w, cases[i].expect));
		wire_close(&w);
	}
	site_close(&s);
}

struct dripper {
	struct wire *wire;
	struct loop_timer *timer;
};

static void drip(void *ctx)
{
	struct dripper *d = ctx;

	wire_say(d->wire, SPAN_LIT("a"));
	loop_timer_set(d->timer, 5);
}

static void a_dripping_head_does_not_extend_its_time(void **state)
{
	struct site s;
	struct wire w;
	struct dripper d = { .wire = &w };
	struct mono began = mono_now();

	site_open(&s);
	site_limits(&s, 100, 100, 100, 1000, HTTP_CONNECTIONS_MAX);
	dial(&s, &w);
	wire_say(&w, SPAN_LIT("GET /"));
	d.timer = loop_timer_new(s.loop, drip, &d);
	loop_timer_set(d.timer, 5);
	wire_wait(&w, "408 Request Timeout");
	assert_true(mono_diff_ms(mono_now(), began) >= 100);
	loop_timer_free(d.timer);
	wire_close(&w);
	site_close(&s);
}

static void a_reader_that_takes_nothing_is_let_go(void **state)
{
	struct site s;
	struct wire w;

	site_open(&s);
	site_limits(&s, 1000, 1000, 1000, 50, HTTP_CONNECTIONS_MAX);
	dial(&s, &w);
	wire_stop_reading(&w);
	wire_say(&w, SPAN_LIT(GET("/big")));
	for (int i = 0; i < WIRE_LIMIT_MS / 10 && s.n_requests == 0; i++)
		assert_int_equal(loop_run_for(s.loop, 10), -ETIMEDOUT);
	assert_int_equal(loop_run_for(s.loop, 300), -ETIMEDOUT); /* from the answer on, six times what a write may stand still */
	wire_go_on_reading(&w);
	wire_wait_eof(&w);
	assert_true(w.in.n < 8 * 1024 * 1024);
	wire_close(&w);
	dial(&s, &w);                          /* while a slow one that goes on gets all of it */
	wire_say(&w, SPAN_LIT("GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
	wire_wait_eof(&w);
	assert_true(w.in.n > 8 * 1024 * 1024);
	wire_close(&w);
	site_close(&s);
}

static void names_from_elsewhere_are_refused_on_loopback(void **state)
{
	struct site s;

	site_open(&s);
	ask(&s, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421 Misdirected Request");
	ask(&s, "GET / HTTP/1.1\r\nHost: gw.example:8080\r\n\r\n", "421 ");
	ask(&s, "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "421 ");
	ask(&s, "GET / HTTP/1.1\r\nHost:\r\n\r\n", "421 ");
	assert_int_equal(s.n_requests, 0);
	http_server_set_names(s.server, (const char *[]){ "gw.example" }, 1);
	ask(&s, "GET / HTTP/1.1\r\nHost: gw.example:8080\r\n\r\n", "200 OK");
	ask(&s, "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "200 OK");
	ask(&s, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "200 OK");
	site_close(&s);
}

static void an_answer_may_come_later_or_for_nobody(void **state)
{
	struct site s;
	struct wire w;

	site_open(&s);
	dial(&s, &w);
	wire_say(&w, SPAN_LIT(GET("/later") GET("/next")));
	assert_int_equal(loop_run_for(s.loop, WIRE_LIMIT_MS), 0);
	assert_non_null(s.later);
	assert_false(http_is_gone(s.later));
	http_reply(s.later, 200, "text/plain", SPAN_LIT("at last"));
	wire_wait(&w, "/next");
	assert_true(wire_has(&w, "at last"));
	wire_say(&w, SPAN_LIT(GET("/later")));
	assert_int_equal(loop_run_for(s.loop, WIRE_LIMIT_MS), 0);
	(void)setsockopt(w.fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger)); /* reset */
	wire_close(&w);
	for (int i = 0; i < 1000 && !http_is_gone(s.later); i++)
		(void)loop_run_for(s.loop, 1);
	assert_true(http_is_gone(s.later));
	http_reply(s.later, 200, NULL, SPAN_LIT("too late"));
	dial(&s, &w);
	wire_say(&w, SPAN_LIT(GET("/later")));
	assert_int_equal(loop_run_for(s.loop, WIRE_LIMIT_MS), 0);
	s.server = http_server_free(s.server);
	assert_true(http_is_gone(s.later));
	assert_null(http_stream_open(s.later, "text/plain", stream_closed, &s));
	assert_int_equal(s.n_closed, 0);
	wire_close(&w);
	site_close(&s);
}

static void a_half_closed_peer_still_gets_its_answer(void **state)
{
	struct site s;
	struct wire w;

	site_open(&s);
	dial(&s, &w);
	wire_say(&w, SPAN_LIT(GET("/later")));
	assert_int_equal(loop_run_for(s.loop, WIRE_LIMIT_MS), 0);
	assert_int_equal(shutdown(w.fd, SHUT_WR), 0);
	(void)loop_run_for(s.loop, 5);
	http_reply(s.later, 200, "text/plain", SPAN_LIT("still here"));
	wire_wait_eof(&w);
	assert_true(wire_has(&w, "still here"));
	wire_close(&w);
	site_close(&s);
}

static void a_stream_goes_on_until_closed_by_us(void **state)
{
	struct site s;
	struct wire w;

	site_open(&s);
	dial(&s, &w);
	wire_say(&w, SPAN_LIT(GET("/stream")));
	wire_wait(&w, "\r\n\r\n");
	assert_true(wire_has(&w, "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"));
	assert_int_equal(http_stream_send(s.stream, SPAN_LIT("data: 1\n\n")), 0);
	assert_int_equal(http_stream_send(s.stream, SPAN_NONE), 0); /* does not end it */
	wire_wait(&w, "9\r\ndata: 1\n\n\r\n");
	wire_say(&w, SPAN_LIT("noise from a peer that should be silent" GET("/")));
	assert_int_equal(http_stream_send(s.stream, SPAN_LIT("data: 2\n\n")), 0);
	wire_wait(&w, "data: 2");
	assert_null(http_stream_close(s.stream));
	wire_wait_eof(&w);
	assert_memory_equal(w.in.p + w.in.n - 5, "0\r\n\r\n", 5);
	assert_int_equal(s.n_closed, 0);
	assert_int_equal(s.n_requests, 1);
	wire_close(&w);
	site_close(&s);
}

static void a_stream_for_http10_is_plain_and_ends_with_the_connection(void **state)
{
	struct site s;
	struct wire w;

	site_open(&s);
	dial(&s, &w);
	wire_say(&w, SPAN_LIT("GET /stream HTTP/1.0\r\n\r\n"));
	wire_wait(&w, "\r\n\r\n");
	assert_int_equal(http_stream_send(s.stream, SPAN_LIT("data: 1\n\n")), 0);
	wire_wait(&w, "\r\n\r\ndata: 1\n\n");
	http_stream_close(s.stream);
	wire_wait_eof(&w);
	assert_false(wire_has(&w, "chunked"));
	wire_close(&w);
	site_close(&s);
}

static void the_leaving_of_a_silent_reader_is_noticed(void **state)
{
	struct site s;
	struct wire w;

	site_open(&s);
	dial(&s, &w);
	wire_say(&w, SPAN_LIT(GET("/stream")));
	wire_wait(&w, "\r\n\r\n");
	wire_close(&w);
	assert_int_equal(loop_run_for(s.loop, WIRE_LIMIT_MS), 0);
	assert_int_equal(s.n_closed, 1);
	assert_null(s.stream);
	site_close(&s);
}

static void a_slow_reader_is_told_apart_and_let_go(void **state)
{
	struct site s;
	struct wire w;
	uint8_t event[1000];
	int r = 0, n = 0;

	memset(event, 'e', sizeof(event));
	site_open(&s);
	site_limits(&s, 1000, 1000, 1000, 50, HTTP_CONNECTIONS_MAX);
	dial(&s, &w);
	wire_say(&w, SPAN_LIT(GET("/stream")));
	wire_wait(&w, "\r\n\r\n");
	assert_int_equal(loop_run_for(s.loop, 120), -ETIMEDOUT); /* silence of ours is no slowness of theirs */
	assert_non_null(s.stream);
	wire_stop_reading(&w);
	while (r == 0 && n < 100000) {
		r = http_stream_send(s.stream, SPAN_OF(event));
		n++;
	}
	assert_int_equal(r, -EAGAIN);
	assert_true(n <= HTTP_STREAM_BYTES_MAX / 1000 + 1);
	assert_int_equal(http_stream_send(s.stream, SPAN(event, 10)), 0); /* what still fits */
	for (int i = 0; i < 10000 && s.stream; i++) {
		while (http_stream_send(s.stream, SPAN_OF(event)) == 0) /* the kernel buffers megabytes */
			;
		(void)loop_run_for(s.loop, 1);
	}
	assert_int_equal(s.n_closed, 1);
	wire_close(&w);
	site_close(&s);
}

static void streams_are_counted(void **state)
{
	struct site s;
	struct wire w[HTTP_STREAMS_MAX];

	site_open(&s);
	for (int i = 0; i < HTTP_STREAMS_MAX; i++) {
		dial(&s, &w[i]);
		wire_say(&w[i], SPAN_LIT(GET("/stream")));
		wire_wait(&w[i], "200 OK");
	}
	ask(&s, GET("/stream"), "503 Service Unavailable");
	wire_close(&w[0]);
	assert_int_equal(loop_run_for(s.loop, WIRE_LIMIT_MS), 0);
	ask(&s, GET("/stream"), "200 OK");
	s.server = http_server_free(s.server);
	for (int i = 1; i < HTTP_STREAMS_MAX; i++)
		wire_close(&w[i]);
	assert_true(s.n_closed >= HTTP_STREAMS_MAX); /* the one that ask() left may be among them */
	site_close(&s);
}

static void connections_are_counted_and_the_idle_give_way(void **state)
{
	struct site s;
	struct wire busy[7], extra;

	site_open(&s);
	site_limits(&s, 10000, 10000, 10000, 10000, 8); /* seven of them for TCP */
	for (int i = 0; i < 7; i++) {
		dial(&s, &busy[i]);
		wire_say(&busy[i], SPAN_LIT(GET("/")));
		wire_wait(&busy[i], "200 OK");
	}
	ask(&s, GET("/"), "200 OK");           /* in the place of the one idle for longest */
	wire_wait_eof(&busy[0]);
	wire_close(&busy[0]);
	dial(&s, &busy[0]);
	for (int i = 0; i < 7; i++) {
		busy[i].in.n = 0;
		wire_say(&busy[i], SPAN_LIT(GET("/stream")));
		wire_wait(&busy[i], "200 OK");
	}
	dial(&s, &extra);
	wire_say(&extra, SPAN_LIT(GET("/")));
	wire_wait_eof(&extra);
	assert_int_equal(extra.in.n, 0);
	wire_close(&extra);
	char path[100];
	(void)snprintf(path, sizeof(path), "unix:%s/s", s.dir);
	assert_int_equal(http_server_listen(s.server, path, 0600, NULL, NULL), 0);
	wire_connect(&extra, s.loop, path);    /* the operator still gets in */
	wire_say(&extra, SPAN_LIT(GET("/")));
	wire_wait(&extra, "200 OK");
	wire_close(&extra);
	for (int i = 0; i < 7; i++)
		wire_close(&busy[i]);
	site_close(&s);
}

static void unix_sockets_know_their_peer_and_their_mode(void **state)
{
	struct site s;
	struct wire w;
	struct stat st;
	char address[100], expect[100];

	site_open(&s);
	(void)snprintf(address, sizeof(address), "unix:%s/api.sock", s.dir);
	mode_t old = umask(077);
	assert_int_equal(http_server_listen(s.server, address, 0660, NULL, NULL), 0);
	umask(old);
	assert_string_equal(http_server_address(s.server, 1), address);
	assert_null(http_server_address(s.server, 2));
	assert_int_equal(stat(address + 5, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0660);
	wire_connect(&w, s.loop, address);
	wire_say(&w, SPAN_LIT("GET / HTTP/1.1\r\nHost: whatever.example\r\n\r\n"));
	(void)snprintf(expect, sizeof(expect), "unix=1 uid=%u tls=0 peer=unix:%u ", (unsigned)getuid(), (unsigned)getuid());
	wire_wait(&w, expect);
	wire_close(&w);
	s.server = http_server_free(s.server);
	assert_int_equal(stat(address + 5, &st), -1);
	site_close(&s);
}

static void a_unix_socket_is_replaced_only_when_stale(void **state)
{
	struct site s;
	char address[100], path[100];

	site_open(&s);
	(void)snprintf(address, sizeof(address), "unix:%s/api.sock", s.dir);
	(void)snprintf(path, sizeof(path), "%s/api.sock", s.dir);
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	(void)strcpy(un.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(http_server_listen(s.server, address, 0600, NULL, NULL), -EADDRINUSE);
	close(fd);                             /* as if its owner was killed */
	assert_int_equal(http_server_listen(s.server, address, 0600, NULL, NULL), 0);
	assert_int_equal(http_server_listen(s.server, address, 0600, NULL, NULL), -EADDRINUSE);
	s.server = http_server_free(s.server);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	(void)fclose(f);
	s.server = http_server_new(s.loop, handle, &s);
	assert_int_equal(http_server_listen(s.server, address, 0600, NULL, NULL), -EEXIST);
	assert_int_equal(unlink(path), 0);
	site_close(&s);
}

static void bad_addresses_are_refused(void **state)
{
	static const struct {
		const char *address, *cert;
		int r;
	} cases[] = {
		{ "", NULL, -EBADMSG },
		{ "127.0.0.1", NULL, -EBADMSG },
		{ "127.0.0.1:", NULL, -EBADMSG },
		{ "127.0.0.1:65536", NULL, -EBADMSG },
		{ "127.0.0.1:-1", NULL, -EBADMSG },
		{ "127.0.0.1:1x", NULL, -EBADMSG },
		{ "localhost:1", NULL, -EBADMSG },
		{ "::1:1", NULL, -EBADMSG },
		{ "[::1:1", NULL, -EBADMSG },
		{ "[127.0.0.1]:0", NULL, -EBADMSG },
		{ "unix:", NULL, -EBADMSG },
		{ "unix:relative", NULL, -EBADMSG },
		{ "unix:/nonexistent/folder/s", NULL, -ENOENT },
		{ "unix:/tmp/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345", NULL,
		  -ENAMETOOLONG },
		{ "0.0.0.0:0", NULL, -EPERM },
		{ "[::]:0", NULL, -EPERM },
		{ "192.0.2.1:0", NULL, -EPERM },
		{ "127.0.0.1:0", "/nonexistent.pem", -EKEYREJECTED },
		{ "127.0.0.1:0", "/etc/passwd", -EKEYREJECTED },
	};
	struct site s;

	site_open(&s);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int r = http_server_listen(s.server, cases[i].address, 0600, cases[i].cert, NULL);
		if (r != cases[i].r)
			fail_msg("%s gave %d instead of %d", cases[i].address, r, cases[i].r);
	}
	assert_int_equal(http_server_listen(s.server, http_server_address(s.server, 0), 0, NULL, NULL), -EADDRINUSE);
	while (http_server_address(s.server, HTTP_LISTENERS_MAX - 1) == NULL)
		assert_int_equal(http_server_listen(s.server, "127.0.0.1:0", 0, NULL, NULL), 0);
	assert_int_equal(http_server_listen(s.server, "127.0.0.1:0", 0, NULL, NULL), -ENOSPC);
	site_close(&s);
}

static void ipv6_is_served(void **state)
{
	struct site s;
	struct wire w;

	site_open(&s);
	int r = http_server_listen(s.server, "[::1]:0", 0, NULL, NULL);
	if (r == -EADDRNOTAVAIL || r == -EAFNOSUPPORT) {
		site_close(&s);
		skip();
	}
	assert_int_equal(r, 0);
	wire_connect(&w, s.loop, http_server_address(s.server, 1));
	wire_say(&w, SPAN_LIT(GET("/six")));
	wire_wait(&w, "/six");
	wire_close(&w);
	site_close(&s);
}

/* A seeded generator: the same garbage every time. */
static uint32_t garbage_next(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void garbage_hurts_nobody(void **state)
{
	static const char good[] = "POST /a%20b?q=1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
				   "5\r\nhello\r\n0\r\n\r\n" GET("/stream");
	struct site s;
	uint32_t seed = 1;

	site_open(&s);
	site_limits(&s, 5, 5, 5, 50, HTTP_CONNECTIONS_MAX);
	for (int round = 0; round < 600; round++) {
		struct wire w;
		uint8_t b[sizeof(good) * 2];
		size_t n = sizeof(good) - 1;
		memcpy(b, good, n);
		for (uint32_t k = garbage_next(&seed) % 12; k > 0; k--)
			b[garbage_next(&seed) % n] = (uint8_t)garbage_next(&seed);
		if (round % 3 == 0)
			n = garbage_next(&seed) % n;
		dial(&s, &w);
		wire_say(&w, SPAN(b, n));
		for (int turn = 0; turn < 4; turn++)
			(void)loop_run_for(s.loop, 0);
		if (round % 5 == 0) {
			(void)loop_run_for(s.loop, 8); /* let the time-outs have their say */
			if (s.stream)
				(void)http_stream_send(s.stream, SPAN_LIT("data: x\n\n"));
		}
		if (round % 2)
			(void)setsockopt(w.fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
		wire_close(&w);
	}
	site_limits(&s, 1000, 1000, 1000, 1000, HTTP_CONNECTIONS_MAX);
	ask(&s, GET("/alive"), "/alive");
	site_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_answered),
		cmocka_unit_test(problems_are_json_whatever_the_detail),
		cmocka_unit_test(head_gets_the_length_but_no_body),
		cmocka_unit_test(a_request_may_come_byte_by_byte),
		cmocka_unit_test(a_connection_is_kept_and_pipelined_requests_keep_their_order),
		cmocka_unit_test(a_body_is_asked_for_when_the_peer_waits),
		cmocka_unit_test(sizes_are_limited_and_the_refusal_is_readable),
		cmocka_unit_test(slow_peers_are_let_go),
		cmocka_unit_test(a_dripping_head_does_not_extend_its_time),
		cmocka_unit_test(a_reader_that_takes_nothing_is_let_go),
		cmocka_unit_test(names_from_elsewhere_are_refused_on_loopback),
		cmocka_unit_test(an_answer_may_come_later_or_for_nobody),
		cmocka_unit_test(a_half_closed_peer_still_gets_its_answer),
		cmocka_unit_test(a_stream_goes_on_until_closed_by_us),
		cmocka_unit_test(a_stream_for_http10_is_plain_and_ends_with_the_connection),
		cmocka_unit_test(the_leaving_of_a_silent_reader_is_noticed),
		cmocka_unit_test(a_slow_reader_is_told_apart_and_let_go),
		cmocka_unit_test(streams_are_counted),
		cmocka_unit_test(connections_are_counted_and_the_idle_give_way),
		cmocka_unit_test(unix_sockets_know_their_peer_and_their_mode),
		cmocka_unit_test(a_unix_socket_is_replaced_only_when_stale),
		cmocka_unit_test(bad_addresses_are_refused),
		cmocka_unit_test(ipv6_is_served),
		cmocka_unit_test(garbage_hurts_nobody),
	};
	return cmocka_run_group_tests_name("io/http_server", tests, NULL, NULL);
}
