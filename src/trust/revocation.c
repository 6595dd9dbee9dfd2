#include "trust/revocation.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "base/mem.h"
#include "trust/revocation_status.h"
#include "trust/rule.h"

enum rule_outcome revocation_decide(enum revocation_mode mode, enum revocation_status s, bool within_grace)
{
	static const uint8_t table[3][REVOCATION_STATUS_COUNT] = {
		/*                      good       revoked    unknown         no answer       stale           clock bad */
		[REVOCATION_HARD]  = { RULE_PASS, RULE_FAIL, RULE_UNDECIDED, RULE_UNDECIDED, RULE_UNDECIDED, RULE_UNDECIDED },
		[REVOCATION_GRACE] = { RULE_PASS, RULE_FAIL, RULE_UNDECIDED, RULE_UNDECIDED, RULE_WARN,      RULE_UNDECIDED },
		[REVOCATION_SOFT]  = { RULE_PASS, RULE_FAIL, RULE_WARN,      RULE_WARN,      RULE_WARN,      RULE_WARN },
	};

	if ((unsigned)mode > REVOCATION_SOFT || (unsigned)s >= REVOCATION_STATUS_COUNT)
		return RULE_FAIL;
	if (mode == REVOCATION_GRACE && s == REVOCATION_STALE && !within_grace)
		return RULE_UNDECIDED;
	return (enum rule_outcome)table[mode][s];
}

struct revocation_set *revocation_set_new(const struct revocation_object *objects, size_t n)
{
	struct revocation_set *s = NEW(struct revocation_set);

	if (n > REVOCATION_OBJECTS_MAX)
		n = REVOCATION_OBJECTS_MAX;
	s->crls = NEW_N(struct crl_item, n);
	s->ocsp = NEW_N(OCSP_BASICRESP *, n);
	for (size_t i = 0; i < n; i++) {
		if (objects[i].kind == REVOCATION_CRL) {
			if (revocation_crl_parse(objects[i].der, &s->crls[s->n_crls]))
				s->n_crls++;
		} else {
			s->ocsp[s->n_ocsp] = revocation_ocsp_parse(objects[i].der);
			if (s->ocsp[s->n_ocsp])
				s->n_ocsp++;
		}
	}
	return s;
}

struct revocation_set *revocation_set_free(struct revocation_set *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < s->n_crls; i++)
		X509_CRL_free(s->crls[i].crl);
	for (size_t i = 0; i < s->n_ocsp; i++)
		OCSP_BASICRESP_free(s->ocsp[i]);
	free(s->crls);
	free(s->ocsp);
	free(s);
	return NULL;
}

static bool is_final(const struct status_proof *p)
{
	return p->status == REVOCATION_REVOKED && !p->is_hold;
}

void status_sum_fold(struct status_sum *sum, enum revocation_kind kind, const struct status_proof *p)
{
	struct status_proof *have = &sum->by[kind];

	if (!have->has || is_final(p) || (!is_final(have) && wall_before(have->this_update, p->this_update)))
		*have = *p;
}

/* What the clock floor may learn (RV-14): nothing dated in the future while our clock is good, nothing from
 * beyond the issuer's own life. */
void revocation_path_note(struct revocation_path *p, const X509 *issuer, struct wall this_update)
{
	struct wall until;

	if (!p->policy->clock_bad && this_update.ms > p->policy->now.ms + (int64_t)p->policy->skew_s * 1000)
		return;
	if (!issuer || !x509_time(X509_get0_notAfter(issuer), &until) || wall_before(until, this_update))
		return;
	if (wall_before(p->newest_proof, this_update))
		p->newest_proof = this_update;
}

/* One status of the two kinds: a final "revoked" by either, else good by either, else the best of the rest. */
static const struct status_proof *sum_up(const struct status_sum *sum)
{
	static const enum revocation_status order[] = { REVOCATION_GOOD, REVOCATION_UNKNOWN, REVOCATION_STALE };
	const struct status_proof *crl = &sum->by[REVOCATION_CRL], *ocsp = &sum->by[REVOCATION_OCSP], *best = NULL;

	for (size_t k = 0; k < REVOCATION_KINDS; k++) {
		const struct status_proof *p = &sum->by[k], *other = k == REVOCATION_CRL ? ocsp : crl;
		if (!p->has || p->status != REVOCATION_REVOKED)
			continue;
		bool is_lifted = p->is_hold && other->has && other->status == REVOCATION_GOOD &&
				 wall_before(p->this_update, other->this_update);
		if (!is_lifted)
			return p;
	}
	for (size_t o = 0; o < sizeof(order) / sizeof(*order); o++) {
		for (size_t k = 0; k < REVOCATION_KINDS; k++) {
			const struct status_proof *p = &sum->by[k];
			if (p->has && p->status == order[o] && (!best || wall_before(best->next_update, p->next_update)))
				best = p;
		}
		if (best)
			return best;
	}
	return NULL;
}

