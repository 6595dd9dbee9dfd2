/* io/coap_endpoint_priv.h - what the files of the endpoint share. Internal.
 *
 * A datagram's way: libcoap -> coap_endpoint.c on_request() -> an `exchange` (request parsed in
 * coap_endpoint_request.c) -> proxy or route, Block1 -> the handler -> exchange_answer()
 * (coap_endpoint_reply.c: ETag, Accept, Block2, observation, deduplication) -> libcoap.
 * An answer given later travels in a copy of its exchange (coap_endpoint_defer.c). */
#pragma once
#include <uthash.h>

#include "io/coap_body.h"
#include "io/coap_dedup.h"
#include "io/coap_endpoint.h"
#include "io/coap_snapshot.h"

enum {
	ENDPOINT_LISTEN_MAX = 16,
	ENDPOINT_DEDUP_ENTRIES_MAX = 65536,
	ENDPOINT_DEDUP_BYTES_MAX = 16 * 1024 * 1024,
	ENDPOINT_SNAPSHOTS_MAX = 4096,
	ENDPOINT_SNAPSHOT_BYTES_MAX = 32 * 1024 * 1024,
	ENDPOINT_ASSEMBLIES_PEER_MAX = 16,
	ENDPOINT_ASSEMBLIES_MAX = 4096,
	ENDPOINT_ASSEMBLY_IDLE_MS = 60 * 1000,          /* BW-7 */
	ENDPOINT_ASSEMBLY_YIELD_MS = 10 * 1000,         /* longer than this without a block: gives way when there is no room */
	ENDPOINT_OBSERVERS_PEER_MAX = 64,
	ENDPOINT_DEFERRED_MAX = 4096,
	ENDPOINT_DEFERRED_PEER_MAX = 64,
	ENDPOINT_DEFER_ACK_MS = 800,                    /* empty ACK after this (PX-9: under 1 s) */
	ENDPOINT_COALESCE_MS = 100,                     /* OB-13 */
	ENDPOINT_CHANGES_MAX = 64,                      /* paths remembered; more: all */
	ENDPOINT_NOTIFY_TURN_MAX = 64,                  /* observers looked at in one turn of the loop */
	ENDPOINT_REQUEST_TAG_BYTES_MAX = 32,
	ENDPOINT_PROXY_URI_BYTES_MAX = 1034,
	ENDPOINT_ECHO_BYTES = 24,
	ENDPOINT_PEM_COUNT = 3,                         /* certificate, key, CAs */
	ENDPOINT_PEM_BYTES_MAX = 256 * 1024,
	ENDPOINT_SMALL_MTU = 1232,                      /* of the smallest IPv6 packet, for links that can do no more */
	ENDPOINT_PROBE_MS = 4000,                       /* for the answer to a ping */
};

struct exchange;

struct route {
	struct coap_route r;
	char *path, *attributes;
	struct span segment[COAP_PATH_MAX];
	size_t n_segment;
};

struct assembly {
	struct digest key;
	struct coap_assembly a;
	size_t counted;                        /* bytes in the totals */
	struct mono touched;
	struct peer *peer;
	struct assembly *prev, *next;          /* of the peer */
	struct assembly *all_prev, *all_next;  /* oldest first */
};

/* One libcoap session that has sent a request. */
struct peer {
	struct coap_endpoint *e;
	coap_session_t *session;
	struct coap_peer p;
	struct coap_peer_key key;
	bool closed;                           /* to be disconnected: nothing is served any more */
	bool probed;                           /* a ping is out, see endpoint_peek_hello() */
	uint16_t probe_mid;
	struct mono probe_at;
	struct assembly *assemblies;
	size_t block1_bytes;
	unsigned n_assemblies, n_observers, n_deferred;
	struct coap_endpoint_call *calls;
	bool no_calls;                         /* they are being ended */
	struct peer *prev, *next;
	UT_hash_handle hh;                     /* by p.session */
};

/* What is sent. Spans are borrowed. */
struct reply {
	uint8_t code;
	int content_format;
	int64_t max_age_s, observe, size1, size2;       /* -1 = absent */
	struct coap_etag etag;
	struct span location;                           /* segments, each ended by NUL */
	bool has_block1, has_block2;
	struct coap_block block1, block2;
	struct span echo;
	struct span payload;
};

/* Which notification an ACK is for. */
struct flight_key {
	struct coap_peer_key peer;
	uint32_t mid;
};

