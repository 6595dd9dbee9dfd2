/* The gateway's SMP machine (delivery/smp_upload) against the reference server (node/smp_server), in virtual time over a lossy air that
 * delays, repeats and reorders: SMP-1, SMP-3 to SMP-9, SMP-11 to SMP-14, SMP-17. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "../mcuboot_image.h"
#include "base/digest.h"
#include "codec/mcuboot.h"
#include "delivery/smp_upload.h"
#include "node/smp_server.h"

enum { AIR_MAX = 256, IMAGE_BYTES = 6000, HOUR_MS = 3600 * 1000, STEPS_MAX = 400000 };

struct datagram {
	struct mono at;
	bool to_server;
	size_t n;
	uint8_t b[SMP_BODY_BYTES_MAX + SMP_HEADER_BYTES];
};

struct world {
	struct mono now;
	struct smp_server *server;
	struct smp_upload *upload;
	struct datagram *air;
	size_t n_air;
	uint64_t random;
	unsigned loss_percent, repeat_percent, delay_ms, jitter_ms;
	struct buf image;
	enum smp_upload_event last;
	unsigned n_transferred, n_applying, n_done;
	bool holds;                            /* events that halt are not answered */
	bool goes;                             /* one of them is to be answered */
	struct smp_upload_config c;
	struct smp_upload_image img;
};

static unsigned chance(struct world *w, unsigned n)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return n ? (unsigned)((w->random >> 33) % n) : 0;
}

static void put(struct world *w, struct span s, bool to_server)
{
	for (unsigned copies = 1 + (chance(w, 100) < w->repeat_percent); copies > 0; copies--) {
		if (chance(w, 100) < w->loss_percent)
			continue;
		assert_true(w->n_air < AIR_MAX && s.n <= sizeof(w->air[0].b));
		struct datagram *d = &w->air[w->n_air++];
		d->at = mono_add_ms(w->now, w->delay_ms + chance(w, w->jitter_ms + 1));
		d->to_server = to_server;
		d->n = s.n;
		memcpy(d->b, s.p, s.n);
	}
}

static void on_send(void *ctx, struct span message)
{
	struct world *w = ctx;

	assert_true(message.n <= w->c.message_bytes);
	put(w, message, true);
}

static int on_read(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	struct world *w = ctx;

	if (chance(w, 50) == 0)
		return -EAGAIN;
	assert_true(off + n <= w->image.n);
	memcpy(ret, w->image.p + off, n);
	return (int)n;
}

static void on_event(void *ctx, enum smp_upload_event ev)
{
	struct world *w = ctx;

	assert_int_equal(w->n_done, 0);
	w->n_transferred += ev == SMP_EV_TRANSFERRED;
	w->n_applying += ev == SMP_EV_APPLYING;
	w->goes |= ev == SMP_EV_TRANSFERRED || ev == SMP_EV_APPLYING;
	w->n_done += ev == SMP_EV_CONFIRMED || ev == SMP_EV_FAILED || ev == SMP_EV_REVERTED;
	w->last = ev;
}

static const struct smp_upload_ops ops_of_world = { .send = on_send, .read = on_read, .event = on_event };

static void gateway_starts(struct world *w, bool was_applying)
{
	struct smp_upload_ops ops = ops_of_world;

	ops.ctx = w;
	smp_upload_free(w->upload);
	w->n_done = w->n_transferred = w->n_applying = 0;
	w->goes = false;
	w->c.was_applying = was_applying;
	w->upload = smp_upload_new(&w->c, &w->img, &ops);
	smp_upload_begin(w->upload, w->now);
}

static struct world *world_new(const struct smp_server_config *c)
{
	struct world *w = test_calloc(1, sizeof(*w));
	struct mcuboot_header h;
	struct mcuboot_trailer t;

	w->air = test_calloc(AIR_MAX, sizeof(*w->air));
	w->now.ms = 1000;
	w->random = 7;
	w->delay_ms = 20;
	w->server = smp_server_new(c);
	mcuboot_image_make(&w->image, 0, 3000);
	assert_int_equal(smp_server_put(w->server, 0, buf_span(&w->image)), 0);
	mcuboot_image_make(&w->image, 1, IMAGE_BYTES);
	w->c = (struct smp_upload_config){ .version = SMP_V2, .message_bytes = 300, .window = 4, .answer_ms = 500, .restart_s = 60, .proof_s = 5 };
	assert_int_equal(mcuboot_header_decode(buf_span(&w->image), w->image.n, &h), 0);
	assert_int_equal(mcuboot_trailer_decode(&h, span_sub(buf_span(&w->image), (size_t)mcuboot_trailer_at(&h), w->image.n), &t), 0);
	w->img = (struct smp_upload_image){ .bytes = w->image.n, .sha = digest_of(buf_span(&w->image)), .n_hash = t.n_hash };
	memcpy(w->img.hash, t.hash, t.n_hash);
	(void)mcuboot_version_text(&h.version, w->img.version); /* in place */
	gateway_starts(w, false);
	return w;
}

