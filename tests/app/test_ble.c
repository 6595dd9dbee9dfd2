/* Bluetooth LE in the daemon: which device is which node, who is told of nodes, and what is logged of them. The daemon is whole, its
 * radio is not (tests/delivery/fake_ble.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../delivery/fake_ble.h"
#include "../scratch.h"
#include "../until.h"
#include "app/gateway.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/tmpfile.h"

enum { STRANGERS = 40, STRANGERS_TOLD = 10 };

struct site {
	char dir[64];
	int dirfd;
	struct gateway g;
	bool is_up, is_committed;
	struct ble *ble;
	unsigned n_events[EVENT_COUNT], n_notices[EVENT_COUNT];
	char text[EVENT_COUNT][300];           /* the last of each */
};

static void on_log(void *ctx, const struct log_record *rec)
{
	struct site *s = ctx;

	s->n_events[rec->event]++;
	s->n_notices[rec->event] += rec->priority <= LOG_NOTICE;
	(void)snprintf(s->text[rec->event], sizeof(s->text[0]), "%s", rec->text); /* cut where it is too long */
}

static void configure(const struct site *s, const char *more)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_printf(&b, "state_dir = \"%s/state\"\ncoap.listen = [\"coap://127.0.0.1:0\"]\nhttp.listen = [\"unix:%s/api.sock\"]\n%s\n",
		   s->dir, s->dir, more);
	assert_int_equal(file_write_durable(s->dirfd, "dormouse.toml", buf_span(&b)), 0);
	assert_int_equal(fchmodat(s->dirfd, "dormouse.toml", 0600, 0), 0);
}

static void start(struct site *s)
{
	_cleanup_buf_ struct buf error = { 0 };
	_cleanup_free_ char *file = mem_printf("%s/dormouse.toml", s->dir);
	struct config *c = NULL;

	if (config_load(file, &c, &error) < 0)
		fail_msg("%s", buf_str(&error));
	assert_int_equal(gateway_start(&s->g, c), 0);
	s->is_up = true;
	s->ble = fake_ble_last();
	log_set_observer(on_log, s);           /* in the admin's place */
}

static int setup(void **state)
{
	struct site *s = NEW(struct site);

	log_set_max_priority(LOG_ALERT - 1);
	(void)snprintf(s->dir, sizeof(s->dir), "/tmp/dormouse-app-XXXXXX"); /* fits */
	assert_non_null(mkdtemp(s->dir));
	s->dirfd = open(s->dir, O_RDONLY | O_DIRECTORY);
	assert_true(s->dirfd >= 0);
	configure(s, "[ble]\nenabled = true\nlinks = 3\nweakest_dbm = 90\nscan = \"passive\"");
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct site *s = *state;

	if (s->is_up)
		gateway_stop(&s->g);
	assert_null(fake_ble_last());
	log_set_observer(NULL, NULL);
	close(s->dirfd);
	scratch_remove(s->dir);
	free(s);
	return 0;
}

static void on_committed(void *ctx, int error)
{
	assert_int_equal(error, 0);
	((struct site *)ctx)->is_committed = true;
}

static bool is_committed(void *ctx)
{
	return ((struct site *)ctx)->is_committed;
}

static void wait_committed(struct site *s)
{
	assert_true(until(s->g.loop, is_committed, s, 20000));
	s->is_committed = false;
}

static void enrol(struct site *s, const char *id, const char *address)
{
	struct device d = { .state = DEVICE_ENROLLED, .driver = "smp-ble" };

	(void)snprintf(d.id, sizeof(d.id), "%s", id);                  /* ours: short */
	(void)snprintf(d.address, sizeof(d.address), "%s", address);   /* ours: short */
	assert_int_equal(devices_put(s->g.devices, &d, wall_now(), on_committed, s), 0);
	wait_committed(s);
}

static void remove_device(struct site *s, const char *id)
{
	assert_int_equal(devices_remove(s->g.devices, id, on_committed, s), 0);
	wait_committed(s);
}

static struct fake_node *show(struct site *s, const char *id)
{
	struct fake_node *n = fake_node_new(s->ble, id, NULL, NULL);

	fake_node_show(n, true);
	return n;
}

static void a_device_is_a_node_by_its_address_or_its_id(void **state)
{
	struct site *s = *state;

	start(s);
	enrol(s, "lamp", "ble:C0:00:00:00:00:01");
	enrol(s, "ble-c00000000002", "");
	enrol(s, "ble-c00000000003", "ble:C0:00:00:00:00:04"); /* the address counts */
	enrol(s, "meter", "192.0.2.1");
	assert_string_equal(gateway_ble_device_of(&s->g, "ble-c00000000001"), "lamp");
	assert_string_equal(gateway_ble_device_of(&s->g, "ble-c00000000002"), "ble-c00000000002");
	assert_null(gateway_ble_device_of(&s->g, "ble-c00000000003"));
	assert_string_equal(gateway_ble_device_of(&s->g, "ble-c00000000004"), "ble-c00000000003");
	assert_null(gateway_ble_device_of(&s->g, "")); /* a private address */
	enrol(s, "lamp", "ble:C0:00:00:00:00:05");
	assert_null(gateway_ble_device_of(&s->g, "ble-c00000000001"));
	assert_string_equal(gateway_ble_device_of(&s->g, "ble-c00000000005"), "lamp");
	remove_device(s, "lamp");
	assert_null(gateway_ble_device_of(&s->g, "ble-c00000000005"));
	assert_true(job_run_has_driver(rollout_run_jobs(s->g.rollout), "smp-ble"));
}

