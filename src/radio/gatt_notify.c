/* Notifications and indications: one subscription at bluetoothd per characteristic and connection, by a socket or by StartNotify and
 * PropertiesChanged (BLZ-5), shared by all who want it. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/text.h"
#include "radio/gatt_internal.h"

static void acquire(void *ctx);

static struct gatt_notifier *notifier_find(const struct gatt_connection *g, uint16_t handle)
{
	struct gatt_notifier *n;

	DL_FOREACH(g->notifiers, n)
		if (n->handle == handle)
			return n;
	return NULL;
}

static void notifier_free(struct gatt_notifier *n)
{
	struct gatt_connection *g = n->connection;

	if (n->gone)
		*n->gone = true;
	if (n->call || n->fd >= 0)
		g->closed_at = mono_now();
	bluez_cancel(n->call);
	loop_timer_free(n->again);
	loop_io_free(n->io);
	if (n->fd >= 0)
		(void)close(n->fd); /* nothing was written to it */
	DL_DELETE(g->notifiers, n);
	free(n);
}

/* The end of its socket tells bluetoothd; without one it is told. */
static void stop(struct gatt_notifier *n)
{
	struct gatt_connection *g = n->connection;

	if (n->is_signal || n->call)
		(void)bluez_call_plain(g->bluez, n->path, BLUEZ_I_CHARACTERISTIC, "StopNotify", BLUEZ_CALL_MS, NULL, NULL, NULL); /* or it is gone */
	notifier_free(n);
}

static void tell_ready(struct gatt_subscription *s, int error)
{
	s->error = error;
	s->is_due = true;
	gatt_due(s->link->connection);
}

static void notifier_ready(struct gatt_notifier *n)
{
	n->is_ready = true;
	for (struct gatt_subscription *s = n->subscriptions; s; s = s->next)
		tell_ready(s, 0);
}

static void notifier_failed(struct gatt_notifier *n, int error)
{
	while (n->subscriptions) {
		struct gatt_subscription *s = n->subscriptions;

		DL_DELETE(n->subscriptions, s);
		s->notifier = NULL;
		tell_ready(s, error);
	}
	notifier_free(n);
}

/* To all, who may do what they like meanwhile; false: after that there is no such notifier any more. */
static bool notifier_tell(struct gatt_notifier *n, struct span value)
{
	bool gone = false;
	struct gatt_subscription *s = n->subscriptions;

	n->gone = &gone;
	while (s) {
		n->telling = s->next;
		if (s->was_told && s->error == 0) {
			ble_link_used(s->link->link);
			s->ops->value(s->ctx, value);
		}
		if (gone)
			return false;
		s = n->telling;
	}
	n->gone = NULL;
	return true;
}

static void hung_up(struct gatt_notifier *n, const char *why)
{
	n->io = loop_io_free(n->io);
	if (n->subscriptions)
		ble_link_hung_up(n->subscriptions->link->link, why);
}

static bool is_hung_up(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLRDHUP };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL));
}

