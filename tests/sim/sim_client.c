/* io/coap_client.h over the simulated network: one call is as many exchanges as it takes. */
#include "sim_wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/uri.h"

enum { RESTARTS_MAX = 2, REGISTER_SLACK_MS = 5000 };

struct coap_call {
	struct coap_call *prev, *next;
	struct coap_session *s;                /* NULL: closed while in fn */
	coap_call_fn *fn;
	void *ctx;
	struct coap_call_request q;
	struct buf path, proxy_uri, query, body;
	uint64_t observe_token;
	/* the exchange under way */
	struct message *sent;
	uint16_t mid;
	unsigned n_sent;
	bool waits_separate;
	struct loop_timer *timer;              /* retransmission, or the end of waiting, or the next registration */
	/* Block2 */
	bool downloading;
	struct coap_fetch fetch;
	struct buf got;
	struct message *head;                  /* of the first block */
	unsigned restarts;
	/* observation */
	bool observing, register_again;
	uint32_t seq;
	struct coap_etag seen;
	bool in_fn, dead;
};

/* ---- sessions ---- */

struct coap_client *coap_client_new(struct loop *l)
{
	struct coap_client *c = NEW(struct coap_client);

	c->loop = l;
	c->id = -1;
	return c;
}

struct coap_client *coap_client_free(struct coap_client *c)
{
	if (!c)
		return NULL;
	while (c->sessions)
		coap_session_close(c->sessions);
	free(c);
	return NULL;
}

void sim_client_set_id(struct coap_client *c, int id)
{
	c->id = id;
}

void coap_client_set_loss(double fraction, uint64_t seed)
{
}

int coap_session_open(struct coap_client *c, const struct coap_session_config *q, struct coap_session **ret)
{
	struct coap_session *s = NEW(struct coap_session);

	s->c = c;
	s->number = ++net.last_session;
	s->secure = strncmp(q->uri, "coaps:", 6) == 0;
	s->ack_timeout_ms = q->ack_timeout_ms ? q->ack_timeout_ms : ACK_TIMEOUT_MS;
	s->max_retransmit = q->max_retransmit ? q->max_retransmit : MAX_RETRANSMIT;
	s->mid = (uint16_t)sim_random(UINT16_MAX);
	s->token = s->number << 24;
	if (s->secure) {
		(void)snprintf(s->identity, sizeof(s->identity), "%s", q->psk_identity); /* fits: names are short here */
		buf_add(&s->key, q->psk_key);
	}
	DL_APPEND(c->sessions, s);
	HASH_ADD(hh, net.sessions, number, sizeof(s->number), s);
	*ret = s;
	return 0;
}

static void call_free(struct coap_call *c)
{
	loop_timer_free(c->timer);
	message_unref(c->sent);
	message_unref(c->head);
	buf_done(&c->path);
	buf_done(&c->proxy_uri);
	buf_done(&c->query);
	buf_done(&c->body);
	buf_done(&c->got);
	free(c);
}

static void call_release(struct coap_call *c)
{
	if (c->s)
		DL_DELETE(c->s->calls, c);
	call_free(c);
}

static void deliver(struct coap_call *c, const struct coap_call_result *res)
{
	c->in_fn = true;
	c->fn(c->ctx, res);
	c->in_fn = false;
	if (!res->is_notification)
		c->dead = true;
	if (c->dead)
		call_release(c);
}

static void fail(struct coap_call *c, int error)
{
	const struct coap_call_result res = { .error = error, .content_format = COAP_CF_NONE, .max_age_s = -1 };

	c->observing = false;
	deliver(c, &res);
}

struct coap_session *coap_session_close(struct coap_session *s)
{
	struct coap_call *c;

	if (!s)
		return NULL;
	HASH_DEL(net.sessions, s);
	DL_DELETE(s->c->sessions, s);
	while ((c = s->calls)) {
		if (!c->in_fn) {
			fail(c, -ECANCELED);
			continue;
		}
		DL_DELETE(s->calls, c);
		c->s = NULL;
		c->dead = true;
	}
	buf_done(&s->key);
	free(s);
	return NULL;
}

/* ---- sending ---- */

static struct message *request_of(struct coap_call *c)
{
	struct message *m = message_new();
	bool registers = c->q.observe && !c->downloading;
	const struct coap_etag *etag = c->register_again && c->seen.n ? &c->seen : &c->q.etag;

