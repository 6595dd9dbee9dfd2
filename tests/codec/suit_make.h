/* tests/codec/suit_make.h - envelopes around hand-written manifests. The signature in them is not one: who
 * signed is judged elsewhere. */
#pragma once
#include "codec/suit.h"
#include "vectors.h"

#define FAKE_BLOCK "18([<<{1: -9}>>, {}, null, h'00'])"

/* Where spans of the last decoded envelope point into; freed by the next make. */
struct made {
	struct buf bytes;
	struct suit_envelope env;
	struct suit_manifest manifest;
	enum suit_problem problem;
};

static inline void made_done(struct made *m)
{
	buf_done(&m->bytes);
	*m = (struct made){ 0 };
}

/* manifest: diagnostic notation. members: text of further key/value pairs, as one map in diagnostic notation. */
static inline void make_envelope(struct buf *ret, struct span manifest, const char *members)
{
	_cleanup_buf_ struct buf digest = { 0 }, block = { 0 }, more = { 0 };
	size_t n = 0;

	suit_auth_digest_encode(manifest, &digest);
	add_diag(&block, FAKE_BLOCK);
	add_diag(&more, members);
	struct cbor c = cbor_reader(buf_span(&more));
	n = cbor_map(&c);
	struct span block_span = buf_span(&block);
	assert_int_equal(suit_envelope_encode(manifest, buf_span(&digest), &block_span, 1, span_sub(buf_span(&more), c.pos, more.n), n, ret), 0);
}

/* Both steps on an envelope around this manifest; the problem of the second one. */
static inline enum suit_problem made_decode(struct made *m, const char *manifest, const char *members, unsigned flags)
{
	_cleanup_buf_ struct buf b = { 0 };

	add_diag(&b, manifest);
	made_done(m);
	make_envelope(&m->bytes, buf_span(&b), members);
	assert_int_equal(suit_envelope_decode(buf_span(&m->bytes), 0, &m->env, &m->problem), 0);
	int r = suit_manifest_decode(&m->env, flags, &m->manifest, &m->problem);
	assert_int_equal(r == 0, m->problem == SUIT_OK);
	return m->problem;
}
