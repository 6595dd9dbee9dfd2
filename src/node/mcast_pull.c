#include "node/mcast_pull.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/time.h"

enum { ENOUGH = -EALREADY };                   /* the stretch is here: the call may end */

static int on_block(void *ctx, uint64_t off, struct span data, uint64_t total, const struct coap_etag *etag)
{
	struct mcast_pull *p = ctx;

	if ((total && total != p->size) || off + data.n > p->size)
		return -EPROTO;
	for (size_t i = 0; i < data.n; i++) {
		if (off + i < p->next + p->n_fragment)
			continue;              /* the block begins before the stretch */
		p->fragment[p->n_fragment++] = data.p[i];
		if (p->n_fragment < p->z && off + i + 1 < p->end)
			continue;
		if (mcr_put(p->core, p->next, p->fragment, p->n_fragment, (uint32_t)mono_now().ms) < 0)
			return -EIO;
		p->n_taken++;
		p->next += (uint32_t)p->n_fragment;
		p->n_fragment = 0;
		if (p->next >= p->end)
			return ENOUGH;
	}
	return 0;
}

static bool next_stretch(struct mcast_pull *p);

static void on_done(void *ctx, const struct coap_call_result *res)
{
	struct mcast_pull *p = ctx;
	bool is_whole = p->next >= p->end && p->n_taken > 0;
	uint32_t off, n;

	p->request = NULL;
	if (p->n_taken > 0)
		p->n_failures = 0;
	if (!mcr_missing(p->core, 0, &off, &n))
		p->done(p->ctx, MCAST_PULL_DONE);
	else if (is_whole && next_stretch(p))
		p->done(p->ctx, MCAST_PULL_GOES_ON);
	else if (!res->error && res->code >> 5 == 4 && res->code != COAP_429_TOO_MANY && res->code != COAP_408_INCOMPLETE)
		p->done(p->ctx, MCAST_PULL_GONE);
	else if (res->error == -ETIMEDOUT || res->error == -ECONNREFUSED || res->error == -ECONNRESET)
		p->done(p->ctx, MCAST_PULL_UNREACHABLE);
	else
		p->done(p->ctx, ++p->n_failures < MCAST_PULL_TRIES ? MCAST_PULL_AGAIN : MCAST_PULL_FAILED);
}

/* Blocks are as large as the stretch makes worth while: 64 bytes are one frame. */
static bool next_stretch(struct mcast_pull *p)
{
	const char *const query[] = { p->ep, p->sid, NULL };
	uint32_t off, n;
	uint8_t szx = 2;

	if (!mcr_missing(p->core, 0, &off, &n))
		return false;
	while (szx < p->szx && 16u << (szx + 1) <= n)
		szx++;
	p->next = off;
	p->end = off + n;
	p->n_fragment = p->n_taken = 0;
	const struct coap_call_request req = {
		.method = COAP_M_GET, .path = p->path, .query = query, .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE, .szx = szx,
		.from = off & ~(uint64_t)((16u << szx) - 1), .block = on_block,
	};
	if (p->call(p->call_ctx, &req, on_done, p, &p->request) >= 0)
		return true;
	p->request = NULL;
	return false;
}

bool mcast_pull_begin(struct mcast_pull *p, const char *base, const char *name, const struct mcast_setup *setup)
{
	char hex[MCAST_SID_HEX_BYTES];

	if (p->request)
		return true;
	(void)snprintf(p->path, sizeof(p->path), "%s/i", base); /* as discovered: shorter */
	(void)snprintf(p->ep, sizeof(p->ep), "ep=%s", name); /* names are at most 63 bytes */
	(void)snprintf(p->sid, sizeof(p->sid), "s=%s", mcast_sid_hex(&setup->sid, hex)); /* fits */
	p->size = setup->size;
	p->z = setup->z;
	return next_stretch(p);
}

bool mcast_pull_is_busy(const struct mcast_pull *p) { return p->request; }
void mcast_pull_encourage(struct mcast_pull *p) { p->n_failures = 0; }

bool mcast_pull_cancel(struct mcast_pull *p)
{
	bool was_busy = p->request;

	if (was_busy)
		coap_call_cancel(p->request);
	p->request = NULL;
	return was_busy;
}
