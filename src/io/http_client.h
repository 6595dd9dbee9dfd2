/* io/http_client.h - HTTP(S) requests to vendors (libcurl multi on the loop). Every limit is
 * explicit; only http and https are spoken, redirects stay within `redirects_max` and never go
 * from https to http. Loop thread. */
#pragma once
#include "base/buf.h"
#include "io/loop.h"

struct http_client;
struct http_fetch;

struct http_client *http_client_new(struct loop *l);
struct http_client *http_client_free(struct http_client *c);   /* fetches end with -ECANCELED */

struct http_fetch_request {
	const char *url;
	const char *ca_file;                   /* pinned CA bundle; NULL = the system's */
	bool allow_http;                       /* plain http may be fetched */
	bool allow_private;                    /* loopback, private and link-local addresses may be reached */
	const char *etag;                      /* If-None-Match; NULL */
	const char *last_modified;             /* If-Modified-Since; NULL */
	struct span post;                      /* POST when not empty; copied */
	const char *post_type, *accept;        /* NULL */
	uint64_t from;                         /* Range: bytes=from-, with If-Range: if_range */
	const char *if_range;                  /* strong ETag; NULL */
	uint64_t max_bytes;                    /* of the body received in this fetch; more = -EFBIG, stopped at once */
	unsigned timeout_ms;                   /* whole fetch */
	unsigned stall_ms;                     /* nothing received for so long = -ETIMEDOUT */
	unsigned redirects_max;
	/* Called per piece as it comes instead of collecting; off counts from the start of the resource
	 * (a server that ignores the range starts again at 0). Negative stops the fetch with that error. */
	int (*piece)(void *ctx, uint64_t off, struct span data);
};

struct http_fetch_result {
	int error;                             /* 0; -ETIMEDOUT, -EFBIG, -ECONNREFUSED, -EHOSTUNREACH, -EPROTO (TLS, HTTP), -EACCES (address or scheme refused), -ECANCELED, or of piece() */
	const char *error_text;                /* for people; borrowed for the call */
	int status;                            /* HTTP status when error == 0 */
	const char *etag, *last_modified, *content_type;       /* NULL = absent; borrowed */
	struct span body;                      /* when piece was not set */
	uint64_t total;                        /* of the resource when known, else 0 */
};

typedef void http_fetch_fn(void *ctx, const struct http_fetch_result *res);

int http_fetch(struct http_client *c, const struct http_fetch_request *req, http_fetch_fn *fn, void *ctx, struct http_fetch **ret);
void http_fetch_cancel(struct http_fetch *f);  /* fn is not called */
