#include "node/mcast_node.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/tmpfile.h"
#include "codec/mcast_message.h"
#include "node/mcast_files.h"
#include "node/mcast_pull.h"

enum {
	PATH_BYTES = 128, QUERY_BYTES = 160,
	ASK_SPREAD_MS = 3000,                  /* after an announcement that all heard at once */
	PULL_SPREAD_MS = 15000,
	PROGRESS_FRAMES = 32,
	CONTACT_MS = 30 * 1000,                /* a report after so long without a word from the gateway wants to be answered, */
	PROBE_MS = 20 * 1000,                  /* within this time */
};

struct mcast_node {
	struct loop *loop;
	struct mcast_node_host host;
	struct loop_timer *timer;
	struct node_durable *durable;          /* NULL = no power */
	struct mcast_files files;
	struct mcast_receiver core;
	struct coap_multicast_receiver *socket;
	struct coap_multicast_group joined;    /* of the socket */
	uint64_t random;
	char path[PATH_BYTES];                 /* of mc, without the last segment of mc/s; "" = none */

	struct mcast_setup setup;              /* of the session; table and envelope_path lie in the buffers */
	bool has_setup, is_judged;
	struct buf stored;                     /* what setup's spans borrow from */
	struct buf table;                      /* from mc/t */
	struct mac_cmac *mk;                   /* of (mk_gid, mk_sid) */
	uint8_t mk_gid;
	struct mcast_sid mk_sid;

	struct coap_call *join_call, *report_call, *probe_call;
	struct mono contact_at, probe_at;      /* last word from the gateway; when a probe is given up */
	bool wants_pull;                       /* until the object is whole */
	struct mcast_pull pull;
	bool is_told;                          /* the setup came by itself: no need to ask */
	struct mono ask_at, pull_at;           /* when .ms is not 0 */

	bool has_ready, has_gone, has_bad;     /* told by the core, to be acted upon outside of it */
	int end_reason;                        /* -1 = none */
	unsigned n_sessions, n_since_progress;
};

static uint32_t now_ms(void) { return (uint32_t)mono_now().ms; }

static uint32_t next_random(struct mcast_node *m)              /* splitmix64: for spreading, not for secrets */
{
	uint64_t z = m->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)(z >> 32);
}

static const char *ep_query(const struct mcast_node *m, char ret[static QUERY_BYTES])
{
	(void)snprintf(ret, QUERY_BYTES, "ep=%s", m->host.name); /* names are at most 63 bytes */
	return ret;
}

static bool is_live(const struct mcast_node *m)
{
	enum mcr_state s = mcr_state(&m->core);

	return s == MCR_ARMED || s == MCR_RECV;
}

static bool is_session(const struct mcast_node *m, const struct mcast_sid *sid)
{
	return m->has_setup && mcr_state(&m->core) != MCR_IDLE && mcast_sid_eq(&m->setup.sid, sid);
}

/* --- what the receiver asks for ---------------------------------------------------------------- */

static struct mcast_files *files_of(void *ctx) { return &((struct mcast_node *)ctx)->files; }

static int op_read(void *ctx, enum mcr_area a, uint32_t off, uint8_t *ret, size_t n) { return mcast_files_read(files_of(ctx), a, off, ret, n); }
static int op_erase(void *ctx, enum mcr_area a, uint32_t off, uint32_t n) { return mcast_files_erase(files_of(ctx), a, off, n); }
static int op_save(void *ctx, uint16_t key, const uint8_t *data, size_t n) { return mcast_files_save(files_of(ctx), key, data, n); }
static int op_load(void *ctx, uint16_t key, uint8_t *ret, size_t max) { return mcast_files_load(files_of(ctx), key, ret, max); }
static int op_sha256(void *ctx, uint32_t off, uint32_t n, uint8_t ret[32]) { return mcast_files_sha256(files_of(ctx), off, n, ret); }

static int op_program(void *ctx, enum mcr_area a, uint32_t off, const uint8_t *data, size_t n)
{
	return mcast_files_program(files_of(ctx), a, off, data, n);
}

