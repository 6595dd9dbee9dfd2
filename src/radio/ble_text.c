/* Names of nodes. */
#include <errno.h>
#include <stdio.h>

#include "base/text.h"
#include "radio/ble.h"

const char *ble_health_text(enum ble_health h)
{
	static const char *const texts[] = { [BLE_NO_BUS] = "there is no D-Bus system bus", [BLE_NO_BLUEZ] = "bluetoothd is not running",
					     [BLE_NO_ADAPTER] = "there is no usable Bluetooth adapter", [BLE_READY] = "ready" };

	return texts[h];
}

const char *ble_address_text(const uint8_t a[static BLE_ADDRESS_BYTES], char ret[static BLE_ADDRESS_TEXT_BYTES])
{
	(void)snprintf(ret, BLE_ADDRESS_TEXT_BYTES, "%02X:%02X:%02X:%02X:%02X:%02X", a[0], a[1], a[2], a[3], a[4], a[5]); /* fits */
	return ret;
}

static int hex_of(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int ble_id_parse(struct span text, char ret[static BLE_ID_BYTES])
{
	enum { DIGITS = 2 * BLE_ADDRESS_BYTES };
	char digits[DIGITS + 1] = "";
	bool is_id = text.n >= 4 && span_eq_str(span_sub(text, 0, 4), "ble-");
	size_t n = 0;

	if (is_id || (text.n >= 4 && span_eq_str(span_sub(text, 0, 4), "ble:")))
		text = span_sub(text, 4, text.n - 4);
	if (text.n != (is_id ? DIGITS : DIGITS + BLE_ADDRESS_BYTES - 1))
		return -EINVAL;
	for (size_t i = 0; i < text.n; i++) {
		if (!is_id && i % 3 == 2) {
			if (text.p[i] != ':')
				return -EINVAL;
			continue;
		}
		int v = hex_of(text.p[i]);
		if (v < 0)
			return -EINVAL;
		digits[n++] = "0123456789abcdef"[v];
	}
	(void)snprintf(ret, BLE_ID_BYTES, "ble-%s", digits); /* fits */
	return 0;
}
