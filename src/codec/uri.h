/* codec/uri.h - URIs and references to them (RFC 3986): parse, resolve, compare, percent-coding,
 * and what CoAP asks of them (RFC 7252 section 6, the Limited Link Format of RFC 9176). Pure; parsed
 * parts borrow from the text. */
#pragma once
#include "base/buf.h"

enum { URI_BYTES_MAX = 2048 };

enum uri_flags { URI_IRI = 1 };                /* bytes over 0x7f are fine if they are UTF-8 (link-format documents) */

struct uri {
	struct span scheme;                    /* empty = relative reference */
	struct span authority;                 /* with user info and port */
	struct span userinfo, host, path, query, fragment;
	bool has_authority, has_userinfo, has_query, has_fragment;
	bool host_is_ip6;                      /* host is what stands between [ and ] */
	bool has_port;
	uint16_t port;                         /* given, or the scheme's default, or 0 */
};

/* A URI or a relative reference. -EBADMSG; -EMSGSIZE over URI_BYTES_MAX. A zone id in an address is -EBADMSG. */
int uri_parse(struct span text, unsigned flags, struct uri *ret);
/* ref against base by RFC 3986 5.2.2 (strict); base must be absolute. Appends to ret. -EBADMSG, -EMSGSIZE. */
int uri_resolve(struct span base, struct span ref, unsigned flags, struct buf *ret);
/* A reference as RFC 9176 appendix C allows: a full URI, or a path that begins with one "/". */
bool uri_is_limited(struct span ref);
/* "scheme://authority" of an absolute URI that has one; empty otherwise. */
struct span uri_origin(struct span uri);
/* coap, coaps, http, https and the TCP forms of CoAP; 0 = not known. */
uint16_t uri_default_port(struct span scheme);
/* Case-blind, as schemes and hosts are compared. */
bool uri_text_eq(struct span a, struct span b);
/* pattern is a host, or "*.example.com" for whatever is below it. */
bool uri_host_matches(const struct uri *u, struct span pattern);
/* The address of the host when it is a literal: 4 or 16 bytes in ret, their number returned; 0 = a name. */
size_t uri_host_address(const struct uri *u, uint8_t ret[static 16]);
/* Loopback, private, link-local, unspecified or multicast literal, or "localhost". */
bool uri_host_is_local(const struct uri *u);
/* fe80::/10 or 169.254.0.0/16. */
bool uri_host_is_link_local(const struct uri *u);

/* Appends in with %XX undone; -EBADMSG for a broken escape. */
int uri_decode(struct span in, struct buf *ret);
/* Appends in, escaping all but unreserved characters and those in keep. */
void uri_encode(struct span in, const char *keep, struct buf *ret);
/* Splits "a/b" or "x=1&y" at sep; *rest starts as the text, its p becomes NULL after the last piece.
 * An empty text is one empty piece, as RFC 7252 6.4 splits it. False at the end. */
bool uri_piece_next(struct span *rest, char sep, struct span *ret);
/* The same URI in one spelling (RFC 3986 6.2.2, 6.2.3): case of scheme, host and escapes, needless escapes,
 * dot segments, default port. Appends to ret. */
int uri_normalize(struct span text, struct buf *ret);