struct observer {
	struct coap_endpoint *e;
	struct peer *peer;                     /* holds a reference to its session */
	uint8_t token[COAP_TOKEN_BYTES_MAX];
	size_t n_token;
	const struct route *route;
	struct coap_request req;               /* spans point into store */
	struct buf store;
	struct digest key;                     /* of the snapshot its peer pulls */
	uint8_t szx;
	int content_format;                    /* of the first answer that had one (OB-4) */
	struct digest last;                    /* of code, format, ETag and content last sent */
	bool dirty, in_flight, gone;
	struct flight_key flight;
	uint64_t heard_bytes;                  /* DTLS: what the peer had sent when it left */
	struct mono sent;
	UT_hash_handle hh;                     /* in flight */
	struct observer *prev, *next;
};

struct change {
	char *path;
	struct buf match;                      /* empty = any query */
	bool exact;                            /* else sub-paths too */
};

struct coap_deferred {
	struct coap_endpoint *e;               /* NULL: the endpoint is gone */
	struct exchange *x;                    /* copy */
	struct observer *observer;             /* to be registered with the answer; NULL = none */
	struct loop_timer *ack;
	bool acked;
	struct coap_deferred *prev, *next;
};

/* One request on its way to an answer. */
struct exchange {
	struct coap_endpoint *e;
	struct peer *peer;                     /* NULL once its session is gone (deferred only) */
	coap_pdu_t *response;                  /* libcoap's, to fill; NULL = send one of our own */
	const struct route *route;             /* NULL = proxy, or not found yet */
	struct coap_request req;
	struct coap_deferred *deferred;
	bool answered;                         /* the deferred answer is out already */
	uint8_t token[COAP_TOKEN_BYTES_MAX];
	size_t n_token;
	uint16_t mid;
	bool is_con, separate;                 /* separate: the ACK is out already */
	bool remember;                         /* answer goes to the deduplication table */
	uint64_t fingerprint;
	unsigned no_response;                  /* RFC 7967 bits */
	bool has_block1, has_block2;
	struct coap_block block1, block2;
	int64_t size1;
	uint8_t request_tag[ENDPOINT_REQUEST_TAG_BYTES_MAX];
	size_t n_request_tag;
	struct digest key;                     /* of session, method, URI with query, Accept */
	bool has_key;
	struct span uri_host, proxy_scheme;
	uint16_t uri_port;                     /* 0 = absent */
	uint8_t refuse;                        /* set by the parser: answer this */
	const char *why;
};

struct listener {
	int fd;
	bool secure;
	char text[COAP_ADDR_TEXT_BYTES + 16];
	coap_address_t addr;
};

struct coap_endpoint {
	struct loop *loop;
	struct coap_endpoint_config c;
	coap_context_t *ctx;
	coap_resource_t *proxy;                /* libcoap has acknowledged what arrives here */
	struct loop_io *io;
	unsigned burst;                        /* datagrams read in one go */
	struct listener listener[ENDPOINT_LISTEN_MAX];
	size_t n_listener;
	struct route *route[256];
	size_t n_route;
	coap_handler_fn *proxy_fn;
	void *proxy_ctx;
	void (*heard_fn)(void *ctx, const struct coap_peer *peer);
	void *heard_ctx;
	void (*silent_fn)(void *ctx, const struct coap_peer *peer);
	void *silent_ctx;
	coap_endpoint_blocks_fn *blocks_fn;
	void *blocks_ctx;
	uint64_t next_session;
	struct peer *peers, *by_session;
	uint64_t tokens;                       /* of our own requests */
	size_t n_calls;
	struct exchange *current;              /* whose handler runs */
	struct coap_dedup *dedup;
	struct coap_snapshots *snapshots;
	struct assembly *assemblies;
	size_t block1_bytes, n_assemblies;
	struct coap_deferred *deferred;
	size_t n_deferred;
	struct observer *observers, *in_flight, *notifying;
	struct observer *cursor;               /* the next one observers_notify() looks at */
	size_t n_observers;
	uint32_t observe_seq;
	struct change change[ENDPOINT_CHANGES_MAX];
	size_t n_change;
	bool change_all;
	struct loop_timer *notify, *sweep, *close;
	size_t n_probed;
	coap_bin_const_t psk;                  /* given to libcoap during the handshake */
	uint8_t psk_key[64];
	uint8_t *pem[ENDPOINT_PEM_COUNT];
	size_t n_pem[ENDPOINT_PEM_COUNT];
	uint8_t echo_key[32], echo[ENDPOINT_ECHO_BYTES];
	uint8_t scratch[2 * ENDPOINT_PROXY_URI_BYTES_MAX];
	size_t n_scratch;
	bool closing;
};

