#include "vendor.h"

#include <errno.h>
#include <time.h>

#include "base/mem.h"
#include "base/text.h"
#include "upstream/upstream.h"

struct fixture {
	struct vendor v;
	struct worker_pool *workers;
	struct upstream *u;
	const char *body, *etag, *modified;
	unsigned n_conditional;
	unsigned n_found, n_remembered, n_not_modified, n_payload_done;
	int take_error, payload_error;
	char last[64], last_uri[128];
	struct upstream_memory memory;
	bool has_memory;
	struct buf payload;
	int status;
	char name[8], kind[8], url[128], empty[1];
};

static void answer(void *ctx, struct http_exchange *x, const struct http_request *req)
{
	struct fixture *f = ctx;
	const char *given = http_header(x, "If-None-Match"), *range = http_header(x, "Range");

	if (strcmp(req->path, "/fw.bin") == 0) {
		if (range) {
			http_reply_header(x, "Content-Range", "bytes 4-9/10");
			http_reply(x, 206, "application/octet-stream", SPAN_LIT("456789"));
		} else {
			http_reply(x, 200, "application/octet-stream", SPAN_LIT("0123456789"));
		}
		return;
	}
	if (f->status != 200) {
		http_reply(x, f->status, "text/plain", SPAN_LIT("no"));
		return;
	}
	if (f->etag)
		http_reply_header(x, "ETag", f->etag);
	if (f->modified)
		http_reply_header(x, "Last-Modified", f->modified);
	if (http_header(x, "If-Modified-Since"))
		f->n_conditional++;
	if (given && f->etag && strcmp(given, f->etag) == 0) {
		f->n_not_modified++;
		http_reply(x, 304, "text/plain", SPAN_NONE);
		return;
	}
	if (strcmp(req->path, "/index.txt") == 0)
		http_reply(x, 200, "text/plain", SPAN_LIT("# two\r\na.suit\nsub/b.suit\n\n"));
	else if (strcmp(req->path, "/latest.suit") == 0)
		http_reply(x, 200, "application/octet-stream", span_str(f->body));
	else
		http_reply(x, 200, "application/octet-stream", span_str(req->path));
}

static void found(void *ctx, const char *source, const char *uri, struct span envelope, upstream_taken_fn *taken, void *arg)
{
	struct fixture *f = ctx;

	assert_string_equal(source, "acme");
	f->n_found++;
	snprintf(f->last, sizeof(f->last), "%.*s", SPAN_ARG(envelope));
	snprintf(f->last_uri, sizeof(f->last_uri), "%s", uri);
	taken(arg, f->take_error);
}

static bool recall(void *ctx, const char *source, struct upstream_memory *ret)
{
	struct fixture *f = ctx;

	(void)source;
	*ret = f->memory;
	return f->has_memory;
}

static void remember(void *ctx, const char *source, const struct upstream_memory *m)
{
	struct fixture *f = ctx;

	(void)source;
	f->memory = *m;
	f->has_memory = true;
	f->n_remembered++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->status = 200;
	f->body = "one";
	vendor_open(&f->v, answer, f);
	f->workers = worker_pool_new(f->v.loop, 1);
	f->u = upstream_new(&(struct upstream_config){ .loop = f->v.loop, .workers = f->workers, .http = f->v.client,
		.envelope_bytes_max = 1000, .found = found, .recall = recall, .remember = remember, .ctx = f });
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	upstream_free(f->u);
	worker_pool_free(f->workers);
	vendor_close(&f->v);
	buf_done(&f->payload);
	free(f);
	return 0;
}

static void start(struct fixture *f, const char *path)
{
	_cleanup_buf_ struct buf error = { 0 };

	snprintf(f->name, sizeof(f->name), "acme");
	snprintf(f->kind, sizeof(f->kind), "https");
	snprintf(f->url, sizeof(f->url), "%s%s", f->v.url, path);
	struct config_source row = { .name = f->name, .kind = f->kind, .url = f->url, .path = f->empty, .ca_file = f->empty, .poll_s = 3600,
				     .jitter_s = 0, .timeout_s = 5, .backoff_max_s = 1, .allow_http = true, .allow_private = true };
	assert_int_equal(upstream_apply(f->u, &row, 1, &error), 0);
}

static struct source_status status_of(struct fixture *f)
{
	struct source_status st;

	assert_int_equal(upstream_status(f->u, 0, &st), 0);
	return st;
}

static bool found_one(void *ctx) { return ((struct fixture *)ctx)->n_found >= 1; }
static bool found_two(void *ctx) { return ((struct fixture *)ctx)->n_found >= 2; }
static bool not_modified(void *ctx) { return ((struct fixture *)ctx)->n_not_modified >= 1; }
static bool has_failed(void *ctx) { return status_of(ctx).failures >= 1; }
static bool is_ok(void *ctx) { return status_of(ctx).is_ok; }
static bool payload_done(void *ctx) { return ((struct fixture *)ctx)->n_payload_done >= 1; }
static bool three_requests(void *ctx) { return ((struct fixture *)ctx)->v.n_requests >= 3; }

static void polling_is_conditional_once_the_envelope_was_taken(void **state)
{
	struct fixture *f = *state;

	f->etag = "\"v1\"";
	start(f, "/latest.suit");
	vendor_run_until(&f->v, found_one);
	assert_string_equal(f->last, "one");
	assert_string_equal(f->memory.etag, "\"v1\"");
	assert_int_equal(upstream_poll(f->u, "acme"), 0);
	vendor_run_until(&f->v, not_modified);
	assert_int_equal(f->n_found, 1);
	f->etag = "\"v2\"";
	f->body = "two";
	assert_int_equal(upstream_poll(f->u, "acme"), 0);
	vendor_run_until(&f->v, found_two);
	assert_string_equal(f->last, "two");
	assert_int_equal(upstream_poll(f->u, "nobody"), -ENOENT);
}

