/* delivery/nordic_upload.h - a package of Nordic's brought to one node that is in its bootloader: Secure DFU, or Legacy DFU. The machine
 * knows no transport and no clock: time comes in as an argument, writes go out by control() and packet(), notifications come in by
 * nordic_upload_receive(). It never allocates after nordic_upload_new().
 *
 * Links come and go under it: each is told by nordic_upload_link() and nordic_upload_unlink(), and each begins with asking the node what
 * it has; what it has already is not sent again (NDFU-2). A Legacy node keeps nothing, and begins anew.
 *
 * The way of an image, Secure: select, create, send, check and execute the init packet; then for each data object create, send, check,
 * execute. An object that arrived damaged is created anew with more receipts in between (NDFU-3), until some arrived well. Legacy:
 * start, sizes, init packet, receipts, image, validate, activate. The last command makes the node restart: NORDIC_EV_RESTARTS with
 * images still to come, or NORDIC_EV_DONE. Whether the new application runs is for the owner to see.
 *
 * Twice it halts until nordic_upload_go(), so that its owner can persist what was reached: at NORDIC_EV_TRANSFERRED and
 * NORDIC_EV_APPLYING. Both come with the last image only. */
#pragma once
#include "base/time.h"
#include "codec/nordic_dfu.h"

enum {
	NORDIC_PACKET_BYTES_MAX = 244,         /* NDFU-5 */
	NORDIC_LEGACY_PACKET_BYTES = 20,
	NORDIC_PRN_DEFAULT = 12,
	NORDIC_OBJECT_TRIES = 3,               /* of one object that arrives damaged (NDFU-3), and then once more from the init packet */
	NORDIC_LINKS_MAX = 12,                 /* lost without progress */
	NORDIC_EXECUTE_MS = 60000,             /* the node checks signatures and hashes, and erases */
	NORDIC_OBJECT_BYTES_MIN = 64,          /* a node that takes less has no bootloader of this kind */
};

struct nordic_upload_config {
	uint32_t prn;                          /* packets between two receipts; 0 = none */
	uint32_t answer_ms;                    /* for what is answered at once */
};

enum nordic_event {
	NORDIC_EV_PROGRESS,                    /* nordic_upload_offset() moved */
	NORDIC_EV_TRANSFERRED,                 /* the node has all of the last image; halted */
	NORDIC_EV_APPLYING,                    /* the command that activates it is next; halted */
	NORDIC_EV_RESTARTS,                    /* an image is in place and the next one follows: the node comes back in its bootloader */
	NORDIC_EV_DONE,                        /* the last one was activated: the node comes back as its application */
	NORDIC_EV_AGAIN,                       /* this link is of no more use: end it, and bring another one */
	NORDIC_EV_FAILED,                      /* nordic_upload_result(), nordic_upload_reason() */
};

struct nordic_upload_ops {
	void (*control)(void *ctx, struct span value);         /* write with response to the control point; then nordic_upload_written() */
	int (*packet)(void *ctx, struct span value);           /* 0; -EAGAIN: later, then nordic_upload_writable(); else the link is gone */
	void (*event)(void *ctx, enum nordic_event ev);        /* may not call the machine, nor free it */
	void *ctx;
};

struct nordic_upload;

/* package is borrowed, and outlives the machine. */
struct nordic_upload *nordic_upload_new(const struct nordic_upload_config *c, const struct nordic_package *package,
					const struct nordic_upload_ops *ops);
struct nordic_upload *nordic_upload_free(struct nordic_upload *u);
/* A link to the node in its bootloader, with receipts of the control point switched on; packets of at most chunk_bytes. */
void nordic_upload_link(struct nordic_upload *u, size_t chunk_bytes, struct mono now);
void nordic_upload_unlink(struct nordic_upload *u);            /* it is gone; nothing when there was none */
void nordic_upload_written(struct nordic_upload *u, struct mono now);          /* the node acknowledged the last control() */
void nordic_upload_receive(struct nordic_upload *u, struct span value, struct mono now);
void nordic_upload_writable(struct nordic_upload *u, struct mono now);
void nordic_upload_go(struct nordic_upload *u, struct mono now);
void nordic_upload_tick(struct nordic_upload *u, struct mono now);
int64_t nordic_upload_wait_ms(const struct nordic_upload *u, struct mono now);         /* -1: nothing is waited for */
void nordic_upload_fail(struct nordic_upload *u, unsigned result, const char *reason); /* the owner gives up: NORDIC_EV_FAILED */

bool nordic_upload_is_done(const struct nordic_upload *u);     /* DONE or FAILED */
/* The command that activates the last image was given: if the link ends now the node may well run it. */
bool nordic_upload_was_activated(const struct nordic_upload *u);
uint64_t nordic_upload_offset(const struct nordic_upload *u);  /* of all images together: what the node has, as far as it said */
unsigned nordic_upload_result(const struct nordic_upload *u);  /* LwM2M Object 5, resource 5 */
const char *nordic_upload_reason(const struct nordic_upload *u);
const char *nordic_upload_phase(const struct nordic_upload *u);

struct nordic_upload_counts {
	uint64_t packets, receipts, objects, repeated, links;
};
struct nordic_upload_counts nordic_upload_counts(const struct nordic_upload *u);
