/* The freestanding multicast receiver (dormouse-multicast(7), MCD-3 to MCD-17), against frames of the gateway's own encoders. */
#include "receiver_rig.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "codec/mcast_message.h"

static struct rig *armed(uint32_t size, unsigned z, unsigned k, uint64_t seed)
{
	struct rig *g = rig_new(size, z, k, seed);

	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);
	(void)mcr_step(&g->r, g->now);
	return g;
}

static void assert_ready(struct rig *g)
{
	assert_int_equal(mcr_state(&g->r), MCR_READY);
	assert_true(rig_is_true(g));
	assert_int_equal(g->n_events[MCR_EV_READY], 1);
	assert_false(mcr_missing(&g->r, 0, &(uint32_t){ 0 }, &(uint32_t){ 0 }));
}

/* MCD-7 */
static void rows_are_those_of_the_gateways_encoder(void **state)
{
	static const unsigned sizes[] = { 2, 3, 8, 10, 16, 17, 100, 128, 200, 255, 256, 511, 512 };
	uint8_t ours[MCR_K_MAX / 8], theirs[PARITY_ROW_BYTES_MAX];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		for (unsigned alg = 1; alg <= 2; alg++) {
			for (unsigned n = 1; n <= parity_n_max(sizes[i]); n += n < 300 ? 1 : 97) {
				mcr_row(sizes[i], n, alg, ours);
				parity_row(sizes[i], n, (enum parity_alg)alg, theirs);
				assert_memory_equal(ours, theirs, parity_row_bytes(sizes[i]));
			}
		}
	}
}

/* MCD-7: the specification's own rows, written out. */
static void rows_are_those_of_the_specification(void **state)
{
	static const struct { unsigned m, n, alg, weight, bits[8], n_bits; } rows[] = {
		{ 8, 1, 1, 4, { 0, 1, 4, 6 }, 4 }, { 8, 2, 1, 3, { 0, 4, 7 }, 3 }, { 8, 3, 1, 4, { 0, 1, 3, 6 }, 4 },
		{ 10, 1, 1, 2, { 2, 5 }, 2 }, { 10, 2, 1, 5, { 0, 2, 4, 5, 9 }, 5 }, { 128, 1, 1, 53, { 8, 9, 14, 17, 18, 19 }, 6 },
		{ 512, 1, 1, 199, { 503, 504, 505 }, 3 }, { 512, 100, 1, 196, { 4, 8, 9, 10, 11, 12 }, 6 },
		{ 8, 2, 2, 4, { 0, 3, 4, 7 }, 4 }, { 10, 1, 2, 5, { 1, 2, 3, 5, 9 }, 5 }, { 128, 1, 2, 64, { 7, 8, 9, 14, 15, 17 }, 6 },
	};
	uint8_t row[MCR_K_MAX / 8];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		unsigned weight = 0;
		mcr_row(rows[i].m, rows[i].n, rows[i].alg, row);
		for (unsigned b = 0; b < rows[i].m; b++)
			weight += row[b / 8] >> (b % 8) & 1;
		assert_int_equal(weight, rows[i].weight);
		for (unsigned b = 0; b < rows[i].n_bits; b++)
			assert_true(row[rows[i].bits[b] / 8] >> (rows[i].bits[b] % 8) & 1);
	}
}

