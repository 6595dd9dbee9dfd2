/* The rollout with a real loop, store and cache, and a driver and a world made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "delivery/multicast.h"
#include "rollout/rollout_run.h"
#include "../disk_full.h"
#include "../scratch.h"
#include "../until.h"

enum { DEVICES = 3, PATIENCE_MS = 25000 };

struct fixture {
	char dir[64];
	struct loop *loop;
	struct worker_pool *workers;
	struct db *db;
	struct loop_io *db_io;
	struct audit_log *audit;
	struct image_cache *images;
	struct rollout_world world;
	struct rollout_run *run;
	struct delivery_driver driver;
	struct update u;
	struct device d[DEVICES];
	unsigned n_started, n_cancelled, n_installed;
	bool is_gone;                          /* the first device is not known */
	char offered[DEVICES][JOB_ID_BYTES];
};

static struct fixture *the; /* the driver's functions have no context of their own */

static int drv_start(struct delivery_driver *drv, const struct delivery_order *order)
{
	(void)drv;
	the->n_started++;
	for (int i = 0; i < DEVICES; i++)
		if (strcmp(order->device, the->d[i].id) == 0)
			memcpy(the->offered[i], order->job, JOB_ID_BYTES);
	return 0;
}

static void drv_cancel(struct delivery_driver *drv, const char *device, const char *job)
{
	(void)drv;
	(void)job;
	the->n_cancelled++;
	for (int i = 0; i < DEVICES; i++)
		if (strcmp(device, the->d[i].id) == 0)
			the->offered[i][0] = 0;
}

static const struct delivery_ops drv_ops = { .name = "test", .start = drv_start, .cancel = drv_cancel };

static const struct device *w_device(void *ctx, const char *id)
{
	struct fixture *f = ctx;

	for (int i = f->is_gone; i < DEVICES; i++)
		if (strcmp(f->d[i].id, id) == 0)
			return &f->d[i];
	return NULL;
}

static const struct device *w_device_next(void *ctx, const char *after)
{
	struct fixture *f = ctx;

	if (!after)
		return &f->d[f->is_gone];
	for (int i = 0; i + 1 < DEVICES; i++)
		if (strcmp(f->d[i].id, after) == 0)
			return &f->d[i + 1];
	return NULL;
}

static const struct update *w_update(void *ctx, const char *id)
{
	struct fixture *f = ctx;

	return strcmp(f->u.id, id) == 0 ? &f->u : NULL;
}

static const struct update *w_update_next(void *ctx, const char *after)
{
	struct fixture *f = ctx;

	return after ? NULL : &f->u;
}

static int w_mac_key(void *ctx, const char *device, uint8_t *ret, size_t max)
{
	(void)ctx;
	(void)device;
	(void)ret;
	(void)max;
	return -ENOENT;
}

static void w_installed(void *ctx, const char *device, const struct update *u, const char *version)
{
	struct fixture *f = ctx;
	struct device_component c = { .has_sequence = true, .sequence = u->sequence };

	(void)version;
	for (int i = 0; i < DEVICES; i++)
		if (strcmp(f->d[i].id, device) == 0)
			assert_int_equal(device_component_put(&f->d[i], &c), 0);
	f->n_installed++;
}

static void w_image_lost(void *ctx, const struct digest *d)
{
	(void)ctx;
	(void)d;
}

static void on_db(void *ctx, int fd, unsigned what)
{
	(void)fd;
	(void)what;
	db_dispatch(((struct fixture *)ctx)->db);
}

static void open_all(struct fixture *f)
{
	f->loop = loop_new();
	f->workers = worker_pool_new(f->loop, 1);
	assert_int_equal(db_open(f->dir, &f->db), 0);
	f->db_io = loop_io_new(f->loop, db_fd(f->db), LOOP_READ, on_db, f);
	assert_int_equal(audit_log_open(f->db, f->dir, "test", &f->audit), 0);
	assert_int_equal(image_cache_open(f->dir, 1 << 20, &f->images), 0);
	struct rollout_run_config c = { .loop = f->loop, .workers = f->workers, .db = f->db, .audit = f->audit, .images = f->images,
					.world = &f->world, .retry_max = 2, .retry_s = 0, .history_days = 1 };
	assert_int_equal(rollout_run_open(&c, &f->run), 0);
	f->driver.ops = &drv_ops;
	job_run_add_driver(rollout_run_jobs(f->run), &f->driver);
	memset(f->offered, 0, sizeof(f->offered));
	f->n_started = f->n_cancelled = 0;
}

