/* The node's life in virtual time: a gateway of few lines answers, loses answers, and the power fails at every moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "node/node_machine.h"

static const struct node_plan always_on = {
	.lifetime_ms = 3600 * 1000, .watch_ms = 60 * 1000, .reboot_ms = 300, .pause_ms = 1000, .pause_max_ms = 60 * 1000,
	.answer_ms = 180 * 1000, .seed = 1,
};

/* What the world is, and what it did. */
struct world {
	struct node_machine m;
	struct mono now;
	enum node_phase on_flash;
	unsigned blocks_wanted, blocks_here;   /* of the image; here survives the power */
	/* knows: the gateway has its registration; deaf: it does not answer; damaged: every image is bad */
	bool offered, enrolled, knows, deaf, damaged;
	unsigned reported[4], n_success, n_failure;    /* reports the gateway got */
	bool runs_new;
	bool in_session, session_ends;         /* multicast: this node is a member; the session is over while it listens */
	unsigned n_joins;
	uint64_t random, loss;                 /* one answer of `loss` is lost; 0 = none */
	unsigned n_steps;
};

static uint64_t dice(struct world *w)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return w->random >> 33;
}

static bool is_lost(struct world *w)
{
	return w->deaf || (w->loss && dice(w) % w->loss == 0);
}

static enum node_event report(struct world *w, unsigned state)
{
	w->reported[state]++;
	return is_lost(w) ? NODE_EV_UNREACHABLE : NODE_EV_OK;  /* the gateway may have heard what it seems it did not */
}

static enum node_event pull(struct world *w)
{
	while (w->blocks_here < w->blocks_wanted) {
		if (is_lost(w))
			return NODE_EV_UNREACHABLE;
		w->now.ms += 100;
		w->blocks_here++;
		if (node_machine_is_tired(&w->m, w->now) && w->blocks_here < w->blocks_wanted)
			return NODE_EV_NONE;
	}
	if (w->damaged)
		w->blocks_here = 0;
	return w->damaged ? NODE_EV_BAD : NODE_EV_OK;
}

/* Perform the state's action; NODE_EVENT_COUNT: it only waits for its timer. */
static enum node_event act(struct world *w)
{
	w->now.ms += 10;
	switch (w->m.state) {
	case NODE_REGISTER:
		w->knows = true;
		return is_lost(w) ? NODE_EV_UNREACHABLE : NODE_EV_OK;
	case NODE_DISCOVER:
	case NODE_REFRESH:
		return is_lost(w) ? NODE_EV_UNREACHABLE : NODE_EV_OK;
	case NODE_CHECK:
		if (is_lost(w))
			return NODE_EV_UNREACHABLE;
		return !w->enrolled || !w->knows ? NODE_EV_DENIED : w->offered && !w->runs_new ? NODE_EV_OFFER : NODE_EV_NONE;
	case NODE_JOIN:
		w->n_joins++;
		if (is_lost(w))
			return NODE_EV_UNREACHABLE;
		return w->in_session && !w->runs_new ? NODE_EV_OFFER : w->on_flash == NODE_LISTENING ? NODE_EV_GONE : NODE_EV_NONE;
	case NODE_LISTEN:
		if (w->session_ends) {
			w->in_session = false;
			return NODE_EV_GONE;
		}
		w->now.ms += 100;
		w->blocks_here += w->blocks_here < w->blocks_wanted;
		return w->blocks_here == w->blocks_wanted ? NODE_EV_OK : NODE_EVENT_COUNT;
	case NODE_REPORT_DOWNLOADING:
		return report(w, 1);
	case NODE_PULL:
		return pull(w);
	case NODE_REPORT_DOWNLOADED:
		return report(w, 2);
	case NODE_INSTALL:
		assert_int_equal(w->blocks_here, w->blocks_wanted); /* never less than the whole image */
		return NODE_EV_OK;
	case NODE_REPORT_UPDATING:
		return report(w, 3);
	case NODE_REPORT_SUCCESS:
		assert_true(w->runs_new);
		w->n_success++;
		w->offered = false;
		return is_lost(w) ? NODE_EV_UNREACHABLE : NODE_EV_OK;
	case NODE_REPORT_FAILURE:
		w->n_failure++;
		w->offered = false;
		return is_lost(w) ? NODE_EV_UNREACHABLE : NODE_EV_OK;
	case NODE_OFF:
	case NODE_REBOOT:
	case NODE_WATCH:
	case NODE_SLEEP:
	case NODE_PAUSE:
	case NODE_DONE:
	case NODE_STATE_COUNT:
		break;
	}
	return NODE_EVENT_COUNT;
}

