/* Nodes: who is in range, put together from what each adapter knows. Addresses are strangers' words, and so is their number. */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "radio/ble_state.h"

int ble_address_parse(const char *id, uint8_t ret[static BLE_ADDRESS_BYTES])
{
	char canonical[BLE_ID_BYTES];
	int r = ble_id_parse(span_str(id), canonical);

	return r < 0 ? r : text_parse_hex(span_str(canonical + strlen("ble-")), ret, BLE_ADDRESS_BYTES);
}

struct ble_seen *ble_seen_find(const struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES])
{
	struct ble_seen *s;

	HASH_FIND(hh, b->nodes, address, BLE_ADDRESS_BYTES, s);
	return s;
}

const struct ble_node *ble_node_get(const struct ble *b, const char *id)
{
	uint8_t a[BLE_ADDRESS_BYTES];
	const struct ble_seen *s = ble_address_parse(id, a) == 0 ? ble_seen_find(b, a) : NULL;

	return s && !s->node.is_private ? &s->node : NULL;
}

/* node is the first field of struct ble_seen. */
const struct ble_node *ble_node_next(const struct ble *b, const struct ble_node *after)
{
	const struct ble_seen *s = after ? ((const struct ble_seen *)after)->hh.next : b->nodes;

	return s ? &s->node : NULL;
}

size_t ble_node_count(const struct ble *b)
{
	return HASH_COUNT(b->nodes);
}

/* ---- which of them may be heard ---- */

static bool offers_wanted(const struct ble *b, const struct bluez_device *d)
{
	for (size_t i = 0; i < d->n_services_advertised; i++)
		for (size_t j = 0; j < b->n_services; j++)
			if (memcmp(d->services_advertised[i], b->services[j], BLE_UUID_BYTES) == 0)
				return true;
	return b->n_services == 0;
}

/* bluetoothd merges the filters of all its clients: what comes is looked at again. */
static bool is_welcome(struct ble *b, const struct bluez_device *d)
{
	const struct ble_radio *r = ble_radio_of(b, d->adapter);

	if (!r || !r->is_allowed)
		return false;
	if (d->is_connected || bluez_is_bonded(d) || ble_connection_of(b, d->address))
		return true;
	return d->was_heard && offers_wanted(b, d) && (d->rssi == BLE_RSSI_UNKNOWN || d->rssi >= b->settings.weakest_dbm);
}

/* ---- one node of several devices ---- */

/* Connected, else heard best. */
static struct bluez_device *best_device(const struct ble_seen *s)
{
	struct bluez_device *best = NULL;

	for (size_t i = 0; i < s->n_devices; i++) {
		struct bluez_device *d = s->devices[i];
		if (!best || (d->is_connected && !best->is_connected) ||
		    (d->is_connected == best->is_connected && d->rssi != BLE_RSSI_UNKNOWN && (best->rssi == BLE_RSSI_UNKNOWN || d->rssi > best->rssi)))
			best = d;
	}
	return best;
}

static void fill(struct ble_node *n, const struct ble_seen *s)
{
	const struct bluez_device *d = best_device(s);

	n->is_connected = n->is_bonded = false;
	for (size_t i = 0; i < s->n_devices; i++) {
		n->is_connected |= s->devices[i]->is_connected;
		n->is_bonded |= bluez_is_bonded(s->devices[i]);
	}
	n->is_busy = s->connection && ble_links_exclusive(s->connection);
	if (!d)
		return;                        /* bluetoothd forgot it meanwhile: what was heard last stands */
	n->is_random = d->is_random;
	n->is_private = ble_address_is_private(d->address, d->is_random);
	n->id[0] = '\0';
	if (!n->is_private) {
		char hex[2 * BLE_ADDRESS_BYTES + 1];
		(void)snprintf(n->id, sizeof(n->id), "ble-%s", text_hex(SPAN_OF(n->address), hex)); /* fits */
	}
	memcpy(n->name, d->name, sizeof(n->name));
	(void)snprintf(n->adapter, sizeof(n->adapter), "%s", d->adapter->name); /* fits */
	n->rssi = d->rssi;
	memcpy(n->services, d->services_advertised, sizeof(n->services));
	n->n_services = d->n_services_advertised;
	memcpy(n->ad, d->ad, sizeof(n->ad));
	n->n_ad = d->n_ad;
}

