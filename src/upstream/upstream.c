#include "upstream/upstream.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "upstream/source.h"

static const struct source_ops *const source_kinds[] = { &http_source_ops, &folder_source_ops };

struct upstream {
	struct upstream_config c;
	struct source *sources[UPSTREAM_SOURCES_MAX];
	size_t n;
	struct upstream_payload *payloads;
};

static void row_copy(struct config_source *to, const struct config_source *from)
{
	*to = *from;
	to->name = mem_strdup(from->name);
	to->kind = mem_strdup(from->kind);
	to->url = mem_strdup(from->url);
	to->path = mem_strdup(from->path);
	to->ca_file = mem_strdup(from->ca_file);
}

static void row_free(struct config_source *r)
{
	free(r->name);
	free(r->kind);
	free(r->url);
	free(r->path);
	free(r->ca_file);
}

static bool row_same(const struct config_source *a, const struct config_source *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->kind, b->kind) == 0 && strcmp(a->url, b->url) == 0 &&
	       strcmp(a->path, b->path) == 0 && strcmp(a->ca_file, b->ca_file) == 0 && a->poll_s == b->poll_s &&
	       a->jitter_s == b->jitter_s && a->timeout_s == b->timeout_s && a->backoff_max_s == b->backoff_max_s &&
	       a->allow_http == b->allow_http && a->allow_private == b->allow_private && a->policy == b->policy;
}

const struct upstream_config *source_config(const struct source *s)
{
	return &s->upstream->c;
}

void source_ok(struct source *s)
{
	if (!s->status.is_ok)
		log_fields(EV_SOURCE_OK, LOG_INFO, ({ "GW_SOURCE", s->row.name }), "source %s answers", s->row.name);
	s->status.is_ok = true;
	s->status.failures = 0;
	s->status.error[0] = 0;
	s->status.polled_at = wall_now();
}

void source_failed(struct source *s, const char *fmt, ...)
{
	char text[sizeof(s->status.error)];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* clipped for people */
	va_end(ap);
	metric_add(METRIC_FETCH_ERRORS, 1);
	bool is_news = s->status.failures == 0 || strcmp(text, s->status.error) != 0;
	memcpy(s->status.error, text, sizeof(text));
	s->status.is_ok = false;
	s->status.failures++;
	s->status.polled_at = wall_now();
	if (is_news)
		log_fields(EV_SOURCE_FAILED, LOG_WARNING, ({ "GW_SOURCE", s->row.name }, { "GW_REASON", text }),
			   "source %s: %s", s->row.name, text);
}

struct taking {
	struct upstream *upstream;
	char source[SOURCE_NAME_BYTES], key[sizeof(((struct source *)0)->key)];
	struct upstream_memory memory;
};

static struct source *source_find(const struct upstream *u, const char *name)
{
	for (size_t i = 0; i < u->n; i++)
		if (strcmp(u->sources[i]->row.name, name) == 0)
			return u->sources[i];
	return NULL;
}

static void on_taken(void *arg, int error)
{
	struct taking *t = arg;
	struct source *s = source_find(t->upstream, t->source);

	if (s && strcmp(s->key, t->key) != 0)
		s = NULL; /* another one under its name */
	if (s && error == 0 && s->status.failures == 0) {
		s->memory = t->memory;
		t->upstream->c.remember(t->upstream->c.ctx, t->key, &t->memory);
	} else if (s && error < 0) {
		s->memory = (struct upstream_memory){ 0 }; /* not to be told that nothing changed */
		if (s->ops->forget)
			s->ops->forget(s);
		source_failed(s, "the envelope could not be stored (%s); it is fetched again", strerror(-error));
	}
	free(t);
}

void source_found(struct source *s, const char *uri, struct span envelope, const struct upstream_memory *memory)
{
	struct taking *t = NEW(struct taking);

	t->upstream = s->upstream;
	(void)text_copy(t->source, sizeof(t->source), span_str(s->row.name)); /* the schema bounds names */
	memcpy(t->key, s->key, sizeof(t->key));
	t->memory = *memory;
	t->memory.polled_at = wall_now();
	t->memory.last_envelope = digest_of(envelope);
	log_fields(EV_UPDATE_FOUND, LOG_INFO, ({ "GW_SOURCE", s->row.name }), "source %s: an envelope of %zu bytes at %s", s->row.name,
		   envelope.n, uri);
	s->upstream->c.found(s->upstream->c.ctx, s->row.name, uri, envelope, on_taken, t);
}

static void source_close(struct upstream *u, struct source *s)
{
	struct upstream_payload *p, *tmp;

	DL_FOREACH_SAFE(u->payloads, p, tmp)
		if (p->source == s) {
			s->ops->payload_cancel(p);
			source_payload_end(p, -ECANCELED, "the source was removed");
		}
	s->ops->stop(s);
	row_free(&s->row);
	free(s);
}

