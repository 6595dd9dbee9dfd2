/* io/dbus.h - one connection to a D-Bus bus on our loop. It comes up by itself, asynchronously, and after a loss comes back by itself;
 * nobody waits for it. At most DBUS_TURN_MAX messages are handled in a turn. What is said on it is sd-bus's own API, for radio/ only:
 * its asynchronous functions (sd_bus_call_async, sd_bus_add_match_async, ...), never those that wait. Loop thread. */
#pragma once
#include <systemd/sd-bus.h>

#include "io/loop.h"

enum { DBUS_TURN_MAX = 32, DBUS_RETRY_MS = 500, DBUS_RETRY_MAX_MS = 10 * 1000, DBUS_HELLO_MS = 25 * 1000 };

struct dbus;

struct dbus_ops {                              /* neither may call dbus_free() */
	void (*up)(void *ctx, sd_bus *bus);    /* connected, with a name of our own */
	/* After an up: the bus is lost, and with it every slot; unref them all. Answers that were waited for may have come as errors, or not. */
	void (*down)(void *ctx, int error);
};

/* address: D-Bus address; NULL = the system bus ($DBUS_SYSTEM_BUS_ADDRESS or the usual socket). */
struct dbus *dbus_new(struct loop *l, const char *address, const struct dbus_ops *ops, void *ctx);
struct dbus *dbus_free(struct dbus *d);        /* without down(); slots of it may be unref'd later */
sd_bus *dbus_bus(const struct dbus *d);        /* NULL while it is not up */
/* After anything was sent or called: what could not be written at once is written later, and time-outs are kept. */
void dbus_touch(struct dbus *d);
