/* The mode table, and the published CRL and OCSP cases through the functions that the verdict uses. */
#include "help.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>

#include "trust/revocation_status.h"

/* RV-13: all 18 cells; STALE in grace mode both within and after the grace time. */
static void the_mode_table_is_this(void **state)
{
	enum { P = RULE_PASS, F = RULE_FAIL, U = RULE_UNDECIDED, W = RULE_WARN };
	static const struct { enum revocation_mode mode; enum revocation_status status; int in_grace, after; } cells[] = {
		{ REVOCATION_HARD, REVOCATION_GOOD, P, P },	  { REVOCATION_HARD, REVOCATION_REVOKED, F, F },
		{ REVOCATION_HARD, REVOCATION_UNKNOWN, U, U },	  { REVOCATION_HARD, REVOCATION_NO_ANSWER, U, U },
		{ REVOCATION_HARD, REVOCATION_STALE, U, U },	  { REVOCATION_HARD, REVOCATION_CLOCK_BAD, U, U },
		{ REVOCATION_GRACE, REVOCATION_GOOD, P, P },	  { REVOCATION_GRACE, REVOCATION_REVOKED, F, F },
		{ REVOCATION_GRACE, REVOCATION_UNKNOWN, U, U },	  { REVOCATION_GRACE, REVOCATION_NO_ANSWER, U, U },
		{ REVOCATION_GRACE, REVOCATION_STALE, W, U },	  { REVOCATION_GRACE, REVOCATION_CLOCK_BAD, U, U },
		{ REVOCATION_SOFT, REVOCATION_GOOD, P, P },	  { REVOCATION_SOFT, REVOCATION_REVOKED, F, F },
		{ REVOCATION_SOFT, REVOCATION_UNKNOWN, W, W },	  { REVOCATION_SOFT, REVOCATION_NO_ANSWER, W, W },
		{ REVOCATION_SOFT, REVOCATION_STALE, W, W },	  { REVOCATION_SOFT, REVOCATION_CLOCK_BAD, W, W },
	};

	(void)state;
	assert_int_equal(sizeof(cells) / sizeof(*cells), 18);
	for (size_t i = 0; i < 18; i++) {
		assert_int_equal(revocation_decide(cells[i].mode, cells[i].status, true), cells[i].in_grace);
		assert_int_equal(revocation_decide(cells[i].mode, cells[i].status, false), cells[i].after);
	}
	assert_int_equal(revocation_decide((enum revocation_mode)3, REVOCATION_GOOD, true), RULE_FAIL);
	assert_int_equal(revocation_decide(REVOCATION_SOFT, REVOCATION_STATUS_COUNT, true), RULE_FAIL);
}

static STACK_OF(X509) *certs_of(const char *path)
{
	STACK_OF(X509) *certs = sk_X509_new_null();
	FILE *f = fopen(path, "r");
	X509 *x;

	if (!f)
		fail_msg("cannot read %s", path);
	while ((x = PEM_read_X509(f, NULL, NULL, NULL)))
		assert_true(sk_X509_push(certs, x) > 0);
	ERR_clear_error();
	(void)fclose(f);
	assert_true(sk_X509_num(certs) > 0);
	return certs;
}

static X509 *cert_of(const char *folder, const char *name)
{
	char path[400];

	(void)snprintf(path, sizeof(path), "%s/pkix/pkits/%s/%s.pem", VECTORS, folder, name);
	STACK_OF(X509) *certs = certs_of(path);
	X509 *x = sk_X509_shift(certs);
	sk_X509_pop_free(certs, X509_free);
	return x;
}

static void crl_der(const char *name, struct buf *ret)
{
	unsigned char *der = NULL;
	char path[400];

	(void)snprintf(path, sizeof(path), "%s/pkix/pkits/crl/%s.pem", VECTORS, name);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	X509_CRL *crl = PEM_read_X509_CRL(f, NULL, NULL, NULL);
	(void)fclose(f);
	assert_non_null(crl);
	int n = i2d_X509_CRL(crl, &der);
	assert_true(n > 0);
	buf_add(ret, SPAN(der, (size_t)n));
	OPENSSL_free(der);
	X509_CRL_free(crl);
}

