/* 6LoWPAN and its like put in their place: which radio a device is behind, blocks that fit its frames, and what waits while it has used
 * up its airtime. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "app/gateway.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "codec/smp.h"
#include "io/udp.h"

enum { HEARD_MAX = 65536, TEND_MS = 500, WAIT_S_MAX = 60, SMP_MESSAGE_BYTES_MIN = 128, SMP_AROUND_BYTES = 64 };

struct heard_device {                          /* by which radio it was heard last */
	char device[DEVICE_ID_BYTES];
	char radio[LOWPAN_NAME_BYTES];
	UT_hash_handle hh;
};

struct gateway_radios {
	struct gateway *g;
	struct heard_device *heard;
	struct loop_timer *timer;              /* while a radio is near its budget */
	bool is_look_wanted;
};

/* ---- who is behind which radio ---- */

void gateway_lowpan_heard(struct gateway *g, const struct coap_peer *peer, const char *device)
{
	struct gateway_radios *s = g->radios;
	const char *name = s ? lowpan_name(g->lowpan, peer->interface) : "";
	struct heard_device *h;

	if (!s)
		return;
	HASH_FIND_STR(s->heard, device, h);
	if (!*name && !h)
		return;
	if (h && strcmp(h->radio, name) == 0)
		return;
	if (!h) {
		if (HASH_COUNT(s->heard) >= HEARD_MAX) { /* the head is the oldest */
			h = s->heard;
			HASH_DEL(s->heard, h);
			free(h);
		}
		h = NEW(struct heard_device);
		(void)text_copy(h->device, sizeof(h->device), span_str(device)); /* ids fit */
		HASH_ADD_STR(s->heard, device, h);
	}
	(void)text_copy(h->radio, sizeof(h->radio), span_str(name)); /* the same size */
}

void gateway_lowpan_peer(struct gateway *g, const struct coap_peer *peer)
{
	char device[DEVICE_ID_BYTES];

	if (g->radios && peer->secure && *lowpan_name(g->lowpan, peer->interface) &&
	    devices_who(g->devices, peer, SPAN_NONE, wall_now(), device) == 0)
		gateway_lowpan_heard(g, peer, device);
}

/* The interface that leads there now; 0 = none. */
static unsigned index_towards(struct gateway *g, const struct udp_address *to)
{
	struct udp_address from;
	uint8_t bytes[16];
	unsigned index = udp_address_bytes(to, bytes);

	if (index)
		return index;
	if (udp_source(to, &from) < 0)
		return 0;
	(void)udp_address_bytes(&from, bytes); /* its bytes alone */
	return lowpan_index_of(g->lowpan, bytes);
}

static const char *radio_of(struct gateway *g, const char *device)
{
	const struct device *d = devices_get(g->devices, device);
	struct heard_device *h;
	struct udp_address to;

	if (d && strcmp(d->driver, "smp-udp") == 0)
		return udp_address_parse(span_str(d->address), SMP_PORT, &to) == 0 ? lowpan_name(g->lowpan, index_towards(g, &to)) : "";
	HASH_FIND_STR(g->radios->heard, device, h);
	return h ? h->radio : "";
}

/* ---- sizes ---- */

static size_t on_blocks(void *ctx, const struct coap_peer *peer)
{
	return lowpan_block_bytes(((struct gateway *)ctx)->lowpan, peer->interface);
}

uint32_t gateway_lowpan_message_bytes(struct gateway *g, const struct udp_address *to, uint32_t bytes)
{
	size_t block = g->lowpan ? lowpan_block_bytes(g->lowpan, index_towards(g, to)) : 0;
	size_t most = block + SMP_AROUND_BYTES;

	if (block == 0)
		return bytes;
	if (most < SMP_MESSAGE_BYTES_MIN)
		most = SMP_MESSAGE_BYTES_MIN;
	if (most > LOWPAN_DATAGRAM_BYTES_MAX)
		most = LOWPAN_DATAGRAM_BYTES_MAX;
	return bytes < most ? bytes : (uint32_t)most;
}

/* ---- airtime ---- */

static const char *on_radio_over(void *ctx, const char *device, uint32_t *ret_wait_s)
{
	struct gateway *g = ctx;
	const char *name = radio_of(g, device);

	return *name && lowpan_level(g->lowpan, name, ret_wait_s) == AIRTIME_OVER ? name : NULL;
}

/* A minute at most: then it asks again, and hears how things stand. */
uint32_t gateway_lowpan_wait(void *ctx, const struct coap_peer *peer)
{
	struct gateway *g = ctx;
	uint32_t wait_s = 0;

	if (lowpan_level(g->lowpan, lowpan_name(g->lowpan, peer->interface), &wait_s) != AIRTIME_OVER)
		return 0;
	return wait_s == 0 ? 1 : wait_s < WAIT_S_MAX ? wait_s : WAIT_S_MAX;
}

