/* Nodes that do not keep to the rules: they repeat themselves, come late, lie about what they run, fail for ever, or die. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "sim_site.h"

enum { NODES = 6, LIARS_MAX = 4, RETRY_MAX = 4, CALLS_MAX = 64 };

static const struct site_config config = {
	.n_nodes = NODES, .n_sleepers = 2, .sleep_least_ms = SIM_MINUTE, .sleep_most_ms = 10 * SIM_MINUTE, .awake_ms = 60 * SIM_SECOND,
	.watch_ms = 10 * SIM_MINUTE, .retry_max = RETRY_MAX, .retry_s = 300, .lifetime_s = 90000, .image_bytes = 10 * 1024, .policy = POLICY_AUTO,
	.faults = { .loss_up = 0.05, .loss_down = 0.05, .twice = 0.1, .late = 0.1, .least_ms = 5, .most_ms = 200 },
};

struct liar {
	struct site *s;
	char name[16];
	struct coap_client *client;
	struct coap_session *session;
};

struct world {
	struct site site;
	struct liar liars[LIARS_MAX];
	unsigned n_liars;
};

/* ---- talking ---- */

struct asked {
	unsigned n_waiting;
	int error;
	uint8_t code;
	size_t n_body;
};

static void on_answer(void *ctx, const struct coap_call_result *res)
{
	struct asked *a = ctx;

	a->n_waiting--;
	a->error = res->error;
	a->code = res->code;
	a->n_body = res->body.n;
}

static bool is_answered(void *ctx)
{
	return ((struct asked *)ctx)->n_waiting == 0;
}

static void send(struct liar *l, uint8_t method, const char *path, const char *const *query, struct span body, struct asked *a)
{
	const struct coap_call_request req = { .method = method, .path = path, .query = query, .accept = COAP_CF_NONE,
					       .content_format = body.n ? COAP_CF_CBOR : COAP_CF_NONE, .body = body, .szx = 6 };

	a->n_waiting++;
	assert_int_equal(coap_call(l->session, &req, on_answer, a, NULL), 0);
}

static void wait_for(struct asked *a)
{
	SIM_CHECK(sim_run_until(is_answered, a, sim_now() + SIM_HOUR), "%u answers never come", a->n_waiting);
}

/* Asks again until it gets an answer, as a node would. */
static uint8_t ask(struct liar *l, uint8_t method, const char *path, const char *const *query, struct span body)
{
	struct asked a = { 0 };

	do {
		send(l, method, path, query, body, &a);
		wait_for(&a);
	} while (a.error || a.code == COAP_503_UNAVAILABLE);
	return a.code;
}

static uint8_t say_hello(struct liar *l, uint64_t sequence)
{
	char ep[32], vid[48], cid[48], seq[32], uuid[TEXT_UUID_BYTES];
	const char *const query[] = { ep, vid, cid, seq, "lt=90000", "proof=none", NULL };

	(void)snprintf(ep, sizeof(ep), "ep=%s", l->name); /* all fit */
	(void)snprintf(vid, sizeof(vid), "vid=%s", text_uuid(l->s->vendor_id, uuid));
	(void)snprintf(cid, sizeof(cid), "cid=%s", text_uuid(l->s->class_id, uuid));
	(void)snprintf(seq, sizeof(seq), "seq=%llu", (unsigned long long)sequence);
	return ask(l, COAP_M_POST, "rd", query, SPAN_NONE);
}

static void write_report(const struct digest *manifest, unsigned state, unsigned result, struct buf *ret)
{
	const struct node_report r = { .manifest_digest = *manifest, .state = state, .result = result };

	node_report_encode(&r, ret);
}

static const char *const *ep_of(struct liar *l)
{
	static char ep[32];
	static const char *const query[] = { ep, NULL };

	(void)snprintf(ep, sizeof(ep), "ep=%s", l->name); /* fits */
	return query;
}

static struct digest manifest_of(const struct release *r)
{
	struct digest d;

	assert_int_equal(digest_parse(span_str(r->id), &d), 0);
	return d;
}

static uint8_t report(struct liar *l, const struct digest *manifest, unsigned state, unsigned result)
{
	_cleanup_buf_ struct buf b = { 0 };

	write_report(manifest, state, result, &b);
	return ask(l, COAP_M_POST, "fw/r", ep_of(l), buf_span(&b));
}

