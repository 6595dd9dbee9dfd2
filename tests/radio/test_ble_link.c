#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ble_place.h"

#define DOOR "C0:00:00:00:00:02"
#define DOOR_ID "ble-c00000000002"
#define BELL "C0:00:00:00:00:03"
#define BELL_ID "ble-c00000000003"

static bool lamp_is_off(void *ctx)
{
	return !fake_node_is_connected(((struct place *)ctx)->fake, LAMP);
}

static bool lamp_is_on(void *ctx)
{
	return fake_node_is_connected(((struct place *)ctx)->fake, LAMP);
}

static bool is_discovering(void *ctx)
{
	return fake_is_discovering(((struct place *)ctx)->fake, "hci0");
}

static bool is_quiet(void *ctx)
{
	return !is_discovering(ctx);
}

static bool has_no_bluez(void *ctx)
{
	return ((struct place *)ctx)->health == BLE_NO_BLUEZ;
}

static bool lamp_is_busy(void *ctx)
{
	const struct ble_node *n = ble_node_get(((struct place *)ctx)->ble, LAMP_ID);

	return n && n->is_busy;
}

static bool lamp_is_free(void *ctx)
{
	return !lamp_is_busy(ctx);
}

static bool is_asked_to_connect(void *ctx)
{
	return fake_calls(((struct place *)ctx)->fake, NULL, "Connect") > 0;
}

static void a_link_is_ready_when_its_services_are_known(void **state)
{
	struct place *p = *state;
	struct holder h;

	place_ready(p);
	uint16_t handle = place_add(p, LAMP);
	assert_int_equal(holder_open(&h, p, "c0:00:00:00:00:01", false), 0);
	assert_int_equal(h.n_ready, 0);
	UNTIL(p, holder_is_ready, &h);
	assert_string_equal(ble_link_node(h.link), LAMP_ID);
	assert_non_null(gatt_service_at(h.link, 0));
	assert_null(gatt_service_at(h.link, 1));
	assert_int_equal(gatt_characteristic_at(h.link, 0)->handle, handle);
	const struct ble_node *n = ble_node_get(p->ble, LAMP_ID);
	assert_true(n->is_connected && !n->is_busy);
	holder_close(&h);
	UNTIL(p, lamp_is_off, p);
	assert_int_equal(h.n_ready, 1);
	assert_int_equal(h.n_ended, 0);
}

static void what_is_wrong_with_a_wish_is_told_at_once(void **state)
{
	struct place *p = *state;
	struct holder h, other;

	place_ready(p);
	(void)place_add(p, LAMP);
	assert_int_equal(holder_open(&h, p, "lamp", false), -EINVAL);
	assert_int_equal(holder_open(&h, p, LAMP_ID, true), 0);
	assert_int_equal(holder_open(&other, p, LAMP_ID, false), -EBUSY);
	assert_int_equal(holder_open(&other, p, LAMP_ID, true), -EBUSY);
	UNTIL(p, holder_is_ready, &h);
	UNTIL(p, lamp_is_busy, p);
	holder_close(&h);
	UNTIL(p, lamp_is_free, p);
}

static void at_most_so_many_links_are_open(void **state)
{
	static struct holder many[BLE_LINKS_MAX + 1];
	struct place *p = *state;

	place_ready(p);
	for (size_t i = 0; i < BLE_LINKS_MAX; i++)
		assert_int_equal(holder_open(&many[i], p, LAMP_ID, false), 0);
	assert_int_equal(holder_open(&many[BLE_LINKS_MAX], p, LAMP_ID, false), -ENOSPC);
	for (size_t i = 0; i < BLE_LINKS_MAX; i++)
		holder_close(&many[i]);
}

