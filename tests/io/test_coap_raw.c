/* io/coap_endpoint against datagrams that no honest client sends, the packets of the library's known crashes among
 * them (T1 to T6), retransmissions, and floods. */
#include "coap_fixture.h"

enum { O_IF_MATCH = 1, O_ETAG = 4, O_OBSERVE = 6, O_PATH = 11, O_CF = 12, O_QUERY = 15, O_ACCEPT = 17, O_BLOCK2 = 23, O_BLOCK1 = 27,
       O_SIZE2 = 28, O_PROXY_URI = 35, O_PROXY_SCHEME = 39, O_SIZE1 = 60, O_NO_RESPONSE = 258, O_REQUEST_TAG = 292, O_PAYLOAD = 0xffff };

static uint16_t next_mid = 100;

static struct raw request(uint8_t method, const char *path, const char *token)
{
	struct raw m;

	raw_start(&m, CON, method, next_mid++, token);
	raw_text(&m, O_PATH, path);
	return m;
}

static void assert_alive(struct fixture *f)
{
	get(f, "hello");
	assert_got(f, COAP_205_CONTENT, "hello");
}

static void assert_code(const struct raw *m, uint8_t code)
{
	assert_true(m->n >= 4);
	assert_int_equal(m->b[1], code);
}

/* T1: two datagrams that kill a server which leaves blocks to libcoap 4.3.1. */
static void t1_empty_blocks_do_no_harm(void **state)
{
	struct fixture *f = *state;
	static const char *const path[] = { "hello", "store", "nowhere", "big" };

	for (size_t i = 0; i < 4; i++) {
		for (uint8_t method = COAP_M_GET; method <= COAP_M_IPATCH; method++) {
			struct raw m = request(method, path[i], "T1"), r;

			raw_uint(&m, O_BLOCK1, block(0, true, 6));
			r = raw_exchange(f, &m);
			assert_int_equal(r.b[1] >> 5, 4);
			m = request(method, path[i], "T1");
			raw_uint(&m, O_BLOCK1, block(0, false, 6));
			r = raw_exchange(f, &m);
			assert_int_not_equal(r.n, 0);
		}
	}
	assert_alive(f);
}

/* T2: an upload under way, then Block1 toward the proxy, on one session. */
static void t2_an_upload_and_a_proxied_one_do_not_meet(void **state)
{
	struct fixture *f = *state;
	struct raw m = request(COAP_M_PUT, "store", "a"), r;

	raw_uint(&m, O_BLOCK1, block(0, true, 0));
	raw_payload(&m, 16, 0);
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_231_CONTINUE);
	raw_start(&m, CON, COAP_M_PUT, next_mid++, "b");
	raw_uint(&m, O_BLOCK1, block(0, true, 0));
	raw_text(&m, O_PROXY_URI, "coap://192.0.2.1/x");
	raw_payload(&m, 16, 0);
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_505_NO_PROXY);
	raw_start(&m, CON, COAP_M_PUT, next_mid++, "c"); /* Proxy-Scheme without a host: the directed address, that is us */
	raw_text(&m, O_PATH, "store");
	raw_uint(&m, O_BLOCK1, block(0, true, 0));
	raw_text(&m, O_PROXY_SCHEME, "coap");
	raw_payload(&m, 16, 0);
	r = raw_exchange(f, &m);
	assert_int_equal(raw_type(&r), ACK); /* libcoap's early one */
	assert_code(&r, 0);
	r = raw_receive(f, 3000);
	assert_int_equal(raw_type(&r), CON);
	assert_code(&r, COAP_231_CONTINUE);
	assert_int_not_equal(raw_mid(&r), next_mid - 1); /* T12: not the client's message id */
	raw_start(&m, ACK, 0, raw_mid(&r), "");
	raw_send(f, &m);
	m = request(COAP_M_PUT, "store", "d");
	raw_uint(&m, O_BLOCK1, block(1, false, 0));
	raw_payload(&m, 4, 16);
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_204_CHANGED);
	assert_int_equal(f->stored.n, 20);
	assert_alive(f);
}

/* T4, BW-3. */
static void t4_a_fragment_never_reaches_a_handler(void **state)
{
	struct fixture *f = *state;

	for (uint32_t num = 1; num < 4; num++) {
		struct raw m = request(COAP_M_POST, "store", "x"), r;

		raw_uint(&m, O_BLOCK1, block(num, num == 2, 0));
		raw_payload(&m, 16, 0);
		r = raw_exchange(f, &m);
		assert_code(&r, COAP_408_INCOMPLETE);
	}
	assert_int_equal(f->n_store, 0);
}

