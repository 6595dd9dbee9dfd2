/* io/coap_snapshot.h - bodies made by handlers that are larger than a block, kept while a peer pulls
 * them, so that one Block2 sequence is one stable body under one ETag (RD-67, OB-12) and the handler
 * runs once. Keyed by a digest of (session, request); bounded in bytes and entries, a limited number
 * per session, least recently used leaves first. Pure: time is an argument. */
#pragma once
#include "base/digest.h"
#include "base/time.h"
#include "io/coap.h"

enum { COAP_SNAPSHOT_MS = 60 * 1000, COAP_SNAPSHOT_PER_SESSION = 8 };

struct coap_snapshot {
	uint8_t code;
	int content_format;
	int64_t max_age_s;
	struct coap_etag etag;
	struct buf body;
};

struct coap_snapshots;

struct coap_snapshots *coap_snapshots_new(size_t max_entries, size_t max_bytes);
struct coap_snapshots *coap_snapshots_free(struct coap_snapshots *s);
/* Moves snap->body in; replaces the same key. Returns the kept one (borrowed until the next call), or NULL when it
 * is too large to keep: then snap still holds the body. */
const struct coap_snapshot *coap_snapshots_put(struct coap_snapshots *s, const struct digest *key, uint64_t session,
					       struct coap_snapshot *snap, struct mono now);
/* NULL: none, or too old. Renews it. */
const struct coap_snapshot *coap_snapshots_get(struct coap_snapshots *s, const struct digest *key, struct mono now);
void coap_snapshots_forget(struct coap_snapshots *s, uint64_t session);
size_t coap_snapshots_bytes(const struct coap_snapshots *s);