static void on_packets(void *ctx, int fd, unsigned what)
{
	struct gatt_notifier *n = ctx;
	uint8_t data[GATT_PACKET_BYTES];

	for (int i = 0; i < GATT_PACKETS_TURN_MAX; i++) {
		ssize_t r = recv(fd, data, sizeof(data), MSG_DONTWAIT);

		if (r < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (r < 0 || (r == 0 && is_hung_up(fd))) { /* an empty notification reads as 0, too */
			hung_up(n, "bluetoothd closed the socket for notifications");
			return;
		}
		if (!notifier_tell(n, SPAN(data, (size_t)r)))
			return;
	}
}

/* ---- beginning ---- */

static void on_started(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct gatt_notifier *n = ctx;

	n->call = NULL;
	/* bluetoothd keeps what a client asked for over connections, and begins it again by itself. */
	if (error && strcasestr(why, "already notifying"))
		error = 0;
	error = gatt_error(error, name, why);
	if (error == 0) {
		n->is_signal = true;
		notifier_ready(n);
	} else if (error == -EBUSY && gatt_is_ours(n->connection, n->tries)) {
		n->tries++;
		loop_timer_set(n->again, GATT_AGAIN_MS);
	} else {
		notifier_failed(n, error);
	}
}

static void start(struct gatt_notifier *n)
{
	int r = bluez_call_plain(n->connection->bluez, n->path, BLUEZ_I_CHARACTERISTIC, "StartNotify", BLUEZ_CALL_MS, on_started, n, &n->call);

	if (r < 0)
		notifier_failed(n, gatt_error(r, NULL, NULL));
}

static void on_acquired(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct gatt_notifier *n = ctx;
	struct gatt_connection *g = n->connection;
	bool is_shareable = strcmp(name, "org.bluez.Error.InProgress") == 0; /* another program uses StartNotify: so can we */
	uint16_t mtu;

	n->call = NULL;
	error = gatt_error(error, name, why);
	if (error == 0) {
		n->fd = gatt_take_socket(answer, &mtu);
		n->io = n->fd >= 0 ? loop_io_new(g->loop, n->fd, LOOP_READ, on_packets, n) : NULL;
		if (n->io)
			notifier_ready(n);
		else
			notifier_failed(n, -EIO);
	} else if (error == -EBUSY && gatt_is_ours(g, n->tries)) {
		n->tries++;
		loop_timer_set(n->again, GATT_AGAIN_MS);
	} else if (error == -EOPNOTSUPP || is_shareable || (error == -ENOENT && bluez_find_characteristic(g->device, n->handle))) {
		start(n);
	} else {
		notifier_failed(n, error);
	}
}

static void acquire(void *ctx)
{
	struct gatt_notifier *n = ctx;
	struct gatt_connection *g = n->connection;
	const struct bluez_characteristic *c = bluez_find_characteristic(g->device, n->handle);
	int r;

	if (!c) {
		notifier_failed(n, -ENOENT);
	} else if (!(c->properties & (GATT_NOTIFY | GATT_INDICATE))) {
		notifier_failed(n, -EOPNOTSUPP);
	} else {
		(void)text_copy(n->path, sizeof(n->path), span_str(c->object.path)); /* same size */
		if (!c->can_acquire_notify) {
			start(n);
			return;
		}
		r = gatt_acquire(g, n->path, "AcquireNotify", on_acquired, n, &n->call);
		if (r < 0)
			notifier_failed(n, gatt_error(r, NULL, NULL));
	}
}

static struct gatt_notifier *notifier_new(struct gatt_connection *g, uint16_t handle)
{
	struct gatt_notifier *n = NEW(struct gatt_notifier);

	n->connection = g;
	n->handle = handle;
	n->fd = -1;
	n->again = loop_timer_new(g->loop, acquire, n);
	loop_timer_set(n->again, 0);
	DL_APPEND(g->notifiers, n);
	return n;
}

int gatt_subscribe(struct ble_link *k, uint16_t handle, const struct gatt_subscription_ops *ops, void *ctx, struct gatt_subscription **ret)
{
	struct gatt_link *l = gatt_link_get(k);

	if (!l)
		return -ENOTCONN;
	struct gatt_notifier *n = notifier_find(l->connection, handle);
	if (!n)
		n = notifier_new(l->connection, handle);
	struct gatt_subscription *s = NEW(struct gatt_subscription);
	s->link = l;
	s->notifier = n;
	s->ops = ops;
	s->ctx = ctx;
	DL_APPEND(n->subscriptions, s);
	DL_APPEND2(l->subscriptions, s, link_prev, link_next);
	if (n->is_ready)
		tell_ready(s, 0);
	*ret = s;
	return 0;
}

struct gatt_subscription *gatt_unsubscribe(struct gatt_subscription *s)
{
	if (!s)
		return NULL;
	struct gatt_notifier *n = s->notifier;
	if (n) {
		if (n->telling == s)
			n->telling = s->next;
		DL_DELETE(n->subscriptions, s);
		if (!n->subscriptions)
			stop(n);
	}
	DL_DELETE2(s->link->subscriptions, s, link_prev, link_next);
	free(s);
	return NULL;
}

bool gatt_subscription_turn(struct gatt_link *l)
{
	for (struct gatt_subscription *s = l->subscriptions; s; s = s->link_next) {
		if (!s->is_due)
			continue;
		s->is_due = false;
		s->was_told = true;
		gatt_due(l->connection);
		if (s->ops->ready)
			s->ops->ready(s->ctx, s->error);
		return true;
	}
	return false;
}

void gatt_subscriptions_free(struct gatt_link *l)
{
	while (l->subscriptions)
		gatt_unsubscribe(l->subscriptions);
}

void gatt_notifiers_free(struct gatt_connection *g)
{
	while (g->notifiers)
		notifier_free(g->notifiers);
}

void gatt_notifiers_lost(struct gatt_connection *g, const char *path)
{
	struct gatt_notifier *n;

	DL_FOREACH(g->notifiers, n)
		if (strcmp(n->path, path) == 0)
			hung_up(n, "the characteristic is gone");
}

/* ---- values by PropertiesChanged ---- */

static bool is_being_read(const struct gatt_connection *g, uint16_t handle)
{
	for (const struct gatt_op *op = g->ops; op; op = op->next)
		if (op->is_read && op->call && op->handle == handle)
			return true;
	return false;
}

/* bluetoothd says so of a value that was read, too. While a read of ours is under way the last value is held until its answer tells
 * which it was. */
static void hold(struct gatt_notifier *n, struct span value)
{
	n->is_held = true;
	n->is_held_due = false;
	n->n_held = value.n;
	if (value.n)
		memcpy(n->held, value.p, value.n);
}

/* The one that is held, told; false: after that there is no such notifier any more. */
static bool release(struct gatt_notifier *n)
{
	uint8_t value[GATT_VALUE_BYTES_MAX];

	if (!n->is_held)
		return true;
	n->is_held = n->is_held_due = false;
	memcpy(value, n->held, n->n_held);
	return notifier_tell(n, SPAN(value, n->n_held));
}

void gatt_connection_value(struct gatt_connection *g, struct bluez_characteristic *c, struct span value)
{
	struct gatt_notifier *n = g ? notifier_find(g, c->handle) : NULL;

	if (!n || !n->is_signal || value.n > sizeof(n->held) || !release(n))
		return;
	if (is_being_read(g, n->handle))
		hold(n, value);
	else
		(void)notifier_tell(n, value); /* nothing is done after it */
}

void gatt_notifier_read(struct gatt_connection *g, uint16_t handle, struct span value)
{
	struct gatt_notifier *n = notifier_find(g, handle);

	if (!n || !n->is_held)
		return;
	n->is_held_due = !span_eq(SPAN(n->held, n->n_held), value);
	n->is_held = n->is_held_due;
}

bool gatt_notifier_turn(struct gatt_connection *g)
{
	struct gatt_notifier *n;

	DL_FOREACH(g->notifiers, n) {
		if (!n->is_held_due)
			continue;
		gatt_due(g);
		(void)release(n); /* nothing is done after it */
		return true;
	}
	return false;
}
