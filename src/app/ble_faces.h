/* app/ble_faces.h - by which URIs others reach the resources of Bluetooth LE nodes. */
#pragma once
#include "app/gateway.h"
#include "proxy/ble_td.h"

/* "coaps://[2001:db8::1]": where the directory says they are; coaps before coap. False: nowhere. */
bool gateway_ble_base(const struct gateway *g, char ret[static BLE_TD_BASE_BYTES]);
/* Every way that is open, and what it asks for. Returns how many. */
size_t gateway_ble_faces(struct gateway *g, struct ble_td_face ret[static BLE_TD_FACES_MAX]);
