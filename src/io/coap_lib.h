/* io/coap_lib.h - what endpoint and client share of libcoap: process-wide set-up, addresses, the
 * sockets it hides, turning its epoll set. Internal to io/; the only header with libcoap's types
 * besides coap_endpoint_priv.h. */
#pragma once
#include <coap3/coap.h>

#include "io/coap.h"

enum { COAP_TOKEN_BYTES_MAX = 8 };

/* A peer as the transport sees it, all bytes defined: usable as a hash key. */
struct coap_peer_key {
	uint8_t addr[16];              /* IPv4 is mapped */
	uint16_t port, local_port;
	uint32_t scope;
	uint64_t session;              /* DTLS: the session; plain UDP: 0, the address says all */
};

struct coap_uri {
	bool secure;
	char host[256];                /* without brackets, with a zone when given */
	uint16_t port;                 /* 5683 or 5684 when absent */
};

/* Once per process: start libcoap, its random source (getrandom, T21) and its log (to ours, at debug). */
void coap_lib_start(void);
/* "coap://host[:port]" and "coaps://...", a trailing "/" allowed. -EINVAL; -EMSGSIZE host too long. */
int coap_uri_parse(struct span text, struct coap_uri *ret);
/* A literal address, or a name when by_name (blocks in the resolver). -EINVAL, -ENOENT. */
int coap_lib_resolve(const struct coap_uri *uri, bool by_name, coap_address_t *ret);
void coap_lib_key_of(const coap_address_t *remote, uint16_t local_port, struct coap_peer_key *ret);
void coap_lib_peer_key(const coap_session_t *session, struct coap_peer_key *ret);
/* Everything but session and identity. */
void coap_lib_peer(const coap_session_t *session, struct coap_peer *ret);
/* "[2001:db8::1]:5683", "192.0.2.1:5683" (also for a mapped address). */
void coap_lib_address_text(const struct sockaddr *sa, char ret[static COAP_ADDR_TEXT_BYTES]);
/* The datagram socket of ctx bound to the local address `local` (NULL: any) and not among known[];
 * hint is tried first (-1 = none). -ENOENT. */
int coap_lib_find_socket(const coap_context_t *ctx, const coap_address_t *local, int hint, const int *known,
			 size_t n_known);
/* Whether the address is one of this machine's. */
bool coap_lib_is_local(const coap_address_t *addr);

bool coap_lib_add_uint(coap_pdu_t *pdu, coap_option_num_t number, uint64_t value);
bool coap_lib_add_bytes(coap_pdu_t *pdu, coap_option_num_t number, struct span value);
/* The segments of "a/b", percent-decoded, as Uri-Path options. */
bool coap_lib_add_path(coap_pdu_t *pdu, const char *path);
struct span coap_lib_option(const coap_opt_t *opt);
uint64_t coap_lib_uint(const coap_opt_t *opt);
