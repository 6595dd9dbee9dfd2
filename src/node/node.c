#include "node/node.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "codec/link_format.h"
#include "codec/suit_report.h"

enum { PATH_BYTES = 128, QUERY_MAX = 12, QUERY_BYTES = 160, OUTCOME_NOTHING = NODE_EVENT_COUNT };

struct node {
	struct node_setup setup;
	struct loop_timer *timer;
	struct coap_client *client;
	node_changed_fn *changed;
	void *changed_ctx;

	struct mcast_node *multicast;          /* NULL = no part in it */

	struct node_machine machine;
	struct node_store store;
	struct node_durable durable;

	/* volatile: gone with the power */
	struct coap_session *session;
	struct coap_call *call;                /* of the state's action */
	struct coap_call *watch;               /* GET fw, which may go on as an observation */
	bool has_event;                        /* posted, not yet fed */
	enum node_event event;
	char rd_path[PATH_BYTES], fw_path[PATH_BYTES], image_path[PATH_BYTES], report_path[PATH_BYTES], location[PATH_BYTES];
	struct node_offer offer;
	bool has_offer;
	size_t image;                          /* index being pulled */
	uint64_t received_bytes;
	bool is_retried[NODE_IMAGES_MAX];      /* a second time from the start: what was on flash was bad */

	unsigned last_result, n_resumes;
	char last_reason[NODE_REASON_BYTES];
};

/* Events are fed from the loop, never from inside a callback of the session they may close. */
static void post(struct node *n, enum node_event ev)
{
	if (n->has_event && n->event == NODE_EV_CRASH)
		return;
	n->has_event = true;
	n->event = ev;
	loop_timer_set(n->timer, 0);
}

static void tell(struct node *n)
{
	if (n->changed)
		n->changed(n->changed_ctx, n);
}

static void drop_calls(struct node *n)
{
	if (n->call)
		coap_call_cancel(n->call);
	if (n->watch)
		coap_call_cancel(n->watch);
	n->call = n->watch = NULL;
}

static void close_shop(struct node *n)
{
	drop_calls(n);
	if (n->multicast)
		mcast_node_hang_up(n->multicast);
	n->session = n->session ? coap_session_close(n->session) : NULL;
}

static void forget_offer(struct node *n)
{
	node_offer_done(&n->offer);
	n->has_offer = false;
	n->image = 0;
	n->received_bytes = 0;
	memset(n->is_retried, 0, sizeof(n->is_retried));
}

/* --- talking ----------------------------------------------------------------------------------- */

static int open_session(struct node *n)
{
	const struct coap_session_config c = {
		.uri = n->setup.gateway, .psk_identity = n->setup.psk_identity, .psk_key = n->setup.psk_key,
		.ack_timeout_ms = n->setup.ack_timeout_ms,
	};

	if (n->session)
		return 0;
	int r = coap_session_open(n->client, &c, &n->session);
	if (r >= 0 && n->multicast)
		coap_session_serve(n->session, mcast_node_serve, n->multicast);
	return r;
}

static void start_call(struct node *n, const struct coap_call_request *req, coap_call_fn *fn, struct coap_call **call)
{
	int r = open_session(n);

	if (r >= 0)
		r = coap_call(n->session, req, fn, n, call);
	if (r < 0) {
		*call = NULL;
		log_line(LOG_DEBUG, "%s: cannot send: %s", n->setup.name, strerror(-r));
		post(n, NODE_EV_UNREACHABLE);
	}
}

/* What an answer that is no success tells; OUTCOME_NOTHING when it is one. */
static int outcome_of(const struct coap_call_result *res)
{
	if (res->error)
		return NODE_EV_UNREACHABLE;
	switch (res->code >> 5) {
	case 2:
		return OUTCOME_NOTHING;
	case 4:
		if (res->code == COAP_401_UNAUTHORIZED || res->code == COAP_403_FORBIDDEN)
			return NODE_EV_DENIED;
		return res->code == COAP_429_TOO_MANY || res->code == COAP_408_INCOMPLETE ? NODE_EV_UNREACHABLE : NODE_EV_GONE;
	default:
		return NODE_EV_UNREACHABLE;
	}
}

