/* The cryptography of COSE: the public examples, Wycheproof's collections, and what a key may be used with. */
#include "help.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "codec/cbor.h"
#include "trust/anchors.h"
#include "trust/cose_verify.h"

/* ---- Wycheproof ---- */

static EVP_PKEY *pkey_of_der(const char *hex)
{
	_cleanup_buf_ struct buf der = { 0 };

	help_hex(hex, &der);
	const unsigned char *p = der.p;
	EVP_PKEY *pkey = d2i_PUBKEY(NULL, &p, (long)der.n);
	assert_non_null(pkey);
	return pkey;
}

static size_t wycheproof(const char *path, int64_t alg, int64_t other_alg)
{
	_cleanup_(json_doc_freep) struct json_doc *doc = help_json(path);
	const struct json_value *groups = json_get(json_root(doc), "testGroups");
	size_t n = 0;

	for (size_t g = 0; g < json_n(groups); g++) {
		const struct json_value *tests = json_get(json_at(groups, g), "tests");
		EVP_PKEY *pkey = pkey_of_der(json_get_str(json_at(groups, g), "publicKeyDer"));
		const struct cose_verify_key key = { .pkey = pkey };
		for (size_t i = 0; i < json_n(tests); i++, n++) {
			const struct json_value *t = json_at(tests, i);
			_cleanup_buf_ struct buf msg = { 0 }, sig = { 0 };
			help_hex(json_get_str(t, "msg"), &msg);
			help_hex(json_get_str(t, "sig"), &sig);
			bool valid = strcmp(json_get_str(t, "result"), "valid") == 0;
			if ((cose_verify_raw(&key, alg, buf_span(&msg), buf_span(&sig)) == COSE_VERIFIED) != valid)
				fail_msg("%s: group %zu test %zu: expected %s", path, g, i, json_get_str(t, "result"));
			assert_int_equal(cose_verify_raw(&key, other_alg, buf_span(&msg), buf_span(&sig)), COSE_WRONG_KEY);
		}
		EVP_PKEY_free(pkey);
	}
	return n;
}

/* CO-6: sizes, r and s outside 1..n-1, zero. */
static void wycheproof_ecdsa_p256_gets_its_results(void **state)
{
	(void)state;
	assert_int_equal(wycheproof(VECTOR("sig/ecdsa_p256_sha256_p1363.json"), COSE_ESP256, COSE_ESP384), 262);
}

/* CO-7: cofactor, non-canonical encodings. */
static void wycheproof_ed25519_gets_its_results(void **state)
{
	(void)state;
	assert_int_equal(wycheproof(VECTOR("sig/ed25519.json"), COSE_ED25519, COSE_ED448), 151);
}

/* ---- the public COSE examples ---- */

static bool member(const struct json_value *key, const char *name, struct buf *ret)
{
	char with_hex[16];

	(void)snprintf(with_hex, sizeof(with_hex), "%s_hex", name);
	if (json_get_str(key, with_hex))
		help_hex(json_get_str(key, with_hex), ret);
	else if (json_get_str(key, name))
		assert_int_equal(text_parse_base64url(span_str(json_get_str(key, name)), ret), 0);
	return ret->n > 0;
}

static void put(struct buf *b, int64_t label, struct span bytes)
{
	cbor_put_int(b, label);
	cbor_put_bytes(b, bytes);
}

/* A JSON key of the examples as COSE_Key, loaded as an anchor is. */
static struct trust_anchors *anchor_of(const struct json_value *key)
{
	_cleanup_buf_ struct buf b = { 0 }, x = { 0 }, y = { 0 }, n = { 0 }, e = { 0 }, k = { 0 };
	const char *crv = json_get_str(key, "crv") ? json_get_str(key, "crv") : "";
	bool is_ec = member(key, "y", &y), is_rsa = member(key, "n", &n), is_mac = member(key, "k", &k);
	struct trust_anchors *a = NULL;
	char error[200];

