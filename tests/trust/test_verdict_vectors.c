/* The public SUIT envelopes with their published verdicts, and bad ones derived from them. */
#include "help.h"

#include <stdio.h>

#include "base/mem.h"

enum { AUTHOR, DISTRIBUTOR, MAC };
static const char *const key_files[] = { "author-p256-pub.pem", "distributor-p256-pub.pem", "mac-key-hmac256.hex" };

static const struct {
	const char *folder, *name;
	int key;
	enum trust_outcome outcome;
	const char *rule;                      /* that must have failed */
	bool untagged;
	int64_t now_s;                         /* 0 = 2026 */
} cases[] = {
	{ "suit/libcsuit", "exp0.cbor", AUTHOR, TRUST_ACCEPTED },
	{ "suit/libcsuit", "exp2B.cbor", AUTHOR, TRUST_ACCEPTED },
	{ "suit/libcsuit", "exp4.cbor", AUTHOR, TRUST_ACCEPTED },
	{ "suit/libcsuit", "expAF.cbor", MAC, TRUST_ACCEPTED },
	{ "suit/libcsuit", "expAW.cbor", MAC, TRUST_ACCEPTED },
	{ "suit/libcsuit", "expED.cbor", AUTHOR, TRUST_ACCEPTED },
	{ "suit/libcsuit", "expS0.cbor", AUTHOR, TRUST_ACCEPTED },
	{ "suit/libcsuit", "expS2.cbor", AUTHOR, TRUST_ACCEPTED },
	{ "suit/libcsuit", "expU.cbor", AUTHOR, TRUST_ACCEPTED, NULL, true },
	{ "suit/libcsuit", "expU.cbor", AUTHOR, TRUST_REJECTED, "SU-1" },
	{ "suit/libcsuit", "expU1.cbor", AUTHOR, TRUST_ACCEPTED },
	{ "suit/libcsuit", "expU2.cbor", AUTHOR, TRUST_ACCEPTED, NULL, false, 1465000000 },      /* use before 2016-06-14 */
	{ "suit/libcsuit", "expU2.cbor", AUTHOR, TRUST_REJECTED, "SU-51" },
	{ "suit/manifest-spec", "example0-signed.hex", AUTHOR, TRUST_ACCEPTED },
	{ "suit/manifest-spec", "example0-unsigned.hex", AUTHOR, TRUST_REJECTED, "SU-7" },
	{ "suit/manifest-spec", "example2-signed-full.hex", AUTHOR, TRUST_ACCEPTED },
	{ "suit/manifest-spec", "example4-signed.hex", AUTHOR, TRUST_ACCEPTED },
	{ "suit/manifest-spec", "example4-unsigned.hex", AUTHOR, TRUST_REJECTED, "SU-7" },
	{ "suit/trust-domains", "example0_dependent.hex", AUTHOR, TRUST_ACCEPTED },
	{ "suit/trust-domains", "example1_process.hex", AUTHOR, TRUST_ACCEPTED },
	{ "suit/firmware-encryption", "aes-kw-content.hex", MAC, TRUST_ACCEPTED },
	{ "suit/firmware-encryption", "es-ecdh-dependency.hex", AUTHOR, TRUST_REJECTED, "SU-5" },
	{ "suit/firmware-encryption", "es-ecdh-dependency.hex", DISTRIBUTOR, TRUST_ACCEPTED },
	{ "suit/libcsuit", "exp0.cbor", DISTRIBUTOR, TRUST_REJECTED, "SU-5" },
	{ "suit/libcsuit", "exp0.cbor", MAC, TRUST_REJECTED, "SU-9" },
	{ "suit/libcsuit", "expAF.cbor", AUTHOR, TRUST_REJECTED, "SU-9" },      /* no MAC with a public key (CO-3) */
};

static const struct trust_facts facts = { .now = { 1795000000000 } };

/* All of vectors/suit/README. */
static void public_envelopes_get_their_verdicts(void **state)
{
	struct verdict *v = NEW(struct verdict);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		_cleanup_(trust_anchors_unrefp) struct trust_anchors *a = help_anchor_file(key_files[cases[i].key]);
		_cleanup_buf_ struct buf in = { 0 };
		struct trust_facts f = facts;
		f.allow_untagged = cases[i].untagged;
		if (cases[i].now_s)
			f.now = wall_from_s(cases[i].now_s);
		help_read_vector(cases[i].folder, cases[i].name, &in);
		verdict_judge(a, &f, buf_span(&in), NULL, NULL, v);
		help_assert_outcome(v, cases[i].outcome, cases[i].name);
		if (cases[i].rule)
			assert_non_null(help_rule(v, cases[i].rule, RULE_FAIL));
	}
	free(v);
}

