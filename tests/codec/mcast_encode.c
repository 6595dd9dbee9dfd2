/* The DATA frames of an object, for a decoder that knows nothing of this code: tests/codec/ts004_decoder.py.
 *
 *   mcast_encode Z K LOG2E ALG ROWS < OBJECT
 *
 * prints, for each generation, "session NbFrag FragSize Padding" in TS004's terms, then one frame a line in hex without
 * its MIC: all systematic fragments, then ROWS parity rows. */
#include <errno.h>

#include "base/buf.h"
#include "base/text.h"
#include "codec/mcast_frame.h"
#include "codec/mcast_geometry.h"
#include "codec/parity.h"

static void print_frame(unsigned g, unsigned n, const uint8_t *fragment, unsigned z)
{
	struct mcast_data data = { .g = (uint8_t)g, .n = (uint16_t)n, .fragment = SPAN(fragment, z) };
	uint8_t body[MCAST_BODY_BYTES_MAX];
	char hex[2 * MCAST_BODY_BYTES_MAX + 1];

	puts(text_hex(SPAN(body, mcast_data_encode(0x5a, &data, body)), hex));
}

static void print_generation(const struct mcast_geometry *geo, unsigned g, struct span object, enum parity_alg alg, unsigned rows)
{
	struct mcast_generation gen = mcast_geometry_generation(geo, g);
	uint8_t fragment[PARITY_FRAGMENT_BYTES_MAX];
	uint32_t offset;

	printf("session %u %u %u\n", gen.m, geo->z, gen.m * geo->z - gen.length);
	for (unsigned n = 1; n <= gen.m; n++) {
		unsigned bytes = mcast_geometry_fragment(geo, g, n, &offset);
		memset(fragment, 0, sizeof(fragment));
		memcpy(fragment, object.p + offset, bytes);
		print_frame(g, n, fragment, geo->z);
	}
	for (unsigned n = 1; n <= rows; n++) {
		parity_fragment(span_sub(object, gen.offset, gen.length), gen.m, geo->z, n, alg, fragment);
		print_frame(g, gen.m + n, fragment, geo->z);
	}
}

int main(int argc, char **argv)
{
	_cleanup_buf_ struct buf object = { 0 };
	struct mcast_geometry geo;
	uint64_t arg[5];
	uint8_t part[4096];
	size_t n;

	for (int i = 0; i < 5; i++)
		if (argc != 6 || text_parse_u64(span_str(argv[i + 1]), 8191, &arg[i], 0) < 0) {
			fputs("usage: mcast_encode Z K LOG2E ALG ROWS < OBJECT\n", stderr);
			return 2;
		}
	while ((n = fread(part, 1, sizeof(part), stdin)) > 0)
		buf_add(&object, SPAN(part, n));
	if (!buf_ok(&object) || mcast_geometry_of((uint32_t)object.n, (unsigned)arg[0], (unsigned)arg[1], (unsigned)arg[2], &geo) < 0)
		return 1;
	for (unsigned g = 0; g < geo.n_generations; g++)
		print_generation(&geo, g, buf_span(&object), (enum parity_alg)arg[3], (unsigned)arg[4]);
	return fflush(stdout) == 0 ? 0 : 1;
}
