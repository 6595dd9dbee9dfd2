/* directory/lookup.h - searching the registry (RFC 9176 section 6): which endpoints or links match, in a stable
 * order, as link-format. No sockets, no clock, no log.
 *
 * A search visits only the registrations under its most telling indexed criterion (ep, d, rt, if, et, and href of a
 * registration), and may be run in slices; between slices the registry may change, the order stays. */
#pragma once
#include "base/buf.h"
#include "directory/registry.h"

enum {
	LOOKUP_CRITERIA_MAX = 16, LOOKUP_BYTES_MAX = 16 * 1024 * 1024,
	LOOKUP_SLICE = 1000,                   /* registrations in one slice: a few ms */
};

enum lookup_kind { LOOKUP_ENDPOINTS, LOOKUP_RESOURCES };

struct lookup_criterion {
	struct span name, value;
	bool has_value, is_prefix;             /* value ends in "*" */
};

struct lookup_query {                          /* spans borrow from the options */
	enum lookup_kind kind;
	const char *path;                      /* of the registrations, "rd" */
	uint32_t link_scope;                   /* the link the request came in on; 0 = not known (RD-65) */
	struct lookup_criterion criteria[LOOKUP_CRITERIA_MAX];
	size_t n_criteria;
	bool has_count;
	uint32_t count, page;
};

/* From Uri-Query options. -EINVAL with *why: page or count are not as they should be, too many criteria. */
int lookup_query_parse(enum lookup_kind kind, const char *path, uint32_t link_scope, const struct span *options, size_t n_options,
		       struct lookup_query *ret, const char **why);
/* A number that stays as long as the answer does; other numbers for other answers. */
uint64_t lookup_stamp(const struct registry *r, const struct lookup_query *q);

struct lookup;

/* Both are borrowed as long as it lives. */
struct lookup *lookup_new(const struct registry *r, const struct lookup_query *q);
struct lookup *lookup_free(struct lookup *l);
/* Visits at most max registrations (0 = all that are left), appends their links. 1 done, 0 more to do, -EMSGSIZE over
 * LOOKUP_BYTES_MAX: let it be asked for in pages. */
int lookup_run(struct lookup *l, size_t max, struct buf *ret);
size_t lookup_n_visited(const struct lookup *l);
/* All of it at once. 0 or -EMSGSIZE. */
int lookup_answer(const struct registry *r, const struct lookup_query *q, struct buf *ret);