static void devices_are_still_nodes_after_a_restart(void **state)
{
	struct site *s = *state;

	start(s);
	enrol(s, "lamp", "ble:C0:00:00:00:00:01");
	gateway_stop(&s->g);
	start(s);
	assert_string_equal(gateway_ble_device_of(&s->g, "ble-c00000000001"), "lamp");
}

static void a_devices_node_is_told_when_it_comes_and_goes_and_not_when_it_changes(void **state)
{
	struct site *s = *state;

	start(s);
	enrol(s, "lamp", "ble:C0:00:00:00:00:01");
	struct fake_node *n = show(s, "ble-c00000000001");
	fake_node_show(n, true);
	assert_int_equal(s->n_notices[EV_BLE_NODE], 1);
	assert_non_null(strstr(s->text[EV_BLE_NODE], "lamp"));
	fake_node_show(n, false);
	assert_int_equal(s->n_notices[EV_BLE_NODE], 2);
	assert_non_null(strstr(s->text[EV_BLE_NODE], "out of range"));
}

static void strangers_are_told_a_few_a_minute_and_never_at_notice(void **state)
{
	struct site *s = *state;
	char id[BLE_ID_BYTES];

	start(s);
	for (unsigned i = 0; i < STRANGERS; i++) {
		(void)snprintf(id, sizeof(id), "ble-c000000001%02x", i); /* fits */
		(void)show(s, id);
	}
	assert_int_equal(s->n_notices[EV_BLE_NODE], 0);
	assert_int_equal(s->n_events[EV_BLE_NODE], STRANGERS_TOLD);
}

static void a_device_that_is_heard_was_seen_just_now_and_there(void **state)
{
	struct site *s = *state;

	start(s);
	enrol(s, "lamp", "ble:C0:00:00:00:00:01");
	assert_int_equal(devices_get(s->g.devices, "lamp")->last_seen.ms, 0);
	struct fake_node *n = show(s, "ble-c00000000001"), *stranger = show(s, "ble-c00000000009");
	fake_node_heard(stranger);
	assert_int_equal(devices_get(s->g.devices, "lamp")->last_seen.ms, 0);
	fake_node_heard(n);
	assert_true(devices_get(s->g.devices, "lamp")->last_seen.ms > 0);
	assert_string_equal(devices_get(s->g.devices, "lamp")->last_addr, "C0:00:00:00:00:01");
}

static void a_pairing_says_what_is_to_be_done_and_never_the_digits(void **state)
{
	struct site *s = *state;

	start(s);
	struct fake_node *n = show(s, "ble-c00000000001");
	fake_node_asks(n, 123456, false);
	fake_node_asks(n, 123456, true);
	assert_int_equal(s->n_notices[EV_BLE_PAIRING], 2);
	assert_non_null(strstr(s->text[EV_BLE_PAIRING], "C0:00:00:00:00:01"));
	assert_null(strstr(s->text[EV_BLE_PAIRING], "123456"));
}

static void health_is_told_as_it_changes(void **state)
{
	struct site *s = *state;

	start(s);
	fake_ble_set_health(s->ble, BLE_NO_BLUEZ);
	assert_string_equal(s->text[EV_BLE_HEALTH], "Bluetooth: bluetoothd is not running");
	fake_ble_set_health(s->ble, BLE_READY);
	assert_string_equal(s->text[EV_BLE_HEALTH], "Bluetooth: ready");
}

static void the_configuration_reaches_the_radio_again_after_a_reload(void **state)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct site *s = *state;
	unsigned times;

	start(s);
	const struct ble_settings *b = fake_ble_settings(s->ble, &times);
	assert_int_equal(times, 1);
	assert_true(b->links == 3 && b->weakest_dbm == -90 && b->scan == BLE_SCAN_PASSIVE && b->pairing == BLE_PAIRING_OFF && b->turn_s == 300);
	configure(s, "[ble]\nenabled = true\nlinks = 7\npairing = \"just-works\"\npairing_nodes = [\"C0:00:00:00:00:01\"]");
	assert_int_equal(gateway_reload(&s->g, &text), 0);
	b = fake_ble_settings(s->ble, &times);
	assert_int_equal(times, 2);
	assert_true(b->links == 7 && b->scan == BLE_SCAN_AUTO && b->pairing == BLE_PAIRING_JUST_WORKS);
	assert_string_equal(b->pairing_nodes[0], "C0:00:00:00:00:01");
}

static void switched_off_nothing_of_it_is_there(void **state)
{
	struct site *s = *state;

	configure(s, "");
	start(s);
	assert_null(s->ble);
	enrol(s, "ble-c00000000002", "");
	assert_null(gateway_ble_device_of(&s->g, "ble-c00000000002"));
	assert_false(job_run_has_driver(rollout_run_jobs(s->g.rollout), "smp-ble"));
	remove_device(s, "ble-c00000000002");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST_(name_) cmocka_unit_test_setup_teardown(name_, setup, teardown)
		TEST_(a_device_is_a_node_by_its_address_or_its_id),
		TEST_(devices_are_still_nodes_after_a_restart),
		TEST_(a_devices_node_is_told_when_it_comes_and_goes_and_not_when_it_changes),
		TEST_(strangers_are_told_a_few_a_minute_and_never_at_notice),
		TEST_(a_device_that_is_heard_was_seen_just_now_and_there),
		TEST_(a_pairing_says_what_is_to_be_done_and_never_the_digits),
		TEST_(health_is_told_as_it_changes),
		TEST_(the_configuration_reaches_the_radio_again_after_a_reload),
		TEST_(switched_off_nothing_of_it_is_there),
#undef TEST_
	};

	return cmocka_run_group_tests_name("app/ble", tests, NULL, NULL);
}
