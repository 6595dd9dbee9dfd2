/* Certificates, revocation and rights, end to end through the verdict, under a PKI made here. */
#include "pki.h"

#include <openssl/ocsp.h>
#include <pthread.h>

#include "base/mem.h"
#include "trust/revocation.h"
#include "trust/sign.h"

#define CRL_ROOT "http://pki.acme.example/root.crl"
#define CRL_SUB "http://pki.acme.example/sub.crl"
#define OCSP_SUB "http://ocsp.acme.example/"

static struct pki_cert root, sub, leaf, expired, early, wrong_eku, no_eku, tls_only, other_root, other_leaf, responder, no_right, no_address;

static int make_pki(void **state)
{
	(void)state;
	pki_issue(NULL, &(struct pki_spec){ .cn = "Acme Root", .is_ca = true }, &root);
	pki_issue(&root, &(struct pki_spec){ .cn = "Acme Signing CA", .is_ca = true, .crl_url = CRL_ROOT }, &sub);
	pki_issue(&sub, &(struct pki_spec){ .cn = "Acme Firmware", .eku = "codeSigning", .crl_url = CRL_SUB, .ocsp_url = OCSP_SUB }, &leaf);
	pki_issue(&sub, &(struct pki_spec){ .cn = "Acme Old", .eku = "codeSigning", .to_s = PKI_NOW_S - 60 }, &expired);
	pki_issue(&sub, &(struct pki_spec){ .cn = "Acme Early", .eku = "codeSigning", .from_s = PKI_NOW_S + 60 }, &early);
	pki_issue(&sub, &(struct pki_spec){ .cn = "Acme Mail", .eku = "emailProtection" }, &wrong_eku);
	pki_issue(&sub, &(struct pki_spec){ .cn = "Acme Plain", .crl_url = CRL_SUB }, &no_eku);
	pki_issue(&sub, &(struct pki_spec){ .cn = "Acme Web", .key_usage = "critical,keyEncipherment" }, &tls_only);
	pki_issue(&sub, &(struct pki_spec){ .cn = "Acme OCSP", .eku = "OCSPSigning", .nocheck = true }, &responder);
	pki_issue(&sub, &(struct pki_spec){ .cn = "Acme Not OCSP", .eku = "codeSigning", .nocheck = true }, &no_right);
	pki_issue(&sub, &(struct pki_spec){ .cn = "Acme Silent", .eku = "codeSigning" }, &no_address);
	pki_issue(NULL, &(struct pki_spec){ .cn = "Other Root", .is_ca = true }, &other_root);
	pki_issue(&other_root, &(struct pki_spec){ .cn = "Other Firmware", .eku = "codeSigning" }, &other_leaf);
	return 0;
}

static int free_pki(void **state)
{
	struct pki_cert *all[] = { &root, &sub, &leaf, &expired, &early, &wrong_eku, &no_eku, &tls_only, &other_root, &other_leaf, &responder,
				   &no_right, &no_address };

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		pki_done(all[i]);
	return 0;
}

static const char *const acme_only[] = { pki_vendor_acme, NULL };
static const char *const other_only[] = { pki_vendor_other, NULL };

struct bench {                                 /* one question to the verdict */
	enum revocation_mode mode;
	uint32_t grace_s;
	bool require_eku;
	const char *const *vendors, *const *classes, *const *hosts;
	struct trust_facts facts;
	struct buf objects[6];
	struct revocation_object list[6];
	struct verdict *v;
};

static void bench_init(struct bench *b)
{
	memset(b, 0, sizeof(*b));
	b->vendors = acme_only;
	b->facts.now = wall_from_s(PKI_NOW_S);
	b->v = NEW(struct verdict);
}

static void bench_done(struct bench *b)
{
	for (size_t i = 0; i < 6; i++)
		buf_done(&b->objects[i]);
	free(b->v);
}

static struct buf *bench_object(struct bench *b, enum revocation_kind kind)
{
	assert_in_range(b->facts.n_revocation, 0, 5);
	b->list[b->facts.n_revocation].kind = kind;
	return &b->objects[b->facts.n_revocation++];
}

static void bench_crl(struct bench *b, const struct pki_cert *issuer, const struct pki_crl_spec *spec)
{
	pki_crl(issuer, spec, bench_object(b, REVOCATION_CRL));
}

static void bench_ocsp(struct bench *b, const struct pki_cert *issuer, const struct pki_cert *subject, const struct pki_ocsp_spec *spec)
{
	pki_ocsp(issuer, subject, spec, bench_object(b, REVOCATION_OCSP));
}

static struct trust_anchors *bench_anchors(const struct bench *b)
{
	_cleanup_buf_ struct buf acme = { 0 }, other = { 0 };
	struct trust_anchors *a = NULL;
	char error[200];

	pki_pem((const struct pki_cert *const[]){ &root }, 1, &acme);
	pki_pem((const struct pki_cert *const[]){ &other_root }, 1, &other);
	const struct trust_anchor_config configs[] = {
		{ .name = "acme", .pem = buf_span(&acme), .vendor_ids = b->vendors, .class_ids = b->classes, .hosts = b->hosts, .mode = b->mode,
		  .grace_s = b->grace_s, .require_eku_code_signing = b->require_eku },
		{ .name = "other", .pem = buf_span(&other), .vendor_ids = other_only, .mode = REVOCATION_SOFT },
	};
	assert_int_equal(trust_anchors_build(configs, 2, &a, error, sizeof(error)), 0);
	return a;
}

