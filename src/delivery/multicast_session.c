/* A session's life: orders gather; multicast_gather makes a session of them; mcast_session runs, and what it asks for is done by
 * multicast_ops; whoever is left goes by unicast. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/random.h"
#include "delivery/multicast_internal.h"

static void on_timer(void *ctx);

static const char *sid_text(const struct session *s, char ret[static MCAST_SID_HEX_BYTES])
{
	return mcast_sid_hex(&s->c.sid, ret);
}

/* ---- made, found, freed ---- */

static void on_orphans(void *ctx);

struct session *session_new(struct multicast *d, struct group *g)
{
	struct session *s = NEW(struct session);

	s->d = d;
	s->group = g;
	s->serial = ++d->serial;
	s->began = mono_now();
	s->timer = loop_timer_new(d->c.loop, on_timer, s);
	s->save = loop_timer_new(d->c.loop, session_save, s);
	s->orphans = loop_timer_new(d->c.loop, on_orphans, s);
	DL_APPEND(d->sessions, s);
	d->n_sessions++;
	metric_set(METRIC_MULTICAST_SESSIONS, (int64_t)d->n_sessions);
	return s;
}

struct session *session_find(const struct multicast *d, const struct mcast_sid *sid)
{
	struct session *s;

	DL_FOREACH(d->sessions, s)
		if ((s->stage == SESSION_RUNNING || s->stage == SESSION_STORED) && mcast_sid_eq(&s->c.sid, sid))
			return s;
	return NULL;
}

struct session *session_serial(const struct multicast *d, uint64_t serial)
{
	struct session *s;

	DL_FOREACH(d->sessions, s)
		if (s->serial == serial)
			return s;
	return NULL;
}

struct session *session_for(struct multicast *d, struct group *g, const struct delivery_order *order)
{
	struct session *s;

	DL_FOREACH(d->sessions, s)
		if (s->group == g && digest_eq(&s->manifest, &order->manifest) && digest_eq(&s->image.digest, &order->images[0].digest) &&
		    (s->stage != SESSION_RUNNING || !mcast_session_over(s->m)))
			return s;
	if (d->n_sessions >= MULTICAST_SESSIONS_MAX)
		return NULL;
	s = session_new(d, g);
	s->stage = SESSION_GATHERING;
	s->manifest = order->manifest;
	s->image = order->images[0];
	session_step_in(s, (int64_t)d->c.gather_s * 1000);
	return s;
}

static void reader_close(struct session *s)
{
	if (s->reader.read && s->reader.release)
		s->reader.release(s->reader.ctx);
	s->reader = (struct coap_body_reader){ 0 };
}

void session_free(struct session *s)
{
	asks_drop(s);
	while (s->orders)
		session_leave(s->orders);
	s->m = mcast_session_free(s->m);
	s->mk = mac_cmac_free(s->mk);
	reader_close(s);
	buf_done(&s->piece);
	buf_done(&s->table);
	buf_done(&s->stored);
	buf_done(&s->unsaved);
	loop_timer_free(s->timer);
	loop_timer_free(s->save);
	loop_timer_free(s->orphans);
	DL_DELETE(s->d->sessions, s);
	s->d->n_sessions--;
	metric_set(METRIC_MULTICAST_SESSIONS, (int64_t)s->d->n_sessions);
	free(s);
}

void session_kick(struct session *s)
{
	if (s->stage == SESSION_RUNNING)
		loop_timer_set(s->timer, 0);
}

void session_step_in(struct session *s, int64_t ms)
{
	loop_timer_set(s->timer, ms < 0 ? 0 : ms);
}

/* ---- orders in and out ---- */

static bool everybody_is_there(const struct session *s)
{
	const struct multicast *d = s->d;

	for (size_t i = 0; i < d->c.n_groups; i++)
		if (group_at(d, i) == s->group)
			return d->c.group_count(d->c.world_ctx, i) == s->n_orders;
	return false;
}

