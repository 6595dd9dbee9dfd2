/* The driver nordic-dfu, with a scripted node behind a radio that is none: into the bootloader and out of it (NDFU-4), both address
 * behaviours, neighbours that are left alone, lost links, permits, and what is reported when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "../nordic_make.h"
#include "../until.h"
#include "base/mem.h"
#include "base/text.h"
#include "delivery/nordic_dfu.h"
#include "fake_ble.h"
#include "nordic_node.h"

enum { IMAGE_BYTES = 9000, REPORTS_MAX = 8, UNTIL_MS = 20000, RESTART_MS = 60 };

#define OWN "ble-c0ffee000010"
#define BESIDE "ble-c0ffee000011"
#define FAR "ble-d00d00000001"
#define FARTHER "ble-d00d00000002"

#define UUID_(n_) { 0x8e, 0xc9, 0x00, (n_), 0xf3, 0x15, 0x4f, 0x60, 0x9f, 0xb8, 0x83, 0x88, 0x30, 0xda, 0xea, 0x50 }
#define LEGACY_(n_) { 0x00, 0x00, 0x15, (n_), 0x12, 0x12, 0xef, 0xde, 0x15, 0x23, 0x78, 0x5f, 0xea, 0xbc, 0xd1, 0x23 }
static const uint8_t service[] = GATT_UUID16(0xfe59), information[] = GATT_UUID16(0x180a), revision[] = GATT_UUID16(0x2a26);
static const uint8_t control[] = UUID_(1), packet[] = UUID_(2), nameless[] = UUID_(3), bonded[] = UUID_(4);
static const uint8_t legacy_service[] = LEGACY_(0x30), legacy_control[] = LEGACY_(0x31), legacy_packet[] = LEGACY_(0x32), legacy_version[] = LEGACY_(0x34);

struct report {
	unsigned state, result;
	char reason[200], version[65];
};

struct rig {
	struct loop *loop;
	struct worker_pool *workers;
	struct ble *ble;
	struct delivery_driver *driver;
	struct nordic_dfu_config config;
	struct buf package;
	struct digest manifest;
	struct delivery_image image;

	/* the node */
	struct nordic_node node;
	struct fake_node *own, *boot, *others[4];      /* own and boot may be one */
	bool is_bonded, is_legacy, has_no_dfu, takes_no_name, stays_away, stays_in_boot, refuses_entry, keeps_revision;
	bool is_boot;                          /* what it is now */
	uint16_t h_entry, h_revision, h_control, h_packet, h_version;
	struct loop_timer *restart, *advertise;
	bool becomes_boot, is_told_once;       /* advertisements that are as before are not told */
	char name[9];
	unsigned cut_at;                       /* packet */
	unsigned n_entries, n_updates;
	unsigned n_other_writes;               /* to nodes that are not ours */

	/* what was told */
	struct report reports[REPORTS_MAX];
	unsigned n_reports, n_used, n_open, n_links_before;
	int report_error;
	bool is_permitted;
	int node_error;
	const char *others_node;               /* of another device */
	uint64_t sent, total;
};

static uint8_t image_bytes[IMAGE_BYTES];

/* ---- the node ---- */

