/* What a node thinks of an envelope, by each of the proofs it may be able to check. Requirements: SU-4, SU-6, SU-12, SU-14,
 * SU-15, SU-19; decision 10. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "node/node_offer.h"
#include "trust/delegate.h"
#include "trust/sign.h"

static const char *const any[] = { "any", NULL };
static const char *const none[] = { NULL };
static const uint8_t mac_key[16] = { 9, 8, 7 };

struct world {
	struct sign_key *key;
	struct trust_anchors *anchors;
	uint8_t vendor[16], class[16];
	struct buf envelope, with_mac;
};

static int make_key(struct world *w)
{
	_cleanup_buf_ struct buf private = { 0 }, public = { 0 };
	char error[200];

	assert_int_equal(sign_key_generate(SIGN_P256, &private, &public), 0);
	assert_int_equal(sign_key_load(buf_span(&private), 0, &w->key, error, sizeof(error)), 0);
	const struct trust_anchor_config c = {
		.name = "a", .pem = buf_span(&public), .vendor_ids = any, .class_ids = none, .hosts = none,
	};
	return trust_anchors_build(&c, 1, &w->anchors, error, sizeof(error));
}

static void make_envelope(struct world *w, uint64_t sequence, bool integrated)
{
	_cleanup_buf_ struct buf manifest = { 0 }, members = { 0 }, digest = { 0 }, block = { 0 };
	const struct suit_author_component comp = {
		.id = { SPAN_LIT("slot") }, .n_id = 1, .digest = digest_of(SPAN_LIT("image")), .size = 5,
		.uri = integrated ? "#image" : "https://vendor.example/image", .payload = integrated ? SPAN_LIT("image") : SPAN_NONE,
	};
	const struct suit_author a = {
		.sequence = sequence, .vendor_id = w->vendor, .class_id = w->class, .components = &comp, .n_components = 1, .version_text = "1.0",
	};
	char error[200];
	struct suit_envelope env;
	enum suit_problem problem;
	size_t n_members = 0;

	buf_clear(&w->envelope);
	buf_clear(&w->with_mac);
	assert_int_equal(suit_manifest_encode(&a, &manifest, &members, &n_members), 0);
	suit_auth_digest_encode(buf_span(&manifest), &digest);
	assert_int_equal(sign_auth_digest(w->key, SPAN_NONE, SPAN_NONE, buf_span(&digest), &block, error, sizeof(error)), 0);
	struct span blocks[] = { buf_span(&block) };
	assert_int_equal(suit_envelope_encode(buf_span(&manifest), buf_span(&digest), blocks, 1, buf_span(&members), n_members, &w->envelope), 0);
	assert_int_equal(suit_envelope_decode(buf_span(&w->envelope), 0, &env, &problem), 0);
	assert_int_equal(delegate_add_mac0(&env, SPAN_OF(mac_key), SPAN_LIT("node"), &w->with_mac), 0);
}

static int set_up(void **state)
{
	struct world *w = NEW(struct world);

	uuid_of_vendor(SPAN_LIT("vendor.example"), w->vendor);
	uuid_of_class(w->vendor, SPAN_LIT("lamp"), w->class);
	*state = w;
	return make_key(w);
}

static int tear_down(void **state)
{
	struct world *w = *state;

	sign_key_free(w->key);
	trust_anchors_unref(w->anchors);
	buf_done(&w->envelope);
	buf_done(&w->with_mac);
	free(w);
	return 0;
}

static struct node_trust trust_of(const struct world *w, enum device_proof proof)
{
	struct node_trust t = { .proof = proof, .anchors = w->anchors, .has_vendor = true, .has_class = true };

	memcpy(t.vendor_id, w->vendor, 16);
	memcpy(t.class_id, w->class, 16);
	return t;
}

struct judged {
	enum node_verdict verdict;
	unsigned result;
	char reason[NODE_REASON_BYTES];
	struct node_offer offer;
};

static struct judged judge(const struct node_trust *t, struct span key, const struct node_durable *runs, struct span envelope)
{
	struct judged j;

	j.verdict = node_offer_judge(t, key, runs, envelope, wall_from_s(1800000000), &j.offer, &j.result, j.reason);
	assert_true(j.verdict != NODE_REFUSES || (j.result != 0 && j.reason[0]));
	return j;
}

static void each_proof_accepts_what_it_can_check(void **state)
{
	struct world *w = *state;
	const struct node_durable fresh = { 0 };

	make_envelope(w, 5, false);
	for (int p = 0; p < PROOF_COUNT; p++) {
		struct node_trust t = trust_of(w, (enum device_proof)p);
		struct judged j = judge(&t, SPAN_OF(mac_key), &fresh, p == PROOF_MAC ? buf_span(&w->with_mac) : buf_span(&w->envelope));
		assert_int_equal(j.verdict, NODE_ACCEPTS);
		assert_int_equal(j.offer.sequence, 5);
		assert_int_equal(j.offer.n_images, 1);
		assert_int_equal(j.offer.images[0].bytes, 5);
		assert_string_equal(j.offer.images[0].uri, "https://vendor.example/image");
		assert_string_equal(j.offer.version, "1.0");
		node_offer_done(&j.offer);
	}
}

static void the_wrong_key_is_an_integrity_failure(void **state)
{
	struct world *w = *state;
	const struct node_durable fresh = { 0 };
	static const uint8_t other_key[16] = { 1 };
	struct world stranger = { 0 };

	make_envelope(w, 5, false);
	struct node_trust t = trust_of(w, PROOF_MAC);
	assert_int_equal(judge(&t, SPAN_OF(other_key), &fresh, buf_span(&w->with_mac)).result, NODE_RESULT_INTEGRITY);
	assert_int_equal(judge(&t, SPAN_OF(mac_key), &fresh, buf_span(&w->envelope)).result, NODE_RESULT_INTEGRITY);   /* no MAC in it */
	assert_int_equal(make_key(&stranger), 0);
	t = trust_of(w, PROOF_SIGNATURE);
	t.anchors = stranger.anchors;
	assert_int_equal(judge(&t, SPAN_NONE, &fresh, buf_span(&w->envelope)).result, NODE_RESULT_INTEGRITY);
	sign_key_free(stranger.key);
	trust_anchors_unref(stranger.anchors);
}

