/* io/service.h - the systemd side of the daemon (sd_notify): READY, STATUS, RELOADING,
 * STOPPING, and WATCHDOG fed from a loop timer, so only a live loop feeds it. Everything is
 * a no-op when not started by systemd. */
#pragma once
#include "io/loop.h"

struct service;

struct service *service_new(struct loop *l);
struct service *service_free(struct service *s);
void service_ready(struct service *s);
void service_reloading(struct service *s);     /* with MONOTONIC_USEC, as Type=notify-reload wants */
void service_stopping(struct service *s);
void service_status(struct service *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
