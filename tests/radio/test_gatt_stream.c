/* Streams of writes without response. BLZ-5, BLZ-6, BLZ-7, BLZ-10. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "gatt_place.h"
#include "radio/gatt_internal.h"

enum { BIG_BYTES = 300 * 1000 };

struct flow {
	struct place *p;
	struct gatt_stream *s;
	unsigned n_ready, n_writable;
	int error;
	size_t chunk_max;
	const uint8_t *data;
	size_t n, sent;
	unsigned n_again;
};

static void on_ready(void *ctx, int error, size_t chunk_max)
{
	struct flow *w = ctx;

	w->n_ready++;
	w->error = error;
	w->chunk_max = chunk_max;
}

static void pour(struct flow *w)
{
	while (w->sent < w->n) {
		size_t n = w->n - w->sent < w->chunk_max ? w->n - w->sent : w->chunk_max;
		int r = gatt_stream_send(w->s, SPAN(w->data + w->sent, n));

		w->n_again += r == -EAGAIN;
		if (r < 0)
			return;
		w->sent += n;
	}
}

static void on_writable(void *ctx)
{
	struct flow *w = ctx;

	w->n_writable++;
	pour(w);
}

static const struct gatt_stream_ops ops = { .ready = on_ready, .writable = on_writable };

static bool is_ready(void *ctx)
{
	return ((struct flow *)ctx)->n_ready > 0;
}

static bool is_poured(void *ctx)
{
	struct flow *w = ctx;

	return w->sent == w->n;
}

static bool is_ended(void *ctx)
{
	return ((struct place *)ctx)->n_ended > 0;
}

static void begin(struct flow *w, struct ble_link *k, uint16_t h)
{
	w->n_ready = 0;
	assert_int_equal(gatt_stream_open(k, h, &ops, w, &w->s), 0);
	assert_int_equal(w->n_ready, 0); /* never from inside */
	assert_int_equal(gatt_stream_send(w->s, SPAN_LIT("early")), -ENOTCONN);
	assert_true(place_until(w->p, is_ready, w));
	assert_int_equal(w->n_ready, 1);
}

struct arrived { struct fake_bluez *f; uint16_t h; size_t n; };

static bool has_arrived(void *ctx)
{
	struct arrived *a = ctx;

	return fake_written(a->f, a->h, NULL, 0) >= a->n;
}

static uint8_t *pattern(size_t n)
{
	uint8_t *p = malloc(n);

	assert_non_null(p);
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 7 + i / 251);
	return p;
}

/* What arrived is what was sent, and nothing was longer than a chunk. */
static void check_arrived(struct flow *w, uint16_t h)
{
	struct arrived a = { w->p->f, h, w->n };
	uint8_t *got = malloc(w->n);

	assert_non_null(got);
	assert_true(place_until(w->p, has_arrived, &a));
	assert_int_equal(fake_written(w->p->f, h, got, w->n), w->n);
	assert_memory_equal(got, w->data, w->n);
	assert_true(fake_write_longest(w->p->f, h) <= w->chunk_max);
	free(got);
}

static struct place *place_with(uint16_t mtu, unsigned flags, uint16_t *ret)
{
	struct place *p = place_new(&(struct fake_node){ .address = PLACE_NODE, .is_random = true, .uuids = { SMP_SERVICE }, .mtu = mtu });

	*ret = fake_characteristic_add(p->f, PLACE_NODE, SMP_SERVICE, SMP_CHARACTERISTIC, FAKE_WRITE_NO_RESPONSE | FAKE_NOTIFY | flags);
	return p;
}