static void shared_links_use_one_connection_and_an_exclusive_one_ends_them(void **state)
{
	struct place *p = *state;
	struct holder a, b, c;

	p->settings.idle_s = 60;
	place_ready(p);
	(void)place_add(p, LAMP);
	assert_int_equal(holder_open(&a, p, LAMP_ID, false), 0);
	UNTIL(p, holder_is_ready, &a);
	assert_int_equal(holder_open(&b, p, LAMP_ID, false), 0);
	UNTIL(p, holder_is_ready, &b);
	assert_int_equal(fake_calls(p->fake, NULL, "Connect"), 1);
	assert_int_equal(holder_open(&c, p, LAMP_ID, true), 0);
	assert_int_equal(a.n_ended + b.n_ended, 0); /* not from inside */
	UNTIL(p, holder_has_ended, &b);
	assert_int_equal(a.error, -EBUSY);
	assert_int_equal(b.error, -EBUSY);
	assert_non_null(strstr(b.why, "test"));
	UNTIL(p, holder_is_ready, &c);
	assert_int_equal(fake_calls(p->fake, NULL, "Connect"), 1);
	holder_close(&a);
	holder_close(&b);
	holder_close(&c);
}

static void an_idle_connection_is_kept_for_a_while(void **state)
{
	struct place *p = *state;
	struct holder h;

	p->settings.idle_s = 1;
	place_ready(p);
	(void)place_add(p, LAMP);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
		UNTIL(p, holder_is_ready, &h);
		holder_close(&h);
	}
	assert_int_equal(fake_calls(p->fake, NULL, "Connect"), 1);
	assert_true(lamp_is_on(p));
	UNTIL(p, lamp_is_off, p);
}

/* BLZ-4 */
static void one_connects_at_a_time_and_nobody_scans_meanwhile(void **state)
{
	static const char *const nodes[] = { LAMP, DOOR, BELL };
	struct place *p = *state;
	struct holder h[3];

	place_ready(p);
	for (size_t i = 0; i < 3; i++)
		(void)place_add(p, nodes[i]);
	fake_delay(p->fake, NULL, "Connect", 30);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(holder_open(&h[i], p, nodes[i], false), 0);
	for (size_t i = 0; i < 3; i++)
		UNTIL(p, holder_is_ready, &h[i]);
	assert_int_equal(fake_connects_at_once(p->fake), 1);
	char *log = fake_call_log(p->fake);
	bool scans = false;
	for (char *save, *line = strtok_r(log, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		scans = strstr(line, "StartDiscovery") ? true : strstr(line, "StopDiscovery") ? false : scans;
		assert_false(scans && strstr(line, " Connect"));
	}
	free(log);
	for (size_t i = 0; i < 3; i++)
		holder_close(&h[i]);
}

static void a_local_abort_is_tried_again_up_to_five_times(void **state)
{
	struct place *p = *state;
	struct holder h;

	place_ready(p);
	(void)place_add(p, LAMP);
	fake_fail(p->fake, NULL, "Connect", BLE_CONNECT_TRIES - 1, "org.bluez.Error.Failed", "le-connection-abort-by-local");
	assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
	assert_true(until(p->loop, holder_is_ready, &h, 20 * 1000));
	assert_int_equal(fake_calls(p->fake, NULL, "Connect"), BLE_CONNECT_TRIES);
	holder_close(&h);
	UNTIL(p, lamp_is_off, p);
	fake_fail(p->fake, NULL, "Connect", -1, "org.bluez.Error.Failed", "le-connection-abort-by-local");
	assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
	assert_true(until(p->loop, holder_has_ended, &h, 20 * 1000));
	assert_int_equal(h.error, -ETIMEDOUT);
	assert_non_null(strstr(h.why, "abort-by-local"));
	assert_int_equal(fake_calls(p->fake, NULL, "Connect"), 2 * BLE_CONNECT_TRIES);
	holder_close(&h);
}

static void a_wait_ends(void **state)
{
	struct place *p = *state;
	struct holder absent = { .place = p }, late = { .place = p }, h;

	p->settings.links = 1;
	p->settings.turn_s = 0;
	place_ready(p);
	(void)place_add(p, LAMP);
	assert_int_equal(holder_open(&h, p, LAMP_ID, true), 0);
	UNTIL(p, holder_is_ready, &h);
	(void)place_add(p, BELL);
	assert_int_equal(ble_link_open(p->ble, &(struct ble_link_wish){ .node = DOOR_ID, .wait_s = 1 }, holder_ops(), &absent, &absent.link), 0);
	assert_int_equal(ble_link_open(p->ble, &(struct ble_link_wish){ .node = BELL_ID, .wait_s = 1 }, holder_ops(), &late, &late.link), 0);
	UNTIL(p, holder_has_ended, &absent);
	UNTIL(p, holder_has_ended, &late);
	assert_int_equal(absent.error, -ENOENT);
	assert_int_equal(late.error, -ETIMEDOUT);
	fake_bluez_stop(p->fake);
	UNTIL(p, holder_has_ended, &h);
	assert_int_equal(h.error, -ENOTCONN);
	holder_close(&h);
	assert_int_equal(ble_link_open(p->ble, &(struct ble_link_wish){ .node = BELL_ID, .wait_s = 1 }, holder_ops(), &h, &h.link), 0);
	h.n_ended = 0;
	UNTIL(p, holder_has_ended, &h);
	assert_int_equal(h.error, -ENOTCONN);
	assert_string_equal(h.why, "bluetoothd is not running");
	holder_close(&h);
	holder_close(&absent);
	holder_close(&late);
}

static void a_node_that_shows_up_later_is_connected_then(void **state)
{
	struct place *p = *state;
	struct holder h;

	p->settings.scan_s = 1;
	p->settings.scan_every_s = 86400;
	place_ready(p);
	UNTIL(p, is_discovering, p);
	UNTIL(p, is_quiet, p);
	assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
	UNTIL(p, is_discovering, p);           /* it is looked for */
	(void)place_add(p, LAMP);
	UNTIL(p, holder_is_ready, &h);
	assert_false(fake_is_discovering(p->fake, "hci0"));
	holder_close(&h);
}

/* Each in its turn; a link whose turn is over is told that others wait. */
static void many_nodes_share_few_slots(void **state)
{
	static const char *const nodes[] = { LAMP, DOOR, BELL };
	struct place *p = *state;
	struct holder h[3];

	p->settings.links = 1;
	p->settings.turn_s = 1;
	place_ready(p);
	for (size_t i = 0; i < 3; i++)
		(void)place_add(p, nodes[i]);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(holder_open(&h[i], p, nodes[i], true), 0);
	for (size_t i = 0; i < 3; i++)
		UNTIL(p, holder_is_ready, &h[i]);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(h[i].n_ended, 1);
		assert_int_equal(h[i].error, -EAGAIN);
	}
	assert_int_equal(h[2].n_ended, 0);
	holder_close(&h[0]);
	assert_int_equal(holder_open(&h[0], p, nodes[0], true), 0);
	UNTIL(p, holder_is_ready, &h[0]);
	assert_int_equal(h[2].error, -EAGAIN);
	assert_false(fake_node_is_connected(p->fake, BELL));
	for (size_t i = 0; i < 3; i++)
		holder_close(&h[i]);
}

