#include "delivery/multicast.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "delivery/multicast_internal.h"

/* ---- who talks ---- */

struct order *multicast_order(const struct multicast *d, const char *device)
{
	struct order *o;

	HASH_FIND_STR(d->orders, device, o);
	return o;
}

struct talker *multicast_talker(const struct multicast *d, const char *device)
{
	struct talker *t;

	HASH_FIND_STR(d->talkers, device, t);
	return t;
}

struct talker *multicast_talker_of(const struct multicast *d, uint64_t session)
{
	struct talker *t;

	HASH_FIND(hh_session, d->by_session, &session, sizeof(session), t);
	return t;
}

static void talker_unlink(struct multicast *d, struct talker *t)
{
	if (t->session)
		HASH_DELETE(hh_session, d->by_session, t);
	t->session = 0;
}

static void talker_free(struct multicast *d, struct talker *t)
{
	talker_unlink(d, t);
	HASH_DEL(d->talkers, t);
	free(t);
}

struct talker *multicast_talker_make(struct multicast *d, const char *device)
{
	struct talker *t = multicast_talker(d, device);

	if (t)
		return t;
	if (HASH_COUNT(d->talkers) >= MULTICAST_TALKERS_MAX)
		talker_free(d, d->talkers); /* the one known for the longest; it is known again when it talks */
	t = NEW(struct talker);
	(void)text_copy(t->device, sizeof(t->device), span_str(device)); /* ids fit */
	HASH_ADD_STR(d->talkers, device, t);
	return t;
}

void multicast_heard(struct delivery_driver *drv, const struct coap_peer *peer, const char *device)
{
	struct multicast *d = (struct multicast *)drv;
	struct talker *t = multicast_talker(d, device), *other;

	if (!peer->session || (t && t->session == peer->session))
		return;
	t = multicast_talker_make(d, device);
	other = multicast_talker_of(d, peer->session);
	if (other)
		talker_unlink(d, other); /* one plain session may speak for several: the last one counts */
	talker_unlink(d, t);
	t->session = peer->session;
	t->secure = peer->secure;
	HASH_ADD(hh_session, d->by_session, session, sizeof(t->session), t);
}

/* ---- what is on its way to the disk ---- */

struct storing *storing_new(struct multicast *d, void (*then)(const struct storing *v, int error))
{
	struct storing *v = NEW(struct storing);

	v->d = d;
	v->then = then;
	DL_APPEND(d->storing, v);
	return v;
}

void storing_done(void *arg, int error)
{
	struct storing *v = arg;

	if (v->d) {
		DL_DELETE(v->d->storing, v);
		v->then(v, error);
	}
	free(v);
}

/* ---- orders ---- */

void order_free(struct multicast *d, struct order *o)
{
	session_leave(o);
	HASH_DEL(d->orders, o);
	free(o);
}

void order_to_unicast(struct multicast *d, struct order *o)
{
	struct delivery_order order = { .manifest = o->manifest, .sequence = o->sequence, .images = &o->image, .n_images = 1 };

	session_leave(o);
	o->stage = ORDER_UNICAST;
	if (d->closing)
		return;
	memcpy(order.job, o->job, sizeof(order.job));
	memcpy(order.device, o->device, sizeof(order.device));
	int r = d->c.unicast->ops->start(d->c.unicast, &order);
	if (r < 0)
		log_event(EV_GENERIC, LOG_WARNING, "job %.12s: %s did not start: %s", o->job, d->c.unicast->ops->name, strerror(-r));
}

static void cancel_order(struct multicast *d, struct order *o)
{
	session_order_gone(o);
	order_free(d, o);
}

static struct group *group_for(struct multicast *d, const struct delivery_order *order)
{
	const struct talker *t = multicast_talker(d, order->device);
	int i = d->c.group_of(d->c.world_ctx, order->device);

	if (i < 0 || order->n_images != 1 || order->images[0].bytes == 0 || order->images[0].bytes > MULTICAST_OBJECT_BYTES_MAX)
		return NULL;
	if (t && t->was_left && digest_eq(&t->left, &order->manifest))
		return NULL;
	return group_at(d, (size_t)i);
}

static int multicast_start(struct delivery_driver *drv, const struct delivery_order *order)
{
	struct multicast *d = (struct multicast *)drv;
	struct order *o = multicast_order(d, order->device);
	struct session *s;
	struct group *g;

	if (o && strcmp(o->job, order->job) == 0 && digest_eq(&o->manifest, &order->manifest))
		return o->stage == ORDER_UNICAST ? d->c.unicast->ops->start(d->c.unicast, order) : 0;
	if (o)
		cancel_order(d, o);
	g = group_for(d, order);
	s = g ? session_for(d, g, order) : NULL;
	if (!s)
		return d->c.unicast->ops->start(d->c.unicast, order);
	o = NEW(struct order);
	memcpy(o->device, order->device, sizeof(o->device));
	memcpy(o->job, order->job, sizeof(o->job));
	o->manifest = order->manifest;
	o->sequence = order->sequence;
	o->image = order->images[0];
	HASH_ADD_STR(d->orders, device, o);
	session_join(s, o);
	return 0;
}

static void multicast_cancel(struct delivery_driver *drv, const char *device, const char *job)
{
	struct multicast *d = (struct multicast *)drv;
	struct order *o = multicast_order(d, device);

	if (o && strcmp(o->job, job) == 0) {
		if (o->stage == ORDER_UNICAST)
			d->c.unicast->ops->cancel(d->c.unicast, device, job);
		cancel_order(d, o);
	}
}

