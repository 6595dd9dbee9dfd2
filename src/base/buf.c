#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

static bool buf_reserve(struct buf *b, size_t n)
{
	size_t max = b->max ? b->max : BUF_MAX_DEFAULT;

	if (b->bad || n > max || b->n > max - n) {
		b->bad = true;
		return false;
	}
	size_t need = b->n + n + 1;
	if (need <= b->cap)
		return true;
	size_t cap = b->cap ? b->cap : 64;
	while (cap < need)
		cap += cap / 2 + 64;
	uint8_t *p = realloc(b->p, cap);
	if (!p) {
		b->bad = true;
		return false;
	}
	b->p = p;
	b->cap = cap;
	return true;
}

uint8_t *buf_grow(struct buf *b, size_t n)
{
	if (!buf_reserve(b, n))
		return NULL;
	uint8_t *at = b->p + b->n;
	memset(at, 0, n + 1);
	b->n += n;
	return at;
}

void buf_add(struct buf *b, struct span s)
{
	if (!buf_reserve(b, s.n))
		return;
	if (s.n)
		memcpy(b->p + b->n, s.p, s.n);
	b->n += s.n;
	b->p[b->n] = 0;
}

void buf_add_u8(struct buf *b, uint8_t v)
{
	buf_add(b, SPAN(&v, 1));
}

void buf_add_be(struct buf *b, uint64_t v, size_t n)
{
	for (size_t i = n; i > 0; i--)
		buf_add_u8(b, (uint8_t)(v >> (8 * (i - 1))));
}

void buf_add_le(struct buf *b, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_add_u8(b, (uint8_t)(v >> (8 * i)));
}

void buf_add_str(struct buf *b, const char *s)
{
	buf_add(b, span_str(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;

	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->bad = true;
	} else if (buf_reserve(b, (size_t)n)) {
		(void)vsnprintf((char *)b->p + b->n, (size_t)n + 1, fmt, again); /* length known */
		b->n += (size_t)n;
	}
	va_end(again);
}

void buf_clear(struct buf *b)
{
	b->n = 0;
	b->bad = false;
	if (b->p)
		b->p[0] = 0;
}

void buf_done(struct buf *b)
{
	free(b->p);
	*b = (struct buf){ 0 };
}

uint8_t *buf_take(struct buf *b, size_t *ret_n)
{
	uint8_t *p = b->p;

	*ret_n = b->n;
	*b = (struct buf){ 0 };
	return p;
}
