#include "io/http_fetch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "io/http_address.h"

enum { MODIFIED_BEFORE_S = 2 };

/* Remember the first thing that went wrong. */
static int fetch_fail(struct http_fetch *f, int error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int fetch_fail(struct http_fetch *f, int error, const char *fmt, ...)
{
	va_list ap;

	if (f->error)
		return f->error;
	f->error = error;
	va_start(ap, fmt);
	(void)vsnprintf(f->error_text, sizeof(f->error_text), fmt, ap); /* a longer one is cut */
	va_end(ap);
	return error;
}

/* URLs */

static void curl_url_cleanupp(CURLU **u)
{
	curl_url_cleanup(*u);
}

static void curl_freep(char **p)
{
	curl_free(*p);
}

int fetch_url_check(const char *url, const struct http_fetch_request *req, bool from_https, char **ret_url, char *ret_origin)
{
	_cleanup_(curl_url_cleanupp) CURLU *u = curl_url();
	_cleanup_(curl_freep) char *scheme = NULL, *host = NULL, *port = NULL, *user = NULL, *whole = NULL;

	if (!u)
		return -ENOMEM;
	if (strlen(url) > HTTP_URL_BYTES_MAX)
		return -EMSGSIZE;
	if (!text_is_clean(span_str(url)) || curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
		return -EBADMSG;
	bool https = strcasecmp(scheme, "https") == 0;
	if (!https && (strcasecmp(scheme, "http") != 0 || !req->allow_http || from_https))
		return -EACCES;
	if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK)
		return -EACCES;
	(void)curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0); /* not part of the request */
	if (curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK || !*host ||
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_URL, &whole, 0) != CURLUE_OK || strlen(whole) > HTTP_URL_BYTES_MAX)
		return -EBADMSG;
	(void)snprintf(ret_origin, HTTP_URL_BYTES_MAX + 1, "%s://%s:%s", https ? "https" : "http", host, port); /* shorter than the URL */
	*ret_url = mem_strdup(whole);
	return 0;
}

/* What a response head says */

static void keep_value(struct span v, char *ret, size_t ret_bytes)
{
	if (!text_is_clean(v) || text_copy(ret, ret_bytes, v) < 0)
		*ret = 0;
}

/* "bytes 100-199/200", a star for an unknown total, or (with 416) for the range: RFC 9110 section 14.4. */
static bool parse_content_range(struct span v, struct fetch_hop *hop)
{
	const char *s = (const char *)v.p, *end = s + v.n, *dash, *slash;
	uint64_t total = 0;

	if (v.n < 6 || strncasecmp(s, "bytes ", 6) != 0)
		return false;
	s += 6;
	slash = memchr(s, '/', (size_t)(end - s));
	if (!slash)
		return false;
	struct span after = SPAN(slash + 1, (size_t)(end - slash - 1));
	if (!span_eq_str(after, "*") && text_parse_u64(after, INT64_MAX, &total, TEXT_LEADING_ZEROS) < 0)
		return false;
	hop->range_total = total;
	if (span_eq_str(SPAN(s, (size_t)(slash - s)), "*"))
		return true;
	dash = memchr(s, '-', (size_t)(slash - s));
	return dash && text_parse_u64(SPAN(s, (size_t)(dash - s)), INT64_MAX, &hop->first, TEXT_LEADING_ZEROS) >= 0 &&
	       text_parse_u64(SPAN(dash + 1, (size_t)(slash - dash - 1)), INT64_MAX - 1, &hop->last, TEXT_LEADING_ZEROS) >= 0 &&
	       hop->first <= hop->last && (total == 0 || hop->last < total);
}

/* A time of modification tells two versions apart only when its second was over as the answer was given (RFC 9110
 * section 8.8.2.2). */
static bool modified_before_answer(const struct fetch_hop *hop)
{
	time_t modified = curl_getdate(hop->last_modified, NULL), date = curl_getdate(hop->date, NULL);

	return modified >= 0 && date >= 0 && date - modified >= MODIFIED_BEFORE_S;
}

