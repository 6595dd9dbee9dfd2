/* Many nodes of Bluetooth LE on few connections, in virtual time: links are lost, nodes walk away and come back, lose their power,
 * bluetoothd is gone for a while. Everybody is updated, nobody starves, and nothing is sent twice without need. SMP-15, BLZ-2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "../delivery/smp_peripheral.h"
#include "delivery/smp_ble.h"
#include "sim.h"

enum { LAMPS = 60, SLOTS = 4, TURN_MS = 4000, IMAGE_BYTES = 60000, ADVERTISES_MS = 10000, LONGEST = 2 * SIM_HOUR };

struct site;

struct lamp {
	struct site *site;
	struct smp_peripheral p;
	char device[DEVICE_ID_BYTES];
	unsigned n_done, result, n_cycles;
	int64_t done_at;
	char reason[200];
};

struct site {
	struct loop *loop;
	struct worker_pool *workers;
	struct smp_lock *lock;
	struct ble *ble;
	struct delivery_driver *driver;
	struct buf image;
	struct digest manifest;
	struct delivery_image images[1];
	struct lamp lamps[LAMPS];
	unsigned n_done, n_open;
	double loss;
	bool is_over;
};

struct pending {                               /* a report that is being persisted */
	delivery_done_fn *done;
	void *arg;
};

static int read_image(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	struct site *s = ctx;

	SIM_CHECK(off + n <= s->image.n, "read past the end");
	memcpy(ret, s->image.p + off, n);
	return 0;
}

static void release_image(void *ctx)
{
	((struct site *)ctx)->n_open--;
}

static int open_image(void *ctx, const struct digest *manifest, const struct digest *d, struct coap_body_reader *ret)
{
	struct site *s = ctx;

	(void)manifest;
	(void)d;
	s->n_open++;
	SIM_CHECK(s->n_open <= SMP_ACTIVE_MAX, "%u images are open", s->n_open);
	*ret = (struct coap_body_reader){ .bytes = s->image.n, .read = read_image, .release = release_image, .ctx = s };
	return 0;
}

static struct lamp *lamp_of(struct site *s, const char *device)
{
	return &s->lamps[strtoul(device + 5, NULL, 10)];       /* "lamp-7" */
}

static void on_persisted(void *ctx)
{
	struct pending *p = ctx;

	p->done(p->arg, 0);
	free(p);
}

static void on_report(void *ctx, const char *device, const struct node_report *r, delivery_done_fn *done, void *arg)
{
	struct site *s = ctx;
	struct lamp *l = lamp_of(s, device);
	struct pending *p = malloc(sizeof(*p));

	SIM_CHECK(p, "memory");
	if (r->state == 0) {
		SIM_CHECK(l->n_done++ == 0, "%s: told twice how it ended", device);
		l->result = r->result;
		l->done_at = sim_now();
		(void)snprintf(l->reason, sizeof(l->reason), "%.*s", SPAN_ARG(r->reason)); /* at most as long */
		s->n_done++;
	}
	sim_note(r->state, r->result);
	*p = (struct pending){ .done = done, .arg = arg };
	sim_at(sim_between(1, 200), on_persisted, p);
}

static void on_progress(void *ctx, const char *job, uint64_t sent, uint64_t total)
{
	(void)ctx;
	(void)job;
	SIM_CHECK(sent <= total, "more than there is");
}

static int on_node(void *ctx, const char *device, char ret[static BLE_ID_BYTES])
{
	(void)snprintf(ret, BLE_ID_BYTES, "%s", lamp_of(ctx, device)->p.node->n.id); /* same size */
	return 0;
}

/* ---- what happens to nodes ---- */

static bool on_lost(void *ctx)
{
	struct lamp *l = ctx;

	if (!sim_chance(l->site->loss))
		return false;
	fake_node_end(l->p.node, -ECONNRESET);
	return true;
}

static void on_back(void *ctx)
{
	struct lamp *l = ctx;

	if (!l->site->is_over)
		fake_node_show(l->p.node, true);
}

static void on_walk(void *ctx)
{
	struct lamp *l = ctx;

	if (l->site->is_over || l->n_done)
		return;
	fake_node_show(l->p.node, false);
	sim_at(sim_between(SIM_SECOND, 3 * SIM_MINUTE), on_back, l);
	sim_at(sim_between(5 * SIM_MINUTE, 30 * SIM_MINUTE), on_walk, l);
}

