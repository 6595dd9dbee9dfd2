/* What the fake has on the bus: its objects with their properties, and the signals about them. */
#include "fake_bluez_internal.h"

/* ---- finding ---- */

struct fake_adapter *fake_adapter_at(struct fake_bluez *f, const char *path)
{
	for (size_t i = 0; i < FAKE_ADAPTERS_MAX; i++)
		if (f->adapters[i].name[0] && strcmp(f->adapters[i].path, path) == 0)
			return &f->adapters[i];
	return NULL;
}

struct fake_dev *fake_dev_at(struct fake_bluez *f, const char *path)
{
	for (size_t i = 0; i < f->n_devs; i++)
		if (f->devs[i].is_exported && strcmp(f->devs[i].path, path) == 0)
			return &f->devs[i];
	return NULL;
}

static struct fake_svc *service_at(struct fake_bluez *f, const char *path)
{
	for (size_t i = 0; i < f->n_services; i++)
		if (f->services[i].dev->has_services && strcmp(f->services[i].path, path) == 0)
			return &f->services[i];
	return NULL;
}

struct fake_chr *fake_chr_at(struct fake_bluez *f, const char *path)
{
	for (size_t i = 0; i < f->n_chrs; i++)
		if (f->chrs[i].svc->dev->has_services && strcmp(f->chrs[i].path, path) == 0)
			return &f->chrs[i];
	return NULL;
}

/* ---- properties; only: one of them, or NULL for all ---- */

#define PUT(name_, ...) \
	do { \
		if (!only || strcmp(only, name_) == 0) \
			assert_true(sd_bus_message_append(m, "{sv}", name_, __VA_ARGS__) >= 0); \
	} while (0)

static void put_strings(sd_bus_message *m, const char *only, const char *name, const char *const *s, size_t n)
{
	if (only && strcmp(only, name) != 0)
		return;
	assert_true(sd_bus_message_open_container(m, 'e', "sv") >= 0);
	assert_true(sd_bus_message_append(m, "s", name) >= 0);
	assert_true(sd_bus_message_open_container(m, 'v', "as") >= 0);
	assert_true(sd_bus_message_open_container(m, 'a', "s") >= 0);
	for (size_t i = 0; i < n; i++)
		assert_true(sd_bus_message_append(m, "s", s[i]) >= 0);
	for (int i = 0; i < 3; i++)
		assert_true(sd_bus_message_close_container(m) >= 0);
}

/* A variant of bytes: as a value of its own, or of a map by number or text. */
static void put_bytes(sd_bus_message *m, struct span s)
{
	assert_true(sd_bus_message_open_container(m, 'v', "ay") >= 0);
	assert_true(sd_bus_message_append_array(m, 'y', s.p, s.n) >= 0);
	assert_true(sd_bus_message_close_container(m) >= 0);
}

static void put_map(sd_bus_message *m, const char *only, const char *name, const char *kind, uint16_t number, const char *text, struct span s)
{
	char map[16], entry[16];

	if (only && strcmp(only, name) != 0)
		return;
	(void)snprintf(map, sizeof(map), "a{%s}", kind);
	(void)snprintf(entry, sizeof(entry), "{%s}", kind);
	assert_true(sd_bus_message_open_container(m, 'e', "sv") >= 0);
	assert_true(sd_bus_message_append(m, "s", name) >= 0);
	assert_true(sd_bus_message_open_container(m, 'v', map) >= 0);
	assert_true(sd_bus_message_open_container(m, 'a', entry) >= 0);
	assert_true(sd_bus_message_open_container(m, 'e', kind) >= 0);
	if (text)
		assert_true(sd_bus_message_append(m, "s", text) >= 0);
	else
		assert_true(sd_bus_message_append(m, "q", number) >= 0);
	put_bytes(m, s);
	for (int i = 0; i < 4; i++)
		assert_true(sd_bus_message_close_container(m) >= 0);
}

static void put_adapter(sd_bus_message *m, const struct fake_adapter *a, const char *only)
{
	PUT("Address", "s", a->address);
	PUT("AddressType", "s", "public");
	PUT("Name", "s", "fake");
	PUT("Alias", "s", "fake");
	PUT("Powered", "b", (int)a->is_on);
	PUT("Discovering", "b", (int)(a->discoverer[0] != 0));
	PUT("Pairable", "b", 0);
}