static void world_free(struct world *w)
{
	smp_upload_free(w->upload);
	smp_server_free(w->server);
	buf_done(&w->image);
	test_free(w->air);
	test_free(w);
}

static void deliver(struct world *w, size_t i)
{
	_cleanup_buf_ struct buf reply = { 0 };
	struct datagram d = w->air[i];

	memmove(w->air + i, w->air + i + 1, (--w->n_air - i) * sizeof(*w->air)); /* what was sent at once stays in order */
	if (!d.to_server) {
		smp_upload_receive(w->upload, SPAN(d.b, d.n), w->now);
		return;
	}
	smp_server_handle(w->server, SPAN(d.b, d.n), w->now, &reply);
	if (reply.n)
		put(w, buf_span(&reply), false);
}

/* The next thing that happens; false: nothing ever will. */
static bool step(struct world *w)
{
	int64_t wait = smp_upload_wait_ms(w->upload, w->now), server = smp_server_wait_ms(w->server, w->now);
	size_t first = w->n_air;

	if (w->goes && !w->holds) {
		w->goes = false;
		smp_upload_go(w->upload, w->now);
		return true;
	}
	for (size_t i = 0; i < w->n_air; i++)
		if (first == w->n_air || mono_before(w->air[i].at, w->air[first].at))
			first = i;
	int64_t air = first < w->n_air ? mono_diff_ms(w->air[first].at, w->now) : -1;
	int64_t ms = wait;
	if (server >= 0 && (ms < 0 || server < ms))
		ms = server;
	if (air >= 0 && (ms < 0 || air < ms))
		ms = air;
	if (ms < 0)
		return false;
	w->now = mono_add_ms(w->now, ms);
	if (ms == air)
		deliver(w, first);
	else if (ms == server)
		smp_server_tick(w->server, w->now);
	else
		smp_upload_tick(w->upload, w->now);
	return true;
}

static bool is_uploaded(const struct world *w, uint64_t bytes)
{
	return smp_upload_offset(w->upload) >= bytes;
}

static void run_until_uploaded(struct world *w, uint64_t bytes)
{
	for (int i = 0; i < STEPS_MAX && !w->n_done && !is_uploaded(w, bytes); i++)
		assert_true(step(w));
	assert_true(is_uploaded(w, bytes));
}

static void run(struct world *w)
{
	for (int i = 0; i < STEPS_MAX && !w->n_done; i++)
		if (!step(w))
			break;
	if (w->n_done != 1)
		fail_msg("%s at %llu, %lld ms: not done", smp_upload_phase(w->upload), (unsigned long long)smp_upload_offset(w->upload), (long long)w->now.ms);
	assert_true(smp_upload_is_done(w->upload) && smp_upload_wait_ms(w->upload, w->now) == -1);
	assert_true(w->now.ms < HOUR_MS);
}

static void is_updated(struct world *w)
{
	if (w->last != SMP_EV_CONFIRMED)
		fail_msg("%u: %s", smp_upload_result(w->upload), smp_upload_reason(w->upload));
	assert_string_equal(smp_server_version(w->server), "1.1.0");
	assert_true(smp_server_is_confirmed(w->server));
	assert_true(span_eq(smp_server_slot(w->server, 0), buf_span(&w->image)));
}

static void is_failed(struct world *w, enum smp_upload_event ev, unsigned result, const char *reason)
{
	assert_int_equal(w->last, ev);
	assert_int_equal(smp_upload_result(w->upload), result);
	if (!strstr(smp_upload_reason(w->upload), reason))
		fail_msg("\"%s\", not \"%s\"", smp_upload_reason(w->upload), reason);
}

static const struct smp_server_config zephyr = { .version = SMP_V2, .buf_size = 2048, .buf_count = 4, .restart_ms = 3000 };

