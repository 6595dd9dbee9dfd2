#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "rollout/selection.h"

struct facts {
	struct update u;
	struct device d;
	struct job job, other;
	struct update other_update;
	struct selection_facts f;
};

/* An enrolled device of the right model with an older sequence, and an approved, available update. */
static struct facts good(void)
{
	struct facts x = { 0 };

	snprintf(x.u.id, sizeof(x.u.id), "%064d", 7);
	x.u.state = UPDATE_AVAILABLE;
	x.u.approved = true;
	x.u.sequence = 5;
	x.u.n_components = 1;
	x.u.components[0].n_vendor_id = x.u.components[0].n_class_id = 1;
	memset(x.u.components[0].vendor_id[0], 1, 16);
	memset(x.u.components[0].class_id[0], 2, 16);
	snprintf(x.d.id, sizeof(x.d.id), "node-1");
	snprintf(x.d.driver, sizeof(x.d.driver), "coap-pull");
	x.d.state = DEVICE_ENROLLED;
	x.d.model.has_vendor = x.d.model.has_class = true;
	memset(x.d.model.vendor_id, 1, 16);
	memset(x.d.model.class_id, 2, 16);
	x.f = (struct selection_facts){ .driver_known = true, .images_ready = true, .retry_max = 3, .now = { 1000000 } };
	return x;
}

static const struct selection_block *only_block(struct facts *x, const char *rule)
{
	static struct selection s;

	x->f.update = &x->u;
	x->f.device = &x->d;
	selection_judge(&x->f, &s);
	if (!rule) {
		assert_true(s.allowed);
		assert_int_equal(s.n_blocks, 0);
		return NULL;
	}
	assert_false(s.allowed);
	assert_int_equal(s.n_blocks, 1);
	assert_string_equal(s.blocks[0].rule, rule);
	assert_true(s.blocks[0].text[0]);
	return &s.blocks[0];
}

static void what_fits_is_allowed(void **state)
{
	struct facts x = good();

	(void)state;
	only_block(&x, NULL);
}

static void each_fact_alone_blocks_and_says_so(void **state)
{
	struct facts x;

	(void)state;
	for (int s = 0; s < UPDATE_STATE_COUNT; s++) {
		if (s == UPDATE_AVAILABLE)
			continue;
		x = good();
		x.u.state = (enum update_state)s;
		only_block(&x, "update-state");
	}
	x = good();
	x.u.approved = false;
	assert_true(only_block(&x, "approval")->is_wait);
	x = good();
	x.u.has_use_before = true; /* SU-51 */
	x.u.use_before_s = 1000;
	only_block(&x, "use-before");
	x.u.use_before_s = 1001;
	only_block(&x, NULL);
	x = good();
	x.f.images_ready = false;
	only_block(&x, "images");
	x = good();
	x.d.state = DEVICE_SEEN;
	only_block(&x, "enrolment");
	x.d.state = DEVICE_QUARANTINED;
	only_block(&x, "enrolment");
	x = good();
	x.f.driver_known = false;
	only_block(&x, "driver");
	x = good();
	x.f.key_missing = true;
	assert_true(only_block(&x, "proof")->is_wait);
	x = good();
	x.d.model.class_id[3] ^= 1; /* SU-15 */
	only_block(&x, "model");
	x = good();
	x.d.model.vendor_id[3] ^= 1;
	only_block(&x, "model");
}

static void what_is_not_newer_is_not_offered(void **state)
{
	struct facts x = good();

	(void)state;
	x.d.n_components = 1;
	x.d.components[0].has_sequence = true;
	x.d.components[0].sequence = 4;
	only_block(&x, NULL);
	x.d.components[0].sequence = 6; /* SU-12 */
	only_block(&x, "sequence");
}

static void jobs_block_by_their_state(void **state)
{
	struct facts x = good();

	(void)state;
	x.f.job = &x.job;
	x.job.state = JOB_CANCELLED;
	only_block(&x, "job-cancelled");
	x.job.state = JOB_DEFERRED;
	only_block(&x, "deferred");
	x.job.state = JOB_FAILED;
	x.job.attempts = 2;
	only_block(&x, NULL);
	x.job.attempts = 3;
	only_block(&x, "retries");
	x = good();
	x.f.other = &x.other;
	x.f.other_update = &x.other_update;
	x.other_update.sequence = 5;
	only_block(&x, "newer-job");
	x.other_update.sequence = 4;
	only_block(&x, NULL);
}

/* What has begun goes on, slowly; what has not waits. */
static void a_radio_without_airtime_lets_new_jobs_wait(void **state)
{
	struct facts x = good();

	(void)state;
	x.f.radio_over = "lowpan0";
	x.f.radio_wait_s = 90;
	const struct selection_block *b = only_block(&x, "airtime");
	assert_true(b->is_wait);
	assert_non_null(strstr(b->text, "lowpan0"));
	assert_non_null(strstr(b->text, "90 s"));
	x.f.job = &x.job;
	x.job.state = JOB_QUEUED;
	only_block(&x, "airtime");
	x.job.state = JOB_TRANSFERRING;
	only_block(&x, NULL);
}

static void several_blocks_are_all_named(void **state)
{
	struct facts x = good();
	struct selection s;

	(void)state;
	x.u.state = UPDATE_HELD;
	x.u.approved = false;
	x.d.state = DEVICE_RETIRED;
	x.d.model.has_class = false;
	x.f.driver_known = false;
	x.f.update = &x.u;
	x.f.device = &x.d;
	selection_judge(&x.f, &s);
	assert_int_equal(s.n_blocks, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_fits_is_allowed),
		cmocka_unit_test(each_fact_alone_blocks_and_says_so),
		cmocka_unit_test(what_is_not_newer_is_not_offered),
		cmocka_unit_test(jobs_block_by_their_state),
		cmocka_unit_test(a_radio_without_airtime_lets_new_jobs_wait),
		cmocka_unit_test(several_blocks_are_all_named),
	};
	return cmocka_run_group_tests_name("rollout/selection", tests, NULL, NULL);
}
