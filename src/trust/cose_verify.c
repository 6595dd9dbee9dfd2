#include "trust/cose_verify.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include "base/digest.h"

enum scheme { SCHEME_ECDSA, SCHEME_EDDSA, SCHEME_PSS, SCHEME_HMAC };

/* What each algorithm needs. curve: OpenSSL's group name, or the key type for EdDSA. -8 stands twice (RFC 9053). */
static const struct alg_row {
	int64_t alg;
	enum scheme scheme;
	const char *curve;
	const char *md;
	size_t n;                              /* signature or tag bytes; 0 = the modulus */
} alg_rows[] = {
	{ COSE_ES256, SCHEME_ECDSA, "prime256v1", "SHA256", 64 },   { COSE_ESP256, SCHEME_ECDSA, "prime256v1", "SHA256", 64 },
	{ COSE_ES384, SCHEME_ECDSA, "secp384r1", "SHA384", 96 },    { COSE_ESP384, SCHEME_ECDSA, "secp384r1", "SHA384", 96 },
	{ COSE_ES512, SCHEME_ECDSA, "secp521r1", "SHA512", 132 },   { COSE_ESP512, SCHEME_ECDSA, "secp521r1", "SHA512", 132 },
	{ COSE_ED25519, SCHEME_EDDSA, "ED25519", NULL, 64 },        { COSE_ED448, SCHEME_EDDSA, "ED448", NULL, 114 },
	{ COSE_EDDSA, SCHEME_EDDSA, "ED25519", NULL, 64 },          { COSE_EDDSA, SCHEME_EDDSA, "ED448", NULL, 114 },
	{ COSE_PS256, SCHEME_PSS, NULL, "SHA256", 0 },              { COSE_PS384, SCHEME_PSS, NULL, "SHA384", 0 },
	{ COSE_PS512, SCHEME_PSS, NULL, "SHA512", 0 },              { COSE_HMAC_256_64, SCHEME_HMAC, NULL, "SHA256", 8 },
	{ COSE_HMAC_256, SCHEME_HMAC, NULL, "SHA256", 32 },         { COSE_HMAC_384, SCHEME_HMAC, NULL, "SHA384", 48 },
	{ COSE_HMAC_512, SCHEME_HMAC, NULL, "SHA512", 64 },
};
enum { ALG_ROWS = sizeof(alg_rows) / sizeof(*alg_rows), EC_COORD_MAX = 66 };

static void pkey_ctx_freep(EVP_PKEY_CTX **c) { EVP_PKEY_CTX_free(*c); }
static void md_ctx_freep(EVP_MD_CTX **c) { EVP_MD_CTX_free(*c); }
static void bn_freep(BIGNUM **b) { BN_free(*b); }
static void ecdsa_sig_freep(ECDSA_SIG **s) { ECDSA_SIG_free(*s); }

const char *cose_result_text(enum cose_result r)
{
	switch (r) {
	case COSE_VERIFIED:
		return "verified";
	case COSE_BAD_SIGNATURE:
		return "the signature is wrong";
	case COSE_BAD_LENGTH:
		return "the signature has not the algorithm's form";
	case COSE_WRONG_KEY:
		return "the algorithm is not one for this key";
	case COSE_UNSUPPORTED:
		return "unsupported algorithm";
	}
	return "";
}

static bool row_fits(const struct alg_row *row, EVP_PKEY *pkey)
{
	char group[32];

	switch (row->scheme) {
	case SCHEME_ECDSA:
		return EVP_PKEY_is_a(pkey, "EC") && EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group,
									    sizeof(group), NULL) == 1 &&
		       strcmp(group, row->curve) == 0;
	case SCHEME_EDDSA:
		return EVP_PKEY_is_a(pkey, row->curve);
	case SCHEME_PSS:
		return EVP_PKEY_is_a(pkey, "RSA") && EVP_PKEY_get_bits(pkey) >= COSE_RSA_BITS_MIN;
	case SCHEME_HMAC:
		return false;
	}
	return false;
}

/* The row of alg that fits pkey; pkey NULL: the MAC row. */
static const struct alg_row *row_find(int64_t alg, EVP_PKEY *pkey)
{
	for (size_t i = 0; i < ALG_ROWS; i++) {
		if (alg_rows[i].alg == alg && (pkey ? row_fits(&alg_rows[i], pkey) : alg_rows[i].scheme == SCHEME_HMAC))
			return &alg_rows[i];
	}
	return NULL;
}

static bool cose_alg_is_mac(int64_t alg)
{
	return row_find(alg, NULL) != NULL;
}

bool cose_alg_is_known(int64_t alg)
{
	for (size_t i = 0; i < ALG_ROWS; i++) {
		if (alg_rows[i].alg == alg)
			return true;
	}
	return false;
}