static void member_of_running(struct session *s, struct order *o)
{
	struct mcast_member_config m = { .device = o->device, .has_key = s->group->c.invite && group_holds(s->group, o->device) };
	struct mcast_member_view v;

	o->member = mcast_session_member_find(s->m, o->device);
	if (o->member >= 0 && mcast_session_member(s->m, (unsigned)o->member, &v) == 0 && !mcast_member_handed_back(v.state) &&
	    v.state != MCAST_MEMBER_REMOVED)
		return; /* from before the restart */
	o->member = mcast_session_member_add(s->m, &m, mono_now());
	if (o->member < 0)
		order_to_unicast(s->d, o);
	session_kick(s);
}

void session_join(struct session *s, struct order *o)
{
	o->session = s;
	o->stage = s->stage == SESSION_RUNNING ? ORDER_MEMBER : ORDER_GATHERING;
	o->member = MCAST_MEMBER_NONE;
	DL_APPEND(s->orders, o);
	s->n_orders++;
	if (s->stage == SESSION_RUNNING)
		member_of_running(s, o);
	else if (s->stage == SESSION_STORED)
		session_step_in(s, MULTICAST_SETTLE_MS);
	else if (s->stage == SESSION_GATHERING && everybody_is_there(s))
		session_step_in(s, 0);
}

void session_leave(struct order *o)
{
	struct session *s = o->session;

	if (!s)
		return;
	DL_DELETE(s->orders, o);
	s->n_orders--;
	o->session = NULL;
	o->member = MCAST_MEMBER_NONE;
}

static bool is_unfinished(const struct order *o)
{
	struct mcast_member_view v;

	return o->stage == ORDER_MEMBER && o->member >= 0 && mcast_session_member(o->session->m, (unsigned)o->member, &v) == 0 &&
	       v.state != MCAST_MEMBER_READY;
}

/* Its job was cancelled, or ended. The device stays in the group and keeps the key. */
void session_order_gone(struct order *o)
{
	struct session *s = o->session;
	bool unfinished = s && s->m && is_unfinished(o), others = false;
	int member = o->member;
	struct order *other;

	session_leave(o);
	if (!s)
		return;
	if (s->stage != SESSION_RUNNING) {
		if (s->n_orders == 0 && s->stage == SESSION_GATHERING)
			session_free(s);
		return; /* a later stage looks when it comes to run */
	}
	if (!unfinished)
		return;
	DL_FOREACH(s->orders, other)
		others = others || is_unfinished(other);
	if (!others && mcast_session_sends(s->m))
		mcast_session_abort(s->m, MCAST_END_ABORT, mono_now()); /* nobody needs it any more: a recall */
	else
		(void)mcast_session_member_failed(s->m, (unsigned)member, mono_now()); /* is a member */
	session_kick(s);
}

/* ---- the end ---- */

static void on_removed(void *arg, int error)
{
	(void)arg;
	if (error < 0)
		log_event(EV_STORE_FAILED, LOG_WARNING, "an ended multicast session is still stored: %s; after a restart nobody orders it",
			  strerror(-error));
}

void session_end(struct session *s)
{
	struct multicast *d = s->d;
	struct group *g = s->group;
	const struct multicast_store *st = &d->c.store;
	struct order *o, *next;

	if (s->stage == SESSION_RUNNING || s->stage == SESSION_STORED)
		st->remove_session(st->ctx, &s->c.sid, on_removed, NULL);
	DL_FOREACH_SAFE(s->orders, o, next) {
		if (s->m && !is_unfinished(o))
			session_leave(o); /* READY: its node goes on by itself */
		else
			order_to_unicast(d, o);
	}
	session_free(s);
	group_kick(g);
}

void session_abandon(struct session *s, enum mcast_end reason)
{
	if (s->stage != SESSION_RUNNING) {
		session_end(s);
		return;
	}
	mcast_session_abort(s->m, reason, mono_now());
	session_kick(s);
}

void session_all_to_unicast(struct session *s, const char *why)
{
	log_fields(EV_MULTICAST_SESSION, LOG_INFO, ({ "GW_STATE", "unicast" }), "multicast group %s: %zu devices go by unicast: %s",
		   s->group->c.name, s->n_orders, why);
	session_end(s);
}

/* ---- the object ---- */

