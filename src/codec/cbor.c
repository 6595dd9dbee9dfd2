#include "codec/cbor.h"

#include <errno.h>
#include <math.h>

#include "base/text.h"

enum { MAJOR_UINT, MAJOR_NINT, MAJOR_BYTES, MAJOR_TEXT, MAJOR_ARRAY, MAJOR_MAP, MAJOR_TAG, MAJOR_SIMPLE };
enum { SIMPLE_FALSE = 20, SIMPLE_TRUE, SIMPLE_NULL, SIMPLE_UNDEFINED, SIMPLE_ONE_BYTE, SIMPLE_HALF, SIMPLE_SINGLE, SIMPLE_DOUBLE };

struct head {
	uint8_t major;
	uint8_t info;                  /* low five bits of the first byte */
	uint64_t value;                /* argument, length, count, or the bits of a float */
	size_t n;                      /* bytes of the head */
};

static uint64_t be(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/* The head at pos: complete, definite and in its shortest form. */
static bool head_read(struct span s, size_t pos, struct head *ret)
{
	if (pos >= s.n)
		return false;
	uint8_t first = s.p[pos];
	struct head h = { .major = first >> 5, .info = first & 31, .value = first & 31, .n = 1 };

	if (h.info >= 24) {
		if (h.info > 27)
			return false; /* reserved, or indefinite length */
		size_t more = (size_t)1 << (h.info - 24);
		if (more > s.n - pos - 1)
			return false;
		h.value = be(s.p + pos + 1, more);
		h.n += more;
		if (h.major != MAJOR_SIMPLE && (more == 1 ? h.value < 24 : h.value >> (4 * more) == 0))
			return false; /* fits a shorter head */
	}
	if (h.major == MAJOR_SIMPLE && (h.info < SIMPLE_FALSE || h.info == SIMPLE_ONE_BYTE))
		return false; /* unassigned simple values */
	*ret = h;
	return true;
}

/* Items that must follow the head inside this item, or false when s cannot hold them. */
static bool head_children(const struct head *h, size_t left, uint64_t *ret)
{
	*ret = 0;
	switch (h->major) {
	case MAJOR_BYTES:
	case MAJOR_TEXT:
		return h->value <= left;
	case MAJOR_ARRAY:
		*ret = h->value;
		return h->value <= left;
	case MAJOR_MAP:
		*ret = h->value * 2;
		return h->value <= left / 2;
	case MAJOR_TAG:
		*ret = 1;
		return left >= 1;
	default:
		return true;
	}
}

/* ---- the check ---- */

struct frame {                         /* one open array, map or tag */
	uint64_t left;                 /* items still to come, keys and values each count */
	bool is_map, at_key, is_sorted;
	size_t item_at;                /* where the item now read began */
	size_t n_keys;
	struct span last_key;
	struct span keys[CBOR_UNSORTED_KEYS_MAX];      /* the first ones, in byte order */
};

struct scan {
	struct span s;
	size_t pos;
	unsigned flags;
	size_t depth;
	struct frame frames[CBOR_DEPTH_MAX];
};

/* Sorted maps cost one comparison a key; others a binary search among at most CBOR_UNSORTED_KEYS_MAX. */
static int key_check(struct frame *f, struct span key, unsigned flags)
{
	size_t at = f->n_keys, low = 0, high = f->n_keys;
	int order = f->n_keys ? span_cmp(f->last_key, key) : -1;

	if (order == 0)
		return -EEXIST;
	if (order > 0) {
		if (flags & CBOR_KEYS_SORTED)
			return -EBADMSG;
		f->is_sorted = false;
	}
	if (!f->is_sorted && f->n_keys >= CBOR_UNSORTED_KEYS_MAX)
		return -E2BIG;
	if (order > 0) {
		while (low < high) {
			size_t mid = (low + high) / 2;
			int c = span_cmp(f->keys[mid], key);
			if (c == 0)
				return -EEXIST;
			if (c < 0)
				low = mid + 1;
			else
				high = mid;
		}
		at = low;
		memmove(f->keys + at + 1, f->keys + at, (f->n_keys - at) * sizeof(f->keys[0]));
	} else {
		f->last_key = key;
	}
	if (at < CBOR_UNSORTED_KEYS_MAX)
		f->keys[at] = key;
	f->n_keys++;
	return 0;
}

static bool key_type_allowed(uint8_t major, unsigned flags)
{
	return major <= MAJOR_TEXT || (major == MAJOR_ARRAY && (flags & CBOR_ARRAY_KEYS));
}

/* One item ended at pos: close every container that it completes. 1 = that was the outermost. */
static int item_end(struct scan *sc)
{
	while (sc->depth > 0) {
		struct frame *f = &sc->frames[sc->depth - 1];
		if (f->is_map && f->at_key) {
			int r = key_check(f, span_sub(sc->s, f->item_at, sc->pos - f->item_at), sc->flags);
			if (r < 0) {
				sc->pos = f->item_at;
				return r;
			}
		}
		if (f->is_map)
			f->at_key = !f->at_key;
		f->item_at = sc->pos;
		if (--f->left > 0)
			return 0;
		sc->depth--;
	}
	return 1;
}

static int item_begin(struct scan *sc)
{
	struct frame *up = sc->depth ? &sc->frames[sc->depth - 1] : NULL;
	uint64_t children;
	struct head h;

	if (!head_read(sc->s, sc->pos, &h) || !head_children(&h, sc->s.n - sc->pos - h.n, &children))
		return -EBADMSG;
	if (up && up->is_map && up->at_key && !key_type_allowed(h.major, sc->flags))
		return -EBADMSG;
	if (h.major == MAJOR_ARRAY || h.major == MAJOR_MAP || h.major == MAJOR_TAG) {
		if (sc->depth == CBOR_DEPTH_MAX)
			return -E2BIG;
		sc->pos += h.n;
		if (children == 0)
			return item_end(sc);
		struct frame *f = &sc->frames[sc->depth++];
		f->left = children;
		f->is_map = f->at_key = h.major == MAJOR_MAP;
		f->is_sorted = true;
		f->item_at = sc->pos;
		f->n_keys = 0;
		return 0;
	}
	size_t content = h.major == MAJOR_BYTES || h.major == MAJOR_TEXT ? (size_t)h.value : 0;
	if (h.major == MAJOR_TEXT && !text_is_utf8(span_sub(sc->s, sc->pos + h.n, content)))
		return -EBADMSG;
	sc->pos += h.n + content;
	return item_end(sc);
}

int cbor_check(struct span s, unsigned flags, size_t *ret_at)
{
	struct scan sc;                /* 17 KiB, not cleared: frames are set when opened */
	int r;

	sc.s = s;
	sc.pos = sc.depth = 0;
	sc.flags = flags;
	do {
		r = item_begin(&sc);
	} while (r == 0);
	if (r == 1 && sc.pos != s.n)
		r = -EBADMSG;
	if (r == 1)
		return 0;
	if (ret_at)
		*ret_at = sc.pos;
	return r;
}

/* ---- the reader ---- */

enum cbor_type cbor_peek(const struct cbor *c)
{
	if (c->bad || c->pos >= c->s.n)
		return CBOR_END;
	return (enum cbor_type)(c->s.p[c->pos] >> 5);
}

static bool take_head(struct cbor *c, uint8_t major, struct head *ret)
{
	uint64_t children;

	if (!c->bad && head_read(c->s, c->pos, ret) && ret->major == major &&
	    head_children(ret, c->s.n - c->pos - ret->n, &children)) {
		c->pos += ret->n;
		return true;
	}
	c->bad = true;
	*ret = (struct head){ 0 };
	return false;
}

uint64_t cbor_uint(struct cbor *c)
{
	struct head h;

	(void)take_head(c, MAJOR_UINT, &h); /* zero when bad */
	return h.value;
}

int64_t cbor_int(struct cbor *c)
{
	bool negative = cbor_peek(c) == CBOR_NINT;
	struct head h;

	if (!take_head(c, negative ? MAJOR_NINT : MAJOR_UINT, &h))
		return 0;
	if (h.value > INT64_MAX) {
		c->bad = true;
		return 0;
	}
	return negative ? -1 - (int64_t)h.value : (int64_t)h.value;
}

static struct span take_string(struct cbor *c, uint8_t major)
{
	struct head h;

	if (!take_head(c, major, &h))
		return SPAN_NONE;
	struct span out = { c->s.p + c->pos, (size_t)h.value };
	c->pos += out.n;
	return out;
}

struct span cbor_bytes(struct cbor *c)
{
	return take_string(c, MAJOR_BYTES);
}

struct span cbor_text(struct cbor *c)
{
	return take_string(c, MAJOR_TEXT);
}

size_t cbor_array(struct cbor *c)
{
	struct head h;

	(void)take_head(c, MAJOR_ARRAY, &h); /* zero when bad */
	return (size_t)h.value;
}

size_t cbor_map(struct cbor *c)
{
	struct head h;

	(void)take_head(c, MAJOR_MAP, &h); /* zero when bad */
	return (size_t)h.value;
}

uint64_t cbor_tag(struct cbor *c)
{
	struct head h;

	(void)take_head(c, MAJOR_TAG, &h); /* zero when bad */
	return h.value;
}

bool cbor_bool(struct cbor *c)
{
	bool ok = cbor_is_bool(c);
	bool v = ok && c->s.p[c->pos] == 0xf5;

	if (ok)
		c->pos++;
	else
		c->bad = true;
	return v;
}

void cbor_null(struct cbor *c)
{
	if (cbor_is_null(c))
		c->pos++;
	else
		c->bad = true;
}

static double half_value(uint16_t bits)
{
	int exponent = bits >> 10 & 31, mantissa = bits & 1023;
	double v;

	if (exponent == 31)
		v = mantissa ? NAN : INFINITY;
	else if (exponent == 0)
		v = ldexp(mantissa, -24);
	else
		v = ldexp(mantissa + 1024, exponent - 25);
	return bits & 0x8000 ? -v : v;
}

double cbor_float(struct cbor *c)
{
	enum cbor_type type = cbor_peek(c);
	struct head h;

	if (type == CBOR_UINT || type == CBOR_NINT) {
		(void)take_head(c, (uint8_t)type, &h); /* zero when bad */
		return type == CBOR_UINT ? (double)h.value : -1.0 - (double)h.value;
	}
	if (!take_head(c, MAJOR_SIMPLE, &h))
		return 0;
	if (h.info == SIMPLE_HALF)
		return half_value((uint16_t)h.value);
	if (h.info == SIMPLE_SINGLE) {
		uint32_t bits = (uint32_t)h.value;
		float f;
		memcpy(&f, &bits, sizeof(f));
		return (double)f;
	}
	if (h.info == SIMPLE_DOUBLE) {
		double d;
		memcpy(&d, &h.value, sizeof(d));
		return d;
	}
	c->bad = true;
	return 0;
}

struct span cbor_skip(struct cbor *c)
{
	size_t from = c->pos;
	uint64_t pending = 1, children;
	struct head h;

	while (pending > 0 && !c->bad) {
		size_t left = c->s.n - c->pos;
		if (pending > left || !head_read(c->s, c->pos, &h) || !head_children(&h, left - h.n, &children)) {
			c->bad = true;
			break;
		}
		c->pos += h.n;
		if (h.major == MAJOR_BYTES || h.major == MAJOR_TEXT)
			c->pos += (size_t)h.value;
		pending += children - 1;
	}
	return c->bad ? SPAN_NONE : span_sub(c->s, from, c->pos - from);
}

/* ---- the writer ---- */

static void put_head(struct buf *b, uint8_t major, uint64_t v)
{
	uint8_t type = (uint8_t)(major << 5);

	if (v < 24) {
		buf_add_u8(b, type | (uint8_t)v);
		return;
	}
	unsigned log2 = v <= UINT8_MAX ? 0 : v <= UINT16_MAX ? 1 : v <= UINT32_MAX ? 2 : 3;
	buf_add_u8(b, type | (uint8_t)(24 + log2));
	buf_add_be(b, v, (size_t)1 << log2);
}

void cbor_put_uint(struct buf *b, uint64_t v)
{
	put_head(b, MAJOR_UINT, v);
}

void cbor_put_int(struct buf *b, int64_t v)
{
	if (v < 0)
		put_head(b, MAJOR_NINT, (uint64_t)(-1 - v));
	else
		put_head(b, MAJOR_UINT, (uint64_t)v);
}

void cbor_put_bytes_head(struct buf *b, uint64_t n)
{
	put_head(b, MAJOR_BYTES, n);
}

void cbor_put_bytes(struct buf *b, struct span s)
{
	put_head(b, MAJOR_BYTES, s.n);
	buf_add(b, s);
}

void cbor_put_text(struct buf *b, struct span s)
{
	put_head(b, MAJOR_TEXT, s.n);
	buf_add(b, s);
}

void cbor_put_str(struct buf *b, const char *s)
{
	cbor_put_text(b, span_str(s));
}

void cbor_put_array(struct buf *b, uint64_t n)
{
	put_head(b, MAJOR_ARRAY, n);
}

void cbor_put_map(struct buf *b, uint64_t n)
{
	put_head(b, MAJOR_MAP, n);
}

void cbor_put_tag(struct buf *b, uint64_t tag)
{
	put_head(b, MAJOR_TAG, tag);
}

void cbor_put_bool(struct buf *b, bool v)
{
	buf_add_u8(b, v ? 0xf5 : 0xf4);
}

void cbor_put_null(struct buf *b)
{
	buf_add_u8(b, 0xf6);
}

/* The half that has exactly the value of a single given by its bits, or -1. */
static int half_of(uint32_t bits)
{
	uint32_t sign = bits >> 16 & 0x8000, mantissa = bits & 0x7fffff;
	int exponent = (int)(bits >> 23 & 255) - 127;

	if (exponent == 128)
		return mantissa ? -1 : (int)(sign | 0x7c00);
	if (exponent == -127 && mantissa == 0)
		return (int)sign;
	if (exponent >= -14 && exponent <= 15 && (mantissa & 0x1fff) == 0)
		return (int)(sign | (uint32_t)(exponent + 15) << 10 | mantissa >> 13);
	if (exponent >= -24 && exponent < -14) {
		unsigned shift = (unsigned)(-1 - exponent);
		uint32_t full = mantissa | 0x800000;
		if ((full & ((1u << shift) - 1)) == 0)
			return (int)(sign | full >> shift);
	}
	return -1;
}

void cbor_put_double(struct buf *b, double v)
{
	float f = (float)v;
	uint32_t bits32;
	uint64_t bits64;

	if (isnan(v)) {
		buf_add(b, SPAN_LIT("\xf9\x7e\x00"));
		return;
	}
	memcpy(&bits32, &f, sizeof(f));
	memcpy(&bits64, &v, sizeof(v));
	if ((double)f != v) {
		buf_add_u8(b, 0xfb);
		buf_add_be(b, bits64, 8);
		return;
	}
	int half = half_of(bits32);
	if (half >= 0) {
		buf_add_u8(b, 0xf9);
		buf_add_be(b, (uint64_t)half, 2);
	} else {
		buf_add_u8(b, 0xfa);
		buf_add_be(b, bits32, 4);
	}
}
