/* The routes over Bluetooth LE: a real radio/ble, on a bluetoothd that is played. BLZ-11. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "../radio/fake_bluez.h"
#include "../until.h"
#include "base/metric.h"
#include "place.h"

#define LAMP "C0:00:00:00:00:01"
#define LOCK "C0:00:00:00:00:02"
#define PRIVATE "40:00:00:00:00:03"
#define SMP_SERVICE "8d53dc1d-1db7-4cd3-868b-8a527460aa84"
#define SMP_CHARACTERISTIC "da2e7828-fbce-4e01-ae9e-261174997c48"

static struct {
	struct fake_bluez *f;
	struct ble *ble;
	struct place *place;
	uint32_t passkey;
	bool was_asked;
} side;

static const char *text(struct place *p)
{
	return buf_str(&p->answer.body);
}

static void assert_says(struct place *p, const char *what)
{
	if (!strstr(text(p), what))
		fail_msg("%s is not in %s", what, text(p));
}

static void on_passkey(void *ctx, const struct ble_node *n, uint32_t passkey, bool is_wanted)
{
	side.passkey = passkey;
	side.was_asked |= is_wanted;
	admin_ble_passkey(&side.place->admin, n, passkey, is_wanted);
}

static const char *device_of(void *ctx, const char *node)
{
	return strcmp(node, "ble-c00000000001") == 0 ? "hall-lamp" : NULL;
}

static bool all_are_here(void *ctx)
{
	return ble_node_count(side.ble) == 3;
}

static int begin(void **state)
{
	static const struct ble_ops ops = { .passkey = on_passkey };
	static char lamp[] = LAMP, lock[] = LOCK;
	static char *const may[] = { lamp, lock, NULL };
	struct place *p = malloc(sizeof(*p));

	assert_non_null(p);
	place_open(p);
	memset(&side, 0, sizeof(side));
	side.place = p;
	side.f = fake_bluez_new();
	fake_adapter_add(side.f, "hci0", "00:AA:01:00:00:00", 0);
	fake_node_add(side.f, &(struct fake_node){ .address = LAMP, .is_random = true, .name = "lamp", .uuids = { SMP_SERVICE }, .rssi = -44,
						   .pairing = FAKE_PAIR_SHOWN, .passkey = 4711 });
	fake_node_add(side.f, &(struct fake_node){ .address = LOCK, .is_random = true, .name = "lock\x1b\"", .pairing = FAKE_PAIR_ASKED, .passkey = 42 });
	fake_node_add(side.f, &(struct fake_node){ .address = PRIVATE, .is_random = true, .rssi = 127 });
	(void)fake_characteristic_add(side.f, LAMP, SMP_SERVICE, SMP_CHARACTERISTIC, FAKE_WRITE_NO_RESPONSE | FAKE_NOTIFY);
	side.ble = ble_new(p->loop, fake_bluez_bus(side.f), &(struct ble_settings){ .scan = BLE_SCAN_ACTIVE, .scan_s = 5, .scan_every_s = 5,
			   .weakest_dbm = -127, .links = 4, .idle_s = 30, .gone_s = 600, .pairing = BLE_PAIRING_PASSKEY, .pairing_nodes = may }, &ops, NULL);
	p->admin.c.ble = side.ble;
	p->admin.c.ble_device = device_of;
	assert_true(until(p->loop, all_are_here, NULL, PLACE_PATIENCE_MS));
	*state = p;
	return 0;
}

static int end(void **state)
{
	struct place *p = *state;

	ble_free(side.ble);
	assert_int_equal(metric_get(METRIC_BLE_NODES), 0);
	assert_int_equal(metric_get(METRIC_BLE_LINKS), 0);
	fake_bluez_free(side.f);
	place_close(p);
	free(p);
	return 0;
}

static void without_it_it_is_told_how_to_have_it(void **state)
{
	struct place *p = *state;

	p->admin.c.ble = NULL;
	place_assert_problem(place_ask(p, HTTP_GET, "ble/adapters", NULL, NULL), 503, "ble.enabled");
	place_assert_problem(place_ask(p, HTTP_GET, "ble/nodes", NULL, NULL), 503, "ble.enabled");
	place_assert_problem(place_ask(p, HTTP_GET, "ble/nodes/" LAMP, NULL, NULL), 503, "ble.enabled");
	place_assert_problem(place_ask(p, HTTP_POST, "ble/nodes/" LAMP "/pair", NULL, NULL), 503, "ble.enabled");
	place_assert_problem(place_ask(p, HTTP_POST, "ble/nodes/" LAMP "/passkey", NULL, "{\"passkey\":\"000000\"}"), 503, "ble.enabled");
	place_assert_problem(place_ask(p, HTTP_DELETE, "ble/nodes/" LAMP "/bond", NULL, NULL), 503, "ble.enabled");
	assert_int_equal(place_get(p, "health", NULL), 200); /* nobody asked for it */
	assert_int_equal(place_get(p, "status", NULL), 200);
	assert_says(p, "\"bluetooth\":\"off\"");
}

