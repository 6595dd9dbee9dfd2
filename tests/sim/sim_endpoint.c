/* io/coap_endpoint.h over the simulated network. */
#include "sim_wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

enum { ROUTES_MAX = 32, SWEEP_EVERY = 256, OBSERVERS_PER_PEER = 8 };

struct peer {                                  /* a client's session, as the endpoint knows it */
	uint64_t session;                      /* key: the client's number */
	int client;
	struct coap_peer p;
	uint16_t mid;
	int64_t heard;
	unsigned n_observers;
	UT_hash_handle hh;
};

struct once_key {
	uint64_t session;
	uint64_t mid;
};

struct once {                                  /* a request that must not run twice */
	struct once_key key;
	struct message *answer;                /* NULL: not yet */
	bool is_acked;                         /* by an empty ACK */
	int64_t until;
	UT_hash_handle hh;
};

struct observer {
	struct observer *prev, *next;
	uint64_t session;
	struct message *req;
	const struct coap_route *route;
	uint8_t code;
	struct coap_etag etag;
	bool is_dirty, in_flight;
};

struct flight {                                /* a CON of ours that wants its ACK */
	struct flight *prev, *next;
	struct coap_endpoint *e;
	struct wire_header h;
	struct message *m;
	struct observer *observer;             /* of a notification */
	unsigned n_sent;
	int64_t asked;                         /* when the request was sent; -1 */
	struct loop_timer *timer;
};

struct coap_deferred {
	struct coap_deferred *prev, *next;
	struct coap_endpoint *e;               /* NULL: gone */
	struct wire_header h;
	struct message *req;
	const struct coap_route *route;
	bool is_acked;
	struct loop_timer *timer;
};

struct coap_endpoint {
	struct loop *loop;
	coap_psk_fn *psk;
	void *psk_ctx;
	struct coap_route routes[ROUTES_MAX];
	size_t n_routes;
	coap_handler_fn *proxy;
	void *proxy_ctx;
	void (*heard)(void *ctx, const struct coap_peer *peer);
	void *heard_ctx;
	struct peer *peers;
	uint64_t last_peer;
	struct once *onces;
	struct observer *observers;
	struct flight *flights;
	struct coap_deferred *deferred;
	struct loop_timer *notify;
	uint32_t seq;
	char address[32];
	/* the request being handled */
	struct wire_header h;
	struct message *now;
	const struct coap_route *route;
};

static void on_notify(void *ctx);

/* ---- life ---- */

struct coap_endpoint *coap_endpoint_new(struct loop *l, const struct coap_endpoint_config *c, int *ret_error)
{
	struct coap_endpoint *e = NEW(struct coap_endpoint);

	e->loop = l;
	e->psk = c->psk;
	e->psk_ctx = c->psk_ctx;
	e->notify = loop_timer_new(l, on_notify, e);
	e->seq = (uint32_t)sim_now() / 64 & 0xffffff;  /* goes on after a restart, as io/coap_endpoint's does */
	(void)snprintf(e->address, sizeof(e->address), "coap://[::1]:5683"); /* fits */
	SIM_CHECK(!net.endpoint, "one endpoint at a time");
	net.endpoint = e;
	net.is_unplugged = false;
	net.generation++;
	return e;
}

static void once_free(struct coap_endpoint *e, struct once *o)
{
	HASH_DEL(e->onces, o);
	message_unref(o->answer);
	free(o);
}

static struct peer *peer_find(struct coap_endpoint *e, uint64_t session)
{
	struct peer *p;

	HASH_FIND(hh, e->peers, &session, sizeof(session), p);
	return p;
}

static void observer_free(struct coap_endpoint *e, struct observer *o)
{
	struct peer *p = peer_find(e, o->session);
	struct flight *f;

	if (p)
		p->n_observers--;
	DL_FOREACH(e->flights, f)
		if (f->observer == o)
			f->observer = NULL;
	DL_DELETE(e->observers, o);
	message_unref(o->req);
	free(o);
}

static void flight_free(struct flight *f)
{
	DL_DELETE(f->e->flights, f);
	loop_timer_free(f->timer);
	message_unref(f->m);
	free(f);
}

