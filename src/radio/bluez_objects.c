/* What is in the mirror: objects by path, each below its parent, within limits. */
#include <stdlib.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/text.h"
#include "radio/bluez_internal.h"

static const char root[] = "/org/bluez/";

struct bluez_object *bluez_find(const struct bluez *z, const char *path)
{
	struct bluez_object *o;

	HASH_FIND_STR(z->objects, path, o);
	return o;
}

static struct bluez_object *find_kind(const struct bluez *z, const char *path, enum bluez_kind kind)
{
	struct bluez_object *o = bluez_find(z, path);

	return o && o->kind == kind ? o : NULL;
}

struct bluez_adapter *bluez_find_adapter(const struct bluez *z, const char *path)
{
	return (struct bluez_adapter *)find_kind(z, path, BLUEZ_ADAPTER);
}

struct bluez_device *bluez_find_device(const struct bluez *z, const char *path)
{
	return (struct bluez_device *)find_kind(z, path, BLUEZ_DEVICE);
}

struct bluez_characteristic *bluez_find_characteristic(const struct bluez_device *d, uint16_t handle)
{
	for (const struct bluez_service *s = d->services; s; s = s->next)
		for (struct bluez_characteristic *c = s->characteristics; c && c->handle <= handle; c = c->next)
			if (c->handle == handle)
				return c;
	return NULL;
}

struct bluez_device *bluez_device_of(struct bluez_object *o)
{
	switch (o->kind) {
	case BLUEZ_DEVICE:
		return (struct bluez_device *)o;
	case BLUEZ_SERVICE:
		return ((struct bluez_service *)o)->device;
	case BLUEZ_CHARACTERISTIC:
		return ((struct bluez_characteristic *)o)->service->device;
	case BLUEZ_ADAPTER:
		break;
	}
	return NULL;
}

/* "/a/b/c" -> "/a/b"; and in ret_name "c". False: no path of ours. */
static bool split(const char *path, char parent[static BLUEZ_PATH_BYTES], const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;

	if (strncmp(path, root, sizeof(root) - 1) != 0 || strlen(path) >= BLUEZ_PATH_BYTES || n < sizeof(root) - 2 || !slash[1])
		return false;
	memcpy(parent, path, n);
	parent[n] = '\0';
	*ret_name = slash + 1;
	return true;
}

/* "char002a" after "char" -> 0x2a. */
static bool handle_of(const char *name, const char *prefix, uint16_t *ret)
{
	uint8_t bytes[2];
	size_t n = strlen(prefix);

	if (strncmp(name, prefix, n) != 0 || text_parse_hex(span_str(name + n), bytes, 2) < 0)
		return false;
	*ret = (uint16_t)(bytes[0] << 8 | bytes[1]);
	return *ret != 0;
}

/* A decoded path fits: split() saw its length. */
static void add(struct bluez *z, struct bluez_object *o, const char *path, enum bluez_kind kind)
{
	(void)snprintf(o->path, sizeof(o->path), "%s", path); /* fits */
	o->kind = kind;
	HASH_ADD_STR(z->objects, path, o);
}

struct bluez_adapter *bluez_add_adapter(struct bluez *z, const char *path)
{
	char parent[BLUEZ_PATH_BYTES];
	const char *name;
	struct bluez_adapter *a = bluez_find_adapter(z, path);

	if (a)
		return a;
	if (bluez_find(z, path) || !split(path, parent, &name) || strlen(parent) != sizeof(root) - 2 || strlen(name) >= BLE_ADAPTER_BYTES ||
	    z->n_adapters >= BLE_ADAPTERS_MAX)
		return NULL;
	a = NEW(struct bluez_adapter);
	add(z, &a->object, path, BLUEZ_ADAPTER);
	a->name = strrchr(a->object.path, '/') + 1;
	z->n_adapters++;
	return a;
}

struct bluez_device *bluez_add_device(struct bluez *z, const char *path)
{
	char parent[BLUEZ_PATH_BYTES];
	const char *name;
	struct bluez_device *d = bluez_find_device(z, path);

	if (d)
		return d;
	if (bluez_find(z, path) || !split(path, parent, &name) || strncmp(name, "dev_", 4) != 0)
		return NULL;
	struct bluez_adapter *a = bluez_find_adapter(z, parent);
	if (!a)
		return NULL;
	if (z->n_devices >= BLUEZ_DEVICES_MAX) {
		struct bluez_device *who = z->ops->crowded(z->ctx);
		if (!who)
			return NULL;
		bluez_remove(z, &who->object);
	}
	d = NEW(struct bluez_device);
	add(z, &d->object, path, BLUEZ_DEVICE);
	d->adapter = a;
	d->rssi = BLE_RSSI_UNKNOWN;
	DL_APPEND(a->devices, d);
	z->n_devices++;
	return d;
}