	m->code = c->q.method;
	m->token = registers ? c->observe_token : ++c->s->token;
	m->observe = registers ? 0 : -1;
	m->accept = c->q.accept;
	m->content_format = c->body.n ? c->q.content_format : COAP_CF_NONE;
	if (etag->n && !c->downloading)
		m->etag[m->n_etag++] = *etag;
	buf_add(&m->path, buf_span(&c->path));
	buf_add(&m->query, buf_span(&c->query));
	buf_add(&m->proxy_uri, buf_span(&c->proxy_uri));
	buf_add(&m->payload, buf_span(&c->body));
	if (c->fetch.next > 0 || c->q.szx < COAP_SZX_MAX)
		m->has_block2 = coap_block_at(c->fetch.next, c->fetch.szx, &m->block2) == 0;
	return m;
}

static void transmit(struct coap_call *c)
{
	struct coap_session *s = c->s;

	c->n_sent++;
	wire_send(true, (struct wire_header){ s->number, c->q.is_non ? WIRE_NON : WIRE_CON, c->mid }, c->sent);
	loop_timer_set(c->timer, c->q.is_non ? SEPARATE_MS : wire_timeout_ms(s->ack_timeout_ms, c->n_sent));
}

static void send_next(struct coap_call *c)
{
	message_unref(c->sent);
	c->sent = request_of(c);
	c->mid = c->s->mid++;
	c->n_sent = 0;
	c->waits_separate = false;
	net.counts.n_requests++;
	if (net.watch.asked)
		net.watch.asked(net.watch.ctx, c->s->c->id, buf_str(&c->path), c->fetch.next);
	transmit(c);
}

static void on_timer(void *ctx)
{
	struct coap_call *c = ctx;

	if (c->observing && !c->downloading && !c->register_again) {
		c->register_again = true;
		send_next(c);
	} else if (c->q.is_non || c->waits_separate || c->n_sent > c->s->max_retransmit) {
		fail(c, -ETIMEDOUT);
	} else {
		net.counts.n_repeated++;
		transmit(c);
	}
}

int coap_call(struct coap_session *s, const struct coap_call_request *q, coap_call_fn *fn, void *ctx, struct coap_call **ret)
{
	if ((!q->path && !q->proxy_uri) || (q->observe && q->from > 0) || q->from & (coap_block_bytes(q->szx) - 1))
		return -EINVAL;
	SIM_CHECK(q->body.n <= COAP_BLOCK_BYTES_MAX, "no Block1 here, and a body of %zu bytes", q->body.n);
	struct coap_call *c = NEW(struct coap_call);
	*c = (struct coap_call){ .s = s, .fn = fn, .ctx = ctx, .q = *q };
	buf_add_str(&c->path, q->path ? q->path + (q->path[0] == '/') : "");
	buf_add_str(&c->proxy_uri, q->proxy_uri ? q->proxy_uri : "");
	for (size_t i = 0; q->query && q->query[i]; i++)
		buf_add(&c->query, SPAN(q->query[i], strlen(q->query[i]) + 1));
	buf_add(&c->body, q->body);
	c->q.path = c->q.proxy_uri = NULL;
	c->q.query = NULL;
	c->q.body = SPAN_NONE;
	c->got.max = q->body_max ? q->body_max : COAP_BODY_BYTES_MAX;
	c->observe_token = ++s->token;
	c->timer = loop_timer_new(s->c->loop, on_timer, c);
	coap_fetch_init(&c->fetch, q->from, q->szx);
	DL_APPEND(s->calls, c);
	if (ret)
		*ret = c;
	send_next(c);
	return 0;
}

static void deregister(struct coap_call *c)
{
	struct message *m = message_new();

	m->code = c->q.method;
	m->token = c->observe_token;
	m->observe = 1;
	buf_add(&m->path, buf_span(&c->path));
	buf_add(&m->query, buf_span(&c->query));
	wire_send(true, (struct wire_header){ c->s->number, WIRE_NON, c->s->mid++ }, m);
	message_unref(m);
}

void coap_call_cancel(struct coap_call *c)
{
	if (!c || c->dead)
		return;
	c->dead = true;
	if (c->observing)
		deregister(c);
	if (!c->in_fn)
		call_release(c);
}

/* ---- answers ---- */

static void succeed(struct coap_call *c, const struct message *h, struct span body)
{
	struct coap_call_result res = {
		.code = h->code, .content_format = h->content_format, .max_age_s = h->max_age_s, .body = body, .is_notification = c->observing,
		.location = h->location.n ? (const char *)h->location.p : NULL,
	};
	bool unchanged = c->register_again && h->code == COAP_203_VALID;

	if (h->n_etag)
		res.etag = h->etag[0];
	if (c->observing) {
		c->downloading = c->register_again = false;
		coap_fetch_init(&c->fetch, 0, c->q.szx);
		loop_timer_set(c->timer, (h->max_age_s < 0 ? 60 : h->max_age_s) * 1000 + REGISTER_SLACK_MS + sim_between(0, REGISTER_SLACK_MS));
	}
	if (c->observing && unchanged)
		return;
	c->seen = res.etag;
	deliver(c, &res);
}

