/* delivery/multicast.h - the driver "multicast": one transmission for a whole group (man/dormouse-multicast.7).
 *
 * start() puts the order into the gathering session of (group of the device, manifest, image); after gather_s, or when everybody
 * expected is there, the members are set up over the sessions they opened themselves (POST /mc), and delivery/mcast_session decides
 * what is sent when. A member that refuses, stays silent or is given up is handed to the unicast driver. What nodes ask:
 *   POST mc/r   report (rt=mcd.r)         GET mc/s   the setup map of its session (rt=mcd.s, observable)
 *   GET  mc/t   digests of generations    GET mc/i   the object, Block2 from any position
 *   GET  mc/e   the envelope as this device gets it    POST mc/m   missing blocks (content-format 272)
 * A node's report of its update comes to fw/r as with coap-pull.
 *
 * Only updates with one image go by multicast; start() hands others to the unicast driver. Every session and every group's key is
 * persisted before it is used, so that a gateway that was killed goes on. Loop thread; hashing is done by the workers. */
#pragma once
#include <net/if.h>

#include "delivery/coap_pull.h"
#include "delivery/delivery.h"
#include "io/coap_multicast.h"
#include "io/worker.h"

enum {
	MULTICAST_GROUPS_MAX = 32, MULTICAST_NAME_BYTES = 32, MULTICAST_SESSIONS_MAX = 64, MULTICAST_MEMBERS_MAX = 4096,
	MULTICAST_SID_BYTES = 8, MULTICAST_KEY_BYTES = 16, MULTICAST_RETRY_MS = 5000,
	MULTICAST_OBJECT_BYTES_MAX = 4 * 1024 * 1024,                  /* 256 generations of K = 256 fragments of 64 bytes */
};

/* ---- configuration ---- */
struct multicast_group_config {                /* copied */
	char name[MULTICAST_NAME_BYTES];       /* stable: keys and counters are kept by it */
	char interface[IF_NAMESIZE];
	uint8_t address[COAP_MULTICAST_ADDRESS_BYTES];
	uint16_t port;
	uint8_t hop_limit;
	uint32_t pace_ms, slot_ms;             /* between frames; a report slot */
	uint32_t min_members;                  /* a gathering that ends with fewer goes by unicast */
	uint32_t window_start_s, window_s, window_period_s, window_count;      /* 0 s = no windows: always awake */
	uint16_t fragment_bytes;               /* Z; 0 = 64 */
	bool is_open;                          /* members may be set up, with the group key, over plain CoAP: demo and tests */
};

/* ---- what is kept (app wires it to store/mcast_store) ---- */
struct multicast_group_record {
	char name[MULTICAST_NAME_BYTES];
	uint32_t gid;                          /* of the key in use; grows */
	uint8_t key[MULTICAST_KEY_BYTES];
	bool has_old;                          /* the key before, still accepted */
	uint32_t old_gid;
	uint8_t old_key[MULTICAST_KEY_BYTES];
	int64_t old_until;                     /* wall seconds */
	uint32_t counter;                      /* of sessions: the last one used */
	double baseline[5];                    /* loss of the last sessions, newest first; < 0 = none */
	uint32_t n_members;                    /* who holds the key in use */
	char (*members)[DEVICE_ID_BYTES];      /* borrowed for the call */
};

struct multicast_session_record {
	uint8_t sid[MULTICAST_SID_BYTES];
	char group[MULTICAST_NAME_BYTES];
	struct digest manifest, image;
	struct span snapshot;                  /* of the driver and of delivery/mcast_session; borrowed for the call */
};

typedef void multicast_stored_fn(void *arg, int error);
typedef int multicast_group_row_fn(void *arg, const struct multicast_group_record *g);
typedef int multicast_session_row_fn(void *arg, const struct multicast_session_record *s);

/* Saves answer after the commit; done may be NULL. */
struct multicast_store {
	int (*load_groups)(void *ctx, multicast_group_row_fn *fn, void *arg);
	int (*load_sessions)(void *ctx, multicast_session_row_fn *fn, void *arg);
	void (*save_group)(void *ctx, const struct multicast_group_record *g, multicast_stored_fn *done, void *arg);
	void (*save_session)(void *ctx, const struct multicast_session_record *s, multicast_stored_fn *done, void *arg);
	void (*remove_session)(void *ctx, const uint8_t sid[static MULTICAST_SID_BYTES], multicast_stored_fn *done, void *arg);
	void *ctx;
};

/* ---- the driver ---- */
struct multicast_config {
	struct loop *loop;
	struct worker_pool *workers;
	struct coap_endpoint *endpoint;
	struct delivery_driver *unicast;       /* coap-pull; borrowed */
	const char *path;                      /* "mc" */
	uint32_t gather_s, lifetime_s;         /* 60; 604800 */
	uint32_t credit, carousel, rounds;     /* C16's; 0 = its default */
	const struct multicast_group_config *groups;
	size_t n_groups;
	struct delivery_source source;
	struct delivery_sink sink;
	coap_pull_who_fn *who;
	void *who_ctx;
	/* The group of this device by configuration and by what it registered (rt=mcd.n): its index in groups, or -ENOENT. */
	int (*group_of)(void *ctx, const char *device);
	/* Every device that group_of() would put into this group, for who is expected; NULL after = first, NULL = no more. */
	const char *(*group_next)(void *ctx, size_t group, const char *after);
	void *world_ctx;
	struct multicast_store store;
	uint64_t seed;                         /* 0 = random */
};

