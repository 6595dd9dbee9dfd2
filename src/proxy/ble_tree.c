#include "proxy/ble_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/text.h"
#include "proxy/ble_list.h"
#include "proxy/ble_tree_internal.h"
#include "proxy/ble_value.h"

/* ---- errors ---- */

static void refuse(struct coap_response *res, uint8_t code, int64_t max_age_s, const char *why)
{
	(void)coap_error(res, code, "%s", why); /* always 0 */
	res->max_age_s = max_age_s;
}

static const struct { int error; bool of_link; uint8_t code; int64_t max_age_s; const char *why; } errors[] = {
	{ -EPERM, false, COAP_405_METHOD, -1, "the node does not permit this" },
	{ -EACCES, false, COAP_403_FORBIDDEN, -1, "the node wants a pairing" },
	{ -EACCES, true, COAP_403_FORBIDDEN, -1, "the node wants a pairing that is not allowed" },
	{ -ENOENT, false, COAP_404_NOT_FOUND, -1, "the node has no such value any more" },
	{ -ENOENT, true, COAP_504_TIMEOUT, -1, "the node is not in range" },
	{ -EMSGSIZE, false, COAP_400_BAD_REQUEST, -1, "this length is not right for the node" },
	{ -EBUSY, false, COAP_503_UNAVAILABLE, TREE_FULL_S, "the node is busy with it" },
	{ -EBUSY, true, COAP_503_UNAVAILABLE, TREE_BUSY_S, "the node is being updated" },
	{ -EAGAIN, true, COAP_503_UNAVAILABLE, TREE_FULL_S, "other nodes had their turn" },
	{ -ENOSPC, false, COAP_503_UNAVAILABLE, TREE_FULL_S, "too many operations wait" },
	{ -ENOSPC, true, COAP_503_UNAVAILABLE, TREE_FULL_S, "too many links are open" },
	{ -EOPNOTSUPP, false, COAP_405_METHOD, -1, "the node cannot do this" },
	{ -ETIMEDOUT, false, COAP_504_TIMEOUT, -1, "the node did not answer in time" },
	{ -ETIMEDOUT, true, COAP_504_TIMEOUT, -1, "the node could not be reached in time" },
	{ -ENOTCONN, false, COAP_504_TIMEOUT, -1, "the link ended" },
	{ -ENOTCONN, true, COAP_504_TIMEOUT, -1, "there is no Bluetooth just now" },
	{ -ECONNRESET, true, COAP_504_TIMEOUT, -1, "the link was lost" },
	{ -ECANCELED, true, COAP_503_UNAVAILABLE, -1, "the gateway stops" },
};

void tree_error(struct coap_response *res, int error, bool of_link, const char *why)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		if (errors[i].error == error && errors[i].of_link == of_link) {
			refuse(res, errors[i].code, errors[i].max_age_s, why && *why ? why : errors[i].why);
			return;
		}
	}
	refuse(res, of_link ? COAP_504_TIMEOUT : COAP_502_BAD_GATEWAY, -1, why && *why ? why : "the node answered with an error");
}

/* ---- answers ---- */

/* COAP_CF_NONE: none that is accepted. */
static int list_format(const struct tree_ask *a, int strict)
{
	if (a->accept == COAP_CF_NONE)
		return a->prefer;
	return a->accept == COAP_CF_JSON || a->accept == COAP_CF_CBOR || a->accept == strict ? a->accept : COAP_CF_NONE;
}

static bool begin_list(const struct tree_ask *a, int strict, struct coap_response *res)
{
	int format = list_format(a, strict);

	if (format == COAP_CF_NONE) {
		refuse(res, COAP_406_NOT_ACCEPTABLE, -1, strict == COAP_CF_NONE ? "there are JSON (50) and CBOR (60)" :
			"there are JSON (50), CBOR (60) and the form of the list's own media type");
		return false;
	}
	res->code = COAP_205_CONTENT;
	res->content_format = format;
	res->body.max = BLE_LIST_BYTES_MAX;
	return true;
}

static void answer_root(const struct ble_tree *t, const struct tree_ask *a, struct coap_response *res)
{
	struct ble_adapter adapters[BLE_ADAPTERS_MAX];

	if (begin_list(a, COAP_CF_NONE, res))
		ble_list_root(ble_health(t->c.ble), adapters, ble_adapters(t->c.ble, adapters), ble_node_count(t->c.ble), a->prefix,
			      res->content_format, &res->body);
}

static void answer_node(const struct ble_node *n, const struct tree_ask *a, struct coap_response *res)
{
	if (begin_list(a, COAP_CF_NONE, res))
		ble_list_node(n, a->prefix, res->content_format, &res->body);
}

