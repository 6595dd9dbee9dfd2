/* A session as the store keeps it: what its configuration was made of, the generation digests, and mcast_session's own snapshot. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "codec/cbor.h"
#include "delivery/multicast_internal.h"

enum { RECORD_VERSION = 1, RECORD_ITEMS = 11 };

void record_encode(const struct session *s, struct span snapshot, struct buf *ret)
{
	cbor_put_array(ret, RECORD_ITEMS);
	cbor_put_uint(ret, RECORD_VERSION);
	cbor_put_uint(ret, s->c.size);
	cbor_put_uint(ret, s->c.z);
	cbor_put_uint(ret, s->c.k);
	cbor_put_uint(ret, s->c.log2_e);
	cbor_put_uint(ret, s->c.alg);
	cbor_put_uint(ret, s->gid);
	cbor_put_int(ret, s->first_window.ms);
	cbor_put_bool(ret, s->operator_paused);
	cbor_put_bytes(ret, buf_span(&s->table));
	cbor_put_bytes(ret, snapshot);
}

static uint64_t number(struct cbor *c, uint64_t max)
{
	uint64_t v = cbor_uint(c);

	c->bad |= v > max;
	return v;
}

/* 0; -ENOTSUP another version; -EBADMSG. */
static int decode(struct session *s, struct span in)
{
	struct cbor c = cbor_reader(in);

	if (cbor_check(in, 0, NULL) < 0)
		return -EBADMSG;
	size_t n = cbor_array(&c);
	if (cbor_uint(&c) != RECORD_VERSION || n != RECORD_ITEMS)
		return -ENOTSUP;
	s->c.size = (uint32_t)number(&c, UINT32_MAX);
	s->c.z = (uint16_t)number(&c, MCAST_Z_MAX);
	s->c.k = (uint16_t)number(&c, MCAST_K_MAX);
	s->c.log2_e = (uint8_t)number(&c, MCAST_LOG2_E_MAX);
	s->c.alg = (uint8_t)number(&c, 2);
	s->gid = (uint8_t)number(&c, UINT8_MAX);
	s->first_window.ms = cbor_int(&c);
	s->operator_paused = cbor_bool(&c);
	buf_add(&s->table, cbor_bytes(&c));
	buf_add(&s->stored, cbor_bytes(&c));
	if (!cbor_at_end(&c) || !buf_ok(&s->stored) || mcast_geometry_of(s->c.size, s->c.z, s->c.k, s->c.log2_e, &s->geo) < 0 ||
	    s->table.n != (size_t)s->geo.n_generations * MCAST_GENERATION_DIGEST_BYTES)
		return -EBADMSG;
	return 0;
}

int record_load(void *arg, const struct multicast_session_record *r)
{
	struct multicast *d = arg;
	const struct multicast_store *st = &d->c.store;
	char sid[MCAST_SID_HEX_BYTES];
	struct session *s;

	if (d->n_sessions >= MULTICAST_SESSIONS_MAX)
		return 0;
	s = session_new(d, group_make(d, r->group));
	s->stage = SESSION_STORED;
	s->manifest = r->manifest;
	s->image.digest = r->image;
	s->c.sid = r->sid;
	s->c.digest = r->image;
	int e = decode(s, r->snapshot);
	s->image.bytes = s->c.size;
	if (e < 0) {
		log_event(EV_MULTICAST_SESSION, LOG_WARNING, "the stored multicast session %s is not understood and left out: %s",
			  mcast_sid_hex(&r->sid, sid), strerror(-e));
		st->remove_session(st->ctx, &r->sid, NULL, NULL);
		session_free(s);
		return 0;
	}
	s->is_unsettled = s->gid != s->group->gid;
	return 0;
}
