/* Connections: one node's each, on the slots that adapters have, one being made at a time on an adapter. */
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/random.h"
#include "radio/ble_state.h"

static void on_timer(void *ctx);
static void resolved(struct ble_connection *c);
static void lost(struct ble_connection *c, int error, const char *why);
static int remove_device(struct ble *b, const struct bluez_device *d, bluez_answer_fn *fn, void *ctx, struct bluez_call **ret);

bool ble_connection_is_on(const struct ble_connection *c)
{
	switch (c->state) {
	case CONNECTION_CONNECTING:
	case CONNECTION_PAIRING:
	case CONNECTION_RESOLVING:
	case CONNECTION_READY:
	case CONNECTION_CLOSING:
		return true;
	case CONNECTION_WAITING:
	case CONNECTION_FORGETTING:
	case CONNECTION_PAUSING:
		break;
	}
	return false;
}

struct ble_connection *ble_connection_of(struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES])
{
	struct ble_connection *c;

	DL_FOREACH(b->connections, c)
		if (memcmp(c->address, address, BLE_ADDRESS_BYTES) == 0)
			return c;
	return NULL;
}

struct ble_connection *ble_connection_new(struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES])
{
	struct ble_connection *c = NEW(struct ble_connection);
	struct ble_seen *s = ble_seen_find(b, address);

	*c = (struct ble_connection){ .ble = b, .since = mono_now() };
	memcpy(c->address, address, BLE_ADDRESS_BYTES);
	c->timer = loop_timer_new(b->loop, on_timer, c);
	DL_APPEND(b->connections, c);
	if (s)
		s->connection = c;
	b->wants_attach = true;
	return c;
}

static void release(struct ble_connection *c)
{
	if (c->radio && c->radio->connecting == c)
		c->radio->connecting = NULL;
	c->radio = NULL;
	c->device = NULL;
	ble_plan(c->ble);
}

static void set_state(struct ble_connection *c, enum ble_connection_state s)
{
	c->call = bluez_cancel(c->call);
	loop_timer_set(c->timer, -1);
	metric_add(METRIC_BLE_LINKS, (s == CONNECTION_READY) - (c->state == CONNECTION_READY));
	c->state = s;
}

static void connection_free(struct ble_connection *c)
{
	struct ble *b = c->ble;
	struct ble_seen *s = ble_seen_find(b, c->address);

	set_state(c, CONNECTION_WAITING);
	c->gatt = gatt_connection_free(c->gatt);
	release(c);
	DL_DELETE(b->connections, c);
	if (s)
		s->connection = NULL;
	ble_seen_mark(b, c->address, false);
	loop_timer_free(c->timer);
	free(c);
}

static void end_links(struct ble_connection *c, int error, const char *why)
{
	while (c->links)
		ble_link_end(c->links, error, why);
	c->gatt = gatt_connection_free(c->gatt);
}

/* Off the air: from the start again for who is left, or nothing more. */
static void off(struct ble_connection *c)
{
	set_state(c, CONNECTION_WAITING);
	c->gatt = gatt_connection_free(c->gatt);
	c->is_hung_up = c->is_foreign = false;
	c->rereads = 0;
	release(c);
	if (!c->links)
		connection_free(c);
}

static void say_disconnect(const struct ble_connection *c)
{
	if (c->device) /* nobody listens to the answer: that it has ended is signalled */
		(void)bluez_call_plain(c->ble->bluez, c->device->object.path, BLUEZ_I_DEVICE, "Disconnect", BLUEZ_CALL_MS, NULL, NULL, NULL);
}

/* ---- away ---- */

static void on_closed(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct ble_connection *c = ctx;

	c->call = NULL;
	off(c);
}

static void close_it(struct ble_connection *c)
{
	bool is_ours = c->device && !c->is_foreign;

	if (c->radio && c->radio->connecting == c)
		c->radio->connecting = NULL;
	c->gatt = gatt_connection_free(c->gatt);
	set_state(c, CONNECTION_CLOSING);
	if (!is_ours || bluez_call_plain(c->ble->bluez, c->device->object.path, BLUEZ_I_DEVICE, "Disconnect", BLUEZ_CALL_MS, on_closed, c,
					 &c->call) < 0)
		off(c);
}

