/* The driver smp-ble against the reference SMP server behind a node of Bluetooth LE without a radio: SMP-15, BLZ-6, BLZ-7, BLZ-10, BLZ-12,
 * SMP-9. Links are lost, taken away and refused wherever they can be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "../until.h"
#include "delivery/smp_assembly.h"
#include "delivery/smp_ble.h"
#include "smp_peripheral.h"

enum { IMAGE_BYTES = 40000, LONG_MS = 60000 };

struct fixture {
	struct loop *loop;
	struct worker_pool *workers;
	struct smp_lock *lock;
	struct ble *ble;
	struct smp_peripheral p;
	struct delivery_driver *driver;
	struct buf image;
	unsigned end_at_write;                 /* the link is lost at this write; 0 = never */
	int end_error;                         /* ... with this; and again after as many writes while ends_again */
	bool ends_again;
	struct digest manifest;
	struct delivery_image images[1];
	unsigned n_open, n_reports, states[4], n_done;
	unsigned state, result;
	char reason[200], version[80], device[DEVICE_ID_BYTES];
	uint64_t sent;
	int node_error;
};

/* ---- the node ---- */

static void end(struct fixture *f)
{
	if (f->end_error == -ENOENT)
		fake_node_show(f->p.node, false);
	else if (f->end_error == -ENOTCONN)
		fake_ble_set_health(f->ble, BLE_NO_BLUEZ);
	else
		fake_node_end(f->p.node, f->end_error);
}

static bool on_lost(void *ctx)
{
	struct fixture *f = ctx;

	if (!f->end_at_write || f->p.n_writes < f->end_at_write)
		return false;
	f->end_at_write = f->ends_again ? f->p.n_writes + f->end_at_write : 0;
	end(f);
	return true;
}

/* ---- the gateway's side ---- */

static int read_image(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	struct fixture *f = ctx;

	if (off + n > f->image.n)
		return -ERANGE;
	memcpy(ret, f->image.p + off, n);
	return 0;
}

static void release_image(void *ctx)
{
	((struct fixture *)ctx)->n_open--;
}

static int open_image(void *ctx, const struct digest *manifest, const struct digest *d, struct coap_body_reader *ret)
{
	struct fixture *f = ctx;

	assert_true(digest_eq(manifest, &f->manifest) && digest_eq(d, &f->images[0].digest));
	f->n_open++;
	*ret = (struct coap_body_reader){ .bytes = f->image.n, .read = read_image, .release = release_image, .ctx = f };
	return 0;
}

static void on_progress(void *ctx, const char *job, uint64_t sent, uint64_t total)
{
	struct fixture *f = ctx;

	assert_string_equal(job, "j");
	assert_true(sent <= total);
	if (sent > f->sent)
		f->sent = sent;
}

static void on_report(void *ctx, const char *device, const struct node_report *r, delivery_done_fn *done, void *arg)
{
	struct fixture *f = ctx;

	f->n_reports++;
	f->states[r->state]++;
	f->n_done += r->state == 0;
	f->state = r->state;
	f->result = r->result;
	(void)snprintf(f->reason, sizeof(f->reason), "%.*s", SPAN_ARG(r->reason));     /* shorter */
	(void)snprintf(f->version, sizeof(f->version), "%.*s", SPAN_ARG(r->version)); /* shorter */
	(void)snprintf(f->device, sizeof(f->device), "%s", device);                    /* same size */
	done(arg, 0);
}

static int on_node(void *ctx, const char *device, char ret[static BLE_ID_BYTES])
{
	struct fixture *f = ctx;

	(void)device;
	(void)snprintf(ret, BLE_ID_BYTES, "%s", f->p.node->n.id); /* same size */
	return f->node_error;
}

