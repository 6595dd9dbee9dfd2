#include "codec/suit_report.h"

#include <errno.h>

#include "base/text.h"
#include "codec/cbor.h"

/* ---- Dormouse's small map ---- */

enum { NODE_DIGEST, NODE_STATE, NODE_RESULT, NODE_SEQUENCE, NODE_RECEIVED, NODE_VERSION, NODE_REASON, NODE_KEYS };

static int read_digest(struct cbor *c, struct digest *ret)
{
	if (cbor_peek(c) == CBOR_TEXT)
		return digest_parse(cbor_text(c), ret);
	struct span s = cbor_bytes(c);
	if (s.n != DIGEST_BYTES)
		return -EBADMSG;
	memcpy(ret->b, s.p, DIGEST_BYTES);
	return 0;
}

static int read_small(struct cbor *c, unsigned max, unsigned *ret)
{
	uint64_t v = cbor_uint(c);

	if (v > max)
		return -ERANGE;
	*ret = (unsigned)v;
	return 0;
}

static int read_clean(struct cbor *c, size_t max, struct span *ret)
{
	*ret = cbor_text(c);
	if (ret->n > max)
		return -EMSGSIZE;
	return text_is_clean(*ret) ? 0 : -EBADMSG;
}

static int read_node_pair(struct cbor *c, uint64_t key, struct node_report *r)
{
	switch (key) {
	case NODE_DIGEST:
		return read_digest(c, &r->manifest_digest);
	case NODE_STATE:
		return read_small(c, NODE_REPORT_STATE_MAX, &r->state);
	case NODE_RESULT:
		return read_small(c, NODE_REPORT_RESULT_MAX, &r->result);
	case NODE_SEQUENCE:
		r->sequence = cbor_uint(c);
		r->has_sequence = true;
		return 0;
	case NODE_RECEIVED:
		r->received_bytes = cbor_uint(c);
		r->has_received = true;
		return 0;
	case NODE_VERSION:
		return read_clean(c, NODE_REPORT_VERSION_BYTES_MAX, &r->version);
	case NODE_REASON:
		return read_clean(c, NODE_REPORT_REASON_BYTES_MAX, &r->reason);
	default:
		(void)cbor_skip(c); /* of a later version */
		return 0;
	}
}

int node_report_decode(struct span in, struct node_report *ret)
{
	const unsigned needed = 1u << NODE_DIGEST | 1u << NODE_STATE | 1u << NODE_RESULT;
	struct cbor c = cbor_reader(in);
	struct node_report rep = { 0 };
	unsigned seen = 0;

	if (cbor_check(in, 0, NULL) < 0)
		return -EBADMSG;
	for (size_t n = cbor_map(&c); n > 0 && cbor_ok(&c); n--) {
		uint64_t key = cbor_uint(&c);
		if (!cbor_ok(&c))
			break;
		int r = read_node_pair(&c, key, &rep);
		if (!cbor_ok(&c))
			break;
		if (r < 0)
			return r;
		if (key < NODE_KEYS)
			seen |= 1u << key;
	}
	if (!cbor_at_end(&c) || (seen & needed) != needed)
		return -EBADMSG;
	*ret = rep;
	return 0;
}

void node_report_encode(const struct node_report *r, struct buf *ret)
{
	cbor_put_map(ret, 3 + (r->has_sequence ? 1 : 0) + (r->has_received ? 1 : 0) + (r->version.n ? 1 : 0) + (r->reason.n ? 1 : 0));
	cbor_put_uint(ret, NODE_DIGEST);
	cbor_put_bytes(ret, SPAN_OF(r->manifest_digest.b));
	cbor_put_uint(ret, NODE_STATE);
	cbor_put_uint(ret, r->state);
	cbor_put_uint(ret, NODE_RESULT);
	cbor_put_uint(ret, r->result);
	if (r->has_sequence) {
		cbor_put_uint(ret, NODE_SEQUENCE);
		cbor_put_uint(ret, r->sequence);
	}
	if (r->has_received) {
		cbor_put_uint(ret, NODE_RECEIVED);
		cbor_put_uint(ret, r->received_bytes);
	}
	if (r->version.n) {
		cbor_put_uint(ret, NODE_VERSION);
		cbor_put_text(ret, r->version);
	}
	if (r->reason.n) {
		cbor_put_uint(ret, NODE_REASON);
		cbor_put_text(ret, r->reason);
	}
}

/* ---- the SUIT report ---- */

enum { REPORT_NONCE = 2, REPORT_RECORDS = 3, REPORT_RESULT = 4, REPORT_CAPABILITIES = 8, REPORT_REFERENCE = 99 };
enum { RESULT_CODE = 5, RESULT_RECORD = 6, RESULT_REASON = 7 };
enum { RECORD_PARTS = 5 };

