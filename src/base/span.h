/* base/span.h - borrowed bytes: a pointer and a length, never owned, never freed.
 * Pure; no allocation. A span of n == 0 may have a NULL pointer. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const uint8_t *p;
	size_t n;
};

#define SPAN(p_, n_) ((struct span){ (const uint8_t *)(p_), (n_) })
#define SPAN_LIT(s_) ((struct span){ (const uint8_t *)(s_), sizeof(s_) - 1 })
#define SPAN_OF(array_) ((struct span){ (const uint8_t *)(array_), sizeof(array_) })
#define SPAN_NONE ((struct span){ NULL, 0 })
/* For printf("%.*s", SPAN_ARG(s)); only for text already checked to be printable. */
#define SPAN_ARG(s_) (int)(s_).n, (s_).p ? (const char *)(s_).p : ""

static inline struct span span_str(const char *s)
{
	return (struct span){ (const uint8_t *)s, s ? strlen(s) : 0 };
}

static inline bool span_eq(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool span_eq_str(struct span a, const char *s)
{
	return span_eq(a, span_str(s));
}

static inline bool span_starts(struct span a, struct span prefix)
{
	return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}

/* Byte order, shorter first on a tie. */
static inline int span_cmp(struct span a, struct span b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int r = n ? memcmp(a.p, b.p, n) : 0;

	return r ? r : (a.n > b.n) - (a.n < b.n);
}

/* The part from off, at most n long; clipped to what is there. */
static inline struct span span_sub(struct span a, size_t off, size_t n)
{
	if (off > a.n)
		off = a.n;
	if (n > a.n - off)
		n = a.n - off;
	return (struct span){ a.p ? a.p + off : NULL, n };
}