static void an_image_goes_the_whole_way_in_a_window(void **state)
{
	struct world *w = world_new(&zephyr);

	(void)state;
	run(w);
	is_updated(w);
	struct smp_server_counts n = smp_server_counts(w->server);
	assert_true(n.uploads_begun == 1 && n.misplaced == 0 && n.tests == 1 && n.swaps == 1 && n.confirms == 1 && n.reverts == 0);
	assert_int_equal(n.bytes, w->image.n);
	assert_true(w->n_transferred == 1 && w->n_applying == 1);
	assert_int_equal(smp_upload_counts(w->upload).rewinds, 0);
	world_free(w);
}

static void servers_of_all_kinds_are_updated(void **state)
{
	const struct {
		struct smp_server_config c;
		bool allow_single;
		const char *what;
	} t[] = {
		{ { .version = SMP_V1, .buf_size = 512, .buf_count = 2, .restart_ms = 100 }, false, "an old one: no rc 0 is missing, rc 13 to version 2" },
		{ { .version = SMP_V2, .restart_ms = 20000 }, false, "no parameters" },
		{ { .version = SMP_V2, .buf_size = 160, .buf_count = 1, .restart_ms = 0 }, false, "small buffers, and back at once" },
		{ { .version = SMP_V2, .buf_size = 384, .buf_count = 20, .restart_ms = 1000, .no_resume = true }, false, "no resume, many buffers" },
		{ { .version = SMP_V2, .must_erase = true, .restart_ms = 1000 }, false, "erase first" },
		{ { .version = SMP_V1, .must_erase = true, .restart_ms = 1000 }, false, "an old one, erase first" },
		{ { .version = SMP_V2, .single_slot = true, .restart_ms = 1000 }, true, "a single slot" },
		{ { .version = SMP_V2, .single_slot = true, .no_hash = true, .restart_ms = 1000 }, true, "a single slot without hashes" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		for (unsigned loss = 0; loss <= 20; loss += 10) {
			struct world *w = world_new(&t[i].c);

			w->loss_percent = loss;
			w->c.allow_single_slot = t[i].allow_single;
			if (t[i].c.must_erase) {
				_cleanup_buf_ struct buf old = { 0 };
				mcuboot_image_make(&old, 9, 500);
				assert_int_equal(smp_server_put(w->server, 1, buf_span(&old)), 0);
			}
			gateway_starts(w, false);
			run(w);
			if (w->last != SMP_EV_CONFIRMED)
				fail_msg("%s, loss %u %%: %s", t[i].what, loss, smp_upload_reason(w->upload));
			is_updated(w);
			assert_true((smp_server_counts(w->server).erases > 0) == t[i].c.must_erase);
			assert_int_equal(smp_upload_version(w->upload), t[i].c.version);
			world_free(w);
		}
}

static void loss_repeats_and_disorder_only_cost_time(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct world *w = world_new(&zephyr);

		w->random = seed * 977;
		w->loss_percent = (unsigned)(seed % 4) * 8;
		w->repeat_percent = 0;
		w->jitter_ms = (unsigned)(seed % 3) * 40;
		run(w);
		is_updated(w);
		assert_int_equal(smp_server_counts(w->server).swaps, 1);
		assert_int_equal(smp_server_counts(w->server).reverts, 0);
		world_free(w);
	}
}

/* A reset that the network repeats is a second restart, which ends the trial: that is seen, and told as what it is. */
static void repeated_datagrams_never_lead_to_a_wrong_verdict(void **state)
{
	unsigned updated = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 100; seed++) {
		struct world *w = world_new(&zephyr);

		w->random = seed * 31;
		w->repeat_percent = 30;
		w->jitter_ms = 60;
		run(w);
		updated += w->last == SMP_EV_CONFIRMED;
		if (w->last == SMP_EV_CONFIRMED)
			is_updated(w);
		else
			assert_int_equal(w->last, SMP_EV_REVERTED);
		world_free(w);
	}
	assert_true(updated > 90);
}

static void a_restarted_gateway_goes_on_where_the_node_is(void **state)
{
	(void)state;
	for (uint64_t at = 200; at < IMAGE_BYTES; at += 900) {
		struct world *w = world_new(&zephyr);

		run_until_uploaded(w, at);
		w->n_air = 0;
		gateway_starts(w, false);
		run(w);
		is_updated(w);
		struct smp_server_counts n = smp_server_counts(w->server);
		assert_true(n.uploads_begun == 1 && n.resumed == 1);
		assert_int_equal(n.bytes, w->image.n); /* nothing twice */
		world_free(w);
	}
}

