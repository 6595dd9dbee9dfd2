#include "directory/rd_coap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "directory/rd_coap_internal.h"

enum {
	LOG_MS = 1000, FULL_LOG_MS = 60 * 1000,
	BUSY_MAX_AGE_S = 60, DISK_MAX_AGE_S = 10, DEFER_MAX_AGE_S = 1,
	EXPIRE_IDLE_MS = 60 * 1000,            /* also what the disk would not take is tried again then */
	SCOPE_LOOPBACK = UINT32_MAX,
};

/* An answer that waits for its commit. */
struct op {
	struct op *prev, *next;
	struct rd_coap *rd;                    /* NULL: closed meanwhile */
	struct coap_deferred *deferred;        /* NULL: answered already */
	uint8_t code;
	char location[REGISTRY_LOCATION_BYTES];        /* for 2.01 */
};

static struct registry_time rd_now(const struct rd_coap *rd)
{
	return rd->c.now ? rd->c.now(rd->c.now_ctx) : (struct registry_time){ mono_now(), wall_now() };
}

uint32_t rd_link_scope(const struct coap_peer *peer)
{
	return peer->is_loopback ? SCOPE_LOOPBACK : peer->is_link_local ? peer->link : 0;
}

/* ---- answers ---- */

static int refuse(struct coap_response *res, uint8_t code, int64_t max_age_s, const char *why)
{
	(void)coap_error(res, code, "%s", why); /* always 0 */
	res->max_age_s = max_age_s;
	return COAP_HANDLER_DONE;
}

static void set_location(const struct rd_coap *rd, const char *location, struct coap_response *res)
{
	const char *segment = rd->path;

	for (res->n_location = 0; res->n_location < rd->n_path; segment += strlen(segment) + 1)
		res->location[res->n_location++] = segment;
	res->location[res->n_location++] = location;
}

static void log_full(struct rd_coap *rd, const struct coap_request *req, const char *why)
{
	struct wall now = rd_now(rd).wall;

	if (now.ms - rd->full_at.ms < FULL_LOG_MS && now.ms >= rd->full_at.ms)
		return;
	rd->full_at = now;
	log_fields(EV_LIMIT_REACHED, LOG_WARNING, ({ "GW_PEER", req->peer.addr }), "a registration from %s was refused: %s", req->peer.addr, why);
}

static int answer_error(struct rd_coap *rd, const struct coap_request *req, int error, const char *why, struct coap_response *res)
{
	switch (error) {
	case -ENOENT:
		return refuse(res, COAP_404_NOT_FOUND, -1, why);
	case -EACCES:
		return refuse(res, COAP_403_FORBIDDEN, -1, why);
	case -EMSGSIZE:
		(void)refuse(res, COAP_413_TOO_LARGE, -1, why); /* Size1 follows */
		res->size1 = rd->c.max_links_bytes ? (int64_t)rd->c.max_links_bytes : -1;
		return COAP_HANDLER_DONE;
	case -E2BIG:
		return refuse(res, COAP_413_TOO_LARGE, -1, why);
	case -EDQUOT:
		log_full(rd, req, why);
		return refuse(res, COAP_429_TOO_MANY, BUSY_MAX_AGE_S, why);
	case -ENOSPC:
	case -ENOMEM:
		log_full(rd, req, why);
		return refuse(res, COAP_503_UNAVAILABLE, BUSY_MAX_AGE_S, why);
	default:
		return refuse(res, COAP_400_BAD_REQUEST, -1, why);
	}
}

static void fill(const struct rd_coap *rd, uint8_t code, const char *location, struct coap_response *res)
{
	res->code = code;
	if (code == COAP_201_CREATED)
		set_location(rd, location, res);
}

static void op_free(struct op *op)
{
	if (op->rd)
		DL_DELETE(op->rd->ops, op);
	free(op);
}

static void op_answer(struct op *op, int error)
{
	struct coap_response res;

	coap_response_init(&res);
	if (error < 0)
		(void)refuse(&res, COAP_503_UNAVAILABLE, DISK_MAX_AGE_S, "not stored"); /* always done */
	else
		fill(op->rd, op->code, op->location, &res);
	coap_deferred_respond(TAKE(op->deferred), &res);
}

static void op_done(void *ctx, int error)
{
	struct op *op = ctx;

	if (op->deferred)
		op_answer(op, error);
	op_free(op);
}

