/* tests/sim/sim_site.h - a site in virtual time: a gateway put together as app/gateway.c does it (the real directory,
 * intake, rollout, delivery and store), a vendor who publishes, an operator, and real nodes. While it runs it is watched:
 * the checks that hold in every story are made here, at the instant at which they could break. */
#pragma once
#include "delivery/coap_pull.h"
#include "directory/devices.h"
#include "directory/rd_coap.h"
#include "intake/intake.h"
#include "node/node.h"
#include "rollout/rollout_run.h"
#include "sim_net.h"
#include "sim_store.h"
#include "store/image_cache.h"
#include "trust/sign.h"

enum { SITE_NODES_MAX = 64, SITE_RELEASES_MAX = 8, SITE_JOBS_MAX = 1024, SITE_KEY_BYTES = 16 };

struct site_config {
	unsigned n_nodes, n_sleepers;          /* the first so many sleep */
	int64_t sleep_least_ms, sleep_most_ms; /* spread over these, more of the short ones */
	int64_t awake_ms, watch_ms;
	struct sim_faults faults;
	uint32_t retry_max, retry_s, lifetime_s;
	double node_crash;                     /* struct node_plan */
	size_t image_bytes;
	enum rollout_policy policy;
	double payload_failure;                /* of a piece from the vendor */
};

struct release {                               /* what the vendor published */
	struct site *site;
	uint64_t sequence;
	struct buf envelope, image;
	struct digest image_digest;
	char id[UPDATE_ID_BYTES], uri[64];
	unsigned taken_by;                     /* life of the gateway that has it; 0 = none */
	bool is_offering;
	bool wants_approval, is_approved;      /* the operator decided; the gateway acknowledged */
	bool wants_recall, is_recalled;
	int64_t recalled_at;
};

struct site_node {
	struct site *site;
	int index;
	char name[16];
	char *dir;
	struct node_trust trust;
	struct node_setup setup;
	bool is_secure;
	uint8_t psk[SITE_KEY_BYTES], mac[SITE_KEY_BYTES];
	struct coap_client *client;
	struct node *node;                     /* NULL: without power, by sim_site_node_kill() */
	/* watched */
	unsigned installed[SITE_RELEASES_MAX]; /* became what runs */
	unsigned blocks[SITE_RELEASES_MAX];    /* asked for, without retransmissions */
	uint64_t sequence;
	unsigned n_updates, n_failures, n_crashes, n_resumes, n_boots;         /* of lives that ended */
	char location[32];                     /* acknowledged */
	int64_t location_until;
};

struct job_mark {
	char id[JOB_ID_BYTES];
	enum job_state state;
	unsigned attempts;
};

struct update_mark {
	char id[UPDATE_ID_BYTES];
	enum update_state state;
	bool approved;
};

struct registration_mark {
	char location[REGISTRY_LOCATION_BYTES];
	int64_t deadline;
};

struct site {
	struct site_config c;
	char dir[64];
	/* the gateway; life counts its starts */
	unsigned life;
	bool is_up;
	struct loop *loop;
	struct worker_pool *workers;
	struct db *db;
	struct audit_log *audit;
	struct image_cache *images;
	struct upstream *upstream;
	struct trust_anchors *anchors;
	struct intake *intake;
	struct devices *devices;
	struct registry *registry;
	struct coap_endpoint *coap;
	struct rd_coap *rd;
	struct rollout_world world;
	struct rollout_run *rollout;
	struct delivery_driver *pull;
	/* the vendor and the operator */
	struct loop *outside;
	struct sign_key *key;
	uint8_t vendor_id[16], class_id[16];
	struct release releases[SITE_RELEASES_MAX];
	size_t n_releases;
	struct loop_timer *people;
	/* the nodes */
	struct site_node nodes[SITE_NODES_MAX];
	/* what is on disk: copied from memory at the instant of each commit */
	struct job_mark jobs[SITE_JOBS_MAX];
	size_t n_jobs;
	struct update_mark updates[SITE_RELEASES_MAX];
	size_t n_updates;
	struct registration_mark registrations[SITE_NODES_MAX * 2];
	size_t n_registrations;
	unsigned n_commits, n_sent_asleep;
	/* more eyes of a test; may be NULL */
	void (*answered)(void *ctx, const struct sim_answer *a);
	void *answered_ctx;
};

/* A new directory, the gateway started, the nodes known to it but without power. */
void site_open(struct site *s, const struct site_config *c);
/* Stops all in good order and removes the directory. */
void site_close(struct site *s);

void site_start(struct site *s);
void site_stop(struct site *s);                /* as SIGTERM */
void site_kill(struct site *s);                /* as SIGKILL: what was not committed never was */

void site_node_start(struct site *s, int i, int64_t spread_ms);
void site_node_kill(struct site *s, int i);    /* the power goes, whatever it does */
void site_nodes_start(struct site *s, int64_t spread_ms);

/* The vendor puts an update up; the gateway finds it by itself. */
size_t site_publish(struct site *s, uint64_t sequence);
void site_approve(struct site *s, size_t release);     /* asked again and again until the gateway acknowledges */
void site_recall(struct site *s, size_t release);

const struct release *site_newest(const struct site *s);       /* not recalled */
const struct release *site_release_of_image(const struct site *s, struct span hex);
/* Does the node run this release, to the last byte, and does the gateway know? */
bool site_node_has(const struct site *s, int i, const struct release *r);
bool site_job_is(const struct site *s, int i, const struct release *r, enum job_state state);
const struct job *site_job(const struct site *s, int i, const struct release *r);
/* Every node runs the newest and every one of its jobs is confirmed; sim_run_until() takes it. */
bool site_is_settled(void *site);
/* Says on standard error where every node stands. */
void site_describe(const struct site *s);

/* sim_vendor.c */
void vendor_open(struct site *s);
void vendor_close(struct site *s);
struct upstream *vendor_upstream(struct site *s);
void vendor_look(struct site *s);              /* sources poll, the operator tries again */
/* sim_watch.c */
void watch_begin(struct site *s);
void watch_committed(void *site);
void watch_reopened(struct site *s);           /* is all there that was on disk, and nothing else? */
void watch_end(void);
