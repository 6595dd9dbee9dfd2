/* What must hold in every story, looked at when it could break:
 *   - nothing is sent to a sleeping node but the answer to what it asked just before;
 *   - a node installs only what the vendor signed, byte for byte, upwards, and each update once;
 *   - no download starts after the recall was acknowledged to the operator;
 *   - an acknowledged success is on disk;
 *   - what is on disk when the gateway is killed is what it knows when it comes back: jobs, updates, approvals, registrations. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "base/tmpfile.h"
#include "node/node_state.h"
#include "sim_site.h"

enum { ANSWER_MS_MAX = 100 * SIM_SECOND, IMAGE_FILE_BYTES_MAX = 1024 * 1024 };

static struct site *site;

/* ---- the network ---- */

static void on_sent(void *ctx, int client, int64_t asked_ms)
{
	const struct site *s = ctx;

	if (client < 0 || client >= (int)s->c.n_nodes)
		return; /* a test's own client */
	const struct site_node *n = &s->nodes[client];
	if (!n->node || n->setup.plan.sleep_ms == 0 || node_status(n->node).state != NODE_SLEEP)
		return;
	SIM_CHECK(asked_ms >= 0, "%s sleeps and is sent a notification", n->name);
	SIM_CHECK(asked_ms < ANSWER_MS_MAX, "%s sleeps and is sent an answer to what it asked %lld s ago", n->name, (long long)(asked_ms / 1000));
	site->n_sent_asleep++;
}

static void on_asked(void *ctx, int client, const char *path, uint64_t off)
{
	struct site *s = ctx;

	if (client < 0 || client >= (int)s->c.n_nodes)
		return;
	const char *hex = strncmp(path, "fw/i/", 5) == 0 ? path + 5 : "";
	const struct release *r = site_release_of_image(s, span_str(hex));
	if (r)
		s->nodes[client].blocks[r - s->releases]++;
	SIM_CHECK(!s->nodes[client].node || node_status(s->nodes[client].node).state != NODE_SLEEP, "%s talks in its sleep",
		  s->nodes[client].name);
}

static void note_registration(struct site_node *n, const struct sim_answer *a)
{
	bool is_new = a->req->n_path == 1;

	if (is_new && a->code == COAP_201_CREATED)
		(void)snprintf(n->location, sizeof(n->location), "%s", a->location + strlen("rd/")); /* 16 digits */
	if ((is_new && a->code == COAP_201_CREATED) || (!is_new && a->code == COAP_204_CHANGED))
		n->location_until = sim_now() + (int64_t)n->setup.lifetime_s * 1000;
}

static const struct job_mark *job_mark(const struct site *s, const char *id)
{
	for (size_t i = 0; i < s->n_jobs; i++)
		if (strcmp(s->jobs[i].id, id) == 0)
			return &s->jobs[i];
	return NULL;
}

static void check_report(const struct site *s, const struct sim_answer *a)
{
	char update[UPDATE_ID_BYTES], job[JOB_ID_BYTES];
	struct node_report rep;
	struct span ep = SPAN_NONE;

	if (a->code != COAP_204_CHANGED || node_report_decode(a->req->body, &rep) < 0)
		return;
	if (!coap_query_get(a->req, "ep", &ep))
		return;
	char device[DEVICE_ID_BYTES];
	device_id_of_endpoint(ep, SPAN_NONE, device);
	job_id_of(digest_hex(&rep.manifest_digest, update), device, job);
	const struct job_mark *m = job_mark(s, job);
	SIM_CHECK(m, "a report of %s is acknowledged, and its job is not on disk", device);
	if (job_event_from_report(rep.state, rep.result) == JOB_EV_CONFIRMED)
		SIM_CHECK(m->state == JOB_CONFIRMED || m->state == JOB_CANCELLED || m->state == JOB_REVERTED,
			  "the success of %s is acknowledged, and on disk its job is %s", device, job_state_name(m->state));
}

static void check_image(const struct site *s, const struct sim_answer *a)
{
	const struct release *r = site_release_of_image(s, a->req->path[a->req->n_path - 1]);

	SIM_CHECK(r, "an image is served that the vendor never made");
	SIM_CHECK(!r->is_recalled || a->off > 0, "client %d starts a download %lld ms after the recall was acknowledged", a->client,
		  (long long)(sim_now() - r->recalled_at));
	SIM_CHECK(!r->is_recalled || sim_now() - r->recalled_at < 30 * SIM_SECOND, "client %d still downloads %lld ms after the recall", a->client,
		  (long long)(sim_now() - r->recalled_at));
}

