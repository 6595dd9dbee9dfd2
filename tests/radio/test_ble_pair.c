#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ble_place.h"

/* BLZ-11 */

static char *const may_pair[] = { (char *)LAMP, NULL };

struct deed {
	size_t n_done;
	int error;
	char why[BLE_REASON_BYTES];
};

static void on_done(void *ctx, int error, const char *why)
{
	struct deed *d = ctx;

	d->n_done++;
	d->error = error;
	(void)snprintf(d->why, sizeof(d->why), "%s", why);
}

static bool is_done(void *ctx)
{
	return ((struct deed *)ctx)->n_done > 0;
}

static bool has_lamp(void *ctx)
{
	return ble_node_get(((struct place *)ctx)->ble, LAMP_ID) != NULL;
}

static bool has_agent(void *ctx)
{
	return fake_has_agent(((struct place *)ctx)->fake);
}

static bool has_no_agent(void *ctx)
{
	return !has_agent(ctx);
}

static bool has_passkey(void *ctx)
{
	return ((struct place *)ctx)->n_passkey > 0;
}

static bool is_bonded(void *ctx)
{
	const struct ble_node *n = ble_node_get(((struct place *)ctx)->ble, LAMP_ID);

	return n && n->is_bonded;
}

static bool is_not_bonded(void *ctx)
{
	return !is_bonded(ctx);
}

static bool has_an_agent_that_just_works(void *ctx)
{
	char *log = fake_call_log(((struct place *)ctx)->fake);
	bool has = strstr(log, "agent NoInputNoOutput");

	free(log);
	return has;
}

static void with_lamp(struct place *p, enum ble_pairing policy, enum fake_pairing node)
{
	p->settings.pairing = policy;
	p->settings.pairing_nodes = may_pair;
	place_ready(p);
	fake_node_add(p->fake, &(struct fake_node){ .address = LAMP, .is_random = true, .pairing = node, .passkey = 123456 });
	(void)fake_characteristic_add(p->fake, LAMP, SMP_UUID, SMP_CHR_UUID, FAKE_READ);
	UNTIL(p, has_lamp, p);
	if (policy != BLE_PAIRING_OFF)
		UNTIL(p, has_agent, p);
}

static void nobody_pairs_when_it_is_off(void **state)
{
	struct place *p = *state;

	with_lamp(p, BLE_PAIRING_OFF, FAKE_PAIR_JUST_WORKS);
	assert_int_equal(ble_pair(p->ble, LAMP_ID, NULL, NULL), -EACCES);
	fake_node_asks_pairing(p->fake, LAMP);
	place_run(p, 100);
	assert_false(fake_node_is_paired(p->fake, LAMP));
	assert_false(fake_has_agent(p->fake));
}

static void only_listed_nodes_pair(void **state)
{
	struct place *p = *state;

	with_lamp(p, BLE_PAIRING_JUST_WORKS, FAKE_PAIR_JUST_WORKS);
	p->settings.pairing_nodes = NULL;
	ble_set(p->ble, &p->settings);
	assert_int_equal(ble_pair(p->ble, LAMP_ID, NULL, NULL), -EACCES);
	assert_int_equal(ble_pair(p->ble, "ble-c00000000009", NULL, NULL), -ENOENT);
	fake_node_asks_pairing(p->fake, LAMP);
	place_run(p, 100);
	assert_false(fake_node_is_paired(p->fake, LAMP)); /* the agent speaks for what we began */
}

static void a_listed_node_pairs_and_is_forgotten_again(void **state)
{
	struct place *p = *state;
	struct deed d = { 0 }, away = { 0 };

	with_lamp(p, BLE_PAIRING_JUST_WORKS, FAKE_PAIR_JUST_WORKS);
	assert_int_equal(ble_pair(p->ble, LAMP_ID, on_done, &d), 0);
	assert_int_equal(ble_pair(p->ble, LAMP_ID, on_done, &d), -EBUSY);
	UNTIL(p, is_done, &d);
	assert_int_equal(d.error, 0);
	UNTIL(p, is_bonded, p);
	assert_int_equal(ble_unpair(p->ble, LAMP_ID, on_done, &away), 0);
	UNTIL(p, is_done, &away);
	assert_int_equal(away.error, 0);
	assert_false(fake_node_is_paired(p->fake, LAMP));
	UNTIL(p, is_not_bonded, p);
	assert_int_equal(d.n_done, 1);
}

