/* tests/io/coap_fixture.h - an endpoint on 127.0.0.1 with a few resources, a client in the same loop, and raw
 * datagrams for what no client would send. Everything bounded in time; loops end on events, not on sleeps. */
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/metric.h"
#include "io/coap_body.h"
#include "io/coap_client.h"
#include "io/coap_endpoint.h"

enum { FIXTURE_MS = 20000, FIXTURE_CALLS = 64 };

struct fixture {
	struct loop *loop;
	struct coap_endpoint *e;
	struct coap_client *client;
	struct coap_session *session;
	char plain[80], secure[80];
	uint16_t port;
	/* the handlers' memory */
	struct buf stored;             /* of PUT/POST /store */
	char stored_query[256];
	unsigned n_store, n_delete, n_big, n_value;
	int value, value_format;
	uint8_t value_code;
	size_t big_bytes;
	unsigned released, served;
	struct coap_deferred *deferred;
	unsigned n_defer, n_heard;
	char heard_identity[COAP_IDENTITY_BYTES_MAX + 1];
	/* answers to the client's calls */
	struct {
		int error;
		uint8_t code;
		int content_format;
		int64_t max_age_s;
		struct coap_etag etag;
		struct buf body;
		char location[128];
		bool is_notification;
	} got;
	unsigned n_got, want;
	int raw;                       /* a UDP socket connected to the endpoint */
};

static inline uint8_t pattern(uint64_t i) { return (uint8_t)(i * 131 ^ i >> 8 ^ i >> 16); }

/* ---- handlers ---- */

static inline int on_hello(void *ctx, const struct coap_request *q, struct coap_response *r)
{
	r->code = COAP_205_CONTENT;
	r->content_format = COAP_CF_TEXT;
	buf_add_str(&r->body, q->peer.identity[0] ? q->peer.identity : "hello");
	return COAP_HANDLER_DONE;
}

static inline int on_store(void *ctx, const struct coap_request *q, struct coap_response *r)
{
	struct fixture *f = ctx;

	if (q->method == COAP_M_DELETE) {
		f->n_delete++;
		return coap_error(r, f->n_delete == 1 ? COAP_202_DELETED : COAP_404_NOT_FOUND, "%u", f->n_delete);
	}
	f->n_store++;
	buf_clear(&f->stored);
	buf_add(&f->stored, q->body);
	f->stored_query[0] = '\0';
	for (size_t i = 0; i < q->n_query; i++)
		(void)snprintf(f->stored_query + strlen(f->stored_query), sizeof(f->stored_query) - strlen(f->stored_query), "%.*s;",
			       SPAN_ARG(q->query[i]));
	r->code = q->method == COAP_M_POST ? COAP_201_CREATED : COAP_204_CHANGED;
	if (q->method == COAP_M_POST) {
		r->location[0] = "store";
		r->location[1] = "7";
		r->n_location = 2;
	}
	if (q->method == COAP_M_FETCH) {
		r->code = COAP_205_CONTENT;
		buf_add(&r->body, q->body);
	}
	return COAP_HANDLER_DONE;
}

static inline int read_pattern(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ret[i] = pattern(off + i);
	return 0;
}

static inline void release_pattern(void *ctx) { ((struct fixture *)ctx)->released++; }
static inline void served_pattern(void *ctx, uint64_t off, size_t n, bool last) { ((struct fixture *)ctx)->served++; }

/* 100 kB by position. */
static inline int on_image(void *ctx, const struct coap_request *q, struct coap_response *r)
{
	r->code = COAP_205_CONTENT;
	r->content_format = COAP_CF_OCTETS;
	r->etag = (struct coap_etag){ .n = 4, .b = { 1, 2, 3, 4 } };
	r->reader = (struct coap_body_reader){
		.bytes = 100000, .read = read_pattern, .release = release_pattern, .served = served_pattern, .ctx = ctx,
	};
	return COAP_HANDLER_DONE;
}

/* A body made anew, and different, at each run. */
static inline int on_big(void *ctx, const struct coap_request *q, struct coap_response *r)
{
	struct fixture *f = ctx;

	f->n_big++;
	r->code = COAP_205_CONTENT;
	for (size_t i = 0; i < f->big_bytes; i++)
		buf_add_u8(&r->body, (uint8_t)(pattern(i) + f->n_big));
	return COAP_HANDLER_DONE;
}

