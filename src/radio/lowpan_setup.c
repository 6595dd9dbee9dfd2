/* Interfaces of the configuration brought to what was asked for: lowpan_plan() says the next step, here it is taken, one at a time;
 * after each the kernel is asked again. */
#include <errno.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "radio/lowpan_internal.h"

/* ---- a request's answer finds its wish by name: a reload may have replaced it ---- */

struct errand {
	struct lowpan *p;
	char name[LOWPAN_NAME_BYTES];
	enum lowpan_step step;
	int index;                             /* of the interface it is about */
	bool is_phy;
};

static struct errand *errand_new(struct lowpan *p, const char *name, enum lowpan_step step, int index)
{
	struct errand *e = NEW(struct errand);

	*e = (struct errand){ .p = p, .step = step, .index = index };
	(void)text_copy(e->name, sizeof(e->name), span_str(name)); /* an interface's name fits */
	return e;
}

/* ---- a radio's settings ---- */

static void on_family(void *ctx, const struct netlink_message *m)
{
	struct lowpan *p = ctx;

	(void)netlink_family_decode(m, &p->family); /* else it stays unknown, and is asked for again */
}

static void on_family_done(void *ctx, int error, const char *why)
{
	struct lowpan *p = ctx;
	struct interface *i, *tmp;

	(void)why;
	HASH_ITER(hh, p->interfaces, i, tmp)
		i->is_asking = false;
	if (error == 0 && p->family)
		HASH_ITER(hh, p->interfaces, i, tmp)
			if (i->is_radio && !i->is_asked)
				setup_ask_radio(p, i);
}

/* 1 known, 0 asked for; -errno. */
static int family_know(struct lowpan *p)
{
	_cleanup_buf_ struct buf b = { 0 };
	int r = 0;

	if (p->family)
		return 1;
	if (!p->generic)
		r = netlink_open(p->loop, NETLINK_GENERIC, NULL, 0, NULL, p, &p->generic);
	if (r < 0)
		return r;
	netlink_encode_family_get(&b, "nl802154");
	return netlink_request(p->generic, &b, on_family, on_family_done, p);
}

static void on_wpan(void *ctx, const struct netlink_message *m)
{
	const struct errand *e = ctx;
	struct interface *i = table_find(e->p, e->index);
	struct netlink_wpan w;

	if (!i || netlink_wpan_decode(m, &w) < 0)
		return;
	if (e->is_phy) {
		i->wpan.page = w.page;
		i->wpan.channel = w.channel;
	} else {
		i->wpan.pan_id = w.pan_id;
		i->wpan.short_address = w.short_address;
	}
}

static void on_wpan_done(void *ctx, int error, const char *why)
{
	_cleanup_free_ struct errand *e = ctx;
	struct interface *i = table_find(e->p, e->index);

	(void)why;
	if (error == -ENOENT || error == -EOPNOTSUPP || error == -EINVAL)
		e->p->family = 0;              /* the module may have been loaded anew */
	if (!i || (error == 0 && !e->is_phy))
		return;
	i->is_asking = false;
	i->is_asked = error == 0;
	if (i->is_asked)
		setup_all(e->p);
}

static void ask(struct lowpan *p, struct interface *radio, bool is_phy)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct errand *e = errand_new(p, radio->l.name, LOWPAN_STEP_ASK, radio->l.index);

	e->is_phy = is_phy;
	if (is_phy)
		netlink_encode_wpan_phy_get(&b, p->family, radio->l.index);
	else
		netlink_encode_wpan_get(&b, p->family, radio->l.index);
	if (netlink_request(p->generic, &b, on_wpan, on_wpan_done, e) < 0) {
		radio->is_asking = false;
		free(e);
	}
}

void setup_ask_radio(struct lowpan *p, struct interface *radio)
{
	if (radio->is_asking)
		return;
	int r = family_know(p);
	radio->is_asking = r >= 0;
	if (r <= 0)
		return;
	ask(p, radio, false);
	ask(p, radio, true);
}

