#include "io/coap_endpoint.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/random.h"
#include "io/coap_endpoint_priv.h"

enum {
	MAX_SESSIONS = 20000, SESSION_TIMEOUT_S = 300, MAX_HANDSHAKES = 100, MAX_OBSERVERS = 10000,
	BLOCK1_TOTAL_BYTES = 16 * 1024 * 1024, BLOCK1_PEER_BYTES = 256 * 1024, RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024,
	UDP_MTU = 1472,                        /* libcoap's receive buffer; its default of 1152 refuses 1024 + many options */
	BURST_MAX = 32, EVENTS_MAX = 8, TURN_MS_MAX = 4, SWEEP_MS = 1000,
};

/* ---- dispatch ---- */

static const struct route *find_route(struct coap_endpoint *e, const struct coap_request *q)
{
	const struct route *best = NULL;

	for (size_t i = 0; i < e->n_route; i++) {
		const struct route *r = e->route[i];
		size_t k = 0;

		if (r->n_segment > q->n_path || (!r->r.is_prefix && r->n_segment != q->n_path))
			continue;
		while (k < r->n_segment && span_eq(r->segment[k], q->path[k]))
			k++;
		if (k < r->n_segment)
			continue;
		if (!r->r.is_prefix)
			return r;
		if (!best || r->n_segment > best->n_segment)
			best = r;
	}
	return best;
}

static void run_handler(struct exchange *x, coap_handler_fn *fn, void *ctx)
{
	struct coap_response res;
	int r;

	coap_response_init(&res);
	x->e->current = x;
	r = fn(ctx, &x->req, &res);
	x->e->current = NULL;
	if (r == COAP_HANDLER_LATER && (x->deferred || x->answered)) {
		exchange_withhold(x);
		coap_response_done(&res);
		return;
	}
	if (x->deferred && !x->answered)
		deferred_discard(x->deferred);
	x->deferred = NULL;
	if (r == COAP_HANDLER_QUIET && !x->is_con) {
		exchange_withhold(x);
		coap_response_done(&res);
		return;
	}
	if (r != COAP_HANDLER_DONE && r != COAP_HANDLER_QUIET) {
		log_line(LOG_WARNING, "coap: a handler failed: %s", r < 0 ? strerror(-r) : "no deferred answer");
		coap_error(&res, COAP_500_INTERNAL, "internal error");
	}
	exchange_answer(x, &res);
}

static void serve(struct exchange *x, coap_handler_fn *fn, void *ctx)
{
	struct buf whole = { 0 };

	if (exchange_gather(x, &whole) == 0) {
		if (x->has_block1 && whole.p)
			x->req.body = buf_span(&whole);
		run_handler(x, fn, ctx);
	}
	buf_done(&whole);
}

static void serve_route(struct exchange *x)
{
	const struct route *r = x->route;

	if (!r)
		exchange_error(x, COAP_404_NOT_FOUND, "not found");
	else if (!(r->r.methods & 1u << x->req.method))
		exchange_error(x, COAP_405_METHOD, "method not allowed");
	else if (x->peer->closed || (r->r.secure_only && !x->peer->p.secure))
		exchange_error(x, COAP_401_UNAUTHORIZED, "needs coaps");
	else
		serve(x, r->r.fn, r->r.ctx);
}

static bool is_repeatable(const struct exchange *x)
{
	return x->req.method == COAP_M_GET || x->req.method == COAP_M_FETCH;
}