/* MCD-3 */
static void the_cut_is_the_gateways_for_every_size(void **state)
{
	static const struct { unsigned z, k; } cuts[] = { { 64, 512 }, { 64, 256 }, { 64, 128 }, { 56, 512 }, { 32, 256 }, { 8, 512 } };

	for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
		struct rig *g = rig_new(1, cuts[i].z, cuts[i].k, i);
		for (uint32_t size = 1; size <= RIG_OBJECT_BYTES; size += size < 9000 ? 61 : 4057) {
			struct mcast_geometry geo;
			rig_session(g, size);
			g->setup.size = size;
			assert_int_equal(mcast_geometry_of(size, cuts[i].z, cuts[i].k, 12, &geo), 0);
			enum mcr_ack ack = mcr_setup(&g->r, &g->setup, g->now);
			if (geo.n_fragments > MCR_F_MAX || geo.n_generations > MCR_G_MAX) {
				assert_int_equal(ack, MCR_NO_SPACE);
				continue;
			}
			assert_int_equal(ack, MCR_ACCEPTED);
			assert_int_equal(mcr_generations(&g->r), geo.n_generations);
			for (unsigned gen = 0; gen < geo.n_generations; gen++) {
				struct mcast_generation part = mcast_geometry_generation(&geo, gen);
				uint32_t bytes;
				assert_int_equal(mcr_generation_offset(&g->r, gen, &bytes), part.offset);
				assert_int_equal(bytes, part.length);
				assert_int_equal(mcr_deficit(&g->r, gen), part.length <= cuts[i].z ? 1 : part.m);
			}
		}
		rig_free(g);
	}
}

static void an_object_comes_whole_without_losses(void **state)
{
	static const struct { uint32_t size; unsigned z, k; } objects[] = {
		{ 1, 64, 512 }, { 64, 64, 512 }, { 65, 64, 512 }, { 4096, 64, 512 }, { 4097, 64, 128 }, { 32768, 64, 512 }, { 100001, 64, 256 },
		{ 99999, 56, 512 }, { 33333, 32, 512 }, { 131072, 64, 512 }, { 524288, 64, 512 },
	};

	for (size_t i = 0; i < sizeof(objects) / sizeof(*objects); i++) {
		struct rig *g = armed(objects[i].size, objects[i].z, objects[i].k, i);
		rig_pass(g, 0);
		assert_ready(g);
		rig_free(g);
	}
}

static void parity_gives_back_what_was_lost(void **state)
{
	static const struct { uint32_t size; unsigned z, k, alg, permille; } runs[] = {
		{ 32768, 64, 512, 1, 100 }, { 131072, 64, 512, 1, 50 }, { 131072, 64, 512, 2, 100 }, { 131071, 64, 256, 1, 200 },
		{ 65537, 64, 128, 1, 300 }, { 100000, 56, 512, 1, 100 }, { 50000, 32, 256, 2, 200 }, { 70000, 16, 512, 1, 100 }, { 4097, 8, 512, 1, 50 },
		{ 524288, 64, 512, 1, 100 },
	};

	for (size_t i = 0; i < sizeof(runs) / sizeof(*runs); i++) {
		struct rig *g = rig_new(runs[i].size, runs[i].z, runs[i].k, 100 + i);
		g->setup.alg = (uint8_t)runs[i].alg;
		assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);
		(void)mcr_step(&g->r, g->now);
		rig_pass(g, runs[i].permille);
		for (unsigned round = 0; round < 4 && mcr_state(&g->r) != MCR_READY; round++)
			rig_parity(g, runs[i].permille, 1 + 100 * round, 100);
		assert_ready(g);
		rig_free(g);
	}
}

/* Loses exactly `lost` fragments of the one generation, scattered. */
static struct rig *with_lost(unsigned lost, uint64_t seed, bool is_lost[static 513])
{
	struct rig *g = armed(32768, 64, 512, seed);

	memset(is_lost, 0, 513 * sizeof(bool));
	while (lost > 0) {
		unsigned n = 1 + rig_random(g) % 512;
		lost -= !is_lost[n];
		is_lost[n] = true;
	}
	for (unsigned n = 1; n <= 512; n++)
		if (!is_lost[n])
			assert_true(rig_data(g, 0, n));
	return g;
}

