#include "io/http_parse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <strings.h>

#include "base/text.h"
#include "io/http_server.h"

static bool is_token_char(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* The request target */

/* Percent-decoding in place; an encoded '/' or '\' would change the segments after the fact. */
static bool decode_path(char *s)
{
	char *out = s;

	for (const char *p = s; *p; p++) {
		unsigned char c = (unsigned char)*p;
		if (c == '%') {
			int hi = text_hex_digit((uint8_t)p[1]);
			int lo = hi < 0 ? -1 : text_hex_digit((uint8_t)p[2]);
			if (lo < 0)
				return false;
			c = (unsigned char)(hi << 4 | lo);
			p += 2;
			if (c == '/' || c == 0)
				return false;
		}
		if (c == '\\')
			return false;
		*out++ = (char)c;
	}
	*out = 0;
	return text_is_clean(span_str(s));
}

static bool has_dot_segment(const char *path)
{
	for (const char *p = path; p; p = strchr(p + 1, '/')) {
		size_t n = strcspn(p + 1, "/");
		if ((n == 1 && p[1] == '.') || (n == 2 && p[1] == '.' && p[2] == '.'))
			return true;
	}
	return false;
}

static bool decode_query_part(char *s)
{
	char *out = s;

	for (const char *p = s; *p; p++) {
		unsigned char c = (unsigned char)*p;
		if (c == '+') {
			c = ' ';
		} else if (c == '%') {
			int hi = text_hex_digit((uint8_t)p[1]);
			int lo = hi < 0 ? -1 : text_hex_digit((uint8_t)p[2]);
			if (lo < 0)
				return false;
			c = (unsigned char)(hi << 4 | lo);
			p += 2;
			if (c == 0)
				return false;
		}
		*out++ = (char)c;
	}
	*out = 0;
	return text_is_utf8(span_str(s));
}

static int parse_query(char *s, struct http_head *h)
{
	while (*s) {
		size_t n = strcspn(s, "&");
		char *next = s[n] ? s + n + 1 : s + n;
		s[n] = 0;
		if (n > 0) {
			char *eq = strchr(s, '=');
			if (h->n_query == HTTP_QUERY_MAX)
				return 414;
			if (eq)
				*eq = 0;
			if (!decode_query_part(s) || (eq && !decode_query_part(eq + 1)))
				return 400;
			h->query[h->n_query++] = (struct http_pair){ s, eq ? eq + 1 : "" };
		}
		s = next;
	}
	return 0;
}

static int parse_target(char *t, struct http_head *h)
{
	for (const char *p = t; *p; p++) {
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f || *p == '#')
			return 400;
	}
	if (strncasecmp(t, "http://", 7) == 0 || strncasecmp(t, "https://", 8) == 0) { /* absolute-form, RFC 9112 3.2.2 */
		char *authority = strchr(t, ':') + 3;
		char *path = strpbrk(authority, "/?");
		if (!path || *path != '/' || path == authority)
			return 400;
		/* The authority moves one to the left, onto the slash, to make room for its NUL. */
		memmove(authority - 1, authority, (size_t)(path - authority));
		path[-1] = 0;
		h->host = authority - 1;
		t = path;
	}
	if (*t != '/')
		return 400;
	char *query = strchr(t, '?');
	if (query)
		*query++ = 0;
	if (!decode_path(t) || has_dot_segment(t))
		return 400;
	h->path = t;
	return query ? parse_query(query, h) : 0;
}

static unsigned method_of(const char *s)
{
	static const struct {
		const char *name;
		unsigned method;
	} known[] = {
		{ "GET", HTTP_GET }, { "HEAD", HTTP_HEAD }, { "POST", HTTP_POST },
		{ "PUT", HTTP_PUT }, { "DELETE", HTTP_DELETE }, { "PATCH", HTTP_PATCH },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (strcmp(s, known[i].name) == 0)
			return known[i].method;
	}
	return 0;
}

