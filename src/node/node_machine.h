/* node/node_machine.h - the life of a node as one table: what it does next when the last thing went so.
 * Pure: no I/O, no clock (time is an argument), no allocation; its randomness is a seeded generator, so a run
 * can be repeated in virtual time.
 *
 * Each state is one action. The runner (node/node.c) performs the action of a state when it is entered, then
 * feeds the event that tells how it went. What must survive a restart is the phase: the runner writes it down
 * before it acts (node/node_state.h), and actions may be repeated safely. */
#pragma once
#include "base/time.h"

/* Durable: where an update stands. */
#define NODE_PHASE_LIST(X) \
	X(NODE_IDLE, "idle") \
	X(NODE_PULLING, "pulling")              /* an offer was accepted; its images are coming */ \
	X(NODE_WHOLE, "whole")                  /* every image is here and its digest matches */ \
	X(NODE_INSTALLED, "installed")          /* the new manifest runs from the next boot on; not yet reported */ \
	X(NODE_FAILED, "failed")                /* not yet reported */ \
	X(NODE_LISTENING, "listening")          /* part of a multicast session whose envelope was accepted */

#define NODE_STATE_LIST(X) \
	X(NODE_OFF, "off")                      /* no power; comes back after a while */ \
	X(NODE_DISCOVER, "discover")            /* GET /.well-known/core */ \
	X(NODE_REGISTER, "register")            /* POST rd */ \
	X(NODE_REFRESH, "refresh")              /* POST its location */ \
	X(NODE_CHECK, "check")                  /* GET fw, and judge what comes */ \
	X(NODE_REPORT_DOWNLOADING, "report-downloading") \
	X(NODE_PULL, "pull")                    /* GET images, from where it stopped */ \
	X(NODE_REPORT_DOWNLOADED, "report-downloaded") \
	X(NODE_INSTALL, "install") \
	X(NODE_REPORT_UPDATING, "report-updating") \
	X(NODE_REBOOT, "reboot")                /* everything volatile is gone */ \
	X(NODE_REPORT_SUCCESS, "report-success") \
	X(NODE_REPORT_FAILURE, "report-failure") \
	X(NODE_WATCH, "watch")                  /* always on: observes fw, asks again now and then */ \
	X(NODE_SLEEP, "sleep")                  /* shop closed: nothing is sent or heard */ \
	X(NODE_PAUSE, "pause")                  /* the gateway did not answer: wait, longer each time */ \
	X(NODE_JOIN, "join")                    /* GET mc/s, or what POST mc told; then its envelope, and judge it */ \
	X(NODE_LISTEN, "listen")                /* the image comes by multicast (node/mcast_node.h) */ \
	X(NODE_DONE, "done")                    /* --once: nothing more to do */

#define NODE_EVENT_LIST(X) \
	X(NODE_EV_OK, "ok")                     /* the action succeeded */ \
	X(NODE_EV_NONE, "none")                 /* nothing for us */ \
	X(NODE_EV_OFFER, "offer")               /* an envelope that we accept */ \
	X(NODE_EV_REFUSED, "refused")           /* an envelope that we do not accept */ \
	X(NODE_EV_BAD, "bad")                   /* what came is not what the manifest says; or cannot be installed */ \
	X(NODE_EV_GONE, "gone")                 /* registration, offer, or image is no more */ \
	X(NODE_EV_DENIED, "denied")             /* 4.01, 4.03: not enrolled (yet) */ \
	X(NODE_EV_UNREACHABLE, "unreachable")   /* no answer, or 5.xx */ \
	X(NODE_EV_INVITED, "invited")           /* to a multicast session */ \
	X(NODE_EV_TIMER, "timer")               /* the state's timer */ \
	X(NODE_EV_CRASH, "crash")               /* power lost */

#define NODE_ENUM_(id_, name_) id_,
enum node_phase { NODE_PHASE_LIST(NODE_ENUM_) NODE_PHASE_COUNT };
enum node_state { NODE_STATE_LIST(NODE_ENUM_) NODE_STATE_COUNT };
enum node_event { NODE_EVENT_LIST(NODE_ENUM_) NODE_EVENT_COUNT };
#undef NODE_ENUM_

struct node_plan {                             /* how this node lives */
	bool once;                             /* done at the first rest */
	int64_t sleep_ms;                      /* between wakes; 0 = always on */
	int64_t awake_ms;                      /* longest time awake at a wake, transfers included; 0 = as long as it takes */
	int64_t lifetime_ms;                   /* of the registration; refreshed at three quarters of it */
	int64_t watch_ms;                      /* always on: ask again after so long without a notification */
	int64_t reboot_ms;                     /* how long a restart takes */
	int64_t pause_ms, pause_max_ms;        /* first and longest wait after no answer */
	int64_t answer_ms;                     /* an action that tells nothing for so long is given up */
	bool multicast;                        /* ask for a session after boots and wakes */
	int64_t listen_ms;                     /* in a session: ask whether it still is */
	double crash;                          /* 0..1: chance of losing power at each step while awake */
	uint64_t seed;
};

struct node_machine {
	struct node_plan plan;
	enum node_state state;
	enum node_phase phase;
	bool is_discovered, is_registered;     /* volatile, like all below */
	bool is_asked, is_invited;             /* for a multicast session since the last boot or wake; to one */
	bool is_just_registered;               /* since it last watched or slept */
	struct mono registered_at, awake_at;
	struct mono timer_at;                  /* when has_timer */
	bool has_timer;
	unsigned n_unanswered;                 /* in a row */
	uint64_t random;
	unsigned n_boots, n_wakes, n_checks, n_updates, n_failures, n_crashes; /* statistics of this run */
};

/* The node is off and boots at once (or up to spread_ms later). phase is what was written down. */
void node_machine_init(struct node_machine *m, const struct node_plan *plan, enum node_phase phase, struct mono now,
		       int64_t spread_ms);
/* Feed an event. True: m->state was entered (perhaps again) and its action is to be performed, after m->phase was made
 * durable if it changed. False: the event means nothing in this state. */
bool node_machine_step(struct node_machine *m, enum node_event ev, struct mono now);
/* Invited to a multicast session: now, or as soon as there is nothing else to do. True: feed NODE_EV_INVITED. */
bool node_machine_invite(struct node_machine *m);
/* A transfer goes on: puts off giving up. */
void node_machine_progress(struct node_machine *m, struct mono now);
/* Draws whether the power goes now, in the middle of a transfer: a fiftieth of the chance of a step. */
bool node_machine_draw_crash(struct node_machine *m);
/* A sleeper whose time awake is over (it goes on at its next wake). */
bool node_machine_is_tired(const struct node_machine *m, struct mono now);

const char *node_state_name(enum node_state s);
const char *node_phase_name(enum node_phase p);
const char *node_event_name(enum node_event e);
