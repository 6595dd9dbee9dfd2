/* io/coap_client_priv.h - what coap_client.c (context, sessions) and coap_call.c (one request and all
 * the exchanges it takes) share. Internal. */
#pragma once
#include "base/time.h"
#include "io/coap_body.h"
#include "io/coap_client.h"
#include "io/coap_lib.h"

enum {
	CLIENT_EVENTS_MAX = 64,
	CLIENT_ACK_MS_DEFAULT = 2000, CLIENT_ACK_MS_MIN = 1000,        /* libcoap takes no less than a second */
	CLIENT_RETRANSMIT_DEFAULT = 4, CLIENT_RETRANSMIT_MAX = 10,
	CLIENT_SEPARATE_MS = 30 * 1000,        /* for a separate response after the last retransmission */
	CLIENT_RESTARTS_MAX = 2,
	CLIENT_REGISTER_SLACK_MS = 5000,       /* and as much again at random (RFC 7641 3.3.1) */
	CLIENT_ECHO_BYTES_MAX = 40,
	CLIENT_TOKEN_BYTES = 8,
	CLIENT_LOCATION_BYTES_MAX = 512,
	CLIENT_TURN_MS = 1000, CLIENT_TURN_MS_MIN = 10,
	CLIENT_UDP_MTU = 1472, CLIENT_DTLS_MTU = 1232,
};

struct coap_client {
	struct loop *loop;
	coap_context_t *ctx;
	struct loop_io *io;
	struct loop_timer *bury, *turn;
	bool turning;                          /* inside libcoap */
	struct coap_session *sessions, *grave;
	uint64_t tokens;
	uint32_t token_salt;
};

struct coap_session {
	struct coap_client *c;
	coap_session_t *s;
	char *identity;
	uint8_t *key;
	size_t n_key;
	unsigned ack_ms, max_retransmit;
	struct coap_call *calls;
	coap_handler_fn *serve_fn;             /* NULL = nothing is served */
	void *serve_ctx;
	struct coap_served *served;            /* oldest first */
	unsigned n_served;
	struct coap_session *prev, *next;
};

/* What one response says. Spans borrow from the PDU. */
struct response {
	uint8_t code;
	int content_format;
	int64_t max_age_s;
	uint64_t size2;
	struct coap_etag etag;
	struct span echo, payload;
	bool has_block1, has_block2, has_observe, bad;
	struct coap_block block1, block2;
	uint32_t observe;
	char location[CLIENT_LOCATION_BYTES_MAX];
};

struct coap_call {
	struct coap_session *s;
	struct coap_call *prev, *next;
	coap_call_fn *fn;
	void *ctx;
	/* the request */
	struct coap_call_request q;            /* path, query, proxy_uri, body point into what follows */
	char *path, *proxy_uri;
	struct buf query;                      /* each ended by NUL */
	size_t n_query;
	struct buf body;
	/* the exchange under way */
	uint8_t token[CLIENT_TOKEN_BYTES];
	uint8_t echo[CLIENT_ECHO_BYTES_MAX];
	size_t n_echo;
	bool echoed;
	bool register_again;                   /* the request under way renews the observation */
	/* Block1 */
	bool uploading;
	uint8_t request_tag[4], szx1;
	uint64_t sent;                         /* bytes the server has taken */
	size_t last;                           /* bytes in the block under way */
	/* Block2 */
	bool downloading;
	struct coap_fetch fetch;
	struct buf got;
	unsigned restarts;
	struct response head;                  /* of the first block */
	/* observation */
	bool observing;
	uint8_t observe_token[CLIENT_TOKEN_BYTES];
	uint32_t seq;
	struct mono seq_at;
	struct coap_etag seen;
	struct loop_timer *timer;
	bool in_fn, dead;
};

/* coap_call.c */
bool call_on_response(struct coap_session *s, const coap_pdu_t *pdu);   /* false: nobody waits for it (RST) */
void call_on_nack(struct coap_session *s, const coap_pdu_t *sent, coap_nack_reason_t reason);
void calls_end(struct coap_session *s, int error);

/* coap_serve.c */
void serve_setup(coap_context_t *ctx);
void serve_end(struct coap_session *s);
