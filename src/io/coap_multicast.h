/* io/coap_multicast.h - the multicast data plane (man/dormouse-multicast.7): frames as NON POST /m without a token, sent to a group
 * from a datagram socket of their own and received on another. No sessions, no answers, ever, and no libcoap: the message has one
 * shape. Nothing here knows what a frame means.
 *
 * The same code takes a unicast address, which is neither joined nor given a scope (tests on loopback); who reads a configuration
 * refuses those with coap_multicast_is_group(). Loop thread. */
#pragma once
#include "io/coap.h"
#include "io/loop.h"

enum {
	COAP_MULTICAST_FRAME_BYTES_MAX = 256,  /* one link frame, and the largest that wide links carry (Z = 232) */
	COAP_MULTICAST_ADDRESS_BYTES = 16,
	COAP_MULTICAST_RING = 32,              /* messages (source, Message ID) remembered, so that repeats by the network are dropped */
	COAP_MULTICAST_TURN_MAX = 64,          /* datagrams read in one turn of the loop */
};

struct coap_multicast_group {
	const char *interface;                 /* its name; "" or NULL: the system chooses (unicast and tests only) */
	uint8_t address[COAP_MULTICAST_ADDRESS_BYTES];  /* IPv4 is mapped */
	uint16_t port;
	uint8_t hop_limit;                     /* of what is sent; 0 = 1 */
	bool loop;                             /* what is sent also reaches receivers on this machine */
};

/* "ff03::4d43" or "239.1.2.3" or a unicast address, no zone, to 16 bytes. -EINVAL. */
int coap_multicast_address_parse(struct span text, uint8_t ret[static COAP_MULTICAST_ADDRESS_BYTES]);
/* Back to text; ret holds COAP_ADDR_TEXT_BYTES. */
void coap_multicast_address_text(const uint8_t address[static COAP_MULTICAST_ADDRESS_BYTES], char *ret);
/* Whether it is a group's, and one that image data may go to: not ff0X::1, ff0X::2, ff0X::fd, 224.0.0.0/24 or 224.0.1.187, which
 * name devices that did not ask for it. */
bool coap_multicast_is_group(const uint8_t address[static COAP_MULTICAST_ADDRESS_BYTES]);

/* ---- the sender ---- */
struct coap_multicast_sender;

/* g is borrowed for the call. -ENODEV no such interface; -EADDRNOTAVAIL it has no address of this family; -EINVAL. */
int coap_multicast_sender_open(const struct coap_multicast_group *g, struct coap_multicast_sender **ret);
struct coap_multicast_sender *coap_multicast_sender_close(struct coap_multicast_sender *s);
/* One frame, at once. 0; -EAGAIN: queues are full, the same frame again later; -EMSGSIZE over COAP_MULTICAST_FRAME_BYTES_MAX; -ENODEV,
 * -ENETDOWN, -ENETUNREACH, -EADDRNOTAVAIL: the interface went away or lost its address: close, and open again when it is back. */
int coap_multicast_send(struct coap_multicast_sender *s, struct span frame);

/* ---- the receiver ---- */
struct coap_multicast_receiver;

struct coap_multicast_heard {
	struct span frame;                     /* borrowed for the call; 1..COAP_MULTICAST_FRAME_BYTES_MAX bytes */
	uint8_t from[COAP_MULTICAST_ADDRESS_BYTES];
	uint16_t from_port;
};

/* May close the receiver. */
typedef void coap_multicast_fn(void *ctx, const struct coap_multicast_heard *h);

struct coap_multicast_counts {
	uint64_t frames, repeats, bad;         /* handed on; dropped as a repeat; dropped as not NON POST /m, or too long */
};

/* Several receivers of one process or machine may join the same group and port; each hears every frame. Errors as the sender's.
 * What arrives is dropped unless it came to g->address (and by g->interface), is CoAP NON POST, without a token, with the path "m" and
 * no critical option besides, and with a payload. Nothing is ever answered. */
int coap_multicast_receiver_open(struct loop *l, const struct coap_multicast_group *g, coap_multicast_fn *fn, void *ctx,
				 struct coap_multicast_receiver **ret);
struct coap_multicast_receiver *coap_multicast_receiver_close(struct coap_multicast_receiver *r);
struct coap_multicast_counts coap_multicast_receiver_counts(const struct coap_multicast_receiver *r);
/* The port bound (when g->port was 0). */
uint16_t coap_multicast_receiver_port(const struct coap_multicast_receiver *r);
/* Fraction of what arrives that is thrown away here, for simulation; seeded, so it can be repeated. */
void coap_multicast_receiver_set_loss(struct coap_multicast_receiver *r, double fraction, uint64_t seed);

/* ---- the message alone, for tests and fuzzing ---- */
/* Writes a whole message; its length. -EMSGSIZE. */
int coap_multicast_encode(uint16_t message_id, struct span frame, uint8_t *ret, size_t max);
/* The frame in a datagram (borrowed) and its Message ID. -EBADMSG: not what receivers take. */
int coap_multicast_decode(struct span datagram, uint16_t *ret_message_id, struct span *ret_frame);