static void offer(struct rig *g)
{
	fake_node_offers_nothing(g->own);
	if (g->boot != g->own)
		fake_node_offers_nothing(g->boot);
	struct fake_node *n = g->is_boot ? g->boot : g->own;
	n->n.n_services = 0;
	if (g->is_boot) {
		const uint8_t *s = g->is_legacy ? legacy_service : service;
		memcpy(n->n.services[n->n.n_services++], s, BLE_UUID_BYTES);
		g->h_control = fake_node_offers(n, s, g->is_legacy ? legacy_control : control, GATT_WRITE | GATT_NOTIFY);
		g->h_packet = fake_node_offers(n, s, g->is_legacy ? legacy_packet : packet, GATT_WRITE_NO_RESPONSE);
		if (g->is_legacy)
			g->h_version = fake_node_offers(n, s, legacy_version, GATT_READ);
		(void)text_copy(n->n.name, sizeof(n->n.name), span_str(g->name[0] ? g->name : "DfuTarg")); /* fits */
	} else {
		g->h_revision = fake_node_offers(n, information, revision, GATT_READ);
		if (g->is_legacy) {
			g->h_entry = fake_node_offers(n, legacy_service, legacy_control, GATT_WRITE | GATT_NOTIFY);
			(void)fake_node_offers(n, legacy_service, legacy_packet, GATT_WRITE_NO_RESPONSE); /* not used in there */
			g->h_version = fake_node_offers(n, legacy_service, legacy_version, GATT_READ);
		} else if (!g->has_no_dfu) {
			g->h_entry = fake_node_offers(n, service, g->is_bonded ? bonded : nameless, GATT_WRITE | GATT_INDICATE);
		}
		(void)text_copy(n->n.name, sizeof(n->n.name), SPAN_LIT("tag")); /* fits */
	}
}

/* First it goes, then it comes back. */
static void on_restart(void *ctx)
{
	struct rig *g = ctx;
	struct fake_node *n = g->is_boot ? g->boot : g->own;

	if (n->is_here) {
		fake_node_end(n, -ECONNRESET);
		n->is_here = false;
		g->is_boot = g->becomes_boot;
		offer(g);
		loop_timer_set(g->restart, RESTART_MS);
	} else if (!g->stays_away) {
		fake_node_show(n, true);
	}
}

static void become(struct rig *g, bool is_boot, bool at_once)
{
	g->becomes_boot = is_boot;
	if (at_once)
		on_restart(g);
	else
		loop_timer_set(g->restart, 10);        /* what it answered is out by then */
}

static void on_advertise(void *ctx)
{
	struct rig *g = ctx;
	struct fake_node *n = g->is_boot ? g->boot : g->own;

	if (n->is_here && !g->is_told_once)
		n->n.seen_at = mono_now();
	loop_timer_set(g->advertise, 20);
}

static void on_node_restarts(void *ctx, bool is_application)
{
	struct rig *g = ctx;

	g->n_updates += is_application;
	become(g, !is_application || g->stays_in_boot, g->node.goes_silently);
}

static void on_node_answer(void *ctx, struct span value)
{
	struct rig *g = ctx;

	fake_node_notify(g->boot, g->h_control, value);
}

static void on_connected(void *ctx)
{
	struct rig *g = ctx;

	if (g->is_boot)
		nordic_node_link(&g->node);
}

static int entry_write(struct rig *g, struct span value)
{
	if (g->is_legacy) {
		assert_true(span_eq(value, SPAN_LIT("\x01\x04")));
		g->n_entries++;
		become(g, true, true);
		return 0;
	}
	if (value.p[0] == 2) {
		assert_false(g->is_bonded);
		if (!g->takes_no_name)
			assert_int_equal(text_copy(g->name, sizeof(g->name), span_sub(value, 2, 8)), 0);
		fake_node_notify(g->own, g->h_entry, g->takes_no_name ? SPAN_LIT("\x20\x02\x02") : SPAN_LIT("\x20\x02\x01"));
		return 0;
	}
	assert_true(span_eq(value, SPAN_LIT("\x01")));
	g->n_entries++;
	fake_node_notify(g->own, g->h_entry, g->refuses_entry ? SPAN_LIT("\x20\x01\x07") : SPAN_LIT("\x20\x01\x01"));
	if (!g->refuses_entry)
		become(g, true, false);
	return 0;
}

static int on_write(void *ctx, uint16_t handle, struct span value, bool with_response)
{
	struct rig *g = ctx;

	if (!g->is_boot)
		return handle == g->h_entry ? entry_write(g, value) : -EPERM;
	if (handle == g->h_control) {
		assert_true(with_response);
		nordic_node_command(&g->node, value);
	} else if (handle == g->h_packet) {
		assert_false(with_response);
		if (g->cut_at && g->node.n_packets + 1 == g->cut_at) {
			g->cut_at = 0;
			fake_node_end(g->boot, -ECONNRESET);
			return 0;
		}
		nordic_node_packet(&g->node, value);
	}
	return 0;
}