static void what_was_not_taken_is_handed_over_again(void **state)
{
	struct fixture *f = *state;

	f->etag = "\"v1\"";
	f->take_error = -ENOSPC;
	start(f, "/latest.suit");
	vendor_run_until(&f->v, found_one);
	assert_int_equal(f->n_remembered, 0);
	assert_false(status_of(f).is_ok);
	f->take_error = 0;
	assert_int_equal(upstream_poll(f->u, "acme"), 0);
	vendor_run_until(&f->v, found_two);
	assert_int_equal(f->n_remembered, 1);
}

static void without_an_etag_the_same_bytes_are_not_news(void **state)
{
	struct fixture *f = *state;

	start(f, "/latest.suit");
	vendor_run_until(&f->v, found_one);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(upstream_poll(f->u, "acme"), 0);
		unsigned n = f->v.n_requests;
		while (f->v.n_requests == n)
			(void)loop_run_for(f->v.loop, 5);
		(void)loop_run_for(f->v.loop, 20);
	}
	assert_int_equal(f->n_found, 1);
}

static void poll_again(struct fixture *f)
{
	unsigned n = f->v.n_requests;

	assert_int_equal(upstream_poll(f->u, "acme"), 0);
	while (f->v.n_requests == n)
		(void)loop_run_for(f->v.loop, 5);
	(void)loop_run_for(f->v.loop, 20);
}

/* RFC 9110 section 8.8.2.2: two versions within one second have the same time of modification. */
static void a_time_of_modification_counts_only_when_its_second_is_over(void **state)
{
	struct fixture *f = *state;
	char now[64];
	time_t t = time(NULL);

	strftime(now, sizeof(now), "%a, %d %b %Y %H:%M:%S GMT", gmtime(&t));
	f->modified = now;
	start(f, "/latest.suit");
	vendor_run_until(&f->v, found_one);
	poll_again(f);
	assert_int_equal(f->n_conditional, 0);
	f->modified = "Sat, 21 Nov 2020 09:00:00 GMT";
	f->body = "two";
	poll_again(f);
	poll_again(f);
	assert_int_equal(f->n_conditional, 1);
}

static void an_index_names_envelopes_relative_to_itself(void **state)
{
	struct fixture *f = *state;

	start(f, "/index.txt");
	vendor_run_until(&f->v, found_two);
	assert_string_equal(f->last, "/sub/b.suit");
	assert_non_null(strstr(f->last_uri, "/sub/b.suit"));
}

static void a_failing_server_is_reported_and_tried_again_sooner(void **state)
{
	struct fixture *f = *state;

	f->status = 500;
	start(f, "/latest.suit");
	vendor_run_until(&f->v, has_failed);
	assert_non_null(strstr(status_of(f).error, "500"));
	vendor_run_until(&f->v, three_requests); /* long before poll_s */
	f->status = 200;
	vendor_run_until(&f->v, is_ok);
}

static void an_envelope_over_the_limit_is_refused(void **state)
{
	struct fixture *f = *state;
	static char big[1002];

	memset(big, 'x', 1001);
	f->body = big;
	start(f, "/latest.suit");
	vendor_run_until(&f->v, has_failed);
	assert_int_equal(f->n_found, 0);
}

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
	f->payload_error = error;
	f->n_payload_done++;
}

static void a_payload_resumes_where_it_was(void **state)
{
	struct fixture *f = *state;
	struct upstream_payload *p;
	char uri[128];

	start(f, "/latest.suit");
	snprintf(uri, sizeof(uri), "%s/fw.bin", f->v.url);
	buf_add(&f->payload, SPAN_LIT("0123"));
	struct upstream_payload_request req = { .source = "acme", .uri = uri, .from = 4, .max_bytes = 10, .piece = on_piece, .done = on_done, .ctx = f };
	assert_int_equal(upstream_payload(f->u, &req, &p), 0);
	vendor_run_until(&f->v, payload_done);
	assert_int_equal(f->payload_error, 0);
	assert_string_equal(buf_str(&f->payload), "0123456789");
	req.source = "nobody";
	assert_int_equal(upstream_payload(f->u, &req, &p), -ENOENT);
}

static void a_payload_longer_than_promised_stops(void **state) /* SU-19 */
{
	struct fixture *f = *state;
	struct upstream_payload *p;
	char uri[128];

	start(f, "/latest.suit");
	snprintf(uri, sizeof(uri), "%s/fw.bin", f->v.url);
	struct upstream_payload_request req = { .source = "acme", .uri = uri, .max_bytes = 9, .piece = on_piece, .done = on_done, .ctx = f };
	assert_int_equal(upstream_payload(f->u, &req, &p), 0);
	vendor_run_until(&f->v, payload_done);
	assert_int_equal(f->payload_error, -EFBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(polling_is_conditional_once_the_envelope_was_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_not_taken_is_handed_over_again, setup, teardown),
		cmocka_unit_test_setup_teardown(without_an_etag_the_same_bytes_are_not_news, setup, teardown),
		cmocka_unit_test_setup_teardown(a_time_of_modification_counts_only_when_its_second_is_over, setup, teardown),
		cmocka_unit_test_setup_teardown(an_index_names_envelopes_relative_to_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failing_server_is_reported_and_tried_again_sooner, setup, teardown),
		cmocka_unit_test_setup_teardown(an_envelope_over_the_limit_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_payload_resumes_where_it_was, setup, teardown),
		cmocka_unit_test_setup_teardown(a_payload_longer_than_promised_stops, setup, teardown),
	};
	return cmocka_run_group_tests_name("upstream/http_source", tests, NULL, NULL);
}
