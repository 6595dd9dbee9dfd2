/* Request bodies: one datagram, or gathered from Block1 with bounds per body, per peer and in all
 * (BW-3 to BW-7). Assemblies are keyed by session, method, URI with query, and Request-Tag (BW-4). */
#include <utlist.h>

#include "base/mem.h"
#include "base/metric.h"
#include "io/coap_endpoint_priv.h"

static void count(struct assembly *a)
{
	size_t now = a->a.body.cap;

	a->peer->block1_bytes += now - a->counted;
	a->peer->e->block1_bytes += now - a->counted;
	a->counted = now;
	metric_set(METRIC_COAP_BLOCK1_BYTES, (int64_t)a->peer->e->block1_bytes);
}

void assembly_drop(struct assembly *a)
{
	struct peer *p = a->peer;

	coap_assembly_done(&a->a);
	count(a);
	DL_DELETE(p->assemblies, a);
	DL_DELETE2(p->e->assemblies, a, all_prev, all_next);
	p->n_assemblies--;
	p->e->n_assemblies--;
	free(a);
}

void assemblies_expire(struct coap_endpoint *e, struct mono now)
{
	while (e->assemblies && mono_diff_ms(now, e->assemblies->touched) >= ENDPOINT_ASSEMBLY_IDLE_MS)
		assembly_drop(e->assemblies);
}

static struct assembly *find(struct peer *p, const struct digest *key)
{
	struct assembly *a;

	DL_FOREACH(p->assemblies, a) {
		if (digest_eq(&a->key, key))
			return a;
	}
	return NULL;
}

static struct digest assembly_key(struct exchange *x)
{
	return digest_of2(SPAN(exchange_key(x), sizeof(struct digest)), SPAN(x->request_tag, x->n_request_tag));
}

static struct assembly *start(struct exchange *x, const struct digest *key, size_t max)
{
	struct coap_endpoint *e = x->e;
	struct assembly *a;

	if (x->peer->n_assemblies >= ENDPOINT_ASSEMBLIES_PEER_MAX || e->n_assemblies >= ENDPOINT_ASSEMBLIES_MAX)
		return NULL;
	a = NEW(struct assembly);
	a->peer = x->peer;
	a->key = *key;
	a->touched = mono_now();
	coap_assembly_init(&a->a, max);
	DL_APPEND(x->peer->assemblies, a);
	DL_APPEND2(e->assemblies, a, all_prev, all_next);
	x->peer->n_assemblies++;
	e->n_assemblies++;
	return a;
}

static void touch(struct coap_endpoint *e, struct assembly *a)
{
	a->touched = mono_now();
	DL_DELETE2(e->assemblies, a, all_prev, all_next);
	DL_APPEND2(e->assemblies, a, all_prev, all_next);
}

static void too_large(struct exchange *x, size_t max)
{
	struct reply r;

	reply_init(&r, COAP_413_TOO_LARGE);
	r.size1 = (int64_t)max;
	r.payload = SPAN_LIT("body too large");
	if (x->has_block1) {
		r.has_block1 = true;
		r.block1 = x->block1;
	}
	exchange_send(x, &r);
}

static void busy(struct exchange *x)
{
	struct reply r;

	reply_init(&r, COAP_503_UNAVAILABLE);
	r.max_age_s = ENDPOINT_ASSEMBLY_IDLE_MS / 1000;
	r.payload = SPAN_LIT("too many unfinished bodies");
	exchange_send(x, &r);
}

static void go_on(struct exchange *x)
{
	struct reply r;

	reply_init(&r, COAP_231_CONTINUE);
	r.has_block1 = true;
	r.block1 = x->block1;
	if (r.block1.num == 0 && r.block1.szx > exchange_szx_max(x))
		r.block1.szx = exchange_szx_max(x); /* this one is taken, the next ones shall be smaller (RFC 7959 section 2.3) */
	exchange_send(x, &r);
}

