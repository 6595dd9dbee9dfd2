/* directory/registration.h - one registration as the registry keeps it, for siblings of directory/registry.c only;
 * everybody else reads it through directory/registry.h. Its texts are packed into one allocation:
 *   endpoint NUL sector NUL base NUL owner NUL device NUL attributes links
 * where each attribute ends in NUL. "endpoint NUL sector" is the key of the name map. */
#pragma once
#include "base/buf.h"
#include "directory/map.h"
#include "directory/registry.h"

struct registration_parts {
	struct span endpoint, sector, base, owner, device, attributes, links;
};

struct registration {
	UT_hash_handle hh_location, hh_name;
	uint64_t order, generation;
	struct mono deadline;                  /* of the lifetime, or when hidden of the grace time */
	struct mono queued;                    /* the deadline its place in the queue stands for; not later */
	uint8_t *text;
	uint32_t queue_at;
	uint32_t lifetime_s, link_scope, n_attributes_bytes, n_links_bytes, n_links;
	uint16_t n_base;
	uint8_t n_endpoint, n_sector, n_owner, n_device;
	bool is_visible, base_is_explicit, is_link_local;
	bool is_unsaved;                       /* what is on disk is older than this */
	char location[REGISTRY_LOCATION_BYTES];
};

struct registration_parts registration_parts(const struct registration *reg);
/* Replaces the texts; the parts may borrow from the old ones. -ENOMEM. */
int registration_pack(struct registration *reg, const struct registration_parts *p);
struct span registration_name_key(const struct registration *reg);
/* Adds or removes its entries of the index, all of them. */
void registration_index(struct registration *reg, struct index *ix, bool add);

/* Checks of what a peer sent: 0, or as registry_register() with *why set. */
int registration_check_name(const struct registry_request *req, const char **why);
int registration_check_links(struct span links, const struct registry_limits *l, uint32_t *ret_n, const char **why);
/* The base to use into *ret, and whether its host is link-local. */
int registration_check_base(const struct registry_request *req, struct span *ret, bool *ret_link_local, const char **why);
/* New attributes over old ones (empty for a registration): same keys are replaced (RD-45). Appends the packed form. */
int registration_merge_attributes(struct span old, const struct registry_request *req, struct buf *ret, const char **why);
