/* radio/lowpan_plan.h - what is to be done next to a 6LoWPAN interface so that it is as it was asked for. Pure: settings and facts in,
 * one step out. The step's result is seen in the facts of the next time, so that every order of events, restarts and an interface
 * that comes back with another index lead to the same end.
 *
 * What we raised once we leave alone afterwards: whoever takes an interface down while we run means it. */
#pragma once
#include "radio/lowpan.h"

enum lowpan_step {
	LOWPAN_STEP_READY,                     /* all is as it should be */
	LOWPAN_STEP_AS_IT_IS,                  /* another makes it; it is not there, or down */
	LOWPAN_STEP_NO_RADIO,                  /* the parent is not there */
	LOWPAN_STEP_KEY,                       /* a key was given that this kernel cannot set: nothing is raised */
	LOWPAN_STEP_FOREIGN,                   /* an interface of that name stands on something else */
	LOWPAN_STEP_TAKEN_DOWN,                /* by another, after we raised it */
	LOWPAN_STEP_ASK,                       /* the radio's settings are not known */
	LOWPAN_STEP_LINK_DOWN, LOWPAN_STEP_RADIO_DOWN, /* so that the radio's settings can change */
	LOWPAN_STEP_PAN, LOWPAN_STEP_SHORT, LOWPAN_STEP_CHANNEL,
	LOWPAN_STEP_ADD,
	LOWPAN_STEP_RADIO_UP, LOWPAN_STEP_LINK_UP,
	LOWPAN_STEP_ADDRESS,
	LOWPAN_STEP_COUNT,
};

struct lowpan_facts {
	bool has_radio, is_radio_up, is_radio_raised;  /* is_..._raised: by us, since it appeared */
	bool is_asked;                         /* the four that follow are known; WPAN_UNKNOWN what the kernel does not tell */
	int pan_id, short_address, page, channel;
	bool has_link, is_link_up, is_link_raised, is_on_radio;        /* is_on_radio: its parent is the radio */
	bool has_address;
};

enum lowpan_step lowpan_plan(const struct lowpan_settings *s, const struct lowpan_facts *f);
/* For people: "sets the PAN id", "the radio is not there". */
const char *lowpan_step_text(enum lowpan_step s);
/* Whether the step is something to do now; otherwise it is a state to wait in. */
bool lowpan_step_acts(enum lowpan_step s);
