/* The driver smp-udp over loopback, to a node that only lists images: SMP-9 (one session a node), SMP-16 (the image is looked at before
 * the node is talked to), and what the sink is told when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "../until.h"
#include "delivery/smp_udp.h"

enum { BODY_BYTES = 200 * 1024, HEAD_BYTES = 32 };

struct fixture {
	struct loop *loop;
	struct worker_pool *workers;
	struct smp_lock *lock;
	struct delivery_driver *driver;
	struct udp *node;                      /* answers lists: the image runs and is confirmed */
	struct udp_address node_at;
	struct buf image;
	struct digest manifest;
	struct delivery_image images[2];
	int open_error, address_error, report_error;
	unsigned n_open, n_reports, n_asked;
	unsigned state, result;
	char reason[200], device[DEVICE_ID_BYTES];
	delivery_done_fn *done;                /* kept back when holds */
	void *done_arg;
	bool holds, is_silent;
};

static int read_image(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	struct fixture *f = ctx;

	assert_true(off + n <= f->image.n);
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
	int error = f->open_error;

	assert_true(digest_eq(manifest, &f->manifest) && digest_eq(d, &f->images[0].digest));
	f->open_error = 0;
	if (error)
		return error;
	f->n_open++;
	*ret = (struct coap_body_reader){ .bytes = f->image.n, .read = read_image, .release = release_image, .ctx = f };
	return 0;
}

static void on_progress(void *ctx, const char *job, uint64_t sent, uint64_t total)
{
	(void)ctx;
	(void)job;
	assert_true(sent <= total);
}

static void on_report(void *ctx, const char *device, const struct node_report *r, delivery_done_fn *done, void *arg)
{
	struct fixture *f = ctx;
	int error = f->report_error;

	f->n_reports++;
	f->state = r->state;
	f->result = r->result;
	(void)snprintf(f->reason, sizeof(f->reason), "%.*s", SPAN_ARG(r->reason)); /* shorter */
	(void)snprintf(f->device, sizeof(f->device), "%s", device);                /* same size */
	assert_true(digest_eq(&r->manifest_digest, &f->manifest));
	f->report_error = 0;
	if (f->holds) {
		f->done = done;
		f->done_arg = arg;
	} else {
		done(arg, error);
	}
}

/* "n3" is at the node's port of 127.0.0.4; only 127.0.0.1 answers. "same-..." are all n0. */
static int on_address(void *ctx, const char *device, struct udp_address *ret)
{
	struct fixture *f = ctx;
	char text[UDP_ADDRESS_TEXT_BYTES];
	const char *port = strrchr(udp_address_text(&f->node_at, text), ':');
	char at[UDP_ADDRESS_TEXT_BYTES];

	(void)snprintf(at, sizeof(at), "127.0.0.%u%s", device[0] == 'n' ? (unsigned)strtoul(device + 1, NULL, 10) % 200 + 1 : 1, port); /* fits */
	assert_int_equal(udp_address_parse(span_str(at), 0, ret), 0);
	return f->address_error;
}

static void on_node(void *ctx, const struct udp_address *from, struct span datagram)
{
	struct fixture *f = ctx;
	struct cursor c = { .s = datagram };
	struct smp_reply r = { 0 };
	struct smp_header h;
	struct span body;
	struct buf b = { 0 };

	f->n_asked++;
	if (f->is_silent)
		return;
	assert_int_equal(smp_message_next(&c, &h, &body), 0);
	if (h.group == SMP_GROUP_OS) {
		r.error.rc = SMP_NOTSUP;
	} else {
		r.has_images = true;
		r.n_images = 1;
		r.images[0] = (struct smp_image){ .n_hash = 32, .active = true, .confirmed = true };
		memcpy(r.images[0].hash, f->image.p + f->image.n - 32, 32);
	}
	h.op++;
	smp_reply_encode(&b, &h, &r, 0);
	assert_int_equal(udp_send(f->node, from, buf_span(&b)), 0);
	buf_done(&b);
}

