/* delivery/mcast_session_internal.h - the session's state, shared by the files that make it up:
 *   mcast_session.c   life, the step, inputs about the whole
 *   mcast_member.c    who takes part: setup, pull, hand back
 *   mcast_phase.c     the state machine C14: what is sent next, what is waited for
 *   mcast_send.c      frames, pace, credit, windows
 *   mcast_repair.c    reports, and what they make us do
 *   mcast_snapshot.c  what survives a restart
 *   mcast_view.c      what is shown
 * Nobody else includes this. */
#pragma once
#include "delivery/mcast_plan.h"
#include "delivery/mcast_session.h"

enum {
	MCAST_BURST_MAX = 10,                  /* frames that may make up for late timers (C9) */
	MCAST_CREDIT_MAX = 65536,              /* frames */
	MCAST_CREDIT_LOW = 96,                 /* frames left when the group is asked for a sign of life */
	MCAST_UNSOLICITED_MS = 10 * 1000,      /* least time between a member's unsolicited reports */
	MCAST_YIELD_MS = 1000,
	MCAST_OBJECT_RETRY_MS = 1000,
	MCAST_PERSIST_RETRY_MS = 10 * 1000,
	MCAST_PERSIST_WAIT_MS = 2000,          /* changes of members are gathered so long */
	MCAST_SEQ_SKIP = 8,                    /* STATUS numbers left out by a restart */
	MCAST_SEQ_WINDOW = 32,                 /* C10: how far a report's seq may lie back */
	MCAST_SAMPLES = 255,                   /* kept of one estimate */
	MCAST_PROBE_MAX = 16,                  /* answers a sign of life asks for */
};

enum mcast_poll_kind { MCAST_POLL_NONE, MCAST_POLL_SAMPLE, MCAST_POLL_STATUS, MCAST_POLL_PROBE };

struct mcast_claim {                           /* one deficit a member told */
	uint8_t g;
	uint16_t d;
	uint16_t sent_then;                    /* rows and trims of g that had been sent */
};

struct mcast_member {
	char device[DEVICE_ID_BYTES];
	uint8_t state, why;                    /* enum mcast_member_state, enum mcast_member_why */
	uint8_t refusal;
	uint8_t tries, strikes, digest_faults;
	uint8_t told;                          /* PULLING: was sent the command */
	uint8_t mute;                          /* INVITED: did not answer its setup */
	uint8_t last_seq;
	uint8_t n_claims;
	uint16_t loss_permille, lost_max;
	uint16_t rounds_alone;
	uint32_t flags;                        /* of its last report */
	uint32_t rows_alone;
	uint32_t poll;                         /* number of the poll it last answered; 0 = none */
	uint32_t n_reports;
	struct mono due;                       /* next try, or end of patience; INT64_MAX = none */
	struct mono unsolicited;               /* its last unsolicited report */
	struct mcast_claim claims[MCAST_REPORT_DEFICITS_MAX];
};

struct mcast_gen {
	struct mcast_generation where;
	uint16_t sent;                         /* systematic */
	uint16_t next_row;                     /* parity index n not used yet, 1.. */
	uint16_t safe_row, kept_row;           /* next_row in the snapshot that is safe; in the one on its way */
	uint16_t rows_left, trim_left;         /* of the present pass */
	uint16_t trim_at;                      /* next fragment to repeat, 0-based */
	uint16_t trimmed;                      /* all in all, saturating */
	uint16_t deficit;                      /* worst known */
	uint16_t need, need_other;             /* rows for the worst member; for the worst but that one */
	uint16_t trim_need;
	int need_of;                           /* the worst member */
};

struct mcast_poll {
	enum mcast_poll_kind kind;
	uint32_t number;                       /* grows; 0 = none yet */
	uint16_t slots, n_expected;
	uint16_t n_heard;                      /* members that answered it */
	uint16_t n_wanting;                    /* of them, with deficits */
	bool is_open, all, echoed, echo_due, more;
	struct mono until;
};

struct mcast_session {
	struct mcast_session_config cfg;
	struct mcast_session_ops ops;
	struct mcast_geometry geo;
	struct mcast_gen *gens;
	struct mcast_member *members;
	size_t n_members, cap_members;
	uint32_t n_state[MCAST_MEMBER_STATE_COUNT];
	uint32_t n_mute;
	bool members_dirty;                    /* somebody is to be asked or told */
	struct mono members_due;               /* earliest of their timers */
	unsigned setup_turn;                   /* where the search for the next one goes on */

	enum mcast_phase phase, then;          /* then: what follows ANNOUNCE */
	unsigned paused;
	struct mono started, phase_since, now;
	struct mono wake;                      /* collected by one step */
	bool end_due;                          /* an END is to be sent */
	enum mcast_end end_reason;
	uint32_t random;

	/* data */
	unsigned range_first, range_n;         /* generations of the present pass */
	unsigned block, at_n, at_g;            /* systematic pass: block of I, fragment number, generation in the block */
	unsigned row_g;                        /* where the parity pass is */
	uint32_t position;                     /* systematic fragments sent */
	int loaded;                            /* generation in `bytes`; -1 = none */
	uint8_t *bytes;                        /* K * Z */
	unsigned announces_left, since_announce, since_persist;
	uint32_t rows_planned;

	/* feedback */
	struct mcast_poll poll;
	uint8_t seq;
	unsigned tries, silent, windows_silent;
	uint32_t round;
	uint32_t last_wanting;                 /* reporters of the round before */
	uint16_t samples[MCAST_SAMPLES];
	unsigned n_samples;
	struct mcast_plan_loss loss;
	bool has_loss;
	bool rekey_due;
	bool has_invited;                      /* somebody was to learn of it by ANNOUNCE */

