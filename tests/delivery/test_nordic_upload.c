/* The machine that brings Nordic's packages, against a scripted bootloader in virtual time: NDFU-2 (cut at every packet), NDFU-3 (damage),
 * NDFU-5 (packets), NDFU-6 (every extended error), several images, Legacy DFU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "../nordic_make.h"
#include "delivery/nordic_upload.h"
#include "nordic_node.h"

enum { IMAGE_BYTES = 10000, SYSTEM_BYTES = 3000, ANSWERS_MAX = 256, CHUNK_BYTES = 247 };

struct answer {
	size_t n;
	uint8_t b[20];
};

struct rig {
	struct nordic_node node;
	struct nordic_package package;
	struct nordic_upload *u;
	struct mono now;
	struct answer answers[ANSWERS_MAX];
	unsigned n_answers, n_written;
	bool is_linked;
	size_t chunk_bytes;
	unsigned cut_at;                       /* the link ends at this packet, counted from 1; 0 = never */
	unsigned room;                         /* packets in one turn; 0 = any number */
	unsigned n_turn;
	bool wants_writable;

	unsigned n_transferred, n_applying, n_restarts, n_again, n_done, n_failed;
	bool holds;                            /* the owner does not say go */
	uint64_t offset;
};

static uint8_t image_bytes[IMAGE_BYTES], system_bytes[SYSTEM_BYTES];

static void on_answer(void *ctx, struct span value)
{
	struct rig *g = ctx;

	assert_true(g->n_answers < ANSWERS_MAX && value.n <= sizeof(g->answers[0].b));
	g->answers[g->n_answers].n = value.n;
	memcpy(g->answers[g->n_answers++].b, value.p, value.n);
}

static void unlink_now(struct rig *g)
{
	g->is_linked = false;
	g->n_answers = g->n_written = 0;
	nordic_upload_unlink(g->u);
}

static bool wants_unlink;

static void on_restarts(void *ctx, bool is_application)
{
	(void)ctx;
	(void)is_application;
	wants_unlink = true;                   /* the answer before it still arrives */
}

static void on_control(void *ctx, struct span value)
{
	struct rig *g = ctx;

	assert_true(g->is_linked);
	g->n_written++;
	nordic_node_command(&g->node, value);
}

static int on_packet(void *ctx, struct span value)
{
	struct rig *g = ctx;

	assert_true(value.n <= g->chunk_bytes);
	if (!g->is_linked)
		return -ENOTCONN;
	if (g->cut_at && g->node.n_packets + 1 == g->cut_at) {
		g->cut_at = 0;
		wants_unlink = true;
		return -ENOTCONN;
	}
	if (g->room && g->n_turn >= g->room) {
		g->wants_writable = true;
		return -EAGAIN;
	}
	g->n_turn++;
	nordic_node_packet(&g->node, value);
	return 0;
}

static void on_event(void *ctx, enum nordic_event ev)
{
	struct rig *g = ctx;

	switch (ev) {
	case NORDIC_EV_PROGRESS:
		assert_true(nordic_upload_offset(g->u) > g->offset);
		g->offset = nordic_upload_offset(g->u);
		break;
	case NORDIC_EV_TRANSFERRED:
		g->n_transferred++;
		break;
	case NORDIC_EV_APPLYING:
		g->n_applying++;
		break;
	case NORDIC_EV_RESTARTS:
		g->n_restarts++;
		break;
	case NORDIC_EV_AGAIN:
		g->n_again++;
		wants_unlink = true;
		break;
	case NORDIC_EV_DONE:
		g->n_done++;
		break;
	case NORDIC_EV_FAILED:
		g->n_failed++;
		break;
	}
}

static void part_set(struct rig *g, size_t i, enum nordic_kind kind, struct span image, uint32_t version)
{
	struct nordic_part *p = &g->package.parts[i];

	p->kind = kind;
	buf_add(&p->image, image);
	if (g->package.is_legacy)
		make_legacy_init(&p->init, image);
	else
		make_init_packet(&p->init, &(struct make_init){ .kind = kind, .image = image, .version = version,
				 .softdevice_bytes = kind == NORDIC_SOFTDEVICE_BOOTLOADER ? 2000 : 0,
				 .bootloader_bytes = kind == NORDIC_SOFTDEVICE_BOOTLOADER ? (uint32_t)image.n - 2000 : 0 });
	if (kind == NORDIC_APPLICATION)
		p->application_bytes = (uint32_t)image.n;
	else {
		p->softdevice_bytes = 2000;
		p->bootloader_bytes = (uint32_t)image.n - 2000;
	}
	g->package.n_parts = i + 1;
}

