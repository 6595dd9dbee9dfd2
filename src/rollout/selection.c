#include "rollout/selection.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void __attribute__((format(printf, 4, 5))) block(struct selection *s, const char *rule, bool is_wait, const char *fmt, ...)
{
	va_list ap;

	if (s->n_blocks == SELECTION_BLOCKS_MAX)
		return;
	struct selection_block *b = &s->blocks[s->n_blocks++];
	b->rule = rule;
	b->is_wait = is_wait;
	va_start(ap, fmt);
	(void)vsnprintf(b->text, sizeof(b->text), fmt, ap); /* clipped for people */
	va_end(ap);
}

static void judge_update(const struct selection_facts *f, struct selection *s)
{
	const struct update *u = f->update;

	if (u->state != UPDATE_AVAILABLE)
		block(s, "update-state", u->state == UPDATE_HELD || u->state == UPDATE_VERIFIED, "the update is %s: %s",
		      update_state_name(u->state), u->reason[0] ? u->reason : "no reason noted");
	else if (!f->images_ready)
		block(s, "images", true, "its files are being verified again after a start");
	if (!u->approved)
		block(s, "approval", true, "nobody approved it yet: dormousectl approve %.12s", u->id);
	if (u->has_use_before && wall_s(f->now) >= u->use_before_s)
		block(s, "use-before", false, "its use-before time has passed (SU-51)");
}

static void judge_device(const struct selection_facts *f, struct selection *s)
{
	const struct device *d = f->device;

	if (d->state == DEVICE_SEEN)
		block(s, "enrolment", true, "the device is seen but not enrolled: dormousectl devices enrol %s", d->id);
	else if (d->state != DEVICE_ENROLLED)
		block(s, "enrolment", true, "the device is %s", device_state_name(d->state));
	if (!f->driver_known)
		block(s, "driver", false, "no driver named \"%s\" runs here", d->driver);
	if (f->key_missing)
		block(s, "proof", true, "it wants the gateway's proof (mac) and has no key for it: dormousectl devices credential %.63s --mac-key-file",
		      d->id);
}

static void judge_fit(const struct selection_facts *f, struct selection *s)
{
	enum update_fit fit = update_fits(f->update, f->device);

	if (fit == UPDATE_FITS)
		return;
	bool is_model = fit == UPDATE_WRONG_VENDOR || fit == UPDATE_WRONG_CLASS || fit == UPDATE_NO_MODEL;
	block(s, is_model ? "model" : "sequence", fit == UPDATE_NO_MODEL, "%s", update_fit_text(fit));
}

static void judge_jobs(const struct selection_facts *f, struct selection *s)
{
	const struct job *j = f->job;

	if (j && j->state == JOB_CANCELLED)
		block(s, "job-cancelled", true, "its job was cancelled: %s; dormousectl jobs retry %.12s", j->reason, j->id);
	else if (j && (j->state == JOB_FAILED || j->state == JOB_REVERTED) && j->attempts >= f->retry_max)
		block(s, "retries", true, "failed %u times, last: %s; dormousectl jobs retry %.12s", j->attempts, j->reason, j->id);
	else if (j && j->state == JOB_DEFERRED)
		block(s, "deferred", true, "its job is deferred: %s", j->reason);
	if (f->other && f->other_update && f->other_update->sequence >= f->update->sequence)
		block(s, "newer-job", false, "the device is getting %.12s with sequence %llu", f->other_update->id,
		      (unsigned long long)f->other_update->sequence);
}

/* What has begun goes on, slowly; what has not waits. */
static void judge_radio(const struct selection_facts *f, struct selection *s)
{
	bool has_begun = f->job && job_is_open(f->job->state) && f->job->state != JOB_QUEUED;

	if (f->radio_over && !has_begun)
		block(s, "airtime", true, "the radio %s has used up its airtime of this hour; on again in %u s (lowpan.airtime_permille)", f->radio_over,
		      f->radio_wait_s);
}

void selection_judge(const struct selection_facts *f, struct selection *ret)
{
	*ret = (struct selection){ 0 };
	judge_update(f, ret);
	judge_device(f, ret);
	judge_fit(f, ret);
	judge_jobs(f, ret);
	judge_radio(f, ret);
	ret->allowed = ret->n_blocks == 0;
}