static int parse_request_line(char *line, struct http_head *h)
{
	char *target = strchr(line, ' ');
	char *version = target ? strchr(target + 1, ' ') : NULL;

	if (!version || target == line)
		return 400;
	*target++ = 0;
	*version++ = 0;
	for (const char *p = line; *p; p++) {
		if (!is_token_char((unsigned char)*p))
			return 400;
	}
	if (strlen(version) != 8 || strncmp(version, "HTTP/", 5) != 0 || version[5] < '0' || version[5] > '9' || version[6] != '.' ||
	    version[7] < '0' || version[7] > '9')
		return 400;
	if (version[5] != '1')
		return 505;
	h->is_http10 = version[7] == '0';
	h->method = method_of(line);
	if (strlen(target) > HTTP_TARGET_BYTES_MAX)
		return 414;
	return h->method ? parse_target(target, h) : 501;
}

/* Fields */

static int parse_field(char *line, struct http_head *h)
{
	char *colon = strchr(line, ':');
	char *end;

	if (!colon || colon == line)
		return 400;
	for (const char *p = line; p < colon; p++) {
		if (!is_token_char((unsigned char)*p)) /* also a folded line and a blank before the colon */
			return 400;
	}
	*colon++ = 0;
	colon += strspn(colon, " \t");
	for (end = colon + strlen(colon); end > colon && (end[-1] == ' ' || end[-1] == '\t'); end--)
		end[-1] = 0;
	for (const char *p = colon; *p; p++) {
		if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f)
			return 400;
	}
	if (h->n_fields == HTTP_FIELDS_MAX)
		return 431;
	h->fields[h->n_fields++] = (struct http_pair){ line, colon };
	return 0;
}

const char *http_head_field(const struct http_head *h, const char *name)
{
	for (size_t i = 0; i < h->n_fields; i++) {
		if (strcasecmp(h->fields[i].name, name) == 0)
			return h->fields[i].value;
	}
	return NULL;
}

static size_t field_count(const struct http_head *h, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n_fields; i++)
		n += strcasecmp(h->fields[i].name, name) == 0;
	return n;
}

/* Is word a member of the comma-separated list (RFC 9110 section 5.6.1)? */
static bool list_has(const char *list, const char *word)
{
	size_t n = strlen(word);

	while (list && *list) {
		list += strspn(list, " \t,");
		size_t len = strcspn(list, " \t,");
		if (len == n && strncasecmp(list, word, n) == 0)
			return true;
		list += len;
	}
	return false;
}

/* RFC 9112 section 6.3 without any of its ambiguities. */
static int judge_length(struct http_head *h)
{
	const char *coding = http_head_field(h, "Transfer-Encoding");
	const char *length = http_head_field(h, "Content-Length");
	uint64_t n;

	if (coding) {
		if (length || h->is_http10 || field_count(h, "Transfer-Encoding") > 1)
			return 400;
		h->is_chunked = strcasecmp(coding, "chunked") == 0;
		return h->is_chunked ? 0 : 501;
	}
	if (!length)
		return 0;
	if (field_count(h, "Content-Length") > 1 || text_parse_u64(span_str(length), INT64_MAX, &n, TEXT_LEADING_ZEROS) < 0)
		return 400;
	h->body_bytes = (int64_t)n;
	return 0;
}

static int judge_fields(struct http_head *h)
{
	const char *connection = http_head_field(h, "Connection");
	const char *expect = http_head_field(h, "Expect");
	size_t n_host = field_count(h, "Host");

	if (n_host > 1 || (n_host == 0 && !h->is_http10))
		return 400;
	if (!h->host)
		h->host = http_head_field(h, "Host");
	h->keep_alive = h->is_http10 ? list_has(connection, "keep-alive") : !list_has(connection, "close");
	if (expect && !h->is_http10) {
		if (strcasecmp(expect, "100-continue") != 0)
			return 417;
		h->expects_continue = true;
	}
	return judge_length(h);
}

int http_head_parse(char *text, size_t n, struct http_head *ret)
{
	struct http_head h = { 0 };
	const char *end = text + n - 2;        /* of the last CRLF, the empty line */
	char *line = text, *next;
	int r = 0;

	if (n < 4 || memcmp(end, "\r\n", 2) != 0 || memchr(text, 0, n))
		return 400;
	for (; r == 0 && line < end && (next = strstr(line, "\r\n")); line = next) { /* there: the head ends with one */
		*next = 0;
		next += 2;
		if (strpbrk(line, "\r\n"))
			return 400;
		r = line == text ? parse_request_line(line, &h) : parse_field(line, &h);
	}
	if (r == 0)
		r = h.path ? judge_fields(&h) : 400;
	if (r == 0)
		*ret = h;
	return r;
}

/* Chunks */

