/* tests/trust/pki.h - a small PKI made on the spot: certificates, CRLs, OCSP answers and envelopes signed
 * under them, with times as the test wants them. Everything asserts. */
#pragma once
#include <openssl/x509.h>

#include "help.h"

enum { PKI_NOW_S = 1790000000, PKI_DAY_S = 86400 };      /* 2026-09-21 */

struct pki_cert {
	EVP_PKEY *key;
	X509 *x;
};

struct pki_spec {
	const char *cn;
	int64_t from_s, to_s;                  /* 0 = a year before and after PKI_NOW_S */
	bool is_ca;
	const char *key_usage;                 /* OpenSSL's syntax; NULL = the usual one */
	const char *eku;                       /* NULL = none */
	const char *crl_url, *ocsp_url;        /* NULL = none */
	const char *key_type;                  /* "P-256" (NULL), "P-384", "ED25519", "RSA" (1024) */
	bool nocheck;
	const char *name_constraints;
};

struct pki_crl_spec {
	int64_t this_s, next_s;                /* this 0 = an hour before PKI_NOW_S; next 0 = in a day, -1 = none */
	long number;                           /* 0 = 1 */
	const struct pki_cert *revoked[4];
	int64_t revoked_s;                     /* 0 = a day before PKI_NOW_S */
	int reason;                            /* CRLReason; 0 = none given */
};

struct pki_ocsp_spec {
	int status;                            /* V_OCSP_CERTSTATUS_* */
	int64_t this_s, next_s;                /* as above */
	int reason;
	const struct pki_cert *responder;      /* NULL = the issuer itself */
	const EVP_MD *id_md;                   /* NULL = SHA-1 */
};

void pki_issue(const struct pki_cert *issuer, const struct pki_spec *spec, struct pki_cert *ret);
void pki_done(struct pki_cert *c);
void pki_crl(const struct pki_cert *issuer, const struct pki_crl_spec *spec, struct buf *ret_der);
void pki_ocsp(const struct pki_cert *issuer, const struct pki_cert *subject, const struct pki_ocsp_spec *spec, struct buf *ret_der);
void pki_pem(const struct pki_cert *const *certs, size_t n, struct buf *ret);
void pki_key_pem(const struct pki_cert *c, struct buf *ret);

struct pki_update {
	uint64_t sequence;
	const char *vendor, *class_info;       /* UUID text; NULL = acme's and a class of it; "" = leave out */
	const char *uri;                       /* NULL = https://fw.acme.example/a.bin */
	const char *reference_uri;             /* NULL = none */
	bool has_use_before;
	int64_t use_before_s;
	uint64_t bytes;                        /* 0 = 1000 */
};
extern const char pki_vendor_acme[], pki_vendor_other[], pki_class_a[];

/* An envelope signed by signer with x5chain of n certificates (n 0 = none, signed by a bare key). */
void pki_envelope(const struct pki_cert *signer, const struct pki_cert *const *chain, size_t n, const struct pki_update *u,
		  struct buf *ret);
