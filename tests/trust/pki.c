#include "pki.h"

#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "base/text.h"
#include "codec/cbor.h"
#include "trust/sign.h"

const char pki_vendor_acme[] = "fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe", pki_vendor_other[] = "0f8fad5b-d9cb-469f-a165-70867728950e",
	   pki_class_a[] = "1492af14-2569-5e48-bf42-9b2d51f2ab45";

static EVP_PKEY *key_new(const char *type)
{
	EVP_PKEY *key;

	if (type && strcmp(type, "ED25519") == 0)
		key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	else if (type && strcmp(type, "RSA") == 0)
		key = EVP_RSA_gen(1024);
	else
		key = EVP_EC_gen(type ? type : "P-256");
	assert_non_null(key);
	return key;
}

static const EVP_MD *md_of(EVP_PKEY *key)
{
	return EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256();
}

static void ext_add(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(ext);
	assert_int_equal(X509_add_ext(x, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

static void ext_add_fmt(X509 *x, X509 *issuer, int nid, const char *prefix, const char *value)
{
	char text[300];

	(void)snprintf(text, sizeof(text), "%s%s", prefix, value);
	ext_add(x, issuer, nid, text);
}

static void exts_add(X509 *x, X509 *issuer, const struct pki_spec *spec)
{
	ext_add(x, issuer, NID_basic_constraints, spec->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	ext_add(x, issuer, NID_key_usage, spec->key_usage ? spec->key_usage :
		spec->is_ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
	ext_add(x, issuer, NID_subject_key_identifier, "hash");
	ext_add(x, issuer, NID_authority_key_identifier, "keyid");
	if (spec->eku)
		ext_add(x, issuer, NID_ext_key_usage, spec->eku);
	if (spec->crl_url)
		ext_add_fmt(x, issuer, NID_crl_distribution_points, "URI:", spec->crl_url);
	if (spec->ocsp_url)
		ext_add_fmt(x, issuer, NID_info_access, "OCSP;URI:", spec->ocsp_url);
	if (spec->nocheck)
		ext_add(x, issuer, NID_id_pkix_OCSP_noCheck, "ignored");
	if (spec->name_constraints)
		ext_add(x, issuer, NID_name_constraints, spec->name_constraints);
}

void pki_issue(const struct pki_cert *issuer, const struct pki_spec *spec, struct pki_cert *ret)
{
	static long serial = 0x1000;
	X509 *x = X509_new();
	EVP_PKEY *key = key_new(spec->key_type);

	assert_int_equal(X509_set_version(x, X509_VERSION_3), 1);
	assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial), 1);
	assert_non_null(ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(spec->from_s ? spec->from_s : PKI_NOW_S - 365 * PKI_DAY_S)));
	assert_non_null(ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(spec->to_s ? spec->to_s : PKI_NOW_S + 365 * PKI_DAY_S)));
	assert_int_equal(X509_set_pubkey(x, key), 1);
	assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)spec->cn, -1, -1, 0), 1);
	assert_int_equal(X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer->x : x)), 1);
	exts_add(x, issuer ? issuer->x : x, spec);
	EVP_PKEY *by = issuer ? issuer->key : key;
	assert_true(X509_sign(x, by, md_of(by)) > 0);
	*ret = (struct pki_cert){ key, x };
}

void pki_done(struct pki_cert *c)
{
	EVP_PKEY_free(c->key);
	X509_free(c->x);
	*c = (struct pki_cert){ 0 };
}