static void put_device(struct fake_bluez *f, sd_bus_message *m, const struct fake_dev *d, const char *only)
{
	const char *uuids[FAKE_UUIDS_MAX + FAKE_SERVICES_MAX];
	size_t n = 0;

	for (size_t i = 0; i < FAKE_UUIDS_MAX && d->c.uuids[i]; i++)
		uuids[n++] = d->c.uuids[i];
	for (size_t i = 0; d->has_services && i < f->n_services; i++)
		if (f->services[i].dev == d)
			uuids[n++] = f->services[i].uuid;
	PUT("Address", "s", d->address);
	PUT("AddressType", "s", d->c.is_random ? "random" : "public");
	if (d->c.name)
		PUT("Name", "s", d->c.name);
	PUT("Alias", "s", d->c.name ? d->c.name : d->address);
	PUT("Paired", "b", (int)d->is_paired);
	PUT("Bonded", "b", (int)d->is_paired);
	PUT("Trusted", "b", (int)d->is_trusted);
	PUT("Blocked", "b", 0);
	PUT("LegacyPairing", "b", 0);
	PUT("Connected", "b", (int)d->is_connected);
	PUT("ServicesResolved", "b", (int)d->is_resolved);
	PUT("Adapter", "o", d->adapter->path);
	if (d->has_rssi)
		PUT("RSSI", "n", (int16_t)d->rssi);
	put_strings(m, only, "UUIDs", uuids, n);
	if (d->c.manufacturer.n)
		put_map(m, only, "ManufacturerData", "qv", d->c.company, NULL, d->c.manufacturer);
	if (d->c.service_data_uuid)
		put_map(m, only, "ServiceData", "sv", 0, d->c.service_data_uuid, d->c.service_data);
}

static void put_service(sd_bus_message *m, const struct fake_svc *s, const char *only)
{
	PUT("UUID", "s", s->uuid);
	PUT("Device", "o", s->dev->path);
	PUT("Primary", "b", 1);
}

static void put_characteristic(sd_bus_message *m, const struct fake_chr *c, const char *only)
{
	static const struct { unsigned flag; const char *name; } names[] = {
		{ FAKE_READ, "read" }, { FAKE_WRITE_NO_RESPONSE, "write-without-response" }, { FAKE_WRITE, "write" }, { FAKE_NOTIFY, "notify" },
		{ FAKE_INDICATE, "indicate" }, { FAKE_NEEDS_BOND, "encrypt-read" },
	};
	const char *flags[8];
	size_t n = 0;
	bool can_notify = c->flags & (FAKE_NOTIFY | FAKE_INDICATE);

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (c->flags & names[i].flag)
			flags[n++] = names[i].name;
	PUT("UUID", "s", c->uuid);
	PUT("Service", "o", c->svc->path);
	if (!only || strcmp(only, "Value") == 0) {
		assert_true(sd_bus_message_open_container(m, 'e', "sv") >= 0);
		assert_true(sd_bus_message_append(m, "s", "Value") >= 0);
		put_bytes(m, buf_span(&c->value));
		assert_true(sd_bus_message_close_container(m) >= 0);
	}
	if (can_notify)
		PUT("Notifying", "b", (int)(c->notifying[0] || c->notify_fd >= 0));
	put_strings(m, only, "Flags", flags, n);
	if (!(c->flags & FAKE_NO_ACQUIRE) && (c->flags & FAKE_WRITE_NO_RESPONSE))
		PUT("WriteAcquired", "b", (int)(c->write_fd >= 0 || (c->flags & FAKE_ACQUIRED)));
	if (!(c->flags & FAKE_NO_ACQUIRE) && can_notify)
		PUT("NotifyAcquired", "b", (int)(c->notify_fd >= 0 || (c->flags & FAKE_ACQUIRED)));
	PUT("MTU", "q", (uint16_t)(c->svc->dev->c.mtu ? c->svc->dev->c.mtu : 247));
}

static void put_monitors(sd_bus_message *m, const char *only)
{
	static const char *const types[] = { "or_patterns" };

	put_strings(m, only, "SupportedMonitorTypes", types, 1);
	put_strings(m, only, "SupportedFeatures", NULL, 0);
}

static const char *interface_of(struct fake_bluez *f, const char *path)
{
	return fake_adapter_at(f, path) ? FAKE_ADAPTER_IFACE : fake_dev_at(f, path) ? FAKE_DEVICE_IFACE :
	       service_at(f, path) ? FAKE_SERVICE_IFACE : fake_chr_at(f, path) ? FAKE_CHR_IFACE : NULL;
}

/* The properties of the object at path as a{sv}; only NULL: all. */
static void put_properties(struct fake_bluez *f, sd_bus_message *m, const char *path, const char *only)
{
	const struct fake_adapter *a = fake_adapter_at(f, path);
	const struct fake_dev *d = fake_dev_at(f, path);
	const struct fake_svc *s = service_at(f, path);
	const struct fake_chr *c = fake_chr_at(f, path);

	assert_true(sd_bus_message_open_container(m, 'a', "{sv}") >= 0);
	if (a)
		put_adapter(m, a, only);
	else if (d)
		put_device(f, m, d, only);
	else if (s)
		put_service(m, s, only);
	else if (c)
		put_characteristic(m, c, only);
	assert_true(sd_bus_message_close_container(m) >= 0);
}

static void put_interface_monitors(sd_bus_message *m)
{
	assert_true(sd_bus_message_open_container(m, 'e', "sa{sv}") >= 0);
	assert_true(sd_bus_message_append(m, "s", "org.bluez.AdvertisementMonitorManager1") >= 0);
	assert_true(sd_bus_message_open_container(m, 'a', "{sv}") >= 0);
	put_monitors(m, NULL);
	assert_true(sd_bus_message_close_container(m) >= 0);
	assert_true(sd_bus_message_close_container(m) >= 0);
}

