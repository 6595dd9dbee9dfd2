/* delivery/smp_assembly.h - SMP messages put together from a stream of parts, as Bluetooth LE carries them (SMP-15): the header of a
 * message says where it ends. What cannot be a message is dropped, and so is what was begun and not continued for 5 s. Pure. */
#pragma once
#include "base/time.h"
#include "codec/smp.h"

enum { SMP_ASSEMBLY_BYTES_MAX = SMP_HEADER_BYTES + SMP_BODY_BYTES_MAX, SMP_ASSEMBLY_GAP_MS = 5000 };

struct smp_assembly {
	uint8_t b[SMP_ASSEMBLY_BYTES_MAX];
	size_t n;
	struct mono at;                        /* of the last part */
	uint64_t dropped;                      /* parts, for people */
};

/* Called for each whole message; borrowed. False: stop, the assembly is not there any more. */
typedef bool smp_assembly_fn(void *ctx, struct span message);

void smp_assembly_reset(struct smp_assembly *a);       /* the link is gone */
void smp_assembly_add(struct smp_assembly *a, struct span part, struct mono now, smp_assembly_fn *fn, void *ctx);
