#include "io/coap_body.h"

#include <errno.h>

int coap_block_decode(struct span value, struct coap_block *ret)
{
	uint32_t v = 0;

	if (value.n > COAP_BLOCK_OPTION_BYTES)
		return -EBADMSG;
	for (size_t i = 0; i < value.n; i++)
		v = v << 8 | value.p[i];
	if ((v & 7) > COAP_SZX_MAX)
		return -EBADMSG;
	*ret = (struct coap_block){ .num = v >> 4, .more = v & 8, .szx = v & 7 };
	return 0;
}

size_t coap_block_encode(const struct coap_block *b, uint8_t ret[static COAP_BLOCK_OPTION_BYTES])
{
	uint32_t v = (b->num & COAP_BLOCK_NUM_MAX) << 4 | (b->more ? 8u : 0) | b->szx;
	size_t n = v > 0xffff ? 3 : v > 0xff ? 2 : v > 0 ? 1 : 0;

	for (size_t i = 0; i < n; i++)
		ret[i] = (uint8_t)(v >> 8 * (n - 1 - i));
	return n;
}

int coap_block_at(uint64_t off, uint8_t szx, struct coap_block *ret)
{
	uint64_t num = off >> (szx + 4);

	if (off & (coap_block_bytes(szx) - 1))
		return -EINVAL;
	if (num > COAP_BLOCK_NUM_MAX)
		return -ERANGE;
	*ret = (struct coap_block){ .num = (uint32_t)num, .szx = szx };
	return 0;
}

uint8_t coap_block_szx_for(size_t bytes)
{
	uint8_t szx = COAP_SZX_MAX;

	while (szx > 0 && coap_block_bytes(szx) > bytes)
		szx--;
	return szx;
}

int coap_block_cut(uint64_t total, const struct coap_block *want, struct coap_block *ret, size_t *ret_n)
{
	uint64_t off = coap_block_offset(want);
	size_t size = coap_block_bytes(want->szx);

	if (off >= total && off > 0)
		return -ERANGE;
	*ret_n = total - off < size ? (size_t)(total - off) : size;
	*ret = (struct coap_block){ .num = want->num, .more = off + *ret_n < total, .szx = want->szx };
	return 0;
}

void coap_assembly_init(struct coap_assembly *a, size_t max)
{
	*a = (struct coap_assembly){ .content_format = COAP_CF_NONE, .max = max };
	a->body.max = max;
}

void coap_assembly_done(struct coap_assembly *a)
{
	buf_done(&a->body);
}

enum coap_assembly_step coap_assembly_add(struct coap_assembly *a, const struct coap_block *b, int content_format,
					  struct span data)
{
	uint64_t off = coap_block_offset(b);
	size_t size = coap_block_bytes(b->szx);

	if (data.n > size || (b->more && data.n != size))
		return COAP_ASSEMBLY_BAD;
	if (b->num == 0) {
		buf_clear(&a->body);
		a->content_format = content_format;
	} else if (content_format != a->content_format) {
		return COAP_ASSEMBLY_GAP;
	}
	if (off > a->body.n)
		return COAP_ASSEMBLY_GAP;
	if (off + data.n > a->max)
		return COAP_ASSEMBLY_TOO_LARGE;
	if (off < a->body.n) { /* sent again with a new message id */
		if (!b->more || !span_eq(span_sub(buf_span(&a->body), off, data.n), data))
			return COAP_ASSEMBLY_GAP;
		return COAP_ASSEMBLY_MORE;
	}
	buf_add(&a->body, data);
	if (!buf_ok(&a->body))
		return COAP_ASSEMBLY_TOO_LARGE;
	return b->more ? COAP_ASSEMBLY_MORE : COAP_ASSEMBLY_WHOLE;
}

void coap_fetch_init(struct coap_fetch *f, uint64_t from, uint8_t szx)
{
	*f = (struct coap_fetch){ .next = from, .szx = szx };
}

enum coap_fetch_step coap_fetch_add(struct coap_fetch *f, const struct coap_block *b, const struct coap_etag *etag,
				    uint64_t size2, struct span data)
{
	if (!b) {
		if (f->next != 0)
			return COAP_FETCH_BAD;
		f->next = f->total = data.n;
		f->etag = *etag;
		f->started = true;
		return COAP_FETCH_WHOLE;
	}
	if (coap_block_offset(b) != f->next || data.n > coap_block_bytes(b->szx) ||
	    (b->more && data.n != coap_block_bytes(b->szx)))
		return COAP_FETCH_BAD;
	if (f->started && !coap_etag_eq(&f->etag, etag))
		return COAP_FETCH_CHANGED;
	f->started = true;
	f->etag = *etag;
	if (b->szx < f->szx)
		f->szx = b->szx;
	f->next += data.n;
	if (size2 > 0)
		f->total = size2;
	if (b->more)
		return COAP_FETCH_MORE;
	f->total = f->next;
	return COAP_FETCH_WHOLE;
}
