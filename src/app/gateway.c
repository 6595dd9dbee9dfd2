#include "app/gateway.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

enum { STATUS_MS = 10000, COAP_SESSIONS_MIN = 64 };

/* ---- settings that a reload may change while everything runs ---- */

static const struct config_policy_row *policy_row(const struct config *c, const struct update *u)
{
	char uuid[TEXT_UUID_BYTES];

	for (size_t i = 0; i < c->n_policies; i++)
		for (size_t k = 0; u->n_components && k < u->components[0].n_class_id; k++)
			if (strcasecmp(c->policies[i].class_id, text_uuid(u->components[0].class_id[k], uuid)) == 0)
				return &c->policies[i];
	return NULL;
}

/* A policy for the model wins over the source's. */
static enum rollout_policy on_policy(void *ctx, const char *source, const struct update *u)
{
	const struct gateway *g = ctx;
	const struct config_policy_row *row = policy_row(g->config, u);

	if (row)
		return row->policy == CONFIG_AUTO ? POLICY_AUTO : POLICY_APPROVE;
	for (size_t i = 0; i < g->config->n_sources; i++)
		if (strcmp(g->config->sources[i].name, source) == 0)
			return g->config->sources[i].policy == CONFIG_AUTO ? POLICY_AUTO : POLICY_APPROVE;
	return POLICY_APPROVE;
}

static void on_update_changed(void *ctx, const struct update *u, enum update_state old)
{
	struct gateway *g = ctx;

	(void)old;
	if (g->rollout)
		rollout_update_changed(g->rollout, u);
}

/* ---- sources' memory in the store ---- */

struct memory_search {
	const char *name;
	struct upstream_memory *ret;
	bool found;
};

static int on_memory_row(void *ctx, const struct source_row *row)
{
	struct memory_search *s = ctx;

	if (strcmp(row->name, s->name) != 0)
		return 0;
	*s->ret = (struct upstream_memory){ .last_envelope = row->last_envelope, .polled_at = row->polled_at };
	(void)text_copy(s->ret->etag, sizeof(s->ret->etag), span_str(row->etag));        /* what does not fit was not stored */
	(void)text_copy(s->ret->last_modified, sizeof(s->ret->last_modified), span_str(row->last_modified));
	s->found = true;
	return 0;
}

static bool on_recall_memory(void *ctx, const char *source, struct upstream_memory *ret)
{
	struct gateway *g = ctx;
	struct memory_search s = { .name = source, .ret = ret };

	return source_store_load(g->db, on_memory_row, &s) == 0 && s.found;
}

static void on_remember(void *ctx, const char *source, const struct upstream_memory *m)
{
	struct gateway *g = ctx;

	source_store_put(g->db, &(struct source_row){ .name = source, .etag = m->etag, .last_modified = m->last_modified,
						      .last_envelope = m->last_envelope, .polled_at = m->polled_at }, NULL, NULL);
}

static void on_found(void *ctx, const char *source, const char *uri, struct span envelope, upstream_taken_fn *taken, void *arg)
{
	struct gateway *g = ctx;

	intake_found(g->intake, source, uri, envelope, taken, arg);
}

/* ---- signals, status ---- */

static void on_signal(void *ctx, int signo)
{
	struct gateway *g = ctx;
	_cleanup_buf_ struct buf text = { 0 };

	if (signo == SIGHUP)
		(void)gateway_reload(g, &text); /* logged there */
	else
		loop_stop(g->loop);
}

static void on_status(void *ctx)
{
	struct gateway *g = ctx;

	service_status(g->service, "%zu endpoints, %zu updates, %zu jobs", registry_counts(g->registry).n_endpoints,
		       intake_update_count(g->intake), job_run_total(rollout_run_jobs(g->rollout)));
	loop_timer_set(g->status_timer, STATUS_MS);
}

static void on_db(void *ctx, int fd, unsigned what)
{
	struct gateway *g = ctx;

	(void)fd;
	(void)what;
	db_dispatch(g->db);
}

static const char *on_coap_address(void *ctx, size_t i)
{
	struct gateway *g = ctx;

	return coap_endpoint_address(g->coap, i);
}

static int on_reload(void *ctx, struct buf *ret)
{
	return gateway_reload(ctx, ret);
}

/* ---- the modules: each has a start, and a stop that is safe when it was never started ---- */

static int start_loop(struct gateway *g, struct buf *error)
{
	static const int signals[] = { SIGHUP, SIGTERM, SIGINT };

	g->loop = loop_new();
	if (!g->loop) {
		buf_printf(error, "no event loop\n");
		return -ENOMEM;
	}
	for (size_t i = 0; i < 3; i++)
		g->signals[i] = loop_signal_new(g->loop, signals[i], on_signal, g);
	g->service = service_new(g->loop);
	g->status_timer = loop_timer_new(g->loop, on_status, g);
	g->workers = worker_pool_new(g->loop, g->config->worker.threads);
	return g->workers ? 0 : -ENOMEM;
}