static void bench_judge(struct bench *b, struct span envelope)
{
	_cleanup_(trust_anchors_unrefp) struct trust_anchors *a = bench_anchors(b);

	for (size_t i = 0; i < b->facts.n_revocation; i++) {
		b->list[i].der = buf_span(&b->objects[i]);
		b->list[i].url = "";
	}
	b->facts.revocation = b->list;
	verdict_judge(a, &b->facts, envelope, NULL, NULL, b->v);
}

/* An update by signer under the signing CA. */
static void bench_ask(struct bench *b, const struct pki_cert *signer, const struct pki_update *u)
{
	_cleanup_buf_ struct buf envelope = { 0 };

	pki_envelope(signer, (const struct pki_cert *const[]){ signer, &sub }, 2, u, &envelope);
	bench_judge(b, buf_span(&envelope));
}

static const struct pki_update plain = { .sequence = 7 };

static void expect(struct bench *b, enum trust_outcome o, const char *rule, enum rule_outcome with, const char *what)
{
	help_assert_outcome(b->v, o, what);
	const struct verdict_rule *r = help_rule(b->v, rule, with);
	if (!r) {
		_cleanup_buf_ struct buf text = { 0 };
		verdict_text(b->v, &text);
		fail_msg("%s: no rule %s with %s\n%s", what, rule, rule_outcome_name(with), buf_str(&text));
	}
	assert_true(r->evidence[0]);
}

static void a_signer_with_fresh_crls_is_accepted(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b);
	bench_crl(&b, &root, &(struct pki_crl_spec){ 0 });
	bench_crl(&b, &sub, &(struct pki_crl_spec){ 0 });
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_ACCEPTED, "RV-3", RULE_PASS, "fresh CRLs");
	assert_string_equal(b.v->anchor, "acme");
	assert_non_null(strstr(b.v->signer, "Acme Firmware"));
	assert_int_equal(b.v->sequence, 7);
	assert_int_equal(wall_s(b.v->newest_proof), PKI_NOW_S - 3600);
	assert_memory_equal(b.v->signer_key_id, ASN1_STRING_get0_data(X509_get0_subject_key_id(leaf.x)), 20);
	/* Both CRLs are to be refreshed at half of their life: an hour ago plus half of 25 hours. */
	assert_int_equal(b.v->n_needs, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(b.v->needs[i].kind, REVOCATION_CRL);
		assert_int_equal(wall_s(b.v->needs[i].refresh_at), PKI_NOW_S - 3600 + (PKI_DAY_S + 3600) / 2);
	}
	bench_done(&b);
}

/* Without an answer nothing is decided, and the verdict says what to fetch. */
static void without_status_the_update_is_held_and_the_needs_are_named(void **state)
{
	struct bench b;
	bool ocsp = false, crl_sub = false, crl_root = false;

	(void)state;
	bench_init(&b);
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_UNDECIDED, "RV-4", RULE_UNDECIDED, "nothing in hand");
	assert_int_equal(b.v->n_needs, 3);
	for (size_t i = 0; i < b.v->n_needs; i++) {
		const struct revocation_need *n = &b.v->needs[i];
		assert_int_equal(n->refresh_at.ms, 0);
		assert_int_equal(strlen(n->key), DIGEST_HEX_BYTES - 1);
		assert_true(n->n_issuer > 0);
		ocsp = ocsp || (n->kind == REVOCATION_OCSP && strcmp(n->url, OCSP_SUB) == 0 && n->n_ocsp_request > 0);
		crl_sub = crl_sub || (n->kind == REVOCATION_CRL && strcmp(n->url, CRL_SUB) == 0);
		crl_root = crl_root || (n->kind == REVOCATION_CRL && strcmp(n->url, CRL_ROOT) == 0);
	}
	assert_true(ocsp && crl_sub && crl_root);
	assert_int_equal(b.v->sequence, 7); /* what is held can be named */
	b.facts.skip_revocation = true;
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_ACCEPTED, "RV-3", RULE_WARN, "skipped, and said loudly");
	bench_done(&b);
}

/* RV-3: the whole chain. */
static void a_revoked_leaf_is_refused(void **state)
{
	struct bench b;

	(void)state;
	for (enum revocation_mode mode = REVOCATION_HARD; mode <= REVOCATION_SOFT; mode++) {
		bench_init(&b);
		b.mode = mode;
		bench_crl(&b, &root, &(struct pki_crl_spec){ 0 });
		bench_crl(&b, &sub, &(struct pki_crl_spec){ .revoked = { &leaf }, .reason = CRL_REASON_KEY_COMPROMISE });
		bench_ask(&b, &leaf, &plain);
		expect(&b, TRUST_REJECTED, "RV-3", RULE_FAIL, "revoked leaf");
		assert_true(b.v->is_revoked);
		assert_int_equal(b.v->sequence, 0); /* SU-6: the manifest of a revoked signer stays unread */
		assert_non_null(strstr(verdict_first_problem(b.v)->evidence, "keyCompromise"));
		bench_done(&b);
	}
}

