#include "codec/parity.h"
#include "delivery/mcast_session_internal.h"

enum { ANNOUNCE_KNOWN = 4 };                   /* when every member has joined there is hardly anybody left to tell */

/* ---- ranges: without windows the whole object, with windows what one window holds ---- */

void mcast_phase_plan_range(struct mcast_session *s, unsigned first)
{
	s->range_first = first;
	s->range_n = s->geo.n_generations - first;
	if (s->windowed)
		s->range_n = mcast_plan_window(&s->geo, first, s->cfg.windows.length_ms, s->gap_ms, s->cfg.tuning.slot_ms,
					       s->has_loss ? s->loss.p : 0.2);
	s->block = 0;
	s->at_n = 1;
	s->at_g = 0;
	s->row_g = first;
}

static bool range_is_last(const struct mcast_session *s)
{
	return s->range_first + s->range_n >= s->geo.n_generations;
}

/* After the last range, repair is about everything. */
static void open_range(struct mcast_session *s)
{
	s->range_first = 0;
	s->range_n = s->geo.n_generations;
}

/* ---- windows ---- */

/* The window that is open, or the next one. False: there is none any more. */
static bool find_window(struct mcast_session *s)
{
	while (s->window < s->cfg.windows.count && mcast_send_window_left(s) < 3 * (int64_t)s->gap_ms)
		s->window++;
	return s->window < s->cfg.windows.count;
}

static void pull_all_wanting(struct mcast_session *s)
{
	for (unsigned i = 0; i < s->n_members; i++)
		if (s->members[i].n_claims > 0)
			mcast_member_pull(s, i, MCAST_WHY_CHEAPER);
}

static void finish(struct mcast_session *s)
{
	s->end_due = true;
	s->end_reason = MCAST_END_COMPLETE;
	s->poll.is_open = false;
	s->window_closing = false;
	mcast_member_hand_back_mute(s);
	mcast_session_set_paused(s, 0, MCAST_PAUSE_WINDOW | MCAST_PAUSE_CREDIT | MCAST_PAUSE_PERSIST | MCAST_PAUSE_OBJECT);
	mcast_session_enter(s, MCAST_PHASE_UNICAST);
}

/* END 3 has left: sleep until the next window, or end if there is none. */
static void close_window(struct mcast_session *s)
{
	s->window_closing = false;
	s->window++;
	if (s->phase >= MCAST_PHASE_STATUS && range_is_last(s))
		s->carousel_used++;
	if (!find_window(s) || s->carousel_used > s->cfg.tuning.carousel) {
		pull_all_wanting(s);
		finish(s);
		return;
	}
	if (mono_before(s->now, mcast_send_window_start(s, s->window)))
		mcast_session_set_paused(s, MCAST_PAUSE_WINDOW, 0);
	else
		mcast_phase_announce(s, s->phase == MCAST_PHASE_ANNOUNCE ? s->then : s->phase);
}

void mcast_phase_announce(struct mcast_session *s, enum mcast_phase then)
{
	s->then = then;
	s->announces_left = s->cfg.tuning.announce_copies;
	mcast_session_enter(s, MCAST_PHASE_ANNOUNCE);
}

/* ---- phases before data ---- */

static enum mcast_step run_new(struct mcast_session *s)
{
	mcast_session_enter(s, MCAST_PHASE_SETUP);
	s->members_dirty = true;
	mcast_member_run(s);
	return MCAST_STEP_MOVED;
}

static enum mcast_step run_setup(struct mcast_session *s)
{
	/* A thousand members answer one after the other: as long as somebody does, it goes on. */
	struct mono since = mono_before(s->phase_since, s->heard) ? s->heard : s->phase_since;
	struct mono end = mono_add_ms(since, s->cfg.tuning.setup_wait_ms);
	bool is_open = mcast_member_setups_open(s);

	if (is_open && (mono_before(s->now, end) || mcast_listeners(s) == 0)) {
		if (mono_before(s->now, end))
			mcast_wake(s, end);
		return MCAST_STEP_WAIT;
	}
	if (mcast_listeners(s) == 0) {                         /* nobody to send to */
		mcast_member_hand_back_mute(s);
		mcast_session_enter(s, MCAST_PHASE_LAZY);
		return MCAST_STEP_MOVED;
	}
	if (s->windowed && !find_window(s)) {
		for (unsigned i = 0; i < s->n_members; i++)
			mcast_member_pull(s, i, MCAST_WHY_LATE);
		finish(s);
		return MCAST_STEP_MOVED;
	}
	mcast_phase_announce(s, MCAST_PHASE_SYSTEMATIC);
	if (s->windowed && mono_before(s->now, mcast_send_window_start(s, s->window)))
		mcast_session_set_paused(s, MCAST_PAUSE_WINDOW, 0);
	return MCAST_STEP_MOVED;
}

