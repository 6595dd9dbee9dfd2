/* codec/cbor.h - strict, bounded CBOR (RFC 8949): a pull reader over borrowed bytes and a
 * deterministic writer. Never builds a tree, never allocates but for the writer's buf
 * (CB-1..CB-5); heads are read here because libcbor's stream decoder hides whether a
 * head was in its shortest form. Tests and the fuzzer hold libcbor beside it: what
 * cbor_check() accepts, libcbor accepts. Pure.
 *
 * cbor_check() must pass on every byte string from outside before the reader walks it:
 * shortest forms (integers and lengths), definite lengths, counts within the bytes, unique
 * map keys, only the simple values false, true, null and undefined, valid UTF-8, nesting
 * <= CBOR_DEPTH_MAX, exact end. After that the reader's errors are only "not the type I wanted". */
#pragma once
#include "base/buf.h"

enum {
	CBOR_DEPTH_MAX = 16,                   /* arrays, maps and tags inside each other */
	CBOR_UNSORTED_KEYS_MAX = 64,           /* pairs of a map whose keys are out of order; sorted maps have no limit */
};

enum cbor_check_flags {
	CBOR_KEYS_SORTED = 1,                  /* also demand deterministic key order (RFC 8949 4.2.1) */
	CBOR_ARRAY_KEYS = 2,                   /* map keys may be arrays (SUIT text only, SU-29) */
};

/* One well-formed item and nothing after it. Time is linear in s.n; memory is fixed.
 * 0, -EBADMSG malformed or not strict, -EEXIST a map key twice, -E2BIG nested too deep or too
 * many unsorted keys. ret_at (may be NULL): offset of the fault, written on failure only. */
int cbor_check(struct span s, unsigned flags, size_t *ret_at);

enum cbor_type { CBOR_UINT, CBOR_NINT, CBOR_BYTES, CBOR_TEXT, CBOR_ARRAY, CBOR_MAP, CBOR_TAG, CBOR_SIMPLE, CBOR_END };

struct cbor {                                  /* sticky error like struct cursor */
	struct span s;
	size_t pos;
	bool bad;
};

static inline struct cbor cbor_reader(struct span s) { return (struct cbor){ .s = s }; }
enum cbor_type cbor_peek(const struct cbor *c);        /* CBOR_END at the end or when bad */
uint64_t cbor_uint(struct cbor *c);
int64_t cbor_int(struct cbor *c);              /* UINT or NINT within int64 */
struct span cbor_bytes(struct cbor *c);
struct span cbor_text(struct cbor *c);
/* A count larger than the bytes left could hold is bad, so loops driven by it are bounded by the input. */
size_t cbor_array(struct cbor *c);             /* number of items that follow */
size_t cbor_map(struct cbor *c);               /* number of pairs that follow */
uint64_t cbor_tag(struct cbor *c);
bool cbor_bool(struct cbor *c);
void cbor_null(struct cbor *c);
/* Inline, since libcbor exports functions of the same names. */
static inline bool cbor_is_null(const struct cbor *c) { return !c->bad && c->pos < c->s.n && c->s.p[c->pos] == 0xf6; }
static inline bool cbor_is_bool(const struct cbor *c) { return !c->bad && c->pos < c->s.n && (c->s.p[c->pos] & 0xfe) == 0xf4; }
double cbor_float(struct cbor *c);             /* any float, or an integer */
struct span cbor_skip(struct cbor *c);         /* one whole item of any depth; its encoded bytes */
static inline bool cbor_ok(const struct cbor *c) { return !c->bad; }
static inline bool cbor_at_end(const struct cbor *c) { return !c->bad && c->pos == c->s.n; }

/* The writer: deterministic heads; the caller puts map keys in order. */
void cbor_put_uint(struct buf *b, uint64_t v);
void cbor_put_int(struct buf *b, int64_t v);
void cbor_put_bytes(struct buf *b, struct span s);
void cbor_put_text(struct buf *b, struct span s);
void cbor_put_str(struct buf *b, const char *s);
void cbor_put_array(struct buf *b, uint64_t n);
void cbor_put_map(struct buf *b, uint64_t n);
void cbor_put_tag(struct buf *b, uint64_t tag);
void cbor_put_bool(struct buf *b, bool v);
void cbor_put_null(struct buf *b);
void cbor_put_double(struct buf *b, double v);  /* shortest of 16, 32, 64 bits */
void cbor_put_bytes_head(struct buf *b, uint64_t n);   /* the caller adds n bytes */
