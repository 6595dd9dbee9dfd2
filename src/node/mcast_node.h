/* node/mcast_node.h - a node's part in multicast sessions (man/dormouse-multicast.7): it is invited or asks (mc/s), fetches what it
 * must know and has it judged, feeds the receiver (node/mcast_receiver.h) from the group's socket, reports, and fetches by
 * unicast what it is told to. It decides nothing about its node: what happened is told by node_event, and the node's machine goes
 * on from there. Loop thread.
 *
 * Radio: while the receiver does not ask to listen, what arrives is thrown away unheard, as a radio that is off would. */
#pragma once
#include "io/coap_client.h"
#include "io/coap_multicast.h"
#include "node/mcast_receiver.h"
#include "node/node_machine.h"
#include "node/node_state.h"

struct mcast_node;

struct mcast_node_host {                       /* what the node lends; ctx and strings live as long as it does */
	void *ctx;
	const char *name, *interface;
	uint8_t szx;
	uint64_t seed;
	double loss;                           /* of what arrives, for simulation */
	bool listens_idle;                     /* an announcement may come at any time (not for sleepers) */
	/* A request to the gateway; opens the session when need be. */
	int (*call)(void *ctx, const struct coap_call_request *req, coap_call_fn *fn, void *arg, struct coap_call **ret);
	/* The envelope that belongs to this object: NODE_EV_OFFER, _REFUSED, or _NONE (runs already). */
	enum node_event (*judge)(void *ctx, struct span envelope, const struct digest *object, uint64_t bytes);
	/* Whether the envelope accepted before a restart is still there and has this object. */
	bool (*recall)(void *ctx, const struct digest *object, uint64_t bytes);
	bool (*is_free)(void *ctx);            /* nothing else is under way */
	void (*post)(void *ctx, enum node_event ev);
	void (*progress)(void *ctx);
	int (*save)(void *ctx);                /* the groups of durable changed */
};

struct mcast_node_status {
	const char *phase;                     /* "off", "idle", "armed", "receiving", "pulling", "ready", "closed", "failed" */
	uint64_t received_frames, lost_frames, bad_frames, radio_on_ms, received_bytes, total_bytes;
	unsigned reports, spoiled, sessions;
	bool is_listening;
};

struct mcast_node *mcast_node_new(struct loop *l, const struct mcast_node_host *host);
struct mcast_node *mcast_node_free(struct mcast_node *m);
/* The power comes: what is in the directory goes on. durable is borrowed until the power goes. */
int mcast_node_on(struct mcast_node *m, int dirfd, struct node_durable *durable);
void mcast_node_off(struct mcast_node *m);

/* What the gateway asks of us on our own session: /mc, coap_handler_fn. */
int mcast_node_serve(void *m, const struct coap_request *req, struct coap_response *res);
/* The path of mc/s at the gateway; the other resources are beside it. "" = it has none. */
void mcast_node_set_path(struct mcast_node *m, struct span path);
/* NODE_JOIN: ends in NODE_EV_OFFER, _REFUSED, _NONE (no session for us), _GONE (the one we were in is over), _UNREACHABLE. */
void mcast_node_join(struct mcast_node *m);
/* NODE_LISTEN: ends in NODE_EV_OK (the object is whole), _GONE, _INVITED (to another), _UNREACHABLE (the gateway does not know our
 * association any more, as after its restart: hang up, and join again over a new one). Going on while the machine does something else
 * is fine. */
void mcast_node_listen(struct mcast_node *m);
/* Its calls end; the session goes on. Before coap_session_close(). */
void mcast_node_hang_up(struct mcast_node *m);
/* Where the whole object lies, and its SHA-256; empty before. */
struct span mcast_node_object(const struct mcast_node *m, struct digest *ret);
/* The object was installed or its update is over: its room is given back. */
void mcast_node_consumed(struct mcast_node *m);
/* A frame of the group, also from tests. */
void mcast_node_hear(struct mcast_node *m, struct span frame);

struct mcast_node_status mcast_node_status(struct mcast_node *m);