int session_read(struct session *s, uint64_t offset, uint8_t *p, size_t n)
{
	const struct delivery_source *src = &s->d->c.source;
	int r = 0;

	if (!s->reader.read)
		r = src->open_image(src->ctx, &s->manifest, &s->image.digest, &s->reader);
	if (r < 0) {
		s->reader = (struct coap_body_reader){ 0 };
		return r;
	}
	if (s->reader.bytes != s->image.bytes)
		return -EBADMSG;
	r = s->reader.read(s->reader.ctx, offset, p, n);
	if (r < 0)
		reader_close(s); /* opened anew, if it may be */
	return r;
}

/* ---- running ---- */

/* The numbers of mcast_session_config that a group's configuration gives, at the start and again after a restart. */
static void tune(struct session *s)
{
	const struct multicast_group_config *g = &s->group->c;

	s->c.tuning = s->d->c.tuning;
	s->c.tuning.slot_ms = g->slot_ms ? g->slot_ms : MULTICAST_SLOT_MS;
	s->c.tuning.lifetime_ms = s->d->c.lifetime_s > UINT32_MAX / 1000 ? UINT32_MAX : s->d->c.lifetime_s * 1000;
	mcast_link_profile(g->link, g->routers, &s->c.link);
	s->c.pace_ms = group_pace_ms(s->group);
	s->c.gid = s->group->gid;
	s->c.baseline_permille = group_baseline(s->group);
	s->c.seed = random_u64();
	if (s->first_window.ms) {
		s->c.windows.first = mono_add_ms(mono_now(), s->first_window.ms - wall_now().ms);
		s->c.windows.length_ms = g->window_s * 1000;
		s->c.windows.period_ms = g->window_period_s * 1000;
	}
}

static void new_mk(struct session *s)
{
	uint8_t mk[MAC_CMAC_KEY_BYTES];

	mcast_mic_key(&s->c.sid, s->group->key, mk);
	mac_cmac_free(s->mk);
	s->mk = mac_cmac_new(mk);
	mem_wipe(mk, sizeof(mk));
	s->gid = s->group->gid;
}

static int open_session(struct session *s, struct mono now)
{
	struct mcast_session_ops ops = session_ops(s);

	tune(s);
	new_mk(s);
	if (s->stage == SESSION_STORED)
		return mcast_session_restore(&s->c, &ops, buf_span(&s->stored), now, &s->m);
	return mcast_session_new(&s->c, &ops, now, &s->m);
}

static void tell_observers(struct session *s)
{
	coap_endpoint_changed(s->d->c.endpoint, s->d->path[1]);
}

void session_run(struct session *s)
{
	char sid[MCAST_SID_HEX_BYTES];
	struct order *o, *next;
	bool restored = s->stage == SESSION_STORED;

	if (s->n_orders == 0) {
		session_end(s);
		return;
	}
	int r = open_session(s, mono_now());
	if (r < 0) {
		log_event(EV_MULTICAST_SESSION, LOG_ERR, "multicast group %s, session %s: %s: %s", s->group->c.name, sid_text(s, sid),
			  restored ? "cannot go on" : "cannot begin", strerror(-r));
		session_end(s);
		return;
	}
	s->stage = SESSION_RUNNING;
	buf_done(&s->stored);
	log_fields(EV_MULTICAST_SESSION, LOG_NOTICE, ({ "GW_STATE", restored ? "resumed" : "started" }),
		   "multicast group %s, session %s: %s: %zu devices, %" PRIu64 " bytes in %u generations of at most %u fragments",
		   s->group->c.name, sid_text(s, sid), restored ? "goes on" : "begins", s->n_orders, s->image.bytes, s->geo.n_generations, s->c.k);
	DL_FOREACH_SAFE(s->orders, o, next) {
		o->stage = ORDER_MEMBER;
		member_of_running(s, o);
	}
	if (s->operator_paused)
		mcast_session_pause(s->m, mono_now());
	if (s->is_unsettled)
		mcast_session_rekey(s->m, s->group->gid, mono_now());
	s->is_unsettled = false;
	if (restored)
		loop_timer_set(s->orphans, MULTICAST_ORPHAN_MS);
	tell_observers(s);
	session_kick(s);
}