static int take_field(struct http_fetch *f, struct span name, struct span v)
{
	struct fetch_hop *hop = &f->hop;
	char key[20];
	uint64_t n;

	if (text_copy(key, sizeof(key), name) < 0)
		return 0;                      /* none that we read has such a long name */
	if (strcasecmp(key, "ETag") == 0) {
		keep_value(v, hop->etag, sizeof(hop->etag));
	} else if (strcasecmp(key, "Last-Modified") == 0) {
		keep_value(v, hop->last_modified, sizeof(hop->last_modified));
	} else if (strcasecmp(key, "Date") == 0) {
		keep_value(v, hop->date, sizeof(hop->date));
	} else if (strcasecmp(key, "Content-Type") == 0) {
		keep_value(v, hop->content_type, sizeof(hop->content_type));
	} else if (strcasecmp(key, "Content-Encoding") == 0) {
		hop->is_coded = v.n > 0 && !(v.n == 8 && strncasecmp((const char *)v.p, "identity", 8) == 0);
	} else if (strcasecmp(key, "Content-Length") == 0) {
		if (text_parse_u64(v, INT64_MAX, &n, TEXT_LEADING_ZEROS) < 0 || (hop->length >= 0 && hop->length != (int64_t)n))
			return fetch_fail(f, -EPROTO, "the server gave a Content-Length that is none");
		hop->length = (int64_t)n;
	} else if (strcasecmp(key, "Content-Range") == 0) {
		hop->range_given = parse_content_range(v, hop);
		if (!hop->range_given)
			return fetch_fail(f, -EPROTO, "the server gave a Content-Range that is none");
	}
	return 0;
}

static int judge_range(struct http_fetch *f)
{
	const struct fetch_hop *hop = &f->hop;

	if (hop->status != 206) {
		f->off = 0;                    /* the whole, whatever we asked for */
		return 0;
	}
	if (f->req.from == 0 || !hop->range_given)
		return fetch_fail(f, -EPROTO, "the server answered 206 %s", f->req.from ? "without Content-Range" : "to a request without a range");
	if (hop->first != f->req.from)
		return fetch_fail(f, -EPROTO, "the server gave the range from %" PRIu64 " instead of %" PRIu64, hop->first, f->req.from);
	if (hop->range_total && hop->last != hop->range_total - 1)
		return fetch_fail(f, -EPROTO, "the server gave the range only up to %" PRIu64 " of %" PRIu64, hop->last, hop->range_total);
	if (hop->length >= 0 && (uint64_t)hop->length != hop->last - hop->first + 1)
		return fetch_fail(f, -EPROTO, "the server's Content-Range and Content-Length contradict each other");
	if (hop->last - hop->first >= f->req.max_bytes)
		return fetch_fail(f, -EFBIG, "the server announced %" PRIu64 " bytes, %" PRIu64 " are allowed", hop->last - hop->first + 1,
				  f->req.max_bytes);
	f->off = f->req.from;
	return 0;
}

/* The head is whole: is its body wanted? */
static int judge_head(struct http_fetch *f)
{
	struct fetch_hop *hop = &f->hop;

	if (hop->status < 200) {               /* 100 Continue, 103: the real one follows */
		hop->length = -1;
		return 0;
	}
	hop->in_body = true;
	hop->is_success = hop->status < 300;
	hop->is_redirect = hop->status == 301 || hop->status == 302 || hop->status == 303 || hop->status == 307 || hop->status == 308;
	if (!hop->is_success)
		return 0;
	if (hop->is_coded)
		return fetch_fail(f, -EPROTO, "the server answered in a content coding that was not asked for");
	if (hop->length > 0 && (uint64_t)hop->length > f->req.max_bytes)
		return fetch_fail(f, -EFBIG, "the server announced %" PRId64 " bytes, %" PRIu64 " are allowed", hop->length, f->req.max_bytes);
	return judge_range(f);
}

