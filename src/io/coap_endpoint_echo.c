/* The Echo option (RFC 9175 section 2) without state: time and a MAC over it and the peer (ER-2). */
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "io/coap_endpoint_priv.h"

enum { ECHO_TIME_BYTES = 8, ECHO_MAC_BYTES = ENDPOINT_ECHO_BYTES - ECHO_TIME_BYTES };

static void echo_make(struct coap_endpoint *e, const struct coap_peer *peer, int64_t at_ms, uint8_t ret[static ENDPOINT_ECHO_BYTES])
{
	uint8_t mac[EVP_MAX_MD_SIZE];
	struct buf b = { 0 };
	unsigned n = 0;

	for (size_t i = 0; i < ECHO_TIME_BYTES; i++)
		ret[i] = (uint8_t)((uint64_t)at_ms >> 8 * (ECHO_TIME_BYTES - 1 - i));
	buf_add(&b, SPAN(ret, ECHO_TIME_BYTES));
	buf_add(&b, SPAN(peer->addr, strlen(peer->addr) + 1));
	buf_add_str(&b, peer->identity);
	(void)HMAC(EVP_sha256(), e->echo_key, sizeof(e->echo_key), b.p, b.n, mac, &n); /* an empty MAC would match no Echo */
	memset(ret + ECHO_TIME_BYTES, 0, ECHO_MAC_BYTES);
	memcpy(ret + ECHO_TIME_BYTES, mac, n < ECHO_MAC_BYTES ? n : ECHO_MAC_BYTES);
	buf_done(&b);
}

bool coap_endpoint_fresh(struct coap_endpoint *e, const struct coap_request *req, unsigned max_age_s, struct coap_response *res)
{
	int64_t now = mono_now().ms, at = 0;
	uint8_t want[ENDPOINT_ECHO_BYTES];

	if (req->echo.n == ENDPOINT_ECHO_BYTES) {
		for (size_t i = 0; i < ECHO_TIME_BYTES; i++)
			at = (int64_t)((uint64_t)at << 8 | req->echo.p[i]);
		echo_make(e, &req->peer, at, want);
		if (bytes_eq_ct(req->echo, SPAN_OF(want)) && at <= now && now - at <= (int64_t)max_age_s * 1000)
			return true;
	}
	coap_error(res, COAP_401_UNAUTHORIZED, "repeat with this Echo");
	echo_make(e, &req->peer, now, e->echo);
	res->echo = SPAN_OF(e->echo);
	return false;
}
