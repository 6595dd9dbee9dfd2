#include "trust/sign.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>

#include "base/mem.h"
#include "trust/cose_verify.h"
#include "trust/x509_path.h"

struct sign_key {
	EVP_PKEY *pkey;
	int64_t alg;
};

static void bio_freep(BIO **b) { BIO_free(*b); }
static void pkey_freep(EVP_PKEY **p) { EVP_PKEY_free(*p); }

static const struct { const char *name, *type, *group; } kinds[SIGN_KIND_COUNT] = {
	[SIGN_P256] = { "p256", "EC", "P-256" },
	[SIGN_P384] = { "p384", "EC", "P-384" },
	[SIGN_ED25519] = { "ed25519", "ED25519", NULL },
};

const char *sign_key_kind_name(enum sign_key_kind k)
{
	return (unsigned)k < SIGN_KIND_COUNT ? kinds[k].name : "";
}

int sign_key_kind_parse(struct span s, enum sign_key_kind *ret)
{
	for (unsigned i = 0; i < SIGN_KIND_COUNT; i++) {
		if (span_eq_str(s, kinds[i].name)) {
			*ret = (enum sign_key_kind)i;
			return 0;
		}
	}
	return -EBADMSG;
}

static int pem_take(BIO *bio, struct buf *ret)
{
	char *p = NULL;
	long n = BIO_get_mem_data(bio, &p);

	if (n <= 0)
		return -EINVAL;
	buf_add(ret, SPAN(p, (size_t)n));
	return buf_ok(ret) ? 0 : -ENOMEM;
}

static int public_pem(EVP_PKEY *pkey, struct buf *ret)
{
	_cleanup_(bio_freep) BIO *bio = BIO_new(BIO_s_mem());
	int r = bio && PEM_write_bio_PUBKEY(bio, pkey) == 1 ? pem_take(bio, ret) : -EINVAL;

	ERR_clear_error();
	return r;
}

static int private_pem_of(EVP_PKEY *pkey, struct buf *ret)
{
	_cleanup_(bio_freep) BIO *bio = BIO_new(BIO_s_secmem());
	int r = bio && PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) == 1 ? pem_take(bio, ret) : -EINVAL;

	ERR_clear_error();
	return r;
}

int sign_key_generate(enum sign_key_kind kind, struct buf *ret_private_pem, struct buf *ret_public_pem)
{
	if ((unsigned)kind >= SIGN_KIND_COUNT)
		return -EINVAL;
	_cleanup_(pkey_freep) EVP_PKEY *pkey = kinds[kind].group ? EVP_PKEY_Q_keygen(NULL, NULL, kinds[kind].type, kinds[kind].group)
								  : EVP_PKEY_Q_keygen(NULL, NULL, kinds[kind].type);
	if (!pkey) {
		ERR_clear_error();
		return -EINVAL;
	}
	int r = private_pem_of(pkey, ret_private_pem);
	return r < 0 ? r : public_pem(pkey, ret_public_pem);
}

static int no_password(char *buf, int size, int rwflag, void *userdata)
{
	(void)buf, (void)size, (void)rwflag, (void)userdata;
	return -1; /* never ask at a terminal */
}

static void say(char *error, size_t error_bytes, const char *text)
{
	if (error && error_bytes)
		(void)snprintf(error, error_bytes, "%s", text); /* cut on purpose */
}

int sign_key_load(struct span private_pem, int64_t alg, struct sign_key **ret, char *error, size_t error_bytes)
{
	_cleanup_(bio_freep) BIO *bio = private_pem.n && private_pem.n <= INT32_MAX ? BIO_new_mem_buf(private_pem.p, (int)private_pem.n) : NULL;
	_cleanup_(pkey_freep) EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;

	ERR_clear_error();
	if (!pkey) {
		say(error, error_bytes, "not an unencrypted PEM private key");
		return -EBADMSG;
	}
	int64_t own = cose_alg_for_key(pkey);
	if (!own) {
		say(error, error_bytes, "this key cannot sign updates (EC P-256, P-384, P-521, Ed25519, Ed448, or RSA of 2048 bits and more)");
		return -EBADMSG;
	}
	if (alg && !cose_alg_fits(alg, pkey)) {
		say(error, error_bytes, "the algorithm does not fit this key");
		return -ENOTSUP;
	}
	*ret = NEW(struct sign_key);
	(*ret)->pkey = TAKE(pkey);
	(*ret)->alg = alg ? alg : own;
	return 0;
}

