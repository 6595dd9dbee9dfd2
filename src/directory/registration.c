#include "directory/registration.h"

#include <errno.h>
#include <stdlib.h>

#include "base/text.h"
#include "codec/link_format.h"
#include "codec/uri.h"

static struct span part(const struct registration *reg, size_t *at, size_t n, size_t skip)
{
	struct span s = { reg->text + *at, n };

	*at += n + skip;
	return s;
}

struct registration_parts registration_parts(const struct registration *reg)
{
	struct registration_parts p;
	size_t at = 0;

	p.endpoint = part(reg, &at, reg->n_endpoint, 1);
	p.sector = part(reg, &at, reg->n_sector, 1);
	p.base = part(reg, &at, reg->n_base, 1);
	p.owner = part(reg, &at, reg->n_owner, 1);
	p.device = part(reg, &at, reg->n_device, 1);
	p.attributes = part(reg, &at, reg->n_attributes_bytes, 0);
	p.links = part(reg, &at, reg->n_links_bytes, 0);
	return p;
}

static uint8_t *put(uint8_t *at, struct span s, bool end)
{
	if (s.n)
		memcpy(at, s.p, s.n);
	if (end)
		at[s.n] = 0;
	return at + s.n + end;
}

int registration_pack(struct registration *reg, const struct registration_parts *p)
{
	size_t n = p->endpoint.n + p->sector.n + p->base.n + p->owner.n + p->device.n + 5 + p->attributes.n + p->links.n;
	uint8_t *text = malloc(n), *at = text;

	if (!text)
		return -ENOMEM;
	at = put(at, p->endpoint, true);
	at = put(at, p->sector, true);
	at = put(at, p->base, true);
	at = put(at, p->owner, true);
	at = put(at, p->device, true);
	at = put(at, p->attributes, false);
	(void)put(at, p->links, false); /* the last */
	reg->n_endpoint = (uint8_t)p->endpoint.n;
	reg->n_sector = (uint8_t)p->sector.n;
	reg->n_base = (uint16_t)p->base.n;
	reg->n_owner = (uint8_t)p->owner.n;
	reg->n_device = (uint8_t)p->device.n;
	reg->n_attributes_bytes = (uint32_t)p->attributes.n;
	reg->n_links_bytes = (uint32_t)p->links.n;
	free(reg->text);
	reg->text = text;
	return 0;
}

struct span registration_name_key(const struct registration *reg)
{
	return SPAN(reg->text, (size_t)reg->n_endpoint + 1 + reg->n_sector);
}

static void index_one(struct registration *reg, struct index *ix, bool add, struct span name, struct span value)
{
	int i = index_name_parse(name);

	if (i < 0)
		return;
	if (add)
		index_add(ix, (enum index_name)i, value, reg->order, reg);
	else
		index_remove(ix, (enum index_name)i, value, reg->order);
}

/* A list by its tokens, anything else as a whole. */
static void index_value(struct registration *reg, struct index *ix, bool add, struct span name, struct span value)
{
	struct span token;

	if (!link_name_is_list(name)) {
		index_one(reg, ix, add, name, value);
		return;
	}
	while (link_token_next(&value, &token))
		index_one(reg, ix, add, name, token);
}

static void index_link(struct registration *reg, struct index *ix, bool add, const struct weblink *l)
{
	_cleanup_buf_ struct buf plain = { 0 };
	struct link_param p;

	for (size_t pos = 0; weblink_param(l, &pos, &p);) {
		if (!p.has_value || index_name_parse(p.name) < 0)
			continue;
		buf_clear(&plain);
		if (p.is_escaped)
			link_value_add(&plain, &p);
		index_value(reg, ix, add, p.name, p.is_escaped ? buf_span(&plain) : p.value);
	}
}

