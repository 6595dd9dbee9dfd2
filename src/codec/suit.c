#include "codec/suit.h"

#include <errno.h>

#include "base/text.h"
#include "codec/cbor.h"

enum { TAG_ENVELOPE = 107 };
enum {                                 /* envelope and manifest keys, facts 1.1 */
	KEY_AUTH = 2, KEY_MANIFEST = 3, KEY_COSWID = 14, KEY_DEPENDENCY_RESOLUTION = 15, KEY_PAYLOAD_FETCH = 16,
	KEY_CANDIDATE_VERIFICATION = 18, KEY_INSTALL = 20, KEY_TEXT = 23,
	KEY_OLD_DELEGATION = 1, KEY_OLD_FIRST = 7, KEY_OLD_LAST = 13,
};

const char *suit_problem_text(enum suit_problem p)
{
	static const char *const text[SUIT_PROBLEM_COUNT] = {
		[SUIT_OK] = "ok",
		[SUIT_NOT_CBOR] = "not strict CBOR",
		[SUIT_WRONG_TAG] = "wrong CBOR tag",
		[SUIT_NO_TAG] = "no CBOR tag",
		[SUIT_AUTH_MISSING] = "no authentication wrapper or no manifest",
		[SUIT_AUTH_AFTER_MANIFEST] = "authentication wrapper after the manifest",
		[SUIT_AUTH_MALFORMED] = "authentication wrapper malformed",
		[SUIT_NO_AUTH_BLOCK] = "nobody signed it",
		[SUIT_TOO_MANY] = "too many elements",
		[SUIT_DIGEST_ALG] = "digest algorithm unsupported",
		[SUIT_DIGEST_MISMATCH] = "manifest digest does not match",
		[SUIT_MEMBER_MALFORMED] = "envelope member malformed",
		[SUIT_MEMBER_UNLISTED] = "envelope member not listed in the manifest",
		[SUIT_MEMBER_MISMATCH] = "envelope member does not match its digest",
		[SUIT_OLD_ENCODING] = "unsupported encoding: an older SUIT draft",
		[SUIT_VERSION] = "unsupported manifest version",
		[SUIT_MANIFEST_MALFORMED] = "manifest malformed",
		[SUIT_TOO_LARGE] = "too large",
		[SUIT_TOO_DEEP] = "nested too deep",
		[SUIT_UNKNOWN_COMMAND] = "unknown command",
		[SUIT_UNKNOWN_PARAMETER] = "unknown parameter",
		[SUIT_BAD_COMPONENT] = "component list or index malformed",
		[SUIT_BAD_REPORTING_POLICY] = "reporting policy out of range",
		[SUIT_BAD_URI] = "URI malformed",
		[SUIT_BAD_TEXT] = "text section malformed",
		[SUIT_INTEGRATED_UNUSED] = "integrated payload that no fetch uses",
		[SUIT_UNKNOWN_MEMBER] = "unknown manifest member",
		[SUIT_DUPLICATE_KEY] = "a map key stands twice",
		[SUIT_NO_MEMORY] = "out of memory",
	};

	return p < SUIT_PROBLEM_COUNT ? text[p] : "unknown problem";
}

/* ---- digests ---- */

static size_t digest_bytes_of(int64_t alg)
{
	switch (alg) {
	case SUIT_SHA256:
	case SUIT_SHAKE128:
		return 32;
	case SUIT_SHA384:
		return 48;
	case SUIT_SHA512:
	case SUIT_SHAKE256:
		return 64;
	default:
		return 0;
	}
}

int suit_digest_decode(struct span in, struct suit_digest *ret)
{
	struct cbor c = cbor_reader(in);
	struct suit_digest d;

	if (cbor_check(in, 0, NULL) < 0)
		return -EBADMSG;
	size_t n = cbor_array(&c);
	d.alg = cbor_int(&c);
	d.bytes = cbor_bytes(&c);
	for (; n > 2 && cbor_ok(&c); n--)
		(void)cbor_skip(&c); /* extensions of the digest array */
	if (!cbor_at_end(&c) || n < 2)
		return -EBADMSG;
	if (d.alg >= 1 && d.alg <= 12)
		return -EOPNOTSUPP; /* the drafts' own numbers before COSE's were taken */
	if (d.bytes.n == 0 || (digest_bytes_of(d.alg) && d.bytes.n != digest_bytes_of(d.alg)))
		return -EBADMSG;
	*ret = d;
	return 0;
}

