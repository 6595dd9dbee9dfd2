/* The same routes as CBOR over coaps: GET /admin/updates, POST /admin/updates/ID/approve, ... The JSON a route answers
 * with is carried over item by item, so both faces always say the same. Identities with an admin or viewer role only. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/api.h"
#include "base/mem.h"
#include "base/text.h"
#include "codec/cbor.h"

enum { ADMIN_DEPTH_MAX = 12, ADMIN_PATH_BYTES = 512, ADMIN_BODY_BYTES_MAX = 4096 };

/* Map keys as they come: the reader of this CBOR looks fields up by name. */
static void put_value(struct buf *b, const struct json_value *v, unsigned depth)
{
	int64_t i;

	if (depth > ADMIN_DEPTH_MAX) {
		b->bad = true;
		return;
	}
	switch (json_kind_of(v)) {
	case JSON_KIND_NULL:
		cbor_put_null(b);
		break;
	case JSON_KIND_BOOL:
		cbor_put_bool(b, json_as_bool(v));
		break;
	case JSON_KIND_INT:
		cbor_put_int(b, json_as_int(v, &i) ? i : 0);
		break;
	case JSON_KIND_REAL:
		cbor_put_double(b, json_as_real(v));
		break;
	case JSON_KIND_STR:
		cbor_put_str(b, json_as_str(v));
		break;
	case JSON_KIND_ARRAY:
		cbor_put_array(b, json_n(v));
		for (size_t k = 0; k < json_n(v); k++)
			put_value(b, json_at(v, k), depth + 1);
		break;
	case JSON_KIND_OBJECT:
		cbor_put_map(b, json_n(v));
		for (const void *it = json_first(v); it; it = json_next(v, it)) {
			cbor_put_str(b, json_iter_key(it));
			put_value(b, json_iter_value(it), depth + 1);
		}
		break;
	}
}

void coap_admin_encode(const struct json_value *v, struct buf *ret)
{
	put_value(ret, v, 0);
}

int coap_admin_decode(struct span in, struct buf *ret)
{
	struct cbor c = cbor_reader(in);
	struct json_out o = json_writer(ret);

	if (cbor_check(in, 0, NULL) < 0 || cbor_peek(&c) != CBOR_MAP)
		return -EBADMSG;
	size_t n = cbor_map(&c);
	json_open_object(&o, NULL);
	for (size_t i = 0; i < n && cbor_ok(&c); i++) {
		char key[64];
		if (text_copy(key, sizeof(key), cbor_text(&c)) < 0)
			return -EBADMSG;
		if (cbor_peek(&c) == CBOR_TEXT)
			json_span(&o, key, cbor_text(&c));
		else if (cbor_is_bool(&c))
			json_bool(&o, key, cbor_bool(&c));
		else
			json_int(&o, key, cbor_int(&c));
	}
	json_close_object(&o);
	return cbor_ok(&c) && buf_ok(ret) ? 0 : -EBADMSG;
}

struct coap_face {
	struct coap_deferred *answer;
	char (*query)[2][API_PARAM_BYTES];
	size_t n_query;
};

static const char *face_query(struct api_call *c, const char *key)
{
	struct coap_face *f = c->face;

	for (size_t i = 0; i < f->n_query; i++)
		if (strcmp(f->query[i][0], key) == 0)
			return f->query[i][1];
	return NULL;
}

static uint8_t code_of(int status, enum http_method m)
{
	switch (status) {
	case 200:
		return m == HTTP_GET ? COAP_205_CONTENT : COAP_204_CHANGED;
	case 201:
		return COAP_201_CREATED;
	case 202:
		return COAP_204_CHANGED;
	case 400:
		return COAP_400_BAD_REQUEST;
	case 401:
		return COAP_401_UNAUTHORIZED;
	case 403:
		return COAP_403_FORBIDDEN;
	case 404:
		return COAP_404_NOT_FOUND;
	case 405:
		return COAP_405_METHOD;
	case 409:
		return COAP_409_CONFLICT;
	case 422:
		return COAP_422_UNPROCESSABLE;
	case 503:
		return COAP_503_UNAVAILABLE;
	default:
		return COAP_500_INTERNAL;
	}
}

