#include "directory/lookup.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/link_format.h"
#include "codec/uri.h"

#define ENDPOINT_TYPE SPAN_LIT("core.rd-ep")

enum plan_kind { PLAN_ALL, PLAN_TERM, PLAN_LIST };

/* Where the candidates come from. */
struct plan {
	enum plan_kind kind;
	enum index_name name;                  /* PLAN_TERM */
	struct span value;
	uint64_t *orders;                      /* PLAN_LIST: ascending, each once */
	size_t n_orders, cap;
	uint64_t stamp;
};

struct lookup {
	const struct registry *r;
	const struct lookup_query *q;
	struct plan plan;
	uint64_t after;                        /* order of the last candidate visited */
	size_t at_order;                       /* PLAN_LIST: next one */
	uint64_t n_matches;
	size_t n_visited;
	struct link_writer writer;
	struct buf scratch;
	bool is_done;
};

/* ---- the query ---- */

static int parse_number(struct span value, uint32_t *ret)
{
	uint64_t v;

	if (text_parse_u64(value, UINT32_MAX, &v, TEXT_LEADING_ZEROS) < 0)
		return -EINVAL;
	*ret = (uint32_t)v;
	return 0;
}

int lookup_query_parse(enum lookup_kind kind, const char *path, uint32_t link_scope, const struct span *options, size_t n_options,
		       struct lookup_query *ret, const char **why)
{
	struct lookup_query q = { .kind = kind, .path = path, .link_scope = link_scope };
	bool has_page = false;

	*why = "page and count are decimal numbers, page needs count";
	for (size_t i = 0; i < n_options; i++) {
		struct lookup_criterion c = { .name = options[i] };
		c.has_value = registration_attribute_cut(options[i], &c.name, &c.value);
		c.is_prefix = c.has_value && c.value.n && c.value.p[c.value.n - 1] == '*';
		if (span_eq_str(c.name, "count")) {
			q.has_count = true;
			if (parse_number(c.value, &q.count) < 0)
				return -EINVAL;
		} else if (span_eq_str(c.name, "page")) {
			has_page = true;
			if (parse_number(c.value, &q.page) < 0)
				return -EINVAL;
		} else if (q.n_criteria == LOOKUP_CRITERIA_MAX) {
			*why = "too many criteria";
			return -EINVAL;
		} else {
			q.criteria[q.n_criteria++] = c;
		}
	}
	if (has_page && !q.has_count)
		return -EINVAL;
	*ret = q;
	return 0;
}

/* ---- the plan ---- */

static void plan_add(struct plan *p, uint64_t order)
{
	if (p->n_orders == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 16;
		p->orders = mem_resize(p->orders, p->cap, sizeof(*p->orders));
	}
	p->orders[p->n_orders++] = order;
}

static void plan_add_posting(void *ctx, const struct posting *posting)
{
	struct plan *p = ctx;

	for (size_t i = 0; posting && i < posting->n; i++)
		if (posting->e[i].reg)
			plan_add(p, posting->e[i].order);
}