int suit_digest_check(const struct suit_digest *d, struct span bytes)
{
	unsigned bits = d->alg == SUIT_SHA256 ? 256 : d->alg == SUIT_SHA384 ? 384 : d->alg == SUIT_SHA512 ? 512 : 0;
	uint8_t computed[DIGEST_SHA2_BYTES_MAX];
	size_t n = digest_sha2(bits, bytes, computed);

	if (n == 0)
		return -ENOTSUP;
	return d->bytes.n == n && bytes_eq_ct(d->bytes, SPAN(computed, n));
}

/* ---- the envelope ---- */

struct envelope_scan {
	struct suit_envelope *e;
	struct span auth;
	bool has_auth, has_manifest;
};

static int fail(enum suit_problem *ret_problem, enum suit_problem p, int r)
{
	*ret_problem = p;
	return r;
}

static bool is_severable(int64_t key)
{
	return key == KEY_COSWID || key == KEY_DEPENDENCY_RESOLUTION || key == KEY_PAYLOAD_FETCH ||
	       key == KEY_CANDIDATE_VERIFICATION || key == KEY_INSTALL || key == KEY_TEXT;
}

/* SU-28: drafts before -18 had other member keys, and before -10 no digest in front of the COSE blocks. */
static bool looks_old(struct cbor map)
{
	for (size_t n = cbor_map(&map); n > 0 && cbor_ok(&map); n--) {
		if (cbor_peek(&map) == CBOR_UINT) {
			uint64_t key = cbor_uint(&map);
			if (key == KEY_OLD_DELEGATION || (key >= KEY_OLD_FIRST && key <= KEY_OLD_LAST))
				return true;
		} else {
			(void)cbor_skip(&map); /* the caller's walk judges it */
		}
		(void)cbor_skip(&map);
	}
	return false;
}

static int add_integrated(struct suit_envelope *e, const struct suit_member *m, enum suit_problem *p)
{
	if (e->n_integrated == SUIT_INTEGRATED_MAX)
		return fail(p, SUIT_TOO_MANY, -EMSGSIZE);
	e->integrated[e->n_integrated++] = *m;
	return 0;
}

static int add_member(struct envelope_scan *scan, const struct suit_member *m, enum suit_problem *p)
{
	struct suit_envelope *e = scan->e;

	if (m->key == KEY_AUTH) {
		if (scan->has_manifest)
			return fail(p, SUIT_AUTH_AFTER_MANIFEST, -EBADMSG);
		scan->auth = m->content;
		scan->has_auth = true;
	} else if (m->key == KEY_MANIFEST) {
		if (m->content.n > SUIT_MANIFEST_BYTES_MAX)
			return fail(p, SUIT_TOO_LARGE, -EMSGSIZE);
		e->manifest_wrapped = m->wrapped;
		e->manifest = m->content;
		scan->has_manifest = true;
	} else if (is_severable(m->key)) {
		e->severed[e->n_severed++] = *m; /* six keys, each at most once */
	} else {
		return fail(p, SUIT_MEMBER_UNLISTED, -EBADMSG); /* nothing in the manifest could vouch for it */
	}
	return 0;
}

static int read_members(struct cbor *c, struct envelope_scan *scan, enum suit_problem *p)
{
	int r = 0;

	for (size_t n = cbor_map(c); n > 0 && r == 0; n--) {
		struct suit_member m = { 0 };
		bool is_text = cbor_peek(c) == CBOR_TEXT;
		if (is_text)
			m.name = cbor_text(c);
		else
			m.key = cbor_int(c);
		struct cbor value = *c;
		m.wrapped = cbor_skip(c);
		m.content = cbor_bytes(&value);
		if (!cbor_ok(c) || !cbor_ok(&value) || (is_text && m.name.n > SUIT_URI_BYTES_MAX))
			return fail(p, SUIT_MEMBER_MALFORMED, -EBADMSG);
		r = is_text ? add_integrated(scan->e, &m, p) : add_member(scan, &m, p);
	}
	if (r == 0 && !cbor_at_end(c))
		return fail(p, SUIT_MEMBER_MALFORMED, -EBADMSG);
	return r;
}