struct coap_endpoint *coap_endpoint_free(struct coap_endpoint *e)
{
	struct once *o, *o_next;
	struct peer *p, *p_next;
	struct coap_deferred *d;

	if (!e)
		return NULL;
	DL_FOREACH(e->deferred, d)
		d->e = NULL;                   /* whoever holds it answers into the void */
	while (e->flights)
		flight_free(e->flights);
	while (e->observers)
		observer_free(e, e->observers);
	HASH_ITER(hh, e->onces, o, o_next)
		once_free(e, o);
	HASH_ITER(hh, e->peers, p, p_next) {
		HASH_DEL(e->peers, p);
		free(p);
	}
	loop_timer_free(e->notify);
	net.endpoint = NULL;
	free(e);
	return NULL;
}

int coap_endpoint_add(struct coap_endpoint *e, const struct coap_route *r)
{
	for (size_t i = 0; i < e->n_routes; i++)
		if (strcmp(e->routes[i].path, r->path) == 0)
			return -EEXIST;
	SIM_CHECK(e->n_routes < ROUTES_MAX, "too many routes");
	e->routes[e->n_routes++] = *r;
	return 0;
}

void coap_endpoint_set_proxy(struct coap_endpoint *e, coap_handler_fn *fn, void *ctx)
{
	e->proxy = fn;
	e->proxy_ctx = ctx;
}

void coap_endpoint_set_heard(struct coap_endpoint *e, void (*fn)(void *ctx, const struct coap_peer *peer), void *ctx)
{
	e->heard = fn;
	e->heard_ctx = ctx;
}

const char *coap_endpoint_address(struct coap_endpoint *e, size_t i)
{
	return i ? NULL : e->address;
}

int endpoint_psk(struct coap_endpoint *e, struct span identity, uint8_t *ret, size_t max)
{
	return e->psk ? e->psk(e->psk_ctx, identity, ret, max) : -ENOENT;
}

void coap_endpoint_forget(struct coap_endpoint *e, const char *identity)
{
	struct observer *o, *next;

	DL_FOREACH_SAFE(e->observers, o, next) {
		struct peer *p = peer_find(e, o->session);
		if (p && strcmp(p->p.identity, identity) == 0)
			observer_free(e, o);
	}
	for (struct coap_session *s = net.sessions; s; s = s->hh.next)
		if (s->secure && strcmp(s->identity, identity) == 0)
			s->generation = UINT32_MAX;    /* its keys are not known any more */
}

/* ---- peers ---- */

static void sweep(struct coap_endpoint *e)
{
	struct peer *p, *p_next;
	struct once *o, *o_next;

	HASH_ITER(hh, e->peers, p, p_next)
		if (!p->n_observers && sim_now() - p->heard > IDLE_SESSION_MS) {
			HASH_DEL(e->peers, p);
			free(p);
		}
	HASH_ITER(hh, e->onces, o, o_next)
		if (o->until < sim_now() && o->answer)
			once_free(e, o);
}

static struct peer *peer_get(struct coap_endpoint *e, uint64_t session)
{
	struct peer *p = peer_find(e, session);
	struct coap_session *s;

	if (p)
		return p;
	HASH_FIND(hh, net.sessions, &session, sizeof(session), s);
	p = NEW(struct peer);
	p->session = session;
	p->client = s->c->id;
	p->heard = sim_now();
	p->p = (struct coap_peer){ .secure = s->secure, .is_loopback = true, .port = (uint16_t)(1024 + session % 60000), .session = ++e->last_peer };
	memcpy(p->p.identity, s->identity, sizeof(p->p.identity));
	(void)snprintf(p->p.addr, sizeof(p->p.addr), "[::1]:%u", p->p.port); /* fits */
	p->mid = (uint16_t)sim_random(UINT16_MAX);
	HASH_ADD(hh, e->peers, session, sizeof(p->session), p);
	if (e->last_peer % SWEEP_EVERY == 0)
		sweep(e);
	return p;
}

/* ---- sending ---- */

