/* Settings, health, and one function that looks at everything whenever anything has changed. */
#include "radio/ble.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "radio/ble_ad.h"
#include "radio/ble_state.h"

/* ---- settings ---- */

static char **list_copy(char *const *list)
{
	size_t n = 0;

	while (list && list[n] && n < BLE_LIST_MAX)
		n++;
	char **copy = NEW_N(char *, n + 1);
	for (size_t i = 0; i < n; i++)
		copy[i] = mem_strdup(list[i]);
	return copy;
}

static void list_free(char *const *list)
{
	for (char *const *p = list; p && *p; p++)
		free(*p);
	free((void *)list);
}

static void settings_done(struct ble *b)
{
	list_free(b->settings.adapters);
	list_free(b->settings.services);
	list_free(b->settings.pairing_nodes);
	free(b->services);
	b->services = NULL;
	b->n_services = 0;
}

static void settings_copy(struct ble *b, const struct ble_settings *s)
{
	b->settings = *s;
	b->settings.adapters = list_copy(s->adapters);
	b->settings.services = list_copy(s->services);
	b->settings.pairing_nodes = list_copy(s->pairing_nodes);
	if (!b->settings.links)
		b->settings.links = 1;
	if (!b->settings.scan_every_s)
		b->settings.scan_every_s = 1;
	for (char *const *p = b->settings.services; *p; p++) {
		b->services = mem_resize(b->services, b->n_services + 1, sizeof(*b->services));
		if (ble_uuid_parse(span_str(*p), b->services[b->n_services]) == 0)
			b->n_services++;
		else
			log_line(LOG_WARNING, "Bluetooth: %s is not the UUID of a service; it is left out", *p);
	}
}

bool ble_list_has(char *const *list, const uint8_t address[static BLE_ADDRESS_BYTES])
{
	uint8_t a[BLE_ADDRESS_BYTES];

	for (char *const *p = list; p && *p; p++)
		if (ble_address_parse(*p, a) == 0 && memcmp(a, address, sizeof(a)) == 0)
			return true;
	return false;
}

/* ---- health ---- */

enum ble_health ble_health(const struct ble *b)
{
	return b->health;
}

static enum ble_health health_now(const struct ble *b)
{
	switch (bluez_state(b->bluez)) {
	case BLUEZ_NO_BUS:
		return BLE_NO_BUS;
	case BLUEZ_NOT_THERE:
	case BLUEZ_READING:
		return BLE_NO_BLUEZ;
	case BLUEZ_THERE:
		break;
	}
	for (size_t i = 0; i < BLE_ADAPTERS_MAX; i++)
		if (ble_radio_is_usable(&b->radios[i]))
			return BLE_READY;
	return BLE_NO_ADAPTER;
}

static void tell_health(struct ble *b)
{
	enum ble_health h = health_now(b);

	if (h == b->health)
		return;
	b->health = h;
	if (b->ops->health)
		b->ops->health(b->ctx, h);
}

/* ---- the plan ---- */

void ble_plan_in(struct ble *b, int64_t in_ms)
{
	struct mono at = mono_add_ms(mono_now(), in_ms);

	if (in_ms < 0 || (loop_timer_armed(b->plan) && !mono_before(at, b->plan_at)))
		return;
	b->plan_at = at;
	loop_timer_set(b->plan, in_ms);
}

void ble_plan(struct ble *b)
{
	ble_plan_in(b, 0);
}

static void on_plan(void *ctx)
{
	struct ble *b = ctx;
	struct mono now = mono_now();

	tell_health(b);
	ble_seen_plan(b);
	ble_agent_plan(b);
	for (size_t i = 0; i < BLE_ADAPTERS_MAX; i++)
		if (b->radios[i].adapter)
			ble_radio_power(&b->radios[i], now);
	ble_turn_plan(b, now);
	for (size_t i = 0; i < BLE_ADAPTERS_MAX; i++) {
		if (!b->radios[i].adapter)
			continue;
		ble_monitor_plan(&b->radios[i], now);
		ble_scan_plan(&b->radios[i], now);
	}
}

static void on_tick(void *ctx)
{
	struct ble *b = ctx;

	ble_seen_tick(b, mono_now());
	loop_timer_set(b->tick, BLE_TICK_MS);
}

/* ---- what the mirror tells ---- */

