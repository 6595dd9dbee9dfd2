/* The job table and its driver under random events: reports in any order, holds, recalls, devices that go and come back, a full
 * disk, kills. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "rollout/job_run.h"
#include "sim_store.h"
#include "store/audit_log.h"

enum { DEVICES = 6, UPDATES = 4, RETRY_MAX = 3, RETRY_S = 60, STEPS = 600, WALKS = 2000, WALK_STEPS = 40 };

/* ---- the table alone ---- */

static bool is_report(enum job_event ev)
{
	switch (ev) {
	case JOB_EV_PROGRESS:
	case JOB_EV_TRANSFERRED:
	case JOB_EV_APPLYING:
	case JOB_EV_CONFIRMED:
	case JOB_EV_REJECTED:
	case JOB_EV_REVERTED:
	case JOB_EV_DEFER:
		return true;
	case JOB_EV_START:
	case JOB_EV_RESUME:
	case JOB_EV_RETRY:
	case JOB_EV_CANCEL:
	case JOB_EVENT_COUNT:
		return false;
	}
	return false;
}

static void check_step(enum job_state from, enum job_event ev, int to)
{
	if (job_is_open(from)) {               /* none is a dead end */
		SIM_CHECK(job_next(from, JOB_EV_CANCEL) == JOB_CANCELLED && job_next(from, JOB_EV_CONFIRMED) == JOB_CONFIRMED &&
			  job_next(from, JOB_EV_REJECTED) == JOB_FAILED, "%s cannot end", job_state_name(from));
		SIM_CHECK(!is_report(ev) || to >= 0, "%s does not hear %s", job_state_name(from), job_event_name(ev));
	}
	if (to < 0)
		return;
	SIM_CHECK(to < JOB_STATE_COUNT, "%d is no state", to);
	SIM_CHECK(!is_report(ev) || job_next((enum job_state)to, ev) == to, "%s twice is not as once in %s", job_event_name(ev),
		  job_state_name(from));
	SIM_CHECK(from != JOB_CANCELLED || to == JOB_CANCELLED || ev == JOB_EV_RETRY, "%s revives what was cancelled", job_event_name(ev));
	SIM_CHECK(job_is_open(from) || !job_is_open((enum job_state)to) || ev == JOB_EV_RETRY, "%s opens what was %s", job_event_name(ev),
		  job_state_name(from));
	SIM_CHECK(to != JOB_OFFERED || ev == JOB_EV_START, "%s offers", job_event_name(ev));
}

static void walk(uint64_t seed)
{
	sim_begin(seed);
	for (unsigned i = 0; i < WALKS; i++) {
		enum job_state s = JOB_QUEUED;
		for (unsigned k = 0; k < WALK_STEPS; k++) {
			enum job_event ev = (enum job_event)sim_random(JOB_EVENT_COUNT);
			int to = job_next(s, ev);
			check_step(s, ev, to);
			if (to >= 0)
				s = (enum job_state)to;
		}
	}
	(void)sim_end(); /* nothing waits */
}

static void no_walk_through_the_table_breaks_its_rules(void **state)
{
	sim_each_seed(5, walk);
}

/* ---- job_run over a real store ---- */

struct story {
	char dir[64];
	struct loop *loop;
	struct db *db;
	struct audit_log *audit;
	struct job_run *run;
	struct rollout_world world;
	struct delivery_driver driver;
	struct device devices[DEVICES];
	struct update updates[UPDATES];
	char offered[DEVICES][JOB_ID_BYTES];   /* by the driver; "" = nothing */
	bool is_full;
	unsigned n_waiting;                    /* reports not yet answered */
	unsigned n_touched[DEVICES * UPDATES]; /* how often something happened to the job */
	unsigned n_acknowledged, n_checked, n_refused, n_kills;
	/* on disk */
	struct job disk[DEVICES * UPDATES];
	size_t n_disk;
};

static struct story *the;                      /* the driver's functions have no context of their own */

static int device_of(const char *id)
{
	for (int i = 0; i < DEVICES; i++)
		if (strcmp(the->devices[i].id, id) == 0)
			return i;
	return -1;
}

static int on_start(struct delivery_driver *drv, const struct delivery_order *order)
{
	int i = device_of(order->device);

	SIM_CHECK(i >= 0, "an offer for nobody");
	memcpy(the->offered[i], order->job, JOB_ID_BYTES);
	return 0;
}

