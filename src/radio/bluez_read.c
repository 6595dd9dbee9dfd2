/* Properties from the bus into the mirror. Names and types are bluetoothd's, contents are strangers'. */
#include <errno.h>

#include "base/text.h"
#include "radio/ble_ad.h"
#include "radio/bluez_internal.h"
#include "radio/gatt.h"

/* ---- values: of the type wanted, or skipped ---- */

static bool is_variant(sd_bus_message *m, const char *type)
{
	const char *contents;
	char kind;

	return sd_bus_message_peek_type(m, &kind, &contents) > 0 && kind == 'v' && strcmp(contents, type) == 0;
}

static int skip(sd_bus_message *m)
{
	int r = sd_bus_message_skip(m, "v");

	return r < 0 ? r : 0;
}

/* 1 read, 0 skipped. */
static int read_basic(sd_bus_message *m, const char *type, void *ret)
{
	if (!is_variant(m, type))
		return skip(m);
	int r = sd_bus_message_read(m, "v", type, ret);
	return r < 0 ? r : 1;
}

static int read_bool(sd_bus_message *m, bool *ret)
{
	int v = 0;
	int r = read_basic(m, "b", &v);

	if (r > 0)
		*ret = v;
	return r;
}

static int read_string(sd_bus_message *m, const char **ret)
{
	const char *s = NULL;
	int r = read_basic(m, "s", &s);

	if (r > 0)
		*ret = s;
	return r;
}

/* Enters the variant and reads the bytes in it. */
static int read_bytes(sd_bus_message *m, struct span *ret)
{
	const void *p;
	size_t n;

	if (!is_variant(m, "ay"))
		return skip(m);
	int r = sd_bus_message_enter_container(m, 'v', "ay");
	if (r >= 0)
		r = sd_bus_message_read_array(m, 'y', &p, &n);
	if (r >= 0)
		r = sd_bus_message_exit_container(m);
	if (r < 0)
		return r;
	*ret = SPAN(p, n);
	return 1;
}

static int read_address(sd_bus_message *m, uint8_t address[static BLE_ADDRESS_BYTES])
{
	const char *s = NULL;
	char id[BLE_ID_BYTES];
	int r = read_string(m, &s);

	if (r > 0 && strlen(s) == BLE_ADDRESS_TEXT_BYTES - 1 && ble_id_parse(span_str(s), id) == 0)
		(void)text_parse_hex(span_str(id + 4), address, BLE_ADDRESS_BYTES); /* an id is hex */
	return r;
}

static int read_uuid(sd_bus_message *m, uint8_t uuid[static BLE_UUID_BYTES])
{
	const char *s = NULL;
	int r = read_string(m, &s);

	if (r > 0)
		(void)ble_uuid_parse(span_str(s), uuid); /* stays zero when it is none */
	return r;
}

typedef int property_fn(sd_bus_message *m, void *object, const char *name, unsigned *changed);

