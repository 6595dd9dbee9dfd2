/* delivery/mcast_session.h - one multicast session of MCD v1 (man/dormouse-multicast.7): one object, one group, every
 * phase from setup to the last node's word. A pure state machine: time comes in, frames go out through ops, the object
 * is read through a callback, what must survive a restart leaves as a snapshot. No clock, no sockets, no keys, no log;
 * memory is taken at creation and when a member is added, never in between. Not threaded.
 *
 * The caller calls mcast_session_step() whenever it promised to (the returned time), and after every input it gave.
 * Ops are called from within step() and the input functions; an op must not call back into the session. Inputs may
 * come from anybody: whoever the caller says sent a report is believed only within the bounds named below. */
#pragma once
#include "base/buf.h"
#include "base/time.h"
#include "codec/mcast_geometry.h"
#include "codec/mcast_message.h"
#include "model/device.h"

struct mcast_session;

enum {
	MCAST_MEMBERS_MAX = 4096,
	MCAST_SNAPSHOT_BYTES_MAX = 1024 * 1024,
	MCAST_SNAPSHOT_VERSION = 1,
	MCAST_MEMBER_NONE = -1,
};

/* ---- what a session is made of ---- */

/* The constants of the specification, C16. mcast_tuning_default() fills in the defaults; zero never means "default". */
struct mcast_tuning {
	uint16_t interleave;                           /* I: generations per block of the systematic pass; 8 */
	uint16_t lost_max;                             /* L, unless an ack says less; 160 */
	uint16_t sample_min, sample_max;               /* s; 8, 64 */
	uint16_t sample_tries;                         /* 3 */
	uint16_t unfinished;                           /* c: receiver-generations the proactive parity may leave; 4 */
	uint16_t rounds_max;                           /* ROUNDS; 40 */
	uint16_t echo_every;                           /* reports; 8 */
	uint16_t announce_every;                       /* frames; 256 */
	uint16_t announce_copies;                      /* at a window's start; 3 */
	uint16_t silent_end;                           /* final STATUS windows without a report; 2 */
	uint16_t credit;                               /* frames per report or ack heard; 1024 */
	uint32_t credit_ttl_ms;                        /* a word of the group counts so long; 10 min */
	uint16_t credit_slow;                          /* frames at 1/8 rate without credit; 256 */
	uint32_t credit_poll_ms;                       /* then a STATUS so often; 5 min */
	uint16_t credit_polls;                         /* then give up; 12 */
	uint16_t carousel;                             /* further windows for what sleepers missed; 3 */
	uint16_t persist_every;                        /* frames; 256 */
	uint16_t restart_skip;                         /* parity indices never used again after a restart; 64 */
	uint16_t setup_parallel, setup_tries;          /* 8, 4 */
	uint32_t setup_retry_ms;                       /* before the second try; doubles; 15 s */
	uint16_t pull_parallel;                        /* stragglers that pull at a time; 8 */
	uint16_t member_rounds;                        /* repair rounds that one member alone may cause; 8 */
	uint16_t member_share_percent;                 /* of F: rows that one member alone may cause; 150 */
	uint16_t member_strikes;                       /* reports out of bounds, or without progress; 3 */
	uint32_t slot_ms;                              /* one report; 50 */
	uint32_t grace_ms;                             /* a report's way to us, after the window; 1000 */
	uint32_t setup_wait_ms;                        /* SETUP ends so long after its begin, or the last ack, although members are open; 5 min */
	uint32_t invite_wait_ms;                       /* after ANNOUNCE, for invited members to join; and slot_ms for each member; 30 s */
	uint32_t pull_timeout_ms;                      /* a straggler that was told to pull and neither asks nor is READY; 10 min */
	uint32_t lazy_ms;                              /* after the end, until members not heard of are told to pull or handed back; 30 min */
	uint32_t lifetime_ms;                          /* 7 d */
};

void mcast_tuning_default(struct mcast_tuning *ret);

