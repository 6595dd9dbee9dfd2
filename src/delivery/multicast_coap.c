/* What nodes ask for: reports, their setup, digests of generations, the object, the envelope, missing blocks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "delivery/multicast_internal.h"

enum { DESCRIPTOR_MAX_AGE_S = 60 };

static int refuse(struct coap_response *res, int code)
{
	if (code == COAP_401_UNAUTHORIZED)
		return coap_error(res, (uint8_t)code, "show who you are: coaps with this device's key");
	return coap_error(res, (uint8_t)code, "this device is not enrolled here");
}

/* The device that asks: by its identity, by ep, or by what its session said before. 0 or a CoAP code. */
static int who(struct multicast *d, const struct coap_request *req, char *ret)
{
	struct span ep = SPAN_NONE;

	if (!coap_query_get(req, "ep", &ep) && !req->peer.secure) {
		const struct talker *t = multicast_talker_of(d, req->peer.session);
		if (t)
			ep = span_str(t->device);
	}
	int code = d->c.who(d->c.who_ctx, &req->peer, ep, ret);
	if (code == 0)
		multicast_heard(&d->driver, &req->peer, ret);
	return code;
}

/* The running session that the request names (s=...), or the one its device is a member of. */
static struct session *session_asked(struct multicast *d, const struct coap_request *req, const char *device)
{
	struct span hex;
	struct mcast_sid sid;
	struct session *s;

	if (coap_query_get(req, "s", &hex)) {
		s = mcast_sid_parse(hex, &sid) == 0 ? session_find(d, &sid) : NULL;
	} else {
		const struct order *o = multicast_order(d, device);
		s = o ? o->session : NULL;
	}
	return s && s->stage == SESSION_RUNNING ? s : NULL;
}

/* Who asks, about which session, as which member? 0, or a CoAP code answered already (res). */
static int member_asks(struct multicast *d, const struct coap_request *req, struct coap_response *res, struct session **ret,
		       unsigned *ret_member)
{
	char device[DEVICE_ID_BYTES];
	struct mcast_member_view v;
	int i;

	int code = who(d, req, device);
	if (code != 0) {
		(void)refuse(res, code);
		return code;
	}
	*ret = session_asked(d, req, device);
	i = *ret ? mcast_session_member_find((*ret)->m, device) : MCAST_MEMBER_NONE;
	if (i < 0 || mcast_session_member((*ret)->m, (unsigned)i, &v) < 0 || v.state == MCAST_MEMBER_REMOVED) {
		(void)coap_error(res, COAP_404_NOT_FOUND, "no such session for this device");
		return COAP_404_NOT_FOUND;
	}
	*ret_member = (unsigned)i;
	return 0;
}

/* ---- mc/s ---- */

/* An observer is told that there is nothing now; whoever only asks hears 4.04. */
static int no_session(const struct coap_request *req, struct coap_response *res)
{
	if (!req->is_notify && req->observe != 0)
		return 0;
	coap_response_done(res);
	coap_response_init(res);
	res->code = COAP_205_CONTENT;
	res->max_age_s = DESCRIPTOR_MAX_AGE_S;
	return 0;
}

static int on_descriptor(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct multicast *d = ctx;
	struct session *s;
	unsigned member;

	int code = member_asks(d, req, res, &s, &member);
	if (code == COAP_404_NOT_FOUND)
		return no_session(req, res);
	if (code != 0)
		return 0;
	if (!req->peer.secure && !s->group->c.is_open)
		return coap_error(res, COAP_401_UNAUTHORIZED, "the group's key is told over coaps");
	res->code = COAP_205_CONTENT;
	res->content_format = COAP_CF_CBOR;
	res->max_age_s = DESCRIPTOR_MAX_AGE_S;
	setup_encode(s, true, &res->body);
	if (!req->is_notify) {
		struct mcast_member_view v;
		(void)mcast_session_descriptor_fetched(s->m, member, mono_now()); /* it is a member */
		if (mcast_session_member(s->m, member, &v) == 0)
			group_hold(s->group, v.device);
		session_kick(s);
	}
	return 0;
}