enum difference { SAME, OTHER_ADVERTISEMENT, OTHER };

static enum difference differ(const struct ble_node *a, const struct ble_node *b)
{
	if (strcmp(a->id, b->id) != 0 || a->is_random != b->is_random || a->is_private != b->is_private || a->is_bonded != b->is_bonded ||
	    a->is_connected != b->is_connected || a->is_busy != b->is_busy || strcmp(a->name, b->name) != 0 || strcmp(a->adapter, b->adapter) != 0)
		return OTHER;
	if (a->n_services != b->n_services || memcmp(a->services, b->services, a->n_services * BLE_UUID_BYTES) != 0)
		return OTHER;
	return a->n_ad != b->n_ad || memcmp(a->ad, b->ad, a->n_ad) != 0 ? OTHER_ADVERTISEMENT : SAME;
}

static void tell_node(struct ble_seen *s)
{
	s->is_told = true;
	s->is_late = false;
	if (s->ble->ops->node)
		s->ble->ops->node(s->ble->ctx, &s->node);
}

void ble_seen_update(struct ble_seen *s, bool is_heard)
{
	struct ble *b = s->ble;
	struct ble_node n = s->node;
	struct mono now = mono_now();

	fill(&n, s);
	if (is_heard)
		n.seen_at = now;
	enum difference d = differ(&s->node, &n);
	s->node = n;
	bool is_time = is_heard && mono_diff_ms(now, s->told_at) >= BLE_HEARD_MS;
	if (is_time || !s->is_told)
		s->told_at = now;
	s->is_late |= d == OTHER_ADVERTISEMENT;
	if (!s->is_told || d == OTHER || (s->is_late && is_time))
		tell_node(s);
	if (is_time && b->ops->heard)
		b->ops->heard(b->ctx, &s->node);
}

void ble_seen_mark(struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES], bool is_heard)
{
	struct ble_seen *s = ble_seen_find(b, address);

	if (!s || (is_heard && mono_diff_ms(mono_now(), s->told_at) < BLE_HEARD_MS))
		return;
	s->is_marked = true;
	s->is_marked_heard |= is_heard;
	b->has_marks = true;
	ble_plan(b);
}

static void seen_free(struct ble_seen *s)
{
	for (size_t i = 0; i < s->n_devices; i++)
		s->devices[i]->node = NULL;
	HASH_DEL(s->ble->nodes, s);
	metric_add(METRIC_BLE_NODES, -1);
	free(s);
}

static void seen_gone(struct ble_seen *s)
{
	struct ble *b = s->ble;

	if (s->is_told && b->ops->gone)
		b->ops->gone(b->ctx, &s->node);
	seen_free(s);
}

/* Whom nobody would miss: not bonded, not connected, wanted by no link. */
static bool is_dispensable(const struct ble_seen *s)
{
	return !s->connection && !s->node.is_bonded && !s->node.is_connected;
}

static struct ble_seen *seen_new(struct ble *b, const struct bluez_device *d)
{
	if (HASH_COUNT(b->nodes) >= BLE_NODES_MAX) {
		struct ble_seen *s, *oldest = NULL;
		for (s = b->nodes; s; s = s->hh.next)
			if (is_dispensable(s) && (!oldest || mono_before(s->node.seen_at, oldest->node.seen_at)))
				oldest = s;
		if (!oldest)
			return NULL;
		seen_gone(oldest);
	}
	struct ble_seen *s = NEW(struct ble_seen);
	s->ble = b;
	memcpy(s->node.address, d->address, BLE_ADDRESS_BYTES);
	s->node.rssi = BLE_RSSI_UNKNOWN;
	s->node.seen_at = s->told_at = mono_add_ms(mono_now(), -BLE_HEARD_MS);
	s->advertised_at = mono_add_ms(s->told_at, -BLE_HEARD_LATELY_MS);
	HASH_ADD_KEYPTR(hh, b->nodes, s->node.address, BLE_ADDRESS_BYTES, s);
	metric_add(METRIC_BLE_NODES, 1);
	s->connection = ble_connection_of(b, d->address);
	return s;
}

