/* codec/mcast_geometry.h - how MCD cuts an object into generations and fragments (man/dormouse-multicast.7, MCD-3).
 * Deterministic from (size, Z, K, E), so every node and the gateway find the same cut. Pure; no allocation. */
#pragma once
#include <stdint.h>

enum {
	MCAST_Z_MIN = 8, MCAST_Z_MAX = 232, MCAST_Z_DEFAULT = 64,                   /* fragment bytes */
	MCAST_K_MIN = 8, MCAST_K_MAX = 2040, MCAST_K_DEFAULT = 512,                 /* fragments of a generation; a multiple of 8 */
	MCAST_LOG2_E_MIN = 6, MCAST_LOG2_E_MAX = 18, MCAST_LOG2_E_DEFAULT = 12,     /* erase granule */
	MCAST_GENERATIONS_MAX = 256,                                               /* g is one byte on the wire */
	MCAST_M_MIN = 2,
};

struct mcast_geometry {
	uint32_t size;                         /* object bytes */
	uint16_t z, k;
	uint8_t log2_e;
	uint16_t n_generations;                /* G, 1 .. MCAST_GENERATIONS_MAX */
	uint32_t n_fragments;                  /* F: the sum of all M_g */
	uint32_t q, rem;                       /* generation g has q + 1 granules if g < rem, else q */
};

struct mcast_generation {
	uint32_t offset, length;               /* in the object; the last fragment may be shorter than Z, the coder pads with 0 */
	uint16_t m;                            /* M_g, MCAST_M_MIN .. K */
};

/* 0; -EINVAL size 0, Z, K or log2 E outside the limits above, K no multiple of 8, or K * Z < E (a generation is at
 * least one granule, so M would exceed K); -EFBIG more than MCAST_GENERATIONS_MAX generations. */
int mcast_geometry_of(uint32_t size, unsigned z, unsigned k, unsigned log2_e, struct mcast_geometry *ret);

/* g < n_generations. */
struct mcast_generation mcast_geometry_generation(const struct mcast_geometry *geo, unsigned g);

/* Fragment number n (1 .. M_g, as on the wire) of generation g: where it lies. Returns its bytes in the object: Z, less
 * at the end, 0 for one that is padding only (a generation of at most Z bytes still has two fragments). */
unsigned mcast_geometry_fragment(const struct mcast_geometry *geo, unsigned g, unsigned n, uint32_t *ret_offset);

/* The generation that holds the byte at `offset` < size. */
unsigned mcast_geometry_at(const struct mcast_geometry *geo, uint32_t offset);
