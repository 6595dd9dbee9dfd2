#include "directory/devices.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "directory/claim.h"
#include "directory/credentials.h"
#include "directory/map.h"

enum {
	HEARD_MS = 1000,                       /* heard() at most so often */
	SEEN_SAVE_MS = 10 * 60 * 1000,         /* last_seen alone is written so often */
	SWEEP_MS = 60 * 1000, STALE_MS = 24 * 3600 * 1000,     /* devices that were only seen, and not for a day, make room */
	LOG_MS = 60 * 1000,
	UNSAVED_MAX = 4096, UNSAVED_BATCH = 16, UNSAVED_RETRY_MS = 10 * 1000,
};

struct entry {
	UT_hash_handle hh, hh_identity;
	struct device d;
	struct wall heard_at, saved_at, contradicted_at;
	bool is_unsaved;                       /* the disk would not take it: again when it is heard */
	char endpoint[64];                     /* it registered last */
};

struct devices {
	struct devices_config c;
	struct entry *by_id, *by_identity;
	struct credentials *credentials;
	size_t n_seen;
	struct wall swept_at, full_at;
	struct unsaved *unsaved;
	size_t n_unsaved;
	size_t n_commits;
	bool is_closed;
};

/* ---- persistence ---- */

enum commit_kind { COMMIT_QUIET, COMMIT_CHANGED, COMMIT_REMOVED };

struct key {                                   /* of a credential's row */
	char identity[DEVICE_IDENTITY_BYTES];  /* "" = none */
	enum credential_kind kind;
};

struct commit {
	struct devices *ds;
	enum commit_kind kind;
	db_done_fn *done;
	void *ctx;
	char id[DEVICE_ID_BYTES];
	struct key key;
};

/* A row that could not be written or deleted. A device that is there is not one: it knows itself, and is written when it is heard. */
struct unsaved {
	struct unsaved *next;
	char id[DEVICE_ID_BYTES];              /* of a device that was removed; "" = none */
	struct key key;
};

static struct entry *find(const struct devices *ds, const char *id)
{
	struct entry *e = NULL;

	if (id && *id)
		HASH_FIND_STR(ds->by_id, id, e);
	return e;
}

static void tell(struct devices *ds, enum commit_kind kind, const char *id)
{
	const struct entry *e = find(ds, id);

	if (kind == COMMIT_CHANGED && e && ds->c.changed)
		ds->c.changed(ds->c.ctx, &e->d);
	if (kind == COMMIT_REMOVED && !e && ds->c.removed)
		ds->c.removed(ds->c.ctx, id);
}

static bool same_row(const struct unsaved *u, const struct commit *c)
{
	return strcmp(u->id, c->key.identity[0] ? "" : c->id) == 0 && strcmp(u->key.identity, c->key.identity) == 0 && u->key.kind == c->key.kind;
}

static void unsaved_add(struct devices *ds, const struct commit *c)
{
	for (const struct unsaved *u = ds->unsaved; u; u = u->next)
		if (same_row(u, c))
			return;
	if (ds->n_unsaved == UNSAVED_MAX)
		return;
	struct unsaved *n = NEW(struct unsaved);
	if (!c->key.identity[0])
		memcpy(n->id, c->id, sizeof(n->id));
	n->key = c->key;
	n->next = ds->unsaved;
	ds->unsaved = n;
	ds->n_unsaved++;
}

static void commit_done(void *ctx, int error)
{
	struct commit *c = ctx;
	struct devices *ds = c->ds;
	struct entry *e = ds->is_closed ? NULL : find(ds, c->id);
	bool is_news = !e || !e->is_unsaved;

	ds->n_commits--;
	if (e)
		e->is_unsaved = error < 0;
	if (!ds->is_closed && error < 0 && (c->key.identity[0] || (c->kind == COMMIT_REMOVED && !e)))
		unsaved_add(ds, c);
	if (!ds->is_closed && error >= 0)
		tell(ds, c->kind, c->id);
	if (c->done)
		c->done(c->ctx, error);
	else if (error < 0 && is_news && c->id[0])
		log_fields(EV_STORE_FAILED, LOG_ERR, ({ "GW_DEVICE", c->id }), "device %s: not saved: %s", c->id, strerror(-error));
	free(c);
	if (ds->is_closed && !ds->n_commits)
		free(ds);
}

