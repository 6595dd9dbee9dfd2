/* proxy/ble_layout.h - what a node offers, remembered beyond the link it was learned on: its services and characteristics but for
 * those that stay closed. Services by which nodes take firmware are always closed, and so are their characteristics wherever they
 * stand: a new image has one way to a node, and this is not it. No I/O but reading what the link knows already. */
#pragma once
#include "base/buf.h"
#include "radio/gatt.h"

enum { BLE_CLOSED_MAX = 64 };

struct ble_layout {
	struct gatt_service *services;         /* owned, in order of handles */
	struct gatt_characteristic *characteristics;
	size_t n_services, n_characteristics;
};

/* closed: UUIDs of further services. What a link that is ready offers. */
void ble_layout_read(const struct ble_link *k, const uint8_t (*closed)[BLE_UUID_BYTES], size_t n_closed, struct ble_layout *ret);
void ble_layout_done(struct ble_layout *l);
bool ble_layout_eq(const struct ble_layout *a, const struct ble_layout *b);
const struct gatt_service *ble_layout_service(const struct ble_layout *l, uint16_t handle);   /* NULL = none */
const struct gatt_characteristic *ble_layout_characteristic(const struct ble_layout *l, uint16_t handle);
/* A service, or a characteristic, by which nodes take firmware. */
bool ble_uuid_is_firmware(const uint8_t uuid[static BLE_UUID_BYTES]);
/* Of the Bluetooth base UUID: its number into *ret. */
bool ble_uuid_is_short(const uint8_t uuid[static BLE_UUID_BYTES], uint32_t *ret);
/* "ble.2a19", or "urn:uuid:..." (BLE-9). */
void ble_uuid_add_type(struct buf *b, const uint8_t uuid[static BLE_UUID_BYTES]);
/* The links that stand for the node in the directory: its description and, once they are known, its values (l may be NULL). prefix:
 * "/ble/". Link format. */
void ble_layout_links(const struct ble_layout *l, const char *prefix, const char *id, struct buf *ret);
