/* rollout/multicast_choice.h - one transmission for a group, or each device by itself? Pure: facts in, the answer with its reason
 * out; job_run acts on it and `dormousectl why-not` prints it, so both always agree.
 *
 * It is asked twice: of a device, whether its order may wait for a session at all; and of a gathering, once everybody expected is
 * there or the time is over, whether the session pays. What pays is counted in frames on the air, which is what a constrained link
 * has least of: with F fragments of one frame each and a loss of p,
 *   unicast    n F (1/(1-p)^2 + 1/(1-p))     a request for each block, repeated until it is answered, and the answers
 *   multicast  1.1 F/(1-p) + 70 + 4 n/(1-p)  the image with its parity, the session's control frames, and everybody's setup
 * (man/dormouse-multicast.7). */
#pragma once
#include "model/update.h"

enum { MULTICAST_CHOICE_TEXT_BYTES = 200 };

struct multicast_device_facts {
	const struct update *update;
	bool is_configured;                    /* the driver runs */
	bool in_group;                         /* by configuration, and the device registered that it can */
	const char *group;                     /* its name, when in_group */
	bool is_up;                            /* the group's interface is there */
	bool is_in_session;                    /* one of this update is under way with it */
	bool has_image;                        /* its job is past the transfer */
	bool was_left;                         /* refused, or was silent, or was given up in a session of this update */
	uint64_t bytes_max;                    /* largest object of a session */
};

struct multicast_gathering_facts {
	const char *group;
	size_t n_members;                      /* that need this image now */
	uint32_t min_members;                  /* configured */
	uint64_t bytes;                        /* of the image */
	uint32_t fragment_bytes;
	double loss;                           /* expected, 0 to 0.9: of the sessions before, or a guess */
	uint32_t pace_ms;
};

struct multicast_choice {
	bool multicast;
	const char *rule;                      /* stable word: "group", "interface", "images", "size", "left", "session", "transferred", "members", "frames" */
	uint64_t frames, unicast_frames;       /* of a gathering */
	char text[MULTICAST_CHOICE_TEXT_BYTES];
};

void multicast_choose_device(const struct multicast_device_facts *f, struct multicast_choice *ret);
void multicast_choose_gathering(const struct multicast_gathering_facts *f, struct multicast_choice *ret);
