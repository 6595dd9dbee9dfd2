#include "proxy/ble_coap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/mem.h"
#include "base/text.h"
#include "store/device_store.h"

enum { PATH_BYTES = sizeof(BLE_COAP_PATH) + BLE_PATH_BYTES, FULL_S = 5 };

static const char PREFIX[] = "/" BLE_COAP_PATH "/";

struct watched {                               /* a value that is observed: one watcher of the tree for all observers */
	UT_hash_handle hh;
	struct ble_coap *b;
	char path[BLE_PATH_BYTES];             /* "nodes/ble-.../c0012" */
	char id[BLE_ID_BYTES];
	uint16_t handle;
	struct ble_tree_watcher *w;
	unsigned n_users;                      /* observers, and requests that may become one */
	uint8_t code;                          /* it has ended: */
	const char *why;
};

struct ble_coap {
	struct ble_coap_config c;
	struct watched *watched;
};

struct waiting {                               /* a request that is answered later */
	struct ble_coap *b;
	struct coap_deferred *answer;          /* NULL = nobody waits */
	struct watched *watched;               /* NULL = it does not observe a value */
	bool wants_observe;
};

/* ---- who may ---- */

static bool may_read(const struct ble_coap *b, const struct coap_peer *p)
{
	if (p->secure)
		return b->c.roles(b->c.ctx, p->identity) & (ROLE_VIEWER | ROLE_ADMIN);
	return b->c.is_open && (p->is_loopback || p->is_link_local);
}

static bool may_write(const struct ble_coap *b, const struct coap_peer *p)
{
	return p->secure && b->c.roles(b->c.ctx, p->identity) & ROLE_ADMIN;
}

static int refuse_peer(struct ble_coap *b, const struct coap_request *req, struct coap_response *res)
{
	if (b->c.refused)
		b->c.refused(b->c.ctx, &req->peer);
	if (!req->peer.secure)
		return coap_error(res, COAP_401_UNAUTHORIZED, "use coaps with a credential");
	return coap_error(res, COAP_403_FORBIDDEN, "this credential may not");
}

/* ---- what is observed ---- */

static void changed(const struct watched *x)
{
	char path[PATH_BYTES];

	(void)snprintf(path, sizeof(path), "%s/%s", BLE_COAP_PATH, x->path); /* fits */
	coap_endpoint_changed(x->b->c.endpoint, path);
}

static void on_value(void *ctx, struct span value)
{
	(void)value; /* the handler takes the latest, once for all that come in quick succession */
	changed(ctx);
}

static void on_watch_ended(void *ctx, uint8_t code, const char *why)
{
	struct watched *x = ctx;

	x->code = code;
	x->why = why;
	changed(x);
}

static const struct ble_tree_watcher_ops watcher_ops = { .value = on_value, .ended = on_watch_ended };

static struct watched *find(const struct ble_coap *b, const char *path)
{
	struct watched *x;

	HASH_FIND_STR(b->watched, path, x);
	return x;
}

static void leave(struct watched *x)
{
	if (--x->n_users > 0)
		return;
	ble_tree_unwatch(x->w);
	HASH_DEL(x->b->watched, x);
	free(x);
}

/* One user more. NULL with *ret_error. */
static struct watched *enter(struct ble_coap *b, const struct ble_path *p, int *ret_error)
{
	char path[BLE_PATH_BYTES];
	struct watched *x = find(b, ble_path_value(p->id, p->handle, path));

	if (x) {
		x->n_users++;
		return x;
	}
	x = NEW(struct watched);
	x->b = b;
	memcpy(x->path, path, sizeof(path));
	memcpy(x->id, p->id, sizeof(x->id));
	x->handle = p->handle;
	*ret_error = ble_tree_watch(b->c.tree, p->id, p->handle, &watcher_ops, x, &x->w);
	if (*ret_error < 0) {
		free(x);
		return NULL;
	}
	x->n_users = 1;
	HASH_ADD_STR(b->watched, path, x);
	return x;
}

static bool is_value(const struct coap_request *req, struct ble_path *ret)
{
	return ble_path_parse(req->path + 1, req->n_path - 1, ret) == 0 && ret->kind == BLE_PATH_VALUE;
}

static void on_observing(void *ctx, const struct coap_request *req, bool begins)
{
	struct ble_coap *b = ctx;
	char path[BLE_PATH_BYTES];
	struct ble_path p;

	if (!is_value(req, &p))
		return;
	struct watched *x = find(b, ble_path_value(p.id, p.handle, path));
	if (x && begins)
		x->n_users++;
	else if (x)
		leave(x);
}

/* An observer's GET again: what was heard last. */
static int notify(struct ble_coap *b, const struct coap_request *req, const struct ble_path *p, struct coap_response *res)
{
	char path[BLE_PATH_BYTES];
	const struct watched *x = find(b, ble_path_value(p->id, p->handle, path));
	struct span value;

	if (!x || x->code)
		return coap_error(res, x ? x->code : COAP_504_TIMEOUT, "%s", x ? x->why : "this is not observed any more");
	if (ble_tree_watch_value(x->w, &value))
		ble_tree_render(b->c.tree, p->id, p->handle, req->accept, value, res);
	else
		res->code = COAP_205_CONTENT; /* nothing yet */
	return COAP_HANDLER_DONE;
}

