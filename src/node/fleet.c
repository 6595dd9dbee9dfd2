#include "node/fleet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/tmpfile.h"
#include "codec/json.h"

enum { NAME_BYTES = 64, KEY_FILE_BYTES_MAX = 4 * 1024 * 1024, STATUS_EVERY_MS = 250 };

struct member {
	struct fleet *fleet;
	struct node *node;
	char name[NAME_BYTES];
	char *dir;
	uint8_t psk[FLEET_PSK_BYTES_MAX], mac[FLEET_PSK_BYTES_MAX];
	size_t n_psk, n_mac;
	enum node_state told;                  /* last state in the status stream */
	uint64_t told_bytes;
};

struct fleet {
	struct loop *loop;
	struct fleet_config c;
	struct coap_client *client;
	struct member *members;
	size_t n;
	struct loop_timer *status, *timeout, *end;
	bool is_over, is_late;
};

/* --- keys -------------------------------------------------------------------------------------- */

static int take_key(struct span hex, uint8_t *ret, size_t *ret_n)
{
	return text_parse_hex_var(hex, ret, FLEET_PSK_BYTES_MAX, ret_n);
}

/* The next word of a line; empty at its end. */
static struct span word(struct span *rest)
{
	size_t from = 0, n = 0;

	while (from < rest->n && (rest->p[from] == ' ' || rest->p[from] == '\t'))
		from++;
	while (from + n < rest->n && rest->p[from + n] != ' ' && rest->p[from + n] != '\t')
		n++;
	struct span w = span_sub(*rest, from, n);
	*rest = span_sub(*rest, from + n, rest->n);
	return w;
}

static struct member *find(struct fleet *f, struct span name)
{
	for (size_t i = 0; i < f->n; i++)
		if (span_eq_str(name, f->members[i].name))
			return &f->members[i];
	return NULL;
}

static int take_key_line(struct fleet *f, struct span line)
{
	struct span name = word(&line), psk = word(&line), mac = word(&line);
	struct member *m = name.n ? find(f, name) : NULL;

	if (!name.n || name.p[0] == '#' || !m)
		return 0;
	if (take_key(psk, m->psk, &m->n_psk) < 0 || (mac.n && take_key(mac, m->mac, &m->n_mac) < 0))
		return -EBADMSG;
	return 0;
}

static int read_keys(struct fleet *f)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t n = 0, from = 0;
	unsigned line = 0;

	if (!f->c.psk_file)
		return 0;
	int r = file_read(AT_FDCWD, f->c.psk_file, KEY_FILE_BYTES_MAX, &bytes, &n);
	if (r < 0) {
		log_line(LOG_ERR, "%s: %s", f->c.psk_file, strerror(-r));
		return r;
	}
	while (from < n) {
		const uint8_t *end = memchr(bytes + from, '\n', n - from);
		size_t len = end ? (size_t)(end - bytes) - from : n - from;
		line++;
		if (take_key_line(f, SPAN(bytes + from, len)) < 0) {
			log_line(LOG_ERR, "%s:%u: wants NAME PSK-HEX [MAC-KEY-HEX]", f->c.psk_file, line);
			return -EBADMSG;
		}
		from += len + 1;
	}
	mem_wipe(bytes, n);
	return 0;
}

/* --- status ------------------------------------------------------------------------------------ */

static void put_multicast(struct json_out *j, const struct mcast_node_status *s)
{
	json_open_object(j, "multicast");
	json_str(j, "phase", s->phase);
	json_uint(j, "received_frames", s->received_frames);
	json_uint(j, "lost_frames", s->lost_frames);
	json_uint(j, "bad_frames", s->bad_frames);
	json_uint(j, "radio_on_ms", s->radio_on_ms);
	json_bool(j, "listening", s->is_listening);
	json_uint(j, "received_bytes", s->received_bytes);
	json_uint(j, "total_bytes", s->total_bytes);
	json_uint(j, "reports", s->reports);
	json_uint(j, "spoiled", s->spoiled);
	json_uint(j, "sessions", s->sessions);
	json_close_object(j);
}