static bool is_scanning(void *ctx)
{
	return fake_is_discovering(side.f, "hci0");
}

static void adapters_and_nodes_are_listed(void **state)
{
	struct place *p = *state;

	(void)until(p->loop, is_scanning, NULL, PLACE_PATIENCE_MS);
	assert_int_equal(place_get(p, "ble/adapters", NULL), 200);
	assert_says(p, "{\"name\":\"hci0\",\"address\":\"00:AA:01:00:00:00\",\"is_powered\":true,");
	assert_says(p, "\"state\":\"ready\"");
	assert_int_equal(place_get(p, "ble/adapters", "after=hci0"), 200);
	assert_says(p, "{\"items\":[],");
	assert_int_equal(place_get(p, "ble/nodes", NULL), 200);
	assert_says(p, "\"id\":\"ble-c00000000001\",\"address\":\"" LAMP "\",\"address_type\":\"random\",\"name\":\"lamp\",\"device\":\"hall-lamp\"");
	assert_says(p, "\"rssi\":-44,\"is_connected\":false,\"is_busy\":false,\"is_bonded\":false");
	assert_says(p, "\"services\":[\"" SMP_SERVICE "\"]");
	assert_says(p, "\"id\":null,\"address\":\"" PRIVATE "\",\"address_type\":\"private\"");
	assert_says(p, "\"rssi\":null");
	assert_says(p, "\"total\":3,\"next\":null");
	assert_null(strchr(text(p), '\x1b'));
	assert_int_equal(place_get(p, "ble/nodes", "limit=2"), 200);
	assert_says(p, "\"next\":\"");
	char after[64];
	(void)snprintf(after, sizeof(after), "after=%s", strstr(text(p), "\"next\":\"") + strlen("\"next\":\""));
	after[strcspn(after, "\"")] = 0;
	assert_int_equal(place_get(p, "ble/nodes", after), 200);
	assert_int_equal(json_n(json_get(p->answer.root, "items")), 1);
}

struct waiting { struct place *p; const char *path, *what; };

static bool says(void *ctx)
{
	struct waiting *w = ctx;

	return place_get(w->p, w->path, NULL) == 200 && strstr(text(w->p), w->what);
}

/* place_get() runs the loop while it waits for its answer. */
static void until_it_says(struct place *p, const char *path, const char *what)
{
	struct waiting w = { p, path, what };
	struct mono end = mono_add_ms(mono_now(), PLACE_PATIENCE_MS);

	while (!says(&w)) {
		if (!mono_before(mono_now(), end))
			fail_msg("%s: %s does not come, but %s", path, what, text(p));
		(void)loop_run_for(p->loop, 10);
	}
}

