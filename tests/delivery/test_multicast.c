/* The driver with a real CoAP server, nodes that we play on client sessions, and the group's frames by unicast on loopback: the same
 * code as with multicast, and nothing leaves the machine. What a session decides is tests/delivery/test_mcast_*. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "delivery/multicast.h"
#include "io/coap_client.h"

enum { IMAGE_BYTES = 20000, NODES = 5, STORED_MAX = 8, LIMIT_MS = 30000 };

enum behaviour { ACCEPTS, REFUSES, SILENT };

struct fixture;

struct node {
	struct fixture *f;
	char name[16];
	enum behaviour behaviour;
	struct coap_session *session;
	struct coap_served *held;
	/* what it was told */
	unsigned n_setups, n_pulls;
	bool is_set_up;
	struct mcast_sid sid;
	uint8_t gid, key[MCAST_KEY_BYTES];
	struct mcast_geometry geo;
	struct mac_cmac *mk;
	char envelope_path[MCAST_PATH_BYTES_MAX];
	/* what it heard */
	uint8_t *got;                          /* a byte for each fragment of the object, in order of (g, n) */
	unsigned missing[256], rows[256], n_frames, n_bad, n_end[4];
	unsigned drop_every;                   /* of the systematic frames */
	bool deaf, lies;
	uint32_t last_row[256];
	unsigned n_rows_again;
	uint8_t seq;
	bool done_told;
};

struct stored_group {
	struct multicast_group_record r;
	char names[64][DEVICE_ID_BYTES];
	const char *members[64];
};

struct stored_session {
	struct multicast_session_record r;
	struct buf snapshot;
};

struct answer {
	multicast_stored_fn *done;
	void *arg;
	int error;
};

struct fixture {
	struct loop *loop;
	struct worker_pool *workers;           /* one thread */
	sem_t gate;                            /* for a job that holds it up */
	size_t n_jobs_done;
	struct coap_endpoint *endpoint;
	struct coap_client *client;
	struct coap_multicast_receiver *air;
	struct loop_timer *answering;
	struct answer answers[64];
	size_t n_answers;
	struct delivery_driver unicast, *driver;
	struct multicast_group_config group;
	bool plain_refused;                    /* the group is not open */
	bool store_fails;
	unsigned n_saves;
	struct stored_group groups[2];
	size_t n_groups;
	struct stored_session sessions[STORED_MAX];
	size_t n_sessions;
	struct node nodes[NODES];
	size_t n_nodes;
	uint8_t image[IMAGE_BYTES];
	struct delivery_image images[2];
	struct digest manifest;
	int open_error;
	unsigned n_open;
	char by_unicast[256], cancelled[256];
	struct { char job[JOB_ID_BYTES]; uint64_t sent; } progress[NODES];
	bool in_group_none;
	/* the last answer */
	bool is_done;
	struct coap_call_result res;
	struct buf body;
};

/* ---- the world ---- */

static int read_image(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	memcpy(ret, ((struct fixture *)ctx)->image + off, n);
	return 0;
}

static void release_image(void *ctx) { ((struct fixture *)ctx)->n_open--; }

static int open_image(void *ctx, const struct digest *manifest, const struct digest *d, struct coap_body_reader *ret)
{
	struct fixture *f = ctx;

	if (f->open_error)
		return f->open_error;
	f->n_open++;
	*ret = (struct coap_body_reader){ .bytes = IMAGE_BYTES, .read = read_image, .release = release_image, .ctx = f };
	return 0;
}

static int envelope(void *ctx, const char *device, const struct digest *manifest, struct buf *ret)
{
	buf_printf(ret, "envelope for %s", device);
	return 0;
}

static void progress(void *ctx, const char *job, uint64_t sent, uint64_t total)
{
	struct fixture *f = ctx;
	size_t i = (size_t)atoi(job + 4);

	assert_in_range(i, 0, NODES - 1);
	assert_true(sent <= total && total == IMAGE_BYTES);
	f->progress[i].sent = sent;
}

static void report(void *ctx, const char *device, const struct node_report *r, delivery_done_fn *done, void *arg) { done(arg, 0); }

static int who(void *ctx, const struct coap_peer *peer, struct span ep, char *ret)
{
	if (span_eq_str(ep, "stranger"))
		return COAP_403_FORBIDDEN;
	return ep.n == 0 || text_copy(ret, DEVICE_ID_BYTES, ep) < 0 ? COAP_401_UNAUTHORIZED : 0;
}

static int group_of(void *ctx, const char *device)
{
	return ((struct fixture *)ctx)->in_group_none ? -ENOENT : 0;
}

static size_t group_count(void *ctx, size_t group)
{
	return ((struct fixture *)ctx)->n_nodes;
}

static int unicast_start(struct delivery_driver *drv, const struct delivery_order *order)
{
	struct fixture *f = (struct fixture *)((char *)drv - offsetof(struct fixture, unicast));

	(void)snprintf(f->by_unicast + strlen(f->by_unicast), sizeof(f->by_unicast) - strlen(f->by_unicast), "%s ", order->device);
	return 0;
}

static void unicast_cancel(struct delivery_driver *drv, const char *device, const char *job)
{
	struct fixture *f = (struct fixture *)((char *)drv - offsetof(struct fixture, unicast));

	(void)snprintf(f->cancelled + strlen(f->cancelled), sizeof(f->cancelled) - strlen(f->cancelled), "%s ", device);
}

static const struct delivery_ops unicast_ops = { .name = "unicast", .start = unicast_start, .cancel = unicast_cancel };

/* ---- a store in memory that answers in the loop's next turn, as a commit does ---- */

static void answer_all(void *ctx)
{
	struct fixture *f = ctx;

	while (f->n_answers > 0) {
		struct answer a = f->answers[0];
		memmove(f->answers, f->answers + 1, --f->n_answers * sizeof(a));
		if (a.done)
			a.done(a.arg, a.error);
	}
}

