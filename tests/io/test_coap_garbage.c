/* The endpoint under a seeded stream of broken, twisted and well-formed datagrams, with our handlers behind it; the
 * packaged libcoap is part of what is tried (rd-and-proxy rule 9). Run it under ASan. */
#include "coap_fixture.h"

enum { PACKETS = 20000, PER_TURN = 20, OPTIONS = 24 };

static uint64_t seed = 0x9e3779b97f4a7c15u;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

static const char *const paths[] = { "hello", "store", "image", "big", "value", "value", "secret", ".well-known", "core", "", "x", "y", "%" };
static const char *const uris[] = { "coap://127.0.0.1/hello", "coap://[::1]:5683/%", "coap://h/%4", "coap://h/a%4", "coap:///", "http://x", "ble:/x",
	"coap://127.0.0.1:5683/store?%", "coap://[", "coaps+tcp://a:99999/", "/", "coap://h?" };

/* Numbers in ascending order with plausible and implausible values. */
static void add_options(struct raw *m)
{
	static const unsigned numbers[OPTIONS] = { 1, 3, 4, 5, 6, 7, 8, 11, 11, 11, 12, 14, 15, 15, 16, 17, 23, 27, 28, 35, 39, 60, 252, 292 };

	for (size_t i = 0; i < OPTIONS && m->n < 1100; i++) {
		unsigned o = numbers[i];

		if (rnd(o == 11 ? 2 : 6))
			continue;
		if (o == 11 || o == 15 || o == 3 || o == 39)
			raw_text(m, o, paths[rnd(sizeof(paths) / sizeof(*paths))]);
		else if (o == 35)
			raw_text(m, o, uris[rnd(sizeof(uris) / sizeof(*uris))]);
		else if (o == 23 || o == 27)
			raw_uint(m, o, rnd(4) ? block(rnd(5), rnd(2), rnd(8)) : rnd(0x1000000));
		else if (rnd(4))
			raw_uint(m, o, rnd(3) ? rnd(70) : rnd(0x7fffffff));
		else
			raw_option(m, o, SPAN("abcdefghijklmnopqrstuvwxyz0123456789abcdefghi", rnd(45)));
	}
	if (rnd(10) == 0)
		raw_uint(m, 65000 + rnd(8), rnd(300));
}

static void twist(struct raw *m)
{
	for (uint32_t k = rnd(4); k > 0; k--)
		m->b[rnd((uint32_t)m->n)] ^= (uint8_t)(1 << rnd(8));
	if (rnd(4) == 0)
		m->n = rnd((uint32_t)m->n + 1);
}

static struct raw any_packet(void)
{
	static const size_t sizes[] = { 0, 0, 1, 15, 16, 17, 32, 64, 128, 256 };
	static uint16_t mid;
	struct raw m;

	/* message ids repeat, so that retransmissions, ACK and RST meet something */
	raw_start(&m, rnd(8) ? rnd(2) : rnd(4), rnd(12) ? (uint8_t)(1 + rnd(7)) : (uint8_t)rnd(256), rnd(3) ? mid++ : (uint16_t)rnd(64),
		  (const char *const[]){ "", "a", "bb", "tokens!!" }[rnd(4)]);
	add_options(&m);
	raw_payload(&m, sizes[rnd(sizeof(sizes) / sizeof(*sizes))], 0);
	if (rnd(3) == 0)
		twist(&m);
	if (rnd(40) == 0) {
		m.n = 1 + rnd(1400);
		for (size_t i = 0; i < m.n; i++)
			m.b[i] = (uint8_t)rnd(256);
	}
	return m;
}

static void answer_old(struct fixture *f)
{
	struct coap_response old;

	coap_response_init(&old);
	old.code = COAP_205_CONTENT;
	(void)buf_grow(&old.body, rnd(3000));
	coap_deferred_respond(f->deferred, &old);
}