static void an_idle_connection_gives_way_at_once(void **state)
{
	struct place *p = *state;
	struct holder a, b;

	p->settings.links = 1;
	p->settings.turn_s = 0;
	p->settings.idle_s = 3600;
	place_ready(p);
	(void)place_add(p, LAMP);
	(void)place_add(p, DOOR);
	assert_int_equal(holder_open(&a, p, LAMP_ID, false), 0);
	UNTIL(p, holder_is_ready, &a);
	holder_close(&a);
	assert_int_equal(holder_open(&b, p, DOOR_ID, false), 0);
	UNTIL(p, holder_is_ready, &b);
	assert_true(lamp_is_off(p));
	holder_close(&b);
}

/* BLZ-7 */
static void a_lost_link_ends_once_whatever_comes_first(void **state)
{
	struct place *p = *state;
	struct holder h;

	place_ready(p);
	uint16_t handle = place_add(p, LAMP);
	for (int i = 0; i < 2; i++) {
		struct gatt_subscription *s;
		static const struct gatt_subscription_ops nobody;
		assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
		UNTIL(p, holder_is_ready, &h);
		assert_int_equal(gatt_subscribe(h.link, handle, &nobody, NULL, &s), 0);
		place_run(p, 50);
		fake_node_disconnect(p->fake, LAMP, i);
		UNTIL(p, holder_has_ended, &h);
		place_run(p, 50);
		assert_int_equal(h.n_ended, 1);
		assert_int_equal(h.error, -ECONNRESET);
		assert_int_equal(gatt_read(h.link, handle, NULL, NULL), -ENOTCONN);
		holder_close(&h);
	}
}