static void need_key(struct revocation_need *need, X509 *cert, struct span url)
{
	_cleanup_buf_ struct buf b = { 0 };
	unsigned char *der = NULL;

	buf_add_u8(&b, (uint8_t)need->kind);
	buf_add(&b, SPAN(url.p, url.n + 1)); /* with its NUL, as a separator */
	int n = i2d_X509_NAME(X509_get_issuer_name(cert), &der);
	if (n > 0)
		buf_add(&b, SPAN(der, (size_t)n));
	OPENSSL_free(der);
	der = NULL;
	if (need->kind == REVOCATION_OCSP) {
		n = i2d_X509(cert, &der);
		if (n > 0)
			buf_add(&b, SPAN(der, (size_t)n));
		OPENSSL_free(der);
	}
	struct digest d = digest_of(buf_span(&b));
	(void)digest_hex(&d, need->key);
}

/* SHA-1 names the certificate here and protects nothing; it is what every responder understands (RFC 5019 2.1.1). */
static bool need_ocsp_request(struct revocation_need *need, X509 *cert, X509 *issuer)
{
	OCSP_REQUEST *req = OCSP_REQUEST_new();
	OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), cert, issuer);
	bool ok = false;

	if (req && id && OCSP_request_add0_id(req, id)) {
		unsigned char *p = need->ocsp_request;
		int n = i2d_OCSP_REQUEST(req, NULL);
		if (n > 0 && (size_t)n <= sizeof(need->ocsp_request)) {
			need->n_ocsp_request = (size_t)i2d_OCSP_REQUEST(req, &p);
			ok = true;
		}
	} else {
		OCSP_CERTID_free(id);
	}
	OCSP_REQUEST_free(req);
	return ok;
}

static void need_add(struct revocation_result *ret, enum revocation_kind kind, const char *url, X509 *cert, X509 *issuer,
		     const struct status_proof *in_hand)
{
	if (ret->n_needs >= TRUST_NEEDS_MAX)
		return;
	struct revocation_need *need = &ret->needs[ret->n_needs];
	*need = (struct revocation_need){ .kind = kind };
	(void)snprintf(need->url, sizeof(need->url), "%s", url); /* checked for length where it was read */
	need_key(need, cert, span_str(need->url));
	for (size_t i = 0; i < ret->n_needs; i++) {
		if (strcmp(ret->needs[i].key, need->key) == 0)
			return;
	}
	int n = i2d_X509(issuer, NULL);
	unsigned char *p = need->issuer;
	if (n > 0 && (size_t)n <= sizeof(need->issuer))
		need->n_issuer = (size_t)i2d_X509(issuer, &p);
	if (kind == REVOCATION_OCSP && !need_ocsp_request(need, cert, issuer))
		return;
	if (in_hand->has && in_hand->status == REVOCATION_GOOD)
		need->refresh_at = in_hand->refresh_at;
	ret->n_needs++;
}

/* Both kinds are asked for until one is good; then only the good ones are kept fresh. OCSP first: small and recent. */
static void needs_of(const struct revocation_path *p, int i, const struct status_sum *sum, struct revocation_result *ret)
{
	X509 *cert = sk_X509_value(p->chain, i), *issuer = sk_X509_value(p->chain, i + 1);
	const struct status_proof *crl = &sum->by[REVOCATION_CRL], *ocsp = &sum->by[REVOCATION_OCSP];
	bool crl_good = crl->has && crl->status == REVOCATION_GOOD, ocsp_good = ocsp->has && ocsp->status == REVOCATION_GOOD;
	struct x509_urls urls;

	x509_urls_of(cert, &urls);
	for (size_t k = 0; k < urls.n_ocsp && (ocsp_good || !crl_good); k++)
		need_add(ret, REVOCATION_OCSP, urls.ocsp[k], cert, issuer, ocsp);
	for (size_t k = 0; k < urls.n_crl && (crl_good || !ocsp_good); k++)
		need_add(ret, REVOCATION_CRL, urls.crl[k], cert, issuer, crl);
	ERR_clear_error();
}

static void explain_revoked(const struct status_proof *p, const char *by, const char *subject, struct verdict_rule *ret)
{
	char revoked[WALL_TEXT_BYTES] = "an unknown day", said[WALL_TEXT_BYTES];

	if (p->revoked_at.ms)
		wall_text(p->revoked_at, revoked);
	rule_set(ret, "RV-3", "revocation", RULE_FAIL, "certificate '%s' was revoked on %s (%s), says the %s of %s", subject, revoked,
		 p->reason >= 0 ? OCSP_crl_reason_str(p->reason) : "no reason given", by, wall_text(p->this_update, said));
}

