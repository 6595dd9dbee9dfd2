/* Bluetooth LE: adapters, nodes in range with what they offer, and pairing. A node is named by its id, or by its address: nodes with
 * private addresses have no id. */
#include <errno.h>
#include <stdio.h>

#include "admin/api.h"
#include "base/text.h"
#include "radio/gatt.h"

enum { PASSKEY_DIGITS = 6, UUID_TEXT_BYTES = 37 };

/* These answer when there is none; then the call is gone. */
static struct ble *ble_or_503(struct api_call *c)
{
	struct ble *b = c->admin->c.ble;

	if (!b)
		api_reply_problem(c, 503, "Bluetooth LE is off: ble.enabled in the configuration");
	return b;
}

static struct ble *ready_ble_or_503(struct api_call *c)
{
	struct ble *b = ble_or_503(c);

	if (!b || ble_health(b) == BLE_READY)
		return b;
	api_reply_problem(c, 503, "%s; it goes on by itself when that is mended", ble_health_text(ble_health(b)));
	return NULL;
}

static const char *uuid_text(const uint8_t u[static BLE_UUID_BYTES], char ret[static UUID_TEXT_BYTES])
{
	size_t n = 0;

	for (size_t i = 0; i < BLE_UUID_BYTES; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			ret[n++] = '-';
		(void)snprintf(ret + n, UUID_TEXT_BYTES - n, "%02x", u[i]); /* fits */
		n += 2;
	}
	return ret;
}

/* ---- adapters ---- */

void api_ble_adapters(struct api_call *c)
{
	struct ble *b = ble_or_503(c);
	struct ble_adapter a[BLE_ADAPTERS_MAX];
	char address[BLE_ADDRESS_TEXT_BYTES];
	struct api_list l;

	if (!b)
		return;
	size_t n = ble_adapters(b, a), i = 0;
	const char *after = api_after(c);
	api_list_begin(c, &l);
	while (after && i < n && strcmp(a[i++].name, after) != 0)
		;
	for (; i < n; i++) {
		if (api_list_full(&l)) {
			(void)text_copy(l.next, sizeof(l.next), span_str(a[i - 1].name)); /* names are short; the limit is 1 or more */
			break;
		}
		json_open_object(&l.o, NULL);
		json_str(&l.o, "name", a[i].name);
		json_str(&l.o, "address", ble_address_text(a[i].address, address));
		json_bool(&l.o, "is_powered", a[i].is_powered);
		json_bool(&l.o, "is_scanning", a[i].is_scanning);
		json_bool(&l.o, "is_passive", a[i].is_passive);
		json_uint(&l.o, "links", a[i].n_links);
		json_str(&l.o, "state", ble_health_text(ble_health(b)));
		json_close_object(&l.o);
		l.n++;
	}
	api_list_end(c, &l, n);
}

/* ---- nodes ---- */

static void put_node(struct api_call *c, struct json_out *o, const struct ble_node *n)
{
	const struct admin_config *a = &c->admin->c;
	char address[BLE_ADDRESS_TEXT_BYTES], uuid[UUID_TEXT_BYTES];

	json_str(o, "id", n->id[0] ? n->id : NULL);
	json_str(o, "address", ble_address_text(n->address, address));
	json_str(o, "address_type", n->is_private ? "private" : n->is_random ? "random" : "public");
	json_str(o, "name", n->name);
	json_str(o, "device", a->ble_device && n->id[0] ? a->ble_device(a->ctx, n->id) : NULL);
	json_str(o, "adapter", n->adapter);
	if (n->rssi == BLE_RSSI_UNKNOWN)
		json_null(o, "rssi");
	else
		json_int(o, "rssi", n->rssi);
	json_bool(o, "is_connected", n->is_connected);
	json_bool(o, "is_busy", n->is_busy);
	json_bool(o, "is_bonded", n->is_bonded);
	json_int(o, "heard_s", mono_diff_ms(mono_now(), n->seen_at) / 1000);
	json_open_array(o, "services");
	for (size_t i = 0; i < n->n_services; i++)
		json_str(o, NULL, uuid_text(n->services[i], uuid));
	json_close_array(o);
}

void api_ble_nodes(struct api_call *c)
{
	const struct ble *b = ble_or_503(c);
	char address[BLE_ADDRESS_TEXT_BYTES], last[BLE_ADDRESS_TEXT_BYTES] = "";
	struct api_list l;

	if (!b)
		return; /* c is gone, too */
	const char *after = api_after(c);
	bool begun = !after;
	api_list_begin(c, &l);
	for (const struct ble_node *n = ble_node_next(b, NULL); n; n = ble_node_next(b, n)) {
		(void)ble_address_text(n->address, address); /* in place */
		if (!begun) {
			begun = strcmp(address, after) == 0;
			continue;
		}
		if (api_list_full(&l)) {
			(void)text_copy(l.next, sizeof(l.next), span_str(last)); /* fits */
			break;
		}
		json_open_object(&l.o, NULL);
		put_node(c, &l.o, n);
		json_close_object(&l.o);
		l.n++;
		memcpy(last, address, sizeof(last));
	}
	api_list_end(c, &l, ble_node_count(b));
}

