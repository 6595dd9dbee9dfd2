/* The SMP machine against scripted answers: SMP-1 (foreign and late replies), SMP-5 (rewinds are bounded), SMP-12 (times), SMP-14 (the
 * window), SMP-17 (busy, out of memory). The whole way, with loss, is in tests/sim/test_smp. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "delivery/smp_upload.h"

enum { IMAGE_BYTES = 2000, SENT_MAX = 64 };

struct rig {
	struct smp_upload *u;
	struct mono now;
	struct smp_header sent[SENT_MAX];      /* since the last look */
	struct smp_request sent_req[SENT_MAX];
	size_t sent_bytes[SENT_MAX];
	size_t n_sent;
	enum smp_upload_event last;
	unsigned n_done;
};

static void on_send(void *ctx, struct span message)
{
	struct rig *g = ctx;
	struct cursor c = { .s = message };
	struct buf scratch = { 0 };
	struct span body;

	assert_true(g->n_sent < SENT_MAX);
	assert_int_equal(smp_message_next(&c, &g->sent[g->n_sent], &body), 0);
	assert_int_equal(smp_request_decode(body, &scratch, &g->sent_req[g->n_sent]), 0);
	g->sent_bytes[g->n_sent++] = message.n;
	buf_done(&scratch);                    /* numbers are looked at, not bytes */
}

static int on_read(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	(void)ctx;
	assert_true(off + n <= IMAGE_BYTES);
	memset(ret, 0x5a, n);
	return (int)n;
}

static void on_event(void *ctx, enum smp_upload_event ev)
{
	struct rig *g = ctx;

	g->last = ev;
	g->n_done += ev == SMP_EV_CONFIRMED || ev == SMP_EV_FAILED || ev == SMP_EV_REVERTED;
}

static void open_rig_parts(struct rig *g, uint32_t message_bytes, uint32_t whole_bytes)
{
	const struct smp_upload_config c = { .version = SMP_V2, .message_bytes = message_bytes, .whole_bytes = whole_bytes, .window = 4,
					     .answer_ms = 1000, .restart_s = 60, .proof_s = 1 };
	const struct smp_upload_image img = { .bytes = IMAGE_BYTES, .hash = { 1, 2, 3 }, .n_hash = 32, .version = "1.2.3" };
	const struct smp_upload_ops ops = { .send = on_send, .read = on_read, .event = on_event, .ctx = g };

	*g = (struct rig){ .now = { 5000 } };
	g->u = smp_upload_new(&c, &img, &ops);
	smp_upload_begin(g->u, g->now);
}

static void open_rig(struct rig *g)
{
	open_rig_parts(g, 300, 0);
}

/* Answers request i of those sent since the last look. */
static void answer(struct rig *g, size_t i, const struct smp_reply *r)
{
	struct smp_header h = g->sent[i];
	struct buf b = { 0 };

	h.op++;
	smp_reply_encode(&b, &h, r, SMP_INDEFINITE);
	smp_upload_receive(g->u, buf_span(&b), g->now);
	buf_done(&b);
}

static void look(struct rig *g)
{
	g->n_sent = 0;
}

static void pass(struct rig *g)
{
	g->now = mono_add_ms(g->now, smp_upload_wait_ms(g->u, g->now));
	smp_upload_tick(g->u, g->now);
}

/* Parameters and an image list with another image; then the first chunk is on its way. */
static void until_upload(struct rig *g, uint32_t buf_count)
{
	struct smp_reply params = { .has_params = true, .buf_size = 512, .buf_count = buf_count };
	struct smp_reply list = { .has_images = true, .n_images = 1, .images = { { .version = "1.0.0", .hash = { 9 }, .n_hash = 32, .active = true, .confirmed = true } } };

	assert_int_equal(g->sent[0].command, SMP_OS_PARAMS);
	answer(g, 0, &params);
	answer(g, 1, &list);
	g->sent[0] = g->sent[g->n_sent - 1];
	g->sent_req[0] = g->sent_req[g->n_sent - 1];
	g->n_sent = 1;
	assert_int_equal(g->sent[0].command, SMP_IMAGE_UPLOAD);
	assert_true(g->sent_req[0].has_len && g->sent_req[0].off == 0);
}