static const char *ep_query(struct node *n, char ret[static QUERY_BYTES])
{
	(void)snprintf(ret, QUERY_BYTES, "ep=%s", n->setup.name); /* names are at most 63 bytes */
	return ret;
}

static void take_path(struct span target, char *ret)
{
	if (target.n > 1 && target.p[0] == '/')
		(void)text_copy(ret, PATH_BYTES, span_sub(target, 1, target.n)); /* too long: the default stays */
}

/* RD-5: paths are found, never assumed; the defaults stand where a gateway does not list them. */
static void learn_paths(struct node *n, struct span doc)
{
	char multicast[PATH_BYTES] = "";
	const struct { const char *rt; char *path; } wanted[] = {
		{ "core.rd", n->rd_path }, { "dormouse.fw", n->fw_path }, { "dormouse.fw.image", n->image_path },
		{ "dormouse.fw.report", n->report_path }, { "mcd.s", multicast },
	};
	struct link_reader r;
	struct weblink l;
	struct link_param rt;

	link_reader_init(&r, doc);
	while (link_reader_next(&r, &l) == 1)
		for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
			if (weblink_get(&l, "rt", &rt) && link_param_matches(&rt, span_str(wanted[i].rt)))
				take_path(l.target, wanted[i].path);
	if (n->multicast)
		mcast_node_set_path(n->multicast, span_str(multicast));
}

static void on_core(void *ctx, const struct coap_call_result *res)
{
	struct node *n = ctx;
	int out = outcome_of(res);

	n->call = NULL;
	if (out == OUTCOME_NOTHING)
		learn_paths(n, res->body);
	post(n, out == OUTCOME_NOTHING ? NODE_EV_OK : out == NODE_EV_GONE ? NODE_EV_UNREACHABLE : (enum node_event)out);
}

static void do_discover(struct node *n)
{
	const struct coap_call_request req = {
		.method = COAP_M_GET, .path = ".well-known/core", .accept = COAP_CF_LINK, .content_format = COAP_CF_NONE, .szx = n->setup.szx,
	};

	close_shop(n);                         /* a fresh session: the gateway may have forgotten the old one */
	(void)strcpy(n->rd_path, "rd");
	(void)strcpy(n->fw_path, "fw");
	(void)strcpy(n->image_path, "fw/i");
	(void)strcpy(n->report_path, "fw/r");
	start_call(n, &req, on_core, &n->call);
}

struct query {
	char text[QUERY_MAX][QUERY_BYTES];
	const char *list[QUERY_MAX + 1];
	size_t n;
};