void ble_connection_yield(struct ble_connection *c, int error, const char *why)
{
	end_links(c, error, why);
	close_it(c);
}

void ble_connection_left(struct ble_connection *c)
{
	switch (c->state) {
	case CONNECTION_WAITING:
	case CONNECTION_FORGETTING:
	case CONNECTION_PAUSING:
		connection_free(c);
		break;
	case CONNECTION_CONNECTING:
		if (c->call)
			close_it(c);
		else
			connection_free(c);
		break;
	case CONNECTION_PAIRING:
	case CONNECTION_RESOLVING:
		close_it(c);
		break;
	case CONNECTION_READY:
		c->since = mono_now();
		loop_timer_set(c->timer, (int64_t)c->ble->settings.idle_s * 1000);
		ble_plan(c->ble);              /* somebody may wait for the slot */
		break;
	case CONNECTION_CLOSING:
		break;
	}
}

/* A try came to nothing: another one later, or the end. */
static void failed(struct ble_connection *c, int error, const char *why)
{
	bool is_over = ++c->tries >= BLE_CONNECT_TRIES;
	struct ble_link *k, *next;

	metric_add(METRIC_BLE_CONNECT_FAILURES, 1);
	set_state(c, CONNECTION_PAUSING);
	c->last_error = error;
	if (why != c->why)
		(void)snprintf(c->why, sizeof(c->why), "%s", why); /* cut where it is too long */
	c->is_foreign = false;
	c->rereads = 0;
	release(c);
	log_line(LOG_DEBUG, "Bluetooth: a node was not connected, try %u: %s", c->tries, c->why);
	DL_FOREACH_SAFE(c->links, k, next)
		if (is_over || k->wait_is_over || error == -EACCES)
			ble_link_end(k, error == -EACCES ? error : -ETIMEDOUT, c->why);
	if (!c->links)
		connection_free(c);
	else
		loop_timer_set(c->timer, ble_retry_ms(c->tries, error == -ECONNABORTED, random_u64()));
}

/* ---- on the air ---- */

/* bluetoothd pairs by itself when something is read that needs encryption and the node is content with that: nobody is asked. A bond
 * that came so on a link of ours, and that the settings do not allow, goes again (BLZ-11). */
static bool drop_unasked_bond(struct ble_connection *c)
{
	if (c->was_bonded || c->is_foreign || !bluez_is_bonded(c->device))
		return false;
	c->was_bonded = true;
	bool just_works = c->ble->settings.pairing == BLE_PAIRING_JUST_WORKS && ble_may_pair(c->ble, c->address);
	if (just_works || ble_pairing_of(c->ble, c->device->object.path))
		return false;                  /* ble_pair.c looks at what came of it */
	log_line(LOG_NOTICE, "Bluetooth: %s was paired without being asked for: its bond is removed", c->device->object.path);
	(void)remove_device(c->ble, c->device, NULL, NULL, NULL); /* signalled when done; else bluetoothd is gone */
	lost(c, -EACCES, "the node wants a pairing that is not allowed (ble.pairing, ble.pairing_nodes)");
	return true;
}

static void become_ready(struct ble_connection *c)
{
	struct ble_link *k;

	set_state(c, CONNECTION_READY);
	if (drop_unasked_bond(c))
		return;
	c->since = mono_now();
	c->tries = 0;
	c->last_error = 0;
	DL_FOREACH(c->links, k)
		ble_link_is_ready(k);
	if (!c->links)
		ble_connection_left(c);
	else
		ble_plan(c->ble);              /* its turn has begun: who waits gets the slot when that is over */
}

/* Refused or not: what needs the pairing will say so. */
static void on_paired(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct ble_connection *c = ctx;

	c->call = NULL;
	if (error && error != -EEXIST)
		log_line(LOG_NOTICE, "Bluetooth: %s did not pair: %s", c->device->object.path, why);
	become_ready(c);
}

/* Its services are known. Only now: bluetoothd 5.66 never answers Pair() while it reads services. */
static void settle(struct ble_connection *c)
{
	struct ble *b = c->ble;

	if (b->settings.pairing != BLE_PAIRING_JUST_WORKS || !b->has_agent || bluez_is_bonded(c->device) || !ble_may_pair(b, c->address)) {
		become_ready(c);
		return;
	}
	set_state(c, CONNECTION_PAIRING);
	if (bluez_call_plain(b->bluez, c->device->object.path, BLUEZ_I_DEVICE, "Pair", BLE_JUST_PAIR_MS, on_paired, c, &c->call) < 0)
		become_ready(c);
}