static void feed(struct world *w, enum node_event ev)
{
	if (!node_machine_step(&w->m, ev, w->now))
		return;
	w->n_steps++;
	w->on_flash = w->m.phase;
	if (w->m.phase == NODE_INSTALLED)
		w->runs_new = true;
}

/* Until the virtual clock says end, or a number of steps is done. */
static void live(struct world *w, int64_t until_ms, unsigned max_steps)
{
	while (w->now.ms < until_ms && w->m.state != NODE_DONE && w->n_steps < max_steps) {
		enum node_event ev = act(w);
		if (ev == NODE_EVENT_COUNT) {
			assert_true(w->m.has_timer);
			if (w->m.timer_at.ms > until_ms) {
				w->now.ms = until_ms;
				return;
			}
			if (mono_before(w->now, w->m.timer_at))
				w->now = w->m.timer_at;
			ev = NODE_EV_TIMER;
		}
		feed(w, ev);
	}
}

static void begin(struct world *w, const struct node_plan *plan)
{
	*w = (struct world){ .blocks_wanted = 20, .offered = true, .enrolled = true, .random = 7 };
	node_machine_init(&w->m, plan, NODE_IDLE, w->now, 0);
}

/* The power fails: all but what is on flash is gone. */
static void power_cut(struct world *w, const struct node_plan *plan)
{
	node_machine_init(&w->m, plan, w->on_flash, w->now, 0);
}

static void an_offer_becomes_a_running_image_and_a_report(void **state)
{
	struct world w;

	begin(&w, &always_on);
	live(&w, 60 * 1000, 1000);
	assert_true(w.runs_new);
	assert_int_equal(w.n_success, 1);
	assert_int_equal(w.n_failure, 0);
	assert_int_equal(w.reported[1], 1);
	assert_int_equal(w.reported[2], 1);
	assert_int_equal(w.reported[3], 1);
	assert_int_equal(w.m.state, NODE_WATCH);
	assert_int_equal(w.m.phase, NODE_IDLE);
	assert_int_equal(w.m.n_boots, 2);
	assert_int_equal(w.m.n_updates, 1);
}

static void the_power_may_fail_after_every_step(void **state)
{
	struct world w;
	unsigned n_all;

	begin(&w, &always_on);
	live(&w, 60 * 1000, 1000);
	n_all = w.n_steps;
	for (unsigned cut = 0; cut <= n_all; cut++) {
		begin(&w, &always_on);
		live(&w, 60 * 1000, cut);
		power_cut(&w, &always_on);
		live(&w, w.now.ms + 120 * 1000, 10000);
		assert_true(w.runs_new);
		assert_true(w.n_success >= 1);
		assert_int_equal(w.n_failure, 0);
		assert_int_equal(w.m.phase, NODE_IDLE);
		assert_int_equal(w.blocks_here, 20);
	}
}

/* The same, but the phase of the last step did not reach the flash. */
static void the_power_may_fail_before_the_phase_is_written(void **state)
{
	struct world w;
	struct node_plan plan = always_on;

	for (uint64_t seed = 0; seed < 500; seed++) {
		plan.seed = seed;
		plan.crash = 0.15;
		begin(&w, &plan);
		w.random = seed;
		live(&w, 3600 * 1000, 100000);
		assert_true(w.runs_new);
		assert_true(w.n_success >= 1);
		assert_int_equal(w.n_failure, 0);
	}
}

static void a_lossy_network_only_costs_time(void **state)
{
	struct world w;
	struct node_plan plan = always_on;

	for (uint64_t seed = 1; seed <= 500; seed++) {
		plan.seed = seed;
		plan.sleep_ms = seed % 2 ? 30 * 1000 : 0;
		plan.awake_ms = seed % 4 == 1 ? 1000 : 0;
		begin(&w, &plan);
		w.random = seed;
		w.loss = 2 + seed % 5;
		live(&w, 8 * 3600 * 1000, 100000);
		assert_true(w.runs_new);
		assert_true(w.n_success >= 1);
		assert_int_equal(w.m.phase, NODE_IDLE);
	}
}

