/* Datagrams under way. */
#include "sim_wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct packet {
	struct packet *prev, *next;
	struct loop_timer *timer;
	bool up;
	struct wire_header h;
	struct message *m;
};

struct sim_network net;

struct message *message_new(void)
{
	struct message *m = NEW(struct message);

	*m = (struct message){ .refs = 1, .observe = -1, .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE, .max_age_s = -1,
			       .born = sim_now() };
	return m;
}

struct message *message_ref(struct message *m)
{
	m->refs++;
	return m;
}

void message_unref(struct message *m)
{
	if (!m || --m->refs > 0)
		return;
	buf_done(&m->path);
	buf_done(&m->query);
	buf_done(&m->proxy_uri);
	buf_done(&m->location);
	buf_done(&m->payload);
	free(m);
}

int64_t wire_timeout_ms(unsigned ack_timeout_ms, unsigned n_sent)
{
	return ((int64_t)ack_timeout_ms + (int64_t)sim_random(ack_timeout_ms / 2)) << (n_sent - 1);
}

static void packet_free(struct packet *p)
{
	DL_DELETE(net.packets, p);
	loop_timer_free(p->timer);
	message_unref(p->m);
	free(p);
}

/* What shook hands with an endpoint that is gone is not understood by the next. */
static bool is_understood(struct coap_session *s)
{
	uint8_t key[64];

	if (!s->secure)
		return true;
	if (s->generation == 0) {
		s->generation = net.generation;
		int n = endpoint_psk(net.endpoint, span_str(s->identity), key, sizeof(key));
		if (n < 0 || !span_eq(SPAN(key, n), buf_span(&s->key)))
			s->generation = UINT32_MAX;
	}
	return s->generation == net.generation;
}

static void on_arrival(void *ctx)
{
	struct packet *p = ctx;
	struct wire_header h = p->h;
	struct message *m = message_ref(p->m);
	bool up = p->up;
	struct coap_session *s;

	packet_free(p);
	HASH_FIND(hh, net.sessions, &h.session, sizeof(h.session), s);
	sim_note(3 | (uint64_t)up << 8 | (uint64_t)h.type << 9 | (uint64_t)m->code << 16, h.session << 16 | h.mid);
	if (s && net.endpoint && is_understood(s)) {
		if (up)
			endpoint_receive(net.endpoint, h, m);
		else
			client_receive(s, h, m);
	}
	message_unref(m);
}

static int64_t flight_ms(void)
{
	return sim_chance(net.faults.late) ? sim_between(300, 8000) : sim_between(net.faults.least_ms, net.faults.most_ms);
}

static void send_one(bool up, struct wire_header h, struct message *m)
{
	if (sim_chance(up ? net.faults.loss_up : net.faults.loss_down)) {
		net.counts.n_lost++;
		return;
	}
	struct packet *p = NEW(struct packet);
	*p = (struct packet){ .up = up, .h = h, .m = message_ref(m), .timer = loop_timer_new(net.loop, on_arrival, p) };
	DL_APPEND(net.packets, p);
	loop_timer_set(p->timer, flight_ms());
}

void wire_send(bool up, struct wire_header h, struct message *m)
{
	if (!up && net.is_unplugged)
		return;
	*(up ? &net.counts.n_up : &net.counts.n_down) += 1;
	send_one(up, h, m);
	if (sim_chance(net.faults.twice)) {
		net.counts.n_doubled++;
		send_one(up, h, m);
	}
}

void sim_net_begin(const struct sim_faults *f, const struct sim_net_watch *w)
{
	net = (struct sim_network){ .faults = *f, .loop = loop_new() };
	if (w)
		net.watch = *w;
}

void sim_net_set_faults(const struct sim_faults *f)
{
	net.faults = *f;
}

void sim_net_unplug(void)
{
	net.is_unplugged = true;
}

struct sim_net_counts sim_net_counts(void)
{
	return net.counts;
}

void sim_net_end(void)
{
	struct packet *p, *next;

	SIM_CHECK(!net.endpoint && !net.sessions, "the network ends before those who use it");
	DL_FOREACH_SAFE(net.packets, p, next)
		packet_free(p);
	net.loop = loop_free(net.loop);
}
