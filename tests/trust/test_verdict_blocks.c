/* Several authentication blocks, several keys, hints and floods (SU-8, SU-9, CO-5, CO-13, CO-15). */
#include "pki.h"

#include <openssl/pem.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/cbor.h"
#include "trust/cose_verify.h"
#include "trust/sign.h"

enum { KEYS = 12 };
static struct buf private_pem[KEYS], public_pem[KEYS];
static struct buf manifest, members, digest;
static size_t n_members;

static int make(void **state)
{
	uint8_t vendor[16], class_id[16];
	const struct suit_author_component component = { .id = { SPAN_LIT("a") }, .n_id = 1, .digest = digest_of(SPAN_LIT("x")), .size = 1,
							 .uri = "https://a.example/x" };
	const struct suit_author author = { .sequence = 3, .vendor_id = vendor, .class_id = class_id, .components = &component, .n_components = 1 };

	(void)state;
	assert_int_equal(text_parse_uuid(span_str(pki_vendor_acme), vendor), 0);
	assert_int_equal(text_parse_uuid(span_str(pki_class_a), class_id), 0);
	for (size_t i = 0; i < KEYS; i++)
		assert_int_equal(sign_key_generate(SIGN_P256, &private_pem[i], &public_pem[i]), 0);
	assert_int_equal(suit_manifest_encode(&author, &manifest, &members, &n_members), 0);
	suit_auth_digest_encode(buf_span(&manifest), &digest);
	return 0;
}

static int done(void **state)
{
	(void)state;
	for (size_t i = 0; i < KEYS; i++) {
		buf_done(&private_pem[i]);
		buf_done(&public_pem[i]);
	}
	buf_done(&manifest);
	buf_done(&members);
	buf_done(&digest);
	return 0;
}

static void sign_by(size_t key, const char *kid, struct buf *ret)
{
	_cleanup_(sign_key_freep) struct sign_key *k = NULL;

	assert_int_equal(sign_key_load(buf_span(&private_pem[key]), 0, &k, NULL, 0), 0);
	assert_int_equal(sign_auth_digest(k, SPAN_NONE, span_str(kid), buf_span(&digest), ret, NULL, 0), 0);
}

/* Anchors key0, key1, ... for the first n keys. */
static struct trust_anchors *anchors(size_t n)
{
	static const char *const vendors[] = { pki_vendor_acme, NULL };
	static char names[KEYS][8];
	struct trust_anchor_config c[KEYS] = { 0 };
	struct trust_anchors *a = NULL;

	for (size_t i = 0; i < n; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "key%u", (unsigned)i % 100);
		c[i] = (struct trust_anchor_config){ .name = names[i], .pem = buf_span(&public_pem[i]), .vendor_ids = vendors };
	}
	assert_int_equal(trust_anchors_build(c, n, &a, NULL, 0), 0);
	return a;
}

static void judge(struct trust_anchors *a, const struct buf *blocks, size_t n, struct verdict *v)
{
	_cleanup_buf_ struct buf envelope = { 0 };
	struct span spans[SUIT_AUTH_BLOCKS_MAX];

	for (size_t i = 0; i < n; i++)
		spans[i] = buf_span(&blocks[i]);
	assert_int_equal(suit_envelope_encode(buf_span(&manifest), buf_span(&digest), spans, n, buf_span(&members), n_members, &envelope), 0);
	verdict_judge(a, &(struct trust_facts){ .now = wall_from_s(PKI_NOW_S) }, buf_span(&envelope), NULL, NULL, v);
	trust_anchors_unref(a);
}

static void blocks_done(struct buf *blocks, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_done(&blocks[i]);
}

static void one_trusted_signer_among_strangers_suffices(void **state)
{
	struct verdict *v = NEW(struct verdict);
	struct buf b[3] = { 0 };

	(void)state;
	sign_by(5, "", &b[0]);                 /* nobody we know */
	sign_by(1, "", &b[1]);
	sign_by(6, "key0", &b[2]);             /* claims to be one we know */
	judge(anchors(3), b, 3, v);
	help_assert_outcome(v, TRUST_ACCEPTED, "second of three");
	assert_string_equal(v->anchor, "key1");
	size_t warned = 0;
	for (size_t i = 0; i < v->n_rules; i++)
		warned += v->rules[i].outcome == RULE_WARN;
	assert_int_equal(warned, 2);           /* each stranger is reported (SU-9) */
	blocks_done(b, 3);
	free(v);
}

