/* codec/mcast_message.h - MCD's CBOR messages between one node and the gateway (man/dormouse-multicast.7, MCD-4,
 * MCD-8): session setup and its acknowledgement, the pull command, reports, and the list of missing blocks
 * (RFC 9177, Content-Format 272). Pure. Decoders run cbor_check() themselves, skip keys they do not know, and lend
 * spans of the input. Encoders write maps in key order. */
#pragma once
#include "base/buf.h"
#include "base/digest.h"
#include "codec/mcast_frame.h"

enum {
	MCAST_SETUP_BYTES_MAX = 1024,          /* one datagram; a longer generation digest table is read from mc/t */
	MCAST_ACK_BYTES_MAX = 128,
	MCAST_REPORT_BYTES_MAX = 64,           /* one link frame */
	MCAST_MISSING_BYTES_MAX = 1024,
	MCAST_PATH_BYTES_MAX = 128,
	MCAST_GENERATION_DIGEST_BYTES = 8,     /* first bytes of the SHA-256 of a generation without padding */
	MCAST_SETUP_TABLE_INLINE_MAX = 32,     /* generations: with more, leave the table out of the setup */
	MCAST_REPORT_DEFICITS_MAX = 20,
	MCAST_LIFETIME_S_DEFAULT = 604800, MCAST_LIFETIME_S_MAX = 31536000,
	MCAST_START_RELATIVE_MAX = 1 << 24,    /* a window start below is "seconds from now", else seconds since 1970 */
	MCAST_CT_MISSING_BLOCKS = 272,
	MCAST_BLOCK_BYTES = 64,                /* mc/i and the missing list count blocks of SZX 2 */
};

struct mcast_windows {
	uint64_t start_s;                      /* see MCAST_START_RELATIVE_MAX */
	uint32_t length_s, period_s, count;    /* count 0 (and all 0): no windows, listen as long as the session lives */
};

struct mcast_setup {
	struct mcast_sid sid;                  /* 1 */
	uint32_t size;                         /* 2 */
	struct digest digest;                  /* 3 */
	uint8_t z, log2_e, alg;                /* 4, 6, 7 */
	uint16_t k;                            /* 5 */
	struct span table;                     /* 8: G * MCAST_GENERATION_DIGEST_BYTES, or none: GET mc/t */
	uint8_t address[16];                   /* 9: the group, IPv6 (or ::ffff:a.b.c.d) */
	uint16_t port;
	uint8_t gid;                           /* 10 */
	bool has_key;                          /* 11: only inside a secured unicast message */
	uint8_t key[MCAST_KEY_BYTES];
	struct mcast_windows windows;          /* 12 */
	uint16_t pace_ms;                      /* 13 */
	uint8_t slot_ms;                       /* 14; 1 .. 255 */
	struct span envelope_path;             /* 15: path of this device's SUIT envelope at the gateway, or none */
	bool has_slot;                         /* 16: storage slot, or component index */
	uint32_t slot;
	uint32_t lifetime_s;                   /* 17; absent = default */
};

/* What the body of a POST mc is. */
enum mcast_post { MCAST_POST_SETUP, MCAST_POST_PULL };
/* An enum mcast_post, -EBADMSG not a strict CBOR map, -EMSGSIZE over MCAST_SETUP_BYTES_MAX. */
int mcast_post_kind(struct span in);

/* The geometry is checked (mcast_geometry_of()) and the table, when there, has its length. 0; -EBADMSG malformed, an item
 * missing or of another type; -ERANGE a value outside its limits (Z, K, E, gid, port 0, pace, slot, lifetime, windows, an address
 * that is not multicast); an alg that is not known is left to the node's ack. -EMSGSIZE over a byte limit; -EFBIG too many generations. */
int mcast_setup_decode(struct span in, struct mcast_setup *ret);
/* Writes item 8 when table.n, 11 when has_key, 15 when envelope_path.n, 16 when has_slot, 17 when not the default. ret holds the key
 * then (in one allocation, nothing left behind by growing): wipe it before it goes. */
