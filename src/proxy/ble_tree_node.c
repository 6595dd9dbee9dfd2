/* The link to a node: opened while somebody needs it, and what is done on it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/text.h"
#include "proxy/ble_tree_internal.h"

static void tell_changed(const struct tree_node *n)
{
	char path[BLE_PATH_BYTES];

	(void)snprintf(path, sizeof(path), "nodes/%s", n->id); /* fits */
	if (n->t->c.changed)
		n->t->c.changed(n->t->c.ctx, path);
}

/* ---- what it offers ---- */

static void learn(struct tree_node *n)
{
	struct ble_layout l;

	ble_layout_read(n->link, n->t->closed, n->t->n_closed, &l);
	bool is_news = !n->has_layout || !ble_layout_eq(&l, &n->layout);
	ble_layout_done(&n->layout);
	n->layout = l;
	n->has_layout = true;
	n->learned_at = mono_now();
	if (is_news && n->t->c.learned)
		n->t->c.learned(n->t->c.ctx, n->id);
}

void tree_node_forget(struct tree_node *n)
{
	ble_layout_done(&n->layout);
	n->has_layout = false;
	if (n->is_ready)
		learn(n);
	tree_node_turn(n);
}

/* ---- operations ---- */

static void op_free(struct tree_op *op)
{
	DL_DELETE(op->n->ops, op);
	free(op);
}

static void fail(struct tree_call *call, int error, bool of_link, const char *why)
{
	struct coap_response res;

	coap_response_init(&res);
	tree_error(&res, error, of_link, why);
	tree_finish(call, &res, false);
}

static bool wants(const struct tree_call *call, uint16_t handle)
{
	return call->is_running && call->ask.method == COAP_M_GET && call->ask.path.handle == handle;
}

static bool is_observed(const struct tree_call *call)
{
	return call->watcher && call->watcher->watch;
}

static void answer(struct tree_call *call, struct span value)
{
	struct coap_response res;

	coap_response_init(&res);
	tree_answer_value(call->n, &call->ask, value, &res);
	if (res.code == COAP_205_CONTENT && !is_observed(call))
		res.max_age_s = 0;
	tree_finish(call, &res, is_observed(call));
}

static void on_read(void *ctx, int error, struct span value)
{
	struct tree_op *op = ctx;
	struct tree_node *n = op->n;
	uint16_t handle = op->handle;
	struct tree_call *call, *next;

	op_free(op);
	if (error == 0)
		tree_watches_heard(n, handle, value);
	DL_FOREACH_SAFE(n->calls, call, next) {
		if (!wants(call, handle))
			continue;
		if (error < 0)
			fail(call, error, false, NULL);
		else
			answer(call, value);
	}
}

static void on_written(void *ctx, int error, struct span value)
{
	struct tree_op *op = ctx;
	struct tree_call *call = op->call;
	struct coap_response res;

	(void)value;
	op_free(op);
	if (!call)
		return;
	coap_response_init(&res);
	res.code = COAP_204_CHANGED;
	if (error < 0)
		tree_error(&res, error, false, NULL);
	tree_finish(call, &res, false);
}

static struct tree_op *op_new(struct tree_node *n, struct tree_call *call, bool is_read)
{
	struct tree_op *op = NEW(struct tree_op);

	*op = (struct tree_op){ .n = n, .handle = call->ask.path.handle, .is_read = is_read, .call = is_read ? NULL : call };
	DL_APPEND(n->ops, op);
	return op;
}

static bool is_being_read(const struct tree_node *n, uint16_t handle)
{
	const struct tree_op *op;

	DL_FOREACH(n->ops, op) {
		if (op->is_read && op->handle == handle)
			return true;
	}
	return false;
}

static void start_read(struct tree_node *n, struct tree_call *call)
{
	call->is_running = true;
	if (is_being_read(n, call->ask.path.handle))
		return; /* one read is for all who wait */
	struct tree_op *op = op_new(n, call, true);
	int r = gatt_read(n->link, op->handle, on_read, op);
	if (r < 0) {
		op_free(op);
		fail(call, r, false, NULL);
	}
}

