/* codec/suit_report.h - what a node says about an update: a SUIT report (draft-ietf-suit-report;
 * facts 2.4) or Dormouse's small map. Pure.
 *
 * Small map (man/dormouse-coap.7): { 0: tstr or bstr manifest digest (32 bytes), 1: uint Object 5 state (0..3),
 * 2: uint Object 5 result (0..11), ?3: uint sequence number now running, ?4: uint bytes received, ?5: tstr version,
 * ?6: tstr reason }. */
#pragma once
#include "base/buf.h"
#include "base/digest.h"

struct node_report {
	struct digest manifest_digest;
	unsigned state;                        /* LwM2M Object 5 resource 3: 0 idle, 1 downloading, 2 downloaded, 3 updating */
	unsigned result;                       /* LwM2M Object 5 resource 5: 0 initial, 1 success, 2.. failures */
	bool has_sequence, has_received;
	uint64_t sequence, received_bytes;
	struct span version, reason;           /* clean UTF-8, at most 64 and 128 bytes */
};
int node_report_decode(struct span in, struct node_report *ret);        /* runs cbor_check itself */
void node_report_encode(const struct node_report *r, struct buf *ret);

struct suit_report {
	struct suit_report_digest { int64_t alg; struct span bytes; } reference;
	struct span reference_uri, nonce;
	bool is_success;
	int64_t result_code, result_reason;    /* reasons 0..12, facts 2.4 */
	size_t n_records;
};
int suit_report_decode(struct span in, struct suit_report *ret);        /* the bare map (after COSE) */
