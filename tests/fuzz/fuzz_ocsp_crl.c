/* CRLs and OCSP answers. As they come, none may count: the issuer's key is not in the input. Signed again with that key
 * their content is judged too. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "base/mem.h"
#include "fuzz.h"
#include "trust/revocation_status.h"

static EVP_PKEY *ca_key;
static X509 *ca, *leaf;
static struct revocation_need need[2];
static const struct x509_policy policy = { .now = { 1790000000000 }, .auth_level = X509_AUTH_LEVEL, .skew_s = 300, .status_age_max_s = 864000 };

static X509 *issue(EVP_PKEY *key, long serial, const char *name)
{
	X509 *x = X509_new();
	bool ok = x && X509_set_version(x, X509_VERSION_3) && ASN1_INTEGER_set(X509_get_serialNumber(x), serial) &&
		  ASN1_TIME_set(X509_getm_notBefore(x), 1700000000) && ASN1_TIME_set(X509_getm_notAfter(x), 1900000000) && X509_set_pubkey(x, key) &&
		  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0) &&
		  X509_NAME_add_entry_by_txt(X509_get_issuer_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"CA", -1, -1, 0);
	static const struct { int nid; const char *value[2]; } exts[] = {
		{ NID_basic_constraints, { "critical,CA:TRUE", "critical,CA:FALSE" } },
		{ NID_key_usage, { "critical,keyCertSign,cRLSign", "critical,digitalSignature" } },
	};

	for (size_t i = 0; ok && i < 2; i++) {
		X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, exts[i].nid, exts[i].value[serial != 1]);
		ok = e && X509_add_ext(x, e, -1);
		X509_EXTENSION_free(e);
	}
	if (!ok || X509_sign(x, ca_key, EVP_sha256()) <= 0)
		abort();
	return x;
}

static void prepare(void)
{
	unsigned char *p = need[0].issuer;

	ca_key = EVP_EC_gen("P-256");
	EVP_PKEY *leaf_key = EVP_EC_gen("P-256");
	if (!ca_key || !leaf_key)
		abort();
	ca = issue(ca_key, 1, "CA");
	leaf = issue(leaf_key, 2, "Leaf");
	EVP_PKEY_free(leaf_key);
	need[0].n_issuer = (size_t)i2d_X509(ca, &p);
	need[1] = need[0];
	need[0].kind = REVOCATION_CRL;
	need[1].kind = REVOCATION_OCSP;
	OCSP_REQUEST *req = OCSP_REQUEST_new();
	if (!OCSP_request_add0_id(req, OCSP_cert_to_id(EVP_sha1(), leaf, ca)))
		abort();
	p = need[1].ocsp_request;
	need[1].n_ocsp_request = (size_t)i2d_OCSP_REQUEST(req, &p);
	OCSP_REQUEST_free(req);
}

static enum rule_outcome judge(enum revocation_kind kind, struct span der)
{
	const struct revocation_object object = { .kind = kind, .url = "", .der = der };
	struct revocation_set *set = revocation_set_new(&object, 1);
	struct revocation_result *result = NEW(struct revocation_result);
	STACK_OF(X509) *chain = sk_X509_new_null(), *trusted = sk_X509_new_null();

	if (!sk_X509_push(chain, leaf) || !sk_X509_push(chain, ca) || !sk_X509_push(trusted, ca))
		abort();
	struct revocation_path path = { .set = set, .chain = chain, .trusted = trusted, .policy = &policy };
	if (revocation_path_init(&path) < 0)
		abort();
	revocation_judge_path(&path, REVOCATION_HARD, 0, result);
	enum rule_outcome o = result->outcome;
	revocation_path_done(&path);
	revocation_set_free(set);
	sk_X509_free(chain);
	sk_X509_free(trusted);
	free(result);
	return o;
}

static void crl_again(struct span in)
{
	struct crl_item item;
	X509_CRL *crl = revocation_crl_parse(in, &item);
	unsigned char *der = NULL;

	if (crl && X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca)) && X509_CRL_sign(crl, ca_key, EVP_sha256()) > 0) {
		int n = i2d_X509_CRL(crl, &der);
		if (n > 0) {
			(void)judge(REVOCATION_CRL, SPAN(der, (size_t)n)); /* any outcome */
			(void)revocation_object_check(&need[0], policy.now, false, SPAN(der, (size_t)n), in, NULL); /* any result */
		}
		OPENSSL_free(der);
	}
	X509_CRL_free(crl);
}

/* What the answer says of somebody, said of our leaf. */
static OCSP_BASICRESP *about_leaf(OCSP_BASICRESP *bs)
{
	OCSP_BASICRESP *out = OCSP_BASICRESP_new();

	for (int i = 0; i < OCSP_resp_count(bs) && i < 4; i++) {
		ASN1_GENERALIZEDTIME *revoked = NULL, *from = NULL, *to = NULL;
		OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), leaf, ca);
		int reason = -1, status = OCSP_single_get0_status(OCSP_resp_get0(bs, i), &reason, &revoked, &from, &to);
		if (reason < 0)
			reason = 0;
		if (status >= 0 && (status != V_OCSP_CERTSTATUS_REVOKED || revoked))
			(void)OCSP_basic_add1_status(out, id, status, reason, revoked, from, to); /* what it refuses is not there */
		OCSP_CERTID_free(id);
	}
	return out;
}

static void ocsp_again(struct span in)
{
	OCSP_BASICRESP *parsed = revocation_ocsp_parse(in), *bs = parsed ? about_leaf(parsed) : NULL;
	unsigned char *der = NULL;

	if (bs && OCSP_basic_sign(bs, ca, ca_key, EVP_sha256(), NULL, 0) == 1) {
		OCSP_RESPONSE *resp = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, bs);
		int n = i2d_OCSP_RESPONSE(resp, &der);
		if (n > 0) {
			(void)judge(REVOCATION_OCSP, SPAN(der, (size_t)n)); /* any outcome */
			(void)revocation_object_check(&need[1], policy.now, false, SPAN(der, (size_t)n), in, NULL); /* any result */
		}
		OPENSSL_free(der);
		OCSP_RESPONSE_free(resp);
	}
	OCSP_BASICRESP_free(bs);
	OCSP_BASICRESP_free(parsed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const struct span in = SPAN(data, n);

	if (!ca)
		prepare();
	for (int k = 0; k < 2; k++) {
		struct revocation_object_info info;
		(void)revocation_object_read(need[k].kind, in, policy.now, &info); /* any result */
		if (judge(need[k].kind, in) == RULE_PASS || revocation_object_check(&need[k], policy.now, false, in, SPAN_NONE, &info) >= 0)
			abort();
	}
	crl_again(in);
	ocsp_again(in);
	ERR_clear_error();
	return 0;
}
