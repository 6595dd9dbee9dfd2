#include <errno.h>

#include "suit_make.h"

#define VENDOR "h'fa6b4a53d5ad5fdfbe9de663e4d41ffe'"
#define CLASS "h'1492af1425695e48bf429b2d51f2ab45'"
#define D1 "<<[-16, h'0000000000000000000000000000000000000000000000000000000000000001']>>"
#define D2 "<<[-16, h'0000000000000000000000000000000000000000000000000000000000000002']>>"
#define COMPONENT "2: [[h'00']]"
#define MANIFEST(common_, rest_) "{1: 1, 2: 3, 3: <<{" common_ "}>>" rest_ "}"
#define INSTALL(commands_) ", 20: <<[" commands_ "]>>"

static struct made made;               /* too large for the stack */

static int teardown(void **state)
{
	(void)state;
	made_done(&made);
	return 0;
}

static enum suit_problem decode(const char *manifest)
{
	return made_decode(&made, manifest, "{}", 0);
}

static void expect(const char *manifest, enum suit_problem expected)
{
	enum suit_problem p = decode(manifest);

	if (p != expected)
		fail_msg("%s: %s, not %s", manifest, suit_problem_text(p), suit_problem_text(expected));
}

static void manifests_of_another_shape_are_refused(void **state) /* SU-3, SU-11, SU-28 */
{
	static const struct {
		const char *text;
		enum suit_problem expected;
	} rows[] = {
		{ MANIFEST(COMPONENT, ""), SUIT_OK },
		{ "{1: 2, 2: 3, 3: <<{" COMPONENT "}>>}", SUIT_VERSION },
		{ "{1: 0, 2: 3, 3: <<{" COMPONENT "}>>}", SUIT_OLD_ENCODING },
		{ "{2: 3, 3: <<{" COMPONENT "}>>}", SUIT_MANIFEST_MALFORMED },
		{ "{1: 1, 3: <<{" COMPONENT "}>>}", SUIT_MANIFEST_MALFORMED },
		{ "{1: 1, 2: 3}", SUIT_MANIFEST_MALFORMED },
		{ "{1: 1, 2: -3, 3: <<{" COMPONENT "}>>}", SUIT_MANIFEST_MALFORMED },
		{ "{1: 1, 1: 1, 2: 3, 3: <<{" COMPONENT "}>>}", SUIT_DUPLICATE_KEY },
		{ "{1: 1, 2: 3, 3: <<{" COMPONENT ", " COMPONENT "}>>}", SUIT_DUPLICATE_KEY },
		{ "[1, 2, 3]", SUIT_MANIFEST_MALFORMED },
		{ "1", SUIT_MANIFEST_MALFORMED },
		{ MANIFEST(COMPONENT, ", 10: h'80'"), SUIT_OLD_ENCODING },
		{ MANIFEST(COMPONENT, ", 13: h'80'"), SUIT_OLD_ENCODING },
		{ MANIFEST(COMPONENT, ", 9: [-16, h'00']"), SUIT_OLD_ENCODING },
		{ MANIFEST(COMPONENT ", 3: [[h'00']]", ""), SUIT_OLD_ENCODING },
		{ MANIFEST(COMPONENT, ", 20: [2, h'00']"), SUIT_OLD_ENCODING },
		{ MANIFEST(COMPONENT, ", 20: [-16, h'00']"), SUIT_MANIFEST_MALFORMED },
		{ MANIFEST(COMPONENT, ", 25: h'80'"), SUIT_UNKNOWN_MEMBER },
		{ MANIFEST(COMPONENT, ", -300: h'80'"), SUIT_UNKNOWN_MEMBER },
		{ MANIFEST(COMPONENT, ", \"x\": h'80'"), SUIT_MANIFEST_MALFORMED },
		{ MANIFEST(COMPONENT ", 5: 1", ""), SUIT_UNKNOWN_MEMBER },
		{ MANIFEST(COMPONENT, ", 7: [-16, h'00']"), SUIT_MANIFEST_MALFORMED }, /* validate is not severable */
		{ MANIFEST(COMPONENT, ", 24: [-16, h'00']"), SUIT_MANIFEST_MALFORMED },
		{ MANIFEST("", ""), SUIT_BAD_COMPONENT },
		{ MANIFEST("2: []", ""), SUIT_BAD_COMPONENT },
		{ MANIFEST("2: [1]", ""), SUIT_BAD_COMPONENT },
		{ MANIFEST("2: [[1]]", ""), SUIT_BAD_COMPONENT },
		{ MANIFEST("2: [[\"x\"]]", ""), SUIT_BAD_COMPONENT },
		{ MANIFEST("2: [['..', 'etc']]", ""), SUIT_OK },               /* SU-21: never a path, so no harm */
		{ MANIFEST("1: {1: {1: ['dep']}}", ""), SUIT_OK },
		{ MANIFEST("1: {1: {2: 1}}, " COMPONENT, ""), SUIT_UNKNOWN_MEMBER },
		{ MANIFEST("1: {1: []}, " COMPONENT, ""), SUIT_MANIFEST_MALFORMED },
		{ MANIFEST(COMPONENT, ", 5: ['root']"), SUIT_OK },
		{ MANIFEST(COMPONENT, ", 5: 'root'"), SUIT_BAD_COMPONENT },
		{ MANIFEST(COMPONENT, ", 4: \"https://example.com/\""), SUIT_OK },
		{ MANIFEST(COMPONENT, ", 4: \"https://example.com/ x\""), SUIT_BAD_URI },
		{ MANIFEST(COMPONENT, ", 4: \"\""), SUIT_BAD_URI },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		expect(rows[i].text, rows[i].expected);
}

static void sequences_of_another_shape_are_refused(void **state) /* SU-20, SU-23, SU-29 */
{
	static const struct {
		const char *commands;
		enum suit_problem expected;
	} rows[] = {
		{ "", SUIT_OK },
		{ "3", SUIT_MANIFEST_MALFORMED },
		{ "3, 15", SUIT_OK },
		{ "3, 16", SUIT_BAD_REPORTING_POLICY },
		{ "3, -1", SUIT_MANIFEST_MALFORMED },
		{ "21, 255", SUIT_BAD_REPORTING_POLICY },
		{ "0, 0", SUIT_MANIFEST_MALFORMED },
		{ "\"x\", 0", SUIT_MANIFEST_MALFORMED },
		{ "12, 0", SUIT_OK }, { "12, true", SUIT_OK }, { "12, [0]", SUIT_OK },
		{ "12, false", SUIT_MANIFEST_MALFORMED }, { "12, []", SUIT_MANIFEST_MALFORMED }, { "12, [\"x\"]", SUIT_MANIFEST_MALFORMED },
		{ "12, 1", SUIT_BAD_COMPONENT }, { "12, [0, 1]", SUIT_BAD_COMPONENT }, { "12, -1", SUIT_MANIFEST_MALFORMED },
		{ "20, {}", SUIT_MANIFEST_MALFORMED }, { "20, 1", SUIT_MANIFEST_MALFORMED },
		{ "20, {6: 1}", SUIT_UNKNOWN_PARAMETER }, { "20, {-256: 1}", SUIT_UNKNOWN_PARAMETER }, { "20, {-257: 1}", SUIT_OK },
		{ "20, {1: 'short'}", SUIT_MANIFEST_MALFORMED }, { "20, {1: 112(h'0102')}", SUIT_OK },
		{ "20, {1: 113(h'0102')}", SUIT_MANIFEST_MALFORMED }, { "20, {2: 112(h'0102')}", SUIT_MANIFEST_MALFORMED },
		{ "20, {3: h'00'}", SUIT_MANIFEST_MALFORMED }, { "20, {3: <<[1, h'00']>>}", SUIT_OLD_ENCODING },
		{ "20, {3: <<[-16, h'00']>>}", SUIT_MANIFEST_MALFORMED }, { "20, {3: <<[-77, h'00']>>}", SUIT_OK },
		{ "20, {14: 0}", SUIT_OK }, { "20, {14: -1}", SUIT_MANIFEST_MALFORMED }, { "20, {13: 1}", SUIT_MANIFEST_MALFORMED },
		{ "20, {14: 18446744073709551615}", SUIT_OK },
		{ "20, {21: \"http://x/y\"}", SUIT_OK }, { "20, {21: \"\"}", SUIT_BAD_URI }, { "20, {21: \"a b\"}", SUIT_BAD_URI },
		{ "20, {21: \"a\x01\"}", SUIT_BAD_URI }, { "20, {21: \"\xc3\xa4\"}", SUIT_BAD_URI }, { "20, {21: 1}", SUIT_BAD_URI },
		{ "20, {22: 0}", SUIT_OK }, { "20, {22: 1}", SUIT_BAD_COMPONENT },
		{ "20, {4: 1, 12: true, 13: false, 18: h'', 23: h'', 25: [1], 26: 5, 27: 1, 28: h'', 29: h'', 30: h''}", SUIT_OK },
		{ "15, [<<[3, 15]>>, <<[14, 15]>>]", SUIT_OK }, { "15, [<<[3, 15]>>, null]", SUIT_OK },
		{ "15, [null, <<[3, 15]>>]", SUIT_MANIFEST_MALFORMED }, { "15, []", SUIT_MANIFEST_MALFORMED }, { "15, [1]", SUIT_MANIFEST_MALFORMED },
		{ "15, [h'']", SUIT_MANIFEST_MALFORMED }, { "15, <<[]>>", SUIT_MANIFEST_MALFORMED },
		{ "32, <<[3, 15]>>", SUIT_OK }, { "32, h''", SUIT_MANIFEST_MALFORMED }, { "32, [3, 15]", SUIT_MANIFEST_MALFORMED },
		{ "34, {0: {14: 1}}", SUIT_OK }, { "34, {1: {14: 1}}", SUIT_BAD_COMPONENT }, { "34, {}", SUIT_MANIFEST_MALFORMED },
		{ "34, {0: {}}", SUIT_MANIFEST_MALFORMED }, { "34, {0: 1}", SUIT_MANIFEST_MALFORMED },
		{ "35, {0: [3, 14]}", SUIT_OK }, { "35, {1: [3]}", SUIT_BAD_COMPONENT }, { "35, {0: 1}", SUIT_MANIFEST_MALFORMED },
		{ "1, 15, 2, 15, 3, 15, 4, 15, 5, 15, 6, 15, 7, 15, 8, 15, 24, 15, 25, 15, 26, 15, 27, 15, 28, 15", SUIT_OK },
		{ "11, 15, 18, 15, 21, 15, 22, 15, 23, 15, 29, 15, 31, 15, 33, 15", SUIT_OK },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[1024];
		(void)snprintf(text, sizeof(text), MANIFEST(COMPONENT, INSTALL("%s")), rows[i].commands); /* it fits */
		expect(text, rows[i].expected);
	}
}

static void commands_nobody_knows_are_told(void **state) /* SU-23 */
{
	(void)state;
	expect(MANIFEST(COMPONENT, INSTALL("40, {1: 2}, 3, 15, 41, 1")), SUIT_OK);
	assert_int_equal(made.manifest.unknown_command, 40);
	expect(MANIFEST(COMPONENT, INSTALL("-300, [1]")), SUIT_OK);
	assert_int_equal(made.manifest.unknown_command, -300);
	expect(MANIFEST(COMPONENT, INSTALL("20, {-400: 1}")), SUIT_OK);
	assert_int_equal(made.manifest.unknown_command, -400);
	expect(MANIFEST(COMPONENT, INSTALL("3, 15")), SUIT_OK);
	assert_int_equal(made.manifest.unknown_command, 0);
}

static void the_shared_sequence_has_no_side_effects(void **state)
{
	static const char *const refused[] = { "11, 15", "18, 15", "21, 15", "22, 15", "23, 15", "29, 15", "31, 15", "33, 15", "-300, 1",
					       "15, [<<[21, 15]>>, null]" };
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		(void)snprintf(text, sizeof(text), MANIFEST(COMPONENT ", 4: <<[%s]>>", INSTALL("3, 15")), refused[i]); /* it fits */
		expect(text, SUIT_MANIFEST_MALFORMED);
	}
}

