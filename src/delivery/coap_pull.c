#include "delivery/coap_pull.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"

enum { PULL_PATH_BYTES = 64 };

struct pull;

struct parcel {                                /* what all offers of one update share */
	struct digest manifest;                /* key */
	struct coap_etag etag;                 /* of the manifest digest */
	struct delivery_image images[DELIVERY_IMAGES_MAX];
	size_t n_images;
	uint64_t total_bytes;
	size_t refs;
	UT_hash_handle hh;
};

struct offer {                                 /* the order of one device */
	char device[DEVICE_ID_BYTES];          /* key */
	char job[JOB_ID_BYTES];
	struct parcel *parcel;
	uint64_t furthest[DELIVERY_IMAGES_MAX];
	UT_hash_handle hh;
};

struct talker {                                /* which device a plain CoAP session spoke for (it names itself only at /fw) */
	uint64_t session;
	char device[DEVICE_ID_BYTES];
	UT_hash_handle hh;
};

enum { TALKERS_MAX = 10000 };

struct pull {
	struct delivery_driver driver;
	struct coap_pull_config c;
	char path[PULL_PATH_BYTES], image_path[PULL_PATH_BYTES + 2], report_path[PULL_PATH_BYTES + 2];
	struct offer *offers;
	struct parcel *parcels;
	struct talker *talkers;
};

static struct offer *offer_find(struct pull *p, const char *device)
{
	struct offer *o;

	HASH_FIND_STR(p->offers, device, o);
	return o;
}

static struct parcel *parcel_get(struct pull *p, const struct delivery_order *order)
{
	struct parcel *pc;

	HASH_FIND(hh, p->parcels, &order->manifest, sizeof(order->manifest), pc);
	if (pc) {
		pc->refs++;
		return pc;
	}
	pc = NEW(struct parcel);
	pc->manifest = order->manifest;
	pc->etag.n = COAP_ETAG_BYTES_MAX;
	memcpy(pc->etag.b, order->manifest.b, COAP_ETAG_BYTES_MAX);
	pc->n_images = order->n_images;
	for (size_t i = 0; i < order->n_images; i++) {
		pc->images[i] = order->images[i];
		pc->total_bytes += order->images[i].bytes;
	}
	pc->refs = 1;
	HASH_ADD(hh, p->parcels, manifest, sizeof(pc->manifest), pc);
	return pc;
}

static void parcel_put(struct pull *p, struct parcel *pc)
{
	if (--pc->refs > 0)
		return;
	HASH_DEL(p->parcels, pc);
	free(pc);
}

static void offer_drop(struct pull *p, struct offer *o)
{
	HASH_DEL(p->offers, o);
	parcel_put(p, o->parcel);
	free(o);
}

static void talker_note(struct pull *p, uint64_t session, const char *device)
{
	struct talker *t;

	if (!session)
		return;
	HASH_FIND(hh, p->talkers, &session, sizeof(session), t);
	if (t) {
		HASH_DEL(p->talkers, t);
	} else {
		if (HASH_COUNT(p->talkers) >= TALKERS_MAX) { /* the head was silent the longest */
			struct talker *oldest = p->talkers;
			HASH_DEL(p->talkers, oldest);
			free(oldest);
		}
		t = NEW(struct talker);
		t->session = session;
	}
	HASH_ADD(hh, p->talkers, session, sizeof(t->session), t); /* at the end: uthash keeps the order */
	(void)text_copy(t->device, sizeof(t->device), span_str(device)); /* same size as the source */
}

/* The device that asks: by its identity, by ep, or by what its session said before. 0 or a CoAP code. */
static int pull_who(struct pull *p, const struct coap_request *req, char *ret)
{
	struct span ep = SPAN_NONE;

	if (!coap_query_get(req, "ep", &ep) && !req->peer.secure) {
		struct talker *t;
		HASH_FIND(hh, p->talkers, &req->peer.session, sizeof(req->peer.session), t);
		if (t)
			ep = span_str(t->device);
	}
	int code = p->c.who(p->c.who_ctx, &req->peer, ep, ret);
	if (code == 0 && !req->peer.secure)
		talker_note(p, req->peer.session, ret);
	return code;
}