static void on_reread(void *ctx, int error)
{
	struct ble_connection *c = ctx;

	c->call = NULL;
	if (c->device->n_services || c->rereads > BLE_REREADS)
		settle(c);
	else
		loop_timer_set(c->timer, BLE_REREAD_MS);
}

/* bluetoothd may say so before the services are on the bus. */
static void resolved(struct ble_connection *c)
{
	if (c->call)
		return;
	if (c->device->n_services || c->rereads++ >= BLE_REREADS)
		settle(c);
	else if (bluez_read_again(c->ble->bluez, on_reread, c, &c->call) < 0)
		failed(c, -ENOTCONN, "bluetoothd is gone");
}

static void resolve(struct ble_connection *c)
{
	set_state(c, CONNECTION_RESOLVING);
	loop_timer_set(c->timer, BLE_RESOLVE_MS);
	if (c->device->is_resolved)
		resolved(c);
}

static void on_connected(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct ble_connection *c = ctx;

	c->call = NULL;
	if (c->radio->connecting == c)
		c->radio->connecting = NULL;
	ble_plan(c->ble);
	if (!error || error == -EISCONN) {
		resolve(c);
		return;
	}
	if (error == -ETIMEDOUT)
		say_disconnect(c);             /* or it goes on trying */
	failed(c, error, why);
}

static void say_connect(struct ble_connection *c)
{
	c->is_foreign = c->device->is_connected && !c->device->is_inherited;
	c->was_bonded = bluez_is_bonded(c->device);
	if (bluez_call_plain(c->ble->bluez, c->device->object.path, BLUEZ_I_DEVICE, "Connect", BLUEZ_CONNECT_MS, on_connected, c, &c->call) < 0)
		failed(c, -ENOTCONN, "bluetoothd is gone");
}

void ble_connection_scan_ended(struct ble_radio *r)
{
	if (r->connecting && !r->connecting->call)
		say_connect(r->connecting);
}

void ble_connection_begin(struct ble_connection *c, struct ble_radio *r, struct bluez_device *d)
{
	set_state(c, CONNECTION_CONNECTING);
	c->radio = r;
	c->device = d;
	r->connecting = c;
	if (r->scan == SCAN_IDLE)
		say_connect(c);                /* else the plan stops the scan first */
}

/* ---- fresh: bluetoothd forgets what it knew ---- */

static void on_forgotten(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct ble_connection *c = ctx;
	struct ble_seen *s = ble_seen_find(c->ble, c->address);

	c->call = NULL;
	c->is_fresh = false;
	set_state(c, CONNECTION_WAITING);
	while (!error && s && s->n_devices)    /* signalled, too; before or after */
		bluez_forget(c->ble->bluez, s->devices[0]);
	ble_plan(c->ble);
}

static int remove_device(struct ble *b, const struct bluez_device *d, bluez_answer_fn *fn, void *ctx, struct bluez_call **ret)
{
	sd_bus_message *m = NULL;
	int r = bluez_message(b->bluez, d->adapter->object.path, BLUEZ_I_ADAPTER, "RemoveDevice", &m);

	if (r >= 0)
		r = sd_bus_message_append(m, "o", d->object.path);
	if (r >= 0)
		r = bluez_call(b->bluez, m, BLUEZ_CALL_MS, fn, ctx, ret);
	sd_bus_message_unref(m);
	return r;
}

/* Not of a bonded one: that would forget the bond, too. */
void ble_connection_forget(struct ble_connection *c, const struct ble_seen *s)
{
	set_state(c, CONNECTION_FORGETTING);
	for (size_t i = 1; !s->node.is_bonded && i < s->n_devices; i++)
		(void)remove_device(c->ble, s->devices[i], NULL, NULL, NULL); /* answered in this order */
	if (s->node.is_bonded || remove_device(c->ble, s->devices[0], on_forgotten, c, &c->call) < 0) {
		c->is_fresh = false;
		set_state(c, CONNECTION_WAITING);
		ble_plan(c->ble);
	}
}