static void either_slot_gets_its_own_image(void **state) /* SU-27: example 3 of the draft */
{
	const struct suit_manifest *m = &made.manifest;

	(void)state;
	expect(MANIFEST(COMPONENT ", 4: <<[20, {1: " VENDOR ", 2: " CLASS "},"
			" 15, [<<[20, {5: 0}, 5, 5, 20, {3: " D1 ", 14: 34768}]>>, <<[20, {5: 1}, 5, 5, 20, {3: " D2 ", 14: 76834}]>>],"
			" 1, 15, 2, 15]>>",
			", 7: <<[3, 15]>>"
			INSTALL("15, [<<[20, {5: 0}, 5, 5, 20, {21: \"http://example.com/file1.bin\"}]>>,"
				" <<[20, {5: 1}, 5, 5, 20, {21: \"http://example.com/file2.bin\"}]>>], 21, 2, 3, 15")),
	       SUIT_OK);
	assert_int_equal(m->n_images, 2);
	assert_true(span_eq_str(m->images[0].uri, "http://example.com/file1.bin"));
	assert_int_equal(m->images[0].size, 34768);
	assert_int_equal(m->images[0].digest.bytes.p[31], 1);
	assert_true(span_eq_str(m->images[1].uri, "http://example.com/file2.bin"));
	assert_int_equal(m->images[1].size, 76834);
	assert_int_equal(m->images[1].digest.bytes.p[31], 2);
	assert_true(m->components[0].checks_vendor && m->components[0].checks_class);
	assert_int_equal(m->components[0].n_vendor_id, 1);
}