/* a{sv}: each name and its value through fn. */
static int read_properties(sd_bus_message *m, property_fn *fn, void *object, unsigned *changed)
{
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		const char *name;
		r = sd_bus_message_read(m, "s", &name);
		if (r >= 0)
			r = fn(m, object, name, changed);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int skip_properties(sd_bus_message *m)
{
	return sd_bus_message_skip(m, "a{sv}");
}

/* ---- adapters ---- */

static int adapter_property(sd_bus_message *m, void *object, const char *name, unsigned *changed)
{
	struct bluez_adapter *a = object;

	if (strcmp(name, "Address") == 0)
		return read_address(m, a->address);
	if (strcmp(name, "Powered") == 0)
		return read_bool(m, &a->is_powered);
	if (strcmp(name, "Discovering") == 0)
		return read_bool(m, &a->is_discovering);
	return skip(m);
}

/* SupportedMonitorTypes: as */
static int monitors_property(sd_bus_message *m, void *object, const char *name, unsigned *changed)
{
	struct bluez_adapter *a = object;
	const char *type;

	if (strcmp(name, "SupportedMonitorTypes") != 0 || !is_variant(m, "as"))
		return skip(m);
	int r = sd_bus_message_enter_container(m, 'v', "as");
	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'a', "s");
	while (r >= 0 && (r = sd_bus_message_read(m, "s", &type)) > 0)
		a->has_monitors |= strcmp(type, "or_patterns") == 0;
	if (r >= 0)
		r = sd_bus_message_exit_container(m);
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* ---- devices ---- */

static struct ble_ad ad_of(struct bluez_device *d)
{
	return (struct ble_ad){ d->ad, &d->n_ad };
}

/* Clean, and cut between characters. */
static void name_copy(char ret[static BLE_NAME_BYTES], const char *s)
{
	size_t to = 0;

	for (size_t from = 0; s[from];) {
		size_t n = 1;
		while (((uint8_t)s[from + n] & 0xc0) == 0x80)
			n++;
		if (to + n >= BLE_NAME_BYTES)
			break;
		if (text_is_clean(SPAN(s + from, n))) {
			memcpy(ret + to, s + from, n);
			to += n;
		}
		from += n;
	}
	ret[to] = '\0';
}

static int read_name(sd_bus_message *m, struct bluez_device *d)
{
	const char *s = NULL;
	int r = read_string(m, &s);

	if (r > 0) {
		name_copy(d->name, s);
		ble_ad_remove(ad_of(d), AD_NAME);
		(void)ble_ad_add(ad_of(d), AD_NAME, SPAN_NONE, span_str(s)); /* left out when it does not fit */
	}
	return r;
}

static int read_services(sd_bus_message *m, struct bluez_device *d)
{
	const char *s;

	if (!is_variant(m, "as"))
		return skip(m);
	d->n_services_advertised = 0;
	int r = sd_bus_message_enter_container(m, 'v', "as");
	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'a', "s");
	while (r >= 0 && (r = sd_bus_message_read(m, "s", &s)) > 0)
		if (d->n_services_advertised < BLE_SERVICES_MAX &&
		    ble_uuid_parse(span_str(s), d->services_advertised[d->n_services_advertised]) == 0)
			d->n_services_advertised++;
	ble_ad_set_services(ad_of(d), (const uint8_t (*)[BLE_UUID_BYTES])d->services_advertised, d->n_services_advertised);
	if (r >= 0)
		r = sd_bus_message_exit_container(m);
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* a{qv} of manufacturers or a{sv} of services: one structure each. */
static int read_data(sd_bus_message *m, struct bluez_device *d, bool is_manufacturer)
{
	const char *key = is_manufacturer ? "q" : "s";
	const char *entry = is_manufacturer ? "qv" : "sv";
	int r = sd_bus_message_enter_container(m, 'v', is_manufacturer ? "a{qv}" : "a{sv}");

	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'a', is_manufacturer ? "{qv}" : "{sv}");
	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', entry)) > 0) {
		uint8_t uuid[BLE_UUID_BYTES];
		struct span value = SPAN_NONE;
		const char *text = NULL;
		uint16_t company = 0;

		r = sd_bus_message_read(m, key, is_manufacturer ? (void *)&company : (void *)&text);
		if (r >= 0)
			r = read_bytes(m, &value);
		if (r > 0 && is_manufacturer)
			(void)ble_ad_add(ad_of(d), AD_MANUFACTURER, SPAN(((uint8_t[]){ (uint8_t)company, (uint8_t)(company >> 8) }), 2), value);
		else if (r > 0 && ble_uuid_parse(span_str(text), uuid) == 0)
			(void)ble_ad_add_service_data(ad_of(d), uuid, value); /* left out when it does not fit */
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	if (r >= 0)
		r = sd_bus_message_exit_container(m);
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_manufacturers(sd_bus_message *m, struct bluez_device *d)
{
	if (!is_variant(m, "a{qv}"))
		return skip(m);
	ble_ad_remove(ad_of(d), AD_MANUFACTURER);
	return read_data(m, d, true);
}

static int read_service_data(sd_bus_message *m, struct bluez_device *d)
{
	if (!is_variant(m, "a{sv}"))
		return skip(m);
	ble_ad_remove(ad_of(d), AD_DATA16);
	ble_ad_remove(ad_of(d), AD_DATA32);
	ble_ad_remove(ad_of(d), AD_DATA128);
	return read_data(m, d, false);
}

static int read_number(sd_bus_message *m, struct bluez_device *d, const char *type, uint8_t ad_type, size_t n)
{
	int16_t v = 0; /* n, or q by the same bits */
	int r = read_basic(m, type, &v);

	if (r > 0) {
		ble_ad_remove(ad_of(d), ad_type);
		(void)ble_ad_add(ad_of(d), ad_type, SPAN_NONE, SPAN(((uint8_t[]){ (uint8_t)v, (uint8_t)((uint16_t)v >> 8) }), n));
	}
	return r;
}

static int read_flags(sd_bus_message *m, struct bluez_device *d)
{
	struct span flags = SPAN_NONE;
	int r = read_bytes(m, &flags);

	if (r > 0) {
		ble_ad_remove(ad_of(d), AD_FLAGS);
		(void)ble_ad_add(ad_of(d), AD_FLAGS, SPAN_NONE, flags); /* left out when it does not fit */
	}
	return r;
}

static int read_rssi(sd_bus_message *m, struct bluez_device *d)
{
	int16_t v = 0;
	int r = read_basic(m, "n", &v);

	if (r > 0) {
		d->rssi = v >= -127 && v <= 20 ? v : BLE_RSSI_UNKNOWN;
		d->was_heard = d->has_rssi = true;
	}
	return r;
}

static int read_address_type(sd_bus_message *m, struct bluez_device *d)
{
	const char *s = NULL;
	int r = read_string(m, &s);

	if (r > 0)
		d->is_random = strcmp(s, "random") == 0;
	return r;
}

/* What an advertisement tells. */
static int air_property(sd_bus_message *m, struct bluez_device *d, const char *name, unsigned *changed)
{
	*changed |= BLUEZ_HEARD;
	if (strcmp(name, "RSSI") == 0)
		return read_rssi(m, d);
	*changed |= BLUEZ_ABOUT;
	if (strcmp(name, "ManufacturerData") == 0)
		return read_manufacturers(m, d);
	if (strcmp(name, "ServiceData") == 0)
		return read_service_data(m, d);
	if (strcmp(name, "AdvertisingFlags") == 0)
		return read_flags(m, d);
	if (strcmp(name, "TxPower") == 0)
		return read_number(m, d, "n", AD_TX_POWER, 1);
	*changed &= ~(unsigned)(BLUEZ_ABOUT | BLUEZ_HEARD);
	return skip(m);
}

static int device_property(sd_bus_message *m, void *object, const char *name, unsigned *changed)
{
	struct bluez_device *d = object;
	unsigned what = BLUEZ_ABOUT;
	int r;

	if (strcmp(name, "Address") == 0) {
		r = read_address(m, d->address);
	} else if (strcmp(name, "AddressType") == 0) {
		r = read_address_type(m, d);
	} else if (strcmp(name, "Name") == 0) {
		r = read_name(m, d);
	} else if (strcmp(name, "UUIDs") == 0) {
		r = read_services(m, d);
	} else if (strcmp(name, "Appearance") == 0) {
		r = read_number(m, d, "q", AD_APPEARANCE, 2);
	} else if (strcmp(name, "Paired") == 0) {
		r = read_bool(m, &d->is_paired);
	} else if (strcmp(name, "Bonded") == 0) {
		d->tells_bonded = true;
		r = read_bool(m, &d->is_bonded);
	} else if (strcmp(name, "Connected") == 0) {
		r = read_bool(m, &d->is_connected);
		d->is_inherited &= d->is_connected;
		d->was_heard |= d->is_connected;
		what = BLUEZ_CONNECTED;
	} else if (strcmp(name, "ServicesResolved") == 0) {
		r = read_bool(m, &d->is_resolved);
		what = BLUEZ_RESOLVED;
	} else {
		return air_property(m, d, name, changed);
	}
	*changed |= what;
	return r;
}

/* ---- services and characteristics ---- */

static int service_property(sd_bus_message *m, void *object, const char *name, unsigned *changed)
{
	struct bluez_service *s = object;

	if (strcmp(name, "UUID") == 0)
		return read_uuid(m, s->uuid);
	if (strcmp(name, "Primary") == 0)
		return read_bool(m, &s->is_primary);
	return skip(m);
}

static const struct {
	const char *flag;
	uint8_t property;
} flags[] = {
	{ "broadcast", GATT_BROADCAST }, { "read", GATT_READ }, { "write-without-response", GATT_WRITE_NO_RESPONSE }, { "write", GATT_WRITE },
	{ "notify", GATT_NOTIFY }, { "indicate", GATT_INDICATE }, { "authenticated-signed-writes", GATT_SIGNED_WRITE },
	{ "extended-properties", GATT_EXTENDED },
};

static int read_characteristic_flags(sd_bus_message *m, struct bluez_characteristic *c)
{
	const char *s;

	if (!is_variant(m, "as"))
		return skip(m);
	c->properties = 0;
	int r = sd_bus_message_enter_container(m, 'v', "as");
	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'a', "s");
	while (r >= 0 && (r = sd_bus_message_read(m, "s", &s)) > 0) {
		for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++)
			if (strcmp(s, flags[i].flag) == 0)
				c->properties |= flags[i].property;
		c->wants_encryption |= strncmp(s, "encrypt-", 8) == 0 || strncmp(s, "secure-", 7) == 0 || strcmp(s, "authorize") == 0;
	}
	if (r >= 0)
		r = sd_bus_message_exit_container(m);
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int characteristic_property(sd_bus_message *m, void *object, const char *name, unsigned *changed)
{
	struct bluez_characteristic *c = object;

	if (strcmp(name, "UUID") == 0)
		return read_uuid(m, c->uuid);
	if (strcmp(name, "Flags") == 0)
		return read_characteristic_flags(m, c);
	if (strcmp(name, "MTU") == 0)
		return read_basic(m, "q", &c->mtu);
	if (strcmp(name, "Notifying") == 0)
		return read_bool(m, &c->is_notifying);
	if (strcmp(name, "WriteAcquired") == 0) {
		c->can_acquire_write = true;
		return read_bool(m, &c->is_write_acquired);
	}
	if (strcmp(name, "NotifyAcquired") == 0) {
		c->can_acquire_notify = true;
		return read_bool(m, &c->is_notify_acquired);
	}
	return skip(m);
}

