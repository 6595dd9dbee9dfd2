#include "model/job.h"

#include "base/text.h"
#include "model/name.h"

#define JOB_NAME_(id_, name_) [id_] = name_,
static const char *const state_names[JOB_STATE_COUNT] = { JOB_STATE_LIST(JOB_NAME_) };
static const char *const event_names[JOB_EVENT_COUNT] = { JOB_EVENT_LIST(JOB_NAME_) };
#undef JOB_NAME_

#define X(s_) ((s_) + 1)                       /* 0 = not possible */
/* What a node may say about itself, whatever we believed before. */
#define NODE_REPORTS \
	[JOB_EV_PROGRESS] = X(JOB_TRANSFERRING), [JOB_EV_TRANSFERRED] = X(JOB_TRANSFERRED), \
	[JOB_EV_APPLYING] = X(JOB_APPLYING), [JOB_EV_CONFIRMED] = X(JOB_CONFIRMED), \
	[JOB_EV_REJECTED] = X(JOB_FAILED), [JOB_EV_REVERTED] = X(JOB_REVERTED), \
	[JOB_EV_DEFER] = X(JOB_DEFERRED), [JOB_EV_CANCEL] = X(JOB_CANCELLED)

static const int8_t job_table[JOB_STATE_COUNT][JOB_EVENT_COUNT] = {
	[JOB_QUEUED]       = { NODE_REPORTS, [JOB_EV_START] = X(JOB_OFFERED) },
	[JOB_OFFERED]      = { NODE_REPORTS, [JOB_EV_START] = X(JOB_OFFERED) },
	[JOB_TRANSFERRING] = { NODE_REPORTS },
	[JOB_TRANSFERRED]  = { NODE_REPORTS },
	[JOB_APPLYING]     = { NODE_REPORTS },
	[JOB_DEFERRED]     = { NODE_REPORTS, [JOB_EV_RESUME] = X(JOB_QUEUED) },
	[JOB_CONFIRMED]    = { [JOB_EV_CONFIRMED] = X(JOB_CONFIRMED), [JOB_EV_REVERTED] = X(JOB_REVERTED) },
	[JOB_FAILED]       = { [JOB_EV_CONFIRMED] = X(JOB_CONFIRMED), [JOB_EV_REJECTED] = X(JOB_FAILED),
			       [JOB_EV_RETRY] = X(JOB_QUEUED) },
	[JOB_REVERTED]     = { [JOB_EV_CONFIRMED] = X(JOB_CONFIRMED), [JOB_EV_REVERTED] = X(JOB_REVERTED),
			       [JOB_EV_RETRY] = X(JOB_QUEUED) },
	[JOB_CANCELLED]    = { [JOB_EV_CANCEL] = X(JOB_CANCELLED), [JOB_EV_RETRY] = X(JOB_QUEUED) },
};

int job_next(enum job_state from, enum job_event ev)
{
	return from < JOB_STATE_COUNT && ev < JOB_EVENT_COUNT ? job_table[from][ev] - 1 : -1;
}

bool job_is_open(enum job_state s)
{
	switch (s) {
	case JOB_QUEUED:
	case JOB_OFFERED:
	case JOB_TRANSFERRING:
	case JOB_TRANSFERRED:
	case JOB_APPLYING:
	case JOB_DEFERRED:
		return true;
	case JOB_CONFIRMED:
	case JOB_FAILED:
	case JOB_REVERTED:
	case JOB_CANCELLED:
	case JOB_STATE_COUNT:
		return false;
	}
	return false;
}

const char *job_state_name(enum job_state s)
{
	return s < JOB_STATE_COUNT ? state_names[s] : "?";
}

int job_state_parse(struct span s, enum job_state *ret)
{
	int i = name_parse(s, state_names, JOB_STATE_COUNT);

	if (i < 0)
		return i;
	*ret = (enum job_state)i;
	return 0;
}

const char *job_event_name(enum job_event ev)
{
	return ev < JOB_EVENT_COUNT ? event_names[ev] : "?";
}

void job_id_of(const char *update, const char *device, char ret[static JOB_ID_BYTES])
{
	/* The terminating NUL of the first keeps the two apart. */
	struct digest d = digest_of2(SPAN(update, strlen(update) + 1), span_str(device));

	text_hex(SPAN(d.b, (JOB_ID_BYTES - 1) / 2), ret);
}

/* Object 5, resource 5, and 33629's two more (device-protocols 1.5). */
static const struct {
	const char *text;
	enum job_event event;                  /* JOB_EVENT_COUNT: the state decides */
	enum job_remedy remedy;
} results[] = {
	[0]  = { "initial", JOB_EVENT_COUNT, REMEDY_NONE },
	[1]  = { "updated", JOB_EVENT_COUNT, REMEDY_NONE },
	[2]  = { "not enough flash memory", JOB_EV_REJECTED, REMEDY_STOP },
	[3]  = { "out of RAM", JOB_EV_REJECTED, REMEDY_RETRY_SMALLER },
	[4]  = { "connection lost during the download", JOB_EV_REJECTED, REMEDY_RETRY },
	[5]  = { "integrity check failed", JOB_EV_REJECTED, REMEDY_RECHECK_IMAGE },
	[6]  = { "unsupported package type", JOB_EV_REJECTED, REMEDY_STOP },
	[7]  = { "invalid URI", JOB_EV_REJECTED, REMEDY_OTHER_WAY },
	[8]  = { "update failed", JOB_EV_REJECTED, REMEDY_STOP },
	[9]  = { "unsupported protocol", JOB_EV_REJECTED, REMEDY_OTHER_WAY },
	[10] = { "cancelled by the node", JOB_EV_CANCEL, REMEDY_STOP },
	[11] = { "deferred by the node", JOB_EV_DEFER, REMEDY_WAIT },
	[12] = { "conflicting state", JOB_EV_REJECTED, REMEDY_RETRY },
	[13] = { "dependency error", JOB_EV_REJECTED, REMEDY_STOP },
};

enum { RESULT_COUNT = sizeof(results) / sizeof(*results) };
enum { OBJECT5_IDLE, OBJECT5_DOWNLOADING, OBJECT5_DOWNLOADED, OBJECT5_UPDATING };

enum job_event job_event_from_report(unsigned state, unsigned result)
{
	if (result >= RESULT_COUNT)
		return JOB_EV_REJECTED;
	if (results[result].event != JOB_EVENT_COUNT)
		return results[result].event;
	switch (state) {
	case OBJECT5_IDLE:
		return result == 1 ? JOB_EV_CONFIRMED : JOB_EVENT_COUNT;
	case OBJECT5_DOWNLOADING:
		return JOB_EV_PROGRESS;
	case OBJECT5_DOWNLOADED:
		return JOB_EV_TRANSFERRED;
	case OBJECT5_UPDATING:
		return JOB_EV_APPLYING;
	default:
		return JOB_EVENT_COUNT;
	}
}

enum job_remedy job_remedy_of(unsigned result)
{
	return result < RESULT_COUNT ? results[result].remedy : REMEDY_STOP;
}

const char *job_result_text(unsigned result)
{
	return result < RESULT_COUNT ? results[result].text : "unknown result";
}
