/* io/coap_multicast: the data plane's sockets and its one message. On loopback by unicast: the same code, and nothing leaves the
 * machine; groups, scopes and interfaces are in tests/system/test_multicast.py. */
#include "coap_fixture.h"

#include "io/coap_multicast.h"

enum { O_HOST = 3, O_PATH = 11, O_FORMAT = 12, O_NO_RESPONSE = 258 };

struct hearing {
	struct loop *loop;
	struct coap_multicast_receiver *r;
	struct coap_multicast_group g;
	struct buf last;
	unsigned n, stop_at;
	uint16_t from_port;
	bool close_inside;
	int raw;
};

static void on_frame(void *ctx, const struct coap_multicast_heard *h)
{
	struct hearing *s = ctx;

	s->n++;
	s->from_port = h->from_port;
	buf_clear(&s->last);
	buf_add(&s->last, h->frame);
	if (s->close_inside)
		s->r = coap_multicast_receiver_close(s->r);
	if (s->n == s->stop_at)
		loop_stop(s->loop);
}

static int open_hearing(void **state)
{
	struct hearing *s = NEW(struct hearing);

	s->loop = loop_new();
	assert_int_equal(coap_multicast_address_parse(span_str("::1"), s->g.address), 0);
	assert_int_equal(coap_multicast_receiver_open(s->loop, &s->g, on_frame, s, &s->r), 0);
	s->g.port = coap_multicast_receiver_port(s->r);
	assert_int_not_equal(s->g.port, 0);
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(s->g.port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	s->raw = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(s->raw, (struct sockaddr *)&a, sizeof(a)), 0);
	*state = s;
	return 0;
}

static int close_hearing(void **state)
{
	struct hearing *s = *state;

	coap_multicast_receiver_close(s->r);
	loop_free(s->loop);
	buf_done(&s->last);
	close(s->raw);
	free(s);
	return 0;
}

static void hear(struct hearing *s, unsigned n)
{
	s->stop_at = s->n + n;
	assert_int_equal(loop_run_for(s->loop, FIXTURE_MS), 0);
}

static void tell(struct hearing *s, const void *p, size_t n) { assert_int_equal(send(s->raw, p, n, 0), (ssize_t)n); }

/* A good frame after what should have been dropped: once it came, the others did too. */
static void assert_heard_only(struct hearing *s, const struct raw *good, uint64_t bad)
{
	unsigned n = s->n;

	tell(s, good->b, good->n);
	hear(s, 1);
	assert_int_equal(s->n, n + 1);
	assert_int_equal(coap_multicast_receiver_counts(s->r).bad, bad);
}

static struct raw a_frame(uint16_t mid)
{
	struct raw m;

	raw_start(&m, NON, COAP_M_POST, mid, "");
	raw_text(&m, O_PATH, "m");
	raw_payload(&m, 73, 0);
	return m;
}

static void a_frame_costs_seven_bytes_of_coap(void **state)
{
	/* MCD C5: CoAP 4 + Uri-Path "m" 2 + marker 1 = 7 */
	static const uint8_t want[] = { 0x50, 0x02, 0x12, 0x34, 0xb1, 'm', 0xff, 0x08, 0xa8 };
	uint8_t m[16 + COAP_MULTICAST_FRAME_BYTES_MAX], big[COAP_MULTICAST_FRAME_BYTES_MAX + 1] = { 0 };
	struct span frame;
	uint16_t mid;

	assert_int_equal(coap_multicast_encode(0x1234, SPAN(want + 7, 2), m, sizeof(m)), sizeof(want));
	assert_memory_equal(m, want, sizeof(want));
	assert_int_equal(coap_multicast_decode(SPAN(m, sizeof(want)), &mid, &frame), 0);
	assert_int_equal(mid, 0x1234);
	assert_int_equal(frame.n, 2);
	assert_int_equal(coap_multicast_encode(1, SPAN(want + 7, 2), m, sizeof(want) - 1), -EMSGSIZE);
	assert_int_equal(coap_multicast_encode(1, SPAN_NONE, m, sizeof(m)), -EMSGSIZE);
	assert_int_equal(coap_multicast_encode(1, SPAN(big, sizeof(big) - 1), m, sizeof(m)), 7 + COAP_MULTICAST_FRAME_BYTES_MAX);
	assert_int_equal(coap_multicast_encode(1, SPAN(big, sizeof(big)), m, sizeof(m)), -EMSGSIZE);
	for (size_t n = 0; n < sizeof(want) - 1; n++)
		assert_int_equal(coap_multicast_decode(SPAN(want, n), &mid, &frame), n < 8 ? -EBADMSG : 0);
}