static void put_status(struct json_out *j, const struct node_status *s, const struct mcast_node_status *multicast)
{
	json_open_object(j, NULL);
	json_str(j, "name", s->name);
	json_str(j, "state", node_state_name(s->state));
	json_str(j, "phase", node_phase_name(s->phase));
	json_uint(j, "sequence", s->sequence);
	json_str(j, "version", s->version);
	json_uint(j, "received_bytes", s->received_bytes);
	json_uint(j, "total_bytes", s->total_bytes);
	json_uint(j, "result", s->result);
	json_str(j, "reason", s->reason);
	json_uint(j, "boots", s->boots);
	json_uint(j, "wakes", s->wakes);
	json_uint(j, "checks", s->checks);
	json_uint(j, "updates", s->updates);
	json_uint(j, "failures", s->failures);
	json_uint(j, "crashes", s->crashes);
	json_uint(j, "resumes", s->resumes);
	if (multicast)
		put_multicast(j, multicast);
	json_close_object(j);
}

static void write_status(struct fleet *f)
{
	_cleanup_free_ char *tmp = mem_printf("%s.tmp", f->c.status_file);
	_cleanup_buf_ struct buf b = { 0 };
	struct json_out j = json_writer(&b);
	size_t updated = 0;

	json_open_object(&j, NULL);
	json_open_array(&j, "nodes");
	for (size_t i = 0; i < f->n; i++) {
		struct node_status s = node_status(f->members[i].node);
		struct mcast_node_status multicast = node_multicast_status(f->members[i].node);
		put_status(&j, &s, f->c.multicast ? &multicast : NULL);
		updated += s.updates > 0;
	}
	json_close_array(&j);
	json_uint(&j, "count", f->n);
	json_uint(&j, "updated", updated);
	json_close_object(&j);
	buf_add_str(&b, "\n");
	FILE *out = fopen(tmp, "we");
	bool ok = out && fwrite(b.p, 1, b.n, out) == b.n;
	if (out && fclose(out) != 0)
		ok = false;
	if (!ok || rename(tmp, f->c.status_file) < 0) /* whole or not at all; it need not survive a crash */
		log_line(LOG_ERR, "%s: %m", f->c.status_file);
}

/* A line when the state changes, and now and then during a transfer. */
static void print_status(struct member *m)
{
	struct node_status s = node_status(m->node);
	_cleanup_buf_ struct buf b = { 0 };
	struct json_out j = json_writer(&b);

	if (s.state == m->told && s.received_bytes < m->told_bytes + s.total_bytes / 10 + 1)
		return;
	m->told = s.state;
	m->told_bytes = s.received_bytes;
	struct mcast_node_status multicast = node_multicast_status(m->node);
	put_status(&j, &s, m->fleet->c.multicast ? &multicast : NULL);
	puts(buf_str(&b));
	(void)fflush(stdout); /* nobody reads any more: the nodes live on */
}

static void on_status(void *ctx)
{
	write_status(ctx);
}

/* --- the end ----------------------------------------------------------------------------------- */

static bool is_finished(const struct fleet *f)
{
	for (size_t i = 0; i < f->n; i++) {
		struct node_status s = node_status(f->members[i].node);
		if (f->c.exit_when_updated ? s.updates == 0 || s.phase != NODE_IDLE : s.state != NODE_DONE)
			return false;
	}
	return f->c.exit_when_updated || f->c.once;
}

static void on_end(void *ctx)
{
	struct fleet *f = ctx;

	f->is_over = true;
	loop_stop(f->loop);
}

static void on_timeout(void *ctx)
{
	struct fleet *f = ctx;

	f->is_late = true;
	log_line(LOG_ERR, "not done within %u s", f->c.timeout_s);
	loop_stop(f->loop);
}

int fleet_exit(const struct fleet *f)
{
	if (f->is_late)
		return 3;
	for (size_t i = 0; i < f->n; i++)
		if (node_status(f->members[i].node).failures > 0)
			return 1;
	return 0;
}

static void on_changed(void *ctx, struct node *n)
{
	struct member *m = ctx;
	struct fleet *f = m->fleet;

	if (!m->node)
		return;                        /* still in node_new() */
	if (f->c.status_file && !strcmp(f->c.status_file, "-"))
		print_status(m);
	else if (f->c.status_file && !loop_timer_armed(f->status))
		loop_timer_set(f->status, STATUS_EVERY_MS);
	if (is_finished(f))
		loop_timer_set(f->end, 0);
}

/* --- making ------------------------------------------------------------------------------------ */

static struct node_plan plan_of(const struct fleet_config *c, size_t i)
{
	bool sleeps = c->sleep_s > 0 && i < c->sleepers;
	double speed = c->speed > 0 ? c->speed : 1;

