#include "io/udp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"

_Static_assert(UDP_PEER_BYTES >= sizeof(struct sockaddr_in6) && UDP_PEER_BYTES >= sizeof(struct sockaddr_in), "an address fits");

struct udp {
	int fd;
	struct loop_io *io;
	udp_fn *fn;
	void *ctx;
	bool *closed;                          /* set when fn closed it */
};

/* ---- addresses ---- */

static int parse_port(struct span s, uint16_t *ret)
{
	uint64_t v;

	if (text_parse_u64(s, UINT16_MAX, &v, 0) < 0)
		return -EINVAL;
	*ret = (uint16_t)v;
	return 0;
}

/* Host and port apart; a bare IPv6 address has more than one colon. */
static int split(struct span text, uint16_t port, struct span *ret_host, uint16_t *ret_port)
{
	const uint8_t *close = text.n ? memchr(text.p, ']', text.n) : NULL, *colon = text.n ? memchr(text.p, ':', text.n) : NULL;

	*ret_port = port;
	if (text.n && text.p[0] == '[') {
		if (!close)
			return -EINVAL;
		size_t at = (size_t)(close - text.p);
		*ret_host = span_sub(text, 1, at - 1);
		if (at + 1 == text.n)
			return 0;
		return text.p[at + 1] == ':' ? parse_port(span_sub(text, at + 2, text.n), ret_port) : -EINVAL;
	}
	*ret_host = text;
	if (!colon || memchr(colon + 1, ':', text.n - (size_t)(colon + 1 - text.p)))
		return 0;
	*ret_host = span_sub(text, 0, (size_t)(colon - text.p));
	return parse_port(span_sub(text, (size_t)(colon - text.p) + 1, text.n), ret_port);
}

int udp_address_parse(struct span text, uint16_t port, struct udp_address *ret)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct udp_address a = { 0 };
	char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 1], *zone;
	struct span h;

	if (split(text, port, &h, &port) < 0 || text_copy(host, sizeof(host), h) < 0 || strlen(host) != h.n)
		return -EINVAL;
	in.sin_port = in6.sin6_port = htons(port);
	if (inet_pton(AF_INET, host, &in.sin_addr) == 1) {
		memcpy(a.sockaddr, &in, sizeof(in));
		a.n = sizeof(in);
		*ret = a;
		return 0;
	}
	zone = strchr(host, '%');
	if (zone) {
		*zone++ = 0;
		in6.sin6_scope_id = if_nametoindex(zone);
	}
	if (inet_pton(AF_INET6, host, &in6.sin6_addr) != 1)
		return -EINVAL;
	if (zone && in6.sin6_scope_id == 0)
		return -ENODEV;
	memcpy(a.sockaddr, &in6, sizeof(in6));
	a.n = sizeof(in6);
	*ret = a;
	return 0;
}

static int family_of(const struct udp_address *a)
{
	struct sockaddr sa;

	memcpy(&sa, a->sockaddr, sizeof(sa));
	return sa.sa_family;
}

const char *udp_address_text(const struct udp_address *a, char ret[static UDP_ADDRESS_TEXT_BYTES])
{
	char host[INET6_ADDRSTRLEN] = "?", name[IF_NAMESIZE], zone[IF_NAMESIZE + 1] = "";

	if (family_of(a) == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, a->sockaddr, sizeof(in));
		(void)inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host)); /* fits */
		(void)snprintf(ret, UDP_ADDRESS_TEXT_BYTES, "%s:%u", host, ntohs(in.sin_port)); /* fits */
		return ret;
	}
	struct sockaddr_in6 in6;
	memcpy(&in6, a->sockaddr, sizeof(in6));
	(void)inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host)); /* fits */
	if (in6.sin6_scope_id && if_indextoname(in6.sin6_scope_id, name))
		(void)snprintf(zone, sizeof(zone), "%%%s", name); /* fits */
	(void)snprintf(ret, UDP_ADDRESS_TEXT_BYTES, "[%s%s]:%u", host, zone, ntohs(in6.sin6_port)); /* fits */
	return ret;
}

