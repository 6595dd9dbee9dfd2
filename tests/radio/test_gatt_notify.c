/* Notifications: by a socket, or by StartNotify and PropertiesChanged. BLZ-5, BLZ-7, BLZ-10. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "gatt_place.h"
#include "radio/gatt_internal.h"

enum { VALUES_MAX = 64 };

struct ear {
	struct place *p;
	struct gatt_subscription *s;
	unsigned n_ready, n;
	int error;
	char values[VALUES_MAX][16];           /* as text */
	size_t lengths[VALUES_MAX];
	struct gatt_subscription *drops;       /* unsubscribed at the first value */
	struct ble_link *closes;               /* closed at the first value */
};

static void on_ready(void *ctx, int error)
{
	struct ear *e = ctx;

	e->n_ready++;
	e->error = error;
}

static void on_value(void *ctx, struct span value)
{
	struct ear *e = ctx;

	if (e->n < VALUES_MAX) {
		(void)snprintf(e->values[e->n], sizeof(e->values[0]), "%.*s", SPAN_ARG(value));
		e->lengths[e->n] = value.n;
	}
	e->n++;
	e->drops = gatt_unsubscribe(e->drops);
	if (e->closes) {
		place_close(e->p, e->closes);
		e->closes = NULL;
	}
}

static const struct gatt_subscription_ops ops = { .ready = on_ready, .value = on_value };

static bool is_ready(void *ctx)
{
	return ((struct ear *)ctx)->n_ready > 0;
}

static bool has_heard(void *ctx)
{
	return ((struct ear *)ctx)->n > 0;
}

static bool has_heard_three(void *ctx)
{
	return ((struct ear *)ctx)->n >= 3;
}

static bool is_ended(void *ctx)
{
	return ((struct place *)ctx)->n_ended > 0;
}

static bool is_quiet(void *ctx)
{
	struct arrived { struct fake_bluez *f; uint16_t h; } *a = ctx;

	return !fake_has_subscriber(a->f, a->h);
}

static void assert_quiet(struct place *p, uint16_t h)
{
	struct { struct fake_bluez *f; uint16_t h; } a = { p->f, h };

	assert_true(place_until(p, is_quiet, &a));
}

static void listen_to(struct ear *e, struct ble_link *k, uint16_t h)
{
	e->n_ready = 0;
	assert_int_equal(gatt_subscribe(k, h, &ops, e, &e->s), 0);
	assert_int_equal(e->n_ready, 0); /* never from inside */
	assert_true(place_until(e->p, is_ready, e));
	assert_int_equal(e->n_ready, 1);
}

static struct place *place_with(unsigned flags, uint16_t *ret)
{
	struct place *p = place_new(NULL);

	*ret = fake_characteristic_add(p->f, PLACE_NODE, SMP_SERVICE, SMP_CHARACTERISTIC, FAKE_READ | FAKE_NOTIFY | flags);
	place_connect(p);
	return p;
}

static void notifications_come_in_order_either_way(void **state)
{
	(void)state;
	for (unsigned flags = 0; flags <= FAKE_NO_ACQUIRE; flags += FAKE_NO_ACQUIRE) {
		uint16_t h;
		struct place *p = place_with(flags, &h);
		struct ear e = { .p = p };
		struct ble_link *k = place_link(p);

		listen_to(&e, k, h);
		assert_int_equal(e.error, 0);
		assert_true(fake_notify(p->f, h, SPAN_LIT("one")));
		assert_true(fake_notify(p->f, h, SPAN_NONE)); /* an empty one is not the end */
		assert_true(fake_notify(p->f, h, SPAN_LIT("three")));
		assert_true(place_until(p, has_heard_three, &e));
		assert_string_equal(e.values[0], "one");
		assert_int_equal(e.lengths[1], 0);
		assert_string_equal(e.values[2], "three");
		assert_int_equal(fake_calls(p->f, NULL, "AcquireNotify"), flags ? 0 : 1);
		assert_int_equal(fake_calls(p->f, NULL, "StartNotify"), flags ? 1 : 0);
		assert_null(gatt_unsubscribe(e.s));
		assert_quiet(p, h);
		assert_int_equal(p->n_hung_up, 0);
		place_close(p, k);
		place_free(p);
	}
}

