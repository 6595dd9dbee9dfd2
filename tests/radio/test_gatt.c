/* Operations, and the table of what a node offers: over the mirror of a fake bluetoothd. BLE-10, BLZ-6. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "gatt_place.h"
#include "radio/gatt_internal.h"

#define DIS "0000180a-0000-1000-8000-00805f9b34fb"
#define FIRMWARE "00002a26-0000-1000-8000-00805f9b34fb"
#define MODEL "00002a24-0000-1000-8000-00805f9b34fb"

struct answer {
	unsigned n;
	int error;
	uint8_t value[GATT_VALUE_BYTES_MAX];
	size_t n_value;
	unsigned *order, at;
};

static void on_answer(void *ctx, int error, struct span value)
{
	struct answer *a = ctx;

	a->n++;
	a->error = error;
	a->n_value = value.n;
	if (value.n)
		memcpy(a->value, value.p, value.n);
	if (a->order)
		a->at = ++*a->order;
}

static bool is_answered(void *ctx)
{
	return ((struct answer *)ctx)->n > 0;
}

static void the_table_tells_services_and_characteristics_by_handle(void **state)
{
	static const uint8_t dis[] = GATT_UUID16(0x180a), firmware[] = GATT_UUID16(0x2a26), absent[] = GATT_UUID16(0x2a27);
	struct place *p = place_new(NULL);
	uint16_t smp = fake_characteristic_add(p->f, PLACE_NODE, SMP_SERVICE, SMP_CHARACTERISTIC, FAKE_WRITE_NO_RESPONSE | FAKE_NOTIFY);
	uint16_t model = fake_characteristic_add(p->f, PLACE_NODE, DIS, MODEL, FAKE_READ);
	uint16_t version = fake_characteristic_add(p->f, PLACE_NODE, DIS, FIRMWARE, FAKE_READ);

	(void)state;
	place_connect(p);
	struct ble_link *k = place_link(p);
	assert_non_null(gatt_service_at(k, 1));
	assert_null(gatt_service_at(k, 2));
	assert_memory_equal(gatt_service_at(k, 1)->uuid, dis, sizeof(dis));
	assert_true(gatt_service_at(k, 0)->is_primary);
	assert_int_equal(gatt_characteristic_at(k, 0)->handle, smp);
	assert_int_equal(gatt_characteristic_at(k, 0)->properties, GATT_WRITE_NO_RESPONSE | GATT_NOTIFY);
	assert_int_equal(gatt_characteristic_at(k, 0)->mtu, 247);
	assert_int_equal(gatt_characteristic_at(k, 1)->handle, model);
	assert_int_equal(gatt_characteristic_at(k, 1)->service, gatt_service_at(k, 1)->handle);
	assert_null(gatt_characteristic_at(k, 3));
	assert_int_equal(gatt_find(k, dis, firmware)->handle, version);
	assert_int_equal(gatt_find(k, NULL, firmware)->handle, version);
	assert_null(gatt_find(k, gatt_service_at(k, 0)->uuid, firmware));
	assert_null(gatt_find(k, NULL, absent));
	/* one that comes later is found, too */
	uint16_t late = fake_characteristic_add(p->f, PLACE_NODE, DIS, "00002a27-0000-1000-8000-00805f9b34fb", FAKE_READ);
	for (int i = 0; i < 1000 && !gatt_find(k, NULL, absent); i++)
		place_run(p, 5);
	assert_int_equal(gatt_find(k, NULL, absent)->handle, late);
	place_close(p, k);
	place_free(p);
}

