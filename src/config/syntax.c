#include "config/syntax.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "base/text.h"
#include "base/time.h"

enum { NAME_BYTES_MAX = 63, SHORT_NAME_BYTES_MAX = 31, HOST_BYTES_MAX = 253, ROUTE_BYTES_MAX = 128, URL_BYTES_MAX = 511 };

static bool all_of(struct span s, const char *punctuation)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		if (!alnum && (!c || !strchr(punctuation, c)))
			return false;
	}
	return true;
}

static bool is_name(struct span s)
{
	return s.n <= NAME_BYTES_MAX && all_of(s, "._-") && (s.n == 0 || s.p[0] != '.');
}

static bool is_uuid(struct span s)
{
	uint8_t uuid[16];

	return text_parse_uuid(s, uuid) >= 0;
}

/* Segments of unreserved characters (RFC 3986), none of them empty, "." or "..". */
static bool is_route(struct span s)
{
	struct span segment;

	if (s.n > ROUTE_BYTES_MAX || !all_of(s, "/-._~"))
		return false;
	for (size_t at = 0; at <= s.n; at += segment.n + 1) {
		segment = span_sub(s, at, s.n);
		const uint8_t *slash = segment.n ? memchr(segment.p, '/', segment.n) : NULL;
		if (slash)
			segment.n = (size_t)(slash - segment.p);
		if (segment.n == 0 || span_eq_str(segment, ".") || span_eq_str(segment, ".."))
			return false;
	}
	return true;
}

static bool is_url(struct span s)
{
	size_t scheme = span_starts(s, SPAN_LIT("https://")) ? 8 : span_starts(s, SPAN_LIT("http://")) ? 7 : 0;

	if (!scheme || s.n > URL_BYTES_MAX || s.n == scheme || s.p[scheme] == '/')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f || strchr("\"<>\\^`{|}#", s.p[i]))
			return false;
	/* user:password@ would put a secret into the configuration */
	for (size_t i = scheme; i < s.n && s.p[i] != '/' && s.p[i] != '?'; i++)
		if (s.p[i] == '@')
			return false;
	return true;
}

static bool is_host(struct span s)
{
	return s.n > 0 && s.n <= HOST_BYTES_MAX && all_of(s, ".-:") && s.p[0] != '-' && s.p[0] != '.';
}

