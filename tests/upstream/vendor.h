/* tests/upstream/vendor.h - a loop with a vendor's web server on it, whose answers the test decides. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "io/http_client.h"
#include "io/http_server.h"
#include "io/worker.h"

struct vendor {
	struct loop *loop;
	struct http_server *server;
	struct http_client *client;
	char url[64];                          /* "http://127.0.0.1:PORT" */
	http_handler_fn *answer;
	void *ctx;
	unsigned n_requests;
	bool (*until)(void *ctx);
	struct loop_timer *poll, *limit;
};

static void vendor_on_request(void *ctx, struct http_exchange *x, const struct http_request *req)
{
	struct vendor *v = ctx;

	v->n_requests++;
	v->answer(v->ctx, x, req);
}

static void vendor_open(struct vendor *v, http_handler_fn *answer, void *ctx)
{
	*v = (struct vendor){ .answer = answer, .ctx = ctx };
	log_set_max_priority(LOG_ALERT);
	v->loop = loop_new();
	v->client = http_client_new(v->loop);
	v->server = http_server_new(v->loop, vendor_on_request, v);
	assert_int_equal(http_server_listen(v->server, "127.0.0.1:0", 0, NULL, NULL), 0);
	snprintf(v->url, sizeof(v->url), "http://%s", http_server_address(v->server, 0));
}

static void vendor_close(struct vendor *v)
{
	http_server_free(v->server);
	http_client_free(v->client);
	loop_free(v->loop);
}

static void vendor_on_poll(void *ctx)
{
	struct vendor *v = ctx;

	if (v->until(v->ctx))
		loop_stop(v->loop);
	else
		loop_timer_set(v->poll, 2);
}

static void vendor_on_limit(void *ctx)
{
	(void)ctx;
	fail_msg("did not happen within 20 s");
}

static void vendor_run_until(struct vendor *v, bool (*until)(void *ctx))
{
	v->until = until;
	v->poll = loop_timer_new(v->loop, vendor_on_poll, v);
	v->limit = loop_timer_new(v->loop, vendor_on_limit, v);
	loop_timer_set(v->poll, 0);
	loop_timer_set(v->limit, 20000);
	assert_int_equal(loop_run(v->loop), 0);
	loop_timer_free(v->poll);
	loop_timer_free(v->limit);
}
