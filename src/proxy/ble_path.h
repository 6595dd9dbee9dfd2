/* proxy/ble_path.h - the names of the ble: tree (draft-bormann-t2trg-ble-uri), below whatever a face puts it under:
 *
 *   (empty)                                what there is
 *   gap/nodes/passive, nodes               nodes in range
 *   nodes/{id}                             one of them; {id} is "ble-" and its identity address in hex
 *   nodes/{id}/services
 *   nodes/{id}/sHHHH/characteristics       HHHH: the handle in hex, as BlueZ numbers it
 *   nodes/{id}/cHHHH                       a value
 *   nodes/{id}/td                          the Thing Description
 *
 * One resource has one spelling: upper case hex is another path, and not found. Pure. */
#pragma once
#include "base/buf.h"
#include "radio/ble.h"

enum ble_path_kind {
	BLE_PATH_ROOT, BLE_PATH_NODES, BLE_PATH_NODE, BLE_PATH_SERVICES, BLE_PATH_CHARACTERISTICS, BLE_PATH_VALUE, BLE_PATH_TD,
};

enum { BLE_PATH_SEGMENTS_MAX = 4, BLE_PATH_BYTES = 64 };

struct ble_path {
	enum ble_path_kind kind;
	char id[BLE_ID_BYTES];
	uint16_t handle;
};

/* -ENOENT: there is nothing of that name. */
int ble_path_parse(const struct span *segment, size_t n, struct ble_path *ret);
/* The same of "nodes/ble-0123456789ab/td". */
int ble_path_parse_text(struct span text, struct ble_path *ret);
/* "nodes/ble-0123456789ab/c0012"; returns ret. */
const char *ble_path_value(const char *id, uint16_t handle, char ret[static BLE_PATH_BYTES]);
