/* trust/anchors.h - the configured anchors as key material; inside of trust/ only. Immutable once built, so
 * any number of worker threads may use one at a time; OpenSSL counts its own references atomically. */
#pragma once
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdatomic.h>

#include "trust/trust.h"

enum { ANCHOR_CERTS_MAX = 16, ANCHOR_KEY_BYTES_MAX = 64, ANCHOR_HOST_BYTES = 256, ANCHOR_PEM_BYTES_MAX = 256 * 1024 };

struct trust_anchor {
	char name[TRUST_NAME_BYTES];
	enum trust_anchor_kind kind;
	STACK_OF(X509) *certs;                 /* X509: owned */
	EVP_PKEY *pkey;                        /* KEY: owned */
	int64_t alg;                           /* a COSE_Key's own restriction; 0 = any that fits */
	uint8_t kid[ANCHOR_KEY_BYTES_MAX];     /* a COSE_Key's kid */
	size_t n_kid;
	uint8_t mac_key[ANCHOR_KEY_BYTES_MAX * 2];
	size_t n_mac_key;
	uint8_t key_id[20];                    /* KEY: SHA-1 of the public key, as a subject key id would be */
	bool any_vendor, any_class;
	uint8_t vendor_ids[TRUST_ANCHOR_IDS_MAX][16], class_ids[TRUST_ANCHOR_IDS_MAX][16];
	size_t n_vendor_ids, n_class_ids;
	char *hosts[TRUST_ANCHOR_HOSTS_MAX + 1];       /* NULL-terminated */
	enum revocation_mode mode;
	uint32_t grace_s;
	bool require_eku_code_signing, requires_no_identity;
};

struct trust_anchors {
	atomic_uint refs;
	size_t n;
	struct trust_anchor items[];
};

bool trust_anchor_allows_vendor(const struct trust_anchor *a, struct span vendor_id);
bool trust_anchor_allows_class(const struct trust_anchor *a, struct span class_id);