static size_t header_cb(char *line, size_t size, size_t n, void *ctx)
{
	struct http_fetch *f = ctx;
	size_t len = n;

	f->heard = mono_now();
	f->hop.header_bytes += n;
	if (f->hop.header_bytes > HTTP_FETCH_HEADERS_BYTES_MAX) {
		(void)fetch_fail(f, -EPROTO, "the server's header fields are over %d bytes", HTTP_FETCH_HEADERS_BYTES_MAX);
		return 0;
	}
	if (f->hop.in_body)                    /* trailers */
		return n;
	while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n' || line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	if (len == 0)
		return judge_head(f) < 0 ? 0 : n;
	if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
		long status = 0;
		(void)curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status); /* set by now */
		f->hop = (struct fetch_hop){ .status = (int)status, .length = -1, .header_bytes = f->hop.header_bytes };
		return n;
	}
	const char *colon = memchr(line, ':', len);
	if (!colon)
		return n;
	size_t at = (size_t)(colon - line) + 1;
	while (at < len && (line[at] == ' ' || line[at] == '\t'))
		at++;
	return take_field(f, SPAN(line, (size_t)(colon - line)), SPAN(line + at, len - at)) < 0 ? 0 : n;
}

/* Bodies */

static size_t take_refusal(struct http_fetch *f, struct span data)
{
	size_t room = HTTP_FETCH_REFUSAL_BYTES_MAX - f->body.n;

	buf_add(&f->body, span_sub(data, 0, room));
	if (data.n <= room)
		return data.n;
	f->hop.enough = true;                  /* we know what there is to know */
	return 0;
}

static size_t write_cb(char *p, size_t size, size_t n, void *ctx)
{
	struct http_fetch *f = ctx;
	const struct fetch_hop *hop = &f->hop;

	if (f->cancelled || f->error)
		return 0;
	f->heard = mono_now();
	metric_add(METRIC_FETCH_BYTES, (int64_t)n);
	if (!hop->is_success)
		return take_refusal(f, SPAN(p, n));
	if (n > f->req.max_bytes - f->received) {
		(void)fetch_fail(f, -EFBIG, "the server sent more than the %" PRIu64 " bytes that are allowed", f->req.max_bytes);
		return 0;
	}
	if (hop->status == 206 && n > hop->last + 1 - f->off) {
		(void)fetch_fail(f, -EPROTO, "the server sent more than the range it announced");
		return 0;
	}
	f->received += n;
	uint64_t at = f->off;
	f->off += n;
	if (f->req.piece) {
		int r = f->req.piece(f->ctx, at, SPAN(p, n));
		if (r < 0)
			(void)fetch_fail(f, r, "stopped by the receiver");
	} else {
		buf_add(&f->body, SPAN(p, n));
		if (!buf_ok(&f->body))
			(void)fetch_fail(f, -ENOMEM, "no memory for the answer");
	}
	return f->cancelled || f->error ? 0 : n;
}

/* Addresses */

static curl_socket_t open_socket_cb(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct http_fetch *f = ctx;

	if (!f->req.allow_private && !http_address_is_public(&a->addr)) {
		f->address_refused = true;
		return CURL_SOCKET_BAD;        /* another address of the name may still be tried */
	}
	return socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);
}

/* Also for a connection kept from another fetch, which perhaps was allowed more. */
static int before_request_cb(void *ctx, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	struct http_fetch *f = ctx;

	f->heard = mono_now();
	if (f->req.allow_private || http_address_text_is_public(remote_ip))
		return CURL_PREREQFUNC_OK;
	f->address_refused = true;
	return CURL_PREREQFUNC_ABORT;
}

/* Setting up */

static bool add_header(struct http_fetch *f, const char *name, const char *value)
{
	_cleanup_free_ char *line = NULL;

	if (!value || !*value)
		return true;
	line = mem_printf("%s: %s", name, value);
	struct curl_slist *more = curl_slist_append(f->headers, line);
	if (more)
		f->headers = more;
	return more != NULL;
}

