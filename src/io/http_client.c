#include "io/http_client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/text.h"
#include "io/http_fetch.h"

static void client_turn(struct http_client *c);

static void fetch_free(struct http_fetch *f)
{
	struct http_client *c = f->client;

	DL_DELETE(c->fetches, f);
	c->n_fetches--;
	loop_timer_free(f->total);
	loop_timer_free(f->stall);
	curl_easy_cleanup(f->easy);
	curl_slist_free_all(f->headers);
	buf_done(&f->body);
	free(f->url);
	free((char *)f->req.ca_file);
	free((char *)f->req.etag);
	free((char *)f->req.last_modified);
	free((char *)f->req.if_range);
	free((char *)f->req.post_type);
	free((char *)f->req.accept);
	free((char *)f->req.method);
	free((char *)f->req.unix_socket);
	if (f->req.authorization)
		mem_wipe((char *)f->req.authorization, strlen(f->req.authorization));
	free((char *)f->req.authorization);
	free(f);
}

static void fetch_detach(struct http_fetch *f)
{
	struct http_client *c = f->client;

	if (f->state == FETCH_RUNNING) {
		c->in_curl++;
		(void)curl_multi_remove_handle(c->multi, f->easy); /* it is in */
		c->in_curl--;
	}
	f->state = FETCH_ENDED;
}

static void fetch_end(struct http_fetch *f, int error)
{
	fetch_detach(f);
	loop_timer_set(f->total, -1);
	loop_timer_set(f->stall, -1);
	if (!f->cancelled)
		fetch_report(f, error);
	fetch_free(f);
}

static void fetch_time_out(struct http_fetch *f, const char *what, unsigned ms)
{
	struct http_client *c = f->client;

	(void)snprintf(f->error_text, sizeof(f->error_text), "%s %u ms", what, ms); /* fits */
	f->error = -ETIMEDOUT;
	fetch_end(f, -ETIMEDOUT);
	client_turn(c);
}

static void total_cb(void *ctx)
{
	struct http_fetch *f = ctx;

	fetch_time_out(f, "not finished within", f->req.timeout_ms);
}

static void stall_cb(void *ctx)
{
	struct http_fetch *f = ctx;
	int64_t left = f->req.stall_ms - mono_diff_ms(mono_now(), f->heard);

	if (f->state == FETCH_RUNNING && left <= 0)
		fetch_time_out(f, "nothing received for", f->req.stall_ms);
	else
		loop_timer_set(f->stall, f->state == FETCH_RUNNING ? left : f->req.stall_ms);
}

/* Scheduling */

static bool origin_has_room(const struct http_client *c, const char *origin)
{
	const struct http_fetch *f;
	size_t n_origin = 0, n = 0;

	DL_FOREACH(c->fetches, f) {
		n += f->state == FETCH_RUNNING;
		n_origin += f->state == FETCH_RUNNING && strcmp(f->origin, origin) == 0;
	}
	return n < HTTP_FETCHES_RUNNING_MAX && n_origin < HTTP_FETCHES_PER_ORIGIN;
}

static int fetch_run(struct http_fetch *f)
{
	struct http_client *c = f->client;

	if (!f->began) {
		f->began = true;
		loop_timer_set(f->total, f->req.timeout_ms);
		loop_timer_set(f->stall, f->req.stall_ms);
	}
	fetch_hop_begin(f);
	if (curl_easy_setopt(f->easy, CURLOPT_URL, f->url) != CURLE_OK)
		return -ENOMEM;
	c->in_curl++;
	CURLMcode m = curl_multi_add_handle(c->multi, f->easy);
	c->in_curl--;
	if (m != CURLM_OK)
		return -ENOMEM;
	f->state = FETCH_RUNNING;
	return 0;
}

/* The next that is cancelled, or may start; NULL = none. */
static struct http_fetch *next_to_act(const struct http_client *c)
{
	struct http_fetch *f;

	DL_FOREACH(c->fetches, f) {
		if (f->state != FETCH_ENDED && (f->cancelled || (f->state == FETCH_WAITING && origin_has_room(c, f->origin))))
			return f;
	}
	return NULL;
}

static void hop_ended(struct http_fetch *f, CURLcode code)
{
	int r = f->cancelled ? -ECANCELED : fetch_hop_end(f, code);

	if (r != 1) {
		fetch_end(f, r);
		return;
	}
	fetch_detach(f);
	f->state = FETCH_WAITING;              /* for its turn at the next origin */
}

/* Outside of libcurl: end what has ended, start what may start. */
static void client_turn(struct http_client *c)
{
	struct http_fetch *f;
	CURLMsg *msg;
	int left;

	if (c->in_curl || c->in_turn)
		return;
	c->in_turn = true;
	while ((msg = curl_multi_info_read(c->multi, &left))) {
		char *private = NULL;
		CURLcode code = msg->data.result;
		if (msg->msg == CURLMSG_DONE && curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private) == CURLE_OK)
			hop_ended((struct http_fetch *)(void *)private, code);
	}
	while ((f = next_to_act(c))) {
		int r = f->cancelled ? -ECANCELED : fetch_run(f);
		if (r < 0)
			fetch_end(f, r);
	}
	c->in_turn = false;
}

static void kick_cb(void *ctx)
{
	client_turn(ctx);
}

/* libcurl on the loop */

static void client_act(struct http_client *c, curl_socket_t fd, int what)
{
	int running;

	c->in_curl++;
	(void)curl_multi_socket_action(c->multi, fd, what, &running); /* errors are told per transfer */
	c->in_curl--;
	client_turn(c);
}

