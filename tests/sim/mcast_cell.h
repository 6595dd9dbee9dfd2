/* tests/sim/mcast_cell.h - multicast of one object to one radio cell, in virtual time: the gateway's own session
 * (delivery/mcast_session) and the nodes' own receiver (node/mcast_receiver), with a lossy air between them (mcast_air.h).
 *
 * What the air costs (802.15.4, Z = 64): a multicast frame is one frame. A unicast message is one frame for each 64 bytes of its
 * body, at least one; the link sends each again when it was not heard (3 times, each time counted), and the message is lost when one
 * of its frames is; then CoAP's own retries come for CON (4, from 2 s on, doubled). So a report costs 1 frame, a setup 3 to 5 and its
 * ack 1, a block of 64 bytes 1 and its answer 1, over 1 - p. Reports are NON. A node tells with its next routine message (heartbeat_ms) that it holds the object, which costs nothing here, as it is sent anyway.
 *
 * Not simulated: collisions, more than one hop, the security of unicast (taken as given: only the node itself sends in its name). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "delivery/mcast_session.h"
#include "mcast_bound.h"

enum { MCAST_CELL_NODES_MAX = 1024 };

struct mcast_cell_config {
	uint64_t seed;
	uint32_t object_bytes;
	uint16_t z, k;                         /* 0 = 64, 512 */
	uint8_t log2_e, alg;                   /* 0 = 12, 1 */
	uint32_t pace_ms;                      /* 0 = 50 */
	struct mcast_class classes[MCAST_CLASSES_MAX];
	unsigned n_classes;
	unsigned link_retries;                 /* of unicast frames; 0 = none; mcast_cell_defaults(): 3, as 802.15.4 does */
	bool invited;                          /* the group's key is there already: members are told by ANNOUNCE */
	uint32_t heartbeat_ms;                 /* 0 = 10 min */
	uint32_t window_s, window_period_s, window_count;      /* announced windows; 0 = none */
	uint16_t baseline_permille;            /* of earlier sessions; 0 = none yet */
	struct mcast_tuning tuning;            /* mcast_cell_defaults() */
	struct mcast_link link;

	/* Nodes that are not as they should be; counts, taken from all classes by lot. */
	unsigned sleepers;                     /* hear nothing half of all the time, in stretches of sleep_ms on average, unannounced */
	uint32_t sleep_ms;
	unsigned absent;                       /* never there */
	unsigned dying;                        /* go for good some time in the transmission */
	unsigned liars;                        /* report what is not so */

	/* Foes: one of it so often on average; 0 = never. */
	uint32_t forge_ms, insider_ms, replay_ms;
	double corrupt;                        /* of the frames heard, so many have bits flipped */
	bool insider_ends;                     /* an insider also forges END and ANNOUNCE and STATUS */

	unsigned gateway_restarts, node_restarts;              /* at random instants of the transmission, in all */
	uint32_t persist_ms;                   /* a snapshot is safe after at most so long; 0 = 30 ms */
	bool no_table;                         /* nodes have no digests of generations: only the object's */
	bool power_fails;                      /* a node's restart may cut a flash operation in half */
	int64_t horizon_ms;                    /* 0 = 2 days */
	bool trace;
};

struct mcast_cell_result {
	/* Promises: each of these is 0. */
	unsigned forged_ready;                 /* READY, and what it holds is not the object */
	unsigned missing;                      /* honest and there, and not READY at the end */
	unsigned parity_twice;                 /* rows sent a second time in one session */
	unsigned flash_twice;                  /* words of flash programmed twice, of nodes without power failures inside an operation */
	unsigned too_long;                     /* snapshots over the limit, frames over one link frame */
	bool unfinished;                       /* the session did not end */

	unsigned nodes, ready, by_unicast;     /* by_unicast: handed back, served by plain unicast; part of ready */
	unsigned pulled;                       /* told to pull the rest; part of ready */
	double bound, bound_bursty;            /* frames */
	double unicast, unicast_retried;       /* frames of unicast to all, without and with retries of the link */
	uint64_t sent[MCAST_SENT_KIND_COUNT], sent_total;      /* by multicast */
	uint64_t reports, setup, descriptor, pull, fallback;   /* frames of unicast messages, both directions */
	uint64_t foes;                         /* frames of foes: not counted anywhere else */
	uint64_t control;                      /* STATUS, echo, ANNOUNCE, END and reports */
	double ratio, ratio_with_setup;        /* all but setup and descriptors over the bound; all */
	double ratio_bursty;                   /* over bound_bursty */
	double listened;                       /* multicast frames that went by while the radio was on, over F; mean of honest nodes */
	double listened_ms;                    /* time the radio was on, over F frames at the pace */
	double loss;                           /* the session's estimate */
	unsigned rounds, spoiled, restarts;
	int64_t active_ms, end_ms;             /* until END; until everybody had it */
	uint64_t events;
};

void mcast_cell_defaults(struct mcast_cell_config *c);
void mcast_cell_run(const struct mcast_cell_config *c, struct mcast_cell_result *ret);
/* All promises kept? Otherwise prints which, with the seed. */
bool mcast_cell_kept(const struct mcast_cell_config *c, const struct mcast_cell_result *r);