enum mcast_link_kind { MCAST_LINK_802154, MCAST_LINK_THREAD, MCAST_LINK_868, MCAST_LINK_ETHERNET, MCAST_LINK_KIND_COUNT };

struct mcast_link {                                    /* C9; mcast_link_profile() fills one in */
	uint32_t gap_ms, gap_min_ms;                   /* usual and least gap between frames */
	uint16_t us_per_byte;                          /* airtime */
	uint16_t overhead_bytes;                       /* below and around a frame of ours: PHY, MAC, IP, UDP, CoAP */
	uint16_t sends_per_frame;                      /* C: transmissions one multicast frame costs (1, or 2 x routers) */
	uint16_t hops;                                 /* h: mean hops of a unicast frame */
};

/* routers: in range; only Thread asks. Never fails. */
void mcast_link_profile(enum mcast_link_kind kind, unsigned routers, struct mcast_link *ret);
const char *mcast_link_name(enum mcast_link_kind kind);                /* "802.15.4", "thread", "868", "ethernet" */
int mcast_link_parse(struct span name);                                /* or -ENOTSUP */

struct mcast_session_windows {                         /* C11; length_ms 0: the group always listens */
	struct mono first;                             /* start of window 0 */
	uint32_t length_ms, period_ms;
	uint16_t count;                                /* 0: as many as the plan needs, and the carousel */
};

struct mcast_session_config {                          /* copied */
	struct mcast_sid sid;
	uint32_t size;                                 /* of the object, 1.. */
	struct digest digest;
	uint8_t gid;
	uint16_t z, k;                                 /* k: see mcast_plan_k() */
	uint8_t log2_e, alg;
	uint32_t pace_ms;                              /* 0: the link's usual gap; never below its least */
	struct mcast_link link;
	struct mcast_session_windows windows;
	uint16_t baseline_permille;                    /* lowest loss of the group's last five sessions; UINT16_MAX = none yet */
	struct mcast_tuning tuning;
	uint64_t seed;                                 /* of the only random choices (where a trim starts) */
};

/* ---- members ---- */

enum mcast_member_state {
	MCAST_MEMBER_NEW,                              /* to be set up */
	MCAST_MEMBER_ASKED,                            /* a setup is on its way */
	MCAST_MEMBER_INVITED,                          /* holds the group's key: hears of it by ANNOUNCE only; or did not answer
							* the setup and may have heard it: SILENT at the end, if nothing is heard */
	MCAST_MEMBER_JOINED,                           /* acked, or fetched the descriptor, or reported */
	MCAST_MEMBER_PULLING,                          /* told to pull the rest from /mc/i */
	MCAST_MEMBER_READY,                            /* holds the object, digest checked */
	/* No part of the session any more; the caller serves them by plain unicast: */
	MCAST_MEMBER_REFUSED,                          /* said no at setup */
	MCAST_MEMBER_SILENT,                           /* never answered a setup */
	MCAST_MEMBER_FAILED,                           /* was pulling, or lied, and did not finish; or the session gave up */
	MCAST_MEMBER_REMOVED,                          /* left the group (not served at all) */
	MCAST_MEMBER_STATE_COUNT,
};

const char *mcast_member_state_name(enum mcast_member_state st);       /* "new", "asked", ... */
static inline bool mcast_member_handed_back(enum mcast_member_state st)
{
	return st == MCAST_MEMBER_REFUSED || st == MCAST_MEMBER_SILENT || st == MCAST_MEMBER_FAILED;
}

