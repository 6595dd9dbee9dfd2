/* The first byte says what follows: an even one a request head, an odd one a chunked body fed in pieces of its half. */
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"
#include "io/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void head(struct span in)
{
	static const char *const names[] = { "gw" };
	struct http_head h;
	char *text = mem_strndup(in);

	if (http_head_parse(text, in.n, &h) == 0) {
		if (!h.method || h.path[0] != '/' || strstr(h.path, "/../") || !text_is_clean(span_str(h.path)) || h.body_bytes < 0)
			abort();
		(void)http_host_is_known(h.host, names, 1);
		(void)http_head_field(&h, "Host");
	}
	free(text);
}

static void chunks(struct span in, size_t piece)
{
	struct buf body = { .max = 4096 };
	struct http_chunks c = { 0 };
	int r = 0;

	for (size_t at = 0, used; r == 0 && at < in.n; at += used) {
		r = http_chunks_feed(&c, span_sub(in, at, piece), &body, &used);
		if (used > piece || (r == 0 && used == 0))
			abort();
	}
	if (body.n > 4096)
		abort();
	buf_done(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		chunks(SPAN(data + 1, size - 1), (size_t)(data[0] >> 1) + 1);
	else
		head(SPAN(data + 1, size - 1));
	return 0;
}