/* T5, RD-46; T6, RD-51: the handler of a repeated datagram runs once, and the answer is the same. */
static void t6_a_repeated_request_runs_once(void **state)
{
	struct fixture *f = *state;
	struct raw m = request(COAP_M_DELETE, "store", "del"), first, again;

	first = raw_exchange(f, &m);
	assert_code(&first, COAP_202_DELETED);
	for (int i = 0; i < 3; i++) {
		again = raw_exchange(f, &m);
		assert_int_equal(again.n, first.n);
		assert_memory_equal(again.b, first.b, first.n);
	}
	assert_int_equal(f->n_delete, 1);
	assert_true(metric_get(METRIC_COAP_DUPLICATES) >= 3);
	m = request(COAP_M_DELETE, "store", "del");
	again = raw_exchange(f, &m);
	assert_code(&again, COAP_404_NOT_FOUND);

	m = request(COAP_M_POST, "store", "post");
	raw_payload(&m, 30, 0);
	first = raw_exchange(f, &m);
	again = raw_exchange(f, &m);
	assert_code(&first, COAP_201_CREATED);
	assert_memory_equal(again.b, first.b, first.n);
	assert_int_equal(f->n_store, 1);

	m.b[0] |= NON << 4; /* the same as NON: silence the second time */
	m.b[3]++;
	next_mid += 2;
	first = raw_exchange(f, &m);
	assert_code(&first, COAP_201_CREATED);
	assert_int_equal(raw_type(&first), NON);
	assert_int_not_equal(raw_mid(&first), raw_mid(&m));
	raw_send(f, &m);
	again = raw_receive(f, 100);
	assert_int_equal(again.n, 0);
	assert_int_equal(f->n_store, 2);
}

/* A node that starts again counts its message ids anew; another request is no retransmission. */
static void the_same_message_id_with_another_request_is_new(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++) {
		char token[2] = { (char)('a' + i), 0 };
		struct raw m, r;

		raw_start(&m, CON, COAP_M_POST, 7, token);
		raw_text(&m, O_PATH, "store");
		r = raw_exchange(f, &m);
		assert_code(&r, COAP_201_CREATED);
	}
	assert_int_equal(f->n_store, 3);
}

static void a_repeated_request_whose_answer_is_awaited_is_absorbed(void **state)
{
	struct fixture *f = *state;
	struct raw m = request(COAP_M_GET, "later", "wait"), r;
	struct coap_response res;

	raw_send(f, &m);
	r = raw_receive(f, 50);
	assert_int_equal(r.n, 0); /* the ACK waits for the answer */
	r = raw_exchange(f, &m);
	assert_int_equal(raw_type(&r), ACK);
	assert_int_equal(r.n, 4);
	assert_int_equal(f->n_defer, 1);
	coap_response_init(&res);
	res.code = COAP_205_CONTENT;
	buf_add_str(&res.body, "done");
	coap_deferred_respond(f->deferred, &res);
	r = raw_receive(f, 3000);
	assert_int_equal(raw_type(&r), CON);
	assert_code(&r, COAP_205_CONTENT);
	raw_start(&m, ACK, 0, raw_mid(&r), "");
	raw_send(f, &m);
}

/* ER-6, T16. */
static void long_token_lengths_get_rst(void **state)
{
	struct fixture *f = *state;

	for (uint8_t tkl = 9; tkl < 16; tkl++) {
		struct raw m = request(COAP_M_GET, "hello", ""), r;

		memset(m.b + m.n, 'x', 20);
		m.n += 20;
		m.b[0] = (uint8_t)(0x40 | tkl);
		r = raw_exchange(f, &m);
		assert_true(r.n == 0 || raw_type(&r) == RST);
	}
	assert_alive(f);
}

