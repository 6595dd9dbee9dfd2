/* The reference node against a gateway on the loopback: every way to an image, and what may go wrong on it. */
#include "gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "node/node.h"
#include "../scratch.h"

enum { IMAGE_BYTES = 40000, PATIENCE_MS = 60000 };

struct world {
	struct gateway g;
	struct coap_client *client;
	struct node *node;
	struct node_trust trust;
	char dir[64];
	struct node_setup setup;
	size_t want;                           /* reports of success waited for */
	uint64_t stop_at;                      /* stop the loop when so much of the image is here; 0 = never */
};

static void world_open(struct world *w, bool secure)
{
	*w = (struct world){ .want = 1 };
	gateway_open(&w->g, secure);
	w->client = coap_client_new(w->g.loop);
	gateway_node(&w->g, &w->trust, w->dir, &w->setup);
	w->setup.hw = "B";
}

static void on_changed(void *ctx, struct node *n)
{
	struct world *w = ctx;

	if (w->stop_at && node_status(n).received_bytes >= w->stop_at) {
		w->stop_at = 0;
		loop_stop(w->g.loop);
	}
}

static void node_up(struct world *w)
{
	assert_int_equal(node_new(w->g.loop, w->client, &w->setup, on_changed, w, &w->node), 0);
}

static void node_down(struct world *w)
{
	w->node = node_free(w->node);
}

static void world_close(struct world *w)
{
	node_down(w);
	coap_client_free(w->client);
	gateway_close(&w->g);
	scratch_remove(w->dir);
}

static bool is_updated(void *ctx)
{
	struct world *w = ctx;

	return w->g.n_success >= w->want && node_status(w->node).phase == NODE_IDLE;
}

static bool has_failed(void *ctx)
{
	struct world *w = ctx;

	return w->g.n_failure >= 1;
}

static bool never(void *ctx)
{
	return false;
}

static void run_to_half(struct world *w)
{
	w->stop_at = IMAGE_BYTES / 2;
	node_up(w);
	(void)gateway_run(&w->g, never, w, PATIENCE_MS);
	assert_int_equal(w->stop_at, 0);
	assert_true(node_status(w->node).received_bytes < IMAGE_BYTES);
}

static bool is_watching(void *ctx)
{
	struct world *w = ctx;

	return node_status(w->node).state == NODE_WATCH;
}

static void assert_installed(struct world *w)
{
	char path[128];
	_cleanup_free_ uint8_t *got = malloc(w->g.image.n + 1);

	(void)snprintf(path, sizeof(path), "%s/slot-0", w->dir);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fread(got, 1, w->g.image.n + 1, f), w->g.image.n);
	fclose(f);
	assert_memory_equal(got, w->g.image.p, w->g.image.n);
}

static void a_node_registers_updates_and_reports(void **state)
{
	struct world w;

	world_open(&w, false);
	w.setup.start_sequence = 1;
	gateway_offer(&w.g, 2, IMAGE_BYTES, false);
	node_up(&w);
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_installed(&w);
	assert_int_equal(w.g.n_registrations, 2);              /* before and after the restart */
	assert_non_null(strstr(w.g.last_query, "ep=node-1&"));
	assert_non_null(strstr(w.g.last_query, "lt=3600&"));
	assert_non_null(strstr(w.g.last_query, "seq=2&"));
	assert_non_null(strstr(w.g.last_query, "ver=2.0&"));
	assert_non_null(strstr(w.g.last_query, "hw=B&"));
	assert_non_null(strstr(w.g.last_query, "wake=always&"));
	assert_non_null(strstr(w.g.last_query, "proof=signature&"));
	assert_non_null(strstr(w.g.last_query, "vid=" ));
	assert_int_equal(w.g.n_reports, 4);
	const unsigned want[4][2] = { { 1, 0 }, { 2, 0 }, { 3, 0 }, { 0, 1 } };
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(w.g.reports[i].state, want[i][0]);
		assert_int_equal(w.g.reports[i].result, want[i][1]);
		assert_true(digest_eq(&w.g.reports[i].manifest_digest, &w.g.manifest));
	}
	assert_true(w.g.reports[3].has_sequence && w.g.reports[3].sequence == 2);
	world_close(&w);
}

static void an_observing_node_hears_of_an_offer_at_once(void **state)
{
	struct world w;

	world_open(&w, false);
	node_up(&w);
	assert_true(gateway_run(&w.g, is_watching, &w, PATIENCE_MS));
	assert_int_equal(w.g.n_checks, 1);
	gateway_offer(&w.g, 2, IMAGE_BYTES, false);
	assert_true(gateway_run(&w.g, is_updated, &w, 40000)); /* before it would ask again (60 s) */
	w.want = 2;
	assert_true(gateway_run(&w.g, is_watching, &w, PATIENCE_MS));
	gateway_offer(&w.g, 3, 5000, false);
	assert_true(gateway_run(&w.g, is_updated, &w, 40000));
	assert_installed(&w);
	world_close(&w);
}

