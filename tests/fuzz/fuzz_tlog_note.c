/* Only what the log signed is believed: whatever is accepted is the one head that the key of the seeds ever signed. */
#include <stdlib.h>

#include "base/text.h"
#include "trust/tlog_note.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char vkey[] = "gateway.example/audit+1feae38d+AfW8xHI3kk6p2EQWK0NHMQjfJlpT3pq4MBE+F2DhO2Q9";
static const char root[] = "xAYkURz5bvdQVjWCxVMwK0NXudTXl3ctjfFDHIREMRs=";

static void check_head(const struct tlog_checkpoint *c)
{
	struct buf b = { 0 };

	text_add_base64(&b, SPAN_OF(c->root.b));
	if (c->size != 5 || !span_eq_str(buf_span(&b), root) || !span_eq_str(c->origin, "gateway.example/audit"))
		abort();
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf entry = { 0 };
	struct tlog_checkpoint c;
	struct tlog_proof p;
	struct tlog_key key;

	(void)tlog_key_parse(SPAN(data, n), &key);
	if (tlog_key_parse(span_str(vkey), &key) < 0)
		abort();
	if (tlog_checkpoint_verify(SPAN(data, n), &key, &c) == 0)
		check_head(&c);
	if (tlog_proof_verify(SPAN(data, n), &key, SPAN_NONE, &p, &entry) == 0) {
		check_head(&p.checkpoint);
		if (p.index >= p.checkpoint.size || !span_starts(buf_span(&entry), SPAN_LIT("{\"at\":")))
			abort();
	}
	buf_done(&entry);
	return 0;
}
