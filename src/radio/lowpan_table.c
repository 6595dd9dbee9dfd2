/* The kernel's interfaces, addresses and neighbours, as it tells of them. */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "radio/lowpan_internal.h"

#ifndef ARPHRD_IEEE802154
#define ARPHRD_IEEE802154 804
#endif
#ifndef ARPHRD_6LOWPAN
#define ARPHRD_6LOWPAN 825
#endif

enum { BLE_LLADDR_BYTES = 6 };

struct interface *table_find(const struct lowpan *p, int index)
{
	struct interface *i;

	HASH_FIND_INT(p->interfaces, &index, i);
	return i;
}

struct interface *table_named(const struct lowpan *p, const char *name)
{
	struct interface *i, *tmp;

	HASH_ITER(hh, p->interfaces, i, tmp)
		if (strcmp(i->l.name, name) == 0)
			return i;
	return NULL;
}

struct wish *wish_named(const struct lowpan *p, const char *name)
{
	struct wish *w = p->wishes;

	while (w && strcmp(w->s.interface, name) != 0)
		w = w->next;
	return w;
}

static bool is_up(const struct netlink_link *l)
{
	return l->flags & IFF_UP;
}

/* What the configuration calls it counts; else what the kernel says it is. OpenThread's border router names its tunnel wpan0. */
static enum lowpan_kind kind_of(const struct lowpan *p, const struct netlink_link *l)
{
	const struct wish *w = wish_named(p, l->name);

	if (w && w->s.kind != LOWPAN_OTHER)
		return w->s.kind;
	if (l->hardware == ARPHRD_6LOWPAN)
		return strcmp(l->kind, "lowpan") != 0 && l->n_address == BLE_LLADDR_BYTES ? LOWPAN_BLE : LOWPAN_802154;
	return strcmp(l->kind, "tun") == 0 && strncmp(l->name, "wpan", 4) == 0 ? LOWPAN_THREAD : LOWPAN_OTHER;
}

static void tell(struct lowpan *p, const struct interface *i, const char *what)
{
	bool up = strcmp(what, "gone") != 0 && is_up(&i->l);

	if (i->kind == LOWPAN_OTHER)
		return;
	log_fields(EV_RADIO_INTERFACE, LOG_NOTICE, ({ "GW_STATE", what }, { "GW_REASON", i->l.name }), "%s (%s): %s", i->l.name,
		   lowpan_kind_name(i->kind), what);
	if (p->ops.interface)
		p->ops.interface(p->ctx, i->l.name, i->kind, up);
}

/* ---- addresses and neighbours ---- */

static struct lowpan_key key_of(int index, const uint8_t address[static 16])
{
	struct lowpan_key k = { .index = index };

	memcpy(k.address, address, sizeof(k.address));
	return k;
}

const struct own_address *table_address(const struct lowpan *p, int index, const uint8_t address[static 16])
{
	struct lowpan_key k = key_of(index, address);
	struct own_address *a;

	HASH_FIND(hh, p->addresses, &k, sizeof(k), a);
	return a;
}

static void address_put(struct lowpan *p, const struct netlink_address *n)
{
	struct lowpan_key k = key_of(n->index, n->address);
	struct own_address *a;

	HASH_FIND(hh, p->addresses, &k, sizeof(k), a);
	if (!a) {
		if (HASH_COUNT(p->addresses) >= LOWPAN_ADDRESSES_MAX)
			return;
		a = NEW(struct own_address);
		a->key = k;
		HASH_ADD(hh, p->addresses, key, sizeof(a->key), a);
	}
	a->bits = n->prefix_bits;
	a->is_seen = true;
}

static void address_drop(struct lowpan *p, struct own_address *a)
{
	HASH_DEL(p->addresses, a);
	free(a);
}

static void neighbour_drop(struct lowpan *p, struct neighbour *n)
{
	struct interface *i = table_find(p, n->key.index);

	if (i && i->n_neighbours > 0)
		i->n_neighbours--;
	HASH_DEL(p->neighbours, n);
	free(n);
}

static bool is_neighbour(const struct netlink_neighbour *n)
{
	return n->address[0] != 0xff && (n->state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_INCOMPLETE | NUD_FAILED));
}

static void neighbour_put(struct lowpan *p, const struct netlink_neighbour *m)
{
	struct lowpan_key k = key_of(m->index, m->address);
	struct interface *i = table_find(p, m->index);
	struct neighbour *n;

	HASH_FIND(hh, p->neighbours, &k, sizeof(k), n);
	if (!i || i->kind == LOWPAN_OTHER || !is_neighbour(m)) {
		if (n)
			neighbour_drop(p, n);
		return;
	}
	if (!n) {
		if (HASH_COUNT(p->neighbours) >= LOWPAN_NEIGHBOURS_MAX)
			return;
		n = NEW(struct neighbour);
		n->key = k;
		HASH_ADD(hh, p->neighbours, key, sizeof(n->key), n);
		i->n_neighbours++;
	}
	n->n = *m;
	n->is_seen = true;
}

static void neighbour_del(struct lowpan *p, const struct netlink_neighbour *m)
{
	struct lowpan_key k = key_of(m->index, m->address);
	struct neighbour *n;

	HASH_FIND(hh, p->neighbours, &k, sizeof(k), n);
	if (n)
		neighbour_drop(p, n);
}

