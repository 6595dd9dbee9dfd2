/* delivery/smp_udp.h - the driver "smp-udp": MCUboot images brought to nodes that speak MCUmgr's SMP over UDP (port 1337), IPv6 or
 * IPv4. A node is reached at its device's address; it asks for nothing and needs no registration. SMP over UDP protects nothing: it
 * belongs on links that protect themselves, and the node's bootloader judges the image. All but the datagrams is delivery/smp_target. */
#pragma once
#include "delivery/smp_target.h"
#include "io/udp.h"

struct smp_udp_config {
	struct smp_driver_config smp;
	/* Where the device is: 0; -EDESTADDRREQ: nobody said; -EINVAL: not an address; -ENODEV: its interface is not there. */
	int (*address)(void *ctx, const char *device, struct udp_address *ret);
	uint32_t (*message_bytes)(void *ctx, const struct udp_address *to);    /* longest that suits the way there; 0 or NULL: as set */
	void *address_ctx;
};

int smp_udp_open(const struct smp_udp_config *c, struct delivery_driver **ret);
