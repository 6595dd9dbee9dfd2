/* Requests that arrive on a client's sessions: a node answers the gateway over the association it opened. Each is kept for a while
 * with its answer, so that a retransmission does not run the handler again. */
#include <errno.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "io/coap_client_priv.h"
#include "io/coap_dedup.h"

enum { SERVE_BODY_BYTES_MAX = 1024, SERVE_ACK_MS = 800 };

enum served_state { SERVED_RUNNING, SERVED_WAITING, SERVED_ANSWERED };

struct coap_served {
	struct coap_session *s;                /* NULL: closed */
	enum served_state state;
	uint16_t mid;
	uint8_t token[COAP_TOKEN_BYTES_MAX];
	size_t n_token;
	bool in_handler;
	bool is_con, acked;                    /* acked: the empty ACK is out, so the answer is a message of its own */
	struct mono at;
	struct loop_timer *ack;
	uint8_t code;
	int content_format;
	int64_t max_age_s;
	struct coap_etag etag;
	struct buf body;
	struct coap_served *prev, *next;
};

static void served_free(struct coap_served *v)
{
	if (v->s) {
		DL_DELETE(v->s->served, v);
		v->s->n_served--;
	}
	loop_timer_free(v->ack);
	buf_done(&v->body);
	free(v);
}

/* ---- messages ---- */

static bool write_answer(coap_pdu_t *pdu, const struct coap_served *v)
{
	coap_pdu_set_code(pdu, (coap_pdu_code_t)v->code);
	return (v->etag.n == 0 || coap_lib_add_bytes(pdu, COAP_OPTION_ETAG, SPAN(v->etag.b, v->etag.n))) &&
	       (v->content_format < 0 || coap_lib_add_uint(pdu, COAP_OPTION_CONTENT_FORMAT, (uint64_t)v->content_format)) &&
	       (v->max_age_s < 0 || coap_lib_add_uint(pdu, COAP_OPTION_MAXAGE, (uint64_t)v->max_age_s)) &&
	       (v->body.n == 0 || coap_add_data(pdu, v->body.n, v->body.p));
}

/* libcoap sends nothing for a response of code 0.00 and type NON. */
static void withhold(coap_pdu_t *response)
{
	coap_pdu_set_type(response, COAP_MESSAGE_NON);
	coap_pdu_set_code(response, COAP_EMPTY_CODE);
}

static void send_empty_ack(const struct coap_served *v)
{
	coap_pdu_t *pdu = coap_pdu_init(COAP_MESSAGE_ACK, COAP_EMPTY_CODE, v->mid, 0);

	if (pdu)
		(void)coap_send(v->s->s, pdu); /* a lost ACK is asked for again */
}

/* A message of our own: piggybacked while the ACK is not out. */
static void send_answer(const struct coap_served *v)
{
	coap_session_t *s = v->s->s;
	bool ack = v->is_con && !v->acked;
	coap_pdu_t *pdu = coap_pdu_init(ack ? COAP_MESSAGE_ACK : v->is_con ? COAP_MESSAGE_CON : COAP_MESSAGE_NON,
					(coap_pdu_code_t)v->code, ack ? v->mid : coap_new_message_id(s), coap_session_max_pdu_size(s));

	if (!pdu)
		return;
	if ((v->n_token && !coap_add_token(pdu, v->n_token, v->token)) || !write_answer(pdu, v)) {
		coap_delete_pdu(pdu);
		return;
	}
	(void)coap_send(s, pdu); /* lost datagrams are the asker's to repeat */
}

/* Into the response that libcoap prepared: an ACK for CON. */
static void fill_answer(const struct coap_served *v, coap_pdu_t *response)
{
	if (!v->is_con)
		coap_pdu_set_mid(response, coap_new_message_id(v->s->s));
	if (!write_answer(response, v))
		coap_pdu_set_code(response, (coap_pdu_code_t)COAP_500_INTERNAL);
}

