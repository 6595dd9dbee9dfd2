/* Whether bluetoothd is there, and what it signals. */
#include "radio/bluez.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "radio/bluez_internal.h"

static void read_all(struct bluez *z);

enum bluez_state bluez_state(const struct bluez *z)
{
	return z->state;
}

sd_bus *bluez_bus(const struct bluez *z)
{
	return dbus_bus(z->dbus);
}

const char *bluez_owner(const struct bluez *z)
{
	return z->owner[0] ? z->owner : NULL;
}

static void set_state(struct bluez *z, enum bluez_state s)
{
	if (z->state == s)
		return;
	z->state = s;
	z->ops->health(z->ctx);
}

/* ---- bluetoothd comes and goes ---- */

static void on_read(void *ctx, int error)
{
	struct bluez *z = ctx;

	if (z->state != BLUEZ_READING)
		return;
	if (error == 0)
		set_state(z, BLUEZ_THERE);
	else if (error != -ENOTCONN)
		loop_timer_set(z->again, BLUEZ_AGAIN_MS);
}

static void on_again(void *ctx)
{
	read_all(ctx);
}

static void read_all(struct bluez *z)
{
	if (z->state != BLUEZ_READING)
		return;
	int r = bluez_read_again(z, on_read, z, NULL);
	if (r < 0 && r != -ENOTCONN)
		loop_timer_set(z->again, BLUEZ_AGAIN_MS);
}

static void set_owner(struct bluez *z, const char *owner, enum bluez_state without)
{
	if (owner && *owner && strcmp(z->owner, owner) == 0)
		return;
	if (z->owner[0]) {
		z->owner[0] = '\0';            /* first: nothing is asked of it any more */
		loop_timer_set(z->again, -1);
		bluez_remove_all(z);
		bluez_calls_fail(z);
	}
	set_state(z, without);
	if (!owner || !*owner || strlen(owner) >= sizeof(z->owner))
		return;
	(void)snprintf(z->owner, sizeof(z->owner), "%s", owner); /* fits */
	set_state(z, BLUEZ_READING);
	read_all(z);
}

static int on_owner_changed(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	const char *name, *was, *is;

	if (sd_bus_message_read(m, "sss", &name, &was, &is) >= 0 && strcmp(name, "org.bluez") == 0)
		set_owner(ctx, is, BLUEZ_NOT_THERE);
	return 0;
}

static int on_owner(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct bluez *z = ctx;
	const char *owner = NULL;

	z->asking = sd_bus_slot_unref(z->asking);
	if (!sd_bus_message_is_method_error(m, NULL) && sd_bus_message_read(m, "s", &owner) < 0)
		owner = NULL;
	set_owner(z, owner, BLUEZ_NOT_THERE);
	return 0;
}

/* ---- its signals ---- */

bool bluez_is_sender(const struct bluez *z, sd_bus_message *m)
{
	const char *sender = sd_bus_message_get_sender(m);

	return sender && z->owner[0] && strcmp(sender, z->owner) == 0;
}

static int on_added(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct bluez *z = ctx;
	const char *path;

	if (bluez_is_sender(z, m) && sd_bus_message_read(m, "o", &path) >= 0)
		(void)bluez_read_interfaces(z, path, m); /* what cannot be read is not in the mirror */
	return 0;
}

static bool is_interface_of(const struct bluez_object *o, const char *interface)
{
	static const char *const names[] = { [BLUEZ_ADAPTER] = BLUEZ_I_ADAPTER, [BLUEZ_DEVICE] = BLUEZ_I_DEVICE,
					     [BLUEZ_SERVICE] = BLUEZ_I_SERVICE, [BLUEZ_CHARACTERISTIC] = BLUEZ_I_CHARACTERISTIC };

	return strcmp(interface, names[o->kind]) == 0;
}

static void removed(struct bluez *z, struct bluez_object *o)
{
	struct bluez_device *d = o->kind == BLUEZ_SERVICE || o->kind == BLUEZ_CHARACTERISTIC ? bluez_device_of(o) : NULL;

	bluez_remove(z, o);
	if (d)
		z->ops->attributes(z->ctx, d);
}

static int on_removed(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct bluez *z = ctx;
	const char *path, *interface;
	struct bluez_object *o;

	if (!bluez_is_sender(z, m) || sd_bus_message_read(m, "o", &path) < 0 || sd_bus_message_enter_container(m, 'a', "s") < 0)
		return 0;
	while (sd_bus_message_read(m, "s", &interface) > 0 && (o = bluez_find(z, path))) {
		if (is_interface_of(o, interface)) {
			removed(z, o);
			break;
		}
		if (o->kind == BLUEZ_ADAPTER && strcmp(interface, BLUEZ_I_MONITORS) == 0) {
			((struct bluez_adapter *)o)->has_monitors = false;
			z->ops->adapter(z->ctx, (struct bluez_adapter *)o);
		}
	}
	return 0;
}

