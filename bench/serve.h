/* bench/serve.h - the cheapest loop there is around a UDP socket: recvmmsg, an answer for each datagram, sendmmsg. For the
 * limits; no sessions, no deduplication, no retransmission. */
#pragma once
#include <netinet/in.h>

#include "message.h"

/* Returns the length of the answer in out (MESSAGE_BYTES_MAX), 0 = none. */
typedef size_t serve_fn(struct span in, const struct sockaddr_in *from, uint8_t *out);

/* On 127.0.0.1 until SIGTERM or SIGINT. Returns the exit status. */
int serve(uint16_t port, serve_fn *answer);
