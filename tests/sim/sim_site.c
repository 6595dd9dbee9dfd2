/* The gateway of the simulation, in the order of app/gateway.c, and its nodes. */
#include "sim_site.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "directory/map.h"
#include "trust/verdict.h"

enum { LOOK_MS = 20 * SIM_SECOND };

/* ---- where neighbours meet, as app/world.c and app/directory.c ---- */

static const struct device *world_device(void *ctx, const char *id) { return devices_get(((struct site *)ctx)->devices, id); }
static const struct device *world_device_next(void *ctx, const char *after) { return devices_next(((struct site *)ctx)->devices, after); }
static const struct update *world_update(void *ctx, const char *id) { return intake_update(((struct site *)ctx)->intake, id); }
static const struct update *world_update_next(void *ctx, const char *after) { return intake_update_next(((struct site *)ctx)->intake, after); }

static int world_mac_key(void *ctx, const char *device, uint8_t *ret, size_t max)
{
	return devices_mac_key(((struct site *)ctx)->devices, device, ret, max);
}

static void world_installed(void *ctx, const char *device, const struct update *u, const char *version)
{
	struct site *s = ctx;
	struct digest manifest;

	SIM_CHECK(digest_parse(span_str(u->id), &manifest) == 0, "update id %s", u->id);
	for (size_t i = 0; i < u->n_components; i++)
		devices_installed(s->devices, device, SPAN(u->components[i].id, u->components[i].n_id), u->sequence, &manifest, version);
}

static void world_image_lost(void *ctx, const struct digest *d)
{
	intake_image_lost(((struct site *)ctx)->intake, d);
}

static int who(void *ctx, const struct coap_peer *peer, struct span ep, char *ret)
{
	return devices_who(((struct site *)ctx)->devices, peer, ep, wall_now(), ret);
}

static void on_device_changed(void *ctx, const struct device *d)
{
	struct site *s = ctx;

	if (s->rollout)
		rollout_device_changed(s->rollout, d);
}

static void on_device_removed(void *ctx, const char *id)
{
	struct site *s = ctx;

	if (s->rollout)
		rollout_device_removed(s->rollout, id);
}

static void on_forget(void *ctx, const char *identity)
{
	struct site *s = ctx;

	if (s->coap)
		coap_endpoint_forget(s->coap, identity);
}

static int on_psk(void *ctx, struct span identity, uint8_t *ret, size_t max)
{
	return devices_psk(((struct site *)ctx)->devices, identity, ret, max);
}

static void on_heard(void *ctx, const struct coap_peer *peer)
{
	devices_heard(((struct site *)ctx)->devices, peer, wall_now());
}

static enum rollout_policy on_policy(void *ctx, const char *source, const struct update *u)
{
	return ((struct site *)ctx)->c.policy;
}

static void on_update_changed(void *ctx, const struct update *u, enum update_state old)
{
	struct site *s = ctx;

	if (s->rollout)
		rollout_update_changed(s->rollout, u);
}

/* ---- start and stop ---- */

static void start_store(struct site *s)
{
	SIM_CHECK(sim_db_open(s->dir, s->loop, &s->db) == 0, "the database does not open");
	SIM_CHECK(!db_was_reset(s->db), "the database was damaged");
	SIM_CHECK(audit_log_open(s->db, s->dir, "sim", &s->audit) == 0, "the audit log does not open");
	SIM_CHECK(image_cache_open(s->dir, 64 << 20, &s->images) == 0, "the image cache does not open");
	sim_db_set_committed(watch_committed, s);
}

static void build_anchors(struct site *s)
{
	static const char *const any[] = { "any", NULL }, *const none[] = { NULL };
	_cleanup_buf_ struct buf pem = { 0 };
	char error[200];

	SIM_CHECK(sign_key_public_pem(s->key, &pem) == 0, "no public key");
	const struct trust_anchor_config a = { .name = "vendor", .pem = buf_span(&pem), .vendor_ids = any, .class_ids = none, .hosts = none };
	SIM_CHECK(trust_anchors_build(&a, 1, &s->anchors, error, sizeof(error)) == 0, "%s", error);
}

static void start_intake(struct site *s)
{
	s->upstream = vendor_upstream(s);
	int r = intake_open(&(struct intake_config){ .loop = s->loop, .workers = s->workers, .db = s->db, .audit = s->audit, .images = s->images,
		.upstream = s->upstream, .anchors = s->anchors, .image_bytes_max = 16 << 20, .refresh_max_s = 3600, .policy = on_policy,
		.changed = on_update_changed, .ctx = s }, &s->intake);
	SIM_CHECK(r == 0, "the intake does not open: %s", strerror(-r));
}

