/* The mirror against a bluetoothd that is not in its right mind: wrong types, children before parents, orphans, crowds, long words.
 * BLZ-3, and the limits of radio/bluez.h. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../private_bus.h"
#include "../until.h"
#include "base/mem.h"
#include "radio/bluez.h"
#include "radio/gatt.h"

enum { WAIT_MS = 10 * 1000 };

#define HCI "/org/bluez/hci0"
#define DEV HCI "/dev_C0_00_00_00_00_01"

struct place;
typedef void objects_fn(sd_bus_message *m);

struct place {
	struct private_bus daemon;
	struct loop *loop;
	struct dbus *server;
	sd_bus_slot *slot;
	objects_fn *objects;
	struct bluez *mirror;
	size_t n_device, n_device_gone, n_adapter_gone, n_characteristic_gone, n_values, n_attributes;
	unsigned changed;
	size_t value_bytes;
	struct bluez_device *crowded;
};

/* ---- what the mirror tells ---- */

static void on_health(void *ctx)
{
}

static void on_adapter(void *ctx, struct bluez_adapter *a)
{
}

static void on_adapter_gone(void *ctx, struct bluez_adapter *a)
{
	((struct place *)ctx)->n_adapter_gone++;
	assert_null(a->devices);
}

static void on_device(void *ctx, struct bluez_device *d, unsigned changed)
{
	struct place *p = ctx;

	p->n_device++;
	p->changed |= changed;
	p->crowded = d;
}

static void on_device_gone(void *ctx, struct bluez_device *d)
{
	((struct place *)ctx)->n_device_gone++;
}

static void on_attributes(void *ctx, struct bluez_device *d)
{
	((struct place *)ctx)->n_attributes++;
}

static void on_characteristic_gone(void *ctx, struct bluez_characteristic *c)
{
	((struct place *)ctx)->n_characteristic_gone++;
}

static void on_value(void *ctx, struct bluez_characteristic *c, struct span value)
{
	struct place *p = ctx;

	p->n_values++;
	p->value_bytes = value.n;
}

static struct bluez_device *on_crowded(void *ctx)
{
	return ((struct place *)ctx)->crowded;
}

static const struct bluez_ops ops = {
	.health = on_health, .adapter = on_adapter, .adapter_gone = on_adapter_gone, .device = on_device, .device_gone = on_device_gone,
	.attributes = on_attributes, .characteristic_gone = on_characteristic_gone, .value = on_value, .crowded = on_crowded,
};

/* ---- a bluetoothd ---- */