static void a_revoked_intermediate_is_refused(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b);
	bench_crl(&b, &root, &(struct pki_crl_spec){ .revoked = { &sub } });
	bench_crl(&b, &sub, &(struct pki_crl_spec){ 0 });
	bench_ocsp(&b, &sub, &leaf, &(struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD });
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_REJECTED, "RV-3", RULE_FAIL, "revoked intermediate");
	assert_true(b.v->is_revoked);
	assert_non_null(strstr(verdict_first_problem(b.v)->evidence, "Acme Signing CA"));
	bench_done(&b);
}

/* What was revoked stays revoked when the CRL that says so runs out. */
static void an_expired_crl_still_revokes(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b);
	b.mode = REVOCATION_SOFT;
	bench_crl(&b, &sub, &(struct pki_crl_spec){ .this_s = PKI_NOW_S - 5 * PKI_DAY_S, .next_s = PKI_NOW_S - 4 * PKI_DAY_S, .revoked = { &leaf } });
	bench_ocsp(&b, &sub, &leaf, &(struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD });
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_REJECTED, "RV-3", RULE_FAIL, "expired CRL");
	bench_done(&b);
}

static void a_hold_is_lifted_by_a_later_good_answer_only(void **state)
{
	struct bench b;

	(void)state;
	for (int later = 0; later < 2; later++) {
		bench_init(&b);
		bench_crl(&b, &root, &(struct pki_crl_spec){ 0 });
		bench_crl(&b, &sub, &(struct pki_crl_spec){ .this_s = PKI_NOW_S - 7200, .revoked = { &leaf }, .reason = CRL_REASON_CERTIFICATE_HOLD });
		bench_ocsp(&b, &sub, &leaf, &(struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD, .this_s = later ? PKI_NOW_S - 60 : PKI_NOW_S - 9000 });
		bench_ask(&b, &leaf, &plain);
		expect(&b, later ? TRUST_ACCEPTED : TRUST_REJECTED, "RV-3", later ? RULE_PASS : RULE_FAIL, "hold");
		bench_done(&b);
	}
}

static void expired_and_early_certificates_are_refused(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b);
	bench_crl(&b, &root, &(struct pki_crl_spec){ 0 });
	bench_crl(&b, &sub, &(struct pki_crl_spec){ 0 });
	bench_ask(&b, &expired, &plain);
	expect(&b, TRUST_REJECTED, "CO-14", RULE_FAIL, "expired");
	assert_non_null(strstr(help_rule(b.v, "CO-14", RULE_FAIL)->evidence, "expired on"));
	bench_ask(&b, &early, &plain);
	expect(&b, TRUST_REJECTED, "CO-14", RULE_FAIL, "not yet valid");
	/* RV-14: by a clock that may be behind, "not yet valid" is no finding; "expired" still is. */
	b.facts.clock_bad = true;
	bench_ask(&b, &early, &plain);
	expect(&b, TRUST_UNDECIDED, "CO-14", RULE_UNDECIDED, "not yet valid, bad clock");
	bench_ask(&b, &expired, &plain);
	expect(&b, TRUST_REJECTED, "CO-14", RULE_FAIL, "expired, bad clock");
	bench_done(&b);
}

/* RV-18 */
static void usages_are_enforced(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b);
	b.mode = REVOCATION_SOFT;
	bench_ask(&b, &wrong_eku, &plain);
	expect(&b, TRUST_REJECTED, "CO-14", RULE_FAIL, "mail certificate");
	bench_ask(&b, &tls_only, &plain);
	expect(&b, TRUST_REJECTED, "CO-14", RULE_FAIL, "no digitalSignature");
	bench_ask(&b, &no_eku, &plain);
	expect(&b, TRUST_ACCEPTED, "CO-14", RULE_PASS, "no extended key usage, none asked for");
	b.require_eku = true;
	bench_ask(&b, &no_eku, &plain);
	expect(&b, TRUST_REJECTED, "CO-14", RULE_FAIL, "no extended key usage");
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_ACCEPTED, "CO-14", RULE_PASS, "codeSigning");
	bench_done(&b);
}

static void a_certificate_of_nobody_we_know_is_refused(void **state)
{
	struct pki_cert self, fake_sub, fake_leaf;
	_cleanup_buf_ struct buf envelope = { 0 };
	struct bench b;

	(void)state;
	bench_init(&b);
	b.mode = REVOCATION_SOFT;
	pki_issue(NULL, &(struct pki_spec){ .cn = "Acme Root", .is_ca = true }, &self); /* the right name, another key */
	pki_issue(&self, &(struct pki_spec){ .cn = "Acme Signing CA", .is_ca = true }, &fake_sub);
	pki_issue(&fake_sub, &(struct pki_spec){ .cn = "Acme Firmware", .eku = "codeSigning" }, &fake_leaf);
	pki_envelope(&fake_leaf, (const struct pki_cert *const[]){ &fake_leaf, &fake_sub, &self }, 3, &plain, &envelope);
	bench_judge(&b, buf_span(&envelope));
	expect(&b, TRUST_REJECTED, "CO-14", RULE_FAIL, "foreign root of the same name");
	assert_int_equal(b.v->sequence, 0);
	pki_done(&self);
	pki_done(&fake_sub);
	pki_done(&fake_leaf);
	bench_done(&b);
}