enum mcast_member_why {                                /* of a change; also the first reason kept for a pull */
	MCAST_WHY_NONE,
	MCAST_WHY_ACK, MCAST_WHY_FETCHED, MCAST_WHY_REPORT,            /* joined */
	MCAST_WHY_DONE, MCAST_WHY_HAD_IT,                               /* ready: reported, or its ack said so (5) */
	MCAST_WHY_REFUSED, MCAST_WHY_NO_ANSWER,
	MCAST_WHY_CHEAPER,                             /* pulling: unicast is cheaper now, or the rounds are over */
	MCAST_WHY_LATE,                                /* pulling: joined after the systematic pass */
	MCAST_WHY_LOST_TOO_MUCH,                       /* pulling: more lost than its matrix holds, and it cannot take a trim */
	MCAST_WHY_COSTLY,                              /* pulling: it alone caused more rows or rounds than one member may */
	MCAST_WHY_NO_PROGRESS,                         /* pulling: reports deficits although the rows sent suffice */
	MCAST_WHY_LIED,                                /* pulling: reports that cannot be true */
	MCAST_WHY_DIGEST,                              /* pulling: generations that do not match their digests, again and again */
	MCAST_WHY_NEVER_HEARD,                         /* pulling, or failed if it never said a word: not heard of at the end */
	MCAST_WHY_PULL_TIMEOUT, MCAST_WHY_SESSION_OVER,
	MCAST_WHY_REMOVED,
	MCAST_WHY_COUNT,
};

const char *mcast_why_name(enum mcast_member_why why);

struct mcast_member_view {
	char device[DEVICE_ID_BYTES];
	enum mcast_member_state state;
	enum mcast_member_why why;                     /* of its present state */
	uint8_t refusal;                               /* ack code when REFUSED */
	bool low_energy, core_only, suspect;           /* suspect: had strikes */
	uint16_t loss_permille;                        /* its last word; UINT16_MAX = none */
	uint16_t lost_max;                             /* L of its ack; 0 = not said */
	uint32_t deficit;                              /* rows it still asked for in its last report */
	uint32_t n_reports;
};

/* ---- what the session asks for ---- */

enum mcast_phase {                                     /* C14 */
	MCAST_PHASE_NEW, MCAST_PHASE_SETUP, MCAST_PHASE_ANNOUNCE, MCAST_PHASE_SYSTEMATIC, MCAST_PHASE_SAMPLE, MCAST_PHASE_PROACTIVE,
	MCAST_PHASE_STATUS, MCAST_PHASE_REPAIR, MCAST_PHASE_UNICAST, MCAST_PHASE_LAZY, MCAST_PHASE_DONE, MCAST_PHASE_ABORTED,
	MCAST_PHASE_COUNT,
};

enum mcast_session_pause_reason {                      /* bits; C14's PAUSED is any of them */
	MCAST_PAUSE_OPERATOR = 1,
	MCAST_PAUSE_CREDIT = 2,                        /* nobody is heard */
	MCAST_PAUSE_WINDOW = 4,                        /* between windows */
	MCAST_PAUSE_OBJECT = 8,                        /* the object cannot be read for now */
	MCAST_PAUSE_PERSIST = 16,                      /* a snapshot must be kept before more rows leave */
	MCAST_PAUSE_REKEY = 32,                        /* members learn the new key */
};

const char *mcast_phase_name(enum mcast_phase p);      /* "new", "setup", ... */

enum mcast_session_event {                             /* for the log; the arguments are numbers */
	MCAST_EV_PHASE,                                /* a = from, b = to */
	MCAST_EV_PAUSED, MCAST_EV_RESUMED,             /* a = reasons now, b = reasons before */
	MCAST_EV_LOSS,                                 /* a = estimate per mille, b = reports it rests on */
	MCAST_EV_PACE,                                 /* a = gap now, b = before */
	MCAST_EV_TRIM,                                 /* a = generation, b = rows */
	MCAST_EV_SUSPECT,                              /* a = member, b = enum mcast_member_why */
	MCAST_EV_GAVE_UP,                              /* a = 0 credit, 1 lifetime, 2 the object is unreadable (b = errno) */
	MCAST_SESSION_EVENT_COUNT,
};