static void a_value_is_read_and_written(void **state)
{
	struct place *p = place_new(NULL);
	uint16_t h = fake_characteristic_add(p->f, PLACE_NODE, DIS, FIRMWARE, FAKE_READ | FAKE_WRITE | FAKE_WRITE_NO_RESPONSE);
	struct answer a[3] = { 0 };
	uint8_t big[GATT_VALUE_BYTES_MAX + 1] = { 7 }, got[1200];

	(void)state;
	fake_value_set(p->f, h, SPAN_LIT("1.2.3"));
	place_connect(p);
	struct ble_link *k = place_link(p);
	assert_int_equal(gatt_read(k, h, on_answer, &a[0]), 0);
	assert_int_equal(a[0].n, 0); /* never from inside */
	assert_true(place_until(p, is_answered, &a[0]));
	assert_int_equal(a[0].error, 0);
	assert_memory_equal(a[0].value, "1.2.3", 5);
	assert_int_equal(gatt_write(k, h, SPAN(big, GATT_VALUE_BYTES_MAX + 1), true, on_answer, &a[1]), -EMSGSIZE);
	assert_int_equal(gatt_write(k, h, SPAN(big, 245), false, on_answer, &a[1]), -EMSGSIZE); /* MTU 247 */
	assert_int_equal(gatt_write(k, h, SPAN(big, GATT_VALUE_BYTES_MAX), true, on_answer, &a[1]), 0);
	assert_int_equal(gatt_write(k, h, SPAN(big, 244), false, on_answer, &a[2]), 0);
	assert_true(place_until(p, is_answered, &a[2]));
	assert_true(place_until(p, is_answered, &a[1]));
	assert_int_equal(a[1].error, 0);
	assert_int_equal(a[2].error, 0);
	assert_int_equal(fake_written(p->f, h, got, sizeof(got)), GATT_VALUE_BYTES_MAX + 244);
	assert_true(p->n_used >= 3);
	char *log = fake_call_log(p->f);
	assert_non_null(strstr(log, " WriteValue request\n"));
	assert_non_null(strstr(log, " WriteValue command\n"));
	free(log);
	place_close(p, k);
	place_free(p);
}

static void requests_go_one_at_a_time_and_in_order(void **state)
{
	struct place *p = place_new(NULL);
	uint16_t h = fake_characteristic_add(p->f, PLACE_NODE, DIS, FIRMWARE, FAKE_READ | FAKE_WRITE);
	unsigned order = 0;
	struct answer a[GATT_OPS_MAX] = { 0 };

	(void)state;
	place_connect(p);
	fake_delay(p->f, NULL, "ReadValue", 2);
	fake_delay(p->f, NULL, "WriteValue", 2);
	struct ble_link *k = place_link(p), *other = place_link(p);
	for (unsigned i = 0; i < GATT_OPS_MAX; i++) {
		a[i].order = &order;
		if (i % 2)
			assert_int_equal(gatt_read(i % 4 == 1 ? k : other, h, on_answer, &a[i]), 0);
		else
			assert_int_equal(gatt_write(i % 4 ? k : other, h, SPAN_LIT("x"), true, on_answer, &a[i]), 0);
	}
	assert_true(place_until(p, is_answered, &a[GATT_OPS_MAX - 1]));
	for (unsigned i = 0; i < GATT_OPS_MAX; i++) {
		assert_int_equal(a[i].error, 0); /* with two at once the second is refused: InProgress */
		assert_int_equal(a[i].at, i + 1);
		assert_int_equal(a[i].n, 1);
	}
	place_close(p, other);
	place_close(p, k);
	place_free(p);
}

static void too_many_operations_are_refused(void **state)
{
	struct place *p = place_new(NULL);
	uint16_t h = fake_characteristic_add(p->f, PLACE_NODE, DIS, FIRMWARE, FAKE_READ);
	struct answer a = { 0 };

	(void)state;
	place_connect(p);
	struct ble_link *k = place_link(p);
	for (unsigned i = 0; i < GATT_OPS_MAX; i++)
		assert_int_equal(gatt_read(k, h, i ? NULL : on_answer, &a), 0);
	assert_int_equal(gatt_read(k, h, NULL, NULL), -ENOSPC);
	assert_true(place_until(p, is_answered, &a));
	assert_int_equal(gatt_read(k, h, NULL, NULL), 0);
	place_close(p, k);
	place_free(p);
}

