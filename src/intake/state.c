/* Every change of an update goes through here: it is persisted and audited, then logged and told. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "codec/json.h"
#include "intake/internal.h"

enum { STORE_RETRY_MS = 3000, AUDIT_VERDICT_BYTES_MAX = 24 * 1024 };

static void audit_update(struct intake *in, const struct entry *e, const char *from, const char *who, struct span verdict)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct json_out o = json_writer(&b);
	char hex[DIGEST_HEX_BYTES];

	json_open_object(&o, NULL);
	json_str(&o, "update", e->u.id);
	json_str(&o, "from", from);
	json_str(&o, "to", update_state_name(e->u.state));
	json_uint(&o, "sequence", e->u.sequence);
	json_str(&o, "source", e->u.source);
	json_str(&o, "uri", e->u.uri);
	json_str(&o, "envelope", digest_hex(&e->u.envelope, hex));
	json_str(&o, "anchor", e->u.anchor);
	json_bool(&o, "approved", e->u.approved);
	json_str(&o, "who", who);
	json_str(&o, "reason", e->u.reason);
	if (verdict.n && verdict.n <= AUDIT_VERDICT_BYTES_MAX) /* the whole of it is with the update */
		json_raw(&o, "verdict", verdict);
	json_close_object(&o);
	audit_log_append(in->c.audit, e->u.state_at, "update", e->u.id, buf_span(&b), NULL, NULL);
}

bool entry_is_live(const struct entry *e)
{
	return e->u.state == UPDATE_HELD || e->u.state == UPDATE_VERIFIED || e->u.state == UPDATE_AVAILABLE;
}

/* While it lives its files stay in the cache, also those that came before the last one did; afterwards they go when others
 * need the room. */
void entry_pin(struct intake *in, struct entry *e)
{
	struct digest before[UPDATE_IMAGES_MAX + 1];
	size_t n_before = e->n_pinned;

	memcpy(before, e->pinned, sizeof(before));
	e->n_pinned = 0;
	if (entry_is_live(e)) {
		e->pinned[e->n_pinned++] = e->u.envelope;
		for (size_t i = 0; i < e->u.n_images; i++)
			e->pinned[e->n_pinned++] = e->u.images[i].digest;
	}
	for (size_t i = 0; i < e->n_pinned; i++)
		image_cache_pin(in->c.images, &e->pinned[i]);
	for (size_t i = 0; i < n_before; i++)
		image_cache_unpin(in->c.images, &before[i]);
}

struct pending_update {
	struct intake *intake;
	char id[UPDATE_ID_BYTES];
	enum update_state old, to;
	bool is_approval;
	struct buf verdict;
	db_done_fn *done;
	void *ctx;
};

static enum event_id event_of(enum update_state s)
{
	return s == UPDATE_REJECTED ? EV_UPDATE_REJECTED : s == UPDATE_RECALLED ? EV_UPDATE_RECALLED : EV_UPDATE_STATE;
}

static void supersede_older(struct intake *in, const struct entry *e);

/* It is written again until the disk takes it; but an approval that was not stored was not given. */
static void update_not_stored(struct intake *in, struct entry *e, struct pending_update *p, int error)
{
	log_event(EV_STORE_FAILED, LOG_ERR, "update %.12s: its state is not stored: %s", p->id, strerror(-error));
	if (p->is_approval) {
		e->u.approved = false;
		e->u.approved_by[0] = 0;
	}
	if (!e->is_unsaved)
		e->unsaved_from = p->old;
	if (!e->unsaved_verdict.n) {
		buf_done(&e->unsaved_verdict);
		e->unsaved_verdict = p->verdict;
		p->verdict = (struct buf){ 0 };
	}
	e->is_unsaved = true;
	e->store_at = mono_add_ms(mono_now(), STORE_RETRY_MS);
	intake_wake(in, STORE_RETRY_MS);
}

