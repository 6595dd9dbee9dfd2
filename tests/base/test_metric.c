#include "base/metric.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void values_add_set_and_keep_the_larger(void **state)
{
	metric_add(METRIC_COAP_REQUESTS, 2);
	metric_add(METRIC_COAP_REQUESTS, 1);
	assert_true(metric_get(METRIC_COAP_REQUESTS) == 3);
	metric_set(METRIC_DEVICES, 7);
	metric_set(METRIC_DEVICES, 5);
	assert_true(metric_get(METRIC_DEVICES) == 5);
	metric_max(METRIC_LOOP_MAX_US, 40);
	metric_max(METRIC_LOOP_MAX_US, 30);
	assert_true(metric_get(METRIC_LOOP_MAX_US) == 40);
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (const char *p = strstr(text, what); p; p = strstr(p + 1, what))
		n++;
	return n;
}

/* Prometheus exposition format 0.0.4: HELP and TYPE at most once for a name, before its samples. */
static void each_name_is_described_once_before_its_samples(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	metric_set(METRIC_JOBS_FAILED, -1);
	metric_render(&b);
	assert_true(buf_ok(&b));
	const char *text = buf_str(&b);
	assert_int_equal(count(text, "# HELP dormouse_jobs_finished_total Jobs finished\n"), 1);
	assert_int_equal(count(text, "# TYPE dormouse_jobs_finished_total counter\n"), 1);
	assert_int_equal(count(text, "\ndormouse_jobs_finished_total{state=\"confirmed\"} 0\n"), 1);
	assert_int_equal(count(text, "\ndormouse_jobs_finished_total{state=\"failed\"} -1\n"), 1);
	assert_int_equal(count(text, "# TYPE dormouse_devices gauge\n"), 1);
	assert_int_equal(count(text, "# TYPE "), count(text, "# HELP "));
	assert_int_equal(count(text, "\n"), METRIC_COUNT + 2 * count(text, "# TYPE "));
	assert_true(strstr(text, "# TYPE dormouse_jobs_finished_total") < strstr(text, "dormouse_jobs_finished_total{"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_add_set_and_keep_the_larger),
		cmocka_unit_test(each_name_is_described_once_before_its_samples),
	};

	return cmocka_run_group_tests_name("base/metric", tests, NULL, NULL);
}