/* NULL: the answer need not wait. */
static struct op *op_new(struct rd_coap *rd, uint8_t code)
{
	if (!rd->c.durable || !rd->c.db || !rd->c.endpoint)
		return NULL;
	struct op *op = NEW(struct op);
	op->rd = rd;
	op->code = code;
	DL_APPEND(rd->ops, op);
	return op;
}

/* The change is made: answer now, or when it is on disk. */
static int answer(struct rd_coap *rd, const struct coap_request *req, struct op *op, uint8_t code, const char *location,
		  struct coap_response *res)
{
	metric_add(METRIC_REGISTRATIONS, code != COAP_202_DELETED);
	if (!op) {
		fill(rd, code, location, res);
		return COAP_HANDLER_DONE;
	}
	if (location)
		memcpy(op->location, location, sizeof(op->location));
	op->deferred = coap_defer(rd->c.endpoint, req);
	if (!op->deferred)
		return refuse(res, COAP_503_UNAVAILABLE, DEFER_MAX_AGE_S, "too many requests wait");
	return COAP_HANDLER_LATER;
}

/* ---- who may ---- */

int rd_refuse(struct rd_coap *rd, const struct coap_request *req, enum rd_access what, struct coap_response *res)
{
	unsigned wanted = what == RD_REGISTER ? ROLE_DEVICE | ROLE_ADMIN : ROLE_DEVICE | ROLE_ADMIN | ROLE_VIEWER;
	struct wall now = rd_now(rd).wall;
	uint8_t code = 0;

	if (req->peer.secure)
		code = devices_roles(rd->c.devices, req->peer.identity) & wanted ? 0 : COAP_403_FORBIDDEN;
	else if (!devices_may_plain(rd->c.devices, &req->peer))
		code = COAP_401_UNAUTHORIZED;
	if (!code)
		return 0;
	(void)refuse(res, code, -1, req->peer.secure ? "this credential may not" : "use coaps with a credential"); /* always done */
	if (now.ms - rd->refused_at.ms >= LOG_MS || now.ms < rd->refused_at.ms) {
		rd->refused_at = now;
		log_fields(EV_AUTH_REFUSED, LOG_NOTICE, ({ "GW_PEER", req->peer.addr }), "%s may not %s the directory", req->peer.addr,
			   what == RD_REGISTER ? "register with" : "search");
	}
	return code;
}

/* ---- what a request says ---- */

struct parsed {
	struct registry_request r;
	struct span attributes[COAP_QUERY_MAX];
	char base[sizeof("coaps://") + COAP_ADDR_TEXT_BYTES];
};

static int take_lifetime(struct span value, struct registry_request *r)
{
	uint64_t v;

	if (text_parse_u64(value, UINT32_MAX, &v, TEXT_LEADING_ZEROS) < 0 || !v)
		return -EINVAL;
	r->has_lifetime = true;
	r->lifetime_s = (uint32_t)v;
	return 0;
}

/* scheme://address of the request, the port left out when it is the scheme's own (RD-25). */
static void implied_base(const struct coap_peer *peer, struct parsed *p)
{
	const char *own = peer->secure ? ":5684" : ":5683";
	size_t n = strlen(peer->addr), n_own = strlen(own);

	if (n > n_own && strcmp(peer->addr + n - n_own, own) == 0)
		n -= n_own;
	(void)snprintf(p->base, sizeof(p->base), "%s://%.*s", peer->secure ? "coaps" : "coap", (int)n, peer->addr); /* fits */
	p->r.implied_base = span_str(p->base);
}

/* NULL, or what is wrong. */
static const char *parse_query(const struct coap_request *req, bool is_update, struct parsed *p)
{
	unsigned seen = 0;

	*p = (struct parsed){ .r = { .links = req->body, .owner = req->peer.identity, .link_scope = rd_link_scope(&req->peer) } };
	for (size_t i = 0; i < req->n_query; i++) {
		static const char *const own[] = { "ep", "d", "lt", "base" };
		struct span name = req->query[i], value = SPAN_NONE;
		unsigned which = 0;
		(void)registration_attribute_cut(req->query[i], &name, &value); /* without "=" it is a name alone */
		while (which < 4 && !span_eq_str(name, own[which]))
			which++;
		if (which == 4) {
			p->attributes[p->r.n_attributes++] = req->query[i];
			continue;
		}
		if (seen & 1u << which)
			return "ep, d, lt and base may be given once";
		seen |= 1u << which;
		if (is_update && which < 2)
			return "ep and d cannot change";
		if (which == 0)
			p->r.endpoint = value;
		else if (which == 1)
			p->r.sector = value;
		else if (which == 2 && take_lifetime(value, &p->r) < 0)
			return "lt: 1 to 4294967295 seconds";
		else if (which == 3 && !(p->r.base = value).n)
			return "base: empty";
	}
	p->r.attributes = p->attributes;
	implied_base(&req->peer, p);
	return NULL;
}

