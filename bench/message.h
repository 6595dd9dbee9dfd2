/* bench/message.h - as much of a CoAP message (RFC 7252 section 3) as the load generator and the limits need: options
 * read and written in order. No allocation; a request that is not well-formed is not answered. */
#pragma once
#include "base/span.h"

enum {
	MESSAGE_CON = 0, MESSAGE_NON = 1, MESSAGE_ACK = 2, MESSAGE_RST = 3,
	MESSAGE_GET = 1, MESSAGE_POST = 2,
	MESSAGE_201 = 0x41, MESSAGE_204 = 0x44, MESSAGE_205 = 0x45, MESSAGE_400 = 0x80, MESSAGE_404 = 0x84,
	OPT_ETAG = 4, OPT_LOCATION_PATH = 8, OPT_URI_PATH = 11, OPT_CONTENT_FORMAT = 12, OPT_URI_QUERY = 15, OPT_BLOCK2 = 23,
	OPT_BLOCK1 = 27,
	MESSAGE_BYTES_MAX = 2048, MESSAGE_TOKEN_BYTES_MAX = 8, MESSAGE_SZX_MAX = 6,
};

struct message {                               /* read; spans borrow from the datagram */
	unsigned type, code;
	uint16_t mid;
	struct span token;
	const uint8_t *option, *end;           /* where message_option() goes on */
	unsigned number;
	bool bad;
	struct span payload;                   /* once the options are through */
};

struct block {
	uint32_t num;
	bool more;
	unsigned szx;
};

/* False: not a message of version 1. */
bool message_read(struct span in, struct message *ret);
/* The next option; false at the end (m->payload is set) or where it breaks (m->bad). */
bool message_option(struct message *m, unsigned *ret_number, struct span *ret);
bool block_read(struct span v, struct block *ret);

/* The head of an answer to m: piggybacked for CON. Returns its length. */
size_t message_answer(const struct message *m, unsigned code, uint8_t *out);
/* Both return what follows the option; *last is the number before it. The caller has the room. */
uint8_t *option_put(uint8_t *p, unsigned *last, unsigned number, struct span v);
uint8_t *option_put_uint(uint8_t *p, unsigned *last, unsigned number, uint32_t v);
uint32_t block_value(const struct block *b);
