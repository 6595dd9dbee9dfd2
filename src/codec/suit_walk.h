/* codec/suit_walk.h - the symbolic walk through a manifest's command sequences, for suit_manifest.c
 * alone. Nothing is executed: every branch of every try-each is followed, each way through with its
 * own parameters, and what a target could fetch, check or ask on any of them is noted in the manifest.
 *
 * A "path" is one such way: the parameters of every component, and the slot each component was found
 * to have. Paths that become equal are merged; more than SUIT_PATHS_MAX different ones, more than
 * SUIT_COMMANDS_MAX commands, or more work than WALK_STEPS_MAX are refused as SUIT_TOO_MANY. */
#pragma once
#include "codec/suit.h"

enum {
	WALK_SLOTS_MAX = SUIT_COMPONENTS_MAX + SUIT_DEPENDENCIES_MAX,
	WALK_PATHS_BYTES_MAX = 512 * 1024,
	WALK_STEPS_MAX = 1000000,              /* one step: one command or copy, on one component, on one path */
};

struct slot;

struct walk {
	const struct suit_envelope *env;
	struct suit_manifest *m;
	enum suit_problem *problem;
	uint64_t extra_index[SUIT_DEPENDENCIES_MAX];   /* indexes that only the dependency map names */
	size_t n_slots;                        /* components, then those */
	struct slot *paths;                    /* pool of n_paths paths, n_slots slots each */
	size_t n_paths;
	uint64_t used;                         /* pool bitmap */
	bool integrated_used[SUIT_INTEGRATED_MAX];
	bool in_shared;
	bool is_repeat;                        /* commands of this walk were counted before */
	unsigned n_commands, n_steps;
};

/* A bit per path of the pool. */
typedef uint64_t walk_set;

/* w->m's components and dependencies are set. -ENOMEM, -EMSGSIZE. */
int walk_init(struct walk *w, const struct suit_envelope *env, struct suit_manifest *m, enum suit_problem *problem);
void walk_done(struct walk *w);
/* A new procedure: one path with nothing set. */
int walk_begin(struct walk *w, walk_set *ret);
/* Walk one sequence (content of its bstr); *set becomes the paths that come out of it, perhaps none. */
int walk_sequence(struct walk *w, struct span sequence, walk_set *set);
/* Notes which components had their vendor and class checked on every path. */
void walk_note_identity(struct walk *w, walk_set set);
/* Notes what is still open, and releases the paths. */
int walk_end(struct walk *w, walk_set set);
/* A URI as RFC 3986 writes it: printable ASCII without spaces, at most SUIT_URI_BYTES_MAX. */
bool walk_uri_ok(struct span uri);