static void a_closed_link_hears_no_answers_and_holds_nobody_up(void **state)
{
	struct place *p = place_new(NULL);
	uint16_t h = fake_characteristic_add(p->f, PLACE_NODE, DIS, FIRMWARE, FAKE_READ);
	struct answer a[3] = { 0 };

	(void)state;
	place_connect(p);
	fake_delay(p->f, NULL, "ReadValue", 300);
	struct ble_link *k = place_link(p), *other = place_link(p);
	assert_int_equal(gatt_read(k, h, on_answer, &a[0]), 0);
	assert_int_equal(gatt_read(k, h, on_answer, &a[1]), 0);
	assert_int_equal(gatt_read(other, h, on_answer, &a[2]), 0);
	place_until_called(p, "ReadValue", 1);
	place_close(p, k);
	assert_true(place_until(p, is_answered, &a[2]));
	assert_int_equal(a[2].error, 0);
	assert_int_equal(a[0].n + a[1].n, 0);
	assert_int_equal(fake_calls(p->f, NULL, "ReadValue"), 2);
	place_close(p, other);
	place_free(p);
}

static void refusals_are_told_as_what_they_are(void **state)
{
	static const struct {
		const char *name, *text;
		int error;
	} cases[] = {
		{ "org.bluez.Error.NotPermitted", "Read not permitted", -EPERM },
		{ "org.bluez.Error.NotPermitted", "Not paired", -EACCES },
		{ "org.bluez.Error.NotPermitted", "Write acquired", -EBUSY },
		{ "org.bluez.Error.NotPermitted", "Notify acquired", -EBUSY },
		{ "org.bluez.Error.NotAuthorized", "Operation Not Authorized", -EACCES },
		{ "org.bluez.Error.NotSupported", "Operation is not supported", -EOPNOTSUPP },
		{ "org.bluez.Error.InvalidValueLength", "Invalid Length", -EMSGSIZE },
		{ "org.bluez.Error.InvalidArguments", "Invalid Length", -EMSGSIZE },
		{ "org.bluez.Error.InvalidOffset", "Invalid Offset", -EMSGSIZE },
		{ "org.bluez.Error.InvalidArguments", "Invalid arguments in method call", -EIO },
		{ "org.bluez.Error.InProgress", "In Progress", -EBUSY },
		{ "org.bluez.Error.NotConnected", "Not Connected", -ENOTCONN },
		{ "org.bluez.Error.Failed", "Not connected", -ENOTCONN },
		{ "org.bluez.Error.Failed", "Operation failed with ATT error: 0x01", -ENOENT },
		{ "org.bluez.Error.Failed", "Operation failed with ATT error: 0x02", -EPERM },
		{ "org.bluez.Error.Failed", "Operation failed with ATT error: 0x0a", -ENOENT },
		{ "org.bluez.Error.Failed", "Operation failed with ATT error: 0x0d", -EMSGSIZE },
		{ "org.bluez.Error.Failed", "Operation failed with ATT error: 0x0e", -EIO },
		{ "org.bluez.Error.Failed", "Operation failed with ATT error: 0x0f", -EACCES },
		{ "org.bluez.Error.Failed", "Operation failed with ATT error: 0x80", -EIO },
		{ "org.bluez.Error.Failed", "", -EIO },
		{ "org.freedesktop.DBus.Error.UnknownObject", "Method ... doesn't exist", -ENOENT },
		{ "org.freedesktop.DBus.Error.NoReply", "Method call timed out", -ETIMEDOUT },
		{ "org.freedesktop.DBus.Error.ServiceUnknown", "The name is not activatable", -ENOTCONN },
		{ "com.example.Odd", "something", -EIO },
	};
	struct place *p = place_new(NULL);
	uint16_t h = fake_characteristic_add(p->f, PLACE_NODE, DIS, FIRMWARE, FAKE_READ | FAKE_WRITE);

	(void)state;
	place_connect(p);
	struct ble_link *k = place_link(p);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct answer a = { 0 };

		fake_mend(p->f);
		fake_fail(p->f, NULL, i % 2 ? "ReadValue" : "WriteValue", 1, cases[i].name, cases[i].text);
		assert_int_equal(i % 2 ? gatt_read(k, h, on_answer, &a) : gatt_write(k, h, SPAN_LIT("x"), true, on_answer, &a), 0);
		assert_true(place_until(p, is_answered, &a));
		if (a.error != cases[i].error)
			fail_msg("%s \"%s\": %d, not %d", cases[i].name, cases[i].text, a.error, cases[i].error);
		assert_int_equal(a.n_value, 0);
	}
	place_close(p, k);
	place_free(p);
}

