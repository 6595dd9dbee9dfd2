/* The whole judgement. Nobody can sign, so nothing raw may be accepted with keys that the fuzzer does not have; with the
 * MAC key at hand (first byte 1) the rest is a manifest and reaches the rules behind the signature; with first
 * byte 2 it is the certificate of an x5chain. */
#include <stdlib.h>

#include "base/mem.h"
#include "codec/cose.h"
#include "fuzz.h"
#include "trust/delegate.h"
#include "trust/verdict.h"

static const uint8_t mac_key[32] = "this key is known to the fuzzer";
static const char *const any[] = { "any", NULL };
static const char author[] = "-----BEGIN PUBLIC KEY-----\n"
			     "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEDpCKqPBm2x8ITgw2UsY5Ur2Z8qW9\n"
			     "si+eATZ6rQOrpot32hvYrE8MtJC6IQZIv3mrFk1JrTVR1x0xSydJ7kLSmg==\n"
			     "-----END PUBLIC KEY-----\n";

static struct trust_anchors *anchors(bool with_mac)
{
	const struct trust_anchor_config c[] = {
		{ .name = "key", .pem = SPAN_LIT(author), .vendor_ids = any },
		{ .name = "mac", .mac_key = SPAN_OF(mac_key), .vendor_ids = any, .requires_no_identity = true },
	};
	struct trust_anchors *a = NULL;

	if (trust_anchors_build(c, with_mac ? 2 : 1, &a, NULL, 0) < 0)
		abort();
	return a;
}

static void judge(struct span envelope, bool with_mac)
{
	struct trust_anchors *a = anchors(with_mac);
	struct verdict *v = NEW(struct verdict);
	struct buf text = { 0 };
	const struct trust_facts facts = { .now = { 1790000000000 }, .allow_untagged = true, .image_bytes_max = 1 << 20 };

	verdict_judge(a, &facts, envelope, NULL, NULL, v);
	if (!with_mac && v->outcome == TRUST_ACCEPTED)
		abort();
	if ((v->outcome == TRUST_ACCEPTED) != (verdict_first_problem(v) == NULL))
		abort();
	verdict_text(v, &text);
	verdict_json(v, &text);
	if (!buf_ok(&text))
		abort();
	buf_done(&text);
	free(v);
	trust_anchors_unref(a);
}

static void wrap(struct span manifest, struct span block, struct buf *ret)
{
	struct buf digest = { 0 };

	suit_auth_digest_encode(manifest, &digest);
	if (suit_envelope_encode(manifest, buf_span(&digest), &block, block.n ? 1 : 0, SPAN_NONE, 0, ret) < 0)
		buf_clear(ret);
	buf_done(&digest);
}

static void as_manifest(struct span manifest)
{
	struct suit_envelope *env = NEW(struct suit_envelope);
	struct buf bare = { 0 }, signed_one = { 0 };
	enum suit_problem problem = SUIT_OK;

	wrap(manifest, SPAN_NONE, &bare);
	int r = suit_envelope_decode(buf_span(&bare), 0, env, &problem);
	if ((r == 0 || problem == SUIT_NO_AUTH_BLOCK) && delegate_add_mac0(env, SPAN_OF(mac_key), SPAN_NONE, &signed_one) == 0)
		judge(buf_span(&signed_one), true);
	buf_done(&bare);
	buf_done(&signed_one);
	free(env);
}

static void as_certificate(struct span der)
{
	static const uint8_t manifest[] = { 0xa1, 0x01, 0x01 }, signature[64] = { 1 };
	struct buf headers = { 0 }, unprotected = { 0 }, block = { 0 }, envelope = { 0 };

	cose_put_protected(&headers, COSE_ESP256, SPAN_NONE);
	cose_put_unprotected(&unprotected, &der, 1);
	cose_encode_detached(COSE_SIGN1, buf_span(&headers), buf_span(&unprotected), SPAN_OF(signature), &block);
	wrap(SPAN_OF(manifest), buf_span(&block), &envelope);
	judge(buf_span(&envelope), false);
	buf_done(&headers);
	buf_done(&unprotected);
	buf_done(&block);
	buf_done(&envelope);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span in = SPAN(data, n);

	if (n && data[0] == 1)
		as_manifest(span_sub(in, 1, n));
	else if (n && data[0] == 2)
		as_certificate(span_sub(in, 1, n));
	else
		judge(in, false);
	return 0;
}