/* [ bstr digest, * bstr COSE block ]; the blocks are judged one by one elsewhere. */
static int read_auth(struct span auth, struct suit_envelope *e, enum suit_problem *p)
{
	struct cbor c = cbor_reader(auth);

	if (cbor_check(auth, 0, NULL) < 0)
		return fail(p, SUIT_AUTH_MALFORMED, -EBADMSG);
	size_t n = cbor_array(&c);
	e->auth_digest_bytes = cbor_bytes(&c);
	if (!cbor_ok(&c))
		return fail(p, SUIT_AUTH_MALFORMED, -EBADMSG);
	struct cbor first = cbor_reader(e->auth_digest_bytes);
	if (cbor_peek(&first) == CBOR_TAG)
		return fail(p, SUIT_OLD_ENCODING, -ENOTSUP);
	int r = suit_digest_decode(e->auth_digest_bytes, &e->auth_digest);
	if (r == -EOPNOTSUPP)
		return fail(p, SUIT_OLD_ENCODING, -ENOTSUP);
	if (r < 0)
		return fail(p, SUIT_AUTH_MALFORMED, -EBADMSG);
	if (n - 1 > SUIT_AUTH_BLOCKS_MAX)
		return fail(p, SUIT_TOO_MANY, -EMSGSIZE);
	while (e->n_auth_blocks < n - 1)
		e->auth_blocks[e->n_auth_blocks++] = cbor_bytes(&c);
	if (!cbor_at_end(&c))
		return fail(p, SUIT_AUTH_MALFORMED, -EBADMSG);
	return 0;
}

static int check_manifest_digest(struct suit_envelope *e, enum suit_problem *p)
{
	int r = suit_digest_check(&e->auth_digest, e->manifest_wrapped);

	if (r < 0)
		return fail(p, SUIT_DIGEST_ALG, -ENOTSUP);
	if (r == 0)
		return fail(p, SUIT_DIGEST_MISMATCH, -EBADMSG);
	e->manifest_digest = digest_of(e->manifest_wrapped);
	return 0;
}

static int read_envelope(struct span in, unsigned flags, struct suit_envelope *e, enum suit_problem *p)
{
	struct envelope_scan scan = { .e = e };
	struct cbor c = cbor_reader(in);
	bool tagged = cbor_peek(&c) == CBOR_TAG;

	if (tagged && cbor_tag(&c) != TAG_ENVELOPE)
		return fail(p, SUIT_WRONG_TAG, -EBADMSG);
	if (cbor_peek(&c) != CBOR_MAP)
		return fail(p, tagged ? SUIT_MEMBER_MALFORMED : SUIT_NO_TAG, -EBADMSG);
	if (looks_old(c))
		return fail(p, SUIT_OLD_ENCODING, -ENOTSUP);
	if (!tagged && !(flags & SUIT_ALLOW_UNTAGGED))
		return fail(p, SUIT_NO_TAG, -EBADMSG);
	int r = read_members(&c, &scan, p);
	if (r < 0)
		return r;
	if (!scan.has_auth || !scan.has_manifest)
		return fail(p, SUIT_AUTH_MISSING, -EBADMSG);
	r = read_auth(scan.auth, e, p);
	if (r < 0)
		return r;
	return check_manifest_digest(e, p);
}

int suit_envelope_decode(struct span in, unsigned flags, struct suit_envelope *ret, enum suit_problem *ret_problem)
{
	int r;

	*ret = (struct suit_envelope){ .bytes = in };
	*ret_problem = SUIT_OK;
	if (in.n > SUIT_ENVELOPE_BYTES_MAX)
		return fail(ret_problem, SUIT_TOO_LARGE, -EMSGSIZE);
	r = cbor_check(in, 0, NULL);
	if (r < 0)
		return fail(ret_problem, r == -EEXIST ? SUIT_DUPLICATE_KEY : r == -E2BIG ? SUIT_TOO_DEEP : SUIT_NOT_CBOR, -EBADMSG);
	r = read_envelope(in, flags, ret, ret_problem);
	if (r < 0) {
		*ret = (struct suit_envelope){ .bytes = in };
		return r;
	}
	if (ret->n_auth_blocks == 0)
		return fail(ret_problem, SUIT_NO_AUTH_BLOCK, -EBADMSG);
	return 0;
}

/* ---- the same envelope, in another form (SU-17, SU-25) ---- */

enum { SEVER_KEYS_MAX = 31 };

static void put_envelope_head(const struct suit_envelope *env, size_t n_members, struct buf *b)
{
	struct cbor c = cbor_reader(env->bytes);

	if (cbor_peek(&c) == CBOR_TAG)
		cbor_put_tag(b, TAG_ENVELOPE);
	cbor_put_map(b, n_members);
}

static bool is_severed(struct cbor key, uint32_t keys)
{
	uint64_t k = cbor_peek(&key) == CBOR_UINT ? cbor_uint(&key) : 0;

	return k <= SEVER_KEYS_MAX && is_severable((int64_t)k) && (keys >> k & 1);
}

