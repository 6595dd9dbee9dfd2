#include "io/dbus.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"

enum { US_PER_MS = 1000 };

struct dbus {
	struct loop *loop;
	char *address;
	const struct dbus_ops *ops;
	void *ctx;
	sd_bus *bus;                           /* NULL between two attempts */
	bool is_up;
	struct loop_io *io;
	int io_fd;
	unsigned io_what;
	struct loop_timer *turn;               /* more to do now, or a time-out of sd-bus */
	struct loop_timer *retry;              /* the next attempt; while one is made: how long it may take */
	int64_t retry_ms;
};

static void dbus_turn(void *ctx);

static void on_io(void *ctx, int fd, unsigned what)
{
	dbus_turn(ctx);
}

static unsigned what_of(int events)
{
	return (events & POLLIN ? LOOP_READ : 0u) | (events & POLLOUT ? LOOP_WRITE : 0u);
}

/* Before it is up sd-bus may go on to another socket of the same number: the old registration never counts then. */
static int watch(struct dbus *d)
{
	int fd = sd_bus_get_fd(d->bus);
	int events = sd_bus_get_events(d->bus);

	if (fd < 0 || events < 0)
		return -ECONNRESET;
	if (d->io && d->is_up && fd == d->io_fd && what_of(events) == d->io_what)
		return 0;
	loop_io_free(d->io);
	d->io_fd = fd;
	d->io_what = what_of(events);
	d->io = loop_io_new(d->loop, fd, d->io_what, on_io, d);
	return d->io ? 0 : -ECONNRESET;
}

static void arm(struct dbus *d, bool more)
{
	uint64_t us;

	if (more) {
		loop_timer_set(d->turn, 0);
	} else if (sd_bus_get_timeout(d->bus, &us) < 0 || us == UINT64_MAX) {
		loop_timer_set(d->turn, -1);
	} else {
		int64_t due_ms = us / US_PER_MS > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)(us / US_PER_MS) + 1;
		int64_t in_ms = due_ms - mono_now().ms; /* both are CLOCK_MONOTONIC */
		loop_timer_set(d->turn, in_ms < 0 ? 0 : in_ms);
	}
}

static void drop(struct dbus *d)
{
	d->io = loop_io_free(d->io);
	loop_timer_set(d->turn, -1);
	d->bus = sd_bus_close_unref(d->bus);
}

static void lost(struct dbus *d, int error)
{
	bool was_up = d->is_up;

	d->is_up = false;
	if (was_up) {
		d->retry_ms = DBUS_RETRY_MS;
		d->ops->down(d->ctx, error);
	}
	drop(d);
	loop_timer_set(d->retry, d->retry_ms + (int64_t)random_below((uint64_t)d->retry_ms / 4 + 1));
	d->retry_ms = d->retry_ms * 2 > DBUS_RETRY_MAX_MS ? DBUS_RETRY_MAX_MS : d->retry_ms * 2;
}

static void dbus_turn(void *ctx)
{
	struct dbus *d = ctx;
	int r = 1;

	for (int i = 0; r > 0 && i < DBUS_TURN_MAX; i++) {
		r = sd_bus_process(d->bus, NULL);
		if (!d->is_up && r >= 0 && sd_bus_is_ready(d->bus) > 0) {
			d->is_up = true;
			d->retry_ms = DBUS_RETRY_MS;
			loop_timer_set(d->retry, -1);
			d->ops->up(d->ctx, d->bus);
		}
	}
	if (r >= 0 && sd_bus_is_open(d->bus) <= 0)
		r = -ECONNRESET;
	if (r >= 0 && watch(d) < 0)
		r = -ECONNRESET;
	if (r < 0)
		lost(d, r);
	else
		arm(d, r > 0);
}

static int begin(struct dbus *d)
{
	int r = sd_bus_new(&d->bus);

	if (r >= 0)
		r = sd_bus_set_address(d->bus, d->address);
	if (r >= 0)
		r = sd_bus_set_bus_client(d->bus, 1);
	if (r >= 0)
		r = sd_bus_negotiate_fds(d->bus, 1);
	if (r >= 0)
		r = sd_bus_set_description(d->bus, "dormouse");
	if (r >= 0)
		r = sd_bus_start(d->bus);
	return r;
}

static void on_retry(void *ctx)
{
	struct dbus *d = ctx;

	if (d->bus) {
		lost(d, -ETIMEDOUT);
		return;
	}
	int r = begin(d);
	if (r < 0) {
		log_line(LOG_DEBUG, "D-Bus %s: %s", d->address, strerror(-r));
		lost(d, r);
		return;
	}
	loop_timer_set(d->retry, DBUS_HELLO_MS);
	dbus_turn(d);
}

struct dbus *dbus_new(struct loop *l, const char *address, const struct dbus_ops *ops, void *ctx)
{
	struct dbus *d = NEW(struct dbus);

	if (!address || !*address)
		address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
	if (!address || !*address)
		address = "unix:path=/run/dbus/system_bus_socket";
	*d = (struct dbus){ .loop = l, .address = mem_strdup(address), .ops = ops, .ctx = ctx, .io_fd = -1, .retry_ms = DBUS_RETRY_MS };
	d->turn = loop_timer_new(l, dbus_turn, d);
	d->retry = loop_timer_new(l, on_retry, d);
	loop_timer_set(d->retry, 0);
	return d;
}

struct dbus *dbus_free(struct dbus *d)
{
	if (d) {
		drop(d);
		loop_timer_free(d->turn);
		loop_timer_free(d->retry);
		free(d->address);
		free(d);
	}
	return NULL;
}

sd_bus *dbus_bus(const struct dbus *d)
{
	return d->is_up ? d->bus : NULL;
}

void dbus_touch(struct dbus *d)
{
	if (d->is_up)
		loop_timer_set(d->turn, 0);
}
