/* codec/router_advert.h - Router Advertisements and Solicitations (RFC 4861 sections 4.1, 4.2), with the options that a gateway offers
 * a prefix by: source link-layer address, MTU, prefix information, and the 6LoWPAN context of RFC 6775. From the ICMPv6 type on; the
 * checksum is the kernel's. Pure. */
#pragma once
#include "base/buf.h"

enum { ROUTER_PREFIXES_MAX = 4, ROUTER_CONTEXTS_MAX = 4, ROUTER_LLADDR_BYTES_MAX = 14, ROUTER_OPTIONS_MAX = 64, ICMP6_RS = 133, ICMP6_RA = 134 };
enum { ROUTER_LIFETIME_S_MAX = 9000, ROUTER_FOREVER_S = 0xffffffff };

struct router_prefix {
	uint8_t prefix[16], bits;
	bool on_link, autonomous;
	uint32_t valid_s, preferred_s;         /* ROUTER_FOREVER_S = for ever */
};

struct router_context {                        /* RFC 6775 section 4.2 */
	uint8_t prefix[16], bits, id;          /* bits: up to 128; id: 0 to 15 */
	bool compress;
	uint16_t lifetime_min;
};

struct router_advert {
	uint8_t hop_limit;                     /* 0 = not said */
	bool managed, other;
	uint16_t lifetime_s;                   /* 0 = not a default router */
	uint32_t reachable_ms, retrans_ms, mtu;        /* 0 = not said */
	uint8_t lladdr[ROUTER_LLADDR_BYTES_MAX];
	size_t n_lladdr;                       /* 0 = none. What is decoded may have zeros at its end: options have no other length */
	struct router_prefix prefixes[ROUTER_PREFIXES_MAX];
	size_t n_prefixes;
	struct router_context contexts[ROUTER_CONTEXTS_MAX];
	size_t n_contexts;
};

/* -EINVAL: a count, a length or a lifetime over its limit. */
int router_advert_encode(const struct router_advert *a, struct buf *ret);
/* -EBADMSG; -E2BIG more prefixes or contexts than fit. Unknown options are passed over. */
int router_advert_decode(struct span in, struct router_advert *ret);
/* A solicitation, whose options must be well-formed. -EBADMSG. */
int router_solicit_decode(struct span in);
