/* base/cursor.h - reading bounded bytes in wire order. The first read past the end
 * sets `bad`, which sticks; every later read gives zero. Pure; borrows the span. */
#pragma once
#include "base/span.h"

struct cursor {
	struct span s;
	size_t pos;
	bool bad;
};

static inline bool cur_ok(const struct cursor *c)
{
	return !c->bad;
}

static inline size_t cur_left(const struct cursor *c)
{
	return c->bad ? 0 : c->s.n - c->pos;
}

static inline bool cur_at_end(const struct cursor *c)
{
	return !c->bad && c->pos == c->s.n;
}

static inline struct span cur_take(struct cursor *c, size_t n)
{
	if (c->bad || n > c->s.n - c->pos) {
		c->bad = true;
		return SPAN_NONE;
	}
	struct span out = { n ? c->s.p + c->pos : NULL, n };
	c->pos += n;
	return out;
}

static inline uint64_t cur_be(struct cursor *c, size_t n)
{
	struct span s = cur_take(c, n);
	uint64_t v = 0;

	for (size_t i = 0; i < s.n; i++)
		v = v << 8 | s.p[i];
	return v;
}

static inline uint64_t cur_le(struct cursor *c, size_t n)
{
	struct span s = cur_take(c, n);
	uint64_t v = 0;

	for (size_t i = s.n; i > 0; i--)
		v = v << 8 | s.p[i - 1];
	return v;
}

static inline uint8_t cur_u8(struct cursor *c) { return (uint8_t)cur_be(c, 1); }
static inline uint16_t cur_be16(struct cursor *c) { return (uint16_t)cur_be(c, 2); }
static inline uint32_t cur_be32(struct cursor *c) { return (uint32_t)cur_be(c, 4); }
static inline uint64_t cur_be64(struct cursor *c) { return cur_be(c, 8); }
static inline uint16_t cur_le16(struct cursor *c) { return (uint16_t)cur_le(c, 2); }
static inline uint32_t cur_le32(struct cursor *c) { return (uint32_t)cur_le(c, 4); }