/* Who knows of it by ANNOUNCE alone fetches the descriptor first, and our answer may take a few tries to reach it: data sent
 * meanwhile would have to be sent to it again. */
static bool waits_for_invited(struct mcast_session *s)
{
	int64_t most = (int64_t)s->cfg.tuning.invite_wait_ms + (int64_t)s->n_members * s->cfg.tuning.slot_ms;
	struct mono end = mono_add_ms(s->phase_since, most), settled = mono_add_ms(s->heard, s->cfg.tuning.invite_wait_ms / 3);

	if (s->then != MCAST_PHASE_SYSTEMATIC || s->position > 0 || !s->has_invited)
		return false;
	if (s->n_state[MCAST_MEMBER_INVITED] == 0 && mono_before(settled, end))
		end = settled;
	if (!mono_before(s->now, end))
		return false;
	mcast_wake(s, end);
	return true;
}

static enum mcast_step run_announce(struct mcast_session *s)
{
	if (s->announces_left > 0) {
		s->announces_left--;
		mcast_send_announce(s);
		return MCAST_STEP_FRAME;
	}
	if (waits_for_invited(s))
		return MCAST_STEP_WAIT;
	mcast_session_enter(s, s->then);
	return MCAST_STEP_MOVED;
}

/* ---- data ---- */

/* What interrupts data: a repeated ANNOUNCE, a sign of life asked for. */
static bool interrupt(struct mcast_session *s)
{
	unsigned every = s->cfg.tuning.announce_every;

	if (s->n_state[MCAST_MEMBER_INVITED] == s->n_mute && !mcast_member_setups_open(s))
		every *= ANNOUNCE_KNOWN;
	if (s->since_announce >= every)
		mcast_send_announce(s);
	else if (mcast_send_probe_due(s))
		mcast_send_probe(s);
	else
		return false;
	return true;
}

/* C6.2: blocks of I generations; in a block N = 1, 2, ... round robin. False at the end of the range. */
static bool next_fragment(struct mcast_session *s, unsigned *ret_g, unsigned *ret_n)
{
	while (s->block < s->range_n) {
		unsigned n_gens = s->range_n - s->block, most = 0;

		if (n_gens > s->cfg.tuning.interleave)
			n_gens = s->cfg.tuning.interleave;
		for (unsigned i = 0; i < n_gens; i++)
			if (s->gens[s->range_first + s->block + i].where.m > most)
				most = s->gens[s->range_first + s->block + i].where.m;
		for (; s->at_n <= most; s->at_n++, s->at_g = 0)
			for (; s->at_g < n_gens; s->at_g++) {
				unsigned g = s->range_first + s->block + s->at_g;

				if (s->at_n > s->gens[g].where.m)
					continue;
				*ret_g = g;
				*ret_n = s->at_n;
				return true;
			}
		s->block += n_gens;
		s->at_n = 1;
		s->at_g = 0;
	}
	return false;
}

static void begin_status(struct mcast_session *s)
{
	s->poll.is_open = false;
	s->silent = 0;
	/* After a pass sized for it, about c members are unfinished; without one, anybody may be. */
	s->last_wanting = s->has_loss && s->cfg.alg != PARITY_NONE ? s->cfg.tuning.unfinished : mcast_listeners(s);
	mcast_session_enter(s, MCAST_PHASE_STATUS);
}

static void begin_proactive(struct mcast_session *s)
{
	s->tries = 0;
	s->row_g = s->range_first;
	mcast_repair_proactive(s);
	mcast_session_enter(s, MCAST_PHASE_PROACTIVE);
}

static enum mcast_step run_systematic(struct mcast_session *s)
{
	unsigned g, n;

	if (interrupt(s))
		return MCAST_STEP_FRAME;
	if (!next_fragment(s, &g, &n)) {
		s->tries = 0;
		s->poll.is_open = false;
		if (s->has_loss && s->windowed)
			begin_proactive(s);
		else
			mcast_session_enter(s, MCAST_PHASE_SAMPLE);
		return MCAST_STEP_MOVED;
	}
	if (!mcast_send_fragment(s, g, n, MCAST_SENT_SYSTEMATIC))
		return MCAST_STEP_MOVED;
	s->at_g++;
	s->position++;
	if (s->gens[g].sent < n)
		s->gens[g].sent = (uint16_t)n;
	return MCAST_STEP_FRAME;
}