static void stop_loop(struct gateway *g)
{
	loop_timer_free(g->status_timer);
	g->service = service_free(g->service);
	for (size_t i = 0; i < 3; i++)
		loop_signal_free(g->signals[i]);
	g->loop = loop_free(g->loop);
}

static int start_store(struct gateway *g, struct buf *error)
{
	int r = db_open(g->config->state_dir, &g->db);

	if (r < 0) {
		buf_printf(error, "%s: the database cannot be opened: %s\n", g->config->state_dir,
			   r == -ENOTSUP ? "it is of a newer dormoused, or of another program" : strerror(-r));
		return r;
	}
	if (db_was_reset(g->db))
		log_event(EV_STORE_FAILED, LOG_CRIT, "the database in %s was damaged and set aside; a new one was begun. Devices and credentials "
			  "must be restored from a backup", g->config->state_dir);
	g->db_io = loop_io_new(g->loop, db_fd(g->db), LOOP_READ, on_db, g);
	r = audit_log_open(g->db, g->config->state_dir, g->config->audit.origin, &g->audit);
	if (r < 0) {
		buf_printf(error, "%s: the audit log cannot be opened: %s\n", g->config->state_dir, strerror(-r));
		return r;
	}
	r = image_cache_open(g->config->state_dir, g->config->cache.quota_bytes, &g->images);
	if (r < 0)
		buf_printf(error, "%s: the image cache cannot be opened: %s\n", g->config->state_dir, strerror(-r));
	return r;
}

static void stop_store(struct gateway *g)
{
	g->images = image_cache_close(g->images);
	g->audit = audit_log_close(g->audit);
	if (g->db_io)
		loop_io_free(g->db_io);
	g->db = db_close(g->db);
}

static int start_intake(struct gateway *g, struct buf *error)
{
	const struct config *c = g->config;

	int r = gateway_anchors_load(c, &g->anchors, error);
	if (r < 0)
		return r;
	g->http = http_client_new(g->loop);
	g->revocation = revocation_source_new(&(struct revocation_source_config){
		.loop = g->loop, .http = g->http, .timeout_s = c->revocation.timeout_s, .allow_private = c->revocation.allow_private });
	g->upstream = upstream_new(&(struct upstream_config){
		.loop = g->loop, .workers = g->workers, .http = g->http, .envelope_bytes_max = c->cache.envelope_max_bytes, .found = on_found,
		.recall = on_recall_memory, .remember = on_remember, .ctx = g });
	r = intake_open(&(struct intake_config){
		.loop = g->loop, .workers = g->workers, .db = g->db, .audit = g->audit, .images = g->images, .upstream = g->upstream,
		.revocation = g->revocation, .anchors = g->anchors, .image_bytes_max = c->cache.image_max_bytes,
		.refresh_max_s = c->revocation.refresh_max_s, .status_age_max_s = c->revocation.max_age_s, .policy = on_policy,
		.changed = on_update_changed, .ctx = g }, &g->intake);
	if (r < 0) {
		buf_printf(error, "stored updates cannot be read: %s\n", strerror(-r));
		return r;
	}
	return gateway_crls_load(c, g->intake, error);
}

static void stop_intake(struct gateway *g)
{
	g->revocation = revocation_source_free(g->revocation);
	g->intake = intake_close(g->intake);
	g->upstream = upstream_free(g->upstream);
	g->http = http_client_free(g->http);
	trust_anchors_unref(g->anchors);
	g->anchors = NULL;
}

static int start_rollout(struct gateway *g, struct buf *error)
{
	const struct config *c = g->config;

	gateway_world_init(g);
	int r = rollout_run_open(&(struct rollout_run_config){
		.loop = g->loop, .workers = g->workers, .db = g->db, .audit = g->audit, .images = g->images, .world = &g->world,
		.retry_max = c->rollout.retry_max, .retry_s = c->rollout.retry_s, .history_days = c->rollout.history_days }, &g->rollout);
	if (r < 0) {
		buf_printf(error, "stored jobs cannot be read: %s\n", strerror(-r));
		return r;
	}
	gateway_lowpan_attach(g);
	r = coap_pull_open(&(struct coap_pull_config){
		.endpoint = g->coap, .path = c->delivery.path, .forward_proxy = c->coap.forward_proxy,
		.offer_max_age_s = c->delivery.offer_max_age_s, .source = rollout_run_source(g->rollout),
		.sink = gateway_sink(g), .who = gateway_who, .who_ctx = g,
		.wait = gateway_lowpan_wait, .wait_ctx = g }, &g->coap_pull);
	if (r < 0) {
		buf_printf(error, "delivery.path \"%s\": %s\n", c->delivery.path, strerror(-r));
		return r;
	}
	job_run_add_driver(rollout_run_jobs(g->rollout), g->coap_pull);
	r = gateway_smp_start(g);
	if (r == 0)
		r = gateway_nordic_start(g);
	if (r < 0)
		return r;
	return gateway_multicast_start(g, error);
}

