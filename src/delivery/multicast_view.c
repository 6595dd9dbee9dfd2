/* What is shown of the driver, and what people do to its sessions. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "delivery/multicast_internal.h"

void multicast_facts_get(const struct delivery_driver *drv, const char *device, const struct digest *manifest, struct multicast_facts *ret)
{
	const struct multicast *d = (const struct multicast *)drv;
	const struct talker *t = multicast_talker(d, device);
	const struct order *o = multicast_order(d, device);
	int i = d->c.group_of(d->c.world_ctx, device);
	const struct group *g = i >= 0 ? group_at(d, (size_t)i) : NULL;

	*ret = (struct multicast_facts){ .bytes_max = MULTICAST_OBJECT_BYTES_MAX };
	if (g) {
		ret->in_group = true;
		ret->group = g->c.name;
		ret->is_up = g->sender != NULL;
		ret->min_members = g->c.min_members;
		ret->pace_ms = group_pace_ms(g);
	}
	ret->was_left = t && t->was_left && digest_eq(&t->left, manifest);
	ret->is_in_session = o && o->session && digest_eq(&o->manifest, manifest);
}

void multicast_groups(const struct delivery_driver *drv, multicast_group_view_fn *fn, void *arg)
{
	const struct multicast *d = (const struct multicast *)drv;
	struct group *g;

	LL_FOREACH(d->groups, g) {
		struct multicast_group_view v = { .name = g->c.name, .interface = g->c.interface, .port = g->c.port,
						  .hop_limit = g->c.hop_limit, .gid = g->gid, .link = mcast_link_name(g->c.link),
						  .counter = g->counter, .n_members = HASH_COUNT(g->holders), .pace_ms = group_pace_ms(g),
						  .min_members = g->c.min_members, .is_up = g->sender != NULL, .error = g->error };
		struct session *s;

		if (!g->is_configured)
			continue;
		memcpy(v.address, g->c.address, sizeof(v.address));
		DL_FOREACH(d->sessions, s)
			v.n_sessions += s->group == g;
		if (!fn(arg, &v))
			return;
	}
}

static const char *phase_of(const struct session *s, const struct mcast_session_view *v)
{
	switch (s->stage) {
	case SESSION_GATHERING:
		return "gathering";
	case SESSION_STORED:
		return "stored";
	case SESSION_HASHING:
	case SESSION_NUMBERING:
		return "preparing";
	case SESSION_RUNNING:
		break;
	}
	return group_turn(s->group, s) ? mcast_phase_name(v->phase) : "queued";
}

static void pause_text(const struct session *s, unsigned paused, char *ret, size_t n)
{
	static const struct {
		unsigned bit;
		const char *text;
	} words[] = {
		{ MCAST_PAUSE_CREDIT, "nobody answers" }, { MCAST_PAUSE_WINDOW, "between windows" }, { MCAST_PAUSE_OBJECT, "image being read" },
		{ MCAST_PAUSE_PERSIST, "being stored" }, { MCAST_PAUSE_REKEY, "new key" },
	};

	ret[0] = '\0';
	if (s->down_paused)
		(void)snprintf(ret, n, "interface not there");
	else if (s->operator_paused)
		(void)snprintf(ret, n, "by a person");
	for (size_t i = 0; i < sizeof(words) / sizeof(*words) && !ret[0]; i++)
		if (paused & words[i].bit)
			(void)snprintf(ret, n, "%s", words[i].text);
}

static void view_of(const struct session *s, struct multicast_session_view *v)
{
	struct mono now = mono_now();

	*v = (struct multicast_session_view){ .sid = s->c.sid, .group = s->group->c.name, .manifest = s->manifest, .image = s->image.digest,
					      .object_bytes = s->image.bytes, .fragment_bytes = s->c.z, .k = s->c.k, .n_members = s->n_orders,
					      .age_s = mono_diff_ms(now, s->began) / 1000 };
	v->has_session = s->stage == SESSION_RUNNING;
	if (v->has_session) {
		mcast_session_view(s->m, now, &v->s);
		v->n_members = v->s.n_members;
	}
	v->phase = phase_of(s, &v->s);
	pause_text(s, v->has_session ? v->s.paused : 0, v->pause, sizeof(v->pause));
}

void multicast_sessions(const struct delivery_driver *drv, multicast_session_view_fn *fn, void *arg)
{
	const struct multicast *d = (const struct multicast *)drv;
	struct multicast_session_view v;
	struct session *s;

	DL_FOREACH(d->sessions, s) {
		view_of(s, &v);
		if (!fn(arg, &v))
			return;
	}
}

static bool show_order(const struct order *o, multicast_member_view_fn *fn, void *arg)
{
	struct multicast_member_view v = { .device = o->device, .job = o->job, .state = "gathering", .why = "" };

	return fn(arg, &v);
}

int multicast_members(const struct delivery_driver *drv, const struct mcast_sid *sid, multicast_member_view_fn *fn, void *arg)
{
	const struct multicast *d = (const struct multicast *)drv;
	const struct session *s = session_find(d, sid);
	const struct order *o;

	if (!s)
		return -ENOENT;
	if (!s->m) {
		DL_FOREACH(s->orders, o)
			if (!show_order(o, fn, arg))
				break;
		return 0;
	}
	for (unsigned i = 0; i < MCAST_MEMBERS_MAX; i++) {
		struct multicast_member_view v = { .job = "" };

		if (mcast_session_member(s->m, i, &v.m) < 0)
			break;
		o = multicast_order(d, v.m.device);
		if (o && digest_eq(&o->manifest, &s->manifest)) {
			v.job = o->job;
			v.by_unicast = o->stage == ORDER_UNICAST;
		}
		v.device = v.m.device;
		v.state = mcast_member_state_name(v.m.state);
		v.why = mcast_why_name(v.m.why);
		if (!fn(arg, &v))
			break;
	}
	return 0;
}

/* ---- by a person ---- */

static int pause_set(struct delivery_driver *drv, const struct mcast_sid *sid, bool want)
{
	struct session *s = session_find((struct multicast *)drv, sid);

	if (!s || s->stage != SESSION_RUNNING)
		return -ENOENT;
	if (s->operator_paused == want)
		return -EALREADY;
	s->operator_paused = want;
	session_paused(s);
	group_kick(s->group);
	return 0;
}

int multicast_pause(struct delivery_driver *drv, const struct mcast_sid *sid)
{
	return pause_set(drv, sid, true);
}

int multicast_resume(struct delivery_driver *drv, const struct mcast_sid *sid)
{
	return pause_set(drv, sid, false);
}

int multicast_abort(struct delivery_driver *drv, const struct mcast_sid *sid)
{
	struct session *s = session_find((struct multicast *)drv, sid);

	if (!s)
		return -ENOENT;
	if (s->stage == SESSION_RUNNING && mcast_session_over(s->m))
		return -EALREADY;
	session_abandon(s, MCAST_END_ABORT);
	return 0;
}

int multicast_rekey(struct delivery_driver *drv, const char *name)
{
	struct group *g = group_find((struct multicast *)drv, name);

	if (!g || !g->is_configured)
		return -ENOENT;
	group_rekey(g, NULL);
	return 0;
}
