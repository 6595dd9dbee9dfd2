/* The directory over CoAP on 127.0.0.1, with a store behind it and our client in the same loop. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "directory/rd_coap.h"
#include "io/coap_client.h"
#include "../scratch.h"

enum { WAIT_MS = 20000, MANY = 3000, LINK = sizeof("<coap://h/a>;rt=x,") - 1 };

struct got {
	int error, n;
	uint8_t code;
	int64_t max_age_s;
	struct buf body;
	char location[64];
	struct coap_etag etag;
};

struct world {
	char dir[64], plain[80], secure[80];
	struct loop *loop;
	struct db *db;
	struct loop_io *db_io;
	struct coap_endpoint *endpoint;
	struct registry *registry;
	struct devices *devices;
	struct rd_coap *rd;
	struct coap_client *client;
	struct coap_session *session, *alice, *bob;
	struct got got, seen;                  /* of calls; of the observation */
	int n_wanted, n_seen_wanted;
	bool hold_commits;
};

static void on_db(void *ctx, int fd, unsigned what)
{
	struct world *w = ctx;

	(void)fd;
	(void)what;
	if (!w->hold_commits)
		db_dispatch(w->db);
}

static int on_psk(void *ctx, struct span identity, uint8_t *ret, size_t max)
{
	return devices_psk(((struct world *)ctx)->devices, identity, ret, max);
}

static void start(struct world *w)
{
	static const char *const listen[] = { "coap://127.0.0.1:0", "coaps://127.0.0.1:0" };
	int error;

	assert_int_equal(db_open(w->dir, &w->db), 0);
	w->db_io = loop_io_new(w->loop, db_fd(w->db), LOOP_READ, on_db, w);
	w->endpoint = coap_endpoint_new(w->loop, &(struct coap_endpoint_config){
		.listen = listen, .n_listen = 2, .psk = on_psk, .psk_ctx = w, .max_sessions = 100, .session_timeout_s = 60, .max_handshakes = 10,
		.block1_total_bytes = 1 << 20, .block1_peer_bytes = 1 << 18, .max_observers = 100, .receive_buffer_bytes = 1 << 20 }, &error);
	assert_non_null(w->endpoint);
	assert_int_equal(devices_open(&(struct devices_config){ .db = w->db, .open = true }, &w->devices), 0);
	w->registry = registry_new(&(struct registry_limits){ .max_links_bytes = 8000 }, w->db);
	assert_true(registry_load(w->registry, (struct registry_time){ mono_now(), wall_now() }) >= 0);
	assert_int_equal(rd_coap_open(&(struct rd_coap_config){
		.loop = w->loop, .endpoint = w->endpoint, .db = w->db, .registry = w->registry, .devices = w->devices, .path = "rd",
		.lookup_ep_path = "rd-lookup/ep", .lookup_res_path = "rd-lookup/res", .durable = true, .max_links_bytes = 8000 }, &w->rd), 0);
	strcpy(w->plain, coap_endpoint_address(w->endpoint, 0));
	strcpy(w->secure, coap_endpoint_address(w->endpoint, 1));
	w->client = coap_client_new(w->loop);
	assert_int_equal(coap_session_open(w->client, &(struct coap_session_config){ .uri = w->plain }, &w->session), 0);
}

static void stop(struct world *w)
{
	w->session = coap_session_close(w->session);
	if (w->alice)
		w->alice = coap_session_close(w->alice);
	if (w->bob)
		w->bob = coap_session_close(w->bob);
	w->client = coap_client_free(w->client);
	w->rd = rd_coap_close(w->rd);
	w->registry = registry_free(w->registry);
	w->devices = devices_close(w->devices);
	w->endpoint = coap_endpoint_free(w->endpoint);
	w->db_io = loop_io_free(w->db_io);
	w->db = db_close(w->db);
}