static void on_cancel(struct delivery_driver *drv, const char *device, const char *job)
{
	int i = device_of(device);

	if (i >= 0 && strcmp(the->offered[i], job) == 0)
		the->offered[i][0] = 0;
}

static const struct delivery_ops driver_ops = { .name = "test", .start = on_start, .cancel = on_cancel };

static const struct device *w_device(void *ctx, const char *id)
{
	int i = device_of(id);

	return i < 0 ? NULL : &the->devices[i];
}

static const struct update *w_update(void *ctx, const char *id)
{
	for (int i = 0; i < UPDATES; i++)
		if (strcmp(the->updates[i].id, id) == 0)
			return &the->updates[i];
	return NULL;
}

static unsigned *touched(const char *device, const char *update)
{
	return &the->n_touched[device_of(device) * UPDATES + (int)(w_update(NULL, update) - the->updates)];
}

static void w_installed(void *ctx, const char *device, const struct update *u, const char *version) { }

static void cancel_others(const char *device, const char *but)
{
	for (const struct job *o = job_run_next_of(the->run, device, NULL); o; o = job_run_next_of(the->run, device, o->id))
		if (job_is_open(o->state) && strcmp(o->id, but) != 0) {
			++*touched(device, o->update);
			(void)job_run_apply(the->run, o->id, JOB_EV_CANCEL, "another one", NULL, NULL); /* open jobs can */
		}
}

/* As the rollout does: a job that is queued again, or whose end was not stored, is started when its update may be offered, in the
 * place of others; and a recall is for those that it did not find open, too. */
static void on_changed(void *ctx, const struct job *j, enum job_state old)
{
	const struct update *u = w_update(NULL, j->update);
	bool is_alone = true;

	for (const struct job *o = job_run_next_of(the->run, j->device, NULL); o; o = job_run_next_of(the->run, j->device, o->id))
		is_alone &= o == j || !job_is_open(o->state);
	if (u->state == UPDATE_RECALLED && job_is_open(j->state)) {
		++*touched(j->device, j->update);
		(void)job_run_apply(the->run, j->id, JOB_EV_CANCEL, "recalled", NULL, NULL); /* open jobs can */
	}
	if (!job_is_open(j->state) || (j->state != JOB_QUEUED && is_alone) || u->state != UPDATE_AVAILABLE)
		return;
	cancel_others(j->device, j->id);
	++*touched(j->device, j->update);
	job_run_start(the->run, j->id);
}

static int on_disk_job(void *ctx, const struct job *j)
{
	struct story *st = ctx;

	SIM_CHECK(st->n_disk < DEVICES * UPDATES, "more jobs on disk than there can be");
	st->disk[st->n_disk++] = *j;
	return 0;
}

static const struct job *read_disk(struct story *st, const char *id)
{
	st->n_disk = 0;
	SIM_CHECK(job_store_load(st->db, on_disk_job, st) == 0, "the jobs cannot be read");
	for (size_t i = 0; i < st->n_disk; i++)
		if (strcmp(st->disk[i].id, id) == 0)
			return &st->disk[i];
	return NULL;
}

/* ---- life ---- */

static void open_all(struct story *st)
{
	st->loop = loop_new();
	SIM_CHECK(sim_db_open(st->dir, st->loop, &st->db) == 0, "the database does not open");
	SIM_CHECK(audit_log_open(st->db, st->dir, "sim", &st->audit) == 0, "the audit log does not open");
	const struct job_run_config c = { .loop = st->loop, .db = st->db, .audit = st->audit, .world = &st->world, .retry_max = RETRY_MAX,
					  .retry_s = RETRY_S, .history_days = 400, .changed = on_changed };
	SIM_CHECK(job_run_open(&c, &st->run) == 0, "the jobs do not open");
	job_run_add_driver(st->run, &st->driver);
	memset(st->offered, 0, sizeof(st->offered));
	st->is_full = false;
}

static void close_all(struct story *st, bool is_kill)
{
	if (is_kill)
		sim_db_die();
	else
		sim_db_fill(st->is_full = false);
	sim_db_let_go(st->db);
	db_flush(st->db);
	SIM_CHECK(st->n_waiting == 0, "%u reports are never answered", st->n_waiting);
	st->run = job_run_close(st->run);
	st->audit = audit_log_close(st->audit);
	st->db = db_close(st->db);
	st->loop = loop_free(st->loop);
}

