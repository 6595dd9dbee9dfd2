/* Observation (RFC 7641), kept by us so that any path can be observed and libcoap's own list, with its trap
 * T3, stays unused.
 *
 * Every notification is CON: delivery is what an observer of an update or a lookup wants, and libcoap tells
 * of RST and of time-outs only for CON (OB-5, OB-6). One notification per observer is in flight; what changes
 * meanwhile goes out as one when the ACK is in. libcoap does not report a plain ACK, so for UDP the datagram is
 * peeked at before libcoap reads it (only while something is in flight), and for DTLS any bytes heard from the
 * peer since count. */
#include <errno.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "io/coap_endpoint_priv.h"

enum {
	FLIGHT_MS_MAX = 100 * 1000,            /* over MAX_TRANSMIT_WAIT: libcoap has given up or was acknowledged */
	SILENCE_MS_MAX = 24 * 3600 * 1000,     /* then ask by a CON whether the observer lives (OB-6) */
	SEQ_MASK = 0xffffff,
};

/* 24 bits that grow with time, so that a restart does not look like the past to a client (OB-3). */
static uint32_t next_seq(struct coap_endpoint *e)
{
	uint32_t clock = (uint32_t)(wall_now().ms / 64) & SEQ_MASK;
	uint32_t next = (e->observe_seq + 1) & SEQ_MASK;

	e->observe_seq = ((clock - next) & SEQ_MASK) < 1u << 23 ? clock : next;
	return e->observe_seq;
}

static struct digest state_of(const struct coap_response *res)
{
	struct buf b = { 0 };
	struct digest d;

	buf_add_u8(&b, res->code);
	buf_add_be(&b, (uint64_t)(res->content_format + 1), 4);
	buf_add_u8(&b, res->etag.n);
	buf_add(&b, SPAN(res->etag.b, res->etag.n));
	buf_add_be(&b, res->reader.bytes, 8);
	d = digest_of2(buf_span(&b), buf_span(&res->body));
	buf_done(&b);
	return d;
}

/* ---- the list ---- */

static void land(struct observer *o)
{
	if (!o->in_flight)
		return;
	HASH_DEL(o->e->in_flight, o);
	o->in_flight = false;
}

static void observer_drop(struct observer *o)
{
	struct coap_endpoint *e = o->e;

	if (o == e->notifying) { /* its handler runs, or it is being sent: observers_notify() drops it after */
		o->gone = true;
		return;
	}
	if (o == e->cursor)
		e->cursor = o->next;
	land(o);
	DL_DELETE(e->observers, o);
	e->n_observers--;
	o->peer->n_observers--;
	metric_set(METRIC_COAP_OBSERVERS, (int64_t)e->n_observers);
	if (o->route->r.observing && !e->closing)
		o->route->r.observing(o->route->r.ctx, &o->req, false);
	peer_release(o->peer);
	buf_done(&o->store);
	free(o);
}

static struct observer *find(struct peer *p, const uint8_t *token, size_t n)
{
	struct observer *o;

	if (p->n_observers == 0)
		return NULL;
	DL_FOREACH(p->e->observers, o) {
		if (o->peer == p && !o->gone && o->n_token == n && memcmp(o->token, token, n) == 0)
			return o;
	}
	return NULL;
}

void observers_drop_peer(struct peer *p)
{
	struct observer *o, *next;

	if (p->n_observers == 0)
		return;
	DL_FOREACH_SAFE(p->e->observers, o, next) {
		if (o->peer == p)
			observer_drop(o);
	}
}

static struct span keep(struct buf *b, size_t *at, struct span s)
{
	struct span out = SPAN(b->p + *at, s.n);

	*at += s.n;
	return out;
}