static void branches_keep_their_parameters_apart(void **state)
{
	const struct suit_manifest *m = &made.manifest;

	(void)state;
	expect(MANIFEST(COMPONENT, INSTALL("15, [<<[20, {3: " D1 ", 21: \"a:1\"}]>>, <<[20, {3: " D2 ", 21: \"a:2\"}]>>, null], 21, 2")), SUIT_OK);
	assert_int_equal(m->n_images, 3); /* the third: neither branch, nothing set */
	assert_int_equal(m->images[2].digest.bytes.n, 0);
	expect(MANIFEST(COMPONENT, INSTALL("15, [<<[20, {3: " D1 ", 21: \"a:1\"}, 14, 15]>>, <<[20, {3: " D2 ", 21: \"a:2\"}]>>], 21, 2")), SUIT_OK);
	assert_int_equal(m->n_images, 1); /* a branch that aborts leads nowhere */
	assert_true(span_eq_str(m->images[0].uri, "a:2"));
	expect(MANIFEST(COMPONENT, INSTALL("20, {3: " D1 ", 21: \"a:1\"}, 32, <<[20, {13: true}, 3, 15, 20, {21: \"a:2\"}]>>, 21, 2")), SUIT_OK);
	assert_int_equal(m->n_images, 2); /* a soft sequence may end before its last command */
	expect(MANIFEST(COMPONENT, INSTALL("20, {3: " D1 ", 21: \"a:1\"}, 32, <<[3, 15, 20, {21: \"a:2\"}]>>, 21, 2")), SUIT_OK);
	assert_int_equal(m->n_images, 1);
	assert_true(span_eq_str(m->images[0].uri, "a:2"));
}