	/* pace */
	uint32_t pace_ms, gap_ms;
	struct mono next_tx;
	bool idle;                             /* nothing was to be sent: no burst makes up for that time */
	int32_t credit;
	struct mono heard, poll_at, probe_at;
	bool slow;
	unsigned slow_left, polls;
	uint32_t frames_since_probe;
	bool windowed;
	unsigned window;                       /* index of the present or next one */
	unsigned carousel_used;
	bool window_closing;

	/* a frame that waits to be sent */
	uint8_t frame[MCAST_BODY_BYTES_MAX];
	size_t frame_n;
	enum mcast_frame_kind frame_kind;
	unsigned frame_g;

	/* snapshots */
	struct buf snapshot;
	uint32_t token, token_safe;
	bool persist_due;
	struct mono persist_by;                /* what changed may wait so long; INT64_MAX = nothing did */
	struct mono persist_since;
	uint8_t seq_kept;

	/* counters */
	uint32_t sent[MCAST_SENT_KIND_COUNT];
	uint64_t airtime_us;
	uint32_t reports_heard, reports_refused, setups_sent, pulls_sent, unicast_blocks;
};

static const struct mono MCAST_NEVER = { INT64_MAX };

static inline void mcast_wake(struct mcast_session *s, struct mono t)
{
	if (mono_before(t, s->wake))
		s->wake = t;
}

static inline unsigned mcast_listeners(const struct mcast_session *s)  /* N */
{
	return s->n_state[MCAST_MEMBER_JOINED] + s->n_state[MCAST_MEMBER_INVITED] - s->n_mute;
}

static inline bool mcast_is_over(const struct mcast_session *s)
{
	return s->phase == MCAST_PHASE_DONE || s->phase == MCAST_PHASE_ABORTED;
}

/* ---- mcast_session.c ---- */
void mcast_session_enter(struct mcast_session *s, enum mcast_phase phase);     /* the one function that changes it */
void mcast_session_set_paused(struct mcast_session *s, unsigned set, unsigned clear);
void mcast_session_give_up(struct mcast_session *s, int64_t why, int64_t detail);
int mcast_session_make(const struct mcast_session_config *cfg, const struct mcast_session_ops *ops, struct mono now,
		       struct mcast_session **ret);
uint32_t mcast_session_random(struct mcast_session *s);

/* ---- mcast_member.c ---- */
int mcast_member_append(struct mcast_session *s, const char *device, enum mcast_member_state state);
void mcast_member_set(struct mcast_session *s, unsigned i, enum mcast_member_state state, enum mcast_member_why why);
void mcast_member_pull(struct mcast_session *s, unsigned i, enum mcast_member_why why);
void mcast_member_strike(struct mcast_session *s, unsigned i, enum mcast_member_why why);
void mcast_member_run(struct mcast_session *s);                /* asks, tells, times out */
void mcast_member_hand_back_mute(struct mcast_session *s);
void mcast_member_hand_back_all(struct mcast_session *s, enum mcast_member_why why);
bool mcast_member_setups_open(const struct mcast_session *s);

/* ---- mcast_phase.c ---- */
enum mcast_step { MCAST_STEP_WAIT, MCAST_STEP_MOVED, MCAST_STEP_FRAME };
enum mcast_step mcast_phase_run(struct mcast_session *s);      /* a frame is ready, the phase moved, or wait until s->wake */
void mcast_phase_plan_range(struct mcast_session *s, unsigned first);
void mcast_phase_announce(struct mcast_session *s, enum mcast_phase then);

/* ---- mcast_send.c ---- */
void mcast_send_announce(struct mcast_session *s);
void mcast_send_end(struct mcast_session *s, enum mcast_end reason);
void mcast_send_status(struct mcast_session *s, bool echo);
bool mcast_send_fragment(struct mcast_session *s, unsigned g, unsigned n, enum mcast_frame_kind kind); /* false: object unreadable now */
bool mcast_send_row(struct mcast_session *s, unsigned g);      /* false: likewise, or the snapshot must come first */
int mcast_send_pending(struct mcast_session *s);               /* the frame that waits; 0 gone, -EAGAIN */
void mcast_send_ask(struct mcast_session *s, enum mcast_poll_kind kind, bool all, unsigned n_expected);        /* a new STATUS */
void mcast_send_heard(struct mcast_session *s);                /* credit */
bool mcast_send_credit_poll(struct mcast_session *s);          /* no credit left: a STATUS is due; false: wait */
bool mcast_send_probe_due(struct mcast_session *s);
void mcast_send_probe(struct mcast_session *s);
int64_t mcast_send_window_left(const struct mcast_session *s); /* ms; INT64_MAX without windows */
struct mono mcast_send_window_start(const struct mcast_session *s, unsigned window);
uint32_t mcast_send_rows_left(const struct mcast_session *s);

/* ---- mcast_repair.c ---- */
void mcast_repair_estimate(struct mcast_session *s);           /* from s->samples */
void mcast_repair_proactive(struct mcast_session *s);          /* rows_left of the present range */
unsigned mcast_repair_plan(struct mcast_session *s);           /* rows_left and trims from the reports of the poll; members it will serve */
unsigned mcast_repair_sent(const struct mcast_gen *g);

/* ---- mcast_snapshot.c ---- */
void mcast_snapshot_persist(struct mcast_session *s);
void mcast_snapshot_soon(struct mcast_session *s);             /* within MCAST_PERSIST_WAIT_MS */
int mcast_snapshot_reserve(struct mcast_session *s);           /* memory for n_members; -ENOMEM */
