#include "base/digest.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "base/text.h"

struct digest_stream {
	EVP_MD_CTX *ctx;
};

struct digest_stream *digest_stream_new(void)
{
	struct digest_stream *s = calloc(1, sizeof(*s));

	if (!s || !(s->ctx = EVP_MD_CTX_new()) || EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) != 1)
		abort();
	return s;
}

void digest_stream_add(struct digest_stream *s, struct span bytes)
{
	if (bytes.n && EVP_DigestUpdate(s->ctx, bytes.p, bytes.n) != 1)
		abort();
}

struct digest digest_stream_end(struct digest_stream *s)
{
	struct digest d;

	if (EVP_DigestFinal_ex(s->ctx, d.b, NULL) != 1)
		abort();
	return d;
}

struct digest_stream *digest_stream_free(struct digest_stream *s)
{
	if (s) {
		EVP_MD_CTX_free(s->ctx);
		free(s);
	}
	return NULL;
}

struct digest digest_of2(struct span a, struct span b)
{
	_cleanup_(digest_stream_freep) struct digest_stream *s = digest_stream_new();

	digest_stream_add(s, a);
	digest_stream_add(s, b);
	return digest_stream_end(s);
}

struct digest digest_of(struct span s)
{
	return digest_of2(s, SPAN_NONE);
}

size_t digest_sha2(unsigned bits, struct span s, uint8_t ret[static DIGEST_SHA2_BYTES_MAX])
{
	const EVP_MD *md = bits == 256 ? EVP_sha256() : bits == 384 ? EVP_sha384() : bits == 512 ? EVP_sha512() : NULL;
	unsigned n = 0;

	if (!md)
		return 0;
	if (EVP_Digest(s.n ? (const void *)s.p : "", s.n, ret, &n, md, NULL) != 1)
		abort();
	return n;
}

bool bytes_eq_ct(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || CRYPTO_memcmp(a.p, b.p, a.n) == 0);
}

bool digest_eq(const struct digest *a, const struct digest *b)
{
	return bytes_eq_ct(SPAN_OF(a->b), SPAN_OF(b->b));
}

bool digest_is_zero(const struct digest *d)
{
	static const struct digest zero;

	return digest_eq(d, &zero);
}

char *digest_hex(const struct digest *d, char ret[static DIGEST_HEX_BYTES])
{
	return text_hex(SPAN_OF(d->b), ret);
}

int digest_parse(struct span hex, struct digest *ret)
{
	return text_parse_hex(hex, ret->b, DIGEST_BYTES);
}

const uint8_t uuid_ns_dns[16] = { 0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8 };

void uuid5(const uint8_t ns[static 16], struct span name, uint8_t ret[static 16])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t sha1[EVP_MAX_MD_SIZE];

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) != 1 || EVP_DigestUpdate(ctx, ns, 16) != 1 ||
	    (name.n && EVP_DigestUpdate(ctx, name.p, name.n) != 1) || EVP_DigestFinal_ex(ctx, sha1, NULL) != 1)
		abort();
	EVP_MD_CTX_free(ctx);
	memcpy(ret, sha1, 16);
	ret[6] = (uint8_t)((ret[6] & 0x0f) | 0x50);
	ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80);
}

void uuid_of_vendor(struct span text, uint8_t ret[static 16])
{
	if (text_parse_uuid(text, ret) < 0)
		uuid5(uuid_ns_dns, text, ret);
}

void uuid_of_class(const uint8_t vendor[static 16], struct span text, uint8_t ret[static 16])
{
	if (text_parse_uuid(text, ret) < 0)
		uuid5(vendor, text, ret);
}
