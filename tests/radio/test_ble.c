#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ble_place.h"

static bool has_lamp(void *ctx)
{
	return ble_node_get(((struct place *)ctx)->ble, LAMP_ID) != NULL;
}

static bool is_discovering(void *ctx)
{
	return fake_is_discovering(((struct place *)ctx)->fake, "hci0");
}

static bool has_door(void *ctx)
{
	return ble_node_get(((struct place *)ctx)->ble, "ble-c00000000002") != NULL;
}

static bool uses_two(void *ctx)
{
	struct ble_adapter a[BLE_ADAPTERS_MAX];

	return ble_adapters(((struct place *)ctx)->ble, a) == 2 && a[0].is_powered && a[1].is_powered;
}

static bool is_passive(void *ctx)
{
	struct ble_adapter a[BLE_ADAPTERS_MAX];

	return ble_adapters(((struct place *)ctx)->ble, a) == 1 && a[0].is_passive;
}

static bool is_quiet(void *ctx)
{
	return !is_discovering(ctx);
}

static bool has_no_bluez(void *ctx)
{
	return ((struct place *)ctx)->health == BLE_NO_BLUEZ;
}

static bool has_no_bus(void *ctx)
{
	return ((struct place *)ctx)->health == BLE_NO_BUS;
}

static bool has_no_adapter(void *ctx)
{
	return ((struct place *)ctx)->health == BLE_NO_ADAPTER;
}

/* BLZ-2 */
static void health_says_what_is_missing(void **state)
{
	struct place *p = *state;

	place_begin(p);
	assert_int_equal(ble_health(p->ble), BLE_NO_BUS);
	UNTIL(p, has_no_adapter, p);
	fake_adapter_add(p->fake, "hci0", "00:AA:01:00:00:00", 0);
	UNTIL(p, place_is_ready, p);
	fake_adapter_remove(p->fake, "hci0");
	UNTIL(p, has_no_adapter, p);
	fake_bluez_stop(p->fake);
	UNTIL(p, has_no_bluez, p);
	fake_bluez_start(p->fake);
	UNTIL(p, has_no_adapter, p);
	fake_bluez_bus_stop(p->fake);
	UNTIL(p, has_no_bus, p);
	fake_adapter_add(p->fake, "hci1", "00:AA:01:00:00:01", 0);
	fake_bluez_bus_start(p->fake);
	UNTIL(p, place_is_ready, p);
}

static void without_a_bus_nothing_happens(void **state)
{
	struct place *p = *state;
	struct holder h;

	p->ble = ble_new(p->loop, "unix:path=/nonexistent/bus", &p->settings, place_ops(), p);
	assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
	place_run(p, 50);
	assert_int_equal(ble_health(p->ble), BLE_NO_BUS);
	assert_int_equal(h.n_ended, 0);
	assert_int_equal(ble_node_count(p->ble), 0);
	assert_int_equal(ble_pair(p->ble, LAMP_ID, NULL, NULL), -ENOENT);
	assert_int_equal(ble_unpair(p->ble, LAMP_ID, NULL, NULL), -ENOENT);
	holder_close(&h);
}

static void a_node_is_told_with_all_that_it_advertises(void **state)
{
	static const uint8_t ad[] = { 17, 0x07, 0x84, 0xaa, 0x60, 0x74, 0x52, 0x8a, 0x8b, 0x86, 0xd3, 0x4c, 0xb7, 0x1d, 0x1d, 0xdc, 0x53, 0x8d };
	struct place *p = *state;

	place_ready(p);
	fake_node_add(p->fake, &(struct fake_node){ .address = LAMP, .is_random = true, .name = "lamp\x1b[1m \xc3\xa9", .rssi = -42, .uuids = { SMP_UUID },
						    .company = 0x0059, .manufacturer = SPAN_LIT("\x01\x02\x03"),
						    .service_data_uuid = "0000180f-0000-1000-8000-00805f9b34fb", .service_data = SPAN_LIT("\x64") });
	UNTIL(p, has_lamp, p);
	const struct ble_node *n = ble_node_get(p->ble, LAMP_ID);
	assert_string_equal(n->id, LAMP_ID);
	assert_string_equal(n->name, "lamp[1m \xc3\xa9");
	assert_string_equal(n->adapter, "hci0");
	assert_int_equal(n->rssi, -42);
	assert_true(n->is_random && !n->is_private && !n->is_bonded && !n->is_connected && !n->is_busy);
	assert_int_equal(n->n_services, 1);
	assert_int_equal(n->services[0][0], 0x8d);
	assert_non_null(memmem(n->ad, n->n_ad, ad, sizeof(ad)));
	assert_non_null(memmem(n->ad, n->n_ad, "\x06\xff\x59\x00\x01\x02\x03", 7));
	assert_non_null(memmem(n->ad, n->n_ad, "\x04\x16\x0f\x18\x64", 5));
	assert_ptr_equal(ble_node_next(p->ble, NULL), n);
	assert_null(ble_node_next(p->ble, n));
	assert_int_equal(ble_node_count(p->ble), 1);
	assert_string_equal(p->last_node, LAMP_ID);
	assert_null(ble_node_get(p->ble, "ble-c00000000002"));
	assert_null(ble_node_get(p->ble, "nonsense"));
}