static const struct smp_server_config zephyr = { .version = SMP_V2, .buf_size = 2475, .buf_count = 4, .restart_ms = 50 };

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	f->loop = loop_new();
	f->workers = worker_pool_new(f->loop, 1);
	f->lock = smp_lock_new();
	f->ble = fake_ble_new(f->loop);
	smp_peripheral_init(&f->p, f->ble, f->loop, "ble-c00000000001", &zephyr);
	f->p.lost = on_lost;
	f->p.ctx = f;
	mcuboot_image_make(&f->image, 1, IMAGE_BYTES);
	f->manifest = digest_of(SPAN_LIT("manifest"));
	f->images[0] = (struct delivery_image){ .digest = digest_of(buf_span(&f->image)), .bytes = f->image.n };
	assert_int_equal(smp_ble_open(&(struct smp_ble_config){
		.smp = { .loop = f->loop, .workers = f->workers, .lock = f->lock,
			 .settings = { .message_bytes = 2048, .window = 4, .answer_ms = 200, .restart_s = 10 },
			 .source = { .open_image = open_image, .ctx = f }, .sink = { .progress = on_progress, .report = on_report, .ctx = f } },
		.ble = f->ble, .node = on_node, .node_ctx = f }, &f->driver), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->driver)
		f->driver->ops->close(f->driver);
	worker_pool_free(f->workers);
	assert_int_equal(f->n_open, 0);
	assert_int_equal(fake_ble_links(f->ble), 0);
	smp_lock_free(f->lock);
	fake_ble_free(f->ble);
	smp_peripheral_done(&f->p);
	buf_done(&f->image);
	loop_free(f->loop);
	test_free(f);
	return 0;
}

static void start(struct fixture *f)
{
	struct delivery_order o = { .job = "j", .device = "lamp", .manifest = f->manifest, .sequence = 7, .images = f->images, .n_images = 1 };

	assert_string_equal(f->driver->ops->name, "smp-ble");
	assert_int_equal(f->driver->ops->start(f->driver, &o), 0);
}

static bool is_done(void *ctx)
{
	return ((struct fixture *)ctx)->n_done > 0;
}

static bool is_linked(void *ctx)
{
	return ((struct fixture *)ctx)->p.node->n_links > 0;
}

static bool is_halfway(void *ctx)
{
	return ((struct fixture *)ctx)->sent > IMAGE_BYTES / 2;
}

static void is_updated(struct fixture *f)
{
	if (!until(f->loop, is_done, f, LONG_MS))
		fail_msg("not done: %llu bytes, %u links, %u reports", (unsigned long long)f->sent, f->p.node->n_links, f->n_reports);
	if (f->result != 1)
		fail_msg("%u: %s", f->result, f->reason);
	assert_string_equal(f->device, "lamp");
	assert_string_equal(f->version, "1.1.0");
	assert_string_equal(smp_server_version(f->p.server), "1.1.0");
	assert_true(smp_server_is_confirmed(f->p.server));
	assert_true(span_eq(smp_server_slot(f->p.server, 0), buf_span(&f->image)));
	assert_int_equal(smp_server_counts(f->p.server).reverts, 0);
}

static void is_refused(struct fixture *f, unsigned result, const char *reason)
{
	assert_true(until(f->loop, is_done, f, LONG_MS));
	assert_int_equal(f->result, result);
	if (!strstr(f->reason, reason))
		fail_msg("\"%s\", not \"%s\"", f->reason, reason);
}

/* ---- tests ---- */

static void an_image_goes_the_whole_way_and_the_firmware_revision_is_read_again(void **state)
{
	struct fixture *f = *state;

	start(f);
	is_updated(f);
	assert_int_equal(f->states[2], 1);
	assert_int_equal(f->states[3], 1);
	assert_string_equal(f->reason, "firmware revision rev-1.1.0"); /* BLZ-12 */
	assert_int_equal(f->p.node->n_links, 2);
	assert_int_equal(f->p.node->n_fresh, 1);         /* after its restart */
	assert_int_equal(f->p.largest_write, GATT_STREAM_BYTES_MAX);
	assert_true(f->p.largest_message > 2000 && f->p.largest_message <= 2048);  /* in parts, both ways: SMP-15 */
	assert_int_equal(smp_server_counts(f->p.server).bytes, f->image.n);
	assert_int_equal(fake_ble_links(f->ble), 0);
}

