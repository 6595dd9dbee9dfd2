#include "node/mcast_receiver.h"

#include <string.h>

/* Numbers in comments are those of the specification: dormouse-multicast(7), MCD-3 and so on. */
enum {
	T_STATUS = 0x01, T_DATA = 0x08, T_ANNOUNCE = 0x42, T_END = 0x43,
	MIC_DATA = 4, MIC_CONTROL = 8, DATA_HEAD = 5, STATUS_HEAD = 10, ANNOUNCE_BYTES = 46, END_BYTES = 3,
	STATUS_ALL = 1, STATUS_ECHO = 2, STATUS_DEFICITS_MAX = 24, STATUS_OLD = 32,
	ROW_MAX = 8191, N_MAX = 16383, UNIT_ROW = 0x8000,              /* a row's header: parity n, or UNIT_ROW | fragment */
	OWNER_SHIFT = 10, FROZEN = 0xffff, SPOILED = 0x80, NO_SLOT = 0xff, GEN_STATE = 0x7f,
	VAIN_ROWS = 16,                                                /* so many by chance: once in 65536 */
	SAVE_EVERY = 64, CAROUSEL = 3, BAD_PULLS = 3,
	TAIL = 8,                                                      /* so many fragments at the end of a pass may be lost */
	SNIFF_ROWS = 4,                                                /* a nap while the length of a pass is not known yet */
	ASK_EVERY_MS = 5 * 60 * 1000, WINDOW_END_MS = 2000, SILENCE_MS = 3000, SILENCE_GAPS = 20,
	PACE_MS = 50, SLOT_MS = 50, LIFETIME_S = 604800, LIFETIME_S_MAX = 1728000,     /* 20 days: the clock wraps after 49 */
};

_Static_assert(MCR_L <= 255 && MCR_K_MAX % 8 == 0 && MCR_F_MAX % 8 == 0 && MCR_G_MAX <= 256, "limits");
_Static_assert(MCR_Z_MAX % 8 == 0 && MCR_Z_MAX <= 232 && MCR_ERASE_BYTES >= MCR_HEADER_BYTES + MCR_Z_MAX, "limits");
_Static_assert((MCR_ERASE_BYTES / (MCR_HEADER_BYTES + MCR_Z_MAX)) * MCR_SCRATCH_GRANULES >=
	       MCR_L + (MCR_K_MAX / 8 + MCR_HEADER_BYTES + MCR_Z_MAX - 1) / (MCR_HEADER_BYTES + MCR_Z_MAX), "scratch flash");

/* --- small things ------------------------------------------------------------------------------ */

static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }
static bool bit_get(const uint8_t *p, unsigned i) { return p[i / 8] >> (i % 8) & 1; }
static void bit_set(uint8_t *p, unsigned i) { p[i / 8] = (uint8_t)(p[i / 8] | 1u << (i % 8)); }
static void bit_clear(uint8_t *p, unsigned i) { p[i / 8] = (uint8_t)(p[i / 8] & ~(1u << (i % 8))); }
static unsigned le16(const uint8_t *p) { return p[0] | (unsigned)p[1] << 8; }
static uint32_t le32(const uint8_t *p) { return le16(p) | (uint32_t)le16(p + 2) << 16; }
static void put_le16(uint8_t *p, unsigned v) { p[0] = (uint8_t)v; p[1] = (uint8_t)(v >> 8); }
static void put_le32(uint8_t *p, uint32_t v) { put_le16(p, v & 0xffff); put_le16(p + 2, v >> 16); }
static bool is_before(uint32_t a, uint32_t b) { return (int32_t)(a - b) < 0; }
static uint32_t counter_of(const uint8_t *sid) { return (uint32_t)sid[0] << 24 | (uint32_t)sid[1] << 16 | (uint32_t)sid[2] << 8 | sid[3]; }

static void xor_into(uint8_t *acc, const uint8_t *p, unsigned n)
{
	for (; n >= 8; n -= 8, acc += 8, p += 8) {
		uint64_t a, x;
		memcpy(&a, acc, 8);
		memcpy(&x, p, 8);
		a ^= x;
		memcpy(acc, &a, 8);
	}
	while (n-- > 0)
		*acc++ ^= *p++;
}

static unsigned bits_in(const uint8_t *p, unsigned n)          /* of the first n bits */
{
	unsigned sum = 0;

	for (unsigned i = 0; i < n; i += 32) {
		uint32_t x = 0;
		memcpy(&x, p + i / 8, least(4, (n - i + 7) / 8));
		if (n - i < 32) {
			uint8_t mask[4] = { 0 };
			for (unsigned j = 0; j < n - i; j++)
				bit_set(mask, j);
			uint32_t m;
			memcpy(&m, mask, 4);
			x &= m;
		}
		x -= x >> 1 & 0x55555555;
		x = (x & 0x33333333) + (x >> 2 & 0x33333333);
		sum += ((x + (x >> 4)) & 0x0f0f0f0f) * 0x01010101u >> 24;
	}
	return sum;
}

static bool is_erased(const uint8_t *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (p[i] != 0xff)
			return false;
	return true;
}

/* --- parity rows (MCD-7; TS004's own) ---------------------------------------------------------- */

static uint32_t prbs23(uint32_t x) { return x >> 1 | ((x ^ x >> 5) & 1) << 22; }

void mcr_row(unsigned m, unsigned n, unsigned alg, uint8_t *ret)
{
	unsigned mm = m & (m - 1) ? m : m + 1;
	uint32_t x = 1 + 1001u * n;

	memset(ret, 0, (m + 7) / 8);
	for (unsigned drawn = 0; drawn < m / 2;) {
		unsigned i;
		do {
			x = prbs23(x);
			i = x % mm;
		} while (i >= m);
		if (alg == 1 || !bit_get(ret, i))
			drawn++;
		bit_set(ret, i);
	}
}

/* --- geometry (MCD-3) -------------------------------------------------------------------------- */

static uint32_t gen_offset(const struct mcast_receiver *r, unsigned g) { return ((uint32_t)g * r->q + least(g, r->rem)) << r->log2_e; }

static uint32_t gen_bytes(const struct mcast_receiver *r, unsigned g)
{
	uint32_t off = gen_offset(r, g), n = (uint32_t)(r->q + (g < r->rem)) << r->log2_e;

	return n < r->size - off ? n : r->size - off;
}

static unsigned fragments_in(uint32_t bytes, unsigned z) { return bytes <= z ? 2 : (bytes + z - 1) / z; }
static unsigned gen_m(const struct mcast_receiver *r, unsigned g) { return fragments_in(gen_bytes(r, g), r->z); }

/* Bytes of the map before a generation: those with rem's extra granule come first. */
static unsigned map_at(const struct mcast_receiver *r, unsigned g)
{
	unsigned big = (fragments_in((uint32_t)(r->q + 1) << r->log2_e, r->z) + 7) / 8;
	unsigned small = (fragments_in((uint32_t)r->q << r->log2_e, r->z) + 7) / 8;

	return least(g, r->rem) * big + (g > r->rem ? g - r->rem : 0) * small;
}

static uint8_t *gen_map(struct mcast_receiver *r, unsigned g) { return r->map + map_at(r, g); }
static unsigned gen_held(const struct mcast_receiver *r, unsigned g) { return bits_in(r->map + map_at(r, g), gen_m(r, g)); }
static unsigned gen_missing(const struct mcast_receiver *r, unsigned g) { return gen_m(r, g) - gen_held(r, g); }
static enum mcr_gen_state gen_state(const struct mcast_receiver *r, unsigned g) { return r->gens[g].state & GEN_STATE; }

static void gen_enter(struct mcast_receiver *r, unsigned g, enum mcr_gen_state s)
{
	r->gens[g].state = (uint8_t)((r->gens[g].state & SPOILED) | s);
}

/* Bytes of fragment i (from 0) within the object; 0 for one that is padding only. */
static unsigned fragment_bytes(const struct mcast_receiver *r, unsigned g, unsigned i)
{
	uint32_t n = gen_bytes(r, g), at = (uint32_t)i * r->z;

	return at >= n ? 0 : least(r->z, n - at);
}

uint32_t mcr_generation_offset(const struct mcast_receiver *r, unsigned g, uint32_t *ret_bytes)
{
	*ret_bytes = gen_bytes(r, g);
	return gen_offset(r, g);
}

/* Finds the cut; false when it is beyond our limits. */
static bool geometry(struct mcast_receiver *r, uint32_t size, unsigned z, unsigned k, unsigned log2_e)
{
	uint32_t s = (size >> log2_e) + ((size & ((1u << log2_e) - 1)) != 0), per = (uint32_t)k * z >> log2_e, g;

	if (per == 0)
		per = 1;
	g = (s + per - 1) / per;
	if (g == 0 || g > MCR_G_MAX)
		return false;
	r->size = size;
	r->z = (uint16_t)z;
	r->k = (uint16_t)k;
	r->log2_e = (uint8_t)log2_e;
	r->n_gen = (uint16_t)g;
	r->q = (uint16_t)(s / g);
	r->rem = (uint16_t)(s % g);
	return map_at(r, g - 1) + (gen_m(r, g - 1) + 7) / 8 <= sizeof(r->map) && gen_m(r, 0) <= MCR_K_MAX;
}