static int compare_orders(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void plan_sort(struct plan *p)
{
	size_t out = 0;

	if (p->n_orders)
		qsort(p->orders, p->n_orders, sizeof(*p->orders), compare_orders);
	for (size_t i = 0; i < p->n_orders; i++)
		if (!out || p->orders[out - 1] != p->orders[i])
			p->orders[out++] = p->orders[i];
	p->n_orders = out;
}

static void count_posting(void *ctx, const struct posting *posting)
{
	*(size_t *)ctx += posting_count(posting);
}

/* "/rd/x" to its registration, if it is that. */
static bool location_of(const struct lookup_query *q, struct span href, struct span *ret)
{
	size_t n = strlen(q->path);

	if (href.n < n + 2 || href.p[0] != '/' || memcmp(href.p + 1, q->path, n) != 0 || href.p[n + 1] != '/')
		return false;
	*ret = span_sub(href, n + 2, href.n);
	return true;
}

/* How many candidates criterion c alone leaves, SIZE_MAX when it has no index. */
static size_t estimate(const struct registry *r, const struct lookup_query *q, const struct lookup_criterion *c)
{
	const struct index *ix = registry_index(r);
	int name = index_name_parse(c->name);
	struct span location;
	size_t n = 0;

	if (!c->has_value)
		return SIZE_MAX;
	if (!c->is_prefix && span_eq_str(c->name, "href"))
		return location_of(q, c->value, &location) ? 1 : SIZE_MAX;
	if (name < 0 || (name == INDEX_RT && link_text_matches(ENDPOINT_TYPE, c->value)))
		return SIZE_MAX;
	if (!c->is_prefix)
		return posting_count(index_get(ix, (enum index_name)name, c->value)) + (name == INDEX_EP);
	if (name == INDEX_EP)
		return SIZE_MAX;
	index_each_prefix(ix, (enum index_name)name, SPAN(c->value.p, c->value.n - 1), count_posting, &n);
	return n;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	return (a ^ b << 32 ^ b >> 32) * 0x9e3779b97f4a7c15;
}

static void plan_one(struct plan *p, const struct registration *reg)
{
	if (!reg)
		return;
	plan_add(p, registration_order(reg));
	p->stamp = mix(p->stamp, registration_generation(reg));
}

static void plan_criterion(const struct registry *r, const struct lookup_criterion *c, const struct lookup_query *q, struct plan *p)
{
	const struct index *ix = registry_index(r);
	int name = index_name_parse(c->name);
	const struct posting *posting;
	struct span location;

	p->kind = PLAN_LIST;
	if (name < 0) {
		if (location_of(q, c->value, &location))
			plan_one(p, registry_get(r, location));
	} else if (c->is_prefix) {
		index_each_prefix(ix, (enum index_name)name, SPAN(c->value.p, c->value.n - 1), plan_add_posting, p);
		plan_sort(p);
		p->stamp = ix->all.generation;
	} else {
		posting = index_get(ix, (enum index_name)name, c->value);
		p->stamp = mix((uint64_t)name + 1, posting ? posting->generation : 0);
		if (name == INDEX_EP) {
			plan_one(p, registry_find(r, c->value, SPAN_NONE));
			plan_add_posting(p, posting);
			plan_sort(p);
		} else {
			p->kind = PLAN_TERM;
			p->name = (enum index_name)name;
			p->value = c->value;
		}
	}
}

static void plan_make(const struct registry *r, const struct lookup_query *q, struct plan *ret)
{
	const struct index *ix = registry_index(r);
	struct plan p = { .kind = PLAN_ALL, .stamp = ix->all.generation };
	size_t best = posting_count(&ix->all), n, which = 0;

	for (size_t i = 0; i < q->n_criteria; i++) {
		n = estimate(r, q, &q->criteria[i]);
		if (n == SIZE_MAX || (q->criteria[i].is_prefix && n >= best / 2))      /* gathering costs, too */
			continue;
		if (n < best || (n == best && p.kind == PLAN_ALL)) {
			best = n;
			which = i;
			p.kind = PLAN_LIST;
		}
	}
	if (p.kind != PLAN_ALL)
		plan_criterion(r, &q->criteria[which], q, &p);
	p.stamp = mix(p.stamp, p.kind == PLAN_ALL ? 0 : which + 1);
	*ret = p;
}

uint64_t lookup_stamp(const struct registry *r, const struct lookup_query *q)
{
	struct plan p;

	plan_make(r, q, &p);
	free(p.orders);
	return p.stamp;
}

/* ---- matching ---- */

static bool text_matches(struct span name, struct span value, struct span want)
{
	struct span token;

	if (!link_name_is_list(name))
		return link_text_matches(value, want);
	while (link_token_next(&value, &token))
		if (link_text_matches(token, want))
			return true;
	return false;
}

static void add_location(const struct lookup *l, const struct registration *reg, struct buf *b)
{
	buf_add_u8(b, '/');
	buf_add_str(b, l->q->path);
	buf_add_u8(b, '/');
	buf_add_str(b, registration_location(reg));
}

/* By path, or as a full URI of us, whatever the host is that the client knows us by. */
static bool location_matches(struct lookup *l, const struct registration *reg, const struct lookup_criterion *c)
{
	struct uri u;

	buf_clear(&l->scratch);
	add_location(l, reg, &l->scratch);
	if (link_text_matches(buf_span(&l->scratch), c->value))
		return true;
	return uri_parse(c->value, URI_IRI, &u) >= 0 && u.has_authority && !u.has_query &&
	       (uri_text_eq(u.scheme, SPAN_LIT("coap")) || uri_text_eq(u.scheme, SPAN_LIT("coaps"))) &&
	       span_eq(u.path, buf_span(&l->scratch));
}

static bool endpoint_matches(struct lookup *l, const struct registration *reg, const struct lookup_criterion *c)
{
	struct span attribute, name, value;

	for (size_t pos = 0; registration_attribute(reg, &pos, &attribute);) {
		if (!registration_attribute_cut(attribute, &name, &value)) {
			if (!c->has_value && span_eq(attribute, c->name))
				return true;
		} else if (c->has_value && span_eq(name, c->name) && text_matches(name, value, c->value)) {
			return true;
		}
	}
	if (!c->has_value)
		return false;
	if (span_eq_str(c->name, "ep"))
		return link_text_matches(registration_endpoint(reg), c->value);
	if (span_eq_str(c->name, "d"))
		return registration_sector(reg).n && link_text_matches(registration_sector(reg), c->value);
	if (span_eq_str(c->name, "base"))
		return link_text_matches(registration_base(reg), c->value);
	if (span_eq_str(c->name, "rt"))
		return link_text_matches(ENDPOINT_TYPE, c->value);
	return span_eq_str(c->name, "href") && location_matches(l, reg, c);
}

static bool is_rooted(struct span ref)
{
	return ref.n && ref.p[0] == '/';
}

/* Appends ref resolved; full URIs stay byte for byte (RD-52). */
static void add_resolved(const struct registration *reg, struct span ref, struct buf *b)
{
	struct span base = registration_base(reg);

	if (!is_rooted(ref)) {
		buf_add(b, ref);
	} else if (!memmem(ref.p, ref.n, "/.", 2)) {
		buf_add(b, uri_origin(base));
		buf_add(b, ref);
	} else if (uri_resolve(base, ref, URI_IRI, b) < 0) {
		b->bad = true;         /* cannot happen: both were checked when they came */
	}
}

static bool target_matches(struct lookup *l, const struct registration *reg, const struct weblink *link, struct span want)
{
	buf_clear(&l->scratch);
	add_resolved(reg, link->target, &l->scratch);
	return link_text_matches(buf_span(&l->scratch), want);
}

/* A link without anchor has the origin of its target for one (RFC 9176 appendix B, RD-58). */
static bool anchor_matches(struct lookup *l, const struct registration *reg, const struct weblink *link, struct span want)
{
	struct link_param anchor;

	buf_clear(&l->scratch);
	if (weblink_get(link, "anchor", &anchor)) {
		add_resolved(reg, anchor.value, &l->scratch);
	} else {
		struct span origin = uri_origin(is_rooted(link->target) ? registration_base(reg) : link->target);
		if (!origin.n)
			return false;
		buf_add(&l->scratch, origin);
		buf_add_u8(&l->scratch, '/');
	}
	return link_text_matches(buf_span(&l->scratch), want);
}

static bool link_matches(struct lookup *l, const struct registration *reg, const struct weblink *link, const struct lookup_criterion *c)
{
	struct link_param p;

	if (span_eq_str(c->name, "href"))
		return c->has_value && target_matches(l, reg, link, c->value);
	if (span_eq_str(c->name, "anchor"))
		return c->has_value && anchor_matches(l, reg, link, c->value);
	for (size_t pos = 0; weblink_param(link, &pos, &p);) {
		if (!span_eq(p.name, c->name))
			continue;
		if (p.has_value == c->has_value && (!c->has_value || link_param_matches(&p, c->value)))
			return true;
		if (link_name_is_single(p.name)) /* LF-4 */
			return false;
	}
	return false;
}

/* The criteria met by the endpoint itself, a bit each. */
static uint32_t endpoint_mask(struct lookup *l, const struct registration *reg)
{
	uint32_t mask = 0;

	for (size_t i = 0; i < l->q->n_criteria; i++)
		if (endpoint_matches(l, reg, &l->q->criteria[i]))
			mask |= (uint32_t)1 << i;
	return mask;
}

/* mask and what the link meets of the others. */
static uint32_t link_mask(struct lookup *l, const struct registration *reg, const struct weblink *link, uint32_t mask)
{
	for (size_t i = 0; i < l->q->n_criteria; i++)
		if (!(mask & (uint32_t)1 << i) && link_matches(l, reg, link, &l->q->criteria[i]))
			mask |= (uint32_t)1 << i;
	return mask;
}

/* ---- the answer ---- */

/* Counts a match; true when it is on the page asked for. */
static bool is_wanted(struct lookup *l)
{
	const struct lookup_query *q = l->q;
	uint64_t at = l->n_matches++;

	if (!q->has_count)
		return true;
	uint64_t first = (uint64_t)q->page * q->count;
	l->is_done = l->n_matches >= first + q->count;
	return at >= first && at < first + q->count;
}

static void write_endpoint(struct lookup *l, const struct registration *reg)
{
	struct span attribute, name, value, sector = registration_sector(reg);

	buf_clear(&l->scratch);
	add_location(l, reg, &l->scratch);
	link_write(&l->writer, buf_span(&l->scratch));
	link_write_quoted(&l->writer, SPAN_LIT("ep"), registration_endpoint(reg));
	if (sector.n)
		link_write_quoted(&l->writer, SPAN_LIT("d"), sector);
	link_write_quoted(&l->writer, SPAN_LIT("base"), registration_base(reg));
	for (size_t pos = 0; registration_attribute(reg, &pos, &attribute);) {
		if (registration_attribute_cut(attribute, &name, &value))
			link_write_quoted(&l->writer, name, value);
		else
			link_write_flag(&l->writer, attribute);
	}
	link_write_quoted(&l->writer, SPAN_LIT("rt"), ENDPOINT_TYPE);
}

static void write_link(struct lookup *l, const struct registration *reg, const struct weblink *link)
{
	struct link_param p;

	buf_clear(&l->scratch);
	add_resolved(reg, link->target, &l->scratch);
	link_write(&l->writer, buf_span(&l->scratch));
	for (size_t pos = 0; weblink_param(link, &pos, &p);) {
		if (span_eq_str(p.name, "anchor")) {
			buf_clear(&l->scratch);
			add_resolved(reg, p.value, &l->scratch);
			link_write_quoted(&l->writer, p.name, buf_span(&l->scratch));
		} else {
			link_write_param(&l->writer, &p);
		}
	}
}

static void visit(struct lookup *l, const struct registration *reg)
{
	uint32_t all = l->q->n_criteria ? UINT32_MAX >> (32 - l->q->n_criteria) : 0;
	struct link_reader reader;
	struct weblink link;

	l->n_visited++;
	if (registration_is_link_local(reg) && registration_link_scope(reg) != l->q->link_scope)
		return; /* RD-65 */
	uint32_t mask = endpoint_mask(l, reg);
	link_reader_init(&reader, registration_links(reg));
	if (l->q->kind == LOOKUP_ENDPOINTS) {
		while (mask != all && link_reader_next(&reader, &link) > 0)
			mask |= link_mask(l, reg, &link, mask);
		if (mask == all && is_wanted(l))
			write_endpoint(l, reg);
		return;
	}
	while (!l->is_done && link_reader_next(&reader, &link) > 0)
		if (link_mask(l, reg, &link, mask) == all && is_wanted(l))
			write_link(l, reg, &link);
}

/* ---- running ---- */

struct lookup *lookup_new(const struct registry *r, const struct lookup_query *q)
{
	struct lookup *l = NEW(struct lookup);

	l->r = r;
	l->q = q;
	l->is_done = q->has_count && !q->count;
	plan_make(r, q, &l->plan);
	return l;
}

struct lookup *lookup_free(struct lookup *l)
{
	if (!l)
		return NULL;
	free(l->plan.orders);
	buf_done(&l->scratch);
	free(l);
	return NULL;
}

static const struct registration *by_order(const struct posting *all, uint64_t order)
{
	size_t at = posting_seek(all, order - 1);

	return at < all->n && all->e[at].order == order ? all->e[at].reg : NULL;
}

/* True when there are no more candidates. */
static bool run_list(struct lookup *l, size_t max)
{
	const struct posting *all = &registry_index(l->r)->all;

	for (; l->at_order < l->plan.n_orders && !l->is_done && max; max--) {
		const struct registration *reg = by_order(all, l->plan.orders[l->at_order++]);
		if (reg)
			visit(l, reg);
	}
	return l->at_order == l->plan.n_orders;
}

static bool run_posting(struct lookup *l, size_t max)
{
	const struct index *ix = registry_index(l->r);
	const struct posting *p = l->plan.kind == PLAN_ALL ? &ix->all : index_get(ix, l->plan.name, l->plan.value);
	size_t at = p ? posting_seek(p, l->after) : 0;

	for (; p && at < p->n && !l->is_done && max; at++) {
		if (!p->e[at].reg)
			continue;
		l->after = p->e[at].order;
		visit(l, p->e[at].reg);
		max--;
	}
	return !p || at == p->n;
}

int lookup_run(struct lookup *l, size_t max, struct buf *ret)
{
	if (!max)
		max = SIZE_MAX;
	if (!ret->max)
		ret->max = LOOKUP_BYTES_MAX;
	l->writer.b = ret;
	if (l->plan.kind == PLAN_LIST ? run_list(l, max) : run_posting(l, max))
		l->is_done = true;
	if (!buf_ok(ret))
		return -EMSGSIZE;
	return l->is_done;
}

size_t lookup_n_visited(const struct lookup *l)
{
	return l->n_visited;
}

int lookup_answer(const struct registry *r, const struct lookup_query *q, struct buf *ret)
{
	struct lookup *l = lookup_new(r, q);
	int e = lookup_run(l, 0, ret);

	assert(e != 0); /* there was no limit to stop at */
	lookup_free(l);
	return e < 0 ? e : 0;
}