static void strangers_alone_do_not_suffice_however_many(void **state)
{
	struct verdict *v = NEW(struct verdict);
	struct buf b[SUIT_AUTH_BLOCKS_MAX] = { 0 };

	(void)state;
	for (size_t i = 0; i < SUIT_AUTH_BLOCKS_MAX; i++)
		sign_by(4 + i, "", &b[i]);
	judge(anchors(4), b, SUIT_AUTH_BLOCKS_MAX, v);
	help_assert_outcome(v, TRUST_REJECTED, "eight strangers");
	assert_int_equal(v->sequence, 0);
	blocks_done(b, SUIT_AUTH_BLOCKS_MAX);
	free(v);
}

/* CO-13: a kid is a hint. Right, absent, naming another, unknown: the signer is found. */
static void the_kid_is_a_hint(void **state)
{
	static const char *const kids[] = { "key2", "", "key0", "unheard-of" };
	struct verdict *v = NEW(struct verdict);

	(void)state;
	for (size_t i = 0; i < sizeof(kids) / sizeof(*kids); i++) {
		struct buf b = { 0 };
		sign_by(2, kids[i], &b);
		judge(anchors(4), &b, 1, v);
		help_assert_outcome(v, TRUST_ACCEPTED, kids[i]);
		assert_string_equal(v->anchor, "key2");
		buf_done(&b);
	}
	free(v);
}

static void cose_key(size_t key, struct buf *ret)
{
	struct buf der = { 0 };
	const char *text = strchr(buf_str(&public_pem[key]), '\n') + 1;

	for (; *text != '-'; text = strchr(text, '\n') + 1) {
		struct buf line = { 0 };
		assert_int_equal(text_parse_base64(SPAN(text, strcspn(text, "\n")), &line), 0);
		buf_add(&der, buf_span(&line));
		buf_done(&line);
	}
	cbor_put_map(ret, 5);
	cbor_put_int(ret, 1);
	cbor_put_int(ret, 2);
	cbor_put_int(ret, 2);
	cbor_put_bytes(ret, SPAN_LIT("same"));
	cbor_put_int(ret, -1);
	cbor_put_int(ret, 1);
	cbor_put_int(ret, -2);
	cbor_put_bytes(ret, SPAN(der.p + der.n - 64, 32));
	cbor_put_int(ret, -3);
	cbor_put_bytes(ret, SPAN(der.p + der.n - 32, 32));
	buf_done(&der);
}

/* CO-13: several keys of one kid are all tried, up to eight. */
static void several_keys_of_one_kid_are_tried(void **state)
{
	static const char *const vendors[] = { pki_vendor_acme, NULL };
	static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j" };
	struct buf keys[10] = { 0 };
	struct verdict *v = NEW(struct verdict);

	(void)state;
	for (size_t by = 1; by < 10; by += 8) {
		struct trust_anchor_config c[10] = { 0 };
		struct trust_anchors *a = NULL;
		struct buf b = { 0 };
		for (size_t i = 0; i < 10; i++) {
			buf_clear(&keys[i]);
			cose_key(i, &keys[i]);
			c[i] = (struct trust_anchor_config){ .name = names[i], .pem = buf_span(&keys[i]), .vendor_ids = vendors };
		}
		assert_int_equal(trust_anchors_build(c, 10, &a, NULL, 0), 0);
		sign_by(by, "same", &b);
		judge(a, &b, 1, v);
		help_assert_outcome(v, by < 8 ? TRUST_ACCEPTED : TRUST_REJECTED, "one kid");
		buf_done(&b);
	}
	for (size_t i = 0; i < 10; i++)
		buf_done(&keys[i]);
	free(v);
}

/* SU-9, CO-11: unknown, text and post-quantum algorithms are said to be unsupported, not wrong. */
static void unknown_algorithms_are_called_unsupported(void **state)
{
	static const int64_t algs[] = { COSE_HSS_LMS, -48, -999, 0, 2000 };
	struct verdict *v = NEW(struct verdict);

	(void)state;
	for (size_t i = 0; i < sizeof(algs) / sizeof(*algs); i++) {
		struct buf b[2] = { 0 }, headers = { 0 };
		cose_put_protected(&headers, algs[i], SPAN_NONE);
		cose_encode_detached(COSE_SIGN1, buf_span(&headers), SPAN_LIT("\xa0"), SPAN_LIT("signature"), &b[0]);
		judge(anchors(1), b, 1, v);
		help_assert_outcome(v, TRUST_REJECTED, "unknown algorithm alone");
		assert_string_equal(verdict_first_problem(v)->id, "CO-11");
		sign_by(0, "", &b[1]);
		judge(anchors(1), b, 2, v);
		help_assert_outcome(v, TRUST_ACCEPTED, "with a trusted one");
		assert_non_null(help_rule(v, "CO-11", RULE_WARN));
		buf_done(&headers);
		blocks_done(b, 2);
	}
	free(v);
}