/* MCD-15: L' > L */
static void as_many_losses_as_the_matrix_holds_and_one_more(void **state)
{
	bool is_lost[513];

	for (unsigned lost = MCR_L - 1; lost <= MCR_L + 1; lost++) {
		struct rig *g = with_lost(lost, lost, is_lost);
		rig_parity(g, 0, 1, MCR_L + 12);
		if (lost <= MCR_L) {
			assert_ready(g);
		} else {
			struct mcr_report report;
			assert_int_equal(mcr_deficit(&g->r, 0), lost);
			mcr_report_make(&g->r, 1, &report);
			assert_int_equal(report.entries[0].d, lost);
			assert_int_equal(report.loss_permille, (lost * 1000 + 256) / 512);
			for (unsigned n = 1; n <= 512; n++) {          /* a trim */
				if (is_lost[n]) {
					(void)rig_data(g, 0, n);
					break;
				}
			}
			rig_parity(g, 0, 500, MCR_L + 12);
			assert_ready(g);
		}
		rig_free(g);
	}
}

/* The deficit is what is still needed: so many independent rows end it, and none of them is in vain. */
static void the_deficit_counts_rows_and_late_fragments_count_as_rows(void **state)
{
	bool is_lost[513];
	struct rig *g = with_lost(60, 5, is_lost);
	unsigned row = 1;

	for (; mcr_deficit(&g->r, 0) > 30; row++)
		assert_true(rig_data(g, 0, 512 + row));
	assert_in_range(row, 31, 40);
	for (unsigned n = 1; n <= 512 && mcr_state(&g->r) != MCR_READY; n++) {
		unsigned before = mcr_deficit(&g->r, 0);
		if (!is_lost[n])
			continue;
		assert_true(rig_data(g, 0, n));
		assert_in_range(before - (mcr_state(&g->r) == MCR_READY ? 0 : mcr_deficit(&g->r, 0)), 0, 1);
	}
	assert_ready(g);
	rig_free(g);
}

/* MCD-13: parity of another generation closes one; its rows stay in scratch flash and count when it comes again. */
static void rows_of_a_closed_generation_are_kept_and_used_again(void **state)
{
	struct rig *g = armed(131072, 64, 512, 77);

	rig_pass(g, 60);
	for (unsigned row = 1; row <= 200 && mcr_state(&g->r) != MCR_READY; row++) {
		for (unsigned gen = 0; gen < 2; gen++) {       /* two in turn, row by row */
			unsigned before = mcr_deficit(&g->r, gen);
			(void)rig_data(g, gen, 512 + row);
			if (before > 1)
				assert_in_range(before - mcr_deficit(&g->r, gen), 0, 1);
		}
	}
	assert_int_equal(mcr_generation_state(&g->r, 0), MCR_SOLVED);
	assert_int_equal(mcr_generation_state(&g->r, 1), MCR_SOLVED);
	for (unsigned i = 0; i < 20; i++)      /* late ones of a closed generation, out of turn */
		(void)rig_data(g, 2, 513 + i);
	(void)rig_data(g, 3, 513);
	for (unsigned n = 1; n <= 512; n += 2)
		(void)rig_data(g, 2, n);
	rig_parity(g, 0, 300, 80);
	assert_ready(g);
	rig_free(g);
}

/* More generations in work than scratch flash holds: the first gives way, and all come to an end all the same. */
static void scratch_flash_that_is_full_drops_rows_not_the_object(void **state)
{
	struct rig *g = armed(131072, 64, 512, 78);

	rig_pass(g, 150);
	for (unsigned row = 1; row <= 400 && mcr_state(&g->r) != MCR_READY; row += 10)
		for (unsigned gen = 0; gen < 4; gen++)
			for (unsigned i = 0; i < 10; i++)
				(void)rig_data(g, gen, 512 + row + i);
	rig_parity(g, 0, 500, 120);
	assert_ready(g);
	rig_free(g);
}

/* TS004's rows for M = 192 have fragments 66 and 97 always together up to row 127: when both are lost, parity alone does not end it.
 * The receiver notices, and one fragment by unicast is enough. */