static int on_read(void *ctx, uint16_t handle, uint8_t ret[static GATT_VALUE_BYTES_MAX])
{
	struct rig *g = ctx;

	if (handle == g->h_version && g->is_legacy) {
		ret[0] = g->is_boot ? 8 : 1;
		ret[1] = 0;
		return 2;
	}
	if (g->is_boot || handle != g->h_revision)
		return -EPERM;
	memcpy(ret, g->n_updates && !g->keeps_revision ? "2.0" : "1.0", 3);
	return 3;
}

static const struct fake_node_ops node_ops = { .connected = on_connected, .write = on_write, .read = on_read };

static int on_other_write(void *ctx, uint16_t handle, struct span value, bool with_response)
{
	(void)handle;
	(void)value;
	(void)with_response;
	((struct rig *)ctx)->n_other_writes++;
	return 0;
}

static const struct fake_node_ops other_ops = { .write = on_other_write };

/* Somebody else's, in its bootloader. */
static struct fake_node *neighbour(struct rig *g, const char *id)
{
	struct fake_node *n = fake_node_new(g->ble, id, &other_ops, g);

	memcpy(n->n.services[n->n.n_services++], service, BLE_UUID_BYTES);
	(void)fake_node_offers(n, service, control, GATT_WRITE | GATT_NOTIFY); /* nobody asks for it */
	(void)fake_node_offers(n, service, packet, GATT_WRITE_NO_RESPONSE);
	return n;
}

/* ---- what the driver needs ---- */

static int read_image(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	struct rig *g = ctx;

	assert_true(off + n <= g->package.n);
	memcpy(ret, g->package.p + off, n);
	return 0;
}

static void release_image(void *ctx) { ((struct rig *)ctx)->n_open--; }

static int open_image(void *ctx, const struct digest *manifest, const struct digest *d, struct coap_body_reader *ret)
{
	struct rig *g = ctx;

	assert_true(digest_eq(manifest, &g->manifest));
	g->n_open++;
	*ret = (struct coap_body_reader){ .bytes = g->package.n, .read = read_image, .release = release_image, .ctx = g };
	return 0;
}

static void on_progress(void *ctx, const char *job, uint64_t sent, uint64_t total)
{
	struct rig *g = ctx;

	assert_string_equal(job, "job");
	assert_true(sent > g->sent && sent <= total);
	g->sent = sent;
	g->total = total;
}

static void on_report(void *ctx, const char *device, const struct node_report *r, delivery_done_fn *done, void *arg)
{
	struct rig *g = ctx;
	int error = g->report_error;

	assert_string_equal(device, "tag");
	g->report_error = 0;
	if (error == 0) {
		struct report *p = &g->reports[g->n_reports++];
		assert_true(g->n_reports <= REPORTS_MAX);
		p->state = r->state;
		p->result = r->result;
		assert_int_equal(text_copy(p->reason, sizeof(p->reason), r->reason), 0);
		assert_int_equal(text_copy(p->version, sizeof(p->version), r->version), 0);
	}
	done(arg, error);
}

static int on_node(void *ctx, const char *device, char ret[static BLE_ID_BYTES])
{
	struct rig *g = ctx;

	assert_string_equal(device, "tag");
	return g->node_error ? g->node_error : ble_id_parse(SPAN_LIT(OWN), ret);
}

static bool on_is_others(void *ctx, const char *node, const char *device)
{
	struct rig *g = ctx;

	(void)device;
	return g->others_node && strcmp(node, g->others_node) == 0;
}

static bool on_is_permitted(void *ctx, const char *device)
{
	(void)device;
	return ((struct rig *)ctx)->is_permitted;
}

static void on_used(void *ctx, const char *device, const char *job)
{
	assert_string_equal(device, "tag");
	assert_string_equal(job, "job");
	((struct rig *)ctx)->n_used++;
}

