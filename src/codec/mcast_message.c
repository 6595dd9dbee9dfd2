#include "codec/mcast_message.h"

#include <errno.h>

#include "base/text.h"
#include "codec/cbor.h"
#include "codec/mcast_geometry.h"

enum {
	KEY_SID = 1, KEY_SIZE, KEY_DIGEST, KEY_Z, KEY_K, KEY_LOG2_E, KEY_ALG, KEY_TABLE, KEY_GROUP, KEY_GID, KEY_KEY, KEY_WINDOWS, KEY_PACE,
	KEY_REPORT_SLOT, KEY_ENVELOPE, KEY_STORAGE_SLOT, KEY_LIFETIME, KEY_PULL,
	START_S_BITS = 40,
};
#define BIT(key_) (1u << (key_))
static const uint32_t setup_needs = BIT(KEY_SID) | BIT(KEY_SIZE) | BIT(KEY_DIGEST) | BIT(KEY_Z) | BIT(KEY_K) | BIT(KEY_LOG2_E) | BIT(KEY_ALG) |
				    BIT(KEY_GROUP) | BIT(KEY_GID) | BIT(KEY_WINDOWS) | BIT(KEY_PACE) | BIT(KEY_REPORT_SLOT);

/* An unsigned integer of low .. high; anything else leaves *error. */
static uint64_t read_uint(struct cbor *c, uint64_t low, uint64_t high, int *error)
{
	uint64_t v = cbor_uint(c);

	if (cbor_ok(c) && (v < low || v > high) && *error == 0)
		*error = -ERANGE;
	return v;
}

static int read_fixed(struct cbor *c, void *ret, size_t n)
{
	struct span s = cbor_bytes(c);

	if (!cbor_ok(c) || s.n != n)
		return -EBADMSG;
	memcpy(ret, s.p, n);
	return 0;
}

static int map_begin(struct span in, size_t max, struct cbor *ret, size_t *ret_pairs)
{
	if (in.n > max)
		return -EMSGSIZE;
	if (cbor_check(in, 0, NULL) < 0)
		return -EBADMSG;
	*ret = cbor_reader(in);
	*ret_pairs = cbor_map(ret);
	return cbor_ok(ret) ? 0 : -EBADMSG;
}

/* The next key of the map; false after the last one, or when the reader is bad. */
static bool map_next(struct cbor *c, size_t *pairs, uint64_t *ret_key)
{
	if (*pairs == 0 || !cbor_ok(c))
		return false;
	--*pairs;
	*ret_key = cbor_uint(c);
	return cbor_ok(c);
}

/* ---- setup ---- */

