#include "codec/cose.h"

#include <errno.h>

#include "codec/cbor.h"

enum {                                 /* header labels, RFC 9052 table 3 and RFC 9360 */
	LABEL_ALG = 1, LABEL_CRIT = 2, LABEL_CONTENT_TYPE = 3, LABEL_KID = 4, LABEL_X5CHAIN = 33, LABEL_X5T = 34,
};

const char *cose_problem_text(enum cose_problem p)
{
	static const char *const text[COSE_PROBLEM_COUNT] = {
		[COSE_OK] = "ok",
		[COSE_MALFORMED] = "not a well-formed COSE message",
		[COSE_WRONG_TAG] = "wrong CBOR tag",
		[COSE_ALG_NOT_PROTECTED] = "alg not protected",
		[COSE_ALG_MISSING] = "alg missing",
		[COSE_ALG_DUPLICATE] = "alg both protected and unprotected",
		[COSE_ALG_IS_TEXT] = "alg is a text: unsupported",
		[COSE_CRIT_UNKNOWN] = "a critical header is not understood",
		[COSE_LABEL_DUPLICATE] = "a header label stands twice",
		[COSE_PAYLOAD_NOT_DETACHED] = "the payload must be detached",
		[COSE_CHAIN_TOO_LONG] = "x5chain too long",
		[COSE_NOT_TAGGED] = "no CBOR tag",
		[COSE_TOO_MANY] = "too many headers or signers",
		[COSE_KID_TOO_LONG] = "kid too long",
	};

	return p < COSE_PROBLEM_COUNT ? text[p] : "unknown problem";
}

const char *cose_alg_name(int64_t alg)
{
	static const struct {
		int64_t alg;
		const char *name;
	} names[] = {
		{ COSE_ES256, "ES256" }, { COSE_EDDSA, "EdDSA" }, { COSE_ESP256, "ESP256" }, { COSE_ED25519, "Ed25519" },
		{ COSE_ES384, "ES384" }, { COSE_ES512, "ES512" }, { COSE_PS256, "PS256" }, { COSE_PS384, "PS384" },
		{ COSE_PS512, "PS512" }, { COSE_HSS_LMS, "HSS-LMS" }, { COSE_ESP384, "ESP384" }, { COSE_ESP512, "ESP512" },
		{ COSE_ED448, "Ed448" }, { COSE_HMAC_256_64, "HMAC 256/64" }, { COSE_HMAC_256, "HMAC 256/256" },
		{ COSE_HMAC_384, "HMAC 384/384" }, { COSE_HMAC_512, "HMAC 512/512" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].alg == alg)
			return names[i].name;
	return NULL;
}

/* ---- headers of one layer ---- */

struct labels {                        /* encoded labels seen in this layer; the first n_protected are protected */
	struct span seen[COSE_HEADERS_MAX];
	size_t n, n_protected;
};

struct header_scan {
	struct cose_headers *h;
	struct labels labels;
	struct span crit;
	bool alg_unprotected;
};

static bool label_among(const struct labels *l, struct span label, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq(l->seen[i], label))
			return true;
	return false;
}

static enum cose_problem read_alg(struct cbor *c, struct cose_headers *h)
{
	if (cbor_peek(c) == CBOR_TEXT)
		return COSE_ALG_IS_TEXT;
	h->alg = cbor_int(c);
	h->has_alg = cbor_ok(c);
	return h->has_alg ? COSE_OK : COSE_MALFORMED;
}

static enum cose_problem read_x5chain(struct cbor *c, struct cose_headers *h)
{
	bool single = cbor_peek(c) == CBOR_BYTES;
	size_t n = single ? 1 : cbor_array(c), bytes = 0;

	if (n > COSE_CHAIN_MAX)
		return COSE_CHAIN_TOO_LONG;
	for (size_t i = 0; i < n; i++) {
		struct span der = cbor_bytes(c);
		bytes += der.n;
		if (bytes > COSE_CHAIN_BYTES_MAX)
			return COSE_CHAIN_TOO_LONG;
		if (der.n == 0)
			return COSE_MALFORMED;
		h->x5chain[i] = der;
	}
	h->n_x5chain = n;
	return cbor_ok(c) && n > 0 ? COSE_OK : COSE_MALFORMED;
}

