/* Server-Sent Events over a real server: resume, the ring that goes round, filters, a reader that does not read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/api.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "../io/wire.h"
#include "../until.h"

enum { RING = 1000 };

struct site {
	struct loop *loop;
	struct http_server *server;
	struct events_stream *events;
	struct wire reader;
	bool is_open;
	unsigned n_served;
};

static void on_request(void *ctx, struct http_exchange *x, const struct http_request *req)
{
	struct site *s = ctx;

	events_stream_serve(s->events, x, http_header(x, "Last-Event-ID"), http_query(x, "last"), http_query(x, "types"));
	s->n_served++;
}

static void on_slow(void *ctx)
{
	(void)usleep(2 * LOOP_SLOW_MS * 1000);
	loop_stop(ctx);
}

/* On a busy machine a turn may be slow, which is an event, too: once in LOOP_SLOW_LOG_S, so it is had before events are counted. */
static void be_slow_once(struct loop *l)
{
	struct loop_timer *t = loop_timer_new(l, on_slow, l);

	loop_timer_set(t, 0);
	(void)loop_run(l); /* stopped */
	loop_timer_free(t);
}

static int setup(void **state)
{
	struct site *s = NEW(struct site);

	log_set_max_priority(LOG_ALERT - 1);
	s->loop = loop_new();
	be_slow_once(s->loop);
	s->server = http_server_new(s->loop, on_request, s);
	assert_int_equal(http_server_listen(s->server, "127.0.0.1:0", 0, NULL, NULL), 0);
	s->events = events_stream_open(s->loop);
	*state = s;
	return 0;
}

static void hang_up(struct site *s)
{
	if (s->is_open)
		wire_close(&s->reader);
	s->is_open = false;
}

static int teardown(void **state)
{
	struct site *s = *state;

	hang_up(s);
	http_server_free(s->server);
	events_stream_close(s->events);
	loop_free(s->loop);
	free(s);
	return 0;
}

static bool is_served(void *ctx)
{
	return ((struct site *)ctx)->n_served > 0;
}

/* A reader with this query, "" = none, and this header line, "" = none. */
static void listen_to(struct site *s, const char *query, const char *header)
{
	_cleanup_buf_ struct buf b = { 0 };

	hang_up(s);
	buf_printf(&b, "GET /events%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", query, header);
	wire_connect(&s->reader, s->loop, http_server_address(s->server, 0));
	s->is_open = true;
	s->n_served = 0;
	wire_say(&s->reader, buf_span(&b));
	assert_true(until(s->loop, is_served, s, WIRE_LIMIT_MS));
	wire_wait(&s->reader, "retry: 2000");
}

static void come_back(struct site *s, uint64_t last_id)
{
	char header[64];

	(void)snprintf(header, sizeof(header), "Last-Event-ID: %llu\r\n", (unsigned long long)last_id);
	listen_to(s, "", header);
}

static void happen(unsigned from, unsigned n)
{
	char name[16];

	for (unsigned i = from; i < from + n; i++) {
		(void)snprintf(name, sizeof(name), "n%u", i);
		log_fields(i % 2 ? EV_DEVICE_SEEN : EV_JOB_STATE, LOG_DEBUG, ({ "GW_DEVICE", name }), "event <%u>", i);
	}
}

static bool has_event(const struct site *s, unsigned i)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "event <%u>", i);
	return wire_has(&s->reader, text);
}

static void wait_event(struct site *s, unsigned i)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "event <%u>", i);
	wire_wait(&s->reader, text);
}

/* The id of the event that was received last. */
static uint64_t last_id(const struct site *s)
{
	uint64_t id = 0;
	const char *at = buf_str(&s->reader.in);

	for (const char *p; (p = strstr(at, "\nid: ")); at = p + 5) {
		size_t n = strspn(p + 5, "0123456789");
		assert_int_equal(text_parse_u64(SPAN(p + 5, n), UINT64_MAX, &id, 0), 0);
	}
	return id;
}

static void a_reader_gets_what_happens_from_now_on(void **state)
{
	struct site *s = *state;

	happen(0, 3);
	listen_to(s, "", "");
	happen(3, 2);
	log_event(EV_GENERIC, LOG_DEBUG, "no event of operators");
	happen(5, 1);
	wait_event(s, 5);
	assert_false(has_event(s, 2));
	assert_true(has_event(s, 3) && has_event(s, 4));
	assert_false(wire_has(&s->reader, "no event of operators"));
	assert_int_equal(wire_count(&s->reader, "\nid: "), 3);
	assert_true(wire_has(&s->reader, "event: job-state\ndata: {\"event\":\"job-state\",\"at\":\""));
	assert_true(wire_has(&s->reader, "\"fields\":{\"GW_DEVICE\":\"n4\"}}\n\n"));
	assert_true(wire_has(&s->reader, "Content-Type: text/event-stream"));
}

static void whoever_comes_back_misses_nothing(void **state)
{
	struct site *s = *state;

	listen_to(s, "", "");
	happen(0, 10);
	wait_event(s, 9);
	uint64_t id = last_id(s);
	happen(10, RING);
	come_back(s, id);
	wait_event(s, 10 + RING - 1);
	assert_false(has_event(s, 9));
	assert_int_equal(wire_count(&s->reader, "\nid: "), RING);
	assert_int_equal(last_id(s), id + RING);
	assert_false(wire_has(&s->reader, "events-missed"));
	come_back(s, id + RING);               /* up to date */
	happen(2000, 1);
	wait_event(s, 2000);
	assert_int_equal(wire_count(&s->reader, "\nid: "), 1);
	assert_false(wire_has(&s->reader, "events-missed"));
}