static void frames_arrive_as_they_were_sent(void **state)
{
	struct hearing *s = *state;
	struct coap_multicast_sender *tx;
	uint8_t frame[COAP_MULTICAST_FRAME_BYTES_MAX + 1];

	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = pattern(i);
	assert_int_equal(coap_multicast_sender_open(&s->g, &tx), 0);
	for (size_t n = 1; n < sizeof(frame); n++) {
		assert_int_equal(coap_multicast_send(tx, SPAN(frame, n)), 0);
		hear(s, 1);
		assert_int_equal(s->last.n, n);
		assert_memory_equal(s->last.p, frame, n);
	}
	assert_int_equal(coap_multicast_send(tx, SPAN(frame, sizeof(frame))), -EMSGSIZE);
	assert_int_equal(coap_multicast_send(tx, SPAN_NONE), -EMSGSIZE);
	assert_int_equal(coap_multicast_receiver_counts(s->r).frames, sizeof(frame) - 1);
	coap_multicast_sender_close(tx);
}

/* A mesh repeats what it forwards. */
static void repeats_are_dropped(void **state)
{
	struct hearing *s = *state;
	struct raw m = a_frame(1), other = a_frame(2);

	tell(s, m.b, m.n);
	tell(s, m.b, m.n);
	tell(s, other.b, other.n);
	hear(s, 2);
	assert_int_equal(coap_multicast_receiver_counts(s->r).repeats, 1);
	for (uint16_t mid = 10; mid < 10 + COAP_MULTICAST_RING; mid++) {
		struct raw next = a_frame(mid);
		tell(s, next.b, next.n);
	}
	hear(s, COAP_MULTICAST_RING);
	assert_heard_only(s, &m, 0); /* forgotten by now: the frame's own numbers tell */
	/* the same Message ID from another sender is another message */
	int first = s->raw;
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(s->g.port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	s->raw = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(s->raw, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_heard_only(s, &m, 0);
	close(first);
}

/* MCD C2, C5: NON POST /m, no token; everything else is dropped without a word. */
static void hostile_datagrams_are_dropped_and_never_answered(void **state)
{
	struct hearing *s = *state;
	struct raw good = a_frame(999), m;
	uint8_t big[2000] = { 0 };
	uint64_t bad = 0;

	for (size_t n = 0; n < good.n - 73; n++, bad++) /* every truncation up to an empty payload */
		tell(s, good.b, n);
	raw_start(&m, CON, COAP_M_POST, 1, "");
	raw_text(&m, O_PATH, "m");
	raw_payload(&m, 4, 0);
	tell(s, m.b, m.n), bad++;
	for (unsigned code = 0; code < 256; code++) {
		if (code == COAP_M_POST)
			continue;
		m = a_frame(1);
		m.b[1] = (uint8_t)code;
		tell(s, m.b, m.n), bad++;
		if (bad % 32 == 0) /* the queue has an end */
			(void)loop_run_for(s->loop, 5);
	}
	raw_start(&m, NON, COAP_M_POST, 1, "t");
	raw_text(&m, O_PATH, "m");
	raw_payload(&m, 4, 0);
	tell(s, m.b, m.n), bad++;
	static const char *const paths[][2] = { { "m", "m" }, { "mc", NULL }, { "", NULL }, { "M", NULL } };
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		raw_start(&m, NON, COAP_M_POST, 1, "");
		raw_text(&m, O_PATH, paths[i][0]);
		if (paths[i][1])
			raw_text(&m, O_PATH, paths[i][1]);
		raw_payload(&m, 4, 0);
		tell(s, m.b, m.n), bad++;
	}
	raw_start(&m, NON, COAP_M_POST, 1, ""); /* a critical option */
	raw_text(&m, O_HOST, "x");
	raw_text(&m, O_PATH, "m");
	raw_payload(&m, 4, 0);
	tell(s, m.b, m.n), bad++;
	m = a_frame(1);
	m.b[4] = 0xbf; /* a length that is reserved */
	tell(s, m.b, m.n), bad++;
	m.b[4] = 0xfe;
	tell(s, m.b, m.n), bad++;
	raw_start(&m, NON, COAP_M_POST, 1, "");
	raw_text(&m, O_PATH, "m");
	raw_payload(&m, COAP_MULTICAST_FRAME_BYTES_MAX + 1, 0);
	tell(s, m.b, m.n), bad++;
	tell(s, big, sizeof(big)), bad++;
	assert_heard_only(s, &good, bad);
	assert_int_equal(s->n, 1);
	assert_int_equal(recv(s->raw, big, sizeof(big), MSG_DONTWAIT), -1);
}

static void options_that_may_be_ignored_are(void **state)
{
	struct hearing *s = *state;
	struct raw m;

	raw_start(&m, NON, COAP_M_POST, 1, "");
	raw_text(&m, O_PATH, "m");
	raw_uint(&m, O_FORMAT, 42);
	raw_uint(&m, O_NO_RESPONSE, 26);
	raw_payload(&m, 4, 0);
	assert_heard_only(s, &m, 0);
	assert_int_equal(s->last.n, 4);
}

static void a_receiver_may_be_closed_inside(void **state)
{
	struct hearing *s = *state;
	struct raw a = a_frame(1), b = a_frame(2);

	s->close_inside = true;
	tell(s, a.b, a.n);
	tell(s, b.b, b.n);
	hear(s, 1);
	assert_null(s->r);
	(void)loop_run_for(s->loop, 20);
	assert_int_equal(s->n, 1);
}

static void losses_repeat_with_their_seed(void **state)
{
	struct hearing *s = *state;
	unsigned heard[2];

	for (int round = 0; round < 2; round++) {
		unsigned before = s->n;

		coap_multicast_receiver_set_loss(s->r, 0.3, 7);
		for (uint16_t i = 0; i < 200; i++) {
			struct raw m = a_frame((uint16_t)(round * 1000 + i));
			tell(s, m.b, m.n);
			if (i % 32 == 31)
				(void)loop_run_for(s->loop, 5);
		}
		(void)loop_run_for(s->loop, 20);
		heard[round] = s->n - before;
	}
	assert_int_equal(heard[0], heard[1]);
	assert_in_range(heard[0], 110, 170);
}

static void groups_that_name_others_are_told_apart(void **state)
{
	static const struct {
		const char *text;
		int r;
		bool is_group;
	} rows[] = {
		{ "ff03::4d43", 0, true }, { "ff02::1234", 0, true }, { "ff15::1", 0, true }, { "239.1.2.3", 0, true },
		{ "ff02::1", 0, false }, { "ff03::fd", 0, false }, { "ff05::2", 0, false }, { "224.0.0.1", 0, false },
		{ "224.0.1.187", 0, false }, { "::1", 0, false }, { "127.0.0.1", 0, false }, { "2001:db8::1", 0, false },
		{ "", -EINVAL, false }, { "ff03::4d43%lo", -EINVAL, false }, { "host", -EINVAL, false }, { "239.1.2", -EINVAL, false },
	};
	uint8_t a[COAP_MULTICAST_ADDRESS_BYTES];
	char text[COAP_ADDR_TEXT_BYTES];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(coap_multicast_address_parse(span_str(rows[i].text), a), rows[i].r);
		if (rows[i].r < 0)
			continue;
		assert_int_equal(coap_multicast_is_group(a), rows[i].is_group);
		coap_multicast_address_text(a, text);
		assert_string_equal(text, rows[i].text);
	}
}

