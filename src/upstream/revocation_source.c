#include "upstream/revocation_source.h"

#include <errno.h>
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#include "base/digest.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/random.h"
#include "base/text.h"

enum { BACKOFF_MIN_MS = 2000, BACKOFF_MAX_MS = 15 * 60 * 1000, REDIRECTS_MAX = 2, STALL_MS = 5000 };

struct asker {
	revocation_fetched_fn *fn;
	void *ctx;
	struct asker *prev, *next;
};

struct item {
	char key[DIGEST_HEX_BYTES];
	struct revocation_source *source;
	struct http_fetch *fetch;
	struct asker *askers;
	struct loop_timer *soon;               /* answers -EAGAIN at the next turn */
	unsigned failures;
	struct mono not_before;
	UT_hash_handle hh;
};

struct revocation_source {
	struct revocation_source_config c;
	struct item *items;
	size_t n_fetches;
};

static void answer(struct item *it, int error, const char *text, struct span der)
{
	struct asker *list = it->askers, *a, *tmp;

	it->askers = NULL;
	DL_FOREACH_SAFE(list, a, tmp) {
		DL_DELETE(list, a);
		a->fn(a->ctx, it->key, error, text, der);
		free(a);
	}
}

static void item_free(struct item *it)
{
	loop_timer_free(it->soon);
	HASH_DEL(it->source->items, it);
	free(it);
}

static void on_fetched(void *ctx, const struct http_fetch_result *res)
{
	struct item *it = ctx;
	int error = res->error;
	const char *text = res->error_text;

	it->fetch = NULL;
	it->source->n_fetches--;
	if (error == 0 && res->status != 200) {
		error = -EPROTO;
		text = "the server does not answer 200";
	}
	if (error == 0) {
		it->failures = 0;
		metric_add(METRIC_FETCH_BYTES, (int64_t)res->body.n);
		answer(it, 0, NULL, res->body);
		if (!it->fetch && !it->askers && !loop_timer_armed(it->soon))
			item_free(it); /* nothing to remember of a success */
		return;
	}
	metric_add(METRIC_FETCH_ERRORS, 1);
	int64_t back_ms = BACKOFF_MIN_MS;
	for (unsigned i = 0; i < it->failures && back_ms < BACKOFF_MAX_MS; i++)
		back_ms *= 2;
	it->failures++;
	it->not_before = mono_add_ms(mono_now(), back_ms + (int64_t)random_below((uint64_t)back_ms / 4));
	answer(it, error, text ? text : strerror(-error), SPAN_NONE);
}

static void on_soon(void *ctx)
{
	struct item *it = ctx;

	if (!it->fetch)
		answer(it, -EAGAIN, "it failed a moment ago and is tried again later", SPAN_NONE);
}

static struct item *item_get(struct revocation_source *r, const char *key)
{
	struct item *it;

	HASH_FIND_STR(r->items, key, it);
	if (!it) {
		it = NEW(struct item);
		it->source = r;
		(void)text_copy(it->key, sizeof(it->key), span_str(key)); /* keys are digests in hex */
		it->soon = loop_timer_new(r->c.loop, on_soon, it);
		HASH_ADD_STR(r->items, key, it);
	}
	return it;
}

int revocation_source_get(struct revocation_source *r, const char *key, const char *url, struct span ocsp_request, bool force,
			  revocation_fetched_fn *fn, void *ctx)
{
	struct item *it = item_get(r, key);

	if (!it->fetch && (force || !mono_before(mono_now(), it->not_before))) {
		struct http_fetch_request req = {
			.url = url, .allow_http = true, .allow_private = r->c.allow_private, .timeout_ms = r->c.timeout_s * 1000,
			.stall_ms = STALL_MS, .redirects_max = REDIRECTS_MAX, .post = ocsp_request,
			.post_type = ocsp_request.n ? "application/ocsp-request" : NULL,
			.accept = ocsp_request.n ? "application/ocsp-response" : "application/pkix-crl",
			.max_bytes = ocsp_request.n ? REVOCATION_FETCH_OCSP_MAX : REVOCATION_FETCH_CRL_MAX,
		};
		if (r->n_fetches >= REVOCATION_FETCHES_MAX)
			return -EBUSY;
		int err = http_fetch(r->c.http, &req, on_fetched, it, &it->fetch);
		if (err < 0)
			return err;
		r->n_fetches++;
	}
	struct asker *a = NEW(struct asker);
	a->fn = fn;
	a->ctx = ctx;
	DL_APPEND(it->askers, a);
	if (!it->fetch)
		loop_timer_set(it->soon, 0);
	return 0;
}

struct revocation_source *revocation_source_new(const struct revocation_source_config *c)
{
	struct revocation_source *r = NEW(struct revocation_source);

	r->c = *c;
	return r;
}

struct revocation_source *revocation_source_free(struct revocation_source *r)
{
	struct item *it, *tmp;

	if (!r)
		return NULL;
	HASH_ITER(hh, r->items, it, tmp) {
		if (it->fetch)
			http_fetch_cancel(it->fetch);
		answer(it, -ECANCELED, "stopping", SPAN_NONE);
		item_free(it);
	}
	free(r);
	return NULL;
}