/* By id or address, private ones too; answers when there is none. */
static const struct ble_node *node_or_404(struct api_call *c, const struct ble *b)
{
	char id[BLE_ID_BYTES], hex[2 * BLE_ADDRESS_BYTES + 1];

	if (ble_id_parse(span_str(c->param[0]), id) == 0)
		for (const struct ble_node *n = ble_node_next(b, NULL); n; n = ble_node_next(b, n))
			if (strcmp(text_hex(SPAN_OF(n->address), hex), id + strlen("ble-")) == 0)
				return n;
	api_reply_problem(c, 404, "no Bluetooth LE node \"%.40s\" is in range (an id like ble-0123456789ab, or an address)", c->param[0]);
	return NULL;
}

static void put_properties(struct json_out *o, uint8_t properties)
{
	static const struct { uint8_t bit; const char *name; } names[] = {
		{ GATT_BROADCAST, "broadcast" }, { GATT_READ, "read" }, { GATT_WRITE_NO_RESPONSE, "write-without-response" }, { GATT_WRITE, "write" },
		{ GATT_NOTIFY, "notify" }, { GATT_INDICATE, "indicate" }, { GATT_SIGNED_WRITE, "signed-write" }, { GATT_EXTENDED, "extended" },
	};

	json_open_array(o, "properties");
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (properties & names[i].bit)
			json_str(o, NULL, names[i].name);
	json_close_array(o);
}

struct offers_out {
	struct json_out *o;
	bool is_open;                          /* a service, with its array of characteristics */
};

static void close_service(struct offers_out *f)
{
	if (f->is_open) {
		json_close_array(f->o);
		json_close_object(f->o);
	}
	f->is_open = false;
}

static void put_offer(void *ctx, const struct gatt_service *s, const struct gatt_characteristic *c)
{
	struct offers_out *f = ctx;
	char uuid[UUID_TEXT_BYTES];

	if (!c)
		close_service(f);
	json_open_object(f->o, NULL);
	json_uint(f->o, "handle", c ? c->handle : s->handle);
	json_str(f->o, "uuid", uuid_text(c ? c->uuid : s->uuid, uuid));
	if (c) {
		put_properties(f->o, c->properties);
		json_close_object(f->o);
	} else {
		json_bool(f->o, "is_primary", s->is_primary);
		json_open_array(f->o, "characteristics");
		f->is_open = true;
	}
}

/* ---- pairing ---- */

static struct api_pairing *pairing_of(struct admin *a, const uint8_t address[static BLE_ADDRESS_BYTES])
{
	for (size_t i = 0; i < API_PAIRINGS_MAX; i++)
		if (a->pairings[i].state != API_PAIRING_NONE && memcmp(a->pairings[i].address, address, BLE_ADDRESS_BYTES) == 0)
			return &a->pairings[i];
	return NULL;
}

/* The node's own, else a free one, else the one that ended first; NULL: none has ended. */
static struct api_pairing *pairing_slot(struct admin *a, const uint8_t address[static BLE_ADDRESS_BYTES])
{
	struct api_pairing *best = pairing_of(a, address);

	for (size_t i = 0; !best && i < API_PAIRINGS_MAX; i++)
		if (a->pairings[i].state == API_PAIRING_NONE)
			best = &a->pairings[i];
	for (size_t i = 0; !best && i < API_PAIRINGS_MAX; i++)
		if (a->pairings[i].state != API_PAIRING_GOING)
			best = &a->pairings[i];
	for (size_t i = 0; best && best->state > API_PAIRING_GOING && i < API_PAIRINGS_MAX; i++)
		if (a->pairings[i].state > API_PAIRING_GOING && memcmp(best->address, address, BLE_ADDRESS_BYTES) != 0 &&
		    mono_before(a->pairings[i].at, best->at))
			best = &a->pairings[i];
	return best && best->state != API_PAIRING_GOING ? best : NULL;
}

static void put_pairing(struct api_call *c, struct json_out *o, const struct ble_node *n)
{
	static const char *const states[] = { [API_PAIRING_GOING] = "going", [API_PAIRING_DONE] = "done", [API_PAIRING_FAILED] = "failed" };
	const struct api_pairing *p = pairing_of(c->admin, n->address);
	char passkey[16];

	if (!p) {
		json_null(o, "pairing");
		return;
	}
	(void)snprintf(passkey, sizeof(passkey), "%06u", (unsigned)p->passkey); /* fits */
	json_open_object(o, "pairing");
	json_str(o, "what", p->is_unpair ? "unpair" : "pair");
	json_str(o, "state", states[p->state]);
	json_str(o, "why", p->why[0] ? p->why : NULL);
	json_bool(o, "is_passkey_wanted", p->state == API_PAIRING_GOING && p->is_wanted);
	json_str(o, "passkey", p->state == API_PAIRING_GOING && p->has_passkey && (c->roles & ROLE_ADMIN) ? passkey : NULL);
	json_close_object(o);
}