static void fragments_that_no_row_tells_apart_are_fetched(void **state)
{
	struct rig *g = armed(192 * 64, 64, 256, 31);
	uint32_t off, n;

	for (unsigned i = 1; i <= 192; i++)
		if (i != 66 && i != 97 && i % 10 != 3)
			(void)rig_data(g, 0, i);
	rig_parity(g, 0, 1, 60);
	assert_int_equal(mcr_state(&g->r), MCR_RECV);
	assert_int_equal(mcr_deficit(&g->r, 0), 1);
	assert_int_equal(g->n_events[MCR_EV_STUCK], 1);
	assert_true(mcr_missing(&g->r, 0, &off, &n));
	assert_int_equal(n, 64);
	assert_true(off == 65 * 64 || off == 96 * 64);
	assert_int_equal(mcr_put(&g->r, off, g->truth + off, n, g->now), 1);
	assert_ready(g);
	rig_free(g);
}

/* With some rows at hand, unicast fetches only what those do not give. */
static void unicast_fetches_no_more_than_the_rows_lack(void **state)
{
	struct rig *g = armed(131072, 64, 512, 32);
	uint32_t off, n, from = 0;
	unsigned n_fetched = 0, deficits = 0;

	rig_pass(g, 100);
	rig_parity(g, 0, 1, 40);
	for (unsigned gen = 0; gen < 4; gen++)
		deficits += mcr_deficit(&g->r, gen);
	while (mcr_missing(&g->r, from, &off, &n)) {
		for (uint32_t at = off; at < off + n; at += 64, n_fetched++)
			assert_int_equal(mcr_put(&g->r, at, g->truth + at, 64, g->now), 1);
		from = off + n;
	}
	assert_ready(g);
	assert_in_range(n_fetched, deficits, deficits + 2);
	assert_true(deficits > 20);
	rig_free(g);
}

static void duplicates_and_any_order_do_no_harm(void **state)
{
	struct rig *g = armed(32768, 64, 256, 9);
	unsigned total = 2 * 256, *order = calloc(3 * total, sizeof(*order)), n = 0;

	for (unsigned i = 0; i < total; i++)
		for (unsigned copies = rig_random(g) % 3; copies > 0; copies--)
			order[n++] = i;
	for (unsigned i = n; i-- > 1;) {
		unsigned j = rig_random(g) % (i + 1), t = order[i];
		order[i] = order[j];
		order[j] = t;
	}
	for (unsigned i = 0; i < n; i++)
		assert_true(rig_data(g, order[i] / 256, 1 + order[i] % 256));
	unsigned programs = g->n_programs;
	for (unsigned i = 0; i < n; i++)
		(void)rig_data(g, order[i] / 256, 1 + order[i] % 256);
	assert_int_equal(g->n_programs, programs);
	for (unsigned i = 0; i < 2 * 2 * 150; i++)     /* each twice */
		(void)rig_data(g, i / 300, 256 + 1 + i % 300 / 2);
	assert_ready(g);
	free(order);
	rig_free(g);
}

