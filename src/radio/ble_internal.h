/* radio/ble_internal.h - where ble*.c and gatt*.c meet. For radio/ alone.
 *
 * A connection is one node's, on one adapter's slot; links are its users. gatt*.c hangs its own state on both, and is told when they end. */
#pragma once
#include "radio/ble.h"
#include "radio/bluez.h"

struct gatt_connection;                        /* gatt*.c's: what the links of one connection share, or NULL */
struct gatt_link;                              /* gatt*.c's: what one link has open, or NULL */
struct ble_connection;

struct ble_link {
	struct ble_link *prev, *next;          /* of its connection */
	struct ble *ble;                       /* NULL = it was freed */
	struct ble_connection *connection;     /* NULL = ended */
	char node[BLE_ID_BYTES], owner[BLE_OWNER_BYTES];
	bool is_exclusive, is_ready;           /* ready() was called */
	struct mono opened_at;
	struct loop_timer *wait;
	bool wait_is_over;                     /* while it was being connected: the next failure is the last */
	struct loop_timer *later;              /* ready() and ended() that do not come from inside */
	int end_error;
	char end_why[BLE_REASON_BYTES];
	const struct ble_link_ops *ops;
	void *ctx;
	struct gatt_link *gatt;
};

/* ---- for gatt*.c ---- */

/* The device of a ready link, with its services in the mirror; NULL = the link is not ready, or ended. */
struct bluez_device *ble_link_device(const struct ble_link *k);
struct bluez *ble_link_bluez(const struct ble_link *k);        /* also of an ended one */
struct loop *ble_link_loop(const struct ble_link *k);
struct gatt_connection **ble_link_gatt(struct ble_link *k);    /* where the connection's is kept; NULL = the link is not ready, or ended */
/* A socket of this link hung up: if the node is really gone Connected=false follows; this ends the connection's links now (BLZ-7), not
 * from inside: in the loop's next turn. */
void ble_link_hung_up(struct ble_link *k, const char *why);
void ble_link_used(struct ble_link *k);        /* something was said by it: it is not idle, and the node was heard */

/* ---- by gatt*.c ---- */

struct gatt_link *gatt_link_free(struct gatt_link *g);                 /* the link ends or is closed; before its connection's */
struct gatt_connection *gatt_connection_free(struct gatt_connection *g);       /* all its links have ended */
/* A notification by PropertiesChanged, told once for a connection: for all its links. g may be NULL. */
void gatt_connection_value(struct gatt_connection *g, struct bluez_characteristic *c, struct span value);
/* Services or characteristics came or went while it is ready; c = the one that goes, or NULL = came. g may be NULL. */
void gatt_connection_changed(struct gatt_connection *g, struct bluez_characteristic *c);
