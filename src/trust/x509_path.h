/* trust/x509_path.h - certificates: parsing an x5chain, building its path to one vendor's anchors and
 * to no others (RFC 5280; CO-14, RV-18, RV-19), and the addresses where its revocation status is told.
 * OpenSSL types appear here: include it inside trust/ only. No state, any thread. */
#pragma once
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include "codec/cose.h"
#include "trust/trust.h"

enum { X509_AUTH_LEVEL = 2, X509_WHY_BYTES = 200, X509_URLS_MAX = 2 /* of each kind, for one certificate */ };

/* How strict; only tests on old public vectors lower auth_level (SHA-1, RSA-1024). */
struct x509_policy {
	struct wall now;
	bool clock_bad;
	int auth_level;
	uint32_t skew_s, status_age_max_s;
};
struct x509_policy x509_policy_of(const struct trust_facts *facts);

/* In the order of how near they come. */
enum x509_result { X509_PATH_OK, X509_PATH_UNDECIDED /* only the clock is in doubt */, X509_PATH_EXPIRED, X509_PATH_BAD, X509_PATH_NO_ANCHOR };

static inline void x509_freep(X509 **x) { X509_free(*x); }
static inline void x509_stack_freep(STACK_OF(X509) **s) { sk_X509_pop_free(*s, X509_free); }
static inline void x509_store_freep(X509_STORE **s) { X509_STORE_free(*s); }
static inline void x509_ctx_freep(X509_STORE_CTX **c) { X509_STORE_CTX_free(*c); }

/* Leaf first. NULL when one is not exactly one DER certificate. */
STACK_OF(X509) *x509_chain_parse(const struct span *der, size_t n);
/* A store with these anchors alone, our flags, our time. NULL only without memory. */
X509_STORE *x509_store_of(const STACK_OF(X509) *trusted, const struct x509_policy *policy, unsigned long more_flags);
/* ret_chain (leaf first, anchor last; owned) is set on OK and UNDECIDED; why always says what a person needs. */
enum x509_result x509_path_build(X509 *leaf, STACK_OF(X509) *untrusted, const STACK_OF(X509) *trusted,
				 const struct x509_policy *policy, STACK_OF(X509) **ret_chain, char why[static X509_WHY_BYTES]);
/* keyUsage digitalSignature; extended key usage codeSigning when asked, and whenever the extension stands at all. */
bool x509_leaf_may_sign(X509 *leaf, bool require_eku, char why[static X509_WHY_BYTES]);
/* Errors that only say "not written as RFC 5280 asks" where no security hangs on it; used as verify callback. */
int x509_tolerate(int ok, X509_STORE_CTX *ctx);

const char *x509_name_text(const X509_NAME *name, char ret[static TRUST_NAME_BYTES]);    /* printable ASCII, cut */
const char *x509_subject_text(const X509 *x, char ret[static TRUST_NAME_BYTES]);
void x509_key_id(const X509 *x, uint8_t ret[static 20]);
bool x509_time(const ASN1_TIME *t, struct wall *ret);

struct x509_urls {
	char crl[X509_URLS_MAX][TRUST_URL_BYTES];
	char ocsp[X509_URLS_MAX][TRUST_URL_BYTES];
	size_t n_crl, n_ocsp;
};
/* http and https only; anything else in the certificate is left out. */
void x509_urls_of(X509 *x, struct x509_urls *ret);
