#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "base/mem.h"
#include "trust/revocation_status.h"

static void ocsp_response_freep(OCSP_RESPONSE **r) { OCSP_RESPONSE_free(*r); }
static void certid_freep(OCSP_CERTID **id) { OCSP_CERTID_free(*id); }

OCSP_BASICRESP *revocation_ocsp_parse(struct span der)
{
	const unsigned char *p = der.p;
	_cleanup_(ocsp_response_freep) OCSP_RESPONSE *resp =
		der.n && der.n <= REVOCATION_OCSP_BYTES_MAX ? d2i_OCSP_RESPONSE(NULL, &p, (long)der.n) : NULL;
	OCSP_BASICRESP *bs = NULL;

	if (resp && p == der.p + der.n && OCSP_response_status(resp) == OCSP_RESPONSE_STATUS_SUCCESSFUL)
		bs = OCSP_response_get1_basic(resp);
	ERR_clear_error();
	return bs;
}

/* The whole identity: hashes of the issuer's name and key, and the serial number (RV-7). */
static bool certid_is(const OCSP_CERTID *id, const ASN1_INTEGER *serial, X509 *issuer)
{
	ASN1_OBJECT *md_oid = NULL;

	if (OCSP_id_get0_info(NULL, &md_oid, NULL, NULL, (OCSP_CERTID *)(uintptr_t)id) != 1) /* only reads */
		return false;
	int nid = OBJ_obj2nid(md_oid);
	if (nid != NID_sha1 && nid != NID_sha256 && nid != NID_sha384 && nid != NID_sha512)
		return false;
	_cleanup_(certid_freep) OCSP_CERTID *want = OCSP_cert_id_new(EVP_get_digestbynid(nid), X509_get_subject_name(issuer),
								      X509_get0_pubkey_bitstr(issuer), serial);
	return want && OCSP_id_cmp(want, id) == 0;
}

OCSP_SINGLERESP *revocation_ocsp_find(OCSP_BASICRESP *bs, const ASN1_INTEGER *serial, X509 *issuer)
{
	OCSP_SINGLERESP *best = NULL;
	struct wall best_this = { 0 }, t, next;

	for (int i = 0; i < OCSP_resp_count(bs); i++) {
		OCSP_SINGLERESP *single = OCSP_resp_get0(bs, i);
		if (!certid_is(OCSP_SINGLERESP_get0_id(single), serial, issuer) || !revocation_ocsp_times(single, &t, &next))
			continue;
		if (!best || wall_before(best_this, t)) {
			best = single;
			best_this = t;
		}
	}
	ERR_clear_error();
	return best;
}

bool revocation_ocsp_times(OCSP_SINGLERESP *single, struct wall *ret_this, struct wall *ret_next)
{
	ASN1_GENERALIZEDTIME *this_update = NULL, *next_update = NULL;

	(void)OCSP_single_get0_status(single, NULL, NULL, &this_update, &next_update); /* read again where it matters */
	if (!x509_time(this_update, ret_this))
		return false;
	*ret_next = (struct wall){ 0 };
	return !next_update || (x509_time(next_update, ret_next) && !wall_before(*ret_next, *ret_this));
}

static bool sigalg_is_weak(const OCSP_BASICRESP *bs)
{
	const ASN1_OBJECT *oid = NULL;

	X509_ALGOR_get0(&oid, NULL, NULL, OCSP_resp_get0_tbs_sigalg(bs));
	int nid = OBJ_obj2nid(oid);
	if (nid == NID_ED25519 || nid == NID_ED448 || nid == NID_rsassaPss) /* name no digest, or name it in parameters */
		return false;
	return revocation_digest_is_weak(nid);
}

static bool is_by(const struct revocation_path *p, OCSP_BASICRESP *bs, const X509 *cert)
{
	X509 *signer = NULL;

	return OCSP_resp_get0_signer(bs, &signer, p->chain) == 1 && X509_cmp(signer, cert) == 0;
}

/* A delegated responder without id-pkix-ocsp-nocheck: when a CRL in hand says it is revoked, its word is void. Where
 * nothing tells, RFC 6960 4.2.2.2.1 leaves it to us; we take its word, as its certificate is the issuer's own act. */
static bool responder_is_revoked(const struct revocation_path *p, OCSP_BASICRESP *bs)
{
	struct status_sum sum = { 0 };
	X509 *signer = NULL;

	if (OCSP_resp_get0_signer(bs, &signer, p->chain) != 1 || X509_get_ext_by_NID(signer, NID_id_pkix_OCSP_noCheck, -1) >= 0)
		return false;
	for (int i = 0; i < sk_X509_num(p->chain); i++) {
		if (X509_cmp(signer, sk_X509_value(p->chain, i)) == 0)
			return false; /* the issuer itself: judged as part of the path */
	}
	_cleanup_(x509_stack_freep) STACK_OF(X509) *chain = X509_chain_up_ref(p->chain);
	if (!chain || X509_add_cert(chain, signer, X509_ADD_FLAG_UP_REF | X509_ADD_FLAG_PREPEND) != 1)
		return true;
	struct revocation_path of_responder = *p; /* borrows its CRLs */
	of_responder.chain = chain;
	revocation_crl_look(&of_responder, 0, &sum);
	return sum.by[REVOCATION_CRL].has && sum.by[REVOCATION_CRL].status == REVOCATION_REVOKED;
}