static void every_flipped_bit_and_every_truncation_is_refused(void **state)
{
	struct world *w = *state;
	const struct node_durable fresh = { 0 };

	make_envelope(w, 5, true);
	for (int p = 0; p < PROOF_COUNT; p++) {
		struct node_trust t = trust_of(w, (enum device_proof)p);
		_cleanup_buf_ struct buf e = { 0 };
		buf_add(&e, p == PROOF_MAC ? buf_span(&w->with_mac) : buf_span(&w->envelope));
		for (size_t n = 0; n < e.n; n++)
			assert_int_equal(judge(&t, SPAN_OF(mac_key), &fresh, SPAN(e.p, n)).verdict, NODE_REFUSES);
		for (size_t i = 0; i < e.n; i++) {
			e.p[i] ^= 1;
			struct judged j = judge(&t, SPAN_OF(mac_key), &fresh, buf_span(&e));
			/* Bits of a proof that this node does not look at, and of the payload (its digest is checked later), may differ. */
			if (j.verdict == NODE_ACCEPTS)
				assert_int_equal(j.offer.sequence, 5);
			node_offer_done(&j.offer);
			e.p[i] ^= 1;
		}
	}
}

static void another_vendor_or_class_is_unsupported(void **state)
{
	struct world *w = *state;
	const struct node_durable fresh = { 0 };

	make_envelope(w, 5, false);
	for (int p = 0; p < PROOF_COUNT; p++) {
		struct span e = p == PROOF_MAC ? buf_span(&w->with_mac) : buf_span(&w->envelope);
		struct node_trust t = trust_of(w, (enum device_proof)p);
		t.vendor_id[3] ^= 1;
		assert_int_equal(judge(&t, SPAN_OF(mac_key), &fresh, e).result, NODE_RESULT_UNSUPPORTED);
		t = trust_of(w, (enum device_proof)p);
		t.class_id[0] ^= 0x80;
		assert_int_equal(judge(&t, SPAN_OF(mac_key), &fresh, e).result, NODE_RESULT_UNSUPPORTED);
	}
}

