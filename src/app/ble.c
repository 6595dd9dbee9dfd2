/* Bluetooth LE put in its place: which node is which device, who is told of nodes, and what is logged of them. Strangers' nodes come
 * by the thousand: they are told at debug, and a few a minute. */
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "app/gateway.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

enum { FIRST_MS = 5000, STRANGERS_MAX = 10, STRANGERS_MS = 60000, NAME_BYTES = 2 * BLE_NAME_BYTES };

struct known {                                 /* a device that is a node */
	char device[DEVICE_ID_BYTES];          /* key of hh */
	char node[BLE_ID_BYTES];               /* key of by_node; two devices may claim one node */
	bool is_here;
	UT_hash_handle hh, by_node;
};

struct gateway_ble {
	struct gateway *g;
	struct known *devices, *nodes;
	struct loop_timer *first;              /* until the first word on how Bluetooth does */
	unsigned n_strangers;
	struct mono strangers_since;
};

/* Who is told of nodes: one row each. */
static const struct gateway_ble_hooks *const hooks[] = {
	&gateway_smp_ble_hooks,
	&gateway_ble_resources_hooks,
};

enum { HOOKS = sizeof(hooks) / sizeof(*hooks) };

/* ---- devices and nodes ---- */

int gateway_ble_id(const struct device *d, char ret[static BLE_ID_BYTES])
{
	if (d->address[0])
		return ble_id_parse(span_str(d->address), ret);
	return ble_id_parse(span_str(d->id), ret);
}

static struct known *known_node(const struct gateway_ble *s, const char *node)
{
	struct known *k;

	HASH_FIND(by_node, s->nodes, node, strlen(node), k);
	return k;
}

const char *gateway_ble_device_of(const struct gateway *g, const char *node)
{
	const struct known *k = g->ble_side && *node ? known_node(g->ble_side, node) : NULL;

	return k ? k->device : NULL;
}

static void known_drop(struct gateway_ble *s, struct known *k)
{
	HASH_DEL(s->devices, k);
	HASH_DELETE(by_node, s->nodes, k);
	free(k);
}

void gateway_ble_device_gone(struct gateway *g, const char *id)
{
	struct known *k = NULL;

	if (g->ble_side)
		HASH_FIND_STR(g->ble_side->devices, id, k);
	if (k)
		known_drop(g->ble_side, k);
}

void gateway_ble_device(struct gateway *g, const struct device *d)
{
	char node[BLE_ID_BYTES];
	struct known *k = NULL;

	if (!g->ble_side)
		return;
	HASH_FIND_STR(g->ble_side->devices, d->id, k);
	bool is_node = d->state != DEVICE_RETIRED && gateway_ble_id(d, node) == 0;
	if (is_node && k && strcmp(k->node, node) == 0)
		return;
	if (k)
		known_drop(g->ble_side, k);
	if (!is_node)
		return;
	k = NEW(struct known);
	memcpy(k->device, d->id, sizeof(k->device));
	memcpy(k->node, node, sizeof(k->node));
	k->is_here = g->ble && ble_node_get(g->ble, node);
	HASH_ADD_STR(g->ble_side->devices, device, k);
	HASH_ADD(by_node, g->ble_side->nodes, node, strlen(k->node), k);
}

/* ---- what is logged ---- */

static const char *name_of(const struct ble_node *n, char ret[static NAME_BYTES])
{
	_cleanup_buf_ struct buf b = { 0 };

	text_add_escaped(&b, span_str(n->name), BLE_NAME_BYTES);
	(void)text_copy(ret, NAME_BYTES, span_sub(buf_span(&b), 0, NAME_BYTES - 1)); /* clipped for people */
	return ret;
}

/* Whether a stranger's node may be told of, or there were too many just now. */
static bool may_tell(struct gateway_ble *s)
{
	struct mono now = mono_now();

	if (s->n_strangers == 0 || mono_diff_ms(now, s->strangers_since) >= STRANGERS_MS) {
		s->strangers_since = now;
		s->n_strangers = 0;
	}
	if (s->n_strangers >= STRANGERS_MAX)
		return false;
	s->n_strangers++;
	return true;
}

static void tell(struct gateway_ble *s, const struct ble_node *n, bool is_here)
{
	struct known *k = known_node(s, n->id);
	char address[BLE_ADDRESS_TEXT_BYTES], name[NAME_BYTES];

	(void)ble_address_text(n->address, address); /* in place */
	if (k && k->is_here != is_here) {
		k->is_here = is_here;
		log_fields(EV_BLE_NODE, LOG_NOTICE, ({ "GW_DEVICE", k->device }, { "GW_PEER", address }, { "GW_STATE", is_here ? "here" : "gone" }),
			   "device %s (%s \"%s\") %s", k->device, address, name_of(n, name), is_here ? "is in range" : "is out of range");
	} else if (!k && may_tell(s)) {
		log_fields(EV_BLE_NODE, LOG_DEBUG, ({ "GW_PEER", address }, { "GW_STATE", is_here ? "here" : "gone" }), "node %s \"%s\" %s, %d dBm",
			   address, name_of(n, name), is_here ? "is in range" : "is out of range", n->rssi);
	}
}

/* ---- what radio/ble tells ---- */

static void on_health(void *ctx, enum ble_health h)
{
	struct gateway_ble *s = ctx;

	loop_timer_set(s->first, -1);
	log_fields(EV_BLE_HEALTH, h == BLE_READY ? LOG_NOTICE : LOG_WARNING, ({ "GW_STATE", ble_health_text(h) }), "Bluetooth: %s", ble_health_text(h));
	for (size_t i = 0; i < HOOKS; i++)
		if (hooks[i]->health)
			hooks[i]->health(s->g, h);
}

