#include "io/coap_lib.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "base/text.h"

enum { FD_SCAN_MAX = 65536 };

static int prng(void *buf, size_t n)
{
	random_bytes(buf, n);
	return 1;
}

/* libcoap's alarms ("got RST") are everyday events here, so all of it is debug. */
static void log_out(coap_log_t level, const char *message)
{
	size_t n = strlen(message);

	while (n > 0 && message[n - 1] == '\n')
		n--;
	log_line(LOG_DEBUG, "libcoap: %.*s", (int)n, message);
}

void coap_lib_start(void)
{
	static bool started;

	if (started)
		return;
	started = true;
	coap_startup();
	coap_set_prng(prng);
	coap_set_log_handler(log_out);
	/* Below LOG_ERR it reports every empty read, which our burst reading makes on purpose. */
	coap_set_log_level(LOG_ERR);
	coap_dtls_set_log_level(LOG_ERR);
}

static int parse_port(struct span s, uint16_t *ret)
{
	uint64_t v;
	int r = text_parse_u64(s, UINT16_MAX, &v, TEXT_LEADING_ZEROS);

	if (r < 0)
		return -EINVAL;
	*ret = (uint16_t)v;
	return 0;
}

int coap_uri_parse(struct span text, struct coap_uri *ret)
{
	struct coap_uri u = { 0 };
	struct span host, rest;
	const uint8_t *end;

	if (span_starts(text, SPAN_LIT("coap://"))) {
		rest = span_sub(text, 7, text.n);
	} else if (span_starts(text, SPAN_LIT("coaps://"))) {
		u.secure = true;
		rest = span_sub(text, 8, text.n);
	} else {
		return -EINVAL;
	}
	if (rest.n > 0 && rest.p[rest.n - 1] == '/')
		rest.n--;
	u.port = u.secure ? COAPS_DEFAULT_PORT : COAP_DEFAULT_PORT;
	if (rest.n > 0 && rest.p[0] == '[') {
		end = memchr(rest.p, ']', rest.n);
		if (!end)
			return -EINVAL;
		host = SPAN(rest.p + 1, (size_t)(end - rest.p - 1));
		rest = span_sub(rest, host.n + 2, rest.n);
	} else {
		end = rest.n ? memchr(rest.p, ':', rest.n) : NULL;
		host = end ? SPAN(rest.p, (size_t)(end - rest.p)) : rest;
		rest = span_sub(rest, host.n, rest.n);
	}
	if (host.n == 0 || memchr(host.p, '/', host.n))
		return -EINVAL;
	if (rest.n > 0 && (rest.p[0] != ':' || parse_port(span_sub(rest, 1, rest.n), &u.port) < 0))
		return -EINVAL;
	if (text_copy(u.host, sizeof(u.host), host) < 0)
		return -EMSGSIZE;
	*ret = u;
	return 0;
}

int coap_lib_resolve(const struct coap_uri *uri, bool by_name, coap_address_t *ret)
{
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_flags = by_name ? AI_ADDRCONFIG : AI_NUMERICHOST };
	struct addrinfo *list = NULL;

	hints.ai_flags |= AI_NUMERICSERV;
	if (by_name) { /* AI_ADDRCONFIG would refuse ::1 on a machine with only IPv4 */
		struct coap_uri literal = *uri;

		if (coap_lib_resolve(&literal, false, ret) == 0)
			return 0;
	}
	if (getaddrinfo(uri->host, NULL, &hints, &list) != 0 || !list)
		return by_name ? -ENOENT : -EINVAL;
	coap_address_init(ret);
	memcpy(&ret->addr, list->ai_addr, list->ai_addrlen);
	ret->size = list->ai_addrlen;
	coap_address_set_port(ret, uri->port);
	freeaddrinfo(list);
	return 0;
}

static void key_address(const coap_address_t *a, struct coap_peer_key *ret)
{
	if (a->addr.sa.sa_family == AF_INET) {
		memset(ret->addr, 0, 10);
		memset(ret->addr + 10, 0xff, 2);
		memcpy(ret->addr + 12, &a->addr.sin.sin_addr, 4);
	} else {
		memcpy(ret->addr, &a->addr.sin6.sin6_addr, 16);
		ret->scope = a->addr.sin6.sin6_scope_id;
	}
	ret->port = coap_address_get_port(a);
}

void coap_lib_key_of(const coap_address_t *remote, uint16_t local_port, struct coap_peer_key *ret)
{
	memset(ret, 0, sizeof(*ret));
	key_address(remote, ret);
	ret->local_port = local_port;
}

void coap_lib_peer_key(const coap_session_t *session, struct coap_peer_key *ret)
{
	coap_lib_key_of(coap_session_get_addr_remote(session), coap_address_get_port(coap_session_get_addr_local(session)), ret);
}

void coap_lib_address_text(const struct sockaddr *sa, char ret[static COAP_ADDR_TEXT_BYTES])
{
	char host[INET6_ADDRSTRLEN] = "?";
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

	if (sa->sa_family == AF_INET) {
		(void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host)); /* fits: cannot fail */
		(void)snprintf(ret, COAP_ADDR_TEXT_BYTES, "%s:%u", host, ntohs(in->sin_port));
	} else if (sa->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		(void)inet_ntop(AF_INET, in6->sin6_addr.s6_addr + 12, host, sizeof(host));
		(void)snprintf(ret, COAP_ADDR_TEXT_BYTES, "%s:%u", host, ntohs(in6->sin6_port));
	} else if (sa->sa_family == AF_INET6) {
		(void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		(void)snprintf(ret, COAP_ADDR_TEXT_BYTES, "[%s]:%u", host, ntohs(in6->sin6_port));
	} else {
		(void)snprintf(ret, COAP_ADDR_TEXT_BYTES, "?");
	}
}