static void every_block_size_brings_the_same_image(void **state)
{
	for (uint8_t szx = 0; szx <= 6; szx++) {
		struct world w;
		world_open(&w, false);
		w.setup.szx = szx;
		gateway_offer(&w.g, 2, 1999, false);
		node_up(&w);
		assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
		assert_installed(&w);
		world_close(&w);
	}
}

static void a_node_goes_on_from_where_it_stopped(void **state)
{
	struct world w;

	world_open(&w, false);
	gateway_offer(&w.g, 2, IMAGE_BYTES, false);
	run_to_half(&w);
	node_down(&w);                         /* the process ends; flash stays */
	w.g.first_off = UINT64_MAX;
	node_up(&w);
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_true(w.g.first_off > IMAGE_BYTES / 2 - 1024 && w.g.first_off != UINT64_MAX);
	assert_int_equal(node_status(w.node).resumes, 1);
	assert_installed(&w);
	world_close(&w);
}

/* What was on flash is not what it was: the whole digest finds out, and the image is fetched once more from the start. */
static void a_damaged_half_is_fetched_again(void **state)
{
	struct world w;
	char path[200], hex[DIGEST_HEX_BYTES];

	world_open(&w, false);
	gateway_offer(&w.g, 2, IMAGE_BYTES, false);
	run_to_half(&w);
	node_down(&w);
	(void)snprintf(path, sizeof(path), "%s/part-%s", w.dir, digest_hex(&w.g.image_digest, hex));
	FILE *f = fopen(path, "r+");
	assert_non_null(f);
	fputs("flash wears out", f);
	fclose(f);
	node_up(&w);
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_int_equal(w.g.n_failure, 0);
	assert_installed(&w);
	world_close(&w);
}

static void a_tampered_image_is_an_integrity_failure(void **state)
{
	struct world w;

	world_open(&w, false);
	gateway_offer(&w.g, 2, IMAGE_BYTES, false);
	w.g.is_damaged = true;
	node_up(&w);
	assert_true(gateway_run(&w.g, has_failed, &w, PATIENCE_MS));
	const struct node_report *last = &w.g.reports[w.g.n_reports - 1];
	assert_int_equal(last->state, 0);
	assert_int_equal(last->result, 5);
	assert_non_null(strstr(w.g.report_reason[w.g.n_reports - 1], "digest"));
	assert_int_equal(w.g.n_success, 0);
	world_close(&w);
}

