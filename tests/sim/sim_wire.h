/* tests/sim/sim_wire.h - inside the simulated network: messages, datagrams, and what its three files share. */
#pragma once
#include <uthash.h>
#include <utlist.h>

#include "io/coap_body.h"
#include "sim_net.h"

enum { ACK_TIMEOUT_MS = 2000, MAX_RETRANSMIT = 4, EXCHANGE_LIFETIME_MS = 247 * 1000, SEPARATE_MS = 30 * 1000, DEFER_ACK_MS = 800,
       COALESCE_MS = 100, IDLE_SESSION_MS = 300 * 1000 };

enum wire_type { WIRE_CON, WIRE_NON, WIRE_ACK, WIRE_RST };

struct message {                               /* shared by its copies on the wire; code 0 = empty */
	unsigned refs;
	uint8_t code;
	uint64_t token;
	struct coap_etag etag[COAP_ETAG_MAX];
	size_t n_etag;
	int observe;                           /* -1 = absent */
	bool has_block2;
	struct coap_block block2;
	uint64_t size2;
	int accept, content_format;
	int64_t max_age_s;
	struct buf path, query, proxy_uri, location, payload;  /* path: "a/b"; query: each ended by NUL */
	int64_t born;
};

struct message *message_new(void);
struct message *message_ref(struct message *m);
void message_unref(struct message *m);         /* NULL is fine */

struct wire_header {
	uint64_t session;                      /* the client's address and port */
	enum wire_type type;
	uint16_t mid;
};

struct sim_network {
	struct sim_faults faults;
	struct sim_net_watch watch;
	struct loop *loop;                     /* of the datagrams under way */
	struct coap_endpoint *endpoint;        /* NULL: nobody listens */
	bool is_unplugged;
	unsigned generation;                   /* of endpoints */
	struct packet *packets;
	struct coap_session *sessions;         /* open ones, by number */
	uint64_t last_session;
	struct sim_net_counts counts;
};
extern struct sim_network net;

/* One datagram; up: to the gateway. */
void wire_send(bool up, struct wire_header h, struct message *m);
int64_t wire_timeout_ms(unsigned ack_timeout_ms, unsigned n_sent);      /* of the n-th transmission */

/* What arrives, and who may. */
int endpoint_psk(struct coap_endpoint *e, struct span identity, uint8_t *ret, size_t max);
void endpoint_receive(struct coap_endpoint *e, struct wire_header h, struct message *m);
void client_receive(struct coap_session *s, struct wire_header h, struct message *m);

struct coap_client {
	struct loop *loop;
	int id;
	struct coap_session *sessions;
};

struct coap_session {
	struct coap_client *c;
	uint64_t number;
	bool secure;
	char identity[COAP_IDENTITY_BYTES_MAX + 1];
	struct buf key;
	unsigned generation;                   /* of the endpoint it shook hands with; 0 = none yet */
	unsigned ack_timeout_ms, max_retransmit;
	uint16_t mid;
	uint64_t token;
	struct coap_call *calls;
	struct coap_session *prev, *next;
	UT_hash_handle hh;                     /* in net.sessions */
};
