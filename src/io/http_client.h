/* io/http_client.h - HTTP(S) requests to vendors (libcurl multi on the loop). Every limit is
 * explicit; only http and https are spoken, redirects stay within `redirects_max` and never go
 * from https to http. HTTP/1.1, TLS >= 1.2; no cookies, no .netrc, no proxy of the environment, no content codings,
 * no credentials in URLs. Names are resolved on threads of libcurl's own. At most
 * HTTP_FETCHES_PER_ORIGIN requests to one origin run at once, the others wait (their time-outs do not run yet).
 *
 * Everything a server says is hostile: what comes out of here is bounded and clean, and means nothing. Loop thread. */
#pragma once
#include "base/buf.h"
#include "io/loop.h"

enum {
	HTTP_FETCHES_MAX = 256,                /* waiting and running */
	HTTP_FETCHES_RUNNING_MAX = 16,
	HTTP_FETCHES_PER_ORIGIN = 2,
	HTTP_URL_BYTES_MAX = 2048,
	HTTP_FETCH_HEADERS_BYTES_MAX = 64 * 1024,      /* of one response, redirects each their own */
	HTTP_FETCH_REFUSAL_BYTES_MAX = 16 * 1024,      /* kept of the body of a response that is not 2xx; the rest is not read */
	HTTP_VALIDATOR_BYTES = 256,            /* longer ETags are as good as none */
};

struct http_client;
struct http_fetch;

/* NULL with errno ENOTSUP when libcurl would resolve names on the loop. */
struct http_client *http_client_new(struct loop *l);
struct http_client *http_client_free(struct http_client *c);   /* fetches end with -ECANCELED */

struct http_fetch_request {
	const char *url;
	const char *ca_file;                   /* pinned CA bundle; NULL or "" = the system's */
	bool allow_http;                       /* plain http may be fetched */
	bool allow_private;                    /* loopback, private and link-local addresses may be reached */
	const char *etag;                      /* If-None-Match; NULL */
	const char *last_modified;             /* If-Modified-Since; NULL */
	struct span post;                      /* POST when not empty; copied */
	const char *post_type, *accept;        /* NULL */
	const char *method;                    /* "PUT", "DELETE", or POST without a body; NULL = GET, or POST with one */
	const char *authorization;             /* field value; NULL. With it redirects are refused. */
	const char *unix_socket;               /* path: connect there, whatever host the URL names; NULL */
	uint64_t from;                         /* Range: bytes=from-, with If-Range: if_range */
	const char *if_range;                  /* strong ETag; NULL */
	uint64_t max_bytes;                    /* of the body received in this fetch; more = -EFBIG, stopped at once */
	unsigned timeout_ms;                   /* whole fetch, from when it may run */
	unsigned stall_ms;                     /* nothing received for so long = -ETIMEDOUT */
	unsigned redirects_max;                /* 0 = a redirect is an error */
	/* Called per piece as it comes instead of collecting, for 2xx answers only; off counts from the start of the
	 * resource (a server that ignores the range starts again at 0). Negative stops the fetch with that error. */
	int (*piece)(void *ctx, uint64_t off, struct span data);
};

struct http_fetch_result {
	/* 0; -ETIMEDOUT, -EFBIG, -ECONNREFUSED, -EHOSTUNREACH (also: no such name), -ECONNRESET (ended too early: may be
	 * resumed), -EPROTO (TLS, HTTP, ranges that do not fit, redirects), -EACCES (address or scheme refused), -ENOMEM,
	 * -ECANCELED, or of piece() */
	int error;
	const char *error_text;                /* for people, escaped; "" when error == 0; borrowed for the call */
	int status;                            /* HTTP status when error == 0 */
	const char *etag, *last_modified, *content_type;       /* NULL = absent; borrowed */
	bool last_modified_is_strong;          /* it can be relied on for If-Modified-Since */
	struct span body;                      /* when piece was not set, and of answers that are not 2xx */
	uint64_t total;                        /* of the resource when known, else 0 */
	const char *url;                       /* after redirects */
};

typedef void http_fetch_fn(void *ctx, const struct http_fetch_result *res);

/**
 * Start a fetch; req is copied. fn is called exactly once unless cancelled, never before this returns; *ret is
 * valid until then (ret may be NULL).
 *
 * Returns 0; -EINVAL a limit (max_bytes, timeout_ms, stall_ms) is 0 or a header value is not clean text, -EBADMSG not a URL, -EMSGSIZE
 *         over HTTP_URL_BYTES_MAX, -EACCES a scheme or user name that is refused, -EBUSY over HTTP_FETCHES_MAX.
 */
int http_fetch(struct http_client *c, const struct http_fetch_request *req, http_fetch_fn *fn, void *ctx, struct http_fetch **ret);
/* fn is not called. NULL is fine; so is a fetch's own piece() or fn (which then has no effect any more). */
void http_fetch_cancel(struct http_fetch *f);