static void an_envelope_that_is_not_for_it_is_reported_with_its_reason(void **state)
{
	const struct { unsigned result; bool other_class, other_key; uint64_t runs; } cases[] = {
		{ 6, true, false, 0 }, { 5, false, true, 0 }, { 8, false, false, 7 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct world w, stranger;
		world_open(&w, false);
		world_open(&stranger, false);
		gateway_offer(&w.g, 2, 5000, false);
		w.trust.class_id[0] ^= cases[i].other_class;
		w.trust.anchors = cases[i].other_key ? stranger.g.anchors : w.g.anchors;
		w.setup.start_sequence = cases[i].runs;
		node_up(&w);
		assert_true(gateway_run(&w.g, has_failed, &w, PATIENCE_MS));
		assert_int_equal(w.g.reports[0].result, cases[i].result);
		assert_true(w.g.report_reason[0][0] != '\0');
		assert_int_equal(w.g.n_blocks, 0); /* nothing was fetched */
		world_close(&stranger);
		world_close(&w);
	}
}

static void a_node_with_a_shared_key_takes_the_gateways_mac(void **state)
{
	struct world w;

	world_open(&w, false);
	w.trust.proof = PROOF_MAC;
	w.setup.mac_key = SPAN_OF(w.g.mac_key);
	w.g.with_mac = true;
	gateway_offer(&w.g, 2, IMAGE_BYTES, false);
	node_up(&w);
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_installed(&w);
	assert_non_null(strstr(w.g.last_query, "proof=mac&"));
	world_close(&w);
}

static void dtls_with_a_pre_shared_key(void **state)
{
	struct world w;

	world_open(&w, true);
	w.setup.psk_identity = "node-1";
	w.setup.psk_key = SPAN_OF(w.g.psk);
	gateway_offer(&w.g, 2, IMAGE_BYTES, false);
	node_up(&w);
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_installed(&w);
	world_close(&w);
}

static void the_plain_suit_way_is_a_proxy_uri(void **state)
{
	struct world w;

	world_open(&w, false);
	w.setup.by_proxy_uri = true;
	gateway_offer(&w.g, 2, IMAGE_BYTES, false);
	node_up(&w);
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_installed(&w);
	world_close(&w);
}

static void an_integrated_image_needs_no_pull(void **state)
{
	struct world w;

	world_open(&w, false);
	gateway_offer(&w.g, 2, 3000, true);
	node_up(&w);
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_int_equal(w.g.n_blocks, 0);
	assert_installed(&w);
	world_close(&w);
}

static void a_recall_in_the_middle_is_no_failure(void **state)
{
	struct world w;

	world_open(&w, false);
	gateway_offer(&w.g, 2, IMAGE_BYTES, false);
	run_to_half(&w);
	gateway_recall(&w.g);
	assert_true(gateway_run(&w.g, is_watching, &w, PATIENCE_MS));
	assert_int_equal(w.g.n_failure + w.g.n_success, 0);
	assert_int_equal(node_status(w.node).phase, NODE_IDLE);
	gateway_offer(&w.g, 3, 5000, false);
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_installed(&w);
	world_close(&w);
}

struct silence {
	struct world *w;
	unsigned n_before, n_wakes;
	bool is_asleep, broken;
	unsigned n_sleeps;
};

/* Watches: no request between falling asleep and waking. */
static bool slept_ten_times(void *ctx)
{
	struct silence *s = ctx;
	bool asleep = node_status(s->w->node).state == NODE_SLEEP;
	unsigned wakes = node_status(s->w->node).wakes;

	if (asleep && s->is_asleep && wakes == s->n_wakes && s->w->g.n_requests != s->n_before)
		s->broken = true;
	s->n_sleeps += asleep && (!s->is_asleep || wakes != s->n_wakes);
	s->n_wakes = wakes;
	s->is_asleep = asleep;
	s->n_before = s->w->g.n_requests;
	return s->n_sleeps >= 10;
}

static void a_sleeper_is_silent_between_its_wakes(void **state)
{
	struct world w;
	struct silence s = { .w = &w };

	world_open(&w, false);
	w.setup.plan.sleep_ms = 40;
	w.setup.wake_period_s = 60;
	node_up(&w);
	assert_true(gateway_run(&w.g, slept_ten_times, &s, PATIENCE_MS));
	assert_false(s.broken);
	assert_int_equal(w.g.n_registrations, 1);
	assert_non_null(strstr(w.g.last_query, "wake=polls,60&"));
	gateway_offer(&w.g, 2, IMAGE_BYTES, false);
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	assert_installed(&w);
	world_close(&w);
}

static void lost_datagrams_only_cost_time(void **state)
{
	struct world w;

	world_open(&w, false);
	coap_client_set_loss(0.1, 42);         /* each loss costs a second or more: libcoap's shortest time-out */
	gateway_offer(&w.g, 2, 4000, false);
	node_up(&w);
	assert_true(gateway_run(&w.g, is_updated, &w, 180000));
	coap_client_set_loss(0, 0);
	assert_installed(&w);
	world_close(&w);
}

static void a_node_whose_power_fails_all_the_time_still_gets_there(void **state)
{
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct world w;
		world_open(&w, false);
		w.setup.plan.crash = 0.2;
		w.setup.plan.seed = seed;
		w.setup.szx = 4;
		gateway_offer(&w.g, 2, IMAGE_BYTES, false);
		node_up(&w);
		assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
		assert_int_equal(w.g.n_failure, 0);
		assert_installed(&w);
		world_close(&w);
	}
}

static void a_device_not_enrolled_waits(void **state)
{
	struct world w;

	world_open(&w, false);
	w.g.is_enrolled = false;
	w.setup.plan.watch_ms = 30;
	gateway_offer(&w.g, 2, 5000, false);
	node_up(&w);
	assert_true(gateway_run(&w.g, is_watching, &w, PATIENCE_MS));
	w.g.is_enrolled = true;
	assert_true(gateway_run(&w.g, is_updated, &w, PATIENCE_MS));
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_registers_updates_and_reports),
		cmocka_unit_test(an_observing_node_hears_of_an_offer_at_once),
		cmocka_unit_test(every_block_size_brings_the_same_image),
		cmocka_unit_test(a_node_goes_on_from_where_it_stopped),
		cmocka_unit_test(a_damaged_half_is_fetched_again),
		cmocka_unit_test(a_tampered_image_is_an_integrity_failure),
		cmocka_unit_test(an_envelope_that_is_not_for_it_is_reported_with_its_reason),
		cmocka_unit_test(a_node_with_a_shared_key_takes_the_gateways_mac),
		cmocka_unit_test(dtls_with_a_pre_shared_key),
		cmocka_unit_test(the_plain_suit_way_is_a_proxy_uri),
		cmocka_unit_test(an_integrated_image_needs_no_pull),
		cmocka_unit_test(a_recall_in_the_middle_is_no_failure),
		cmocka_unit_test(a_sleeper_is_silent_between_its_wakes),
		cmocka_unit_test(lost_datagrams_only_cost_time),
		cmocka_unit_test(a_node_whose_power_fails_all_the_time_still_gets_there),
		cmocka_unit_test(a_device_not_enrolled_waits),
	};

	return cmocka_run_group_tests_name("node/node", tests, NULL, NULL);
}
