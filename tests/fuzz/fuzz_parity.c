/* Any geometry that is taken covers its object, and parity over any part of it is linear and stays inside. */
#include <stdlib.h>

#include "base/cursor.h"
#include "codec/mcast_geometry.h"
#include "codec/parity.h"
#include "fuzz.h"

static void check(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct cursor c = { .s = SPAN(data, n) };
	uint32_t size = cur_le32(&c);
	unsigned z = cur_le16(&c), k = cur_le16(&c), log2_e = cur_u8(&c), row = cur_le16(&c);
	struct mcast_geometry geo;
	uint32_t offset;

	if (!cur_ok(&c) || mcast_geometry_of(size, z, k, log2_e, &geo) < 0)
		return 0;
	unsigned g = row % geo.n_generations;
	struct mcast_generation gen = mcast_geometry_generation(&geo, g);
	check(gen.m >= MCAST_M_MIN && gen.m <= k && gen.offset < size && gen.length <= size - gen.offset);
	check(mcast_geometry_at(&geo, gen.offset) == g);
	unsigned fragment = 1 + row % gen.m;
	check(mcast_geometry_fragment(&geo, g, fragment, &offset) + offset <= gen.offset + gen.length);

	/* parity of what is left of the input, as far as it goes, and of the same with one fragment changed */
	struct span part = cur_take(&c, cur_left(&c) < gen.length ? cur_left(&c) : gen.length);
	uint8_t one[PARITY_FRAGMENT_BYTES_MAX], other[PARITY_FRAGMENT_BYTES_MAX], bits[PARITY_ROW_BYTES_MAX];
	unsigned index = 1 + row % parity_n_max(gen.m), at = row % gen.m;
	enum parity_alg alg = row & 1 ? PARITY_TS004_V1 : PARITY_TS004_V2;
	uint8_t *copy = malloc(part.n + 1);
	check(copy);
	memcpy(copy, part.n ? part.p : (const uint8_t *)"", part.n);
	parity_fragment(SPAN(copy, part.n), gen.m, z, index, alg, one);
	if ((size_t)at * z < part.n)
		copy[at * z] ^= 0xff;
	parity_fragment(SPAN(copy, part.n), gen.m, z, index, alg, other);
	parity_row(gen.m, index, alg, bits);
	check((memcmp(one, other, z) != 0) == (parity_row_bit(bits, at) && (size_t)at * z < part.n));
	free(copy);
	return 0;
}
