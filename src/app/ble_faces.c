/* By which URIs others reach the resources of Bluetooth LE nodes: the gateway's own listeners, as the directory and Thing Descriptions
 * tell of them. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "app/ble_faces.h"
#include "base/text.h"
#include "codec/uri.h"
#include "proxy/ble_coap.h"
#include "proxy/ble_http.h"

enum { HOST_BYTES = 256 };

static bool is_global6(const struct in6_addr *a)
{
	return !IN6_IS_ADDR_LINKLOCAL(a) && !IN6_IS_ADDR_LOOPBACK(a) && !IN6_IS_ADDR_MULTICAST(a) && !IN6_IS_ADDR_UNSPECIFIED(a) &&
	       !IN6_IS_ADDR_V4MAPPED(a);
}

/* One to be reached by: IPv6 before IPv4, [::1] where there is nothing else. */
static void own_address(char ret[static HOST_BYTES])
{
	struct ifaddrs *all = NULL;
	char text[INET6_ADDRSTRLEN];
	int best = 0;

	(void)snprintf(ret, HOST_BYTES, "[::1]"); /* fits */
	if (getifaddrs(&all) < 0)
		return;
	for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
		if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || i->ifa_flags & IFF_LOOPBACK)
			continue;
		if (i->ifa_addr->sa_family == AF_INET6 && best < 2) {
			const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr;
			if (!is_global6(a) || !inet_ntop(AF_INET6, a, text, sizeof(text)))
				continue;
			(void)snprintf(ret, HOST_BYTES, "[%s]", text); /* fits */
			best = 2;
		} else if (i->ifa_addr->sa_family == AF_INET && best < 1) {
			const struct in_addr *a = &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr;
			if (!inet_ntop(AF_INET, a, text, sizeof(text)))
				continue;
			(void)snprintf(ret, HOST_BYTES, "%s", text); /* fits */
			best = 1;
		}
	}
	freeifaddrs(all);
}

/* "coap://[::]:5683" with another host where it stands for every address; the scheme's own port is left out. Empty: it does not fit. */
static void origin_of(const struct gateway *g, const char *address, char ret[static BLE_TD_BASE_BYTES])
{
	const char *configured = g->config->ble.host;
	char host[HOST_BYTES], port[8] = "";
	struct uri u;

	ret[0] = 0;
	if (uri_parse(span_str(address), 0, &u) < 0 || u.host.n >= HOST_BYTES - 2)
		return;
	if (configured[0])
		(void)snprintf(host, sizeof(host), strchr(configured, ':') ? "[%s]" : "%s", configured); /* clipped: refused below */
	else if (span_eq_str(u.host, "::") || span_eq_str(u.host, "0.0.0.0"))
		own_address(host);
	else
		(void)snprintf(host, sizeof(host), u.host_is_ip6 ? "[%.*s]" : "%.*s", SPAN_ARG(u.host)); /* fits */
	if (u.port != uri_default_port(u.scheme))
		(void)snprintf(port, sizeof(port), ":%u", u.port); /* fits */
	if (snprintf(ret, BLE_TD_BASE_BYTES, "%.*s://%s%s", SPAN_ARG(u.scheme), host, port) >= BLE_TD_BASE_BYTES)
		ret[0] = 0;
}

static const char *coap_listener(const struct gateway *g, bool secure)
{
	const char *address;

	for (size_t i = 0; (address = coap_endpoint_address(g->coap, i)); i++)
		if ((strncmp(address, "coaps:", 6) == 0) == secure)
			return address;
	return NULL;
}

bool gateway_ble_base(const struct gateway *g, char ret[static BLE_TD_BASE_BYTES])
{
	const char *address = coap_listener(g, true);

	if (!address)
		address = coap_listener(g, false);
	ret[0] = 0;
	if (address)
		origin_of(g, address, ret);
	return ret[0];
}

/* A base with the path; false: there is no room. */
static bool face_add(struct ble_td_face *f, const char *origin, const char *path, enum ble_td_security security, bool is_http, bool may_write)
{
	*f = (struct ble_td_face){ .security = security, .is_http = is_http, .may_write = may_write };
	return origin[0] && snprintf(f->base, sizeof(f->base), "%s%s", origin, path) < (int)sizeof(f->base);
}

static size_t http_faces(const struct gateway *g, const char *address, struct ble_td_face *ret, size_t max)
{
	char origin[BLE_TD_BASE_BYTES], uri[BLE_TD_BASE_BYTES];
	bool has_token = g->config->http.token_file[0], has_tls = g->config->http.cert_file[0];
	bool is_local = strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]", 5) == 0;
	size_t n = 0;

	(void)snprintf(uri, sizeof(uri), "%s://%.*s", has_tls ? "https" : "http", 120, address); /* fits */
	origin_of(g, uri, origin);
	if (is_local)
		(void)snprintf(origin, sizeof(origin), "%s", uri); /* another name is not served there */
	if (n < max && has_token)
		n += face_add(&ret[n], origin, BLE_HTTP_PREFIX, BLE_TD_BEARER, true, true);
	if (n < max && (!has_token || is_local))
		n += face_add(&ret[n], origin, BLE_HTTP_PREFIX, BLE_TD_NOSEC, true, false);
	return n;
}

size_t gateway_ble_faces(struct gateway *g, struct ble_td_face ret[static BLE_TD_FACES_MAX])
{
	const char *secure = coap_listener(g, true), *plain = coap_listener(g, false), *address;
	char origin[BLE_TD_BASE_BYTES];
	size_t n = 0;

	if (secure) {
		origin_of(g, secure, origin);
		n += face_add(&ret[n], origin, "/" BLE_COAP_PATH "/", BLE_TD_PSK, false, true);
	}
	if (plain && g->config->ble.open) {
		origin_of(g, plain, origin);
		n += face_add(&ret[n], origin, "/" BLE_COAP_PATH "/", BLE_TD_NOSEC, false, false);
	}
	for (size_t i = 0; g->admin && (address = admin_http_address(g->admin, i)); i++)
		if (strncmp(address, "unix:", 5) != 0)
			n += http_faces(g, address, ret + n, BLE_TD_FACES_MAX - n);
	return n;
}
