#include <errno.h>

#include "codec/parity.h"
#include "delivery/mcast_session_internal.h"

enum { MCAST_LOSS_UNKNOWN = 1000 };             /* MCD-8: it heard nothing, or was restarted */

/* Rows and repeated fragments of a generation so far: what a member could have received after its last word. */
unsigned mcast_repair_sent(const struct mcast_gen *g)
{
	return g->next_row - 1u + g->trimmed;
}

/* ---- what a report may say ---- */

static bool claims_are_possible(const struct mcast_session *s, const struct mcast_report *r)
{
	uint8_t seen[MCAST_GENERATIONS_MAX / 8] = { 0 };

	if (r->n_deficits > MCAST_REPORT_DEFICITS_MAX || r->loss_permille > 1000)
		return false;
	if (r->flags & MCAST_REPORT_DONE && r->n_deficits > 0)
		return false;
	for (size_t i = 0; i < r->n_deficits; i++) {
		unsigned g = r->deficits[i].g, d = r->deficits[i].d;

		if (g >= s->geo.n_generations || d == 0 || d > s->gens[g].where.m || seen[g / 8] >> (g % 8) & 1)
			return false;
		seen[g / 8] |= (uint8_t)(1u << (g % 8));
	}
	return true;
}

static bool seq_is_known(const struct mcast_session *s, uint8_t seq)
{
	if (seq == 0)
		return true;
	return s->seq != 0 && (unsigned)(s->seq + 255 - seq) % 255 < MCAST_SEQ_WINDOW;
}

/* More than one answer to a question, or unasked words too often. A first "done" is always heard. */
static bool is_too_often(const struct mcast_session *s, struct mcast_member *m, const struct mcast_report *r)
{
	bool asked = r->seq != 0 && r->seq == s->seq;

	if (r->flags & MCAST_REPORT_DONE && m->state < MCAST_MEMBER_READY)
		return false;
	if (asked)
		return m->poll == s->poll.number;
	if (mono_diff_ms(s->now, m->unsolicited) < MCAST_UNSOLICITED_MS)
		return true;
	m->unsolicited = s->now;
	return false;
}

/* ---- what it means ---- */

static struct mcast_claim *claim_of(struct mcast_member *m, unsigned g)
{
	for (size_t k = 0; k < m->n_claims; k++)
		if (m->claims[k].g == g)
			return &m->claims[k];
	return NULL;
}

/* Even at 50 % loss the rows sent since it first said so would have brought something. */
static bool lacks_progress(struct mcast_session *s, struct mcast_member *m, const struct mcast_report *r)
{
	bool stuck = false;

	for (size_t i = 0; i < r->n_deficits; i++) {
		struct mcast_claim *c = claim_of(m, r->deficits[i].g);
		unsigned sent = mcast_repair_sent(&s->gens[r->deficits[i].g]);

		if (!c || r->deficits[i].d < c->d || sent - c->sent_then < 2u * c->d + 8)
			continue;
		c->sent_then = (uint16_t)sent;                 /* judged anew from here */
		stuck = true;
	}
	return stuck;
}

static void keep_claims(struct mcast_session *s, struct mcast_member *m, const struct mcast_report *r)
{
	struct mcast_claim kept[MCAST_REPORT_DEFICITS_MAX];
	uint8_t n = 0;

	for (size_t i = 0; i < r->n_deficits; i++) {
		const struct mcast_claim *was = claim_of(m, r->deficits[i].g);
		struct mcast_gen *gen = &s->gens[r->deficits[i].g];
		struct mcast_claim c = { r->deficits[i].g, r->deficits[i].d, (uint16_t)mcast_repair_sent(gen) };

		if (gen->sent == 0)
			continue;                              /* nothing of it was sent yet */
		if (was && was->d <= c.d)
			c.sent_then = was->sent_then;          /* no progress since */
		kept[n++] = c;
	}
	memcpy(m->claims, kept, n * sizeof(kept[0]));
	m->n_claims = n;
}

