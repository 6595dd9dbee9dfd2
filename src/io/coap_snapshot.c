#include "io/coap_snapshot.h"

#include <uthash.h>
#include <utlist.h>

#include "base/mem.h"

struct entry {
	struct digest key;
	struct owner *owner;
	struct mono until;
	struct coap_snapshot snap;
	UT_hash_handle hh;
	struct entry *prev, *next;             /* least recently used first */
	struct entry *own_prev, *own_next;     /* the same, of its session */
};

struct owner {                                 /* a session that has some */
	uint64_t session;
	struct entry *list;
	size_t n;
	UT_hash_handle hh;
};

struct coap_snapshots {
	struct entry *by_key, *list;
	struct owner *owners;
	size_t n, bytes, max_entries, max_bytes;
};

struct coap_snapshots *coap_snapshots_new(size_t max_entries, size_t max_bytes)
{
	struct coap_snapshots *s = NEW(struct coap_snapshots);

	s->max_entries = max_entries;
	s->max_bytes = max_bytes;
	return s;
}

static size_t cost(const struct entry *e)
{
	return sizeof(*e) + e->snap.body.cap;
}

static void drop(struct coap_snapshots *s, struct entry *e)
{
	struct owner *o = e->owner;

	HASH_DEL(s->by_key, e);
	DL_DELETE(s->list, e);
	DL_DELETE2(o->list, e, own_prev, own_next);
	if (--o->n == 0) {
		HASH_DEL(s->owners, o);
		free(o);
	}
	s->n--;
	s->bytes -= cost(e);
	buf_done(&e->snap.body);
	free(e);
}

struct coap_snapshots *coap_snapshots_free(struct coap_snapshots *s)
{
	if (!s)
		return NULL;
	while (s->list)
		drop(s, s->list);
	free(s);
	return NULL;
}

static struct entry *find(struct coap_snapshots *s, const struct digest *key)
{
	struct entry *e;

	HASH_FIND(hh, s->by_key, key, sizeof(*key), e);
	return e;
}

static struct owner *find_owner(struct coap_snapshots *s, uint64_t session)
{
	struct owner *o;

	HASH_FIND(hh, s->owners, &session, sizeof(session), o);
	return o;
}

/* Makes room among the session's own first, so that one peer cannot push out the others. */
static void limit_session(struct coap_snapshots *s, uint64_t session)
{
	struct owner *o = find_owner(s, session);

	if (o && o->n >= COAP_SNAPSHOT_PER_SESSION)
		drop(s, o->list);
}

static void give(struct coap_snapshots *s, struct entry *e, uint64_t session)
{
	struct owner *o = find_owner(s, session);

	if (!o) {
		o = NEW(struct owner);
		o->session = session;
		HASH_ADD(hh, s->owners, session, sizeof(o->session), o);
	}
	e->owner = o;
	DL_APPEND2(o->list, e, own_prev, own_next);
	o->n++;
}

const struct coap_snapshot *coap_snapshots_put(struct coap_snapshots *s, const struct digest *key, uint64_t session,
					       struct coap_snapshot *snap, struct mono now)
{
	struct entry *e = find(s, key);
	size_t need = sizeof(*e) + snap->body.cap;

	if (e)
		drop(s, e);
	if (need > s->max_bytes / 4)
		return NULL;
	while (s->list && !mono_before(now, s->list->until))
		drop(s, s->list);
	limit_session(s, session);
	while (s->list && (s->n >= s->max_entries || s->bytes + need > s->max_bytes))
		drop(s, s->list);
	e = NEW(struct entry);
	e->key = *key;
	e->until = mono_add_ms(now, COAP_SNAPSHOT_MS);
	e->snap = *snap;
	snap->body = (struct buf){ 0 };
	HASH_ADD(hh, s->by_key, key, sizeof(e->key), e);
	DL_APPEND(s->list, e);
	give(s, e, session);
	s->n++;
	s->bytes += cost(e);
	return &e->snap;
}

const struct coap_snapshot *coap_snapshots_get(struct coap_snapshots *s, const struct digest *key, struct mono now)
{
	struct entry *e = find(s, key);

	if (!e)
		return NULL;
	if (!mono_before(now, e->until)) {
		drop(s, e);
		return NULL;
	}
	e->until = mono_add_ms(now, COAP_SNAPSHOT_MS);
	DL_DELETE(s->list, e);
	DL_APPEND(s->list, e);
	DL_DELETE2(e->owner->list, e, own_prev, own_next);
	DL_APPEND2(e->owner->list, e, own_prev, own_next);
	return &e->snap;
}

void coap_snapshots_forget(struct coap_snapshots *s, uint64_t session)
{
	struct owner *o = find_owner(s, session);

	for (size_t n = o ? o->n : 0; n > 0; n--) /* the owner goes with its last */
		drop(s, o->list);
}

size_t coap_snapshots_bytes(const struct coap_snapshots *s)
{
	return s->bytes;
}
