/* node/smp_node.h - the reference SMP server (node/smp_server.h) as a device of its own on a UDP port, with its flash as files:
 *   slot-0, slot-1   the images; slot-0 is what runs
 *   smp-state        "confirmed" or "trial", and "pending" when slot-1 waits for a restart
 * Loop thread. */
#pragma once
#include "io/loop.h"
#include "node/smp_server.h"

struct smp_node_config {
	const char *listen;                    /* PORT on 127.0.0.1, or HOST:PORT */
	const char *dir;
	const char *kind;                      /* words, see smp_node_kind(); NULL */
	double loss;                           /* of datagrams, in both directions */
	uint64_t seed;
	const char *status_file;               /* NULL */
};

struct smp_node;

/* What sort of device: words with commas between: v1 single-slot no-hash no-params no-resume must-erase damages refuses-confirm crashes.
 * -EINVAL. */
int smp_node_kind(const char *words, struct smp_server_config *ret);
/* -errno; told in the log. */
int smp_node_open(struct loop *l, const struct smp_node_config *c, struct smp_node **ret);
struct smp_node *smp_node_close(struct smp_node *n);