static void set_writes_only_what_is_unset(void **state)
{
	(void)state;
	expect(MANIFEST(COMPONENT, INSTALL("20, {3: " D1 ", 21: \"a:1\"}, 19, {21: \"a:2\", 14: 5}, 21, 2")), SUIT_OK);
	assert_true(span_eq_str(made.manifest.images[0].uri, "a:1"));
	assert_int_equal(made.manifest.images[0].size, 5);
}

static void each_component_has_its_own_parameters(void **state)
{
	const struct suit_manifest *m = &made.manifest;

	(void)state;
	expect(MANIFEST("2: [[h'00'], [h'01']], 4: <<[12, 0, 20, {3: " D1 "}, 12, 1, 20, {3: " D2 "}]>>",
			INSTALL("12, 0, 20, {21: \"a:1\"}, 12, 1, 20, {21: \"a:2\"}, 12, true, 21, 2, 3, 15")), SUIT_OK);
	assert_int_equal(m->n_images, 2);
	assert_int_equal(m->images[1].component, 1);
	assert_int_equal(m->images[1].digest.bytes.p[31], 2);
	expect(MANIFEST("2: [[h'00'], [h'01']]", INSTALL("34, {0: {3: " D1 ", 21: \"a:1\"}, 1: {3: " D2 "}}, 12, 1, 35, {0: [21]}, 12, [0, 1], 21, 2")),
	       SUIT_OK);
	assert_int_equal(m->n_images, 2);
	assert_true(span_eq_str(m->images[1].uri, "a:1"));
	expect(MANIFEST("2: [[h'00'], [h'01']]", /* a branch for each of the current components */
			INSTALL("12, true, 15, [<<[20, {3: " D1 ", 21: \"a:1\"}, 21, 2]>>, <<[20, {3: " D2 ", 21: \"a:2\"}, 21, 2]>>]")), SUIT_OK);
	assert_int_equal(m->n_images, 4);
}

static void a_digest_may_come_after_the_fetch(void **state)
{
	const struct suit_manifest *m = &made.manifest;

	(void)state;
	expect(MANIFEST(COMPONENT, INSTALL("20, {21: \"a:1\"}, 21, 2, 20, {3: " D1 "}, 3, 15")), SUIT_OK);
	assert_int_equal(m->n_images, 1);
	assert_true(m->images[0].is_fetched && m->images[0].digest.bytes.n == 32 && span_eq_str(m->images[0].uri, "a:1"));
	expect(MANIFEST(COMPONENT, INSTALL("20, {21: \"a:1\"}, 21, 2")), SUIT_OK); /* never: the verdict refuses it (SU-19) */
	assert_true(m->images[0].is_fetched && m->images[0].digest.bytes.n == 0);
	expect(MANIFEST(COMPONENT, INSTALL("20, {3: " D1 "}, 3, 15, 20, {3: " D2 ", 21: \"a:1\"}, 21, 2, 3, 15")), SUIT_OK);
	assert_int_equal(m->n_images, 2); /* what must be there before, and what comes */
	assert_false(m->images[0].is_fetched);
}

