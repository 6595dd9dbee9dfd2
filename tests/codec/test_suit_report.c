#include <errno.h>

#include "codec/suit_report.h"
#include "vectors.h"

#define DIGEST "h'6658ea560262696dd1f13b782239a064da7c6c5cbaf52fded428a6fc83c7e5af'"

static int node_of(const char *text, struct node_report *ret)
{
	static struct buf b;           /* spans of ret point here */

	buf_done(&b);
	add_diag(&b, text);
	int r = node_report_decode(buf_span(&b), ret);
	if (r < 0)
		buf_done(&b);
	return r;
}

static void small_maps_are_read(void **state)
{
	static const struct {
		const char *text;
		int expected;
	} rows[] = {
		{ "{0: " DIGEST ", 1: 0, 2: 1}", 0 },
		{ "{0: \"6658ea560262696dd1f13b782239a064da7c6c5cbaf52fded428a6fc83c7e5af\", 1: 3, 2: 11}", 0 },
		{ "{0: " DIGEST ", 1: 0, 2: 1, 3: 18446744073709551615, 4: 7, 5: \"1.2\", 6: \"why\"}", 0 },
		{ "{0: " DIGEST ", 1: 0, 2: 1, 99: [1, {2: 3}]}", 0 },  /* of a later version */
		{ "{1: 0, 2: 1}", -EBADMSG }, { "{0: " DIGEST ", 2: 1}", -EBADMSG }, { "{0: " DIGEST ", 1: 0}", -EBADMSG },
		{ "{0: h'00', 1: 0, 2: 1}", -EBADMSG }, { "{0: \"00\", 1: 0, 2: 1}", -EBADMSG }, { "{0: 1, 1: 0, 2: 1}", -EBADMSG },
		{ "{0: " DIGEST ", 1: 4, 2: 1}", -ERANGE }, { "{0: " DIGEST ", 1: 0, 2: 12}", -ERANGE },
		{ "{0: " DIGEST ", 1: 4294967296, 2: 1}", -ERANGE }, { "{0: " DIGEST ", 1: -1, 2: 1}", -EBADMSG },
		{ "{0: " DIGEST ", 1: 0, 2: 1, 6: \"a\x1b[m\"}", -EBADMSG }, { "{0: " DIGEST ", 1: 0, 2: 1, 6: h'00'}", -EBADMSG },
		{ "{0: " DIGEST ", 1: 0, 2: 1, 2: 1}", -EBADMSG }, { "{0: " DIGEST ", 1: 0, 2: 1, -1: 1}", -EBADMSG }, { "[1]", -EBADMSG },
	};
	struct node_report r;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (node_of(rows[i].text, &r) != rows[i].expected)
			fail_msg("%s: %d", rows[i].text, node_of(rows[i].text, &r));
	assert_int_equal(node_of(rows[2].text, &r), 0);
	assert_true(r.has_sequence && r.sequence == UINT64_MAX && r.has_received && r.received_bytes == 7);
	assert_true(span_eq_str(r.version, "1.2") && span_eq_str(r.reason, "why"));
	(void)node_of("1", &r); /* frees */
}

static int node_with_texts(size_t version_bytes, size_t reason_bytes)
{
	static char x[256];
	_cleanup_buf_ struct buf b = { 0 };
	struct node_report r = { .state = 0, .result = 8 }, back;

	memset(x, 'x', sizeof(x));
	r.version = SPAN(x, version_bytes);
	r.reason = SPAN(x, reason_bytes);
	node_report_encode(&r, &b);
	return node_report_decode(buf_span(&b), &back);
}

static void text_of_nodes_is_short(void **state)
{
	(void)state;
	assert_int_equal(node_with_texts(NODE_REPORT_VERSION_BYTES_MAX, NODE_REPORT_REASON_BYTES_MAX), 0);
	assert_int_equal(node_with_texts(NODE_REPORT_VERSION_BYTES_MAX + 1, 1), -EMSGSIZE);
	assert_int_equal(node_with_texts(1, NODE_REPORT_REASON_BYTES_MAX + 1), -EMSGSIZE);
}

static void what_is_encoded_decodes_to_the_same(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct node_report in = {
		.manifest_digest = digest_of(SPAN_LIT("x")), .state = 1, .result = 0, .has_sequence = true, .sequence = 5,
		.has_received = true, .received_bytes = 100000, .version = SPAN_LIT("1.0"), .reason = SPAN_LIT("\xc3\xa4"),
	}, out;

	(void)state;
	node_report_encode(&in, &b);
	assert_int_equal(cbor_check(buf_span(&b), CBOR_KEYS_SORTED, NULL), 0);
	assert_int_equal(node_report_decode(buf_span(&b), &out), 0);
	assert_true(digest_eq(&in.manifest_digest, &out.manifest_digest));
	assert_int_equal(out.state, 1);
	assert_int_equal(out.result, 0);
	assert_int_equal(out.sequence, 5);
	assert_int_equal(out.received_bytes, 100000);
	assert_true(span_eq(in.version, out.version) && span_eq(in.reason, out.reason));
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(node_report_decode(SPAN(b.p, n), &out), -EBADMSG);
}

static int report_of(const char *text, struct suit_report *ret)
{
	static struct buf b;           /* spans of ret point here */

	buf_done(&b);
	add_diag(&b, text);
	int r = suit_report_decode(buf_span(&b), ret);
	if (r < 0)
		buf_done(&b);
	return r;
}

