/* The daemon itself: status, health, sources, audit, reload. */
#include <errno.h>

#include "admin/api.h"
#include "base/metric.h"
#include "base/text.h"

enum { AUDIT_PROOFS_MAX = 64, STORE_QUEUE_HIGH = DB_QUEUE_MAX / 2 };

static void put_counts(struct api_call *c, struct json_out *o)
{
	const struct admin_config *a = &c->admin->c;

	json_int(o, "devices", metric_get(METRIC_DEVICES));
	json_int(o, "endpoints", metric_get(METRIC_ENDPOINTS));
	json_uint(o, "updates", intake_update_count(a->intake));
	json_uint(o, "jobs", job_run_total(rollout_run_jobs(a->rollout)));
	json_int(o, "jobs_open", metric_get(METRIC_JOBS_OPEN));
	json_uint(o, "cache_bytes", image_cache_bytes(a->images));
	json_uint(o, "cache_images", image_cache_count(a->images));
	json_uint(o, "audit_entries", audit_log_size(a->audit));
	json_int(o, "loop_max_microseconds", metric_get(METRIC_LOOP_MAX_US));
}

void api_status(struct api_call *c)
{
	const struct admin_config *a = &c->admin->c;
	struct buf b = { 0 };
	struct json_out o = json_writer(&b);
	bool clock_bad;

	(void)intake_clock(a->intake, &clock_bad);
	json_open_object(&o, NULL);
	json_str(&o, "version", DORMOUSE_VERSION);
	api_put_wall(&o, "started_at", c->admin->started_at);
	api_put_wall(&o, "now", wall_now());
	json_bool(&o, "clock_ok", !clock_bad);
	json_str(&o, "config_file", c->admin->config->file);
	json_str(&o, "state_dir", c->admin->config->state_dir);
	json_open_array(&o, "coap");
	const char *address;
	for (size_t i = 0; a->coap_address && (address = a->coap_address(a->ctx, i)); i++)
		json_str(&o, NULL, address);
	json_close_array(&o);
	json_open_array(&o, "http");
	for (size_t i = 0; (address = admin_http_address(c->admin, i)); i++)
		json_str(&o, NULL, address);
	json_close_array(&o);
	json_str(&o, "bluetooth", a->ble ? ble_health_text(ble_health(a->ble)) : "off");
	put_counts(c, &o);
	json_close_object(&o);
	api_reply_json(c, 200, &b);
}

static void problem(struct json_out *o, size_t *n, const char *what, const char *text)
{
	json_open_object(o, NULL);
	json_str(o, "what", what);
	json_str(o, "text", text);
	json_close_object(o);
	(*n)++;
}

void api_health(struct api_call *c)
{
	const struct admin_config *a = &c->admin->c;
	struct buf b = { 0 };
	struct json_out o = json_writer(&b);
	struct source_status st;
	size_t n = 0;
	bool clock_bad;

	(void)intake_clock(a->intake, &clock_bad);
	json_open_object(&o, NULL);
	json_open_array(&o, "problems");
	if (clock_bad)
		problem(&o, &n, "clock", "the clock is before the newest signed time seen; set it (timedatectl)");
	if (db_queue_length(a->db) > STORE_QUEUE_HIGH)
		problem(&o, &n, "store", "the disk does not keep up with writing");
	if (db_is_failing(a->db))
		problem(&o, &n, "store", "writes to the database fail: is the disk full or read-only?");
	if (a->ble && ble_health(a->ble) != BLE_READY)
		problem(&o, &n, "bluetooth", ble_health_text(ble_health(a->ble)));
	for (size_t i = 0; upstream_status(a->upstream, i, &st) == 0; i++)
		if (!st.is_ok && st.failures > 0)
			problem(&o, &n, st.name, st.error);
	json_close_array(&o);
	json_bool(&o, "ok", n == 0);
	json_close_object(&o);
	api_reply_json(c, n == 0 ? 200 : 503, &b);
}

void api_sources_list(struct api_call *c)
{
	const char *after = api_after(c);
	struct source_status st;
	struct api_list l;
	char last[sizeof(l.next)] = "";
	bool started = !after;
	size_t i;

	api_list_begin(c, &l);
	for (i = 0; upstream_status(c->admin->c.upstream, i, &st) == 0; i++) {
		if (!started) {
			started = strcmp(st.name, after) == 0;
			continue;
		}
		if (api_list_full(&l)) {
			memcpy(l.next, last, sizeof(last));
			continue;
		}
		json_open_object(&l.o, NULL);
		json_str(&l.o, "name", st.name);
		json_str(&l.o, "kind", st.kind);
		json_str(&l.o, "location", st.location);
		json_bool(&l.o, "is_ok", st.is_ok);
		json_str(&l.o, "error", st.error);
		json_uint(&l.o, "failures", st.failures);
		api_put_wall(&l.o, "polled_at", st.polled_at);
		api_put_wall(&l.o, "next_poll_at", st.next_poll_at);
		json_close_object(&l.o);
		l.n++;
		(void)text_copy(last, sizeof(last), span_str(st.name)); /* names fit */
	}
	api_list_end(c, &l, i);
}

