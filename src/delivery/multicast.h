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
#include "delivery/mcast_session.h"
#include "io/coap_multicast.h"
#include "io/worker.h"

enum {
	MULTICAST_GROUPS_MAX = 32, MULTICAST_NAME_BYTES = 32, MULTICAST_SESSIONS_MAX = 64, MULTICAST_MEMBERS_MAX = 4096,
	MULTICAST_RETRY_MS = 5000,             /* an interface that is not there, a snapshot that was not stored */
	MULTICAST_BASELINES = 5,               /* losses of the last sessions of a group */
	MULTICAST_OBJECT_BYTES_MAX = 4 * 1024 * 1024,                  /* 256 generations of K = 256 fragments of 64 bytes */
};

/* ---- configuration ---- */
struct multicast_group_config {                /* copied */
	char name[MULTICAST_NAME_BYTES];       /* stable: keys and counters are kept by it */
	char interface[IF_NAMESIZE];
	uint8_t address[COAP_MULTICAST_ADDRESS_BYTES];
	uint16_t port;
	uint8_t hop_limit;
	enum mcast_link_kind link;
	uint16_t routers;                      /* thread: in range of each other */
	uint32_t pace_ms;                      /* least gap between frames; 0 = as usual on that link */
	uint8_t slot_ms;                       /* of a report; 0 = 50 */
	uint32_t min_members;                  /* a gathering that ends with fewer goes by unicast */
	uint32_t window_start_s, window_s, window_period_s;    /* window_s 0 = no windows: always awake; start: past a multiple of the
								* period since 1970 */
	uint8_t fragment_bytes;                /* Z; 0 = 64 */
	bool invite;                           /* devices that hold the key are not asked one by one, an ANNOUNCE must do */
	bool is_open;                          /* members may be set up, with the group key, over plain CoAP: demo and tests */
};

/* ---- what is kept (app wires it to store/mcast_store) ---- */
struct multicast_group_record {
	char name[MULTICAST_NAME_BYTES];
	uint8_t gid;                           /* of the key; 1 .. 255, then 1 again */
	uint8_t key[MCAST_KEY_BYTES];
	uint32_t counter;                      /* of sessions: the last one used; never goes back */
	uint16_t baseline[MULTICAST_BASELINES];        /* loss per mille of the last sessions, newest first; UINT16_MAX = none */
	size_t n_members;                      /* who holds the key */
	const char *const *members;            /* device ids; borrowed for the call */
};

struct multicast_session_record {
	struct mcast_sid sid;
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
	void (*remove_session)(void *ctx, const struct mcast_sid *sid, multicast_stored_fn *done, void *arg);
	void *ctx;
};

/* ---- the driver ---- */

/* Once everybody expected is there, or the time is over. */
struct multicast_gathering {
	const char *group;
	size_t n_members;
	uint32_t min_members, fragment_bytes, pace_ms;
	uint64_t bytes;
	double loss;                           /* of the group's last sessions; < 0 = none yet */
};
enum { MULTICAST_WHY_BYTES = 200 };

struct multicast_config {
	struct loop *loop;
	struct worker_pool *workers;
	struct coap_endpoint *endpoint;
	struct delivery_driver *unicast;       /* coap-pull; borrowed */
	const char *path;                      /* "mc" */
	uint32_t gather_s, lifetime_s;         /* 60; 604800 */
	struct mcast_tuning tuning;            /* C16; lifetime_ms is taken from lifetime_s, slot_ms from the group */
	const struct multicast_group_config *groups;
	size_t n_groups;
	struct delivery_source source;
	struct delivery_sink sink;
	coap_pull_who_fn *who;
	void *who_ctx;
	/* The group of this device by configuration and by what it registered (rt=mcd.n): its index in groups, or -ENOENT. */
	int (*group_of)(void *ctx, const char *device);
	/* How many devices group_of() would put into this group: who is expected. */
	size_t (*group_count)(void *ctx, size_t group);
	/* Does it pay? (rollout's rule.) NULL: when min_members are there. why gets the reason. */
	bool (*pays)(void *ctx, const struct multicast_gathering *g, char why[static MULTICAST_WHY_BYTES]);
	void *world_ctx;
	struct multicast_store store;
};

