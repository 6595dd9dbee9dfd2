#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "model/job.h"

/* The whole table again, written the other way: per state, "event>state" for what is possible. */
static const struct {
	enum job_state from;
	int to[JOB_EVENT_COUNT];
} expected[] = {
#define NO (-1)
	/*                      start         progress          transferred      applying      confirmed      rejected    reverted      defer         resume      retry       cancel */
	{ JOB_QUEUED,       { JOB_OFFERED, JOB_TRANSFERRING, JOB_TRANSFERRED, JOB_APPLYING, JOB_CONFIRMED, JOB_FAILED, JOB_REVERTED, JOB_DEFERRED, NO,         NO,         JOB_CANCELLED } },
	{ JOB_OFFERED,      { JOB_OFFERED, JOB_TRANSFERRING, JOB_TRANSFERRED, JOB_APPLYING, JOB_CONFIRMED, JOB_FAILED, JOB_REVERTED, JOB_DEFERRED, NO,         NO,         JOB_CANCELLED } },
	{ JOB_TRANSFERRING, { NO,          JOB_TRANSFERRING, JOB_TRANSFERRED, JOB_APPLYING, JOB_CONFIRMED, JOB_FAILED, JOB_REVERTED, JOB_DEFERRED, NO,         NO,         JOB_CANCELLED } },
	{ JOB_TRANSFERRED,  { NO,          JOB_TRANSFERRING, JOB_TRANSFERRED, JOB_APPLYING, JOB_CONFIRMED, JOB_FAILED, JOB_REVERTED, JOB_DEFERRED, NO,         NO,         JOB_CANCELLED } },
	{ JOB_APPLYING,     { NO,          JOB_TRANSFERRING, JOB_TRANSFERRED, JOB_APPLYING, JOB_CONFIRMED, JOB_FAILED, JOB_REVERTED, JOB_DEFERRED, NO,         NO,         JOB_CANCELLED } },
	{ JOB_DEFERRED,     { NO,          JOB_TRANSFERRING, JOB_TRANSFERRED, JOB_APPLYING, JOB_CONFIRMED, JOB_FAILED, JOB_REVERTED, JOB_DEFERRED, JOB_QUEUED, NO,         JOB_CANCELLED } },
	{ JOB_CONFIRMED,    { NO,          NO,               NO,              NO,           JOB_CONFIRMED, NO,         JOB_REVERTED, NO,           NO,         NO,         NO } },
	{ JOB_FAILED,       { NO,          NO,               NO,              NO,           JOB_CONFIRMED, JOB_FAILED, NO,           NO,           NO,         JOB_QUEUED, NO } },
	{ JOB_REVERTED,     { NO,          NO,               NO,              NO,           JOB_CONFIRMED, NO,         JOB_REVERTED, NO,           NO,         JOB_QUEUED, NO } },
	{ JOB_CANCELLED,    { NO,          NO,               NO,              NO,           NO,            NO,         NO,           NO,           NO,         JOB_QUEUED, JOB_CANCELLED } },
};

static void every_state_and_event_gives_what_the_table_says(void **state)
{
	assert_int_equal(sizeof(expected) / sizeof(*expected), JOB_STATE_COUNT);
	for (size_t i = 0; i < JOB_STATE_COUNT; i++)
		for (unsigned ev = 0; ev < JOB_EVENT_COUNT; ev++)
			assert_int_equal(job_next(expected[i].from, (enum job_event)ev), expected[i].to[ev]);
}

static void what_is_no_state_or_event_is_not_possible(void **state)
{
	assert_int_equal(job_next(JOB_STATE_COUNT, JOB_EV_START), -1);
	assert_int_equal(job_next(JOB_QUEUED, JOB_EVENT_COUNT), -1);
	assert_string_equal(job_state_name(JOB_STATE_COUNT), "?");
	assert_string_equal(job_event_name(JOB_EVENT_COUNT), "?");
	assert_false(job_is_open(JOB_STATE_COUNT));
}

static void open_jobs_can_fail_be_cancelled_and_be_confirmed_closed_ones_start_again_only_by_retry(void **state)
{
	for (unsigned s = 0; s < JOB_STATE_COUNT; s++) {
		bool open = job_is_open((enum job_state)s);
		assert_int_equal(job_next((enum job_state)s, JOB_EV_START) == JOB_OFFERED, s == JOB_QUEUED || s == JOB_OFFERED);
		if (open) {
			assert_int_equal(job_next((enum job_state)s, JOB_EV_REJECTED), JOB_FAILED);
			assert_int_equal(job_next((enum job_state)s, JOB_EV_CANCEL), JOB_CANCELLED);
			assert_int_equal(job_next((enum job_state)s, JOB_EV_CONFIRMED), JOB_CONFIRMED);
			continue;
		}
		for (unsigned ev = 0; ev < JOB_EVENT_COUNT; ev++) {
			int to = job_next((enum job_state)s, (enum job_event)ev);
			assert_true(to < 0 || !job_is_open((enum job_state)to) || ev == JOB_EV_RETRY);
		}
	}
}