static void count_answer(struct mcast_session *s, struct mcast_member *m, const struct mcast_report *r)
{
	if (r->seq == 0 || r->seq != s->seq || !s->poll.is_open || m->poll == s->poll.number)
		return;
	m->poll = s->poll.number;
	s->poll.n_heard++;
	if (s->poll.kind == MCAST_POLL_SAMPLE && s->n_samples < MCAST_SAMPLES && r->loss_permille < MCAST_LOSS_UNKNOWN)
		s->samples[s->n_samples++] = r->loss_permille;
	if (s->poll.kind != MCAST_POLL_STATUS || m->n_claims == 0)
		return;
	s->poll.n_wanting++;
	s->poll.more |= (r->flags & MCAST_REPORT_MORE) != 0;
	for (size_t i = 0; i < m->n_claims; i++)
		if (m->claims[i].d > s->gens[m->claims[i].g].deficit)
			s->gens[m->claims[i].g].deficit = m->claims[i].d;
	if (s->poll.n_wanting % s->cfg.tuning.echo_every == 0)
		s->poll.echo_due = true;
}

static void take_flags(struct mcast_session *s, unsigned i, const struct mcast_report *r)
{
	struct mcast_member *m = &s->members[i];

	m->flags = r->flags;
	if (r->flags & MCAST_REPORT_DIGEST_FAILED && m->digest_faults < UINT8_MAX &&
	    ++m->digest_faults >= s->cfg.tuning.member_strikes)
		mcast_member_pull(s, i, MCAST_WHY_DIGEST);
	if (r->flags & MCAST_REPORT_NEEDS_DESCRIPTOR && m->state == MCAST_MEMBER_JOINED && m->tries < 2 * s->cfg.tuning.setup_tries)
		mcast_member_set(s, i, MCAST_MEMBER_NEW, MCAST_WHY_NONE);
}

static void take_report(struct mcast_session *s, unsigned i, const struct mcast_report *r)
{
	struct mcast_member *m = &s->members[i];
	bool wants = r->n_deficits > 0, stuck;

	if (m->state == MCAST_MEMBER_INVITED ||
	    (m->state < MCAST_MEMBER_INVITED && !(s->paused & MCAST_PAUSE_REKEY)))
		mcast_member_set(s, i, MCAST_MEMBER_JOINED, MCAST_WHY_REPORT);
	m->loss_permille = r->loss_permille < MCAST_LOSS_UNKNOWN ? r->loss_permille : UINT16_MAX;
	stuck = wants && m->state == MCAST_MEMBER_JOINED && lacks_progress(s, m, r);
	keep_claims(s, m, r);
	if (m->state == MCAST_MEMBER_JOINED)
		count_answer(s, m, r);
	if (r->flags & MCAST_REPORT_DONE && m->state < MCAST_MEMBER_READY) {
		mcast_member_set(s, i, MCAST_MEMBER_READY, MCAST_WHY_DONE);
		return;
	}
	take_flags(s, i, r);
	if (stuck)
		mcast_member_strike(s, i, MCAST_WHY_NO_PROGRESS);
	if (wants && (s->phase == MCAST_PHASE_UNICAST || s->phase == MCAST_PHASE_LAZY))
		mcast_member_pull(s, i, MCAST_WHY_CHEAPER);    /* nothing more is sent to all */
}

int mcast_session_report(struct mcast_session *s, unsigned i, const struct mcast_report *r, struct mono now)
{
	struct mcast_member *m;

	s->now = now;
	if (i >= s->n_members || s->members[i].state == MCAST_MEMBER_REMOVED)
		return -ENOENT;
	m = &s->members[i];
	if (!mcast_sid_eq(&r->sid, &s->cfg.sid) || !seq_is_known(s, r->seq)) {
		s->reports_refused++;
		return -ESTALE;
	}
	if (!claims_are_possible(s, r)) {
		s->reports_refused++;
		mcast_member_strike(s, i, MCAST_WHY_LIED);
		return -EPROTO;
	}
	if (is_too_often(s, m, r)) {
		s->reports_refused++;
		return -EBUSY;
	}
	s->reports_heard++;
	m->n_reports++;
	if (mcast_is_over(s) || mcast_member_handed_back(m->state))
		return -EALREADY;
	mcast_send_heard(s);
	take_report(s, i, r);
	return 0;
}

/* ---- estimate and proactive parity ---- */

