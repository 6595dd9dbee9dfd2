#include <errno.h>

#include "suit_make.h"

static const uint8_t vendor_id[16] = { 0xfa, 0x6b, 0x4a, 0x53, 0xd5, 0xad, 0x5f, 0xdf, 0xbe, 0x9d, 0xe6, 0x63, 0xe4, 0xd4, 0x1f, 0xfe };
static const uint8_t class_id[16] = { 0x14, 0x92, 0xaf, 0x14, 0x25, 0x69, 0x5e, 0x48, 0xbf, 0x42, 0x9b, 0x2d, 0x51, 0xf2, 0xab, 0x45 };
static const char firmware[] = "new firmware", radio[] = "radio firmware";

static struct suit_manifest manifest;  /* too large for the stack */

struct written {
	struct buf manifest, members, envelope;
	size_t n_members;
};

static void written_done(struct written *w)
{
	buf_done(&w->manifest);
	buf_done(&w->members);
	buf_done(&w->envelope);
}

static struct suit_author_component component(const char *id, const char *content, const char *uri, bool integrated)
{
	struct suit_author_component c = {
		.id = { SPAN_LIT("slot"), span_str(id) }, .n_id = 2, .digest = digest_of(span_str(content)),
		.size = strlen(content), .uri = uri,
	};

	if (integrated)
		c.payload = span_str(content);
	return c;
}

/* Writes, checks the order of every map, puts a block on it and decodes it again. */
static enum suit_problem round_trip(struct written *w, const struct suit_author *a, struct suit_envelope *env)
{
	_cleanup_buf_ struct buf digest = { 0 }, block = { 0 };
	enum suit_problem p;

	written_done(w);
	*w = (struct written){ 0 };
	assert_int_equal(suit_manifest_encode(a, &w->manifest, &w->members, &w->n_members), 0);
	assert_int_equal(cbor_check(buf_span(&w->manifest), CBOR_KEYS_SORTED, NULL), 0);
	suit_auth_digest_encode(buf_span(&w->manifest), &digest);
	add_diag(&block, FAKE_BLOCK);
	struct span blocks = buf_span(&block);
	assert_int_equal(suit_envelope_encode(buf_span(&w->manifest), buf_span(&digest), &blocks, 1, buf_span(&w->members),
					      w->n_members, &w->envelope), 0);
	assert_int_equal(cbor_check(buf_span(&w->envelope), CBOR_KEYS_SORTED, NULL), 0);
	if (suit_envelope_decode(buf_span(&w->envelope), 0, env, &p) < 0)
		return p;
	(void)suit_manifest_decode(env, 0, &manifest, &p); /* p tells */
	return p;
}

static void what_is_written_says_what_was_meant(void **state) /* SU-14, SU-19 */
{
	_cleanup_(written_done) struct written w = { 0 };
	struct suit_author_component c = component("0", firmware, "https://example.com/fw.bin", false);
	struct suit_author a = {
		.sequence = 7, .vendor_id = vendor_id, .class_id = class_id, .components = &c, .n_components = 1,
		.vendor_name = "Example", .model_name = "Lamp", .description = "Brighter", .version_text = "1.2.3",
		.has_use_before = true, .use_before_s = 2000000000,
	};
	struct suit_envelope env;

	(void)state;
	assert_int_equal(round_trip(&w, &a, &env), SUIT_OK);
	assert_int_equal(manifest.sequence, 7);
	assert_true(manifest.components[0].checks_vendor && manifest.components[0].checks_class);
	assert_memory_equal(manifest.components[0].vendor_id[0].p, vendor_id, 16);
	assert_memory_equal(manifest.components[0].class_id[0].p, class_id, 16);
	assert_int_equal(manifest.n_images, 1);
	assert_int_equal(manifest.images[0].size, sizeof(firmware) - 1);
	assert_memory_equal(manifest.images[0].digest.bytes.p, c.digest.b, DIGEST_BYTES);
	assert_true(span_eq_str(manifest.images[0].uri, c.uri) && manifest.images[0].is_fetched);
	assert_true(manifest.has_use_before && manifest.use_before_s == 2000000000);
	assert_true(span_eq_str(manifest.vendor_name, "Example") && span_eq_str(manifest.model_name, "Lamp"));
	assert_true(span_eq_str(manifest.description, "Brighter") && span_eq_str(manifest.version_text, "1.2.3"));
	assert_int_equal(manifest.unknown_command, 0);
}