static void query_add(struct query *q, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void query_add(struct query *q, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(q->text[q->n], QUERY_BYTES, fmt, ap); /* bounded by the options' lengths */
	va_end(ap);
	q->list[q->n] = q->text[q->n];
	q->n++;
}

static void describe(const struct node *n, struct query *q)
{
	const struct node_setup *s = &n->setup;
	char uuid[TEXT_UUID_BYTES];

	query_add(q, "ep=%s", s->name);
	query_add(q, "lt=%u", s->lifetime_s);
	if (s->trust->has_vendor)
		query_add(q, "vid=%s", text_uuid(s->trust->vendor_id, uuid));
	if (s->trust->has_class)
		query_add(q, "cid=%s", text_uuid(s->trust->class_id, uuid));
	if (s->hw)
		query_add(q, "hw=%s", s->hw);
	if (n->durable.version[0])
		query_add(q, "ver=%s", n->durable.version);
	query_add(q, "seq=%llu", (unsigned long long)n->durable.sequence);
	if (!s->wake_period_s)
		query_add(q, "wake=always");
	else if (s->wake_window_s)
		query_add(q, "wake=window,%u,%u", s->wake_period_s, s->wake_window_s);
	else
		query_add(q, "wake=polls,%u", s->wake_period_s);
	query_add(q, "proof=%s", device_proof_name(s->trust->proof));
	if (s->base)
		query_add(q, "base=%s", s->base);
}

static void on_registered(void *ctx, const struct coap_call_result *res)
{
	struct node *n = ctx;
	int out = outcome_of(res);

	n->call = NULL;
	if (out == OUTCOME_NOTHING && n->machine.state == NODE_REGISTER) {
		const char *at = res->location ? res->location + (res->location[0] == '/') : "";
		if (!*at || text_copy(n->location, sizeof(n->location), span_str(at)) < 0)
			out = NODE_EV_UNREACHABLE; /* a directory that tells no location is none */
	}
	post(n, out == OUTCOME_NOTHING ? NODE_EV_OK : (enum node_event)out);
}

static void do_register(struct node *n)
{
	struct query q = { .n = 0 };

	describe(n, &q);
	struct coap_call_request req = {
		.method = COAP_M_POST, .path = n->rd_path, .query = q.list, .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE,
		.szx = n->setup.szx,
	};
	if (n->multicast) {
		req.body = span_str("</mc>;rt=\"mcd.n\",</m>;rt=\"mcd.d\"");
		req.content_format = COAP_CF_LINK;
	}
	start_call(n, &req, on_registered, &n->call);
}

static void do_refresh(struct node *n)
{
	const struct coap_call_request req = {
		.method = COAP_M_POST, .path = n->location, .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE, .szx = n->setup.szx,
	};

	start_call(n, &req, on_registered, &n->call);
}

/* --- is there something for me? ---------------------------------------------------------------- */

static enum node_event refused(struct node *n, const struct digest *manifest, unsigned result, const char *reason)
{
	n->durable.offer = *manifest;
	n->durable.result = n->last_result = result;
	(void)snprintf(n->durable.reason, sizeof(n->durable.reason), "%s", reason);      /* same size */
	(void)snprintf(n->last_reason, sizeof(n->last_reason), "%s", reason);            /* same size */
	log_line(LOG_INFO, "%s: refused: %s", n->setup.name, reason);
	return NODE_EV_REFUSED;
}

static enum node_event judge_offer(struct node *n, struct span envelope)
{
	char reason[NODE_REASON_BYTES];
	struct node_offer o;
	unsigned result;

	switch (node_offer_judge(n->setup.trust, n->setup.mac_key, &n->durable, envelope, wall_now(), &o, &result, reason)) {
	case NODE_RUNS_IT:
		return NODE_EV_NONE;
	case NODE_REFUSES:
		return refused(n, &o.manifest, result, reason);
	case NODE_ACCEPTS:
		break;
	}
	if (node_store_put_envelope(&n->store, envelope) < 0) {
		struct digest manifest = o.manifest;
		node_offer_done(&o);
		return refused(n, &manifest, 2, "no room for the envelope");
	}
	forget_offer(n);
	n->offer = o;
	n->has_offer = true;
	n->durable.offer = o.manifest;
	return NODE_EV_OFFER;
}

static void on_check(void *ctx, const struct coap_call_result *res)
{
	struct node *n = ctx;
	int out = outcome_of(res);

	if (!res->is_notification)
		n->watch = NULL;
	if (n->machine.state != NODE_CHECK && n->machine.state != NODE_WATCH && n->machine.state != NODE_LISTEN)
		return;                        /* busy: the next check asks anew */
	/* Only an offer, which comes by unicast then, is better than a session; but a gateway that is silent has forgotten us, and what
	 * we report is lost: it must know us again. */
	if (n->machine.state == NODE_LISTEN && !res->error && (out != OUTCOME_NOTHING || res->code != COAP_205_CONTENT || !res->body.n))
		return;
	if (n->has_event && n->event == NODE_EV_OFFER)
		return;                        /* accepted a moment ago */
	if (out == OUTCOME_NOTHING)
		post(n, res->code == COAP_205_CONTENT && res->body.n ? judge_offer(n, res->body) : NODE_EV_NONE);
	else
		post(n, out == NODE_EV_GONE && n->machine.state == NODE_CHECK ? NODE_EV_NONE : (enum node_event)out);
}

static void do_check(struct node *n)
{
	char ep[QUERY_BYTES];
	const char *const query[] = { ep_query(n, ep), NULL };
	struct coap_call_request req = {
		.method = COAP_M_GET, .path = n->fw_path, .query = query, .accept = COAP_CF_SUIT_ENVELOPE, .content_format = COAP_CF_NONE,
		.szx = n->setup.szx, .observe = n->setup.plan.sleep_ms == 0 && !n->setup.plan.once,
		.etag = { .n = COAP_ETAG_BYTES_MAX }, .body_max = NODE_ENVELOPE_BYTES_MAX,
	};

	if (n->watch)
		coap_call_cancel(n->watch);
	n->watch = NULL;
	if (n->durable.has_installed)          /* else eight zero bytes: nothing installed by manifest */
		memcpy(req.etag.b, n->durable.installed.b, COAP_ETAG_BYTES_MAX);
	start_call(n, &req, on_check, &n->watch);
}

/* --- reports ----------------------------------------------------------------------------------- */

static void on_reported(void *ctx, const struct coap_call_result *res)
{
	struct node *n = ctx;
	int out = outcome_of(res);

	n->call = NULL;
	post(n, out == OUTCOME_NOTHING ? NODE_EV_OK : (enum node_event)out);
}

static void report(struct node *n, const struct digest *manifest, unsigned state, unsigned result, const char *reason)
{
	char ep[QUERY_BYTES];
	const char *const query[] = { ep_query(n, ep), NULL };
	_cleanup_buf_ struct buf body = { 0 };
	const struct node_report r = {
		.manifest_digest = *manifest, .state = state, .result = result,
		.has_sequence = state == 0, .sequence = n->durable.sequence,
		.has_received = state == 1 || state == 2, .received_bytes = n->received_bytes,
		.version = span_str(n->durable.version), .reason = span_str(reason),
	};

	node_report_encode(&r, &body);
	const struct coap_call_request req = {
		.method = COAP_M_POST, .path = n->report_path, .query = query, .accept = COAP_CF_NONE, .content_format = COAP_CF_CBOR,
		.body = buf_span(&body), .szx = n->setup.szx,
	};
	start_call(n, &req, on_reported, &n->call);
}

static void do_report_downloading(struct node *n) { report(n, &n->durable.offer, 1, 0, ""); }
static void do_report_updating(struct node *n) { report(n, &n->durable.installed, 3, 0, ""); }
static void do_report_failure(struct node *n) { report(n, &n->durable.offer, 0, n->durable.result, n->durable.reason); }

static void do_report_success(struct node *n)
{
	n->last_result = NODE_RESULT_SUCCESS;
	n->last_reason[0] = '\0';
	report(n, &n->durable.installed, 0, NODE_RESULT_SUCCESS, "");
}

/* --- images ------------------------------------------------------------------------------------ */

static void pull_next(struct node *n);
static void take_object(struct node *n);

static void fail_image(struct node *n, unsigned result, const char *reason)
{
	(void)refused(n, &n->offer.manifest, result, reason);
	post(n, NODE_EV_BAD);
}

static uint64_t bytes_before(const struct node *n, size_t image)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < image; i++)
		sum += n->offer.images[i].bytes;
	return sum;
}