/* ---- one step ---- */

static void facts_of(const struct wish *w, struct lowpan_facts *f)
{
	const struct interface *radio = table_named(w->p, w->s.parent), *link = table_named(w->p, w->s.interface);

	*f = (struct lowpan_facts){ .pan_id = WPAN_UNKNOWN, .short_address = WPAN_UNKNOWN, .page = WPAN_UNKNOWN, .channel = WPAN_UNKNOWN };
	if (radio && radio->is_radio) {
		f->has_radio = true;
		f->is_radio_up = radio->l.flags & IFF_UP;
		f->is_radio_raised = w->radio_raised == radio->l.index;
		f->is_asked = radio->is_asked;
		f->pan_id = radio->wpan.pan_id;
		f->short_address = radio->wpan.short_address;
		f->page = radio->wpan.page;
		f->channel = radio->wpan.channel;
	}
	if (!link)
		return;
	f->has_link = true;
	f->is_link_up = link->l.flags & IFF_UP;
	f->is_link_raised = w->link_raised == link->l.index;
	f->is_on_radio = radio && link->l.parent == radio->l.index;
	f->has_address = w->s.address_bits && table_address(w->p, link->l.index, w->s.address);
}

static bool is_of_radio(enum lowpan_step s)
{
	return s == LOWPAN_STEP_RADIO_UP || s == LOWPAN_STEP_RADIO_DOWN || s == LOWPAN_STEP_PAN || s == LOWPAN_STEP_SHORT ||
	       s == LOWPAN_STEP_CHANNEL || s == LOWPAN_STEP_ADD;
}

static bool is_generic(enum lowpan_step s)
{
	return s == LOWPAN_STEP_PAN || s == LOWPAN_STEP_SHORT || s == LOWPAN_STEP_CHANNEL;
}

static void encode(const struct wish *w, enum lowpan_step step, int index, struct buf *b)
{
	const struct lowpan_settings *s = &w->s;

	switch (step) {
	case LOWPAN_STEP_LINK_DOWN:
	case LOWPAN_STEP_RADIO_DOWN:
		netlink_encode_link_up(b, index, false);
		break;
	case LOWPAN_STEP_LINK_UP:
	case LOWPAN_STEP_RADIO_UP:
		netlink_encode_link_up(b, index, true);
		break;
	case LOWPAN_STEP_PAN:
		netlink_encode_wpan_pan(b, w->p->family, index, (uint16_t)s->pan_id);
		break;
	case LOWPAN_STEP_SHORT:
		netlink_encode_wpan_short(b, w->p->family, index, (uint16_t)s->short_address);
		break;
	case LOWPAN_STEP_CHANNEL:
		netlink_encode_wpan_channel(b, w->p->family, index, (uint8_t)s->page, (uint8_t)s->channel);
		break;
	case LOWPAN_STEP_ADD:
		netlink_encode_lowpan_add(b, index, s->interface);
		break;
	case LOWPAN_STEP_ADDRESS:
		netlink_encode_address_add(b, index, s->address, s->address_bits);
		break;
	case LOWPAN_STEP_READY:
	case LOWPAN_STEP_AS_IT_IS:
	case LOWPAN_STEP_NO_RADIO:
	case LOWPAN_STEP_KEY:
	case LOWPAN_STEP_FOREIGN:
	case LOWPAN_STEP_TAKEN_DOWN:
	case LOWPAN_STEP_ASK:
	case LOWPAN_STEP_COUNT:
		break;
	}
}

static void later(struct wish *w)
{
	w->retry_ms = w->retry_ms ? w->retry_ms * 2 : LOWPAN_RETRY_MS;
	if (w->retry_ms > LOWPAN_RETRY_MAX_MS)
		w->retry_ms = LOWPAN_RETRY_MAX_MS;
	loop_timer_set(w->timer, w->retry_ms);
}