static void severed_members_stand_outside_with_their_digest_inside(void **state) /* SU-16, SU-17 */
{
	_cleanup_(written_done) struct written w = { 0 };
	struct suit_author_component c = component("0", firmware, "#fw", true);
	struct suit_author a = {
		.sequence = 1, .components = &c, .n_components = 1, .vendor_name = "Example", .sever_install = true, .sever_text = true,
	};
	struct suit_envelope env;

	(void)state;
	assert_int_equal(round_trip(&w, &a, &env), SUIT_OK);
	assert_int_equal(env.n_severed, 2);
	assert_int_equal(env.n_integrated, 1);
	assert_true(manifest.images[0].is_integrated && span_eq_str(manifest.images[0].integrated, firmware));
	assert_false(manifest.components[0].checks_vendor);
	assert_true(span_eq_str(manifest.vendor_name, "Example"));
}

static void several_components_are_kept_apart(void **state)
{
	_cleanup_(written_done) struct written w = { 0 };
	const struct suit_author_component c[] = {
		component("app", firmware, "#application", true), component("net", radio, "#net", true),
		component("app2", firmware, "#application", true),
	};
	struct suit_author a = { .sequence = 1, .vendor_id = vendor_id, .class_id = class_id, .components = c, .n_components = 3 };
	struct suit_envelope env;

	(void)state;
	assert_int_equal(round_trip(&w, &a, &env), SUIT_OK);
	assert_int_equal(env.n_integrated, 2); /* one URI, one payload */
	assert_int_equal(manifest.n_images, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(manifest.images[i].component, i);
		assert_memory_equal(manifest.images[i].digest.bytes.p, c[i].digest.b, DIGEST_BYTES);
		assert_true(manifest.components[i].checks_vendor && manifest.components[i].checks_class);
	}
}

static void the_same_facts_give_the_same_bytes(void **state)
{
	_cleanup_(written_done) struct written w1 = { 0 }, w2 = { 0 };
	struct suit_author_component c = component("0", firmware, "https://example.com/fw.bin", false);
	struct suit_author a = { .sequence = UINT64_MAX, .class_id = class_id, .components = &c, .n_components = 1 };
	struct suit_envelope env;

	(void)state;
	assert_int_equal(round_trip(&w1, &a, &env), SUIT_OK);
	assert_int_equal(round_trip(&w2, &a, &env), SUIT_OK);
	assert_true(span_eq(buf_span(&w1.envelope), buf_span(&w2.envelope)));
	assert_true(manifest.sequence == UINT64_MAX);
	assert_true(!manifest.components[0].checks_vendor && manifest.components[0].checks_class);
}

static void facts_that_make_no_manifest_are_refused(void **state)
{
	_cleanup_(written_done) struct written w = { 0 };
	const struct suit_author_component good = component("0", firmware, "#fw", true);
	struct suit_author_component bad[7] = { good, good, good, good, good, good, good };
	struct suit_author a = { .components = bad, .n_components = 0 };

	(void)state;
	assert_int_equal(suit_manifest_encode(&a, &w.manifest, &w.members, &w.n_members), -EINVAL);
	a.n_components = SUIT_COMPONENTS_MAX + 1;
	assert_int_equal(suit_manifest_encode(&a, &w.manifest, &w.members, &w.n_members), -EINVAL);
	bad[0].n_id = 0;
	bad[1].n_id = SUIT_ID_SEGMENTS_MAX + 1;
	bad[2].uri = NULL;
	bad[3].uri = "";
	bad[4].size++;
	bad[5].id[0] = SPAN(firmware, SUIT_ID_SEGMENT_BYTES_MAX + 1);
	a.n_components = 1;
	for (size_t i = 0; i < 6; i++) {
		a.components = &bad[i];
		assert_int_equal(suit_manifest_encode(&a, &w.manifest, &w.members, &w.n_members), -EINVAL);
	}
	bad[5] = component("1", radio, "#fw", true); /* one URI, two payloads */
	a.components = bad + 5;
	a.n_components = 2;
	assert_int_equal(suit_manifest_encode(&a, &w.manifest, &w.members, &w.n_members), -EINVAL);
}

static void manifests_longer_than_the_limit_are_refused(void **state)
{
	_cleanup_(written_done) struct written w = { 0 };
	_cleanup_buf_ struct buf text = { 0 };
	struct suit_author_component c = component("0", firmware, "#fw", true);
	struct suit_author a = { .components = &c, .n_components = 1 };

	(void)state;
	memset(buf_grow(&text, SUIT_MANIFEST_BYTES_MAX), 'x', SUIT_MANIFEST_BYTES_MAX);
	a.description = buf_str(&text);
	assert_int_equal(suit_manifest_encode(&a, &w.manifest, &w.members, &w.n_members), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_says_what_was_meant),
		cmocka_unit_test(severed_members_stand_outside_with_their_digest_inside),
		cmocka_unit_test(several_components_are_kept_apart),
		cmocka_unit_test(the_same_facts_give_the_same_bytes),
		cmocka_unit_test(facts_that_make_no_manifest_are_refused),
		cmocka_unit_test(manifests_longer_than_the_limit_are_refused),
	};

	return cmocka_run_group_tests_name("codec/suit_author", tests, NULL, NULL);
}