static void close_all(struct fixture *f)
{
	f->workers = worker_pool_free(f->workers);
	db_flush(f->db);
	f->run = rollout_run_close(f->run);
	f->images = image_cache_close(f->images);
	f->audit = audit_log_close(f->audit);
	loop_io_free(f->db_io);
	f->db = db_close(f->db);
	f->loop = loop_free(f->loop);
}

static void run_until(struct fixture *f, bool (*test)(void *ctx))
{
	assert_true(until(f->loop, test, f, PATIENCE_MS));
}

static bool all_in(struct fixture *f, enum job_state s)
{
	for (int i = 0; i < DEVICES; i++) {
		const struct job *j = job_run_find(rollout_run_jobs(f->run), f->u.id, f->d[i].id);
		if (!j || j->state != s)
			return false;
	}
	return true;
}

static bool all_offered(void *ctx)
{
	struct fixture *f = ctx;

	return all_in(f, JOB_OFFERED) && f->offered[0][0] && f->offered[1][0] && f->offered[2][0];
}

static bool all_cancelled(void *ctx)
{
	struct fixture *f = ctx;

	return all_in(f, JOB_CANCELLED) && f->n_cancelled >= DEVICES;
}

static bool one_confirmed(void *ctx)
{
	struct fixture *f = ctx;

	return f->n_installed == 1 && db_queue_length(f->db) == 0;
}

static bool queue_empty(void *ctx)
{
	struct fixture *f = ctx;

	return db_queue_length(f->db) == 0;
}

static int count_cancelled(void *ctx, const struct job *j)
{
	*(size_t *)ctx += j->state == JOB_CANCELLED;
	return 0;
}

static bool all_cancelled_on_disk(void *ctx)
{
	struct fixture *f = ctx;
	size_t n = 0;

	return !db_is_failing(f->db) && job_store_load(f->db, count_cancelled, &n) == 0 && n == DEVICES;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	log_set_max_priority(LOG_ALERT);
	the = f;
	snprintf(f->dir, sizeof(f->dir), "/tmp/dormouse-rollout-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->world = (struct rollout_world){ .device = w_device, .device_next = w_device_next, .update = w_update, .update_next = w_update_next,
					   .mac_key = w_mac_key, .installed = w_installed, .image_lost = w_image_lost, .ctx = f };
	for (int i = 0; i < DEVICES; i++) {
		snprintf(f->d[i].id, sizeof(f->d[i].id), "node-%d", i);
		snprintf(f->d[i].driver, sizeof(f->d[i].driver), "test");
		f->d[i].state = DEVICE_ENROLLED;
		f->d[i].model.has_vendor = f->d[i].model.has_class = true;
	}
	struct digest manifest = digest_of(SPAN_LIT("manifest"));
	digest_hex(&manifest, f->u.id);
	f->u.state = UPDATE_AVAILABLE;
	f->u.approved = true;
	f->u.sequence = 2;
	f->u.n_components = 1;
	f->u.components[0].n_vendor_id = f->u.components[0].n_class_id = 1;
	open_all(f);
	assert_int_equal(image_cache_put(f->images, SPAN_LIT("envelope"), &f->u.envelope), 0);
	image_cache_added(f->images, &f->u.envelope, 8);
	f->u.n_images = 1;
	f->u.images[0].bytes = 5;
	assert_int_equal(image_cache_put(f->images, SPAN_LIT("image"), &f->u.images[0].digest), 0);
	image_cache_added(f->images, &f->u.images[0].digest, 5);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close_all(f);
	scratch_remove(f->dir);
	free(f);
	return 0;
}

static void set_result(void *arg, int error)
{
	*(int *)arg = error;
}

static void report(struct fixture *f, int device, unsigned state, unsigned result, int *ret)
{
	struct delivery_sink sink = job_run_sink(rollout_run_jobs(f->run));
	struct node_report r = { .state = state, .result = result };

	assert_int_equal(digest_parse(span_str(f->u.id), &r.manifest_digest), 0);
	*ret = 1;
	sink.report(sink.ctx, f->d[device].id, &r, set_result, ret);
}