/* --- records that survive ---------------------------------------------------------------------- */

enum { RECORD_VERSION = 1, SESSION_BYTES = 68 };

static void save_groups(struct mcast_receiver *r)
{
	uint8_t p[MCR_GROUPS * 12];
	unsigned n = 0;

	for (unsigned i = 0; i < MCR_GROUPS; i++) {
		if (!r->groups[i].is_used)
			continue;
		put_le32(p + n, r->groups[i].gid);
		memcpy(p + n + 4, r->groups[i].sid, 8);
		n += 12;
	}
	(void)r->ops->save(r->ctx, MCR_KEY_GROUPS, p, n); /* what is lost is a replay that goes unnoticed once */
}

static int save_session(struct mcast_receiver *r)
{
	uint8_t p[SESSION_BYTES] = { RECORD_VERSION, r->state, r->alg, r->log2_e };

	memcpy(p + 4, r->sid, 8);
	memcpy(p + 12, r->sha256, 32);
	put_le32(p + 44, r->size);
	put_le32(p + 48, r->gid);
	put_le16(p + 52, r->z);
	put_le16(p + 54, r->k);
	put_le16(p + 56, r->pace_ms);
	put_le16(p + 58, r->slot_ms);
	put_le32(p + 60, r->lifetime_ms);
	return r->ops->save(r->ctx, MCR_KEY_SESSION, p, sizeof(p));
}

static int save_generation(struct mcast_receiver *r, unsigned g)
{
	uint8_t p[2 + MCR_K_MAX / 8] = { r->gens[g].state & SPOILED };
	unsigned n = (gen_m(r, g) + 7) / 8;

	if (gen_state(r, g) != MCR_DECODE)     /* rows are not kept without power: it collects again */
		p[0] = (uint8_t)(p[0] | gen_state(r, g));
	p[1] = RECORD_VERSION;
	memcpy(p + 2, gen_map(r, g), n);
	return r->ops->save(r->ctx, (uint16_t)(MCR_KEY_GENERATION + g), p, 2 + n);
}

/* --- flash: no word is programmed twice -------------------------------------------------------- */

static int leave(struct mcast_receiver *r)             /* the flash fails */
{
	r->state = MCR_CLOSED;
	r->has_report = false;
	r->ops->event(r->ctx, MCR_EV_FLASH, 0);
	return -1;
}

static int read_fragment(struct mcast_receiver *r, unsigned g, unsigned i, uint8_t *ret)
{
	unsigned n = fragment_bytes(r, g, i);

	memset(ret + n, 0, r->z - n);
	return n ? r->ops->read(r->ctx, MCR_OBJECT, gen_offset(r, g) + (uint32_t)i * r->z, ret, n) : 0;
}

/* 1 it is, 0 it is not. */
static int is_blank(struct mcast_receiver *r, enum mcr_area area, uint32_t off, uint32_t n)
{
	while (n > 0) {
		unsigned part = least(n, sizeof(r->other));
		if (r->ops->read(r->ctx, area, off, r->other, part) < 0)
			return -1;
		if (!is_erased(r->other, part))
			return 0;
		off += part;
		n -= part;
	}
	return 1;
}

static int erase(struct mcast_receiver *r, enum mcr_area area, uint32_t off, uint32_t n)
{
	for (uint32_t at = 0; at < n; at += MCR_ERASE_BYTES) {
		int blank = is_blank(r, area, off + at, MCR_ERASE_BYTES);
		if (blank < 0 || (!blank && r->ops->erase(r->ctx, area, off + at, MCR_ERASE_BYTES) < 0))
			return leave(r);
	}
	return 0;
}

static void free_scratch(struct mcast_receiver *r, unsigned g)
{
	for (unsigned i = 0; i < MCR_SCRATCH_GRANULES; i++)
		if ((r->scratch_owner[i] & ((1u << OWNER_SHIFT) - 1)) == g + 1)
			r->scratch_owner[i] = 0;
}

static void drop_rows(struct mcast_receiver *r, unsigned g)
{
	free_scratch(r, g);
	r->gens[g].rank = 0;
	if (gen_state(r, g) == MCR_DECODE)
		gen_enter(r, g, MCR_COLLECT);
	if (r->open == (int)g)
		r->open = -1;
}

/* What is padding only is held from the start: it is zero. */
static void clear_map(struct mcast_receiver *r, unsigned g)
{
	unsigned m = gen_m(r, g);

	memset(gen_map(r, g), 0, (m + 7) / 8);
	for (unsigned i = 0; i < m; i++)
		if (fragment_bytes(r, g, i) == 0)
			bit_set(gen_map(r, g), i);
}

/* A fragment's place holds something else: a write that a lost power tore. Its granules start anew, and with them
 * what else lies there; the record is written first, so that it never promises what is gone. */
static int reset_granules(struct mcast_receiver *r, unsigned g, unsigned i)
{
	uint32_t from = (uint32_t)i * r->z / MCR_ERASE_BYTES * MCR_ERASE_BYTES;
	uint32_t to = ((uint32_t)i * r->z + fragment_bytes(r, g, i) + MCR_ERASE_BYTES - 1) / MCR_ERASE_BYTES * MCR_ERASE_BYTES;

	for (unsigned j = 0; j < gen_m(r, g); j++)
		if (fragment_bytes(r, g, j) && (uint32_t)j * r->z < to && (uint32_t)(j + 1) * r->z > from)
			bit_clear(gen_map(r, g), j);
	drop_rows(r, g);
	if (save_generation(r, g) < 0)
		return leave(r);
	return erase(r, MCR_OBJECT, gen_offset(r, g) + from, to - from);
}

/* 0 it is in its place and in the map; 1 likewise, but its granule had to be erased first; < 0 flash failed.
 * data must not be r->other. */
static int put_fragment(struct mcast_receiver *r, unsigned g, unsigned i, const uint8_t *data)
{
	unsigned n = fragment_bytes(r, g, i);
	uint32_t off = gen_offset(r, g) + (uint32_t)i * r->z;
	bool is_reset = false;

	if (n > 0 && r->ops->read(r->ctx, MCR_OBJECT, off, r->other, n) < 0)
		return leave(r);
	if (n > 0 && memcmp(r->other, data, n) != 0) {
		if (!is_erased(r->other, n)) {
			if (reset_granules(r, g, i) < 0)
				return -1;
			is_reset = true;
		}
		if (!is_erased(data, n) && r->ops->program(r->ctx, MCR_OBJECT, off, data, n) < 0)
			return leave(r);
	}
	bit_set(gen_map(r, g), i);
	return is_reset;
}

/* --- scratch flash: rows of generations that parity works on ----------------------------------- */

static unsigned slot_bytes(const struct mcast_receiver *r) { return MCR_HEADER_BYTES + r->z; }
static unsigned slots_per_granule(const struct mcast_receiver *r) { return MCR_ERASE_BYTES / slot_bytes(r); }
static unsigned head_slots(const struct mcast_receiver *r, unsigned g) { return ((gen_m(r, g) + 7) / 8 + slot_bytes(r) - 1) / slot_bytes(r); }

/* A granule's owner: its nth one of generation g. */
static unsigned owner_of(unsigned g, unsigned nth) { return nth << OWNER_SHIFT | (g + 1); }

static unsigned find_granule(const struct mcast_receiver *r, unsigned owner)
{
	unsigned i = 0;

	while (i < MCR_SCRATCH_GRANULES && r->scratch_owner[i] != owner)
		i++;
	return i;
}

static bool has_slot(const struct mcast_receiver *r, unsigned g, unsigned s)
{
	return find_granule(r, owner_of(g, s / slots_per_granule(r))) < MCR_SCRATCH_GRANULES;
}

/* Where slot s of a generation lies. */
static uint32_t slot_at(const struct mcast_receiver *r, unsigned g, unsigned s)
{
	unsigned i = find_granule(r, owner_of(g, s / slots_per_granule(r)));

	return i * (uint32_t)MCR_ERASE_BYTES + s % slots_per_granule(r) * slot_bytes(r);
}

/* The closed generation that has the fewest rows, of those that hold granules; < 0 none. */
static int find_victim(const struct mcast_receiver *r, unsigned g)
{
	int victim = -1;

	for (unsigned i = 0; i < MCR_SCRATCH_GRANULES; i++) {
		int other = (int)(r->scratch_owner[i] & ((1u << OWNER_SHIFT) - 1)) - 1;
		if (other >= 0 && other != (int)g && (victim < 0 || r->gens[other].rank < r->gens[victim].rank))
			victim = other;
	}
	return victim;
}

