/* io/service: what systemd hears, on a socket of our own. */
#include "io/service.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { LIMIT_MS = 10000 };

struct ear {
	struct loop *loop;
	struct loop_io *io;
	int fd;
	char said[512];
	int n_watchdog;
};

static void ear_open(struct ear *e)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	socklen_t n = sizeof(sa_family_t);

	*e = (struct ear){ .loop = loop_new() };
	e->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(e->fd >= 0);
	assert_int_equal(bind(e->fd, (struct sockaddr *)&sun, n), 0); /* autobind: an abstract name */
	n = sizeof(sun);
	assert_int_equal(getsockname(e->fd, (struct sockaddr *)&sun, &n), 0);
	sun.sun_path[0] = '@';
	char name[sizeof(sun.sun_path) + 1] = { 0 };
	memcpy(name, sun.sun_path, n - sizeof(sa_family_t));
	assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
}

static const char *ear_hear(struct ear *e)
{
	ssize_t n = recv(e->fd, e->said, sizeof(e->said) - 1, 0);

	e->said[n > 0 ? n : 0] = 0;
	return e->said;
}

static void ear_close(struct ear *e)
{
	loop_io_free(e->io);
	loop_free(e->loop);
	close(e->fd);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
}

static void states_are_told(void **state)
{
	struct ear e;

	ear_open(&e);
	struct service *s = service_new(e.loop);
	service_ready(s);
	assert_string_equal(ear_hear(&e), "READY=1");
	service_reloading(s);
	assert_memory_equal(ear_hear(&e), "RELOADING=1\nMONOTONIC_USEC=", 27);
	assert_true(strtoull(e.said + 27, NULL, 10) > 0);
	service_stopping(s);
	assert_string_equal(ear_hear(&e), "STOPPING=1");
	service_status(s, "%d devices, %s", 20, "8 asleep");
	assert_string_equal(ear_hear(&e), "STATUS=20 devices, 8 asleep");
	service_status(s, "20 devices, 8 asleep");
	assert_string_equal(ear_hear(&e), ""); /* nothing new, nothing said */
	service_status(s, "a\nREADY=1");
	assert_string_equal(ear_hear(&e), "STATUS=a READY=1");
	assert_null(service_free(s));
	ear_close(&e);
}

static void ear_counts(void *ctx, int fd, unsigned what)
{
	struct ear *e = ctx;

	if (strcmp(ear_hear(e), "WATCHDOG=1") == 0 && ++e->n_watchdog == 3)
		loop_stop(e->loop);
}

static void the_watchdog_is_fed_at_half_its_time(void **state)
{
	struct ear e;
	struct mono began = mono_now();

	ear_open(&e);
	assert_int_equal(setenv("WATCHDOG_USEC", "40000", 1), 0);
	e.io = loop_io_new(e.loop, e.fd, LOOP_READ, ear_counts, &e);
	struct service *s = service_new(e.loop);
	assert_int_equal(loop_run_for(e.loop, LIMIT_MS), 0);
	assert_int_equal(e.n_watchdog, 3);
	assert_true(mono_diff_ms(mono_now(), began) >= 3 * 20);
	service_free(s);
	ear_close(&e);
}

static void without_systemd_nothing_happens(void **state)
{
	struct loop *l = loop_new();
	struct service *s = service_new(l);

	service_ready(s);
	service_reloading(s);
	service_status(s, "quiet");
	service_stopping(s);
	assert_int_equal(loop_run(l), -EDEADLK); /* not even a timer */
	service_free(s);
	loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_are_told),
		cmocka_unit_test(the_watchdog_is_fed_at_half_its_time),
		cmocka_unit_test(without_systemd_nothing_happens),
	};
	return cmocka_run_group_tests_name("io/service", tests, NULL, NULL);
}
