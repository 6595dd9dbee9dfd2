#include <errno.h>

#include "base/text.h"
#include "codec/cose.h"
#include "codec/json.h"
#include "vectors.h"

struct vector {
	struct json_doc *doc;
	struct buf cbor, tbs, external;
};

static void vector_done(struct vector *v)
{
	json_doc_free(v->doc);
	buf_done(&v->cbor);
	buf_done(&v->tbs);
	buf_done(&v->external);
}

static void vector_load(struct vector *v, const char *name)
{
	static const char *const kinds[] = { "sign0", "sign", "mac0", "mac" };
	_cleanup_buf_ struct buf text = { 0 };
	char path[128], error[128];

	(void)snprintf(path, sizeof(path), "cose/%s.json", name); /* short names */
	add_file(&text, path);
	if (json_parse(buf_span(&text), &v->doc, error, sizeof(error)) < 0)
		fail_msg("%s: %s", name, error);
	const struct json_value *root = json_root(v->doc), *middle = json_get(root, "intermediates");
	const struct json_value *first = json_at(json_get(middle, "signers"), 0), *input = NULL;
	const char *tbs = json_get_str(first ? first : middle, "ToBeSign_hex");
	for (size_t i = 0; i < 4 && !input; i++)
		input = json_get(json_get(root, "input"), kinds[i]);
	if (first)
		input = json_at(json_get(input, "signers"), 0);
	add_hex(&v->cbor, json_get_str(json_get(root, "output"), "cbor"));
	add_hex(&v->tbs, tbs ? tbs : json_get_str(middle, "ToMac_hex"));
	if (json_get_str(input, "external"))
		add_hex(&v->external, json_get_str(input, "external"));
}