	return (struct node_plan){
		.once = c->once,
		.sleep_ms = sleeps ? (int64_t)(c->sleep_s * 1000.0 / speed) + 1 : 0,
		.awake_ms = (int64_t)c->awake_s * 1000,
		.lifetime_ms = (int64_t)c->lifetime_s * 1000,
		.watch_ms = 60 * 1000,
		.reboot_ms = 300,
		.pause_ms = 1000,
		.pause_max_ms = 60 * 1000,
		.answer_ms = 180 * 1000,
		.multicast = c->multicast,
		.listen_ms = 5 * 60 * 1000,
		.crash = c->crash,
		.seed = c->seed * UINT64_C(1000003) + i,
	};
}

static int make_member(struct fleet *f, size_t i)
{
	const struct fleet_config *c = &f->c;
	struct member *m = &f->members[i];
	struct node_plan plan = plan_of(c, i);
	const struct node_setup s = {
		.gateway = c->gateway, .name = m->name, .dir = m->dir,
		.psk_identity = m->n_psk || c->psk_key.n ? (c->identity ? c->identity : m->name) : NULL,
		.psk_key = m->n_psk ? SPAN(m->psk, m->n_psk) : c->psk_key,
		.mac_key = m->n_mac ? SPAN(m->mac, m->n_mac) : c->mac_key,
		.trust = &f->c.trust, .hw = c->hw, .base = c->base, .plan = plan, .lifetime_s = c->lifetime_s,
		.wake_period_s = plan.sleep_ms ? c->sleep_s : 0, .wake_window_s = plan.sleep_ms ? c->awake_s : 0,
		.start_sequence = c->start_sequence, .szx = c->szx, .by_proxy_uri = c->by_proxy_uri, .ack_timeout_ms = c->ack_timeout_ms,
		.multicast = c->multicast, .multicast_loss = c->loss,
		.spread_ms = f->n > 1 ? (int64_t)(f->n * 20 < 5000 ? f->n * 20 : 5000) : 0,
	};

	int r = node_new(f->loop, f->client, &s, on_changed, m, &m->node);
	if (r < 0)
		log_line(LOG_ERR, "%s: %s", m->dir, strerror(-r));
	return r;
}

static int name_members(struct fleet *f)
{
	int digits = f->n > 1000 ? 5 : 3;

	for (size_t i = 0; i < f->n; i++) {
		struct member *m = &f->members[i];
		m->fleet = f;
		m->told = NODE_STATE_COUNT;
		if (f->c.count <= 1)
			(void)snprintf(m->name, sizeof(m->name), "%s", f->c.name); /* main checked its length */
		else
			(void)snprintf(m->name, sizeof(m->name), "%s-%0*zu", f->c.name, digits, i); /* likewise */
		m->dir = f->c.count <= 1 ? mem_strdup(f->c.dir) : mem_printf("%s/%s", f->c.dir, m->name);
	}
	return f->c.count > 1 && mkdir(f->c.dir, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int fleet_open(struct loop *l, const struct fleet_config *c, struct fleet **ret)
{
	struct fleet *f = NEW(struct fleet);

	f->loop = l;
	f->c = *c;
	f->n = c->count ? c->count : 1;
	f->members = NEW_N(struct member, f->n);
	f->client = coap_client_new(l);
	f->status = loop_timer_new(l, on_status, f);
	f->timeout = loop_timer_new(l, on_timeout, f);
	f->end = loop_timer_new(l, on_end, f);
	int r = name_members(f);
	if (r < 0)
		log_line(LOG_ERR, "%s: %s", c->dir, strerror(-r));
	if (r >= 0)
		r = read_keys(f);
	for (size_t i = 0; i < f->n && r >= 0; i++)
		r = make_member(f, i);
	if (r < 0) {
		fleet_close(f);
		return r;
	}
	if (c->timeout_s)
		loop_timer_set(f->timeout, (int64_t)c->timeout_s * 1000);
	*ret = f;
	return 0;
}

struct fleet *fleet_close(struct fleet *f)
{
	if (!f)
		return NULL;
	if (f->c.status_file && strcmp(f->c.status_file, "-") != 0 && f->members[f->n - 1].node)
		write_status(f);
	for (size_t i = 0; i < f->n; i++) {
		struct member *m = &f->members[i];
		struct node *n = TAKE(m->node);
		node_free(n);
		free(m->dir);
		mem_wipe(m->psk, sizeof(m->psk));
		mem_wipe(m->mac, sizeof(m->mac));
	}
	free(f->members);
	coap_client_free(f->client);
	loop_timer_free(f->status);
	loop_timer_free(f->timeout);
	loop_timer_free(f->end);
	free(f);
	return NULL;
}
