/* node/mcast_receiver.h - the receiving side of multicast image distribution (MCD v1, dormouse-multicast(7)).
 *
 * One header, one .c file, nothing else: no libc but memcpy, memset and memcmp, no allocation, no clock, no I/O, no
 * globals. It can be lifted into firmware as it stands. Everything outside is behind struct mcr_ops: flash, a small
 * key-value store, AES-CMAC, SHA-256, random numbers, and the way a report leaves. Time is a 32-bit millisecond
 * counter that may wrap. One receiver follows one session at a time. Not reentrant: ops must not call back into it.
 *
 * Flash discipline: no word of flash is programmed twice between two erases, after a lost power either. Fragments
 * go straight to their place in the object; parity rows go to scratch flash, their coefficients stay in RAM.
 *
 * RAM is sizeof(struct mcast_receiver) and some 250 bytes of stack; the limits below set it. Defaults: objects of
 * 512 KiB in fragments of 64 bytes, 512 fragments a generation, 160 lost ones repaired: under 4 KiB. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef MCR_L
#define MCR_L 160                              /* most lost fragments of a generation that parity can give back; <= 255 */
#endif
#ifndef MCR_K_MAX
#define MCR_K_MAX 512                          /* fragments of a generation; a multiple of 8 */
#endif
#ifndef MCR_Z_MAX
#define MCR_Z_MAX 64                           /* bytes of a fragment; a multiple of 8, as Z is: flash words are at most 8 bytes; <= 232 */
#endif
#ifndef MCR_F_MAX
#define MCR_F_MAX 8192                         /* fragments of an object; a multiple of 8 */
#endif
#ifndef MCR_G_MAX
#define MCR_G_MAX 64                           /* generations of an object; <= 256 */
#endif
#ifndef MCR_ERASE_BYTES
#define MCR_ERASE_BYTES 4096                   /* erase granule of this device's flash; E of a session is a multiple of it */
#endif
#ifndef MCR_SCRATCH_GRANULES
/* Granules of scratch flash; L' + 1 rows of Z + 8 bytes must fit (3). More of them keep the rows of generations that are not
 * solved yet while others are on the air: at 10 % loss 6, at 30 % 10, or those rows must be sent again. At most 63. */
#define MCR_SCRATCH_GRANULES 10
#endif

enum {
	MCR_GROUPS = 2,                        /* group keys known at a time: the old and the new one */
	MCR_REPORT_ENTRIES = 20,
	MCR_REPORT_BYTES = 64,                 /* encoded */
	MCR_HEADER_BYTES = 8,                  /* before each row in scratch flash */
	MCR_NEVER = 0xffffffff,
};

/* What a setup is answered (C4). */
enum mcr_ack {
	MCR_ACCEPTED = 0, MCR_NO_SPACE = 1, MCR_K_TOO_LARGE = 2, MCR_BAD_Z = 3, MCR_BAD_ALG = 4, MCR_HAVE_IT = 5, MCR_BUSY = 6,
	MCR_DEFERRED = 7, MCR_NO_KEY = 8, MCR_BAD_MANIFEST = 9,
	MCR_CONFLICT = 100,                    /* a live sid with other contents: 4.09, no ack */
	MCR_REPLAYED = 101,                    /* an old session counter: 4.09, no ack */
};

enum mcr_state {
	MCR_IDLE,                              /* no session */
	MCR_ARMED,                             /* nothing came yet */
	MCR_RECV,
	MCR_READY,                             /* whole, and its SHA-256 is right */
	MCR_CLOSED,                            /* END 0, 1, 2, or flash failed: does not listen; what is here stays for a resume or a pull */
	MCR_FAILED,                            /* all there, generations right, and yet not the object: this session cannot give it */
};

enum mcr_gen_state {
	MCR_COLLECT,
	MCR_DECODE,                            /* rows are held in scratch flash */
	MCR_SOLVED,
	MCR_BAD,                               /* its digest was wrong twice: by unicast only */
};