int multicast_open(const struct multicast_config *c, struct delivery_driver **ret);
/* After every open job was started again (delivery.h): sessions that were under way go on, those nobody ordered any more end. */
void multicast_begin(struct delivery_driver *drv);
/* A reload: groups by name; one that is gone ends its sessions (members go to unicast). Copied. */
void multicast_set_groups(struct delivery_driver *drv, const struct multicast_group_config *groups, size_t n);
/* A device talked over this session: the way to reach it. app calls it from the endpoint's heard callback. */
void multicast_heard(struct delivery_driver *drv, const struct coap_peer *peer, const char *device);
/* A node reported its update (POST fw/r): that it has the image counts here too. */
void multicast_reported(struct delivery_driver *drv, const char *device, const struct node_report *r);
/* A device left (removed, retired, quarantined, its credential changed): out of every session, and its groups get new keys. */
void multicast_device_gone(struct delivery_driver *drv, const char *device);
/* A confirmable exchange with a node timed out: hold back for a second (C9). */
void multicast_yield(struct delivery_driver *drv);
/* The same, for the groups of one interface: its radio has little airtime left. */
void multicast_yield_on(struct delivery_driver *drv, const char *interface);

/* ---- for rollout's choice (facts, no decision) ---- */
struct multicast_facts {
	bool in_group;                         /* by configuration, and registered rt=mcd.n */
	const char *group;                     /* name; borrowed */
	bool is_up;                            /* its interface is there */
	uint32_t min_members, pace_ms;
	uint64_t bytes_max;                    /* of an object */
	bool was_left;                         /* this device refused, was silent or was given up in a session of this manifest */
	bool is_in_session;                    /* of this manifest */
};
void multicast_facts_get(const struct delivery_driver *drv, const char *device, const struct digest *manifest, struct multicast_facts *ret);

/* ---- for admin ---- */
struct multicast_group_view {
	const char *name, *interface;
	uint8_t address[COAP_MULTICAST_ADDRESS_BYTES];
	uint16_t port;
	uint8_t hop_limit, gid;
	const char *link;
	uint32_t counter, n_members, pace_ms, min_members;
	bool is_up;
	int error;                             /* why not; 0 */
	size_t n_sessions;
};

struct multicast_session_view {
	struct mcast_sid sid;                  /* all zero while gathering */
	const char *group;
	struct digest manifest, image;
	const char *phase;                     /* "gathering", "preparing", "queued" (another of its group is sending), or mcast_phase_name() */
	char pause[64];                        /* why it is paused, words; "" = it is not */
	uint64_t object_bytes;
	uint32_t fragment_bytes, k;            /* 0 while gathering */
	size_t n_members;
	int64_t age_s;
	bool has_session;                      /* s is set */
	struct mcast_session_view s;           /* losses, deficits, frames sent, airtime, bound and ratio, ETA */
};

struct multicast_member_view {
	const char *device, *job;              /* job "": nobody's any more */
	const char *state, *why;               /* mcast_member_state_name(), mcast_why_name(); "gathering" before */
	bool by_unicast;                       /* handed to the unicast driver */
	struct mcast_member_view m;            /* all zero while gathering */
};

/* Return false to stop. Borrowed for the call; change nothing inside. */
typedef bool multicast_group_view_fn(void *arg, const struct multicast_group_view *v);
typedef bool multicast_session_view_fn(void *arg, const struct multicast_session_view *v);
typedef bool multicast_member_view_fn(void *arg, const struct multicast_member_view *v);
void multicast_groups(const struct delivery_driver *drv, multicast_group_view_fn *fn, void *arg);
void multicast_sessions(const struct delivery_driver *drv, multicast_session_view_fn *fn, void *arg);
int multicast_members(const struct delivery_driver *drv, const struct mcast_sid *sid, multicast_member_view_fn *fn, void *arg);  /* -ENOENT */
/* By a person. -ENOENT no such session; -EALREADY. abort: END 1, members go to unicast. */
int multicast_pause(struct delivery_driver *drv, const struct mcast_sid *sid);
int multicast_resume(struct delivery_driver *drv, const struct mcast_sid *sid);
int multicast_abort(struct delivery_driver *drv, const struct mcast_sid *sid);
/* A new key and gid for the group, set up anew with its members' next session. -ENOENT. */
int multicast_rekey(struct delivery_driver *drv, const char *group);
