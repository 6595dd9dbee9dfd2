#include "radio/lowpan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "radio/lowpan_internal.h"

enum { DUMP_NONE, DUMP_LINKS, DUMP_ADDRESSES, DUMP_NEIGHBOURS };

const char *lowpan_kind_name(enum lowpan_kind k)
{
	static const char *const names[LOWPAN_KIND_COUNT] = { [LOWPAN_OTHER] = "other", [LOWPAN_802154] = "802.15.4", [LOWPAN_BLE] = "ble",
							      [LOWPAN_THREAD] = "thread" };

	return names[k];
}

/* ---- everything asked for anew ---- */

static void dump_next(struct lowpan *p);

static void dump_again(struct lowpan *p)
{
	p->dump = DUMP_NONE;
	p->is_dump_wanted = false;
	loop_timer_set(p->again, LOWPAN_AGAIN_MS);
}

static void on_part(void *ctx, const struct netlink_message *m)
{
	table_message(ctx, m);
}

static void on_dumped(void *ctx, int error, const char *why)
{
	struct lowpan *p = ctx;

	(void)why;
	if (error < 0) {                       /* what was not seen is not gone */
		dump_again(p);
		return;
	}
	p->dump++;
	if (p->dump <= DUMP_NEIGHBOURS) {
		dump_next(p);
		return;
	}
	p->dump = DUMP_NONE;
	table_sweep(p);
	p->is_known = true;
	count_levels(p);
	setup_all(p);
	if (p->is_dump_wanted)
		lowpan_refresh(p);
}

static void dump_next(struct lowpan *p)
{
	static const uint16_t types[] = { [DUMP_LINKS] = RTM_GETLINK, [DUMP_ADDRESSES] = RTM_GETADDR, [DUMP_NEIGHBOURS] = RTM_GETNEIGH };
	_cleanup_buf_ struct buf b = { 0 };

	netlink_encode_dump(&b, types[p->dump], p->dump == DUMP_LINKS ? AF_UNSPEC : AF_INET6);
	if (netlink_request(p->route, &b, on_part, on_dumped, p) < 0)
		dump_again(p);
}

void lowpan_refresh(struct lowpan *p)
{
	if (!p->route)
		return;
	if (p->dump != DUMP_NONE) {
		p->is_dump_wanted = true;
		return;
	}
	p->is_dump_wanted = false;
	table_mark(p);
	p->dump = DUMP_LINKS;
	dump_next(p);
}

static void on_again(void *ctx)
{
	lowpan_refresh(ctx);
}

static void on_poll(void *ctx)
{
	struct lowpan *p = ctx;
	bool has_budget = false;

	for (const struct wish *w = p->wishes; w; w = w->next)
		has_budget = has_budget || w->s.airtime_permille;
	lowpan_refresh(p);                     /* the counters, and whatever a notice did not tell */
	loop_timer_set(p->poll, has_budget ? LOWPAN_POLL_BUDGET_MS : LOWPAN_POLL_MS);
}

/* ---- notices ---- */

static void on_notice(void *ctx, const struct netlink_message *m)
{
	struct lowpan *p = ctx;

	table_message(p, m);
	if (m->type == RTM_NEWLINK || m->type == RTM_DELLINK || m->type == RTM_NEWADDR || m->type == RTM_DELADDR)
		setup_all(p);
}

static void on_lost(void *ctx)
{
	lowpan_refresh(ctx);
}

/* ---- life ---- */

static void wish_free(struct wish *w)
{
	setup_stop(w);
	free(w);
}

static struct wish *wish_new(struct lowpan *p, const struct lowpan_settings *s)
{
	struct wish *w = NEW(struct wish);

	w->p = p;
	w->s = *s;
	w->step = LOWPAN_STEP_AS_IT_IS;        /* until it is looked at */
	w->timer = loop_timer_new(p->loop, setup_on_timer, w);
	return w;
}

/* What stays the same keeps what it knows of itself, above all what it raised. */
static void inherit(struct wish *w, struct wish *old)
{
	w->radio_raised = strcmp(w->s.parent, old->s.parent) == 0 ? old->radio_raised : 0;
	w->link_raised = old->link_raised;
	w->is_busy = old->is_busy;
	if (w->s.advertise == old->s.advertise && w->s.address_bits == old->s.address_bits &&
	    memcmp(w->s.address, old->s.address, sizeof(w->s.address)) == 0) {
		w->advert = TAKE(old->advert);
		w->advert_index = old->advert_index;
	}
}