static void start_directory(struct site *s)
{
	static const char *const listen[] = { "coap://[::1]:5683" };
	const struct registry_limits limits = { .max_endpoints = 1000, .max_links = 100, .max_per_owner = 4, .max_links_bytes = 16384,
						.grace_s = 3600, .lifetime_default_s = REGISTRY_LIFETIME_DEFAULT_S };
	int r = devices_open(&(struct devices_config){ .db = s->db, .open = true, .auto_enrol = true, .changed = on_device_changed,
						       .removed = on_device_removed, .forget = on_forget, .ctx = s }, &s->devices);

	SIM_CHECK(r == 0, "the devices do not open: %s", strerror(-r));
	s->registry = registry_new(&limits, s->db);
	r = registry_load(s->registry, (struct registry_time){ mono_now(), wall_now() });
	SIM_CHECK(r >= 0, "the registry does not open: %s", strerror(-r));
	s->coap = coap_endpoint_new(s->loop, &(struct coap_endpoint_config){ .listen = listen, .n_listen = 1, .psk = on_psk, .psk_ctx = s }, &r);
	coap_endpoint_set_heard(s->coap, on_heard, s);
	r = rd_coap_open(&(struct rd_coap_config){ .loop = s->loop, .endpoint = s->coap, .db = s->db, .registry = s->registry,
		.devices = s->devices, .path = "rd", .lookup_ep_path = "rd-lookup/ep", .lookup_res_path = "rd-lookup/res", .durable = true,
		.max_links_bytes = 16384 }, &s->rd);
	SIM_CHECK(r == 0, "the directory does not open: %s", strerror(-r));
}

static void start_rollout(struct site *s)
{
	s->world = (struct rollout_world){ .device = world_device, .device_next = world_device_next, .update = world_update,
					   .update_next = world_update_next, .mac_key = world_mac_key, .installed = world_installed,
					   .image_lost = world_image_lost, .ctx = s };
	int r = rollout_run_open(&(struct rollout_run_config){ .loop = s->loop, .workers = s->workers, .db = s->db, .audit = s->audit,
		.images = s->images, .world = &s->world, .retry_max = s->c.retry_max, .retry_s = s->c.retry_s, .history_days = 400 },
		&s->rollout);
	SIM_CHECK(r == 0, "the rollout does not open: %s", strerror(-r));
	r = coap_pull_open(&(struct coap_pull_config){ .endpoint = s->coap, .path = "fw", .forward_proxy = true, .offer_max_age_s = 60,
		.source = rollout_run_source(s->rollout), .sink = job_run_sink(rollout_run_jobs(s->rollout)), .who = who, .who_ctx = s }, &s->pull);
	SIM_CHECK(r == 0, "the driver does not open: %s", strerror(-r));
	job_run_add_driver(rollout_run_jobs(s->rollout), s->pull);
}

void site_start(struct site *s)
{
	SIM_CHECK(!s->is_up, "started twice");
	s->loop = loop_new();
	s->workers = worker_pool_new(s->loop, 2);
	start_store(s);
	start_intake(s);
	start_directory(s);
	start_rollout(s);
	s->life++;
	s->is_up = true;
	watch_reopened(s);
	rollout_run_begin(s->rollout);
	intake_begin(s->intake);
	sim_note(4, s->life);
}

static void put_down(struct site *s)
{
	intake_stop(s->intake);
	s->workers = worker_pool_free(s->workers);
	sim_db_let_go(s->db);
	db_flush(s->db);
	s->is_up = false;
	sim_db_set_committed(NULL, NULL);
	s->rollout = rollout_run_close(s->rollout);
	s->pull = s->pull->ops->close(s->pull);
	s->rd = rd_coap_close(s->rd);
	s->coap = coap_endpoint_free(s->coap);
	s->registry = registry_free(s->registry);
	s->devices = devices_close(s->devices);
	s->intake = intake_close(s->intake);
	free(s->upstream);
	s->upstream = NULL;
	s->images = image_cache_close(s->images);
	s->audit = audit_log_close(s->audit);
	s->db = db_close(s->db);
	s->loop = loop_free(s->loop);
}

void site_stop(struct site *s)
{
	put_down(s);
	sim_note(5, s->life);
}

void site_kill(struct site *s)
{
	sim_net_unplug();
	sim_db_die();
	sim_workers_die();
	put_down(s);
	sim_note(6, s->life);
}

/* ---- nodes ---- */

static int64_t sleep_of(const struct site_config *c, unsigned i)
{
	double part = c->n_sleepers > 1 ? (double)i / (c->n_sleepers - 1) : 0;

	return c->sleep_least_ms + (int64_t)((double)(c->sleep_most_ms - c->sleep_least_ms) * part * part);
}

