/* Nordic's packages, init packets and messages: the first byte chooses. */
#include <stdlib.h>

#include "codec/nordic_dfu.h"
#include "fuzz.h"

static void package(struct span in)
{
	char reason[NORDIC_REASON_BYTES];
	struct nordic_package p;

	int r = nordic_package_open(in, &p, reason);
	if (r < 0 && !reason[0])
		abort();
	if (r < 0)
		return;
	if (p.n_parts == 0 || p.n_parts > NORDIC_PARTS_MAX || nordic_package_bytes(&p) > NORDIC_IMAGE_BYTES_MAX)
		abort();
	for (size_t i = 0; i < p.n_parts; i++)
		if (p.parts[i].init.n > NORDIC_INIT_BYTES_MAX || p.parts[i].image.n == 0)
			abort();
	nordic_package_done(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span in = n ? SPAN(data + 1, n - 1) : SPAN_NONE;
	struct legacy_response l;
	struct nordic_response r;
	struct nordic_init init;
	uint8_t op, result;

	switch (n ? data[0] : 0) {
	case 'I':
		if (nordic_init_decode(in, &init) == 0 && (init.n_softdevices > NORDIC_SOFTDEVICES_MAX || init.hash.n > in.n || init.kind >= NORDIC_KIND_COUNT))
			abort();
		break;
	case 'R':
		if (nordic_response_decode(in, &r) == 0 && !nordic_error_text(r.result, r.extended))
			abort();
		if (legacy_response_decode(in, &l) == 0 && !legacy_status_text(l.status))
			abort();
		(void)nordic_buttonless_decode(in, &op, &result); /* only that it reads no further */
		break;
	default:
		package(SPAN(data, n));
	}
	return 0;
}
