/* upstream/revocation_source.h - fetches CRLs and OCSP answers over HTTP within tight limits (RV-12). Many askers for
 * one key share one fetch (RV-11); a failure is remembered for a while, longer each time. Judges nothing: what comes
 * back is bytes. Loop thread. */
#pragma once
#include "io/http_client.h"

enum { REVOCATION_FETCH_CRL_MAX = 8 * 1024 * 1024, REVOCATION_FETCH_OCSP_MAX = 20 * 1024, REVOCATION_FETCHES_MAX = 64 };

struct revocation_source;

typedef void revocation_fetched_fn(void *ctx, const char *key, int error, const char *error_text, struct span der);

struct revocation_source_config {
	struct loop *loop;
	struct http_client *http;
	uint32_t timeout_s;
	bool allow_private;
};

struct revocation_source *revocation_source_new(const struct revocation_source_config *c);
struct revocation_source *revocation_source_free(struct revocation_source *r);
/* Ask for an object: der is borrowed for the callback. ocsp_request empty = a CRL by GET. While a failed key backs off, fn gets
 * -EAGAIN at the next turn unless force. -EBUSY too many fetches. */
int revocation_source_get(struct revocation_source *r, const char *key, const char *url, struct span ocsp_request, bool force,
			  revocation_fetched_fn *fn, void *ctx);