static void node_describe(struct site *s, int i)
{
	static const enum device_proof proofs[] = { PROOF_SIGNATURE, PROOF_MAC, PROOF_NONE };
	struct site_node *n = &s->nodes[i];
	const struct site_config *c = &s->c;
	int64_t sleep_ms = (unsigned)i < c->n_sleepers ? sleep_of(c, (unsigned)i) : 0;

	n->site = s;
	n->index = i;
	(void)snprintf(n->name, sizeof(n->name), "node%02d", i); /* fits */
	n->dir = mem_printf("%s/%s", s->dir, n->name);
	n->is_secure = i % 2;
	for (size_t k = 0; k < SITE_KEY_BYTES; k++) {
		n->psk[k] = (uint8_t)sim_random(256);
		n->mac[k] = (uint8_t)sim_random(256);
	}
	n->trust = (struct node_trust){ .proof = proofs[i % 3], .anchors = s->anchors, .has_vendor = true, .has_class = true };
	memcpy(n->trust.vendor_id, s->vendor_id, 16);
	memcpy(n->trust.class_id, s->class_id, 16);
	n->setup = (struct node_setup){
		.gateway = n->is_secure ? "coaps://[::1]" : "coap://[::1]", .name = n->name, .dir = n->dir,
		.psk_identity = n->is_secure ? n->name : NULL, .psk_key = SPAN_OF(n->psk), .mac_key = SPAN_OF(n->mac), .trust = &n->trust,
		.lifetime_s = c->lifetime_s, .wake_period_s = (uint32_t)(sleep_ms / 1000), .wake_window_s = sleep_ms ? (uint32_t)(c->awake_ms / 1000) : 0,
		.start_sequence = 1, .szx = 6, .by_proxy_uri = i % 5 == 4,
		.plan = { .sleep_ms = sleep_ms, .awake_ms = sleep_ms ? c->awake_ms : 0, .lifetime_ms = (int64_t)c->lifetime_s * 1000,
			  .watch_ms = c->watch_ms, .reboot_ms = 3000, .pause_ms = 1000, .pause_max_ms = 5 * SIM_MINUTE,
			  .answer_ms = 180 * SIM_SECOND, .crash = c->node_crash },
	};
	n->client = coap_client_new(s->outside);
	sim_client_set_id(n->client, i);
}

static void enrol(struct site *s, int i)
{
	struct site_node *n = &s->nodes[i];
	struct credential psk = { .kind = CREDENTIAL_PSK, .roles = ROLE_DEVICE, .n_secret = SITE_KEY_BYTES };
	struct credential mac = { .kind = CREDENTIAL_MAC, .n_secret = SITE_KEY_BYTES };
	struct device d = { .state = DEVICE_ENROLLED, .model = { .has_vendor = true, .has_class = true }, .proof = n->trust.proof };

	(void)text_copy(psk.identity, sizeof(psk.identity), span_str(n->name)); /* short names */
	(void)text_copy(psk.device, sizeof(psk.device), span_str(n->name));
	(void)text_copy(mac.identity, sizeof(mac.identity), span_str(n->name));
	(void)text_copy(d.id, sizeof(d.id), span_str(n->name));
	memcpy(psk.secret, n->psk, SITE_KEY_BYTES);
	memcpy(mac.secret, n->mac, SITE_KEY_BYTES);
	memcpy(d.model.vendor_id, s->vendor_id, 16);
	memcpy(d.model.class_id, s->class_id, 16);
	if (n->trust.proof == PROOF_MAC)
		SIM_CHECK(devices_credential_put(s->devices, &mac, NULL, NULL) == 0, "no MAC key for %s", n->name);
	if (!n->is_secure)
		return; /* it enrols itself, from loopback */
	SIM_CHECK(devices_put(s->devices, &d, wall_now(), NULL, NULL) == 0, "%s cannot be enrolled", n->name);
	SIM_CHECK(devices_credential_put(s->devices, &psk, NULL, NULL) == 0, "no key for %s", n->name);
}

void site_node_start(struct site *s, int i, int64_t spread_ms)
{
	struct site_node *n = &s->nodes[i];

	SIM_CHECK(!n->node, "%s has power already", n->name);
	n->setup.spread_ms = spread_ms;
	n->setup.plan.seed = sim_random(UINT64_MAX);
	SIM_CHECK(node_new(s->outside, n->client, &n->setup, NULL, NULL, &n->node) == 0, "%s does not start", n->name);
}

void site_node_kill(struct site *s, int i)
{
	struct site_node *n = &s->nodes[i];
	struct node_status st = node_status(n->node);

	n->n_updates += st.updates;
	n->n_failures += st.failures;
	n->n_crashes += st.crashes + 1;
	n->n_resumes += st.resumes;
	n->n_boots += st.boots;
	n->node = node_free(n->node);
	sim_note(7, (uint64_t)i);
}

void site_nodes_start(struct site *s, int64_t spread_ms)
{
	for (unsigned i = 0; i < s->c.n_nodes; i++)
		site_node_start(s, (int)i, spread_ms);
}