/* boot: the address of its bootloader */
static void rig_open(struct rig *g, const char *boot, bool is_legacy)
{
	*g = (struct rig){ .is_legacy = is_legacy, .is_bonded = strcmp(boot, OWN) == 0, .image = { .bytes = 1 } };
	for (size_t i = 0; i < IMAGE_BYTES; i++)
		image_bytes[i] = (uint8_t)(i * 13 + i / 250);
	g->loop = loop_new();
	g->workers = worker_pool_new(g->loop, 1);
	g->ble = fake_ble_new(g->loop);
	g->restart = loop_timer_new(g->loop, on_restart, g);
	g->advertise = loop_timer_new(g->loop, on_advertise, g);
	loop_timer_set(g->advertise, 0);
	if (is_legacy)
		make_legacy_package(&g->package, SPAN_OF(image_bytes));
	else
		make_package(&g->package, &(struct make_init){ .image = SPAN_OF(image_bytes), .version = 7 });
	g->manifest = digest_of(SPAN_LIT("manifest"));
	nordic_node_init(&g->node);
	g->node.is_legacy = is_legacy;
	g->node.answer = on_node_answer;
	g->node.restarts = on_node_restarts;
	g->node.ctx = g;
	g->own = fake_node_new(g->ble, OWN, &node_ops, g);
	g->boot = g->is_bonded ? g->own : fake_node_new(g->ble, boot, &node_ops, g);
	if (strcmp(boot, BESIDE) != 0)
		g->others[0] = fake_node_new(g->ble, BESIDE, &other_ops, g);
	g->own->is_here = true;
	offer(g);
	g->config = (struct nordic_dfu_config){ .loop = g->loop, .workers = g->workers, .ble = g->ble,
		.settings = { .prn = 12, .answer_ms = 2000, .restart_s = 2 }, .source = { .open_image = open_image, .ctx = g },
		.sink = { .progress = on_progress, .report = on_report, .ctx = g }, .node = on_node, .is_others = on_is_others,
		.is_permitted = on_is_permitted, .used = on_used, .ctx = g };
}

static void rig_start(struct rig *g)
{
	struct delivery_order o = { .job = "job", .device = "tag", .manifest = g->manifest, .sequence = 3, .images = &g->image, .n_images = 1 };

	if (!g->driver)
		assert_int_equal(nordic_dfu_open(&g->config, &g->driver), 0);
	assert_int_equal(g->driver->ops->start(g->driver, &o), 0);
}

static void rig_close(struct rig *g)
{
	if (g->driver)
		g->driver = g->driver->ops->close(g->driver);
	g->workers = worker_pool_free(g->workers);
	assert_int_equal(g->n_open, 0);
	assert_int_equal(fake_ble_links(g->ble), 0);
	assert_int_equal(fake_ble_searches(g->ble), 0);
	loop_timer_free(g->restart);
	loop_timer_free(g->advertise);
	fake_ble_free(g->ble);
	loop_free(g->loop);
	nordic_node_done(&g->node);
	buf_done(&g->package);
}

static bool is_over(void *ctx)
{
	const struct rig *g = ctx;

	return g->n_reports && g->reports[g->n_reports - 1].state == 0;
}

static const struct report *last(const struct rig *g) { return &g->reports[g->n_reports - 1]; }

static void run(struct rig *g)
{
	rig_start(g);
	assert_true(until(g->loop, is_over, g, UNTIL_MS));
}

static void assert_updated(struct rig *g)
{
	if (last(g)->result != 1)
		fail_msg("%u: %s", last(g)->result, last(g)->reason);
	assert_int_equal(g->n_updates, 1);
	assert_true(span_eq(buf_span(&g->node.installed[g->node.n_installed - 1]), SPAN_OF(image_bytes)));
	assert_int_equal(g->n_reports, 3);
	assert_true(g->reports[0].state == 2 && g->reports[1].state == 3 && g->reports[0].result == 0 && g->reports[1].result == 0);
	assert_true(g->sent == IMAGE_BYTES && g->total == IMAGE_BYTES);
	assert_int_equal(g->n_other_writes, 0);
}

