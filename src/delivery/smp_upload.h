/* delivery/smp_upload.h - an MCUboot image brought to one node by SMP, from the first question to the verdict of the restarted
 * node. The machine knows no transport, no clock and no image store: time comes in as an argument, whole SMP messages go out by
 * send() and come in by smp_upload_receive(), image bytes are read by read(). It never allocates after smp_upload_new().
 *
 * The way: parameters (optional), image list, upload in a window of chunks (the node's `off` decides where it goes on; `sha` lets it
 * resume), image list again, test, restart, image list until the node runs the new image, a time of proof, confirm, image list.
 * What the node has already is not done again, so beginning anew after a crash of ours repeats nothing and skips nothing. Between
 * test and restart nothing is uploaded or erased.
 *
 * Where a transport carries large messages in parts, they are tried once the node told its buffers. Not every node puts them together
 * again: one that does not answer to them gets messages of whole_bytes from then on.
 *
 * Twice it halts until smp_upload_go(), so that its owner can persist what was reached: at SMP_EV_TRANSFERRED and SMP_EV_APPLYING. */
#pragma once
#include "base/buf.h"
#include "base/digest.h"
#include "base/time.h"
#include "codec/smp.h"

enum {
	SMP_UPLOAD_WINDOW_MAX = 16,
	SMP_UPLOAD_MESSAGE_BYTES_MIN = 128, SMP_UPLOAD_MESSAGE_BYTES_MAX = 2048,       /* with the header */
	SMP_UPLOAD_REASON_BYTES = 128,
	SMP_UPLOAD_TRIES = 12,                 /* of a message, without progress */
	SMP_UPLOAD_REWINDS_MAX = 16,           /* without progress */
	SMP_UPLOAD_WIDEN_AFTER = 8,            /* answers in order: one chunk more in flight, after a loss left one */
	SMP_UPLOAD_ANSWER_MAX_MS = 4000,       /* waits double up to this */
	SMP_UPLOAD_SLOW_MS = 60000,            /* first chunk, erase: the node may erase flash */
	SMP_UPLOAD_BUSY_MS = 2000,
	SMP_UPLOAD_POLL_MS = 2000,             /* image list while the node restarts */
};

struct smp_upload_config {
	enum smp_version version;              /* to begin with; see smp_upload_version() */
	uint32_t slot_image;                   /* which of the node's images; 0 with most */
	uint32_t message_bytes;                /* largest message; clipped to the limits above and to what the node takes */
	uint32_t whole_bytes;                  /* of transports that carry larger ones in parts: what they carry whole; 0 = all are whole */
	bool only_whole;                       /* see smp_upload_only_whole() */
	uint32_t window;                       /* chunks in flight; 1 with nodes that do not tell their buffers */
	uint32_t answer_ms;                    /* first wait for an answer */
	uint32_t restart_s;                    /* longest restart, with the swap of the images */
	uint32_t proof_s;                      /* the new image must run so long before it is confirmed */
	bool allow_single_slot;                /* also nodes that cannot test and go back */
	bool was_applying;                     /* this order's restart was begun before (by an earlier life of ours) */
};

struct smp_upload_image {
	uint64_t bytes;
	struct digest sha;                     /* of the file */
	uint8_t hash[SMP_HASH_BYTES_MAX];      /* MCUboot's, from its TLV area */
	uint8_t n_hash;
	char version[SMP_VERSION_BYTES];       /* of its header */
};

enum smp_upload_event {
	SMP_EV_PROGRESS,                       /* smp_upload_offset() moved; the first time at the latest when the node accepted the upload */
	SMP_EV_TRANSFERRED,                    /* the node lists the image; halted */
	SMP_EV_APPLYING,                       /* the test is set, the restart is next; halted */
	SMP_EV_CONFIRMED,                      /* it runs, and stays; done */
	SMP_EV_REVERTED,                       /* it went back to its old image; done, smp_upload_reason() */
	SMP_EV_FAILED,                         /* done, smp_upload_result() and smp_upload_reason() */
};

struct smp_upload_ops {
	void (*send)(void *ctx, struct span message);  /* once, best effort: loss is our business */
	int (*read)(void *ctx, uint64_t off, uint8_t *ret, size_t n);  /* exactly n bytes: n; -EAGAIN: ask again soon; -errno */
	void (*event)(void *ctx, enum smp_upload_event ev);    /* may call smp_upload_go(); must not free the machine */
	void *ctx;
};

struct smp_upload;

struct smp_upload *smp_upload_new(const struct smp_upload_config *c, const struct smp_upload_image *img, const struct smp_upload_ops *ops);
struct smp_upload *smp_upload_free(struct smp_upload *u);
void smp_upload_begin(struct smp_upload *u, struct mono now);
void smp_upload_go(struct smp_upload *u, struct mono now);     /* after TRANSFERRED and APPLYING; otherwise nothing */
void smp_upload_receive(struct smp_upload *u, struct span datagram, struct mono now);  /* messages; those not waited for are dropped */
void smp_upload_tick(struct smp_upload *u, struct mono now);
/* When to tick next, in ms from now (0 = at once); -1: nothing is waited for (halted, done). */
int64_t smp_upload_wait_ms(const struct smp_upload *u, struct mono now);
bool smp_upload_is_done(const struct smp_upload *u);
/* The link is gone, of transports that have one. False: free the machine, and begin with a new one when there is a link again; it finds
 * out where the node is. True, from the restart on: it waits for smp_upload_link_up(), until its deadline. */
bool smp_upload_link_down(struct smp_upload *u, struct mono now);
void smp_upload_link_up(struct smp_upload *u, struct mono now);
void smp_upload_excuse(struct smp_upload *u, int64_t ms);      /* so long there could be no link, whatever the node did: not on its time */

uint64_t smp_upload_offset(const struct smp_upload *u);        /* what the node has */
unsigned smp_upload_result(const struct smp_upload *u);        /* LwM2M Object 5, resource 5 */
const char *smp_upload_reason(const struct smp_upload *u);     /* clean text, at most SMP_UPLOAD_REASON_BYTES - 1 */
enum smp_version smp_upload_version(const struct smp_upload *u);       /* that the node speaks: to begin with the next time */
bool smp_upload_only_whole(const struct smp_upload *u);        /* it takes no messages in parts: to begin with the next time */
const char *smp_upload_phase(const struct smp_upload *u);

struct smp_upload_counts {
	uint64_t sent, repeated, received, dropped, rewinds;
};
struct smp_upload_counts smp_upload_counts(const struct smp_upload *u);
