#include "intake/intake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "intake/internal.h"
#include "trust/freshness.h"

enum { TICK_MS = 60 * 1000, BUSY_RETRY_MS = 200, ENVELOPE_LOOK_MS = 60 * 1000, ENVELOPE_ASK_MS = 10 * 60 * 1000,
       PRUNE_MS = 12 * 3600 * 1000 };

/* The build date is a time that has certainly come (RV-14). */
static const int64_t build_floor_ms = 1735689600000; /* 2025-01-01 */

struct entry *entry_find(const struct intake *in, const char *id)
{
	struct entry *e;

	HASH_FIND_STR(in->entries, id, e);
	return e;
}

/* As far ahead of us as a responder's clock may be, ours may also have been set back. */
struct wall intake_clock(const struct intake *in, bool *ret_bad)
{
	struct wall now = wall_now();

	*ret_bad = wall_before(wall_add_ms(now, TRUST_SKEW_S_DEFAULT * 1000), in->floor);
	return *ret_bad ? in->floor : now;
}

/* Run on_timer within in_ms; an earlier call already waiting wins. */
void intake_wake(struct intake *in, int64_t in_ms)
{
	if (in_ms > TICK_MS)
		in_ms = TICK_MS;
	struct mono at = mono_add_ms(mono_now(), in_ms > 0 ? in_ms : 0);
	if (in->is_closing || (loop_timer_armed(in->timer) && !mono_before(at, in->wake_at)))
		return;
	in->wake_at = at;
	loop_timer_set(in->timer, in_ms > 0 ? in_ms : 0);
}

/* ---- the sequence store (SU-12, SU-13) ---- */

static void sequence_stored(void *ctx, int error)
{
	struct intake *in = ctx;

	if (error < 0)
		in->seen_unsaved = true;
}

static void sequence_store(struct intake *in, const struct freshness_entry *f)
{
	struct sequence_row row = { .n_component = f->n_component, .sequence = f->sequence, .manifest = f->manifest };

	memcpy(row.vendor_id, f->vendor_id, sizeof(row.vendor_id));
	memcpy(row.class_id, f->class_id, sizeof(row.class_id));
	memcpy(row.component, f->component, sizeof(row.component));
	sequence_store_put(in->c.db, &row, sequence_stored, in);
}

static void sequence_note(struct intake *in, const struct judge_job *j)
{
	for (size_t k = 0; k < j->n_fresh; k++) {
		const struct freshness_entry *f = &j->fresh[k];
		size_t i = 0;
		while (i < in->n_seen && !freshness_same_key(&in->seen[i], f))
			i++;
		if (i < in->n_seen && in->seen[i].sequence >= f->sequence)
			continue;
		if (i == in->n_seen)
			in->seen = mem_resize(in->seen, ++in->n_seen, sizeof(*in->seen));
		in->seen[i] = *f;
		sequence_store(in, f);
	}
}

static bool is_rollback(const struct intake *in, const struct judge_job *j)
{
	for (size_t k = 0; k < j->n_fresh; k++)
		if (freshness_compare(in->seen, in->n_seen, &j->fresh[k]) >= FRESHNESS_ROLLBACK)
			return true;
	return false;
}

/* ---- candidates ---- */

static void candidate_end(struct candidate *c, int error)
{
	struct intake *in = c->intake;

	DL_DELETE(in->candidates, c);
	in->n_candidates--;
	c->taken(c->arg, error);
	buf_done(&c->envelope);
	free(c);
}

static void on_candidate_stored(void *ctx, int error)
{
	candidate_end(ctx, error);
}

static void entry_free(struct entry *e)
{
	buf_done(&e->unsaved_verdict);
	free(e->needs);
	free(e);
}

/* The record is forgotten, on the disk too. Not for what is live. */
static void entry_drop(struct intake *in, struct entry *e)
{
	update_store_delete(in->c.db, e->u.id, NULL, NULL);
	in->n_rejected -= e->u.state == UPDATE_REJECTED;
	HASH_DEL(in->entries, e);
	entry_free(e);
}

