#include "directory/registry.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/random.h"
#include "base/text.h"
#include "directory/deadlines.h"
#include "store/registration_store.h"

enum { UNSAVED_MAX = 4096, UNSAVED_BATCH = 16, UNSAVED_RETRY_MS = 10 * 1000, LOCATION_ORDER_DIGITS = 6 };

struct owner {
	UT_hash_handle hh;
	uint32_t n;
	char name[];
};

/* A location whose row could not be written or deleted: tried again, or the dead would rise at the next start. */
struct unsaved {
	struct unsaved *next;
	char location[REGISTRY_LOCATION_BYTES];
};

struct registry {
	struct registry_limits limits;
	struct db *db;
	struct registration *by_location, *by_name;
	struct owner *owners;
	struct index index;
	struct deadlines deadlines;
	struct unsaved *unsaved;
	size_t n_unsaved;
	uint64_t last_order;
	size_t n_visible, n_links, n_bytes;
	size_t n_commits;                      /* under way */
	bool is_closed;                        /* registry_free() was called, commits still come */
	registry_changed_fn *changed;
	void *changed_ctx;
};

/* One write under way. */
struct commit {
	struct registry *r;
	db_done_fn *done;
	void *ctx;
	char location[REGISTRY_LOCATION_BYTES];
};

/* ---- persistence ---- */

static struct registration *find_location(const struct registry *r, struct span location)
{
	struct registration *reg;

	if (!location.n)
		return NULL;
	HASH_FIND(hh_location, r->by_location, location.p, location.n, reg);
	return reg;
}

static void commit_failed(struct registry *r, const struct commit *c)
{
	struct registration *reg = find_location(r, span_str(c->location));

	if (reg && reg->is_unsaved)
		return;
	if (reg)
		reg->is_unsaved = true;
	if (r->n_unsaved == UNSAVED_MAX)
		return;
	struct unsaved *u = NEW(struct unsaved);
	memcpy(u->location, c->location, sizeof(u->location));
	u->next = r->unsaved;
	r->unsaved = u;
	r->n_unsaved++;
}

static void commit_done(void *ctx, int error)
{
	struct commit *c = ctx;
	struct registry *r = c->r;

	r->n_commits--;
	if (error < 0 && !r->is_closed)
		commit_failed(r, c);
	if (c->done)
		c->done(c->ctx, error);
	free(c);
	if (r->is_closed && !r->n_commits)
		free(r);
}

static struct commit *commit_new(struct registry *r, const char *location, db_done_fn *done, void *ctx)
{
	struct commit *c = NEW(struct commit);

	*c = (struct commit){ .r = r, .done = done, .ctx = ctx };
	(void)text_copy(c->location, sizeof(c->location), span_str(location)); /* same size */
	r->n_commits++;
	return c;
}

/* Attributes as stored: the link scope, when there is one, stands first as "\1" and a number. */
static void add_stored_attributes(const struct registration *reg, struct buf *b)
{
	if (reg->link_scope)
		buf_printf(b, "\1%u%c", reg->link_scope, 0);
	buf_add(b, registration_parts(reg).attributes);
}

static struct wall wall_deadline(const struct registration *reg, struct registry_time now)
{
	return wall_add_ms(now.wall, mono_diff_ms(reg->deadline, now.mono));
}

static void save(struct registry *r, struct registration *reg, bool only_lease, struct registry_time now, db_done_fn *done, void *ctx)
{
	struct registration_parts p = registration_parts(reg);
	_cleanup_buf_ struct buf attributes = { 0 };

	if (!r->db)
		return;
	if (only_lease && !reg->is_unsaved) {
		registration_store_touch(r->db, reg->location, wall_deadline(reg, now), commit_done, commit_new(r, reg->location, done, ctx));
		return;
	}
	add_stored_attributes(reg, &attributes);
	reg->is_unsaved = false; /* until its commit fails */
	struct registration_row row = {
		.location = reg->location,
		.endpoint = (const char *)p.endpoint.p,
		.sector = (const char *)p.sector.p,
		.base = p.base,
		.base_is_explicit = reg->base_is_explicit,
		.lifetime_s = reg->lifetime_s,
		.expires_at = wall_deadline(reg, now),
		.order = reg->order,
		.attributes = buf_span(&attributes),
		.links = p.links,
		.owner = (const char *)p.owner.p,
		.device = (const char *)p.device.p,
	};
	registration_store_put(r->db, &row, commit_done, commit_new(r, reg->location, done, ctx));
}

