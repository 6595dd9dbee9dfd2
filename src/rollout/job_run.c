#include "rollout/job_run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "codec/json.h"
#include "delivery/multicast.h"
#include "rollout/job_run_internal.h"

enum {
	RETRY_LOOK_MS = 1000, PRUNE_MS = 6 * 3600 * 1000, PROGRESS_STEPS = 20,
	SLICE_JOBS = 200,                      /* changed in one turn of the loop */
	SWEEP_MS = 10,
};

static const char COAP_PULL[] = "coap-pull", MULTICAST[] = "multicast";        /* drivers' names */

static struct delivery_driver *driver_named(const struct job_run *r, const char *name)
{
	for (size_t i = 0; i < r->n_drivers; i++)
		if (strcmp(r->drivers[i]->ops->name, name) == 0)
			return r->drivers[i];
	return NULL;
}

void job_run_way(const struct job_run *r, const struct update *u, const char *device, struct multicast_choice *ret)
{
	const struct delivery_driver *drv = driver_named(r, MULTICAST);
	const struct job *j = job_run_find(r, u->id, device);
	struct multicast_device_facts f = { .update = u, .is_configured = drv };
	struct multicast_facts m = { 0 };
	struct digest manifest;

	if (drv && digest_parse(span_str(u->id), &manifest) == 0)
		multicast_facts_get(drv, device, &manifest, &m);
	f.in_group = m.in_group;
	f.group = m.group;
	f.is_up = m.is_up;
	f.is_in_session = m.is_in_session;
	f.was_left = m.was_left;
	f.bytes_max = m.bytes_max;
	f.has_image = j && (j->state == JOB_TRANSFERRED || j->state == JOB_APPLYING);
	multicast_choose_device(&f, ret);
}

/* The device's own driver; one that pulls images waits for a session of its multicast group when the rule says so. */
static struct delivery_driver *driver_of(const struct job_run *r, const struct job *j, const struct update *u)
{
	const struct device *d = r->c.world->device(r->c.world->ctx, j->device);
	struct multicast_choice way;

	if (!d || strcmp(d->driver, COAP_PULL) != 0 || !driver_named(r, MULTICAST))
		return d ? driver_named(r, d->driver) : NULL;
	job_run_way(r, u, j->device, &way);
	return driver_named(r, way.multicast ? MULTICAST : COAP_PULL);
}

bool job_run_has_driver(const struct job_run *r, const char *name)
{
	return driver_named(r, name);
}

/* Whatever driver offers it: the device may be gone or have another driver by now. */
static void withdraw(struct job_run *r, const struct job_entry *e, const struct delivery_driver *but)
{
	for (size_t i = 0; i < r->n_drivers; i++)
		if (r->drivers[i] != but)
			r->drivers[i]->ops->cancel(r->drivers[i], e->j.device, e->j.id);
}

static bool is_on_offer(const struct job_run *r, const struct job_entry *e)
{
	const struct update *u = r->c.world->update(r->c.world->ctx, e->j.update);

	return u && u->state == UPDATE_AVAILABLE;
}

/* Hand an open job to its driver; repeating it changes nothing. */
static void act_offer(struct job_run *r, struct job_entry *e)
{
	const struct update *u = r->c.world->update(r->c.world->ctx, e->j.update);
	struct delivery_driver *drv = u ? driver_of(r, &e->j, u) : NULL;
	struct delivery_image images[DELIVERY_IMAGES_MAX];
	struct delivery_order order = { .images = images };

	withdraw(r, e, drv);
	if (!u || u->state != UPDATE_AVAILABLE || !drv || digest_parse(span_str(u->id), &order.manifest) < 0)
		return;
	memcpy(order.job, e->j.id, sizeof(order.job));
	memcpy(order.device, e->j.device, sizeof(order.device));
	order.sequence = u->sequence;
	order.state = e->j.state;
	e->j.total_bytes = 0;
	for (size_t i = 0; i < u->n_images && order.n_images < DELIVERY_IMAGES_MAX; i++) {
		struct delivery_image *img = &images[order.n_images++];
		img->digest = u->images[i].digest;
		img->bytes = u->images[i].bytes;
		(void)text_copy(img->uri, sizeof(img->uri), span_str(u->images[i].uri)); /* same size */
		e->j.total_bytes += img->bytes;
	}
	int err = drv->ops->start(drv, &order);
	if (err < 0)
		log_event(EV_GENERIC, LOG_WARNING, "job %.12s: driver %s did not start: %s", e->j.id, drv->ops->name, strerror(-err));
}