/* MCD-10, MCD-15 */
static void frames_that_are_not_what_they_should_be_are_dropped(void **state)
{
	struct rig *g = armed(32768, 64, 512, 10);
	uint8_t frame[MCAST_FRAME_BYTES_MAX];
	size_t n = rig_make_data(g, 0, 5, frame);
	static const struct { unsigned at; uint8_t to; } wrong[] = { { 1, 0 }, { 2, 1 }, { 2, 200 }, { 4, 0x40 }, { 3, 0 } };

	for (size_t cut = 0; cut < n; cut++)
		assert_false(rig_feed(g, frame, cut));
	for (size_t i = 0; i < n; i++) {               /* any bit of it */
		frame[i] ^= (uint8_t)(1u << i % 8);
		assert_false(rig_feed(g, frame, n));
		frame[i] ^= (uint8_t)(1u << i % 8);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {  /* well sealed, and wrong */
		uint8_t f[MCAST_FRAME_BYTES_MAX];
		memcpy(f, frame, n);
		f[wrong[i].at] = wrong[i].to;
		(void)mcast_frame_seal(g->mk, &g->sid, f, n - MCAST_MIC_DATA_BYTES);
		assert_false(rig_feed(g, f, n));
	}
	struct mcast_data far = { .g = 0, .n = 512 + 8192, .fragment = SPAN(frame + 5, 64) };
	uint8_t f[MCAST_FRAME_BYTES_MAX];
	assert_false(rig_feed(g, f, mcast_frame_seal(g->mk, &g->sid, f, mcast_data_encode(mcast_sid8(&g->sid), &far, f))));
	memset(f, 0xff, sizeof(f));
	assert_false(rig_feed(g, f, sizeof(f)));
	assert_int_equal(g->n_programs, 0);
	assert_int_equal(mcr_deficit(&g->r, 0), 512);
	assert_int_equal(mcr_state(&g->r), MCR_ARMED);
	assert_true(mcr_stats(&g->r, g->now)->n_bad_mic > 0);
	assert_true(rig_feed(g, frame, n));
	assert_int_equal(mcr_state(&g->r), MCR_RECV);
	rig_free(g);
}

/* MCD-10: whoever holds the group's key can spoil a generation, twice at most, and never the object. */
static void a_forged_generation_is_found_erased_and_at_last_fetched_by_unicast(void **state)
{
	struct rig *g = armed(65536, 64, 512, 11);
	struct mcr_report report;
	uint32_t off, n, from = 0;

	for (unsigned time = 0; time < 2; time++) {
		uint8_t good = g->truth[777];
		g->has_table = true;
		for (unsigned i = 1; i <= 512; i++) {
			uint8_t frame[MCAST_FRAME_BYTES_MAX];
			size_t len = rig_make_data(g, 0, i, frame);
			if (i == 13)
				frame[20] ^= 1;
			len = mcast_frame_seal(g->mk, &g->sid, frame, len - MCAST_MIC_DATA_BYTES);
			assert_true(rig_feed(g, frame, len));
		}
		assert_int_equal(g->truth[777], good);
		assert_int_equal(g->n_events[MCR_EV_SPOILED], time + 1);
		mcr_report_make(&g->r, 3, &report);
		assert_true(report.flags & MCR_REPORT_DIGEST_FAILED);
	}
	assert_int_equal(mcr_generation_state(&g->r, 0), MCR_BAD);
	assert_int_equal(mcr_deficit(&g->r, 0), 1);
	for (unsigned i = 1; i <= 1024; i++) {         /* nothing on the air counts any more */
		(void)rig_data(g, 0, i);
		if (i <= 512)
			(void)rig_data(g, 1, i);
	}
	assert_int_equal(mcr_generation_state(&g->r, 0), MCR_BAD);
	assert_int_equal(mcr_generation_state(&g->r, 1), MCR_SOLVED);
	rig_boot(g);                                   /* not even after a restart */
	assert_int_equal(mcr_generation_state(&g->r, 0), MCR_BAD);
	while (mcr_missing(&g->r, from, &off, &n)) {
		for (uint32_t at = off; at < off + n; at += 64)
			assert_int_equal(mcr_put(&g->r, at, g->truth + at, 64, g->now), 1);
		from = off + n;
	}
	assert_ready(g);
	rig_free(g);
}

/* MCD-8: flag 2 stands as long as there is something to be made good, and is not said of a generation that has been. */
static void what_was_spoiled_and_is_made_good_is_not_told_any_more(void **state)
{
	struct rig *g = armed(65536, 64, 512, 16);
	uint8_t frame[MCAST_FRAME_BYTES_MAX];
	struct mcr_report report;

	g->has_table = true;
	for (unsigned i = 1; i <= 512; i++) {
		size_t len = rig_make_data(g, 0, i, frame);
		frame[20] ^= i == 13;
		(void)rig_feed(g, frame, mcast_frame_seal(g->mk, &g->sid, frame, len - MCAST_MIC_DATA_BYTES));
	}
	for (unsigned boot = 0; boot < 2; boot++) {
		mcr_report_make(&g->r, 3, &report);
		assert_int_equal(report.flags, MCR_REPORT_DIGEST_FAILED);
		rig_boot(g);
	}
	for (unsigned i = 1; i <= 512; i++)
		(void)rig_data(g, 0, i);
	assert_int_equal(mcr_generation_state(&g->r, 0), MCR_SOLVED);
	for (unsigned boot = 0; boot < 2; boot++) {
		mcr_report_make(&g->r, 4, &report);
		assert_int_equal(report.flags, 0);
		rig_boot(g);
	}
	rig_free(g);
}

/* Forged parity spoils what it solves; without a table the whole object's digest finds it. */
static void forged_parity_and_no_table_end_well_or_not_ready(void **state)
{
	for (unsigned with_table = 0; with_table < 2; with_table++) {
		struct rig *g = armed(32768, 64, 512, 12 + with_table);
		g->has_table = with_table;
		for (unsigned n = 11; n <= 512; n++)
			(void)rig_data(g, 0, n);
		for (unsigned i = 1; i <= 40 && g->n_events[MCR_EV_SPOILED] == 0; i++) {
			uint8_t frame[MCAST_FRAME_BYTES_MAX];
			size_t len = rig_make_data(g, 0, 512 + i, frame);
			frame[30] ^= 0x80;
			(void)rig_feed(g, frame, mcast_frame_seal(g->mk, &g->sid, frame, len - MCAST_MIC_DATA_BYTES));
		}
		assert_int_equal(g->n_events[MCR_EV_SPOILED], 1);
		assert_int_equal(mcr_deficit(&g->r, 0), 512);
		rig_pass(g, 100);
		rig_parity(g, 0, 1000, 90);
		assert_ready(g);
		rig_free(g);
	}
}

/* A table or digest that cannot be met ends, and never READY. */
static void what_cannot_be_right_fails_in_the_end(void **state)
{
	struct rig *g = armed(8192, 64, 128, 14);
	uint32_t off, n;

	g->lies_in_table = true;
	for (unsigned time = 0; time < 2; time++)
		rig_pass(g, 0);
	for (unsigned time = 0; time < 10 && mcr_missing(&g->r, 0, &off, &n); time++)
		for (uint32_t at = off; at < off + n; at += 64)
			(void)mcr_put(&g->r, at, g->truth + at, 64, g->now);
	assert_int_equal(mcr_state(&g->r), MCR_FAILED);
	assert_int_equal(g->n_events[MCR_EV_FAILED], 1);
	assert_int_equal(g->n_events[MCR_EV_READY], 0);
	rig_free(g);
	g = rig_new(8192, 64, 128, 15);
	g->setup.sha256[0] ^= 1;               /* every generation right, the object not */
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);
	(void)mcr_step(&g->r, g->now);
	rig_pass(g, 0);
	assert_int_equal(mcr_state(&g->r), MCR_FAILED);
	rig_free(g);
}