static void answer_later(struct fixture *f, multicast_stored_fn *done, void *arg)
{
	assert_in_range(f->n_answers, 0, 63);
	f->answers[f->n_answers++] = (struct answer){ done, arg, f->store_fails ? -ENOSPC : 0 };
	loop_timer_set(f->answering, 0);
}

static int load_groups(void *ctx, multicast_group_row_fn *fn, void *arg)
{
	struct fixture *f = ctx;

	for (size_t i = 0; i < f->n_groups; i++)
		assert_int_equal(fn(arg, &f->groups[i].r), 0);
	return 0;
}

static int load_sessions(void *ctx, multicast_session_row_fn *fn, void *arg)
{
	struct fixture *f = ctx;
	struct stored_session copy[STORED_MAX];
	size_t n = f->n_sessions;

	memcpy(copy, f->sessions, sizeof(copy));
	for (size_t i = 0; i < n; i++)
		assert_int_equal(fn(arg, &copy[i].r), 0);
	return 0;
}

static void save_group(void *ctx, const struct multicast_group_record *r, multicast_stored_fn *done, void *arg)
{
	struct fixture *f = ctx;
	struct stored_group *g = NULL;

	answer_later(f, done, arg);
	if (f->store_fails)
		return;
	for (size_t i = 0; i < f->n_groups; i++)
		if (strcmp(f->groups[i].r.name, r->name) == 0)
			g = &f->groups[i];
	if (!g)
		g = &f->groups[f->n_groups++];
	assert_true(r->counter >= g->r.counter);
	g->r = *r;
	for (size_t i = 0; i < r->n_members; i++) {
		(void)snprintf(g->names[i], sizeof(g->names[i]), "%s", r->members[i]);
		g->members[i] = g->names[i];
	}
	g->r.members = g->members;
}

static void save_session(void *ctx, const struct multicast_session_record *r, multicast_stored_fn *done, void *arg)
{
	struct fixture *f = ctx;
	struct stored_session *s = NULL;

	f->n_saves++;
	answer_later(f, done, arg);
	if (f->store_fails)
		return;
	for (size_t i = 0; i < f->n_sessions; i++)
		if (mcast_sid_eq(&f->sessions[i].r.sid, &r->sid))
			s = &f->sessions[i];
	if (!s)
		s = &f->sessions[f->n_sessions++];
	s->r = *r;
	buf_clear(&s->snapshot);
	buf_add(&s->snapshot, r->snapshot);
	s->r.snapshot = buf_span(&s->snapshot);
}

static void remove_session(void *ctx, const struct mcast_sid *sid, multicast_stored_fn *done, void *arg)
{
	struct fixture *f = ctx;

	answer_later(f, done, arg);
	for (size_t i = 0; i < f->n_sessions; i++) {
		if (!mcast_sid_eq(&f->sessions[i].r.sid, sid))
			continue;
		buf_done(&f->sessions[i].snapshot);
		f->sessions[i] = f->sessions[--f->n_sessions];
		f->sessions[f->n_sessions] = (struct stored_session){ 0 };
		return;
	}
}

/* ---- a node ---- */

static unsigned n_missing(const struct node *n)
{
	unsigned sum = 0;

	for (unsigned g = 0; g < n->geo.n_generations; g++)
		sum += n->missing[g] > n->rows[g] ? n->missing[g] - n->rows[g] : 0;
	return sum;
}

/* The decoder refuses addresses that are no group's; ours is loopback's. */
static int setup_decode(const struct fixture *f, struct span body, uint8_t *copy, struct mcast_setup *ret)
{
	memcpy(copy, body.p, body.n);
	for (size_t i = 0; i + sizeof(f->group.address) <= body.n; i++)
		if (memcmp(copy + i, f->group.address, sizeof(f->group.address)) == 0)
			copy[i] = 0xff;
	return mcast_setup_decode(SPAN(copy, body.n), ret);
}

static void take_setup(struct node *n, struct span body)
{
	uint8_t copy[MCAST_SETUP_BYTES_MAX], mk[MAC_CMAC_KEY_BYTES];
	struct mcast_setup m;

	assert_int_equal(setup_decode(n->f, body, copy, &m), 0);
	assert_true(m.has_key);
	assert_int_equal(m.size, IMAGE_BYTES);
	assert_true(digest_eq(&m.digest, &n->f->images[0].digest));
	bool again = n->is_set_up && mcast_sid_eq(&n->sid, &m.sid);
	n->sid = m.sid;
	n->gid = m.gid;
	memcpy(n->key, m.key, sizeof(n->key));
	(void)snprintf(n->envelope_path, sizeof(n->envelope_path), "%.*s", SPAN_ARG(m.envelope_path));
	mcast_mic_key(&n->sid, n->key, mk);
	mac_cmac_free(n->mk);
	n->mk = mac_cmac_new(mk);
	n->is_set_up = true;
	if (again)
		return;
	assert_int_equal(mcast_geometry_of(m.size, m.z, m.k, m.log2_e, &n->geo), 0);
	assert_int_equal(m.table.n, n->geo.n_generations * MCAST_GENERATION_DIGEST_BYTES);
	free(n->got);
	n->got = mem_new(n->geo.n_fragments, 1);
	memset(n->rows, 0, sizeof(n->rows));
	for (unsigned g = 0; g < n->geo.n_generations; g++) {
		struct mcast_generation gen = mcast_geometry_generation(&n->geo, g);
		struct digest d = digest_of(SPAN(n->f->image + gen.offset, gen.length));
		assert_memory_equal(m.table.p + g * MCAST_GENERATION_DIGEST_BYTES, d.b, MCAST_GENERATION_DIGEST_BYTES);
		n->missing[g] = gen.m;
	}
}

static void say(struct node *n, uint8_t seq);