struct mcast_session_ops {
	/* Append a MIC of mic_bytes (4 or 8) and send to the group. 0; -ENOBUFS or -EAGAIN: the same frame is tried again
	 * after 2 gaps; any other error counts as sent (a lost frame is a lost frame). */
	int (*send)(void *ctx, struct span frame, size_t mic_bytes);
	/* n bytes of the object at offset. 0; -EAGAIN: asked again in a second; any other error aborts the session. */
	int (*read)(void *ctx, uint64_t offset, uint8_t *p, size_t n);
	/* CON POST /mc with the setup map; ends in exactly one mcast_session_setup_done(). May fail later, not here. */
	void (*setup)(void *ctx, unsigned member, const char *device);
	/* CON POST /mc {1: sid, 18: 1}, best effort. */
	void (*pull)(void *ctx, unsigned member, const char *device);
	/* Keep these bytes; mcast_session_persisted(token) when they are safe (later, not from within). Only the newest
	 * snapshot matters: a newer one may replace one that is not yet written, and its token stands for the older ones. */
	void (*persist)(void *ctx, struct span snapshot, uint32_t token);
	/* A member changed; mcast_member_handed_back(now) says that it is the caller's again. */
	void (*member)(void *ctx, unsigned member, enum mcast_member_state was, enum mcast_member_state now,
		       enum mcast_member_why why);
	void (*event)(void *ctx, enum mcast_session_event ev, int64_t a, int64_t b);
	void *ctx;
};

/* ---- life ---- */

/* ops is copied. 0; -EINVAL the geometry, sizes or constants are out of bounds; -ENOMEM. */
int mcast_session_new(const struct mcast_session_config *cfg, const struct mcast_session_ops *ops, struct mono now,
		      struct mcast_session **ret);
/* From a snapshot; cfg gives everything that a snapshot does not hold (link, pace, tuning, windows, seed); its sid, size,
 * digest and geometry must be the snapshot's. Pending setups are asked again; parity goes on at the stored index + 64.
 * 0; -EBADMSG damaged; -ENOTSUP another version; -ESTALE of another session; -EINVAL, -ENOMEM as above. */
int mcast_session_restore(const struct mcast_session_config *cfg, const struct mcast_session_ops *ops, struct span snapshot,
			  struct mono now, struct mcast_session **ret);
struct mcast_session *mcast_session_free(struct mcast_session *s);     /* calls no op; NULL */

/* Does what is due and returns when to be called again; { INT64_MAX } when only an input can change anything. */
struct mono mcast_session_step(struct mcast_session *s, struct mono now);

/* ---- inputs ---- */

struct mcast_member_config {
	const char *device;
	bool has_key;                                  /* the group is set up there already: no setup, ANNOUNCE tells it */
};

/* Before or while it runs. Its index (stable for the session's life); -EEXIST (a member that was handed back or removed
 * may come again under its index: that index is returned instead), -ENOSPC over MCAST_MEMBERS_MAX, -ENOMEM, -EINVAL,
 * -ESHUTDOWN the session is over. */
int mcast_session_member_add(struct mcast_session *s, const struct mcast_member_config *m, struct mono now);
int mcast_session_member_find(const struct mcast_session *s, const char *device);      /* index or MCAST_MEMBER_NONE */
/* Leaves the group: the key must change (mcast_session_rekey_due()). 0 or -ENOENT. */
int mcast_session_member_remove(struct mcast_session *s, unsigned member, struct mono now);
bool mcast_session_rekey_due(const struct mcast_session *s);
/* The group has a new gid and key; whoever is a member is set up again, then sending goes on. */
void mcast_session_rekey(struct mcast_session *s, uint8_t gid, struct mono now);

/* The end of a setup: the node's ack, or NULL and a negative errno (-ETIMEDOUT after the CON's own retries: tried again
 * up to setup_tries). -ENOENT no such member or no setup asked. */
int mcast_session_setup_done(struct mcast_session *s, unsigned member, const struct mcast_ack *ack, int error, struct mono now);
int mcast_session_descriptor_fetched(struct mcast_session *s, unsigned member, struct mono now);       /* GET /mc/s: joined */
int mcast_session_blocks_fetched(struct mcast_session *s, unsigned member, uint32_t blocks, struct mono now);  /* GET /mc/i */
/* A report of that member, decoded. 0 taken; -ENOENT no such member; -ESTALE not of this session; -EPROTO it cannot be
 * true (counted against the member); -EBUSY more often than asked for (dropped); -EALREADY nothing new. */
