#include "codec/uri.h"

#include <arpa/inet.h>
#include <errno.h>

#include "base/text.h"

static bool is_alpha(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool is_unreserved(uint8_t c)
{
	return is_alpha(c) || is_digit(c) || (c && strchr("-._~", c));
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

/* pct-encoded, unreserved, sub-delims and the characters in more; all of s */
static bool chars_are_good(struct span s, const char *more, unsigned flags)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		if (c == '%') {
			if (s.n - i < 3 || text_hex_digit(s.p[i + 1]) < 0 || text_hex_digit(s.p[i + 2]) < 0)
				return false;
			i += 2;
		} else if (c >= 0x80) {
			if (!(flags & URI_IRI))
				return false;
		} else if (!is_unreserved(c) && !(c && (strchr("!$&'()*+,;=", c) || strchr(more, c)))) {
			return false;
		}
	}
	return true;
}

static size_t find(struct span s, const char *any)
{
	size_t i = 0;

	while (i < s.n && !(s.p[i] && strchr(any, s.p[i])))
		i++;
	return i;
}

static struct span from(struct span s, size_t off)
{
	return span_sub(s, off, s.n);
}

static bool is_scheme(struct span s)
{
	if (!s.n || !is_alpha(s.p[0]))
		return false;
	for (size_t i = 1; i < s.n; i++)
		if (!is_alpha(s.p[i]) && !is_digit(s.p[i]) && s.p[i] != '+' && s.p[i] != '-' && s.p[i] != '.')
			return false;
	return true;
}

static bool address_parse(int family, struct span host, uint8_t *ret)
{
	char text[INET6_ADDRSTRLEN];

	return host.n && !memchr(host.p, 0, host.n) && text_copy(text, sizeof(text), host) >= 0 && inet_pton(family, text, ret) == 1;
}

static int port_parse(struct span s, struct uri *u)
{
	uint64_t port;

	if (!s.n)                      /* "host:" is allowed and means the default */
		return 0;
	if (text_parse_u64(s, UINT16_MAX, &port, TEXT_LEADING_ZEROS) < 0)
		return -EBADMSG;
	u->has_port = true;
	u->port = (uint16_t)port;
	return 0;
}

static int authority_parse(struct span s, unsigned flags, struct uri *u)
{
	uint8_t address[16];
	size_t i = find(s, "@");

	u->authority = s;
	if (i < s.n) {
		u->has_userinfo = true;
		u->userinfo = span_sub(s, 0, i);
		if (!chars_are_good(u->userinfo, ":", flags))
			return -EBADMSG;
		s = from(s, i + 1);
	}
	if (s.n && s.p[0] == '[') {
		i = find(s, "]");
		if (i == s.n)
			return -EBADMSG;
		u->host = span_sub(s, 1, i - 1);
		u->host_is_ip6 = true;
		if (!address_parse(AF_INET6, u->host, address))
			return -EBADMSG;
		s = from(s, i + 1);
		if (s.n && s.p[0] != ':')
			return -EBADMSG;
	} else {
		i = find(s, ":");
		u->host = span_sub(s, 0, i);
		if (!chars_are_good(u->host, "", flags))
			return -EBADMSG;
		s = from(s, i);
	}
	return s.n ? port_parse(from(s, 1), u) : 0;
}