/* BW-1, BW-2. */
static void szx_7_and_blocks_past_the_end_are_4_00(void **state)
{
	struct fixture *f = *state;
	struct raw m = request(COAP_M_GET, "image", "1"), r;

	raw_uint(&m, O_BLOCK2, block(0, false, 7));
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_400_BAD_REQUEST);
	m = request(COAP_M_PUT, "store", "2");
	raw_uint(&m, O_BLOCK1, block(0, false, 7));
	raw_payload(&m, 10, 0);
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_400_BAD_REQUEST);
	for (uint32_t num = 98; num <= 0xfffff; num = num * 10 + 9) {
		m = request(COAP_M_GET, "image", "3");
		raw_uint(&m, O_BLOCK2, block(num, false, 6));
		r = raw_exchange(f, &m);
		assert_code(&r, COAP_400_BAD_REQUEST);
	}
	m = request(COAP_M_GET, "image", "4");
	raw_uint(&m, O_BLOCK2, block(97, false, 6));
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_205_CONTENT);
	assert_int_equal(raw_find_uint(&r, O_BLOCK2), block(97, false, 6));
	assert_int_equal(raw_find_uint(&r, O_SIZE2), -1);
	m = request(COAP_M_GET, "image", "5");
	r = raw_exchange(f, &m);
	assert_int_equal(raw_find_uint(&r, O_BLOCK2), block(0, true, 6));
	assert_int_equal(raw_find_uint(&r, O_SIZE2), 100000); /* BW-6 */
	m = request(COAP_M_POST, "big", "6"); /* a later block of an answer that never was */
	raw_uint(&m, O_BLOCK2, block(3, false, 6));
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_408_INCOMPLETE);
	assert_int_equal(f->n_big, 0);
}

/* PX-30, PX-33; RFC 7252 5.4.5 for repeated ones. */
static void options_and_methods_that_nobody_knows(void **state)
{
	struct fixture *f = *state;
	struct raw m = request(COAP_M_GET, "hello", "1"), r;

	raw_text(&m, 65001, "x");
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_402_BAD_OPTION);
	m.b[0] |= NON << 4;
	r = raw_exchange(f, &m);
	assert_int_equal(raw_type(&r), RST);
	m = request(COAP_M_GET, "hello", "2");
	raw_text(&m, 65000, "elective");
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_205_CONTENT);
	m = request(COAP_M_GET, "hello", "3");
	raw_uint(&m, O_ACCEPT, 0);
	raw_uint(&m, O_ACCEPT, 40);
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_402_BAD_OPTION);
	for (uint8_t code = 8; code < 32; code++) {
		m = request(code, "hello", "4");
		r = raw_exchange(f, &m);
		assert_code(&r, COAP_405_METHOD);
	}
	m = request(COAP_M_GET, "hello", "5");
	for (int i = 0; i < COAP_PATH_MAX; i++)
		raw_text(&m, O_PATH, "x");
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_404_NOT_FOUND);
	m = request(COAP_M_GET, "value", "6");
	for (int i = 0; i <= COAP_QUERY_MAX; i++)
		raw_text(&m, O_QUERY, "x");
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_400_BAD_REQUEST);
	raw_start(&m, CON, COAP_M_GET, next_mid++, "7"); /* "store/x" in one segment is not a path below store */
	raw_text(&m, O_PATH, "store/x");
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_404_NOT_FOUND);
	assert_alive(f);
}

static struct raw part(const char *query, const char *tag, uint32_t num, bool more, int cf, size_t n)
{
	struct raw m = request(COAP_M_PUT, "store", tag);

	if (cf >= 0)
		raw_uint(&m, O_CF, (uint32_t)cf);
	raw_text(&m, O_QUERY, query);
	raw_uint(&m, O_BLOCK1, block(num, more, 2));
	raw_text(&m, O_REQUEST_TAG, tag);
	raw_payload(&m, n, num * 64 + (uint8_t)tag[0]);
	return m;
}

/* BW-4: two registrations interleaved, told apart by their query or their Request-Tag. */
static void interleaved_uploads_do_not_mix(void **state)
{
	struct fixture *f = *state;
	static const struct { const char *query, *tag; } rows[3] = { { "ep=a", "p" }, { "ep=b", "p" }, { "ep=a", "q" } };
	struct raw m, r;

	for (uint32_t num = 0; num < 3; num++) {
		for (size_t i = 0; i < 3; i++) {
			m = part(rows[i].query, rows[i].tag, num, true, 40, 64);
			r = raw_exchange(f, &m);
			assert_code(&r, COAP_231_CONTINUE);
			assert_int_equal(raw_find_uint(&r, O_BLOCK1), block(num, true, 2));
		}
	}
	for (size_t i = 0; i < 3; i++) {
		m = part(rows[i].query, rows[i].tag, 3, false, 40, 10);
		r = raw_exchange(f, &m);
		assert_code(&r, COAP_204_CHANGED);
		assert_int_equal(raw_find_uint(&r, O_BLOCK1), block(3, false, 2));
		assert_int_equal(f->stored.n, 202);
		assert_pattern(buf_span(&f->stored), (uint8_t)rows[i].tag[0], 0);
		assert_int_equal(strncmp(f->stored_query, rows[i].query, 4), 0);
	}
	assert_int_equal(f->n_store, 3);
}