static void a_node_is_heard_at_most_once_a_second(void **state)
{
	struct place *p = *state;

	place_ready(p);
	(void)place_add(p, LAMP);
	UNTIL(p, has_lamp, p);
	for (int i = 0; i < 50; i++)
		fake_node_advertise(p->fake, LAMP, -40 - i % 10);
	place_run(p, 50);
	assert_in_range(p->n_heard, 1, 2);
	assert_int_equal(p->n_node, 1);
	assert_in_range(ble_node_get(p->ble, LAMP_ID)->rssi, -50, -40);
}

static void an_unknown_strength_is_no_strength(void **state)
{
	struct place *p = *state;

	p->settings.weakest_dbm = -60;
	place_ready(p);
	fake_node_add(p->fake, &(struct fake_node){ .address = "C0:00:00:00:00:02", .is_random = true, .rssi = -61 });
	fake_node_add(p->fake, &(struct fake_node){ .address = LAMP, .is_random = true, .rssi = 127 });
	UNTIL(p, has_lamp, p);
	assert_int_equal(ble_node_get(p->ble, LAMP_ID)->rssi, BLE_RSSI_UNKNOWN);
	assert_int_equal(ble_node_count(p->ble), 1); /* the other one is too weak */
}

/* BLZ-8 */
static void a_private_address_is_listed_but_names_nobody(void **state)
{
	struct place *p = *state;

	place_ready(p);
	fake_node_add(p->fake, &(struct fake_node){ .address = "41:00:00:00:00:09", .is_random = true });
	(void)place_add(p, LAMP);
	UNTIL(p, has_lamp, p);
	assert_int_equal(ble_node_count(p->ble), 2);
	const struct ble_node *n = ble_node_next(p->ble, NULL);
	assert_true(n->is_private);
	assert_string_equal(n->id, "");
	assert_null(ble_node_get(p->ble, "41:00:00:00:00:09"));
}

static void only_wanted_services_are_heard_but_for_who_is_waited_for(void **state)
{
	char *const services[] = { (char *)"0000fe59-0000-1000-8000-00805f9b34fb", (char *)"no uuid", NULL };
	struct place *p = *state;
	struct holder h;

	p->settings.services = services;
	place_ready(p);
	(void)place_add(p, LAMP);
	fake_node_add(p->fake, &(struct fake_node){ .address = "C0:00:00:00:00:02", .is_random = true, .uuids = { services[0] } });
	UNTIL(p, has_door, p);
	assert_null(ble_node_get(p->ble, LAMP_ID));
	assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
	UNTIL(p, holder_is_ready, &h);
	assert_non_null(ble_node_get(p->ble, LAMP_ID));
	holder_close(&h);
}

static void a_node_not_heard_for_long_is_gone(void **state)
{
	struct place *p = *state;

	p->settings.gone_s = 0; /* the next look is too late */
	place_ready(p);
	(void)place_add(p, LAMP);
	UNTIL(p, has_lamp, p);
	fake_node_remove(p->fake, LAMP);
	place_run(p, 100);
	assert_non_null(ble_node_get(p->ble, LAMP_ID)); /* that bluetoothd forgets it says nothing */
	place_run(p, 6000);
	assert_null(ble_node_get(p->ble, LAMP_ID));
	assert_string_equal(p->last_gone, LAMP_ID);
	assert_int_equal(p->n_gone, 1);
}