static void off(struct rig *g, size_t i, uint64_t at)
{
	answer(g, i, &(struct smp_reply){ .has_off = true, .off = at });
}

static void the_window_opens_when_the_first_chunk_was_taken(void **state)
{
	struct rig g;

	(void)state;
	open_rig(&g);
	until_upload(&g, 4);
	size_t first = (size_t)(g.sent_req[0].data.n);
	off(&g, 0, first);
	assert_int_equal(g.n_sent, 1 + 3);     /* four buffers: three in flight */
	assert_true(g.sent_req[1].off == first && !g.sent_req[1].has_len);
	for (size_t i = 1; i < 4; i++)
		assert_true(g.sent_bytes[i] <= 300);
	smp_upload_free(g.u);

	open_rig(&g);
	until_upload(&g, 0);                   /* it does not tell: one at a time */
	off(&g, 0, g.sent_req[0].data.n);
	assert_int_equal(g.n_sent, 2);
	smp_upload_free(g.u);
}

static void a_gap_is_filled_from_where_the_node_says_one_chunk_at_a_time(void **state)
{
	struct rig g;

	(void)state;
	open_rig(&g);
	until_upload(&g, 4);
	uint64_t first = g.sent_req[0].data.n;
	off(&g, 0, first);
	struct smp_header late = g.sent[3];
	off(&g, 2, first);                     /* the one before it was lost */
	assert_int_equal(g.n_sent, 5);
	assert_true(g.sent_req[4].off == first);
	g.sent[0] = late;
	off(&g, 0, first);                     /* of a chunk that was given up: nobody waits for it */
	assert_int_equal(g.n_sent, 5);
	off(&g, 4, first + g.sent_req[4].data.n);
	assert_int_equal(g.n_sent, 6);
	assert_int_equal(smp_upload_counts(g.u).dropped, 1);
	smp_upload_free(g.u);
}

/* As Zephyr 3.4 answered a gateway that had been killed at a third of an upload, which then sent one chunk at a time to the end. */
static void an_upload_that_is_resumed_has_the_whole_window(void **state)
{
	struct rig g;

	(void)state;
	open_rig(&g);
	until_upload(&g, 4);
	off(&g, 0, 900);
	assert_int_equal(g.n_sent, 1 + 3);
	assert_int_equal(g.sent_req[1].off, 900);
	assert_int_equal(g.sent_req[3].off, 900 + g.sent_req[1].data.n + g.sent_req[2].data.n);
	smp_upload_free(g.u);
}

/* SMP-13 */
static void the_window_widens_again_after_a_loss(void **state)
{
	struct rig g;
	size_t at = 4;

	(void)state;
	open_rig_parts(&g, SMP_UPLOAD_MESSAGE_BYTES_MIN, 0);
	until_upload(&g, 4);
	uint64_t next = g.sent_req[0].data.n;
	off(&g, 0, next);
	assert_int_equal(g.n_sent, 4);
	off(&g, 2, next);                      /* the one before it was lost */
	assert_int_equal(g.n_sent, 5);
	for (int i = 1; i < SMP_UPLOAD_WIDEN_AFTER; i++) {
		next += g.sent_req[at].data.n;
		off(&g, at++, next);
		assert_int_equal(g.n_sent, at + 1); /* one for one */
	}
	next += g.sent_req[at].data.n;
	off(&g, at++, next);
	assert_int_equal(g.n_sent, at + 2);
	smp_upload_free(g.u);
}

