#include "admin/api.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"

static const struct api_route api_routes[] = {
	{ HTTP_GET, "status", ROLE_VIEWER, false, api_status, "What runs, since when, and how much of everything" },
	{ HTTP_GET, "health", ROLE_VIEWER, false, api_health, "200 when all is well, 503 with what is not" },
	{ HTTP_GET, "devices", ROLE_VIEWER, false, api_devices_list, "Known devices" },
	{ HTTP_GET, "devices/{id}", ROLE_VIEWER, false, api_device_show, "One device" },
	{ HTTP_PUT, "devices/{id}", ROLE_ADMIN, true, api_device_put, "Enrol a device, or change what is known of it" },
	{ HTTP_DELETE, "devices/{id}", ROLE_ADMIN, true, api_device_delete, "Forget a device and its credentials" },
	{ HTTP_POST, "devices/{id}/state", ROLE_ADMIN, true, api_device_state, "Enrol, quarantine or retire a device" },
	{ HTTP_GET, "endpoints", ROLE_VIEWER, false, api_endpoints_list, "Active registrations (RFC 9176)" },
	{ HTTP_GET, "endpoints/{location}", ROLE_VIEWER, false, api_endpoint_show, "One registration with its links" },
	{ HTTP_GET, "credentials", ROLE_ADMIN, true, api_credentials_list, "Identities and their roles, without secrets" },
	{ HTTP_PUT, "credentials/{identity}", ROLE_ADMIN, true, api_credential_put, "Set the key of an identity" },
	{ HTTP_DELETE, "credentials/{identity}", ROLE_ADMIN, true, api_credential_delete, "Remove an identity's key" },
	{ HTTP_GET, "updates", ROLE_VIEWER, false, api_updates_list, "Updates in every state" },
	{ HTTP_GET, "updates/{id}", ROLE_VIEWER, false, api_update_show, "One update" },
	{ HTTP_GET, "updates/{id}/verdict", ROLE_VIEWER, false, api_update_verdict, "The verdict: every rule with its evidence" },
	{ HTTP_POST, "updates/{id}/approve", ROLE_ADMIN, false, api_update_approve, "Let an update go to the devices it fits" },
	{ HTTP_POST, "updates/{id}/recall", ROLE_ADMIN, false, api_update_recall, "Withdraw an update and stop its jobs" },
	{ HTTP_GET, "images", ROLE_VIEWER, false, api_images_list, "Images in the cache" },
	{ HTTP_GET, "rollouts", ROLE_VIEWER, false, api_rollouts_list, "Rollouts with counts of their jobs" },
	{ HTTP_GET, "rollouts/{id}", ROLE_VIEWER, false, api_rollout_show, "One rollout" },
	{ HTTP_GET, "jobs", ROLE_VIEWER, false, api_jobs_list, "Jobs; filter by update, device, state" },
	{ HTTP_GET, "jobs/{id}", ROLE_VIEWER, false, api_job_show, "One job" },
	{ HTTP_POST, "jobs/{id}/retry", ROLE_ADMIN, true, api_job_retry, "Queue a finished job again" },
	{ HTTP_POST, "jobs/{id}/cancel", ROLE_ADMIN, true, api_job_cancel, "Cancel an open job" },
	{ HTTP_GET, "why-not", ROLE_VIEWER, false, api_why_not, "Every rule between a device and an update" },
	{ HTTP_GET, "sources", ROLE_VIEWER, false, api_sources_list, "Sources and how they do" },
	{ HTTP_POST, "sources/{name}/poll", ROLE_ADMIN, true, api_source_poll, "Look at a source now" },
	{ HTTP_POST, "revocation/refresh", ROLE_ADMIN, true, api_revocation_refresh, "Fetch revocation status of all live updates now" },
	{ HTTP_GET, "audit", ROLE_VIEWER, true, api_audit_list, "Audit entries; filter by subject" },
	{ HTTP_GET, "audit/checkpoint", ROLE_VIEWER, true, api_audit_checkpoint, "The signed tree head" },
	{ HTTP_GET, "audit/key", ROLE_VIEWER, true, api_audit_key, "The public key of tree heads" },
	{ HTTP_GET, "audit/prove", ROLE_VIEWER, true, api_audit_prove, "Offline proofs of the entries of a subject" },
	{ HTTP_POST, "reload", ROLE_ADMIN, true, api_reload, "Read the configuration again" },
};