static void send_down(struct coap_endpoint *e, struct wire_header h, struct message *m, int64_t asked)
{
	const struct peer *p = peer_find(e, h.session);

	if (net.watch.sent && p && !net.is_unplugged)
		net.watch.sent(net.watch.ctx, p->client, asked < 0 ? -1 : sim_now() - asked);
	wire_send(false, h, m);
}

static void send_empty(struct coap_endpoint *e, struct wire_header h, enum wire_type type, int64_t asked)
{
	struct message *m = message_new();

	h.type = type;
	send_down(e, h, m, asked);
	message_unref(m);
}

static void on_flight(void *ctx)
{
	struct flight *f = ctx;

	if (f->n_sent > MAX_RETRANSMIT) {
		struct observer *o = f->observer;
		struct coap_endpoint *e = f->e;
		flight_free(f);
		if (o)
			observer_free(e, o);
		return;
	}
	f->n_sent++;
	send_down(f->e, f->h, f->m, f->asked);
	loop_timer_set(f->timer, wire_timeout_ms(ACK_TIMEOUT_MS, f->n_sent));
}

/* A CON of our own: a separate answer or a notification. */
static void fly(struct coap_endpoint *e, uint64_t session, struct message *m, struct observer *o, int64_t asked)
{
	struct peer *p = peer_find(e, session);
	struct flight *f = NEW(struct flight);

	*f = (struct flight){ .e = e, .h = { session, WIRE_CON, p ? p->mid++ : 0 }, .m = message_ref(m), .observer = o, .asked = asked,
			      .timer = loop_timer_new(e->loop, on_flight, f) };
	DL_APPEND(e->flights, f);
	on_flight(f);
}

static void landed(struct coap_endpoint *e, struct wire_header h)
{
	struct flight *f, *next;

	DL_FOREACH_SAFE(e->flights, f, next) {
		if (f->h.session != h.session || f->h.mid != h.mid)
			continue;
		struct observer *o = f->observer;
		flight_free(f);
		if (!o)
			return;
		o->in_flight = false;
		if (h.type == WIRE_RST)
			observer_free(e, o);
		else if (o->is_dirty && !loop_timer_armed(e->notify))
			loop_timer_set(e->notify, COALESCE_MS);
		return;
	}
}

bool coap_endpoint_fresh(struct coap_endpoint *e, const struct coap_request *req, unsigned max_age_s, struct coap_response *res)
{
	return true;
}

/* ---- requests ---- */

static size_t cut(struct span s, char sep, struct span *list, size_t max)
{
	size_t n = 0;

	while (s.n && n < max) {
		const uint8_t *end = memchr(s.p, sep, s.n);
		list[n++] = end ? SPAN(s.p, (size_t)(end - s.p)) : s;
		s = end ? span_sub(s, (size_t)(end - s.p) + 1, s.n) : SPAN_NONE;
	}
	return n;
}

static void request_of(const struct peer *p, const struct message *m, struct coap_request *ret)
{
	*ret = (struct coap_request){ .method = m->code, .peer = p->p, .accept = m->accept, .content_format = m->content_format,
				      .observe = m->observe, .proxy_uri = buf_span(&m->proxy_uri), .body = buf_span(&m->payload),
				      .n_etag = m->n_etag };
	memcpy(ret->etag, m->etag, sizeof(ret->etag));
	ret->n_path = cut(buf_span(&m->path), '/', ret->path, COAP_PATH_MAX);
	ret->n_query = cut(buf_span(&m->query), '\0', ret->query, COAP_QUERY_MAX);
}

static const struct coap_route *route_of(struct coap_endpoint *e, struct span path)
{
	const struct coap_route *best = NULL;
	size_t best_n = 0;

	for (size_t i = 0; i < e->n_routes; i++) {
		const struct coap_route *r = &e->routes[i];
		size_t n = strlen(r->path);
		bool is_exact = span_eq_str(path, r->path);
		bool is_below = r->is_prefix && path.n > n && memcmp(path.p, r->path, n) == 0 && path.p[n] == '/';
		if ((is_exact || is_below) && n >= best_n) {
			best = r;
			best_n = n;
		}
	}
	return best;
}