static int on_asked(void *ctx, const struct coap_request *q, struct coap_response *res)
{
	struct node *n = ctx;
	struct mcast_ack ack = { .l = 100, .k_max = 512 };
	struct mcast_sid sid;

	assert_true(coap_path_is(q, "mc"));
	assert_int_equal(q->method, COAP_M_POST);
	if (mcast_post_kind(q->body) == MCAST_POST_PULL) {
		assert_int_equal(mcast_pull_decode(q->body, &sid), 0);
		assert_true(mcast_sid_eq(&sid, &n->sid));
		n->n_pulls++;
		say(n, 0); /* it may have all of it */
		res->code = COAP_204_CHANGED;
		return 0;
	}
	n->n_setups++;
	if (n->behaviour == SILENT)
		return coap_error(res, COAP_500_INTERNAL, "not today");
	take_setup(n, q->body);
	ack.sid = n->sid;
	ack.code = n->behaviour == REFUSES ? MCAST_ACK_NO_SPACE : MCAST_ACK_ACCEPTED;
	unsigned code = mcast_ack_coap_code(ack.code);
	res->code = (uint8_t)COAP_CODE(code / 100, code % 100);
	res->content_format = COAP_CF_CBOR;
	mcast_ack_encode(&ack, &res->body);
	return 0;
}

static void ignore(void *ctx, const struct coap_call_result *res) { }

static void say(struct node *n, uint8_t seq)
{
	struct mcast_report r = { .sid = n->sid, .seq = seq, .loss_permille = n->drop_every ? (uint16_t)(1000 / n->drop_every) : 0 };
	const char *query[] = { NULL, NULL };
	struct coap_call_request q = { .method = COAP_M_POST, .path = "mc/r", .query = query, .accept = COAP_CF_NONE,
				       .content_format = COAP_CF_CBOR, .is_non = true, .szx = 6 };
	char ep[32];
	struct buf b = { 0 };
	struct coap_call *c;

	(void)snprintf(ep, sizeof(ep), "ep=%s", n->name);
	query[0] = ep;
	if (n_missing(n) == 0)
		r.flags = MCAST_REPORT_DONE;
	for (unsigned g = 0; g < n->geo.n_generations && r.n_deficits < MCAST_REPORT_DEFICITS_MAX; g++)
		if (n->missing[g] > n->rows[g])
			r.deficits[r.n_deficits++] = (struct mcast_report_deficit){ (uint8_t)g, (uint16_t)(n->missing[g] - n->rows[g]) };
	mcast_report_encode(&r, &b);
	q.body = buf_span(&b);
	assert_int_equal(coap_call(n->session, &q, ignore, NULL, &c), 0);
	coap_call_cancel(c); /* nothing is answered */
	buf_done(&b);
}

static void hear_data(struct node *n, const struct mcast_data *d)
{
	struct mcast_generation gen = mcast_geometry_generation(&n->geo, d->g);
	uint32_t first = 0, off;

	if (d->n > gen.m) {
		if (d->n <= n->last_row[d->g])
			n->n_rows_again++;
		n->last_row[d->g] = d->n;
		n->rows[d->g]++;
		return;
	}
	if (n->drop_every && d->n % n->drop_every == 0)
		return;
	for (unsigned g = 0; g < d->g; g++)
		first += mcast_geometry_generation(&n->geo, g).m;
	unsigned len = mcast_geometry_fragment(&n->geo, d->g, d->n, &off);
	assert_memory_equal(d->fragment.p, n->f->image + off, len);
	n->missing[d->g] -= !n->got[first + d->n - 1];
	n->got[first + d->n - 1] = 1;
}

static void hear(struct node *n, struct span bytes)
{
	struct mcast_frame frame;

	if (!n->is_set_up || n->deaf || n->behaviour != ACCEPTS || mcast_frame_decode(bytes, &frame) < 0 || frame.sid8 != mcast_sid8(&n->sid))
		return;
	if (!mcast_frame_check(n->mk, &n->sid, &frame)) {
		n->n_bad++;
		return;
	}
	n->n_frames++;
	if (frame.type == MCAST_DATA)
		hear_data(n, &frame.data);
	if (frame.type == MCAST_END)
		n->n_end[frame.end]++;
	if (frame.type == MCAST_STATUS && frame.status.seq != n->seq && (frame.status.flags & MCAST_STATUS_ALL || n_missing(n))) {
		n->seq = frame.status.seq;
		say(n, n->seq);
	}
}

static void on_air(void *ctx, const struct coap_multicast_heard *h)
{
	struct fixture *f = ctx;

	for (size_t i = 0; i < f->n_nodes; i++)
		hear(&f->nodes[i], h->frame);
}

/* ---- set-up ---- */

static void open_driver(struct fixture *f)
{
	struct multicast_config c = {
		.loop = f->loop, .workers = f->workers, .endpoint = f->endpoint, .unicast = &f->unicast, .path = "mc", .gather_s = 1, .lifetime_s = 3600,
		.groups = &f->group, .n_groups = 1, .source = { open_image, envelope, f }, .sink = { progress, report, f }, .who = who,
		.group_of = group_of, .group_count = group_count, .world_ctx = f,
		.store = { load_groups, load_sessions, save_group, save_session, remove_session, f },
	};

	mcast_tuning_default(&c.tuning);
	c.tuning.setup_retry_ms = 20;
	c.tuning.grace_ms = 50;
	c.tuning.lazy_ms = 300;
	c.tuning.pull_timeout_ms = 300;
	assert_int_equal(multicast_open(&c, &f->driver), 0);
}

