/* SMP messages from parts: the first byte of each record is its length, the second the time that passed in 100 ms. */
#include "fuzz.h"

#include <stdlib.h>

#include "delivery/smp_assembly.h"

static bool on_message(void *ctx, struct span message)
{
	size_t *total = ctx;
	struct cursor c = { .s = message };
	struct smp_header h;
	struct span body;

	*total += message.n;
	if (smp_message_next(&c, &h, &body) == 0 && cur_left(&c) != 0)
		abort();                       /* what is whole is one message and no more */
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct smp_assembly a;
	struct cursor c = { .s = SPAN(p, n) };
	struct mono now = { 1 };
	size_t total = 0;

	smp_assembly_reset(&a);
	while (cur_left(&c) > 2) {
		size_t len = cur_u8(&c);
		now.ms += 100 * (int64_t)cur_u8(&c);
		struct span part = cur_take(&c, len < cur_left(&c) ? len : cur_left(&c));
		smp_assembly_add(&a, part, now, on_message, &total);
		if (a.n >= SMP_ASSEMBLY_BYTES_MAX)
			abort();
	}
	if (total > n)
		abort();
	return 0;
}