/* The longest superseded, expired or rejected goes; a recall is never forgotten. */
static bool updates_make_room(struct intake *in)
{
	struct entry *e, *tmp, *oldest = NULL;

	if (HASH_COUNT(in->entries) < INTAKE_UPDATES_MAX)
		return true;
	HASH_ITER(hh, in->entries, e, tmp)
		if (!entry_is_live(e) && e->u.state != UPDATE_RECALLED && !e->is_judging && (!oldest || wall_before(e->u.state_at, oldest->u.state_at)))
			oldest = e;
	if (oldest)
		entry_drop(in, oldest);
	return oldest != NULL;
}

static void rejected_make_room(struct intake *in)
{
	struct entry *e, *tmp;

	HASH_ITER(hh, in->entries, e, tmp) {
		if (in->n_rejected < INTAKE_REJECTED_MAX)
			return;
		if (e->u.state != UPDATE_REJECTED || e->is_judging)
			continue;
		entry_drop(in, e);
	}
}

static struct entry *entry_new(struct intake *in, const struct candidate *c, const struct update *u)
{
	struct entry *e = NEW(struct entry);

	if (u)
		e->u = *u;
	e->u.found_at = e->u.state_at = wall_now();
	(void)text_copy(e->u.source, sizeof(e->u.source), span_str(c->source)); /* same sizes */
	(void)text_copy(e->u.uri, sizeof(e->u.uri), span_str(c->uri));
	return e;
}

static void problem_text(const struct judge_job *j, char *ret, size_t ret_bytes)
{
	const struct verdict_rule *rule = verdict_first_problem(j->verdict);

	if (j->refused[0])
		(void)snprintf(ret, ret_bytes, "%s", j->refused); /* clipped for people */
	else if (rule)
		(void)snprintf(ret, ret_bytes, "%s %s: %s", rule->id, rule->name, rule->evidence);
	else
		(void)snprintf(ret, ret_bytes, "no rule accepts it");
}

/* What is known already counts as taken when it is on the disk. */
static void candidate_known(struct candidate *c, struct entry *e)
{
	if (e->n_storing || e->is_unsaved)
		update_store_put(c->intake->c.db, &e->u, buf_span(&e->unsaved_verdict), on_candidate_stored, c);
	else
		candidate_end(c, 0);
}

/* A refused envelope is kept as a record under the digest of its bytes: an unauthenticated manifest may not take the
 * name of the vendor's real one. */
static void candidate_reject(struct candidate *c, struct judge_job *j)
{
	struct intake *in = c->intake;
	_cleanup_buf_ struct buf v = { 0 };
	char reason[UPDATE_TEXT_BYTES], id[UPDATE_ID_BYTES];

	metric_add(METRIC_UPDATES_REJECTED, 1);
	problem_text(j, reason, sizeof(reason));
	digest_hex(&j->envelope_digest, id);
	struct entry *known = entry_find(in, id);
	if (known) { /* and refused before */
		candidate_known(c, known);
		return;
	}
	rejected_make_room(in);
	struct entry *e = entry_new(in, c, NULL);
	memcpy(e->u.id, id, sizeof(id));
	e->u.envelope = j->envelope_digest;
	e->u.envelope_bytes = c->envelope.n;
	e->u.sequence = j->verdict->sequence;
	e->u.state = UPDATE_HELD; /* for the line that says it was refused */
	HASH_ADD_STR(in->entries, u.id, e);
	if (j->verdict->is_equivocation)
		log_fields(EV_UPDATE_EQUIVOCATION, LOG_ALERT, ({ "GW_UPDATE", id }, { "GW_SOURCE", c->source }),
			   "two different manifests with sequence %llu were signed by the same vendor: %s", (unsigned long long)e->u.sequence, reason);
	verdict_json(j->verdict, &v);
	entry_transition(in, e, UPDATE_REJECTED, reason, "", buf_span(&v), on_candidate_stored, c);
}