static void rig_open(struct rig *g, bool is_legacy, bool has_system, uint32_t prn)
{
	struct nordic_upload_ops ops = { .control = on_control, .packet = on_packet, .event = on_event, .ctx = g };

	*g = (struct rig){ .chunk_bytes = CHUNK_BYTES, .now = { 1000 } };
	for (size_t i = 0; i < IMAGE_BYTES; i++)
		image_bytes[i] = (uint8_t)(i * 31 + i / 251);
	for (size_t i = 0; i < SYSTEM_BYTES; i++)
		system_bytes[i] = (uint8_t)(i * 17);
	nordic_node_init(&g->node);
	g->node.is_legacy = g->package.is_legacy = is_legacy;
	g->node.answer = on_answer;
	g->node.restarts = on_restarts;
	g->node.ctx = g;
	if (has_system)
		part_set(g, 0, NORDIC_SOFTDEVICE_BOOTLOADER, SPAN_OF(system_bytes), 5);
	part_set(g, has_system, NORDIC_APPLICATION, SPAN_OF(image_bytes), 5);
	g->u = nordic_upload_new(&(struct nordic_upload_config){ .prn = prn, .answer_ms = 1000 }, &g->package, &ops);
	wants_unlink = false;
}

static void rig_close(struct rig *g)
{
	g->u = nordic_upload_free(g->u);
	nordic_package_done(&g->package);
	nordic_node_done(&g->node);
}

static void relink(struct rig *g)
{
	g->is_linked = true;
	g->n_turn = 0;
	nordic_node_link(&g->node);
	nordic_upload_link(g->u, g->chunk_bytes, g->now);
}

/* One thing that happens; false: nothing does any more. */
static bool step(struct rig *g)
{
	g->n_turn = 0;
	if (!g->is_linked) {
		if (nordic_upload_is_done(g->u))
			return false;
		relink(g);
	} else if (g->n_written) {
		g->n_written--;
		nordic_upload_written(g->u, g->now);
	} else if (g->n_answers) {
		struct answer a = g->answers[0];
		memmove(g->answers, g->answers + 1, --g->n_answers * sizeof(a));
		nordic_upload_receive(g->u, SPAN(a.b, a.n), g->now);
	} else if (wants_unlink) {
		wants_unlink = false;
		unlink_now(g);
	} else if (g->wants_writable) {
		g->wants_writable = false;
		nordic_upload_writable(g->u, g->now);
	} else if (!g->holds && (g->n_transferred || g->n_applying) && nordic_upload_wait_ms(g->u, g->now) < 0 && !nordic_upload_is_done(g->u)) {
		nordic_upload_go(g->u, g->now);
	} else {
		int64_t ms = nordic_upload_wait_ms(g->u, g->now);
		if (ms < 0)
			return false;
		g->now = mono_add_ms(g->now, ms);
		nordic_upload_tick(g->u, g->now);
	}
	return true;
}

static void run(struct rig *g)
{
	unsigned n = 0;

	while (step(g))
		assert_true(++n < 100000);
}

static void assert_installed(const struct rig *g)
{
	if (g->n_done != 1)
		fail_msg("%s: %s", nordic_upload_phase(g->u), nordic_upload_reason(g->u));
	assert_int_equal(g->n_failed, 0);
	const struct buf *b = &g->node.installed[g->node.n_installed - 1];
	assert_true(span_eq(buf_span(b), SPAN_OF(image_bytes)));
	assert_true(g->node.packets_are_whole);
	assert_int_equal(g->offset, nordic_package_bytes(&g->package));
}

/* ---- Secure DFU ---- */

static void an_image_is_brought_object_by_object(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, false, false, 12);
	run(&g);
	assert_installed(&g);
	assert_int_equal(g.n_transferred, 1);
	assert_int_equal(g.n_applying, 1);
	assert_int_equal(g.node.n_creates, 1 + 3);
	assert_int_equal(g.node.n_executes, 3);
	assert_int_equal(g.node.packet_max, 244); /* NDFU-5 */
	assert_int_equal(g.node.prn_least, 12);
	assert_int_equal(nordic_upload_counts(g.u).repeated, 0);
	assert_true(nordic_upload_counts(g.u).receipts > 0 && nordic_upload_was_activated(g.u));
	rig_close(&g);
}