static void assert_refused(struct rig *g, unsigned result, const char *says)
{
	if (last(g)->result != result || !strstr(last(g)->reason, says))
		fail_msg("%u: %s", last(g)->result, last(g)->reason);
	assert_int_equal(g->n_other_writes, 0);
}

/* ---- the way it goes ---- */

static void a_bonded_node_is_updated_at_its_own_address(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, OWN, false);
	run(&g);
	assert_updated(&g);
	assert_string_equal(last(&g)->version, "2.0"); /* BLZ-12 */
	assert_string_equal(last(&g)->reason, "");
	assert_int_equal(g.n_entries, 1);
	assert_true(g.own->n_fresh >= 2);
	rig_close(&g);
}

/* NDFU-4 */
static void a_node_without_bonds_is_found_at_the_next_address(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, BESIDE, false);
	g.takes_no_name = true;
	run(&g);
	assert_updated(&g);
	rig_close(&g);
}

static void a_bootloader_is_known_by_the_name_we_gave_it(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, FAR, false);
	struct fake_node *other = neighbour(&g, FARTHER); /* comes up in the same time */
	other->is_here = true;
	run(&g);
	assert_updated(&g);
	assert_int_equal(strlen(g.name), 8);
	assert_int_equal(other->n_links, 0);
	rig_close(&g);
}

static void a_bootloader_at_another_address_is_taken_when_it_is_the_only_one(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, FAR, false);
	g.takes_no_name = true;
	struct fake_node *before = neighbour(&g, FARTHER); /* was there before */
	before->is_here = true;
	run(&g);
	assert_updated(&g);
	assert_int_equal(before->n_links, 0);
	rig_close(&g);
}

static bool is_in_boot(void *ctx)
{
	return ((struct rig *)ctx)->is_boot;
}

static void two_candidates_are_told_and_left_alone(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, FAR, false);
	g.takes_no_name = true;
	struct fake_node *other = neighbour(&g, FARTHER);
	rig_start(&g);
	assert_true(until(g.loop, is_in_boot, &g, UNTIL_MS));
	assert_true(until(g.loop, is_over, &g, 400) == false);
	other->n.seen_at = mono_now();
	fake_node_show(other, true);
	assert_true(until(g.loop, is_over, &g, UNTIL_MS));
	assert_refused(&g, 8, "it may be either");
	assert_non_null(strstr(last(&g)->reason, FAR));
	assert_non_null(strstr(last(&g)->reason, FARTHER));
	assert_true(other->n_links == 0 && g.boot->n_links == 0);
	rig_close(&g);
}

static void one_that_is_much_nearer_is_not_taken(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, FAR, false);
	g.takes_no_name = true;
	g.boot->n.rssi = g.own->n.rssi + NORDIC_DFU_RSSI_SLACK_DB + 1;
	run(&g);
	assert_refused(&g, 4, "was not found in its bootloader");
	rig_close(&g);
}

static void a_neighbour_at_the_next_address_is_not_updated(void **state)
{
	for (unsigned is_device = 0; is_device < 2; is_device++) {
		struct rig g;

		(void)state;
		rig_open(&g, OWN, false);
		memcpy(g.others[0]->n.services[g.others[0]->n.n_services++], service, BLE_UUID_BYTES);
		(void)fake_node_offers(g.others[0], service, control, GATT_WRITE | GATT_NOTIFY); /* nobody asks for it */
		(void)fake_node_offers(g.others[0], service, packet, GATT_WRITE_NO_RESPONSE);
		g.others[0]->is_here = true;
		g.others_node = is_device ? BESIDE : NULL;
		run(&g);
		assert_updated(&g);
		assert_int_equal(g.others[0]->n_links, 0);
		rig_close(&g);
	}
}

