/* The driver behind a real CoAP server, asked by our client on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"
#include "delivery/coap_pull.h"
#include "io/coap_client.h"

enum { IMAGE_BYTES = 5000 };

struct fixture {
	struct loop *loop;
	struct coap_endpoint *endpoint;
	struct delivery_driver *driver;
	struct coap_client *client;
	struct coap_session *session;
	uint8_t image[IMAGE_BYTES];
	struct delivery_image images[1];
	struct digest manifest;
	int open_error, report_error;
	unsigned n_reports, n_open, n_notified;
	struct node_report report;
	char progress_job[JOB_ID_BYTES];
	uint64_t sent, total;
	/* the last answer */
	bool is_done;
	struct coap_call_result res;
	struct buf body;
};

static int read_image(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	struct fixture *f = ctx;

	memcpy(ret, f->image + off, n);
	return 0;
}

static void release_image(void *ctx)
{
	((struct fixture *)ctx)->n_open--;
}

static int open_image(void *ctx, const struct digest *manifest, const struct digest *d, struct coap_body_reader *ret)
{
	struct fixture *f = ctx;

	assert_true(digest_eq(manifest, &f->manifest));
	if (f->open_error || !digest_eq(d, &f->images[0].digest))
		return f->open_error ? f->open_error : -ENOENT;
	f->n_open++;
	*ret = (struct coap_body_reader){ .bytes = IMAGE_BYTES, .read = read_image, .release = release_image, .ctx = f };
	return 0;
}

static int envelope(void *ctx, const char *device, const struct digest *manifest, struct buf *ret)
{
	(void)ctx;
	(void)manifest;
	buf_printf(ret, "envelope for %s", device);
	return 0;
}

static void progress(void *ctx, const char *job, uint64_t sent, uint64_t total)
{
	struct fixture *f = ctx;

	snprintf(f->progress_job, sizeof(f->progress_job), "%s", job);
	f->sent = sent;
	f->total = total;
}

static void report(void *ctx, const char *device, const struct node_report *r, delivery_done_fn *done, void *arg)
{
	struct fixture *f = ctx;

	assert_string_equal(device, "node-1");
	f->report = *r;
	f->n_reports++;
	done(arg, f->report_error);
}

static int who(void *ctx, const struct coap_peer *peer, struct span ep, char *ret)
{
	(void)ctx;
	(void)peer;
	if (span_eq_str(ep, "stranger"))
		return COAP_403_FORBIDDEN;
	if (!ep.n)
		return COAP_401_UNAUTHORIZED;
	return text_copy(ret, DEVICE_ID_BYTES, ep) < 0 ? COAP_403_FORBIDDEN : 0;
}