static struct commit *commit_new(struct devices *ds, const char *id, enum commit_kind kind, db_done_fn *done, void *ctx)
{
	struct commit *c = NEW(struct commit);

	*c = (struct commit){ .ds = ds, .kind = kind, .done = done, .ctx = ctx };
	(void)text_copy(c->id, sizeof(c->id), span_str(id)); /* same size */
	ds->n_commits++;
	return c;
}

static struct commit *commit_key(struct commit *c, const char *identity, enum credential_kind kind)
{
	(void)text_copy(c->key.identity, sizeof(c->key.identity), span_str(identity)); /* same size */
	c->key.kind = kind;
	return c;
}

static void save(struct devices *ds, struct entry *e, enum commit_kind kind, db_done_fn *done, void *ctx)
{
	e->saved_at = e->d.last_seen;
	if (ds->c.db)
		device_store_put(ds->c.db, &e->d, commit_done, commit_new(ds, e->d.id, kind, done, ctx));
	else
		tell(ds, kind, e->d.id);
}

static void unsaved_save(struct devices *ds, const struct unsaved *u)
{
	const struct credential *c = u->id[0] ? NULL : credentials_get(ds->credentials, span_str(u->key.identity), u->key.kind);

	if (u->id[0] && !find(ds, u->id))
		device_store_delete(ds->c.db, u->id, commit_done, commit_new(ds, u->id, COMMIT_REMOVED, NULL, NULL));
	else if (!u->id[0] && !c)
		credential_store_delete(ds->c.db, u->key.identity, u->key.kind, commit_done,
					commit_key(commit_new(ds, "", COMMIT_QUIET, NULL, NULL), u->key.identity, u->key.kind));
	else if (c && !credentials_is_static(c))
		credential_store_put(ds->c.db, c, commit_done,
				     commit_key(commit_new(ds, "", COMMIT_QUIET, NULL, NULL), u->key.identity, u->key.kind));
}

int64_t devices_save_again(struct devices *ds)
{
	if (!ds->unsaved)
		return -1;
	db_begin(ds->c.db);
	for (int i = 0; i < UNSAVED_BATCH && ds->unsaved; i++) { /* the disk may still be full */
		struct unsaved *u = ds->unsaved;
		ds->unsaved = u->next;
		ds->n_unsaved--;
		unsaved_save(ds, u);
		free(u);
	}
	db_end(ds->c.db);
	return UNSAVED_RETRY_MS;
}

/* ---- the map ---- */

static void set_state(struct devices *ds, struct entry *e, enum device_state s)
{
	ds->n_seen -= e->d.state == DEVICE_SEEN;
	e->d.state = s;
	ds->n_seen += s == DEVICE_SEEN;
}

static struct entry *by_identity(const struct devices *ds, const char *identity)
{
	struct entry *e = NULL;

	if (*identity)
		HASH_FIND(hh_identity, ds->by_identity, identity, strlen(identity), e);
	return e;
}

static void set_identity(struct devices *ds, struct entry *e, const char *identity)
{
	if (e->d.identity[0])
		HASH_DELETE(hh_identity, ds->by_identity, e);
	(void)text_copy(e->d.identity, sizeof(e->d.identity), span_str(identity)); /* both sizes are the same */
	if (e->d.identity[0])
		HASH_ADD(hh_identity, ds->by_identity, d.identity, strlen(e->d.identity), e);
}

static struct entry *add(struct devices *ds, const char *id)
{
	struct entry *e = NEW(struct entry);

