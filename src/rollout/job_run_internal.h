/* rollout/job_run_internal.h - the jobs' state, shared by the files that make it up:
 *   job_run.c     what happens to a job: persisted, then done
 *   job_index.c   the jobs in memory, by id, by device, by update with their counts; questions about them
 * Nobody else includes this. */
#pragma once
#include <uthash.h>

#include "rollout/job_run.h"

struct job_entry {
	struct job j;
	unsigned progress_step;                /* last shown */
	bool waits_retry, is_unsaved;
	uint64_t serial;                       /* an id may come back: the answers to its stores must not be taken for each other's */
	unsigned n_pending;                    /* stores under way */
	enum job_state settled;                /* what the disk holds, or what holds whatever the disk says */
	unsigned settled_attempts;
	bool is_settled_stored;
	struct job_entry *prev, *next;         /* the retry list */
	struct job_entry *device_prev, *device_next, *update_prev, *update_next, *unsaved_prev, *unsaved_next;
	UT_hash_handle hh;                     /* by id */
};

struct device_jobs {
	char device[DEVICE_ID_BYTES];
	struct job_entry *list;
	UT_hash_handle hh;
};

struct update_counts {
	char update[UPDATE_ID_BYTES];
	size_t n[JOB_STATE_COUNT];
	struct job_entry *list;
	enum job_event sweep;                  /* under way for all its open jobs; JOB_EVENT_COUNT = none */
	char reason[JOB_REASON_BYTES];         /* of the sweep */
	UT_hash_handle hh;
};

struct job_run {
	struct job_run_config c;
	struct delivery_driver *drivers[JOB_RUN_DRIVERS_MAX];
	size_t n_drivers;
	struct job_entry *jobs;
	struct device_jobs *by_device;
	struct update_counts *counts;
	struct job_entry *retry, *unsaved;
	uint64_t serial;
	struct loop_timer *retry_timer, *prune_timer, *sweep_timer;
};

/* job_index.c */
struct job_entry *job_index_find(const struct job_run *r, const char *id);
struct job_entry *job_index_add(struct job_run *r, const struct job *j);
void job_index_remove(struct job_run *r, struct job_entry *e);          /* frees it */
void job_index_set_state(struct job_run *r, struct job_entry *e, enum job_state s);
void job_index_set_unsaved(struct job_run *r, struct job_entry *e, bool is_unsaved);
struct device_jobs *job_index_device(struct job_run *r, const char *device, bool make);        /* NULL = it has none */
struct update_counts *job_index_update(struct job_run *r, const char *update);         /* made where it is not there */
