#include "proxy/ble_value.h"

#include <errno.h>

#include "base/text.h"
#include "codec/cbor.h"
#include "codec/json.h"
#include "proxy/ble_layout.h"

static const struct ble_type types[] = {
	{ 0x2a00, "device_name", "Device Name", BLE_TYPE_UTF8, 0, 0, NULL, false, 0 },
	{ 0x2a19, "battery_level", "Battery Level", BLE_TYPE_UNSIGNED, 1, 0, "%EL", false, 0 },
	{ 0x2a24, "model_number", "Model Number String", BLE_TYPE_UTF8, 0, 0, NULL, false, 0 },
	{ 0x2a25, "serial_number", "Serial Number String", BLE_TYPE_UTF8, 0, 0, NULL, false, 0 },
	{ 0x2a26, "firmware_revision", "Firmware Revision String", BLE_TYPE_UTF8, 0, 0, NULL, false, 0 },
	{ 0x2a27, "hardware_revision", "Hardware Revision String", BLE_TYPE_UTF8, 0, 0, NULL, false, 0 },
	{ 0x2a28, "software_revision", "Software Revision String", BLE_TYPE_UTF8, 0, 0, NULL, false, 0 },
	{ 0x2a29, "manufacturer", "Manufacturer Name String", BLE_TYPE_UTF8, 0, 0, NULL, false, 0 },
	{ 0x2a6d, "pressure", "Pressure", BLE_TYPE_UNSIGNED, 4, 1, "Pa", false, 0 },
	{ 0x2a6e, "temperature", "Temperature", BLE_TYPE_SIGNED, 2, 2, "Cel", true, 0x8000 },
	{ 0x2a6f, "humidity", "Humidity", BLE_TYPE_UNSIGNED, 2, 2, "%RH", true, 0xffff },
};

static const struct { uint16_t uuid16; const char *title; } services[] = {
	{ 0x1800, "GAP" }, { 0x1801, "GATT" }, { 0x180a, "Device Information" }, { 0x180f, "Battery" }, { 0x181a, "Environmental Sensing" },
};

enum { TYPES = sizeof(types) / sizeof(*types), SERVICES = sizeof(services) / sizeof(*services) };

const struct ble_type *ble_type_of(const uint8_t uuid[static BLE_UUID_BYTES])
{
	uint32_t n;

	if (!ble_uuid_is_short(uuid, &n))
		return NULL;
	for (size_t i = 0; i < TYPES; i++)
		if (types[i].uuid16 == n)
			return &types[i];
	return NULL;
}

const char *ble_uuid_title(const uint8_t uuid[static BLE_UUID_BYTES])
{
	const struct ble_type *t = ble_type_of(uuid);
	uint32_t n;

	if (t)
		return t->title;
	for (size_t i = 0; ble_uuid_is_short(uuid, &n) && i < SERVICES; i++)
		if (services[i].uuid16 == n)
			return services[i].title;
	return NULL;
}

/* Many nodes send the NUL that ends their text in C. */
static int take_text(struct span value, struct span *ret)
{
	while (value.n > 0 && value.p[value.n - 1] == 0)
		value.n--;
	if (!text_is_clean(value))
		return -EBADMSG;
	*ret = value;
	return 0;
}

static int take_number(const struct ble_type *t, struct span value, int64_t *ret)
{
	uint32_t raw = 0;

	if (value.n != t->bytes)
		return -EBADMSG;
	for (size_t i = 0; i < value.n; i++)
		raw |= (uint32_t)value.p[i] << (8 * i);
	if (t->has_unknown && raw == t->unknown)
		return -ENODATA;
	*ret = raw;
	if (t->kind == BLE_TYPE_SIGNED && raw >> (8 * t->bytes - 1))
		*ret -= INT64_C(1) << (8 * t->bytes);
	return 0;
}

static int64_t scale_of(const struct ble_type *t)
{
	int64_t scale = 1;

	for (unsigned i = 0; i < t->decimals; i++)
		scale *= 10;
	return scale;
}

static void put_decimal(const struct ble_type *t, int64_t v, struct buf *ret)
{
	int64_t scale = scale_of(t), of = v < 0 ? -v : v;

	if (t->decimals)
		buf_printf(ret, "%s%lld.%0*lld", v < 0 ? "-" : "", (long long)(of / scale), (int)t->decimals, (long long)(of % scale));
	else
		buf_printf(ret, "%lld", (long long)v);
}

int ble_value_text(const struct ble_type *t, struct span value, struct buf *ret)
{
	struct span text;
	int64_t v;
	int r;

	if (t->kind == BLE_TYPE_UTF8) {
		r = take_text(value, &text);
		if (r == 0)
			buf_add(ret, text);
		return r;
	}
	r = take_number(t, value, &v);
	if (r == 0)
		put_decimal(t, v, ret);
	return r;
}

int ble_value_json(const struct ble_type *t, struct span value, struct buf *ret)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct json_out o = json_writer(ret);
	int r = 0;

	if (t)
		r = ble_value_text(t, value, &text);
	else
		text_add_base64(&text, value);
	if (r < 0)
		return r;
	if (t && t->unit)
		json_raw(&o, NULL, buf_span(&text));
	else
		json_span(&o, NULL, buf_span(&text));
	return 0;
}

/* RFC 8428 section 4.3, section 6: labels of the CBOR form in the order of their encodings. */
enum { SENML_N = 0, SENML_U = 1, SENML_V = 2, SENML_VS = 3, SENML_BN = -2 };

static void put_cbor(const struct ble_type *t, struct span base, struct span text, int64_t v, struct buf *ret)
{
	cbor_put_array(ret, 1);
	cbor_put_map(ret, t->unit ? 4 : 3);
	cbor_put_int(ret, SENML_N);
	cbor_put_str(ret, t->name);
	if (t->unit) {
		cbor_put_int(ret, SENML_U);
		cbor_put_str(ret, t->unit);
		cbor_put_int(ret, SENML_V);
		if (v % scale_of(t) == 0)
			cbor_put_int(ret, v / scale_of(t));
		else
			cbor_put_double(ret, (double)v / (double)scale_of(t));
	} else {
		cbor_put_int(ret, SENML_VS);
		cbor_put_text(ret, text);
	}
	cbor_put_int(ret, SENML_BN);
	cbor_put_text(ret, base);
}

static void put_json(const struct ble_type *t, struct span base, struct span text, int64_t v, struct buf *ret)
{
	_cleanup_buf_ struct buf number = { 0 };
	struct json_out o = json_writer(ret);

	json_open_array(&o, NULL);
	json_open_object(&o, NULL);
	json_span(&o, "bn", base);
	json_str(&o, "n", t->name);
	if (t->unit) {
		json_str(&o, "u", t->unit);
		put_decimal(t, v, &number);
		json_raw(&o, "v", buf_span(&number));
	} else {
		json_span(&o, "vs", text);
	}
	json_close_object(&o);
	json_close_array(&o);
}

int ble_value_senml(const struct ble_type *t, const char *node, struct span value, bool is_cbor, struct buf *ret)
{
	_cleanup_buf_ struct buf base = { 0 };
	struct span text = SPAN_NONE;
	int64_t v = 0;
	int r = t->kind == BLE_TYPE_UTF8 ? take_text(value, &text) : take_number(t, value, &v);

	if (r < 0)
		return r;
	buf_printf(&base, "%s/", node);
	if (is_cbor)
		put_cbor(t, buf_span(&base), text, v, ret);
	else
		put_json(t, buf_span(&base), text, v, ret);
	return 0;
}
