/* io/coap_endpoint: routing, discovery, Block2, ETag, Accept, deferred answers, identities; with our client. */
#include "coap_fixture.h"

static void a_resource_answers_and_an_unknown_path_is_4_04(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("nowhere");

	get(f, "hello");
	assert_got(f, COAP_205_CONTENT, "hello");
	assert_int_equal(f->got.content_format, COAP_CF_TEXT);
	get(f, "/hello");
	assert_got(f, COAP_205_CONTENT, "hello");
	get(f, "hello/more"); /* not a prefix */
	assert_got(f, COAP_404_NOT_FOUND, NULL);
	get(f, "hell%6f");
	assert_got(f, COAP_205_CONTENT, NULL);
	get(f, "");
	assert_got(f, COAP_404_NOT_FOUND, NULL);
	for (uint8_t m = COAP_M_GET; m <= COAP_M_IPATCH; m++) { /* T5: DELETE too (RD-46) */
		q.method = m;
		call(f, &q);
		assert_got(f, COAP_404_NOT_FOUND, NULL);
	}
	assert_int_equal(f->n_heard, 12);
}

static void a_method_that_a_resource_lacks_is_4_05(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("hello");

	for (uint8_t m = COAP_M_POST; m <= COAP_M_IPATCH; m++) {
		q.method = m;
		call(f, &q);
		assert_got(f, COAP_405_METHOD, NULL);
	}
	get(f, "store/x/y");
	assert_got(f, COAP_405_METHOD, NULL);
}

/* LF-5, RD-1, LF-3: one row a filter. */
static void well_known_core_filters_by_all_criteria(void **state)
{
	struct fixture *f = *state;
	static const char hello[] = "</hello>;rt=\"x.hello x.greeting\";ct=0;title=\"a;b,c\"", store[] = "</store>;rt=core.rd",
		value[] = "</value>;rt=\"core.rd-lookup-ep\";obs", secret[] = "</secret>";
	static const struct { const char *query[4]; const char *want[5]; } rows[] = {
		{ { NULL }, { hello, store, value, secret } },
		{ { "rt=core.rd*" }, { store, value } },
		{ { "rt=core.rd-lookup*" }, { value } },
		{ { "rt=core.rd" }, { store } },
		{ { "rt=x.greeting" }, { hello } },
		{ { "rt=x.greet*", "ct=0" }, { hello } },
		{ { "rt=x.greet*", "ct=1" }, { NULL } },
		{ { "rt=x.hello x.greeting" }, { NULL } },
		{ { "title=a;b,c" }, { hello } },
		{ { "href=/st*" }, { store } },
		{ { "href=/value" }, { value } },
		{ { "href=value" }, { NULL } },
		{ { "obs" }, { value } },
		{ { "obs="}, { NULL } },
		{ { "rt" }, { NULL } },
		{ { "rt=*" }, { hello, store, value } },
		{ { "nonsense=1" }, { NULL } },
		{ { "rt=core.rd&obs" }, { NULL } }, /* one option is one criterion (T7, T9) */
		{ { "rt=core.rd*", "obs" }, { value } },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct buf want = { 0 };

		for (size_t k = 0; rows[i].want[k]; k++)
			buf_printf(&want, "%s%s", k ? "," : "", rows[i].want[k]);
		get_query(f, ".well-known/core", rows[i].query);
		assert_got(f, COAP_205_CONTENT, buf_str(&want));
		buf_done(&want);
	}
}

/* PX-31. */
static void an_accept_that_cannot_be_met_is_4_06(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get(".well-known/core");

	q.accept = COAP_CF_CBOR;
	call(f, &q);
	assert_got(f, COAP_406_NOT_ACCEPTABLE, NULL);
	q.accept = COAP_CF_LINK;
	call(f, &q);
	assert_got(f, COAP_205_CONTENT, NULL);
	q.path = "image/a";
	call(f, &q);
	assert_got(f, COAP_406_NOT_ACCEPTABLE, NULL);
	assert_int_equal(f->released, 1); /* the reader was not lost */
}

struct window {
	uint64_t from, next, total;
	size_t left;
	unsigned n;
};

