#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* What fn wrote to stderr. */
static void capture(void (*fn)(void), char *ret, size_t ret_bytes)
{
	int fds[2], keep = dup(STDERR_FILENO);

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
	fn();
	assert_true(dup2(keep, STDERR_FILENO) >= 0);
	close(keep);
	close(fds[1]);
	ssize_t n = read(fds[0], ret, ret_bytes - 1);
	close(fds[0]);
	ret[n > 0 ? n : 0] = 0;
}

static void log_levels(void)
{
	log_open("test", LOG_INFO);
	log_event(EV_GENERIC, LOG_ERR, "disk %s", "full");
	log_event(EV_LOOP_SLOW, LOG_WARNING, "slow");
	log_event(EV_STARTED, LOG_NOTICE, "started");
	log_line(LOG_INFO, "from %d", 7);
	log_line(LOG_DEBUG, "hidden");
	log_set_max_priority(LOG_DEBUG);
	log_line(LOG_DEBUG, "seen");
	log_set_max_priority(LOG_ERR);
	log_line(LOG_WARNING, "hidden");
}

static void lines_are_plain_and_below_the_level_are_dropped(void **state)
{
	char out[512];

	capture(log_levels, out, sizeof(out));
	assert_string_equal(out, "error: disk full\nwarning: slow\nstarted\nfrom 7\ndebug: seen\n");
}

static void log_nasty(void)
{
	char big[5000];

	log_open("test", LOG_INFO);
	log_line(LOG_INFO, "a\nerror: b\x1b[0m");
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	log_line(LOG_INFO, "%s", big);
	for (size_t i = 0; i + 3 < sizeof(big); i += 2)
		memcpy(big + i, "\xc3\xa9", 3);
	log_line(LOG_INFO, "%s", big);
}

static void a_record_is_one_line_and_bounded(void **state)
{
	char out[8192];

	capture(log_nasty, out, sizeof(out));
	char *first = strtok(out, "\n"), *second = strtok(NULL, "\n"), *third = strtok(NULL, "\n");
	assert_string_equal(first, "a error: b [0m");
	assert_int_equal(strlen(second), 2047);
	assert_string_equal(second + 2044, "...");
	assert_string_equal(third + strlen(third) - 5, "\xc3\xa9...");
	assert_null(strtok(NULL, "\n"));
}

static void log_to_foreign_journal(void)
{
	/* some other program's stream: not ours, so plain text it is */
	assert_int_equal(setenv("JOURNAL_STREAM", "1:1", 1), 0);
	log_open("test", LOG_INFO);
	log_line(LOG_INFO, "plain");
	unsetenv("JOURNAL_STREAM");
}

static void only_our_own_stderr_counts_as_the_journal(void **state)
{
	char out[64];

	capture(log_to_foreign_journal, out, sizeof(out));
	assert_string_equal(out, "plain\n");
}

/* In a mount namespace of its own a child plays the journal: what arrives at its socket is printed to stdout_fd. */
static int play_journal(int stdout_fd)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket" };
	char stream[64], datagram[8192];
	struct stat st;

	if (unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) < 0 || mount(NULL, "/", "", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0)
		return 77;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (mkdir("/run/systemd", 0755) < 0 || mkdir("/run/systemd/journal", 0755) < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    fstat(STDERR_FILENO, &st) < 0)
		return 1;
	(void)snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino); /* fits */
	setenv("JOURNAL_STREAM", stream, 1);
	log_open("dormoused", LOG_INFO);
	log_fields(EV_JOB_STATE, LOG_WARNING, ({ "GW_JOB", "17" }, { "GW_STATE", "failed" }, { "GW_REASON", NULL }), "job %d\nfailed", 17);
	ssize_t n = recv(fd, datagram, sizeof(datagram), 0);
	return n > 0 && write(stdout_fd, datagram, (size_t)n) == n ? 0 : 1;
}

static void under_systemd_fields_and_message_id_go_to_the_journal(void **state)
{
	static const char *const lines[] = { "MESSAGE=job 17 failed\n", "PRIORITY=4\n", "SYSLOG_IDENTIFIER=dormoused\n",
					     "MESSAGE_ID=7f0a6f20c0d14d0e9a4e3b8f5f2b1040\n", "GW_EVENT=job-state\n", "GW_JOB=17\n", "GW_STATE=failed\n" };
	char got[8192];
	int fds[2], status;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid_t child = fork();
	if (child == 0)
		_exit(play_journal(fds[1]));
	assert_int_equal(waitpid(child, &status, 0), child);
	close(fds[1]);
	ssize_t n = read(fds[0], got, sizeof(got) - 1);
	close(fds[0]);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip(); /* no namespaces for us here */
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	got[n > 0 ? n : 0] = 0;
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		assert_non_null(strstr(got, lines[i]));
	assert_null(strstr(got, "GW_REASON"));
}

static struct {
	int calls, priority;
	enum event_id event;
	char text[64], field[64];
	size_t n_fields;
} seen;

static void observer(void *ctx, const struct log_record *rec)
{
	assert_ptr_equal(ctx, &seen);
	seen.calls++;
	seen.event = rec->event;
	seen.priority = rec->priority;
	seen.n_fields = rec->n_fields;
	assert_true(rec->at.ms > 0);
	(void)snprintf(seen.text, sizeof(seen.text), "%s", rec->text);
	if (rec->n_fields)
		(void)snprintf(seen.field, sizeof(seen.field), "%s=%s", rec->fields[0].name, rec->fields[0].value);
	log_event(EV_GENERIC, LOG_DEBUG, "from inside the observer"); /* must not come back */
}

static void the_observer_sees_every_event_but_not_itself(void **state)
{
	log_open("test", LOG_ERR);
	log_set_observer(observer, &seen);
	log_fields(EV_JOB_STATE, LOG_INFO, ({ "GW_JOB", "17" }, { "GW_DEVICE", "lamp" }), "job %d: %s", 17, "queued");
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.event, EV_JOB_STATE);
	assert_int_equal(seen.priority, LOG_INFO);
	assert_int_equal(seen.n_fields, 2);
	assert_string_equal(seen.text, "job 17: queued");
	assert_string_equal(seen.field, "GW_JOB=17");
	log_line(LOG_INFO, "not an event");
	assert_int_equal(seen.calls, 1);
	log_set_observer(NULL, NULL);
	log_event(EV_STOPPED, LOG_INFO, "bye");
	assert_int_equal(seen.calls, 1);
}

static void every_event_has_a_slug_and_an_id_of_its_own(void **state)
{
	for (int a = 0; a < EVENT_COUNT; a++) {
		assert_true(strlen(event_slug((enum event_id)a)) > 0);
		assert_int_equal(strspn(event_message_id((enum event_id)a), "0123456789abcdef"), 32);
		assert_int_equal(strlen(event_message_id((enum event_id)a)), 32);
		for (int b = 0; b < a; b++) {
			assert_string_not_equal(event_slug((enum event_id)a), event_slug((enum event_id)b));
			assert_string_not_equal(event_message_id((enum event_id)a), event_message_id((enum event_id)b));
		}
	}
	assert_string_equal(event_slug((enum event_id)EVENT_COUNT), "log");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_plain_and_below_the_level_are_dropped),
		cmocka_unit_test(a_record_is_one_line_and_bounded),
		cmocka_unit_test(only_our_own_stderr_counts_as_the_journal),
		cmocka_unit_test(under_systemd_fields_and_message_id_go_to_the_journal),
		cmocka_unit_test(the_observer_sees_every_event_but_not_itself),
		cmocka_unit_test(every_event_has_a_slug_and_an_id_of_its_own),
	};

	return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
