/* A session's life: orders gather; the object is hashed; the group's counter is stored; mcast_session runs, and what it asks for is
 * done here; whoever is left goes by unicast. */
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
#include "base/text.h"
#include "delivery/mcast_plan.h"
#include "delivery/multicast_internal.h"

static void on_timer(void *ctx);
static void session_run(struct session *s);

static const char *sid_text(const struct session *s, char ret[static MCAST_SID_HEX_BYTES])
{
	return mcast_sid_hex(&s->c.sid, ret);
}

/* ---- made, found, freed ---- */

static void on_save_again(void *ctx);
static void on_orphans(void *ctx);

struct session *session_new(struct multicast *d, struct group *g)
{
	struct session *s = NEW(struct session);

	s->d = d;
	s->group = g;
	s->serial = ++d->serial;
	s->began = mono_now();
	s->timer = loop_timer_new(d->c.loop, on_timer, s);
	s->save = loop_timer_new(d->c.loop, on_save_again, s);
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
	digest_stream_free(s->hash);
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

static void all_to_unicast(struct session *s, const char *why)
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

/* ---- gathering ends ---- */

static void limits_of_members(const struct session *s, struct mcast_plan_size *z)
{
	const struct order *o;

	DL_FOREACH(s->orders, o) {
		const struct talker *t = multicast_talker(s->d, o->device);
		if (t && t->l && t->l < z->lost_max)
			z->lost_max = t->l;
		if (t && t->k_max && (!z->k_max || t->k_max < z->k_max))
			z->k_max = t->k_max;
	}
}

static void plan_windows(struct session *s)
{
	const struct multicast_group_config *g = &s->group->c;

	if (!g->window_s || !g->window_period_s)
		return;
	struct wall now = wall_now();
	int64_t period = (int64_t)g->window_period_s * 1000, start = (int64_t)g->window_start_s * 1000 % period;
	int64_t next = now.ms - (now.ms % period) + start;

	while (next < now.ms)
		next += period;
	s->first_window = (struct wall){ next };
}

/* The numbers of mcast_session_config that a group's configuration gives, at the start and again after a restart. */
void session_tune(struct session *s)
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

static bool it_pays(const struct session *s, char why[static MULTICAST_WHY_BYTES])
{
	const struct group *g = s->group;
	struct multicast_gathering facts = { .group = g->c.name, .n_members = s->n_orders, .min_members = g->c.min_members,
					     .fragment_bytes = s->c.z, .pace_ms = group_pace_ms(g), .bytes = s->image.bytes,
					     .loss = group_loss(g) };

	if (s->d->c.pays)
		return s->d->c.pays(s->d->c.world_ctx, &facts, why);
	(void)snprintf(why, MULTICAST_WHY_BYTES, "%zu of at least %u", s->n_orders, g->c.min_members);
	return s->n_orders >= g->c.min_members;
}

static void gathered(struct session *s)
{
	struct mcast_plan_size z = { .size = (uint32_t)s->image.bytes, .log2_e = MULTICAST_LOG2_E, .loss = group_loss(s->group) };
	char why[MULTICAST_WHY_BYTES] = "";

	if (s->n_orders == 0) {
		session_end(s);
		return;
	}
	s->c.z = s->group->c.fragment_bytes ? s->group->c.fragment_bytes : MCAST_Z_DEFAULT;
	if (!s->group->is_configured || !group_up(s->group)) {
		all_to_unicast(s, "the group's interface is not there");
		return;
	}
	if (!it_pays(s, why)) {
		all_to_unicast(s, why);
		return;
	}
	s->c.size = (uint32_t)s->image.bytes;
	s->c.digest = s->image.digest;
	s->c.log2_e = MULTICAST_LOG2_E;
	s->c.alg = MULTICAST_ALG;
	z.z = s->c.z;
	z.interleave = s->d->c.tuning.interleave;
	z.lost_max = s->d->c.tuning.lost_max;
	limits_of_members(s, &z);
	s->c.k = (uint16_t)mcast_plan_k(&z);
	if (s->c.k == 0 || mcast_geometry_of(s->c.size, s->c.z, s->c.k, s->c.log2_e, &s->geo) < 0) {
		all_to_unicast(s, "the image cannot be cut into generations");
		return;
	}
	plan_windows(s);
	s->stage = SESSION_HASHING;
	session_step_in(s, 0);
}

/* ---- hashing, a slice a turn ---- */

static void number(struct session *s);

static void hash_end(struct session *s)
{
	struct digest got = digest_stream_end(s->hash);

	s->hash = digest_stream_free(s->hash);
	buf_add(&s->table, SPAN(got.b, MCAST_GENERATION_DIGEST_BYTES));
	s->hash_at = 0;
	if (++s->hash_g == s->geo.n_generations)
		number(s);
	else
		session_step_in(s, 0);
}

static void hash_slice(struct session *s)
{
	struct mcast_generation g = mcast_geometry_generation(&s->geo, s->hash_g);
	uint8_t bytes[MULTICAST_SLICE_BYTES];
	size_t n = g.length - s->hash_at < sizeof(bytes) ? (size_t)(g.length - s->hash_at) : sizeof(bytes);
	int r = session_read(s, g.offset + s->hash_at, bytes, n);

	if (s->n_orders == 0) {
		session_end(s);
		return;
	}
	if (r == -EAGAIN) { /* being verified again */
		session_step_in(s, 1000);
		return;
	}
	if (r < 0) {
		all_to_unicast(s, strerror(-r));
		return;
	}
	if (!s->hash)
		s->hash = digest_stream_new();
	digest_stream_add(s->hash, SPAN(bytes, n));
	s->hash_at += n;
	if (s->hash_at == g.length)
		hash_end(s);
	else
		session_step_in(s, 0);
}

/* ---- a number of its own, stored before it is used ---- */

static void on_numbered(const struct storing *v, int error)
{
	struct session *s = session_serial(v->d, v->serial);

	if (!s)
		return;
	if (error < 0) {
		all_to_unicast(s, "its number could not be stored");
		return;
	}
	session_run(s);
}

static void number(struct session *s)
{
	struct group *g = s->group;
	struct session *o;
	uint8_t live[32] = { 0 };

	DL_FOREACH(s->d->sessions, o)
		if (o->group == g && o != s && (o->stage == SESSION_RUNNING || o->stage == SESSION_STORED || o->stage == SESSION_NUMBERING))
			live[mcast_sid8(&o->c.sid) / 8] |= (uint8_t)(1u << mcast_sid8(&o->c.sid) % 8);
	int r = mcast_plan_sid(g->counter, (uint32_t)random_u64(), live, &s->c.sid);
	if (r < 0) {
		all_to_unicast(s, "the group has no number left for a session");
		return;
	}
	g->counter = mcast_sid_counter(&s->c.sid);
	s->stage = SESSION_NUMBERING;
	loop_timer_set(s->timer, -1);
	group_save(g, on_numbered, s->serial);
}

/* ---- what mcast_session asks for ---- */

static int op_send(void *ctx, struct span body, size_t mic_bytes)
{
	struct session *s = ctx;
	struct group *g = s->group;
	uint8_t frame[MCAST_FRAME_BYTES_MAX];

	(void)mic_bytes; /* sealing knows it by the type */
	if (!g->sender)
		s->is_down = true;
	if (!g->sender || body.n > MCAST_BODY_BYTES_MAX)
		return -EAGAIN;
	memcpy(frame, body.p, body.n);
	size_t n = mcast_frame_seal(s->mk, &s->c.sid, frame, body.n);
	int r = coap_multicast_send(g->sender, SPAN(frame, n));
	if (r == -ENODEV || r == -ENETDOWN || r == -ENETUNREACH || r == -EADDRNOTAVAIL) {
		group_down(g, r);
		s->is_down = true;
		return -EAGAIN;
	}
	if (r < 0)
		return r;
	metric_add(METRIC_MULTICAST_FRAMES, 1);
	metric_add(METRIC_MULTICAST_BYTES, (int64_t)n);
	if (g->error) {
		g->error = 0;
		log_event(EV_MULTICAST_INTERFACE, LOG_NOTICE, "multicast group %s: %s works again", g->c.name, g->c.interface);
	}
	return 0;
}

static int op_read(void *ctx, uint64_t offset, uint8_t *p, size_t n)
{
	return session_read(ctx, offset, p, n);
}

static void op_setup(void *ctx, unsigned member, const char *device)
{
	setup_ask(ctx, member, device, false);
}

static void op_pull(void *ctx, unsigned member, const char *device)
{
	setup_ask(ctx, member, device, true);
}

/* ---- snapshots ---- */

static void save(struct session *s);

static void on_save_again(void *ctx)
{
	save(ctx);
}

static void on_saved(const struct storing *v, int error)
{
	struct session *s = session_serial(v->d, v->serial);
	uint32_t token = v->token;

	if (!s || !s->m)
		return;
	if (error < 0) {
		log_event(EV_STORE_FAILED, LOG_ERR, "multicast group %s: where its session stands was not stored: %s", s->group->c.name,
			  strerror(-error));
		if (token == s->token)
			loop_timer_set(s->save, MULTICAST_RETRY_MS);
		return;
	}
	if (token == s->token)
		buf_clear(&s->unsaved);
	mcast_session_persisted(s->m, token);
	session_kick(s);
}

static void save(struct session *s)
{
	const struct multicast_store *st = &s->d->c.store;
	struct multicast_session_record r = { .sid = s->c.sid, .manifest = s->manifest, .image = s->image.digest,
					      .snapshot = buf_span(&s->unsaved) };
	struct storing *v = storing_new(s->d, on_saved);

	v->serial = s->serial;
	v->token = s->token;
	memcpy(r.group, s->group->c.name, sizeof(r.group));
	st->save_session(st->ctx, &r, storing_done, v);
}

static void op_persist(void *ctx, struct span snapshot, uint32_t token)
{
	struct session *s = ctx;

	buf_clear(&s->unsaved);
	record_encode(s, snapshot, &s->unsaved);
	s->token = token;
	save(s);
	session_progress(s);
}

/* ---- progress and members ---- */

void session_progress(struct session *s)
{
	const struct delivery_sink *sink = &s->d->c.sink;
	struct mcast_session_view v;
	struct order *o, *next;

	if (!s->m || s->n_orders == 0)
		return;
	mcast_session_view(s->m, mono_now(), &v);
	uint64_t sent = v.n_fragments ? s->image.bytes * v.position / v.n_fragments : 0;
	DL_FOREACH_SAFE(s->orders, o, next) {
		struct mcast_member_view m;
		if (o->member >= 0 && mcast_session_member(s->m, (unsigned)o->member, &m) == 0 &&
		    (m.state == MCAST_MEMBER_JOINED || m.state == MCAST_MEMBER_PULLING) && sent > 0)
			sink->progress(sink->ctx, o->job, sent, s->image.bytes);
	}
}

static void op_member(void *ctx, unsigned member, enum mcast_member_state was, enum mcast_member_state now, enum mcast_member_why why)
{
	struct session *s = ctx;
	const struct delivery_sink *sink = &s->d->c.sink;
	struct mcast_member_view v;
	struct order *o;

	if (!s->m || mcast_session_member(s->m, member, &v) < 0)
		return;
	o = multicast_order(s->d, v.device);
	if (o && o->session != s)
		o = NULL;
	log_fields(EV_MULTICAST_MEMBER, mcast_member_handed_back(now) ? LOG_NOTICE : LOG_DEBUG,
		   ({ "GW_DEVICE", v.device }, { "GW_JOB", o ? o->job : "" }, { "GW_STATE", mcast_member_state_name(now) },
		    { "GW_REASON", mcast_why_name(why) }), "multicast group %s: %s: %s -> %s (%s)", s->group->c.name, v.device,
		   mcast_member_state_name(was), mcast_member_state_name(now), mcast_why_name(why));
	metric_add(METRIC_MULTICAST_READY, now == MCAST_MEMBER_READY);
	metric_add(METRIC_MULTICAST_LEFT, mcast_member_handed_back(now));
	if (now == MCAST_MEMBER_READY && o)
		sink->progress(sink->ctx, o->job, s->image.bytes, s->image.bytes);
	if (!mcast_member_handed_back(now))
		return;
	struct talker *t = multicast_talker_make(s->d, v.device);
	t->was_left = true;
	t->left = s->manifest;
	if (o)
		order_to_unicast(s->d, o);
}

static void op_event(void *ctx, enum mcast_session_event ev, int64_t a, int64_t b)
{
	struct session *s = ctx;
	char sid[MCAST_SID_HEX_BYTES];
	const char *name = s->group->c.name;

	switch (ev) {
	case MCAST_EV_PHASE:
		log_fields(EV_MULTICAST_SESSION, LOG_INFO, ({ "GW_STATE", mcast_phase_name((enum mcast_phase)b) }),
			   "multicast group %s, session %s: %s -> %s", name, sid_text(s, sid), mcast_phase_name((enum mcast_phase)a),
			   mcast_phase_name((enum mcast_phase)b));
		break;
	case MCAST_EV_PAUSED:
	case MCAST_EV_RESUMED:
		log_line(LOG_DEBUG, "multicast group %s, session %s: pause reasons %" PRId64 " -> %" PRId64, name, sid_text(s, sid), b, a);
		break;
	case MCAST_EV_LOSS:
		log_line(LOG_INFO, "multicast group %s, session %s: %" PRId64 " of 1000 frames are lost, by %" PRId64 " reports", name,
			 sid_text(s, sid), a, b);
		break;
	case MCAST_EV_PACE:
		log_line(LOG_INFO, "multicast group %s: a frame every %" PRId64 " ms instead of %" PRId64, name, a, b);
		break;
	case MCAST_EV_TRIM:
		log_line(LOG_DEBUG, "multicast group %s: generation %" PRId64 ": %" PRId64 " fragments again", name, a, b);
		break;
	case MCAST_EV_SUSPECT: {
		struct mcast_member_view v = { 0 };
		(void)mcast_session_member(s->m, (unsigned)a, &v); /* "" then */
		log_fields(EV_MULTICAST_MEMBER, LOG_WARNING, ({ "GW_DEVICE", v.device }, { "GW_REASON", mcast_why_name((enum mcast_member_why)b) }),
			   "multicast group %s: what %s reports is in doubt: %s", name, v.device, mcast_why_name((enum mcast_member_why)b));
		break;
	}
	case MCAST_EV_GAVE_UP:
		log_fields(EV_MULTICAST_SESSION, LOG_WARNING, ({ "GW_STATE", "gave-up" }), "multicast group %s, session %s: given up: %s", name,
			   sid_text(s, sid), a == 0 ? "nobody answers" : a == 1 ? "its lifetime is over" : strerror((int)(b < 0 ? -b : b)));
		break;
	case MCAST_SESSION_EVENT_COUNT:
		break;
	}
}

/* ---- running ---- */

static struct mcast_session_ops ops_of(struct session *s)
{
	return (struct mcast_session_ops){ .send = op_send, .read = op_read, .setup = op_setup, .pull = op_pull, .persist = op_persist,
					   .member = op_member, .event = op_event, .ctx = s };
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
	struct mcast_session_ops ops = ops_of(s);

	session_tune(s);
	new_mk(s);
	if (s->stage == SESSION_STORED)
		return mcast_session_restore(&s->c, &ops, buf_span(&s->stored), now, &s->m);
	return mcast_session_new(&s->c, &ops, now, &s->m);
}

static void tell_observers(struct session *s)
{
	coap_endpoint_changed(s->d->c.endpoint, s->d->path[1]);
}

static void session_run(struct session *s)
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
		gathered(s);
		break;
	case SESSION_STORED:
		if (s->n_orders > 0)
			session_run(s);
		break;
	case SESSION_HASHING:
		hash_slice(s);
		break;
	case SESSION_NUMBERING:
		break;
	case SESSION_RUNNING:
		step(s);
		break;
	}
}