void admin_ble_passkey(struct admin *a, const struct ble_node *n, uint32_t passkey, bool is_wanted)
{
	struct api_pairing *p = pairing_of(a, n->address);

	if (!p || p->state != API_PAIRING_GOING)
		return;
	p->is_wanted = is_wanted;
	p->has_passkey = !is_wanted;
	p->passkey = is_wanted ? 0 : passkey;
}

void api_ble_node(struct api_call *c)
{
	const struct ble *b = ble_or_503(c);
	const struct ble_node *n = b ? node_or_404(c, b) : NULL;
	struct buf body = { 0 };
	struct json_out o = json_writer(&body);
	struct offers_out f = { .o = &o };

	if (!n)
		return;
	json_open_object(&o, NULL);
	put_node(c, &o, n);
	json_hex(&o, "advertisement", SPAN(n->ad, n->n_ad));
	json_open_array(&o, "gatt");
	gatt_offers(b, n->address, put_offer, &f);
	close_service(&f);
	json_close_array(&o);
	put_pairing(c, &o, n);
	json_close_object(&o);
	api_reply_json(c, 200, &body);
}

/* The radio outlives the API, and calls nothing when it is freed: the slot is there. */
static void on_paired(void *ctx, int error, const char *why)
{
	struct api_pairing *p = ctx;

	p->state = error ? API_PAIRING_FAILED : API_PAIRING_DONE;
	p->has_passkey = p->is_wanted = false;
	p->at = mono_now();
	p->why[0] = 0;
	if (error)
		(void)snprintf(p->why, sizeof(p->why), "%s", why && *why ? why : strerror(-error)); /* cut where it is too long */
}

static void reply_refused(struct api_call *c, int error)
{
	if (error == -EACCES)
		api_reply_problem(c, 409, "the configuration does not let this node pair: ble.pairing and ble.pairing_nodes");
	else if (error == -ENOENT)
		api_reply_problem(c, 404, "no Bluetooth LE node \"%.40s\" is known", c->param[0]);
	else if (error == -EBUSY || error == -ENOSPC)
		api_reply_problem(c, 409, "something else goes on with this node; try again later");
	else
		api_reply_problem(c, 503, "bluetoothd cannot be asked now: %s", strerror(-error));
}

static void reply_started(struct api_call *c)
{
	struct buf b = { 0 };

	buf_add_str(&b, "{\"ok\":true}");
	api_reply_json(c, 202, &b);
}

typedef int start_fn(struct ble *b, const char *node, ble_done_fn *done, void *ctx);

static void start(struct api_call *c, const char *action, start_fn *fn)
{
	struct ble *b = ready_ble_or_503(c);
	const struct ble_node *n = b ? node_or_404(c, b) : NULL;
	char address[BLE_ADDRESS_TEXT_BYTES];

	if (!n)
		return;
	struct api_pairing *p = pairing_slot(c->admin, n->address);
	if (!p) {
		reply_refused(c, -EBUSY);
		return;
	}
	(void)ble_address_text(n->address, address); /* in place */
	struct api_pairing was = *p;
	*p = (struct api_pairing){ .state = API_PAIRING_GOING, .is_unpair = fn == ble_unpair, .at = mono_now() };
	memcpy(p->address, n->address, sizeof(p->address));
	struct api_deed deed = api_deed_begin(c, "ble", action);
	(void)text_copy(deed.subject, sizeof(deed.subject), span_str(address)); /* fits; however it was named */
	int r = fn(b, address, on_paired, p);
	api_deed_end(&deed, r == 0);
	if (r < 0) {
		*p = was;
		reply_refused(c, r);
		return;
	}
	reply_started(c);
}

void api_ble_pair(struct api_call *c)
{
	start(c, "pair", ble_pair);
}

void api_ble_unpair(struct api_call *c)
{
	start(c, "unpair", ble_unpair);
}

void api_ble_passkey(struct api_call *c)
{
	struct ble *b = ready_ble_or_503(c);
	const struct ble_node *n = b ? node_or_404(c, b) : NULL;
	char address[BLE_ADDRESS_TEXT_BYTES];

	if (!n)
		return; /* c is gone, too */
	const char *digits = c->body ? json_get_str(c->body, "passkey") : NULL;
	if (!digits || strlen(digits) != PASSKEY_DIGITS || strspn(digits, "0123456789") != PASSKEY_DIGITS) {
		api_reply_problem(c, 400, "passkey is a string of the six digits that the node shows");
		return;
	}
	uint32_t passkey = (uint32_t)strtoul(digits, NULL, 10);
	(void)ble_address_text(n->address, address); /* in place */
	struct api_deed deed = api_deed_begin(c, "ble", "passkey");
	(void)text_copy(deed.subject, sizeof(deed.subject), span_str(address)); /* fits; however it was named */
	int r = ble_passkey_answer(b, address, passkey);
	api_deed_end(&deed, r == 0);
	if (r < 0) {
		api_reply_problem(c, 409, "nobody waits for a passkey of this node");
		return;
	}
	struct api_pairing *p = pairing_of(c->admin, n->address);
	if (p)
		p->is_wanted = false;
	struct buf body = { 0 };
	buf_add_str(&body, "{\"ok\":true}");
	api_reply_json(c, 200, &body);
}
