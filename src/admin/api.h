/* admin/api.h - internal to admin/: one call of the API, whatever brought it, and the route table's shape. A route
 * function answers exactly once, now or later. */
#pragma once
#include "admin/admin.h"
#include "codec/json.h"
#include "io/http_server.h"
#include "radio/ble.h"
#include "store/device_store.h"

enum { API_PARAMS_MAX = 2, API_PARAM_BYTES = 200, API_LIMIT_DEFAULT = 100, API_LIMIT_MAX = 1000, API_WHO_BYTES = 96 };

enum { API_PAIRINGS_MAX = 16 };

/* What became of a pairing, or of forgetting a bond, that somebody asked for. */
struct api_pairing {
	enum { API_PAIRING_NONE, API_PAIRING_GOING, API_PAIRING_DONE, API_PAIRING_FAILED } state;
	uint8_t address[BLE_ADDRESS_BYTES];
	bool is_unpair;
	char why[BLE_REASON_BYTES];
	bool has_passkey, is_wanted;           /* is_wanted: the node shows it, a person tells us */
	uint32_t passkey;
	struct mono at;
};

struct events_stream;

struct admin {
	struct admin_config c;
	const struct config *config;
	struct http_server *http;
	struct events_stream *events;
	char *token;                           /* bearer token; NULL = none */
	struct wall started_at;
	size_t n_refused;                      /* requests without the right to ask */
	struct mono refused_at;                /* the last that was logged */
	struct api_pairing pairings[API_PAIRINGS_MAX];
};

/* At most one line a second: whoever is refused does not fill the log. */
void admin_log_refused(struct admin *a, const char *peer, const char *what);

struct api_call {
	struct admin *admin;
	enum http_method method;
	char param[API_PARAMS_MAX][API_PARAM_BYTES];   /* what stands for {id} in the route */
	unsigned roles;                        /* enum credential_role bits the caller has */
	char who[API_WHO_BYTES];               /* for the audit log: "unix:1000", "token@127.0.0.1:80", "coaps:alice" */
	const struct json_value *body;         /* NULL = none */
	struct json_doc *doc;
	const char *(*query)(struct api_call *c, const char *key);     /* NULL = absent */
	size_t limit;                          /* of a list: ?limit=, checked */
	void (*reply)(struct api_call *c, int status, const char *type, struct span body);     /* frees what is the face's */
	void *face;                            /* of the face that made the call */
	unsigned allow;                        /* enum http_method bits: what the path knows, when answering 405 */
	bool is_coap;
};

typedef void api_fn(struct api_call *c);

enum api_answer { API_ITEM, API_LIST, API_OK, API_STARTED };   /* 200 with an object, a list, {"ok":true}; 202: goes on */

struct api_route {
	enum http_method method;
	const char *path;                      /* below /api/v1/: "updates/{id}/approve" */
	unsigned role;                         /* ROLE_VIEWER or ROLE_ADMIN */
	bool is_http_only;                     /* manages secrets, or answers at length: not over CoAP */
	api_fn *fn;
	enum api_answer answer;
	const char *summary;                   /* one line, for the OpenAPI document; and these: */
	const char *query;                     /* "state device": what else ?...= is understood; NULL = nothing */
	const char *body;                      /* "name:string wake:object": members of the request's object; NULL = none is read */
};

/* api.c */
struct api_call *api_call_new(struct admin *a);
/* Find and run; answers in every case. path is below /api/v1/. */
void api_run(struct api_call *c, const char *path);
/* A face's own route lookups: NULL past the end. */
const struct api_route *api_route_at(size_t i);
void api_reply_json(struct api_call *c, int status, struct buf *json);         /* moves out of json */
void api_reply_problem(struct api_call *c, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* done callback of a store write that answers 200 {"ok":true} or 503. ctx is the call. */
void api_reply_stored(void *ctx, int error);

/* What a person does goes into the audit log with who did it, committed as one with what is stored in between. The call may
 * have been answered by then. */
struct api_deed {
	struct admin *admin;
	const char *kind, *action;             /* "device", "enrol" */
	char subject[API_PARAM_BYTES], who[API_WHO_BYTES];
};
struct api_deed api_deed_begin(struct api_call *c, const char *kind, const char *action);      /* subject: the call's first parameter */
void api_deed_end(struct api_deed *d, bool done);      /* false: it was refused, nothing is written */

/* A list answer: {"items":[...],"total":N,"next":ID or null}; every API list has this shape. */
struct api_list {
	struct buf b;
	struct json_out o;
	size_t limit, n;
	char next[API_PARAM_BYTES];            /* the last item's key when there are more */
};
void api_list_begin(struct api_call *c, struct api_list *l);
bool api_list_full(const struct api_list *l);
void api_list_end(struct api_call *c, struct api_list *l, uint64_t total);
const char *api_after(struct api_call *c);     /* the ?after= key; NULL = from the start */

void api_put_wall(struct json_out *o, const char *key, struct wall t);         /* RFC 3339, or null for zero */

/* api_updates.c */
void api_reply_no_update(struct api_call *c, const char *prefix, int error);   /* of intake_update_find() */
api_fn api_updates_list, api_update_show, api_update_verdict, api_update_approve, api_update_recall, api_images_list, api_revocation_refresh;
/* api_jobs.c */
int api_job_find(struct admin *a, const char *prefix, const struct job **ret);     /* 0, -ENOENT, -ENOTUNIQ */
api_fn api_jobs_list, api_job_show, api_job_retry, api_job_cancel, api_rollouts_list, api_rollout_show, api_why_not;
/* api_devices.c */
api_fn api_devices_list, api_device_show, api_device_put, api_device_delete, api_device_state, api_endpoints_list, api_endpoint_show,
	api_endpoint_delete, api_credentials_list, api_credential_put, api_credential_delete;
/* api_system.c */
api_fn api_status, api_health, api_sources_list, api_source_poll, api_reload, api_audit_list, api_audit_checkpoint, api_audit_prove, api_audit_key;
/* api_multicast.c */
api_fn api_multicast_groups, api_multicast_rekey, api_multicast_sessions, api_multicast_session, api_multicast_members, api_multicast_pause,
	api_multicast_resume, api_multicast_abort;
/* api_ble.c */
api_fn api_ble_adapters, api_ble_nodes, api_ble_node, api_ble_pair, api_ble_passkey, api_ble_unpair;
/* api_radios.c */
api_fn api_radios_list, api_radio_show;
/* events_stream.c */
api_fn api_events_recent;

/* events_stream.c: the last events in a ring, and who is reading along. */
struct events_stream *events_stream_open(struct loop *l);
struct events_stream *events_stream_close(struct events_stream *s);
/* GET /api/v1/events: from Last-Event-ID, or the last `last` ones, then live; types: "job-state,update-state" or NULL. */
void events_stream_serve(struct events_stream *s, struct http_exchange *x, const char *last_event_id, const char *last, const char *types);

/* coap_admin.c: the same routes as CBOR below /admin, over coaps. */
int coap_admin_open(struct admin *a);
/* An answer's JSON as CBOR, item by item; ret goes bad when it is nested too deep. */
void coap_admin_encode(const struct json_value *v, struct buf *ret);
/* A request body as JSON: one flat map of text to text, integer or boolean. -EBADMSG. */
int coap_admin_decode(struct span in, struct buf *ret);
/* openapi.c */
void openapi_render(struct buf *ret);
