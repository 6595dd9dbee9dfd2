/* The multicast driver put in its place: which device belongs to which group, whether a session pays, what is stored, who was heard. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/gateway.h"
#include "app/multicast_members.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "rollout/multicast_choice.h"
#include "store/mcast_store.h"

enum { LOSS_GUESS_PERMILLE = 100 };             /* until a group has had a session */

static int on_group_of(void *ctx, const char *device)
{
	return multicast_members_group_of(((struct gateway *)ctx)->multicast_members, device);
}

static size_t on_group_count(void *ctx, size_t group)
{
	return multicast_members_count(((struct gateway *)ctx)->multicast_members, group);
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
	if (!g->multicast)
		return;
	multicast_members_device(g->multicast_members, d->id);
	if (d->state == DEVICE_QUARANTINED || d->state == DEVICE_RETIRED)
		multicast_device_gone(g->multicast, d->id);
}

void gateway_multicast_removed(struct gateway *g, const char *device)
{
	if (!g->multicast)
		return;
	multicast_members_device(g->multicast_members, device);
	multicast_device_gone(g->multicast, device);
}

void gateway_multicast_forget(struct gateway *g, const char *identity)
{
	const struct device *d = g->multicast ? devices_of_identity(g->devices, identity) : NULL;

	if (d)
		multicast_device_gone(g->multicast, d->id);
}

void gateway_multicast_registration(struct gateway *g, const struct registration *reg)
{
	if (g->multicast)
		multicast_members_registration(g->multicast_members, reg);
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
	g->multicast_members = multicast_members_new(g->registry, g->devices);
	multicast_members_set_groups(g->multicast_members, c->multicast_groups, c->n_multicast_groups);
	struct multicast_group_config *groups = groups_of(c);
	int r = multicast_open(&(struct multicast_config){
		.loop = g->loop, .workers = g->workers, .endpoint = g->coap, .unicast = g->coap_pull, .path = "mc", .gather_s = c->multicast.gather_s,
		.lifetime_s = c->multicast.lifetime_s, .tuning = tuning_of(c), .groups = groups, .n_groups = c->n_multicast_groups,
		.source = rollout_run_source(g->rollout), .sink = gateway_sink(g), .who = gateway_who, .who_ctx = g, .group_of = on_group_of,
		.group_count = on_group_count, .pays = on_pays, .world_ctx = g,
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
	g->multicast_members = multicast_members_free(g->multicast_members);
}

void gateway_multicast_reload(struct gateway *g)
{
	if (!g->multicast)
		return;
	multicast_members_set_groups(g->multicast_members, g->config->multicast_groups, g->config->n_multicast_groups);
	struct multicast_group_config *groups = groups_of(g->config);
	multicast_set_groups(g->multicast, groups, g->config->n_multicast_groups);
	free(groups);
}