static void failed(struct wish *w, enum lowpan_step step, int error, const char *why)
{
	(void)snprintf(w->why, sizeof(w->why), "%s failed: %s%s%s", lowpan_step_text(step),
		       error == -EPERM || error == -EACCES ? "it needs CAP_NET_ADMIN (dormoused(8), RADIOS)" : strerror(-error), *why ? ": " : "", why);
	w->taken = LOWPAN_STEP_READY;          /* an error is no step without effect */
	later(w);
}

/* What we did ourselves is remembered before the kernel tells. */
static void note_done(struct wish *w, enum lowpan_step step, int index)
{
	struct interface *radio = table_named(w->p, w->s.parent);

	if (step == LOWPAN_STEP_RADIO_UP)
		w->radio_raised = index;
	else if (step == LOWPAN_STEP_LINK_UP)
		w->link_raised = index;
	else if (step == LOWPAN_STEP_RADIO_DOWN || step == LOWPAN_STEP_LINK_DOWN)
		w->radio_raised = w->link_raised = 0;
	if (is_generic(step) && radio)
		radio->is_asked = false;       /* see what came of it */
}

static void on_step_done(void *ctx, int error, const char *why)
{
	_cleanup_free_ struct errand *e = ctx;
	struct wish *w = wish_named(e->p, e->name);

	if (!w)
		return;
	w->is_busy = false;
	if (error < 0 && !(error == -EEXIST && e->step == LOWPAN_STEP_ADD)) {
		if (is_generic(e->step) && (error == -ENOENT || error == -EOPNOTSUPP))
			e->p->family = 0;
		failed(w, e->step, error, why);
		return;
	}
	w->why[0] = 0;
	note_done(w, e->step, e->index);
	lowpan_refresh(e->p);                  /* and then the next step */
}

static void take_step(struct wish *w, enum lowpan_step step)
{
	const struct interface *i = table_named(w->p, is_of_radio(step) ? w->s.parent : w->s.interface);
	struct netlink *n = is_generic(step) ? w->p->generic : w->p->route;
	_cleanup_buf_ struct buf b = { 0 };

	if (!i || !n || !w->p->is_known || (is_generic(step) && !w->p->family)) {
		later(w);
		return;
	}
	encode(w, step, i->l.index, &b);
	w->n_repeats = step == w->taken ? w->n_repeats + 1 : 0;
	w->taken = step;
	if (w->n_repeats > LOWPAN_REPEATS_MAX) {
		w->n_repeats = 0;
		failed(w, step, -EBUSY, "it has no effect");
		return;
	}
	struct errand *e = errand_new(w->p, w->s.interface, step, i->l.index);
	int r = netlink_request(n, &b, NULL, on_step_done, e);
	if (r < 0) {
		free(e);
		failed(w, step, r, "");
		return;
	}
	w->is_busy = true;
}

/* ---- advertisements ---- */

static void advert_stop(struct wish *w)
{
	w->advert = lowpan_advert_close(w->advert);
	w->advert_index = 0;
}

static void advert_tend(struct wish *w, bool is_ready)
{
	const struct interface *i = table_named(w->p, w->s.interface);
	bool wanted = is_ready && i && w->s.advertise && w->s.address_bits;

	if (w->advert && (!wanted || w->advert_index != (unsigned)i->l.index))
		advert_stop(w);
	if (!wanted || w->advert) {
		w->advert_error = wanted ? w->advert_error : 0;
		if (w->advert)
			lowpan_advert_set_router(w->advert, i->l.forwards);
		return;
	}
	struct lowpan_advert_config c = { .interface = w->s.interface, .index = (unsigned)i->l.index, .bits = w->s.address_bits, .mtu = i->l.mtu };
	memcpy(c.prefix, w->s.address, sizeof(c.prefix));
	c.n_lladdr = i->l.n_address <= sizeof(c.lladdr) ? i->l.n_address : 0;
	memcpy(c.lladdr, i->l.address, c.n_lladdr);
	w->advert_error = lowpan_advert_open(w->p->loop, &c, &w->advert);
	w->advert_index = w->advert ? c.index : 0;
	if (w->advert_error < 0)
		later(w);
	else
		lowpan_advert_set_router(w->advert, i->l.forwards);
}

