/* One request of a client and all the exchanges it takes: Block1 up, Block2 down, an Echo repeated once, an
 * observation kept alive. Each exchange has a fresh token (RFC 9175 section 4); a registration keeps its own. */
#include <errno.h>
#include <stdio.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/random.h"
#include "io/coap_client_priv.h"

enum { OPTION_ECHO = 252, OPTION_REQUEST_TAG = 292 };
enum { OBSERVE_REGISTER = 0, OBSERVE_CANCEL = 1 };

static void fresh_token(struct coap_call *c, uint8_t ret[static CLIENT_TOKEN_BYTES])
{
	uint64_t v = (uint64_t)c->s->c->token_salt << 32 | (uint32_t)++c->s->c->tokens;

	for (size_t i = 0; i < CLIENT_TOKEN_BYTES; i++)
		ret[i] = (uint8_t)(v >> 8 * (CLIENT_TOKEN_BYTES - 1 - i));
}

/* ---- building a request ---- */

static bool add_query(coap_pdu_t *pdu, const struct coap_call *c)
{
	const char *at = buf_str(&c->query);

	for (size_t i = 0; i < c->n_query; i++, at += strlen(at) + 1) {
		if (!coap_lib_add_bytes(pdu, COAP_OPTION_URI_QUERY, span_str(at)))
			return false;
	}
	return true;
}

static bool add_block(coap_pdu_t *pdu, coap_option_num_t number, const struct coap_block *b)
{
	uint8_t v[COAP_BLOCK_OPTION_BYTES];

	return coap_lib_add_bytes(pdu, number, SPAN(v, coap_block_encode(b, v)));
}

/* Block2 is sent to ask for a later block, or for a size below the largest. */
static bool add_block2(coap_pdu_t *pdu, const struct coap_call *c)
{
	struct coap_block b;

	if (c->uploading || (c->fetch.next == 0 && c->q.szx == COAP_SZX_MAX))
		return true;
	return coap_block_at(c->fetch.next, c->fetch.szx, &b) == 0 && add_block(pdu, COAP_OPTION_BLOCK2, &b);
}

static bool has_body(const struct coap_call *c)
{
	return c->body.n > 0 && !c->downloading;
}

static bool in_blocks(const struct coap_call *c)
{
	return has_body(c) && c->body.n > coap_block_bytes(c->szx1);
}

static bool add_block1(coap_pdu_t *pdu, const struct coap_call *c)
{
	struct coap_block b;

	if (!in_blocks(c))
		return true;
	if (coap_block_at(c->sent, c->szx1, &b) < 0)
		return false;
	b.more = c->sent + c->last < c->body.n;
	return add_block(pdu, COAP_OPTION_BLOCK1, &b);
}

static bool add_observe(coap_pdu_t *pdu, const struct coap_call *c)
{
	if (!c->q.observe || c->downloading)
		return true;
	return coap_lib_add_uint(pdu, COAP_OPTION_OBSERVE, OBSERVE_REGISTER);
}

static const struct coap_etag *etag_to_send(const struct coap_call *c)
{
	return c->register_again && c->seen.n ? &c->seen : &c->q.etag;
}

static bool add_options(coap_pdu_t *pdu, const struct coap_call *c)
{
	const struct coap_call_request *q = &c->q;
	const struct coap_etag *etag = etag_to_send(c);

	return (etag->n == 0 || c->downloading || coap_lib_add_bytes(pdu, COAP_OPTION_ETAG, SPAN(etag->b, etag->n))) &&
	       add_observe(pdu, c) &&
	       (!q->path || coap_lib_add_path(pdu, q->path)) &&
	       (q->content_format < 0 || !has_body(c) ||
		coap_lib_add_uint(pdu, COAP_OPTION_CONTENT_FORMAT, (uint64_t)q->content_format)) &&
	       add_query(pdu, c) &&
	       (q->accept < 0 || coap_lib_add_uint(pdu, COAP_OPTION_ACCEPT, (uint64_t)q->accept)) &&
	       add_block2(pdu, c) && add_block1(pdu, c) &&
	       (!q->proxy_uri || coap_lib_add_bytes(pdu, COAP_OPTION_PROXY_URI, span_str(q->proxy_uri))) &&
	       (!in_blocks(c) || c->sent > 0 || coap_lib_add_uint(pdu, COAP_OPTION_SIZE1, c->body.n)) &&
	       (c->n_echo == 0 || coap_lib_add_bytes(pdu, OPTION_ECHO, SPAN(c->echo, c->n_echo))) &&
	       (!in_blocks(c) || coap_lib_add_bytes(pdu, OPTION_REQUEST_TAG, SPAN(c->request_tag, sizeof(c->request_tag))));
}