/* BW-5, BW-7. */
static void an_upload_must_keep_its_format_and_fill_its_blocks(void **state)
{
	struct fixture *f = *state;
	struct raw m = part("a", "t", 0, true, 40, 64), r = raw_exchange(f, &m);

	assert_code(&r, COAP_231_CONTINUE);
	m = part("a", "t", 1, true, 60, 64);
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_408_INCOMPLETE);
	m = part("a", "t", 1, true, 40, 64); /* and the rest is gone */
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_408_INCOMPLETE);
	m = part("a", "u", 0, true, 40, 63);
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_400_BAD_REQUEST);
	m = part("a", "u", 0, true, 40, 0);
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_400_BAD_REQUEST);
	assert_int_equal(metric_get(METRIC_COAP_BLOCK1_BYTES), 0);
}

static void a_claimed_size_over_the_limit_is_refused_at_once(void **state)
{
	struct fixture *f = *state;
	struct raw m = request(COAP_M_PUT, "store", "s"), r;

	raw_uint(&m, O_BLOCK1, block(0, true, 6));
	raw_uint(&m, O_SIZE1, 20001);
	raw_payload(&m, 1024, 0);
	r = raw_exchange(f, &m);
	assert_code(&r, COAP_413_TOO_LARGE);
	assert_int_equal(raw_find_uint(&r, O_SIZE1), 20000);
}

/* BW-7: a peer's unfinished bodies are bounded in number and bytes, and so are all. */
static void a_flood_of_first_blocks_costs_bounded_memory(void **state)
{
	struct fixture *f = *state;
	unsigned refused = 0;

	for (int peer = 0; peer < 8; peer++) {
		for (int i = 0; i < 60; i++) {
			struct raw m = request(COAP_M_PUT, "store", "f"), r;
			char tag[16];

			(void)snprintf(tag, sizeof(tag), "%d", i);
			raw_uint(&m, O_BLOCK1, block(0, true, 6));
			raw_text(&m, O_REQUEST_TAG, tag);
			raw_payload(&m, 1024, 0);
			r = raw_exchange(f, &m);
			refused += r.b[1] == COAP_503_UNAVAILABLE;
			assert_true(r.b[1] == COAP_231_CONTINUE || r.b[1] == COAP_503_UNAVAILABLE);
			/* as configured: 100000 in all; a block and the buffer's growth above that at most */
			assert_true(metric_get(METRIC_COAP_BLOCK1_BYTES) < 110000);
		}
		close(f->raw);
		raw_connect(f);
	}
	assert_true(refused > 200);
	send_body(f, COAP_M_PUT, "store", 500, 6); /* what needs no assembly is served */
	assert_got(f, COAP_204_CHANGED, NULL);
}

/* PX-41 for our own answers. */
static void no_response_is_honoured(void **state)
{
	struct fixture *f = *state;
	struct raw m = request(COAP_M_PUT, "store", "n"), r;

	raw_uint(&m, O_NO_RESPONSE, 26);
	raw_payload(&m, 5, 0);
	r = raw_exchange(f, &m);
	assert_int_equal(raw_type(&r), ACK);
	assert_int_equal(r.n, 4);
	assert_int_equal(f->n_store, 1);
}

static int on_condition(void *ctx, const struct coap_request *q, struct coap_response *r)
{
	r->code = COAP_204_CHANGED;
	if (q->if_none_match || (q->n_if_match && q->if_match[0].n))
		return coap_error(r, COAP_412_PRECONDITION, "no");
	return COAP_HANDLER_DONE;
}

