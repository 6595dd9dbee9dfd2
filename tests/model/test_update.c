#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "model/update.h"

#define VENDOR_A { 0xaa, 1 }
#define VENDOR_B { 0xbb, 2 }
#define CLASS_X { 0xcc, 3 }
#define CLASS_Y { 0xdd, 4 }

static struct update update_new(void)
{
	struct update u = {
		.sequence = 7,
		.n_components = 1,
		.components[0] = { .id = { 0x81, 0x41, 0x00 }, .n_id = 3, .n_vendor_id = 1, .vendor_id = { VENDOR_A },
				   .n_class_id = 1, .class_id = { CLASS_X } },
	};
	memset(u.id, 'a', UPDATE_ID_BYTES - 1);
	return u;
}

static struct device device_new(void)
{
	return (struct device){ .id = "node", .model = { .has_vendor = true, .vendor_id = VENDOR_A, .has_class = true, .class_id = CLASS_X } };
}

static void installed(struct device *d, bool has_sequence, uint64_t sequence)
{
	struct device_component c = { .id = { 0x81, 0x41, 0x00 }, .n_id = 3, .has_sequence = has_sequence, .sequence = sequence };
	assert_int_equal(device_component_put(d, &c), 0);
}

/* SU-12: lower or equal is not newer; SU-15: byte equality against the inventory */
static void sequences_are_compared_with_what_runs(void **state)
{
	static const struct { bool has; uint64_t runs, offered; enum update_fit fit; } rows[] = {
		{ false, 0, 0, UPDATE_FITS }, { false, 99, 7, UPDATE_FITS }, { true, 6, 7, UPDATE_FITS }, { true, 7, 7, UPDATE_NOT_NEWER },
		{ true, 8, 7, UPDATE_NOT_NEWER }, { true, 0, 1, UPDATE_FITS }, { true, 0, 0, UPDATE_NOT_NEWER },
		{ true, UINT64_MAX - 1, UINT64_MAX, UPDATE_FITS }, { true, UINT64_MAX, UINT64_MAX - 1, UPDATE_NOT_NEWER },
		{ true, INT64_MAX, (uint64_t)INT64_MAX + 1, UPDATE_FITS },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct update u = update_new();
		struct device d = device_new();
		u.sequence = rows[i].offered;
		installed(&d, rows[i].has, rows[i].runs);
		assert_int_equal(update_fits(&u, &d), rows[i].fit);
	}
}

static void the_manifest_that_runs_is_the_same_whatever_its_sequence(void **state)
{
	struct update u = update_new();
	struct device d = device_new();
	installed(&d, true, 3);
	d.components[0].has_manifest = true;
	memset(d.components[0].manifest.b, 0xaa, DIGEST_BYTES);
	assert_int_equal(update_fits(&u, &d), UPDATE_SAME);
	d.components[0].manifest.b[31] = 0xab;
	assert_int_equal(update_fits(&u, &d), UPDATE_FITS);
	d.components[0].has_manifest = false;
	d.components[0].manifest.b[31] = 0xaa;
	assert_int_equal(update_fits(&u, &d), UPDATE_FITS);
}

static void only_the_first_component_tells_what_runs(void **state)
{
	struct update u = update_new();
	struct device d = device_new();
	struct device_component other = { .id = { 0x81, 0x41, 0x01 }, .n_id = 3, .has_sequence = true, .sequence = 100 };
	assert_int_equal(device_component_put(&d, &other), 0);
	assert_int_equal(update_fits(&u, &d), UPDATE_FITS);
	assert_int_equal(update_fits(&u, &(struct device){ .model = d.model }), UPDATE_FITS);
}

static void a_nameless_component_tells_what_runs_while_no_other_does(void **state)
{
	struct update u = update_new();
	struct device d = device_new();
	struct device_component whole = { .has_sequence = true, .sequence = u.sequence };
	assert_int_equal(device_component_put(&d, &whole), 0);
	assert_int_equal(update_fits(&u, &d), UPDATE_NOT_NEWER);
	installed(&d, true, u.sequence - 1);
	assert_int_equal(update_fits(&u, &d), UPDATE_FITS);
}

/* SU-14, SU-15: four node profiles and more */
static void vendor_and_class_must_match_where_they_are_given(void **state)
{
	struct update u = update_new();
	struct device d = device_new();
	assert_int_equal(update_fits(&u, &d), UPDATE_FITS);
	d.model = (struct device_model){ .has_vendor = true, .vendor_id = VENDOR_B, .has_class = true, .class_id = CLASS_X };
	assert_int_equal(update_fits(&u, &d), UPDATE_WRONG_VENDOR);
	d.model = (struct device_model){ .has_vendor = true, .vendor_id = VENDOR_A, .has_class = true, .class_id = CLASS_Y };
	assert_int_equal(update_fits(&u, &d), UPDATE_WRONG_CLASS);
	d.model = (struct device_model){ .has_vendor = true, .vendor_id = VENDOR_A };
	assert_int_equal(update_fits(&u, &d), UPDATE_NO_MODEL);
	d.model = (struct device_model){ .has_class = true, .class_id = CLASS_X };
	assert_int_equal(update_fits(&u, &d), UPDATE_NO_MODEL);
	d.model = (struct device_model){ 0 };
	assert_int_equal(update_fits(&u, &d), UPDATE_NO_MODEL);
}