/* The granule for slot s is taken when it is needed, as few rows of most generations ever have to wait. Returns 1 it is there;
 * 0 there can be none; < 0 flash failed. */
static int take_slot(struct mcast_receiver *r, unsigned g, unsigned s)
{
	unsigned nth = s / slots_per_granule(r), i;

	if (has_slot(r, g, s))
		return 1;
	i = find_granule(r, 0);
	if (i == MCR_SCRATCH_GRANULES) {
		int victim = find_victim(r, g);
		if (victim < 0)
			return 0;
		drop_rows(r, (unsigned)victim);
		i = find_granule(r, 0);
	}
	if (erase(r, MCR_SCRATCH, i * (uint32_t)MCR_ERASE_BYTES, MCR_ERASE_BYTES) < 0)
		return -1;
	r->scratch_owner[i] = (uint16_t)owner_of(g, nth);
	return 1;
}

/* The map as it was when the first parity row came lies in front of the rows. */
static int move_frozen(struct mcast_receiver *r, unsigned g, bool is_write)
{
	unsigned n = (gen_m(r, g) + 7) / 8;

	for (unsigned at = 0, s = 0; at < n; at += slot_bytes(r), s++) {
		unsigned part = least(n - at, slot_bytes(r)), whole = (part + 7) / 8 * 8;
		if (!is_write) {
			if (r->ops->read(r->ctx, MCR_SCRATCH, slot_at(r, g, s), r->row + at, part) < 0)
				return leave(r);
			continue;
		}
		memset(r->b, 0xff, whole);
		memcpy(r->b, gen_map(r, g) + at, part);
		if (r->ops->program(r->ctx, MCR_SCRATCH, slot_at(r, g, s), r->b, whole) < 0)
			return leave(r);
	}
	return 0;
}

/* --- the matrix -------------------------------------------------------------------------------- */

/* Row j begins with the byte of its pivot, bit j: V bytes for the first eight rows, V - 1 for the next, ... */
static uint8_t *matrix_row(struct mcast_receiver *r, unsigned j)
{
	unsigned q = j / 8;

	return r->matrix + 8 * (MCR_V_BYTES * q - q * (q - (q > 0)) / 2) + j % 8 * (MCR_V_BYTES - q);
}

/* r->v, and with it the payload in r->b unless it is only a replay: reduced until it has a pivot of its own, and kept. Returns
 * 1 it was independent, 0 it was not, < 0 flash failed. */
static int add_row(struct mcast_receiver *r, unsigned id, bool is_replay)
{
	unsigned g = (unsigned)r->open;
	uint8_t *b = r->b + MCR_HEADER_BYTES;

	for (unsigned j = 0; j < r->n_idx && j < MCR_L; j++) {
		if (!bit_get(r->v, j))
			continue;
		if (r->slot_of[j] == NO_SLOT) {
			int room = is_replay ? 1 : take_slot(r, g, head_slots(r, g) + r->n_slots);
			if (room <= 0)
				return room;
			memcpy(matrix_row(r, j), r->v + j / 8, MCR_V_BYTES - j / 8);
			r->slot_of[j] = (uint8_t)r->n_slots;
			if (!is_replay) {
				memset(r->b, 0xff, MCR_HEADER_BYTES);
				put_le16(r->b, id);
				if (r->ops->program(r->ctx, MCR_SCRATCH, slot_at(r, g, head_slots(r, g) + r->n_slots), r->b, slot_bytes(r)) < 0)
					return leave(r);
			}
			r->n_slots++;
			return 1;
		}
		xor_into(r->v + j / 8, matrix_row(r, j), MCR_V_BYTES - j / 8);
		if (is_replay)
			continue;
		if (r->ops->read(r->ctx, MCR_SCRATCH, slot_at(r, g, head_slots(r, g) + r->slot_of[j]) + MCR_HEADER_BYTES, r->other, r->z) < 0)
			return leave(r);
		xor_into(b, r->other, r->z);
	}
	return 0;
}

/* The coefficients of a row over the missing fragments to r->v; over all to r->row. */
static void coefficients(struct mcast_receiver *r, unsigned id)
{
	memset(r->v, 0, sizeof(r->v));
	if (!(id & UNIT_ROW))
		mcr_row(gen_m(r, (unsigned)r->open), id, r->alg, r->row);
	for (unsigned j = 0; j < r->n_idx; j++)
		if (id & UNIT_ROW ? r->idx[j] == (id & ~(unsigned)UNIT_ROW) : bit_get(r->row, r->idx[j]))
			bit_set(r->v, j);
}

static int add_unit_row(struct mcast_receiver *r, unsigned i)
{
	coefficients(r, UNIT_ROW | i);
	if (read_fragment(r, (unsigned)r->open, i, r->b + MCR_HEADER_BYTES) < 0)
		return leave(r);
	return add_row(r, UNIT_ROW | i, false);
}

static void begin_matrix(struct mcast_receiver *r, unsigned g, const uint8_t *held)
{
	r->open = (int16_t)g;
	r->n_idx = r->n_slots = 0;
	r->n_vain = 0;
	memset(r->slot_of, NO_SLOT, sizeof(r->slot_of));
	for (unsigned i = 0; i < gen_m(r, g) && r->n_idx < MCR_L; i++)
		if (!bit_get(held, i))
			r->idx[r->n_idx++] = (uint16_t)i;
}

/* The rows of a closed generation again: only coefficients are worked on, the payloads lie there as they are. */
static int reopen(struct mcast_receiver *r, unsigned g)
{
	uint8_t head[MCR_HEADER_BYTES];

	if (move_frozen(r, g, false) < 0)
		return -1;
	begin_matrix(r, g, r->row);
	for (unsigned s = 0; s < r->n_idx && has_slot(r, g, head_slots(r, g) + s); s++) {
		if (r->ops->read(r->ctx, MCR_SCRATCH, slot_at(r, g, head_slots(r, g) + s), head, sizeof(head)) < 0)
			return leave(r);
		if (is_erased(head, sizeof(head)))
			break;
		coefficients(r, le16(head));
		(void)add_row(r, le16(head), true); /* it was independent, so it is */
	}
	for (unsigned j = 0; j < r->n_idx; j++)        /* what came late, while it was closed */
		if (bit_get(gen_map(r, g), r->idx[j]) && add_unit_row(r, r->idx[j]) < 0)
			return -1;
	return 1;
}

/* 1 parity of g can be worked on; 0 too much is missing; < 0 flash failed. */
static int open_generation(struct mcast_receiver *r, unsigned g)
{
	if (r->open == (int)g)
		return 1;
	r->open = -1;                          /* its rows stay in scratch flash */
	if (gen_state(r, g) == MCR_DECODE)
		return reopen(r, g);
	unsigned missing = gen_missing(r, g);
	if (missing > MCR_L || head_slots(r, g) + missing > MCR_SCRATCH_GRANULES * slots_per_granule(r))
		return 0;
	for (unsigned s = 0; s < head_slots(r, g); s++)
		if (take_slot(r, g, s) < 0)
			return -1;
	if (move_frozen(r, g, true) < 0)
		return -1;
	begin_matrix(r, g, gen_map(r, g));
	gen_enter(r, g, MCR_DECODE);
	return 1;
}

/* --- a generation is whole --------------------------------------------------------------------- */

static int spoil(struct mcast_receiver *r, unsigned g)
{
	bool again = r->gens[g].state & SPOILED;

	r->stats.n_spoiled++;
	if (gen_state(r, g) == MCR_BAD && r->n_bad_pulls < BAD_PULLS)
		r->n_bad_pulls++;
	r->gens[g].state = (uint8_t)(SPOILED | (again ? MCR_BAD : MCR_COLLECT));
	r->gens[g].seen = FROZEN;
	clear_map(r, g);
	if (save_generation(r, g) < 0)
		return leave(r);
	r->ops->event(r->ctx, MCR_EV_SPOILED, g);
	return erase(r, MCR_OBJECT, gen_offset(r, g), (uint32_t)(r->q + (g < r->rem)) << r->log2_e);
}

static bool is_all_solved(const struct mcast_receiver *r)
{
	for (unsigned g = 0; g < r->n_gen; g++)
		if (gen_state(r, g) != MCR_SOLVED)
			return false;
	return true;
}

static int fail(struct mcast_receiver *r)
{
	r->state = MCR_FAILED;
	r->has_report = false;
	(void)save_session(r); /* found out again after a restart */
	r->ops->event(r->ctx, MCR_EV_FAILED, 0);
	return 0;
}

/* 1 the generation is what its digest says, or there is none; 0 not; < 0 flash failed. */
static int check_generation(struct mcast_receiver *r, unsigned g)
{
	uint8_t want[8], is[32];

	if (r->ops->generation_digest(r->ctx, g, want) < 0)
		return 1;
	if (r->ops->sha256(r->ctx, gen_offset(r, g), gen_bytes(r, g), is) < 0)
		return leave(r);
	return memcmp(want, is, sizeof(want)) == 0;
}

