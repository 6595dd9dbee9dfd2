/* udplimit: what a CoAP answer costs at least. Every request gets the same small 2.05, or with IMAGE_BYTES one block of an image
 * (RFC 7959 Block2). It does no routing and keeps nothing about peers.
 * usage: udplimit PORT [IMAGE_BYTES] */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "serve.h"

enum { IMAGE_BYTES_MAX = 64 << 20 };

static uint8_t *image;
static size_t image_bytes;

static size_t put_payload(uint8_t *out, size_t n, struct span payload)
{
	if (payload.n == 0)
		return n;
	out[n++] = 0xff;
	memcpy(out + n, payload.p, payload.n);
	return n + payload.n;
}

static size_t answer_block(const struct message *m, struct block want, uint8_t *out)
{
	size_t block_bytes = (size_t)16 << want.szx, off = want.num * block_bytes, n;
	unsigned last = 0;
	uint8_t *p;

	if (off >= image_bytes)
		return message_answer(m, MESSAGE_400, out);
	n = image_bytes - off < block_bytes ? image_bytes - off : block_bytes;
	want.more = off + n < image_bytes;
	p = out + message_answer(m, MESSAGE_205, out);
	p = option_put(p, &last, OPT_ETAG, SPAN_LIT("\xa1\xb2\xc3\xd4"));
	p = option_put_uint(p, &last, OPT_BLOCK2, block_value(&want));
	return put_payload(out, (size_t)(p - out), SPAN(image + off, n));
}

static size_t answer(struct span in, const struct sockaddr_in *from, uint8_t *out)
{
	struct block want = { .szx = MESSAGE_SZX_MAX };
	struct message m;
	struct span v;
	unsigned number;

	(void)from;
	if (!message_read(in, &m) || m.code == 0 || m.code >> 5)
		return 0;
	if (image_bytes == 0)
		return put_payload(out, message_answer(&m, MESSAGE_205, out), SPAN_LIT("0123456789abcdef"));
	while (message_option(&m, &number, &v))
		if (number == OPT_BLOCK2 && !block_read(v, &want))
			return 0;
	return m.bad ? 0 : answer_block(&m, want, out);
}

int main(int argc, char **argv)
{
	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: udplimit PORT [IMAGE_BYTES]\n");
		return 2;
	}
	if (argc == 3) {
		image_bytes = strtoul(argv[2], NULL, 10);
		if (image_bytes == 0 || image_bytes > IMAGE_BYTES_MAX)
			return 2;
		image = mem_new(image_bytes, 1);
	}
	for (size_t i = 0; i < image_bytes; i++)
		image[i] = (uint8_t)(i * 2654435761u >> 13);
	return serve((uint16_t)atoi(argv[1]), answer);
}
