/* A group: its key and who holds it, its counter of sessions, its sender, and whose turn it is to send. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/random.h"
#include "base/text.h"
#include "delivery/multicast_internal.h"

enum { SAVE_SOON_MS = 1000, GID_MAX = 255 };

struct group *group_find(const struct multicast *d, const char *name)
{
	struct group *g;

	LL_FOREACH(d->groups, g)
		if (strcmp(g->c.name, name) == 0)
			return g;
	return NULL;
}

struct group *group_at(const struct multicast *d, size_t i)
{
	return i < d->c.n_groups ? group_find(d, d->c.groups[i].name) : NULL;
}

static void on_retry(void *ctx)
{
	struct group *g = ctx;

	(void)group_up(g); /* arms the timer again when it is not */
	if (g->sender)
		group_kick(g);
}

static void on_rekeyed(const struct storing *v, int error);

static void on_save(void *ctx)
{
	struct group *g = ctx;

	group_save(g, g->is_untold ? on_rekeyed : NULL, 0);
}

static void new_key(struct group *g)
{
	g->gid = (uint8_t)(g->gid % GID_MAX + 1);
	random_bytes(g->key, sizeof(g->key));
}

static void drop_holders(struct group *g)
{
	struct holder *h, *next;

	HASH_ITER(hh, g->holders, h, next) {
		HASH_DEL(g->holders, h);
		free(h);
	}
}

struct group *group_make(struct multicast *d, const char *name)
{
	struct group *g = group_find(d, name);

	if (g)
		return g;
	g = NEW(struct group);
	g->d = d;
	(void)text_copy(g->c.name, sizeof(g->c.name), span_str(name)); /* names fit: config and store check */
	for (size_t i = 0; i < MULTICAST_BASELINES; i++)
		g->baseline[i] = UINT16_MAX;
	new_key(g);
	g->retry = loop_timer_new(d->c.loop, on_retry, g);
	g->save = loop_timer_new(d->c.loop, on_save, g);
	LL_APPEND(d->groups, g);
	return g;
}

void group_free(struct group *g)
{
	coap_multicast_sender_close(g->sender);
	loop_timer_free(g->retry);
	loop_timer_free(g->save);
	drop_holders(g);
	mem_wipe(g->key, sizeof(g->key));
	free(g);
}

static bool same_place(const struct multicast_group_config *a, const struct multicast_group_config *b)
{
	return strcmp(a->interface, b->interface) == 0 && memcmp(a->address, b->address, sizeof(a->address)) == 0 && a->port == b->port &&
	       a->hop_limit == b->hop_limit;
}

void group_configure(struct group *g, const struct multicast_group_config *c)
{
	bool moved = !c || !same_place(&g->c, c);

	g->is_configured = c != NULL;
	if (c)
		g->c = *c;
	if (moved)
		g->sender = coap_multicast_sender_close(g->sender);
	if (c)
		(void)group_up(g);
	else
		loop_timer_set(g->retry, -1);
}

/* ---- records ---- */

int group_load(void *arg, const struct multicast_group_record *r)
{
	struct group *g = group_make(arg, r->name);

	g->gid = r->gid ? r->gid : 1;
	memcpy(g->key, r->key, sizeof(g->key));
	g->counter = r->counter;
	memcpy(g->baseline, r->baseline, sizeof(g->baseline));
	drop_holders(g);
	for (size_t i = 0; i < r->n_members; i++)
		group_hold(g, r->members[i]);
	loop_timer_set(g->save, -1);
	return 0;
}

static void on_saved(const struct storing *v, int error)
{
	if (error == 0)
		return;
	log_event(EV_STORE_FAILED, LOG_ERR, "multicast group %s: not stored: %s", v->g->c.name, strerror(-error));
	loop_timer_set(v->g->save, MULTICAST_RETRY_MS);
}

void group_save(struct group *g, void (*then)(const struct storing *v, int error), uint64_t serial)
{
	const struct multicast_store *st = &g->d->c.store;
	struct multicast_group_record r = { .gid = g->gid, .counter = g->counter, .n_members = HASH_COUNT(g->holders) };
	struct storing *v = storing_new(g->d, then ? then : on_saved);
	const char **members = NEW_N(const char *, r.n_members + 1);
	struct holder *h, *next;
	size_t n = 0;

	v->g = g;
	v->serial = serial;
	memcpy(r.name, g->c.name, sizeof(r.name));
	memcpy(r.key, g->key, sizeof(r.key));
	memcpy(r.baseline, g->baseline, sizeof(r.baseline));
	HASH_ITER(hh, g->holders, h, next)
		members[n++] = h->device;
	r.members = members;
	loop_timer_set(g->save, -1);
	st->save_group(st->ctx, &r, storing_done, v);
	mem_wipe(r.key, sizeof(r.key));
	free(members);
}