static void answers_to_other_questions_are_dropped(void **state)
{
	struct rig g;

	(void)state;
	open_rig(&g);
	until_upload(&g, 4);
	struct smp_header right = g.sent[0], wrong[4];

	for (size_t i = 0; i < 4; i++)
		wrong[i] = right;
	wrong[0].seq++;
	wrong[1].group = 0;
	wrong[2].command = SMP_IMAGE_ERASE;
	wrong[3].op = SMP_READ;
	for (size_t i = 0; i < 4; i++) {
		g.sent[0] = wrong[i];
		off(&g, 0, 100);
	}
	assert_int_equal(g.n_sent, 1);
	assert_int_equal(smp_upload_counts(g.u).dropped, 4);
	assert_int_equal(smp_upload_offset(g.u), 0);
	smp_upload_free(g.u);
}

static void a_node_that_goes_to_and_fro_is_given_up(void **state)
{
	struct rig g;
	unsigned n = 0;

	(void)state;
	open_rig(&g);
	until_upload(&g, 2);
	off(&g, 0, 200);
	for (; !g.n_done && n < 100; n++) {
		size_t i = g.n_sent - 1;
		struct smp_header h = g.sent[i];
		g.n_sent = 1;
		g.sent[0] = h;
		off(&g, 0, n % 2 ? 200 : 100);
	}
	assert_int_equal(g.last, SMP_EV_FAILED);
	assert_true(n >= SMP_UPLOAD_REWINDS_MAX && n < 2 * SMP_UPLOAD_REWINDS_MAX);
	assert_non_null(strstr(smp_upload_reason(g.u), "without progress"));
	smp_upload_free(g.u);
}

static void nonsense_in_an_answer_ends_the_upload(void **state)
{
	const struct smp_reply t[] = {
		{ .has_off = false }, { .has_off = true, .off = IMAGE_BYTES + 1 }, { .has_off = true, .off = UINT64_MAX },
		{ .has_off = true, .off = IMAGE_BYTES, .has_match = true, .match = false },
	};
	struct rig g;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		open_rig(&g);
		until_upload(&g, 2);
		answer(&g, 0, &t[i]);
		assert_int_equal(g.last, SMP_EV_FAILED);
		assert_int_equal(smp_upload_result(g.u), i == 3 ? 5 : 8);
		smp_upload_free(g.u);
	}
}

static void busy_is_waited_for_and_little_memory_gets_smaller_chunks(void **state)
{
	struct rig g;

	(void)state;
	open_rig(&g);
	until_upload(&g, 2);
	answer(&g, 0, &(struct smp_reply){ .error = { .rc = SMP_BUSY } });
	assert_int_equal(g.n_sent, 1);
	assert_int_equal(smp_upload_wait_ms(g.u, g.now), SMP_UPLOAD_BUSY_MS);
	pass(&g);
	assert_int_equal(g.n_sent, 2);
	size_t before = g.sent_bytes[1];
	answer(&g, 1, &(struct smp_reply){ .error = { .rc = SMP_NOMEM } });
	assert_int_equal(g.n_sent, 3);
	assert_true(g.sent_bytes[2] < before && g.sent_req[2].off == 0 && g.sent_req[2].has_len);
	smp_upload_free(g.u);
}

static void silence_is_asked_again_after_1_2_4_4_seconds(void **state)
{
	static const int64_t waits[] = { 1000, 2000, 4000, 4000 };
	struct rig g;

	(void)state;
	open_rig(&g);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(smp_upload_wait_ms(g.u, g.now), waits[i]);
		pass(&g);
	}
	assert_int_equal(g.sent[4].command, SMP_IMAGE_STATE); /* the parameters are optional: the list is not */
	for (int i = 0; i < 100 && !g.n_done; i++) {
		look(&g);
		pass(&g);
	}
	assert_int_equal(g.last, SMP_EV_FAILED);
	assert_int_equal(smp_upload_result(g.u), 4);
	assert_string_equal(smp_upload_reason(g.u), "no answer (list)");
	assert_true(g.now.ms < 5000 + 60 * 1000);
	smp_upload_free(g.u);
}