static bool op_mic_ok(void *ctx, uint32_t gid, const uint8_t sid[8], const uint8_t *frame, size_t n, const uint8_t *mic, size_t mic_n)
{
	struct mcast_node *m = ctx;
	const struct node_group *g = node_group_find(m->durable, gid & 0xff);
	uint8_t tag[MAC_CMAC_BYTES], diff = 0;

	if (!g || mic_n > sizeof(tag))
		return false;
	if (!m->mk || m->mk_gid != g->gid || memcmp(m->mk_sid.b, sid, MCAST_SID_BYTES) != 0) {
		uint8_t mk[MAC_CMAC_KEY_BYTES];
		memcpy(m->mk_sid.b, sid, MCAST_SID_BYTES);
		m->mk_gid = g->gid;
		mcast_mic_key(&m->mk_sid, g->key, mk);
		mac_cmac_free(m->mk);
		m->mk = mac_cmac_new(mk);
		mem_wipe(mk, sizeof(mk));
	}
	mac_cmac_tag(m->mk, SPAN(sid, MCAST_SID_BYTES), SPAN(frame, n), tag);
	for (size_t i = 0; i < mic_n; i++)
		diff |= tag[i] ^ mic[i];
	return diff == 0;
}

static int op_generation_digest(void *ctx, unsigned g, uint8_t ret[8])
{
	struct mcast_node *m = ctx;
	struct span table = !m->has_setup ? (struct span){ 0 } : m->setup.table.n ? m->setup.table : buf_span(&m->table);

	if (table.n < (g + 1u) * MCAST_GENERATION_DIGEST_BYTES)
		return -ENOENT;
	memcpy(ret, table.p + g * MCAST_GENERATION_DIGEST_BYTES, MCAST_GENERATION_DIGEST_BYTES);
	return 0;
}

static uint32_t op_random(void *ctx) { return next_random(ctx); }

static void on_reported(void *ctx, const struct coap_call_result *res)
{
	struct mcast_node *m = ctx;

	m->report_call = NULL; /* lost or not: the next STATUS asks again */
}

static void lost_contact(struct mcast_node *m)
{
	m->probe_at = (struct mono){ 0 };
	m->contact_at = mono_now();            /* not again at once */
	m->host.post(m->host.ctx, NODE_EV_UNREACHABLE);
}

static void on_probed(void *ctx, const struct coap_call_result *res)
{
	struct mcast_node *m = ctx;

	m->probe_call = NULL;
	m->probe_at = (struct mono){ 0 };
	m->contact_at = mono_now();
	if (res->error)
		lost_contact(m);
}

static void op_report(void *ctx, const struct mcr_report *report)
{
	struct mcast_node *m = ctx;
	uint8_t body[MCR_REPORT_BYTES];
	char path[PATH_BYTES + 8], ep[QUERY_BYTES];
	const char *const query[] = { ep_query(m, ep), NULL };
	struct mono now = mono_now();
	/* NON is lost unnoticed: so are all of them when the gateway lost our association in a restart. */
	bool is_probe = !m->probe_call && mono_diff_ms(now, m->contact_at) > CONTACT_MS;

	if (!m->path[0])
		return;
	(void)snprintf(path, sizeof(path), "%s/r", m->path); /* fits */
	const struct coap_call_request req = {
		.method = COAP_M_POST, .path = path, .query = query, .accept = COAP_CF_NONE, .content_format = COAP_CF_CBOR, .is_non = !is_probe,
		.body = SPAN(body, mcr_report_encode(report, body)), .szx = m->host.szx,
	};
	if (is_probe) {
		m->probe_at = mono_add_ms(now, PROBE_MS);
		if (m->host.call(m->host.ctx, &req, on_probed, m, &m->probe_call) < 0)
			m->probe_call = NULL;
		return;
	}
	if (m->report_call)
		coap_call_cancel(m->report_call);
	m->report_call = NULL;
	if (m->host.call(m->host.ctx, &req, on_reported, m, &m->report_call) < 0)
		m->report_call = NULL;
}

static void op_event(void *ctx, enum mcr_event ev, unsigned arg)
{
	struct mcast_node *m = ctx;

	switch (ev) {
	case MCR_EV_STARTED:
		return;
	case MCR_EV_SOLVED:
		(void)mcast_files_sync(&m->files); /* else a lost power leaves a digest that does not match: found out */
		return;
	case MCR_EV_SPOILED:
		log_line(LOG_INFO, "%s: generation %u does not match its digest", m->host.name, arg);
		m->has_bad = mcr_generation_state(&m->core, arg) == MCR_BAD;
		return;
	case MCR_EV_READY:
		m->has_ready = true;
		return;
	case MCR_EV_END:
		m->end_reason = (int)arg;
		return;
	case MCR_EV_STUCK:
		m->has_bad = true;             /* the few fragments that would help come by unicast */
		return;
	case MCR_EV_FAILED:
	case MCR_EV_FLASH:
	case MCR_EV_EXPIRED:
		m->has_gone = true;
		return;
	}
}