static int64_t wait_ms(const struct coap_session *s)
{
	return (int64_t)s->ack_ms * 3 / 2 * ((1 << (s->max_retransmit + 1)) - 1) + CLIENT_SEPARATE_MS;
}

/* Sends what the call's state asks for. */
static int send_next(struct coap_call *c)
{
	coap_session_t *s = c->s->s;
	coap_pdu_t *pdu = coap_pdu_init(c->q.is_non ? COAP_MESSAGE_NON : COAP_MESSAGE_CON, (coap_pdu_code_t)c->q.method,
					coap_new_message_id(s), coap_session_max_pdu_size(s));
	struct span part = SPAN_NONE;

	if (!pdu)
		return -ENOMEM;
	if (c->q.observe && !c->downloading)
		memcpy(c->token, c->observe_token, sizeof(c->token));
	else
		fresh_token(c, c->token);
	if (has_body(c)) {
		part = span_sub(buf_span(&c->body), (size_t)c->sent, coap_block_bytes(c->szx1));
		c->last = part.n;
	}
	if (!coap_add_token(pdu, sizeof(c->token), c->token) || !add_options(pdu, c) ||
	    (part.n > 0 && !coap_add_data(pdu, part.n, part.p))) {
		coap_delete_pdu(pdu);
		return -EMSGSIZE;
	}
	if (coap_send(s, pdu) == COAP_INVALID_MID)
		return -EIO;
	loop_timer_set(c->timer, wait_ms(c->s));
	return 0;
}

/* ---- the end of a call ---- */

static void call_free(struct coap_call *c)
{
	loop_timer_free(c->timer);
	free(c->path);
	free(c->proxy_uri);
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
	struct coap_call_result res = { .error = error, .content_format = COAP_CF_NONE, .max_age_s = -1 };

	c->observing = false;
	deliver(c, &res);
}

static void send_or_fail(struct coap_call *c)
{
	int r = send_next(c);

	if (r < 0)
		fail(c, r);
}

/* The observation lives: wait for the next notification, or ask again when Max-Age has passed in silence (OB-11). */
static void wait_for_news(struct coap_call *c, int64_t max_age_s)
{
	int64_t ms = (max_age_s < 0 ? 60 : max_age_s) * 1000 + CLIENT_REGISTER_SLACK_MS + (int64_t)random_below(CLIENT_REGISTER_SLACK_MS);

	c->downloading = c->register_again = false;
	coap_fetch_init(&c->fetch, 0, c->q.szx);
	loop_timer_set(c->timer, ms);
}

static void succeed(struct coap_call *c, struct span body)
{
	const struct response *h = &c->head;
	struct coap_call_result res = {
		.code = h->code, .content_format = h->content_format, .max_age_s = h->max_age_s, .etag = h->etag,
		.location = h->location[0] ? h->location : NULL, .body = body, .is_notification = c->observing,
	};
	bool unchanged = c->register_again && h->code == COAP_203_VALID;

	if (c->observing)
		wait_for_news(c, h->max_age_s);
	if (c->observing && unchanged)
		return;
	c->seen = h->etag;
	deliver(c, &res);
}

static void on_timer(void *ctx)
{
	struct coap_call *c = ctx;

	if (!c->observing || c->downloading || c->register_again) {
		fail(c, -ETIMEDOUT);
		return;
	}
	c->register_again = true;
	send_or_fail(c);
}

/* ---- reading a response ---- */

static void add_location(struct response *r, char sep, struct span part)
{
	size_t n = strlen(r->location);

	if (n + part.n + 2 > sizeof(r->location))
		return;
	r->location[n] = sep;
	if (part.n)
		memcpy(r->location + n + 1, part.p, part.n);
	r->location[n + 1 + part.n] = '\0';
}

