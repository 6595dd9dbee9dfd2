/* Many nodes in one process, as the demo and the simulations run them. */
#include "gateway.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/tmpfile.h"
#include "codec/json.h"
#include "node/fleet.h"
#include "../scratch.h"

struct world {
	struct gateway g;
	char dir[64], status[96], keys[96], nodes[96];
	struct fleet_config c;
	struct fleet *fleet;
};

static void world_open(struct world *w, bool secure)
{
	*w = (struct world){ 0 };
	gateway_open(&w->g, secure);
	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/fleet-test-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	(void)snprintf(w->status, sizeof(w->status), "%s/status.json", w->dir);
	(void)snprintf(w->keys, sizeof(w->keys), "%s/keys", w->dir);
	(void)snprintf(w->nodes, sizeof(w->nodes), "%s/nodes", w->dir);
	w->c = (struct fleet_config){
		.gateway = w->g.uri, .name = "node", .dir = w->nodes, .count = 20, .lifetime_s = 3600, .speed = 1, .seed = 1, .szx = 6,
		.trust = { .proof = PROOF_SIGNATURE, .anchors = w->g.anchors, .has_vendor = true, .has_class = true },
		.timeout_s = 60, .status_file = w->status,
	};
	memcpy(w->c.trust.vendor_id, w->g.vendor, 16);
	memcpy(w->c.trust.class_id, w->g.class, 16);
}

static void world_close(struct world *w)
{
	gateway_close(&w->g);
	scratch_remove(w->dir);
}

/* Runs until the fleet stops the loop; its exit status. */
static int run(struct world *w)
{
	assert_int_equal(fleet_open(w->g.loop, &w->c, &w->fleet), 0);
	assert_int_equal(loop_run(w->g.loop), 0);
	int status = fleet_exit(w->fleet);
	w->fleet = fleet_close(w->fleet);
	return status;
}

static void assert_status(struct world *w, size_t count, size_t updated)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;
	size_t n;
	int64_t v;

	assert_int_equal(file_read(AT_FDCWD, w->status, 1024 * 1024, &bytes, &n), 0);
	assert_int_equal(json_parse(SPAN(bytes, n), &doc, NULL, 0), 0);
	assert_true(json_get_int(json_root(doc), "count", &v) && (size_t)v == count);
	assert_true(json_get_int(json_root(doc), "updated", &v) && (size_t)v == updated);
	assert_int_equal(json_n(json_get(json_root(doc), "nodes")), count);
}

static void twenty_nodes_of_which_eight_sleep_are_updated(void **state)
{
	struct world w;

	world_open(&w, false);
	w.c.sleepers = 8;
	w.c.sleep_s = 60;
	w.c.speed = 600;                       /* a tenth of a second */
	w.c.exit_when_updated = true;
	gateway_offer(&w.g, 2, 40000, false);
	assert_int_equal(run(&w), 0);
	assert_true(w.g.n_success >= 20);
	assert_int_equal(w.g.n_failure, 0);
	assert_status(&w, 20, 20);
	world_close(&w);
}

static void once_ends_when_there_is_nothing_more_to_do(void **state)
{
	struct world w;

	world_open(&w, false);
	w.c.count = 3;
	w.c.once = true;
	assert_int_equal(run(&w), 0);          /* no offer */
	assert_int_equal(w.g.n_checks, 3);
	assert_status(&w, 3, 0);
	gateway_offer(&w.g, 2, 5000, false);
	assert_int_equal(run(&w), 0);
	assert_status(&w, 3, 3);
	w.g.is_damaged = true;
	gateway_offer(&w.g, 3, 5000, false);
	assert_int_equal(run(&w), 1);          /* a failure is told */
	world_close(&w);
}

static void each_node_has_its_keys_in_the_key_file(void **state)
{
	struct world w;
	char psk[33], mac[33];
	static const char hex[] = "0123456789abcdef";

	world_open(&w, true);
	for (size_t i = 0; i < 16; i++) {
		psk[2 * i] = hex[w.g.psk[i] >> 4];
		psk[2 * i + 1] = hex[w.g.psk[i] & 15];
		mac[2 * i] = hex[w.g.mac_key[i] >> 4];
		mac[2 * i + 1] = hex[w.g.mac_key[i] & 15];
	}
	psk[32] = mac[32] = '\0';
	FILE *f = fopen(w.keys, "w");
	fprintf(f, "# names and keys\nnode-000 %s %s\nnode-001\t%s  %s\nsomebody-else %s\n\n", psk, mac, psk, mac, psk);
	fclose(f);
	w.c.count = 2;
	w.c.psk_file = w.keys;
	w.c.trust.proof = PROOF_MAC;
	w.c.exit_when_updated = true;
	w.g.with_mac = true;
	gateway_offer(&w.g, 2, 5000, false);
	assert_int_equal(run(&w), 0);
	assert_int_equal(w.g.n_failure, 0);
	f = fopen(w.keys, "w");
	fprintf(f, "node-000 not-hex\n");
	fclose(f);
	assert_true(fleet_open(w.g.loop, &w.c, &w.fleet) < 0);
	w.c.psk_file = "/nonexistent";
	assert_true(fleet_open(w.g.loop, &w.c, &w.fleet) < 0);
	world_close(&w);
}

static void the_time_may_be_over(void **state)
{
	struct world w;

	world_open(&w, false);
	w.c.count = 1;
	w.c.exit_when_updated = true;
	w.c.timeout_s = 1;
	assert_int_equal(run(&w), 3);
	w.c.dir = "/nonexistent/folder";
	assert_true(fleet_open(w.g.loop, &w.c, &w.fleet) < 0);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(twenty_nodes_of_which_eight_sleep_are_updated),
		cmocka_unit_test(once_ends_when_there_is_nothing_more_to_do),
		cmocka_unit_test(each_node_has_its_keys_in_the_key_file),
		cmocka_unit_test(the_time_may_be_over),
	};

	return cmocka_run_group_tests_name("node/fleet", tests, NULL, NULL);
}
