/* proxy/ble_td.h - a node as a W3C WoT Thing Description (TD 1.1), generated from what it offers: a property for each value that can be
 * read or written, an event for each that is only notified, with forms for each face that it can be reached by. Pure. */
#pragma once
#include "proxy/ble_layout.h"

enum { BLE_TD_FACES_MAX = 4, BLE_TD_BASE_BYTES = 160, BLE_TD_BYTES_MAX = 1024 * 1024 };

enum ble_td_security { BLE_TD_NOSEC, BLE_TD_PSK, BLE_TD_BEARER };

struct ble_td_face {
	char base[BLE_TD_BASE_BYTES];          /* "coaps://[2001:db8::1]/ble/", "http://127.0.0.1:8080/hc/ble:/" */
	enum ble_td_security security;
	bool is_http, may_write;
};

/* node may be NULL: it is not in range just now. A value without a form, and so without a face, is left out. */
void ble_td_render(const char *id, const struct ble_node *node, const struct ble_layout *l, const struct ble_td_face *faces, size_t n_faces,
		   struct buf *ret);