static void unsave(struct registry *r, const char *location, db_done_fn *done, void *ctx)
{
	if (!r->db)
		return;
	registration_store_delete(r->db, location, commit_done, commit_new(r, location, done, ctx));
}

static void save_again(struct registry *r, struct registry_time now)
{
	for (int i = 0; i < UNSAVED_BATCH && r->unsaved; i++) { /* a few at a time: the disk may still be full */
		struct unsaved *u = r->unsaved;
		struct registration *reg = find_location(r, span_str(u->location));
		r->unsaved = u->next;
		r->n_unsaved--;
		if (!reg)
			unsave(r, u->location, NULL, NULL);
		else if (reg->is_unsaved)
			save(r, reg, false, now, NULL, NULL);
		free(u);
	}
}

/* ---- maps ---- */

static void owner_add(struct registry *r, struct span name, int by)
{
	struct owner *o;

	if (!name.n)
		return;
	HASH_FIND(hh, r->owners, name.p, name.n, o);
	if (!o) {
		o = mem_new(1, sizeof(*o) + name.n + 1);
		memcpy(o->name, name.p, name.n);
		HASH_ADD_KEYPTR(hh, r->owners, o->name, name.n, o);
	}
	o->n += (uint32_t)by;
	if (!o->n) {
		HASH_DEL(r->owners, o);
		free(o);
	}
}

static uint32_t owner_count(const struct registry *r, struct span name)
{
	struct owner *o = NULL;

	if (name.n)
		HASH_FIND(hh, r->owners, name.p, name.n, o);
	return o ? o->n : 0;
}

static size_t bytes_of(const struct registration *reg)
{
	return sizeof(*reg) + reg->n_endpoint + reg->n_sector + reg->n_base + reg->n_owner + reg->n_device + 5 +
	       reg->n_attributes_bytes + reg->n_links_bytes;
}

static void show(struct registry *r, struct registration *reg)
{
	registration_index(reg, &r->index, true);
	reg->is_visible = true;
	r->n_visible++;
	r->n_links += reg->n_links;
}

static void hide(struct registry *r, struct registration *reg)
{
	registration_index(reg, &r->index, false);
	reg->is_visible = false;
	r->n_visible--;
	r->n_links -= reg->n_links;
}

static void insert(struct registry *r, struct registration *reg)
{
	struct span key = registration_name_key(reg);

	HASH_ADD_KEYPTR(hh_location, r->by_location, reg->location, strlen(reg->location), reg);
	HASH_ADD_KEYPTR(hh_name, r->by_name, key.p, key.n, reg);
	owner_add(r, registration_parts(reg).owner, 1);
	deadlines_add(&r->deadlines, reg);
	r->n_bytes += bytes_of(reg);
}

static void registration_free(struct registration *reg)
{
	if (!reg)
		return;
	free(reg->text);
	free(reg);
}

static void drop(struct registry *r, struct registration *reg)
{
	if (reg->is_visible)
		hide(r, reg);
	HASH_DELETE(hh_location, r->by_location, reg);
	HASH_DELETE(hh_name, r->by_name, reg);
	owner_add(r, registration_parts(reg).owner, -1);
	deadlines_remove(&r->deadlines, reg);
	r->n_bytes -= bytes_of(reg);
	registration_free(reg);
}

/* New texts for one that is in the maps: its place there stays, as its name does. */
static int repack(struct registry *r, struct registration *reg, const struct registration_parts *p, uint32_t n_links)
{
	bool was_visible = reg->is_visible;

	if (was_visible)
		hide(r, reg);
	r->n_bytes -= bytes_of(reg);
	owner_add(r, registration_parts(reg).owner, -1);
	int e = registration_pack(reg, p);
	if (e >= 0)
		reg->n_links = n_links;
	reg->hh_name.key = registration_name_key(reg).p; /* the same bytes at another place */
	owner_add(r, registration_parts(reg).owner, 1);
	r->n_bytes += bytes_of(reg);
	if (was_visible)
		show(r, reg);
	return e;
}

static void tell(struct registry *r, const struct registration *reg, enum registry_change what)
{
	if (r->changed)
		r->changed(r->changed_ctx, reg, what);
}

struct registry *registry_new(const struct registry_limits *limits, struct db *db)
{
	struct registry *r = NEW(struct registry);

