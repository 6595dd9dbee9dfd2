/* Observations: whoever watches a value shares one subscription, which outlives the links it is on. */
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/mem.h"
#include "proxy/ble_tree_internal.h"

static struct tree_watch *find(const struct tree_node *n, uint16_t handle)
{
	struct tree_watch *w;

	DL_FOREACH(n->watches, w) {
		if (w->handle == handle && w->state != TREE_WATCH_ENDED)
			return w;
	}
	return NULL;
}

/* Its watchers are told, and gone; it goes itself with the next sweep, as this may be inside its subscription's callback. */
static void end(struct tree_watch *w, uint8_t code, const char *why)
{
	struct ble_tree_watcher *x;

	w->state = TREE_WATCH_ENDED;
	while ((x = w->watchers)) {
		DL_DELETE(w->watchers, x);
		x->watch = NULL;
		x->code = code;
		x->why = why;
		if (x->ops->ended)
			x->ops->ended(x->ctx, code, why);
	}
}

void tree_watches_end(struct tree_node *n, uint8_t code, const char *why)
{
	struct tree_watch *w;

	DL_FOREACH(n->watches, w)
		end(w, code, why);
	tree_node_turn(n);
}

void tree_watches_sweep(struct tree_node *n)
{
	struct tree_watch *w, *next;

	DL_FOREACH_SAFE(n->watches, w, next) {
		if (w->watchers)
			continue;
		if (w->sub)
			gatt_unsubscribe(w->sub);
		DL_DELETE(n->watches, w);
		n->t->n_watches--;
		free(w);
	}
}

void tree_watches_lost(struct tree_node *n)
{
	struct tree_watch *w;

	DL_FOREACH(n->watches, w) {
		w->sub = NULL; /* closed with its link */
		if (w->state != TREE_WATCH_ENDED)
			w->state = TREE_WATCH_WAITS;
	}
}

static void keep(struct tree_watch *w, struct span value)
{
	w->n_value = value.n < sizeof(w->value) ? value.n : sizeof(w->value);
	if (w->n_value)
		memcpy(w->value, value.p, w->n_value);
	w->has_value = true;
}

void tree_watches_heard(struct tree_node *n, uint16_t handle, struct span value)
{
	struct tree_watch *w = find(n, handle);

	if (w)
		keep(w, value);
}

/* ---- the subscription ---- */

static void end_by(struct tree_watch *w, int error)
{
	struct coap_response res;

	coap_response_init(&res);
	tree_error(&res, error, false, NULL);
	end(w, res.code, error == -EACCES ? "the node wants a pairing" : error == -EPERM || error == -EBUSY ? "another program has it" :
	    "the node does not tell of changes of it");
	coap_response_done(&res);
}

static void on_ready(void *ctx, int error)
{
	struct tree_watch *w = ctx;

	if (error < 0)
		end_by(w, error);
	else if (w->state == TREE_WATCH_BEGINS)
		w->state = TREE_WATCH_LIVE;
	tree_node_turn(w->n);
}

static void on_value(void *ctx, struct span value)
{
	struct tree_watch *w = ctx;
	struct ble_tree_watcher *x, *next;

	keep(w, value);
	DL_FOREACH_SAFE(w->watchers, x, next) {
		if (x->ops->value)
			x->ops->value(x->ctx, value);
	}
}

static const struct gatt_subscription_ops sub_ops = { .ready = on_ready, .value = on_value };

static void start(struct tree_node *n, struct tree_watch *w)
{
	const struct gatt_characteristic *c = ble_layout_characteristic(&n->layout, w->handle);

	if (!c) {
		end(w, COAP_404_NOT_FOUND, "the node has no such value");
	} else if (!(c->properties & (GATT_NOTIFY | GATT_INDICATE))) {
		end(w, COAP_405_METHOD, "the node does not tell of changes of this value");
	} else {
		w->state = TREE_WATCH_BEGINS;
		int r = gatt_subscribe(n->link, w->handle, &sub_ops, w, &w->sub);
		if (r < 0) {
			w->sub = NULL;
			end_by(w, r);
		}
	}
}

void tree_watches_start(struct tree_node *n)
{
	struct tree_watch *w;

	DL_FOREACH(n->watches, w) {
		if (w->state == TREE_WATCH_WAITS)
			start(n, w);
		else if (w->state != TREE_WATCH_ENDED && !ble_layout_characteristic(&n->layout, w->handle))
			end(w, COAP_404_NOT_FOUND, "the node has no such value");
	}
}

/* ---- watchers ---- */

int ble_tree_watch(struct ble_tree *t, const char *id, uint16_t handle, const struct ble_tree_watcher_ops *ops, void *ctx,
		   struct ble_tree_watcher **ret)
{
	struct tree_node *n = tree_node_get(t, id);
	struct tree_watch *w = n ? find(n, handle) : NULL;

	if (!n)
		return -ENOENT;
	if (!w && t->n_watches >= BLE_TREE_WATCHES_MAX)
		return -ENOSPC;
	if (!w) {
		w = NEW(struct tree_watch);
		w->n = n;
		w->handle = handle;
		DL_APPEND(n->watches, w);
		t->n_watches++;
	}
	struct ble_tree_watcher *x = NEW(struct ble_tree_watcher);
	x->watch = w;
	x->ops = ops;
	x->ctx = ctx;
	DL_APPEND(w->watchers, x);
	tree_node_turn(n);
	*ret = x;
	return 0;
}

struct ble_tree_watcher *ble_tree_unwatch(struct ble_tree_watcher *x)
{
	if (!x)
		return NULL;
	if (x->watch) {
		DL_DELETE(x->watch->watchers, x);
		tree_node_turn(x->watch->n);
	}
	free(x);
	return NULL;
}

bool ble_tree_watch_value(const struct ble_tree_watcher *x, struct span *ret)
{
	if (!x->watch || !x->watch->has_value)
		return false;
	*ret = SPAN(x->watch->value, x->watch->n_value);
	return true;
}