static void face_reply(struct api_call *c, int status, const char *type, struct span body)
{
	struct coap_face *f = c->face;
	struct json_doc *doc = NULL;
	struct coap_response res;

	(void)type;
	coap_response_init(&res);
	res.code = code_of(status, c->method);
	/* A health answer of 503 is content all the same: it says what is not well. */
	if (json_parse(body, &doc, NULL, 0) == 0) {
		const struct json_value *root = json_root(doc);
		const char *detail = json_get_str(root, "detail");
		if (status >= 400 && detail) {
			(void)coap_error(&res, code_of(status, c->method), "%s", detail);
		} else {
			if (status == 503)
				res.code = COAP_205_CONTENT;
			res.content_format = COAP_CF_CBOR;
			res.max_age_s = 0;
			coap_admin_encode(root, &res.body);
		}
		json_doc_free(doc);
	}
	coap_deferred_respond(f->answer, &res);
	free(f->query);
	free(f);
}

static void queries_copy(struct coap_face *f, const struct coap_request *req)
{
	f->query = mem_new(req->n_query, sizeof(*f->query));
	for (size_t i = 0; i < req->n_query; i++) {
		struct span q = req->query[i];
		const uint8_t *eq = q.n ? memchr(q.p, '=', q.n) : NULL;
		size_t n_key = eq ? (size_t)(eq - q.p) : q.n;
		if (text_copy(f->query[f->n_query][0], API_PARAM_BYTES, span_sub(q, 0, n_key)) == 0 &&
		    text_copy(f->query[f->n_query][1], API_PARAM_BYTES, span_sub(q, n_key + (eq ? 1 : 0), q.n)) == 0)
			f->n_query++;
	}
}

/* "updates/ID/approve" from the segments after /admin. */
static bool path_join(const struct coap_request *req, char ret[static ADMIN_PATH_BYTES])
{
	_cleanup_buf_ struct buf b = { .max = ADMIN_PATH_BYTES - 1 };

	for (size_t i = 1; i < req->n_path; i++) {
		if (!text_is_clean(req->path[i]) || (req->path[i].n && memchr(req->path[i].p, '/', req->path[i].n)))
			return false;
		buf_add_str(&b, i > 1 ? "/" : "");
		buf_add(&b, req->path[i]);
	}
	return buf_ok(&b) && text_copy(ret, ADMIN_PATH_BYTES, buf_span(&b)) == 0;
}

static int on_admin(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct admin *a = ctx;
	char path[ADMIN_PATH_BYTES];
	_cleanup_buf_ struct buf json = { 0 };
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;
	enum http_method m = req->method == COAP_M_GET ? HTTP_GET : HTTP_POST;

	unsigned roles = devices_roles(a->c.devices, req->peer.identity);
	if (!req->peer.secure || !(roles & (ROLE_ADMIN | ROLE_VIEWER))) {
		admin_log_refused(a, req->peer.addr, "a CoAP admin request of");
		return coap_error(res, COAP_403_FORBIDDEN, "this identity has no admin or viewer role");
	}
	if (req->accept != COAP_CF_NONE && req->accept != COAP_CF_CBOR)
		return coap_error(res, COAP_406_NOT_ACCEPTABLE, "answers are CBOR (60)");
	if (!path_join(req, path))
		return coap_error(res, COAP_404_NOT_FOUND, "no such resource");
	if (req->body.n && (req->content_format != COAP_CF_CBOR || coap_admin_decode(req->body, &json) < 0 ||
			    json_parse(buf_span(&json), &doc, NULL, 0) < 0))
		return coap_error(res, COAP_400_BAD_REQUEST, "the body is a CBOR map (60) of text to text or integer");
	struct coap_face *f = NEW(struct coap_face);
	f->answer = coap_defer(a->c.coap, req);
	if (!f->answer) {
		free(f);
		return coap_error(res, COAP_503_UNAVAILABLE, "busy");
	}
	queries_copy(f, req);
	struct api_call *c = api_call_new(a);
	c->method = m;
	c->roles = roles;
	c->query = face_query;
	c->reply = face_reply;
	c->face = f;
	c->is_coap = true;
	(void)snprintf(c->who, sizeof(c->who), "coaps:%.64s", req->peer.identity); /* fits */
	c->doc = doc;
	c->body = doc ? json_root(doc) : NULL;
	doc = NULL;
	api_run(c, path);
	return COAP_HANDLER_LATER;
}

int coap_admin_open(struct admin *a)
{
	const struct coap_route route = { .path = "admin", .is_prefix = true, .methods = 1u << COAP_M_GET | 1u << COAP_M_POST,
					  .attributes = "rt=\"dormouse.admin\";ct=60", .secure_only = true, .body_max = ADMIN_BODY_BYTES_MAX,
					  .fn = on_admin, .ctx = a };

	return coap_endpoint_add(a->c.coap, &route);
}
