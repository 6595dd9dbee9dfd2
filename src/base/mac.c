#include "base/mac.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdlib.h>

#include "base/mem.h"

struct mac_cmac {
	EVP_MAC_CTX *ctx;              /* keyed; starting anew with no key keeps it */
};

static EVP_MAC_CTX *cmac_context(const uint8_t *key)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, (char *)"AES-128-CBC", 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "CMAC", NULL);
	EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;

	EVP_MAC_free(mac); /* the context holds its own reference */
	if (!ctx || EVP_MAC_init(ctx, key, MAC_CMAC_KEY_BYTES, params) != 1)
		abort();
	return ctx;
}

struct mac_cmac *mac_cmac_new(const uint8_t key[static MAC_CMAC_KEY_BYTES])
{
	struct mac_cmac *m = NEW(struct mac_cmac);

	m->ctx = cmac_context(key);
	return m;
}

struct mac_cmac *mac_cmac_free(struct mac_cmac *m)
{
	if (m) {
		EVP_MAC_CTX_free(m->ctx); /* OpenSSL wipes the key schedule */
		free(m);
	}
	return NULL;
}

void mac_cmac_tag(struct mac_cmac *m, struct span a, struct span b, uint8_t ret[static MAC_CMAC_BYTES])
{
	size_t n = 0;

	if (EVP_MAC_init(m->ctx, NULL, 0, NULL) != 1 || (a.n && EVP_MAC_update(m->ctx, a.p, a.n) != 1) ||
	    (b.n && EVP_MAC_update(m->ctx, b.p, b.n) != 1) || EVP_MAC_final(m->ctx, ret, &n, MAC_CMAC_BYTES) != 1 ||
	    n != MAC_CMAC_BYTES)
		abort();
}

void mac_cmac_once(const uint8_t key[static MAC_CMAC_KEY_BYTES], struct span a, struct span b, uint8_t ret[static MAC_CMAC_BYTES])
{
	struct mac_cmac *m = mac_cmac_new(key);

	mac_cmac_tag(m, a, b, ret);
	mac_cmac_free(m);
}

void mac_hkdf_sha256(struct span salt, struct span ikm, struct span info, uint8_t *ret, size_t n)
{
	static uint8_t nothing;        /* OpenSSL wants an address also for 0 bytes */
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, ikm.n ? (void *)(uintptr_t)ikm.p : &nothing, ikm.n),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.n ? (void *)(uintptr_t)info.p : &nothing, info.n),
		salt.n ? OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt.p, salt.n) : OSSL_PARAM_construct_end(),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;

	assert(n > 0 && n <= MAC_HKDF_BYTES_MAX);
	EVP_KDF_free(kdf);
	if (!ctx || EVP_KDF_derive(ctx, ret, n, params) != 1)
		abort();
	EVP_KDF_CTX_free(ctx);
}
