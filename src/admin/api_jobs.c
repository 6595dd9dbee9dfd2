/* Jobs, rollouts, and why a device does not get an update. */
#include <errno.h>

#include "admin/api.h"
#include "base/text.h"

enum { PREFIX_CHARS_MIN = 6 };

static void api_put_job(struct json_out *o, const char *key, const struct job *j)
{
	json_open_object(o, key);
	json_str(o, "id", j->id);
	json_str(o, "update", j->update);
	json_str(o, "device", j->device);
	json_str(o, "rollout", j->rollout);
	json_str(o, "state", job_state_name(j->state));
	json_bool(o, "is_open", job_is_open(j->state));
	json_str(o, "reason", j->reason);
	json_uint(o, "sent_bytes", j->sent_bytes);
	json_uint(o, "total_bytes", j->total_bytes);
	json_uint(o, "attempts", j->attempts);
	json_uint(o, "result", j->result);
	api_put_wall(o, "created_at", j->created_at);
	api_put_wall(o, "state_at", j->state_at);
	json_close_object(o);
}

static bool job_wanted(const struct job *j, const char *update, const char *device, const char *state)
{
	return (!update || strncmp(update, j->update, strlen(update)) == 0) && (!device || strcmp(device, j->device) == 0) &&
	       (!state || strcmp(state, job_state_name(j->state)) == 0 || (strcmp(state, "open") == 0 && job_is_open(j->state)));
}

void api_jobs_list(struct api_call *c)
{
	const struct job_run *r = rollout_run_jobs(c->admin->c.rollout);
	const char *update = c->query(c, "update"), *device = c->query(c, "device"), *state = c->query(c, "state");
	struct api_list l;
	const struct job *last = NULL;
	enum job_state s;

	if (state && strcmp(state, "open") != 0 && job_state_parse(span_str(state), &s) < 0) {
		api_reply_problem(c, 400, "state= is open, or a state of a job: queued, offered, transferring, transferred, applying, deferred, "
				  "confirmed, failed, reverted, cancelled");
		return;
	}
	api_list_begin(c, &l);
	for (const struct job *j = job_run_next(r, api_after(c)); j; j = job_run_next(r, j->id)) {
		if (!job_wanted(j, update, device, state))
			continue;
		if (api_list_full(&l)) {
			(void)text_copy(l.next, sizeof(l.next), span_str(last->id)); /* ids fit */
			break;
		}
		api_put_job(&l.o, NULL, j);
		l.n++;
		last = j;
	}
	api_list_end(c, &l, job_run_total(r));
}

int api_job_find(struct admin *a, const char *prefix, const struct job **ret)
{
	const struct job_run *r = rollout_run_jobs(a->c.rollout);
	const struct job *found = job_run_get(r, prefix);
	size_t n = strlen(prefix);

	for (const struct job *j = found || n < PREFIX_CHARS_MIN ? NULL : job_run_next(r, NULL); j; j = job_run_next(r, j->id)) {
		if (strncmp(j->id, prefix, n) != 0)
			continue;
		if (found)
			return -ENOTUNIQ;
		found = j;
	}
	if (!found)
		return -ENOENT;
	*ret = found;
	return 0;
}

/* {id} may be a unique prefix; answers when it is not. */
static const struct job *wanted(struct api_call *c)
{
	const struct job *found = NULL;

	int r = api_job_find(c->admin, c->param[0], &found);
	if (r == -ENOTUNIQ)
		api_reply_problem(c, 409, "more than one job begins with \"%.40s\"; give more digits", c->param[0]);
	else if (r < 0)
		api_reply_problem(c, 404, "no job \"%.40s\" (an id, or at least its first %d digits)", c->param[0], PREFIX_CHARS_MIN);
	return found;
}

void api_job_show(struct api_call *c)
{
	const struct job *j = wanted(c);
	struct buf b = { 0 };
	struct json_out o = json_writer(&b);

	if (!j)
		return;
	api_put_job(&o, NULL, j);
	api_reply_json(c, 200, &b);
}

