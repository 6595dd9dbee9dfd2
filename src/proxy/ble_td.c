#include "proxy/ble_td.h"

#include <stdio.h>

#include "base/digest.h"
#include "base/text.h"
#include "codec/json.h"
#include "io/coap.h"
#include "proxy/ble_path.h"
#include "proxy/ble_value.h"

static const struct {
	const char *name, *scheme, *text;
} securities[] = {
	[BLE_TD_NOSEC] = { "nosec_sc", "nosec", "without credentials, from where the gateway allows it, and only to look" },
	[BLE_TD_PSK] = { "psk_sc", "psk", "DTLS with a pre-shared key of the role viewer, or admin to write" },
	[BLE_TD_BEARER] = { "bearer_sc", "bearer", "the bearer token of the gateway" },
};

enum { SECURITIES = sizeof(securities) / sizeof(*securities), NAME_BYTES = 8 };

static const char JSON_TYPE[] = "application/json";

struct maker {
	struct json_out o;
	const char *id;
	const struct ble_layout *l;
	const struct ble_td_face *faces;
	size_t n_faces;
};

/* One form: how to do op with c over f. */
struct form {
	const char *op, *op_too;               /* the second may be NULL */
	const char *query;
	const char *type;
	const char *http_method, *coap_method;
	bool wants_json;                       /* what is answered otherwise are octets */
	const char *subprotocol;
};

static void put_form(struct maker *m, const struct ble_td_face *f, const struct gatt_characteristic *c, const struct form *want)
{
	_cleanup_buf_ struct buf href = { 0 };
	char path[BLE_PATH_BYTES];

	buf_printf(&href, "%s%s%s", f->base, ble_path_value(m->id, c->handle, path), want->query);
	json_open_object(&m->o, NULL);
	json_str(&m->o, "href", buf_str(&href));
	json_str(&m->o, "contentType", want->type);
	json_open_array(&m->o, "op");
	json_str(&m->o, NULL, want->op);
	if (want->op_too)
		json_str(&m->o, NULL, want->op_too);
	json_close_array(&m->o);
	if (want->subprotocol)
		json_str(&m->o, "subprotocol", want->subprotocol);
	if (f->is_http)
		json_str(&m->o, "htv:methodName", want->http_method);
	if (!f->is_http)
		json_str(&m->o, "cov:method", want->coap_method);
	if (!f->is_http && want->wants_json)
		json_int(&m->o, "cov:accept", COAP_CF_JSON);
	json_open_array(&m->o, "security");
	json_str(&m->o, NULL, securities[f->security].name);
	json_close_array(&m->o);
	json_close_object(&m->o);
}

static bool is_notifiable(const struct gatt_characteristic *c)
{
	return c->properties & (GATT_NOTIFY | GATT_INDICATE);
}

static bool is_writable(const struct gatt_characteristic *c)
{
	return c->properties & (GATT_WRITE | GATT_WRITE_NO_RESPONSE);
}

/* Numbers are written as the octets they are. */
static const char *write_type(const struct gatt_characteristic *c)
{
	const struct ble_type *t = ble_type_of(c->uuid);

	return t && t->kind == BLE_TYPE_UTF8 ? "text/plain;charset=utf-8" : "application/octet-stream";
}

/* CoAP observes and cancels with the same method and URI; over HTTP an event stream, whose data are values, is simply left. */
static void put_watch_form(struct maker *m, const struct ble_td_face *f, const struct gatt_characteristic *c, bool is_event)
{
	struct form coap = { .op = is_event ? "subscribeevent" : "observeproperty", .op_too = is_event ? "unsubscribeevent" : "unobserveproperty",
			     .query = "", .type = JSON_TYPE, .coap_method = "GET", .wants_json = true, .subprotocol = "cov:observe" };
	struct form http = { .op = coap.op, .op_too = coap.op_too, .query = "?bare", .type = JSON_TYPE, .http_method = "GET", .subprotocol = "sse" };

	put_form(m, f, c, f->is_http ? &http : &coap);
}

static void put_property_forms(struct maker *m, const struct gatt_characteristic *c)
{
	bool acknowledged = c->properties & GATT_WRITE;
	struct form reads = { .op = "readproperty", .query = "", .type = JSON_TYPE, .http_method = "GET", .coap_method = "GET", .wants_json = true };
	struct form writes = { .op = "writeproperty", .query = acknowledged ? "" : "?noresponse", .type = write_type(c),
			       .http_method = acknowledged ? "PUT" : "POST", .coap_method = acknowledged ? "PUT" : "POST" };

	json_open_array(&m->o, "forms");
	for (size_t i = 0; i < m->n_faces; i++) {
		const struct ble_td_face *f = &m->faces[i];
		if (c->properties & GATT_READ)
			put_form(m, f, c, &reads);
		if (is_writable(c) && f->may_write)
			put_form(m, f, c, &writes);
		if ((c->properties & GATT_READ) && is_notifiable(c))
			put_watch_form(m, f, c, false);
	}
	json_close_array(&m->o);
}

static void put_title(struct maker *m, const struct gatt_characteristic *c)
{
	const struct gatt_service *s = ble_layout_service(m->l, c->service);
	char uuid[TEXT_UUID_BYTES];
	const char *title = ble_uuid_title(c->uuid);
	_cleanup_buf_ struct buf text = { 0 };

	json_str(&m->o, "title", title ? title : text_uuid(c->uuid, uuid));
	buf_printf(&text, "characteristic %s", text_uuid(c->uuid, uuid));
	if (s)
		buf_printf(&text, " of service %s", text_uuid(s->uuid, uuid));
	json_str(&m->o, "description", buf_str(&text));
}