static bool set_headers(struct http_fetch *f)
{
	const struct http_fetch_request *q = &f->req;

	return add_header(f, "If-None-Match", q->etag) && add_header(f, "If-Modified-Since", q->last_modified) &&
	       add_header(f, "Accept", q->accept ? q->accept : "*/*") && add_header(f, "If-Range", q->from ? q->if_range : NULL) &&
	       add_header(f, "Authorization", q->authorization) &&
	       (q->post.n == 0 || (add_header(f, "Content-Type", q->post_type ? q->post_type : "application/octet-stream"))) &&
	       (f->headers = curl_slist_append(f->headers, "Expect:")) &&
	       curl_easy_setopt(f->easy, CURLOPT_HTTPHEADER, f->headers) == CURLE_OK;
}

static bool set_transport(struct http_fetch *f)
{
	CURL *e = f->easy;
	bool pinned = f->req.ca_file && *f->req.ca_file;
	const char *schemes = f->req.allow_http ? "http,https" : "https";

	return curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, schemes) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK && /* ours: fetch_hop_end() */
	       curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_HTTP09_ALLOWED, 0L) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_PROXY, "") == CURLE_OK && curl_easy_setopt(e, CURLOPT_NOPROXY, "*") == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
	       /* The system's by folder: one certificate read per connection instead of a bundle of hundreds on the loop. */
	       curl_easy_setopt(e, CURLOPT_CAINFO, pinned ? f->req.ca_file : NULL) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_CAPATH, pinned ? NULL : f->client->capath) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_CA_CACHE_TIMEOUT, 0L) == CURLE_OK && /* a replaced pin counts at once */
	       curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK && /* never wait for a resolver thread */
	       curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)f->req.stall_ms) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_USERAGENT, "dormouse/" DORMOUSE_VERSION) == CURLE_OK;
}

static bool set_callbacks(struct http_fetch *f)
{
	CURL *e = f->easy;

	return curl_easy_setopt(e, CURLOPT_PRIVATE, f) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_ERRORBUFFER, f->curl_text) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, header_cb) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_HEADERDATA, f) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, write_cb) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_WRITEDATA, f) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket_cb) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, f) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, before_request_cb) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_PREREQDATA, f) == CURLE_OK;
}

static bool set_method(struct http_fetch *f)
{
	CURL *e = f->easy;
	char range[32];

	if (f->req.unix_socket && curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, f->req.unix_socket) != CURLE_OK)
		return false;
	if (f->req.method && curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, f->req.method) != CURLE_OK)
		return false;
	if (f->req.post.n > 0)
		return curl_easy_setopt(e, CURLOPT_POST, 1L) == CURLE_OK &&
		       curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)f->req.post.n) == CURLE_OK &&
		       curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, (const char *)f->req.post.p) == CURLE_OK;
	if (f->req.method && strcmp(f->req.method, "POST") == 0)       /* a body of no bytes, and told so */
		return curl_easy_setopt(e, CURLOPT_POST, 1L) == CURLE_OK && curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, 0L) == CURLE_OK &&
		       curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, "") == CURLE_OK;
	if (f->req.from == 0)
		return true;
	(void)snprintf(range, sizeof(range), "%" PRIu64 "-", f->req.from); /* fits */
	return curl_easy_setopt(e, CURLOPT_RANGE, range) == CURLE_OK;
}

int fetch_prepare(struct http_fetch *f)
{
	f->easy = curl_easy_init();
	if (!f->easy || !set_callbacks(f) || !set_transport(f) || !set_method(f) || !set_headers(f))
		return -ENOMEM;
	return 0;
}

void fetch_hop_begin(struct http_fetch *f)
{
	f->hop = (struct fetch_hop){ .length = -1 };
	f->off = f->received = 0;
	f->address_refused = false;
	f->curl_text[0] = 0;
	f->heard = mono_now();
	buf_clear(&f->body);
	f->body.max = f->req.max_bytes > HTTP_FETCH_REFUSAL_BYTES_MAX ? (size_t)f->req.max_bytes : HTTP_FETCH_REFUSAL_BYTES_MAX;
}

/* Ending */

