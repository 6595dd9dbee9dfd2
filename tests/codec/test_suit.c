#include <errno.h>

#include "codec/cose.h"
#include "codec/json.h"
#include "suit_make.h"

enum { SEQUENCE_KEYS_AND_TEXT = 1 << 20 | 1 << 23 };

static struct suit_manifest manifest;  /* too large for the stack */

static void load(struct buf *b, const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "suit/%s", name); /* short names */
	add_file(b, path);
}

static void public_envelopes_decode(void **state) /* SU-1, SU-2, SU-3, SU-4, SU-16 */
{
	static const struct {
		const char *name;
		uint64_t sequence;
		size_t n_components, n_dependencies, n_images;
		bool is_untagged, checks_vendor;
	} rows[] = {
		{ "libcsuit/exp0.cbor", 0, 1, 0, 1, false, true },
		{ "libcsuit/exp2B.cbor", 2, 1, 0, 1, false, true },
		{ "libcsuit/exp4.cbor", 4, 3, 0, 3, false, true },
		{ "libcsuit/expAF.cbor", 1, 2, 0, 1, false, false },
		{ "libcsuit/expAW.cbor", 1, 1, 0, 0, false, false },
		{ "libcsuit/expED.cbor", 1, 1, 1, 1, false, false },
		{ "libcsuit/expS0.cbor", 0, 1, 0, 0, false, false },
		{ "libcsuit/expS2.cbor", 0, 1, 1, 1, false, false },
		{ "libcsuit/expU.cbor", 3, 1, 0, 1, true, true },
		{ "libcsuit/expU1.cbor", 0, 2, 0, 0, false, false },
		{ "libcsuit/expU2.cbor", 0, 1, 0, 1, false, true },
		{ "manifest-spec/example0-signed.hex", 0, 1, 0, 1, false, true },
		{ "manifest-spec/example2-signed-full.hex", 2, 1, 0, 1, false, true },
		{ "manifest-spec/example4-signed.hex", 4, 3, 0, 3, false, true },
		{ "trust-domains/example0_dependent.hex", 0, 1, 0, 0, false, false },
		{ "trust-domains/example1_process.hex", 0, 1, 1, 1, false, false },
		{ "firmware-encryption/aes-kw-content.hex", 1, 1, 0, 0, false, false },
		{ "firmware-encryption/es-ecdh-dependency.hex", 1, 1, 1, 1, false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct suit_envelope env;
		struct cose_message m = { 0 };
		enum suit_problem p;
		enum cose_problem cp;
		load(&b, rows[i].name);
		if (rows[i].is_untagged) {
			assert_int_equal(suit_envelope_decode(buf_span(&b), 0, &env, &p), -EBADMSG);
			assert_int_equal(p, SUIT_NO_TAG);
		}
		unsigned flags = rows[i].is_untagged ? SUIT_ALLOW_UNTAGGED : 0;
		if (suit_envelope_decode(buf_span(&b), flags, &env, &p) < 0 || suit_manifest_decode(&env, 0, &manifest, &p) < 0)
			fail_msg("%s: %s", rows[i].name, suit_problem_text(p));
		assert_int_equal(env.n_auth_blocks, 1);
		assert_int_equal(cose_decode(env.auth_blocks[0], COSE_NEEDS_DETACHED, &m, &cp), 0);
		assert_int_equal(manifest.sequence, rows[i].sequence);
		assert_int_equal(manifest.n_components, rows[i].n_components);
		assert_int_equal(manifest.n_dependencies, rows[i].n_dependencies);
		assert_int_equal(manifest.n_images, rows[i].n_images);
		assert_int_equal(manifest.components[0].checks_vendor, rows[i].checks_vendor);
		assert_int_equal(manifest.components[0].checks_class, rows[i].checks_vendor);
		assert_int_equal(manifest.unknown_command, 0);
		assert_int_equal(manifest.severed_absent, 0);
	}
}

static void nobody_signed_the_unsigned_ones(void **state) /* SU-7 */
{
	static const char *const names[] = { "manifest-spec/example0-unsigned.hex", "manifest-spec/example4-unsigned.hex" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct suit_envelope env;
		enum suit_problem p;
		load(&b, names[i]);
		assert_int_equal(suit_envelope_decode(buf_span(&b), 0, &env, &p), -EBADMSG);
		assert_int_equal(p, SUIT_NO_AUTH_BLOCK);
		assert_true(env.manifest.n > 0); /* for inspection */
	}
}

static void details_of_one_envelope_come_out(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct suit_envelope env;
	enum suit_problem p;

	(void)state;
	load(&b, "libcsuit/exp2B.cbor");
	assert_int_equal(suit_envelope_decode(buf_span(&b), 0, &env, &p), 0);
	assert_int_equal(env.n_severed, 2);
	assert_int_equal(suit_manifest_decode(&env, 0, &manifest, &p), 0);
	assert_true(span_eq_str(manifest.reference_uri, "https://git.io/JJYoj"));
	assert_true(span_starts(manifest.description, SPAN_LIT("## Example 2: Simultaneous Download")));
	assert_int_equal(manifest.images[0].size, 34768);
	assert_true(manifest.images[0].is_fetched && manifest.images[0].has_size);
	assert_true(span_eq_str(manifest.images[0].uri, "http://example.com/very/long/path/to/file/file.bin"));
	assert_int_equal(manifest.components[0].n_vendor_id, 1);
	assert_memory_equal(manifest.components[0].vendor_id[0].p, "\xfa\x6b\x4a\x53\xd5\xad", 6);
	struct digest d = digest_of(env.manifest_wrapped);
	assert_true(digest_eq(&d, &env.manifest_digest));
	assert_memory_equal(env.manifest_digest.b, env.auth_digest.bytes.p, DIGEST_BYTES);
}

static void integrated_and_encrypted_ones_are_marked(void **state) /* SU-18, SU-40 */
{
	_cleanup_buf_ struct buf dep = { 0 }, enc = { 0 }, before = { 0 };
	struct suit_envelope env;
	enum suit_problem p;

	(void)state;
	load(&dep, "libcsuit/expED.cbor");
	assert_int_equal(suit_envelope_decode(buf_span(&dep), 0, &env, &p), 0);
	assert_int_equal(suit_manifest_decode(&env, 0, &manifest, &p), 0);
	assert_true(manifest.images[0].is_dependency && manifest.images[0].is_integrated);
	assert_int_equal(manifest.images[0].component, 0);
	assert_int_equal(manifest.dependencies[0].index, 1);
	assert_int_equal(manifest.images[0].integrated.n, 247);
	load(&enc, "libcsuit/expAF.cbor");
	assert_int_equal(suit_envelope_decode(buf_span(&enc), 0, &env, &p), 0);
	assert_int_equal(suit_manifest_decode(&env, 0, &manifest, &p), 0);
	assert_int_equal(manifest.images[0].component, 1);
	assert_true(manifest.images[0].is_encrypted); /* component 0 is decrypted from it */
	load(&before, "libcsuit/expU2.cbor");
	assert_int_equal(suit_envelope_decode(buf_span(&before), 0, &env, &p), 0);
	assert_int_equal(suit_manifest_decode(&env, 0, &manifest, &p), 0);
	assert_true(manifest.has_use_before);
	assert_true(manifest.set_version.n > 0);
}

/* ---- made from exp2B by changing bytes ---- */

static const char *stage_of(const struct buf *b)
{
	struct suit_envelope env;
	struct cose_message m = { 0 };
	enum suit_problem p;
	enum cose_problem cp;

	if (cbor_check(buf_span(b), 0, NULL) < 0)
		return "cbor";
	if (suit_envelope_decode(buf_span(b), 0, &env, &p) < 0)
		return p == SUIT_DIGEST_MISMATCH ? "digest" : p == SUIT_NO_AUTH_BLOCK ? "signature" : "envelope";
	if (cose_decode(env.auth_blocks[0], COSE_NEEDS_DETACHED, &m, &cp) < 0)
		return cp == COSE_LABEL_DUPLICATE ? "cbor" : "header";
	if (m.kind != COSE_SIGN1 || !cose_alg_name(m.headers.alg))
		return "header";
	if (suit_manifest_decode(&env, 0, &manifest, &p) < 0)
		return "severable";
	return "signature"; /* nothing to see without the key */
}

static void bad_envelopes_are_refused_at_their_stage(void **state)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct json_doc *doc = NULL;

	(void)state;
	add_file(&text, "suit/derived-negative.json");
	assert_int_equal(json_parse(buf_span(&text), &doc, NULL, 0), 0);
	const struct json_value *all = json_get(json_root(doc), "tests");
	assert_int_equal(json_n(all), 32);
	for (size_t i = 0; i < json_n(all); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		const struct json_value *one = json_at(all, i);
		const char *name = json_get_str(one, "name"), *stage = json_get_str(one, "stage");
		add_hex(&b, json_get_str(one, "hex"));
		if (strcmp(name, "manifest-flipped-digest-fixed") == 0)
			stage = "severable"; /* only the signature would tell, and then nobody gets as far as its severed members */
		if (strcmp(stage_of(&b), stage) != 0)
			fail_msg("%s: %s, not %s", name, stage_of(&b), stage);
	}
	json_doc_free(doc);
}