static void act(struct job_run *r, struct job_entry *e)
{
	if (!job_is_open(e->j.state) || e->j.state == JOB_DEFERRED || e->j.state == JOB_QUEUED)
		withdraw(r, e, NULL);
	else
		act_offer(r, e); /* also for a node that put it off and goes on by itself */
}

static void audit_state(struct job_run *r, const struct job_entry *e, const char *from, const char *event)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct json_out o = json_writer(&b);

	json_open_object(&o, NULL);
	json_str(&o, "job", e->j.id);
	json_str(&o, "device", e->j.device);
	json_str(&o, "update", e->j.update);
	json_str(&o, "from", from);
	json_str(&o, "to", job_state_name(e->j.state));
	json_str(&o, "event", event);
	json_uint(&o, "result", e->j.result);
	json_str(&o, "reason", e->j.reason);
	json_close_object(&o);
	audit_log_append(r->c.audit, e->j.state_at, "job", e->j.id, buf_span(&b), NULL, NULL);
}

struct pending_state {                         /* a state change on its way to the disk */
	struct job_run *run;
	char job[JOB_ID_BYTES];
	uint64_t serial;
	enum job_state from, to;
	unsigned attempts;
	delivery_done_fn *done;
	void *arg;
};

/* What the disk does not hold did not happen, and when the last store is answered memory is again as the disk is; but an offer is
 * withdrawn whatever the disk says. What is queued is stored again by itself, and then goes on. */
static void settle(struct job_run *r, struct job_entry *e, const struct pending_state *p, int error)
{
	bool is_withdrawal = (p->to == JOB_CANCELLED || p->to == JOB_DEFERRED) && e->j.state == p->to;

	if (error == 0 || is_withdrawal) {
		e->settled = p->to;
		e->settled_attempts = p->attempts;
		e->is_settled_stored = error == 0;
	}
	if (error < 0 && is_withdrawal) {
		job_index_set_unsaved(r, e, true);
		act(r, e);
	}
	if (e->n_pending || e->is_unsaved)
		return;
	e->j.attempts = e->settled_attempts;
	if (e->j.state != e->settled)
		job_index_set_state(r, e, e->settled);
	if (error < 0)
		act(r, e);                     /* it may have gone on before this was acted upon, or been withdrawn in between */
	if (!e->is_settled_stored || (error < 0 && e->j.state == JOB_QUEUED))
		job_index_set_unsaved(r, e, true);
}

