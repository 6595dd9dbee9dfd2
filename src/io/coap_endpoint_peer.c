/* Our state per libcoap session. */
#include <utlist.h>

#include "base/mem.h"
#include "base/metric.h"
#include "io/coap_endpoint_priv.h"

struct peer *peer_get(struct coap_endpoint *e, coap_session_t *session)
{
	struct peer *p = coap_session_get_app_data(session);

	if (p) {
		p->p.interface = (unsigned)coap_session_get_ifindex(session); /* it may have come back with another index */
		return p;
	}
	p = NEW(struct peer);
	p->e = e;
	p->session = session;
	coap_lib_peer(session, &p->p);
	p->p.session = ++e->next_session;
	coap_lib_peer_key(session, &p->key);
	if (p->p.secure)
		p->key.session = p->p.session;
	endpoint_identify(session, &p->p);
	if (!p->p.secure && e->blocks_fn && e->blocks_fn(e->blocks_ctx, &p->p) > 0)
		coap_session_set_mtu(session, ENDPOINT_SMALL_MTU);
	DL_APPEND(e->peers, p);
	HASH_ADD(hh, e->by_session, p.session, sizeof(p->p.session), p);
	coap_session_set_app_data(session, p);
	metric_add(METRIC_COAP_SESSIONS, 1);
	return p;
}

void peer_hold(struct peer *p)
{
	coap_session_reference(p->session);
}

void peer_release(struct peer *p)
{
	coap_session_release(p->session);
}

void peer_end(struct peer *p)
{
	peer_is_alive(p); /* no longer asked, at any rate */
	observers_drop_peer(p);
	deferred_drop_peer(p);
	calls_drop_peer(p);
	while (p->assemblies)
		assembly_drop(p->assemblies);
	coap_snapshots_forget(p->e->snapshots, p->p.session);
}

void peer_drop(struct peer *p)
{
	peer_end(p);
	coap_session_set_app_data(p->session, NULL);
	DL_DELETE(p->e->peers, p);
	HASH_DELETE(hh, p->e->by_session, p);
	metric_add(METRIC_COAP_SESSIONS, -1);
	free(p);
}

void peer_is_alive(struct peer *p)
{
	if (!p->probed)
		return;
	p->probed = false;
	p->e->n_probed--;
}