static int well_known(struct coap_endpoint *e, struct coap_response *res)
{
	for (size_t i = 0; i < e->n_routes; i++)
		if (e->routes[i].attributes)
			buf_printf(&res->body, "%s</%s>;%s", res->body.n ? "," : "", e->routes[i].path, e->routes[i].attributes);
	res->code = COAP_205_CONTENT;
	res->content_format = COAP_CF_LINK;
	return 0;
}

static int handle(struct coap_endpoint *e, const struct coap_route *route, const struct coap_request *req, struct span path,
		  struct coap_response *res)
{
	if (req->proxy_uri.n)
		return e->proxy ? e->proxy(e->proxy_ctx, req, res) : coap_error(res, COAP_505_NO_PROXY, "no");
	if (span_eq_str(path, ".well-known/core"))
		return well_known(e, res);
	if (!route)
		return coap_error(res, COAP_404_NOT_FOUND, "no such resource");
	if (!(route->methods & 1u << req->method))
		return coap_error(res, COAP_405_METHOD, "not that");
	if (route->secure_only && !req->peer.secure)
		return coap_error(res, COAP_401_UNAUTHORIZED, "coaps");
	return route->fn(route->ctx, req, res);
}

/* ---- answers ---- */

static void put_body(struct message *m, struct coap_response *res, const struct message *req)
{
	struct coap_block want = { .szx = COAP_SZX_MAX }, have;
	uint64_t total = res->reader.read ? res->reader.bytes : res->body.n;
	size_t n;

	if (req->has_block2 && m->code < COAP_400_BAD_REQUEST)
		want = req->block2;
	if (coap_block_cut(total, &want, &have, &n) < 0) {
		m->code = COAP_400_BAD_REQUEST;
		m->n_etag = 0;
		return;
	}
	uint64_t off = coap_block_offset(&have);
	uint8_t *p = buf_grow(&m->payload, n);
	if (!res->reader.read && n)
		memcpy(p, res->body.p + off, n);
	else if (res->reader.read && n && res->reader.read(res->reader.ctx, off, p, n) < 0) {
		m->code = COAP_500_INTERNAL;
		buf_clear(&m->payload);
		return;
	}
	m->has_block2 = m->code < COAP_400_BAD_REQUEST && (have.more || have.num > 0 || req->has_block2);
	m->block2 = have;
	m->size2 = m->has_block2 ? total : 0;
	if (!m->n_etag && m->has_block2 && !res->reader.read)
		m->etag[m->n_etag++] = coap_etag_of(buf_span(&res->body));
	if (res->reader.served)
		res->reader.served(res->reader.ctx, off, n, !have.more);
}

static bool has_etag(const struct message *req, const struct coap_etag *e)
{
	for (size_t i = 0; i < req->n_etag; i++)
		if (e->n && coap_etag_eq(&req->etag[i], e))
			return true;
	return false;
}

static struct message *answer_of(struct coap_response *res, const struct message *req)
{
	struct message *m = message_new();

	m->code = res->code;
	m->token = req->token;
	m->content_format = res->content_format;
	m->max_age_s = res->max_age_s;
	if (res->etag.n)
		m->etag[m->n_etag++] = res->etag;
	for (size_t i = 0; i < res->n_location; i++)
		buf_printf(&m->location, "/%s", res->location[i]);
	if (m->location.n)
		(void)buf_str(&m->location); /* a NUL behind it */
	if (m->code == COAP_205_CONTENT && req->code == COAP_M_GET && has_etag(req, &res->etag))
		m->code = COAP_203_VALID;
	else if (m->code >> 5 == 2 && req->accept != COAP_CF_NONE && res->content_format != COAP_CF_NONE && res->content_format != req->accept)
		m->code = COAP_406_NOT_ACCEPTABLE;
	else
		put_body(m, res, req);
	return m;
}

static struct observer *observer_find(struct coap_endpoint *e, uint64_t session, uint64_t token)
{
	struct observer *o;

	DL_FOREACH(e->observers, o)
		if (o->session == session && o->req->token == token)
			return o;
	return NULL;
}