static void an_adapter_without_power_is_switched_on(void **state)
{
	struct place *p = *state;
	struct ble_adapter a[BLE_ADAPTERS_MAX];

	fake_adapter_add(p->fake, "hci0", "00:AA:01:00:00:00", FAKE_ADAPTER_OFF);
	place_begin(p);
	UNTIL(p, place_is_ready, p);
	assert_int_equal(ble_adapters(p->ble, a), 1);
	assert_true(a[0].is_powered);
	assert_string_equal(a[0].name, "hci0");
	assert_memory_equal(a[0].address, "\x00\xaa\x01\x00\x00\x00", BLE_ADDRESS_BYTES);
	fake_adapter_power(p->fake, "hci0", false);
	UNTIL(p, has_no_adapter, p);
}

static void only_allowed_adapters_are_used(void **state)
{
	char *const names[] = { (char *)"hci1", (char *)"00:aa:01:00:00:02", NULL };
	struct place *p = *state;
	struct ble_adapter a[BLE_ADAPTERS_MAX];

	p->settings.adapters = names;
	for (int i = 0; i < 4; i++) {
		char name[8], address[BLE_ADDRESS_TEXT_BYTES];
		(void)snprintf(name, sizeof(name), "hci%u", (unsigned)i % 10);
		(void)snprintf(address, sizeof(address), "00:AA:01:00:00:%02u", (unsigned)i % 100);
		fake_adapter_add(p->fake, name, address, FAKE_ADAPTER_OFF);
	}
	place_begin(p);
	UNTIL(p, place_is_ready, p);
	UNTIL(p, uses_two, p);
	assert_int_equal(fake_calls(p->fake, "hci0", "Set"), 0);
	assert_int_equal(fake_calls(p->fake, "hci0", "StartDiscovery"), 0);
	p->settings.adapters = NULL;
	ble_set(p->ble, &p->settings);
	UNTIL(p, is_discovering, p);
	assert_int_equal(ble_adapters(p->ble, a), 4);
}

/* BLZ-9 */
static void scanning_has_a_filter_and_goes_in_turns(void **state)
{
	struct place *p = *state;

	p->settings.scan_s = 1;
	p->settings.scan_every_s = 2;
	place_ready(p);
	UNTIL(p, is_discovering, p);
	assert_int_equal(fake_calls(p->fake, "hci0", "SetDiscoveryFilter"), 1);
	UNTIL(p, is_quiet, p);
	UNTIL(p, is_discovering, p);
	assert_int_equal(fake_calls(p->fake, "hci0", "StartDiscovery"), 2);
	UNTIL(p, is_quiet, p);
	ble_search_begin(p->ble);
	UNTIL(p, is_discovering, p);
	place_run(p, 1500);
	assert_true(is_discovering(p));
	ble_search_end(p->ble);
	p->settings.scan = BLE_SCAN_OFF;
	ble_set(p->ble, &p->settings);
	UNTIL(p, is_quiet, p);
}

static void a_refused_scan_is_tried_again(void **state)
{
	struct place *p = *state;

	fake_fail(p->fake, NULL, "StartDiscovery", 1, "org.bluez.Error.NotReady", "Resource Not Ready");
	place_ready(p);
	UNTIL(p, is_discovering, p);
	assert_int_equal(fake_calls(p->fake, "hci0", "StartDiscovery"), 2);
}

static void where_there_are_monitors_it_is_listened_only(void **state)
{
	struct place *p = *state;
	struct ble_adapter a[BLE_ADAPTERS_MAX];

	fake_adapter_add(p->fake, "hci0", "00:AA:01:00:00:00", FAKE_ADAPTER_MONITORS);
	place_begin(p);
	UNTIL(p, place_is_ready, p);
	(void)place_add(p, LAMP);
	UNTIL(p, has_lamp, p);
	UNTIL(p, is_passive, p);
	assert_int_equal(ble_adapters(p->ble, a), 1);
	assert_false(a[0].is_scanning);
	assert_int_equal(fake_calls(p->fake, "hci0", "RegisterMonitor"), 1);
	ble_search_begin(p->ble);
	UNTIL(p, is_discovering, p);
	ble_search_end(p->ble);
	UNTIL(p, is_quiet, p);
	p->settings.scan = BLE_SCAN_ACTIVE;
	ble_set(p->ble, &p->settings);
	UNTIL(p, is_discovering, p);
	assert_true(fake_calls(p->fake, "hci0", "UnregisterMonitor") >= 1);
	fake_bluez_stop(p->fake);
	UNTIL(p, has_no_bluez, p);
	p->settings.scan = BLE_SCAN_PASSIVE;
	ble_set(p->ble, &p->settings);
	fake_bluez_start(p->fake);
	UNTIL(p, place_is_ready, p);
	UNTIL(p, is_passive, p);
	assert_false(is_discovering(p));
}

