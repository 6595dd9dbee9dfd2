#include "trust/tlog_note.h"

#include <errno.h>
#include <openssl/evp.h>

#include "base/text.h"

enum { ED25519 = 1, KEY_ID_BYTES = 4, SIGNATURE_BYTES = 64 };

static const struct span dash = { (const uint8_t *)"\xe2\x80\x94 ", 4 };       /* U+2014, space */

/* The next line without its line feed; false at the end, or when the last line has none. */
static bool take_line(struct span *rest, struct span *ret)
{
	const uint8_t *end = rest->n ? memchr(rest->p, '\n', rest->n) : NULL;

	if (!end)
		return false;
	*ret = SPAN(rest->p, (size_t)(end - rest->p));
	*rest = span_sub(*rest, ret->n + 1, rest->n);
	return true;
}

/* Base64 of exactly n bytes. */
static int take_base64(struct span text, uint8_t *ret, size_t n)
{
	_cleanup_buf_ struct buf b = { .max = n };
	int r = text_parse_base64(text, &b);

	if (r < 0 || !buf_ok(&b) || b.n != n)
		return -EBADMSG;
	memcpy(ret, b.p, n);
	return 0;
}

static struct span until(struct span s, uint8_t c)
{
	const uint8_t *end = s.n ? memchr(s.p, c, s.n) : NULL;

	return end ? SPAN(s.p, (size_t)(end - s.p)) : s;
}

int tlog_key_parse(struct span text, struct tlog_key *ret)
{
	uint8_t typed[1 + sizeof(ret->public_key)];
	_cleanup_buf_ struct buf named = { 0 };
	struct tlog_key k;

	if (text.n && text.p[text.n - 1] == '\n')
		text.n--;
	struct span name = until(text, '+');
	struct span rest = span_sub(text, name.n + 1, text.n);
	struct span id = until(rest, '+');
	rest = span_sub(rest, id.n + 1, rest.n);
	if (!name.n || !text_is_clean(name) || text_copy(k.name, sizeof(k.name), name) < 0 || text_parse_hex(id, k.id, sizeof(k.id)) < 0)
		return -EBADMSG;
	int r = take_base64(rest, typed, sizeof(typed));
	if (r < 0)
		return r;
	if (typed[0] != ED25519)
		return -ENOTSUP;
	memcpy(k.public_key, typed + 1, sizeof(k.public_key));
	buf_printf(&named, "%s\n", k.name);
	buf_add(&named, SPAN_OF(typed));
	struct digest d = digest_of(buf_span(&named));
	if (!buf_ok(&named) || memcmp(d.b, k.id, KEY_ID_BYTES) != 0)
		return -EBADMSG;
	*ret = k;
	return 0;
}

static bool signature_ok(const struct tlog_key *key, struct span text, const uint8_t signature[static SIGNATURE_BYTES])
{
	EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->public_key, sizeof(key->public_key));
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok = pkey && md && EVP_DigestVerifyInit(md, NULL, NULL, NULL, pkey) == 1 &&
		  EVP_DigestVerify(md, signature, SIGNATURE_BYTES, text.p, text.n) == 1;

	EVP_MD_CTX_free(md);
	EVP_PKEY_free(pkey);
	return ok;
}

/* Signature lines: one of ours must be there, and every one of ours must verify. */
static int check_signatures(struct span lines, struct span text, const struct tlog_key *key)
{
	uint8_t bytes[KEY_ID_BYTES + SIGNATURE_BYTES];
	size_t n_lines = 0, n_good = 0;
	struct span line;

	while (lines.n) {
		if (!take_line(&lines, &line) || !span_starts(line, dash))
			return -EBADMSG;
		if (++n_lines > TLOG_SIGNATURES_MAX)
			return -EMSGSIZE;
		line = span_sub(line, dash.n, line.n);
		struct span name = until(line, ' ');
		if (!name.n || name.n == line.n)
			return -EBADMSG;
		if (!span_eq_str(name, key->name))
			continue;
		if (take_base64(span_sub(line, name.n + 1, line.n), bytes, sizeof(bytes)) < 0 || memcmp(bytes, key->id, KEY_ID_BYTES) != 0)
			continue; /* of another key, or another kind, with the same name */
		if (!signature_ok(key, text, bytes + KEY_ID_BYTES))
			return -EKEYREJECTED;
		n_good++;
	}
	return n_good ? 0 : -EKEYREJECTED;
}