struct bluez_service *bluez_add_service(struct bluez *z, const char *path)
{
	char parent[BLUEZ_PATH_BYTES];
	const char *name;
	struct bluez_object *o = bluez_find(z, path);
	uint16_t handle;

	if (o)
		return o->kind == BLUEZ_SERVICE ? (struct bluez_service *)o : NULL;
	if (!split(path, parent, &name) || !handle_of(name, "service", &handle) || z->n_attributes >= BLUEZ_ATTRIBUTES_MAX)
		return NULL;
	struct bluez_device *d = bluez_find_device(z, parent);
	if (!d || d->n_services >= BLUEZ_SERVICES_MAX)
		return NULL;
	struct bluez_service **at = &d->services;
	while (*at && (*at)->handle < handle)
		at = &(*at)->next;
	if (*at && (*at)->handle == handle)
		return NULL;
	struct bluez_service *s = NEW(struct bluez_service);
	add(z, &s->object, path, BLUEZ_SERVICE);
	s->device = d;
	s->handle = handle;
	s->next = *at;
	*at = s;
	d->n_services++;
	z->n_attributes++;
	return s;
}

struct bluez_characteristic *bluez_add_characteristic(struct bluez *z, const char *path)
{
	char parent[BLUEZ_PATH_BYTES];
	const char *name;
	struct bluez_object *o = bluez_find(z, path);
	uint16_t handle;

	if (o)
		return o->kind == BLUEZ_CHARACTERISTIC ? (struct bluez_characteristic *)o : NULL;
	if (!split(path, parent, &name) || !handle_of(name, "char", &handle) || z->n_attributes >= BLUEZ_ATTRIBUTES_MAX)
		return NULL;
	struct bluez_service *s = (struct bluez_service *)find_kind(z, parent, BLUEZ_SERVICE);
	if (!s || s->device->n_characteristics >= BLUEZ_CHARACTERISTICS_MAX)
		return NULL;
	struct bluez_characteristic **at = &s->characteristics;
	while (*at && (*at)->handle < handle)
		at = &(*at)->next;
	if (*at && (*at)->handle == handle)
		return NULL;
	struct bluez_characteristic *c = NEW(struct bluez_characteristic);
	add(z, &c->object, path, BLUEZ_CHARACTERISTIC);
	c->service = s;
	c->handle = handle;
	c->next = *at;
	*at = c;
	s->device->n_characteristics++;
	z->n_attributes++;
	return c;
}

/* ---- and away ---- */

static void remove_characteristic(struct bluez *z, struct bluez_characteristic *c)
{
	struct bluez_service *s = c->service;

	z->ops->characteristic_gone(z->ctx, c);
	LL_DELETE(s->characteristics, c);
	s->device->n_characteristics--;
	z->n_attributes--;
	HASH_DEL(z->objects, &c->object);
	free(c);
}

static void remove_service(struct bluez *z, struct bluez_service *s)
{
	while (s->characteristics)
		remove_characteristic(z, s->characteristics);
	LL_DELETE(s->device->services, s);
	s->device->n_services--;
	z->n_attributes--;
	HASH_DEL(z->objects, &s->object);
	free(s);
}

static void remove_device(struct bluez *z, struct bluez_device *d)
{
	z->ops->device_gone(z->ctx, d);
	while (d->services)
		remove_service(z, d->services);
	DL_DELETE(d->adapter->devices, d);
	z->n_devices--;
	HASH_DEL(z->objects, &d->object);
	free(d);
}

static void remove_adapter(struct bluez *z, struct bluez_adapter *a)
{
	while (a->devices)
		remove_device(z, a->devices);
	z->ops->adapter_gone(z->ctx, a);
	z->n_adapters--;
	HASH_DEL(z->objects, &a->object);
	free(a);
}

void bluez_remove(struct bluez *z, struct bluez_object *o)
{
	switch (o->kind) {
	case BLUEZ_ADAPTER:
		remove_adapter(z, (struct bluez_adapter *)o);
		break;
	case BLUEZ_DEVICE:
		remove_device(z, (struct bluez_device *)o);
		break;
	case BLUEZ_SERVICE:
		remove_service(z, (struct bluez_service *)o);
		break;
	case BLUEZ_CHARACTERISTIC:
		remove_characteristic(z, (struct bluez_characteristic *)o);
		break;
	}
}

/* Everything is below an adapter. */
void bluez_remove_all(struct bluez *z)
{
	struct bluez_object *o, *next;

	for (o = z->objects; o; o = next) {
		next = o->hh.next;
		if (o->kind != BLUEZ_ADAPTER)
			continue;
		bluez_remove(z, o);
		next = z->objects; /* what was next may have been below it */
	}
}

void bluez_forget(struct bluez *z, struct bluez_device *d)
{
	bluez_remove(z, &d->object);
}
