#include "trust/anchors.h"

#include <assert.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "base/mem.h"
#include "base/text.h"
#include "trust/cose_verify.h"
#include "trust/x509_path.h"

struct report {                                /* one line for people */
	char *text;
	size_t bytes;
};

static void bio_freep(BIO **b) { BIO_free(*b); }
static void bld_freep(OSSL_PARAM_BLD **b) { OSSL_PARAM_BLD_free(*b); }
static void params_freep(OSSL_PARAM **p) { OSSL_PARAM_free(*p); }
static void pctx_freep(EVP_PKEY_CTX **c) { EVP_PKEY_CTX_free(*c); }
static void bignum_freep(BIGNUM **b) { BN_free(*b); }

static int refuse(const struct report *rep, const struct trust_anchor *a, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int refuse(const struct report *rep, const struct trust_anchor *a, const char *fmt, ...)
{
	char what[160];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap); /* cut on purpose */
	va_end(ap);
	if (rep->text && rep->bytes)
		(void)snprintf(rep->text, rep->bytes, "anchor '%s': %s", a->name, what); /* cut on purpose */
	return -EINVAL;
}

/* COSE_Key to EVP (CO-18: a point that is not on the curve is refused when it is loaded). */
static EVP_PKEY *pkey_of_params(const char *type, OSSL_PARAM_BLD *bld)
{
	_cleanup_(params_freep) OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
	_cleanup_(pctx_freep) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *pkey = NULL;

	if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
		return NULL;
	return pkey;
}

static EVP_PKEY *pkey_of_ec2(const struct cose_key *k)
{
	static const struct { int64_t crv; const char *group; size_t n; } curves[] = { { 1, "P-256", 32 }, { 2, "P-384", 48 }, { 3, "P-521", 66 } };
	_cleanup_(bld_freep) OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	uint8_t point[1 + 2 * 66] = { 0 };

	for (size_t i = 0; bld && i < sizeof(curves) / sizeof(*curves); i++) {
		size_t n = curves[i].n;
		if (curves[i].crv != k->crv || k->x.n != n || k->y.n != (k->y_is_sign ? 0 : n))
			continue;
		point[0] = k->y_is_sign ? (uint8_t)(POINT_CONVERSION_COMPRESSED | k->y_sign) : POINT_CONVERSION_UNCOMPRESSED;
		memcpy(point + 1, k->x.p, n);
		if (!k->y_is_sign)
			memcpy(point + 1 + n, k->y.p, n);
		if (OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, curves[i].group, 0) != 1 ||
		    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + n + k->y.n) != 1)
			return NULL;
		return pkey_of_params("EC", bld);
	}
	return NULL;
}

static EVP_PKEY *pkey_of_rsa(const struct cose_key *k)
{
	_cleanup_(bld_freep) OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	_cleanup_(bignum_freep) BIGNUM *n = k->n.n && k->n.n <= 1024 ? BN_bin2bn(k->n.p, (int)k->n.n, NULL) : NULL;
	_cleanup_(bignum_freep) BIGNUM *e = k->e.n && k->e.n <= 8 ? BN_bin2bn(k->e.p, (int)k->e.n, NULL) : NULL;

	if (!bld || !n || !e || OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) != 1 ||
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e) != 1)
		return NULL;
	return pkey_of_params("RSA", bld);
}

static EVP_PKEY *pkey_of_cose(const struct cose_key *k)
{
	switch (k->kty) {
	case 1:
		if (k->crv != 6 && k->crv != 7)
			return NULL;
		return EVP_PKEY_new_raw_public_key(k->crv == 6 ? EVP_PKEY_ED25519 : EVP_PKEY_ED448, NULL, k->x.p, k->x.n);
	case 2:
		return pkey_of_ec2(k);
	case 3:
		return pkey_of_rsa(k);
	default:
		return NULL;
	}
}

