#include "proxy/ble_list.h"

#include <stdio.h>

#include "base/text.h"
#include "codec/cbor.h"
#include "codec/json.h"
#include "io/coap.h"
#include "proxy/ble_path.h"
#include "proxy/ble_value.h"

/* ---- one writer for both: CBOR wants counts first, JSON wants ends ---- */

struct out {
	struct buf *b;
	struct json_out j;
	bool is_cbor, is_strict;
};

enum { HREF_BYTES = 128 };

static struct out out_of(struct buf *ret, int format)
{
	return (struct out){ .b = ret, .j = json_writer(ret), .is_cbor = format != COAP_CF_JSON, .is_strict = format >= BLE_CF_NODELIST };
}

static void put_key(struct out *o, const char *key)
{
	if (key)
		cbor_put_str(o->b, key);
}

static void open_array(struct out *o, const char *key, size_t n)
{
	if (!o->is_cbor) {
		json_open_array(&o->j, key);
		return;
	}
	put_key(o, key);
	cbor_put_array(o->b, n);
}

static void close_array(struct out *o)
{
	if (!o->is_cbor)
		json_close_array(&o->j);
}

static void open_map(struct out *o, const char *key, size_t n)
{
	if (!o->is_cbor) {
		json_open_object(&o->j, key);
		return;
	}
	put_key(o, key);
	cbor_put_map(o->b, n);
}

static void close_map(struct out *o)
{
	if (!o->is_cbor)
		json_close_object(&o->j);
}

static void put_text(struct out *o, const char *key, const char *v)
{
	if (!o->is_cbor) {
		json_str(&o->j, key, v);
		return;
	}
	put_key(o, key);
	cbor_put_str(o->b, v);
}

static void put_bytes(struct out *o, const char *key, struct span v)
{
	_cleanup_buf_ struct buf text = { 0 };

	if (o->is_cbor) {
		put_key(o, key);
		cbor_put_bytes(o->b, v);
		return;
	}
	text_add_base64(&text, v);
	json_span(&o->j, key, buf_span(&text));
}

static void put_int(struct out *o, const char *key, int64_t v)
{
	if (!o->is_cbor) {
		json_int(&o->j, key, v);
		return;
	}
	put_key(o, key);
	cbor_put_int(o->b, v);
}

static void put_bool(struct out *o, const char *key, bool v)
{
	if (!o->is_cbor) {
		json_bool(&o->j, key, v);
		return;
	}
	put_key(o, key);
	cbor_put_bool(o->b, v);
}

/* ---- nodes ---- */

struct ad { uint8_t type; struct span value; };

static bool ad_next(struct span *rest, struct ad *ret)
{
	if (rest->n < 2 || rest->p[0] == 0 || rest->p[0] >= rest->n)
		return false;
	*ret = (struct ad){ rest->p[1], span_sub(*rest, 2, (size_t)rest->p[0] - 1) };
	*rest = span_sub(*rest, 1u + rest->p[0], rest->n);
	return true;
}

static void put_ad(struct out *o, const struct ble_node *n)
{
	struct span rest = SPAN(n->ad, n->n_ad);
	size_t count = 0;
	struct ad ad;

	while (ad_next(&rest, &ad))
		count++;
	open_array(o, "ad", count);
	for (rest = SPAN(n->ad, n->n_ad); ad_next(&rest, &ad);) {
		open_array(o, NULL, 2);
		put_int(o, NULL, ad.type);
		put_bytes(o, NULL, ad.value);
		close_array(o);
	}
	close_array(o);
}

static const char *href_of(const char *prefix, const char *id, char ret[static HREF_BYTES])
{
	(void)snprintf(ret, HREF_BYTES, "%snodes/%s", prefix, id); /* fits: prefixes are ours, and short */
	return ret;
}

static void put_uuids(struct out *o, const struct ble_node *n)
{
	open_array(o, "services", n->n_services);
	for (size_t i = 0; i < n->n_services; i++)
		put_bytes(o, NULL, SPAN_OF(n->services[i]));
	close_array(o);
}

/* A private address is nobody's name: no href. Members in the order of their encodings (RFC 8949 4.2.1). */
static void put_node(struct out *o, const struct ble_node *n, const char *prefix)
{
	bool has_name = !o->is_strict && n->name[0], has_rssi = !o->is_strict && n->rssi != BLE_RSSI_UNKNOWN, has_href = n->id[0];
	char address[BLE_ADDRESS_TEXT_BYTES], href[HREF_BYTES];
	size_t extra = o->is_strict ? 0 : 7;

	open_map(o, NULL, 1u + (n->n_ad > 0) + has_href + has_name + has_rssi + extra);
	if (n->n_ad > 0)
		put_ad(o, n);
	if (!o->is_strict)
		put_bool(o, "busy", n->is_busy);
	if (has_href)
		put_text(o, "href", href_of(prefix, n->id, href));
	if (has_name)
		put_text(o, "name", n->name);
	if (has_rssi)
		put_int(o, "rssi", n->rssi);
	put_bytes(o, "bdaddr", SPAN_OF(n->address));
	if (!o->is_strict) {
		put_bool(o, "bonded", n->is_bonded);
		put_bool(o, "random", n->is_random);
		put_text(o, "adapter", n->adapter);
		put_text(o, "address", ble_address_text(n->address, address));
		put_uuids(o, n);
		put_bool(o, "connected", n->is_connected);
	}
	close_map(o);
}

