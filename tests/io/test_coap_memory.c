/* io/coap_dedup and io/coap_snapshot: what the endpoint remembers, and for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "io/coap_dedup.h"
#include "io/coap_snapshot.h"

static struct coap_peer_key peer(uint16_t port) { return (struct coap_peer_key){ .port = port }; }

static struct mono at(int64_t ms) { return (struct mono){ ms }; }

static void an_answer_is_remembered_for_an_exchange_lifetime(void **state)
{
	struct coap_dedup *d = coap_dedup_new(10, 100000);
	struct coap_peer_key a = peer(1), b = peer(2);
	struct span s = SPAN_NONE;

	assert_int_equal(coap_dedup_find(d, &a, 7, 99, at(0), &s), COAP_DEDUP_NEW);
	coap_dedup_begin(d, &a, 7, 99, at(0));
	assert_int_equal(coap_dedup_find(d, &a, 7, 99, at(1), &s), COAP_DEDUP_PENDING);
	coap_dedup_answer(d, &a, 7, 99, SPAN_LIT("done"));
	coap_dedup_answer(d, &a, 7, 99, SPAN_LIT("other")); /* the first stands */
	assert_int_equal(coap_dedup_find(d, &a, 7, 99, at(246999), &s), COAP_DEDUP_ANSWERED);
	assert_true(span_eq_str(s, "done"));
	assert_int_equal(coap_dedup_find(d, &b, 7, 99, at(1), &s), COAP_DEDUP_NEW);
	assert_int_equal(coap_dedup_find(d, &a, 8, 99, at(1), &s), COAP_DEDUP_NEW);
	assert_int_equal(coap_dedup_find(d, &a, 7, 98, at(1), &s), COAP_DEDUP_NEW);
	assert_int_equal(coap_dedup_find(d, &a, 7, 99, at(247000), &s), COAP_DEDUP_NEW);
	assert_int_equal(coap_dedup_bytes(d), 0);
	coap_dedup_free(d);
}

static void the_oldest_answers_leave_first(void **state)
{
	struct coap_dedup *d = coap_dedup_new(100, 4000);
	struct coap_peer_key a = peer(1);
	uint8_t big[600] = { 0 };
	struct span s = SPAN_NONE;
	unsigned kept = 0;

	for (uint16_t i = 0; i < 1000; i++) {
		coap_dedup_begin(d, &a, i, 1, at(i));
		coap_dedup_answer(d, &a, i, 1, SPAN_OF(big));
		assert_true(coap_dedup_bytes(d) <= 4000);
	}
	for (uint16_t i = 0; i < 1000; i++)
		kept += coap_dedup_find(d, &a, i, 1, at(1000), &s) == COAP_DEDUP_ANSWERED;
	assert_true(kept >= 3 && kept < 7);
	assert_int_equal(coap_dedup_find(d, &a, 999, 1, at(1000), &s), COAP_DEDUP_ANSWERED);
	coap_dedup_free(d);

	d = coap_dedup_new(3, 1000000);
	for (uint16_t i = 0; i < 5; i++)
		coap_dedup_begin(d, &a, i, 1, at(i));
	assert_int_equal(coap_dedup_find(d, &a, 1, 1, at(5), &s), COAP_DEDUP_NEW);
	assert_int_equal(coap_dedup_find(d, &a, 2, 1, at(5), &s), COAP_DEDUP_PENDING);
	coap_dedup_free(d);
}

static struct coap_snapshot body(size_t n)
{
	struct coap_snapshot s = { .code = COAP_205_CONTENT };

	(void)buf_grow(&s.body, n);
	return s;
}

static bool put(struct coap_snapshots *c, const char *key, uint64_t session, size_t n, int64_t ms)
{
	struct digest k = digest_of(span_str(key));
	struct coap_snapshot s = body(n);
	bool kept = coap_snapshots_put(c, &k, session, &s, at(ms)) != NULL;

	buf_done(&s.body);
	return kept;
}

static bool has(struct coap_snapshots *c, const char *key, int64_t ms)
{
	struct digest k = digest_of(span_str(key));

	return coap_snapshots_get(c, &k, at(ms)) != NULL;
}

static void a_snapshot_lives_while_it_is_pulled(void **state)
{
	struct coap_snapshots *c = coap_snapshots_new(100, 1000000);

	assert_true(put(c, "a", 1, 5000, 0));
	for (int64_t ms = 0; ms < 1000000; ms += 59999)
		assert_true(has(c, "a", ms));
	assert_false(has(c, "a", 2000000));
	assert_int_equal(coap_snapshots_bytes(c), 0);
	assert_true(put(c, "a", 1, 5000, 0));
	assert_true(put(c, "b", 2, 5000, 0));
	coap_snapshots_forget(c, 1);
	assert_false(has(c, "a", 0));
	assert_true(has(c, "b", 0));
	coap_snapshots_free(c);
}

static void snapshots_are_bounded_per_session_and_in_all(void **state)
{
	struct coap_snapshots *c = coap_snapshots_new(20, 200000);
	char key[16];

	assert_true(put(c, "other", 2, 1000, 0));
	for (int i = 0; i < 12; i++) {
		(void)snprintf(key, sizeof(key), "%d", i);
		assert_true(put(c, key, 1, 1000, i));
	}
	assert_true(has(c, "other", 20)); /* one peer pushes out its own only */
	assert_false(has(c, "3", 20));
	assert_true(has(c, "4", 20));
	for (uint64_t i = 0; i < 100; i++) {
		(void)snprintf(key, sizeof(key), "s%u", (unsigned)i);
		assert_true(put(c, key, 100 + i, 10000, 30));
		assert_true(coap_snapshots_bytes(c) <= 200000);
	}
	assert_false(put(c, "huge", 3, 100000, 40)); /* over a quarter of all */
	assert_false(has(c, "huge", 40));
	coap_snapshots_free(c);
}

static void a_session_forgets_its_own_only(void **state)
{
	struct coap_snapshots *c = coap_snapshots_new(100, 1000000);

	assert_true(put(c, "a", 1, 100, 0));
	assert_true(put(c, "b", 2, 100, 0));
	assert_true(put(c, "c", 1, 100, 0));
	assert_true(put(c, "a", 2, 100, 1)); /* a key that changes hands */
	coap_snapshots_forget(c, 3);
	coap_snapshots_forget(c, 1);
	assert_true(has(c, "a", 2));
	assert_true(has(c, "b", 2));
	assert_false(has(c, "c", 2));
	coap_snapshots_forget(c, 2);
	coap_snapshots_forget(c, 2);
	assert_int_equal(coap_snapshots_bytes(c), 0);
	coap_snapshots_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_is_remembered_for_an_exchange_lifetime),
		cmocka_unit_test(the_oldest_answers_leave_first),
		cmocka_unit_test(a_snapshot_lives_while_it_is_pulled),
		cmocka_unit_test(snapshots_are_bounded_per_session_and_in_all),
		cmocka_unit_test(a_session_forgets_its_own_only),
	};
	return cmocka_run_group_tests_name("io/coap_memory", tests, NULL, NULL);
}
