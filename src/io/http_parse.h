/* io/http_parse.h - the request side of HTTP/1.1 as bytes (RFC 9112, 9110, 3986): head and chunked
 * body. Strict where leniency lets two readers disagree: no bare LF, no folded lines, no
 * blank before the colon, one Host, never two lengths. Pure: no I/O, no clock, no allocation but
 * the caller's buf. Used by io/http_server only. */
#pragma once
#include "base/buf.h"

enum {
	HTTP_FIELDS_MAX = 64,
	HTTP_QUERY_MAX = 32,
	HTTP_TARGET_BYTES_MAX = 8 * 1024,
	HTTP_CHUNK_LINE_BYTES_MAX = 256,       /* size and extensions, ignored */
	HTTP_TRAILER_BYTES_MAX = 4 * 1024,     /* all trailer fields, ignored */
};

struct http_pair {
	const char *name, *value;
};

struct http_head {
	unsigned method;                       /* enum http_method, HEAD as it came; 0 = not one we know */
	bool is_http10;
	const char *path;                      /* percent-decoded, no query, no dot segments, clean UTF-8 */
	const char *host;                      /* authority of the target, else Host; NULL in HTTP/1.0 */
	struct http_pair query[HTTP_QUERY_MAX];
	size_t n_query;
	struct http_pair fields[HTTP_FIELDS_MAX];
	size_t n_fields;
	int64_t body_bytes;                    /* Content-Length; 0 when there is none */
	bool is_chunked;
	bool keep_alive;
	bool expects_continue;
};

/**
 * Parse a whole head in place.
 *
 * text  n bytes, ended by the empty line, followed by a NUL; changed; ret borrows from it
 * Returns 0, or the HTTP status to refuse with: 400, 414, 417, 431, 501, 505.
 */
int http_head_parse(char *text, size_t n, struct http_head *ret);

const char *http_head_field(const struct http_head *h, const char *name);      /* first of that name, any case; NULL */

/* Chunked transfer coding (RFC 9112 section 7.1). Zeroed = at the start. */
struct http_chunks {
	int state;
	uint64_t left;                         /* of this chunk's data, or of the digits so far */
	size_t n_digits, n_line, n_trailer;
	bool line_empty;
};

/* Takes what it can of in (ret_used bytes) and adds the data to body, whose max limits it.
 * Returns 1 whole, 0 more is needed, -EBADMSG, -EMSGSIZE over body's max. */
int http_chunks_feed(struct http_chunks *c, struct span in, struct buf *body, size_t *ret_used);

/* Is the name in a Host header this machine's loopback name or a literal address, or one of names? */
bool http_host_is_known(const char *host, const char *const *names, size_t n_names);