	(void)text_copy(e->d.id, sizeof(e->d.id), span_str(id)); /* a valid id fits */
	(void)text_copy(e->d.driver, sizeof(e->d.driver), SPAN_LIT("coap-pull")); /* fits */
	HASH_ADD_STR(ds->by_id, d.id, e);
	ds->n_seen++; /* state 0 */
	metric_set(METRIC_DEVICES, (int64_t)HASH_COUNT(ds->by_id));
	return e;
}

static void drop(struct devices *ds, struct entry *e)
{
	set_identity(ds, e, "");
	ds->n_seen -= e->d.state == DEVICE_SEEN;
	HASH_DEL(ds->by_id, e);
	metric_set(METRIC_DEVICES, (int64_t)HASH_COUNT(ds->by_id));
	free(e);
}

static int load_device(void *ctx, const struct device *d)
{
	struct devices *ds = ctx;

	if (!device_id_is_valid(span_str(d->id)) || find(ds, d->id))
		return 0;
	struct entry *e = add(ds, d->id);
	ds->n_seen--;
	e->d = *d;
	ds->n_seen += d->state == DEVICE_SEEN;
	e->d.identity[0] = 0;
	if (d->identity[0] && !by_identity(ds, d->identity))
		set_identity(ds, e, d->identity);
	e->saved_at = d->last_seen;
	return 0;
}

static int load_credential(void *ctx, const struct credential *c)
{
	struct devices *ds = ctx;

	credentials_put(ds->credentials, c, false);
	return 0;
}

int devices_open(const struct devices_config *c, struct devices **ret)
{
	struct devices *ds = NEW(struct devices);
	int r = 0;

	ds->c = *c;
	ds->credentials = credentials_new();
	if (c->db)
		r = device_store_load(c->db, load_device, ds);
	if (r >= 0 && c->db)
		r = credential_store_load(c->db, load_credential, ds);
	if (r < 0) {
		devices_close(ds);
		return r;
	}
	*ret = ds;
	return 0;
}

struct devices *devices_close(struct devices *ds)
{
	struct entry *e, *tmp;

	if (!ds)
		return NULL;
	HASH_CLEAR(hh_identity, ds->by_identity);
	HASH_ITER(hh, ds->by_id, e, tmp) {
		HASH_DEL(ds->by_id, e);
		free(e);
	}
	ds->credentials = credentials_free(ds->credentials);
	for (struct unsaved *u = ds->unsaved; u; u = ds->unsaved) {
		ds->unsaved = u->next;
		free(u);
	}
	ds->is_closed = true;
	if (!ds->n_commits)
		free(ds);
	return NULL;
}

void devices_set_open(struct devices *ds, bool open, bool open_anywhere, bool auto_enrol)
{
	ds->c.open = open;
	ds->c.open_anywhere = open_anywhere;
	ds->c.auto_enrol = auto_enrol;
}

const struct device *devices_get(const struct devices *ds, const char *id)
{
	const struct entry *e = find(ds, id);

	return e ? &e->d : NULL;
}

const struct device *devices_next(const struct devices *ds, const char *after)
{
	const struct entry *e = after ? find(ds, after) : ds->by_id;

	if (e && after)
		e = e->hh.next;
	return e ? &e->d : NULL;
}

size_t devices_count(const struct devices *ds)
{
	return HASH_COUNT(ds->by_id);
}

/* ---- who is it ---- */

bool devices_may_plain(const struct devices *ds, const struct coap_peer *peer)
{
	return ds->c.open && (peer->is_loopback || peer->is_link_local || ds->c.open_anywhere);
}

/* Only a peer that shows a credential may speak for it. */
static bool is_secured(const struct devices *ds, const struct entry *e)
{
	return e->d.identity[0] || credentials_of_device(ds->credentials, e->d.id);
}

/* The device of an authenticated identity: by its credential, or as it was seen or enrolled. */
static struct entry *secure_device(const struct devices *ds, const char *identity)
{
	const struct credential *c = credentials_get(ds->credentials, span_str(identity), CREDENTIAL_PSK);
	struct entry *e = c ? find(ds, c->device) : NULL;

