/* io/coap_client: against a server scripted datagram by datagram where it must misbehave, else our endpoint. */
#include "base/time.h"
#include "coap_fixture.h"

enum { O_ETAG = 4, O_OBSERVE = 6, O_PATH = 11, O_MAXAGE = 14, O_BLOCK2 = 23, O_BLOCK1 = 27, O_ECHO = 252, O_REQUEST_TAG = 292,
       O_PAYLOAD = 0xffff };

/* ---- a scripted server: the raw socket of the fixture, bound and answering ---- */

struct script {
	struct fixture *f;
	struct coap_session *session;
	int fd;
	struct sockaddr_in from;
};

static void script_start(struct script *s, struct fixture *f)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);
	char uri[64];
	struct coap_session_config c = { .uri = uri, .ack_timeout_ms = 1000, .max_retransmit = 1 };

	*s = (struct script){ .f = f, .fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) };
	assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &n), 0);
	(void)snprintf(uri, sizeof(uri), "coap://127.0.0.1:%u/", ntohs(a.sin_port));
	assert_int_equal(coap_session_open(f->client, &c, &s->session), 0);
}

static void script_end(struct script *s)
{
	coap_session_close(s->session);
	close(s->fd);
}

static struct raw hear(struct script *s, int in_ms)
{
	struct raw m = { 0 };

	for (int left = in_ms; left > 0 && m.n == 0; left -= 5) {
		socklen_t n_from = sizeof(s->from);
		ssize_t n = recvfrom(s->fd, m.b, sizeof(m.b), MSG_DONTWAIT, (struct sockaddr *)&s->from, &n_from);

		if (n > 0)
			m.n = (size_t)n;
		else
			(void)loop_run_for(s->f->loop, 5);
	}
	return m;
}

static void reply_start(struct raw *m, unsigned type, uint8_t code, const struct raw *to)
{
	char token[9] = "";

	memcpy(token, to->b + 4, to->b[0] & 15);
	raw_start(m, type, code, raw_mid(to), "");
	m->b[0] |= to->b[0] & 15;
	memcpy(m->b + 4, token, to->b[0] & 15);
	m->n += to->b[0] & 15;
}

static void tell(struct script *s, const struct raw *m)
{
	assert_int_equal(sendto(s->fd, m->b, m->n, 0, (struct sockaddr *)&s->from, sizeof(s->from)), (ssize_t)m->n);
}

static void ask(struct script *s, const struct coap_call_request *q)
{
	assert_int_equal(coap_call(s->session, q, on_answer, s->f, NULL), 0);
}

static void wait_for(struct script *s, unsigned n_got)
{
	for (int i = 0; i < 2000 && s->f->n_got < n_got; i++)
		(void)loop_run_for(s->f->loop, 5);
	assert_int_equal(s->f->n_got, n_got);
}

static struct raw block_of(const struct raw *to, uint32_t num, bool more, const char *etag, size_t n)
{
	struct raw m;

	reply_start(&m, ACK, COAP_205_CONTENT, to);
	if (etag)
		raw_text(&m, O_ETAG, etag);
	raw_uint(&m, O_BLOCK2, block(num, more, 0));
	raw_payload(&m, n, num * 16);
	return m;
}

static void a_body_that_changes_underway_is_fetched_anew(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("x");
	static const struct { uint32_t num; bool more; const char *etag; } rows[] = {
		{ 0, true, "a" }, { 1, true, "a" }, { 2, true, "b" }, { 0, true, "b" }, { 1, true, "b" }, { 2, false, "b" },
	};
	struct script s;

	script_start(&s, f);
	ask(&s, &q);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct raw m = hear(&s, 3000), r = block_of(&m, rows[i].num, rows[i].more, rows[i].etag, rows[i].more ? 16 : 3);
		int64_t want = raw_find_uint(&m, O_BLOCK2);

		assert_int_equal(i == 0 || i == 3 ? (want < 0 ? 0 : want >> 4) : want >> 4, rows[i].num);
		tell(&s, &r);
	}
	wait_for(&s, 1);
	assert_got(f, COAP_205_CONTENT, NULL);
	assert_int_equal(f->got.body.n, 35);
	assert_pattern(buf_span(&f->got.body), 0, 0);
	assert_int_equal(f->got.etag.b[0], 'b');
	script_end(&s);
}

static void a_body_that_never_settles_is_given_up(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("x");
	struct script s;

	script_start(&s, f);
	ask(&s, &q);
	for (int i = 0; i < 20 && f->n_got == 0; i++) {
		struct raw m = hear(&s, 300), r;
		char etag[2] = { (char)('a' + i), 0 };
		int64_t want = raw_find_uint(&m, O_BLOCK2);

		if (m.n == 0)
			break;
		r = block_of(&m, want < 0 ? 0 : (uint32_t)want >> 4, true, etag, 16);
		tell(&s, &r);
	}
	wait_for(&s, 1);
	assert_int_equal(f->got.error, -ESTALE);
	script_end(&s);
}