/* Room for the next block, by the bounds of the peer and of all? */
static bool has_room(struct exchange *x, size_t n)
{
	const struct coap_endpoint_config *c = &x->e->c;

	return x->peer->block1_bytes + n <= c->block1_peer_bytes && x->e->block1_bytes + n <= c->block1_total_bytes;
}

/* Bodies that nobody has gone on with for a while give way, so that a flood of beginnings holds up nobody for long; one that is
 * under way stays. */
static bool make_room(struct exchange *x, const struct assembly *keep, size_t n)
{
	struct coap_endpoint *e = x->e;
	struct mono now = mono_now();

	while ((e->block1_bytes + n > e->c.block1_total_bytes || (!keep && e->n_assemblies >= ENDPOINT_ASSEMBLIES_MAX)) && e->assemblies &&
	       e->assemblies != keep && mono_diff_ms(now, e->assemblies->touched) >= ENDPOINT_ASSEMBLY_YIELD_MS)
		assembly_drop(e->assemblies);
	return has_room(x, n);
}

static int add(struct exchange *x, struct assembly *a, struct buf *ret)
{
	size_t max = a->a.max;
	enum coap_assembly_step step = coap_assembly_add(&a->a, &x->block1, x->req.content_format, x->req.body);

	count(a);
	switch (step) {
	case COAP_ASSEMBLY_MORE:
		if (!make_room(x, a, 0)) { /* its memory grows in larger steps than its blocks */
			assembly_drop(a);
			busy(x);
			return 1;
		}
		touch(x->e, a);
		go_on(x);
		return 1;
	case COAP_ASSEMBLY_WHOLE:
		*ret = a->a.body;
		a->a.body = (struct buf){ 0 };
		assembly_drop(a);
		return 0;
	case COAP_ASSEMBLY_BAD:
		assembly_drop(a);
		exchange_error(x, COAP_400_BAD_REQUEST, "block is not full");
		return 1;
	case COAP_ASSEMBLY_GAP:
		assembly_drop(a);
		exchange_error(x, COAP_408_INCOMPLETE, "blocks missing or changed");
		return 1;
	case COAP_ASSEMBLY_TOO_LARGE:
		assembly_drop(a);
		too_large(x, max);
		return 1;
	}
	return 1;
}

int exchange_gather(struct exchange *x, struct buf *ret)
{
	size_t max = x->route && x->route->r.body_max ? x->route->r.body_max : COAP_BODY_BYTES_MAX;
	struct assembly *a;
	struct digest key;

	if (x->req.body.n > max || (x->has_block1 && x->size1 > 0 && (uint64_t)x->size1 > max)) {
		too_large(x, max);
		return 1;
	}
	if (!x->has_block1)
		return 0;
	if (x->req.method == COAP_M_GET || x->req.method == COAP_M_DELETE) {
		exchange_error(x, COAP_400_BAD_REQUEST, "Block1 without a body");
		return 1;
	}
	if (x->block1.num == 0 && !x->block1.more) { /* the only block */
		if (x->req.body.n <= coap_block_bytes(x->block1.szx))
			return 0;
		exchange_error(x, COAP_400_BAD_REQUEST, "block over its size");
		return 1;
	}
	key = assembly_key(x);
	a = find(x->peer, &key);
	if (!a && x->block1.num > 0) {
		exchange_error(x, COAP_408_INCOMPLETE, "start with block 0");
		return 1;
	}
	if (x->block1.more && x->req.body.n != coap_block_bytes(x->block1.szx)) {
		if (a)
			assembly_drop(a);
		exchange_error(x, COAP_400_BAD_REQUEST, "block is not full");
		return 1;
	}
	if (!a) {
		assemblies_expire(x->e, mono_now());
		(void)make_room(x, NULL, x->req.body.n); /* asked again below */
		a = start(x, &key, max);
	}
	if (!a) {
		busy(x);
		return 1;
	}
	if (!make_room(x, a, x->req.body.n)) {
		assembly_drop(a);
		busy(x);
		return 1;
	}
	return add(x, a, ret);
}