	return e ? e : by_identity(ds, identity);
}

const struct device *devices_of_identity(const struct devices *ds, const char *identity)
{
	const struct entry *e = secure_device(ds, identity);

	return e ? &e->d : NULL;
}

static void mark_heard(struct devices *ds, struct entry *e, const char *at, struct wall now, bool always)
{
	e->d.last_seen = now;
	(void)text_copy(e->d.last_addr, sizeof(e->d.last_addr), span_str(at)); /* both are address texts */
	if (e->is_unsaved || now.ms - e->saved_at.ms > SEEN_SAVE_MS || now.ms < e->saved_at.ms)
		save(ds, e, COMMIT_QUIET, NULL, NULL);
	if (!always && now.ms - e->heard_at.ms < HEARD_MS && now.ms >= e->heard_at.ms)
		return;
	e->heard_at = now;
	if (ds->c.heard)
		ds->c.heard(ds->c.ctx, &e->d);
}

static bool is_name_of(const struct entry *e, struct span ep)
{
	char id[DEVICE_ID_BYTES];

	if (!ep.n || span_eq_str(ep, e->d.id) || span_eq_str(ep, e->endpoint))
		return true;
	device_id_of_endpoint(ep, SPAN_NONE, id);
	return strcmp(id, e->d.id) == 0;
}

int devices_who(struct devices *ds, const struct coap_peer *peer, struct span ep, struct wall now, char *ret)
{
	char id[DEVICE_ID_BYTES];
	struct entry *e;

	if (peer->secure) {
		e = secure_device(ds, peer->identity);
		if (!e || !is_name_of(e, ep))
			return COAP_403_FORBIDDEN;
	} else {
		if (!devices_may_plain(ds, peer) || !ep.n)
			return COAP_401_UNAUTHORIZED;
		device_id_of_endpoint(ep, SPAN_NONE, id);
		e = find(ds, id);
		if (!e)
			return COAP_403_FORBIDDEN;
		if (is_secured(ds, e))
			return COAP_401_UNAUTHORIZED;
	}
	mark_heard(ds, e, peer->addr, now, false);
	if (e->d.state != DEVICE_ENROLLED)
		return COAP_403_FORBIDDEN;
	(void)text_copy(ret, DEVICE_ID_BYTES, span_str(e->d.id)); /* same size */
	return 0;
}

void devices_heard(struct devices *ds, const struct coap_peer *peer, struct wall now)
{
	struct entry *e = peer->secure ? secure_device(ds, peer->identity) : NULL;

	if (e)
		mark_heard(ds, e, peer->addr, now, false);
}

void devices_heard_at(struct devices *ds, const char *id, const char *at, struct wall now)
{
	struct entry *e = find(ds, id);

	if (e)
		mark_heard(ds, e, at, now, false);
}

static int refuse(int code, const char *text, const char **why)
{
	*why = text;
	return code;
}

static int give(const char *id, char *ret)
{
	(void)text_copy(ret, DEVICE_ID_BYTES, span_str(id)); /* a valid id fits */
	return 0;
}

/* An endpoint name that is the id of somebody else's device cannot be taken. */
static bool is_reserved(const struct devices *ds, struct span endpoint, struct span sector, const struct entry *own, char *ret_id)
{
	device_id_of_endpoint(endpoint, sector, ret_id);
	const struct entry *e = find(ds, ret_id);
	return e && e != own && (is_secured(ds, e) || e->d.state != DEVICE_SEEN);
}

