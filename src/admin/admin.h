/* admin/admin.h - the people's side: one route table over the nouns, answered as JSON over HTTP (Unix socket and
 * TCP, man dormouse-rest.7) and as CBOR over coaps (man dormouse-coap.7), the event stream, and metrics. Owns the HTTP
 * server. Everything else is borrowed and outlives it. Loop thread. */
#pragma once
#include "config/config.h"
#include "directory/devices.h"
#include "directory/registry.h"
#include "intake/intake.h"
#include "io/coap_endpoint.h"
#include "io/http_server.h"
#include "radio/ble.h"
#include "rollout/rollout_run.h"
#include "store/audit_log.h"
#include "store/image_cache.h"
#include "upstream/upstream.h"

struct admin;
struct lowpan;

struct admin_pages {                           /* resources of others on the same server, for the same callers */
	const char *prefix;                    /* "/hc/"; NULL = none */
	/* Answers it. roles: enum credential_role bits the caller has, a viewer's at least; who: for the audit log. */
	void (*serve)(void *ctx, struct http_exchange *x, const struct http_request *req, unsigned roles, const char *who);
	void *ctx;
};

struct admin_config {
	struct loop *loop;
	struct worker_pool *workers;
	const struct config *config;           /* at start; later admin_set_config() */
	struct db *db;
	struct devices *devices;
	struct registry *registry;
	struct intake *intake;
	struct rollout_run *rollout;
	struct upstream *upstream;
	struct image_cache *images;
	struct audit_log *audit;
	struct coap_endpoint *coap;            /* NULL = no CoAP admin */
	struct delivery_driver *multicast;     /* NULL = off */
	struct lowpan *lowpan;
	struct ble *ble;                       /* NULL = off */
	const char *(*ble_device)(void *ctx, const char *node);        /* the device that a node is; NULL = none, and may be NULL */
	struct admin_pages pages;
	/* Read the configuration again; error text in ret when it was refused. */
	int (*reload)(void *ctx, struct buf *ret);
	const char *(*coap_address)(void *ctx, size_t i);
	void *ctx;
};

/* error: text for people when it fails. */
int admin_open(const struct admin_config *c, struct admin **ret, struct buf *error);
struct admin *admin_close(struct admin *a);
void admin_set_config(struct admin *a, const struct config *c);
/* ble_ops.passkey: whoever asked for the pairing is shown it. */
void admin_ble_passkey(struct admin *a, const struct ble_node *n, uint32_t passkey, bool is_wanted);
const char *admin_http_address(struct admin *a, size_t i);     /* with the real port; NULL past the end */
