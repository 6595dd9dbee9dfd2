/* codec/cose.h - COSE_Sign1, COSE_Sign, COSE_Mac0 and COSE_Key as structs (RFC 9052, 9053, 9360,
 * 9864). Parsing, header rules (CO-1..CO-5, CO-8, CO-9) and the bytes to be signed; the
 * cryptography is trust/cose_verify.h. Pure; decoded spans borrow from the input. */
#pragma once
#include "base/buf.h"

enum cose_kind { COSE_SIGN1 = 18, COSE_SIGN = 98, COSE_MAC0 = 17, COSE_MAC = 97 };

enum cose_alg {                                /* facts section 4 */
	COSE_ES256 = -7, COSE_EDDSA = -8, COSE_ESP256 = -9, COSE_ED25519 = -19, COSE_ES384 = -35, COSE_ES512 = -36,
	COSE_PS256 = -37, COSE_PS384 = -38, COSE_PS512 = -39, COSE_HSS_LMS = -46, COSE_ESP384 = -51, COSE_ESP512 = -52,
	COSE_ED448 = -53, COSE_HMAC_256_64 = 4, COSE_HMAC_256 = 5, COSE_HMAC_384 = 6, COSE_HMAC_512 = 7,
};

enum {
	COSE_CHAIN_MAX = 8, COSE_CHAIN_BYTES_MAX = 16 * 1024, COSE_KID_BYTES_MAX = 64, COSE_SIGNERS_MAX = 8,
	COSE_HEADERS_MAX = 32,                 /* parameters of one layer, protected and unprotected together */
	COSE_KEY_PARAMS_MAX = 32,
};

enum cose_problem {                            /* why a message was refused; stable words by cose_problem_text() */
	COSE_OK, COSE_MALFORMED, COSE_WRONG_TAG, COSE_ALG_NOT_PROTECTED, COSE_ALG_MISSING, COSE_ALG_DUPLICATE,
	COSE_ALG_IS_TEXT, COSE_CRIT_UNKNOWN, COSE_LABEL_DUPLICATE, COSE_PAYLOAD_NOT_DETACHED, COSE_CHAIN_TOO_LONG,
	COSE_NOT_TAGGED, COSE_TOO_MANY, COSE_KID_TOO_LONG, COSE_PROBLEM_COUNT,
};
const char *cose_problem_text(enum cose_problem p);
const char *cose_alg_name(int64_t alg);        /* "ESP256"; NULL when not known */

struct cose_headers {
	struct span protected_bytes;           /* content of the bstr, as received; empty when the map is empty (CO-1) */
	bool has_alg;
	int64_t alg;
	struct span kid;                       /* empty = absent */
	struct span x5chain[COSE_CHAIN_MAX];   /* DER, leaf first (label 33) */
	size_t n_x5chain;
	int64_t x5t_alg;                       /* label 34; 0 = absent */
	struct span x5t;
};

struct cose_signer {                           /* a signer of a COSE_Sign (CO-12), or a recipient of a COSE_Mac */
	struct cose_headers headers;           /* of a recipient: alg may stand unprotected, as -6 (direct) does */
	struct span signature;                 /* of a recipient: its ciphertext */
	enum cose_problem problem;             /* this signer's alone; the others stay good */
};

struct cose_message {
	enum cose_kind kind;
	struct cose_headers headers;
	bool is_detached;
	struct span payload;
	struct span signature;                 /* or tag of a Mac0 or Mac; empty for Sign */
	struct cose_signer signers[COSE_SIGNERS_MAX];
	size_t n_signers;
};

enum cose_flags {
	COSE_ALLOW_UNTAGGED = 1,               /* kind is then given by ret->kind on entry */
	COSE_ALLOW_UNPROTECTED_ALG = 2,        /* tests on public vectors only; the daemon never sets it (CO-2) */
	COSE_NEEDS_DETACHED = 4,               /* an attached payload is refused (SU-5) */
};

/* 0 and COSE_OK, or -EBADMSG / -ENOTSUP with *ret_problem saying which rule. Runs cbor_check() on in and on every
 * header inside; in must have passed no check before. On failure *ret is as far as it was read (kind and
 * headers, for a report of what was refused), never to be verified. */
int cose_decode(struct span in, unsigned flags, struct cose_message *ret, enum cose_problem *ret_problem);
/* Sig_structure / MAC_structure. signer NULL for Sign1 and Mac0. payload: the detached or attached content. */
void cose_tbs(const struct cose_message *m, const struct cose_signer *signer, struct span external_aad,
	      struct span payload, struct buf *ret);

struct cose_key {
	int64_t kty;                           /* 1 OKP, 2 EC2, 3 RSA, 4 symmetric, 5 HSS-LMS */
	int64_t alg;                           /* 0 = any that fits */
	int64_t crv;
	struct span kid, x, y, n, e, k, pub;
	bool y_is_sign, y_sign;                /* EC2 compressed point: y is empty, its lowest bit is y_sign */
};
/* 0; -EBADMSG malformed or a needed part missing; -ENOTSUP another kty, a text alg or curve, or key_ops
 * that do not let it verify. */
int cose_key_decode(struct span in, struct cose_key *ret);

/* Tagged, detached COSE_Sign1 or Mac0 around a finished signature or MAC.
 * protected_bytes: encoded map. unprotected: encoded map (a0 when empty). */
void cose_encode_detached(enum cose_kind kind, struct span protected_bytes, struct span unprotected,
			  struct span signature, struct buf *ret);
/* Encoded protected map {1: alg, ?4: kid} and unprotected {?33: x5chain}. */
void cose_put_protected(struct buf *b, int64_t alg, struct span kid);
void cose_put_unprotected(struct buf *b, const struct span *x5chain, size_t n_x5chain);