static void a_wrong_model_is_told_before_an_old_sequence(void **state)
{
	struct update u = update_new();
	struct device d = device_new();
	installed(&d, true, 100);
	memset(d.model.class_id, 0, 16);
	assert_int_equal(update_fits(&u, &d), UPDATE_WRONG_CLASS);
}

static void one_of_many_ids_is_enough_in_every_component(void **state)
{
	static const uint8_t class_y[16] = CLASS_Y;
	struct update u = update_new();
	struct device d = device_new();
	u.components[0].n_class_id = 2;
	memcpy(u.components[0].class_id[1], class_y, 16);
	memcpy(d.model.class_id, class_y, 16);
	assert_int_equal(update_fits(&u, &d), UPDATE_FITS);
	u.n_components = 2; /* the second says nothing: only the first restricts */
	assert_int_equal(update_fits(&u, &d), UPDATE_FITS);
	u.components[1].n_class_id = 1; /* all zero: another class */
	assert_int_equal(update_fits(&u, &d), UPDATE_WRONG_CLASS);
	u.components[1].n_class_id = 0;
	u.components[1].n_vendor_id = 1;
	assert_int_equal(update_fits(&u, &d), UPDATE_WRONG_VENDOR);
}

static void an_update_that_does_not_say_for_whom_fits_nobody(void **state)
{
	struct update u = update_new();
	struct device d = device_new();
	u.components[0].n_class_id = 0;
	assert_int_equal(update_fits(&u, &d), UPDATE_NO_MODEL);
	u = update_new();
	u.components[0].n_vendor_id = 0;
	assert_int_equal(update_fits(&u, &d), UPDATE_NO_MODEL);
	u = update_new();
	u.n_components = 0;
	assert_int_equal(update_fits(&u, &d), UPDATE_NO_MODEL);
}

static void every_answer_has_its_own_text(void **state)
{
	for (int a = UPDATE_FITS; a <= UPDATE_SAME; a++)
		for (int b = UPDATE_FITS; b < a; b++)
			assert_string_not_equal(update_fit_text((enum update_fit)a), update_fit_text((enum update_fit)b));
}

static void a_recall_is_for_ever_and_everything_can_be_recalled(void **state)
{
	for (unsigned s = 0; s < UPDATE_STATE_COUNT; s++) {
		assert_true(update_state_may((enum update_state)s, (enum update_state)s));
		assert_true(update_state_may((enum update_state)s, UPDATE_RECALLED));
		if (s != UPDATE_RECALLED)
			assert_false(update_state_may(UPDATE_RECALLED, (enum update_state)s));
	}
}

static void what_was_refused_or_has_expired_needs_a_new_verdict_before_it_is_available(void **state)
{
	assert_false(update_state_may(UPDATE_REJECTED, UPDATE_AVAILABLE));
	assert_true(update_state_may(UPDATE_REJECTED, UPDATE_VERIFIED));
	assert_false(update_state_may(UPDATE_EXPIRED, UPDATE_AVAILABLE));
	assert_false(update_state_may(UPDATE_EXPIRED, UPDATE_VERIFIED));
	assert_true(update_state_may(UPDATE_EXPIRED, UPDATE_HELD));
	assert_false(update_state_may(UPDATE_AVAILABLE, UPDATE_REJECTED)); /* that is a recall */
	assert_true(update_state_may(UPDATE_VERIFIED, UPDATE_AVAILABLE));
	assert_true(update_state_may(UPDATE_SUPERSEDED, UPDATE_AVAILABLE)); /* the newer one was recalled */
	assert_false(update_state_may(UPDATE_STATE_COUNT, UPDATE_HELD));
	assert_false(update_state_may(UPDATE_HELD, UPDATE_STATE_COUNT));
}

static void names_of_states_read_back(void **state)
{
	for (unsigned s = 0; s < UPDATE_STATE_COUNT; s++) {
		enum update_state back;
		assert_int_equal(update_state_parse(span_str(update_state_name((enum update_state)s)), &back), 0);
		assert_int_equal(back, s);
	}
	enum update_state back;
	assert_true(update_state_parse(SPAN_LIT("gone"), &back) < 0);
	assert_string_equal(update_state_name(UPDATE_STATE_COUNT), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sequences_are_compared_with_what_runs),
		cmocka_unit_test(the_manifest_that_runs_is_the_same_whatever_its_sequence),
		cmocka_unit_test(only_the_first_component_tells_what_runs),
		cmocka_unit_test(a_nameless_component_tells_what_runs_while_no_other_does),
		cmocka_unit_test(vendor_and_class_must_match_where_they_are_given),
		cmocka_unit_test(a_wrong_model_is_told_before_an_old_sequence),
		cmocka_unit_test(one_of_many_ids_is_enough_in_every_component),
		cmocka_unit_test(an_update_that_does_not_say_for_whom_fits_nobody),
		cmocka_unit_test(every_answer_has_its_own_text),
		cmocka_unit_test(a_recall_is_for_ever_and_everything_can_be_recalled),
		cmocka_unit_test(what_was_refused_or_has_expired_needs_a_new_verdict_before_it_is_available),
		cmocka_unit_test(names_of_states_read_back),
	};
	return cmocka_run_group_tests_name("model/update", tests, NULL, NULL);
}
