/* io/loop: timers, descriptors, signals, and the measurement of turns. */
#include "io/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/metric.h"

enum { LIMIT_MS = 10000 };

struct trace {
	struct loop *loop;
	struct loop_timer *timer, *other;
	struct loop_io *io;
	struct loop_signal *sig;
	struct mono due;
	int n, order[8], signo;
};

static void timer_stops(void *ctx)
{
	struct trace *t = ctx;

	t->n++;
	assert_true(mono_diff_ms(mono_now(), t->due) >= 0);
	loop_stop(t->loop);
}

static void a_timer_fires_once_and_never_early(void **state)
{
	static const int64_t delays[] = { 0, 1, 3, 20 };
	struct trace t = { .loop = loop_new() };

	t.timer = loop_timer_new(t.loop, timer_stops, &t);
	assert_false(loop_timer_armed(t.timer));
	for (size_t i = 0; i < sizeof(delays) / sizeof(*delays); i++) {
		t.due = mono_add_ms(mono_now(), delays[i]);
		loop_timer_set(t.timer, delays[i]);
		assert_true(loop_timer_armed(t.timer));
		assert_int_equal(loop_run_for(t.loop, LIMIT_MS), 0);
		assert_int_equal(t.n, (int)i + 1);
		assert_false(loop_timer_armed(t.timer));
	}
	loop_timer_free(t.timer);
	loop_free(t.loop);
}

static void timer_note(void *ctx)
{
	struct trace *t = ctx;

	t->n++;
}

static void a_timer_can_be_moved_and_disarmed(void **state)
{
	struct trace t = { .loop = loop_new() };
	struct mono began = mono_now();

	t.timer = loop_timer_new(t.loop, timer_note, &t);
	t.other = loop_timer_new(t.loop, timer_stops, &t);
	loop_timer_set(t.timer, 1);
	loop_timer_set(t.timer, -1);
	assert_false(loop_timer_armed(t.timer));
	loop_timer_set(t.other, INT64_MAX); /* clipped, not overflowed */
	assert_true(loop_timer_armed(t.other));
	loop_timer_set(t.other, 15);
	t.due = mono_add_ms(began, 15);
	assert_int_equal(loop_run_for(t.loop, LIMIT_MS), 0);
	assert_int_equal(t.n, 1);
	loop_timer_free(t.timer);
	loop_timer_free(t.other);
	loop_free(t.loop);
}

static void timer_frees_itself(void *ctx)
{
	struct trace *t = ctx;

	t->n++;
	t->timer = loop_timer_free(t->timer);
	loop_stop(t->loop);
}

static void a_timer_may_free_itself(void **state)
{
	struct trace t = { .loop = loop_new() };

	t.timer = loop_timer_new(t.loop, timer_frees_itself, &t);
	loop_timer_set(t.timer, 0);
	assert_int_equal(loop_run_for(t.loop, LIMIT_MS), 0);
	assert_null(t.timer);
	assert_int_equal(t.n, 1);
	assert_null(loop_timer_free(NULL));
	loop_free(t.loop);
}

static void io_reads(void *ctx, int fd, unsigned what)
{
	struct trace *t = ctx;
	char c;

	assert_int_equal(what, LOOP_READ);
	assert_int_equal(read(fd, &c, 1), 1);
	if (t->n < 8)
		t->order[t->n] = c;
	t->n++;
	if (c == 'z') {
		t->io = loop_io_free(t->io);
		loop_stop(t->loop);
	}
}

static void a_descriptor_is_level_triggered_and_may_be_freed_inside(void **state)
{
	struct trace t = { .loop = loop_new() };
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
	t.io = loop_io_new(t.loop, sv[0], LOOP_READ, io_reads, &t);
	assert_non_null(t.io);
	assert_int_equal(write(sv[1], "abz", 3), 3);
	assert_int_equal(loop_run_for(t.loop, LIMIT_MS), 0);
	assert_int_equal(t.n, 3);
	assert_memory_equal(((char[]){ (char)t.order[0], (char)t.order[1], (char)t.order[2] }), "abz", 3);
	assert_null(t.io);
	close(sv[0]);
	close(sv[1]);
	loop_free(t.loop);
}

