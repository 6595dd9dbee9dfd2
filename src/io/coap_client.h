/* io/coap_client.h - CoAP requests to others: one session per (server, identity), RFC 7959
 * both ways (our own code, shared with the endpoint), ETag, Echo repeated once, Observe.
 * Used by dormouse-node and by sources. Loop thread only. */
#pragma once
#include "io/coap.h"
#include "io/loop.h"

struct coap_client;
struct coap_session;
struct coap_call;

struct coap_client *coap_client_new(struct loop *l);
struct coap_client *coap_client_free(struct coap_client *c);
/* Fraction of datagrams (0..1) dropped in each direction, for simulation. Process-wide (libcoap). */
void coap_client_set_loss(double fraction, uint64_t seed);

struct coap_session_config {
	const char *uri;                       /* "coap://[::1]:5683" or coaps://; literal address or name */
	const char *psk_identity;              /* coaps */
	struct span psk_key;
	unsigned ack_timeout_ms;               /* 0 = 2000 */
	unsigned max_retransmit;               /* 0 = 4 */
};

int coap_session_open(struct coap_client *c, const struct coap_session_config *s, struct coap_session **ret);
struct coap_session *coap_session_close(struct coap_session *s);       /* pending calls end with -ECANCELED */

struct coap_call_request {
	uint8_t method;
	const char *path;                      /* "fw/i/abcd", segments percent-decoded by us */
	const char *const *query;              /* options, NULL-terminated; may be NULL */
	const char *proxy_uri;                 /* instead of path */
	int accept, content_format;            /* COAP_CF_NONE */
	bool observe;
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
	int error;                             /* 0, -ETIMEDOUT, -ECONNRESET (RST), -ECANCELED, -EMSGSIZE, -EPROTO, or of block() */
	uint8_t code;                          /* when error == 0 */
	int content_format;
	int64_t max_age_s;
	struct coap_etag etag;
	const char *location;                  /* "/rd/abc" or NULL; borrowed for the call */
	struct span body;                      /* borrowed for the call */
	bool is_notification;                  /* more may come */
};

typedef void coap_call_fn(void *ctx, const struct coap_call_result *res);

int coap_call(struct coap_session *s, const struct coap_call_request *req, coap_call_fn *fn, void *ctx,
	      struct coap_call **ret);         /* ret may be NULL; fn is called at least once unless cancelled */
void coap_call_cancel(struct coap_call *c);    /* fn is not called again */