static int take(void *ctx, uint64_t off, struct span data, uint64_t total, const struct coap_etag *etag)
{
	struct fixture *f = ctx;
	struct window *w = (struct window *)(void *)f->stored.p;

	assert_int_equal(off, w->next);
	assert_pattern(data, off, 0);
	assert_int_equal(etag->n, 4);
	w->next += data.n;
	w->total = total;
	w->n++;
	if (w->left <= data.n)
		return -EINTR;
	w->left -= data.n;
	return 0;
}

/* BW-2, BW-6, BW-8: any size, any block to begin with, one ETag. */
static void an_image_is_read_at_every_size_from_any_offset(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 1;

	memset(buf_grow(&f->stored, sizeof(struct window)), 0, sizeof(struct window));
	for (uint8_t szx = 0; szx <= COAP_SZX_MAX; szx++) {
		size_t size = coap_block_bytes(szx);

		for (unsigned i = 0; i < 6; i++) {
			struct window *w = (struct window *)(void *)f->stored.p;
			struct coap_call_request q = a_get("image/abc");
			uint64_t blocks = (100000 + size - 1) / size;

			seed = seed * 6364136223846793005u + 1442695040888963407u;
			q.from = i == 0 ? 0 : i == 1 ? (blocks - 1) * size : (seed >> 33) % blocks * size;
			q.szx = szx;
			q.block = take;
			*w = (struct window){ .from = q.from, .next = q.from, .left = 8 * size };
			call(f, &q);
			if (w->next == 100000) {
				assert_got(f, COAP_205_CONTENT, NULL);
				assert_int_equal(w->total, 100000);
			} else {
				assert_int_equal(f->got.error, -EINTR); /* what take() said */
				assert_int_equal(w->n, 8);
			}
		}
	}
	assert_true(f->served > 100);
	assert_int_equal(f->released, f->served);
}

static void an_image_arrives_whole(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("image/abc");

	q.body_max = 100000;
	call(f, &q);
	assert_got(f, COAP_205_CONTENT, NULL);
	assert_int_equal(f->got.body.n, 100000);
	assert_pattern(buf_span(&f->got.body), 0, 0);
	q.body_max = 99999;
	call(f, &q);
	assert_int_equal(f->got.error, -EMSGSIZE);
	q.szx = 2;
	q.from = 100032; /* past the end */
	q.body_max = 100000;
	call(f, &q);
	assert_got(f, COAP_400_BAD_REQUEST, NULL);
	q.from = 10;
	assert_int_equal(coap_call(f->session, &q, on_answer, f, NULL), -EINVAL);
}

/* 5.03 in the middle of a transfer must not become 4.00: one is waited for, the other given up. */
static void an_error_for_a_later_block_is_that_error(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("value");

	f->value_code = COAP_503_UNAVAILABLE;
	q.from = 4096;
	call(f, &q);
	assert_got(f, COAP_503_UNAVAILABLE, "gone");
	q.szx = 0;
	q.from = 16;
	call(f, &q);
	assert_got(f, COAP_503_UNAVAILABLE, "gone");
}

/* RD-67: the handler's body differs at each run; a sequence of blocks does not. */
static void blocks_of_a_made_body_are_one_snapshot(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("big");
	struct coap_etag first;

	f->big_bytes = 5000;
	q.szx = 3;
	call(f, &q);
	assert_got(f, COAP_205_CONTENT, NULL);
	assert_int_equal(f->got.body.n, 5000);
	assert_int_equal(f->n_big, 1);
	assert_pattern(buf_span(&f->got.body), 0, 1);
	assert_int_equal(f->got.etag.n, 8);
	first = f->got.etag;
	call(f, &q);
	assert_int_equal(f->n_big, 2);
	assert_pattern(buf_span(&f->got.body), 0, 2);
	assert_false(coap_etag_eq(&first, &f->got.etag));
	q.method = COAP_M_POST; /* also for a POST: its handler must not be run for each block */
	call(f, &q);
	assert_got(f, COAP_205_CONTENT, NULL);
	assert_int_equal(f->got.body.n, 5000);
	assert_int_equal(f->n_big, 3);
}