/* A link of a listed node pairs of itself, before its services are read. */
static void a_link_of_a_node_that_just_works_pairs(void **state)
{
	struct place *p = *state;
	struct holder h;

	with_lamp(p, BLE_PAIRING_JUST_WORKS, FAKE_PAIR_JUST_WORKS);
	assert_int_equal(holder_open(&h, p, LAMP_ID, true), 0);
	UNTIL(p, holder_is_ready, &h);
	assert_true(fake_node_is_paired(p->fake, LAMP));
	holder_close(&h);
}

static void a_link_of_a_node_that_does_not_pair_goes_on_without(void **state)
{
	struct place *p = *state;
	struct holder h;

	with_lamp(p, BLE_PAIRING_JUST_WORKS, FAKE_PAIR_NEVER);
	assert_int_equal(holder_open(&h, p, LAMP_ID, true), 0);
	UNTIL(p, holder_is_ready, &h);
	assert_int_equal(fake_calls(p->fake, NULL, "Pair"), 1);
	holder_close(&h);
}

/* bluetoothd asks no agent when "just works" is enough to read a value. */
static void a_bond_that_nobody_asked_for_goes_again(void **state)
{
	struct place *p = *state;
	struct holder h;

	with_lamp(p, BLE_PAIRING_OFF, FAKE_PAIR_JUST_WORKS);
	assert_int_equal(holder_open(&h, p, LAMP_ID, false), 0);
	UNTIL(p, holder_is_ready, &h);
	fake_node_bonds(p->fake, LAMP);
	UNTIL(p, holder_has_ended, &h);
	assert_int_equal(h.error, -EACCES);
	assert_non_null(strstr(h.why, "ble.pairing"));
	UNTIL(p, is_not_bonded, p);
	assert_int_equal(fake_calls(p->fake, NULL, "RemoveDevice"), 1);
	holder_close(&h);
}

static void a_passkey_is_shown_to_the_operator(void **state)
{
	struct place *p = *state;
	struct deed d = { 0 };

	with_lamp(p, BLE_PAIRING_PASSKEY, FAKE_PAIR_SHOWN);
	assert_int_equal(ble_pair(p->ble, LAMP_ID, on_done, &d), 0);
	UNTIL(p, is_done, &d);
	assert_int_equal(d.error, 0);
	assert_int_equal(p->n_passkey, 1);
	assert_int_equal(p->passkey, 123456);
	assert_false(p->is_wanted);
}

static void a_passkey_is_asked_of_the_operator(void **state)
{
	static const enum fake_pairing ways[] = { FAKE_PAIR_ASKED, FAKE_PAIR_CONFIRM };
	struct place *p = *state;

	for (int i = 0; i < 4; i++) {
		struct deed d = { 0 };
		if (i == 0)
			with_lamp(p, BLE_PAIRING_PASSKEY, ways[0]);
		if (i == 2) {
			place_teardown(state);
			place_setup(state);
			p = *state;
			with_lamp(p, BLE_PAIRING_PASSKEY, ways[1]);
		}
		p->n_passkey = 0;
		assert_int_equal(ble_passkey_answer(p->ble, LAMP_ID, 1), -ENOENT);
		assert_int_equal(ble_pair(p->ble, LAMP_ID, on_done, &d), 0);
		UNTIL(p, has_passkey, p);
		assert_true(p->is_wanted);
		assert_int_equal(ble_passkey_answer(p->ble, LAMP_ID, i % 2 ? 123456 : 654321), 0);
		assert_int_equal(ble_passkey_answer(p->ble, LAMP_ID, 123456), -ENOENT);
		UNTIL(p, is_done, &d);
		assert_int_equal(d.error, i % 2 ? 0 : -EACCES);
		assert_int_equal(fake_node_is_paired(p->fake, LAMP), i % 2);
		place_run(p, 100);
	}
}

static void just_works_is_not_enough_where_a_passkey_is_wanted(void **state)
{
	struct place *p = *state;

	with_lamp(p, BLE_PAIRING_PASSKEY, FAKE_PAIR_JUST_WORKS);
	fake_node_asks_pairing(p->fake, LAMP);
	place_run(p, 100);
	assert_false(fake_node_is_paired(p->fake, LAMP));
	/* Asked by us, the real one pairs without a question: the bond goes again. */
	struct deed d = { 0 };
	assert_int_equal(ble_pair(p->ble, LAMP_ID, on_done, &d), 0);
	UNTIL(p, is_done, &d);
	assert_int_equal(d.error, -EACCES);
	assert_non_null(strstr(d.why, "passkey"));
	UNTIL(p, is_not_bonded, p);
}

