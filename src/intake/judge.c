/* Judging on a worker: facts are copied in, the verdict and what the manifest says come back. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/uri.h"
#include "intake/internal.h"
#include "trust/freshness.h"

static void refuse(struct judge_job *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void refuse(struct judge_job *j, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(j->refused, sizeof(j->refused), fmt, ap); /* clipped for people */
	va_end(ap);
}

static void copy_text(char *ret, size_t ret_bytes, struct span s)
{
	_cleanup_buf_ struct buf b = { 0 };

	text_add_escaped(&b, s, ret_bytes / 4);
	(void)text_copy(ret, ret_bytes, span_sub(buf_span(&b), 0, ret_bytes - 1)); /* clipped: for people only (SU-24) */
}

static bool copy_component(struct judge_job *j, const struct suit_component *c, struct update_component *ret)
{
	if (c->id.n > sizeof(ret->id) || c->n_vendor_id > UPDATE_MODELS_MAX || c->n_class_id > UPDATE_MODELS_MAX) {
		refuse(j, "component identifier over %d bytes or more than %d vendor or class ids", DEVICE_COMPONENT_ID_BYTES, UPDATE_MODELS_MAX);
		return false;
	}
	memcpy(ret->id, c->id.p, c->id.n);
	ret->n_id = (uint8_t)c->id.n;
	for (size_t i = 0; i < c->n_vendor_id; i++)
		if (c->vendor_id[i].n == 16)
			memcpy(ret->vendor_id[ret->n_vendor_id++], c->vendor_id[i].p, 16);
	for (size_t i = 0; i < c->n_class_id; i++)
		if (c->class_id[i].n == 16)
			memcpy(ret->class_id[ret->n_class_id++], c->class_id[i].p, 16);
	return true;
}

/* A relative URI is relative to the reference-uri, or to where the envelope was found (SU-22). */
static bool image_uri(struct judge_job *j, const struct suit_manifest *m, struct span uri, char ret[static UPDATE_URI_BYTES])
{
	_cleanup_buf_ struct buf out = { .max = UPDATE_URI_BYTES - 1 };
	struct span base = m->reference_uri.n ? m->reference_uri : span_str(j->envelope_uri);

	if (uri_resolve(base, uri, 0, &out) < 0 || !buf_ok(&out)) {
		refuse(j, "a payload URI cannot be resolved or is over %d bytes", UPDATE_URI_BYTES - 1);
		return false;
	}
	return text_copy(ret, UPDATE_URI_BYTES, buf_span(&out)) >= 0;
}

static bool copy_image(struct judge_job *j, const struct suit_manifest *m, const struct suit_image *img)
{
	struct update *u = &j->u;
	struct digest d;

	if (!img->is_fetched && !img->is_integrated)
		return true; /* only checked on the node, or written from the manifest */
	if (img->digest.alg != -16 || img->digest.bytes.n != DIGEST_BYTES || !img->has_size) {
		refuse(j, "a payload without SHA-256 digest and size cannot be cached (SU-19)");
		return false;
	}
	memcpy(d.b, img->digest.bytes.p, DIGEST_BYTES);
	for (size_t i = 0; i < u->n_images; i++)
		if (digest_eq(&u->images[i].digest, &d))
			return true;
	if (u->n_images == UPDATE_IMAGES_MAX || img->component >= UPDATE_COMPONENTS_MAX) {
		refuse(j, "more than %d payloads", UPDATE_IMAGES_MAX);
		return false;
	}
	struct update_image *ui = &u->images[u->n_images];
	ui->digest = d;
	ui->bytes = img->size;
	ui->component = (uint8_t)img->component;
	ui->is_integrated = img->is_integrated;
	if (!img->is_integrated && !image_uri(j, m, img->uri, ui->uri))
		return false;
	u->n_images++;
	return true;
}

/* What the manifest says, as a struct update; j->refused says why not. */
static void manifest_to_update(struct judge_job *j, const struct suit_manifest *m)
{
	struct update *u = &j->u;

	u->sequence = m->sequence;
	u->has_use_before = m->has_use_before;
	u->use_before_s = m->use_before_s;
	copy_text(u->description, sizeof(u->description), m->description.n ? m->description : m->model_name);
	copy_text(u->version, sizeof(u->version), m->version_text);
	if (m->n_components > UPDATE_COMPONENTS_MAX) {
		refuse(j, "more than %d components", UPDATE_COMPONENTS_MAX);
		return;
	}
	if (m->n_dependencies > 0) {
		refuse(j, "the manifest has dependencies, which are not fetched here");
		return;
	}
	for (size_t i = 0; i < m->n_components; i++)
		if (!copy_component(j, &m->components[i], &u->components[u->n_components++]))
			return;
	for (size_t i = 0; i < m->n_images; i++)
		if (!copy_image(j, m, &m->images[i]))
			return;
	j->has_update = true;
}

static void store_bytes(struct judge_job *j, struct span bytes, const struct digest *expect)
{
	struct digest d;

	if (j->error < 0 || j->n_stored >= UPDATE_IMAGES_MAX + 1)
		return;
	int r = image_cache_put(j->images, bytes, &d);
	if (r < 0) {
		j->error = r;
		return;
	}
	if (expect && !digest_eq(&d, expect)) {
		refuse(j, "an integrated payload does not match its digest (SU-18)");
		j->has_update = false;
		return;
	}
	j->stored[j->n_stored] = d;
	j->stored_bytes[j->n_stored++] = bytes.n;
}