static void a_sleeper_wakes_by_its_period_and_is_silent_in_between(void **state)
{
	struct world w;
	struct node_plan plan = always_on;
	unsigned n = 0;

	plan.sleep_ms = 60 * 1000;
	begin(&w, &plan);
	w.offered = false;
	for (int64_t t = 0; w.now.ms < 3600 * 1000 && n < 10000; n++) {
		live(&w, INT64_MAX, w.n_steps + 1);
		if (w.m.state == NODE_SLEEP) {
			t = mono_diff_ms(w.m.timer_at, w.now);
			assert_in_range(t, 54 * 1000, 66 * 1000);      /* a tenth of jitter */
			assert_false(node_machine_step(&w.m, NODE_EV_OFFER, w.now));
			assert_false(node_machine_step(&w.m, NODE_EV_UNREACHABLE, w.now));
		}
	}
	assert_in_range(w.m.n_wakes, 50, 68);
	assert_int_equal(w.m.n_checks, w.m.n_wakes + 1);
}

static void a_sleeper_that_gets_tired_goes_on_at_its_next_wake(void **state)
{
	struct world w;
	struct node_plan plan = always_on;

	plan.sleep_ms = 10 * 1000;
	plan.awake_ms = 500;                   /* five blocks of a hundred ms, less the talk before */
	begin(&w, &plan);
	live(&w, 600 * 1000, 100000);
	assert_true(w.runs_new);
	assert_int_equal(w.n_success, 1);
	assert_true(w.m.n_wakes >= 4);
}

static void the_registration_is_refreshed_before_its_lifetime_ends(void **state)
{
	struct node_plan plan = always_on;
	struct world w;
	int64_t last;

	for (int sleeps = 0; sleeps < 2; sleeps++) {
		plan.lifetime_ms = 300 * 1000;
		plan.sleep_ms = sleeps ? 20 * 1000 : 0;
		begin(&w, &plan);
		w.offered = false;
		last = w.now.ms;
		for (unsigned n = 0; n < 2000; n++) {
			bool registers = w.m.state == NODE_REGISTER || w.m.state == NODE_REFRESH;
			live(&w, INT64_MAX, w.n_steps + 1);
			if (registers) {
				assert_true(w.now.ms - last < 300 * 1000);
				last = w.now.ms;
			}
		}
		assert_true(last > 3600 * 1000);
	}
}

static void a_silent_gateway_is_asked_less_and_less(void **state)
{
	struct world w;

	begin(&w, &always_on);
	w.deaf = true;
	live(&w, 3600 * 1000, 100000);
	assert_true(w.n_steps < 200);          /* RD-14: about one try a minute in the end */
	assert_true(mono_diff_ms(w.m.timer_at, w.now) <= 66 * 1000);
	w.deaf = false;
	live(&w, w.now.ms + 120 * 1000, 100000);
	assert_true(w.runs_new);
}

static void a_sleeper_does_not_wait_awake_for_a_silent_gateway(void **state)
{
	struct node_plan plan = always_on;
	struct world w;
	int64_t awake = 0;

	plan.sleep_ms = 60 * 1000;
	begin(&w, &plan);
	w.deaf = true;
	while (w.now.ms < 3600 * 1000) {
		int64_t before = w.now.ms;
		bool sleeps = w.m.state == NODE_SLEEP;
		live(&w, INT64_MAX, w.n_steps + 1);
		awake += sleeps ? 0 : w.now.ms - before;
	}
	assert_true(awake < 3600 * 1000 / 10);
}

static void a_damaged_image_is_reported_once_and_not_fetched_in_a_circle(void **state)
{
	struct world w;

	begin(&w, &always_on);
	w.damaged = true;
	live(&w, 3600 * 1000, 100000);
	assert_false(w.runs_new);
	assert_int_equal(w.n_failure, 1);
	assert_int_equal(w.n_success, 0);
	assert_int_equal(w.m.phase, NODE_IDLE);
	assert_true(w.m.n_checks < 70);        /* once a watch period */
}

static void a_device_not_enrolled_keeps_asking_now_and_then(void **state)
{
	struct world w;

	begin(&w, &always_on);
	w.enrolled = false;
	live(&w, 600 * 1000, 100000);
	assert_false(w.runs_new);
	assert_in_range(w.m.n_checks, 5, 15);
	w.enrolled = true;
	live(&w, w.now.ms + 120 * 1000, 100000);
	assert_true(w.runs_new);
}

static void a_gateway_that_lost_its_memory_is_told_again_at_the_first_refusal(void **state)
{
	struct world w;

	begin(&w, &always_on);
	w.offered = false;
	live(&w, 100 * 1000, 100000);
	assert_int_equal(w.m.state, NODE_WATCH);
	w.knows = false;
	live(&w, w.now.ms + 67 * 1000, 100000);        /* one watch, a tenth longer, and some answers */
	assert_true(w.knows);
	unsigned n_checks = w.m.n_checks;
	live(&w, w.now.ms + 30 * 1000, 100000);
	assert_in_range(w.m.n_checks, n_checks, n_checks + 1);
}

