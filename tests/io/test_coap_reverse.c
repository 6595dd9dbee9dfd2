/* io/coap_endpoint's requests to peers, answered by io/coap_client's sessions: over plain UDP and over one DTLS association. */
#include "coap_fixture.h"

enum { O_PATH = 11, O_FORMAT = 12, O_QUERY = 15, O_BLOCK1 = 27, O_PAYLOAD = 0xffff };

struct side {                                  /* the node's, and what the gateway heard from it */
	struct fixture *f;
	struct coap_session *session;
	uint64_t peer;                         /* as the endpoint names it */
	/* the node's handler */
	unsigned n_asked;
	uint8_t method;
	char path[64], query[64];
	struct buf body;
	bool later, secure, close_inside;
	struct coap_served *served[COAP_SERVED_MAX + 1];
	size_t n_served;
	/* the gateway's result */
	unsigned n_done;
	int error;
	uint8_t code;
	int content_format;
	struct buf answer;
};

static struct side *heard_by;

static void on_heard_peer(void *ctx, const struct coap_peer *peer)
{
	heard_by->peer = peer->session;
}

static int on_asked(void *ctx, const struct coap_request *q, struct coap_response *res)
{
	struct side *s = ctx;

	s->n_asked++;
	s->method = q->method;
	s->secure = q->peer.secure;
	(void)snprintf(s->path, sizeof(s->path), "%.*s/%.*s", SPAN_ARG(q->path[0]), SPAN_ARG(q->n_path > 1 ? q->path[1] : SPAN_NONE));
	(void)snprintf(s->query, sizeof(s->query), "%.*s", SPAN_ARG(q->n_query ? q->query[0] : SPAN_NONE));
	buf_clear(&s->body);
	buf_add(&s->body, q->body);
	if (s->later) {
		s->served[s->n_served] = coap_session_defer(s->session, q);
		assert_non_null(s->served[s->n_served]);
		assert_null(coap_session_defer(s->session, q));
		s->n_served++;
		loop_stop(s->f->loop);
	}
	if (s->close_inside)
		s->session = coap_session_close(s->session);
	if (s->later)
		return COAP_HANDLER_LATER;
	res->code = COAP_201_CREATED;
	res->content_format = COAP_CF_CBOR;
	buf_add_str(&res->body, "ack");
	return COAP_HANDLER_DONE;
}

static void on_done(void *ctx, const struct coap_endpoint_result *res)
{
	struct side *s = ctx;

	s->n_done++;
	s->error = res->error;
	s->code = res->code;
	s->content_format = res->content_format;
	buf_clear(&s->answer);
	buf_add(&s->answer, res->body);
	loop_stop(s->f->loop);
}

static void side_open(struct side *s, struct fixture *f, bool secure)
{
	struct coap_session_config c = { .uri = secure ? f->secure : f->plain, .psk_identity = "node-1", .psk_key = SPAN_LIT("node-1") };
	struct coap_call_request q = a_get("hello");

	*s = (struct side){ .f = f };
	heard_by = s;
	coap_endpoint_set_heard(f->e, on_heard_peer, s);
	assert_int_equal(coap_session_open(f->client, &c, &s->session), 0);
	coap_session_serve(s->session, on_asked, s);
	assert_int_equal(coap_call(s->session, &q, on_answer, f, NULL), 0);
	await(f, 1);
	assert_got(f, COAP_205_CONTENT, secure ? "node-1" : "hello");
	assert_int_not_equal(s->peer, 0);
}

static void side_close(struct side *s)
{
	coap_session_close(s->session);
	buf_done(&s->body);
	buf_done(&s->answer);
}

static struct coap_endpoint_request a_setup(struct span body)
{
	static const char *const query[] = { "s=01", NULL };

	return (struct coap_endpoint_request){ .method = COAP_M_POST, .path = "mc/x", .query = query, .accept = COAP_CF_NONE,
					       .content_format = COAP_CF_CBOR, .body = body };
}

static void until_done(struct side *s)
{
	unsigned want = s->n_done + 1;

	while (s->n_done < want)
		assert_int_equal(loop_run_for(s->f->loop, FIXTURE_MS), 0);
}