static void detach(struct ble_seen *s, struct bluez_device *d)
{
	for (size_t i = 0; i < s->n_devices; i++)
		if (s->devices[i] == d)
			s->devices[i--] = s->devices[--s->n_devices];
	d->node = NULL;
}

void ble_seen_device(struct ble *b, struct bluez_device *d, unsigned changed)
{
	static const uint8_t nobody[BLE_ADDRESS_BYTES];
	struct ble_seen *s = d->node;

	if (s && memcmp(s->node.address, d->address, BLE_ADDRESS_BYTES) != 0) {
		/* A private address was resolved: it is the identity's device from now on (BLZ-8). */
		struct ble_connection *c = s->connection && s->connection->device == d ? s->connection : NULL;
		if (c)
			ble_connection_moved(c, d->address);
		ble_seen_device_gone(b, d);
		if (s->n_devices == 0 && !s->connection)
			seen_gone(s);
		s = NULL;
	}
	if (!s) {
		if (memcmp(d->address, nobody, sizeof(nobody)) == 0 || !is_welcome(b, d))
			return;
		s = ble_seen_find(b, d->address);
		if (!s)
			s = seen_new(b, d);
		if (!s || s->n_devices >= BLE_ADAPTERS_MAX)
			return;
		s->connection = ble_connection_of(b, d->address);
		s->devices[s->n_devices++] = d;
		d->node = s;
		ble_plan(b);
	}
	if (changed & BLUEZ_HEARD) {
		s->advertised_at = mono_now();
		if (s->connection)
			ble_plan(b);           /* it may wait for this */
	}
	ble_seen_update(s, (changed & BLUEZ_HEARD) || (changed & BLUEZ_CONNECTED && d->is_connected));
}

/* What may not be told from inside of what caused it. */
void ble_seen_plan(struct ble *b)
{
	struct ble_seen *s;

	for (size_t i = 0; b->wants_attach && i < BLE_ADAPTERS_MAX; i++)
		for (struct bluez_device *d = b->radios[i].adapter ? b->radios[i].adapter->devices : NULL; d; d = d->next)
			if (!d->node)
				ble_seen_device(b, d, 0);
	b->wants_attach = false;
	if (!b->has_marks)
		return;
	b->has_marks = false;
	for (s = b->nodes; s; s = s->hh.next) {
		bool is_heard = s->is_marked_heard;
		if (!s->is_marked)
			continue;
		s->is_marked = s->is_marked_heard = false;
		ble_seen_update(s, is_heard);
	}
}

void ble_seen_device_gone(struct ble *b, struct bluez_device *d)
{
	struct ble_seen *s = d->node;

	if (!s)
		return;
	detach(s, d);
	ble_seen_update(s, false);             /* the node stays until it was not heard for long */
}

void ble_seen_tick(struct ble *b, struct mono now)
{
	struct ble_seen *s, *next;

	for (s = b->nodes; s; s = next) {
		next = s->hh.next;
		int64_t gone_s = b->settings.gone_s;
		if (s->node.is_private && gone_s > BLE_PRIVATE_GONE_S)
			gone_s = BLE_PRIVATE_GONE_S;
		if (s->node.is_connected)
			s->node.seen_at = now;
		if (s->is_late) {
			s->told_at = now;
			tell_node(s);
		}
		if (is_dispensable(s) && mono_diff_ms(now, s->node.seen_at) > gone_s * 1000)
			seen_gone(s);
	}
}

void ble_seen_drop_all(struct ble *b)
{
	while (b->nodes)
		seen_free(b->nodes);
}

/* Of all devices in the mirror the one that is missed least: of no node at all, else of the node heard longest ago. */
struct bluez_device *ble_seen_crowded(struct ble *b)
{
	struct bluez_device *d, *best = NULL;

	for (size_t i = 0; i < BLE_ADAPTERS_MAX; i++) {
		for (d = b->radios[i].adapter ? b->radios[i].adapter->devices : NULL; d; d = d->next) {
			const struct ble_seen *s = d->node, *than = best ? best->node : NULL;
			if (!s && !d->is_connected && !bluez_is_bonded(d))
				return d;
			if (s && is_dispensable(s) && (!than || mono_before(s->node.seen_at, than->node.seen_at)))
				best = d;
		}
	}
	return best;
}