static void a_leaf_cannot_issue(void **state)
{
	_cleanup_buf_ struct buf envelope = { 0 };
	struct pki_cert by_leaf;
	struct bench b;

	(void)state;
	bench_init(&b);
	b.mode = REVOCATION_SOFT;
	pki_issue(&leaf, &(struct pki_spec){ .cn = "Smuggled", .eku = "codeSigning" }, &by_leaf);
	pki_envelope(&by_leaf, (const struct pki_cert *const[]){ &by_leaf, &leaf, &sub }, 3, &plain, &envelope);
	bench_judge(&b, buf_span(&envelope));
	expect(&b, TRUST_REJECTED, "CO-14", RULE_FAIL, "issued by a leaf");
	pki_done(&by_leaf);
	bench_done(&b);
}

/* RV-19 */
static void vendor_a_cannot_sign_for_vendor_b(void **state)
{
	_cleanup_buf_ struct buf envelope = { 0 };
	static const char *const class_b[] = { "11111111-2222-5333-8444-555555555555", NULL };
	static const char *const nobody[] = { NULL };
	struct bench b;

	(void)state;
	bench_init(&b);
	b.mode = REVOCATION_SOFT;
	bench_ask(&b, &leaf, &(struct pki_update){ .sequence = 1, .vendor = pki_vendor_other });
	expect(&b, TRUST_REJECTED, "RV-19", RULE_FAIL, "acme signs for other");
	pki_envelope(&other_leaf, (const struct pki_cert *const[]){ &other_leaf }, 1, &plain, &envelope);
	bench_judge(&b, buf_span(&envelope));
	expect(&b, TRUST_REJECTED, "RV-19", RULE_FAIL, "other signs for acme");
	b.classes = class_b;
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_REJECTED, "RV-19", RULE_FAIL, "a class outside the list");
	b.classes = NULL;
	b.vendors = nobody;
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_REJECTED, "RV-19", RULE_FAIL, "an anchor without vendors");
	bench_done(&b);
}

/* SU-14 */
static void an_update_that_checks_no_identity_is_refused(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b);
	b.mode = REVOCATION_SOFT;
	bench_ask(&b, &leaf, &(struct pki_update){ .sequence = 1, .vendor = "" });
	expect(&b, TRUST_REJECTED, "SU-14", RULE_FAIL, "no vendor");
	bench_ask(&b, &leaf, &(struct pki_update){ .sequence = 1, .class_info = "" });
	expect(&b, TRUST_REJECTED, "SU-14", RULE_FAIL, "no class");
	bench_done(&b);
}

/* RV-13, RV-5: stale, with and without nextUpdate, in each mode. */
static void a_stale_crl_holds_but_for_grace_and_soft(void **state)
{
	static const struct { enum revocation_mode mode; uint32_t grace_s; enum trust_outcome outcome; enum rule_outcome rule; } table[] = {
		{ REVOCATION_HARD, 10 * PKI_DAY_S, TRUST_UNDECIDED, RULE_UNDECIDED }, { REVOCATION_GRACE, 3600, TRUST_UNDECIDED, RULE_UNDECIDED },
		{ REVOCATION_GRACE, 2 * PKI_DAY_S, TRUST_ACCEPTED, RULE_WARN },     { REVOCATION_SOFT, 0, TRUST_ACCEPTED, RULE_WARN },
	};
	struct bench b;

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(table) / sizeof(*table); i++) {
		bool no_next = i % 2;
		bench_init(&b);
		b.mode = table[i / 2].mode;
		b.grace_s = table[i / 2].grace_s;
		b.facts.status_age_max_s = 10 * PKI_DAY_S;
		bench_crl(&b, &root, &(struct pki_crl_spec){ 0 });
		bench_crl(&b, &sub, &(struct pki_crl_spec){ .this_s = PKI_NOW_S - 11 * PKI_DAY_S, .next_s = no_next ? -1 : PKI_NOW_S - PKI_DAY_S });
		bench_ask(&b, &leaf, &plain);
		expect(&b, table[i / 2].outcome, "RV-13", table[i / 2].rule, "stale");
		bench_done(&b);
	}
}

static void a_crl_without_next_update_counts_for_its_age(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b);
	b.facts.status_age_max_s = 2 * PKI_DAY_S;
	bench_crl(&b, &root, &(struct pki_crl_spec){ .next_s = -1 });
	bench_crl(&b, &sub, &(struct pki_crl_spec){ .this_s = PKI_NOW_S - PKI_DAY_S, .next_s = -1 });
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_ACCEPTED, "RV-3", RULE_PASS, "young");
	b.facts.status_age_max_s = PKI_DAY_S / 2;
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_UNDECIDED, "RV-13", RULE_UNDECIDED, "old");
	bench_done(&b);
}