static void explain_missing(const struct revocation_path *p, int i, const struct status_sum *sum, const char *subject,
			    enum rule_outcome o, struct verdict_rule *ret)
{
	struct x509_urls urls;

	x509_urls_of(sk_X509_value(p->chain, i), &urls);
	if (sum->why_not[0])
		rule_set(ret, "RV-4", "revocation", o, "no usable status of certificate '%s': %s", subject, sum->why_not);
	else if (urls.n_ocsp + urls.n_crl)
		rule_set(ret, "RV-4", "revocation", o, "no CRL or OCSP answer in hand for certificate '%s'; to be fetched from %s", subject,
			 urls.n_ocsp ? urls.ocsp[0] : urls.crl[0]);
	else
		rule_set(ret, "RV-4", "revocation", o, "certificate '%s' names no CRL or OCSP address, and no CRL for it was given", subject);
}

/* Rule and outcome for certificate i. */
static enum rule_outcome judge_one(struct revocation_path *p, int i, enum revocation_mode mode, uint32_t grace_s,
				   struct revocation_result *ret)
{
	struct verdict_rule *rule = &ret->rules[ret->n_rules];
	char subject[TRUST_NAME_BYTES], from[WALL_TEXT_BYTES], until[WALL_TEXT_BYTES];
	struct status_sum sum = { 0 };

	revocation_ocsp_look(p, i, &sum);
	revocation_crl_look(p, i, &sum);
	needs_of(p, i, &sum, ret);
	x509_subject_text(sk_X509_value(p->chain, i), subject);
	const struct status_proof *best = sum_up(&sum);
	const char *by = best == &sum.by[REVOCATION_CRL] ? "CRL" : "OCSP answer";
	enum revocation_status status = best ? best->status : REVOCATION_NO_ANSWER;
	if (p->policy->clock_bad && (status == REVOCATION_GOOD || status == REVOCATION_STALE))
		status = REVOCATION_CLOCK_BAD;
	bool within_grace = status == REVOCATION_STALE && p->policy->now.ms - best->next_update.ms <= (int64_t)grace_s * 1000;
	enum rule_outcome o = revocation_decide(mode, status, within_grace);

	if (best) {
		wall_text(best->this_update, from);
		wall_text(best->next_update, until);
	}
	switch (status) {
	case REVOCATION_GOOD:
		rule_set(rule, "RV-3", "revocation", o, "certificate '%s' is good by the %s of %s, until %s", subject, by, from, until);
		break;
	case REVOCATION_REVOKED:
		explain_revoked(best, by, subject, rule);
		ret->is_revoked = true;
		break;
	case REVOCATION_UNKNOWN:
		rule_set(rule, "RV-13", "revocation", o, "the OCSP responder does not know certificate '%s' (answer of %s)", subject, from);
		break;
	case REVOCATION_STALE:
		rule_set(rule, "RV-13", "revocation", o, "the last status of certificate '%s' (%s of %s) ran out on %s%s", subject, by, from,
			 until, o == RULE_WARN ? mode == REVOCATION_GRACE ? "; within the grace time" : "; the anchor's mode is soft" : "");
		break;
	case REVOCATION_CLOCK_BAD:
		rule_set(rule, "RV-14", "revocation", o, "the clock is not to be trusted, so the freshness of the %s of %s for '%s' is unknown",
			 by, from, subject);
		break;
	case REVOCATION_NO_ANSWER:
	case REVOCATION_STATUS_COUNT:
		explain_missing(p, i, &sum, subject, o, rule);
		break;
	}
	ret->n_rules++;
	return o;
}

void revocation_judge_path(struct revocation_path *path, enum revocation_mode mode, uint32_t grace_s, struct revocation_result *ret)
{
	int n = sk_X509_num(path->chain);

	ret->n_rules = ret->n_needs = 0;
	ret->is_revoked = false;
	ret->outcome = RULE_PASS;
	if (n - 1 > COSE_CHAIN_MAX + 1) { /* longer than the depth that the path was built with: never seen, never passed */
		rule_set(&ret->rules[ret->n_rules++], "RV-3", "revocation", RULE_FAIL, "the path has %d certificates", n);
		ret->outcome = RULE_FAIL;
		return;
	}
	for (int i = 0; i < n - 1; i++) {
		enum rule_outcome o = judge_one(path, i, mode, grace_s, ret);
		ret->outcome = rule_blocks(o) || rule_blocks(ret->outcome) ? rule_worse(ret->outcome, o) : ret->outcome;
	}
	if (n < 2)
		rule_set(&ret->rules[ret->n_rules++], "RV-3", "revocation", RULE_SKIP,
			 "the signer is the configured certificate itself; take it out of the configuration to revoke it");
	ret->newest_proof = path->newest_proof;
}
