/* base/time.h - two clocks, two types, so that they cannot be mixed up: `struct mono`
 * for timers and lifetimes, `struct wall` for certificates, freshness and the log.
 * Decisions take the time as a parameter; only the edges (app, io, cli, node) ask the clock. */
#pragma once
#include "base/span.h"

struct mono {
	int64_t ms;                    /* since an arbitrary start; never steps */
};

struct wall {
	int64_t ms;                    /* since 1970-01-01T00:00:00Z; may step */
};

enum { WALL_TEXT_BYTES = 32 };

struct mono mono_now(void);
struct wall wall_now(void);

static inline struct mono mono_add_ms(struct mono t, int64_t ms) { return (struct mono){ t.ms + ms }; }
static inline int64_t mono_diff_ms(struct mono a, struct mono b) { return a.ms - b.ms; }
static inline bool mono_before(struct mono a, struct mono b) { return a.ms < b.ms; }
static inline struct wall wall_add_ms(struct wall t, int64_t ms) { return (struct wall){ t.ms + ms }; }
static inline bool wall_before(struct wall a, struct wall b) { return a.ms < b.ms; }
static inline int64_t wall_s(struct wall t) { return t.ms / 1000 - (t.ms % 1000 < 0); }
static inline struct wall wall_from_s(int64_t s) { return (struct wall){ s * 1000 }; }

/* RFC 3339 in UTC with milliseconds, "2026-11-22T09:00:00.000Z"; returns buf. */
const char *wall_text(struct wall t, char buf[static WALL_TEXT_BYTES]);
/* RFC 3339 with Z or a numeric offset, or a decimal number of seconds. -EBADMSG otherwise. */
int wall_parse(struct span text, struct wall *ret);