static int tie_secure(const struct devices *ds, const struct coap_peer *peer, struct span endpoint, struct span sector, char *ret,
		      const char **why)
{
	const struct credential *c = credentials_get(ds->credentials, span_str(peer->identity), CREDENTIAL_PSK);
	const struct entry *own = secure_device(ds, peer->identity);
	char id[DEVICE_ID_BYTES];

	if (own && own->d.state == DEVICE_RETIRED)
		return refuse(COAP_403_FORBIDDEN, "this device is retired", why);
	if (endpoint.n && is_reserved(ds, endpoint, sector, own, id) && !(c && c->roles & ROLE_ADMIN))
		return refuse(COAP_403_FORBIDDEN, "this is another device's name", why);
	if (own)
		return give(own->d.id, ret);
	if (c && c->device[0]) /* its device was never heard before */
		return give(c->device, ret);
	if (c && !(c->roles & ROLE_DEVICE)) /* a person or a commissioning tool speaks for others */
		return give("", ret);
	if (!endpoint.n)
		return refuse(COAP_400_BAD_REQUEST, "ep is missing", why);
	return give(id, ret);
}

int devices_tie(const struct devices *ds, const struct coap_peer *peer, struct span endpoint, struct span sector, char *ret,
		const char **why)
{
	char id[DEVICE_ID_BYTES];

	if (peer->secure)
		return tie_secure(ds, peer, endpoint, sector, ret, why);
	if (!endpoint.n)
		return refuse(COAP_400_BAD_REQUEST, "ep is missing", why);
	device_id_of_endpoint(endpoint, sector, id);
	const struct entry *e = find(ds, id);
	if (e && is_secured(ds, e))
		return refuse(COAP_401_UNAUTHORIZED, "this device must show its credential", why);
	if (e && e->d.state == DEVICE_RETIRED)
		return refuse(COAP_403_FORBIDDEN, "this device is retired", why);
	return give(id, ret);
}

/* ---- what it says ---- */

/* Makes room among those that were only seen: the stale ones go. */
static void sweep(struct devices *ds, struct wall now)
{
	struct entry *e, *tmp;

	if (now.ms - ds->swept_at.ms < SWEEP_MS && now.ms >= ds->swept_at.ms)
		return;
	ds->swept_at = now;
	HASH_ITER(hh, ds->by_id, e, tmp) {
		if (e->d.state != DEVICE_SEEN || now.ms - e->d.last_seen.ms < STALE_MS)
			continue;
		if (ds->c.db)
			device_store_delete(ds->c.db, e->d.id, commit_done, commit_new(ds, e->d.id, COMMIT_REMOVED, NULL, NULL));
		drop(ds, e);
	}
}

static bool has_room(struct devices *ds, bool as_seen, struct wall now)
{
	if (as_seen && ds->n_seen >= DEVICES_SEEN_MAX)
		sweep(ds, now);
	if ((!as_seen || ds->n_seen < DEVICES_SEEN_MAX) && HASH_COUNT(ds->by_id) < DEVICES_MAX)
		return true;
	if (now.ms - ds->full_at.ms >= LOG_MS || now.ms < ds->full_at.ms) {
		ds->full_at = now;
		log_event(EV_LIMIT_REACHED, LOG_WARNING, "an unknown device was not noted: %d that are not enrolled are known already",
			  DEVICES_SEEN_MAX);
	}
	return false;
}

static void log_contradiction(struct entry *e, struct wall now)
{
	if (now.ms - e->contradicted_at.ms < LOG_MS && now.ms >= e->contradicted_at.ms)
		return;
	e->contradicted_at = now;
	log_fields(EV_DEVICE_CHANGED, LOG_WARNING, ({ "GW_DEVICE", e->d.id }),
		   "device %s claims another model than it was enrolled with; the claim is ignored", e->d.id);
}

static void take_model(struct devices *ds, struct entry *e, const struct device_claim *claim, bool auto_enrol, struct wall now)
{
	const struct device_model *m = &e->d.model;
	bool is_blank = !m->has_vendor && !m->has_class && !m->hw_revision[0];

	if (claim->has_model && (e->d.state == DEVICE_SEEN || (auto_enrol && is_blank)))
		e->d.model = claim->model;
	else if (claim->has_model && claim_contradicts(claim, m))
		log_contradiction(e, now);
	if (e->d.state != DEVICE_SEEN || !auto_enrol)
		return;
	set_state(ds, e, DEVICE_ENROLLED);
	e->d.enrolled_at = now;
	log_fields(EV_DEVICE_ENROLLED, LOG_INFO, ({ "GW_DEVICE", e->d.id }), "device %s enrolled itself from a loopback address", e->d.id);
}

