/* rdlimit: what a resource directory costs at least: a hash on ep, an index on rt, link text stored once. Registration,
 * update, and lookups by ep or rt; no deduplication, expiry, persistence, validation or security.
 * usage: rdlimit PORT */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "serve.h"

enum { PATH_MAX_N = 4, QUERY_MAX_N = 8, NAME_BYTES_MAX = 63, BODY_BYTES_MAX = 1024, CAPACITY = 1 << 20, BASE_BYTES = 32 };

struct registration {
	char *text;                            /* ep, base, links */
	uint32_t n_text, lifetime_s, next;     /* next: in the hash chain, 1 = the first */
	uint8_t n_ep, n_base;
};

struct link_ref {
	uint32_t registration;
	uint16_t off, n;
};

struct type {                                  /* of resource: rt */
	char *name;
	uint8_t n;
	uint32_t n_ref, capacity, next;
	struct link_ref *ref;
};

struct table {
	uint32_t *head, mask;
};

struct request {
	struct span path[PATH_MAX_N], query[QUERY_MAX_N];
	size_t n_path, n_query;
	bool has_block;
	struct block block;
};

static struct registration *registrations;
static struct type *types;
static uint32_t n_registration, n_type;
static struct table by_ep, by_type;

static uint32_t hash(struct span s)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ s.p[i]) * 0x100000001b3u;
	return (uint32_t)(h ^ h >> 32);
}

static struct span ep_of(uint32_t i)
{
	return SPAN(registrations[i].text, registrations[i].n_ep);
}

static struct span type_of(uint32_t i)
{
	return SPAN(types[i].name, types[i].n);
}

static void chain(struct table *t, struct span name, uint32_t *next, uint32_t i)
{
	uint32_t *head = &t->head[hash(name) & t->mask];

	*next = *head;
	*head = i + 1;
}

static bool grow(struct table *t, uint32_t n)
{
	if (t->mask && n <= t->mask)
		return false;
	t->mask = t->mask ? t->mask * 2 + 1 : 1023;
	free(t->head);
	t->head = NEW_N(uint32_t, (size_t)t->mask + 1);
	return true;
}

static uint32_t find_ep(struct span ep)
{
	uint32_t i = by_ep.mask ? by_ep.head[hash(ep) & by_ep.mask] : 0;

	while (i && !span_eq(ep_of(i - 1), ep))
		i = registrations[i - 1].next;
	return i;
}

static struct type *type_get(struct span name, bool make)
{
	uint32_t i = by_type.mask ? by_type.head[hash(name) & by_type.mask] : 0;
	struct type *t;

	while (i && !span_eq(type_of(i - 1), name))
		i = types[i - 1].next;
	if (i || !make)
		return i ? &types[i - 1] : NULL;
	if (n_type == CAPACITY)
		return NULL;
	t = &types[n_type];
	t->name = mem_strndup(name);
	t->n = (uint8_t)name.n;
	if (grow(&by_type, ++n_type)) {
		for (uint32_t k = 0; k < n_type; k++)
			chain(&by_type, type_of(k), &types[k].next, k);
	} else {
		chain(&by_type, name, &t->next, n_type - 1);
	}
	return t;
}

static void index_link(uint32_t registration, const char *link, size_t n)
{
	const char *rt = memmem(link, n, ";rt=\"", 5), *end = rt ? memchr(rt + 5, '"', (size_t)(link + n - rt - 5)) : NULL;
	struct type *t = end && end - rt - 5 <= UINT8_MAX ? type_get(SPAN(rt + 5, (size_t)(end - rt - 5)), true) : NULL;

	if (!t)
		return;
	if (t->n_ref == t->capacity) {
		t->capacity = t->capacity ? t->capacity * 2 : 2;
		t->ref = mem_resize(t->ref, t->capacity, sizeof(*t->ref));
	}
	t->ref[t->n_ref++] = (struct link_ref){ registration, (uint16_t)(link - registrations[registration].text), (uint16_t)n };
}