static void what_the_ring_has_lost_is_told_and_counted(void **state)
{
	struct site *s = *state;

	listen_to(s, "", "");
	happen(0, 1);
	wait_event(s, 0);
	uint64_t id = last_id(s);
	happen(1, RING + 7);
	come_back(s, id);
	wait_event(s, RING + 7);
	assert_true(wire_has(&s->reader, "event: events-missed\ndata: {"));
	assert_true(wire_has(&s->reader, "\"GW_MISSED\":\"7\""));
	assert_int_equal(wire_count(&s->reader, "events-missed"), 2);          /* its type and its datum */
	assert_false(has_event(s, 7));
	assert_true(has_event(s, 8));
	assert_true(strstr(buf_str(&s->reader.in), "events-missed") < strstr(buf_str(&s->reader.in), "event <8>"));
}

static void an_id_of_another_life_is_not_taken_for_ours(void **state)
{
	static const char *const ids[] = { "1", "0", "18446744073709551615" };
	struct site *s = *state;
	char header[64];

	happen(0, 3);
	for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
		(void)snprintf(header, sizeof(header), "Last-Event-ID: %s\r\n", ids[i]);
		listen_to(s, "", header);
		wait_event(s, 2);
		assert_true(has_event(s, 0));  /* all of this life */
		assert_true(wire_has(&s->reader, "\"GW_MISSED\":\"unknown\""));
	}
	listen_to(s, "", "Last-Event-ID: nonsense\r\n");
	happen(3, 1);
	wait_event(s, 3);
	assert_false(has_event(s, 2));
	assert_false(wire_has(&s->reader, "events-missed"));
}

static void the_last_ones_and_some_kinds_alone(void **state)
{
	struct site *s = *state;

	happen(0, 10);
	listen_to(s, "?last=3", "");
	happen(10, 1);
	wait_event(s, 10);
	assert_true(!has_event(s, 6) && has_event(s, 7));
	listen_to(s, "?last=2&types=device-seen,no-such-kind", "");
	happen(11, 3);
	wait_event(s, 13);
	assert_int_equal(wire_count(&s->reader, "event: device-seen"), 4);     /* 7, 9, then 11 and 13 */
	assert_int_equal(wire_count(&s->reader, "event: job-state"), 0);
	assert_true(has_event(s, 7) && !has_event(s, 5));
	listen_to(s, "?last=1001", "");        /* more than there can be: as if not said */
	happen(14, 1);
	wait_event(s, 14);
	assert_int_equal(wire_count(&s->reader, "\nid: "), 1);
}

/* All that the reader was told to have lost: in one event, or in two when the first just fitted where nothing else did. */
static unsigned long long told_missed(const struct site *s)
{
	static const char key[] = "\"GW_MISSED\":\"";
	unsigned long long n = 0;

	for (const char *p = strstr(buf_str(&s->reader.in), key); p; p = strstr(p + 1, key))
		n += strtoull(p + sizeof(key) - 1, NULL, 10);
	return n;
}

/* What the kernel and the server hold for a reader is a few hundred kilobytes; then the ring goes round without it. */
static void a_slow_reader_costs_a_bounded_buffer_and_learns_what_it_lost(void **state)
{
	struct site *s = *state;
	int64_t dropped = metric_get(METRIC_EVENTS_DROPPED);
	unsigned n = 0;

	listen_to(s, "", "");
	wire_stop_reading(&s->reader);
	while (metric_get(METRIC_EVENTS_DROPPED) == dropped) {
		happen(n, 500);
		n += 500;
		assert_true(n < 200000);
		(void)loop_run_for(s->loop, 1);        /* the server writes what the kernel takes */
	}
	dropped = metric_get(METRIC_EVENTS_DROPPED) - dropped;
	wire_go_on_reading(&s->reader);
	wait_event(s, n - 1);
	assert_int_equal(told_missed(s), dropped);
	assert_int_equal(wire_count(&s->reader, "\nid: ") + (size_t)dropped, n);      /* each came or was told of */
	happen(n, 1);
	wait_event(s, n);
	assert_int_equal(told_missed(s), dropped);     /* once */
}

static void readers_that_left_are_forgotten(void **state)
{
	struct site *s = *state;

	for (int i = 0; i < 2 * HTTP_STREAMS_MAX; i++) {
		listen_to(s, "", "");          /* hangs up the one before */
		happen((unsigned)i, 1);
		wait_event(s, (unsigned)i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_reader_gets_what_happens_from_now_on, setup, teardown),
		cmocka_unit_test_setup_teardown(whoever_comes_back_misses_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(what_the_ring_has_lost_is_told_and_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(an_id_of_another_life_is_not_taken_for_ours, setup, teardown),
		cmocka_unit_test_setup_teardown(the_last_ones_and_some_kinds_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(a_slow_reader_costs_a_bounded_buffer_and_learns_what_it_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(readers_that_left_are_forgotten, setup, teardown),
	};
	return cmocka_run_group_tests_name("admin/events_stream", tests, NULL, NULL);
}
