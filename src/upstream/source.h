/* upstream/source.h - what each kind of source implements; internal to upstream/. The list of kinds is in
 * upstream.c. */
#pragma once
#include "upstream/upstream.h"

struct source {
	const struct source_ops *ops;
	struct upstream *upstream;
	struct config_source row;              /* owned copy */
	char key[SOURCE_NAME_BYTES + 20];      /* of its memory: the name and what it reads, for another URL has another ETag */
	struct source_status status;
	struct upstream_memory memory;
};

struct source_ops {
	const char *kind;
	size_t bytes;                          /* of the struct that begins with struct source */
	int (*start)(struct source *s);        /* -errno: not started, said why in status.error */
	void (*poll)(struct source *s);
	void (*forget)(struct source *s);      /* what it handed over before, beside s->memory; may be NULL */
	void (*stop)(struct source *s);        /* frees what start made, not the struct */
	int (*payload)(struct source *s, const struct upstream_payload_request *req, struct upstream_payload *p);
	void (*payload_cancel)(struct upstream_payload *p);
};

struct upstream_payload {
	struct source *source;
	struct upstream_payload_request req;   /* its uri is not valid after the call that made it */
	void *impl;
	struct upstream_payload *prev, *next;
};

extern const struct source_ops http_source_ops, folder_source_ops;

const struct upstream_config *source_config(const struct source *s);
/* Hand over an envelope; on success memory (copied) becomes the source's memory. */
void source_found(struct source *s, const char *uri, struct span envelope, const struct upstream_memory *memory);
void source_ok(struct source *s);
void source_failed(struct source *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The payload ended: tells the asker and frees p. */
void source_payload_end(struct upstream_payload *p, int error, const char *text);