/* True when this is a retransmission that has been dealt with (T6, RD-51). */
static bool is_duplicate(struct exchange *x)
{
	struct coap_endpoint *e = x->e;
	struct span answer;
	struct mono now;

	if (is_repeatable(x) && e->n_deferred == 0)
		return false;
	now = mono_now();
	switch (coap_dedup_find(e->dedup, &x->peer->key, x->mid, x->fingerprint, now, &answer)) {
	case COAP_DEDUP_NEW:
		break;
	case COAP_DEDUP_PENDING:
		metric_add(METRIC_COAP_DUPLICATES, 1);
		deferred_duplicate(x);
		exchange_withhold(x);
		return true;
	case COAP_DEDUP_ANSWERED:
		metric_add(METRIC_COAP_DUPLICATES, 1);
		if (x->is_con)
			exchange_send_again(x, answer);
		else
			exchange_withhold(x);
		return true;
	}
	if (!is_repeatable(x)) {
		coap_dedup_begin(e->dedup, &x->peer->key, x->mid, x->fingerprint, now);
		x->remember = true;
	}
	return false;
}

/* A later block of an answer: from the snapshot, so that the handler is not run again. False: run it. */
static bool later_block(struct exchange *x)
{
	if (!x->has_block2 || x->block2.num == 0)
		return false;
	if (exchange_from_snapshot(x))
		return true;
	if (x->req.method == COAP_M_GET || (x->req.method == COAP_M_FETCH && x->req.body.n > 0))
		return false;
	exchange_error(x, COAP_408_INCOMPLETE, "this answer is no longer kept");
	return true;
}

static void dispatch(struct exchange *x)
{
	struct coap_endpoint *e = x->e;
	bool proxied = x->req.proxy_uri.n > 0 || x->proxy_scheme.n > 0;

	if (proxied && exchange_names_us(x, x->peer->session))
		proxied = false;
	if (x->refuse) {
		exchange_error(x, x->refuse, x->why);
		return;
	}
	if (e->heard_fn)
		e->heard_fn(e->heard_ctx, &x->peer->p);
	if (is_duplicate(x))
		return;
	if (!proxied)
		x->route = find_route(e, &x->req);
	if (x->req.observe >= 0) /* a registration with the same token replaces (OB-2) */
		observer_cancel(x);
	if (later_block(x))
		return;
	if (!proxied)
		serve_route(x);
	else if (e->proxy_fn)
		serve(x, e->proxy_fn, e->proxy_ctx);
	else
		exchange_error(x, COAP_505_NO_PROXY, "no proxy for this");
}

/* Every resource of ours has this one handler; libcoap's query string is not looked at (T7, T9). */
static void on_request(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *pdu,
		       const coap_string_t *query, coap_pdu_t *response)
{
	struct coap_endpoint *e = coap_get_app_data(coap_session_get_context(session));
	struct exchange x = { .e = e, .response = response };

	metric_add(METRIC_COAP_REQUESTS, 1);
	if (coap_is_mcast(coap_session_get_addr_local(session))) { /* nothing here is meant for groups, and an answer would amplify */
		exchange_withhold(&x);
		return;
	}
	x.peer = peer_get(e, session);
	peer_is_alive(x.peer);
	exchange_parse(&x, pdu);
	x.req.peer = x.peer->p;
	/* libcoap acknowledges a CON that reaches its proxy resource before it asks us (T12). */
	x.separate = resource == e->proxy && x.is_con;
	dispatch(&x);
}

/* ---- libcoap's callbacks ---- */

static int on_event(coap_session_t *session, const coap_event_t event)
{
	struct peer *p = coap_session_get_app_data(session);

	if (!p || coap_session_get_type(session) != COAP_SESSION_TYPE_SERVER)
		return 0;
	if (event == COAP_EVENT_SERVER_SESSION_DEL)
		peer_drop(p);
	else if (event == COAP_EVENT_DTLS_CLOSED || event == COAP_EVENT_DTLS_ERROR)
		peer_end(p);
	return 0;
}

static coap_response_t on_response(coap_session_t *session, const coap_pdu_t *sent, const coap_pdu_t *received,
				   const coap_mid_t mid)
{
	struct peer *p = coap_session_get_app_data(session);

	return p && calls_on_response(p, received) ? COAP_RESPONSE_OK : COAP_RESPONSE_FAIL;
}