void session_key_changed(struct session *s)
{
	if (s->stage == SESSION_STORED)
		s->is_unsettled = true;
	if (s->stage != SESSION_RUNNING || s->gid == s->group->gid)
		return;
	asks_drop(s); /* they carry the old key; asked again below */
	new_mk(s);
	s->c.gid = s->gid;
	mcast_session_rekey(s->m, s->gid, mono_now());
	tell_observers(s);
	session_kick(s);
}

/* After a restart: members that nobody orders any more. */
static void on_orphans(void *ctx)
{
	struct session *s = ctx;

	if (s->stage == SESSION_STORED) {
		if (s->n_orders == 0)
			session_end(s);
		return;
	}
	for (unsigned i = 0; s->m && i < MCAST_MEMBERS_MAX; i++) {
		struct mcast_member_view v;
		if (mcast_session_member(s->m, i, &v) < 0)
			break;
		const struct order *o = multicast_order(s->d, v.device);
		if ((!o || o->session != s) && v.state <= MCAST_MEMBER_PULLING)
			(void)mcast_session_member_failed(s->m, i, mono_now()); /* is there */
	}
	session_kick(s);
}

void session_paused(struct session *s)
{
	bool want = s->operator_paused || s->down_paused;

	if (want)
		mcast_session_pause(s->m, mono_now());
	else
		mcast_session_resume(s->m, mono_now());
}

static void look_at_interface(struct session *s)
{
	if (s->is_down && !s->down_paused) {
		s->down_paused = true;
		session_paused(s);
	} else if (s->down_paused && group_up(s->group)) {
		s->down_paused = false;
		session_paused(s);
	}
	s->is_down = false;
}

static void say_end(struct session *s)
{
	char sid[MCAST_SID_HEX_BYTES];
	struct mcast_session_view v;

	mcast_session_view(s->m, mono_now(), &v);
	if (v.loss_permille != UINT16_MAX)
		group_note_loss(s->group, v.loss_permille);
	log_fields(EV_MULTICAST_SESSION, LOG_NOTICE, ({ "GW_STATE", mcast_phase_name(v.phase) }),
		   "multicast group %s, session %s: %s: %u of %u devices ready, %u left to unicast, %u frames, %.2f of what theory asks for",
		   s->group->c.name, sid_text(s, sid), mcast_phase_name(v.phase), v.members[MCAST_MEMBER_READY], v.n_members,
		   v.members[MCAST_MEMBER_REFUSED] + v.members[MCAST_MEMBER_SILENT] + v.members[MCAST_MEMBER_FAILED], v.sent_total, v.ratio);
}

static void step(struct session *s)
{
	struct mono now = mono_now();

	look_at_interface(s);
	asks_fail(s);
	if (!group_turn(s->group, s))
		return; /* kicked when the one before it has sent its END */
	bool sent = mcast_session_sends(s->m);
	struct mono next = mcast_session_step(s->m, now);
	if (sent && !mcast_session_sends(s->m)) {
		session_progress(s);
		group_kick(s->group);
	}
	if (mcast_session_over(s->m)) {
		say_end(s);
		session_end(s);
		return;
	}
	if (s->is_down) {
		look_at_interface(s);
		session_kick(s); /* it learns that it is paused */
	} else if (next.ms != INT64_MAX) {
		session_step_in(s, mono_diff_ms(next, mono_now()));
	} else {
		loop_timer_set(s->timer, -1);
	}
	struct ask *a;
	DL_FOREACH(s->asks, a)
		if (a->error)
			session_kick(s);
}

static void on_timer(void *ctx)
{
	struct session *s = ctx;

	switch (s->stage) {
	case SESSION_GATHERING:
		session_gathered(s);
		break;
	case SESSION_STORED:
		if (s->n_orders > 0)
			session_run(s);
		break;
	case SESSION_HASHING:
		session_hash(s);
		break;
	case SESSION_NUMBERING:
		break;
	case SESSION_RUNNING:
		step(s);
		break;
	}
}
