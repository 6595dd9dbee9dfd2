/* tests/private_bus.h - a dbus-daemon of the test's own, with everything allowed on it, listening in a scratch folder. It dies with the
 * test. Include after cmocka.h.
 *
 *	struct private_bus bus = { 0 };
 *	private_bus_start(&bus);               // bus.address is for sd_bus_set_address()
 *	private_bus_stop(&bus);                // as when the bus goes away; start again: the same address
 *	private_bus_done(&bus); */
#pragma once
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"

struct private_bus {
	char dir[32], address[64];
	pid_t pid;                             /* 0 = not running */
};

static inline void private_bus_config(struct private_bus *b)
{
	char path[64];

	(void)snprintf(b->dir, sizeof(b->dir), "/tmp/dormouse-bus-XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	(void)snprintf(b->address, sizeof(b->address), "unix:path=%s/bus", b->dir);
	(void)snprintf(path, sizeof(path), "%s/bus.conf", b->dir);
	FILE *f = fopen(path, "we");
	assert_non_null(f);
	(void)fprintf(f, "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\""
		      " \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"
		      "<busconfig><type>session</type><listen>%s</listen><auth>EXTERNAL</auth>\n"
		      "<policy context=\"default\"><allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy>\n"
		      "</busconfig>\n", b->address);
	assert_int_equal(fclose(f), 0);
}

static inline void private_bus_exec(const struct private_bus *b, int ready)
{
	char config[96], print[32], log[96];

	(void)snprintf(log, sizeof(log), "%s/log", b->dir);
	if (!freopen(log, "w", stderr)) /* it complains about a limit when it is root and may not raise it */
		_exit(127);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)snprintf(config, sizeof(config), "--config-file=%s/bus.conf", b->dir);
	(void)snprintf(print, sizeof(print), "--print-address=%d", ready);
	(void)execlp("dbus-daemon", "dbus-daemon", "--nofork", "--nopidfile", "--nosyslog", config, print, (char *)NULL);
	_exit(127);
}

static inline void private_bus_start(struct private_bus *b)
{
	int ready[2];
	char line[256];

	if (!b->dir[0])
		private_bus_config(b);
	assert_int_equal(pipe(ready), 0);
	b->pid = fork();
	assert_true(b->pid >= 0);
	if (b->pid == 0) {
		(void)close(ready[0]);
		private_bus_exec(b, ready[1]);
	}
	(void)close(ready[1]);
	if (read(ready[0], line, sizeof(line)) <= 0)
		fail_msg("no dbus-daemon: tools/setup installs it (package dbus)");
	(void)close(ready[0]);
}

static inline void private_bus_stop(struct private_bus *b)
{
	if (!b->pid)
		return;
	(void)kill(b->pid, SIGKILL);
	(void)waitpid(b->pid, NULL, 0);
	b->pid = 0;
}

static inline void private_bus_done(struct private_bus *b)
{
	private_bus_stop(b);
	if (b->dir[0])
		scratch_remove(b->dir);
	b->dir[0] = 0;
}