/* Keeps what res says; res is emptied. */
static void take_response(struct coap_served *v, struct coap_response *res)
{
	if (res->reader.read || res->body.n > SERVE_BODY_BYTES_MAX || !buf_ok(&res->body)) {
		log_line(LOG_WARNING, "coap: an answer over %d bytes cannot be given here", SERVE_BODY_BYTES_MAX);
		(void)coap_error(res, COAP_500_INTERNAL, "answer too large");
	}
	v->state = SERVED_ANSWERED;
	v->code = res->code;
	v->content_format = res->content_format;
	v->max_age_s = res->max_age_s;
	v->etag = res->etag;
	buf_done(&v->body);
	v->body = res->body;
	res->body = (struct buf){ 0 };
	coap_response_done(res);
}

/* ---- requests ---- */

struct asked {
	struct coap_request req;
	bool has_block1, bad;
};

static void take_option(struct asked *a, unsigned number, const coap_opt_t *opt)
{
	struct coap_request *q = &a->req;
	struct span v = coap_lib_option(opt);

	switch (number) {
	case COAP_OPTION_URI_PATH:
		a->bad |= q->n_path == COAP_PATH_MAX;
		if (q->n_path < COAP_PATH_MAX)
			q->path[q->n_path++] = v;
		break;
	case COAP_OPTION_URI_QUERY:
		a->bad |= q->n_query == COAP_QUERY_MAX;
		if (q->n_query < COAP_QUERY_MAX)
			q->query[q->n_query++] = v;
		break;
	case COAP_OPTION_CONTENT_FORMAT:
		q->content_format = (int)coap_lib_uint(opt);
		break;
	case COAP_OPTION_ACCEPT:
		q->accept = (int)coap_lib_uint(opt);
		break;
	case COAP_OPTION_BLOCK1:
		a->has_block1 = true;
		break;
	case COAP_OPTION_PROXY_URI:
	case COAP_OPTION_PROXY_SCHEME:
	case COAP_OPTION_IF_MATCH:
	case COAP_OPTION_IF_NONE_MATCH:
		a->bad = true;
		break;
	default:
		break;
	}
}

static void parse(struct asked *a, const coap_pdu_t *pdu, const coap_session_t *session)
{
	struct coap_request *q = &a->req;
	coap_opt_iterator_t it;
	const uint8_t *data = NULL;
	coap_opt_t *opt;
	size_t n = 0;

	*a = (struct asked){ .req = { .method = (uint8_t)coap_pdu_get_code(pdu), .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE,
				      .observe = -1 } };
	coap_lib_peer(session, &q->peer);
	coap_option_iterator_init(pdu, &it, COAP_OPT_ALL);
	while ((opt = coap_option_next(&it)))
		take_option(a, it.number, opt);
	if (coap_get_data(pdu, &n, &data))
		q->body = SPAN(data, n);
}

static struct coap_served *served_find(struct coap_session *s, const struct coap_served *like)
{
	struct coap_served *v;

	DL_FOREACH(s->served, v) {
		if (v->mid == like->mid && v->n_token == like->n_token && memcmp(v->token, like->token, v->n_token) == 0 &&
		    mono_diff_ms(like->at, v->at) < COAP_EXCHANGE_LIFETIME_MS)
			return v;
	}
	return NULL;
}

static void duplicate(struct coap_served *v, coap_pdu_t *response)
{
	if (v->state == SERVED_ANSWERED && v->is_con) {
		fill_answer(v, response);
		return;
	}
	withhold(response);
	if (v->state != SERVED_WAITING || !v->is_con)
		return;
	if (v->ack)
		loop_timer_set(v->ack, -1);
	v->acked = true;
	send_empty_ack(v);
}

/* Makes room by forgetting the oldest answer; those still awaited stay. */
static struct coap_served *served_new(struct coap_session *s, const struct coap_served *from)
{
	struct coap_served *v, *oldest = NULL;

	DL_FOREACH(s->served, v) {
		if (v->state == SERVED_ANSWERED) {
			oldest = v;
			break;
		}
	}
	if (s->n_served >= COAP_SERVED_MAX) {
		if (!oldest)
			return NULL;
		served_free(oldest);
	}
	v = NEW(struct coap_served);
	*v = *from;
	DL_APPEND(s->served, v);
	s->n_served++;
	return v;
}

