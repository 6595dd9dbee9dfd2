/* io/coap_endpoint_observe: RFC 7641 kept by us. */
#include "coap_fixture.h"

enum { O_OBSERVE = 6, O_PATH = 11, O_CF = 12, O_MAXAGE = 14, O_QUERY = 15, O_BLOCK2 = 23, O_PAYLOAD = 0xffff };

static uint16_t next_mid = 500;

static struct raw observe(const char *path, const char *token, int action)
{
	struct raw m;

	raw_start(&m, CON, COAP_M_GET, next_mid++, token);
	raw_uint(&m, O_OBSERVE, (uint32_t)action);
	raw_text(&m, O_PATH, path);
	return m;
}

static uint32_t subscribe(struct fixture *f, const char *path, const char *token)
{
	struct raw m = observe(path, token, 0), r = raw_exchange(f, &m);

	assert_int_equal(r.b[1], COAP_205_CONTENT);
	assert_true(raw_find_uint(&r, O_OBSERVE) >= 0);
	return (uint32_t)raw_find_uint(&r, O_OBSERVE);
}

static void say(struct fixture *f, unsigned type, const struct raw *to)
{
	struct raw m;

	raw_start(&m, type, 0, raw_mid(to), "");
	raw_send(f, &m);
}

static void set_value(struct fixture *f, int v)
{
	f->value = v;
	coap_endpoint_changed(f->e, "value");
}

static struct raw notification(struct fixture *f, const char *body)
{
	struct raw r = raw_receive(f, 3000);
	struct span s = SPAN_NONE;

	assert_int_not_equal(r.n, 0);
	assert_int_equal(raw_type(&r), CON); /* OB-6 */
	assert_true(raw_find(&r, O_PAYLOAD, &s));
	assert_true(span_eq_str(s, body));
	return r;
}

static void assert_silent(struct fixture *f, int in_ms)
{
	struct raw r = raw_receive(f, in_ms);

	assert_int_equal(r.n, 0);
}

static bool later(int64_t a, int64_t b) { return ((b - a) & 0xffffff) > 0 && ((b - a) & 0xffffff) < 1 << 23; }

/* OB-1, OB-3. */
static void a_change_is_told_with_a_growing_number(void **state)
{
	struct fixture *f = *state;
	int64_t seq = subscribe(f, "value", "ob");

	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 1);
	for (int i = 1; i < 4; i++) {
		char text[16];
		struct raw r;

		(void)snprintf(text, sizeof(text), "%d", i);
		set_value(f, i);
		r = notification(f, text);
		assert_memory_equal(r.b + 4, "ob", 2);
		assert_true(later(seq, raw_find_uint(&r, O_OBSERVE)));
		seq = raw_find_uint(&r, O_OBSERVE);
		say(f, ACK, &r);
	}
}

/* RD-63: only what differs is told. */
static void no_change_means_silence(void **state)
{
	struct fixture *f = *state;
	unsigned runs;

	subscribe(f, "value", "1");
	runs = f->n_value;
	coap_endpoint_changed(f->e, "value");
	assert_silent(f, 300);
	assert_int_equal(f->n_value, runs + 1); /* looked at, though */
	coap_endpoint_changed(f->e, "valu");
	coap_endpoint_changed(f->e, "value/below");
	coap_endpoint_changed(f->e, "other");
	f->value = 5;
	assert_silent(f, 300);
	assert_int_equal(f->n_value, runs + 1);
	coap_endpoint_changed(f->e, "/value");
	say(f, ACK, &(struct raw[]){ notification(f, "5") }[0]);
}

static void a_change_covers_what_lies_below(void **state)
{
	struct fixture *f = *state;
	struct raw m = observe("value", "1", 0), r;

	raw_text(&m, O_PATH, "below");
	r = raw_exchange(f, &m);
	assert_int_equal(r.b[1], COAP_205_CONTENT);
	set_value(f, 8);
	r = notification(f, "8");
	say(f, ACK, &r);
	f->value = 9;
	coap_endpoint_changed(f->e, "");
	r = notification(f, "9");
	say(f, ACK, &r);
}