static void every_open_state_leads_to_confirmed_without_a_person(void **state)
{
	static const enum job_event path[] = { JOB_EV_START, JOB_EV_PROGRESS, JOB_EV_TRANSFERRED, JOB_EV_APPLYING, JOB_EV_CONFIRMED };
	int s = JOB_QUEUED;
	for (size_t i = 0; i < sizeof(path) / sizeof(*path); i++) {
		s = job_next((enum job_state)s, path[i]);
		assert_true(s >= 0);
	}
	assert_int_equal(s, JOB_CONFIRMED);
}

static void names_of_states_read_back(void **state)
{
	for (unsigned s = 0; s < JOB_STATE_COUNT; s++) {
		enum job_state back;
		assert_int_equal(job_state_parse(span_str(job_state_name((enum job_state)s)), &back), 0);
		assert_int_equal(back, s);
	}
	enum job_state back;
	assert_true(job_state_parse(SPAN_LIT("Queued"), &back) < 0);
	assert_true(job_state_parse(SPAN_LIT("queue"), &back) < 0);
	assert_true(job_state_parse(SPAN_NONE, &back) < 0);
	assert_string_equal(job_event_name(JOB_EV_TRANSFERRED), "transferred");
}

static void a_job_id_depends_on_update_and_device_and_on_nothing_else(void **state)
{
	char a[JOB_ID_BYTES], b[JOB_ID_BYTES];
	job_id_of("0011", "node-1", a);
	job_id_of("0011", "node-1", b);
	assert_string_equal(a, b);
	assert_int_equal(strlen(a), 32);
	job_id_of("0011", "node-2", b);
	assert_string_not_equal(a, b);
	job_id_of("0011n", "ode-1", b);
	assert_string_not_equal(a, b);
}

/* LW-25, LW-27, LW-30, LW-32; device-protocols 1.5 */
static void reports_in_object_5_words_become_events(void **state)
{
	static const struct { unsigned state, result; enum job_event ev; } rows[] = {
		{ 0, 0, JOB_EVENT_COUNT }, { 1, 0, JOB_EV_PROGRESS }, { 2, 0, JOB_EV_TRANSFERRED }, { 3, 0, JOB_EV_APPLYING },
		{ 0, 1, JOB_EV_CONFIRMED },
		/* success only counts back in idle */
		{ 1, 1, JOB_EV_PROGRESS }, { 2, 1, JOB_EV_TRANSFERRED }, { 3, 1, JOB_EV_APPLYING },
		{ 0, 2, JOB_EV_REJECTED }, { 0, 3, JOB_EV_REJECTED }, { 1, 4, JOB_EV_REJECTED }, { 0, 5, JOB_EV_REJECTED },
		{ 0, 6, JOB_EV_REJECTED }, { 0, 7, JOB_EV_REJECTED }, { 2, 8, JOB_EV_REJECTED }, { 0, 9, JOB_EV_REJECTED },
		{ 0, 10, JOB_EV_CANCEL }, { 2, 11, JOB_EV_DEFER }, { 0, 12, JOB_EV_REJECTED }, { 0, 13, JOB_EV_REJECTED },
		{ 0, 14, JOB_EV_REJECTED }, { 3, 0xffffffff, JOB_EV_REJECTED },
		{ 4, 0, JOB_EVENT_COUNT }, { 4, 1, JOB_EVENT_COUNT }, { 0xffffffff, 0, JOB_EVENT_COUNT }, { 4, 5, JOB_EV_REJECTED },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_int_equal(job_event_from_report(rows[i].state, rows[i].result), rows[i].ev);
}

static void every_result_has_a_text_and_a_remedy(void **state)
{
	for (unsigned r = 0; r <= 13; r++) {
		assert_string_not_equal(job_result_text(r), "unknown result");
		if (r >= 2)
			assert_int_not_equal(job_remedy_of(r), REMEDY_NONE);
	}
	assert_int_equal(job_remedy_of(3), REMEDY_RETRY_SMALLER);
	assert_int_equal(job_remedy_of(5), REMEDY_RECHECK_IMAGE);
	assert_int_equal(job_remedy_of(11), REMEDY_WAIT);
	assert_int_equal(job_remedy_of(14), REMEDY_STOP);
	assert_string_equal(job_result_text(14), "unknown result");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_and_event_gives_what_the_table_says),
		cmocka_unit_test(what_is_no_state_or_event_is_not_possible),
		cmocka_unit_test(open_jobs_can_fail_be_cancelled_and_be_confirmed_closed_ones_start_again_only_by_retry),
		cmocka_unit_test(every_open_state_leads_to_confirmed_without_a_person),
		cmocka_unit_test(names_of_states_read_back),
		cmocka_unit_test(a_job_id_depends_on_update_and_device_and_on_nothing_else),
		cmocka_unit_test(reports_in_object_5_words_become_events),
		cmocka_unit_test(every_result_has_a_text_and_a_remedy),
	};
	return cmocka_run_group_tests_name("model/job", tests, NULL, NULL);
}