static void op_announced(void *ctx, const struct mcr_announce *a)
{
	struct mcast_node *m = ctx;

	m->ask_at = mono_add_ms(mono_now(), next_random(m) % ASK_SPREAD_MS + 1);
}

static const struct mcr_ops core_ops = {
	.read = op_read, .program = op_program, .erase = op_erase, .save = op_save, .load = op_load, .mic_ok = op_mic_ok, .sha256 = op_sha256,
	.generation_digest = op_generation_digest, .random = op_random, .report = op_report, .event = op_event, .announced = op_announced,
};

/* --- time, and what the receiver told ---------------------------------------------------------- */

static void pull_soon(struct mcast_node *m)
{
	m->wants_pull = true;
	if (!mcast_pull_is_busy(&m->pull) && m->pull_at.ms == 0)
		m->pull_at = mono_add_ms(mono_now(), next_random(m) % PULL_SPREAD_MS + 1);
}

static void act_on_events(struct mcast_node *m)
{
	int reason = m->end_reason;

	m->end_reason = -1;
	if (m->has_bad || reason == MCAST_END_COMPLETE)
		pull_soon(m);                  /* not on the air any more: what is missing comes by unicast */
	if (m->has_ready && m->is_judged)
		m->host.post(m->host.ctx, NODE_EV_OK);
	else if (m->has_gone || reason == MCAST_END_ABORT || reason == MCAST_END_REPLACED)
		m->host.post(m->host.ctx, NODE_EV_GONE);
	m->has_ready = m->has_ready && !m->is_judged;
	m->has_bad = m->has_gone = false;
}

static void keep_soonest(struct mono at, struct mono now, int64_t *best)
{
	int64_t in = mono_diff_ms(at, now);

	if (at.ms != 0 && (*best < 0 || in < *best))
		*best = in > 0 ? in : 0;
}

/* After whatever happened to the receiver. */
static void kick(struct mcast_node *m)
{
	struct mono now = mono_now();

	if (!m->durable)
		return;
	uint32_t in = mcr_step(&m->core, (uint32_t)now.ms);
	int64_t best = in == MCR_NEVER ? -1 : (int64_t)in;
	act_on_events(m);
	keep_soonest(m->ask_at, now, &best);
	keep_soonest(m->pull_at, now, &best);
	keep_soonest(m->probe_at, now, &best);
	loop_timer_set(m->timer, best);
}

static bool is_due(struct mono *at, struct mono now)
{
	bool due = at->ms != 0 && !mono_before(now, *at);

	if (due)
		*at = (struct mono){ 0 };
	return due;
}

static void on_timer(void *ctx)
{
	struct mcast_node *m = ctx;
	struct mono now = mono_now();

	if (!m->durable)
		return;
	if (is_due(&m->probe_at, now))
		lost_contact(m);
	if (is_due(&m->ask_at, now) && m->host.is_free(m->host.ctx))
		m->host.post(m->host.ctx, NODE_EV_INVITED);
	if (is_due(&m->pull_at, now) && m->has_setup && m->path[0] && mcr_missing(&m->core, 0, &(uint32_t){ 0 }, &(uint32_t){ 0 }) &&
	    (!m->is_judged || !mcast_pull_begin(&m->pull, m->path, m->host.name, &m->setup)))
		m->pull_at = mono_add_ms(now, MCAST_PULL_AGAIN_MS);
	kick(m);
}

/* --- the air ----------------------------------------------------------------------------------- */

void mcast_node_hear(struct mcast_node *m, struct span frame)
{
	if (!m->durable)
		return;
	bool is_wanted = mcr_is_listening(&m->core) && m->is_judged;
	bool is_idle = !is_live(m) && m->host.listens_idle && m->host.is_free(m->host.ctx);
	if (!is_wanted && !is_idle)
		return;
	if (mcr_frame(&m->core, frame.p, frame.n, now_ms()) && ++m->n_since_progress >= PROGRESS_FRAMES) {
		m->n_since_progress = 0;
		m->host.progress(m->host.ctx);
	}
	kick(m);
}

static void on_heard(void *ctx, const struct coap_multicast_heard *h)
{
	mcast_node_hear(ctx, h->frame);
}

static void close_socket(struct mcast_node *m)
{
	m->socket = m->socket ? coap_multicast_receiver_close(m->socket) : NULL;
}

