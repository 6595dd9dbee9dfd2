/* What the reader accepts is written and read again as the same links. */
#include <stdlib.h>

#include "codec/link_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int copy(struct span doc, struct buf *b)
{
	struct link_writer w = { .b = b };
	struct link_reader r;
	struct link_param p;
	struct weblink l;
	int e;

	for (link_reader_init(&r, doc); (e = link_reader_next(&r, &l)) > 0;) {
		link_write(&w, l.target);
		for (size_t pos = 0; weblink_param(&l, &pos, &p);) {
			link_write_param(&w, &p);
			if (p.has_value && !link_name_is_list(p.name) && !link_param_matches(&p, SPAN_LIT("*")))
				abort();
		}
	}
	return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf a = { 0 }, b = { 0 };

	if (copy(SPAN(data, n), &a) == 0 && (copy(buf_span(&a), &b) != 0 || !span_eq(buf_span(&a), buf_span(&b))))
		abort();
	buf_done(&a);
	buf_done(&b);
	return 0;
}
