/* Reports: what decodes is clean; a small map that decodes is encoded and decoded to the same. */
#include <stdlib.h>

#include "base/text.h"
#include "codec/suit_report.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct node_report r, again;
	struct suit_report s;

	if (node_report_decode(SPAN(data, n), &r) == 0) {
		struct buf b = { 0 };
		if (!text_is_clean(r.version) || !text_is_clean(r.reason) || r.state > NODE_REPORT_STATE_MAX)
			abort();
		node_report_encode(&r, &b);
		if (node_report_decode(buf_span(&b), &again) < 0 || !digest_eq(&r.manifest_digest, &again.manifest_digest) ||
		    r.state != again.state || r.result != again.result || r.sequence != again.sequence ||
		    !span_eq(r.version, again.version) || !span_eq(r.reason, again.reason))
			abort();
		buf_done(&b);
	}
	if (suit_report_decode(SPAN(data, n), &s) == 0 && (s.n_records > SUIT_REPORT_RECORDS_MAX || s.reference.bytes.n == 0))
		abort();
	return 0;
}