/* BLZ-1 */
static void a_silent_bluetoothd_holds_nobody_up(void **state)
{
	struct place *p = *state;

	fake_delay(p->fake, NULL, "GetManagedObjects", 200); /* and then an error */
	fake_adapter_add(p->fake, "hci0", "00:AA:01:00:00:00", 0);
	place_begin(p);
	UNTIL(p, has_no_bluez, p);
	struct mono began = mono_now();
	place_run(p, 100);
	assert_in_range(mono_diff_ms(mono_now(), began), 90, 2000);
	place_run(p, 200);
	fake_mend(p->fake);
	UNTIL(p, place_is_ready, p);           /* it is asked again */
}

/* BLZ-2: the nodes stay known, what bluetoothd has is read anew. */
static void bluetoothd_and_the_bus_may_restart_at_any_time(void **state)
{
	struct place *p = *state;

	place_ready(p);
	(void)place_add(p, LAMP);
	UNTIL(p, has_lamp, p);
	for (int i = 0; i < 3; i++) {
		fake_bluez_stop(p->fake);
		UNTIL(p, has_no_bluez, p);
		assert_non_null(ble_node_get(p->ble, LAMP_ID));
		fake_bluez_start(p->fake);
		UNTIL(p, place_is_ready, p);
		UNTIL(p, is_discovering, p);
	}
	fake_bluez_bus_stop(p->fake);
	UNTIL(p, has_no_bus, p);
	fake_bluez_bus_start(p->fake);
	UNTIL(p, place_is_ready, p);
	UNTIL(p, is_discovering, p);
	assert_int_equal(p->n_gone, 0);
}

static bool has_many(void *ctx)
{
	return ble_node_count(((struct place *)ctx)->ble) >= BLE_NODES_MAX;
}

static bool knows_the_last(void *ctx)
{
	return ble_node_get(((struct place *)ctx)->ble, "ble-d0000000ffff") != NULL;
}

/* Strangers by the thousand push each other out, not whom we are connected to. */
static void a_crowd_pushes_out_who_was_not_heard_longest(void **state)
{
	static char addresses[BLE_NODES_MAX][BLE_ADDRESS_TEXT_BYTES];
	struct place *p = *state;
	struct holder h;

	p->settings.idle_s = 60;
	place_ready(p);
	(void)place_add(p, LAMP);
	assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
	UNTIL(p, holder_is_ready, &h);
	for (unsigned i = 0; i < BLE_NODES_MAX - 1; i++) {
		(void)snprintf(addresses[i], sizeof(addresses[i]), "D0:00:00:01:%02X:%02X", i >> 8, i & 0xff);
		fake_node_add(p->fake, &(struct fake_node){ .address = addresses[i], .is_random = true });
	}
	UNTIL(p, has_many, p);
	assert_int_equal(p->n_gone, 0);
	fake_node_add(p->fake, &(struct fake_node){ .address = "D0:00:00:00:FF:FF", .is_random = true });
	UNTIL(p, knows_the_last, p);
	assert_int_equal(ble_node_count(p->ble), BLE_NODES_MAX);
	assert_int_equal(p->n_gone, 1);
	assert_non_null(ble_node_get(p->ble, LAMP_ID));
	holder_close(&h);
}

#define TEST(fn_) cmocka_unit_test_setup_teardown(fn_, place_setup, place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(health_says_what_is_missing),
		TEST(without_a_bus_nothing_happens),
		TEST(a_node_is_told_with_all_that_it_advertises),
		TEST(a_node_is_heard_at_most_once_a_second),
		TEST(an_unknown_strength_is_no_strength),
		TEST(a_private_address_is_listed_but_names_nobody),
		TEST(only_wanted_services_are_heard_but_for_who_is_waited_for),
		TEST(a_node_not_heard_for_long_is_gone),
		TEST(an_adapter_without_power_is_switched_on),
		TEST(only_allowed_adapters_are_used),
		TEST(scanning_has_a_filter_and_goes_in_turns),
		TEST(a_refused_scan_is_tried_again),
		TEST(where_there_are_monitors_it_is_listened_only),
		TEST(a_silent_bluetoothd_holds_nobody_up),
		TEST(bluetoothd_and_the_bus_may_restart_at_any_time),
		TEST(a_crowd_pushes_out_who_was_not_heard_longest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
