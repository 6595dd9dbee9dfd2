/* directory/registry.h - the registrations of the CoRE Resource Directory (RFC 9176 section 5).
 *
 * Owns every registration with its links and the indexes over them (directory/index.h); written through to
 * store/registration_store and read back at start with the same locations and what is left of the lifetimes.
 * Borrowed pointers and spans hold until the next registry_* call that is not const. No sockets, no clock, no log: the
 * CoAP face is directory/rd_coap.h, searching is directory/lookup.h, time is an argument. Single-threaded.
 *
 * A registration is visible for its lifetime, then hidden for a grace time in which an update of its location
 * brings it back (RD-47), then gone. No call but registry_load() and registry_next() costs more as the directory grows,
 * beyond a logarithm. */
#pragma once
#include "base/time.h"
#include "directory/index.h"
#include "store/db.h"

enum {
	REGISTRY_NAME_BYTES_MAX = 63,          /* ep and d (RD-22) */
	REGISTRY_BASE_BYTES_MAX = 255,
	REGISTRY_ATTRIBUTES_MAX = 32, REGISTRY_ATTRIBUTES_BYTES_MAX = 4096,
	REGISTRY_LOCATION_BYTES = 17,
	REGISTRY_LIFETIME_DEFAULT_S = 90000,   /* RFC 9176 section 5 */
	REGISTRY_EXPIRE_BATCH = 256,
};

/* Owner of what the gateway registers for nodes that cannot: no credential's name has blanks. max_per_owner does not count for it. */
#define REGISTRY_OWNER_GATEWAY "the gateway itself"

struct registry;
struct registration;

struct registry_limits {                       /* a max of 0 = no limit; lifetime_default_s 0 = REGISTRY_LIFETIME_DEFAULT_S */
	uint32_t max_endpoints;                /* hidden ones count too */
	uint32_t max_links;                    /* of one registration */
	uint32_t max_per_owner;                /* registrations of one credential; plain CoAP has no credential to count */
	uint64_t max_links_bytes;              /* of one registration */
	uint32_t grace_s;
	uint32_t lifetime_default_s;
};

struct registry_time {
	struct mono mono;
	struct wall wall;
};

struct registry_request {
	struct span endpoint, sector;          /* not looked at by an update */
	struct span base;                      /* as given; empty = none */
	struct span implied_base;              /* scheme and source address of the request */
	uint32_t link_scope;                   /* the link it came in on, for link-local bases; 0 = not known */
	bool has_lifetime;
	uint32_t lifetime_s;
	const struct span *attributes;         /* "name=value" or "name" */
	size_t n_attributes;
	struct span links;                     /* application/link-format; not looked at by an update */
	const char *owner;                     /* authenticated identity, "" = plain CoAP (RD-80); NULL = the operator */
	const char *device;                    /* "" = none; NULL in an update = as it is */
};

struct registry_result {
	const struct registration *registration;       /* NULL after an error */
	const char *why;                       /* static; for a diagnostic payload after an error */
};

enum registry_change {
	REGISTRY_ADDED,                        /* also back from hidden */
	REGISTRY_CHANGED,                      /* base, attributes, links or device differ */
	REGISTRY_REFRESHED,                    /* the lifetime only */
	REGISTRY_EXPIRED,                      /* hidden */
	REGISTRY_REMOVED,                      /* by request */
};

typedef void registry_changed_fn(void *ctx, const struct registration *reg, enum registry_change what);

struct registry *registry_new(const struct registry_limits *limits, struct db *db /* NULL = memory only */);
/* Commits still under way keep what they need; their done functions are called as usual. */
struct registry *registry_free(struct registry *r);
void registry_set_limits(struct registry *r, const struct registry_limits *limits);
void registry_set_changed(struct registry *r, registry_changed_fn *fn, void *ctx);
/* Once, before anything else. Returns how many or -errno. Rows that are past their time or damaged are dropped. */
int registry_load(struct registry *r, struct registry_time now);

/* In all three: done (may be NULL) is called once the change is on disk, or with the error that kept it off, never
 * from within the call; without a database it is not called at all. After an error here it is not called either.
 * -EACCES: the registration belongs to another credential (RD-82). */

/* 1 created, 0 replaced (same location, RD-21). -EINVAL name, base, lifetime or attribute; -EBADMSG links do not parse;
 * -EMSGSIZE bytes, -E2BIG links over the limit; -ENOSPC directory full; -EDQUOT credential has its share. */
int registry_register(struct registry *r, const struct registry_request *req, struct registry_time now, db_done_fn *done, void *ctx,
		      struct registry_result *ret);
/* -ENOENT: no such location (any more). */
int registry_update(struct registry *r, struct span location, const struct registry_request *req, struct registry_time now,
		    db_done_fn *done, void *ctx, struct registry_result *ret);
int registry_remove(struct registry *r, struct span location, const char *owner, db_done_fn *done, void *ctx);

/* Hides and collects what is past its time, at most REGISTRY_EXPIRE_BATCH, and writes again what failed to reach the
 * disk. Returns ms until it wants to be called
 * again (0 = at once), or -1 when nothing waits. */
int64_t registry_expire(struct registry *r, struct registry_time now);

/* Visible ones only, unless said otherwise. */
const struct registration *registry_get(const struct registry *r, struct span location);
const struct registration *registry_get_hidden_too(const struct registry *r, struct span location);
const struct registration *registry_find(const struct registry *r, struct span endpoint, struct span sector);
/* In registration order; after = 0 is the first. NULL = no more. */
const struct registration *registry_next(const struct registry *r, uint64_t after);
const struct index *registry_index(const struct registry *r);

struct registry_counts {
	size_t n_endpoints, n_links, n_hidden, bytes;
};
struct registry_counts registry_counts(const struct registry *r);

const char *registration_location(const struct registration *reg);     /* last path segment */
struct span registration_endpoint(const struct registration *reg);
struct span registration_sector(const struct registration *reg);
struct span registration_base(const struct registration *reg);
const char *registration_owner(const struct registration *reg);
const char *registration_device(const struct registration *reg);
struct span registration_links(const struct registration *reg);        /* verbatim (RD-32) */
/* Attributes in the order given; start with *pos = 0. False at the end. *ret is "name=value" or "name". */
bool registration_attribute(const struct registration *reg, size_t *pos, struct span *ret);
/* The first value of that name; false = absent. */
bool registration_attribute_get(const struct registration *reg, const char *name, struct span *ret);
uint32_t registration_lifetime_s(const struct registration *reg);
struct mono registration_deadline(const struct registration *reg);
uint64_t registration_order(const struct registration *reg);
uint64_t registration_generation(const struct registration *reg);      /* as in directory/index.h */
uint32_t registration_link_scope(const struct registration *reg);      /* of a link-local base; else 0 (RD-65) */
bool registration_is_link_local(const struct registration *reg);
size_t registration_n_links(const struct registration *reg);
/* Cuts "name=value"; false = there is no "=". */
bool registration_attribute_cut(struct span attribute, struct span *ret_name, struct span *ret_value);