/* It never changed since the start: what is missing is said once. */
static void on_first(void *ctx)
{
	struct gateway_ble *s = ctx;

	on_health(s, ble_health(s->g->ble));
}

static void on_node(void *ctx, const struct ble_node *n)
{
	struct gateway_ble *s = ctx;

	tell(s, n, true);
	for (size_t i = 0; i < HOOKS; i++)
		if (hooks[i]->node)
			hooks[i]->node(s->g, n);
}

/* It is awake. */
static void on_heard(void *ctx, const struct ble_node *n)
{
	struct gateway_ble *s = ctx;
	const struct known *k = n->id[0] ? known_node(s, n->id) : NULL;
	char address[BLE_ADDRESS_TEXT_BYTES];

	if (!k)
		return;
	devices_heard_at(s->g->devices, k->device, ble_address_text(n->address, address), wall_now());
	for (size_t i = 0; i < HOOKS; i++)
		if (hooks[i]->heard)
			hooks[i]->heard(s->g, k->device, n);
}

static void on_gone(void *ctx, const struct ble_node *n)
{
	struct gateway_ble *s = ctx;

	tell(s, n, false);
	for (size_t i = 0; i < HOOKS; i++)
		if (hooks[i]->gone)
			hooks[i]->gone(s->g, n);
}

static void on_passkey(void *ctx, const struct ble_node *n, uint32_t passkey, bool is_wanted)
{
	struct gateway_ble *s = ctx;
	const struct known *k = known_node(s, n->id);
	char address[BLE_ADDRESS_TEXT_BYTES], name[NAME_BYTES];

	(void)ble_address_text(n->address, address); /* in place */
	(void)name_of(n, name);                      /* in place */
	if (s->g->admin) /* the digits are for whoever pairs, not for the log */
		admin_ble_passkey(s->g->admin, n, passkey, is_wanted);
	if (is_wanted)
		log_fields(EV_BLE_PAIRING, LOG_NOTICE, ({ "GW_PEER", address }, { "GW_DEVICE", k ? k->device : "" }),
			   "node %s \"%s\" shows six digits: dormousectl ble passkey %s DIGITS", address, name, address);
	else
		log_fields(EV_BLE_PAIRING, LOG_NOTICE, ({ "GW_PEER", address }, { "GW_DEVICE", k ? k->device : "" }),
			   "six digits are to be typed at node %s \"%s\": dormousectl ble show %s", address, name, address);
}

static const struct ble_ops ops = { .health = on_health, .node = on_node, .heard = on_heard, .gone = on_gone, .passkey = on_passkey };

/* ---- life ---- */

static struct ble_settings settings_of(const struct config *c)
{
	static const enum ble_scan scans[] = { [CONFIG_BLE_SCAN_AUTO] = BLE_SCAN_AUTO, [CONFIG_BLE_SCAN_ACTIVE] = BLE_SCAN_ACTIVE,
					       [CONFIG_BLE_SCAN_PASSIVE] = BLE_SCAN_PASSIVE, [CONFIG_BLE_SCAN_OFF] = BLE_SCAN_OFF };
	static const enum ble_pairing pairings[] = { [CONFIG_BLE_PAIRING_OFF] = BLE_PAIRING_OFF,
						     [CONFIG_BLE_PAIRING_JUST_WORKS] = BLE_PAIRING_JUST_WORKS,
						     [CONFIG_BLE_PAIRING_PASSKEY] = BLE_PAIRING_PASSKEY };

	return (struct ble_settings){ .adapters = c->ble.adapters, .scan = scans[c->ble.scan], .scan_s = c->ble.scan_s,
				      .scan_every_s = c->ble.scan_every_s, .services = c->ble.services, .weakest_dbm = -(int)c->ble.weakest_dbm,
				      .links = c->ble.links, .turn_s = c->ble.turn_s, .idle_s = c->ble.idle_s, .gone_s = c->ble.gone_s,
				      .pairing = pairings[c->ble.pairing], .pairing_nodes = c->ble.pairing_nodes };
}

int gateway_ble_start(struct gateway *g, struct buf *error)
{
	struct ble_settings s = settings_of(g->config);

	(void)error;
	if (!g->config->ble.enabled)
		return 0;
	g->ble_side = NEW(struct gateway_ble);
	g->ble_side->g = g;
	for (const struct device *d = devices_next(g->devices, NULL); d; d = devices_next(g->devices, d->id))
		gateway_ble_device(g, d);
	g->ble_side->first = loop_timer_new(g->loop, on_first, g->ble_side);
	loop_timer_set(g->ble_side->first, FIRST_MS);
	g->ble = ble_new(g->loop, NULL, &s, &ops, g->ble_side);
	return 0;
}

void gateway_ble_stop(struct gateway *g)
{
	struct known *k, *tmp;

	g->ble = ble_free(g->ble);
	if (!g->ble_side)
		return;
	HASH_ITER(hh, g->ble_side->devices, k, tmp)
		known_drop(g->ble_side, k);
	loop_timer_free(g->ble_side->first);
	free(g->ble_side);
	g->ble_side = NULL;
}

void gateway_ble_reload(struct gateway *g)
{
	struct ble_settings s = settings_of(g->config);

	if (g->ble)
		ble_set(g->ble, &s);
}