static void answer_td(const struct tree_node *n, const struct tree_ask *a, struct coap_response *res)
{
	if (a->accept != COAP_CF_NONE && a->accept != COAP_CF_JSON && a->accept != BLE_CF_TD) {
		refuse(res, COAP_406_NOT_ACCEPTABLE, -1, "there are application/td+json (432) and JSON (50)");
		return;
	}
	res->code = COAP_205_CONTENT;
	res->content_format = a->accept == COAP_CF_JSON ? COAP_CF_JSON : BLE_CF_TD;
	res->body.max = BLE_TD_BYTES_MAX;
	ble_td_render(n->id, ble_node_get(n->t->c.ble, n->id), &n->layout, n->t->faces, n->t->n_faces, &res->body);
}

void tree_answer_layout(const struct tree_node *n, const struct tree_ask *a, struct coap_response *res)
{
	switch (a->path.kind) {
	case BLE_PATH_SERVICES:
		if (begin_list(a, BLE_CF_SERVICELIST, res))
			ble_list_services(&n->layout, a->prefix, n->id, res->content_format, &res->body);
		break;
	case BLE_PATH_CHARACTERISTICS:
		if (begin_list(a, BLE_CF_CHARACTERISTICLIST, res))
			ble_list_characteristics(&n->layout, a->prefix, n->id, a->path.handle, res->content_format, &res->body);
		break;
	case BLE_PATH_TD:
		answer_td(n, a, res);
		break;
	case BLE_PATH_ROOT:
	case BLE_PATH_NODES:
	case BLE_PATH_NODE:
	case BLE_PATH_VALUE:
		break; /* nothing of the layout's */
	}
}

static const struct ble_type *type_of(const struct tree_node *n, uint16_t handle)
{
	const struct gatt_characteristic *c = n && n->has_layout ? ble_layout_characteristic(&n->layout, handle) : NULL;

	return c ? ble_type_of(c->uuid) : NULL;
}

void tree_answer_value(const struct tree_node *n, const struct tree_ask *a, struct span value, struct coap_response *res)
{
	const struct ble_type *t = type_of(n, a->path.handle);
	int r = 0;

	res->code = COAP_205_CONTENT;
	res->content_format = a->accept == COAP_CF_NONE ? COAP_CF_OCTETS : a->accept;
	if (res->content_format == COAP_CF_OCTETS)
		buf_add(&res->body, value);
	else if (a->accept == COAP_CF_JSON)
		r = ble_value_json(t, value, &res->body);
	else if (!t)
		r = -ENOTSUP;
	else if (a->accept == COAP_CF_TEXT)
		r = ble_value_text(t, value, &res->body);
	else if (a->accept == BLE_CF_SENML_JSON || a->accept == BLE_CF_SENML_CBOR)
		r = ble_value_senml(t, n->id, value, a->accept == BLE_CF_SENML_CBOR, &res->body);
	else
		r = -ENOTSUP;
	if (r == 0)
		return;
	refuse(res, COAP_406_NOT_ACCEPTABLE, -1, r == -ENODATA ? "the node says that this is not known; ask for octets (42)" :
	       r == -EBADMSG ? "this is not a value of its type; ask for octets (42)" : "this value is octets (42) or JSON (50) only");
}

void ble_tree_render(struct ble_tree *t, const char *id, uint16_t handle, int accept, struct span value, struct coap_response *res)
{
	struct tree_ask a = { .path = { .kind = BLE_PATH_VALUE, .handle = handle }, .accept = accept };
	const struct tree_node *n = tree_node_find(t, id);

	tree_answer_value(n, &a, value, res);
}

/* ---- does it fit? ---- */

static bool no(struct coap_response *res, uint8_t code, const char *why)
{
	refuse(res, code, -1, why);
	return false;
}

static bool check_value(const struct tree_node *n, const struct tree_ask *a, struct coap_response *res)
{
	const struct gatt_characteristic *c = ble_layout_characteristic(&n->layout, a->path.handle);
	bool acknowledged = a->method == COAP_M_PUT && !a->is_unacknowledged;

	if (!c)
		return no(res, COAP_404_NOT_FOUND, "the node has no such value");
	if (a->method == COAP_M_GET && !(c->properties & (GATT_READ | GATT_NOTIFY | GATT_INDICATE)))
		return no(res, COAP_405_METHOD, "this value cannot be read");
	if (a->method == COAP_M_GET && a->accept != COAP_CF_NONE && a->accept != COAP_CF_OCTETS && a->accept != COAP_CF_JSON && !ble_type_of(c->uuid))
		return no(res, COAP_406_NOT_ACCEPTABLE, "this value is octets (42) or JSON (50) only");
	if (a->method == COAP_M_GET)
		return true;
	if (acknowledged && !(c->properties & GATT_WRITE))
		return no(res, COAP_405_METHOD, c->properties & GATT_WRITE_NO_RESPONSE ? "this value is written without response: POST" :
			  "this value cannot be written");
	if (!acknowledged && !(c->properties & GATT_WRITE_NO_RESPONSE))
		return no(res, COAP_405_METHOD, c->properties & GATT_WRITE ? "this value is written with response: PUT" : "this value cannot be written");
	if (a->is_text && !(ble_type_of(c->uuid) && ble_type_of(c->uuid)->kind == BLE_TYPE_UTF8)) /* numbers are not written as text */
		return no(res, COAP_415_FORMAT, "this value is written as octets (42)");
	return true;
}