static void every_fitting_device_gets_a_job_and_an_offer(void **state)
{
	struct fixture *f = *state;
	struct coap_body_reader reader;
	struct digest manifest;
	uint8_t bytes[5];

	assert_int_equal(digest_parse(span_str(f->u.id), &manifest), 0);

	rollout_run_begin(f->run);
	run_until(f, all_offered);
	struct delivery_source src = rollout_run_source(f->run);
	assert_int_equal(src.open_image(src.ctx, &manifest, &f->u.images[0].digest, &reader), 0);
	assert_int_equal(reader.bytes, 5);
	assert_int_equal(reader.read(reader.ctx, 0, bytes, 5), 0);
	assert_memory_equal(bytes, "image", 5);
	reader.release(reader.ctx);
}

static void a_recall_cancels_and_withdraws_every_offer(void **state)
{
	struct fixture *f = *state;

	rollout_run_begin(f->run);
	run_until(f, all_offered);
	f->u.state = UPDATE_RECALLED;
	rollout_update_changed(f->run, &f->u);
	run_until(f, all_cancelled);
	for (int i = 0; i < DEVICES; i++)
		assert_false(f->offered[i][0]);
}

static void jobs_survive_a_restart_and_are_offered_again(void **state)
{
	struct fixture *f = *state;
	char job[JOB_ID_BYTES];

	rollout_run_begin(f->run);
	run_until(f, all_offered);
	memcpy(job, f->offered[1], sizeof(job));
	run_until(f, queue_empty);
	close_all(f);
	open_all(f);
	assert_true(all_in(f, JOB_OFFERED));
	rollout_run_begin(f->run);
	run_until(f, all_offered);
	assert_string_equal(job, f->offered[1]);
	assert_int_equal(job_run_total(rollout_run_jobs(f->run)), DEVICES);
}

static void a_report_is_answered_after_it_is_stored(void **state)
{
	struct fixture *f = *state;
	int result;

	rollout_run_begin(f->run);
	run_until(f, all_offered);
	report(f, 0, 3, 0, &result);
	assert_int_equal(result, 1); /* not yet */
	db_flush(f->db);
	assert_int_equal(result, 0);
	report(f, 0, 0, 1, &result);
	run_until(f, one_confirmed);
	assert_int_equal(result, 0);
	report(f, 0, 0, 1, &result); /* again: acknowledged, nothing changes */
	assert_int_equal(result, 0);
	assert_int_equal(job_run_count(rollout_run_jobs(f->run), f->u.id, JOB_CONFIRMED), 1);
}

static void a_failure_is_tried_again_and_then_no_more(void **state)
{
	struct fixture *f = *state;
	int result;

	rollout_run_begin(f->run);
	run_until(f, all_offered);
	const struct job *j = job_run_find(rollout_run_jobs(f->run), f->u.id, "node-0");
	assert_int_equal(j->attempts, 1);
	report(f, 0, 0, 5, &result);
	db_flush(f->db);
	assert_int_equal(j->state, JOB_FAILED);
	run_until(f, all_offered); /* retry_s is 0 */
	assert_int_equal(j->attempts, 2);
	report(f, 0, 0, 5, &result);
	db_flush(f->db);
	struct selection s;
	assert_int_equal(rollout_why_not(f->run, "node-0", f->u.id, &s), 0);
	assert_string_equal(s.blocks[0].rule, "retries");
	assert_int_equal(rollout_retry_job(f->run, j->id, "a person"), 0);
}

static bool image_dropped(void *ctx)
{
	struct fixture *f = ctx;

	return !image_cache_has(f->images, &f->u.images[0].digest, NULL);
}

static void a_damaged_image_is_never_offered(void **state)
{
	struct fixture *f = *state;
	char path[200], hex[DIGEST_HEX_BYTES];

	snprintf(path, sizeof(path), "%s/images/%s", f->dir, digest_hex(&f->u.images[0].digest, hex));
	assert_int_equal(chmod(path, 0600), 0);
	FILE *file = fopen(path, "r+");
	assert_non_null(file);
	fputc('I', file);
	fclose(file);
	rollout_run_begin(f->run);
	run_until(f, image_dropped);
	assert_int_equal(f->n_started, 0);
}