static void open_endpoint(struct fixture *f)
{
	const char *listen[] = { "coap://127.0.0.1:0" };
	struct coap_endpoint_config ec = { .listen = listen, .n_listen = 1 };
	int error = 0;

	f->endpoint = coap_endpoint_new(f->loop, &ec, &error);
	assert_non_null(f->endpoint);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct coap_multicast_group g = { .port = 0 };

	log_set_max_priority(getenv("TEST_LOG") ? LOG_DEBUG : LOG_ALERT);
	f->loop = loop_new();
	f->workers = worker_pool_new(f->loop, 1);
	assert_non_null(f->workers);
	assert_int_equal(sem_init(&f->gate, 0, 0), 0);
	f->answering = loop_timer_new(f->loop, answer_all, f);
	f->unicast.ops = &unicast_ops;
	open_endpoint(f);
	f->client = coap_client_new(f->loop);
	assert_int_equal(coap_multicast_address_parse(span_str("127.0.0.1"), g.address), 0);
	assert_int_equal(coap_multicast_receiver_open(f->loop, &g, on_air, f, &f->air), 0);
	f->group = (struct multicast_group_config){ .name = "g", .port = coap_multicast_receiver_port(f->air), .link = MCAST_LINK_ETHERNET,
						    .pace_ms = 1, .slot_ms = 1, .min_members = 2, .is_open = true };
	memcpy(f->group.address, g.address, sizeof(g.address));
	for (size_t i = 0; i < IMAGE_BYTES; i++)
		f->image[i] = (uint8_t)(i * 7 ^ i >> 8);
	f->images[0].digest = digest_of(SPAN_OF(f->image));
	f->images[0].bytes = IMAGE_BYTES;
	f->images[1] = f->images[0];
	f->manifest = digest_of(SPAN_LIT("manifest"));
	open_driver(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < f->n_nodes; i++) {
		coap_session_close(f->nodes[i].session);
		mac_cmac_free(f->nodes[i].mk);
		free(f->nodes[i].got);
	}
	coap_client_free(f->client);
	f->driver->ops->close(f->driver);
	coap_endpoint_free(f->endpoint);
	worker_pool_free(f->workers);
	(void)sem_destroy(&f->gate); /* nobody waits */
	answer_all(f); /* nobody is there any more: what was asked must not touch what is gone */
	assert_int_equal(f->n_open, 0);
	coap_multicast_receiver_close(f->air);
	loop_timer_free(f->answering);
	loop_free(f->loop);
	for (size_t i = 0; i < STORED_MAX; i++)
		buf_done(&f->sessions[i].snapshot);
	buf_done(&f->body);
	free(f);
	return 0;
}

#define UNTIL(f_, test_)                                                                       \
	do {                                                                                   \
		struct mono end_ = mono_add_ms(mono_now(), LIMIT_MS);                          \
		while (!(test_)) {                                                             \
			assert_true(mono_before(mono_now(), end_));                            \
			(void)loop_run_for((f_)->loop, 5);                                     \
		}                                                                              \
	} while (0)

static void on_answer(void *ctx, const struct coap_call_result *res)
{
	struct fixture *f = ctx;

	f->is_done = true;
	f->res = *res;
	buf_clear(&f->body);
	buf_add(&f->body, res->body);
}

static uint8_t ask(struct fixture *f, struct coap_session *s, uint8_t method, const char *path, const char *query, struct span body, int cf)
{
	const char *q[3] = { query, NULL };
	char cut[128];
	struct coap_call_request req = { .method = method, .path = path, .query = query ? q : NULL, .accept = COAP_CF_NONE, .content_format = cf,
					 .body = body, .szx = 6 };

	(void)snprintf(cut, sizeof(cut), "%s", query ? query : "");
	char *and = strchr(cut, '&');
	if (and) {
		*and = 0;
		q[0] = cut;
		q[1] = and + 1;
	}
	f->is_done = false;
	assert_int_equal(coap_call(s, &req, on_answer, f, NULL), 0);
	UNTIL(f, f->is_done);
	assert_int_equal(f->res.error, 0);
	return f->res.code;
}

static uint8_t get(struct fixture *f, struct coap_session *s, const char *path, const char *query)
{
	return ask(f, s, COAP_M_GET, path, query, SPAN_NONE, COAP_CF_NONE);
}

static void node_reach(struct node *n)
{
	struct coap_session_config sc = { .uri = coap_endpoint_address(n->f->endpoint, 0) };
	char ep[32];

	coap_session_close(n->session);
	assert_int_equal(coap_session_open(n->f->client, &sc, &n->session), 0);
	coap_session_serve(n->session, on_asked, n);
	(void)snprintf(ep, sizeof(ep), "ep=%s", n->name);
	(void)get(n->f, n->session, "mc/s", ep); /* whatever comes: it was heard */
}

static struct node *node_add(struct fixture *f, enum behaviour behaviour)
{
	struct node *n = &f->nodes[f->n_nodes];

	*n = (struct node){ .f = f, .behaviour = behaviour };
	(void)snprintf(n->name, sizeof(n->name), "node-%zu", f->n_nodes);
	f->n_nodes++;
	node_reach(n);
	assert_int_equal(f->res.code, COAP_404_NOT_FOUND);
	return n;
}

static int order(struct fixture *f, size_t i)
{
	struct delivery_order o = { .manifest = f->manifest, .sequence = 2, .images = f->images, .n_images = 1 };

	(void)snprintf(o.device, sizeof(o.device), "node-%zu", i);
	(void)snprintf(o.job, sizeof(o.job), "job-%zu", i);
	return f->driver->ops->start(f->driver, &o);
}

static void order_all(struct fixture *f)
{
	for (size_t i = 0; i < f->n_nodes; i++)
		assert_int_equal(order(f, i), 0);
}

static void cancel(struct fixture *f, size_t i)
{
	char device[16], job[16];

	(void)snprintf(device, sizeof(device), "node-%zu", i);
	(void)snprintf(job, sizeof(job), "job-%zu", i);
	f->driver->ops->cancel(f->driver, device, job);
}

static bool take_view(void *arg, const struct multicast_session_view *v)
{
	*(struct multicast_session_view *)arg = *v;
	return false;
}

static bool first_view(struct fixture *f, struct multicast_session_view *v)
{
	*v = (struct multicast_session_view){ 0 };
	multicast_sessions(f->driver, take_view, v);
	return v->group != NULL;
}

static bool no_session(struct fixture *f)
{
	struct multicast_session_view v;

	return !first_view(f, &v);
}

static bool in_phase(struct fixture *f, const char *phase)
{
	struct multicast_session_view v;

	return first_view(f, &v) && strcmp(v.phase, phase) == 0;
}