/* The request with its bytes, so that the handler can be run again. */
static void copy_request(struct observer *o, const struct coap_request *q)
{
	size_t at = 0;

	for (size_t i = 0; i < q->n_path; i++)
		buf_add(&o->store, q->path[i]);
	for (size_t i = 0; i < q->n_query; i++)
		buf_add(&o->store, q->query[i]);
	buf_add(&o->store, q->body);
	o->req = *q;
	for (size_t i = 0; i < q->n_path; i++)
		o->req.path[i] = keep(&o->store, &at, q->path[i]);
	for (size_t i = 0; i < q->n_query; i++)
		o->req.query[i] = keep(&o->store, &at, q->query[i]);
	o->req.body = keep(&o->store, &at, q->body);
	o->req.proxy_uri = o->req.echo = SPAN_NONE;
	o->req.is_notify = true;
}

struct observer *observer_prepare(struct exchange *x)
{
	struct observer *o;

	if (x->req.observe != 0 || !x->route || !x->route->r.observable || (x->has_block2 && x->block2.num > 0) ||
	    (x->req.method != COAP_M_GET && x->req.method != COAP_M_FETCH))
		return NULL;
	o = NEW(struct observer);
	o->e = x->e;
	memcpy(o->token, x->token, x->n_token);
	o->n_token = x->n_token;
	o->route = x->route;
	o->key = *exchange_key(x);
	o->szx = exchange_first_block(x).szx;
	copy_request(o, &x->req);
	return o;
}

void observer_discard(struct observer *o)
{
	if (!o)
		return;
	buf_done(&o->store);
	free(o);
}

int64_t observer_register(struct observer *o, struct peer *p, const struct coap_response *res)
{
	struct coap_endpoint *e = p->e;

	/* A handler's own 2.03 begins an observation too (RFC 7641 section 4.2): "you have it; I tell you when it changes". */
	if ((res->code != COAP_205_CONTENT && res->code != COAP_203_VALID) || res->no_observe || p->closed ||
	    e->n_observers >= e->c.max_observers || p->n_observers >= ENDPOINT_OBSERVERS_PEER_MAX) {
		observer_discard(o);
		return -1;
	}
	o->peer = p;
	o->content_format = res->content_format;
	o->last = state_of(res);
	o->sent = mono_now();
	peer_hold(p);
	p->n_observers++;
	e->n_observers++;
	metric_set(METRIC_COAP_OBSERVERS, (int64_t)e->n_observers);
	DL_APPEND(e->observers, o);
	if (o->route->r.observing)
		o->route->r.observing(o->route->r.ctx, &o->req, true);
	return next_seq(e);
}

void observer_cancel(struct exchange *x)
{
	struct observer *o = find(x->peer, x->token, x->n_token);

	if (o)
		observer_drop(o);
}

/* ---- what became of a notification ---- */

void observers_on_nack(struct peer *p, uint16_t mid)
{
	struct flight_key key;
	struct observer *o;

	memset(&key, 0, sizeof(key));
	key.peer = p->key;
	key.mid = mid;
	HASH_FIND(hh, p->e->in_flight, &key, sizeof(key), o);
	if (o)
		observer_drop(o);
}

static void acknowledged(struct observer *o)
{
	land(o);
	if (o->dirty && !loop_timer_armed(o->e->notify))
		loop_timer_set(o->e->notify, 0);
}

static void peek(struct coap_endpoint *e, const struct listener *l)
{
	struct sockaddr_storage from;
	socklen_t n_from = sizeof(from);
	struct flight_key key;
	struct observer *o;
	coap_address_t a;
	uint8_t h[4];

	if (recvfrom(l->fd, h, sizeof(h), MSG_PEEK | MSG_DONTWAIT, (struct sockaddr *)&from, &n_from) != sizeof(h))
		return;
	if ((h[0] >> 4 & 3) != COAP_MESSAGE_ACK)
		return;
	coap_address_init(&a);
	memcpy(&a.addr, &from, n_from < sizeof(a.addr) ? n_from : sizeof(a.addr));
	memset(&key, 0, sizeof(key));
	coap_lib_key_of(&a, coap_address_get_port(&l->addr), &key.peer);
	key.mid = (uint32_t)h[2] << 8 | h[3];
	HASH_FIND(hh, e->in_flight, &key, sizeof(key), o);
	if (o)
		acknowledged(o);
}

