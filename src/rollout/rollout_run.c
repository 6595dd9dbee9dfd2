#include "rollout/rollout_run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "trust/delegate.h"

enum { SLICE_DEVICES = 20, BUSY_MS = 20, VERIFY_AGAIN_MS = 5000, FILES_MAX = UPDATE_IMAGES_MAX + 1, ENVELOPE_BYTES_MAX = SUIT_ENVELOPE_BYTES_MAX };

struct update_entry {                          /* what the rollout keeps of an update */
	char id[UPDATE_ID_BYTES];
	struct digest files[FILES_MAX];        /* envelope and images, pinned while available */
	size_t n_files;
	bool is_pinned, is_ready, is_verifying;
	struct mono verify_at;                 /* again: the workers were busy, or the disk failed; 0 = not wanted */
	char scan_after[DEVICE_ID_BYTES];      /* where the scan of all devices stands */
	bool is_scanning;
	struct rollout rollout;
	UT_hash_handle hh;
};

struct rollout_run {
	struct rollout_run_config c;
	struct job_run *jobs;
	struct update_entry *updates;
	struct loop_timer *scan_timer;
	bool has_begun;
	size_t n_verifying;
};

static struct update_entry *entry_get(struct rollout_run *r, const char *id, bool make)
{
	struct update_entry *e;

	HASH_FIND_STR(r->updates, id, e);
	if (!e && make) {
		e = NEW(struct update_entry);
		(void)text_copy(e->id, sizeof(e->id), span_str(id)); /* same size */
		(void)text_copy(e->rollout.update, sizeof(e->rollout.update), span_str(id));
		(void)text_copy(e->rollout.id, sizeof(e->rollout.id), span_sub(span_str(id), 0, JOB_ID_BYTES - 1));
		e->rollout.created_at = e->rollout.state_at = wall_now();
		HASH_ADD_STR(r->updates, id, e);
	}
	return e;
}

static void rollout_set(struct rollout_run *r, struct update_entry *e, enum rollout_state s)
{
	if (e->rollout.state == s)
		return;
	log_fields(EV_ROLLOUT_STATE, LOG_NOTICE, ({ "GW_ROLLOUT", e->rollout.id }, { "GW_UPDATE", e->id },
		   { "GW_STATE", rollout_state_name(s) }), "rollout %.12s: %s -> %s", e->rollout.id,
		   rollout_state_name(e->rollout.state), rollout_state_name(s));
	e->rollout.state = s;
	e->rollout.state_at = wall_now();
	rollout_store_put(r->c.db, &e->rollout, NULL, NULL);
}

static void rollout_count(struct rollout_run *r, struct update_entry *e, const struct update *u)
{
	size_t n_open = 0, n_all = 0;

	for (int s = 0; s < JOB_STATE_COUNT; s++) {
		size_t n = job_run_count(r->jobs, e->id, (enum job_state)s);
		n_all += n;
		n_open += job_is_open((enum job_state)s) ? n : 0;
	}
	if (!u || (u->state != UPDATE_AVAILABLE && u->state != UPDATE_HELD && u->state != UPDATE_VERIFIED))
		rollout_set(r, e, ROLLOUT_STOPPED);
	else if (!u->approved)
		rollout_set(r, e, ROLLOUT_WAITING);
	else
		rollout_set(r, e, n_all > 0 && n_open == 0 ? ROLLOUT_DONE : ROLLOUT_RUNNING);
}

static bool has_key(struct rollout_run *r, const char *device)
{
	uint8_t key[DELEGATE_KEY_BYTES_MAX];

	int n = r->c.world->mac_key(r->c.world->ctx, device, key, sizeof(key));
	mem_wipe(key, sizeof(key));
	return n > 0;
}

/* A full disk may bring back a job that had ended, when another one already took its place: then there are two. */
static const struct job *other_open(const struct rollout_run *r, const char *device, const char *update)
{
	const struct job *j = job_run_next_of(r->jobs, device, NULL);

	while (j && (!job_is_open(j->state) || strcmp(j->update, update) == 0))
		j = job_run_next_of(r->jobs, device, j->id);
	return j;
}