/* MCD-10: whatever was authentic on the way, this is what counts. */
static int verify_object(struct mcast_receiver *r)
{
	uint8_t is[32], d[8];

	if (r->ops->sha256(r->ctx, 0, r->size, is) < 0)
		return leave(r);
	if (memcmp(is, r->sha256, sizeof(is)) == 0) {
		r->state = MCR_READY;
		if (save_session(r) < 0)
			return leave(r);
		r->ops->event(r->ctx, MCR_EV_READY, 0);
		return 0;
	}
	bool has_table = r->ops->generation_digest(r->ctx, 0, d) >= 0, found = false;
	for (unsigned g = 0; g < r->n_gen; g++) {
		int good = has_table ? check_generation(r, g) : 0;
		if (good < 0 || (!good && spoil(r, g) < 0))
			return -1;
		found = found || !good;
	}
	return found && r->n_bad_pulls < BAD_PULLS ? 0 : fail(r);
}

static int finish_generation(struct mcast_receiver *r, unsigned g)
{
	r->gens[g].rank = 0;
	free_scratch(r, g);
	if (r->open == (int)g)
		r->open = -1;
	int good = check_generation(r, g);
	if (good <= 0) {
		if (good == 0 && spoil(r, g) >= 0 && r->n_bad_pulls >= BAD_PULLS)
			return fail(r);
		return good;
	}
	gen_enter(r, g, MCR_SOLVED);
	if (save_generation(r, g) < 0)
		return leave(r);
	r->ops->event(r->ctx, MCR_EV_SOLVED, g);
	return is_all_solved(r) ? verify_object(r) : 0;
}

/* As many rows as unknowns: from the last to the first, each is what its row says once those behind it are known. */
static int solve(struct mcast_receiver *r)
{
	unsigned g = (unsigned)r->open;
	uint8_t *b = r->b + MCR_HEADER_BYTES;

	for (unsigned j = r->n_idx; j-- > 0;) {
		const uint8_t *row = matrix_row(r, j);
		if (bit_get(gen_map(r, g), r->idx[j]))
			continue;
		if (r->ops->read(r->ctx, MCR_SCRATCH, slot_at(r, g, head_slots(r, g) + r->slot_of[j]) + MCR_HEADER_BYTES, b, r->z) < 0)
			return leave(r);
		for (unsigned c = j + 1; c < r->n_idx; c++) {
			if (!bit_get(row, c - j / 8 * 8))
				continue;
			if (read_fragment(r, g, r->idx[c], r->other) < 0)
				return leave(r);
			xor_into(b, r->other, r->z);
		}
		int ret = put_fragment(r, g, r->idx[j], b);
		if (ret != 0)
			return ret < 0 ? ret : 0; /* a torn write was found: the generation starts anew */
	}
	return finish_generation(r, g);
}

/* Fragment i of g is in its place, by multicast or unicast. */
static int take_fragment(struct mcast_receiver *r, unsigned g, unsigned i, const uint8_t *data)
{
	if (put_fragment(r, g, i, data) < 0)
		return -1;
	unsigned held = gen_held(r, g), missing = gen_m(r, g) - held;
	r->stats.n_new++;
	if (missing == 0)
		return finish_generation(r, g);
	if (gen_state(r, g) == MCR_DECODE && (r->open == (int)g || missing <= r->gens[g].rank)) {
		int ret = r->open == (int)g ? add_unit_row(r, i) : open_generation(r, g);
		if (ret < 0)
			return ret;
		if (r->n_slots == r->n_idx)
			return solve(r);
	}
	return held % SAVE_EVERY == 0 && save_generation(r, g) < 0 ? leave(r) : 0;
}

static int take_parity(struct mcast_receiver *r, unsigned g, unsigned n, const uint8_t *payload)
{
	uint8_t *b = r->b + MCR_HEADER_BYTES;
	int ret = open_generation(r, g);

	if (ret <= 0)
		return ret;
	if (r->n_slots == r->n_idx)            /* what came late was enough */
		return solve(r);
	memcpy(b, payload, r->z);
	coefficients(r, n);
	for (unsigned i = 0, j = 0; i < gen_m(r, g); i++) {
		if (j < r->n_idx && r->idx[j] == i) {
			j++;
		} else if (bit_get(r->row, i)) {
			if (read_fragment(r, g, i, r->other) < 0)
				return leave(r);
			xor_into(b, r->other, r->z);
		}
	}
	ret = add_row(r, n, false);
	if (ret == 0 && r->n_vain < VAIN_ROWS && ++r->n_vain == VAIN_ROWS)
		r->ops->event(r->ctx, MCR_EV_STUCK, g); /* TS004 has fragments that no row tells apart for long */
	if (ret <= 0)
		return ret;
	r->n_vain = 0;
	r->stats.n_new++;
	r->gens[g].rank++;
	return r->n_slots == r->n_idx ? solve(r) : 0;
}

/* --- what is missing, and telling it (MCD-8) --------------------------------------------------- */

unsigned mcr_deficit(const struct mcast_receiver *r, unsigned g)
{
	unsigned missing = gen_missing(r, g);

	switch (gen_state(r, g)) {
	case MCR_SOLVED:
		return 0;
	case MCR_BAD:                          /* no row for all would help */
		return 1;
	case MCR_DECODE:
		if (r->open == (int)g)
			return r->n_idx - r->n_slots;
		return missing > r->gens[g].rank ? missing - r->gens[g].rank : 1;
	case MCR_COLLECT:
		break;
	}
	return missing ? missing : 1;
}

static void freeze(struct mcast_receiver *r, unsigned g, unsigned sent)
{
	if (r->gens[g].seen == FROZEN)
		return;
	r->gens[g].seen = FROZEN;
	r->expected += sent;
	r->lost += sent - bits_in(gen_map(r, g), sent);
}

static void first_pass(const struct mcast_receiver *r, uint32_t *ret_expected, uint32_t *ret_lost)
{
	uint32_t expected = r->expected, lost = r->lost;

	for (unsigned g = 0; g < r->n_gen; g++) {
		if (r->gens[g].seen == FROZEN)
			continue;
		expected += r->gens[g].seen;
		lost += r->gens[g].seen - bits_in(r->map + map_at(r, g), r->gens[g].seen);
	}
	*ret_expected = expected;
	*ret_lost = lost;
}

static unsigned loss_permille(const struct mcast_receiver *r)
{
	uint32_t expected, lost;

	first_pass(r, &expected, &lost);
	return expected ? (lost * 1000 + expected / 2) / expected : r->state == MCR_READY ? 0 : 1000;
}

/* A digest was wrong, and what it belongs to has not been made good since. */
static bool is_spoiled(const struct mcast_receiver *r)
{
	for (unsigned g = 0; g < r->n_gen; g++)
		if (r->gens[g].state & SPOILED && gen_state(r, g) != MCR_SOLVED)
			return true;
	return false;
}

void mcr_report_make(const struct mcast_receiver *r, uint8_t seq, struct mcr_report *ret)
{
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->sid, r->sid, sizeof(ret->sid));
	ret->seq = seq;
	ret->loss_permille = (uint16_t)loss_permille(r);
	ret->flags = (uint8_t)((r->state == MCR_READY ? MCR_REPORT_DONE : 0) | (is_spoiled(r) ? MCR_REPORT_DIGEST_FAILED : 0));
	for (unsigned g = 0; g < r->n_gen; g++) {
		unsigned d = mcr_deficit(r, g), i = ret->n;
		if (d == 0)
			continue;
		if (ret->n == MCR_REPORT_ENTRIES) {
			ret->flags |= MCR_REPORT_MORE;
			if (ret->entries[--i].d >= d)
				continue;
		} else {
			ret->n++;
		}
		for (; i > 0 && ret->entries[i - 1].d < d; i--)
			ret->entries[i] = ret->entries[i - 1];
		ret->entries[i].g = (uint8_t)g;
		ret->entries[i].d = (uint16_t)d;
	}
}

static size_t put_cbor(uint8_t *p, unsigned major, unsigned v)
{
	p[0] = (uint8_t)(major | (v < 24 ? v : v < 256 ? 24 : 25));
	if (v < 24)
		return 1;
	p[1] = (uint8_t)(v < 256 ? v : v >> 8);
	p[2] = (uint8_t)v;
	return v < 256 ? 2 : 3;
}