void observers_peek(struct coap_endpoint *e)
{
	for (size_t i = 0; i < e->n_listener; i++) {
		if (!e->listener[i].secure)
			peek(e, &e->listener[i]);
	}
}

void observers_sweep(struct coap_endpoint *e, struct mono now)
{
	struct observer *o, *next;

	DL_FOREACH_SAFE(e->observers, o, next) {
		int64_t age = mono_diff_ms(now, o->sent);

		if (o->in_flight && (age > FLIGHT_MS_MAX || (o->peer->p.secure && peer_bytes_heard(o->peer) > o->heard_bytes)))
			acknowledged(o);
		if (!o->in_flight && age > SILENCE_MS_MAX) {
			o->last = (struct digest){ 0 };
			o->dirty = true;
		}
	}
}

/* ---- notifying ---- */

static bool path_covers(const struct change *c, const struct coap_request *q)
{
	struct span rest = span_str(c->path);
	size_t i = 0;

	while (rest.n > 0) {
		const uint8_t *end = memchr(rest.p, '/', rest.n);
		struct span part = end ? SPAN(rest.p, (size_t)(end - rest.p)) : rest;

		if (i == q->n_path || !span_eq(part, q->path[i]))
			return false;
		i++;
		rest = span_sub(rest, part.n + 1, rest.n);
	}
	return !c->exact || i == q->n_path;
}

/* An observer that says nothing of the key may be meant: its identity says who it is. */
static bool touches(const struct change *c, const struct coap_request *q)
{
	struct span match = buf_span(&c->match);
	const uint8_t *equals = match.n ? memchr(match.p, '=', match.n) : NULL;
	bool names_key = false;

	if (!path_covers(c, q))
		return false;
	if (match.n == 0)
		return true;
	for (size_t i = 0; i < q->n_query; i++) {
		if (span_eq(q->query[i], match))
			return true;
		names_key = names_key || (equals && span_starts(q->query[i], SPAN(match.p, equals - match.p + 1)));
	}
	return !names_key && q->peer.secure;
}

void changes_clear(struct coap_endpoint *e)
{
	for (size_t i = 0; i < e->n_change; i++) {
		free(e->change[i].path);
		buf_done(&e->change[i].match);
	}
	e->n_change = 0;
	e->change_all = false;
}

static void mark_dirty(struct coap_endpoint *e)
{
	struct observer *o;

	if (e->n_change == 0 && !e->change_all)
		return;
	DL_FOREACH(e->observers, o) {
		o->dirty = o->dirty || e->change_all;
		for (size_t i = 0; i < e->n_change && !o->dirty; i++)
			o->dirty = touches(&e->change[i], &o->req);
	}
	changes_clear(e);
}

static void send_notification(struct observer *o, struct coap_response *res, bool last)
{
	struct coap_block want = { .szx = o->szx };
	uint8_t block_buf[COAP_BLOCK_BYTES_MAX];
	coap_session_t *s = o->peer->session;
	coap_pdu_t *pdu;
	struct reply r;

	reply_init(&r, res->code);
	if (reply_fill(&r, res, &want, false, block_buf) < 0) {
		reply_init(&r, COAP_500_INTERNAL);
		last = true;
	}
	r.content_format = res->content_format;
	r.max_age_s = res->max_age_s;
	r.etag = res->etag;
	r.observe = last ? -1 : (int64_t)next_seq(o->e);
	pdu = coap_pdu_init(COAP_MESSAGE_CON, (coap_pdu_code_t)r.code, coap_new_message_id(s), coap_session_max_pdu_size(s));
	if (!pdu)
		return;
	if ((o->n_token && !coap_add_token(pdu, o->n_token, o->token)) || !reply_write(pdu, &r)) {
		coap_delete_pdu(pdu);
		return;
	}
	land(o);
	memset(&o->flight, 0, sizeof(o->flight));
	o->flight.peer = o->peer->key;
	o->flight.mid = (uint32_t)coap_pdu_get_mid(pdu);
	o->heard_bytes = peer_bytes_heard(o->peer);
	o->sent = mono_now();
	o->in_flight = true;
	HASH_ADD(hh, o->e->in_flight, flight, sizeof(o->flight), o);
	if (coap_send(s, pdu) == COAP_INVALID_MID || last)
		o->gone = true;
}