static void candidate_accept(struct candidate *c, struct judge_job *j)
{
	struct intake *in = c->intake;
	_cleanup_buf_ struct buf v = { 0 };
	char reason[UPDATE_TEXT_BYTES] = "";
	bool is_held = j->verdict->outcome == TRUST_UNDECIDED;

	struct entry *e = entry_find(in, j->u.id);
	if (e && e->u.state == UPDATE_EXPIRED)
		e->u.state = UPDATE_HELD; /* signed anew */
	if (e && e->u.state != UPDATE_HELD) { /* the same manifest again: nothing new, and no way back from a recall */
		candidate_known(c, e);
		return;
	}
	if (!e && !updates_make_room(in)) {
		log_event(EV_LIMIT_REACHED, LOG_ERR, "more than %d updates are live or recalled", INTAKE_UPDATES_MAX);
		candidate_end(c, -ENOSPC);
		return;
	}
	if (!e) {
		e = entry_new(in, c, &j->u);
		e->u.state = UPDATE_HELD;
		HASH_ADD_STR(in->entries, u.id, e);
	} else {
		e->u.envelope = j->u.envelope;
		e->u.envelope_bytes = j->u.envelope_bytes;
		memcpy(e->u.anchor, j->u.anchor, sizeof(e->u.anchor));
	}
	if (!e->u.approved && in->c.policy(in->c.ctx, c->source, &e->u) == POLICY_AUTO) {
		e->u.approved = true;
		e->u.approved_at = wall_now();
		(void)text_copy(e->u.approved_by, sizeof(e->u.approved_by), SPAN_LIT("policy")); /* fits */
	}
	if (is_held)
		problem_text(j, reason, sizeof(reason));
	else
		metric_add(METRIC_UPDATES_VERIFIED, 1);
	verdict_json(j->verdict, &v);
	entry_set_needs(in, e, j->verdict);
	db_begin(in->c.db); /* never one without the other (SU-13) */
	if (!is_held) {
		sequence_note(in, j);
		e->was_accepted = true;
	}
	entry_transition(in, e, is_held ? UPDATE_HELD : UPDATE_VERIFIED, reason, "", buf_span(&v), on_candidate_stored, c);
	db_end(in->c.db);
}

void candidate_conclude(struct candidate *c, struct judge_job *j)
{
	if (c->intake->is_closing) {
		candidate_end(c, -ECANCELED);
	} else if (j->error < 0) {
		log_event(EV_GENERIC, LOG_ERR, "an envelope of source %s cannot be kept: %s", c->source, strerror(-j->error));
		candidate_end(c, j->error);
	} else if (j->verdict->outcome == TRUST_REJECTED || !j->has_update) {
		candidate_reject(c, j);
	} else {
		candidate_accept(c, j);
	}
	judge_free(j);
}

static void note_stored(struct intake *in, const struct judge_job *j)
{
	for (size_t i = 0; i < j->n_stored; i++)
		image_cache_added(in->c.images, &j->stored[i], j->stored_bytes[i]);
	floor_raise(in, j->verdict->newest_proof);
}

static void candidate_judged(void *arg)
{
	struct judge_job *j = arg;
	struct candidate *c = j->candidate;

	note_stored(c->intake, j);
	if (j->anchors != c->intake->anchors) { /* a reload came between: who signed may not be trusted any more */
		judge_free(j);
		candidate_judge(c);
		return;
	}
	/* Asked for also where the anchor would do without: what is revoked is better not begun. */
	if (j->error == 0 && j->verdict->n_needs > 0 && j->verdict->outcome != TRUST_REJECTED && !c->intake->is_closing) {
		c->verdict = j;
		if (candidate_fetch_needs(c->intake, c, j->verdict))
			return;
		c->verdict = NULL;
	}
	candidate_conclude(c, j);
}

void candidate_judge(struct candidate *c)
{
	if (c->intake->is_closing) {
		candidate_end(c, -ECANCELED);
	} else if (!judge_start(c->intake, c, NULL, candidate_judged)) {
		log_event(EV_LIMIT_REACHED, LOG_ERR, "the workers are busy; the envelope of source %s is fetched again", c->source);
		candidate_end(c, -EBUSY);
	}
}