static int refuse(struct coap_response *res, int code)
{
	if (code == COAP_401_UNAUTHORIZED)
		return coap_error(res, (uint8_t)code, "show who you are: coaps with this device's key");
	return coap_error(res, (uint8_t)code, "this device is not enrolled here");
}

static int on_offer(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct pull *p = ctx;
	char device[DEVICE_ID_BYTES];

	int code = pull_who(p, req, device);
	if (code != 0)
		return refuse(res, code);
	const struct offer *o = offer_find(p, device);
	res->max_age_s = p->c.offer_max_age_s;
	if (!o || coap_request_has_etag(req, &o->parcel->etag)) {
		if (req->n_etag == 0)
			return req->is_notify ? (res->code = COAP_205_CONTENT, 0)
					      : coap_error(res, COAP_404_NOT_FOUND, "no update for this device");
		res->code = COAP_203_VALID;
		res->etag = o ? o->parcel->etag : req->etag[0];
		return 0;
	}
	if (req->accept != COAP_CF_NONE && req->accept != COAP_CF_SUIT_ENVELOPE && req->accept != COAP_CF_OCTETS)
		return coap_error(res, COAP_406_NOT_ACCEPTABLE, "envelopes are content-format %d", COAP_CF_SUIT_ENVELOPE);
	int r = p->c.source.envelope(p->c.source.ctx, device, &o->parcel->manifest, &res->body);
	if (r == -EAGAIN) {
		res->max_age_s = 1;
		return req->is_notify ? (res->code = COAP_205_CONTENT, 0) : coap_error(res, COAP_503_UNAVAILABLE, "verifying; ask again");
	}
	if (r == -ENOENT) /* withdrawn since */
		return req->is_notify ? (res->code = COAP_205_CONTENT, 0) : coap_error(res, COAP_404_NOT_FOUND, "no update for this device");
	if (r < 0)
		return r;
	res->code = COAP_205_CONTENT;
	res->content_format = COAP_CF_SUIT_ENVELOPE;
	res->etag = o->parcel->etag;
	return 0;
}

/* A reader that tells the sink how far the node got. */
struct watched {
	struct coap_body_reader inner;
	struct pull *pull;
	char device[DEVICE_ID_BYTES];          /* "" = not known: nobody's progress */
	struct digest digest;
};

static int watched_read(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	struct watched *w = ctx;

	return w->inner.read(w->inner.ctx, off, ret, n);
}

static void watched_release(void *ctx)
{
	struct watched *w = ctx;

	if (w->inner.release)
		w->inner.release(w->inner.ctx);
	free(w);
}

static void watched_served(void *ctx, uint64_t off, size_t n, bool last)
{
	struct watched *w = ctx;
	struct offer *o = w->device[0] ? offer_find(w->pull, w->device) : NULL;
	uint64_t sent = 0;

	(void)last;
	metric_add(METRIC_IMAGE_BYTES_SENT, (int64_t)n);
	if (!o)
		return;
	for (size_t i = 0; i < o->parcel->n_images; i++) {
		if (digest_eq(&o->parcel->images[i].digest, &w->digest) && off + n > o->furthest[i])
			o->furthest[i] = off + n;
		sent += o->furthest[i];
	}
	w->pull->c.sink.progress(w->pull->c.sink.ctx, o->job, sent, o->parcel->total_bytes);
}

static bool must_wait(const struct pull *p, const struct coap_request *req, struct coap_response *res)
{
	uint32_t wait_s = p->c.wait ? p->c.wait(p->c.wait_ctx, &req->peer) : 0;

	if (wait_s == 0)
		return false;
	(void)coap_error(res, COAP_503_UNAVAILABLE, "the radio has used up its airtime; ask again"); /* always 0 */
	res->max_age_s = wait_s;
	return true;
}

