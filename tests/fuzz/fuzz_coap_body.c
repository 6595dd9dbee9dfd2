/* io/coap_body: any sequence of blocks keeps an assembly within its limit and a download in order. */
#include <assert.h>

#include "fuzz.h"
#include "base/cursor.h"
#include "io/coap_body.h"

enum { LIMIT = 3000 };

static void upload(struct cursor c)
{
	struct coap_assembly a;

	coap_assembly_init(&a, LIMIT);
	while (cur_left(&c) > 0) {
		struct span option = cur_take(&c, cur_u8(&c) & 3), data;
		struct coap_block b;
		enum coap_assembly_step step;

		if (!cur_ok(&c) || coap_block_decode(option, &b) < 0)
			break;
		data = cur_take(&c, cur_be16(&c) & 0x7ff);
		step = coap_assembly_add(&a, &b, cur_u8(&c) & 1, data);
		assert(a.body.n <= LIMIT);
		if (step == COAP_ASSEMBLY_WHOLE)
			assert(a.body.n == coap_block_offset(&b) + data.n);
	}
	coap_assembly_done(&a);
}

static void download(struct cursor c)
{
	struct coap_fetch f;

	coap_fetch_init(&f, 0, COAP_SZX_MAX);
	while (cur_left(&c) > 0) {
		struct span option = cur_take(&c, cur_u8(&c) & 3), data;
		struct coap_etag etag = { 0 };
		struct coap_block b;
		uint64_t before = f.next;

		if (!cur_ok(&c) || coap_block_decode(option, &b) < 0)
			break;
		data = cur_take(&c, cur_be16(&c) & 0x7ff);
		etag.n = cur_u8(&c) & 1;
		if (coap_fetch_add(&f, &b, &etag, 0, data) == COAP_FETCH_MORE)
			assert(f.next == before + coap_block_bytes(b.szx));
	}
}

static void cut(struct cursor c)
{
	struct coap_block want, got;
	uint64_t total = cur_be64(&c);
	uint8_t v[COAP_BLOCK_OPTION_BYTES];
	size_t n;

	if (coap_block_decode(cur_take(&c, cur_u8(&c) & 3), &want) < 0 || coap_block_cut(total, &want, &got, &n) < 0)
		return;
	assert(coap_block_offset(&got) + n <= total && (got.more ? n == coap_block_bytes(got.szx) : coap_block_offset(&got) + n == total));
	assert(coap_block_decode(SPAN(v, coap_block_encode(&got, v)), &want) == 0 && want.num == got.num && want.more == got.more);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor c = { .s = SPAN(data, size) };

	upload(c);
	download(c);
	cut(c);
	return 0;
}