/* Copies the members, each as it stands, but leaves out `keys` and puts `auth` for the content of key 2 when given. */
static int rewrite(const struct suit_envelope *env, uint32_t keys, const struct span *auth, struct buf *ret)
{
	struct cbor c = cbor_reader(env->bytes), counting;
	size_t n, kept = 0;

	if (cbor_peek(&c) == CBOR_TAG)
		(void)cbor_tag(&c); /* decoded before: it is 107 */
	n = cbor_map(&c);
	counting = c;
	for (size_t i = 0; i < n && cbor_ok(&counting); i++) {
		kept += !is_severed(counting, keys);
		(void)cbor_skip(&counting);
		(void)cbor_skip(&counting);
	}
	if (!cbor_ok(&counting))
		return -EBADMSG;
	put_envelope_head(env, kept, ret);
	for (size_t i = 0; i < n; i++) {
		bool leave_out = is_severed(c, keys);
		struct cbor key = c;
		struct span k = cbor_skip(&c), v = cbor_skip(&c);
		if (leave_out)
			continue;
		buf_add(ret, k);
		if (auth && cbor_peek(&key) == CBOR_UINT && cbor_uint(&key) == KEY_AUTH)
			cbor_put_bytes(ret, *auth);
		else
			buf_add(ret, v);
	}
	return buf_ok(ret) ? 0 : -EMSGSIZE;
}

int suit_envelope_sever(const struct suit_envelope *env, uint32_t keys, struct buf *ret)
{
	return rewrite(env, keys, NULL, ret);
}

static void put_auth(struct span digest_bytes, const struct span *blocks, size_t n, const struct span *more, struct buf *b)
{
	cbor_put_array(b, 1 + n + (more ? 1 : 0));
	cbor_put_bytes(b, digest_bytes);
	for (size_t i = 0; i < n; i++)
		cbor_put_bytes(b, blocks[i]);
	if (more)
		cbor_put_bytes(b, *more);
}

int suit_envelope_add_auth(const struct suit_envelope *env, struct span cose_block, struct buf *ret)
{
	_cleanup_buf_ struct buf auth = { 0 };

	if (env->n_auth_blocks == SUIT_AUTH_BLOCKS_MAX)
		return -EMSGSIZE;
	put_auth(env->auth_digest_bytes, env->auth_blocks, env->n_auth_blocks, &cose_block, &auth);
	if (!buf_ok(&auth))
		return -EMSGSIZE;
	struct span content = buf_span(&auth);
	return rewrite(env, 0, &content, ret);
}

void suit_auth_digest_encode(struct span manifest, struct buf *ret)
{
	_cleanup_buf_ struct buf head = { 0 };
	struct digest d;

	cbor_put_bytes_head(&head, manifest.n);
	d = digest_of2(buf_span(&head), manifest); /* header and content, facts 1.2 rule 1 */
	cbor_put_array(ret, 2);
	cbor_put_int(ret, SUIT_SHA256);
	cbor_put_bytes(ret, SPAN_OF(d.b));
}

int suit_envelope_encode(struct span manifest, struct span auth_digest_bytes, const struct span *cose_blocks, size_t n_blocks,
			 struct span members, size_t n_members, struct buf *ret)
{
	_cleanup_buf_ struct buf auth = { 0 };

	if (manifest.n > SUIT_MANIFEST_BYTES_MAX || n_blocks > SUIT_AUTH_BLOCKS_MAX)
		return -EMSGSIZE;
	put_auth(auth_digest_bytes, cose_blocks, n_blocks, NULL, &auth);
	cbor_put_tag(ret, TAG_ENVELOPE);
	cbor_put_map(ret, 2 + n_members);
	cbor_put_uint(ret, KEY_AUTH);
	cbor_put_bytes(ret, buf_span(&auth));
	cbor_put_uint(ret, KEY_MANIFEST);
	cbor_put_bytes(ret, manifest);
	buf_add(ret, members);
	return buf_ok(ret) && buf_ok(&auth) ? 0 : -EMSGSIZE;
}

static bool is_printable(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '/')
			return false;
	return s.n > 0;
}

void suit_component_text(struct span encoded_id, struct buf *ret)
{
	struct cbor c = cbor_reader(encoded_id);

	for (size_t i = 0, n = cbor_array(&c); i < n && cbor_ok(&c); i++) {
		struct span segment = cbor_bytes(&c);
		if (i > 0)
			buf_add_u8(ret, '/');
		if (is_printable(segment))
			buf_add(ret, segment);
		else
			text_add_hex(ret, segment);
	}
}