static int image_respond(struct pull *p, const struct offer *o, const struct digest *d, struct coap_response *res)
{
	struct watched *w = NEW(struct watched);

	int r = p->c.source.open_image(p->c.source.ctx, &o->parcel->manifest, d, &w->inner);
	if (r < 0) {
		free(w);
		if (r == -EAGAIN) {
			res->max_age_s = 1;
			return coap_error(res, COAP_503_UNAVAILABLE, "verifying; ask again");
		}
		return coap_error(res, COAP_404_NOT_FOUND, "no such image");
	}
	w->pull = p;
	w->digest = *d;
	(void)text_copy(w->device, sizeof(w->device), span_str(o->device)); /* same size */
	res->code = COAP_205_CONTENT;
	res->content_format = COAP_CF_OCTETS;
	res->max_age_s = UINT32_MAX;           /* the name is the content */
	res->etag.n = COAP_ETAG_BYTES_MAX;
	memcpy(res->etag.b, d->b, COAP_ETAG_BYTES_MAX);
	res->reader = (struct coap_body_reader){ .bytes = w->inner.bytes, .read = watched_read, .release = watched_release,
						 .served = watched_served, .ctx = w };
	return 0;
}

static const struct delivery_image *offer_image(const struct offer *o, const struct digest *d, struct span uri)
{
	for (size_t i = 0; o && i < o->parcel->n_images; i++) {
		const struct delivery_image *img = &o->parcel->images[i];
		if (d ? digest_eq(&img->digest, d) : (img->uri[0] && span_eq_str(uri, img->uri)))
			return img;
	}
	return NULL;
}

static int on_image(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct pull *p = ctx;
	char device[DEVICE_ID_BYTES];
	struct digest d;

	int code = pull_who(p, req, device);
	if (code != 0)
		return refuse(res, code);
	if (req->n_path == 0 || digest_parse(req->path[req->n_path - 1], &d) < 0)
		return coap_error(res, COAP_404_NOT_FOUND, "images are named by the 64 hex digits of their SHA-256");
	const struct offer *o = offer_find(p, device);
	if (!offer_image(o, &d, SPAN_NONE))
		return coap_error(res, COAP_404_NOT_FOUND, "not part of this device's offer");
	if (must_wait(p, req, res))
		return 0;
	return image_respond(p, o, &d, res);
}

static int on_proxy(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct pull *p = ctx;
	char device[DEVICE_ID_BYTES];

	if (req->method != COAP_M_GET || req->proxy_uri.n == 0)
		return coap_error(res, COAP_505_NO_PROXY, "only GET of an offered payload's URI");
	int code = pull_who(p, req, device);
	if (code != 0)
		return refuse(res, code);
	const struct offer *o = offer_find(p, device);
	const struct delivery_image *img = offer_image(o, NULL, req->proxy_uri);
	if (!img)
		return coap_error(res, COAP_505_NO_PROXY, "not a payload of this device's offer");
	if (must_wait(p, req, res))
		return 0;
	return image_respond(p, o, &img->digest, res);
}

struct report_wait {
	struct coap_deferred *answer;
};

static void report_done(void *arg, int error)
{
	struct report_wait *w = arg;
	struct coap_response res;

	coap_response_init(&res);
	if (error == 0)
		res.code = COAP_204_CHANGED;
	else if (error == -ENOENT)
		(void)coap_error(&res, COAP_404_NOT_FOUND, "no job for this update");
	else
		(void)coap_error(&res, COAP_503_UNAVAILABLE, "not stored; send it again");
	coap_deferred_respond(w->answer, &res);
	free(w);
}

/* The success and failure words of a SUIT report as Object 5 numbers (facts 2.4; device-protocols.md 1.5). */
static int from_suit_report(struct span body, struct node_report *ret)
{
	struct suit_report s;

	int r = suit_report_decode(body, &s);
	if (r < 0)
		return r;
	if (s.reference.alg != -16 || s.reference.bytes.n != DIGEST_BYTES)
		return -ENOTSUP;
	*ret = (struct node_report){ 0 };
	memcpy(ret->manifest_digest.b, s.reference.bytes.p, DIGEST_BYTES);
	ret->result = s.is_success ? 1 : s.result_reason == 10 || s.result_reason == 6 ? 6 : 8;
	return 0;
}

