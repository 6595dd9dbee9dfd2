/* io/http_client against servers that stall, lie, flood and lead astray. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <inttypes.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>

#include "io/http_address.h"
#include "io/http_client.h"
#include "io/http_server.h"
#include "wire.h"

enum { SERVED_MAX = 12 };

/* A server that waits for a head, says a fixed thing, and then closes or stays silent. */
struct liar {
	struct loop *loop;
	struct loop_io *io;
	struct loop_timer *look;
	int fd, n_accepted, n_answered;
	char url[64];
	struct wire served[SERVED_MAX];
	bool answered[SERVED_MAX];
	const char *say[SERVED_MAX];           /* by connection; the last one again and again */
	size_t flood;                          /* then as many bytes */
	bool stays, mute;
};

static void liar_answer(struct liar *l, int i)
{
	struct wire *w = &l->served[i];
	int k = i;

	if (l->answered[i] || l->mute || !wire_has(w, "\r\n\r\n"))
		return;
	l->answered[i] = true;
	l->n_answered++;
	while (k > 0 && !l->say[k])
		k--;
	if (l->say[k])
		wire_say(w, span_str(l->say[k]));
	if (l->flood)
		memset(buf_grow(&w->out, l->flood), 'f', l->flood);
}

static void liar_look(void *ctx)
{
	struct liar *l = ctx;

	for (int i = 0; i < l->n_accepted; i++) {
		struct wire *w = &l->served[i];
		liar_answer(l, i);
		if (l->answered[i] && !l->stays && !w->write && w->fd >= 0) {
			(void)shutdown(w->fd, SHUT_WR);
		}
	}
	loop_timer_set(l->look, 1);
}

static void liar_accept(void *ctx, int fd, unsigned what)
{
	struct liar *l = ctx;
	int conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	assert_true(conn >= 0);
	assert_true(l->n_accepted < SERVED_MAX);
	wire_adopt(&l->served[l->n_accepted++], l->loop, conn);
}

static void liar_open(struct liar *l, struct loop *loop)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(in);

	*l = (struct liar){ .loop = loop };
	l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(l->fd, (struct sockaddr *)&in, n), 0);
	assert_int_equal(listen(l->fd, SERVED_MAX), 0);
	assert_int_equal(getsockname(l->fd, (struct sockaddr *)&in, &n), 0);
	(void)snprintf(l->url, sizeof(l->url), "http://127.0.0.1:%u/x", ntohs(in.sin_port));
	l->io = loop_io_new(loop, l->fd, LOOP_READ, liar_accept, l);
	l->look = loop_timer_new(loop, liar_look, l);
	loop_timer_set(l->look, 0);
}

static void liar_close(struct liar *l)
{
	for (int i = 0; i < l->n_accepted; i++)
		wire_close(&l->served[i]);
	loop_timer_free(l->look);
	loop_io_free(l->io);
	close(l->fd);
}

struct scene {
	struct loop *loop;
	struct http_client *client;
	struct liar liar;
	struct http_fetch_request req;
	struct http_fetch *fetch;
	int n_done, n_expected, error, status, stop_with;
	char text[256], etag[300], last_modified[100], type[100], url[200];
	struct buf body, pieces;
	uint64_t total, first_off, next_off;
	bool cancel_in_piece, cancel_in_done;
};

static void scene_open(struct scene *s)
{
	*s = (struct scene){ .loop = loop_new(), .n_expected = 1 };
	s->client = http_client_new(s->loop);
	assert_non_null(s->client);
	liar_open(&s->liar, s->loop);
	s->req = (struct http_fetch_request){
		.url = s->liar.url, .allow_http = true, .allow_private = true, .max_bytes = 1000, .timeout_ms = 5000, .stall_ms = 5000,
	};
}

static void scene_close(struct scene *s)
{
	liar_close(&s->liar);
	http_client_free(s->client);
	loop_free(s->loop);
	buf_done(&s->body);
	buf_done(&s->pieces);
}

static void done(void *ctx, const struct http_fetch_result *res)
{
	struct scene *s = ctx;

	s->n_done++;
	s->error = res->error;
	s->status = res->status;
	s->total = res->total;
	assert_non_null(res->error_text);
	assert_true(res->error ? *res->error_text : !*res->error_text);
	(void)snprintf(s->text, sizeof(s->text), "%s", res->error_text);
	(void)snprintf(s->etag, sizeof(s->etag), "%s", res->etag ? res->etag : "-");
	(void)snprintf(s->last_modified, sizeof(s->last_modified), "%s", res->last_modified ? res->last_modified : "-");
	(void)snprintf(s->type, sizeof(s->type), "%s", res->content_type ? res->content_type : "-");
	(void)snprintf(s->url, sizeof(s->url), "%s", res->url);
	buf_clear(&s->body);
	buf_add(&s->body, res->body);
	if (s->cancel_in_done)
		http_fetch_cancel(s->fetch);
	if (s->n_done == s->n_expected)
		loop_stop(s->loop);
}

