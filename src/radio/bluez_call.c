/* Calls to bluetoothd: asynchronous, each with its time-out, each answered once. */
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "radio/bluez_internal.h"

struct bluez_call {
	struct bluez_call *prev, *next;
	struct bluez *z;
	sd_bus_slot *slot;
	bluez_answer_fn *fn;
	bluez_read_fn *read;                   /* instead of fn: the answer is for the mirror */
	bool is_reading;                       /* the mirror tells others, who may cancel */
	void *ctx;
};

static void call_free(struct bluez_call *c)
{
	DL_DELETE(c->z->calls, c);
	c->z->n_calls--;
	sd_bus_slot_unref(c->slot);
	free(c);
}

/* The call is gone before its owner is told. */
static void call_end(struct bluez_call *c, sd_bus_message *answer, int error, const char *name, const char *why)
{
	if (c->read && !error) {
		c->is_reading = true;
		error = bluez_read_objects(c->z, answer);
	}
	struct bluez_call was = *c;
	call_free(c);
	if (was.read)
		was.read(was.ctx, error);
	else if (was.fn)
		was.fn(was.ctx, error ? NULL : answer, error, name, why);
}

/* Words for people: what strangers put into it is escaped. */
static void reason(const sd_bus_error *e, char ret[static BLE_REASON_BYTES])
{
	_cleanup_buf_ struct buf b = { .max = BLE_REASON_BYTES * 4 };

	text_add_escaped(&b, span_str(e->message ? e->message : e->name), BLE_REASON_BYTES / 2);
	(void)snprintf(ret, BLE_REASON_BYTES, "%s", buf_str(&b)); /* cut where it is too long */
}

static int on_answer(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	const sd_bus_error *e = sd_bus_message_get_error(m);
	char why[BLE_REASON_BYTES] = "";

	if (e)
		reason(e, why);
	call_end(ctx, m, e ? bluez_error(e->name, e->message) : 0, e && e->name ? e->name : "", why);
	return 1;
}

int bluez_message(struct bluez *z, const char *path, const char *interface, const char *member, sd_bus_message **ret)
{
	sd_bus *bus = dbus_bus(z->dbus);

	if (!bus || !z->owner[0])
		return -ENOTCONN;
	/* To this instance of bluetoothd, never to start one. */
	int r = sd_bus_message_new_method_call(bus, ret, z->owner, path, interface, member);
	return r < 0 ? r : 0;
}

static int call(struct bluez *z, sd_bus_message *m, int64_t timeout_ms, const struct bluez_call *like, struct bluez_call **ret)
{
	sd_bus *bus = dbus_bus(z->dbus);
	int r;

	if (!bus || !z->owner[0])
		return -ENOTCONN;
	if (!like->fn && !like->read) {
		r = sd_bus_message_set_expect_reply(m, 0);
		if (r >= 0)
			r = sd_bus_send(bus, m, NULL);
		dbus_touch(z->dbus);
		return r < 0 ? r : 0;
	}
	if (z->n_calls >= BLUEZ_CALLS_MAX)
		return -ENOSPC;
	struct bluez_call *c = NEW(struct bluez_call);
	*c = *like;
	c->z = z;
	r = sd_bus_call_async(bus, &c->slot, m, on_answer, c, (uint64_t)timeout_ms * 1000);
	if (r < 0) {
		free(c);
		return r;
	}
	DL_APPEND(z->calls, c);
	z->n_calls++;
	dbus_touch(z->dbus);
	if (ret)
		*ret = c;
	return 0;
}

int bluez_call(struct bluez *z, sd_bus_message *m, int64_t timeout_ms, bluez_answer_fn *fn, void *ctx, struct bluez_call **ret)
{
	return call(z, m, timeout_ms, &(struct bluez_call){ .fn = fn, .ctx = ctx }, ret);
}

int bluez_call_plain(struct bluez *z, const char *path, const char *interface, const char *member, int64_t timeout_ms, bluez_answer_fn *fn,
		     void *ctx, struct bluez_call **ret)
{
	sd_bus_message *m = NULL;
	int r = bluez_message(z, path, interface, member, &m);

	if (r == 0)
		r = bluez_call(z, m, timeout_ms, fn, ctx, ret);
	sd_bus_message_unref(m);
	return r;
}

int bluez_read_again(struct bluez *z, bluez_read_fn *done, void *ctx, struct bluez_call **ret)
{
	sd_bus_message *m = NULL;
	int r = bluez_message(z, "/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &m);

	if (r == 0)
		r = call(z, m, BLUEZ_CALL_MS, &(struct bluez_call){ .read = done, .ctx = ctx }, ret);
	sd_bus_message_unref(m);
	return r;
}

struct bluez_call *bluez_cancel(struct bluez_call *c)
{
	if (c && c->is_reading)
		c->read = NULL;
	else if (c)
		call_free(c);
	return NULL;
}

void bluez_calls_fail(struct bluez *z)
{
	while (z->calls)
		call_end(z->calls, NULL, -ENOTCONN, "", "bluetoothd is gone");
}

void bluez_calls_drop(struct bluez *z)
{
	while (z->calls)
		call_free(z->calls);
}

void bluez_touch(struct bluez *z)
{
	dbus_touch(z->dbus);
}