static int on_report(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct pull *p = ctx;
	char device[DEVICE_ID_BYTES];
	struct node_report report;
	int r;

	int code = pull_who(p, req, device);
	if (code != 0)
		return refuse(res, code);
	if (req->content_format == COAP_CF_SUIT_REPORT)
		r = from_suit_report(req->body, &report);
	else if (req->content_format == COAP_CF_CBOR)
		r = node_report_decode(req->body, &report);
	else
		return coap_error(res, COAP_415_FORMAT, "reports are content-format %d or %d", COAP_CF_CBOR, COAP_CF_SUIT_REPORT);
	if (r < 0)
		return coap_error(res, COAP_400_BAD_REQUEST, "not a report");
	struct report_wait *w = NEW(struct report_wait);
	w->answer = coap_defer(p->c.endpoint, req);
	if (!w->answer) {
		free(w);
		return coap_error(res, COAP_503_UNAVAILABLE, "busy; send it again");
	}
	p->c.sink.report(p->c.sink.ctx, device, &report, report_done, w);
	return COAP_HANDLER_LATER;
}

static void offer_changed(struct pull *p, const char *device)
{
	char match[DEVICE_ID_BYTES + 4];

	(void)snprintf(match, sizeof(match), "ep=%s", device); /* fits by size */
	coap_endpoint_changed_query(p->c.endpoint, p->path, span_str(match));
}

static int pull_start(struct delivery_driver *drv, const struct delivery_order *order)
{
	struct pull *p = (struct pull *)drv;

	if (order->n_images > DELIVERY_IMAGES_MAX)
		return -E2BIG;
	struct offer *o = offer_find(p, order->device);
	if (o && strcmp(o->job, order->job) == 0)
		return 0;
	if (o)
		offer_drop(p, o);
	o = NEW(struct offer);
	memcpy(o->device, order->device, sizeof(o->device));
	memcpy(o->job, order->job, sizeof(o->job));
	o->parcel = parcel_get(p, order);
	HASH_ADD_STR(p->offers, device, o);
	offer_changed(p, o->device);
	return 0;
}

static void pull_cancel(struct delivery_driver *drv, const char *device, const char *job)
{
	struct pull *p = (struct pull *)drv;
	struct offer *o = offer_find(p, device);

	if (!o || strcmp(o->job, job) != 0)
		return;
	offer_drop(p, o);
	offer_changed(p, device);
}

static struct delivery_driver *pull_close(struct delivery_driver *drv)
{
	struct pull *p = (struct pull *)drv;
	struct offer *o, *o_next;
	struct talker *t, *t_next;

	if (!p)
		return NULL;
	HASH_ITER(hh, p->offers, o, o_next)
		offer_drop(p, o);
	HASH_ITER(hh, p->talkers, t, t_next) {
		HASH_DEL(p->talkers, t);
		free(t);
	}
	free(p);
	return NULL;
}

static const struct delivery_ops coap_pull_ops = {
	.name = "coap-pull", .start = pull_start, .cancel = pull_cancel, .close = pull_close,
};

int coap_pull_open(const struct coap_pull_config *c, struct delivery_driver **ret)
{
	struct pull *p = NEW(struct pull);

	p->driver.ops = &coap_pull_ops;
	p->c = *c;
	(void)snprintf(p->path, sizeof(p->path), "%s", c->path);         /* the schema bounds its length */
	(void)snprintf(p->image_path, sizeof(p->image_path), "%s/i", p->path);
	(void)snprintf(p->report_path, sizeof(p->report_path), "%s/r", p->path);
	const struct coap_route routes[] = {
		{ .path = p->path, .methods = 1u << COAP_M_GET, .attributes = "rt=\"dormouse.fw\";ct=65051;obs", .observable = true,
		  .fn = on_offer, .ctx = p },
		{ .path = p->image_path, .is_prefix = true, .methods = 1u << COAP_M_GET, .attributes = "rt=\"dormouse.fw.image\";ct=42",
		  .fn = on_image, .ctx = p },
		{ .path = p->report_path, .methods = 1u << COAP_M_POST, .attributes = "rt=\"dormouse.fw.report\";ct=\"60 65052\"",
		  .body_max = 4096, .fn = on_report, .ctx = p },
	};
	for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++) {
		int r = coap_endpoint_add(c->endpoint, &routes[i]);
		if (r < 0) {
			pull_close(&p->driver);
			return r;
		}
	}
	if (c->forward_proxy)
		coap_endpoint_set_proxy(c->endpoint, on_proxy, p);
	*ret = &p->driver;
	return 0;
}