static void what_cannot_be_opened_says_why(void **state)
{
	struct coap_multicast_group g = { .interface = "none-such", .port = 1 };
	struct coap_multicast_receiver *r;
	struct coap_multicast_sender *tx;
	struct loop *l = loop_new();

	assert_int_equal(coap_multicast_address_parse(span_str("ff03::4d43"), g.address), 0);
	assert_int_equal(coap_multicast_sender_open(&g, &tx), -ENODEV);
	assert_int_equal(coap_multicast_receiver_open(l, &g, on_frame, NULL, &r), -ENODEV);
	g.interface = NULL;
	g.port = 0;
	assert_int_equal(coap_multicast_sender_open(&g, &tx), -EINVAL);
	assert_int_equal(coap_multicast_address_parse(span_str("2001:db8::1"), g.address), 0);
	assert_int_equal(coap_multicast_receiver_open(l, &g, on_frame, NULL, &r), -EADDRNOTAVAIL);
	assert_null(coap_multicast_sender_close(NULL));
	assert_null(coap_multicast_receiver_close(NULL));
	loop_free(l);
}

#define hearing_test(fn_) cmocka_unit_test_setup_teardown(fn_, open_hearing, close_hearing)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_frame_costs_seven_bytes_of_coap),
		hearing_test(frames_arrive_as_they_were_sent),
		hearing_test(repeats_are_dropped),
		hearing_test(hostile_datagrams_are_dropped_and_never_answered),
		hearing_test(options_that_may_be_ignored_are),
		hearing_test(a_receiver_may_be_closed_inside),
		hearing_test(losses_repeat_with_their_seed),
		cmocka_unit_test(groups_that_name_others_are_told_apart),
		cmocka_unit_test(what_cannot_be_opened_says_why),
	};

	return cmocka_run_group_tests_name("io/coap_multicast", tests, NULL, NULL);
}