/* The load generator's links have no comma within. */
static void index_links(uint32_t i)
{
	const struct registration *r = &registrations[i];
	const char *p = r->text + r->n_ep + r->n_base, *end = r->text + r->n_text;

	while (p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		size_t n = comma ? (size_t)(comma - p) : (size_t)(end - p);

		index_link(i, p, n);
		p += n + 1;
	}
}

static bool query_get(const struct request *q, const char *name, struct span *ret)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < q->n_query; i++) {
		if (q->query[i].n > n && q->query[i].p[n] == '=' && memcmp(q->query[i].p, name, n) == 0) {
			*ret = span_sub(q->query[i], n + 1, q->query[i].n);
			return true;
		}
	}
	return false;
}

static uint32_t number(struct span s)
{
	uint32_t v = 0;

	for (size_t i = 0; i < s.n; i++)
		v = v * 10 + (uint32_t)(s.p[i] - '0');
	return v;
}

static void add(struct span ep, const struct sockaddr_in *from, struct span links)
{
	struct registration *r = &registrations[n_registration];
	uint32_t a = ntohl(from->sin_addr.s_addr);
	char base[BASE_BYTES];

	r->n_ep = (uint8_t)ep.n;
	r->n_base = (uint8_t)snprintf(base, sizeof(base), "coap://%u.%u.%u.%u:%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255, ntohs(from->sin_port));
	r->n_text = (uint32_t)(ep.n + r->n_base + links.n);
	r->text = mem_new(r->n_text, 1);
	memcpy(r->text, ep.p, ep.n);
	memcpy(r->text + ep.n, base, r->n_base);
	if (links.n)
		memcpy(r->text + ep.n + r->n_base, links.p, links.n);
	if (grow(&by_ep, ++n_registration)) {
		for (uint32_t i = 0; i < n_registration; i++)
			chain(&by_ep, ep_of(i), &registrations[i].next, i);
	} else {
		chain(&by_ep, ep, &r->next, n_registration - 1);
	}
	index_links(n_registration - 1);
}

static size_t do_register(const struct message *m, const struct request *q, const struct sockaddr_in *from, uint8_t *out)
{
	struct span ep, v;
	char location[16];
	unsigned last = 0;
	uint8_t *p;
	uint32_t i;

	if (!query_get(q, "ep", &ep) || ep.n > NAME_BYTES_MAX || n_registration == CAPACITY)
		return message_answer(m, MESSAGE_400, out);
	i = find_ep(ep);
	if (!i) {
		add(ep, from, m->payload);
		i = n_registration;
	}
	registrations[i - 1].lifetime_s = query_get(q, "lt", &v) ? number(v) : 0;
	p = out + message_answer(m, MESSAGE_201, out);
	p = option_put(p, &last, OPT_LOCATION_PATH, SPAN_LIT("rd"));
	p = option_put(p, &last, OPT_LOCATION_PATH, SPAN(location, (size_t)snprintf(location, sizeof(location), "%x", i - 1)));
	return (size_t)(p - out);
}

static size_t do_update(const struct message *m, const struct request *q, uint8_t *out)
{
	uint32_t i = 0;
	struct span v;

	for (size_t k = 0; k < q->path[1].n; k++)
		i = i << 4 | (uint32_t)(q->path[1].p[k] <= '9' ? q->path[1].p[k] - '0' : q->path[1].p[k] - 'a' + 10);
	if (i >= n_registration)
		return message_answer(m, MESSAGE_404, out);
	if (query_get(q, "lt", &v))
		registrations[i].lifetime_s = number(v);
	return message_answer(m, MESSAGE_204, out);
}

/* One block's window on the text of an answer: what lies outside is counted, not copied. */
struct window {
	uint8_t *out;
	size_t skip, capacity, pos, n;
	bool more;
};

static void put(struct window *w, const char *s, size_t n)
{
	size_t start = w->pos, end = start + n, limit = w->skip + w->capacity;
	size_t lo = start > w->skip ? start : w->skip, hi = end < limit ? end : limit;

	if (lo < hi) {
		memcpy(w->out + (lo - w->skip), s + (lo - start), hi - lo);
		w->n = hi - w->skip;
	}
	w->more = w->more || end > limit;
	w->pos = end;
}

static void find_links(struct window *w, struct span name)
{
	struct type *t = type_get(name, false);

	for (uint32_t k = 0; t && k < t->n_ref && !w->more; k++) {
		const struct registration *r = &registrations[t->ref[k].registration];

		put(w, k ? ",<" : "<", k ? 2 : 1);
		put(w, r->text + r->n_ep, r->n_base);
		put(w, r->text + t->ref[k].off + 1, t->ref[k].n - 1u);
	}
}

static void find_endpoint(struct window *w, struct span ep)
{
	uint32_t i = find_ep(ep);
	const struct registration *r = i ? &registrations[i - 1] : NULL;
	char text[192];

	if (r)
		put(w, text, (size_t)snprintf(text, sizeof(text), "</rd/%x>;ep=\"%.*s\";base=\"%.*s\"", i - 1, r->n_ep, r->text, r->n_base, r->text + r->n_ep));
}

static size_t do_lookup(const struct message *m, const struct request *q, uint8_t *out)
{
	uint8_t body[BODY_BYTES_MAX];
	struct window w = { .out = body, .capacity = (size_t)16 << q->block.szx };
	unsigned last = 0;
	struct span v;
	uint8_t *p;

	w.skip = q->block.num * w.capacity;
	if (query_get(q, "rt", &v))
		find_links(&w, v);
	else if (query_get(q, "ep", &v))
		find_endpoint(&w, v);
	p = out + message_answer(m, MESSAGE_205, out);
	p = option_put_uint(p, &last, OPT_CONTENT_FORMAT, 40);
	if (w.more || q->has_block)
		p = option_put_uint(p, &last, OPT_BLOCK2, block_value(&(struct block){ q->block.num, w.more, q->block.szx }));
	if (w.n) {
		*p++ = 0xff;
		memcpy(p, body, w.n);
	}
	return (size_t)(p - out) + w.n;
}

static bool read_request(struct message *m, struct request *q)
{
	unsigned number_;
	struct span v;

	*q = (struct request){ .block.szx = MESSAGE_SZX_MAX };
	while (message_option(m, &number_, &v)) {
		if (number_ == OPT_URI_PATH && q->n_path < PATH_MAX_N)
			q->path[q->n_path++] = v;
		else if (number_ == OPT_URI_QUERY && q->n_query < QUERY_MAX_N)
			q->query[q->n_query++] = v;
		else if (number_ == OPT_BLOCK2)
			q->has_block = block_read(v, &q->block);
	}
	return !m->bad;
}

static size_t answer(struct span in, const struct sockaddr_in *from, uint8_t *out)
{
	struct request q;
	struct message m;

	if (!message_read(in, &m) || m.code == 0 || m.code >> 5 || !read_request(&m, &q))
		return 0;
	if (m.code == MESSAGE_POST && q.n_path == 1)
		return do_register(&m, &q, from, out);
	if (m.code == MESSAGE_POST && q.n_path == 2)
		return do_update(&m, &q, out);
	if (m.code == MESSAGE_GET && q.n_path == 2)
		return do_lookup(&m, &q, out);
	return message_answer(&m, MESSAGE_404, out);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: rdlimit PORT\n");
		return 2;
	}
	/* Untouched pages cost nothing, so this still shows what an endpoint costs. */
	registrations = NEW_N(struct registration, CAPACITY);
	types = NEW_N(struct type, CAPACITY);
	return serve((uint16_t)atoi(argv[1]), answer);
}
