/* delivery/multicast_internal.h - the driver's state, shared by the files that make it up:
 *   multicast.c         open and close, orders in and out, who talks to us
 *   multicast_group.c   a group: its key, its records, its sender, whose turn it is
 *   multicast_session.c a session's life: orders in and out, running, the end
 *   multicast_gather.c  from orders to a session that can run: the choice, the generations and their digests, its number
 *   multicast_ops.c     what mcast_session asks for: sending, reading, asking members, storing, telling
 *   multicast_setup.c   the setup map, by POST mc and by GET mc/s; the pull command
 *   multicast_coap.c    what nodes ask for
 *   multicast_record.c  a session as the store keeps it
 *   multicast_view.c    what is shown
 * Nobody else includes this. */
#pragma once
#include <uthash.h>

#include "delivery/multicast.h"

enum {
	MULTICAST_PATH_BYTES = 64,
	MULTICAST_TALKERS_MAX = 20000,
	MULTICAST_SETTLE_MS = 2000,            /* after a restart, for the orders of a stored session's members */
	MULTICAST_ORPHAN_MS = 10 * 60 * 1000,  /* a stored session, or a member of one, that nobody orders any more */
	MULTICAST_LOG2_E = MCAST_LOG2_E_DEFAULT,
	MULTICAST_SLOT_MS = 50,
	MULTICAST_ALG = 1,
};

struct multicast;
struct group;
struct session;
struct multicast_hash;

/* What is known of a device that talked: how to reach it, what it said it can do, whether it was left. */
struct talker {
	char device[DEVICE_ID_BYTES];          /* key */
	uint64_t session;                      /* key of the other table; 0 = none */
	bool secure;
	uint16_t l, k_max;                     /* of its acks; 0 = not said */
	bool was_left;
	struct digest left;                    /* the manifest it was left by */
	UT_hash_handle hh, hh_session;
};

enum order_stage { ORDER_GATHERING, ORDER_MEMBER, ORDER_UNICAST };

struct order {                                 /* one device's */
	char device[DEVICE_ID_BYTES];          /* key */
	char job[JOB_ID_BYTES];
	struct digest manifest;
	uint64_t sequence;
	struct delivery_image image;
	enum order_stage stage;
	struct session *session;               /* NULL when by unicast */
	int member;                            /* index in the session, or MCAST_MEMBER_NONE */
	struct order *prev, *next;             /* of the session */
	UT_hash_handle hh;
};

struct holder {                                /* holds the group's key */
	char device[DEVICE_ID_BYTES];
	UT_hash_handle hh;
};

struct group {
	struct multicast *d;
	struct multicast_group_config c;
	bool is_configured;                    /* else: kept for its counter */
	/* what is stored */
	uint8_t gid;
	uint8_t key[MCAST_KEY_BYTES];
	uint32_t counter;
	uint16_t baseline[MULTICAST_BASELINES];
	struct holder *holders;
	/* what is not */
	struct coap_multicast_sender *sender;  /* NULL: the interface is not there */
	int error;
	struct loop_timer *retry, *save;
	bool is_untold;                        /* a new key that was not stored yet */
	struct group *next;
};

enum session_stage {
	SESSION_GATHERING,
	SESSION_STORED,                        /* read from the store; waits for the orders of its members */
	SESSION_HASHING,
	SESSION_NUMBERING,                     /* the group's counter is being stored */
	SESSION_RUNNING,                       /* m is set */
};

/* A request of ours to a member, or the failure to send one. */
struct ask {
	struct session *s;
	unsigned member;
	bool is_pull;
	struct coap_endpoint_call *call;       /* NULL: it failed at once */
	int error;
	struct ask *prev, *next;
};

/* Something on its way to the disk. It outlives the driver that waits for it. */
struct storing {
	struct multicast *d;                   /* NULL: closed, nobody waits */
	struct group *g;                       /* of a group's */
	uint64_t serial;                       /* of the session that waits; 0 = none */
	uint32_t token;
	void (*then)(const struct storing *v, int error);
	struct storing *prev, *next;
};

struct session {
	struct multicast *d;
	struct group *group;
	enum session_stage stage;
	struct digest manifest;
	struct delivery_image image;
	struct order *orders;
	size_t n_orders;
	struct loop_timer *timer;              /* gathering, hashing, the step */
	struct loop_timer *orphans;
	struct mono began;
	/* from the end of gathering on */
	struct mcast_session_config c;
	struct mcast_geometry geo;
	struct buf table;                      /* generation digests */
	unsigned hash_g;                       /* the next generation to be hashed */
	bool is_hashing;                       /* the workers have it */
	struct buf piece;                      /* what was read of it */
	struct coap_body_reader reader;        /* read NULL = not open */
	/* running */
	struct mcast_session *m;
	struct mac_cmac *mk;
	struct ask *asks;
	struct wall first_window;              /* 0 = none */
	uint8_t gid;                           /* that the members of m were told */
	bool operator_paused, down_paused, is_down;    /* is_down: found out while it sent */
	bool is_unsettled;                     /* gid changed while it was stored: tell the members */
	struct buf stored;                     /* SESSION_STORED: the snapshot */
	struct buf unsaved;                    /* a record the store did not take */
	uint32_t token;
	struct loop_timer *save;
	uint64_t serial;
	struct session *prev, *next;
};