struct value_reader {
	struct bluez_characteristic *characteristic;
	struct span value;
	bool has_value;
};

/* As it changes: with what was notified. */
static int characteristic_news(sd_bus_message *m, void *object, const char *name, unsigned *changed)
{
	struct value_reader *v = object;

	if (strcmp(name, "Value") != 0)
		return characteristic_property(m, v->characteristic, name, changed);
	int r = read_bytes(m, &v->value);
	v->has_value |= r > 0;
	return r;
}

/* ---- objects ---- */

/* Known ones are made when they come in the order adapter, device, service, characteristic: only are read of a kind below. */
static int read_interface(struct bluez *z, const char *path, const char *interface, unsigned kinds, unsigned *tell, sd_bus_message *m)
{
	unsigned changed = 0;
	void *object = NULL;
	property_fn *fn = NULL;

	if (kinds & 1u << BLUEZ_ADAPTER && strcmp(interface, BLUEZ_I_ADAPTER) == 0) {
		object = bluez_add_adapter(z, path);
		fn = adapter_property;
		*tell |= 1u << BLUEZ_ADAPTER;
	} else if (kinds & 1u << BLUEZ_ADAPTER && strcmp(interface, BLUEZ_I_MONITORS) == 0) {
		object = bluez_find_adapter(z, path); /* its Adapter1 is told before or beside it */
		fn = monitors_property;
		*tell |= 1u << BLUEZ_ADAPTER;
	} else if (kinds & 1u << BLUEZ_DEVICE && strcmp(interface, BLUEZ_I_DEVICE) == 0) {
		object = bluez_add_device(z, path);
		fn = device_property;
		*tell |= 1u << BLUEZ_DEVICE;
	} else if (kinds & 1u << BLUEZ_SERVICE && strcmp(interface, BLUEZ_I_SERVICE) == 0) {
		object = bluez_add_service(z, path);
		fn = service_property;
		*tell |= 1u << BLUEZ_SERVICE;
	} else if (kinds & 1u << BLUEZ_CHARACTERISTIC && strcmp(interface, BLUEZ_I_CHARACTERISTIC) == 0) {
		object = bluez_add_characteristic(z, path);
		fn = characteristic_property;
		*tell |= 1u << BLUEZ_CHARACTERISTIC;
	}
	return object ? read_properties(m, fn, object, &changed) : skip_properties(m);
}

