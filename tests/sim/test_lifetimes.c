/* Registrations over days, and clocks that somebody sets. Lifetimes run on the monotonic clock; only over a restart, which
 * it does not survive, does the wall clock stand in for it (RD-47, RD-50). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim_site.h"

enum { NAMES = 40, LIFE_LEAST_S = 60, GRACE_S = 3600, LATE_MS = 5 * SIM_SECOND };

static const struct site_config config = {
	.n_nodes = 0, .retry_max = 3, .retry_s = 600, .lifetime_s = 7200, .image_bytes = 1024, .policy = POLICY_AUTO,
	.faults = { .twice = 0.05, .late = 0.02, .least_ms = 5, .most_ms = 100 },
};

/* What a registration should be, kept by hand. All times monotonic. */
struct name {
	struct world *w;
	char name[16];
	char path[32];                         /* "rd/LOCATION"; "" = never registered */
	uint32_t lifetime_s;
	int64_t until;                         /* of the lifetime as last acknowledged */
	bool is_waiting;
	struct coap_client *client;
	struct coap_session *session;
};

struct world {
	struct site site;
	struct name names[NAMES];
	unsigned n_waiting, n_created, n_back, n_forgotten;
};

static void on_answer(void *ctx, const struct coap_call_result *res)
{
	struct name *n = ctx;

	n->is_waiting = false;
	n->w->n_waiting--;
	SIM_CHECK(!res->error, "%s gets no answer", n->name);
	if (res->code == COAP_201_CREATED) {
		bool is_same = strcmp(n->path, res->location + 1) == 0;
		SIM_CHECK(!n->path[0] || is_same || sim_now() > n->until + (int64_t)GRACE_S * 1000 - LATE_MS,
			  "%s was registered and gets another location", n->name);
		(void)snprintf(n->path, sizeof(n->path), "%s", res->location + 1); /* 19 bytes */
		n->w->n_created++;
	} else if (res->code == COAP_404_NOT_FOUND) {
		SIM_CHECK(sim_now() > n->until + (int64_t)GRACE_S * 1000 - LATE_MS, "%s is forgotten %lld s too early", n->name,
			  (long long)((n->until + GRACE_S * 1000 - sim_now()) / 1000));
		n->path[0] = 0;
		n->w->n_forgotten++;
		return;
	} else {
		SIM_CHECK(res->code == COAP_204_CHANGED, "%s gets %d", n->name, res->code);
		SIM_CHECK(sim_now() < n->until + (int64_t)GRACE_S * 1000 + LATE_MS, "%s comes back after its grace", n->name);
		n->w->n_back += sim_now() > n->until;
	}
	n->until = sim_now() + (int64_t)n->lifetime_s * 1000;
}

static bool nobody_waits(void *ctx)
{
	return ((struct world *)ctx)->n_waiting == 0;
}

static void ask(struct name *n)
{
	char ep[32], lt[32];
	const char *const query[] = { lt, n->path[0] ? NULL : ep, NULL };
	const struct coap_call_request req = { .method = COAP_M_POST, .path = n->path[0] ? n->path : "rd", .query = query,
					       .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE, .szx = 6 };

	n->lifetime_s = (uint32_t)sim_between(LIFE_LEAST_S, sim_chance(0.5) ? 600 : 100000);
	(void)snprintf(ep, sizeof(ep), "ep=%s", n->name); /* both fit */
	(void)snprintf(lt, sizeof(lt), "lt=%u", n->lifetime_s);
	n->is_waiting = true;
	n->w->n_waiting++;
	assert_int_equal(coap_call(n->session, &req, on_answer, n, NULL), 0);
}

/* Is each seen exactly when it should be? Those whose time is near are not looked at. */
static void look(const struct world *w)
{
	for (size_t i = 0; i < NAMES; i++) {
		const struct name *n = &w->names[i];
		int64_t left_ms = n->until - sim_now();
		if (n->is_waiting || !n->path[0] || (left_ms > -LATE_MS && left_ms < LATE_MS))
			continue;
		const struct registration *r = registry_find(w->site.registry, span_str(n->name), SPAN_NONE);
		SIM_CHECK(!!r == (left_ms > 0), "%s is %s, and its lifetime %s %lld s", n->name, r ? "seen" : "not seen",
			  left_ms > 0 ? "goes on for" : "has been over for", (long long)(left_ms > 0 ? left_ms : -left_ms) / 1000);
	}
}

