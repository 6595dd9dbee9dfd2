/* What may be kept of what was fetched (RV-10). */
#include "pki.h"

#include <errno.h>
#include <openssl/ocsp.h>

#include "base/mem.h"
#include "trust/revocation.h"

static struct pki_cert root, leaf, other, fake_root, responder;
static struct revocation_need crl_need, ocsp_need;
static const struct wall now = { PKI_NOW_S * 1000LL };

/* The needs as a verdict names them. */
static int make(void **state)
{
	_cleanup_(trust_anchors_unrefp) struct trust_anchors *a = NULL;
	_cleanup_buf_ struct buf pem = { 0 }, envelope = { 0 };
	struct verdict *v = NEW(struct verdict);

	(void)state;
	pki_issue(NULL, &(struct pki_spec){ .cn = "Root", .is_ca = true }, &root);
	pki_issue(NULL, &(struct pki_spec){ .cn = "Root", .is_ca = true }, &fake_root);
	pki_issue(&root, &(struct pki_spec){ .cn = "Leaf", .crl_url = "http://a.example/crl", .ocsp_url = "https://a.example/ocsp" }, &leaf);
	pki_issue(&root, &(struct pki_spec){ .cn = "Other" }, &other);
	pki_issue(&root, &(struct pki_spec){ .cn = "OCSP", .eku = "OCSPSigning", .nocheck = true }, &responder);
	pki_pem((const struct pki_cert *const[]){ &root }, 1, &pem);
	a = help_anchor(buf_span(&pem));
	pki_envelope(&leaf, (const struct pki_cert *const[]){ &leaf }, 1, &(struct pki_update){ .sequence = 1 }, &envelope);
	verdict_judge(a, &(struct trust_facts){ .now = now }, buf_span(&envelope), NULL, NULL, v);
	assert_int_equal(v->n_needs, 2);
	for (size_t i = 0; i < 2; i++)
		*(v->needs[i].kind == REVOCATION_CRL ? &crl_need : &ocsp_need) = v->needs[i];
	free(v);
	return 0;
}

static int done(void **state)
{
	struct pki_cert *all[] = { &root, &leaf, &other, &fake_root, &responder };

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		pki_done(all[i]);
	return 0;
}

static void crl_check(const struct pki_cert *by, struct pki_crl_spec spec, struct span stored, int expect)
{
	_cleanup_buf_ struct buf der = { 0 };
	struct revocation_object_info info;

	pki_crl(by, &spec, &der);
	assert_int_equal(revocation_object_check(&crl_need, now, false, buf_span(&der), stored, &info), expect);
	assert_true((expect < 0) == (info.why[0] != 0));
	if (expect == 0)
		assert_int_equal(wall_s(info.this_update), spec.this_s ? spec.this_s : PKI_NOW_S - 3600);
}

static void a_crl_is_kept_when_it_is_newer_and_rightly_signed(void **state)
{
	_cleanup_buf_ struct buf stored = { 0 };

	(void)state;
	pki_crl(&root, &(struct pki_crl_spec){ .number = 10, .this_s = PKI_NOW_S - 7200 }, &stored);
	crl_check(&root, (struct pki_crl_spec){ .number = 1 }, SPAN_NONE, 0);
	crl_check(&root, (struct pki_crl_spec){ .number = 11 }, buf_span(&stored), 0);
	crl_check(&root, (struct pki_crl_spec){ .number = 9 }, buf_span(&stored), -ESTALE); /* later date, lower number */
	crl_check(&root, (struct pki_crl_spec){ .number = 10, .this_s = PKI_NOW_S - 9000 }, buf_span(&stored), -ESTALE);
	crl_check(&fake_root, (struct pki_crl_spec){ .number = 99 }, buf_span(&stored), -EKEYREJECTED);
	crl_check(&leaf, (struct pki_crl_spec){ .number = 99 }, SPAN_NONE, -ENOKEY);
	crl_check(&root, (struct pki_crl_spec){ .number = 11, .this_s = PKI_NOW_S + 3600 }, buf_span(&stored), -ETIME);
	crl_check(&root, (struct pki_crl_spec){ .number = 1 }, SPAN_LIT("corrupt"), 0);
	assert_int_equal(revocation_object_check(&crl_need, now, false, buf_span(&stored), buf_span(&stored), NULL), 1);
	assert_int_equal(revocation_object_check(&crl_need, now, false, SPAN_LIT("junk"), buf_span(&stored), NULL), -EBADMSG);
}