	r->db = db;
	registry_set_limits(r, limits);
	return r;
}

struct registry *registry_free(struct registry *r)
{
	struct registration *reg, *tmp;
	struct owner *o, *next;

	if (!r)
		return NULL;
	HASH_CLEAR(hh_name, r->by_name);
	HASH_ITER(hh_location, r->by_location, reg, tmp) {
		HASH_DELETE(hh_location, r->by_location, reg);
		registration_free(reg);
	}
	HASH_ITER(hh, r->owners, o, next) {
		HASH_DEL(r->owners, o);
		free(o);
	}
	for (struct unsaved *u = r->unsaved; u; u = r->unsaved) {
		r->unsaved = u->next;
		free(u);
	}
	index_done(&r->index);
	deadlines_done(&r->deadlines);
	r->is_closed = true;
	r->changed = NULL;
	if (!r->n_commits)
		free(r);
	return NULL;
}

void registry_set_limits(struct registry *r, const struct registry_limits *limits)
{
	r->limits = *limits;
	if (!r->limits.lifetime_default_s)
		r->limits.lifetime_default_s = REGISTRY_LIFETIME_DEFAULT_S;
}

void registry_set_changed(struct registry *r, registry_changed_fn *fn, void *ctx)
{
	r->changed = fn;
	r->changed_ctx = ctx;
}

/* ---- register, update, remove ---- */

static int fail(int error, const char *why, struct registry_result *ret)
{
	*ret = (struct registry_result){ .why = why };
	return error;
}

/* RD-82. What a plain registration remembers is nothing, so everybody shows all of it (RD-86). */
static bool may_change(const struct registration *reg, const char *owner)
{
	struct span is = registration_parts(reg).owner;

	return !owner || !is.n || span_eq_str(is, owner);
}

/* First the order, so that new rows go to the end of the database's tables instead of all over them, which writes a
 * sixth of the pages; then 50 random bits, so that it cannot be guessed (RD-87). */
static void new_location(const struct registry *r, uint64_t order, struct registration *reg)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuv"; /* in the order of their bytes */
	uint8_t b[REGISTRY_LOCATION_BYTES - 1 - LOCATION_ORDER_DIGITS];

	for (int i = LOCATION_ORDER_DIGITS; i-- > 0; order /= 32)
		reg->location[i] = digits[order % 32];
	do {
		random_bytes(b, sizeof(b));
		for (size_t i = 0; i < sizeof(b); i++)
			reg->location[LOCATION_ORDER_DIGITS + i] = digits[b[i] % 32];
	} while (find_location(r, span_str(reg->location)));
}

static struct registration *find_name(const struct registry *r, struct span endpoint, struct span sector)
{
	uint8_t key[2 * REGISTRY_NAME_BYTES_MAX + 1];
	struct registration *reg;

	if (endpoint.n > REGISTRY_NAME_BYTES_MAX || sector.n > REGISTRY_NAME_BYTES_MAX)
		return NULL;
	uint8_t *at = key;
	if (endpoint.n)
		memcpy(at, endpoint.p, endpoint.n);
	at += endpoint.n;
	*at++ = 0;
	if (sector.n)
		memcpy(at, sector.p, sector.n);
	HASH_FIND(hh_name, r->by_name, key, endpoint.n + 1 + sector.n, reg);
	return reg;
}

/* What a request asks for, checked. */
struct wanted {
	struct registration_parts parts;
	struct buf attributes;
	uint32_t n_links, lifetime_s;
	bool is_link_local, base_is_explicit;
	uint32_t link_scope;
};

static void wanted_done(struct wanted *w)
{
	buf_done(&w->attributes);
}

static int want_registration(const struct registry *r, const struct registry_request *req, struct wanted *w, const char **why)
{
	int e = registration_check_name(req, why);

	if (e >= 0)
		e = registration_check_base(req, &w->parts.base, &w->is_link_local, why);
	if (e >= 0)
		e = registration_merge_attributes(SPAN_NONE, req, &w->attributes, why);
	if (e >= 0)
		e = registration_check_links(req->links, &r->limits, &w->n_links, why);
	if (e < 0)
		return e;
	w->base_is_explicit = req->base.n > 0;
	w->link_scope = w->is_link_local ? req->link_scope : 0;
	w->lifetime_s = req->has_lifetime ? req->lifetime_s : r->limits.lifetime_default_s;
	w->parts.endpoint = req->endpoint;
	w->parts.sector = req->sector;
	w->parts.owner = span_str(req->owner ? req->owner : "");
	w->parts.device = span_str(req->device ? req->device : "");
	w->parts.attributes = buf_span(&w->attributes);
	w->parts.links = req->links;
	assert(w->parts.owner.n <= UINT8_MAX && w->parts.device.n <= UINT8_MAX);
	return 0;
}