static void judge(struct rollout_run *r, const struct update *u, const struct device *d, struct selection *ret)
{
	const struct update_entry *e = entry_get(r, u->id, false);
	struct selection_facts f = { .update = u, .device = d, .now = wall_now(), .retry_max = r->c.retry_max };

	f.driver_known = job_run_has_driver(r->jobs, d->driver);
	f.key_missing = d->proof == PROOF_MAC && !has_key(r, d->id);
	f.images_ready = e && e->is_ready;
	f.job = job_run_find(r->jobs, u->id, d->id);
	if (r->c.world->radio_over)
		f.radio_over = r->c.world->radio_over(r->c.world->ctx, d->id, &f.radio_wait_s);
	f.other = other_open(r, d->id, u->id);
	if (f.other)
		f.other_update = r->c.world->update(r->c.world->ctx, f.other->update);
	selection_judge(&f, ret);
}

/* One device, one update: make its job and start it when no rule stands against it. */
static void consider(struct rollout_run *r, const struct update *u, const struct device *d)
{
	struct selection s;

	judge(r, u, d, &s);
	if (!s.allowed)
		return;
	const struct job *other = other_open(r, d->id, u->id);
	if (other)
		(void)job_run_apply(r->jobs, other->id, JOB_EV_CANCEL, "a newer update takes its place", NULL, NULL); /* open jobs can */
	const struct update_entry *e = entry_get(r, u->id, true);
	const struct job *j = job_run_find(r->jobs, u->id, d->id);
	if (!j && job_run_create(r->jobs, u, d, e->rollout.id) < 0)
		return;
	j = job_run_find(r->jobs, u->id, d->id);
	if (j && job_is_open(j->state))
		job_run_start(r->jobs, j->id); /* again: after a restart, or with another driver */
}

/* ---- files: verified again in this process before anything is offered ---- */

struct verify_job {
	struct rollout_run *run;
	struct image_cache *images;
	char update[UPDATE_ID_BYTES];
	struct digest files[FILES_MAX];
	size_t n_files;
	size_t failed_at;
	int error;
};

static void verify_work(void *arg)
{
	struct verify_job *v = arg;

	v->error = -ECANCELED;
	for (size_t i = 0; i < v->n_files; i++) {
		struct image_file *f = NULL;
		v->error = image_cache_verify(v->images, &v->files[i], &f);
		image_file_unref(f);
		if (v->error < 0) {
			v->failed_at = i;
			return;
		}
	}
	v->error = 0;
}

static void scan_start(struct rollout_run *r, struct update_entry *e)
{
	e->is_scanning = true;
	e->scan_after[0] = 0;
	loop_timer_set(r->scan_timer, 0);
}

static void verify_later(struct rollout_run *r, struct update_entry *e)
{
	e->verify_at = mono_add_ms(mono_now(), VERIFY_AGAIN_MS);
	if (!loop_timer_armed(r->scan_timer))
		loop_timer_set(r->scan_timer, VERIFY_AGAIN_MS);
}

static void files_verify(struct rollout_run *r, struct update_entry *e);

static void verify_done(void *arg)
{
	struct verify_job *v = arg;
	struct rollout_run *r = v->run;
	struct update_entry *e = entry_get(r, v->update, false);

	r->n_verifying--;
	if (e) {
		e->is_verifying = false;
		bool is_stale = !e->is_pinned || v->n_files != e->n_files || memcmp(v->files, e->files, e->n_files * sizeof(*e->files)) != 0;
		e->is_ready = v->error == 0 && !is_stale;
		if (e->is_ready) {
			scan_start(r, e);
		} else if (is_stale) {
			if (e->is_pinned && v->error != -ECANCELED)
				files_verify(r, e); /* other files took their place meanwhile */
		} else if (v->error == -EBADMSG || v->error == -ENOENT) {
			char hex[DIGEST_HEX_BYTES];
			log_fields(EV_IMAGE_CORRUPT, LOG_ERR, ({ "GW_IMAGE", digest_hex(&v->files[v->failed_at], hex) }, { "GW_UPDATE", e->id }),
				   "image %.12s of update %.12s is missing or damaged in the cache; it is fetched again", hex, e->id);
			r->c.world->image_lost(r->c.world->ctx, &v->files[v->failed_at]);
		} else if (v->error != -ECANCELED) {
			log_event(EV_GENERIC, LOG_ERR, "update %.12s: its files cannot be read: %s", e->id, strerror(-v->error));
			verify_later(r, e);
		}
	}
	free(v);
}