static void the_first_chunk_has_a_minute(void **state)
{
	struct rig g;
	int64_t begin;

	(void)state;
	open_rig(&g);
	until_upload(&g, 2);
	begin = g.now.ms;
	while (!g.n_done) {
		look(&g);
		pass(&g);
	}
	assert_in_range(g.now.ms - begin, SMP_UPLOAD_SLOW_MS, SMP_UPLOAD_SLOW_MS + 10000);
	smp_upload_free(g.u);
}

/* ---- messages in parts (SMP-15) ---- */

static void large_messages_are_tried_behind_the_first_and_given_up_when_nobody_puts_them_together(void **state)
{
	struct rig g;

	(void)state;
	for (unsigned is_refused = 0; is_refused < 2; is_refused++) {
		open_rig_parts(&g, 2048, 200);
		until_upload(&g, 4);
		uint64_t first = g.sent_req[0].data.n;
		assert_true(first < 200);
		off(&g, 0, first);
		assert_true(g.sent_bytes[1] > 200 && g.sent_bytes[1] <= 512);  /* the node's buffers */
		if (is_refused) {
			struct smp_header h = g.sent[1];
			look(&g);
			g.sent[0] = h;
			answer(&g, 0, &(struct smp_reply){ .error.rc = SMP_CORRUPT }); /* its header says more than came */
		} else {
			look(&g);
			pass(&g);
			assert_true(g.sent_bytes[0] > 200);    /* once more */
			look(&g);
			pass(&g);
		}
		assert_true(smp_upload_only_whole(g.u));
		assert_true(g.n_sent == 1 && g.sent_req[0].off == first && g.sent_bytes[0] <= 200);
		smp_upload_free(g.u);
	}
}

static void a_node_that_took_parts_once_is_not_taken_for_another(void **state)
{
	struct rig g;

	(void)state;
	open_rig_parts(&g, 2048, 200);
	until_upload(&g, 0);
	uint64_t first = g.sent_req[0].data.n;
	off(&g, 0, first);
	uint64_t second = g.sent_req[1].data.n;
	off(&g, 1, first + second);
	for (unsigned i = 0; i < 5; i++) {
		look(&g);
		pass(&g);
		assert_true(g.n_sent == 1 && g.sent_bytes[0] > 200 && g.sent_req[0].off == first + second);
	}
	assert_false(smp_upload_only_whole(g.u));
	smp_upload_free(g.u);
}

/* ---- links (BLZ-7) ---- */

/* Its image is listed behind the upload, tested, and the restart is asked for. */
static void until_reset(struct rig *g)
{
	struct smp_reply list = { .has_images = true, .n_images = 2, .images = {
		{ .version = "1.0.0", .hash = { 9 }, .n_hash = 32, .active = true, .confirmed = true },
		{ .slot = 1, .version = "1.2.3", .hash = { 1, 2, 3 }, .n_hash = 32 } } };

	answer(g, 0, &(struct smp_reply){ .error.rc = SMP_NOTSUP });
	answer(g, 1, &list);
	assert_int_equal(g->last, SMP_EV_TRANSFERRED);
	assert_false(smp_upload_link_down(g->u, g->now));      /* a new machine would be here again */
	smp_upload_go(g->u, g->now);
	list.images[1].pending = true;
	answer(g, 2, &list);
	assert_int_equal(g->last, SMP_EV_APPLYING);
	assert_false(smp_upload_link_down(g->u, g->now));
	smp_upload_go(g->u, g->now);
	assert_int_equal(g->sent[3].command, SMP_OS_RESET);
}

