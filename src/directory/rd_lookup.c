/* The lookup resources: answers are kept while they hold, so that many who ask the same, and observers of what did
 * not change, cost one search; a search over many registrations runs in slices between which the loop turns. */
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/mem.h"
#include "directory/map.h"
#include "directory/rd_coap_internal.h"

enum {
	RESULTS_MAX = 256, RESULTS_BYTES_MAX = 32 * 1024 * 1024,
	SEARCHES_MAX = 16, WAITERS_MAX = 64,   /* sliced searches at a time; requests waiting for one */
	RETRY_S = 1,
};

/* One answer kept. */
struct result {
	UT_hash_handle hh;
	struct result *prev, *next;            /* least recently used first */
	uint64_t stamp;
	struct buf body;
	struct coap_etag etag;
	struct span key;                       /* owned */
};

/* One search in slices. */
struct search {
	struct search *prev, *next;
	struct results *rs;
	struct loop_timer *timer;
	struct lookup *lookup;
	struct lookup_query query;             /* borrows key */
	struct span key;                       /* owned */
	uint64_t stamp;
	struct buf body;
	struct coap_deferred *waiters[WAITERS_MAX];
	size_t n_waiters;
	bool is_observed;                      /* tell observers when done */
};

struct results {
	struct rd_coap *rd;
	struct result *by_key, *lru;
	size_t n, bytes;
	struct search *searches;
	size_t n_searches;
};

/* ---- keys: kind, link, and the query options, so that the query can be read from its key again ---- */

static struct span key_of(enum lookup_kind kind, uint32_t scope, const struct coap_request *req)
{
	struct buf b = { 0 };
	size_t n;

	buf_add_u8(&b, (uint8_t)kind);
	buf_add_be(&b, scope, 4);
	for (size_t i = 0; i < req->n_query; i++) {
		buf_add_u8(&b, (uint8_t)req->query[i].n); /* at most 255 */
		buf_add(&b, span_sub(req->query[i], 0, UINT8_MAX));
	}
	const uint8_t *p = buf_take(&b, &n);
	return SPAN(p, n);
}

static void key_free(struct span key)
{
	free((uint8_t *)(uintptr_t)key.p);
}

static struct span key_dup(struct span key)
{
	return SPAN(mem_strndup(key), key.n);
}

static int key_query(const struct rd_coap *rd, struct span key, struct lookup_query *ret, const char **why)
{
	struct span options[COAP_QUERY_MAX];
	uint32_t scope = 0;
	size_t n = 0;

	for (size_t i = 1; i < 5; i++)
		scope = scope << 8 | key.p[i];
	for (size_t at = 5; at < key.n && n < COAP_QUERY_MAX; at += 1 + options[n++].n)
		options[n] = span_sub(key, at + 1, key.p[at]);
	return lookup_query_parse((enum lookup_kind)key.p[0], rd->c.path, scope, options, n, ret, why);
}

/* ---- answers kept ---- */

static void result_drop(struct results *rs, struct result *r)
{
	HASH_DEL(rs->by_key, r);
	DL_DELETE(rs->lru, r);
	rs->n--;
	rs->bytes -= r->body.n;
	buf_done(&r->body);
	key_free(r->key);
	free(r);
}

static struct result *result_find(struct results *rs, struct span key)
{
	struct result *r;

	HASH_FIND(hh, rs->by_key, key.p, key.n, r);
	if (r) {
		DL_DELETE(rs->lru, r);
		DL_APPEND(rs->lru, r);
	}
	return r;
}

/* Takes body. The result stays at least until the next put. */
static const struct result *result_put(struct results *rs, struct span key, uint64_t stamp, struct buf *body)
{
	struct result *r = result_find(rs, key);

	if (r)
		result_drop(rs, r);
	while (rs->n && (rs->n >= RESULTS_MAX || rs->bytes + body->n > RESULTS_BYTES_MAX))
		result_drop(rs, rs->lru);
	r = NEW(struct result);
	r->key = key_dup(key);
	r->stamp = stamp;
	r->body = *body;
	*body = (struct buf){ 0 };
	r->etag = coap_etag_of(buf_span(&r->body));
	HASH_ADD_KEYPTR(hh, rs->by_key, r->key.p, r->key.n, r);
	DL_APPEND(rs->lru, r);
	rs->n++;
	rs->bytes += r->body.n;
	return r;
}

static int give(const struct result *r, struct coap_response *res)
{
	res->code = COAP_205_CONTENT; /* also when nothing matches (RD-61) */
	res->content_format = COAP_CF_LINK;
	res->etag = r->etag;
	buf_add(&res->body, buf_span(&r->body));
	return COAP_HANDLER_DONE;
}

static int refuse_size(struct coap_response *res)
{
	return coap_error(res, COAP_400_BAD_REQUEST, "over %d bytes match: ask for pages with count and page", LOOKUP_BYTES_MAX);
}

static int refuse_busy(struct coap_response *res)
{
	(void)coap_error(res, COAP_503_UNAVAILABLE, "too many searches"); /* always 0 */
	res->max_age_s = RETRY_S;
	return COAP_HANDLER_DONE;
}

/* ---- searches in slices ---- */