static void take_option(struct response *r, unsigned number, const coap_opt_t *opt)
{
	struct span v = coap_lib_option(opt);

	switch (number) {
	case COAP_OPTION_ETAG:
		r->etag.n = (uint8_t)(v.n <= COAP_ETAG_BYTES_MAX ? v.n : 0);
		memcpy(r->etag.b, v.p, r->etag.n);
		break;
	case COAP_OPTION_OBSERVE:
		r->has_observe = true;
		r->observe = (uint32_t)coap_lib_uint(opt) & 0xffffff;
		break;
	case COAP_OPTION_LOCATION_PATH:
		add_location(r, '/', v);
		break;
	case COAP_OPTION_LOCATION_QUERY:
		add_location(r, strchr(r->location, '?') ? '&' : '?', v);
		break;
	case COAP_OPTION_CONTENT_FORMAT:
		r->content_format = (int)coap_lib_uint(opt);
		break;
	case COAP_OPTION_MAXAGE:
		r->max_age_s = (int64_t)coap_lib_uint(opt);
		break;
	case COAP_OPTION_BLOCK1:
		r->has_block1 = true;
		r->bad |= coap_block_decode(v, &r->block1) < 0;
		break;
	case COAP_OPTION_BLOCK2:
		r->has_block2 = true;
		r->bad |= coap_block_decode(v, &r->block2) < 0;
		break;
	case COAP_OPTION_SIZE2:
		r->size2 = coap_lib_uint(opt);
		break;
	case OPTION_ECHO:
		r->echo = v;
		break;
	default:
		break;
	}
}

static void parse(struct response *r, const coap_pdu_t *pdu)
{
	const uint8_t *data = NULL;
	coap_opt_iterator_t it;
	coap_opt_t *opt;
	size_t n = 0;

	*r = (struct response){ .code = (uint8_t)coap_pdu_get_code(pdu), .content_format = COAP_CF_NONE, .max_age_s = -1 };
	coap_option_iterator_init(pdu, &it, COAP_OPT_ALL);
	while ((opt = coap_option_next(&it)))
		take_option(r, it.number, opt);
	if (coap_get_data(pdu, &n, &data))
		r->payload = SPAN(data, n);
}

/* ---- steps ---- */

static bool repeat_with_echo(struct coap_call *c, const struct response *r)
{
	if (r->code != COAP_401_UNAUTHORIZED || r->echo.n == 0 || r->echo.n > sizeof(c->echo) || c->echoed)
		return false;
	memcpy(c->echo, r->echo.p, r->echo.n);
	c->n_echo = r->echo.n;
	c->echoed = true;
	send_or_fail(c);
	return true;
}

static void upload_anew(struct coap_call *c, uint8_t szx)
{
	c->restarts++;
	c->sent = 0;
	c->szx1 = szx;
	random_bytes(c->request_tag, sizeof(c->request_tag));
	send_or_fail(c);
}

/* True when the upload goes on (or has failed); false when r answers the whole request. */
static bool upload_step(struct coap_call *c, const struct response *r)
{
	if (r->code == COAP_231_CONTINUE) {
		c->sent += c->last;
		if (!r->has_block1 || c->sent >= c->body.n) {
			fail(c, -EPROTO);
			return true;
		}
		if (r->block1.szx < c->szx1)
			c->szx1 = r->block1.szx;
		send_or_fail(c);
		return true;
	}
	if (r->code == COAP_413_TOO_LARGE && c->sent == 0 && r->has_block1 && r->block1.szx < c->szx1) {
		upload_anew(c, r->block1.szx);
		return true;
	}
	if (r->code == COAP_408_INCOMPLETE && c->restarts < CLIENT_RESTARTS_MAX) {
		upload_anew(c, c->szx1);
		return true;
	}
	c->uploading = false;
	return false;
}

static void download_anew(struct coap_call *c)
{
	if (c->q.block || c->q.method != COAP_M_GET || ++c->restarts > CLIENT_RESTARTS_MAX) {
		fail(c, -ESTALE);
		return;
	}
	buf_clear(&c->got);
	coap_fetch_init(&c->fetch, 0, c->q.szx);
	c->downloading = true;
	send_or_fail(c);
}