/* ---- mc/r ---- */

static int on_report(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct multicast *d = ctx;
	char device[DEVICE_ID_BYTES];
	struct mcast_report r;

	int code = who(d, req, device);
	if (code != 0) {
		(void)refuse(res, code);
		return COAP_HANDLER_QUIET;
	}
	metric_add(METRIC_MULTICAST_REPORTS, 1);
	if (req->content_format != COAP_CF_CBOR) {
		(void)coap_error(res, COAP_415_FORMAT, "reports are content-format %d", COAP_CF_CBOR);
		return COAP_HANDLER_QUIET;
	}
	if (mcast_report_decode(req->body, &r) < 0) {
		(void)coap_error(res, COAP_400_BAD_REQUEST, "not a report");
		return COAP_HANDLER_QUIET;
	}
	struct session *s = session_find(d, &r.sid);
	int i = s && s->m ? mcast_session_member_find(s->m, device) : MCAST_MEMBER_NONE;
	if (i < 0) {
		(void)coap_error(res, COAP_404_NOT_FOUND, "no such session for this device");
		return COAP_HANDLER_QUIET;
	}
	int taken = mcast_session_report(s->m, (unsigned)i, &r, mono_now());
	session_kick(s);
	if (taken == -EPROTO)
		(void)coap_error(res, COAP_422_UNPROCESSABLE, "that cannot be");
	else
		res->code = COAP_204_CHANGED;
	return COAP_HANDLER_QUIET;
}

/* ---- mc/t, mc/e ---- */

static int on_table(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct session *s;
	unsigned member;

	if (member_asks(ctx, req, res, &s, &member) != 0)
		return 0;
	res->code = COAP_205_CONTENT;
	res->content_format = COAP_CF_OCTETS;
	buf_add(&res->body, buf_span(&s->table));
	return 0;
}

static int on_envelope(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct multicast *d = ctx;
	struct mcast_member_view v;
	struct session *s;
	unsigned member;

	if (member_asks(d, req, res, &s, &member) != 0 || mcast_session_member(s->m, member, &v) < 0)
		return 0;
	int r = d->c.source.envelope(d->c.source.ctx, v.device, &s->manifest, &res->body);
	if (r == -EAGAIN) {
		res->max_age_s = 1;
		return coap_error(res, COAP_503_UNAVAILABLE, "verifying; ask again");
	}
	if (r == -ENOENT)
		return coap_error(res, COAP_404_NOT_FOUND, "withdrawn");
	if (r < 0)
		return r;
	res->code = COAP_205_CONTENT;
	res->content_format = COAP_CF_SUIT_ENVELOPE;
	res->etag.n = COAP_ETAG_BYTES_MAX;
	memcpy(res->etag.b, s->manifest.b, COAP_ETAG_BYTES_MAX);
	return 0;
}

/* ---- mc/i ---- */

struct served {                                /* a reader that tells the session what was fetched */
	struct coap_body_reader inner;
	struct multicast *d;
	uint64_t serial;
	unsigned member;
};

static int served_read(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	struct served *v = ctx;

	return v->inner.read(v->inner.ctx, off, ret, n);
}

static void served_release(void *ctx)
{
	struct served *v = ctx;

	if (v->inner.release)
		v->inner.release(v->inner.ctx);
	free(v);
}

static void served_block(void *ctx, uint64_t off, size_t n, bool last)
{
	struct served *v = ctx;
	struct session *s = session_serial(v->d, v->serial);

	(void)off;
	(void)last;
	metric_add(METRIC_IMAGE_BYTES_SENT, (int64_t)n);
	if (!s || !s->m)
		return;
	(void)mcast_session_blocks_fetched(s->m, v->member, (uint32_t)((n + MCAST_BLOCK_BYTES - 1) / MCAST_BLOCK_BYTES), mono_now());
	session_kick(s);
}

