#include "delivery/mcast_session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "codec/parity.h"
#include "delivery/mcast_session_internal.h"

void mcast_tuning_default(struct mcast_tuning *ret)
{
	*ret = (struct mcast_tuning){
		.interleave = 8, .lost_max = 160,
		.sample_min = 8, .sample_max = 64, .sample_tries = 3,
		.unfinished = 4, .rounds_max = 40, .echo_every = 8,
		.announce_every = 256, .announce_copies = 3, .silent_end = 2,
		.credit = 1024, .credit_ttl_ms = 600 * 1000, .credit_slow = 256, .credit_poll_ms = 300 * 1000, .credit_polls = 12,
		.carousel = 3, .persist_every = 256, .restart_skip = 64,
		.setup_parallel = 8, .setup_tries = 4, .setup_retry_ms = 15 * 1000, .pull_parallel = 8,
		.member_rounds = 8, .member_share_percent = 150, .member_strikes = 3,
		.slot_ms = 50, .grace_ms = 1000, .setup_wait_ms = 300 * 1000, .invite_wait_ms = 30 * 1000,
		.pull_timeout_ms = 600 * 1000, .lazy_ms = 1800 * 1000, .lifetime_ms = 604800u * 1000u,
	};
}

static bool tuning_is_sane(const struct mcast_tuning *t)
{
	return t->interleave >= 1 && t->interleave <= MCAST_GENERATIONS_MAX && t->lost_max >= 1 && t->lost_max <= PARITY_M_MAX &&
	       t->sample_min >= 1 && t->sample_max >= t->sample_min && t->sample_max <= MCAST_SAMPLES && t->sample_tries >= 1 &&
	       t->unfinished >= 1 && t->echo_every >= 1 && t->announce_every >= 16 && t->announce_copies >= 1 && t->silent_end >= 1 &&
	       t->credit >= 16 && t->credit_ttl_ms >= 1000 && t->credit_poll_ms >= 1000 && t->credit_polls >= 1 &&
	       t->persist_every >= 1 && t->restart_skip >= 2 && t->restart_skip <= 1024 && t->setup_parallel >= 1 &&
	       t->setup_tries >= 1 && t->pull_parallel >= 1 && t->member_rounds >= 1 && t->member_strikes >= 1 && t->slot_ms >= 1 &&
	       t->slot_ms <= 255 && t->lifetime_ms >= 1000;
}

static int config_check(const struct mcast_session_config *cfg, struct mcast_geometry *ret)
{
	int r = mcast_geometry_of(cfg->size, cfg->z, cfg->k, cfg->log2_e, ret);

	if (r < 0)
		return -EINVAL;
	if (cfg->k / 8 > UINT8_MAX || cfg->alg > PARITY_TS004_V2 || !tuning_is_sane(&cfg->tuning) || cfg->link.gap_ms == 0 ||
	    cfg->link.gap_min_ms == 0 || cfg->link.sends_per_frame == 0 || cfg->link.hops == 0)
		return -EINVAL;
	if (cfg->windows.length_ms && (cfg->windows.period_ms < cfg->windows.length_ms || cfg->windows.length_ms < 1000))
		return -EINVAL;
	return 0;
}

static void fill_gens(struct mcast_session *s)
{
	for (unsigned g = 0; g < s->geo.n_generations; g++)
		s->gens[g] = (struct mcast_gen){ .where = mcast_geometry_generation(&s->geo, g), .next_row = 1, .safe_row = 1,
						 .kept_row = 1, .need_of = MCAST_MEMBER_NONE };
}

static void fill_windows(struct mcast_session *s)
{
	struct mcast_session_windows *w = &s->cfg.windows;

	s->windowed = w->length_ms > 0;
	if (s->windowed && w->count == 0) {
		unsigned n = mcast_plan_windows(&s->geo, w->length_ms, s->gap_ms, s->cfg.tuning.slot_ms, 0.2) + s->cfg.tuning.carousel;

		w->count = (uint16_t)(n < UINT16_MAX ? n : UINT16_MAX);
	}
}

