/* What the routes ask of intake, rollout and upstream, answered from the arrays of struct fakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "place.h"

struct fakes fakes;

/* The place in an array after the element of that id; beyond its end when there is none. */
#define AFTER(array_, n_, after_)                                                         \
	({                                                                                \
		size_t i_ = 0;                                                            \
		while ((after_) && i_ < (n_) && strcmp((array_)[i_].id, (after_)) != 0)  \
			i_++;                                                             \
		(after_) ? i_ + 1 : 0;                                                    \
	})

/* ---- intake ---- */

const struct update *intake_update_next(const struct intake *in, const char *after)
{
	size_t i = AFTER(fakes.updates, fakes.n_updates, after);

	return i < fakes.n_updates ? &fakes.updates[i] : NULL;
}

int intake_update_find(const struct intake *in, const char *prefix, const struct update **ret)
{
	const struct update *found = NULL;

	for (size_t i = 0; i < fakes.n_updates && strlen(prefix) >= 6; i++) {
		if (strncmp(fakes.updates[i].id, prefix, strlen(prefix)) != 0)
			continue;
		if (found)
			return -ENOTUNIQ;
		found = &fakes.updates[i];
	}
	if (found)
		*ret = found;
	return found ? 0 : -ENOENT;
}

size_t intake_update_count(const struct intake *in)
{
	return fakes.n_updates;
}

/* done comes after the commit of an entry in the log, as in life, with the error the test wants. */
static int decide(const char *id, const char *who, const char *reason, db_done_fn *done, void *ctx)
{
	(void)text_copy(fakes.who, sizeof(fakes.who), span_str(who));
	(void)text_copy(fakes.reason, sizeof(fakes.reason), span_str(reason ? reason : "none"));
	if (fakes.error)
		done(ctx, fakes.error);
	else
		audit_log_append(fakes.place->audit, wall_now(), "update", id, SPAN_LIT("{}"), done, ctx);
	return 0;
}

int intake_approve(struct intake *in, const char *id, const char *who, db_done_fn *done, void *ctx)
{
	const struct update *u = NULL;

	assert_int_equal(intake_update_find(in, id, &u), 0);
	return u->approved ? -EALREADY : decide(id, who, NULL, done, ctx);
}

int intake_recall(struct intake *in, const char *id, const char *who, const char *reason, db_done_fn *done, void *ctx)
{
	const struct update *u = NULL;

	assert_int_equal(intake_update_find(in, id, &u), 0);
	return u->state == UPDATE_RECALLED ? -EALREADY : decide(id, who, reason, done, ctx);
}

void intake_refresh(struct intake *in)
{
	fakes.n_refreshed++;
}

struct wall intake_clock(const struct intake *in, bool *ret_bad)
{
	*ret_bad = fakes.clock_bad;
	return (struct wall){ 0 };
}

/* ---- rollout ---- */

struct job_run *rollout_run_jobs(struct rollout_run *r)
{
	return (struct job_run *)&fakes;
}

const struct job *job_run_next(const struct job_run *r, const char *after)
{
	size_t i = AFTER(fakes.jobs, fakes.n_jobs, after);

	return i < fakes.n_jobs ? &fakes.jobs[i] : NULL;
}

const struct job *job_run_get(const struct job_run *r, const char *id)
{
	for (size_t i = 0; i < fakes.n_jobs; i++)
		if (strcmp(fakes.jobs[i].id, id) == 0)
			return &fakes.jobs[i];
	return NULL;
}

void job_run_way(const struct job_run *r, const struct update *u, const char *device, struct multicast_choice *ret)
{
	*ret = (struct multicast_choice){ .rule = "group", .text = "by unicast: no group" };
}

const struct job *job_run_find(const struct job_run *r, const char *update, const char *device)
{
	for (size_t i = 0; i < fakes.n_jobs; i++)
		if (strcmp(fakes.jobs[i].update, update) == 0 && strcmp(fakes.jobs[i].device, device) == 0)
			return &fakes.jobs[i];
	return NULL;
}

size_t job_run_count(const struct job_run *r, const char *update, enum job_state s)
{
	size_t n = 0;

	for (size_t i = 0; i < fakes.n_jobs; i++)
		n += fakes.jobs[i].state == s && strcmp(fakes.jobs[i].update, update) == 0;
	return n;
}

size_t job_run_total(const struct job_run *r)
{
	return fakes.n_jobs;
}

bool job_run_has_driver(const struct job_run *r, const char *name)
{
	return strcmp(name, "coap-pull") == 0;
}

const struct rollout *rollout_run_next(const struct rollout_run *r, const char *after)
{
	size_t i = AFTER(fakes.rollouts, fakes.n_rollouts, after);

	return i < fakes.n_rollouts ? &fakes.rollouts[i] : NULL;
}

const struct rollout *rollout_run_get(const struct rollout_run *r, const char *id)
{
	for (size_t i = 0; i < fakes.n_rollouts; i++)
		if (strcmp(fakes.rollouts[i].id, id) == 0)
			return &fakes.rollouts[i];
	return NULL;
}

int rollout_why_not(struct rollout_run *r, const char *device, const char *update, struct selection *ret)
{
	if (!devices_get(fakes.place->devices, device))
		return -ENOENT;
	*ret = fakes.selection;
	return 0;
}

static int act(const char *job, const char *who, bool possible)
{
	assert_non_null(job_run_get(NULL, job));
	(void)text_copy(fakes.who, sizeof(fakes.who), span_str(who));
	return possible ? 0 : -EPROTO;
}

int rollout_retry_job(struct rollout_run *r, const char *job, const char *who)
{
	return act(job, who, !job_is_open(job_run_get(NULL, job)->state));
}

int rollout_cancel_job(struct rollout_run *r, const char *job, const char *who)
{
	return act(job, who, job_is_open(job_run_get(NULL, job)->state));
}

/* ---- upstream ---- */

int upstream_status(const struct upstream *u, size_t i, struct source_status *ret)
{
	if (i >= fakes.n_sources)
		return -ENOENT;
	*ret = fakes.sources[i];
	return 0;
}

int upstream_poll(struct upstream *u, const char *source)
{
	for (size_t i = 0; i < fakes.n_sources; i++)
		if (strcmp(fakes.sources[i].name, source) == 0)
			return fakes.n_polled++, 0;
	return -ENOENT;
}