static void on_answered(void *ctx, const struct sim_answer *a)
{
	struct site *s = ctx;

	if (a->client >= 0 && a->client < (int)s->c.n_nodes && a->req->n_path && span_eq_str(a->req->path[0], "rd") && a->req->method == COAP_M_POST)
		note_registration(&s->nodes[a->client], a);
	if (a->req->n_path == 2 && span_eq_str(a->req->path[0], "fw") && span_eq_str(a->req->path[1], "r"))
		check_report(s, a);
	if (a->req->n_path == 3 && span_eq_str(a->req->path[0], "fw") && a->code == COAP_205_CONTENT)
		check_image(s, a);
	if (s->answered)
		s->answered(s->answered_ctx, a);
}

/* ---- the nodes' flash ---- */

int __real_node_store_save(struct node_store *st, const struct node_durable *d);
int __wrap_node_store_save(struct node_store *st, const struct node_durable *d);
int __real_node_part_install(struct node_store *st, const struct digest *image, size_t component);
int __wrap_node_part_install(struct node_store *st, const struct digest *image, size_t component);

static struct site_node *node_of(const struct node_store *st)
{
	char link[64], path[256];

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", st->dirfd); /* fits */
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	SIM_CHECK(n > 0, "no directory behind a node's store");
	path[n] = 0;
	for (unsigned i = 0; i < site->c.n_nodes; i++)
		if (strcmp(site->nodes[i].dir, path) == 0)
			return &site->nodes[i];
	sim_fail(__FILE__, __LINE__, "%s is no node's directory", path);
}

static void check_slot(const struct site_node *n, const struct release *r)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t size = 0;

	SIM_CHECK(asprintf(&path, "%s/slot-0", n->dir) > 0 && file_read(AT_FDCWD, path, IMAGE_FILE_BYTES_MAX, &bytes, &size) == 0,
		  "%s runs an image that is not there", n->name);
	SIM_CHECK(span_eq(SPAN(bytes, size), buf_span(&r->image)), "%s runs other bytes than the vendor signed", n->name);
}

int __wrap_node_part_install(struct node_store *st, const struct digest *image, size_t component)
{
	char hex[DIGEST_HEX_BYTES];
	int r = __real_node_part_install(st, image, component);

	if (r == 0 && site) {
		const struct release *rel = site_release_of_image(site, span_str(digest_hex(image, hex)));
		SIM_CHECK(rel, "an image is installed that the vendor never made");
		check_slot(node_of(st), rel);
	}
	return r;
}

int __wrap_node_store_save(struct node_store *st, const struct node_durable *d)
{
	char hex[DIGEST_HEX_BYTES];
	int r = __real_node_store_save(st, d);

	if (r < 0 || !site || d->phase != NODE_INSTALLED)
		return r;
	struct site_node *n = node_of(st);
	size_t i = 0;
	digest_hex(&d->installed, hex);
	while (i < site->n_releases && strcmp(site->releases[i].id, hex) != 0)
		i++;
	SIM_CHECK(i < site->n_releases, "%s installs %.12s, which the vendor never made", n->name, hex);
	check_slot(n, &site->releases[i]);
	SIM_CHECK(site->releases[i].sequence > n->sequence, "%s goes from %llu to %llu", n->name, (unsigned long long)n->sequence,
		  (unsigned long long)site->releases[i].sequence);
	n->sequence = site->releases[i].sequence;
	SIM_CHECK(++n->installed[i] == 1, "%s installs %llu again", n->name, (unsigned long long)n->sequence);
	sim_note(8, (uint64_t)n->index << 8 | i);
	return r;
}

/* ---- the disk ---- */

static void mark_jobs(struct site *s)
{
	const struct job *j = NULL;

	s->n_jobs = 0;
	while ((j = job_run_next(rollout_run_jobs(s->rollout), j ? j->id : NULL))) {
		SIM_CHECK(s->n_jobs < SITE_JOBS_MAX, "more than %d jobs", SITE_JOBS_MAX);
		struct job_mark *m = &s->jobs[s->n_jobs++];
		memcpy(m->id, j->id, sizeof(m->id));
		m->state = j->state;
		m->attempts = j->attempts;
		sim_note(9, (uint64_t)j->state << 8 | j->attempts);
	}
}

