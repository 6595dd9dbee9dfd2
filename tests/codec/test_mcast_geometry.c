/* MCD-3: the cut is the same everywhere, covers the object exactly and is even. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "codec/mcast_geometry.h"

static void properties_hold(uint32_t size, unsigned z, unsigned k, unsigned log2_e)
{
	struct mcast_geometry geo;
	uint32_t at = 0, n_fragments = 0, granule = 1u << log2_e, per = k * z / granule;
	uint32_t granules = (uint32_t)(((uint64_t)size + granule - 1) / granule);

	assert_int_equal(mcast_geometry_of(size, z, k, log2_e, &geo), 0);
	assert_int_equal(geo.n_generations, (granules + per - 1) / per);
	assert_in_range(geo.n_generations, 1, MCAST_GENERATIONS_MAX);
	for (unsigned g = 0; g < geo.n_generations; g++) {
		struct mcast_generation gen = mcast_geometry_generation(&geo, g);
		bool is_last = g + 1u == geo.n_generations;
		uint32_t n = (gen.length + granule - 1) / granule, expected = geo.q + (g < geo.rem), where;
		assert_int_equal(gen.offset, at);
		assert_int_equal(gen.offset % granule, 0);
		assert_int_equal(n, expected);                 /* even: one granule more or not */
		assert_true(n <= per && 2 * (n + is_last) >= (geo.n_generations > 1 ? per : 1));
		assert_in_range(gen.m, MCAST_M_MIN, k);
		assert_true(gen.m * z >= gen.length && (gen.m == MCAST_M_MIN || (gen.m - 1) * z < gen.length));
		if (!is_last)
			assert_int_equal(gen.length % granule, 0);
		assert_int_equal(mcast_geometry_at(&geo, gen.offset), g);
		assert_int_equal(mcast_geometry_at(&geo, gen.offset + gen.length - 1), g);
		/* the fragments cover the generation */
		uint32_t sum = 0;
		for (unsigned i = 1; i <= gen.m; i++) {
			unsigned bytes = mcast_geometry_fragment(&geo, g, i, &where);
			assert_int_equal(where, gen.offset + sum);
			assert_true(bytes == z || i + 1u >= gen.m);
			sum += bytes;
		}
		assert_int_equal(sum, gen.length);
		at += gen.length;
		n_fragments += gen.m;
	}
	assert_int_equal(at, size);
	assert_int_equal(n_fragments, geo.n_fragments);
}

