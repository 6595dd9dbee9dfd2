/* delivery/smp_udp.h - the driver "smp-udp": MCUboot images brought to nodes that speak MCUmgr's SMP over UDP (port 1337), IPv6 or
 * IPv4. A node is reached at its device's address; it asks for nothing and needs no registration. SMP over UDP protects nothing: it
 * belongs on links that protect themselves, and the node's bootloader judges the image.
 *
 * Before a node is talked to, the image is looked at: one image an update, MCUboot's format, its hash right. Then delivery/smp_upload
 * goes the way, and what it reaches is reported through the sink before it goes on. One session a node; SMP_UDP_ACTIVE_MAX at a time,
 * the others wait. */
#pragma once
#include "delivery/delivery.h"
#include "delivery/smp_upload.h"
#include "io/udp.h"

enum { SMP_UDP_ACTIVE_MAX = 64, SMP_UDP_KNOWN_MAX = 10000 };

struct smp_udp_settings {                      /* of smp_upload_config */
	uint32_t message_bytes, window, answer_ms, restart_s, proof_s;
	bool allow_single_slot;
};

struct smp_udp_config {
	struct loop *loop;
	struct smp_udp_settings settings;
	struct delivery_source source;
	struct delivery_sink sink;
	/* Where the device is: 0; -EDESTADDRREQ: nobody said; -EINVAL: not an address; -ENODEV: its interface is not there. */
	int (*address)(void *ctx, const char *device, struct udp_address *ret);
	void *address_ctx;
};

int smp_udp_open(const struct smp_udp_config *c, struct delivery_driver **ret);
/* For orders that start from now on. */
void smp_udp_set(struct delivery_driver *drv, const struct smp_udp_settings *s);
