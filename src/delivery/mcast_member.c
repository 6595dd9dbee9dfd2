#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "delivery/mcast_session_internal.h"

static struct mcast_member *member_of(const struct mcast_session *s, unsigned i)
{
	return i < s->n_members ? &s->members[i] : NULL;
}

static void set_due(struct mcast_session *s, struct mcast_member *m, struct mono due)
{
	m->due = due;
	if (mono_before(due, s->members_due))
		s->members_due = due;
}

void mcast_member_set(struct mcast_session *s, unsigned i, enum mcast_member_state state, enum mcast_member_why why)
{
	struct mcast_member *m = &s->members[i];
	enum mcast_member_state was = m->state;

	if (was == state)
		return;
	s->n_state[was]--;
	s->n_state[state]++;
	s->n_mute -= m->mute;
	m->mute = 0;
	m->state = (uint8_t)state;
	m->why = (uint8_t)why;
	m->due = MCAST_NEVER;
	m->told = 0;
	s->members_dirty = true;
	mcast_snapshot_soon(s);
	s->ops.member(s->ops.ctx, i, was, state, why);
}

/* ---- who takes part ---- */

int mcast_session_member_find(const struct mcast_session *s, const char *device)
{
	for (size_t i = 0; i < s->n_members; i++)
		if (strcmp(s->members[i].device, device) == 0)
			return (int)i;
	return MCAST_MEMBER_NONE;
}

int mcast_member_append(struct mcast_session *s, const char *device, enum mcast_member_state state)
{
	size_t n = strlen(device);
	struct mcast_member *m;

	if (n == 0 || n >= DEVICE_ID_BYTES)
		return -EINVAL;
	if (s->n_members >= MCAST_MEMBERS_MAX)
		return -ENOSPC;
	if (s->n_members == s->cap_members) {
		size_t cap = s->cap_members ? 2 * s->cap_members : 16;

		m = realloc(s->members, cap * sizeof(*m));
		if (!m)
			return -ENOMEM;
		s->members = m;
		s->cap_members = cap;
	}
	m = &s->members[s->n_members++];
	*m = (struct mcast_member){ .state = (uint8_t)state, .loss_permille = UINT16_MAX, .due = MCAST_NEVER,
				    .unsolicited = { INT64_MIN / 2 } };
	memcpy(m->device, device, n + 1);
	if (mcast_snapshot_reserve(s) < 0) {
		s->n_members--;
		return -ENOMEM;
	}
	s->n_state[state]++;
	s->members_dirty = true;
	return (int)s->n_members - 1;
}

static int add_again(struct mcast_session *s, int i, enum mcast_member_state state)
{
	struct mcast_member *m = &s->members[i];

	if (!mcast_member_handed_back(m->state) && m->state != MCAST_MEMBER_REMOVED)
		return -EEXIST;
	m->tries = m->strikes = m->digest_faults = 0;
	m->rounds_alone = 0;
	m->rows_alone = 0;
	mcast_member_set(s, (unsigned)i, state, MCAST_WHY_NONE);
	return i;
}

int mcast_session_member_add(struct mcast_session *s, const struct mcast_member_config *c, struct mono now)
{
	enum mcast_member_state state = c->has_key ? MCAST_MEMBER_INVITED : MCAST_MEMBER_NEW;
	int i;

	s->now = now;
	if (mcast_is_over(s))
		return -ESHUTDOWN;
	s->has_invited |= c->has_key;
	i = mcast_session_member_find(s, c->device);
	if (i >= 0)
		return add_again(s, i, state);
	i = mcast_member_append(s, c->device, state);
	if (i >= 0)
		mcast_snapshot_soon(s);
	return i;
}

int mcast_session_member_remove(struct mcast_session *s, unsigned i, struct mono now)
{
	struct mcast_member *m = member_of(s, i);

	s->now = now;
	if (!m || m->state == MCAST_MEMBER_REMOVED)
		return -ENOENT;
	mcast_member_set(s, i, MCAST_MEMBER_REMOVED, MCAST_WHY_REMOVED);
	s->rekey_due = !mcast_is_over(s);
	return 0;
}

static void join(struct mcast_session *s, unsigned i, enum mcast_member_why why)
{
	bool late = s->phase > MCAST_PHASE_SYSTEMATIC && s->members[i].loss_permille == UINT16_MAX &&
		    s->phase != MCAST_PHASE_ANNOUNCE && s->members[i].n_reports == 0;

	mcast_member_set(s, i, MCAST_MEMBER_JOINED, why);
	if (late && why != MCAST_WHY_REPORT && !(s->paused & MCAST_PAUSE_REKEY) && !(s->windowed && s->range_n < s->geo.n_generations))
		mcast_member_pull(s, i, MCAST_WHY_LATE);
}