void multicast_reported(struct delivery_driver *drv, const char *device, const struct node_report *r)
{
	struct multicast *d = (struct multicast *)drv;
	const struct order *o = multicast_order(d, device);

	if (!o || o->stage != ORDER_MEMBER || !o->session || o->member < 0 || !digest_eq(&o->manifest, &r->manifest_digest))
		return;
	if (r->result > 1) /* refused, or failed: it needs no more of it */
		(void)mcast_session_member_failed(o->session->m, (unsigned)o->member, mono_now());
	else if (r->state >= 2 || r->result == 1)
		(void)mcast_session_member_ready(o->session->m, (unsigned)o->member, mono_now());
	if (o->session)
		session_kick(o->session);
}

void multicast_device_gone(struct delivery_driver *drv, const char *device)
{
	struct multicast *d = (struct multicast *)drv;
	struct order *o = multicast_order(d, device);
	struct talker *t = multicast_talker(d, device);
	struct session *s;
	struct group *g;

	if (o)
		order_to_unicast(d, o); /* whether it may have anything is not for us to say */
	DL_FOREACH(d->sessions, s) {
		int i = s->m ? mcast_session_member_find(s->m, device) : MCAST_MEMBER_NONE;
		if (i >= 0) {
			(void)mcast_session_member_remove(s->m, (unsigned)i, mono_now()); /* is there */
			session_kick(s);
		}
	}
	LL_FOREACH(d->groups, g) {
		bool knows = group_holds(g, device);
		DL_FOREACH(d->sessions, s)
			knows = knows || (s->group == g && s->m && mcast_session_rekey_due(s->m)); /* or it may have been told */
		if (knows)
			group_rekey(g, device);
	}
	if (t)
		talker_free(d, t);
}

void multicast_yield(struct delivery_driver *drv)
{
	struct multicast *d = (struct multicast *)drv;
	struct session *s;

	DL_FOREACH(d->sessions, s)
		if (s->m)
			mcast_session_yield(s->m, mono_now());
}

void multicast_yield_on(struct delivery_driver *drv, const char *interface)
{
	struct multicast *d = (struct multicast *)drv;
	struct session *s;

	DL_FOREACH(d->sessions, s)
		if (s->m && strcmp(s->group->c.interface, interface) == 0)
			mcast_session_yield(s->m, mono_now());
}

/* ---- life ---- */

static void copy_groups(struct multicast *d, const struct multicast_group_config *groups, size_t n)
{
	struct multicast_group_config *copy = NEW_N(struct multicast_group_config, n + 1);

	if (n)
		memcpy(copy, groups, n * sizeof(*copy));
	free((void *)(uintptr_t)d->c.groups);
	d->c.groups = copy;
	d->c.n_groups = n;
	for (size_t i = 0; i < n; i++)
		group_configure(group_make(d, copy[i].name), &copy[i]);
}

static bool has_row(const struct multicast_group_config *groups, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(groups[i].name, name) == 0)
			return true;
	return false;
}

void multicast_set_groups(struct delivery_driver *drv, const struct multicast_group_config *groups, size_t n)
{
	struct multicast *d = (struct multicast *)drv;
	struct session *s, *next;
	struct group *g;

	DL_FOREACH_SAFE(d->sessions, s, next)
		if (!has_row(groups, n, s->group->c.name))
			session_abandon(s, MCAST_END_ABORT);
	LL_FOREACH(d->groups, g)
		if (!has_row(groups, n, g->c.name))
			group_configure(g, NULL);
	copy_groups(d, groups, n);
}

void multicast_begin(struct delivery_driver *drv)
{
	struct multicast *d = (struct multicast *)drv;
	struct session *s;

	DL_FOREACH(d->sessions, s)
		if (s->stage == SESSION_STORED)
			loop_timer_set(s->orphans, MULTICAST_ORPHAN_MS);
}

static struct delivery_driver *multicast_close(struct delivery_driver *drv)
{
	struct multicast *d = (struct multicast *)drv;
	struct order *o, *o_next;
	struct group *g, *g_next;
	struct storing *v;

	if (!d)
		return NULL;
	d->closing = true;
	DL_FOREACH(d->storing, v)
		v->d = NULL; /* freed when the disk has answered */
	multicast_hashes_drop(d);
	while (d->sessions)
		session_free(d->sessions);
	HASH_ITER(hh, d->orders, o, o_next)
		order_free(d, o);
	while (d->talkers)
		talker_free(d, d->talkers);
	LL_FOREACH_SAFE(d->groups, g, g_next)
		group_free(g);
	free((void *)(uintptr_t)d->c.groups);
	free(d);
	return NULL;
}

static const struct delivery_ops multicast_ops = {
	.name = "multicast", .start = multicast_start, .cancel = multicast_cancel, .close = multicast_close,
};

int multicast_open(const struct multicast_config *c, struct delivery_driver **ret)
{
	struct multicast *d;
	int r;

	if (c->n_groups > MULTICAST_GROUPS_MAX)
		return -E2BIG;
	d = NEW(struct multicast);
	d->driver.ops = &multicast_ops;
	d->c = *c;
	d->c.groups = NULL;
	d->c.n_groups = 0;
	r = c->store.load_groups(c->store.ctx, group_load, d);
	if (r == 0)
		copy_groups(d, c->groups, c->n_groups);
	if (r == 0)
		r = c->store.load_sessions(c->store.ctx, record_load, d);
	if (r == 0)
		r = multicast_add_routes(d);
	if (r < 0) {
		multicast_close(&d->driver);
		return r;
	}
	*ret = &d->driver;
	return 0;
}
