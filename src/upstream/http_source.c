/* The `https` source: polls one URL, of an envelope or of an index (*.txt, one envelope URL a line, # comments),
 * conditionally (ETag, Last-Modified), with jitter, and backs off when the server fails. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/random.h"
#include "base/text.h"
#include "codec/uri.h"
#include "upstream/source.h"

enum { INDEX_BYTES_MAX = 64 * 1024, INDEX_LINES_MAX = 256, REDIRECTS_MAX = 3, PAYLOAD_TIMEOUT_MS = 6 * 3600 * 1000,
       URL_BYTES = 1025 };

struct http_source {
	struct source s;
	struct loop_timer *timer;
	struct http_fetch *fetch;
	struct upstream_memory pending;        /* of the answer being handled */
	char (*queue)[URL_BYTES];              /* envelopes named by the index, still to fetch */
	size_t n_queue, at_queue;
};

static void next_poll(struct http_source *h)
{
	int64_t in_s = h->s.row.poll_s;

	if (h->s.status.failures > 0) {
		unsigned shift = h->s.status.failures < 12 ? h->s.status.failures - 1 : 11;
		int64_t back_s = (int64_t)2 << shift;
		if (back_s > h->s.row.backoff_max_s)
			back_s = h->s.row.backoff_max_s;
		in_s = back_s < in_s ? back_s : in_s; /* try a broken server sooner than the next regular poll, but ever more slowly */
		if (h->s.row.backoff_max_s > h->s.row.poll_s && back_s > in_s)
			in_s = back_s;
	}
	int64_t in_ms = in_s * 1000 + (int64_t)random_below((uint64_t)h->s.row.jitter_s * 1000 + 250);
	h->s.status.next_poll_at = wall_add_ms(wall_now(), in_ms);
	loop_timer_set(h->timer, in_ms);
}

static struct http_fetch_request request_of(const struct http_source *h, const char *url)
{
	const struct config_source *row = &h->s.row;

	return (struct http_fetch_request){
		.url = url, .ca_file = row->ca_file[0] ? row->ca_file : NULL, .allow_http = row->allow_http,
		.allow_private = row->allow_private, .timeout_ms = row->timeout_s * 1000, .stall_ms = row->timeout_s * 1000,
		.redirects_max = REDIRECTS_MAX, .max_bytes = source_config(&h->s)->envelope_bytes_max,
	};
}

static bool is_index(const struct http_source *h)
{
	size_t n = strlen(h->s.row.url);

	return n > 4 && strcmp(h->s.row.url + n - 4, ".txt") == 0;
}

static bool http_failed(struct http_source *h, const char *url, const struct http_fetch_result *res)
{
	if (res->error == 0 && res->status == 200)
		return false;
	if (res->error < 0)
		source_failed(&h->s, "%s: %s", url, res->error_text ? res->error_text : strerror(-res->error));
	else
		source_failed(&h->s, "%s: the server answers %d", url, res->status);
	return true;
}

static void fetch_next_envelope(struct http_source *h);

static void on_envelope(void *ctx, const struct http_fetch_result *res)
{
	struct http_source *h = ctx;
	const char *url = h->queue[h->at_queue];
	bool is_last = h->at_queue + 1 == h->n_queue;

	h->fetch = NULL;
	if (!http_failed(h, url, res)) {
		metric_add(METRIC_FETCH_BYTES, (int64_t)res->body.n);
		/* The index counts as seen only with its last envelope; those before are recognised when they come again. */
		source_found(&h->s, url, res->body, is_last && h->s.status.failures == 0 ? &h->pending : &h->s.memory);
	}
	h->at_queue++;
	fetch_next_envelope(h);
}

static void fetch_next_envelope(struct http_source *h)
{
	while (h->at_queue < h->n_queue) {
		struct http_fetch_request req = request_of(h, h->queue[h->at_queue]);
		int r = http_fetch(source_config(&h->s)->http, &req, on_envelope, h, &h->fetch);
		if (r == 0)
			return;
		source_failed(&h->s, "%s: %s", h->queue[h->at_queue], strerror(-r));
		h->at_queue++;
	}
	free(h->queue);
	h->queue = NULL;
	h->n_queue = h->at_queue = 0;
	next_poll(h);
}

static void index_read(struct http_source *h, struct span body)
{
	h->queue = mem_new(INDEX_LINES_MAX, sizeof(*h->queue));
	h->n_queue = h->at_queue = 0;
	while (body.n && h->n_queue < INDEX_LINES_MAX) {
		const uint8_t *nl = memchr(body.p, '\n', body.n);
		struct span line = span_sub(body, 0, nl ? (size_t)(nl - body.p) : body.n);
		body = span_sub(body, line.n + (nl ? 1 : 0), body.n);
		while (line.n && (line.p[line.n - 1] == '\r' || line.p[line.n - 1] == ' '))
			line.n--;
		_cleanup_buf_ struct buf url = { .max = URL_BYTES - 1 };
		if (line.n == 0 || line.p[0] == '#')
			continue;
		if (uri_resolve(span_str(h->s.row.url), line, 0, &url) < 0 || !buf_ok(&url)) {
			source_failed(&h->s, "the index names something that is not a URI reference");
			continue;
		}
		(void)text_copy(h->queue[h->n_queue++], URL_BYTES, buf_span(&url)); /* bounded above */
	}
}