/* The inner manifest of two authorities: the distributor's envelope holds one that the author signed. */
static void the_inner_envelope_of_two_authorities_is_the_authors(void **state)
{
	_cleanup_(trust_anchors_unrefp) struct trust_anchors *author = help_anchor_file(key_files[AUTHOR]);
	_cleanup_(trust_anchors_unrefp) struct trust_anchors *distributor = help_anchor_file(key_files[DISTRIBUTOR]);
	struct suit_envelope *env = NEW(struct suit_envelope);
	struct verdict *v = NEW(struct verdict);
	_cleanup_buf_ struct buf in = { 0 };

	(void)state;
	help_read_vector("suit/firmware-encryption", "es-ecdh-dependency.hex", &in);
	verdict_judge(distributor, &facts, buf_span(&in), env, NULL, v);
	assert_int_equal(env->n_integrated, 1);
	struct span inner = env->integrated[0].content;
	verdict_judge(author, &facts, inner, NULL, NULL, v);
	help_assert_outcome(v, TRUST_ACCEPTED, "inner, author");
	verdict_judge(distributor, &facts, inner, NULL, NULL, v);
	help_assert_outcome(v, TRUST_REJECTED, "inner, distributor");
	free(v);
	free(env);
}

static bool rule_fits_stage(const struct verdict *v, const char *stage)
{
	static const struct { const char *stage, *rules; } table[] = {
		{ "digest", "SU-4" }, { "signature", "SU-5 SU-7 CO-6" }, { "header", "CO-1 CO-2 CO-3 CO-4 CO-8 CO-11 SU-5 SU-9" },
		{ "cbor", "SU-3 CO-5 CO-2 SU-30 SU-20 SU-7" }, { "envelope", "SU-1 SU-2" }, { "severable", "SU-16" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		if (strcmp(table[i].stage, stage) == 0)
			return strstr(table[i].rules, verdict_first_problem(v)->id) != NULL;
	}
	return false;
}

/* SU-1..SU-16, CO-2..CO-8 and the CBOR rules: 32 envelopes, refused at the stage that their file names. */
static void derived_bad_envelopes_are_refused_at_their_stage(void **state)
{
	_cleanup_(trust_anchors_unrefp) struct trust_anchors *a = help_anchor_file(key_files[AUTHOR]);
	_cleanup_(json_doc_freep) struct json_doc *doc = help_json(VECTOR("suit/derived-negative.json"));
	const struct json_value *tests = json_get(json_root(doc), "tests");
	struct verdict *v = NEW(struct verdict);

	(void)state;
	assert_int_equal(json_n(tests), 32);
	for (size_t i = 0; i < json_n(tests); i++) {
		const struct json_value *t = json_at(tests, i);
		_cleanup_buf_ struct buf in = { 0 };
		help_hex(json_get_str(t, "hex"), &in);
		verdict_judge(a, &facts, buf_span(&in), NULL, NULL, v);
		help_assert_outcome(v, TRUST_REJECTED, json_get_str(t, "name"));
		if (!rule_fits_stage(v, json_get_str(t, "stage"))) {
			_cleanup_buf_ struct buf text = { 0 };
			verdict_text(v, &text);
			fail_msg("%s: wrong stage\n%s", json_get_str(t, "name"), buf_str(&text));
		}
	}
	free(v);
}

static void every_truncation_and_every_flipped_bit_is_refused(void **state)
{
	_cleanup_(trust_anchors_unrefp) struct trust_anchors *a = help_anchor_file(key_files[AUTHOR]);
	struct verdict *v = NEW(struct verdict);
	_cleanup_buf_ struct buf in = { 0 };

	(void)state;
	help_read_vector("suit/libcsuit", "exp0.cbor", &in);
	for (size_t n = 0; n < in.n; n++) {
		verdict_judge(a, &facts, SPAN(in.p, n), NULL, NULL, v);
		assert_int_equal(v->outcome, TRUST_REJECTED);
	}
	for (size_t bit = 0; bit < in.n * 8; bit++) {
		in.p[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		verdict_judge(a, &facts, buf_span(&in), NULL, NULL, v);
		if (v->outcome == TRUST_ACCEPTED)
			fail_msg("bit %zu of byte %zu flipped, and it was accepted", bit % 8, bit / 8);
		in.p[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	verdict_judge(a, &facts, buf_span(&in), NULL, NULL, v);
	help_assert_outcome(v, TRUST_ACCEPTED, "restored");
	free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(public_envelopes_get_their_verdicts),
		cmocka_unit_test(the_inner_envelope_of_two_authorities_is_the_authors),
		cmocka_unit_test(derived_bad_envelopes_are_refused_at_their_stage),
		cmocka_unit_test(every_truncation_and_every_flipped_bit_is_refused),
	};
	return cmocka_run_group_tests_name("trust/verdict_vectors", tests, NULL, NULL);
}