static void sign_raw_by(size_t key, struct span tbs, struct buf *ret)
{
	BIO *bio = BIO_new_mem_buf(private_pem[key].p, (int)private_pem[key].n);
	EVP_PKEY *p = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

	assert_int_equal(cose_sign_raw(p, COSE_ESP256, tbs, ret), 0);
	EVP_PKEY_free(p);
	BIO_free(bio);
}

/* CO-12: COSE_Sign with two signers, a stranger and one we know, or two strangers. */
static void each_signer_of_a_cose_sign_is_judged(void **state)
{
	struct verdict *v = NEW(struct verdict);

	(void)state;
	for (size_t known = 0; known < 2; known++) {
		_cleanup_buf_ struct buf b = { 0 }, headers = { 0 }, tbs = { 0 };
		struct buf sigs[2] = { 0 };
		cose_put_protected(&headers, COSE_ESP256, SPAN_NONE);
		const struct cose_message m = { .kind = COSE_SIGN, .is_detached = true };
		const struct cose_signer s = { .headers = { .protected_bytes = buf_span(&headers) } };
		cose_tbs(&m, &s, SPAN_NONE, buf_span(&digest), &tbs);
		sign_raw_by(7, buf_span(&tbs), &sigs[0]);
		sign_raw_by(known ? 1 : 8, buf_span(&tbs), &sigs[1]);
		cbor_put_tag(&b, COSE_SIGN);
		cbor_put_array(&b, 4);
		cbor_put_bytes(&b, SPAN_NONE);
		cbor_put_map(&b, 0);
		cbor_put_null(&b);
		cbor_put_array(&b, 2);
		for (size_t i = 0; i < 2; i++) {
			cbor_put_array(&b, 3);
			cbor_put_bytes(&b, buf_span(&headers));
			cbor_put_map(&b, 0);
			cbor_put_bytes(&b, buf_span(&sigs[i]));
		}
		judge(anchors(2), &b, 1, v);
		help_assert_outcome(v, known ? TRUST_ACCEPTED : TRUST_REJECTED, "COSE_Sign");
		size_t n = 0;
		for (size_t i = 0; i < v->n_rules; i++)
			n += strcmp(v->rules[i].id, "SU-5") == 0 && v->rules[i].outcome == (known ? RULE_WARN : RULE_FAIL);
		assert_int_equal(n, known ? 1 : 2); /* each reported */
		blocks_done(sigs, 2);
	}
	free(v);
}

/* A certificate that is configured itself may sign without bringing a chain; its dates still hold. */
static void a_configured_certificate_may_be_the_signer(void **state)
{
	_cleanup_buf_ struct buf pem = { 0 }, envelope = { 0 };
	struct verdict *v = NEW(struct verdict);
	struct pki_cert self;

	(void)state;
	pki_issue(NULL, &(struct pki_spec){ .cn = "Self", .eku = "codeSigning" }, &self);
	pki_pem((const struct pki_cert *const[]){ &self }, 1, &pem);
	pki_envelope(&self, NULL, 0, &(struct pki_update){ .sequence = 1 }, &envelope);
	_cleanup_(trust_anchors_unrefp) struct trust_anchors *a = help_anchor(buf_span(&pem));
	verdict_judge(a, &(struct trust_facts){ .now = wall_from_s(PKI_NOW_S) }, buf_span(&envelope), NULL, NULL, v);
	help_assert_outcome(v, TRUST_ACCEPTED, "pinned");
	assert_non_null(help_rule(v, "RV-3", RULE_SKIP));
	assert_int_equal(v->n_needs, 0);
	verdict_judge(a, &(struct trust_facts){ .now = wall_from_s(PKI_NOW_S + 400LL * PKI_DAY_S) }, buf_span(&envelope), NULL, NULL, v);
	help_assert_outcome(v, TRUST_REJECTED, "pinned and expired");
	pki_done(&self);
	free(v);
}

