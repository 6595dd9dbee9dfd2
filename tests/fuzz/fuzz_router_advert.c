/* What is decoded and said again says the same. */
#include <stdlib.h>

#include "codec/router_advert.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf b = { 0 }, c = { 0 };
	struct router_advert one, two;

	(void)router_solicit_decode(SPAN(data, size)); /* must not crash */
	if (router_advert_decode(SPAN(data, size), &one) < 0 || router_advert_encode(&one, &b) < 0)
		return 0;
	if (router_advert_decode(buf_span(&b), &two) < 0 || router_advert_encode(&two, &c) < 0 || !span_eq(buf_span(&b), buf_span(&c)))
		abort();
	return 0;
}