static inline int on_value(void *ctx, const struct coap_request *q, struct coap_response *r)
{
	struct fixture *f = ctx;
	struct span min = SPAN_NONE;

	f->n_value++;
	if (f->value_code >= COAP_400_BAD_REQUEST)
		return coap_error(r, f->value_code, "gone");
	r->code = COAP_205_CONTENT;
	r->content_format = f->value_format;
	buf_printf(&r->body, "%d", coap_query_get(q, "fixed", &min) ? 0 : f->value);
	if (f->big_bytes)
		(void)buf_grow(&r->body, f->big_bytes);
	return COAP_HANDLER_DONE;
}

static inline int on_later(void *ctx, const struct coap_request *q, struct coap_response *r)
{
	struct fixture *f = ctx;

	f->n_defer++;
	f->deferred = coap_defer(f->e, q);
	if (!f->deferred)
		return coap_error(r, COAP_503_UNAVAILABLE, "no");
	loop_stop(f->loop);
	return COAP_HANDLER_LATER;
}

static inline int on_secret(void *ctx, const struct coap_request *q, struct coap_response *r)
{
	r->code = COAP_205_CONTENT;
	buf_add_str(&r->body, q->peer.identity);
	return COAP_HANDLER_DONE;
}

static inline void on_heard(void *ctx, const struct coap_peer *peer)
{
	struct fixture *f = ctx;

	f->n_heard++;
	memcpy(f->heard_identity, peer->identity, sizeof(f->heard_identity));
}

static inline int on_psk(void *ctx, struct span identity, uint8_t *ret, size_t max)
{
	if (span_eq_str(identity, "nobody") || max < identity.n)
		return -ENOENT;
	memcpy(ret, identity.p, identity.n); /* the key is the name */
	return (int)identity.n;
}

/* ---- set-up ---- */

#define BIT(m_) (1u << (m_))

static inline void fixture_routes(struct fixture *f)
{
	const struct coap_route routes[] = {
		{ .path = "hello", .methods = BIT(COAP_M_GET), .attributes = "rt=\"x.hello x.greeting\";ct=0;title=\"a;b,c\"", .fn = on_hello },
		{ .path = "store", .is_prefix = true, .methods = BIT(COAP_M_PUT) | BIT(COAP_M_POST) | BIT(COAP_M_DELETE) | BIT(COAP_M_FETCH),
		  .attributes = "rt=core.rd", .fn = on_store, .body_max = 20000 },
		{ .path = "image", .is_prefix = true, .methods = BIT(COAP_M_GET), .fn = on_image },
		{ .path = "big", .methods = BIT(COAP_M_GET) | BIT(COAP_M_POST), .observable = true, .fn = on_big },
		{ .path = "value", .is_prefix = true, .methods = BIT(COAP_M_GET), .attributes = "rt=\"core.rd-lookup-ep\"", .observable = true, .fn = on_value },
		{ .path = "later", .methods = BIT(COAP_M_GET) | BIT(COAP_M_POST), .fn = on_later },
		{ .path = "secret", .methods = BIT(COAP_M_GET), .attributes = "", .secure_only = true, .fn = on_secret },
	};

	for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++) {
		struct coap_route r = routes[i];

		r.ctx = f;
		assert_int_equal(coap_endpoint_add(f->e, &r), 0);
	}
	assert_int_equal(coap_endpoint_add(f->e, &routes[0]), -EEXIST);
}

static inline void raw_connect(struct fixture *f)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	f->raw = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(f->raw >= 0);
	assert_int_equal(connect(f->raw, (struct sockaddr *)&a, sizeof(a)), 0);
}

static inline int fixture_start(void **state)
{
	static const char *const listen[] = { "coap://127.0.0.1:0", "coaps://127.0.0.1:0" };
	struct coap_endpoint_config c = {
		.listen = listen, .n_listen = 2, .psk = on_psk, .max_observers = 5, .block1_total_bytes = 100000, .block1_peer_bytes = 40000,
	};
	struct fixture *f = NEW(struct fixture);
	struct coap_session_config s = { .uri = f->plain };
	int error = 0;

	f->loop = loop_new();
	f->value_format = COAP_CF_TEXT;
	f->e = coap_endpoint_new(f->loop, &c, &error);
	assert_non_null(f->e);
	assert_null(coap_endpoint_address(f->e, 2));
	(void)snprintf(f->plain, sizeof(f->plain), "%s", coap_endpoint_address(f->e, 0));
	(void)snprintf(f->secure, sizeof(f->secure), "%s", coap_endpoint_address(f->e, 1));
	f->port = (uint16_t)atoi(strrchr(f->plain, ':') + 1);
	assert_int_not_equal(f->port, 0);
	fixture_routes(f);
	coap_endpoint_set_heard(f->e, on_heard, f);
	f->client = coap_client_new(f->loop);
	assert_int_equal(coap_session_open(f->client, &s, &f->session), 0);
	raw_connect(f);
	*state = f;
	return 0;
}