void mcast_repair_estimate(struct mcast_session *s)
{
	uint32_t was = s->gap_ms;
	double baseline = s->cfg.baseline_permille == UINT16_MAX ? -1 : s->cfg.baseline_permille / 1000.0;

	if (s->n_samples > 0) {
		mcast_plan_loss(s->samples, s->n_samples, s->position, &s->loss);
		s->has_loss = true;
	} else if (baseline >= 0) {
		s->loss = (struct mcast_plan_loss){ .p = baseline };
		s->has_loss = true;
	}
	if (!s->has_loss)
		return;
	s->ops.event(s->ops.ctx, MCAST_EV_LOSS, (int64_t)(s->loss.p * 1000 + 0.5), s->loss.n_used);
	if (s->n_samples > 0)
		s->gap_ms = mcast_plan_gap(s->gap_ms, s->pace_ms, s->loss.p, baseline);
	if (s->gap_ms != was)
		s->ops.event(s->ops.ctx, MCAST_EV_PACE, s->gap_ms, was);
}

void mcast_repair_proactive(struct mcast_session *s)
{
	s->rows_planned = 0;
	for (unsigned g = s->range_first; g < s->range_first + s->range_n; g++) {
		unsigned n = 0;

		if (s->has_loss && s->cfg.alg != PARITY_NONE)
			n = mcast_plan_proactive(s->gens[g].where.m, &s->loss, mcast_listeners(s), s->geo.n_generations,
						 s->cfg.tuning.unfinished);
		s->gens[g].rows_left = (uint16_t)n;
		s->rows_planned += n;
	}
}

/* ---- repair ---- */

struct need {
	unsigned rows, trim;
};

/* The loss to plan with for one member: its own word, as far as the group makes it believable. */
static double member_loss(const struct mcast_session *s, const struct mcast_member *m)
{
	double p = s->has_loss ? s->loss.p : 0.1, own = m->loss_permille == UINT16_MAX ? p : m->loss_permille / 1000.0;

	return own < p ? p : own > 3 * p + 0.05 ? 3 * p + 0.05 : own;
}

static unsigned member_lost_max(const struct mcast_session *s, const struct mcast_member *m)
{
	return m->lost_max ? m->lost_max : s->cfg.tuning.lost_max;
}

static struct need claim_need(const struct mcast_session *s, const struct mcast_member *m, const struct mcast_claim *c)
{
	unsigned l = member_lost_max(s, m), size = s->gens[c->g].where.m;
	double p = member_loss(s, m);

	if (s->cfg.alg == PARITY_NONE)
		return (struct need){ 0, size };
	return (struct need){ mcast_plan_repair(mcast_plan_trimmed_deficit(c->d, l), p), mcast_plan_trim(size, c->d, l, p) };
}

static bool is_wanting(const struct mcast_session *s, const struct mcast_member *m)
{
	return m->state == MCAST_MEMBER_JOINED && m->poll == s->poll.number && m->n_claims > 0;
}

static bool in_range(const struct mcast_session *s, unsigned g)
{
	return g >= s->range_first && g < s->range_first + s->range_n;
}

/* More lost than it can decode, and a trim is no help for it. */
static bool cannot_be_repaired(const struct mcast_session *s, const struct mcast_member *m)
{
	unsigned l = member_lost_max(s, m);

	if (s->cfg.alg == PARITY_NONE)
		return false;
	for (size_t k = 0; k < m->n_claims; k++)
		if (m->claims[k].d > l && (m->flags & MCAST_REPORT_CORE_ONLY || l < s->cfg.tuning.lost_max / 2))
			return true;
	return false;
}

static void add_need(struct mcast_gen *g, int member, struct need n)
{
	unsigned cost = n.rows + n.trim, worst = g->need + g->trim_need;

	if (cost > worst || g->need_of < 0) {
		g->need_other = (uint16_t)worst;
		g->need_of = member;
	} else if (cost > g->need_other) {
		g->need_other = (uint16_t)cost;
	}
	if (n.rows > g->need)
		g->need = (uint16_t)n.rows;
	if (n.trim > g->trim_need)
		g->trim_need = (uint16_t)n.trim;
}

struct demand {
	uint32_t deficits, rows;               /* of all members; of all generations */
	unsigned members;
};

static struct demand gather(struct mcast_session *s)
{
	struct demand d = { 0 };

