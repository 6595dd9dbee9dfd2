#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "base/mem.h"
#include "trust/revocation_status.h"

struct crl_watch {                             /* what OpenSSL told while it walked */
	const struct x509_policy *policy;
	bool is_expired, is_future, is_revoked;
	struct status_proof proof;
	X509 *cert;
};


X509_CRL *revocation_crl_parse(struct span der, struct crl_item *ret)
{
	const unsigned char *p = der.p;
	X509_CRL *crl = der.n && der.n <= REVOCATION_CRL_BYTES_MAX ? d2i_X509_CRL(NULL, &p, (long)der.n) : NULL;
	struct crl_item item = { .crl = crl };

	if (!crl || p != der.p + der.n || !x509_time(X509_CRL_get0_lastUpdate(crl), &item.this_update)) {
		X509_CRL_free(crl);
		ERR_clear_error();
		return NULL;
	}
	if (X509_CRL_get0_nextUpdate(crl) && !x509_time(X509_CRL_get0_nextUpdate(crl), &item.next_update)) {
		X509_CRL_free(crl);
		ERR_clear_error();
		return NULL;
	}
	item.is_delta = X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0;
	*ret = item;
	return crl;
}

bool revocation_digest_is_weak(int signature_nid)
{
	int md = NID_undef, pkey = NID_undef;

	if (OBJ_find_sigid_algs(signature_nid, &md, &pkey) != 1)
		return true;
	return md == NID_md2 || md == NID_md4 || md == NID_md5 || md == NID_sha1 || md == NID_md5_sha1;
}

static int signed_by_one_of(const STACK_OF(X509) *certs, X509_CRL *crl, const X509 **ret_issuer)
{
	int r = -ENOKEY;

	for (int i = 0; i < sk_X509_num(certs); i++) {
		X509 *x = sk_X509_value(certs, i);
		if (X509_NAME_cmp(X509_get_subject_name(x), X509_CRL_get_issuer(crl)) != 0)
			continue;
		EVP_PKEY *key = X509_get0_pubkey(x);
		if (key && X509_CRL_verify(crl, key) == 1) {
			*ret_issuer = x;
			return 1;
		}
		r = 0;
	}
	return r;
}

int revocation_crl_is_signed(const struct revocation_path *p, X509_CRL *crl, const X509 **ret_issuer)
{
	const STACK_OF(X509) *places[] = { p->chain, p->trusted, p->untrusted };
	int result = -ENOKEY;

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		int r = signed_by_one_of(places[i], crl, ret_issuer);
		if (r == 1) {
			result = 1;
			break;
		}
		if (r == 0)
			result = 0;
	}
	ERR_clear_error();
	if (result == 1 && p->policy->auth_level > 0 && revocation_digest_is_weak(X509_CRL_get_signature_nid(crl)))
		return 0;
	return result;
}

/* A CRL with a wrong signature must not hide a right one, so it never reaches OpenSSL's choice. */
int revocation_path_init(struct revocation_path *p)
{
	p->crls = sk_X509_CRL_new_null();
	if (!p->crls)
		return -ENOMEM;
	for (size_t i = 0; i < p->set->n_crls; i++) {
		const X509 *issuer = NULL;
		struct crl_item *item = &p->set->crls[i];
		if (revocation_crl_is_signed(p, item->crl, &issuer) != 1)
			continue;
		if (!sk_X509_CRL_push(p->crls, item->crl))
			return -ENOMEM;
	}
	return 0;
}

void revocation_path_done(struct revocation_path *p)
{
	sk_X509_CRL_free(p->crls);
	p->crls = NULL;
}

static void watch_revoked(struct crl_watch *w, X509_CRL *crl)
{
	X509_REVOKED *entry = NULL;

	w->is_revoked = true;
	w->proof = (struct status_proof){ .has = true, .status = REVOCATION_REVOKED, .reason = -1 };
	if (!crl || X509_CRL_get0_by_cert(crl, &entry, w->cert) < 1 || !entry)
		return;
	(void)x509_time(X509_REVOKED_get0_revocationDate(entry), &w->proof.revoked_at); /* stays 0: evidence only */
	(void)x509_time(X509_CRL_get0_lastUpdate(crl), &w->proof.this_update);
	ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, NULL, NULL);
	if (reason)
		w->proof.reason = (int)ASN1_ENUMERATED_get(reason);
	w->proof.is_hold = w->proof.reason == CRL_REASON_CERTIFICATE_HOLD;
	ASN1_ENUMERATED_free(reason);
}

/* Time is judged by us, so that an expired CRL that says "revoked" still does. */
static int watch_cb(int ok, X509_STORE_CTX *ctx)
{
	struct crl_watch *w = X509_STORE_CTX_get_app_data(ctx);
	struct wall t;

	if (ok || !w)
		return x509_tolerate(ok, ctx);
	X509_CRL *crl = X509_STORE_CTX_get0_current_crl(ctx);
	switch (X509_STORE_CTX_get_error(ctx)) {
	case X509_V_ERR_CRL_HAS_EXPIRED:
		w->is_expired = true;
		break;
	case X509_V_ERR_CRL_NOT_YET_VALID:
		if (!crl || !x509_time(X509_CRL_get0_lastUpdate(crl), &t) ||
		    wall_s(t) > wall_s(w->policy->now) + w->policy->skew_s)
			w->is_future = true;
		break;
	case X509_V_ERR_CERT_REVOKED:
		watch_revoked(w, crl);
		return 0;
	default:
		return x509_tolerate(ok, ctx);
	}
	X509_STORE_CTX_set_error(ctx, X509_V_OK);
	return 1;
}