static enum cose_problem read_x5t(struct cbor *c, struct cose_headers *h)
{
	if (cbor_array(c) != 2)
		return COSE_MALFORMED;
	if (cbor_peek(c) == CBOR_TEXT) {       /* a hash we cannot know; x5t is only a hint */
		(void)cbor_skip(c);
		(void)cbor_bytes(c); /* the caller looks at c */
		return COSE_OK;
	}
	h->x5t_alg = cbor_int(c);
	h->x5t = cbor_bytes(c);
	return cbor_ok(c) ? COSE_OK : COSE_MALFORMED;
}

static enum cose_problem read_value(struct cbor *c, int64_t label, bool is_protected, struct header_scan *scan)
{
	switch (label) {
	case LABEL_ALG:
		scan->alg_unprotected = !is_protected;
		return read_alg(c, scan->h);
	case LABEL_CRIT:
		scan->crit = cbor_skip(c);
		return is_protected ? COSE_OK : COSE_MALFORMED;
	case LABEL_KID:
		if (cbor_peek(c) == CBOR_TEXT) { /* wrong, and in public examples; a hint that nobody needs (CO-13) */
			(void)cbor_skip(c);
			return COSE_OK;
		}
		scan->h->kid = cbor_bytes(c);
		return scan->h->kid.n <= COSE_KID_BYTES_MAX ? COSE_OK : COSE_KID_TOO_LONG;
	case LABEL_X5CHAIN:
		return read_x5chain(c, scan->h);
	case LABEL_X5T:
		return read_x5t(c, scan->h);
	default:
		(void)cbor_skip(c); /* not ours, and not critical unless crit says so */
		return COSE_OK;
	}
}

static enum cose_problem read_header_map(struct cbor *c, bool is_protected, struct header_scan *scan)
{
	struct labels *l = &scan->labels;

	for (size_t n = cbor_map(c); n > 0 && cbor_ok(c); n--) {
		struct cbor key = *c;
		struct span encoded = cbor_skip(c);
		int64_t label = cbor_peek(&key) == CBOR_TEXT ? 0 : cbor_int(&key);
		if (!cbor_ok(&key))
			return COSE_MALFORMED;
		if (label_among(l, encoded, l->n))
			return label == LABEL_ALG ? COSE_ALG_DUPLICATE : COSE_LABEL_DUPLICATE;
		if (l->n == COSE_HEADERS_MAX)
			return COSE_TOO_MANY;
		l->seen[l->n++] = encoded;
		enum cose_problem p = read_value(c, label, is_protected, scan);
		if (p != COSE_OK)
			return p;
	}
	return cbor_ok(c) ? COSE_OK : COSE_MALFORMED;
}

/* CO-4: each listed label is understood and stands among the protected ones. */
static enum cose_problem check_crit(const struct header_scan *scan)
{
	struct cbor c = cbor_reader(scan->crit);
	size_t n;

	if (scan->crit.n == 0)
		return COSE_OK;
	n = cbor_array(&c);
	if (!cbor_ok(&c) || n == 0)
		return COSE_MALFORMED;
	for (; n > 0; n--) {
		struct cbor key = c;
		struct span encoded = cbor_skip(&c);
		int64_t label = cbor_peek(&key) == CBOR_TEXT ? 0 : cbor_int(&key);
		bool known = label == LABEL_ALG || label == LABEL_CRIT || label == LABEL_CONTENT_TYPE || label == LABEL_KID ||
			     label == LABEL_X5CHAIN || label == LABEL_X5T;
		if (!known || !label_among(&scan->labels, encoded, scan->labels.n_protected))
			return COSE_CRIT_UNKNOWN;
	}
	return COSE_OK;
}

enum layer_kind { LAYER_BODY, LAYER_SIGNING, LAYER_RECIPIENT };

