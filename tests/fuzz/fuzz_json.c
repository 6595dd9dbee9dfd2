/* What parses is dumped and parsed again; any bytes written as a string parse as one. */
#include <stdlib.h>

#include "codec/json.h"
#include "fuzz.h"

static void check_string(struct span s)
{
	struct buf b = { 0 };
	struct json_out j = json_writer(&b);
	struct json_doc *doc;
	bool has_zero = s.n > 0 && memchr(s.p, 0, s.n);

	json_open_array(&j, NULL);
	json_span(&j, NULL, s);
	json_close_array(&j);
	int r = json_parse(buf_span(&b), &doc, NULL, 0);
	if ((r == 0) == has_zero && s.n < JSON_BYTES_MAX / 8) /* U+0000 is written, but not read */
		abort();
	if (r == 0)
		json_doc_free(doc);
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct json_doc *doc, *again;
	char error[64];

	check_string(SPAN(data, n));
	if (json_parse(SPAN(data, n), &doc, error, sizeof(error)) < 0)
		return 0;
	struct buf b = { 0 };
	json_dump(json_root(doc), false, &b);
	if (json_parse(buf_span(&b), &again, error, sizeof(error)) < 0 || json_n(json_root(again)) != json_n(json_root(doc)))
		abort();
	json_doc_free(again);
	json_doc_free(doc);
	buf_done(&b);
	return 0;
}