/* Of the endpoint's own name only those with a sector are listed: the others are found by their name (lookup.c). */
void registration_index(struct registration *reg, struct index *ix, bool add)
{
	struct registration_parts parts = registration_parts(reg);
	struct link_reader r;
	struct weblink l;
	struct span attribute, name, value;

	if (add)
		index_add_all(ix, reg->order, reg);
	else
		index_remove_all(ix, reg->order);
	if (parts.sector.n) {
		index_one(reg, ix, add, SPAN_LIT("ep"), parts.endpoint);
		index_one(reg, ix, add, SPAN_LIT("d"), parts.sector);
	}
	for (size_t pos = 0; registration_attribute(reg, &pos, &attribute);)
		if (registration_attribute_cut(attribute, &name, &value))
			index_value(reg, ix, add, name, value);
	for (link_reader_init(&r, parts.links); link_reader_next(&r, &l) > 0;)
		index_link(reg, ix, add, &l);
	reg->generation = ++ix->generation;
}

static int refuse(int error, const char *text, const char **why)
{
	*why = text;
	return error;
}

int registration_check_name(const struct registry_request *req, const char **why)
{
	if (!req->endpoint.n || req->endpoint.n > REGISTRY_NAME_BYTES_MAX || !text_is_clean(req->endpoint))
		return refuse(-EINVAL, "ep: 1 to 63 bytes of UTF-8 without control characters", why);
	if (req->sector.n > REGISTRY_NAME_BYTES_MAX || !text_is_clean(req->sector))
		return refuse(-EINVAL, "d: at most 63 bytes of UTF-8 without control characters", why);
	return 0;
}

int registration_check_links(struct span links, const struct registry_limits *l, uint32_t *ret_n, const char **why)
{
	struct link_reader r;
	struct link_param anchor;
	struct weblink link;
	uint32_t n = 0;
	int e;

	if (l->max_links_bytes && links.n > l->max_links_bytes)
		return refuse(-EMSGSIZE, "links: too many bytes", why);
	for (link_reader_init(&r, links); (e = link_reader_next(&r, &link)) > 0; n++) {
		if (l->max_links && n == l->max_links)
			return refuse(-E2BIG, "links: too many for one registration", why);
		if (!uri_is_limited(link.target))
			return refuse(-EBADMSG, "links: a target is neither a full URI nor a path that begins with one slash", why);
		if (weblink_get(&link, "anchor", &anchor) && (anchor.is_escaped || !uri_is_limited(anchor.value)))
			return refuse(-EBADMSG, "links: an anchor is neither a full URI nor a path that begins with one slash", why);
	}
	if (e < 0)
		return refuse(e, e == -EMSGSIZE ? "links: a value or their number is too large" : "links: not link-format", why);
	*ret_n = n;
	return 0;
}

int registration_check_base(const struct registry_request *req, struct span *ret, bool *ret_link_local, const char **why)
{
	bool is_given = req->base.n > 0;
	struct span base = is_given ? req->base : req->implied_base;
	struct uri u;

	if (base.n > REGISTRY_BASE_BYTES_MAX)
		return refuse(-EINVAL, "base: at most 255 bytes", why);
	if (uri_parse(base, 0, &u) < 0 || !u.scheme.n || !u.host.n || u.has_userinfo || u.has_query || u.has_fragment)
		return refuse(-EINVAL, "base: a URI with scheme and host, without zone id, user, query and fragment", why);
	*ret_link_local = uri_host_is_link_local(&u);
	if (*ret_link_local && !req->link_scope)
		return refuse(-EINVAL, "base: a link-local address can be registered only from its own link", why);
	*ret = base;
	return 0;
}

static bool is_reserved(struct span name)
{
	static const char *const reserved[] = { "page", "count", "href", "anchor", "rt", "ep", "d", "lt", "base" };

	for (size_t i = 0; i < sizeof(reserved) / sizeof(*reserved); i++)
		if (span_eq_str(name, reserved[i]))
			return true;
	return false;
}

static struct span name_of(struct span attribute)
{
	struct span name, value;

	return registration_attribute_cut(attribute, &name, &value) ? name : attribute;
}

static bool is_given(const struct registry_request *req, struct span name)
{
	for (size_t i = 0; i < req->n_attributes; i++)
		if (span_eq(name_of(req->attributes[i]), name))
			return true;
	return false;
}