static inline int fixture_stop(void **state)
{
	struct fixture *f = *state;

	coap_client_free(f->client);
	coap_endpoint_free(f->e);
	loop_free(f->loop);
	buf_done(&f->stored);
	buf_done(&f->got.body);
	close(f->raw);
	free(f);
	return 0;
}

/* ---- calls ---- */

static inline void on_answer(void *ctx, const struct coap_call_result *res)
{
	struct fixture *f = ctx;

	f->got.error = res->error;
	f->got.code = res->code;
	f->got.content_format = res->content_format;
	f->got.max_age_s = res->max_age_s;
	f->got.etag = res->etag;
	f->got.is_notification = res->is_notification;
	(void)snprintf(f->got.location, sizeof(f->got.location), "%s", res->location ? res->location : "");
	buf_clear(&f->got.body);
	buf_add(&f->got.body, res->body);
	if (++f->n_got == f->want)
		loop_stop(f->loop);
}

/* Runs the loop until `n` more answers are in. */
static inline void await(struct fixture *f, unsigned n)
{
	f->want = f->n_got + n;
	while (f->n_got < f->want) /* a handler may stop the loop too */
		assert_int_equal(loop_run_for(f->loop, FIXTURE_MS), 0);
}

static inline struct coap_call_request a_get(const char *path)
{
	return (struct coap_call_request){
		.method = COAP_M_GET, .path = path, .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE, .szx = COAP_SZX_MAX,
	};
}

static inline void call(struct fixture *f, const struct coap_call_request *q)
{
	assert_int_equal(coap_call(f->session, q, on_answer, f, NULL), 0);
	await(f, 1);
}

static inline void get(struct fixture *f, const char *path)
{
	struct coap_call_request q = a_get(path);

	call(f, &q);
}

static inline void get_query(struct fixture *f, const char *path, const char *const *query)
{
	struct coap_call_request q = a_get(path);

	q.query = query;
	call(f, &q);
}

static inline void send_body(struct fixture *f, uint8_t method, const char *path, size_t n, uint8_t szx)
{
	struct coap_call_request q = a_get(path);
	struct buf b = { 0 };

	for (size_t i = 0; i < n; i++)
		buf_add_u8(&b, pattern(i));
	q.method = method;
	q.body = buf_span(&b);
	q.szx = szx;
	call(f, &q);
	buf_done(&b);
}

static inline void assert_got(const struct fixture *f, uint8_t code, const char *body)
{
	assert_int_equal(f->got.error, 0);
	assert_int_equal(f->got.code, code);
	if (body)
		assert_string_equal(buf_str(&f->got.body), body);
}

static inline void assert_pattern(struct span s, uint64_t off, uint8_t plus)
{
	for (size_t i = 0; i < s.n; i++)
		assert_int_equal(s.p[i], (uint8_t)(pattern(off + i) + plus));
}

/* ---- raw datagrams ---- */

enum { CON = 0, NON = 1, ACK = 2, RST = 3 };

struct raw {
	uint8_t b[1500];
	size_t n;
	unsigned option;               /* the last one */
};

static inline void raw_start(struct raw *m, unsigned type, uint8_t code, uint16_t mid, const char *token)
{
	*m = (struct raw){ .n = 4 };
	m->b[0] = (uint8_t)(0x40 | type << 4 | strlen(token));
	m->b[1] = code;
	m->b[2] = (uint8_t)(mid >> 8);
	m->b[3] = (uint8_t)mid;
	memcpy(m->b + 4, token, strlen(token));
	m->n += strlen(token);
}

