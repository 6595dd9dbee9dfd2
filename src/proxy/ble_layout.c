#include "proxy/ble_layout.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/link_format.h"
#include "proxy/ble_path.h"
#include "proxy/ble_value.h"

/* First the services, then those of their characteristics that take commands or data. */
static const uint8_t firmware[][BLE_UUID_BYTES] = {
	/* MCUmgr SMP 8d53dc1d-1db7-4cd3-868b-8a527460aa84 */
	{ 0x8d, 0x53, 0xdc, 0x1d, 0x1d, 0xb7, 0x4c, 0xd3, 0x86, 0x8b, 0x8a, 0x52, 0x74, 0x60, 0xaa, 0x84 },
	/* Nordic Secure DFU; its experimental buttonless service; Legacy DFU 00001530-1212-efde-1523-785feabcd123 */
	GATT_UUID16(0xfe59),
	{ 0x8e, 0x40, 0x00, 0x01, 0xf3, 0x15, 0x4f, 0x60, 0x9f, 0xb8, 0x83, 0x88, 0x30, 0xda, 0xea, 0x50 },
	{ 0x00, 0x00, 0x15, 0x30, 0x12, 0x12, 0xef, 0xde, 0x15, 0x23, 0x78, 0x5f, 0xea, 0xbc, 0xd1, 0x23 },
	/* TI OAD f000ffc0-0451-4000-b000-000000000000, and its reset service f000ffd0 */
	{ 0xf0, 0x00, 0xff, 0xc0, 0x04, 0x51, 0x40, 0x00, 0xb0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00 },
	{ 0xf0, 0x00, 0xff, 0xd0, 0x04, 0x51, 0x40, 0x00, 0xb0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00 },
	/* Silicon Labs OTA 1d14d6ee-fd63-4fa1-bfa4-8f47b42119f0 */
	{ 0x1d, 0x14, 0xd6, 0xee, 0xfd, 0x63, 0x4f, 0xa1, 0xbf, 0xa4, 0x8f, 0x47, 0xb4, 0x21, 0x19, 0xf0 },

	/* SMP da2e7828-fbce-4e01-ae9e-261174997c48 */
	{ 0xda, 0x2e, 0x78, 0x28, 0xfb, 0xce, 0x4e, 0x01, 0xae, 0x9e, 0x26, 0x11, 0x74, 0x99, 0x7c, 0x48 },
	/* Silicon Labs OTA control and data: the first alone stands in applications */
	{ 0xf7, 0xbf, 0x35, 0x64, 0xfb, 0x6d, 0x4e, 0x53, 0x88, 0xa4, 0x5e, 0x37, 0xe0, 0x32, 0x60, 0x63 },
	{ 0x98, 0x42, 0x27, 0xf3, 0x34, 0xfc, 0x40, 0x45, 0xa5, 0xd0, 0x2c, 0x58, 0x1f, 0x81, 0xa1, 0x53 },
};

enum { FIRMWARE = sizeof(firmware) / sizeof(*firmware) };

/* Whole families: 8ec9000N-f315-4f60-9fb8-838830daea50, 0000153N-1212-efde-..., f000ffcN-0451-..., f000ffdN-0451-... */
static bool is_of_family(const uint8_t *uuid)
{
	static const uint8_t families[][BLE_UUID_BYTES] = {
		{ 0x8e, 0xc9, 0x00, 0x00, 0xf3, 0x15, 0x4f, 0x60, 0x9f, 0xb8, 0x83, 0x88, 0x30, 0xda, 0xea, 0x50 },
		{ 0x00, 0x00, 0x15, 0x30, 0x12, 0x12, 0xef, 0xde, 0x15, 0x23, 0x78, 0x5f, 0xea, 0xbc, 0xd1, 0x23 },
		{ 0xf0, 0x00, 0xff, 0xc0, 0x04, 0x51, 0x40, 0x00, 0xb0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00 },
		{ 0xf0, 0x00, 0xff, 0xd0, 0x04, 0x51, 0x40, 0x00, 0xb0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00 },
	};

	for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++)
		if (memcmp(uuid, families[i], 3) == 0 && (uuid[3] & 0xf0) == families[i][3] && memcmp(uuid + 4, families[i] + 4, 12) == 0)
			return true;
	return false;
}

bool ble_uuid_is_firmware(const uint8_t uuid[static BLE_UUID_BYTES])
{
	for (size_t i = 0; i < FIRMWARE; i++)
		if (memcmp(uuid, firmware[i], BLE_UUID_BYTES) == 0)
			return true;
	return is_of_family(uuid);
}

bool ble_uuid_is_short(const uint8_t uuid[static BLE_UUID_BYTES], uint32_t *ret)
{
	static const uint8_t base[BLE_UUID_BYTES] = GATT_UUID16(0);

	if (memcmp(uuid + 4, base + 4, BLE_UUID_BYTES - 4) != 0)
		return false;
	*ret = (uint32_t)uuid[0] << 24 | (uint32_t)uuid[1] << 16 | (uint32_t)uuid[2] << 8 | uuid[3];
	return true;
}

void ble_uuid_add_type(struct buf *b, const uint8_t uuid[static BLE_UUID_BYTES])
{
	char text[TEXT_UUID_BYTES];
	uint32_t n;

	if (ble_uuid_is_short(uuid, &n))
		buf_printf(b, "ble.%04x", n);
	else
		buf_printf(b, "urn:uuid:%s", text_uuid(uuid, text));
}

