/* io/coap.h - CoAP messages as our own structs (RFC 7252, 7641, 7959, 8132), shared by the
 * server (io/coap_endpoint.h) and the client (io/coap_client.h). No libcoap type leaves io/. */
#pragma once
#include "base/buf.h"

enum coap_method { COAP_M_GET = 1, COAP_M_POST, COAP_M_PUT, COAP_M_DELETE, COAP_M_FETCH, COAP_M_PATCH, COAP_M_IPATCH };

#define COAP_CODE(class_, detail_) ((class_) << 5 | (detail_))
enum coap_code {
	COAP_201_CREATED = COAP_CODE(2, 1), COAP_202_DELETED = COAP_CODE(2, 2), COAP_203_VALID = COAP_CODE(2, 3),
	COAP_204_CHANGED = COAP_CODE(2, 4), COAP_205_CONTENT = COAP_CODE(2, 5), COAP_231_CONTINUE = COAP_CODE(2, 31),
	COAP_400_BAD_REQUEST = COAP_CODE(4, 0), COAP_401_UNAUTHORIZED = COAP_CODE(4, 1), COAP_402_BAD_OPTION = COAP_CODE(4, 2),
	COAP_403_FORBIDDEN = COAP_CODE(4, 3), COAP_404_NOT_FOUND = COAP_CODE(4, 4), COAP_405_METHOD = COAP_CODE(4, 5),
	COAP_406_NOT_ACCEPTABLE = COAP_CODE(4, 6), COAP_408_INCOMPLETE = COAP_CODE(4, 8), COAP_409_CONFLICT = COAP_CODE(4, 9),
	COAP_412_PRECONDITION = COAP_CODE(4, 12), COAP_413_TOO_LARGE = COAP_CODE(4, 13), COAP_415_FORMAT = COAP_CODE(4, 15),
	COAP_422_UNPROCESSABLE = COAP_CODE(4, 22), COAP_429_TOO_MANY = COAP_CODE(4, 29),
	COAP_500_INTERNAL = COAP_CODE(5, 0), COAP_501_NOT_IMPLEMENTED = COAP_CODE(5, 1), COAP_502_BAD_GATEWAY = COAP_CODE(5, 2),
	COAP_503_UNAVAILABLE = COAP_CODE(5, 3), COAP_504_TIMEOUT = COAP_CODE(5, 4), COAP_505_NO_PROXY = COAP_CODE(5, 5),
};

/* Content-Formats (rd-and-proxy section 14); 65000-65535 is for experiments (RFC 7252 12.3). */
enum {
	COAP_CF_NONE = -1, COAP_CF_TEXT = 0, COAP_CF_LINK = 40, COAP_CF_OCTETS = 42, COAP_CF_JSON = 50, COAP_CF_CBOR = 60,
	COAP_CF_SUIT_ENVELOPE = 65051,         /* application/suit-envelope+cose: no number is registered */
	COAP_CF_SUIT_REPORT = 65052,           /* application/suit-report+cose: likewise */
};

enum {
	COAP_PATH_MAX = 16, COAP_QUERY_MAX = 32, COAP_ETAG_MAX = 4, COAP_SEGMENT_BYTES_MAX = 255,
	COAP_ETAG_BYTES_MAX = 8, COAP_IDENTITY_BYTES_MAX = 64, COAP_ADDR_TEXT_BYTES = 80,
	COAP_BODY_BYTES_MAX = 64 * 1024,       /* default limit of one assembled Block1 body */
};

struct coap_etag {
	uint8_t n, b[COAP_ETAG_BYTES_MAX];
};

/* Who is asking. identity is the authenticated name: PSK identity, or "x509:" and the hex of the
 * certificate's key identifier (SHA-1 of its public key, RFC 5280 4.2.1.2 method 1); empty over plain CoAP. */
