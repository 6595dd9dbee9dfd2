/* trust/verdict.h - the one judgement on an envelope: authenticity (SU-1..SU-10, CO), certificate
 * path and revocation (RV), identity and rights (SU-14, SU-22, RV-19), freshness (SU-12), shape (SU-20..32).
 * Pure; worker-safe; takes about a millisecond per signature. */
#pragma once
#include "codec/suit.h"
#include "trust/trust.h"

/* Judge. env and manifest are filled as far as decoding was allowed to go (manifest only once authentic;
 * n_components == 0 otherwise) and borrow from envelope; both may be NULL. Always fills ret. */
void verdict_judge(const struct trust_anchors *anchors, const struct trust_facts *facts, struct span envelope,
		   struct suit_envelope *env, struct suit_manifest *manifest, struct verdict *ret);
/* Check a payload against what the manifest says of it (SU-19): digest of the bytes given by the caller, exact size. */
bool verdict_payload_ok(const struct suit_image *image, const struct digest *of_bytes, uint64_t bytes, struct verdict_rule *ret);
/* The verdict as JSON object (API, CLI --json, audit) and as lines for people. */
void verdict_json(const struct verdict *v, struct buf *ret);
void verdict_text(const struct verdict *v, struct buf *ret);
/* The first rule that failed or could not be decided; NULL when accepted. */
const struct verdict_rule *verdict_first_problem(const struct verdict *v);