static void an_etag_that_still_holds_gives_2_03(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get(".well-known/core");

	call(f, &q);
	assert_int_equal(f->got.etag.n, 8);
	q.etag = f->got.etag;
	call(f, &q);
	assert_got(f, COAP_203_VALID, "");
	assert_true(coap_etag_eq(&q.etag, &f->got.etag));
	q.etag.b[0] ^= 1;
	call(f, &q);
	assert_got(f, COAP_205_CONTENT, NULL);
	q.path = "image/x";
	q.etag = (struct coap_etag){ .n = 4, .b = { 1, 2, 3, 4 } };
	call(f, &q);
	assert_got(f, COAP_203_VALID, "");
	assert_int_equal(f->released, 1);
}

static void a_location_comes_with_2_01(void **state)
{
	struct fixture *f = *state;

	send_body(f, COAP_M_POST, "store", 10, 6);
	assert_got(f, COAP_201_CREATED, NULL);
	assert_string_equal(f->got.location, "/store/7");
}

/* BW-3: up in blocks of every size. */
static void a_body_goes_up_in_blocks(void **state)
{
	struct fixture *f = *state;
	static const size_t sizes[] = { 0, 1, 16, 17, 1024, 1025, 5000 };

	for (uint8_t szx = 0; szx <= COAP_SZX_MAX; szx += 3) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
			unsigned n = f->n_store;

			send_body(f, COAP_M_PUT, "store", sizes[i], szx);
			assert_got(f, COAP_204_CHANGED, NULL);
			assert_int_equal(f->n_store, n + 1);
			assert_int_equal(f->stored.n, sizes[i]);
			assert_pattern(buf_span(&f->stored), 0, 0);
		}
	}
	assert_int_equal(metric_get(METRIC_COAP_BLOCK1_BYTES), 0);
}

static void a_fetch_goes_both_ways_in_blocks(void **state)
{
	struct fixture *f = *state;

	send_body(f, COAP_M_FETCH, "store", 3000, 4);
	assert_got(f, COAP_205_CONTENT, NULL);
	assert_int_equal(f->got.body.n, 3000);
	assert_pattern(buf_span(&f->got.body), 0, 0);
	assert_int_equal(f->n_store, 1);
}

static void a_body_over_the_limit_is_4_13(void **state)
{
	struct fixture *f = *state;

	send_body(f, COAP_M_PUT, "store", 20000, 6);
	assert_got(f, COAP_204_CHANGED, NULL);
	send_body(f, COAP_M_PUT, "store", 20001, 6);
	assert_got(f, COAP_413_TOO_LARGE, NULL);
	assert_int_equal(f->n_store, 1);
}

static void answer_later(struct fixture *f, const char *text)
{
	struct coap_response res;

	coap_response_init(&res);
	res.code = COAP_205_CONTENT;
	buf_add_str(&res.body, text);
	coap_deferred_respond(f->deferred, &res);
	assert_null(res.body.p);
}

static void an_answer_may_come_later(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("later");

	assert_int_equal(coap_call(f->session, &q, on_answer, f, NULL), 0);
	assert_int_equal(loop_run_for(f->loop, FIXTURE_MS), 0);
	answer_later(f, "at once");
	await(f, 1);
	assert_got(f, COAP_205_CONTENT, "at once");
	assert_int_equal(coap_call(f->session, &q, on_answer, f, NULL), 0);
	assert_int_equal(loop_run_for(f->loop, FIXTURE_MS), 0);
	assert_int_equal(loop_run_for(f->loop, 1200), -ETIMEDOUT); /* past the empty ACK */
	answer_later(f, "late");
	await(f, 1);
	assert_got(f, COAP_205_CONTENT, "late");
	assert_int_equal(f->n_defer, 2);
}

static void a_deferred_answer_outlives_its_endpoint(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("later");

	assert_int_equal(coap_call(f->session, &q, on_answer, f, NULL), 0);
	assert_int_equal(loop_run_for(f->loop, FIXTURE_MS), 0);
	f->e = coap_endpoint_free(f->e);
	answer_later(f, "to nobody");
}