struct coap_peer {
	bool secure;                           /* DTLS */
	char identity[COAP_IDENTITY_BYTES_MAX + 1];
	char addr[COAP_ADDR_TEXT_BYTES];       /* "[2001:db8::1]:5683" or "192.0.2.1:5683", no zone id */
	bool is_loopback;
	bool is_link_local;
	uint32_t link;                         /* of a link-local peer: stands for its interface's name, so it is the same when that returns
						* with another index; else 0 */
	unsigned interface;                    /* index of the one that it was last heard on; 0 = not known */
	uint16_t port;
	uint64_t session;                      /* unique per session for its life; 0 = none */
};

struct coap_request {
	uint8_t method;                        /* enum coap_method */
	struct coap_peer peer;
	struct span path[COAP_PATH_MAX];       /* decoded Uri-Path segments */
	size_t n_path;
	struct span query[COAP_QUERY_MAX];     /* decoded Uri-Query options, "k=v" or "k", each its own option */
	size_t n_query;
	struct span proxy_uri;                 /* empty = none */
	int accept, content_format;            /* COAP_CF_NONE = absent */
	int observe;                           /* -1 absent, 0 register, 1 cancel */
	struct coap_etag etag[COAP_ETAG_MAX];
	size_t n_etag;
	struct coap_etag if_match[COAP_ETAG_MAX];
	size_t n_if_match;
	bool if_none_match;
	struct span echo;                      /* empty = absent */
	bool is_notify;                        /* the endpoint re-runs an observed GET: answer what is there now;
						* an answer >= 4.00 ends the observation */
	struct span body;                      /* whole, reassembled; borrowed for the call */
};

/* A body read by position, so that a block costs one read and no copy of the whole.
 * Reads never block for long (page cache); release is called once. */
struct coap_body_reader {
	uint64_t bytes;
	int (*read)(void *ctx, uint64_t off, uint8_t *ret, size_t n);   /* exactly n or -errno */
	void (*release)(void *ctx);            /* may be NULL */
	void (*served)(void *ctx, uint64_t off, size_t n, bool last);   /* a block was sent; may be NULL */
	void *ctx;
};

enum { COAP_LOCATION_MAX = 4 };

struct coap_response {
	uint8_t code;                          /* enum coap_code */
	int content_format;                    /* COAP_CF_NONE */
	int64_t max_age_s;                     /* -1 = absent (60 s by default) */
	struct coap_etag etag;                 /* n == 0: the endpoint derives one from body if it is larger than a block */
	const char *location[COAP_LOCATION_MAX]; /* Location-Path segments, borrowed until the response is sent */
	size_t n_location;
	struct buf body;                       /* moved out by the endpoint; empty buf = no body */
	struct coap_body_reader reader;        /* instead of body when reader.read is set */
	int64_t size1;                         /* Size1 to give with 4.13; -1 = absent */
	struct span echo;                      /* Echo challenge to give with 4.01; borrowed for the call */
	bool no_observe;                       /* the request asked to observe, and is answered once only */
};

void coap_response_init(struct coap_response *res);              /* 5.00, nothing set */
void coap_response_done(struct coap_response *res);
/* Set a code with a diagnostic payload (RFC 7252 5.5.2); returns 0 so handlers can return it. */
int coap_error(struct coap_response *res, uint8_t code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
struct coap_etag coap_etag_of(struct span body);                 /* 8 bytes of SHA-256 */
bool coap_etag_eq(const struct coap_etag *a, const struct coap_etag *b);
bool coap_request_has_etag(const struct coap_request *req, const struct coap_etag *e);
/* May this format be answered? (No Accept, or just this one.) For handlers with a choice; the endpoint turns a 2.xx answer
 * in a format the request does not accept into 4.06 by itself. */
bool coap_request_accepts(const struct coap_request *req, int content_format);
/* The value of the first query option "key=value"; false = absent. "key" alone gives an empty value. */
bool coap_query_get(const struct coap_request *req, const char *key, struct span *ret);
bool coap_path_is(const struct coap_request *req, const char *slash_path);  /* "rd-lookup/ep" */