const struct api_route *api_route_at(size_t i)
{
	return i < sizeof(api_routes) / sizeof(*api_routes) ? &api_routes[i] : NULL;
}

struct api_call *api_call_new(struct admin *a)
{
	struct api_call *c = NEW(struct api_call);

	c->admin = a;
	return c;
}

/* Does path have the shape of route; the {parts} go to the call. */
static bool route_matches(const char *route, const char *path, struct api_call *c)
{
	size_t n_params = 0;

	while (*route && *path) {
		if (*route == '{') {
			const char *end = strchr(path, '/');
			size_t n = end ? (size_t)(end - path) : strlen(path);
			if (n == 0 || n_params == API_PARAMS_MAX || text_copy(c->param[n_params], API_PARAM_BYTES, SPAN(path, n)) < 0)
				return false;
			n_params++;
			path += n;
			route = strchr(route, '}') + 1;
			continue;
		}
		if (*route++ != *path++)
			return false;
	}
	return !*route && !*path;
}

void api_run(struct api_call *c, const char *path)
{
	bool is_known = false;

	for (size_t i = 0; i < sizeof(api_routes) / sizeof(*api_routes); i++) {
		const struct api_route *r = &api_routes[i];
		if ((r->is_http_only && c->is_coap) || !route_matches(r->path, path, c))
			continue;
		is_known = true;
		if (r->method != (c->method == HTTP_HEAD ? HTTP_GET : c->method))
			continue;
		if (!(c->roles & r->role) && !(c->roles & ROLE_ADMIN)) {
			api_reply_problem(c, 403, "this needs the %s role; use the Unix socket, or a token (http.token_file)",
					  r->role == ROLE_ADMIN ? "admin" : "viewer");
			return;
		}
		r->fn(c);
		return;
	}
	if (is_known)
		api_reply_problem(c, 405, "not with this method");
	else
		api_reply_problem(c, 404, "no such resource: /api/v1/%.100s", path);
}

static void api_answer(struct api_call *c, int status, const char *type, struct span body)
{
	json_doc_free(c->doc);
	c->doc = NULL;
	c->reply(c, status, type, body);
	free(c);
}

void api_reply_json(struct api_call *c, int status, struct buf *json)
{
	if (buf_ok(json))
		api_answer(c, status, "application/json", buf_span(json));
	else
		api_reply_problem(c, 500, "the answer is too large; ask for fewer items with limit=");
	buf_done(json);
}

void api_reply_problem(struct api_call *c, int status, const char *fmt, ...)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct json_out o = json_writer(&b);
	char detail[300];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(detail, sizeof(detail), fmt, ap); /* clipped for people */
	va_end(ap);
	json_open_object(&o, NULL);
	json_str(&o, "type", "about:blank");
	json_int(&o, "status", status);
	json_str(&o, "detail", detail);
	json_close_object(&o);
	api_answer(c, status, "application/problem+json", buf_span(&b));
}

void api_reply_stored(void *ctx, int error)
{
	struct api_call *c = ctx;
	struct buf b = { 0 };

	if (error < 0) {
		api_reply_problem(c, 503, "not stored: %s; nothing was changed, try again", strerror(-error));
		return;
	}
	buf_add_str(&b, "{\"ok\":true}");
	api_reply_json(c, 200, &b);
}

const char *api_after(struct api_call *c)
{
	const char *after = c->query(c, "after");

	return after && after[0] ? after : NULL;
}

void api_list_begin(struct api_call *c, struct api_list *l)
{
	const char *limit = c->query(c, "limit");
	uint64_t n;

	*l = (struct api_list){ .limit = API_LIMIT_DEFAULT };
	if (limit && text_parse_u64(span_str(limit), API_LIMIT_MAX, &n, 0) == 0 && n > 0)
		l->limit = n;
	l->o = json_writer(&l->b);
	json_open_object(&l->o, NULL);
	json_open_array(&l->o, "items");
}

bool api_list_full(const struct api_list *l)
{
	return l->n >= l->limit;
}

void api_list_end(struct api_call *c, struct api_list *l, uint64_t total)
{
	json_close_array(&l->o);
	json_uint(&l->o, "total", total);
	json_str(&l->o, "next", l->next[0] ? l->next : NULL);
	json_close_object(&l->o);
	api_reply_json(c, 200, &l->b);
}

void api_put_wall(struct json_out *o, const char *key, struct wall t)
{
	char text[WALL_TEXT_BYTES];

	json_str(o, key, t.ms ? wall_text(t, text) : NULL);
}