/* Trims and parity that are planned, generation after generation. */
static enum mcast_step run_rows(struct mcast_session *s)
{
	if (interrupt(s))
		return MCAST_STEP_FRAME;
	for (; s->row_g < s->geo.n_generations; s->row_g++) {
		struct mcast_gen *gen = &s->gens[s->row_g];

		if (gen->trim_left > 0) {
			if (!mcast_send_fragment(s, s->row_g, gen->trim_at % gen->where.m + 1u, MCAST_SENT_TRIM))
				return MCAST_STEP_MOVED;
			gen->trim_at = (uint16_t)((gen->trim_at + 1) % gen->where.m);
			gen->trim_left--;
			gen->trimmed += gen->trimmed < UINT16_MAX;
			return MCAST_STEP_FRAME;
		}
		if (gen->rows_left > 0 && gen->next_row > parity_n_max(gen->where.m))
			gen->rows_left = 0;                    /* used up; unicast must do */
		if (gen->rows_left > 0)
			return mcast_send_row(s, s->row_g) ? MCAST_STEP_FRAME : MCAST_STEP_MOVED;
	}
	if (s->phase == MCAST_PHASE_PROACTIVE)
		begin_status(s);
	else
		mcast_session_enter(s, MCAST_PHASE_STATUS);
	return MCAST_STEP_MOVED;
}

/* ---- questions ---- */

static bool poll_waits(struct mcast_session *s)
{
	unsigned n = mcast_listeners(s);

	if (!mono_before(s->now, s->poll.until))
		return false;
	if (n > 0 && s->poll.n_heard >= n && (!s->poll.all || s->poll.n_expected >= n))
		return false;                                  /* everybody has answered */
	mcast_wake(s, s->poll.until);
	return true;
}

static enum mcast_step run_sample(struct mcast_session *s)
{
	unsigned n = mcast_listeners(s), enough = n < 3 ? n : 3;

	if (!s->poll.is_open || s->poll.kind != MCAST_POLL_SAMPLE) {
		if (s->tries++ == 0)
			s->n_samples = 0;
		mcast_send_ask(s, MCAST_POLL_SAMPLE, true,
			       mcast_plan_sample(s->geo.n_fragments, n, s->cfg.tuning.sample_min, s->cfg.tuning.sample_max));
		return MCAST_STEP_FRAME;
	}
	if (poll_waits(s))
		return MCAST_STEP_WAIT;
	s->poll.is_open = false;
	if (s->n_samples >= enough || s->tries >= s->cfg.tuning.sample_tries) {
		mcast_repair_estimate(s);
		begin_proactive(s);
	}
	return MCAST_STEP_MOVED;
}

/* The window has done its work: the next one goes on with the next range, after the last with what is left of all. */
static void end_window(struct mcast_session *s)
{
	if (range_is_last(s)) {
		open_range(s);
	} else {
		mcast_phase_plan_range(s, s->range_first + s->range_n);
		mcast_session_enter(s, MCAST_PHASE_SYSTEMATIC);
	}
	s->window_closing = true;
}

/* Nobody wants anything: is this the end, of the window or of all? */
static void silent_status(struct mcast_session *s)
{
	bool was_last = range_is_last(s);

	if (!s->windowed) {
		if (++s->silent >= s->cfg.tuning.silent_end)
			finish(s);
		return;
	}
	s->windows_silent = was_last ? s->windows_silent + 1 : 0;
	if (s->windows_silent >= s->cfg.tuning.silent_end)
		finish(s);
	else
		end_window(s);
}

static enum mcast_step run_status(struct mcast_session *s)
{
	uint32_t pulls;

	if (!s->poll.is_open || s->poll.kind != MCAST_POLL_STATUS) {
		mcast_send_ask(s, MCAST_POLL_STATUS, false, s->last_wanting < mcast_listeners(s) ? s->last_wanting : mcast_listeners(s));
		return MCAST_STEP_FRAME;
	}
	if (s->poll.echo_due && mono_before(s->now, s->poll.until)) {
		s->poll.echo_due = false;
		s->poll.echoed = true;
		mcast_send_status(s, true);
		return MCAST_STEP_FRAME;
	}
	if (poll_waits(s))
		return MCAST_STEP_WAIT;
	s->poll.is_open = false;
	if (s->poll.n_wanting == 0) {
		silent_status(s);
		return MCAST_STEP_MOVED;
	}
	s->silent = s->windows_silent = 0;
	s->last_wanting = s->poll.echoed ? 2 * s->poll.n_wanting : s->poll.n_wanting;
	s->row_g = 0;
	s->round++;
	pulls = s->n_state[MCAST_MEMBER_PULLING];
	if (mcast_repair_plan(s) > 0)
		mcast_session_enter(s, MCAST_PHASE_REPAIR);
	else if (s->windowed && s->n_state[MCAST_MEMBER_PULLING] == pulls)
		end_window(s);                                 /* all they want is of other windows */
	return MCAST_STEP_MOVED;
}