static void a_gateway_that_dies_anywhere_neither_repeats_nor_skips(void **state)
{
	(void)state;
	for (unsigned steps = 1; steps < 400; steps++) {
		struct world *w = world_new(&zephyr);
		bool was_applying;

		for (unsigned i = 0; i < steps && !w->n_done; i++)
			assert_true(step(w));
		was_applying = w->n_applying > 0;
		if (!w->n_done) {
			w->n_air = 0;
			gateway_starts(w, was_applying);
			run(w);
		}
		is_updated(w);
		assert_int_equal(smp_server_counts(w->server).swaps, 1);
		assert_int_equal(smp_server_counts(w->server).uploads_begun, 1);
		world_free(w);
	}
}

static void a_node_that_restarts_in_mid_upload_is_served_from_the_start(void **state)
{
	struct world *w = world_new(&zephyr);

	(void)state;
	run_until_uploaded(w, 3000);
	smp_server_power_cycle(w->server, w->now);
	run(w);
	is_updated(w);
	assert_int_equal(smp_server_counts(w->server).uploads_begun, 2);
	world_free(w);
}

static void a_new_image_that_crashes_is_seen_to_go_back(void **state)
{
	struct smp_server_config c = zephyr;
	struct world *w;

	(void)state;
	for (c.crash_ms = 1; c.crash_ms < 5000; c.crash_ms += 700) {
		w = world_new(&c);
		run(w);
		is_failed(w, SMP_EV_REVERTED, 8, "went back to its old image, version 1.0.0");
		assert_string_equal(smp_server_version(w->server), "1.0.0");
		gateway_starts(w, true); /* and a gateway that dies now sees it too, and does not try again by itself */
		run(w);
		is_failed(w, SMP_EV_REVERTED, 8, "went back");
		assert_int_equal(smp_server_counts(w->server).tests, 1);
		world_free(w);
	}
}

static void damage_in_the_node_is_seen_by_its_bootloader(void **state)
{
	struct smp_server_config c = zephyr;
	struct world *w;

	(void)state;
	c.damages = true;              /* sha does not match, the upload succeeds all the same; the bootloader refuses it */
	w = world_new(&c);
	run(w);
	is_failed(w, SMP_EV_FAILED, 5, "bootloader refused the image (signed by another key?); the old one runs, version 1.0.0");
	assert_string_equal(smp_server_version(w->server), "1.0.0");
	world_free(w);
}

static void what_the_node_does_not_list_is_not_tested(void **state)
{
	struct world *w = world_new(&zephyr);

	(void)state;
	w->img.hash[0] ^= 1;           /* as if what it got were another image */
	gateway_starts(w, false);
	run(w);
	is_failed(w, SMP_EV_FAILED, 5, "does not list the image");
	assert_int_equal(smp_server_counts(w->server).tests, 0);
	world_free(w);
}

