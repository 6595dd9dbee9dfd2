/* radio/ble_ad.h - advertisements as they were in the air, put together again from what BlueZ tells of them: AD structures of length,
 * type and value (Core specification Supplement, Part A). And UUIDs. Pure. */
#pragma once
#include "radio/ble.h"

enum ble_ad_type {
	AD_FLAGS = 0x01, AD_UUID16 = 0x03, AD_UUID32 = 0x05, AD_UUID128 = 0x07, AD_NAME = 0x09, AD_TX_POWER = 0x0a, AD_DATA16 = 0x16,
	AD_APPEARANCE = 0x19, AD_DATA32 = 0x20, AD_DATA128 = 0x21, AD_MANUFACTURER = 0xff,
};
enum { AD_VALUE_BYTES_MAX = 254 };

struct ble_ad {
	uint8_t *p;                            /* BLE_AD_BYTES_MAX */
	size_t *n;
};

void ble_ad_remove(struct ble_ad ad, uint8_t type);            /* all of the type */
/* One more of the type: head and value together are its value. What does not fit is left out: -EMSGSIZE. */
int ble_ad_add(struct ble_ad ad, uint8_t type, struct span head, struct span value);
/* Lists of services: the types 16, 32 and 128, those that are needed; uuids in network order. */
void ble_ad_set_services(struct ble_ad ad, const uint8_t (*uuids)[BLE_UUID_BYTES], size_t n);
/* One more service's data. */
int ble_ad_add_service_data(struct ble_ad ad, const uint8_t uuid[static BLE_UUID_BYTES], struct span value);

/* "0000fe59-0000-1000-8000-00805f9b34fb", or short: "fe59", "0xfe59", "0000fe59"; network order out. -EBADMSG. */
int ble_uuid_parse(struct span text, uint8_t ret[static BLE_UUID_BYTES]);
/* 2, 4 or 16: how many bytes tell it. */
size_t ble_uuid_bytes(const uint8_t uuid[static BLE_UUID_BYTES]);
