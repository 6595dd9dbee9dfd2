#include <stdlib.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "rollout/job_run_internal.h"

struct job_entry *job_index_find(const struct job_run *r, const char *id)
{
	struct job_entry *e;

	HASH_FIND_STR(r->jobs, id, e);
	return e;
}

struct device_jobs *job_index_device(struct job_run *r, const char *device, bool make)
{
	struct device_jobs *d;

	HASH_FIND_STR(r->by_device, device, d);
	if (!d && make) {
		d = NEW(struct device_jobs);
		(void)text_copy(d->device, sizeof(d->device), span_str(device)); /* ids fit */
		HASH_ADD_STR(r->by_device, device, d);
	}
	return d;
}

struct update_counts *job_index_update(struct job_run *r, const char *update)
{
	struct update_counts *c;

	HASH_FIND_STR(r->counts, update, c);
	if (!c) {
		c = NEW(struct update_counts);
		(void)text_copy(c->update, sizeof(c->update), span_str(update)); /* ids fit */
		c->sweep = JOB_EVENT_COUNT;
		HASH_ADD_STR(r->counts, update, c);
	}
	return c;
}

void job_index_set_state(struct job_run *r, struct job_entry *e, enum job_state s)
{
	struct update_counts *c = job_index_update(r, e->j.update);

	c->n[e->j.state]--;
	c->n[s]++;
	metric_add(METRIC_JOBS_OPEN, (int64_t)job_is_open(s) - (int64_t)job_is_open(e->j.state));
	e->j.state = s;
	bool waits = s == JOB_DEFERRED || ((s == JOB_FAILED || s == JOB_REVERTED) && e->j.attempts < r->c.retry_max);
	if (waits && !e->waits_retry)
		DL_APPEND(r->retry, e);
	else if (!waits && e->waits_retry)
		DL_DELETE(r->retry, e);
	e->waits_retry = waits;
}

struct job_entry *job_index_add(struct job_run *r, const struct job *j)
{
	struct job_entry *e = NEW(struct job_entry);

	e->j = *j;
	e->serial = ++r->serial;
	e->settled = j->state;
	e->settled_attempts = j->attempts;
	HASH_ADD_STR(r->jobs, j.id, e);
	struct device_jobs *d = job_index_device(r, j->device, true);
	DL_APPEND2(d->list, e, device_prev, device_next);
	struct update_counts *c = job_index_update(r, j->update);
	c->n[j->state]++;
	DL_APPEND2(c->list, e, update_prev, update_next);
	metric_add(METRIC_JOBS_OPEN, job_is_open(j->state));
	job_index_set_state(r, e, j->state);
	return e;
}

/* What the disk did not take, of what happened all the same: stored again when it works. */
void job_index_set_unsaved(struct job_run *r, struct job_entry *e, bool is_unsaved)
{
	if (is_unsaved && !e->is_unsaved)
		DL_APPEND2(r->unsaved, e, unsaved_prev, unsaved_next);
	else if (!is_unsaved && e->is_unsaved)
		DL_DELETE2(r->unsaved, e, unsaved_prev, unsaved_next);
	e->is_unsaved = is_unsaved;
}

void job_index_remove(struct job_run *r, struct job_entry *e)
{
	struct device_jobs *d = job_index_device(r, e->j.device, false);

	if (e->waits_retry)
		DL_DELETE(r->retry, e);
	DL_DELETE2(d->list, e, device_prev, device_next);
	if (!d->list) {
		HASH_DEL(r->by_device, d);
		free(d);
	}
	struct update_counts *c = job_index_update(r, e->j.update);
	c->n[e->j.state]--;
	DL_DELETE2(c->list, e, update_prev, update_next);
	job_index_set_unsaved(r, e, false);
	metric_add(METRIC_JOBS_OPEN, -(int64_t)job_is_open(e->j.state));
	HASH_DEL(r->jobs, e);
	free(e);
}

/* ---- questions ---- */

const struct job *job_run_get(const struct job_run *r, const char *id)
{
	const struct job_entry *e = job_index_find(r, id);

	return e ? &e->j : NULL;
}

const struct job *job_run_find(const struct job_run *r, const char *update, const char *device)
{
	char id[JOB_ID_BYTES];

	job_id_of(update, device, id);
	return job_run_get(r, id);
}

const struct job *job_run_open_of(const struct job_run *r, const char *device)
{
	const struct device_jobs *d = job_index_device((struct job_run *)r, device, false);
	const struct job_entry *e;

	if (d)
		DL_FOREACH2(d->list, e, device_next)
			if (job_is_open(e->j.state))
				return &e->j;
	return NULL;
}

const struct job *job_run_next_of(const struct job_run *r, const char *device, const char *after)
{
	const struct device_jobs *d = after ? NULL : job_index_device((struct job_run *)r, device, false);
	const struct job_entry *e = after ? job_index_find(r, after) : NULL;

	if (after)
		e = e ? e->device_next : NULL;
	else if (d)
		e = d->list;
	return e ? &e->j : NULL;
}

const struct job *job_run_next(const struct job_run *r, const char *after)
{
	const struct job_entry *e = after ? job_index_find(r, after) : r->jobs;

	if (after && e)
		e = e->hh.next;
	return e ? &e->j : NULL;
}

size_t job_run_count(const struct job_run *r, const char *update, enum job_state s)
{
	const struct update_counts *c;

	HASH_FIND_STR(r->counts, update, c);
	return c ? c->n[s] : 0;
}

size_t job_run_total(const struct job_run *r)
{
	return HASH_COUNT(r->jobs);
}