static void ask(struct side *s)
{
	uint8_t body[COAP_ENDPOINT_CALL_BYTES_MAX];
	struct coap_endpoint_request q = a_setup(SPAN(body, sizeof(body)));

	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = pattern(i);
	assert_int_equal(coap_endpoint_call(s->f->e, s->peer, &q, on_done, s, NULL), 0);
	assert_int_equal(s->n_done, 0);
	until_done(s);
	assert_int_equal(s->error, 0);
	assert_int_equal(s->code, COAP_201_CREATED);
	assert_int_equal(s->content_format, COAP_CF_CBOR);
	assert_string_equal(buf_str(&s->answer), "ack");
	assert_int_equal(s->n_asked, 1);
	assert_int_equal(s->method, COAP_M_POST);
	assert_string_equal(s->path, "mc/x");
	assert_string_equal(s->query, "s=01");
	assert_int_equal(s->body.n, sizeof(body));
	assert_pattern(buf_span(&s->body), 0, 0);
}

static void a_peer_is_asked_over_plain_udp(void **state)
{
	struct side s;

	side_open(&s, *state, false);
	ask(&s);
	assert_false(s.secure);
	side_close(&s);
}

/* MCD C4: the gateway's POST goes over the association that the node opened. */
static void a_peer_is_asked_over_its_own_dtls_association(void **state)
{
	struct side s;

	side_open(&s, *state, true);
	ask(&s);
	assert_true(s.secure);
	side_close(&s);
}

static void an_answer_may_come_later(void **state)
{
	struct coap_endpoint_request q = a_setup(SPAN_LIT("x"));
	struct coap_response res;
	struct side s;

	for (int slow = 0; slow < 2; slow++) {
		side_open(&s, *state, slow);
		s.later = true;
		assert_int_equal(coap_endpoint_call(s.f->e, s.peer, &q, on_done, &s, NULL), 0);
		while (s.n_served == 0)
			assert_int_equal(loop_run_for(s.f->loop, FIXTURE_MS), 0);
		if (slow) /* past the empty ACK: the answer is a message of its own then */
			(void)loop_run_for(s.f->loop, 1200);
		assert_int_equal(s.n_done, 0);
		coap_response_init(&res);
		(void)coap_error(&res, COAP_409_CONFLICT, "no");
		coap_session_respond(s.served[0], &res);
		until_done(&s);
		assert_int_equal(s.error, 0);
		assert_int_equal(s.code, COAP_409_CONFLICT);
		assert_string_equal(buf_str(&s.answer), "no");
		assert_int_equal(s.n_asked, 1);
		side_close(&s);
	}
}

static void a_session_that_ends_ends_its_requests(void **state)
{
	struct coap_endpoint_request q = a_setup(SPAN_LIT("x"));
	struct coap_response res;
	struct side s;

	side_open(&s, *state, true);
	s.later = true;
	assert_int_equal(coap_endpoint_call(s.f->e, s.peer, &q, on_done, &s, NULL), 0);
	while (s.n_served == 0)
		assert_int_equal(loop_run_for(s.f->loop, FIXTURE_MS), 0);
	coap_endpoint_forget(s.f->e, "node-1");
	until_done(&s);
	assert_int_equal(s.error, -ENOTCONN);
	assert_int_equal(coap_endpoint_call(s.f->e, s.peer, &q, on_done, &s, NULL), -ENOTCONN);
	s.session = coap_session_close(s.session);
	coap_response_init(&res);
	res.code = COAP_201_CREATED;
	coap_session_respond(s.served[0], &res); /* to nobody */
	side_close(&s);
}

static void a_node_may_close_its_session_inside_its_handler(void **state)
{
	struct coap_endpoint_request q = a_setup(SPAN_LIT("x"));
	struct coap_response res;
	struct side s;

	for (int later = 0; later < 2; later++) {
		side_open(&s, *state, false);
		s.later = later;
		s.close_inside = true;
		q.timeout_ms = 300;
		assert_int_equal(coap_endpoint_call(s.f->e, s.peer, &q, on_done, &s, NULL), 0);
		until_done(&s);
		assert_int_not_equal(s.error, 0);
		coap_response_init(&res);
		if (later)
			coap_session_respond(s.served[0], &res);
		side_close(&s);
	}
}

