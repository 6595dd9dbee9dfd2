/* radio/lowpan.h - IPv6 links of constrained nodes: which are there (6LoWPAN on 802.15.4, on BLE, a Thread border router's interface),
 * their neighbours, counters and airtime, as the kernel tells by netlink; and those of the configuration made, set up and offered a
 * prefix on. An interface is known by its name: it may vanish and come back with another index, and is then set up again.
 *
 * Never fails for want of a radio or of a right: what is missing is in the views. Loop thread. */
#pragma once
#include "io/loop.h"
#include "radio/airtime.h"

enum {
	LOWPAN_NAME_BYTES = 16, LOWPAN_MAX = 16, LOWPAN_PEERS_MAX = 32, LOWPAN_STATE_BYTES = 256,
	LOWPAN_INTERFACES_MAX = 256, LOWPAN_ADDRESSES_MAX = 1024, LOWPAN_NEIGHBOURS_MAX = 4096,
	LOWPAN_PAN_ANY = 0xffff, LOWPAN_SHORT_ANY = 0xffff, LOWPAN_CHANNEL_ANY = 255,  /* leave as it is */
	LOWPAN_BLOCK_802154 = 64, LOWPAN_BLOCK_THREAD = 64, LOWPAN_BLOCK_BLE = 256,    /* bytes, unless block_bytes says otherwise */
	LOWPAN_DATAGRAM_BYTES_MAX = 1232,      /* of UDP, in IPv6's smallest packet of 1280 (SLP-2) */
};

enum lowpan_kind { LOWPAN_OTHER, LOWPAN_802154, LOWPAN_BLE, LOWPAN_THREAD, LOWPAN_KIND_COUNT };
const char *lowpan_kind_name(enum lowpan_kind k);

struct lowpan_settings {                       /* copied */
	char interface[LOWPAN_NAME_BYTES];
	enum lowpan_kind kind;
	bool create;
	char parent[LOWPAN_NAME_BYTES];        /* create: the radio's interface */
	uint32_t pan_id, short_address, page, channel;
	bool has_key;                          /* a link-layer key was given: refused, see lowpan_plan.h */
	uint8_t address[16], address_bits;     /* bits 0 = none */
	bool advertise;                        /* the prefix of address, by router advertisements */
	uint32_t block_bytes;                  /* 0 = as usual for the kind */
	uint32_t airtime_permille;             /* of an hour; 0 = no budget */
	char peers[LOWPAN_PEERS_MAX][28];      /* BLE: "AA:BB:CC:DD:EE:FF", led by "random " or not */
	size_t n_peers;
};

struct lowpan_view {
	char name[LOWPAN_NAME_BYTES];
	enum lowpan_kind kind;
	unsigned index;                        /* 0 = not there */
	bool is_up, is_configured;
	uint32_t mtu, block_bytes;
	char parent[LOWPAN_NAME_BYTES];
	int pan_id, short_address, page, channel;      /* WPAN_UNKNOWN (-1) what is not known */
	char address[52];                      /* the first one that is not link-local, with its prefix length; "" = none */
	bool is_advertising;
	size_t n_neighbours;
	char state[LOWPAN_STATE_BYTES];        /* "ready", or what stands against it */
	bool has_error;
	uint64_t rx_packets, tx_packets, rx_bytes, tx_bytes;
	uint64_t airtime_us, airtime_total_us; /* of the last hour; since start */
	uint32_t airtime_permille;
	enum airtime_level level;
	uint32_t wait_s;
};

struct lowpan_neighbour_view {
	char address[46], lladdr[48];
	const char *state;                     /* "reachable", "stale", ... */
};

struct lowpan;

struct lowpan_ops {                            /* each may be NULL */
	void (*interface)(void *ctx, const char *name, enum lowpan_kind kind, bool is_up);    /* appeared, up, down, gone (not up) */
	void (*level)(void *ctx, const char *name, enum airtime_level level);         /* its budget changed its mind */
};

/* Where the kernel's netlink cannot be had: *ret_error, and a lowpan that sees nothing. */
struct lowpan *lowpan_new(struct loop *l, const struct lowpan_ops *ops, void *ctx, int *ret_error);
struct lowpan *lowpan_free(struct lowpan *p);  /* what was made stays as it is */
void lowpan_set(struct lowpan *p, const struct lowpan_settings *s, size_t n);  /* at start, after a reload */

/* Radios: every interface of a kind, and every configured one, in order of name. NULL after = first; false = no more. p may be NULL. */
bool lowpan_next(const struct lowpan *p, const char *after, struct lowpan_view *ret);
/* Neighbours of one: as many as there are, of which the first max are in ret. */
size_t lowpan_neighbours(const struct lowpan *p, const char *name, struct lowpan_neighbour_view *ret, size_t max);

/* ---- by the interface that a peer was heard on ---- */

/* The most bytes of a block for whoever is behind it; 0 = no wish (not a radio, or not known). */
size_t lowpan_block_bytes(const struct lowpan *p, unsigned index);
/* The radio's name and what its budget says; "" = not a radio. Borrowed until the loop turns. */
const char *lowpan_name(const struct lowpan *p, unsigned index);
enum airtime_level lowpan_level(const struct lowpan *p, const char *name, uint32_t *ret_wait_s);       /* free when not known */
/* The interface that has this address of ours; 0 = none. */
unsigned lowpan_index_of(const struct lowpan *p, const uint8_t address[static 16]);
