/* The multicast driver put in its place: which device belongs to which group, whether a session pays, what is stored, who was heard. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "app/gateway.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "rollout/multicast_choice.h"
#include "store/mcast_store.h"

enum { LOSS_GUESS_PERMILLE = 100 };             /* until a group has had a session */

/* ---- which device belongs to which group ---- */

struct capable {                               /* registered rt=mcd.n */
	char device[DEVICE_ID_BYTES];
	char sector[REGISTRY_NAME_BYTES_MAX + 1];
	UT_hash_handle hh;
};

struct gateway_multicast {
	struct capable *capable;
	uint64_t generation;                   /* of the directory's list that it was made from */
	bool is_made;
};

static void capable_clear(struct gateway_multicast *m)
{
	struct capable *c, *next;

	HASH_ITER(hh, m->capable, c, next) {
		HASH_DEL(m->capable, c);
		free(c);
	}
}

static void capable_make(struct gateway_multicast *m, const struct posting *p)
{
	capable_clear(m);
	for (size_t i = 0; p && i < p->n; i++) {
		struct capable *c;
		const char *device = p->e[i].reg ? registration_device(p->e[i].reg) : "";

		HASH_FIND_STR(m->capable, device, c);
		if (!*device || c)
			continue;
		c = NEW(struct capable);
		(void)text_copy(c->device, sizeof(c->device), span_str(device)); /* both fit by their limits */
		(void)text_copy(c->sector, sizeof(c->sector), registration_sector(p->e[i].reg));
		HASH_ADD_STR(m->capable, device, c);
	}
}

static const struct capable *capable_find(struct gateway *g, const char *device)
{
	struct gateway_multicast *m = g->multicast_members;
	const struct posting *p = index_get(registry_index(g->registry), INDEX_RT, SPAN_LIT("mcd.n"));
	uint64_t generation = p ? p->generation : 0;
	struct capable *c;

	if (!m->is_made || m->generation != generation)
		capable_make(m, p);
	m->is_made = true;
	m->generation = generation;
	HASH_FIND_STR(m->capable, device, c);
	return c;
}

static bool is_listed(char **list, const char *text)
{
	if (!*list)
		return true;
	for (; *list; list++)
		if (strcmp(*list, text) == 0)
			return true;
	return false;
}

static bool is_listed_uuid(char **list, bool has, const uint8_t uuid[static 16])
{
	uint8_t want[16];

	if (!*list)
		return true;
	for (; has && *list; list++)
		if (text_parse_uuid(span_str(*list), want) == 0 && memcmp(want, uuid, sizeof(want)) == 0)
			return true;
	return false;
}

static int on_group_of(void *ctx, const char *device)
{
	struct gateway *g = ctx;
	const struct device *d = devices_get(g->devices, device);
	const struct capable *c = d && d->state == DEVICE_ENROLLED ? capable_find(g, device) : NULL;

	for (size_t i = 0; c && i < g->config->n_multicast_groups; i++) {
		const struct config_multicast_group *row = &g->config->multicast_groups[i];
		if (is_listed(row->devices, d->id) && is_listed(row->sectors, c->sector) &&
		    is_listed_uuid(row->vendor_ids, d->model.has_vendor, d->model.vendor_id) &&
		    is_listed_uuid(row->class_ids, d->model.has_class, d->model.class_id))
			return (int)i;
	}
	return -ENOENT;
}

static const char *on_group_next(void *ctx, size_t group, const char *after)
{
	struct gateway *g = ctx;
	const struct device *d = devices_next(g->devices, after);

	while (d && on_group_of(g, d->id) != (int)group)
		d = devices_next(g->devices, d->id);
	return d ? d->id : NULL;
}

static bool on_pays(void *ctx, const struct multicast_gathering *q, char why[static MULTICAST_WHY_BYTES])
{
	const struct multicast_gathering_facts f = {
		.group = q->group, .n_members = q->n_members, .min_members = q->min_members, .bytes = q->bytes,
		.fragment_bytes = q->fragment_bytes, .pace_ms = q->pace_ms, .loss = q->loss < 0 ? LOSS_GUESS_PERMILLE / 1000.0 : q->loss };
	struct multicast_choice choice;

	(void)ctx;
	multicast_choose_gathering(&f, &choice);
	(void)snprintf(why, MULTICAST_WHY_BYTES, "%s", choice.text);
	return choice.multicast;
}

/* ---- the configuration ---- */

static struct multicast_group_config group_config(const struct config *c, const struct config_multicast_group *row)
{
	static const enum mcast_link_kind links[] = { [CONFIG_LINK_802154] = MCAST_LINK_802154, [CONFIG_LINK_THREAD] = MCAST_LINK_THREAD,
						      [CONFIG_LINK_868] = MCAST_LINK_868, [CONFIG_LINK_ETHERNET] = MCAST_LINK_ETHERNET };
	struct multicast_group_config g = {
		.port = (uint16_t)row->port, .hop_limit = (uint8_t)row->hop_limit, .link = links[row->link], .routers = (uint16_t)row->routers,
		.pace_ms = row->pace_ms, .slot_ms = (uint8_t)row->slot_ms, .fragment_bytes = (uint8_t)row->fragment_bytes,
		.min_members = row->min_members, .window_start_s = row->window_start_s, .window_s = row->window_s,
		.window_period_s = row->window_period_s, .invite = row->invite, .is_open = c->directory.open };

