#include "config/check.h"

#include "config/syntax.h"

static bool given(const char *s)
{
	return *s != 0;
}

/* Both or none. */
static void check_pair(struct loader *l, const char *table, char **cert, char **key)
{
	char path[64];

	if (given(*cert) == given(*key) || !loader_is_good(l, cert) || !loader_is_good(l, key))
		return;
	(void)snprintf(path, sizeof(path), "%s.%s", table, given(*cert) ? "cert_file" : "key_file"); /* fits */
	if (given(*cert))
		loader_error(l, cert, path, "a certificate without its key; %s.key_file beside it would be right", table);
	else
		loader_error(l, key, path, "a key without its certificate; %s.cert_file beside it would be right", table);
}

static void check_coap(struct loader *l)
{
	struct config *c = l->c;
	struct listen_address a;
	bool secure = false;

	check_pair(l, "coap", &c->coap.cert_file, &c->coap.key_file);
	if (given(c->coap.ca_file) && !given(c->coap.cert_file) && loader_is_good(l, &c->coap.cert_file))
		loader_error(l, &c->coap.ca_file, "coap.ca_file",
			     "client certificates without one of our own; coap.cert_file and coap.key_file beside it would be right");
	if (c->coap.block1_peer_bytes > c->coap.block1_total_bytes && loader_is_good(l, &c->coap.block1_total_bytes))
		loader_error(l, &c->coap.block1_peer_bytes, "coap.block1_peer_bytes",
			     "more for one peer than for all; at most coap.block1_total_bytes would be right");
	for (char **p = c->coap.listen; *p; p++)
		secure = secure || (syntax_coap_address(span_str(*p), &a) >= 0 && a.secure);
	if (c->admin.coap && !secure && loader_is_good(l, &c->coap.listen))
		loader_error(l, &c->admin.coap, "admin.coap", "no coaps:// address to serve it on; one in coap.listen would be right");
	if (c->admin.coap && !given(c->admin.credentials_file) && loader_is_good(l, &c->admin.credentials_file))
		loader_error(l, &c->admin.coap, "admin.coap", "nobody may use it; admin.credentials_file beside it would be right");
}

static void check_directory(struct loader *l)
{
	struct config *c = l->c;
	char **const paths[] = { &c->directory.path, &c->directory.lookup_ep_path, &c->directory.lookup_res_path, &c->delivery.path };
	static const char *const names[] = { "directory.path", "directory.lookup_ep_path", "directory.lookup_res_path", "delivery.path" };
	struct listen_address a;

	for (size_t i = 0; i < 4; i++)
		for (size_t j = 0; j < i; j++)
			if (strcmp(*paths[i], *paths[j]) == 0)
				loader_error(l, paths[loader_is_set(l, paths[i]) ? i : j], names[loader_is_set(l, paths[i]) ? i : j],
					     "the same path as %s; a path of its own would be right",
					     names[loader_is_set(l, paths[i]) ? j : i]);
	if (c->directory.open_anywhere && !c->directory.open)
		loader_error(l, &c->directory.open_anywhere, "directory.open_anywhere",
			     "means nothing alone; directory.open = true beside it would be right");
	if (!c->directory.auto_enrol || !loader_is_good(l, &c->coap.listen))
		return;
	for (char **p = c->coap.listen; *p; p++) {
		if (syntax_coap_address(span_str(*p), &a) < 0 || a.is_loopback)
			continue;
		loader_error(l, &c->directory.auto_enrol, "directory.auto_enrol",
			     "%s is open to others than this machine; loopback addresses alone in coap.listen would be right", *p);
		return;
	}
}

/* An administrator's door open to the network asks for a key: TLS, so that nobody listens, and a token. */
static void check_http(struct loader *l)
{
	struct config *c = l->c;
	struct listen_address a;

	check_pair(l, "http", &c->http.cert_file, &c->http.key_file);
	if (!loader_is_good(l, &c->http.cert_file) || !loader_is_good(l, &c->http.token_file))
		return;
	for (char **p = c->http.listen; *p; p++) {
		if (syntax_http_address(span_str(*p), &a) < 0 || a.is_unix || a.is_loopback)
			continue;
		if (!given(c->http.cert_file))
			loader_error(l, &c->http.listen, "http.listen",
				     "%s is reachable by others and has no TLS; http.cert_file and http.key_file, or a loopback address, would be right", *p);
		if (!given(c->http.token_file))
			loader_error(l, &c->http.listen, "http.listen",
				     "%s is reachable by others and asks for no token; http.token_file, or a loopback address, would be right", *p);
	}
}

static void check_cache(struct loader *l)
{
	struct config *c = l->c;

	if (!loader_is_good(l, &c->cache.quota_bytes) || !loader_is_good(l, &c->cache.image_max_bytes))
		return;
	if (c->cache.image_max_bytes > c->cache.quota_bytes)
		loader_error(l, loader_is_set(l, &c->cache.image_max_bytes) ? &c->cache.image_max_bytes : &c->cache.quota_bytes,
			     "cache.image_max_bytes", "larger than the whole cache; at most cache.quota_bytes would be right");
}