/* ---- register, update, remove, read ---- */

static void arm_expire(struct rd_coap *rd, const struct registration *reg)
{
	if (!rd->expire || (loop_timer_armed(rd->expire) && !mono_before(registration_deadline(reg), rd->expire_at)))
		return;
	int64_t wait_ms = mono_diff_ms(registration_deadline(reg), rd_now(rd).mono);
	rd->expire_at = registration_deadline(reg);
	loop_timer_set(rd->expire, wait_ms > 0 ? wait_ms : 0);
}

static void heard(struct rd_coap *rd, const struct coap_request *req, const struct registration *reg, const struct parsed *p,
		  struct registry_time now)
{
	char device[DEVICE_ID_BYTES];
	struct device_claim claim;
	const char *why;

	/* Who may update a registration does not speak for its device yet: an operator, or anybody where it was plain. */
	if (devices_tie(rd->c.devices, &req->peer, registration_endpoint(reg), registration_sector(reg), device, &why) != 0 ||
	    strcmp(device, registration_device(reg)) != 0)
		return;
	device_claim_parse(p->r.attributes, p->r.n_attributes, &claim);
	claim.device = device;
	claim.endpoint = registration_endpoint(reg);
	(void)devices_claim(rd->c.devices, &req->peer, &claim, now.wall); /* NULL: a registration without a device, that is fine */
}

static int do_register(struct rd_coap *rd, const struct coap_request *req, struct coap_response *res)
{
	struct registry_time now = rd_now(rd);
	char device[DEVICE_ID_BYTES];
	struct registry_result result;
	struct parsed p;

	const char *why = parse_query(req, false, &p);
	if (why)
		return refuse(res, COAP_400_BAD_REQUEST, -1, why);
	if (req->body.n && req->content_format != COAP_CF_LINK)
		return refuse(res, COAP_415_FORMAT, -1, "links come as application/link-format, 40");
	int r = devices_tie(rd->c.devices, &req->peer, p.r.endpoint, p.r.sector, device, &why);
	if (r)
		return refuse(res, (uint8_t)r, -1, why);
	if (!p.r.endpoint.n) /* the credential names it (RD-23) */
		p.r.endpoint = span_str(device);
	p.r.device = device;
	struct op *op = op_new(rd, COAP_201_CREATED);
	r = registry_register(rd->c.registry, &p.r, now, op ? op_done : NULL, op, &result);
	if (r < 0) {
		if (op)
			op_free(op);
		return answer_error(rd, req, r, result.why, res);
	}
	heard(rd, req, result.registration, &p, now);
	arm_expire(rd, result.registration);
	return answer(rd, req, op, COAP_201_CREATED, registration_location(result.registration), res);
}

static int do_update(struct rd_coap *rd, const struct coap_request *req, struct span location, struct coap_response *res)
{
	struct registry_time now = rd_now(rd);
	struct registry_result result;
	struct parsed p;

	if (!registry_get_hidden_too(rd->c.registry, location))
		return refuse(res, COAP_404_NOT_FOUND, -1, "no such registration");
	const char *why = parse_query(req, true, &p);
	if (!why && req->body.n)
		why = "an update has no body; register again to change the links";
	if (why)
		return refuse(res, COAP_400_BAD_REQUEST, -1, why);
	struct op *op = op_new(rd, COAP_204_CHANGED);
	int r = registry_update(rd->c.registry, location, &p.r, now, op ? op_done : NULL, op, &result);
	if (r < 0) {
		if (op)
			op_free(op);
		return answer_error(rd, req, r, result.why, res);
	}
	heard(rd, req, result.registration, &p, now);
	arm_expire(rd, result.registration);
	return answer(rd, req, op, COAP_204_CHANGED, NULL, res);
}

