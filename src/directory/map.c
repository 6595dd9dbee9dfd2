#include "directory/map.h"

#include "base/random.h"

struct sip {
	uint64_t a, b, c, d;
};

static inline uint64_t rotl(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

static inline void sip_round(struct sip *s)
{
	s->a += s->b;
	s->b = rotl(s->b, 13) ^ s->a;
	s->a = rotl(s->a, 32);
	s->c += s->d;
	s->d = rotl(s->d, 16) ^ s->c;
	s->a += s->d;
	s->d = rotl(s->d, 21) ^ s->a;
	s->c += s->b;
	s->b = rotl(s->b, 17) ^ s->c;
	s->c = rotl(s->c, 32);
}

unsigned map_hash(const void *key, size_t n)
{
	static uint64_t secret[2];
	const uint8_t *p = key;
	uint64_t word, last = (uint64_t)n << 56;
	size_t i = 0;

	if (!secret[0])
		random_bytes(secret, sizeof(secret));
	struct sip s = { secret[0] ^ 0x736f6d6570736575, secret[1] ^ 0x646f72616e646f6d, secret[0] ^ 0x6c7967656e657261,
			 secret[1] ^ 0x7465646279746573 };
	for (; n - i >= 8; i += 8) {
		memcpy(&word, p + i, 8);
		s.d ^= word;
		sip_round(&s);
		s.a ^= word;
	}
	for (unsigned shift = 0; i < n; i++, shift += 8)
		last |= (uint64_t)p[i] << shift;
	s.d ^= last;
	sip_round(&s);
	s.a ^= last;
	s.c ^= 0xff;
	for (int k = 0; k < 3; k++)
		sip_round(&s);
	word = s.a ^ s.b ^ s.c ^ s.d;
	return (unsigned)(word ^ word >> 32);
}
