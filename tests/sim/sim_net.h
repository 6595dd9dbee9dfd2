/* tests/sim/sim_net.h - a CoAP network in virtual time: io/coap_endpoint.h and io/coap_client.h over datagrams that are
 * lost, doubled, late and out of order. CON messages are retransmitted with RFC 7252's back-off; requests that are not
 * idempotent are answered once; late answers follow an empty ACK; Block2 goes block by block (io/coap_body's own
 * arithmetic); observations are notified by CON, RST ends them. No Block1: request bodies are small here. A secure session
 * knows its key, and is lost with the endpoint it was made with. */
#pragma once
#include "io/coap_client.h"
#include "io/coap_endpoint.h"
#include "sim.h"

struct sim_faults {
	double loss_up, loss_down;             /* of datagrams to and from the gateway */
	double twice;                          /* arrives two times */
	double late;                           /* takes 0.3 to 8 s: overtaken by others */
	int64_t least_ms, most_ms;             /* of all others */
};

struct sim_answer {
	int client;
	const struct coap_request *req;
	uint8_t code;
	const char *location;                  /* "rd/abc"; "" */
	uint64_t off;                          /* of the block served */
};

struct sim_net_watch {
	/* The gateway answers a request, for the first time. */
	void (*answered)(void *ctx, const struct sim_answer *a);
	/* A datagram leaves the gateway for that client; asked_ms: so long ago the client sent what this answers, or -1 = it
	 * was not asked for (a notification). */
	void (*sent)(void *ctx, int client, int64_t asked_ms);
	/* A client sends a request, for the first time. */
	void (*asked)(void *ctx, int client, const char *path, uint64_t off);
	void *ctx;
};

struct sim_net_counts {
	uint64_t n_up, n_down, n_lost, n_doubled, n_requests, n_repeated, n_notifications, n_separate;
};

void sim_net_begin(const struct sim_faults *f, const struct sim_net_watch *w);
void sim_net_set_faults(const struct sim_faults *f);
/* The gateway's process is dead: nothing leaves it any more, until the next coap_endpoint_new(). */
void sim_net_unplug(void);
struct sim_net_counts sim_net_counts(void);
void sim_net_end(void);

void sim_client_set_id(struct coap_client *c, int id);