static bool parts_eq(const struct registration_parts *a, const struct registration_parts *b)
{
	return span_eq(a->base, b->base) && span_eq(a->owner, b->owner) && span_eq(a->device, b->device) &&
	       span_eq(a->attributes, b->attributes) && span_eq(a->links, b->links);
}

static bool lifetime_is_good(const struct registry_request *req, const char **why)
{
	if (!req->has_lifetime || req->lifetime_s)
		return true;
	*why = "lt: 1 to 4294967295 seconds";
	return false;
}

static void set_lease(struct registration *reg, const struct wanted *w)
{
	reg->base_is_explicit = w->base_is_explicit;
	reg->is_link_local = w->is_link_local;
	reg->link_scope = w->link_scope;
	reg->lifetime_s = w->lifetime_s;
}

/* Gives an existing one new contents. */
static int replace(struct registry *r, struct registration *reg, const struct wanted *w, struct registry_time now,
		   db_done_fn *done, void *ctx, struct registry_result *ret)
{
	struct registration_parts is = registration_parts(reg);
	bool same = parts_eq(&is, &w->parts) && w->link_scope == reg->link_scope;
	bool same_row = same && w->base_is_explicit == reg->base_is_explicit && w->lifetime_s == reg->lifetime_s;
	bool was_visible = reg->is_visible;

	if (!same) {
		int e = repack(r, reg, &w->parts, w->n_links);
		if (e < 0)
			return fail(e, "out of memory", ret);
	}
	set_lease(reg, w);
	reg->deadline = mono_add_ms(now.mono, (int64_t)reg->lifetime_s * 1000);
	deadlines_moved(&r->deadlines, reg);
	if (!was_visible)
		show(r, reg);
	save(r, reg, same_row, now, done, ctx);
	*ret = (struct registry_result){ .registration = reg };
	tell(r, reg, !was_visible ? REGISTRY_ADDED : same ? REGISTRY_REFRESHED : REGISTRY_CHANGED);
	return 0;
}

static int create(struct registry *r, const struct wanted *w, struct registry_time now, db_done_fn *done, void *ctx,
		  struct registry_result *ret)
{
	if (r->limits.max_endpoints && HASH_CNT(hh_location, r->by_location) >= r->limits.max_endpoints)
		return fail(-ENOSPC, "the directory is full", ret);
	if (r->limits.max_per_owner && !span_eq_str(w->parts.owner, REGISTRY_OWNER_GATEWAY) &&
	    owner_count(r, w->parts.owner) >= r->limits.max_per_owner)
		return fail(-EDQUOT, "too many registrations of one credential", ret);
	struct registration *reg = calloc(1, sizeof(*reg));
	if (!reg || registration_pack(reg, &w->parts) < 0) {
		free(reg);
		return fail(-ENOMEM, "out of memory", ret);
	}
	reg->order = ++r->last_order;
	new_location(r, reg->order, reg);
	reg->n_links = w->n_links;
	set_lease(reg, w);
	reg->deadline = mono_add_ms(now.mono, (int64_t)reg->lifetime_s * 1000);
	insert(r, reg);
	show(r, reg);
	save(r, reg, false, now, done, ctx);
	*ret = (struct registry_result){ .registration = reg };
	tell(r, reg, REGISTRY_ADDED);
	return 1;
}

int registry_register(struct registry *r, const struct registry_request *req, struct registry_time now, db_done_fn *done, void *ctx,
		      struct registry_result *ret)
{
	_cleanup_(wanted_done) struct wanted w = { 0 };
	const char *why = "";

	if (!lifetime_is_good(req, &why))
		return fail(-EINVAL, why, ret);
	int e = want_registration(r, req, &w, &why);
	if (e < 0)
		return fail(e, why, ret);
	struct registration *reg = find_name(r, req->endpoint, req->sector);
	if (reg && !may_change(reg, req->owner)) {
		if (reg->is_visible)
			return fail(-EACCES, "this name is registered with another credential", ret);
		unsave(r, reg->location, NULL, NULL); /* no longer active: the name is free (RD-81) */
		drop(r, reg);
		reg = NULL;
	}
	return reg ? replace(r, reg, &w, now, done, ctx, ret) : create(r, &w, now, done, ctx, ret);
}

