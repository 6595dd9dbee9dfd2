/* delivery/nordic_dfu.h - the driver "nordic-dfu": packages of Nordic's brought to nodes over Bluetooth LE, from the application that
 * is sent into its bootloader to the new application that was seen to run.
 *
 * The image of an update is the distribution package. It is unpacked and checked by a worker before radio is used; then
 * delivery/nordic_upload goes the way, and what it reaches is reported through the sink before it goes on. A node that is in its
 * bootloader already is gone on with. A node's bootloader shows up at the node's address, at the next one, or under the name that we
 * gave it; what shows up elsewhere is taken only if it alone came up in the time of the restart, about as strong as the node, and is
 * nobody else's (NDFU-4). Success is reported when the node was seen to run its application again, never before.
 *
 * Legacy DFU checks nothing but a CRC, so anyone in range can flash such a node: it is used only where permitted() says so. */
#pragma once
#include "delivery/delivery.h"
#include "delivery/nordic_upload.h"
#include "io/worker.h"
#include "radio/gatt.h"

enum {
	NORDIC_DFU_ACTIVE_MAX = 8,             /* at a time: each holds a package in memory */
	NORDIC_DFU_ENTRIES_MAX = 5,            /* into the bootloader, for one order */
	NORDIC_DFU_RSSI_SLACK_DB = 20,
	NORDIC_DFU_NEIGHBOURS_MAX = 32,        /* in their bootloaders before ours was sent there */
};

struct nordic_dfu_settings {
	uint32_t prn, answer_ms;               /* of nordic_upload_config */
	uint32_t restart_s;                    /* how long a node may take to come back, in its bootloader or as its application */
};

struct nordic_dfu_config {
	struct loop *loop;
	struct worker_pool *workers;
	struct ble *ble;                       /* NULL: Bluetooth is off */
	struct nordic_dfu_settings settings;
	struct delivery_source source;
	struct delivery_sink sink;
	/* Which node the device is. -EDESTADDRREQ: it has no address; -EINVAL: not one of Bluetooth. */
	int (*node)(void *ctx, const char *device, char ret[static BLE_ID_BYTES]);
	bool (*is_others)(void *ctx, const char *node, const char *device);    /* the node is another device */
	bool (*is_permitted)(void *ctx, const char *device);           /* Legacy DFU, now */
	void (*used)(void *ctx, const char *device, const char *job);  /* the permit was used: once an order */
	void *ctx;
};

int nordic_dfu_open(const struct nordic_dfu_config *c, struct delivery_driver **ret);
/* For orders that start from now on. */
void nordic_dfu_set(struct delivery_driver *drv, const struct nordic_dfu_settings *s);