static void from_the_restart_on_it_waits_for_the_next_link_and_asks_before_it_does_anything(void **state)
{
	struct smp_reply list = { .has_images = true, .n_images = 1, .images = {
		{ .version = "1.2.3", .hash = { 1, 2, 3 }, .n_hash = 32, .active = true } } };
	struct rig g;

	(void)state;
	open_rig(&g);
	until_reset(&g);
	assert_true(smp_upload_link_down(g.u, g.now));
	assert_true(smp_upload_link_down(g.u, g.now));
	look(&g);
	g.now = mono_add_ms(g.now, 30000);
	smp_upload_tick(g.u, g.now);
	assert_int_equal(g.n_sent, 0);         /* no link: nothing is said */
	smp_upload_link_up(g.u, g.now);
	smp_upload_tick(g.u, g.now);
	assert_true(g.n_sent == 1 && g.sent[0].command == SMP_IMAGE_STATE && g.sent[0].op == SMP_READ);
	answer(&g, 0, &list);                  /* it runs; its proof begins, and a lost link changes nothing */
	assert_true(smp_upload_link_down(g.u, g.now));
	smp_upload_link_up(g.u, g.now);
	assert_int_equal(smp_upload_wait_ms(g.u, g.now), 1000);
	look(&g);
	pass(&g);
	answer(&g, 0, &list);
	assert_true(g.sent_req[1].has_confirm && g.sent_req[1].confirm);
	smp_upload_free(g.u);
}

/* MCUboot erases an image whose signature it does not know; Zephyr's list then names the old one alone. */
static void an_image_that_is_gone_after_the_restart_was_refused_by_the_bootloader(void **state)
{
	const struct smp_reply list = { .has_images = true, .n_images = 1, .images = {
		{ .version = "1.0.0", .hash = { 9 }, .n_hash = 32, .bootable = true, .active = true, .confirmed = true } } };
	struct rig g;

	(void)state;
	open_rig(&g);
	until_reset(&g);
	answer(&g, 3, &(struct smp_reply){ 0 });
	look(&g);
	pass(&g);
	answer(&g, 0, &list);
	assert_int_equal(g.last, SMP_EV_FAILED);
	assert_int_equal(smp_upload_result(g.u), 5);
	assert_string_equal(smp_upload_reason(g.u), "the node's bootloader refused the image (signed by another key?); the old one runs, version 1.0.0");
	smp_upload_free(g.u);
}

static void a_node_that_does_not_come_back_in_its_time_is_given_up_but_not_for_ours(void **state)
{
	struct rig g;

	(void)state;
	open_rig(&g);
	until_reset(&g);
	assert_true(smp_upload_link_down(g.u, g.now));
	assert_int_equal(smp_upload_wait_ms(g.u, g.now), 60000);
	smp_upload_excuse(g.u, 5000);
	assert_int_equal(smp_upload_wait_ms(g.u, g.now), 65000);
	pass(&g);
	assert_int_equal(g.n_done, 1);
	assert_int_equal(g.last, SMP_EV_FAILED);
	assert_non_null(strstr(smp_upload_reason(g.u), "did not come back after its restart"));
	smp_upload_free(g.u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_window_opens_when_the_first_chunk_was_taken),
		cmocka_unit_test(an_upload_that_is_resumed_has_the_whole_window),
		cmocka_unit_test(the_window_widens_again_after_a_loss),
		cmocka_unit_test(an_image_that_is_gone_after_the_restart_was_refused_by_the_bootloader),
		cmocka_unit_test(a_gap_is_filled_from_where_the_node_says_one_chunk_at_a_time),
		cmocka_unit_test(answers_to_other_questions_are_dropped),
		cmocka_unit_test(a_node_that_goes_to_and_fro_is_given_up),
		cmocka_unit_test(nonsense_in_an_answer_ends_the_upload),
		cmocka_unit_test(busy_is_waited_for_and_little_memory_gets_smaller_chunks),
		cmocka_unit_test(silence_is_asked_again_after_1_2_4_4_seconds),
		cmocka_unit_test(the_first_chunk_has_a_minute),
		cmocka_unit_test(large_messages_are_tried_behind_the_first_and_given_up_when_nobody_puts_them_together),
		cmocka_unit_test(a_node_that_took_parts_once_is_not_taken_for_another),
		cmocka_unit_test(from_the_restart_on_it_waits_for_the_next_link_and_asks_before_it_does_anything),
		cmocka_unit_test(a_node_that_does_not_come_back_in_its_time_is_given_up_but_not_for_ours),
	};

	return cmocka_run_group_tests_name("delivery/smp_upload", tests, NULL, NULL);
}