/* What an update asks for: as it is, but for what the request names. */
static int want_update(const struct registration *reg, const struct registry_request *req, struct wanted *w, const char **why)
{
	int e = 0;

	w->parts = registration_parts(reg);
	w->n_links = reg->n_links;
	w->is_link_local = reg->is_link_local;
	w->link_scope = reg->link_scope;
	w->base_is_explicit = reg->base_is_explicit || req->base.n > 0;
	w->lifetime_s = req->has_lifetime ? req->lifetime_s : reg->lifetime_s;
	if (req->base.n || !reg->base_is_explicit) {   /* RD-44 */
		e = registration_check_base(req, &w->parts.base, &w->is_link_local, why);
		w->link_scope = w->is_link_local ? req->link_scope : 0;
	}
	if (e >= 0)
		e = registration_merge_attributes(w->parts.attributes, req, &w->attributes, why);
	w->parts.attributes = buf_span(&w->attributes);
	if (req->device)
		w->parts.device = span_str(req->device);
	return e;
}

int registry_update(struct registry *r, struct span location, const struct registry_request *req, struct registry_time now,
		    db_done_fn *done, void *ctx, struct registry_result *ret)
{
	struct registration *reg = find_location(r, location);
	_cleanup_(wanted_done) struct wanted w = { 0 };
	const char *why = "";

	if (!reg)
		return fail(-ENOENT, "no such registration", ret);
	if (!may_change(reg, req->owner))
		return fail(-EACCES, "this registration belongs to another credential", ret);
	if (!lifetime_is_good(req, &why))
		return fail(-EINVAL, why, ret);
	int e = want_update(reg, req, &w, &why);
	return e < 0 ? fail(e, why, ret) : replace(r, reg, &w, now, done, ctx, ret);
}

int registry_remove(struct registry *r, struct span location, const char *owner, db_done_fn *done, void *ctx)
{
	struct registration *reg = find_location(r, location);

	if (!reg)
		return -ENOENT;
	if (!may_change(reg, owner))
		return -EACCES;
	if (reg->is_visible) {
		hide(r, reg);
		tell(r, reg, REGISTRY_REMOVED);
	}
	unsave(r, reg->location, done, ctx);
	drop(r, reg);
	return 0;
}

int64_t registry_expire(struct registry *r, struct registry_time now)
{
	struct registration *reg;
	int64_t wait_ms = 0;

	save_again(r, now);
	for (int i = 0; i < REGISTRY_EXPIRE_BATCH; i++) {
		reg = deadlines_due(&r->deadlines, now.mono, &wait_ms);
		if (!reg)
			return r->n_unsaved && (wait_ms < 0 || wait_ms > UNSAVED_RETRY_MS) ? UNSAVED_RETRY_MS : wait_ms;
		if (reg->is_visible) {
			hide(r, reg);
			reg->deadline = mono_add_ms(reg->deadline, (int64_t)r->limits.grace_s * 1000);
			tell(r, reg, REGISTRY_EXPIRED);
		} else {
			unsave(r, reg->location, NULL, NULL);
			drop(r, reg);
		}
	}
	return 0;
}

/* ---- at start ---- */

struct loading {
	struct registry *r;
	struct registry_time now;
	struct buf bad;                        /* locations to delete, each ends in NUL */
	int n;
};

/* Splits off the link scope; false when it is damaged. */
static bool load_attributes(struct span *attributes, uint32_t *ret_scope)
{
	uint64_t scope = 0;

	if (attributes->n && attributes->p[attributes->n - 1])
		return false;
	if (attributes->n && attributes->p[0] == 1) {
		size_t n = strlen((const char *)attributes->p);
		if (text_parse_u64(span_sub(*attributes, 1, n - 1), UINT32_MAX, &scope, 0) < 0)
			return false;
		*attributes = span_sub(*attributes, n + 1, attributes->n);
	}
	*ret_scope = (uint32_t)scope;
	return true;
}