/* Each request answers the one before it. */
static int on_later_at_times(void *ctx, const struct coap_request *q, struct coap_response *r)
{
	struct fixture *f = ctx;
	struct coap_deferred *d = coap_defer(f->e, q);

	if (f->deferred)
		answer_old(f);
	f->deferred = d;
	f->n_defer++;
	return d ? COAP_HANDLER_LATER : coap_error(r, COAP_503_UNAVAILABLE, "full");
}

static void drain(int fd)
{
	uint8_t b[1500];

	while (recv(fd, b, sizeof(b), MSG_DONTWAIT) > 0)
		;
}

static void garbage_disturbs_nobody(void **state)
{
	const struct coap_route defer = { .path = "x", .is_prefix = true, .methods = BIT(COAP_M_GET) | BIT(COAP_M_POST), .fn = on_later_at_times, .ctx = *state };
	struct fixture *f = *state;

	assert_int_equal(coap_endpoint_add(f->e, &defer), 0);
	coap_endpoint_set_proxy(f->e, on_hello, f);
	f->big_bytes = 2500;
	for (int i = 0; i < PACKETS; i++) {
		struct raw m = any_packet();

		if (m.n && send(f->raw, m.b, m.n, MSG_DONTWAIT) < 0)
			assert_true(errno == EAGAIN || errno == ECONNREFUSED);
		if (i % PER_TURN == 0) {
			(void)loop_run_for(f->loop, 1); /* 0 when a handler stopped it */
			drain(f->raw);
		}
		if (i % 500 == 0) {
			f->value++;
			coap_endpoint_changed(f->e, "");
		}
		if (i % 2000 == 1999) {
			close(f->raw);
			raw_connect(f);
			get(f, "hello");
			assert_got(f, COAP_205_CONTENT, "hello");
		}
	}
	if (f->deferred)
		answer_old(f);
	assert_true(metric_get(METRIC_COAP_OBSERVERS) <= 5);
	assert_true(metric_get(METRIC_COAP_BLOCK1_BYTES) < 110000);
	assert_true(f->n_defer > 10 && f->n_store > 10 && f->n_big > 10);
	assert_true(metric_get(METRIC_COAP_REQUESTS) > PACKETS / 4);
	send_body(f, COAP_M_PUT, "store", 4000, 6);
	assert_got(f, COAP_204_CHANGED, NULL);
}

/* The same stream at the DTLS port. */
static void garbage_at_the_dtls_port_disturbs_nobody(void **state)
{
	struct fixture *f = *state;
	struct coap_session_config s = { .uri = f->secure, .psk_identity = "n", .psk_key = SPAN_LIT("n") };

	close(f->raw);
	f->port = (uint16_t)atoi(strrchr(f->secure, ':') + 1);
	raw_connect(f);
	for (int i = 0; i < PACKETS / 4; i++) {
		struct raw m = any_packet();

		if (rnd(2)) { /* the look of a DTLS record */
			m.b[0] = (uint8_t)(20 + rnd(5));
			m.b[1] = 0xfe;
			m.b[2] = rnd(4) ? 0xfd : 0xff;
			m.n = m.n < 14 ? 14 : m.n;
			m.b[13] = (uint8_t)rnd(3);
		}
		if (m.n && send(f->raw, m.b, m.n, MSG_DONTWAIT) < 0)
			assert_true(errno == EAGAIN || errno == ECONNREFUSED);
		if (i % PER_TURN == 0)
			(void)loop_run_for(f->loop, 1);
	}
	coap_session_close(f->session);
	assert_int_equal(coap_session_open(f->client, &s, &f->session), 0);
	get(f, "secret");
	assert_got(f, COAP_205_CONTENT, "n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(garbage_disturbs_nobody),
		fixture_test(garbage_at_the_dtls_port_disturbs_nobody),
	};
	return cmocka_run_group_tests_name("io/coap_garbage", tests, NULL, NULL);
}
