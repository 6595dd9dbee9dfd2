/* MCUboot images: what decodes lies within the file, whatever its fields say. */
#include <stdlib.h>

#include "codec/mcuboot.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char version[MCUBOOT_VERSION_BYTES];
	struct mcuboot_trailer t;
	struct mcuboot_header h;

	if (mcuboot_header_decode(SPAN(data, n), n, &h) < 0)
		return 0;
	if (mcuboot_hashed_bytes(&h) >= n || strlen(mcuboot_version_text(&h.version, version)) < 5)
		abort();
	if (mcuboot_trailer_decode(&h, span_sub(SPAN(data, n), (size_t)mcuboot_trailer_at(&h), n), &t) == 0 &&
	    (t.total_bytes > n || t.total_bytes < mcuboot_hashed_bytes(&h) || t.n_hash < 32))
		abort();
	return 0;
}
