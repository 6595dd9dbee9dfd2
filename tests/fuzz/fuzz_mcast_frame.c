/* What decodes as a frame is encoded to the same bytes; a MIC is checked without harm. */
#include <stdlib.h>

#include "codec/mcast_frame.h"
#include "fuzz.h"

static size_t encode(const struct mcast_frame *f, uint8_t *ret)
{
	switch (f->type) {
	case MCAST_DATA:
		return mcast_data_encode(f->sid8, &f->data, ret);
	case MCAST_STATUS:
		return mcast_status_encode(f->sid8, &f->status, ret);
	case MCAST_ANNOUNCE:
		return mcast_announce_encode(&f->announce, ret);
	case MCAST_END:
		return mcast_end_encode(f->sid8, f->end, ret);
	}
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct mac_cmac *mk;
	static const struct mcast_sid sid = { { 1, 2, 3, 4, 5, 6, 7, 8 } };
	uint8_t again[MCAST_FRAME_BYTES_MAX];
	struct mcast_frame f;

	if (mcast_frame_decode(SPAN(data, n), &f) < 0)
		return 0;
	if (f.body.n + f.mic.n != n || f.mic.n != mcast_mic_bytes(f.type))
		abort();
	size_t n_again = encode(&f, again);
	if (!span_eq(f.body, SPAN(again, n_again)))
		abort();
	if (!mk)
		mk = mac_cmac_new(again);      /* any 16 bytes; kept for the process's life */
	bool was_right = mcast_frame_check(mk, &sid, &f);
	n_again = mcast_frame_seal(mk, &sid, again, n_again);
	if (n_again != n || was_right != span_eq(SPAN(data, n), SPAN(again, n)))
		abort();
	if (mcast_frame_decode(SPAN(again, n_again), &f) < 0 || !mcast_frame_check(mk, &sid, &f))
		abort();
	return 0;
}