/* ---- setup ---- */

static void ask(struct mcast_session *s, unsigned i)
{
	mcast_member_set(s, i, MCAST_MEMBER_ASKED, MCAST_WHY_NONE);
	s->members[i].tries++;
	s->setups_sent++;
	s->ops.setup(s->ops.ctx, i, s->members[i].device);
}

bool mcast_member_setups_open(const struct mcast_session *s)
{
	return s->n_state[MCAST_MEMBER_NEW] + s->n_state[MCAST_MEMBER_ASKED] > 0;
}

static void run_setups(struct mcast_session *s)
{
	if (s->paused & MCAST_PAUSE_OPERATOR)
		return;
	for (size_t n = 0; n < s->n_members && s->n_state[MCAST_MEMBER_NEW] > 0; n++) {
		unsigned i = (s->setup_turn + (unsigned)n) % (unsigned)s->n_members;
		struct mcast_member *m = &s->members[i];

		if (s->n_state[MCAST_MEMBER_ASKED] >= s->cfg.tuning.setup_parallel) {
			s->setup_turn = i;
			return;
		}
		if (m->state != MCAST_MEMBER_NEW)
			continue;
		if (m->due.ms != INT64_MAX && mono_before(s->now, m->due)) {
			set_due(s, m, m->due);
			continue;
		}
		ask(s, i);
	}
}

static void setup_failed(struct mcast_session *s, unsigned i)
{
	struct mcast_member *m = &s->members[i];

	if (m->tries >= s->cfg.tuning.setup_tries) {           /* its ack may be all that was lost: heard of until the end? */
		mcast_member_set(s, i, MCAST_MEMBER_INVITED, MCAST_WHY_NO_ANSWER);
		m->mute = 1;
		s->n_mute++;
		set_due(s, m, mono_add_ms(s->now, s->cfg.tuning.lazy_ms));
		return;
	}
	mcast_member_set(s, i, MCAST_MEMBER_NEW, MCAST_WHY_NONE);
	set_due(s, m, mono_add_ms(s->now, (int64_t)s->cfg.tuning.setup_retry_ms << (m->tries - 1 < 8 ? m->tries - 1 : 8)));
}

int mcast_session_setup_done(struct mcast_session *s, unsigned i, const struct mcast_ack *ack, int error, struct mono now)
{
	struct mcast_member *m = member_of(s, i);

	s->now = now;
	(void)error;                                           /* whatever it was, the node did not answer */
	if (!m || m->state != MCAST_MEMBER_ASKED)
		return -ENOENT;
	if (!ack || !mcast_sid_eq(&ack->sid, &s->cfg.sid)) {
		setup_failed(s, i);
		return 0;
	}
	mcast_send_heard(s);
	m->lost_max = ack->l;
	m->refusal = (uint8_t)ack->code;
	if (ack->code == MCAST_ACK_ACCEPTED)
		join(s, i, MCAST_WHY_ACK);
	else if (ack->code == MCAST_ACK_HAVE_IT)
		mcast_member_set(s, i, MCAST_MEMBER_READY, MCAST_WHY_HAD_IT);
	else if (ack->code == MCAST_ACK_NO_KEY)
		setup_failed(s, i);                            /* the next setup brings it */
	else
		mcast_member_set(s, i, MCAST_MEMBER_REFUSED, MCAST_WHY_REFUSED);
	return 0;
}

int mcast_session_descriptor_fetched(struct mcast_session *s, unsigned i, struct mono now)
{
	struct mcast_member *m = member_of(s, i);

	s->now = now;
	if (!m)
		return -ENOENT;
	mcast_send_heard(s);
	if (m->state == MCAST_MEMBER_NEW || m->state == MCAST_MEMBER_ASKED || m->state == MCAST_MEMBER_INVITED)
		join(s, i, MCAST_WHY_FETCHED);
	return 0;
}

/* ---- unicast ---- */

void mcast_member_pull(struct mcast_session *s, unsigned i, enum mcast_member_why why)
{
	if (s->members[i].state != MCAST_MEMBER_JOINED && s->members[i].state != MCAST_MEMBER_INVITED)
		return;
	mcast_member_set(s, i, MCAST_MEMBER_PULLING, why);
}

void mcast_member_strike(struct mcast_session *s, unsigned i, enum mcast_member_why why)
{
	struct mcast_member *m = &s->members[i];

	if (m->strikes < UINT8_MAX)
		m->strikes++;
	if (m->strikes == 1)
		s->ops.event(s->ops.ctx, MCAST_EV_SUSPECT, i, why);
	if (m->strikes >= s->cfg.tuning.member_strikes)
		mcast_member_pull(s, i, why);
}