bool tree_check(const struct tree_node *n, const struct tree_ask *a, struct coap_response *res)
{
	if (a->path.kind == BLE_PATH_VALUE)
		return check_value(n, a, res);
	if (a->path.kind == BLE_PATH_CHARACTERISTICS && !ble_layout_service(&n->layout, a->path.handle))
		return no(res, COAP_404_NOT_FOUND, "the node has no such service");
	return true;
}

static bool check_request(const struct ble_tree_request *req, const struct tree_ask *a, struct coap_response *res)
{
	bool is_value = a->path.kind == BLE_PATH_VALUE;

	if (req->method != COAP_M_GET && !(is_value && (req->method == COAP_M_PUT || req->method == COAP_M_POST)))
		return no(res, COAP_405_METHOD, is_value ? "GET reads, PUT and POST write" : "this can be read only");
	if (req->method == COAP_M_GET) {
		if (is_value && req->accept != COAP_CF_NONE && req->accept != COAP_CF_OCTETS && req->accept != COAP_CF_JSON &&
		    req->accept != COAP_CF_TEXT && req->accept != BLE_CF_SENML_JSON && req->accept != BLE_CF_SENML_CBOR)
			return no(res, COAP_406_NOT_ACCEPTABLE, "values are octets (42) and JSON (50); some also text (0) and SenML (110, 112)");
		return true;
	}
	if (req->body.n > GATT_VALUE_BYTES_MAX) {
		(void)no(res, COAP_413_TOO_LARGE, "a value has at most 512 bytes"); /* false, and Size1: */
		res->size1 = GATT_VALUE_BYTES_MAX;
		return false;
	}
	if (req->content_format != COAP_CF_NONE && req->content_format != COAP_CF_OCTETS && req->content_format != COAP_CF_TEXT)
		return no(res, COAP_415_FORMAT, "values are written as octets (42)");
	return true;
}

/* ---- requests ---- */

void tree_finish(struct tree_call *call, struct coap_response *res, bool is_observed)
{
	struct tree_node *n = call->n;
	struct tree_op *op;

	DL_DELETE(n->calls, call);
	n->n_calls--;
	n->t->n_calls--;
	DL_FOREACH(n->ops, op) {
		if (op->call == call)
			op->call = NULL;
	}
	loop_timer_free(call->deadline);
	tree_node_turn(n);
	call->done(call->ctx, &(struct ble_tree_answer){ .res = res, .is_observed = is_observed });
	coap_response_done(res);
	buf_done(&call->body);
	free(call);
}

static void on_deadline(void *ctx)
{
	struct coap_response res;

	coap_response_init(&res);
	refuse(&res, COAP_504_TIMEOUT, -1, "the node did not answer in time");
	tree_finish(ctx, &res, false);
}

static void wait_for_link(struct tree_node *n, const struct ble_tree_request *req, const struct tree_ask *a, ble_tree_done_fn *done, void *ctx)
{
	struct tree_call *call = NEW(struct tree_call);

	call->n = n;
	call->ask = *a;
	call->watcher = req->watcher;
	call->done = done;
	call->ctx = ctx;
	buf_add(&call->body, req->body);
	(void)text_copy(call->who, sizeof(call->who), span_sub(span_str(req->who), 0, sizeof(call->who) - 1)); /* clipped for people */
	call->deadline = loop_timer_new(n->t->c.loop, on_deadline, call);
	loop_timer_set(call->deadline, BLE_TREE_ANSWER_S * 1000);
	DL_APPEND(n->calls, call);
	n->n_calls++;
	n->t->n_calls++;
	tree_node_turn(n);
}

/* What was learned long ago may not be all that the node has by now. */
static bool may_relearn(const struct tree_node *n)
{
	return !n->is_ready && mono_diff_ms(mono_now(), n->learned_at) >= TREE_RELEARN_MS;
}