struct multicast {
	struct delivery_driver driver;
	struct multicast_config c;
	char path[6][MULTICAST_PATH_BYTES];    /* mc/r mc/s mc/t mc/i mc/e mc/m */
	struct group *groups;                  /* in the order of configuration; then those that are not configured */
	struct session *sessions;
	size_t n_sessions;
	uint64_t serial;
	struct order *orders;
	struct talker *talkers, *by_session;
	struct storing *storing;
	struct multicast_hash *hashes;         /* under way */
	bool closing;
};

/* multicast.c */
struct order *multicast_order(const struct multicast *d, const char *device);
struct talker *multicast_talker(const struct multicast *d, const char *device);
struct talker *multicast_talker_make(struct multicast *d, const char *device);
struct talker *multicast_talker_of(const struct multicast *d, uint64_t session);
void order_free(struct multicast *d, struct order *o);
void order_to_unicast(struct multicast *d, struct order *o);            /* leaves its session */

struct storing *storing_new(struct multicast *d, void (*then)(const struct storing *v, int error));
void storing_done(void *storing, int error);            /* a multicast_stored_fn */

/* multicast_group.c */
struct group *group_find(const struct multicast *d, const char *name);
struct group *group_at(const struct multicast *d, size_t i);            /* i as in the configuration */
struct group *group_make(struct multicast *d, const char *name);
void group_free(struct group *g);
void group_configure(struct group *g, const struct multicast_group_config *c);
int group_load(void *arg, const struct multicast_group_record *r);
void group_save(struct group *g, void (*then)(const struct storing *v, int error), uint64_t serial);      /* then may be NULL */
void group_save_soon(struct group *g);
bool group_up(struct group *g);                         /* tries to open the sender when it is not */
void group_down(struct group *g, int error);
bool group_holds(const struct group *g, const char *device);
void group_hold(struct group *g, const char *device);
void group_rekey(struct group *g, const char *without); /* device that leaves; NULL = none */
void group_note_loss(struct group *g, uint16_t permille);
double group_loss(const struct group *g);               /* < 0 = not known */
uint16_t group_baseline(const struct group *g);
uint32_t group_pace_ms(const struct group *g);
bool group_turn(const struct group *g, const struct session *s);        /* is s the one that may send? */
void group_kick(struct group *g);                       /* somebody else's turn, maybe */

/* multicast_session.c */
struct session *session_for(struct multicast *d, struct group *g, const struct delivery_order *order);  /* found or gathering; NULL: too many */
struct session *session_new(struct multicast *d, struct group *g);
struct session *session_find(const struct multicast *d, const struct mcast_sid *sid);
struct session *session_serial(const struct multicast *d, uint64_t serial);
void session_join(struct session *s, struct order *o);
void session_leave(struct order *o);                    /* the order only; what that means to the session is told first */
void session_order_gone(struct order *o);               /* its job was cancelled */
void session_kick(struct session *s);
void session_step_in(struct session *s, int64_t ms);
void session_free(struct session *s);
void session_end(struct session *s);                    /* orders to unicast, the record removed, freed */
void session_abandon(struct session *s, enum mcast_end reason);         /* END to the group, then its end */
int session_read(struct session *s, uint64_t offset, uint8_t *p, size_t n);
void session_key_changed(struct session *s);
void session_paused(struct session *s);
void session_progress(struct session *s);
void session_run(struct session *s);
void session_all_to_unicast(struct session *s, const char *why);        /* its end */

/* multicast_gather.c */
void session_gathered(struct session *s);
void session_hash(struct session *s);                   /* some more of it */
void multicast_hashes_drop(struct multicast *d);        /* nobody waits for them any more */

/* multicast_ops.c */
struct mcast_session_ops session_ops(struct session *s);
void session_save(void *session);                       /* what the store did not take, again */

/* multicast_setup.c */
void setup_encode(const struct session *s, bool with_key, struct buf *ret);
void setup_ask(struct session *s, unsigned member, const char *device, bool is_pull);
void asks_fail(struct session *s);                      /* those that failed at once are told to the session */
void asks_drop(struct session *s);

/* multicast_coap.c */
int multicast_add_routes(struct multicast *d);

/* multicast_record.c */
void record_encode(const struct session *s, struct span snapshot, struct buf *ret);
int record_load(void *arg, const struct multicast_session_record *r);   /* arg: the driver */