void intake_found(void *intake, const char *source, const char *uri, struct span envelope, upstream_taken_fn *taken, void *arg)
{
	struct intake *in = intake;

	if (in->n_candidates >= INTAKE_CANDIDATES_MAX || in->is_closing) {
		taken(arg, -EBUSY);
		return;
	}
	int r = image_cache_reserve(in->c.images, envelope.n * 2);
	if (r < 0) {
		taken(arg, r);
		return;
	}
	struct candidate *c = NEW(struct candidate);
	c->intake = in;
	c->taken = taken;
	c->arg = arg;
	(void)text_copy(c->source, sizeof(c->source), span_sub(span_str(source), 0, sizeof(c->source) - 1)); /* bounded by the schema */
	(void)text_copy(c->uri, sizeof(c->uri), span_sub(span_str(uri), 0, sizeof(c->uri) - 1));
	buf_add(&c->envelope, envelope);
	DL_APPEND(in->candidates, c);
	in->n_candidates++;
	candidate_judge(c);
}

/* ---- judging again what is kept ---- */

static void rejudged_rejected(struct intake *in, struct entry *e, const struct judge_job *j, struct span verdict)
{
	char reason[UPDATE_TEXT_BYTES];
	const struct verdict_rule *rule = verdict_first_problem(j->verdict);
	enum update_state to = UPDATE_RECALLED;

	problem_text(j, reason, sizeof(reason));
	if (!j->verdict->is_revoked && (j->verdict->is_expired || (rule && strcmp(rule->id, "SU-51") == 0)))
		to = UPDATE_EXPIRED; /* the same manifest under a new certificate may come in again */
	else if (!j->verdict->is_revoked && e->u.state == UPDATE_HELD)
		to = UPDATE_REJECTED;
	metric_add(METRIC_UPDATES_REJECTED, 1);
	entry_transition(in, e, to, reason, "", verdict, NULL, NULL);
}

static void rejudged_good(struct intake *in, struct entry *e, const struct judge_job *j, struct span verdict)
{
	if (e->u.state == UPDATE_HELD && e->payload_failures > 0 && mono_before(mono_now(), e->retry_at)) {
		intake_wake(in, BUSY_RETRY_MS);
		return; /* it is held for its payload, and the next try is not due */
	}
	for (size_t i = 0; e->u.n_images == 0 && i < j->u.n_images; i++)
		e->u.images[e->u.n_images++] = j->u.images[i];
	entry_pin(in, e);
	if (e->u.state == UPDATE_HELD && !e->was_accepted && is_rollback(in, j)) {
		metric_add(METRIC_UPDATES_REJECTED, 1);
		entry_transition(in, e, UPDATE_REJECTED, "SU-12 sequence number: a higher one was accepted while this was held", "", verdict, NULL, NULL);
	} else if (e->u.state == UPDATE_HELD) {
		metric_add(METRIC_UPDATES_VERIFIED, 1);
		db_begin(in->c.db); /* never one without the other (SU-13) */
		sequence_note(in, j);
		e->was_accepted = true;
		entry_transition(in, e, UPDATE_VERIFIED, "", "", verdict, NULL, NULL);
		db_end(in->c.db);
	} else {
		payload_next(in, e);
	}
}

/* Its envelope is gone or damaged: only its source can bring it again. */
static void envelope_lost(struct intake *in, struct entry *e, const char *why)
{
	struct mono now = mono_now();

	entry_set_state(in, e, UPDATE_HELD, "its envelope cannot be read from the cache (%s); waiting for its source", why);
	e->refresh_at = mono_add_ms(now, ENVELOPE_LOOK_MS);
	if (!in->c.upstream || (e->asked_at.ms && mono_diff_ms(now, e->asked_at) < ENVELOPE_ASK_MS))
		return;
	e->asked_at = now;
	(void)upstream_reread(in->c.upstream, e->u.source); /* a source that is gone cannot be asked */
}

