/* Bringing the images of a verified update into the cache: one at a time per update, resumed from what a
 * former download left, hashed and made durable on a worker before it gets its name. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/text.h"
#include "intake/internal.h"

enum { RETRY_MIN_MS = 2000, RETRY_MAX_MS = 10 * 60 * 1000, SAME_IMAGE_MS = 500 };

struct payload_fetch {
	struct intake *intake;
	char id[UPDATE_ID_BYTES];              /* of the update; "" once cancelled */
	struct digest digest;
	uint64_t bytes;
	char uri[UPDATE_URI_BYTES];
	struct image_partial *partial;
	struct upstream_payload *payload;      /* under way */
	int error;                             /* of the commit */
};

static struct payload_fetch *fetch_free(struct payload_fetch *f)
{
	if (f) {
		image_partial_close(f->partial);
		free(f);
	}
	return NULL;
}

static void retry_later(struct intake *in, struct entry *e, const char *uri, const char *why)
{
	int64_t back_ms = RETRY_MIN_MS;

	for (unsigned i = 0; i < e->payload_failures && back_ms < RETRY_MAX_MS; i++)
		back_ms *= 2;
	back_ms += (int64_t)random_below((uint64_t)back_ms / 4);
	e->payload_failures++;
	e->retry_at = mono_add_ms(mono_now(), back_ms);
	intake_wake(in, back_ms);
	log_fields(EV_PAYLOAD_FAILED, LOG_WARNING, ({ "GW_UPDATE", e->u.id }, { "GW_SOURCE", e->u.source }, { "GW_REASON", why }),
		   "update %.12s: payload %s: %s; tried again in %lld s", e->u.id, uri, why, (long long)(back_ms / 1000));
}

static void slot_free(struct intake *in)
{
	in->n_fetches--;
	intake_wake(in, 0); /* somebody may wait for it */
}

static void failed(struct intake *in, struct payload_fetch *f, int error, const char *why)
{
	struct entry *e = entry_find(in, f->id);
	char uri[UPDATE_URI_BYTES];

	memcpy(uri, f->uri, sizeof(uri));
	fetch_free(f);
	slot_free(in);
	if (e)
		e->fetch = NULL;
	if (!e || in->is_closing)
		return;
	retry_later(in, e, uri, why);
	if (error == -EBADMSG) /* somebody serves other bytes than the vendor signed: say so where it shows */
		entry_set_state(in, e, UPDATE_HELD, "the payload at %.100s is not what the vendor signed: %s (SU-19)", uri, why);
	else if (e->u.state == UPDATE_VERIFIED)
		entry_set_state(in, e, UPDATE_VERIFIED, "waiting for its payload: %s", why);
}

static void commit_work(void *arg)
{
	struct payload_fetch *f = arg;

	f->error = image_partial_commit(f->partial);
}

static void commit_done(void *arg)
{
	struct payload_fetch *f = arg;
	struct intake *in = f->intake;

	if (f->error < 0) {
		failed(in, f, f->error, f->error == -EBADMSG ? "its digest or size differs" : strerror(-f->error));
		return;
	}
	image_cache_added(in->c.images, &f->digest, f->bytes);
	char hex[DIGEST_HEX_BYTES];
	log_fields(EV_IMAGE_CACHED, LOG_INFO, ({ "GW_IMAGE", digest_hex(&f->digest, hex) }, { "GW_UPDATE", f->id }),
		   "image %.12s of %llu bytes is in the cache", hex, (unsigned long long)f->bytes);
	struct entry *e = entry_find(in, f->id);
	fetch_free(f);
	slot_free(in);
	if (e) {
		e->fetch = NULL;
		e->payload_failures = 0;
		payload_next(in, e);
	}
}

static int on_piece(void *ctx, uint64_t off, struct span data)
{
	struct payload_fetch *f = ctx;

	if (off == 0) {
		int r = image_partial_reset(f->partial); /* the server starts over */
		if (r < 0)
			return r;
	}
	return image_partial_write(f->partial, off, data);
}

