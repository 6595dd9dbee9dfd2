/* tests/delivery/smp_peripheral.h - a scripted node (fake_ble.h) with the reference SMP server (node/smp_server.h) behind its
 * characteristic, and a firmware revision. Its link is lost when it restarts. */
#pragma once
#include "../mcuboot_image.h"
#include "base/buf.h"
#include "fake_ble.h"
#include "node/smp_server.h"

struct smp_peripheral {
	struct fake_node *node;
	struct smp_server *server;
	struct loop_timer *restart;
	uint16_t handle, revision_handle;
	struct buf in;                         /* what came of a message */
	size_t notify_bytes, largest_write, largest_message;
	unsigned n_writes;
	bool takes_no_parts;                   /* each write is a message, or garbage */
	bool is_garbage, is_deaf;
	/* Called at each write; true: it was lost. */
	bool (*lost)(void *ctx);
	void *ctx;
};

/* The node is in range, and runs version 1.0.0. */
void smp_peripheral_init(struct smp_peripheral *p, struct ble *b, struct loop *l, const char *id, const struct smp_server_config *c);
void smp_peripheral_done(struct smp_peripheral *p);
void smp_peripheral_is(struct smp_peripheral *p, const struct smp_server_config *c);   /* another server, as new */
