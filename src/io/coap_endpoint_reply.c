/* From a handler's response to a datagram: Accept, ETag and 2.03, Block2 from a body or a positioned
 * reader, the snapshot of a large body, deduplication, No-Response. */
#include <errno.h>

#include "base/log.h"
#include "base/metric.h"
#include "io/coap_endpoint_priv.h"

enum { OPTION_ECHO = 252 };

void reply_init(struct reply *r, uint8_t code)
{
	*r = (struct reply){
		.code = code, .content_format = COAP_CF_NONE, .max_age_s = -1, .observe = -1, .size1 = -1, .size2 = -1,
	};
}

static bool write_block(coap_pdu_t *pdu, coap_option_num_t number, const struct coap_block *b)
{
	uint8_t v[COAP_BLOCK_OPTION_BYTES];

	return coap_lib_add_bytes(pdu, number, SPAN(v, coap_block_encode(b, v)));
}

static bool write_location(coap_pdu_t *pdu, struct span location)
{
	while (location.n > 0) {
		const uint8_t *end = memchr(location.p, 0, location.n);
		size_t n = end ? (size_t)(end - location.p) : location.n;

		if (!coap_lib_add_bytes(pdu, COAP_OPTION_LOCATION_PATH, SPAN(location.p, n)))
			return false;
		location = span_sub(location, n + 1, location.n);
	}
	return true;
}

/* Options in ascending order, as libcoap adds them fastest. */
bool reply_write(coap_pdu_t *pdu, const struct reply *r)
{
	coap_pdu_set_code(pdu, (coap_pdu_code_t)r->code);
	return (r->etag.n == 0 || coap_lib_add_bytes(pdu, COAP_OPTION_ETAG, SPAN(r->etag.b, r->etag.n))) &&
	       (r->observe < 0 || coap_lib_add_uint(pdu, COAP_OPTION_OBSERVE, (uint64_t)r->observe)) &&
	       write_location(pdu, r->location) &&
	       (r->content_format < 0 || coap_lib_add_uint(pdu, COAP_OPTION_CONTENT_FORMAT, (uint64_t)r->content_format)) &&
	       (r->max_age_s < 0 || coap_lib_add_uint(pdu, COAP_OPTION_MAXAGE, (uint64_t)r->max_age_s)) &&
	       (!r->has_block2 || write_block(pdu, COAP_OPTION_BLOCK2, &r->block2)) &&
	       (!r->has_block1 || write_block(pdu, COAP_OPTION_BLOCK1, &r->block1)) &&
	       (r->size2 < 0 || coap_lib_add_uint(pdu, COAP_OPTION_SIZE2, (uint64_t)r->size2)) &&
	       (r->size1 < 0 || coap_lib_add_uint(pdu, COAP_OPTION_SIZE1, (uint64_t)r->size1)) &&
	       (r->echo.n == 0 || coap_lib_add_bytes(pdu, OPTION_ECHO, r->echo)) &&
	       (r->payload.n == 0 || coap_add_data(pdu, r->payload.n, r->payload.p));
}

/* ---- sending ---- */

/* What is remembered for a retransmission: the struct, then location, echo and payload. */
static void remember(struct exchange *x, const struct reply *r)
{
	struct buf b = { 0 };

	buf_add(&b, SPAN(r, sizeof(*r)));
	buf_add(&b, r->location);
	buf_add(&b, r->echo);
	buf_add(&b, r->payload);
	coap_dedup_answer(x->e->dedup, &x->peer->key, x->mid, x->fingerprint, buf_span(&b));
	buf_done(&b);
}

/* Fill libcoap's response, which is an ACK for CON; NON gets a message id of our own, not the client's. */
static void send_here(struct exchange *x, const struct reply *r)
{
	if (!x->is_con)
		coap_pdu_set_mid(x->response, coap_new_message_id(x->peer->session));
	if (!reply_write(x->response, r))
		coap_pdu_set_code(x->response, (coap_pdu_code_t)COAP_500_INTERNAL);
}

static bool is_unwanted(const struct exchange *x, uint8_t code)
{
	return x->no_response & 1u << ((code >> 5) - 1);
}

