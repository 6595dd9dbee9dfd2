/* bench/load.h - what the files of coapload share. One process, one thread, one socket; nothing of libcoap or Dormouse
 * is used to make the traffic.
 *
 * load.c keeps operations outstanding and matches answers; load_request.c writes the datagrams; load_result.c counts. */
#pragma once
#include "message.h"

enum {
	REQUEST_BYTES_MAX = 1420, WINDOW_MAX = 65535, PEERS_MAX = 1000000, ENDPOINTS_MAX = 10000000, LINKS_MAX = 16,
	LOCATION_BYTES_MAX = 128, TEXT_BYTES_MAX = 256,
};

enum load_mode { LOAD_GET, LOAD_BLOCK, LOAD_REGISTER, LOAD_UPDATE };

struct load_config {
	enum load_mode mode;
	uint16_t port, from;                   /* from: source port; 0 = any */
	const char *path, *query;              /* {ep}, {rt} and {k} stand for the endpoint's name, a type, its number */
	uint8_t etag[8];
	size_t n_etag;
	unsigned window, peers, endpoints, links, types, szx, expect, retries;
	bool random, has_szx, non;
	uint64_t count, skip;                  /* operations in all, and how many of them are not measured */
	double duration_s, timeout_s;
	long body_bytes;                       /* each body must have; -1 = any */
	const char *locations;
	int pid;
};

struct slot {                                  /* one outstanding operation */
	uint8_t datagram[REQUEST_BYTES_MAX];
	size_t n, n_head;                      /* n_head: with what is the same for every block */
	unsigned last_option;
	bool active;
	uint16_t mid, generation;
	unsigned tries, szx;
	uint32_t peer, endpoint, received;
	uint64_t started_ns, sent_ns, timeout_ns;
	uint8_t etag[8];
	size_t n_etag;
};

extern struct load_config load;
extern char **load_location;                   /* of each endpoint; NULL = not registered */

uint64_t load_random(void);

/* load_request.c: write the first datagram of an operation, and the one for the block that follows what was received. */
void request_begin(struct slot *s, uint16_t index);
void request_seal(struct slot *s);

/* load_result.c */
struct histogram;
struct load_result {
	uint64_t ok, failed, code[256], messages, bytes, mismatched, timed_out, repeated, stray, send_errors, mid_wraps;
	struct histogram *operation, *first;
	double elapsed_s, cpu_s;
	long rss_kib[2];
};
void result_start(struct load_result *r);      /* from here on it is measured; what was counted before is dropped */
void result_end(struct load_result *r);
void result_print(const struct load_result *r);
void histogram_add(struct histogram *h, uint64_t ns);
uint64_t load_now_ns(void);
