/* io/coap_body.h - the arithmetic of RFC 7959, shared by endpoint and client: the Block option,
 * where a block lies in a body, a body gathered block by block (Block1), a body fetched block by
 * block (Block2). Pure: no wire, no clock, no log, no libcoap. */
#pragma once
#include "io/coap.h"

enum {
	COAP_SZX_MAX = 6,                      /* 1024 bytes; 7 is reserved on UDP (RFC 7959 2.2) */
	COAP_BLOCK_BYTES_MAX = 1024,
	COAP_BLOCK_NUM_MAX = 0xfffff,          /* 20 bits */
	COAP_BLOCK_OPTION_BYTES = 3,
};

struct coap_block {
	uint32_t num;
	bool more;
	uint8_t szx;
};

static inline size_t coap_block_bytes(uint8_t szx) { return (size_t)16 << szx; }
static inline uint64_t coap_block_offset(const struct coap_block *b) { return (uint64_t)b->num << (b->szx + 4); }

/* -EBADMSG: longer than 3 bytes, or SZX 7 (BW-1). */
int coap_block_decode(struct span value, struct coap_block *ret);
/* Shortest form; returns its length (0 for num 0, no more, szx 0). */
size_t coap_block_encode(const struct coap_block *b, uint8_t ret[static COAP_BLOCK_OPTION_BYTES]);
/* The block of size szx that starts at off. -EINVAL: not on a boundary; -ERANGE: number over 20 bits. */
int coap_block_at(uint64_t off, uint8_t szx, struct coap_block *ret);
/* Largest SZX whose block is at most `bytes` (at least SZX 0). */
uint8_t coap_block_szx_for(size_t bytes);
/* What to answer for block `want` of a body of `total` bytes: ret has `more` set right, *ret_n bytes
 * lie at coap_block_offset(ret). -ERANGE: the number is past the end (an empty body has block 0). */
int coap_block_cut(uint64_t total, const struct coap_block *want, struct coap_block *ret, size_t *ret_n);

/* ---- a request body gathered from Block1 (BW-3, BW-5, BW-7) ---- */
enum coap_assembly_step {
	COAP_ASSEMBLY_MORE,                    /* 2.31 */
	COAP_ASSEMBLY_WHOLE,                   /* the body is complete */
	COAP_ASSEMBLY_BAD,                     /* 4.00: a block that is not last is not full */
	COAP_ASSEMBLY_GAP,                     /* 4.08: an earlier block is missing, or the format changed */
	COAP_ASSEMBLY_TOO_LARGE,               /* 4.13 */
};

struct coap_assembly {
	struct buf body;
	int content_format;
	size_t max;                            /* most bytes */
};

void coap_assembly_init(struct coap_assembly *a, size_t max);
void coap_assembly_done(struct coap_assembly *a);
/* Adds one block. Block 0 starts anew. A block already held is accepted again when its bytes are the same.
 * After BAD, GAP and TOO_LARGE only coap_assembly_done() or block 0 may follow. */
enum coap_assembly_step coap_assembly_add(struct coap_assembly *a, const struct coap_block *b, int content_format,
					  struct span data);

/* ---- a response body fetched by Block2 ---- */
enum coap_fetch_step {
	COAP_FETCH_MORE,                       /* data is good, ask for the block at `next` */
	COAP_FETCH_WHOLE,                      /* data is good and the last */
	COAP_FETCH_CHANGED,                    /* another ETag than before: the body changed underway */
	COAP_FETCH_BAD,                        /* not the block asked for, or one that is not full */
};

struct coap_fetch {
	uint64_t next;                         /* offset wanted */
	uint64_t total;                        /* from Size2 or the last block; 0 = unknown */
	uint8_t szx;                           /* size asked for; shrinks when the server says so */
	bool started;
	struct coap_etag etag;
};

void coap_fetch_init(struct coap_fetch *f, uint64_t from, uint8_t szx);
/* One answer. b NULL = the response has no Block2 (then data is all, and from must have been 0). */
enum coap_fetch_step coap_fetch_add(struct coap_fetch *f, const struct coap_block *b, const struct coap_etag *etag,
				    uint64_t size2, struct span data);