static void state_stored(void *ctx, int error)
{
	struct pending_state *p = ctx;
	struct job_run *r = p->run;
	struct job_entry *e = job_index_find(r, p->job);

	if (e && e->serial != p->serial)
		e = NULL;                      /* the device was forgotten, and is back */
	enum job_state was = e ? e->j.state : p->to;
	if (e) {
		e->n_pending--;
		settle(r, e, p, error);
	}
	if (e && error < 0) {
		log_event(EV_STORE_FAILED, LOG_ERR, "job %.12s: %s not stored: %s", p->job, job_state_name(p->to), strerror(-error));
		if (e->j.state != JOB_QUEUED && job_is_open(e->j.state) && !job_is_open(was) && r->c.changed)
			r->c.changed(r->c.changed_ctx, &e->j, was); /* what is queued is heard of when it is stored again */
	} else if (e) {
		log_fields(EV_JOB_STATE, LOG_INFO, ({ "GW_JOB", e->j.id }, { "GW_DEVICE", e->j.device }, { "GW_UPDATE", e->j.update },
			   { "GW_STATE", job_state_name(p->to) }), "job %.12s of %s: %s -> %s%s%s", e->j.id, e->j.device,
			   job_state_name(p->from), job_state_name(p->to), e->j.reason[0] ? ": " : "", e->j.reason);
		metric_add(METRIC_JOBS_CONFIRMED, p->to == JOB_CONFIRMED && p->from != p->to);
		metric_add(METRIC_JOBS_FAILED, p->to == JOB_FAILED && p->from != p->to);
		if (e->j.state == p->to)
			act(r, e);
		if (r->c.changed)
			r->c.changed(r->c.changed_ctx, &e->j, p->from);
		if (r->unsaved)
			loop_timer_set(r->retry_timer, 0);     /* the disk works again: now the rest */
	}
	if (p->done)
		p->done(p->arg, error);
	free(p);
}

/* The device runs it: its record says so in the same transaction, so that neither is ever seen without the other. */
static void note_installed(struct job_run *r, const struct job_entry *e)
{
	const struct update *u = r->c.world->update(r->c.world->ctx, e->j.update);

	if (u)
		r->c.world->installed(r->c.world->ctx, e->j.device, u, u->version);
}

static void job_store(struct job_run *r, struct job_entry *e, enum job_state from, const char *event, delivery_done_fn *done, void *arg)
{
	struct pending_state *p = NEW(struct pending_state);

	*p = (struct pending_state){ .run = r, .serial = e->serial, .from = from, .to = e->j.state, .attempts = e->j.attempts,
				     .done = done, .arg = arg };
	memcpy(p->job, e->j.id, sizeof(p->job));
	e->n_pending++;
	job_index_set_unsaved(r, e, false);
	db_begin(r->c.db); /* the state and what the audit log says of it: both or neither */
	audit_state(r, e, job_state_name(from), event);
	job_store_put(r->c.db, &e->j, state_stored, p);
	if (e->j.state == JOB_CONFIRMED)
		note_installed(r, e);
	db_end(r->c.db);
}

/* Nothing changes; but what changed before may still be on its way to the disk. */
static void acknowledge(struct job_run *r, struct job_entry *e, delivery_done_fn *done, void *arg)
{
	if (e->n_pending || e->is_unsaved)
		job_store(r, e, e->j.state, "repeated", done, arg); /* answered when that is there too */
	else
		done(arg, 0);
}

/* The one function that changes a job's state. */
static int job_apply(struct job_run *r, struct job_entry *e, enum job_event ev, const char *reason, delivery_done_fn *done, void *arg)
{
	enum job_state from = e->j.state;
	int to = job_next(from, ev);

	if (to < 0)
		return -EPROTO;
	if ((enum job_state)to == from) {
		if (done)
			acknowledge(r, e, done, arg);
		return 0;
	}
	/* A try that was put off was not in vain: resuming gives it back, also to those that were put off before they were offered. */
	if (ev == JOB_EV_START || (from == JOB_QUEUED && to == JOB_DEFERRED))
		e->j.attempts++;
	else if (ev == JOB_EV_RESUME && e->j.attempts > 0)
		e->j.attempts--;
	if (ev == JOB_EV_RETRY || ev == JOB_EV_START)
		e->j.sent_bytes = 0;
	(void)text_copy(e->j.reason, sizeof(e->j.reason), span_sub(span_str(reason ? reason : ""), 0, sizeof(e->j.reason) - 1));
	e->j.state_at = wall_now();
	job_index_set_state(r, e, (enum job_state)to);
	job_store(r, e, from, job_event_name(ev), done, arg);
	return 0;
}

int job_run_apply(struct job_run *r, const char *job, enum job_event ev, const char *reason, delivery_done_fn *done, void *arg)
{
	struct job_entry *e = job_index_find(r, job);

	return e ? job_apply(r, e, ev, reason, done, arg) : -ENOENT;
}