/* Multicast, which nobody paces but us, waits from three quarters of a budget on, so that unicast has the rest. */
static bool hold_back(struct gateway *g)
{
	struct lowpan_view v;
	bool any = false;

	for (bool more = lowpan_next(g->lowpan, NULL, &v); more; more = lowpan_next(g->lowpan, v.name, &v)) {
		if (v.level == AIRTIME_FREE)
			continue;
		any = true;
		if (g->multicast)
			multicast_yield_on(g->multicast, v.name);
	}
	return any;
}

static void on_timer(void *ctx)
{
	struct gateway_radios *s = ctx;

	if (s->is_look_wanted && s->g->rollout) {
		s->is_look_wanted = false;
		rollout_look_again(s->g->rollout);
	}
	if (hold_back(s->g))
		loop_timer_set(s->timer, TEND_MS);
}

static void on_level(void *ctx, const char *name, enum airtime_level level)
{
	struct gateway *g = ctx;

	(void)name;
	g->radios->is_look_wanted = g->radios->is_look_wanted || level != AIRTIME_OVER;
	loop_timer_set(g->radios->timer, 0);
}

/* ---- the configuration ---- */

static void peers_of(const struct config_lowpan *row, struct lowpan_settings *s)
{
	for (char **p = row->peers; *p && s->n_peers < LOWPAN_PEERS_MAX; p++) {
		char *to = s->peers[s->n_peers];
		bool is_random = strncmp(*p, "random ", 7) == 0;

		(void)snprintf(to, sizeof(s->peers[0]), "%s%.17s", is_random ? "random " : "", is_random ? *p + 7 : *p); /* fits by its syntax */
		for (char *c = to + (is_random ? 7 : 0); *c; c++)
			*c = (char)toupper((unsigned char)*c);
		s->n_peers++;
	}
}

static struct lowpan_settings settings_of(const struct config_lowpan *row)
{
	static const enum lowpan_kind kinds[] = { [CONFIG_LOWPAN_802154] = LOWPAN_802154, [CONFIG_LOWPAN_THREAD] = LOWPAN_THREAD,
						  [CONFIG_LOWPAN_BLE] = LOWPAN_BLE };
	struct lowpan_settings s = {
		.kind = kinds[row->kind], .create = row->create, .pan_id = row->pan_id, .short_address = row->short_address, .page = row->page,
		.channel = row->channel, .has_key = row->key_file[0], .advertise = row->advertise, .block_bytes = row->block_bytes,
		.airtime_permille = row->airtime_permille };
	const char *slash = strchr(row->address, '/');
	char address[INET6_ADDRSTRLEN];
	uint64_t bits = 0;

	(void)text_copy(s.interface, sizeof(s.interface), span_str(row->interface)); /* the schema bounds both */
	(void)text_copy(s.parent, sizeof(s.parent), span_str(row->parent));
	peers_of(row, &s);
	if (slash && text_copy(address, sizeof(address), SPAN(row->address, (size_t)(slash - row->address))) == 0 &&
	    inet_pton(AF_INET6, address, s.address) == 1 && text_parse_u64(span_str(slash + 1), 128, &bits, 0) == 0)
		s.address_bits = (uint8_t)bits;
	return s;
}

void gateway_lowpan_reload(struct gateway *g)
{
	const struct config *c = g->config;
	struct lowpan_settings *s = NEW_N(struct lowpan_settings, c->n_lowpans + 1);

	for (size_t i = 0; i < c->n_lowpans; i++)
		s[i] = settings_of(&c->lowpans[i]);
	lowpan_set(g->lowpan, s, c->n_lowpans);
	free(s);
}

/* ---- life ---- */

int gateway_lowpan_start(struct gateway *g, struct buf *error)
{
	static const struct lowpan_ops ops = { .level = on_level };
	int r;

	(void)error;
	g->radios = NEW(struct gateway_radios);
	g->radios->g = g;
	g->radios->timer = loop_timer_new(g->loop, on_timer, g->radios);
	g->lowpan = lowpan_new(g->loop, &ops, g, &r);
	if (r < 0)
		log_event(EV_RADIO_INTERFACE, g->config->n_lowpans ? LOG_WARNING : LOG_INFO,
			  "network interfaces cannot be watched (netlink: %s): blocks are not fitted to radios, and airtime is not counted", strerror(-r));
	gateway_lowpan_reload(g);
	return 0;
}

void gateway_lowpan_stop(struct gateway *g)
{
	struct heard_device *h, *tmp;

	if (!g->radios)
		return;
	g->lowpan = lowpan_free(g->lowpan);
	HASH_ITER(hh, g->radios->heard, h, tmp) {
		HASH_DEL(g->radios->heard, h);
		free(h);
	}
	loop_timer_free(g->radios->timer);
	free(g->radios);
	g->radios = NULL;
}

void gateway_lowpan_attach(struct gateway *g)
{
	coap_endpoint_set_blocks(g->coap, on_blocks, g);
	g->world.radio_over = on_radio_over;
}