static void files_unpin(struct rollout_run *r, struct update_entry *e)
{
	for (size_t i = 0; e->is_pinned && i < e->n_files; i++)
		image_cache_unpin(r->c.images, &e->files[i]);
	e->is_pinned = false;
	e->is_ready = false;
}

/* The update's files, kept in the cache and readable only once verified; others than before when it was signed anew. */
static void files_pin(struct rollout_run *r, struct update_entry *e, const struct update *u)
{
	struct digest files[FILES_MAX] = { u->envelope };
	size_t n = 1;

	for (size_t i = 0; i < u->n_images && n < FILES_MAX; i++)
		files[n++] = u->images[i].digest;
	if (e->is_pinned && n == e->n_files && memcmp(files, e->files, n * sizeof(*files)) == 0)
		return;
	for (size_t i = 0; i < n; i++)
		image_cache_pin(r->c.images, &files[i]);
	files_unpin(r, e);
	memcpy(e->files, files, n * sizeof(*files));
	e->n_files = n;
	e->is_pinned = true;
}

static void files_verify(struct rollout_run *r, struct update_entry *e)
{
	if (e->is_verifying)
		return;
	e->verify_at.ms = 0;
	struct verify_job *v = NEW(struct verify_job);
	*v = (struct verify_job){ .run = r, .images = r->c.images, .n_files = e->n_files, .error = -ECANCELED };
	memcpy(v->update, e->id, sizeof(v->update));
	memcpy(v->files, e->files, sizeof(v->files));
	if (worker_submit(r->c.workers, verify_work, verify_done, v) < 0) {
		free(v);
		verify_later(r, e);
		return;
	}
	e->is_verifying = true;
	r->n_verifying++;
}

/* ---- changes ---- */

void rollout_update_changed(struct rollout_run *r, const struct update *u)
{
	struct update_entry *e = entry_get(r, u->id, u->state == UPDATE_AVAILABLE);

	if (!e || !r->has_begun)
		return;
	switch (u->state) {
	case UPDATE_AVAILABLE:
		files_pin(r, e, u);
		job_run_resume_update(r->jobs, u->id);
		if (!e->is_ready)
			files_verify(r, e);
		else
			scan_start(r, e);
		break;
	case UPDATE_HELD:
	case UPDATE_VERIFIED:
		job_run_defer_update(r->jobs, u->id, u->reason);
		break;
	case UPDATE_RECALLED:
	case UPDATE_SUPERSEDED:
	case UPDATE_EXPIRED:
	case UPDATE_REJECTED:
		job_run_cancel_update(r->jobs, u->id, u->reason[0] ? u->reason : update_state_name(u->state));
		files_unpin(r, e);
		break;
	case UPDATE_STATE_COUNT:
		break;
	}
	rollout_count(r, e, u);
}

static bool is_live(const struct update *u)
{
	return u && (u->state == UPDATE_AVAILABLE || u->state == UPDATE_VERIFIED || u->state == UPDATE_HELD);
}

/* What the device says it runs settles a job, whatever report was lost. */
static void settle_job(struct rollout_run *r, const struct device *d, const struct job *j, const struct update *u)
{
	enum update_age age = u ? update_age_on(u, d) : UPDATE_AGE_UNKNOWN;

	/* Each of these is possible from the state that it is asked in. */
	if (age == UPDATE_AGE_SAME && j->state != JOB_CONFIRMED && j->state != JOB_CANCELLED)
		(void)job_run_apply(r->jobs, j->id, JOB_EV_CONFIRMED, "the device registered running it", NULL, NULL);
	else if (age == UPDATE_AGE_OLDER && j->state == JOB_CONFIRMED)
		(void)job_run_apply(r->jobs, j->id, JOB_EV_REVERTED, "the device registered running an older one", NULL, NULL);
	else if (age == UPDATE_AGE_NEWER && job_is_open(j->state))
		(void)job_run_apply(r->jobs, j->id, JOB_EV_CANCEL, "the device runs a newer one", NULL, NULL);
	else if (!is_live(u) && job_is_open(j->state))
		(void)job_run_apply(r->jobs, j->id, JOB_EV_CANCEL, "its update is no longer offered", NULL, NULL);
}

