#include "codec/mcast_geometry.h"

#include <assert.h>
#include <errno.h>

static uint32_t div_up(uint32_t a, uint32_t b)
{
	return a / b + (a % b != 0);
}

static uint32_t generation_offset(const struct mcast_geometry *geo, unsigned g)
{
	uint64_t granules = (uint64_t)g * geo->q + (g < geo->rem ? g : geo->rem);
	uint64_t offset = granules << geo->log2_e;

	return offset < geo->size ? (uint32_t)offset : geo->size; /* == size only for the generation after the last */
}

struct mcast_generation mcast_geometry_generation(const struct mcast_geometry *geo, unsigned g)
{
	assert(g < geo->n_generations);
	uint32_t offset = generation_offset(geo, g), length = generation_offset(geo, g + 1) - offset;
	uint32_t m = div_up(length, geo->z);

	return (struct mcast_generation){ offset, length, (uint16_t)(m < MCAST_M_MIN ? MCAST_M_MIN : m) };
}

int mcast_geometry_of(uint32_t size, unsigned z, unsigned k, unsigned log2_e, struct mcast_geometry *ret)
{
	if (size == 0 || z < MCAST_Z_MIN || z > MCAST_Z_MAX || k < MCAST_K_MIN || k > MCAST_K_MAX || k % 8 != 0 ||
	    log2_e < MCAST_LOG2_E_MIN || log2_e > MCAST_LOG2_E_MAX || k * z < 1u << log2_e)
		return -EINVAL;
	uint32_t granules = div_up(size, 1u << log2_e), per = k * z >> log2_e;
	uint32_t n = div_up(granules, per);
	if (n > MCAST_GENERATIONS_MAX)
		return -EFBIG;
	struct mcast_geometry geo = { .size = size, .z = (uint16_t)z, .k = (uint16_t)k, .log2_e = (uint8_t)log2_e,
				      .n_generations = (uint16_t)n, .q = granules / n, .rem = granules % n };
	for (unsigned g = 0; g < n; g++)
		geo.n_fragments += mcast_geometry_generation(&geo, g).m;
	*ret = geo;
	return 0;
}

unsigned mcast_geometry_fragment(const struct mcast_geometry *geo, unsigned g, unsigned n, uint32_t *ret_offset)
{
	struct mcast_generation gen = mcast_geometry_generation(geo, g);

	assert(n >= 1 && n <= gen.m);
	uint32_t at = (n - 1) * (uint32_t)geo->z;
	*ret_offset = gen.offset + (at < gen.length ? at : gen.length);
	if (at >= gen.length)
		return 0;
	return gen.length - at < geo->z ? gen.length - at : geo->z;
}

unsigned mcast_geometry_at(const struct mcast_geometry *geo, uint32_t offset)
{
	assert(offset < geo->size);
	uint32_t granule = offset >> geo->log2_e, big = geo->rem * (geo->q + 1);

	return granule < big ? granule / (geo->q + 1) : geo->rem + (granule - big) / geo->q;
}
