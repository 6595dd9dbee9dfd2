/* proxy/ble_tree_internal.h - what ble_tree.c (requests), ble_tree_node.c (links) and ble_tree_watch.c (observations) share. */
#pragma once
#include <uthash.h>

#include "proxy/ble_tree.h"

enum {
	TREE_LINGER_MS = 500,                  /* a link nobody needs; radio/ble keeps the connection longer */
	TREE_RELEARN_MS = 60 * 1000,           /* a handle that is not known is looked for on the next link, when what is known is older */
	TREE_BUSY_S = 30, TREE_FULL_S = 5,     /* Max-Age of 5.03 */
	TREE_RETRY_MS = 3000, TREE_TURN_MS = 100, TREE_BUSY_RETRY_MS = TREE_BUSY_S * 1000,
};

struct tree_node {
	UT_hash_handle hh;
	struct ble_tree *t;
	char id[BLE_ID_BYTES];
	bool is_here, was_busy;
	bool has_layout;
	struct ble_layout layout;
	struct mono learned_at;
	struct ble_link *link;
	bool is_ready;
	struct mono lost_at;                   /* ms 0 = it is not */
	struct tree_call *calls;
	size_t n_calls;
	struct tree_op *ops;                   /* under way on the link */
	struct tree_watch *watches;
	struct loop_timer *turn, *linger;
};

/* What was asked, without who asked. */
struct tree_ask {
	struct ble_path path;
	uint8_t method;
	bool is_unacknowledged, is_text;       /* is_text: what is written came as text */
	const char *prefix;
	int prefer, accept;
};

struct tree_call {                             /* a request that waits for its link */
	struct tree_call *prev, *next;
	struct tree_node *n;
	struct tree_ask ask;
	bool is_running;
	struct buf body;
	char who[BLE_TREE_WHO_BYTES];
	struct ble_tree_watcher *watcher;
	ble_tree_done_fn *done;
	void *ctx;
	struct loop_timer *deadline;
};

struct tree_op {                               /* one operation of GATT: a read for everybody who wants it, or a write */
	struct tree_op *prev, *next;
	struct tree_node *n;
	uint16_t handle;
	bool is_read;
	struct tree_call *call;                /* of a write; NULL = it did not wait */
};

enum tree_watch_state { TREE_WATCH_WAITS, TREE_WATCH_BEGINS, TREE_WATCH_LIVE, TREE_WATCH_ENDED };

struct tree_watch {                            /* of one value */
	struct tree_watch *prev, *next;
	struct tree_node *n;
	uint16_t handle;
	enum tree_watch_state state;
	struct gatt_subscription *sub;
	struct ble_tree_watcher *watchers;
	bool has_value;
	size_t n_value;
	uint8_t value[GATT_VALUE_BYTES_MAX];
};

struct ble_tree_watcher {
	struct ble_tree_watcher *prev, *next;
	struct tree_watch *watch;              /* NULL = it has ended: */
	uint8_t code;
	const char *why;
	const struct ble_tree_watcher_ops *ops;
	void *ctx;
};

struct ble_tree {
	struct ble_tree_config c;
	uint8_t closed[BLE_CLOSED_MAX][BLE_UUID_BYTES];
	size_t n_closed;
	struct ble_td_face faces[BLE_TD_FACES_MAX];
	size_t n_faces;
	struct tree_node *nodes;
	size_t n_calls, n_watches;
};

/* ble_tree.c */
/* -errno of a link or an operation as BLE-10 has it; why may be NULL. */
void tree_error(struct coap_response *res, int error, bool of_link, const char *why);
void tree_answer_layout(const struct tree_node *n, const struct tree_ask *a, struct coap_response *res);
void tree_answer_value(const struct tree_node *n, const struct tree_ask *a, struct span value, struct coap_response *res);
/* Fits the request what the node offers? False: *res says why not. */
bool tree_check(const struct tree_node *n, const struct tree_ask *a, struct coap_response *res);
void tree_finish(struct tree_call *call, struct coap_response *res, bool is_observed);        /* empties res */

/* ble_tree_node.c */
struct tree_node *tree_node_find(const struct ble_tree *t, const char *id);
struct tree_node *tree_node_get(struct ble_tree *t, const char *id);   /* makes it; NULL = radio/ble does not know it */
void tree_node_free(struct tree_node *n);
void tree_node_turn(struct tree_node *n);      /* there is something to do, later in this turn of the loop */
void tree_node_forget(struct tree_node *n);    /* what it offered */

/* ble_tree_watch.c */
void tree_watches_start(struct tree_node *n);  /* the link is ready */
void tree_watches_lost(struct tree_node *n);   /* it is not any more */
void tree_watches_sweep(struct tree_node *n);  /* those that nobody watches */
void tree_watches_end(struct tree_node *n, uint8_t code, const char *why);
void tree_watches_heard(struct tree_node *n, uint16_t handle, struct span value);      /* it was read */
