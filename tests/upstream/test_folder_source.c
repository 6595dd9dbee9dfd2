/* The drop folder with a real loop and workers: what it hands over, once, and what it does about what changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "upstream/upstream.h"
#include "../scratch.h"
#include "../until.h"

enum { PATIENCE_MS = 25000, ENVELOPE_MAX = 1000, MANY = 1300 };

struct fixture {
	char dir[64], drop[80];
	struct loop *loop;
	struct worker_pool *workers;
	struct upstream *upstream;
	unsigned n_found, n_wanted;
	int taken_error;                       /* what the intake answers */
	char uri[400];
	struct buf envelope, payload;
	bool is_payload_done;
	int payload_error;
};

static void on_found(void *ctx, const char *source, const char *uri, struct span envelope, upstream_taken_fn *taken, void *arg)
{
	struct fixture *f = ctx;

	assert_string_equal(source, "drop");
	f->n_found++;
	snprintf(f->uri, sizeof(f->uri), "%s", uri);
	buf_done(&f->envelope);
	f->envelope = (struct buf){ 0 };
	buf_add(&f->envelope, envelope);
	taken(arg, f->taken_error);
}

static bool on_recall(void *ctx, const char *key, struct upstream_memory *ret)
{
	(void)ctx;
	(void)key;
	(void)ret;
	return false;
}

static void on_remember(void *ctx, const char *key, const struct upstream_memory *m)
{
	(void)ctx;
	(void)key;
	(void)m;
}

static void apply(struct fixture *f, size_t n)
{
	char name[] = "drop", kind[] = "folder", empty[] = "";
	struct config_source row = { .name = name, .kind = kind, .url = empty, .path = f->drop, .ca_file = empty, .poll_s = 1,
				     .timeout_s = 5, .backoff_max_s = 5 };
	_cleanup_buf_ struct buf error = { 0 };

	(void)upstream_apply(f->upstream, &row, n, &error); /* the tests look at what comes of it */
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	log_set_max_priority(LOG_ALERT);
	snprintf(f->dir, sizeof(f->dir), "/tmp/dormouse-folder-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->drop, sizeof(f->drop), "%s/drop", f->dir);
	assert_int_equal(mkdir(f->drop, 0700), 0);
	f->loop = loop_new();
	f->workers = worker_pool_new(f->loop, 2);
	f->upstream = upstream_new(&(struct upstream_config){ .loop = f->loop, .workers = f->workers, .envelope_bytes_max = ENVELOPE_MAX,
		.found = on_found, .recall = on_recall, .remember = on_remember, .ctx = f });
	apply(f, 1);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->workers = worker_pool_free(f->workers);
	f->upstream = upstream_free(f->upstream);
	f->loop = loop_free(f->loop);
	buf_done(&f->envelope);
	buf_done(&f->payload);
	scratch_remove(f->dir);
	free(f);
	return 0;
}

/* Written beside it and moved in, as people are told to. Not durable: a thousand of them would wait for the disk. */
static void drop(struct fixture *f, const char *name, struct span bytes)
{
	char path[200], aside[200];

	snprintf(aside, sizeof(aside), "%s/aside", f->dir);
	snprintf(path, sizeof(path), "%s/%s", f->drop, name);
	FILE *out = fopen(aside, "w");
	assert_non_null(out);
	assert_int_equal(fwrite(bytes.p, 1, bytes.n, out), bytes.n);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(rename(aside, path), 0);
}

static void undrop(struct fixture *f, const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", f->drop, name);
	assert_int_equal(unlink(path), 0);
}

static bool found_enough(void *ctx)
{
	struct fixture *f = ctx;

	return f->n_found >= f->n_wanted;
}

static void wait_found(struct fixture *f, unsigned n)
{
	f->n_wanted = n;
	assert_true(until(f->loop, found_enough, f, PATIENCE_MS));
}

/* Two regular looks go by and nothing (more) is found. */
static void nothing_more(struct fixture *f)
{
	f->n_wanted = f->n_found + 1;
	assert_false(until(f->loop, found_enough, f, 2500));
}

static struct source_status status(struct fixture *f)
{
	struct source_status s;

	assert_int_equal(upstream_status(f->upstream, 0, &s), 0);
	return s;
}

static void an_envelope_is_handed_over_once_and_again_when_it_changes(void **state)
{
	struct fixture *f = *state;

	drop(f, "readme.txt", SPAN_LIT("not an envelope"));
	drop(f, ".hidden.suit", SPAN_LIT("nor this"));
	drop(f, "a.suit", SPAN_LIT("one"));
	wait_found(f, 1);
	assert_true(span_eq_str(buf_span(&f->envelope), "one"));
	assert_non_null(strstr(f->uri, "/drop/a.suit"));
	nothing_more(f);
	assert_true(status(f).is_ok);
	drop(f, "a.suit", SPAN_LIT("another"));
	wait_found(f, 2);
	assert_true(span_eq_str(buf_span(&f->envelope), "another"));
	assert_int_equal(upstream_reread(f->upstream, "drop"), 0);
	wait_found(f, 3);
}

static void what_the_intake_could_not_take_is_offered_again(void **state)
{
	struct fixture *f = *state;

	f->taken_error = -ENOSPC;
	drop(f, "a.suit", SPAN_LIT("one"));
	wait_found(f, 2);
	f->taken_error = 0;
	wait_found(f, 3);
	nothing_more(f);
}

static void a_file_that_is_too_large_is_said_and_disturbs_no_other(void **state)
{
	struct fixture *f = *state;
	static const uint8_t large[ENVELOPE_MAX + 1];

	drop(f, "a.suit", SPAN(large, sizeof(large)));
	drop(f, "b.suit", SPAN_LIT("good"));
	wait_found(f, 1);
	nothing_more(f);
	assert_false(status(f).is_ok);
	assert_non_null(strstr(status(f).error, "a.suit"));
	undrop(f, "a.suit");
	nothing_more(f);
	assert_true(status(f).is_ok);
}

/* Files that went are forgotten, so that a site may drop as many as it likes in the course of the years. */
static void many_files_come_and_go(void **state)
{
	struct fixture *f = *state;
	char name[32];

	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "%u.suit", i);
		drop(f, name, SPAN_LIT("x"));
	}
	wait_found(f, MANY);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "%u.suit", i);
		undrop(f, name);
	}
	drop(f, "last.suit", SPAN_LIT("last"));
	wait_found(f, MANY + 1);
	assert_true(span_eq_str(buf_span(&f->envelope), "last"));
}

