/* model/rollout.h - bringing one update to the devices it fits. First form: one stage, policy
 * auto or approve; the update's jobs belong to it. */
#pragma once
#include "model/job.h"
#include "model/update.h"

enum rollout_policy { POLICY_APPROVE, POLICY_AUTO };
enum rollout_state { ROLLOUT_WAITING, ROLLOUT_RUNNING, ROLLOUT_DONE, ROLLOUT_STOPPED, ROLLOUT_STATE_COUNT };

struct rollout {
	char id[JOB_ID_BYTES];                 /* first 32 hex digits of the update id */
	char update[UPDATE_ID_BYTES];
	enum rollout_state state;              /* waiting = for approval */
	struct wall created_at, state_at;
};

const char *rollout_state_name(enum rollout_state s);
int rollout_state_parse(struct span s, enum rollout_state *ret);
