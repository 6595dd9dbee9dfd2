/* What cbor_check() accepts, libcbor accepts and reads to the same end (CB-1), and the reader walks; what it does
 * not accept does not hurt the reader either. */
#include <stdlib.h>

#include "codec/cbor.h"
#include "fuzz.h"

/* libcbor has the names of ours for its own things; nothing here uses those. */
#define cbor_type libcbor_type
#define cbor_is_null libcbor_is_null
#define cbor_is_bool libcbor_is_bool
#include <cbor.h>
#undef cbor_type

static void walk(struct cbor *c, unsigned depth)
{
	size_t n;

	switch (cbor_peek(c)) {
	case CBOR_UINT:
		(void)cbor_uint(c);
		break;
	case CBOR_NINT:
		(void)cbor_int(c);
		break;
	case CBOR_BYTES:
		(void)cbor_bytes(c);
		break;
	case CBOR_TEXT:
		(void)cbor_text(c);
		break;
	case CBOR_ARRAY:
		for (n = cbor_array(c); n > 0 && cbor_ok(c) && depth < 2 * CBOR_DEPTH_MAX; n--)
			walk(c, depth + 1);
		break;
	case CBOR_MAP:
		for (n = cbor_map(c); n > 0 && cbor_ok(c) && depth < 2 * CBOR_DEPTH_MAX; n--) {
			walk(c, depth + 1);
			walk(c, depth + 1);
		}
		break;
	case CBOR_TAG:
		(void)cbor_tag(c);
		if (depth < 2 * CBOR_DEPTH_MAX)
			walk(c, depth + 1);
		break;
	case CBOR_SIMPLE:
		if (c->s.p[c->pos] >= 0xf9)
			(void)cbor_float(c);
		else
			(void)cbor_skip(c);
		break;
	case CBOR_END:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span in = SPAN(data, n);
	size_t at = SIZE_MAX;
	struct cbor c = cbor_reader(in);

	walk(&c, 0);
	c = cbor_reader(in);
	(void)cbor_skip(&c);
	bool skipped_all = cbor_at_end(&c);
	if (cbor_check(in, CBOR_ARRAY_KEYS, &at) < 0) {
		if (at > n || cbor_check(in, 0, NULL) == 0)
			abort();
		return 0;
	}
	struct cbor_load_result result;
	cbor_item_t *item = cbor_load(data, n, &result);
	if (!skipped_all)
		abort();
	if (!item) {
		/* libcbor 0.8 does not know that tags 5 to 20 may be there */
		if (result.error.position >= n || data[result.error.position] < 0xc5 || data[result.error.position] > 0xd4)
			abort();
		return 0;
	}
	if (result.read != n)
		abort();
	cbor_decref(&item);
	return 0;
}