static void links_of_all_sizes_carry_it(void **state)
{
	static const size_t chunks[] = { 20, 128, 182, 244, 495 };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(chunks) / sizeof(*chunks); i++)
		for (uint32_t size = 0; size <= 384; size += 384) {
			smp_peripheral_is(&f->p, &(struct smp_server_config){ .version = SMP_V2, .buf_size = size, .buf_count = size ? 4 : 0, .restart_ms = 50 });
			f->p.node->chunk_max = chunks[i];
			f->p.node->stream_room = 2; /* EAGAIN every now and then: BLZ-6 */
			f->n_done = f->p.largest_write = f->p.largest_message = 0;
			start(f);
			is_updated(f);
			assert_int_equal(f->p.largest_write, chunks[i] < f->p.largest_message ? chunks[i] : f->p.largest_message);
			size_t whole = chunks[i] < SMP_UPLOAD_MESSAGE_BYTES_MIN ? SMP_UPLOAD_MESSAGE_BYTES_MIN : chunks[i];
			assert_true(f->p.largest_message <= (size ? size : whole)); /* a node that tells no buffers gets no parts it can be spared */
			f->driver->ops->cancel(f->driver, "lamp", "j");
		}
}

static void a_node_that_puts_nothing_together_gets_whole_messages(void **state)
{
	struct fixture *f = *state;

	f->p.takes_no_parts = true;
	f->p.node->chunk_max = 244;
	start(f);
	is_updated(f);
	uint64_t requests = smp_server_counts(f->p.server).requests;

	smp_peripheral_is(&f->p, &zephyr);         /* and it is remembered of it */
	f->driver->ops->cancel(f->driver, "lamp", "j");
	f->n_done = 0;
	f->p.largest_message = 0;
	start(f);
	is_updated(f);
	assert_true(f->p.largest_message <= 244);
	assert_true(smp_server_counts(f->p.server).requests <= requests);
}

static void a_link_that_is_lost_anywhere_only_costs_time(void **state)
{
	struct fixture *f = *state;

	for (unsigned at = 1; at < 110; at += at < 8 ? 1 : 25) {
		smp_peripheral_is(&f->p, &zephyr);
		f->end_at_write = f->p.n_writes + at;
		f->end_error = at % 3 == 0 ? -EAGAIN : -ECONNRESET;
		f->n_done = 0;
		f->sent = 0;
		start(f);
		is_updated(f);
		struct smp_server_counts n = smp_server_counts(f->p.server);
		assert_int_equal(n.uploads_begun, 1);
		assert_int_equal(n.bytes, f->image.n);         /* resumed, nothing twice */
		assert_int_equal(n.swaps, 1);
		f->driver->ops->cancel(f->driver, "lamp", "j");
	}
}

static void turns_are_taken_as_often_as_others_wait(void **state)
{
	struct fixture *f = *state;

	f->end_at_write = 25;
	f->end_error = -EAGAIN;
	f->ends_again = true;
	start(f);
	assert_true(until(f->loop, is_halfway, f, LONG_MS));
	f->ends_again = false;
	f->end_at_write = 0;
	is_updated(f);
	assert_true(f->p.node->n_links > 3);
	assert_int_equal(smp_server_counts(f->p.server).uploads_begun, 1);
}

static void a_node_that_goes_away_in_mid_upload_is_waited_for(void **state)
{
	struct fixture *f = *state;

	f->end_at_write = 50;
	f->end_error = -ENOENT;
	start(f);
	assert_false(until(f->loop, is_done, f, 300));
	assert_true(f->sent > 10000 && f->sent < IMAGE_BYTES);
	assert_int_equal(f->n_open, 0);                /* nothing is held for it */
	assert_int_equal(fake_ble_links(f->ble), 0);
	fake_node_show(f->p.node, true);
	smp_driver_heard(f->driver, "lamp");           /* not at once: it was just lost */
	while (!f->n_done && f->p.node->n_links < 2) {
		(void)until(f->loop, is_done, f, 100);
		smp_driver_heard(f->driver, "lamp");
	}
	is_updated(f);
	assert_int_equal(smp_server_counts(f->p.server).uploads_begun, 1);
}