/* 0, or what block() said, or -EMSGSIZE. */
static int store(struct coap_call *c, uint64_t off, struct span data)
{
	if (c->q.block)
		return c->q.block(c->ctx, off, data, c->fetch.total, &c->fetch.etag);
	buf_add(&c->got, data);
	return buf_ok(&c->got) ? 0 : -EMSGSIZE;
}

static void download_step(struct coap_call *c, const struct response *r)
{
	uint64_t off = c->fetch.next;
	enum coap_fetch_step step;
	int e;

	if (!c->fetch.started)
		c->head = *r;
	step = coap_fetch_add(&c->fetch, r->has_block2 ? &r->block2 : NULL, &r->etag, r->size2, r->payload);
	if (step == COAP_FETCH_CHANGED) {
		download_anew(c);
		return;
	}
	if (step == COAP_FETCH_BAD) {
		fail(c, -EPROTO);
		return;
	}
	c->in_fn = true; /* block() may cancel the call */
	e = store(c, off, r->payload);
	c->in_fn = false;
	if (c->dead) {
		call_release(c);
	} else if (e < 0) {
		fail(c, e);
	} else if (step == COAP_FETCH_WHOLE) {
		succeed(c, buf_span(&c->got));
	} else {
		c->downloading = true;
		send_or_fail(c);
	}
}

/* Newer than what was seen, by the rule of RFC 7641 3.4. */
static bool is_newer(const struct coap_call *c, uint32_t v, struct mono now)
{
	return (c->seq < v && v - c->seq < 1u << 23) || (c->seq > v && c->seq - v > 1u << 23) ||
	       mono_diff_ms(now, c->seq_at) > 128 * 1000;
}

/* False: an old notification, to be ignored. Starts a new body when it is a new one. */
static bool note_observation(struct coap_call *c, const struct response *r)
{
	struct mono now = mono_now();

	if (!r->has_observe) {
		c->observing = false;
		return true;
	}
	if (c->observing && !is_newer(c, r->observe, now))
		return false;
	c->observing = true;
	c->seq = r->observe;
	c->seq_at = now;
	c->downloading = false;
	c->restarts = 0;
	buf_clear(&c->got);
	coap_fetch_init(&c->fetch, 0, c->q.szx);
	return true;
}

static void step(struct coap_call *c, const struct response *r, bool is_observe)
{
	if (repeat_with_echo(c, r))
		return;
	if (c->uploading && upload_step(c, r))
		return;
	if (is_observe && !note_observation(c, r))
		return;
	if (r->bad) {
		fail(c, -EPROTO);
	} else if (r->code >> 5 == 2 && (r->has_block2 || r->payload.n > 0)) {
		download_step(c, r);
	} else if (c->downloading && r->code >> 5 != 2 && c->q.block == NULL && c->q.method == COAP_M_GET &&
		   c->restarts < CLIENT_RESTARTS_MAX && r->code == COAP_400_BAD_REQUEST) {
		download_anew(c); /* past the end: the body became shorter */
	} else {
		c->head = *r;
		if (r->code >= COAP_400_BAD_REQUEST)
			c->observing = false;
		succeed(c, r->payload);
	}
}

bool call_on_response(struct coap_session *s, const coap_pdu_t *pdu)
{
	coap_bin_const_t token = coap_pdu_get_token(pdu);
	struct coap_call *c;
	struct response r;

	if (token.length != CLIENT_TOKEN_BYTES)
		return false;
	DL_FOREACH(s->calls, c) {
		bool is_observe = c->q.observe && memcmp(token.s, c->observe_token, CLIENT_TOKEN_BYTES) == 0;

		if (!is_observe && memcmp(token.s, c->token, CLIENT_TOKEN_BYTES) != 0)
			continue;
		parse(&r, pdu);
		step(c, &r, is_observe);
		return true;
	}
	return false;
}

