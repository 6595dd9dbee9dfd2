#include "trust/tlog_note.h"

#include <errno.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"

/* The example key and note of golang.org/x/mod/sumdb/note. */
#define NEUMANN_KEY "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
#define NEUMANN_TEXT "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
#define NEUMANN_SIGNATURE \
	"\xe2\x80\x94 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"

static void the_public_example_key_is_read_and_no_mangling_of_it(void **state)
{
	char text[] = NEUMANN_KEY;
	struct tlog_key k;

	assert_int_equal(tlog_key_parse(span_str(text), &k), 0);
	assert_string_equal(k.name, "PeterNeumann");
	assert_int_equal(tlog_key_parse(span_str(NEUMANN_KEY "\n"), &k), 0);
	assert_int_equal(tlog_key_parse(span_str(NEUMANN_KEY "\n\n"), &k), -EBADMSG);
	for (size_t from = 0; from < sizeof(text); from++)
		for (size_t n = 0; from + n < sizeof(text); n++)
			if (n + 1 < sizeof(text))
				assert_int_equal(tlog_key_parse(SPAN(text + from, n), &k), -EBADMSG);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		text[i]++;
		assert_true(tlog_key_parse(span_str(text), &k) < 0);
		text[i]--;
	}
	assert_int_equal(tlog_key_parse(span_str("a+00000000+AhZc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"), &k), -ENOTSUP);
}

/* Signed well, but no checkpoint: told apart from signed badly. */
static void the_public_example_signature_verifies(void **state)
{
	struct tlog_checkpoint c;
	struct tlog_key k;

	assert_int_equal(tlog_key_parse(span_str(NEUMANN_KEY), &k), 0);
	assert_int_equal(tlog_checkpoint_verify(span_str(NEUMANN_TEXT "\n" NEUMANN_SIGNATURE), &k, &c), -EBADMSG);
	assert_int_equal(tlog_checkpoint_verify(span_str("x" NEUMANN_TEXT "\n" NEUMANN_SIGNATURE), &k, &c), -EKEYREJECTED);
}

/* --- a log of our own --- */

struct signer { EVP_PKEY *key; struct tlog_key vkey; };

static struct signer signer_new(const char *name)
{
	struct signer s = { .key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") };
	_cleanup_buf_ struct buf typed = { 0 }, named = { 0 }, text = { 0 };
	uint8_t public[32];
	size_t n = sizeof(public);

	assert_int_equal(EVP_PKEY_get_raw_public_key(s.key, public, &n), 1);
	buf_add_u8(&typed, 1);
	buf_add(&typed, SPAN_OF(public));
	buf_printf(&named, "%s\n", name);
	buf_add(&named, buf_span(&typed));
	struct digest d = digest_of(buf_span(&named));
	buf_printf(&text, "%s+", name);
	text_add_hex(&text, SPAN(d.b, 4));
	buf_add_u8(&text, '+');
	text_add_base64(&text, buf_span(&typed));
	assert_int_equal(tlog_key_parse(buf_span(&text), &s.vkey), 0);
	return s;
}

/* The signature line for text. */
static void sign(struct buf *b, const struct signer *s, const char *text)
{
	uint8_t line[68];
	size_t n = 64;
	EVP_MD_CTX *md = EVP_MD_CTX_new();

	memcpy(line, s->vkey.id, 4);
	assert_int_equal(EVP_DigestSignInit(md, NULL, NULL, NULL, s->key), 1);
	assert_int_equal(EVP_DigestSign(md, line + 4, &n, (const uint8_t *)text, strlen(text)), 1);
	EVP_MD_CTX_free(md);
	buf_printf(b, "\xe2\x80\x94 %s ", s->vkey.name);
	text_add_base64(b, SPAN_OF(line));
	buf_add_u8(b, '\n');
}

static void note_of(struct buf *b, const struct signer *s, const char *text)
{
	buf_add_str(b, text);
	buf_add_u8(b, '\n');
	sign(b, s, text);
}

#define ROOT "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

static void checkpoints_are_judged_by_signature_then_by_shape(void **state)
{
	static const struct { const char *text; int r; } rows[] = {
		{ "log\n0\n" ROOT "\n", 0 },
		{ "log\n9223372036854775808\n" ROOT "\n", 0 },
		{ "log\n9223372036854775809\n" ROOT "\n", -EBADMSG },  /* TL-6 */
		{ "log\n01\n" ROOT "\n", -EBADMSG },
		{ "log\n+1\n" ROOT "\n", -EBADMSG },
		{ "log\n\n" ROOT "\n", -EBADMSG },
		{ "log\n0\n" ROOT "\nextension line\n", 0 },
		{ "log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\n", -EBADMSG },       /* padding */
		{ "log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n", -EBADMSG },      /* low bits */
		{ "log\n0\n47DEQpj8HBSa-_TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", -EBADMSG },      /* url alphabet */
		{ "log\n0\nAAAA\n", -EBADMSG },
		{ "log\n0\n", -EBADMSG },
		{ "log\n", -EBADMSG },
		{ "\n0\n" ROOT "\n", -EBADMSG },
		{ "other\n0\n" ROOT "\n", -EKEYREJECTED },
		{ "log \n0\n" ROOT "\n", -EKEYREJECTED },
		{ "log\n0\n" ROOT "\n\x01\n", -EBADMSG },
		{ "log\n0\n" ROOT "\n\xff\n", -EBADMSG },
		{ "log\n0\r\n" ROOT "\n", -EBADMSG },
	};
	struct signer s = signer_new("log");
	struct tlog_checkpoint c;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		note_of(&b, &s, rows[i].text);
		assert_int_equal(tlog_checkpoint_verify(buf_span(&b), &s.vkey, &c), rows[i].r);
	}
	EVP_PKEY_free(s.key);
}

