/* config/syntax.h - what strings in the configuration must look like. Pure. */
#pragma once
#include "config/schema.h"

struct listen_address {
	bool secure;                           /* coaps:// */
	bool is_unix;
	bool is_loopback;
	struct span host;                      /* numeric, without brackets; unix: the path */
	uint16_t port;
};

/* NULL when s is right, otherwise what would be right. */
const char *syntax_check(const struct schema_key *k, struct span s);
/* "coap://[::1]:5683", "coaps://192.0.2.1:5684"; the port may be left out. */
int syntax_coap_address(struct span s, struct listen_address *ret);
/* "127.0.0.1:8080", "[::1]:8080", "unix:/run/x.sock". */
int syntax_http_address(struct span s, struct listen_address *ret);
