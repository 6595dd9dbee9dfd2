#include "admin/api.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"

enum { VIEW = ROLE_VIEWER, ADMIN = ROLE_ADMIN, HTTP_ONLY = true, BOTH = false };

/* Routes of one path stand together. */
static const struct api_route api_routes[] = {
	{ HTTP_GET, "status", VIEW, BOTH, api_status, API_ITEM, "What runs, since when, and how much of everything" },
	{ HTTP_GET, "health", VIEW, BOTH, api_health, API_ITEM, "200 when all is well, 503 with what is not" },
	{ HTTP_GET, "devices", VIEW, BOTH, api_devices_list, API_LIST, "Known devices", .query = "state" },
	{ HTTP_GET, "devices/{id}", VIEW, BOTH, api_device_show, API_ITEM, "One device" },
	{ HTTP_PUT, "devices/{id}", ADMIN, HTTP_ONLY, api_device_put, API_OK, "Enrol a device, or change what is known of it",
	  .body = "vendor_id:string class_id:string name:string hw_revision:string identity:string proof:string driver:string address:string wake:object" },
	{ HTTP_DELETE, "devices/{id}", ADMIN, HTTP_ONLY, api_device_delete, API_OK, "Forget a device and its credentials" },
	{ HTTP_POST, "devices/{id}/state", ADMIN, HTTP_ONLY, api_device_state, API_OK, "Enrol, quarantine or retire a device", .body = "state:string" },
	{ HTTP_GET, "endpoints", VIEW, BOTH, api_endpoints_list, API_LIST, "Active registrations (RFC 9176)" },
	{ HTTP_GET, "endpoints/{location}", VIEW, BOTH, api_endpoint_show, API_ITEM, "One registration with its links" },
	{ HTTP_DELETE, "endpoints/{location}", ADMIN, HTTP_ONLY, api_endpoint_delete, API_OK, "Remove a registration; its endpoint may register again" },
	{ HTTP_GET, "credentials", ADMIN, HTTP_ONLY, api_credentials_list, API_LIST, "Identities and their roles, without secrets" },
	{ HTTP_PUT, "credentials/{identity}", ADMIN, HTTP_ONLY, api_credential_put, API_OK, "Set the key of an identity",
	  .body = "secret_hex:string kind:string device:string roles:array" },
	{ HTTP_DELETE, "credentials/{identity}", ADMIN, HTTP_ONLY, api_credential_delete, API_OK, "Remove an identity's key", .query = "kind" },
	{ HTTP_GET, "updates", VIEW, BOTH, api_updates_list, API_LIST, "Updates in every state", .query = "state" },
	{ HTTP_GET, "updates/{id}", VIEW, BOTH, api_update_show, API_ITEM, "One update" },
	{ HTTP_GET, "updates/{id}/verdict", VIEW, BOTH, api_update_verdict, API_ITEM, "The verdict: every rule with its evidence" },
	{ HTTP_POST, "updates/{id}/approve", ADMIN, BOTH, api_update_approve, API_OK, "Let an update go to the devices it fits" },
	{ HTTP_POST, "updates/{id}/recall", ADMIN, BOTH, api_update_recall, API_OK, "Withdraw an update and stop its jobs", .body = "reason:string" },
	{ HTTP_GET, "images", VIEW, BOTH, api_images_list, API_LIST, "Images in the cache" },
	{ HTTP_GET, "rollouts", VIEW, BOTH, api_rollouts_list, API_LIST, "Rollouts with counts of their jobs" },
	{ HTTP_GET, "rollouts/{id}", VIEW, BOTH, api_rollout_show, API_ITEM, "One rollout" },
	{ HTTP_GET, "jobs", VIEW, BOTH, api_jobs_list, API_LIST, "Jobs", .query = "update device state" },
	{ HTTP_GET, "jobs/{id}", VIEW, BOTH, api_job_show, API_ITEM, "One job" },
	{ HTTP_POST, "jobs/{id}/retry", ADMIN, HTTP_ONLY, api_job_retry, API_STARTED, "Queue a finished job again" },
	{ HTTP_POST, "jobs/{id}/cancel", ADMIN, HTTP_ONLY, api_job_cancel, API_STARTED, "Cancel an open job" },
	{ HTTP_GET, "multicast/groups", VIEW, BOTH, api_multicast_groups, API_LIST, "Multicast groups" },
	{ HTTP_POST, "multicast/groups/{name}/rekey", ADMIN, HTTP_ONLY, api_multicast_rekey, API_STARTED, "Give a group a new key" },
	{ HTTP_GET, "multicast/sessions", VIEW, BOTH, api_multicast_sessions, API_LIST, "Multicast sessions with their figures" },
	{ HTTP_GET, "multicast/sessions/{id}", VIEW, BOTH, api_multicast_session, API_ITEM, "One multicast session" },
	{ HTTP_GET, "multicast/sessions/{id}/members", VIEW, BOTH, api_multicast_members, API_LIST, "How its members do" },
	{ HTTP_POST, "multicast/sessions/{id}/pause", ADMIN, HTTP_ONLY, api_multicast_pause, API_STARTED, "Hold a session" },
	{ HTTP_POST, "multicast/sessions/{id}/resume", ADMIN, HTTP_ONLY, api_multicast_resume, API_STARTED, "Let it go on" },
	{ HTTP_POST, "multicast/sessions/{id}/abort", ADMIN, HTTP_ONLY, api_multicast_abort, API_STARTED, "End it; its members go on by unicast" },
	{ HTTP_GET, "ble/adapters", VIEW, BOTH, api_ble_adapters, API_LIST, "Bluetooth adapters" },
	{ HTTP_GET, "ble/nodes", VIEW, BOTH, api_ble_nodes, API_LIST, "Bluetooth LE nodes in range or connected" },
	{ HTTP_GET, "ble/nodes/{id}", VIEW, BOTH, api_ble_node, API_ITEM, "One node with its services, as far as they are known" },
	{ HTTP_POST, "ble/nodes/{id}/pair", ADMIN, HTTP_ONLY, api_ble_pair, API_STARTED, "Pair with a node that the configuration allows" },
	{ HTTP_POST, "ble/nodes/{id}/passkey", ADMIN, HTTP_ONLY, api_ble_passkey, API_OK, "Tell the six digits that a node shows", .body = "passkey:string" },
	{ HTTP_DELETE, "ble/nodes/{id}/bond", ADMIN, HTTP_ONLY, api_ble_unpair, API_STARTED, "Forget the bond with a node" },
	{ HTTP_GET, "radios", VIEW, BOTH, api_radios_list, API_LIST, "Radios below IPv6, and their airtime" },
	{ HTTP_GET, "radios/{name}", VIEW, BOTH, api_radio_show, API_ITEM, "One radio with its neighbours" },
	{ HTTP_GET, "why-not", VIEW, BOTH, api_why_not, API_ITEM, "Every rule between a device and an update", .query = "device update" },
	{ HTTP_GET, "sources", VIEW, BOTH, api_sources_list, API_LIST, "Sources and how they do" },
	{ HTTP_POST, "sources/{name}/poll", ADMIN, HTTP_ONLY, api_source_poll, API_STARTED, "Look at a source now" },
	{ HTTP_POST, "revocation/refresh", ADMIN, HTTP_ONLY, api_revocation_refresh, API_STARTED, "Fetch revocation status of all live updates now" },
	{ HTTP_GET, "audit", VIEW, BOTH, api_audit_list, API_LIST, "Audit entries", .query = "subject" },
	{ HTTP_GET, "audit/checkpoint", VIEW, BOTH, api_audit_checkpoint, API_ITEM, "The signed tree head" },
	{ HTTP_GET, "audit/key", VIEW, BOTH, api_audit_key, API_ITEM, "The public key of tree heads" },
	{ HTTP_GET, "audit/prove", VIEW, HTTP_ONLY, api_audit_prove, API_ITEM, "Offline proofs of the entries of a subject", .query = "subject" },
	{ HTTP_GET, "events/recent", VIEW, BOTH, api_events_recent, API_LIST, "The last events, or those after one", .query = "types" },
	{ HTTP_POST, "reload", ADMIN, HTTP_ONLY, api_reload, API_ITEM, "Read the configuration again" },
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

/* ?limit= of a list; false: it is there and wrong. */
static bool limit_parse(struct api_call *c, size_t *ret)
{
	const char *limit = c->query(c, "limit");
	uint64_t n = API_LIMIT_DEFAULT;

	if (limit && (text_parse_u64(span_str(limit), API_LIMIT_MAX, &n, 0) < 0 || n == 0))
		return false;
	*ret = n;
	return true;
}

void api_run(struct api_call *c, const char *path)
{
	c->allow = 0;
	for (size_t i = 0; i < sizeof(api_routes) / sizeof(*api_routes); i++) {
		const struct api_route *r = &api_routes[i];
		if ((r->is_http_only && c->is_coap) || !route_matches(r->path, path, c))
			continue;
		c->allow |= r->method;
		if (r->method != c->method)
			continue;
		if (!(c->roles & r->role) && !(c->roles & ROLE_ADMIN))
			api_reply_problem(c, 403, "this needs the %s role; use the Unix socket, or a token (http.token_file)",
					  r->role == ROLE_ADMIN ? "admin" : "viewer");
		else if (r->answer == API_LIST && !limit_parse(c, &c->limit))
			api_reply_problem(c, 400, "limit= is a number from 1 to %d", API_LIMIT_MAX);
		else
			r->fn(c);
		return;
	}
	if (c->allow)
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
	json_str(&o, "title", http_status_title(status));
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

struct api_deed api_deed_begin(struct api_call *c, const char *kind, const char *action)
{
	struct api_deed d = { .admin = c->admin, .kind = kind, .action = action };

	memcpy(d.subject, c->param[0], sizeof(d.subject));
	memcpy(d.who, c->who, sizeof(d.who));
	db_begin(c->admin->c.db);
	return d;
}

void api_deed_end(struct api_deed *d, bool done)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct json_out o = json_writer(&b);

	if (done) {
		json_open_object(&o, NULL);
		json_str(&o, "action", d->action);
		json_str(&o, "by", d->who);
		json_close_object(&o);
		audit_log_append(d->admin->c.audit, wall_now(), d->kind, d->subject, buf_span(&b), NULL, NULL);
	}
	db_end(d->admin->c.db);
}

void api_list_begin(struct api_call *c, struct api_list *l)
{
	*l = (struct api_list){ .limit = c->limit };
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