static int on_block(void *ctx, uint64_t off, struct span data, uint64_t total, const struct coap_etag *etag)
{
	struct node *n = ctx;
	const struct node_image *img = &n->offer.images[n->image];

	if (off + data.n > img->bytes || (total && total != img->bytes))
		return -EFBIG;                 /* SU-19: stop at the size the manifest gives */
	int r = node_part_write(&n->store, &img->digest, off, data);
	if (r < 0)
		return r == -ENOSPC || r == -EDQUOT ? -ENOSPC : -EIO;
	n->received_bytes = bytes_before(n, n->image) + off + data.n;
	node_machine_progress(&n->machine, mono_now());
	tell(n);
	if (node_machine_draw_crash(&n->machine)) {
		post(n, NODE_EV_CRASH);
		return -ECANCELED;
	}
	if (node_machine_is_tired(&n->machine, mono_now()) && off + data.n < img->bytes) {
		post(n, NODE_EV_NONE);
		return -ECANCELED;
	}
	return 0;
}

/* The image is whole: is it what the manifest says? If not, and a part of it was from before, once more from the start. */
static bool image_is_good(struct node *n, const struct node_image *img)
{
	struct digest d;
	uint64_t bytes;

	if (node_part_digest(&n->store, &img->digest, &d, &bytes) >= 0 && bytes == img->bytes && digest_eq(&d, &img->digest))
		return true;
	node_part_drop(&n->store, &img->digest);
	return false;
}