static void several_share_one_subscription(void **state)
{
	(void)state;
	for (unsigned flags = 0; flags <= FAKE_NO_ACQUIRE; flags += FAKE_NO_ACQUIRE) {
		uint16_t h;
		struct place *p = place_with(flags, &h);
		struct ear a = { .p = p }, b = { .p = p }, c = { .p = p };
		struct ble_link *k = place_link(p), *other = place_link(p);

		listen_to(&a, k, h);
		listen_to(&b, k, h);
		listen_to(&c, other, h);
		assert_int_equal(fake_calls(p->f, NULL, "AcquireNotify") + fake_calls(p->f, NULL, "StartNotify"), 1);
		assert_true(fake_notify(p->f, h, SPAN_LIT("x")));
		assert_true(place_until(p, has_heard, &c));
		assert_int_equal(a.n + b.n, 2);
		place_close(p, k);
		assert_true(fake_notify(p->f, h, SPAN_LIT("y")));
		c.n = 0;
		assert_true(place_until(p, has_heard, &c));
		assert_int_equal(a.n + b.n, 2);
		place_close(p, other);
		assert_quiet(p, h);
		place_free(p);
	}
}

static void a_listener_may_go_or_send_others_away_while_it_is_told(void **state)
{
	uint16_t h;
	struct place *p = place_with(0, &h);
	struct ear a = { .p = p }, b = { .p = p }, c = { .p = p }, d = { .p = p };
	struct ble_link *k = place_link(p), *other = place_link(p);

	(void)state;
	listen_to(&a, k, h);
	listen_to(&b, k, h);
	listen_to(&c, other, h);
	listen_to(&d, k, h);
	a.drops = b.s;        /* the next in line */
	c.drops = a.s;        /* one that was told */
	d.drops = d.s;        /* itself */
	assert_true(fake_notify(p->f, h, SPAN_LIT("x")));
	assert_true(place_until(p, has_heard, &d));
	assert_int_equal(a.n, 1);
	assert_int_equal(b.n, 0);
	assert_int_equal(c.n, 1);
	c.n = 0;
	c.closes = other;     /* the last one: with it all goes */
	assert_true(fake_notify(p->f, h, SPAN_LIT("y")));
	assert_true(fake_notify(p->f, h, SPAN_LIT("z")));
	assert_true(place_until(p, has_heard, &c));
	place_run(p, 20);
	assert_int_equal(c.n, 1);
	assert_int_equal(a.n + d.n, 2);
	assert_quiet(p, h);
	place_close(p, k);
	place_free(p);
}

static void what_cannot_be_had_is_told(void **state)
{
	static const struct { const char *name, *text; int error; } cases[] = {
		{ "org.bluez.Error.NotPermitted", "Notify acquired", -EBUSY },         /* another program has it */
		{ "org.bluez.Error.NotPermitted", "Not paired", -EACCES },
		{ "org.bluez.Error.Failed", "Operation failed with ATT error: 0x03", -EPERM },
	};
	uint16_t h;
	struct place *p = place_with(0, &h);
	struct ear e = { .p = p }, two = { .p = p };
	struct ble_link *k = place_link(p);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		fake_fail(p->f, NULL, "AcquireNotify", 1, cases[i].name, cases[i].text);
		assert_int_equal(gatt_subscribe(k, h, &ops, &two, &two.s), 0);
		listen_to(&e, k, h);
		assert_true(place_until(p, is_ready, &two));
		assert_int_equal(e.error, cases[i].error);
		assert_int_equal(two.error, cases[i].error);
		gatt_unsubscribe(e.s);
		gatt_unsubscribe(two.s);
		two.n_ready = 0;
	}
	listen_to(&e, k, 0x7777);
	assert_int_equal(e.error, -ENOENT);
	/* after that it can be had */
	listen_to(&e, k, h);
	assert_int_equal(e.error, 0);
	place_close(p, k);
	place_free(p);
}

static void a_value_that_was_read_is_no_notification(void **state)
{
	uint16_t h;
	struct place *p = place_with(FAKE_NO_ACQUIRE, &h);
	struct ear e = { .p = p };
	struct ble_link *k = place_link(p);

	(void)state;
	fake_value_set(p->f, h, SPAN_LIT("read"));
	listen_to(&e, k, h);
	for (int i = 0; i < 3; i++)
		assert_int_equal(gatt_read(k, h, NULL, NULL), 0);
	place_until_called(p, "ReadValue", 3);
	place_run(p, 20);
	assert_int_equal(e.n, 0);
	/* but one that comes in the middle of reading is */
	fake_delay(p->f, NULL, "ReadValue", 200);
	assert_int_equal(gatt_read(k, h, NULL, NULL), 0);
	place_until_called(p, "ReadValue", 4);
	assert_true(fake_notify(p->f, h, SPAN_LIT("told")));
	fake_value_set(p->f, h, SPAN_LIT("read"));
	assert_true(place_until(p, has_heard, &e));
	assert_string_equal(e.values[0], "told");
	place_run(p, 250);
	assert_int_equal(e.n, 1);
	place_close(p, k);
	place_free(p);
}