const char *suit_report_reason_name(int64_t reason)
{
	static const char *const names[] = {
		"ok", "cbor-parse", "cose-unsupported", "alg-unsupported", "unauthorised", "command-unsupported",
		"component-unsupported", "component-unauthorised", "parameter-unsupported", "severing-unsupported",
		"condition-failed", "operation-failed", "invoke-pending",
	};

	return reason >= 0 && (size_t)reason < sizeof(names) / sizeof(names[0]) ? names[reason] : "unknown";
}

static int read_reference(struct cbor *c, struct suit_report *rep)
{
	if (cbor_array(c) != 2)
		return -EBADMSG;
	rep->reference_uri = cbor_text(c);
	if (rep->reference_uri.n > SUIT_REPORT_URI_BYTES_MAX)
		return -EMSGSIZE;
	size_t n = cbor_array(c);
	rep->reference.alg = cbor_int(c);
	rep->reference.bytes = cbor_bytes(c);
	for (; n > 2 && cbor_ok(c); n--)
		(void)cbor_skip(c); /* extensions of the digest array */
	return cbor_ok(c) && n == 2 && rep->reference.bytes.n > 0 ? 0 : -EBADMSG;
}

/* [manifest-id path, section, offset, component index, properties], or a map of claims. */
static int read_record(struct cbor *c)
{
	struct span whole = cbor_skip(c);
	struct cbor inner = cbor_reader(whole);

	if (cbor_peek(&inner) == CBOR_MAP)
		return 0;
	if (cbor_array(&inner) != RECORD_PARTS)
		return -EBADMSG;
	for (size_t n = cbor_array(&inner); n > 0 && cbor_ok(&inner); n--)
		(void)cbor_skip(&inner); /* a path of component ids */
	(void)cbor_int(&inner); /* looked at together below */
	(void)cbor_uint(&inner);
	(void)cbor_uint(&inner);
	(void)cbor_map(&inner);
	return cbor_ok(&inner) ? 0 : -EBADMSG;
}

static int read_records(struct cbor *c, struct suit_report *rep)
{
	size_t n = cbor_array(c);

	if (n > SUIT_REPORT_RECORDS_MAX)
		return -EMSGSIZE;
	rep->n_records = n;
	for (; n > 0 && cbor_ok(c); n--) {
		int r = read_record(c);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_result(struct cbor *c, struct suit_report *rep)
{
	bool has_code = false, has_reason = false;

	if (cbor_is_bool(c)) {
		rep->is_success = cbor_bool(c);
		return rep->is_success ? 0 : -EBADMSG;
	}
	for (size_t n = cbor_map(c); n > 0 && cbor_ok(c); n--) {
		int64_t key = cbor_int(c);
		int r = 0;
		if (key == RESULT_CODE) {
			rep->result_code = cbor_int(c);
			has_code = true;
		} else if (key == RESULT_REASON) {
			rep->result_reason = cbor_int(c);
			has_reason = true;
		} else if (key == RESULT_RECORD) {
			r = read_record(c);
		} else {
			(void)cbor_skip(c); /* an extension */
		}
		if (r < 0)
			return r;
	}
	return cbor_ok(c) && has_code && has_reason ? 0 : -EBADMSG;
}

static int read_report_pair(struct cbor *c, int64_t key, struct suit_report *rep)
{
	switch (key) {
	case REPORT_REFERENCE:
		return read_reference(c, rep);
	case REPORT_NONCE:
		rep->nonce = cbor_bytes(c);
		return rep->nonce.n <= SUIT_REPORT_NONCE_BYTES_MAX ? 0 : -EMSGSIZE;
	case REPORT_RECORDS:
		return read_records(c, rep);
	case REPORT_RESULT:
		return read_result(c, rep);
	case REPORT_CAPABILITIES:
	default:
		(void)cbor_skip(c); /* not kept */
		return 0;
	}
}

int suit_report_decode(struct span in, struct suit_report *ret)
{
	struct cbor c = cbor_reader(in);
	struct suit_report rep = { 0 };
	bool has_reference = false, has_result = false;

	if (in.n > SUIT_REPORT_BYTES_MAX)
		return -EMSGSIZE;
	if (cbor_check(in, CBOR_ARRAY_KEYS, NULL) < 0) /* claims may name components by array keys */
		return -EBADMSG;
	for (size_t n = cbor_map(&c); n > 0 && cbor_ok(&c); n--) {
		int64_t key = cbor_int(&c);
		if (!cbor_ok(&c))
			break;
		int r = read_report_pair(&c, key, &rep);
		if (!cbor_ok(&c))
			break;
		if (r < 0)
			return r;
		has_reference |= key == REPORT_REFERENCE;
		has_result |= key == REPORT_RESULT;
	}
	if (!cbor_at_end(&c) || !has_reference || !has_result)
		return -EBADMSG;
	*ret = rep;
	return 0;
}
