/* The fake does what the real one does, as far as the tests lean on it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include <sys/socket.h>
#include <systemd/sd-bus.h>

#include "fake_bluez.h"

#define NODE "C0:00:00:00:00:01"
#define NODE_PATH "/org/bluez/hci0/dev_C0_00_00_00_00_01"
#define SERVICE "0000180a-0000-1000-8000-00805f9b34fb"
#define CHARACTERISTIC "00002a26-0000-1000-8000-00805f9b34fb"

static sd_bus *client(struct fake_bluez *f)
{
	sd_bus *bus = NULL;

	assert_true(sd_bus_new(&bus) >= 0);
	assert_true(sd_bus_set_address(bus, fake_bluez_bus(f)) >= 0);
	assert_true(sd_bus_set_bus_client(bus, true) >= 0);
	assert_true(sd_bus_negotiate_fds(bus, true) >= 0);
	assert_true(sd_bus_start(bus) >= 0);
	return bus;
}

static int call(sd_bus *bus, const char *path, const char *iface, const char *member, const char *error, sd_bus_message **ret)
{
	sd_bus_error e = SD_BUS_ERROR_NULL;
	int r = sd_bus_call_method(bus, "org.bluez", path, iface, member, &e, ret, NULL);

	if (error)
		assert_string_equal(e.name, error);
	else
		assert_true(r >= 0);
	sd_bus_error_free(&e);
	return r;
}

static void a_node_is_found_connected_and_its_services_are_there(void **state)
{
	struct fake_bluez *f = fake_bluez_new();
	sd_bus_message *m = NULL;
	char path[128];

	(void)state;
	fake_adapter_add(f, "hci0", "00:AA:01:00:00:00", 0);
	fake_node_add(f, &(struct fake_node){ .address = NODE, .is_random = true, .name = "lamp", .uuids = { SERVICE }, .company = 0x59,
					      .manufacturer = SPAN_LIT("abc"), .service_data_uuid = SERVICE, .service_data = SPAN_LIT("d") });
	uint16_t h = fake_characteristic_add(f, NODE, SERVICE, CHARACTERISTIC, FAKE_READ | FAKE_WRITE_NO_RESPONSE);
	fake_value_set(f, h, SPAN_LIT("1.0"));
	sd_bus *bus = client(f);
	(void)call(bus, NODE_PATH, "org.bluez.Device1", "Connect", SD_BUS_ERROR_UNKNOWN_OBJECT, NULL);
	(void)call(bus, "/org/bluez/hci0", "org.bluez.Adapter1", "StartDiscovery", NULL, NULL);
	assert_true(fake_is_discovering(f, "hci0"));
	(void)call(bus, "/org/bluez/hci0", "org.bluez.Adapter1", "StartDiscovery", "org.bluez.Error.InProgress", NULL);
	fake_fail(f, "dev_C0_00_00_00_00_01", "Connect", 1, "org.bluez.Error.Failed", "le-connection-abort-by-local");
	(void)call(bus, NODE_PATH, "org.bluez.Device1", "Connect", "org.bluez.Error.Failed", NULL);
	(void)call(bus, NODE_PATH, "org.bluez.Device1", "Connect", NULL, NULL);
	assert_int_equal(fake_calls(f, "dev_C0_00_00_00_00_01", "Connect"), 3);
	(void)snprintf(path, sizeof(path), NODE_PATH "/service%04x/char%04x", h - 1, h);
	for (int i = 0; i < 200; i++) {
		(void)call(bus, "/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", NULL, &m);
		m = sd_bus_message_unref(m);
	}
	sd_bus_error e = SD_BUS_ERROR_NULL;
	int fd, r = sd_bus_call_method(bus, "org.bluez", path, "org.bluez.GattCharacteristic1", "AcquireWrite", &e, &m, "a{sv}", 0);
	uint16_t mtu;
	assert_true(r >= 0);
	assert_true(sd_bus_message_read(m, "hq", &fd, &mtu) > 0);
	assert_int_equal(mtu, 247);
	assert_int_equal(send(fd, "hello", 5, 0), 5);
	while (fake_writes(f, h) == 0)
		;
	assert_int_equal(fake_written(f, h, NULL, 0), 5);
	fake_node_disconnect(f, NODE, false);
	assert_int_equal(recv(fd, path, sizeof(path), 0), 0);
	m = sd_bus_message_unref(m);
	sd_bus_flush_close_unref(bus);
	fake_bluez_free(f);
}

static void it_restarts_and_its_bus_too(void **state)
{
	struct fake_bluez *f = fake_bluez_new();

	(void)state;
	fake_adapter_add(f, "hci0", "00:AA:01:00:00:00", FAKE_ADAPTER_MONITORS);
	fake_bluez_stop(f);
	sd_bus *bus = client(f);
	(void)call(bus, "/org/bluez/hci0", "org.bluez.Adapter1", "StartDiscovery", SD_BUS_ERROR_SERVICE_UNKNOWN, NULL);
	fake_bluez_start(f);
	(void)call(bus, "/org/bluez/hci0", "org.bluez.Adapter1", "StartDiscovery", NULL, NULL);
	fake_bluez_bus_stop(f);
	fake_bluez_bus_start(f);
	sd_bus_close_unref(bus);
	bus = client(f);
	fake_adapter_power(f, "hci0", false);
	(void)call(bus, "/org/bluez/hci0", "org.bluez.Adapter1", "StartDiscovery", "org.bluez.Error.NotReady", NULL);
	fake_adapter_remove(f, "hci0");
	(void)call(bus, "/org/bluez/hci0", "org.bluez.Adapter1", "StartDiscovery", SD_BUS_ERROR_UNKNOWN_OBJECT, NULL);
	sd_bus_flush_close_unref(bus);
	fake_bluez_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_is_found_connected_and_its_services_are_there),
		cmocka_unit_test(it_restarts_and_its_bus_too),
	};
	return cmocka_run_group_tests_name("radio/fake_bluez", tests, NULL, NULL);
}
