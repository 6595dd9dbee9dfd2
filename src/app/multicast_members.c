#include "app/multicast_members.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/text.h"

struct member {                                /* a device with at least one listing */
	UT_hash_handle hh;
	char device[DEVICE_ID_BYTES];
	struct listing *listings;              /* the newest first */
	int group;                             /* counted there; -ENOENT: nowhere */
};

struct listing {                               /* a registration that has a link of rt=mcd.n */
	UT_hash_handle hh;
	uint64_t order;
	char sector[REGISTRY_NAME_BYTES_MAX + 1];
	struct member *member;
	struct listing *prev, *next;
};

struct multicast_members {
	const struct registry *registry;
	const struct devices *devices;
	const struct config_multicast_group *groups;
	size_t n_groups;
	size_t *counts;
	struct member *members;
	struct listing *listings;
};

/* ---- does it fit? ---- */

static bool is_listed(char **list, const char *text)
{
	if (!*list)
		return true;
	for (; *list; list++)
		if (strcmp(*list, text) == 0)
			return true;
	return false;
}

static bool is_listed_uuid(char **list, bool has, const uint8_t uuid[static 16])
{
	uint8_t want[16];

	if (!*list)
		return true;
	for (; has && *list; list++)
		if (text_parse_uuid(span_str(*list), want) == 0 && memcmp(want, uuid, sizeof(want)) == 0)
			return true;
	return false;
}

static int fitting_group(const struct multicast_members *m, const struct member *e)
{
	const struct device *d = devices_get(m->devices, e->device);

	for (size_t i = 0; d && e->listings && d->state == DEVICE_ENROLLED && i < m->n_groups; i++) {
		const struct config_multicast_group *row = &m->groups[i];
		if (is_listed(row->devices, d->id) && is_listed(row->sectors, e->listings->sector) &&
		    is_listed_uuid(row->vendor_ids, d->model.has_vendor, d->model.vendor_id) &&
		    is_listed_uuid(row->class_ids, d->model.has_class, d->model.class_id))
			return (int)i;
	}
	return -ENOENT;
}

/* ---- members and their listings ---- */

static struct member *member_find(const struct multicast_members *m, const char *device)
{
	struct member *e;

	HASH_FIND_STR(m->members, device, e);
	return e;
}

static void place(struct multicast_members *m, struct member *e)
{
	if (e->group >= 0)
		m->counts[e->group]--;
	e->group = fitting_group(m, e);
	if (e->group >= 0)
		m->counts[e->group]++;
}

/* After its listings changed: it is counted anew, or gone with the last of them. */
static void member_settle(struct multicast_members *m, struct member *e)
{
	place(m, e);
	if (e->listings)
		return;
	HASH_DEL(m->members, e);
	free(e);
}

static struct member *member_make(struct multicast_members *m, const char *device)
{
	struct member *e = member_find(m, device);

	if (e)
		return e;
	e = NEW(struct member);
	e->group = -ENOENT;
	(void)text_copy(e->device, sizeof(e->device), span_str(device)); /* ids fit */
	HASH_ADD_STR(m->members, device, e);
	return e;
}

static void listing_remove(struct multicast_members *m, struct listing *l)
{
	struct member *e = l->member;

	HASH_DEL(m->listings, l);
	DL_DELETE(e->listings, l);
	free(l);
	member_settle(m, e);
}

static void listing_add(struct multicast_members *m, const struct registration *reg)
{
	struct listing *l;

	if (!registration_device(reg)[0])
		return;
	l = NEW(struct listing);
	l->order = registration_order(reg);
	(void)text_copy(l->sector, sizeof(l->sector), registration_sector(reg)); /* fits by its limit */
	l->member = member_make(m, registration_device(reg));
	HASH_ADD(hh, m->listings, order, sizeof(l->order), l);
	DL_PREPEND(l->member->listings, l);
	member_settle(m, l->member);
}

static const struct posting *capable(const struct multicast_members *m)
{
	return index_get(registry_index(m->registry), INDEX_RT, SPAN_LIT("mcd.n"));
}

static bool is_capable(const struct multicast_members *m, uint64_t order)
{
	const struct posting *p = capable(m);
	size_t at = p ? posting_seek(p, order - 1) : 0;

	return p && at < p->n && p->e[at].order == order && p->e[at].reg;
}

void multicast_members_registration(struct multicast_members *m, const struct registration *reg)
{
	uint64_t order = registration_order(reg);
	struct listing *l;

	HASH_FIND(hh, m->listings, &order, sizeof(order), l);
	if (l)
		listing_remove(m, l);
	if (is_capable(m, order))
		listing_add(m, reg);
}

void multicast_members_device(struct multicast_members *m, const char *device)
{
	struct member *e = member_find(m, device);

	if (e)
		place(m, e);
}

/* ---- questions ---- */

int multicast_members_group_of(struct multicast_members *m, const char *device)
{
	struct member *e = member_find(m, device);

	if (!e)
		return -ENOENT;
	place(m, e); /* what changed in a device is told after its commit; it holds before */
	return e->group;
}

size_t multicast_members_count(const struct multicast_members *m, size_t group)
{
	return group < m->n_groups ? m->counts[group] : 0;
}

/* ---- life ---- */

static void clear(struct multicast_members *m)
{
	struct listing *l, *next_l;
	struct member *e, *next_e;

	HASH_ITER(hh, m->listings, l, next_l) {
		HASH_DEL(m->listings, l);
		free(l);
	}
	HASH_ITER(hh, m->members, e, next_e) {
		HASH_DEL(m->members, e);
		free(e);
	}
	free(m->counts);
	m->counts = NULL;
}

void multicast_members_set_groups(struct multicast_members *m, const struct config_multicast_group *groups, size_t n)
{
	const struct posting *p = capable(m);

	clear(m);
	m->groups = groups;
	m->n_groups = n;
	m->counts = NEW_N(size_t, n + 1);
	for (size_t i = 0; p && i < p->n; i++)
		if (p->e[i].reg)
			listing_add(m, p->e[i].reg);
}

struct multicast_members *multicast_members_new(const struct registry *registry, const struct devices *devices)
{
	struct multicast_members *m = NEW(struct multicast_members);

	m->registry = registry;
	m->devices = devices;
	return m;
}

struct multicast_members *multicast_members_free(struct multicast_members *m)
{
	if (!m)
		return NULL;
	clear(m);
	free(m);
	return NULL;
}