/* One PKITS case: is the path built, and is every certificate good in hard mode? */
static bool pkits_accepts(const struct json_value *t, const STACK_OF(X509) *trusted, const struct x509_policy *policy)
{
	const struct json_value *chain = json_get(t, "chain"), *crls = json_get(t, "crls");
	struct revocation_object objects[4] = { 0 };
	struct buf der[4] = { 0 };
	STACK_OF(X509) *untrusted = sk_X509_new_null(), *path_chain = NULL;
	X509 *leaf = cert_of("ee", json_get_str(t, "ee"));
	char why[X509_WHY_BYTES];
	bool ok = false;

	for (size_t i = 0; i < json_n(chain); i++)
		assert_true(sk_X509_push(untrusted, cert_of("ca", json_as_str(json_at(chain, i)))) > 0);
	assert_in_range(json_n(crls), 1, 4);
	for (size_t i = 0; i < json_n(crls); i++) {
		crl_der(json_as_str(json_at(crls, i)), &der[i]);
		objects[i] = (struct revocation_object){ .kind = REVOCATION_CRL, .url = "", .der = buf_span(&der[i]) };
	}
	if (x509_path_build(leaf, untrusted, trusted, policy, &path_chain, why) == X509_PATH_OK) {
		struct revocation_set *set = revocation_set_new(objects, json_n(crls));
		struct revocation_path path = { .set = set, .chain = path_chain, .untrusted = untrusted, .trusted = trusted, .policy = policy };
		struct revocation_result *result = calloc(1, sizeof(*result));
		assert_non_null(result);
		assert_int_equal(revocation_path_init(&path), 0);
		revocation_judge_path(&path, REVOCATION_HARD, 0, result);
		ok = result->outcome == RULE_PASS;
		revocation_path_done(&path);
		revocation_set_free(set);
		free(result);
	}
	sk_X509_pop_free(path_chain, X509_free);
	sk_X509_pop_free(untrusted, X509_free);
	X509_free(leaf);
	for (size_t i = 0; i < 4; i++)
		buf_done(&der[i]);
	return ok;
}

/* RV-1, RV-3, RV-4, RV-17: NIST's verdicts of sections 4.4 and 4.15. */
static void pkits_gets_its_verdicts(void **state)
{
	_cleanup_(json_doc_freep) struct json_doc *doc = help_json(VECTOR("pkix/pkits/tests.json"));
	const struct json_value *tests = json_get(json_root(doc), "tests");
	STACK_OF(X509) *trusted = certs_of(VECTOR("pkix/pkits/ca/TrustAnchorRootCertificate.pem"));
	int64_t at = 0;

	(void)state;
	assert_true(json_get_int(json_root(doc), "attime", &at));
	/* SHA-1 and RSA of 1024 bits, so without the level that the gateway asks; these CRLs are years old by design. */
	const struct x509_policy policy = { .now = wall_from_s(at), .auth_level = 0, .skew_s = 300, .status_age_max_s = 20 * 366 * 86400u };
	assert_int_equal(json_n(tests), 16);
	for (size_t i = 0; i < json_n(tests); i++) {
		const struct json_value *t = json_at(tests, i);
		bool expect = strcmp(json_get_str(t, "expect"), "accept") == 0;
		if (pkits_accepts(t, trusted, &policy) != expect)
			fail_msg("PKITS %s %s: expected %s", json_get_str(t, "test"), json_get_str(t, "ee"), json_get_str(t, "expect"));
	}
	const struct x509_policy strict = { .now = wall_from_s(at), .auth_level = X509_AUTH_LEVEL, .skew_s = 300 };
	for (size_t i = 0; i < json_n(tests); i++)
		assert_false(pkits_accepts(json_at(tests, i), trusted, &strict));
	sk_X509_pop_free(trusted, X509_free);
}