static int open_socket(struct mcast_node *m, const uint8_t *address, uint16_t port)
{
	struct coap_multicast_group g = { .interface = m->host.interface, .port = port, .hop_limit = 1 };

	if (m->socket && m->joined.port == port && !memcmp(m->joined.address, address, sizeof(g.address)))
		return 0;
	close_socket(m);
	memcpy(g.address, address, sizeof(g.address));
	int r = coap_multicast_receiver_open(m->loop, &g, on_heard, m, &m->socket);
	if (r < 0) {
		m->socket = NULL;
		log_line(LOG_ERR, "%s: cannot join the group on %s: %s", m->host.name, m->host.interface, strerror(-r));
		return r;
	}
	m->joined = g;
	if (m->host.loss > 0)
		coap_multicast_receiver_set_loss(m->socket, m->host.loss, m->host.seed);
	return 0;
}

/* --- a setup ----------------------------------------------------------------------------------- */

/* Spans of a decoded setup borrow from its bytes: keep both. The group's key has its place in the state. */
static int keep_setup(struct mcast_node *m, struct span bytes)
{
	struct buf stored = { 0 };
	struct mcast_setup s;

	buf_add(&stored, bytes);
	if (!buf_ok(&stored) || mcast_setup_decode(buf_span(&stored), &s) < 0) {
		buf_done(&stored);
		return -EBADMSG;
	}
	if (m->stored.p)
		mem_wipe(m->stored.p, m->stored.n);
	buf_done(&m->stored);
	m->stored = stored;
	m->setup = s;
	m->has_setup = true;
	mem_wipe(m->setup.key, sizeof(m->setup.key));
	return 0;
}

static bool keep_group(struct mcast_node *m, const struct mcast_setup *s, const uint8_t *key)
{
	struct node_group g = { .is_used = true, .gid = s->gid, .port = s->port };

	memcpy(g.key, key, sizeof(g.key));
	memcpy(g.address, s->address, sizeof(g.address));
	if (!node_group_keep(m->durable, &g))
		return true;
	mac_cmac_free(m->mk);
	m->mk = NULL;
	return m->host.save(m->host.ctx) >= 0;
}

static struct mcr_setup core_setup(const struct mcast_setup *s)
{
	struct mcr_setup c = {
		.size = s->size, .z = s->z, .k = s->k, .log2_e = s->log2_e, .alg = s->alg, .gid = s->gid, .pace_ms = s->pace_ms,
		.slot_ms = s->slot_ms, .lifetime_s = s->lifetime_s,
		.windows = { .length_s = s->windows.length_s, .period_s = s->windows.period_s,
			     .count = (uint16_t)(s->windows.count < UINT16_MAX ? s->windows.count : UINT16_MAX) },
	};
	int64_t start = (int64_t)s->windows.start_s;

	if (start >= MCAST_START_RELATIVE_MAX)
		start = start > wall_s(wall_now()) ? start - wall_s(wall_now()) : 0;
	c.windows.first_in_s = (uint32_t)(start < MCAST_START_RELATIVE_MAX ? start : MCAST_START_RELATIVE_MAX);
	memcpy(c.sid, s->sid.b, sizeof(c.sid));
	memcpy(c.sha256, s->digest.b, sizeof(c.sha256));
	return c;
}

/* What a setup is answered; bytes is what it was decoded from. */
static enum mcr_ack admit(struct mcast_node *m, const struct mcast_setup *s, struct span bytes)
{
	struct mcr_setup c = core_setup(s);
	const struct node_group *g = node_group_find(m->durable, s->gid);
	bool is_gone = mcr_state(&m->core) == MCR_READY && !m->files.object;   /* it was installed, and is not here any more */

	if (is_gone && memcmp(c.sid, m->core.sid, sizeof(c.sid)) != 0)
		mcr_abort(&m->core);
	enum mcr_ack ack = mcr_check_setup(&m->core, &c);
	if (ack != MCR_ACCEPTED && ack != MCR_HAVE_IT)
		return ack;
	if (!m->host.is_free(m->host.ctx) && !is_session(m, &s->sid))
		return MCR_BUSY;
	if (!s->has_key && !g)
		return MCR_NO_KEY;
	if (ack == MCR_ACCEPTED && mcast_files_make_room(&m->files, s->size) < 0)
		return MCR_NO_SPACE;
	if (open_socket(m, s->address, s->port) < 0)
		return MCR_DEFERRED;
	bool is_same = is_session(m, &s->sid);
	ack = mcr_setup(&m->core, &c, now_ms());
	if (ack != MCR_ACCEPTED && ack != MCR_HAVE_IT)
		return ack;
	if (!keep_group(m, s, s->has_key ? s->key : g->key) || keep_setup(m, bytes) < 0 ||
	    file_write_durable(m->files.dirfd, "mcast-setup", bytes) < 0)
		return MCR_NO_SPACE;
	if (!is_same) {
		m->is_judged = m->wants_pull = false;
		m->n_sessions++;
		buf_done(&m->table);
		m->table = (struct buf){ 0 };
		(void)unlinkat(m->files.dirfd, "mcast-table", 0); /* of another session; none is as good */
	}
	return ack;
}