struct sign_key *sign_key_free(struct sign_key *k)
{
	if (k)
		EVP_PKEY_free(k->pkey);
	free(k);
	return NULL;
}

int64_t sign_key_alg(const struct sign_key *k)
{
	return k->alg;
}

int sign_key_public_pem(const struct sign_key *k, struct buf *ret)
{
	return public_pem(k->pkey, ret);
}

/* PEM chain to DER spans that lie in der. */
static int chain_to_der(const struct sign_key *key, struct span pem, struct buf *der, struct span chain[static COSE_CHAIN_MAX], size_t *ret_n)
{
	_cleanup_(bio_freep) BIO *bio = pem.n <= INT32_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
	size_t ends[COSE_CHAIN_MAX], n = 0;
	X509 *x;
	int r = bio ? 0 : -EBADMSG;

	while (r == 0 && (x = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
		int bytes = i2d_X509(x, NULL);
		unsigned char *p = bytes > 0 && n < COSE_CHAIN_MAX ? buf_grow(der, (size_t)bytes) : NULL;
		if (!p || i2d_X509(x, &p) != bytes)
			r = -EBADMSG;
		else if (n == 0 && EVP_PKEY_eq(X509_get0_pubkey(x), key->pkey) != 1)
			r = -EKEYREJECTED;
		else
			ends[n++] = der->n;
		X509_free(x);
	}
	ERR_clear_error();
	if (r < 0 || n == 0 || der->n > COSE_CHAIN_BYTES_MAX)
		return r < 0 ? r : -EBADMSG;
	for (size_t i = 0, at = 0; i < n; at = ends[i++])
		chain[i] = SPAN(der->p + at, ends[i] - at);
	*ret_n = n;
	return 0;
}

int sign_auth_digest(const struct sign_key *key, struct span chain_pem, struct span kid, struct span auth_digest_bytes,
		     struct buf *ret, char *error, size_t error_bytes)
{
	_cleanup_buf_ struct buf protected_map = { 0 }, unprotected = { 0 }, der = { 0 }, tbs = { 0 }, signature = { 0 };
	struct span chain[COSE_CHAIN_MAX];
	size_t n_chain = 0;

	if (kid.n > COSE_KID_BYTES_MAX) {
		say(error, error_bytes, "the key id is too long");
		return -EINVAL;
	}
	int r = chain_pem.n ? chain_to_der(key, chain_pem, &der, chain, &n_chain) : 0;
	if (r < 0) {
		say(error, error_bytes, r == -EKEYREJECTED ? "the first certificate of the chain is not this key's" :
							     "the chain is not PEM certificates, signer first, at most 8 and 16 KiB");
		return r;
	}
	cose_put_protected(&protected_map, key->alg, kid);
	cose_put_unprotected(&unprotected, chain, n_chain);
	struct cose_message m = { .kind = COSE_SIGN1, .headers = { .protected_bytes = buf_span(&protected_map) }, .is_detached = true };
	cose_tbs(&m, NULL, SPAN_NONE, auth_digest_bytes, &tbs);
	r = cose_sign_raw(key->pkey, key->alg, buf_span(&tbs), &signature);
	if (r < 0) {
		say(error, error_bytes, "the key did not sign");
		return r;
	}
	cose_encode_detached(COSE_SIGN1, buf_span(&protected_map), buf_span(&unprotected), buf_span(&signature), ret);
	return buf_ok(ret) && buf_ok(&tbs) ? 0 : -ENOMEM;
}