static void silence_and_cancelling_are_told_apart(void **state)
{
	struct coap_endpoint_request q = a_setup(SPAN_LIT("x"));
	struct coap_endpoint_call *c;
	struct coap_response res;
	struct side s;

	side_open(&s, *state, false);
	s.later = true;
	q.timeout_ms = 50;
	assert_int_equal(coap_endpoint_call(s.f->e, s.peer, &q, on_done, &s, NULL), 0);
	until_done(&s);
	assert_int_equal(s.error, -ETIMEDOUT);
	assert_int_equal(coap_endpoint_call(s.f->e, s.peer, &q, on_done, &s, &c), 0);
	coap_endpoint_call_cancel(c);
	(void)loop_run_for(s.f->loop, 200);
	assert_int_equal(s.n_done, 1);
	for (size_t i = 0; i < s.n_served; i++) {
		coap_response_init(&res);
		coap_session_respond(s.served[i], &res);
	}
	side_close(&s);
}

static void what_cannot_be_asked_is_refused(void **state)
{
	uint8_t big[COAP_ENDPOINT_CALL_BYTES_MAX + 1] = { 0 };
	struct coap_endpoint_request q = a_setup(SPAN(big, sizeof(big)));
	struct side s;

	side_open(&s, *state, false);
	assert_int_equal(coap_endpoint_call(s.f->e, s.peer, &q, on_done, &s, NULL), -EMSGSIZE);
	q.body.n--;
	assert_int_equal(coap_endpoint_call(s.f->e, s.peer + 1000, &q, on_done, &s, NULL), -ENOTCONN);
	q.method = 9;
	assert_int_equal(coap_endpoint_call(s.f->e, s.peer, &q, on_done, &s, NULL), -EINVAL);
	q.method = COAP_M_POST;
	for (size_t i = 0; i < COAP_ENDPOINT_CALLS_MAX; i++)
		assert_int_equal(coap_endpoint_call(s.f->e, s.peer, &q, on_done, &s, NULL), 0);
	assert_int_equal(coap_endpoint_call(s.f->e, s.peer, &q, on_done, &s, NULL), -ENOSPC);
	while (s.n_done < COAP_ENDPOINT_CALLS_MAX)
		assert_int_equal(loop_run_for(s.f->loop, FIXTURE_MS), 0);
	side_close(&s);
}

/* A callback that asks again at once when its session ended must not go round in circles. */
static void on_done_again(void *ctx, const struct coap_endpoint_result *res)
{
	struct coap_endpoint_request q = a_setup(SPAN_LIT("x"));
	struct side *s = ctx;

	s->n_done++;
	s->error = res->error;
	assert_int_equal(coap_endpoint_call(s->f->e, s->peer, &q, on_done_again, s, NULL), -ENOTCONN);
}

static void an_endpoint_that_goes_ends_its_requests(void **state)
{
	struct fixture *f = *state;
	struct coap_endpoint_request q = a_setup(SPAN_LIT("x"));
	struct coap_response res;
	struct side s;

	side_open(&s, f, false);
	s.later = true;
	assert_int_equal(coap_endpoint_call(f->e, s.peer, &q, on_done_again, &s, NULL), 0);
	while (s.n_served == 0)
		assert_int_equal(loop_run_for(f->loop, FIXTURE_MS), 0);
	f->e = coap_endpoint_free(f->e);
	assert_int_equal(s.n_done, 1);
	assert_int_equal(s.error, -ECANCELED);
	coap_response_init(&res);
	coap_session_respond(s.served[0], &res);
	side_close(&s);
}

/* ---- datagram by datagram: the fixture's raw socket as the node, or as the gateway ---- */

static struct raw raw_hello(struct fixture *f)
{
	struct raw m;

	raw_start(&m, CON, COAP_M_GET, 7, "t");
	raw_text(&m, O_PATH, "hello");
	return raw_exchange(f, &m);
}