static void a_node_that_is_in_its_bootloader_is_gone_on_with(void **state)
{
	static const char *const places[] = { OWN, BESIDE };
	(void)state;

	for (unsigned i = 0; i < 2; i++) {
		struct rig g;
		rig_open(&g, places[i], false);
		g.own->is_here = false;
		g.is_boot = true;
		g.boot->is_here = true;
		offer(&g);
		run(&g);
		assert_updated(&g);
		assert_int_equal(g.n_entries, 0);
		rig_close(&g);
	}
}

static void anothers_bootloader_at_the_next_address_is_not_taken_for_it(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, BESIDE, false);
	g.own->is_here = false;
	g.is_boot = g.boot->is_here = true;
	g.others_node = BESIDE;
	offer(&g);
	rig_start(&g);
	assert_false(until(g.loop, is_over, &g, 500)); /* it waits for its own */
	assert_int_equal(g.boot->n_links, 0);
	rig_close(&g);
}

static bool is_waiting(void *ctx)
{
	(void)ctx;
	return false;
}

static void a_node_out_of_range_is_waited_for(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, OWN, false);
	g.own->is_here = false;
	rig_start(&g);
	(void)until(g.loop, is_waiting, NULL, 300); /* nothing comes of it */
	assert_int_equal(g.n_reports, 0);
	fake_node_show(g.own, true);
	assert_true(until(g.loop, is_over, &g, UNTIL_MS));
	assert_updated(&g);
	rig_close(&g);
}

/* ---- links ---- */

static void lost_links_are_gone_on_with(void **state)
{
	static const unsigned cuts[] = { 1, 2, 10, 19, 30, 38 };
	(void)state;

	for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
		struct rig g;
		rig_open(&g, i % 2 ? BESIDE : OWN, false);
		g.cut_at = cuts[i];
		g.own->stream_room = g.boot->stream_room = 3;
		g.own->chunk_max = g.boot->chunk_max = 244;
		run(&g);
		assert_updated(&g);
		assert_int_equal(g.node.n_links, 2);
		assert_int_equal(g.n_entries, 1);
		rig_close(&g);
	}
}

static void links_that_do_not_come_up_are_tried_again(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, BESIDE, false);
	g.boot->connect_error = -ETIMEDOUT;
	g.boot->n_connect_errors = 3;
	run(&g);
	assert_updated(&g);
	rig_close(&g);
}

static void a_node_that_is_not_told_of_again_is_tried_where_it_should_be(void **state)
{
	static const char *const places[] = { OWN, BESIDE };
	(void)state;

	for (unsigned i = 0; i < 2; i++) {
		struct rig g;
		rig_open(&g, places[i], false);
		g.is_told_once = true;
		g.cut_at = 20;
		run(&g);
		assert_updated(&g);
		assert_int_equal(g.node.n_links, 2);
		rig_close(&g);
	}
}

static void a_restart_without_an_answer_is_believed_by_the_revision(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, OWN, false);
	g.node.goes_silently = true;
	run(&g);
	assert_updated(&g);
	assert_int_equal(g.n_entries, 1);
	rig_close(&g);
}

static bool has_moved(void *ctx)
{
	return ((struct rig *)ctx)->sent > 0;
}

static void bluetoothd_may_be_away_for_a_while(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, OWN, false);
	g.own->stream_room = 1;
	rig_start(&g);
	assert_true(until(g.loop, has_moved, &g, UNTIL_MS));
	fake_ble_set_health(g.ble, BLE_NO_BLUEZ);
	assert_false(until(g.loop, is_over, &g, 2500)); /* longer than restart_s */
	fake_ble_set_health(g.ble, BLE_READY);
	assert_true(until(g.loop, is_over, &g, UNTIL_MS));
	assert_updated(&g);
	rig_close(&g);
}

/* ---- ends ---- */

static void a_node_that_stays_in_its_bootloader_is_no_success(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, OWN, false);
	g.stays_in_boot = true;
	run(&g);
	assert_refused(&g, 8, "did not start the new image");
	rig_close(&g);
}

static bool is_applying(void *ctx)
{
	const struct rig *g = ctx;

	return g->n_reports == 2;
}