void call_on_nack(struct coap_session *s, const coap_pdu_t *sent, coap_nack_reason_t reason)
{
	coap_bin_const_t token = coap_pdu_get_token(sent);
	struct coap_call *c, *next;
	int error = reason == COAP_NACK_RST ? -ECONNRESET : reason == COAP_NACK_TLS_FAILED ? -ECONNREFUSED :
		    reason == COAP_NACK_NOT_DELIVERABLE ? -EHOSTUNREACH : -ETIMEDOUT;

	if (reason == COAP_NACK_ICMP_ISSUE) /* libcoap goes on trying: a server that restarts is found again */
		return;
	DL_FOREACH_SAFE(s->calls, c, next) {
		if (token.length == CLIENT_TOKEN_BYTES && memcmp(token.s, c->token, CLIENT_TOKEN_BYTES) == 0) {
			fail(c, error);
			return;
		}
	}
}

void calls_end(struct coap_session *s, int error)
{
	struct coap_call *c;

	while ((c = s->calls)) {
		if (!c->in_fn) {
			fail(c, error);
			continue;
		}
		DL_DELETE(s->calls, c); /* its own fn closes the session: freed when that returns */
		c->dead = true;
		c->s = NULL;
	}
}

/* ---- the interface ---- */

static void copy_request(struct coap_call *c, const struct coap_call_request *q)
{
	c->q = *q;
	c->q.path = c->path = mem_strdup(q->path);
	c->q.proxy_uri = c->proxy_uri = mem_strdup(q->proxy_uri);
	for (size_t i = 0; q->query && q->query[i]; i++) {
		buf_add(&c->query, SPAN(q->query[i], strlen(q->query[i]) + 1));
		c->n_query++;
	}
	c->q.query = NULL;
	buf_add(&c->body, q->body);
	c->q.body = SPAN_NONE;
	c->q.szx = q->szx > COAP_SZX_MAX ? COAP_SZX_MAX : q->szx;
	c->got.max = q->body_max ? q->body_max : COAP_BODY_BYTES_MAX;
}

int coap_call(struct coap_session *s, const struct coap_call_request *q, coap_call_fn *fn, void *ctx, struct coap_call **ret)
{
	struct coap_call *c;
	int r;

	if ((!q->path && !q->proxy_uri) || q->method < COAP_M_GET || q->method > COAP_M_IPATCH ||
	    (q->is_non && q->body.n > COAP_BLOCK_BYTES_MAX) || (q->observe && q->from > 0))
		return -EINVAL;
	c = NEW(struct coap_call);
	c->s = s;
	c->fn = fn;
	c->ctx = ctx;
	copy_request(c, q);
	coap_fetch_init(&c->fetch, q->from, c->q.szx);
	c->szx1 = c->q.szx;
	c->uploading = in_blocks(c);
	random_bytes(c->request_tag, sizeof(c->request_tag));
	fresh_token(c, c->observe_token);
	c->timer = loop_timer_new(s->c->loop, on_timer, c);
	r = q->from & (coap_block_bytes(c->q.szx) - 1) ? -EINVAL : send_next(c);
	if (r < 0) {
		call_free(c);
		return r;
	}
	DL_APPEND(s->calls, c);
	if (ret)
		*ret = c;
	return 0;
}

/* Tell the server once; if that is lost, its next notification gets RST. */
static void deregister(struct coap_call *c)
{
	coap_session_t *s = c->s->s;
	coap_pdu_t *pdu = coap_pdu_init(COAP_MESSAGE_NON, (coap_pdu_code_t)c->q.method, coap_new_message_id(s),
					coap_session_max_pdu_size(s));

	if (!pdu)
		return;
	if (!coap_add_token(pdu, sizeof(c->observe_token), c->observe_token) ||
	    !coap_lib_add_uint(pdu, COAP_OPTION_OBSERVE, OBSERVE_CANCEL) || (c->q.path && !coap_lib_add_path(pdu, c->q.path)) ||
	    !add_query(pdu, c)) {
		coap_delete_pdu(pdu);
		return;
	}
	(void)coap_send(s, pdu); /* as said above */
}

void coap_call_cancel(struct coap_call *c)
{
	if (!c || c->dead)
		return;
	c->dead = true;
	if (c->observing)
		deregister(c);
	if (!c->in_fn) /* else freed when fn returns */
		call_release(c);
}
