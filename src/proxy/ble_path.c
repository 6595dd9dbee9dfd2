#include "proxy/ble_path.h"

#include <errno.h>
#include <stdio.h>

#include "codec/uri.h"

enum { HANDLE_DIGITS = 4 };

static bool is_handle(struct span s, char letter, uint16_t *ret)
{
	unsigned v = 0;

	if (s.n != 1 + HANDLE_DIGITS || s.p[0] != (uint8_t)letter)
		return false;
	for (size_t i = 1; i < s.n; i++) {
		uint8_t c = s.p[i];
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
		v = v << 4 | (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	*ret = (uint16_t)v;
	return true;
}

static bool is_id(struct span s, char ret[static BLE_ID_BYTES])
{
	return ble_id_parse(s, ret) == 0 && span_eq_str(s, ret);
}

static int parse_node(const struct span *segment, size_t n, struct ble_path *ret)
{
	if (!is_id(segment[0], ret->id))
		return -ENOENT;
	if (n == 1)
		ret->kind = BLE_PATH_NODE;
	else if (n == 2 && span_eq_str(segment[1], "services"))
		ret->kind = BLE_PATH_SERVICES;
	else if (n == 2 && span_eq_str(segment[1], "td"))
		ret->kind = BLE_PATH_TD;
	else if (n == 2 && is_handle(segment[1], 'c', &ret->handle))
		ret->kind = BLE_PATH_VALUE;
	else if (n == 3 && is_handle(segment[1], 's', &ret->handle) && span_eq_str(segment[2], "characteristics"))
		ret->kind = BLE_PATH_CHARACTERISTICS;
	else
		return -ENOENT;
	return 0;
}

int ble_path_parse(const struct span *segment, size_t n, struct ble_path *ret)
{
	*ret = (struct ble_path){ .kind = BLE_PATH_ROOT };
	while (n > 0 && segment[n - 1].n == 0) /* "/ble/" */
		n--;
	if (n == 0)
		return 0;
	ret->kind = BLE_PATH_NODES;
	if (n == 3 && span_eq_str(segment[0], "gap") && span_eq_str(segment[1], "nodes") && span_eq_str(segment[2], "passive"))
		return 0;
	if (!span_eq_str(segment[0], "nodes"))
		return -ENOENT;
	return n == 1 ? 0 : parse_node(segment + 1, n - 1, ret);
}

int ble_path_parse_text(struct span text, struct ble_path *ret)
{
	struct span segment[BLE_PATH_SEGMENTS_MAX], piece;
	size_t n = 0;

	while (uri_piece_next(&text, '/', &piece)) {
		if (n == BLE_PATH_SEGMENTS_MAX)
			return -ENOENT;
		segment[n++] = piece;
	}
	return ble_path_parse(segment, n, ret);
}

const char *ble_path_value(const char *id, uint16_t handle, char ret[static BLE_PATH_BYTES])
{
	(void)snprintf(ret, BLE_PATH_BYTES, "nodes/%s/c%04x", id, handle); /* fits */
	return ret;
}
