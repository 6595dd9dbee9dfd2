/* The HTTP face: who is calling, and which route. */
#include "admin/admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/api.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "base/digest.h"
#include "config/secret.h"

static const char *http_face_query(struct api_call *c, const char *key)
{
	return http_query(c->face, key);
}

static void http_face_reply(struct api_call *c, int status, const char *type, struct span body)
{
	http_reply_header(c->face, "Cache-Control", "no-store");
	http_reply(c->face, status, type, body);
}

static bool token_is_right(const struct admin *a, const char *authorization)
{
	static const char bearer[] = "Bearer ";

	if (!a->token || !authorization || strncmp(authorization, bearer, sizeof(bearer) - 1) != 0)
		return false;
	struct digest given = digest_of(span_str(authorization + sizeof(bearer) - 1)), right = digest_of(span_str(a->token));
	return digest_eq(&given, &right); /* equal lengths, constant time */
}

/* The socket's file mode says who may connect; over TCP a token makes an admin, and loopback without one may look. */
static bool http_who(struct admin *a, struct http_exchange *x, const struct http_request *req, unsigned *ret_roles, char *ret_who)
{
	if (req->is_unix) {
		(void)snprintf(ret_who, API_WHO_BYTES, "unix:%u", req->peer_uid); /* fits */
		*ret_roles = ROLE_ADMIN | ROLE_VIEWER;
		return true;
	}
	const char *authorization = http_header(x, "Authorization");
	if (token_is_right(a, authorization)) {
		(void)snprintf(ret_who, API_WHO_BYTES, "token@%.80s", req->peer);
		*ret_roles = ROLE_ADMIN | ROLE_VIEWER;
		return true;
	}
	(void)snprintf(ret_who, API_WHO_BYTES, "%.90s", req->peer);
	*ret_roles = ROLE_VIEWER;
	return !authorization && (!a->token || strncmp(req->peer, "127.", 4) == 0 || strncmp(req->peer, "[::1]", 5) == 0);
}

static void run_api(struct admin *a, struct http_exchange *x, const struct http_request *req, unsigned roles, const char *who)
{
	struct api_call *c = api_call_new(a);
	char error[160];

	c->method = req->method;
	c->roles = roles;
	c->query = http_face_query;
	c->reply = http_face_reply;
	c->face = x;
	(void)text_copy(c->who, sizeof(c->who), span_str(who)); /* same size */
	if (req->body.n && json_parse(req->body, &c->doc, error, sizeof(error)) < 0) {
		api_reply_problem(c, 400, "the body is not JSON: %s", error);
		return;
	}
	c->body = c->doc ? json_root(c->doc) : NULL;
	api_run(c, req->path + strlen("/api/v1/"));
}

static void on_request(void *ctx, struct http_exchange *x, const struct http_request *req)
{
	struct admin *a = ctx;
	_cleanup_buf_ struct buf b = { 0 };
	unsigned roles;
	char who[API_WHO_BYTES];

	metric_add(METRIC_HTTP_REQUESTS, 1);
	if (!http_who(a, x, req, &roles, who)) {
		log_fields(EV_AUTH_REFUSED, LOG_WARNING, ({ "GW_PEER", req->peer }), "HTTP request of %s without a valid token", req->peer);
		http_reply_header(x, "WWW-Authenticate", "Bearer");
		http_reply_problem(x, 401, "show the bearer token of http.token_file");
		return;
	}
	bool is_get = req->method == HTTP_GET || req->method == HTTP_HEAD;
	if (is_get && strcmp(req->path, "/metrics") == 0) {
		metric_render(&b);
		http_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", buf_span(&b));
	} else if (is_get && strcmp(req->path, "/api/v1/openapi.json") == 0) {
		openapi_render(&b);
		http_reply(x, 200, "application/json", buf_span(&b));
	} else if (req->method == HTTP_GET && strcmp(req->path, "/api/v1/events") == 0) {
		events_stream_serve(a->events, x, http_header(x, "Last-Event-ID"), http_query(x, "last"), http_query(x, "types"));
	} else if (strncmp(req->path, "/api/v1/", strlen("/api/v1/")) == 0) {
		run_api(a, x, req, roles, who);
	} else {
		http_reply_problem(x, 404, "the API is at /api/v1/, described by /api/v1/openapi.json");
	}
}

static int listen_all(struct admin *a, struct buf *error)
{
	const struct config *c = a->config;

	for (size_t i = 0; c->http.listen[i]; i++) {
		bool is_unix = strncmp(c->http.listen[i], "unix:", 5) == 0;
		int r = http_server_listen(a->http, c->http.listen[i], c->http.socket_mode, !is_unix && c->http.cert_file[0] ? c->http.cert_file : NULL,
					   !is_unix && c->http.key_file[0] ? c->http.key_file : NULL);
		if (r < 0) {
			buf_printf(error, "http.listen %s: %s\n", c->http.listen[i], strerror(-r));
			return r;
		}
	}
	return 0;
}

int admin_open(const struct admin_config *c, struct admin **ret, struct buf *error)
{
	struct admin *a = NEW(struct admin);

	a->c = *c;
	a->config = c->config;
	a->started_at = wall_now();
	a->events = events_stream_open(c->loop);
	a->http = http_server_new(c->loop, on_request, a);
	int r = a->config->http.token_file[0] ? config_token_read(a->config->http.token_file, &a->token, error) : 0;
	if (r == 0)
		r = listen_all(a, error);
	if (r == 0 && c->coap && c->config->admin.coap)
		r = coap_admin_open(a);
	if (r < 0) {
		admin_close(a);
		return r;
	}
	*ret = a;
	return 0;
}

struct admin *admin_close(struct admin *a)
{
	if (!a)
		return NULL;
	http_server_free(a->http); /* ends the streams too */
	events_stream_close(a->events);
	if (a->token)
		mem_wipe(a->token, strlen(a->token));
	free(a->token);
	free(a);
	return NULL;
}

void admin_set_config(struct admin *a, const struct config *c)
{
	a->config = c;
}

const char *admin_http_address(struct admin *a, size_t i)
{
	return http_server_address(a->http, i);
}
