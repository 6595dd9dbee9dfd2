/* Posting lists and the queue of deadlines, against naive ones that do the same. */
#include "directory/index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "directory/deadlines.h"

enum { ORDERS = 200, STEPS = 20000, REGISTRATIONS = 300 };

static uint64_t seed = 0x9e3779b97f4a7c15;

static unsigned below(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 33) % n;
}

static void assert_same(const struct posting *p, const bool *has, struct registration *regs)
{
	size_t n = 0;
	uint64_t last = 0;

	for (size_t i = 0; p && i < p->n; i++) {
		assert_true(p->e[i].order > last);
		last = p->e[i].order;
		if (!p->e[i].reg)
			continue;
		assert_true(has[last]);
		assert_ptr_equal(p->e[i].reg, &regs[last]);
		n++;
	}
	assert_int_equal(posting_count(p), n);
	for (size_t i = 1; i < ORDERS; i++)
		n -= has[i];
	assert_int_equal(n, 0);
}

static void lists_hold_what_was_added_in_order(void **state)
{
	static const char *const values[] = { "light", "light-lux", "" };
	struct registration *regs = NEW_N(struct registration, ORDERS);
	static bool has[3][ORDERS];
	struct index ix = { 0 };

	(void)state;
	for (int step = 0; step < STEPS; step++) {
		unsigned which = below(3), order = 1 + below(ORDERS - 1);
		uint64_t generation = ix.generation;
		/* now mostly adding, now mostly removing */
		bool add = below(10) < (step / 2000 % 2 ? 2u : 8u);
		if (add)
			index_add(&ix, INDEX_RT, span_str(values[which]), order, &regs[order]);
		else
			index_remove(&ix, INDEX_RT, span_str(values[which]), order);
		assert_true(ix.generation > generation || (!add && !has[which][order]));
		has[which][order] = add;
		if (step % 50 == 0)
			for (unsigned i = 0; i < 3; i++)
				assert_same(index_get(&ix, INDEX_RT, span_str(values[i])), has[i], regs);
	}
	assert_null(index_get(&ix, INDEX_IF, SPAN_LIT("light")));
	for (unsigned i = 0; i < 3; i++)
		for (unsigned order = 1; order < ORDERS; order++)
			index_remove(&ix, INDEX_RT, span_str(values[i]), order);
	for (unsigned i = 0; i < 3; i++)
		assert_null(index_get(&ix, INDEX_RT, span_str(values[i]))); /* an empty list is gone */
	index_done(&ix);
	free(regs);
}

static void seeking_finds_the_first_after(void **state)
{
	struct registration *regs = NEW_N(struct registration, 40);
	struct index ix = { 0 };

	(void)state;
	assert_int_equal(posting_seek(&ix.all, 0), 0);
	for (uint64_t order = 2; order < 40; order += 2)
		index_add_all(&ix, order, &regs[order]);
	for (uint64_t after = 0; after < 45; after++) {
		size_t at = posting_seek(&ix.all, after);
		assert_true(at == ix.all.n ? after >= 38 : ix.all.e[at].order > after);
		assert_true(at == 0 || ix.all.e[at - 1].order <= after);
	}
	index_done(&ix);
	free(regs);
}

static void count_one(void *ctx, const struct posting *p)
{
	*(size_t *)ctx += posting_count(p);
}

static void prefixes_gather_their_lists(void **state)
{
	struct registration reg;
	struct index ix = { 0 };
	size_t n = 0;

	(void)state;
	index_add(&ix, INDEX_ET, SPAN_LIT("oic.d.light"), 1, &reg);
	index_add(&ix, INDEX_ET, SPAN_LIT("oic.d.fan"), 1, &reg);
	index_add(&ix, INDEX_ET, SPAN_LIT("oic"), 1, &reg);
	index_each_prefix(&ix, INDEX_ET, SPAN_LIT("oic.d."), count_one, &n);
	assert_int_equal(n, 2);
	index_each_prefix(&ix, INDEX_ET, SPAN_LIT(""), count_one, &n);
	assert_int_equal(n, 5);
	index_each_prefix(&ix, INDEX_RT, SPAN_LIT(""), count_one, &n);
	assert_int_equal(n, 5);
	index_done(&ix);
}

static void deadlines_come_due_in_time_however_they_move(void **state)
{
	struct registration *regs = NEW_N(struct registration, REGISTRATIONS), *due;
	static bool queued[REGISTRATIONS];
	struct deadlines d = { 0 };
	struct mono now = { 0 };
	int64_t wait_ms;

	(void)state;
	for (int step = 0; step < STEPS; step++) {
		unsigned i = below(REGISTRATIONS);
		regs[i].deadline = mono_add_ms(now, 1 + below(1000));
		if (!queued[i]) {
			deadlines_add(&d, &regs[i]);
			queued[i] = true;
		} else if (below(4)) {
			deadlines_moved(&d, &regs[i]);
		} else {
			deadlines_remove(&d, &regs[i]);
			queued[i] = false;
		}
		now = mono_add_ms(now, below(8));
		while ((due = deadlines_due(&d, now, &wait_ms))) {
			assert_false(mono_before(now, due->deadline));
			deadlines_remove(&d, due);
			queued[due - regs] = false;
		}
		assert_true(wait_ms != 0 && (wait_ms > 0) == (d.n > 0));
		for (unsigned k = 0; k < REGISTRATIONS && step % 100 == 0; k++)
			assert_true(!queued[k] || (mono_before(now, regs[k].deadline) && mono_diff_ms(regs[k].deadline, now) >= wait_ms));
	}
	deadlines_done(&d);
	free(regs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_hold_what_was_added_in_order),
		cmocka_unit_test(seeking_finds_the_first_after),
		cmocka_unit_test(prefixes_gather_their_lists),
		cmocka_unit_test(deadlines_come_due_in_time_however_they_move),
	};

	return cmocka_run_group_tests_name("directory/index", tests, NULL, NULL);
}
