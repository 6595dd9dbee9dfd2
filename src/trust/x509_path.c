#include "trust/x509_path.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

struct x509_policy x509_policy_of(const struct trust_facts *facts)
{
	return (struct x509_policy){
		.now = facts->now,
		.clock_bad = facts->clock_bad,
		.auth_level = X509_AUTH_LEVEL,
		.skew_s = facts->skew_s ? facts->skew_s : TRUST_SKEW_S_DEFAULT,
		.status_age_max_s = facts->status_age_max_s ? facts->status_age_max_s : TRUST_STATUS_AGE_S_DEFAULT,
	};
}

const char *x509_name_text(const X509_NAME *name, char ret[static TRUST_NAME_BYTES])
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	long n = 0;

	/* Every control and non-ASCII byte comes escaped. */
	if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_UTF8_CONVERT) >= 0)
		n = BIO_get_mem_data(bio, &text);
	(void)snprintf(ret, TRUST_NAME_BYTES, "%.*s", n > 0 && n < INT_MAX ? (int)n : 0, text ? text : ""); /* cut on purpose */
	for (char *p = ret; *p; p++) {
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	}
	BIO_free(bio);
	return ret;
}

const char *x509_subject_text(const X509 *x, char ret[static TRUST_NAME_BYTES])
{
	return x509_name_text(X509_get_subject_name(x), ret);
}

void x509_key_id(const X509 *x, uint8_t ret[static 20])
{
	const ASN1_OCTET_STRING *id = X509_get0_subject_key_id((X509 *)(uintptr_t)x); /* fills a cache, changes nothing */
	unsigned n = 20;

	memset(ret, 0, 20);
	if (id && ASN1_STRING_length(id) == 20)
		memcpy(ret, ASN1_STRING_get0_data(id), 20);
	else
		(void)X509_pubkey_digest(x, EVP_sha1(), ret, &n); /* zeros when it fails: an id, not a check */
}

bool x509_time(const ASN1_TIME *t, struct wall *ret)
{
	struct tm tm;

	if (!t || ASN1_TIME_to_tm(t, &tm) != 1)
		return false;
	*ret = wall_from_s((int64_t)timegm(&tm));
	return true;
}

STACK_OF(X509) *x509_chain_parse(const struct span *der, size_t n)
{
	STACK_OF(X509) *chain = sk_X509_new_null();

	for (size_t i = 0; chain && i < n; i++) {
		const unsigned char *p = der[i].p;
		X509 *x = der[i].n && der[i].n <= COSE_CHAIN_BYTES_MAX ? d2i_X509(NULL, &p, (long)der[i].n) : NULL;
		if (!x || p != der[i].p + der[i].n || !sk_X509_push(chain, x)) {
			X509_free(x);
			sk_X509_pop_free(chain, X509_free);
			chain = NULL;
		}
	}
	ERR_clear_error();
	return chain;
}

/* A missing key identifier only costs search time: names and signatures still chain; an empty alternative name is a
 * name that nobody reads here, and real OCSP responders have it. What a trust anchor
 * says about itself binds nobody: it is trusted as name and key (RFC 5280 6.1.1), and the configuration chose it. */
int x509_tolerate(int ok, X509_STORE_CTX *ctx)
{
	const STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);
	int depth = X509_STORE_CTX_get_error_depth(ctx);

	if (ok)
		return 1;
	switch (X509_STORE_CTX_get_error(ctx)) {
	case X509_V_ERR_MISSING_AUTHORITY_KEY_IDENTIFIER:
	case X509_V_ERR_MISSING_SUBJECT_KEY_IDENTIFIER:
	case X509_V_ERR_EMPTY_SUBJECT_ALT_NAME:
		break;
	case X509_V_ERR_CA_CERT_MISSING_KEY_USAGE:
	case X509_V_ERR_CA_BCONS_NOT_CRITICAL:
	case X509_V_ERR_AUTHORITY_KEY_IDENTIFIER_CRITICAL:
	case X509_V_ERR_SUBJECT_KEY_IDENTIFIER_CRITICAL:
		if (depth < 0 || depth != sk_X509_num(chain) - 1)
			return 0;
		break;
	default:
		return 0;
	}
	X509_STORE_CTX_set_error(ctx, X509_V_OK);
	return 1;
}