	for (unsigned g = 0; g < s->geo.n_generations; g++) {
		s->gens[g].need = s->gens[g].trim_need = s->gens[g].need_other = 0;
		s->gens[g].need_of = MCAST_MEMBER_NONE;
	}
	for (unsigned i = 0; i < s->n_members; i++) {
		const struct mcast_member *m = &s->members[i];

		if (!is_wanting(s, m))
			continue;
		d.members++;
		for (size_t k = 0; k < m->n_claims; k++) {
			if (!in_range(s, m->claims[k].g))
				continue;
			d.deficits += m->claims[k].d;
			add_need(&s->gens[m->claims[k].g], (int)i, claim_need(s, m, &m->claims[k]));
		}
	}
	for (unsigned g = 0; g < s->geo.n_generations; g++)
		d.rows += s->gens[g].need + s->gens[g].trim_need;
	return d;
}

/* Rows that would not be sent without this member. */
static uint32_t rows_alone(const struct mcast_session *s, unsigned member)
{
	uint32_t n = 0;

	for (unsigned g = 0; g < s->geo.n_generations; g++) {
		const struct mcast_gen *gen = &s->gens[g];

		if (gen->need_of == (int)member && (unsigned)(gen->need + gen->trim_need) > gen->need_other)
			n += gen->need + gen->trim_need - gen->need_other;
	}
	return n;
}

/* What one member may cost the others is bounded. Returns how many were sent to unicast. */
static unsigned judge_costs(struct mcast_session *s, const struct demand *d)
{
	uint32_t share = s->geo.n_fragments * (uint32_t)s->cfg.tuning.member_share_percent / 100 + 16;
	unsigned n = 0;

	for (unsigned i = 0; i < s->n_members; i++) {
		struct mcast_member *m = &s->members[i];
		uint32_t alone;

		if (!is_wanting(s, m))
			continue;
		alone = rows_alone(s, i);
		m->rows_alone += alone;
		m->rounds_alone += alone > d->rows / 2;
		if (m->rows_alone <= share && m->rounds_alone <= s->cfg.tuning.member_rounds)
			continue;
		s->ops.event(s->ops.ctx, MCAST_EV_SUSPECT, i, MCAST_WHY_COSTLY);
		mcast_member_pull(s, i, MCAST_WHY_COSTLY);
		n++;
	}
	return n;
}

static unsigned pull_those_that_must(struct mcast_session *s, bool all)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n_members; i++) {
		struct mcast_member *m = &s->members[i];
		bool lost = is_wanting(s, m) && cannot_be_repaired(s, m);

		if (!lost && !(all && is_wanting(s, m)))
			continue;
		mcast_member_pull(s, i, lost ? MCAST_WHY_LOST_TOO_MUCH : MCAST_WHY_CHEAPER);
		n++;
	}
	return n;
}

static void set_rows(struct mcast_session *s)
{
	s->rows_planned = 0;
	for (unsigned g = 0; g < s->geo.n_generations; g++) {
		struct mcast_gen *gen = &s->gens[g];

		gen->rows_left = gen->need;
		gen->trim_left = gen->trim_need;
		s->rows_planned += gen->need + gen->trim_need;
		if (gen->trim_left == 0)
			continue;
		if (gen->trimmed == 0)
			gen->trim_at = (uint16_t)(mcast_session_random(s) % gen->where.m);
		s->ops.event(s->ops.ctx, MCAST_EV_TRIM, g, gen->trim_left);
	}
}

unsigned mcast_repair_plan(struct mcast_session *s)
{
	const struct mcast_link *l = &s->cfg.link;
	double p = s->has_loss ? s->loss.p : 0.1;
	struct demand d;
	bool all;

	(void)pull_those_that_must(s, false);
	d = gather(s);
	if (judge_costs(s, &d) > 0)
		d = gather(s);
	all = s->round > s->cfg.tuning.rounds_max ||
	      (!s->poll.echoed && !s->poll.more && d.rows > 0 &&
	       mcast_plan_unicast_cheaper(l->hops, d.deficits, p, l->sends_per_frame, d.rows));
	if (all && pull_those_that_must(s, true) > 0)
		return 0;
	set_rows(s);
	return s->rows_planned;
}