int job_run_create(struct job_run *r, const struct update *u, const struct device *d, const char *rollout)
{
	struct job j = { .state = JOB_QUEUED };

	job_id_of(u->id, d->id, j.id);
	if (job_index_find(r, j.id))
		return -EEXIST;
	(void)text_copy(j.update, sizeof(j.update), span_str(u->id));    /* same sizes */
	(void)text_copy(j.device, sizeof(j.device), span_str(d->id));
	(void)text_copy(j.rollout, sizeof(j.rollout), span_str(rollout));
	for (size_t i = 0; i < u->n_images; i++)
		j.total_bytes += u->images[i].bytes;
	j.created_at = j.state_at = wall_now();
	struct job_entry *e = job_index_add(r, &j);
	job_store(r, e, JOB_QUEUED, "create", NULL, NULL);
	return 0;
}

void job_run_start(struct job_run *r, const char *job)
{
	struct job_entry *e = job_index_find(r, job);

	if (!e || !job_is_open(e->j.state) || e->j.state == JOB_DEFERRED)
		return;
	if (e->j.state == JOB_QUEUED)
		(void)job_apply(r, e, JOB_EV_START, NULL, NULL, NULL); /* queued may always start */
	else
		act_offer(r, e);
}

/* ---- every open job of one update: no more in a turn than the disk keeps up with ---- */

static bool db_is_busy(const struct job_run *r)
{
	return db_queue_length(r->c.db) > DB_QUEUE_MAX / 4;
}

/* Whether something is left to do. */
static bool sweep_slice(struct job_run *r, struct update_counts *c)
{
	struct job_entry *e, *tmp;
	size_t n = 0;

	DL_FOREACH_SAFE2(c->list, e, tmp, update_next) {
		if (!job_is_open(e->j.state) || job_next(e->j.state, c->sweep) < 0 || job_next(e->j.state, c->sweep) == (int)e->j.state)
			continue;
		if (n++ == SLICE_JOBS)
			return true;
		(void)job_apply(r, e, c->sweep, c->reason, NULL, NULL); /* the table allows it */
	}
	return false;
}

static void on_sweep(void *ctx)
{
	struct job_run *r = ctx;
	struct update_counts *c, *tmp;

	HASH_ITER(hh, r->counts, c, tmp) {
		if (c->sweep == JOB_EVENT_COUNT)
			continue;
		if (db_is_busy(r) || sweep_slice(r, c)) {
			loop_timer_set(r->sweep_timer, SWEEP_MS);
			return;
		}
		c->sweep = JOB_EVENT_COUNT;
	}
}

static void sweep(struct job_run *r, const char *update, enum job_event ev, const char *reason)
{
	struct update_counts *c;

	HASH_FIND_STR(r->counts, update, c);
	if (!c)
		return;
	c->sweep = ev;
	(void)text_copy(c->reason, sizeof(c->reason), span_sub(span_str(reason), 0, sizeof(c->reason) - 1)); /* clipped for people */
	on_sweep(r);
}

void job_run_cancel_update(struct job_run *r, const char *update, const char *reason)
{
	sweep(r, update, JOB_EV_CANCEL, reason);
}

void job_run_defer_update(struct job_run *r, const char *update, const char *reason)
{
	sweep(r, update, JOB_EV_DEFER, reason);
}

void job_run_resume_update(struct job_run *r, const char *update)
{
	sweep(r, update, JOB_EV_RESUME, "");
}

void job_run_forget_device(struct job_run *r, const char *device)
{
	struct device_jobs *d;

	while ((d = job_index_device(r, device, false))) {
		struct job_entry *e = d->list;
		withdraw(r, e, NULL);
		job_store_delete(r->c.db, e->j.id, NULL, NULL);
		job_index_remove(r, e);
	}
}

/* ---- what drivers say ---- */