static void a_crl_with_a_wrong_signature_neither_counts_nor_hides(void **state)
{
	struct pki_cert fake;
	struct bench b;

	(void)state;
	bench_init(&b);
	pki_issue(NULL, &(struct pki_spec){ .cn = "Acme Signing CA", .is_ca = true }, &fake);
	bench_crl(&b, &root, &(struct pki_crl_spec){ 0 });
	bench_crl(&b, &fake, &(struct pki_crl_spec){ .this_s = PKI_NOW_S - 60, .number = 99, .revoked = { &leaf } });
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_UNDECIDED, "RV-4", RULE_UNDECIDED, "forged CRL");
	bench_crl(&b, &sub, &(struct pki_crl_spec){ 0 });
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_ACCEPTED, "RV-3", RULE_PASS, "the true CRL next to it");
	assert_int_equal(wall_s(b.v->newest_proof), PKI_NOW_S - 3600);
	pki_done(&fake);
	bench_done(&b);
}

static void status_from_the_future_does_not_count(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b);
	bench_crl(&b, &root, &(struct pki_crl_spec){ 0 });
	bench_crl(&b, &sub, &(struct pki_crl_spec){ .this_s = PKI_NOW_S + 3600 });
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_UNDECIDED, "RV-4", RULE_UNDECIDED, "future CRL");
	assert_int_equal(wall_s(b.v->newest_proof), PKI_NOW_S - 3600);
	bench_ocsp(&b, &sub, &leaf, &(struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD, .this_s = PKI_NOW_S + 3600, .next_s = PKI_NOW_S + 7200 });
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_UNDECIDED, "RV-4", RULE_UNDECIDED, "future OCSP");
	bench_ocsp(&b, &sub, &leaf, &(struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD, .this_s = PKI_NOW_S + 200 });
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_ACCEPTED, "RV-3", RULE_PASS, "within the skew");
	bench_done(&b);
}

/* RV-14: our clock is below the floor; proofs may teach us better, and nothing is accepted on freshness alone. */
static void a_bad_clock_makes_freshness_unknown(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b);
	b.mode = REVOCATION_GRACE;
	b.grace_s = 100 * PKI_DAY_S;
	b.facts.clock_bad = true;
	bench_crl(&b, &root, &(struct pki_crl_spec){ 0 });
	bench_crl(&b, &sub, &(struct pki_crl_spec){ .this_s = PKI_NOW_S + 50 * PKI_DAY_S, .next_s = PKI_NOW_S + 60 * PKI_DAY_S });
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_UNDECIDED, "RV-14", RULE_UNDECIDED, "grace needs a clock");
	assert_int_equal(wall_s(b.v->newest_proof), PKI_NOW_S + 50 * PKI_DAY_S);
	b.mode = REVOCATION_SOFT;
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_ACCEPTED, "RV-14", RULE_WARN, "soft");
	bench_done(&b);
}

/* OCSP alone suffices for the certificate it speaks about. */
static void an_ocsp_answer_suffices_in_place_of_a_crl(void **state)
{
	const struct pki_ocsp_spec specs[] = {
		{ V_OCSP_CERTSTATUS_GOOD }, { V_OCSP_CERTSTATUS_GOOD, .responder = &responder }, { V_OCSP_CERTSTATUS_GOOD, .id_md = EVP_sha256() },
		{ V_OCSP_CERTSTATUS_GOOD, .next_s = -1 },
	};
	struct bench b;

	(void)state;
	for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++) {
		bench_init(&b);
		bench_crl(&b, &root, &(struct pki_crl_spec){ 0 });
		bench_ocsp(&b, &sub, &leaf, &specs[i]);
		bench_ask(&b, &leaf, &plain);
		expect(&b, TRUST_ACCEPTED, "RV-3", RULE_PASS, "OCSP");
		assert_int_equal(b.v->n_needs, 2); /* the answer and the root's CRL; not the CRL that is not needed */
		bench_done(&b);
	}
}

static void bad_ocsp_answers_do_not_count(void **state)
{
	const struct { struct pki_ocsp_spec spec; const struct pki_cert *issuer, *subject; const char *rule, *what; } table[] = {
		{ { V_OCSP_CERTSTATUS_UNKNOWN }, &sub, &leaf, "RV-13", "unknown is not good" },
		{ { V_OCSP_CERTSTATUS_GOOD, .this_s = PKI_NOW_S - 3 * PKI_DAY_S, .next_s = PKI_NOW_S - 1 }, &sub, &leaf, "RV-13", "past nextUpdate" },
		{ { V_OCSP_CERTSTATUS_GOOD, .this_s = PKI_NOW_S - 11 * PKI_DAY_S, .next_s = PKI_NOW_S + PKI_DAY_S }, &sub, &leaf, "RV-13", "too old (RV-6)" },
		{ { V_OCSP_CERTSTATUS_GOOD, .responder = &no_right }, &sub, &leaf, "RV-4", "responder without OCSPSigning (RV-8)" },
		{ { V_OCSP_CERTSTATUS_GOOD, .responder = &other_leaf }, &sub, &leaf, "RV-4", "responder of another issuer (RV-8)" },
		{ { V_OCSP_CERTSTATUS_GOOD, .responder = &leaf }, &sub, &leaf, "RV-4", "nobody vouches for himself" },
		{ { V_OCSP_CERTSTATUS_GOOD }, &sub, &no_eku, "RV-4", "another serial (RV-7)" },
		{ { V_OCSP_CERTSTATUS_GOOD, .responder = &sub }, &root, &leaf, "RV-4", "another issuer hash (RV-7)" },
	};
	struct bench b;

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		bench_init(&b);
		bench_crl(&b, &root, &(struct pki_crl_spec){ 0 });
		bench_ocsp(&b, table[i].issuer, table[i].subject, &table[i].spec);
		bench_ask(&b, &leaf, &plain);
		expect(&b, TRUST_UNDECIDED, table[i].rule, RULE_UNDECIDED, table[i].what);
		bench_done(&b);
	}
}