static void a_node_that_never_shows_up_is_waited_for_without_a_place(void **state)
{
	struct fixture *f = *state;

	f->p.node->is_here = false;
	start(f);
	assert_false(until(f->loop, is_linked, f, 200));
	assert_int_equal(f->n_reports, 0);
	assert_int_equal(fake_ble_links(f->ble), 0);
	fake_node_show(f->p.node, true);
	smp_driver_heard(f->driver, "somebody else");
	assert_false(until(f->loop, is_linked, f, 50));
	smp_driver_heard(f->driver, "lamp");
	is_updated(f);
}

static void a_node_that_does_not_come_back_from_its_restart_is_told_so(void **state)
{
	struct fixture *f = *state;
	struct smp_settings s = { .message_bytes = 2048, .window = 4, .restart_s = 2 };

	smp_ble_set(f->driver, &s, false);
	smp_peripheral_is(&f->p, &(struct smp_server_config){ .version = SMP_V2, .buf_size = 2475, .buf_count = 4, .restart_ms = 60000 });
	start(f);
	is_refused(f, 8, "after its restart");
	assert_int_equal(f->states[3], 1);
}

static void a_node_that_goes_back_is_seen_to(void **state)
{
	struct fixture *f = *state;
	struct smp_settings s = { .message_bytes = 2048, .window = 4, .restart_s = 10, .proof_s = 1 };

	smp_ble_set(f->driver, &s, false);
	smp_peripheral_is(&f->p, &(struct smp_server_config){ .version = SMP_V2, .buf_size = 2475, .buf_count = 4, .restart_ms = 50, .crash_ms = 300 });
	start(f);
	is_refused(f, 8, "went back to its old image");
}

static void a_link_that_is_always_lost_is_given_up_in_the_end(void **state)
{
	struct fixture *f = *state;

	f->p.node->connect_error = -ECONNRESET;
	start(f);
	assert_false(until(f->loop, is_done, f, 1200)); /* it takes its time: the pauses double */
	assert_true(fake_ble_links(f->ble) <= 1);
	f->p.node->connect_error = 0;
	is_updated(f);
}

static void garbage_is_dropped_and_the_node_given_up_as_silent(void **state)
{
	struct fixture *f = *state;

	f->p.is_garbage = true;
	start(f);
	assert_false(until(f->loop, is_done, f, 500));
	f->p.is_garbage = false;
	is_updated(f);
}

static void a_node_without_the_service_is_looked_at_afresh_then_refused(void **state)
{
	struct fixture *f = *state;

	fake_node_offers_nothing(f->p.node);
	start(f);
	is_refused(f, 9, "no SMP service");
	assert_int_equal(f->p.node->n_links, 2);
	assert_int_equal(f->p.node->n_fresh, 1);
}

static void a_pairing_is_made_where_it_is_allowed(void **state)
{
	struct fixture *f = *state;

	f->p.node->wants_bond = true;
	start(f);
	is_updated(f);
	assert_int_equal(f->p.node->n_pairs, 1);
}

static void a_pairing_that_is_not_allowed_is_a_clear_reason(void **state)
{
	struct fixture *f = *state;

	f->p.node->wants_bond = true;
	f->p.node->pair_error = -EACCES;
	start(f);
	is_refused(f, 8, "wants a pairing");
	assert_int_equal(f->p.node->n_pairs, 1);
	assert_int_equal(f->sent, 0);
}