void lowpan_set(struct lowpan *p, const struct lowpan_settings *s, size_t n)
{
	struct wish *old = p->wishes, **tail = &p->wishes;

	p->wishes = NULL;
	for (size_t i = 0; i < n && i < LOWPAN_MAX; i++) {
		struct wish *w = wish_new(p, &s[i]);
		for (struct wish *o = old; o; o = o->next)
			if (strcmp(o->s.interface, w->s.interface) == 0)
				inherit(w, o);
		*tail = w;
		tail = &w->next;
	}
	while (old) {
		struct wish *next = old->next;
		wish_free(old);
		old = next;
	}
	lowpan_refresh(p);
}

struct lowpan *lowpan_new(struct loop *l, const struct lowpan_ops *ops, void *ctx, int *ret_error)
{
	static const unsigned groups[] = { RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV6_IFADDR };
	const struct netlink_ops hear = { .notice = on_notice, .lost = on_lost };
	struct lowpan *p = NEW(struct lowpan);

	p->loop = l;
	p->ctx = ctx;
	if (ops)
		p->ops = *ops;
	p->poll = loop_timer_new(l, on_poll, p);
	p->again = loop_timer_new(l, on_again, p);
	*ret_error = netlink_open(l, NETLINK_ROUTE, groups, sizeof(groups) / sizeof(*groups), &hear, p, &p->route);
	if (*ret_error < 0)
		return p;
	lowpan_refresh(p);
	loop_timer_set(p->poll, LOWPAN_POLL_BUDGET_MS);
	return p;
}

struct lowpan *lowpan_free(struct lowpan *p)
{
	if (!p)
		return NULL;
	while (p->wishes) {
		struct wish *next = p->wishes->next;
		wish_free(p->wishes);
		p->wishes = next;
	}
	p->route = netlink_close(p->route);
	p->generic = netlink_close(p->generic);
	loop_timer_free(p->poll);
	loop_timer_free(p->again);
	table_clear(p);
	accounts_clear(p);
	free(p);
	return NULL;
}

/* ---- what people and the other folders ask ---- */

static uint32_t block_of(const struct lowpan *p, const struct interface *i)
{
	static const uint32_t usual[LOWPAN_KIND_COUNT] = { [LOWPAN_802154] = LOWPAN_BLOCK_802154, [LOWPAN_THREAD] = LOWPAN_BLOCK_THREAD,
							   [LOWPAN_BLE] = LOWPAN_BLOCK_BLE };
	const struct wish *w = wish_named(p, i->l.name);

	return w && w->s.block_bytes ? w->s.block_bytes : usual[i->kind];
}

size_t lowpan_block_bytes(const struct lowpan *p, unsigned index)
{
	const struct interface *i = index ? table_find(p, (int)index) : NULL;

	return i ? block_of(p, i) : 0;
}

const char *lowpan_name(const struct lowpan *p, unsigned index)
{
	const struct interface *i = index ? table_find(p, (int)index) : NULL;

	return i && (i->kind != LOWPAN_OTHER || wish_named(p, i->l.name)) ? i->l.name : "";
}

enum airtime_level lowpan_level(const struct lowpan *p, const char *name, uint32_t *ret_wait_s)
{
	const struct account *a = account_get(p, name);
	const struct wish *w = wish_named(p, name);

	*ret_wait_s = a && w ? airtime_wait_s(&a->a, w->s.airtime_permille, mono_now()) : 0;
	return a && w ? airtime_level(&a->a, w->s.airtime_permille, mono_now()) : AIRTIME_FREE;
}

unsigned lowpan_index_of(const struct lowpan *p, const uint8_t address[static 16])
{
	const struct own_address *a, *tmp;

	HASH_ITER(hh, p->addresses, a, tmp)
		if (memcmp(a->key.address, address, sizeof(a->key.address)) == 0)
			return (unsigned)a->key.index;
	return 0;
}

static void view_address(const struct lowpan *p, const struct interface *i, struct lowpan_view *v)
{
	const struct own_address *a, *tmp;
	char text[INET6_ADDRSTRLEN];

	HASH_ITER(hh, p->addresses, a, tmp) {
		if (a->key.index != i->l.index || (a->key.address[0] == 0xfe && (a->key.address[1] & 0xc0) == 0x80))
			continue;
		(void)inet_ntop(AF_INET6, a->key.address, text, sizeof(text)); /* fits: cannot fail */
		(void)snprintf(v->address, sizeof(v->address), "%s/%u", text, a->bits);
		return;
	}
}