static int do_remove(struct rd_coap *rd, const struct coap_request *req, struct span location, struct coap_response *res)
{
	struct op *op = op_new(rd, COAP_202_DELETED);
	int r = registry_remove(rd->c.registry, location, req->peer.identity, op ? op_done : NULL, op);

	if (r >= 0)
		return answer(rd, req, op, COAP_202_DELETED, NULL, res);
	if (op)
		op_free(op);
	return answer_error(rd, req, r, r == -ENOENT ? "no such registration" : "this registration belongs to another credential", res);
}

static int do_read(struct rd_coap *rd, const struct coap_request *req, struct span location, struct coap_response *res)
{
	const struct registration *reg = registry_get(rd->c.registry, location);

	if (!reg || (registration_is_link_local(reg) && registration_link_scope(reg) != rd_link_scope(&req->peer)))
		return refuse(res, COAP_404_NOT_FOUND, -1, "no such registration");
	if (req->accept != COAP_CF_NONE && req->accept != COAP_CF_LINK)
		return refuse(res, COAP_406_NOT_ACCEPTABLE, -1, "there is application/link-format, 40, only");
	res->code = COAP_205_CONTENT;
	res->content_format = COAP_CF_LINK;
	buf_add(&res->body, registration_links(reg));
	res->etag = coap_etag_of(buf_span(&res->body));
	return COAP_HANDLER_DONE;
}

static int dispatch(struct rd_coap *rd, const struct coap_request *req, struct coap_response *res)
{
	bool has_location = req->n_path == rd->n_path + 1;
	struct span location = has_location ? req->path[rd->n_path] : SPAN_NONE;

	if (req->n_path > rd->n_path + 1 || (has_location && !location.n))
		return refuse(res, COAP_404_NOT_FOUND, -1, "no such registration");
	if (req->method == COAP_M_POST)
		return has_location ? do_update(rd, req, location, res) : do_register(rd, req, res);
	if (req->method == COAP_M_DELETE && has_location)
		return do_remove(rd, req, location, res);
	if (req->method == COAP_M_GET && has_location)
		return do_read(rd, req, location, res);
	return refuse(res, COAP_405_METHOD, -1, "POST registers; search the lookup resources");
}

int rd_coap_directory(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct rd_coap *rd = ctx;

	if (rd_refuse(rd, req, req->method == COAP_M_GET ? RD_LOOKUP : RD_REGISTER, res))
		return COAP_HANDLER_DONE;
	if (rd->c.freshness_s && rd->c.endpoint && req->method != COAP_M_GET && !coap_endpoint_fresh(rd->c.endpoint, req, rd->c.freshness_s, res))
		return COAP_HANDLER_DONE;
	if (rd->c.db)
		db_begin(rd->c.db);
	int r = dispatch(rd, req, res);
	if (rd->c.db)
		db_end(rd->c.db);
	return r;
}

/* ---- what follows from a change ---- */

static void log_change(const struct registration *reg, enum registry_change what)
{
	static const struct {
		enum event_id event;
		int priority;
		const char *text;
	} rows[] = {
		[REGISTRY_ADDED] = { EV_ENDPOINT_REGISTERED, LOG_INFO, "registered" },
		[REGISTRY_CHANGED] = { EV_ENDPOINT_REGISTERED, LOG_DEBUG, "changed its registration" },
		[REGISTRY_REFRESHED] = { EV_ENDPOINT_REGISTERED, LOG_DEBUG, "refreshed its registration" },
		[REGISTRY_EXPIRED] = { EV_ENDPOINT_EXPIRED, LOG_INFO, "did not refresh its registration in time" },
		[REGISTRY_REMOVED] = { EV_ENDPOINT_REMOVED, LOG_INFO, "was removed" },
	};
	_cleanup_buf_ struct buf name = { 0 };

	if (what == REGISTRY_REFRESHED)
		return; /* nothing an operator waits for, and by far the most frequent */
	text_add_escaped(&name, registration_endpoint(reg), REGISTRY_NAME_BYTES_MAX);
	log_fields(rows[what].event, rows[what].priority, ({ "GW_ENDPOINT", buf_str(&name) }, { "GW_DEVICE", registration_device(reg) }),
		   "endpoint %s %s", buf_str(&name), rows[what].text);
}

static void on_change(void *ctx, const struct registration *reg, enum registry_change what)
{
	struct rd_coap *rd = ctx;

	metric_set(METRIC_ENDPOINTS, (int64_t)registry_counts(rd->c.registry).n_endpoints);
	log_change(reg, what);
	if (rd->c.changed)
		rd->c.changed(rd->c.changed_ctx, reg, what);
	if (!rd->c.endpoint || what == REGISTRY_REFRESHED)
		return;
	coap_endpoint_changed(rd->c.endpoint, rd->c.lookup_ep_path);
	coap_endpoint_changed(rd->c.endpoint, rd->c.lookup_res_path);
}