static void every_truncation_and_every_flipped_bit_is_refused(void **state)
{
	struct signer s = signer_new("log");
	_cleanup_buf_ struct buf b = { 0 };
	struct tlog_checkpoint c;

	note_of(&b, &s, "log\n12\n" ROOT "\n");
	assert_int_equal(tlog_checkpoint_verify(buf_span(&b), &s.vkey, &c), 0);
	assert_int_equal(c.size, 12);
	for (size_t n = 0; n < b.n; n++)
		assert_true(tlog_checkpoint_verify(SPAN(b.p, n), &s.vkey, &c) < 0);
	for (size_t i = 0; i < 8 * b.n; i++) {
		b.p[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_true(tlog_checkpoint_verify(buf_span(&b), &s.vkey, &c) < 0);
		b.p[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	EVP_PKEY_free(s.key);
}

/* TL-4 */
static void signatures_of_others_are_ignored_and_a_bad_one_of_ours_is_fatal(void **state)
{
	static const char text[] = "log\n12\n" ROOT "\n";
	struct signer ours = signer_new("log"), same_name = signer_new("log"), other = signer_new("witness");
	struct tlog_checkpoint c;
	_cleanup_buf_ struct buf b = { 0 };

	buf_printf(&b, "%s\n", text);
	assert_int_equal(tlog_checkpoint_verify(buf_span(&b), &ours.vkey, &c), -EKEYREJECTED);
	sign(&b, &other, text);
	sign(&b, &same_name, text);
	assert_int_equal(tlog_checkpoint_verify(buf_span(&b), &ours.vkey, &c), -EKEYREJECTED);
	sign(&b, &ours, text);
	assert_int_equal(tlog_checkpoint_verify(buf_span(&b), &ours.vkey, &c), 0);
	assert_int_equal(tlog_checkpoint_verify(buf_span(&b), &same_name.vkey, &c), 0);
	assert_int_equal(tlog_checkpoint_verify(buf_span(&b), &other.vkey, &c), -EKEYREJECTED); /* its name is not the origin */
	sign(&b, &ours, "log\n13\n" ROOT "\n");
	assert_int_equal(tlog_checkpoint_verify(buf_span(&b), &ours.vkey, &c), -EKEYREJECTED);
	buf_clear(&b);
	buf_printf(&b, "%s\n", text);
	for (size_t i = 0; i < TLOG_SIGNATURES_MAX; i++)
		sign(&b, &ours, text);
	assert_int_equal(tlog_checkpoint_verify(buf_span(&b), &ours.vkey, &c), 0);
	sign(&b, &ours, text);
	assert_int_equal(tlog_checkpoint_verify(buf_span(&b), &ours.vkey, &c), -EMSGSIZE);
	buf_clear(&b);
	buf_printf(&b, "%s\n", text);
	sign(&b, &ours, text);
	buf_add_str(&b, "no signature line\n");
	assert_int_equal(tlog_checkpoint_verify(buf_span(&b), &ours.vkey, &c), -EBADMSG);
	EVP_PKEY_free(ours.key);
	EVP_PKEY_free(same_name.key);
	EVP_PKEY_free(other.key);
}

static void a_note_over_the_limit_is_refused(void **state)
{
	_cleanup_free_ uint8_t *big = calloc(1, TLOG_NOTE_BYTES_MAX + 1);
	struct tlog_key k = { .name = "log" };
	struct tlog_checkpoint c;

	memset(big, '\n', TLOG_NOTE_BYTES_MAX + 1);
	assert_int_equal(tlog_checkpoint_verify(SPAN(big, TLOG_NOTE_BYTES_MAX + 1), &k, &c), -EMSGSIZE);
	assert_int_equal(tlog_checkpoint_verify(SPAN(big, TLOG_NOTE_BYTES_MAX), &k, &c), -EKEYREJECTED);
}

/* --- proofs: a tree of two entries --- */

static void add_proof(struct buf *b, const struct signer *s, const char *head, const struct digest *path, size_t n_path)
{
	struct digest l = merkle_leaf(SPAN_LIT("one")), r = merkle_leaf(SPAN_LIT("two")), root = merkle_node(&l, &r);
	_cleanup_buf_ struct buf text = { 0 };

	buf_add_str(b, head);
	for (size_t i = 0; i < n_path; i++) {
		text_add_base64(b, SPAN_OF(path[i].b));
		buf_add_u8(b, '\n');
	}
	buf_add_u8(b, '\n');
	buf_add_str(&text, "log\n2\n");
	text_add_base64(&text, SPAN_OF(root.b));
	buf_add_u8(&text, '\n');
	note_of(b, s, buf_str(&text));
}

/* TL-3: what counts is the entry we have, not the one the proof brings along */
static void a_proof_is_about_the_entry_we_expect(void **state)
{
	struct signer s = signer_new("log");
	struct digest l = merkle_leaf(SPAN_LIT("one")), r = merkle_leaf(SPAN_LIT("two"));
	_cleanup_buf_ struct buf bare = { 0 }, with = { 0 }, wrong = { 0 }, entry = { 0 };
	struct tlog_proof p;

	add_proof(&bare, &s, "c2sp.org/tlog-proof@v1\nindex 1\n", &l, 1);
	assert_int_equal(tlog_proof_verify(buf_span(&bare), &s.vkey, SPAN_LIT("two"), &p, NULL), 0);
	assert_int_equal(p.index, 1);
	assert_int_equal(p.checkpoint.size, 2);
	assert_int_equal(tlog_proof_verify(buf_span(&bare), &s.vkey, SPAN_LIT("one"), &p, NULL), -ENODATA);
	assert_int_equal(tlog_proof_verify(buf_span(&bare), &s.vkey, SPAN_NONE, &p, NULL), -ENODATA);
	add_proof(&with, &s, "c2sp.org/tlog-proof@v1\nextra b25l\nindex 0\n", &r, 1);
	assert_int_equal(tlog_proof_verify(buf_span(&with), &s.vkey, SPAN_NONE, &p, &entry), 0);
	assert_string_equal(buf_str(&entry), "one");
	assert_int_equal(tlog_proof_verify(buf_span(&with), &s.vkey, SPAN_LIT("two"), &p, NULL), -ENODATA);
	add_proof(&wrong, &s, "c2sp.org/tlog-proof@v1\nextra b25m\nindex 0\n", &r, 1);
	assert_int_equal(tlog_proof_verify(buf_span(&wrong), &s.vkey, SPAN_NONE, &p, NULL), -ENODATA);
	assert_int_equal(tlog_proof_verify(buf_span(&wrong), &s.vkey, SPAN_LIT("one"), &p, NULL), 0);
	EVP_PKEY_free(s.key);
}

static void proofs_of_a_wrong_shape_are_refused(void **state)
{
	static const struct { const char *head; size_t n_path; int r; } rows[] = {
		{ "c2sp.org/tlog-proof@v1\nindex 0\n", 1, 0 },
		{ "c2sp.org/tlog-proof@v2\nindex 0\n", 1, -EBADMSG },
		{ "index 0\n", 1, -EBADMSG },
		{ "c2sp.org/tlog-proof@v1\n", 1, -EBADMSG },
		{ "c2sp.org/tlog-proof@v1\nindex 00\n", 1, -EBADMSG },
		{ "c2sp.org/tlog-proof@v1\nindex -1\n", 1, -EBADMSG },
		{ "c2sp.org/tlog-proof@v1\nindex 9223372036854775809\n", 1, -EBADMSG },
		{ "c2sp.org/tlog-proof@v1\nindex 9223372036854775808\n", 1, -ENODATA },
		{ "c2sp.org/tlog-proof@v1\nindex 1\n", 1, -ENODATA },
		{ "c2sp.org/tlog-proof@v1\nindex 2\n", 1, -ENODATA },
		{ "c2sp.org/tlog-proof@v1\nextra !\nindex 0\n", 1, -EBADMSG },
		{ "c2sp.org/tlog-proof@v1\nextra b25l\nextra b25l\nindex 0\n", 1, -EBADMSG },
		{ "c2sp.org/tlog-proof@v1\nindex 0\nextra b25l\n", 1, -EBADMSG },
		{ "c2sp.org/tlog-proof@v1\nindex 0\n", 0, -ENODATA },
		{ "c2sp.org/tlog-proof@v1\nindex 0\n", 2, -ENODATA },
		{ "c2sp.org/tlog-proof@v1\nindex 0\n", MERKLE_PATH_MAX, -ENODATA },
		{ "c2sp.org/tlog-proof@v1\nindex 0\n", MERKLE_PATH_MAX + 1, -EMSGSIZE },
		{ "c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n", 1, -EBADMSG },
	};
	struct signer s = signer_new("log");
	struct digest path[MERKLE_PATH_MAX + 1];
	struct tlog_proof p;

	for (size_t i = 0; i <= MERKLE_PATH_MAX; i++)
		path[i] = merkle_leaf(SPAN_LIT("two"));
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		add_proof(&b, &s, rows[i].head, path, rows[i].n_path);
		assert_int_equal(tlog_proof_verify(buf_span(&b), &s.vkey, SPAN_LIT("one"), &p, NULL), rows[i].r);
	}
	EVP_PKEY_free(s.key);
}

static void every_truncation_and_every_flipped_bit_of_a_proof_is_refused(void **state)
{
	struct signer s = signer_new("log");
	struct digest r = merkle_leaf(SPAN_LIT("two"));
	_cleanup_buf_ struct buf b = { 0 };
	struct tlog_proof p;

	add_proof(&b, &s, "c2sp.org/tlog-proof@v1\nextra b25l\nindex 0\n", &r, 1);
	for (size_t n = 0; n < b.n; n++)
		assert_true(tlog_proof_verify(SPAN(b.p, n), &s.vkey, SPAN_NONE, &p, NULL) < 0);
	for (size_t i = 0; i < 8 * b.n; i++) {
		b.p[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_true(tlog_proof_verify(buf_span(&b), &s.vkey, SPAN_NONE, &p, NULL) < 0);
		b.p[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	EVP_PKEY_free(s.key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_public_example_key_is_read_and_no_mangling_of_it),
		cmocka_unit_test(the_public_example_signature_verifies),
		cmocka_unit_test(checkpoints_are_judged_by_signature_then_by_shape),
		cmocka_unit_test(every_truncation_and_every_flipped_bit_is_refused),
		cmocka_unit_test(signatures_of_others_are_ignored_and_a_bad_one_of_ours_is_fatal),
		cmocka_unit_test(a_note_over_the_limit_is_refused),
		cmocka_unit_test(a_proof_is_about_the_entry_we_expect),
		cmocka_unit_test(proofs_of_a_wrong_shape_are_refused),
		cmocka_unit_test(every_truncation_and_every_flipped_bit_of_a_proof_is_refused),
	};

	return cmocka_run_group_tests_name("trust/tlog_note", tests, NULL, NULL);
}