static inline void raw_option(struct raw *m, unsigned number, struct span v)
{
	unsigned delta = number - m->option, d = delta < 13 ? delta : delta < 269 ? 13 : 14;
	size_t l = v.n < 13 ? v.n : v.n < 269 ? 13 : 14;

	m->b[m->n++] = (uint8_t)(d << 4 | l);
	if (d == 13)
		m->b[m->n++] = (uint8_t)(delta - 13);
	if (d == 14) {
		m->b[m->n++] = (uint8_t)((delta - 269) >> 8);
		m->b[m->n++] = (uint8_t)(delta - 269);
	}
	if (l == 13)
		m->b[m->n++] = (uint8_t)(v.n - 13);
	if (l == 14) {
		m->b[m->n++] = (uint8_t)((v.n - 269) >> 8);
		m->b[m->n++] = (uint8_t)(v.n - 269);
	}
	if (v.n)
		memcpy(m->b + m->n, v.p, v.n);
	m->n += v.n;
	m->option = number;
}

static inline void raw_text(struct raw *m, unsigned number, const char *v) { raw_option(m, number, span_str(v)); }

static inline void raw_uint(struct raw *m, unsigned number, uint32_t v)
{
	uint8_t b[4];
	size_t n = v > 0xffffff ? 4 : v > 0xffff ? 3 : v > 0xff ? 2 : v ? 1 : 0;

	for (size_t i = 0; i < n; i++)
		b[i] = (uint8_t)(v >> 8 * (n - 1 - i));
	raw_option(m, number, SPAN(b, n));
}

static inline uint32_t block(uint32_t num, bool more, unsigned szx) { return num << 4 | (more ? 8u : 0) | szx; }

static inline void raw_payload(struct raw *m, size_t n, uint64_t from)
{
	if (n == 0)
		return;
	m->b[m->n++] = 0xff;
	for (size_t i = 0; i < n; i++)
		m->b[m->n++] = pattern(from + i);
}

static inline void raw_send(struct fixture *f, const struct raw *m)
{
	assert_int_equal(send(f->raw, m->b, m->n, 0), (ssize_t)m->n);
}

/* The next datagram from the endpoint, or n == 0 when it stays silent while the loop runs quiet for in_ms. */
static inline struct raw raw_receive(struct fixture *f, int in_ms)
{
	struct raw m = { 0 };

	for (int left = in_ms; left > 0; left -= 5) {
		ssize_t n = recv(f->raw, m.b, sizeof(m.b), MSG_DONTWAIT);

		if (n > 0) {
			m.n = (size_t)n;
			return m;
		}
		(void)loop_run_for(f->loop, 5); /* -ETIMEDOUT is what it is for */
	}
	return m;
}

static inline struct raw raw_exchange(struct fixture *f, const struct raw *m)
{
	raw_send(f, m);
	return raw_receive(f, 3000);
}

static inline unsigned raw_type(const struct raw *m) { return m->b[0] >> 4 & 3; }
static inline uint16_t raw_mid(const struct raw *m) { return (uint16_t)(m->b[2] << 8 | m->b[3]); }

/* The value of option `number`, the index-th; false = absent. number 0xffff = the payload. */
static inline bool raw_find(const struct raw *m, unsigned number, struct span *ret)
{
	size_t at = 4 + (m->b[0] & 15);
	unsigned o = 0;

	while (at < m->n && m->b[at] != 0xff) {
		unsigned d = m->b[at] >> 4, l = m->b[at] & 15;

		at++;
		if (d == 13)
			d = 13u + m->b[at++];
		else if (d == 14) {
			d = 269u + (unsigned)(m->b[at] << 8 | m->b[at + 1]);
			at += 2;
		}
		if (l == 13)
			l = 13u + m->b[at++];
		else if (l == 14) {
			l = 269u + (unsigned)(m->b[at] << 8 | m->b[at + 1]);
			at += 2;
		}
		o += d;
		if (o == number) {
			*ret = SPAN(m->b + at, l);
			return true;
		}
		at += l;
	}
	if (number == 0xffff && at < m->n) {
		*ret = SPAN(m->b + at + 1, m->n - at - 1);
		return true;
	}
	return false;
}

static inline int64_t raw_find_uint(const struct raw *m, unsigned number)
{
	struct span v;
	int64_t n = 0;

	if (!raw_find(m, number, &v))
		return -1;
	for (size_t i = 0; i < v.n; i++)
		n = n << 8 | v.p[i];
	return n;
}

#define fixture_test(fn_) cmocka_unit_test_setup_teardown(fn_, fixture_start, fixture_stop)