/* A device that was left out, or forgotten, says something: all that bluetoothd knows of it. */
static void on_recalled(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct bluez_recall *r = ctx;

	if (!error)
		(void)bluez_read_device(r->z, r->path, answer); /* it stays out then */
	r->path[0] = '\0';
}

static void recall(struct bluez *z, const char *path)
{
	sd_bus_message *m = NULL;
	struct bluez_recall *free_one = NULL;

	if (z->state != BLUEZ_THERE || strlen(path) >= BLUEZ_PATH_BYTES)
		return;
	for (size_t i = 0; i < BLUEZ_RECALLS_MAX; i++) {
		if (strcmp(z->recalls[i].path, path) == 0)
			return;
		if (!z->recalls[i].path[0])
			free_one = &z->recalls[i];
	}
	if (!free_one || bluez_message(z, path, "org.freedesktop.DBus.Properties", "GetAll", &m) < 0)
		return;
	free_one->z = z;
	if (sd_bus_message_append(m, "s", BLUEZ_I_DEVICE) >= 0 && bluez_call(z, m, BLUEZ_CALL_MS, on_recalled, free_one, NULL) == 0)
		(void)snprintf(free_one->path, sizeof(free_one->path), "%s", path); /* fits */
	sd_bus_message_unref(m);
}

static int on_changed(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct bluez *z = ctx;
	const char *path = sd_bus_message_get_path(m), *interface;

	if (!path || !bluez_is_sender(z, m) || sd_bus_message_read(m, "s", &interface) < 0)
		return 0;
	struct bluez_object *o = bluez_find(z, path);
	if (o)
		(void)bluez_read_changed(z, o, interface, m); /* what cannot be read is not in the mirror */
	else if (strcmp(interface, BLUEZ_I_DEVICE) == 0)
		recall(z, path);
	return 0;
}

/* ---- the bus ---- */

static const struct {
	const char *match;
	sd_bus_message_handler_t fn;
} matches[BLUEZ_MATCHES] = {
	{ "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.bluez'", on_owner_changed },
	{ "type='signal',sender='org.bluez',interface='org.freedesktop.DBus.ObjectManager',member='InterfacesAdded'", on_added },
	{ "type='signal',sender='org.bluez',interface='org.freedesktop.DBus.ObjectManager',member='InterfacesRemoved'", on_removed },
	{ "type='signal',sender='org.bluez',interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',path_namespace='/org/bluez'",
	  on_changed },
};

static void drop_slots(struct bluez *z)
{
	for (size_t i = 0; i < BLUEZ_MATCHES; i++)
		z->matches[i] = sd_bus_slot_unref(z->matches[i]);
	z->asking = sd_bus_slot_unref(z->asking);
}

static void on_up(void *ctx, sd_bus *bus)
{
	struct bluez *z = ctx;
	int r = 0;

	set_state(z, BLUEZ_NOT_THERE);
	for (size_t i = 0; r >= 0 && i < BLUEZ_MATCHES; i++)
		r = sd_bus_add_match_async(bus, &z->matches[i], matches[i].match, matches[i].fn, NULL, z);
	if (r >= 0)
		r = sd_bus_call_method_async(bus, &z->asking, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
					     "GetNameOwner", on_owner, z, "s", "org.bluez");
	if (r < 0)
		log_line(LOG_WARNING, "Bluetooth: the bus takes no questions: %s", strerror(-r));
	dbus_touch(z->dbus);
}

static void on_down(void *ctx, int error)
{
	struct bluez *z = ctx;

	drop_slots(z);
	set_owner(z, NULL, BLUEZ_NO_BUS);
}

static const struct dbus_ops bus_ops = { .up = on_up, .down = on_down };

struct bluez *bluez_new(struct loop *l, const char *bus, const struct bluez_ops *ops, void *ctx)
{
	struct bluez *z = NEW(struct bluez);

	*z = (struct bluez){ .loop = l, .ops = ops, .ctx = ctx };
	z->again = loop_timer_new(l, on_again, z);
	z->dbus = dbus_new(l, bus, &bus_ops, z);
	return z;
}

static void nothing_adapter(void *ctx, struct bluez_adapter *a) {}
static void nothing_device(void *ctx, struct bluez_device *d) {}
static void nothing_characteristic(void *ctx, struct bluez_characteristic *c) {}

struct bluez *bluez_free(struct bluez *z)
{
	static const struct bluez_ops nobody = { .adapter_gone = nothing_adapter, .device_gone = nothing_device,
						 .characteristic_gone = nothing_characteristic };

	if (!z)
		return NULL;
	z->ops = &nobody;
	z->owner[0] = '\0';
	bluez_remove_all(z);
	bluez_calls_drop(z);
	drop_slots(z);
	loop_timer_free(z->again);
	dbus_free(z->dbus);
	free(z);
	return NULL;
}