static int on_call(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct place *p = ctx;
	sd_bus_message *reply = NULL;

	if (!sd_bus_message_is_method_call(m, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"))
		return 0;
	assert_true(sd_bus_message_new_method_return(m, &reply) >= 0);
	assert_true(sd_bus_message_open_container(reply, 'a', "{oa{sa{sv}}}") >= 0);
	if (p->objects)
		p->objects(reply);
	assert_true(sd_bus_message_close_container(reply) >= 0);
	assert_true(sd_bus_send(NULL, reply, NULL) >= 0);
	sd_bus_message_unref(reply);
	return 1;
}

static void on_up(void *ctx, sd_bus *bus)
{
	struct place *p = ctx;

	assert_true(sd_bus_add_object(bus, &p->slot, "/", on_call, p) >= 0);
	assert_true(sd_bus_request_name_async(bus, NULL, "org.bluez", 0, NULL, NULL) >= 0);
	dbus_touch(p->server);
}

static void on_down(void *ctx, int error)
{
}

static const struct dbus_ops server_ops = { .up = on_up, .down = on_down };

static bool is_there(void *ctx)
{
	return bluez_state(((struct place *)ctx)->mirror) == BLUEZ_THERE;
}

static int setup(void **state)
{
	struct place *p = NEW(struct place);

	private_bus_start(&p->daemon);
	p->loop = loop_new();
	p->server = dbus_new(p->loop, p->daemon.address, &server_ops, p);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	bluez_free(p->mirror);
	sd_bus_slot_unref(p->slot);
	dbus_free(p->server);
	loop_free(p->loop);
	private_bus_done(&p->daemon);
	free(p);
	return 0;
}

static void begin(struct place *p, objects_fn *objects)
{
	p->objects = objects;
	p->mirror = bluez_new(p->loop, p->daemon.address, &ops, p);
	assert_true(until(p->loop, is_there, p, WAIT_MS));
}

/* An object with one interface; its properties between these two. */
static void open_object(sd_bus_message *m, const char *path, const char *interface)
{
	assert_true(sd_bus_message_open_container(m, 'e', "oa{sa{sv}}") >= 0);
	assert_true(sd_bus_message_append(m, "o", path) >= 0);
	assert_true(sd_bus_message_open_container(m, 'a', "{sa{sv}}") >= 0);
	assert_true(sd_bus_message_open_container(m, 'e', "sa{sv}") >= 0);
	assert_true(sd_bus_message_append(m, "s", interface) >= 0);
	assert_true(sd_bus_message_open_container(m, 'a', "{sv}") >= 0);
}

static void close_object(sd_bus_message *m)
{
	for (int i = 0; i < 4; i++)
		assert_true(sd_bus_message_close_container(m) >= 0);
}

static void object(sd_bus_message *m, const char *path, const char *interface)
{
	open_object(m, path, interface);
	close_object(m);
}

static void put(sd_bus_message *m, const char *name, const char *type, const void *value)
{
	assert_true(sd_bus_message_open_container(m, 'e', "sv") >= 0);
	assert_true(sd_bus_message_append(m, "s", name) >= 0);
	assert_true(sd_bus_message_open_container(m, 'v', type) >= 0);
	assert_true(sd_bus_message_append_basic(m, *type, value) >= 0);
	assert_true(sd_bus_message_close_container(m) >= 0);
	assert_true(sd_bus_message_close_container(m) >= 0);
}

static void lamp(sd_bus_message *m)
{
	open_object(m, DEV, BLUEZ_I_DEVICE);
	put(m, "Address", "s", "C0:00:00:00:00:01");
	put(m, "AddressType", "s", "random");
	close_object(m);
}

/* ---- tests ---- */

static void children_before_parents(sd_bus_message *m)
{
	open_object(m, DEV "/service0010/char0011", BLUEZ_I_CHARACTERISTIC);
	put(m, "UUID", "s", "da2e7828-fbce-4e01-ae9e-261174997c48");
	close_object(m);
	object(m, DEV "/service0010", BLUEZ_I_SERVICE);
	lamp(m);
	object(m, HCI, BLUEZ_I_ADAPTER);
}

static void objects_are_read_in_any_order(void **state)
{
	struct place *p = *state;

	begin(p, children_before_parents);
	struct bluez_device *d = bluez_find_device(p->mirror, DEV);
	assert_non_null(d);
	assert_true(d->is_random);
	assert_int_equal(d->n_services, 1);
	assert_int_equal(d->n_characteristics, 1);
	const struct bluez_characteristic *c = bluez_find_characteristic(d, 0x11);
	assert_non_null(c);
	assert_int_equal(c->uuid[0], 0xda);
	assert_int_equal(c->service->handle, 0x10);
	assert_null(bluez_find_characteristic(d, 0x12));
	assert_int_equal(p->n_attributes, 2);
}

static void wrong_types(sd_bus_message *m)
{
	static const char *const names[] = { "Address", "AddressType", "Name", "RSSI", "UUIDs", "ManufacturerData", "ServiceData", "AdvertisingFlags",
					     "TxPower", "Appearance", "Paired", "Bonded", "Connected", "ServicesResolved", "Powered", "Discovering",
					     "SupportedMonitorTypes", "UUID", "Primary", "Flags", "MTU", "Notifying", "WriteAcquired", "NotifyAcquired", "" };
	static const char *const objects[][2] = { { HCI, BLUEZ_I_ADAPTER }, { HCI, BLUEZ_I_MONITORS }, { DEV, BLUEZ_I_DEVICE },
						  { DEV "/service0010", BLUEZ_I_SERVICE }, { DEV "/service0010/char0011", BLUEZ_I_CHARACTERISTIC },
						  { DEV, "org.bluez.Unheard1" } };
	const double number = 1.5;

	object(m, HCI, BLUEZ_I_ADAPTER);
	lamp(m);
	for (size_t i = 0; i < sizeof(objects) / sizeof(*objects); i++) {
		open_object(m, objects[i][0], objects[i][1]);
		for (size_t j = 0; j < sizeof(names) / sizeof(*names); j++)
			put(m, names[j], "d", &number);
		close_object(m);
	}
}

static void wrong_types_change_nothing(void **state)
{
	struct place *p = *state;

	begin(p, wrong_types);
	const struct bluez_device *d = bluez_find_device(p->mirror, DEV);
	assert_non_null(d);
	assert_true(!d->is_connected && !d->is_paired && !d->has_rssi);
	assert_string_equal(d->name, "");
	assert_int_equal(d->n_ad, 0);
	assert_int_equal(d->n_services, 1);
	assert_int_equal(bluez_find_characteristic(d, 0x11)->properties, 0);
}

static void strange_paths(sd_bus_message *m)
{
	static char longest[BLUEZ_PATH_BYTES + 8];
	static const char *const paths[] = { "/", "/org", "/org/bluez", "/org/bluezhci0", "/org/bluez/hci0/dev_1/service0010", "/org/elsewhere/hci0",
					     HCI "/dev", HCI "/notadevice", DEV "/service", DEV "/service0000", DEV "/service00100", DEV "/servicegggg",
					     DEV "/service0010/char", DEV "/service0010/char0000", DEV "/service0010/desc0011", "/org/bluez/hci9/dev_1",
					     "/org/bluez/an_adapter_with_a_long_name" };
	static const char *const interfaces[] = { BLUEZ_I_ADAPTER, BLUEZ_I_DEVICE, BLUEZ_I_SERVICE, BLUEZ_I_CHARACTERISTIC, BLUEZ_I_MONITORS };

	(void)snprintf(longest, sizeof(longest), HCI "/dev_%0*d", (int)(sizeof(longest) - sizeof(HCI "/dev_")), 0);
	object(m, HCI, BLUEZ_I_ADAPTER);
	lamp(m);
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		for (size_t j = 0; j < sizeof(interfaces) / sizeof(*interfaces); j++)
			object(m, paths[i], interfaces[j]);
	object(m, longest, BLUEZ_I_DEVICE);
	object(m, DEV, BLUEZ_I_ADAPTER);       /* it is something else already */
	object(m, HCI, BLUEZ_I_DEVICE);
}

static void strange_paths_are_left_out(void **state)
{
	struct place *p = *state;

	begin(p, strange_paths);
	assert_int_equal(p->n_device, 1);
	assert_int_equal(bluez_find_device(p->mirror, DEV)->n_services, 0);
	assert_non_null(bluez_find_adapter(p->mirror, HCI));
	assert_null(bluez_find_device(p->mirror, HCI));
}

static void too_much(sd_bus_message *m)
{
	char path[BLUEZ_PATH_BYTES];

	for (int i = 0; i < BLE_ADAPTERS_MAX + 2; i++) {
		(void)snprintf(path, sizeof(path), "/org/bluez/hci%d", i);
		object(m, path, BLUEZ_I_ADAPTER);
	}
	lamp(m);
	for (int i = BLUEZ_SERVICES_MAX + 1; i > 0; i--) { /* backwards: they are kept in order */
		(void)snprintf(path, sizeof(path), DEV "/service%04x", i << 8);
		object(m, path, BLUEZ_I_SERVICE);
	}
	for (int i = 0; i <= BLUEZ_CHARACTERISTICS_MAX; i++) {
		(void)snprintf(path, sizeof(path), DEV "/service%04x/char%04x", 2 << 8, 0x300 + i);
		object(m, path, BLUEZ_I_CHARACTERISTIC);
	}
}

static void counts_have_limits(void **state)
{
	struct place *p = *state;
	size_t n_adapters = 0, n_services = 0;

	begin(p, too_much);
	for (int i = 0; i < BLE_ADAPTERS_MAX + 2; i++) {
		char path[BLUEZ_PATH_BYTES];
		(void)snprintf(path, sizeof(path), "/org/bluez/hci%d", i);
		n_adapters += bluez_find_adapter(p->mirror, path) != NULL;
	}
	assert_int_equal(n_adapters, BLE_ADAPTERS_MAX);
	const struct bluez_device *d = bluez_find_device(p->mirror, DEV);
	for (const struct bluez_service *s = d->services; s; s = s->next, n_services++)
		assert_true(!s->next || s->next->handle > s->handle);
	assert_int_equal(n_services, BLUEZ_SERVICES_MAX);
	assert_int_equal(d->n_characteristics, BLUEZ_CHARACTERISTICS_MAX);
	p->mirror = bluez_free(p->mirror);
	assert_int_equal(p->n_device_gone, 0); /* nobody is told at the end */
}

static void crowd(sd_bus_message *m)
{
	char path[BLUEZ_PATH_BYTES];

	object(m, HCI, BLUEZ_I_ADAPTER);
	for (int i = 0; i < BLUEZ_DEVICES_MAX + 10; i++) {
		(void)snprintf(path, sizeof(path), HCI "/dev_%d", i);
		object(m, path, BLUEZ_I_DEVICE);
	}
}

static void in_a_crowd_somebody_is_forgotten_for_each_who_comes(void **state)
{
	struct place *p = *state;

	begin(p, crowd);
	assert_int_equal(p->n_device, BLUEZ_DEVICES_MAX + 10);
	assert_int_equal(p->n_device_gone, 10);
}

/* ---- signals ---- */

static void signal_value(struct place *p, const char *path, const char *interface, size_t n)
{
	static const uint8_t bytes[2 * BLUEZ_VALUE_BYTES_MAX];
	sd_bus_message *m = NULL;

	assert_true(sd_bus_message_new_signal(dbus_bus(p->server), &m, path, "org.freedesktop.DBus.Properties", "PropertiesChanged") >= 0);
	assert_true(sd_bus_message_append(m, "s", interface) >= 0);
	assert_true(sd_bus_message_open_container(m, 'a', "{sv}") >= 0);
	assert_true(sd_bus_message_open_container(m, 'e', "sv") >= 0);
	assert_true(sd_bus_message_append(m, "s", "Value") >= 0);
	assert_true(sd_bus_message_open_container(m, 'v', "ay") >= 0);
	assert_true(sd_bus_message_append_array(m, 'y', bytes, n) >= 0);
	for (int i = 0; i < 3; i++)
		assert_true(sd_bus_message_close_container(m) >= 0);
	assert_true(sd_bus_message_append(m, "as", 0) >= 0);
	assert_true(sd_bus_send(NULL, m, NULL) >= 0);
	sd_bus_message_unref(m);
	dbus_touch(p->server);
}

static bool has_three_values(void *ctx)
{
	return ((struct place *)ctx)->n_values == 3;
}

static void values_are_told_up_to_their_limit(void **state)
{
	struct place *p = *state;

	begin(p, children_before_parents);
	signal_value(p, DEV "/service0010/char0011", BLUEZ_I_DEVICE, 1); /* not its interface */
	signal_value(p, DEV "/service0010/char0099", BLUEZ_I_CHARACTERISTIC, 1);
	signal_value(p, DEV "/service0010/char0011", BLUEZ_I_CHARACTERISTIC, 0);
	signal_value(p, DEV "/service0010/char0011", BLUEZ_I_CHARACTERISTIC, 20);
	signal_value(p, DEV "/service0010/char0011", BLUEZ_I_CHARACTERISTIC, BLUEZ_VALUE_BYTES_MAX + 1);
	assert_true(until(p->loop, has_three_values, p, WAIT_MS));
	assert_int_equal(p->value_bytes, BLUEZ_VALUE_BYTES_MAX);
}

static bool lamp_is_gone(void *ctx)
{
	return !bluez_find_device(((struct place *)ctx)->mirror, DEV);
}

static bool service_is_gone(void *ctx)
{
	struct bluez_device *d = bluez_find_device(((struct place *)ctx)->mirror, DEV);

	return d && d->n_services == 0;
}

static void say_removed(struct place *p, const char *path, const char *interface)
{
	assert_true(sd_bus_emit_signal(dbus_bus(p->server), "/", "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved", "oas", path, 1, interface) >= 0);
	dbus_touch(p->server);
}

static void what_is_removed_takes_its_children_along(void **state)
{
	struct place *p = *state;

	begin(p, children_before_parents);
	say_removed(p, DEV, "org.bluez.Battery1"); /* one of several */
	say_removed(p, DEV "/service0099", BLUEZ_I_SERVICE);
	say_removed(p, DEV "/service0010", BLUEZ_I_SERVICE);
	assert_true(until(p->loop, service_is_gone, p, WAIT_MS));
	assert_int_equal(p->n_characteristic_gone, 1);
	say_removed(p, DEV, BLUEZ_I_DEVICE);
	assert_true(until(p->loop, lamp_is_gone, p, WAIT_MS));
	assert_int_equal(p->n_device_gone, 1);
	assert_int_equal(p->n_adapter_gone, 0);
}

static void on_stranger_up(void *ctx, sd_bus *bus)
{
}

static bool is_up(void *ctx)
{
	return dbus_bus(((struct place *)ctx)->server) != NULL;
}

/* Anybody may send signals that look like bluetoothd's. */
static void strangers_on_the_bus_are_not_believed(void **state)
{
	struct place *p = *state;
	struct place stranger = { .loop = p->loop };
	static const struct dbus_ops nobody = { .up = on_stranger_up, .down = on_down };

	begin(p, children_before_parents);
	stranger.server = dbus_new(p->loop, p->daemon.address, &nobody, &stranger);
	assert_true(until(p->loop, is_up, &stranger, WAIT_MS));
	say_removed(&stranger, DEV, BLUEZ_I_DEVICE);
	signal_value(&stranger, DEV "/service0010/char0011", BLUEZ_I_CHARACTERISTIC, 3);
	(void)loop_run_for(p->loop, 100);
	assert_false(lamp_is_gone(p));
	assert_int_equal(p->n_values, 0);
	dbus_free(stranger.server);
}

#define TEST(fn_) cmocka_unit_test_setup_teardown(fn_, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(objects_are_read_in_any_order),
		TEST(wrong_types_change_nothing),
		TEST(strange_paths_are_left_out),
		TEST(counts_have_limits),
		TEST(in_a_crowd_somebody_is_forgotten_for_each_who_comes),
		TEST(values_are_told_up_to_their_limit),
		TEST(what_is_removed_takes_its_children_along),
		TEST(strangers_on_the_bus_are_not_believed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