static void socket_ready_cb(void *ctx, int fd, unsigned what)
{
	client_act(ctx, fd, (what & LOOP_READ ? CURL_CSELECT_IN : 0) | (what & LOOP_WRITE ? CURL_CSELECT_OUT : 0));
}

static int socket_cb(CURL *easy, curl_socket_t fd, int what, void *ctx, void *assigned)
{
	struct http_client *c = ctx;
	struct loop_io *io = loop_io_free(assigned);

	if (what != CURL_POLL_REMOVE)
		io = loop_io_new(c->loop, fd, (what & CURL_POLL_IN ? LOOP_READ : 0u) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0u),
				 socket_ready_cb, c);
	(void)curl_multi_assign(c->multi, fd, io); /* it is a socket of the handle */
	return 0;
}

static int timer_cb(CURLM *multi, long in_ms, void *ctx)
{
	struct http_client *c = ctx;

	loop_timer_set(c->timer, in_ms);
	return 0;
}

static void timer_due_cb(void *ctx)
{
	client_act(ctx, CURL_SOCKET_TIMEOUT, 0);
}

struct http_client *http_client_new(struct loop *l)
{
	const curl_version_info_data *v;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		abort();
	v = curl_version_info(CURLVERSION_NOW);
	if (!(v->features & CURL_VERSION_ASYNCHDNS)) {
		errno = ENOTSUP;
		return NULL;
	}
	struct http_client *c = NEW(struct http_client);
	c->loop = l;
	c->capath = v->capath && *v->capath ? v->capath : "/etc/ssl/certs";
	c->timer = loop_timer_new(l, timer_due_cb, c);
	c->kick = loop_timer_new(l, kick_cb, c);
	c->multi = curl_multi_init();
	if (!c->multi || curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, socket_cb) != CURLM_OK ||
	    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c) != CURLM_OK ||
	    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, timer_cb) != CURLM_OK ||
	    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c) != CURLM_OK ||
	    curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) != CURLM_OK ||
	    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_FETCHES_RUNNING_MAX) != CURLM_OK)
		abort();
	return c;
}

struct http_client *http_client_free(struct http_client *c)
{
	if (!c)
		return NULL;
	c->closing = true;
	while (c->fetches) {
		struct http_fetch *f = c->fetches;
		(void)snprintf(f->error_text, sizeof(f->error_text), "cancelled"); /* fits */
		fetch_end(f, -ECANCELED);
	}
	c->in_curl++;
	(void)curl_multi_cleanup(c->multi); /* all transfers are out */
	loop_timer_free(c->timer);
	loop_timer_free(c->kick);
	free(c);
	return NULL;
}

static bool is_clean(const char *s)
{
	return !s || (strlen(s) <= HTTP_URL_BYTES_MAX && text_is_clean(span_str(s)));
}

static void copy_request(struct http_fetch *f, const struct http_fetch_request *req)
{
	f->req = *req;
	f->req.url = NULL;                     /* f->url */
	f->req.ca_file = mem_strdup(req->ca_file);
	f->req.etag = mem_strdup(req->etag);
	f->req.last_modified = mem_strdup(req->last_modified);
	f->req.if_range = mem_strdup(req->if_range);
	f->req.post_type = mem_strdup(req->post_type);
	f->req.accept = mem_strdup(req->accept);
	f->req.method = mem_strdup(req->method);
	f->req.authorization = mem_strdup(req->authorization);
	f->req.unix_socket = mem_strdup(req->unix_socket);
	if (req->if_range && strncmp(req->if_range, "W/", 2) == 0)
		f->req.from = 0;               /* weak validators may not be used so (RFC 9110 section 13.1.5): the whole, then */
}

int http_fetch(struct http_client *c, const struct http_fetch_request *req, http_fetch_fn *fn, void *ctx, struct http_fetch **ret)
{
	char origin[HTTP_URL_BYTES_MAX + 1];
	char *url;

	if (!req->max_bytes || !req->timeout_ms || !req->stall_ms || !is_clean(req->etag) || !is_clean(req->last_modified) ||
	    !is_clean(req->if_range) || !is_clean(req->post_type) || !is_clean(req->accept) || !is_clean(req->method) ||
	    !is_clean(req->authorization))
		return -EINVAL;
	if (c->n_fetches >= HTTP_FETCHES_MAX || c->closing)
		return -EBUSY;
	int r = fetch_url_check(req->url, req, false, &url, origin);
	if (r < 0)
		return r;
	struct http_fetch *f = NEW(struct http_fetch);
	*f = (struct http_fetch){ .client = c, .fn = fn, .ctx = ctx, .url = url };
	memcpy(f->origin, origin, sizeof(origin));
	copy_request(f, req);
	f->total = loop_timer_new(c->loop, total_cb, f);
	f->stall = loop_timer_new(c->loop, stall_cb, f);
	DL_APPEND(c->fetches, f);
	c->n_fetches++;
	r = fetch_prepare(f);
	f->req.post.p = NULL;                  /* borrowed from the caller; libcurl has its copy */
	if (r < 0) {
		fetch_free(f);
		return r;
	}
	loop_timer_set(c->kick, 0);
	if (ret)
		*ret = f;
	return 0;
}

void http_fetch_cancel(struct http_fetch *f)
{
	if (!f || f->state == FETCH_ENDED)
		return;
	f->cancelled = true;
	if (f->client->in_curl || f->client->in_turn) {
		loop_timer_set(f->client->kick, 0); /* libcurl is at work: soon */
		return;
	}
	struct http_client *c = f->client;
	fetch_end(f, -ECANCELED);
	client_turn(c);
}