/* What rollout_run does for one update whose state is new, or after a start. */
static void apply_update(struct story *st, const struct update *u)
{
	for (int i = 0; i < DEVICES; i++)
		++*touched(st->devices[i].id, u->id);
	if (u->state == UPDATE_RECALLED) {
		job_run_cancel_update(st->run, u->id, "recalled");
	} else if (u->state == UPDATE_HELD) {
		job_run_defer_update(st->run, u->id, "held");
	} else {
		job_run_resume_update(st->run, u->id);
		for (const struct job *j = job_run_next(st->run, NULL); j; j = job_run_next(st->run, j->id))
			if (strcmp(j->update, u->id) == 0 && job_is_open(j->state))
				job_run_start(st->run, j->id);
	}
}

static void reopen(struct story *st, bool is_kill)
{
	struct job before[DEVICES * UPDATES];
	size_t n;

	close_all(st, is_kill);
	st->n_kills += is_kill;
	open_all(st);
	(void)read_disk(st, ""); /* only to fill st->disk */
	n = st->n_disk;
	memcpy(before, st->disk, sizeof(before));
	SIM_CHECK(n == job_run_total(st->run), "%zu jobs on disk, %zu in memory", n, job_run_total(st->run));
	for (size_t i = 0; i < n; i++) {
		const struct job *j = job_run_get(st->run, before[i].id);
		SIM_CHECK(j && j->state == before[i].state && j->attempts == before[i].attempts, "job %.12s comes back otherwise", before[i].id);
	}
	for (int i = 0; i < DEVICES; i++) {    /* a cancellation that a full disk did not take is decided again */
		const struct job *open = job_run_open_of(st->run, st->devices[i].id);
		if (open)
			cancel_others(open->device, open->id);
	}
	for (int i = 0; i < UPDATES; i++)
		apply_update(st, &st->updates[i]);
}

static void begin(struct story *st, uint64_t seed)
{
	const char *shm = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

	sim_begin(seed);
	the = st;
	log_set_max_priority(getenv("DORMOUSE_SIM_LOG") ? LOG_DEBUG : LOG_EMERG);
	(void)snprintf(st->dir, sizeof(st->dir), "%s/dormouse-sim-XXXXXX", shm); /* fits */
	SIM_CHECK(mkdtemp(st->dir), "%s cannot be made", st->dir);
	st->world = (struct rollout_world){ .device = w_device, .update = w_update, .installed = w_installed };
	st->driver.ops = &driver_ops;
	for (int i = 0; i < DEVICES; i++) {
		(void)snprintf(st->devices[i].id, sizeof(st->devices[i].id), "device%d", i); /* fits */
		(void)snprintf(st->devices[i].driver, sizeof(st->devices[i].driver), "test"); /* fits */
		st->devices[i].state = DEVICE_ENROLLED;
	}
	for (int i = 0; i < UPDATES; i++) {
		struct digest d = digest_of(SPAN(&i, sizeof(i)));
		digest_hex(&d, st->updates[i].id);
		st->updates[i].state = UPDATE_AVAILABLE;
		st->updates[i].sequence = (uint64_t)i + 1;
	}
	open_all(st);
}

static int rm(const char *path, const struct stat *f, int flag, struct FTW *ftw)
{
	return remove(path);
}

static void end(struct story *st)
{
	close_all(st, false);
	(void)nftw(st->dir, rm, 16, FTW_DEPTH | FTW_PHYS); /* a leftover in memory is no failure */
	(void)sim_end(); /* the hash is for another test */
}

/* ---- random things ---- */

struct told {
	struct story *st;
	char job[JOB_ID_BYTES];
	enum job_event ev;
	const unsigned *touched;
	unsigned n_touched;
};