static void begin(struct world *w, uint64_t seed)
{
	const struct coap_session_config c = { .uri = "coap://[::1]" };

	sim_begin(seed);
	site_open(&w->site, &config);
	for (size_t i = 0; i < NAMES; i++) {
		struct name *n = &w->names[i];
		n->w = w;
		(void)snprintf(n->name, sizeof(n->name), "name%02zu", i); /* fits */
		n->client = coap_client_new(w->site.outside);
		assert_int_equal(coap_session_open(n->client, &c, &n->session), 0);
	}
}

static void end(struct world *w)
{
	for (size_t i = 0; i < NAMES; i++)
		coap_client_free(w->names[i].client);
	site_close(&w->site);
	(void)sim_end(); /* the hash is for another test */
}

/* Asks and looks until the time; restart: whether the gateway may restart in between, with how much of a step of the wall clock. */
static void days(struct world *w, int64_t until, double step, double restart)
{
	while (sim_now() < until) {
		for (size_t i = 0; i < NAMES; i++)
			if (sim_chance(0.1))
				ask(&w->names[i]);
		SIM_CHECK(sim_run_until(nobody_waits, w, sim_now() + 10 * SIM_MINUTE), "%u answers never come", w->n_waiting);
		look(w);
		if (sim_chance(step))
			sim_step_wall(sim_chance(0.5) ? SIM_DAY : -SIM_DAY);
		if (sim_chance(restart)) {
			if (sim_chance(0.5))
				site_kill(&w->site);
			else
				site_stop(&w->site);
			sim_run_to(sim_now() + sim_between(10, SIM_MINUTE));
			site_start(&w->site);
			sim_run_to(sim_now() + SIM_SECOND);
			look(w);
		}
		sim_run_to(sim_now() + sim_between(SIM_SECOND, sim_chance(0.1) ? 2 * SIM_HOUR : 4 * SIM_MINUTE));
		look(w);
	}
	SIM_CHECK(w->n_created > NAMES && w->n_back > 0 && w->n_forgotten > 0, "a dull story: %u, %u, %u", w->n_created, w->n_back,
		  w->n_forgotten);
}

static void steps(uint64_t seed)
{
	struct world *w = calloc(1, sizeof(*w));

	begin(w, seed);
	days(w, 7 * SIM_DAY, 0.1, 0);
	end(w);
	free(w);
}

static void lifetimes_do_not_notice_a_clock_that_is_set(void **state)
{
	sim_each_seed(6, steps);
}

static void restarts(uint64_t seed)
{
	struct world *w = calloc(1, sizeof(*w));

	begin(w, seed);
	days(w, 7 * SIM_DAY, 0, 0.05);
	end(w);
	free(w);
}

static void lifetimes_go_on_over_restarts(void **state)
{
	sim_each_seed(6, restarts);
}

/* ---- a step while the gateway is down: what RD-50 costs, and no more ---- */

static void register_all(struct world *w, uint32_t lifetime_s)
{
	for (size_t i = 0; i < NAMES; i++) {
		char ep[32], lt[32];
		const char *const query[] = { ep, lt, NULL };
		const struct coap_call_request req = { .method = COAP_M_POST, .path = "rd", .query = query, .accept = COAP_CF_NONE,
						       .content_format = COAP_CF_NONE, .szx = 6 };
		struct name *n = &w->names[i];
		(void)snprintf(ep, sizeof(ep), "ep=%s", n->name); /* both fit */
		(void)snprintf(lt, sizeof(lt), "lt=%u", lifetime_s);
		n->lifetime_s = lifetime_s;
		n->path[0] = 0;
		n->is_waiting = true;
		w->n_waiting++;
		assert_int_equal(coap_call(n->session, &req, on_answer, n, NULL), 0);
	}
	SIM_CHECK(sim_run_until(nobody_waits, w, sim_now() + 10 * SIM_MINUTE), "%u answers never come", w->n_waiting);
}