static void chunks_fit_the_link_and_what_bluez_does_not_lose(void **state)
{
	static const struct { uint16_t mtu; size_t chunk; } cases[] = { { 23, 20 }, { 247, 244 }, { 498, 495 }, { 499, 495 }, { 517, 495 } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		for (unsigned flags = 0; flags <= FAKE_NO_ACQUIRE; flags += FAKE_NO_ACQUIRE) {
			uint16_t h;
			struct place *p = place_with(cases[i].mtu, flags, &h);
			struct flow w = { .p = p, .n = 1500 };
			uint8_t *data = pattern(w.n);

			w.data = data;
			place_connect(p);
			struct ble_link *k = place_link(p);
			begin(&w, k, h);
			assert_int_equal(w.error, 0);
			assert_int_equal(w.chunk_max, cases[i].chunk);
			assert_int_equal(gatt_stream_send(w.s, SPAN(data, w.chunk_max + 1)), -EMSGSIZE);
			assert_int_equal(gatt_stream_send(w.s, SPAN_NONE), -EMSGSIZE);
			pour(&w);
			assert_true(place_until(p, is_poured, &w));
			check_arrived(&w, h);
			assert_int_equal(fake_calls(p->f, NULL, "AcquireWrite"), flags ? 0 : 1);
			assert_int_equal(fake_calls(p->f, NULL, "WriteValue") > 0, flags != 0);
			place_close(p, k);
			place_free(p);
			free(data);
		}
}

static void a_full_socket_is_waited_for(void **state)
{
	uint16_t h;
	struct place *p = place_with(517, 0, &h);
	uint8_t *data = pattern(BIG_BYTES);
	struct flow w = { .p = p, .data = data, .n = BIG_BYTES };

	(void)state;
	place_connect(p);
	struct ble_link *k = place_link(p);
	begin(&w, k, h);
	fake_stall(p->f, h, true);
	pour(&w);
	assert_int_equal(w.n_again, 1);
	assert_true(w.sent < w.n);
	place_run(p, 50);
	assert_int_equal(w.n_writable, 0); /* and nobody spins meanwhile */
	fake_stall(p->f, h, false);
	assert_true(place_until(p, is_poured, &w));
	assert_true(w.n_writable > 0);
	check_arrived(&w, h);
	place_close(p, k);
	place_free(p);
	free(data);
}

static void single_calls_are_few_at_a_time_and_in_order(void **state)
{
	uint16_t h;
	struct place *p = place_with(247, FAKE_NO_ACQUIRE, &h);
	uint8_t *data = pattern(20 * 1000);
	struct flow w = { .p = p, .data = data, .n = 20 * 1000 };

	(void)state;
	place_connect(p);
	struct ble_link *k = place_link(p);
	begin(&w, k, h);
	pour(&w);
	assert_int_equal(w.sent, GATT_COMMANDS_MAX * w.chunk_max);
	assert_int_equal(w.n_again, 1);
	assert_true(place_until(p, is_poured, &w));
	check_arrived(&w, h);
	/* one that is refused ends the link: what is behind it must not look like what is before it */
	fake_fail(p->f, NULL, "WriteValue", 1, "org.bluez.Error.NotPermitted", "Write acquired");
	assert_int_equal(gatt_stream_send(w.s, SPAN_LIT("x")), 0);
	assert_true(place_until(p, is_ended, p));
	assert_int_equal(p->n_hung_up, 1);
	assert_non_null(strstr(p->why, "Write acquired"));
	place_close(p, k);
	place_free(p);
	free(data);
}

static void what_another_program_holds_is_reported_not_fought_for(void **state)
{
	uint16_t h;
	struct place *p = place_with(247, FAKE_ACQUIRED, &h);
	struct flow w = { .p = p };

	(void)state;
	place_connect(p);
	struct ble_link *k = place_link(p);
	begin(&w, k, h);
	assert_int_equal(w.error, -EBUSY);
	assert_int_equal(w.chunk_max, 0);
	assert_int_equal(gatt_stream_send(w.s, SPAN_LIT("x")), -ENOTCONN);
	place_run(p, 100);
	assert_int_equal(fake_calls(p->f, NULL, "AcquireWrite"), 1);
	assert_int_equal(fake_calls(p->f, NULL, "WriteValue"), 0);
	assert_int_equal(p->n_hung_up, 0);
	place_close(p, k);
	place_free(p);
}

static void what_cannot_be_streamed_to_is_refused(void **state)
{
	struct place *p = place_new(NULL);
	uint16_t h = fake_characteristic_add(p->f, PLACE_NODE, SMP_SERVICE, SMP_CHARACTERISTIC, FAKE_WRITE);
	struct flow w = { .p = p };

	(void)state;
	place_connect(p);
	struct ble_link *k = place_link(p);
	begin(&w, k, h);
	assert_int_equal(w.error, -EOPNOTSUPP);
	begin(&w, k, 0x7777);
	assert_int_equal(w.error, -ENOENT);
	place_close(p, k);
	assert_int_equal(gatt_stream_open(&(struct ble_link){ .ble = (struct ble *)p }, h, &ops, &w, &w.s), -ENOTCONN);
	place_free(p);
}

static void acquire_that_is_not_offered_after_all_falls_back_to_calls(void **state)
{
	static const char *const names[] = { "org.bluez.Error.NotSupported", "org.freedesktop.DBus.Error.UnknownMethod" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		uint16_t h;
		struct place *p = place_with(247, 0, &h);
		struct flow w = { .p = p, .data = (const uint8_t *)"hello", .n = 5 };

		place_connect(p);
		fake_fail(p->f, NULL, "AcquireWrite", 1, names[i], "no");
		struct ble_link *k = place_link(p);
		begin(&w, k, h);
		assert_int_equal(w.error, 0);
		pour(&w);
		check_arrived(&w, h);
		assert_int_equal(fake_calls(p->f, NULL, "WriteValue"), 1);
		place_close(p, k);
		place_free(p);
	}
}

static void a_stream_closed_may_be_opened_again_at_once(void **state)
{
	uint16_t h;
	struct place *p = place_with(247, 0, &h);
	struct flow w = { .p = p, .data = (const uint8_t *)"hello", .n = 5 };

	(void)state;
	place_connect(p);
	struct ble_link *k = place_link(p);
	begin(&w, k, h);
	gatt_stream_close(w.s);
	/* bluetoothd may not have seen it yet */
	fake_fail(p->f, NULL, "AcquireWrite", 2, "org.bluez.Error.NotPermitted", "Write acquired");
	begin(&w, k, h);
	assert_int_equal(w.error, 0);
	pour(&w);
	check_arrived(&w, h);
	assert_int_equal(fake_calls(p->f, NULL, "AcquireWrite"), 4);
	place_close(p, k);
	place_free(p);
}

static void closing_while_it_is_asked_for_is_quiet(void **state)
{
	uint16_t h;
	struct place *p = place_with(247, 0, &h);
	struct flow w = { .p = p };

	(void)state;
	place_connect(p);
	fake_delay(p->f, NULL, "AcquireWrite", 200);
	struct ble_link *k = place_link(p);
	assert_int_equal(gatt_stream_open(k, h, &ops, &w, &w.s), 0);
	place_until_called(p, "AcquireWrite", 1);
	assert_null(gatt_stream_close(w.s));
	place_run(p, 300);
	assert_int_equal(w.n_ready, 0);
	assert_false(fake_is_acquired(p->f, h)); /* the socket that came was closed */
	place_close(p, k);
	place_free(p);
}

/* However it is noticed, and in whatever order, it is noticed once (BLZ-7). */
static void a_lost_node_ends_the_link_once(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		bool is_waiting = i & 1, is_signal_first = i & 2;
		uint16_t h;
		struct place *p = place_with(517, 0, &h);
		uint8_t *data = pattern(BIG_BYTES);
		struct flow w = { .p = p, .data = data, .n = BIG_BYTES };

		place_connect(p);
		struct ble_link *k = place_link(p);
		begin(&w, k, h);
		if (is_waiting) {
			fake_stall(p->f, h, true);
			pour(&w);
			assert_int_equal(w.n_again, 1);
		}
		fake_node_disconnect(p->f, PLACE_NODE, is_signal_first);
		assert_true(place_until(p, is_ended, p));
		place_run(p, 30);
		assert_int_equal(p->n_ended, 1);
		assert_true(p->n_hung_up <= 1);
		assert_null(p->gatt);
		place_close(p, k);
		place_free(p);
		free(data);
	}
}

