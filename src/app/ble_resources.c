/* Bluetooth LE nodes as resources: the ble: tree with its faces, its nodes' places in the directory, and who is noted as a device. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#include "app/ble_faces.h"
#include "app/gateway.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "codec/json.h"
#include "proxy/ble_coap.h"
#include "proxy/ble_http.h"
#include "store/device_store.h"

enum {
	PUBLISHED_MAX = 256,                   /* nodes in the directory; devices' nodes always are */
	PASS_MS = 60 * 1000, LIFETIME_S = 7200, RENEW_S = LIFETIME_S / 2,
	LINKS_BYTES_MAX = 64 * 1024, REFUSED_LOG_MS = 1000,
};

struct published {
	UT_hash_handle hh;
	char id[BLE_ID_BYTES];
	struct mono renew_at;
};

struct gateway_ble_resources {
	struct gateway *g;
	struct ble_tree *tree;
	struct ble_coap *coap;
	struct ble_http *http;
	struct published *published;
	struct loop_timer *pass;
	struct mono refused_at;
	char base[BLE_TD_BASE_BYTES];          /* of the registrations; empty until everything listens */
};

/* ---- the directory (BLE-9) ---- */

static int enter(struct gateway_ble_resources *s, const char *id, const struct ble_layout *l, const char **ret_why)
{
	const struct span attributes[] = { SPAN_LIT("et=ble.node") };
	const char *device = gateway_ble_device_of(s->g, id);
	_cleanup_buf_ struct buf links = { .max = LINKS_BYTES_MAX };
	struct registry_result result = { .why = "its links are too long" };

	ble_layout_links(l, "/" BLE_COAP_PATH "/", id, &links);
	int r = !buf_ok(&links) ? -EMSGSIZE : registry_register(s->g->registry, &(struct registry_request){
		.endpoint = span_str(id), .base = span_str(s->base), .implied_base = span_str(s->base), .has_lifetime = true, .lifetime_s = LIFETIME_S,
		.attributes = attributes, .n_attributes = 1, .links = buf_span(&links), .owner = REGISTRY_OWNER_GATEWAY,
		.device = device ? device : id }, (struct registry_time){ mono_now(), wall_now() }, NULL, NULL, &result);
	*ret_why = result.why;
	return r;
}

static void enter_directory(struct gateway_ble_resources *s, struct published *p)
{
	const char *why = NULL;

	if (!s->base[0])
		return;
	int r = enter(s, p->id, ble_tree_layout(s->tree, p->id), &why);
	if (r == -E2BIG || r == -EMSGSIZE) /* more values than the directory takes of one endpoint: its description names them all */
		r = enter(s, p->id, NULL, &why);
	/* What is full or refused now may be open at the next pass. */
	p->renew_at = mono_add_ms(mono_now(), r < 0 ? PASS_MS : (int64_t)RENEW_S * 1000);
	if (r < 0)
		log_line(LOG_DEBUG, "node %s is not in the directory: %s", p->id, why ? why : strerror(-r));
}

static void leave_directory(struct gateway_ble_resources *s, const char *id)
{
	const struct registration *reg = registry_find(s->g->registry, span_str(id), SPAN_NONE);
	char location[REGISTRY_LOCATION_BYTES];

	if (!reg || strcmp(registration_owner(reg), REGISTRY_OWNER_GATEWAY) != 0)
		return;
	(void)text_copy(location, sizeof(location), span_str(registration_location(reg))); /* same size; the call frees its own */
	(void)registry_remove(s->g->registry, span_str(location), REGISTRY_OWNER_GATEWAY, NULL, NULL); /* it is there, and ours */
}

static struct published *published_find(const struct gateway_ble_resources *s, const char *id)
{
	struct published *p;

	HASH_FIND_STR(s->published, id, p);
	return p;
}

/* What an earlier life of the daemon left in the directory, and nobody has heard since. */
static void sweep_directory(struct gateway_ble_resources *s)
{
	const struct registration *reg;
	uint64_t at = 0;

	while ((reg = registry_next(s->g->registry, at))) {
		char id[BLE_ID_BYTES];
		at = registration_order(reg);
		if (strcmp(registration_owner(reg), REGISTRY_OWNER_GATEWAY) == 0 && text_copy(id, sizeof(id), registration_endpoint(reg)) == 0 &&
		    !published_find(s, id))
			leave_directory(s, id);
	}
}