static uint8_t check(struct liar *l)
{
	return ask(l, COAP_M_GET, "fw", ep_of(l), SPAN_NONE);
}

static const struct job *job_of(const struct liar *l, const struct release *r)
{
	return job_run_find(rollout_run_jobs(l->s->rollout), r->id, l->name);
}

static enum job_state state_of(const struct liar *l, const struct release *r)
{
	const struct job *j = job_of(l, r);

	return j ? j->state : JOB_STATE_COUNT;
}

/* ---- the world ---- */

static struct liar *add_liar(struct world *w, const char *name)
{
	struct liar *l = &w->liars[w->n_liars];
	const struct coap_session_config c = { .uri = "coap://[::1]" };

	l->s = &w->site;
	(void)snprintf(l->name, sizeof(l->name), "%s", name); /* fits */
	l->client = coap_client_new(w->site.outside);
	sim_client_set_id(l->client, (int)(SITE_NODES_MAX + w->n_liars++));
	assert_int_equal(coap_session_open(l->client, &c, &l->session), 0);
	return l;
}

static struct world *begin(uint64_t seed)
{
	struct world *w = calloc(1, sizeof(*w));

	sim_begin(seed);
	site_open(&w->site, &config);
	site_nodes_start(&w->site, SIM_MINUTE);
	return w;
}

static void end(struct world *w)
{
	for (unsigned i = 0; i < w->n_liars; i++)
		coap_client_free(w->liars[i].client);
	site_close(&w->site);
	free(w);
	(void)sim_end(); /* the hash is for another test */
}

static void must_settle(struct world *w, int64_t in_ms)
{
	bool is_settled = sim_run_until(site_is_settled, &w->site, sim_now() + in_ms);

	if (!is_settled)
		site_describe(&w->site);
	SIM_CHECK(is_settled, "the honest nodes are held back");
}

static struct liar *the_asked;
static const struct release *the_release;

static bool is_offered(void *ctx)
{
	return state_of(the_asked, the_release) == JOB_OFFERED;
}

static void wait_for_offer(struct liar *l, const struct release *r)
{
	the_asked = l;
	the_release = r;
	SIM_CHECK(sim_run_until(is_offered, NULL, sim_now() + 10 * SIM_MINUTE), "%s gets no offer", l->name);
}

/* ---- stories ---- */

static void unknown_digest(uint64_t seed)
{
	struct world *w = begin(seed);
	struct liar *l = add_liar(w, "liar");
	struct digest nothing = digest_of(SPAN_LIT("nothing"));

	const struct release *r = &w->site.releases[site_publish(&w->site, 2)];
	assert_int_equal(say_hello(l, 1), COAP_201_CREATED);
	wait_for_offer(l, r);
	assert_int_equal(report(l, &nothing, 0, 1), COAP_404_NOT_FOUND);
	assert_int_equal(report(l, &r->image_digest, 0, 1), COAP_404_NOT_FOUND);
	assert_int_equal(state_of(l, r), JOB_OFFERED);
	must_settle(w, 2 * SIM_HOUR);
	assert_int_equal(state_of(l, r), JOB_OFFERED);
	assert_int_equal(check(l), COAP_205_CONTENT);
	end(w);
}

static void a_success_of_another_manifest_confirms_nothing(void **state)
{
	sim_each_seed(4, unknown_digest);
}

static void fails_for_ever(uint64_t seed)
{
	struct world *w = begin(seed);
	struct liar *l = add_liar(w, "broken");
	unsigned n_offers = 0;

	const struct release *r = &w->site.releases[site_publish(&w->site, 2)];
	struct digest manifest = manifest_of(r);
	assert_int_equal(say_hello(l, 1), COAP_201_CREATED);
	for (int64_t end_at = sim_now() + 3 * SIM_DAY; sim_now() < end_at; sim_run_to(sim_now() + SIM_MINUTE)) {
		if (check(l) != COAP_205_CONTENT)
			continue;
		n_offers++;
		assert_int_equal(report(l, &manifest, 1, 0), COAP_204_CHANGED);
		assert_int_equal(report(l, &manifest, 0, 8), COAP_204_CHANGED);
		if (sim_chance(0.3))
			say_hello(l, 1);
		if (n_offers == 2) {           /* a restart of the gateway does not make it forget */
			site_kill(&w->site);
			site_start(&w->site);
		}
	}
	SIM_CHECK(n_offers == RETRY_MAX, "offered %u times, and %d were allowed", n_offers, RETRY_MAX);
	assert_int_equal(state_of(l, r), JOB_FAILED);
	assert_int_equal(job_of(l, r)->attempts, RETRY_MAX);
	must_settle(w, 0);
	const struct release *next = &w->site.releases[site_publish(&w->site, 3)];       /* the next update is another chance */
	wait_for_offer(l, next);
	end(w);
}

