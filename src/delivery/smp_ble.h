/* delivery/smp_ble.h - the driver "smp-ble": MCUboot images brought to nodes that speak MCUmgr's SMP over Bluetooth LE (facts: service
 * 8D53DC1D-1DB7-4CD3-868B-8A527460AA84). It has the node for itself (an exclusive link), writes messages in parts of what the link
 * carries, without response, as many as the node has buffers for, and puts the notified answers together (SMP-15, BLZ-6). What a node
 * says of its firmware in its device information is told with the end (BLZ-12). All but the link is delivery/smp_target. */
#pragma once
#include "delivery/smp_target.h"
#include "radio/gatt.h"

enum {
	SMP_BLE_ANSWER_MS = 5000, SMP_BLE_OUT_BYTES_MAX = (SMP_UPLOAD_WINDOW_MAX + 1) * SMP_UPLOAD_MESSAGE_BYTES_MAX,
	SMP_BLE_REACH_S = 60, SMP_BLE_SLOT_S = 600, SMP_BLE_RECENT_MS = 120000,
};

struct smp_ble_config {
	struct smp_driver_config smp;          /* answer_ms: SMP_BLE_ANSWER_MS at least; nothing is lost but by the node */
	struct ble *ble;                       /* ends after the driver, and does not run in between */
	bool is_blind;                         /* there is no scanning: nodes are tried without having been heard of */
	/* Which node the device is: 0; -EDESTADDRREQ: nobody said; -EINVAL: not one of Bluetooth LE. */
	int (*node)(void *ctx, const char *device, char ret[static BLE_ID_BYTES]);
	void *node_ctx;
};

int smp_ble_open(const struct smp_ble_config *c, struct delivery_driver **ret);
void smp_ble_set(struct delivery_driver *drv, const struct smp_settings *s, bool is_blind);
