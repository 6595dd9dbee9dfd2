/* io/coap_client.h - CoAP requests to others: one session per (server, identity), RFC 7959
 * both ways (our own code, shared with the endpoint), ETag, Echo repeated once, Observe.
 * Used by dormouse-node and by sources. Loop thread only. */
#pragma once
#include "io/coap_endpoint.h"
#include "io/loop.h"

struct coap_client;
struct coap_session;
struct coap_call;

struct coap_client *coap_client_new(struct loop *l);
struct coap_client *coap_client_free(struct coap_client *c);
/* Fraction of datagrams (0..1) dropped in each direction, for simulation. Process-wide: what any endpoint or client of the process
 * sends (libcoap, whole percents), and what sessions opened from now on receive (a kernel filter). Both draw their own random
 * numbers, so a run is not repeated by its seed. */
void coap_client_set_loss(double fraction, uint64_t seed);

struct coap_session_config {
	const char *uri;                       /* "coap://[::1]:5683" or coaps://; literal address or name */
	const char *psk_identity;              /* coaps; copied, as is the key */
	struct span psk_key;
	unsigned ack_timeout_ms;               /* 0 = 2000; at least 1000 */
	unsigned max_retransmit;               /* 0 = 4; at most 10 */
};

/* -EINVAL not a coap URI, or coaps without identity and key; -ENOENT name unknown (the resolver may block: give literals in a daemon);
 * -EHOSTUNREACH no socket or no route. A DTLS handshake that fails ends the calls, not the session: the next call tries again. */
int coap_session_open(struct coap_client *c, const struct coap_session_config *s, struct coap_session **ret);
struct coap_session *coap_session_close(struct coap_session *s);       /* pending calls end with -ECANCELED, inside; NULL is fine */

struct coap_call_request {
	uint8_t method;
	const char *path;                      /* "fw/i/abcd", segments percent-decoded by us */
	const char *const *query;              /* options, NULL-terminated; may be NULL */
	const char *proxy_uri;                 /* instead of path */
	int accept, content_format;            /* COAP_CF_NONE */
	bool observe;                          /* renewed by itself when Max-Age passes in silence */
	struct coap_etag etag;                 /* n == 0 = none */
	struct span body;                      /* copied; Block1 when over a block */
	uint8_t szx;                           /* 0..6, preferred block size; 6 = 1024 */
	bool is_non;                           /* NON instead of CON (no Block1) */
	uint64_t from;                         /* start of a positioned GET: first byte wanted, a multiple of the block */
	/* Set for bodies handed over block by block instead of assembled: off is the byte position,
	 * total 0 when unknown; return < 0 to stop (the call ends with that error). */
	int (*block)(void *ctx, uint64_t off, struct span data, uint64_t total, const struct coap_etag *etag);
	size_t body_max;                       /* of an assembled response; 0 = COAP_BODY_BYTES_MAX */
};

struct coap_call_result {
	int error;                             /* 0; -ETIMEDOUT; -ECONNRESET (RST); -ECONNREFUSED (DTLS); -EHOSTUNREACH; -ECANCELED (session
						* closed); -EMSGSIZE (body_max); -EPROTO (blocks that do not follow); -ESTALE (the body changed
						* underway: at once with block(), else after two restarts); or what block() said */
	uint8_t code;                          /* when error == 0 */
	int content_format;
	int64_t max_age_s;
	struct coap_etag etag;
	const char *location;                  /* "/rd/abc" or NULL; borrowed for the call */
	struct span body;                      /* borrowed for the call */
	bool is_notification;                  /* an observation lives: more may come. Else this was the last */
};

typedef void coap_call_fn(void *ctx, const struct coap_call_result *res);

int coap_call(struct coap_session *s, const struct coap_call_request *req, coap_call_fn *fn, void *ctx,
	      struct coap_call **ret);         /* ret may be NULL; fn is called at least once unless cancelled, never from inside */
/* fn is not called again; an observation is cancelled at the server. Also allowed inside fn and block(). Not after the last result. */
void coap_call_cancel(struct coap_call *c);

/* ---- the other way: requests that arrive on a session of ours (RFC 7252 section 9.1) ----
 *
 * Small ones: a body or an answer of one datagram (a request with Block1 gets 4.13). A POST, PUT, DELETE, PATCH or iPATCH that is
 * retransmitted is answered again without running the handler, while it is among the last COAP_SERVED_MAX of its session. */
struct coap_served;                            /* a request whose answer comes later */

enum { COAP_SERVED_MAX = 8 };

/* From now on; NULL = nothing is served (4.04), as at the start. The handler fills res and returns COAP_HANDLER_DONE, or calls
 * coap_session_defer() and returns COAP_HANDLER_LATER; a negative return is answered 5.00. req is borrowed for the call: of its peer,
 * only secure, addr and port are set. A body over 1024 bytes and a reader are answered 5.00; Location and Echo are not sent. */
void coap_session_serve(struct coap_session *s, coap_handler_fn *fn, void *ctx);
/* Inside the handler, once. While COAP_SERVED_MAX wait, further requests get 5.03 by themselves. */
struct coap_served *coap_session_defer(struct coap_session *s, const struct coap_request *req);
/* Frees v, empties res. Sends nothing when the session was closed meanwhile. Once for each. */
void coap_session_respond(struct coap_served *v, struct coap_response *res);