/* RV-2, RV-8, RV-9: signature, responder id, issuer hashes, delegation, of OpenSSL's own collection. */
static void ocsp_answers_get_their_verdicts(void **state)
{
	_cleanup_(json_doc_freep) struct json_doc *doc = help_json(VECTOR("pkix/ocsp/tests.json"));
	const struct json_value *tests = json_get(json_root(doc), "tests");
	static const struct revocation_set empty;
	int64_t at = 0;

	(void)state;
	assert_true(json_get_int(json_root(doc), "attime", &at));
	const struct x509_policy policy = { .now = wall_from_s(at), .auth_level = 0, .skew_s = 300, .status_age_max_s = 366 * 86400 };
	assert_int_equal(json_n(tests), 29);
	for (size_t i = 0; i < json_n(tests); i++) {
		const struct json_value *t = json_at(tests, i);
		bool expect = strcmp(json_get_str(t, "expect"), "accept") == 0;
		char path[400], why[X509_WHY_BYTES] = "";
		_cleanup_buf_ struct buf der = { 0 };
		(void)snprintf(path, sizeof(path), "%s/pkix/ocsp/%s", VECTORS, json_get_str(t, "ca"));
		STACK_OF(X509) *ca = certs_of(path);
		struct revocation_path p = { .set = &empty, .chain = ca, .trusted = ca, .policy = &policy };
		help_read_vector("pkix/ocsp", json_get_str(t, "resp"), &der);
		OCSP_BASICRESP *bs = revocation_ocsp_parse(buf_span(&der));
		assert_non_null(bs);
		if (revocation_ocsp_is_signed(&p, bs, why) != expect)
			fail_msg("%s, %s (%s with %s): expected %s; %s", json_get_str(t, "group"), json_get_str(t, "name"), json_get_str(t, "resp"),
				 json_get_str(t, "ca"), json_get_str(t, "expect"), why);
		OCSP_BASICRESP_free(bs);
		sk_X509_pop_free(ca, X509_free);
	}
}

static void objects_are_refused_at_every_truncation(void **state)
{
	_cleanup_buf_ struct buf crl = { 0 }, ocsp = { 0 };
	struct revocation_object_info info;
	const struct wall now = wall_from_s(1293840000);

	(void)state;
	crl_der("GoodCACRL", &crl);
	help_read_vector("pkix/ocsp", "D1.der", &ocsp);
	assert_int_equal(revocation_object_read(REVOCATION_CRL, buf_span(&crl), now, &info), 0);
	assert_non_null(strstr(info.issuer, "Good CA"));
	assert_int_equal(revocation_object_read(REVOCATION_OCSP, buf_span(&ocsp), now, &info), 0);
	assert_int_equal(wall_s(info.this_update), 1350975600);
	for (size_t n = 0; n < crl.n; n++)
		assert_int_equal(revocation_object_read(REVOCATION_CRL, SPAN(crl.p, n), now, &info), -EBADMSG);
	for (size_t n = 0; n < ocsp.n; n++)
		assert_int_equal(revocation_object_read(REVOCATION_OCSP, SPAN(ocsp.p, n), now, &info), -EBADMSG);
	buf_add_u8(&crl, 0);
	buf_add_u8(&ocsp, 0);
	assert_int_equal(revocation_object_read(REVOCATION_CRL, buf_span(&crl), now, &info), -EBADMSG);
	assert_int_equal(revocation_object_read(REVOCATION_OCSP, buf_span(&ocsp), now, &info), -EBADMSG);
}

/* RV-12 */
static void objects_over_the_limit_are_refused_unread(void **state)
{
	_cleanup_buf_ struct buf big = { 0 };
	struct revocation_object_info info;

	(void)state;
	assert_non_null(buf_grow(&big, REVOCATION_CRL_BYTES_MAX + 1));
	assert_int_equal(revocation_object_read(REVOCATION_CRL, buf_span(&big), wall_from_s(0), &info), -EMSGSIZE);
	assert_int_equal(revocation_object_read(REVOCATION_CRL, SPAN(big.p, big.n - 1), wall_from_s(0), &info), -EBADMSG);
	assert_int_equal(revocation_object_read(REVOCATION_OCSP, SPAN(big.p, REVOCATION_OCSP_BYTES_MAX + 1), wall_from_s(0), &info), -EMSGSIZE);
	assert_int_equal(revocation_object_read(REVOCATION_OCSP, SPAN(big.p, REVOCATION_OCSP_BYTES_MAX), wall_from_s(0), &info), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_mode_table_is_this),
		cmocka_unit_test(pkits_gets_its_verdicts),
		cmocka_unit_test(ocsp_answers_get_their_verdicts),
		cmocka_unit_test(objects_are_refused_at_every_truncation),
		cmocka_unit_test(objects_over_the_limit_are_refused_unread),
	};
	return cmocka_run_group_tests_name("trust/revocation", tests, NULL, NULL);
}