static int take_pkey(struct trust_anchor *a, EVP_PKEY *pkey, const struct report *rep)
{
	unsigned char *der = NULL;

	if (a->pkey || a->certs) {
		EVP_PKEY_free(pkey);
		return refuse(rep, a, a->certs ? "certificates and a bare public key do not mix in one anchor" :
						 "one public key is one anchor; the file holds more");
	}
	a->kind = TRUST_ANCHOR_KEY;
	a->pkey = pkey;
	if (!cose_key_is_acceptable(pkey))
		return refuse(rep, a, "this public key cannot verify updates (EC P-256, P-384, P-521, Ed25519, Ed448, or RSA of 2048 bits and more)");
	int n = i2d_PublicKey(pkey, &der);
	if (n > 0)
		(void)EVP_Q_digest(NULL, "SHA1", NULL, der, (size_t)n, a->key_id, NULL); /* an id, not a check */
	OPENSSL_free(der);
	return 0;
}

static int take_mac(struct trust_anchor *a, struct span key, const struct report *rep)
{
	if (!key.n || key.n > sizeof(a->mac_key))
		return refuse(rep, a, "a MAC key has 1 to %zu bytes, this one %zu", sizeof(a->mac_key), key.n);
	a->kind = TRUST_ANCHOR_MAC;
	memcpy(a->mac_key, key.p, key.n);
	a->n_mac_key = key.n;
	return 0;
}

static int take_cose_key(struct trust_anchor *a, const struct cose_key *k, const struct report *rep)
{
	if (k->kid.n > sizeof(a->kid))
		return refuse(rep, a, "the COSE_Key's kid is longer than %zu bytes", sizeof(a->kid));
	if (k->kid.n)
		memcpy(a->kid, k->kid.p, k->kid.n);
	a->n_kid = k->kid.n;
	a->alg = k->alg;
	if (k->kty == 4)
		return take_mac(a, k->k, rep);
	if (k->kty == 5)
		return refuse(rep, a, "HSS-LMS keys are not supported yet");
	EVP_PKEY *pkey = pkey_of_cose(k);
	if (!pkey)
		return refuse(rep, a, "the COSE_Key is not a usable public key (type %lld, curve %lld)", (long long)k->kty, (long long)k->crv);
	return take_pkey(a, pkey, rep);
}

static int take_cert(struct trust_anchor *a, X509 *x, const struct report *rep)
{
	if (a->pkey) {
		X509_free(x);
		return refuse(rep, a, "certificates and a bare public key do not mix in one anchor");
	}
	if (!a->certs)
		a->certs = sk_X509_new_null();
	a->kind = TRUST_ANCHOR_X509;
	if (!a->certs || sk_X509_num(a->certs) >= ANCHOR_CERTS_MAX || !sk_X509_push(a->certs, x)) {
		X509_free(x);
		return refuse(rep, a, "more than %d certificates", ANCHOR_CERTS_MAX);
	}
	return 0;
}

static int take_pem_block(struct trust_anchor *a, const char *label, struct span der, const struct report *rep)
{
	const unsigned char *p = der.p;

	if (strcmp(label, PEM_STRING_X509) == 0 || strcmp(label, PEM_STRING_X509_OLD) == 0 || strcmp(label, PEM_STRING_X509_TRUSTED) == 0) {
		X509 *x = d2i_X509(NULL, &p, (long)der.n);
		return x ? take_cert(a, x, rep) : refuse(rep, a, "a certificate in the file does not parse");
	}
	if (strcmp(label, PEM_STRING_PUBLIC) == 0) {
		EVP_PKEY *pkey = d2i_PUBKEY(NULL, &p, (long)der.n);
		return pkey ? take_pkey(a, pkey, rep) : refuse(rep, a, "the public key in the file does not parse");
	}
	if (strstr(label, "PRIVATE KEY"))
		return refuse(rep, a, "the file holds a private key; give the certificate or the public key, and keep that one away from the gateway");
	return 0; /* parameters and the like */
}

static int take_pem(struct trust_anchor *a, struct span pem, const struct report *rep)
{
	_cleanup_(bio_freep) BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
	char *label = NULL, *header = NULL;
	unsigned char *data = NULL;
	long n = 0;
	int r = 0;

	while (bio && r == 0 && PEM_read_bio(bio, &label, &header, &data, &n) == 1) {
		r = take_pem_block(a, label, SPAN(data, (size_t)n), rep);
		OPENSSL_free(label);
		OPENSSL_free(header);
		OPENSSL_clear_free(data, (size_t)n);
	}
	return r;
}