/* ---- DTLS ---- */

static void open_secure(struct fixture *f, const char *identity, const char *key)
{
	struct coap_session_config s = { .uri = f->secure, .psk_identity = identity, .psk_key = span_str(key), .max_retransmit = 1 };

	coap_session_close(f->session);
	assert_int_equal(coap_session_open(f->client, &s, &f->session), 0);
}

static void a_psk_identity_is_who_asks(void **state)
{
	struct fixture *f = *state;

	get(f, "secret");
	assert_got(f, COAP_401_UNAUTHORIZED, NULL);
	open_secure(f, "node-1", "node-1");
	get(f, "secret");
	assert_got(f, COAP_205_CONTENT, "node-1");
	assert_string_equal(f->heard_identity, "node-1");
	get(f, "image/1");
	assert_int_equal(f->got.error, -EMSGSIZE);
	send_body(f, COAP_M_PUT, "store", 5000, 6);
	assert_got(f, COAP_204_CHANGED, NULL);
}

static void a_wrong_key_or_identity_gets_nowhere(void **state)
{
	struct fixture *f = *state;
	static const char *const identity[] = { "nobody", "x509:00" };
	struct coap_call_request q = a_get("hello");

	for (size_t i = 0; i < 2; i++) {
		open_secure(f, identity[i], identity[i]);
		get(f, "hello");
		assert_int_equal(f->got.error, -ECONNREFUSED);
	}
	open_secure(f, "node-1", "wrong"); /* no alert for this in DTLS: both sides go on trying */
	assert_int_equal(coap_call(f->session, &q, on_answer, f, NULL), 0);
	assert_int_equal(loop_run_for(f->loop, 2500), -ETIMEDOUT);
	assert_int_equal(f->n_got, 2);
	f->session = coap_session_close(f->session);
	assert_int_equal(f->got.error, -ECANCELED);
	assert_int_equal(f->n_heard, 0);
}

static void a_forgotten_identity_must_come_anew(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("value");
	struct coap_call *c;
	int64_t sessions;

	open_secure(f, "node-2", "node-2");
	q.observe = true;
	assert_int_equal(coap_call(f->session, &q, on_answer, f, &c), 0);
	await(f, 1);
	assert_true(f->got.is_notification);
	sessions = metric_get(METRIC_COAP_SESSIONS);
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 1);
	coap_endpoint_forget(f->e, "node-3");
	assert_int_equal(loop_run_for(f->loop, 50), -ETIMEDOUT);
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 1);
	coap_endpoint_forget(f->e, "node-2");
	assert_int_equal(loop_run_for(f->loop, 300), -ETIMEDOUT);
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 0);
	assert_true(metric_get(METRIC_COAP_SESSIONS) <= sessions);
	coap_call_cancel(c);
	open_secure(f, "node-2", "node-2"); /* its key is still known here */
	get(f, "secret");
	assert_got(f, COAP_205_CONTENT, "node-2");
}

/* ---- freshness ---- */

static int on_fresh(void *ctx, const struct coap_request *q, struct coap_response *r)
{
	struct fixture *f = ctx;

	f->n_store++;
	if (!coap_endpoint_fresh(f->e, q, 1, r))
		return COAP_HANDLER_DONE;
	r->code = COAP_204_CHANGED;
	return COAP_HANDLER_DONE;
}

static struct raw post_with_echo(struct fixture *f, struct span echo)
{
	static uint16_t mid = 1;
	struct raw m;

	raw_start(&m, CON, COAP_M_POST, mid++, "e");
	raw_text(&m, 11, "fresh");
	if (echo.n)
		raw_option(&m, 252, echo);
	return raw_exchange(f, &m);
}