X509_STORE *x509_store_of(const STACK_OF(X509) *trusted, const struct x509_policy *policy, unsigned long more_flags)
{
	X509_STORE *store = X509_STORE_new();

	if (!store)
		return NULL;
	for (int i = 0; i < sk_X509_num(trusted); i++) {
		if (X509_STORE_add_cert(store, sk_X509_value(trusted, i)) != 1) {
			X509_STORE_free(store);
			return NULL;
		}
	}
	X509_VERIFY_PARAM *param = X509_STORE_get0_param(store);
	/* Partial chains: what is configured is the anchor, be it a root, an intermediate or the signer itself. */
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT | X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN | more_flags);
	X509_VERIFY_PARAM_set_depth(param, COSE_CHAIN_MAX);
	X509_VERIFY_PARAM_set_auth_level(param, policy->auth_level);
	X509_VERIFY_PARAM_set_time(param, (time_t)wall_s(policy->now));
	X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_ANY);
	X509_STORE_set_verify_cb(store, x509_tolerate);
	return store;
}

static void path_why(int err, X509 *at, char why[static X509_WHY_BYTES])
{
	char subject[TRUST_NAME_BYTES] = "", when[WALL_TEXT_BYTES] = "";
	struct wall t;

	if (at)
		x509_subject_text(at, subject);
	if (at && err == X509_V_ERR_CERT_HAS_EXPIRED && x509_time(X509_get0_notAfter(at), &t))
		(void)snprintf(why, X509_WHY_BYTES, "certificate '%s' expired on %s", subject, wall_text(t, when));
	else if (at && err == X509_V_ERR_CERT_NOT_YET_VALID && x509_time(X509_get0_notBefore(at), &t))
		(void)snprintf(why, X509_WHY_BYTES, "certificate '%s' is not valid before %s", subject, wall_text(t, when));
	else
		(void)snprintf(why, X509_WHY_BYTES, "certificate '%s': %s", subject, X509_verify_cert_error_string(err));
}

static enum x509_result path_result(int err, bool clock_bad)
{
	switch (err) {
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		return X509_PATH_NO_ANCHOR;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return X509_PATH_EXPIRED;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return clock_bad ? X509_PATH_UNDECIDED : X509_PATH_BAD;
	default:
		return X509_PATH_BAD;
	}
}

static void path_describe(const STACK_OF(X509) *chain, char why[static X509_WHY_BYTES])
{
	char leaf[TRUST_NAME_BYTES], anchor[TRUST_NAME_BYTES], when[WALL_TEXT_BYTES] = "?";
	int n = sk_X509_num(chain);
	struct wall until;

	if (x509_time(X509_get0_notAfter(sk_X509_value(chain, 0)), &until))
		wall_text(until, when);
	(void)snprintf(why, X509_WHY_BYTES, "'%s' to '%s', %d certificate%s, signer valid until %s",
		       x509_subject_text(sk_X509_value(chain, 0), leaf), x509_subject_text(sk_X509_value(chain, n - 1), anchor), n,
		       n == 1 ? "" : "s", when);
}

enum x509_result x509_path_build(X509 *leaf, STACK_OF(X509) *untrusted, const STACK_OF(X509) *trusted,
				 const struct x509_policy *policy, STACK_OF(X509) **ret_chain, char why[static X509_WHY_BYTES])
{
	_cleanup_(x509_store_freep) X509_STORE *store = x509_store_of(trusted, policy, 0);
	_cleanup_(x509_ctx_freep) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	enum x509_result result = X509_PATH_BAD;

	(void)snprintf(why, X509_WHY_BYTES, "certificate path could not be built");
	if (!store || !ctx || X509_STORE_CTX_init(ctx, store, leaf, untrusted) != 1) {
		ERR_clear_error();
		return result;
	}
	if (X509_verify_cert(ctx) == 1) {
		*ret_chain = X509_STORE_CTX_get1_chain(ctx);
		result = *ret_chain ? X509_PATH_OK : X509_PATH_BAD;
		if (*ret_chain)
			path_describe(*ret_chain, why);
	} else {
		int err = X509_STORE_CTX_get_error(ctx);
		result = path_result(err, policy->clock_bad);
		path_why(err, X509_STORE_CTX_get_current_cert(ctx), why);
	}
	ERR_clear_error();
	return result;
}