static void refusals_are_told_in_the_words_of_object_5(void **state)
{
	struct {
		struct smp_server_config c;
		bool bad_magic;
		unsigned result;
		const char *reason;
	} t[] = {
		{ .c = { .version = SMP_V2, .slot_bytes = 5000 }, .result = 2, .reason = "image too large for the slot (image error 30)" },
		{ .c = { .version = SMP_V2 }, .bad_magic = true, .result = 6, .reason = "bad image magic (image error 23)" },
		{ .c = { .version = SMP_V1 }, .bad_magic = true, .result = 8, .reason = "unknown error (rc 1): magic mismatch" },
		{ .c = { .version = SMP_V2, .single_slot = true }, .result = 9, .reason = "single slot" },
		{ .c = { .version = SMP_V2, .single_slot = true, .no_hash = true }, .result = 5, .reason = "does not list" },
		{ .c = { .version = SMP_V2, .refuses_confirm = true }, .result = 8, .reason = "confirmation refused: confirming denied (image error 32)" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct world *w = world_new(&t[i].c);

		if (t[i].bad_magic)
			w->image.p[0] ^= 1;
		run(w);
		is_failed(w, SMP_EV_FAILED, t[i].result, t[i].reason);
		world_free(w);
	}
}

static void a_silent_node_is_given_up(void **state)
{
	struct world *w = world_new(&zephyr);

	(void)state;
	w->loss_percent = 100;
	gateway_starts(w, false);
	run(w);
	is_failed(w, SMP_EV_FAILED, 4, "no answer");
	w->loss_percent = 0;
	gateway_starts(w, false);
	run_until_uploaded(w, 2000);
	w->loss_percent = 100;
	w->n_air = 0;
	run(w);
	is_failed(w, SMP_EV_FAILED, 4, "no answer to the upload at byte");
	world_free(w);
}

static void a_node_that_never_comes_back_from_its_restart_is_told_so(void **state)
{
	struct smp_server_config c = zephyr;
	struct world *w;

	(void)state;
	c.restart_ms = 600 * 1000;
	w = world_new(&c);
	run(w);
	is_failed(w, SMP_EV_FAILED, 8, "does not answer after its restart");
	world_free(w);
}

static void nothing_goes_on_before_what_was_reached_is_persisted(void **state)
{
	struct world *w = world_new(&zephyr);

	(void)state;
	w->holds = true;
	while (step(w))
		;
	assert_int_equal(w->last, SMP_EV_TRANSFERRED);
	assert_int_equal(smp_server_counts(w->server).tests, 0);
	w->goes = false;
	smp_upload_go(w->upload, w->now);
	while (step(w))
		;
	assert_int_equal(w->last, SMP_EV_APPLYING);
	assert_int_equal(smp_server_counts(w->server).restarts, 0);
	assert_true(smp_server_is_pending(w->server));
	w->holds = false;
	run(w);
	is_updated(w);
	world_free(w);
}

static void a_node_that_has_it_is_left_alone(void **state)
{
	struct world *w = world_new(&zephyr);

	(void)state;
	assert_int_equal(smp_server_put(w->server, 0, buf_span(&w->image)), 0);
	run(w);
	is_updated(w);
	assert_int_equal(smp_server_counts(w->server).requests, 2);
	assert_int_equal(w->n_transferred, 0);
	world_free(w);
}

static void another_trial_or_a_pending_image_is_not_disturbed(void **state)
{
	_cleanup_buf_ struct buf other = { 0 };

	(void)state;
	mcuboot_image_make(&other, 7, 800);
	for (unsigned i = 0; i < 2; i++) {
		struct world *w = world_new(&zephyr);

		assert_int_equal(smp_server_put(w->server, 1, buf_span(&other)), 0);
		smp_server_restore(w->server, i == 0, i == 0);
		run(w);
		is_failed(w, SMP_EV_FAILED, 12, i == 0 ? "another image waits" : "tries another image");
		assert_int_equal(smp_server_counts(w->server).uploads_begun, 0);
		assert_int_equal(smp_server_counts(w->server).erases, 0);
		world_free(w);
	}
}

static void rubbish_from_the_air_is_dropped(void **state)
{
	struct world *w = world_new(&zephyr);
	uint8_t junk[64];

	(void)state;
	for (int i = 0; i < STEPS_MAX && !w->n_done; i++) {
		for (size_t k = 0; k < sizeof(junk); k++)
			junk[k] = (uint8_t)chance(w, 256);
		junk[0] = 0x0b;
		junk[2] = 0;
		junk[3] = (uint8_t)chance(w, 50);
		smp_upload_receive(w->upload, SPAN(junk, chance(w, sizeof(junk))), w->now);
		if (!w->n_done)
			step(w);
	}
	is_updated(w);
	assert_true(smp_upload_counts(w->upload).dropped > 10);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_image_goes_the_whole_way_in_a_window),
		cmocka_unit_test(servers_of_all_kinds_are_updated),
		cmocka_unit_test(loss_repeats_and_disorder_only_cost_time),
		cmocka_unit_test(repeated_datagrams_never_lead_to_a_wrong_verdict),
		cmocka_unit_test(a_restarted_gateway_goes_on_where_the_node_is),
		cmocka_unit_test(a_gateway_that_dies_anywhere_neither_repeats_nor_skips),
		cmocka_unit_test(a_node_that_restarts_in_mid_upload_is_served_from_the_start),
		cmocka_unit_test(a_new_image_that_crashes_is_seen_to_go_back),
		cmocka_unit_test(damage_in_the_node_is_seen_by_its_bootloader),
		cmocka_unit_test(what_the_node_does_not_list_is_not_tested),
		cmocka_unit_test(refusals_are_told_in_the_words_of_object_5),
		cmocka_unit_test(a_silent_node_is_given_up),
		cmocka_unit_test(a_node_that_never_comes_back_from_its_restart_is_told_so),
		cmocka_unit_test(nothing_goes_on_before_what_was_reached_is_persisted),
		cmocka_unit_test(a_node_that_has_it_is_left_alone),
		cmocka_unit_test(another_trial_or_a_pending_image_is_not_disturbed),
		cmocka_unit_test(rubbish_from_the_air_is_dropped),
	};

	return cmocka_run_group_tests_name("sim/smp", tests, NULL, NULL);
}