static bool all_whole(const struct fixture *f)
{
	for (size_t i = 0; i < f->n_nodes; i++)
		if (!f->nodes[i].is_set_up || n_missing(&f->nodes[i]) || !f->nodes[i].n_end[MCAST_END_COMPLETE])
			return false;
	return true;
}

/* ---- tests ---- */

static void one_transmission_serves_all(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < NODES; i++)
		node_add(f, ACCEPTS);
	order_all(f);
	assert_int_equal(order(f, 0), 0); /* again: nothing changes */
	UNTIL(f, all_whole(f));
	UNTIL(f, no_session(f));
	for (size_t i = 0; i < NODES; i++) {
		assert_int_equal(f->nodes[i].n_setups, 1);
		assert_int_equal(f->nodes[i].n_bad, 0);
		assert_in_range(f->nodes[i].n_frames, 313, 313 + 100);
		assert_true(f->progress[i].sent > 0);
	}
	assert_string_equal(f->by_unicast, "");
	assert_int_equal(f->n_sessions, 0); /* nothing is left in the store */
	assert_int_equal(f->groups[0].r.counter, 1);
	UNTIL(f, f->groups[0].r.n_members == NODES); /* written a little later */
	assert_int_equal(f->groups[0].r.baseline[0], 0);
}

static void losses_are_made_good_by_parity(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < 3; i++)
		node_add(f, ACCEPTS)->drop_every = (unsigned)(7 + i);
	order_all(f);
	UNTIL(f, all_whole(f));
	assert_int_equal(f->nodes[0].n_rows_again, 0);
	assert_string_equal(f->by_unicast, "");
}

static void who_refuses_or_is_silent_goes_by_unicast(void **state)
{
	struct fixture *f = *state;
	struct multicast_facts facts;

	node_add(f, ACCEPTS);
	node_add(f, REFUSES);
	node_add(f, SILENT);
	node_add(f, ACCEPTS);
	order_all(f);
	UNTIL(f, strstr(f->by_unicast, "node-1 ") && strstr(f->by_unicast, "node-2 "));
	f->by_unicast[0] = 0;
	UNTIL(f, no_session(f));
	assert_int_equal(n_missing(&f->nodes[0]) + n_missing(&f->nodes[3]), 0);
	assert_string_equal(f->by_unicast, "");
	assert_int_equal(f->nodes[2].n_setups, 4);
	multicast_facts_get(f->driver, "node-1", &f->manifest, &facts);
	assert_true(facts.in_group && facts.was_left && !facts.is_in_session);
	assert_string_equal(facts.group, "g");
	assert_int_equal(order(f, 1), 0); /* again, as after a change of its job's state */
	assert_string_equal(f->by_unicast, "node-1 ");
	cancel(f, 1);
	assert_string_equal(f->cancelled, "node-1 ");
	cancel(f, 1);
	assert_string_equal(f->cancelled, "node-1 ");
}

static void what_does_not_pay_or_fit_goes_by_unicast(void **state)
{
	struct fixture *f = *state;
	struct delivery_order two = { .device = "node-0", .job = "job-0", .manifest = f->manifest, .images = f->images, .n_images = 2 };

	node_add(f, ACCEPTS);
	node_add(f, ACCEPTS);
	assert_int_equal(order(f, 0), 0); /* one of at least two, when the time is over */
	assert_true(in_phase(f, "gathering"));
	UNTIL(f, no_session(f));
	assert_string_equal(f->by_unicast, "node-0 ");
	cancel(f, 0);
	f->by_unicast[0] = 0;
	assert_int_equal(f->driver->ops->start(f->driver, &two), 0);
	assert_string_equal(f->by_unicast, "node-0 ");
	f->in_group_none = true;
	f->by_unicast[0] = 0;
	assert_int_equal(order(f, 1), 0);
	assert_string_equal(f->by_unicast, "node-1 ");
	assert_true(no_session(f));
	f->in_group_none = false;
	f->images[0].bytes = (uint64_t)MULTICAST_OBJECT_BYTES_MAX + 1;
	assert_int_equal(order(f, 1), 0);
	assert_true(no_session(f));
	assert_int_equal(f->nodes[0].n_setups, 0);
}

/* Decision 4: the group's key goes over secured sessions only, unless the network is open. */
static void the_key_is_not_told_over_plain_coap(void **state)
{
	struct fixture *f = *state;

	f->group.is_open = false;
	multicast_set_groups(f->driver, &f->group, 1);
	node_add(f, ACCEPTS);
	node_add(f, ACCEPTS);
	order_all(f);
	UNTIL(f, strstr(f->by_unicast, "node-0 ") && strstr(f->by_unicast, "node-1 "));
	assert_int_equal(f->nodes[0].n_setups, 0);
}

