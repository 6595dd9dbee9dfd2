/* What clients and nodes say about Bluetooth resources: paths, Accept and Content-Type headers, values of known types, advertisements. The
 * first byte chooses; what was parsed is spelled the same again, what was rendered is well-formed. */
#include <stdlib.h>

#include "codec/cbor.h"
#include "codec/json.h"
#include "fuzz.h"
#include "io/coap.h"
#include "proxy/ble_http.h"
#include "proxy/ble_list.h"
#include "proxy/ble_value.h"

enum { HEADER_BYTES = 2048 };

static void path(struct span s)
{
	char again[BLE_PATH_BYTES];
	struct ble_path p, q;

	if (ble_path_parse_text(s, &p) < 0 || p.kind != BLE_PATH_VALUE)
		return;
	if (ble_path_parse_text(span_str(ble_path_value(p.id, p.handle, again)), &q) < 0 || q.handle != p.handle)
		abort();
}

static void headers(struct span s)
{
	char text[HEADER_BYTES];
	bool is_stream;
	int format;

	s = span_sub(s, 0, sizeof(text) - 1);
	if (s.n)
		memcpy(text, s.p, s.n);
	text[s.n] = 0;
	if (ble_http_accept(text, &is_stream, &format) == 0 && is_stream && format != COAP_CF_NONE)
		abort();
	(void)ble_http_type(text, &format); /* bounded is all there is to it */
}

static void value(struct span s)
{
	static const uint16_t known[] = { 0x2a00, 0x2a19, 0x2a6d, 0x2a6e, 0x2a6f };
	struct buf b = { 0 };
	struct json_doc *doc;

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		const uint8_t uuid[BLE_UUID_BYTES] = GATT_UUID16(known[i]);
		const struct ble_type *t = ble_type_of(uuid);
		if (ble_value_senml(t, "ble-0123456789ab", s, true, &b) == 0 && cbor_check(buf_span(&b), CBOR_KEYS_SORTED, NULL) < 0)
			abort();
		buf_clear(&b);
		if (ble_value_senml(t, "ble-0123456789ab", s, false, &b) == 0) {
			if (json_parse(buf_span(&b), &doc, NULL, 0) < 0)
				abort();
			json_doc_free(doc);
		}
		buf_clear(&b);
		(void)ble_value_text(t, s, &b); /* told the same way as above */
		buf_clear(&b);
	}
	buf_done(&b);
}

static void advertisement(struct span s)
{
	struct ble_node n = { .id = "ble-0123456789ab", .rssi = BLE_RSSI_UNKNOWN };
	struct buf b = { 0 };
	struct json_doc *doc;

	n.n_ad = s.n < sizeof(n.ad) ? s.n : sizeof(n.ad);
	if (n.n_ad)
		memcpy(n.ad, s.p, n.n_ad);
	ble_list_node(&n, "/ble/", COAP_CF_CBOR, &b);
	if (cbor_check(buf_span(&b), CBOR_KEYS_SORTED, NULL) < 0)
		abort();
	buf_clear(&b);
	ble_list_node(&n, "/ble/", COAP_CF_JSON, &b);
	if (json_parse(buf_span(&b), &doc, NULL, 0) < 0)
		abort();
	json_doc_free(doc);
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span s = SPAN(data, n);

	if (n == 0)
		return 0;
	s = span_sub(s, 1, n);
	switch (data[0] & 3) {
	case 0:
		path(s);
		break;
	case 1:
		headers(s);
		break;
	case 2:
		value(s);
		break;
	default:
		advertisement(s);
		break;
	}
	return 0;
}