static void a_server_that_answers_another_block_is_refused(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("x");
	struct raw m, r;
	struct script s;

	script_start(&s, f);
	ask(&s, &q);
	m = hear(&s, 3000);
	r = block_of(&m, 3, true, "a", 16);
	tell(&s, &r);
	wait_for(&s, 1);
	assert_int_equal(f->got.error, -EPROTO);
	ask(&s, &q);
	m = hear(&s, 3000);
	r = block_of(&m, 0, true, "a", 15);
	tell(&s, &r);
	wait_for(&s, 2);
	assert_int_equal(f->got.error, -EPROTO);
	script_end(&s);
}

/* ER-1: the challenge is answered once. */
static void an_echo_challenge_is_repeated_once(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("x");
	struct span echo = SPAN_NONE;
	struct raw m, r;
	struct script s;

	script_start(&s, f);
	ask(&s, &q);
	m = hear(&s, 3000);
	assert_false(raw_find(&m, O_ECHO, &echo));
	reply_start(&r, ACK, COAP_401_UNAUTHORIZED, &m);
	raw_text(&r, O_ECHO, "fresh?");
	tell(&s, &r);
	m = hear(&s, 3000);
	assert_true(raw_find(&m, O_ECHO, &echo));
	assert_true(span_eq_str(echo, "fresh?"));
	reply_start(&r, ACK, COAP_401_UNAUTHORIZED, &m);
	raw_text(&r, O_ECHO, "fresher?");
	tell(&s, &r);
	wait_for(&s, 1);
	assert_got(f, COAP_401_UNAUTHORIZED, NULL);
	script_end(&s);
}

static void an_upload_takes_the_servers_smaller_size(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("x");
	uint8_t body[2048];
	size_t off = 0;
	struct script s;

	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = pattern(i);
	q.method = COAP_M_PUT;
	q.body = SPAN_OF(body);
	script_start(&s, f);
	ask(&s, &q);
	for (int i = 0; off < sizeof(body); i++) {
		struct raw m = hear(&s, 3000), r;
		int64_t b1 = raw_find_uint(&m, O_BLOCK1);
		struct span data = SPAN_NONE;

		assert_true(raw_find(&m, O_PAYLOAD, &data));
		assert_int_equal((uint64_t)(b1 >> 4) << ((b1 & 7) + 4), off);
		assert_pattern(data, off, 0);
		assert_int_equal(b1 & 7, i == 0 ? 6 : 4);
		off += data.n;
		reply_start(&r, ACK, off < sizeof(body) ? COAP_231_CONTINUE : COAP_204_CHANGED, &m);
		raw_uint(&r, O_BLOCK1, block(i == 0 ? 0 : (uint32_t)(b1 >> 4), off < sizeof(body), 4));
		tell(&s, &r);
	}
	wait_for(&s, 1);
	assert_got(f, COAP_204_CHANGED, NULL);
	script_end(&s);
}

static void silence_and_rst_end_a_call(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("x");
	struct raw m, r, again;
	struct script s;

	script_start(&s, f);
	ask(&s, &q);
	m = hear(&s, 3000);
	again = hear(&s, 3000); /* retransmitted, the same */
	assert_int_equal(again.n, m.n);
	assert_memory_equal(again.b, m.b, m.n);
	wait_for(&s, 1);
	assert_int_equal(f->got.error, -ETIMEDOUT);
	ask(&s, &q);
	m = hear(&s, 3000);
	raw_start(&r, RST, 0, raw_mid(&m), "");
	tell(&s, &r);
	wait_for(&s, 2);
	assert_int_equal(f->got.error, -ECONNRESET);
	script_end(&s);
}

static void a_separate_response_is_taken_and_a_strange_one_refused(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("x");
	struct raw m, r;
	struct script s;

	script_start(&s, f);
	ask(&s, &q);
	m = hear(&s, 3000);
	raw_start(&r, ACK, 0, raw_mid(&m), "");
	tell(&s, &r);
	raw_start(&r, CON, COAP_205_CONTENT, 77, "strange!");
	tell(&s, &r);
	r = hear(&s, 3000);
	assert_int_equal(raw_type(&r), RST);
	assert_int_equal(raw_mid(&r), 77);
	reply_start(&r, CON, COAP_205_CONTENT, &m);
	r.b[2] = 0;
	r.b[3] = 78;
	raw_payload(&r, 5, 0);
	tell(&s, &r);
	r = hear(&s, 3000);
	assert_int_equal(raw_type(&r), ACK);
	assert_int_equal(raw_mid(&r), 78);
	assert_got(f, COAP_205_CONTENT, NULL);
	assert_int_equal(f->got.body.n, 5);
	script_end(&s);
}