const char *devices_claim(struct devices *ds, const struct coap_peer *peer, const struct device_claim *claim, struct wall now)
{
	struct entry *e = find(ds, claim->device);
	bool auto_enrol = ds->c.auto_enrol && peer->is_loopback, is_new = !e;
	struct device old;

	if (!claim->device[0] || (is_new && (!device_id_is_valid(span_str(claim->device)) || !has_room(ds, !auto_enrol, now))))
		return NULL;
	if (is_new)
		e = add(ds, claim->device);
	old = e->d;
	if (peer->secure && e->d.state == DEVICE_SEEN && !is_secured(ds, e) && !by_identity(ds, peer->identity))
		set_identity(ds, e, peer->identity);
	(void)text_copy(e->endpoint, sizeof(e->endpoint), claim->endpoint); /* at most 63 bytes (RD-22) */
	take_model(ds, e, claim, auto_enrol, now);
	claim_apply(claim, &e->d);
	if (is_new && e->d.state == DEVICE_SEEN)
		log_fields(EV_DEVICE_SEEN, LOG_NOTICE, ({ "GW_DEVICE", e->d.id }, { "GW_PEER", peer->addr }),
			   "device %s was seen for the first time and is not enrolled", e->d.id);
	if (is_new || memcmp(&old, &e->d, sizeof(old)) != 0) {
		e->d.last_seen = now;
		save(ds, e, COMMIT_CHANGED, NULL, NULL);
	}
	mark_heard(ds, e, peer->addr, now, true);
	return e->d.id;
}

/* What a registration said of the whole node is now said of a component by its name. */
static void drop_nameless(struct device *d)
{
	for (size_t i = 0; i < d->n_components; i++) {
		if (d->components[i].n_id)
			continue;
		memmove(&d->components[i], &d->components[i + 1], (d->n_components - i - 1) * sizeof(d->components[0]));
		d->n_components--;
		return;
	}
}

void devices_installed(struct devices *ds, const char *id, struct span component, uint64_t sequence, const struct digest *manifest,
		       const char *version)
{
	struct entry *e = find(ds, id);
	struct device_component c = {
		.n_id = (uint8_t)component.n, .has_sequence = true, .sequence = sequence, .has_manifest = true, .manifest = *manifest,
	};

	if (!e || component.n > sizeof(c.id))
		return;
	if (component.n)
		memcpy(c.id, component.p, component.n);
	if (version && text_copy(c.version, sizeof(c.version), span_str(version)) < 0)
		c.version[0] = 0;
	drop_nameless(&e->d);
	if (device_component_put(&e->d, &c) < 0) {
		log_fields(EV_LIMIT_REACHED, LOG_WARNING, ({ "GW_DEVICE", id }), "device %s has more than %d components", id, DEVICE_COMPONENTS_MAX);
		return;
	}
	save(ds, e, COMMIT_CHANGED, NULL, NULL);
}

/* ---- people ---- */

static void forget(const struct devices *ds, const char *identity)
{
	if (ds->c.forget && *identity)
		ds->c.forget(ds->c.ctx, identity);
}