/* SU-12: lower is refused, the same manifest is what runs, higher is accepted. */
static void the_sequence_number_must_grow(void **state)
{
	struct world *w = *state;
	const struct node_durable fresh = { 0 };
	const struct { uint64_t runs, offered; bool has_installed; enum node_verdict want; } cases[] = {
		{ 5, 5, true, NODE_REFUSES }, { 6, 5, true, NODE_REFUSES }, { 4, 5, true, NODE_ACCEPTS }, { 0, 1, false, NODE_ACCEPTS },
		{ 0, 0, false, NODE_ACCEPTS }, { 0, 0, true, NODE_REFUSES }, { 7, 7, false, NODE_REFUSES },
		{ UINT64_MAX, 1, true, NODE_REFUSES }, { 1, UINT64_MAX, true, NODE_ACCEPTS },
	};
	struct node_trust t = trust_of(w, PROOF_SIGNATURE);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct node_durable runs = { .has_installed = cases[i].has_installed, .sequence = cases[i].runs };
		make_envelope(w, cases[i].offered, false);
		struct judged j = judge(&t, SPAN_NONE, &runs, buf_span(&w->envelope));
		assert_int_equal(j.verdict, cases[i].want);
		assert_true(j.verdict == NODE_ACCEPTS || j.result == NODE_RESULT_FAILED);
		node_offer_done(&j.offer);
	}
	make_envelope(w, 5, false);
	struct judged j = judge(&t, SPAN_NONE, &fresh, buf_span(&w->envelope));
	const struct node_durable same = { .has_installed = true, .sequence = 5, .installed = j.offer.manifest };
	node_offer_done(&j.offer);
	assert_int_equal(judge(&t, SPAN_NONE, &same, buf_span(&w->envelope)).verdict, NODE_RUNS_IT);
}

static void an_integrated_image_is_found_in_the_envelope(void **state)
{
	struct world *w = *state;
	const struct node_durable fresh = { 0 };
	struct node_trust t = trust_of(w, PROOF_SIGNATURE);

	make_envelope(w, 5, true);
	struct judged j = judge(&t, SPAN_NONE, &fresh, buf_span(&w->envelope));
	assert_int_equal(j.verdict, NODE_ACCEPTS);
	assert_true(j.offer.images[0].is_integrated);
	assert_true(span_eq_str(j.offer.images[0].integrated, "image"));
	node_offer_done(&j.offer);
}

/* The public SUIT vectors: signed by the published author key; images that only a command sequence would name are none. */
static void a_public_vector_is_accepted(void **state)
{
	const struct node_durable fresh = { 0 };
	struct trust_anchors *anchors;
	char error[200];
	uint8_t pem[1024], cbor[4096];
	FILE *f = fopen(VECTORS "/suit/keys/author-p256-pub.pem", "r");
	size_t n_pem = fread(pem, 1, sizeof(pem), f), n_cbor;

	fclose(f);
	f = fopen(VECTORS "/suit/libcsuit/exp2B.cbor", "r");
	n_cbor = fread(cbor, 1, sizeof(cbor), f);
	fclose(f);
	const struct trust_anchor_config c = { .name = "a", .pem = SPAN(pem, n_pem), .vendor_ids = any, .class_ids = none, .hosts = none };
	assert_int_equal(trust_anchors_build(&c, 1, &anchors, error, sizeof(error)), 0);
	const struct node_trust t = { .proof = PROOF_SIGNATURE, .anchors = anchors };
	struct judged j = judge(&t, SPAN_NONE, &fresh, SPAN(cbor, n_cbor));
	assert_int_equal(j.verdict, NODE_ACCEPTS);
	assert_int_equal(j.offer.sequence, 2);
	assert_int_equal(j.offer.n_images, 1);
	assert_int_equal(j.offer.images[0].bytes, 34768);
	node_offer_done(&j.offer);
	trust_anchors_unref(anchors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_proof_accepts_what_it_can_check),
		cmocka_unit_test(the_wrong_key_is_an_integrity_failure),
		cmocka_unit_test(every_flipped_bit_and_every_truncation_is_refused),
		cmocka_unit_test(another_vendor_or_class_is_unsupported),
		cmocka_unit_test(the_sequence_number_must_grow),
		cmocka_unit_test(an_integrated_image_is_found_in_the_envelope),
		cmocka_unit_test(a_public_vector_is_accepted),
	};

	return cmocka_run_group_tests_name("node/node_offer", tests, set_up, tear_down);
}
