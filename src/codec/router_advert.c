#include "codec/router_advert.h"

#include <errno.h>

#include "base/cursor.h"

enum { OPTION_SLLA = 1, OPTION_PREFIX = 3, OPTION_MTU = 5, OPTION_CONTEXT = 34, UNIT = 8 };
enum { FLAG_MANAGED = 0x80, FLAG_OTHER = 0x40, PREFIX_ON_LINK = 0x80, PREFIX_AUTONOMOUS = 0x40, CONTEXT_COMPRESS = 0x10 };

static bool is_encodable(const struct router_advert *a)
{
	if (a->n_prefixes > ROUTER_PREFIXES_MAX || a->n_contexts > ROUTER_CONTEXTS_MAX || a->n_lladdr > ROUTER_LLADDR_BYTES_MAX ||
	    a->lifetime_s > ROUTER_LIFETIME_S_MAX)
		return false;
	for (size_t i = 0; i < a->n_prefixes; i++)
		if (a->prefixes[i].bits > 128 || a->prefixes[i].preferred_s > a->prefixes[i].valid_s)
			return false;
	for (size_t i = 0; i < a->n_contexts; i++)
		if (a->contexts[i].bits > 128 || a->contexts[i].id > 15)
			return false;
	return true;
}

/* The first `bits` of it, and zeros: the rest must not be sent (RFC 4861 4.6.2). */
static void add_prefix_bytes(struct buf *b, const uint8_t prefix[static 16], uint8_t bits, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned left = bits > 8 * i ? bits - 8 * (unsigned)i : 0;
		uint8_t mask = left >= 8 ? 0xff : (uint8_t)(0xff00u >> left);

		buf_add_u8(b, prefix[i] & mask);
	}
}

static void add_lladdr(struct buf *b, const struct router_advert *a)
{
	size_t units = (2 + a->n_lladdr + UNIT - 1) / UNIT;

	if (a->n_lladdr == 0)
		return;
	buf_add_u8(b, OPTION_SLLA);
	buf_add_u8(b, (uint8_t)units);
	buf_add(b, SPAN(a->lladdr, a->n_lladdr));
	for (size_t n = 2 + a->n_lladdr; n < units * UNIT; n++)
		buf_add_u8(b, 0);
}

static void add_prefix(struct buf *b, const struct router_prefix *p)
{
	buf_add_u8(b, OPTION_PREFIX);
	buf_add_u8(b, 4);
	buf_add_u8(b, p->bits);
	buf_add_u8(b, (uint8_t)((p->on_link ? PREFIX_ON_LINK : 0) | (p->autonomous ? PREFIX_AUTONOMOUS : 0)));
	buf_add_be(b, p->valid_s, 4);
	buf_add_be(b, p->preferred_s, 4);
	buf_add_be(b, 0, 4);
	add_prefix_bytes(b, p->prefix, p->bits, 16);
}

static void add_context(struct buf *b, const struct router_context *c)
{
	size_t n = c->bits > 64 ? 16 : 8;

	buf_add_u8(b, OPTION_CONTEXT);
	buf_add_u8(b, (uint8_t)(1 + n / UNIT));
	buf_add_u8(b, c->bits);
	buf_add_u8(b, (uint8_t)((c->compress ? CONTEXT_COMPRESS : 0) | c->id));
	buf_add_be(b, 0, 2);
	buf_add_be(b, c->lifetime_min, 2);
	add_prefix_bytes(b, c->prefix, c->bits, n);
}

int router_advert_encode(const struct router_advert *a, struct buf *ret)
{
	if (!is_encodable(a))
		return -EINVAL;
	buf_add_u8(ret, ICMP6_RA);
	buf_add_u8(ret, 0);
	buf_add_be(ret, 0, 2);                 /* checksum */
	buf_add_u8(ret, a->hop_limit);
	buf_add_u8(ret, (uint8_t)((a->managed ? FLAG_MANAGED : 0) | (a->other ? FLAG_OTHER : 0)));
	buf_add_be(ret, a->lifetime_s, 2);
	buf_add_be(ret, a->reachable_ms, 4);
	buf_add_be(ret, a->retrans_ms, 4);
	add_lladdr(ret, a);
	if (a->mtu) {
		buf_add_u8(ret, OPTION_MTU);
		buf_add_u8(ret, 1);
		buf_add_be(ret, 0, 2);
		buf_add_be(ret, a->mtu, 4);
	}
	for (size_t i = 0; i < a->n_prefixes; i++)
		add_prefix(ret, &a->prefixes[i]);
	for (size_t i = 0; i < a->n_contexts; i++)
		add_context(ret, &a->contexts[i]);
	return buf_ok(ret) ? 0 : -ENOMEM;
}