static void sizes_are_taken_as_they_are(void **state) /* SU-32 */
{
	static const uint64_t sizes[] = { 0, UINT64_C(1) << 63, UINT64_MAX };
	char text[512];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(text, sizeof(text), MANIFEST(COMPONENT, INSTALL("20, {3: " D1 ", 14: %llu, 21: \"a:1\"}, 21, 2")),
			       (unsigned long long)sizes[i]); /* it fits */
		expect(text, SUIT_OK);
		assert_true(made.manifest.images[0].has_size && made.manifest.images[0].size == sizes[i]);
	}
}

static void identity_must_be_checked_on_every_way(void **state) /* SU-14 */
{
	const struct suit_component *c = &made.manifest.components[0];

	(void)state;
	expect(MANIFEST(COMPONENT ", 4: <<[20, {1: " VENDOR ", 2: " CLASS "}, 1, 15]>>", ""), SUIT_OK);
	assert_true(c->checks_vendor && !c->checks_class);
	expect(MANIFEST(COMPONENT ", 4: <<[1, 15, 20, {1: " VENDOR "}]>>", ""), SUIT_OK); /* checked before it is set */
	assert_false(c->checks_vendor);
	expect(MANIFEST(COMPONENT ", 4: <<[20, {1: " VENDOR "}, 15, [<<[1, 15]>>, null]]>>", ""), SUIT_OK);
	assert_false(c->checks_vendor);
	assert_int_equal(c->n_vendor_id, 1);
	expect(MANIFEST(COMPONENT ", 4: <<[15, [<<[20, {1: " VENDOR "}, 1, 15]>>, <<[20, {1: " CLASS "}, 1, 15]>>]]>>", ""), SUIT_OK);
	assert_true(c->checks_vendor); /* one vendor or the other */
	assert_int_equal(c->n_vendor_id, 2);
	expect(MANIFEST("2: [[h'00'], [h'01']], 4: <<[20, {1: " VENDOR "}, 1, 15]>>", ""), SUIT_OK);
	assert_true(c[0].checks_vendor && !c[1].checks_vendor);
	expect(MANIFEST(COMPONENT, INSTALL("20, {1: " VENDOR "}, 1, 15")), SUIT_OK); /* not in the shared sequence */
	assert_false(c->checks_vendor);
	expect(MANIFEST(COMPONENT ", 4: <<[20, {24: " VENDOR "}, 24, 15]>>", ""), SUIT_OK);
	assert_int_equal(c->n_device_id, 1);
}

static void expiry_and_consent_come_out(void **state)
{
	const struct suit_manifest *m = &made.manifest;

	(void)state;
	expect(MANIFEST(COMPONENT, INSTALL("20, {4: 2000, 27: 5}, 4, 15, 20, {4: 1000, 27: -1}, 4, 15, 27, 15, 20, {4: 10}")), SUIT_OK);
	assert_true(m->has_use_before && m->needs_authorization);
	assert_int_equal(m->use_before_s, 1000);
	assert_int_equal(m->priority, -1);
	expect(MANIFEST(COMPONENT, INSTALL("20, {4: 10}")), SUIT_OK);
	assert_false(m->has_use_before || m->needs_authorization);
}

/* `commands` at this depth, each level in a run-sequence of the one above. */
static enum suit_problem decode_nested(const char *commands, size_t depth)
{
	_cleanup_buf_ struct buf text = { 0 };

	buf_add_str(&text, "{1: 1, 2: 3, 3: <<{" COMPONENT "}>>, 20: <<[");
	for (size_t i = 1; i < depth; i++)
		buf_add_str(&text, "32, <<[");
	buf_add_str(&text, commands);
	for (size_t i = 1; i < depth; i++)
		buf_add_str(&text, "]>>");
	buf_add_str(&text, "]>>}");
	return made_decode(&made, buf_str(&text), "{}", 0);
}

static void nesting_is_bounded(void **state) /* SU-20 */
{
	(void)state;
	assert_int_equal(decode_nested("3, 15", SUIT_DEPTH_MAX), SUIT_OK);
	assert_int_equal(decode_nested("3, 15", SUIT_DEPTH_MAX + 1), SUIT_TOO_DEEP);
	assert_int_equal(decode_nested("3, 15", 100), SUIT_TOO_DEEP);
}

/* A manifest whose install is n times `commands`. */
static enum suit_problem decode_repeated(const char *before, const char *commands, size_t n)
{
	_cleanup_buf_ struct buf text = { 0 };

	buf_add_str(&text, "{1: 1, 2: 3, 3: <<{" COMPONENT "}>>, 20: <<[");
	buf_add_str(&text, before);
	for (size_t i = 0; i < n; i++)
		buf_printf(&text, "%s,", commands);
	buf_add_str(&text, "]>>}");
	return made_decode(&made, buf_str(&text), "{}", 0);
}