static void forget_of(struct lowpan *p, int index)
{
	struct own_address *a, *a_tmp;
	struct neighbour *n, *n_tmp;

	HASH_ITER(hh, p->addresses, a, a_tmp)
		if (a->key.index == index)
			address_drop(p, a);
	HASH_ITER(hh, p->neighbours, n, n_tmp)
		if (n->key.index == index)
			neighbour_drop(p, n);
}

/* ---- interfaces ---- */

static void interface_gone(struct lowpan *p, struct interface *i)
{
	tell(p, i, "gone");
	forget_of(p, i->l.index);
	HASH_DEL(p->interfaces, i);
	free(i);
}

static struct interface *interface_new(struct lowpan *p, const struct netlink_link *l)
{
	struct interface *i;

	if (HASH_COUNT(p->interfaces) >= LOWPAN_INTERFACES_MAX)
		return NULL;
	i = NEW(struct interface);
	i->l = *l;
	i->wpan = (struct netlink_wpan){ WPAN_UNKNOWN, WPAN_UNKNOWN, WPAN_UNKNOWN, WPAN_UNKNOWN, WPAN_UNKNOWN };
	HASH_ADD_INT(p->interfaces, l.index, i);
	return i;
}

static void interface_put(struct lowpan *p, const struct netlink_link *l)
{
	struct interface *i = table_find(p, l->index);
	bool was_up = i && is_up(&i->l), is_new = !i;
	enum lowpan_kind old = i ? i->kind : LOWPAN_OTHER;

	if (!i)
		i = interface_new(p, l);
	if (!i)
		return;
	struct netlink_link old_link = i->l;
	i->l = *l;
	if (!l->has_counters) {
		i->l.rx_packets = old_link.rx_packets;
		i->l.tx_packets = old_link.tx_packets;
		i->l.rx_bytes = old_link.rx_bytes;
		i->l.tx_bytes = old_link.tx_bytes;
		i->l.has_counters = old_link.has_counters;
	}
	i->is_seen = true;
	i->kind = kind_of(p, l);
	i->is_radio = l->hardware == ARPHRD_IEEE802154;
	if (is_new || old != i->kind)
		tell(p, i, is_up(l) ? "up" : "appeared");
	else if (was_up != is_up(l))
		tell(p, i, is_up(l) ? "up" : "down");
	if (i->is_radio && !i->is_asked)
		setup_ask_radio(p, i);
	count_link(p, i);
}

void table_message(struct lowpan *p, const struct netlink_message *m)
{
	struct netlink_neighbour n;
	struct netlink_address a;
	struct netlink_link l;
	struct interface *i;

	switch (m->type) {
	case RTM_NEWLINK:
		if (netlink_link_decode(m, &l) == 0)
			interface_put(p, &l);
		break;
	case RTM_DELLINK:
		i = netlink_link_decode(m, &l) == 0 ? table_find(p, l.index) : NULL;
		if (i)
			interface_gone(p, i);
		break;
	case RTM_NEWADDR:
		if (netlink_address_decode(m, &a) == 0)
			address_put(p, &a);
		break;
	case RTM_DELADDR:
		if (netlink_address_decode(m, &a) == 0 && table_address(p, a.index, a.address))
			address_drop(p, (struct own_address *)(uintptr_t)table_address(p, a.index, a.address));
		break;
	case RTM_NEWNEIGH:
		if (netlink_neighbour_decode(m, &n) == 0)
			neighbour_put(p, &n);
		break;
	case RTM_DELNEIGH:
		if (netlink_neighbour_decode(m, &n) == 0)
			neighbour_del(p, &n);
		break;
	default:
		break;
	}
}

void table_mark(struct lowpan *p)
{
	struct interface *i, *i_tmp;
	struct own_address *a, *a_tmp;
	struct neighbour *n, *n_tmp;

	HASH_ITER(hh, p->interfaces, i, i_tmp)
		i->is_seen = false;
	HASH_ITER(hh, p->addresses, a, a_tmp)
		a->is_seen = false;
	HASH_ITER(hh, p->neighbours, n, n_tmp)
		n->is_seen = false;
}

void table_sweep(struct lowpan *p)
{
	struct interface *i, *i_tmp;
	struct own_address *a, *a_tmp;
	struct neighbour *n, *n_tmp;

	HASH_ITER(hh, p->interfaces, i, i_tmp)
		if (!i->is_seen)
			interface_gone(p, i);
	HASH_ITER(hh, p->addresses, a, a_tmp)
		if (!a->is_seen)
			address_drop(p, a);
	HASH_ITER(hh, p->neighbours, n, n_tmp)
		if (!n->is_seen)
			neighbour_drop(p, n);
}

void table_clear(struct lowpan *p)
{
	struct interface *i, *tmp;

	HASH_ITER(hh, p->interfaces, i, tmp) {
		forget_of(p, i->l.index);
		HASH_DEL(p->interfaces, i);
		free(i);
	}
	struct own_address *a, *a_tmp;
	HASH_ITER(hh, p->addresses, a, a_tmp)
		address_drop(p, a);
	struct neighbour *n, *n_tmp;
	HASH_ITER(hh, p->neighbours, n, n_tmp)
		neighbour_drop(p, n);
}
