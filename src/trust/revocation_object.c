/* What was fetched: may it be kept? */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>

#include "trust/revocation_status.h"

static void crl_freep(X509_CRL **c) { X509_CRL_free(*c); }
static void basic_freep(OCSP_BASICRESP **b) { OCSP_BASICRESP_free(*b); }
static void request_freep(OCSP_REQUEST **r) { OCSP_REQUEST_free(*r); }
static void integer_freep(ASN1_INTEGER **i) { ASN1_INTEGER_free(*i); }

static int why(struct revocation_object_info *info, int r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int why(struct revocation_object_info *info, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(info->why, sizeof(info->why), fmt, ap); /* cut on purpose */
	va_end(ap);
	return r;
}

static void info_times(struct revocation_object_info *info, struct wall from, struct wall to, struct wall now)
{
	info->this_update = from;
	info->next_update = to;
	info->refresh_at = from;
	if (to.ms > from.ms)
		info->refresh_at.ms = from.ms + (to.ms - from.ms) / 2;
	info->is_current = to.ms == 0 || wall_before(now, to);
}

static int over_limit(enum revocation_kind kind, struct span der, struct revocation_object_info *info)
{
	size_t max = kind == REVOCATION_CRL ? REVOCATION_CRL_BYTES_MAX : REVOCATION_OCSP_BYTES_MAX;

	return der.n > max ? why(info, -EMSGSIZE, "%zu bytes, the limit is %zu", der.n, max) : 0;
}

/* ---- CRLs ---- */

/* Of base CRLs by number when both have one, else by date; a delta and a base do not compare. */
static int crl_order(const struct crl_item *a, const struct crl_item *b)
{
	_cleanup_(integer_freep) ASN1_INTEGER *na = X509_CRL_get_ext_d2i(a->crl, NID_crl_number, NULL, NULL);
	_cleanup_(integer_freep) ASN1_INTEGER *nb = X509_CRL_get_ext_d2i(b->crl, NID_crl_number, NULL, NULL);
	int by_date = (a->this_update.ms > b->this_update.ms) - (a->this_update.ms < b->this_update.ms);

	if (!na || !nb || a->is_delta != b->is_delta)
		return by_date;
	int by_number = ASN1_INTEGER_cmp(na, nb);
	return by_number ? by_number : by_date;
}

static int crl_check(const struct revocation_path *p, struct span fetched, struct span stored, struct revocation_object_info *info)
{
	struct crl_item item, old;
	_cleanup_(crl_freep) X509_CRL *crl = revocation_crl_parse(fetched, &item), *kept = NULL;
	const X509 *issuer = NULL;

	if (!crl)
		return why(info, -EBADMSG, "not a CRL");
	info_times(info, item.this_update, item.next_update, p->policy->now);
	(void)x509_name_text(X509_CRL_get_issuer(crl), info->issuer);
	int r = revocation_crl_is_signed(p, crl, &issuer);
	if (r == -ENOKEY)
		return why(info, r, "the CRL is of '%s', which is not the issuer that was asked for", info->issuer);
	if (r == 0)
		return why(info, -EKEYREJECTED, "the signature on the CRL of '%s' is wrong or too weak", info->issuer);
	kept = stored.n ? revocation_crl_parse(stored, &old) : NULL;
	if (!kept || revocation_crl_is_signed(p, kept, &issuer) != 1)
		return 0;
	int order = crl_order(&item, &old);
	if (order < 0)
		return why(info, -ESTALE, "the CRL of '%s' is older than the one in hand", info->issuer);
	return order == 0 && span_eq(fetched, stored) ? 1 : 0;
}

/* ---- OCSP ---- */

/* The serial number that was asked about, in the request's own id. */
static const ASN1_INTEGER *asked_serial(OCSP_REQUEST *req)
{
	ASN1_INTEGER *serial = NULL;
	OCSP_ONEREQ *one = req && OCSP_request_onereq_count(req) == 1 ? OCSP_request_onereq_get0(req, 0) : NULL;

	if (!one || OCSP_id_get0_info(NULL, NULL, NULL, &serial, OCSP_onereq_get0_id(one)) != 1)
		return NULL;
	return serial;
}

/* The answer in der that counts: about the certificate asked for, rightly signed. */
static int ocsp_read(const struct revocation_path *p, const ASN1_INTEGER *serial, OCSP_BASICRESP *bs, struct revocation_object_info *info,
		     struct wall *ret_this, struct wall *ret_next)
{
	char reason[X509_WHY_BYTES] = "";
	OCSP_SINGLERESP *single = revocation_ocsp_find(bs, serial, sk_X509_value(p->chain, 0));

	if (!single || !revocation_ocsp_times(single, ret_this, ret_next))
		return why(info, -ENOKEY, "the OCSP answer is not about the certificate that was asked for");
	if (!revocation_ocsp_is_signed(p, bs, reason))
		return why(info, -EKEYREJECTED, "%s", reason);
	return 0;
}

static int ocsp_check(const struct revocation_path *p, const struct revocation_need *need, struct span fetched, struct span stored,
		      struct revocation_object_info *info)
{
	const unsigned char *at = need->ocsp_request;
	_cleanup_(request_freep) OCSP_REQUEST *req = d2i_OCSP_REQUEST(NULL, &at, (long)need->n_ocsp_request);
	_cleanup_(basic_freep) OCSP_BASICRESP *bs = revocation_ocsp_parse(fetched), *kept = NULL;
	struct revocation_object_info ignored;
	const ASN1_INTEGER *serial = asked_serial(req);
	struct wall from, to, old_from, old_to;

	if (!bs || !serial)
		return why(info, -EBADMSG, "not a successful OCSP answer");
	(void)x509_subject_text(sk_X509_value(p->chain, 0), info->issuer);
	int r = ocsp_read(p, serial, bs, info, &from, &to);
	if (r < 0)
		return r;
	info_times(info, from, to, p->policy->now);
	kept = stored.n ? revocation_ocsp_parse(stored) : NULL;
	if (!kept || ocsp_read(p, serial, kept, &ignored, &old_from, &old_to) < 0)
		return 0;
	if (wall_before(from, old_from))
		return why(info, -ESTALE, "the OCSP answer is older than the one in hand (a replay?)");
	return span_eq(fetched, stored) ? 1 : 0;
}

static int check(const struct revocation_need *need, struct wall now, bool clock_bad, struct span fetched, struct span stored,
		 struct revocation_object_info *info)
{
	const struct x509_policy policy = { .now = now, .clock_bad = clock_bad, .auth_level = X509_AUTH_LEVEL, .skew_s = TRUST_SKEW_S_DEFAULT };
	static const struct revocation_set empty;
	struct span issuer = SPAN(need->issuer, need->n_issuer);
	int r = over_limit(need->kind, fetched, info);

	if (r < 0)
		return r;
	_cleanup_(x509_stack_freep) STACK_OF(X509) *chain = need->n_issuer ? x509_chain_parse(&issuer, 1) : NULL;
	if (!chain)
		return why(info, -ENOKEY, "the issuer's certificate is not known");
	const struct revocation_path p = { .set = &empty, .chain = chain, .trusted = chain, .policy = &policy };
	r = need->kind == REVOCATION_CRL ? crl_check(&p, fetched, stored, info) : ocsp_check(&p, need, fetched, stored, info);
	if (r >= 0 && !clock_bad && info->this_update.ms > now.ms + (int64_t)policy.skew_s * 1000)
		return why(info, -ETIME, "it is dated in the future");
	return r;
}

int revocation_object_check(const struct revocation_need *need, struct wall now, bool clock_bad, struct span fetched,
			    struct span stored, struct revocation_object_info *ret)
{
	struct revocation_object_info info = { 0 };
	int r = check(need, now, clock_bad, fetched, stored, &info);

	ERR_clear_error();
	if (ret)
		*ret = info;
	return r;
}

static int read_alone(enum revocation_kind kind, struct span der, struct wall now, struct revocation_object_info *info)
{
	struct wall from, to;
	int r = over_limit(kind, der, info);

	if (r < 0)
		return r;
	if (kind == REVOCATION_CRL) {
		struct crl_item item;
		_cleanup_(crl_freep) X509_CRL *crl = revocation_crl_parse(der, &item);
		if (!crl)
			return why(info, -EBADMSG, "not a CRL");
		(void)x509_name_text(X509_CRL_get_issuer(crl), info->issuer);
		info_times(info, item.this_update, item.next_update, now);
		return 0;
	}
	_cleanup_(basic_freep) OCSP_BASICRESP *bs = revocation_ocsp_parse(der);
	if (!bs || OCSP_resp_count(bs) < 1 || !revocation_ocsp_times(OCSP_resp_get0(bs, 0), &from, &to))
		return why(info, -EBADMSG, "not a successful OCSP answer");
	info_times(info, from, to, now);
	return 0;
}

int revocation_object_read(enum revocation_kind kind, struct span der, struct wall now, struct revocation_object_info *ret)
{
	struct revocation_object_info info = { 0 };
	int r = read_alone(kind, der, now, &info);

	ERR_clear_error();
	if (ret)
		*ret = info;
	return r;
}