static void if_match_and_if_none_match_reach_the_handler(void **state)
{
	struct fixture *f = *state;
	const struct coap_route route = { .path = "cond", .methods = BIT(COAP_M_PUT), .fn = on_condition };
	static const struct { int option; const char *v; uint8_t want; } rows[] = {
		{ 0, NULL, COAP_204_CHANGED }, { 1, "", COAP_204_CHANGED }, { 1, "abc", COAP_412_PRECONDITION }, { 5, "", COAP_412_PRECONDITION },
	};

	assert_int_equal(coap_endpoint_add(f->e, &route), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct raw m, r;

		raw_start(&m, CON, COAP_M_PUT, next_mid++, "c");
		if (rows[i].v)
			raw_text(&m, (unsigned)rows[i].option, rows[i].v);
		raw_text(&m, O_PATH, "cond");
		r = raw_exchange(f, &m);
		assert_code(&r, rows[i].want);
	}
}

/* T17. */
static void idle_sessions_are_bounded(void **state)
{
	static const char *const listen[] = { "coap://127.0.0.1:0" };
	struct coap_endpoint_config c = { .listen = listen, .n_listen = 1, .max_sessions = 20 };
	struct fixture *f = *state;
	const struct coap_route route = { .path = "value", .methods = BIT(COAP_M_GET), .observable = true, .fn = on_value, .ctx = f };
	int64_t before = metric_get(METRIC_COAP_SESSIONS);
	struct coap_endpoint *e = coap_endpoint_new(f->loop, &c, NULL);
	struct raw m, r;

	assert_non_null(e);
	assert_int_equal(coap_endpoint_add(e, &route), 0);
	f->port = (uint16_t)atoi(strrchr(coap_endpoint_address(e, 0), ':') + 1);
	for (int i = 0; i < 100; i++) {
		close(f->raw);
		raw_connect(f);
		m = request(COAP_M_GET, "value", "s");
		r = raw_exchange(f, &m);
		assert_code(&r, COAP_205_CONTENT);
		assert_true(metric_get(METRIC_COAP_SESSIONS) - before <= 20);
	}
	raw_start(&m, CON, COAP_M_GET, next_mid++, "o"); /* an observer's session stays while others come and go */
	raw_uint(&m, O_OBSERVE, 0);
	raw_text(&m, O_PATH, "value");
	r = raw_exchange(f, &m);
	assert_true(raw_find_uint(&r, O_OBSERVE) >= 0);
	for (int i = 0; i < 100; i++) {
		int keep = f->raw;

		raw_connect(f);
		m = request(COAP_M_GET, "value", "s");
		r = raw_exchange(f, &m);
		close(f->raw);
		f->raw = keep;
	}
	assert_true(metric_get(METRIC_COAP_SESSIONS) - before <= 21);
	f->value = 3;
	coap_endpoint_changed(e, "value");
	r = raw_receive(f, 3000);
	assert_code(&r, COAP_205_CONTENT);
	coap_endpoint_free(e);
	assert_int_equal(metric_get(METRIC_COAP_SESSIONS), before);
}

static void many_datagrams_at_once_are_all_answered(void **state)
{
	struct fixture *f = *state;
	unsigned n = 0;

	for (int i = 0; i < 200; i++) {
		struct raw m = request(COAP_M_GET, "hello", "m");

		raw_send(f, &m);
	}
	while (raw_receive(f, 500).n)
		n++;
	assert_int_equal(n, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(t1_empty_blocks_do_no_harm),
		fixture_test(t2_an_upload_and_a_proxied_one_do_not_meet),
		fixture_test(t4_a_fragment_never_reaches_a_handler),
		fixture_test(t6_a_repeated_request_runs_once),
		fixture_test(the_same_message_id_with_another_request_is_new),
		fixture_test(a_repeated_request_whose_answer_is_awaited_is_absorbed),
		fixture_test(long_token_lengths_get_rst),
		fixture_test(szx_7_and_blocks_past_the_end_are_4_00),
		fixture_test(options_and_methods_that_nobody_knows),
		fixture_test(interleaved_uploads_do_not_mix),
		fixture_test(an_upload_must_keep_its_format_and_fill_its_blocks),
		fixture_test(a_claimed_size_over_the_limit_is_refused_at_once),
		fixture_test(a_flood_of_first_blocks_costs_bounded_memory),
		fixture_test(no_response_is_honoured),
		fixture_test(if_match_and_if_none_match_reach_the_handler),
		fixture_test(idle_sessions_are_bounded),
		fixture_test(many_datagrams_at_once_are_all_answered),
	};
	return cmocka_run_group_tests_name("io/coap_raw", tests, NULL, NULL);
}