static bool is_loopback6(const struct in6_addr *a)
{
	return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

/* host: "192.0.2.1", "2001:db8::1" or "fe80::1%eth0", numbers only: nothing is asked of a resolver at start. */
static bool numeric_host(struct span host, bool is_v6, bool *ret_loopback)
{
	char text[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
	struct in6_addr a6;
	struct in_addr a4;

	if (text_copy(text, sizeof(text), host) < 0 || strlen(text) != host.n)
		return false;
	if (!is_v6) {
		bool ok = inet_pton(AF_INET, text, &a4) == 1;
		*ret_loopback = ok && ntohl(a4.s_addr) >> 24 == 127;
		return ok;
	}
	char *scope = strchr(text, '%');
	if (scope && (scope[1] == 0 || strlen(scope + 1) >= IF_NAMESIZE))
		return false;
	if (scope)
		*scope = 0;
	bool ok = inet_pton(AF_INET6, text, &a6) == 1;
	*ret_loopback = ok && is_loopback6(&a6);
	return ok;
}

/* "host:port" or "[host]:port"; port 0 and missing port give default_port, or are wrong when that is -1. */
static int host_port(struct span s, int default_port, struct listen_address *ret)
{
	bool is_v6 = s.n > 0 && s.p[0] == '[';
	const uint8_t *end = s.n ? memchr(s.p, is_v6 ? ']' : ':', s.n) : NULL;
	size_t host_n = end ? (size_t)(end - s.p) : s.n;
	struct span rest = span_sub(s, host_n + (is_v6 && end), s.n);
	uint64_t port = default_port < 0 ? 0 : (uint64_t)default_port;

	if (is_v6 && !end)
		return -EBADMSG;
	if (rest.n ? rest.p[0] != ':' || text_parse_u64(span_sub(rest, 1, rest.n), 65535, &port, 0) < 0 : default_port < 0)
		return -EBADMSG;
	ret->host = is_v6 ? span_sub(s, 1, host_n - 1) : span_sub(s, 0, host_n);
	ret->port = (uint16_t)port;
	return numeric_host(ret->host, is_v6, &ret->is_loopback) ? 0 : -EBADMSG;
}

int syntax_coap_address(struct span s, struct listen_address *ret)
{
	struct listen_address a = { 0 };
	size_t scheme = 7;

	if (span_starts(s, SPAN_LIT("coaps://"))) {
		a.secure = true;
		scheme = 8;
	} else if (!span_starts(s, SPAN_LIT("coap://"))) {
		return -EBADMSG;
	}
	int r = host_port(span_sub(s, scheme, s.n), a.secure ? 5684 : 5683, &a);
	if (r < 0)
		return r;
	*ret = a;
	return 0;
}

int syntax_http_address(struct span s, struct listen_address *ret)
{
	struct listen_address a = { 0 };

	if (span_starts(s, SPAN_LIT("unix:"))) {
		a.is_unix = true;
		a.host = span_sub(s, 5, s.n);
		if (a.host.n == 0 || a.host.n >= sizeof(((struct sockaddr_un *)0)->sun_path))
			return -EBADMSG;
	} else {
		int r = host_port(s, -1, &a);
		if (r < 0)
			return r;
	}
	*ret = a;
	return 0;
}

/* Not ff0X::1, ::2 or ::fd, 224.0.0.0/24, 224.0.1.187: who listens there did not ask for images. */
static bool is_group_address(struct span s)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr a6;
	struct in_addr a4;

	if (text_copy(text, sizeof(text), s) < 0 || strlen(text) != s.n)
		return false;
	if (inet_pton(AF_INET, text, &a4) == 1) {
		uint32_t a = ntohl(a4.s_addr);
		return a >> 28 == 14 && a >> 8 != 0xe00000 && a != 0xe00001bb;
	}
	if (inet_pton(AF_INET6, text, &a6) != 1 || a6.s6_addr[0] != 0xff)
		return false;
	bool well_known = a6.s6_addr[1] >> 4 == 0;
	for (size_t i = 2; i < 15; i++)
		well_known = well_known && a6.s6_addr[i] == 0;
	return !(well_known && (a6.s6_addr[15] == 1 || a6.s6_addr[15] == 2 || a6.s6_addr[15] == 0xfd));
}

/* "hci0", or six bytes in hex. */
static bool is_adapter(struct span s)
{
	if (s.n > 3 && s.n <= 8 && span_eq_str(span_sub(s, 0, 3), "hci")) {
		for (size_t i = 3; i < s.n; i++)
			if (s.p[i] < '0' || s.p[i] > '9')
				return false;
		return true;
	}
	if (s.n != 17)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (i % 3 == 2 ? s.p[i] != ':' : !strchr("0123456789abcdefABCDEF", s.p[i]))
			return false;
	return true;
}

/* An address of ours with its prefix length: not a group's, not link-local. */
static bool is_prefix(struct span s)
{
	const uint8_t *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
	char text[INET6_ADDRSTRLEN];
	struct in6_addr a;
	uint64_t bits;

	if (!slash || text_parse_u64(span_sub(s, (size_t)(slash - s.p) + 1, s.n), 128, &bits, 0) < 0 || bits == 0)
		return false;
	if (text_copy(text, sizeof(text), SPAN(s.p, (size_t)(slash - s.p))) < 0 || inet_pton(AF_INET6, text, &a) != 1)
		return false;
	return a.s6_addr[0] != 0xff && !IN6_IS_ADDR_LINKLOCAL(&a) && !IN6_IS_ADDR_UNSPECIFIED(&a) && !IN6_IS_ADDR_LOOPBACK(&a);
}

static bool is_ble_peer(struct span s)
{
	if (span_starts(s, SPAN_LIT("random ")))
		s = span_sub(s, 7, s.n);
	return s.n == 17 && is_adapter(s);
}

static bool is_time(struct span s)
{
	struct wall at;

	return s.n > 10 && s.p[10] == 'T' && wall_parse(s, &at) == 0; /* no bare seconds: nobody could check them by eye */
}

static bool is_word(const char *const *words, struct span s)
{
	for (; *words; words++)
		if (span_eq_str(s, *words))
			return true;
	return false;
}

const char *syntax_check(const struct schema_key *k, struct span s)
{
	struct listen_address a;

	if (s.n == 0 && k->min == 0 && k->type == SCHEMA_STRING && k->syntax != SYNTAX_WORD)
		return NULL;
	switch (k->syntax) {
	case SYNTAX_ANY:
		return NULL;
	case SYNTAX_WORD:
		return is_word(k->words, s) ? NULL : ""; /* the caller lists them */
	case SYNTAX_SHORT_NAME:
		return s.n && s.n <= SHORT_NAME_BYTES_MAX && is_name(s) ? NULL : "1 to 31 letters, digits, \".\", \"_\" or \"-\", not beginning with \".\"";
	case SYNTAX_ADAPTER:
		return is_adapter(s) ? NULL : "a Bluetooth address such as \"01:23:45:67:89:AB\", or an adapter such as \"hci0\"";
	case SYNTAX_PREFIX:
		return is_prefix(s) ? NULL : "an IPv6 address with its prefix length, such as \"fd00:15:4::1/64\"";
	case SYNTAX_BLE_PEER:
		return is_ble_peer(s) ? NULL : "a Bluetooth address such as \"01:23:45:67:89:AB\" or \"random C1:23:45:67:89:AB\"";
	case SYNTAX_TIME:
		return is_time(s) ? NULL : "a time such as \"2027-01-31T18:00:00Z\"";
	case SYNTAX_INTERFACE:
		return s.n && s.n < IF_NAMESIZE && all_of(s, "._-@") ? NULL : "the name of a network interface, such as \"lowpan0\"";
	case SYNTAX_GROUP_ADDRESS:
		return is_group_address(s) ? NULL : "a multicast address such as \"ff03::4d43\" or \"239.1.2.3\", not one of all nodes or of all CoAP nodes";
	case SYNTAX_NAME:
		return s.n && is_name(s) ? NULL : "1 to 63 letters, digits, \".\", \"_\" or \"-\", not beginning with \".\"";
	case SYNTAX_PATH:
		return s.n ? NULL : "the path of a file";
	case SYNTAX_ROUTE:
		return is_route(s) ? NULL : "path segments such as \"rd\" or \"rd-lookup/ep\"";
	case SYNTAX_URL:
		return is_url(s) ? NULL : "a URL such as \"https://updates.example/latest.suit\", without user, password and fragment";
	case SYNTAX_UUID:
		return is_uuid(s) ? NULL : "a UUID such as \"fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe\"";
	case SYNTAX_VENDOR:
		return is_uuid(s) || span_eq_str(s, "any") ? NULL : "a UUID such as \"fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe\", or \"any\"";
	case SYNTAX_HOST:
		return is_host(s) ? NULL : "a host name such as \"cdn.example\"";
	case SYNTAX_COAP_ADDRESS:
		return syntax_coap_address(s, &a) >= 0 ? NULL : "an address such as \"coap://[::]:5683\" or \"coaps://192.0.2.1:5684\"";
	case SYNTAX_HTTP_ADDRESS:
		return syntax_http_address(s, &a) >= 0 ? NULL : "\"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/run/dormouse/api.sock\"";
	}
	return NULL;
}
