#include "io/service.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "base/mem.h"

enum { SERVICE_STATUS_BYTES_MAX = 256 };

struct service {
	struct loop_timer *watchdog;           /* NULL = systemd does not ask for it */
	int64_t watchdog_ms;
	char status[SERVICE_STATUS_BYTES_MAX]; /* last told */
};

/* A failed notification has no one to be reported to but systemd itself, so results are ignored. */

static void watchdog_feed(void *ctx)
{
	struct service *s = ctx;

	(void)sd_notify(0, "WATCHDOG=1");
	loop_timer_set(s->watchdog, s->watchdog_ms);
}

struct service *service_new(struct loop *l)
{
	struct service *s = NEW(struct service);
	uint64_t usec = 0;

	if (sd_watchdog_enabled(0, &usec) > 0) {
		s->watchdog_ms = (int64_t)(usec / 2 / 1000);
		if (s->watchdog_ms < 1)
			s->watchdog_ms = 1;
		s->watchdog = loop_timer_new(l, watchdog_feed, s);
		loop_timer_set(s->watchdog, s->watchdog_ms);
	}
	return s;
}

struct service *service_free(struct service *s)
{
	if (s) {
		loop_timer_free(s->watchdog);
		free(s);
	}
	return NULL;
}

void service_ready(struct service *s)
{
	(void)sd_notify(0, "READY=1");
}

void service_reloading(struct service *s)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
	(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000);
}

void service_stopping(struct service *s)
{
	(void)sd_notify(0, "STOPPING=1");
}

void service_status(struct service *s, const char *fmt, ...)
{
	char text[SERVICE_STATUS_BYTES_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* a longer one is cut */
	va_end(ap);
	for (char *p = text; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f) /* a line break would start another assignment */
			*p = ' ';
	}
	if (strcmp(text, s->status) == 0)
		return;
	memcpy(s->status, text, sizeof(text));
	(void)sd_notifyf(0, "STATUS=%s", text);
}
