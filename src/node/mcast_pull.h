/* node/mcast_pull.h - what a multicast receiver lacks, by unicast from mc/i (man/dormouse-multicast.7, MCD-6): one missing
 * stretch after the other in ascending order, one request at a time. Loop thread. */
#pragma once
#include "codec/mcast_message.h"
#include "io/coap_client.h"
#include "node/mcast_receiver.h"

enum { MCAST_PULL_AGAIN_MS = 5000, MCAST_PULL_TRIES = 6 };

enum mcast_pull_result {
	MCAST_PULL_GOES_ON,                    /* a stretch is here */
	MCAST_PULL_DONE,                       /* nothing is missing */
	MCAST_PULL_AGAIN,                      /* begin again in MCAST_PULL_AGAIN_MS */
	MCAST_PULL_FAILED,                     /* MCAST_PULL_TRIES times in a row */
	MCAST_PULL_GONE,                       /* the gateway has no such session any more */
	MCAST_PULL_UNREACHABLE,                /* no answer; begin again over a new association */
};

struct mcast_pull {                            /* the first six are set by the owner */
	struct mcast_receiver *core;
	uint8_t szx;                           /* largest block */
	int (*call)(void *ctx, const struct coap_call_request *req, coap_call_fn *fn, void *arg, struct coap_call **ret);
	void *call_ctx;
	void (*done)(void *ctx, enum mcast_pull_result result);        /* after each stretch, never from inside mcast_pull_begin() */
	void *ctx;

	struct coap_call *request;
	char path[136], ep[72], sid[MCAST_SID_HEX_BYTES + 2];
	uint32_t size, next, end;              /* of the stretch: next fragment, end */
	uint16_t z;
	uint8_t fragment[MCR_Z_MAX];
	size_t n_fragment;
	unsigned n_taken, n_failures;
};

/* base: the path of the gateway's multicast resources ("mc"); name: of the node. False: nothing is missing, or no
 * request can be made now. Nothing happens while one is under way. */
bool mcast_pull_begin(struct mcast_pull *p, const char *base, const char *name, const struct mcast_setup *setup);
bool mcast_pull_is_busy(const struct mcast_pull *p);
void mcast_pull_encourage(struct mcast_pull *p);       /* failures are forgotten */
bool mcast_pull_cancel(struct mcast_pull *p);          /* whether one was under way */