static void a_folder_that_was_removed_and_made_again_is_watched_again(void **state)
{
	struct fixture *f = *state;

	drop(f, "a.suit", SPAN_LIT("one"));
	wait_found(f, 1);
	undrop(f, "a.suit");
	assert_int_equal(rmdir(f->drop), 0);
	nothing_more(f);
	assert_false(status(f).is_ok);
	assert_int_equal(mkdir(f->drop, 0700), 0);
	drop(f, "b.suit", SPAN_LIT("two"));
	wait_found(f, 2);
	assert_true(span_eq_str(buf_span(&f->envelope), "two"));
}

static void a_source_that_goes_while_it_reads_leaves_nothing_behind(void **state)
{
	struct fixture *f = *state;

	drop(f, "a.suit", SPAN_LIT("one"));
	(void)until(f->loop, found_enough, f, 0); /* the look is under way, perhaps */
	apply(f, 0);
	assert_int_equal(upstream_poll(f->upstream, "drop"), -ENOENT);
	f->n_found = 0;
	nothing_more(f);
}

/* ---- payloads ---- */

static int on_piece(void *ctx, uint64_t off, struct span data)
{
	struct fixture *f = ctx;

	assert_int_equal(off, f->payload.n);
	buf_add(&f->payload, data);
	return 0;
}

static void on_done(void *ctx, int error, const char *text)
{
	struct fixture *f = ctx;

	(void)text;
	f->is_payload_done = true;
	f->payload_error = error;
}

static bool payload_done(void *ctx)
{
	return ((struct fixture *)ctx)->is_payload_done;
}

static int ask(struct fixture *f, const char *uri, struct upstream_payload **ret)
{
	struct upstream_payload_request req = { .source = "drop", .uri = uri, .max_bytes = 200000, .piece = on_piece, .done = on_done, .ctx = f };

	return upstream_payload(f->upstream, &req, ret);
}

static void a_payload_is_the_file_beside_the_envelope_and_nothing_else(void **state)
{
	static const char *const bad[] = { "https://v.example/", "https://v.example/../.x", "https://v.example/..", "file:///etc/", "" };
	struct fixture *f = *state;
	struct upstream_payload *p;
	uint8_t *bytes = calloc(1, 200001);

	memset(bytes, 7, 200001);
	drop(f, "fw.bin", SPAN(bytes, 200000));
	drop(f, "big.bin", SPAN(bytes, 200001));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(ask(f, bad[i], &p), -EINVAL);
	assert_int_equal(ask(f, "https://v.example/none.bin", &p), -ENOENT);
	assert_int_equal(ask(f, "https://v.example/big.bin", &p), -EFBIG);
	assert_int_equal(ask(f, "https://v.example/x/fw.bin?y#z", &p), 0);
	assert_true(until(f->loop, payload_done, f, PATIENCE_MS));
	assert_int_equal(f->payload_error, 0);
	assert_true(span_eq(buf_span(&f->payload), SPAN(bytes, 200000)));
	free(bytes);
}

static void a_payload_may_be_cancelled_or_lose_its_source(void **state)
{
	struct fixture *f = *state;
	struct upstream_payload *p;

	drop(f, "fw.bin", SPAN_LIT("firmware"));
	assert_int_equal(ask(f, "fw.bin", &p), 0);
	upstream_payload_cancel(p);
	assert_false(f->is_payload_done);
	assert_int_equal(ask(f, "fw.bin", &p), 0);
	apply(f, 0);
	assert_true(f->is_payload_done);
	assert_int_equal(f->payload_error, -ECANCELED);
	assert_int_equal(ask(f, "fw.bin", &p), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_envelope_is_handed_over_once_and_again_when_it_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(what_the_intake_could_not_take_is_offered_again, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_that_is_too_large_is_said_and_disturbs_no_other, setup, teardown),
		cmocka_unit_test_setup_teardown(many_files_come_and_go, setup, teardown),
		cmocka_unit_test_setup_teardown(a_folder_that_was_removed_and_made_again_is_watched_again, setup, teardown),
		cmocka_unit_test_setup_teardown(a_source_that_goes_while_it_reads_leaves_nothing_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(a_payload_is_the_file_beside_the_envelope_and_nothing_else, setup, teardown),
		cmocka_unit_test_setup_teardown(a_payload_may_be_cancelled_or_lose_its_source, setup, teardown),
	};
	return cmocka_run_group_tests_name("upstream/folder_source", tests, NULL, NULL);
}