/* The power fails in the n-th operation; true when it did. */
static bool run_until_dark(struct rig *g, unsigned n, unsigned permille)
{
	g->power = n;
	if (setjmp(g->out))
		return true;
	rig_boot(g);
	if (mcr_state(&g->r) == MCR_IDLE)
		assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);
	(void)mcr_step(&g->r, g->now);
	for (unsigned gen = 0; gen < g->geo.n_generations; gen++)
		for (unsigned i = 1; i <= rig_m(g, gen) + 40; i++)
			if (rig_random(g) % 1000 >= permille)
				(void)rig_data(g, gen, i);
	g->power = 0;
	return false;
}

/* MCD-13: in every flash operation and every record there is, once; what was there before goes on, no word is programmed twice, and it ends
 * whole. */
static void the_power_may_fail_in_any_operation(void **state)
{
	unsigned n_dark = 0;

	for (unsigned at = 1;; at++) {
		struct rig *g = rig_new(16384, 64, 128, 500);
		g->setup.alg = 1;
		bool was_dark = run_until_dark(g, at, 150);
		n_dark += was_dark;
		g->power = 0;
		for (unsigned round = 0; round < 4 && mcr_state(&g->r) != MCR_READY; round++) {
			g->random += at;
			assert_false(run_until_dark(g, 0, 100));
		}
		assert_int_equal(mcr_state(&g->r), MCR_READY);
		assert_true(rig_is_true(g));
		rig_free(g);
		if (!was_dark)
			break;
	}
	assert_true(n_dark > 250);
}

