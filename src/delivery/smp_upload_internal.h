/* delivery/smp_upload_internal.h - the machine's state, shared by the files that make it up:
 *   smp_upload.c          its life, commands, what comes in, time
 *   smp_upload_chunks.c   the window of chunks
 *   smp_upload_answer.c   what the node's answers and image lists mean
 * Nobody else includes this. */
#pragma once
#include "delivery/smp_upload.h"

/* LwM2M Object 5, resource 5 */
enum { RESULT_INITIAL = 0, RESULT_OK = 1, RESULT_FLASH = 2, RESULT_RAM = 3, RESULT_LOST = 4, RESULT_INTEGRITY = 5, RESULT_PACKAGE = 6,
       RESULT_FAILED = 8, RESULT_PROTOCOL = 9, RESULT_CONFLICT = 12 };

enum {
	FIRST_DATA_BYTES_MIN = 32,             /* the MCUboot header must be in the first chunk */
	CHUNK_HEAD_BYTES = SMP_HEADER_BYTES + 1 + 10 + 4 + 5 + 5 + 3,  /* map, image, off (u32), data with its length */
	FIRST_HEAD_BYTES = 4 + 5 + 4 + 2 + SMP_SHA_BYTES,              /* len, sha besides */
	PARTS_TRIES = 2, READ_AGAIN_MS = 200, FIRST_ANSWER_MS = 5000, RESETS_MAX = 4,
};

enum phase {
	PH_NEW, PH_PARAMS, PH_LIST, PH_ERASE, PH_UPLOAD, PH_LIST_AFTER, PH_TRANSFERRED, PH_TEST, PH_APPLYING, PH_RESET, PH_RESTARTING, PH_PROOF,
	PH_CONFIRM, PH_LIST_LAST, PH_DONE,
};

struct flight {                                /* a chunk on its way */
	bool used;
	uint8_t seq;
	uint64_t off;
	size_t n;
	struct mono due;
};

struct smp_upload {
	struct smp_upload_config c;
	struct smp_upload_image img;
	struct smp_upload_ops ops;
	enum phase phase;
	enum smp_version version;
	uint8_t seq;
	struct buf out;
	uint8_t *chunk;                        /* SMP_UPLOAD_MESSAGE_BYTES_MAX */

	/* one command that is waited for; not of the upload */
	bool asked;
	struct smp_header ask;
	unsigned tries;                        /* without progress, of a command or of the upload */
	struct mono due;                       /* when to ask again, or to do what the phase wants */
	struct mono deadline;                  /* of a restart, a first chunk, an erase */

	/* the upload */
	struct flight flights[SMP_UPLOAD_WINDOW_MAX];
	uint64_t next, acked, best;
	uint32_t window, window_most;          /* now, and what the node has buffers for */
	unsigned n_in_order;                   /* answers since the window changed */
	uint32_t message_bytes;
	unsigned rewinds, n_flights, resets;
	bool started, erased, announced;       /* the node accepted the first chunk; erase was tried; first progress told */
	bool only_whole, took_parts;           /* see smp_upload_only_whole(); a message in parts was taken */
	bool is_down;                          /* no link, between the restart and the end */

	bool single_slot, tested, nothing_told, was_pending;
	unsigned result;
	char reason[SMP_UPLOAD_REASON_BYTES];
	struct smp_upload_counts counts;
};

/* smp_upload.c */
void smp_up_finish(struct smp_upload *u, enum smp_upload_event ev, unsigned result, const char *reason);
void smp_up_fail(struct smp_upload *u, unsigned result, const char *reason);
void smp_up_fail_error(struct smp_upload *u, const char *what, const struct smp_error *e);
void smp_up_phase(struct smp_upload *u, enum phase p, struct mono now);
int64_t smp_up_answer_ms(const struct smp_upload *u, unsigned tries);
uint8_t smp_up_send(struct smp_upload *u, struct smp_header *h, const struct smp_request *req);
void smp_up_ask(struct smp_upload *u, struct mono now);
/* smp_upload_chunks.c */
void smp_up_begin(struct smp_upload *u, struct mono now);
void smp_up_fill(struct smp_upload *u, struct mono now);
void smp_up_go_on_at(struct smp_upload *u, uint64_t off, struct mono now);
void smp_up_progress(struct smp_upload *u, uint64_t off);
void smp_up_on_chunk(struct smp_upload *u, const struct flight *f, const struct smp_reply *r, struct mono now);
void smp_up_tick(struct smp_upload *u, struct mono now);
/* smp_upload_answer.c */
void smp_up_on_answer(struct smp_upload *u, const struct smp_reply *r, struct mono now);
void smp_up_wait_restart(struct smp_upload *u, struct mono now);
uint32_t smp_up_clip(uint32_t message_bytes);