static void check_source(struct loader *l, struct config_source *s)
{
	bool folder = strcmp(s->kind, "folder") == 0;

	if (!loader_is_good(l, &s->kind) || !given(s->kind))
		return;
	if (folder && !given(s->path) && loader_is_good(l, &s->path))
		loader_error(l, &s->kind, "source.path", "missing; a folder source needs the directory to watch");
	if (folder && given(s->url))
		loader_error(l, &s->url, "source.url", "a folder source has none; kind = \"https\", or path, would be right");
	if (!folder && !given(s->url) && loader_is_good(l, &s->url))
		loader_error(l, &s->kind, "source.url", "missing; an https source needs the URL of an envelope or of an index");
	if (!folder && given(s->path))
		loader_error(l, &s->path, "source.path", "an https source has none; kind = \"folder\", or url, would be right");
	if (!folder && span_starts(span_str(s->url), SPAN_LIT("http://")) && !s->allow_http && loader_is_good(l, &s->allow_http))
		loader_error(l, &s->url, "source.url", "plain http; https://, or allow_http = true beside it, would be right");
	if (s->backoff_max_s < s->poll_s && loader_is_set(l, &s->backoff_max_s) && loader_is_good(l, &s->poll_s))
		loader_error(l, &s->backoff_max_s, "source.backoff_max_s", "shorter than poll_s; at least %u would be right", s->poll_s);
}

/* name fields at the start of each element */
static void check_unique(struct loader *l, const void *elements, size_t element_bytes, size_t n, size_t offset, const char *path)
{
	for (size_t i = 1; i < n; i++) {
		char *const *mine = (void *)(uintptr_t)((const char *)elements + i * element_bytes + offset);
		for (size_t j = 0; j < i; j++) {
			char *const *other = (void *)(uintptr_t)((const char *)elements + j * element_bytes + offset);
			if (!given(*mine) || strcasecmp(*mine, *other) != 0)
				continue;
			loader_error(l, mine, path, "\"%s\" is there already; a value of its own would be right", *mine);
			break;
		}
	}
}

static void check_group(struct loader *l, struct config_multicast_group *g)
{
	if (g->window_s > 0 && g->window_period_s < g->window_s)
		loader_error(l, loader_is_set(l, &g->window_period_s) ? &g->window_period_s : &g->window_s, "multicast_group.window_period_s",
			     "shorter than the window; at least %u would be right", g->window_s);
	if (g->link == CONFIG_LINK_THREAD && g->routers == 0 && loader_is_good(l, &g->routers))
		loader_error(l, &g->link, "multicast_group.routers", "missing; on thread every router in range repeats each frame");
}

static void check_multicast(struct loader *l)
{
	struct config *c = l->c;

	for (size_t i = 0; i < c->n_multicast_groups; i++)
		check_group(l, &c->multicast_groups[i]);
	if (c->multicast.sample_min > c->multicast.sample_max)
		loader_error(l, loader_is_set(l, &c->multicast.sample_min) ? &c->multicast.sample_min : &c->multicast.sample_max,
			     "multicast.sample_min", "more than sample_max; at most %u would be right", c->multicast.sample_max);
	check_unique(l, c->multicast_groups, sizeof(*c->multicast_groups), c->n_multicast_groups, offsetof(struct config_multicast_group, name),
		     "multicast_group.name");
}

static void check_lowpan(struct loader *l, struct config_lowpan *p)
{
	bool is_802154 = p->kind == CONFIG_LOWPAN_802154;

	if (p->create && p->kind == CONFIG_LOWPAN_THREAD)
		loader_error(l, &p->create, "lowpan.create", "a border router makes its interface by itself; create = false would be right");
	if (p->create && is_802154 && !given(p->parent) && loader_is_good(l, &p->parent))
		loader_error(l, &p->create, "lowpan.parent", "missing; the radio's interface, such as \"wpan0\"");
	if (p->create && p->kind == CONFIG_LOWPAN_BLE && !*p->peers && loader_is_good(l, &p->peers))
		loader_error(l, &p->create, "lowpan.peers", "missing; the Bluetooth addresses of the nodes to connect");
	if (given(p->parent) && strcmp(p->parent, p->interface) == 0)
		loader_error(l, &p->parent, "lowpan.parent", "the interface itself; the radio's interface, such as \"wpan0\", would be right");
	if (p->advertise && !given(p->address) && loader_is_good(l, &p->address))
		loader_error(l, &p->advertise, "lowpan.address", "missing; its prefix is what is offered");
	if (p->advertise && given(p->address) && !span_eq_str(span_sub(span_str(p->address), strcspn(p->address, "/"), 4), "/64"))
		loader_error(l, &p->address, "lowpan.address", "nodes form addresses from prefixes of 64 bits alone; /64 would be right");
	if (p->block_bytes != 0 && (p->block_bytes < 16 || (p->block_bytes & (p->block_bytes - 1))))
		loader_error(l, &p->block_bytes, "lowpan.block_bytes", "not a size of CoAP's blocks; 0, or 16, 32, 64, 128, 256, 512 or 1024, would be right");
}

void check_config(struct loader *l)
{
	struct config *c = l->c;

	check_coap(l);
	check_directory(l);
	check_http(l);
	check_cache(l);
	for (size_t i = 0; i < c->n_sources; i++)
		check_source(l, &c->sources[i]);
	check_unique(l, c->sources, sizeof(*c->sources), c->n_sources, offsetof(struct config_source, name), "source.name");
	check_unique(l, c->anchors, sizeof(*c->anchors), c->n_anchors, offsetof(struct config_anchor, name), "anchor.name");
	check_unique(l, c->policies, sizeof(*c->policies), c->n_policies, offsetof(struct config_policy_row, class_id), "policy.class_id");
	check_multicast(l);
	for (size_t i = 0; i < c->n_lowpans; i++)
		check_lowpan(l, &c->lowpans[i]);
	check_unique(l, c->lowpans, sizeof(*c->lowpans), c->n_lowpans, offsetof(struct config_lowpan, interface), "lowpan.interface");
}
