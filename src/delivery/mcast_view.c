#include <errno.h>

#include "base/text.h"
#include "delivery/mcast_session_internal.h"

/* ---- names ---- */

const char *mcast_phase_name(enum mcast_phase p)
{
	static const char *const names[MCAST_PHASE_COUNT] = { "new", "setup", "announce", "systematic", "sample", "proactive", "status",
							      "repair", "unicast", "lazy", "done", "aborted" };

	return (unsigned)p < MCAST_PHASE_COUNT ? names[p] : "unknown";
}

const char *mcast_member_state_name(enum mcast_member_state st)
{
	static const char *const names[MCAST_MEMBER_STATE_COUNT] = { "new", "asked", "invited", "joined", "pulling", "ready", "refused",
								     "silent", "failed", "removed" };

	return (unsigned)st < MCAST_MEMBER_STATE_COUNT ? names[st] : "unknown";
}

const char *mcast_why_name(enum mcast_member_why why)
{
	static const char *const names[MCAST_WHY_COUNT] = {
		[MCAST_WHY_NONE] = "",
		[MCAST_WHY_ACK] = "acknowledged the setup",
		[MCAST_WHY_FETCHED] = "fetched the descriptor",
		[MCAST_WHY_REPORT] = "reported",
		[MCAST_WHY_DONE] = "holds the object",
		[MCAST_WHY_HAD_IT] = "held the object already",
		[MCAST_WHY_REFUSED] = "refused",
		[MCAST_WHY_NO_ANSWER] = "did not answer the setup",
		[MCAST_WHY_CHEAPER] = "unicast is cheaper for the rest",
		[MCAST_WHY_LATE] = "joined after the systematic pass",
		[MCAST_WHY_LOST_TOO_MUCH] = "lost more than it can decode",
		[MCAST_WHY_COSTLY] = "alone caused more frames than one member may",
		[MCAST_WHY_NO_PROGRESS] = "reports deficits although enough was sent",
		[MCAST_WHY_LIED] = "sent reports that cannot be true",
		[MCAST_WHY_DIGEST] = "generations do not match their digests",
		[MCAST_WHY_PULL_TIMEOUT] = "was told to pull and did not finish",
		[MCAST_WHY_NEVER_HEARD] = "was not heard of until the end",
		[MCAST_WHY_SESSION_OVER] = "the session ended early",
		[MCAST_WHY_REMOVED] = "left the group",
	};

	return (unsigned)why < MCAST_WHY_COUNT ? names[why] : "unknown";
}

/* ---- links (C9) ---- */

static const struct { const char *name; struct mcast_link link; } links[MCAST_LINK_KIND_COUNT] = {
	[MCAST_LINK_802154] = { "802.15.4", { .gap_ms = 50, .gap_min_ms = 20, .us_per_byte = 32, .overhead_bytes = 32,
					      .sends_per_frame = 1, .hops = 1 } },
	[MCAST_LINK_THREAD] = { "thread", { .gap_ms = 520, .gap_min_ms = 65, .us_per_byte = 32, .overhead_bytes = 40,
					    .sends_per_frame = 16, .hops = 2 } },
	[MCAST_LINK_868] = { "868", { .gap_ms = 5300, .gap_min_ms = 5300, .us_per_byte = 400, .overhead_bytes = 32,
				      .sends_per_frame = 1, .hops = 1 } },
	[MCAST_LINK_ETHERNET] = { "ethernet", { .gap_ms = 5, .gap_min_ms = 1, .us_per_byte = 1, .overhead_bytes = 73,
						.sends_per_frame = 1, .hops = 1 } },
};

void mcast_link_profile(enum mcast_link_kind kind, unsigned routers, struct mcast_link *ret)
{
	*ret = links[(unsigned)kind < MCAST_LINK_KIND_COUNT ? kind : MCAST_LINK_802154].link;
	if (kind != MCAST_LINK_THREAD)
		return;
	routers = routers < 1 ? 1 : routers > 64 ? 64 : routers;
	ret->gap_ms = ret->gap_min_ms = 65 * routers;          /* routers x 2 x 6.5 ms at a fifth of the air */
	ret->sends_per_frame = (uint16_t)(2 * routers);
	ret->hops = routers > 1 ? 2 : 1;
}

const char *mcast_link_name(enum mcast_link_kind kind)
{
	return (unsigned)kind < MCAST_LINK_KIND_COUNT ? links[kind].name : "unknown";
}

int mcast_link_parse(struct span name)
{
	for (int i = 0; i < MCAST_LINK_KIND_COUNT; i++)
		if (span_eq_str(name, links[i].name))
			return i;
	return -ENOTSUP;
}

/* ---- views ---- */

