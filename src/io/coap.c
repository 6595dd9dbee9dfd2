#include "io/coap.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/digest.h"

void coap_response_init(struct coap_response *res)
{
	*res = (struct coap_response){
		.code = COAP_500_INTERNAL, .content_format = COAP_CF_NONE, .max_age_s = -1, .size1 = -1,
	};
}

void coap_response_done(struct coap_response *res)
{
	buf_done(&res->body);
	if (res->reader.release)
		res->reader.release(res->reader.ctx);
	coap_response_init(res);
}

int coap_error(struct coap_response *res, uint8_t code, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* cut short when longer */
	va_end(ap);
	coap_response_done(res);
	res->code = code;
	buf_add_str(&res->body, text);
	return 0;
}

struct coap_etag coap_etag_of(struct span body)
{
	struct digest d = digest_of(body);
	struct coap_etag e = { .n = COAP_ETAG_BYTES_MAX };

	memcpy(e.b, d.b, sizeof(e.b));
	return e;
}

bool coap_etag_eq(const struct coap_etag *a, const struct coap_etag *b)
{
	return a->n == b->n && memcmp(a->b, b->b, a->n) == 0;
}

bool coap_request_has_etag(const struct coap_request *req, const struct coap_etag *e)
{
	for (size_t i = 0; i < req->n_etag; i++) {
		if (coap_etag_eq(&req->etag[i], e))
			return true;
	}
	return false;
}

bool coap_request_accepts(const struct coap_request *req, int content_format)
{
	return req->accept == COAP_CF_NONE || req->accept == content_format;
}

bool coap_query_get(const struct coap_request *req, const char *key, struct span *ret)
{
	size_t n = strlen(key);

	for (size_t i = 0; i < req->n_query; i++) {
		struct span q = req->query[i];

		if (!span_starts(q, SPAN(key, n)))
			continue;
		if (q.n == n) {
			*ret = SPAN_NONE;
			return true;
		}
		if (q.p[n] == '=') {
			*ret = span_sub(q, n + 1, q.n);
			return true;
		}
	}
	return false;
}

bool coap_path_is(const struct coap_request *req, const char *slash_path)
{
	struct span rest = span_str(slash_path);
	size_t i = 0;

	while (i < req->n_path && span_starts(rest, req->path[i])) {
		rest = span_sub(rest, req->path[i].n, rest.n);
		i++;
		if (rest.n == 0)
			break;
		if (rest.p[0] != '/')
			return false;
		rest = span_sub(rest, 1, rest.n);
	}
	return i == req->n_path && rest.n == 0;
}