static void ocsp_revokes_whatever_a_crl_says(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b);
	bench_crl(&b, &root, &(struct pki_crl_spec){ 0 });
	bench_crl(&b, &sub, &(struct pki_crl_spec){ 0 });
	bench_ocsp(&b, &sub, &leaf, &(struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_REVOKED, .reason = OCSP_REVOKED_STATUS_KEYCOMPROMISE });
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_REJECTED, "RV-3", RULE_FAIL, "OCSP revokes");
	/* A replayed older "good" next to it changes nothing. */
	bench_ocsp(&b, &sub, &leaf, &(struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD, .this_s = PKI_NOW_S - 2 * PKI_DAY_S });
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_REJECTED, "RV-3", RULE_FAIL, "replay of the older answer");
	bench_done(&b);
}

static void a_revoked_responder_is_not_believed(void **state)
{
	struct pki_cert plain_responder;
	struct bench b;

	(void)state;
	pki_issue(&sub, &(struct pki_spec){ .cn = "Acme OCSP 2", .eku = "OCSPSigning" }, &plain_responder);
	bench_init(&b);
	bench_crl(&b, &root, &(struct pki_crl_spec){ 0 });
	bench_ocsp(&b, &sub, &leaf, &(struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD, .responder = &plain_responder });
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_ACCEPTED, "RV-3", RULE_PASS, "nothing speaks against the responder");
	/* This CRL says nothing good about the leaf that is fresh, but it does revoke the responder. */
	bench_crl(&b, &sub, &(struct pki_crl_spec){ .this_s = PKI_NOW_S - 5 * PKI_DAY_S, .next_s = PKI_NOW_S - PKI_DAY_S, .revoked = { &plain_responder } });
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_UNDECIDED, "RV-13", RULE_UNDECIDED, "revoked responder");
	pki_done(&plain_responder);
	bench_done(&b);
}

static void a_certificate_without_addresses_says_so(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b);
	bench_crl(&b, &root, &(struct pki_crl_spec){ 0 });
	bench_ask(&b, &no_address, &plain);
	expect(&b, TRUST_UNDECIDED, "RV-4", RULE_UNDECIDED, "no addresses");
	assert_non_null(strstr(verdict_first_problem(b.v)->evidence, "names no CRL or OCSP address"));
	bench_crl(&b, &sub, &(struct pki_crl_spec){ 0 }); /* given by hand */
	bench_ask(&b, &no_address, &plain);
	expect(&b, TRUST_ACCEPTED, "RV-3", RULE_PASS, "a CRL given by hand");
	bench_done(&b);
}

/* SU-6: the signature rule comes first, whatever the manifest is. */
static void nothing_of_the_manifest_is_read_before_its_signer_is_trusted(void **state)
{
	_cleanup_buf_ struct buf digest = { 0 }, block = { 0 }, key = { 0 }, chain = { 0 }, envelope = { 0 };
	_cleanup_(sign_key_freep) struct sign_key *k = NULL;
	static const uint8_t junk[] = { 0xa1, 0x01, 0x09 };      /* version 9, and nothing else */
	struct bench b;

	(void)state;
	bench_init(&b);
	b.mode = REVOCATION_SOFT;
	suit_auth_digest_encode(SPAN_OF(junk), &digest);
	pki_key_pem(&leaf, &key);
	pki_pem((const struct pki_cert *const[]){ &leaf, &sub }, 2, &chain);
	assert_int_equal(sign_key_load(buf_span(&key), 0, &k, NULL, 0), 0);
	assert_int_equal(sign_auth_digest(k, buf_span(&chain), SPAN_NONE, buf_span(&digest), &block, NULL, 0), 0);
	for (int tampered = 0; tampered < 2; tampered++) {
		buf_clear(&envelope);
		if (tampered)
			block.p[block.n - 1] ^= 1;
		assert_int_equal(suit_envelope_encode(SPAN_OF(junk), buf_span(&digest), (struct span[]){ buf_span(&block) }, 1, SPAN_NONE, 0, &envelope), 0);
		bench_judge(&b, buf_span(&envelope));
		expect(&b, TRUST_REJECTED, tampered ? "SU-5" : "SU-11", RULE_FAIL, tampered ? "bad signature, bad manifest" : "signed, bad manifest");
		assert_null(help_rule(b.v, tampered ? "SU-11" : "SU-5", RULE_FAIL));
	}
	bench_done(&b);
}

