/* io/coap_endpoint.h - the CoAP server: libcoap for datagrams, DTLS, retransmission and
 * sessions (block mode 0, rules of rd-and-proxy 15.4); routing, RFC 7959 both ways, observation,
 * deduplication of non-idempotent CON requests, Accept of unknown formats and ETag answers ours.
 *
 * Everything runs on the loop thread. */
#pragma once
#include "io/coap.h"
#include "io/loop.h"

struct coap_endpoint;
struct coap_deferred;                          /* a request whose answer comes later */

enum { COAP_HANDLER_DONE = 0, COAP_HANDLER_LATER = 1 };

/* Fill res and return COAP_HANDLER_DONE, or keep *later (call coap_defer() for it) and return
 * COAP_HANDLER_LATER. A negative return is answered 5.00. req is borrowed for the call. */
typedef int coap_handler_fn(void *ctx, const struct coap_request *req, struct coap_response *res);

struct coap_route {
	const char *path;                      /* "rd", "fw/i" ; exact, or a prefix of whole segments when is_prefix */
	bool is_prefix;
	unsigned methods;                      /* bits 1 << COAP_M_GET ...; others get 4.05 */
	const char *attributes;                /* for /.well-known/core: rt=\"core.rd\";ct=40 ; NULL = not listed */
	bool secure_only;                      /* plain CoAP: 4.01, and listed all the same */
	bool observable;
	size_t body_max;                       /* largest request body; 0 = COAP_BODY_BYTES_MAX */
	coap_handler_fn *fn;
	void *ctx;
};

/* Key for a PSK identity, copied to ret (at most max bytes); returns its length, or -ENOENT. */
typedef int coap_psk_fn(void *ctx, struct span identity, uint8_t *ret, size_t max);

struct coap_endpoint_config {
	const char *const *listen;             /* "coap://[::]:5683", "coaps://127.0.0.1:0", ... */
	size_t n_listen;
	coap_psk_fn *psk;
	void *psk_ctx;
	const char *cert_file, *key_file, *ca_file;    /* optional X.509 DTLS; NULL = PSK only */
	unsigned max_sessions;                 /* idle sessions kept */
	unsigned session_timeout_s;
	unsigned max_handshakes;
	size_t block1_total_bytes;             /* all unfinished bodies */
	size_t block1_peer_bytes;              /* unfinished bodies of one peer */
	unsigned max_observers;
	unsigned receive_buffer_bytes;         /* asked of the kernel, 4 MiB */
};

struct coap_endpoint *coap_endpoint_new(struct loop *l, const struct coap_endpoint_config *c, int *ret_error);
struct coap_endpoint *coap_endpoint_free(struct coap_endpoint *e);
int coap_endpoint_add(struct coap_endpoint *e, const struct coap_route *r);    /* copied; -EEXIST */
/* Called for every request with Proxy-Uri/Proxy-Scheme that does not name us; without it they get 5.05. */
void coap_endpoint_set_proxy(struct coap_endpoint *e, coap_handler_fn *fn, void *ctx);
/* Called after each request of a peer, before its handler: who talks is awake. */
void coap_endpoint_set_heard(struct coap_endpoint *e, void (*fn)(void *ctx, const struct coap_peer *peer), void *ctx);
/* The addresses bound, in the order of listen, with real ports; NULL past the end. */
const char *coap_endpoint_address(struct coap_endpoint *e, size_t i);

/* Inside a handler that returns COAP_HANDLER_LATER: takes what is needed to answer (the peer, token,
 * message id, options); the request itself is not kept. CON requests get an empty ACK when the answer takes long. */
struct coap_deferred *coap_defer(struct coap_endpoint *e, const struct coap_request *req);
void coap_deferred_respond(struct coap_deferred *d, struct coap_response *res);        /* frees d, empties res */

/* Whether the request carries an Echo that this endpoint gave to this peer at most max_age_s ago (RFC 9175; RD-39, RD-49). If not, res
 * becomes 4.01 with a new Echo, which a client repeats the request with. Freshness, and for plain CoAP proof of the address. */
bool coap_endpoint_fresh(struct coap_endpoint *e, const struct coap_request *req, unsigned max_age_s, struct coap_response *res);

/* Something below path changed: observers whose representation now has another ETag (or code) are
 * notified, coalesced within 100 ms (OB-13). A path covers its sub-paths. */
void coap_endpoint_changed(struct coap_endpoint *e, const char *path);
/* Observers of exactly this path whose request carries the query `match` ("ep=node1") or any when NULL. */
void coap_endpoint_changed_query(struct coap_endpoint *e, const char *path, struct span match);
/* Drop every unfinished body, observer and session of an authenticated identity (its credential was removed). */
void coap_endpoint_forget(struct coap_endpoint *e, const char *identity);