static void a_node_that_fails_for_ever_is_asked_as_often_as_allowed(void **state)
{
	sim_each_seed(4, fails_for_ever);
}

static void falls_back(uint64_t seed)
{
	struct world *w = begin(seed);
	struct liar *l = add_liar(w, "falls");
	unsigned n_offers = 0;

	const struct release *r = &w->site.releases[site_publish(&w->site, 2)];
	struct digest manifest = manifest_of(r);
	assert_int_equal(say_hello(l, 1), COAP_201_CREATED);
	for (int64_t end_at = sim_now() + 3 * SIM_DAY; sim_now() < end_at; sim_run_to(sim_now() + 5 * SIM_MINUTE)) {
		if (check(l) == COAP_205_CONTENT) {
			n_offers++;
			assert_int_equal(report(l, &manifest, 0, 1), COAP_204_CHANGED);
		}
		assert_int_equal(say_hello(l, 1), COAP_201_CREATED);    /* and still it runs the old one */
	}
	SIM_CHECK(n_offers >= 1 && n_offers <= RETRY_MAX, "offered %u times, and %d were allowed", n_offers, RETRY_MAX);
	must_settle(w, 0);
	end(w);
}

static void a_node_that_says_success_and_runs_the_old_one_is_not_asked_for_ever(void **state)
{
	sim_each_seed(4, falls_back);
}

static void dies(uint64_t seed)
{
	struct world *w = begin(seed);
	struct liar *l = add_liar(w, "dead");

	assert_int_equal(say_hello(l, 1), COAP_201_CREATED);
	const struct release *r = &w->site.releases[site_publish(&w->site, 2)];
	wait_for_offer(l, r);
	struct digest manifest = manifest_of(r);
	if (sim_chance(0.5))
		assert_int_equal(report(l, &manifest, (unsigned)sim_between(1, 3), 0), COAP_204_CHANGED);
	must_settle(w, 2 * SIM_HOUR);
	SIM_CHECK(job_is_open(state_of(l, r)), "the job of a node that is silent is %s", job_state_name(state_of(l, r)));
	const struct release *next = &w->site.releases[site_publish(&w->site, 3)];
	must_settle(w, 2 * SIM_HOUR);
	assert_int_equal(state_of(l, r), JOB_CANCELLED);
	assert_int_equal(state_of(l, next), JOB_OFFERED);
	end(w);
}

static void a_dead_node_does_not_hold_back_others(void **state)
{
	sim_each_seed(6, dies);
}

/* Everything a node may say about one update, all at once, in an order that the network chooses. */
static void babbles(uint64_t seed)
{
	static const struct { unsigned state, result; } words[] = { { 1, 0 }, { 2, 0 }, { 3, 0 }, { 0, 1 }, { 1, 0 }, { 0, 1 }, { 3, 0 }, { 0, 0 } };
	struct world *w = begin(seed);
	struct liar *l = add_liar(w, "babbler");
	struct asked a = { 0 };

	assert_int_equal(say_hello(l, 1), COAP_201_CREATED);
	const struct release *r = &w->site.releases[site_publish(&w->site, 2)];
	wait_for_offer(l, r);
	struct digest manifest = manifest_of(r);
	for (unsigned i = 0; i < CALLS_MAX; i++) {
		_cleanup_buf_ struct buf b = { 0 };
		size_t k = sim_random(sizeof(words) / sizeof(*words));
		write_report(&manifest, words[k].state, words[k].result, &b);
		send(l, COAP_M_POST, "fw/r", ep_of(l), buf_span(&b), &a);
		sim_run_to(sim_now() + sim_between(0, 50));
	}
	wait_for(&a);
	assert_int_equal(report(l, &manifest, 0, 1), COAP_204_CHANGED);
	assert_int_equal(state_of(l, r), JOB_CONFIRMED);
	for (size_t k = 0; k < sizeof(words) / sizeof(*words); k++)     /* all of that again changes nothing */
		assert_int_equal(report(l, &manifest, words[k].state, words[k].result), COAP_204_CHANGED);
	assert_int_equal(report(l, &manifest, 0, 8), COAP_204_CHANGED);
	assert_int_equal(state_of(l, r), JOB_CONFIRMED);
	assert_int_equal(job_of(l, r)->attempts, 1);
	must_settle(w, 2 * SIM_HOUR);
	end(w);
}

