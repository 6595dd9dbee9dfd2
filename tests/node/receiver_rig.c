#include "receiver_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/mem.h"

/* Whether the power fails in this operation. */
static bool is_dark(struct rig *g)
{
	return g->power > 0 && --g->power == 0;
}

static struct rig_flash *flash_of(struct rig *g, enum mcr_area area)
{
	return area == MCR_OBJECT ? &g->object : &g->scratch;
}

static int rig_read(void *ctx, enum mcr_area area, uint32_t off, uint8_t *ret, size_t n)
{
	struct rig_flash *f = flash_of(ctx, area);

	assert_true(off + n <= f->size);
	memcpy(ret, f->bytes + off, n);
	return 0;
}

/* Half of it, and a word that is torn: what a lost power leaves. */
static void tear(struct rig *g, struct rig_flash *f, uint32_t off, const uint8_t *data, size_t n)
{
	size_t whole = n / 2 / RIG_WORD * RIG_WORD;

	memcpy(f->bytes + off, data, whole);
	for (size_t i = 0; i < whole; i += RIG_WORD)
		f->is_programmed[(off + i) / RIG_WORD] = true;
	f->is_programmed[(off + whole) / RIG_WORD] = true;
	for (size_t i = whole; i < n && i < whole + RIG_WORD; i++)
		f->bytes[off + i] = (uint8_t)(data[i] | rig_random(g));
	longjmp(g->out, 1);
}

static int rig_program(void *ctx, enum mcr_area area, uint32_t off, const uint8_t *data, size_t n)
{
	struct rig *g = ctx;
	struct rig_flash *f = flash_of(g, area);

	assert_true(n > 0 && off % RIG_WORD == 0 && off + n <= f->size);
	if (g->flash_fails)
		return -EIO;
	g->n_programs++;
	for (size_t i = 0; i < n; i += RIG_WORD)
		assert_false(f->is_programmed[(off + i) / RIG_WORD]);  /* no word twice */
	if (is_dark(g))
		tear(g, f, off, data, n);
	memcpy(f->bytes + off, data, n);
	for (size_t i = 0; i < n; i += RIG_WORD)
		f->is_programmed[(off + i) / RIG_WORD] = true;
	return 0;
}

static int rig_erase(void *ctx, enum mcr_area area, uint32_t off, uint32_t n)
{
	struct rig *g = ctx;
	struct rig_flash *f = flash_of(g, area);
	bool dark = is_dark(g);

	assert_true(off % MCR_ERASE_BYTES == 0 && n % MCR_ERASE_BYTES == 0 && off + n <= f->size);
	if (g->flash_fails)
		return -EIO;
	g->n_erases++;
	if (dark)
		n /= 2;
	memset(f->bytes + off, 0xff, n);
	memset(f->is_programmed + off / RIG_WORD, 0, n / RIG_WORD * sizeof(bool));
	if (dark)
		longjmp(g->out, 1);
	return 0;
}

static int rig_save(void *ctx, uint16_t key, const uint8_t *data, size_t n)
{
	struct rig *g = ctx;

	assert_true(key < RIG_KEYS && n <= MCR_RECORD_BYTES);
	g->n_saves++;
	if (is_dark(g))
		longjmp(g->out, 1);
	g->records[key].n = n;
	if (n)
		memcpy(g->records[key].p, data, n);
	return 0;
}

static int rig_load(void *ctx, uint16_t key, uint8_t *ret, size_t max)
{
	struct rig *g = ctx;

	assert_true(key < RIG_KEYS);
	if (g->records[key].n > max)
		return -EMSGSIZE;
	memcpy(ret, g->records[key].p, g->records[key].n);
	return (int)g->records[key].n;
}

static bool rig_mic_ok(void *ctx, uint32_t gid, const uint8_t sid[8], const uint8_t *frame, size_t n, const uint8_t *mic, size_t mic_n)
{
	struct rig *g = ctx;
	uint8_t mk[16], tag[16];
	struct mcast_sid s;

	if ((gid & 0xff) != g->gid)
		return false;
	memcpy(s.b, sid, sizeof(s.b));
	mcast_mic_key(&s, g->key, mk);
	mac_cmac_once(mk, SPAN(sid, 8), SPAN(frame, n), tag);
	return memcmp(tag, mic, mic_n) == 0;
}