void group_save_soon(struct group *g)
{
	if (!loop_timer_armed(g->save))
		loop_timer_set(g->save, SAVE_SOON_MS);
}

/* ---- the interface ---- */

static void say_down(struct group *g, int error)
{
	if (g->error == error)
		return;
	g->error = error;
	log_event(EV_MULTICAST_INTERFACE, LOG_WARNING, "multicast group %s: %s cannot be used: %s; tried again every %d s, its sessions wait",
		  g->c.name, g->c.interface, strerror(-error), MULTICAST_RETRY_MS / 1000);
}

bool group_up(struct group *g)
{
	struct coap_multicast_group where = { .interface = g->c.interface, .port = g->c.port, .hop_limit = g->c.hop_limit, .loop = true };

	if (g->sender || !g->is_configured)
		return g->sender != NULL;
	memcpy(where.address, g->c.address, sizeof(where.address));
	int r = coap_multicast_sender_open(&where, &g->sender);
	if (r < 0) {
		say_down(g, r);
		loop_timer_set(g->retry, MULTICAST_RETRY_MS);
	}
	return r == 0;
}

void group_down(struct group *g, int error)
{
	g->sender = coap_multicast_sender_close(g->sender);
	say_down(g, error);
	loop_timer_set(g->retry, MULTICAST_RETRY_MS);
}

/* ---- the key ---- */

bool group_holds(const struct group *g, const char *device)
{
	struct holder *h;

	HASH_FIND_STR(g->holders, device, h);
	return h != NULL;
}

void group_hold(struct group *g, const char *device)
{
	if (group_holds(g, device) || HASH_COUNT(g->holders) >= 4 * MULTICAST_MEMBERS_MAX)
		return;
	struct holder *h = NEW(struct holder);
	(void)text_copy(h->device, sizeof(h->device), span_str(device)); /* ids fit */
	HASH_ADD_STR(g->holders, device, h);
	group_save_soon(g);
}

static void on_rekeyed(const struct storing *v, int error)
{
	struct session *s;

	on_saved(v, error);
	if (error < 0) { /* until it is stored the sessions go on with what their members hold */
		v->g->is_untold = true;
		return;
	}
	v->g->is_untold = false;
	DL_FOREACH(v->d->sessions, s)
		if (s->group == v->g)
			session_key_changed(s);
}

void group_rekey(struct group *g, const char *without)
{
	new_key(g);
	drop_holders(g);
	log_event(EV_MULTICAST_KEY, LOG_NOTICE, "multicast group %s: new key %u%s%s", g->c.name, g->gid, without ? ", without " : "",
		  without ? without : "");
	group_save(g, on_rekeyed, 0);
}

/* ---- losses, pace ---- */

void group_note_loss(struct group *g, uint16_t permille)
{
	memmove(g->baseline + 1, g->baseline, sizeof(g->baseline) - sizeof(*g->baseline));
	g->baseline[0] = permille;
	group_save_soon(g);
}

double group_loss(const struct group *g)
{
	return g->baseline[0] == UINT16_MAX ? -1 : g->baseline[0] / 1000.0;
}

uint16_t group_baseline(const struct group *g)
{
	uint16_t least = UINT16_MAX;

	for (size_t i = 0; i < MULTICAST_BASELINES; i++)
		if (g->baseline[i] < least)
			least = g->baseline[i];
	return least;
}

uint32_t group_pace_ms(const struct group *g)
{
	struct mcast_link link;

	mcast_link_profile(g->c.link, g->c.routers, &link);
	return g->c.pace_ms == 0 ? link.gap_ms : g->c.pace_ms < link.gap_min_ms ? link.gap_min_ms : g->c.pace_ms;
}

/* ---- one session at a time sends (NSTART = 1) ---- */

bool group_turn(const struct group *g, const struct session *s)
{
	struct session *o;

	if (!mcast_session_sends(s->m))
		return true;
	DL_FOREACH(g->d->sessions, o)
		if (o->group == g && o->m && !o->operator_paused && mcast_session_sends(o->m))
			return o == s;
	return true; /* paused by a person: its step only keeps time */
}

void group_kick(struct group *g)
{
	struct session *s;

	DL_FOREACH(g->d->sessions, s)
		if (s->group == g)
			session_kick(s);
}
