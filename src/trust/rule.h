/* trust/rule.h - writing down what a rule decided, with evidence a person can act on. The worst
 * outcome is never lost: a full list overwrites its last entry rather than drop a refusal. */
#pragma once
#include "trust/trust.h"

/* Evidence is made printable ASCII and cut to TRUST_EVIDENCE_BYTES. id and name are static text. */
void rule_set(struct verdict_rule *ret, const char *id, const char *name, enum rule_outcome o, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
void rule_add(struct verdict *v, const char *id, const char *name, enum rule_outcome o, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
void rule_append(struct verdict *v, const struct verdict_rule *r);
/* FAIL and UNDECIDED block; everything else lets pass. */
static inline bool rule_blocks(enum rule_outcome o) { return o == RULE_FAIL || o == RULE_UNDECIDED; }
/* The worse of two, for summing up: FAIL before UNDECIDED before the rest. */
static inline enum rule_outcome rule_worse(enum rule_outcome a, enum rule_outcome b) { return a < b ? a : b; }