/* OB-13. */
static void a_burst_of_changes_is_told_once(void **state)
{
	struct fixture *f = *state;
	struct raw r;

	subscribe(f, "value", "1");
	for (int i = 0; i < 50; i++)
		set_value(f, i + 1);
	r = notification(f, "50");
	say(f, ACK, &r);
	assert_silent(f, 300);
}

/* More than are remembered one by one. */
static void a_hundred_changed_paths_still_reach_the_observer(void **state)
{
	struct fixture *f = *state;
	struct raw r;

	subscribe(f, "value", "1");
	f->value = 3;
	for (int i = 0; i < 100; i++) {
		char path[32];

		(void)snprintf(path, sizeof(path), "other/%d", i);
		coap_endpoint_changed(f->e, path);
	}
	coap_endpoint_changed(f->e, "value");
	r = notification(f, "3");
	say(f, ACK, &r);
}

static void while_one_is_in_flight_the_next_waits_for_its_ack(void **state)
{
	struct fixture *f = *state;
	struct raw first, r;

	subscribe(f, "value", "1");
	set_value(f, 1);
	first = notification(f, "1");
	for (int i = 2; i < 6; i++) {
		set_value(f, i);
		assert_silent(f, 150);
	}
	say(f, ACK, &first);
	r = notification(f, "5");
	say(f, ACK, &r);
	assert_silent(f, 200);
}

/* OB-2. */
static void the_same_token_registers_once(void **state)
{
	struct fixture *f = *state;
	struct raw r;

	subscribe(f, "value", "1");
	subscribe(f, "value", "1");
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 1);
	subscribe(f, "value", "2");
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 2);
	set_value(f, 1);
	r = notification(f, "1");
	say(f, ACK, &r);
	r = notification(f, "1");
	say(f, ACK, &r);
	assert_silent(f, 200);
}

static void cancelling_ends_it(void **state)
{
	struct fixture *f = *state;
	struct raw m, r;

	subscribe(f, "value", "1");
	m = observe("value", "1", 1);
	r = raw_exchange(f, &m);
	assert_int_equal(r.b[1], COAP_205_CONTENT);
	assert_int_equal(raw_find_uint(&r, O_OBSERVE), -1);
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 0);
	set_value(f, 1);
	assert_silent(f, 300);
}

/* OB-5. */
static void rst_ends_it(void **state)
{
	struct fixture *f = *state;
	struct raw r;

	subscribe(f, "value", "1");
	set_value(f, 1);
	r = notification(f, "1");
	say(f, RST, &r);
	assert_silent(f, 50);
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 0);
	set_value(f, 2);
	assert_silent(f, 300);
}

/* T3, OB-7: an error while notifying is told without Observe and ends the relation; in libcoap it frees too early. */
static void t3_an_error_is_the_last_notification(void **state)
{
	struct fixture *f = *state;
	struct raw r;

	subscribe(f, "value", "1");
	subscribe(f, "value", "2");
	f->value_code = COAP_404_NOT_FOUND;
	set_value(f, 1);
	for (int i = 0; i < 2; i++) {
		r = raw_receive(f, 3000);
		assert_int_equal(r.b[1], COAP_404_NOT_FOUND);
		assert_int_equal(raw_find_uint(&r, O_OBSERVE), -1);
		say(f, i ? RST : ACK, &r);
	}
	assert_silent(f, 50);
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 0);
	f->value_code = 0;
	set_value(f, 2);
	assert_silent(f, 300);
}

/* OB-4. */
static void another_format_ends_it_with_4_06(void **state)
{
	struct fixture *f = *state;
	struct raw r;

	subscribe(f, "value", "1");
	f->value_format = COAP_CF_JSON;
	set_value(f, 1);
	r = raw_receive(f, 3000);
	assert_int_equal(r.b[1], COAP_406_NOT_ACCEPTABLE);
	say(f, ACK, &r);
	assert_silent(f, 50);
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 0);
}