static void cancelled_while_it_pairs_or_streams_nothing_comes(void **state)
{
	struct fixture *f = *state;

	f->p.node->wants_bond = true;
	start(f);
	while (f->p.node->n_pairs == 0)
		(void)until(f->loop, is_done, f, 1);
	f->driver->ops->cancel(f->driver, "lamp", "j");
	assert_false(until(f->loop, is_done, f, 50));
	f->p.is_deaf = true;
	start(f);
	while (f->p.n_writes == 0)
		(void)until(f->loop, is_done, f, 1);
	f->driver->ops->cancel(f->driver, "lamp", "j");
	assert_int_equal(fake_ble_links(f->ble), 0);
	assert_false(until(f->loop, is_done, f, 50));
}

static void another_program_on_the_characteristic_is_not_fought(void **state)
{
	struct fixture *f = *state;

	f->p.node->stream_error = -EBUSY;        /* BLZ-10 */
	start(f);
	assert_false(until(f->loop, is_done, f, 300));
	f->p.node->stream_error = 0;
	is_updated(f);
}

static void bluetooth_that_goes_and_comes_costs_no_job(void **state)
{
	struct fixture *f = *state;

	f->end_at_write = 50;
	f->end_error = -ENOTCONN;
	start(f);
	assert_false(until(f->loop, is_done, f, 200));
	assert_true(f->sent > 10000 && f->sent < IMAGE_BYTES);
	fake_ble_set_health(f->ble, BLE_READY);
	while (!f->n_done && f->p.node->n_links < 2) {
		(void)until(f->loop, is_done, f, 100);
		smp_driver_heard(f->driver, "lamp");
	}
	is_updated(f);
}

static void a_device_that_is_no_node_is_told_so(void **state)
{
	struct fixture *f = *state;

	f->node_error = -EDESTADDRREQ;
	start(f);
	is_refused(f, 7, "no Bluetooth address");
}

/* ---- SMP-9, whatever the carrier ---- */

static void two_drivers_never_talk_to_one_device(void **state)
{
	struct fixture *f = *state;
	struct delivery_driver *other;
	struct delivery_order o = { .job = "j2", .device = "lamp", .manifest = f->manifest, .images = f->images, .n_images = 1 };

	assert_int_equal(smp_ble_open(&(struct smp_ble_config){
		.smp = { .loop = f->loop, .workers = f->workers, .lock = f->lock, .settings = { .message_bytes = 2048, .window = 1, .restart_s = 10 },
			 .source = { .open_image = open_image, .ctx = f }, .sink = { .progress = on_progress, .report = on_report, .ctx = f } },
		.ble = f->ble, .node = on_node, .node_ctx = f }, &other), 0);
	start(f);
	assert_true(until(f->loop, is_halfway, f, LONG_MS));
	assert_int_equal(other->ops->start(other, &o), 0);
	is_updated(f);
	assert_int_equal(f->p.node->n_links, 2);         /* only the first one's */
	assert_int_equal(smp_server_counts(f->p.server).uploads_begun, 1);
	other->ops->close(other);
}

/* ---- messages in parts ---- */

struct parts {
	struct buf got;
	unsigned n;
};

static bool on_whole(void *ctx, struct span message)
{
	struct parts *p = ctx;

	p->n++;
	buf_add(&p->got, message);
	return true;
}

static void messages_are_put_together_from_parts_of_any_size(void **state)
{
	_cleanup_buf_ struct buf stream = { 0 };
	struct smp_assembly *a = test_calloc(1, sizeof(*a));

	(void)state;
	for (size_t body = 0; body <= SMP_BODY_BYTES_MAX; body += 512) {
		struct smp_header h = { .op = SMP_READ_REPLY, .version = 1, .seq = (uint8_t)body };
		buf_add_u8(&stream, (uint8_t)(h.version << 3 | h.op));
		buf_add_u8(&stream, 0);
		buf_add_be(&stream, body, 2);
		buf_add_be(&stream, 0, 4);
		(void)buf_grow(&stream, body); /* zeros */
	}
	for (size_t part = 1; part < 600; part += part < 12 ? 1 : 97) {
		struct parts p = { 0 };

		for (size_t at = 0; at < stream.n; at += part)
			smp_assembly_add(a, span_sub(buf_span(&stream), at, part), (struct mono){ 1 }, on_whole, &p);
		assert_int_equal(p.n, SMP_BODY_BYTES_MAX / 512 + 1);
		assert_true(span_eq(buf_span(&p.got), buf_span(&stream)));
		assert_int_equal(a->n + a->dropped, 0);
		buf_done(&p.got);
	}
	test_free(a);
}