static void put_ack(struct mcast_node *m, const struct mcast_sid *sid, enum mcr_ack code, struct coap_response *res)
{
	uint8_t complete[(MCR_G_MAX + 7) / 8];
	struct mcast_ack a = { .sid = *sid, .code = (enum mcast_ack_code)code, .l = MCR_L, .k_max = MCR_K_MAX, .z_max = MCR_Z_MAX };
	unsigned coap = mcast_ack_coap_code(a.code);

	if (code == MCR_ACCEPTED)
		a.complete = SPAN(complete, mcr_solved_map(&m->core, complete, sizeof(complete)));
	res->code = (uint8_t)COAP_CODE(coap / 100, coap % 100);
	res->content_format = COAP_CF_CBOR;
	mcast_ack_encode(&a, &res->body);
}

/* Whether there is something to do with it: an object to receive, or one that is whole and not yet installed. */
static bool is_joinable(const struct mcast_node *m, enum mcr_ack code)
{
	return code == MCR_ACCEPTED || (code == MCR_HAVE_IT && m->files.object);
}

static int serve_setup(struct mcast_node *m, struct span body, struct coap_response *res)
{
	struct mcast_setup s;

	if (mcast_setup_decode(body, &s) < 0)
		return coap_error(res, COAP_400_BAD_REQUEST, "not a setup");
	enum mcr_ack code = admit(m, &s, body);
	mem_wipe(s.key, sizeof(s.key));
	log_line(LOG_DEBUG, "%s: invited: %s", m->host.name, code <= MCR_BAD_MANIFEST ? mcast_ack_name((enum mcast_ack_code)code) : "replayed");
	if (code > MCR_BAD_MANIFEST)
		return coap_error(res, COAP_409_CONFLICT, code == MCR_REPLAYED ? "an old session" : "another session of this id");
	put_ack(m, &s.sid, code, res);
	if (is_joinable(m, code)) {
		m->is_told = true;
		m->host.post(m->host.ctx, NODE_EV_INVITED);
	}
	kick(m);
	return 0;
}

static int serve_pull(struct mcast_node *m, struct span body, struct coap_response *res)
{
	struct mcast_sid sid;

	if (mcast_pull_decode(body, &sid) < 0)
		return coap_error(res, COAP_400_BAD_REQUEST, "not a command");
	if (!is_session(m, &sid))
		return coap_error(res, COAP_404_NOT_FOUND, "no such session");
	res->code = COAP_204_CHANGED;
	mcast_pull_encourage(&m->pull);
	m->wants_pull = true;
	m->contact_at = mono_now();
	if (!mcast_pull_is_busy(&m->pull) && mcr_state(&m->core) != MCR_READY)
		m->pull_at = mono_now();
	kick(m);
	return 0;
}

static int serve_delete(struct mcast_node *m, const struct coap_request *req, struct coap_response *res)
{
	struct mcast_sid sid;
	struct span hex;

	if (!coap_query_get(req, "s", &hex) || mcast_sid_parse(hex, &sid) < 0)
		return coap_error(res, COAP_400_BAD_REQUEST, "wants s=<sid>");
	if (!is_session(m, &sid))
		return coap_error(res, COAP_404_NOT_FOUND, "no such session");
	res->code = COAP_202_DELETED;
	mcast_node_hang_up(m);
	mcr_abort(&m->core);
	m->has_setup = m->is_judged = false;
	m->host.post(m->host.ctx, NODE_EV_GONE);
	kick(m);
	return 0;
}

static int serve_report(struct mcast_node *m, struct coap_response *res)
{
	struct mcr_report report;
	uint8_t body[MCR_REPORT_BYTES];

	if (mcr_state(&m->core) == MCR_IDLE)
		return coap_error(res, COAP_404_NOT_FOUND, "no session");
	mcr_report_make(&m->core, 0, &report);
	buf_add(&res->body, SPAN(body, mcr_report_encode(&report, body)));
	res->code = COAP_205_CONTENT;
	res->content_format = COAP_CF_CBOR;
	return 0;
}

