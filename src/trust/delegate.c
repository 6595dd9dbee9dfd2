#include "trust/delegate.h"

#include <errno.h>

#include "trust/cose_verify.h"

static bool key_is_usable(struct span key)
{
	return key.n >= DELEGATE_KEY_BYTES_MIN && key.n <= DELEGATE_KEY_BYTES_MAX;
}

int delegate_add_mac0(const struct suit_envelope *env, struct span key, struct span kid, struct buf *ret)
{
	_cleanup_buf_ struct buf protected_map = { 0 }, unprotected = { 0 }, tbs = { 0 }, block = { 0 };
	uint8_t tag[COSE_MAC_BYTES_MAX];
	size_t n_tag;

	if (!key_is_usable(key) || kid.n > COSE_KID_BYTES_MAX)
		return -EINVAL;
	cose_put_protected(&protected_map, COSE_HMAC_256, kid);
	cose_put_unprotected(&unprotected, NULL, 0);
	struct cose_message m = { .kind = COSE_MAC0, .headers = { .protected_bytes = buf_span(&protected_map) }, .is_detached = true };
	cose_tbs(&m, NULL, SPAN_NONE, env->auth_digest_bytes, &tbs);
	if (!buf_ok(&tbs))
		return -ENOMEM;
	int r = cose_mac_raw(key, COSE_HMAC_256, buf_span(&tbs), tag, &n_tag);
	if (r < 0)
		return r;
	cose_encode_detached(COSE_MAC0, buf_span(&protected_map), buf_span(&unprotected), SPAN(tag, n_tag), &block);
	if (!buf_ok(&block))
		return -ENOMEM;
	return suit_envelope_add_auth(env, buf_span(&block), ret);
}

/* Blocks that are not a Mac0, or that do not parse, are somebody else's business. */
int delegate_check_mac0(const struct suit_envelope *env, struct span key)
{
	const struct cose_verify_key with = { .mac = key, .alg = COSE_HMAC_256 };

	if (!key_is_usable(key))
		return 0;
	for (size_t i = 0; i < env->n_auth_blocks; i++) {
		struct cose_message m = { 0 };
		enum cose_problem problem;
		if (cose_decode(env->auth_blocks[i], COSE_NEEDS_DETACHED, &m, &problem) < 0 || m.kind != COSE_MAC0)
			continue;
		if (cose_verify(&with, &m, NULL, SPAN_NONE, env->auth_digest_bytes) == COSE_VERIFIED)
			return 1;
	}
	return 0;
}
