/* codec/link_format.h - CoRE Link Format (RFC 6690): an iterator over borrowed text, matching
 * of attribute values, and a writer. Pure; nothing is copied or allocated but by the writer's
 * buf. Values stay as they stand in the text (quotes taken off, backslashes still there) so that
 * links can be given back byte for byte; matching undoes the escapes while it compares.
 *
 * White space after "," and ";" is accepted on input and never written (LF-7). */
#pragma once
#include "base/buf.h"

enum {
	LINK_DOC_BYTES_MAX = 256 * 1024, LINK_TARGET_BYTES_MAX = 1024, LINK_PARAMS_MAX = 48,
	LINK_NAME_BYTES_MAX = 64, LINK_VALUE_BYTES_MAX = 1024,
};

struct link_reader {
	struct span doc;
	size_t pos;
	int error;                             /* sticks */
};

struct weblink {
	struct span target;                    /* between < and > */
	struct span params;                    /* what follows, with its first ";"; checked */
};

struct link_param {
	struct span name;
	struct span value;                     /* as in the text, without the quotes */
	bool has_value, is_quoted, is_escaped; /* escaped: value holds a backslash */
};

void link_reader_init(struct link_reader *r, struct span doc);
/* 1 and *ret; 0 at the end; -EBADMSG not link-format, -EMSGSIZE over a limit above. */
int link_reader_next(struct link_reader *r, struct weblink *ret);

/* Start with *pos = 0. 1 and *ret, 0 at the end. l must come from link_reader_next(). */
int weblink_param(const struct weblink *l, size_t *pos, struct link_param *ret);
/* The first of that name: later ones of single-use attributes do not count (LF-4). */
bool weblink_get(const struct weblink *l, const char *name, struct link_param *ret);

/* Space-separated lists of tokens: rel, rev, rt, if (RFC 6690), ct (RFC 7252 7.2.1). */
bool link_name_is_list(struct span name);
/* Occurs once in a link; the first counts (LF-4). */
bool link_name_is_single(struct span name);
/* May stand as attribute name in a link. */
bool link_name_is_valid(struct span name);

/* The value with escapes undone. */
void link_value_add(struct buf *b, const struct link_param *p);
/* Equal, or when want ends in "*" starting with what stands before it. Lists: any token. */
bool link_param_matches(const struct link_param *p, struct span want);
/* The same rule for a plain text that is not a list. */
bool link_text_matches(struct span text, struct span want);
/* Walks the tokens of a list value; *rest starts as the value. False at the end. */
bool link_token_next(struct span *rest, struct span *ret);

struct link_writer {
	struct buf *b;                         /* borrowed */
	size_t n_links;
};

void link_write(struct link_writer *w, struct span target);
void link_write_param(struct link_writer *w, const struct link_param *p);              /* as it was read (LF-6) */
void link_write_quoted(struct link_writer *w, struct span name, struct span value);    /* escapes what must be */
void link_write_value(struct link_writer *w, struct span name, struct span value);     /* quoted unless a plain token */
void link_write_flag(struct link_writer *w, struct span name);
