/* delivery/smp_look.h - our own look at an image before a node hears of it (SMP-16): MCUboot's format, and that the hash it carries is
 * that of its bytes, which the node's bootloader would find out only after the restart. Reading and hashing is a worker's; the reader
 * is lent to it. Loop thread. */
#pragma once
#include "codec/mcuboot.h"
#include "io/coap.h"
#include "io/worker.h"

struct smp_looked {
	struct mcuboot_header header;
	struct mcuboot_trailer trailer;
};

struct smp_look;                               /* under way */

/* error: -errno, it could not be read, 0 else. fault: what is wrong with the image, a literal for people; NULL = nothing, and ret holds.
 * The reader comes back. Called once, from the loop, unless the look is cancelled before. */
typedef void smp_look_fn(void *ctx, int error, const char *fault, const struct smp_looked *ret, struct coap_body_reader *reader);

/* Takes the reader. -EBUSY: not now, the reader stays the caller's. */
int smp_look_begin(struct worker_pool *w, const struct coap_body_reader *reader, smp_look_fn *fn, void *ctx, struct smp_look **ret);
struct smp_look *smp_look_cancel(struct smp_look *k);  /* the reader is released when the worker is done with it; returns NULL */