static void view_interface(const struct lowpan *p, const struct interface *i, struct lowpan_view *v)
{
	const struct interface *radio = i->l.parent ? table_find(p, i->l.parent) : NULL;

	v->kind = i->kind;
	v->index = (unsigned)i->l.index;
	v->is_up = i->l.flags & IFF_UP;
	v->mtu = i->l.mtu;
	v->n_neighbours = i->n_neighbours;
	v->rx_packets = i->l.rx_packets;
	v->tx_packets = i->l.tx_packets;
	v->rx_bytes = i->l.rx_bytes;
	v->tx_bytes = i->l.tx_bytes;
	v->block_bytes = block_of(p, i);
	if (radio) {
		(void)text_copy(v->parent, sizeof(v->parent), span_str(radio->l.name)); /* the same size */
		v->pan_id = radio->wpan.pan_id;
		v->short_address = radio->wpan.short_address;
		v->page = radio->wpan.page;
		v->channel = radio->wpan.channel;
	}
	view_address(p, i, v);
}

static void view_of(const struct lowpan *p, const char *name, struct lowpan_view *v)
{
	const struct interface *i = table_named(p, name);
	const struct account *a = account_get(p, name);
	const struct wish *w = wish_named(p, name);
	struct mono now = mono_now();

	*v = (struct lowpan_view){ .pan_id = WPAN_UNKNOWN, .short_address = WPAN_UNKNOWN, .page = WPAN_UNKNOWN, .channel = WPAN_UNKNOWN };
	(void)text_copy(v->name, sizeof(v->name), span_str(name)); /* an interface's name fits */
	if (i)
		view_interface(p, i, v);
	if (w) {
		v->is_configured = true;
		v->airtime_permille = w->s.airtime_permille;
		v->is_advertising = w->advert;
		if (!i)
			v->kind = w->s.kind;
		(void)setup_state(w, v->state, &v->has_error);
	} else {
		(void)snprintf(v->state, sizeof(v->state), "%s", i && v->is_up ? "ready" : "down");
	}
	if (a) {
		v->airtime_us = airtime_used_us(&a->a, now);
		v->airtime_total_us = a->a.total_us;
	}
	v->level = lowpan_level(p, name, &v->wait_s);
}

static void keep_least(const char *name, const char *after, const char **best)
{
	if ((!after || strcmp(name, after) > 0) && (!*best || strcmp(name, *best) < 0))
		*best = name;
}

bool lowpan_next(const struct lowpan *p, const char *after, struct lowpan_view *ret)
{
	const struct interface *i, *tmp;
	const char *best = NULL;

	if (!p)
		return false;
	HASH_ITER(hh, p->interfaces, i, tmp)
		if (i->kind != LOWPAN_OTHER)
			keep_least(i->l.name, after, &best);
	for (const struct wish *w = p->wishes; w; w = w->next)
		keep_least(w->s.interface, after, &best);
	if (!best)
		return false;
	view_of(p, best, ret);
	return true;
}

static const char *neighbour_state(uint16_t state)
{
	return state & NUD_REACHABLE ? "reachable" : state & NUD_PERMANENT ? "permanent" : state & NUD_STALE ? "stale" :
	       state & (NUD_DELAY | NUD_PROBE | NUD_INCOMPLETE) ? "asked" : "failed";
}

static void neighbour_view(const struct netlink_neighbour *n, struct lowpan_neighbour_view *ret)
{
	size_t at = 0;

	(void)inet_ntop(AF_INET6, n->address, ret->address, sizeof(ret->address)); /* fits: cannot fail */
	ret->lladdr[0] = 0;
	for (size_t k = 0; k < n->n_lladdr && at + 4 < sizeof(ret->lladdr); k++)
		at += (size_t)snprintf(ret->lladdr + at, sizeof(ret->lladdr) - at, "%s%02x", k ? ":" : "", n->lladdr[k]);
	ret->state = neighbour_state(n->state);
}

size_t lowpan_neighbours(const struct lowpan *p, const char *name, struct lowpan_neighbour_view *ret, size_t max)
{
	const struct interface *i = table_named(p, name);
	const struct neighbour *n, *tmp;
	size_t count = 0;

	HASH_ITER(hh, p->neighbours, n, tmp)
		if (i && n->key.index == i->l.index && count++ < max)
			neighbour_view(&n->n, &ret[count - 1]);
	return count;
}