/* SU-22: a relative address is judged as what it becomes. */
static void relative_addresses_are_resolved_before_they_are_judged(void **state)
{
	static const struct { const char *uri, *reference; enum trust_outcome outcome; } rows[] = {
		{ "a.bin", NULL, TRUST_ACCEPTED },
		{ "a.bin", "https://fw.acme.example/x/suit", TRUST_ACCEPTED },
		{ "a.bin", "https://10.0.0.1/suit", TRUST_REJECTED },
		{ "../../a.bin", "file:///etc/passwd", TRUST_REJECTED },
		{ "//evil.local/a.bin", "https://fw.acme.example/x/suit", TRUST_REJECTED },
		{ "https://fw.acme.example/a.bin", "https://10.0.0.1/suit", TRUST_ACCEPTED },
	};
	struct bench b;

	(void)state;
	bench_init(&b);
	b.mode = REVOCATION_SOFT;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		bench_ask(&b, &leaf, &(struct pki_update){ .sequence = 1, .uri = rows[i].uri, .reference_uri = rows[i].reference });
		expect(&b, rows[i].outcome, "SU-22", rows[i].outcome == TRUST_ACCEPTED ? RULE_PASS : RULE_FAIL, rows[i].uri);
	}
	bench_done(&b);
}

/* SU-12, SU-32, SU-51, SU-22, SU-15 */
static void sequence_size_time_address_and_device_are_judged(void **state)
{
	struct freshness_entry seen = { .sequence = 7, .n_component = 3, .component = { 0x81, 0x41, 0x00 } };
	static const char *const hosts[] = { "fw.acme.example", NULL };
	struct trust_device_facts device = { .has_vendor = true, .has_sequence = true, .sequence = 6 };
	struct bench b;

	(void)state;
	bench_init(&b);
	b.mode = REVOCATION_SOFT;
	b.hosts = hosts;
	memcpy(seen.vendor_id, (uint8_t[]){ 0xfa, 0x6b, 0x4a, 0x53, 0xd5, 0xad, 0x5f, 0xdf, 0xbe, 0x9d, 0xe6, 0x63, 0xe4, 0xd4, 0x1f, 0xfe }, 16);
	memcpy(seen.class_id, (uint8_t[]){ 0x14, 0x92, 0xaf, 0x14, 0x25, 0x69, 0x5e, 0x48, 0xbf, 0x42, 0x9b, 0x2d, 0x51, 0xf2, 0xab, 0x45 }, 16);
	b.facts.seen = &seen;
	b.facts.n_seen = 1;
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_REJECTED, "SU-12", RULE_FAIL, "same number, other manifest");
	assert_true(b.v->is_equivocation);
	seen.manifest = b.v->manifest_digest;
	bench_ask(&b, &leaf, &plain);
	expect(&b, TRUST_ACCEPTED, "SU-12", RULE_PASS, "the same again");
	bench_ask(&b, &leaf, &(struct pki_update){ .sequence = 6 });
	expect(&b, TRUST_REJECTED, "SU-12", RULE_FAIL, "rollback");
	assert_true(b.v->is_rollback);
	const struct pki_update next = { .sequence = 8, .has_use_before = true, .use_before_s = PKI_NOW_S + 10 };
	bench_ask(&b, &leaf, &next);
	expect(&b, TRUST_ACCEPTED, "SU-51", RULE_PASS, "in time");
	b.facts.now = wall_from_s(PKI_NOW_S + 10);
	bench_ask(&b, &leaf, &next);
	expect(&b, TRUST_REJECTED, "SU-51", RULE_FAIL, "too late");
	b.facts.now = wall_from_s(PKI_NOW_S);
	b.facts.clock_bad = true;
	bench_ask(&b, &leaf, &next);
	expect(&b, TRUST_UNDECIDED, "SU-51", RULE_UNDECIDED, "no trusted time");
	b.facts.clock_bad = false;
	b.facts.image_bytes_max = 999;
	bench_ask(&b, &leaf, &(struct pki_update){ .sequence = 8 });
	expect(&b, TRUST_REJECTED, "SU-32", RULE_FAIL, "over the quota");
	bench_ask(&b, &leaf, &(struct pki_update){ .sequence = 8, .bytes = UINT64_MAX });
	expect(&b, TRUST_REJECTED, "SU-32", RULE_FAIL, "2^64-1 bytes");
	b.facts.image_bytes_max = 1000;
	bench_ask(&b, &leaf, &(struct pki_update){ .sequence = 8 });
	expect(&b, TRUST_ACCEPTED, "SU-32", RULE_PASS, "exactly the quota");
	bench_ask(&b, &leaf, &(struct pki_update){ .sequence = 8, .uri = "https://evil.example/a" });
	expect(&b, TRUST_REJECTED, "SU-22", RULE_FAIL, "a host that is not listed");
	b.facts.device = &device;
	bench_ask(&b, &leaf, &(struct pki_update){ .sequence = 8 });
	expect(&b, TRUST_REJECTED, "SU-15", RULE_FAIL, "another device");
	memcpy(device.vendor_id, seen.vendor_id, 16);
	bench_ask(&b, &leaf, &(struct pki_update){ .sequence = 8 });
	expect(&b, TRUST_ACCEPTED, "SU-15", RULE_PASS, "this device");
	device.sequence = 9;
	bench_ask(&b, &leaf, &(struct pki_update){ .sequence = 8 });
	expect(&b, TRUST_REJECTED, "SU-12", RULE_FAIL, "the device is further");
	bench_done(&b);
}