static void start_write(struct tree_node *n, struct tree_call *call)
{
	bool acknowledged = call->ask.method == COAP_M_PUT && !call->ask.is_unacknowledged;
	struct tree_op *op = op_new(n, call, false);

	call->is_running = true;
	int r = gatt_write(n->link, op->handle, buf_span(&call->body), acknowledged, on_written, op);
	if (r < 0) {
		op_free(op);
		fail(call, r, false, NULL);
		return;
	}
	if (n->t->c.wrote)
		n->t->c.wrote(n->t->c.ctx, call->who, n->id, call->ask.path.handle, call->body.n);
}

/* Its observation comes first: no value between the two is missed. */
static void start_get(struct tree_node *n, struct tree_call *call)
{
	const struct gatt_characteristic *c = ble_layout_characteristic(&n->layout, call->ask.path.handle);
	const struct ble_tree_watcher *w = call->watcher;
	bool is_readable = c && c->properties & GATT_READ;
	struct span value;

	if (w && w->watch && w->watch->state != TREE_WATCH_LIVE)
		return;
	if (w && !w->watch && w->code != COAP_405_METHOD) {
		struct coap_response res;
		coap_response_init(&res);
		(void)coap_error(&res, w->code, "%s", w->why); /* always 0 */
		tree_finish(call, &res, false);
	} else if (w && ble_tree_watch_value(w, &value)) {
		answer(call, value);
	} else if (w && w->watch && !is_readable) {
		struct coap_response res;
		coap_response_init(&res);
		res.code = COAP_205_CONTENT; /* nothing was told yet */
		tree_finish(call, &res, true);
	} else if (is_readable) {
		start_read(n, call);
	} else {
		fail(call, -EPERM, false, "this value is only told when it changes: observe it");
	}
}

static void start(struct tree_node *n, struct tree_call *call)
{
	struct coap_response res;

	coap_response_init(&res);
	if (!tree_check(n, &call->ask, &res)) {
		tree_finish(call, &res, false);
	} else if (call->ask.path.kind != BLE_PATH_VALUE) {
		tree_answer_layout(n, &call->ask, &res);
		tree_finish(call, &res, false);
	} else if (call->ask.method == COAP_M_GET) {
		start_get(n, call);
	} else {
		start_write(n, call);
	}
	coap_response_done(&res);
}

/* ---- the link ---- */

static void on_ready(void *ctx)
{
	struct tree_node *n = ctx;

	n->is_ready = true;
	n->lost_at = (struct mono){ 0 };
	learn(n);
	tree_node_turn(n);
}

/* A read may be done again on the next link, a write may have been done already. */
static void fail_calls(struct tree_node *n, int error, const char *why)
{
	struct tree_call *call, *next;

	DL_FOREACH_SAFE(n->calls, call, next) {
		bool is_write = call->ask.method != COAP_M_GET;
		if (error == -EAGAIN && !(call->is_running && is_write))
			call->is_running = false;
		else if (error == -EAGAIN)
			fail(call, -ENOTCONN, false, "the link ended while the value was written");
		else
			fail(call, error, true, why);
	}
}

static void retry_watches(struct tree_node *n, int error, const char *why)
{
	struct mono now = mono_now();
	struct coap_response res;

	if (n->lost_at.ms == 0)
		n->lost_at = now;
	if (error == -EBUSY)
		n->lost_at = now; /* an update takes as long as it takes */
	if (error == -EACCES || mono_diff_ms(now, n->lost_at) >= BLE_TREE_RESUME_S * 1000) {
		(void)why;
		coap_response_init(&res);
		tree_error(&res, error == -EACCES ? error : -ECONNRESET, true, NULL);
		tree_watches_end(n, res.code, error == -EACCES ? "the node wants a pairing that is not allowed" : "the link was lost");
		coap_response_done(&res);
		return;
	}
	loop_timer_set(n->turn, error == -EAGAIN ? TREE_TURN_MS : error == -EBUSY ? TREE_BUSY_RETRY_MS : TREE_RETRY_MS);
}

static void lost(struct tree_node *n, int error, const char *why)
{
	struct tree_op *op, *next;

	n->is_ready = false;
	DL_FOREACH_SAFE(n->ops, op, next)
		op_free(op); /* its callback does not come any more */
	tree_watches_lost(n);
	if (!n->is_here)
		tree_node_forget(n);
	fail_calls(n, error, why);
	tree_watches_sweep(n);
	if (n->watches)
		retry_watches(n, error, why);
	else
		tree_node_turn(n);
}