static void keep_snapshot(struct observer *o, struct coap_response *res)
{
	struct coap_snapshot snap = {
		.code = res->code, .content_format = res->content_format, .max_age_s = res->max_age_s,
		.etag = res->etag, .body = res->body,
	};

	res->body = (struct buf){ 0 };
	if (!coap_snapshots_put(o->e->snapshots, &o->key, o->peer->p.session, &snap, mono_now()))
		buf_done(&snap.body);
}

/* False: it has nothing to say now. */
static bool run_handler(struct observer *o, struct coap_response *res)
{
	int r = o->route->r.fn(o->route->r.ctx, &o->req, res);

	if (r < 0)
		coap_error(res, COAP_500_INTERNAL, "%s", strerror(-r));
	if (r == COAP_HANDLER_LATER)
		return false;
	if (res->code != COAP_205_CONTENT || res->content_format == COAP_CF_NONE)
		return true;
	if (o->content_format == COAP_CF_NONE) /* so far there was nothing to have a format */
		o->content_format = res->content_format;
	if (res->content_format != o->content_format || !coap_request_accepts(&o->req, res->content_format))
		coap_error(res, COAP_406_NOT_ACCEPTABLE, "the format changed"); /* OB-4 */
	return true;
}

static void notify(struct observer *o)
{
	struct coap_response res;
	struct digest state;
	bool large, speaks;

	o->dirty = false;
	o->e->notifying = o;
	coap_response_init(&res);
	speaks = run_handler(o, &res);
	large = !res.reader.read && res.body.n > coap_block_bytes(o->szx) && res.code >> 5 == 2;
	if (large && res.etag.n == 0)
		res.etag = coap_etag_of(buf_span(&res.body));
	state = state_of(&res);
	if (speaks && !o->gone && !digest_eq(&state, &o->last)) {
		o->last = state;
		send_notification(o, &res, res.code >= COAP_400_BAD_REQUEST);
		if (large && !o->gone)
			keep_snapshot(o, &res);
	}
	coap_response_done(&res);
	o->e->notifying = NULL;
	if (o->gone)
		observer_drop(o);
}

void observers_notify(void *ctx)
{
	struct coap_endpoint *e = ctx;
	struct observer *o;
	unsigned n = 0;

	mark_dirty(e);
	e->cursor = e->observers;
	while ((o = e->cursor)) {
		e->cursor = o->next;
		if (!o->dirty || o->in_flight)
			continue;
		if (++n > ENDPOINT_NOTIFY_TURN_MAX) {
			loop_timer_set(e->notify, 0);
			return;
		}
		notify(o);
	}
}

static void change(struct coap_endpoint *e, const char *path, struct span match, bool exact)
{
	struct change *c = e->change;

	if (e->n_observers == 0 || e->change_all)
		return;
	if (path[0] == '/')
		path++;
	for (size_t i = 0; i < e->n_change; i++, c++) {
		if (c->exact == exact && strcmp(c->path, path) == 0 && span_eq(buf_span(&c->match), match))
			return;
	}
	if (!loop_timer_armed(e->notify))
		loop_timer_set(e->notify, ENDPOINT_COALESCE_MS);
	if (e->n_change == ENDPOINT_CHANGES_MAX) {
		changes_clear(e);
		e->change_all = true;
		return;
	}
	e->n_change++;
	*c = (struct change){ .path = mem_strdup(path), .exact = exact };
	buf_add(&c->match, match);
}

void coap_endpoint_changed(struct coap_endpoint *e, const char *path)
{
	change(e, path, SPAN_NONE, false);
}

void coap_endpoint_changed_query(struct coap_endpoint *e, const char *path, struct span match)
{
	change(e, path, match, true);
}