static void on_progress(void *ctx, const char *job, uint64_t sent, uint64_t total)
{
	struct job_run *r = ctx;
	struct job_entry *e = job_index_find(r, job);
	char percent[16];

	if (!e)
		return;
	if (sent > e->j.sent_bytes)
		e->j.sent_bytes = sent;
	e->j.total_bytes = total;
	if (e->j.state == JOB_OFFERED)
		(void)job_apply(r, e, JOB_EV_PROGRESS, NULL, NULL, NULL); /* the table allows it */
	unsigned step = total ? (unsigned)(e->j.sent_bytes * PROGRESS_STEPS / total) : PROGRESS_STEPS;
	if (step == e->progress_step)
		return;
	e->progress_step = step;
	(void)snprintf(percent, sizeof(percent), "%u", step * 100 / PROGRESS_STEPS); /* at most 100 */
	log_fields(EV_JOB_PROGRESS, LOG_DEBUG, ({ "GW_JOB", e->j.id }, { "GW_DEVICE", e->j.device }, { "GW_PROGRESS", percent }),
		   "job %.12s of %s: %s %%", e->j.id, e->j.device, percent);
}

static void report_reason(const struct node_report *rep, char *ret, size_t ret_bytes)
{
	_cleanup_buf_ struct buf b = { 0 };

	if (rep->result > 1)
		buf_printf(&b, "the node says: %s (%u)", job_result_text(rep->result), rep->result);
	if (rep->reason.n) {
		buf_add_str(&b, b.n ? ": " : "");
		text_add_escaped(&b, rep->reason, 100);
	}
	(void)text_copy(ret, ret_bytes, span_sub(buf_span(&b), 0, ret_bytes - 1)); /* clipped above */
}

static void on_report(void *ctx, const char *device, const struct node_report *rep, delivery_done_fn *done, void *arg)
{
	struct job_run *r = ctx;
	char update[UPDATE_ID_BYTES], id[JOB_ID_BYTES], reason[JOB_REASON_BYTES];

	job_id_of(digest_hex(&rep->manifest_digest, update), device, id);
	struct job_entry *e = job_index_find(r, id);
	if (!e) {
		done(arg, -ENOENT);
		return;
	}
	e->j.result = rep->result;
	if (rep->has_received && rep->received_bytes <= e->j.total_bytes && rep->received_bytes > e->j.sent_bytes)
		e->j.sent_bytes = rep->received_bytes;
	report_reason(rep, reason, sizeof(reason));
	enum job_event ev = rep->is_reverted ? JOB_EV_REVERTED : job_event_from_report(rep->state, rep->result);
	if (job_apply(r, e, ev, reason, done, arg) >= 0)
		return;
	/* It changes nothing any more. A node that is not done yet hears that its update was cancelled: it must not install it. */
	if (e->j.state == JOB_CANCELLED && (ev == JOB_EV_PROGRESS || ev == JOB_EV_TRANSFERRED)) {
		done(arg, -ENOENT);
		return;
	}
	/* Else it is acknowledged, and what the node runs is noted all the same. */
	if (ev == JOB_EV_CONFIRMED) {
		log_fields(EV_JOB_STATE, LOG_WARNING, ({ "GW_JOB", e->j.id }, { "GW_DEVICE", e->j.device }, { "GW_UPDATE", e->j.update }),
			   "job %.12s of %s is %s, but the device installed the update", e->j.id, e->j.device, job_state_name(e->j.state));
		note_installed(r, e);
	}
	acknowledge(r, e, done, arg);
}

struct delivery_sink job_run_sink(struct job_run *r)
{
	return (struct delivery_sink){ .progress = on_progress, .report = on_report, .ctx = r };
}

void job_run_add_driver(struct job_run *r, struct delivery_driver *drv)
{
	if (r->n_drivers < JOB_RUN_DRIVERS_MAX)
		r->drivers[r->n_drivers++] = drv;
}

/* ---- time ---- */