static void take_prefix_bytes(struct cursor *c, uint8_t prefix[static 16], size_t n)
{
	struct span s = cur_take(c, n);

	memset(prefix, 0, 16);
	if (s.n)
		memcpy(prefix, s.p, s.n);
}

static int take_prefix(struct cursor *c, struct router_advert *a)
{
	struct router_prefix p = { .bits = cur_u8(c) };
	uint8_t flags = cur_u8(c);

	p.on_link = flags & PREFIX_ON_LINK;
	p.autonomous = flags & PREFIX_AUTONOMOUS;
	p.valid_s = cur_be32(c);
	p.preferred_s = cur_be32(c);
	(void)cur_be32(c);
	take_prefix_bytes(c, p.prefix, 16);
	if (!cur_at_end(c) || p.bits > 128)
		return -EBADMSG;
	if (a->n_prefixes == ROUTER_PREFIXES_MAX)
		return -E2BIG;
	a->prefixes[a->n_prefixes++] = p;
	return 0;
}

static int take_context(struct cursor *c, struct router_advert *a)
{
	struct router_context x = { .bits = cur_u8(c) };
	uint8_t flags = cur_u8(c);
	size_t n;

	(void)cur_be16(c);
	x.id = flags & 0x0f;
	x.compress = flags & CONTEXT_COMPRESS;
	x.lifetime_min = cur_be16(c);
	n = cur_left(c);
	if ((n != 8 && n != 16) || x.bits > 8 * n)
		return -EBADMSG;
	take_prefix_bytes(c, x.prefix, n);
	if (a->n_contexts == ROUTER_CONTEXTS_MAX)
		return -E2BIG;
	a->contexts[a->n_contexts++] = x;
	return 0;
}

static int take_option(uint8_t type, struct span body, struct router_advert *a)
{
	struct cursor c = { .s = body };

	switch (type) {
	case OPTION_SLLA:
		if (body.n > ROUTER_LLADDR_BYTES_MAX)
			return -EBADMSG;
		a->n_lladdr = body.n;
		memcpy(a->lladdr, body.p, body.n);
		return 0;
	case OPTION_MTU:
		(void)cur_be16(&c);
		a->mtu = cur_be32(&c);
		return cur_at_end(&c) ? 0 : -EBADMSG;
	case OPTION_PREFIX:
		return take_prefix(&c, a);
	case OPTION_CONTEXT:
		return take_context(&c, a);
	default:
		return 0;
	}
}

/* Every option is at least one unit long: an empty one would never end. */
static int take_options(struct cursor *c, struct router_advert *a)
{
	for (int i = 0; cur_left(c) > 0; i++) {
		uint8_t type = cur_u8(c), units = cur_u8(c);

		if (i == ROUTER_OPTIONS_MAX || units == 0)
			return -EBADMSG;
		struct span body = cur_take(c, (size_t)units * UNIT - 2);
		int r = !cur_ok(c) ? -EBADMSG : a ? take_option(type, body, a) : 0;
		if (r < 0)
			return r;
	}
	return cur_ok(c) ? 0 : -EBADMSG;
}

int router_advert_decode(struct span in, struct router_advert *ret)
{
	struct cursor c = { .s = in };
	struct router_advert a = { 0 };

	if (cur_u8(&c) != ICMP6_RA || cur_u8(&c) != 0)
		return -EBADMSG;
	(void)cur_be16(&c);
	a.hop_limit = cur_u8(&c);
	uint8_t flags = cur_u8(&c);
	a.managed = flags & FLAG_MANAGED;
	a.other = flags & FLAG_OTHER;
	a.lifetime_s = cur_be16(&c);
	a.reachable_ms = cur_be32(&c);
	a.retrans_ms = cur_be32(&c);
	if (!cur_ok(&c))
		return -EBADMSG;
	int r = take_options(&c, &a);
	if (r < 0)
		return r;
	*ret = a;
	return 0;
}

int router_solicit_decode(struct span in)
{
	struct cursor c = { .s = in };

	if (cur_u8(&c) != ICMP6_RS || cur_u8(&c) != 0)
		return -EBADMSG;
	(void)cur_take(&c, 6);                 /* checksum, reserved */
	return cur_ok(&c) ? take_options(&c, NULL) : -EBADMSG;
}