static bool attribute_next(struct span packed, size_t *pos, struct span *ret)
{
	if (*pos >= packed.n)
		return false;
	const uint8_t *end = memchr(packed.p + *pos, 0, packed.n - *pos);
	if (!end)
		return false;
	*ret = SPAN(packed.p + *pos, (size_t)(end - packed.p) - *pos);
	*pos = (size_t)(end - packed.p) + 1;
	return true;
}

static void add_attribute(struct buf *b, struct span attribute, size_t *n)
{
	buf_add(b, attribute);
	buf_add_u8(b, 0);
	++*n;
}

int registration_merge_attributes(struct span old, const struct registry_request *req, struct buf *ret, const char **why)
{
	struct span attribute;
	size_t n = 0;

	for (size_t pos = 0; attribute_next(old, &pos, &attribute);)
		if (!is_given(req, name_of(attribute)))
			add_attribute(ret, attribute, &n);
	for (size_t i = 0; i < req->n_attributes; i++) {
		struct span name = name_of(req->attributes[i]);
		if (is_reserved(name))
			return refuse(-EINVAL, "page, count, href, anchor and rt cannot be attributes of an endpoint", why);
		if (!link_name_is_valid(name) || !text_is_clean(req->attributes[i]))
			return refuse(-EINVAL, "attributes are name=value or name, in UTF-8 without control characters", why);
		add_attribute(ret, req->attributes[i], &n);
	}
	if (!buf_ok(ret) || n > REGISTRY_ATTRIBUTES_MAX || ret->n > REGISTRY_ATTRIBUTES_BYTES_MAX)
		return refuse(-EINVAL, "too many attributes", why);
	return 0;
}

const char *registration_location(const struct registration *reg)
{
	return reg->location;
}

struct span registration_endpoint(const struct registration *reg)
{
	return registration_parts(reg).endpoint;
}

struct span registration_sector(const struct registration *reg)
{
	return registration_parts(reg).sector;
}

struct span registration_base(const struct registration *reg)
{
	return registration_parts(reg).base;
}

const char *registration_owner(const struct registration *reg)
{
	return (const char *)registration_parts(reg).owner.p;
}

const char *registration_device(const struct registration *reg)
{
	return (const char *)registration_parts(reg).device.p;
}

struct span registration_links(const struct registration *reg)
{
	return registration_parts(reg).links;
}

bool registration_attribute(const struct registration *reg, size_t *pos, struct span *ret)
{
	return attribute_next(registration_parts(reg).attributes, pos, ret);
}

bool registration_attribute_get(const struct registration *reg, const char *name, struct span *ret)
{
	struct span attribute, key;

	for (size_t pos = 0; registration_attribute(reg, &pos, &attribute);)
		if (registration_attribute_cut(attribute, &key, ret) && span_eq_str(key, name))
			return true;
	return false;
}

bool registration_attribute_cut(struct span attribute, struct span *ret_name, struct span *ret_value)
{
	const uint8_t *eq = attribute.n ? memchr(attribute.p, '=', attribute.n) : NULL;

	if (!eq)
		return false;
	*ret_name = SPAN(attribute.p, (size_t)(eq - attribute.p));
	*ret_value = SPAN(eq + 1, attribute.n - ret_name->n - 1);
	return true;
}

uint32_t registration_lifetime_s(const struct registration *reg)
{
	return reg->lifetime_s;
}

struct mono registration_deadline(const struct registration *reg)
{
	return reg->deadline;
}

uint64_t registration_order(const struct registration *reg)
{
	return reg->order;
}

uint64_t registration_generation(const struct registration *reg)
{
	return reg->generation;
}

uint32_t registration_link_scope(const struct registration *reg)
{
	return reg->link_scope;
}

bool registration_is_link_local(const struct registration *reg)
{
	return reg->is_link_local;
}

size_t registration_n_links(const struct registration *reg)
{
	return reg->n_links;
}
