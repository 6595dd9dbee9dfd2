/* codec/parity.h - the parity rows of LoRaWAN's fragmented data block transport (TS004-1.0.0 and TS004-2.0.0), which
 * MCD uses as they are (man/dormouse-multicast.7, MCD-7): row n says which of a generation's M fragments are XORed into
 * parity fragment n. Pure; no allocation; any thread. */
#pragma once
#include "base/span.h"

enum parity_alg {
	PARITY_NONE = 0,                       /* no parity */
	PARITY_TS004_V1 = 1,                   /* stops after M/2 draws, repeats counted: weight about 0.39 M */
	PARITY_TS004_V2 = 2,                   /* stops after M/2 different bits */
};

enum {
	PARITY_M_MIN = 2,                      /* with M = 1 every row is empty */
	PARITY_M_MAX = 2048,                   /* fragments of one generation */
	PARITY_N_MAX = 8191,                   /* rows that are known to end */
	PARITY_INDEX_MAX = 16383,              /* TS004's N has 14 bits: M + n */
	PARITY_ROW_BYTES_MAX = PARITY_M_MAX / 8,
	PARITY_FRAGMENT_BYTES_MAX = 255,       /* Z has one byte on the wire */
};

static inline size_t parity_row_bytes(unsigned m) { return (m + 7) / 8; }
static inline bool parity_row_bit(const uint8_t *row, unsigned i) { return row[i / 8] >> (i % 8) & 1; }
/* The last row a generation of m fragments may use: n <= PARITY_N_MAX and m + n <= PARITY_INDEX_MAX. */
static inline unsigned parity_n_max(unsigned m) { return PARITY_INDEX_MAX - m < PARITY_N_MAX ? PARITY_INDEX_MAX - m : PARITY_N_MAX; }

/* Row n (1 .. parity_n_max(m)) for m fragments (PARITY_M_MIN .. PARITY_M_MAX), least significant bit first, into
 * parity_row_bytes(m) bytes; bits past m are 0. alg is V1 or V2. Arguments outside are our bug (assert). */
void parity_row(unsigned m, unsigned n, enum parity_alg alg, uint8_t *ret);

/* Parity fragment n of a generation: z bytes (1 .. PARITY_FRAGMENT_BYTES_MAX) into ret. `generation` is the
 * generation's part of the object, at most m * z bytes; what is missing of m * z counts as zero bytes.
 * Costs one row and about 0.4 to 0.5 passes over the generation. */
void parity_fragment(struct span generation, unsigned m, unsigned z, unsigned n, enum parity_alg alg, uint8_t *ret);

/* acc ^= p, n bytes, a word at a time; any alignment. */
void parity_xor(uint8_t *acc, const uint8_t *p, size_t n);