/* Registers, renews or ends the observation that a GET asks for. */
static void observe(struct coap_endpoint *e, struct peer *p, const struct coap_route *route, struct message *req, struct message *m)
{
	struct observer *o = observer_find(e, p->session, req->token);

	if (req->observe == 0 && route && route->observable && m->code >> 5 == 2) {
		if (!o && p->n_observers >= OBSERVERS_PER_PEER)
			return;
		if (!o) {
			o = NEW(struct observer);
			*o = (struct observer){ .session = p->session, .req = message_ref(req), .route = route };
			p->n_observers++;
			DL_APPEND(e->observers, o);
		} else {
			message_unref(o->req);
			o->req = message_ref(req);
		}
		o->code = m->code;
		o->etag = m->n_etag ? m->etag[0] : (struct coap_etag){ 0 };
		m->observe = (int)(++e->seq & 0xffffff);
	} else if (o && req->observe >= 0) {
		observer_free(e, o);
	}
}

static void tell_answered(struct coap_endpoint *e, const struct peer *p, const struct message *req, const struct message *m)
{
	struct coap_request as;

	if (!net.watch.answered || net.is_unplugged)
		return;
	request_of(p, req, &as);
	net.watch.answered(net.watch.ctx, &(struct sim_answer){
		.client = p->client, .req = &as, .code = m->code, .location = m->location.n ? (const char *)m->location.p + 1 : "",
		.off = m->has_block2 ? coap_block_offset(&m->block2) : 0 });
}

static struct once *once_find(struct coap_endpoint *e, struct wire_header h)
{
	struct once_key key = { h.session, h.mid };
	struct once *o;

	HASH_FIND(hh, e->onces, &key, sizeof(key), o);
	return o;
}

static void respond(struct coap_endpoint *e, struct wire_header h, struct message *req, const struct coap_route *route, bool is_acked,
		    struct coap_response *res)
{
	struct peer *p = peer_find(e, h.session);
	struct once *o = once_find(e, h);
	struct message *m = answer_of(res, req);

	coap_response_done(res);
	if (p && req->code == COAP_M_GET)
		observe(e, p, route, req, m);
	if (p)
		tell_answered(e, p, req, m);
	if (o)
		o->answer = message_ref(m);
	if (is_acked) {
		net.counts.n_separate++;
		fly(e, h.session, m, NULL, req->born);
	} else {
		h.type = h.type == WIRE_CON ? WIRE_ACK : WIRE_NON;
		send_down(e, h, m, req->born);
	}
	message_unref(m);
}

/* True: a duplicate, dealt with. */
static bool is_known(struct coap_endpoint *e, struct wire_header h, const struct message *req)
{
	struct once *o;

	if (h.type != WIRE_CON || req->code == COAP_M_GET)
		return false;
	o = once_find(e, h);
	if (o && o->until >= sim_now()) {
		struct wire_header back = { h.session, WIRE_ACK, h.mid };
		if (o->is_acked)
			send_empty(e, back, WIRE_ACK, req->born);
		else if (o->answer)
			send_down(e, back, o->answer, req->born);
		return true;
	}
	if (o)
		once_free(e, o);
	o = NEW(struct once);
	o->key = (struct once_key){ h.session, h.mid };
	o->until = sim_now() + EXCHANGE_LIFETIME_MS;
	HASH_ADD(hh, e->onces, key, sizeof(o->key), o);
	return false;
}

static void receive_request(struct coap_endpoint *e, struct wire_header h, struct message *m)
{
	struct peer *p = peer_get(e, h.session);
	struct coap_response res;
	struct coap_request req;

	p->heard = sim_now();
	if (e->heard)
		e->heard(e->heard_ctx, &p->p);
	if (is_known(e, h, m))
		return;
	request_of(p, m, &req);
	coap_response_init(&res);
	e->h = h;
	e->now = m;
	e->route = route_of(e, buf_span(&m->path));
	const struct coap_route *route = e->route;
	int r = handle(e, route, &req, buf_span(&m->path), &res);
	e->now = NULL;
	if (r == COAP_HANDLER_LATER)
		return;
	if (r < 0) {
		coap_response_done(&res);
		coap_error(&res, COAP_500_INTERNAL, "internal");
	}
	respond(e, h, m, route, false, &res);
}

