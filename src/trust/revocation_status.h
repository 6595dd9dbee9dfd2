/* trust/revocation_status.h - the status of one certificate by CRL and by OCSP; inside of trust/ only.
 * An object counts only when its signature leads to the same anchors as the path it speaks about. */
#pragma once
#include <openssl/ocsp.h>

#include "trust/revocation.h"
#include "trust/x509_path.h"

enum { REVOCATION_KINDS = 2 };

struct status_proof {
	bool has;
	enum revocation_status status;         /* GOOD, REVOKED, UNKNOWN, STALE */
	bool is_hold;                          /* certificateHold: a later "good" lifts it */
	int reason;                            /* CRLReason of a revoked one; -1 = none given */
	struct wall this_update, next_update;  /* next_update: effective, never 0 */
	struct wall refresh_at;
	struct wall revoked_at;
};

struct status_sum {                            /* of one certificate */
	struct status_proof by[REVOCATION_KINDS];      /* index enum revocation_kind */
	char why_not[X509_WHY_BYTES];          /* why an object in hand did not count; "" */
};

struct crl_item {
	X509_CRL *crl;
	struct wall this_update, next_update;  /* next_update.ms == 0: absent */
	bool is_delta;
};

/* All objects given, parsed once for a judgement. */
struct revocation_set {
	struct crl_item *crls;
	size_t n_crls;
	OCSP_BASICRESP **ocsp;
	size_t n_ocsp;
};
struct revocation_set *revocation_set_new(const struct revocation_object *objects, size_t n);
struct revocation_set *revocation_set_free(struct revocation_set *s);
static inline void revocation_set_freep(struct revocation_set **s) { revocation_set_free(*s); }

/* One path, and what may speak about it. */
struct revocation_path {
	const struct revocation_set *set;
	STACK_OF(X509) *chain;                 /* leaf first, anchor last */
	STACK_OF(X509) *untrusted;             /* other certificates that came along; may be NULL */
	const STACK_OF(X509) *trusted;
	const struct x509_policy *policy;
	STACK_OF(X509_CRL) *crls;              /* usable ones, borrowed from set; made by revocation_path_init() */
	struct wall newest_proof;              /* newest thisUpdate that verified */
};
int revocation_path_init(struct revocation_path *p);
void revocation_path_done(struct revocation_path *p);

/* Parse; NULL when it is not exactly one. */
X509_CRL *revocation_crl_parse(struct span der, struct crl_item *ret);
OCSP_BASICRESP *revocation_ocsp_parse(struct span der);
bool revocation_digest_is_weak(int signature_nid);
/* Keep the better of what is known and p. */
void status_sum_fold(struct status_sum *sum, enum revocation_kind kind, const struct status_proof *p);
/* Note a verified thisUpdate. issuer: its certificate bounds how far it can be believed. */
void revocation_path_note(struct revocation_path *p, const X509 *issuer, struct wall this_update);

/* Certificate i of the chain, which must not be the anchor. */
void revocation_crl_look(struct revocation_path *p, int i, struct status_sum *sum);
void revocation_ocsp_look(struct revocation_path *p, int i, struct status_sum *sum);
/* Does any of the certificates with the CRL's issuer name verify its signature? 1, 0 no, -ENOKEY no such certificate. */
int revocation_crl_is_signed(const struct revocation_path *p, X509_CRL *crl, const X509 **ret_issuer);
/* The newest answer in bs about this issuer's certificate of this serial number; NULL = none. */
OCSP_SINGLERESP *revocation_ocsp_find(OCSP_BASICRESP *bs, const ASN1_INTEGER *serial, X509 *issuer);
/* Signature, responder's right and path (RV-8, RV-9). */
bool revocation_ocsp_is_signed(const struct revocation_path *p, OCSP_BASICRESP *bs, char why[static X509_WHY_BYTES]);
bool revocation_ocsp_times(OCSP_SINGLERESP *single, struct wall *ret_this, struct wall *ret_next);

struct revocation_result {
	struct verdict_rule rules[COSE_CHAIN_MAX + 2];
	size_t n_rules;
	struct revocation_need needs[TRUST_NEEDS_MAX];
	size_t n_needs;
	enum rule_outcome outcome;             /* the worst */
	bool is_revoked;
	struct wall newest_proof;
};
/* Every certificate of the path but the anchor. path is initialised by the caller. */
void revocation_judge_path(struct revocation_path *path, enum revocation_mode mode, uint32_t grace_s, struct revocation_result *ret);