size_t mcr_report_encode(const struct mcr_report *report, uint8_t ret[MCR_REPORT_BYTES])
{
	uint8_t pair[MCR_REPORT_ENTRIES * 6 + 2];
	unsigned flags = report->flags, n = 0, fit;
	size_t used = 0, at = 10;

	enum { BEFORE_MAX = 10 + 2 + 3 + 2 + 1 };
	for (fit = 0; fit < report->n; fit++, used += n) {
		n = (unsigned)put_cbor(pair + used, 0, report->entries[fit].g);
		n += (unsigned)put_cbor(pair + used + n, 0, report->entries[fit].d);
		if (BEFORE_MAX + used + n > MCR_REPORT_BYTES)
			break;
	}
	if (fit < report->n)
		flags |= MCR_REPORT_MORE;
	ret[0] = 0x85;
	ret[1] = 0x48;
	memcpy(ret + 2, report->sid, 8);
	at += put_cbor(ret + at, 0, report->seq);
	at += put_cbor(ret + at, 0, report->loss_permille);
	at += put_cbor(ret + at, 0, flags);
	at += put_cbor(ret + at, 0xa0, fit);
	memcpy(ret + at, pair, used);
	return at + used;
}

/* log2 of x / 2^16, 1 <= x / 2^16 < 2^32, in 2^-16ths. */
static uint32_t log2_fixed(uint64_t x)
{
	uint32_t whole = 0, y = 0;

	for (; x >= (uint64_t)2 << 16; x >>= 1)
		whole++;
	for (unsigned i = 0; i < 16; i++) {
		x = x * x >> 16;
		y = y << 1 | (x >= (uint64_t)2 << 16);
		x >>= x >= (uint64_t)2 << 16;
	}
	return whole << 16 | y;
}

/* t = T ln(1 + u (e n - 1)) / (ln n + 1): the density rises toward the end of the window. */
uint32_t mcr_report_delay(uint32_t t_ms, unsigned expected, unsigned u)
{
	uint64_t en = (uint64_t)178145 * (expected ? expected : 1);    /* e in 16 bits after the point */

	return (uint32_t)((uint64_t)t_ms * log2_fixed(65536 + (u * (en - 65536) >> 16)) / log2_fixed(en));
}

/* --- when to listen (MCD-11) ------------------------------------------------------------------- */

static bool is_live(const struct mcast_receiver *r) { return r->state == MCR_ARMED || r->state == MCR_RECV; }
static uint32_t window_guard(const struct mcast_receiver *r) { return r->period_ms / 10000 + 100; }
static uint32_t silence_ms(const struct mcast_receiver *r) { return SILENCE_MS + SILENCE_GAPS * (uint32_t)r->pace_ms; }

static void nap(struct mcast_receiver *r, uint32_t until)
{
	if (!is_before(r->now, until))
		return;
	r->is_napping = true;
	r->nap_until = until;
}

static void set_windows(struct mcast_receiver *r, const struct mcr_windows *w)
{
	r->has_windows = w->count > 0 && w->length_s > 0;
	r->is_window_over = false;
	r->window_at = r->now + w->first_in_s * 1000;
	r->window_ms = (w->length_s < LIFETIME_S_MAX ? w->length_s : LIFETIME_S_MAX) * 1000;
	r->period_ms = (w->period_s > w->length_s ? w->period_s < LIFETIME_S_MAX ? w->period_s : LIFETIME_S_MAX : w->length_s) * 1000;
	r->windows_left = (uint16_t)(w->count ? least(w->count - 1u + CAROUSEL, FROZEN) : 0);
	r->g_first = 0;
	r->g_last = (uint8_t)(r->n_gen - 1);
}

/* Ends windows that are over; the last one ends the session for us. */
static void turn_windows(struct mcast_receiver *r)
{
	while (r->has_windows && is_live(r) && (r->is_window_over || !is_before(r->now, r->window_at + r->window_ms))) {
		r->is_window_over = false;
		r->is_napping = false;
		if (r->windows_left-- == 0) {
			r->has_windows = false;
			r->state = MCR_CLOSED;
			r->ops->event(r->ctx, MCR_EV_END, 0);
			return;
		}
		r->window_at += r->period_ms;
		r->g_first = 0;
		r->g_last = (uint8_t)(r->n_gen - 1);
	}
}

static bool is_window_done(const struct mcast_receiver *r)
{
	for (unsigned g = r->g_first; g <= r->g_last && g < r->n_gen; g++)
		if (gen_state(r, g) != MCR_SOLVED)
			return false;
	return true;
}

/* When silence has lasted so long that nothing is to be expected. */
static uint32_t silent_at(const struct mcast_receiver *r)
{
	uint32_t from = r->has_windows && is_before(r->heard_at, r->window_at) ? r->window_at : r->heard_at;

	return from + silence_ms(r);
}

static bool wants_radio(const struct mcast_receiver *r)
{
	if (r->state == MCR_READY)             /* the sample of losses wants those without any, too */
		return !r->has_seq && is_before(r->now, silent_at(r));
	if (!is_live(r) || (r->is_napping && is_before(r->now, r->nap_until)))
		return false;
	if (!r->has_windows)
		return true;
	if (is_before(r->now, r->window_at - window_guard(r)))
		return false;
	return !is_window_done(r) || !is_before(r->now, r->window_at + r->window_ms - WINDOW_END_MS);
}

static void tick(struct mcast_receiver *r, uint32_t now)
{
	if (r->is_listening)
		r->stats.radio_on_ms += now - r->now;
	r->now = now;
}

static void keep_soonest(const struct mcast_receiver *r, uint32_t *best, uint32_t at)
{
	uint32_t in = is_before(r->now, at) ? at - r->now : 0;

	if (in < *best)
		*best = in;
}

uint32_t mcr_step(struct mcast_receiver *r, uint32_t now)
{
	uint32_t next = MCR_NEVER;

	tick(r, now);
	if (r->state != MCR_IDLE && !is_before(now, r->expires_at)) {
		mcr_abort(r);
		r->ops->event(r->ctx, MCR_EV_EXPIRED, 0);
	}
	if (r->has_report && !is_before(now, r->report_at)) {
		struct mcr_report report;
		mcr_report_make(r, r->seq, &report);
		r->has_report = false;
		r->stats.n_reports++;
		nap(r, r->status_until);
		r->ops->report(r->ctx, &report);
	}
	if (r->has_windows && is_live(r) && r->is_listening && !is_before(now, silent_at(r)) && !is_before(now, r->window_at))
		r->is_window_over = true;
	turn_windows(r);
	bool was_listening = r->is_listening;
	r->is_listening = wants_radio(r);
	if (r->is_listening && !was_listening)
		r->heard_at = now;             /* silence begins when somebody listens */
	if (r->state != MCR_IDLE)
		keep_soonest(r, &next, r->expires_at);
	if (r->has_report)
		keep_soonest(r, &next, r->report_at);
	if (is_live(r) && r->is_napping && is_before(now, r->nap_until))
		keep_soonest(r, &next, r->nap_until);
	if (r->is_listening && (r->state == MCR_READY || r->has_windows))
		keep_soonest(r, &next, silent_at(r));
	if (is_live(r) && r->has_windows) {
		uint32_t guard = r->window_at - window_guard(r), end = r->window_at + r->window_ms;
		keep_soonest(r, &next, is_before(now, guard) ? guard : is_before(now, end - WINDOW_END_MS) ? end - WINDOW_END_MS : end);
	}
	return next ? next : 1;
}

bool mcr_is_listening(const struct mcast_receiver *r) { return r->is_listening; }

/* The rows of a generation that we have go on: how long is there nothing for us? The passes of one phase are about
 * equally long, so the longest one heard tells; while none was heard to its end, naps are short. */
static void nap_through_parity(struct mcast_receiver *r, unsigned g, unsigned n)
{
	unsigned rows = r->learned_rows > n ? r->learned_rows - n : 0, next = g + 1;

	for (; next < r->n_gen && gen_state(r, next) == MCR_SOLVED; next++)
		rows += r->learned_rows;
	if (rows == 0 && next < r->n_gen) {    /* the next pass is as long, which leaves us rows to spare */
		unsigned d = mcr_deficit(r, next);
		rows = n > d + d / 8 + SNIFF_ROWS ? SNIFF_ROWS + 2 : 0;
	}
	if (rows >= 2 + SNIFF_ROWS)
		nap(r, r->now + (rows - 2) * (uint32_t)r->pace_ms + r->pace_ms / 2u);  /* no gap is less than the pace: never too long */
}

static void follow_parity(struct mcast_receiver *r, unsigned g, unsigned n)
{
	if (r->air_n == 0 || g != r->air_g || n <= r->air_n) {
		if (r->air_n > r->learned_rows)
			r->learned_rows = r->air_n;
		r->air_g = (uint8_t)g;
	}
	r->air_n = (uint16_t)n;
	if (!r->is_repairing && is_live(r) && gen_state(r, g) == MCR_SOLVED)
		nap_through_parity(r, g, n);
}

/* --- frames (MCD-5) ---------------------------------------------------------------------------- */