/* ---- a wish ---- */

static bool is_bad(const struct wish *w)
{
	return w->why[0] || w->ble_why[0] || w->advert_error || w->step == LOWPAN_STEP_KEY || w->step == LOWPAN_STEP_FOREIGN;
}

const char *setup_state(const struct wish *w, char ret[static LOWPAN_STATE_BYTES], bool *ret_error)
{
	*ret_error = is_bad(w);
	if (w->why[0] || w->ble_why[0])
		(void)snprintf(ret, LOWPAN_STATE_BYTES, "%s", w->why[0] ? w->why : w->ble_why); /* shorter */
	else if (w->advert_error)
		(void)snprintf(ret, LOWPAN_STATE_BYTES, "router advertisements: %s", w->advert_error == -EPERM ?
			       "they need CAP_NET_RAW (dormoused(8), RADIOS)" : strerror(-w->advert_error));
	else
		(void)snprintf(ret, LOWPAN_STATE_BYTES, "%s", lowpan_step_text(w->step));
	return ret;
}

/* Once for each change, and not for each step on the way. */
static void tell(struct wish *w)
{
	char state[LOWPAN_STATE_BYTES];
	bool is_error;

	(void)setup_state(w, state, &is_error);
	state[sizeof(w->told) - 1] = 0;
	if ((lowpan_step_acts(w->step) && !is_error) || strcmp(state, w->told) == 0)
		return;
	(void)text_copy(w->told, sizeof(w->told), span_str(state)); /* cut above */
	log_fields(EV_RADIO_INTERFACE, is_error ? LOG_WARNING : LOG_NOTICE, ({ "GW_STATE", is_error ? "error" : "setup" }, { "GW_REASON", state }),
		   "%s: %s", w->s.interface, state);
}

/* Not at every notice: an attempt to connect wants some seconds. */
static void tend_ble(struct wish *w)
{
	struct mono now = mono_now();

	if (w->ble_at.ms && mono_diff_ms(now, w->ble_at) < LOWPAN_BLE_MS)
		return;
	w->ble_at = now;
	lowpan_ble_tend(&w->s, w->ble_why);
}

void setup_wish(struct wish *w)
{
	struct lowpan_facts f;

	if (w->is_busy || !w->p->is_known || w->p->dump)
		return;
	if (w->s.kind == LOWPAN_BLE && w->s.create)
		tend_ble(w);
	facts_of(w, &f);
	w->step = lowpan_plan(&w->s, &f);
	if (w->step == LOWPAN_STEP_READY) {
		w->retry_ms = 0;
		w->why[0] = 0;
		w->taken = LOWPAN_STEP_READY;
	}
	advert_tend(w, w->step == LOWPAN_STEP_READY);
	if (w->step == LOWPAN_STEP_ASK) {
		struct interface *radio = table_named(w->p, w->s.parent);
		setup_ask_radio(w->p, radio);
	} else if (lowpan_step_acts(w->step)) {
		if (!w->why[0] || !loop_timer_armed(w->timer)) /* else it failed, and is tried again then */
			take_step(w, w->step);
	}
	tell(w);
}

void setup_on_timer(void *ctx)
{
	setup_wish(ctx);
}

void setup_all(struct lowpan *p)
{
	for (struct wish *w = p->wishes; w; w = w->next)
		setup_wish(w);
}

void setup_stop(struct wish *w)
{
	advert_stop(w);
	loop_timer_free(w->timer);
	w->timer = NULL;
}