static void an_application_that_is_not_seen_is_no_success(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, BESIDE, false);
	rig_start(&g);
	assert_true(until(g.loop, is_applying, &g, UNTIL_MS));
	g.stays_away = true;
	assert_true(until(g.loop, is_over, &g, UNTIL_MS));
	assert_refused(&g, 8, "unverified");
	rig_close(&g);
}

static void a_bootloader_that_does_not_come_is_told(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, BESIDE, false);
	g.stays_away = true;
	run(&g);
	assert_refused(&g, 4, "was not found in its bootloader");
	rig_close(&g);
}

static void the_same_revision_is_told(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, OWN, false);
	g.keeps_revision = true;
	run(&g);
	assert_updated(&g);
	assert_non_null(strstr(last(&g)->reason, "as before"));
	assert_string_equal(last(&g)->version, "1.0");
	rig_close(&g);
}

/* NDFU-6 */
static void what_the_node_refuses_is_in_the_report(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, BESIDE, false);
	g.node.version = 8;                    /* the package has 7 */
	run(&g);
	assert_refused(&g, 8, "lower than the one on the node");
	assert_int_equal(g.n_reports, 1);
	rig_close(&g);
}

static void a_refused_entry_is_told(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, OWN, false);
	g.refuses_entry = true;
	run(&g);
	assert_refused(&g, 8, "paired with first");
	rig_close(&g);
}

static void a_node_that_wants_a_bond_is_told(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, OWN, false);
	g.own->wants_bond = true;
	run(&g);
	assert_refused(&g, 8, "ble.pairing");
	rig_close(&g);
}

static void a_node_without_dfu_is_told(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, OWN, false);
	g.has_no_dfu = true;
	offer(&g);
	run(&g);
	assert_refused(&g, 9, "no DFU service");
	rig_close(&g);
}

static void what_cannot_be_is_refused_before_radio_is_used(void **state)
{
	static const struct { bool no_ble; int node_error; size_t cut; unsigned result; const char *says; } rows[] = {
		{ .no_ble = true, .result = 8, .says = "enabled = true in [ble]" },
		{ .node_error = -EDESTADDRREQ, .result = 7, .says = "has no address" },
		{ .node_error = -EINVAL, .result = 7, .says = "not one of Bluetooth" },
		{ .cut = 1, .result = 6, .says = "no sound zip" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct rig g;
		rig_open(&g, OWN, false);
		if (rows[i].no_ble)
			g.config.ble = NULL;
		g.node_error = rows[i].node_error;
		g.package.n -= rows[i].cut;
		run(&g);
		assert_refused(&g, rows[i].result, rows[i].says);
		assert_int_equal(g.own->n_links, 0);
		rig_close(&g);
	}
}

/* ---- Legacy DFU ---- */

static void legacy_dfu_needs_a_permit(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, OWN, true);
	run(&g);
	assert_refused(&g, 6, "[[permit]]");
	assert_true(g.own->n_links == 0 && g.n_used == 0);
	rig_close(&g);
}

static void with_a_permit_legacy_dfu_is_used_and_told(void **state)
{
	static const char *const places[] = { OWN, BESIDE };
	(void)state;

	for (unsigned i = 0; i < 2; i++) {
		struct rig g;
		rig_open(&g, places[i], true);
		g.is_permitted = true;
		g.cut_at = i ? 100 : 0;        /* and over a lost link */
		run(&g);
		assert_updated(&g);
		assert_int_equal(g.n_used, 1);
		assert_int_equal(g.n_entries, 1);
		rig_close(&g);
	}
}

static void a_package_for_the_other_protocol_is_refused(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, OWN, true);
	buf_clear(&g.package);
	make_package(&g.package, &(struct make_init){ .image = SPAN_OF(image_bytes) });
	g.is_permitted = true;
	run(&g);
	assert_refused(&g, 6, "Legacy DFU only");
	rig_close(&g);
	rig_open(&g, OWN, false);
	buf_clear(&g.package);
	make_legacy_package(&g.package, SPAN_OF(image_bytes));
	g.is_permitted = true;
	run(&g);
	assert_refused(&g, 6, "wants Secure DFU");
	assert_int_equal(g.n_used, 0);
	rig_close(&g);
}

