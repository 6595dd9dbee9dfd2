/* proxy/ble_tree.h - the resources of Bluetooth LE nodes (draft-bormann-t2trg-ble-uri; paths in proxy/ble_path.h), whatever face asks:
 * proxy/ble_coap.h and proxy/ble_http.h. Requests and answers are those of CoAP; who may ask is the face's business.
 *
 * A link to a node is opened when a request or an observation needs one, and shared by all of them; nothing is asked of a node by
 * itself. What a node offers is remembered after its first link, so lists are answered without one. Nodes that take an update just
 * now are not disturbed: 5.03 with Max-Age. Errors are those of BLE-10. Loop thread. */
#pragma once
#include "io/coap_endpoint.h"
#include "proxy/ble_path.h"
#include "proxy/ble_td.h"

enum {
	BLE_TREE_WAITING_MAX = 256, BLE_TREE_NODE_WAITING_MAX = 16,    /* requests */
	BLE_TREE_WATCHES_MAX = 256,            /* values observed, by however many */
	BLE_TREE_LINK_WAIT_S = 45,             /* for the node to show up, and for a slot */
	BLE_TREE_ANSWER_S = 60,                /* for an answer in all */
	BLE_TREE_RESUME_S = 120,               /* an observation survives that long without a link */
	BLE_TREE_WHO_BYTES = 96,
};

struct ble_tree;
struct ble_tree_watcher;

struct ble_tree_config {
	struct loop *loop;
	struct ble *ble;                       /* outlives the tree */
	/* Each may be NULL. */
	void (*changed)(void *ctx, const char *path);  /* "gap", "nodes/ble-...": what stands there changed */
	void (*learned)(void *ctx, const char *id);    /* what the node offers is known, or another than it was */
	void (*wrote)(void *ctx, const char *who, const char *id, uint16_t handle, size_t n_bytes);    /* handed to the node just now */
	void *ctx;
};

struct ble_tree *ble_tree_new(const struct ble_tree_config *c);
/* Who waits is answered 5.03, observations end. */
struct ble_tree *ble_tree_free(struct ble_tree *t);
/* UUIDs of services, 16 bytes each, that are not shown; copied. At most BLE_CLOSED_MAX. What was learned before is forgotten. */
void ble_tree_set_closed(struct ble_tree *t, const uint8_t (*closed)[BLE_UUID_BYTES], size_t n);
/* For Thing Descriptions; copied. */
void ble_tree_set_faces(struct ble_tree *t, const struct ble_td_face *faces, size_t n);
/* What radio/ble tells. */
void ble_tree_node(struct ble_tree *t, const struct ble_node *n);
void ble_tree_gone(struct ble_tree *t, const struct ble_node *n);
/* NULL: not known yet. Borrowed until the next call or callback. */
const struct ble_layout *ble_tree_layout(const struct ble_tree *t, const char *id);

struct ble_tree_request {                      /* borrowed for the call, but prefix: for good */
	uint8_t method;                        /* enum coap_method: GET, PUT, POST */
	const struct span *path;               /* below the face's prefix */
	size_t n_path;
	const char *prefix;                    /* of hrefs (BLE-6): "/ble/" */
	int prefer;                            /* format of lists when accept says nothing: JSON or CBOR */
	int accept, content_format;            /* COAP_CF_NONE */
	bool is_unacknowledged;                /* "?noresponse": PUT is a write without response, too */
	struct span body;
	const char *who;                       /* writes; for wrote() */
	struct ble_tree_watcher *watcher;      /* GET of a value: answered once its observation is under way; stays until then */
};

struct ble_tree_answer {
	struct coap_response *res;             /* the callee's to send, or to leave */
	bool is_observed;                      /* a request with a watcher: it will tell of changes */
};

typedef void ble_tree_done_fn(void *ctx, const struct ble_tree_answer *a);

/* COAP_HANDLER_DONE: *res is the answer, and done is not called; COAP_HANDLER_LATER: done is called exactly once, never from inside. */
int ble_tree_ask(struct ble_tree *t, const struct ble_tree_request *req, struct coap_response *res, ble_tree_done_fn *done, void *ctx);
/* A value in the format wanted: 2.05 or 4.06. */
void ble_tree_render(struct ble_tree *t, const char *id, uint16_t handle, int accept, struct span value, struct coap_response *res);

struct ble_tree_watcher_ops {                  /* may call everything but ble_tree_free() */
	void (*value)(void *ctx, struct span value);
	void (*ended)(void *ctx, uint8_t code, const char *why);       /* once; the watcher is still to be given back */
};

/* Whoever watches the same value shares one subscription. -ENOENT no such node; -ENOSPC over BLE_TREE_WATCHES_MAX. */
int ble_tree_watch(struct ble_tree *t, const char *id, uint16_t handle, const struct ble_tree_watcher_ops *ops, void *ctx,
		   struct ble_tree_watcher **ret);
struct ble_tree_watcher *ble_tree_unwatch(struct ble_tree_watcher *w); /* returns NULL */
/* The last value heard of; false: none yet, or the observation has ended. */
bool ble_tree_watch_value(const struct ble_tree_watcher *w, struct span *ret);