/* OB-3, OB-11: old news is dropped; silence beyond Max-Age asks again, with the ETag. */
static void an_observation_is_kept_alive(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("x");
	struct span token = SPAN_NONE, etag = SPAN_NONE;
	struct raw m, r, again;
	struct script s;

	q.observe = true;
	script_start(&s, f);
	ask(&s, &q);
	m = hear(&s, 3000);
	assert_int_equal(raw_find_uint(&m, O_OBSERVE), 0);
	token = SPAN(m.b + 4, 8);
	reply_start(&r, ACK, COAP_205_CONTENT, &m);
	raw_text(&r, O_ETAG, "e");
	raw_uint(&r, O_OBSERVE, 100);
	raw_uint(&r, O_MAXAGE, 0);
	raw_payload(&r, 1, 0);
	tell(&s, &r);
	wait_for(&s, 1);
	assert_true(f->got.is_notification);
	reply_start(&r, CON, COAP_205_CONTENT, &m);
	r.b[3] = 99;
	raw_uint(&r, O_OBSERVE, 99); /* older */
	raw_payload(&r, 2, 0);
	tell(&s, &r);
	r = hear(&s, 3000);
	assert_int_equal(raw_type(&r), ACK);
	assert_int_equal(f->n_got, 1);
	again = hear(&s, 12000);
	assert_int_equal(raw_find_uint(&again, O_OBSERVE), 0);
	assert_memory_equal(again.b + 4, token.p, 8);
	assert_true(raw_find(&again, O_ETAG, &etag));
	assert_true(span_eq_str(etag, "e"));
	reply_start(&r, ACK, COAP_203_VALID, &again);
	raw_text(&r, O_ETAG, "e");
	raw_uint(&r, O_OBSERVE, 101);
	tell(&s, &r);
	reply_start(&r, NON, COAP_205_CONTENT, &m);
	r.b[2] = 1;
	raw_uint(&r, O_OBSERVE, 102);
	raw_payload(&r, 3, 0);
	tell(&s, &r);
	wait_for(&s, 2); /* the 2.03 said nothing new */
	assert_int_equal(f->got.body.n, 3);
	script_end(&s);
	assert_int_equal(f->got.error, -ECANCELED);
}

static void on_closing(void *ctx, const struct coap_call_result *res)
{
	struct script *s = ctx;

	s->f->n_got++;
	s->session = coap_session_close(s->session);
}

static void a_session_may_be_closed_by_its_own_answer(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("x");
	struct raw m, r;
	struct script s;

	script_start(&s, f);
	assert_int_equal(coap_call(s.session, &q, on_closing, &s, NULL), 0);
	m = hear(&s, 3000);
	reply_start(&r, ACK, COAP_205_CONTENT, &m);
	tell(&s, &r);
	wait_for(&s, 1);
	assert_null(s.session);
	script_end(&s);
}

/* ---- many, and lossy ---- */

static void five_hundred_sessions_share_a_client(void **state)
{
	enum { N = 500 };
	static struct coap_session *many[N];
	struct fixture *f = *state;
	struct coap_session_config s = { .uri = f->plain };
	struct coap_call_request q = a_get("hello");

	for (int i = 0; i < N; i++)
		assert_int_equal(coap_session_open(f->client, &s, &many[i]), 0);
	for (int i = 0; i < N; i++)
		assert_int_equal(coap_call(many[i], &q, on_answer, f, NULL), 0);
	await(f, N);
	assert_got(f, COAP_205_CONTENT, "hello");
	for (int i = 0; i < N; i += 2)
		many[i] = coap_session_close(many[i]);
}

/* One datagram in twenty lost on each leg, and still every upload arrives once and every download whole. */
static void loss_costs_time_only(void **state)
{
	enum { N = 24 };
	struct fixture *f = *state;
	struct coap_session_config s = { .uri = f->plain, .ack_timeout_ms = 1000, .max_retransmit = 8 };
	struct coap_call_request get_q = a_get("big"), put = a_get("store");
	uint8_t body[900] = { 0 };
	struct coap_session *many[N];

	coap_client_set_loss(0.05, 1);
	f->big_bytes = 3000;
	put.method = COAP_M_POST;
	put.body = SPAN_OF(body);
	for (int i = 0; i < N; i++) {
		assert_int_equal(coap_session_open(f->client, &s, &many[i]), 0);
		assert_int_equal(coap_call(many[i], i % 2 ? &get_q : &put, on_answer, f, NULL), 0);
	}
	f->want = N;
	assert_int_equal(loop_run_for(f->loop, 85000), 0);
	coap_client_set_loss(0, 0);
	assert_int_equal(f->got.error, 0);
	assert_int_equal(f->n_store, N / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(a_body_that_changes_underway_is_fetched_anew),
		fixture_test(a_body_that_never_settles_is_given_up),
		fixture_test(a_server_that_answers_another_block_is_refused),
		fixture_test(an_echo_challenge_is_repeated_once),
		fixture_test(an_upload_takes_the_servers_smaller_size),
		fixture_test(silence_and_rst_end_a_call),
		fixture_test(a_separate_response_is_taken_and_a_strange_one_refused),
		fixture_test(an_observation_is_kept_alive),
		fixture_test(a_session_may_be_closed_by_its_own_answer),
		fixture_test(five_hundred_sessions_share_a_client),
		fixture_test(loss_costs_time_only),
	};
	return cmocka_run_group_tests_name("io/coap_client", tests, NULL, NULL);
}