static int setup(void **state)
{
	struct world *w = NEW(struct world);

	strcpy(w->dir, "/tmp/dormouse-rd-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->loop = loop_new();
	start(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	stop(w);
	loop_free(w->loop);
	buf_done(&w->got.body);
	buf_done(&w->seen.body);
	scratch_remove(w->dir);
	free(w);
	return 0;
}

static void take(struct got *g, const struct coap_call_result *r)
{
	g->n++;
	g->error = r->error;
	g->code = r->code;
	g->max_age_s = r->max_age_s;
	g->etag = r->etag;
	buf_clear(&g->body);
	buf_add(&g->body, r->body);
	(void)snprintf(g->location, sizeof(g->location), "%s", r->location ? r->location : ""); /* fits */
}

static void on_call(void *ctx, const struct coap_call_result *r)
{
	struct world *w = ctx;

	take(&w->got, r);
	if (w->got.n >= w->n_wanted)
		loop_stop(w->loop);
}

static void on_seen(void *ctx, const struct coap_call_result *r)
{
	struct world *w = ctx;

	take(&w->seen, r);
	if (w->seen.n >= w->n_seen_wanted)
		loop_stop(w->loop);
}

static void begin(struct world *w, struct coap_session *s, uint8_t method, const char *path, const char *const *query, struct span body)
{
	struct coap_call_request q = { .method = method, .path = path, .query = query, .accept = COAP_CF_NONE, .body = body, .szx = 6,
				       .content_format = body.n ? COAP_CF_LINK : COAP_CF_NONE, .body_max = 1 << 20 };

	assert_int_equal(coap_call(s, &q, on_call, w, NULL), 0);
}

static uint8_t ask_on(struct world *w, struct coap_session *s, uint8_t method, const char *path, const char *const *query, const char *body)
{
	w->got.n = 0;
	w->n_wanted = 1;
	begin(w, s, method, path, query, span_str(body));
	assert_int_equal(loop_run_for(w->loop, WAIT_MS), 0);
	assert_int_equal(w->got.error, 0);
	return w->got.code;
}

#define QUERY(...) (const char *const[]){ __VA_ARGS__, NULL }

static uint8_t ask(struct world *w, uint8_t method, const char *path, const char *const *query, const char *body)
{
	return ask_on(w, w->session, method, path, query, body);
}

static struct coap_session *open_as(struct world *w, const char *identity)
{
	struct credential c = { .kind = CREDENTIAL_PSK, .roles = ROLE_DEVICE, .n_secret = 16 };
	struct coap_session *s;

	strcpy(c.identity, identity);
	memset(c.secret, identity[0], 16);
	assert_int_equal(devices_credential_put(w->devices, &c, NULL, NULL), 0);
	assert_int_equal(coap_session_open(w->client, &(struct coap_session_config){ .uri = w->secure, .psk_identity = identity,
		.psk_key = SPAN(c.secret, 16) }, &s), 0);
	return s;
}

static void the_directory_is_discovered(void **state) /* RD-1 RD-63 */
{
	struct world *w = *state;

	assert_int_equal(ask(w, COAP_M_GET, ".well-known/core", QUERY("rt=core.rd*"), ""), COAP_205_CONTENT);
	assert_string_equal(buf_str(&w->got.body), "</rd>;rt=\"core.rd\";ct=40,</rd-lookup/ep>;rt=\"core.rd-lookup-ep\";ct=40;obs,"
			    "</rd-lookup/res>;rt=\"core.rd-lookup-res\";ct=40;obs");
	assert_int_equal(ask(w, COAP_M_GET, ".well-known/core", QUERY("rt=core.rd-lookup*"), ""), COAP_205_CONTENT);
	assert_null(strstr(buf_str(&w->got.body), "</rd>"));
}

static void an_answer_waits_for_its_commit_and_what_it_says_survives(void **state) /* RD-20 RD-50 */
{
	struct world *w = *state;
	char at[64];

	w->hold_commits = true;
	w->got.n = 0;
	w->n_wanted = 1;
	begin(w, w->session, COAP_M_POST, "rd", QUERY("ep=node1", "lt=1000", "et=a"), SPAN_LIT("</a>;rt=x"));
	assert_int_equal(loop_run_for(w->loop, 300), -ETIMEDOUT);
	assert_int_equal(w->got.n, 0);
	assert_int_equal(registry_counts(w->registry).n_endpoints, 1);
	w->hold_commits = false;
	assert_int_equal(loop_run_for(w->loop, WAIT_MS), 0);
	assert_int_equal(w->got.code, COAP_201_CREATED);
	strcpy(at, w->got.location);
	assert_true(strncmp(at, "/rd/", 4) == 0);
	stop(w);
	start(w);
	assert_int_equal(ask(w, COAP_M_GET, "rd-lookup/ep", QUERY("et=a"), ""), COAP_205_CONTENT);
	assert_non_null(strstr(buf_str(&w->got.body), at));
	assert_non_null(devices_get(w->devices, "node1"));
	assert_int_equal(ask(w, COAP_M_POST, at, NULL, ""), COAP_204_CHANGED);
	assert_int_equal(ask(w, COAP_M_DELETE, at, NULL, ""), COAP_202_DELETED);
	assert_int_equal(ask(w, COAP_M_DELETE, at, NULL, ""), COAP_404_NOT_FOUND);
	stop(w);
	start(w);
	assert_int_equal(ask(w, COAP_M_POST, at, NULL, ""), COAP_404_NOT_FOUND);
}

static void a_large_registration_comes_and_goes_in_blocks(void **state) /* RD-31 RD-67 BW-4 */
{
	struct world *w = *state;
	_cleanup_buf_ struct buf links = { 0 }, too_many = { 0 };

	for (int i = 0; i < 100; i++)
		buf_printf(&links, "%s</sensors/%d>;rt=\"sensor\";title=\"number %d\"", i ? "," : "", i, i);
	assert_int_equal(ask(w, COAP_M_POST, "rd", QUERY("ep=big"), buf_str(&links)), COAP_201_CREATED);
	assert_int_equal(ask(w, COAP_M_GET, w->got.location, NULL, ""), COAP_205_CONTENT);
	assert_string_equal(buf_str(&w->got.body), buf_str(&links));
	buf_printf(&too_many, "</%08000d>", 0);
	assert_int_equal(ask(w, COAP_M_POST, "rd", QUERY("ep=huge"), buf_str(&too_many)), COAP_413_TOO_LARGE);
	assert_int_equal(registry_counts(w->registry).n_endpoints, 1);
}

static void observers_hear_of_what_matches_and_of_nothing_else(void **state) /* RD-63 */
{
	struct world *w = *state;
	struct coap_call_request q = { .method = COAP_M_GET, .path = "rd-lookup/res", .query = QUERY("rt=a"), .accept = COAP_CF_NONE,
				       .content_format = COAP_CF_NONE, .observe = true, .szx = 6 };
	struct coap_call *observation;
	char at[64];

	w->n_seen_wanted = 1;
	assert_int_equal(coap_call(w->session, &q, on_seen, w, &observation), 0);
	assert_int_equal(loop_run_for(w->loop, WAIT_MS), 0);
	assert_int_equal(w->seen.code, COAP_205_CONTENT);
	assert_string_equal(buf_str(&w->seen.body), "");
	assert_int_equal(ask(w, COAP_M_POST, "rd", QUERY("ep=b", "base=coap://b"), "</b>;rt=b"), COAP_201_CREATED);
	w->n_seen_wanted = 2;
	assert_int_equal(loop_run_for(w->loop, 400), -ETIMEDOUT); /* more than the 100 ms in which notifications are gathered */
	assert_int_equal(w->seen.n, 1);
	assert_int_equal(ask(w, COAP_M_POST, "rd", QUERY("ep=a", "base=coap://a"), "</a>;rt=a"), COAP_201_CREATED);
	strcpy(at, w->got.location);
	if (w->seen.n < 2)
		assert_int_equal(loop_run_for(w->loop, WAIT_MS), 0);
	assert_string_equal(buf_str(&w->seen.body), "<coap://a/a>;rt=a");
	w->n_seen_wanted = 3;
	assert_int_equal(ask(w, COAP_M_POST, at, NULL, ""), COAP_204_CHANGED); /* a refresh changes nothing */
	assert_int_equal(ask(w, COAP_M_DELETE, at, NULL, ""), COAP_202_DELETED);
	if (w->seen.n < 3)
		assert_int_equal(loop_run_for(w->loop, WAIT_MS), 0);
	assert_int_equal(w->seen.n, 3);
	assert_int_equal(w->seen.code, COAP_205_CONTENT);
	assert_string_equal(buf_str(&w->seen.body), ""); /* no match is a normal notification */
	coap_call_cancel(observation);
}

static void a_registration_expires_by_itself(void **state)
{
	struct world *w = *state;
	struct coap_call_request q = { .method = COAP_M_GET, .path = "rd-lookup/ep", .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE,
				       .observe = true, .szx = 6 };
	struct coap_call *observation;

	assert_int_equal(ask(w, COAP_M_POST, "rd", QUERY("ep=long"), ""), COAP_201_CREATED);
	assert_int_equal(ask(w, COAP_M_POST, "rd", QUERY("ep=brief", "lt=1"), ""), COAP_201_CREATED);
	w->n_seen_wanted = 2; /* both, then the one */
	assert_int_equal(coap_call(w->session, &q, on_seen, w, &observation), 0);
	assert_int_equal(loop_run_for(w->loop, WAIT_MS), 0);
	assert_null(strstr(buf_str(&w->seen.body), "brief"));
	assert_non_null(strstr(buf_str(&w->seen.body), "long"));
	coap_call_cancel(observation);
}

static void many_matches_are_searched_in_slices_and_answered_whole(void **state) /* RD-67 */
{
	struct world *w = *state;
	char ep[32];

	for (int i = 0; i < MANY; i++) {
		struct registry_result res;
		(void)snprintf(ep, sizeof(ep), "n%d", i); /* fits */
		struct registry_request req = { .endpoint = span_str(ep), .implied_base = SPAN_LIT("coap://h"), .links = SPAN_LIT("</a>;rt=x"), .owner = "",
						.device = "" };
		assert_int_equal(registry_register(w->registry, &req, (struct registry_time){ mono_now(), wall_now() }, NULL, NULL, &res), 1);
	}
	w->got.n = 0;
	w->n_wanted = 5;
	for (int i = 0; i < 4; i++)
		begin(w, w->session, COAP_M_GET, "rd-lookup/res", QUERY("rt=x"), SPAN_NONE);
	begin(w, w->session, COAP_M_GET, "rd-lookup/res", QUERY("rt=x", "count=2"), SPAN_NONE);
	while (w->got.n < 5) {
		int n = w->got.n;
		w->n_wanted = n + 1;
		assert_int_equal(loop_run_for(w->loop, WAIT_MS), 0);
		assert_int_equal(w->got.code, COAP_205_CONTENT);
		assert_true(w->got.body.n == MANY * LINK - 1 || w->got.body.n == 2 * LINK - 1);
	}
	assert_int_equal(ask(w, COAP_M_GET, "rd-lookup/res", QUERY("rt=x"), ""), COAP_205_CONTENT); /* kept */
	assert_int_equal(w->got.body.n, MANY * LINK - 1);
	w->got.n = 0; /* and one that is still running when everything stops */
	w->n_wanted = 1;
	begin(w, w->session, COAP_M_GET, "rd-lookup/res", QUERY("href=coap*"), SPAN_NONE);
	(void)loop_run_for(w->loop, 1); /* it may or may not have begun */
}

static void a_large_observed_lookup_is_brought_up_to_date(void **state)
{
	struct world *w = *state;
	struct coap_call_request q = { .method = COAP_M_GET, .path = "rd-lookup/res", .query = QUERY("rt=x"), .accept = COAP_CF_NONE,
				       .content_format = COAP_CF_NONE, .observe = true, .szx = 6, .body_max = 1 << 20 };
	struct coap_call *observation;
	char ep[32];

	for (int i = 0; i < MANY; i++) {
		struct registry_result res;
		(void)snprintf(ep, sizeof(ep), "n%d", i); /* fits */
		struct registry_request req = { .endpoint = span_str(ep), .implied_base = SPAN_LIT("coap://h"), .links = SPAN_LIT("</a>;rt=x"), .owner = "",
						.device = "" };
		assert_int_equal(registry_register(w->registry, &req, (struct registry_time){ mono_now(), wall_now() }, NULL, NULL, &res), 1);
	}
	assert_int_equal(ask(w, COAP_M_GET, "rd-lookup/res", QUERY("rt=x"), ""), COAP_205_CONTENT);
	w->n_seen_wanted = 1;
	assert_int_equal(coap_call(w->session, &q, on_seen, w, &observation), 0);
	assert_int_equal(loop_run_for(w->loop, WAIT_MS), 0);
	assert_int_equal(w->seen.body.n, MANY * LINK - 1);
	assert_int_equal(ask(w, COAP_M_POST, "rd", QUERY("ep=zz", "base=coap://h"), "</a>;rt=x"), COAP_201_CREATED);
	w->n_seen_wanted = 2;
	for (int i = 0; i < 10 && w->seen.body.n != (MANY + 1) * LINK - 1; i++, w->n_seen_wanted++)
		assert_int_equal(loop_run_for(w->loop, WAIT_MS), 0);
	assert_int_equal(w->seen.body.n, (MANY + 1) * LINK - 1);
	coap_call_cancel(observation);
}

static void identities_on_the_wire_keep_what_they_registered(void **state) /* RD-80 RD-82 RD-84 */
{
	struct world *w = *state;
	char at[64];

	w->alice = open_as(w, "alice");
	w->bob = open_as(w, "bob");
	assert_int_equal(ask_on(w, w->alice, COAP_M_POST, "rd", QUERY("ep=n1"), "</a>"), COAP_201_CREATED);
	strcpy(at, w->got.location);
	assert_int_equal(ask_on(w, w->bob, COAP_M_POST, "rd", QUERY("ep=n1"), "</b>"), COAP_403_FORBIDDEN);
	assert_int_equal(ask_on(w, w->bob, COAP_M_DELETE, at, NULL, ""), COAP_403_FORBIDDEN);
	assert_int_equal(ask(w, COAP_M_DELETE, at, NULL, ""), COAP_403_FORBIDDEN);
	w->alice = coap_session_close(w->alice); /* from another port, with the same credential */
	w->alice = open_as(w, "alice");
	assert_int_equal(ask_on(w, w->alice, COAP_M_POST, at, NULL, ""), COAP_204_CHANGED);
	assert_string_equal(devices_get(w->devices, "n1")->identity, "alice");
	assert_int_equal(ask_on(w, w->alice, COAP_M_DELETE, at, NULL, ""), COAP_202_DELETED);
	assert_int_equal(ask(w, COAP_M_GET, "rd-lookup/ep", NULL, ""), COAP_205_CONTENT);
	assert_string_equal(buf_str(&w->got.body), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_directory_is_discovered, setup, teardown),
		cmocka_unit_test_setup_teardown(an_answer_waits_for_its_commit_and_what_it_says_survives, setup, teardown),
		cmocka_unit_test_setup_teardown(a_large_registration_comes_and_goes_in_blocks, setup, teardown),
		cmocka_unit_test_setup_teardown(observers_hear_of_what_matches_and_of_nothing_else, setup, teardown),
		cmocka_unit_test_setup_teardown(a_registration_expires_by_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(many_matches_are_searched_in_slices_and_answered_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(a_large_observed_lookup_is_brought_up_to_date, setup, teardown),
		cmocka_unit_test_setup_teardown(identities_on_the_wire_keep_what_they_registered, setup, teardown),
	};

	log_set_max_priority(LOG_CRIT);
	return cmocka_run_group_tests_name("directory/rd_wire", tests, NULL, NULL);
}