static void on_poll(void *ctx, const struct http_fetch_result *res)
{
	struct http_source *h = ctx;

	h->fetch = NULL;
	if (res->error == 0 && res->status == 304) {
		source_ok(&h->s);
	} else if (!http_failed(h, h->s.row.url, res)) {
		source_ok(&h->s);
		metric_add(METRIC_FETCH_BYTES, (int64_t)res->body.n);
		h->pending = (struct upstream_memory){ 0 };
		(void)text_copy(h->pending.etag, sizeof(h->pending.etag), span_str(res->etag ? res->etag : ""));  /* too long = not remembered */
		if (res->last_modified && res->last_modified_is_strong)
			(void)text_copy(h->pending.last_modified, sizeof(h->pending.last_modified), span_str(res->last_modified)); /* likewise */
		if (is_index(h)) {
			index_read(h, res->body);
			fetch_next_envelope(h);
			return;
		}
		struct digest d = digest_of(res->body); /* at most an envelope */
		if (!digest_eq(&d, &h->s.memory.last_envelope))
			source_found(&h->s, h->s.row.url, res->body, &h->pending);
	}
	next_poll(h);
}

static void http_source_poll(struct source *s)
{
	struct http_source *h = (struct http_source *)s;

	if (h->fetch || h->queue)
		return; /* under way */
	struct http_fetch_request req = request_of(h, s->row.url);
	if (is_index(h))
		req.max_bytes = INDEX_BYTES_MAX;
	req.etag = s->memory.etag[0] ? s->memory.etag : NULL;
	req.last_modified = s->memory.last_modified[0] ? s->memory.last_modified : NULL;
	int r = http_fetch(source_config(s)->http, &req, on_poll, h, &h->fetch);
	if (r < 0) {
		source_failed(s, "%s: %s", s->row.url, strerror(-r));
		next_poll(h);
	}
}

static void on_timer(void *ctx)
{
	http_source_poll(ctx);
}

static int http_source_start(struct source *s)
{
	struct http_source *h = (struct http_source *)s;

	h->timer = loop_timer_new(source_config(s)->loop, on_timer, h);
	loop_timer_set(h->timer, (int64_t)random_below(500)); /* not all sources in one turn */
	return 0;
}

static void http_source_stop(struct source *s)
{
	struct http_source *h = (struct http_source *)s;

	if (h->fetch)
		http_fetch_cancel(h->fetch);
	loop_timer_free(h->timer);
	free(h->queue);
}

/* ---- payloads ---- */

static int on_piece(void *ctx, uint64_t off, struct span data)
{
	struct upstream_payload *p = ctx;

	metric_add(METRIC_FETCH_BYTES, (int64_t)data.n);
	return p->req.piece(p->req.ctx, off, data);
}

static void on_payload(void *ctx, const struct http_fetch_result *res)
{
	struct upstream_payload *p = ctx;
	char text[160];

	if (res->error < 0) {
		source_payload_end(p, res->error, res->error_text ? res->error_text : strerror(-res->error));
	} else if (res->status == 416) { /* everything was there already, or the file shrank: the digest will tell */
		source_payload_end(p, 0, NULL);
	} else if (res->status != 200 && res->status != 206) {
		(void)snprintf(text, sizeof(text), "the server answers %d", res->status); /* fits */
		source_payload_end(p, res->status == 404 || res->status == 410 ? -ENOENT : -EPROTO, text);
	} else {
		source_payload_end(p, 0, NULL);
	}
}

static int http_source_payload(struct source *s, const struct upstream_payload_request *req, struct upstream_payload *p)
{
	struct http_source *h = (struct http_source *)s;
	struct http_fetch *fetch;
	struct http_fetch_request hr = request_of(h, req->uri);

	hr.timeout_ms = PAYLOAD_TIMEOUT_MS; /* the stall limit guards it */
	hr.from = req->from;
	hr.max_bytes = req->max_bytes;
	hr.piece = on_piece;
	int r = http_fetch(source_config(s)->http, &hr, on_payload, p, &fetch);
	if (r < 0)
		return r;
	p->impl = fetch;
	return 0;
}

static void http_source_payload_cancel(struct upstream_payload *p)
{
	http_fetch_cancel(p->impl);
}

const struct source_ops http_source_ops = {
	.kind = "https", .bytes = sizeof(struct http_source), .start = http_source_start, .poll = http_source_poll,
	.stop = http_source_stop, .payload = http_source_payload, .payload_cancel = http_source_payload_cancel,
};