int uri_parse(struct span text, unsigned flags, struct uri *ret)
{
	struct uri u = { 0 };
	struct span s = text;

	if (text.n > URI_BYTES_MAX)
		return -EMSGSIZE;
	if ((flags & URI_IRI) && !text_is_clean(text))
		return -EBADMSG;
	size_t i = find(s, ":/?#");
	if (i < s.n && s.p[i] == ':') {
		u.scheme = span_sub(s, 0, i);
		if (!is_scheme(u.scheme))
			return -EBADMSG;
		s = from(s, i + 1);
	}
	if (span_starts(s, SPAN_LIT("//"))) {
		s = from(s, 2);
		i = find(s, "/?#");
		u.has_authority = true;
		int r = authority_parse(span_sub(s, 0, i), flags, &u);
		if (r < 0)
			return r;
		s = from(s, i);
	}
	i = find(s, "?#");
	u.path = span_sub(s, 0, i);
	s = from(s, i);
	if (s.n && s.p[0] == '?') {
		i = find(s, "#");
		u.has_query = true;
		u.query = span_sub(s, 1, i - 1);
		s = from(s, i);
	}
	if (s.n) {
		u.has_fragment = true;
		u.fragment = from(s, 1);
	}
	if (!chars_are_good(u.path, ":@/", flags) || !chars_are_good(u.query, ":@/?", flags) ||
	    !chars_are_good(u.fragment, ":@/?", flags))
		return -EBADMSG;
	if (!u.has_port)
		u.port = uri_default_port(u.scheme);
	*ret = u;
	return 0;
}

/* RFC 3986 5.2.4 on what stands in b from start on. A segment never grows, so this works in place. */
static void remove_dots(struct buf *b, size_t start)
{
	uint8_t *p = b->p + start;
	size_t n = b->n - start, in = 0, out = 0;
	bool rooted = n && p[0] == '/';

	while (in < n) {
		size_t end = in + (p[in] == '/');              /* one segment with the slash before it */
		while (end < n && p[end] != '/')
			end++;
		struct span seg = { p + in, end - in };
		struct span name = seg.p[0] == '/' ? from(seg, 1) : seg;
		bool last = end == n;
		if (span_eq_str(name, ".") || span_eq_str(name, "..")) {
			bool had_slash = seg.p[0] == '/';
			if (name.n == 2) {
				while (out > 0 && p[out - 1] != '/')
					out--;
				out -= out > 0;
			}
			if (last && (had_slash || out))
				p[out++] = '/';
			else if (!had_slash && !last)
				end++;                         /* "./x" and "../x" lose their slash */
		} else {
			memmove(p + out, p + in, seg.n);
			out += seg.n;
		}
		in = end;
	}
	if (rooted && !out && n)
		p[out++] = '/';
	b->n = start + out;
	b->p[b->n] = 0;
}

static void add_path(struct buf *b, struct span path)
{
	size_t start = b->n;

	buf_add(b, path);
	if (buf_ok(b) && path.n)
		remove_dots(b, start);
}

/* RFC 3986 5.2.3: the reference's path next to the base's last segment. */
static void add_merged(struct buf *b, const struct uri *base, struct span path)
{
	size_t start = b->n, keep = base->path.n;

	if (base->has_authority && !base->path.n)
		buf_add_u8(b, '/');
	while (keep && base->path.p[keep - 1] != '/')
		keep--;
	buf_add(b, span_sub(base->path, 0, keep));
	buf_add(b, path);
	if (buf_ok(b) && b->n > start)
		remove_dots(b, start);
}

/* "x:/.//host" must not turn into "x://host". */
static bool path_is_authority(const struct buf *b, size_t path)
{
	return buf_ok(b) && span_starts(from(buf_span(b), path), SPAN_LIT("//"));
}

static void add_part(struct buf *b, bool has, const char *mark, struct span part)
{
	if (!has)
		return;
	buf_add_str(b, mark);
	buf_add(b, part);
}

static int resolve(const struct uri *b, const struct uri *r, struct buf *ret)
{
	const struct uri *authority = r->scheme.n || r->has_authority ? r : b;

	buf_add(ret, r->scheme.n ? r->scheme : b->scheme);
	buf_add_u8(ret, ':');
	add_part(ret, authority->has_authority, "//", authority->authority);
	size_t path = ret->n;
	if (authority == r)
		add_path(ret, r->path);
	else if (!r->path.n)
		buf_add(ret, b->path);
	else if (r->path.p[0] == '/')
		add_path(ret, r->path);
	else
		add_merged(ret, b, r->path);
	if (!authority->has_authority && path_is_authority(ret, path))
		return -EBADMSG;
	const struct uri *query = authority == r || r->path.n || r->has_query ? r : b;
	add_part(ret, query->has_query, "?", query->query);
	add_part(ret, r->has_fragment, "#", r->fragment);
	return buf_ok(ret) ? 0 : -EMSGSIZE;
}