/* Before it has the image: later that would end the trial of it, which is another story. */
static void on_power(void *ctx)
{
	struct lamp *l = ctx;

	if (l->site->is_over || smp_server_counts(l->p.server).tests)
		return;
	l->n_cycles++;
	smp_server_power_cycle(l->p.server, mono_now());
	loop_timer_set(l->p.restart, smp_server_wait_ms(l->p.server, mono_now()));
	fake_node_end(l->p.node, -ECONNRESET);
}

static void on_advertise(void *ctx)
{
	struct lamp *l = ctx;

	if (l->site->is_over)
		return;
	if (ble_node_get(l->site->ble, l->p.node->n.id))
		smp_driver_heard(l->site->driver, l->device);
	sim_at(ADVERTISES_MS, on_advertise, l);
}

static void on_bluetoothd_back(void *ctx)
{
	struct site *s = ctx;

	if (!s->is_over)
		fake_ble_set_health(s->ble, BLE_READY);
}

static void on_bluetoothd_gone(void *ctx)
{
	struct site *s = ctx;

	if (s->is_over)
		return;
	fake_ble_set_health(s->ble, BLE_NO_BLUEZ);
	sim_at(sim_between(SIM_SECOND, 2 * SIM_MINUTE), on_bluetoothd_back, s);
}

/* ---- a site ---- */

static void lamp_begin(struct site *s, unsigned i)
{
	static const uint32_t sizes[] = { 2475, 384, 0, 1024 };
	struct lamp *l = &s->lamps[i];
	struct smp_server_config c = { .version = i % 7 == 3 ? SMP_V1 : SMP_V2, .buf_size = sizes[i % 4], .buf_count = 4, .restart_ms = 15000 };
	char id[BLE_ID_BYTES];

	l->site = s;
	(void)snprintf(l->device, sizeof(l->device), "lamp-%u", i);    /* fits */
	(void)snprintf(id, sizeof(id), "ble-c000000000%02x", i);       /* fits */
	smp_peripheral_init(&l->p, s->ble, s->loop, id, &c);
	l->p.takes_no_parts = i % 4 == 1;
	l->p.lost = on_lost;
	l->p.ctx = l;
	l->p.node->chunk_max = 244;
	l->p.node->stream_room = 4;
	l->p.node->interval_ms = 30;
	l->p.node->is_here = i % 5 != 0;       /* some come later */
	sim_at(sim_between(1, ADVERTISES_MS), on_advertise, l);
	sim_at(sim_between(SIM_MINUTE, 40 * SIM_MINUTE), i % 5 == 0 ? on_back : on_walk, l);
	if (i % 6 == 0)
		sim_at(sim_between(SIM_MINUTE, 10 * SIM_MINUTE), on_power, l);
}

static struct site *site_new(void)
{
	struct site *s = calloc(1, sizeof(*s));

	SIM_CHECK(s, "memory");
	s->loop = loop_new();
	s->workers = worker_pool_new(s->loop, 1);
	s->lock = smp_lock_new();
	s->ble = fake_ble_new(s->loop);
	s->loss = 0.002;
	fake_ble_set_slots(s->ble, SLOTS);
	fake_ble_set_turn(s->ble, TURN_MS);
	mcuboot_image_make(&s->image, 1, IMAGE_BYTES);
	s->manifest = digest_of(SPAN_LIT("manifest"));
	s->images[0] = (struct delivery_image){ .digest = digest_of(buf_span(&s->image)), .bytes = s->image.n };
	int r = smp_ble_open(&(struct smp_ble_config){
		.smp = { .loop = s->loop, .workers = s->workers, .lock = s->lock,
			 .settings = { .message_bytes = 2048, .window = 4, .answer_ms = 1000, .restart_s = 300, .proof_s = 10 },
			 .source = { .open_image = open_image, .ctx = s }, .sink = { .progress = on_progress, .report = on_report, .ctx = s } },
		.ble = s->ble, .node = on_node, .node_ctx = s }, &s->driver);
	SIM_CHECK(r == 0, "the driver does not open");
	for (unsigned i = 0; i < LAMPS; i++)
		lamp_begin(s, i);
	sim_at(sim_between(SIM_MINUTE, 5 * SIM_MINUTE), on_bluetoothd_gone, s);
	return s;
}

static void site_free(struct site *s)
{
	s->is_over = true;
	s->driver->ops->close(s->driver);
	worker_pool_free(s->workers);
	SIM_CHECK(s->n_open == 0, "%u images are still open", s->n_open);
	smp_lock_free(s->lock);
	fake_ble_free(s->ble);
	for (unsigned i = 0; i < LAMPS; i++)
		smp_peripheral_done(&s->lamps[i].p);
	buf_done(&s->image);
	loop_free(s->loop);
	free(s);
}