/* a{sa{sv}} of the object at path. */
static void put_interfaces(struct fake_bluez *f, sd_bus_message *m, const char *path)
{
	const struct fake_adapter *a = fake_adapter_at(f, path);

	assert_true(sd_bus_message_open_container(m, 'a', "{sa{sv}}") >= 0);
	assert_true(sd_bus_message_append(m, "{sa{sv}}", "org.freedesktop.DBus.Introspectable", 0) >= 0);
	assert_true(sd_bus_message_open_container(m, 'e', "sa{sv}") >= 0);
	assert_true(sd_bus_message_append(m, "s", interface_of(f, path)) >= 0);
	put_properties(f, m, path, NULL);
	assert_true(sd_bus_message_close_container(m) >= 0);
	if (a && (a->flags & FAKE_ADAPTER_MONITORS))
		put_interface_monitors(m);
	assert_true(sd_bus_message_close_container(m) >= 0);
}

/* ---- answers ---- */

static void put_object(struct fake_bluez *f, sd_bus_message *m, const char *path)
{
	assert_true(sd_bus_message_open_container(m, 'e', "oa{sa{sv}}") >= 0);
	assert_true(sd_bus_message_append(m, "o", path) >= 0);
	put_interfaces(f, m, path);
	assert_true(sd_bus_message_close_container(m) >= 0);
}

void fake_reply_objects(struct fake_bluez *f, sd_bus_message *m)
{
	sd_bus_message *r = NULL;

	assert_true(sd_bus_message_new_method_return(m, &r) >= 0);
	assert_true(sd_bus_message_open_container(r, 'a', "{oa{sa{sv}}}") >= 0);
	for (size_t i = 0; i < FAKE_ADAPTERS_MAX; i++)
		if (f->adapters[i].name[0])
			put_object(f, r, f->adapters[i].path);
	for (size_t i = 0; i < f->n_devs; i++)
		if (f->devs[i].is_exported)
			put_object(f, r, f->devs[i].path);
	for (size_t i = 0; i < f->n_services; i++)
		if (f->services[i].dev->has_services)
			put_object(f, r, f->services[i].path);
	for (size_t i = 0; i < f->n_chrs; i++)
		if (f->chrs[i].svc->dev->has_services)
			put_object(f, r, f->chrs[i].path);
	assert_true(sd_bus_message_close_container(r) >= 0);
	(void)sd_bus_send(f->bus, r, NULL); /* who asked may be gone */
	sd_bus_message_unref(r);
}

void fake_reply_all(struct fake_bluez *f, sd_bus_message *m)
{
	const char *path = sd_bus_message_get_path(m);
	sd_bus_message *r = NULL;

	if (!interface_of(f, path)) {
		fake_reply_error(m, SD_BUS_ERROR_UNKNOWN_OBJECT, "no such object");
		return;
	}
	assert_true(sd_bus_message_new_method_return(m, &r) >= 0);
	put_properties(f, r, path, NULL);
	(void)sd_bus_send(f->bus, r, NULL); /* who asked may be gone */
	sd_bus_message_unref(r);
}

/* ---- signals ---- */

static void send_signal(struct fake_bluez *f, sd_bus_message *m)
{
	(void)sd_bus_send(f->bus, m, NULL); /* a dead bus is noticed by the thread */
	sd_bus_message_unref(m);
}

void fake_say_changed(struct fake_bluez *f, const char *path, const char *iface, const char *name)
{
	sd_bus_message *m = NULL;

	if (!f->bus || !interface_of(f, path))
		return;
	assert_true(sd_bus_message_new_signal(f->bus, &m, path, "org.freedesktop.DBus.Properties", "PropertiesChanged") >= 0);
	assert_true(sd_bus_message_append(m, "s", iface) >= 0);
	put_properties(f, m, path, name);
	assert_true(sd_bus_message_append(m, "as", 0) >= 0);
	send_signal(f, m);
}

void fake_say_gone(struct fake_bluez *f, const char *path, const char *iface, const char *name)
{
	sd_bus_message *m = NULL;

	if (!f->bus)
		return;
	assert_true(sd_bus_message_new_signal(f->bus, &m, path, "org.freedesktop.DBus.Properties", "PropertiesChanged") >= 0);
	assert_true(sd_bus_message_append(m, "sa{sv}as", iface, 0, 1, name) >= 0);
	send_signal(f, m);
}

void fake_say_added(struct fake_bluez *f, const char *path)
{
	sd_bus_message *m = NULL;

	if (!f->bus)
		return;
	assert_true(sd_bus_message_new_signal(f->bus, &m, "/", "org.freedesktop.DBus.ObjectManager", "InterfacesAdded") >= 0);
	assert_true(sd_bus_message_append(m, "o", path) >= 0);
	put_interfaces(f, m, path);
	send_signal(f, m);
}

void fake_say_removed(struct fake_bluez *f, const char *path, const char *iface)
{
	sd_bus_message *m = NULL;

	if (!f->bus)
		return;
	assert_true(sd_bus_message_new_signal(f->bus, &m, "/", "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved") >= 0);
	assert_true(sd_bus_message_append(m, "oas", path, 1, iface) >= 0);
	send_signal(f, m);
}