int multicast_open(const struct multicast_config *c, struct delivery_driver **ret);
/* After every open job was started again (delivery.h): sessions that were under way go on, those nobody ordered any more end. */
void multicast_begin(struct delivery_driver *drv);
/* A reload: groups by name; one that is gone ends its sessions (members go to unicast). Copied. */
void multicast_set_groups(struct delivery_driver *drv, const struct multicast_group_config *groups, size_t n);
/* A device talked over this session: the way to reach it. app calls it from the endpoint's heard callback. */
void multicast_heard(struct delivery_driver *drv, const struct coap_peer *peer, const char *device);
/* A device left (removed, retired, quarantined, its credential changed): out of every session, and its groups get new keys. */
void multicast_device_gone(struct delivery_driver *drv, const char *device);
/* A foreground exchange timed out on this interface: hold back for a second (C9). */
void multicast_yield(struct delivery_driver *drv, const char *interface);

/* ---- for rollout's choice (facts, no decision) ---- */
struct multicast_facts {
	bool in_group;                         /* by configuration, and registered rt=mcd.n */
	const char *group;                     /* name; borrowed */
	bool is_up;                            /* its interface is there */
	uint32_t min_members, pace_ms;
	bool refused;                          /* this device refused or was silent in the last session of this manifest */
	bool is_in_session;                    /* of this manifest */
};
void multicast_facts_get(const struct delivery_driver *drv, const char *device, const struct digest *manifest, struct multicast_facts *ret);

/* ---- for admin ---- */
struct multicast_group_view {
	const char *name, *interface;
	uint8_t address[COAP_MULTICAST_ADDRESS_BYTES];
	uint16_t port;
	uint8_t hop_limit;
	uint32_t gid, counter, n_members, pace_ms, min_members;
	bool is_up;
	int error;                             /* why not; 0 */
	size_t n_sessions;
};

enum multicast_member_state {
	MULTICAST_MEMBER_WAITING,              /* not set up yet */
	MULTICAST_MEMBER_JOINED, MULTICAST_MEMBER_READY,
	MULTICAST_MEMBER_PULLING,              /* by unicast from mc/i, what it lacks */
	MULTICAST_MEMBER_REFUSED, MULTICAST_MEMBER_SILENT, MULTICAST_MEMBER_GIVEN_UP,
	MULTICAST_MEMBER_GONE,                 /* cancelled */
	MULTICAST_MEMBER_STATES,
};
const char *multicast_member_state_name(enum multicast_member_state s);

struct multicast_session_view {
	uint8_t sid[MULTICAST_SID_BYTES];
	const char *group;
	struct digest manifest, image;
	const char *phase;                     /* "gathering", "preparing", then mcast_session's words */
	const char *pause;                     /* why it is paused; NULL = it is not */
	uint64_t object_bytes;
	uint32_t fragment_bytes, k, n_generations, n_fragments;
	size_t n_members, n_state[MULTICAST_MEMBER_STATES];
	double loss;                           /* p^; < 0 = not known yet */
	uint32_t deficit;                      /* sum over generations of the highest one reported */
	uint64_t frames, data_frames, parity_rows, control_frames, frame_bytes;         /* sent so far */
	double bound_frames, ratio;            /* what theory asks for with this loss; frames over it; 0 = not known yet */
	int64_t airtime_ms;                    /* frames at the pace used */
	int64_t eta_s;                         /* < 0 = not known */
	unsigned round;
	struct mono began;
};

struct multicast_member_view {
	const char *device, *job;
	enum multicast_member_state state;
	uint32_t deficit;                      /* as last reported */
	uint32_t loss_permille, flags, n_reports;
	int64_t heard_ago_s;                   /* < 0 = never */
	unsigned refusal;                      /* codec/mcast_message's ack code, when refused */
};

/* Return false to stop. Borrowed for the call; change nothing inside. */
typedef bool multicast_group_view_fn(void *arg, const struct multicast_group_view *v);
typedef bool multicast_session_view_fn(void *arg, const struct multicast_session_view *v);
typedef bool multicast_member_view_fn(void *arg, const struct multicast_member_view *v);
void multicast_groups(const struct delivery_driver *drv, multicast_group_view_fn *fn, void *arg);
void multicast_sessions(const struct delivery_driver *drv, multicast_session_view_fn *fn, void *arg);
int multicast_members(const struct delivery_driver *drv, const uint8_t sid[static MULTICAST_SID_BYTES], multicast_member_view_fn *fn,
		      void *arg);              /* -ENOENT */
/* By a person. -ENOENT no such session; -EALREADY. abort: END 1, members go to unicast. */
int multicast_pause(struct delivery_driver *drv, const uint8_t sid[static MULTICAST_SID_BYTES]);
int multicast_resume(struct delivery_driver *drv, const uint8_t sid[static MULTICAST_SID_BYTES]);
int multicast_abort(struct delivery_driver *drv, const uint8_t sid[static MULTICAST_SID_BYTES]);
/* A new key and gid for the group, set up anew with its members' next session. -ENOENT. */
int multicast_rekey(struct delivery_driver *drv, const char *group);