/* coap_endpoint_peer.c */
struct peer *peer_get(struct coap_endpoint *e, coap_session_t *session);
void peer_drop(struct peer *p);                         /* the session is about to go */
void peer_end(struct peer *p);                          /* its observers, bodies and deferred answers */
void peer_is_alive(struct peer *p);                     /* something authentic came */
void peer_hold(struct peer *p);
void peer_release(struct peer *p);

/* coap_endpoint_dtls.c */
int endpoint_dtls_setup(struct coap_endpoint *e);
void endpoint_dtls_done(struct coap_endpoint *e);
void endpoint_identify(const coap_session_t *session, struct coap_peer *ret);   /* its identity */
uint64_t peer_bytes_heard(const struct peer *p);        /* DTLS only; else 0 */
void endpoint_peek_hello(struct coap_endpoint *e);
void endpoint_sweep_probes(struct coap_endpoint *e, struct mono now);

/* coap_endpoint_request.c */
void exchange_parse(struct exchange *x, const coap_pdu_t *pdu);
const struct digest *exchange_key(struct exchange *x);
/* Whether a proxy request names this endpoint; then path and query are set from the URI. */
bool exchange_names_us(struct exchange *x, const coap_session_t *session);

/* coap_endpoint.c: the largest block for this peer. */
uint8_t exchange_szx_max(const struct exchange *x);
/* The block that an answer starts with: what was asked for, within that. */
struct coap_block exchange_first_block(const struct exchange *x);

/* coap_endpoint_block1.c: 0 = whole body in *ret; 1 = answered. */
int exchange_gather(struct exchange *x, struct buf *ret);
void assembly_drop(struct assembly *a);
void assemblies_expire(struct coap_endpoint *e, struct mono now);

/* coap_endpoint_reply.c */
void reply_init(struct reply *r, uint8_t code);
bool reply_write(coap_pdu_t *pdu, const struct reply *r);
void exchange_answer(struct exchange *x, struct coap_response *res);    /* empties res */
void exchange_error(struct exchange *x, uint8_t code, const char *why);
bool exchange_from_snapshot(struct exchange *x);
void exchange_send(struct exchange *x, const struct reply *r);
void exchange_send_again(struct exchange *x, struct span answer);
void exchange_withhold(struct exchange *x);
/* Cut block `want` out of res into r (body bytes of a reader go to block_buf). */
int reply_fill(struct reply *r, const struct coap_response *res, const struct coap_block *want, bool always_block,
	       uint8_t block_buf[static COAP_BLOCK_BYTES_MAX]);

/* coap_endpoint_observe.c */
struct observer *observer_prepare(struct exchange *x);  /* NULL: asks for none, or may not have it */
void observer_discard(struct observer *o);              /* not registered */
/* Takes o. The sequence number to answer with, or -1: refused. */
int64_t observer_register(struct observer *o, struct peer *p, const struct coap_response *res);
void observer_cancel(struct exchange *x);
void observers_drop_peer(struct peer *p);
void observers_on_nack(struct peer *p, uint16_t mid);
void observers_peek(struct coap_endpoint *e);
void observers_sweep(struct coap_endpoint *e, struct mono now);
void observers_notify(void *ctx);                       /* the timer's callback; ctx is the endpoint */
void changes_clear(struct coap_endpoint *e);

/* coap_endpoint_defer.c */
void deferred_duplicate(struct exchange *x);            /* a request came again while its answer is awaited */
void deferred_discard(struct coap_deferred *d);         /* unanswered */
void deferred_drop_peer(struct peer *p);
void deferred_orphan(struct coap_endpoint *e);

/* coap_endpoint_call.c */
bool calls_on_response(struct peer *p, const coap_pdu_t *pdu);          /* false: nobody waits for it (RST) */
void calls_on_nack(struct peer *p, const coap_pdu_t *sent, coap_nack_reason_t reason);
void calls_drop_peer(struct peer *p);

/* coap_endpoint_core.c: the handler of /.well-known/core; ctx is the endpoint. */
int endpoint_core_handler(void *ctx, const struct coap_request *req, struct coap_response *res);