int mcast_session_make(const struct mcast_session_config *cfg, const struct mcast_session_ops *ops, struct mono now,
		       struct mcast_session **ret)
{
	struct mcast_geometry geo;
	struct mcast_session *s;
	int r = config_check(cfg, &geo);

	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->cfg = *cfg;
	s->ops = *ops;
	s->geo = geo;
	s->gens = calloc(geo.n_generations, sizeof(*s->gens));
	s->bytes = calloc(cfg->k, cfg->z);
	s->snapshot.max = MCAST_SNAPSHOT_BYTES_MAX;
	if (!s->gens || !s->bytes || mcast_snapshot_reserve(s) < 0) {
		mcast_session_free(s);
		return -ENOMEM;
	}
	fill_gens(s);
	s->pace_ms = cfg->pace_ms ? cfg->pace_ms : cfg->link.gap_ms;
	if (s->pace_ms < cfg->link.gap_min_ms)
		s->pace_ms = cfg->link.gap_min_ms;
	s->gap_ms = s->pace_ms;
	fill_windows(s);
	s->started = s->phase_since = s->now = s->heard = now;
	s->next_tx = s->probe_at = s->wake = now;
	s->members_due = s->persist_by = MCAST_NEVER;
	s->idle = true;
	s->loaded = -1;
	s->credit = cfg->tuning.credit;
	s->slow_left = cfg->tuning.credit_slow;
	s->random = (uint32_t)(cfg->seed ^ cfg->seed >> 32) | 1;
	s->announces_left = cfg->tuning.announce_copies;
	mcast_phase_plan_range(s, 0);
	*ret = s;
	return 0;
}

int mcast_session_new(const struct mcast_session_config *cfg, const struct mcast_session_ops *ops, struct mono now,
		      struct mcast_session **ret)
{
	return mcast_session_make(cfg, ops, now, ret);
}

struct mcast_session *mcast_session_free(struct mcast_session *s)
{
	if (!s)
		return NULL;
	buf_done(&s->snapshot);
	free(s->gens);
	free(s->bytes);
	free(s->members);
	free(s);
	return NULL;
}

uint32_t mcast_session_random(struct mcast_session *s)
{
	uint32_t x = s->random;                                /* xorshift: only spreads where a trim begins */

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return s->random = x;
}

/* ---- the two functions that change where it stands ---- */

void mcast_session_enter(struct mcast_session *s, enum mcast_phase phase)
{
	enum mcast_phase was = s->phase;

	if (was == phase)
		return;
	s->phase = phase;
	s->phase_since = s->now;
	s->ops.event(s->ops.ctx, MCAST_EV_PHASE, was, phase);
	s->persist_due = true;
}

void mcast_session_set_paused(struct mcast_session *s, unsigned set, unsigned clear)
{
	unsigned was = s->paused;

	s->paused = (was & ~clear) | set;
	if (s->paused == was)
		return;
	s->idle = true;
	s->ops.event(s->ops.ctx, s->paused & ~was ? MCAST_EV_PAUSED : MCAST_EV_RESUMED, s->paused, was);
}

void mcast_session_give_up(struct mcast_session *s, int64_t why, int64_t detail)
{
	if (mcast_is_over(s))
		return;
	s->ops.event(s->ops.ctx, MCAST_EV_GAVE_UP, why, detail);
	mcast_session_abort(s, MCAST_END_ABORT, s->now);
}

/* ---- the step ---- */

static void run_timers(struct mcast_session *s)
{
	struct mono end = mono_add_ms(s->started, s->cfg.tuning.lifetime_ms);

	if (mcast_is_over(s))
		return;
	if (!mono_before(s->now, end)) {
		mcast_session_give_up(s, 1, 0);
		return;
	}
	mcast_wake(s, end);
	mcast_member_run(s);
}

/* When a window opens or closes; END 3 as its last frame. */
static void run_windows(struct mcast_session *s)
{
	struct mono start;

	if (!s->windowed || s->phase < MCAST_PHASE_ANNOUNCE || s->phase >= MCAST_PHASE_UNICAST || s->end_due)
		return;
	if (!(s->paused & MCAST_PAUSE_WINDOW)) {
		int64_t left = mcast_send_window_left(s) - 3 * (int64_t)s->gap_ms;

		if (left > 0)
			mcast_wake(s, mono_add_ms(s->now, left));
		else if (!s->window_closing) {
			s->window_closing = true;              /* END 3 leaves, then mcast_phase.c pauses */
			mcast_wake(s, s->next_tx);
		}
		return;
	}
	start = mcast_send_window_start(s, s->window);
	if (mono_before(s->now, start)) {
		mcast_wake(s, start);
		return;
	}
	mcast_session_set_paused(s, 0, MCAST_PAUSE_WINDOW);
	mcast_phase_announce(s, s->phase == MCAST_PHASE_ANNOUNCE ? s->then : s->phase);
}

static void run_persist(struct mcast_session *s)
{
	bool stuck = s->paused & MCAST_PAUSE_PERSIST;

	if (stuck && mono_diff_ms(s->now, s->persist_since) >= MCAST_PERSIST_RETRY_MS)
		s->persist_due = true;
	if (!mono_before(s->now, s->persist_by))
		s->persist_due = true;
	if (s->persist_due && s->frame_n == 0)                 /* never a position whose frame has not left */
		mcast_snapshot_persist(s);
	mcast_wake(s, s->persist_by);
	if (s->paused & MCAST_PAUSE_PERSIST)
		mcast_wake(s, mono_add_ms(s->persist_since, MCAST_PERSIST_RETRY_MS));
}