static void update_stored(void *ctx, int error)
{
	struct pending_update *p = ctx;
	struct intake *in = p->intake;
	struct entry *e = entry_find(in, p->id);

	if (e && e->n_storing)
		e->n_storing--;
	if (e && error < 0)
		update_not_stored(in, e, p, error);
	if (e && !in->is_closing) {
		/* Less trust acts even when the disk does not hold it; more trust waits for the disk. */
		bool is_bad = e->u.state != UPDATE_AVAILABLE && e->u.state != UPDATE_VERIFIED;
		if (is_bad || (error == 0 && e->u.state == p->to))
			in->c.changed(in->c.ctx, &e->u, p->old);
		if (e->u.state == UPDATE_VERIFIED)
			payload_next(in, e);
		if (p->is_approval && error == 0 && e->u.state == UPDATE_AVAILABLE)
			supersede_older(in, e);
	}
	if (p->done)
		p->done(p->ctx, error);
	buf_done(&p->verdict);
	free(p);
}

void entry_store(struct intake *in, struct entry *e, enum update_state old, const char *who, struct span verdict,
		 db_done_fn *done, void *ctx)
{
	struct pending_update *p = NEW(struct pending_update);

	*p = (struct pending_update){ .intake = in, .old = old, .to = e->u.state, .is_approval = e->is_approval_new, .done = done, .ctx = ctx };
	memcpy(p->id, e->u.id, sizeof(p->id));
	if (verdict.n) {
		buf_add(&p->verdict, verdict);
		buf_done(&e->unsaved_verdict);
	} else {
		p->verdict = e->unsaved_verdict;
	}
	e->unsaved_verdict = (struct buf){ 0 };
	e->is_approval_new = e->is_unsaved = false;
	e->n_storing++;
	db_begin(in->c.db); /* the state and what the audit log says of it: both or neither */
	audit_update(in, e, update_state_name(old), who, verdict);
	update_store_put(in->c.db, &e->u, buf_span(&p->verdict), update_stored, p);
	db_end(in->c.db);
}

static void say_state(const struct entry *e, enum update_state old)
{
	int priority = e->u.state == UPDATE_RECALLED || e->u.state == UPDATE_REJECTED || e->u.state == UPDATE_HELD ? LOG_WARNING : LOG_NOTICE;

	log_fields(event_of(e->u.state), priority, ({ "GW_UPDATE", e->u.id }, { "GW_SOURCE", e->u.source },
		   { "GW_STATE", update_state_name(e->u.state) }, { "GW_REASON", e->u.reason }), "update %.12s (sequence %llu): %s -> %s%s%s",
		   e->u.id, (unsigned long long)e->u.sequence, update_state_name(old), update_state_name(e->u.state),
		   e->u.reason[0] ? ": " : "", e->u.reason);
}

void entry_transition(struct intake *in, struct entry *e, enum update_state to, const char *reason, const char *who, struct span verdict,
		      db_done_fn *done, void *ctx)
{
	enum update_state old = e->u.state;

	e->u.state = to;
	e->u.state_at = wall_now();
	(void)text_copy(e->u.reason, sizeof(e->u.reason), span_sub(span_str(reason), 0, sizeof(e->u.reason) - 1));
	if (old != to)
		say_state(e, old);
	if (to != UPDATE_VERIFIED && to != UPDATE_AVAILABLE)
		payload_cancel(e);
	in->n_rejected += (to == UPDATE_REJECTED) - (old == UPDATE_REJECTED);
	entry_pin(in, e);
	entry_store(in, e, old, who, verdict, done, ctx);
}

/* What is newer for the same thing takes the place of what is older, once it may be delivered itself. */
static void supersede_older(struct intake *in, const struct entry *e)
{
	struct entry *o, *tmp;

	HASH_ITER(hh, in->entries, o, tmp) {
		if (o == e || !entry_is_live(o) || o->u.sequence >= e->u.sequence || o->u.n_components == 0 || e->u.n_components == 0)
			continue;
		if (memcmp(&o->u.components[0], &e->u.components[0], sizeof(o->u.components[0])) == 0)
			entry_set_state(in, o, UPDATE_SUPERSEDED, "superseded by %.12s with sequence %llu", e->u.id,
					(unsigned long long)e->u.sequence);
	}
}

void entry_set_state(struct intake *in, struct entry *e, enum update_state to, const char *fmt, ...)
{
	char reason[UPDATE_TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(reason, sizeof(reason), fmt, ap); /* clipped for people */
	va_end(ap);
	if (!update_state_may(e->u.state, to) || (e->u.state == to && strcmp(reason, e->u.reason) == 0))
		return;
	entry_transition(in, e, to, reason, "", SPAN_NONE, NULL, NULL);
	if (to == UPDATE_AVAILABLE && e->u.approved)
		supersede_older(in, e);
}
