#include "radio/ble_ad.h"

#include <errno.h>

#include "base/text.h"

static const uint8_t base_uuid[BLE_UUID_BYTES] = { 0, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0x80, 0x5f, 0x9b, 0x34, 0xfb };

enum { UUID32_BYTES = 4, UUID16_BYTES = 2 };

void ble_ad_remove(struct ble_ad ad, uint8_t type)
{
	size_t to = 0;

	for (size_t from = 0; from < *ad.n;) {
		size_t n = 1u + ad.p[from];
		if (ad.p[from + 1] != type) {
			memmove(ad.p + to, ad.p + from, n);
			to += n;
		}
		from += n;
	}
	*ad.n = to;
}

int ble_ad_add(struct ble_ad ad, uint8_t type, struct span head, struct span value)
{
	if (head.n + value.n > AD_VALUE_BYTES_MAX || 2 + head.n + value.n > BLE_AD_BYTES_MAX - *ad.n)
		return -EMSGSIZE;
	uint8_t *p = ad.p + *ad.n;
	*p++ = (uint8_t)(1 + head.n + value.n);
	*p++ = type;
	if (head.n)
		memcpy(p, head.p, head.n);
	if (value.n)
		memcpy(p + head.n, value.p, value.n);
	*ad.n += 2 + head.n + value.n;
	return 0;
}

size_t ble_uuid_bytes(const uint8_t uuid[static BLE_UUID_BYTES])
{
	if (memcmp(uuid + UUID32_BYTES, base_uuid + UUID32_BYTES, BLE_UUID_BYTES - UUID32_BYTES) != 0)
		return BLE_UUID_BYTES;
	return uuid[0] || uuid[1] ? UUID32_BYTES : UUID16_BYTES;
}

/* As it is in the air: the least significant byte first. */
static struct span uuid_bytes(const uint8_t uuid[static BLE_UUID_BYTES], uint8_t ret[static BLE_UUID_BYTES])
{
	size_t n = ble_uuid_bytes(uuid);
	const uint8_t *end = n == BLE_UUID_BYTES ? uuid + n : uuid + UUID32_BYTES;

	for (size_t i = 0; i < n; i++)
		ret[i] = end[-1 - (ptrdiff_t)i];
	return SPAN(ret, n);
}

void ble_ad_set_services(struct ble_ad ad, const uint8_t (*uuids)[BLE_UUID_BYTES], size_t n)
{
	static const struct {
		uint8_t type;
		size_t bytes;
	} lists[] = { { AD_UUID16, UUID16_BYTES }, { AD_UUID32, UUID32_BYTES }, { AD_UUID128, BLE_UUID_BYTES } };

	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		uint8_t list[BLE_SERVICES_MAX * BLE_UUID_BYTES], one[BLE_UUID_BYTES];
		size_t n_list = 0;

		ble_ad_remove(ad, lists[i].type);
		for (size_t j = 0; j < n && n_list + lists[i].bytes <= AD_VALUE_BYTES_MAX; j++) {
			if (ble_uuid_bytes(uuids[j]) != lists[i].bytes)
				continue;
			memcpy(list + n_list, uuid_bytes(uuids[j], one).p, lists[i].bytes);
			n_list += lists[i].bytes;
		}
		if (n_list)
			(void)ble_ad_add(ad, lists[i].type, SPAN_NONE, SPAN(list, n_list)); /* left out when full */
	}
}

int ble_ad_add_service_data(struct ble_ad ad, const uint8_t uuid[static BLE_UUID_BYTES], struct span value)
{
	uint8_t head[BLE_UUID_BYTES];
	struct span h = uuid_bytes(uuid, head);

	return ble_ad_add(ad, h.n == UUID16_BYTES ? AD_DATA16 : h.n == UUID32_BYTES ? AD_DATA32 : AD_DATA128, h, value);
}

int ble_uuid_parse(struct span text, uint8_t ret[static BLE_UUID_BYTES])
{
	uint8_t uuid[BLE_UUID_BYTES];

	if (text.n == TEXT_UUID_BYTES - 1)
		return text_parse_uuid(text, ret);
	if (text.n > 2 && text.p[0] == '0' && (text.p[1] | 0x20) == 'x')
		text = span_sub(text, 2, text.n - 2);
	if (text.n != 2 * UUID16_BYTES && text.n != 2 * UUID32_BYTES)
		return -EBADMSG;
	memcpy(uuid, base_uuid, BLE_UUID_BYTES);
	int r = text_parse_hex(text, uuid + UUID32_BYTES - text.n / 2, text.n / 2);
	if (r == 0)
		memcpy(ret, uuid, BLE_UUID_BYTES);
	return r;
}
