/* io/coap_multicast: a datagram that is taken has a frame within itself, and the message made of that frame is taken again. */
#include <assert.h>
#include <string.h>

#include "fuzz.h"
#include "io/coap_multicast.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t m[16 + COAP_MULTICAST_FRAME_BYTES_MAX];
	struct span frame, again;
	uint16_t mid, mid_again;

	if (coap_multicast_decode(SPAN(data, size), &mid, &frame) < 0)
		return 0;
	assert(frame.n > 0 && frame.n <= COAP_MULTICAST_FRAME_BYTES_MAX && frame.p + frame.n == data + size);
	int n = coap_multicast_encode(mid, frame, m, sizeof(m));
	assert(n > 0 && (size_t)n <= size);
	assert(coap_multicast_decode(SPAN(m, (size_t)n), &mid_again, &again) == 0);
	assert(mid == mid_again && again.n == frame.n && memcmp(again.p, frame.p, frame.n) == 0);
	return 0;
}
