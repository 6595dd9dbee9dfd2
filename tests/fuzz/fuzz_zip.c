/* Archives: entries lie in the file, and unpack to what they say or not at all. */
#include <stdlib.h>

#include "codec/zip.h"
#include "fuzz.h"

enum { UNPACK_BYTES_MAX = 256 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct zip z;

	if (zip_decode(SPAN(data, n), &z) < 0)
		return 0;
	for (size_t i = 0; i < z.n_entries; i++) {
		_cleanup_buf_ struct buf b = { 0 };
		const struct zip_entry *e = &z.entries[i];

		if (e->packed.n && (e->packed.p < data || e->packed.p + e->packed.n > data + n))
			abort();
		if (zip_unpack(e, UNPACK_BYTES_MAX, &b) == 0 ? b.n != e->bytes : b.n != 0)
			abort();
	}
	return 0;
}