static void counts_are_bounded(void **state) /* SU-20, SU-21 */
{
	(void)state;
	assert_int_equal(decode_repeated("", "3, 15", SUIT_COMMANDS_MAX), SUIT_OK);
	assert_int_equal(decode_repeated("", "3, 15", SUIT_COMMANDS_MAX + 1), SUIT_TOO_MANY);
	assert_int_equal(decode_repeated("", "15, [<<[3, 15]>>, <<[14, 15]>>, null]", SUIT_COMMANDS_MAX / 6), SUIT_OK); /* a branch counts */
	assert_int_equal(decode_repeated("", "15, [<<[3, 15]>>, <<[14, 15]>>, null]", SUIT_COMMANDS_MAX / 6 + 1), SUIT_TOO_MANY);
}

static void equal_ways_are_merged_and_others_bounded(void **state)
{
	_cleanup_buf_ struct buf text = { 0 };

	(void)state;
	assert_int_equal(decode_repeated("", "15, [<<[3, 15]>>, <<[25, 15]>>]", 100), SUIT_OK); /* all ways are alike */
	for (unsigned i = 0; i < 7; i++) { /* 2^i ways that differ */
		buf_clear(&text);
		buf_add_str(&text, "{1: 1, 2: 3, 3: <<{2: [[h'00'],[h'01'],[h'02'],[h'03'],[h'04'],[h'05'],[h'06']]}>>, 20: <<[");
		for (unsigned k = 0; k <= i; k++)
			buf_printf(&text, "12, %u, 15, [<<[20, {14: 1}]>>, <<[20, {14: 2}]>>],", k);
		buf_add_str(&text, "]>>}");
		enum suit_problem p = made_decode(&made, buf_str(&text), "{}", 0);
		assert_int_equal(p, 2u << i <= SUIT_PATHS_MAX ? SUIT_OK : SUIT_TOO_MANY);
	}
}

static enum suit_problem decode_components(size_t n, size_t n_segments, size_t segment_bytes)
{
	_cleanup_buf_ struct buf text = { 0 };

	buf_add_str(&text, "{1: 1, 2: 3, 3: <<{2: [");
	for (size_t i = 0; i < n; i++) {
		buf_add_str(&text, "[");
		for (size_t k = 0; k < n_segments; k++)
			buf_printf(&text, "'%0*zu',", (int)segment_bytes, i);
		buf_add_str(&text, "],");
	}
	buf_add_str(&text, "]}>>}");
	return made_decode(&made, buf_str(&text), "{}", 0);
}

static void components_are_bounded(void **state) /* SU-21 */
{
	(void)state;
	assert_int_equal(decode_components(SUIT_COMPONENTS_MAX, 1, 2), SUIT_OK);
	assert_int_equal(decode_components(SUIT_COMPONENTS_MAX + 1, 1, 2), SUIT_TOO_MANY);
	assert_int_equal(decode_components(1, SUIT_ID_SEGMENTS_MAX, 2), SUIT_OK);
	assert_int_equal(decode_components(1, SUIT_ID_SEGMENTS_MAX + 1, 2), SUIT_BAD_COMPONENT);
	assert_int_equal(decode_components(1, 1, SUIT_ID_SEGMENT_BYTES_MAX), SUIT_OK);
	assert_int_equal(decode_components(1, 1, SUIT_ID_SEGMENT_BYTES_MAX + 1), SUIT_BAD_COMPONENT);
}

static enum suit_problem decode_images(size_t n, size_t uri_bytes)
{
	_cleanup_buf_ struct buf text = { 0 };

	buf_add_str(&text, "{1: 1, 2: 3, 3: <<{" COMPONENT "}>>, 20: <<[20, {3: " D1 "},");
	for (size_t i = 0; i < n; i++)
		buf_printf(&text, "20, {21: \"%0*zu\"}, 21, 2,", (int)uri_bytes, i);
	buf_add_str(&text, "]>>}");
	return made_decode(&made, buf_str(&text), "{}", 0);
}

static void images_and_uris_are_bounded(void **state)
{
	(void)state;
	assert_int_equal(decode_images(SUIT_IMAGES_MAX, 3), SUIT_OK);
	assert_int_equal(decode_images(SUIT_IMAGES_MAX + 1, 3), SUIT_TOO_MANY);
	assert_int_equal(decode_images(1, SUIT_URI_BYTES_MAX), SUIT_OK);
	assert_int_equal(decode_images(1, SUIT_URI_BYTES_MAX + 1), SUIT_BAD_URI);
}