static bool is_multicast(const uint8_t a[static 16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return a[0] == 0xff || (memcmp(a, mapped, sizeof(mapped)) == 0 && a[12] >> 4 == 0xe);
}

static int read_group(struct cbor *c, struct mcast_setup *s)
{
	int r = 0;

	if (cbor_array(c) != 2)
		return -EBADMSG;
	r = read_fixed(c, s->address, sizeof(s->address));
	if (r < 0)
		return r;
	s->port = (uint16_t)read_uint(c, 1, UINT16_MAX, &r);
	return r < 0 ? r : is_multicast(s->address) ? 0 : -ERANGE;
}

static int read_windows(struct cbor *c, struct mcast_windows *w)
{
	int r = 0;

	if (cbor_array(c) != 4)
		return -EBADMSG;
	w->start_s = read_uint(c, 0, (uint64_t)1 << START_S_BITS, &r);
	w->length_s = (uint32_t)read_uint(c, 0, MCAST_LIFETIME_S_MAX, &r);
	w->period_s = (uint32_t)read_uint(c, 0, MCAST_LIFETIME_S_MAX, &r);
	w->count = (uint32_t)read_uint(c, 0, UINT16_MAX, &r);
	if (r < 0 || !cbor_ok(c))
		return r < 0 ? r : -EBADMSG;
	if (w->count == 0)
		return w->start_s || w->length_s || w->period_s ? -ERANGE : 0;
	return w->length_s == 0 || (w->count > 1 && w->period_s < w->length_s) ? -ERANGE : 0;
}

static int read_path(struct cbor *c, struct span *ret)
{
	*ret = cbor_text(c);
	if (!cbor_ok(c) || ret->n == 0 || !text_is_clean(*ret))
		return -EBADMSG;
	return ret->n > MCAST_PATH_BYTES_MAX ? -EMSGSIZE : 0;
}

static int read_setup_item(struct cbor *c, uint64_t key, struct mcast_setup *s)
{
	int r = 0;

	switch (key) {
	case KEY_SID:
		return read_fixed(c, s->sid.b, MCAST_SID_BYTES);
	case KEY_SIZE:
		s->size = (uint32_t)read_uint(c, 1, UINT32_MAX, &r);
		return r;
	case KEY_DIGEST:
		return read_fixed(c, s->digest.b, DIGEST_BYTES);
	case KEY_Z:
		s->z = (uint8_t)read_uint(c, MCAST_Z_MIN, MCAST_Z_MAX, &r);
		return r;
	case KEY_K:
		s->k = (uint16_t)read_uint(c, MCAST_K_MIN, MCAST_K_MAX, &r);
		return r;
	case KEY_LOG2_E:
		s->log2_e = (uint8_t)read_uint(c, MCAST_LOG2_E_MIN, MCAST_LOG2_E_MAX, &r);
		return r;
	case KEY_ALG:
		s->alg = (uint8_t)read_uint(c, 0, UINT8_MAX, &r); /* one that is not known is the node's to refuse, with its ack */
		return r;
	case KEY_TABLE:
		s->table = cbor_bytes(c);
		return 0;
	case KEY_GROUP:
		return read_group(c, s);
	case KEY_GID:
		s->gid = (uint8_t)read_uint(c, 0, UINT8_MAX, &r);
		return r;
	case KEY_KEY:
		s->has_key = true;
		return read_fixed(c, s->key, MCAST_KEY_BYTES);
	case KEY_WINDOWS:
		return read_windows(c, &s->windows);
	case KEY_PACE:
		s->pace_ms = (uint16_t)read_uint(c, 0, UINT16_MAX, &r);
		return r;
	case KEY_REPORT_SLOT:
		s->slot_ms = (uint8_t)read_uint(c, 1, UINT8_MAX, &r);
		return r;
	case KEY_ENVELOPE:
		return read_path(c, &s->envelope_path);
	case KEY_STORAGE_SLOT:
		s->has_slot = true;
		s->slot = (uint32_t)read_uint(c, 0, UINT32_MAX, &r);
		return r;
	case KEY_LIFETIME:
		s->lifetime_s = (uint32_t)read_uint(c, 1, MCAST_LIFETIME_S_MAX, &r);
		return r;
	default:
		(void)cbor_skip(c); /* of a later version */
		return 0;
	}
}

static int setup_geometry(const struct mcast_setup *s, bool has_table)
{
	struct mcast_geometry geo;
	int r = mcast_geometry_of(s->size, s->z, s->k, s->log2_e, &geo);

	if (r < 0)
		return r == -EFBIG ? r : -ERANGE;
	if (has_table && s->table.n != (size_t)geo.n_generations * MCAST_GENERATION_DIGEST_BYTES)
		return -EBADMSG;
	return 0;
}

int mcast_setup_decode(struct span in, struct mcast_setup *ret)
{
	struct mcast_setup s = { .lifetime_s = MCAST_LIFETIME_S_DEFAULT };
	uint32_t seen = 0;
	struct cbor c;
	uint64_t key;
	size_t pairs;
	int r = map_begin(in, MCAST_SETUP_BYTES_MAX, &c, &pairs);

	if (r < 0)
		return r;
	while (map_next(&c, &pairs, &key)) {
		if (key == KEY_PULL)
			return -EBADMSG;
		r = read_setup_item(&c, key, &s);
		if (!cbor_ok(&c))
			return -EBADMSG;
		if (r < 0)
			return r;
		if (key <= KEY_LIFETIME)
			seen |= BIT(key);
	}
	if (!cbor_at_end(&c) || (seen & setup_needs) != setup_needs)
		return -EBADMSG;
	r = setup_geometry(&s, seen & BIT(KEY_TABLE));
	if (r < 0)
		return r;
	*ret = s;
	return 0;
}

static void put_uint(struct buf *b, unsigned key, uint64_t v)
{
	cbor_put_uint(b, key);
	cbor_put_uint(b, v);
}

static void put_bytes(struct buf *b, unsigned key, struct span s)
{
	cbor_put_uint(b, key);
	cbor_put_bytes(b, s);
}

/* Room for the whole message at once, so that growing leaves no copy of the group key behind. */
static void reserve(struct buf *b, size_t n)
{
	if (buf_grow(b, n))
		b->n -= n;
}

void mcast_setup_encode(const struct mcast_setup *s, struct buf *ret)
{
	bool has_lifetime = s->lifetime_s != 0 && s->lifetime_s != MCAST_LIFETIME_S_DEFAULT;

	reserve(ret, MCAST_SETUP_BYTES_MAX);
	cbor_put_map(ret, 12u + (s->table.n > 0) + s->has_key + (s->envelope_path.n > 0) + s->has_slot + has_lifetime);
	put_bytes(ret, KEY_SID, SPAN_OF(s->sid.b));
	put_uint(ret, KEY_SIZE, s->size);
	put_bytes(ret, KEY_DIGEST, SPAN_OF(s->digest.b));
	put_uint(ret, KEY_Z, s->z);
	put_uint(ret, KEY_K, s->k);
	put_uint(ret, KEY_LOG2_E, s->log2_e);
	put_uint(ret, KEY_ALG, s->alg);
	if (s->table.n)
		put_bytes(ret, KEY_TABLE, s->table);
	cbor_put_uint(ret, KEY_GROUP);
	cbor_put_array(ret, 2);
	cbor_put_bytes(ret, SPAN_OF(s->address));
	cbor_put_uint(ret, s->port);
	put_uint(ret, KEY_GID, s->gid);
	if (s->has_key)
		put_bytes(ret, KEY_KEY, SPAN_OF(s->key));
	cbor_put_uint(ret, KEY_WINDOWS);
	cbor_put_array(ret, 4);
	cbor_put_uint(ret, s->windows.start_s);
	cbor_put_uint(ret, s->windows.length_s);
	cbor_put_uint(ret, s->windows.period_s);
	cbor_put_uint(ret, s->windows.count);
	put_uint(ret, KEY_PACE, s->pace_ms);
	put_uint(ret, KEY_REPORT_SLOT, s->slot_ms);
	if (s->envelope_path.n) {
		cbor_put_uint(ret, KEY_ENVELOPE);
		cbor_put_text(ret, s->envelope_path);
	}
	if (s->has_slot)
		put_uint(ret, KEY_STORAGE_SLOT, s->slot);
	if (has_lifetime)
		put_uint(ret, KEY_LIFETIME, s->lifetime_s);
}

/* ---- pull ---- */

int mcast_post_kind(struct span in)
{
	bool is_pull = false;
	struct cbor c;
	uint64_t key;
	size_t pairs;
	int r = map_begin(in, MCAST_SETUP_BYTES_MAX, &c, &pairs);

	if (r < 0)
		return r;
	while (map_next(&c, &pairs, &key)) {
		is_pull |= key == KEY_PULL;
		(void)cbor_skip(&c);
	}
	return !cbor_at_end(&c) ? -EBADMSG : is_pull ? MCAST_POST_PULL : MCAST_POST_SETUP;
}

int mcast_pull_decode(struct span in, struct mcast_sid *ret)
{
	bool has_sid = false, has_pull = false;
	struct mcast_sid sid = { 0 };
	struct cbor c;
	uint64_t key;
	size_t pairs;
	int r = map_begin(in, MCAST_SETUP_BYTES_MAX, &c, &pairs);

	if (r < 0)
		return r;
	while (map_next(&c, &pairs, &key)) {
		if (key == KEY_SID) {
			has_sid = true;
			r = read_fixed(&c, sid.b, MCAST_SID_BYTES);
		} else if (key == KEY_PULL) {
			has_pull = true;
			r = cbor_uint(&c) == 1 ? 0 : -EBADMSG;
		} else {
			(void)cbor_skip(&c);
		}
		if (r < 0)
			return r;
	}
	if (!cbor_at_end(&c) || !has_sid || !has_pull)
		return -EBADMSG;
	*ret = sid;
	return 0;
}

void mcast_pull_encode(const struct mcast_sid *sid, struct buf *ret)
{
	cbor_put_map(ret, 2);
	put_bytes(ret, KEY_SID, SPAN_OF(sid->b));
	put_uint(ret, KEY_PULL, 1);
}

/* ---- acknowledgement ---- */

enum { ACK_SID = 1, ACK_CODE, ACK_L, ACK_K_MAX, ACK_Z_MAX, ACK_COMPLETE };

static int read_ack_item(struct cbor *c, uint64_t key, struct mcast_ack *a)
{
	int r = 0;

	switch (key) {
	case ACK_SID:
		return read_fixed(c, a->sid.b, MCAST_SID_BYTES);
	case ACK_CODE:
		a->code = (enum mcast_ack_code)read_uint(c, 0, MCAST_ACK_COUNT - 1, &r);
		return r;
	case ACK_L:
		a->l = (uint16_t)read_uint(c, 0, MCAST_K_MAX, &r);
		return r;
	case ACK_K_MAX:
		a->k_max = (uint16_t)read_uint(c, 0, UINT16_MAX, &r);
		return r;
	case ACK_Z_MAX:
		a->z_max = (uint8_t)read_uint(c, 0, UINT8_MAX, &r);
		return r;
	case ACK_COMPLETE:
		a->complete = cbor_bytes(c);
		return a->complete.n > MCAST_GENERATIONS_MAX / 8 ? -EMSGSIZE : 0;
	default:
		(void)cbor_skip(c);
		return 0;
	}
}

int mcast_ack_decode(struct span in, struct mcast_ack *ret)
{
	struct mcast_ack a = { 0 };
	uint32_t seen = 0;
	struct cbor c;
	uint64_t key;
	size_t pairs;
	int r = map_begin(in, MCAST_ACK_BYTES_MAX, &c, &pairs);

	if (r < 0)
		return r;
	while (map_next(&c, &pairs, &key)) {
		r = read_ack_item(&c, key, &a);
		if (!cbor_ok(&c))
			return -EBADMSG;
		if (r < 0)
			return r;
		if (key <= ACK_COMPLETE)
			seen |= BIT(key);
	}
	if (!cbor_at_end(&c) || !(seen & BIT(ACK_SID)) || !(seen & BIT(ACK_CODE)))
		return -EBADMSG;
	*ret = a;
	return 0;
}

void mcast_ack_encode(const struct mcast_ack *a, struct buf *ret)
{
	cbor_put_map(ret, 2u + (a->l > 0) + (a->k_max > 0) + (a->z_max > 0) + (a->complete.n > 0));
	put_bytes(ret, ACK_SID, SPAN_OF(a->sid.b));
	put_uint(ret, ACK_CODE, a->code);
	if (a->l)
		put_uint(ret, ACK_L, a->l);
	if (a->k_max)
		put_uint(ret, ACK_K_MAX, a->k_max);
	if (a->z_max)
		put_uint(ret, ACK_Z_MAX, a->z_max);
	if (a->complete.n)
		put_bytes(ret, ACK_COMPLETE, a->complete);
}

const char *mcast_ack_name(enum mcast_ack_code code)
{
	switch (code) {
	case MCAST_ACK_ACCEPTED:
		return "accepted";
	case MCAST_ACK_NO_SPACE:
		return "no space";
	case MCAST_ACK_K:
		return "generation too large";
	case MCAST_ACK_Z:
		return "fragment size";
	case MCAST_ACK_ALG:
		return "parity algorithm";
	case MCAST_ACK_HAVE_IT:
		return "already has it";
	case MCAST_ACK_BUSY:
		return "busy";
	case MCAST_ACK_DEFERRED:
		return "energy, deferred";
	case MCAST_ACK_NO_KEY:
		return "no key";
	case MCAST_ACK_BAD_MANIFEST:
		return "bad manifest";
	case MCAST_ACK_COUNT:
		break;
	}
	return "unknown";
}

unsigned mcast_ack_coap_code(enum mcast_ack_code code)
{
	switch (code) {
	case MCAST_ACK_ACCEPTED:
		return 201;
	case MCAST_ACK_NO_SPACE:
		return 413;
	case MCAST_ACK_HAVE_IT:
	case MCAST_ACK_BUSY:
	case MCAST_ACK_DEFERRED:
		return 409;
	case MCAST_ACK_BAD_MANIFEST:
		return 403;
	case MCAST_ACK_K:
	case MCAST_ACK_Z:
	case MCAST_ACK_ALG:
	case MCAST_ACK_NO_KEY:
	case MCAST_ACK_COUNT:
		break;
	}
	return 422;
}

/* ---- reports ---- */

enum { REPORT_ITEMS = 5, DEFICIT_MAX = MCAST_K_MAX };

int mcast_report_decode(struct span in, struct mcast_report *ret)
{
	struct mcast_report rep = { 0 };
	struct cbor c = cbor_reader(in);
	int r = 0;

	if (in.n > MCAST_REPORT_BYTES_MAX)
		return -EMSGSIZE;
	if (cbor_check(in, 0, NULL) < 0 || cbor_array(&c) != REPORT_ITEMS || read_fixed(&c, rep.sid.b, MCAST_SID_BYTES) < 0)
		return -EBADMSG;
	rep.seq = (uint8_t)read_uint(&c, 0, UINT8_MAX, &r);
	rep.loss_permille = (uint16_t)read_uint(&c, 0, 1000, &r);
	rep.flags = (uint32_t)read_uint(&c, 0, UINT32_MAX, &r);
	size_t n = cbor_map(&c);
	if (cbor_ok(&c) && n > MCAST_REPORT_DEFICITS_MAX)
		return -EMSGSIZE;
	for (size_t i = 0; i < n && cbor_ok(&c); i++) {
		rep.deficits[i].g = (uint8_t)read_uint(&c, 0, MCAST_GENERATIONS_MAX - 1, &r);
		rep.deficits[i].d = (uint16_t)read_uint(&c, 1, DEFICIT_MAX, &r);
	}
	rep.n_deficits = n;
	if (!cbor_at_end(&c))
		return -EBADMSG;
	if (r == 0)
		*ret = rep;
	return r;
}

static size_t uint_bytes(uint64_t v)
{
	return v < 24 ? 1 : v <= UINT8_MAX ? 2 : v <= UINT16_MAX ? 3 : v <= UINT32_MAX ? 5 : 9;
}

/* How many deficits fit beside these flags. */
static size_t report_fits(const struct mcast_report *r, uint32_t flags)
{
	size_t n = 1 + 1 + MCAST_SID_BYTES + uint_bytes(r->seq) + uint_bytes(r->loss_permille) + uint_bytes(flags) + 1, i = 0;

	for (; i < r->n_deficits && i < MCAST_REPORT_DEFICITS_MAX; i++) {
		n += uint_bytes(r->deficits[i].g) + uint_bytes(r->deficits[i].d);
		if (n > MCAST_REPORT_BYTES_MAX)
			break;
	}
	return i;
}

void mcast_report_encode(const struct mcast_report *r, struct buf *ret)
{
	uint32_t flags = r->flags;
	size_t n = report_fits(r, flags);

	if (n < r->n_deficits) {
		flags |= MCAST_REPORT_MORE;
		n = report_fits(r, flags);
	}
	cbor_put_array(ret, REPORT_ITEMS);
	cbor_put_bytes(ret, SPAN_OF(r->sid.b));
	cbor_put_uint(ret, r->seq);
	cbor_put_uint(ret, r->loss_permille);
	cbor_put_uint(ret, flags);
	cbor_put_map(ret, n);
	for (size_t i = 0; i < n; i++) {
		cbor_put_uint(ret, r->deficits[i].g);
		cbor_put_uint(ret, r->deficits[i].d);
	}
}

/* ---- missing blocks ---- */

int mcast_missing_decode(struct span in, uint8_t *bits, uint32_t n_blocks)
{
	struct cbor c = cbor_reader(in);
	int n = 0;

	if (in.n == 0)
		return -EBADMSG;
	if (in.n > MCAST_MISSING_BYTES_MAX)
		return -EMSGSIZE;
	while (!cbor_at_end(&c)) {
		uint64_t block = cbor_uint(&c);
		if (!cbor_ok(&c))
			return -EBADMSG;
		if (block >= n_blocks)
			return -ERANGE;
		uint8_t bit = (uint8_t)(1 << (block % 8));
		n += !(bits[block / 8] & bit); /* a number told twice is ignored (RFC 9177 section 5) */
		bits[block / 8] |= bit;
	}
	return n;
}

uint32_t mcast_missing_encode(const uint8_t *bits, uint32_t n_blocks, uint32_t first, struct buf *ret)
{
	size_t start = ret->n;

	for (uint32_t block = first; block < n_blocks; block++) {
		if (!(bits[block / 8] >> (block % 8) & 1))
			continue;
		if (ret->n - start + uint_bytes(block) > MCAST_MISSING_BYTES_MAX)
			return block;
		cbor_put_uint(ret, block);
	}
	return n_blocks;
}