static void limits_are_refused_by_answering_plainly(void **state)
{
	struct fixture *f = *state;
	struct raw m, r;

	for (int i = 0; i < 5; i++)
		subscribe(f, "value", (char[]){ (char)('a' + i), 0 });
	m = observe("value", "f", 0);
	r = raw_exchange(f, &m);
	assert_int_equal(r.b[1], COAP_205_CONTENT);
	assert_int_equal(raw_find_uint(&r, O_OBSERVE), -1);
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 5);
	m = observe("hello", "a", 0); /* not observable; also replaces token a */
	r = raw_exchange(f, &m);
	assert_int_equal(r.b[1], COAP_205_CONTENT);
	assert_int_equal(raw_find_uint(&r, O_OBSERVE), -1);
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 4);
	m = observe("value", "z", 2); /* an unknown value is ignored */
	r = raw_exchange(f, &m);
	assert_int_equal(raw_find_uint(&r, O_OBSERVE), -1);
}

/* OB-12: the first block is pushed, the rest pulled from the same body. */
static void a_large_notification_is_pulled_in_blocks(void **state)
{
	struct fixture *f = *state;
	struct span etag = SPAN_NONE, other = SPAN_NONE;
	struct raw m, r;
	unsigned runs;

	subscribe(f, "value", "1");
	f->big_bytes = 3000;
	set_value(f, 7);
	r = raw_receive(f, 3000);
	assert_int_equal(raw_find_uint(&r, O_BLOCK2), 0 << 4 | 8 | 6);
	assert_true(raw_find_uint(&r, O_OBSERVE) >= 0);
	assert_true(raw_find(&r, 4, &etag));
	say(f, ACK, &r);
	runs = f->n_value;
	for (uint32_t num = 1; num < 3; num++) {
		struct raw b;

		raw_start(&m, CON, COAP_M_GET, next_mid++, "pull");
		raw_text(&m, O_PATH, "value");
		raw_uint(&m, O_BLOCK2, num << 4 | 6);
		b = raw_exchange(f, &m);
		assert_int_equal(b.b[1], COAP_205_CONTENT);
		assert_true(raw_find(&b, 4, &other));
		assert_true(span_eq(etag, other));
		f->value = 8; /* changes underway do not matter */
	}
	assert_int_equal(f->n_value, runs);
}

static void a_change_for_one_query_wakes_only_its_observers(void **state)
{
	struct fixture *f = *state;
	struct raw m = observe("value", "1", 0), r;
	unsigned runs;

	raw_text(&m, O_QUERY, "ep=node1");
	r = raw_exchange(f, &m);
	m = observe("value", "2", 0);
	raw_text(&m, O_QUERY, "ep=node2");
	r = raw_exchange(f, &m);
	runs = f->n_value;
	f->value = 4;
	coap_endpoint_changed_query(f->e, "value", SPAN_LIT("ep=node2"));
	r = notification(f, "4");
	assert_int_equal(r.b[4], '2');
	say(f, ACK, &r);
	assert_silent(f, 200);
	assert_int_equal(f->n_value, runs + 1);
	coap_endpoint_changed_query(f->e, "value", SPAN_NONE);
	r = notification(f, "4");
	assert_int_equal(r.b[4], '1');
	say(f, ACK, &r);
}

static void a_client_follows_a_resource(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("value");
	struct coap_call *c;

	q.observe = true;
	assert_int_equal(coap_call(f->session, &q, on_answer, f, &c), 0);
	await(f, 1);
	assert_got(f, COAP_205_CONTENT, "0");
	assert_true(f->got.is_notification);
	for (int i = 1; i < 5; i++) {
		char text[16];

		(void)snprintf(text, sizeof(text), "%d", i);
		set_value(f, i);
		await(f, 1);
		assert_got(f, COAP_205_CONTENT, text);
		assert_true(f->got.is_notification);
	}
	f->big_bytes = 5000;
	set_value(f, 77);
	await(f, 1);
	assert_got(f, COAP_205_CONTENT, "77");
	assert_int_equal(f->got.body.n, 5002);
	coap_call_cancel(c);
	assert_int_equal(loop_run_for(f->loop, 100), -ETIMEDOUT);
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 0);
}

