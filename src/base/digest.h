/* base/digest.h - SHA-256, the name of every image (RFC 9019) and the mandatory SUIT
 * digest. The hash itself is OpenSSL's. Pure but for the streaming context, which
 * allocates; usable from any thread. */
#pragma once
#include "base/cleanup.h"
#include "base/span.h"

enum { DIGEST_BYTES = 32, DIGEST_HEX_BYTES = 65 };

struct digest {
	uint8_t b[DIGEST_BYTES];
};

struct digest_stream;

struct digest digest_of(struct span s);
struct digest digest_of2(struct span a, struct span b);        /* of the concatenation */
bool digest_eq(const struct digest *a, const struct digest *b); /* constant time */
char *digest_hex(const struct digest *d, char ret[static DIGEST_HEX_BYTES]);
int digest_parse(struct span hex, struct digest *ret);          /* 64 hex digits or -EBADMSG */
bool digest_is_zero(const struct digest *d);

struct digest_stream *digest_stream_new(void);
void digest_stream_add(struct digest_stream *s, struct span bytes);
struct digest digest_stream_end(struct digest_stream *s);       /* may be read once; then only free */
struct digest_stream *digest_stream_free(struct digest_stream *s);

/* SHA-256, SHA-384 or SHA-512 by its bits: the length of the digest, or 0 for any other number. */
enum { DIGEST_SHA2_BYTES_MAX = 64 };
size_t digest_sha2(unsigned bits, struct span s, uint8_t ret[static DIGEST_SHA2_BYTES_MAX]);

/* Constant-time comparison of equal-length secrets or tags. */
bool bytes_eq_ct(struct span a, struct span b);

/* Name-based UUID, version 5 (RFC 9562 5.5): SUIT's vendor id is uuid5(uuid_ns_dns, domain), its class id
 * uuid5(vendor id, class name). SHA-1 here is a naming rule, not a protection. */
extern const uint8_t uuid_ns_dns[16];
void uuid5(const uint8_t ns[static 16], struct span name, uint8_t ret[static 16]);
/* What people write for a vendor: a UUID, or a domain; and for a class of it: a UUID, or a name. */
void uuid_of_vendor(struct span text, uint8_t ret[static 16]);
void uuid_of_class(const uint8_t vendor[static 16], struct span text, uint8_t ret[static 16]);

static inline void digest_stream_freep(struct digest_stream **s) { digest_stream_free(*s); }
