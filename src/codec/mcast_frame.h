/* codec/mcast_frame.h - MCD's binary frames, the payloads of NON POST /m (man/dormouse-multicast.7, MCD-5), and their
 * MIC (MCD-10). Integers are little-endian, as in TS004. Pure; no allocation; decoded spans borrow from the input.
 *
 * A frame is  body | MIC.  Encoders write the body and return its length; the MIC over (sid | body) has
 * mcast_mic_bytes(type) bytes and is appended by whoever holds the key: mcast_frame_seal(). Decoders split the MIC off
 * and do not check it: a receiver finds the session by sid8, then mcast_frame_check(). */
#pragma once
#include "base/mac.h"
#include "base/span.h"

enum {
	MCAST_SID_BYTES = 8, MCAST_SID_HEX_BYTES = 2 * MCAST_SID_BYTES + 1,
	MCAST_KEY_BYTES = 16,                  /* a group key */
	MCAST_MIC_DATA_BYTES = 4, MCAST_MIC_CONTROL_BYTES = 8,
	MCAST_DATA_HEAD_BYTES = 5,             /* type sid8 g IN(2) */
	MCAST_STATUS_DEFICITS_MAX = 24,
	MCAST_FRAGMENT_BYTES_MAX = 232,        /* = MCAST_Z_MAX: with all around it a message of 256 bytes */
	MCAST_BODY_BYTES_MAX = MCAST_DATA_HEAD_BYTES + MCAST_FRAGMENT_BYTES_MAX,
	MCAST_FRAME_BYTES_MAX = MCAST_BODY_BYTES_MAX + MCAST_MIC_CONTROL_BYTES,
	MCAST_N_MAX = 16383,                   /* fragment number: 14 bits */
	MCAST_STATUS_DEFICIT_MAX = 255,        /* on the wire: 255 says 255 or more */
};

/* Session id: the group's session counter (4 bytes, big-endian, strictly increasing), then 4 random bytes; the last byte
 * is sid8, unique among the live sessions of the group. */
struct mcast_sid {
	uint8_t b[MCAST_SID_BYTES];
};

static inline uint8_t mcast_sid8(const struct mcast_sid *sid) { return sid->b[MCAST_SID_BYTES - 1]; }
static inline uint32_t mcast_sid_counter(const struct mcast_sid *s)
{
	return (uint32_t)s->b[0] << 24 | (uint32_t)s->b[1] << 16 | (uint32_t)s->b[2] << 8 | s->b[3];
}
static inline bool mcast_sid_eq(const struct mcast_sid *a, const struct mcast_sid *b) { return memcmp(a->b, b->b, MCAST_SID_BYTES) == 0; }
struct mcast_sid mcast_sid_of(uint32_t counter, uint32_t random);
char *mcast_sid_hex(const struct mcast_sid *sid, char ret[static MCAST_SID_HEX_BYTES]);
int mcast_sid_parse(struct span hex, struct mcast_sid *ret);   /* 16 hex digits or -EBADMSG */

enum mcast_type { MCAST_STATUS = 0x01, MCAST_DATA = 0x08, MCAST_ANNOUNCE = 0x42, MCAST_END = 0x43 };

struct mcast_data {
	uint8_t g;
	uint16_t n;                            /* 1 .. M_g systematic, M_g + row for parity */
	struct span fragment;                  /* 1 .. MCAST_FRAGMENT_BYTES_MAX bytes; that it is Z is the caller's check */
};

enum mcast_status_flags { MCAST_STATUS_ALL = 1, MCAST_STATUS_ECHO = 2 };   /* Participants; repeats the same seq */

struct mcast_status {
	uint8_t seq;                           /* 1 .. 255; 0 is never used: it means "unsolicited" in a report */
	uint8_t flags;                         /* enum mcast_status_flags; other bits are 0 when sent, ignored when read */
	uint8_t prob;                          /* answer with probability (prob + 1) / 256 */
	uint16_t window_slots;                 /* W */
	uint16_t n_expected;                   /* nest: expected reporters, as an estimate */
	uint8_t n_deficits;
	struct mcast_status_deficit { uint8_t g, d; } deficits[MCAST_STATUS_DEFICITS_MAX];   /* what the gateway already knows */
};

struct mcast_announce {
	struct mcast_sid sid;
	uint32_t size;
	uint8_t z, log2_e, alg;
	uint16_t k;                            /* a multiple of 8 */
	uint8_t digest16[16];                  /* the first half of the object's SHA-256 */
	uint32_t start_s;                      /* seconds until the window; 0 = it is open */
	uint16_t length_s;                     /* its length; 0 = no windows, 65535 = that or longer */
	uint16_t pace_ms;
	uint8_t gfirst, glast;                 /* generations of this window */
	uint8_t slot_ms;
	uint8_t gid;
};

enum mcast_end { MCAST_END_COMPLETE = 0, MCAST_END_ABORT = 1, MCAST_END_REPLACED = 2, MCAST_END_WINDOW = 3 };

struct mcast_frame {
	enum mcast_type type;
	uint8_t sid8;
	struct span body, mic;
	union {
		struct mcast_data data;
		struct mcast_status status;
		struct mcast_announce announce;
		enum mcast_end end;
	};
};

/* Bytes of the MIC of a frame type; 0 for a type that is none. */
size_t mcast_mic_bytes(unsigned type);

/* 0; -EBADMSG too short, too long, trailing or missing bytes, a value outside its field's meaning (N = 0, bits 15:14 of
 * IN that are not g & 3, a STATUS seq of 0, more than MCAST_STATUS_DEFICITS_MAX deficits or a generation twice, a sid whose last byte
 * is not sid8, K = 0, Z = 0, gfirst > glast); -ENOTSUP a type or END reason that is not known. Everything is dropped in silence. */
int mcast_frame_decode(struct span in, struct mcast_frame *ret);

/* The body into ret; returns its length. Values outside the limits are our bug (assert). */
size_t mcast_data_encode(uint8_t sid8, const struct mcast_data *d, uint8_t ret[static MCAST_BODY_BYTES_MAX]);
size_t mcast_status_encode(uint8_t sid8, const struct mcast_status *s, uint8_t ret[static MCAST_BODY_BYTES_MAX]);
size_t mcast_announce_encode(const struct mcast_announce *a, uint8_t ret[static MCAST_BODY_BYTES_MAX]);
size_t mcast_end_encode(uint8_t sid8, enum mcast_end reason, uint8_t ret[static MCAST_BODY_BYTES_MAX]);

/* A TS004 DataFragment message (CID, Index&N, fragment) out of a DATA body: the same bytes without sid8 and g. Returns the length. */
size_t mcast_data_ts004(struct span body, uint8_t ret[static MCAST_BODY_BYTES_MAX]);

/* MK of a session: HKDF-SHA256(salt sid, ikm group key, info "mcd1-mic", 16 bytes). */
void mcast_mic_key(const struct mcast_sid *sid, const uint8_t group_key[static MCAST_KEY_BYTES], uint8_t ret[static MAC_CMAC_KEY_BYTES]);
/* Appends the MIC to the n bytes of body in frame (which has room for it); returns the length of the whole frame. `mk` holds MK. */
size_t mcast_frame_seal(struct mac_cmac *mk, const struct mcast_sid *sid, uint8_t *frame, size_t n);
/* Whether the decoded frame's MIC is right for this session; constant time. */
bool mcast_frame_check(struct mac_cmac *mk, const struct mcast_sid *sid, const struct mcast_frame *f);