/* ---- after END ---- */

static enum mcast_step run_unicast(struct mcast_session *s)
{
	if (s->n_state[MCAST_MEMBER_PULLING] > 0)
		return MCAST_STEP_WAIT;
	mcast_session_enter(s, MCAST_PHASE_LAZY);
	return MCAST_STEP_MOVED;
}

/* Members that spoke once and were not heard of since may still lack something: they are told to pull only that. Who never
 * said a word is handed back. */
static enum mcast_step run_lazy(struct mcast_session *s)
{
	struct mono end = mono_add_ms(s->phase_since, s->cfg.tuning.lazy_ms);

	if (mcast_listeners(s) > 0) {
		if (mono_before(s->now, end)) {
			mcast_wake(s, end);
			return MCAST_STEP_WAIT;
		}
		for (unsigned i = 0; i < s->n_members; i++) {
			enum mcast_member_state st = s->members[i].state;

			if (s->members[i].n_reports > 0)
				mcast_member_pull(s, i, MCAST_WHY_NEVER_HEARD);
			else if (st == MCAST_MEMBER_JOINED || st == MCAST_MEMBER_INVITED)
				mcast_member_set(s, i, MCAST_MEMBER_FAILED, MCAST_WHY_NEVER_HEARD);
		}
		mcast_member_run(s);
	}
	if (mcast_member_setups_open(s) || s->n_state[MCAST_MEMBER_PULLING] > 0)
		return MCAST_STEP_WAIT;
	mcast_session_enter(s, MCAST_PHASE_DONE);
	return MCAST_STEP_WAIT;
}

/* ---- all of it ---- */

static enum mcast_step run_paused(struct mcast_session *s)
{
	if (s->paused & (MCAST_PAUSE_OPERATOR | MCAST_PAUSE_WINDOW | MCAST_PAUSE_PERSIST))
		return MCAST_STEP_WAIT;
	if (s->paused & MCAST_PAUSE_OBJECT) {                  /* next_tx is the time to try again */
		if (mono_before(s->now, s->next_tx)) {
			mcast_wake(s, s->next_tx);
			return MCAST_STEP_WAIT;
		}
		mcast_session_set_paused(s, 0, MCAST_PAUSE_OBJECT);
		return MCAST_STEP_MOVED;
	}
	if (s->paused & MCAST_PAUSE_REKEY) {
		if (mcast_member_setups_open(s))
			return MCAST_STEP_WAIT;
		mcast_session_set_paused(s, 0, MCAST_PAUSE_REKEY);
		mcast_phase_announce(s, s->phase == MCAST_PHASE_ANNOUNCE ? s->then : s->phase);
		return MCAST_STEP_MOVED;
	}
	return mcast_send_credit_poll(s) ? MCAST_STEP_FRAME : MCAST_STEP_WAIT;
}

enum mcast_step mcast_phase_run(struct mcast_session *s)
{
	if (s->end_due) {
		s->end_due = false;
		mcast_send_end(s, s->end_reason);
		return MCAST_STEP_FRAME;
	}
	if (s->window_closing && !(s->paused & MCAST_PAUSE_OPERATOR)) {
		mcast_send_end(s, MCAST_END_WINDOW);
		close_window(s);
		return MCAST_STEP_FRAME;
	}
	if (s->paused && !mcast_is_over(s))
		return run_paused(s);
	switch (s->phase) {
	case MCAST_PHASE_NEW:
		return run_new(s);
	case MCAST_PHASE_SETUP:
		return run_setup(s);
	case MCAST_PHASE_ANNOUNCE:
		return run_announce(s);
	case MCAST_PHASE_SYSTEMATIC:
		return run_systematic(s);
	case MCAST_PHASE_SAMPLE:
		return run_sample(s);
	case MCAST_PHASE_PROACTIVE:
	case MCAST_PHASE_REPAIR:
		return run_rows(s);
	case MCAST_PHASE_STATUS:
		return run_status(s);
	case MCAST_PHASE_UNICAST:
		return run_unicast(s);
	case MCAST_PHASE_LAZY:
		return run_lazy(s);
	case MCAST_PHASE_DONE:
	case MCAST_PHASE_ABORTED:
	case MCAST_PHASE_COUNT:
		break;
	}
	return MCAST_STEP_WAIT;
}