	cbor_put_map(&b, is_ec ? 4 : is_mac ? 2 : 3);
	cbor_put_int(&b, 1);
	cbor_put_int(&b, is_ec ? 2 : is_rsa ? 3 : is_mac ? 4 : 1);
	if (is_mac) {
		put(&b, -1, buf_span(&k));
	} else if (is_rsa) {
		assert_true(member(key, "e", &e));
		put(&b, -1, buf_span(&n));
		put(&b, -2, buf_span(&e));
	} else {
		assert_true(member(key, "x", &x));
		cbor_put_int(&b, -1);
		cbor_put_int(&b, !is_ec ? 6 : strcmp(crv, "P-521") == 0 ? 3 : strcmp(crv, "P-384") == 0 ? 2 : 1);
		put(&b, -2, buf_span(&x));
		if (is_ec)
			put(&b, -3, buf_span(&y));
	}
	if (trust_anchors_build(&(struct trust_anchor_config){ .name = "key", .pem = buf_span(&b) }, 1, &a, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	return a;
}

struct example {
	const char *name;
	bool accept;
	unsigned flags;
	bool truncated_mac;
	enum cose_kind untagged;
};

static bool example_accepts(const struct example *x)
{
	static const char *const kinds[] = { "sign0", "sign", "mac0" };
	_cleanup_buf_ struct buf cbor = { 0 }, external = { 0 };
	struct cose_message *m = calloc(1, sizeof(*m));
	const struct json_value *input = NULL;
	enum cose_problem problem;
	char path[300];
	bool ok = false;

	(void)snprintf(path, sizeof(path), "%s/cose/%s.json", VECTORS, x->name);
	_cleanup_(json_doc_freep) struct json_doc *doc = help_json(path);
	for (size_t i = 0; i < 3 && !input; i++)
		input = json_get(json_get(json_root(doc), "input"), kinds[i]);
	const struct json_value *signer = json_at(json_get(input, "signers"), 0);
	const struct json_value *keyed = signer ? signer : input;
	if (!json_get(keyed, "key"))
		keyed = json_at(json_get(input, "recipients"), 0);
	if (json_get_str(signer ? signer : input, "external"))
		help_hex(json_get_str(signer ? signer : input, "external"), &external);
	help_hex(json_get_str(json_get(json_root(doc), "output"), "cbor"), &cbor);
	m->kind = x->untagged;
	if (cose_decode(buf_span(&cbor), x->flags | (x->untagged ? COSE_ALLOW_UNTAGGED : 0), m, &problem) == 0) {
		_cleanup_(trust_anchors_unrefp) struct trust_anchors *a = anchor_of(json_get(keyed, "key"));
		const struct trust_anchor *t = &a->items[0];
		const struct cose_verify_key key = { .pkey = t->pkey, .mac = SPAN(t->mac_key, t->n_mac_key), .alg = t->alg,
						     .allow_truncated_mac = x->truncated_mac };
		ok = cose_verify(&key, m, signer ? &m->signers[0] : NULL, buf_span(&external), m->payload) == COSE_VERIFIED;
	}
	free(m);
	return ok;
}

/* CO-1, CO-2, CO-8..CO-12, CO-16, CO-17 */
static void public_cose_examples_get_their_verdicts(void **state)
{
	static const struct example examples[] = {
		{ "CWT/A_3", true }, { "CWT/A_7", false }, { "CWT/A_7", true, 0, true }, { "RFC8152/Appendix_C_1_1", true },
		{ "RFC8152/Appendix_C_1_3", true }, { "RFC8152/Appendix_C_2_1", true }, { "countersign1/mac0-01", true },
		{ "countersign1/signed-02", true }, { "ecdsa-examples/ecdsa-01", true }, { "ecdsa-examples/ecdsa-03", true },
		{ "ecdsa-examples/ecdsa-sig-01", true }, { "ecdsa-examples/ecdsa-sig-03", true }, { "eddsa-examples/eddsa-01", true },
		{ "eddsa-examples/eddsa-sig-01", true }, { "hmac-examples/HMac-enc-02", true }, { "hmac-examples/HMac-enc-04", false },
		{ "mac0-tests/HMac-01", true }, { "mac0-tests/mac-fail-02", false }, { "mac0-tests/mac-fail-04", false },
		{ "mac0-tests/mac-fail-07", false }, { "rsa-pss-examples/rsa-pss-01", true }, { "rsa-pss-examples/rsa-pss-03", true },
		{ "sign-tests/ecdsa-01", true }, { "sign-tests/sign-fail-02", false }, { "sign-tests/sign-fail-04", false },
		{ "sign-tests/sign-fail-07", false }, { "sign-tests/sign-pass-02", true }, { "sign1-tests/sign-fail-01", false },
		{ "sign1-tests/sign-fail-03", false }, { "sign1-tests/sign-fail-06", false }, { "sign1-tests/sign-pass-01", false },
		{ "sign1-tests/sign-pass-01", true, COSE_ALLOW_UNPROTECTED_ALG }, { "sign1-tests/sign-pass-03", false },
		{ "sign1-tests/sign-pass-03", true, 0, false, COSE_SIGN1 }, { "x509-examples/signed-01", true },
		{ "x509-examples/signed-03", true }, { "x509-examples/signed-05", true },
		{ "mac0-tests/mac-pass-02", true, COSE_ALLOW_UNPROTECTED_ALG },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(examples) / sizeof(*examples); i++) {
		if (example_accepts(&examples[i]) != examples[i].accept)
			fail_msg("%s: expected %s", examples[i].name, examples[i].accept ? "accept" : "reject");
	}
}

/* ---- keys and algorithms ---- */

/* CO-3: each algorithm with its own kind of key and no other. */
static void an_algorithm_fits_its_own_keys_alone(void **state)
{
	static const int64_t algs[] = { COSE_ES256, COSE_ESP256, COSE_ES384, COSE_ESP384, COSE_ES512, COSE_ESP512, COSE_EDDSA, COSE_ED25519,
					COSE_ED448, COSE_PS256, COSE_PS384, COSE_PS512, COSE_HMAC_256, COSE_HSS_LMS, 0, -999 };
	static const struct { const char *type, *group; const char *fits; int64_t own; } keys[] = {
		{ "EC", "P-256", "11", COSE_ESP256 }, { "EC", "P-384", "0011", COSE_ESP384 }, { "EC", "P-521", "000011", COSE_ESP512 },
		{ "EC", "secp256k1", "", 0 }, { "ED25519", NULL, "00000011", COSE_ED25519 }, { "ED448", NULL, "000000101", COSE_ED448 },
		{ "X25519", NULL, "", 0 },
	};

	(void)state;
	for (size_t k = 0; k < sizeof(keys) / sizeof(*keys); k++) {
		EVP_PKEY *p = keys[k].group ? EVP_PKEY_Q_keygen(NULL, NULL, keys[k].type, keys[k].group) : EVP_PKEY_Q_keygen(NULL, NULL, keys[k].type);
		assert_non_null(p);
		assert_int_equal(cose_alg_for_key(p), keys[k].own);
		assert_int_equal(cose_key_is_acceptable(p), keys[k].own != 0);
		for (size_t i = 0; i < sizeof(algs) / sizeof(*algs); i++)
			assert_int_equal(cose_alg_fits(algs[i], p), i < strlen(keys[k].fits) && keys[k].fits[i] == '1');
		EVP_PKEY_free(p);
	}
}

/* CO-17 */
static void small_rsa_keys_are_refused(void **state)
{
	(void)state;
	for (int bits = 1024; bits <= 2048; bits += 1024) {
		EVP_PKEY *p = EVP_RSA_gen((unsigned)bits);
		assert_int_equal(cose_key_is_acceptable(p), bits >= 2048);
		assert_int_equal(cose_alg_fits(COSE_PS256, p), bits >= 2048);
		EVP_PKEY_free(p);
	}
}

/* Everything we can sign verifies, in the exact length, and not when a bit differs. */
static void what_is_signed_verifies_and_what_is_changed_does_not(void **state)
{
	static const struct { const char *type, *group; int64_t alg; size_t n; } rows[] = {
		{ "EC", "P-256", COSE_ES256, 64 }, { "EC", "P-384", COSE_ESP384, 96 }, { "EC", "P-521", COSE_ES512, 132 },
		{ "ED25519", NULL, COSE_EDDSA, 64 }, { "ED448", NULL, COSE_EDDSA, 114 }, { "RSA", NULL, COSE_PS384, 256 },
	};
	const struct span text = SPAN_LIT("to be signed");

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		EVP_PKEY *p = strcmp(rows[i].type, "RSA") == 0 ? EVP_RSA_gen(2048) :
			      rows[i].group ? EVP_PKEY_Q_keygen(NULL, NULL, rows[i].type, rows[i].group) :
					      EVP_PKEY_Q_keygen(NULL, NULL, rows[i].type);
		const struct cose_verify_key key = { .pkey = p };
		_cleanup_buf_ struct buf sig = { 0 };
		assert_int_equal(cose_sign_raw(p, rows[i].alg, text, &sig), 0);
		assert_int_equal(sig.n, rows[i].n);
		assert_int_equal(cose_verify_raw(&key, rows[i].alg, text, buf_span(&sig)), COSE_VERIFIED);
		assert_int_equal(cose_verify_raw(&key, rows[i].alg, SPAN_LIT("to be signeD"), buf_span(&sig)), COSE_BAD_SIGNATURE);
		for (size_t n = 0; n < sig.n; n++)
			assert_int_equal(cose_verify_raw(&key, rows[i].alg, text, SPAN(sig.p, n)), COSE_BAD_LENGTH);
		buf_add_u8(&sig, 0);
		assert_int_equal(cose_verify_raw(&key, rows[i].alg, text, buf_span(&sig)), COSE_BAD_LENGTH);
		sig.n--;
		sig.p[sig.n / 3] ^= 0x10;
		assert_int_not_equal(cose_verify_raw(&key, rows[i].alg, text, buf_span(&sig)), COSE_VERIFIED);
		assert_int_equal(cose_verify_raw(&(struct cose_verify_key){ .pkey = p, .alg = COSE_PS512 }, rows[i].alg, text, buf_span(&sig)),
				 COSE_WRONG_KEY);
		assert_int_equal(cose_verify_raw(&key, COSE_HMAC_256, text, buf_span(&sig)), COSE_WRONG_KEY);
		assert_int_equal(cose_verify_raw(&key, COSE_HSS_LMS, text, buf_span(&sig)), COSE_UNSUPPORTED);
		assert_int_equal(cose_verify_raw(&key, -48, text, buf_span(&sig)), COSE_UNSUPPORTED);
		EVP_PKEY_free(p);
	}
}

/* CO-6: r or s of zero, n, or more. */
static void scalars_outside_the_group_are_refused(void **state)
{
	static const char n_p256[] = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
	static const char zero[] = "0000000000000000000000000000000000000000000000000000000000000000";
	static const char one[] = "0000000000000000000000000000000000000000000000000000000000000001";
	static const char ones[] = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
	static const char *const pairs[][2] = { { zero, zero }, { zero, one }, { one, zero }, { n_p256, one }, { one, n_p256 }, { ones, ones } };
	EVP_PKEY *p = EVP_EC_gen("P-256");
	const struct cose_verify_key key = { .pkey = p };

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		_cleanup_buf_ struct buf sig = { 0 };
		help_hex(pairs[i][0], &sig);
		help_hex(pairs[i][1], &sig);
		assert_int_equal(cose_verify_raw(&key, COSE_ESP256, SPAN_LIT("x"), buf_span(&sig)), COSE_BAD_LENGTH);
	}
	EVP_PKEY_free(p);
}