static void a_recall_withdraws_even_when_the_disk_is_full_and_is_stored_later(void **state)
{
	struct fixture *f = *state;
	struct delivery_source src = rollout_run_source(f->run);
	struct coap_body_reader reader;
	struct digest manifest;

	rollout_run_begin(f->run);
	run_until(f, all_offered);
	run_until(f, queue_empty);
	disk_full(true);
	f->u.state = UPDATE_RECALLED;
	rollout_update_changed(f->run, &f->u);
	assert_int_equal(digest_parse(span_str(f->u.id), &manifest), 0);
	assert_int_equal(src.open_image(src.ctx, &manifest, &f->u.images[0].digest, &reader), -ENOENT); /* at once */
	run_until(f, all_cancelled);
	assert_false(f->offered[0][0] || f->offered[1][0] || f->offered[2][0]);
	rollout_device_changed(f->run, &f->d[0]);
	db_flush(f->db);
	assert_false(f->offered[0][0]);
	assert_true(db_is_failing(f->db));
	disk_full(false);
	run_until(f, all_cancelled_on_disk);
	close_all(f);
	open_all(f);
	assert_true(all_in(f, JOB_CANCELLED));
}

static void a_device_that_is_removed_and_comes_back_starts_anew(void **state)
{
	struct fixture *f = *state;

	rollout_run_begin(f->run);
	run_until(f, all_offered);
	f->is_gone = true;
	rollout_device_removed(f->run, "node-0");
	assert_false(f->offered[0][0]); /* though nobody can tell its driver any more */
	assert_null(job_run_find(rollout_run_jobs(f->run), f->u.id, "node-0"));
	f->is_gone = false;
	rollout_device_changed(f->run, &f->d[0]);
	run_until(f, all_offered);
}

static bool first_is(struct fixture *f, enum job_state s)
{
	return job_run_find(rollout_run_jobs(f->run), f->u.id, "node-0")->state == s;
}

static bool first_is_reverted(void *ctx)
{
	return first_is(ctx, JOB_REVERTED) && queue_empty(ctx);
}

static void a_device_that_runs_the_older_one_again_is_reverted_and_offered_again(void **state)
{
	struct fixture *f = *state;
	int result;

	rollout_run_begin(f->run);
	run_until(f, all_offered);
	report(f, 0, 0, 1, &result);
	run_until(f, one_confirmed);
	assert_int_equal(result, 0);
	rollout_device_changed(f->run, &f->d[0]); /* it registers with what it runs: nothing new */
	assert_true(first_is(f, JOB_CONFIRMED));
	f->d[0].components[0].sequence = 1;
	rollout_device_changed(f->run, &f->d[0]);
	run_until(f, first_is_reverted);
	run_until(f, all_offered);
	f->d[0].components[0].sequence = 2; /* and now it stays */
	rollout_device_changed(f->run, &f->d[0]);
	db_flush(f->db);
	assert_true(first_is(f, JOB_CONFIRMED));
}

static void a_node_that_puts_it_off_is_asked_again(void **state)
{
	struct fixture *f = *state;
	int result;

	rollout_run_begin(f->run);
	run_until(f, all_offered);
	report(f, 0, 0, 11, &result);
	db_flush(f->db);
	assert_true(first_is(f, JOB_DEFERRED));
	assert_false(f->offered[0][0]);
	run_until(f, all_offered); /* retry_s is 0 */
}

static void no_job_of_a_recalled_update_is_tried_again(void **state)
{
	struct fixture *f = *state;
	int result;

	rollout_run_begin(f->run);
	run_until(f, all_offered);
	report(f, 0, 0, 8, &result);
	f->u.state = UPDATE_RECALLED;
	rollout_update_changed(f->run, &f->u);
	(void)until(f->loop, all_offered, f, 1500); /* longer than a look at what may be tried again */
	assert_true(first_is(f, JOB_FAILED));
	assert_int_equal(rollout_retry_job(f->run, job_run_find(rollout_run_jobs(f->run), f->u.id, "node-0")->id, "a person"), -EPROTO);
}

/* ---- the way an image takes ---- */

struct way_driver {
	struct delivery_driver driver;
	bool has[DEVICES];                     /* an order of this device */
};
static struct way_driver pull, group;
static struct multicast_facts facts;           /* of every device but the last, which is in no group */

void multicast_facts_get(const struct delivery_driver *drv, const char *device, const struct digest *manifest, struct multicast_facts *ret)
{
	assert_ptr_equal(drv, &group.driver);
	*ret = strcmp(device, the->d[DEVICES - 1].id) == 0 ? (struct multicast_facts){ 0 } : facts;
}