static void finish_image(struct node *n)
{
	const struct node_image *img = &n->offer.images[n->image];

	if (image_is_good(n, img)) {
		n->image++;
		pull_next(n);
	} else if (!n->is_retried[n->image]) {
		n->is_retried[n->image] = true;
		pull_next(n);
	} else {
		fail_image(n, NODE_RESULT_INTEGRITY, "image does not match its digest");
	}
}

static void on_image(void *ctx, const struct coap_call_result *res)
{
	struct node *n = ctx;
	int out = outcome_of(res);

	n->call = NULL;
	if (n->has_event)
		return;                        /* a block already told what happens */
	if (res->error == -EFBIG)
		fail_image(n, NODE_RESULT_INTEGRITY, "image is larger than the manifest says");
	else if (res->error == -ENOSPC)
		fail_image(n, 2, "no room for the image");
	else if (res->error == -EIO)
		fail_image(n, NODE_RESULT_FAILED, "cannot write to flash");
	else if (out == OUTCOME_NOTHING)
		finish_image(n);
	else
		post(n, out == NODE_EV_DENIED ? NODE_EV_GONE : (enum node_event)out);
}

static void fetch_image(struct node *n, const struct node_image *img, uint64_t from)
{
	char hex[DIGEST_HEX_BYTES], path[PATH_BYTES + DIGEST_HEX_BYTES + 1], ep[QUERY_BYTES];
	const char *const query[] = { ep_query(n, ep), NULL };
	bool by_proxy = n->setup.by_proxy_uri && img->uri[0];
	struct coap_call_request req = {
		.method = COAP_M_GET, .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE, .szx = n->setup.szx, .from = from, .block = on_block,
	};

	if (by_proxy) {
		req.proxy_uri = img->uri;
	} else {
		(void)snprintf(path, sizeof(path), "%s/%s", n->image_path, digest_hex(&img->digest, hex)); /* fits */
		req.path = path;
		req.query = query;
	}
	if (from)
		n->n_resumes++;
	start_call(n, &req, on_image, &n->call);
}

/* An image inside the envelope is there already; one of no bytes too. */
static bool store_at_once(struct node *n, const struct node_image *img)
{
	if (!img->is_integrated && img->bytes > 0)
		return false;
	if ((img->is_integrated && img->integrated.n != img->bytes) ||
	    node_part_write(&n->store, &img->digest, 0, img->integrated) < 0)
		fail_image(n, NODE_RESULT_INTEGRITY, "integrated image is not of the size the manifest gives");
	else if (!image_is_good(n, img))
		fail_image(n, NODE_RESULT_INTEGRITY, "image does not match its digest");
	else
		return true;
	return false;
}

static void pull_next(struct node *n)
{
	while (n->image < n->offer.n_images) {
		const struct node_image *img = &n->offer.images[n->image];
		uint64_t have = node_part_bytes(&n->store, &img->digest);

		n->received_bytes = bytes_before(n, n->image) + have;
		if (!store_at_once(n, img)) {
			if (n->has_event)
				return;
			if (have == img->bytes)
				finish_image(n);
			else
				fetch_image(n, img, have > img->bytes ? 0 : have & ~(uint64_t)((16u << n->setup.szx) - 1));
			return;
		}
		n->image++;
	}
	n->received_bytes = n->offer.total_bytes;
	post(n, NODE_EV_OK);
}