static int take_der(struct trust_anchor *a, struct span der, const struct report *rep)
{
	const unsigned char *p = der.p;
	X509 *x = d2i_X509(NULL, &p, (long)der.n);

	if (x)
		return take_cert(a, x, rep);
	p = der.p;
	EVP_PKEY *pkey = d2i_PUBKEY(NULL, &p, (long)der.n);
	return pkey ? take_pkey(a, pkey, rep) : 0;
}

static int take_material(struct trust_anchor *a, const struct trust_anchor_config *c, const struct report *rep)
{
	struct cose_key key;
	int r = 0;

	if (c->mac_key.n && c->pem.n)
		return refuse(rep, a, "either a key file or a MAC key, not both");
	if (c->mac_key.n)
		return take_mac(a, c->mac_key, rep);
	if (c->pem.n > ANCHOR_PEM_BYTES_MAX)
		return refuse(rep, a, "the file is larger than %d bytes", ANCHOR_PEM_BYTES_MAX);
	if (!c->pem.n)
		return refuse(rep, a, "the file is empty");
	if (c->pem.p[0] == 0x30)
		r = take_der(a, c->pem, rep);
	else if (cose_key_decode(c->pem, &key) == 0)
		return take_cose_key(a, &key, rep);
	else
		r = take_pem(a, c->pem, rep);
	if (r == 0 && !a->certs && !a->pkey)
		return refuse(rep, a, "neither a PEM certificate, a PEM public key nor a COSE_Key");
	return r;
}

static int take_ids(struct trust_anchor *a, const char *const *texts, const char *what, uint8_t ids[][16], size_t *n, bool *any,
		    const struct report *rep)
{
	for (; texts && *texts; texts++) {
		if (strcasecmp(*texts, "any") == 0) {
			*any = true;
			continue;
		}
		if (*n >= TRUST_ANCHOR_IDS_MAX)
			return refuse(rep, a, "more than %d %s ids", TRUST_ANCHOR_IDS_MAX, what);
		if (text_parse_uuid(span_str(*texts), ids[*n]) < 0)
			return refuse(rep, a, "%s id '%.64s' is not a UUID, as in fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe", what, *texts);
		(*n)++;
	}
	return 0;
}

static int take_hosts(struct trust_anchor *a, const char *const *hosts, const struct report *rep)
{
	size_t n = 0;

	for (; hosts && *hosts; hosts++) {
		size_t len = strlen(*hosts);
		if (n >= TRUST_ANCHOR_HOSTS_MAX)
			return refuse(rep, a, "more than %d hosts", TRUST_ANCHOR_HOSTS_MAX);
		if (!len || len >= ANCHOR_HOST_BYTES || strpbrk(*hosts, "/@ "))
			return refuse(rep, a, "'%.64s' is not a host name; give the name alone, without scheme, path or user", *hosts);
		a->hosts[n++] = mem_strdup(*hosts);
	}
	return 0;
}

static int anchor_init(struct trust_anchor *a, const struct trust_anchor_config *c, const struct report *rep)
{
	(void)snprintf(a->name, sizeof(a->name), "%s", c->name ? c->name : ""); /* cut on purpose */
	if (!a->name[0])
		return refuse(rep, a, "an anchor needs a name");
	a->mode = c->mode;
	a->grace_s = c->grace_s;
	a->require_eku_code_signing = c->require_eku_code_signing;
	a->requires_no_identity = c->requires_no_identity;
	int r = take_material(a, c, rep);
	if (r == 0)
		r = take_ids(a, c->vendor_ids, "vendor", a->vendor_ids, &a->n_vendor_ids, &a->any_vendor, rep);
	if (r == 0)
		r = take_ids(a, c->class_ids, "class", a->class_ids, &a->n_class_ids, &a->any_class, rep);
	if (r == 0)
		r = take_hosts(a, c->hosts, rep);
	a->any_class = a->any_class || a->n_class_ids == 0;
	return r;
}