static void on_nack(coap_session_t *session, const coap_pdu_t *sent, const coap_nack_reason_t reason, const coap_mid_t mid)
{
	struct peer *p = coap_session_get_app_data(session);

	if (!p || reason == COAP_NACK_ICMP_ISSUE)
		return;
	if (p->probed && reason == COAP_NACK_RST && p->probe_mid == (uint16_t)mid)
		peer_is_alive(p);
	if (reason == COAP_NACK_TOO_MANY_RETRIES && p->e->silent_fn && !p->e->closing)
		p->e->silent_fn(p->e->silent_ctx, &p->p);
	observers_on_nack(p, (uint16_t)mid);
	if (sent)
		calls_on_nack(p, sent, reason);
}

/* ---- the loop ---- */

/* libcoap reads one datagram per event and then walks all its sessions. Giving it the same event several times
 * reads as many datagrams for one walk; the surplus reads come back empty. All non-NULL pointers here are
 * endpoints, which live as long as the context: the sessions of a server have no socket of their own. */
static void turn_burst(struct coap_endpoint *e, const struct epoll_event *ev, int n)
{
	struct epoll_event many[EVENTS_MAX * BURST_MAX];
	size_t k = 0;

	for (int i = 0; i < n; i++) {
		unsigned times = ev[i].data.ptr ? e->burst : 1;

		for (unsigned j = 0; j < times; j++)
			many[k++] = ev[i];
	}
	coap_io_do_epoll(e->ctx, many, k);
}

static void on_readable(void *ctx, int fd, unsigned what)
{
	struct coap_endpoint *e = ctx;
	struct mono end = mono_add_ms(mono_now(), TURN_MS_MAX);
	struct epoll_event ev[EVENTS_MAX];
	int n;

	while ((n = epoll_wait(fd, ev, EVENTS_MAX, 0)) > 0) {
		endpoint_peek_hello(e);
		if (e->in_flight) {
			observers_peek(e);
			coap_io_do_epoll(e->ctx, ev, (size_t)n);
		} else {
			turn_burst(e, ev, n);
			if (e->burst < BURST_MAX)
				e->burst *= 2;
		}
		if (!mono_before(mono_now(), end))
			return;
	}
	e->burst = e->burst > 1 ? e->burst / 2 : 1;
}

static void on_sweep(void *ctx)
{
	struct coap_endpoint *e = ctx;
	struct mono now = mono_now();
	coap_tick_t ticks;

	/* A time that passes while libcoap sets its timer leaves it unset; here it is set again. */
	coap_ticks(&ticks);
	(void)coap_io_prepare_epoll(e->ctx, ticks);
	assemblies_expire(e, now);
	observers_sweep(e, now);
	endpoint_sweep_probes(e, now);
	loop_timer_set(e->sweep, SWEEP_MS);
}

/* Sessions to be forgotten are disconnected here, never below a handler: libcoap goes on using a DTLS session after
 * its request was handled. */
static void on_close(void *ctx)
{
	struct coap_endpoint *e = ctx;
	struct peer *p, *next;

	DL_FOREACH_SAFE(e->peers, p, next) {
		if (!p->closed)
			continue;
		peer_end(p);
		coap_session_disconnected(p->session, COAP_NACK_TLS_FAILED);
	}
}

void coap_endpoint_forget(struct coap_endpoint *e, const char *identity)
{
	struct peer *p;

	DL_FOREACH(e->peers, p) {
		if (!p->p.secure || strcmp(p->p.identity, identity) != 0)
			continue;
		p->closed = true;
		loop_timer_set(e->close, 0);
	}
}

/* ---- set-up ---- */

/* libcoap binds with SO_REUSEADDR, which on UDP lets two servers share a port without a word; so try first. */
static int check_free(const coap_address_t *a)
{
	_cleanup_close_ int fd = socket(a->addr.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int off = 0;

	if (fd < 0)
		return -errno;
	if (a->addr.sa.sa_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)); /* as libcoap does */
	return bind(fd, &a->addr.sa, a->size) < 0 ? -errno : 0;
}