static int rig_sha256(void *ctx, uint32_t off, uint32_t n, uint8_t ret[32])
{
	struct rig *g = ctx;

	assert_true(off + n <= g->object.size);
	struct digest d = digest_of(SPAN(g->object.bytes + off, n));
	memcpy(ret, d.b, 32);
	return 0;
}

static int rig_generation_digest(void *ctx, unsigned gen, uint8_t ret[8])
{
	struct rig *g = ctx;
	struct mcast_generation part = mcast_geometry_generation(&g->geo, gen);

	if (!g->has_table)
		return -ENOENT;
	struct digest d = digest_of(SPAN(g->truth + part.offset, part.length));
	memcpy(ret, d.b, 8);
	ret[0] ^= g->lies_in_table;
	return 0;
}

uint32_t rig_random(struct rig *g)
{
	uint64_t z = g->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)(z >> 32);
}

static uint32_t rig_draw(void *ctx) { return rig_random(ctx); }

static void rig_report(void *ctx, const struct mcr_report *report)
{
	struct rig *g = ctx;

	assert_true(g->n_reports < RIG_REPORTS);
	g->report_at[g->n_reports] = g->now;
	g->reports[g->n_reports++] = *report;
}

static void rig_event(void *ctx, enum mcr_event ev, unsigned arg)
{
	struct rig *g = ctx;

	g->n_events[ev]++;
	g->last_arg[ev] = arg;
}

static void rig_announced(void *ctx, const struct mcr_announce *a)
{
	struct rig *g = ctx;

	assert_memory_equal(a->sid, g->sid.b, 8);
	g->n_announced++;
}

static const struct mcr_ops ops = {
	.read = rig_read, .program = rig_program, .erase = rig_erase, .save = rig_save, .load = rig_load, .mic_ok = rig_mic_ok,
	.sha256 = rig_sha256, .generation_digest = rig_generation_digest, .random = rig_draw, .report = rig_report, .event = rig_event,
	.announced = rig_announced,
};

struct rig *rig_new(uint32_t size, unsigned z, unsigned k, uint64_t seed)
{
	struct rig *g = NEW(struct rig);

	assert_true(size <= RIG_OBJECT_BYTES);
	g->object.size = RIG_OBJECT_BYTES;
	g->scratch.size = RIG_SCRATCH_BYTES;
	g->random = seed;
	for (unsigned i = 0; i < RIG_OBJECT_BYTES; i++)        /* old flash: something lies there */
		g->object.bytes[i] = (uint8_t)rig_random(g);
	memset(g->object.is_programmed, true, sizeof(g->object.is_programmed));
	memset(g->scratch.is_programmed, true, sizeof(g->scratch.is_programmed));
	for (uint32_t i = 0; i < size; i++)
		g->truth[i] = (uint8_t)rig_random(g);
	if (size > 3 * z)
		memset(g->truth + 2 * z, 0xff, z); /* a fragment like erased flash */
	memset(g->key, 0x5a, sizeof(g->key));
	assert_int_equal(mcast_geometry_of(size, z, k, 12, &g->geo), 0);
	struct digest d = digest_of(SPAN(g->truth, size));
	g->has_table = true;
	g->setup = (struct mcr_setup){ .size = size, .z = (uint16_t)z, .k = (uint16_t)k, .log2_e = 12, .alg = 1, .gid = RIG_GID };
	memcpy(g->setup.sha256, d.b, 32);
	g->now = (uint32_t)-2000;              /* the clock wraps soon */
	g->gid = RIG_GID;
	rig_session(g, 1);
	rig_boot(g);
	return g;
}

struct rig *rig_free(struct rig *g)
{
	mac_cmac_free(g->mk);
	free(g);
	return NULL;
}

static void make_mk(struct rig *g)
{
	uint8_t mk[16];

	mcast_mic_key(&g->sid, g->key, mk);
	mac_cmac_free(g->mk);
	g->mk = mac_cmac_new(mk);
}

void rig_session(struct rig *g, uint32_t counter)
{
	g->sid = mcast_sid_of(counter, 0x01020300 + counter);
	memcpy(g->setup.sid, g->sid.b, 8);
	make_mk(g);
}

void rig_rekey(struct rig *g)
{
	g->setup.gid = ++g->gid;
	g->key[0]++;
	make_mk(g);
}