static void offer(struct fixture *f, const char *device, const char *job)
{
	struct delivery_order order = { .manifest = f->manifest, .sequence = 2, .images = f->images, .n_images = 1 };

	snprintf(order.device, sizeof(order.device), "%s", device);
	snprintf(order.job, sizeof(order.job), "%s", job);
	assert_int_equal(f->driver->ops->start(f->driver, &order), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const char *listen[] = { "coap://127.0.0.1:0" };
	int error = 0;

	log_set_max_priority(LOG_ALERT);
	f->loop = loop_new();
	struct coap_endpoint_config ec = { .listen = listen, .n_listen = 1, .max_sessions = 100, .session_timeout_s = 60, .max_handshakes = 10,
					   .block1_total_bytes = 1 << 20, .block1_peer_bytes = 1 << 16, .max_observers = 10 };
	f->endpoint = coap_endpoint_new(f->loop, &ec, &error);
	assert_non_null(f->endpoint);
	for (size_t i = 0; i < IMAGE_BYTES; i++)
		f->image[i] = (uint8_t)(i ^ i >> 8);
	f->images[0].digest = digest_of(SPAN_OF(f->image));
	f->images[0].bytes = IMAGE_BYTES;
	snprintf(f->images[0].uri, sizeof(f->images[0].uri), "https://vendor.example/fw.bin");
	f->manifest = digest_of(SPAN_LIT("manifest"));
	struct coap_pull_config c = { .endpoint = f->endpoint, .path = "fw", .forward_proxy = true, .offer_max_age_s = 60,
				      .source = { open_image, envelope, f }, .sink = { progress, report, f }, .who = who, .who_ctx = f };
	assert_int_equal(coap_pull_open(&c, &f->driver), 0);
	f->client = coap_client_new(f->loop);
	struct coap_session_config sc = { .uri = coap_endpoint_address(f->endpoint, 0) };
	assert_int_equal(coap_session_open(f->client, &sc, &f->session), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	coap_session_close(f->session);
	coap_client_free(f->client);
	coap_endpoint_free(f->endpoint);
	assert_int_equal(f->n_open, 0); /* every reader was released */
	f->driver->ops->close(f->driver);
	loop_free(f->loop);
	buf_done(&f->body);
	free(f);
	return 0;
}

static void on_answer(void *ctx, const struct coap_call_result *res)
{
	struct fixture *f = ctx;

	f->is_done = true;
	f->n_notified++;
	f->res = *res;
	buf_clear(&f->body);
	buf_add(&f->body, res->body);
}

static uint8_t ask(struct fixture *f, struct coap_call_request req)
{
	f->is_done = false;
	req.szx = req.szx ? req.szx : 6;
	if (!req.accept)
		req.accept = COAP_CF_NONE;
	assert_int_equal(coap_call(f->session, &req, on_answer, f, NULL), 0);
	for (int i = 0; i < 1000 && !f->is_done; i++)
		(void)loop_run_for(f->loop, 10);
	assert_true(f->is_done);
	assert_int_equal(f->res.error, 0);
	return f->res.code;
}

static uint8_t get(struct fixture *f, const char *path, const char *query)
{
	const char *q[] = { query, NULL };

	return ask(f, (struct coap_call_request){ .method = COAP_M_GET, .path = path, .query = query ? q : NULL, .content_format = COAP_CF_NONE });
}

static void nothing_is_offered_before_there_is_an_order(void **state)
{
	struct fixture *f = *state;
	const char *q[] = { "ep=node-1", NULL };
	struct coap_etag old = { .n = 3, .b = { 1, 2, 3 } };

	assert_int_equal(get(f, "fw", NULL), COAP_401_UNAUTHORIZED);
	assert_int_equal(get(f, "fw", "ep=node-1"), COAP_404_NOT_FOUND);
	assert_int_equal(get(f, "fw", "ep=stranger"), COAP_403_FORBIDDEN);
	assert_int_equal(ask(f, (struct coap_call_request){ .method = COAP_M_GET, .path = "fw", .query = q, .etag = old,
							    .content_format = COAP_CF_NONE }), COAP_203_VALID);
}

static void an_offer_is_the_envelope_for_its_device_alone(void **state)
{
	struct fixture *f = *state;
	const char *q[] = { "ep=node-1", NULL };

	offer(f, "node-1", "job-1");
	assert_int_equal(get(f, "fw", "ep=node-1"), COAP_205_CONTENT);
	assert_string_equal(buf_str(&f->body), "envelope for node-1");
	assert_int_equal(f->res.content_format, COAP_CF_SUIT_ENVELOPE);
	assert_memory_equal(f->res.etag.b, f->manifest.b, 8);
	struct coap_etag etag = f->res.etag;
	assert_int_equal(ask(f, (struct coap_call_request){ .method = COAP_M_GET, .path = "fw", .query = q, .etag = etag,
							    .content_format = COAP_CF_NONE }), COAP_203_VALID);
	assert_int_equal(get(f, "fw", "ep=node-2"), COAP_404_NOT_FOUND);
	assert_int_equal(ask(f, (struct coap_call_request){ .method = COAP_M_GET, .path = "fw", .query = q, .accept = COAP_CF_JSON,
							    .content_format = COAP_CF_NONE }), COAP_406_NOT_ACCEPTABLE);
}

static void an_image_goes_to_whom_it_is_offered_and_shows_progress(void **state)
{
	struct fixture *f = *state;
	char path[100], hex[DIGEST_HEX_BYTES];

	snprintf(path, sizeof(path), "fw/i/%s", digest_hex(&f->images[0].digest, hex));
	offer(f, "node-1", "job-1");
	assert_int_equal(get(f, path, "ep=node-2"), COAP_404_NOT_FOUND);
	assert_int_equal(get(f, path, "ep=node-1"), COAP_205_CONTENT);
	assert_int_equal(f->body.n, IMAGE_BYTES);
	assert_memory_equal(f->body.p, f->image, IMAGE_BYTES);
	assert_string_equal(f->progress_job, "job-1");
	assert_int_equal(f->sent, IMAGE_BYTES);
	assert_int_equal(f->total, IMAGE_BYTES);
	assert_int_equal(get(f, "fw/i/1234", "ep=node-1"), COAP_404_NOT_FOUND);
	f->open_error = -EAGAIN;
	offer(f, "node-3", "job-3");
	assert_int_equal(get(f, path, "ep=node-3"), COAP_503_UNAVAILABLE);
	f->open_error = 0;
}

static void a_payload_uri_is_served_by_proxy(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request req = { .method = COAP_M_GET, .proxy_uri = "https://vendor.example/fw.bin", .content_format = COAP_CF_NONE };

	offer(f, "node-1", "job-1");
	assert_int_equal(ask(f, req), COAP_401_UNAUTHORIZED); /* nobody yet */
	assert_int_equal(get(f, "fw", "ep=node-1"), COAP_205_CONTENT);
	assert_int_equal(ask(f, req), COAP_205_CONTENT); /* the session spoke for node-1 */
	assert_int_equal(f->body.n, IMAGE_BYTES);
	req.proxy_uri = "https://vendor.example/other.bin";
	assert_int_equal(ask(f, req), COAP_505_NO_PROXY);
}

static void a_report_is_acknowledged_when_it_is_stored(void **state)
{
	struct fixture *f = *state;
	_cleanup_buf_ struct buf b = { 0 };
	const char *q[] = { "ep=node-1", NULL };
	struct node_report r = { .manifest_digest = f->manifest, .state = 0, .result = 1, .reason = SPAN_LIT("fine") };
	struct coap_call_request req = { .method = COAP_M_POST, .path = "fw/r", .query = q, .content_format = COAP_CF_CBOR };

	node_report_encode(&r, &b);
	req.body = buf_span(&b);
	assert_int_equal(ask(f, req), COAP_204_CHANGED);
	assert_int_equal(f->report.result, 1);
	f->report_error = -ENOENT;
	assert_int_equal(ask(f, req), COAP_404_NOT_FOUND);
	f->report_error = -ENOSPC;
	assert_int_equal(ask(f, req), COAP_503_UNAVAILABLE);
	unsigned n = f->n_reports;
	req.content_format = COAP_CF_JSON;
	assert_int_equal(ask(f, req), COAP_415_FORMAT);
	req.content_format = COAP_CF_CBOR;
	req.body = SPAN_LIT("\xff");
	assert_int_equal(ask(f, req), COAP_400_BAD_REQUEST);
	assert_int_equal(f->n_reports, n);
}

static void a_cancelled_offer_is_gone_and_a_repeated_one_changes_nothing(void **state)
{
	struct fixture *f = *state;

	offer(f, "node-1", "job-1");
	offer(f, "node-1", "job-1");
	f->driver->ops->cancel(f->driver, "node-1", "another job");
	assert_int_equal(get(f, "fw", "ep=node-1"), COAP_205_CONTENT);
	f->driver->ops->cancel(f->driver, "node-1", "job-1");
	f->driver->ops->cancel(f->driver, "node-1", "job-1");
	assert_int_equal(get(f, "fw", "ep=node-1"), COAP_404_NOT_FOUND);
}

static void who_observes_hears_of_a_new_offer(void **state)
{
	struct fixture *f = *state;
	const char *q[] = { "ep=node-1", NULL };
	struct coap_etag old = { .n = 3, .b = { 1, 2, 3 } };

	assert_int_equal(ask(f, (struct coap_call_request){ .method = COAP_M_GET, .path = "fw", .query = q, .etag = old, .observe = true,
							    .content_format = COAP_CF_NONE }), COAP_203_VALID);
	f->is_done = false;
	offer(f, "node-1", "job-1");
	for (int i = 0; i < 500 && !f->is_done; i++)
		(void)loop_run_for(f->loop, 10);
	assert_true(f->is_done);
	assert_true(f->res.is_notification);
	assert_string_equal(buf_str(&f->body), "envelope for node-1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_is_offered_before_there_is_an_order, setup, teardown),
		cmocka_unit_test_setup_teardown(an_offer_is_the_envelope_for_its_device_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(an_image_goes_to_whom_it_is_offered_and_shows_progress, setup, teardown),
		cmocka_unit_test_setup_teardown(a_payload_uri_is_served_by_proxy, setup, teardown),
		cmocka_unit_test_setup_teardown(a_report_is_acknowledged_when_it_is_stored, setup, teardown),
		cmocka_unit_test_setup_teardown(a_cancelled_offer_is_gone_and_a_repeated_one_changes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(who_observes_hears_of_a_new_offer, setup, teardown),
	};
	return cmocka_run_group_tests_name("delivery/coap_pull", tests, NULL, NULL);
}