/* NDFU-5: min(MTU - 3, 244), whole words; with and without receipts, and with a socket that is full at times. */
static void packets_fit_the_link(void **state)
{
	static const struct { size_t chunk; size_t packet; uint32_t prn; unsigned room; } rows[] = {
		{ 20, 20, 12, 0 }, { 23, 20, 1, 0 }, { 62, 60, 0, 0 }, { 244, 244, 0, 5 }, { 495, 244, 12, 3 }, { 182, 180, 1000, 1 },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct rig g;
		rig_open(&g, false, false, rows[i].prn);
		g.chunk_bytes = rows[i].chunk;
		g.room = rows[i].room;
		run(&g);
		assert_installed(&g);
		assert_int_equal(g.node.packet_max, rows[i].packet);
		rig_close(&g);
	}
}

/* NDFU-2: cut before every packet, with a node that keeps what was not executed, and with one that does not. */
static void a_lost_link_is_gone_on_with(void **state)
{
	unsigned n_packets = 0;

	(void)state;
	for (unsigned forgets = 0; forgets < 2; forgets++) {
		for (unsigned cut = 1; cut <= (n_packets ? n_packets : 1); cut++) {
			struct rig g;
			rig_open(&g, false, false, 12);
			g.cut_at = cut;
			g.node.forgets = forgets;
			run(&g);
			assert_installed(&g);
			assert_int_equal(g.node.n_links, 2);
			if (!forgets)          /* nothing twice */
				assert_true(g.node.n_packets <= (n_packets ? n_packets : 1000) + 1);
			if (!n_packets)
				n_packets = g.node.n_packets;
			rig_close(&g);
		}
	}
	assert_true(n_packets > 40);
}

/* And behind every command: the node has heard it, its answer is lost. */
static void a_lost_answer_is_gone_on_with(void **state)
{
	unsigned n_commands = 0;

	(void)state;
	for (unsigned mute = 1; mute <= (n_commands ? n_commands : 1); mute++) {
		struct rig g;
		rig_open(&g, false, false, 12);
		g.node.mute_at = mute;
		run(&g);
		if (g.n_done != 1)
			fail_msg("mute from command %u: %s", mute, nordic_upload_reason(g.u));
		assert_int_equal(g.n_transferred, 1); /* told once */
		assert_int_equal(g.n_applying, 1);
		if (g.n_again != 1 || g.node.n_links != 2)
			fail_msg("mute from command %u: %u again, %u links", mute, g.n_again, g.node.n_links);
		if (!n_commands)
			n_commands = g.node.n_commands - 1;
		rig_close(&g);
	}
	assert_true(n_commands >= 15);
}

/* NDFU-3 */
static void a_damaged_object_is_made_anew_with_more_receipts(void **state)
{
	struct rig g;

	(void)state;
	for (unsigned lost = 1; lost <= 1 + 17 + 17 + 8; lost++) {
		rig_open(&g, false, false, 12);
		g.node.lose_at = lost;
		run(&g);
		assert_installed(&g);
		assert_int_equal(nordic_upload_counts(g.u).repeated, 1);
		if (lost > 1)                  /* the first is the init packet's */
			assert_int_equal(g.node.prn_least, 6);
		rig_close(&g);
	}
	rig_open(&g, false, false, 0);         /* without receipts, they are switched on */
	g.node.lose_at = 10;
	run(&g);
	assert_installed(&g);
	assert_int_equal(g.node.prn_least, NORDIC_PRN_DEFAULT);
	rig_close(&g);
}

static void receipts_get_rarer_again_when_nothing_is_damaged(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, false, false, 12);
	g.node.object_bytes = 512;
	g.node.lose_at = 5;
	run(&g);
	assert_installed(&g);
	assert_int_equal(g.node.prn_least, 6);
	assert_int_equal(g.node.prn, 12);
	rig_close(&g);
}

static void damage_without_end_is_told(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, false, false, 12);
	g.node.lose_at = 3;
	g.node.lose_every = 2;
	run(&g);
	assert_int_equal(g.n_failed, 1);
	assert_int_equal(nordic_upload_result(g.u), 5);
	assert_non_null(strstr(nordic_upload_reason(g.u), "damaged again and again"));
	assert_int_equal(nordic_upload_counts(g.u).repeated, 2 * (NORDIC_OBJECT_TRIES + 1));
	rig_close(&g);
}