static size_t n_seen(const struct world *w)
{
	return registry_counts(w->site.registry).n_endpoints;
}

static void restart_with_a_step(struct world *w, int64_t step_ms)
{
	site_stop(&w->site);
	w->site.n_registrations = 0;           /* the disk is judged by the wall clock, which is wrong now */
	sim_step_wall(step_ms);
	sim_run_to(sim_now() + SIM_MINUTE);
	site_start(&w->site);
	sim_run_to(sim_now() + SIM_SECOND);
}

static void stepped_restart(uint64_t seed)
{
	struct world *w = calloc(1, sizeof(*w));
	char first[32];

	begin(w, seed);
	register_all(w, 3 * 86400);
	memcpy(first, w->names[0].path, sizeof(first));
	restart_with_a_step(w, SIM_DAY);               /* a day of the lifetime is lost */
	assert_int_equal(n_seen(w), NAMES);
	sim_run_to(sim_now() + 47 * SIM_HOUR);
	assert_int_equal(n_seen(w), NAMES);
	sim_run_to(sim_now() + SIM_HOUR);
	assert_int_equal(n_seen(w), 0);
	register_all(w, 86400);                        /* within the grace: the same locations */
	assert_string_equal(w->names[0].path, first);
	restart_with_a_step(w, -SIM_DAY);              /* a day is gained, and not more than the lifetime itself */
	assert_int_equal(n_seen(w), NAMES);
	sim_run_to(sim_now() + 24 * SIM_HOUR - 2 * SIM_SECOND);
	assert_int_equal(n_seen(w), NAMES);
	sim_run_to(sim_now() + SIM_MINUTE);
	assert_int_equal(n_seen(w), 0);
	end(w);
	free(w);
}

static void a_restart_goes_by_the_wall_clock_and_never_gives_more_than_the_lifetime(void **state)
{
	sim_each_seed(2, stepped_restart);
}

/* ---- a clock that is set while jobs wait to be tried again ---- */

static const struct site_config with_nodes = {
	.n_nodes = 8, .n_sleepers = 3, .sleep_least_ms = SIM_MINUTE, .sleep_most_ms = SIM_HOUR, .awake_ms = 60 * SIM_SECOND,
	.watch_ms = 10 * SIM_MINUTE, .retry_max = 3, .retry_s = 600, .lifetime_s = 7200, .image_bytes = 8 * 1024, .policy = POLICY_AUTO,
	.faults = { .loss_up = 0.02, .loss_down = 0.02, .twice = 0.02, .late = 0.02, .least_ms = 5, .most_ms = 100 },
};

static void nodes_and_steps(uint64_t seed)
{
	struct site *s = calloc(1, sizeof(*s));

	sim_begin(seed);
	site_open(s, &with_nodes);
	site_nodes_start(s, SIM_MINUTE);
	for (unsigned i = 0; i < 5; i++) {
		site_publish(s, 2 + i);
		sim_run_to(sim_now() + sim_between(SIM_SECOND, 10 * SIM_MINUTE));
		sim_step_wall(sim_chance(0.5) ? SIM_DAY : -SIM_DAY);
		bool is_settled = sim_run_until(site_is_settled, s, sim_now() + 12 * SIM_HOUR);
		if (!is_settled)
			site_describe(s);
		SIM_CHECK(is_settled, "a clock that is set holds nodes back");
	}
	site_close(s);
	free(s);
	(void)sim_end(); /* the hash is for another test */
}

static void updates_do_not_wait_for_a_clock_that_is_set(void **state)
{
	sim_each_seed(6, nodes_and_steps);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lifetimes_do_not_notice_a_clock_that_is_set),
		cmocka_unit_test(lifetimes_go_on_over_restarts),
		cmocka_unit_test(a_restart_goes_by_the_wall_clock_and_never_gives_more_than_the_lifetime),
		cmocka_unit_test(updates_do_not_wait_for_a_clock_that_is_set),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("sim/lifetimes", tests, NULL, NULL);
}
