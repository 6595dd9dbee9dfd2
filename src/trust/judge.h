/* trust/judge.h - one judgement in progress; inside of trust/ only.
 * verdict.c leads: envelope, authentication (verdict_auth.c), and only then the manifest (verdict_manifest.c). */
#pragma once
#include "trust/anchors.h"
#include "trust/revocation_status.h"
#include "trust/rule.h"
#include "trust/verdict.h"

enum {
	AUTH_CANDIDATES_MAX = 8,
	AUTH_TRIES_MAX = 256,                  /* signature checks for one envelope: what a flood of blocks can cost */
	AUTH_TRIES_KID_MAX = 8,                /* keys of one kid that are tried (CO-13) */
	AUTH_SIGNERS_MAX = 16,                 /* reported ones */
};

/* One signer that verified, under one anchor. */
struct auth_candidate {
	const struct trust_anchor *anchor;
	size_t block;
	int64_t alg;
	STACK_OF(X509) *chain, *untrusted;     /* NULL for keys; owned */
	char why[X509_WHY_BYTES];              /* the path, for people */
	char signer[TRUST_NAME_BYTES];
	uint8_t key_id[20];
	struct revocation_result *status;      /* NULL for keys */
	enum rule_outcome outcome;             /* of revocation */
};

struct judge {
	const struct trust_anchors *anchors;
	const struct trust_facts *facts;
	struct x509_policy policy;
	const struct suit_envelope *env;
	struct verdict *v;
	struct auth_candidate candidates[AUTH_CANDIDATES_MAX];
	size_t n_candidates;
	unsigned n_tries, n_signers;
};

/* Every block, every signer: rules in j->v, candidates in j. */
void judge_authenticate(struct judge *j);
void judge_candidates_done(struct judge *j);

/* Anchor's rights on a manifest: identity (SU-14), vendors and classes (RV-19), payload hosts (SU-22). With v: rules too. */
bool judge_rights(const struct trust_anchor *a, const struct suit_manifest *m, struct verdict *v);
/* Everything else a manifest must hold. */
void judge_manifest(struct judge *j, const struct auth_candidate *by, const struct suit_manifest *m);
