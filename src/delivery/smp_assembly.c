#include "delivery/smp_assembly.h"

#include <string.h>

enum { LENGTH_END = 4 };                      /* of the header field that gives it */

void smp_assembly_reset(struct smp_assembly *a)
{
	a->n = 0;
}

static void drop(struct smp_assembly *a)
{
	a->n = 0;
	a->dropped++;
}

/* Only answers come from nodes; the reserved bits are zero. */
static bool is_answer(uint8_t first)
{
	return (first & 0xe5) == 0x01;
}

/* How long the message at the start will be; 0: not known yet; SIZE_MAX: never one. */
static size_t message_bytes(const struct smp_assembly *a)
{
	if (a->n && !is_answer(a->b[0]))
		return SIZE_MAX;
	size_t n = a->n < LENGTH_END ? 0 : SMP_HEADER_BYTES + ((size_t)a->b[2] << 8 | a->b[3]);
	return n > SMP_ASSEMBLY_BYTES_MAX ? SIZE_MAX : n;
}

void smp_assembly_add(struct smp_assembly *a, struct span part, struct mono now, smp_assembly_fn *fn, void *ctx)
{
	if (a->n && mono_diff_ms(now, a->at) > SMP_ASSEMBLY_GAP_MS)
		drop(a);
	a->at = now;
	while (part.n > 0) {
		size_t whole = message_bytes(a), room = whole ? whole - a->n : LENGTH_END - a->n;
		size_t n = part.n < room ? part.n : room;

		memcpy(a->b + a->n, part.p, n);
		a->n += n;
		part = span_sub(part, n, part.n - n);
		whole = message_bytes(a);
		if (whole == SIZE_MAX) {       /* where the next one would begin is not known: with a part of its own */
			drop(a);
			return;
		}
		if (whole && a->n == whole) {
			a->n = 0;              /* its bytes stay until the next part */
			if (!fn(ctx, SPAN(a->b, whole)))
				return;
		}
	}
}