static void run(struct coap_session *s, struct coap_served *v, struct asked *a, coap_pdu_t *response)
{
	struct coap_response res;
	int r = COAP_HANDLER_DONE;

	coap_response_init(&res);
	v->in_handler = true;
	if (a->has_block1)
		(void)coap_error(&res, COAP_413_TOO_LARGE, "in one message, please");
	else if (a->bad)
		(void)coap_error(&res, COAP_402_BAD_OPTION, "not understood here");
	else
		r = s->serve_fn(s->serve_ctx, &a->req, &res);
	v->in_handler = false;
	if (v->state == SERVED_RUNNING && r != COAP_HANDLER_DONE) {
		coap_response_done(&res);
		coap_response_init(&res);
		(void)coap_error(&res, COAP_500_INTERNAL, "internal error");
	}
	if (v->state == SERVED_RUNNING && v->s) {
		take_response(v, &res);
		fill_answer(v, response);
		return;
	}
	coap_response_done(&res);
	withhold(response); /* deferred, or answered already from inside, or the session was closed inside */
	if (!v->s && v->state != SERVED_WAITING)
		served_free(v);
}

static void on_request(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *pdu, const coap_string_t *query,
		       coap_pdu_t *response)
{
	struct coap_session *s = coap_session_get_app_data(session);
	coap_bin_const_t token = coap_pdu_get_token(pdu);
	struct coap_served like = { .s = s, .mid = (uint16_t)coap_pdu_get_mid(pdu), .at = mono_now(),
				    .is_con = coap_pdu_get_type(pdu) == COAP_MESSAGE_CON, .content_format = COAP_CF_NONE, .max_age_s = -1 };
	struct coap_served *v;
	struct asked a;

	if (!s || !s->serve_fn) {
		coap_pdu_set_code(response, (coap_pdu_code_t)COAP_404_NOT_FOUND);
		return;
	}
	like.n_token = token.length < sizeof(like.token) ? token.length : sizeof(like.token);
	if (like.n_token)
		memcpy(like.token, token.s, like.n_token);
	v = served_find(s, &like);
	if (v) {
		duplicate(v, response);
		return;
	}
	v = served_new(s, &like);
	if (!v) {
		coap_pdu_set_code(response, (coap_pdu_code_t)COAP_503_UNAVAILABLE);
		return;
	}
	parse(&a, pdu, session);
	run(s, v, &a, response);
}

void serve_setup(coap_context_t *ctx)
{
	coap_resource_t *r = coap_resource_unknown_init(on_request);

	for (int m = COAP_M_GET; m <= COAP_M_IPATCH; m++)
		coap_register_request_handler(r, (coap_request_t)m, on_request);
	coap_add_resource(ctx, r);
}

/* The session closes: what is still awaited is answered to nobody. */
void serve_end(struct coap_session *s)
{
	struct coap_served *v, *next;

	DL_FOREACH_SAFE(s->served, v, next) {
		if (v->state == SERVED_ANSWERED && !v->in_handler) {
			served_free(v);
			continue;
		}
		DL_DELETE(s->served, v);
		v->ack = loop_timer_free(v->ack);
		v->s = NULL;
	}
	s->n_served = 0;
}

/* ---- the interface ---- */

void coap_session_serve(struct coap_session *s, coap_handler_fn *fn, void *ctx)
{
	s->serve_fn = fn;
	s->serve_ctx = ctx;
}

static void on_ack_due(void *ctx)
{
	struct coap_served *v = ctx;

	if (v->acked)
		return;
	v->acked = true;
	send_empty_ack(v);
}

struct coap_served *coap_session_defer(struct coap_session *s, const struct coap_request *req)
{
	struct coap_served *v = s->served ? s->served->prev : NULL; /* the last: the one whose handler runs */

	(void)req; /* says that it is called inside the handler */
	if (!v || v->state != SERVED_RUNNING || !v->in_handler)
		return NULL;
	v->state = SERVED_WAITING;
	if (v->is_con) {
		v->ack = loop_timer_new(s->c->loop, on_ack_due, v);
		loop_timer_set(v->ack, SERVE_ACK_MS);
	}
	return v;
}

void coap_session_respond(struct coap_served *v, struct coap_response *res)
{
	take_response(v, res);
	v->ack = loop_timer_free(v->ack);
	if (v->s)
		send_answer(v);
	else if (!v->in_handler)
		served_free(v);
}
