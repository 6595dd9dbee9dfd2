/* node/node.h - one reference node: runs its machine (node_machine.h) against a gateway by CoAP
 * (man/dormouse-coap.7), keeps its memory in a directory (node_state.h), judges what it is
 * offered (node_offer.h). Many nodes share one loop and one coap_client. Loop thread. */
#pragma once
#include "io/coap_client.h"
#include "node/mcast_node.h"
#include "node/node_machine.h"
#include "node/node_offer.h"

struct node;

struct node_setup {                            /* borrowed as long as the node lives, but for dir */
	const char *gateway;                   /* coap:// or coaps:// */
	const char *name;                      /* endpoint name */
	const char *dir;                       /* of its state */
	const char *psk_identity;              /* coaps; NULL */
	struct span psk_key, mac_key;
	const struct node_trust *trust;
	const char *hw, *base;                 /* NULL = not told */
	struct node_plan plan;
	uint32_t lifetime_s, wake_period_s, wake_window_s;     /* told to the directory */
	uint64_t start_sequence;               /* what an empty node claims to run */
	uint8_t szx;
	bool by_proxy_uri;                     /* fetch images by the URI in the manifest, the gateway as proxy */
	unsigned ack_timeout_ms;               /* 0 = RFC 7252 */
	int64_t spread_ms;                     /* boots within this time */
	const char *multicast;                 /* interface of the groups' frames; NULL = no part in multicast */
	double multicast_loss;                 /* of frames that arrive, for simulation */
};

struct node_status {
	const char *name;
	enum node_state state;
	enum node_phase phase;
	uint64_t sequence, received_bytes, total_bytes;
	const char *version, *reason;          /* reason: of the last failure; "" */
	unsigned result;                       /* Object 5, of the last failure or success */
	unsigned boots, wakes, checks, updates, failures, crashes, resumes;
};

typedef void node_changed_fn(void *ctx, struct node *n);       /* state or progress */

int node_new(struct loop *l, struct coap_client *client, const struct node_setup *setup, node_changed_fn *changed, void *ctx,
	     struct node **ret);
struct node *node_free(struct node *n);
struct node_status node_status(const struct node *n);
/* Of its part in multicast; phase "off" without. */
struct mcast_node_status node_multicast_status(struct node *n);
/* A multicast frame arrives otherwise than by the group's socket; for tests. */
void node_multicast_hear(struct node *n, struct span frame);