static int on_object(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct multicast *d = ctx;
	struct session *s;
	struct served *v;
	unsigned member;

	if (member_asks(d, req, res, &s, &member) != 0)
		return 0;
	v = NEW(struct served);
	int r = d->c.source.open_image(d->c.source.ctx, &s->manifest, &s->image.digest, &v->inner);
	if (r < 0) {
		free(v);
		if (r != -EAGAIN)
			return coap_error(res, COAP_404_NOT_FOUND, "withdrawn");
		res->max_age_s = 1;
		return coap_error(res, COAP_503_UNAVAILABLE, "verifying; ask again");
	}
	v->d = d;
	v->serial = s->serial;
	v->member = member;
	res->code = COAP_205_CONTENT;
	res->content_format = COAP_CF_OCTETS;
	res->max_age_s = UINT32_MAX;           /* the digest in the setup names the content */
	res->etag.n = COAP_ETAG_BYTES_MAX;
	memcpy(res->etag.b, s->image.digest.b, COAP_ETAG_BYTES_MAX);
	res->reader = (struct coap_body_reader){ .bytes = v->inner.bytes, .read = served_read, .release = served_release,
						 .served = served_block, .ctx = v };
	return 0;
}

/* ---- mc/m ---- */

/* A list of what is missing commits us to nothing: the blocks are at mc/i, and the answer says so. */
static int on_missing(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct session *s;
	unsigned member;

	if (member_asks(ctx, req, res, &s, &member) != 0)
		return 0;
	if (req->content_format != MCAST_CT_MISSING_BLOCKS)
		return coap_error(res, COAP_415_FORMAT, "missing blocks are content-format %d", MCAST_CT_MISSING_BLOCKS);
	uint32_t n = (s->c.size + MCAST_BLOCK_BYTES - 1) / MCAST_BLOCK_BYTES;
	uint8_t *bits = mem_new((n + 7) / 8, 1);
	int r = mcast_missing_decode(req->body, bits, n);
	free(bits);
	if (r < 0)
		return coap_error(res, COAP_400_BAD_REQUEST, "not a list of blocks of this object");
	res->code = COAP_204_CHANGED;
	return 0;
}

int multicast_add_routes(struct multicast *d)
{
	static const struct {
		unsigned methods;
		const char *attributes;
		coap_handler_fn *fn;
		bool observable;
		size_t body_max;
	} routes[] = {
		{ 1u << COAP_M_POST, "rt=\"mcd.r\";ct=60", on_report, false, 256 },
		{ 1u << COAP_M_GET, "rt=\"mcd.s\";ct=60", on_descriptor, true, 0 },
		{ 1u << COAP_M_GET, "rt=\"mcd.t\";ct=42", on_table, false, 0 },
		{ 1u << COAP_M_GET, "rt=\"mcd.i\";ct=42", on_object, false, 0 },
		{ 1u << COAP_M_GET, "rt=\"mcd.e\";ct=65051", on_envelope, false, 0 },
		{ 1u << COAP_M_POST, "rt=\"mcd.m\";ct=272", on_missing, false, MCAST_MISSING_BYTES_MAX },
	};
	static const char names[] = "rstiem";

	for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++) {
		char *path = d->path[i];

		(void)snprintf(path, MULTICAST_PATH_BYTES, "%s/%c", d->c.path, names[i]); /* the schema bounds its length */
		struct coap_route r = { .path = path, .methods = routes[i].methods, .attributes = routes[i].attributes, .fn = routes[i].fn,
					.observable = routes[i].observable, .body_max = routes[i].body_max, .ctx = d };
		int e = coap_endpoint_add(d->c.endpoint, &r);
		if (e < 0)
			return e;
	}
	return 0;
}