static void make_image(struct buf *b)
{
	buf_add_le(b, 0x96f3b83d, 4);
	buf_add_le(b, 0, 4);
	buf_add_le(b, HEAD_BYTES, 2);
	buf_add_le(b, 0, 2);
	buf_add_le(b, BODY_BYTES, 4);
	buf_add_le(b, 0, 8);
	buf_add_le(b, 0, 8);
	for (int i = 0; i < BODY_BYTES; i++)
		buf_add_u8(b, (uint8_t)(i * 3));
	struct digest d = digest_of(buf_span(b));
	buf_add_le(b, 0x6907, 2);
	buf_add_le(b, 40, 2);
	buf_add_le(b, 0x10, 2);
	buf_add_le(b, 32, 2);
	buf_add(b, SPAN_OF(d.b));
}

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	f->loop = loop_new();
	f->workers = worker_pool_new(f->loop, 1);
	f->lock = smp_lock_new();
	make_image(&f->image);
	f->manifest = digest_of(SPAN_LIT("manifest"));
	f->images[0] = f->images[1] = (struct delivery_image){ .digest = digest_of(buf_span(&f->image)), .bytes = f->image.n };
	assert_int_equal(udp_address_parse(SPAN_LIT("127.0.0.1:0"), 0, &f->node_at), 0);
	assert_int_equal(udp_listen(f->loop, &f->node_at, on_node, f, &f->node), 0);
	assert_int_equal(udp_local(f->node, &f->node_at), 0);
	assert_int_equal(smp_udp_open(&(struct smp_udp_config){
		.smp = { .loop = f->loop, .workers = f->workers, .lock = f->lock,
			 .settings = { .message_bytes = 256, .window = 1, .answer_ms = 200, .restart_s = 10 },
			 .source = { .open_image = open_image, .ctx = f }, .sink = { .progress = on_progress, .report = on_report, .ctx = f } },
		.address = on_address, .address_ctx = f }, &f->driver), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->driver)
		f->driver->ops->close(f->driver);
	worker_pool_free(f->workers); /* what was looked at is let go */
	smp_lock_free(f->lock);
	assert_int_equal(f->n_open, 0);
	udp_close(f->node);
	buf_done(&f->image);
	loop_free(f->loop);
	test_free(f);
	return 0;
}

static int start(struct fixture *f, const char *device, size_t n_images)
{
	struct delivery_order o = { .job = "j", .manifest = f->manifest, .sequence = 7, .images = f->images, .n_images = n_images };

	(void)snprintf(o.device, sizeof(o.device), "%s", device); /* ours: short */
	return f->driver->ops->start(f->driver, &o);
}

static bool is_reported(void *ctx)
{
	return ((struct fixture *)ctx)->n_reports > 0;
}

static bool is_reported_twice(void *ctx)
{
	return ((struct fixture *)ctx)->n_reports > 1;
}

static bool is_asked(void *ctx)
{
	return ((struct fixture *)ctx)->n_asked > 0;
}

static void a_node_that_has_it_is_confirmed_and_starting_again_changes_nothing(void **state)
{
	struct fixture *f = *state;

	f->open_error = -EAGAIN;               /* being verified: asked for again */
	assert_int_equal(start(f, "n0", 1), 0);
	assert_int_equal(start(f, "n0", 1), 0);
	assert_true(until(f->loop, is_reported, f, 10000));
	assert_int_equal(f->state, 0);
	assert_int_equal(f->result, 1);
	assert_string_equal(f->device, "n0");
	assert_int_equal(f->n_asked, 2);
	assert_int_equal(start(f, "n0", 1), 0);
	assert_false(until(f->loop, is_reported_twice, f, 50));
	assert_int_equal(f->n_open, 0);
}

static void what_was_not_persisted_is_reported_again(void **state)
{
	struct fixture *f = *state;

	f->report_error = -EIO;
	assert_int_equal(start(f, "n0", 1), 0);
	assert_true(until(f->loop, is_reported_twice, f, 20000));
	assert_int_equal(f->result, 1);
}

static void bad_images_are_refused_without_a_word_to_the_node(void **state)
{
	struct fixture *f = *state;
	const struct { size_t at; uint8_t x; const char *reason; } t[] = {
		{ 0, 1, "not an MCUboot image" }, { HEAD_BYTES + 150000, 1, "whose hash is not that of its bytes" },
		{ HEAD_BYTES + BODY_BYTES, 1, "bad TLV area" }, { HEAD_BYTES + BODY_BYTES + 4, 3, "without a hash" },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		f->n_reports = 0;
		f->image.p[t[i].at] ^= t[i].x;
		assert_int_equal(start(f, "n0", 1), 0);
		assert_true(until(f->loop, is_reported, f, 10000));
		assert_int_equal(f->result, 6);
		if (!strstr(f->reason, t[i].reason))
			fail_msg("\"%s\"", f->reason);
		f->driver->ops->cancel(f->driver, "n0", "j");
		f->image.p[t[i].at] ^= t[i].x;
	}
	f->n_reports = 0;
	assert_int_equal(start(f, "n0", 2), 0);
	assert_true(until(f->loop, is_reported, f, 10000));
	assert_non_null(strstr(f->reason, "one image"));
	assert_int_equal(f->n_asked, 0);
}