int devices_put(struct devices *ds, const struct device *d, struct wall now, db_done_fn *done, void *ctx)
{
	struct entry *e = find(ds, d->id), *other = by_identity(ds, d->identity);

	if (!device_id_is_valid(span_str(d->id)) || d->state >= DEVICE_STATE_COUNT)
		return -EINVAL;
	if (other && other != e)
		return -EEXIST;
	if (!e && HASH_COUNT(ds->by_id) >= DEVICES_MAX)
		return -ENOSPC;
	if (!e)
		e = add(ds, d->id);
	bool is_enrolling = d->state == DEVICE_ENROLLED && e->d.state == DEVICE_SEEN;
	if (strcmp(e->d.identity, d->identity) != 0) {
		forget(ds, e->d.identity);
		set_identity(ds, e, d->identity);
	}
	set_state(ds, e, d->state);
	e->d.model = d->model;
	e->d.wake = d->wake;
	e->d.proof = d->proof;
	memcpy(e->d.name, d->name, sizeof(d->name));
	memcpy(e->d.address, d->address, sizeof(d->address));
	if (d->driver[0])
		memcpy(e->d.driver, d->driver, sizeof(d->driver));
	if (is_enrolling)
		e->d.enrolled_at = now;
	log_fields(is_enrolling ? EV_DEVICE_ENROLLED : EV_DEVICE_CHANGED, LOG_NOTICE, ({ "GW_DEVICE", e->d.id }), "device %s %s", e->d.id,
		   is_enrolling ? "enrolled" : "changed");
	save(ds, e, COMMIT_CHANGED, done, ctx);
	return 0;
}

int devices_set_state(struct devices *ds, const char *id, enum device_state s, struct wall now, db_done_fn *done, void *ctx)
{
	struct entry *e = find(ds, id);

	if (!e)
		return -ENOENT;
	if (s >= DEVICE_STATE_COUNT)
		return -EINVAL;
	if (s == DEVICE_ENROLLED && e->d.state == DEVICE_SEEN)
		e->d.enrolled_at = now;
	set_state(ds, e, s);
	log_fields(s == DEVICE_ENROLLED ? EV_DEVICE_ENROLLED : EV_DEVICE_CHANGED, LOG_NOTICE,
		   ({ "GW_DEVICE", e->d.id }, { "GW_STATE", device_state_name(s) }), "device %s is now %s", e->d.id, device_state_name(s));
	save(ds, e, COMMIT_CHANGED, done, ctx);
	if (s == DEVICE_RETIRED)
		forget(ds, e->d.identity);
	return 0;
}

int devices_remove(struct devices *ds, const char *id, db_done_fn *done, void *ctx)
{
	struct entry *e = find(ds, id);
	const struct credential *c, *next;
	char gone[DEVICE_ID_BYTES];

	if (!e)
		return -ENOENT;
	(void)text_copy(gone, sizeof(gone), span_str(e->d.id)); /* same size */
	if (ds->c.db)
		db_begin(ds->c.db);
	for (c = credentials_next(ds->credentials, NULL); c; c = next) {
		next = credentials_next(ds->credentials, c);
		if (strcmp(c->kind == CREDENTIAL_MAC ? c->identity : c->device, gone) != 0)
			continue;
		if (c->kind == CREDENTIAL_PSK)
			forget(ds, c->identity);
		if (ds->c.db)
			credential_store_delete(ds->c.db, c->identity, c->kind, commit_done,
						commit_key(commit_new(ds, "", COMMIT_QUIET, NULL, NULL), c->identity, c->kind));
		credentials_remove(ds->credentials, c);
	}
	forget(ds, e->d.identity);
	drop(ds, e);
	log_fields(EV_DEVICE_CHANGED, LOG_NOTICE, ({ "GW_DEVICE", gone }), "device %s removed", gone);
	if (ds->c.db) {
		device_store_delete(ds->c.db, gone, commit_done, commit_new(ds, gone, COMMIT_REMOVED, done, ctx));
		db_end(ds->c.db);
	} else {
		tell(ds, COMMIT_REMOVED, gone);
	}
	return 0;
}

