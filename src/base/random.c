#include "base/random.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *p, size_t n)
{
	uint8_t *at = p;

	while (n) {
		ssize_t r = getrandom(at, n, 0);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			abort(); /* no kernel we run on lacks it, and nothing safe can be done without */
		at += r;
		n -= (size_t)r;
	}
}

uint64_t random_u64(void)
{
	uint64_t v;

	random_bytes(&v, sizeof(v));
	return v;
}

uint64_t random_below(uint64_t n)
{
	assert(n > 0);
	/* Draws under 2^64 mod n are thrown away, so that every remainder is equally likely. */
	uint64_t least = -n % n;
	uint64_t v;

	do
		v = random_u64();
	while (v < least);
	return v % n;
}