int mcast_session_report(struct mcast_session *s, unsigned member, const struct mcast_report *r, struct mono now);
/* Known otherwise that it holds the object (POST /fw/r), or failed for good. */
int mcast_session_member_ready(struct mcast_session *s, unsigned member, struct mono now);
int mcast_session_member_failed(struct mcast_session *s, unsigned member, struct mono now);
void mcast_session_persisted(struct mcast_session *s, uint32_t token);
/* A foreign exchange on this interface timed out: silent for a second. */
void mcast_session_yield(struct mcast_session *s, struct mono now);
void mcast_session_pause(struct mcast_session *s, struct mono now);    /* by the operator */
void mcast_session_resume(struct mcast_session *s, struct mono now);
/* Sends END (MCAST_END_ABORT or _REPLACED), hands every unfinished member back. Idempotent. */
void mcast_session_abort(struct mcast_session *s, enum mcast_end reason, struct mono now);

/* ---- views ---- */

enum mcast_frame_kind { MCAST_SENT_SYSTEMATIC, MCAST_SENT_PARITY, MCAST_SENT_TRIM, MCAST_SENT_STATUS, MCAST_SENT_ECHO,
			MCAST_SENT_ANNOUNCE, MCAST_SENT_END, MCAST_SENT_KIND_COUNT };

struct mcast_session_view {
	enum mcast_phase phase;
	unsigned paused;                               /* enum mcast_session_pause_reason bits */
	uint32_t members[MCAST_MEMBER_STATE_COUNT], n_members;
	uint32_t n_generations, n_fragments;           /* G, F */
	uint32_t position;                             /* systematic fragments sent */
	uint16_t loss_permille;                        /* p^; UINT16_MAX = not known yet */
	uint16_t sample_reports;                       /* it rests on so many */
	double loss, excess_variance;                  /* p^ and v as numbers */
	uint32_t sent[MCAST_SENT_KIND_COUNT], sent_total;
	uint32_t reports_heard, reports_refused, setups_sent, pulls_sent, unicast_blocks;
	uint64_t airtime_us;                           /* of everything sent to the group, repeaters included */
	double lower_bound;                            /* frames: what the worst of N members must miss even with a perfect code */
	double ratio;                                  /* sent_total / lower_bound; 0 before there is a loss estimate */
	uint32_t round;                                /* repair rounds so far */
	uint32_t deficit;                              /* sum over generations of the worst deficit known */
	uint32_t rows_planned, rows_left;              /* of the present pass */
	int64_t eta_ms;                                /* to the end of the active phase; -1 = not known */
	int32_t credit;                                /* frames that may still be sent */
	uint32_t gap_ms, pace_ms;
	uint16_t window, n_windows;                    /* of the windows; 0, 0 without */
	struct mono next_window;                       /* start of the present or next window; 0 without */
	bool rekey_due;
	uint8_t status_seq;
};

struct mcast_generation_view {
	uint32_t offset, bytes;
	uint16_t m;                                    /* M_g */
	uint16_t sent;                                 /* systematic */
	uint16_t next_row;                             /* next parity index n */
	uint16_t deficit;                              /* worst known, 0 = none known */
	uint16_t trimmed;                              /* rows */
};

void mcast_session_view(const struct mcast_session *s, struct mono now, struct mcast_session_view *ret);
int mcast_session_generation(const struct mcast_session *s, unsigned g, struct mcast_generation_view *ret);    /* -ENOENT */
int mcast_session_member(const struct mcast_session *s, unsigned member, struct mcast_member_view *ret);       /* -ENOENT */
const struct mcast_session_config *mcast_session_config(const struct mcast_session *s);        /* windows.count filled in */
/* Still sends to the group: until END. A group has one session at a time that does (NSTART = 1). */
bool mcast_session_sends(const struct mcast_session *s);
bool mcast_session_over(const struct mcast_session *s);        /* DONE or ABORTED */