static unsigned offer;

/* As an offer of updates does it: nothing yet, or what the node has already, then an envelope. */
static int on_offer(void *ctx, const struct coap_request *q, struct coap_response *r)
{
	struct coap_etag e = { .n = 1, .b = { (uint8_t)offer } };

	r->etag = e;
	if (coap_request_has_etag(q, &e)) {
		r->code = COAP_203_VALID;
		return COAP_HANDLER_DONE;
	}
	r->code = COAP_205_CONTENT;
	r->content_format = COAP_CF_CBOR;
	buf_printf(&r->body, "offer %u", offer);
	return COAP_HANDLER_DONE;
}

static void a_2_03_begins_an_observation_too(void **state)
{
	struct fixture *f = *state;
	const struct coap_route route = { .path = "fw", .methods = BIT(COAP_M_GET), .observable = true, .fn = on_offer };
	struct coap_call_request q = a_get("fw");

	assert_int_equal(coap_endpoint_add(f->e, &route), 0);
	offer = 1;
	q.observe = true;
	q.etag = (struct coap_etag){ .n = 1, .b = { 1 } };
	assert_int_equal(coap_call(f->session, &q, on_answer, f, NULL), 0);
	await(f, 1);
	assert_got(f, COAP_203_VALID, "");
	assert_true(f->got.is_notification);
	offer = 2;
	coap_endpoint_changed(f->e, "fw");
	await(f, 1);
	assert_got(f, COAP_205_CONTENT, "offer 2");
}

static void an_answer_that_comes_later_begins_one_as_well(void **state)
{
	struct fixture *f = *state;
	const struct coap_route route = { .path = "slow", .methods = BIT(COAP_M_GET), .observable = true, .fn = on_later, .ctx = f };
	struct coap_call_request q = a_get("slow");
	struct coap_response res;

	assert_int_equal(coap_endpoint_add(f->e, &route), 0);
	q.observe = true;
	assert_int_equal(coap_call(f->session, &q, on_answer, f, NULL), 0);
	assert_int_equal(loop_run_for(f->loop, FIXTURE_MS), 0);
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 0);
	coap_response_init(&res);
	res.code = COAP_205_CONTENT;
	buf_add_str(&res.body, "first");
	coap_deferred_respond(f->deferred, &res);
	await(f, 1);
	assert_got(f, COAP_205_CONTENT, "first");
	assert_true(f->got.is_notification);
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 1);
	coap_endpoint_changed(f->e, "slow"); /* while notifying nothing can be deferred: 5.03 ends it */
	await(f, 1);
	assert_got(f, COAP_503_UNAVAILABLE, NULL);
	assert_int_equal(f->n_defer, 2);
}

/* ---- who observes on behalf of observers (OB-8, OB-10) ---- */

static int n_observing;
static bool is_refused;

static void on_observing(void *ctx, const struct coap_request *q, bool begins)
{
	assert_true(coap_path_is(q, "heart"));
	assert_non_null(ctx);
	n_observing += begins ? 1 : -1;
}

static int on_heart(void *ctx, const struct coap_request *q, struct coap_response *r)
{
	r->code = COAP_205_CONTENT;
	r->no_observe = is_refused;
	return COAP_HANDLER_DONE;
}