/* A message of our own: piggybacked while the ACK is not out, else CON or NON with a new message id. */
static void send_own(struct exchange *x, const struct reply *r)
{
	coap_session_t *s = x->peer->session;
	bool ack = x->is_con && !x->separate;
	coap_pdu_t *pdu;

	if (is_unwanted(x, r->code)) {
		if (ack && (pdu = coap_pdu_init(COAP_MESSAGE_ACK, COAP_EMPTY_CODE, x->mid, 0)))
			(void)coap_send(s, pdu); /* lost datagrams are the client's to repeat */
		return;
	}
	pdu = coap_pdu_init(ack ? COAP_MESSAGE_ACK : x->is_con ? COAP_MESSAGE_CON : COAP_MESSAGE_NON,
			    (coap_pdu_code_t)r->code, ack ? x->mid : coap_new_message_id(s), coap_session_max_pdu_size(s));
	if (!pdu)
		return;
	if ((x->n_token && !coap_add_token(pdu, x->n_token, x->token)) || !reply_write(pdu, r)) {
		coap_delete_pdu(pdu);
		return;
	}
	(void)coap_send(s, pdu); /* as above */
}

/* A response of code 0.00 and type NON is what libcoap drops without a word. */
void exchange_withhold(struct exchange *x)
{
	if (!x->response)
		return;
	coap_pdu_set_type(x->response, COAP_MESSAGE_NON);
	coap_pdu_set_code(x->response, COAP_EMPTY_CODE);
	x->response = NULL;
}

void exchange_send(struct exchange *x, const struct reply *r)
{
	if (r->code >= COAP_400_BAD_REQUEST)
		metric_add(METRIC_COAP_ERRORS, 1);
	if (!x->peer)
		return;
	if (x->remember)
		remember(x, r);
	if (x->response && x->separate)
		exchange_withhold(x);
	if (x->response)
		send_here(x, r);
	else
		send_own(x, r);
}

void exchange_send_again(struct exchange *x, struct span answer)
{
	struct reply r;

	memcpy(&r, answer.p, sizeof(r));
	answer = span_sub(answer, sizeof(r), answer.n);
	r.location = span_sub(answer, 0, r.location.n);
	r.echo = span_sub(answer, r.location.n, r.echo.n);
	r.payload = span_sub(answer, r.location.n + r.echo.n, r.payload.n);
	if (x->separate)
		exchange_withhold(x);
	if (x->response)
		send_here(x, &r);
	else
		send_own(x, &r);
}

void exchange_error(struct exchange *x, uint8_t code, const char *why)
{
	struct reply r;

	reply_init(&r, code);
	r.payload = span_str(why);
	if (x->has_block1 && x->refuse == 0) {
		r.has_block1 = true;
		r.block1 = x->block1;
		r.block1.more = false;
	}
	exchange_send(x, &r);
}

/* ---- from a response ---- */

static uint64_t body_bytes(const struct coap_response *res)
{
	return res->reader.read ? res->reader.bytes : res->body.n;
}

int reply_fill(struct reply *r, const struct coap_response *res, const struct coap_block *want, bool always_block,
	       uint8_t block_buf[static COAP_BLOCK_BYTES_MAX])
{
	uint64_t total = body_bytes(res), off = coap_block_offset(want);
	size_t n;
	int e = coap_block_cut(total, want, &r->block2, &n);

	if (e < 0)
		return e;
	r->has_block2 = always_block || total > n;
	if (r->has_block2 && want->num == 0 && total > n)
		r->size2 = total <= UINT32_MAX ? (int64_t)total : -1;
	if (!res->reader.read) {
		r->payload = span_sub(buf_span(&res->body), (size_t)off, n);
		return 0;
	}
	e = n > 0 ? res->reader.read(res->reader.ctx, off, block_buf, n) : 0;
	if (e < 0)
		return e;
	r->payload = SPAN(block_buf, n);
	return 0;
}

static void add_location(struct buf *b, const struct coap_response *res)
{
	for (size_t i = 0; i < res->n_location && i < COAP_LOCATION_MAX; i++) {
		buf_add_str(b, res->location[i]);
		buf_add_u8(b, 0);
	}
}

static void keep_snapshot(struct exchange *x, struct coap_response *res)
{
	struct coap_snapshot snap = {
		.code = res->code, .content_format = res->content_format, .max_age_s = res->max_age_s,
		.etag = res->etag, .body = res->body,
	};

	res->body = (struct buf){ 0 };
	if (!coap_snapshots_put(x->e->snapshots, exchange_key(x), x->peer->p.session, &snap, mono_now()))
		buf_done(&snap.body);
}