	(void)text_copy(g.name, sizeof(g.name), span_str(row->name)); /* the schema bounds both */
	(void)text_copy(g.interface, sizeof(g.interface), span_str(row->interface));
	(void)coap_multicast_address_parse(span_str(row->address), g.address); /* checked by the schema */
	return g;
}

static struct multicast_group_config *groups_of(const struct config *c)
{
	struct multicast_group_config *groups = NEW_N(struct multicast_group_config, c->n_multicast_groups + 1);

	for (size_t i = 0; i < c->n_multicast_groups; i++)
		groups[i] = group_config(c, &c->multicast_groups[i]);
	return groups;
}

static struct mcast_tuning tuning_of(const struct config *c)
{
	struct mcast_tuning t;

	mcast_tuning_default(&t);
	t.interleave = (uint16_t)c->multicast.interleave;
	t.lost_max = (uint16_t)c->multicast.lost_max;
	t.sample_min = (uint16_t)c->multicast.sample_min;
	t.sample_max = (uint16_t)c->multicast.sample_max;
	t.unfinished = (uint16_t)c->multicast.unfinished;
	t.rounds_max = (uint16_t)c->multicast.rounds_max;
	t.echo_every = (uint16_t)c->multicast.echo_every;
	t.announce_every = (uint16_t)c->multicast.announce_every;
	t.silent_end = (uint16_t)c->multicast.silent_end;
	t.credit = (uint16_t)c->multicast.credit;
	t.carousel = (uint16_t)c->multicast.carousel;
	t.restart_skip = (uint16_t)c->multicast.restart_skip;
	t.setup_parallel = (uint16_t)c->multicast.setup_parallel;
	t.setup_tries = (uint16_t)c->multicast.setup_tries;
	t.setup_wait_ms = c->multicast.setup_wait_s * 1000;
	t.pull_timeout_ms = c->multicast.pull_timeout_s * 1000;
	t.lazy_ms = c->multicast.lazy_s * 1000;
	return t;
}

/* ---- the store ---- */

struct load {
	multicast_group_row_fn *group;
	multicast_session_row_fn *session;
	void *arg;
};

static int on_group_row(void *ctx, const struct mcast_group_row *row)
{
	const struct load *l = ctx;
	struct multicast_group_record r = { .gid = row->gid, .counter = row->counter };
	struct span rest = row->members;
	size_t n = 0;

	if (text_copy(r.name, sizeof(r.name), span_str(row->name)) < 0)
		return 0;
	memcpy(r.key, row->key, sizeof(r.key));
	memcpy(r.baseline, row->losses, sizeof(r.baseline));
	const char **members = NEW_N(const char *, rest.n + 1); /* an id has at least one byte and its end */
	while (rest.n > 0) {
		const uint8_t *end = memchr(rest.p, 0, rest.n);
		size_t len = end ? (size_t)(end - rest.p) : rest.n;
		if (end && device_id_is_valid(SPAN(rest.p, len)))
			members[n++] = (const char *)rest.p;
		rest = span_sub(rest, len + 1, rest.n);
	}
	r.n_members = n;
	r.members = members;
	int e = l->group(l->arg, &r);
	mem_wipe(r.key, sizeof(r.key));
	free(members);
	return e;
}

static int on_load_groups(void *ctx, multicast_group_row_fn *fn, void *arg)
{
	struct load l = { .group = fn, .arg = arg };

	return mcast_group_store_load(((struct gateway *)ctx)->db, on_group_row, &l);
}

static int on_session_row(void *ctx, const struct mcast_session_row *row)
{
	const struct load *l = ctx;
	struct multicast_session_record r = { .manifest = row->manifest, .image = row->image, .snapshot = row->snapshot };

	memcpy(r.sid.b, row->sid, sizeof(r.sid.b));
	return text_copy(r.group, sizeof(r.group), span_str(row->group)) < 0 ? 0 : l->session(l->arg, &r);
}

static int on_load_sessions(void *ctx, multicast_session_row_fn *fn, void *arg)
{
	struct load l = { .session = fn, .arg = arg };

	return mcast_session_store_load(((struct gateway *)ctx)->db, on_session_row, &l);
}

static void on_save_group(void *ctx, const struct multicast_group_record *r, multicast_stored_fn *done, void *arg)
{
	struct mcast_group_row row = { .name = r->name, .gid = r->gid, .counter = r->counter };
	struct buf members = { 0 };

	for (size_t i = 0; i < r->n_members; i++)
		buf_add(&members, SPAN(r->members[i], strlen(r->members[i]) + 1));
	memcpy(row.key, r->key, sizeof(row.key));
	memcpy(row.losses, r->baseline, sizeof(row.losses));
	row.members = buf_span(&members);
	mcast_group_store_put(((struct gateway *)ctx)->db, &row, done, arg);
	mem_wipe(row.key, sizeof(row.key));
	buf_done(&members);
}

