/* A resolved reference is a URI, normalising is idempotent, percent-coding goes there and back. */
#include <stdlib.h>

#include "codec/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void resolve(struct span base, struct span ref)
{
	struct buf b = { 0 };
	struct uri u;

	if (uri_resolve(base, ref, URI_IRI, &b) == 0 && b.n <= URI_BYTES_MAX &&
	    (uri_parse(buf_span(&b), URI_IRI, &u) < 0 || !u.scheme.n))
		abort();
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span in = SPAN(data, n), base = in;
	struct buf a = { 0 }, b = { 0 };
	size_t cut = 0;

	while (cut < n && data[cut] != '\n') /* "base\nreference", or one URI */
		cut++;
	base = span_sub(in, 0, cut);
	resolve(base, span_sub(in, cut + 1, n));
	resolve(SPAN_LIT("coap://[2001:db8::1]:61616"), in);
	resolve(SPAN_LIT("http://a/b/c/d;p?q"), in);
	if (uri_normalize(base, &a) == 0 && a.n <= URI_BYTES_MAX &&
	    (uri_normalize(buf_span(&a), &b) < 0 || !span_eq(buf_span(&a), buf_span(&b))))
		abort();
	buf_clear(&a);
	buf_clear(&b);
	uri_encode(in, "", &a);
	if (uri_decode(buf_span(&a), &b) < 0 || !span_eq(buf_span(&b), in))
		abort();
	buf_done(&a);
	buf_done(&b);
	return 0;
}