void api_source_poll(struct api_call *c)
{
	struct buf b = { 0 };

	if (upstream_poll(c->admin->c.upstream, c->param[0]) < 0) {
		api_reply_problem(c, 404, "no source named \"%.60s\"", c->param[0]);
		return;
	}
	buf_add_str(&b, "{\"ok\":true}");
	api_reply_json(c, 202, &b);
}

void api_reload(struct api_call *c)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct buf b = { 0 };
	struct json_out o = json_writer(&b);

	int r = c->admin->c.reload(c->admin->c.ctx, &text);
	if (r < 0) {
		api_reply_problem(c, 422, "the configuration was refused, the running one stays: %.200s", buf_str(&text));
		return;
	}
	json_open_object(&o, NULL);
	json_bool(&o, "ok", true);
	json_span(&o, "changes", buf_span(&text));
	json_close_object(&o);
	api_reply_json(c, 200, &b);
}

static int put_entry(void *ctx, uint64_t index, struct span entry)
{
	struct api_list *l = ctx;

	json_open_object(&l->o, NULL);
	json_uint(&l->o, "index", index);
	json_raw(&l->o, "entry", entry);
	json_close_object(&l->o);
	l->n++;
	return 0;
}

/* The first digits of a job's or an update's id will do; everything else as it is. */
static const char *subject_of(struct api_call *c)
{
	const char *subject = c->query(c, "subject");
	const struct update *u;
	const struct job *j;

	if (!subject || !subject[0])
		return NULL;
	if (api_job_find(c->admin, subject, &j) == 0)
		return j->id;
	return intake_update_find(c->admin->c.intake, subject, &u) == 0 ? u->id : subject;
}

void api_audit_list(struct api_call *c)
{
	struct audit_log *log = c->admin->c.audit;
	const char *subject = subject_of(c), *from = api_after(c);
	struct api_list l;
	uint64_t index = 0;

	if (from && text_parse_u64(span_str(from), UINT64_MAX - 1, &index, 0) < 0) {
		api_reply_problem(c, 400, "after= is the index of an entry");
		return;
	}
	if (from)
		index++;
	api_list_begin(c, &l);
	int r = subject ? audit_log_find(log, subject, l.limit, put_entry, &l) : audit_log_read(log, index, l.limit, put_entry, &l);
	if (r < 0) {
		buf_done(&l.b);
		api_reply_problem(c, 503, "the audit log cannot be read: %s", strerror(-r));
		return;
	}
	if (!subject && l.n && index + l.n < audit_log_size(log)) {
		_cleanup_buf_ struct buf next = { 0 };
		buf_printf(&next, "%llu", (unsigned long long)(index + l.n - 1));
		(void)text_copy(l.next, sizeof(l.next), buf_span(&next)); /* fits */
	}
	api_list_end(c, &l, audit_log_size(log));
}

static void reply_text(struct api_call *c, int r, const struct buf *text, const char *what)
{
	struct buf b = { 0 };
	struct json_out o = json_writer(&b);

	if (r < 0) {
		api_reply_problem(c, r == -ENOENT ? 404 : 503, "%s: %s", what, strerror(-r));
		return;
	}
	json_open_object(&o, NULL);
	json_span(&o, what, buf_span(text));
	json_close_object(&o);
	api_reply_json(c, 200, &b);
}

void api_audit_checkpoint(struct api_call *c)
{
	_cleanup_buf_ struct buf text = { 0 };

	reply_text(c, audit_log_checkpoint(c->admin->c.audit, &text), &text, "checkpoint");
}

void api_audit_key(struct api_call *c)
{
	_cleanup_buf_ struct buf text = { 0 };

	buf_add_str(&text, audit_log_public_key(c->admin->c.audit));
	reply_text(c, 0, &text, "key");
}

struct proofs {
	struct audit_log *log;
	struct json_out *o;
	size_t n;
};

static int put_proof(void *ctx, uint64_t index, struct span entry)
{
	struct proofs *p = ctx;
	_cleanup_buf_ struct buf text = { 0 };

	int r = audit_log_prove(p->log, index, &text);
	if (r < 0)
		return r;
	json_open_object(p->o, NULL);
	json_uint(p->o, "index", index);
	json_raw(p->o, "entry", entry);
	json_span(p->o, "proof", buf_span(&text));
	json_close_object(p->o);
	p->n++;
	return 0;
}

void api_audit_prove(struct api_call *c)
{
	const char *subject = subject_of(c);
	struct buf b = { 0 };
	struct json_out o = json_writer(&b);
	struct proofs p = { .log = c->admin->c.audit, .o = &o };

	if (!subject) {
		api_reply_problem(c, 400, "give subject=, the id of a job, update or device");
		return;
	}
	json_open_object(&o, NULL);
	json_str(&o, "subject", subject);
	json_str(&o, "key", audit_log_public_key(p.log));
	json_open_array(&o, "proofs");
	int r = audit_log_find(p.log, subject, AUDIT_PROOFS_MAX, put_proof, &p);
	json_close_array(&o);
	json_close_object(&o);
	if (r < 0 || p.n == 0) {
		buf_done(&b);
		api_reply_problem(c, r < 0 ? 503 : 404, r < 0 ? "the audit log cannot be read" : "nothing is logged about it");
		return;
	}
	api_reply_json(c, 200, &b);
}
