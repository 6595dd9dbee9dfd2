/* Answers that come later. libcoap's automatic response is withheld; an answer within a second is still
 * piggybacked, later ones follow an empty ACK as a separate message (PX-9). */
#include <utlist.h>

#include "base/mem.h"
#include "io/coap_endpoint_priv.h"

static void send_empty_ack(struct exchange *x)
{
	coap_pdu_t *pdu = coap_pdu_init(COAP_MESSAGE_ACK, COAP_EMPTY_CODE, x->mid, 0);

	if (pdu)
		(void)coap_send(x->peer->session, pdu); /* a lost ACK is asked for again */
}

static void on_ack_due(void *ctx)
{
	struct coap_deferred *d = ctx;

	if (!d->x->peer || d->acked)
		return;
	d->acked = true;
	send_empty_ack(d->x);
}

static void detach(struct coap_deferred *d)
{
	struct exchange *x = d->x;

	if (d->e) {
		DL_DELETE(d->e->deferred, d);
		d->e->n_deferred--;
		d->e = NULL;
	}
	if (x->peer) {
		x->peer->n_deferred--;
		peer_release(x->peer);
		x->peer = NULL;
	}
	d->ack = loop_timer_free(d->ack);
}

void deferred_discard(struct coap_deferred *d)
{
	detach(d);
	observer_discard(d->observer);
	free(d->x);
	free(d);
}

struct coap_deferred *coap_defer(struct coap_endpoint *e, const struct coap_request *req)
{
	struct exchange *x = e->current;
	struct coap_deferred *d;

	if (!x || req != &x->req || x->deferred || e->n_deferred >= ENDPOINT_DEFERRED_MAX ||
	    x->peer->n_deferred >= ENDPOINT_DEFERRED_PEER_MAX)
		return NULL;
	(void)exchange_key(x); /* while the options are there */
	if (!x->remember)
		coap_dedup_begin(e->dedup, &x->peer->key, x->mid, x->fingerprint, mono_now());
	x->remember = true;
	d = NEW(struct coap_deferred);
	d->e = e;
	d->acked = x->separate;
	d->observer = observer_prepare(x);
	d->x = NEW(struct exchange);
	x->deferred = d;
	*d->x = *x;
	d->x->response = NULL;
	d->x->req.n_path = d->x->req.n_query = 0;
	d->x->req.observe = -1;
	d->x->req.body = d->x->req.proxy_uri = d->x->req.echo = SPAN_NONE;
	d->x->uri_host = d->x->proxy_scheme = SPAN_NONE;
	peer_hold(x->peer);
	x->peer->n_deferred++;
	e->n_deferred++;
	DL_APPEND(e->deferred, d);
	if (x->is_con && !d->acked) {
		d->ack = loop_timer_new(e->loop, on_ack_due, d);
		loop_timer_set(d->ack, ENDPOINT_DEFER_ACK_MS);
	}
	return d;
}

void coap_deferred_respond(struct coap_deferred *d, struct coap_response *res)
{
	if (d->e && d->x->peer && !d->x->peer->closed) {
		d->x->separate = d->acked;
		exchange_answer(d->x, res);
	}
	if (d->e && d->e->current && d->e->current->deferred == d) /* answered from inside the handler */
		d->e->current->answered = true;
	coap_response_done(res);
	deferred_discard(d);
}

void deferred_duplicate(struct exchange *x)
{
	struct coap_deferred *d;

	DL_FOREACH(x->e->deferred, d) {
		if (d->x->peer == x->peer && d->x->mid == x->mid && d->x->fingerprint == x->fingerprint)
			break;
	}
	if (!d || !x->is_con)
		return;
	if (d->ack)
		loop_timer_set(d->ack, -1);
	d->acked = true;
	send_empty_ack(d->x);
}

void deferred_drop_peer(struct peer *p)
{
	struct coap_deferred *d;

	if (p->n_deferred == 0)
		return;
	DL_FOREACH(p->e->deferred, d) {
		if (d->x->peer != p)
			continue;
		p->n_deferred--;
		peer_release(p);
		d->x->peer = NULL;
	}
}

void deferred_orphan(struct coap_endpoint *e)
{
	while (e->deferred)
		detach(e->deferred);
}
