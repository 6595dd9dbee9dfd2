/* intake/internal.h - shared by the files of intake/ only. */
#pragma once
#include <stdatomic.h>
#include <uthash.h>

#include "codec/suit.h"
#include "intake/intake.h"
#include "trust/verdict.h"

/* A revocation object in hand; shared with workers, so counted. */
struct rev_blob {
	atomic_uint refs;
	char key[DIGEST_HEX_BYTES];
	char url[TRUST_URL_BYTES];
	enum revocation_kind kind;
	bool is_file;
	uint8_t *der;
	size_t n;
	struct wall fetched_at;
	UT_hash_handle hh;
};

/* An envelope on its way in, not yet an update. */
struct candidate {
	struct intake *intake;
	char source[SOURCE_NAME_BYTES];
	char uri[UPDATE_URI_BYTES];
	struct buf envelope;
	upstream_taken_fn *taken;
	void *arg;
	unsigned tries;                        /* rounds of fetching revocation */
	size_t n_waiting;                      /* fetches under way */
	bool got_any;
	struct judge_job *verdict;             /* of the last round, while waiting */
	struct candidate *prev, *next;
};

struct entry {                                 /* an update and what it waits for */
	struct update u;
	struct revocation_need *needs;
	size_t n_needs;
	bool is_judging, judge_again;
	bool was_accepted;                     /* in this life: its sequence number was fresh once */
	struct payload_fetch *fetch;           /* of the next missing image */
	unsigned payload_failures;
	struct mono retry_at;                  /* of the payload; 0 = now */
	struct mono refresh_at;                /* of the revocation status; 0 = never */
	struct mono asked_at;                  /* its source, for a lost envelope */
	struct digest pinned[UPDATE_IMAGES_MAX + 1];
	size_t n_pinned;                       /* in the image cache, while live */
	unsigned n_storing;                    /* writes under way */
	bool is_approval_new;                  /* the next write is an approval's: undone when it fails */
	bool is_unsaved;                       /* the last write failed: written again at store_at */
	enum update_state unsaved_from;
	struct buf unsaved_verdict;
	struct mono store_at;
	UT_hash_handle hh;
};

struct intake {
	struct intake_config c;
	struct trust_anchors *anchors;
	struct entry *entries;
	struct rev_blob *blobs;
	struct freshness_entry *seen;
	size_t n_seen;
	struct candidate *candidates;
	size_t n_candidates, n_fetches, n_rejected;
	struct wall floor;                     /* no trusted time before this */
	struct loop_timer *timer;
	struct mono wake_at;                   /* of the timer, while armed */
	struct mono prune_at;                  /* of revocation objects that nobody needs */
	bool seen_unsaved;                     /* some sequence number is not on the disk */
	bool has_begun, is_closing;
	bool clock_was_bad;
};

/* One judgement on a worker: everything it needs by value, the outcome with it. */
struct judge_job {
	struct intake *intake;
	struct candidate *candidate;           /* or */
	char id[UPDATE_ID_BYTES];              /* of the entry judged again */
	struct trust_anchors *anchors;
	struct rev_blob **blobs;
	struct revocation_object *objects;
	size_t n_blobs;
	struct freshness_entry *seen;
	struct trust_facts facts;
	struct image_cache *images;
	struct digest envelope_digest;         /* read from the cache when bytes is empty */
	struct span bytes;                     /* the candidate's, borrowed: it waits */
	char envelope_uri[UPDATE_URI_BYTES];
	/* result */
	int error;                             /* < 0: could not even be judged (file lost, cache full) */
	struct verdict *verdict;
	struct update u;                       /* what the manifest says; when authentic */
	bool has_update;
	char refused[UPDATE_TEXT_BYTES];       /* authentic, but not ours to handle: why */
	struct digest stored[UPDATE_IMAGES_MAX + 1];
	uint64_t stored_bytes[UPDATE_IMAGES_MAX + 1];
	size_t n_stored;
	struct freshness_entry *fresh;         /* what it stands for in the sequence store */
	size_t n_fresh;
};

/* judge.c */
struct judge_job *judge_start(struct intake *in, struct candidate *c, struct entry *e, void (*done)(void *job));       /* NULL: queue full */
struct judge_job *judge_free(struct judge_job *j);

/* revocation.c */
void blobs_load(struct intake *in);
void blobs_free(struct intake *in);
struct rev_blob *blob_ref(struct rev_blob *b);
void blob_unref(struct rev_blob *b);
/* Fetch what a candidate's verdict lacks; false when there is nothing (more) to fetch. */
bool candidate_fetch_needs(struct intake *in, struct candidate *c, const struct verdict *v);
void entry_set_needs(struct intake *in, struct entry *e, const struct verdict *v);
void entry_refresh(struct intake *in, struct entry *e, bool force);
void blobs_prune(struct intake *in);
void floor_raise(struct intake *in, struct wall proof);

/* payload.c */
void payload_next(struct intake *in, struct entry *e);
void payload_cancel(struct entry *e);

/* state.c: the one way to change an update's state: persist, then log and tell. */
void entry_transition(struct intake *in, struct entry *e, enum update_state to, const char *reason, const char *who, struct span verdict,
		      db_done_fn *done, void *ctx);
/* The same when it may go there and is not there already, by nobody, with nothing to wait for. */
void entry_set_state(struct intake *in, struct entry *e, enum update_state to, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Write it as it stands. */
void entry_store(struct intake *in, struct entry *e, enum update_state old, const char *who, struct span verdict,
		 db_done_fn *done, void *ctx);
bool entry_is_live(const struct entry *e);
void entry_pin(struct intake *in, struct entry *e);

/* intake.c */
void candidate_judge(struct candidate *c);
void candidate_conclude(struct candidate *c, struct judge_job *j);
void entry_judge_again(struct intake *in, struct entry *e);
struct entry *entry_find(const struct intake *in, const char *id);
void intake_wake(struct intake *in, int64_t in_ms);