/* A node in range becomes a device that was seen, for an operator to enrol. */
static void note_device(struct gateway_ble_resources *s, const struct ble_node *n)
{
	struct device_claim claim = { .device = n->id, .endpoint = span_str(n->id) };
	struct coap_peer at = { 0 };

	if (gateway_ble_device_of(s->g, n->id))
		return;
	(void)ble_address_text(n->address, at.addr); /* in place */
	(void)devices_claim(s->g->devices, &at, &claim, wall_now()); /* NULL: too many were seen; it is a resource all the same */
}

static void publish(struct gateway_ble_resources *s, const struct ble_node *n)
{
	struct published *p = published_find(s, n->id);

	if (p || (HASH_COUNT(s->published) >= PUBLISHED_MAX && !gateway_ble_device_of(s->g, n->id)))
		return;
	p = NEW(struct published);
	memcpy(p->id, n->id, sizeof(p->id));
	HASH_ADD_STR(s->published, id, p);
	note_device(s, n);
	enter_directory(s, p);
}

static void withdraw(struct gateway_ble_resources *s, struct published *p)
{
	leave_directory(s, p->id);
	HASH_DEL(s->published, p);
	free(p);
}

/* Addresses may have changed, registrations want renewal, and there may be room for nodes that found none. */
static void on_pass(void *ctx)
{
	struct gateway_ble_resources *s = ctx;
	struct ble_td_face faces[BLE_TD_FACES_MAX];
	char base[BLE_TD_BASE_BYTES];
	struct published *p, *tmp;
	const struct ble_node *n = NULL;
	struct mono now = mono_now();
	bool is_first = !s->base[0];

	ble_tree_set_faces(s->tree, faces, gateway_ble_faces(s->g, faces));
	bool has_moved = gateway_ble_base(s->g, base) && strcmp(base, s->base) != 0;
	memcpy(s->base, base, sizeof(base));
	HASH_ITER(hh, s->published, p, tmp)
		if (has_moved || !mono_before(now, p->renew_at))
			enter_directory(s, p);
	while ((n = ble_node_next(s->g->ble, n)))
		if (n->id[0])
			publish(s, n);
	if (!is_first)
		sweep_directory(s);
	loop_timer_set(s->pass, PASS_MS);
}

/* ---- what the tree tells ---- */

static void on_changed(void *ctx, const char *path)
{
	struct gateway_ble_resources *s = ctx;

	if (s->coap)
		ble_coap_changed(s->coap, path);
}

static void on_learned(void *ctx, const char *id)
{
	struct gateway_ble_resources *s = ctx;
	struct published *p = published_find(s, id);

	if (p)
		enter_directory(s, p);
}

/* What a person does to a node is written down; not what with, which may be a secret. */
static void on_wrote(void *ctx, const char *who, const char *id, uint16_t handle, size_t n_bytes)
{
	struct gateway_ble_resources *s = ctx;
	const char *device = gateway_ble_device_of(s->g, id);
	_cleanup_buf_ struct buf b = { 0 };
	struct json_out o = json_writer(&b);
	char path[BLE_PATH_BYTES];

	json_open_object(&o, NULL);
	json_str(&o, "action", "write");
	json_str(&o, "by", who);
	json_str(&o, "resource", ble_path_value(id, handle, path));
	json_uint(&o, "bytes", n_bytes);
	json_close_object(&o);
	audit_log_append(s->g->audit, wall_now(), "ble", device ? device : id, buf_span(&b), NULL, NULL);
}

/* ---- what the faces ask ---- */

static unsigned on_roles(void *ctx, const char *identity)
{
	return devices_roles(((struct gateway_ble_resources *)ctx)->g->devices, identity);
}

static void on_refused(void *ctx, const struct coap_peer *peer)
{
	struct gateway_ble_resources *s = ctx;
	struct mono now = mono_now();

	if (s->refused_at.ms && mono_diff_ms(now, s->refused_at) < REFUSED_LOG_MS)
		return;
	s->refused_at = now;
	log_fields(EV_AUTH_REFUSED, LOG_NOTICE, ({ "GW_PEER", peer->addr }), "%s may not do this with Bluetooth nodes", peer->addr);
}