void rig_boot(struct rig *g)
{
	assert_int_equal(mcr_init(&g->r, &ops, g, g->now), 0);
}

unsigned rig_m(struct rig *g, unsigned gen) { return mcast_geometry_generation(&g->geo, gen).m; }

size_t rig_make_data(struct rig *g, unsigned gen, unsigned n, uint8_t ret[static MCAST_FRAME_BYTES_MAX])
{
	struct mcast_generation part = mcast_geometry_generation(&g->geo, gen);
	uint8_t fragment[MCAST_FRAGMENT_BYTES_MAX] = { 0 };
	struct mcast_data d = { .g = (uint8_t)gen, .n = (uint16_t)n, .fragment = SPAN(fragment, g->geo.z) };
	uint32_t off;

	if (n <= part.m) {
		unsigned bytes = mcast_geometry_fragment(&g->geo, gen, n, &off);
		memcpy(fragment, g->truth + off, bytes);
	} else {
		parity_fragment(SPAN(g->truth + part.offset, part.length), part.m, g->geo.z, n - part.m, g->setup.alg, fragment);
	}
	return mcast_frame_seal(g->mk, &g->sid, ret, mcast_data_encode(mcast_sid8(&g->sid), &d, ret));
}

bool rig_feed(struct rig *g, const uint8_t *frame, size_t n)
{
	uint8_t exact[MCAST_FRAME_BYTES_MAX];          /* a sanitizer sees what is read behind it */

	memcpy(exact + sizeof(exact) - n, frame, n);
	bool ok = mcr_frame(&g->r, exact + sizeof(exact) - n, n, g->now);
	(void)mcr_step(&g->r, g->now);
	return ok;
}

bool rig_data(struct rig *g, unsigned gen, unsigned n)
{
	uint8_t frame[MCAST_FRAME_BYTES_MAX];

	return rig_feed(g, frame, rig_make_data(g, gen, n, frame));
}

bool rig_status(struct rig *g, const struct mcast_status *s)
{
	uint8_t frame[MCAST_FRAME_BYTES_MAX];

	return rig_feed(g, frame, mcast_frame_seal(g->mk, &g->sid, frame, mcast_status_encode(mcast_sid8(&g->sid), s, frame)));
}

bool rig_end(struct rig *g, enum mcast_end reason)
{
	uint8_t frame[MCAST_FRAME_BYTES_MAX];

	return rig_feed(g, frame, mcast_frame_seal(g->mk, &g->sid, frame, mcast_end_encode(mcast_sid8(&g->sid), reason, frame)));
}

bool rig_announce(struct rig *g, const struct mcast_announce *a)
{
	uint8_t frame[MCAST_FRAME_BYTES_MAX];

	return rig_feed(g, frame, mcast_frame_seal(g->mk, &g->sid, frame, mcast_announce_encode(a, frame)));
}

void rig_wait(struct rig *g, uint32_t ms)
{
	while (ms > 0) {
		uint32_t in = mcr_step(&g->r, g->now);
		in = in < ms ? in : ms;
		g->now += in;
		ms -= in;
	}
	(void)mcr_step(&g->r, g->now);
}

static void send(struct rig *g, unsigned permille, unsigned gen, unsigned n)
{
	bool is_lost = rig_random(g) % 1000 < permille;

	rig_wait(g, 50);
	g->n_listened += mcr_is_listening(&g->r);
	if (!is_lost && mcr_is_listening(&g->r))
		(void)rig_data(g, gen, n);
}

void rig_pass(struct rig *g, unsigned permille)
{
	for (unsigned first = 0; first < g->geo.n_generations; first += 8)
		for (unsigned n = 1; n <= g->geo.k; n++)
			for (unsigned gen = first; gen < first + 8 && gen < g->geo.n_generations; gen++)
				if (n <= rig_m(g, gen))
					send(g, permille, gen, n);
}

void rig_parity(struct rig *g, unsigned permille, unsigned first, unsigned rows)
{
	for (unsigned gen = 0; gen < g->geo.n_generations; gen++)
		for (unsigned i = 0; i < rows; i++)
			send(g, permille, gen, rig_m(g, gen) + first + i);
}

bool rig_is_true(const struct rig *g)
{
	return memcmp(g->object.bytes, g->truth, g->setup.size) == 0;
}