/* A forged object that once got in must not keep the true one out. */
static void a_stored_crl_of_a_wrong_signer_does_not_block(void **state)
{
	_cleanup_buf_ struct buf stored = { 0 };

	(void)state;
	pki_crl(&fake_root, &(struct pki_crl_spec){ .number = 1000 }, &stored);
	crl_check(&root, (struct pki_crl_spec){ .number = 1 }, buf_span(&stored), 0);
}

static void ocsp_check(const struct pki_cert *issuer, const struct pki_cert *subject, struct pki_ocsp_spec spec, struct span stored, int expect)
{
	_cleanup_buf_ struct buf der = { 0 };
	struct revocation_object_info info;

	pki_ocsp(issuer, subject, &spec, &der);
	assert_int_equal(revocation_object_check(&ocsp_need, now, false, buf_span(&der), stored, &info), expect);
	assert_true((expect < 0) == (info.why[0] != 0));
}

static void an_ocsp_answer_is_kept_when_it_is_newer_and_rightly_signed(void **state)
{
	_cleanup_buf_ struct buf stored = { 0 };

	(void)state;
	pki_ocsp(&root, &leaf, &(struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_REVOKED }, &stored);
	ocsp_check(&root, &leaf, (struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD }, SPAN_NONE, 0);
	ocsp_check(&root, &leaf, (struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD, .responder = &responder }, SPAN_NONE, 0);
	ocsp_check(&root, &leaf, (struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD, .id_md = EVP_sha256() }, SPAN_NONE, 0);
	ocsp_check(&root, &leaf, (struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD, .this_s = PKI_NOW_S - 1800 }, buf_span(&stored), 0);
	/* the replay of an older "good" */
	ocsp_check(&root, &leaf, (struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD, .this_s = PKI_NOW_S - 9000 }, buf_span(&stored), -ESTALE);
	ocsp_check(&root, &other, (struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD }, SPAN_NONE, -ENOKEY);
	ocsp_check(&fake_root, &leaf, (struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD }, SPAN_NONE, -ENOKEY); /* another issuer key hash */
	ocsp_check(&root, &leaf, (struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD, .responder = &other }, SPAN_NONE, -EKEYREJECTED);
	ocsp_check(&root, &leaf, (struct pki_ocsp_spec){ V_OCSP_CERTSTATUS_GOOD, .this_s = PKI_NOW_S + 3600, .next_s = PKI_NOW_S + 7200 }, SPAN_NONE, -ETIME);
	assert_int_equal(revocation_object_check(&ocsp_need, now, false, buf_span(&stored), buf_span(&stored), NULL), 1);
}

/* tryLater and its like are no answers. */
static void an_unsuccessful_answer_is_refused(void **state)
{
	static const uint8_t try_later[] = { 0x30, 0x03, 0x0a, 0x01, 0x03 };

	(void)state;
	assert_int_equal(revocation_object_check(&ocsp_need, now, false, SPAN_OF(try_later), SPAN_NONE, NULL), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crl_is_kept_when_it_is_newer_and_rightly_signed),
		cmocka_unit_test(a_stored_crl_of_a_wrong_signer_does_not_block),
		cmocka_unit_test(an_ocsp_answer_is_kept_when_it_is_newer_and_rightly_signed),
		cmocka_unit_test(an_unsuccessful_answer_is_refused),
	};
	return cmocka_run_group_tests_name("trust/revocation_object", tests, make, done);
}