static void a_node_that_asks_by_itself_joins(void **state)
{
	struct fixture *f = *state;
	uint8_t bits[] = { 0x00, 0x05 };

	node_add(f, ACCEPTS);
	node_add(f, SILENT);
	f->nodes[1].deaf = true;
	order_all(f);
	UNTIL(f, in_phase(f, "setup"));
	assert_int_equal(get(f, f->nodes[1].session, "mc/s", "ep=node-1"), COAP_205_CONTENT);
	f->nodes[1].behaviour = ACCEPTS;
	take_setup(&f->nodes[1], buf_span(&f->body));
	UNTIL(f, f->nodes[0].is_set_up);
	assert_int_equal(get(f, f->nodes[1].session, "mc/s", NULL), COAP_205_CONTENT); /* its session said before who it is */
	/* the rest of what it may ask */
	char e[64], t[64], i[64], m[64], bad[64], hex[MCAST_SID_HEX_BYTES];
	mcast_sid_hex(&f->nodes[1].sid, hex);
	(void)snprintf(e, sizeof(e), "s=%s", hex);
	(void)snprintf(t, sizeof(t), "s=%s&ep=node-1", hex);
	(void)snprintf(i, sizeof(i), "s=%s&ep=stranger", hex);
	(void)snprintf(m, sizeof(m), "s=%s&ep=node-4", hex);
	(void)snprintf(bad, sizeof(bad), "s=%.14s00&ep=node-1", hex);
	char want[64];
	(void)snprintf(want, sizeof(want), "mc/e?s=%s", hex);
	assert_string_equal(f->nodes[1].envelope_path, want);
	assert_int_equal(get(f, f->nodes[1].session, "mc/e", e), COAP_205_CONTENT);
	assert_string_equal(buf_str(&f->body), "envelope for node-1");
	assert_int_equal(get(f, f->nodes[1].session, "mc/t", t), COAP_205_CONTENT);
	assert_int_equal(f->body.n, f->nodes[1].geo.n_generations * MCAST_GENERATION_DIGEST_BYTES);
	assert_int_equal(get(f, f->nodes[1].session, "mc/i", t), COAP_205_CONTENT);
	assert_int_equal(f->body.n, IMAGE_BYTES);
	assert_memory_equal(f->body.p, f->image, IMAGE_BYTES);
	assert_int_equal(get(f, f->nodes[1].session, "mc/i", i), COAP_403_FORBIDDEN);
	assert_int_equal(get(f, f->nodes[1].session, "mc/i", m), COAP_404_NOT_FOUND);
	assert_int_equal(get(f, f->nodes[1].session, "mc/i", bad), COAP_404_NOT_FOUND);
	assert_int_equal(get(f, f->nodes[1].session, "mc/i", "s=zz&ep=node-1"), COAP_404_NOT_FOUND);
	assert_int_equal(ask(f, f->nodes[1].session, COAP_M_POST, "mc/m", t, SPAN_OF(bits), MCAST_CT_MISSING_BLOCKS), COAP_204_CHANGED);
	assert_int_equal(ask(f, f->nodes[1].session, COAP_M_POST, "mc/m", t, SPAN_LIT("\x19\x7f\xff"), MCAST_CT_MISSING_BLOCKS), COAP_400_BAD_REQUEST);
	assert_int_equal(ask(f, f->nodes[1].session, COAP_M_POST, "mc/m", t, SPAN_OF(bits), COAP_CF_CBOR), COAP_415_FORMAT);
	assert_int_equal(ask(f, f->nodes[1].session, COAP_M_POST, "mc/r", "ep=node-1", SPAN_LIT("\x80"), COAP_CF_CBOR), COAP_400_BAD_REQUEST);
	assert_int_equal(ask(f, f->nodes[1].session, COAP_M_POST, "mc/r", "ep=node-1", SPAN_LIT("x"), COAP_CF_TEXT), COAP_415_FORMAT);
	f->open_error = -EAGAIN;
	assert_int_equal(get(f, f->nodes[1].session, "mc/i", t), COAP_503_UNAVAILABLE);
	f->open_error = 0;
}

static void a_job_that_is_cancelled_leaves_and_the_others_go_on(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < 3; i++)
		node_add(f, ACCEPTS);
	order_all(f);
	UNTIL(f, f->nodes[0].n_frames > 20);
	cancel(f, 1);
	f->nodes[1].deaf = true;
	UNTIL(f, no_session(f));
	assert_int_equal(n_missing(&f->nodes[0]) + n_missing(&f->nodes[2]), 0);
	assert_int_equal(f->nodes[0].n_end[MCAST_END_COMPLETE] > 0, 1);
	assert_int_equal(f->groups[0].r.gid, f->nodes[0].gid); /* it keeps the key: the device did not leave */
	assert_string_equal(f->by_unicast, "");
}

static void a_recall_ends_the_session_at_once(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < 3; i++)
		node_add(f, ACCEPTS);
	order_all(f);
	UNTIL(f, f->nodes[0].n_frames > 20);
	f->open_error = -ENOENT;
	for (size_t i = 0; i < 3; i++)
		cancel(f, i);
	UNTIL(f, no_session(f));
	UNTIL(f, f->nodes[2].n_end[MCAST_END_ABORT]);
	assert_true(n_missing(&f->nodes[0]) > 0);
	assert_int_equal(f->n_sessions, 0);
	assert_string_equal(f->by_unicast, "");
}

/* The gateway is killed in the middle: nothing but the store is left. */
static void a_restart_goes_on_where_it_was(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < 3; i++)
		node_add(f, ACCEPTS)->drop_every = 6;
	order_all(f);
	UNTIL(f, f->nodes[0].rows[0] > 5);
	struct mcast_sid sid = f->nodes[0].sid;
	f->driver->ops->close(f->driver);
	coap_endpoint_free(f->endpoint);
	assert_int_equal(f->n_open, 0);
	answer_all(f);
	assert_int_equal(f->n_sessions, 1);
	open_endpoint(f);
	open_driver(f);
	multicast_begin(f->driver);
	for (size_t i = 0; i < 3; i++)
		node_reach(&f->nodes[i]);
	order_all(f);
	assert_true(in_phase(f, "stored"));
	UNTIL(f, all_whole(f));
	assert_true(mcast_sid_eq(&sid, &f->nodes[0].sid));
	assert_int_equal(f->nodes[0].n_rows_again, 0);
	UNTIL(f, no_session(f));
	assert_int_equal(f->groups[0].r.counter, 1);
	assert_string_equal(f->by_unicast, "");
}

static void a_device_that_goes_takes_its_key_along(void **state)
{
	struct fixture *f = *state;
	uint8_t old[MCAST_KEY_BYTES];

	for (size_t i = 0; i < 3; i++)
		node_add(f, ACCEPTS);
	order_all(f);
	UNTIL(f, f->nodes[0].n_frames > 20);
	unsigned gid = f->nodes[0].gid;
	memcpy(old, f->nodes[0].key, sizeof(old));
	multicast_device_gone(f->driver, "node-2");
	UNTIL(f, f->nodes[0].gid != gid && f->nodes[1].gid != gid);
	assert_int_equal(f->nodes[2].gid, gid);
	assert_memory_not_equal(f->nodes[0].key, old, sizeof(old));
	assert_int_equal(f->groups[0].r.gid, f->nodes[0].gid); /* stored before it was told */
	unsigned heard = f->nodes[2].n_frames;
	UNTIL(f, n_missing(&f->nodes[0]) == 0 && n_missing(&f->nodes[1]) == 0);
	assert_in_range(f->nodes[2].n_frames, heard, heard + 3); /* what was on the air */
	assert_true(f->nodes[2].n_bad > 100);
	UNTIL(f, no_session(f));
	assert_int_equal(multicast_rekey(f->driver, "g"), 0);
	assert_int_equal(multicast_rekey(f->driver, "none"), -ENOENT);
}