/* ---- the whole ---- */

static void on_people(void *ctx)
{
	struct site *s = ctx;

	if (s->is_up)
		vendor_look(s);
	loop_timer_set(s->people, sim_between(LOOK_MS / 2, LOOK_MS));
}

static bool enrolled(void *ctx)
{
	return db_queue_length(((struct site *)ctx)->db) == 0;
}

void site_open(struct site *s, const struct site_config *c)
{
	const char *shm = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

	*s = (struct site){ .c = *c };
	(void)map_hash("", 0);                 /* draws its secret once in a process */
	sim_random_restart();
	log_set_max_priority(getenv("DORMOUSE_SIM_LOG") ? LOG_DEBUG : LOG_EMERG);
	(void)snprintf(s->dir, sizeof(s->dir), "%s/dormouse-sim-XXXXXX", shm); /* fits */
	SIM_CHECK(mkdtemp(s->dir), "%s cannot be made", s->dir);
	s->outside = loop_new();
	vendor_open(s);
	build_anchors(s);
	watch_begin(s);
	site_start(s);
	for (unsigned i = 0; i < c->n_nodes; i++) {
		node_describe(s, (int)i);
		enrol(s, (int)i);
	}
	s->people = loop_timer_new(s->outside, on_people, s);
	loop_timer_set(s->people, LOOK_MS);
	SIM_CHECK(sim_run_until(enrolled, s, sim_now() + SIM_MINUTE), "the enrolment is not written");
}

static int rm(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

void site_close(struct site *s)
{
	for (unsigned i = 0; i < s->c.n_nodes; i++) {
		struct site_node *n = &s->nodes[i];
		if (n->node)
			site_node_kill(s, (int)i);
		coap_client_free(n->client);
		free(n->dir);
	}
	if (s->is_up)
		site_stop(s);
	s->people = loop_timer_free(s->people);
	sim_net_end();
	watch_end();
	vendor_close(s);
	trust_anchors_unref(s->anchors);
	s->outside = loop_free(s->outside);
	(void)nftw(s->dir, rm, 16, FTW_DEPTH | FTW_PHYS); /* a leftover in memory is no failure */
}

const struct job *site_job(const struct site *s, int i, const struct release *r)
{
	return job_run_find(rollout_run_jobs(s->rollout), r->id, s->nodes[i].name);
}

bool site_job_is(const struct site *s, int i, const struct release *r, enum job_state state)
{
	const struct job *j = site_job(s, i, r);

	return j && j->state == state;
}

bool site_node_has(const struct site *s, int i, const struct release *r)
{
	const struct site_node *n = &s->nodes[i];

	if (!n->node)
		return false;
	struct node_status st = node_status(n->node);
	return st.sequence == r->sequence && st.phase == NODE_IDLE;
}

bool site_is_settled(void *ctx)
{
	const struct site *s = ctx;
	const struct release *r = site_newest(s);

	if (!s->is_up || !r || db_queue_length(s->db) > 0)
		return false;
	for (int i = 0; i < (int)s->c.n_nodes; i++)
		if (!site_node_has(s, i, r) || !site_job_is(s, i, r, JOB_CONFIRMED))
			return false;
	return true;
}

void site_describe(const struct site *s)
{
	const struct update *u = NULL;

	fprintf(stderr, "gateway %s, life %u\n", s->is_up ? "up" : "down", s->life);
	while (s->is_up && (u = intake_update_next(s->intake, u ? u->id : NULL)))
		fprintf(stderr, "update %.12s sequence %llu %s%s: %s\n", u->id, (unsigned long long)u->sequence, update_state_name(u->state),
			u->approved ? ", approved" : "", u->reason);
	for (unsigned i = 0; i < s->c.n_nodes; i++) {
		const struct site_node *n = &s->nodes[i];
		if (!n->node) {
			fprintf(stderr, "%s without power\n", n->name);
			continue;
		}
		struct node_status st = node_status(n->node);
		fprintf(stderr, "%s %s %s seq %llu, %llu of %llu bytes, sleep %lld s, boots %u checks %u %s;", n->name, node_state_name(st.state),
			node_phase_name(st.phase), (unsigned long long)st.sequence, (unsigned long long)st.received_bytes,
			(unsigned long long)st.total_bytes, (long long)(n->setup.plan.sleep_ms / 1000), st.boots, st.checks, st.reason);
		for (size_t k = 0; s->is_up && k < s->n_releases; k++) {
			const struct job *j = site_job(s, (int)i, &s->releases[k]);
			if (j)
				fprintf(stderr, " %llu: %s (%u, %s)", (unsigned long long)s->releases[k].sequence, job_state_name(j->state), j->attempts,
					j->reason);
		}
		fprintf(stderr, "\n");
	}
}