static void entry_judged(void *arg)
{
	struct judge_job *j = arg;
	struct intake *in = j->intake;
	struct entry *e = entry_find(in, j->id);
	_cleanup_buf_ struct buf v = { 0 };

	note_stored(in, j);
	if (e)
		e->is_judging = false;
	if (e && entry_is_live(e) && !in->is_closing) {
		if (j->error < 0) {
			envelope_lost(in, e, strerror(-j->error));
		} else if (e->judge_again && j->verdict->outcome == TRUST_ACCEPTED) {
			; /* the facts have changed since: nothing good follows from the old ones */
		} else {
			verdict_json(j->verdict, &v);
			entry_set_needs(in, e, j->verdict);
			if (j->verdict->outcome == TRUST_REJECTED || !j->has_update) {
				rejudged_rejected(in, e, j, buf_span(&v));
			} else if (j->verdict->outcome == TRUST_UNDECIDED) {
				char reason[UPDATE_TEXT_BYTES];
				problem_text(j, reason, sizeof(reason));
				entry_set_state(in, e, UPDATE_HELD, "%s", reason);
			} else {
				rejudged_good(in, e, j, buf_span(&v));
			}
		}
		if (e->judge_again) {
			e->judge_again = false;
			entry_judge_again(in, e);
		}
	}
	judge_free(j);
}

void entry_judge_again(struct intake *in, struct entry *e)
{
	if (!entry_is_live(e) || in->is_closing)
		return;
	if (e->is_judging || !judge_start(in, NULL, e, entry_judged)) {
		e->judge_again = true;
		intake_wake(in, BUSY_RETRY_MS);
		return;
	}
	e->is_judging = true;
}

static void look_at_clock(struct intake *in)
{
	bool bad;

	(void)intake_clock(in, &bad);
	if (bad == in->clock_was_bad)
		return;
	in->clock_was_bad = bad;
	log_event(EV_CLOCK_BAD, bad ? LOG_ERR : LOG_NOTICE, bad ? "the clock is before the newest signed time seen; set it (timedatectl): nothing "
		  "new is accepted until then" : "the clock is plausible again");
	struct entry *e, *tmp;
	HASH_ITER(hh, in->entries, e, tmp)
		entry_judge_again(in, e);
}

/* What the disk did not take; and what nobody needs any more goes. */
static void store_again(struct intake *in, struct mono now)
{
	struct entry *e, *tmp;

	HASH_ITER(hh, in->entries, e, tmp) {
		if (!e->is_unsaved)
			continue;
		if (!mono_before(now, e->store_at))
			entry_store(in, e, e->unsaved_from, "", SPAN_NONE, NULL, NULL);
		else
			intake_wake(in, mono_diff_ms(e->store_at, now));
	}
	if (in->seen_unsaved && !db_is_failing(in->c.db)) {
		in->seen_unsaved = false;
		for (size_t i = 0; i < in->n_seen; i++)
			sequence_store(in, &in->seen[i]);
	}
	if (mono_before(now, in->prune_at))
		return;
	in->prune_at = mono_add_ms(now, PRUNE_MS);
	blobs_prune(in);
}