static int way_start(struct delivery_driver *drv, const struct delivery_order *order)
{
	for (int i = 0; i < DEVICES; i++)
		if (strcmp(order->device, the->d[i].id) == 0)
			((struct way_driver *)drv)->has[i] = true;
	return 0;
}

static void way_cancel(struct delivery_driver *drv, const char *device, const char *job)
{
	for (int i = 0; i < DEVICES; i++)
		if (strcmp(device, the->d[i].id) == 0)
			((struct way_driver *)drv)->has[i] = false;
}

static bool all_on_their_way(void *ctx)
{
	struct fixture *f = ctx;

	return all_in(f, JOB_OFFERED) && pull.has[0] + group.has[0] == 1 && pull.has[1] + group.has[1] == 1 && pull.has[2] + group.has[2] == 1;
}

static void members_of_a_group_go_with_it_and_the_others_by_themselves(void **state)
{
	static const struct delivery_ops pull_ops = { .name = "coap-pull", .start = way_start, .cancel = way_cancel };
	static const struct delivery_ops group_ops = { .name = "multicast", .start = way_start, .cancel = way_cancel };
	struct fixture *f = *state;
	struct multicast_choice way;

	pull = (struct way_driver){ .driver = { &pull_ops } };
	group = (struct way_driver){ .driver = { &group_ops } };
	facts = (struct multicast_facts){ .in_group = true, .group = "hall", .is_up = true, .bytes_max = 1000 };
	for (int i = 0; i < DEVICES; i++)
		snprintf(f->d[i].driver, sizeof(f->d[i].driver), "coap-pull");
	struct job_run *jobs = rollout_run_jobs(f->run);
	job_run_add_driver(jobs, &pull.driver);
	job_run_add_driver(jobs, &group.driver);
	rollout_run_begin(f->run);
	run_until(f, all_on_their_way);
	assert_true(group.has[0] && group.has[1] && pull.has[2]);
	job_run_way(jobs, &f->u, f->d[0].id, &way);
	assert_true(way.multicast);
	job_run_way(jobs, &f->u, f->d[2].id, &way);
	assert_false(way.multicast);
	assert_string_equal(way.rule, "group");

	/* It refused, and its job is started again: by itself now, and no longer with the group. */
	facts.was_left = true;
	job_run_start(jobs, job_run_find(jobs, f->u.id, f->d[1].id)->id);
	assert_true(pull.has[1] && !group.has[1]);

	/* One that has the image is not put into another session after a restart; in its own it stays. */
	facts.was_left = false;
	facts.is_in_session = true;
	assert_int_equal(job_run_apply(jobs, job_run_find(jobs, f->u.id, f->d[0].id)->id, JOB_EV_TRANSFERRED, NULL, NULL, NULL), 0);
	db_flush(f->db);
	db_dispatch(f->db);
	assert_true(group.has[0]);
	facts.is_in_session = false;
	job_run_start(jobs, job_run_find(jobs, f->u.id, f->d[0].id)->id);
	assert_true(pull.has[0] && !group.has[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_fitting_device_gets_a_job_and_an_offer, setup, teardown),
		cmocka_unit_test_setup_teardown(a_recall_cancels_and_withdraws_every_offer, setup, teardown),
		cmocka_unit_test_setup_teardown(jobs_survive_a_restart_and_are_offered_again, setup, teardown),
		cmocka_unit_test_setup_teardown(a_report_is_answered_after_it_is_stored, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failure_is_tried_again_and_then_no_more, setup, teardown),
		cmocka_unit_test_setup_teardown(a_damaged_image_is_never_offered, setup, teardown),
		cmocka_unit_test_setup_teardown(a_recall_withdraws_even_when_the_disk_is_full_and_is_stored_later, setup, teardown),
		cmocka_unit_test_setup_teardown(a_device_that_is_removed_and_comes_back_starts_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(a_device_that_runs_the_older_one_again_is_reverted_and_offered_again, setup, teardown),
		cmocka_unit_test_setup_teardown(a_node_that_puts_it_off_is_asked_again, setup, teardown),
		cmocka_unit_test_setup_teardown(no_job_of_a_recalled_update_is_tried_again, setup, teardown),
		cmocka_unit_test_setup_teardown(members_of_a_group_go_with_it_and_the_others_by_themselves, setup, teardown),
	};
	return cmocka_run_group_tests_name("rollout/rollout_run", tests, NULL, NULL);
}
