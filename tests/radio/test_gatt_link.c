/* GATT on the links of radio/ble: an upload that loses its node, its bluetoothd, its adapter. BLZ-2, BLZ-7. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "ble_place.h"

enum { UPLOAD_BYTES = 60 * 1000 };

/* Sends, hears an echo of each write's length, and begins anew with a new link whenever one ends. */
struct upload {
	struct place *p;
	uint16_t handle;
	struct ble_link *link;
	struct gatt_stream *stream;
	struct gatt_subscription *subscription;
	struct loop_timer *again;
	size_t chunk_max, sent, n_links, n_ended, n_heard;
	int last_error;
	bool is_subscribed, is_streaming;
	size_t stop_at;                        /* trouble() is made once there */
	void (*trouble)(struct upload *u);
};

static void pour(struct upload *u)
{
	static const uint8_t zeros[GATT_STREAM_BYTES_MAX];

	while (u->is_subscribed && u->is_streaming && u->sent < UPLOAD_BYTES) {
		if (u->trouble && u->sent >= u->stop_at) {
			void (*trouble)(struct upload *u) = u->trouble;

			u->trouble = NULL;
			trouble(u);
		}
		size_t n = UPLOAD_BYTES - u->sent < u->chunk_max ? UPLOAD_BYTES - u->sent : u->chunk_max;
		if (gatt_stream_send(u->stream, SPAN(zeros, n)) < 0)
			return;
		u->sent += n;
	}
}

static void on_stream(void *ctx, int error, size_t chunk_max)
{
	struct upload *u = ctx;

	assert_int_equal(error, 0);
	u->chunk_max = chunk_max;
	u->is_streaming = true;
	pour(u);
}

static void on_writable(void *ctx)
{
	pour(ctx);
}

static void on_subscribed(void *ctx, int error)
{
	struct upload *u = ctx;

	assert_int_equal(error, 0);
	u->is_subscribed = true;
	pour(u);
}

static void on_heard(void *ctx, struct span value)
{
	((struct upload *)ctx)->n_heard++;
}

static const struct gatt_stream_ops stream_ops = { .ready = on_stream, .writable = on_writable };
static const struct gatt_subscription_ops subscription_ops = { .ready = on_subscribed, .value = on_heard };

static void on_ready(void *ctx)
{
	struct upload *u = ctx;
	static const uint8_t smp[] = { 0xda, 0x2e, 0x78, 0x28, 0xfb, 0xce, 0x4e, 0x01, 0xae, 0x9e, 0x26, 0x11, 0x74, 0x99, 0x7c, 0x48 };

	u->n_links++;
	assert_int_equal(gatt_find(u->link, NULL, smp)->handle, u->handle);
	assert_int_equal(gatt_subscribe(u->link, u->handle, &subscription_ops, u, &u->subscription), 0);
	assert_int_equal(gatt_stream_open(u->link, u->handle, &stream_ops, u, &u->stream), 0);
}

static void begin(void *ctx);

static void on_ended(void *ctx, int error, const char *why)
{
	struct upload *u = ctx;

	u->n_ended++;
	u->last_error = error;
	u->is_subscribed = u->is_streaming = false;
	u->link = ble_link_close(u->link);
	loop_timer_set(u->again, 0);
}

static const struct ble_link_ops link_ops = { .ready = on_ready, .ended = on_ended };

static void begin(void *ctx)
{
	struct upload *u = ctx;
	const struct ble_link_wish w = { .node = LAMP_ID, .owner = "upload", .is_exclusive = true };

	assert_int_equal(ble_link_open(u->p->ble, &w, &link_ops, u, &u->link), 0);
}

static bool is_done(void *ctx)
{
	struct upload *u = ctx;

	return u->sent == UPLOAD_BYTES && fake_is_acquired(u->p->fake, u->handle);
}

static void echo(void *ctx, struct fake_bluez *f, uint16_t handle, struct span value)
{
	uint8_t n = (uint8_t)value.n;

	fake_notify_inside(f, handle, SPAN(&n, 1));
}