enum chunk_state { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_SIZE_LF, CHUNK_DATA, CHUNK_DATA_CR, CHUNK_DATA_LF, CHUNK_TRAILER, CHUNK_TRAILER_LF,
		   CHUNK_END };

static int chunk_size_char(struct http_chunks *c, uint8_t ch)
{
	int v = text_hex_digit(ch);

	if (++c->n_line > HTTP_CHUNK_LINE_BYTES_MAX)
		return -EBADMSG;
	if (c->state == CHUNK_SIZE && v >= 0) {
		if (++c->n_digits > 8)         /* up to 4 GiB - 1, far over any limit of a body */
			return -EMSGSIZE;
		c->left = c->left << 4 | (unsigned)v;
		return 0;
	}
	if (c->n_digits == 0)
		return -EBADMSG;
	if (ch == '\r')
		c->state = CHUNK_SIZE_LF;
	else if (c->state == CHUNK_SIZE && (ch == ';' || ch == ' ' || ch == '\t'))
		c->state = CHUNK_EXTENSION;
	else if (c->state == CHUNK_SIZE || (ch < ' ' && ch != '\t') || ch == 0x7f)
		return -EBADMSG;
	return 0;
}

static int chunk_trailer_char(struct http_chunks *c, uint8_t ch)
{
	if (++c->n_trailer > HTTP_TRAILER_BYTES_MAX || ch == '\n' || ch == 0)
		return -EBADMSG;
	if (ch == '\r')
		c->state = CHUNK_TRAILER_LF;
	else
		c->line_empty = false;
	return 0;
}

static int chunk_char(struct http_chunks *c, uint8_t ch)
{
	switch ((enum chunk_state)c->state) {
	case CHUNK_SIZE:
	case CHUNK_EXTENSION:
		return chunk_size_char(c, ch);
	case CHUNK_SIZE_LF:
		c->state = c->left ? CHUNK_DATA : CHUNK_TRAILER;
		c->line_empty = true;
		return ch == '\n' ? 0 : -EBADMSG;
	case CHUNK_DATA_CR:
		c->state = CHUNK_DATA_LF;
		return ch == '\r' ? 0 : -EBADMSG;
	case CHUNK_DATA_LF:
		c->state = CHUNK_SIZE;
		c->n_digits = c->n_line = 0;
		return ch == '\n' ? 0 : -EBADMSG;
	case CHUNK_TRAILER:
		return chunk_trailer_char(c, ch);
	case CHUNK_TRAILER_LF:
		c->state = c->line_empty ? CHUNK_END : CHUNK_TRAILER;
		c->line_empty = true;
		return ch == '\n' ? 0 : -EBADMSG;
	case CHUNK_DATA:
	case CHUNK_END:
		break;
	}
	return -EBADMSG;
}

int http_chunks_feed(struct http_chunks *c, struct span in, struct buf *body, size_t *ret_used)
{
	size_t at = 0;
	int r = 0;

	while (r == 0 && c->state != CHUNK_END && at < in.n) {
		if (c->state != CHUNK_DATA) {
			r = chunk_char(c, in.p[at++]);
			continue;
		}
		size_t n = in.n - at < c->left ? in.n - at : (size_t)c->left;
		buf_add(body, SPAN(in.p + at, n));
		if (!buf_ok(body))
			r = -EMSGSIZE;
		at += n;
		c->left -= n;
		if (c->left == 0)
			c->state = CHUNK_DATA_CR;
	}
	*ret_used = at;
	if (r < 0)
		return r;
	return c->state == CHUNK_END;
}

/* Host */

bool http_host_is_known(const char *host, const char *const *names, size_t n_names)
{
	char name[256];
	struct in6_addr addr;

	if (!host || text_copy(name, sizeof(name), span_str(host)) < 0)
		return false;
	if (*name == '[') {
		char *close = strchr(name, ']');
		if (!close || (close[1] && close[1] != ':'))
			return false;
		*close = 0;
		return inet_pton(AF_INET6, name + 1, &addr) == 1;
	}
	name[strcspn(name, ":")] = 0;
	if (inet_pton(AF_INET, name, &addr) == 1 || strcasecmp(name, "localhost") == 0)
		return true;
	for (size_t i = 0; i < n_names; i++) {
		if (strcasecmp(name, names[i]) == 0)
			return true;
	}
	return false;
}