static void public_examples_decode_and_give_their_bytes_to_be_signed(void **state) /* CO-1, CO-2, CO-8, CO-9, CO-11, CO-12 */
{
	static const struct {
		const char *name;
		enum cose_kind untagged;               /* 0 = tagged */
		unsigned flags;
		enum cose_kind kind;
		int64_t alg;
		bool tbs_differs;                      /* what was signed is not what stands there */
	} rows[] = {
		{ "CWT/A_3", 0, 0, COSE_SIGN1, COSE_ES256, false },
		{ "CWT/A_7", 0, 0, COSE_MAC0, COSE_HMAC_256_64, false },
		{ "RFC8152/Appendix_C_1_1", 0, 0, COSE_SIGN, COSE_ES256, false },
		{ "RFC8152/Appendix_C_1_3", 0, 0, COSE_SIGN, COSE_ES256, false },
		{ "RFC8152/Appendix_C_2_1", 0, 0, COSE_SIGN1, COSE_ES256, false },
		{ "countersign1/mac0-01", 0, 0, COSE_MAC0, COSE_HMAC_256, false },
		{ "countersign1/signed-02", 0, 0, COSE_SIGN, COSE_EDDSA, false },
		{ "ecdsa-examples/ecdsa-01", 0, 0, COSE_SIGN, COSE_ES256, false },
		{ "ecdsa-examples/ecdsa-03", 0, 0, COSE_SIGN, COSE_ES512, false },
		{ "ecdsa-examples/ecdsa-sig-01", 0, 0, COSE_SIGN1, COSE_ES256, false },
		{ "ecdsa-examples/ecdsa-sig-03", 0, 0, COSE_SIGN1, COSE_ES512, false },
		{ "eddsa-examples/eddsa-01", 0, 0, COSE_SIGN, COSE_EDDSA, false },
		{ "eddsa-examples/eddsa-sig-01", 0, 0, COSE_SIGN1, COSE_EDDSA, false },
		{ "hashsig/hashsig-01", 0, 0, COSE_SIGN, COSE_HSS_LMS, false },
		{ "hmac-examples/HMac-enc-02", 0, 0, COSE_MAC0, COSE_HMAC_384, false },
		{ "hmac-examples/HMac-enc-04", 0, 0, COSE_MAC0, COSE_HMAC_256, false },
		{ "mac0-tests/HMac-01", 0, 0, COSE_MAC0, COSE_HMAC_256, false },
		{ "mac0-tests/mac-fail-02", 0, 0, COSE_MAC0, COSE_HMAC_256, false },
		{ "mac0-tests/mac-fail-07", 0, 0, COSE_MAC0, COSE_HMAC_256, true },
		{ "mac0-tests/mac-pass-02", 0, COSE_ALLOW_UNPROTECTED_ALG, COSE_MAC0, COSE_HMAC_256, false },
		{ "rsa-pss-examples/rsa-pss-01", 0, 0, COSE_SIGN, COSE_PS256, false },
		{ "rsa-pss-examples/rsa-pss-03", 0, 0, COSE_SIGN, COSE_PS512, false },
		{ "sign-tests/ecdsa-01", 0, 0, COSE_SIGN, COSE_ES256, false },
		{ "sign-tests/sign-fail-02", 0, 0, COSE_SIGN, COSE_ES256, false },
		{ "sign-tests/sign-fail-07", 0, 0, COSE_SIGN, COSE_ES256, true },
		{ "sign-tests/sign-pass-02", 0, 0, COSE_SIGN, COSE_ES256, false },
		{ "sign1-tests/sign-fail-03", 0, 0, COSE_SIGN1, -999, true },
		{ "sign1-tests/sign-fail-06", 0, 0, COSE_SIGN1, COSE_ES256, true },
		{ "sign1-tests/sign-pass-01", 0, COSE_ALLOW_UNPROTECTED_ALG, COSE_SIGN1, COSE_ES256, false },
		{ "sign1-tests/sign-pass-03", COSE_SIGN1, COSE_ALLOW_UNTAGGED, COSE_SIGN1, COSE_ES256, false },
		{ "x509-examples/signed-01", 0, 0, COSE_SIGN, COSE_ES256, false },
		{ "x509-examples/signed-03", 0, 0, COSE_SIGN, COSE_ES256, false },
		{ "x509-examples/signed-05", 0, 0, COSE_SIGN, COSE_ES256, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_(vector_done) struct vector v = { 0 };
		_cleanup_buf_ struct buf tbs = { 0 };
		struct cose_message m = { .kind = rows[i].untagged };
		enum cose_problem p;
		vector_load(&v, rows[i].name);
		if (cose_decode(buf_span(&v.cbor), rows[i].flags, &m, &p) != 0)
			fail_msg("%s: %s", rows[i].name, cose_problem_text(p));
		const struct cose_signer *signer = m.kind == COSE_SIGN ? &m.signers[0] : NULL;
		const struct cose_headers *h = signer ? &signer->headers : &m.headers;
		assert_int_equal(m.kind, rows[i].kind);
		assert_int_equal(h->alg, rows[i].alg);
		cose_tbs(&m, signer, buf_span(&v.external), m.payload, &tbs);
		if (span_eq(buf_span(&tbs), buf_span(&v.tbs)) == rows[i].tbs_differs)
			fail_msg("%s: bytes to be signed", rows[i].name);
	}
}

static enum cose_problem problem_of(struct span in, unsigned flags)
{
	struct cose_message m = { 0 };
	enum cose_problem p;
	int r = cose_decode(in, flags, &m, &p);

	assert_int_equal(r == 0, p == COSE_OK);
	return p;
}

static enum cose_problem problem_of_file(const char *name, unsigned flags)
{
	_cleanup_(vector_done) struct vector v = { 0 };

	vector_load(&v, name);
	return problem_of(buf_span(&v.cbor), flags);
}

static void public_examples_are_refused_for_their_reason(void **state)
{
	(void)state;
	assert_int_equal(problem_of_file("sign1-tests/sign-fail-01", 0), COSE_WRONG_TAG);               /* CO-8 */
	assert_int_equal(problem_of_file("sign1-tests/sign-pass-03", 0), COSE_NOT_TAGGED);
	assert_int_equal(problem_of_file("sign1-tests/sign-pass-03", COSE_ALLOW_UNTAGGED), COSE_NOT_TAGGED); /* kind not said */
	assert_int_equal(problem_of_file("sign1-tests/sign-pass-01", 0), COSE_ALG_NOT_PROTECTED);       /* CO-2 */
	assert_int_equal(problem_of_file("mac0-tests/mac-pass-02", 0), COSE_ALG_NOT_PROTECTED);
	assert_int_equal(problem_of_file("mac0-tests/mac-fail-04", 0), COSE_ALG_IS_TEXT);               /* CO-11 */
}

static void a_signer_with_a_problem_is_reported_alone(void **state) /* CO-12 */
{
	_cleanup_(vector_done) struct vector v = { 0 };
	struct cose_message m = { 0 };
	enum cose_problem p;

	(void)state;
	vector_load(&v, "sign-tests/sign-fail-04");
	assert_int_equal(cose_decode(buf_span(&v.cbor), 0, &m, &p), 0);
	assert_int_equal(m.n_signers, 1);
	assert_int_equal(m.signers[0].problem, COSE_ALG_IS_TEXT);
}

static void certificates_come_out_of_the_headers(void **state)
{
	_cleanup_(vector_done) struct vector chain = { 0 }, thumbprint = { 0 };
	struct cose_message m = { 0 };
	enum cose_problem p;

	(void)state;
	vector_load(&chain, "x509-examples/signed-03");
	assert_int_equal(cose_decode(buf_span(&chain.cbor), 0, &m, &p), 0);
	assert_int_equal(m.signers[0].headers.n_x5chain, 1);
	assert_int_equal(m.signers[0].headers.x5chain[0].n, 429);
	assert_int_equal(m.signers[0].headers.x5chain[0].p[0], 0x30);
	vector_load(&thumbprint, "x509-examples/signed-05");
	assert_int_equal(cose_decode(buf_span(&thumbprint.cbor), 0, &m, &p), 0);
	assert_int_equal(m.signers[0].headers.x5t_alg, -16);
	assert_int_equal(m.signers[0].headers.x5t.n, 32);
}

static enum cose_problem problem_of_diag(const char *text, unsigned flags)
{
	_cleanup_buf_ struct buf b = { 0 };

	add_diag(&b, text);
	return problem_of(buf_span(&b), flags);
}

static void header_rules_hold(void **state)
{
	static const struct {
		const char *text;
		enum cose_problem expected;
	} rows[] = {
		{ "18([<<{1: -9}>>, {}, null, h'00'])", COSE_OK },
		{ "18([<<{1: -9, 4: 'key'}>>, {}, null, h'00'])", COSE_OK },
		{ "18([<<{1: -9}>>, {\"x\": 1, -70000: [2]}, null, h'00'])", COSE_OK },
		{ "18([h'', {}, null, h'00'])", COSE_ALG_MISSING },
		{ "18([<<{}>>, {}, null, h'00'])", COSE_ALG_MISSING },
		{ "18([<<{}>>, {1: -9}, null, h'00'])", COSE_ALG_NOT_PROTECTED },      /* CO-2 */
		{ "18([<<{1: -9}>>, {1: -9}, null, h'00'])", COSE_ALG_DUPLICATE },
		{ "18([<<{1: \"ES256\"}>>, {}, null, h'00'])", COSE_ALG_IS_TEXT },     /* CO-11 */
		{ "18([<<{1: h'00'}>>, {}, null, h'00'])", COSE_MALFORMED },
		{ "18([<<{1: -9, 1: -7}>>, {}, null, h'00'])", COSE_LABEL_DUPLICATE }, /* CO-5 */
		{ "18([<<{1: -9, 4: 'a'}>>, {4: 'b'}, null, h'00'])", COSE_LABEL_DUPLICATE },
		{ "18([<<{1: -9, \"x\": 1}>>, {\"x\": 1}, null, h'00'])", COSE_LABEL_DUPLICATE },
		{ "18([<<{1: -9}>>, {4: 'b', 4: 'b'}, null, h'00'])", COSE_LABEL_DUPLICATE },
		{ "18([<<{1: -9, 2: [1]}>>, {}, null, h'00'])", COSE_OK },             /* CO-4 */
		{ "18([<<{1: -9, 2: [4], 4: 'a'}>>, {}, null, h'00'])", COSE_OK },
		{ "18([<<{1: -9, 2: []}>>, {}, null, h'00'])", COSE_MALFORMED },
		{ "18([<<{1: -9, 2: 1}>>, {}, null, h'00'])", COSE_MALFORMED },
		{ "18([<<{1: -9, 2: [99], 99: 1}>>, {}, null, h'00'])", COSE_CRIT_UNKNOWN },
		{ "18([<<{1: -9, 2: [\"reserved\"], \"reserved\": false}>>, {}, null, h'00'])", COSE_CRIT_UNKNOWN },
		{ "18([<<{1: -9, 2: [4]}>>, {4: 'a'}, null, h'00'])", COSE_CRIT_UNKNOWN },
		{ "18([<<{1: -9}>>, {2: [1]}, null, h'00'])", COSE_MALFORMED },
		{ "18([<<{1: -9}>>, {4: 1}, null, h'00'])", COSE_MALFORMED },
		{ "18([<<[1]>>, {}, null, h'00'])", COSE_MALFORMED },
		{ "18([<<{1: -9}>>, [], null, h'00'])", COSE_MALFORMED },
		{ "18([{1: -9}, {}, null, h'00'])", COSE_MALFORMED },
		{ "18([<<{1: -9}>>, {}, 0, h'00'])", COSE_MALFORMED },
		{ "18([<<{1: -9}>>, {}, null])", COSE_MALFORMED },
		{ "18([<<{1: -9}>>, {}, null, h'00', h'00'])", COSE_WRONG_TAG },
		{ "18([<<{1: -9}>>, {}, null, []])", COSE_WRONG_TAG },
		{ "98([<<{1: -9}>>, {}, null, h'00'])", COSE_WRONG_TAG },
		{ "96([<<{1: -9}>>, {}, null, h'00'])", COSE_WRONG_TAG },
		{ "98([h'', {}, null, []])", COSE_MALFORMED },
		{ "98([h'', {}, null, [[<<{1: -9}>>, {}, h'00']]])", COSE_OK },
		{ "98([h'', {}, null, [[<<{1: -9}>>, {}, h'00', h'00']]])", COSE_MALFORMED },
		{ "97([<<{1: 5}>>, {}, null, h'00', [[h'', {1: -6, 4: 'k'}, h'']]])", COSE_OK },
		{ "97([<<{1: 5}>>, {}, null, h'00', []])", COSE_MALFORMED },
		{ "18(1)", COSE_MALFORMED },
		{ "[<<{1: -9}>>, {}, null, h'00']", COSE_NOT_TAGGED },
		{ "18([<<{1: -9}>>, {33: []}, null, h'00'])", COSE_MALFORMED },
		{ "18([<<{1: -9}>>, {33: h''}, null, h'00'])", COSE_MALFORMED },
		{ "18([<<{1: -9}>>, {33: [1]}, null, h'00'])", COSE_MALFORMED },
		{ "18([<<{1: -9}>>, {34: [-16]}, null, h'00'])", COSE_MALFORMED },
		{ "18([<<{1: -9}>>, {34: [\"sha\", h'00']}, null, h'00'])", COSE_OK },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (problem_of_diag(rows[i].text, 0) != rows[i].expected)
			fail_msg("%s: %s", rows[i].text, cose_problem_text(problem_of_diag(rows[i].text, 0)));
}

static void an_attached_payload_is_refused_where_it_must_be_detached(void **state) /* SU-5 */
{
	(void)state;
	assert_int_equal(problem_of_diag("18([<<{1: -9}>>, {}, h'01', h'00'])", 0), COSE_OK);
	assert_int_equal(problem_of_diag("18([<<{1: -9}>>, {}, h'01', h'00'])", COSE_NEEDS_DETACHED), COSE_PAYLOAD_NOT_DETACHED);
	assert_int_equal(problem_of_diag("18([<<{1: -9}>>, {}, null, h'00'])", COSE_NEEDS_DETACHED), COSE_OK);
}

static enum cose_problem problem_of_chain(size_t n, size_t bytes_each)
{
	_cleanup_buf_ struct buf b = { 0 };

	add_hex(&b, "d284 43a10128");
	cbor_put_map(&b, 1);
	cbor_put_uint(&b, 33);
	cbor_put_array(&b, n);
	for (size_t i = 0; i < n; i++) {
		cbor_put_bytes_head(&b, bytes_each);
		(void)buf_grow(&b, bytes_each); /* checked by the decoder's answer */
	}
	add_hex(&b, "f6 4100");
	return problem_of(buf_span(&b), 0);
}

static enum cose_problem problem_of_headers(size_t n, size_t kid_bytes)
{
	_cleanup_buf_ struct buf b = { 0 };

	add_hex(&b, "d284 43a10128");
	cbor_put_map(&b, n + 1);
	cbor_put_uint(&b, 4);
	cbor_put_bytes_head(&b, kid_bytes);
	(void)buf_grow(&b, kid_bytes); /* checked by the decoder's answer */
	for (size_t i = 0; i < n; i++) {
		cbor_put_uint(&b, 1000 + i);
		cbor_put_null(&b);
	}
	add_hex(&b, "f6 4100");
	return problem_of(buf_span(&b), 0);
}

static enum cose_problem problem_of_signers(size_t n)
{
	_cleanup_buf_ struct buf b = { 0 };

	add_hex(&b, "d862 84 40 a0 f6");
	cbor_put_array(&b, n);
	for (size_t i = 0; i < n; i++)
		add_hex(&b, "83 43a10128 a0 4100");
	return problem_of(buf_span(&b), 0);
}

static void limits_hold_to_the_last(void **state) /* CO-14 */
{
	(void)state;
	assert_int_equal(problem_of_chain(COSE_CHAIN_MAX, 100), COSE_OK);
	assert_int_equal(problem_of_chain(COSE_CHAIN_MAX + 1, 100), COSE_CHAIN_TOO_LONG);
	assert_int_equal(problem_of_chain(2, COSE_CHAIN_BYTES_MAX / 2), COSE_OK);
	assert_int_equal(problem_of_chain(2, COSE_CHAIN_BYTES_MAX / 2 + 1), COSE_CHAIN_TOO_LONG);
	assert_int_equal(problem_of_headers(COSE_HEADERS_MAX - 2, 1), COSE_OK); /* with alg and kid */
	assert_int_equal(problem_of_headers(COSE_HEADERS_MAX - 1, 1), COSE_TOO_MANY);
	assert_int_equal(problem_of_headers(0, COSE_KID_BYTES_MAX), COSE_OK);
	assert_int_equal(problem_of_headers(0, COSE_KID_BYTES_MAX + 1), COSE_KID_TOO_LONG);
	assert_int_equal(problem_of_signers(COSE_SIGNERS_MAX), COSE_OK);
	assert_int_equal(problem_of_signers(COSE_SIGNERS_MAX + 1), COSE_TOO_MANY);
}

static void every_truncation_is_refused(void **state)
{
	_cleanup_(vector_done) struct vector v = { 0 };

	(void)state;
	vector_load(&v, "x509-examples/signed-03");
	for (size_t n = 0; n < v.cbor.n; n++)
		assert_int_equal(problem_of(SPAN(v.cbor.p, n), 0), COSE_MALFORMED);
}

static void what_is_encoded_decodes_to_the_same(void **state)
{
	static const struct span certs[] = { { (const uint8_t *)"leaf", 4 }, { (const uint8_t *)"ca", 2 } };
	_cleanup_buf_ struct buf prot = { 0 }, unprot = { 0 }, all = { 0 };
	struct cose_message m = { 0 };
	enum cose_problem p;

	(void)state;
	cose_put_protected(&prot, COSE_ESP256, SPAN_LIT("kid"));
	cose_put_unprotected(&unprot, certs, 2);
	cose_encode_detached(COSE_SIGN1, buf_span(&prot), buf_span(&unprot), SPAN_LIT("signature"), &all);
	assert_int_equal(cbor_check(buf_span(&all), CBOR_KEYS_SORTED, NULL), 0);
	assert_int_equal(cose_decode(buf_span(&all), COSE_NEEDS_DETACHED, &m, &p), 0);
	assert_int_equal(m.kind, COSE_SIGN1);
	assert_int_equal(m.headers.alg, COSE_ESP256);
	assert_true(span_eq(m.headers.protected_bytes, buf_span(&prot)));
	assert_true(span_eq_str(m.headers.kid, "kid"));
	assert_int_equal(m.headers.n_x5chain, 2);
	assert_true(span_eq(m.headers.x5chain[1], certs[1]));
	assert_true(span_eq_str(m.signature, "signature"));
	buf_clear(&unprot);
	buf_clear(&all);
	cose_put_unprotected(&unprot, certs, 1);
	cose_encode_detached(COSE_MAC0, buf_span(&prot), buf_span(&unprot), SPAN_LIT("tag"), &all);
	assert_int_equal(cose_decode(buf_span(&all), 0, &m, &p), 0);
	assert_int_equal(m.headers.n_x5chain, 1); /* a chain of one is a bstr, not an array */
}

static int key_of_diag(const char *text, struct cose_key *ret)
{
	_cleanup_buf_ struct buf b = { 0 };

	add_diag(&b, text);
	int r = cose_key_decode(buf_span(&b), ret);
	memset(&ret->kid, 0, sizeof(ret->kid)); /* borrowed from b */
	return r;
}

static void keys_are_read_by_their_type(void **state)
{
	static const struct {
		const char *text;
		int expected;
		int64_t crv;
	} rows[] = {
		{ "{1: 2, 3: -9, -1: 1, -2: h'aa', -3: h'bb'}", 0, 1 },
		{ "{1: 2, -1: 1, -2: h'aa', -3: true}", 0, 1 },
		{ "{-1: 1, -2: h'aa', -3: h'bb', 1: 2}", 0, 1 },               /* kty last */
		{ "{1: 1, -1: 6, -2: h'aa', -4: h'dd'}", 0, 6 },               /* a private part is skipped */
		{ "{1: 3, -1: h'aa', -2: h'010001'}", 0, 0 },
		{ "{1: 4, 2: 'kid', -1: h'6161'}", 0, 0 },
		{ "{1: 5, 3: -46, -1: h'00'}", 0, 0 },
		{ "{1: 2, 4: [2], -1: 1, -2: h'aa', -3: h'bb'}", 0, 1 },
		{ "{1: 2, 4: [1], -1: 1, -2: h'aa', -3: h'bb'}", -ENOTSUP, 0 }, /* to sign only */
		{ "{1: 2, 4: [\"x\"], -1: 1, -2: h'aa', -3: h'bb'}", -ENOTSUP, 0 },
		{ "{1: 2, -1: \"P-256\", -2: h'aa', -3: h'bb'}", -ENOTSUP, 0 },
		{ "{1: 2, 3: \"ES256\", -1: 1, -2: h'aa', -3: h'bb'}", -ENOTSUP, 0 },
		{ "{1: 7, -1: h'00'}", -ENOTSUP, 0 },
		{ "{-1: h'00'}", -EBADMSG, 0 },
		{ "{1: 2, -1: 1, -2: h'aa'}", -EBADMSG, 0 },
		{ "{1: 2, -1: 1, -2: 5, -3: h'bb'}", -EBADMSG, 0 },
		{ "{1: 1, -1: 6}", -EBADMSG, 0 },
		{ "{1: 3, -1: h'aa'}", -EBADMSG, 0 },
		{ "{1: 4}", -EBADMSG, 0 },
		{ "{1: 2, 1: 2, -1: 1, -2: h'aa', -3: h'bb'}", -EBADMSG, 0 },
		{ "[1, 2]", -EBADMSG, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cose_key k = { 0 };
		if (key_of_diag(rows[i].text, &k) != rows[i].expected)
			fail_msg("%s: %d", rows[i].text, key_of_diag(rows[i].text, &k));
		assert_int_equal(k.crv, rows[i].crv);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(public_examples_decode_and_give_their_bytes_to_be_signed),
		cmocka_unit_test(public_examples_are_refused_for_their_reason),
		cmocka_unit_test(a_signer_with_a_problem_is_reported_alone),
		cmocka_unit_test(certificates_come_out_of_the_headers),
		cmocka_unit_test(header_rules_hold),
		cmocka_unit_test(an_attached_payload_is_refused_where_it_must_be_detached),
		cmocka_unit_test(limits_hold_to_the_last),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(what_is_encoded_decodes_to_the_same),
		cmocka_unit_test(keys_are_read_by_their_type),
	};

	return cmocka_run_group_tests_name("codec/cose", tests, NULL, NULL);
}