static void mark_updates(struct site *s)
{
	const struct update *u = NULL;

	s->n_updates = 0;
	while ((u = intake_update_next(s->intake, u ? u->id : NULL))) {
		struct update_mark *m = &s->updates[s->n_updates++];
		memcpy(m->id, u->id, sizeof(m->id));
		m->state = u->state;
		m->approved = u->approved;
	}
}

static void mark_registrations(struct site *s)
{
	const struct registration *r = NULL;

	s->n_registrations = 0;
	while ((r = registry_next(s->registry, r ? registration_order(r) : 0))) {
		struct registration_mark *m = &s->registrations[s->n_registrations++];
		memcpy(m->location, registration_location(r), sizeof(m->location));
		m->deadline = registration_deadline(r).ms;
	}
}

/* Everything that memory knows was queued when it came to know it, so at the instant of a commit both are the same. */
void watch_committed(void *ctx)
{
	struct site *s = ctx;

	s->n_commits++;
	mark_jobs(s);
	mark_updates(s);
	mark_registrations(s);
}

static void check_jobs(const struct site *s)
{
	SIM_CHECK(job_run_total(rollout_run_jobs(s->rollout)) == s->n_jobs, "%zu jobs were on disk, %zu come back", s->n_jobs,
		  job_run_total(rollout_run_jobs(s->rollout)));
	for (size_t i = 0; i < s->n_jobs; i++) {
		const struct job_mark *m = &s->jobs[i];
		const struct job *j = job_run_get(rollout_run_jobs(s->rollout), m->id);
		SIM_CHECK(j, "job %.12s is lost", m->id);
		SIM_CHECK(j->state == m->state && j->attempts == m->attempts, "job %.12s was %s (%u), comes back %s (%u)", m->id,
			  job_state_name(m->state), m->attempts, job_state_name(j->state), j->attempts);
	}
}

static void check_updates(const struct site *s)
{
	SIM_CHECK(intake_update_count(s->intake) == s->n_updates, "%zu updates were on disk, %zu come back", s->n_updates,
		  intake_update_count(s->intake));
	for (size_t i = 0; i < s->n_updates; i++) {
		const struct update_mark *m = &s->updates[i];
		const struct update *u = intake_update(s->intake, m->id);
		SIM_CHECK(u && u->state == m->state && u->approved == m->approved, "update %.12s was %s%s, comes back %s%s", m->id,
			  update_state_name(m->state), m->approved ? ", approved" : "", u ? update_state_name(u->state) : "not",
			  u && u->approved ? ", approved" : "");
	}
	for (size_t i = 0; i < s->n_releases; i++) {
		const struct release *r = &s->releases[i];
		const struct update *u = intake_update(s->intake, r->id);
		SIM_CHECK(!r->is_approved || (u && u->approved), "an acknowledged approval is lost");
		SIM_CHECK(!r->is_recalled || (u && u->state == UPDATE_RECALLED), "an acknowledged recall is lost");
	}
}

static void check_registrations(const struct site *s)
{
	for (size_t i = 0; i < s->n_registrations; i++) {
		const struct registration_mark *m = &s->registrations[i];
		const struct registration *r = registry_get_hidden_too(s->registry, span_str(m->location));
		if (!r && mono_now().ms >= m->deadline)
			continue;
		SIM_CHECK(r, "registration %s is lost", m->location);
		int64_t differs = registration_deadline(r).ms - m->deadline;
		SIM_CHECK(!registry_get(s->registry, span_str(m->location)) || (differs > -10 && differs < 10),
			  "registration %s lives %lld ms longer", m->location, (long long)differs);
	}
	for (unsigned i = 0; i < s->c.n_nodes; i++) {
		const struct site_node *n = &s->nodes[i];
		SIM_CHECK(!n->location[0] || sim_now() >= n->location_until || registry_get(s->registry, span_str(n->location)),
			  "the registration %s of %s was acknowledged and is lost", n->location, n->name);
	}
}

void watch_reopened(struct site *s)
{
	if (s->life <= 1)
		return;
	check_jobs(s);
	check_updates(s);
	check_registrations(s);
}

void watch_begin(struct site *s)
{
	const struct sim_net_watch w = { .answered = on_answered, .sent = on_sent, .asked = on_asked, .ctx = s };

	site = s;
	sim_net_begin(&s->c.faults, &w);
}

void watch_end(void)
{
	site = NULL;
}