/* 4.06 when the answer is in a format the client did not ask for (PX-31). */
static void check_accept(const struct exchange *x, struct coap_response *res)
{
	if (res->code >> 5 == 2 && res->content_format != COAP_CF_NONE && body_bytes(res) > 0 &&
	    !coap_request_accepts(&x->req, res->content_format))
		coap_error(res, COAP_406_NOT_ACCEPTABLE, "only Content-Format %d here", res->content_format);
}

static void drop_body(struct coap_response *res)
{
	buf_done(&res->body);
	if (res->reader.release)
		res->reader.release(res->reader.ctx);
	res->reader = (struct coap_body_reader){ 0 };
}

static void send_response(struct exchange *x, struct coap_response *res, int64_t observe)
{
	/* A diagnostic payload is no block of the body that was asked for. */
	bool is_block = x->has_block2 && res->code < COAP_400_BAD_REQUEST;
	struct coap_block want = res->code < COAP_400_BAD_REQUEST ? exchange_first_block(x) : (struct coap_block){ .szx = COAP_SZX_MAX };
	uint8_t block_buf[COAP_BLOCK_BYTES_MAX];
	struct buf location = { 0 };
	struct reply r;
	int e;

	reply_init(&r, res->code);
	e = reply_fill(&r, res, &want, is_block && body_bytes(res) > 0, block_buf);
	if (e < 0) {
		if (e != -ERANGE)
			log_line(LOG_WARNING, "coap: reading a body: %s", strerror(-e));
		exchange_error(x, e == -ERANGE ? COAP_400_BAD_REQUEST : COAP_500_INTERNAL,
			       e == -ERANGE ? "block past the end" : "read error");
		return;
	}
	add_location(&location, res);
	r.location = buf_span(&location);
	r.content_format = res->code >= COAP_400_BAD_REQUEST || body_bytes(res) > 0 ? res->content_format : COAP_CF_NONE;
	r.max_age_s = res->max_age_s;
	r.etag = res->etag;
	r.observe = observe;
	r.size1 = res->size1;
	r.echo = res->echo;
	r.has_block1 = x->has_block1;
	r.block1 = x->block1;
	r.block1.more = false;
	exchange_send(x, &r);
	if (res->reader.served)
		res->reader.served(res->reader.ctx, coap_block_offset(&want), r.payload.n, !r.block2.more);
	buf_done(&location);
}

void exchange_answer(struct exchange *x, struct coap_response *res)
{
	size_t block = coap_block_bytes(exchange_first_block(x).szx);
	struct observer *observer;
	int64_t observe = -1;
	bool large;

	if (!buf_ok(&res->body))
		coap_error(res, COAP_500_INTERNAL, "out of memory");
	check_accept(x, res);
	large = !res->reader.read && res->body.n > block && res->code >> 5 == 2;
	if (large && res->etag.n == 0)
		res->etag = coap_etag_of(buf_span(&res->body));
	observer = x->deferred ? TAKE(x->deferred->observer) : observer_prepare(x);
	if (observer)
		observe = observer_register(observer, x->peer, res);
	if (res->code == COAP_205_CONTENT && res->etag.n && coap_request_has_etag(&x->req, &res->etag)) {
		res->code = COAP_203_VALID;
		res->content_format = COAP_CF_NONE;
		drop_body(res);
		x->has_block2 = false;
		large = false;
	}
	send_response(x, res, observe);
	if (large && x->peer)
		keep_snapshot(x, res);
	coap_response_done(res);
}

/* Blocks after the first of a body that was made by a handler (RD-67). */
bool exchange_from_snapshot(struct exchange *x)
{
	const struct coap_snapshot *snap;
	struct coap_response res;

	if (!x->has_block2 || x->block2.num == 0)
		return false;
	snap = coap_snapshots_get(x->e->snapshots, exchange_key(x), mono_now());
	if (!snap)
		return false;
	coap_response_init(&res);
	res.code = snap->code;
	res.content_format = snap->content_format;
	res.max_age_s = snap->max_age_s;
	res.etag = snap->etag;
	res.body = snap->body; /* borrowed */
	send_response(x, &res, -1);
	return true;
}
