/* What a decoder of the multicast messages takes is within its limits, and encoded and decoded it is the same. */
#include <stdlib.h>

#include "codec/mcast_geometry.h"
#include "codec/mcast_message.h"
#include "fuzz.h"

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void try_setup(struct span in)
{
	struct mcast_setup s, again;
	struct mcast_geometry geo;
	struct buf b = { 0 };

	if (mcast_setup_decode(in, &s) < 0)
		return;
	check(mcast_post_kind(in) == MCAST_POST_SETUP);
	check(mcast_geometry_of(s.size, s.z, s.k, s.log2_e, &geo) == 0);
	check(s.table.n == 0 || s.table.n == geo.n_generations * (size_t)MCAST_GENERATION_DIGEST_BYTES);
	mcast_setup_encode(&s, &b);
	check(b.n <= in.n && mcast_setup_decode(buf_span(&b), &again) == 0);
	check(mcast_sid_eq(&s.sid, &again.sid) && s.size == again.size && s.k == again.k && span_eq(s.table, again.table));
	check(span_eq(s.envelope_path, again.envelope_path) && s.lifetime_s == again.lifetime_s && s.has_key == again.has_key);
	check(s.windows.start_s == again.windows.start_s && s.windows.count == again.windows.count && s.slot == again.slot);
	buf_done(&b);
}

static void try_small(struct span in)
{
	struct mcast_ack a, a_again;
	struct mcast_sid sid, sid_again;
	struct mcast_report r, r_again;
	struct buf b = { 0 };

	if (mcast_ack_decode(in, &a) == 0) {
		mcast_ack_encode(&a, &b);
		check(mcast_ack_decode(buf_span(&b), &a_again) == 0 && a.code == a_again.code && a.l == a_again.l);
		check(span_eq(a.complete, a_again.complete) && mcast_ack_name(a.code) && mcast_ack_coap_code(a.code));
	}
	buf_clear(&b);
	if (mcast_pull_decode(in, &sid) == 0) {
		mcast_pull_encode(&sid, &b);
		check(mcast_pull_decode(buf_span(&b), &sid_again) == 0 && mcast_sid_eq(&sid, &sid_again));
		check(mcast_post_kind(in) == MCAST_POST_PULL);
	}
	buf_clear(&b);
	if (mcast_report_decode(in, &r) == 0) {
		mcast_report_encode(&r, &b);
		check(span_eq(in, buf_span(&b)));      /* an array has one form */
		check(mcast_report_decode(buf_span(&b), &r_again) == 0 && r.n_deficits == r_again.n_deficits);
	}
	buf_done(&b);
}

static void try_missing(struct span in)
{
	enum { BLOCKS = 5000 };
	uint8_t bits[BLOCKS / 8] = { 0 }, again[BLOCKS / 8] = { 0 };
	struct buf b = { 0 };

	int n = mcast_missing_decode(in, bits, BLOCKS);
	if (n < 0)
		return;
	check(mcast_missing_encode(bits, BLOCKS, 0, &b) == BLOCKS);
	check(mcast_missing_decode(buf_span(&b), again, BLOCKS) == n && memcmp(bits, again, sizeof(bits)) == 0);
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span in = SPAN(data, n);

	(void)mcast_post_kind(in);
	try_setup(in);
	try_small(in);
	try_missing(in);
	return 0;
}