static bool is_authentic(struct mcast_receiver *r, uint32_t gid, const uint8_t *sid, const uint8_t *frame, size_t n, size_t mic)
{
	if (r->ops->mic_ok(r->ctx, gid, sid, frame, n - mic, frame + n - mic, mic))
		return true;
	r->stats.n_bad_mic++;
	return false;
}

static bool on_data(struct mcast_receiver *r, const uint8_t *p, size_t n)
{
	unsigned g = p[2], in = le16(p + 3), number = in & N_MAX;

	if (n != DATA_HEAD + (size_t)r->z + MIC_DATA || g >= r->n_gen || in >> 14 != (g & 3) || number == 0) {
		r->stats.n_dropped++;
		return false;
	}
	unsigned m = gen_m(r, g);
	if (number > m + ROW_MAX || !is_authentic(r, r->gid, r->sid, p, n, MIC_DATA))
		return false;
	r->stats.n_data++;
	r->heard_at = r->now;
	if (!is_live(r))
		return true;
	if (r->state == MCR_ARMED) {
		r->state = MCR_RECV;
		(void)save_session(r); /* a restart would find it armed: as good */
		r->ops->event(r->ctx, MCR_EV_STARTED, 0);
	}
	if (number > m)
		freeze(r, g, m);
	else if (r->gens[g].seen != FROZEN && r->gens[g].seen < number)
		r->gens[g].seen = (uint16_t)number;
	if (gen_state(r, g) <= MCR_DECODE) {
		if (number > m)
			(void)(r->alg ? take_parity(r, g, number - m, p + DATA_HEAD) : 0);     /* a failure of flash was told */
		else if (!bit_get(gen_map(r, g), number - 1))
			(void)take_fragment(r, g, number - 1, p + DATA_HEAD);                  /* likewise */
	}
	if (number > m)
		follow_parity(r, g, number - m);
	return true;
}

/* Does the gateway know at least what we would tell? */
static bool is_told(const struct mcast_receiver *r, const uint8_t *pairs, unsigned n)
{
	for (unsigned g = 0; g < r->n_gen; g++) {
		unsigned d = mcr_deficit(r, g), known = 0, i = 0;
		while (i < n && pairs[2 * i] != g)
			i++;
		if (i < n)
			known = pairs[2 * i + 1] == 255 ? FROZEN : pairs[2 * i + 1] + 1u;
		if (d > known)
			return false;
	}
	return true;
}

/* Data goes on during a sign of life (MCD-9), but not while a sample is taken: that is when the pass is over, and no parity has come. */
static bool is_data_over(const struct mcast_receiver *r)
{
	for (unsigned g = r->g_first; g <= r->g_last && g < r->n_gen; g++)
		if (gen_state(r, g) != MCR_SOLVED && r->gens[g].seen != FROZEN && r->gens[g].seen + (unsigned)TAIL < gen_m(r, g))
			return false;
	return !r->is_repairing && r->air_n == 0;
}

static bool on_status(struct mcast_receiver *r, const uint8_t *p, size_t n)
{
	unsigned behind = (uint8_t)(r->seq - p[2]), count = n > STATUS_HEAD ? p[9] : 0;

	if (n != STATUS_HEAD + 2 * (size_t)count + MIC_CONTROL || count > STATUS_DEFICITS_MAX || p[2] == 0) {
		r->stats.n_dropped++;
		return false;
	}
	if (!is_authentic(r, r->gid, r->sid, p, n, MIC_CONTROL))
		return false;
	r->stats.n_control++;
	r->heard_at = r->now;
	if (r->has_seq && behind > 0 && behind <= STATUS_OLD)
		return true;
	if (!r->has_seq || behind != 0) {
		uint32_t window = (uint32_t)le16(p + 5) * r->slot_ms;
		bool wanted = p[3] & STATUS_ALL || (is_live(r) && !is_all_solved(r));

		r->has_seq = true;
		r->seq = p[2];
		r->status_until = r->now + (!(p[3] & STATUS_ALL) || is_data_over(r) ? window : 0);
		r->is_repairing = r->is_repairing || !(p[3] & STATUS_ALL);
		r->has_report = (is_live(r) || r->state == MCR_READY) && wanted && (r->ops->random(r->ctx) & 0xff) <= p[4];
		r->report_at = r->now + mcr_report_delay(window, le16(p + 7), r->ops->random(r->ctx) & 0xffff);
		if (!r->has_report)
			nap(r, r->status_until);
	}
	if (r->has_report && !(p[3] & STATUS_ALL) && p[3] & STATUS_ECHO && is_told(r, p + STATUS_HEAD, count)) {
		r->has_report = false;
		r->stats.n_cancelled++;
		nap(r, r->status_until);
	}
	return true;
}

static int group_index(const struct mcast_receiver *r, uint32_t gid, uint32_t mask)
{
	for (int i = 0; i < MCR_GROUPS; i++)
		if (r->groups[i].is_used && (r->groups[i].gid & mask) == (gid & mask))
			return i;
	return -1;
}

static const struct mcr_group *find_group(const struct mcast_receiver *r, uint32_t gid, uint32_t mask)
{
	int i = group_index(r, gid, mask);

	return i < 0 ? NULL : &r->groups[i];
}

static bool on_own_announce(struct mcast_receiver *r, const uint8_t *p, size_t n)
{
	if (!is_authentic(r, r->gid, r->sid, p, n, MIC_CONTROL))
		return false;
	r->stats.n_control++;
	r->heard_at = r->now;
	if (le16(p + 40))
		r->pace_ms = (uint16_t)le16(p + 40);
	if (!is_live(r) || !r->has_windows || le16(p + 38) == 0 || p[42] > p[43] || p[43] >= r->n_gen)
		return true;
	r->g_first = p[42];
	r->g_last = p[43];
	uint32_t start = le32(p + 34);
	if (start && start < LIFETIME_S_MAX)   /* 0: it is open, and we know since when */
		r->window_at = r->now + start * 1000;
	if (le16(p + 38) != 65535)
		r->window_ms = (uint32_t)le16(p + 38) * 1000;
	return true;
}

/* Of a session we are not in. Its MIC must be right before anything is asked for, and not often (MCD-10). */
static bool on_announce(struct mcast_receiver *r, const uint8_t *p, size_t n)
{
	const struct mcr_group *group;
	struct mcr_announce a;

	if (n != ANNOUNCE_BYTES + MIC_CONTROL || p[1] != p[9]) {
		r->stats.n_dropped++;
		return false;
	}
	if (r->state != MCR_IDLE && memcmp(r->sid, p + 2, 8) == 0)
		return on_own_announce(r, p, n);
	group = find_group(r, p[45], 0xff);
	if (!group || counter_of(p + 2) <= counter_of(group->sid) || (r->has_asked && r->now - r->asked_at < ASK_EVERY_MS) ||
	    (r->state == MCR_READY && memcmp(r->sha256, p + 18, 16) == 0) || (is_live(r) && r->gid != group->gid))
		return false;
	if (!is_authentic(r, group->gid, p + 2, p, n, MIC_CONTROL))
		return false;
	r->stats.n_control++;
	r->has_asked = true;
	r->asked_at = r->now;
	memcpy(a.sid, p + 2, 8);
	memcpy(a.digest16, p + 18, 16);
	a.size = le32(p + 10);
	a.gid = p[45];
	r->ops->announced(r->ctx, &a);
	return true;
}

/* Only a hint of somebody who holds the group's key: nothing is deleted (MCD-10). */
static bool on_end(struct mcast_receiver *r, const uint8_t *p, size_t n)
{
	if (n != END_BYTES + MIC_CONTROL || p[2] > 3) {
		r->stats.n_dropped++;
		return false;
	}
	if (!is_authentic(r, r->gid, r->sid, p, n, MIC_CONTROL))
		return false;
	r->stats.n_control++;
	if (!is_live(r))
		return true;
	if (r->has_windows && (p[2] == 3 || p[2] == 0)) {
		r->is_window_over = true;      /* after END 0 further windows may serve stragglers */
	} else if (p[2] != 3) {
		r->has_report = false;
		r->state = MCR_CLOSED;
		for (unsigned g = 0; g < r->n_gen; g++)
			if (gen_state(r, g) != MCR_SOLVED)
				(void)save_generation(r, g); /* what is lost comes again */
		r->ops->event(r->ctx, MCR_EV_END, p[2]);
	}
	return true;
}

bool mcr_frame(struct mcast_receiver *r, const uint8_t *frame, size_t n, uint32_t now)
{
	bool is_ours = n > 1 && r->state != MCR_IDLE && r->state != MCR_FAILED && frame[1] == r->sid[7];

	tick(r, now);
	if (n > MIC_CONTROL && frame[0] == T_ANNOUNCE)
		return on_announce(r, frame, n);
	if (is_ours && n > DATA_HEAD && frame[0] == T_DATA)
		return on_data(r, frame, n);
	if (is_ours && n >= STATUS_HEAD && frame[0] == T_STATUS)
		return on_status(r, frame, n);
	if (is_ours && n > 2 && frame[0] == T_END)
		return on_end(r, frame, n);
	r->stats.n_dropped++;
	return false;
}