bool cose_alg_fits(int64_t alg, EVP_PKEY *pkey)
{
	bool fits = row_find(alg, pkey) != NULL;

	ERR_clear_error();
	return fits;
}

int64_t cose_alg_for_key(EVP_PKEY *pkey)
{
	static const int64_t preferred[] = { COSE_ESP256, COSE_ESP384, COSE_ESP512, COSE_ED25519, COSE_ED448, COSE_PS256 };

	for (size_t i = 0; i < sizeof(preferred) / sizeof(*preferred); i++) {
		if (cose_alg_fits(preferred[i], pkey))
			return preferred[i];
	}
	return 0;
}

static bool rsa_exponent_is_odd(EVP_PKEY *pkey)
{
	_cleanup_(bn_freep) BIGNUM *e = NULL;

	return EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_is_odd(e) && BN_get_word(e) != 1;
}

bool cose_key_is_acceptable(EVP_PKEY *pkey)
{
	bool ok = cose_alg_for_key(pkey) != 0;

	if (ok && EVP_PKEY_is_a(pkey, "RSA")) {
		ok = rsa_exponent_is_odd(pkey);
	} else if (ok && EVP_PKEY_is_a(pkey, "EC")) {
		_cleanup_(pkey_ctx_freep) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
		ok = ctx && EVP_PKEY_public_check(ctx) == 1;
	}
	ERR_clear_error();
	return ok;
}

static bool in_group(const BIGNUM *v, const BIGNUM *order)
{
	return !BN_is_zero(v) && !BN_is_negative(v) && BN_cmp(v, order) < 0;
}

/* r||s to the DER that EVP wants. Returns the length of *ret (OPENSSL_free()), -EBADMSG when r or s is out of 1..n-1. */
static int ecdsa_to_der(EVP_PKEY *pkey, struct span raw, uint8_t **ret)
{
	_cleanup_(ecdsa_sig_freep) ECDSA_SIG *sig = ECDSA_SIG_new();
	_cleanup_(bn_freep) BIGNUM *order = NULL;
	size_t half = raw.n / 2;

	if (!sig || EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_ORDER, &order) != 1)
		return -ENOMEM;
	BIGNUM *r = BN_bin2bn(raw.p, (int)half, NULL), *s = BN_bin2bn(raw.p + half, (int)half, NULL);
	if (!r || !s || ECDSA_SIG_set0(sig, r, s) != 1) {
		BN_free(r);
		BN_free(s);
		return -ENOMEM;
	}
	if (!in_group(r, order) || !in_group(s, order))
		return -EBADMSG;
	int n = i2d_ECDSA_SIG(sig, ret);
	return n > 0 ? n : -ENOMEM;
}