static int piece(void *ctx, uint64_t off, struct span data)
{
	struct scene *s = ctx;

	if (s->pieces.n == 0)
		s->first_off = s->next_off = off;
	assert_int_equal(off, s->next_off);
	s->next_off += data.n;
	buf_add(&s->pieces, data);
	if (s->cancel_in_piece) {
		http_fetch_cancel(s->fetch);
		loop_stop(s->loop);
	}
	return s->stop_with;
}

static void fetch(struct scene *s)
{
	s->n_done = 0;
	assert_int_equal(http_fetch(s->client, &s->req, done, s, &s->fetch), 0);
	assert_int_equal(s->n_done, 0);
	assert_int_equal(loop_run_for(s->loop, WIRE_LIMIT_MS), 0);
	assert_int_equal(s->n_done, 1);
}

static void answers_are_judged(void **state)
{
	static const struct {
		const char *say;
		int error, status;
		const char *body, *text;
	} cases[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, 200, "ok", "" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\nT: x\r\n\r\n", 0, 200, "ok", "" },
		{ "HTTP/1.0 200 OK\r\n\r\nok", 0, 200, "ok", "" },
		{ "HTTP/1.1 103 Early\r\nContent-Length: 5000\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, 200, "ok", "" },
		{ "HTTP/1.1 304 Not Modified\r\n\r\n", 0, 304, "", "" },
		{ "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", 0, 404, "gone", "" },
		{ "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 0, 503, "", "" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 107374182400\r\n\r\nx", -EFBIG, 0, "", "announced 107374182400 bytes" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\nx", -EFBIG, 0, "", "announced 1001 bytes, 1000" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nx", -EPROTO, 0, "", "" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx", -EPROTO, 0, "", "" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", -EPROTO, 0, "", "" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", -ECONNRESET, 0, "", "" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nshort", -ECONNRESET, 0, "", "" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", -ECONNRESET, 0, "", "chunked" },
		{ "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", -EPROTO, 0, "", "content coding" },
		{ "HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", 0, 200, "ok", "" },
		{ "HTTP/1.1 206 Part\r\nContent-Range: bytes 0-1/2\r\nContent-Length: 2\r\n\r\nok", -EPROTO, 0, "", "206" },
		{ "", -ECONNRESET, 0, "", "" },
		{ "HTTP/1.1 200 OK\r\nX", -ECONNRESET, 0, "", "" },
		{ "garbage garbage garbage\r\n\r\n", -EPROTO, 0, "", "" },
		{ "\x16\x03\x01\x02", -EPROTO, 0, "", "" },
		{ "SSH-2.0-OpenSSH\r\n", -EPROTO, 0, "", "" },
		{ "HTTP/3.7 200 OK\r\n\r\n", -EPROTO, 0, "", "" },
		{ "HTTP/1.1 302 Found\r\nLocation: /y\r\n\r\n", -EPROTO, 0, "", "more than 0 redirects" },
		{ "HTTP/1.1 302 Found\r\n\r\n", -EPROTO, 0, "", "nowhere" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct scene s;
		scene_open(&s);
		s.liar.say[0] = cases[i].say;
		fetch(&s);
		if (s.error != cases[i].error || s.status != cases[i].status || strcmp(buf_str(&s.body), cases[i].body) != 0 ||
		    !strstr(s.text, cases[i].text))
			fail_msg("case %zu: error %d status %d body \"%s\" text \"%s\"", i, s.error, s.status, buf_str(&s.body), s.text);
		scene_close(&s);
	}
}

static void what_is_asked_is_what_was_meant(void **state)
{
	struct scene s;

	scene_open(&s);
	s.liar.say[0] = "HTTP/1.1 304 Not Modified\r\nETag: \"v2\"\r\nLast-Modified: Sun, 22 Nov 2026 09:00:00 GMT\r\n\r\n";
	s.req.etag = "\"v1\"";
	s.req.last_modified = "Sat, 21 Nov 2026 09:00:00 GMT";
	s.req.accept = "application/cbor";
	fetch(&s);
	assert_int_equal(s.status, 304);
	assert_string_equal(s.etag, "\"v2\"");
	assert_string_equal(s.last_modified, "Sun, 22 Nov 2026 09:00:00 GMT");
	const struct wire *w = &s.liar.served[0];
	assert_memory_equal(w->in.p, "GET /x HTTP/1.1\r\nHost: 127.0.0.1:", 33);
	assert_true(wire_has(w, "\r\nIf-None-Match: \"v1\"\r\n"));
	assert_true(wire_has(w, "\r\nIf-Modified-Since: Sat, 21 Nov 2026 09:00:00 GMT\r\n"));
	assert_true(wire_has(w, "\r\nAccept: application/cbor\r\n"));
	assert_true(wire_has(w, "\r\nUser-Agent: dormouse/"));
	assert_false(wire_has(w, "Encoding"));
	assert_false(wire_has(w, "Cookie"));
	assert_false(wire_has(w, "Authorization"));
	assert_false(wire_has(w, "Proxy"));
	scene_close(&s);
}

static void a_post_carries_its_bytes(void **state)
{
	static const uint8_t ocsp[] = { 0x30, 0x00, 0xff, 0x0d, 0x0a };
	struct scene s;

	scene_open(&s);
	s.liar.say[0] = "HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: 1\r\n\r\nr";
	s.req.post = SPAN_OF(ocsp);
	s.req.post_type = "application/ocsp-request";
	fetch(&s);
	assert_int_equal(s.status, 200);
	assert_string_equal(s.type, "application/ocsp-response");
	const struct wire *w = &s.liar.served[0];
	assert_memory_equal(w->in.p, "POST /x HTTP/1.1\r\n", 18);
	assert_true(wire_has(w, "Content-Type: application/ocsp-request\r\n"));
	assert_true(wire_has(w, "Content-Length: 5\r\n"));
	assert_false(wire_has(w, "Expect"));
	assert_memory_equal(w->in.p + w->in.n - 5, ocsp, 5);
	scene_close(&s);
}

static void validators_from_a_server_are_bounded_and_clean(void **state)
{
	struct scene s;
	_cleanup_buf_ struct buf b = { 0 };

	scene_open(&s);
	buf_add_str(&b, "HTTP/1.1 200 OK\r\nETag: \"");
	memset(buf_grow(&b, HTTP_VALIDATOR_BYTES), 'e', HTTP_VALIDATOR_BYTES);
	buf_add_str(&b, "\"\r\nLast-Modified: a\x01\x62\r\nContent-Type: \xff\r\nContent-Length: 0\r\n\r\n");
	s.liar.say[0] = buf_str(&b);
	fetch(&s);
	assert_int_equal(s.error, 0);
	assert_string_equal(s.etag, "-");
	assert_string_equal(s.last_modified, "-");
	assert_string_equal(s.type, "-");
	scene_close(&s);
}

static void a_flood_is_stopped_at_once(void **state)
{
	static const struct {
		const char *say;
		int error, status;
	} cases[] = {
		{ "HTTP/1.0 200 OK\r\n\r\n", -EFBIG, 0 },                                        /* no length at all */
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", -EFBIG, 0 },
		{ "HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 0, 500 },  /* enough is enough */
		{ "HTTP/1.1 200 OK\r\nX: ", -EPROTO, 0 },                                        /* a head without end */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct scene s;
		scene_open(&s);
		s.liar.say[0] = cases[i].say;
		s.liar.flood = 32 * 1024 * 1024;
		fetch(&s);
		if (s.error != cases[i].error || s.status != cases[i].status)
			fail_msg("case %zu: error %d status %d \"%s\"", i, s.error, s.status, s.text);
		assert_true(s.body.n <= HTTP_FETCH_REFUSAL_BYTES_MAX);
		assert_true(s.liar.served[0].sent < 16 * 1024 * 1024); /* what the kernel took; nobody asked for more */
		scene_close(&s);
	}
}

static void many_fields_are_too_many(void **state)
{
	struct scene s;
	_cleanup_buf_ struct buf b = { 0 };

	scene_open(&s);
	buf_add_str(&b, "HTTP/1.1 200 OK\r\n");
	for (int i = 0; i < HTTP_FETCH_HEADERS_BYTES_MAX / 8; i++)
		buf_add_str(&b, "X-A: b\r\n");
	buf_add_str(&b, "Content-Length: 0\r\n\r\n");
	s.liar.say[0] = buf_str(&b);
	fetch(&s);
	assert_int_equal(s.error, -EPROTO);
	assert_non_null(strstr(s.text, "header fields"));
	scene_close(&s);
}

static void exactly_the_limit_is_fine(void **state)
{
	struct scene s;

	scene_open(&s);
	s.liar.say[0] = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
	s.liar.flood = 1000;
	fetch(&s);
	assert_int_equal(s.error, 0);
	assert_int_equal(s.body.n, 1000);
	assert_int_equal(s.total, 1000);
	scene_close(&s);
}

static void a_stalling_server_is_left(void **state)
{
	static const char *const said[] = { NULL, "HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome" };

	for (size_t i = 0; i < sizeof(said) / sizeof(*said); i++) {
		struct scene s;
		scene_open(&s);
		s.liar.say[0] = said[i];
		s.liar.stays = true;
		s.liar.mute = !said[i];
		s.req.stall_ms = 60;
		fetch(&s);
		assert_int_equal(s.error, -ETIMEDOUT);
		assert_non_null(strstr(s.text, "60 ms"));
		scene_close(&s);
	}
}

static void drip(void *ctx)
{
	struct scene *s = ctx;

	if (s->liar.n_answered && s->liar.served[0].fd >= 0)
		wire_say(&s->liar.served[0], SPAN_LIT("d"));
}

static void a_dripping_server_is_left_after_the_whole_time(void **state)
{
	struct scene s;
	struct mono began = mono_now();
	struct loop_timer *t[40];

	scene_open(&s);
	s.liar.say[0] = "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n";
	s.liar.stays = true;
	s.req.stall_ms = 600;
	s.req.timeout_ms = 900;
	for (int i = 0; i < 40; i++) {         /* a byte each 20 ms: never a stall */
		t[i] = loop_timer_new(s.loop, drip, &s);
		loop_timer_set(t[i], i * 20);
	}
	fetch(&s);
	assert_int_equal(s.error, -ETIMEDOUT);
	assert_non_null(strstr(s.text, "900 ms"));
	assert_true(mono_diff_ms(mono_now(), began) >= 900);
	for (int i = 0; i < 40; i++)
		loop_timer_free(t[i]);
	scene_close(&s);
}

static void pieces_come_in_order_and_may_stop_it(void **state)
{
	struct scene s;

	scene_open(&s);
	s.req.piece = piece;
	s.req.max_bytes = 1 << 20;
	s.liar.say[0] = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 500000\r\n\r\n";
	s.liar.flood = 500000;
	fetch(&s);
	assert_int_equal(s.error, 0);
	assert_int_equal(s.pieces.n, 500000);
	assert_int_equal(s.first_off, 0);
	assert_int_equal(s.body.n, 0);
	scene_close(&s);

	scene_open(&s);
	s.req.piece = piece;
	s.stop_with = -ENOSPC;
	s.liar.say[0] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	fetch(&s);
	assert_int_equal(s.error, -ENOSPC);
	scene_close(&s);

	scene_open(&s);                        /* an error page is no firmware */
	s.req.piece = piece;
	s.liar.say[0] = "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\npage";
	fetch(&s);
	assert_int_equal(s.error, 0);
	assert_int_equal(s.pieces.n, 0);
	assert_string_equal(buf_str(&s.body), "page");
	scene_close(&s);
}

static void resuming_believes_only_what_fits(void **state)
{
	static const struct {
		const char *say;
		int error, status;
		uint64_t first_off, total;
		const char *pieces;
	} cases[] = {
		{ "HTTP/1.1 206 P\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nworld", 0, 206, 5, 10, "world" },
		{ "HTTP/1.1 206 P\r\nContent-Range: bytes 5-9/10\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nworld\r\n0\r\n\r\n", 0, 206, 5, 10, "world" },
		{ "HTTP/1.1 206 P\r\nContent-Range: bytes 5-9/*\r\nContent-Length: 5\r\n\r\nworld", 0, 206, 5, 0, "world" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhelloworld", 0, 200, 0, 10, "helloworld" },  /* changed, or no ranges there */
		{ "HTTP/1.1 416 No\r\nContent-Range: bytes */10\r\nContent-Length: 0\r\n\r\n", 0, 416, 0, 10, "" },
		{ "HTTP/1.1 206 P\r\nContent-Range: bytes 4-8/10\r\nContent-Length: 5\r\n\r\nworld", -EPROTO, 0, 0, 0, "" },
		{ "HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\n\r\nhelloworld", -EPROTO, 0, 0, 0, "" },
		{ "HTTP/1.1 206 P\r\nContent-Range: bytes 5-8/10\r\nContent-Length: 4\r\n\r\nworl", -EPROTO, 0, 0, 0, "" },
		{ "HTTP/1.1 206 P\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 6\r\n\r\nworld!", -EPROTO, 0, 0, 0, "" },
		{ "HTTP/1.1 206 P\r\nContent-Range: bytes 5-9/10\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nworld!\r\n0\r\n\r\n", -EPROTO, 0, 0, 0, "" },
		{ "HTTP/1.1 206 P\r\nContent-Range: bytes 5-9/10\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwor\r\n0\r\n\r\n", -ECONNRESET, 0, 5, 0, "wor" },
		{ "HTTP/1.1 206 P\r\nContent-Range: bytes 5-9/9\r\nContent-Length: 5\r\n\r\nworld", -EPROTO, 0, 0, 0, "" },
		{ "HTTP/1.1 206 P\r\nContent-Range: bytes 9-5/10\r\nContent-Length: 5\r\n\r\nworld", -EPROTO, 0, 0, 0, "" },
		{ "HTTP/1.1 206 P\r\nContent-Range: bytes 5-9223372036854775807/*\r\nTransfer-Encoding: chunked\r\n\r\n", -EPROTO, 0, 0, 0, "" },
		{ "HTTP/1.1 206 P\r\nContent-Range: bytes 5-99999/100000\r\nContent-Length: 99995\r\n\r\nw", -EFBIG, 0, 0, 0, "" },
		{ "HTTP/1.1 206 P\r\nContent-Range: rows 5-9/10\r\nContent-Length: 5\r\n\r\nworld", -EPROTO, 0, 0, 0, "" },
		{ "HTTP/1.1 206 P\r\nContent-Length: 5\r\n\r\nworld", -EPROTO, 0, 0, 0, "" },
		{ "HTTP/1.1 206 P\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: 5\r\n\r\nworld", -EPROTO, 0, 0, 0, "" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct scene s;
		scene_open(&s);
		s.req.from = 5;
		s.req.if_range = "\"v1\"";
		s.req.piece = piece;
		s.liar.say[0] = cases[i].say;
		fetch(&s);
		if (s.error != cases[i].error || s.status != cases[i].status || strcmp(buf_str(&s.pieces), cases[i].pieces) != 0 ||
		    s.first_off != cases[i].first_off || s.total != cases[i].total)
			fail_msg("case %zu: error %d status %d pieces \"%s\" from %" PRIu64 " of %" PRIu64 " (%s)", i, s.error, s.status,
				 buf_str(&s.pieces), s.first_off, s.total, s.text);
		assert_true(wire_has(&s.liar.served[0], "\r\nRange: bytes=5-\r\n"));
		assert_true(wire_has(&s.liar.served[0], "\r\nIf-Range: \"v1\"\r\n"));
		scene_close(&s);
	}
}

static void a_weak_validator_resumes_nothing(void **state)
{
	struct scene s;

	scene_open(&s);
	s.req.from = 5;
	s.req.if_range = "W/\"v1\"";
	s.req.piece = piece;
	s.liar.say[0] = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhelloworld";
	fetch(&s);
	assert_int_equal(s.error, 0);
	assert_int_equal(s.first_off, 0);
	assert_false(wire_has(&s.liar.served[0], "Range"));
	scene_close(&s);
}

static void redirects_are_followed_as_far_as_allowed(void **state)
{
	static const struct {
		unsigned max;
		const char *say[4];
		int error, status, n_answered;
		const char *text;
	} cases[] = {
		{ 2, { "HTTP/1.1 302 F\r\nLocation: /y\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "HTTP/1.1 308 F\r\nLocation: z?q\r\nConnection: close\r\n\r\n",
		       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" }, 0, 200, 3, "" },
		{ 3, { "HTTP/1.1 302 F\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" }, -EPROTO, 0, 4, "more than 3 redirects" },
		{ 9, { "HTTP/1.1 302 F\r\nLocation: ftp://127.0.0.1/x\r\nConnection: close\r\n\r\n" }, -EACCES, 0, 1, "refused" },
		{ 9, { "HTTP/1.1 302 F\r\nLocation: file:///etc/passwd\r\nConnection: close\r\n\r\n" }, -EACCES, 0, 1, "refused" },
		{ 9, { "HTTP/1.1 302 F\r\nLocation: http://user:pw@127.0.0.1/\r\nConnection: close\r\n\r\n" }, -EACCES, 0, 1, "refused" },
		{ 9, { "HTTP/1.1 302 F\r\nLocation: http://\r\nConnection: close\r\n\r\n" }, -EPROTO, 0, 1, "" },
		{ 9, { "HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:1/\r\nConnection: close\r\n\r\n" }, -ECONNREFUSED, 0, 1, "" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct scene s;
		scene_open(&s);
		memcpy(s.liar.say, cases[i].say, sizeof(cases[i].say));
		s.req.redirects_max = cases[i].max;
		fetch(&s);
		if (s.error != cases[i].error || s.status != cases[i].status || s.liar.n_answered != cases[i].n_answered ||
		    !strstr(s.text, cases[i].text))
			fail_msg("case %zu: error %d status %d after %d (%s)", i, s.error, s.status, s.liar.n_answered, s.text);
		if (!s.error)
			assert_non_null(strstr(s.url, "/z?q"));
		scene_close(&s);
	}
}

static void a_post_is_not_turned_into_something_else(void **state)
{
	struct scene s;

	scene_open(&s);
	s.req.post = SPAN_LIT("body");
	s.req.redirects_max = 3;
	s.liar.say[0] = "HTTP/1.1 302 F\r\nLocation: /y\r\nConnection: close\r\n\r\n";
	fetch(&s);
	assert_int_equal(s.error, -EPROTO);
	scene_close(&s);
	scene_open(&s);
	s.req.post = SPAN_LIT("body");
	s.req.redirects_max = 3;
	s.liar.say[0] = "HTTP/1.1 307 F\r\nLocation: /y\r\nConnection: close\r\n\r\n";
	s.liar.say[1] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	fetch(&s);
	assert_int_equal(s.error, 0);
	assert_true(wire_has(&s.liar.served[1], "POST /y"));
	assert_true(wire_has(&s.liar.served[1], "\r\n\r\nbody"));
	scene_close(&s);
}

static void private_addresses_are_out_of_reach(void **state)
{
	struct scene s;

	scene_open(&s);
	s.liar.say[0] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	s.liar.stays = true;
	s.req.allow_private = false;
	fetch(&s);
	assert_int_equal(s.error, -EACCES);
	assert_int_equal(s.liar.n_accepted, 0);
	s.req.allow_private = true;
	fetch(&s);                             /* leaves a connection behind that could be used again */
	assert_int_equal(s.error, 0);
	s.req.allow_private = false;
	fetch(&s);
	assert_int_equal(s.error, -EACCES);
	assert_int_equal(s.liar.n_answered, 1);
	char url[64];
	(void)snprintf(url, sizeof(url), "http://localhost%s", strrchr(s.liar.url, ':'));
	s.req.url = url;                       /* by name */
	fetch(&s);
	assert_int_equal(s.error, -EACCES);
	assert_int_equal(s.liar.n_answered, 1);
	scene_close(&s);
}

static void addresses_are_told_apart(void **state)
{
	static const struct {
		const char *ip;
		bool is_public;
	} cases[] = {
		{ "192.0.1.1", true }, { "8.8.8.8", true }, { "172.15.255.255", true }, { "172.32.0.0", true }, { "100.63.255.255", true },
		{ "100.128.0.0", true }, { "198.17.255.255", true }, { "198.20.0.0", true }, { "223.255.255.255", true }, { "11.0.0.0", true },
		{ "0.0.0.0", false }, { "0.1.2.3", false }, { "10.0.0.1", false }, { "127.0.0.1", false }, { "127.255.255.255", false },
		{ "169.254.169.254", false }, { "172.16.0.1", false }, { "172.31.255.255", false }, { "192.168.1.1", false },
		{ "100.64.0.1", false }, { "192.0.2.1", false }, { "198.18.0.1", false }, { "198.51.100.1", false }, { "203.0.113.1", false },
		{ "224.0.0.1", false }, { "255.255.255.255", false }, { "240.0.0.1", false },
		{ "2001:4860:4860::8888", true }, { "2a00::1", true }, { "64:ff9b::8.8.8.8", true }, { "2002:808:808::1", true },
		{ "::", false }, { "::1", false }, { "::ffff:127.0.0.1", false }, { "::ffff:8.8.8.8", false }, { "fe80::1", false },
		{ "fe80::1%lo", false }, { "fc00::1", false }, { "fd12::1", false }, { "ff02::1", false }, { "fec0::1", false },
		{ "2001:db8::1", false }, { "2001::1", false }, { "64:ff9b::10.0.0.1", false }, { "64:ff9b:1::1", false },
		{ "2002:7f00:1::1", false }, { "3fff::1", false }, { "", false }, { "localhost", false }, { NULL, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (http_address_text_is_public(cases[i].ip) != cases[i].is_public)
			fail_msg("%s", cases[i].ip);
	}
}

static void bad_requests_are_refused_at_once(void **state)
{
	struct scene s;
	char longest[HTTP_URL_BYTES_MAX + 16];

	scene_open(&s);
	memset(longest, 'a', sizeof(longest));
	memcpy(longest, "http://127.0.0.1/", 17);
	longest[HTTP_URL_BYTES_MAX + 1] = 0;
	const struct {
		const char *url;
		bool allow_http;
		int r;
	} cases[] = {
		{ "", true, -EBADMSG }, { "http://", true, -EBADMSG }, { "http://a b/", true, -EBADMSG }, { "http://a/\r\nX: y", true, -EBADMSG },
		{ "http://127.0.0.1/", false, -EACCES }, { "ftp://127.0.0.1/", true, -EACCES }, { "file:///etc/passwd", true, -EACCES },
		{ "gopher://127.0.0.1/", true, -EACCES }, { "coap://[::1]/", true, -EACCES }, { "https://u@127.0.0.1/", true, -EACCES },
		{ "https://u:p@127.0.0.1/", true, -EACCES }, { "http://127.0.0.1:99999/", true, -EBADMSG }, { longest, true, -EMSGSIZE },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct http_fetch_request req = s.req;
		req.url = cases[i].url;
		req.allow_http = cases[i].allow_http;
		int r = http_fetch(s.client, &req, done, &s, NULL);
		if (r != cases[i].r)
			fail_msg("%s gave %d", cases[i].url, r);
	}
	for (int i = 0; i < 5; i++) {
		struct http_fetch_request req = s.req;
		if (i == 0)
			req.max_bytes = 0;
		else if (i == 1)
			req.timeout_ms = 0;
		else if (i == 2)
			req.stall_ms = 0;
		else if (i == 3)
			req.etag = "\"a\"\r\nX-Injected: b";
		else
			req.accept = "\xff";
		assert_int_equal(http_fetch(s.client, &req, done, &s, NULL), -EINVAL);
	}
	for (int i = 0; i < HTTP_FETCHES_MAX; i++)
		assert_int_equal(http_fetch(s.client, &s.req, done, &s, NULL), 0);
	assert_int_equal(http_fetch(s.client, &s.req, done, &s, NULL), -EBUSY);
	s.client = http_client_free(s.client);
	assert_int_equal(s.n_done, HTTP_FETCHES_MAX);
	assert_int_equal(s.error, -ECANCELED);
	scene_close(&s);
}

static void a_closed_port_is_told(void **state)
{
	struct scene s;

	scene_open(&s);
	s.req.url = "http://127.0.0.1:1/";
	fetch(&s);
	assert_int_equal(s.error, -ECONNREFUSED);
	scene_close(&s);
}

static void only_two_at_a_time_go_to_one_origin(void **state)
{
	struct scene s;

	scene_open(&s);
	s.liar.mute = s.liar.stays = true;
	s.liar.say[0] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
	s.req.stall_ms = 3000;
	s.n_expected = 6;
	for (int i = 0; i < 6; i++)
		assert_int_equal(http_fetch(s.client, &s.req, done, &s, NULL), 0);
	assert_int_equal(loop_run_for(s.loop, 100), -ETIMEDOUT);
	assert_int_equal(s.liar.n_accepted, HTTP_FETCHES_PER_ORIGIN);
	s.liar.mute = false;
	assert_int_equal(loop_run_for(s.loop, WIRE_LIMIT_MS), 0);
	assert_int_equal(s.n_done, 6);
	assert_int_equal(s.error, 0);
	scene_close(&s);
}

static void cancelling_is_silent_wherever_it_happens(void **state)
{
	struct scene s;

	scene_open(&s);                        /* before it started, and while it runs */
	s.liar.mute = true;
	assert_int_equal(http_fetch(s.client, &s.req, done, &s, &s.fetch), 0);
	http_fetch_cancel(s.fetch);
	assert_int_equal(http_fetch(s.client, &s.req, done, &s, &s.fetch), 0);
	assert_int_equal(loop_run_for(s.loop, 20), -ETIMEDOUT);
	assert_int_equal(s.liar.n_accepted, 1);
	http_fetch_cancel(s.fetch);
	http_fetch_cancel(NULL);
	assert_int_equal(loop_run_for(s.loop, 20), -ETIMEDOUT);
	assert_int_equal(s.n_done, 0);
	scene_close(&s);

	scene_open(&s);                        /* in its own piece() */
	s.liar.say[0] = "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n";
	s.liar.flood = 200;
	s.req.piece = piece;
	s.cancel_in_piece = true;
	assert_int_equal(http_fetch(s.client, &s.req, done, &s, &s.fetch), 0);
	assert_int_equal(loop_run_for(s.loop, WIRE_LIMIT_MS), 0);
	assert_int_equal(loop_run_for(s.loop, 20), -ETIMEDOUT);
	assert_int_equal(s.n_done, 0);
	scene_close(&s);

	scene_open(&s);                        /* in its own done */
	s.liar.say[0] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	s.cancel_in_done = true;
	fetch(&s);
	assert_int_equal(s.error, 0);
	scene_close(&s);
}

/* Names: a resolver that hangs. libcurl calls this instead of libc's. */
static pthread_mutex_t slow_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t slow_cond = PTHREAD_COND_INITIALIZER;
static bool slow_release, slow_ended;
static int slow_asked;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

	if (node && strcmp(node, "slow.example") == 0) {
		pthread_mutex_lock(&slow_lock);
		slow_asked++;
		while (!slow_release)
			pthread_cond_wait(&slow_cond, &slow_lock);
		slow_ended = true;
		pthread_cond_broadcast(&slow_cond);
		pthread_mutex_unlock(&slow_lock);
		return EAI_NONAME;
	}
	if (node && strcmp(node, "none.example") == 0)
		return EAI_NONAME;
	if (!real)
		real = (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(RTLD_NEXT, "getaddrinfo");
	return real(node, service, hints, res);
}

static void a_name_that_does_not_exist_is_told(void **state)
{
	struct scene s;

	scene_open(&s);
	s.req.url = "http://none.example/";
	fetch(&s);
	assert_int_equal(s.error, -EHOSTUNREACH);
	scene_close(&s);
}

static void a_hanging_resolver_blocks_neither_the_loop_nor_the_end(void **state)
{
	struct scene s;
	struct mono began = mono_now();

	scene_open(&s);
	s.req.url = "http://slow.example/";
	s.req.stall_ms = 50;
	fetch(&s);
	assert_int_equal(s.error, -ETIMEDOUT);
	assert_int_equal(slow_asked, 1);
	scene_close(&s);                       /* the resolver still hangs */
	assert_true(mono_diff_ms(mono_now(), began) < 5000);
	pthread_mutex_lock(&slow_lock);
	slow_release = true;
	pthread_cond_broadcast(&slow_cond);
	while (!slow_ended)
		pthread_cond_wait(&slow_cond, &slow_lock);
	pthread_mutex_unlock(&slow_lock);
}

/* TLS, with our own server at the other end. */

static void serve(void *ctx, struct http_exchange *x, const struct http_request *req)
{
	struct scene *s = ctx;

	if (strcmp(req->path, "/down") == 0) {
		http_reply_header(x, "Location", s->liar.url); /* http */
		http_reply(x, 302, NULL, SPAN_NONE);
	} else {
		http_reply(x, 200, "text/plain", req->is_tls ? SPAN_LIT("over TLS") : SPAN_LIT("plain"));
	}
}

static void make_cert(const char *dir, const char *name)
{
	char cmd[512];

	(void)snprintf(cmd, sizeof(cmd),
		       "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=%s -addext subjectAltName=IP:127.0.0.1 "
		       "-keyout %s/%s.key -out %s/%s.pem 2>/dev/null", name, dir, name, dir, name);
	assert_int_equal(system(cmd), 0);
}

static void tls_is_checked_against_the_pinned_authority(void **state)
{
	static const struct {
		const char *ca, *host, *path;
		int error;
	} cases[] = {
		{ "vendor", "127.0.0.1", "/", 0 },
		{ "other", "127.0.0.1", "/", -EPROTO },          /* not the one pinned */
		{ NULL, "127.0.0.1", "/", -EPROTO },             /* nor among the system's */
		{ "vendor", "localhost", "/", -EPROTO },         /* not its name */
		{ "missing", "127.0.0.1", "/", -EPROTO },
		{ "vendor", "127.0.0.1", "/down", -EACCES },     /* never from https to http */
	};
	char dir[] = "/tmp/dormouse-tls-XXXXXX", cert[64], key[64], ca[64], url[80], cmd[100];
	struct scene s;

	assert_non_null(mkdtemp(dir));
	make_cert(dir, "vendor");
	make_cert(dir, "other");
	(void)snprintf(cert, sizeof(cert), "%s/vendor.pem", dir);
	(void)snprintf(key, sizeof(key), "%s/vendor.key", dir);
	scene_open(&s);
	s.liar.say[0] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno";
	struct http_server *server = http_server_new(s.loop, serve, &s);
	assert_int_equal(http_server_listen(server, "127.0.0.1:0", 0, cert, key), 0);
	(void)snprintf(ca, sizeof(ca), "%s/other.key", dir);
	assert_int_equal(http_server_listen(server, "127.0.0.1:0", 0, cert, ca), -EKEYREJECTED);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		(void)snprintf(ca, sizeof(ca), "%s/%s.pem", dir, cases[i].ca ? cases[i].ca : "");
		(void)snprintf(url, sizeof(url), "https://%s%s%s", cases[i].host, strrchr(http_server_address(server, 0), ':'), cases[i].path);
		s.req.url = url;
		s.req.ca_file = cases[i].ca ? ca : NULL;
		s.req.redirects_max = 5;
		fetch(&s);
		if (s.error != cases[i].error)
			fail_msg("case %zu: error %d (%s)", i, s.error, s.text);
		if (!s.error)
			assert_string_equal(buf_str(&s.body), "over TLS");
	}
	assert_int_equal(s.liar.n_accepted, 0);
	struct wire w;                         /* plain HTTP to the TLS port: hung up on, not answered */
	wire_connect(&w, s.loop, http_server_address(server, 0));
	wire_say(&w, SPAN_LIT("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
	wire_wait_eof(&w);
	assert_false(wire_has(&w, "HTTP/1.1"));
	wire_close(&w);
	http_server_free(server);
	scene_close(&s);
	(void)snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	assert_int_equal(system(cmd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_judged),
		cmocka_unit_test(what_is_asked_is_what_was_meant),
		cmocka_unit_test(a_post_carries_its_bytes),
		cmocka_unit_test(validators_from_a_server_are_bounded_and_clean),
		cmocka_unit_test(a_flood_is_stopped_at_once),
		cmocka_unit_test(many_fields_are_too_many),
		cmocka_unit_test(exactly_the_limit_is_fine),
		cmocka_unit_test(a_stalling_server_is_left),
		cmocka_unit_test(a_dripping_server_is_left_after_the_whole_time),
		cmocka_unit_test(pieces_come_in_order_and_may_stop_it),
		cmocka_unit_test(resuming_believes_only_what_fits),
		cmocka_unit_test(a_weak_validator_resumes_nothing),
		cmocka_unit_test(redirects_are_followed_as_far_as_allowed),
		cmocka_unit_test(a_post_is_not_turned_into_something_else),
		cmocka_unit_test(private_addresses_are_out_of_reach),
		cmocka_unit_test(addresses_are_told_apart),
		cmocka_unit_test(bad_requests_are_refused_at_once),
		cmocka_unit_test(a_closed_port_is_told),
		cmocka_unit_test(only_two_at_a_time_go_to_one_origin),
		cmocka_unit_test(cancelling_is_silent_wherever_it_happens),
		cmocka_unit_test(a_name_that_does_not_exist_is_told),
		cmocka_unit_test(a_hanging_resolver_blocks_neither_the_loop_nor_the_end),
		cmocka_unit_test(tls_is_checked_against_the_pinned_authority),
	};
	/* Neither may matter. */
	(void)setenv("http_proxy", "http://127.0.0.1:1/", 1);
	(void)setenv("https_proxy", "http://127.0.0.1:1/", 1);
	return cmocka_run_group_tests_name("io/http_client", tests, NULL, NULL);
}