/* What is acknowledged is on disk: when nothing else happened to the job since, the report has nothing left to change there. */
static void on_told(void *arg, int error)
{
	struct told *t = arg;
	const struct job *j = read_disk(t->st, t->job);
	int to = j ? job_next(j->state, t->ev) : -1;

	SIM_CHECK(t->st->n_waiting > 0, "a report is answered twice");
	t->st->n_waiting--;
	t->st->n_acknowledged += error == 0;
	t->st->n_refused += error != 0;
	if (error == 0 && *t->touched == t->n_touched) {
		SIM_CHECK(j, "%s is acknowledged, and the job is not on disk", job_event_name(t->ev));
		SIM_CHECK(to < 0 || to == (int)j->state, "%s is acknowledged, and on disk the job is %s", job_event_name(t->ev),
			  job_state_name(j->state));
		t->st->n_checked++;
	}
	free(t);
}

static void random_report(struct story *st)
{
	static const struct { unsigned state, result; } words[] = { { 1, 0 }, { 1, 0 }, { 2, 0 }, { 3, 0 }, { 0, 1 }, { 0, 5 }, { 0, 8 }, { 0, 11 } };
	struct delivery_sink sink = job_run_sink(st->run);
	const struct device *d = &st->devices[sim_random(DEVICES)];
	const struct update *u = &st->updates[sim_random(UPDATES)];
	size_t k = sim_random(sizeof(words) / sizeof(*words));
	struct node_report r = { .state = words[k].state, .result = words[k].result };
	struct told *t = calloc(1, sizeof(*t));

	t->st = st;
	t->ev = job_event_from_report(r.state, r.result);
	job_id_of(u->id, d->id, t->job);
	if (!job_run_get(st->run, t->job)) {
		free(t);
		return;
	}
	assert_int_equal(digest_parse(span_str(u->id), &r.manifest_digest), 0);
	t->touched = touched(d->id, u->id);
	t->n_touched = ++*touched(d->id, u->id);
	st->n_waiting++;
	sink.report(sink.ctx, d->id, &r, on_told, t);
}

static void random_update(struct story *st)
{
	struct update *u = &st->updates[sim_random(UPDATES)];

	if (u->state == UPDATE_RECALLED)
		return;
	u->state = sim_chance(0.08) ? UPDATE_RECALLED : u->state == UPDATE_HELD || sim_chance(0.4) ? UPDATE_AVAILABLE : UPDATE_HELD;
	apply_update(st, u);
}

static void random_job(struct story *st)
{
	const struct device *d = &st->devices[sim_random(DEVICES)];
	const struct update *u = &st->updates[sim_random(UPDATES)];
	char id[JOB_ID_BYTES];

	if (u->state != UPDATE_AVAILABLE)
		return;
	job_id_of(u->id, d->id, id);
	cancel_others(d->id, id);              /* one open job a device, as the rollout keeps it */
	++*touched(d->id, u->id);
	(void)job_run_create(st->run, u, d, "rollout"); /* there already is fine */
	const struct job *j = job_run_get(st->run, id);
	if (j && j->state == JOB_QUEUED)
		job_run_start(st->run, j->id);
}

static void random_progress(struct story *st)
{
	struct delivery_sink sink = job_run_sink(st->run);
	int i = (int)sim_random(DEVICES);

	const struct job *j = st->offered[i][0] ? job_run_get(st->run, st->offered[i]) : NULL;
	if (!j)
		return;
	++*touched(j->device, j->update);
	sink.progress(sink.ctx, j->id, sim_random(1000), 1000);
}

/* A person removes the device; it comes back at once, and its jobs have the same names as before. */
static void random_removal(struct story *st)
{
	const struct device *d = &st->devices[sim_random(DEVICES)];

	for (int i = 0; i < UPDATES; i++)
		++*touched(d->id, st->updates[i].id);
	job_run_forget_device(st->run, d->id);
	SIM_CHECK(!st->offered[device_of(d->id)][0], "a device that is gone has an offer");
	SIM_CHECK(!job_run_open_of(st->run, d->id), "a device that is gone has a job");
	for (int i = 0; i < UPDATES; i++)
		if (st->updates[i].state == UPDATE_AVAILABLE && sim_chance(0.5)) {
			char id[JOB_ID_BYTES];
			job_id_of(st->updates[i].id, d->id, id);
			cancel_others(d->id, id);
			assert_int_equal(job_run_create(st->run, &st->updates[i], d, "rollout"), 0);
			job_run_start(st->run, id);
		}
}