/* Sends what is due. False when nothing can leave now. */
static bool run_frame(struct mcast_session *s)
{
	enum mcast_step step;

	if (mcast_is_over(s) && !s->end_due && s->frame_n == 0)
		return false;
	if (mono_before(s->now, s->next_tx)) {
		mcast_wake(s, s->next_tx);
		return false;
	}
	for (unsigned i = 0; s->frame_n == 0 && i < 64; i++) {
		step = mcast_phase_run(s);
		if (step == MCAST_STEP_WAIT) {
			s->idle = true;
			return false;
		}
	}
	if (s->frame_n == 0) {
		mcast_wake(s, s->now);                         /* many moves without a frame: go on in the next step */
		return false;
	}
	return mcast_send_pending(s) == 0;
}

struct mono mcast_session_step(struct mcast_session *s, struct mono now)
{
	if (mono_before(s->now, now))
		s->now = now;
	s->wake = MCAST_NEVER;
	run_timers(s);
	for (unsigned i = 0; i < MCAST_BURST_MAX; i++) {
		run_windows(s);
		if (!run_frame(s)) {
			run_windows(s);                        /* what moved may wait for one */
			break;
		}
		if (i + 1 == MCAST_BURST_MAX)
			mcast_wake(s, s->now);
		mcast_wake(s, s->next_tx);
	}
	if (s->members_dirty)
		mcast_member_run(s);
	run_persist(s);
	return s->wake;
}

/* ---- inputs about the whole ---- */

void mcast_session_persisted(struct mcast_session *s, uint32_t token)
{
	if (token != s->token || token == s->token_safe)
		return;                                        /* an older one: the newest will come */
	s->token_safe = token;
	for (unsigned g = 0; g < s->geo.n_generations; g++)
		s->gens[g].safe_row = s->gens[g].kept_row;
	mcast_session_set_paused(s, 0, MCAST_PAUSE_PERSIST);
}

void mcast_session_yield(struct mcast_session *s, struct mono now)
{
	struct mono until = mono_add_ms(now, MCAST_YIELD_MS);

	if (mono_before(s->next_tx, until)) {
		s->next_tx = until;
		s->idle = false;
	}
}

void mcast_session_pause(struct mcast_session *s, struct mono now)
{
	s->now = now;
	if (!mcast_is_over(s))
		mcast_session_set_paused(s, MCAST_PAUSE_OPERATOR, 0);
}

void mcast_session_resume(struct mcast_session *s, struct mono now)
{
	s->now = now;
	if (!(s->paused & MCAST_PAUSE_OPERATOR))
		return;
	mcast_session_set_paused(s, 0, MCAST_PAUSE_OPERATOR);
	if (s->phase >= MCAST_PHASE_SYSTEMATIC && s->phase < MCAST_PHASE_UNICAST)
		mcast_phase_announce(s, s->phase);             /* who slept meanwhile hears that it goes on */
}

void mcast_session_abort(struct mcast_session *s, enum mcast_end reason, struct mono now)
{
	s->now = now;
	if (mcast_is_over(s))
		return;
	s->end_due = s->phase >= MCAST_PHASE_ANNOUNCE && s->phase < MCAST_PHASE_UNICAST;
	s->end_reason = reason;
	s->frame_n = 0;
	s->paused = 0;
	mcast_member_hand_back_all(s, MCAST_WHY_SESSION_OVER);
	mcast_session_enter(s, MCAST_PHASE_ABORTED);
}

void mcast_session_rekey(struct mcast_session *s, uint8_t gid, struct mono now)
{
	s->now = now;
	s->cfg.gid = gid;
	s->rekey_due = false;
	if (mcast_is_over(s))
		return;
	for (unsigned i = 0; i < s->n_members; i++) {
		enum mcast_member_state st = s->members[i].state;

		if (st == MCAST_MEMBER_JOINED || st == MCAST_MEMBER_INVITED) {
			s->members[i].tries = 0;
			mcast_member_set(s, i, MCAST_MEMBER_NEW, MCAST_WHY_NONE);
		}
	}
	s->frame_n = 0;
	if (s->phase >= MCAST_PHASE_ANNOUNCE && s->phase < MCAST_PHASE_UNICAST)
		mcast_session_set_paused(s, MCAST_PAUSE_REKEY, 0);
	s->persist_due = true;
}

bool mcast_session_rekey_due(const struct mcast_session *s)
{
	return s->rekey_due;
}
