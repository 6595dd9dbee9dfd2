/* io/http_fetch.h - inside of the HTTP client: one fetch, hop by hop. For io/http_client.c and io/http_fetch.c only. */
#pragma once
#include <curl/curl.h>

#include "io/http_client.h"

enum fetch_state { FETCH_WAITING, FETCH_RUNNING, FETCH_ENDED };

struct fetch_hop {                             /* what the response being received says */
	int status;
	size_t header_bytes;
	bool in_body, is_redirect, is_success, is_coded, range_given, enough;
	int64_t length;                        /* Content-Length; -1 = not given */
	uint64_t first, last, range_total;     /* Content-Range; range_total 0 = "*" */
	char etag[HTTP_VALIDATOR_BYTES], last_modified[64], date[64], content_type[128];
};

struct http_fetch {
	struct http_fetch *prev, *next;
	struct http_client *client;
	struct http_fetch_request req;         /* its pointers are owned, but post.p (curl copies it) */
	http_fetch_fn *fn;
	void *ctx;
	enum fetch_state state;
	bool cancelled, began;                 /* began: time-outs run */
	char *url;                             /* of this hop */
	char origin[HTTP_URL_BYTES_MAX + 1];   /* scheme, host and port of it */
	unsigned n_redirects;
	CURL *easy;
	struct curl_slist *headers;
	struct loop_timer *total, *stall;
	struct mono heard;                     /* something was received, or the hop began */
	struct fetch_hop hop;
	uint64_t off, received;                /* off: of the next piece in the resource */
	struct buf body;
	bool address_refused;
	int error;                             /* ours, told to curl only as "stop" */
	char error_text[256], curl_text[CURL_ERROR_SIZE];
};

struct http_client {
	struct loop *loop;
	CURLM *multi;
	struct loop_timer *timer;              /* libcurl's */
	struct loop_timer *kick;               /* look at the fetches soon */
	struct http_fetch *fetches;
	size_t n_fetches;
	unsigned in_curl;                      /* depth of calls into libcurl: its handles may not be touched */
	bool in_turn, closing;
	const char *capath;
};

/* Check a URL and give its normal form (free()) and origin. from_https: it is a redirect from there. */
int fetch_url_check(const char *url, const struct http_fetch_request *req, bool from_https, char **ret_url, char *ret_origin);
/* Everything curl must know of f, once. */
int fetch_prepare(struct http_fetch *f);
/* Before each hop. */
void fetch_hop_begin(struct http_fetch *f);
/* Curl is done with a hop: 1 = another hop follows (f->url is its), 0 = ended well, else the error; f->error_text is set. */
int fetch_hop_end(struct http_fetch *f, CURLcode code);
void fetch_report(struct http_fetch *f, int error);            /* calls fn */