static void revoked_add(X509_CRL *crl, const struct pki_cert *c, const struct pki_crl_spec *spec)
{
	ASN1_TIME *at = ASN1_TIME_set(NULL, (time_t)(spec->revoked_s ? spec->revoked_s : PKI_NOW_S - PKI_DAY_S));
	X509_REVOKED *r = X509_REVOKED_new();

	assert_int_equal(X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(c->x)), 1);
	assert_int_equal(X509_REVOKED_set_revocationDate(r, at), 1);
	if (spec->reason) {
		ASN1_ENUMERATED *reason = ASN1_ENUMERATED_new();
		assert_int_equal(ASN1_ENUMERATED_set(reason, spec->reason), 1);
		assert_int_equal(X509_REVOKED_add1_ext_i2d(r, NID_crl_reason, reason, 0, 0), 1);
		ASN1_ENUMERATED_free(reason);
	}
	assert_int_equal(X509_CRL_add0_revoked(crl, r), 1);
	ASN1_TIME_free(at);
}

void pki_crl(const struct pki_cert *issuer, const struct pki_crl_spec *spec, struct buf *ret_der)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *t = ASN1_TIME_set(NULL, (time_t)(spec->this_s ? spec->this_s : PKI_NOW_S - 3600));
	ASN1_INTEGER *number = ASN1_INTEGER_new();
	unsigned char *der = NULL;

	assert_int_equal(X509_CRL_set_version(crl, X509_CRL_VERSION_2), 1);
	assert_int_equal(X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->x)), 1);
	assert_int_equal(X509_CRL_set1_lastUpdate(crl, t), 1);
	if (spec->next_s >= 0) {
		assert_non_null(ASN1_TIME_set(t, (time_t)(spec->next_s ? spec->next_s : PKI_NOW_S + PKI_DAY_S)));
		assert_int_equal(X509_CRL_set1_nextUpdate(crl, t), 1);
	}
	assert_int_equal(ASN1_INTEGER_set(number, spec->number ? spec->number : 1), 1);
	assert_int_equal(X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0), 1);
	for (size_t i = 0; i < 4 && spec->revoked[i]; i++)
		revoked_add(crl, spec->revoked[i], spec);
	assert_int_equal(X509_CRL_sort(crl), 1);
	assert_true(X509_CRL_sign(crl, issuer->key, md_of(issuer->key)) > 0);
	int n = i2d_X509_CRL(crl, &der);
	assert_true(n > 0);
	buf_add(ret_der, SPAN(der, (size_t)n));
	OPENSSL_free(der);
	ASN1_INTEGER_free(number);
	ASN1_TIME_free(t);
	X509_CRL_free(crl);
}

void pki_ocsp(const struct pki_cert *issuer, const struct pki_cert *subject, const struct pki_ocsp_spec *spec, struct buf *ret_der)
{
	const struct pki_cert *by = spec->responder ? spec->responder : issuer;
	OCSP_BASICRESP *bs = OCSP_BASICRESP_new();
	OCSP_CERTID *id = OCSP_cert_to_id(spec->id_md ? spec->id_md : EVP_sha1(), subject->x, issuer->x);
	ASN1_TIME *this_update = ASN1_GENERALIZEDTIME_set(NULL, (time_t)(spec->this_s ? spec->this_s : PKI_NOW_S - 3600)), *next = NULL;
	ASN1_TIME *revoked = ASN1_GENERALIZEDTIME_set(NULL, PKI_NOW_S - PKI_DAY_S);
	unsigned char *der = NULL;

	if (spec->next_s >= 0)
		next = ASN1_GENERALIZEDTIME_set(NULL, (time_t)(spec->next_s ? spec->next_s : PKI_NOW_S + PKI_DAY_S));
	assert_non_null(OCSP_basic_add1_status(bs, id, spec->status, spec->reason,
					       spec->status == V_OCSP_CERTSTATUS_REVOKED ? revoked : NULL, this_update, next));
	assert_int_equal(OCSP_basic_sign(bs, by->x, by->key, EVP_sha256(), NULL, 0), 1);
	OCSP_RESPONSE *resp = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, bs);
	int n = i2d_OCSP_RESPONSE(resp, &der);
	assert_true(n > 0);
	buf_add(ret_der, SPAN(der, (size_t)n));
	OPENSSL_free(der);
	OCSP_RESPONSE_free(resp);
	ASN1_TIME_free(this_update);
	ASN1_TIME_free(next);
	ASN1_TIME_free(revoked);
	OCSP_CERTID_free(id);
	OCSP_BASICRESP_free(bs);
}