static void objects_are_covered_exactly_at_every_edge(void **state)
{
	static const struct { unsigned z, k, log2_e; } rows[] = {
		{ 64, 512, 12 }, { 64, 256, 12 }, { 64, 128, 12 }, { 64, 1024, 12 }, { 56, 512, 12 }, { 128, 512, 12 }, { 232, 256, 12 },
		{ 64, 64, 12 },                        /* K * Z = E: one granule a generation */
		{ 232, 2040, 18 }, { 8, 8, 6 }, { 8, 2040, 6 }, { 100, 512, 11 }, { 64, 512, 8 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned z = rows[i].z, k = rows[i].k, e = 1u << rows[i].log2_e, per = k * z / e;
		/* steps beside which an edge may lie: fragment, granule, generation, several generations, all of them */
		const uint32_t edges[] = { 1, z, 2 * z, e, 2 * e, per * e, 2 * per * e, 3 * per * e, 7 * per * e + 3 * e,
					   MCAST_GENERATIONS_MAX / 2 * per * e };
		for (size_t j = 0; j < sizeof(edges) / sizeof(edges[0]); j++)
			for (int d = -2; d <= 2; d++)
				if ((int64_t)edges[j] + d > 0)
					properties_hold(edges[j] + (uint32_t)d, z, k, rows[i].log2_e);
		uint32_t most = (uint32_t)MCAST_GENERATIONS_MAX * per * e;
		struct mcast_geometry geo;
		properties_hold(most, z, k, rows[i].log2_e);
		properties_hold(most - 1, z, k, rows[i].log2_e);
		assert_int_equal(mcast_geometry_of(most + 1, z, k, rows[i].log2_e, &geo), -EFBIG);
		assert_int_equal(mcast_geometry_of(UINT32_MAX, z, k, rows[i].log2_e, &geo), -EFBIG);
	}
}

static void every_small_size_has_its_properties(void **state)
{
	(void)state;
	for (uint32_t size = 1; size <= 6000; size++)
		properties_hold(size, 10, 48, 8);
	for (uint32_t size = 1; size <= 40000; size += 61)
		properties_hold(size, 64, 128, 12);
}

static void known_objects_are_cut_as_the_page_says(void **state)
{
	struct mcast_geometry geo;

	(void)state;
	/* 128 KiB, K 512, Z 64: four of 32 KiB */
	assert_int_equal(mcast_geometry_of(131072, 64, 512, 12, &geo), 0);
	assert_int_equal(geo.n_generations, 4);
	assert_int_equal(geo.n_fragments, 2048);
	assert_int_equal(mcast_geometry_generation(&geo, 3).m, 512);
	/* 100 000 bytes: 25 granules, 4 generations of 7, 6, 6, 6; the last one ends at 100 000 */
	assert_int_equal(mcast_geometry_of(100000, 64, 512, 12, &geo), 0);
	assert_int_equal(geo.n_generations, 4);
	assert_int_equal(geo.q, 6);
	assert_int_equal(geo.rem, 1);
	assert_int_equal(mcast_geometry_generation(&geo, 0).m, 448);
	assert_int_equal(mcast_geometry_generation(&geo, 1).offset, 28672);
	assert_int_equal(mcast_geometry_generation(&geo, 3).offset, 77824);
	assert_int_equal(mcast_geometry_generation(&geo, 3).length, 22176);
	assert_int_equal(mcast_geometry_generation(&geo, 3).m, 347);
	/* one byte: two fragments, the second is padding only */
	uint32_t where;
	assert_int_equal(mcast_geometry_of(1, 64, 512, 12, &geo), 0);
	assert_int_equal(mcast_geometry_generation(&geo, 0).m, 2);
	assert_int_equal(mcast_geometry_fragment(&geo, 0, 1, &where), 1);
	assert_int_equal(mcast_geometry_fragment(&geo, 0, 2, &where), 0);
	assert_int_equal(where, 1);
}

static void what_is_outside_the_limits_is_refused(void **state)
{
	static const struct { uint32_t size; unsigned z, k, log2_e; int expected; } rows[] = {
		{ 1000, 64, 512, 12, 0 }, { 0, 64, 512, 12, -EINVAL },
		{ 1000, 7, 512, 6, -EINVAL }, { 1000, 8, 512, 6, 0 }, { 1000, 232, 512, 12, 0 }, { 1000, 233, 512, 12, -EINVAL },
		{ 1000, 64, 0, 12, -EINVAL }, { 1000, 64, 7, 6, -EINVAL }, { 1000, 64, 2040, 12, 0 }, { 1000, 64, 2048, 12, -EINVAL },
		{ 1000, 64, 511, 12, -EINVAL }, { 1000, 64, 512, 5, -EINVAL }, { 1000, 64, 512, 19, -EINVAL }, { 1000, 64, 512, UINT32_MAX, -EINVAL },
		{ 1000, 64, 64, 12, 0 }, { 1000, 64, 56, 12, -EINVAL },         /* a granule is more than K fragments */
		{ 1000, UINT32_MAX, 512, 12, -EINVAL }, { 1000, 64, UINT32_MAX - 7, 12, -EINVAL },
	};
	struct mcast_geometry geo = { .size = 4711 };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int r = mcast_geometry_of(rows[i].size, rows[i].z, rows[i].k, rows[i].log2_e, &geo);
		if (r != rows[i].expected)
			fail_msg("row %zu: %d", i, r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_are_covered_exactly_at_every_edge),
		cmocka_unit_test(every_small_size_has_its_properties),
		cmocka_unit_test(known_objects_are_cut_as_the_page_says),
		cmocka_unit_test(what_is_outside_the_limits_is_refused),
	};
	return cmocka_run_group_tests_name("codec/mcast_geometry", tests, NULL, NULL);
}