/* Envelope and integrated payloads go into the cache while we are on a worker. */
static void store_all(struct judge_job *j, struct span bytes, const struct suit_manifest *m)
{
	for (size_t i = 0; i < m->n_images && j->has_update; i++) {
		struct digest d;
		const struct suit_image *img = &m->images[i];
		if (!img->is_integrated || img->digest.bytes.n != DIGEST_BYTES)
			continue;
		memcpy(d.b, img->digest.bytes.p, DIGEST_BYTES);
		if (img->integrated.n != img->size) {
			refuse(j, "an integrated payload is not of its stated size (SU-18)");
			j->has_update = false;
			return;
		}
		store_bytes(j, img->integrated, &d);
	}
	if (j->has_update && j->candidate)
		store_bytes(j, bytes, NULL);
}

static int envelope_read(struct image_cache *images, const struct digest *d, struct buf *ret)
{
	_cleanup_(image_file_unrefp) struct image_file *f = NULL;

	int r = image_cache_verify(images, d, &f);
	if (r < 0)
		return r;
	uint8_t *p = buf_grow(ret, image_file_bytes(f));
	return p ? image_file_read(f, 0, p, image_file_bytes(f)) : -ENOMEM;
}

static void note_freshness(struct judge_job *j, const struct suit_envelope *env, const struct suit_manifest *m)
{
	j->fresh = NEW_N(struct freshness_entry, FRESHNESS_ENTRIES_MAX);
	int n = freshness_entries(m, &env->manifest_digest, j->fresh);
	if (n < 0) {
		refuse(j, "too many vendor and class ids");
		j->has_update = false;
		n = 0;
	}
	j->n_fresh = (size_t)n;
}

static void judge_work(void *arg)
{
	struct judge_job *j = arg;
	_cleanup_buf_ struct buf own = { 0 };
	struct span bytes = j->bytes;

	j->error = 0;
	if (!bytes.p) {
		j->error = envelope_read(j->images, &j->envelope_digest, &own);
		if (j->error < 0)
			return;
		bytes = buf_span(&own);
	}
	struct suit_envelope *env = NEW(struct suit_envelope);
	struct suit_manifest *m = NEW(struct suit_manifest);
	j->envelope_digest = digest_of(bytes);
	verdict_judge(j->anchors, &j->facts, bytes, env, m, j->verdict);
	if (j->verdict->outcome != TRUST_REJECTED && m->n_components > 0) {
		digest_hex(&env->manifest_digest, j->u.id);
		j->u.envelope = j->envelope_digest;
		j->u.envelope_bytes = bytes.n;
		(void)text_copy(j->u.anchor, sizeof(j->u.anchor), span_str(j->verdict->anchor)); /* same size */
		manifest_to_update(j, m);
		note_freshness(j, env, m);
		if (j->has_update)
			store_all(j, bytes, m);
	}
	free(env);
	free(m);
}

struct judge_job *judge_free(struct judge_job *j)
{
	if (!j)
		return NULL;
	for (size_t i = 0; i < j->n_blobs; i++)
		blob_unref(j->blobs[i]);
	trust_anchors_unref(j->anchors);
	free(j->blobs);
	free(j->objects);
	free(j->seen);
	free(j->fresh);
	free(j->verdict);
	free(j);
	return NULL;
}

static void facts_copy(struct intake *in, struct judge_job *j)
{
	struct rev_blob *b, *tmp;

	j->blobs = NEW_N(struct rev_blob *, HASH_COUNT(in->blobs));
	j->objects = NEW_N(struct revocation_object, HASH_COUNT(in->blobs));
	HASH_ITER(hh, in->blobs, b, tmp) {
		j->blobs[j->n_blobs] = blob_ref(b);
		j->objects[j->n_blobs++] = (struct revocation_object){ .kind = b->kind, .url = b->url, .der = SPAN(b->der, b->n),
								       .fetched_at = b->fetched_at };
	}
	/* What is kept already was fresh when it came in: a newer sequence supersedes it, and does not make it a rollback. */
	size_t n_seen = j->candidate ? in->n_seen : 0;
	j->seen = NEW_N(struct freshness_entry, n_seen);
	if (n_seen)
		memcpy(j->seen, in->seen, n_seen * sizeof(*in->seen));
	j->facts.now = intake_clock(in, &j->facts.clock_bad);
	j->facts.revocation = j->objects;
	j->facts.n_revocation = j->n_blobs;
	j->facts.seen = j->seen;
	j->facts.n_seen = n_seen;
	j->facts.image_bytes_max = in->c.image_bytes_max;
	j->facts.status_age_max_s = in->c.status_age_max_s;
}

struct judge_job *judge_start(struct intake *in, struct candidate *c, struct entry *e, void (*done)(void *job))
{
	struct judge_job *j = NEW(struct judge_job);

	j->intake = in;
	j->candidate = c;
	j->images = in->c.images;
	j->error = -ECANCELED;
	j->anchors = trust_anchors_ref(in->anchors);
	j->verdict = NEW(struct verdict);
	if (c) {
		j->bytes = buf_span(&c->envelope);
		(void)text_copy(j->envelope_uri, sizeof(j->envelope_uri), span_str(c->uri));   /* same size */
	} else {
		memcpy(j->id, e->u.id, sizeof(j->id));
		j->envelope_digest = e->u.envelope;
		(void)text_copy(j->envelope_uri, sizeof(j->envelope_uri), span_str(e->u.uri)); /* same size */
	}
	facts_copy(in, j);
	if (worker_submit(in->c.workers, judge_work, done, j) < 0)
		return judge_free(j);
	return j;
}
