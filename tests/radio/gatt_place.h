/* tests/radio/gatt_place.h - what gatt*.c stands on, without ble*.c: the mirror of a fake bluetoothd, and links as ble*.c would make them.
 * Include after cmocka.h. */
#pragma once
#include "../until.h"
#include "fake_bluez.h"
#include "radio/ble_internal.h"
#include "radio/gatt.h"

#define PLACE_NODE "C0:00:00:00:00:01"
#define PLACE_PATH "/org/bluez/hci0/dev_C0_00_00_00_00_01"
#define SMP_SERVICE "8d53dc1d-1db7-4cd3-868b-8a527460aa84"
#define SMP_CHARACTERISTIC "da2e7828-fbce-4e01-ae9e-261174997c48"

struct place {
	struct loop *loop;
	struct fake_bluez *f;
	struct bluez *bluez;
	struct bluez_device *device;           /* connected and resolved; NULL = not */
	struct gatt_connection *gatt;
	struct ble_link *links;                /* of that connection */
	struct loop_timer *end;                /* ble_link_hung_up() ends the links in the next turn */
	unsigned n_hung_up, n_ended, n_used;
	char why[BLE_REASON_BYTES];
};

/* With one adapter and one node; add characteristics, then place_connect(). */
struct place *place_new(const struct fake_node *n);
void place_free(struct place *p);
void place_connect(struct place *p);
struct ble_link *place_link(struct place *p);
void place_close(struct place *p, struct ble_link *k);
bool place_until(struct place *p, bool (*test)(void *ctx), void *ctx);
void place_run(struct place *p, int64_t ms);
void place_until_called(struct place *p, const char *method, size_t n);        /* that often, on any object */
