/* Messages and keys: a message that decodes gives bytes to be signed that are strict CBOR themselves. */
#include <stdlib.h>

#include "codec/cbor.h"
#include "codec/cose.h"
#include "fuzz.h"

static void check_tbs(const struct cose_message *m, const struct cose_signer *signer)
{
	struct buf tbs = { 0 };

	cose_tbs(m, signer, SPAN_NONE, m->payload, &tbs);
	if (cbor_check(buf_span(&tbs), 0, NULL) < 0)
		abort();
	buf_done(&tbs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	for (unsigned flags = 0; flags < 8; flags++) {
		struct cose_message m = { .kind = COSE_SIGN1 };
		enum cose_problem p;
		int r = cose_decode(SPAN(data, n), flags, &m, &p);
		if ((r == 0) != (p == COSE_OK) || !cose_problem_text(p))
			abort();
		if (r < 0)
			continue;
		if ((flags & COSE_NEEDS_DETACHED) && !m.is_detached)
			abort();
		check_tbs(&m, NULL);
		for (size_t i = 0; i < m.n_signers; i++)
			if (m.signers[i].problem == COSE_OK)
				check_tbs(&m, &m.signers[i]);
	}
	struct cose_key k;
	if (cose_key_decode(SPAN(data, n), &k) == 0 && (k.kty < 1 || k.kty > 5))
		abort();
	return 0;
}