static void do_pull(struct node *n)
{
	struct digest keep[NODE_IMAGES_MAX];

	if (!n->has_offer) {                   /* cannot be: PULL is entered from an offer; ask again all the same */
		post(n, NODE_EV_GONE);
		return;
	}
	for (size_t i = 0; i < n->offer.n_images; i++)
		keep[i] = n->offer.images[i].digest;
	node_parts_sweep(&n->store, keep, n->offer.n_images);
	if (n->multicast)
		take_object(n);
	n->image = 0;
	pull_next(n);
}

/* The accepted envelope from before the restart, judged again: flash is not trusted either. */
static bool recall_offer(struct node *n)
{
	_cleanup_buf_ struct buf envelope = { 0 };
	char reason[NODE_REASON_BYTES];
	struct node_offer o;
	unsigned result;

	if (n->has_offer)
		return true;
	if (node_store_get_envelope(&n->store, &envelope) < 0 ||
	    node_offer_judge(n->setup.trust, n->setup.mac_key, &n->durable, buf_span(&envelope), wall_now(), &o, &result, reason) != NODE_ACCEPTS)
		return false;
	forget_offer(n);
	n->offer = o;
	n->has_offer = digest_eq(&o.manifest, &n->durable.offer);
	n->received_bytes = o.total_bytes;
	return n->has_offer;
}

static void do_report_downloaded(struct node *n)
{
	(void)recall_offer(n); /* for the number of bytes; installing will miss it */
	report(n, &n->durable.offer, 2, 0, "");
}

static void do_install(struct node *n)
{
	if (!recall_offer(n)) {
		(void)refused(n, &n->durable.offer, NODE_RESULT_FAILED, "the accepted envelope is gone");
		post(n, NODE_EV_BAD);
		return;
	}
	for (size_t i = 0; i < n->offer.n_images; i++) {
		if (node_part_install(&n->store, &n->offer.images[i].digest, n->offer.images[i].component) < 0) {
			fail_image(n, NODE_RESULT_FAILED, "cannot install: the image on flash is damaged");
			return;
		}
	}
	post(n, NODE_EV_OK);
}

/* --- multicast --------------------------------------------------------------------------------- */

static bool has_image(const struct node *n, const struct digest *image, uint64_t bytes)
{
	for (size_t i = 0; i < n->offer.n_images && n->has_offer; i++)
		if (digest_eq(&n->offer.images[i].digest, image) && n->offer.images[i].bytes == bytes)
			return true;
	return false;
}

static int host_call(void *ctx, const struct coap_call_request *req, coap_call_fn *fn, void *arg, struct coap_call **ret)
{
	struct node *n = ctx;
	int r = open_session(n);

	return r < 0 ? r : coap_call(n->session, req, fn, arg, ret);
}

static enum node_event host_judge(void *ctx, struct span envelope, const struct digest *object, uint64_t bytes)
{
	struct node *n = ctx;
	enum node_event ev = judge_offer(n, envelope);

	if (ev != NODE_EV_OFFER || has_image(n, object, bytes))
		return ev;
	return refused(n, &n->offer.manifest, NODE_RESULT_INTEGRITY, "the multicast object is no image of its manifest");
}

static bool host_recall(void *ctx, const struct digest *object, uint64_t bytes)
{
	struct node *n = ctx;

	return n->machine.phase == NODE_LISTENING && recall_offer(n) && has_image(n, object, bytes);
}

static bool host_is_free(void *ctx)
{
	const struct node *n = ctx;

	return n->machine.phase == NODE_IDLE || n->machine.phase == NODE_LISTENING;
}

static void host_post(void *ctx, enum node_event ev)
{
	struct node *n = ctx;
	enum node_state s = n->machine.state;

	if (ev == NODE_EV_INVITED ? node_machine_invite(&n->machine) : s == NODE_JOIN || s == NODE_LISTEN)
		post(n, ev);
}

static void host_progress(void *ctx)
{
	struct node *n = ctx;

	tell(n);
	if (node_machine_draw_crash(&n->machine))
		post(n, NODE_EV_CRASH);
}