/* The text is separated from the signatures by the last empty line. */
static int split_note(struct span note, struct span *ret_text, struct span *ret_signatures)
{
	if (note.n > TLOG_NOTE_BYTES_MAX)
		return -EMSGSIZE;
	for (size_t i = note.n; i >= 2; i--)
		if (note.p[i - 1] == '\n' && note.p[i - 2] == '\n') {
			*ret_text = span_sub(note, 0, i - 1);
			*ret_signatures = span_sub(note, i, note.n);
			return 0;
		}
	return -EBADMSG;
}

static bool is_note_text(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 0x20 && s.p[i] != '\n')
			return false;
	return text_is_utf8(s);
}

int tlog_checkpoint_verify(struct span note, const struct tlog_key *key, struct tlog_checkpoint *ret)
{
	struct span text, signatures, size, root;
	struct tlog_checkpoint c;
	int r = split_note(note, &text, &signatures);

	if (r < 0)
		return r;
	if (!is_note_text(note))
		return -EBADMSG;
	r = check_signatures(signatures, text, key);
	if (r < 0)
		return r;
	/* Signed: now it may be read. Lines after the third are not relied on. */
	struct span rest = text;
	if (!take_line(&rest, &c.origin) || !take_line(&rest, &size) || !take_line(&rest, &root) || !c.origin.n)
		return -EBADMSG;
	if (text_parse_u64(size, MERKLE_SIZE_MAX, &c.size, 0) < 0 || take_base64(root, c.root.b, DIGEST_BYTES) < 0)
		return -EBADMSG;
	if (!span_eq_str(c.origin, key->name))
		return -EKEYREJECTED;
	*ret = c;
	return 0;
}

/* The hashes, up to and with the empty line. */
static int take_path(struct span *rest, struct digest path[static MERKLE_PATH_MAX], size_t *ret_n)
{
	struct span line;
	size_t n = 0;

	while (take_line(rest, &line)) {
		if (!line.n) {
			*ret_n = n;
			return 0;
		}
		if (n == MERKLE_PATH_MAX)
			return -EMSGSIZE;
		if (take_base64(line, path[n++].b, DIGEST_BYTES) < 0)
			return -EBADMSG;
	}
	return -EBADMSG;
}

int tlog_proof_verify(struct span proof, const struct tlog_key *key, struct span expect, struct tlog_proof *ret, struct buf *ret_entry)
{
	_cleanup_buf_ struct buf extra = { .max = TLOG_EXTRA_BYTES_MAX };
	struct digest path[MERKLE_PATH_MAX];
	struct span line, rest = proof;
	struct tlog_proof p;
	bool has_extra = false;
	size_t n = 0;

	if (proof.n > 2 * TLOG_NOTE_BYTES_MAX)
		return -EMSGSIZE;
	if (!take_line(&rest, &line) || !span_eq_str(line, "c2sp.org/tlog-proof@v1") || !take_line(&rest, &line))
		return -EBADMSG;
	if (span_starts(line, SPAN_LIT("extra "))) {
		has_extra = true;
		if (text_parse_base64(span_sub(line, 6, line.n), &extra) < 0 || !buf_ok(&extra) || !take_line(&rest, &line))
			return -EBADMSG;
	}
	if (!span_starts(line, SPAN_LIT("index ")) || text_parse_u64(span_sub(line, 6, line.n), MERKLE_SIZE_MAX, &p.index, 0) < 0)
		return -EBADMSG;
	int r = take_path(&rest, path, &n);
	if (r == 0)
		r = tlog_checkpoint_verify(rest, key, &p.checkpoint);
	if (r < 0)
		return r;
	struct span entry = expect.p ? expect : buf_span(&extra);
	struct digest leaf = merkle_leaf(entry);
	if ((!expect.p && !has_extra) || !merkle_inclusion_ok(p.index, p.checkpoint.size, &leaf, path, n, &p.checkpoint.root))
		return -ENODATA;
	if (ret_entry)
		buf_add(ret_entry, entry);
	*ret = p;
	return 0;
}