int mcast_node_serve(void *ctx, const struct coap_request *req, struct coap_response *res)
{
	struct mcast_node *m = ctx;

	if (!coap_path_is(req, "mc") || !m->durable)
		return coap_error(res, COAP_404_NOT_FOUND, "nothing here");
	switch (req->method) {
	case COAP_M_POST:
		switch (mcast_post_kind(req->body)) {
		case MCAST_POST_SETUP:
			return serve_setup(m, req->body, res);
		case MCAST_POST_PULL:
			return serve_pull(m, req->body, res);
		default:
			return coap_error(res, COAP_400_BAD_REQUEST, "neither setup nor command");
		}
	case COAP_M_GET:
		return serve_report(m, res);
	case COAP_M_DELETE:
		return serve_delete(m, req, res);
	default:
		return coap_error(res, COAP_405_METHOD, "GET, POST, or DELETE");
	}
}

/* --- joining ----------------------------------------------------------------------------------- */

static void join_next(struct mcast_node *m);

/* A GET beside mc/s, of this session when there is one. */
static void get(struct mcast_node *m, const char *last, const char *sid, size_t body_max, coap_call_fn *fn)
{
	char path[PATH_BYTES + 8], ep[QUERY_BYTES], s[MCAST_SID_HEX_BYTES + 2];
	const char *query[] = { ep_query(m, ep), sid ? s : NULL, NULL };

	(void)snprintf(path, sizeof(path), "%s/%s", m->path, last); /* fits: last is one letter */
	(void)snprintf(s, sizeof(s), "s=%s", sid ? sid : ""); /* fits */
	const struct coap_call_request req = {
		.method = COAP_M_GET, .path = path, .query = query, .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE, .szx = m->host.szx,
		.body_max = body_max,
	};
	if (m->host.call(m->host.ctx, &req, fn, m, &m->join_call) < 0) {
		m->join_call = NULL;
		m->host.post(m->host.ctx, NODE_EV_UNREACHABLE);
	}
}

static bool is_unreachable(const struct coap_call_result *res)
{
	return res->error || res->code >> 5 > 4 || res->code == COAP_429_TOO_MANY;
}

static void join_ends(struct mcast_node *m, enum node_event ev)
{
	if (ev != NODE_EV_OFFER && ev != NODE_EV_UNREACHABLE)
		mcr_leave(&m->core);
	m->is_judged = ev == NODE_EV_OFFER;
	m->host.post(m->host.ctx, ev);
	kick(m);
}

static void on_descriptor(void *ctx, const struct coap_call_result *res)
{
	struct mcast_node *m = ctx;
	struct mcast_setup s;

	m->join_call = NULL;
	if (is_unreachable(res)) {
		join_ends(m, NODE_EV_UNREACHABLE);
	} else if (res->code != COAP_205_CONTENT || mcast_setup_decode(res->body, &s) < 0) {
		join_ends(m, is_live(m) || m->is_judged ? NODE_EV_GONE : NODE_EV_NONE);        /* no session, or none of ours */
	} else if (is_joinable(m, admit(m, &s, res->body))) {
		join_next(m);
	} else {
		join_ends(m, NODE_EV_NONE);
	}
}

static void on_table(void *ctx, const struct coap_call_result *res)
{
	struct mcast_node *m = ctx;

	m->join_call = NULL;
	if (is_unreachable(res)) {
		join_ends(m, NODE_EV_UNREACHABLE);
		return;
	}
	if (res->code != COAP_205_CONTENT || res->body.n != mcr_generations(&m->core) * MCAST_GENERATION_DIGEST_BYTES) {
		join_ends(m, NODE_EV_NONE);
		return;
	}
	buf_done(&m->table);
	m->table = (struct buf){ 0 };
	buf_add(&m->table, res->body);
	(void)file_write_durable(m->files.dirfd, "mcast-table", res->body); /* else it is fetched again after a restart */
	join_next(m);
}

static void on_envelope(void *ctx, const struct coap_call_result *res)
{
	struct mcast_node *m = ctx;

	m->join_call = NULL;
	if (is_unreachable(res))
		join_ends(m, NODE_EV_UNREACHABLE);
	else if (res->code != COAP_205_CONTENT)
		join_ends(m, NODE_EV_NONE);
	else
		join_ends(m, m->host.judge(m->host.ctx, res->body, &m->setup.digest, m->setup.size));
}