static void download_anew(struct coap_call *c)
{
	if (c->q.block || ++c->restarts > RESTARTS_MAX) {
		fail(c, -ESTALE);
		return;
	}
	buf_clear(&c->got);
	coap_fetch_init(&c->fetch, 0, c->q.szx);
	c->downloading = true;
	send_next(c);
}

static void download_step(struct coap_call *c, struct message *m)
{
	struct coap_etag none = { 0 };
	uint64_t off = c->fetch.next;
	int e = 0;

	if (!c->fetch.started) {
		message_unref(c->head);
		c->head = message_ref(m);
	}
	enum coap_fetch_step step = coap_fetch_add(&c->fetch, m->has_block2 ? &m->block2 : NULL, m->n_etag ? &m->etag[0] : &none, m->size2,
						   buf_span(&m->payload));
	if (step == COAP_FETCH_CHANGED) {
		download_anew(c);
		return;
	}
	if (step == COAP_FETCH_BAD) {
		fail(c, -EPROTO);
		return;
	}
	c->in_fn = true; /* block() may cancel the call */
	if (c->q.block)
		e = c->q.block(c->ctx, off, buf_span(&m->payload), c->fetch.total, &c->fetch.etag);
	else
		buf_add(&c->got, buf_span(&m->payload));
	c->in_fn = false;
	if (c->dead) {
		call_release(c);
	} else if (e < 0 || !buf_ok(&c->got)) {
		fail(c, e < 0 ? e : -EMSGSIZE);
	} else if (step == COAP_FETCH_WHOLE) {
		struct message *head = message_ref(c->head); /* the call may go */
		succeed(c, head, buf_span(&c->got));
		message_unref(head);
	} else {
		c->downloading = true;
		send_next(c);
	}
}

static bool is_newer(uint32_t than, uint32_t v)
{
	return (than < v && v - than < 1u << 23) || (than > v && than - v > 1u << 23);
}

/* False: an older notification that came late. */
static bool note_observation(struct coap_call *c, const struct message *m)
{
	if (m->observe < 0) {
		c->observing = false;
		return true;
	}
	if (c->observing && !is_newer(c->seq, (uint32_t)m->observe))
		return false;
	c->observing = true;
	c->seq = (uint32_t)m->observe;
	c->downloading = false;
	c->restarts = 0;
	buf_clear(&c->got);
	coap_fetch_init(&c->fetch, 0, c->q.szx);
	return true;
}

static void answer(struct coap_call *c, struct message *m, bool is_observe)
{
	if (is_observe && !note_observation(c, m))
		return;
	if (m->code >> 5 == 2 && (m->has_block2 || m->payload.n)) {
		download_step(c, m);
		return;
	}
	if (m->code >> 5 != 2)
		c->observing = false;
	succeed(c, m, buf_span(&m->payload));
}

void client_receive(struct coap_session *s, struct wire_header h, struct message *m)
{
	struct coap_call *c;

	DL_FOREACH(s->calls, c) {
		bool is_observe = c->q.observe && m->token == c->observe_token;
		bool is_mine = h.type == WIRE_ACK || h.type == WIRE_RST ? c->mid == h.mid && !c->waits_separate
								        : is_observe || (c->sent && m->token == c->sent->token);
		if (!is_mine || c->dead)
			continue;
		if (h.type == WIRE_RST) {
			fail(c, -ECONNRESET);
		} else if (!m->code) {
			c->waits_separate = true;
			loop_timer_set(c->timer, SEPARATE_MS);
		} else if (is_observe || (c->sent && m->token == c->sent->token && (!c->observing || c->downloading))) {
			if (h.type == WIRE_CON) {
				struct message *ack = message_new();
				wire_send(true, (struct wire_header){ s->number, WIRE_ACK, h.mid }, ack);
				message_unref(ack);
			}
			answer(c, m, is_observe); /* s may be gone */
		}
		return;
	}
	if (h.type != WIRE_CON)
		return;
	struct message *rst = message_new();   /* nobody waits for it */
	wire_send(true, (struct wire_header){ s->number, WIRE_RST, h.mid }, rst);
	message_unref(rst);
}
