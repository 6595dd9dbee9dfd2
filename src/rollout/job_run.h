/* rollout/job_run.h - every job, and the one function that changes their state: persist, then log, then act.
 * Actions are safe to repeat, so a restart enters the stored state again. Loop thread. */
#pragma once
#include "delivery/delivery.h"
#include "io/loop.h"
#include "rollout/multicast_choice.h"
#include "rollout/world.h"
#include "store/audit_log.h"
#include "store/job_store.h"

enum { JOB_RUN_DRIVERS_MAX = 8 };

struct job_run;

struct job_run_config {
	struct loop *loop;
	struct db *db;
	struct audit_log *audit;
	const struct rollout_world *world;
	uint32_t retry_max, retry_s, history_days;
	/* A job changed state, after it was persisted; or its end was not persisted, and it is open again. */
	void (*changed)(void *ctx, const struct job *j, enum job_state old);
	void *changed_ctx;
};

int job_run_open(const struct job_run_config *c, struct job_run **ret);        /* loads; starts nothing */
struct job_run *job_run_close(struct job_run *r);
void job_run_add_driver(struct job_run *r, struct delivery_driver *drv);       /* borrowed */
bool job_run_has_driver(const struct job_run *r, const char *name);
struct delivery_sink job_run_sink(struct job_run *r);

/* The job of (update, device), made when it is not there; queued. -EEXIST when it is there already. */
int job_run_create(struct job_run *r, const struct update *u, const struct device *d, const char *rollout);
/* Offer a queued job, or offer again (after a restart) what is open. */
void job_run_start(struct job_run *r, const char *job);
/* -ENOENT no such job, -EPROTO not possible from its state; otherwise done is called after the commit (may be NULL). */
int job_run_apply(struct job_run *r, const char *job, enum job_event ev, const char *reason, delivery_done_fn *done, void *arg);
/* Cancel every open job of an update: a slice now, the rest as the disk takes it. The last such call for an update counts. */
void job_run_cancel_update(struct job_run *r, const char *update, const char *reason);
/* Hold (or let go) every open job of an update that is held for now. */
void job_run_defer_update(struct job_run *r, const char *update, const char *reason);
void job_run_resume_update(struct job_run *r, const char *update);

/* The device is gone: withdraw its offers and drop its jobs; the audit log keeps what was. */
void job_run_forget_device(struct job_run *r, const char *device);

/* Whether the device's image comes with its multicast group, as it stands now, and why (for one whose driver is coap-pull). */
void job_run_way(const struct job_run *r, const struct update *u, const char *device, struct multicast_choice *ret);

const struct job *job_run_get(const struct job_run *r, const char *id);
const struct job *job_run_find(const struct job_run *r, const char *update, const char *device);
const struct job *job_run_open_of(const struct job_run *r, const char *device);        /* the device's open job; NULL */
const struct job *job_run_next_of(const struct job_run *r, const char *device, const char *after);        /* of one device */
const struct job *job_run_next(const struct job_run *r, const char *after);            /* in order of creation; NULL after = first */
size_t job_run_count(const struct job_run *r, const char *update, enum job_state s);   /* of one update; constant time */
size_t job_run_total(const struct job_run *r);