static bool pss_setup(EVP_PKEY_CTX *ctx)
{
	return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

static enum cose_result evp_verify(const struct alg_row *row, EVP_PKEY *pkey, struct span message, struct span signature)
{
	_cleanup_(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx = NULL; /* belongs to ctx */
	static const uint8_t empty[1];

	if (!ctx || EVP_DigestVerifyInit_ex(ctx, &pctx, row->md, NULL, NULL, pkey, NULL) != 1)
		return COSE_UNSUPPORTED;
	if (row->scheme == SCHEME_PSS && !pss_setup(pctx))
		return COSE_UNSUPPORTED;
	/* Exactly 1: zero is a wrong signature, negative an error; neither verifies (RV-9's lesson). */
	int r = EVP_DigestVerify(ctx, signature.p, signature.n, message.n ? message.p : empty, message.n);
	return r == 1 ? COSE_VERIFIED : COSE_BAD_SIGNATURE;
}

static enum cose_result ecdsa_verify(const struct alg_row *row, EVP_PKEY *pkey, struct span message, struct span signature)
{
	uint8_t *der = NULL;
	int n = ecdsa_to_der(pkey, signature, &der);

	if (n < 0)
		return n == -EBADMSG ? COSE_BAD_LENGTH : COSE_BAD_SIGNATURE;
	enum cose_result r = evp_verify(row, pkey, message, SPAN(der, (size_t)n));
	OPENSSL_free(der);
	return r;
}

static enum cose_result mac_verify(const struct cose_verify_key *key, const struct alg_row *row, struct span message, struct span tag)
{
	uint8_t mac[COSE_MAC_BYTES_MAX];
	size_t n;

	if (row->alg == COSE_HMAC_256_64 && !key->allow_truncated_mac)
		return COSE_UNSUPPORTED;
	if (tag.n != row->n)
		return COSE_BAD_LENGTH;
	if (cose_mac_raw(key->mac, row->alg, message, mac, &n) < 0 || n != row->n)
		return COSE_BAD_SIGNATURE;
	return bytes_eq_ct(SPAN(mac, n), tag) ? COSE_VERIFIED : COSE_BAD_SIGNATURE;
}

static enum cose_result verify_with_row(const struct cose_verify_key *key, const struct alg_row *row, struct span message,
					struct span signature)
{
	size_t want = row->n ? row->n : (size_t)EVP_PKEY_get_size(key->pkey);

	if (signature.n != want || want > COSE_SIGNATURE_BYTES_MAX)
		return COSE_BAD_LENGTH;
	if (row->scheme == SCHEME_ECDSA)
		return ecdsa_verify(row, key->pkey, message, signature);
	return evp_verify(row, key->pkey, message, signature);
}

enum cose_result cose_verify_raw(const struct cose_verify_key *key, int64_t alg, struct span message, struct span signature)
{
	enum cose_result r;

	if (!cose_alg_is_known(alg))
		return COSE_UNSUPPORTED;
	if (key->alg && key->alg != alg)
		return COSE_WRONG_KEY;
	const struct alg_row *row = row_find(alg, key->pkey);
	if (!row || (!key->pkey && !key->mac.n))
		r = COSE_WRONG_KEY;
	else if (row->scheme == SCHEME_HMAC)
		r = mac_verify(key, row, message, signature);
	else
		r = verify_with_row(key, row, message, signature);
	ERR_clear_error();
	return r;
}

enum cose_result cose_verify(const struct cose_verify_key *key, const struct cose_message *m, const struct cose_signer *signer,
			     struct span external_aad, struct span payload)
{
	const struct cose_headers *h = signer ? &signer->headers : &m->headers;
	_cleanup_buf_ struct buf tbs = { 0 };

	if (!h->has_alg)
		return COSE_UNSUPPORTED;
	bool is_mac = m->kind == COSE_MAC0 || m->kind == COSE_MAC;
	if (cose_alg_is_known(h->alg) && cose_alg_is_mac(h->alg) != is_mac)
		return COSE_WRONG_KEY; /* a MAC algorithm in a signature or the other way round (CO-3) */
	if (is_mac ? key->pkey != NULL : key->pkey == NULL)
		return cose_alg_is_known(h->alg) ? COSE_WRONG_KEY : COSE_UNSUPPORTED;
	cose_tbs(m, signer, external_aad, payload, &tbs);
	if (!buf_ok(&tbs))
		return COSE_BAD_SIGNATURE;
	return cose_verify_raw(key, h->alg, buf_span(&tbs), signer ? signer->signature : m->signature);
}

int cose_mac_raw(struct span key, int64_t alg, struct span message, uint8_t ret[static COSE_MAC_BYTES_MAX], size_t *ret_n)
{
	const struct alg_row *row = row_find(alg, NULL);
	size_t n = 0;
	uint8_t full[COSE_MAC_BYTES_MAX];

	if (!row)
		return -ENOTSUP;
	if (!EVP_Q_mac(NULL, "HMAC", NULL, row->md, NULL, key.p, key.n, message.p, message.n, full, sizeof(full), &n) || n < row->n) {
		ERR_clear_error();
		return -EINVAL;
	}
	memcpy(ret, full, row->n);
	*ret_n = row->n;
	return 0;
}

/* DER ECDSA signature to r||s of the curve's size. */
static int ecdsa_from_der(const struct alg_row *row, struct span der, struct buf *ret)
{
	const unsigned char *p = der.p;
	_cleanup_(ecdsa_sig_freep) ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)der.n);
	int half = (int)(row->n / 2);

	if (!sig)
		return -EINVAL;
	uint8_t *out = buf_grow(ret, row->n);
	if (!out || BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, half) != half || BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + half, half) != half)
		return -EINVAL;
	return 0;
}

static int evp_sign(const struct alg_row *row, EVP_PKEY *pkey, struct span message, uint8_t *ret, size_t *ret_n)
{
	_cleanup_(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx = NULL; /* belongs to ctx */

	if (!ctx || EVP_DigestSignInit_ex(ctx, &pctx, row->md, NULL, NULL, pkey, NULL) != 1)
		return -EINVAL;
	if (row->scheme == SCHEME_PSS && !pss_setup(pctx))
		return -EINVAL;
	return EVP_DigestSign(ctx, ret, ret_n, message.p, message.n) == 1 ? 0 : -EINVAL;
}

int cose_sign_raw(EVP_PKEY *pkey, int64_t alg, struct span message, struct buf *ret)
{
	const struct alg_row *row = row_find(alg, pkey);
	uint8_t sig[COSE_SIGNATURE_BYTES_MAX];
	size_t n = sizeof(sig);
	int r = row ? evp_sign(row, pkey, message, sig, &n) : -ENOTSUP;

	if (r == 0 && row->scheme == SCHEME_ECDSA)
		r = ecdsa_from_der(row, SPAN(sig, n), ret);
	else if (r == 0)
		buf_add(ret, SPAN(sig, n));
	ERR_clear_error();
	return r < 0 ? r : buf_ok(ret) ? 0 : -ENOMEM;
}