/* FNV-1a of the interface's name; the index where it has none. Never 0, which is no link, nor the largest, which is loopback's. */
static uint32_t link_of(unsigned index)
{
	char name[IF_NAMESIZE];
	uint32_t h = 2166136261u;

	if (index == 0 || !if_indextoname(index, name))
		return index;
	for (const char *p = name; *p; p++)
		h = (h ^ (uint8_t)*p) * 16777619u;
	return h == 0 || h == UINT32_MAX ? 1 : h;
}

void coap_lib_peer(const coap_session_t *session, struct coap_peer *ret)
{
	const coap_address_t *a = coap_session_get_addr_remote(session);
	struct coap_peer_key key;
	struct in6_addr in6;

	memset(&key, 0, sizeof(key));
	key_address(a, &key);
	memcpy(&in6, key.addr, sizeof(in6));
	coap_lib_address_text(&a->addr.sa, ret->addr);
	ret->port = key.port;
	ret->is_loopback = IN6_IS_ADDR_V4MAPPED(&in6) ? key.addr[12] == 127 : IN6_IS_ADDR_LOOPBACK(&in6);
	ret->is_link_local = IN6_IS_ADDR_V4MAPPED(&in6) ? key.addr[12] == 169 && key.addr[13] == 254
							: IN6_IS_ADDR_LINKLOCAL(&in6);
	ret->interface = (unsigned)coap_session_get_ifindex(session);
	ret->link = ret->is_link_local ? link_of(ret->interface) : 0;
	ret->secure = coap_session_get_proto(session) == COAP_PROTO_DTLS;
}

static bool bound_to(int fd, const coap_address_t *local)
{
	coap_address_t a;
	socklen_t n = sizeof(a.addr);

	coap_address_init(&a);
	if (getsockname(fd, &a.addr.sa, &n) < 0)
		return false;
	a.size = n;
	return coap_address_equals(&a, local);
}

/* libcoap 4.3.1 has no call that tells a socket's descriptor. A descriptor is libcoap's exactly when its epoll
 * set already holds it: adding it again fails with EEXIST. */
static bool is_socket_of(int epfd, int fd)
{
	struct epoll_event ev = { 0 };
	socklen_t n = sizeof(int);
	int type;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 || type != SOCK_DGRAM)
		return false;
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return errno == EEXIST;
	(void)epoll_ctl(epfd, EPOLL_CTL_DEL, fd, &ev); /* added just now */
	return false;
}

int coap_lib_find_socket(const coap_context_t *ctx, const coap_address_t *local, int hint, const int *known,
			 size_t n_known)
{
	int epfd = coap_context_get_coap_fd(ctx);
	long max = sysconf(_SC_OPEN_MAX);

	if (hint >= 0 && is_socket_of(epfd, hint) && (!local || bound_to(hint, local)))
		return hint;
	if (max < 0 || max > FD_SCAN_MAX)
		max = FD_SCAN_MAX;
	for (int fd = 0; fd < max; fd++) {
		bool seen = false;

		for (size_t i = 0; i < n_known; i++)
			seen = seen || known[i] == fd;
		if (!seen && is_socket_of(epfd, fd) && (!local || bound_to(fd, local)))
			return fd;
	}
	return -ENOENT;
}

bool coap_lib_is_local(const coap_address_t *addr)
{
	_cleanup_close_ int fd = socket(addr->addr.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	coap_address_t a = *addr;

	if (fd < 0)
		return false;
	coap_address_set_port(&a, 0);
	return bind(fd, &a.addr.sa, a.size) == 0;
}

bool coap_lib_add_uint(coap_pdu_t *pdu, coap_option_num_t number, uint64_t value)
{
	uint8_t b[8];

	return coap_add_option(pdu, number, coap_encode_var_safe8(b, sizeof(b), value), b) != 0;
}

bool coap_lib_add_bytes(coap_pdu_t *pdu, coap_option_num_t number, struct span value)
{
	return coap_add_option(pdu, number, value.n, value.p) != 0;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static size_t unescape(struct span s, uint8_t *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		int hi = s.p[i] == '%' && i + 2 < s.n ? hex((char)s.p[i + 1]) : -1;
		int lo = hi >= 0 ? hex((char)s.p[i + 2]) : -1;

		ret[n++] = lo >= 0 ? (uint8_t)(hi << 4 | lo) : s.p[i];
		i += lo >= 0 ? 2 : 0;
	}
	return n;
}

bool coap_lib_add_path(coap_pdu_t *pdu, const char *path)
{
	struct span rest = span_str(path);
	uint8_t segment[COAP_SEGMENT_BYTES_MAX];

	if (rest.n > 0 && rest.p[0] == '/')
		rest = span_sub(rest, 1, rest.n);
	while (rest.n > 0) {
		const uint8_t *end = memchr(rest.p, '/', rest.n);
		struct span part = end ? SPAN(rest.p, (size_t)(end - rest.p)) : rest;

		if (part.n > sizeof(segment))
			return false;
		if (!coap_lib_add_bytes(pdu, COAP_OPTION_URI_PATH, SPAN(segment, unescape(part, segment))))
			return false;
		rest = span_sub(rest, part.n + 1, rest.n);
	}
	return true;
}

struct span coap_lib_option(const coap_opt_t *opt)
{
	return SPAN(coap_opt_value(opt), coap_opt_length(opt));
}

uint64_t coap_lib_uint(const coap_opt_t *opt)
{
	struct span s = coap_lib_option(opt);
	uint64_t v = 0;

	for (size_t i = 0; i < s.n && i < sizeof(v); i++)
		v = v << 8 | s.p[i];
	return v;
}