/* item 15 of the setup: a path with its query, at our gateway. */
static void get_envelope(struct mcast_node *m)
{
	char path[MCAST_PATH_BYTES_MAX + 1], ep[QUERY_BYTES], *question;
	const char *query[] = { ep_query(m, ep), NULL, NULL };

	if (m->setup.envelope_path.n == 0 || text_copy(path, sizeof(path), m->setup.envelope_path) < 0) {
		join_ends(m, NODE_EV_NONE);    /* nothing to judge: nothing to install */
		return;
	}
	question = strchr(path, '?');
	if (question) {
		*question = '\0';
		query[1] = question + 1;
	}
	const struct coap_call_request req = {
		.method = COAP_M_GET, .path = path, .query = query, .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE, .szx = m->host.szx,
		.body_max = NODE_ENVELOPE_BYTES_MAX,
	};
	if (m->host.call(m->host.ctx, &req, on_envelope, m, &m->join_call) < 0) {
		m->join_call = NULL;
		join_ends(m, NODE_EV_UNREACHABLE);
	}
}

/* The setup is here: what else must be known before the first frame is worth listening to. */
static void join_next(struct mcast_node *m)
{
	char hex[MCAST_SID_HEX_BYTES];

	if (m->setup.table.n == 0 && m->table.n == 0)
		get(m, "t", mcast_sid_hex(&m->setup.sid, hex), (size_t)MCR_G_MAX * MCAST_GENERATION_DIGEST_BYTES, on_table);
	else if (m->is_judged || m->host.recall(m->host.ctx, &m->setup.digest, m->setup.size))
		join_ends(m, NODE_EV_OFFER);
	else
		get_envelope(m);
}

void mcast_node_join(struct mcast_node *m)
{
	char hex[MCAST_SID_HEX_BYTES];

	if (m->join_call)
		coap_call_cancel(m->join_call);
	m->join_call = NULL;
	if (!m->path[0] || !m->durable) {
		m->host.post(m->host.ctx, NODE_EV_NONE);
	} else if (m->is_told) {
		m->is_told = false;
		join_next(m);
	} else {
		get(m, "s", is_live(m) && m->has_setup ? mcast_sid_hex(&m->setup.sid, hex) : NULL, MCAST_SETUP_BYTES_MAX, on_descriptor);
	}
}

void mcast_node_listen(struct mcast_node *m)
{
	m->contact_at = mono_now();
	if (mcr_state(&m->core) == MCR_READY)
		m->has_ready = true;
	else if (m->wants_pull)
		pull_soon(m);
	kick(m);
}

void mcast_node_set_path(struct mcast_node *m, struct span path)
{
	size_t n = path.n;

	if (n > 0 && path.p[0] == '/') {
		path = span_sub(path, 1, path.n);
		n--;
	}
	while (n > 0 && path.p[n - 1] != '/')
		n--;
	if (n == 0 || text_copy(m->path, sizeof(m->path), span_sub(path, 0, n - 1)) < 0)
		m->path[0] = '\0';
}

/* A stretch came, or did not. */
static void on_pull(void *ctx, enum mcast_pull_result result)
{
	struct mcast_node *m = ctx;

	m->contact_at = mono_now();
	if (result == MCAST_PULL_AGAIN || result == MCAST_PULL_UNREACHABLE)
		m->pull_at = mono_add_ms(mono_now(), MCAST_PULL_AGAIN_MS);
	if (result == MCAST_PULL_UNREACHABLE || result == MCAST_PULL_GONE)
		m->host.post(m->host.ctx, result == MCAST_PULL_GONE ? NODE_EV_GONE : NODE_EV_UNREACHABLE);
	m->host.progress(m->host.ctx);
	kick(m);
}

/* --- life -------------------------------------------------------------------------------------- */

void mcast_node_hang_up(struct mcast_node *m)
{
	struct coap_call **const calls[] = { &m->join_call, &m->report_call, &m->probe_call };

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		if (*calls[i])
			coap_call_cancel(*calls[i]);
		*calls[i] = NULL;
	}
	m->probe_at = (struct mono){ 0 };
	if (mcast_pull_cancel(&m->pull))
		pull_soon(m);
}

/* What was told before the restart. */
static void load_setup(struct mcast_node *m)
{
	_cleanup_free_ uint8_t *bytes = NULL, *table = NULL;
	size_t n = 0;

	if (file_read(m->files.dirfd, "mcast-setup", MCAST_SETUP_BYTES_MAX, &bytes, &n) < 0 || keep_setup(m, SPAN(bytes, n)) < 0)
		return;
	mem_wipe(bytes, n);
	if (file_read(m->files.dirfd, "mcast-table", (size_t)MCR_G_MAX * MCAST_GENERATION_DIGEST_BYTES, &table, &n) >= 0)
		buf_add(&m->table, SPAN(table, n));
}