int devices_credential_put(struct devices *ds, const struct credential *c, db_done_fn *done, void *ctx)
{
	const struct credential *old = credentials_get(ds->credentials, span_str(c->identity), c->kind);

	if (!c->identity[0] || !c->n_secret || c->n_secret > CREDENTIAL_SECRET_MAX || (c->kind != CREDENTIAL_PSK && c->kind != CREDENTIAL_MAC))
		return -EINVAL;
	if (old && credentials_is_static(old))
		return -EPERM;
	if (old && old->kind == CREDENTIAL_PSK && strcmp(old->device, c->device) != 0)
		forget(ds, old->identity); /* while it still says whose it was */
	credentials_put(ds->credentials, c, false);
	if (ds->c.db) /* a device may have waited for its MAC key */
		credential_store_put(ds->c.db, c, commit_done,
				     commit_key(commit_new(ds, c->kind == CREDENTIAL_MAC ? c->identity : "", COMMIT_CHANGED, done, ctx),
						c->identity, c->kind));
	if (c->kind == CREDENTIAL_PSK)
		forget(ds, c->identity);
	return 0;
}

int devices_credential_remove(struct devices *ds, const char *identity, enum credential_kind kind, db_done_fn *done, void *ctx)
{
	const struct credential *c = credentials_get(ds->credentials, span_str(identity), kind);

	if (!c)
		return -ENOENT;
	if (credentials_is_static(c))
		return -EPERM;
	if (ds->c.db)
		credential_store_delete(ds->c.db, identity, kind, commit_done,
					commit_key(commit_new(ds, "", COMMIT_QUIET, done, ctx), identity, kind));
	if (kind == CREDENTIAL_PSK)
		forget(ds, identity);
	credentials_remove(ds->credentials, c);
	return 0;
}

int devices_credential_rotate(struct devices *ds, const char *identity, enum credential_kind kind, uint8_t *ret, size_t n,
			      db_done_fn *done, void *ctx)
{
	const struct credential *c = credentials_get(ds->credentials, span_str(identity), kind);
	struct credential fresh;

	if (!c)
		return -ENOENT;
	if (n < 16 || n > CREDENTIAL_SECRET_MAX)
		return -EINVAL;
	fresh = *c;
	credential_fresh_secret(&fresh, n);
	int r = devices_credential_put(ds, &fresh, done, ctx);
	if (r >= 0)
		memcpy(ret, fresh.secret, n);
	mem_wipe(&fresh, sizeof(fresh));
	return r;
}

const struct credential *devices_credential_next(const struct devices *ds, const struct credential *after)
{
	return credentials_next(ds->credentials, after);
}

static int copy_secret(const struct credential *c, uint8_t *ret, size_t max)
{
	if (!c || c->n_secret > max)
		return -ENOENT;
	memcpy(ret, c->secret, c->n_secret);
	return (int)c->n_secret;
}

int devices_psk(const struct devices *ds, struct span identity, uint8_t *ret, size_t max)
{
	const struct credential *c = credentials_get(ds->credentials, identity, CREDENTIAL_PSK);
	const struct entry *e = c ? find(ds, c->device) : NULL;

	return e && e->d.state == DEVICE_RETIRED ? -ENOENT : copy_secret(c, ret, max);
}

int devices_mac_key(const struct devices *ds, const char *device, uint8_t *ret, size_t max)
{
	return copy_secret(credentials_get(ds->credentials, span_str(device), CREDENTIAL_MAC), ret, max);
}

unsigned devices_roles(const struct devices *ds, const char *identity)
{
	const struct credential *c = credentials_get(ds->credentials, span_str(identity), CREDENTIAL_PSK);

	return c ? c->roles : strncmp(identity, "x509:", 5) == 0 ? ROLE_DEVICE : 0;
}

int devices_read_credentials(struct devices *ds, const char *file, struct buf *error)
{
	_cleanup_buf_ struct buf old = { 0 };
	const struct credential *c;

	for (c = credentials_next(ds->credentials, NULL); c; c = credentials_next(ds->credentials, c))
		if (credentials_is_static(c))
			buf_add(&old, SPAN(c->identity, strlen(c->identity) + 1));
	int r = credentials_read(ds->credentials, file, error);
	for (size_t at = 0; r >= 0 && at < old.n; at += strlen(buf_str(&old) + at) + 1)
		forget(ds, buf_str(&old) + at); /* its key may be another now */
	return r;
}