/* Of the JSON form. */
static void put_schema(struct json_out *o, const struct ble_type *t)
{
	if (!t) {
		json_str(o, "type", "string");
		json_str(o, "contentEncoding", "base64");
		return;
	}
	json_str(o, "type", t->kind == BLE_TYPE_UTF8 ? "string" : t->decimals ? "number" : "integer");
	if (t->unit)
		json_str(o, "unit", t->unit);
}

static bool may_write(const struct maker *m)
{
	for (size_t i = 0; i < m->n_faces; i++)
		if (m->faces[i].may_write)
			return true;
	return false;
}

static const char *name_of(const struct gatt_characteristic *c, char ret[static NAME_BYTES])
{
	(void)snprintf(ret, NAME_BYTES, "c%04x", c->handle); /* fits */
	return ret;
}

static void put_properties(struct maker *m)
{
	char name[NAME_BYTES];

	json_open_object(&m->o, "properties");
	for (size_t i = 0; i < m->l->n_characteristics; i++) {
		const struct gatt_characteristic *c = &m->l->characteristics[i];
		bool reads = c->properties & GATT_READ, writes = is_writable(c) && may_write(m);
		if (!m->n_faces || (!reads && !writes))
			continue;
		json_open_object(&m->o, name_of(c, name));
		put_title(m, c);
		put_schema(&m->o, ble_type_of(c->uuid));
		json_bool(&m->o, "readOnly", !writes);
		json_bool(&m->o, "writeOnly", !reads);
		json_bool(&m->o, "observable", reads && is_notifiable(c));
		put_property_forms(m, c);
		json_close_object(&m->o);
	}
	json_close_object(&m->o);
}

static void put_events(struct maker *m)
{
	char name[NAME_BYTES];

	json_open_object(&m->o, "events");
	for (size_t i = 0; i < m->l->n_characteristics; i++) {
		const struct gatt_characteristic *c = &m->l->characteristics[i];
		if (!m->n_faces || !is_notifiable(c) || c->properties & GATT_READ)
			continue;
		json_open_object(&m->o, name_of(c, name));
		put_title(m, c);
		json_open_object(&m->o, "data");
		put_schema(&m->o, ble_type_of(c->uuid));
		json_close_object(&m->o);
		json_open_array(&m->o, "forms");
		for (size_t k = 0; k < m->n_faces; k++)
			put_watch_form(m, &m->faces[k], c, true);
		json_close_array(&m->o);
		json_close_object(&m->o);
	}
	json_close_object(&m->o);
}

static void put_security(struct maker *m)
{
	bool used[SECURITIES] = { [BLE_TD_NOSEC] = m->n_faces == 0 };

	for (size_t i = 0; i < m->n_faces; i++)
		used[m->faces[i].security] = true;
	json_open_object(&m->o, "securityDefinitions");
	for (size_t i = 0; i < SECURITIES; i++) {
		if (!used[i])
			continue;
		json_open_object(&m->o, securities[i].name);
		json_str(&m->o, "scheme", securities[i].scheme);
		json_str(&m->o, "description", securities[i].text);
		if (i == BLE_TD_BEARER) {
			json_str(&m->o, "in", "header");
			json_str(&m->o, "format", "opaque");
		}
		json_close_object(&m->o);
	}
	json_close_object(&m->o);
	json_open_array(&m->o, "security");
	json_str(&m->o, NULL, securities[m->n_faces ? m->faces[0].security : BLE_TD_NOSEC].name);
	json_close_array(&m->o);
}

/* The same for a node at every gateway and at all times: a UUID (version 8, RFC 9562) of its address. */
static void put_id(struct maker *m)
{
	struct digest d = digest_of2(SPAN_LIT("Bluetooth LE node "), span_str(m->id));
	char uuid[TEXT_UUID_BYTES], urn[TEXT_UUID_BYTES + sizeof("urn:uuid:")];

	d.b[6] = (uint8_t)((d.b[6] & 0x0f) | 0x80);
	d.b[8] = (uint8_t)((d.b[8] & 0x3f) | 0x80);
	(void)snprintf(urn, sizeof(urn), "urn:uuid:%s", text_uuid(d.b, uuid)); /* fits */
	json_str(&m->o, "id", urn);
}

void ble_td_render(const char *id, const struct ble_node *node, const struct ble_layout *l, const struct ble_td_face *faces, size_t n_faces,
		   struct buf *ret)
{
	struct maker m = { .o = json_writer(ret), .id = id, .l = l, .faces = faces, .n_faces = n_faces };

	json_open_object(&m.o, NULL);
	json_open_array(&m.o, "@context");
	json_str(&m.o, NULL, "https://www.w3.org/2022/wot/td/v1.1");
	json_open_object(&m.o, NULL);
	json_str(&m.o, "cov", "http://www.example.org/coap-binding#"); /* as the binding's draft has it */
	json_close_object(&m.o);
	json_close_array(&m.o);
	put_id(&m);
	json_str(&m.o, "title", node && node->name[0] ? node->name : id);
	json_str(&m.o, "description", "A Bluetooth LE node, as its gateway makes it reachable");
	put_security(&m);
	put_properties(&m);
	put_events(&m);
	json_close_object(&m.o);
}
