/* tests/delivery/fake_ble.h - radio/ble.h and radio/gatt.h without a radio: linked in the place of src/radio, with nodes that a test
 * scripts. All that the real one tells later is told from the loop here, in order, never from inside a call.
 *
 *	struct ble *b = fake_ble_new(loop);
 *	struct fake_node *n = fake_node_new(b, "ble-0123456789ab", &ops, ctx);
 *	n->handle = fake_node_offers(n, service, characteristic, GATT_NOTIFY | GATT_WRITE_NO_RESPONSE);
 *	n->is_here = true;
 */
#pragma once
#include "radio/gatt.h"

enum { FAKE_CHARACTERISTICS_MAX = 16 };

struct fake_node_ops {                         /* the node's side; each may be NULL; may call fake_node_notify() and fake_node_end() */
	void (*connected)(void *ctx);
	void (*disconnected)(void *ctx);
	int (*write)(void *ctx, uint16_t handle, struct span value, bool with_response);       /* -errno refuses */
	int (*read)(void *ctx, uint16_t handle, uint8_t ret[static GATT_VALUE_BYTES_MAX]);     /* bytes, or -errno */
	void (*subscribed)(void *ctx, uint16_t handle, bool is_on);
};

struct fake_node {
	struct ble_node n;
	bool is_here;                          /* in range: a link comes up; else it waits for fake_node_show() */
	size_t chunk_max;                      /* of streams; 0 = GATT_STREAM_BYTES_MAX */
	unsigned stream_room;                  /* that many chunks go without -EAGAIN; 0 = all do. A turn of the loop makes room again */
	unsigned interval_ms;                  /* ... this later, and so is all that the node says: its connection interval */
	int connect_error;                     /* links end with this instead of getting ready ... */
	unsigned n_connect_errors;             /* ... so often; 0 = always while connect_error is set */
	int stream_error;                      /* of gatt_stream_open(): in ready() */
	bool wants_bond;                       /* operations and subscriptions: -EACCES until n.is_bonded */
	int pair_error;                        /* what ble_pair() ends with; 0 = it bonds */
	unsigned n_links, n_fresh, n_pairs;    /* how often a link got ready, with is_fresh, ble_pair() was called */
	/* below: the fake's own */
	struct ble *b;
	const struct fake_node_ops *ops;
	void *ctx;
	struct gatt_service services[FAKE_CHARACTERISTICS_MAX];
	struct gatt_characteristic characteristics[FAKE_CHARACTERISTICS_MAX];
	size_t n_services, n_characteristics;
	struct ble_link *links;
	struct fake_node *next;
};

/* ble_new() makes the same, for whole daemons: the last one. Its settings, and how often they were set. */
struct ble *fake_ble_last(void);
const struct ble_settings *fake_ble_settings(const struct ble *b, unsigned *ret_times);
struct ble *fake_ble_new(struct loop *l);
void fake_ble_free(struct ble *b);             /* with its nodes; every link must have been closed */
void fake_ble_set_slots(struct ble *b, unsigned slots);        /* links that are up at a time; 0 = any number; who waited longest is next */
void fake_ble_set_turn(struct ble *b, int64_t ms);             /* links that are up for so long end with -EAGAIN while others wait; 0 = never */
void fake_ble_set_health(struct ble *b, enum ble_health h);    /* not ready: links end with -ENOTCONN, new ones too */
unsigned fake_ble_searches(const struct ble *b);
size_t fake_ble_links(const struct ble *b);    /* open, ready or not */

struct fake_node *fake_node_new(struct ble *b, const char *id, const struct fake_node_ops *ops, void *ctx);
uint16_t fake_node_offers(struct fake_node *n, const uint8_t *service, const uint8_t *characteristic, uint8_t properties);
void fake_node_offers_nothing(struct fake_node *n);            /* forget what it offered: it restarts as something else */
void fake_node_show(struct fake_node *n, bool is_here);        /* told to the ops of ble_new(), too; gone: its links end with -ENOENT */
void fake_node_end(struct fake_node *n, int error);            /* its links end: -ECONNRESET, -EAGAIN ... */
void fake_node_heard(struct fake_node *n);      /* it advertises */
void fake_node_asks(struct fake_node *n, uint32_t passkey, bool is_wanted);
void fake_node_notify(struct fake_node *n, uint16_t handle, struct span value);        /* whoever subscribed gets it, later */
