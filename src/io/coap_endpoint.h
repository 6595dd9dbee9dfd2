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

enum { COAP_HANDLER_DONE = 0, COAP_HANDLER_LATER = 1, COAP_HANDLER_QUIET = 2 };

/* Fill res and return COAP_HANDLER_DONE, or COAP_HANDLER_QUIET: the same, but a NON request is not answered at all (where an answer
 * costs more than it tells); or call coap_defer() and return COAP_HANDLER_LATER. A negative return is
 * answered 5.00. req is borrowed for the call. What the endpoint adds to a response by itself:
 * - Block2 of the size asked for, with Size2 on the first block; past the end 4.00. A body larger than the block gets an ETag
 *   (when it has none) and is kept for 60 s for that peer and request, so the handler runs once for all its blocks. A reader is
 *   not kept: the handler runs for each block and must give the same ETag while the bytes are the same.
 * - 2.03 when a 2.05 has an ETag that the request carries; 4.06 when a 2.xx body has a format the request does not accept.
 * - Observe on a 2.05 or 2.03 of an observable route, unless the response says no_observe or max_observers (or 64 for one peer) is reached.
 * A POST, PUT, DELETE, PATCH or iPATCH that is retransmitted is answered again without running the handler. */
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
	/* May be NULL. An observation begins (its request was answered with Observe), or has ended for whatever reason; not while the
	 * endpoint itself goes. Called from inside of anything here: it may call coap_endpoint_changed() and nothing else of this. */
	void (*observing)(void *ctx, const struct coap_request *req, bool begins);
};

/* Key for a PSK identity, copied to ret (at most max bytes); returns its length, or -ENOENT. */
typedef int coap_psk_fn(void *ctx, struct span identity, uint8_t *ret, size_t max);

struct coap_endpoint_config {
	const char *const *listen;             /* "coap://[::]:5683", "coaps://127.0.0.1:0", ... */
	size_t n_listen;
	coap_psk_fn *psk;
	void *psk_ctx;
	/* Optional X.509 DTLS, PEM, read once; NULL = PSK only. All three or none: a client must show a certificate from ca_file. Only the
	 * first certificate of cert_file is sent; an encrypted key is refused. */
	const char *cert_file, *key_file, *ca_file;
	/* 0 in any of these = the number given */
	unsigned max_sessions;                 /* idle sessions kept, per address listened on; 20000 */
	unsigned session_timeout_s;            /* 300 */
	unsigned max_handshakes;               /* 100 */
	size_t block1_total_bytes;             /* all unfinished bodies, 16 MiB; above: 5.03 */
	size_t block1_peer_bytes;              /* unfinished bodies of one peer, 256 KiB; above: 5.03 */
	unsigned max_observers;                /* 10000 */
	unsigned receive_buffer_bytes;         /* asked of the kernel, 4 MiB; it gives at most net.core.rmem_max without CAP_NET_ADMIN */
};

/* Literal addresses only; port 0 = any. "[::]" takes IPv4 as well. NULL with *ret_error (may be NULL): -EINVAL not an address, or
 * coaps without credentials or with unreadable ones; -EADDRINUSE; -EADDRNOTAVAIL; -E2BIG over 16 addresses. c is borrowed for the
 * call. */
struct coap_endpoint *coap_endpoint_new(struct loop *l, const struct coap_endpoint_config *c, int *ret_error);
struct coap_endpoint *coap_endpoint_free(struct coap_endpoint *e);
/* Copied. -EEXIST; -ENOSPC over 256; -EINVAL over COAP_PATH_MAX segments. An exact route wins over a prefix, a longer prefix over a
 * shorter. .well-known/core is there from the start; ";obs" is added to the attributes of an observable route. */
int coap_endpoint_add(struct coap_endpoint *e, const struct coap_route *r);
/* Called for every request with Proxy-Uri/Proxy-Scheme that does not name us; without it they get 5.05. req->proxy_uri is the whole
 * URI in both cases. A URI with a scheme other than coap, coaps, their +tcp forms, http and https never gets here (5.05). */
void coap_endpoint_set_proxy(struct coap_endpoint *e, coap_handler_fn *fn, void *ctx);
/* Called after each request of a peer, before its handler: who talks is awake. */
void coap_endpoint_set_heard(struct coap_endpoint *e, void (*fn)(void *ctx, const struct coap_peer *peer), void *ctx);
/* Called when a confirmable message to a peer was given up: nobody acknowledged it. */
void coap_endpoint_set_silent(struct coap_endpoint *e, void (*fn)(void *ctx, const struct coap_peer *peer), void *ctx);
/* The largest block, in bytes, that suits the link to this peer; 0 = any. An answer that is not asked for in a certain size begins
 * with blocks of at most that; of the first block asked for in a larger size so much is given, and the client goes on with that
 * (RFC 7959 section 2.4); later blocks come as they are asked for. Of bodies sent to us, the blocks after the first are asked for in
 * that size. Datagrams to such a peer stay within IPv6's smallest packet. */