static int done_now(struct coap_response *res, uint8_t code, int64_t max_age_s, const char *why)
{
	refuse(res, code, max_age_s, why);
	return COAP_HANDLER_DONE;
}

static int ask_node(struct ble_tree *t, const struct ble_tree_request *req, const struct tree_ask *a, struct coap_response *res,
		    ble_tree_done_fn *done, void *ctx)
{
	const struct ble_node *node = ble_node_get(t->c.ble, a->path.id);
	struct tree_node *n = node ? tree_node_get(t, a->path.id) : NULL;

	if (!n)
		return done_now(res, COAP_404_NOT_FOUND, -1, "no such node is in range");
	if (a->path.kind == BLE_PATH_NODE) {
		answer_node(node, a, res);
		return COAP_HANDLER_DONE;
	}
	if (n->has_layout) {
		struct coap_response why;
		coap_response_init(&why);
		bool fits = tree_check(n, a, &why);
		if (!fits && (why.code != COAP_404_NOT_FOUND || !may_relearn(n))) {
			*res = why;
			return COAP_HANDLER_DONE;
		}
		coap_response_done(&why);
		if (fits && a->path.kind != BLE_PATH_VALUE) {
			tree_answer_layout(n, a, res);
			return COAP_HANDLER_DONE;
		}
	}
	if (node->is_busy)
		return done_now(res, COAP_503_UNAVAILABLE, TREE_BUSY_S, "the node is being updated");
	if (ble_health(t->c.ble) != BLE_READY)
		return done_now(res, COAP_504_TIMEOUT, -1, ble_health_text(ble_health(t->c.ble)));
	if (t->n_calls >= BLE_TREE_WAITING_MAX || n->n_calls >= BLE_TREE_NODE_WAITING_MAX)
		return done_now(res, COAP_503_UNAVAILABLE, TREE_FULL_S, "too many requests wait for nodes");
	wait_for_link(n, req, a, done, ctx);
	return COAP_HANDLER_LATER;
}

int ble_tree_ask(struct ble_tree *t, const struct ble_tree_request *req, struct coap_response *res, ble_tree_done_fn *done, void *ctx)
{
	struct tree_ask a = { .method = req->method, .is_unacknowledged = req->is_unacknowledged, .prefix = req->prefix,
			      .prefer = req->prefer, .accept = req->accept, .is_text = req->content_format == COAP_CF_TEXT };

	if (ble_path_parse(req->path, req->n_path, &a.path) < 0)
		return done_now(res, COAP_404_NOT_FOUND, -1, "no such resource");
	if (!check_request(req, &a, res))
		return COAP_HANDLER_DONE;
	if (a.path.kind == BLE_PATH_ROOT) {
		answer_root(t, &a, res);
		return COAP_HANDLER_DONE;
	}
	if (a.path.kind == BLE_PATH_NODES) {
		if (begin_list(&a, BLE_CF_NODELIST, res))
			ble_list_nodes(t->c.ble, a.prefix, res->content_format, &res->body);
		return COAP_HANDLER_DONE;
	}
	return ask_node(t, req, &a, res, done, ctx);
}

/* ---- life ---- */

struct ble_tree *ble_tree_new(const struct ble_tree_config *c)
{
	struct ble_tree *t = NEW(struct ble_tree);

	t->c = *c;
	return t;
}

struct ble_tree *ble_tree_free(struct ble_tree *t)
{
	struct tree_node *n, *tmp;

	if (!t)
		return NULL;
	HASH_ITER(hh, t->nodes, n, tmp)
		tree_node_free(n);
	free(t);
	return NULL;
}

void ble_tree_set_closed(struct ble_tree *t, const uint8_t (*closed)[BLE_UUID_BYTES], size_t n)
{
	struct tree_node *node, *tmp;

	n = n < BLE_CLOSED_MAX ? n : BLE_CLOSED_MAX;
	if (n == t->n_closed && (n == 0 || memcmp(t->closed, closed, n * BLE_UUID_BYTES) == 0))
		return;
	t->n_closed = n;
	if (n)
		memcpy(t->closed, closed, n * BLE_UUID_BYTES);
	HASH_ITER(hh, t->nodes, node, tmp)
		tree_node_forget(node);
}

void ble_tree_set_faces(struct ble_tree *t, const struct ble_td_face *faces, size_t n)
{
	t->n_faces = n < BLE_TD_FACES_MAX ? n : BLE_TD_FACES_MAX;
	if (t->n_faces)
		memcpy(t->faces, faces, t->n_faces * sizeof(*faces));
}

const struct ble_layout *ble_tree_layout(const struct ble_tree *t, const char *id)
{
	const struct tree_node *n = tree_node_find(t, id);

	return n && n->has_layout ? &n->layout : NULL;
}