static int find_socket(struct coap_endpoint *e, struct listener *l)
{
	int known[ENDPOINT_LISTEN_MAX];
	socklen_t n = sizeof(l->addr.addr);
	int bytes = (int)e->c.receive_buffer_bytes, none = 0;
	char text[COAP_ADDR_TEXT_BYTES];

	for (size_t i = 0; i < e->n_listener; i++)
		known[i] = e->listener[i].fd;
	l->fd = coap_lib_find_socket(e->ctx, NULL, -1, known, e->n_listener);
	if (l->fd < 0)
		return l->fd;
	if (getsockname(l->fd, &l->addr.addr.sa, &n) < 0)
		return -errno;
	l->addr.size = n;
	/* By default a socket on any address hears every group that any program of this machine has joined. */
	(void)setsockopt(l->fd, IPPROTO_IP, IP_MULTICAST_ALL, &none, sizeof(none)); /* on_request() looks again */
	(void)setsockopt(l->fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, &none, sizeof(none));
	/* Past net.core.rmem_max only with CAP_NET_ADMIN; less than asked for is no error. */
	if (setsockopt(l->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		(void)setsockopt(l->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	coap_lib_address_text(&l->addr.addr.sa, text);
	(void)snprintf(l->text, sizeof(l->text), "%s%s", l->secure ? "coaps://" : "coap://", text);
	return 0;
}

static int listen_on(struct coap_endpoint *e, const char *text)
{
	struct listener *l = &e->listener[e->n_listener];
	coap_endpoint_t *ep;
	struct coap_uri u;
	int r = coap_uri_parse(span_str(text), &u);

	if (r < 0)
		return r;
	if (e->n_listener == ENDPOINT_LISTEN_MAX)
		return -E2BIG;
	l->secure = u.secure;
	r = coap_lib_resolve(&u, false, &l->addr);
	if (r < 0)
		return r;
	r = check_free(&l->addr);
	if (r < 0)
		return r;
	ep = coap_new_endpoint(e->ctx, &l->addr, u.secure ? COAP_PROTO_DTLS : COAP_PROTO_UDP);
	if (!ep)
		return -EADDRNOTAVAIL;
	coap_endpoint_set_default_mtu(ep, u.secure ? ENDPOINT_SMALL_MTU : UDP_MTU);
	r = find_socket(e, l);
	if (r < 0)
		return r;
	e->n_listener++;
	return 0;
}

static int listen_all(struct coap_endpoint *e)
{
	bool ready = false;

	for (size_t i = 0; i < e->c.n_listen; i++) {
		int r = 0;

		if (!ready && strncmp(e->c.listen[i], "coaps:", 6) == 0) {
			r = endpoint_dtls_setup(e);
			ready = true;
		}
		if (r == 0)
			r = listen_on(e, e->c.listen[i]);
		if (r < 0) {
			log_event(EV_CONFIG_BAD, LOG_ERR, "coap: cannot listen on %s: %s", e->c.listen[i], strerror(-r));
			return r;
		}
	}
	return 0;
}

static void all_methods(coap_resource_t *r)
{
	for (int m = COAP_M_GET; m <= COAP_M_IPATCH; m++)
		coap_register_request_handler(r, (coap_request_t)m, on_request);
}

static void add_resources(struct coap_endpoint *e)
{
	coap_resource_t *r = coap_resource_unknown_init(on_request);
	/* An empty name is "any host is this one": proxy requests come in like all others, instead of by libcoap's own
	 * proxy path with its early ACK and reused message id (T2, T12, T13). */
	const char *any[] = { "" };

	all_methods(r);
	coap_add_resource(e->ctx, r);
	e->proxy = coap_resource_proxy_uri_init(on_request, 1, any);
	coap_add_resource(e->ctx, e->proxy);
}

static unsigned or_default(unsigned v, unsigned fallback)
{
	return v ? v : fallback;
}

static void set_defaults(struct coap_endpoint_config *c)
{
	c->max_sessions = or_default(c->max_sessions, MAX_SESSIONS);
	c->session_timeout_s = or_default(c->session_timeout_s, SESSION_TIMEOUT_S);
	c->max_handshakes = or_default(c->max_handshakes, MAX_HANDSHAKES);
	c->max_observers = or_default(c->max_observers, MAX_OBSERVERS);
	c->receive_buffer_bytes = or_default(c->receive_buffer_bytes, RECEIVE_BUFFER_BYTES);
	c->block1_total_bytes = c->block1_total_bytes ? c->block1_total_bytes : BLOCK1_TOTAL_BYTES;
	c->block1_peer_bytes = c->block1_peer_bytes ? c->block1_peer_bytes : BLOCK1_PEER_BYTES;
}

static int open_context(struct coap_endpoint *e)
{
	e->ctx = coap_new_context(NULL);
	if (!e->ctx)
		return -ENOMEM;
	coap_set_app_data(e->ctx, e);
	coap_context_set_block_mode(e->ctx, 0); /* RFC 7959 is ours (T1, T2, T4) */
	coap_context_set_max_idle_sessions(e->ctx, e->c.max_sessions);
	coap_context_set_session_timeout(e->ctx, e->c.session_timeout_s);
	coap_context_set_max_handshake_sessions(e->ctx, e->c.max_handshakes);
	coap_register_event_handler(e->ctx, on_event);
	coap_register_nack_handler(e->ctx, on_nack);
	coap_register_response_handler(e->ctx, on_response);
	add_resources(e);
	return listen_all(e);
}

struct coap_endpoint *coap_endpoint_new(struct loop *l, const struct coap_endpoint_config *c, int *ret_error)
{
	struct coap_endpoint *e = NEW(struct coap_endpoint);
	const struct coap_route core = {
		.path = ".well-known/core", .methods = 1u << COAP_M_GET, .fn = endpoint_core_handler, .ctx = e,
	};
	int r;

	coap_lib_start();
	e->loop = l;
	e->c = *c;
	set_defaults(&e->c);
	e->burst = 1;
	e->tokens = random_u64();
	e->dedup = coap_dedup_new(ENDPOINT_DEDUP_ENTRIES_MAX, ENDPOINT_DEDUP_BYTES_MAX);
	e->snapshots = coap_snapshots_new(ENDPOINT_SNAPSHOTS_MAX, ENDPOINT_SNAPSHOT_BYTES_MAX);
	random_bytes(e->echo_key, sizeof(e->echo_key));
	e->notify = loop_timer_new(l, observers_notify, e);
	e->sweep = loop_timer_new(l, on_sweep, e);
	e->close = loop_timer_new(l, on_close, e);
	r = open_context(e);
	if (r < 0) {
		if (ret_error)
			*ret_error = r;
		return coap_endpoint_free(e);
	}
	e->io = loop_io_new(l, coap_context_get_coap_fd(e->ctx), LOOP_READ, on_readable, e);
	loop_timer_set(e->sweep, SWEEP_MS);
	(void)coap_endpoint_add(e, &core); /* the first: cannot exist */
	return e;
}

struct coap_endpoint *coap_endpoint_free(struct coap_endpoint *e)
{
	if (!e)
		return NULL;
	e->closing = true;
	e->io = loop_io_free(e->io);
	e->notify = loop_timer_free(e->notify);
	e->sweep = loop_timer_free(e->sweep);
	e->close = loop_timer_free(e->close);
	deferred_orphan(e);
	if (e->ctx) {
		coap_register_event_handler(e->ctx, NULL);
		coap_register_nack_handler(e->ctx, NULL);
		coap_register_response_handler(e->ctx, NULL);
	}
	while (e->peers)
		peer_drop(e->peers);
	coap_free_context(e->ctx);
	endpoint_dtls_done(e);
	changes_clear(e);
	for (size_t i = 0; i < e->n_route; i++) {
		free(e->route[i]->path);
		free(e->route[i]->attributes);
		free(e->route[i]);
	}
	coap_dedup_free(e->dedup);
	coap_snapshots_free(e->snapshots);
	mem_wipe(e, sizeof(*e));
	free(e);
	return NULL;
}

static int split_path(struct route *r)
{
	struct span rest = span_str(r->path);

	while (rest.n > 0) {
		const uint8_t *end = memchr(rest.p, '/', rest.n);
		struct span part = end ? SPAN(rest.p, (size_t)(end - rest.p)) : rest;

		if (r->n_segment == COAP_PATH_MAX)
			return -EINVAL;
		r->segment[r->n_segment++] = part;
		rest = span_sub(rest, part.n + 1, rest.n);
	}
	return 0;
}

int coap_endpoint_add(struct coap_endpoint *e, const struct coap_route *route)
{
	struct route *r;

	for (size_t i = 0; i < e->n_route; i++) {
		if (strcmp(e->route[i]->path, route->path) == 0 && e->route[i]->r.is_prefix == route->is_prefix)
			return -EEXIST;
	}
	if (e->n_route == sizeof(e->route) / sizeof(*e->route))
		return -ENOSPC;
	r = NEW(struct route);
	r->r = *route;
	r->path = mem_strdup(route->path);
	r->attributes = mem_strdup(route->attributes);
	if (r->attributes && route->observable && strcmp(r->attributes, "obs") != 0 && !strstr(r->attributes, ";obs")) {
		char *with = mem_printf("%s%sobs", r->attributes, r->attributes[0] ? ";" : "");

		free(r->attributes);
		r->attributes = with;
	}
	r->r.path = r->path;
	r->r.attributes = r->attributes;
	if (split_path(r) < 0) {
		free(r->path);
		free(r->attributes);
		free(r);
		return -EINVAL;
	}
	/* libcoap answers unknown method codes 4.05 only on a path it knows (PX-33). */
	if (!route->is_prefix) {
		coap_resource_t *res = coap_resource_init(coap_make_str_const(r->path), 0);

		all_methods(res);
		coap_add_resource(e->ctx, res);
	}
	e->route[e->n_route++] = r;
	return 0;
}

void coap_endpoint_set_proxy(struct coap_endpoint *e, coap_handler_fn *fn, void *ctx)
{
	e->proxy_fn = fn;
	e->proxy_ctx = ctx;
}

void coap_endpoint_set_heard(struct coap_endpoint *e, void (*fn)(void *ctx, const struct coap_peer *peer), void *ctx)
{
	e->heard_fn = fn;
	e->heard_ctx = ctx;
}

void coap_endpoint_set_silent(struct coap_endpoint *e, void (*fn)(void *ctx, const struct coap_peer *peer), void *ctx)
{
	e->silent_fn = fn;
	e->silent_ctx = ctx;
}

void coap_endpoint_set_blocks(struct coap_endpoint *e, coap_endpoint_blocks_fn *fn, void *ctx)
{
	e->blocks_fn = fn;
	e->blocks_ctx = ctx;
}

uint8_t exchange_szx_max(const struct exchange *x)
{
	const struct coap_endpoint *e = x->e;
	size_t bytes = e->blocks_fn && x->peer ? e->blocks_fn(e->blocks_ctx, &x->peer->p) : 0;

	return bytes ? coap_block_szx_for(bytes) : COAP_SZX_MAX;
}

/* Later blocks stay as they were asked for: the client goes by the size it was answered with, or knows why it does not. */
struct coap_block exchange_first_block(const struct exchange *x)
{
	struct coap_block b = x->has_block2 ? x->block2 : (struct coap_block){ .szx = COAP_SZX_MAX };
	uint8_t most = b.num == 0 ? exchange_szx_max(x) : COAP_SZX_MAX;

	b.szx = b.szx > most ? most : b.szx;
	return b;
}

const char *coap_endpoint_address(struct coap_endpoint *e, size_t i)
{
	return i < e->n_listener ? e->listener[i].text : NULL;
}