static void people_hold_go_on_and_end_a_session(void **state)
{
	struct fixture *f = *state;
	struct multicast_session_view v;

	for (size_t i = 0; i < 3; i++)
		node_add(f, ACCEPTS);
	order_all(f);
	UNTIL(f, f->nodes[0].n_frames > 20);
	assert_true(first_view(f, &v) && v.has_session);
	assert_int_equal(v.n_members, 3);
	assert_int_equal(v.object_bytes, IMAGE_BYTES);
	assert_string_equal(v.pause, "");
	assert_int_equal(multicast_pause(f->driver, &v.sid), 0);
	assert_int_equal(multicast_pause(f->driver, &v.sid), -EALREADY);
	assert_true(first_view(f, &v));
	assert_string_equal(v.pause, "by a person");
	(void)loop_run_for(f->loop, 50);
	unsigned heard = f->nodes[0].n_frames;
	(void)loop_run_for(f->loop, 200);
	assert_int_equal(f->nodes[0].n_frames, heard);
	assert_int_equal(multicast_resume(f->driver, &v.sid), 0);
	UNTIL(f, f->nodes[0].n_frames > heard + 10);
	assert_int_equal(multicast_abort(f->driver, &v.sid), 0);
	UNTIL(f, no_session(f));
	UNTIL(f, f->nodes[0].n_end[MCAST_END_ABORT]);
	UNTIL(f, strstr(f->by_unicast, "node-0 ") && strstr(f->by_unicast, "node-1 ") && strstr(f->by_unicast, "node-2 "));
	assert_int_equal(multicast_abort(f->driver, &v.sid), -ENOENT);
	assert_int_equal(multicast_resume(f->driver, &v.sid), -ENOENT);
}

static bool count_view(void *arg, const struct multicast_session_view *v)
{
	unsigned *n = arg;

	n[0]++;
	n[1] += strcmp(v->phase, "queued") == 0;
	return true;
}

/* NSTART = 1 for a group (MCD C9). */
static void one_session_of_a_group_sends_at_a_time(void **state)
{
	struct fixture *f = *state;
	unsigned n[2] = { 0 };

	f->group.pace_ms = 8; /* the first must take longer than the others gather */
	multicast_set_groups(f->driver, &f->group, 1);
	for (size_t i = 0; i < 4; i++)
		node_add(f, ACCEPTS);
	assert_int_equal(order(f, 0), 0);
	assert_int_equal(order(f, 1), 0);
	UNTIL(f, f->nodes[0].n_frames > 5);
	f->manifest = digest_of(SPAN_LIT("another"));
	assert_int_equal(order(f, 2), 0);
	assert_int_equal(order(f, 3), 0);
	UNTIL(f, (memset(n, 0, sizeof(n)), multicast_sessions(f->driver, count_view, n), n[1] == 1));
	UNTIL(f, all_whole(f));
	assert_int_not_equal(mcast_sid_counter(&f->nodes[0].sid), mcast_sid_counter(&f->nodes[2].sid));
	assert_string_equal(f->by_unicast, "");
}

static void an_interface_that_is_not_there_leaves_all_to_unicast(void **state)
{
	struct fixture *f = *state;
	struct multicast_facts facts;

	(void)snprintf(f->group.interface, sizeof(f->group.interface), "none-such");
	multicast_set_groups(f->driver, &f->group, 1);
	multicast_facts_get(f->driver, "node-0", &f->manifest, &facts);
	assert_true(facts.in_group && !facts.is_up);
	node_add(f, ACCEPTS);
	node_add(f, ACCEPTS);
	order_all(f);
	UNTIL(f, strstr(f->by_unicast, "node-0 ") && strstr(f->by_unicast, "node-1 "));
	assert_true(no_session(f));
}

static void a_group_that_leaves_the_configuration_ends_its_sessions(void **state)
{
	struct fixture *f = *state;

	node_add(f, ACCEPTS);
	node_add(f, ACCEPTS);
	order_all(f);
	UNTIL(f, f->nodes[0].n_frames > 20);
	multicast_set_groups(f->driver, NULL, 0);
	UNTIL(f, no_session(f));
	assert_non_null(strstr(f->by_unicast, "node-0 "));
}

static void a_disk_that_fails_keeps_a_session_from_beginning(void **state)
{
	struct fixture *f = *state;

	node_add(f, ACCEPTS);
	node_add(f, ACCEPTS);
	f->store_fails = true;
	order_all(f);
	UNTIL(f, strstr(f->by_unicast, "node-0 ") && strstr(f->by_unicast, "node-1 "));
	assert_true(no_session(f));
	assert_int_equal(f->nodes[0].n_setups, 0);
	f->store_fails = false;
}

static void a_report_of_the_update_counts_as_having_it(void **state)
{
	struct fixture *f = *state;
	struct node_report r = { .manifest_digest = f->manifest, .state = 2 };
	struct multicast_session_view v;

	node_add(f, ACCEPTS);
	node_add(f, ACCEPTS);
	f->nodes[1].deaf = true;
	order_all(f);
	UNTIL(f, f->nodes[0].n_frames > 20);
	multicast_reported(f->driver, "node-1", &r);
	assert_true(first_view(f, &v));
	assert_int_equal(v.s.members[MCAST_MEMBER_READY], 1);
	assert_int_equal(f->progress[1].sent, IMAGE_BYTES);
	r.result = 3;
	multicast_reported(f->driver, "node-0", &r); /* it failed: nobody is left */
	UNTIL(f, no_session(f));
}

