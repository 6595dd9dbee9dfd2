/* Counters of interfaces to airtime, and what the budgets say of it. */
#include <net/if.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "radio/lowpan_internal.h"

struct account *account_get(const struct lowpan *p, const char *name)
{
	struct account *a;

	HASH_FIND_STR(p->accounts, name, a);
	return a;
}

static struct account *account_make(struct lowpan *p, const char *name)
{
	struct account *a = account_get(p, name);

	if (a || HASH_COUNT(p->accounts) >= LOWPAN_INTERFACES_MAX)
		return a;
	a = NEW(struct account);
	(void)text_copy(a->name, sizeof(a->name), span_str(name)); /* an interface's name fits */
	HASH_ADD_STR(p->accounts, name, a);
	return a;
}

void accounts_clear(struct lowpan *p)
{
	struct account *a, *tmp;

	HASH_ITER(hh, p->accounts, a, tmp) {
		HASH_DEL(p->accounts, a);
		free(a);
	}
}

/* The IPv6 interface that stands on this radio. */
static const struct interface *link_on(const struct lowpan *p, const struct interface *radio)
{
	const struct interface *i, *tmp;

	HASH_ITER(hh, p->interfaces, i, tmp)
		if (i->kind == LOWPAN_802154 && i->l.parent == radio->l.index)
			return i;
	return NULL;
}

static uint64_t airtime_of(const struct lowpan *p, const struct interface *i, uint64_t packets, uint64_t bytes)
{
	switch (i->kind) {
	case LOWPAN_BLE:
		return airtime_ble_us(packets, bytes);
	case LOWPAN_THREAD:
		return airtime_packets_us(packets, bytes);
	case LOWPAN_802154:
		return i->l.parent && table_find(p, i->l.parent) ? 0 : airtime_packets_us(packets, bytes); /* its radio counts frames */
	case LOWPAN_OTHER:
	case LOWPAN_KIND_COUNT:
		break;
	}
	return i->is_radio ? airtime_frames_us(packets, bytes) : 0;
}

/* What was sent before we looked for the first time is nobody's hour. */
void count_link(struct lowpan *p, struct interface *i)
{
	const struct interface *link = i->is_radio ? link_on(p, i) : i->kind != LOWPAN_OTHER ? i : NULL;
	uint64_t packets = i->l.tx_packets - i->tx_packets, bytes = i->l.tx_bytes - i->tx_bytes;
	bool is_first = !i->is_counted || i->l.tx_packets < i->tx_packets || i->l.tx_bytes < i->tx_bytes;

	if (!i->l.has_counters)
		return;
	i->is_counted = true;
	i->tx_packets = i->l.tx_packets;
	i->tx_bytes = i->l.tx_bytes;
	if (is_first || !link)
		return;
	uint64_t us = airtime_of(p, i, packets, bytes);
	struct account *a = us ? account_make(p, link->l.name) : NULL;
	if (!a)
		return;
	airtime_add(&a->a, us, mono_now());
	metric_add(METRIC_RADIO_AIRTIME, (int64_t)us);
}

void count_levels(struct lowpan *p)
{
	struct mono now = mono_now();
	struct account *a, *tmp;
	int64_t n_over = 0, n_up = 0;

	HASH_ITER(hh, p->accounts, a, tmp) {
		const struct wish *w = wish_named(p, a->name);
		enum airtime_level level = airtime_level(&a->a, w ? w->s.airtime_permille : 0, now), old = a->level;

		n_over += level == AIRTIME_OVER;
		a->level = level;
		if (level == old)
			continue;
		log_fields(EV_RADIO_INTERFACE, level == AIRTIME_FREE ? LOG_INFO : LOG_NOTICE,
			   ({ "GW_STATE", airtime_level_name(level) }, { "GW_REASON", a->name }), "%s: airtime of the last hour %llu s, budget %u of 1000: %s",
			   a->name, (unsigned long long)(airtime_used_us(&a->a, now) / 1000000), w ? w->s.airtime_permille : 0, airtime_level_name(level));
		if (p->ops.level)
			p->ops.level(p->ctx, a->name, level);
	}
	const struct interface *i, *i_tmp;
	HASH_ITER(hh, p->interfaces, i, i_tmp)
		n_up += i->kind != LOWPAN_OTHER && (i->l.flags & IFF_UP);
	metric_set(METRIC_RADIO_OVER, n_over);
	metric_set(METRIC_RADIO_UP, n_up);
}