static void what_is_no_answer_is_too_long_or_was_left_for_5_seconds_is_dropped(void **state)
{
	static const uint8_t request[8] = { 0x0a }, reserved[8] = { 0x2b }, long_one[8] = { 0x0b, 0, 0x10, 0x01 }, small[8] = { 0x0b };
	struct smp_assembly *a = test_calloc(1, sizeof(*a));
	struct parts p = { 0 };

	(void)state;
	smp_assembly_add(a, SPAN_OF(request), (struct mono){ 1 }, on_whole, &p);
	smp_assembly_add(a, SPAN_OF(reserved), (struct mono){ 1 }, on_whole, &p);
	smp_assembly_add(a, SPAN_OF(long_one), (struct mono){ 1 }, on_whole, &p);
	assert_int_equal(a->dropped, 3);
	smp_assembly_add(a, SPAN(small, 5), (struct mono){ 1 }, on_whole, &p);
	smp_assembly_add(a, SPAN_OF(small), (struct mono){ 1 + SMP_ASSEMBLY_GAP_MS + 1 }, on_whole, &p);
	assert_int_equal(a->dropped, 4);
	assert_int_equal(p.n, 1);
	smp_assembly_add(a, SPAN(small, 5), (struct mono){ 1 }, on_whole, &p);
	smp_assembly_reset(a);
	smp_assembly_add(a, SPAN_OF(small), (struct mono){ 1 }, on_whole, &p);
	assert_int_equal(p.n, 2);
	buf_done(&p.got);
	test_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST_(name_) cmocka_unit_test_setup_teardown(name_, setup, teardown)
		TEST_(an_image_goes_the_whole_way_and_the_firmware_revision_is_read_again),
		TEST_(links_of_all_sizes_carry_it),
		TEST_(a_node_that_puts_nothing_together_gets_whole_messages),
		TEST_(a_link_that_is_lost_anywhere_only_costs_time),
		TEST_(turns_are_taken_as_often_as_others_wait),
		TEST_(a_node_that_goes_away_in_mid_upload_is_waited_for),
		TEST_(a_node_that_never_shows_up_is_waited_for_without_a_place),
		TEST_(a_node_that_does_not_come_back_from_its_restart_is_told_so),
		TEST_(a_node_that_goes_back_is_seen_to),
		TEST_(a_link_that_is_always_lost_is_given_up_in_the_end),
		TEST_(garbage_is_dropped_and_the_node_given_up_as_silent),
		TEST_(a_node_without_the_service_is_looked_at_afresh_then_refused),
		TEST_(a_pairing_is_made_where_it_is_allowed),
		TEST_(a_pairing_that_is_not_allowed_is_a_clear_reason),
		TEST_(cancelled_while_it_pairs_or_streams_nothing_comes),
		TEST_(another_program_on_the_characteristic_is_not_fought),
		TEST_(bluetooth_that_goes_and_comes_costs_no_job),
		TEST_(a_device_that_is_no_node_is_told_so),
		TEST_(two_drivers_never_talk_to_one_device),
#undef TEST_
		cmocka_unit_test(messages_are_put_together_from_parts_of_any_size),
		cmocka_unit_test(what_is_no_answer_is_too_long_or_was_left_for_5_seconds_is_dropped),
	};

	return cmocka_run_group_tests_name("delivery/smp_ble", tests, NULL, NULL);
}