static void settle_device(struct rollout_run *r, const struct device *d)
{
	for (const struct job *j = job_run_next_of(r->jobs, d->id, NULL); j; j = job_run_next_of(r->jobs, d->id, j->id))
		settle_job(r, d, j, r->c.world->update(r->c.world->ctx, j->update));
}

void rollout_device_changed(struct rollout_run *r, const struct device *d)
{
	if (!r->has_begun)
		return;
	settle_device(r, d);
	for (const struct update *u = r->c.world->update_next(r->c.world->ctx, NULL); u; u = r->c.world->update_next(r->c.world->ctx, u->id))
		if (u->state == UPDATE_AVAILABLE)
			consider(r, u, d);
}

void rollout_look_again(struct rollout_run *r)
{
	struct update_entry *e, *tmp;

	HASH_ITER(hh, r->updates, e, tmp)
		if (r->has_begun && e->is_ready)
			scan_start(r, e);
}

void rollout_device_removed(struct rollout_run *r, const char *device)
{
	job_run_forget_device(r->jobs, device); /* who comes back under its name starts anew */
}

static void job_changed(void *ctx, const struct job *j, enum job_state old)
{
	struct rollout_run *r = ctx;
	struct update_entry *e = entry_get(r, j->update, true);
	const struct update *u = r->c.world->update(r->c.world->ctx, j->update);
	const struct device *d = r->c.world->device(r->c.world->ctx, j->device);

	if (r->has_begun && job_is_open(j->state) && !is_live(u)) {
		/* It was over when its update was recalled, and then its end was not stored. An open job can. */
		(void)job_run_apply(r->jobs, j->id, JOB_EV_CANCEL, "its update is no longer offered", NULL, NULL);
	} else if (u && d && r->has_begun && job_is_open(j->state)) {
		const struct job *other = other_open(r, d->id, u->id);
		const struct update *other_update = other ? r->c.world->update(r->c.world->ctx, other->update) : NULL;
		if (other || j->state == JOB_QUEUED)
			consider(r, u, d);
		if (other_update)              /* the newer of the two stays */
			consider(r, other_update, d);
	}
	rollout_count(r, e, u);
}

/* ---- all devices for one update, a slice a turn ---- */

static bool scan_slice(struct rollout_run *r, struct update_entry *e)
{
	const struct update *u = r->c.world->update(r->c.world->ctx, e->id);
	const struct device *d = NULL;

	for (int i = 0; u && i < SLICE_DEVICES; i++) {
		d = r->c.world->device_next(r->c.world->ctx, e->scan_after[0] ? e->scan_after : NULL);
		if (!d && e->scan_after[0] && !r->c.world->device(r->c.world->ctx, e->scan_after)) {
			e->scan_after[0] = 0; /* the device we stood at was removed */
			return true;
		}
		if (!d)
			return false;
		memcpy(e->scan_after, d->id, sizeof(e->scan_after));
		consider(r, u, d);
	}
	return d != NULL;
}

/* One slice a turn, and none while the disk has enough to do. */
static void on_scan(void *ctx)
{
	struct rollout_run *r = ctx;
	struct update_entry *e, *tmp;
	struct mono now = mono_now();
	int64_t next_ms = -1;

	HASH_ITER(hh, r->updates, e, tmp) {
		if (!e->verify_at.ms || !e->is_pinned)
			continue;
		if (!mono_before(now, e->verify_at))
			files_verify(r, e);
		if (e->verify_at.ms)
			next_ms = VERIFY_AGAIN_MS;
	}
	HASH_ITER(hh, r->updates, e, tmp) {
		if (!e->is_scanning)
			continue;
		next_ms = BUSY_MS;
		if (db_queue_length(r->c.db) > DB_QUEUE_MAX / 4)
			break;
		next_ms = 0;
		e->is_scanning = scan_slice(r, e);
		if (!e->is_scanning)
			rollout_count(r, e, r->c.world->update(r->c.world->ctx, e->id));
		break;
	}
	loop_timer_set(r->scan_timer, next_ms);
}