static void commit(struct intake *in, struct payload_fetch *f)
{
	f->error = -ECANCELED; /* unless a worker gets to it */
	if (worker_submit(in->c.workers, commit_work, commit_done, f) < 0)
		failed(in, f, -EBUSY, "the workers are busy");
}

static void on_payload(void *ctx, int error, const char *text)
{
	struct payload_fetch *f = ctx;

	f->payload = NULL;
	if (error == -EFBIG)
		failed(f->intake, f, -EBADMSG, "it is longer than the manifest says");
	else if (error < 0)
		failed(f->intake, f, error, text ? text : strerror(-error));
	else
		commit(f->intake, f);
}

static void fetch_image(struct intake *in, struct entry *e, const struct update_image *img)
{
	struct payload_fetch *f = NEW(struct payload_fetch);
	uint64_t from = 0;

	f->intake = in;
	f->digest = img->digest;
	f->bytes = img->bytes;
	memcpy(f->id, e->u.id, sizeof(f->id));
	memcpy(f->uri, img->uri, sizeof(f->uri));
	in->n_fetches++;
	e->fetch = f;
	int r = image_cache_reserve(in->c.images, img->bytes);
	if (r < 0) {
		failed(in, f, r, "the image cache is full of images in use; raise cache.quota");
		return;
	}
	r = image_partial_open(in->c.images, &img->digest, img->bytes, &f->partial, &from);
	if (r == -EBUSY) { /* another update is fetching the same image */
		fetch_free(f);
		in->n_fetches--;
		e->fetch = NULL;
		e->retry_at = mono_add_ms(mono_now(), SAME_IMAGE_MS);
		intake_wake(in, SAME_IMAGE_MS);
		return;
	}
	if (r < 0) {
		failed(in, f, r, strerror(-r));
		return;
	}
	if (from == img->bytes) {
		commit(in, f);
		return;
	}
	struct upstream_payload_request req = { .source = e->u.source, .uri = f->uri, .from = from, .max_bytes = img->bytes,
						.piece = on_piece, .done = on_payload, .ctx = f };
	r = in->c.upstream ? upstream_payload(in->c.upstream, &req, &f->payload) : -ENOENT;
	if (r < 0)
		failed(in, f, r, r == -ENOENT ? "not found at its source" : strerror(-r));
}

void payload_next(struct intake *in, struct entry *e)
{
	bool was_available = e->u.state == UPDATE_AVAILABLE;

	if (in->is_closing || e->fetch || (e->u.state != UPDATE_VERIFIED && !was_available))
		return;
	for (size_t i = 0; i < e->u.n_images; i++) {
		struct update_image *img = &e->u.images[i];
		img->is_cached = image_cache_has(in->c.images, &img->digest, NULL);
		if (img->is_cached)
			continue;
		if (was_available) {
			entry_set_state(in, e, UPDATE_VERIFIED, "an image left the cache and is fetched again");
			was_available = false;
		}
		if (img->is_integrated) { /* comes with the envelope: take that in again */
			entry_judge_again(in, e);
			return;
		}
		int64_t wait_ms = e->retry_at.ms ? mono_diff_ms(e->retry_at, mono_now()) : 0;
		if (wait_ms > 0)
			intake_wake(in, wait_ms);
		if (wait_ms > 0 || in->n_fetches >= INTAKE_FETCHES_MAX) /* the end of a fetch wakes who waits for its place */
			return;
		fetch_image(in, e, img);
		return;
	}
	if (!was_available)
		entry_set_state(in, e, UPDATE_AVAILABLE, "%s", e->u.approved ? "" : "waiting for approval");
}

void payload_cancel(struct entry *e)
{
	struct payload_fetch *f = e->fetch;

	if (!f)
		return;
	e->fetch = NULL;
	if (f->payload) { /* otherwise a worker has it, and its end finds nobody waiting */
		upstream_payload_cancel(f->payload);
		slot_free(f->intake);
		fetch_free(f);
	} else {
		f->id[0] = 0;
	}
}
