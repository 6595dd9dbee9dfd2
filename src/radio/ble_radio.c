/* Adapters: which of them are ours to use, and that they have power. */
#include <errno.h>

#include "base/log.h"
#include "radio/ble_state.h"

struct ble_radio *ble_radio_of(struct ble *b, const struct bluez_adapter *a)
{
	for (size_t i = 0; i < BLE_ADAPTERS_MAX; i++)
		if (b->radios[i].adapter == a)
			return &b->radios[i];
	return NULL;
}

bool ble_radio_is_usable(const struct ble_radio *r)
{
	return r->adapter && r->is_allowed && r->adapter->is_powered;
}

static bool is_allowed(const struct ble *b, const struct bluez_adapter *a)
{
	char *const *list = b->settings.adapters;

	if (!list || !*list)
		return true;
	for (char *const *p = list; *p; p++)
		if (strcmp(*p, a->name) == 0)
			return true;
	return ble_list_has(list, a->address);
}

/* Nothing of it is in force any more. */
static void silence(struct ble_radio *r, const char *why)
{
	ble_connection_radio_gone(r, why);
	ble_scan_forget(r);
	ble_monitor_forget(r);
}

void ble_radio_adapter(struct ble *b, struct bluez_adapter *a)
{
	struct ble_radio *r = ble_radio_of(b, a);

	if (!r) {
		r = ble_radio_of(b, NULL);     /* BLE_ADAPTERS_MAX here and there: there is one */
		if (!r)
			return;
		*r = (struct ble_radio){ .ble = b, .adapter = a };
	}
	bool was_usable = r->is_allowed && ble_radio_is_usable(r);
	r->is_allowed = is_allowed(b, a);
	if (was_usable && !ble_radio_is_usable(r))
		silence(r, "the adapter may not be used any more");
	else if (!a->is_powered)
		silence(r, "the adapter has no power");
}

void ble_radio_adapter_gone(struct ble *b, struct bluez_adapter *a)
{
	struct ble_radio *r = ble_radio_of(b, a);

	if (!r)
		return;
	silence(r, "the adapter is gone");
	r->power_call = bluez_cancel(r->power_call);
	*r = (struct ble_radio){ .ble = b };
}

void ble_radio_settings(struct ble *b)
{
	for (size_t i = 0; i < BLE_ADAPTERS_MAX; i++) {
		struct ble_radio *r = &b->radios[i];
		if (!r->adapter)
			continue;
		ble_radio_adapter(b, r->adapter);
		for (struct bluez_device *d = r->adapter->devices; d; d = d->next)
			ble_seen_device(b, d, 0);
	}
}

static void on_powered(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct ble_radio *r = ctx;

	r->power_call = NULL;
	if (error && !r->power_failed) /* once, though it is tried again and again */
		log_line(LOG_NOTICE, "Bluetooth: adapter %s cannot be switched on: %s", r->adapter->name, why);
	r->power_failed = error != 0;
	ble_plan(r->ble);
}

void ble_radio_power(struct ble_radio *r, struct mono now)
{
	struct bluez *z = r->ble->bluez;
	sd_bus_message *m = NULL;

	if (!r->is_allowed || r->adapter->is_powered || r->power_call || bluez_state(z) != BLUEZ_THERE)
		return;
	if (mono_before(now, r->power_retry_at)) {
		ble_plan_in(r->ble, mono_diff_ms(r->power_retry_at, now));
		return;
	}
	r->power_retry_at = mono_add_ms(now, BLE_POWER_RETRY_MS);
	int e = bluez_message(z, r->adapter->object.path, "org.freedesktop.DBus.Properties", "Set", &m);
	if (e >= 0)
		e = sd_bus_message_append(m, "ssv", BLUEZ_I_ADAPTER, "Powered", "b", 1);
	if (e >= 0)
		(void)bluez_call(z, m, BLUEZ_CALL_MS, on_powered, r, &r->power_call); /* tried again later */
	sd_bus_message_unref(m);
}

size_t ble_adapters(const struct ble *b, struct ble_adapter ret[static BLE_ADAPTERS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < BLE_ADAPTERS_MAX; i++) {
		const struct ble_radio *r = &b->radios[i];
		if (!r->adapter || !r->is_allowed)
			continue;
		struct ble_adapter *a = &ret[n++];
		*a = (struct ble_adapter){ .is_powered = r->adapter->is_powered, .is_scanning = r->scan == SCAN_ON,
					   .is_passive = r->monitor == MONITOR_ON };
		(void)snprintf(a->name, sizeof(a->name), "%s", r->adapter->name); /* fits */
		memcpy(a->address, r->adapter->address, BLE_ADDRESS_BYTES);
		for (const struct ble_connection *c = b->connections; c; c = c->next)
			a->n_links += c->radio == r && ble_connection_is_on(c);
	}
	return n;
}
