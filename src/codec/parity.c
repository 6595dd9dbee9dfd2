#include "codec/parity.h"

#include <assert.h>

/* TS004's 23 bit pseudo-random sequence, as its text gives it. */
static uint32_t prbs23(uint32_t x)
{
	return x >> 1 | ((x ^ x >> 5) & 1) << 22;
}

/* v2 counts a coefficient only where it is new; v1 counts every draw. That is all their difference. */
void parity_row(unsigned m, unsigned n, enum parity_alg alg, uint8_t *ret)
{
	unsigned modulus = (m & (m - 1)) ? m : m + 1;
	uint32_t x = 1 + 1001 * (uint32_t)n;

	assert(m >= PARITY_M_MIN && m <= PARITY_M_MAX && n >= 1 && n <= parity_n_max(m));
	assert(alg == PARITY_TS004_V1 || alg == PARITY_TS004_V2);
	memset(ret, 0, parity_row_bytes(m));
	for (unsigned drawn = 0; drawn < m / 2;) {
		unsigned i;
		do {
			x = prbs23(x);
			i = x % modulus;
		} while (i >= m);
		uint8_t bit = (uint8_t)(1 << (i % 8));
		if (alg == PARITY_TS004_V1 || !(ret[i / 8] & bit))
			drawn++;
		ret[i / 8] |= bit;
	}
}

/* memcpy of a constant size is one load or store; the compiler makes vectors of the loop. */
void parity_xor(uint8_t *acc, const uint8_t *p, size_t n)
{
	size_t i = 0;

	for (; i + sizeof(uint64_t) <= n; i += sizeof(uint64_t)) {
		uint64_t a, b;
		memcpy(&a, acc + i, sizeof(a));
		memcpy(&b, p + i, sizeof(b));
		a ^= b;
		memcpy(acc + i, &a, sizeof(a));
	}
	for (; i < n; i++)
		acc[i] ^= p[i];
}

void parity_fragment(struct span generation, unsigned m, unsigned z, unsigned n, enum parity_alg alg, uint8_t *ret)
{
	uint8_t row[PARITY_ROW_BYTES_MAX];

	assert(z >= 1 && z <= PARITY_FRAGMENT_BYTES_MAX && generation.n <= (size_t)m * z);
	parity_row(m, n, alg, row);
	memset(ret, 0, z);
	for (size_t at = 0, byte = 0; byte < parity_row_bytes(m); byte++, at += 8 * (size_t)z) {
		for (unsigned bits = row[byte]; bits; bits &= bits - 1) {
			size_t offset = at + (size_t)__builtin_ctz(bits) * z;
			if (offset < generation.n)
				parity_xor(ret, generation.p + offset, generation.n - offset < z ? generation.n - offset : z);
		}
	}
}
