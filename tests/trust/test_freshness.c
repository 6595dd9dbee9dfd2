/* SU-12: lower is a rollback, equal is the same or an equivocation; per vendor, class and root component. */
#include "help.h"

#include <errno.h>
#include <stdlib.h>

#include "trust/freshness.h"

static void numbers_are_compared_within_one_key(void **state)
{
	const struct freshness_entry seen[] = { { .vendor_id = { 1 }, .class_id = { 1 }, .component = { 5 }, .n_component = 1, .sequence = 5, .manifest = { { 5 } } },
						{ .vendor_id = { 1 }, .class_id = { 2 }, .component = { 5 }, .n_component = 1, .sequence = 9, .manifest = { { 9 } } } };
	static const struct { uint8_t vendor, class_id, component, manifest; uint64_t sequence; enum freshness expect; } rows[] = {
		{ 1, 1, 5, 7, 6, FRESHNESS_NEWER },	{ 1, 1, 5, 5, 5, FRESHNESS_SAME },  { 1, 1, 5, 6, 5, FRESHNESS_EQUIVOCATION },
		{ 1, 1, 5, 5, 4, FRESHNESS_ROLLBACK },	{ 1, 2, 5, 5, 8, FRESHNESS_ROLLBACK }, { 2, 1, 5, 5, 1, FRESHNESS_FIRST },
		{ 1, 1, 6, 5, 1, FRESHNESS_FIRST },	{ 1, 1, 5, 1, UINT64_MAX, FRESHNESS_NEWER }, { 1, 1, 5, 1, 0, FRESHNESS_ROLLBACK },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct freshness_entry e = { .vendor_id = { rows[i].vendor }, .class_id = { rows[i].class_id }, .component = { rows[i].component },
						   .n_component = 1, .sequence = rows[i].sequence, .manifest = { { rows[i].manifest } } };
		assert_int_equal(freshness_compare(seen, 2, &e), rows[i].expect);
		assert_true(freshness_name(rows[i].expect)[0]);
	}
}

static void a_manifest_stands_for_every_vendor_and_class_it_names(void **state)
{
	static const uint8_t ids[4][16] = { { 1 }, { 2 }, { 3 }, { 4 } }, id_bytes[] = { 0x81, 0x41, 0 };
	struct suit_manifest *m = calloc(1, sizeof(*m));
	struct freshness_entry e[FRESHNESS_ENTRIES_MAX];
	const struct digest d = { { 9 } };

	(void)state;
	m->sequence = 4;
	m->root_component = SPAN_OF(id_bytes);
	assert_int_equal(freshness_entries(m, &d, e), 1);
	m->n_components = 2;
	for (size_t c = 0; c < 2; c++) {
		m->components[c].vendor_id[0] = SPAN_OF(ids[0]);
		m->components[c].n_vendor_id = 1;
		m->components[c].class_id[0] = SPAN_OF(ids[1]);
		m->components[c].class_id[1] = SPAN_OF(ids[2 + c]);
		m->components[c].n_class_id = 2;
	}
	assert_int_equal(freshness_entries(m, &d, e), 3); /* (1,2) (1,3) and (1,4) */
	assert_int_equal(e[2].class_id[0], 4);
	assert_int_equal(e[2].sequence, 4);
	assert_int_equal(e[2].n_component, 3);
	free(m);
}

static void long_and_odd_ids_keep_their_difference(void **state)
{
	struct suit_manifest *m = calloc(1, sizeof(*m));
	struct freshness_entry a[FRESHNESS_ENTRIES_MAX], b[FRESHNESS_ENTRIES_MAX];
	uint8_t id[65] = { 0 };
	const struct digest d = { { 9 } };

	(void)state;
	m->root_component = SPAN_OF(id);
	m->n_components = 1;
	m->components[0].vendor_id[0] = SPAN(id, 3);
	m->components[0].n_vendor_id = 1;
	assert_int_equal(freshness_entries(m, &d, a), 1);
	assert_int_equal(a[0].n_component, 32);
	id[64] = 1;
	assert_int_equal(freshness_entries(m, &d, b), 1);
	assert_false(freshness_same_key(a, b));
	id[64] = 0;
	id[0] = 1; /* the vendor's PEN too */
	assert_int_equal(freshness_entries(m, &d, b), 1);
	assert_memory_not_equal(a[0].vendor_id, b[0].vendor_id, 16);
	free(m);
}

static void too_many_keys_are_refused(void **state)
{
	struct suit_manifest *m = calloc(1, sizeof(*m));
	struct freshness_entry e[FRESHNESS_ENTRIES_MAX];
	uint8_t ids[2][SUIT_COMPONENTS_MAX][SUIT_IDS_MAX][16] = { 0 };
	const struct digest d = { { 9 } };

	(void)state;
	m->n_components = 2;
	for (size_t c = 0; c < 2; c++) {
		m->components[c].n_vendor_id = m->components[c].n_class_id = SUIT_IDS_MAX;
		for (size_t i = 0; i < SUIT_IDS_MAX; i++) {
			ids[0][c][i][0] = (uint8_t)(c * 16 + i);
			m->components[c].vendor_id[i] = SPAN(ids[0][c][i], 16);
			m->components[c].class_id[i] = SPAN(ids[0][c][i], 16);
		}
	}
	assert_int_equal(freshness_entries(m, &d, e), -E2BIG);
	m->n_components = 1;
	assert_int_equal(freshness_entries(m, &d, e), FRESHNESS_ENTRIES_MAX);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_compared_within_one_key),
		cmocka_unit_test(a_manifest_stands_for_every_vendor_and_class_it_names),
		cmocka_unit_test(long_and_odd_ids_keep_their_difference),
		cmocka_unit_test(too_many_keys_are_refused),
	};
	return cmocka_run_group_tests_name("trust/freshness", tests, NULL, NULL);
}