static void anchor_done(struct trust_anchor *a)
{
	sk_X509_pop_free(a->certs, X509_free);
	EVP_PKEY_free(a->pkey);
	mem_wipe(a->mac_key, sizeof(a->mac_key));
	for (size_t i = 0; i < TRUST_ANCHOR_HOSTS_MAX; i++)
		free(a->hosts[i]);
}

int trust_anchors_build(const struct trust_anchor_config *configs, size_t n, struct trust_anchors **ret, char *error, size_t error_bytes)
{
	const struct report rep = { error, error_bytes };

	if (error && error_bytes)
		error[0] = 0;
	if (n > TRUST_ANCHORS_MAX) {
		if (error && error_bytes)
			(void)snprintf(error, error_bytes, "%zu anchors, the limit is %d", n, TRUST_ANCHORS_MAX); /* cut on purpose */
		return -EINVAL;
	}
	_cleanup_(trust_anchors_unrefp) struct trust_anchors *set =
		mem_new(1, sizeof(struct trust_anchors) + n * sizeof(struct trust_anchor));
	atomic_init(&set->refs, 1);
	for (size_t i = 0; i < n; i++) {
		set->n = i + 1;
		int r = anchor_init(&set->items[i], &configs[i], &rep);
		for (size_t k = 0; r == 0 && k < i; k++) {
			if (strcmp(set->items[k].name, set->items[i].name) == 0)
				r = refuse(&rep, &set->items[i], "the name stands twice");
		}
		ERR_clear_error();
		if (r < 0)
			return r;
	}
	*ret = TAKE(set);
	return 0;
}

struct trust_anchors *trust_anchors_ref(struct trust_anchors *a)
{
	if (a)
		atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
	return a;
}

struct trust_anchors *trust_anchors_unref(struct trust_anchors *a)
{
	if (!a || atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	for (size_t i = 0; i < a->n; i++)
		anchor_done(&a->items[i]);
	free(a);
	return NULL;
}

size_t trust_anchors_n(const struct trust_anchors *a)
{
	return a ? a->n : 0;
}

static void info_of_certs(const struct trust_anchor *a, struct trust_anchor_info *ret)
{
	struct wall t;

	x509_subject_text(sk_X509_value(a->certs, 0), ret->subject);
	for (int i = 0; i < sk_X509_num(a->certs); i++) {
		if (x509_time(X509_get0_notAfter(sk_X509_value(a->certs, i)), &t) && (!ret->not_after.ms || wall_before(t, ret->not_after)))
			ret->not_after = t;
	}
}

bool trust_anchors_info(const struct trust_anchors *a, size_t i, struct trust_anchor_info *ret)
{
	char hex[2 * 20 + 1];

	if (i >= trust_anchors_n(a))
		return false;
	const struct trust_anchor *item = &a->items[i];
	*ret = (struct trust_anchor_info){ .name = item->name, .kind = item->kind };
	switch (item->kind) {
	case TRUST_ANCHOR_X509:
		info_of_certs(item, ret);
		break;
	case TRUST_ANCHOR_KEY:
		(void)snprintf(ret->subject, sizeof(ret->subject), "%s key %s", cose_alg_name(cose_alg_for_key(item->pkey)),
			       text_hex(SPAN_OF(item->key_id), hex)); /* fits */
		break;
	case TRUST_ANCHOR_MAC:
		(void)snprintf(ret->subject, sizeof(ret->subject), "symmetric key"); /* fits */
		break;
	}
	ERR_clear_error();
	return true;
}

static bool has_id(const uint8_t ids[][16], size_t n, struct span id)
{
	for (size_t i = 0; i < n; i++) {
		if (span_eq(id, SPAN(ids[i], 16)))
			return true;
	}
	return false;
}

bool trust_anchor_allows_vendor(const struct trust_anchor *a, struct span vendor_id)
{
	return a->any_vendor || has_id(a->vendor_ids, a->n_vendor_ids, vendor_id);
}

bool trust_anchor_allows_class(const struct trust_anchor *a, struct span class_id)
{
	return a->any_class || has_id(a->class_ids, a->n_class_ids, class_id);
}