static void every_truncation_is_refused(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct suit_envelope env;
	enum suit_problem p;

	(void)state;
	load(&b, "libcsuit/exp2B.cbor");
	for (size_t n = 0; n < b.n; n++) {
		assert_int_equal(suit_envelope_decode(SPAN(b.p, n), 0, &env, &p), -EBADMSG);
		assert_int_equal(p, SUIT_NOT_CBOR);
		assert_int_equal(env.manifest.n, 0);
	}
}

/* A flip either breaks something, or stands where no digest reaches: in the signature. */
static void no_flipped_bit_passes_a_digest(void **state) /* SU-4, SU-16 */
{
	_cleanup_buf_ struct buf b = { 0 };
	struct suit_envelope good, env;
	enum suit_problem p;

	(void)state;
	load(&b, "libcsuit/exp2B.cbor");
	assert_int_equal(suit_envelope_decode(buf_span(&b), 0, &good, &p), 0);
	size_t from = (size_t)(good.auth_blocks[0].p - b.p), to = from + good.auth_blocks[0].n;
	for (size_t bit = 0; bit < b.n * 8; bit++) {
		b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (suit_envelope_decode(buf_span(&b), 0, &env, &p) == 0 && (bit / 8 < from || bit / 8 >= to))
			assert_true(suit_manifest_decode(&env, 0, &manifest, &p) < 0);
		b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

/* ---- the wrapper ---- */

static enum suit_problem problem_of(const char *text, unsigned flags)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct suit_envelope env;
	enum suit_problem p;

	add_diag(&b, text);
	int r = suit_envelope_decode(buf_span(&b), flags, &env, &p);
	assert_int_equal(r == 0, p == SUIT_OK);
	return p;
}

static void wrappers_of_another_shape_are_refused(void **state)
{
	static const struct {
		const char *text;
		enum suit_problem expected;
	} rows[] = {
		{ "107({})", SUIT_AUTH_MISSING },
		{ "107({2: h'80'})", SUIT_AUTH_MISSING },
		{ "107({3: h'a0'})", SUIT_AUTH_MISSING },
		{ "107({3: h'a0', 2: h'80'})", SUIT_AUTH_AFTER_MANIFEST },     /* SU-2 */
		{ "1070({2: h'80', 3: h'a0'})", SUIT_WRONG_TAG },              /* SU-1 */
		{ "18({2: h'80', 3: h'a0'})", SUIT_WRONG_TAG },
		{ "{2: h'80', 3: h'a0'}", SUIT_NO_TAG },
		{ "107(107({2: h'80', 3: h'a0'}))", SUIT_MEMBER_MALFORMED },
		{ "107([])", SUIT_MEMBER_MALFORMED },
		{ "[]", SUIT_NO_TAG },
		{ "107({2: h'80', 3: h'a0', 3: h'a0'})", SUIT_DUPLICATE_KEY }, /* SU-3 */
		{ "107({2: h'80', 3: h'a0', 20: [1]})", SUIT_MEMBER_MALFORMED },
		{ "107({2: [], 3: h'a0'})", SUIT_MEMBER_MALFORMED },
		{ "107({2: h'80', 3: {}})", SUIT_MEMBER_MALFORMED },
		{ "107({2: h'80', 3: h'a0', \"#x\": 1})", SUIT_MEMBER_MALFORMED },
		{ "107({2: h'80', 3: h'a0', h'00': h''})", SUIT_MEMBER_MALFORMED },
		{ "107({2: h'80', 3: h'a0', 24: h''})", SUIT_MEMBER_UNLISTED },       /* uninstall is never severable */
		{ "107({2: h'80', 3: h'a0', -1: h''})", SUIT_MEMBER_UNLISTED },
		{ "107({2: h'80', 3: h'a0'})", SUIT_AUTH_MALFORMED },
		{ "107({2: h'', 3: h'a0'})", SUIT_AUTH_MALFORMED },
		{ "107({2: <<[1]>>, 3: h'a0'})", SUIT_AUTH_MALFORMED },
		{ "107({2: <<[<<[-16, h'00']>>]>>, 3: h'a0'})", SUIT_AUTH_MALFORMED },
		{ "107({2: <<[<<[-16]>>]>>, 3: h'a0'})", SUIT_AUTH_MALFORMED },
		{ "107({2: <<[<<[-99, h'00']>>]>>, 3: h'a0'})", SUIT_DIGEST_ALG },
		{ "107({2: <<[<<[-18, h'0000000000000000000000000000000000000000000000000000000000000000']>>]>>, 3: h'a0'})", SUIT_DIGEST_ALG },
		{ "107({2: <<[<<[-16, h'0000000000000000000000000000000000000000000000000000000000000000']>>]>>, 3: h'a0'})", SUIT_DIGEST_MISMATCH },
		{ "107({2: <<[<<[-16, h'0000000000000000000000000000000000000000000000000000000000000000']>>, 1]>>, 3: h'a0'})", SUIT_AUTH_MALFORMED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (problem_of(rows[i].text, 0) != rows[i].expected)
			fail_msg("%s: %s", rows[i].text, suit_problem_text(problem_of(rows[i].text, 0)));
}

static void older_drafts_are_called_so(void **state) /* SU-28 */
{
	static const char *const rows[] = {
		"{1: h'80', 2: h'a0'}",
		"107({1: h'80', 2: h'80', 3: h'a0'})",
		"107({2: <<[<<18([<<{1: -7}>>, {}, h'00', h'00'])>>]>>, 3: h'a0'})",
		"107({2: <<[<<[2, h'00']>>]>>, 3: h'a0'})",
		"107({2: h'80', 3: h'a0', 9: h'80'})",
		"107({2: h'80', 3: h'a0', 13: h'a0'})",
		"{2: h'80', 3: h'a0', 7: h'80'}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (problem_of(rows[i], 0) != SUIT_OLD_ENCODING)
			fail_msg("%s: %s", rows[i], suit_problem_text(problem_of(rows[i], 0)));
}

static void longer_digests_hold_as_well(void **state)
{
	(void)state;
	for (unsigned bits = 384; bits <= 512; bits += 128) {
		_cleanup_buf_ struct buf digest = { 0 }, block = { 0 }, all = { 0 };
		uint8_t computed[DIGEST_SHA2_BYTES_MAX];
		struct suit_envelope env;
		enum suit_problem p;
		size_t n = digest_sha2(bits, SPAN_LIT("\x41\xa0"), computed);
		cbor_put_array(&digest, 2);
		cbor_put_int(&digest, bits == 384 ? SUIT_SHA384 : SUIT_SHA512);
		cbor_put_bytes(&digest, SPAN(computed, n));
		add_diag(&block, FAKE_BLOCK);
		struct span blocks = buf_span(&block);
		assert_int_equal(suit_envelope_encode(SPAN_LIT("\xa0"), buf_span(&digest), &blocks, 1, SPAN_NONE, 0, &all), 0);
		assert_int_equal(suit_envelope_decode(buf_span(&all), 0, &env, &p), 0);
		assert_int_equal(env.auth_digest.bytes.n, bits / 8);
	}
}

static enum suit_problem problem_with_blocks(size_t n)
{
	_cleanup_buf_ struct buf digest = { 0 }, all = { 0 };
	struct span blocks[SUIT_AUTH_BLOCKS_MAX + 1];
	struct suit_envelope env;
	enum suit_problem p;

	for (size_t i = 0; i < n; i++)
		blocks[i] = SPAN_LIT("\xf6"); /* not looked at here */
	suit_auth_digest_encode(SPAN_LIT("\xa0"), &digest);
	if (suit_envelope_encode(SPAN_LIT("\xa0"), buf_span(&digest), blocks, n, SPAN_NONE, 0, &all) < 0)
		return SUIT_TOO_MANY;
	(void)suit_envelope_decode(buf_span(&all), 0, &env, &p); /* p tells */
	return p;
}

static enum suit_problem problem_with_integrated(size_t n)
{
	_cleanup_buf_ struct buf all = { 0 }, members = { 0 }, digest = { 0 };
	struct span block = SPAN_LIT("\xf6");
	struct suit_envelope env;
	enum suit_problem p;

	for (size_t i = 0; i < n; i++) {
		char name[32];
		(void)snprintf(name, sizeof(name), "#%zu", i); /* it fits */
		cbor_put_str(&members, name);
		cbor_put_bytes(&members, SPAN_LIT("x"));
	}
	suit_auth_digest_encode(SPAN_LIT("\xa0"), &digest);
	assert_int_equal(suit_envelope_encode(SPAN_LIT("\xa0"), buf_span(&digest), &block, 1, buf_span(&members), n, &all), 0);
	(void)suit_envelope_decode(buf_span(&all), 0, &env, &p); /* p tells */
	return p;
}

static enum suit_problem problem_with_manifest_of(size_t n)
{
	_cleanup_buf_ struct buf all = { 0 }, m = { 0 };
	struct suit_envelope env;
	enum suit_problem p;

	(void)buf_grow(&m, n); /* never read as a manifest */
	add_hex(&all, "d86b a2 02 41 80 03");
	cbor_put_bytes(&all, buf_span(&m));
	(void)suit_envelope_decode(buf_span(&all), 0, &env, &p); /* p tells */
	return p;
}

static void limits_hold_to_the_last(void **state)
{
	(void)state;
	assert_int_equal(problem_with_blocks(SUIT_AUTH_BLOCKS_MAX), SUIT_OK);
	assert_int_equal(problem_with_blocks(SUIT_AUTH_BLOCKS_MAX + 1), SUIT_TOO_MANY);
	assert_int_equal(problem_with_integrated(SUIT_INTEGRATED_MAX), SUIT_OK);
	assert_int_equal(problem_with_integrated(SUIT_INTEGRATED_MAX + 1), SUIT_TOO_MANY);
	assert_int_equal(problem_with_manifest_of(SUIT_MANIFEST_BYTES_MAX), SUIT_AUTH_MALFORMED);
	assert_int_equal(problem_with_manifest_of(SUIT_MANIFEST_BYTES_MAX + 1), SUIT_TOO_LARGE);
	struct suit_envelope env;
	enum suit_problem p;
	struct span huge = { calloc(1, SUIT_ENVELOPE_BYTES_MAX + 1), SUIT_ENVELOPE_BYTES_MAX + 1 };
	assert_int_equal(suit_envelope_decode(huge, 0, &env, &p), -EMSGSIZE);
	assert_int_equal(p, SUIT_TOO_LARGE);
	free((void *)(uintptr_t)huge.p);
}

static void hand_made_auth_limit_is_the_decoders_too(void **state)
{
	_cleanup_buf_ struct buf auth = { 0 }, all = { 0 }, digest = { 0 };
	struct suit_envelope env;
	enum suit_problem p;

	(void)state;
	suit_auth_digest_encode(SPAN_LIT("\xa0"), &digest);
	cbor_put_array(&auth, SUIT_AUTH_BLOCKS_MAX + 2);
	cbor_put_bytes(&auth, buf_span(&digest));
	for (size_t i = 0; i <= SUIT_AUTH_BLOCKS_MAX; i++)
		cbor_put_bytes(&auth, SPAN_LIT("\xf6"));
	add_hex(&all, "d86b a2 02");
	cbor_put_bytes(&all, buf_span(&auth));
	add_hex(&all, "03 41a0");
	assert_int_equal(suit_envelope_decode(buf_span(&all), 0, &env, &p), -EMSGSIZE);
	assert_int_equal(p, SUIT_TOO_MANY);
}

/* ---- other forms of the same envelope ---- */

static void severing_leaves_what_is_signed_as_it_was(void **state) /* SU-17, SU-25 */
{
	_cleanup_buf_ struct buf b = { 0 }, cut = { 0 }, same = { 0 };
	struct suit_envelope before, after;
	enum suit_problem p;

	(void)state;
	load(&b, "libcsuit/exp2B.cbor");
	assert_int_equal(suit_envelope_decode(buf_span(&b), 0, &before, &p), 0);
	assert_int_equal(suit_envelope_sever(&before, 0, &same), 0);
	assert_true(span_eq(buf_span(&same), buf_span(&b)));
	assert_int_equal(suit_envelope_sever(&before, SEQUENCE_KEYS_AND_TEXT | 1u << 2 | 1u << 3, &cut), 0);
	assert_int_equal(suit_envelope_decode(buf_span(&cut), 0, &after, &p), 0);
	assert_int_equal(after.n_severed, 0);
	assert_true(span_eq(after.manifest_wrapped, before.manifest_wrapped));
	assert_true(span_eq(after.auth_digest_bytes, before.auth_digest_bytes));
	assert_true(span_eq(after.auth_blocks[0], before.auth_blocks[0]));
	assert_int_equal(suit_manifest_decode(&after, 0, &manifest, &p), 0);
	assert_int_equal(manifest.severed_absent, SEQUENCE_KEYS_AND_TEXT);
	buf_clear(&cut);
	assert_int_equal(suit_envelope_sever(&before, 1u << 23, &cut), 0);
	assert_int_equal(suit_envelope_decode(buf_span(&cut), 0, &after, &p), 0);
	assert_int_equal(suit_manifest_decode(&after, 0, &manifest, &p), 0);
	assert_int_equal(manifest.severed_absent, 1u << 23);
	assert_int_equal(manifest.n_images, 1);
}

static void one_more_block_is_added_at_the_end(void **state)
{
	_cleanup_buf_ struct buf b = { 0 }, more = { 0 }, block = { 0 };
	struct suit_envelope before, after;
	enum suit_problem p;

	(void)state;
	load(&b, "libcsuit/expU.cbor"); /* untagged stays untagged */
	add_diag(&block, "17([<<{1: 5}>>, {}, null, h'00'])");
	assert_int_equal(suit_envelope_decode(buf_span(&b), SUIT_ALLOW_UNTAGGED, &before, &p), 0);
	assert_int_equal(suit_envelope_add_auth(&before, buf_span(&block), &more), 0);
	assert_int_equal(suit_envelope_decode(buf_span(&more), SUIT_ALLOW_UNTAGGED, &after, &p), 0);
	assert_int_equal(after.n_auth_blocks, 2);
	assert_true(span_eq(after.auth_blocks[0], before.auth_blocks[0]));
	assert_true(span_eq(after.auth_blocks[1], buf_span(&block)));
	assert_true(span_eq(after.manifest_wrapped, before.manifest_wrapped));
	after.n_auth_blocks = SUIT_AUTH_BLOCKS_MAX;
	assert_int_equal(suit_envelope_add_auth(&after, buf_span(&block), &more), -EMSGSIZE);
}

static void component_ids_are_shown_as_paths(void **state)
{
	_cleanup_buf_ struct buf id = { 0 }, text = { 0 };

	(void)state;
	add_diag(&id, "['slot', h'00', '..', 'a/b', h'']");
	suit_component_text(buf_span(&id), &text);
	assert_string_equal(buf_str(&text), "slot/00/../612f62/");
}

static void every_problem_has_its_words(void **state)
{
	(void)state;
	for (int p = 0; p < SUIT_PROBLEM_COUNT; p++)
		assert_non_null(suit_problem_text((enum suit_problem)p));
	for (int p = 0; p < COSE_PROBLEM_COUNT; p++)
		assert_non_null(cose_problem_text((enum cose_problem)p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(public_envelopes_decode),
		cmocka_unit_test(nobody_signed_the_unsigned_ones),
		cmocka_unit_test(details_of_one_envelope_come_out),
		cmocka_unit_test(integrated_and_encrypted_ones_are_marked),
		cmocka_unit_test(bad_envelopes_are_refused_at_their_stage),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(no_flipped_bit_passes_a_digest),
		cmocka_unit_test(wrappers_of_another_shape_are_refused),
		cmocka_unit_test(older_drafts_are_called_so),
		cmocka_unit_test(longer_digests_hold_as_well),
		cmocka_unit_test(limits_hold_to_the_last),
		cmocka_unit_test(hand_made_auth_limit_is_the_decoders_too),
		cmocka_unit_test(severing_leaves_what_is_signed_as_it_was),
		cmocka_unit_test(one_more_block_is_added_at_the_end),
		cmocka_unit_test(component_ids_are_shown_as_paths),
		cmocka_unit_test(every_problem_has_its_words),
	};

	return cmocka_run_group_tests_name("codec/suit", tests, NULL, NULL);
}