static void on_ended(void *ctx, int error, const char *why)
{
	struct tree_node *n = ctx;
	_cleanup_buf_ struct buf text = { 0 };

	buf_add_str(&text, why ? why : ""); /* of the link's */
	n->link = ble_link_close(n->link);
	lost(n, error, buf_str(&text));
}

static const struct ble_link_ops link_ops = { .ready = on_ready, .ended = on_ended };

static void open_link(struct tree_node *n)
{
	struct ble_link_wish wish = { .node = n->id, .owner = "resources", .wait_s = BLE_TREE_LINK_WAIT_S };
	int r = ble_link_open(n->t->c.ble, &wish, &link_ops, n, &n->link);

	if (r < 0) {
		n->link = NULL;
		lost(n, r, NULL);
	}
}

static void on_turn(void *ctx)
{
	struct tree_node *n = ctx;
	struct tree_call *call, *next;

	tree_watches_sweep(n);
	if (!n->calls && !n->watches) {
		loop_timer_set(n->linger, TREE_LINGER_MS);
		return;
	}
	loop_timer_set(n->linger, -1);
	if (!n->link) {
		open_link(n);
		return;
	}
	if (!n->is_ready)
		return;
	tree_watches_start(n);
	DL_FOREACH_SAFE(n->calls, call, next) {
		if (!call->is_running)
			start(n, call);
	}
}

/* Nobody has needed the link for a while. */
static void on_linger(void *ctx)
{
	struct tree_node *n = ctx;

	if (n->link) {
		struct tree_op *op, *next;
		n->is_ready = false;
		DL_FOREACH_SAFE(n->ops, op, next)
			op_free(op);
		n->link = ble_link_close(n->link);
	}
	if (!n->is_here)
		tree_node_free(n);
}

void tree_node_turn(struct tree_node *n)
{
	loop_timer_set(n->turn, 0);
}

/* ---- nodes ---- */

struct tree_node *tree_node_find(const struct ble_tree *t, const char *id)
{
	struct tree_node *n;

	HASH_FIND_STR(t->nodes, id, n);
	return n;
}

struct tree_node *tree_node_get(struct ble_tree *t, const char *id)
{
	struct tree_node *n = tree_node_find(t, id);

	if (n || !ble_node_get(t->c.ble, id))
		return n;
	n = NEW(struct tree_node);
	n->t = t;
	n->is_here = true;
	(void)text_copy(n->id, sizeof(n->id), span_str(id)); /* same size */
	n->turn = loop_timer_new(t->c.loop, on_turn, n);
	n->linger = loop_timer_new(t->c.loop, on_linger, n);
	HASH_ADD_STR(t->nodes, id, n);
	return n;
}

void tree_node_free(struct tree_node *n)
{
	struct tree_call *call, *next;
	struct tree_op *op, *next_op;

	if (n->link)
		n->link = ble_link_close(n->link);
	n->is_ready = false;
	DL_FOREACH_SAFE(n->ops, op, next_op)
		op_free(op);
	tree_watches_lost(n);
	DL_FOREACH_SAFE(n->calls, call, next)
		fail(call, -ECANCELED, true, NULL);
	tree_watches_end(n, COAP_503_UNAVAILABLE, "the gateway stops");
	tree_watches_sweep(n);
	loop_timer_free(n->turn);
	loop_timer_free(n->linger);
	ble_layout_done(&n->layout);
	HASH_DEL(n->t->nodes, n);
	free(n);
}

void ble_tree_node(struct ble_tree *t, const struct ble_node *node)
{
	struct tree_node *n = node->id[0] ? tree_node_get(t, node->id) : NULL;

	if (t->c.changed)
		t->c.changed(t->c.ctx, "gap");
	if (!n)
		return;
	n->is_here = true;
	if (n->was_busy && !node->is_busy)
		tree_node_forget(n); /* it may have another image now */
	n->was_busy = node->is_busy;
	tell_changed(n);
}

void ble_tree_gone(struct ble_tree *t, const struct ble_node *node)
{
	struct tree_node *n = node->id[0] ? tree_node_find(t, node->id) : NULL;

	if (t->c.changed)
		t->c.changed(t->c.ctx, "gap");
	if (!n)
		return;
	n->is_here = false;
	if (!n->is_ready)
		tree_node_forget(n);
	tell_changed(n);
	tree_node_turn(n);
}