static unsigned pulls_running(const struct mcast_session *s)
{
	unsigned n = 0;

	for (size_t i = 0; i < s->n_members; i++)
		n += s->members[i].state == MCAST_MEMBER_PULLING && s->members[i].told;
	return n;
}

static void run_pulls(struct mcast_session *s)
{
	unsigned n;

	if (s->n_state[MCAST_MEMBER_PULLING] == 0 || s->paused & MCAST_PAUSE_OPERATOR)
		return;
	n = pulls_running(s);
	for (size_t i = 0; i < s->n_members && n < s->cfg.tuning.pull_parallel; i++) {
		struct mcast_member *m = &s->members[i];

		if (m->state != MCAST_MEMBER_PULLING || m->told)
			continue;
		m->told = 1;
		n++;
		s->pulls_sent++;
		set_due(s, m, mono_add_ms(s->now, s->cfg.tuning.pull_timeout_ms));
		s->ops.pull(s->ops.ctx, (unsigned)i, m->device);
	}
}

int mcast_session_blocks_fetched(struct mcast_session *s, unsigned i, uint32_t blocks, struct mono now)
{
	struct mcast_member *m = member_of(s, i);

	s->now = now;
	if (!m)
		return -ENOENT;
	s->unicast_blocks += blocks;
	if (m->state == MCAST_MEMBER_PULLING && m->told)
		m->due = mono_add_ms(s->now, s->cfg.tuning.pull_timeout_ms);
	return 0;
}

/* ---- the end of a member ---- */

int mcast_session_member_ready(struct mcast_session *s, unsigned i, struct mono now)
{
	struct mcast_member *m = member_of(s, i);

	s->now = now;
	if (!m)
		return -ENOENT;
	if (m->state != MCAST_MEMBER_REMOVED && !mcast_member_handed_back(m->state))
		mcast_member_set(s, i, MCAST_MEMBER_READY, MCAST_WHY_DONE);
	return 0;
}

int mcast_session_member_failed(struct mcast_session *s, unsigned i, struct mono now)
{
	struct mcast_member *m = member_of(s, i);

	s->now = now;
	if (!m)
		return -ENOENT;
	if (m->state != MCAST_MEMBER_REMOVED && m->state != MCAST_MEMBER_READY && !mcast_member_handed_back(m->state))
		mcast_member_set(s, i, MCAST_MEMBER_FAILED, MCAST_WHY_REFUSED);
	return 0;
}

void mcast_member_hand_back_mute(struct mcast_session *s)
{
	for (unsigned i = 0; i < s->n_members && s->n_mute > 0; i++)
		if (s->members[i].mute)
			mcast_member_set(s, i, MCAST_MEMBER_SILENT, MCAST_WHY_NO_ANSWER);
}

void mcast_member_hand_back_all(struct mcast_session *s, enum mcast_member_why why)
{
	for (unsigned i = 0; i < s->n_members; i++) {
		enum mcast_member_state st = s->members[i].state;

		if (st < MCAST_MEMBER_READY)
			mcast_member_set(s, i, MCAST_MEMBER_FAILED, why);
	}
}

static void time_out(struct mcast_session *s, unsigned i)
{
	struct mcast_member *m = &s->members[i];

	m->due = MCAST_NEVER;
	if (m->state == MCAST_MEMBER_PULLING)
		mcast_member_set(s, i, MCAST_MEMBER_FAILED, MCAST_WHY_PULL_TIMEOUT);
	else if (m->mute)
		mcast_member_set(s, i, MCAST_MEMBER_SILENT, MCAST_WHY_NO_ANSWER);
	else
		s->members_dirty = true;                       /* NEW: its turn again */
}

/* Timers of members: looked at only when the earliest is due. */
static void run_due(struct mcast_session *s)
{
	if (mono_before(s->now, s->members_due))
		return;
	s->members_due = MCAST_NEVER;
	for (unsigned i = 0; i < s->n_members; i++) {
		struct mcast_member *m = &s->members[i];

		if (m->due.ms == INT64_MAX)
			continue;
		if (!mono_before(s->now, m->due))
			time_out(s, i);
		if (mono_before(m->due, s->members_due))
			s->members_due = m->due;
	}
}

void mcast_member_run(struct mcast_session *s)
{
	if (mcast_is_over(s) || s->phase == MCAST_PHASE_NEW)
		return;
	run_due(s);
	if (s->members_dirty) {
		s->members_dirty = false;
		run_setups(s);
		run_pulls(s);
		s->members_dirty = false;                      /* what they changed themselves is done */
	}
	if (!mono_before(s->now, s->members_due))
		mcast_wake(s, s->now);
	else
		mcast_wake(s, s->members_due);
}