void ble_connection_freshen(struct ble_connection *c)
{
	const struct ble_seen *s = ble_seen_find(c->ble, c->address);

	if (s && s->node.is_bonded)
		return;
	c->is_fresh = true;
	if (c->state == CONNECTION_READY)
		off(c);
}

/* ---- what happens to it ---- */

static void on_timer(void *ctx)
{
	struct ble_connection *c = ctx;

	switch (c->state) {
	case CONNECTION_PAUSING:
		set_state(c, CONNECTION_WAITING);
		ble_plan(c->ble);
		break;
	case CONNECTION_RESOLVING:
		if (c->device->is_resolved) {
			resolved(c);
			break;
		}
		say_disconnect(c);
		failed(c, -ETIMEDOUT, "what it offers was not found out in time");
		break;
	case CONNECTION_READY:
		if (!c->links)
			close_it(c);
		break;
	case CONNECTION_WAITING:
	case CONNECTION_FORGETTING:
	case CONNECTION_CONNECTING:
	case CONNECTION_PAIRING:
	case CONNECTION_CLOSING:
		break;
	}
}

/* It is not connected any more. */
static void lost(struct ble_connection *c, int error, const char *why)
{
	switch (c->state) {
	case CONNECTION_READY:
		end_links(c, error, why);
		off(c);
		break;
	case CONNECTION_PAIRING:
	case CONNECTION_RESOLVING:
		if (error == -ECONNRESET)
			failed(c, error, why);
		else
			off(c);
		break;
	case CONNECTION_CONNECTING:
		if (error != -ECONNRESET)
			off(c);                /* else its answer says so */
		break;
	case CONNECTION_CLOSING:
		off(c);
		break;
	case CONNECTION_WAITING:
	case CONNECTION_FORGETTING:
	case CONNECTION_PAUSING:
		break;
	}
}

struct ble_connection *ble_connection_on(const struct bluez_device *d)
{
	struct ble_seen *s = d->node;

	return s && s->connection && s->connection->device == d ? s->connection : NULL;
}

void ble_connection_device(struct bluez_device *d, unsigned changed)
{
	struct ble_connection *c = ble_connection_on(d);

	if (!c)
		return;
	if ((changed & BLUEZ_CONNECTED) && !d->is_connected)
		lost(c, -ECONNRESET, "the link was lost");
	else if (c->state == CONNECTION_RESOLVING && (changed & BLUEZ_RESOLVED) && d->is_resolved)
		resolved(c);
	else if (c->state == CONNECTION_READY && (changed & BLUEZ_ABOUT))
		(void)drop_unasked_bond(c);    /* or there is none */
}

void ble_connection_device_gone(struct bluez_device *d)
{
	struct ble_connection *c = ble_connection_on(d);

	if (!c)
		return;
	if (!bluez_owner(c->ble->bluez))
		lost(c, -ENOTCONN, "bluetoothd is gone");
	else if (c->state == CONNECTION_READY)
		lost(c, -ECONNRESET, "bluetoothd has dropped the node");
	else
		off(c);
}

/* A private address was resolved: the connection is the identity's from now on. */
void ble_connection_moved(struct ble_connection *c, const uint8_t address[static BLE_ADDRESS_BYTES])
{
	struct ble_seen *s = ble_seen_find(c->ble, c->address);

	if (ble_connection_of(c->ble, address)) {
		lost(c, -ECONNRESET, "who is behind its private address is known now, and waited for already");
		return;
	}
	if (s)
		s->connection = NULL;
	memcpy(c->address, address, BLE_ADDRESS_BYTES);
}

void ble_connection_radio_gone(struct ble_radio *r, const char *why)
{
	struct ble_connection *c, *next;

	DL_FOREACH_SAFE(r->ble->connections, c, next)
		if (c->radio == r)
			lost(c, -ENOTCONN, why);
}

void ble_connection_drop_all(struct ble *b)
{
	while (b->connections) {
		struct ble_connection *c = b->connections;
		while (c->links) {
			struct ble_link *k = c->links;
			ble_link_end(k, -ENOTCONN, "");
			loop_timer_set(k->later, -1);
			k->ble = NULL;         /* whose it is closes it later */
		}
		if (ble_connection_is_on(c) && !c->is_foreign)
			say_disconnect(c);
		connection_free(c);
	}
}