/* ---- bytes for the drivers ---- */

static int file_read_at(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	return image_file_read(ctx, off, ret, n);
}

static void file_release(void *ctx)
{
	image_file_unref(ctx);
}

static int file_open(struct rollout_run *r, const struct digest *d, struct image_file **ret)
{
	struct update_entry *e, *tmp;

	int err = image_cache_get(r->c.images, d, ret);
	if (err == -EAGAIN || err == -ENOENT)
		HASH_ITER(hh, r->updates, e, tmp)
			for (size_t i = 0; i < e->n_files; i++)
				if (e->is_pinned && digest_eq(&e->files[i], d))
					files_verify(r, e); /* fetches it again when it is gone or damaged */
	return err;
}

/* The last word on every byte that leaves: an offer may outlive the reason for it by a turn of the loop, or a full disk. */
static bool is_deliverable(const struct update *u)
{
	return u && u->state == UPDATE_AVAILABLE && u->approved && !(u->has_use_before && wall_s(wall_now()) >= u->use_before_s);
}

static int source_open_image(void *ctx, const struct digest *manifest, const struct digest *d, struct coap_body_reader *ret)
{
	struct rollout_run *run = ctx;
	struct image_file *f;
	char id[UPDATE_ID_BYTES];

	if (!is_deliverable(run->c.world->update(run->c.world->ctx, digest_hex(manifest, id))))
		return -ENOENT;
	int r = file_open(run, d, &f);
	if (r < 0)
		return r;
	*ret = (struct coap_body_reader){ .bytes = image_file_bytes(f), .read = file_read_at, .release = file_release, .ctx = f };
	return 0;
}

static int add_proof(struct rollout_run *r, const char *device, struct buf *bytes)
{
	_cleanup_buf_ struct buf out = { 0 };
	uint8_t key[DELEGATE_KEY_BYTES_MAX];
	enum suit_problem problem;

	int n = r->c.world->mac_key(r->c.world->ctx, device, key, sizeof(key));
	if (n < 0)
		return n;
	struct suit_envelope *env = NEW(struct suit_envelope);
	int err = suit_envelope_decode(buf_span(bytes), SUIT_ALLOW_UNTAGGED | SUIT_ALLOW_UNUSED_INTEGRATED, env, &problem);
	if (err == 0)
		err = delegate_add_mac0(env, SPAN(key, n), span_str(device), &out);
	free(env);
	mem_wipe(key, sizeof(key));
	if (err < 0)
		return err;
	buf_done(bytes);
	*bytes = out;
	out = (struct buf){ 0 };
	return 0;
}

static int source_envelope(void *ctx, const char *device, const struct digest *manifest, struct buf *ret)
{
	struct rollout_run *r = ctx;
	_cleanup_(image_file_unrefp) struct image_file *f = NULL;
	char id[UPDATE_ID_BYTES];

	const struct update *u = r->c.world->update(r->c.world->ctx, digest_hex(manifest, id));
	const struct device *d = r->c.world->device(r->c.world->ctx, device);
	if (!d || !is_deliverable(u))
		return -ENOENT;
	int err = file_open(r, &u->envelope, &f);
	if (err < 0)
		return err;
	if (image_file_bytes(f) > ENVELOPE_BYTES_MAX)
		return -EMSGSIZE;
	uint8_t *p = buf_grow(ret, image_file_bytes(f));
	if (!p)
		return -ENOMEM;
	err = image_file_read(f, 0, p, image_file_bytes(f));
	if (err < 0)
		return err;
	return d->proof == PROOF_MAC ? add_proof(r, device, ret) : 0;
}