struct thread_job {
	const struct trust_anchors *anchors;
	struct span envelope;
	struct trust_facts facts;
	int n_accepted;
};

static void *judge_many(void *arg)
{
	struct thread_job *j = arg;
	struct verdict *v = NEW(struct verdict);

	for (int i = 0; i < 20; i++) {
		verdict_judge(j->anchors, &j->facts, j->envelope, NULL, NULL, v);
		j->n_accepted += v->outcome == TRUST_ACCEPTED;
	}
	free(v);
	return NULL;
}

/* One set of anchors, several workers, no state in between. */
static void workers_judge_side_by_side(void **state)
{
	_cleanup_buf_ struct buf envelope = { 0 };
	struct thread_job jobs[4] = { 0 };
	pthread_t threads[4];
	struct bench b;

	(void)state;
	bench_init(&b);
	bench_crl(&b, &root, &(struct pki_crl_spec){ 0 });
	bench_crl(&b, &sub, &(struct pki_crl_spec){ 0 });
	bench_ask(&b, &leaf, &plain);
	pki_envelope(&leaf, (const struct pki_cert *const[]){ &leaf, &sub }, 2, &plain, &envelope);
	_cleanup_(trust_anchors_unrefp) struct trust_anchors *a = bench_anchors(&b);
	for (size_t i = 0; i < 4; i++) {
		jobs[i] = (struct thread_job){ .anchors = a, .envelope = buf_span(&envelope), .facts = b.facts };
		assert_int_equal(pthread_create(&threads[i], NULL, judge_many, &jobs[i]), 0);
	}
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(jobs[i].n_accepted, 20);
	}
	bench_done(&b);
}

static void a_verdict_is_json_and_text(void **state)
{
	_cleanup_buf_ struct buf json = { 0 }, text = { 0 };
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;
	struct bench b;
	bool revoked = false;

	(void)state;
	bench_init(&b);
	bench_crl(&b, &sub, &(struct pki_crl_spec){ .revoked = { &leaf } });
	bench_ask(&b, &leaf, &plain);
	verdict_json(b.v, &json);
	verdict_text(b.v, &text);
	assert_int_equal(json_parse(buf_span(&json), &doc, NULL, 0), 0);
	const struct json_value *v = json_root(doc);
	assert_string_equal(json_get_str(v, "outcome"), "rejected");
	assert_true(json_get_bool(v, "revoked", &revoked) && revoked);
	assert_int_equal(json_n(json_get(v, "rules")), b.v->n_rules);
	assert_int_equal(json_n(json_get(v, "needs")), b.v->n_needs);
	assert_non_null(strstr(buf_str(&text), "rejected: certificate"));
	for (size_t i = 0; i < text.n; i++)
		assert_true(text.p[i] == '\n' || (text.p[i] >= 0x20 && text.p[i] < 0x7f));
	bench_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_signer_with_fresh_crls_is_accepted),
		cmocka_unit_test(without_status_the_update_is_held_and_the_needs_are_named),
		cmocka_unit_test(a_revoked_leaf_is_refused),
		cmocka_unit_test(a_revoked_intermediate_is_refused),
		cmocka_unit_test(an_expired_crl_still_revokes),
		cmocka_unit_test(a_hold_is_lifted_by_a_later_good_answer_only),
		cmocka_unit_test(expired_and_early_certificates_are_refused),
		cmocka_unit_test(usages_are_enforced),
		cmocka_unit_test(a_certificate_of_nobody_we_know_is_refused),
		cmocka_unit_test(a_leaf_cannot_issue),
		cmocka_unit_test(vendor_a_cannot_sign_for_vendor_b),
		cmocka_unit_test(an_update_that_checks_no_identity_is_refused),
		cmocka_unit_test(a_stale_crl_holds_but_for_grace_and_soft),
		cmocka_unit_test(a_crl_without_next_update_counts_for_its_age),
		cmocka_unit_test(a_crl_with_a_wrong_signature_neither_counts_nor_hides),
		cmocka_unit_test(status_from_the_future_does_not_count),
		cmocka_unit_test(a_bad_clock_makes_freshness_unknown),
		cmocka_unit_test(an_ocsp_answer_suffices_in_place_of_a_crl),
		cmocka_unit_test(bad_ocsp_answers_do_not_count),
		cmocka_unit_test(ocsp_revokes_whatever_a_crl_says),
		cmocka_unit_test(a_revoked_responder_is_not_believed),
		cmocka_unit_test(a_certificate_without_addresses_says_so),
		cmocka_unit_test(nothing_of_the_manifest_is_read_before_its_signer_is_trusted),
		cmocka_unit_test(relative_addresses_are_resolved_before_they_are_judged),
		cmocka_unit_test(sequence_size_time_address_and_device_are_judged),
		cmocka_unit_test(workers_judge_side_by_side),
		cmocka_unit_test(a_verdict_is_json_and_text),
	};
	return cmocka_run_group_tests_name("trust/verdict_pki", tests, make_pki, free_pki);
}