#define REFERENCE "99: [\"\", [-16, " DIGEST "]]"
#define RECORD "[[], 16, 16, 0, {3: <<[-16, " DIGEST "]>>}]"

static void suit_reports_are_read(void **state) /* SU-70: what there is to match */
{
	static const struct {
		const char *text;
		int expected;
	} rows[] = {
		{ "{2: 'nonce', 3: [" RECORD ", {0: ['app.wasm'], 14: 65132}], 4: true, " REFERENCE "}", 0 },
		{ "{3: [], 4: {5: -1, 6: " RECORD ", 7: 10}, " REFERENCE "}", 0 },
		{ "{3: [], 4: true, 8: {1: [['x']]}, " REFERENCE "}", 0 },
		{ "{3: [], 4: true, 500: 1, " REFERENCE "}", 0 },
		{ "{4: true, 99: [\"\", [-16, " DIGEST ", 1]]}", 0 },
		{ "{3: [], 4: true}", -EBADMSG }, { "{3: [], " REFERENCE "}", -EBADMSG },
		{ "{4: false, " REFERENCE "}", -EBADMSG }, { "{4: 1, " REFERENCE "}", -EBADMSG },
		{ "{4: {5: 1}, " REFERENCE "}", -EBADMSG }, { "{4: {7: 1}, " REFERENCE "}", -EBADMSG },
		{ "{4: {5: 1, 6: 1, 7: 1}, " REFERENCE "}", -EBADMSG }, { "{3: [1], 4: true, " REFERENCE "}", -EBADMSG },
		{ "{3: [[[], 1, 1, 1]], 4: true, " REFERENCE "}", -EBADMSG }, { "{3: [[1, 1, 1, 1, {}]], 4: true, " REFERENCE "}", -EBADMSG },
		{ "{2: \"x\", 4: true, " REFERENCE "}", -EBADMSG }, { "{4: true, 99: [1, [-16, " DIGEST "]]}", -EBADMSG },
		{ "{4: true, 99: [\"\", [-16]]}", -EBADMSG }, { "{4: true, 99: [\"\"]}", -EBADMSG }, { "[]", -EBADMSG }, { "{\"x\": 1}", -EBADMSG },
	};
	struct suit_report r;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (report_of(rows[i].text, &r) != rows[i].expected)
			fail_msg("%s: %d", rows[i].text, report_of(rows[i].text, &r));
	assert_int_equal(report_of(rows[0].text, &r), 0);
	assert_true(r.is_success && r.n_records == 2 && span_eq_str(r.nonce, "nonce"));
	assert_true(r.reference.alg == -16 && r.reference.bytes.n == 32);
	assert_int_equal(report_of(rows[1].text, &r), 0);
	assert_true(!r.is_success && r.result_code == -1 && r.result_reason == 10);
	assert_string_equal(suit_report_reason_name(r.result_reason), "condition-failed");
	assert_string_equal(suit_report_reason_name(13), "unknown");
	assert_string_equal(suit_report_reason_name(-1), "unknown");
	(void)report_of("1", &r); /* frees */
}

static int report_with(size_t n_records, size_t nonce_bytes, size_t uri_bytes)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct suit_report r;

	cbor_put_map(&b, 4);
	cbor_put_uint(&b, 2);
	cbor_put_bytes_head(&b, nonce_bytes);
	(void)buf_grow(&b, nonce_bytes); /* checked by the decoder's answer */
	cbor_put_uint(&b, 3);
	cbor_put_array(&b, n_records);
	for (size_t i = 0; i < n_records; i++)
		cbor_put_map(&b, 0);
	cbor_put_uint(&b, 4);
	cbor_put_bool(&b, true);
	cbor_put_uint(&b, 99);
	cbor_put_array(&b, 2);
	_cleanup_buf_ struct buf uri = { 0 };
	memset(buf_grow(&uri, uri_bytes), 'x', uri_bytes);
	cbor_put_text(&b, buf_span(&uri));
	add_diag(&b, "[-16, " DIGEST "]");
	return suit_report_decode(buf_span(&b), &r);
}

static void limits_hold_to_the_last(void **state)
{
	(void)state;
	assert_int_equal(report_with(SUIT_REPORT_RECORDS_MAX, SUIT_REPORT_NONCE_BYTES_MAX, SUIT_REPORT_URI_BYTES_MAX), 0);
	assert_int_equal(report_with(SUIT_REPORT_RECORDS_MAX + 1, 1, 1), -EMSGSIZE);
	assert_int_equal(report_with(1, SUIT_REPORT_NONCE_BYTES_MAX + 1, 1), -EMSGSIZE);
	assert_int_equal(report_with(1, 1, SUIT_REPORT_URI_BYTES_MAX + 1), -EMSGSIZE);
	assert_int_equal(report_with(1, SUIT_REPORT_BYTES_MAX, 1), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_maps_are_read),
		cmocka_unit_test(text_of_nodes_is_short),
		cmocka_unit_test(what_is_encoded_decodes_to_the_same),
		cmocka_unit_test(suit_reports_are_read),
		cmocka_unit_test(limits_hold_to_the_last),
	};

	return cmocka_run_group_tests_name("codec/suit_report", tests, NULL, NULL);
}
