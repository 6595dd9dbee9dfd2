/* The HTTP face: who is calling, and which route. */
#include "admin/admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "admin/api.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "config/secret.h"

enum { REFUSED_LOG_MS = 1000 };

void admin_log_refused(struct admin *a, const char *peer, const char *what)
{
	struct mono now = mono_now();

	if (a->n_refused++ && mono_diff_ms(now, a->refused_at) < REFUSED_LOG_MS)
		return;
	log_fields(EV_AUTH_REFUSED, LOG_WARNING, ({ "GW_PEER", peer }), "%s %s was refused (%zu so far)", what, peer, a->n_refused);
	a->refused_at = now;
}

static const char *http_face_query(struct api_call *c, const char *key)
{
	return http_query(c->face, key);
}

/* RFC 9110 15.5.6: a 405 says what would be right. */
static void put_allow(struct http_exchange *x, unsigned methods)
{
	static const struct { enum http_method method; const char *name; } names[] = {
		{ HTTP_GET, "GET, HEAD" }, { HTTP_POST, "POST" }, { HTTP_PUT, "PUT" }, { HTTP_DELETE, "DELETE" },
	};
	_cleanup_buf_ struct buf b = { 0 };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (methods & names[i].method)
			buf_printf(&b, "%s%s", b.n ? ", " : "", names[i].name);
	http_reply_header(x, "Allow", buf_str(&b));
}

static void http_face_reply(struct api_call *c, int status, const char *type, struct span body)
{
	if (status == 405)
		put_allow(c->face, c->allow);
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

/* A browser says which site a script came from; other sites than ours have no business here, not even to look. */
static bool origin_is_foreign(struct http_exchange *x)
{
	const char *origin = http_header(x, "Origin"), *host = http_header(x, "Host"), *at = origin ? strstr(origin, "://") : NULL;

	return origin && (!at || !host || strcasecmp(at + 3, host) != 0);
}

static void serve_metrics(struct admin *a, struct http_exchange *x)
{
	_cleanup_buf_ struct buf b = { 0 };

	metric_render(&b);
	http_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", buf_span(&b));
}

static void serve_openapi(struct admin *a, struct http_exchange *x)
{
	_cleanup_buf_ struct buf b = { 0 };

	openapi_render(&b);
	http_reply(x, 200, "application/json", buf_span(&b));
}

static void serve_events(struct admin *a, struct http_exchange *x)
{
	events_stream_serve(a->events, x, http_header(x, "Last-Event-ID"), http_query(x, "last"), http_query(x, "types"));
}

/* What is no call of the API; GET alone. */
static const struct { const char *path; void (*serve)(struct admin *a, struct http_exchange *x); } pages[] = {
	{ "/metrics", serve_metrics }, { "/api/v1/openapi.json", serve_openapi }, { "/api/v1/events", serve_events },
};

static void route(struct admin *a, struct http_exchange *x, const struct http_request *req, unsigned roles, const char *who)
{
	for (size_t i = 0; i < sizeof(pages) / sizeof(*pages); i++) {
		if (strcmp(req->path, pages[i].path) != 0)
			continue;
		if (req->method == HTTP_GET) {
			pages[i].serve(a, x);
			return;
		}
		put_allow(x, HTTP_GET);
		http_reply_problem(x, 405, "not with this method");
		return;
	}
	const struct admin_pages *more = &a->c.pages;
	if (strncmp(req->path, "/api/v1/", strlen("/api/v1/")) == 0)
		run_api(a, x, req, roles, who);
	else if (more->prefix && strncmp(req->path, more->prefix, strlen(more->prefix)) == 0)
		more->serve(more->ctx, x, req, roles, who);
	else
		http_reply_problem(x, 404, "the API is at /api/v1/, described by /api/v1/openapi.json");
}

static void on_request(void *ctx, struct http_exchange *x, const struct http_request *req)
{
	struct admin *a = ctx;
	unsigned roles;
	char who[API_WHO_BYTES];

	if (!http_who(a, x, req, &roles, who)) {
		admin_log_refused(a, req->peer, "an HTTP request without a valid token of");
		http_reply_header(x, "WWW-Authenticate", "Bearer");
		http_reply_problem(x, 401, "show the bearer token of http.token_file");
	} else if (!req->is_unix && origin_is_foreign(x)) {
		admin_log_refused(a, req->peer, "an HTTP request from a page of another web site by");
		http_reply_problem(x, 403, "requests from pages of other web sites are refused");
	} else {
		route(a, x, req, roles, who);
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
