/* node/fleet.h - one node or many in one process: names, directories, keys, and the story they tell as JSON.
 * Loop thread. */
#pragma once
#include "node/node.h"

enum { FLEET_NODES_MAX = 10000, FLEET_PSK_BYTES_MAX = 64 };

struct fleet_config {
	const char *gateway, *name, *dir;
	unsigned count;                        /* 1: named name; more: name-000, name-001, ... */
	unsigned sleepers;                     /* the first so many sleep */
	uint32_t sleep_s, awake_s, lifetime_s;
	double speed;                          /* sleeping goes so much faster */
	double crash;
	uint64_t seed, start_sequence;
	const char *identity;                  /* NULL = the node's name */
	struct span psk_key, mac_key;          /* of every node without a line in the key file */
	const char *psk_file;                  /* lines: NAME PSK-HEX [MAC-KEY-HEX]; NULL */
	struct node_trust trust;
	const char *hw, *base;
	uint8_t szx;
	bool by_proxy_uri, once, exit_when_updated;
	unsigned ack_timeout_ms;
	const char *multicast;                 /* interface; NULL = no part in multicast */
	double loss;                           /* of multicast frames; the rest is coap_client_set_loss() */
	uint32_t timeout_s;                    /* give up after so long; 0 = never */
	const char *status_file;               /* "-": a line per change to standard output; NULL */
};

struct fleet;

int fleet_open(struct loop *l, const struct fleet_config *c, struct fleet **ret);
struct fleet *fleet_close(struct fleet *f);
/* What the process should say: 0 all went well, 1 some node failed, 3 the time was over. */
int fleet_exit(const struct fleet *f);
