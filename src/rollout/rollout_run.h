/* rollout/rollout_run.h - decides who gets what and when, by rollout/selection, and lets job_run do it. Told of
 * every change of a device or an update; looks at one device or, for a new update, at all of them a slice per turn
 * of the loop. Also the source of bytes for the drivers: verified files only. Loop thread. */
#pragma once
#include "io/worker.h"
#include "rollout/job_run.h"
#include "rollout/selection.h"
#include "store/image_cache.h"

struct rollout_run;

struct rollout_run_config {
	struct loop *loop;
	struct worker_pool *workers;
	struct db *db;
	struct audit_log *audit;
	struct image_cache *images;
	const struct rollout_world *world;     /* borrowed; outlives the rollout */
	uint32_t retry_max, retry_s, history_days;
};

int rollout_run_open(const struct rollout_run_config *c, struct rollout_run **ret);
/* After the drivers are added: verify the files of available updates again and offer every open job. */
void rollout_run_begin(struct rollout_run *r);
struct rollout_run *rollout_run_close(struct rollout_run *r);

struct job_run *rollout_run_jobs(struct rollout_run *r);
struct delivery_source rollout_run_source(struct rollout_run *r);

/* An update changed state or approval; old tells from where. */
void rollout_update_changed(struct rollout_run *r, const struct update *u);
/* A device was enrolled, changed, or reported what it runs. */
void rollout_device_changed(struct rollout_run *r, const struct device *d);
/* What stood against some jobs has passed. */
void rollout_look_again(struct rollout_run *r);
void rollout_device_removed(struct rollout_run *r, const char *device);

/* Every rule between this device and this update, as decided now. -ENOENT. */
int rollout_why_not(struct rollout_run *r, const char *device, const char *update, struct selection *ret);
const struct rollout *rollout_run_get(const struct rollout_run *r, const char *id);
const struct rollout *rollout_run_next(const struct rollout_run *r, const char *after);
/* A person's retry of a finished job: -ENOENT, -EPROTO. */
int rollout_retry_job(struct rollout_run *r, const char *job, const char *who);
int rollout_cancel_job(struct rollout_run *r, const char *job, const char *who);
