/* Requests of ours over the session that a peer opened: one message, one answer, matched by a token of ours. */
#include <errno.h>
#include <utlist.h>

#include "base/mem.h"
#include "io/coap_endpoint_priv.h"

enum { CALL_TOKEN_BYTES = 8, CALL_MS_DEFAULT = 93 * 1000 + 30 * 1000 };         /* MAX_TRANSMIT_WAIT, and a separate answer */

struct coap_endpoint_call {
	struct peer *peer;                     /* holds no reference: calls end before it does */
	uint8_t token[CALL_TOKEN_BYTES];
	coap_endpoint_call_fn *fn;
	void *ctx;
	struct loop_timer *timer;
	struct coap_endpoint_call *prev, *next;
};

static void call_free(struct coap_endpoint_call *c)
{
	DL_DELETE(c->peer->calls, c);
	c->peer->e->n_calls--;
	loop_timer_free(c->timer);
	free(c);
}

static void call_end(struct coap_endpoint_call *c, const struct coap_endpoint_result *res)
{
	coap_endpoint_call_fn *fn = c->fn;
	void *ctx = c->ctx;

	call_free(c);
	fn(ctx, res);
}

static void call_fail(struct coap_endpoint_call *c, int error)
{
	call_end(c, &(struct coap_endpoint_result){ .error = error, .content_format = COAP_CF_NONE });
}

static void on_timer(void *ctx)
{
	call_fail(ctx, -ETIMEDOUT);
}

static struct coap_endpoint_call *call_find(struct peer *p, coap_bin_const_t token)
{
	struct coap_endpoint_call *c;

	DL_FOREACH(p->calls, c) {
		if (token.length == CALL_TOKEN_BYTES && memcmp(token.s, c->token, CALL_TOKEN_BYTES) == 0)
			return c;
	}
	return NULL;
}

bool calls_on_response(struct peer *p, const coap_pdu_t *pdu)
{
	struct coap_endpoint_call *c = call_find(p, coap_pdu_get_token(pdu));
	struct coap_endpoint_result res = { .code = (uint8_t)coap_pdu_get_code(pdu), .content_format = COAP_CF_NONE };
	coap_opt_iterator_t it;
	const uint8_t *data = NULL;
	const coap_opt_t *opt;
	size_t n = 0;

	if (!c)
		return false;
	opt = coap_check_option(pdu, COAP_OPTION_CONTENT_FORMAT, &it);
	if (opt)
		res.content_format = (int)coap_lib_uint(opt);
	if (coap_get_data(pdu, &n, &data))
		res.body = SPAN(data, n);
	call_end(c, &res);
	return true;
}

void calls_on_nack(struct peer *p, const coap_pdu_t *sent, coap_nack_reason_t reason)
{
	struct coap_endpoint_call *c = call_find(p, coap_pdu_get_token(sent));

	if (c)
		call_fail(c, reason == COAP_NACK_RST ? -ECONNRESET : reason == COAP_NACK_TOO_MANY_RETRIES ? -ETIMEDOUT : -ENOTCONN);
}

void calls_drop_peer(struct peer *p)
{
	p->no_calls = true; /* a callback may try again at once */
	while (p->calls)
		call_fail(p->calls, p->e->closing ? -ECANCELED : -ENOTCONN);
	p->no_calls = false;
}

static bool write_request(coap_pdu_t *pdu, const struct coap_endpoint_call *c, const struct coap_endpoint_request *q)
{
	if (!coap_add_token(pdu, sizeof(c->token), c->token) || !coap_lib_add_path(pdu, q->path))
		return false;
	if (q->content_format >= 0 && q->body.n && !coap_lib_add_uint(pdu, COAP_OPTION_CONTENT_FORMAT, (uint64_t)q->content_format))
		return false;
	for (size_t i = 0; q->query && q->query[i]; i++) {
		if (!coap_lib_add_bytes(pdu, COAP_OPTION_URI_QUERY, span_str(q->query[i])))
			return false;
	}
	return (q->accept < 0 || coap_lib_add_uint(pdu, COAP_OPTION_ACCEPT, (uint64_t)q->accept)) &&
	       (q->body.n == 0 || coap_add_data(pdu, q->body.n, q->body.p));
}

static int send_request(const struct coap_endpoint_call *c, const struct coap_endpoint_request *q)
{
	coap_session_t *s = c->peer->session;
	coap_pdu_t *pdu = coap_pdu_init(q->is_non ? COAP_MESSAGE_NON : COAP_MESSAGE_CON, (coap_pdu_code_t)q->method,
					coap_new_message_id(s), coap_session_max_pdu_size(s));

	if (!pdu)
		return -ENOMEM;
	if (!write_request(pdu, c, q)) {
		coap_delete_pdu(pdu);
		return -EMSGSIZE;
	}
	return coap_send(s, pdu) == COAP_INVALID_MID ? -ENOTCONN : 0;
}

int coap_endpoint_call(struct coap_endpoint *e, uint64_t session, const struct coap_endpoint_request *q, coap_endpoint_call_fn *fn,
		       void *ctx, struct coap_endpoint_call **ret)
{
	struct coap_endpoint_call *c;
	struct peer *p;
	int r;

	if (!q->path || q->method < COAP_M_GET || q->method > COAP_M_IPATCH)
		return -EINVAL;
	if (q->body.n > COAP_ENDPOINT_CALL_BYTES_MAX)
		return -EMSGSIZE;
	HASH_FIND(hh, e->by_session, &session, sizeof(session), p);
	if (!p || p->closed || p->no_calls || e->closing)
		return -ENOTCONN;
	if (e->n_calls >= COAP_ENDPOINT_CALLS_MAX)
		return -ENOSPC;
	c = NEW(struct coap_endpoint_call);
	c->fn = fn;
	c->ctx = ctx;
	c->peer = p;
	c->timer = loop_timer_new(e->loop, on_timer, c);
	e->tokens++;
	memcpy(c->token, &e->tokens, sizeof(c->token));
	r = send_request(c, q); /* not in the list yet: a nack from inside finds nobody */
	DL_APPEND(p->calls, c);
	e->n_calls++;
	if (r < 0) {
		call_free(c);
		return r;
	}
	loop_timer_set(c->timer, q->timeout_ms ? q->timeout_ms : CALL_MS_DEFAULT);
	if (ret)
		*ret = c;
	return 0;
}

void coap_endpoint_call_cancel(struct coap_endpoint_call *c)
{
	if (c)
		call_free(c);
}