void endpoint_receive(struct coap_endpoint *e, struct wire_header h, struct message *m)
{
	if (m->code)
		receive_request(e, h, m);
	else
		landed(e, h);
}

/* ---- later ---- */

static void on_late(void *ctx)
{
	struct coap_deferred *d = ctx;

	if (!d->e || d->h.type != WIRE_CON)
		return;
	struct once *o = once_find(d->e, d->h);
	if (o)
		o->is_acked = true;
	d->is_acked = true;
	send_empty(d->e, d->h, WIRE_ACK, d->req->born);
}

struct coap_deferred *coap_defer(struct coap_endpoint *e, const struct coap_request *req)
{
	SIM_CHECK(e->now, "coap_defer() outside of a handler");
	struct coap_deferred *d = NEW(struct coap_deferred);
	*d = (struct coap_deferred){ .e = e, .h = e->h, .req = message_ref(e->now), .route = e->route,
				     .timer = loop_timer_new(e->loop, on_late, d) };
	DL_APPEND(e->deferred, d);
	loop_timer_set(d->timer, DEFER_ACK_MS);
	return d;
}

void coap_deferred_respond(struct coap_deferred *d, struct coap_response *res)
{
	if (d->e) {
		DL_DELETE(d->e->deferred, d);
		respond(d->e, d->h, d->req, d->route, d->is_acked, res);
	}
	coap_response_done(res);
	loop_timer_free(d->timer);
	message_unref(d->req);
	free(d);
}

/* ---- notifications ---- */

static void notify(struct coap_endpoint *e, struct observer *o)
{
	struct peer *p = peer_find(e, o->session);
	struct coap_response res;
	struct coap_request req;

	o->is_dirty = false;
	request_of(p, o->req, &req);
	req.is_notify = true;
	coap_response_init(&res);
	if (handle(e, o->route, &req, buf_span(&o->req->path), &res) != 0)
		(void)coap_error(&res, COAP_500_INTERNAL, "internal"); /* always 0 */
	struct message *m = answer_of(&res, o->req);
	coap_response_done(&res);
	if (m->code >= COAP_400_BAD_REQUEST) { /* the last it hears (RFC 7641 4.2) */
		fly(e, o->session, m, NULL, -1);
		observer_free(e, o);
		message_unref(m);
		return;
	}
	struct coap_etag etag = m->n_etag ? m->etag[0] : (struct coap_etag){ 0 };
	if (m->code != o->code || !coap_etag_eq(&etag, &o->etag)) {
		o->code = m->code;
		o->etag = etag;
		o->in_flight = true;
		m->observe = (int)(++e->seq & 0xffffff);
		net.counts.n_notifications++;
		fly(e, o->session, m, o, -1);
	}
	message_unref(m);
}

static void on_notify(void *ctx)
{
	struct coap_endpoint *e = ctx;
	struct observer *o, *next;

	DL_FOREACH_SAFE(e->observers, o, next)
		if (o->is_dirty && !o->in_flight)
			notify(e, o);
}

static void mark(struct coap_endpoint *e, const char *path, bool is_exact, struct span match)
{
	size_t n = strlen(path);
	struct observer *o;

	DL_FOREACH(e->observers, o) {
		struct span at = buf_span(&o->req->path), query[COAP_QUERY_MAX];
		bool hit = span_eq_str(at, path) || (!is_exact && at.n > n && memcmp(at.p, path, n) == 0 && at.p[n] == '/');
		size_t n_query = cut(buf_span(&o->req->query), '\0', query, COAP_QUERY_MAX), i = 0;
		while (match.p && i < n_query && !span_eq(query[i], match))
			i++;
		o->is_dirty |= hit && (!match.p || i < n_query);
	}
	if (!loop_timer_armed(e->notify))
		loop_timer_set(e->notify, COALESCE_MS);
}

void coap_endpoint_changed(struct coap_endpoint *e, const char *path)
{
	mark(e, path, false, SPAN_NONE);
}

void coap_endpoint_changed_query(struct coap_endpoint *e, const char *path, struct span match)
{
	mark(e, path, true, match);
}