static void on_page(void *ctx, struct http_exchange *x, const struct http_request *req, unsigned roles, const char *who)
{
	ble_http_serve(((struct gateway_ble_resources *)ctx)->http, x, req, roles, who);
}

struct admin_pages gateway_ble_pages(struct gateway *g)
{
	if (!g->ble_resources)
		return (struct admin_pages){ 0 };
	return (struct admin_pages){ .prefix = BLE_HTTP_PATH, .serve = on_page, .ctx = g->ble_resources };
}

/* ---- what app/ble.c tells ---- */

static void on_health(struct gateway *g, enum ble_health h)
{
	(void)h;
	if (g->ble_resources)
		on_changed(g->ble_resources, "gap");
}

static void on_node(struct gateway *g, const struct ble_node *n)
{
	struct gateway_ble_resources *s = g->ble_resources;

	if (!s)
		return;
	ble_tree_node(s->tree, n);
	if (n->id[0] && s->base[0])
		publish(s, n);
}

static void on_gone(struct gateway *g, const struct ble_node *n)
{
	struct gateway_ble_resources *s = g->ble_resources;
	struct published *p = s && n->id[0] ? published_find(s, n->id) : NULL;

	if (s)
		ble_tree_gone(s->tree, n);
	if (p)
		withdraw(s, p);
}

const struct gateway_ble_hooks gateway_ble_resources_hooks = { .health = on_health, .node = on_node, .gone = on_gone };

/* ---- life ---- */

static void apply(struct gateway_ble_resources *s, const struct config *c)
{
	uint8_t closed[BLE_CLOSED_MAX][BLE_UUID_BYTES];
	size_t n = 0;

	for (size_t i = 0; c->ble.closed_services[i] && n < BLE_CLOSED_MAX; i++)
		n += text_parse_uuid(span_str(c->ble.closed_services[i]), closed[n]) == 0;
	ble_tree_set_closed(s->tree, (const uint8_t (*)[BLE_UUID_BYTES])closed, n);
	ble_coap_set_open(s->coap, c->ble.open);
}

int gateway_ble_resources_start(struct gateway *g, struct buf *error)
{
	if (!g->ble || !g->config->ble.resources)
		return 0;
	struct gateway_ble_resources *s = NEW(struct gateway_ble_resources);
	s->g = g;
	s->tree = ble_tree_new(&(struct ble_tree_config){ .loop = g->loop, .ble = g->ble, .changed = on_changed, .learned = on_learned,
							  .wrote = on_wrote, .ctx = s });
	s->http = ble_http_new(g->loop, s->tree);
	s->pass = loop_timer_new(g->loop, on_pass, s);
	g->ble_resources = s;
	int r = ble_coap_open(&(struct ble_coap_config){ .endpoint = g->coap, .tree = s->tree, .is_open = g->config->ble.open, .roles = on_roles,
							 .refused = on_refused, .ctx = s }, &s->coap);
	if (r < 0) {
		buf_printf(error, "the CoAP path /%s: %s; no other path of the configuration may be the same\n", BLE_COAP_PATH, strerror(-r));
		return r;
	}
	apply(s, g->config);
	loop_timer_set(s->pass, 0); /* once everything listens */
	return 0;
}

void gateway_ble_resources_stop(struct gateway *g)
{
	struct gateway_ble_resources *s = g->ble_resources;
	struct published *p, *tmp;

	if (!s)
		return;
	ble_tree_free(s->tree); /* its last answers go out by the faces */
	ble_coap_close(s->coap);
	ble_http_free(s->http);
	loop_timer_free(s->pass);
	HASH_ITER(hh, s->published, p, tmp) {
		HASH_DEL(s->published, p);
		free(p);
	}
	free(s);
	g->ble_resources = NULL;
}

void gateway_ble_resources_reload(struct gateway *g)
{
	if (!g->ble_resources)
		return;
	apply(g->ble_resources, g->config);
	loop_timer_set(g->ble_resources->pass, 0);
}
