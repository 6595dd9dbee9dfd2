/* delivery/nordic_upload_internal.h - the machine's state, shared by the files that make it up:
 *   nordic_upload.c          its life, its links, packets, ends
 *   nordic_upload_secure.c   Secure DFU
 *   nordic_upload_legacy.c   Legacy DFU
 * Nobody else includes this. */
#pragma once
#include "delivery/nordic_upload.h"

/* LwM2M Object 5, resource 5 */
enum { NORDIC_RESULT_OK = 1, NORDIC_RESULT_FLASH = 2, NORDIC_RESULT_RAM = 3, NORDIC_RESULT_LOST = 4, NORDIC_RESULT_INTEGRITY = 5,
       NORDIC_RESULT_PACKAGE = 6, NORDIC_RESULT_FAILED = 8, NORDIC_RESULT_PROTOCOL = 9 };

enum {
	CRC_AGAIN_MS = 200, CRC_AGAIN_MAX = 4, /* packets may still be on their way to the node when it is asked what it has */
	SETTLE_MS = 250,                       /* Legacy: before a command that must not overtake packets */
	BURST_PACKETS = 64,                    /* in one turn, with no receipts */
	CLEAN_OBJECTS = 2,                     /* in a row, until receipts get rarer again */
};

enum nordic_phase {
	NP_AWAY,                               /* no link */
	/* Secure: the init packet */
	NP_SELECT_INIT, NP_QUIET, NP_CREATE_INIT, NP_SEND_INIT, NP_CRC_INIT, NP_EXECUTE_INIT,
	/* Secure: the data objects */
	NP_RECEIPTS, NP_SELECT_DATA, NP_EXECUTE_OLD, NP_PACE, NP_CREATE_DATA, NP_SEND_DATA, NP_CRC_DATA, NP_EXECUTE_DATA,
	/* Legacy */
	NP_START, NP_SIZES, NP_INIT_BEGIN, NP_INIT_SETTLE, NP_INIT_END, NP_LEGACY_RECEIPTS, NP_RECEIVE, NP_LEGACY_SEND, NP_VALIDATE, NP_RESET,
	/* both */
	NP_TRANSFERRED, NP_APPLYING, NP_ACTIVATE, NP_DONE,
};

struct nordic_upload {
	struct nordic_upload_config c;
	const struct nordic_package *package;
	struct nordic_upload_ops ops;
	enum nordic_phase phase;
	size_t part;                           /* which image */
	uint32_t prn;                          /* as it is now: lowered by damage, raised by its absence */
	unsigned clean_objects;
	size_t packet_bytes;                   /* of this link */

	struct mono due;                       /* when an answer is missing, or a pause is over */
	bool is_paused;                        /* until due, then the node is asked again */
	bool is_full;                          /* packet() said -EAGAIN */
	unsigned n_writes;                     /* Legacy: commands that the node has not acknowledged */

	/* what is sent: the init packet or the image of the part, up to the end of the object */
	struct span sending;
	size_t sent, start, end, object_bytes; /* sent: from the start of sending; start, end: of the object under way */
	uint32_t crc;                          /* of sending up to sent */
	uint32_t unreceipted;                  /* packets since the last receipt */
	unsigned crc_tries;
	uint32_t crc_offset;                   /* the node's, when it was asked last */

	unsigned object_tries, part_tries, idle_links, resets, activations;
	enum { TOLD_NOTHING, TOLD_TRANSFERRED, WENT_ON, TOLD_APPLYING, WENT_ON_AGAIN } told;   /* survives a lost link */
	uint64_t best, done_bytes;             /* progress told; bytes of the images before this one */
	bool was_activated;
	unsigned result;
	char reason[NORDIC_REASON_BYTES];
	struct nordic_upload_counts counts;
};

static inline const struct nordic_part *nordic_up_part(const struct nordic_upload *u) { return &u->package->parts[u->part]; }
static inline bool nordic_up_is_last(const struct nordic_upload *u) { return u->part + 1 == u->package->n_parts; }

/* nordic_upload.c */
void nordic_up_finish(struct nordic_upload *u, enum nordic_event ev, unsigned result, const char *reason);
void nordic_up_again(struct nordic_upload *u);
void nordic_up_wait(struct nordic_upload *u, enum nordic_phase p, int64_t ms, struct mono now);
void nordic_up_progress(struct nordic_upload *u, uint64_t image_bytes);
void nordic_up_seek(struct nordic_upload *u, size_t at);       /* sent, and the CRC up to there */
/* As many packets as may go now, up to end; true: all of them went. */
bool nordic_up_pump(struct nordic_upload *u, struct mono now);
void nordic_up_next_part(struct nordic_upload *u);     /* this image is in its place, or was before */
void nordic_up_complete(struct nordic_upload *u, struct mono now);     /* the node has all of this image */
/* nordic_upload_secure.c */
void nordic_up_secure_begin(struct nordic_upload *u, struct mono now);
void nordic_up_secure_receive(struct nordic_upload *u, struct span value, struct mono now);
void nordic_up_secure_send(struct nordic_upload *u, struct mono now);
void nordic_up_secure_late(struct nordic_upload *u, struct mono now);
void nordic_up_secure_activate(struct nordic_upload *u, struct mono now);
/* nordic_upload_legacy.c */
void nordic_up_legacy_begin(struct nordic_upload *u, struct mono now);
void nordic_up_legacy_written(struct nordic_upload *u, struct mono now);
void nordic_up_legacy_receive(struct nordic_upload *u, struct span value, struct mono now);
void nordic_up_legacy_send(struct nordic_upload *u, struct mono now);
void nordic_up_legacy_late(struct nordic_upload *u, struct mono now);
void nordic_up_legacy_activate(struct nordic_upload *u, struct mono now);
void nordic_up_legacy_activated(struct nordic_upload *u);