struct delivery_source rollout_run_source(struct rollout_run *r)
{
	return (struct delivery_source){ .open_image = source_open_image, .envelope = source_envelope, .ctx = r };
}

/* ---- for people ---- */

int rollout_why_not(struct rollout_run *r, const char *device, const char *update, struct selection *ret)
{
	const struct update *u = r->c.world->update(r->c.world->ctx, update);
	const struct device *d = r->c.world->device(r->c.world->ctx, device);

	if (!u || !d)
		return -ENOENT;
	judge(r, u, d, ret);
	return 0;
}

int rollout_retry_job(struct rollout_run *r, const char *job, const char *who)
{
	const struct job *j = job_run_get(r->jobs, job);
	char why[JOB_REASON_BYTES];

	if (j && !is_live(r->c.world->update(r->c.world->ctx, j->update)))
		return -EPROTO; /* it would wait for ever */
	(void)snprintf(why, sizeof(why), "retried by %.100s", who); /* clipped for people */
	return job_run_apply(r->jobs, job, JOB_EV_RETRY, why, NULL, NULL);
}

int rollout_cancel_job(struct rollout_run *r, const char *job, const char *who)
{
	char why[JOB_REASON_BYTES];

	(void)snprintf(why, sizeof(why), "cancelled by %.100s", who); /* clipped for people */
	return job_run_apply(r->jobs, job, JOB_EV_CANCEL, why, NULL, NULL);
}

const struct rollout *rollout_run_get(const struct rollout_run *r, const char *id)
{
	struct update_entry *e, *tmp;

	HASH_ITER(hh, r->updates, e, tmp)
		if (strcmp(e->rollout.id, id) == 0)
			return &e->rollout;
	return NULL;
}

const struct rollout *rollout_run_next(const struct rollout_run *r, const char *after)
{
	const struct rollout *prev = after ? rollout_run_get(r, after) : NULL;
	const struct update_entry *e = r->updates;

	if (prev)
		e = entry_get((struct rollout_run *)r, prev->update, false)->hh.next;
	return e && (!after || prev) ? &e->rollout : NULL;
}

struct job_run *rollout_run_jobs(struct rollout_run *r)
{
	return r->jobs;
}

static int on_load(void *ctx, const struct rollout *ro)
{
	entry_get(ctx, ro->update, true)->rollout = *ro;
	return 0;
}

int rollout_run_open(const struct rollout_run_config *c, struct rollout_run **ret)
{
	struct rollout_run *r = NEW(struct rollout_run);

	r->c = *c;
	r->scan_timer = loop_timer_new(c->loop, on_scan, r);
	struct job_run_config jc = { .loop = c->loop, .db = c->db, .audit = c->audit, .world = c->world, .retry_max = c->retry_max,
				     .retry_s = c->retry_s, .history_days = c->history_days, .changed = job_changed, .changed_ctx = r };
	int err = rollout_store_load(c->db, on_load, r);
	if (err == 0)
		err = job_run_open(&jc, &r->jobs);
	if (err < 0) {
		rollout_run_close(r);
		return err;
	}
	*ret = r;
	return 0;
}

void rollout_run_begin(struct rollout_run *r)
{
	r->has_begun = true;
	for (const struct update *u = r->c.world->update_next(r->c.world->ctx, NULL); u; u = r->c.world->update_next(r->c.world->ctx, u->id))
		rollout_update_changed(r, u);
	/* What was on offer is so from the first request on: while its files are verified again its readers are told to wait. A node
	 * that heard there was nothing would throw away what it has of it. */
	for (const struct job *j = job_run_next(r->jobs, NULL); j; j = job_run_next(r->jobs, j->id))
		if (job_is_open(j->state) && j->state != JOB_QUEUED)
			job_run_start(r->jobs, j->id);
}

struct rollout_run *rollout_run_close(struct rollout_run *r)
{
	struct update_entry *e, *tmp;

	if (!r)
		return NULL;
	loop_timer_free(r->scan_timer);
	job_run_close(r->jobs);
	HASH_ITER(hh, r->updates, e, tmp) {
		HASH_DEL(r->updates, e);
		free(e);
	}
	free(r);
	return NULL;
}