enum mcr_event {
	MCR_EV_STARTED,                        /* first DATA of the session */
	MCR_EV_SOLVED,                         /* arg: generation */
	MCR_EV_SPOILED,                        /* arg: generation; its digest was wrong, it is erased */
	MCR_EV_READY,
	MCR_EV_FAILED,                         /* state MCR_FAILED */
	MCR_EV_STUCK,                          /* arg: generation; parity does not help any more, a few fragments would (mcr_missing()) */
	MCR_EV_END,                            /* arg: reason of END 0, 1, 2 */
	MCR_EV_FLASH,                          /* flash refused; the session is left (MCR_CLOSED) */
	MCR_EV_EXPIRED,                        /* lifetime over; MCR_IDLE */
};

enum mcr_area {
	MCR_OBJECT,                            /* where the object is put together: offsets 0 .. size */
	MCR_SCRATCH,                           /* MCR_SCRATCH_GRANULES x MCR_ERASE_BYTES */
};

/* Keys of the small records that survive a restart. */
enum mcr_key {
	MCR_KEY_GROUPS = 0, MCR_KEY_SESSION = 1, MCR_KEY_GENERATION = 16 /* + g */,
	MCR_RECORD_BYTES = 2 + MCR_K_MAX / 8 > 72 ? 2 + MCR_K_MAX / 8 : 72,    /* the largest */
};

struct mcr_windows {                           /* count 0: no windows, the sender goes on at any time */
	uint32_t first_in_s;                   /* from now */
	uint32_t length_s, period_s;
	uint16_t count;
};

struct mcr_setup {                             /* C4, decoded; the caller has checked envelope, gid's key, and free room */
	uint8_t sid[8];
	uint32_t size;
	uint8_t sha256[32];
	uint16_t z, k;
	uint8_t log2_e, alg;
	uint32_t gid;
	struct mcr_windows windows;
	uint32_t pace_ms, slot_ms, lifetime_s; /* 0 = defaults: 50 ms, 50 ms, 7 days */
};

struct mcr_announce {                          /* of a session we are not in */
	uint8_t sid[8], digest16[16];
	uint32_t size;
	uint8_t gid;                           /* its low byte */
};

enum {                                         /* flags of a report */
	MCR_REPORT_DONE = 1, MCR_REPORT_DIGEST_FAILED = 2, MCR_REPORT_MORE = 4, MCR_REPORT_LOW_ENERGY = 8, MCR_REPORT_NO_DESCRIPTOR = 16,
	MCR_REPORT_CORE_ONLY = 32,
};

struct mcr_report {                            /* C8 */
	uint8_t sid[8];
	uint8_t seq;                           /* STATUS answered; 0 = unsolicited (a STATUS with seq 0 does not occur) */
	uint16_t loss_permille;
	uint8_t flags, n;
	struct { uint8_t g; uint16_t d; } entries[MCR_REPORT_ENTRIES];     /* worst first */
};

/* All return 0 or more, or a negative number, unless said otherwise. */
struct mcr_ops {
	int (*read)(void *ctx, enum mcr_area area, uint32_t off, uint8_t *ret, size_t n);
	/* Onto erased flash. The end of the last fragment may be in the middle of a word: pad it with 0xff. */
	int (*program)(void *ctx, enum mcr_area area, uint32_t off, const uint8_t *data, size_t n);
	int (*erase)(void *ctx, enum mcr_area area, uint32_t off, uint32_t n);       /* whole granules; to 0xff */
	/* A record replaced whole: after a lost power the old or the new one is there. n == 0 removes it. */
	int (*save)(void *ctx, uint16_t key, const uint8_t *data, size_t n);
	int (*load)(void *ctx, uint16_t key, uint8_t *ret, size_t max);              /* its length; 0 = none */
	/* CMAC(MK(gid's key, sid), sid | frame), its first mic_n bytes. False also when gid's key is not known. */
	bool (*mic_ok)(void *ctx, uint32_t gid, const uint8_t sid[8], const uint8_t *frame, size_t n, const uint8_t *mic, size_t mic_n);
	int (*sha256)(void *ctx, uint32_t off, uint32_t n, uint8_t ret[32]);         /* of a part of MCR_OBJECT */
	int (*generation_digest)(void *ctx, unsigned g, uint8_t ret[8]);             /* < 0: there is no table */
	uint32_t (*random)(void *ctx);
	void (*report)(void *ctx, const struct mcr_report *report);                  /* NON POST mc/r; lost is fine */
	void (*event)(void *ctx, enum mcr_event ev, unsigned arg);
	/* A fresh session of a known group, with a good MIC: fetch its descriptor (GET mc/s) over the secured association, then
	 * mcr_setup(). At most once in 5 minutes. */
	void (*announced)(void *ctx, const struct mcr_announce *a);
};