static void a_node_shows_what_it_offers_once_it_was_connected(void **state)
{
	struct place *p = *state;

	assert_int_equal(place_get(p, "ble/nodes/" LAMP, NULL), 200);
	assert_says(p, "\"gatt\":[],\"pairing\":null");
	assert_int_equal(place_get(p, "ble/nodes/ble-c00000000001", NULL), 200);
	assert_int_equal(place_get(p, "ble/nodes/" PRIVATE, NULL), 200);
	place_assert_problem(place_ask(p, HTTP_GET, "ble/nodes/ble-c00000000009", NULL, NULL), 404, "in range");
	place_assert_problem(place_ask(p, HTTP_GET, "ble/nodes/lamp", NULL, NULL), 404, "an id like");
	assert_int_equal(place_ask(p, HTTP_POST, "ble/nodes/" LAMP "/pair", NULL, NULL)->status, 202);
	until_it_says(p, "ble/nodes/" LAMP, "\"characteristics\":[{");
	assert_int_equal(metric_get(METRIC_BLE_NODES), 3);
	assert_int_equal(metric_get(METRIC_BLE_LINKS), 1);
	assert_says(p, "\"uuid\":\"" SMP_SERVICE "\",\"is_primary\":true,\"characteristics\":[{\"handle\":");
	assert_says(p, "\"uuid\":\"" SMP_CHARACTERISTIC "\",\"properties\":[\"write-without-response\",\"notify\"]}]}]");
}

static bool was_audited(struct place *p, const char *action)
{
	char want[64];

	db_flush(p->db);
	(void)snprintf(want, sizeof(want), "\"action\":\"%s\"", action);
	return place_get(p, "audit", NULL) == 200 && strstr(text(p), want);
}

static void what_the_node_wants_typed_is_shown_to_admins(void **state)
{
	struct place *p = *state;

	fake_delay(side.f, NULL, "Pair", 20);
	assert_int_equal(place_ask(p, HTTP_POST, "ble/nodes/" LAMP "/pair", NULL, NULL)->status, 202);
	assert_int_equal(place_get(p, "ble/nodes/" LAMP, NULL), 200);
	assert_says(p, "\"pairing\":{\"what\":\"pair\",\"state\":\"going\",\"why\":null,\"is_passkey_wanted\":false,\"passkey\":null}");
	place_assert_problem(place_ask(p, HTTP_POST, "ble/nodes/" LAMP "/pair", NULL, NULL), 409, "something else goes on");
	until_it_says(p, "ble/nodes/" LAMP, "\"state\":\"done\"");
	assert_int_equal(side.passkey, 4711);
	assert_true(fake_node_is_paired(side.f, LAMP));
	assert_true(was_audited(p, "pair"));
	/* and forgotten */
	assert_int_equal(place_ask(p, HTTP_DELETE, "ble/nodes/" LAMP "/bond", NULL, NULL)->status, 202);
	for (int i = 0; i < 1000 && fake_node_is_paired(side.f, LAMP); i++)
		(void)loop_run_for(p->loop, 5);
	assert_false(fake_node_is_paired(side.f, LAMP));
	assert_true(was_audited(p, "unpair"));
}

static void a_passkey_is_for_admins_eyes(void **state)
{
	struct place *p = *state;
	struct ble_node n = { .address = { 0xc0, 0, 0, 0, 0, 1 } };

	fake_fail(side.f, NULL, "Pair", -1, NULL, NULL);
	assert_int_equal(place_ask(p, HTTP_POST, "ble/nodes/" LAMP "/pair", NULL, NULL)->status, 202);
	admin_ble_passkey(&p->admin, &n, 4711, false);
	assert_int_equal(place_get(p, "ble/nodes/" LAMP, NULL), 200);
	assert_says(p, "\"passkey\":\"004711\"");
	p->roles = ROLE_VIEWER;
	assert_int_equal(place_get(p, "ble/nodes/" LAMP, NULL), 200);
	assert_says(p, "\"passkey\":null");
	/* of a node that nobody here pairs it is not kept */
	n.address[5] = 9;
	admin_ble_passkey(&p->admin, &n, 1, false);
}

