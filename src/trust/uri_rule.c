#include "trust/uri_rule.h"

#include <ctype.h>
#include <stdio.h>

#include "codec/uri.h"

static bool refuse(char why[static URI_RULE_WHY_BYTES], const char *text, struct span part)
{
	(void)snprintf(why, URI_RULE_WHY_BYTES, "%s '%.*s'", text, part.n < 80 ? (int)part.n : 80, part.p ? (const char *)part.p : "");
	for (char *p = why; *p; p++) {
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	}
	return false;
}

static bool scheme_is_fine(struct span scheme)
{
	static const char *const fine[] = { "https", "http", "coaps", "coap" };

	for (size_t i = 0; i < sizeof(fine) / sizeof(*fine); i++) {
		if (uri_text_eq(scheme, span_str(fine[i])))
			return true;
	}
	return false;
}

/* The part after the last dot. A name that ends in a number is an address in some resolver's eyes ("127.1", "0x7f.1"). */
static struct span last_label(struct span host)
{
	size_t at = host.n;

	while (at > 0 && host.p[at - 1] != '.')
		at--;
	return span_sub(host, at, host.n);
}

static bool name_is_public(struct span host)
{
	static const char *const ours[] = { "localhost", "local", "internal", "lan", "home", "arpa", "localdomain" };
	struct span last = last_label(host);

	if (!last.n || last.n == host.n || isdigit(last.p[0]))
		return false; /* one label alone, a final dot, or a number */
	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++) {
		if (uri_text_eq(last, span_str(ours[i])))
			return false;
	}
	return true;
}

/* Global unicast and nothing else: 2000::/3 without documentation, 6to4 and Teredo, which can carry a private IPv4 address. */
static bool ip6_is_public(const uint8_t a[static 16])
{
	static const uint8_t doc[] = { 0x20, 0x01, 0x0d, 0xb8 }, teredo[] = { 0x20, 0x01, 0, 0 }, to4[] = { 0x20, 0x02 };

	return (a[0] & 0xe0) == 0x20 && memcmp(a, doc, sizeof(doc)) != 0 && memcmp(a, teredo, sizeof(teredo)) != 0 &&
	       memcmp(a, to4, sizeof(to4)) != 0;
}

static bool ip4_is_public(const uint8_t a[static 4])
{
	return !(a[0] == 0 || a[0] == 10 || a[0] == 127 || a[0] >= 224 || (a[0] == 100 && (a[1] & 0xc0) == 64) ||
		 (a[0] == 169 && a[1] == 254) || (a[0] == 172 && (a[1] & 0xf0) == 16) || (a[0] == 192 && a[1] == 168) ||
		 (a[0] == 192 && a[1] == 0 && (a[2] == 0 || a[2] == 2)) || (a[0] == 198 && (a[1] & 0xfe) == 18));
}

static bool host_is_public(const struct uri *u)
{
	uint8_t a[16];
	size_t n = uri_host_address(u, a);

	if (n == 0)
		return name_is_public(u->host) && !uri_host_is_local(u);
	return !uri_host_is_local(u) && (n == 16 ? ip6_is_public(a) : ip4_is_public(a));
}

static bool host_is_allowed(const struct uri *u, char *const *hosts, char why[static URI_RULE_WHY_BYTES])
{
	if (!u->host.n)
		return refuse(why, "no host in", u->authority);
	if (memchr(u->host.p, '%', u->host.n))
		return refuse(why, "an escaped host name", u->host);
	if (!hosts[0])
		return host_is_public(u) || refuse(why, "the anchor names no hosts, and this is not a public one:", u->host);
	for (; *hosts; hosts++) {
		if (strcmp(*hosts, "*") == 0 || uri_host_matches(u, span_str(*hosts)))
			return true;
	}
	return refuse(why, "the anchor does not allow the host", u->host);
}

bool uri_rule_allows(struct span uri, char *const *hosts, char why[static URI_RULE_WHY_BYTES])
{
	struct uri u;

	why[0] = 0;
	if (uri_parse(uri, 0, &u) < 0)
		return refuse(why, "not a URI:", uri);
	if (u.scheme.n && !scheme_is_fine(u.scheme))
		return refuse(why, "payloads come by https, http, coaps or coap, not by", u.scheme);
	if (u.scheme.n && !u.has_authority)
		return refuse(why, "no host in", uri);
	if (u.has_userinfo)
		return refuse(why, "credentials in the URI, before", u.host);
	if (u.has_authority)
		return host_is_allowed(&u, hosts, why);
	if (!u.path.n && !u.has_query)
		return refuse(why, "names nothing outside the envelope:", uri);
	return true; /* relative: resolved against reference-uri or the envelope's own address, and fetched under the same rules */
}
