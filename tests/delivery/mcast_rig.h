/* tests/delivery/mcast_rig.h - a multicast session in virtual time with scripted members: a member loses frames by a
 * seeded coin (or by a rule of the test), counts what it holds, and answers STATUS as the specification says. It has no
 * matrix: a parity row helps with probability 1 - 2^-deficit, as random rows do. Everything sent is recorded. */
#pragma once
#include "delivery/mcast_session.h"

enum { RIG_MEMBERS_MAX = 128, RIG_FRAMES_MAX = 40000, RIG_M_MAX = 1024 };

struct rig_frame {
	struct mono at;
	enum mcast_type type;
	struct mcast_data data;                /* without its bytes */
	struct mcast_status status;
	struct mcast_announce announce;
	enum mcast_end end;
};

struct rig_member {
	double loss;
	bool dead, sleeping;                   /* hears nothing, says nothing; hears nothing for now */
	bool ignores_setup, mute, refuses;
	bool always_wants;                     /* reports want_d of generation want_g whatever it holds */
	uint8_t want_g;
	uint16_t want_d;
	bool ready, pulled, joined;
	uint32_t extra_flags;
	uint8_t *held[MCAST_GENERATIONS_MAX];  /* a byte a fragment */
	uint16_t n_held[MCAST_GENERATIONS_MAX], n_rows[MCAST_GENERATIONS_MAX];
	uint32_t heard, missed;                /* systematic frames */
	uint8_t seq;                           /* of the STATUS to answer, 0 = none */
	struct mono answer_at;
	bool answer_all;
	unsigned n_answers, n_setups, n_pulls;
};

struct rig {
	struct mcast_session_config cfg;
	struct mcast_session_ops ops;
	struct mcast_session *s;
	struct mcast_geometry geo;
	struct mono now;
	uint64_t random;
	uint8_t *object;
	struct rig_member members[RIG_MEMBERS_MAX];
	unsigned n_members;
	struct rig_frame *frames;
	size_t n_frames;
	/* what the ops answer */
	int send_error, read_error;
	bool keep_persist;                     /* snapshots are kept, but not acknowledged */
	bool setups_pending[RIG_MEMBERS_MAX];
	bool slow_setups;                      /* setups stay open */
	uint8_t *snapshot;
	size_t snapshot_n;
	uint32_t token;
	unsigned n_persisted;
	unsigned n_events[MCAST_SESSION_EVENT_COUNT];
	int64_t last_event[MCAST_SESSION_EVENT_COUNT][2];
	enum mcast_member_state state[RIG_MEMBERS_MAX];
	enum mcast_member_why why[RIG_MEMBERS_MAX];
	unsigned most_asked;                   /* setups under way at a time */
};

/* A session of `size` bytes for n members that lose frames with probability p; change cfg and members before rig_start(). */
struct rig *rig_new(uint32_t size, unsigned k, unsigned n_members, double p, uint64_t seed);
void rig_start(struct rig *r);                         /* creates the session and adds the members */
void rig_free(struct rig *r);
/* Steps until `until` says so, the session is over, or `most` of virtual time passed. Returns whether until() was met. */
typedef bool rig_until(struct rig *r, unsigned arg);
bool rig_run(struct rig *r, rig_until *until, unsigned arg, int64_t most_ms);
bool rig_run_phase(struct rig *r, enum mcast_phase phase);     /* until it is entered; an hour at most */
void rig_run_to_end(struct rig *r);                    /* asserts that the active phase ends */
bool rig_in_phase(struct rig *r, unsigned phase);
bool rig_in_phase_or_later(struct rig *r, unsigned phase);
void rig_crash(struct rig *r);                         /* the session is lost and restored from the newest snapshot */
unsigned rig_deficit(const struct rig *r, const struct rig_member *m, unsigned g);
bool rig_complete(const struct rig *r, const struct rig_member *m);
struct mcast_session_view rig_view(const struct rig *r);
unsigned rig_count(const struct rig *r, enum mcast_type type);
int rig_report(struct rig *r, unsigned member, uint8_t seq, unsigned loss, uint32_t flags, unsigned n,
	       const struct mcast_report_deficit *d);