typedef size_t coap_endpoint_blocks_fn(void *ctx, const struct coap_peer *peer);
void coap_endpoint_set_blocks(struct coap_endpoint *e, coap_endpoint_blocks_fn *fn, void *ctx);
/* The addresses bound, in the order of listen, with real ports; NULL past the end. */
const char *coap_endpoint_address(struct coap_endpoint *e, size_t i);

/* Inside a handler that returns COAP_HANDLER_LATER: takes what is needed to answer (the peer, token, message id, options); the
 * request itself is not kept. Answered within 0.8 s it is piggybacked, later it follows an empty ACK. NULL, to be answered at once
 * (5.03): over 4096 waiting, or 64 of one peer; always so when req->is_notify. Every result must be responded to once, also when
 * the peer or the endpoint has gone meanwhile (then nothing is sent). */
struct coap_deferred *coap_defer(struct coap_endpoint *e, const struct coap_request *req);
void coap_deferred_respond(struct coap_deferred *d, struct coap_response *res);        /* frees d, empties res */

/* Whether the request carries an Echo that this endpoint gave to this peer at most max_age_s ago (RFC 9175; RD-39, RD-49). If not, res
 * becomes 4.01 with a new Echo, which a client repeats the request with. Freshness, and for plain CoAP proof of the address. */
bool coap_endpoint_fresh(struct coap_endpoint *e, const struct coap_request *req, unsigned max_age_s, struct coap_response *res);

/* Something at or below path changed ("" = anything): observers whose representation now has another ETag (or code) are
 * notified by CON, coalesced within 100 ms (OB-13), one at a time each. A path covers its sub-paths. The handler is run again
 * with is_notify set; an answer >= 4.00 is sent too, and ends the observation. */
void coap_endpoint_changed(struct coap_endpoint *e, const char *path);
/* Observers of exactly this path whose request carries the query `match` ("ep=node1"), or any when it is empty; and secured
 * ones that do not say "ep=" at all, since their identity may. */
void coap_endpoint_changed_query(struct coap_endpoint *e, const char *path, struct span match);
/* Drop every unfinished body, observer and session of an authenticated identity (its credential was removed). Its requests get 4.01
 * from now on; the sessions end in the loop's next turn. */
void coap_endpoint_forget(struct coap_endpoint *e, const char *identity);

/* ---- requests of ours to those who talked to us (RFC 7252 section 9.1: either end of an association may ask) ----
 *
 * Over the session that the peer itself opened, from the port it talked to: nothing is opened, so a peer behind its own DTLS
 * association is reached with its own keys. One datagram each way; no blocks. */
struct coap_endpoint_call;

enum { COAP_ENDPOINT_CALL_BYTES_MAX = 1024, COAP_ENDPOINT_CALLS_MAX = 256 };

struct coap_endpoint_request {                 /* copied */
	uint8_t method;                        /* enum coap_method */
	const char *path;                      /* "mc" */
	const char *const *query;              /* options, NULL-terminated; may be NULL */
	int accept, content_format;            /* COAP_CF_NONE */
	struct span body;                      /* at most COAP_ENDPOINT_CALL_BYTES_MAX */
	bool is_non;                           /* NON instead of CON */
	unsigned timeout_ms;                   /* for the answer, over all; 0 = until libcoap's retransmissions have ended and 30 s more */
};

struct coap_endpoint_result {
	int error;                             /* 0; -ETIMEDOUT; -ECONNRESET (RST); -ENOTCONN (the session ended meanwhile); -ECANCELED
						* (the endpoint goes) */
	uint8_t code;                          /* when error == 0 */
	int content_format;
	struct span body;                      /* borrowed for the call */
};

typedef void coap_endpoint_call_fn(void *ctx, const struct coap_endpoint_result *res);

/* session: coap_peer.session of the peer, as heard. fn is called exactly once unless cancelled, never from inside. -ENOTCONN no such
 * session (any more); -EMSGSIZE; -ENOSPC over COAP_ENDPOINT_CALLS_MAX waiting; -EINVAL. ret may be NULL. */
int coap_endpoint_call(struct coap_endpoint *e, uint64_t session, const struct coap_endpoint_request *q, coap_endpoint_call_fn *fn,
		       void *ctx, struct coap_endpoint_call **ret);
/* fn is not called. Not after fn was. */
void coap_endpoint_call_cancel(struct coap_endpoint_call *c);
