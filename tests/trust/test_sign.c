/* The author's keys and signatures, and the gateway's own MAC for nodes with a shared key. */
#include "pki.h"

#include <errno.h>

#include "base/mem.h"
#include "trust/delegate.h"
#include "trust/sign.h"

static const uint8_t manifest[] = { 0xa1, 0x01, 0x01 };

static void block_of(struct span key_pem, int64_t alg, struct span chain, struct buf *ret_digest, struct buf *ret_block)
{
	_cleanup_(sign_key_freep) struct sign_key *key = NULL;
	char error[200] = "";

	if (sign_key_load(key_pem, alg, &key, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	suit_auth_digest_encode(SPAN_OF(manifest), ret_digest);
	assert_int_equal(sign_auth_digest(key, chain, SPAN_LIT("k1"), buf_span(ret_digest), ret_block, error, sizeof(error)), 0);
}

static void generated_keys_sign_what_their_public_half_verifies(void **state)
{
	static const int64_t algs[SIGN_KIND_COUNT][3] = { { 0, COSE_ES256, COSE_ESP256 }, { 0, COSE_ES384, COSE_ESP384 }, { 0, COSE_EDDSA, COSE_ED25519 } };

	(void)state;
	for (enum sign_key_kind k = SIGN_P256; k < SIGN_KIND_COUNT; k++) {
		_cleanup_buf_ struct buf private_pem = { 0 }, public_pem = { 0 }, again = { 0 };
		_cleanup_(sign_key_freep) struct sign_key *key = NULL;
		enum sign_key_kind parsed;
		assert_int_equal(sign_key_kind_parse(span_str(sign_key_kind_name(k)), &parsed), 0);
		assert_int_equal(parsed, k);
		assert_int_equal(sign_key_generate(k, &private_pem, &public_pem), 0);
		assert_non_null(strstr(buf_str(&private_pem), "BEGIN PRIVATE KEY"));
		assert_int_equal(sign_key_load(buf_span(&private_pem), 0, &key, NULL, 0), 0);
		assert_int_equal(sign_key_alg(key), algs[k][2]);
		assert_int_equal(sign_key_public_pem(key, &again), 0);
		assert_true(span_eq(buf_span(&again), buf_span(&public_pem)));
		for (size_t i = 0; i < 3; i++) {
			_cleanup_(trust_anchors_unrefp) struct trust_anchors *a = help_anchor(buf_span(&public_pem));
			_cleanup_buf_ struct buf digest = { 0 }, block = { 0 }, envelope = { 0 };
			struct verdict *v = NEW(struct verdict);
			block_of(buf_span(&private_pem), algs[k][i], SPAN_NONE, &digest, &block);
			assert_int_equal(suit_envelope_encode(SPAN_OF(manifest), buf_span(&digest), (struct span[]){ buf_span(&block) }, 1, SPAN_NONE, 0, &envelope), 0);
			verdict_judge(a, &(struct trust_facts){ .now = wall_from_s(PKI_NOW_S) }, buf_span(&envelope), NULL, NULL, v);
			assert_non_null(help_rule(v, "SU-5", RULE_PASS));
			free(v);
		}
	}
	assert_int_equal(sign_key_kind_parse(SPAN_LIT("rsa"), &(enum sign_key_kind){ 0 }), -EBADMSG);
}

static void unfit_keys_algorithms_and_chains_are_refused(void **state)
{
	_cleanup_buf_ struct buf private_pem = { 0 }, public_pem = { 0 }, chain = { 0 }, digest = { 0 }, block = { 0 }, long_chain = { 0 };
	static const char encrypted[] = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAg=\n-----END ENCRYPTED PRIVATE KEY-----\n";
	_cleanup_(sign_key_freep) struct sign_key *key = NULL, *none = NULL;
	struct pki_cert other;
	char error[200];

	(void)state;
	assert_int_equal(sign_key_generate(SIGN_P256, &private_pem, &public_pem), 0);
	assert_int_equal(sign_key_load(buf_span(&private_pem), COSE_ES384, &none, error, sizeof(error)), -ENOTSUP);
	assert_int_equal(sign_key_load(buf_span(&public_pem), 0, &none, error, sizeof(error)), -EBADMSG);
	assert_int_equal(sign_key_load(SPAN_NONE, 0, &none, error, sizeof(error)), -EBADMSG);
	assert_int_equal(sign_key_load(span_str(encrypted), 0, &none, error, sizeof(error)), -EBADMSG);
	assert_int_equal(sign_key_load(buf_span(&private_pem), 0, &key, error, sizeof(error)), 0);
	pki_issue(NULL, &(struct pki_spec){ .cn = "Somebody else", .is_ca = true }, &other);
	pki_pem((const struct pki_cert *const[]){ &other }, 1, &chain);
	suit_auth_digest_encode(SPAN_OF(manifest), &digest);
	assert_int_equal(sign_auth_digest(key, buf_span(&chain), SPAN_NONE, buf_span(&digest), &block, error, sizeof(error)), -EKEYREJECTED);
	assert_int_equal(sign_auth_digest(key, SPAN_LIT("no chain"), SPAN_NONE, buf_span(&digest), &block, error, sizeof(error)), -EBADMSG);
	pki_key_pem(&other, &long_chain);
	_cleanup_(sign_key_freep) struct sign_key *others = NULL;
	assert_int_equal(sign_key_load(buf_span(&long_chain), 0, &others, NULL, 0), 0);
	buf_clear(&long_chain);
	for (size_t i = 0; i < COSE_CHAIN_MAX + 1; i++)
		buf_add(&long_chain, buf_span(&chain));
	assert_int_equal(sign_auth_digest(others, buf_span(&long_chain), SPAN_NONE, buf_span(&digest), &block, error, sizeof(error)), -EBADMSG);
	assert_int_equal(block.n, 0);
	pki_done(&other);
}

/* Decision 10: the vendor's envelope, unchanged, with our MAC added; the vendor's own signature stays good. */
static void the_gateways_mac_is_added_and_checked(void **state)
{
	static const struct span key = SPAN_LIT("0123456789abcdef0123456789abcdef"), other = SPAN_LIT("0123456789abcdef0123456789abcdeF");
	_cleanup_(trust_anchors_unrefp) struct trust_anchors *author = help_anchor_file("author-p256-pub.pem");
	struct suit_envelope *env = NEW(struct suit_envelope), *out = NEW(struct suit_envelope);
	_cleanup_buf_ struct buf in = { 0 }, with_mac = { 0 };
	struct verdict *v = NEW(struct verdict);
	enum suit_problem problem;

	(void)state;
	help_read_vector("suit/libcsuit", "exp0.cbor", &in);
	assert_int_equal(suit_envelope_decode(buf_span(&in), 0, env, &problem), 0);
	assert_int_equal(delegate_check_mac0(env, key), 0);
	assert_int_equal(delegate_add_mac0(env, key, SPAN_LIT("node-1"), &with_mac), 0);
	assert_int_equal(suit_envelope_decode(buf_span(&with_mac), 0, out, &problem), 0);
	assert_int_equal(out->n_auth_blocks, env->n_auth_blocks + 1);
	assert_true(span_eq(out->manifest_wrapped, env->manifest_wrapped));
	assert_true(span_eq(out->auth_digest_bytes, env->auth_digest_bytes));
	assert_int_equal(delegate_check_mac0(out, key), 1);
	assert_int_equal(delegate_check_mac0(out, other), 0);
	assert_int_equal(delegate_check_mac0(out, SPAN_NONE), 0);
	verdict_judge(author, &(struct trust_facts){ .now = wall_from_s(PKI_NOW_S) }, buf_span(&with_mac), NULL, NULL, v);
	help_assert_outcome(v, TRUST_ACCEPTED, "with the gateway's MAC");
	with_mac.p[with_mac.n - 1] ^= 1; /* the manifest: no longer what was signed */
	assert_true(suit_envelope_decode(buf_span(&with_mac), 0, out, &problem) < 0);
	free(env);
	free(out);
	free(v);
}

static void keys_of_unfit_length_make_no_mac(void **state)
{
	struct suit_envelope env = { .bytes = SPAN_NONE };
	_cleanup_buf_ struct buf out = { 0 };
	uint8_t key[DELEGATE_KEY_BYTES_MAX + 1] = { 1 }, kid[COSE_KID_BYTES_MAX + 1] = { 1 };

	(void)state;
	assert_int_equal(delegate_add_mac0(&env, SPAN(key, DELEGATE_KEY_BYTES_MIN - 1), SPAN_NONE, &out), -EINVAL);
	assert_int_equal(delegate_add_mac0(&env, SPAN(key, DELEGATE_KEY_BYTES_MAX + 1), SPAN_NONE, &out), -EINVAL);
	assert_int_equal(delegate_add_mac0(&env, SPAN(key, 32), SPAN(kid, sizeof(kid)), &out), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(generated_keys_sign_what_their_public_half_verifies),
		cmocka_unit_test(unfit_keys_algorithms_and_chains_are_refused),
		cmocka_unit_test(the_gateways_mac_is_added_and_checked),
		cmocka_unit_test(keys_of_unfit_length_make_no_mac),
	};
	return cmocka_run_group_tests_name("trust/sign", tests, NULL, NULL);
}
