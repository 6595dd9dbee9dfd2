/* Active scanning: bluetoothd's discovery with a filter, in turns, and not while anything connects (BLZ-4, BLZ-9). */
#include <errno.h>

#include "base/log.h"
#include "base/text.h"
#include "radio/ble_ad.h"
#include "radio/ble_state.h"

static void on_started(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct ble_radio *r = ctx;

	r->scan_call = NULL;
	r->scan = !error || error == -EBUSY ? SCAN_ON : SCAN_IDLE; /* busy: it runs already */
	r->scan_since = mono_now();
	if (r->scan == SCAN_IDLE) {
		log_line(LOG_DEBUG, "Bluetooth: adapter %s does not scan: %s", r->adapter->name, why);
		r->scan_retry_at = mono_add_ms(mono_now(), BLE_SCAN_RETRY_MS);
		ble_connection_scan_ended(r);
	}
	ble_plan(r->ble);
}

/* Whatever it says, nothing of ours runs then: a session that does not exist cannot be stopped. */
static void on_stopped(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct ble_radio *r = ctx;

	r->scan_call = NULL;
	r->scan = SCAN_IDLE;
	ble_connection_scan_ended(r);
	ble_plan(r->ble);
}

static int append_services(sd_bus_message *m, const struct ble *b)
{
	int r = sd_bus_message_open_container(m, 'e', "sv");

	if (r >= 0)
		r = sd_bus_message_append(m, "s", "UUIDs");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', "as");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "s");
	for (size_t i = 0; r >= 0 && i < b->n_services; i++) {
		char text[TEXT_UUID_BYTES];
		r = sd_bus_message_append(m, "s", text_uuid(b->services[i], text));
	}
	for (int depth = 0; r >= 0 && depth < 3; depth++)
		r = sd_bus_message_close_container(m);
	return r;
}

/* Without a filter bluetoothd hides nodes that do not call themselves discoverable. */
static int set_filter(struct ble_radio *r, bool is_for_all)
{
	const struct ble *b = r->ble;
	sd_bus_message *m = NULL;
	int e = bluez_message(b->bluez, r->adapter->object.path, BLUEZ_I_ADAPTER, "SetDiscoveryFilter", &m);

	if (e >= 0)
		e = sd_bus_message_open_container(m, 'a', "{sv}");
	if (e >= 0)
		e = sd_bus_message_append(m, "{sv}{sv}", "Transport", "s", "le", "DuplicateData", "b", 1);
	if (e >= 0 && b->settings.weakest_dbm > -127)
		e = sd_bus_message_append(m, "{sv}", "RSSI", "n", b->settings.weakest_dbm);
	if (e >= 0 && !is_for_all)
		e = append_services(m, b);
	if (e >= 0)
		e = sd_bus_message_close_container(m);
	if (e >= 0)
		e = bluez_call(b->bluez, m, BLUEZ_CALL_MS, NULL, NULL, NULL);
	sd_bus_message_unref(m);
	return e;
}

static void start(struct ble_radio *r, bool is_for_all)
{
	int e = set_filter(r, is_for_all);

	if (e >= 0)
		e = bluez_call_plain(r->ble->bluez, r->adapter->object.path, BLUEZ_I_ADAPTER, "StartDiscovery", BLUEZ_CALL_MS, on_started, r,
				     &r->scan_call);
	if (e < 0) {
		r->scan_retry_at = mono_add_ms(mono_now(), BLE_SCAN_RETRY_MS);
		ble_plan_in(r->ble, BLE_SCAN_RETRY_MS);
		return;
	}
	r->scans_for_all = is_for_all;
	r->scan = SCAN_STARTING;
}

static void stop(struct ble_radio *r)
{
	int e = bluez_call_plain(r->ble->bluez, r->adapter->object.path, BLUEZ_I_ADAPTER, "StopDiscovery", BLUEZ_CALL_MS, on_stopped, r,
				 &r->scan_call);

	r->scan = e < 0 ? SCAN_IDLE : SCAN_STOPPING;
	if (e < 0)
		ble_connection_scan_ended(r);
}

void ble_scan_plan(struct ble_radio *r, struct mono now)
{
	const struct ble *b = r->ble;
	const struct ble_scan_facts facts = {
		.scan = b->settings.scan, .has_passive = r->monitor == MONITOR_ON || r->monitor == MONITOR_REGISTERING,
		.is_searching = b->is_searching,
		.is_connecting = r->connecting != NULL, .scan_s = b->settings.scan_s, .scan_every_s = b->settings.scan_every_s,
		.began_at = b->began_at,
	};
	/* Who is waited for need not advertise what the others are known by. */
	bool is_for_all = b->is_searching || b->n_services == 0;
	int64_t in_ms = -1;
	bool wants = ble_radio_is_usable(r) && bluez_state(b->bluez) == BLUEZ_THERE && ble_scan_now(&facts, now, &in_ms);

	ble_plan_in(r->ble, in_ms);
	bool is_old = r->scan == SCAN_ON && b->is_searching && mono_diff_ms(now, r->scan_since) >= BLE_SEARCH_MS;
	if (r->scan == SCAN_ON && b->is_searching && !is_old)
		ble_plan_in(r->ble, BLE_SEARCH_MS - mono_diff_ms(now, r->scan_since));
	if (r->scan == SCAN_ON && (!wants || is_old || r->scans_for_all != is_for_all)) {
		stop(r);
	} else if (r->scan == SCAN_IDLE && wants) {
		if (mono_before(now, r->scan_retry_at))
			ble_plan_in(r->ble, mono_diff_ms(r->scan_retry_at, now));
		else
			start(r, is_for_all);
	}
}

void ble_scan_forget(struct ble_radio *r)
{
	r->scan_call = bluez_cancel(r->scan_call);
	r->scan = SCAN_IDLE;
	r->scan_retry_at = (struct mono){ 0 };
}

void ble_scan_restart(struct ble_radio *r)
{
	if (r->adapter && r->scan == SCAN_ON)
		stop(r);
}