static void on_health(void *ctx)
{
	struct ble *b = ctx;

	if (bluez_state(b->bluez) != BLUEZ_THERE)
		ble_agent_forget(b);
	if (bluez_state(b->bluez) == BLUEZ_NO_BUS)
		ble_monitor_close(b);
	tell_health(b);
	ble_plan(b);
}

static void on_adapter(void *ctx, struct bluez_adapter *a)
{
	ble_radio_adapter(ctx, a);
	ble_plan(ctx);
}

static void on_adapter_gone(void *ctx, struct bluez_adapter *a)
{
	ble_radio_adapter_gone(ctx, a);
	ble_plan(ctx);
}

static void on_device(void *ctx, struct bluez_device *d, unsigned changed)
{
	ble_seen_device(ctx, d, changed);
	if (changed & (BLUEZ_CONNECTED | BLUEZ_RESOLVED | BLUEZ_ABOUT))
		ble_connection_device(d, changed);
	if (changed & (BLUEZ_CONNECTED | BLUEZ_ABOUT))
		ble_plan(ctx);
}

static void on_device_gone(void *ctx, struct bluez_device *d)
{
	ble_connection_device_gone(d);
	ble_seen_device_gone(ctx, d);
	ble_plan(ctx);
}

/* Of a connection that is ready: before that nobody holds anything of its services. */
static struct ble_connection *ready_connection(const struct bluez_device *d)
{
	struct ble_seen *s = d->node;
	struct ble_connection *c = s ? s->connection : NULL;

	return c && c->device == d && c->state == CONNECTION_READY ? c : NULL;
}

static void on_attributes(void *ctx, struct bluez_device *d)
{
	struct ble_connection *c = ready_connection(d);

	if (c)
		gatt_connection_changed(c->gatt, NULL);
}

static void on_characteristic_gone(void *ctx, struct bluez_characteristic *ch)
{
	struct ble_connection *c = ready_connection(ch->service->device);

	if (c)
		gatt_connection_changed(c->gatt, ch);
}

static void on_value(void *ctx, struct bluez_characteristic *ch, struct span value)
{
	struct ble_connection *c = ready_connection(ch->service->device);

	if (c)
		gatt_connection_value(c->gatt, ch, value);
}

static struct bluez_device *on_crowded(void *ctx)
{
	return ble_seen_crowded(ctx);
}

static const struct bluez_ops mirror_ops = {
	.health = on_health, .adapter = on_adapter, .adapter_gone = on_adapter_gone, .device = on_device, .device_gone = on_device_gone,
	.attributes = on_attributes, .characteristic_gone = on_characteristic_gone, .value = on_value, .crowded = on_crowded,
};

/* ---- the whole ---- */

struct ble *ble_new(struct loop *l, const char *bus, const struct ble_settings *s, const struct ble_ops *ops, void *ctx)
{
	struct ble *b = NEW(struct ble);

	*b = (struct ble){ .loop = l, .ops = ops, .ctx = ctx, .health = BLE_NO_BUS, .began_at = mono_now() };
	for (size_t i = 0; i < BLE_ADAPTERS_MAX; i++)
		b->radios[i].ble = b;
	settings_copy(b, s);
	b->plan = loop_timer_new(l, on_plan, b);
	b->tick = loop_timer_new(l, on_tick, b);
	loop_timer_set(b->tick, BLE_TICK_MS);
	b->bluez = bluez_new(l, bus, &mirror_ops, b);
	return b;
}

struct ble *ble_free(struct ble *b)
{
	if (!b)
		return NULL;
	ble_pairing_drop_all(b);
	ble_connection_drop_all(b);
	ble_seen_drop_all(b);
	ble_agent_forget(b);
	ble_monitor_close(b);
	bluez_free(b->bluez);
	loop_timer_free(b->plan);
	loop_timer_free(b->tick);
	settings_done(b);
	free(b);
	return NULL;
}

void ble_set(struct ble *b, const struct ble_settings *s)
{
	settings_done(b);
	settings_copy(b, s);
	ble_radio_settings(b);
	ble_monitor_restart(b);
	for (size_t i = 0; i < BLE_ADAPTERS_MAX; i++)
		ble_scan_restart(&b->radios[i]);
	ble_plan(b);
}

void ble_search_begin(struct ble *b)
{
	b->n_searches++;
	ble_plan(b);
}

void ble_search_end(struct ble *b)
{
	if (b->n_searches)
		b->n_searches--;
	ble_plan(b);
}
