/* proxy/ble_list.h - the answers of the ble: tree that are lists and descriptions, as JSON, as CBOR, and in the strict forms of
 * draft-bormann-t2trg-ble-uri (CBOR with the members of its CDDL and no others), whose media types have no registered numbers.
 *
 * Bytes are base64 (RFC 4648 section 4) in JSON; UUIDs are 16 bytes in network order. Pure. */
#pragma once
#include "proxy/ble_layout.h"

enum {
	BLE_CF_SENML_JSON = 110, BLE_CF_SENML_CBOR = 112, BLE_CF_TD = 432,
	/* RFC 7252 section 12.3: for experiments */
	BLE_CF_NODELIST = 65060,               /* application/ble-gap-nodelist */
	BLE_CF_SERVICELIST = 65061,            /* application/ble-gatt-servicelist */
	BLE_CF_CHARACTERISTICLIST = 65062,     /* application/ble-gatt-characteristiclist */
};

enum { BLE_LIST_BYTES_MAX = 2 * 1024 * 1024 };

/* href of what is below: prefix "/ble/" or "/hc/ble:/". format: COAP_CF_JSON, COAP_CF_CBOR or the strict one of the list. */
void ble_list_root(enum ble_health health, const struct ble_adapter *adapters, size_t n_adapters, size_t n_nodes, const char *prefix, int format,
		   struct buf *ret);
void ble_list_nodes(const struct ble *b, const char *prefix, int format, struct buf *ret);
void ble_list_node(const struct ble_node *n, const char *prefix, int format, struct buf *ret);
void ble_list_services(const struct ble_layout *l, const char *prefix, const char *id, int format, struct buf *ret);
void ble_list_characteristics(const struct ble_layout *l, const char *prefix, const char *id, uint16_t service, int format, struct buf *ret);
