/* Who belongs to which multicast group; and that a question costs the same among two thousand devices as among two hundred. */
#include "app/multicast_members.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

static const struct wall now = { 1700000000000 };

struct world {
	struct registry_time now;
	struct registry *registry;
	struct devices *devices;
	struct multicast_members *members;
	struct config_multicast_group groups[3];
};

static char *none[] = { NULL };

/* ---- every look at a device or at a list of the directory, counted (the linker's --wrap) ---- */

static size_t looks;

const struct device *__real_devices_get(const struct devices *ds, const char *id);
const struct device *__wrap_devices_get(const struct devices *ds, const char *id);
const struct device *__wrap_devices_next(const struct devices *ds, const char *after);
const struct registration *__wrap_registry_next(const struct registry *r, uint64_t after);
const char *__real_registration_device(const struct registration *reg);
const char *__wrap_registration_device(const struct registration *reg);

const struct device *__wrap_devices_get(const struct devices *ds, const char *id)
{
	looks++;
	return __real_devices_get(ds, id);
}

const char *__wrap_registration_device(const struct registration *reg)
{
	looks++;
	return __real_registration_device(reg);
}

const struct device *__wrap_devices_next(const struct devices *ds, const char *after)
{
	fail_msg("a walk over the devices");
	return NULL;
}

const struct registration *__wrap_registry_next(const struct registry *r, uint64_t after)
{
	fail_msg("a walk over the registrations");
	return NULL;
}

/* ---- set-up ---- */

static void on_change(void *ctx, const struct registration *reg, enum registry_change what)
{
	multicast_members_registration(((struct world *)ctx)->members, reg);
}

static void on_device(void *ctx, const struct device *d)
{
	struct world *w = ctx;

	if (w->members)
		multicast_members_device(w->members, d->id);
}

static void on_removed(void *ctx, const char *id)
{
	multicast_members_device(((struct world *)ctx)->members, id);
}