bool revocation_ocsp_is_signed(const struct revocation_path *p, OCSP_BASICRESP *bs, char why[static X509_WHY_BYTES])
{
	_cleanup_(x509_store_freep) X509_STORE *store = x509_store_of(p->trusted, p->policy, 0);
	bool ok = false;

	if (!store) {
		(void)snprintf(why, X509_WHY_BYTES, "out of memory");
	} else if (p->policy->auth_level > 0 && sigalg_is_weak(bs)) {
		(void)snprintf(why, X509_WHY_BYTES, "the OCSP answer is signed with a weak digest");
	} else if (OCSP_basic_verify(bs, p->chain, store, 0) != 1) { /* it can be negative (RV-9) */
		const char *data = NULL;
		int flags = 0;
		const char *reason = ERR_reason_error_string(ERR_peek_last_error_all(NULL, NULL, NULL, &data, &flags));
		(void)snprintf(why, X509_WHY_BYTES, "the OCSP answer does not verify: %s%s%s", reason ? reason : "wrong signature",
			       data && (flags & ERR_TXT_STRING) && *data ? "; " : "", data && (flags & ERR_TXT_STRING) ? data : "");
	} else if (responder_is_revoked(p, bs)) {
		(void)snprintf(why, X509_WHY_BYTES, "the OCSP responder's own certificate is revoked");
	} else {
		ok = true;
	}
	ERR_clear_error();
	return ok;
}

static void ocsp_proof(const struct x509_policy *policy, OCSP_SINGLERESP *single, struct status_proof *ret)
{
	int64_t age_ms = (int64_t)policy->status_age_max_s * 1000;
	ASN1_GENERALIZEDTIME *revoked_at = NULL;
	struct wall next;
	int reason = -1, status = OCSP_single_get0_status(single, &reason, &revoked_at, NULL, NULL);

	*ret = (struct status_proof){ .has = true, .reason = -1 };
	(void)revocation_ocsp_times(single, &ret->this_update, &next); /* revocation_ocsp_find() saw that they parse */
	struct wall oldest = wall_add_ms(ret->this_update, age_ms); /* no nonce: bounded age (RV-6) */
	ret->next_update = next.ms && wall_before(next, oldest) ? next : oldest;
	ret->refresh_at = (struct wall){ ret->this_update.ms + (ret->next_update.ms - ret->this_update.ms) / 2 };
	if (status == V_OCSP_CERTSTATUS_REVOKED) {
		ret->status = REVOCATION_REVOKED;
		ret->reason = reason;
		ret->is_hold = reason == OCSP_REVOKED_STATUS_CERTIFICATEHOLD;
		(void)x509_time(revoked_at, &ret->revoked_at); /* stays 0: evidence only */
	} else if (!wall_before(policy->now, ret->next_update)) {
		ret->status = REVOCATION_STALE; /* good or unknown, but no longer */
	} else {
		ret->status = status == V_OCSP_CERTSTATUS_GOOD ? REVOCATION_GOOD : REVOCATION_UNKNOWN;
	}
	/* What was "unknown" was never good: it cannot be the last good status. */
	if (ret->status == REVOCATION_STALE && status != V_OCSP_CERTSTATUS_GOOD)
		ret->status = REVOCATION_UNKNOWN;
}

void revocation_ocsp_look(struct revocation_path *p, int i, struct status_sum *sum)
{
	X509 *cert = sk_X509_value(p->chain, i), *issuer = sk_X509_value(p->chain, i + 1);
	int64_t future_ms = p->policy->now.ms + (int64_t)p->policy->skew_s * 1000;

	for (size_t k = 0; k < p->set->n_ocsp; k++) {
		struct status_proof proof;
		OCSP_SINGLERESP *single = revocation_ocsp_find(p->set->ocsp[k], X509_get0_serialNumber(cert), issuer);
		if (!single || !revocation_ocsp_is_signed(p, p->set->ocsp[k], sum->why_not))
			continue;
		if (is_by(p, p->set->ocsp[k], cert)) { /* nobody vouches for himself */
			(void)snprintf(sum->why_not, sizeof(sum->why_not), "the OCSP answer is signed by the certificate it is about");
			continue;
		}
		ocsp_proof(p->policy, single, &proof);
		if (proof.this_update.ms > future_ms && !p->policy->clock_bad && proof.status != REVOCATION_REVOKED) {
			(void)snprintf(sum->why_not, sizeof(sum->why_not), "the OCSP answer is dated in the future");
			continue;
		}
		revocation_path_note(p, issuer, proof.this_update);
		status_sum_fold(sum, REVOCATION_OCSP, &proof);
	}
}