/* ---- orders ---- */

static void a_report_that_was_not_persisted_is_given_again(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, OWN, false);
	g.report_error = -EIO;
	run(&g);
	assert_updated(&g);
	rig_close(&g);
}

static void a_cancelled_order_says_nothing_any_more(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, OWN, false);
	g.node.mute_at = 9;                    /* behind the first object */
	rig_start(&g);
	rig_start(&g);                         /* the same again is nothing new */
	assert_true(until(g.loop, has_moved, &g, UNTIL_MS));
	g.driver->ops->cancel(g.driver, "tag", "another");
	assert_int_equal(fake_ble_links(g.ble), 1);
	g.driver->ops->cancel(g.driver, "tag", "job");
	assert_int_equal(fake_ble_links(g.ble), 0);
	g.driver->ops->cancel(g.driver, "tag", "job");
	(void)until(g.loop, is_waiting, NULL, 100); /* nothing comes */
	assert_int_equal(g.n_reports, 0);
	rig_close(&g);
}

static bool is_open_now(void *ctx)
{
	return ((struct rig *)ctx)->n_open > 0;
}

static void it_may_close_while_a_worker_reads(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, OWN, false);
	rig_start(&g);
	(void)until(g.loop, is_open_now, &g, 50); /* or it has read already: both are well */
	g.driver = g.driver->ops->close(g.driver);
	rig_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bonded_node_is_updated_at_its_own_address),
		cmocka_unit_test(a_node_without_bonds_is_found_at_the_next_address),
		cmocka_unit_test(a_bootloader_is_known_by_the_name_we_gave_it),
		cmocka_unit_test(a_bootloader_at_another_address_is_taken_when_it_is_the_only_one),
		cmocka_unit_test(two_candidates_are_told_and_left_alone),
		cmocka_unit_test(one_that_is_much_nearer_is_not_taken),
		cmocka_unit_test(a_neighbour_at_the_next_address_is_not_updated),
		cmocka_unit_test(a_node_that_is_in_its_bootloader_is_gone_on_with),
		cmocka_unit_test(anothers_bootloader_at_the_next_address_is_not_taken_for_it),
		cmocka_unit_test(a_node_out_of_range_is_waited_for),
		cmocka_unit_test(lost_links_are_gone_on_with),
		cmocka_unit_test(links_that_do_not_come_up_are_tried_again),
		cmocka_unit_test(a_node_that_is_not_told_of_again_is_tried_where_it_should_be),
		cmocka_unit_test(a_restart_without_an_answer_is_believed_by_the_revision),
		cmocka_unit_test(bluetoothd_may_be_away_for_a_while),
		cmocka_unit_test(a_node_that_stays_in_its_bootloader_is_no_success),
		cmocka_unit_test(an_application_that_is_not_seen_is_no_success),
		cmocka_unit_test(a_bootloader_that_does_not_come_is_told),
		cmocka_unit_test(the_same_revision_is_told),
		cmocka_unit_test(what_the_node_refuses_is_in_the_report),
		cmocka_unit_test(a_refused_entry_is_told),
		cmocka_unit_test(a_node_that_wants_a_bond_is_told),
		cmocka_unit_test(a_node_without_dfu_is_told),
		cmocka_unit_test(what_cannot_be_is_refused_before_radio_is_used),
		cmocka_unit_test(legacy_dfu_needs_a_permit),
		cmocka_unit_test(with_a_permit_legacy_dfu_is_used_and_told),
		cmocka_unit_test(a_package_for_the_other_protocol_is_refused),
		cmocka_unit_test(a_report_that_was_not_persisted_is_given_again),
		cmocka_unit_test(a_cancelled_order_says_nothing_any_more),
		cmocka_unit_test(it_may_close_while_a_worker_reads),
	};
	return cmocka_run_group_tests_name("delivery/nordic_dfu", tests, NULL, NULL);
}
