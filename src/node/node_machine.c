#include "node/node_machine.h"

#include <assert.h>

/* Where a step leads besides a state: decided from what the node knows. */
enum {
	TO_RESUME = NODE_STATE_COUNT,          /* registered: what does the phase ask for? */
	TO_REST,                               /* nothing to do: watch, sleep, or done */
	TO_AGAIN,                              /* after a pause or a sleep: as far back as needed */
	TO_REGISTER,                           /* denied: does the gateway not know us any more, or is this device not enrolled? */
	TO_COUNT,
};

enum { KEEP = NODE_PHASE_COUNT };              /* the phase stays */

struct move {
	uint8_t to;                            /* state or TO_..., plus 1; 0 = the event means nothing here */
	uint8_t phase;                         /* or KEEP */
};

#define GO(to_) { (to_) + 1, KEEP }
#define GO_AS(to_, phase_) { (to_) + 1, (phase_) }

static const struct move moves[NODE_STATE_COUNT][NODE_EVENT_COUNT] = {
	[NODE_OFF]      = { [NODE_EV_TIMER] = GO(NODE_DISCOVER) },
	[NODE_DISCOVER] = { [NODE_EV_OK] = GO(NODE_REGISTER), [NODE_EV_UNREACHABLE] = GO(NODE_PAUSE), [NODE_EV_DENIED] = GO(NODE_PAUSE) },
	[NODE_REGISTER] = { [NODE_EV_OK] = GO(TO_RESUME), [NODE_EV_UNREACHABLE] = GO(NODE_PAUSE), [NODE_EV_DENIED] = GO(NODE_PAUSE),
			    [NODE_EV_GONE] = GO(NODE_PAUSE) },
	[NODE_REFRESH]  = { [NODE_EV_OK] = GO(TO_RESUME), [NODE_EV_UNREACHABLE] = GO(NODE_PAUSE), [NODE_EV_GONE] = GO(NODE_REGISTER),
			    [NODE_EV_DENIED] = GO(NODE_REGISTER) },
	[NODE_CHECK]    = { [NODE_EV_NONE] = GO_AS(TO_REST, NODE_IDLE), [NODE_EV_OFFER] = GO_AS(NODE_REPORT_DOWNLOADING, NODE_PULLING),
			    [NODE_EV_REFUSED] = GO_AS(NODE_REPORT_FAILURE, NODE_FAILED), [NODE_EV_DENIED] = GO(TO_REGISTER),
			    [NODE_EV_UNREACHABLE] = GO(NODE_PAUSE) },
	[NODE_REPORT_DOWNLOADING]
			= { [NODE_EV_OK] = GO(NODE_PULL), [NODE_EV_GONE] = GO_AS(NODE_PAUSE, NODE_IDLE), [NODE_EV_DENIED] = GO(NODE_PAUSE),
			    [NODE_EV_UNREACHABLE] = GO(NODE_PAUSE) },
	[NODE_PULL]     = { [NODE_EV_OK] = GO_AS(NODE_REPORT_DOWNLOADED, NODE_WHOLE), [NODE_EV_BAD] = GO_AS(NODE_REPORT_FAILURE, NODE_FAILED),
			    [NODE_EV_GONE] = GO_AS(NODE_PAUSE, NODE_IDLE), [NODE_EV_DENIED] = GO(NODE_PAUSE), [NODE_EV_UNREACHABLE] = GO(NODE_PAUSE),
			    [NODE_EV_NONE] = GO(NODE_SLEEP) },         /* tired */
	[NODE_REPORT_DOWNLOADED]
			= { [NODE_EV_OK] = GO(NODE_INSTALL), [NODE_EV_GONE] = GO_AS(NODE_PAUSE, NODE_IDLE), [NODE_EV_DENIED] = GO(NODE_PAUSE),
			    [NODE_EV_UNREACHABLE] = GO(NODE_PAUSE) },
	[NODE_INSTALL]  = { [NODE_EV_OK] = GO_AS(NODE_REPORT_UPDATING, NODE_INSTALLED), [NODE_EV_BAD] = GO_AS(NODE_REPORT_FAILURE, NODE_FAILED) },
	[NODE_REPORT_UPDATING]                                         /* from here on only the restart counts */
			= { [NODE_EV_OK] = GO(NODE_REBOOT), [NODE_EV_GONE] = GO(NODE_REBOOT), [NODE_EV_DENIED] = GO(NODE_REBOOT),
			    [NODE_EV_UNREACHABLE] = GO(NODE_REBOOT) },
	[NODE_REBOOT]   = { [NODE_EV_TIMER] = GO(NODE_DISCOVER) },
	[NODE_REPORT_SUCCESS]
			= { [NODE_EV_OK] = GO_AS(NODE_CHECK, NODE_IDLE), [NODE_EV_GONE] = GO_AS(NODE_CHECK, NODE_IDLE),
			    [NODE_EV_DENIED] = GO(NODE_PAUSE), [NODE_EV_UNREACHABLE] = GO(NODE_PAUSE) },
	[NODE_REPORT_FAILURE]                                          /* then a rest: not the same offer at once again */
			= { [NODE_EV_OK] = GO_AS(TO_REST, NODE_IDLE), [NODE_EV_GONE] = GO_AS(TO_REST, NODE_IDLE),
			    [NODE_EV_DENIED] = GO(NODE_PAUSE), [NODE_EV_UNREACHABLE] = GO(NODE_PAUSE) },
	[NODE_WATCH]    = { [NODE_EV_OFFER] = GO_AS(NODE_REPORT_DOWNLOADING, NODE_PULLING), [NODE_EV_NONE] = GO(NODE_WATCH),
			    [NODE_EV_REFUSED] = GO_AS(NODE_REPORT_FAILURE, NODE_FAILED), [NODE_EV_UNREACHABLE] = GO(TO_AGAIN),
			    [NODE_EV_GONE] = GO(TO_AGAIN), [NODE_EV_DENIED] = GO(TO_AGAIN), [NODE_EV_TIMER] = GO(TO_AGAIN),
			    [NODE_EV_INVITED] = GO(NODE_JOIN) },
	[NODE_JOIN]     = { [NODE_EV_OFFER] = GO_AS(NODE_LISTEN, NODE_LISTENING), [NODE_EV_REFUSED] = GO_AS(NODE_REPORT_FAILURE, NODE_FAILED),
			    [NODE_EV_NONE] = GO_AS(TO_REST, NODE_IDLE), [NODE_EV_GONE] = GO_AS(NODE_CHECK, NODE_IDLE),
			    [NODE_EV_UNREACHABLE] = GO(NODE_PAUSE), [NODE_EV_DENIED] = GO(NODE_PAUSE), [NODE_EV_INVITED] = GO(NODE_JOIN) },
	[NODE_LISTEN]   = { [NODE_EV_OK] = GO_AS(NODE_PULL, NODE_PULLING),     /* which finds the image there and checks it */
			    [NODE_EV_GONE] = GO_AS(NODE_CHECK, NODE_IDLE), [NODE_EV_OFFER] = GO_AS(NODE_REPORT_DOWNLOADING, NODE_PULLING),
			    [NODE_EV_REFUSED] = GO_AS(NODE_REPORT_FAILURE, NODE_FAILED), [NODE_EV_INVITED] = GO(NODE_JOIN),
			    [NODE_EV_UNREACHABLE] = GO(NODE_PAUSE), [NODE_EV_TIMER] = GO(TO_AGAIN) },
	[NODE_SLEEP]    = { [NODE_EV_TIMER] = GO(TO_AGAIN) },
	[NODE_PAUSE]    = { [NODE_EV_TIMER] = GO(TO_AGAIN) },
};