static void reports_that_come_twice_and_out_of_order_do_no_harm(void **state)
{
	sim_each_seed(8, babbles);
}

static void comes_late(uint64_t seed)
{
	struct world *w = begin(seed);
	struct liar *l = add_liar(w, "late");

	assert_int_equal(say_hello(l, 1), COAP_201_CREATED);
	const struct release *r = &w->site.releases[site_publish(&w->site, 2)];
	wait_for_offer(l, r);
	struct digest manifest = manifest_of(r);
	assert_int_equal(report(l, &manifest, 3, 0), COAP_204_CHANGED);
	assert_int_equal(rollout_cancel_job(w->site.rollout, job_of(l, r)->id, "operator"), 0);
	if (sim_chance(0.5))
		sim_run_to(sim_now() + sim_between(0, 5 * SIM_SECOND));
	assert_int_equal(report(l, &manifest, 1, 0), COAP_404_NOT_FOUND);       /* it had better not go on */
	assert_int_equal(report(l, &manifest, 2, 0), COAP_404_NOT_FOUND);
	assert_int_equal(report(l, &manifest, 0, 1), COAP_204_CHANGED);
	assert_int_equal(state_of(l, r), JOB_CANCELLED);
	assert_int_not_equal(check(l), COAP_205_CONTENT);
	const struct release *next = &w->site.releases[site_publish(&w->site, 3)];
	wait_for_offer(l, next);
	assert_int_equal(report(l, &manifest, 0, 1), COAP_204_CHANGED); /* of the old one, again */
	assert_int_equal(state_of(l, next), JOB_OFFERED);
	must_settle(w, 2 * SIM_HOUR);
	end(w);
}

static void a_success_after_the_cancellation_is_heard_and_revives_nothing(void **state)
{
	sim_each_seed(6, comes_late);
}

static void speaks_for_others(uint64_t seed)
{
	struct world *w = begin(seed);
	struct liar *l = add_liar(w, "node01");        /* the name of a node with a key */
	struct digest nothing = digest_of(SPAN_LIT("nothing"));
	char hex[DIGEST_HEX_BYTES], path[100];

	const struct release *r = &w->site.releases[site_publish(&w->site, 2)];
	must_settle(w, 2 * SIM_HOUR);
	struct digest manifest = manifest_of(r);
	assert_int_equal(say_hello(l, 9), COAP_401_UNAUTHORIZED);
	assert_int_equal(check(l), COAP_401_UNAUTHORIZED);
	assert_int_equal(report(l, &manifest, 0, 8), COAP_401_UNAUTHORIZED);
	struct liar *m = add_liar(w, "nosy");
	assert_int_equal(say_hello(m, 2), COAP_201_CREATED);   /* runs it already: no offer, no image */
	(void)snprintf(path, sizeof(path), "fw/i/%s", digest_hex(&r->image_digest, hex)); /* fits */
	assert_int_equal(ask(m, COAP_M_GET, path, ep_of(m), SPAN_NONE), COAP_404_NOT_FOUND);
	(void)snprintf(path, sizeof(path), "fw/i/%s", digest_hex(&nothing, hex)); /* fits */
	assert_int_equal(ask(m, COAP_M_GET, path, ep_of(m), SPAN_NONE), COAP_404_NOT_FOUND);
	assert_true(site_is_settled(&w->site));
	end(w);
}

static void nobody_speaks_for_a_node_with_a_key(void **state)
{
	sim_each_seed(2, speaks_for_others);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_success_of_another_manifest_confirms_nothing),
		cmocka_unit_test(a_node_that_fails_for_ever_is_asked_as_often_as_allowed),
		cmocka_unit_test(a_node_that_says_success_and_runs_the_old_one_is_not_asked_for_ever),
		cmocka_unit_test(a_dead_node_does_not_hold_back_others),
		cmocka_unit_test(reports_that_come_twice_and_out_of_order_do_no_harm),
		cmocka_unit_test(a_success_after_the_cancellation_is_heard_and_revives_nothing),
		cmocka_unit_test(nobody_speaks_for_a_node_with_a_key),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("sim/liars", tests, NULL, NULL);
}
