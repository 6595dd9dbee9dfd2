/* trust/sign.h - the author's side: keys, and the COSE_Sign1 over an auth digest that
 * suit_envelope_encode() takes. For `dormousectl author` and tests; the daemon holds no signing key.
 * Encrypted key files are refused, not asked for. No state. */
#pragma once
#include "codec/cose.h"
#include "codec/suit.h"

enum sign_key_kind { SIGN_P256, SIGN_P384, SIGN_ED25519, SIGN_KIND_COUNT };
const char *sign_key_kind_name(enum sign_key_kind k);          /* "p256", "p384", "ed25519" */
int sign_key_kind_parse(struct span s, enum sign_key_kind *ret);

/* PKCS #8 private key and public key as PEM. The caller wipes the private one. 0; -EINVAL. */
int sign_key_generate(enum sign_key_kind kind, struct buf *ret_private_pem, struct buf *ret_public_pem);

struct sign_key;
/* alg 0: the key's own (P-256: ESP256, P-384: ESP384, P-521: ESP512, Ed25519, RSA: PS256). error: for people.
 * -EBADMSG not a usable private key; -ENOTSUP alg does not fit it. */
int sign_key_load(struct span private_pem, int64_t alg, struct sign_key **ret, char *error, size_t error_bytes);
struct sign_key *sign_key_free(struct sign_key *k);
static inline void sign_key_freep(struct sign_key **k) { sign_key_free(*k); }
int64_t sign_key_alg(const struct sign_key *k);
int sign_key_public_pem(const struct sign_key *k, struct buf *ret);

/**
 * A tagged, detached COSE_Sign1 over an auth digest (content of auth[0]).
 *
 * chain_pem  certificates, signer first, for x5chain; empty = none. The first must be the key's own.
 * kid        empty = none
 * Returns 0; -EBADMSG chain does not parse or is too long, -EKEYREJECTED it is not this key's, -EINVAL.
 */
int sign_auth_digest(const struct sign_key *key, struct span chain_pem, struct span kid, struct span auth_digest_bytes,
		     struct buf *ret, char *error, size_t error_bytes);