static void on_timer(void *ctx)
{
	struct intake *in = ctx;
	struct entry *e, *tmp;
	struct mono now = mono_now();
	int64_t next_ms = TICK_MS;
	bool bad;

	look_at_clock(in);
	store_again(in, now);
	HASH_ITER(hh, in->entries, e, tmp) {
		if (!entry_is_live(e))
			continue;
		bool is_payload_due = e->retry_at.ms && !mono_before(now, e->retry_at);
		if (e->u.has_use_before && wall_s(intake_clock(in, &bad)) >= e->u.use_before_s)
			entry_set_state(in, e, UPDATE_EXPIRED, "its use-before time has passed (SU-51)");
		else if (e->refresh_at.ms && !mono_before(now, e->refresh_at))
			entry_refresh(in, e, false);
		else if (e->judge_again && !e->is_judging) {
			e->judge_again = false;
			entry_judge_again(in, e);
		} else if (e->u.state == UPDATE_VERIFIED)
			payload_next(in, e);
		else if (e->u.state == UPDATE_HELD && e->payload_failures && is_payload_due && !e->is_judging) {
			e->retry_at.ms = 0;
			entry_judge_again(in, e); /* back to verified when it is good, and its payload is tried again */
		}
		int64_t due[] = { e->refresh_at.ms ? mono_diff_ms(e->refresh_at, now) : TICK_MS,
				  e->retry_at.ms ? mono_diff_ms(e->retry_at, now) : TICK_MS, e->judge_again ? BUSY_RETRY_MS : TICK_MS };
		for (size_t i = 0; i < sizeof(due) / sizeof(*due); i++)
			if (due[i] > 0 && due[i] < next_ms)
				next_ms = due[i];
	}
	intake_wake(in, next_ms);
}

/* ---- people ---- */

int intake_approve(struct intake *in, const char *id, const char *who, db_done_fn *done, void *ctx)
{
	struct entry *e = entry_find(in, id);

	if (!e)
		return -ENOENT;
	if (e->u.approved || !entry_is_live(e))
		return -EALREADY;
	e->u.approved = true;
	e->u.approved_at = wall_now();
	(void)text_copy(e->u.approved_by, sizeof(e->u.approved_by), span_sub(span_str(who), 0, sizeof(e->u.approved_by) - 1));
	log_fields(EV_APPROVED, LOG_NOTICE, ({ "GW_UPDATE", id }), "update %.12s was approved by %s", id, e->u.approved_by);
	e->is_approval_new = true;
	entry_transition(in, e, e->u.state, e->u.state == UPDATE_AVAILABLE ? "" : e->u.reason, who, SPAN_NONE, done, ctx);
	return 0;
}

int intake_recall(struct intake *in, const char *id, const char *who, const char *reason, db_done_fn *done, void *ctx)
{
	struct entry *e = entry_find(in, id);
	char text[UPDATE_TEXT_BYTES];

	if (!e)
		return -ENOENT;
	if (e->u.state == UPDATE_RECALLED && e->is_unsaved) { /* it is in force, and not on the disk yet */
		entry_store(in, e, e->unsaved_from, who, SPAN_NONE, done, ctx);
		return 0;
	}
	if (e->u.state == UPDATE_RECALLED || e->u.state == UPDATE_REJECTED)
		return -EALREADY;
	(void)snprintf(text, sizeof(text), "recalled by %.60s: %.150s", who, reason && reason[0] ? reason : "no reason given");
	entry_transition(in, e, UPDATE_RECALLED, text, who, SPAN_NONE, done, ctx);
	return 0;
}

void intake_image_lost(struct intake *in, const struct digest *d)
{
	struct entry *e, *tmp;

	HASH_ITER(hh, in->entries, e, tmp) {
		if (!entry_is_live(e))
			continue;
		if (digest_eq(&e->u.envelope, d)) {
			envelope_lost(in, e, "damaged");
			continue;
		}
		for (size_t i = 0; i < e->u.n_images; i++)
			if (digest_eq(&e->u.images[i].digest, d)) {
				payload_next(in, e);
				break;
			}
	}
}

void intake_refresh(struct intake *in)
{
	struct entry *e, *tmp;

	HASH_ITER(hh, in->entries, e, tmp)
		if (entry_is_live(e))
			entry_refresh(in, e, true);
}

void intake_set_anchors(struct intake *in, struct trust_anchors *a)
{
	struct entry *e, *tmp;

	trust_anchors_unref(in->anchors);
	in->anchors = trust_anchors_ref(a);
	HASH_ITER(hh, in->entries, e, tmp)
		entry_judge_again(in, e);
}

const struct update *intake_update(const struct intake *in, const char *id)
{
	const struct entry *e = entry_find(in, id);

	return e ? &e->u : NULL;
}