void ble_list_node(const struct ble_node *n, const char *prefix, int format, struct buf *ret)
{
	struct out o = out_of(ret, format);

	put_node(&o, n, prefix);
}

void ble_list_nodes(const struct ble *b, const char *prefix, int format, struct buf *ret)
{
	struct out o = out_of(ret, format);
	const struct ble_node *n = NULL;
	size_t count = 0;

	while ((n = ble_node_next(b, n)))
		count += n->id[0] || !o.is_strict;
	open_array(&o, NULL, count);
	while ((n = ble_node_next(b, n)))
		if (n->id[0] || !o.is_strict) /* the strict form wants an href */
			put_node(&o, n, prefix);
	close_array(&o);
}

static void put_adapters(struct out *o, const struct ble_adapter *a, size_t n)
{
	open_array(o, "adapters", n);
	for (size_t i = 0; i < n; i++) {
		open_map(o, NULL, 5);
		put_text(o, "name", a[i].name);
		put_int(o, "links", (int64_t)a[i].n_links);
		put_bytes(o, "bdaddr", SPAN_OF(a[i].address));
		put_bool(o, "passive", a[i].is_passive);
		put_bool(o, "scanning", a[i].is_scanning);
		close_map(o);
	}
	close_array(o);
}

void ble_list_root(enum ble_health health, const struct ble_adapter *adapters, size_t n_adapters, size_t n_nodes, const char *prefix, int format,
		   struct buf *ret)
{
	struct out o = out_of(ret, format);
	char href[HREF_BYTES];

	(void)snprintf(href, sizeof(href), "%sgap/nodes/passive", prefix); /* fits */
	open_map(&o, NULL, 4);
	put_text(&o, "href", href);
	put_int(&o, "count", (int64_t)n_nodes);
	put_text(&o, "health", ble_health_text(health));
	put_adapters(&o, adapters, n_adapters);
	close_map(&o);
}

/* ---- what a node offers ---- */

static void put_titles(struct out *o, const uint8_t *uuid)
{
	char text[TEXT_UUID_BYTES];
	const char *title = ble_uuid_title(uuid);

	if (title)
		put_text(o, "title", title);
	put_text(o, "uuid_text", text_uuid(uuid, text));
}

void ble_list_services(const struct ble_layout *l, const char *prefix, const char *id, int format, struct buf *ret)
{
	struct out o = out_of(ret, format);
	char href[HREF_BYTES];

	open_array(&o, NULL, l->n_services);
	for (size_t i = 0; i < l->n_services; i++) {
		const struct gatt_service *s = &l->services[i];
		(void)snprintf(href, sizeof(href), "%snodes/%s/s%04x", prefix, id, s->handle); /* fits */
		open_map(&o, NULL, o.is_strict ? 2u : 3u + (ble_uuid_title(s->uuid) != NULL));
		put_text(&o, "href", href);
		put_bytes(&o, "uuid", SPAN_OF(s->uuid));
		if (!o.is_strict)
			put_titles(&o, s->uuid);
		close_map(&o);
	}
	close_array(&o);
}

static void put_characteristic(struct out *o, const struct gatt_characteristic *c, const char *prefix, const char *id)
{
	char href[HREF_BYTES], path[BLE_PATH_BYTES];

	(void)snprintf(href, sizeof(href), "%s%s", prefix, ble_path_value(id, c->handle, path)); /* fits */
	open_map(o, NULL, o->is_strict ? 3u : 4u + (ble_uuid_title(c->uuid) != NULL));
	put_text(o, "href", href);
	put_bytes(o, "uuid", SPAN_OF(c->uuid));
	if (!o->is_strict)
		put_titles(o, c->uuid);
	put_bytes(o, "properties", SPAN(&c->properties, 1));
	close_map(o);
}

void ble_list_characteristics(const struct ble_layout *l, const char *prefix, const char *id, uint16_t service, int format, struct buf *ret)
{
	struct out o = out_of(ret, format);
	size_t n = 0;

	for (size_t i = 0; i < l->n_characteristics; i++)
		n += l->characteristics[i].service == service;
	open_array(&o, NULL, n);
	for (size_t i = 0; i < l->n_characteristics; i++)
		if (l->characteristics[i].service == service)
			put_characteristic(&o, &l->characteristics[i], prefix, id);
	close_array(&o);
}