/* --- unicast (MCD-6) --------------------------------------------------------------------------- */

/* With the rows at hand, the fragments of columns without a pivot are enough. */
static bool is_needed(const struct mcast_receiver *r, unsigned g, unsigned i)
{
	if (bit_get(r->map + map_at(r, g), i))
		return false;
	for (unsigned j = 0; r->open == (int)g && j < r->n_idx; j++)
		if (r->idx[j] == i)
			return r->slot_of[j] == NO_SLOT;
	return true;
}

bool mcr_missing(struct mcast_receiver *r, uint32_t from, uint32_t *ret_off, uint32_t *ret_n)
{
	for (unsigned g = 0; g < r->n_gen; g++) {
		uint32_t off = gen_offset(r, g), n = 0;
		if (gen_state(r, g) == MCR_SOLVED || off + gen_bytes(r, g) <= from)
			continue;
		if (gen_state(r, g) == MCR_DECODE)
			(void)open_generation(r, g); /* else more is fetched than needed */
		for (unsigned i = from > off ? (from - off + r->z - 1) / r->z : 0; i < gen_m(r, g); i++) {
			bool is_wanted = is_needed(r, g, i);
			if (!is_wanted && n > 0)
				break;
			if (is_wanted && n == 0)
				*ret_off = off + (uint32_t)i * r->z;
			n += is_wanted ? fragment_bytes(r, g, i) : 0;
		}
		*ret_n = n;
		if (n > 0)
			return true;
	}
	return false;
}

int mcr_put(struct mcast_receiver *r, uint32_t off, const uint8_t *data, size_t n, uint32_t now)
{
	tick(r, now);
	if (r->state == MCR_IDLE || r->state == MCR_READY || r->state == MCR_FAILED || off >= r->size)
		return -1;
	for (unsigned g = r->n_gen; g-- > 0;) {
		uint32_t at = gen_offset(r, g), i = (off - at) / r->z;
		if (off < at)
			continue;
		if ((off - at) % r->z || n != fragment_bytes(r, g, i))
			return -1;
		if (gen_state(r, g) == MCR_SOLVED || bit_get(gen_map(r, g), i))
			return 0;
		uint8_t *b = r->b;             /* the end of a generation, with zeros behind it */
		memcpy(b, data, n);
		return take_fragment(r, g, i, b) < 0 ? -1 : 1;
	}
	return -1;
}

/* --- sessions (MCD-4) -------------------------------------------------------------------------- */

static void reset_volatile(struct mcast_receiver *r)
{
	r->has_windows = r->is_window_over = r->is_napping = r->has_report = r->has_seq = r->is_repairing = false;
	r->n_bad_pulls = 0;
	r->air_n = r->learned_rows = 0;
	r->expected = r->lost = 0;
	r->open = -1;
	memset(r->scratch_owner, 0, sizeof(r->scratch_owner));
	memset(&r->stats, 0, sizeof(r->stats));
	r->heard_at = r->now;
	r->expires_at = r->now + r->lifetime_ms;
	for (unsigned g = 0; g < MCR_G_MAX; g++)
		r->gens[g] = (struct mcr_gen){ .state = r->gens[g].state };
}

void mcr_abort(struct mcast_receiver *r)
{
	(void)r->ops->save(r->ctx, MCR_KEY_SESSION, NULL, 0); /* if it stays, the session goes on after a restart: the gateway tells */
	r->state = MCR_IDLE;
	r->n_gen = 0;
	r->has_report = r->has_windows = false;
	r->open = -1;
}

void mcr_leave(struct mcast_receiver *r)
{
	if (!is_live(r))
		return;
	r->state = MCR_CLOSED;
	r->has_report = r->has_windows = r->is_listening = false;
	(void)save_session(r); /* else a restart goes on with it, and is told that it is over */
}

void mcr_forget_group(struct mcast_receiver *r, uint32_t gid)
{
	int i = group_index(r, gid, 0xffffffff);

	if (i >= 0)
		r->groups[i].is_used = false;
	save_groups(r);
}

/* The highest session of the group; a table that is full gives up one that is not in use. */
static void remember_sid(struct mcast_receiver *r, uint32_t gid, const uint8_t *sid)
{
	int at = group_index(r, gid, 0xffffffff);

	for (int i = 0; i < MCR_GROUPS && at < 0; i++)
		if (!r->groups[i].is_used)
			at = i;
	for (int i = 0; i < MCR_GROUPS && at < 0; i++)
		if (r->state == MCR_IDLE || r->groups[i].gid != r->gid)
			at = i;
	at = at < 0 ? 0 : at;
	r->groups[at].is_used = true;
	r->groups[at].gid = gid;
	memcpy(r->groups[at].sid, sid, sizeof(r->groups[at].sid));
	save_groups(r);
}

static bool is_replayed(const struct mcast_receiver *r, uint32_t gid, const uint8_t *sid)
{
	const struct mcr_group *group = find_group(r, gid, 0xffffffff);

	return group && memcmp(group->sid, sid, 8) != 0 && counter_of(sid) <= counter_of(group->sid);
}

static bool is_same_object(const struct mcast_receiver *r, const struct mcr_setup *s)
{
	return r->state != MCR_IDLE && r->size == s->size && memcmp(r->sha256, s->sha256, sizeof(r->sha256)) == 0 && r->z == s->z &&
	       r->k == s->k && r->log2_e == s->log2_e;
}

static enum mcr_ack check_limits(const struct mcast_receiver *r, const struct mcr_setup *s)
{
	if (s->size == 0 || s->log2_e > 31 || (1u << s->log2_e) % MCR_ERASE_BYTES != 0)
		return MCR_NO_SPACE;
	if (s->z == 0 || s->z % 8 != 0 || s->z > MCR_Z_MAX)
		return MCR_BAD_Z;
	if (s->alg > 2)
		return MCR_BAD_ALG;
	if (s->k == 0 || s->k > MCR_K_MAX || (uint32_t)s->k * s->z >> s->log2_e == 0)
		return MCR_K_TOO_LARGE;
	return is_live(r) && r->gid != s->gid && memcmp(r->sid, s->sid, 8) != 0 ? MCR_BUSY : MCR_ACCEPTED;
}

/* Another object: what was here goes. Power may be lost at any point: the session's record is the first to go and the last to
 * come. */
static enum mcr_ack start_object(struct mcast_receiver *r, const struct mcr_setup *s)
{
	uint32_t erased;

	if (r->state != MCR_IDLE)
		mcr_abort(r);
	if (!geometry(r, s->size, s->z, s->k, s->log2_e)) {
		r->n_gen = 0;
		return MCR_NO_SPACE;
	}
	memset(r->gens, 0, sizeof(r->gens));
	for (unsigned g = 0; g < r->n_gen; g++) {
		clear_map(r, g);
		if (r->ops->save(r->ctx, (uint16_t)(MCR_KEY_GENERATION + g), NULL, 0) < 0)
			return MCR_NO_SPACE;
	}
	erased = gen_offset(r, r->n_gen - 1u) + ((uint32_t)(r->q + (r->n_gen - 1u < r->rem)) << r->log2_e);
	for (uint32_t at = 0; at < erased; at += MCR_ERASE_BYTES) {
		int blank = is_blank(r, MCR_OBJECT, at, MCR_ERASE_BYTES);
		if (blank < 0 || (!blank && r->ops->erase(r->ctx, MCR_OBJECT, at, MCR_ERASE_BYTES) < 0))
			return MCR_NO_SPACE;
	}
	return MCR_ACCEPTED;
}

static void take_terms(struct mcast_receiver *r, const struct mcr_setup *s)
{
	uint32_t life = s->lifetime_s ? s->lifetime_s : LIFETIME_S;

	r->pace_ms = (uint16_t)(s->pace_ms ? least(s->pace_ms, FROZEN) : PACE_MS);
	r->slot_ms = (uint16_t)(s->slot_ms ? least(s->slot_ms, FROZEN) : SLOT_MS);
	r->lifetime_ms = (life < LIFETIME_S_MAX ? life : LIFETIME_S_MAX) * 1000;
	r->expires_at = r->now + r->lifetime_ms;
	r->heard_at = r->now;
	set_windows(r, &s->windows);
}

/* The gid may be another: the group's key has changed (MCD-10). */
static enum mcr_ack is_same_session(const struct mcast_receiver *r, const struct mcr_setup *s)
{
	if (!is_same_object(r, s) || r->alg != s->alg)
		return MCR_CONFLICT;
	return r->state == MCR_READY ? MCR_HAVE_IT : r->state == MCR_FAILED ? MCR_DEFERRED : MCR_ACCEPTED;
}

