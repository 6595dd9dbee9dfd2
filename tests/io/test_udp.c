/* The plain datagram socket, on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "../until.h"
#include "io/udp.h"

static void addresses_are_read_and_written(void **state)
{
	const struct { const char *text; int want; const char *back; } t[] = {
		{ "192.0.2.1", 0, "192.0.2.1:1337" }, { "192.0.2.1:5", 0, "192.0.2.1:5" }, { "192.0.2.1:65535", 0, "192.0.2.1:65535" },
		{ "2001:db8::1", 0, "[2001:db8::1]:1337" }, { "[2001:db8::1]", 0, "[2001:db8::1]:1337" }, { "[::1]:7", 0, "[::1]:7" },
		{ "fe80::1%lo", 0, "[fe80::1%lo]:1337" }, { "[fe80::1%lo]:7", 0, "[fe80::1%lo]:7" }, { "fe80::1%nonesuch", -ENODEV, NULL },
		{ "", -EINVAL, NULL }, { "192.0.2.1:", -EINVAL, NULL }, { "192.0.2.1:65536", -EINVAL, NULL }, { "192.0.2.1:-1", -EINVAL, NULL },
		{ "192.0.2", -EINVAL, NULL }, { "[::1", -EINVAL, NULL }, { "[::1]7", -EINVAL, NULL }, { "[]:7", -EINVAL, NULL }, { "[", -EINVAL, NULL },
		{ "node.example", -EINVAL, NULL }, { ":::", -EINVAL, NULL }, { "::1%", -ENODEV, NULL },
		{ "1111111111111111111111111111111111111111111111111111111111111111111111111", -EINVAL, NULL },
	};
	char back[UDP_ADDRESS_TEXT_BYTES];
	struct udp_address a;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		int r = udp_address_parse(span_str(t[i].text), 1337, &a);
		if (r != t[i].want)
			fail_msg("%s: %d", t[i].text, r);
		if (r == 0)
			assert_string_equal(udp_address_text(&a, back), t[i].back);
	}
	assert_int_equal(udp_address_parse(SPAN_LIT("::1\0x"), 1, &a), -EINVAL);
	assert_int_equal(udp_address_parse(SPAN_NONE, 1, &a), -EINVAL);
}

struct talk {
	struct udp *server, *client;
	unsigned n_server, n_client;
	size_t n_bytes;
	bool closes;
};

static void on_server(void *ctx, const struct udp_address *from, struct span datagram)
{
	struct talk *t = ctx;

	t->n_server++;
	assert_int_equal(udp_send(t->server, from, datagram), 0);
}

static void on_client(void *ctx, const struct udp_address *from, struct span datagram)
{
	struct talk *t = ctx;

	(void)from;
	t->n_client++;
	t->n_bytes = datagram.n;
	if (t->closes)
		t->client = udp_close(t->client);
}

static bool has_answer(void *ctx)
{
	return ((struct talk *)ctx)->n_client > 0;
}

static void talk_at(const char *local)
{
	struct loop *l = loop_new();
	struct talk t = { 0 };
	struct udp_address a;
	static const uint8_t bytes[UDP_DATAGRAM_BYTES_MAX + 1];

	assert_int_equal(udp_address_parse(span_str(local), 0, &a), 0);
	assert_int_equal(udp_listen(l, &a, on_server, &t, &t.server), 0);
	assert_int_equal(udp_local(t.server, &a), 0);
	assert_int_equal(udp_connect(l, &a, on_client, &t, &t.client), 0);
	assert_int_equal(udp_send(t.client, NULL, SPAN_OF(bytes)), 0); /* too long: dropped there */
	assert_int_equal(udp_send(t.client, NULL, SPAN(bytes, UDP_DATAGRAM_BYTES_MAX)), 0);
	assert_true(until(l, has_answer, &t, 5000));
	assert_int_equal(t.n_bytes, UDP_DATAGRAM_BYTES_MAX);
	assert_int_equal(t.n_server, 1);
	t.closes = true;                       /* within its own callback, with more to read */
	t.n_client = 0;
	for (int i = 0; i < 5; i++)
		assert_int_equal(udp_send(t.client, NULL, SPAN(bytes, 1)), 0);
	assert_true(until(l, has_answer, &t, 5000));
	assert_null(t.client);
	assert_int_equal(t.n_client, 1);
	udp_close(t.server);
	loop_free(l);
}

static void datagrams_go_there_and_back(void **state)
{
	(void)state;
	talk_at("127.0.0.1:0");
	talk_at("[::1]:0");
}

static bool never(void *ctx)
{
	(void)ctx;
	return false;
}

static void nobody_there_is_only_silence(void **state)
{
	struct loop *l = loop_new();
	struct talk t = { 0 };
	struct udp_address a;

	(void)state;
	assert_int_equal(udp_address_parse(SPAN_LIT("127.0.0.1:0"), 0, &a), 0);
	assert_int_equal(udp_listen(l, &a, on_server, &t, &t.server), 0);
	assert_int_equal(udp_local(t.server, &a), 0);
	t.server = udp_close(t.server);
	assert_int_equal(udp_connect(l, &a, on_client, &t, &t.client), 0);
	(void)udp_send(t.client, NULL, SPAN_LIT("x")); /* is refused sooner or later */
	assert_false(until(l, never, NULL, 50));
	assert_int_equal(t.n_client, 0);
	udp_close(t.client);
	assert_null(udp_close(NULL));
	loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_read_and_written),
		cmocka_unit_test(datagrams_go_there_and_back),
		cmocka_unit_test(nobody_there_is_only_silence),
	};

	return cmocka_run_group_tests_name("io/udp", tests, NULL, NULL);
}