/* ---- requests ---- */

static void on_done(void *ctx, const struct ble_tree_answer *a)
{
	struct waiting *w = ctx;

	a->res->no_observe = !a->is_observed;
	if (w->answer)
		coap_deferred_respond(w->answer, a->res);
	if (w->watched)
		leave(w->watched);
	free(w);
}

static bool has_query(const struct coap_request *req, const char *key)
{
	struct span value;

	return coap_query_get(req, key, &value);
}

static int ask(struct ble_coap *b, const struct coap_request *req, struct watched *x, struct coap_response *res)
{
	char who[BLE_TREE_WHO_BYTES];
	struct ble_tree_request q = {
		.method = req->method, .path = req->path + 1, .n_path = req->n_path - 1, .prefix = PREFIX, .prefer = COAP_CF_CBOR,
		.accept = req->accept, .content_format = req->content_format, .is_unacknowledged = has_query(req, "noresponse"),
		.body = req->body, .who = who, .watcher = x ? x->w : NULL,
	};
	struct waiting *w = NEW(struct waiting);

	(void)snprintf(who, sizeof(who), "coaps:%.64s", req->peer.identity); /* fits */
	w->b = b;
	w->watched = x;
	int r = ble_tree_ask(b->c.tree, &q, res, on_done, w);
	if (r == COAP_HANDLER_LATER) {
		w->answer = coap_defer(b->c.endpoint, req);
		if (w->answer)
			return COAP_HANDLER_LATER;
		(void)coap_error(res, COAP_503_UNAVAILABLE, "too many requests wait"); /* always 0 */
		res->max_age_s = FULL_S;
		return COAP_HANDLER_DONE;
	}
	if (x)
		leave(x);
	free(w);
	return r;
}

/* Lists of what a node offers, and its description, do not tell of changes. */
static bool is_observable(const struct ble_path *p)
{
	return p->kind == BLE_PATH_ROOT || p->kind == BLE_PATH_NODES || p->kind == BLE_PATH_NODE;
}

static int on_request(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	bool is_read = req->method == COAP_M_GET;
	struct ble_coap *b = ctx;
	struct ble_path p;
	int error = 0;

	if (is_read ? !may_read(b, &req->peer) : !may_write(b, &req->peer))
		return refuse_peer(b, req, res);
	if (ble_path_parse(req->path + 1, req->n_path - 1, &p) < 0)
		return coap_error(res, COAP_404_NOT_FOUND, "no such resource");
	if (req->is_notify && p.kind == BLE_PATH_VALUE)
		return notify(b, req, &p, res);
	if (!is_read || req->observe != 0 || p.kind != BLE_PATH_VALUE) {
		int r = ask(b, req, NULL, res);
		if (r == COAP_HANDLER_DONE)
			res->no_observe = !is_observable(&p);
		return r;
	}
	struct watched *x = enter(b, &p, &error);
	if (x)
		return ask(b, req, x, res);
	if (error == -ENOENT)
		return coap_error(res, COAP_404_NOT_FOUND, "no such node is in range");
	return ask(b, req, NULL, res); /* answered once: refusing to be observed is no error (RFC 7641 section 4.1) */
}

/* ---- life ---- */

int ble_coap_open(const struct ble_coap_config *c, struct ble_coap **ret)
{
	struct ble_coap *b = NEW(struct ble_coap);

	b->c = *c;
	int r = coap_endpoint_add(c->endpoint, &(struct coap_route){
		.path = BLE_COAP_PATH, .is_prefix = true, .methods = 1u << COAP_M_GET | 1u << COAP_M_PUT | 1u << COAP_M_POST,
		.attributes = "rt=\"ble.nodes\";ct=\"60 50\"", .observable = true, .body_max = 2 * GATT_VALUE_BYTES_MAX, .fn = on_request, .ctx = b,
		.observing = on_observing });
	if (r < 0) {
		free(b);
		return r;
	}
	*ret = b;
	return 0;
}

struct ble_coap *ble_coap_close(struct ble_coap *b)
{
	struct watched *x, *tmp;

	if (!b)
		return NULL;
	HASH_ITER(hh, b->watched, x, tmp) {
		ble_tree_unwatch(x->w);
		HASH_DEL(b->watched, x);
		free(x);
	}
	free(b);
	return NULL;
}

void ble_coap_set_open(struct ble_coap *b, bool is_open)
{
	b->c.is_open = is_open;
}

void ble_coap_changed(struct ble_coap *b, const char *path)
{
	char whole[PATH_BYTES];

	if (strcmp(path, "gap") == 0) {
		coap_endpoint_changed(b->c.endpoint, BLE_COAP_PATH "/gap");
		coap_endpoint_changed_query(b->c.endpoint, BLE_COAP_PATH "/nodes", SPAN_NONE);
		coap_endpoint_changed_query(b->c.endpoint, BLE_COAP_PATH, SPAN_NONE);
		return;
	}
	(void)snprintf(whole, sizeof(whole), "%s/%s", BLE_COAP_PATH, path); /* fits: a path of the tree's */
	coap_endpoint_changed(b->c.endpoint, whole);
}
