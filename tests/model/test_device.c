#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "model/device.h"
#include "model/rollout.h"

static void ids_are_short_words_that_do_not_look_like_paths_or_options(void **state)
{
	char longest[DEVICE_ID_BYTES + 1];
	static const struct { const char *id; bool ok; } rows[] = {
		{ "a", true }, { "node-1", true }, { "Node_1.b", true }, { "_x", true }, { "0", true }, { "", false }, { ".", false },
		{ "..", false }, { ".hidden", false }, { "-v", false }, { "a/b", false }, { "a b", false }, { "a\n", false },
		{ "n\xc3\xb6", false }, { "a:b", false }, { "a%", false },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_int_equal(device_id_is_valid(span_str(rows[i].id)), rows[i].ok);
	memset(longest, 'n', sizeof(longest));
	assert_true(device_id_is_valid(SPAN(longest, DEVICE_ID_BYTES - 1)));
	assert_false(device_id_is_valid(SPAN(longest, DEVICE_ID_BYTES)));
	assert_false(device_id_is_valid(SPAN("a\0b", 3)));
}

static void components_are_found_added_and_overwritten_up_to_the_limit(void **state)
{
	struct device d = { 0 };
	for (uint8_t i = 0; i < DEVICE_COMPONENTS_MAX; i++) {
		struct device_component c = { .id = { i }, .n_id = 1, .sequence = i };
		assert_int_equal(device_component_put(&d, &c), 0);
	}
	struct device_component more = { .id = { 99 }, .n_id = 1 };
	assert_int_equal(device_component_put(&d, &more), -ENOSPC);
	struct device_component again = { .id = { 3 }, .n_id = 1, .sequence = 33 };
	assert_int_equal(device_component_put(&d, &again), 0);
	assert_int_equal(d.n_components, DEVICE_COMPONENTS_MAX);
	assert_int_equal(device_component_find(&d, SPAN("\x03", 1))->sequence, 33);
	assert_null(device_component_look(&d, SPAN("\x03\x00", 2)));
	assert_null(device_component_look(&d, SPAN_NONE));
}

static void names_read_back(void **state)
{
	enum device_state s;
	enum wake_kind w;
	enum device_proof p;
	enum rollout_state r;
	for (unsigned i = 0; i < DEVICE_STATE_COUNT; i++)
		assert_true(device_state_parse(span_str(device_state_name((enum device_state)i)), &s) == 0 && s == i);
	for (unsigned i = 0; i < WAKE_KIND_COUNT; i++)
		assert_true(wake_kind_parse(span_str(wake_kind_name((enum wake_kind)i)), &w) == 0 && w == i);
	for (unsigned i = 0; i < PROOF_COUNT; i++)
		assert_true(device_proof_parse(span_str(device_proof_name((enum device_proof)i)), &p) == 0 && p == i);
	for (unsigned i = 0; i < ROLLOUT_STATE_COUNT; i++)
		assert_true(rollout_state_parse(span_str(rollout_state_name((enum rollout_state)i)), &r) == 0 && r == i);
	assert_true(device_state_parse(SPAN_LIT("?"), &s) < 0);
	assert_true(wake_kind_parse(SPAN_LIT(""), &w) < 0);
	assert_true(device_proof_parse(SPAN_LIT("MAC"), &p) < 0);
	assert_true(rollout_state_parse(SPAN_LIT("running "), &r) < 0);
	assert_string_equal(device_state_name(DEVICE_STATE_COUNT), "?");
	assert_string_equal(wake_kind_name(WAKE_KIND_COUNT), "?");
	assert_string_equal(device_proof_name(PROOF_COUNT), "?");
	assert_string_equal(rollout_state_name(ROLLOUT_STATE_COUNT), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_are_short_words_that_do_not_look_like_paths_or_options),
		cmocka_unit_test(components_are_found_added_and_overwritten_up_to_the_limit),
		cmocka_unit_test(names_read_back),
	};
	return cmocka_run_group_tests_name("model/device", tests, NULL, NULL);
}