static void text_may_have_array_keys_and_must_be_utf8(void **state) /* SU-24, SU-29 */
{
	const struct suit_manifest *m = &made.manifest;

	(void)state;
	expect(MANIFEST(COMPONENT, ", 23: <<{\"en\": {1: \"what\", [h'00']: {1: \"maker\", 2: \"model\", 6: \"1.2\"}}}>>"), SUIT_OK);
	assert_true(span_eq_str(m->description, "what") && span_eq_str(m->vendor_name, "maker"));
	assert_true(span_eq_str(m->model_name, "model") && span_eq_str(m->version_text, "1.2"));
	expect(MANIFEST(COMPONENT, ", 23: <<{\"de\": {2: \"was\"}, \"en\": {1: \"what\"}}>>"), SUIT_OK);
	assert_true(span_eq_str(m->description, "was")); /* the first language that says something */
	expect(MANIFEST(COMPONENT, ", 23: <<{\"en\": {1: \"\x1b[31m\"}}>>"), SUIT_OK); /* shown escaped; no reason to refuse */
	expect(MANIFEST(COMPONENT, ", 23: <<{\"en\": {1: \"\xff\"}}>>"), SUIT_BAD_TEXT);
	expect(MANIFEST(COMPONENT, ", 23: <<{\"en\": {1: 5}}>>"), SUIT_BAD_TEXT);
	expect(MANIFEST(COMPONENT, ", 23: <<{\"en\": [1]}>>"), SUIT_BAD_TEXT);
	expect(MANIFEST(COMPONENT, ", 23: <<{1: {}}>>"), SUIT_BAD_TEXT);
	expect(MANIFEST(COMPONENT, ", 23: <<{\"en\": {[h'00']: {1: 1}}}>>"), SUIT_BAD_TEXT);
	expect(MANIFEST(COMPONENT, ", 23: h''"), SUIT_BAD_TEXT);
	expect(MANIFEST(COMPONENT, ", [h'00']: 1"), SUIT_MANIFEST_MALFORMED);
}

static void long_text_is_cut_between_characters(void **state)
{
	_cleanup_buf_ struct buf text = { 0 };

	(void)state;
	buf_add_str(&text, "{1: 1, 2: 3, 3: <<{" COMPONENT "}>>, 23: <<{\"en\": {1: \"x");
	for (size_t i = 0; i < SUIT_TEXT_BYTES_MAX; i++)
		buf_add_str(&text, "\xc3\xa4");
	buf_add_str(&text, "\"}}>>}");
	assert_int_equal(made_decode(&made, buf_str(&text), "{}", 0), SUIT_OK);
	assert_int_equal(made.manifest.description.n, SUIT_TEXT_BYTES_MAX - 1);
}

#define PAYLOAD_DIGEST "<<[-16, h'239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5']>>" /* of 'payload' */

static void integrated_payloads_are_held_against_their_digest(void **state) /* SU-18 */
{
	static const char good[] = MANIFEST(COMPONENT, INSTALL("20, {3: " PAYLOAD_DIGEST ", 14: 7, 21: \"#fw\"}, 21, 2, 3, 15"));
	const struct suit_image *image = &made.manifest.images[0];

	(void)state;
	assert_int_equal(made_decode(&made, good, "{\"#fw\": 'payload'}", 0), SUIT_OK);
	assert_true(image->is_integrated && image->is_fetched && span_eq_str(image->integrated, "payload"));
	assert_int_equal(made_decode(&made, good, "{}", 0), SUIT_OK); /* fetched from elsewhere by that name */
	assert_false(image->is_integrated);
	assert_int_equal(made_decode(&made, good, "{\"#fw\": 'payloae'}", 0), SUIT_MEMBER_MISMATCH);
	assert_int_equal(made_decode(&made, good, "{\"#fw\": 'payload2'}", 0), SUIT_MEMBER_MISMATCH);
	assert_int_equal(made_decode(&made, good, "{\"#fw\": 'payload', \"#x\": 'y'}", 0), SUIT_INTEGRATED_UNUSED);
	assert_int_equal(made_decode(&made, good, "{\"#fw\": 'payload', \"#x\": 'y'}", SUIT_ALLOW_UNUSED_INTEGRATED), SUIT_OK);
	assert_int_equal(made_decode(&made, MANIFEST(COMPONENT, INSTALL("20, {3: " PAYLOAD_DIGEST ", 14: 8, 21: \"#fw\"}, 21, 2")),
				     "{\"#fw\": 'payload'}", 0), SUIT_MEMBER_MISMATCH);
	assert_int_equal(made_decode(&made, MANIFEST(COMPONENT, INSTALL("20, {21: \"#fw\"}, 21, 2, 20, {3: " PAYLOAD_DIGEST "}, 3, 15")),
				     "{\"#fw\": 'payloae'}", 0), SUIT_MEMBER_MISMATCH); /* the digest comes later */
	assert_int_equal(made_decode(&made, MANIFEST("1: {1: {}}, " COMPONENT, INSTALL("12, 1, 20, {3: " D1 ", 21: \"#d\"}, 21, 2, 7, 15")),
				     "{\"#d\": 'not an envelope'}", 0), SUIT_MEMBER_MISMATCH); /* SU-40 */
}