static enum cose_problem check_alg(const struct header_scan *scan, enum layer_kind kind, unsigned flags)
{
	if (kind == LAYER_BODY)
		return COSE_OK; /* the signers name theirs */
	if (!scan->h->has_alg)
		return COSE_ALG_MISSING;
	if (scan->alg_unprotected && kind == LAYER_SIGNING && !(flags & COSE_ALLOW_UNPROTECTED_ALG))
		return COSE_ALG_NOT_PROTECTED;
	return COSE_OK;
}

/* The two header items at c (CO-1 to CO-5). */
static enum cose_problem read_headers(struct cbor *c, enum layer_kind kind, unsigned flags, struct cose_headers *ret)
{
	struct header_scan scan = { .h = ret };
	struct span bytes = cbor_bytes(c);
	enum cose_problem p;

	*ret = (struct cose_headers){ 0 };
	if (!cbor_ok(c))
		return COSE_MALFORMED;
	if (bytes.n > 0) {
		int r = cbor_check(bytes, 0, NULL);
		if (r < 0)
			return r == -EEXIST ? COSE_LABEL_DUPLICATE : COSE_MALFORMED;
		struct cbor inner = cbor_reader(bytes);
		p = read_header_map(&inner, true, &scan);
		if (p != COSE_OK)
			return p;
		scan.labels.n_protected = scan.labels.n;
	}
	if (scan.labels.n_protected > 0)
		ret->protected_bytes = bytes; /* an empty map counts as no bytes (CO-1) */
	p = read_header_map(c, false, &scan);
	if (p == COSE_OK)
		p = check_crit(&scan);
	if (p == COSE_OK)
		p = check_alg(&scan, kind, flags);
	return p;
}

/* ---- messages ---- */

static enum cose_problem read_signers(struct cbor *c, struct cose_message *m, unsigned flags)
{
	enum layer_kind kind = m->kind == COSE_SIGN ? LAYER_SIGNING : LAYER_RECIPIENT;
	size_t n = cbor_array(c);

	if (!cbor_ok(c) || n == 0)
		return COSE_MALFORMED;
	if (n > COSE_SIGNERS_MAX)
		return COSE_TOO_MANY;
	for (size_t i = 0; i < n; i++) {
		struct cose_signer *s = &m->signers[m->n_signers++];
		struct span item = cbor_skip(c);
		struct cbor one = cbor_reader(item);
		if (cbor_array(&one) != 3)
			return COSE_MALFORMED; /* a fourth part would be recipients of recipients */
		s->problem = read_headers(&one, kind, flags, &s->headers);
		if (s->problem != COSE_OK)
			continue;
		if (!cbor_is_null(&one) || kind == LAYER_SIGNING)
			s->signature = cbor_bytes(&one);
		if (!cbor_ok(&one))
			s->problem = COSE_MALFORMED;
	}
	return COSE_OK;
}

static enum cose_problem read_kind(struct cbor *c, unsigned flags, struct cose_message *m)
{
	if (cbor_peek(c) != CBOR_TAG)
		return (flags & COSE_ALLOW_UNTAGGED) && m->kind ? COSE_OK : COSE_NOT_TAGGED;
	uint64_t tag = cbor_tag(c);
	if (tag != COSE_SIGN1 && tag != COSE_SIGN && tag != COSE_MAC0 && tag != COSE_MAC)
		return COSE_WRONG_TAG;
	m->kind = (enum cose_kind)tag;
	return COSE_OK;
}

/* After the payload: a bstr everywhere but in COSE_Sign. An array of another kind under this tag is a wrong tag. */
static enum cose_problem read_tail(struct cbor *c, size_t n_parts, unsigned flags, struct cose_message *m)
{
	bool is_sign = m->kind == COSE_SIGN;

	if (n_parts != (m->kind == COSE_MAC ? 5 : 4) || cbor_peek(c) != (is_sign ? CBOR_ARRAY : CBOR_BYTES))
		return cbor_peek(c) == CBOR_BYTES || cbor_peek(c) == CBOR_ARRAY ? COSE_WRONG_TAG : COSE_MALFORMED;
	if (!is_sign)
		m->signature = cbor_bytes(c);
	if (is_sign || m->kind == COSE_MAC)
		return read_signers(c, m, flags);
	return COSE_OK;
}

