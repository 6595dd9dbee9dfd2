/* radio/bluez_internal.h - the inside of the mirror, for bluez*.c alone. */
#pragma once
#include "radio/bluez.h"

enum { BLUEZ_MATCHES = 4, BLUEZ_AGAIN_MS = 2000 };

struct bluez {
	struct loop *loop;
	struct dbus *dbus;
	const struct bluez_ops *ops;
	void *ctx;
	enum bluez_state state;
	char owner[BLUEZ_OWNER_BYTES];         /* "" = not there */
	sd_bus_slot *matches[BLUEZ_MATCHES];
	sd_bus_slot *asking;                   /* GetNameOwner */
	struct loop_timer *again;              /* the first reading failed */
	struct bluez_object *objects;          /* by path */
	size_t n_adapters, n_devices, n_attributes;
	struct bluez_call *calls;
	size_t n_calls;
	struct bluez_recall {
		struct bluez *z;
		char path[BLUEZ_PATH_BYTES];   /* "" = free */
	} recalls[BLUEZ_RECALLS_MAX];
};

/* bluez_objects.c: each tells ops. */
struct bluez_adapter *bluez_add_adapter(struct bluez *z, const char *path);    /* found or made; NULL = over a limit, or not one of BlueZ's */
struct bluez_device *bluez_add_device(struct bluez *z, const char *path);
struct bluez_service *bluez_add_service(struct bluez *z, const char *path);
struct bluez_characteristic *bluez_add_characteristic(struct bluez *z, const char *path);
void bluez_remove(struct bluez *z, struct bluez_object *o);
void bluez_remove_all(struct bluez *z);
struct bluez_device *bluez_device_of(struct bluez_object *o);  /* of a service or characteristic, too; NULL = an adapter */

/* bluez_read.c: from a message that stands before it. -errno: it is not what it should be. */
int bluez_read_objects(struct bluez *z, sd_bus_message *m);            /* a{oa{sa{sv}}} */
int bluez_read_interfaces(struct bluez *z, const char *path, sd_bus_message *m);       /* a{sa{sv}} */
int bluez_read_changed(struct bluez *z, struct bluez_object *o, const char *interface, sd_bus_message *m);      /* a{sv}as */
int bluez_read_device(struct bluez *z, const char *path, sd_bus_message *m);           /* a{sv} of GetAll */

/* bluez_call.c */
void bluez_calls_fail(struct bluez *z);        /* all that are waited for: -ENOTCONN */
void bluez_calls_drop(struct bluez *z);        /* nobody is told */