static void job_act(struct api_call *c, int (*act)(struct rollout_run *, const char *, const char *), const char *what)
{
	const struct job *j = wanted(c);
	struct buf b = { 0 };

	if (!j)
		return;
	if (act(c->admin->c.rollout, j->id, c->who) < 0) {
		api_reply_problem(c, 409, "a job that is %s cannot be %s", job_state_name(j->state), what);
		return;
	}
	buf_add_str(&b, "{\"ok\":true}");
	api_reply_json(c, 202, &b);
}

void api_job_retry(struct api_call *c)
{
	job_act(c, rollout_retry_job, "tried again");
}

void api_job_cancel(struct api_call *c)
{
	job_act(c, rollout_cancel_job, "cancelled");
}

static void put_rollout(struct json_out *o, const struct job_run *jobs, const struct rollout *r)
{
	json_open_object(o, NULL);
	json_str(o, "id", r->id);
	json_str(o, "update", r->update);
	json_str(o, "state", rollout_state_name(r->state));
	api_put_wall(o, "created_at", r->created_at);
	api_put_wall(o, "state_at", r->state_at);
	json_open_object(o, "jobs");
	for (int s = 0; s < JOB_STATE_COUNT; s++)
		json_uint(o, job_state_name((enum job_state)s), job_run_count(jobs, r->update, (enum job_state)s));
	json_close_object(o);
	json_close_object(o);
}

void api_rollouts_list(struct api_call *c)
{
	struct rollout_run *run = c->admin->c.rollout;
	struct api_list l;
	uint64_t total = 0;

	api_list_begin(c, &l);
	for (const struct rollout *r = rollout_run_next(run, NULL); r; r = rollout_run_next(run, r->id))
		total++;
	for (const struct rollout *r = rollout_run_next(run, api_after(c)); r && !api_list_full(&l); r = rollout_run_next(run, r->id)) {
		put_rollout(&l.o, rollout_run_jobs(run), r);
		l.n++;
		if (api_list_full(&l) && rollout_run_next(run, r->id))
			(void)text_copy(l.next, sizeof(l.next), span_str(r->id)); /* ids fit */
	}
	api_list_end(c, &l, total);
}

void api_rollout_show(struct api_call *c)
{
	const struct rollout *r = rollout_run_get(c->admin->c.rollout, c->param[0]);
	struct buf b = { 0 };
	struct json_out o = json_writer(&b);

	if (!r) {
		api_reply_problem(c, 404, "no rollout \"%.40s\"", c->param[0]);
		return;
	}
	put_rollout(&o, rollout_run_jobs(c->admin->c.rollout), r);
	api_reply_json(c, 200, &b);
}

void api_why_not(struct api_call *c)
{
	const char *device = c->query(c, "device"), *update = c->query(c, "update");
	const struct update *u = NULL;
	struct multicast_choice way;
	struct selection s;
	struct buf b = { 0 };
	struct json_out o = json_writer(&b);

	if (!device || !update) {
		api_reply_problem(c, 400, "give device= and update=");
		return;
	}
	int r = intake_update_find(c->admin->c.intake, update, &u);
	if (r < 0) {
		api_reply_no_update(c, update, r);
		return;
	}
	if (rollout_why_not(c->admin->c.rollout, device, u->id, &s) < 0) {
		api_reply_problem(c, 404, "no device \"%.70s\"", device);
		return;
	}
	json_open_object(&o, NULL);
	json_str(&o, "device", device);
	json_str(&o, "update", u->id);
	json_bool(&o, "allowed", s.allowed);
	json_open_array(&o, "blocks");
	for (size_t i = 0; i < s.n_blocks; i++) {
		json_open_object(&o, NULL);
		json_str(&o, "rule", s.blocks[i].rule);
		json_str(&o, "text", s.blocks[i].text);
		json_bool(&o, "is_wait", s.blocks[i].is_wait);
		json_close_object(&o);
	}
	json_close_array(&o);
	job_run_way(rollout_run_jobs(c->admin->c.rollout), u, device, &way);
	json_open_object(&o, "way");
	json_bool(&o, "multicast", way.multicast);
	json_str(&o, "rule", way.rule);
	json_str(&o, "text", way.text);
	json_close_object(&o);
	const struct job *j = job_run_find(rollout_run_jobs(c->admin->c.rollout), u->id, device);
	if (j)
		api_put_job(&o, "job", j);
	json_close_object(&o);
	api_reply_json(c, 200, &b);
}
