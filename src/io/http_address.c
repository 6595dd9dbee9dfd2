#include "io/http_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static const struct {
	uint32_t net;
	unsigned bits;
} v4_special[] = {
	{ 0x00000000, 8 },                     /* this network */
	{ 0x0a000000, 8 },                     /* private */
	{ 0x64400000, 10 },                    /* shared (carrier NAT) */
	{ 0x7f000000, 8 },                     /* loopback */
	{ 0xa9fe0000, 16 },                    /* link-local */
	{ 0xac100000, 12 },                    /* private */
	{ 0xc0000000, 24 },                    /* IETF protocol assignments */
	{ 0xc0000200, 24 },                    /* documentation */
	{ 0xc0586300, 24 },                    /* 6to4 relay, withdrawn */
	{ 0xc0a80000, 16 },                    /* private */
	{ 0xc6120000, 15 },                    /* benchmarking */
	{ 0xc6336400, 24 },                    /* documentation */
	{ 0xcb007100, 24 },                    /* documentation */
	{ 0xe0000000, 3 },                     /* multicast and reserved */
};

static bool v4_is_public(uint32_t a)
{
	for (size_t i = 0; i < sizeof(v4_special) / sizeof(*v4_special); i++) {
		if ((a ^ v4_special[i].net) >> (32 - v4_special[i].bits) == 0)
			return false;
	}
	return true;
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool v6_is_public(const uint8_t a[static 16])
{
	static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };

	if (memcmp(a, nat64, sizeof(nat64)) == 0)
		return v4_is_public(be32(a + 12));
	if (a[0] == 0x20 && a[1] == 0x02)      /* 6to4 */
		return v4_is_public(be32(a + 2));
	if (a[0] == 0x20 && a[1] == 0x01 && a[2] < 0x02) /* protocol assignments, Teredo, ORCHID */
		return false;
	if (be32(a) == 0x20010db8)             /* documentation */
		return false;
	if (be32(a) >> 12 == 0x3fff0)          /* documentation */
		return false;
	return a[0] >> 5 == 1;                 /* 2000::/3, all that is given out; not ::, ::1, mapped, fc00::/7, fe80::/10, ff00::/8 */
}

bool http_address_is_public(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return v4_is_public(ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr));
	if (sa->sa_family == AF_INET6)
		return v6_is_public(((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr.s6_addr);
	return false;
}

bool http_address_text_is_public(const char *ip)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (ip && inet_pton(AF_INET, ip, &v4) == 1)
		return v4_is_public(ntohl(v4.s_addr));
	return ip && inet_pton(AF_INET6, ip, &v6) == 1 && v6_is_public(v6.s6_addr);
}