int uri_resolve(struct span base, struct span ref, unsigned flags, struct buf *ret)
{
	struct uri b, r;
	int e = uri_parse(base, flags, &b);

	if (e < 0)
		return e;
	e = uri_parse(ref, flags, &r);
	if (e < 0)
		return e;
	return b.scheme.n ? resolve(&b, &r, ret) : -EBADMSG;
}

bool uri_is_limited(struct span ref)
{
	struct uri u;

	if (uri_parse(ref, URI_IRI, &u) < 0)
		return false;
	return u.scheme.n || (!u.has_authority && u.path.n && u.path.p[0] == '/');
}

struct span uri_origin(struct span uri)
{
	size_t i = find(uri, ":/?#");

	if (i == uri.n || !span_starts(from(uri, i), SPAN_LIT("://")))
		return SPAN_NONE;
	return span_sub(uri, 0, i + 3 + find(from(uri, i + 3), "/?#"));
}

bool uri_text_eq(struct span a, struct span b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (lower(a.p[i]) != lower(b.p[i]))
			return false;
	return true;
}

uint16_t uri_default_port(struct span scheme)
{
	static const struct {
		const char *scheme;
		uint16_t port;
	} ports[] = { { "coap", 5683 }, { "coaps", 5684 }, { "http", 80 }, { "https", 443 }, { "coap+tcp", 5683 }, { "coaps+tcp", 5684 } };

	for (size_t i = 0; i < sizeof(ports) / sizeof(*ports); i++)
		if (uri_text_eq(scheme, span_str(ports[i].scheme)))
			return ports[i].port;
	return 0;
}

bool uri_host_matches(const struct uri *u, struct span pattern)
{
	if (!span_starts(pattern, SPAN_LIT("*.")))
		return u->host.n && uri_text_eq(u->host, pattern);
	pattern = from(pattern, 1);
	if (u->host_is_ip6 || u->host.n <= pattern.n)
		return false;
	return uri_text_eq(from(u->host, u->host.n - pattern.n), pattern);
}

size_t uri_host_address(const struct uri *u, uint8_t ret[static 16])
{
	if (u->host_is_ip6)
		return address_parse(AF_INET6, u->host, ret) ? 16 : 0;
	return u->host.n && address_parse(AF_INET, u->host, ret) ? 4 : 0;
}

static bool ip4_is_local(const uint8_t a[static 4])
{
	return a[0] == 0 || a[0] == 10 || a[0] == 127 || (a[0] == 100 && (a[1] & 0xc0) == 64) || (a[0] == 169 && a[1] == 254) ||
	       (a[0] == 172 && (a[1] & 0xf0) == 16) || (a[0] == 192 && a[1] == 168) || a[0] >= 224;
}

bool uri_host_is_local(const struct uri *u)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff }, nat64[12] = { 0x00, 0x64, 0xff, 0x9b }, zero[12];
	struct span host = u->host;
	uint8_t a[16];
	size_t n = uri_host_address(u, a);

	if (host.n && host.p[host.n - 1] == '.')
		host.n--;
	if (!n)
		return uri_text_eq(host, SPAN_LIT("localhost")) ||
		       (host.n > 10 && uri_text_eq(from(host, host.n - 10), SPAN_LIT(".localhost")));
	if (n == 4)
		return ip4_is_local(a);
	if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0)
		return ip4_is_local(a + 12);
	return memcmp(a, zero, 12) == 0 || a[0] == 0xff || (a[0] == 0xfe && a[1] >= 0x80) || (a[0] & 0xfe) == 0xfc;
}

