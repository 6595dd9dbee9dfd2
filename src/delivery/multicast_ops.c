/* What mcast_session asks for: frames out, bytes of the object, members asked, snapshots kept, news told. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <utlist.h>

#include "base/log.h"
#include "base/metric.h"
#include "delivery/multicast_internal.h"

/* ---- sending, reading, asking ---- */

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

void session_save(void *ctx)
{
	struct session *s = ctx;
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
	session_save(s);
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
			   "multicast group %s, session %s: %s -> %s", name, mcast_sid_hex(&s->c.sid, sid), mcast_phase_name((enum mcast_phase)a),
			   mcast_phase_name((enum mcast_phase)b));
		break;
	case MCAST_EV_PAUSED:
	case MCAST_EV_RESUMED:
		log_line(LOG_DEBUG, "multicast group %s, session %s: pause reasons %" PRId64 " -> %" PRId64, name, mcast_sid_hex(&s->c.sid, sid), b, a);
		break;
	case MCAST_EV_LOSS:
		log_line(LOG_INFO, "multicast group %s, session %s: %" PRId64 " of 1000 frames are lost, by %" PRId64 " reports", name,
			 mcast_sid_hex(&s->c.sid, sid), a, b);
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
			   mcast_sid_hex(&s->c.sid, sid), a == 0 ? "nobody answers" : a == 1 ? "its lifetime is over" : strerror((int)(b < 0 ? -b : b)));
		break;
	case MCAST_SESSION_EVENT_COUNT:
		break;
	}
}

struct mcast_session_ops session_ops(struct session *s)
{
	return (struct mcast_session_ops){ .send = op_send, .read = op_read, .setup = op_setup, .pull = op_pull, .persist = op_persist,
					   .member = op_member, .event = op_event, .ctx = s };
}
