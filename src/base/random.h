/* base/random.h - unpredictable bytes from the kernel (getrandom), for tokens, ids, nonces
 * and jitter. Any thread. */
#pragma once
#include "base/span.h"

void random_bytes(void *p, size_t n);
uint64_t random_u64(void);
uint64_t random_below(uint64_t n);     /* 0 <= result < n, unbiased; n > 0 */