static void random_thing(struct story *st)
{
	switch (sim_random(12)) {
	case 0 ... 4:
		random_report(st);
		break;
	case 5 ... 6:
		random_progress(st);
		break;
	case 7 ... 8:
		random_job(st);
		break;
	case 9:
		if (sim_chance(0.3))
			random_update(st);
		else if (sim_chance(0.1))
			random_removal(st);
		break;
	case 10:
		if (sim_chance(0.1))
			sim_db_fill(st->is_full = !st->is_full);
		break;
	default:
		if (sim_chance(0.1))
			reopen(st, sim_chance(0.8));
		break;
	}
}

/* ---- when all is quiet ---- */

static bool is_quiet(void *ctx)
{
	return db_queue_length(((struct story *)ctx)->db) == 0;
}

static void check_quiet(struct story *st)
{
	unsigned n_open[DEVICES] = { 0 };

	SIM_CHECK(st->n_waiting == 0, "%u reports wait for an answer", st->n_waiting);
	for (const struct job *j = job_run_next(st->run, NULL); j; j = job_run_next(st->run, j->id)) {
		const struct job *d = read_disk(st, j->id);
		const struct update *u = w_update(NULL, j->update);
		bool is_offered = strcmp(st->offered[device_of(j->device)], j->id) == 0;
		bool goes = job_is_open(j->state) && j->state != JOB_QUEUED && j->state != JOB_DEFERRED;
		SIM_CHECK(d && d->state == j->state && d->attempts == j->attempts, "job %.12s is %s (%u), and on disk %s (%u)", j->id,
			  job_state_name(j->state), j->attempts, d ? job_state_name(d->state) : "not", d ? d->attempts : 0);
		SIM_CHECK(u->state != UPDATE_RECALLED || !job_is_open(j->state), "job %.12s of a recalled update is %s", j->id, job_state_name(j->state));
		/* An offer may outlive a hold that a report overtook: then the source refuses the bytes. A recall ends it. */
		SIM_CHECK(!is_offered || u->state != UPDATE_RECALLED, "an update that is recalled is offered");
		SIM_CHECK(!is_offered || job_is_open(j->state), "job %.12s is %s and offered", j->id, job_state_name(j->state));
		SIM_CHECK(!goes || u->state != UPDATE_AVAILABLE || is_offered, "job %.12s is %s, and nobody offers it", j->id,
			  job_state_name(j->state));
		SIM_CHECK(!goes || ++n_open[device_of(j->device)] == 1, "%s has two jobs", j->device);
		SIM_CHECK(j->attempts <= RETRY_MAX, "job %.12s was offered %u times", j->id, j->attempts);
	}
}

static struct { unsigned n_checked, n_refused, n_kills; } sum; /* of all stories: one alone may be dull */

static void random_story(uint64_t seed)
{
	struct story *st = calloc(1, sizeof(*st));

	begin(st, seed);
	for (unsigned i = 1; i <= STEPS; i++) {
		random_thing(st);
		sim_run_to(sim_now() + sim_between(0, sim_chance(0.02) ? 2 * RETRY_S * SIM_SECOND : 50));
		if (i % 100 != 0)
			continue;
		sim_db_fill(st->is_full = false);
		sim_run_to(sim_now() + 20 * SIM_SECOND);       /* the slowest disk, and what is stored again each second */
		SIM_CHECK(sim_run_until(is_quiet, st, sim_now() + SIM_MINUTE), "the disk is never done");
		check_quiet(st);
	}
	if (getenv("DORMOUSE_SIM_VERBOSE"))
		fprintf(stderr, "seed %llu: %u acknowledged (%u undisturbed), %u refused, %u kills, %zu jobs\n", (unsigned long long)seed,
			st->n_acknowledged, st->n_checked, st->n_refused, st->n_kills, job_run_total(st->run));
	sum.n_checked += st->n_checked;
	sum.n_refused += st->n_refused;
	sum.n_kills += st->n_kills;
	end(st);
	free(st);
}

static void memory_disk_and_offers_agree_whatever_happens(void **state)
{
	sim_each_seed(60, random_story);
	if (!getenv("DORMOUSE_SIM_SEED"))
		assert_true(sum.n_checked > 1000 && sum.n_refused > 100 && sum.n_kills > 60);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_walk_through_the_table_breaks_its_rules),
		cmocka_unit_test(memory_disk_and_offers_agree_whatever_happens),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("sim/jobs", tests, NULL, NULL);
}