static void a_route_hears_when_observations_begin_and_end(void **state)
{
	struct fixture *f = *state;
	struct coap_route route = { .path = "heart", .methods = BIT(COAP_M_GET), .observable = true, .fn = on_heart, .ctx = f, .observing = on_observing };
	struct raw m;

	n_observing = 0;
	is_refused = false;
	assert_int_equal(coap_endpoint_add(f->e, &route), 0);
	subscribe(f, "heart", "1");
	assert_int_equal(n_observing, 1);
	subscribe(f, "heart", "2");
	assert_int_equal(n_observing, 2);
	subscribe(f, "heart", "2"); /* the same again: one ends, one begins */
	assert_int_equal(n_observing, 2);
	m = observe("heart", "1", 1);
	(void)raw_exchange(f, &m);
	assert_int_equal(n_observing, 1);
	/* what is left when the endpoint goes is not told any more: teardown */
}

static void a_handler_may_answer_without_observe(void **state)
{
	struct fixture *f = *state;
	struct coap_route route = { .path = "heart", .methods = BIT(COAP_M_GET), .observable = true, .fn = on_heart, .ctx = f, .observing = on_observing };
	struct raw m = observe("heart", "1", 0), r;

	n_observing = 0;
	is_refused = true;
	assert_int_equal(coap_endpoint_add(f->e, &route), 0);
	r = raw_exchange(f, &m);
	assert_int_equal(r.b[1], COAP_205_CONTENT);
	assert_int_equal(raw_find_uint(&r, O_OBSERVE), -1);
	assert_int_equal(n_observing, 0);
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 0);
}

static void a_client_is_told_of_the_end(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("value");

	q.observe = true;
	assert_int_equal(coap_call(f->session, &q, on_answer, f, NULL), 0);
	await(f, 1);
	f->value_code = COAP_404_NOT_FOUND;
	set_value(f, 1);
	await(f, 1);
	assert_got(f, COAP_404_NOT_FOUND, "gone");
	assert_false(f->got.is_notification);
}

static void over_dtls_the_next_one_follows_the_ack_too(void **state)
{
	struct fixture *f = *state;
	struct coap_session_config s = { .uri = f->secure, .psk_identity = "n", .psk_key = SPAN_LIT("n") };
	struct coap_call_request q = a_get("value");

	coap_session_close(f->session);
	assert_int_equal(coap_session_open(f->client, &s, &f->session), 0);
	q.observe = true;
	assert_int_equal(coap_call(f->session, &q, on_answer, f, NULL), 0);
	await(f, 1);
	for (int i = 1; i < 4; i++) {
		set_value(f, i);
		await(f, 1);
		assert_int_equal(atoi(buf_str(&f->got.body)), i);
	}
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 1);
	f->session = coap_session_close(f->session); /* close_notify ends it at the endpoint */
	assert_int_equal(loop_run_for(f->loop, 100), -ETIMEDOUT);
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(a_change_is_told_with_a_growing_number),
		fixture_test(no_change_means_silence),
		fixture_test(a_change_covers_what_lies_below),
		fixture_test(a_burst_of_changes_is_told_once),
		fixture_test(a_hundred_changed_paths_still_reach_the_observer),
		fixture_test(while_one_is_in_flight_the_next_waits_for_its_ack),
		fixture_test(the_same_token_registers_once),
		fixture_test(cancelling_ends_it),
		fixture_test(rst_ends_it),
		fixture_test(t3_an_error_is_the_last_notification),
		fixture_test(another_format_ends_it_with_4_06),
		fixture_test(limits_are_refused_by_answering_plainly),
		fixture_test(a_large_notification_is_pulled_in_blocks),
		fixture_test(a_change_for_one_query_wakes_only_its_observers),
		fixture_test(a_client_follows_a_resource),
		fixture_test(a_2_03_begins_an_observation_too),
		fixture_test(an_answer_that_comes_later_begins_one_as_well),
		fixture_test(a_route_hears_when_observations_begin_and_end),
		fixture_test(a_handler_may_answer_without_observe),
		fixture_test(a_client_is_told_of_the_end),
		fixture_test(over_dtls_the_next_one_follows_the_ack_too),
	};
	return cmocka_run_group_tests_name("io/coap_observe", tests, NULL, NULL);
}
