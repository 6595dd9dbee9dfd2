/* Passive scanning, where bluetoothd offers it: an AdvertisementMonitor1 of ours, registered with each adapter (BLZ-9). bluetoothd reads
 * what we look for and tells who is heard; nothing is sent into the air for that. */
#include <errno.h>

#include "base/log.h"
#include "radio/ble_ad.h"
#include "radio/ble_state.h"

enum { PATTERNS_PER_SERVICE_MAX = 8, SHORT_LIST = 0x02, LONG_LIST = 0x06 };    /* incomplete lists: a type below the complete ones */

/* A list of patterns, one of which must fit: at an offset in AD structures of a type these bytes. */
static int append_pattern(sd_bus_message *m, uint8_t type, const uint8_t *p, size_t n)
{
	int r = sd_bus_message_open_container(m, 'r', "yyay");

	if (r >= 0)
		r = sd_bus_message_append(m, "yy", 0, type);
	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', p, n);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

/* First in a list of services, or with data of its own. */
static int append_service(sd_bus_message *m, const uint8_t uuid[static BLE_UUID_BYTES])
{
	static const uint8_t types_short[] = { SHORT_LIST, AD_UUID16, AD_DATA16 }, types_long[] = { LONG_LIST, AD_UUID128, AD_DATA128 };
	size_t n = ble_uuid_bytes(uuid);
	uint8_t bytes[BLE_UUID_BYTES];
	int r = 0;

	if (n != 2)
		n = BLE_UUID_BYTES;
	for (size_t i = 0; i < n; i++)
		bytes[i] = n == 2 ? uuid[3 - i] : uuid[n - 1 - i];
	for (size_t i = 0; r >= 0 && i < sizeof(types_short); i++)
		r = append_pattern(m, n == 2 ? types_short[i] : types_long[i], bytes, n);
	return r;
}

/* Everybody: what nodes put into the flags octet. */
static int append_everybody(sd_bus_message *m)
{
	static const uint8_t flags[] = { 0x06, 0x04, 0x05, 0x02, 0x01, 0x00, 0x1a, 0x18 };
	int r = 0;

	for (size_t i = 0; r >= 0 && i < sizeof(flags); i++)
		r = append_pattern(m, AD_FLAGS, &flags[i], 1);
	return r;
}

static int get_patterns(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply, void *ctx,
			sd_bus_error *ret_error)
{
	const struct ble *b = ctx;
	int r = sd_bus_message_open_container(reply, 'a', "(yyay)");

	for (size_t i = 0; r >= 0 && i < b->n_services && i < PATTERNS_PER_SERVICE_MAX; i++)
		r = append_service(reply, b->services[i]);
	if (r >= 0 && b->n_services == 0)
		r = append_everybody(reply);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_type(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply, void *ctx,
		    sd_bus_error *ret_error)
{
	return sd_bus_message_append(reply, "s", "or_patterns");
}

static int done(sd_bus_message *m)
{
	return sd_bus_reply_method_return(m, NULL);
}

static int on_activate(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	return done(m);
}

/* bluetoothd drops it: tried again some time later. */
static int on_release(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct ble *b = ctx;

	if (!bluez_is_sender(b->bluez, m))
		return -EACCES;
	for (size_t i = 0; i < BLE_ADAPTERS_MAX; i++) {
		struct ble_radio *r = &b->radios[i];
		if (!r->adapter || r->monitor != MONITOR_ON)
			continue;
		r->monitor = MONITOR_FAILED;
		r->monitor_retry_at = mono_add_ms(mono_now(), BLE_MONITOR_RETRY_MS);
	}
	ble_plan(b);
	return done(m);
}

static int on_found(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct ble *b = ctx;
	const char *path;

	if (!bluez_is_sender(b->bluez, m))
		return -EACCES;
	int r = sd_bus_message_read(m, "o", &path);
	if (r < 0)
		return r;
	struct bluez_device *d = bluez_find_device(b->bluez, path);
	if (d) {
		d->was_heard = true;
		ble_seen_device(b, d, BLUEZ_HEARD);
	}
	return done(m);
}

/* That it is silent is seen by the time that goes by. */
static int on_lost(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	return done(m);
}

static const sd_bus_vtable monitor_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Type", "s", get_type, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Patterns", "a(yyay)", get_patterns, 0, 0),
	SD_BUS_METHOD("Activate", "", "", on_activate, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Release", "", "", on_release, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("DeviceFound", "o", "", on_found, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("DeviceLost", "o", "", on_lost, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static int export_objects(struct ble *b)
{
	sd_bus *bus = bluez_bus(b->bluez);
	int r = 0;

	if (!bus)
		return -ENOTCONN;
	if (!b->manager_slot)
		r = sd_bus_add_object_manager(bus, &b->manager_slot, BLE_MONITORS);
	if (r >= 0 && !b->monitor_slot)
		r = sd_bus_add_object_vtable(bus, &b->monitor_slot, BLE_MONITOR, "org.bluez.AdvertisementMonitor1", monitor_vtable, b);
	return r;
}

static void on_registered(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct ble_radio *r = ctx;

	r->monitor_call = NULL;
	r->monitor = !error || error == -EEXIST ? MONITOR_ON : MONITOR_FAILED;
	if (r->monitor == MONITOR_FAILED) {
		log_line(LOG_NOTICE, "Bluetooth: adapter %s does not scan passively: %s", r->adapter->name, why);
		r->monitor_retry_at = mono_add_ms(mono_now(), BLE_MONITOR_RETRY_MS);
	}
	ble_plan(r->ble);
}

/* RegisterMonitor or UnregisterMonitor. */
static int call(struct ble_radio *r, const char *member, bluez_answer_fn *fn)
{
	sd_bus_message *m = NULL;
	int e = bluez_message(r->ble->bluez, r->adapter->object.path, BLUEZ_I_MONITORS, member, &m);

	if (e >= 0)
		e = sd_bus_message_append(m, "o", BLE_MONITORS);
	if (e >= 0)
		e = bluez_call(r->ble->bluez, m, BLUEZ_CALL_MS, fn, r, fn ? &r->monitor_call : NULL);
	sd_bus_message_unref(m);
	return e;
}

void ble_monitor_plan(struct ble_radio *r, struct mono now)
{
	const struct ble *b = r->ble;
	bool wants = ble_radio_is_usable(r) && r->adapter->has_monitors && bluez_state(b->bluez) == BLUEZ_THERE &&
		     (b->settings.scan == BLE_SCAN_AUTO || b->settings.scan == BLE_SCAN_PASSIVE);

	if (!wants && r->monitor == MONITOR_ON) {
		(void)call(r, "UnregisterMonitor", NULL); /* it may be gone already */
		r->monitor = MONITOR_NONE;
	} else if (wants && r->monitor == MONITOR_FAILED && mono_before(now, r->monitor_retry_at)) {
		ble_plan_in(r->ble, mono_diff_ms(r->monitor_retry_at, now));
	} else if (wants && (r->monitor == MONITOR_NONE || r->monitor == MONITOR_FAILED)) {
		r->monitor_retry_at = mono_add_ms(now, BLE_MONITOR_RETRY_MS);
		r->monitor = export_objects(r->ble) >= 0 && call(r, "RegisterMonitor", on_registered) >= 0 ? MONITOR_REGISTERING : MONITOR_FAILED;
	}
}

void ble_monitor_forget(struct ble_radio *r)
{
	r->monitor_call = bluez_cancel(r->monitor_call);
	r->monitor = MONITOR_NONE;
}

/* Other patterns: bluetoothd reads them when it is registered. */
void ble_monitor_restart(struct ble *b)
{
	for (size_t i = 0; i < BLE_ADAPTERS_MAX; i++) {
		struct ble_radio *r = &b->radios[i];
		if (!r->adapter || (r->monitor != MONITOR_ON && r->monitor != MONITOR_REGISTERING))
			continue;
		(void)call(r, "UnregisterMonitor", NULL); /* registered anew at once, in this order */
		ble_monitor_forget(r);
	}
}

void ble_monitor_close(struct ble *b)
{
	b->monitor_slot = sd_bus_slot_unref(b->monitor_slot);
	b->manager_slot = sd_bus_slot_unref(b->manager_slot);
}