static void io_writes(void *ctx, int fd, unsigned what)
{
	struct trace *t = ctx;

	assert_true(what & LOOP_WRITE);
	t->n++;
	loop_stop(t->loop);
}

static void writability_is_told_and_a_dead_peer_raises_no_sigpipe(void **state)
{
	struct trace t = { .loop = loop_new() };
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
	t.io = loop_io_new(t.loop, sv[0], LOOP_READ | LOOP_WRITE, io_writes, &t);
	assert_int_equal(loop_run_for(t.loop, LIMIT_MS), 0);
	assert_int_equal(t.n, 1);
	close(sv[1]);
	assert_int_equal(write(sv[0], "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	loop_io_free(t.io);
	close(sv[0]);
	loop_free(t.loop);
}

static void a_regular_file_is_refused(void **state)
{
	struct loop *l = loop_new();
	FILE *f = tmpfile();

	assert_non_null(f);
	assert_null(loop_io_new(l, fileno(f), LOOP_READ, io_reads, NULL));
	(void)fclose(f);
	loop_free(l);
}

static void signal_stops(void *ctx, int signo)
{
	struct trace *t = ctx;

	t->signo = signo;
	loop_stop(t->loop);
}

static void a_signal_arrives_on_the_loop(void **state)
{
	struct trace t = { .loop = loop_new() };

	t.sig = loop_signal_new(t.loop, SIGUSR1, signal_stops, &t);
	assert_int_equal(raise(SIGUSR1), 0);
	assert_int_equal(loop_run_for(t.loop, LIMIT_MS), 0);
	assert_int_equal(t.signo, SIGUSR1);
	t.sig = loop_signal_free(t.sig);
	loop_free(t.loop);
}

static void run_ends_by_its_limit_by_stop_and_when_nothing_is_left(void **state)
{
	struct loop *l = loop_new();

	assert_int_equal(loop_run_for(l, 5), -ETIMEDOUT);
	assert_int_equal(loop_run(l), -EDEADLK);
	loop_stop(l);
	assert_int_equal(loop_run(l), 0);
	assert_int_equal(loop_run(l), -EDEADLK); /* a stop is used up */
	assert_null(loop_free(l));
}

static void timer_is_slow(void *ctx)
{
	struct trace *t = ctx;
	struct mono until = mono_add_ms(mono_now(), LOOP_SLOW_MS + 2);

	while (mono_before(mono_now(), until))
		;
	t->n++;
	if (t->n == 3)
		loop_stop(t->loop);
	else
		loop_timer_set(t->timer, 0);
}

static void slow_turns_are_counted(void **state)
{
	struct trace t = { .loop = loop_new() };
	int64_t slow = metric_get(METRIC_LOOP_SLOW);

	t.timer = loop_timer_new(t.loop, timer_is_slow, &t);
	loop_timer_set(t.timer, 0);
	assert_int_equal(loop_run_for(t.loop, LIMIT_MS), 0);
	assert_int_equal(metric_get(METRIC_LOOP_SLOW) - slow, 3);
	assert_true(metric_get(METRIC_LOOP_MAX_US) >= LOOP_SLOW_MS * 1000);
	loop_timer_free(t.timer);
	loop_free(t.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_timer_fires_once_and_never_early),
		cmocka_unit_test(a_timer_can_be_moved_and_disarmed),
		cmocka_unit_test(a_timer_may_free_itself),
		cmocka_unit_test(a_descriptor_is_level_triggered_and_may_be_freed_inside),
		cmocka_unit_test(writability_is_told_and_a_dead_peer_raises_no_sigpipe),
		cmocka_unit_test(a_regular_file_is_refused),
		cmocka_unit_test(a_signal_arrives_on_the_loop),
		cmocka_unit_test(run_ends_by_its_limit_by_stop_and_when_nothing_is_left),
		cmocka_unit_test(slow_turns_are_counted),
	};
	return cmocka_run_group_tests_name("io/loop", tests, NULL, NULL);
}
