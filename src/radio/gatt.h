/* radio/gatt.h - GATT on a ready link (radio/ble.h): what a node offers, and reading, writing, streaming, notifications. A characteristic
 * is named by its handle, as BlueZ numbers it; handles may mean something else on the next link. Loop thread.
 *
 * Errors of operations: -ENOENT no such handle; -EPERM the node does not permit it; -EACCES it wants pairing or encryption;
 * -EMSGSIZE bad length; -EBUSY; -EOPNOTSUPP; -ETIMEDOUT; -ENOTCONN; -EIO else (BLE-10). */
#pragma once
#include "radio/ble.h"

enum {
	GATT_VALUE_BYTES_MAX = 512,            /* whatever the MTU */
	GATT_STREAM_BYTES_MAX = 495,           /* more at once is lost by BlueZ 5.66 */
	GATT_SERVICES_MAX = 64, GATT_CHARACTERISTICS_MAX = 256, GATT_OPS_MAX = 64,
};

enum gatt_property {                           /* the properties octet */
	GATT_BROADCAST = 0x01, GATT_READ = 0x02, GATT_WRITE_NO_RESPONSE = 0x04, GATT_WRITE = 0x08, GATT_NOTIFY = 0x10, GATT_INDICATE = 0x20,
	GATT_SIGNED_WRITE = 0x40, GATT_EXTENDED = 0x80,
};

struct gatt_service {
	uint16_t handle;
	uint8_t uuid[BLE_UUID_BYTES];          /* network order; short ones expanded */
	bool is_primary;
};

struct gatt_characteristic {
	uint16_t handle, service;
	uint8_t uuid[BLE_UUID_BYTES];
	uint8_t properties;
	uint16_t mtu;                          /* of the link; 0 = not told */
};

/* UUID of a short one: GATT_UUID16(0xFE59). */
#define GATT_UUID16(n_) { 0, 0, (uint8_t)((n_) >> 8), (uint8_t)(n_), 0, 0, 0x10, 0, 0x80, 0, 0, 0x80, 0x5f, 0x9b, 0x34, 0xfb }

/* In order of handles; NULL past the end. They hold until the loop's next turn. */
const struct gatt_service *gatt_service_at(const struct ble_link *k, size_t i);
const struct gatt_characteristic *gatt_characteristic_at(const struct ble_link *k, size_t i);
/* The first such characteristic in such a service; service NULL = any. NULL = none. */
const struct gatt_characteristic *gatt_find(const struct ble_link *k, const uint8_t *service, const uint8_t *characteristic);

/* What a node offers as far as bluetoothd knows, which is nothing before its first connection; without a link. In order of handles:
 * each service with c NULL, then its characteristics. */
typedef void gatt_offer_fn(void *ctx, const struct gatt_service *s, const struct gatt_characteristic *c);
void gatt_offers(const struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES], gatt_offer_fn *fn, void *ctx);

/* Called exactly once unless the link is closed or ended before; never from inside. value is borrowed. */
typedef void gatt_done_fn(void *ctx, int error, struct span value);
/* -ENOSPC over GATT_OPS_MAX; -ENOTCONN not ready; -EMSGSIZE. With NULL as fn nobody is told. */
int gatt_read(struct ble_link *k, uint16_t handle, gatt_done_fn *fn, void *ctx);
int gatt_write(struct ble_link *k, uint16_t handle, struct span value, bool with_response, gatt_done_fn *fn, void *ctx);

/* ---- a stream of writes without response ---- */
struct gatt_stream;
struct gatt_stream_ops {
	void (*ready)(void *ctx, int error, size_t chunk_max); /* once; error: it cannot be had (-EBUSY: another program holds it, BLZ-10) */
	void (*writable)(void *ctx);           /* after -EAGAIN */
};
/* By a socket of BlueZ's, or by single calls where it gives none (BLZ-5). Closed with its link. */
int gatt_stream_open(struct ble_link *k, uint16_t handle, const struct gatt_stream_ops *ops, void *ctx, struct gatt_stream **ret);
struct gatt_stream *gatt_stream_close(struct gatt_stream *s);
/* 0; -EAGAIN: later, after writable(); -EMSGSIZE empty, or over chunk_max; -ENOTCONN. */
int gatt_stream_send(struct gatt_stream *s, struct span chunk);

/* ---- notifications and indications ---- */
struct gatt_subscription;
struct gatt_subscription_ops {
	void (*ready)(void *ctx, int error);   /* once */
	void (*value)(void *ctx, struct span value);
};
/* Several of one characteristic share what the node was asked for. Closed with its link. */
int gatt_subscribe(struct ble_link *k, uint16_t handle, const struct gatt_subscription_ops *ops, void *ctx, struct gatt_subscription **ret);
struct gatt_subscription *gatt_unsubscribe(struct gatt_subscription *s);
