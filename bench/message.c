#include "message.h"

bool message_read(struct span in, struct message *ret)
{
	unsigned n_token = in.n >= 4 ? in.p[0] & 15 : 0;

	if (in.n < 4 || in.p[0] >> 6 != 1 || n_token > MESSAGE_TOKEN_BYTES_MAX || in.n < 4 + n_token)
		return false;
	*ret = (struct message){
		.type = in.p[0] >> 4 & 3, .code = in.p[1], .mid = (uint16_t)(in.p[2] << 8 | in.p[3]), .token = SPAN(in.p + 4, n_token),
		.option = in.p + 4 + n_token, .end = in.p + in.n,
	};
	return true;
}

/* The extended part of an option's delta or length. */
static bool extend(struct message *m, unsigned *v)
{
	if (*v == 13 && m->option < m->end) {
		*v = 13u + *m->option++;
	} else if (*v == 14 && m->end - m->option >= 2) {
		*v = 269u + (unsigned)(m->option[0] << 8 | m->option[1]);
		m->option += 2;
	} else if (*v > 12) {
		m->bad = true;
	}
	return !m->bad;
}

bool message_option(struct message *m, unsigned *ret_number, struct span *ret)
{
	unsigned delta, n;

	if (m->bad || m->option >= m->end)
		return false;
	if (*m->option == 0xff) {
		m->payload = SPAN(m->option + 1, (size_t)(m->end - m->option - 1));
		m->bad = m->payload.n == 0;
		m->option = m->end;
		return false;
	}
	delta = *m->option >> 4;
	n = *m->option++ & 15;
	if (!extend(m, &delta) || !extend(m, &n))
		return false;
	if (n > (size_t)(m->end - m->option)) {
		m->bad = true;
		return false;
	}
	m->number += delta;
	*ret_number = m->number;
	*ret = SPAN(m->option, n);
	m->option += n;
	return true;
}

bool block_read(struct span v, struct block *ret)
{
	uint32_t x = 0;

	if (v.n > 3)
		return false;
	for (size_t i = 0; i < v.n; i++)
		x = x << 8 | v.p[i];
	*ret = (struct block){ .num = x >> 4, .more = x >> 3 & 1, .szx = x & 7 };
	return ret->szx <= MESSAGE_SZX_MAX;
}

uint32_t block_value(const struct block *b)
{
	return b->num << 4 | (uint32_t)b->more << 3 | b->szx;
}

size_t message_answer(const struct message *m, unsigned code, uint8_t *out)
{
	out[0] = (uint8_t)(0x40 | (m->type == MESSAGE_CON ? MESSAGE_ACK : MESSAGE_NON) << 4 | m->token.n);
	out[1] = (uint8_t)code;
	out[2] = (uint8_t)(m->mid >> 8);
	out[3] = (uint8_t)m->mid;
	memcpy(out + 4, m->token.p, m->token.n);
	return 4 + m->token.n;
}

static uint8_t nibble(size_t v)
{
	return v < 13 ? (uint8_t)v : v < 269 ? 13 : 14;
}

static uint8_t *put_extended(uint8_t *p, size_t v)
{
	if (v >= 269) {
		*p++ = (uint8_t)((v - 269) >> 8);
		*p++ = (uint8_t)(v - 269);
	} else if (v >= 13) {
		*p++ = (uint8_t)(v - 13);
	}
	return p;
}

uint8_t *option_put(uint8_t *p, unsigned *last, unsigned number, struct span v)
{
	unsigned delta = number - *last;

	*p++ = (uint8_t)(nibble(delta) << 4 | nibble(v.n));
	p = put_extended(p, delta);
	p = put_extended(p, v.n);
	if (v.n)
		memcpy(p, v.p, v.n);
	*last = number;
	return p + v.n;
}

uint8_t *option_put_uint(uint8_t *p, unsigned *last, unsigned number, uint32_t v)
{
	uint8_t b[4];
	size_t n = 0;

	for (int shift = 24; shift >= 0; shift -= 8)
		if (n || v >> shift)
			b[n++] = (uint8_t)(v >> shift);
	return option_put(p, last, number, SPAN(b, n));
}