static int host_save(void *ctx)
{
	struct node *n = ctx;

	return node_store_save(&n->store, &n->durable);
}

static void multicast_new(struct node *n, struct loop *l)
{
	const struct node_setup *s = &n->setup;
	const struct mcast_node_host host = {
		.ctx = n, .name = s->name, .interface = s->multicast, .szx = s->szx, .seed = s->plan.seed, .loss = s->multicast_loss,
		.listens_idle = s->plan.sleep_ms == 0, .call = host_call, .judge = host_judge, .recall = host_recall, .is_free = host_is_free,
		.post = host_post, .progress = host_progress, .save = host_save,
	};

	n->multicast = mcast_node_new(l, &host);
}

static void do_join(struct node *n) { mcast_node_join(n->multicast); }
/* With the offers in view: one that comes meanwhile, and a gateway that forgot us, would not be noticed otherwise. */
static void do_listen(struct node *n)
{
	mcast_node_listen(n->multicast);
	if (!n->watch && n->setup.plan.sleep_ms == 0)
		do_check(n);
}

/* The object becomes the image it is; pulling finds it there, checks it, and fetches what else there may be. */
static void take_object(struct node *n)
{
	struct digest image;
	struct span object = mcast_node_object(n->multicast, &image);

	if (object.n > 0 && has_image(n, &image, object.n) && node_part_bytes(&n->store, &image) != object.n)
		(void)node_part_write(&n->store, &image, 0, object); /* else it is fetched */
}

/* --- life -------------------------------------------------------------------------------------- */

static void load(struct node *n)
{
	if (n->multicast)
		mcast_node_off(n->multicast);
	node_store_close(&n->store);
	if (node_store_open(&n->store, n->setup.dir, n->setup.start_sequence, &n->durable) < 0)
		log_line(LOG_ERR, "%s: %s: %m", n->setup.name, n->setup.dir);
	else if (n->multicast && mcast_node_on(n->multicast, n->store.dirfd, &n->durable) < 0)
		log_line(LOG_ERR, "%s: %s: no multicast: %m", n->setup.name, n->setup.dir);
}

/* No power: everything volatile is gone, the directory is read again. */
static void do_off(struct node *n)
{
	close_shop(n);
	forget_offer(n);
	n->location[0] = '\0';
	load(n);
}

static void do_nothing(struct node *n)
{
}

static void (*const actions[NODE_STATE_COUNT])(struct node *n) = {
	[NODE_OFF] = do_off,
	[NODE_DISCOVER] = do_discover,
	[NODE_REGISTER] = do_register,
	[NODE_REFRESH] = do_refresh,
	[NODE_CHECK] = do_check,
	[NODE_REPORT_DOWNLOADING] = do_report_downloading,
	[NODE_PULL] = do_pull,
	[NODE_REPORT_DOWNLOADED] = do_report_downloaded,
	[NODE_INSTALL] = do_install,
	[NODE_REPORT_UPDATING] = do_report_updating,
	[NODE_REBOOT] = do_off,
	[NODE_REPORT_SUCCESS] = do_report_success,
	[NODE_REPORT_FAILURE] = do_report_failure,
	[NODE_WATCH] = do_nothing,
	[NODE_SLEEP] = close_shop,
	[NODE_PAUSE] = close_shop,
	[NODE_JOIN] = do_join,
	[NODE_LISTEN] = do_listen,
	[NODE_DONE] = close_shop,
};

/* What a phase means for what is written down. */
static void enter_phase(struct node *n, enum node_phase phase)
{
	struct node_durable *d = &n->durable;

	d->phase = phase;
	if (phase == NODE_INSTALLED) {
		d->has_installed = true;
		d->installed = n->offer.manifest;
		d->sequence = n->offer.sequence;
		(void)snprintf(d->version, sizeof(d->version), "%s", n->offer.version); /* same size */
	}
}