static struct registration *load_one(const struct registration_row *row, uint32_t scope, struct span attributes)
{
	struct registration_parts p = {
		.endpoint = span_str(row->endpoint), .sector = span_str(row->sector), .base = row->base, .owner = span_str(row->owner),
		.device = span_str(row->device), .attributes = attributes, .links = row->links,
	};
	struct registry_request as = { .endpoint = p.endpoint, .sector = p.sector, .base = p.base, .link_scope = scope };
	const char *why;
	struct span base;
	uint32_t n_links;
	bool is_link_local;

	if (registration_check_name(&as, &why) < 0 || registration_check_base(&as, &base, &is_link_local, &why) < 0 ||
	    registration_check_links(row->links, &(struct registry_limits){ 0 }, &n_links, &why) < 0 || p.owner.n > UINT8_MAX ||
	    p.device.n > UINT8_MAX || attributes.n > REGISTRY_ATTRIBUTES_BYTES_MAX || !row->lifetime_s)
		return NULL;
	struct registration *reg = calloc(1, sizeof(*reg));
	if (!reg || text_copy(reg->location, sizeof(reg->location), span_str(row->location)) < 0 || registration_pack(reg, &p) < 0) {
		free(reg);
		return NULL;
	}
	reg->order = row->order;
	reg->n_links = n_links;
	reg->base_is_explicit = row->base_is_explicit;
	reg->is_link_local = is_link_local;
	reg->link_scope = scope;
	reg->lifetime_s = row->lifetime_s;
	return reg;
}

static int load_row(void *ctx, const struct registration_row *row)
{
	struct loading *l = ctx;
	struct registry *r = l->r;
	int64_t left_ms = row->expires_at.ms - l->now.wall.ms, life_ms = (int64_t)row->lifetime_s * 1000;
	struct span attributes = row->attributes;
	struct registration *reg = NULL;
	uint32_t scope = 0;

	if (left_ms > life_ms) /* the clock was set back, or is not set yet */
		left_ms = life_ms;
	int64_t grace_left_ms = left_ms + (int64_t)r->limits.grace_s * 1000;
	if (grace_left_ms > 0 && load_attributes(&attributes, &scope))
		reg = load_one(row, scope, attributes);
	if (!reg || find_location(r, span_str(reg->location)) || find_name(r, span_str(row->endpoint), span_str(row->sector))) {
		registration_free(reg);
		buf_add_str(&l->bad, row->location);
		buf_add_u8(&l->bad, 0);
		return 0;
	}
	reg->deadline = mono_add_ms(l->now.mono, left_ms > 0 ? left_ms : grace_left_ms);
	if (reg->order > r->last_order)
		r->last_order = reg->order;
	insert(r, reg);
	if (left_ms > 0)
		show(r, reg);
	l->n++;
	return 0;
}

int registry_load(struct registry *r, struct registry_time now)
{
	struct loading l = { .r = r, .now = now };

	if (!r->db)
		return 0;
	int e = registration_store_load(r->db, load_row, &l);
	for (size_t at = 0; at < l.bad.n; at += strlen((char *)l.bad.p + at) + 1)
		if (strlen((char *)l.bad.p + at) < REGISTRY_LOCATION_BYTES)
			unsave(r, (char *)l.bad.p + at, NULL, NULL);
	buf_done(&l.bad);
	return e < 0 ? e : l.n;
}

/* ---- reading ---- */

const struct registration *registry_get_hidden_too(const struct registry *r, struct span location)
{
	return find_location(r, location);
}

const struct registration *registry_get(const struct registry *r, struct span location)
{
	const struct registration *reg = find_location(r, location);

	return reg && reg->is_visible ? reg : NULL;
}

const struct registration *registry_find(const struct registry *r, struct span endpoint, struct span sector)
{
	const struct registration *reg = find_name(r, endpoint, sector);

	return reg && reg->is_visible ? reg : NULL;
}

const struct registration *registry_next(const struct registry *r, uint64_t after)
{
	const struct posting *all = &r->index.all;

	for (size_t at = posting_seek(all, after); at < all->n; at++)
		if (all->e[at].reg)
			return all->e[at].reg;
	return NULL;
}

const struct index *registry_index(const struct registry *r)
{
	return &r->index;
}

struct registry_counts registry_counts(const struct registry *r)
{
	size_t n = HASH_CNT(hh_location, r->by_location);

	return (struct registry_counts){
		.n_endpoints = r->n_visible, .n_links = r->n_links, .n_hidden = n - r->n_visible, .bytes = r->n_bytes,
	};
}