/* ER-1, ER-2, RD-39, RD-49. */
static void an_echo_proves_freshness_and_address_for_a_while(void **state)
{
	struct fixture *f = *state;
	const struct coap_route route = { .path = "fresh", .methods = BIT(COAP_M_POST), .fn = on_fresh, .ctx = f };
	struct span echo = SPAN_NONE;
	struct raw first, r;
	int raw = f->raw;

	assert_int_equal(coap_endpoint_add(f->e, &route), 0);
	send_body(f, COAP_M_POST, "fresh", 0, 6); /* the client answers the challenge by itself */
	assert_got(f, COAP_204_CHANGED, NULL);
	assert_int_equal(f->n_store, 2);
	first = post_with_echo(f, SPAN_NONE);
	assert_int_equal(first.b[1], COAP_401_UNAUTHORIZED);
	assert_true(raw_find(&first, 252, &echo));
	assert_int_equal(echo.n, 24);
	r = post_with_echo(f, echo);
	assert_int_equal(r.b[1], COAP_204_CHANGED);
	r = post_with_echo(f, span_sub(echo, 0, 23));
	assert_int_equal(r.b[1], COAP_401_UNAUTHORIZED);
	raw_connect(f); /* another address */
	r = post_with_echo(f, echo);
	assert_int_equal(r.b[1], COAP_401_UNAUTHORIZED);
	close(f->raw);
	f->raw = raw;
	(void)loop_run_for(f->loop, 1100);
	r = post_with_echo(f, echo);
	assert_int_equal(r.b[1], COAP_401_UNAUTHORIZED);
	((uint8_t *)(uintptr_t)echo.p)[20] ^= 1;
	r = post_with_echo(f, echo);
	assert_int_equal(r.b[1], COAP_401_UNAUTHORIZED);
}

/* ---- proxy ---- */

static int on_proxy(void *ctx, const struct coap_request *q, struct coap_response *r)
{
	r->code = COAP_205_CONTENT;
	buf_add(&r->body, q->proxy_uri);
	return COAP_HANDLER_DONE;
}

static void get_proxied(struct fixture *f, const char *uri)
{
	struct coap_call_request q = a_get(NULL);

	q.proxy_uri = uri;
	call(f, &q);
}

/* PX-1 to PX-3. */
static void a_proxy_uri_is_ours_or_the_proxys(void **state)
{
	struct fixture *f = *state;
	char uri[128];

	get_proxied(f, "coap://192.0.2.9/fw");
	assert_got(f, COAP_505_NO_PROXY, NULL);
	(void)snprintf(uri, sizeof(uri), "%s/hel%%6Co", f->plain);
	get_proxied(f, uri);
	assert_got(f, COAP_205_CONTENT, "hello");
	(void)snprintf(uri, sizeof(uri), "%s/.well-known/core?rt=core.rd%%2A&obs", f->plain);
	get_proxied(f, uri);
	assert_got(f, COAP_205_CONTENT, "</value>;rt=\"core.rd-lookup-ep\";obs");
	(void)snprintf(uri, sizeof(uri), "%s/hel%%6", f->plain);
	get_proxied(f, uri);
	assert_got(f, COAP_400_BAD_REQUEST, NULL);
	coap_endpoint_set_proxy(f->e, on_proxy, f);
	get_proxied(f, "coap://192.0.2.9/fw?a=b");
	assert_got(f, COAP_205_CONTENT, "coap://192.0.2.9/fw?a=b");
	get_proxied(f, "http://example.org/fw.bin");
	assert_got(f, COAP_205_CONTENT, "http://example.org/fw.bin");
	get_proxied(f, "coap://127.0.0.1:1/fw"); /* our address, but not our port */
	assert_got(f, COAP_205_CONTENT, "coap://127.0.0.1:1/fw");
	get_proxied(f, "ble:/gap/nodes"); /* T14: libcoap refuses it */
	assert_got(f, COAP_505_NO_PROXY, NULL);
}

/* ---- addresses ---- */

