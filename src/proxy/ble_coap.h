/* proxy/ble_coap.h - the ble: tree as CoAP resources below /ble: GET (Accept, Observe of nodes and values), PUT and POST of values.
 *
 * Reading is for credentials with the role of a viewer or an administrator, and, where the configuration opens it, for plain CoAP from
 * loopback and link-local addresses; writing is for administrators (4.01 over plain CoAP, 4.03 without the role). Loop thread. */
#pragma once
#include "io/coap_endpoint.h"
#include "proxy/ble_tree.h"

struct ble_coap;

struct ble_coap_config {
	struct coap_endpoint *endpoint;
	struct ble_tree *tree;
	bool is_open;                          /* plain CoAP may read */
	unsigned (*roles)(void *ctx, const char *identity);    /* enum credential_role bits */
	void (*refused)(void *ctx, const struct coap_peer *peer);      /* may be NULL */
	void *ctx;
};

#define BLE_COAP_PATH "ble"

/* -EEXIST the path is taken. Freed after the tree, and not used by the endpoint any more then: after loop_run(). */
int ble_coap_open(const struct ble_coap_config *c, struct ble_coap **ret);
struct ble_coap *ble_coap_close(struct ble_coap *b);
void ble_coap_set_open(struct ble_coap *b, bool is_open);
/* ble_tree_config.changed: whoever observes it is told. */
void ble_coap_changed(struct ble_coap *b, const char *path);
