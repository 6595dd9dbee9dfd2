/* trust/cose_verify.h - the cryptography of COSE signatures and MACs (RFC 9053, 9864) on OpenSSL.
 * A key is only ever used with an algorithm that belongs to it (CO-3); lengths are checked before any
 * arithmetic (CO-6). OpenSSL types appear here: include it inside trust/ only. No state, any thread. */
#pragma once
#include <openssl/evp.h>

#include "codec/cose.h"

enum cose_result {
	COSE_VERIFIED,
	COSE_BAD_SIGNATURE,                    /* right key and algorithm, wrong signature or tag */
	COSE_BAD_LENGTH,                       /* not the algorithm's length, or r, s outside 1..n-1 */
	COSE_WRONG_KEY,                        /* the algorithm is not one for this key */
	COSE_UNSUPPORTED,                      /* an algorithm we do not verify here (CO-11) */
};
const char *cose_result_text(enum cose_result r);

/* One of pkey and mac. alg: the key's own restriction, 0 = any that fits the key. */
struct cose_verify_key {
	EVP_PKEY *pkey;                        /* borrowed */
	struct span mac;
	int64_t alg;
	bool allow_truncated_mac;              /* HMAC 256/64 (CO-16); nothing in the gateway sets it */
};

enum { COSE_SIGNATURE_BYTES_MAX = 1024, COSE_RSA_BITS_MIN = 2048, COSE_MAC_BYTES_MAX = 64 };

bool cose_alg_is_known(int64_t alg);           /* one that this file can verify */
/* The algorithm that we sign with for this key; 0 = none (RSA below 2048 bits, foreign curve, ...). */
int64_t cose_alg_for_key(EVP_PKEY *pkey);
bool cose_alg_fits(int64_t alg, EVP_PKEY *pkey);
/* RSA of 2048 bits and more with odd exponent, P-256, P-384, P-521, Ed25519, Ed448; point on curve (CO-17, CO-18). */
bool cose_key_is_acceptable(EVP_PKEY *pkey);

/* Raw: the signature over exactly these bytes. */
enum cose_result cose_verify_raw(const struct cose_verify_key *key, int64_t alg, struct span message, struct span signature);
/* A message (Sign1, Mac0; or one signer of a Sign) over payload. */
enum cose_result cose_verify(const struct cose_verify_key *key, const struct cose_message *m, const struct cose_signer *signer,
			     struct span external_aad, struct span payload);
/* COSE's raw r||s of curve size for a key's DER signature, and HMAC; for signing. */
int cose_sign_raw(EVP_PKEY *pkey, int64_t alg, struct span message, struct buf *ret);
int cose_mac_raw(struct span key, int64_t alg, struct span message, uint8_t ret[static COSE_MAC_BYTES_MAX], size_t *ret_n);