/* The question for the CRC may overtake the last packets on their way through the host. */
static void packets_that_are_still_on_their_way_are_waited_for(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, false, false, 12);
	g.node.late_packets = 1;
	run(&g);
	assert_installed(&g);
	assert_int_equal(nordic_upload_counts(g.u).repeated, 0);
	rig_close(&g);
}

/* NDFU-6 */
static void every_refusal_is_a_reason(void **state)
{
	static const uint8_t results[] = { 2, 3, 4, 5, 7, 8, 10, 11 };
	(void)state;

	for (size_t i = 0; i < sizeof(results); i++) {
		for (uint8_t e = 0; e <= (results[i] == NORDIC_EXTENDED ? 14 : 0); e++) {
			struct rig g;
			rig_open(&g, false, false, 12);
			g.node.refuse_op = NORDIC_EXECUTE;
			g.node.refuse_from = 1;
			g.node.refuse_result = results[i];
			g.node.refuse_extended = e;
			run(&g);
			assert_int_equal(g.n_failed, 1);
			assert_int_equal(g.n_done, 0);
			assert_non_null(strstr(nordic_upload_reason(g.u), nordic_error_text(results[i], e)));
			assert_non_null(strstr(nordic_upload_reason(g.u), "the init packet of the application"));
			assert_true(nordic_upload_result(g.u) >= 2);
			rig_close(&g);
		}
	}
}

static void the_last_command_may_be_refused(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, false, false, 12);
	g.node.refuse_op = NORDIC_EXECUTE;
	g.node.refuse_from = 4;                /* the init packet, two objects, the last one */
	g.node.refuse_result = NORDIC_EXTENDED;
	g.node.refuse_extended = NORDIC_EX_SIGNATURE;
	run(&g);
	assert_int_equal(g.n_failed, 1);
	assert_int_equal(nordic_upload_result(g.u), 5);
	assert_int_equal(g.n_applying, 1);
	assert_non_null(strstr(nordic_upload_reason(g.u), "activating"));
	rig_close(&g);
}

static void a_forgotten_init_packet_is_sent_again(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, false, false, 12);
	g.node.refuse_op = NORDIC_CREATE;
	g.node.refuse_from = 2;
	g.node.refuse_n = 1;
	g.node.refuse_result = NORDIC_NOT_PERMITTED;
	run(&g);
	assert_installed(&g);
	rig_close(&g);
}

static void what_another_update_left_is_not_gone_on_with(void **state)
{
	for (unsigned executed = 0; executed < 2; executed++) {
		struct rig g;

		(void)state;
		rig_open(&g, false, false, 12);
		make_init_packet(&g.node.init, &(struct make_init){ .image = SPAN_OF(system_bytes), .version = 4 });
		g.node.init_size = (uint32_t)g.node.init.n;
		g.node.has_init = true;
		buf_add(&g.node.data, SPAN_OF(system_bytes));
		g.node.executed = executed ? 3000 : 0;
		run(&g);
		assert_installed(&g);
		rig_close(&g);
	}
}

static void data_that_does_not_match_is_sent_again(void **state)
{
	static const struct { uint32_t n; } rows[] = { { 100 }, { 4096 }, { 5000 }, { 10000 }, { 10001 } };
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct rig g;
		rig_open(&g, false, false, 12);
		buf_add(&g.node.init, buf_span(&g.package.parts[0].init)); /* the init packet is ours, the data is not */
		g.node.init_size = (uint32_t)g.node.init.n;
		g.node.has_init = true;
		buf_grow(&g.node.data, rows[i].n);
		g.node.executed = rows[i].n / 4096 * 4096;
		if (g.node.executed == rows[i].n)
			g.node.executed -= g.node.executed ? 4096 : 0;
		run(&g);
		assert_installed(&g);
		rig_close(&g);
	}
}

static void a_link_that_never_helps_is_given_up(void **state)
{
	struct rig g;
	unsigned n = 0;

	(void)state;
	rig_open(&g, false, false, 12);
	while (!nordic_upload_is_done(g.u)) {
		relink(&g);
		g.node.mute_at = 1;
		unlink_now(&g);
		assert_true(++n < 100);
	}
	assert_int_equal(n, NORDIC_LINKS_MAX + 1);
	assert_int_equal(nordic_upload_result(g.u), 4);
	rig_close(&g);
}