static int read_kinds(struct bluez *z, const char *path, unsigned kinds, unsigned *tell, sd_bus_message *m)
{
	int r = sd_bus_message_enter_container(m, 'a', "{sa{sv}}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
		const char *interface;
		r = sd_bus_message_read(m, "s", &interface);
		if (r >= 0)
			r = read_interface(z, path, interface, kinds, tell, m);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* All that holds of a device that is new or was read anew. */
static unsigned everything(const struct bluez_device *d)
{
	return BLUEZ_ABOUT | (d->has_rssi ? BLUEZ_HEARD : 0u) | BLUEZ_CONNECTED | BLUEZ_RESOLVED;
}

static void told(struct bluez *z, const char *path, unsigned tell)
{
	struct bluez_object *o = tell ? bluez_find(z, path) : NULL;

	if (!o)
		return;
	if (o->kind == BLUEZ_DEVICE && z->state == BLUEZ_READING)
		((struct bluez_device *)o)->is_inherited = ((struct bluez_device *)o)->is_connected;
	if (o->kind == BLUEZ_ADAPTER)
		z->ops->adapter(z->ctx, (struct bluez_adapter *)o);
	else if (o->kind == BLUEZ_DEVICE)
		z->ops->device(z->ctx, (struct bluez_device *)o, everything((struct bluez_device *)o));
	else
		z->ops->attributes(z->ctx, bluez_device_of(o));
}

int bluez_read_interfaces(struct bluez *z, const char *path, sd_bus_message *m)
{
	unsigned tell = 0;
	int r = read_kinds(z, path, ~0u, &tell, m);

	if (r >= 0)
		told(z, path, tell);
	return r < 0 ? r : 0;
}

/* Children may stand before their parents. */
int bluez_read_objects(struct bluez *z, sd_bus_message *m)
{
	int r = 0;

	for (unsigned kind = BLUEZ_ADAPTER; r >= 0 && kind <= BLUEZ_CHARACTERISTIC; kind++) {
		r = sd_bus_message_rewind(m, 1);
		if (r >= 0)
			r = sd_bus_message_enter_container(m, 'a', "{oa{sa{sv}}}");
		while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "oa{sa{sv}}")) > 0) {
			const char *path;
			unsigned tell = 0;
			r = sd_bus_message_read(m, "o", &path);
			if (r >= 0)
				r = read_kinds(z, path, 1u << kind, &tell, m);
			if (r >= 0) {
				told(z, path, tell);
				r = sd_bus_message_exit_container(m);
			}
		}
	}
	return r < 0 ? r : 0;
}

