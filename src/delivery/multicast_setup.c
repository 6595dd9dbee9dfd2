/* The setup map, told by POST mc over the session that the node opened or asked for by GET mc/s; and the pull command. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "delivery/multicast_internal.h"

enum { SETUP_TIMEOUT_MS = 100 * 1000 };         /* libcoap's retransmissions and a little */

static struct mcast_windows windows_of(const struct session *s)
{
	const struct mcast_session_windows *w = &mcast_session_config(s->m)->windows;
	int64_t now = mono_now().ms, start = w->first.ms;
	uint32_t past = 0;

	if (!w->length_ms)
		return (struct mcast_windows){ 0 };
	while (past + 1 < w->count && start + w->length_ms <= now) { /* count is small: windows of one session */
		start += w->period_ms;
		past++;
	}
	return (struct mcast_windows){ .start_s = start > now ? (uint64_t)(start - now) / 1000 : 0, .length_s = w->length_ms / 1000,
				       .period_s = w->period_ms / 1000, .count = (uint32_t)w->count - past };
}

void setup_encode(const struct session *s, bool with_key, struct buf *ret)
{
	const struct group *g = s->group;
	char hex[MCAST_SID_HEX_BYTES], path[MCAST_PATH_BYTES_MAX];
	struct mcast_setup m = {
		.sid = s->c.sid, .size = s->c.size, .digest = s->c.digest, .z = (uint8_t)s->c.z, .log2_e = s->c.log2_e, .alg = s->c.alg,
		.k = s->c.k, .port = g->c.port, .gid = g->gid, .has_key = with_key, .windows = windows_of(s),
		.pace_ms = (uint16_t)(s->c.pace_ms > UINT16_MAX ? UINT16_MAX : s->c.pace_ms),
		.slot_ms = (uint8_t)s->c.tuning.slot_ms, .lifetime_s = s->d->c.lifetime_s,
	};

	(void)snprintf(path, sizeof(path), "%s?s=%s", s->d->path[4], mcast_sid_hex(&s->c.sid, hex)); /* fits: both are bounded */
	m.envelope_path = span_str(path);
	if (s->geo.n_generations <= MCAST_SETUP_TABLE_INLINE_MAX)
		m.table = buf_span(&s->table);
	memcpy(m.address, g->c.address, sizeof(m.address));
	if (with_key)
		memcpy(m.key, g->key, sizeof(m.key));
	mcast_setup_encode(&m, ret);
	mem_wipe(m.key, sizeof(m.key));
}

/* ---- requests to members ---- */

static void ask_free(struct ask *a)
{
	DL_DELETE(a->s->asks, a);
	free(a);
}

void asks_drop(struct session *s)
{
	struct ask *a, *next;

	DL_FOREACH_SAFE(s->asks, a, next) {
		coap_endpoint_call_cancel(a->call);
		ask_free(a);
	}
}

static void note_ack(struct session *s, unsigned member, const struct mcast_ack *ack)
{
	struct mcast_member_view v;
	struct talker *t;

	if (mcast_session_member(s->m, member, &v) < 0)
		return;
	t = multicast_talker(s->d, v.device);
	if (t) {
		t->l = ack->l;
		t->k_max = ack->k_max;
	}
	if (ack->code == MCAST_ACK_ACCEPTED || ack->code == MCAST_ACK_HAVE_IT)
		group_hold(s->group, v.device);
}

static void on_answer(void *ctx, const struct coap_endpoint_result *res)
{
	struct ask *a = ctx;
	struct session *s = a->s;
	struct mono now = mono_now();
	unsigned member = a->member;
	bool is_pull = a->is_pull;
	struct mcast_ack ack;
	int r = res->error;

	ask_free(a);
	if (is_pull)
		return; /* best effort: what the member then fetches is what counts */
	if (r == 0)
		r = mcast_ack_decode(res->body, &ack);
	if (r == 0 && !mcast_sid_eq(&ack.sid, &s->c.sid))
		r = -EBADMSG;
	if (r == 0)
		note_ack(s, member, &ack);
	if (res->error == -ETIMEDOUT)
		multicast_yield(&s->d->driver);
	(void)mcast_session_setup_done(s->m, member, r == 0 ? &ack : NULL, r, now); /* -ENOENT: it joined in another way meanwhile */
	session_kick(s);
}

static int ask_send(struct ask *a, const char *device)
{
	struct session *s = a->s;
	const struct talker *t = multicast_talker(s->d, device);
	struct coap_endpoint_request q = { .method = COAP_M_POST, .path = "mc", .accept = COAP_CF_NONE, .content_format = COAP_CF_CBOR,
					   .timeout_ms = SETUP_TIMEOUT_MS };
	struct buf body = { 0 };
	int r;

	if (!t || !t->session)
		return -ENOTCONN; /* asleep, or never heard: it may ask by itself */
	if (!a->is_pull && !t->secure && !s->group->c.is_open)
		return -EACCES;   /* the group's key never goes over plain CoAP */
	if (a->is_pull)
		mcast_pull_encode(&s->c.sid, &body);
	else
		setup_encode(s, true, &body);
	q.body = buf_span(&body);
	r = buf_ok(&body) ? coap_endpoint_call(s->d->c.endpoint, t->session, &q, on_answer, a, &a->call) : -EMSGSIZE;
	if (body.p)
		mem_wipe(body.p, body.n);
	buf_done(&body);
	return r;
}

void setup_ask(struct session *s, unsigned member, const char *device, bool is_pull)
{
	struct ask *a = NEW(struct ask);

	*a = (struct ask){ .s = s, .member = member, .is_pull = is_pull };
	DL_APPEND(s->asks, a);
	a->error = ask_send(a, device);
	if (a->error < 0)
		session_kick(s); /* told from there: an op may not call back */
}

void asks_fail(struct session *s)
{
	struct mono now = mono_now();
	struct ask *a, *next;

	DL_FOREACH_SAFE(s->asks, a, next) {
		unsigned member = a->member;
		int error = a->error;
		bool is_pull = a->is_pull;

		if (error == 0)
			continue;
		ask_free(a);
		if (is_pull)
			continue;
		(void)mcast_session_setup_done(s->m, member, NULL, error, now);
		if (error == -EACCES)
			(void)mcast_session_member_failed(s->m, member, now); /* asking again changes nothing */
	}
}