static void a_pairing_ends_with_bluetoothd(void **state)
{
	struct place *p = *state;
	struct deed d = { 0 };

	with_lamp(p, BLE_PAIRING_PASSKEY, FAKE_PAIR_ASKED);
	assert_int_equal(ble_pair(p->ble, LAMP_ID, on_done, &d), 0);
	UNTIL(p, has_passkey, p);
	fake_bluez_stop(p->fake);
	UNTIL(p, is_done, &d);
	assert_int_not_equal(d.error, 0);
	assert_int_equal(ble_passkey_answer(p->ble, LAMP_ID, 123456), -ENOENT);
	fake_bluez_start(p->fake);
	UNTIL(p, has_agent, p);
	assert_int_equal(d.n_done, 1);
}

#define HIDDEN "41:00:00:00:00:09"

static bool has_one_node(void *ctx)
{
	return ble_node_count(((struct place *)ctx)->ble) == 1;
}

static bool is_asked_to_pair(void *ctx)
{
	return fake_calls(((struct place *)ctx)->fake, NULL, "Pair") > 0;
}

/* BLZ-8: who is behind a private address is known once it is bonded, and then decides. */
static void a_private_address_pairs_for_who_is_behind_it(void **state)
{
	struct place *p = *state;
	struct deed d = { 0 };

	for (int i = 0; i < 2; i++) {
		p->settings.pairing = BLE_PAIRING_JUST_WORKS;
		p->settings.pairing_nodes = may_pair;
		place_ready(p);
		fake_node_add(p->fake, &(struct fake_node){ .address = HIDDEN, .is_random = true, .pairing = FAKE_PAIR_JUST_WORKS });
		UNTIL(p, has_agent, p);
		UNTIL(p, has_one_node, p);
		fake_delay(p->fake, NULL, "Pair", 200);
		d = (struct deed){ 0 };
		assert_int_equal(ble_pair(p->ble, HIDDEN, on_done, &d), 0);
		UNTIL(p, is_asked_to_pair, p);
		fake_node_resolve(p->fake, HIDDEN, i ? "C0:00:00:00:00:07" : LAMP);
		UNTIL(p, is_done, &d);
		assert_int_equal(d.error, i ? -EACCES : 0);
		place_run(p, 100);
		assert_int_equal(ble_node_count(p->ble), 1); /* the private address is nobody any more */
		assert_int_equal(fake_node_is_paired(p->fake, i ? "C0:00:00:00:00:07" : LAMP), !i);
		if (i == 0) {
			assert_true(is_bonded(p));
			assert_int_equal(place_teardown(state), 0);
			assert_int_equal(place_setup(state), 0);
			p = *state;
		}
	}
}

static void the_agent_follows_the_settings(void **state)
{
	struct place *p = *state;

	with_lamp(p, BLE_PAIRING_PASSKEY, FAKE_PAIR_ASKED);
	char *log = fake_call_log(p->fake);
	assert_non_null(strstr(log, "agent KeyboardDisplay"));
	free(log);
	p->settings.pairing = BLE_PAIRING_JUST_WORKS;
	ble_set(p->ble, &p->settings);
	UNTIL(p, has_an_agent_that_just_works, p);
	p->settings.pairing = BLE_PAIRING_OFF;
	ble_set(p->ble, &p->settings);
	UNTIL(p, has_no_agent, p);
}

#define TEST(fn_) cmocka_unit_test_setup_teardown(fn_, place_setup, place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nobody_pairs_when_it_is_off),
		TEST(only_listed_nodes_pair),
		TEST(a_listed_node_pairs_and_is_forgotten_again),
		TEST(a_link_of_a_node_that_just_works_pairs),
		TEST(a_bond_that_nobody_asked_for_goes_again),
		TEST(a_link_of_a_node_that_does_not_pair_goes_on_without),
		TEST(a_passkey_is_shown_to_the_operator),
		TEST(a_passkey_is_asked_of_the_operator),
		TEST(just_works_is_not_enough_where_a_passkey_is_wanted),
		TEST(a_pairing_ends_with_bluetoothd),
		TEST(a_private_address_pairs_for_who_is_behind_it),
		TEST(the_agent_follows_the_settings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