int mcast_node_on(struct mcast_node *m, int dirfd, struct node_durable *durable)
{
	if (m->durable)
		return 0;
	int r = mcast_files_open(&m->files, dirfd);
	if (r < 0) {
		mcast_files_close(&m->files);
		return r;
	}
	m->durable = durable;
	m->end_reason = -1;
	load_setup(m);
	r = mcr_init(&m->core, &core_ops, m, now_ms());
	if (r < 0)
		return r;
	if (mcr_state(&m->core) != MCR_IDLE && !m->has_setup)
		mcr_abort(&m->core);           /* the setup was lost: it starts anew */
	const struct node_group *g = &durable->groups[0];
	if (g->is_used && (m->host.listens_idle || is_live(m)))
		(void)open_socket(m, g->address, g->port); /* told again with the next setup */
	kick(m);
	return 0;
}

void mcast_node_off(struct mcast_node *m)
{
	mcast_node_hang_up(m);
	close_socket(m);
	loop_timer_set(m->timer, -1);
	mcast_files_close(&m->files);
	mac_cmac_free(m->mk);
	m->mk = NULL;
	if (m->stored.p)
		mem_wipe(m->stored.p, m->stored.n);
	buf_done(&m->stored);
	buf_done(&m->table);
	m->stored = m->table = (struct buf){ 0 };
	m->durable = NULL;
	m->wants_pull = false;
	m->has_setup = m->is_judged = m->is_told = m->has_ready = m->has_gone = m->has_bad = false;
	m->ask_at = m->pull_at = (struct mono){ 0 };
}

struct mcast_node *mcast_node_new(struct loop *l, const struct mcast_node_host *host)
{
	struct mcast_node *m = NEW(struct mcast_node);

	m->loop = l;
	m->host = *host;
	m->random = host->seed;
	m->end_reason = -1;
	mcast_files_init(&m->files);
	m->timer = loop_timer_new(l, on_timer, m);
	m->pull = (struct mcast_pull){ .core = &m->core, .szx = host->szx, .call = host->call, .call_ctx = host->ctx, .done = on_pull, .ctx = m };
	return m;
}

struct mcast_node *mcast_node_free(struct mcast_node *m)
{
	if (!m)
		return NULL;
	mcast_node_off(m);
	loop_timer_free(m->timer);
	free(m);
	return NULL;
}

struct span mcast_node_object(const struct mcast_node *m, struct digest *ret)
{
	bool is_whole = m->durable && mcr_state(&m->core) == MCR_READY && m->files.object && m->has_setup;

	*ret = is_whole ? m->setup.digest : (struct digest){ 0 };
	return is_whole ? SPAN(m->files.object, m->setup.size) : (struct span){ 0 };
}

void mcast_node_consumed(struct mcast_node *m)
{
	if (!m->durable)
		return;
	if (mcr_state(&m->core) == MCR_READY)
		mcast_files_drop_object(&m->files);    /* that it had it stays known: it is not received again */
	m->is_judged = false;
}

static const char *phase_name(const struct mcast_node *m)
{
	if (!m->durable)
		return "off";
	switch (mcr_state(&m->core)) {
	case MCR_IDLE:
		return "idle";
	case MCR_ARMED:
		return mcast_pull_is_busy(&m->pull) ? "pulling" : "armed";
	case MCR_RECV:
		return mcast_pull_is_busy(&m->pull) ? "pulling" : "receiving";
	case MCR_READY:
		return "ready";
	case MCR_CLOSED:
		return mcast_pull_is_busy(&m->pull) ? "pulling" : "closed";
	case MCR_FAILED:
		return "failed";
	}
	return "?";
}

struct mcast_node_status mcast_node_status(struct mcast_node *m)
{
	struct mcast_node_status s = { .phase = phase_name(m), .sessions = m->n_sessions };

	if (!m->durable || mcr_state(&m->core) == MCR_IDLE)
		return s;
	const struct mcr_stats *c = mcr_stats(&m->core, now_ms());
	s.received_frames = c->n_data;
	s.lost_frames = c->n_lost;
	s.bad_frames = c->n_bad_mic;
	s.radio_on_ms = c->radio_on_ms;
	s.reports = c->n_reports;
	s.spoiled = c->n_spoiled;
	s.received_bytes = mcr_held_bytes(&m->core);
	s.total_bytes = m->core.size;
	s.is_listening = mcr_is_listening(&m->core);
	return s;
}