static void memory_key(struct source *s)
{
	struct digest d = digest_of2(SPAN(s->row.url, strlen(s->row.url) + 1), span_str(s->row.path));
	char hex[DIGEST_HEX_BYTES];

	(void)snprintf(s->key, sizeof(s->key), "%.63s %.16s", s->row.name, digest_hex(&d, hex)); /* fits */
}

static int source_open(struct upstream *u, const struct config_source *row, struct buf *error)
{
	for (size_t i = 0; i < sizeof(source_kinds) / sizeof(*source_kinds); i++) {
		if (strcmp(source_kinds[i]->kind, row->kind) != 0)
			continue;
		if (u->n == UPSTREAM_SOURCES_MAX) {
			buf_printf(error, "source %s: more than %d sources\n", row->name, UPSTREAM_SOURCES_MAX);
			return -E2BIG;
		}
		struct source *s = mem_new(1, source_kinds[i]->bytes);
		s->ops = source_kinds[i];
		s->upstream = u;
		row_copy(&s->row, row);
		(void)text_copy(s->status.name, sizeof(s->status.name), span_str(row->name));   /* bounded by the schema */
		s->status.kind = s->ops->kind;
		(void)text_copy(s->status.location, sizeof(s->status.location),
				span_sub(span_str(row->url[0] ? row->url : row->path), 0, sizeof(s->status.location) - 1));
		memory_key(s);
		if (!u->c.recall(u->c.ctx, s->key, &s->memory))
			s->memory = (struct upstream_memory){ 0 };
		u->sources[u->n++] = s;
		int r = s->ops->start(s);
		if (r < 0)
			buf_printf(error, "source %s: %s\n", row->name, s->status.error[0] ? s->status.error : strerror(-r));
		return 0; /* a source that does not start stays in the list, saying why */
	}
	buf_printf(error, "source %s: unknown kind \"%s\"\n", row->name, row->kind);
	return -EINVAL;
}

int upstream_apply(struct upstream *u, const struct config_source *rows, size_t n, struct buf *error)
{
	int result = 0;

	for (size_t i = 0; i < u->n;) {
		size_t k = 0;
		while (k < n && !row_same(&u->sources[i]->row, &rows[k]))
			k++;
		if (k < n) {
			i++;
			continue;
		}
		struct source *gone = u->sources[i];
		u->sources[i] = u->sources[--u->n];
		source_close(u, gone);
	}
	for (size_t k = 0; k < n; k++) {
		if (source_find(u, rows[k].name))
			continue;
		int r = source_open(u, &rows[k], error);
		if (r < 0)
			result = r;
	}
	return result;
}

int upstream_poll(struct upstream *u, const char *source)
{
	struct source *s = source_find(u, source);

	if (!s)
		return -ENOENT;
	s->ops->poll(s);
	return 0;
}

int upstream_reread(struct upstream *u, const char *source)
{
	struct source *s = source_find(u, source);

	if (!s)
		return -ENOENT;
	s->memory = (struct upstream_memory){ 0 };
	if (s->ops->forget)
		s->ops->forget(s);
	s->ops->poll(s);
	return 0;
}

int upstream_status(const struct upstream *u, size_t i, struct source_status *ret)
{
	if (i >= u->n)
		return -ENOENT;
	*ret = u->sources[i]->status;
	return 0;
}

int upstream_payload(struct upstream *u, const struct upstream_payload_request *req, struct upstream_payload **ret)
{
	struct source *s = source_find(u, req->source);

	if (!s)
		return -ENOENT;
	struct upstream_payload *p = NEW(struct upstream_payload);
	p->source = s;
	p->req = *req;
	int r = s->ops->payload(s, req, p);
	if (r < 0) {
		free(p);
		return r;
	}
	DL_APPEND(u->payloads, p);
	*ret = p;
	return 0;
}

void source_payload_end(struct upstream_payload *p, int error, const char *text)
{
	struct upstream_payload_request req = p->req;

	DL_DELETE(p->source->upstream->payloads, p);
	free(p);
	req.done(req.ctx, error, text);
}

void upstream_payload_cancel(struct upstream_payload *p)
{
	p->source->ops->payload_cancel(p);
	DL_DELETE(p->source->upstream->payloads, p);
	free(p);
}

struct upstream *upstream_new(const struct upstream_config *c)
{
	struct upstream *u = NEW(struct upstream);

	u->c = *c;
	return u;
}

struct upstream *upstream_free(struct upstream *u)
{
	if (!u)
		return NULL;
	while (u->n > 0)
		source_close(u, u->sources[--u->n]);
	free(u);
	return NULL;
}
