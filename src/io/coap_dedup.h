/* io/coap_dedup.h - answers already given, so that a retransmitted request is answered again without
 * running its handler twice (RFC 7252 4.2, 4.5; libcoap has no such memory). Keyed by (peer, message id);
 * kept for EXCHANGE_LIFETIME, bounded in entries and bytes (the oldest leave first). A fingerprint of the
 * message guards against nodes that restart with the same message id. Pure: time is an argument. */
#pragma once
#include "base/time.h"
#include "io/coap_lib.h"

enum { COAP_EXCHANGE_LIFETIME_MS = 247 * 1000 };

enum coap_dedup_state {
	COAP_DEDUP_NEW,                /* not seen */
	COAP_DEDUP_PENDING,            /* being worked on: absorb */
	COAP_DEDUP_ANSWERED,           /* send the answer again */
};

struct coap_dedup;

struct coap_dedup *coap_dedup_new(size_t max_entries, size_t max_bytes);
struct coap_dedup *coap_dedup_free(struct coap_dedup *d);
/* ret_answer is borrowed until the next call. */
enum coap_dedup_state coap_dedup_find(struct coap_dedup *d, const struct coap_peer_key *peer, uint16_t mid,
				      uint64_t fingerprint, struct mono now, struct span *ret_answer);
/* Remember the request as pending; replaces an entry with the same key. */
void coap_dedup_begin(struct coap_dedup *d, const struct coap_peer_key *peer, uint16_t mid, uint64_t fingerprint,
		      struct mono now);
/* Give the pending entry its answer (copied; dropped when over the bounds). No such entry: nothing. */
void coap_dedup_answer(struct coap_dedup *d, const struct coap_peer_key *peer, uint16_t mid, uint64_t fingerprint,
		       struct span answer);
size_t coap_dedup_bytes(const struct coap_dedup *d);