static void on_save_session(void *ctx, const struct multicast_session_record *r, multicast_stored_fn *done, void *arg)
{
	struct mcast_session_row row = { .group = r->group, .manifest = r->manifest, .image = r->image, .snapshot = r->snapshot };

	memcpy(row.sid, r->sid.b, sizeof(row.sid));
	mcast_session_store_put(((struct gateway *)ctx)->db, &row, done, arg);
}

static void on_remove_session(void *ctx, const struct mcast_sid *sid, multicast_stored_fn *done, void *arg)
{
	mcast_session_store_delete(((struct gateway *)ctx)->db, sid->b, done, arg);
}

/* ---- who is heard, who goes ---- */

void gateway_multicast_heard(struct gateway *g, const struct coap_peer *peer)
{
	char device[DEVICE_ID_BYTES];

	if (g->multicast && peer->secure && devices_who(g->devices, peer, SPAN_NONE, wall_now(), device) == 0)
		multicast_heard(g->multicast, peer, device);
}

void gateway_multicast_device(struct gateway *g, const struct device *d)
{
	if (g->multicast && (d->state == DEVICE_QUARANTINED || d->state == DEVICE_RETIRED))
		multicast_device_gone(g->multicast, d->id);
}

void gateway_multicast_forget(struct gateway *g, const char *identity)
{
	const struct device *d = g->multicast ? devices_next(g->devices, NULL) : NULL;

	while (d && strcmp(d->identity, identity) != 0)
		d = devices_next(g->devices, d->id);
	if (d)
		multicast_device_gone(g->multicast, d->id);
}

static void on_report(void *ctx, const char *device, const struct node_report *r, delivery_done_fn *done, void *arg)
{
	struct gateway *g = ctx;
	struct delivery_sink sink = job_run_sink(rollout_run_jobs(g->rollout));

	if (g->multicast)
		multicast_reported(g->multicast, device, r); /* before its job may end */
	sink.report(sink.ctx, device, r, done, arg);
}

static void on_progress(void *ctx, const char *job, uint64_t sent_bytes, uint64_t total_bytes)
{
	struct delivery_sink sink = job_run_sink(rollout_run_jobs(((struct gateway *)ctx)->rollout));

	sink.progress(sink.ctx, job, sent_bytes, total_bytes);
}

struct delivery_sink gateway_sink(struct gateway *g)
{
	return (struct delivery_sink){ .progress = on_progress, .report = on_report, .ctx = g };
}

static void on_silent(void *ctx, const struct coap_peer *peer)
{
	struct gateway *g = ctx;

	(void)peer;
	if (g->multicast)
		multicast_yield(g->multicast);
}

/* ---- life ---- */

int gateway_multicast_start(struct gateway *g, struct buf *error)
{
	const struct config *c = g->config;

	if (!c->multicast.enabled)
		return 0;
	g->multicast_members = NEW(struct gateway_multicast);
	struct multicast_group_config *groups = groups_of(c);
	int r = multicast_open(&(struct multicast_config){
		.loop = g->loop, .endpoint = g->coap, .unicast = g->coap_pull, .path = "mc", .gather_s = c->multicast.gather_s,
		.lifetime_s = c->multicast.lifetime_s, .tuning = tuning_of(c), .groups = groups, .n_groups = c->n_multicast_groups,
		.source = rollout_run_source(g->rollout), .sink = gateway_sink(g), .who = gateway_who, .who_ctx = g, .group_of = on_group_of,
		.group_next = on_group_next, .pays = on_pays, .world_ctx = g,
		.store = { .load_groups = on_load_groups, .load_sessions = on_load_sessions, .save_group = on_save_group,
			   .save_session = on_save_session, .remove_session = on_remove_session, .ctx = g } }, &g->multicast);
	free(groups);
	if (r < 0) {
		buf_printf(error, "multicast: %s\n", r == -EEXIST ? "another path of the configuration is mc" : strerror(-r));
		return r;
	}
	coap_endpoint_set_silent(g->coap, on_silent, g);
	job_run_add_driver(rollout_run_jobs(g->rollout), g->multicast);
	return 0;
}

void gateway_multicast_stop(struct gateway *g)
{
	if (g->multicast)
		g->multicast = g->multicast->ops->close(g->multicast);
	if (g->multicast_members)
		capable_clear(g->multicast_members);
	free(g->multicast_members);
	g->multicast_members = NULL;
}

void gateway_multicast_reload(struct gateway *g)
{
	if (!g->multicast)
		return;
	struct multicast_group_config *groups = groups_of(g->config);
	multicast_set_groups(g->multicast, groups, g->config->n_multicast_groups);
	free(groups);
}