static int error_of_curl(struct http_fetch *f, CURLcode code)
{
	const char *why = f->curl_text[0] ? f->curl_text : curl_easy_strerror(code);
	long os = 0;

	if (f->address_refused && (code == CURLE_COULDNT_CONNECT || code == CURLE_ABORTED_BY_CALLBACK))
		return fetch_fail(f, -EACCES, "%s leads to an address that is not public", f->origin);
	switch ((unsigned)code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		return fetch_fail(f, -EHOSTUNREACH, "%s", why);
	case CURLE_COULDNT_CONNECT:
		(void)curl_easy_getinfo(f->easy, CURLINFO_OS_ERRNO, &os); /* stays 0 otherwise */
		return fetch_fail(f, os == ECONNREFUSED ? -ECONNREFUSED : -EHOSTUNREACH, "%s", why);
	case CURLE_OPERATION_TIMEDOUT:
		return fetch_fail(f, -ETIMEDOUT, "%s", why);
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		return fetch_fail(f, -ECONNRESET, "%s", why);
	case CURLE_OUT_OF_MEMORY:              /* what libcurl also says of a line over its own limit */
		return f->hop.in_body ? fetch_fail(f, -ENOMEM, "%s", why) : fetch_fail(f, -EPROTO, "a header field of the server is too long");
	default:                               /* TLS, HTTP */
		return fetch_fail(f, -EPROTO, "%s", why);
	}
}

/* 1 or the error. */
static int follow_redirect(struct http_fetch *f)
{
	bool was_https = strncmp(f->origin, "https:", 6) == 0;
	char *to = NULL, *url = NULL;

	(void)curl_easy_getinfo(f->easy, CURLINFO_REDIRECT_URL, &to); /* NULL without a Location */
	if (!to)
		return fetch_fail(f, -EPROTO, "a redirect (%d) that leads nowhere", f->hop.status);
	if (f->req.authorization)
		return fetch_fail(f, -EACCES, "a redirect (%d): what authorizes us is for this server alone", f->hop.status);
	if (f->n_redirects >= f->req.redirects_max)
		return fetch_fail(f, -EPROTO, "more than %u redirects", f->req.redirects_max);
	if (f->req.post.n > 0 && f->hop.status != 307 && f->hop.status != 308)
		return fetch_fail(f, -EPROTO, "a redirect (%d) that would change the POST", f->hop.status);
	int r = fetch_url_check(to, &f->req, was_https, &url, f->origin);
	if (r < 0)
		return fetch_fail(f, r == -EACCES ? r : -EPROTO, "redirected from %s to an address that is refused", was_https ? "https" : "http");
	f->n_redirects++;
	free(f->url);
	f->url = url;
	return 1;
}

int fetch_hop_end(struct http_fetch *f, CURLcode code)
{
	const struct fetch_hop *hop = &f->hop;

	if (f->error)
		return f->error;
	if (code != CURLE_OK && !hop->enough)
		return error_of_curl(f, code);
	if (!hop->in_body)                     /* libcurl takes half a head for a whole one */
		return fetch_fail(f, -ECONNRESET, "the answer ended within its head");
	if (hop->is_redirect)
		return follow_redirect(f);
	if (hop->status == 206 && f->off != hop->last + 1)
		return fetch_fail(f, -ECONNRESET, "the range ended early");
	return 0;
}

static const char *or_null(const char *s)
{
	return *s ? s : NULL;
}

void fetch_report(struct http_fetch *f, int error)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct http_fetch_result res = { .error = error, .error_text = "", .url = f->url };
	const struct fetch_hop *hop = &f->hop;

	if (error) {
		text_add_escaped(&text, span_str(f->error_text), sizeof(f->error_text));
		res.error_text = buf_str(&text);
		metric_add(METRIC_FETCH_ERRORS, 1);
	} else {
		res.status = hop->status;
		res.etag = or_null(hop->etag);
		res.last_modified = or_null(hop->last_modified);
		res.last_modified_is_strong = modified_before_answer(hop);
		res.content_type = or_null(hop->content_type);
		res.body = buf_span(&f->body);
		if (hop->range_given)
			res.total = hop->range_total;
		else if (hop->is_success && hop->length > 0)
			res.total = (uint64_t)hop->length;
	}
	f->fn(f->ctx, &res);
}
