/* base/buf.h - owned bytes that grow up to a limit. Going over the limit (or running out
 * of memory) sets `bad`, which sticks: write everything, check once with buf_ok().
 * A zeroed struct buf is empty and limited to BUF_MAX_DEFAULT. Not for secrets. */
#pragma once
#include "base/cleanup.h"
#include "base/span.h"

enum { BUF_MAX_DEFAULT = 64 * 1024 * 1024 };

struct buf {
	uint8_t *p;                    /* owned; always followed by a NUL once not NULL */
	size_t n, cap;
	size_t max;                    /* most bytes; 0 = BUF_MAX_DEFAULT */
	bool bad;
};

void buf_add(struct buf *b, struct span s);
void buf_add_u8(struct buf *b, uint8_t v);
void buf_add_be(struct buf *b, uint64_t v, size_t n);   /* n <= 8 low bytes, big-endian */
void buf_add_le(struct buf *b, uint64_t v, size_t n);  /* n <= 8 */
void buf_add_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint8_t *buf_grow(struct buf *b, size_t n);             /* n more bytes, zeroed; NULL when bad */
void buf_clear(struct buf *b);                          /* empty, memory kept, bad reset */
void buf_done(struct buf *b);                           /* frees; the buf is zeroed */
uint8_t *buf_take(struct buf *b, size_t *ret_n);        /* the bytes move to the caller (free()) */

static inline bool buf_ok(const struct buf *b) { return !b->bad; }
static inline struct span buf_span(const struct buf *b) { return (struct span){ b->p, b->n }; }
static inline const char *buf_str(const struct buf *b) { return b->p ? (const char *)b->p : ""; }

#define _cleanup_buf_ _cleanup_(buf_done)