static void run(struct place *p, void (*trouble)(struct upload *u), size_t n_links)
{
	struct upload u = { .p = p, .trouble = trouble, .stop_at = UPLOAD_BYTES / 2 };

	p->settings.scan_s = 1; /* what comes back is heard soon */
	p->settings.scan_every_s = 1;
	place_ready(p);
	u.handle = place_add(p, LAMP);
	fake_on_write(p->fake, u.handle, echo, NULL);
	u.again = loop_timer_new(p->loop, begin, &u);
	loop_timer_set(u.again, 0);
	assert_true(until(p->loop, is_done, &u, 3 * PLACE_MS));
	place_run(p, 20);
	assert_int_equal(u.n_links, n_links);
	assert_int_equal(u.n_ended, n_links - 1); /* each end is told once */
	assert_true(u.n_heard > 0);
	ble_link_close(u.link);
	loop_timer_free(u.again);
}

static void lose_node(struct upload *u)
{
	fake_node_disconnect(u->p->fake, LAMP, false);
}

static void lose_node_signal_first(struct upload *u)
{
	fake_node_disconnect(u->p->fake, LAMP, true);
}

static void hang_up(struct upload *u)
{
	fake_hang_up(u->p->fake, u->handle);
}

static void restart(struct upload *u)
{
	fake_bluez_stop(u->p->fake);
	fake_bluez_start(u->p->fake);
}

static void restart_bus(struct upload *u)
{
	fake_bluez_bus_stop(u->p->fake);
	fake_bluez_bus_start(u->p->fake);
}

static void replug(struct upload *u)
{
	fake_adapter_remove(u->p->fake, "hci0");
	fake_adapter_add(u->p->fake, "hci0", "00:AA:01:00:00:00", 0);
}

static void an_upload_goes_through(void **state)
{
	run(*state, NULL, 1);
}

static void an_upload_goes_on_after_its_node_was_lost(void **state)
{
	run(*state, lose_node, 2);
}

static void an_upload_goes_on_after_its_node_was_lost_the_other_way_round(void **state)
{
	run(*state, lose_node_signal_first, 2);
}

static void an_upload_goes_on_after_its_sockets_hung_up(void **state)
{
	run(*state, hang_up, 2);
}

static void an_upload_goes_on_after_bluetoothd_restarted(void **state)
{
	run(*state, restart, 2);
}

static void an_upload_goes_on_after_the_bus_restarted(void **state)
{
	run(*state, restart_bus, 2);
}

static void an_upload_goes_on_after_its_adapter_was_pulled_and_plugged(void **state)
{
	run(*state, replug, 2);
}

/* Whoever comes next on a connection that was kept gets the sockets that the last one closed just now. */
static void the_next_link_on_a_kept_connection_begins_at_once(void **state)
{
	struct place *p = *state;
	struct upload u = { .p = p };

	p->settings.idle_s = 30;
	place_ready(p);
	u.handle = place_add(p, LAMP);
	fake_on_write(p->fake, u.handle, echo, NULL);
	u.again = loop_timer_new(p->loop, begin, &u);
	for (int i = 0; i < 3; i++) {
		u.sent = 0;
		u.is_subscribed = u.is_streaming = false;
		begin(&u);
		assert_true(until(p->loop, is_done, &u, PLACE_MS));
		u.link = ble_link_close(u.link);
	}
	assert_int_equal(u.n_links, 3);
	assert_int_equal(u.n_ended, 0);
	assert_int_equal(fake_calls(p->fake, NULL, "Connect"), 1);
	loop_timer_free(u.again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_upload_goes_through, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(an_upload_goes_on_after_its_node_was_lost, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(an_upload_goes_on_after_its_node_was_lost_the_other_way_round, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(an_upload_goes_on_after_its_sockets_hung_up, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(an_upload_goes_on_after_bluetoothd_restarted, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(an_upload_goes_on_after_the_bus_restarted, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(an_upload_goes_on_after_its_adapter_was_pulled_and_plugged, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(the_next_link_on_a_kept_connection_begins_at_once, place_setup, place_teardown),
	};
	return cmocka_run_group_tests_name("radio/gatt_link", tests, NULL, NULL);
}
