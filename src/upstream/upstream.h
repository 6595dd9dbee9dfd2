/* upstream/upstream.h - sources: where envelopes and payloads come from. A source polls or watches by itself
 * and hands every envelope it has not handed over before to `found`; payloads are asked for by URI. Nothing here
 * judges, and nothing is trusted because of where it came from. Loop thread. */
#pragma once
#include "config/config.h"
#include "io/http_client.h"
#include "io/worker.h"
#include "model/source.h"

enum { UPSTREAM_SOURCES_MAX = 64 };

struct upstream;
struct upstream_payload;

/* What a source must remember across restarts; persisted by the app only after the envelope was taken. */
struct upstream_memory {
	char etag[128], last_modified[64];
	struct digest last_envelope;
	struct wall polled_at;
};

typedef void upstream_taken_fn(void *arg, int error);  /* 0: judged and stored (whatever the verdict); else offer it again */

struct upstream_config {
	struct loop *loop;
	struct worker_pool *workers;
	struct http_client *http;
	uint64_t envelope_bytes_max;
	/* An envelope; bytes are borrowed for the call. taken is called exactly once. */
	void (*found)(void *ctx, const char *source, const char *uri, struct span envelope, upstream_taken_fn *taken, void *arg);
	/* What is remembered under key, the source's name and location. */
	bool (*recall)(void *ctx, const char *key, struct upstream_memory *ret);        /* false = nothing known */
	void (*remember)(void *ctx, const char *key, const struct upstream_memory *m);
	void *ctx;
};

struct upstream *upstream_new(const struct upstream_config *c);
struct upstream *upstream_free(struct upstream *u);
/* Start, keep or stop sources so that they are those of the configuration. Borrowed rows are copied. */
int upstream_apply(struct upstream *u, const struct config_source *rows, size_t n, struct buf *error);
int upstream_poll(struct upstream *u, const char *source);     /* now; -ENOENT */
int upstream_reread(struct upstream *u, const char *source);   /* the same, and everything it has is handed over once more */
int upstream_status(const struct upstream *u, size_t i, struct source_status *ret);

struct upstream_payload_request {
	const char *source;                    /* whose settings apply */
	const char *uri;                       /* resolved */
	uint64_t from, max_bytes;              /* of the whole payload */
	/* off counts from the start of the payload (0 again when the server cannot resume); < 0 stops. */
	int (*piece)(void *ctx, uint64_t off, struct span data);
	/* error 0 = the source has no more; error_text for people, borrowed for the call. */
	void (*done)(void *ctx, int error, const char *error_text);
	void *ctx;
};
int upstream_payload(struct upstream *u, const struct upstream_payload_request *req, struct upstream_payload **ret);
void upstream_payload_cancel(struct upstream_payload *p);      /* done is not called */