void mcast_setup_encode(const struct mcast_setup *s, struct buf *ret);

/* { 1: sid, 18: 1 }: fetch what you miss from mc/i. */
int mcast_pull_decode(struct span in, struct mcast_sid *ret);
void mcast_pull_encode(const struct mcast_sid *sid, struct buf *ret);

enum mcast_ack_code {
	MCAST_ACK_ACCEPTED, MCAST_ACK_NO_SPACE, MCAST_ACK_K, MCAST_ACK_Z, MCAST_ACK_ALG, MCAST_ACK_HAVE_IT, MCAST_ACK_BUSY,
	MCAST_ACK_DEFERRED, MCAST_ACK_NO_KEY, MCAST_ACK_BAD_MANIFEST,
	MCAST_ACK_COUNT
};

struct mcast_ack {
	struct mcast_sid sid;                  /* 1 */
	enum mcast_ack_code code;              /* 2 */
	uint16_t l, k_max;                     /* 3, 4; 0 = not said */
	uint8_t z_max;                         /* 5; 0 = not said */
	struct span complete;                  /* 6: bit g (least significant first) = generation g is complete; may be shorter than G bits */
};

/* 0; -EBADMSG, -ERANGE (a code that is none, numbers over K's, M's and Z's limits), -EMSGSIZE. */
int mcast_ack_decode(struct span in, struct mcast_ack *ret);
void mcast_ack_encode(const struct mcast_ack *a, struct buf *ret);
const char *mcast_ack_name(enum mcast_ack_code code);          /* "no space" */
/* The CoAP response code that goes with it, as class * 100 + detail: 201, 413, 422, 409, 403. */
unsigned mcast_ack_coap_code(enum mcast_ack_code code);

enum mcast_report_flags {
	MCAST_REPORT_DONE = 1,                 /* complete and the digest is right */
	MCAST_REPORT_DIGEST_FAILED = 2,
	MCAST_REPORT_MORE = 4,                 /* more deficits than listed */
	MCAST_REPORT_LOW_ENERGY = 8,
	MCAST_REPORT_NEEDS_DESCRIPTOR = 16,
	MCAST_REPORT_CORE_ONLY = 32,           /* a stock TS004 core: no trim */
};

struct mcast_report {
	struct mcast_sid sid;
	uint8_t seq;                           /* of the STATUS answered; 0 = unsolicited */
	uint16_t loss_permille;                /* first pass, 0 .. 1000 */
	uint32_t flags;                        /* enum mcast_report_flags; others are kept and mean nothing */
	size_t n_deficits;
	struct mcast_report_deficit { uint8_t g; uint16_t d; } deficits[MCAST_REPORT_DEFICITS_MAX];   /* worst first; d >= 1 */
};

/* 0; -EBADMSG, -ERANGE (seq, loss, g or d outside), -EMSGSIZE (over MCAST_REPORT_BYTES_MAX or too many deficits). */
int mcast_report_decode(struct span in, struct mcast_report *ret);
/* At most MCAST_REPORT_BYTES_MAX bytes: deficits at the end of the list that do not fit are left out and MCAST_REPORT_MORE is set. */
void mcast_report_encode(const struct mcast_report *r, struct buf *ret);

/* Missing blocks of MCAST_BLOCK_BYTES each: a CBOR sequence of block numbers. `bits` has one bit for each of n_blocks, least significant
 * first. Decoding sets bits and returns how many it set that were clear; -EBADMSG malformed or empty, -ERANGE a number >= n_blocks
 * (bits may be changed then), -EMSGSIZE over MCAST_MISSING_BYTES_MAX. Encoding takes as many as fit, from block `first` on, ascending,
 * and returns the block to go on with, n_blocks when all are told. */
int mcast_missing_decode(struct span in, uint8_t *bits, uint32_t n_blocks);
uint32_t mcast_missing_encode(const uint8_t *bits, uint32_t n_blocks, uint32_t first, struct buf *ret);