int udp_source(const struct udp_address *to, struct udp_address *ret)
{
	union { struct sockaddr sa; uint8_t b[UDP_PEER_BYTES]; } sa;
	_cleanup_close_ int fd = socket(family_of(to), SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t n = sizeof(sa);

	if (fd < 0)
		return -errno;
	memcpy(sa.b, to->sockaddr, sizeof(sa.b));
	if (connect(fd, &sa.sa, to->n) < 0 || getsockname(fd, &sa.sa, &n) < 0)
		return -errno;
	*ret = (struct udp_address){ .n = n };
	memcpy(ret->sockaddr, sa.b, n);
	return 0;
}

unsigned udp_address_bytes(const struct udp_address *a, uint8_t ret[static 16])
{
	struct sockaddr_in6 in6;
	struct sockaddr_in in;

	if (family_of(a) == AF_INET) {
		memcpy(&in, a->sockaddr, sizeof(in));
		memset(ret, 0, 10);
		memset(ret + 10, 0xff, 2);
		memcpy(ret + 12, &in.sin_addr, 4);
		return 0;
	}
	memcpy(&in6, a->sockaddr, sizeof(in6));
	memcpy(ret, &in6.sin6_addr, 16);
	return IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr) ? in6.sin6_scope_id : 0;
}

/* ---- the socket ---- */

static bool read_one(struct udp *u)
{
	uint8_t data[UDP_DATAGRAM_BYTES_MAX + 1];
	struct udp_address from = { .n = sizeof(from.sockaddr) };
	socklen_t n_from = sizeof(from.sockaddr);
	union { struct sockaddr sa; struct sockaddr_in6 in6; } sa;

	n_from = sizeof(sa);
	ssize_t n = recvfrom(u->fd, data, sizeof(data), MSG_DONTWAIT, &sa.sa, &n_from);
	if (n < 0)
		return errno == ECONNREFUSED; /* an earlier datagram met nobody: read on */
	if (n > UDP_DATAGRAM_BYTES_MAX || n_from > sizeof(from.sockaddr))
		return true;
	memcpy(from.sockaddr, &sa, n_from);
	from.n = n_from;
	u->fn(u->ctx, &from, SPAN(data, (size_t)n));
	return true;
}

static void on_readable(void *ctx, int fd, unsigned what)
{
	struct udp *u = ctx;
	bool closed = false;

	(void)fd;
	(void)what;
	u->closed = &closed;
	for (int i = 0; i < UDP_TURN_MAX && read_one(u); i++)
		if (closed)
			return;
	u->closed = NULL;
}

static int open_socket(struct loop *l, const struct udp_address *a, bool is_server, udp_fn *fn, void *ctx, struct udp **ret)
{
	union { struct sockaddr sa; uint8_t b[UDP_PEER_BYTES]; } sa;
	int fd = socket(family_of(a), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	memcpy(sa.b, a->sockaddr, sizeof(sa.b));
	if ((is_server ? bind(fd, &sa.sa, a->n) : connect(fd, &sa.sa, a->n)) < 0) {
		int r = -errno;

		(void)close(fd); /* the first error is the one to tell */
		return r;
	}
	struct udp *u = NEW(struct udp);
	u->fd = fd;
	u->fn = fn;
	u->ctx = ctx;
	u->io = loop_io_new(l, fd, LOOP_READ, on_readable, u);
	*ret = u;
	return 0;
}

int udp_connect(struct loop *l, const struct udp_address *peer, udp_fn *fn, void *ctx, struct udp **ret)
{
	return open_socket(l, peer, false, fn, ctx, ret);
}

int udp_listen(struct loop *l, const struct udp_address *local, udp_fn *fn, void *ctx, struct udp **ret)
{
	return open_socket(l, local, true, fn, ctx, ret);
}

struct udp *udp_close(struct udp *u)
{
	if (!u)
		return NULL;
	if (u->closed)
		*u->closed = true;
	loop_io_free(u->io);
	(void)close(u->fd); /* nothing left to do about an error here */
	free(u);
	return NULL;
}

int udp_send(struct udp *u, const struct udp_address *to, struct span datagram)
{
	union { struct sockaddr sa; uint8_t b[UDP_PEER_BYTES]; } sa;

	if (to)
		memcpy(sa.b, to->sockaddr, sizeof(sa.b));
	ssize_t n = sendto(u->fd, datagram.p, datagram.n, MSG_DONTWAIT | MSG_NOSIGNAL, to ? &sa.sa : NULL, to ? to->n : 0);
	return n < 0 ? -errno : 0;
}

int udp_local(const struct udp *u, struct udp_address *ret)
{
	union { struct sockaddr sa; uint8_t b[UDP_PEER_BYTES]; } sa;
	socklen_t n = sizeof(sa);

	if (getsockname(u->fd, &sa.sa, &n) < 0 || n > sizeof(sa))
		return -errno;
	*ret = (struct udp_address){ .n = n };
	memcpy(ret->sockaddr, sa.b, n);
	return 0;
}