static void a_socket_that_hangs_up_alone_ends_the_link(void **state)
{
	uint16_t h;
	struct place *p = place_with(247, 0, &h);
	struct flow w = { .p = p };

	(void)state;
	place_connect(p);
	struct ble_link *k = place_link(p);
	begin(&w, k, h);
	fake_hang_up(p->f, h);
	assert_true(place_until(p, is_ended, p));
	assert_int_equal(p->n_hung_up, 1);
	place_close(p, k);
	place_free(p);
}

static void sending_into_a_dead_socket_is_an_error_not_a_signal(void **state)
{
	uint16_t h;
	struct place *p = place_with(247, 0, &h);
	struct flow w = { .p = p };

	(void)state;
	place_connect(p);
	struct ble_link *k = place_link(p);
	begin(&w, k, h);
	fake_hang_up(p->f, h); /* before the loop sees it */
	assert_int_equal(gatt_stream_send(w.s, SPAN_LIT("x")), -ENOTCONN);
	assert_int_equal(gatt_stream_send(w.s, SPAN_LIT("x")), -ENOTCONN);
	assert_int_equal(p->n_hung_up, 1);
	assert_true(place_until(p, is_ended, p));
	place_close(p, k);
	place_free(p);
}

static void a_characteristic_that_goes_ends_the_link(void **state)
{
	uint16_t h;
	struct place *p = place_with(247, 0, &h);
	struct flow w = { .p = p };

	(void)state;
	place_connect(p);
	struct ble_link *k = place_link(p);
	begin(&w, k, h);
	fake_adapter_remove(p->f, "hci0");
	assert_true(place_until(p, is_ended, p));
	place_run(p, 20);
	assert_int_equal(p->n_ended, 1);
	place_close(p, k);
	place_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunks_fit_the_link_and_what_bluez_does_not_lose),
		cmocka_unit_test(a_full_socket_is_waited_for),
		cmocka_unit_test(single_calls_are_few_at_a_time_and_in_order),
		cmocka_unit_test(what_another_program_holds_is_reported_not_fought_for),
		cmocka_unit_test(what_cannot_be_streamed_to_is_refused),
		cmocka_unit_test(acquire_that_is_not_offered_after_all_falls_back_to_calls),
		cmocka_unit_test(a_stream_closed_may_be_opened_again_at_once),
		cmocka_unit_test(closing_while_it_is_asked_for_is_quiet),
		cmocka_unit_test(a_lost_node_ends_the_link_once),
		cmocka_unit_test(a_socket_that_hangs_up_alone_ends_the_link),
		cmocka_unit_test(sending_into_a_dead_socket_is_an_error_not_a_signal),
		cmocka_unit_test(a_characteristic_that_goes_ends_the_link),
	};
	return cmocka_run_group_tests_name("radio/gatt_stream", tests, NULL, NULL);
}