static void what_the_node_shows_is_asked_for(void **state)
{
	static const char *const wrong[] = { "{\"passkey\":\"42\"}", "{\"passkey\":\"00004x\"}", "{\"passkey\":\"0000042\"}", "{\"passkey\":42}", "{}" };
	struct place *p = *state;

	place_assert_problem(place_ask(p, HTTP_POST, "ble/nodes/" LOCK "/passkey", NULL, "{\"passkey\":\"000042\"}"), 409, "nobody waits");
	assert_int_equal(place_ask(p, HTTP_POST, "ble/nodes/" LOCK "/pair", NULL, NULL)->status, 202);
	until_it_says(p, "ble/nodes/" LOCK, "\"is_passkey_wanted\":true");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		place_assert_problem(place_ask(p, HTTP_POST, "ble/nodes/" LOCK "/passkey", NULL, wrong[i]), 400, "six digits");
	assert_int_equal(place_ask(p, HTTP_POST, "ble/nodes/" LOCK "/passkey", NULL, "{\"passkey\":\"000042\"}")->status, 200);
	until_it_says(p, "ble/nodes/" LOCK, "\"state\":\"done\"");
	assert_true(fake_node_is_paired(side.f, LOCK));
	assert_true(was_audited(p, "passkey"));
	assert_null(strstr(text(p), "000042"));
}

static void a_wrong_passkey_fails_with_why(void **state)
{
	struct place *p = *state;

	assert_int_equal(place_ask(p, HTTP_POST, "ble/nodes/" LOCK "/pair", NULL, NULL)->status, 202);
	until_it_says(p, "ble/nodes/" LOCK, "\"is_passkey_wanted\":true");
	assert_int_equal(place_ask(p, HTTP_POST, "ble/nodes/" LOCK "/passkey", NULL, "{\"passkey\":\"000043\"}")->status, 200);
	until_it_says(p, "ble/nodes/" LOCK, "\"state\":\"failed\"");
	assert_says(p, "Authentication Failed");
	assert_false(fake_node_is_paired(side.f, LOCK));
}

static void what_the_configuration_does_not_list_does_not_pair(void **state)
{
	struct place *p = *state;
	static char lock[] = LOCK;
	static char *const may[] = { lock, NULL };

	ble_set(side.ble, &(struct ble_settings){ .scan = BLE_SCAN_ACTIVE, .scan_s = 5, .scan_every_s = 5, .weakest_dbm = -127, .links = 4, .gone_s = 600,
						  .pairing = BLE_PAIRING_PASSKEY, .pairing_nodes = may });
	place_assert_problem(place_ask(p, HTTP_POST, "ble/nodes/" LAMP "/pair", NULL, NULL), 409, "ble.pairing_nodes");
	assert_int_equal(place_get(p, "ble/nodes/" LAMP, NULL), 200);
	assert_says(p, "\"pairing\":null");
	assert_false(was_audited(p, "pair"));
}

static bool is_not_ready(void *ctx)
{
	return ble_health(side.ble) != BLE_READY;
}

static void without_bluetoothd_it_is_told_so(void **state)
{
	struct place *p = *state;

	fake_bluez_stop(side.f);
	assert_true(until(p->loop, is_not_ready, NULL, PLACE_PATIENCE_MS));
	assert_int_equal(place_get(p, "ble/nodes", NULL), 200);
	place_assert_problem(place_ask(p, HTTP_POST, "ble/nodes/" LAMP "/pair", NULL, NULL), 503, "bluetoothd is not running");
	assert_int_equal(place_get(p, "status", NULL), 200);
	assert_says(p, "\"bluetooth\":\"bluetoothd is not running\"");
	assert_int_equal(place_get(p, "health", NULL), 503);
	assert_says(p, "{\"what\":\"bluetooth\",\"text\":\"bluetoothd is not running\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_it_it_is_told_how_to_have_it, begin, end),
		cmocka_unit_test_setup_teardown(adapters_and_nodes_are_listed, begin, end),
		cmocka_unit_test_setup_teardown(a_node_shows_what_it_offers_once_it_was_connected, begin, end),
		cmocka_unit_test_setup_teardown(what_the_node_wants_typed_is_shown_to_admins, begin, end),
		cmocka_unit_test_setup_teardown(a_passkey_is_for_admins_eyes, begin, end),
		cmocka_unit_test_setup_teardown(what_the_node_shows_is_asked_for, begin, end),
		cmocka_unit_test_setup_teardown(a_wrong_passkey_fails_with_why, begin, end),
		cmocka_unit_test_setup_teardown(what_the_configuration_does_not_list_does_not_pair, begin, end),
		cmocka_unit_test_setup_teardown(without_bluetoothd_it_is_told_so, begin, end),
	};
	return cmocka_run_group_tests_name("admin/api_ble", tests, NULL, NULL);
}
