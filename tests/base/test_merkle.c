#include "base/merkle.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/text.h"

static struct digest tree_root(const struct digest *leaves, uint64_t n)
{
	uint64_t k = 1;

	if (n == 1)
		return leaves[0];
	while (2 * k < n)
		k *= 2;
	struct digest l = tree_root(leaves, k), r = tree_root(leaves + k, n - k);
	return merkle_node(&l, &r);
}

static size_t tree_path(const struct digest *leaves, uint64_t i, uint64_t n, struct digest *ret)
{
	uint64_t k = 1;
	size_t len;

	if (n == 1)
		return 0;
	while (2 * k < n)
		k *= 2;
	if (i < k) {
		len = tree_path(leaves, i, k, ret);
		ret[len] = tree_root(leaves + k, n - k);
	} else {
		len = tree_path(leaves + k, i - k, n - k, ret);
		ret[len] = tree_root(leaves, k);
	}
	return len + 1;
}

static void hashes_have_their_prefixes(void **state)
{
	char hex[DIGEST_HEX_BYTES];
	struct digest d = merkle_empty(), e = merkle_leaf(SPAN_NONE);

	assert_string_equal(digest_hex(&d, hex), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_string_equal(digest_hex(&e, hex), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
	d = merkle_node(&e, &e);
	uint8_t both[65] = { 1 };
	memcpy(both + 1, e.b, 32);
	memcpy(both + 33, e.b, 32);
	e = digest_of(SPAN_OF(both));
	assert_true(digest_eq(&d, &e));
}

/* TL-1 */
static void every_leaf_of_every_small_tree_is_proven_and_no_other(void **state)
{
	struct digest leaves[33], path[8], other = merkle_leaf(SPAN_LIT("other"));

	for (uint8_t i = 0; i < 33; i++)
		leaves[i] = merkle_leaf(SPAN(&i, 1));
	for (uint64_t n = 1; n <= 33; n++) {
		struct digest root = tree_root(leaves, n);
		for (uint64_t i = 0; i < n; i++) {
			size_t len = tree_path(leaves, i, n, path);
			assert_true(merkle_inclusion_ok(i, n, &leaves[i], path, len, &root));
			assert_false(merkle_inclusion_ok(i, n, &other, path, len, &root));
			assert_false(merkle_inclusion_ok(i, n, &leaves[i], path, len, &other));
			assert_false(merkle_inclusion_ok(n, n, &leaves[i], path, len, &root));
			if (len)
				assert_false(merkle_inclusion_ok(i, n, &leaves[i], path, len - 1, &root));
			path[len] = other;
			assert_false(merkle_inclusion_ok(i, n, &leaves[i], path, len + 1, &root));
			for (uint64_t j = 0; j < n; j++)
				if (j != i)
					assert_false(merkle_inclusion_ok(j, n, &leaves[i], path, len, &root));
		}
	}
}

/* TL-6 */
static void limits_of_size_and_length_are_kept(void **state)
{
	struct digest path[MERKLE_PATH_MAX + 2] = { 0 }, d = { 0 };

	assert_false(merkle_inclusion_ok(0, 0, &d, path, 0, &d));
	assert_true(merkle_inclusion_ok(0, 1, &d, path, 0, &d));
	assert_false(merkle_inclusion_ok(UINT64_MAX, 1, &d, path, 0, &d));
	assert_false(merkle_inclusion_ok(0, MERKLE_SIZE_MAX + 1, &d, path, MERKLE_PATH_MAX, &d));
	assert_false(merkle_inclusion_ok(0, MERKLE_SIZE_MAX, &d, path, MERKLE_PATH_MAX + 1, &d));
	assert_false(merkle_consistency_ok(0, 0, &d, &d, path, 0));
	assert_false(merkle_consistency_ok(0, 5, &d, &d, path, 0));
	assert_false(merkle_consistency_ok(2, 1, &d, &d, path, 0));
	assert_true(merkle_consistency_ok(3, 3, &d, &d, path, 0));
	assert_false(merkle_consistency_ok(3, 3, &d, &d, path, 1));
	assert_false(merkle_consistency_ok(1, UINT64_MAX, &d, &d, path, 1));
	assert_false(merkle_consistency_ok(1, 2, &d, &d, path, MERKLE_PATH_MAX + 2));
}

/* --- the public test data --- */

static json_t *load(const char *name)
{
	json_error_t err;
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/merkle/%s", VECTORS, name);
	json_t *doc = json_load_file(path, JSON_DECODE_INT_AS_REAL, &err);
	assert_non_null(doc);
	return doc;
}

/* false: not 32 bytes, which no proof of ours can hold */
static bool hash_of(const json_t *v, struct digest *ret)
{
	_cleanup_buf_ struct buf b = { 0 };

	if (!json_is_string(v) || text_parse_base64(span_str(json_string_value(v)), &b) < 0 || b.n != DIGEST_BYTES)
		return false;
	memcpy(ret->b, b.p, DIGEST_BYTES);
	return true;
}

static bool path_of(const json_t *v, struct digest *ret, size_t max, size_t *ret_n)
{
	*ret_n = json_array_size(v);
	if (*ret_n > max)
		return false;
	for (size_t i = 0; i < *ret_n; i++)
		if (!hash_of(json_array_get(v, i), &ret[i]))
			return false;
	return true;
}

/* Read as reals, because jansson's integers end at 2^63-1: exact for the sizes that are good, and the rest is only there to
 * be refused. */
static uint64_t number(const json_t *v)
{
	double d = json_real_value(v);

	assert_true(json_is_real(v));
	return d < 0 || d >= 0x1p63 ? UINT64_MAX : (uint64_t)d;
}

static void public_inclusion_vectors_get_their_verdicts(void **state)
{
	json_t *doc = load("inclusion-half.json"), *test;
	struct digest path[MERKLE_PATH_MAX], root, leaf;
	size_t i, n, n_good = 0;

	json_array_foreach(json_object_get(doc, "tests"), i, test) {
		bool ok = hash_of(json_object_get(test, "root"), &root) && hash_of(json_object_get(test, "leafHash"), &leaf) &&
			  path_of(json_object_get(test, "proof"), path, MERKLE_PATH_MAX, &n) &&
			  merkle_inclusion_ok(number(json_object_get(test, "leafIdx")), number(json_object_get(test, "treeSize")), &leaf,
					      path, n, &root);
		if (ok == json_is_true(json_object_get(test, "wantErr")))
			fail_msg("%s", json_string_value(json_object_get(test, "file")));
		n_good += ok;
	}
	assert_int_equal(i, 49);
	assert_true(n_good > 0);
	json_decref(doc);
}

static void public_consistency_vectors_get_their_verdicts(void **state)
{
	json_t *doc = load("consistency-half.json"), *test;
	struct digest path[MERKLE_PATH_MAX + 1], root1, root2;
	size_t i, n, n_good = 0, n_skipped = 0;

	json_array_foreach(json_object_get(doc, "tests"), i, test) {
		if (strcmp(json_string_value(json_object_get(test, "desc")), "sizes are equal (one)") == 0) {
			n_skipped++;
			continue;
		}
		bool ok = hash_of(json_object_get(test, "root1"), &root1) && hash_of(json_object_get(test, "root2"), &root2) &&
			  path_of(json_object_get(test, "proof"), path, MERKLE_PATH_MAX + 1, &n) &&
			  merkle_consistency_ok(number(json_object_get(test, "size1")), number(json_object_get(test, "size2")), &root1,
						&root2, path, n);
		if (ok == json_is_true(json_object_get(test, "wantErr")))
			fail_msg("%s", json_string_value(json_object_get(test, "file")));
		n_good += ok;
	}
	assert_int_equal(i, 49);
	assert_true(n_good > 0 && n_skipped <= 1);
	json_decref(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes_have_their_prefixes),
		cmocka_unit_test(every_leaf_of_every_small_tree_is_proven_and_no_other),
		cmocka_unit_test(limits_of_size_and_length_are_kept),
		cmocka_unit_test(public_inclusion_vectors_get_their_verdicts),
		cmocka_unit_test(public_consistency_vectors_get_their_verdicts),
	};

	return cmocka_run_group_tests_name("base/merkle", tests, NULL, NULL);
}