/* A stored session that means nothing any more. */
static void damaged_records_are_left_out(void **state)
{
	struct fixture *f = *state;

	f->driver->ops->close(f->driver);
	coap_endpoint_free(f->endpoint);
	for (size_t i = 0; i < 3; i++) {
		static const char *const bytes[] = { "", "\x8b\x02", "\x8b\x01\x19\x4e\x20\x18\x40\x19\x02\x00\x0c\x01\x01\x00\xf4\x40\x40" };
		struct stored_session *s = &f->sessions[f->n_sessions++];

		s->r = (struct multicast_session_record){ .sid = { { (uint8_t)i } }, .group = "g" };
		buf_add_str(&s->snapshot, ""); /* some memory */
		buf_add(&s->snapshot, SPAN(bytes[i], i == 2 ? 17 : strlen(bytes[i])));
		s->r.snapshot = buf_span(&s->snapshot);
	}
	open_endpoint(f);
	open_driver(f);
	assert_true(no_session(f));
	assert_int_equal(f->n_sessions, 0);
}

/* ---- the digests of the generations are made by the workers ---- */

static void wait_at_gate(void *arg) { (void)sem_wait(&((struct fixture *)arg)->gate); }

static void nothing(void *arg) { (void)arg; }

static void count_job(void *arg) { ((struct fixture *)arg)->n_jobs_done++; }

static void hold_workers(struct fixture *f)
{
	assert_int_equal(worker_submit(f->workers, wait_at_gate, count_job, f), 0);
}

static void let_workers_go(struct fixture *f)
{
	assert_int_equal(sem_post(&f->gate), 0);
}

/* Until the loop has nothing more to do for the session but wait. */
static void gather(struct fixture *f, size_t n)
{
	for (size_t i = 0; i < n; i++)
		node_add(f, ACCEPTS);
	order_all(f);
	UNTIL(f, in_phase(f, "preparing"));
	UNTIL(f, f->n_open == 1);
	for (int i = 0; i < 10; i++)
		(void)loop_run_for(f->loop, 5);
	assert_true(in_phase(f, "preparing"));
}

static void the_loop_goes_on_while_the_workers_hash(void **state)
{
	struct fixture *f = *state;

	hold_workers(f);
	gather(f, 2);
	assert_int_equal(f->n_saves, 0);
	let_workers_go(f);
	UNTIL(f, all_whole(f));
	UNTIL(f, no_session(f));
	assert_string_equal(f->by_unicast, "");
}

static void a_session_that_goes_while_it_is_hashed_leaves_nothing(void **state)
{
	struct fixture *f = *state;

	hold_workers(f);
	gather(f, 2);
	cancel(f, 0);
	cancel(f, 1);
	let_workers_go(f);
	UNTIL(f, no_session(f)); /* it looks when its digest is there */
	assert_int_equal(f->n_open, 0);
	assert_int_equal(f->nodes[0].n_setups, 0);
	hold_workers(f);
	order_all(f);
	UNTIL(f, in_phase(f, "preparing") && f->n_open == 1);
	multicast_set_groups(f->driver, NULL, 0); /* gone at once */
	assert_true(no_session(f));
	assert_string_equal(f->by_unicast, "node-0 node-1 ");
	let_workers_go(f);
	UNTIL(f, f->n_jobs_done == 2);
	(void)loop_run_for(f->loop, 20);
	assert_true(no_session(f));
}

static void a_driver_that_closes_while_it_hashes_is_not_told(void **state)
{
	struct fixture *f = *state;

	hold_workers(f);
	gather(f, 2);
	f->driver->ops->close(f->driver);
	coap_endpoint_free(f->endpoint);
	let_workers_go(f);
	UNTIL(f, f->n_jobs_done == 1);
	(void)loop_run_for(f->loop, 20);
	assert_int_equal(f->n_open, 0);
	open_endpoint(f);
	open_driver(f);
	for (size_t i = 0; i < 2; i++) {
		node_reach(&f->nodes[i]);
		assert_int_equal(order(f, i), 0);
	}
	UNTIL(f, all_whole(f));
}

static void a_full_queue_of_the_workers_is_waited_for(void **state)
{
	struct fixture *f = *state;
	size_t n = 0;

	hold_workers(f);
	while (worker_submit(f->workers, nothing, count_job, f) == 0)
		n++;
	assert_int_equal(n, WORKER_QUEUE_MAX - 1);
	gather(f, 2);
	let_workers_go(f);
	UNTIL(f, all_whole(f));
	assert_string_equal(f->by_unicast, "");
}

#define TEST(fn_) cmocka_unit_test_setup_teardown(fn_, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_transmission_serves_all),
		TEST(losses_are_made_good_by_parity),
		TEST(who_refuses_or_is_silent_goes_by_unicast),
		TEST(what_does_not_pay_or_fit_goes_by_unicast),
		TEST(the_key_is_not_told_over_plain_coap),
		TEST(a_node_that_asks_by_itself_joins),
		TEST(a_job_that_is_cancelled_leaves_and_the_others_go_on),
		TEST(a_recall_ends_the_session_at_once),
		TEST(a_restart_goes_on_where_it_was),
		TEST(a_device_that_goes_takes_its_key_along),
		TEST(people_hold_go_on_and_end_a_session),
		TEST(one_session_of_a_group_sends_at_a_time),
		TEST(an_interface_that_is_not_there_leaves_all_to_unicast),
		TEST(a_group_that_leaves_the_configuration_ends_its_sessions),
		TEST(a_disk_that_fails_keeps_a_session_from_beginning),
		TEST(a_report_of_the_update_counts_as_having_it),
		TEST(damaged_records_are_left_out),
		TEST(the_loop_goes_on_while_the_workers_hash),
		TEST(a_session_that_goes_while_it_is_hashed_leaves_nothing),
		TEST(a_driver_that_closes_while_it_hashes_is_not_told),
		TEST(a_full_queue_of_the_workers_is_waited_for),
	};

	return cmocka_run_group_tests_name("delivery/multicast", tests, NULL, NULL);
}