static void answers_that_nobody_waits_for_get_a_reset(void **state)
{
	struct fixture *f = *state;
	struct coap_endpoint_request q = a_setup(SPAN_LIT("x"));
	struct side s = { .f = f };
	struct raw m, r;

	heard_by = &s;
	coap_endpoint_set_heard(f->e, on_heard_peer, &s);
	assert_int_equal(raw_hello(f).b[1], COAP_205_CONTENT);
	raw_start(&m, CON, COAP_205_CONTENT, 8, "whatever");
	r = raw_exchange(f, &m);
	assert_int_equal(raw_type(&r), RST);
	/* the right token from another peer */
	assert_int_equal(coap_endpoint_call(f->e, s.peer, &q, on_done, &s, NULL), 0);
	r = raw_receive(f, 3000);
	assert_int_equal(raw_type(&r), CON);
	assert_int_equal(r.b[0] & 15, 8);
	int own = f->raw;
	raw_connect(f);
	assert_int_equal(raw_hello(f).b[1], COAP_205_CONTENT);
	raw_start(&m, CON, COAP_205_CONTENT, 9, "");
	m.b[0] |= 8;
	memcpy(m.b + 4, r.b + 4, 8);
	m.n = 12;
	struct raw reset = raw_exchange(f, &m);
	assert_int_equal(raw_type(&reset), RST);
	assert_int_equal(s.n_done, 0);
	/* and from the right one, as a separate answer */
	close(f->raw);
	f->raw = own;
	raw_send(f, &m);
	until_done(&s);
	assert_int_equal(s.code, COAP_205_CONTENT);
	buf_done(&s.answer);
}

static void a_reset_is_told(void **state)
{
	struct fixture *f = *state;
	struct coap_endpoint_request q = a_setup(SPAN_LIT("x"));
	struct side s = { .f = f };
	struct raw m, r;

	heard_by = &s;
	coap_endpoint_set_heard(f->e, on_heard_peer, &s);
	(void)raw_hello(f);
	assert_int_equal(coap_endpoint_call(f->e, s.peer, &q, on_done, &s, NULL), 0);
	r = raw_receive(f, 3000);
	raw_start(&m, RST, 0, raw_mid(&r), "");
	raw_send(f, &m);
	until_done(&s);
	assert_int_equal(s.error, -ECONNRESET);
	buf_done(&s.answer);
}

/* A scripted gateway asks the client. */
struct gateway {
	struct fixture *f;
	int fd;
	struct sockaddr_in node;
};

static void gateway_tell(struct gateway *g, const struct raw *m)
{
	assert_int_equal(sendto(g->fd, m->b, m->n, 0, (struct sockaddr *)&g->node, sizeof(g->node)), (ssize_t)m->n);
}

static struct raw gateway_hear(struct gateway *g, int in_ms)
{
	struct raw m = { 0 };

	for (int left = in_ms; left > 0 && m.n == 0; left -= 5) {
		socklen_t n_from = sizeof(g->node);
		ssize_t n = recvfrom(g->fd, m.b, sizeof(m.b), MSG_DONTWAIT, (struct sockaddr *)&g->node, &n_from);

		if (n > 0)
			m.n = (size_t)n;
		else
			(void)loop_run_for(g->f->loop, 5);
	}
	return m;
}

static void gateway_open(struct gateway *g, struct side *s, struct fixture *f)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);
	char uri[64];
	struct coap_session_config c = { .uri = uri };
	struct coap_call_request q = a_get("x");

	*g = (struct gateway){ .f = f, .fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) };
	*s = (struct side){ .f = f };
	assert_int_equal(bind(g->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(g->fd, (struct sockaddr *)&a, &n), 0);
	(void)snprintf(uri, sizeof(uri), "coap://127.0.0.1:%u", ntohs(a.sin_port));
	assert_int_equal(coap_session_open(f->client, &c, &s->session), 0);
	q.is_non = true;
	assert_int_equal(coap_call(s->session, &q, on_answer, f, NULL), 0);
	assert_int_not_equal(gateway_hear(g, 3000).n, 0);
}

static struct raw asking(unsigned type, uint16_t mid, const char *token)
{
	struct raw m;

	raw_start(&m, type, COAP_M_POST, mid, token);
	raw_text(&m, O_PATH, "mc");
	raw_uint(&m, O_FORMAT, COAP_CF_CBOR);
	raw_payload(&m, 10, 0);
	return m;
}

static void a_session_serves_nothing_before_it_is_told_to(void **state)
{
	struct gateway g;
	struct side s;
	struct raw m = asking(CON, 1, "a"), r;

	gateway_open(&g, &s, *state);
	gateway_tell(&g, &m);
	r = gateway_hear(&g, 3000);
	assert_int_equal(r.b[1], COAP_404_NOT_FOUND);
	side_close(&s);
	close(g.fd);
}

