/* io/udp.h - a plain datagram socket for protocols that have no library: to one peer, or as a server for many. IPv6 and IPv4.
 * Loop thread. */
#pragma once
#include "io/loop.h"

enum { UDP_ADDRESS_TEXT_BYTES = 80, UDP_DATAGRAM_BYTES_MAX = 2048, UDP_TURN_MAX = 64, UDP_PEER_BYTES = 28 };

struct udp_address {                           /* of a peer; opaque but for comparing and answering */
	uint8_t sockaddr[UDP_PEER_BYTES];
	uint32_t n;
};

/* "192.0.2.1", "192.0.2.1:1337", "2001:db8::1", "[2001:db8::1]:1337", "[fe80::1%lowpan0]:1337"; without a port, port. Numbers only:
 * names are not looked up. -EINVAL; -ENODEV: there is no interface of that name. */
int udp_address_parse(struct span text, uint16_t port, struct udp_address *ret);
const char *udp_address_text(const struct udp_address *a, char ret[static UDP_ADDRESS_TEXT_BYTES]);

/* Which address of ours goes to `to`, as the routes stand now. -ENETUNREACH and the like. */
int udp_source(const struct udp_address *to, struct udp_address *ret);
/* The 16 bytes of the address, IPv4 mapped; and for link-local ones the interface's index, else 0. */
unsigned udp_address_bytes(const struct udp_address *a, uint8_t ret[static 16]);

struct udp;
/* May close the socket. */
typedef void udp_fn(void *ctx, const struct udp_address *from, struct span datagram);

/* To one peer: only what comes from there is heard. */
int udp_connect(struct loop *l, const struct udp_address *peer, udp_fn *fn, void *ctx, struct udp **ret);
/* A server; port 0 picks one, see udp_local(). */
int udp_listen(struct loop *l, const struct udp_address *local, udp_fn *fn, void *ctx, struct udp **ret);
struct udp *udp_close(struct udp *u);
/* to NULL: the peer. 0; -errno when it was not sent, which with UDP tells little. */
int udp_send(struct udp *u, const struct udp_address *to, struct span datagram);
int udp_local(const struct udp *u, struct udp_address *ret);
