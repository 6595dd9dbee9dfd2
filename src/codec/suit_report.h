/* codec/suit_report.h - what a node says about an update: a SUIT report (draft-ietf-suit-report;
 * facts 2.4) or Dormouse's small map. Pure.
 *
 * Small map (man/dormouse-coap.7): { 0: tstr or bstr manifest digest (32 bytes), 1: uint Object 5 state (0..3),
 * 2: uint Object 5 result (0..11), ?3: uint sequence number now running, ?4: uint bytes received, ?5: tstr version,
 * ?6: tstr reason }. */
#pragma once
#include "base/buf.h"
#include "base/digest.h"

enum { NODE_REPORT_VERSION_BYTES_MAX = 64, NODE_REPORT_REASON_BYTES_MAX = 128, NODE_REPORT_STATE_MAX = 3, NODE_REPORT_RESULT_MAX = 11 };

struct node_report {
	struct digest manifest_digest;
	unsigned state;                        /* LwM2M Object 5 resource 3: 0 idle, 1 downloading, 2 downloaded, 3 updating */
	unsigned result;                       /* LwM2M Object 5 resource 5: 0 initial, 1 success, 2.. failures */
	bool has_sequence, has_received;
	bool is_reverted;                      /* never on the wire: a driver saw that the node went back to its old image */
	uint64_t sequence, received_bytes;
	struct span version, reason;           /* clean UTF-8, at most 64 and 128 bytes */
};
/* Runs cbor_check() itself; keys beyond the known ones are skipped. 0; -EBADMSG malformed, a needed key missing or
 * text that is not clean, -ERANGE a state or result that Object 5 does not have, -EMSGSIZE text too long. */
int node_report_decode(struct span in, struct node_report *ret);
void node_report_encode(const struct node_report *r, struct buf *ret);

enum { SUIT_REPORT_BYTES_MAX = 64 * 1024, SUIT_REPORT_RECORDS_MAX = 256, SUIT_REPORT_NONCE_BYTES_MAX = 64, SUIT_REPORT_URI_BYTES_MAX = 1024 };

struct suit_report {
	struct suit_report_digest { int64_t alg; struct span bytes; } reference;
	struct span reference_uri, nonce;
	bool is_success;
	int64_t result_code, result_reason;    /* reasons 0..12, facts 2.4 */
	size_t n_records;
};
/* The bare map (after COSE). Records and capabilities are checked for their shape and counted, not kept.
 * 0; -EBADMSG malformed or a needed key missing, -EMSGSIZE over a limit. */
int suit_report_decode(struct span in, struct suit_report *ret);
/* "condition-failed"; "unknown" for numbers the draft does not have. */
const char *suit_report_reason_name(int64_t reason);