static bool is_closed(const uint8_t *uuid, const uint8_t (*closed)[BLE_UUID_BYTES], size_t n_closed)
{
	for (size_t i = 0; i < n_closed; i++)
		if (memcmp(uuid, closed[i], BLE_UUID_BYTES) == 0)
			return true;
	return ble_uuid_is_firmware(uuid);
}

void ble_layout_read(const struct ble_link *k, const uint8_t (*closed)[BLE_UUID_BYTES], size_t n_closed, struct ble_layout *ret)
{
	const struct gatt_characteristic *c;
	const struct gatt_service *s;

	*ret = (struct ble_layout){ .services = NEW_N(struct gatt_service, GATT_SERVICES_MAX),
				    .characteristics = NEW_N(struct gatt_characteristic, GATT_CHARACTERISTICS_MAX) };
	for (size_t i = 0; (s = gatt_service_at(k, i)) && ret->n_services < GATT_SERVICES_MAX; i++)
		if (!is_closed(s->uuid, closed, n_closed))
			ret->services[ret->n_services++] = *s;
	for (size_t i = 0; (c = gatt_characteristic_at(k, i)) && ret->n_characteristics < GATT_CHARACTERISTICS_MAX; i++)
		if (ble_layout_service(ret, c->service) && !ble_uuid_is_firmware(c->uuid))
			ret->characteristics[ret->n_characteristics++] = *c;
	/* Most nodes offer a dozen. */
	ret->services = mem_resize(ret->services, ret->n_services + 1, sizeof(*ret->services));
	ret->characteristics = mem_resize(ret->characteristics, ret->n_characteristics + 1, sizeof(*ret->characteristics));
}

void ble_layout_done(struct ble_layout *l)
{
	free(l->services);
	free(l->characteristics);
	*l = (struct ble_layout){ 0 };
}

bool ble_layout_eq(const struct ble_layout *a, const struct ble_layout *b)
{
	if (a->n_services != b->n_services || a->n_characteristics != b->n_characteristics)
		return false;
	for (size_t i = 0; i < a->n_services; i++)
		if (a->services[i].handle != b->services[i].handle || memcmp(a->services[i].uuid, b->services[i].uuid, BLE_UUID_BYTES) != 0)
			return false;
	for (size_t i = 0; i < a->n_characteristics; i++) {
		const struct gatt_characteristic *x = &a->characteristics[i], *y = &b->characteristics[i];
		if (x->handle != y->handle || x->service != y->service || x->properties != y->properties ||
		    memcmp(x->uuid, y->uuid, BLE_UUID_BYTES) != 0)
			return false;
	}
	return true;
}

const struct gatt_service *ble_layout_service(const struct ble_layout *l, uint16_t handle)
{
	for (size_t i = 0; i < l->n_services; i++)
		if (l->services[i].handle == handle)
			return &l->services[i];
	return NULL;
}

const struct gatt_characteristic *ble_layout_characteristic(const struct ble_layout *l, uint16_t handle)
{
	for (size_t i = 0; i < l->n_characteristics; i++)
		if (l->characteristics[i].handle == handle)
			return &l->characteristics[i];
	return NULL;
}

/* ---- for the directory ---- */

static void put_target(struct link_writer *w, const char *prefix, const char *path)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_add_str(&b, prefix);
	buf_add_str(&b, path);
	link_write(w, buf_span(&b));
}

static void put_value_link(struct link_writer *w, const char *prefix, const char *id, const struct gatt_characteristic *c)
{
	_cleanup_buf_ struct buf type = { 0 };
	char path[BLE_PATH_BYTES];

	put_target(w, prefix, ble_path_value(id, c->handle, path));
	ble_uuid_add_type(&type, c->uuid);
	link_write_quoted(w, SPAN_LIT("rt"), buf_span(&type));
	if (c->properties & GATT_READ)
		link_write_quoted(w, SPAN_LIT("ct"), ble_type_of(c->uuid) ? SPAN_LIT("42 50 0 110 112") : SPAN_LIT("42 50"));
	if (c->properties & (GATT_NOTIFY | GATT_INDICATE))
		link_write_flag(w, SPAN_LIT("obs"));
}

void ble_layout_links(const struct ble_layout *l, const char *prefix, const char *id, struct buf *ret)
{
	struct link_writer w = { .b = ret };
	char path[BLE_PATH_BYTES];

	(void)snprintf(path, sizeof(path), "nodes/%s", id); /* fits */
	put_target(&w, prefix, path);
	link_write_quoted(&w, SPAN_LIT("rt"), SPAN_LIT("ble.node"));
	link_write_quoted(&w, SPAN_LIT("ct"), SPAN_LIT("50 60"));
	(void)snprintf(path, sizeof(path), "nodes/%s/td", id); /* fits */
	put_target(&w, prefix, path);
	link_write_quoted(&w, SPAN_LIT("rt"), SPAN_LIT("wot.thing"));
	link_write_value(&w, SPAN_LIT("ct"), SPAN_LIT("432"));
	for (size_t i = 0; l && i < l->n_characteristics; i++)
		put_value_link(&w, prefix, id, &l->characteristics[i]);
}