static void on_expire(void *ctx)
{
	struct rd_coap *rd = ctx;
	struct registry_time now = rd_now(rd);
	int64_t wait_ms = registry_expire(rd->c.registry, now), again_ms = devices_save_again(rd->c.devices);

	if (again_ms >= 0 && (wait_ms < 0 || wait_ms > again_ms))
		wait_ms = again_ms;
	if (wait_ms < 0 || wait_ms > EXPIRE_IDLE_MS)
		wait_ms = EXPIRE_IDLE_MS;
	rd->expire_at = mono_add_ms(now.mono, wait_ms);
	loop_timer_set(rd->expire, wait_ms);
}

/* ---- start and stop ---- */

static int split_path(struct rd_coap *rd)
{
	rd->path = mem_strdup(rd->c.path);
	rd->n_path = 1;
	for (char *p = rd->path; *p; p++)
		if (*p == '/') {
			*p = 0;
			rd->n_path++;
		}
	return rd->path[0] && rd->n_path < COAP_LOCATION_MAX ? 0 : -EINVAL;
}

static int add_routes(struct rd_coap *rd)
{
	const struct coap_route routes[] = {
		{ .path = rd->c.path, .is_prefix = true, .methods = 1u << COAP_M_POST | 1u << COAP_M_DELETE | 1u << COAP_M_GET,
		  .attributes = "rt=\"core.rd\";ct=40", .body_max = rd->c.max_links_bytes, .fn = rd_coap_directory, .ctx = rd },
		{ .path = rd->c.lookup_ep_path, .methods = 1u << COAP_M_GET, .attributes = "rt=\"core.rd-lookup-ep\";ct=40;obs",
		  .observable = true, .fn = rd_coap_lookup_ep, .ctx = rd },
		{ .path = rd->c.lookup_res_path, .methods = 1u << COAP_M_GET, .attributes = "rt=\"core.rd-lookup-res\";ct=40;obs",
		  .observable = true, .fn = rd_coap_lookup_res, .ctx = rd },
	};

	for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++) {
		int r = coap_endpoint_add(rd->c.endpoint, &routes[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

int rd_coap_open(const struct rd_coap_config *c, struct rd_coap **ret)
{
	struct rd_coap *rd = NEW(struct rd_coap);

	rd->c = *c;
	rd->c.lookup_ep_path = mem_strdup(c->lookup_ep_path);
	rd->c.lookup_res_path = mem_strdup(c->lookup_res_path);
	rd->c.path = mem_strdup(c->path);
	rd->results = rd_results_new(rd);
	int r = split_path(rd);
	if (r >= 0 && c->endpoint)
		r = add_routes(rd);
	if (r < 0) {
		rd_coap_close(rd);
		return r;
	}
	registry_set_changed(c->registry, on_change, rd);
	metric_set(METRIC_ENDPOINTS, (int64_t)registry_counts(c->registry).n_endpoints);
	if (c->loop) {
		rd->expire = loop_timer_new(c->loop, on_expire, rd);
		loop_timer_set(rd->expire, 0);
	}
	*ret = rd;
	return 0;
}

struct rd_coap *rd_coap_close(struct rd_coap *rd)
{
	struct op *op, *tmp;

	if (!rd)
		return NULL;
	if (rd->expire)
		loop_timer_free(rd->expire);
	registry_set_changed(rd->c.registry, NULL, NULL);
	DL_FOREACH_SAFE(rd->ops, op, tmp) {
		if (op->deferred)
			op_answer(op, -ECANCELED);
		DL_DELETE(rd->ops, op);
		op->rd = NULL; /* its commit frees it */
	}
	rd->results = rd_results_free(rd->results);
	free((char *)(uintptr_t)rd->c.path);
	free((char *)(uintptr_t)rd->c.lookup_ep_path);
	free((char *)(uintptr_t)rd->c.lookup_res_path);
	free(rd->path);
	free(rd);
	return NULL;
}

void rd_coap_set(struct rd_coap *rd, bool durable, uint64_t max_links_bytes, uint32_t freshness_s)
{
	rd->c.freshness_s = freshness_s;
	rd->c.durable = durable;
	rd->c.max_links_bytes = max_links_bytes;
}
