/* model/job.h - one update for one device. The state table is pure; rollout/job_run persists,
 * then acts. Numbers on the wire are LwM2M Object 5's. */
#pragma once
#include "base/digest.h"
#include "base/time.h"
#include "model/device.h"

enum { JOB_ID_BYTES = 33, JOB_REASON_BYTES = 160 };

#define JOB_STATE_LIST(X) \
	X(JOB_QUEUED, "queued") X(JOB_OFFERED, "offered") X(JOB_TRANSFERRING, "transferring") X(JOB_TRANSFERRED, "transferred") \
	X(JOB_APPLYING, "applying") X(JOB_CONFIRMED, "confirmed") X(JOB_FAILED, "failed") X(JOB_REVERTED, "reverted") \
	X(JOB_CANCELLED, "cancelled") X(JOB_DEFERRED, "deferred")

#define JOB_EVENT_LIST(X) \
	X(JOB_EV_START, "start")                /* schedule lets it go: offer it */ \
	X(JOB_EV_PROGRESS, "progress")          /* first or further block asked for */ \
	X(JOB_EV_TRANSFERRED, "transferred")    /* the node has all of it */ \
	X(JOB_EV_APPLYING, "applying") \
	X(JOB_EV_CONFIRMED, "confirmed")        /* the node runs it */ \
	X(JOB_EV_REJECTED, "rejected")          /* the node refused or failed */ \
	X(JOB_EV_REVERTED, "reverted") \
	X(JOB_EV_DEFER, "defer") \
	X(JOB_EV_RESUME, "resume") \
	X(JOB_EV_RETRY, "retry")                /* after failed, by policy or person */ \
	X(JOB_EV_CANCEL, "cancel")              /* by a person, or superseded, or recalled */

#define JOB_ENUM_(id_, name_) id_,
enum job_state { JOB_STATE_LIST(JOB_ENUM_) JOB_STATE_COUNT };
enum job_event { JOB_EVENT_LIST(JOB_ENUM_) JOB_EVENT_COUNT };
#undef JOB_ENUM_

struct job {
	char id[JOB_ID_BYTES];                 /* hex of 16 bytes: of (update, device), so making it again gives the same */
	char update[DIGEST_HEX_BYTES];
	char device[DEVICE_ID_BYTES];
	char rollout[JOB_ID_BYTES];
	enum job_state state;
	uint64_t sent_bytes, total_bytes;      /* progress; not persisted at every block */
	unsigned attempts;
	unsigned result;                       /* Object 5 result last reported */
	char reason[JOB_REASON_BYTES];
	struct wall created_at, state_at;
};

/* The new state (the same one when the event only repeats what is known), or -1: not possible. Nodes are believed about
 * themselves: a report may skip states, step back (a node that restarted pulls again) or come late (confirmed after failed). */
int job_next(enum job_state from, enum job_event ev);
bool job_is_open(enum job_state s);                    /* not confirmed, failed, reverted, cancelled */
const char *job_state_name(enum job_state s);
int job_state_parse(struct span s, enum job_state *ret);
const char *job_event_name(enum job_event ev);
void job_id_of(const char *update, const char *device, char ret[static JOB_ID_BYTES]);
/* What a report in LwM2M Object 5's words (resource 3 and 5) means. A failing result counts in any state; success
 * counts only back in idle. JOB_EVENT_COUNT: it says nothing about the job (idle and initial, or an unknown state). */
enum job_event job_event_from_report(unsigned state, unsigned result);

/* What to do about a result of Object 5 (LW-30). */
enum job_remedy {
	REMEDY_NONE,                           /* initial, updated */
	REMEDY_RETRY,                          /* later, or resume */
	REMEDY_RETRY_SMALLER,                  /* with smaller blocks */
	REMEDY_RECHECK_IMAGE,                  /* verify our copy again, then one retry */
	REMEDY_OTHER_WAY,                      /* another scheme or push */
	REMEDY_STOP,                           /* a person must look */
	REMEDY_WAIT,                           /* not failed: the node or its user put it off */
};
enum job_remedy job_remedy_of(unsigned result);
const char *job_result_text(unsigned result);