/* BLZ-2 */
static void whatever_goes_away_under_a_link_ends_it_once(void **state)
{
	struct place *p = *state;
	struct holder h;

	place_ready(p);
	(void)place_add(p, LAMP);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(holder_open(&h, p, LAMP_ID, true), 0);
		UNTIL(p, holder_is_ready, &h);
		if (i == 0)
			fake_bluez_stop(p->fake);
		else if (i == 1)
			fake_bluez_bus_stop(p->fake);
		else if (i == 2)
			fake_adapter_power(p->fake, "hci0", false);
		else if (i == 3)
			fake_adapter_remove(p->fake, "hci0");
		else
			fake_node_remove(p->fake, LAMP);
		UNTIL(p, holder_has_ended, &h);
		place_run(p, 50);
		assert_int_equal(h.n_ended, 1);
		/* Of an adapter that goes its links are told first. */
		assert_true(h.error == (i < 2 ? -ENOTCONN : -ECONNRESET) || (i == 2 && h.error == -ENOTCONN));
		holder_close(&h);
		if (i == 0)
			fake_bluez_start(p->fake);
		else if (i == 1)
			fake_bluez_bus_start(p->fake);
		else if (i == 3)
			fake_adapter_add(p->fake, "hci0", "00:AA:01:00:00:00", 0);
		if (i < 4)
			UNTIL(p, place_is_ready, p);
		if (i == 3)
			fake_node_advertise(p->fake, LAMP, -50);
	}
}

static void what_waits_is_connected_after_a_restart(void **state)
{
	struct place *p = *state;
	struct holder h;

	place_ready(p);
	(void)place_add(p, LAMP);
	fake_fail(p->fake, NULL, "Connect", 1, NULL, NULL); /* never answered */
	assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
	UNTIL(p, is_asked_to_connect, p);
	fake_bluez_stop(p->fake);
	UNTIL(p, has_no_bluez, p);
	assert_int_equal(h.n_ended, 0);
	fake_bluez_start(p->fake);
	UNTIL(p, holder_is_ready, &h);
	holder_close(&h);
}

/* A link that is closed while it is being made takes its connection along. */
static void nobody_needs_a_connection_that_is_being_made(void **state)
{
	struct place *p = *state;
	struct holder h;

	place_ready(p);
	fake_node_add(p->fake, &(struct fake_node){ .address = LAMP, .is_random = true, .resolve_ms = 5000 });
	fake_delay(p->fake, NULL, "Connect", 100);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
		place_run(p, i == 0 ? 0 : i == 1 ? 50 : 300);
		holder_close(&h);
		place_run(p, 300);
		assert_true(lamp_is_off(p));
	}
	assert_int_equal(h.n_ready, 0);
}

static void a_tree_that_stays_empty_is_asked_for_again(void **state)
{
	struct place *p = *state;
	struct holder h;

	place_ready(p);
	fake_node_add(p->fake, &(struct fake_node){ .address = LAMP, .is_random = true });
	assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
	UNTIL(p, holder_is_ready, &h);
	assert_null(gatt_service_at(h.link, 0));
	assert_true(fake_calls(p->fake, NULL, "GetManagedObjects") >= 3);
	holder_close(&h);
}

static void a_fresh_link_makes_bluetoothd_forget_the_node_first(void **state)
{
	struct place *p = *state;
	struct holder h = { .place = p };
	const struct ble_link_wish w = { .node = LAMP_ID, .owner = "test", .is_exclusive = true, .is_fresh = true };

	p->settings.idle_s = 60;
	place_ready(p);
	(void)place_add(p, LAMP);
	for (int i = 0; i < 2; i++) {
		h.n_ready = 0;
		assert_int_equal(ble_link_open(p->ble, &w, holder_ops(), &h, &h.link), 0);
		UNTIL(p, holder_is_ready, &h);
		assert_int_equal(fake_calls(p->fake, "hci0", "RemoveDevice"), i + 1);
		assert_non_null(gatt_service_at(h.link, 0));
		holder_close(&h);
	}
	assert_int_equal(h.n_ended, 0);
}