static int save_phase(struct node *n, enum node_phase phase)
{
	enter_phase(n, phase);
	int r = node_store_save(&n->store, &n->durable);
	if (r < 0) {
		log_line(LOG_ERR, "%s: cannot write its state: %s", n->setup.name, strerror(-r));
		return r;
	}
	if (phase == NODE_IDLE)
		node_parts_sweep(&n->store, NULL, 0);
	if (phase == NODE_INSTALLED && n->multicast)
		mcast_node_consumed(n->multicast);
	return 0;
}

static void step(struct node *n, enum node_event ev)
{
	enum node_phase was = n->machine.phase;
	enum node_state from = n->machine.state;

	if (!node_machine_step(&n->machine, ev, mono_now()))
		return;
	log_line(LOG_DEBUG, "%s: %s, %s: %s", n->setup.name, node_state_name(from), node_event_name(ev), node_state_name(n->machine.state));
	if (n->machine.phase != was && save_phase(n, n->machine.phase) < 0) {
		n->machine.phase = was;        /* not written, so it did not happen: like a lost power */
		(void)node_machine_step(&n->machine, NODE_EV_CRASH, mono_now());
	}
	if (n->call)
		coap_call_cancel(n->call);
	n->call = NULL;
	actions[n->machine.state](n);
	tell(n);
}

static void arm(struct node *n)
{
	if (n->has_event) {
		loop_timer_set(n->timer, 0);
	} else if (n->machine.has_timer) {
		int64_t in = mono_diff_ms(n->machine.timer_at, mono_now());
		loop_timer_set(n->timer, in > 0 ? in : 0);
	} else {
		loop_timer_set(n->timer, -1);
	}
}

static void on_timer(void *ctx)
{
	struct node *n = ctx;

	if (n->has_event) {
		n->has_event = false;
		step(n, n->event);
	} else if (n->machine.has_timer && !mono_before(mono_now(), n->machine.timer_at)) {
		step(n, NODE_EV_TIMER);
	}
	arm(n);
}

int node_new(struct loop *l, struct coap_client *client, const struct node_setup *setup, node_changed_fn *changed, void *ctx,
	     struct node **ret)
{
	struct node *n = NEW(struct node);

	n->setup = *setup;
	n->setup.dir = mem_strdup(setup->dir);
	n->client = client;
	n->changed = changed;
	n->changed_ctx = ctx;
	n->store.dirfd = -1;
	n->timer = loop_timer_new(l, on_timer, n);
	if (setup->multicast)
		multicast_new(n, l);
	int r = node_store_open(&n->store, n->setup.dir, setup->start_sequence, &n->durable);
	if (r >= 0 && n->multicast)
		r = mcast_node_on(n->multicast, n->store.dirfd, &n->durable);
	if (r < 0) {
		node_free(n);
		return r;
	}
	node_machine_init(&n->machine, &setup->plan, n->durable.phase, mono_now(), setup->spread_ms);
	arm(n);
	*ret = n;
	return 0;
}

struct node *node_free(struct node *n)
{
	if (!n)
		return NULL;
	close_shop(n);
	forget_offer(n);
	mcast_node_free(n->multicast);
	node_store_close(&n->store);
	loop_timer_free(n->timer);
	free((char *)n->setup.dir);
	free(n);
	return NULL;
}

struct node_status node_status(const struct node *n)
{
	const struct node_machine *m = &n->machine;

	return (struct node_status){
		.name = n->setup.name, .state = m->state, .phase = m->phase, .sequence = n->durable.sequence,
		.received_bytes = n->received_bytes, .total_bytes = n->offer.total_bytes,
		.version = n->durable.version, .reason = n->last_reason, .result = n->last_result,
		.boots = m->n_boots, .wakes = m->n_wakes, .checks = m->n_checks, .updates = m->n_updates, .failures = m->n_failures,
		.crashes = m->n_crashes, .resumes = n->n_resumes,
	};
}

struct mcast_node_status node_multicast_status(struct node *n)
{
	return n->multicast ? mcast_node_status(n->multicast) : (struct mcast_node_status){ .phase = "off" };
}

void node_multicast_hear(struct node *n, struct span frame)
{
	if (n->multicast)
		mcast_node_hear(n->multicast, frame);
}
