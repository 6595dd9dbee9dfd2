/* intake/intake.h - the only door: an envelope from a source is judged, its revocation status fetched, its images
 * brought into the cache, and only then is there an available update. Keeps every update, judges again when
 * revocation data or the clock changes, recalls what is no longer trusted. State is persisted before it acts;
 * a restart goes on where it stood. Loop thread; judging and hashing on workers. */
#pragma once
#include "io/worker.h"
#include "model/rollout.h"
#include "model/update.h"
#include "store/audit_log.h"
#include "store/image_cache.h"
#include "store/update_store.h"
#include "trust/trust.h"
#include "upstream/revocation_source.h"
#include "upstream/upstream.h"

enum { INTAKE_UPDATES_MAX = 2000, INTAKE_REJECTED_MAX = 200, INTAKE_CANDIDATES_MAX = 64, INTAKE_FETCHES_MAX = 4 };

struct intake;

struct intake_config {
	struct loop *loop;
	struct worker_pool *workers;
	struct db *db;
	struct audit_log *audit;
	struct image_cache *images;
	struct upstream *upstream;
	struct revocation_source *revocation;
	struct trust_anchors *anchors;         /* a reference is taken */
	uint64_t image_bytes_max;              /* one image; also the sum of an update's */
	uint32_t refresh_max_s;                /* look again at revocation at least this often */
	uint32_t status_age_max_s;             /* struct trust_facts; 0 = its default */
	/* How an update of this source is approved. */
	enum rollout_policy (*policy)(void *ctx, const char *source, const struct update *u);
	/* State or approval changed, after it was persisted. old == u->state when only the approval or the images changed. */
	void (*changed)(void *ctx, const struct update *u, enum update_state old);
	void *ctx;
};

int intake_open(const struct intake_config *c, struct intake **ret);   /* loads; fetches nothing yet */
/* Start nothing more; what workers and fetches still bring is dropped, and comes again after a restart. */
void intake_stop(struct intake *in);
struct intake *intake_close(struct intake *in);                         /* after the workers have ended */
void intake_begin(struct intake *in);                                   /* go on with what was under way */
void intake_set_anchors(struct intake *in, struct trust_anchors *a);   /* after a reload; judges everything again */
/* A CRL shipped by hand: part of the facts, never fetched. der is copied. */
void intake_add_revocation_file(struct intake *in, enum revocation_kind kind, const char *name, struct span der);

/* What upstream calls (struct upstream_config.found). */
void intake_found(void *intake, const char *source, const char *uri, struct span envelope, upstream_taken_fn *taken, void *arg);

const struct update *intake_update(const struct intake *in, const char *id);
const struct update *intake_update_next(const struct intake *in, const char *after);   /* in order of arrival */
/* A unique prefix of at least 6 digits: 0; -ENOENT; -ENOTUNIQ. */
int intake_update_find(const struct intake *in, const char *prefix, const struct update **ret);
size_t intake_update_count(const struct intake *in);
/* -ENOENT, -EALREADY; done after the commit. who is for the audit log. */
int intake_approve(struct intake *in, const char *id, const char *who, db_done_fn *done, void *ctx);
int intake_recall(struct intake *in, const char *id, const char *who, const char *reason, db_done_fn *done, void *ctx);
/* A cached file was lost or damaged: whoever needs it fetches it again. */
void intake_image_lost(struct intake *in, const struct digest *d);
/* Fetch revocation status of everything live now, and judge again. */
void intake_refresh(struct intake *in);
/* Facts about the clock (RV-14): the floor it may not fall below. */
struct wall intake_clock(const struct intake *in, bool *ret_bad);
