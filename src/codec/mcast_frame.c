#include "codec/mcast_frame.h"

#include <assert.h>
#include <errno.h>

#include "base/cursor.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/text.h"

enum { N_BITS = 14 };

struct mcast_sid mcast_sid_of(uint32_t counter, uint32_t random)
{
	struct mcast_sid sid;

	for (unsigned i = 0; i < 4; i++) {
		sid.b[i] = (uint8_t)(counter >> (24 - 8 * i));
		sid.b[4 + i] = (uint8_t)(random >> (24 - 8 * i));
	}
	return sid;
}

char *mcast_sid_hex(const struct mcast_sid *sid, char ret[static MCAST_SID_HEX_BYTES])
{
	return text_hex(SPAN_OF(sid->b), ret);
}

int mcast_sid_parse(struct span hex, struct mcast_sid *ret)
{
	struct mcast_sid sid;
	int r = text_parse_hex(hex, sid.b, MCAST_SID_BYTES);

	if (r < 0)
		return r;
	*ret = sid;
	return 0;
}

size_t mcast_mic_bytes(unsigned type)
{
	switch (type) {
	case MCAST_DATA:
		return MCAST_MIC_DATA_BYTES;
	case MCAST_STATUS:
	case MCAST_ANNOUNCE:
	case MCAST_END:
		return MCAST_MIC_CONTROL_BYTES;
	default:
		return 0;
	}
}

static int data_decode(struct cursor *c, struct mcast_data *ret)
{
	ret->g = cur_u8(c);
	uint16_t in = cur_le16(c);
	ret->n = in & MCAST_N_MAX;
	ret->fragment = cur_take(c, cur_left(c));
	if (!cur_ok(c) || ret->n == 0 || in >> N_BITS != (ret->g & 3) || ret->fragment.n == 0 ||
	    ret->fragment.n > MCAST_FRAGMENT_BYTES_MAX)
		return -EBADMSG;
	return 0;
}

static int status_decode(struct cursor *c, struct mcast_status *ret)
{
	uint8_t seen[256 / 8] = { 0 };

	ret->seq = cur_u8(c);
	ret->flags = cur_u8(c);
	ret->prob = cur_u8(c);
	ret->window_slots = cur_le16(c);
	ret->n_expected = cur_le16(c);
	ret->n_deficits = cur_u8(c);
	if (!cur_ok(c) || ret->seq == 0 || ret->n_deficits > MCAST_STATUS_DEFICITS_MAX)
		return -EBADMSG;
	for (unsigned i = 0; i < ret->n_deficits; i++) {
		uint8_t g = cur_u8(c);
		ret->deficits[i] = (struct mcast_status_deficit){ g, cur_u8(c) };
		if (!cur_ok(c) || seen[g / 8] >> (g % 8) & 1)
			return -EBADMSG;
		seen[g / 8] |= (uint8_t)(1 << (g % 8));
	}
	return cur_at_end(c) ? 0 : -EBADMSG;
}

static int announce_decode(struct cursor *c, uint8_t sid8, struct mcast_announce *ret)
{
	struct span sid = cur_take(c, MCAST_SID_BYTES);

	ret->size = cur_le32(c);
	ret->z = cur_u8(c);
	ret->log2_e = cur_u8(c);
	ret->alg = cur_u8(c);
	ret->k = (uint16_t)(cur_u8(c) * 8);
	struct span digest = cur_take(c, sizeof(ret->digest16));
	ret->start_s = cur_le32(c);
	ret->length_s = cur_le16(c);
	ret->pace_ms = cur_le16(c);
	ret->gfirst = cur_u8(c);
	ret->glast = cur_u8(c);
	ret->slot_ms = cur_u8(c);
	ret->gid = cur_u8(c);
	if (!cur_at_end(c))
		return -EBADMSG;
	memcpy(ret->sid.b, sid.p, MCAST_SID_BYTES);
	memcpy(ret->digest16, digest.p, sizeof(ret->digest16));
	if (mcast_sid8(&ret->sid) != sid8 || ret->k == 0 || ret->z == 0 || ret->gfirst > ret->glast)
		return -EBADMSG;
	return 0;
}

static int end_decode(struct cursor *c, enum mcast_end *ret)
{
	uint8_t reason = cur_u8(c);

	if (!cur_at_end(c))
		return -EBADMSG;
	if (reason > MCAST_END_WINDOW)
		return -ENOTSUP;
	*ret = (enum mcast_end)reason;
	return 0;
}

int mcast_frame_decode(struct span in, struct mcast_frame *ret)
{
	struct mcast_frame f = { 0 };

	if (in.n == 0 || in.n > MCAST_FRAME_BYTES_MAX)
		return -EBADMSG;
	size_t mic = mcast_mic_bytes(in.p[0]);
	if (mic == 0)
		return -ENOTSUP;
	if (in.n < 2 + mic)
		return -EBADMSG;
	f.body = span_sub(in, 0, in.n - mic);
	f.mic = span_sub(in, in.n - mic, mic);
	struct cursor c = { .s = f.body };
	f.type = (enum mcast_type)cur_u8(&c);
	f.sid8 = cur_u8(&c);

	int r = -ENOTSUP;
	switch (f.type) {
	case MCAST_DATA:
		r = data_decode(&c, &f.data);
		break;
	case MCAST_STATUS:
		r = status_decode(&c, &f.status);
		break;
	case MCAST_ANNOUNCE:
		r = announce_decode(&c, f.sid8, &f.announce);
		break;
	case MCAST_END:
		r = end_decode(&c, &f.end);
		break;
	}
	if (r == 0)
		*ret = f;
	return r;
}

