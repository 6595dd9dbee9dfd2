/* io/worker: every job's done runs exactly once on the loop, whatever happens. */
#include "io/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

enum { LIMIT_MS = 30000 };

struct board {
	struct loop *loop;
	struct worker_pool *pool;
	pthread_t loop_thread;
	size_t n_done, n_expected, n_worked;
	int refused;
};

struct work_item {
	struct board *board;
	uint32_t in, out;
	bool worked;
	size_t resubmit;
};

static uint32_t mix(uint32_t v)
{
	for (int i = 0; i < 200; i++)
		v = v * 1664525u + 1013904223u;
	return v;
}

static void item_work(void *arg)
{
	struct work_item *it = arg;

	it->out = mix(it->in);
	it->worked = true;
}

static void item_done(void *arg)
{
	struct work_item *it = arg;
	struct board *b = it->board;

	assert_true(pthread_equal(pthread_self(), b->loop_thread));
	if (it->worked) {
		assert_int_equal(it->out, mix(it->in));
		b->n_worked++;
	}
	b->n_done++;
	if (it->resubmit > 0) {
		it->resubmit--;
		it->worked = false;
		b->refused = worker_submit(b->pool, item_work, item_done, it);
		if (b->refused == 0)
			return;
	}
	free(it);
	if (b->n_done == b->n_expected)
		loop_stop(b->loop);
}

static void board_open(struct board *b, unsigned n_threads)
{
	*b = (struct board){ .loop = loop_new(), .loop_thread = pthread_self() };
	b->pool = worker_pool_new(b->loop, n_threads);
	assert_non_null(b->pool);
}

static void board_close(struct board *b)
{
	assert_null(worker_pool_free(b->pool));
	assert_null(loop_free(b->loop));
}

static int board_submit(struct board *b, uint32_t in, size_t resubmit)
{
	struct work_item *it = NEW(struct work_item);

	*it = (struct work_item){ .board = b, .in = in, .resubmit = resubmit };
	int r = worker_submit(b->pool, item_work, item_done, it);
	if (r < 0)
		free(it);
	return r;
}

static void many_jobs_are_all_done_on_the_loop(void **state)
{
	static const unsigned threads[] = { 0, 1, 4, WORKER_THREADS_MAX + 1 };

	for (size_t t = 0; t < sizeof(threads) / sizeof(*threads); t++) {
		struct board b;

		board_open(&b, threads[t]);
		b.n_expected = 2000;
		for (uint32_t i = 0; i < 2000; i++)
			assert_int_equal(board_submit(&b, i, 0), 0);
		assert_int_equal(loop_run_for(b.loop, LIMIT_MS), 0);
		assert_int_equal(b.n_worked, 2000);
		board_close(&b);
	}
}

static void done_may_submit_again(void **state)
{
	struct board b;

	board_open(&b, 3);
	b.n_expected = 10 * 51;
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(board_submit(&b, i, 50), 0);
	assert_int_equal(loop_run_for(b.loop, LIMIT_MS), 0);
	assert_int_equal(b.n_done, b.n_expected);
	board_close(&b);
}

static void the_queue_is_bounded(void **state)
{
	struct board b;

	board_open(&b, 2);
	for (uint32_t i = 0; i < WORKER_QUEUE_MAX; i++)
		assert_int_equal(board_submit(&b, i, 0), 0);
	assert_int_equal(board_submit(&b, 0, 0), -EBUSY); /* done runs on the loop, which did not turn yet */
	b.n_expected = WORKER_QUEUE_MAX;
	assert_int_equal(loop_run_for(b.loop, LIMIT_MS), 0);
	assert_int_equal(board_submit(&b, 0, 0), 0);
	b.n_expected++;
	assert_int_equal(loop_run_for(b.loop, LIMIT_MS), 0);
	board_close(&b);
}

static void freeing_runs_done_of_every_job_in_flight(void **state)
{
	for (uint32_t round = 0; round < 20; round++) {
		struct board b;

		board_open(&b, 4);
		for (uint32_t i = 0; i < 500; i++)
			assert_int_equal(board_submit(&b, i, 0), 0);
		worker_pool_free(b.pool);
		assert_int_equal(b.n_done, 500);
		assert_true(b.n_worked <= 500);
		loop_free(b.loop);
	}
}

static void submitting_while_the_pool_ends_is_refused(void **state)
{
	struct board b;

	board_open(&b, 2);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(board_submit(&b, i, 1), 0);
	worker_pool_free(b.pool);
	assert_int_equal(b.n_done, 100);
	assert_int_equal(b.refused, -ESHUTDOWN);
	loop_free(b.loop);
}

struct gate {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int inside;
	bool open;
};

static void gate_work(void *arg)
{
	struct gate *g = arg;

	pthread_mutex_lock(&g->lock);
	g->inside++;
	pthread_cond_broadcast(&g->cond);
	while (!g->open)
		pthread_cond_wait(&g->cond, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

static void gate_done(void *arg)
{
}

/* Would hang (and be ended by the test's time limit) if the pool had one thread only. */
static void jobs_run_side_by_side(void **state)
{
	struct gate g = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
	struct board b;

	board_open(&b, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(worker_submit(b.pool, gate_work, gate_done, &g), 0);
	pthread_mutex_lock(&g.lock);
	while (g.inside < 3)
		pthread_cond_wait(&g.cond, &g.lock);
	g.open = true;
	pthread_cond_broadcast(&g.cond);
	pthread_mutex_unlock(&g.lock);
	board_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_jobs_are_all_done_on_the_loop),
		cmocka_unit_test(done_may_submit_again),
		cmocka_unit_test(the_queue_is_bounded),
		cmocka_unit_test(freeing_runs_done_of_every_job_in_flight),
		cmocka_unit_test(submitting_while_the_pool_ends_is_refused),
		cmocka_unit_test(jobs_run_side_by_side),
	};
	return cmocka_run_group_tests_name("io/worker", tests, NULL, NULL);
}