static void what_bluetoothd_kept_from_before_is_used(void **state)
{
	uint16_t h;
	struct place *p = place_with(FAKE_NO_ACQUIRE, &h);
	struct ear e = { .p = p };
	struct ble_link *k = place_link(p);

	(void)state;
	fake_fail(p->f, NULL, "StartNotify", 1, "org.bluez.Error.Failed", "Already notifying");
	listen_to(&e, k, h);
	assert_int_equal(e.error, 0);
	place_close(p, k);
	place_free(p);
}

static void where_another_program_listens_by_signals_so_do_we(void **state)
{
	static const struct { const char *name, *text; } cases[] = {
		{ "org.bluez.Error.InProgress", "Operation already in progress" },
		{ "org.bluez.Error.NotSupported", "Operation is not supported" },      /* indications, with 5.66 */
		{ "org.freedesktop.DBus.Error.UnknownMethod", "no such method" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint16_t h;
		struct place *p = place_with(0, &h);
		struct ear e = { .p = p };
		struct ble_link *k = place_link(p);

		fake_fail(p->f, NULL, "AcquireNotify", 1, cases[i].name, cases[i].text);
		listen_to(&e, k, h);
		assert_int_equal(e.error, 0);
		assert_true(fake_notify(p->f, h, SPAN_LIT("x")));
		assert_true(place_until(p, has_heard, &e));
		place_close(p, k);
		place_free(p);
	}
}

static void it_may_be_asked_for_again_at_once(void **state)
{
	uint16_t h;
	struct place *p = place_with(0, &h);
	struct ear e = { .p = p };
	struct ble_link *k = place_link(p);

	(void)state;
	listen_to(&e, k, h);
	gatt_unsubscribe(e.s);
	fake_fail(p->f, NULL, "AcquireNotify", 2, "org.bluez.Error.NotPermitted", "Notify acquired");
	listen_to(&e, k, h);
	assert_int_equal(e.error, 0);
	/* and given up before it was had */
	gatt_unsubscribe(e.s);
	fake_delay(p->f, NULL, "AcquireNotify", 200);
	e.n_ready = 0;
	assert_int_equal(gatt_subscribe(k, h, &ops, &e, &e.s), 0);
	place_until_called(p, "AcquireNotify", 5);
	gatt_unsubscribe(e.s);
	place_run(p, 300);
	assert_int_equal(e.n_ready, 0);
	assert_quiet(p, h);
	place_close(p, k);
	place_free(p);
}

/* What was said before the end is heard, then the link ends, once (BLZ-7). */
static void a_lost_node_ends_the_link_once(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		uint16_t h;
		struct place *p = place_with(0, &h);
		struct ear e = { .p = p };
		struct ble_link *k = place_link(p);

		listen_to(&e, k, h);
		fake_node_disconnect(p->f, PLACE_NODE, i);
		assert_true(place_until(p, is_ended, p));
		place_run(p, 30);
		assert_int_equal(p->n_ended, 1);
		assert_true(p->n_hung_up <= 1);
		place_close(p, k);
		place_free(p);
	}
}

static void a_socket_that_hangs_up_alone_ends_the_link(void **state)
{
	uint16_t h;
	struct place *p = place_with(0, &h);
	struct ear e = { .p = p };
	struct ble_link *k = place_link(p);

	(void)state;
	listen_to(&e, k, h);
	assert_true(fake_notify(p->f, h, SPAN_LIT("last")));
	fake_hang_up(p->f, h);
	assert_true(place_until(p, is_ended, p));
	assert_int_equal(p->n_hung_up, 1);
	assert_int_equal(e.n, 1);
	place_close(p, k);
	place_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(notifications_come_in_order_either_way),
		cmocka_unit_test(several_share_one_subscription),
		cmocka_unit_test(a_listener_may_go_or_send_others_away_while_it_is_told),
		cmocka_unit_test(what_cannot_be_had_is_told),
		cmocka_unit_test(a_value_that_was_read_is_no_notification),
		cmocka_unit_test(what_bluetoothd_kept_from_before_is_used),
		cmocka_unit_test(where_another_program_listens_by_signals_so_do_we),
		cmocka_unit_test(it_may_be_asked_for_again_at_once),
		cmocka_unit_test(a_lost_node_ends_the_link_once),
		cmocka_unit_test(a_socket_that_hangs_up_alone_ends_the_link),
	};
	return cmocka_run_group_tests_name("radio/gatt_notify", tests, NULL, NULL);
}