struct out {
	uint8_t *p;
	size_t n;
};

static void put_bytes(struct out *o, const void *p, size_t n)
{
	memcpy(o->p + o->n, p, n);
	o->n += n;
}

static void put_le(struct out *o, uint32_t v, size_t n)
{
	for (; n > 0; n--, v >>= 8)
		o->p[o->n++] = (uint8_t)v;
}

static struct out body_of(enum mcast_type type, uint8_t sid8, uint8_t *ret)
{
	ret[0] = (uint8_t)type;
	ret[1] = sid8;
	return (struct out){ ret, 2 };
}

size_t mcast_data_encode(uint8_t sid8, const struct mcast_data *d, uint8_t ret[static MCAST_BODY_BYTES_MAX])
{
	struct out o = body_of(MCAST_DATA, sid8, ret);

	assert(d->n >= 1 && d->n <= MCAST_N_MAX && d->fragment.n >= 1 && d->fragment.n <= MCAST_FRAGMENT_BYTES_MAX);
	put_le(&o, d->g, 1);
	put_le(&o, (uint32_t)(d->g & 3) << N_BITS | d->n, 2);
	put_bytes(&o, d->fragment.p, d->fragment.n);
	return o.n;
}

size_t mcast_status_encode(uint8_t sid8, const struct mcast_status *s, uint8_t ret[static MCAST_BODY_BYTES_MAX])
{
	struct out o = body_of(MCAST_STATUS, sid8, ret);

	assert(s->seq != 0 && s->n_deficits <= MCAST_STATUS_DEFICITS_MAX);
	put_le(&o, s->seq, 1);
	put_le(&o, s->flags, 1);
	put_le(&o, s->prob, 1);
	put_le(&o, s->window_slots, 2);
	put_le(&o, s->n_expected, 2);
	put_le(&o, s->n_deficits, 1);
	for (unsigned i = 0; i < s->n_deficits; i++) {
		put_le(&o, s->deficits[i].g, 1);
		put_le(&o, s->deficits[i].d, 1);
	}
	return o.n;
}

size_t mcast_announce_encode(const struct mcast_announce *a, uint8_t ret[static MCAST_BODY_BYTES_MAX])
{
	struct out o = body_of(MCAST_ANNOUNCE, mcast_sid8(&a->sid), ret);

	assert(a->k != 0 && a->k % 8 == 0 && a->k / 8 <= UINT8_MAX && a->z != 0 && a->gfirst <= a->glast);
	put_bytes(&o, a->sid.b, MCAST_SID_BYTES);
	put_le(&o, a->size, 4);
	put_le(&o, a->z, 1);
	put_le(&o, a->log2_e, 1);
	put_le(&o, a->alg, 1);
	put_le(&o, a->k / 8u, 1);
	put_bytes(&o, a->digest16, sizeof(a->digest16));
	put_le(&o, a->start_s, 4);
	put_le(&o, a->length_s, 2);
	put_le(&o, a->pace_ms, 2);
	put_le(&o, a->gfirst, 1);
	put_le(&o, a->glast, 1);
	put_le(&o, a->slot_ms, 1);
	put_le(&o, a->gid, 1);
	return o.n;
}

size_t mcast_end_encode(uint8_t sid8, enum mcast_end reason, uint8_t ret[static MCAST_BODY_BYTES_MAX])
{
	struct out o = body_of(MCAST_END, sid8, ret);

	put_le(&o, (uint32_t)reason, 1);
	return o.n;
}

size_t mcast_data_ts004(struct span body, uint8_t ret[static MCAST_BODY_BYTES_MAX])
{
	assert(body.n > MCAST_DATA_HEAD_BYTES && body.n <= MCAST_BODY_BYTES_MAX && body.p[0] == MCAST_DATA);
	ret[0] = body.p[0];
	memcpy(ret + 1, body.p + 3, body.n - 3);
	return body.n - 2;
}

void mcast_mic_key(const struct mcast_sid *sid, const uint8_t group_key[static MCAST_KEY_BYTES], uint8_t ret[static MAC_CMAC_KEY_BYTES])
{
	mac_hkdf_sha256(SPAN_OF(sid->b), SPAN(group_key, MCAST_KEY_BYTES), SPAN_LIT("mcd1-mic"), ret, MAC_CMAC_KEY_BYTES);
}

size_t mcast_frame_seal(struct mac_cmac *mk, const struct mcast_sid *sid, uint8_t *frame, size_t n)
{
	uint8_t tag[MAC_CMAC_BYTES];

	assert(n >= 2 && n <= MCAST_BODY_BYTES_MAX);
	size_t mic = mcast_mic_bytes(frame[0]);
	mac_cmac_tag(mk, SPAN_OF(sid->b), SPAN(frame, n), tag);
	memcpy(frame + n, tag, mic);
	return n + mic;
}

bool mcast_frame_check(struct mac_cmac *mk, const struct mcast_sid *sid, const struct mcast_frame *f)
{
	uint8_t tag[MAC_CMAC_BYTES];

	mac_cmac_tag(mk, SPAN_OF(sid->b), f->body, tag);
	return bytes_eq_ct(SPAN(tag, f->mic.n), f->mic);
}