static int64_t eta_ms(const struct mcast_session *s)
{
	const struct mcast_tuning *t = &s->cfg.tuning;
	int64_t window = MCAST_PLAN_SLOTS_MIN * (int64_t)t->slot_ms + t->grace_ms;
	int64_t gap = (int64_t)s->gap_ms * (s->slow ? 8 : 1), frames, ms = 0;

	if (s->phase == MCAST_PHASE_NEW || s->phase == MCAST_PHASE_SETUP || s->paused & MCAST_PAUSE_OPERATOR)
		return -1;
	if (s->phase >= MCAST_PHASE_UNICAST)
		return mcast_is_over(s) || s->phase == MCAST_PHASE_LAZY ? 0 : -1;
	frames = (int64_t)(s->geo.n_fragments - s->position) + mcast_send_rows_left(s);
	if (s->phase < MCAST_PHASE_PROACTIVE) {                /* the parity that is not planned yet */
		double p = s->has_loss ? s->loss.p : 0.1;

		frames += (int64_t)(s->geo.n_fragments * p / (1 - p));
		ms += window;
	}
	ms += frames * gap + (int64_t)(t->silent_end + 1) * window;
	if (s->windowed && s->cfg.windows.length_ms > 0)
		ms = ms / s->cfg.windows.length_ms * s->cfg.windows.period_ms + ms % s->cfg.windows.length_ms;
	if (s->paused & MCAST_PAUSE_WINDOW)
		ms += mono_diff_ms(mcast_send_window_start(s, s->window), s->now);
	return ms;
}

void mcast_session_view(const struct mcast_session *s, struct mono now, struct mcast_session_view *ret)
{
	unsigned n = mcast_listeners(s) + s->n_state[MCAST_MEMBER_PULLING] + s->n_state[MCAST_MEMBER_READY];

	(void)now;
	*ret = (struct mcast_session_view){
		.phase = s->phase, .paused = s->paused, .n_members = (uint32_t)s->n_members,
		.n_generations = s->geo.n_generations, .n_fragments = s->geo.n_fragments, .position = s->position,
		.loss_permille = s->has_loss ? (uint16_t)(s->loss.p * 1000 + 0.5) : UINT16_MAX,
		.sample_reports = (uint16_t)s->n_samples, .loss = s->loss.p, .excess_variance = s->loss.v,
		.reports_heard = s->reports_heard, .reports_refused = s->reports_refused, .setups_sent = s->setups_sent,
		.pulls_sent = s->pulls_sent, .unicast_blocks = s->unicast_blocks, .airtime_us = s->airtime_us, .round = s->round,
		.rows_planned = s->rows_planned, .rows_left = mcast_send_rows_left(s), .eta_ms = eta_ms(s), .credit = s->credit,
		.gap_ms = s->gap_ms, .pace_ms = s->pace_ms, .rekey_due = s->rekey_due, .status_seq = s->seq,
	};
	for (unsigned i = 0; i < MCAST_MEMBER_STATE_COUNT; i++)
		ret->members[i] = s->n_state[i];
	for (unsigned i = 0; i < MCAST_SENT_KIND_COUNT; i++)
		ret->sent_total += ret->sent[i] = s->sent[i];
	for (unsigned g = 0; g < s->geo.n_generations; g++)
		ret->deficit += s->gens[g].deficit;
	ret->lower_bound = mcast_plan_bound(s->geo.n_fragments, s->has_loss ? s->loss.p : 0, n);
	ret->ratio = s->has_loss ? ret->sent_total / ret->lower_bound : 0;
	if (s->windowed) {
		ret->window = (uint16_t)s->window;
		ret->n_windows = s->cfg.windows.count;
		ret->next_window = mcast_send_window_start(s, s->window);
	}
}

int mcast_session_generation(const struct mcast_session *s, unsigned g, struct mcast_generation_view *ret)
{
	const struct mcast_gen *gen;

	if (g >= s->geo.n_generations)
		return -ENOENT;
	gen = &s->gens[g];
	*ret = (struct mcast_generation_view){ .offset = gen->where.offset, .bytes = gen->where.length, .m = gen->where.m,
					       .sent = gen->sent, .next_row = gen->next_row, .deficit = gen->deficit,
					       .trimmed = gen->trimmed };
	return 0;
}

int mcast_session_member(const struct mcast_session *s, unsigned i, struct mcast_member_view *ret)
{
	const struct mcast_member *m;

	if (i >= s->n_members)
		return -ENOENT;
	m = &s->members[i];
	*ret = (struct mcast_member_view){ .state = m->state, .why = m->why, .refusal = m->refusal,
					   .low_energy = (m->flags & MCAST_REPORT_LOW_ENERGY) != 0,
					   .core_only = (m->flags & MCAST_REPORT_CORE_ONLY) != 0, .suspect = m->strikes > 0,
					   .loss_permille = m->loss_permille, .lost_max = m->lost_max, .n_reports = m->n_reports };
	memcpy(ret->device, m->device, sizeof(ret->device));
	for (size_t k = 0; k < m->n_claims; k++)
		ret->deficit += m->claims[k].d;
	return 0;
}

const struct mcast_session_config *mcast_session_config(const struct mcast_session *s)
{
	return &s->cfg;
}

bool mcast_session_sends(const struct mcast_session *s)
{
	return s->end_due || s->frame_n > 0 || (s->phase > MCAST_PHASE_SETUP && s->phase < MCAST_PHASE_UNICAST);
}

bool mcast_session_over(const struct mcast_session *s)
{
	return mcast_is_over(s);
}