static bool is_done(void *ctx)
{
	return ((struct site *)ctx)->n_done == LAMPS;
}

static void lamp_check(const struct site *s, const struct lamp *l)
{
	struct smp_server_counts n = smp_server_counts(l->p.server);

	SIM_CHECK(l->n_done == 1 && l->result == 1, "%s: %u \"%s\" after %u links", l->device, l->result, l->reason, l->p.node->n_links);
	SIM_CHECK(span_eq(smp_server_slot(l->p.server, 0), buf_span(&s->image)), "%s runs something else", l->device);
	SIM_CHECK(n.swaps == 1 && n.reverts == 0, "%s: %llu swaps, %llu reverts", l->device, (unsigned long long)n.swaps, (unsigned long long)n.reverts);
	SIM_CHECK(n.uploads_begun <= 1 + l->n_cycles, "%s: %llu uploads", l->device, (unsigned long long)n.uploads_begun);
	SIM_CHECK(n.bytes <= s->image.n * (1 + l->n_cycles), "%s: %llu bytes", l->device, (unsigned long long)n.bytes);
}

static void describe(const struct site *s)
{
	unsigned n_links = 0, n_cycles = 0;
	uint64_t bytes = 0;
	int64_t last = 0;

	for (unsigned i = 0; i < LAMPS; i++) {
		n_links += s->lamps[i].p.node->n_links;
		n_cycles += s->lamps[i].n_cycles;
		bytes += smp_server_counts(s->lamps[i].p.server).bytes;
		last = s->lamps[i].done_at > last ? s->lamps[i].done_at : last;
	}
	fprintf(stderr, "seed %llu: the last after %lld s; %u links, %u power cuts, %.2f times the bytes\n", (unsigned long long)sim_seed(),
		(long long)(last / SIM_SECOND), n_links, n_cycles, (double)bytes / (double)s->image.n / LAMPS);
}

static void order(struct site *s, unsigned i)
{
	struct delivery_order o = { .manifest = s->manifest, .sequence = 7, .images = s->images, .n_images = 1 };

	(void)snprintf(o.job, sizeof(o.job), "job-%u", i);             /* fits */
	memcpy(o.device, s->lamps[i].device, sizeof(o.device));
	SIM_CHECK(s->driver->ops->start(s->driver, &o) == 0, "no start");
}

static uint64_t story(uint64_t seed)
{
	sim_begin(seed);
	struct site *s = site_new();

	for (unsigned i = 0; i < LAMPS; i++)
		order(s, i);
	if (!sim_run_until(is_done, s, LONGEST))
		for (unsigned i = 0; i < LAMPS; i++)
			SIM_CHECK(s->lamps[i].n_done, "%s is not done: %u links, %llu bytes, here %d", s->lamps[i].device, s->lamps[i].p.node->n_links,
				  (unsigned long long)smp_server_counts(s->lamps[i].p.server).bytes, s->lamps[i].p.node->is_here);
	for (unsigned i = 0; i < LAMPS; i++)
		lamp_check(s, &s->lamps[i]);
	if (getenv("DORMOUSE_SIM_VERBOSE"))
		describe(s);
	sim_run_to(sim_now() + SIM_SECOND);    /* the last reports are persisted */
	SIM_CHECK(fake_ble_links(s->ble) == 0, "links are open");
	site_free(s);
	return sim_end();
}

static void one(uint64_t seed)
{
	(void)story(seed);
}

static void many_nodes_on_few_connections_are_all_updated(void **state)
{
	(void)state;
	sim_each_seed(10, one);
}

static void a_node_that_never_says_a_word_is_given_up_with_a_hint(void **state)
{
	(void)state;
	sim_begin(1);
	struct site *s = site_new();

	s->lamps[1].p.is_deaf = true;
	order(s, 1);
	sim_run_to(30 * SIM_MINUTE);
	assert_int_equal(s->lamps[1].n_done, 1);
	assert_int_equal(s->lamps[1].result, 4);
	assert_non_null(strstr(s->lamps[1].reason, "may want a pairing"));
	site_free(s);
	(void)sim_end();
}

static void one_seed_tells_one_story(void **state)
{
	(void)state;
	assert_int_equal(story(3), story(3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_nodes_on_few_connections_are_all_updated),
		cmocka_unit_test(a_node_that_never_says_a_word_is_given_up_with_a_hint),
		cmocka_unit_test(one_seed_tells_one_story),
	};

	return cmocka_run_group_tests_name("sim/smp_ble", tests, NULL, NULL);
}