/* CO-16 */
static void macs_compare_whole(void **state)
{
	static const struct { int64_t alg; size_t n; } rows[] = { { COSE_HMAC_256, 32 }, { COSE_HMAC_384, 48 }, { COSE_HMAC_512, 64 } };
	const struct cose_verify_key key = { .mac = SPAN_LIT("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") };
	const struct span text = SPAN_LIT("to be authenticated");
	uint8_t tag[COSE_MAC_BYTES_MAX];
	size_t n;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(cose_mac_raw(key.mac, rows[i].alg, text, tag, &n), 0);
		assert_int_equal(n, rows[i].n);
		assert_int_equal(cose_verify_raw(&key, rows[i].alg, text, SPAN(tag, n)), COSE_VERIFIED);
		for (size_t short_n = 0; short_n < n; short_n++)
			assert_int_equal(cose_verify_raw(&key, rows[i].alg, text, SPAN(tag, short_n)), COSE_BAD_LENGTH);
		tag[n - 1] ^= 1;
		assert_int_equal(cose_verify_raw(&key, rows[i].alg, text, SPAN(tag, n)), COSE_BAD_SIGNATURE);
		assert_int_equal(cose_verify_raw(&key, COSE_ESP256, text, SPAN(tag, n)), COSE_WRONG_KEY);
	}
	assert_int_equal(cose_mac_raw(key.mac, COSE_HMAC_256_64, text, tag, &n), 0);
	assert_int_equal(cose_verify_raw(&key, COSE_HMAC_256_64, text, SPAN(tag, n)), COSE_UNSUPPORTED);
	assert_int_equal(cose_verify_raw(&(struct cose_verify_key){ .alg = 0 }, COSE_HMAC_256, text, SPAN(tag, 32)), COSE_WRONG_KEY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wycheproof_ecdsa_p256_gets_its_results),
		cmocka_unit_test(wycheproof_ed25519_gets_its_results),
		cmocka_unit_test(public_cose_examples_get_their_verdicts),
		cmocka_unit_test(an_algorithm_fits_its_own_keys_alone),
		cmocka_unit_test(small_rsa_keys_are_refused),
		cmocka_unit_test(what_is_signed_verifies_and_what_is_changed_does_not),
		cmocka_unit_test(scalars_outside_the_group_are_refused),
		cmocka_unit_test(macs_compare_whole),
	};
	return cmocka_run_group_tests_name("trust/cose_verify", tests, NULL, NULL);
}
