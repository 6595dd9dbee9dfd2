#include "model/rollout.h"

#include "model/name.h"

static const char *const state_names[ROLLOUT_STATE_COUNT] = {
	[ROLLOUT_WAITING] = "waiting",
	[ROLLOUT_RUNNING] = "running",
	[ROLLOUT_DONE] = "done",
	[ROLLOUT_STOPPED] = "stopped",
};

const char *rollout_state_name(enum rollout_state s)
{
	return s < ROLLOUT_STATE_COUNT ? state_names[s] : "?";
}

int rollout_state_parse(struct span s, enum rollout_state *ret)
{
	int i = name_parse(s, state_names, ROLLOUT_STATE_COUNT);

	if (i < 0)
		return i;
	*ret = (enum rollout_state)i;
	return 0;
}