static void severed_members_must_be_listed(void **state) /* SU-16 */
{
	(void)state;
	assert_int_equal(made_decode(&made, MANIFEST(COMPONENT, ""), "{20: <<[3, 15]>>}", 0), SUIT_MEMBER_UNLISTED);
	assert_int_equal(made_decode(&made, MANIFEST(COMPONENT, INSTALL("3, 15")), "{20: <<[3, 15]>>}", 0), SUIT_MEMBER_UNLISTED);
	assert_int_equal(made_decode(&made, MANIFEST(COMPONENT, ", 20: [-77, h'00']"), "{20: <<[3, 15]>>}", 0), SUIT_DIGEST_ALG);
	assert_int_equal(made_decode(&made, MANIFEST(COMPONENT, ", 20: [-77, h'00']"), "{}", 0), SUIT_OK);
	assert_int_equal(made.manifest.severed_absent, 1 << 20);
}

static void every_member_and_parameter_has_its_place(void **state)
{
	const struct suit_manifest *m = &made.manifest;

	(void)state;
	expect(MANIFEST("1: {2: {1: ['d']}}, 2: [[h'00'], ['x', 'y']], 4: <<[12, true, 20, {24: " VENDOR "}, 24, 15]>>",
			", 4: \"http://example.com/\", 5: ['r'], 6: h'00', 7: <<[12, [0, 1], 3, 15]>>, 8: <<[22, 1]>>, 9: <<[23, 2]>>, 14: h''"
			", 16: <<[19, {3: " D1 ", 4: 5, 12: true, 18: h'00', 19: h'00', 21: \"#a\", 22: 1, 23: h'', 25: 1, 26: 2, 27: 3, 28: h'',"
			" 29: h'', 30: h''}, 21, 15]>>, 18: <<[34, {0: {14: 1}, 2: {14: 2}}, 35, {0: [14, 3]}, 12, 2, 11, 0]>>"
			", 20: <<[15, [<<[14, 15]>>, <<[-300, 1]>>, null], 4, 15, 27, 15, 40, {1: 2}]>>, 24: <<[33, 15]>>"), SUIT_OK);
	assert_int_equal(m->n_components, 2);
	assert_int_equal(m->dependencies[0].index, 2);
	assert_int_equal(m->dependencies[0].prefix.n, 3);
	assert_true(m->images[0].is_encrypted && m->images[0].is_fetched);
	assert_int_equal(m->components[1].n_device_id, 1);
	assert_true(m->needs_authorization && m->priority == 3 && m->has_use_before && m->use_before_s == 5);
	assert_int_equal(m->unknown_command, -300);
}

static void the_root_component_is_key_5_or_the_first(void **state) /* SU-13 */
{
	(void)state;
	expect(MANIFEST(COMPONENT, ""), SUIT_OK);
	assert_memory_equal(made.manifest.root_component.p, "\x81\x41\x00", 3);
	expect(MANIFEST(COMPONENT, ", 5: ['r']"), SUIT_OK);
	assert_memory_equal(made.manifest.root_component.p, "\x81\x41r", 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(manifests_of_another_shape_are_refused),
		cmocka_unit_test(sequences_of_another_shape_are_refused),
		cmocka_unit_test(commands_nobody_knows_are_told),
		cmocka_unit_test(the_shared_sequence_has_no_side_effects),
		cmocka_unit_test(either_slot_gets_its_own_image),
		cmocka_unit_test(branches_keep_their_parameters_apart),
		cmocka_unit_test(set_writes_only_what_is_unset),
		cmocka_unit_test(each_component_has_its_own_parameters),
		cmocka_unit_test(a_digest_may_come_after_the_fetch),
		cmocka_unit_test(sizes_are_taken_as_they_are),
		cmocka_unit_test(identity_must_be_checked_on_every_way),
		cmocka_unit_test(expiry_and_consent_come_out),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(counts_are_bounded),
		cmocka_unit_test(equal_ways_are_merged_and_others_bounded),
		cmocka_unit_test(components_are_bounded),
		cmocka_unit_test(images_and_uris_are_bounded),
		cmocka_unit_test(text_may_have_array_keys_and_must_be_utf8),
		cmocka_unit_test(long_text_is_cut_between_characters),
		cmocka_unit_test(integrated_payloads_are_held_against_their_digest),
		cmocka_unit_test(severed_members_must_be_listed),
		cmocka_unit_test(every_member_and_parameter_has_its_place),
		cmocka_unit_test(the_root_component_is_key_5_or_the_first),
	};

	return cmocka_run_group_tests_name("codec/suit_manifest", tests, NULL, teardown);
}