bool x509_leaf_may_sign(X509 *leaf, bool require_eku, char why[static X509_WHY_BYTES])
{
	char subject[TRUST_NAME_BYTES];
	bool has_eku = X509_get_ext_by_NID(leaf, NID_ext_key_usage, -1) >= 0;
	uint32_t eku = X509_get_extended_key_usage(leaf);

	x509_subject_text(leaf, subject);
	if (!(X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE)) {
		(void)snprintf(why, X509_WHY_BYTES, "certificate '%s': keyUsage lacks digitalSignature", subject);
		return false;
	}
	if (require_eku && !has_eku) {
		(void)snprintf(why, X509_WHY_BYTES, "certificate '%s' has no extended key usage; the anchor asks for codeSigning", subject);
		return false;
	}
	if (has_eku && !(eku & XKU_CODE_SIGN) && (require_eku || !(eku & XKU_ANYEKU))) {
		(void)snprintf(why, X509_WHY_BYTES, "certificate '%s': extended key usage does not include codeSigning", subject);
		return false;
	}
	return true;
}

/* Only what our HTTP client should ever be asked for, in bytes that cannot confuse it. */
static bool url_is_usable(const ASN1_STRING *s, char ret[static TRUST_URL_BYTES])
{
	const uint8_t *p = ASN1_STRING_get0_data(s);
	int n = ASN1_STRING_length(s);

	if (n < 8 || n >= TRUST_URL_BYTES)
		return false;
	for (int i = 0; i < n; i++) {
		if (p[i] <= 0x20 || p[i] > 0x7e)
			return false;
	}
	memcpy(ret, p, (size_t)n);
	ret[n] = 0;
	return strncasecmp(ret, "http://", 7) == 0 || strncasecmp(ret, "https://", 8) == 0;
}

static void url_add(const GENERAL_NAME *name, char urls[][TRUST_URL_BYTES], size_t *n)
{
	if (*n < X509_URLS_MAX && name->type == GEN_URI && url_is_usable(name->d.uniformResourceIdentifier, urls[*n]))
		(*n)++;
}

/* cRLDistributionPoints, and freshestCRL, which is where delta CRLs are. */
static void urls_of_crl(X509 *x, int nid, struct x509_urls *ret)
{
	CRL_DIST_POINTS *points = X509_get_ext_d2i(x, nid, NULL, NULL);

	for (int i = 0; i < sk_DIST_POINT_num(points); i++) {
		const DIST_POINT_NAME *name = sk_DIST_POINT_value(points, i)->distpoint;
		if (!name || name->type != 0) /* 0: full name; a relative name has no address */
			continue;
		for (int k = 0; k < sk_GENERAL_NAME_num(name->name.fullname); k++)
			url_add(sk_GENERAL_NAME_value(name->name.fullname, k), ret->crl, &ret->n_crl);
	}
	CRL_DIST_POINTS_free(points);
}

static void urls_of_ocsp(X509 *x, struct x509_urls *ret)
{
	AUTHORITY_INFO_ACCESS *aia = X509_get_ext_d2i(x, NID_info_access, NULL, NULL);

	for (int i = 0; i < sk_ACCESS_DESCRIPTION_num(aia); i++) {
		const ACCESS_DESCRIPTION *ad = sk_ACCESS_DESCRIPTION_value(aia, i);
		if (OBJ_obj2nid(ad->method) == NID_ad_OCSP)
			url_add(ad->location, ret->ocsp, &ret->n_ocsp);
	}
	AUTHORITY_INFO_ACCESS_free(aia);
}

void x509_urls_of(X509 *x, struct x509_urls *ret)
{
	ret->n_crl = ret->n_ocsp = 0;
	urls_of_crl(x, NID_crl_distribution_points, ret);
	urls_of_crl(x, NID_freshest_crl, ret);
	urls_of_ocsp(x, ret);
	ERR_clear_error();
}