struct mcr_stats {                             /* of the session, since setup or restart */
	uint32_t n_data;                       /* DATA frames with a good MIC while it listened */
	uint32_t n_new;                        /* that were of use */
	uint32_t n_bad_mic, n_control;         /* control: STATUS, ANNOUNCE, END */
	uint32_t n_dropped;                    /* malformed, or of another session */
	uint32_t radio_on_ms;                  /* time it asked to listen */
	uint32_t n_expected, n_lost;           /* systematic fragments of the first pass, and those of them that did not come */
	uint16_t n_reports, n_cancelled, n_spoiled;
};

struct mcr_gen {
	uint16_t seen;                         /* highest systematic number of the first pass; 0xffff = it is over */
	uint8_t state;                         /* low bits: enum mcr_gen_state; high bit: was spoiled once */
	uint8_t rank;                          /* independent parity rows held in MCR_DECODE */
};

struct mcr_group {
	uint32_t gid;
	uint8_t sid[8];                        /* highest session seen */
	bool is_used;
};

/* Private; here for its size. Zero is not a valid state: mcr_init() first. */
enum { MCR_V_BYTES = (MCR_L + 7) / 8 };

struct mcast_receiver {
	const struct mcr_ops *ops;
	void *ctx;

	/* what is kept in records, too */
	struct mcr_group groups[MCR_GROUPS];
	uint8_t state, alg, log2_e, sid[8], sha256[32];
	uint16_t z, k, pace_ms, slot_ms;
	uint32_t size, gid, lifetime_ms;
	uint16_t n_gen, q, rem;                /* G, q, rem of C3 */

	/* time */
	uint32_t now, expires_at, heard_at;
	uint32_t window_at, window_ms, period_ms;      /* the current or next window */
	uint32_t nap_until, report_at, status_until, asked_at;        /* status_until: how long nothing follows a STATUS */
	uint16_t windows_left;
	bool has_windows, is_window_over, is_napping, is_listening, has_report, has_asked;
	uint8_t g_first, g_last;               /* of the window */

	/* STATUS, and what is in the air */
	bool has_seq, is_repairing;
	uint8_t seq, n_bad_pulls, n_vain, air_g;       /* n_vain: rows in a row that were of no use */
	uint16_t air_n, learned_rows;
	uint32_t expected, lost;               /* first pass, of frozen generations */

	struct mcr_gen gens[MCR_G_MAX];
	uint8_t map[MCR_F_MAX / 8];            /* fragments held, each generation from a byte of its own on */

	/* the open generation */
	int16_t open;                          /* -1 = none */
	uint16_t n_idx, n_slots;               /* L'; rows written to scratch */
	uint16_t idx[MCR_L];                   /* missing when its first parity row came */
	uint8_t slot_of[MCR_L];                /* pivot -> scratch row */
	uint8_t matrix[4 * MCR_V_BYTES * (MCR_V_BYTES + 1)];   /* row j from the byte of bit j on */
	uint8_t v[MCR_V_BYTES], row[MCR_K_MAX / 8];
	uint8_t b[MCR_HEADER_BYTES + MCR_Z_MAX], other[MCR_Z_MAX];
	uint16_t scratch_owner[MCR_SCRATCH_GRANULES];  /* nth | generation + 1; 0 = free */

	struct mcr_stats stats;
};

/* Reads what survived: an interrupted session goes on (MCR_ARMED, MCR_RECV or MCR_READY) without windows until a setup tells
 * them again, so ask for its descriptor. Returns < 0 when ops->load fails. */