static void both_families_reach_a_wildcard(void **state)
{
	static const char *const listen[] = { "coap://[::]:0" };
	struct coap_endpoint_config c = { .listen = listen, .n_listen = 1 };
	static const char *const host[] = { "127.0.0.1", "[::1]" };
	struct fixture *f = *state;
	struct coap_endpoint *e = coap_endpoint_new(f->loop, &c, NULL);
	const struct coap_route r = { .path = "hello", .methods = BIT(COAP_M_GET), .fn = on_hello, .ctx = f };

	assert_non_null(e);
	assert_int_equal(coap_endpoint_add(e, &r), 0);
	for (size_t i = 0; i < 2; i++) {
		char uri[80];
		struct coap_session_config s = { .uri = uri };

		(void)snprintf(uri, sizeof(uri), "coap://%s:%s", host[i], strrchr(coap_endpoint_address(e, 0), ':') + 1);
		coap_session_close(f->session);
		assert_int_equal(coap_session_open(f->client, &s, &f->session), 0);
		get(f, "hello");
		assert_got(f, COAP_205_CONTENT, "hello");
	}
	coap_endpoint_free(e);
}

static void an_address_in_use_or_malformed_is_an_error(void **state)
{
	struct fixture *f = *state;
	const char *listen[1];
	struct coap_endpoint_config c = { .listen = listen, .n_listen = 1 };
	static const struct { const char *uri; int want; } rows[] = {
		{ "http://127.0.0.1", -EINVAL }, { "coap://", -EINVAL }, { "coap://[::1", -EINVAL }, { "coap://127.0.0.1:x", -EINVAL },
		{ "coap://127.0.0.1:65536", -EINVAL }, { "coap://name.invalid", -EINVAL }, { "coap://192.0.2.1:0", -EADDRNOTAVAIL },
		{ "coaps://127.0.0.1:0", -EINVAL }, /* no credentials */
	};
	int error = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		listen[0] = rows[i].uri;
		assert_null(coap_endpoint_new(f->loop, &c, &error));
		assert_int_equal(error, rows[i].want);
	}
	listen[0] = f->plain; /* libcoap alone would share the port silently */
	assert_null(coap_endpoint_new(f->loop, &c, &error));
	assert_int_equal(error, -EADDRINUSE);
}

static void the_receive_buffer_is_asked_for(void **state)
{
	struct fixture *f = *state;
	int n_large = 0;

	for (int fd = 0; fd < 64; fd++) {
		int bytes = 0;
		struct sockaddr_in a = { 0 };
		socklen_t n = sizeof(bytes), n_a = sizeof(a);

		if (getsockname(fd, (struct sockaddr *)&a, &n_a) < 0 || ntohs(a.sin_port) != f->port)
			continue;
		assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &n), 0);
		n_large += bytes >= 2 * 212992; /* at least net.core.rmem_max, doubled by the kernel */
	}
	assert_int_equal(n_large, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(a_resource_answers_and_an_unknown_path_is_4_04),
		fixture_test(a_method_that_a_resource_lacks_is_4_05),
		fixture_test(well_known_core_filters_by_all_criteria),
		fixture_test(an_accept_that_cannot_be_met_is_4_06),
		fixture_test(an_image_is_read_at_every_size_from_any_offset),
		fixture_test(an_image_arrives_whole),
		fixture_test(an_error_for_a_later_block_is_that_error),
		fixture_test(blocks_of_a_made_body_are_one_snapshot),
		fixture_test(an_etag_that_still_holds_gives_2_03),
		fixture_test(a_location_comes_with_2_01),
		fixture_test(a_body_goes_up_in_blocks),
		fixture_test(a_fetch_goes_both_ways_in_blocks),
		fixture_test(a_body_over_the_limit_is_4_13),
		fixture_test(an_answer_may_come_later),
		fixture_test(a_deferred_answer_outlives_its_endpoint),
		fixture_test(a_psk_identity_is_who_asks),
		fixture_test(a_wrong_key_or_identity_gets_nowhere),
		fixture_test(a_forgotten_identity_must_come_anew),
		fixture_test(an_echo_proves_freshness_and_address_for_a_while),
		fixture_test(a_proxy_uri_is_ours_or_the_proxys),
		fixture_test(both_families_reach_a_wildcard),
		fixture_test(an_address_in_use_or_malformed_is_an_error),
		fixture_test(the_receive_buffer_is_asked_for),
	};
	return cmocka_run_group_tests_name("io/coap_endpoint", tests, NULL, NULL);
}