static int setup(void **state)
{
	struct world *w = NEW(struct world);

	log_set_max_priority(LOG_ALERT - 1);
	w->now = (struct registry_time){ { 1000000 }, now };
	w->registry = registry_new(&(struct registry_limits){ .grace_s = 60 }, NULL);
	assert_int_equal(devices_open(&(struct devices_config){ .changed = on_device, .removed = on_removed, .ctx = w }, &w->devices), 0);
	for (size_t i = 0; i < 3; i++)
		w->groups[i] = (struct config_multicast_group){ .devices = none, .vendor_ids = none, .class_ids = none, .sectors = none };
	w->members = multicast_members_new(w->registry, w->devices);
	multicast_members_set_groups(w->members, w->groups, 1);
	registry_set_changed(w->registry, on_change, w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	multicast_members_free(w->members);
	devices_close(w->devices);
	registry_free(w->registry);
	free(w);
	return 0;
}

static void put_device(struct world *w, const char *id, enum device_state s)
{
	struct device d = { .state = s };

	(void)snprintf(d.id, sizeof(d.id), "%s", id);
	assert_int_equal(devices_put(w->devices, &d, now, NULL, NULL), 0);
}

#define CAPABLE "</mc>;rt=\"mcd.n\""

static const struct registration *put(struct world *w, const char *ep, const char *sector, const char *device, const char *links)
{
	const struct registry_request req = { .endpoint = span_str(ep), .sector = span_str(sector), .links = span_str(links), .owner = "",
					      .implied_base = SPAN_LIT("coap://[2001:db8::1]"), .device = device };
	struct registry_result res;

	assert_true(registry_register(w->registry, &req, w->now, NULL, NULL, &res) >= 0);
	return res.registration;
}

static int group_of(struct world *w, const char *device)
{
	return multicast_members_group_of(w->members, device);
}

#define assert_counts(w, a, b) \
	do { \
		assert_int_equal(multicast_members_count((w)->members, 0), a); \
		assert_int_equal(multicast_members_count((w)->members, 1), b); \
	} while (0)

/* ---- membership ---- */

static void an_enrolled_device_with_an_rt_mcd_n_is_a_member_while_both_hold(void **state)
{
	struct world *w = *state;
	struct registry_time later = w->now;

	assert_int_equal(group_of(w, "dev"), -ENOENT);
	put(w, "dev", "", "dev", CAPABLE);
	assert_int_equal(group_of(w, "dev"), -ENOENT); /* not known */
	put_device(w, "dev", DEVICE_SEEN);
	assert_int_equal(group_of(w, "dev"), -ENOENT);
	assert_counts(w, 0, 0);
	put_device(w, "dev", DEVICE_ENROLLED);
	assert_counts(w, 1, 0); /* without being asked */
	assert_int_equal(group_of(w, "dev"), 0);
	put(w, "dev", "", "dev", "</mc>;rt=\"other\"");
	assert_counts(w, 0, 0);
	put(w, "dev", "", "dev", "</x>," CAPABLE);
	assert_counts(w, 1, 0);
	assert_int_equal(devices_set_state(w->devices, "dev", DEVICE_QUARANTINED, now, NULL, NULL), 0);
	assert_counts(w, 0, 0);
	assert_int_equal(group_of(w, "dev"), -ENOENT);
	assert_int_equal(devices_set_state(w->devices, "dev", DEVICE_ENROLLED, now, NULL, NULL), 0);
	assert_counts(w, 1, 0);
	later.mono = mono_add_ms(later.mono, (int64_t)REGISTRY_LIFETIME_DEFAULT_S * 1000);
	(void)registry_expire(w->registry, later);
	assert_counts(w, 0, 0);
	w->now = later;
	put(w, "dev", "", "dev", "</x>," CAPABLE); /* back from hidden */
	assert_counts(w, 1, 0);
	assert_int_equal(devices_remove(w->devices, "dev", NULL, NULL), 0);
	assert_counts(w, 0, 0);
	assert_int_equal(group_of(w, "dev"), -ENOENT);
}

static void a_registration_may_move_to_another_device_and_a_device_have_several(void **state)
{
	struct world *w = *state;
	char first[REGISTRY_LOCATION_BYTES], second[REGISTRY_LOCATION_BYTES];
	char name[] = "north", *north[] = { name, NULL };

	w->groups[0].sectors = north;
	multicast_members_set_groups(w->members, w->groups, 2);
	put_device(w, "a", DEVICE_ENROLLED);
	put_device(w, "b", DEVICE_ENROLLED);
	(void)snprintf(first, sizeof(first), "%s", registration_location(put(w, "one", "north", "a", CAPABLE)));
	assert_counts(w, 1, 0);
	(void)snprintf(second, sizeof(second), "%s", registration_location(put(w, "two", "south", "a", CAPABLE)));
	assert_counts(w, 0, 1); /* what it said last */
	assert_int_equal(registry_remove(w->registry, span_str(second), "", NULL, NULL), 0);
	assert_counts(w, 1, 0);
	put(w, "one", "north", "b", CAPABLE);
	assert_int_equal(group_of(w, "a"), -ENOENT);
	assert_int_equal(group_of(w, "b"), 0);
	assert_counts(w, 1, 0);
	put(w, "one", "north", "", CAPABLE); /* nobody's */
	assert_counts(w, 0, 0);
	assert_int_equal(registry_remove(w->registry, span_str(first), "", NULL, NULL), 0);
	assert_counts(w, 0, 0);
}

static void a_reload_places_everybody_anew(void **state)
{
	struct world *w = *state;
	char b[] = "b", *only_b[] = { b, NULL };

	put_device(w, "a", DEVICE_ENROLLED);
	put_device(w, "b", DEVICE_ENROLLED);
	put(w, "a", "", "a", CAPABLE);
	put(w, "b", "", "b", CAPABLE);
	assert_counts(w, 2, 0);
	w->groups[0].devices = only_b;
	multicast_members_set_groups(w->members, w->groups, 2);
	assert_counts(w, 1, 1);
	assert_int_equal(group_of(w, "a"), 1);
	assert_int_equal(group_of(w, "b"), 0);
	multicast_members_set_groups(w->members, NULL, 0);
	assert_counts(w, 0, 0);
	assert_int_equal(group_of(w, "a"), -ENOENT);
}

/* ---- what it costs ---- */

/* A mass registration, an offer to each, and who is expected after each. */
static size_t looks_of(struct world *w, size_t from, size_t to)
{
	char id[16];

	looks = 0;
	for (size_t i = from; i < to; i++) {
		(void)snprintf(id, sizeof(id), "n%u", (unsigned)i % 100000);
		put_device(w, id, DEVICE_ENROLLED);
		put(w, id, "", id, CAPABLE);
		assert_int_equal(group_of(w, id), 0);
		assert_int_equal(multicast_members_count(w->members, 0), i + 1);
	}
	return looks;
}

static void a_registration_and_an_offer_cost_the_same_among_few_and_among_many(void **state)
{
	struct world *w = *state;
	size_t few = looks_of(w, 0, 100), many;

	looks_of(w, 100, 1900);
	many = looks_of(w, 1900, 2000);
	assert_int_equal(few, many);
	assert_in_range(many, 100, 100 * 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_enrolled_device_with_an_rt_mcd_n_is_a_member_while_both_hold, setup, teardown),
		cmocka_unit_test_setup_teardown(a_registration_may_move_to_another_device_and_a_device_have_several, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reload_places_everybody_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(a_registration_and_an_offer_cost_the_same_among_few_and_among_many, setup, teardown),
	};
	return cmocka_run_group_tests_name("app/multicast_members", tests, NULL, NULL);
}