static void what_is_not_there_or_needs_a_bond_is_refused(void **state)
{
	struct place *p = place_new(NULL);
	uint16_t h = fake_characteristic_add(p->f, PLACE_NODE, DIS, FIRMWARE, FAKE_READ | FAKE_NEEDS_BOND);
	struct answer a = { 0 }, b = { 0 };

	(void)state;
	place_connect(p);
	struct ble_link *k = place_link(p);
	assert_int_equal(gatt_read(k, 0x7777, on_answer, &a), 0);
	assert_int_equal(gatt_read(k, h, on_answer, &b), 0);
	assert_true(place_until(p, is_answered, &b));
	assert_int_equal(a.error, -ENOENT);
	assert_int_equal(b.error, -EACCES);
	place_close(p, k);
	place_free(p);
}

static void when_bluetoothd_dies_what_was_asked_fails(void **state)
{
	struct place *p = place_new(NULL);
	uint16_t h = fake_characteristic_add(p->f, PLACE_NODE, DIS, FIRMWARE, FAKE_READ);
	struct answer a = { 0 };

	(void)state;
	place_connect(p);
	fake_fail(p->f, NULL, "ReadValue", -1, NULL, NULL);
	struct ble_link *k = place_link(p);
	assert_int_equal(gatt_read(k, h, on_answer, &a), 0);
	place_until_called(p, "ReadValue", 1);
	assert_int_equal(a.n, 0);
	fake_bluez_stop(p->f);
	for (int i = 0; i < 1000 && !p->n_ended; i++)
		place_run(p, 5);
	assert_int_equal(p->n_ended, 1);
	assert_true(a.n <= 1);
	if (a.n)
		assert_int_equal(a.error, -ENOTCONN);
	assert_int_equal(gatt_read(k, h, on_answer, &a), -ENOTCONN);
	assert_null(gatt_service_at(k, 0));
	place_close(p, k);
	/* and it comes back */
	fake_mend(p->f);
	fake_bluez_start(p->f);
	place_connect(p);
	k = place_link(p);
	a = (struct answer){ 0 };
	assert_int_equal(gatt_read(k, h, on_answer, &a), 0);
	assert_true(place_until(p, is_answered, &a));
	assert_int_equal(a.error, 0);
	place_close(p, k);
	place_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_tells_services_and_characteristics_by_handle),
		cmocka_unit_test(a_value_is_read_and_written),
		cmocka_unit_test(requests_go_one_at_a_time_and_in_order),
		cmocka_unit_test(too_many_operations_are_refused),
		cmocka_unit_test(a_closed_link_hears_no_answers_and_holds_nobody_up),
		cmocka_unit_test(refusals_are_told_as_what_they_are),
		cmocka_unit_test(what_is_not_there_or_needs_a_bond_is_refused),
		cmocka_unit_test(when_bluetoothd_dies_what_was_asked_fails),
	};
	return cmocka_run_group_tests_name("radio/gatt", tests, NULL, NULL);
}