static void an_init_packet_that_is_too_long_is_told(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, false, false, 12);
	g.node.init_bytes_max = 64;
	run(&g);
	assert_int_equal(g.n_failed, 1);
	assert_int_equal(nordic_upload_result(g.u), 6);
	rig_close(&g);
}

static void garbage_is_passed_over(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, false, false, 12);
	for (unsigned i = 0; i < 400 && step(&g); i++) {
		if (g.is_linked) {
			nordic_upload_receive(g.u, SPAN_LIT("\x60"), g.now);
			nordic_upload_receive(g.u, SPAN_LIT("\x60\x00\x01"), g.now);
			nordic_upload_receive(g.u, SPAN_LIT("\x20\x01\x01"), g.now);
			nordic_upload_receive(g.u, SPAN_LIT("\x60\x07\x01\x00"), g.now);
		}
	}
	run(&g);
	assert_installed(&g);
	rig_close(&g);
}

/* ---- several images ---- */

static void what_is_below_the_application_comes_first(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, false, true, 12);
	run(&g);
	assert_installed(&g);
	assert_int_equal(g.n_restarts, 1);
	assert_int_equal(g.node.n_installed, 2);
	assert_true(span_eq(buf_span(&g.node.installed[0]), SPAN_OF(system_bytes)));
	assert_int_equal(g.n_transferred, 1);
	rig_close(&g);
}

static void what_is_there_already_is_left_out(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, false, true, 12);
	g.node.system_version = 5;
	run(&g);
	assert_installed(&g);
	assert_int_equal(g.n_restarts, 0);
	assert_int_equal(g.node.n_installed, 1);
	rig_close(&g);
}

static void a_restart_without_an_answer_is_gone_on_with(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, false, true, 12);
	g.node.goes_silently = true;           /* after both images */
	while (g.node.n_installed < 2)
		assert_true(step(&g));
	assert_int_equal(g.n_done, 0);
	assert_true(nordic_upload_was_activated(g.u)); /* the owner looks for the application */
	wants_unlink = false;
	unlink_now(&g);
	assert_true(nordic_upload_was_activated(g.u) && !nordic_upload_is_done(g.u));
	rig_close(&g);
}

static void activating_twice_for_nothing_is_told(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, false, false, 12);
	for (unsigned i = 0; i < 2; i++) {
		while (!nordic_upload_was_activated(g.u))
			assert_true(step(&g));
		unlink_now(&g);                /* nothing came of it */
		g.n_answers = g.n_written = 0;
		wants_unlink = false;
		g.node.n_installed = 0;
		buf_done(&g.node.installed[0]);
		relink(&g);
	}
	run(&g);
	assert_int_equal(g.n_failed, 1);
	assert_non_null(strstr(nordic_upload_reason(g.u), "twice"));
	rig_close(&g);
}

static void it_halts_until_its_owner_says_go(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, false, false, 12);
	g.holds = true;
	run(&g);
	assert_int_equal(g.n_transferred, 1);
	assert_int_equal(g.n_applying, 0);
	unlink_now(&g);                        /* the link does not wait */
	nordic_upload_go(g.u, g.now);          /* persisted meanwhile */
	run(&g);
	assert_int_equal(g.n_transferred, 1);
	assert_int_equal(g.n_applying, 1);
	assert_false(nordic_upload_was_activated(g.u));
	g.holds = false;
	run(&g);
	assert_installed(&g);
	rig_close(&g);
}

/* ---- Legacy DFU ---- */

static void a_legacy_image_is_brought(void **state)
{
	static const struct { uint32_t prn; unsigned room; } rows[] = { { 12, 0 }, { 0, 7 }, { 1, 0 } };
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct rig g;
		rig_open(&g, true, false, rows[i].prn);
		g.room = rows[i].room;
		run(&g);
		assert_installed(&g);
		assert_int_equal(g.node.packet_max, NORDIC_LEGACY_PACKET_BYTES);
		assert_int_equal(g.node.legacy_kind, 4);
		rig_close(&g);
	}
}

