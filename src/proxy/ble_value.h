/* proxy/ble_value.h - values of the few characteristics that everybody knows (Bluetooth SIG, GATT Specification Supplement), as text,
 * as JSON and as SenML (RFC 8428). Everything else is octets. Pure. */
#pragma once
#include "base/buf.h"
#include "radio/gatt.h"

enum ble_type_kind { BLE_TYPE_UNSIGNED, BLE_TYPE_SIGNED, BLE_TYPE_UTF8 };

struct ble_type {
	uint16_t uuid16;
	const char *name;                      /* of the SenML record */
	const char *title;                     /* as the Bluetooth SIG calls it */
	enum ble_type_kind kind;
	uint8_t bytes, decimals;               /* little-endian integer; the value is so many decimals smaller */
	const char *unit;                      /* SenML; NULL for text */
	bool has_unknown;                      /* a value that means "not known": */
	uint32_t unknown;
};

const struct ble_type *ble_type_of(const uint8_t uuid[static BLE_UUID_BYTES]);         /* NULL = not one of them */
/* "Battery Service": of well-known services and characteristics; NULL = not known here. */
const char *ble_uuid_title(const uint8_t uuid[static BLE_UUID_BYTES]);
/* "21.50", or the text itself. -EBADMSG: not a value of this type; -ENODATA: it says that it is not known. Appends. */
int ble_value_text(const struct ble_type *t, struct span value, struct buf *ret);
/* A JSON number or string; octets in base64 when t is NULL. Likewise. */
int ble_value_json(const struct ble_type *t, struct span value, struct buf *ret);
/* A pack of one record; node is its base name. Likewise. */
int ble_value_senml(const struct ble_type *t, const char *node, struct span value, bool is_cbor, struct buf *ret);