static void bio_to_buf(BIO *bio, struct buf *ret)
{
	char *p;
	long n = BIO_get_mem_data(bio, &p);

	buf_add(ret, SPAN(p, (size_t)n));
	BIO_free(bio);
}

void pki_pem(const struct pki_cert *const *certs, size_t n, struct buf *ret)
{
	BIO *bio = BIO_new(BIO_s_mem());

	for (size_t i = 0; i < n; i++)
		assert_int_equal(PEM_write_bio_X509(bio, certs[i]->x), 1);
	bio_to_buf(bio, ret);
}

void pki_key_pem(const struct pki_cert *c, struct buf *ret)
{
	BIO *bio = BIO_new(BIO_s_mem());

	assert_int_equal(PEM_write_bio_PrivateKey(bio, c->key, NULL, NULL, 0, NULL, NULL), 1);
	bio_to_buf(bio, ret);
}

static const uint8_t *uuid(const char *text, const char *otherwise, uint8_t ret[static 16])
{
	if (!text)
		text = otherwise;
	if (!*text)
		return NULL;
	assert_int_equal(text_parse_uuid(span_str(text), ret), 0);
	return ret;
}

/* The same manifest with key 4 between keys 3 and 7. */
static void add_reference_uri(struct buf *manifest, const char *uri)
{
	struct cbor c = cbor_reader(buf_span(manifest));
	struct buf out = { 0 };
	size_t n = cbor_map(&c);

	cbor_put_map(&out, n + 1);
	for (size_t i = 0; i < n; i++) {
		if (i == 3) {
			cbor_put_uint(&out, 4);
			cbor_put_str(&out, uri);
		}
		buf_add(&out, cbor_skip(&c));
		buf_add(&out, cbor_skip(&c));
	}
	assert_true(cbor_at_end(&c));
	buf_done(manifest);
	*manifest = out;
}

void pki_envelope(const struct pki_cert *signer, const struct pki_cert *const *chain, size_t n, const struct pki_update *u,
		  struct buf *ret)
{
	_cleanup_buf_ struct buf manifest = { 0 }, members = { 0 }, digest = { 0 }, block = { 0 }, key_pem = { 0 }, chain_pem = { 0 };
	_cleanup_(sign_key_freep) struct sign_key *key = NULL;
	uint8_t vendor[16], class_id[16];
	size_t n_members = 0;
	struct suit_author_component component = { .id = { SPAN_LIT("\0") }, .n_id = 1, .digest = digest_of(SPAN_LIT("image")),
						   .size = u->bytes ? u->bytes : 1000,
						   .uri = u->uri ? u->uri : "https://fw.acme.example/a.bin" };
	const struct suit_author author = { .sequence = u->sequence, .vendor_id = uuid(u->vendor, pki_vendor_acme, vendor),
					    .class_id = uuid(u->class_info, pki_class_a, class_id), .components = &component, .n_components = 1,
					    .has_use_before = u->has_use_before, .use_before_s = u->use_before_s };

	assert_int_equal(suit_manifest_encode(&author, &manifest, &members, &n_members), 0);
	if (u->reference_uri)
		add_reference_uri(&manifest, u->reference_uri);
	suit_auth_digest_encode(buf_span(&manifest), &digest);
	pki_key_pem(signer, &key_pem);
	pki_pem(chain, n, &chain_pem);
	assert_int_equal(sign_key_load(buf_span(&key_pem), 0, &key, NULL, 0), 0);
	assert_int_equal(sign_auth_digest(key, buf_span(&chain_pem), SPAN_NONE, buf_span(&digest), &block, NULL, 0), 0);
	struct span blocks[] = { buf_span(&block) };
	assert_int_equal(suit_envelope_encode(buf_span(&manifest), buf_span(&digest), blocks, 1, buf_span(&members), n_members, ret), 0);
}