static void once_ends_at_the_first_rest(void **state)
{
	struct node_plan plan = always_on;
	struct world w;

	plan.once = true;
	begin(&w, &plan);
	live(&w, 3600 * 1000, 100000);
	assert_int_equal(w.m.state, NODE_DONE);
	assert_true(w.runs_new);
	assert_false(node_machine_step(&w.m, NODE_EV_TIMER, w.now));
	assert_false(node_machine_step(&w.m, NODE_EV_CRASH, w.now));
}

static void an_action_that_never_answers_is_given_up(void **state)
{
	struct node_machine m;
	struct mono now = { 0 };

	node_machine_init(&m, &always_on, NODE_IDLE, now, 0);
	assert_true(node_machine_step(&m, NODE_EV_TIMER, now));
	assert_int_equal(m.state, NODE_DISCOVER);
	assert_int_equal(mono_diff_ms(m.timer_at, now), always_on.answer_ms);
	assert_true(node_machine_step(&m, NODE_EV_TIMER, m.timer_at));
	assert_int_equal(m.state, NODE_PAUSE);
}

/* No sequence of events leads out of the table, or into an installation of less than a whole image. */
static void any_events_in_any_order_do_no_harm(void **state)
{
	struct node_plan plan = always_on;
	uint64_t random = 1;

	for (unsigned seed = 0; seed < 200; seed++) {
		struct node_machine m;
		struct mono now = { 0 };
		enum node_phase was;
		plan.seed = seed;
		plan.sleep_ms = seed & 1 ? 1000 : 0;
		plan.multicast = seed & 2;
		node_machine_init(&m, &plan, (enum node_phase)(seed % NODE_PHASE_COUNT), now, 100);
		for (unsigned i = 0; i < 2000; i++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			was = m.phase;
			now.ms += (int64_t)(random >> 52);
			(void)node_machine_step(&m, (enum node_event)((random >> 33) % NODE_EVENT_COUNT), now);
			assert_true(m.state < NODE_STATE_COUNT && m.phase < NODE_PHASE_COUNT);
			assert_true(m.phase != NODE_INSTALLED || was == NODE_INSTALLED || was == NODE_WHOLE);
			assert_true(m.phase != NODE_WHOLE || was == NODE_WHOLE || was == NODE_PULLING);
			assert_true(m.state != NODE_INSTALL || m.phase == NODE_WHOLE);
			assert_true(m.has_timer || m.state == NODE_DONE);
		}
	}
}

static const struct node_plan member = {
	.lifetime_ms = 3600 * 1000, .watch_ms = 60 * 1000, .reboot_ms = 300, .pause_ms = 1000, .pause_max_ms = 60 * 1000,
	.answer_ms = 180 * 1000, .seed = 1, .multicast = true, .listen_ms = 1000,
};

/* Offers by unicast and sessions come from the same gateway: a member has no offer. */
static void begin_member(struct world *w, const struct node_plan *plan)
{
	begin(w, plan);
	w->offered = false;
	w->in_session = true;
}

static void a_member_gets_its_image_by_multicast(void **state)
{
	struct world w;

	begin_member(&w, &member);
	live(&w, 120 * 1000, 1000);
	assert_true(w.runs_new);
	assert_int_equal(w.n_success, 1);
	assert_int_equal(w.reported[1], 0);    /* that it joined is known */
	assert_int_equal(w.reported[2], 1);
	assert_int_equal(w.m.state, NODE_WATCH);
	assert_int_equal(w.m.phase, NODE_IDLE);
}

static void an_invitation_is_taken_when_there_is_nothing_else_to_do(void **state)
{
	struct world w;

	begin_member(&w, &member);
	w.in_session = false;
	live(&w, 10 * 1000, 1000);
	assert_int_equal(w.m.state, NODE_WATCH);
	assert_int_equal(w.n_joins, 1);        /* asked after the boot, and not again by itself */
	live(&w, 600 * 1000, 1000);
	assert_int_equal(w.n_joins, 1);
	w.in_session = true;
	assert_true(node_machine_invite(&w.m));
	feed(&w, NODE_EV_INVITED);
	assert_int_equal(w.m.state, NODE_JOIN);
	live(&w, w.now.ms + 120 * 1000, 1000);
	assert_true(w.runs_new);
	begin_member(&w, &member);
	w.in_session = false;
	w.offered = true;
	live(&w, 60 * 1000, 5);                /* busy with an offer */
	assert_false(node_machine_invite(&w.m));
	live(&w, 120 * 1000, 1000);
	assert_true(w.runs_new);
	assert_int_equal(w.n_joins, 1);
}