static int crl_verify(const struct revocation_path *p, X509 *cert, STACK_OF(X509) *untrusted, struct crl_watch *watch)
{
	const unsigned long flags = X509_V_FLAG_CRL_CHECK | X509_V_FLAG_EXTENDED_CRL_SUPPORT | X509_V_FLAG_USE_DELTAS;
	_cleanup_(x509_store_freep) X509_STORE *store = x509_store_of(p->trusted, p->policy, flags);
	_cleanup_(x509_ctx_freep) X509_STORE_CTX *ctx = X509_STORE_CTX_new();

	if (!store || !ctx || X509_STORE_CTX_init(ctx, store, cert, untrusted) != 1)
		return X509_V_ERR_OUT_OF_MEM;
	X509_STORE_CTX_set0_crls(ctx, p->crls);
	X509_STORE_CTX_set_verify_cb(ctx, watch_cb);
	X509_STORE_CTX_set_app_data(ctx, watch);
	if (X509_verify_cert(ctx) == 1)
		return X509_V_OK;
	int err = X509_STORE_CTX_get_error(ctx);
	return err != X509_V_OK ? err : X509_V_ERR_UNSPECIFIED;
}

static struct wall half_life(struct wall from, struct wall to)
{
	return to.ms > from.ms ? (struct wall){ from.ms + (to.ms - from.ms) / 2 } : from;
}

/* Times of the newest base CRL of this issuer; a delta in hand must be fetched again sooner. */
static bool crl_times(const struct revocation_path *p, const X509 *cert, struct status_proof *ret, bool *ret_no_next)
{
	struct wall age = { (int64_t)p->policy->status_age_max_s * 1000 };
	bool found = false;

	for (size_t i = 0; i < p->set->n_crls; i++) {
		const struct crl_item *c = &p->set->crls[i];
		if (sk_X509_CRL_find(p->crls, c->crl) < 0 || X509_NAME_cmp(X509_CRL_get_issuer(c->crl), X509_get_issuer_name(cert)) != 0)
			continue;
		struct wall next = c->next_update.ms ? c->next_update : wall_add_ms(c->this_update, age.ms);
		struct wall refresh = half_life(c->this_update, next);
		if (!found || wall_before(ret->this_update, c->this_update)) {
			ret->this_update = c->this_update;
			ret->next_update = next;
			ret->refresh_at = refresh;
			*ret_no_next = c->next_update.ms == 0;
		} else if (c->is_delta && wall_before(refresh, ret->refresh_at)) {
			ret->refresh_at = refresh;
		}
		found = true;
	}
	return found;
}

static void crl_not_revoked(struct revocation_path *p, int i, const struct crl_watch *watch, struct status_sum *sum)
{
	X509 *cert = sk_X509_value(p->chain, i);
	struct status_proof proof = { .has = true, .status = REVOCATION_GOOD, .reason = -1 };
	bool no_next = false;

	if (!crl_times(p, cert, &proof, &no_next)) { /* an indirect CRL: its times are those OpenSSL judged */
		proof.this_update = p->policy->now;
		proof.next_update = proof.refresh_at = wall_add_ms(p->policy->now, 1000);
	}
	if (watch->is_future && !p->policy->clock_bad) {
		(void)snprintf(sum->why_not, sizeof(sum->why_not), "the CRL is dated in the future");
		return;
	}
	/* Without a nextUpdate the configured age decides (RV-5). */
	if (watch->is_expired || (no_next && wall_before(proof.next_update, p->policy->now)))
		proof.status = REVOCATION_STALE;
	revocation_path_note(p, sk_X509_value(p->chain, i + 1), proof.this_update);
	status_sum_fold(sum, REVOCATION_CRL, &proof);
}

void revocation_crl_look(struct revocation_path *p, int i, struct status_sum *sum)
{
	struct crl_watch watch = { .policy = p->policy, .cert = sk_X509_value(p->chain, i) };
	_cleanup_(x509_stack_freep) STACK_OF(X509) *all = X509_chain_up_ref(p->chain);

	if (!sk_X509_CRL_num(p->crls) || !all)
		return;
	if (p->untrusted)
		(void)X509_add_certs(all, p->untrusted, X509_ADD_FLAG_UP_REF | X509_ADD_FLAG_NO_DUP); /* only extra help */
	int err = crl_verify(p, watch.cert, all, &watch);
	ERR_clear_error();
	if (watch.is_revoked) {
		watch.proof.next_update = watch.proof.refresh_at = watch.proof.this_update;
		status_sum_fold(sum, REVOCATION_CRL, &watch.proof);
		revocation_path_note(p, sk_X509_value(p->chain, i + 1), watch.proof.this_update);
	} else if (err == X509_V_OK) {
		crl_not_revoked(p, i, &watch, sum);
	} else if (err != X509_V_ERR_UNABLE_TO_GET_CRL) {
		(void)snprintf(sum->why_not, sizeof(sum->why_not), "the CRL in hand does not count: %s", X509_verify_cert_error_string(err));
	}
}