/* After a clock that went back everything is due. */
static bool is_due(const struct job_run *r, const struct job_entry *e, struct wall now)
{
	int64_t wait_ms = (int64_t)r->c.retry_s * 1000 * (e->j.attempts ? e->j.attempts : 1);

	return wall_before(now, e->j.state_at) || !wall_before(now, wall_add_ms(e->j.state_at, wait_ms));
}

static void store_unsaved(struct job_run *r)
{
	struct job_entry *e, *tmp;
	size_t n = 0, most = db_is_failing(r->c.db) ? 1 : SLICE_JOBS;  /* one finds out whether the disk works again */

	DL_FOREACH_SAFE2(r->unsaved, e, tmp, unsaved_next) {
		if (n++ == most || db_is_busy(r))
			return;
		job_store(r, e, e->j.state, "stored again", NULL, NULL);
	}
}

static void on_retry(void *ctx)
{
	struct job_run *r = ctx;
	struct job_entry *e, *tmp;
	struct wall now = wall_now();
	size_t n = 0;

	store_unsaved(r);
	DL_FOREACH_SAFE(r->retry, e, tmp) {
		if (!is_due(r, e, now) || !is_on_offer(r, e))
			continue;
		if (n++ == SLICE_JOBS || db_is_busy(r))
			break;
		/* The table allows both. */
		(void)job_apply(r, e, e->j.state == JOB_DEFERRED ? JOB_EV_RESUME : JOB_EV_RETRY, "tried again", NULL, NULL);
	}
	loop_timer_set(r->retry_timer, RETRY_LOOK_MS);
}

/* A decision (given up, cancelled by a person) stands while its update may still be offered. */
static bool is_history(const struct job_run *r, const struct job_entry *e)
{
	const struct update *u = r->c.world->update(r->c.world->ctx, e->j.update);

	if (job_is_open(e->j.state) || e->n_pending || e->is_unsaved)
		return false;
	return e->j.state == JOB_CONFIRMED || !u || (u->state != UPDATE_AVAILABLE && u->state != UPDATE_VERIFIED && u->state != UPDATE_HELD);
}

static void on_prune(void *ctx)
{
	struct job_run *r = ctx;
	struct job_entry *e, *tmp;
	struct wall limit = wall_add_ms(wall_now(), -(int64_t)r->c.history_days * 86400 * 1000);

	HASH_ITER(hh, r->jobs, e, tmp)
		if (wall_before(e->j.state_at, limit) && is_history(r, e)) {
			job_store_delete(r->c.db, e->j.id, NULL, NULL);
			job_index_remove(r, e);
		}
	loop_timer_set(r->prune_timer, PRUNE_MS);
}

static int on_load(void *ctx, const struct job *j)
{
	job_index_add(ctx, j)->is_settled_stored = true;
	return 0;
}

int job_run_open(const struct job_run_config *c, struct job_run **ret)
{
	struct job_run *r = NEW(struct job_run);

	r->c = *c;
	r->retry_timer = loop_timer_new(c->loop, on_retry, r);
	r->prune_timer = loop_timer_new(c->loop, on_prune, r);
	r->sweep_timer = loop_timer_new(c->loop, on_sweep, r);
	int err = job_store_load(c->db, on_load, r);
	if (err < 0) {
		job_run_close(r);
		return err;
	}
	loop_timer_set(r->retry_timer, RETRY_LOOK_MS);
	loop_timer_set(r->prune_timer, PRUNE_MS);
	*ret = r;
	return 0;
}

struct job_run *job_run_close(struct job_run *r)
{
	struct job_entry *e, *tmp;
	struct update_counts *c, *c_tmp;

	if (!r)
		return NULL;
	loop_timer_free(r->retry_timer);
	loop_timer_free(r->prune_timer);
	loop_timer_free(r->sweep_timer);
	HASH_ITER(hh, r->jobs, e, tmp)
		job_index_remove(r, e);
	HASH_ITER(hh, r->counts, c, c_tmp) {
		HASH_DEL(r->counts, c);
		free(c);
	}
	free(r);
	return NULL;
}