static void a_session_that_ends_leaves_the_rest_to_unicast(void **state)
{
	struct world w;

	begin_member(&w, &member);
	w.session_ends = true;
	w.offered = true;
	w.enrolled = true;
	live(&w, 120 * 1000, 1000);
	assert_true(w.runs_new);
	assert_int_equal(w.n_success, 1);
	assert_int_equal(w.m.phase, NODE_IDLE);
}

static void the_power_may_fail_after_every_step_of_a_member(void **state)
{
	struct world w;
	unsigned n_all;

	begin_member(&w, &member);
	live(&w, 120 * 1000, 1000);
	n_all = w.n_steps;
	for (unsigned cut = 0; cut <= n_all; cut++) {
		begin_member(&w, &member);
		live(&w, 120 * 1000, cut);
		power_cut(&w, &member);
		live(&w, w.now.ms + 240 * 1000, 10000);
		assert_true(w.runs_new);
		assert_int_equal(w.n_failure, 0);
		assert_int_equal(w.m.phase, NODE_IDLE);
	}
}

static void members_that_sleep_and_lose_answers_come_to_their_end(void **state)
{
	struct node_plan plan = member;
	struct world w;

	for (uint64_t seed = 1; seed <= 300; seed++) {
		plan.seed = seed;
		plan.crash = seed % 3 ? 0 : 0.1;
		plan.sleep_ms = seed % 2 ? 30 * 1000 : 0;
		begin_member(&w, &plan);
		w.random = seed;
		w.loss = 2 + seed % 5;
		live(&w, 8 * 3600 * 1000, 100000);
		assert_true(w.runs_new);
		assert_true(w.n_success >= 1);
		assert_int_equal(w.m.phase, NODE_IDLE);
	}
}

static void everything_has_a_name(void **state)
{
	for (int i = 0; i < NODE_STATE_COUNT; i++)
		assert_string_not_equal(node_state_name((enum node_state)i), "?");
	for (int i = 0; i < NODE_EVENT_COUNT; i++)
		assert_string_not_equal(node_event_name((enum node_event)i), "?");
	for (int i = 0; i < NODE_PHASE_COUNT; i++)
		assert_string_not_equal(node_phase_name((enum node_phase)i), "?");
	assert_string_equal(node_state_name(NODE_STATE_COUNT), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_offer_becomes_a_running_image_and_a_report),
		cmocka_unit_test(the_power_may_fail_after_every_step),
		cmocka_unit_test(the_power_may_fail_before_the_phase_is_written),
		cmocka_unit_test(a_lossy_network_only_costs_time),
		cmocka_unit_test(a_sleeper_wakes_by_its_period_and_is_silent_in_between),
		cmocka_unit_test(a_sleeper_that_gets_tired_goes_on_at_its_next_wake),
		cmocka_unit_test(the_registration_is_refreshed_before_its_lifetime_ends),
		cmocka_unit_test(a_silent_gateway_is_asked_less_and_less),
		cmocka_unit_test(a_sleeper_does_not_wait_awake_for_a_silent_gateway),
		cmocka_unit_test(a_damaged_image_is_reported_once_and_not_fetched_in_a_circle),
		cmocka_unit_test(a_device_not_enrolled_keeps_asking_now_and_then),
		cmocka_unit_test(a_gateway_that_lost_its_memory_is_told_again_at_the_first_refusal),
		cmocka_unit_test(once_ends_at_the_first_rest),
		cmocka_unit_test(an_action_that_never_answers_is_given_up),
		cmocka_unit_test(any_events_in_any_order_do_no_harm),
		cmocka_unit_test(a_member_gets_its_image_by_multicast),
		cmocka_unit_test(an_invitation_is_taken_when_there_is_nothing_else_to_do),
		cmocka_unit_test(a_session_that_ends_leaves_the_rest_to_unicast),
		cmocka_unit_test(the_power_may_fail_after_every_step_of_a_member),
		cmocka_unit_test(members_that_sleep_and_lose_answers_come_to_their_end),
		cmocka_unit_test(everything_has_a_name),
	};

	return cmocka_run_group_tests_name("node/node_machine", tests, NULL, NULL);
}