static void search_end(struct search *s, const struct result *r, bool is_closing)
{
	struct results *rs = s->rs;

	DL_DELETE(rs->searches, s);
	rs->n_searches--;
	for (size_t i = 0; i < s->n_waiters; i++) {
		struct coap_response res;
		coap_response_init(&res);
		if (r)
			(void)give(r, &res); /* always done */
		else if (is_closing)
			(void)refuse_busy(&res);
		else
			(void)refuse_size(&res);
		coap_deferred_respond(s->waiters[i], &res);
	}
	if (r && s->is_observed)
		coap_endpoint_changed(rs->rd->c.endpoint, s->query.kind == LOOKUP_ENDPOINTS ? rs->rd->c.lookup_ep_path : rs->rd->c.lookup_res_path);
	loop_timer_free(s->timer);
	lookup_free(s->lookup);
	buf_done(&s->body);
	key_free(s->key);
	free(s);
}

static void on_slice(void *ctx)
{
	struct search *s = ctx;
	int e = lookup_run(s->lookup, LOOKUP_SLICE, &s->body);

	if (e == 0)
		loop_timer_set(s->timer, 0);
	else
		search_end(s, e > 0 ? result_put(s->rs, s->key, s->stamp, &s->body) : NULL, false);
}

static struct search *search_find(struct results *rs, struct span key)
{
	struct search *s;

	DL_FOREACH(rs->searches, s)
		if (span_eq(s->key, key))
			break;
	return s;
}

/* A search that the first slice did not end begins again, on a query read from a key that stays. NULL: too many. */
static struct search *search_new(struct results *rs, struct span key)
{
	const char *why;

	if (rs->n_searches == SEARCHES_MAX)
		return NULL;
	struct search *s = NEW(struct search);
	s->rs = rs;
	s->key = key_dup(key);
	if (key_query(rs->rd, s->key, &s->query, &why) < 0) { /* it was good before */
		key_free(s->key);
		free(s);
		return NULL;
	}
	s->stamp = lookup_stamp(rs->rd->c.registry, &s->query);
	s->lookup = lookup_new(rs->rd->c.registry, &s->query);
	s->timer = loop_timer_new(rs->rd->c.loop, on_slice, s);
	loop_timer_set(s->timer, 0);
	DL_APPEND(rs->searches, s);
	rs->n_searches++;
	return s;
}

static int wait_for(struct search *s, const struct coap_request *req, struct coap_response *res)
{
	if (!s || s->n_waiters == WAITERS_MAX)
		return refuse_busy(res);
	struct coap_deferred *d = coap_defer(s->rs->rd->c.endpoint, req);
	if (!d)
		return refuse_busy(res);
	s->waiters[s->n_waiters++] = d;
	return COAP_HANDLER_LATER;
}

/* A notification cannot wait: it says what was true last, and comes again when the new answer is there. */
static int notify_later(struct results *rs, struct span key, struct search *s, const struct result *old, struct coap_response *res)
{
	if (!s)
		s = search_new(rs, key);
	if (s)
		s->is_observed = true;
	return give(old, res);
}

/* ---- one request ---- */

static int answer(struct results *rs, const struct coap_request *req, struct span key, struct coap_response *res)
{
	struct rd_coap *rd = rs->rd;
	_cleanup_buf_ struct buf body = { 0 };
	struct lookup_query q;
	const char *why;

	if (key_query(rd, key, &q, &why) < 0)
		return coap_error(res, COAP_400_BAD_REQUEST, "%s", why);
	uint64_t stamp = lookup_stamp(rd->c.registry, &q);
	const struct result *kept = result_find(rs, key);
	if (kept && kept->stamp == stamp)
		return give(kept, res);
	bool may_wait = rd->c.loop && rd->c.endpoint;
	struct search *running = may_wait ? search_find(rs, key) : NULL;
	if (running && !req->is_notify)
		return wait_for(running, req, res);
	if (running && kept)
		return notify_later(rs, key, running, kept, res);
	struct lookup *l = lookup_new(rd->c.registry, &q);
	int e = lookup_run(l, may_wait ? LOOKUP_SLICE : 0, &body);
	if (e == 0 && !req->is_notify) {
		lookup_free(l);
		return wait_for(search_new(rs, key), req, res);
	}
	if (e == 0 && kept) {
		lookup_free(l);
		return notify_later(rs, key, running, kept, res);
	}
	if (e == 0)
		e = lookup_run(l, 0, &body);
	lookup_free(l);
	return e < 0 ? refuse_size(res) : give(result_put(rs, key, stamp, &body), res);
}

static int lookup_request(struct rd_coap *rd, enum lookup_kind kind, const struct coap_request *req, struct coap_response *res)
{
	if (rd_refuse(rd, req, RD_LOOKUP, res))
		return COAP_HANDLER_DONE;
	if (req->accept != COAP_CF_NONE && req->accept != COAP_CF_LINK)
		return coap_error(res, COAP_406_NOT_ACCEPTABLE, "there is application/link-format, 40, only");
	struct span key = key_of(kind, rd_link_scope(&req->peer), req);
	int r = answer(rd->results, req, key, res);
	key_free(key);
	return r;
}

int rd_coap_lookup_ep(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	return lookup_request(ctx, LOOKUP_ENDPOINTS, req, res);
}

int rd_coap_lookup_res(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	return lookup_request(ctx, LOOKUP_RESOURCES, req, res);
}

struct results *rd_results_new(struct rd_coap *rd)
{
	struct results *rs = NEW(struct results);

	rs->rd = rd;
	return rs;
}

struct results *rd_results_free(struct results *rs)
{
	while (rs->searches)
		search_end(rs->searches, NULL, true);
	while (rs->lru)
		result_drop(rs, rs->lru);
	free(rs);
	return NULL;
}