static void a_device_without_an_address_is_told_so(void **state)
{
	struct fixture *f = *state;

	f->address_error = -EDESTADDRREQ;
	assert_int_equal(start(f, "n0", 1), 0);
	assert_true(until(f->loop, is_reported, f, 10000));
	assert_int_equal(f->result, 7);
	assert_non_null(strstr(f->reason, "no address"));
}

static void after_cancel_nothing_comes(void **state)
{
	struct fixture *f = *state;

	f->is_silent = true;
	assert_int_equal(start(f, "n0", 1), 0);
	assert_true(until(f->loop, is_asked, f, 10000));
	f->driver->ops->cancel(f->driver, "n0", "another");
	assert_int_equal(f->n_open, 1);
	f->driver->ops->cancel(f->driver, "n0", "j");
	f->driver->ops->cancel(f->driver, "n0", "j");
	assert_int_equal(f->n_open, 0);
	f->is_silent = false;
	assert_false(until(f->loop, is_reported, f, 100));
}

static void an_answer_to_the_report_of_a_cancelled_order_is_harmless(void **state)
{
	struct fixture *f = *state;

	f->holds = true;
	assert_int_equal(start(f, "n0", 1), 0);
	assert_true(until(f->loop, is_reported, f, 10000));
	f->driver->ops->cancel(f->driver, "n0", "j");
	f->done(f->done_arg, -EIO);
	assert_false(until(f->loop, is_reported_twice, f, 50));
}

static void no_more_than_so_many_are_talked_to_at_a_time(void **state)
{
	struct fixture *f = *state;
	char id[16];

	f->is_silent = true;
	for (unsigned i = 0; i < SMP_ACTIVE_MAX + 3; i++) {
		(void)snprintf(id, sizeof(id), "n%u", i); /* fits */
		assert_int_equal(start(f, id, 1), 0);
	}
	assert_false(until(f->loop, is_reported, f, 300));
	assert_int_equal(f->n_open, SMP_ACTIVE_MAX);
	f->driver->ops->cancel(f->driver, "n0", "j");
	assert_false(until(f->loop, is_reported, f, 50));
	assert_int_equal(f->n_open, SMP_ACTIVE_MAX);
}

static bool is_one_open(void *ctx)
{
	return ((struct fixture *)ctx)->n_open == 1;
}

/* SMP-9: one session a node, also when two devices are said to be at its address. */
static void two_devices_at_one_address_are_served_one_after_the_other(void **state)
{
	struct fixture *f = *state;

	f->is_silent = true;
	assert_int_equal(start(f, "same-a", 1), 0);
	assert_int_equal(start(f, "same-b", 1), 0);
	assert_true(until(f->loop, is_asked, f, 10000));
	assert_true(until(f->loop, is_one_open, f, 10000));    /* the other one gave its image back, and comes again */
	f->is_silent = false;
	assert_true(until(f->loop, is_reported_twice, f, 20000));
	assert_int_equal(f->result, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST_(name_) cmocka_unit_test_setup_teardown(name_, setup, teardown)
		TEST_(a_node_that_has_it_is_confirmed_and_starting_again_changes_nothing),
		TEST_(what_was_not_persisted_is_reported_again),
		TEST_(bad_images_are_refused_without_a_word_to_the_node),
		TEST_(a_device_without_an_address_is_told_so),
		TEST_(after_cancel_nothing_comes),
		TEST_(an_answer_to_the_report_of_a_cancelled_order_is_harmless),
		TEST_(no_more_than_so_many_are_talked_to_at_a_time),
		TEST_(two_devices_at_one_address_are_served_one_after_the_other),
#undef TEST_
	};

	return cmocka_run_group_tests_name("delivery/smp_udp", tests, NULL, NULL);
}