static void a_request_that_comes_twice_runs_once(void **state)
{
	struct gateway g;
	struct side s;
	struct raw m, first, r;

	gateway_open(&g, &s, *state);
	coap_session_serve(s.session, on_asked, &s);
	for (uint16_t mid = 1; mid < 20; mid++) {
		m = asking(CON, mid, "a");
		gateway_tell(&g, &m);
		first = gateway_hear(&g, 3000);
		assert_int_equal(first.b[1], COAP_201_CREATED);
		assert_int_equal(s.n_asked, mid);
		gateway_tell(&g, &m);
		r = gateway_hear(&g, 3000);
		assert_int_equal(r.n, first.n);
		assert_memory_equal(r.b, first.b, r.n);
		assert_int_equal(s.n_asked, mid);
	}
	m = asking(NON, 30, "a"); /* a NON is answered once */
	gateway_tell(&g, &m);
	assert_int_equal(gateway_hear(&g, 3000).b[1], COAP_201_CREATED);
	gateway_tell(&g, &m);
	assert_int_equal(gateway_hear(&g, 100).n, 0);
	assert_int_equal(s.n_asked, 20);
	side_close(&s);
	close(g.fd);
}

static void too_many_that_wait_are_refused(void **state)
{
	struct gateway g;
	struct side s;
	struct raw m, r;

	gateway_open(&g, &s, *state);
	coap_session_serve(s.session, on_asked, &s);
	s.later = true;
	for (uint16_t mid = 1; mid <= COAP_SERVED_MAX; mid++) {
		m = asking(CON, mid, "a");
		gateway_tell(&g, &m);
		while (s.n_served < mid)
			assert_int_equal(loop_run_for(s.f->loop, FIXTURE_MS), 0);
	}
	m = asking(CON, 100, "a");
	gateway_tell(&g, &m);
	r = gateway_hear(&g, 700);
	assert_int_equal(r.b[1], COAP_503_UNAVAILABLE);
	m = asking(CON, 1, "a"); /* again, while its answer is awaited: an empty ACK */
	gateway_tell(&g, &m);
	r = gateway_hear(&g, 700);
	assert_int_equal(raw_type(&r), ACK);
	assert_int_equal(r.b[1], 0);
	for (size_t i = 0; i < s.n_served; i++) {
		struct coap_response res;

		coap_response_init(&res);
		coap_session_respond(s.served[i], &res);
	}
	side_close(&s);
	close(g.fd);
}

static void what_is_too_large_or_strange_is_refused_without_a_handler(void **state)
{
	struct gateway g;
	struct side s;
	struct raw m, r;

	gateway_open(&g, &s, *state);
	coap_session_serve(s.session, on_asked, &s);
	raw_start(&m, CON, COAP_M_POST, 1, "a");
	raw_text(&m, O_PATH, "mc");
	raw_uint(&m, O_BLOCK1, block(0, true, 2));
	raw_payload(&m, 64, 0);
	gateway_tell(&g, &m);
	r = gateway_hear(&g, 3000);
	assert_int_equal(r.b[1], COAP_413_TOO_LARGE);
	raw_start(&m, CON, COAP_M_POST, 2, "a");
	for (int i = 0; i <= COAP_PATH_MAX; i++)
		raw_text(&m, O_PATH, "m");
	gateway_tell(&g, &m);
	r = gateway_hear(&g, 3000);
	assert_int_equal(r.b[1], COAP_402_BAD_OPTION);
	assert_int_equal(s.n_asked, 0);
	side_close(&s);
	close(g.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(a_peer_is_asked_over_plain_udp),
		fixture_test(a_peer_is_asked_over_its_own_dtls_association),
		fixture_test(an_answer_may_come_later),
		fixture_test(a_session_that_ends_ends_its_requests),
		fixture_test(a_node_may_close_its_session_inside_its_handler),
		fixture_test(silence_and_cancelling_are_told_apart),
		fixture_test(what_cannot_be_asked_is_refused),
		fixture_test(an_endpoint_that_goes_ends_its_requests),
		fixture_test(answers_that_nobody_waits_for_get_a_reset),
		fixture_test(a_reset_is_told),
		fixture_test(a_session_serves_nothing_before_it_is_told_to),
		fixture_test(a_request_that_comes_twice_runs_once),
		fixture_test(too_many_that_wait_are_refused),
		fixture_test(what_is_too_large_or_strange_is_refused_without_a_handler),
	};

	return cmocka_run_group_tests_name("io/coap_reverse", tests, NULL, NULL);
}