/* Again and again, at random: it comes to its end in pieces. */
static void the_power_may_fail_again_and_again(void **state)
{
	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct rig *g = rig_new(24000, 64, 256, seed);
		unsigned failures = 0;
		while (mcr_state(&g->r) != MCR_READY && failures < 400)
			failures += run_until_dark(g, 20 + rig_random(g) % 400, 300);
		assert_int_equal(mcr_state(&g->r), MCR_READY);
		assert_true(rig_is_true(g));
		rig_free(g);
	}
}

static void flash_that_fails_leaves_the_session(void **state)
{
	struct rig *g = armed(8192, 64, 128, 16);

	(void)rig_data(g, 0, 1);
	g->flash_fails = true;
	(void)rig_data(g, 0, 2);
	assert_int_equal(mcr_state(&g->r), MCR_CLOSED);
	assert_int_equal(g->n_events[MCR_EV_FLASH], 1);
	assert_false(mcr_is_listening(&g->r));
	g->flash_fails = false;                /* told again, it goes on */
	assert_int_equal(mcr_setup(&g->r, &g->setup, g->now), MCR_ACCEPTED);
	rig_pass(g, 0);
	(void)mcr_step(&g->r, g->now);
	assert_ready(g);
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_those_of_the_gateways_encoder),
		cmocka_unit_test(rows_are_those_of_the_specification),
		cmocka_unit_test(the_cut_is_the_gateways_for_every_size),
		cmocka_unit_test(an_object_comes_whole_without_losses),
		cmocka_unit_test(parity_gives_back_what_was_lost),
		cmocka_unit_test(as_many_losses_as_the_matrix_holds_and_one_more),
		cmocka_unit_test(the_deficit_counts_rows_and_late_fragments_count_as_rows),
		cmocka_unit_test(rows_of_a_closed_generation_are_kept_and_used_again),
		cmocka_unit_test(scratch_flash_that_is_full_drops_rows_not_the_object),
		cmocka_unit_test(fragments_that_no_row_tells_apart_are_fetched),
		cmocka_unit_test(unicast_fetches_no_more_than_the_rows_lack),
		cmocka_unit_test(duplicates_and_any_order_do_no_harm),
		cmocka_unit_test(frames_that_are_not_what_they_should_be_are_dropped),
		cmocka_unit_test(a_forged_generation_is_found_erased_and_at_last_fetched_by_unicast),
		cmocka_unit_test(what_was_spoiled_and_is_made_good_is_not_told_any_more),
		cmocka_unit_test(forged_parity_and_no_table_end_well_or_not_ready),
		cmocka_unit_test(what_cannot_be_right_fails_in_the_end),
		cmocka_unit_test(the_power_may_fail_in_any_operation),
		cmocka_unit_test(the_power_may_fail_again_and_again),
		cmocka_unit_test(flash_that_fails_leaves_the_session),
	};

	return cmocka_run_group_tests_name("node/mcast_receiver", tests, NULL, NULL);
}
