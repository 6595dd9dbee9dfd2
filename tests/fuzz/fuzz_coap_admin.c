/* A request body from CBOR to JSON: what is accepted and can be read is encoded again to CBOR that is strict and says the same. */
#include <errno.h>
#include <stdlib.h>

#include "admin/api.h"
#include "codec/cbor.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf json = { 0 }, cbor = { 0 }, again = { 0 };
	struct json_doc *doc = NULL;

	if (coap_admin_decode(SPAN(data, n), &json) == 0 && json_parse(buf_span(&json), &doc, NULL, 0) == 0) {
		if (!json_is_object(json_root(doc)))
			abort();
		coap_admin_encode(json_root(doc), &cbor);
		if (!buf_ok(&cbor) || cbor_check(buf_span(&cbor), 0, NULL) < 0 || coap_admin_decode(buf_span(&cbor), &again) < 0 ||
		    !span_eq(buf_span(&json), buf_span(&again)))
			abort();
	}
	json_doc_free(doc);
	/* and any answer that is JSON */
	doc = NULL;
	buf_clear(&cbor);
	if (json_parse(SPAN(data, n), &doc, NULL, 0) == 0) {
		coap_admin_encode(json_root(doc), &cbor);
		int r = buf_ok(&cbor) ? cbor_check(buf_span(&cbor), 0, NULL) : 0;
		if (r < 0 && r != -E2BIG) /* a map of ours has few members */
			abort();
	}
	json_doc_free(doc);
	buf_done(&json);
	buf_done(&cbor);
	buf_done(&again);
	return 0;
}