int mcr_init(struct mcast_receiver *r, const struct mcr_ops *ops, void *ctx, uint32_t now);

/* A session (C4). Erases the object's flash unless the same object is already on its way. Repeating it is fine: it
 * also tells windows and pace anew. So is another gid alone: the group's key has changed, and frames under the old one are not
 * taken any more. */
enum mcr_ack mcr_setup(struct mcast_receiver *r, const struct mcr_setup *s, uint32_t now);
/* What mcr_setup() would say by session counter, limits and what goes on now; changes nothing. To be asked before room is made. */
enum mcr_ack mcr_check_setup(const struct mcast_receiver *r, const struct mcr_setup *s);
/* Leaves a session: does not listen any more; what is here stays for another session of the same object. */
void mcr_leave(struct mcast_receiver *r);
/* The group was left or its key changed: forgets its session counter. */
void mcr_forget_group(struct mcast_receiver *r, uint32_t gid);
/* DELETE: forgets the session and its records; the object's bytes stay where they are. */
void mcr_abort(struct mcast_receiver *r);

/* The payload of a NON POST /m. True when it was authentic and of our session (or an announcement). Call it only while
 * mcr_is_listening(), or when idle and the radio is on anyway. */
bool mcr_frame(struct mcast_receiver *r, const uint8_t *frame, size_t n, uint32_t now);
/* Does what is due: reports, sleeping, waking. Returns after how many ms it wants to be called again, MCR_NEVER = only when
 * something happens. Call it after every other call, too. */
uint32_t mcr_step(struct mcast_receiver *r, uint32_t now);
/* Whether the radio must be on from now on until the next call of anything here. */
bool mcr_is_listening(const struct mcast_receiver *r);

/* Unicast (C6 6): the first stretch at or after `from` that is needed, whole fragments, as long as it goes but within one
 * generation. Of a generation that holds parity rows only as many fragments are needed as rows are missing. False: none. */
bool mcr_missing(struct mcast_receiver *r, uint32_t from, uint32_t *ret_off, uint32_t *ret_n);
/* One fragment fetched by unicast: off is a multiple of the fragment size counted from its generation's start, as
 * mcr_missing() gives; n the fragment size, less only at the end of a generation. 1 taken, 0 was there, < 0 no such fragment or flash. */
int mcr_put(struct mcast_receiver *r, uint32_t off, const uint8_t *data, size_t n, uint32_t now);

enum mcr_state mcr_state(const struct mcast_receiver *r);
unsigned mcr_generations(const struct mcast_receiver *r);
enum mcr_gen_state mcr_generation_state(const struct mcast_receiver *r, unsigned g);
uint32_t mcr_held_bytes(const struct mcast_receiver *r);       /* of the object */
unsigned mcr_deficit(const struct mcast_receiver *r, unsigned g);      /* 0 = solved */
void mcr_report_make(const struct mcast_receiver *r, uint8_t seq, struct mcr_report *ret);
const struct mcr_stats *mcr_stats(struct mcast_receiver *r, uint32_t now);
/* Complete generations, least significant bit first (ack item 6). Returns bytes written, at most max. */
size_t mcr_solved_map(const struct mcast_receiver *r, uint8_t *ret, size_t max);

/* Helpers, pure. */
size_t mcr_report_encode(const struct mcr_report *report, uint8_t ret[MCR_REPORT_BYTES]);      /* CBOR; bytes written */
/* Coefficients of parity row n of m fragments, least significant bit first, (m + 7) / 8 bytes (C7). */
void mcr_row(unsigned m, unsigned n, unsigned alg, uint8_t *ret);
/* C3: where generation g begins and how long it is; for tests and for looking at it. */
uint32_t mcr_generation_offset(const struct mcast_receiver *r, unsigned g, uint32_t *ret_bytes);
/* A delay in 0..t_ms, truncated exponential toward late for `expected` reporters; u in 0..65535. */
uint32_t mcr_report_delay(uint32_t t_ms, unsigned expected, unsigned u);