static enum cose_problem read_message(struct span in, unsigned flags, struct cose_message *m)
{
	struct cbor c = cbor_reader(in);
	enum cose_problem p = read_kind(&c, flags, m);

	if (p != COSE_OK)
		return p;
	size_t n_parts = cbor_array(&c);
	if (!cbor_ok(&c) || n_parts < 4 || n_parts > 5)
		return COSE_MALFORMED;
	p = read_headers(&c, m->kind == COSE_SIGN ? LAYER_BODY : LAYER_SIGNING, flags, &m->headers);
	if (p != COSE_OK)
		return p;
	m->is_detached = cbor_is_null(&c);
	if (m->is_detached)
		cbor_null(&c);
	else
		m->payload = cbor_bytes(&c);
	if (!cbor_ok(&c))
		return COSE_MALFORMED;
	p = read_tail(&c, n_parts, flags, m);
	if (p == COSE_OK && !cbor_at_end(&c))
		p = COSE_MALFORMED;
	if (p == COSE_OK && (flags & COSE_NEEDS_DETACHED) && !m->is_detached)
		p = COSE_PAYLOAD_NOT_DETACHED;
	return p;
}

int cose_decode(struct span in, unsigned flags, struct cose_message *ret, enum cose_problem *ret_problem)
{
	enum cose_kind expected = ret->kind;
	int r = cbor_check(in, 0, NULL);

	*ret = (struct cose_message){ .kind = flags & COSE_ALLOW_UNTAGGED ? expected : 0 };
	if (r < 0)
		*ret_problem = r == -EEXIST ? COSE_LABEL_DUPLICATE : COSE_MALFORMED;
	else
		*ret_problem = read_message(in, flags, ret);
	if (*ret_problem == COSE_OK)
		return 0;
	return *ret_problem == COSE_ALG_IS_TEXT || *ret_problem == COSE_CRIT_UNKNOWN ? -ENOTSUP : -EBADMSG;
}

void cose_tbs(const struct cose_message *m, const struct cose_signer *signer, struct span external_aad,
	      struct span payload, struct buf *ret)
{
	const char *context = m->kind == COSE_SIGN1 ? "Signature1" : m->kind == COSE_SIGN ? "Signature" :
			      m->kind == COSE_MAC0  ? "MAC0" : "MAC";

	cbor_put_array(ret, signer ? 5 : 4);
	cbor_put_str(ret, context);
	cbor_put_bytes(ret, m->headers.protected_bytes);
	if (signer)
		cbor_put_bytes(ret, signer->headers.protected_bytes);
	cbor_put_bytes(ret, external_aad);
	cbor_put_bytes(ret, payload);
}

void cose_put_protected(struct buf *b, int64_t alg, struct span kid)
{
	cbor_put_map(b, kid.n ? 2 : 1);
	cbor_put_uint(b, LABEL_ALG);
	cbor_put_int(b, alg);
	if (kid.n) {
		cbor_put_uint(b, LABEL_KID);
		cbor_put_bytes(b, kid);
	}
}

void cose_put_unprotected(struct buf *b, const struct span *x5chain, size_t n_x5chain)
{
	cbor_put_map(b, n_x5chain ? 1 : 0);
	if (n_x5chain == 0)
		return;
	cbor_put_uint(b, LABEL_X5CHAIN);
	if (n_x5chain > 1)
		cbor_put_array(b, n_x5chain);
	for (size_t i = 0; i < n_x5chain; i++)
		cbor_put_bytes(b, x5chain[i]);
}

void cose_encode_detached(enum cose_kind kind, struct span protected_bytes, struct span unprotected,
			  struct span signature, struct buf *ret)
{
	cbor_put_tag(ret, (uint64_t)kind);
	cbor_put_array(ret, 4);
	cbor_put_bytes(ret, protected_bytes);
	buf_add(ret, unprotected);
	cbor_put_null(ret);
	cbor_put_bytes(ret, signature);
}