static uint64_t next_random(struct node_machine *m)            /* splitmix64 */
{
	uint64_t z = m->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static double random_fraction(struct node_machine *m)
{
	return (double)(next_random(m) >> 11) / 9007199254740992.0;    /* 2^53 */
}

/* ms, a tenth more or less. */
static int64_t jittered(struct node_machine *m, int64_t ms)
{
	return (int64_t)((double)ms * (0.9 + 0.2 * random_fraction(m)));
}

static struct mono refresh_due(const struct node_machine *m)
{
	return mono_add_ms(m->registered_at, m->plan.lifetime_ms * 3 / 4);
}

static enum node_state resume_state(const struct node_machine *m)
{
	switch (m->phase) {
	case NODE_WHOLE:
		return NODE_REPORT_DOWNLOADED;
	case NODE_INSTALLED:
		return NODE_REPORT_SUCCESS;
	case NODE_FAILED:
		return NODE_REPORT_FAILURE;
	case NODE_LISTENING:
		return NODE_JOIN;
	case NODE_IDLE:
	case NODE_PULLING:                     /* is the offer still there? then it goes on from its offset */
	case NODE_PHASE_COUNT:
		break;
	}
	return NODE_CHECK;
}

static enum node_state again_state(const struct node_machine *m, struct mono now)
{
	if (!m->is_discovered)
		return NODE_DISCOVER;
	if (!m->is_registered)
		return NODE_REGISTER;
	return mono_before(now, refresh_due(m)) ? resume_state(m) : NODE_REFRESH;
}

static enum node_state rest_state(const struct node_machine *m)
{
	if (m->plan.multicast && (m->is_invited || !m->is_asked))
		return NODE_JOIN;
	if (m->plan.once)
		return NODE_DONE;
	return m->plan.sleep_ms > 0 ? NODE_SLEEP : NODE_WATCH;
}

static enum node_state resolve(const struct node_machine *m, unsigned to, struct mono now)
{
	switch (to) {
	case TO_RESUME:
		return resume_state(m);
	case TO_REST:
		return rest_state(m);
	case TO_AGAIN:
		return again_state(m, now);
	case TO_REGISTER:
		return m->is_just_registered ? rest_state(m) : NODE_REGISTER;
	default:
		assert(to < NODE_STATE_COUNT);
		return (enum node_state)to;
	}
}

static void forget(struct node_machine *m)
{
	m->is_discovered = m->is_registered = m->is_asked = m->is_invited = false;
	m->is_just_registered = false;
	m->n_unanswered = 0;
}

static void set_timer(struct node_machine *m, struct mono now, int64_t in_ms)
{
	m->timer_at = mono_add_ms(now, in_ms > 0 ? in_ms : 0);
	m->has_timer = true;
}

static int64_t pause_ms(struct node_machine *m)
{
	int64_t ms = m->plan.pause_ms;

	for (unsigned i = 1; i < m->n_unanswered && ms < m->plan.pause_max_ms; i++)
		ms *= 2;
	return jittered(m, ms < m->plan.pause_max_ms ? ms : m->plan.pause_max_ms);
}

/* ms and a little more or less, but not past the registration's renewal. */
static int64_t watch_ms(struct node_machine *m, int64_t ms, struct mono now)
{
	int64_t due = mono_diff_ms(refresh_due(m), now);

	ms = jittered(m, ms);

	return due < ms ? due : ms;
}

/* What entering a state does besides its action. */
static void enter(struct node_machine *m, enum node_state s, struct mono now)
{
	m->state = s;
	m->has_timer = false;
	if (s == NODE_WATCH || s == NODE_SLEEP)
		m->is_just_registered = false;
	switch (s) {
	case NODE_OFF:
	case NODE_REBOOT:
		forget(m);
		set_timer(m, now, jittered(m, m->plan.reboot_ms));
		return;
	case NODE_SLEEP:
		m->n_unanswered = 0;
		m->is_asked = false;
		set_timer(m, now, jittered(m, m->plan.sleep_ms));
		return;
	case NODE_PAUSE:
		set_timer(m, now, pause_ms(m));
		return;
	case NODE_WATCH:
		set_timer(m, now, watch_ms(m, m->plan.watch_ms, now));
		return;
	case NODE_LISTEN:
		set_timer(m, now, watch_ms(m, m->plan.listen_ms, now));
		return;
	case NODE_JOIN:
		m->is_invited = false;
		break;
	case NODE_CHECK:
		m->n_checks++;
		break;
	case NODE_DISCOVER:
	case NODE_REGISTER:
	case NODE_REFRESH:
	case NODE_REPORT_DOWNLOADING:
	case NODE_PULL:
	case NODE_REPORT_DOWNLOADED:
	case NODE_INSTALL:
	case NODE_REPORT_UPDATING:
	case NODE_REPORT_SUCCESS:
	case NODE_REPORT_FAILURE:
		break;
	case NODE_DONE:
	case NODE_STATE_COUNT:
		return;
	}
	set_timer(m, now, m->plan.answer_ms);
}

/* What an event tells, whatever comes next. */
static void learn(struct node_machine *m, enum node_event ev, struct mono now)
{
	bool was_resting = m->state == NODE_OFF || m->state == NODE_REBOOT || m->state == NODE_SLEEP;

	if (was_resting && ev == NODE_EV_TIMER) {
		m->awake_at = now;
		m->n_boots += m->state != NODE_SLEEP;
		m->n_wakes += m->state == NODE_SLEEP;
	}
	if (ev == NODE_EV_UNREACHABLE || ev == NODE_EV_DENIED)
		m->n_unanswered++;
	else if (ev != NODE_EV_TIMER && m->state != NODE_DISCOVER)
		m->n_unanswered = 0;
	if (m->state == NODE_DISCOVER && ev == NODE_EV_OK)
		m->is_discovered = true;
	if ((m->state == NODE_REGISTER || m->state == NODE_REFRESH) && ev == NODE_EV_OK) {
		m->is_registered = m->is_just_registered = true;
		m->registered_at = now;
	}
	if (m->state == NODE_JOIN && ev != NODE_EV_UNREACHABLE && ev != NODE_EV_DENIED)
		m->is_asked = true;
	if (ev == NODE_EV_DENIED || (m->state == NODE_REFRESH && ev == NODE_EV_GONE))
		m->is_registered = false;      /* also when a gateway that lost its memory does not know us */
	m->n_updates += m->state == NODE_REPORT_SUCCESS && (ev == NODE_EV_OK || ev == NODE_EV_GONE);
	m->n_failures += m->state == NODE_REPORT_FAILURE && (ev == NODE_EV_OK || ev == NODE_EV_GONE);
}

static bool crash(struct node_machine *m, struct mono now)
{
	m->n_crashes++;
	enter(m, NODE_OFF, now);
	return true;
}

static bool is_powered(enum node_state s)
{
	return s != NODE_OFF && s != NODE_REBOOT && s != NODE_SLEEP && s != NODE_DONE;
}

/* A gateway that stays silent: a sleeper does not wait awake for it, and whoever waited long finds its way anew. */
static enum node_state give_up(struct node_machine *m, enum node_state to, struct mono now)
{
	if (to != NODE_PAUSE)
		return to;
	if (m->n_unanswered >= 3)
		m->is_discovered = false;
	return m->plan.sleep_ms > 0 && (m->n_unanswered >= 2 || node_machine_is_tired(m, now)) ? NODE_SLEEP : to;
}

bool node_machine_step(struct node_machine *m, enum node_event ev, struct mono now)
{
	bool is_resting = m->state == NODE_WATCH || m->state == NODE_LISTEN || m->state == NODE_PAUSE || !is_powered(m->state);

	if (ev == NODE_EV_CRASH)
		return m->state != NODE_DONE && crash(m, now);
	if (ev == NODE_EV_TIMER && !is_resting)
		ev = NODE_EV_UNREACHABLE;      /* the action told nothing for answer_ms */
	const struct move mv = moves[m->state][ev];
	const enum node_phase was = m->phase;
	if (!mv.to)
		return false;
	learn(m, ev, now);
	if (mv.phase != KEEP)
		m->phase = (enum node_phase)mv.phase;
	enter(m, give_up(m, resolve(m, mv.to - 1u, now), now), now);
	if (m->plan.crash > 0 && is_powered(m->state) && random_fraction(m) < m->plan.crash) {
		if (next_random(m) & 1)
			m->phase = was;        /* the power went before it was written down */
		return crash(m, now);
	}
	return true;
}

bool node_machine_invite(struct node_machine *m)
{
	m->is_invited = true;
	return m->state == NODE_WATCH || m->state == NODE_LISTEN || m->state == NODE_JOIN;
}

void node_machine_progress(struct node_machine *m, struct mono now)
{
	if (m->state == NODE_PULL)
		set_timer(m, now, m->plan.answer_ms);
}

bool node_machine_draw_crash(struct node_machine *m)
{
	return m->plan.crash > 0 && random_fraction(m) < m->plan.crash / 50;
}

bool node_machine_is_tired(const struct node_machine *m, struct mono now)
{
	return m->plan.sleep_ms > 0 && m->plan.awake_ms > 0 && mono_diff_ms(now, m->awake_at) >= m->plan.awake_ms;
}

void node_machine_init(struct node_machine *m, const struct node_plan *plan, enum node_phase phase, struct mono now, int64_t spread_ms)
{
	*m = (struct node_machine){ .plan = *plan, .phase = phase, .random = plan->seed };
	enter(m, NODE_OFF, now);
	set_timer(m, now, (int64_t)(random_fraction(m) * (double)spread_ms));
}

static const char *const state_names[] = {
#define X(id_, name_) [id_] = name_,
	NODE_STATE_LIST(X)
};
static const char *const phase_names[] = { NODE_PHASE_LIST(X) };
static const char *const event_names[] = { NODE_EVENT_LIST(X)
#undef X
};

const char *node_state_name(enum node_state s) { return s < NODE_STATE_COUNT ? state_names[s] : "?"; }
const char *node_phase_name(enum node_phase p) { return p < NODE_PHASE_COUNT ? phase_names[p] : "?"; }
const char *node_event_name(enum node_event e) { return e < NODE_EVENT_COUNT ? event_names[e] : "?"; }
