#include "vendor.h"

#include <errno.h>

#include "upstream/revocation_source.h"

enum { ASKERS = 200 };

struct fixture {
	struct vendor v;
	struct revocation_source *source;
	int status;
	unsigned n_answers, n_errors;
	int last_error;
	char body[32];
	struct http_exchange *held;            /* answered when the test says so */
	bool hold;
};

static const char key[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static void answer(void *ctx, struct http_exchange *x, const struct http_request *req)
{
	struct fixture *f = ctx;

	(void)req;
	if (f->hold)
		f->held = x;
	else
		http_reply(x, f->status, "application/pkix-crl", SPAN_LIT("crl bytes"));
}

static void fetched(void *ctx, const char *k, int error, const char *text, struct span der)
{
	struct fixture *f = ctx;

	assert_string_equal(k, key);
	f->n_answers++;
	f->last_error = error;
	if (error < 0) {
		f->n_errors++;
		assert_non_null(text);
	} else {
		snprintf(f->body, sizeof(f->body), "%.*s", SPAN_ARG(der));
	}
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->status = 200;
	vendor_open(&f->v, answer, f);
	f->source = revocation_source_new(&(struct revocation_source_config){
		.loop = f->v.loop, .http = f->v.client, .timeout_s = 5, .allow_private = true });
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	revocation_source_free(f->source);
	vendor_close(&f->v);
	free(f);
	return 0;
}

static bool one_answer(void *ctx) { return ((struct fixture *)ctx)->n_answers >= 1; }
static bool two_answers(void *ctx) { return ((struct fixture *)ctx)->n_answers >= 2; }
static bool all_answers(void *ctx) { return ((struct fixture *)ctx)->n_answers >= ASKERS; }
static bool is_held(void *ctx) { return ((struct fixture *)ctx)->held != NULL; }

static void many_askers_cost_one_fetch(void **state) /* RV-11 */
{
	struct fixture *f = *state;

	f->hold = true;
	for (int i = 0; i < ASKERS; i++)
		assert_int_equal(revocation_source_get(f->source, key, f->v.url, SPAN_NONE, false, fetched, f), 0);
	vendor_run_until(&f->v, is_held);
	assert_int_equal(f->n_answers, 0);
	http_reply(f->held, 200, "application/pkix-crl", SPAN_LIT("crl bytes"));
	vendor_run_until(&f->v, all_answers);
	assert_int_equal(f->v.n_requests, 1);
	assert_int_equal(f->n_errors, 0);
	assert_string_equal(f->body, "crl bytes");
}

static void a_failure_backs_off_unless_forced(void **state) /* RV-11 */
{
	struct fixture *f = *state;

	f->status = 503;
	assert_int_equal(revocation_source_get(f->source, key, f->v.url, SPAN_NONE, false, fetched, f), 0);
	vendor_run_until(&f->v, one_answer);
	assert_int_equal(f->last_error, -EPROTO);
	assert_int_equal(revocation_source_get(f->source, key, f->v.url, SPAN_NONE, false, fetched, f), 0);
	assert_int_equal(f->n_answers, 1); /* never from within the call */
	vendor_run_until(&f->v, two_answers);
	assert_int_equal(f->last_error, -EAGAIN);
	assert_int_equal(f->v.n_requests, 1);
	f->status = 200;
	f->n_answers = 0;
	assert_int_equal(revocation_source_get(f->source, key, f->v.url, SPAN_NONE, true, fetched, f), 0);
	vendor_run_until(&f->v, one_answer);
	assert_int_equal(f->last_error, 0);
}

static void an_answer_over_the_limit_is_refused(void **state) /* RV-12: OCSP 20 KiB */
{
	struct fixture *f = *state;
	static uint8_t big[REVOCATION_FETCH_OCSP_MAX + 1];

	f->hold = true;
	assert_int_equal(revocation_source_get(f->source, key, f->v.url, SPAN_LIT("request"), false, fetched, f), 0);
	vendor_run_until(&f->v, is_held);
	http_reply(f->held, 200, "application/ocsp-response", SPAN_OF(big));
	vendor_run_until(&f->v, one_answer);
	assert_int_equal(f->last_error, -EFBIG);
}

static void stopping_answers_everybody(void **state)
{
	struct fixture *f = *state;

	f->hold = true;
	assert_int_equal(revocation_source_get(f->source, key, f->v.url, SPAN_NONE, false, fetched, f), 0);
	f->source = revocation_source_free(f->source);
	assert_int_equal(f->n_answers, 1);
	assert_int_equal(f->last_error, -ECANCELED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(many_askers_cost_one_fetch, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failure_backs_off_unless_forced, setup, teardown),
		cmocka_unit_test_setup_teardown(an_answer_over_the_limit_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(stopping_answers_everybody, setup, teardown),
	};
	return cmocka_run_group_tests_name("upstream/revocation_source", tests, NULL, NULL);
}