const struct update *intake_update_next(const struct intake *in, const char *after)
{
	const struct entry *e = after ? entry_find(in, after) : in->entries;

	if (after && e)
		e = e->hh.next;
	return e ? &e->u : NULL;
}

int intake_update_find(const struct intake *in, const char *prefix, const struct update **ret)
{
	struct entry *e, *tmp;
	size_t n = strlen(prefix);
	const struct update *found = NULL;

	if (n < 6)
		return -ENOENT;
	HASH_ITER(hh, in->entries, e, tmp) {
		if (strncmp(e->u.id, prefix, n) != 0)
			continue;
		if (found)
			return -ENOTUNIQ;
		found = &e->u;
	}
	if (!found)
		return -ENOENT;
	*ret = found;
	return 0;
}

size_t intake_update_count(const struct intake *in)
{
	return HASH_COUNT(in->entries);
}

/* ---- life ---- */

static int on_load_update(void *ctx, const struct update *u)
{
	struct intake *in = ctx;
	struct entry *e = NEW(struct entry);

	e->u = *u;
	e->was_accepted = u->state == UPDATE_VERIFIED || u->state == UPDATE_AVAILABLE;
	HASH_ADD_STR(in->entries, u.id, e);
	in->n_rejected += u->state == UPDATE_REJECTED;
	entry_pin(in, e);
	return 0;
}

static int on_load_sequence(void *ctx, const struct sequence_row *row)
{
	struct intake *in = ctx;
	struct freshness_entry f = { .n_component = row->n_component, .sequence = row->sequence, .manifest = row->manifest };

	memcpy(f.vendor_id, row->vendor_id, 16);
	memcpy(f.class_id, row->class_id, 16);
	memcpy(f.component, row->component, sizeof(f.component));
	in->seen = mem_resize(in->seen, in->n_seen + 1, sizeof(*in->seen));
	in->seen[in->n_seen++] = f;
	return 0;
}

static void floor_load(struct intake *in)
{
	uint8_t *p;
	size_t n;
	uint64_t ms;

	in->floor.ms = build_floor_ms;
	if (kv_store_get(in->c.db, "clock_floor_ms", &p, &n) < 0)
		return;
	if (text_parse_u64(SPAN(p, n), INT64_MAX, &ms, 0) == 0 && (int64_t)ms > in->floor.ms)
		in->floor.ms = (int64_t)ms;
	free(p);
}

int intake_open(const struct intake_config *c, struct intake **ret)
{
	struct intake *in = NEW(struct intake);

	in->c = *c;
	in->anchors = trust_anchors_ref(c->anchors);
	in->timer = loop_timer_new(c->loop, on_timer, in);
	floor_load(in);
	blobs_load(in);
	int r = sequence_store_load(c->db, on_load_sequence, in);
	if (r == 0)
		r = update_store_load(c->db, on_load_update, in);
	if (r < 0) {
		intake_close(in);
		return r;
	}
	*ret = in;
	return 0;
}

void intake_begin(struct intake *in)
{
	struct entry *e, *tmp;

	in->has_begun = true;
	HASH_ITER(hh, in->entries, e, tmp)
		entry_judge_again(in, e); /* with today's clock and revocation status; then it goes on */
	intake_wake(in, BUSY_RETRY_MS);
}

void intake_stop(struct intake *in)
{
	in->is_closing = true;
	loop_timer_set(in->timer, -1);
}

struct intake *intake_close(struct intake *in)
{
	struct entry *e, *tmp;
	struct candidate *c, *c_tmp;

	if (!in)
		return NULL;
	in->is_closing = true;
	loop_timer_free(in->timer);
	DL_FOREACH_SAFE(in->candidates, c, c_tmp) {
		judge_free(c->verdict);
		candidate_end(c, -ECANCELED);
	}
	HASH_ITER(hh, in->entries, e, tmp) {
		payload_cancel(e);
		HASH_DEL(in->entries, e);
		entry_free(e);
	}
	blobs_free(in);
	trust_anchors_unref(in->anchors);
	free(in->seen);
	free(in);
	return NULL;
}