static void a_legacy_node_begins_anew_after_a_lost_link(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, true, false, 12);
	g.cut_at = 100;
	run(&g);
	assert_installed(&g);
	assert_int_equal(g.node.n_resets, 1);  /* it was in the middle of something */
	assert_int_equal(g.node.n_links, 3);
	rig_close(&g);
}

static void legacy_images_come_one_after_the_other(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, true, true, 12);
	run(&g);
	assert_installed(&g);
	assert_int_equal(g.n_restarts, 1);
	assert_int_equal(g.node.n_installed, 2);
	rig_close(&g);
}

static void a_legacy_node_may_restart_before_it_acknowledges(void **state)
{
	for (unsigned has_system = 0; has_system < 2; has_system++) {
		struct rig g;

		(void)state;
		rig_open(&g, true, has_system, 12);
		for (unsigned n = 1; n <= 1 + has_system; n++) {
			while (g.node.n_installed < n)
				assert_true(step(&g));
			wants_unlink = false;
			unlink_now(&g);
		}
		run(&g);
		assert_installed(&g);
		assert_int_equal(g.n_restarts, has_system);
		rig_close(&g);
	}
}

static void legacy_refusals_are_reasons(void **state)
{
	static const struct { uint8_t start, validate; unsigned result; const char *says; } rows[] = {
		{ LEGACY_NOT_SUPPORTED, 0, 9, "older than SDK 7" }, { LEGACY_BAD_SIZE, 0, 2, "larger than" }, { LEGACY_FAILED, 0, 8, "failed" },
		{ LEGACY_BAD_STATE, 0, 8, "does not leave" }, { 0, LEGACY_FAILED, 8, "validation" }, { 0, LEGACY_BAD_CRC, 8, "damaged again and again" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct rig g;
		rig_open(&g, true, false, 12);
		g.node.legacy_start_status = rows[i].start;
		g.node.legacy_validate_status = rows[i].validate;
		run(&g);
		assert_int_equal(g.n_failed, 1);
		assert_int_equal(nordic_upload_result(g.u), rows[i].result);
		if (!strstr(nordic_upload_reason(g.u), rows[i].says))
			fail_msg("%zu: %s", i, nordic_upload_reason(g.u));
		rig_close(&g);
	}
}

static void lost_legacy_packets_are_noticed(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, true, false, 12);
	g.node.lose_at = 50;
	run(&g);
	assert_installed(&g);                  /* at the second link */
	assert_true(g.node.n_links >= 2);
	rig_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_image_is_brought_object_by_object),
		cmocka_unit_test(packets_fit_the_link),
		cmocka_unit_test(a_lost_link_is_gone_on_with),
		cmocka_unit_test(a_lost_answer_is_gone_on_with),
		cmocka_unit_test(a_damaged_object_is_made_anew_with_more_receipts),
		cmocka_unit_test(receipts_get_rarer_again_when_nothing_is_damaged),
		cmocka_unit_test(damage_without_end_is_told),
		cmocka_unit_test(packets_that_are_still_on_their_way_are_waited_for),
		cmocka_unit_test(every_refusal_is_a_reason),
		cmocka_unit_test(the_last_command_may_be_refused),
		cmocka_unit_test(a_forgotten_init_packet_is_sent_again),
		cmocka_unit_test(what_another_update_left_is_not_gone_on_with),
		cmocka_unit_test(data_that_does_not_match_is_sent_again),
		cmocka_unit_test(a_link_that_never_helps_is_given_up),
		cmocka_unit_test(an_init_packet_that_is_too_long_is_told),
		cmocka_unit_test(garbage_is_passed_over),
		cmocka_unit_test(what_is_below_the_application_comes_first),
		cmocka_unit_test(what_is_there_already_is_left_out),
		cmocka_unit_test(a_restart_without_an_answer_is_gone_on_with),
		cmocka_unit_test(activating_twice_for_nothing_is_told),
		cmocka_unit_test(it_halts_until_its_owner_says_go),
		cmocka_unit_test(a_legacy_image_is_brought),
		cmocka_unit_test(a_legacy_node_begins_anew_after_a_lost_link),
		cmocka_unit_test(legacy_images_come_one_after_the_other),
		cmocka_unit_test(a_legacy_node_may_restart_before_it_acknowledges),
		cmocka_unit_test(legacy_refusals_are_reasons),
		cmocka_unit_test(lost_legacy_packets_are_noticed),
	};
	return cmocka_run_group_tests_name("delivery/nordic_upload", tests, NULL, NULL);
}