/* CO-15: x5t must be the SHA-2 digest of the leaf; SHA-1 is refused. */
static void x5t_is_compared_with_the_leaf(void **state)
{
	static const struct { int64_t alg; bool right; enum trust_outcome outcome; } rows[] = {
		{ -16, true, TRUST_ACCEPTED }, { -16, false, TRUST_REJECTED }, { -14, true, TRUST_REJECTED }, { -15, true, TRUST_REJECTED },
	};
	_cleanup_buf_ struct buf pem = { 0 }, headers = { 0 };
	struct verdict *v = NEW(struct verdict);
	struct pki_cert root, leaf;
	unsigned char *der = NULL;

	(void)state;
	pki_issue(NULL, &(struct pki_spec){ .cn = "Root", .is_ca = true }, &root);
	pki_issue(&root, &(struct pki_spec){ .cn = "Leaf" }, &leaf);
	pki_pem((const struct pki_cert *const[]){ &root }, 1, &pem);
	int n = i2d_X509(leaf.x, &der);
	struct digest d = digest_of(SPAN(der, (size_t)n));
	cose_put_protected(&headers, COSE_ESP256, SPAN_NONE);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct cose_message m = { .kind = COSE_SIGN1, .headers = { .protected_bytes = buf_span(&headers) }, .is_detached = true };
		_cleanup_buf_ struct buf tbs = { 0 }, sig = { 0 }, unprotected = { 0 }, b = { 0 }, envelope = { 0 };
		struct digest x5t = d;
		x5t.b[31] ^= !rows[i].right;
		cose_tbs(&m, NULL, SPAN_NONE, buf_span(&digest), &tbs);
		assert_int_equal(cose_sign_raw(leaf.key, COSE_ESP256, buf_span(&tbs), &sig), 0);
		cbor_put_map(&unprotected, 2);
		cbor_put_int(&unprotected, 33);
		cbor_put_bytes(&unprotected, SPAN(der, (size_t)n));
		cbor_put_int(&unprotected, 34);
		cbor_put_array(&unprotected, 2);
		cbor_put_int(&unprotected, rows[i].alg);
		cbor_put_bytes(&unprotected, SPAN(x5t.b, rows[i].alg == -14 ? 20 : 32));
		cose_encode_detached(COSE_SIGN1, buf_span(&headers), buf_span(&unprotected), buf_span(&sig), &b);
		assert_int_equal(suit_envelope_encode(buf_span(&manifest), buf_span(&digest), (struct span[]){ buf_span(&b) }, 1, buf_span(&members),
						      n_members, &envelope), 0);
		_cleanup_(trust_anchors_unrefp) struct trust_anchors *a = help_anchor(buf_span(&pem));
		verdict_judge(a, &(struct trust_facts){ .now = wall_from_s(PKI_NOW_S), .skip_revocation = true }, buf_span(&envelope), NULL, NULL, v);
		help_assert_outcome(v, rows[i].outcome, "x5t");
		if (rows[i].outcome == TRUST_REJECTED)
			assert_non_null(help_rule(v, "CO-15", RULE_FAIL));
	}
	OPENSSL_free(der);
	pki_done(&root);
	pki_done(&leaf);
	free(v);
}

static void a_payload_is_held_against_digest_and_size(void **state)
{
	const struct digest right = digest_of(SPAN_LIT("image")), wrong = digest_of(SPAN_LIT("imagE"));
	struct suit_image image = { .digest = { .alg = SUIT_SHA256, .bytes = SPAN_OF(right.b) }, .has_size = true, .size = 5 };
	struct verdict_rule r;

	(void)state;
	assert_true(verdict_payload_ok(&image, &right, 5, &r));
	assert_int_equal(r.outcome, RULE_PASS);
	assert_false(verdict_payload_ok(&image, &right, 4, &r));
	assert_false(verdict_payload_ok(&image, &right, 6, &r));
	assert_false(verdict_payload_ok(&image, &wrong, 5, &r));
	assert_non_null(strstr(r.evidence, "not the one that was signed"));
	image.digest.bytes = SPAN_NONE;
	assert_false(verdict_payload_ok(&image, &right, 5, &r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_trusted_signer_among_strangers_suffices),
		cmocka_unit_test(strangers_alone_do_not_suffice_however_many),
		cmocka_unit_test(the_kid_is_a_hint),
		cmocka_unit_test(several_keys_of_one_kid_are_tried),
		cmocka_unit_test(unknown_algorithms_are_called_unsupported),
		cmocka_unit_test(each_signer_of_a_cose_sign_is_judged),
		cmocka_unit_test(a_configured_certificate_may_be_the_signer),
		cmocka_unit_test(x5t_is_compared_with_the_leaf),
		cmocka_unit_test(a_payload_is_held_against_digest_and_size),
	};
	return cmocka_run_group_tests_name("trust/verdict_blocks", tests, make, done);
}