static void stop_rollout(struct gateway *g)
{
	g->rollout = rollout_run_close(g->rollout);
	gateway_multicast_stop(g); /* hands nothing over any more */
	gateway_nordic_stop(g);
	gateway_smp_stop(g);
	if (g->coap_pull)
		g->coap_pull = g->coap_pull->ops->close(g->coap_pull);
}

static const char *on_ble_device(void *ctx, const char *node)
{
	return gateway_ble_device_of(ctx, node);
}

static int start_admin(struct gateway *g, struct buf *error)
{
	return admin_open(&(struct admin_config){
		.loop = g->loop, .workers = g->workers, .config = g->config, .db = g->db, .devices = g->devices, .registry = g->registry,
		.intake = g->intake, .rollout = g->rollout, .upstream = g->upstream, .images = g->images, .audit = g->audit, .coap = g->coap, .multicast = g->multicast,
		.ble = g->ble, .ble_device = on_ble_device, .lowpan = g->lowpan,
		.pages = gateway_ble_pages(g), .reload = on_reload, .coap_address = on_coap_address, .ctx = g }, &g->admin, error);
}

static void stop_admin(struct gateway *g)
{
	g->admin = admin_close(g->admin);
}

static const struct {
	const char *name;
	int (*start)(struct gateway *g, struct buf *error);
	void (*stop)(struct gateway *g);
} modules[] = {
	{ "loop", start_loop, stop_loop },
	{ "store", start_store, stop_store },
	{ "intake", start_intake, stop_intake },
	{ "lowpan", gateway_lowpan_start, gateway_lowpan_stop },
	{ "directory", gateway_directory_start, gateway_directory_stop },
	{ "ble", gateway_ble_start, gateway_ble_stop },
	{ "rollout", start_rollout, stop_rollout },
	{ "ble resources", gateway_ble_resources_start, gateway_ble_resources_stop },
	{ "admin", start_admin, stop_admin },
};

enum { MODULES = sizeof(modules) / sizeof(*modules) };

int gateway_log_priority(const struct config *c)
{
	static const char *const names[] = { [LOG_ERR] = "error", [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice", [LOG_INFO] = "info",
					     [LOG_DEBUG] = "debug" };

	for (int i = LOG_ERR; i <= LOG_DEBUG; i++)
		if (strcmp(c->log.level, names[i]) == 0)
			return i;
	return LOG_INFO;
}

int gateway_start(struct gateway *g, struct config *config)
{
	_cleanup_buf_ struct buf error = { 0 };
	int r = 0;

	g->config = config;
	for (size_t i = 0; i < MODULES && r >= 0; i++) {
		r = modules[i].start(g, &error);
		g->n_started = i + 1;
		if (r < 0)
			log_event(EV_GENERIC, LOG_CRIT, "%s did not start: %s", modules[i].name, error.n ? buf_str(&error) : strerror(-r));
	}
	if (r < 0) {
		gateway_stop(g);
		return r;
	}
	rollout_run_begin(g->rollout);
	if (g->multicast)
		multicast_begin(g->multicast);
	intake_begin(g->intake);
	/* A source that cannot start is listed with its error; the rest goes on. */
	if (upstream_apply(g->upstream, config->sources, config->n_sources, &error) < 0 || error.n)
		log_event(EV_SOURCE_FAILED, LOG_ERR, "%s", buf_str(&error));
	on_status(g);
	return 0;
}

int gateway_run(struct gateway *g)
{
	const char *address;

	for (size_t i = 0; (address = coap_endpoint_address(g->coap, i)); i++)
		log_event(EV_GENERIC, LOG_INFO, "listening on %s", address);
	for (size_t i = 0; (address = admin_http_address(g->admin, i)); i++)
		log_event(EV_GENERIC, LOG_INFO, "listening on %s", address);
	log_event(EV_STARTED, LOG_NOTICE, "dormoused %s is ready, state in %s", DORMOUSE_VERSION, g->config->state_dir);
	service_ready(g->service);
	int r = loop_run(g->loop);
	service_stopping(g->service);
	log_event(EV_STOPPED, LOG_NOTICE, "dormoused stops");
	return r;
}

void gateway_stop(struct gateway *g)
{
	/* Nobody may be told of changes by what stops later. */
	if (g->intake)
		intake_stop(g->intake);
	g->workers = worker_pool_free(g->workers); /* its last jobs end while everything they report to is alive */
	if (g->db)
		db_flush(g->db); /* and so do the last commits */
	while (g->n_started > 0)
		modules[--g->n_started].stop(g);
	g->config = config_free(g->config);
}
