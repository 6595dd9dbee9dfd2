/* rollout/selection.h - does this device get this update now, and if not, which rules stand against it.
 * Pure: facts and a time in, every rule's answer out; rollout_run acts on it and `dormousectl why-not` prints it,
 * so both always agree. */
#pragma once
#include "base/time.h"
#include "model/job.h"
#include "model/update.h"

enum { SELECTION_BLOCKS_MAX = 12, SELECTION_TEXT_BYTES = 200 };

struct selection_facts {
	const struct update *update;
	const struct device *device;
	bool driver_known;                     /* a driver of the device's name runs */
	bool key_missing;                      /* it wants our own proof, and there is no key for that */
	bool images_ready;                     /* all files of the update were verified in this process */
	const struct job *job;                 /* of this pair; NULL = none yet */
	const struct job *other;               /* another open job of the device; NULL */
	const struct update *other_update;     /* of that job; NULL */
	const char *radio_over;                /* the radio it is behind has used up its airtime; NULL */
	uint32_t radio_wait_s;
	unsigned retry_max;
	struct wall now;
};

struct selection_block {
	const char *rule;                      /* stable word: "update-state", "approval", "enrolment", "model", ... */
	bool is_wait;                          /* passes by itself or by a decision; otherwise never for these facts */
	char text[SELECTION_TEXT_BYTES];
};

struct selection {
	bool allowed;                          /* no block */
	struct selection_block blocks[SELECTION_BLOCKS_MAX];
	size_t n_blocks;
};

void selection_judge(const struct selection_facts *f, struct selection *ret);
