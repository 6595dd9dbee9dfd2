/* Whose turn it is: waiting connections, the slots of adapters, and who gives way. What is decided by ble_policy is done here. */
#include <errno.h>
#include <utlist.h>

#include "radio/ble_state.h"

static size_t slots_used(const struct ble_radio *r)
{
	const struct ble_connection *c;
	size_t n = 0;

	DL_FOREACH(r->ble->connections, c)
		n += c->radio == r && ble_connection_is_on(c);
	for (const struct bluez_device *d = r->adapter->devices; d; d = d->next)
		if (d->is_connected && !((c = ble_connection_on(d)) && ble_connection_is_on(c)))
			n++;                   /* somebody else's */
	return n;
}

/* The device by which it is best reached: connected already, on an adapter with a free slot, heard best. NULL = it is not there. */
static struct bluez_device *choose(struct ble *b, const struct ble_connection *c, const size_t used[static BLE_ADAPTERS_MAX], struct mono now)
{
	const struct ble_seen *s = ble_seen_find(b, c->address);
	bool is_there = s && (b->settings.scan == BLE_SCAN_OFF || mono_diff_ms(now, s->advertised_at) <= BLE_HEARD_LATELY_MS);
	struct bluez_device *best = NULL;
	int best_score = 0;

	for (size_t i = 0; s && i < s->n_devices; i++) {
		struct bluez_device *d = s->devices[i];
		const struct ble_radio *r = ble_radio_of(b, d->adapter);
		if (!r || !ble_radio_is_usable(r) || (!is_there && !d->is_connected))
			continue;              /* bluetoothd lists also who was there once */
		int score = 1000 + (d->is_connected ? 10000 : 0) + (used[r - b->radios] < b->settings.links ? 1000 : 0) +
			    (d->rssi == BLE_RSSI_UNKNOWN ? -128 : d->rssi);
		if (score > best_score) {
			best = d;
			best_score = score;
		}
	}
	return best;
}

enum { WAITERS_MAX = BLE_LINKS_MAX + BLE_PAIRINGS_MAX };

struct waiting {
	struct ble_connection *connection[WAITERS_MAX];
	struct bluez_device *device[WAITERS_MAX];
	struct ble_waiter waiter[WAITERS_MAX];
	size_t n;
};

/* A connection that nobody has asked for since we began, perhaps left over by a daemon that was killed. */
static bool drop_inherited(struct ble_radio *r)
{
	for (struct bluez_device *d = r->adapter->devices; d; d = d->next) {
		if (!d->is_connected || !d->is_inherited || ble_connection_on(d))
			continue;
		d->is_inherited = false;
		(void)bluez_call_plain(r->ble->bluez, d->object.path, BLUEZ_I_DEVICE, "Disconnect", BLUEZ_CALL_MS, NULL, NULL, NULL);
		return true;                   /* that it has ended is signalled, and the plan comes back */
	}
	return false;
}

/* Somebody gives way, now or at a time that the plan comes back for. */
static void make_room(struct ble_radio *r, struct mono now)
{
	struct ble_holder holders[WAITERS_MAX];
	struct ble_connection *who[WAITERS_MAX], *c;
	size_t n = 0;
	int64_t in_ms;

	DL_FOREACH(r->ble->connections, c) {
		if (c->radio != r || !ble_connection_is_on(c) || n >= WAITERS_MAX)
			continue;
		if (c->state == CONNECTION_CLOSING)
			return;                /* room is being made */
		holders[n] = (struct ble_holder){ .is_idle = !c->links, .is_fixed = c->state != CONNECTION_READY, .since = c->since };
		who[n++] = c;
	}
	if (drop_inherited(r))
		return;
	size_t i = ble_turn_yield(holders, n, r->ble->settings.turn_s, now, &in_ms);
	ble_plan_in(r->ble, in_ms);
	if (i == n)
		return;
	ble_connection_yield(who[i], -EAGAIN, "its turn is over, and others wait");
}

static void serve(struct ble_radio *r, struct waiting *w, size_t used, struct mono now)
{
	size_t i = 0;

	while (i < w->n && !w->device[i]->is_connected)
		i++;                           /* one that is connected takes no slot more */
	if (i == w->n) {
		if (used >= r->ble->settings.links) {
			make_room(r, now);
			return;
		}
		i = ble_turn_next(w->waiter, w->n);
	}
	if (w->connection[i]->is_fresh)
		ble_connection_forget(w->connection[i], w->device[i]->node);
	else
		ble_connection_begin(w->connection[i], r, w->device[i]);
}

static void gather(struct ble_radio *r, const size_t used[static BLE_ADAPTERS_MAX], struct waiting *w, struct mono now)
{
	struct ble *b = r->ble;
	struct ble_connection *c;

	w->n = 0;
	DL_FOREACH(b->connections, c) {
		struct bluez_device *d = c->state == CONNECTION_WAITING ? choose(b, c, used, now) : NULL;
		if (!d || d->adapter != r->adapter || w->n >= WAITERS_MAX)
			continue;
		w->connection[w->n] = c;
		w->device[w->n] = d;
		w->waiter[w->n++] = (struct ble_waiter){ .since = c->since, .is_exclusive = ble_links_exclusive(c) };
	}
}

static void look_at_all(struct ble *b, const size_t used[static BLE_ADAPTERS_MAX], struct mono now)
{
	struct ble_connection *c, *next;

	b->is_searching = b->n_searches > 0;
	DL_FOREACH_SAFE(b->connections, c, next) {
		if (c->state == CONNECTION_WAITING && !choose(b, c, used, now))
			b->is_searching = true;
		if (c->is_hung_up && c->state == CONNECTION_READY)
			ble_connection_yield(c, -ECONNRESET, c->why);
	}
}

void ble_turn_plan(struct ble *b, struct mono now)
{
	size_t used[BLE_ADAPTERS_MAX] = { 0 };
	struct waiting w;

	for (size_t i = 0; i < BLE_ADAPTERS_MAX; i++)
		if (b->radios[i].adapter)
			used[i] = slots_used(&b->radios[i]);
	look_at_all(b, used, now);
	for (size_t i = 0; i < BLE_ADAPTERS_MAX; i++) {
		struct ble_radio *r = &b->radios[i];
		if (!ble_radio_is_usable(r) || r->connecting || bluez_state(b->bluez) != BLUEZ_THERE)
			continue;
		gather(r, used, &w, now);
		if (w.n)
			serve(r, &w, used[i], now);
	}
}