/* From here on frames are authentic under the new key only; of the old one its session counter is kept. */
static void take_key(struct mcast_receiver *r, const struct mcr_setup *s)
{
	if (r->gid != s->gid)
		remember_sid(r, s->gid, s->sid);
	r->gid = s->gid;
}

/* Told again, in the same words: as good as an answer that was lost, or what a node asks after a restart. */
static enum mcr_ack repeat_setup(struct mcast_receiver *r, const struct mcr_setup *s, enum mcr_ack ack)
{
	take_key(r, s);
	if (ack != MCR_ACCEPTED)               /* it has the object: it answers STATUS under the new key, too */
		return save_session(r) < 0 ? MCR_NO_SPACE : ack;
	take_terms(r, s);
	if (r->state == MCR_CLOSED)
		r->state = MCR_RECV;
	return save_session(r) < 0 ? MCR_NO_SPACE : MCR_ACCEPTED;
}

enum mcr_ack mcr_check_setup(const struct mcast_receiver *r, const struct mcr_setup *s)
{
	if (r->state != MCR_IDLE && memcmp(r->sid, s->sid, sizeof(r->sid)) == 0)
		return is_same_session(r, s);
	if (is_replayed(r, s->gid, s->sid))
		return MCR_REPLAYED;
	enum mcr_ack ack = check_limits(r, s);
	return ack == MCR_ACCEPTED && is_same_object(r, s) && r->state == MCR_READY ? MCR_HAVE_IT : ack;
}

enum mcr_ack mcr_setup(struct mcast_receiver *r, const struct mcr_setup *s, uint32_t now)
{
	tick(r, now);
	enum mcr_ack ack = mcr_check_setup(r, s);
	bool is_repeated = r->state != MCR_IDLE && memcmp(r->sid, s->sid, sizeof(r->sid)) == 0;
	if (ack == MCR_HAVE_IT && !is_repeated)
		remember_sid(r, s->gid, s->sid);
	if (is_repeated && (ack == MCR_ACCEPTED || ack == MCR_HAVE_IT))
		return repeat_setup(r, s, ack);
	if (ack != MCR_ACCEPTED)
		return ack;
	if (!is_same_object(r, s) || r->state == MCR_FAILED)
		ack = start_object(r, s);
	if (ack != MCR_ACCEPTED)
		return ack;
	for (unsigned g = 0; g < r->n_gen; g++)
		if (gen_state(r, g) != MCR_SOLVED)
			r->gens[g].state = MCR_COLLECT; /* a new session, a new chance */
	memcpy(r->sid, s->sid, sizeof(r->sid));
	memcpy(r->sha256, s->sha256, sizeof(r->sha256));
	r->alg = s->alg;
	r->gid = s->gid;
	take_terms(r, s);
	reset_volatile(r);
	set_windows(r, &s->windows);
	r->state = MCR_ARMED;
	remember_sid(r, s->gid, s->sid);
	return save_session(r) < 0 ? MCR_NO_SPACE : MCR_ACCEPTED;
}

/* --- after a restart --------------------------------------------------------------------------- */

static void load_groups(struct mcast_receiver *r)
{
	uint8_t p[MCR_GROUPS * 12];
	int n = r->ops->load(r->ctx, MCR_KEY_GROUPS, p, sizeof(p));

	for (int i = 0; i < n / 12; i++) {
		r->groups[i].is_used = true;
		r->groups[i].gid = le32(p + 12 * i);
		memcpy(r->groups[i].sid, p + 12 * i + 4, 8);
	}
}

/* 1 a session was there, 0 none, < 0. */
static int load_session(struct mcast_receiver *r)
{
	uint8_t p[SESSION_BYTES];
	int n = r->ops->load(r->ctx, MCR_KEY_SESSION, p, sizeof(p));

	if (n < 0)
		return n;
	if (n != SESSION_BYTES || p[0] != RECORD_VERSION || p[1] == MCR_IDLE || p[1] > MCR_FAILED || le16(p + 52) == 0 ||
	    le16(p + 52) > MCR_Z_MAX || p[3] > 31 || !geometry(r, le32(p + 44), le16(p + 52), le16(p + 54), p[3])) {
		r->n_gen = 0;
		return 0;
	}
	r->state = p[1];
	r->alg = p[2];
	memcpy(r->sid, p + 4, 8);
	memcpy(r->sha256, p + 12, 32);
	r->gid = le32(p + 48);
	r->pace_ms = (uint16_t)le16(p + 56);
	r->slot_ms = (uint16_t)le16(p + 58);
	r->lifetime_ms = le32(p + 60);
	reset_volatile(r);
	return 1;
}

static void load_generation(struct mcast_receiver *r, unsigned g)
{
	uint8_t p[2 + MCR_K_MAX / 8];
	unsigned n = (gen_m(r, g) + 7) / 8;

	clear_map(r, g);
	r->gens[g].seen = FROZEN;              /* what was lost while it was off says nothing of the air */
	if (r->ops->load(r->ctx, (uint16_t)(MCR_KEY_GENERATION + g), p, sizeof(p)) != (int)(2 + n) || p[1] != RECORD_VERSION)
		return;
	r->gens[g].state = p[0];
	for (unsigned i = 0; i < n; i++)
		gen_map(r, g)[i] |= p[2 + i];
}

/* The record is older than the flash by up to SAVE_EVERY fragments. Granules of which it knows nothing are erased; where it knows
 * some, a fragment that comes again is compared with what lies there (put_fragment()). */
static int tidy_generation(struct mcast_receiver *r, unsigned g)
{
	uint32_t bytes = (uint32_t)(r->q + (g < r->rem)) << r->log2_e;

	for (uint32_t at = 0; at < bytes; at += MCR_ERASE_BYTES) {
		bool has_any = false;
		for (unsigned i = at / r->z; i < gen_m(r, g) && (uint32_t)i * r->z < at + MCR_ERASE_BYTES; i++)
			has_any = has_any || (fragment_bytes(r, g, i) > 0 && bit_get(gen_map(r, g), i));
		if (!has_any && erase(r, MCR_OBJECT, gen_offset(r, g) + at, MCR_ERASE_BYTES) < 0)
			return -1;
	}
	return 0;
}

static int resume_generation(struct mcast_receiver *r, unsigned g)
{
	uint8_t d[8];

	if (gen_state(r, g) == MCR_SOLVED)
		return 0;
	if (gen_held(r, g) == gen_m(r, g))
		return finish_generation(r, g);
	if (r->ops->generation_digest(r->ctx, g, d) >= 0) {    /* whole, and only the record is behind? */
		int good = check_generation(r, g);
		if (good != 0)
			return good < 0 ? good : finish_generation(r, g);
	}
	return tidy_generation(r, g);
}

int mcr_init(struct mcast_receiver *r, const struct mcr_ops *ops, void *ctx, uint32_t now)
{
	memset(r, 0, sizeof(*r));
	r->ops = ops;
	r->ctx = ctx;
	r->now = now;
	r->open = -1;
	load_groups(r);
	int n = load_session(r);
	if (n <= 0)
		return n;
	for (unsigned g = 0; g < r->n_gen; g++)
		load_generation(r, g);
	if (r->state == MCR_READY || r->state == MCR_FAILED)
		return 0;
	if (is_all_solved(r))
		(void)verify_object(r); /* a failure of flash was told */
	for (unsigned g = 0; g < r->n_gen && r->state != MCR_READY && r->state != MCR_FAILED; g++)
		if (resume_generation(r, g) < 0)
			break;
	return 0;
}

/* --- looking at it ----------------------------------------------------------------------------- */

uint32_t mcr_held_bytes(const struct mcast_receiver *r)
{
	uint32_t held = 0;

	for (unsigned g = 0; g < r->n_gen; g++)
		held += gen_state(r, g) == MCR_SOLVED ? gen_bytes(r, g) : gen_held(r, g) * (uint32_t)r->z;
	return held < r->size ? held : r->size;
}

enum mcr_state mcr_state(const struct mcast_receiver *r) { return r->state; }
unsigned mcr_generations(const struct mcast_receiver *r) { return r->n_gen; }
enum mcr_gen_state mcr_generation_state(const struct mcast_receiver *r, unsigned g) { return gen_state(r, g); }

const struct mcr_stats *mcr_stats(struct mcast_receiver *r, uint32_t now)
{
	tick(r, now);
	first_pass(r, &r->stats.n_expected, &r->stats.n_lost);
	return &r->stats;
}

size_t mcr_solved_map(const struct mcast_receiver *r, uint8_t *ret, size_t max)
{
	size_t n = (r->n_gen + 7u) / 8;

	n = n < max ? n : max;
	memset(ret, 0, n);
	for (unsigned g = 0; g < r->n_gen && g < 8 * n; g++)
		if (gen_state(r, g) == MCR_SOLVED)
			bit_set(ret, g);
	return n;
}