bool uri_host_is_link_local(const struct uri *u)
{
	uint8_t a[16];
	size_t n = uri_host_address(u, a);

	return (n == 4 && a[0] == 169 && a[1] == 254) || (n == 16 && a[0] == 0xfe && (a[1] & 0xc0) == 0x80);
}

int uri_decode(struct span in, struct buf *ret)
{
	for (size_t i = 0; i < in.n; i++) {
		if (in.p[i] != '%') {
			buf_add_u8(ret, in.p[i]);
			continue;
		}
		if (in.n - i < 3 || text_hex_digit(in.p[i + 1]) < 0 || text_hex_digit(in.p[i + 2]) < 0)
			return -EBADMSG;
		buf_add_u8(ret, (uint8_t)(text_hex_digit(in.p[i + 1]) << 4 | text_hex_digit(in.p[i + 2])));
		i += 2;
	}
	return buf_ok(ret) ? 0 : -EMSGSIZE;
}

void uri_encode(struct span in, const char *keep, struct buf *ret)
{
	for (size_t i = 0; i < in.n; i++) {
		uint8_t c = in.p[i];
		if (is_unreserved(c) || (c && strchr(keep, c)))
			buf_add_u8(ret, c);
		else
			buf_printf(ret, "%%%02X", c);
	}
}

bool uri_piece_next(struct span *rest, char sep, struct span *ret)
{
	const char seps[] = { sep, 0 };

	if (!rest->p)
		return false;
	size_t i = find(*rest, seps);
	*ret = (struct span){ rest->p, i };
	*rest = i < rest->n ? (struct span){ rest->p + i + 1, rest->n - i - 1 } : SPAN_NONE;
	return true;
}

static void add_lower(struct buf *b, struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		buf_add_u8(b, lower(s.p[i]));
}

/* Escapes of unreserved characters undone, the others in upper case. */
static void add_unescaped(struct buf *b, struct span s, bool to_lower)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '%') {
			buf_add_u8(b, to_lower ? lower(s.p[i]) : s.p[i]);
			continue;
		}
		uint8_t c = (uint8_t)(text_hex_digit(s.p[i + 1]) << 4 | text_hex_digit(s.p[i + 2]));
		if (is_unreserved(c))
			buf_add_u8(b, to_lower ? lower(c) : c);
		else
			buf_printf(b, "%%%02X", c);
		i += 2;
	}
}

static void add_normal_authority(struct buf *b, const struct uri *u)
{
	buf_add_str(b, "//");
	if (u->has_userinfo) {
		add_unescaped(b, u->userinfo, false);
		buf_add_u8(b, '@');
	}
	if (u->host_is_ip6) {
		buf_add_u8(b, '[');
		add_lower(b, u->host);
		buf_add_u8(b, ']');
	} else {
		add_unescaped(b, u->host, true);
	}
	if (u->has_port && u->port != uri_default_port(u->scheme))
		buf_printf(b, ":%u", u->port);
}

int uri_normalize(struct span text, struct buf *ret)
{
	struct uri u;
	int r = uri_parse(text, URI_IRI, &u);

	if (r < 0)
		return r;
	if (!u.scheme.n)
		return -EBADMSG;
	add_lower(ret, u.scheme);
	buf_add_u8(ret, ':');
	if (u.has_authority)
		add_normal_authority(ret, &u);
	size_t start = ret->n;
	add_unescaped(ret, u.path, false);
	if (buf_ok(ret) && ret->n > start)
		remove_dots(ret, start);
	if (!u.has_authority && path_is_authority(ret, start))
		return -EBADMSG;
	if (buf_ok(ret) && ret->n == start && u.has_authority && uri_default_port(u.scheme))
		buf_add_u8(ret, '/');
	if (u.has_query) {
		buf_add_u8(ret, '?');
		add_unescaped(ret, u.query, false);
	}
	if (u.has_fragment) {
		buf_add_u8(ret, '#');
		add_unescaped(ret, u.fragment, false);
	}
	return buf_ok(ret) ? 0 : -EMSGSIZE;
}
