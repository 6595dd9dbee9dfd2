/* SMP: what decodes as a reply or request is encoded, in both forms of maps, to something that decodes to the same. */
#include <stdlib.h>

#include "codec/smp.h"
#include "fuzz.h"

static void reply_again(const struct smp_header *h, const struct smp_reply *r, unsigned flags)
{
	struct buf b = { 0 };
	struct smp_reply again;
	struct smp_header h2;
	struct span body;

	smp_reply_encode(&b, h, r, flags);
	struct cursor c = { .s = buf_span(&b) };
	if (smp_message_next(&c, &h2, &body) < 0 || smp_reply_decode(body, &again) < 0 || again.off != r->off || again.n_images != r->n_images ||
	    again.error.rc != r->error.rc || memcmp(again.images, r->images, sizeof(r->images)) != 0)
		abort();
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct cursor c = { .s = SPAN(data, n) };
	struct buf scratch = { 0 }, text = { 0 };
	struct smp_request q;
	struct smp_header h;
	struct smp_reply r;
	struct span body;

	while (cur_left(&c) > 0 && smp_message_next(&c, &h, &body) == 0) {
		if (smp_reply_decode(body, &r) == 0) {
			if (r.n_images > SMP_IMAGES_MAX)
				abort();
			smp_error_text(&r.error, &text);
			if (smp_failed(&r.error) || !r.error.has_group) { /* a group error of 0 is success, and not written */
				reply_again(&h, &r, 0);
				reply_again(&h, &r, SMP_INDEFINITE);
			}
		}
		if (smp_request_decode(body, &scratch, &q) == 0 && q.data.n + q.sha.n + q.hash.n > body.n)
			abort();
	}
	buf_done(&scratch);
	buf_done(&text);
	return 0;
}