/* Another program's connection is used, and left as it was. */
static void who_was_connected_before_stays_connected(void **state)
{
	struct place *p = *state;
	struct holder h;

	place_ready(p);
	(void)place_add(p, LAMP);
	/* A second struct ble is the other program. */
	struct ble *other = ble_new(p->loop, fake_bluez_bus(p->fake), &p->settings, place_ops(), p);
	struct holder o = { .place = p };
	place_run(p, 100);
	assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
	UNTIL(p, holder_is_ready, &h);
	assert_int_equal(ble_link_open(other, &(struct ble_link_wish){ .node = LAMP_ID }, holder_ops(), &o, &o.link), 0);
	UNTIL(p, holder_is_ready, &o);
	holder_close(&o);
	place_run(p, 100);
	assert_true(lamp_is_on(p));
	assert_int_equal(h.n_ended, 0);
	ble_free(other);
	holder_close(&h);
	UNTIL(p, lamp_is_off, p);
}

/* As after a crash: what was connected when we began is used as ours, or gives way to others. */
static void what_a_daemon_that_was_killed_left_over_is_taken_over(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct place *p = *state;
		struct holder h, next;

		p->settings.links = 1;
		p->settings.turn_s = 0;
		place_ready(p);
		(void)place_add(p, LAMP);
		(void)place_add(p, DOOR);
		assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
		UNTIL(p, holder_is_ready, &h);
		/* Its successor begins while this one holds the connection, and uses it no more. */
		struct ble *dead = p->ble;
		p->health = BLE_NO_BUS;
		place_begin(p);
		UNTIL(p, place_is_ready, p);
		assert_int_equal(holder_open(&next, p, i ? DOOR_ID : LAMP_ID, false), 0);
		UNTIL(p, holder_is_ready, &next);
		assert_int_equal(fake_node_is_connected(p->fake, LAMP), !i);
		holder_close(&next);
		UNTIL(p, lamp_is_off, p);
		holder_close(&h);
		ble_free(dead);
		if (i == 0) {
			assert_int_equal(place_teardown(state), 0);
			assert_int_equal(place_setup(state), 0);
		}
	}
}

static void the_end_of_all_ends_connections_and_calls_nobody(void **state)
{
	struct place *p = *state;
	struct holder h, waiting;

	place_ready(p);
	(void)place_add(p, LAMP);
	assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
	assert_int_equal(holder_open(&waiting, p, DOOR_ID, false), 0);
	UNTIL(p, holder_is_ready, &h);
	p->ble = ble_free(p->ble);
	UNTIL(p, lamp_is_off, p);
	assert_int_equal(h.n_ended + waiting.n_ended, 0);
	holder_close(&h);
	holder_close(&waiting);
}

#define TEST(fn_) cmocka_unit_test_setup_teardown(fn_, place_setup, place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_link_is_ready_when_its_services_are_known),
		TEST(what_is_wrong_with_a_wish_is_told_at_once),
		TEST(at_most_so_many_links_are_open),
		TEST(shared_links_use_one_connection_and_an_exclusive_one_ends_them),
		TEST(an_idle_connection_is_kept_for_a_while),
		TEST(one_connects_at_a_time_and_nobody_scans_meanwhile),
		TEST(a_local_abort_is_tried_again_up_to_five_times),
		TEST(a_wait_ends),
		TEST(a_node_that_shows_up_later_is_connected_then),
		TEST(many_nodes_share_few_slots),
		TEST(an_idle_connection_gives_way_at_once),
		TEST(a_lost_link_ends_once_whatever_comes_first),
		TEST(whatever_goes_away_under_a_link_ends_it_once),
		TEST(what_waits_is_connected_after_a_restart),
		TEST(nobody_needs_a_connection_that_is_being_made),
		TEST(a_tree_that_stays_empty_is_asked_for_again),
		TEST(a_fresh_link_makes_bluetoothd_forget_the_node_first),
		TEST(who_was_connected_before_stays_connected),
		TEST(what_a_daemon_that_was_killed_left_over_is_taken_over),
		TEST(the_end_of_all_ends_connections_and_calls_nobody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