static int skip_invalidated(sd_bus_message *m, struct bluez_object *o)
{
	const char *name;
	int r = sd_bus_message_enter_container(m, 'a', "s");

	while (r >= 0 && (r = sd_bus_message_read(m, "s", &name)) > 0)
		if (o->kind == BLUEZ_DEVICE && strcmp(name, "RSSI") == 0) { /* nobody scans any more: it is not gone */
			((struct bluez_device *)o)->rssi = BLE_RSSI_UNKNOWN;
			((struct bluez_device *)o)->has_rssi = false;
		}
	return r;
}

static int device_changed(struct bluez *z, struct bluez_device *d, sd_bus_message *m)
{
	unsigned changed = 0;
	int r = read_properties(m, device_property, d, &changed);

	if (r >= 0)
		r = skip_invalidated(m, &d->object);
	if (r >= 0 && changed)
		z->ops->device(z->ctx, d, changed);
	return r;
}

static int characteristic_changed(struct bluez *z, struct bluez_characteristic *c, sd_bus_message *m)
{
	struct value_reader v = { .characteristic = c };
	unsigned changed = 0;
	int r = read_properties(m, characteristic_news, &v, &changed);

	if (r >= 0 && v.has_value)
		z->ops->value(z->ctx, c, span_sub(v.value, 0, BLUEZ_VALUE_BYTES_MAX));
	return r;
}

int bluez_read_changed(struct bluez *z, struct bluez_object *o, const char *interface, sd_bus_message *m)
{
	unsigned changed = 0;
	int r;

	if (o->kind == BLUEZ_ADAPTER && strcmp(interface, BLUEZ_I_ADAPTER) == 0) {
		r = read_properties(m, adapter_property, o, &changed);
		if (r >= 0)
			z->ops->adapter(z->ctx, (struct bluez_adapter *)o);
		return r;
	}
	if (o->kind == BLUEZ_DEVICE && strcmp(interface, BLUEZ_I_DEVICE) == 0)
		return device_changed(z, (struct bluez_device *)o, m);
	if (o->kind == BLUEZ_CHARACTERISTIC && strcmp(interface, BLUEZ_I_CHARACTERISTIC) == 0)
		return characteristic_changed(z, (struct bluez_characteristic *)o, m);
	return 0;
}

int bluez_read_device(struct bluez *z, const char *path, sd_bus_message *m)
{
	struct bluez_device *d = bluez_add_device(z, path);
	unsigned changed = 0;

	if (!d)
		return -ENOSPC;
	int r = read_properties(m, device_property, d, &changed);
	if (r >= 0)
		z->ops->device(z->ctx, d, everything(d));
	return r < 0 ? r : 0;
}
