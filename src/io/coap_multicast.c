#include "io/coap_multicast.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/cursor.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/text.h"
#include "base/time.h"

enum {
	MESSAGE_NON = 0x50, MESSAGE_POST = 0x02, MESSAGE_MARKER = 0xff, MESSAGE_HEADER_BYTES = 4,
	OPTION_URI_PATH = 11, PATH_BYTES = 2,
	DATAGRAM_BYTES_MAX = 1280, RING_MS = 60 * 1000, RECEIVE_BUFFER_BYTES = 256 * 1024,
};

/* ---- addresses ---- */

static bool is_v4(const uint8_t a[static COAP_MULTICAST_ADDRESS_BYTES])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(a, mapped, sizeof(mapped)) == 0;
}

static bool is_multicast(const uint8_t a[static COAP_MULTICAST_ADDRESS_BYTES])
{
	return is_v4(a) ? a[12] >> 4 == 14 : a[0] == 0xff;
}

int coap_multicast_address_parse(struct span text, uint8_t ret[static COAP_MULTICAST_ADDRESS_BYTES])
{
	uint8_t a[COAP_MULTICAST_ADDRESS_BYTES] = { [10] = 0xff, [11] = 0xff };
	char t[INET6_ADDRSTRLEN];

	if (text_copy(t, sizeof(t), text) < 0)
		return -EINVAL;
	if (inet_pton(AF_INET, t, a + 12) != 1 && inet_pton(AF_INET6, t, a) != 1)
		return -EINVAL;
	memcpy(ret, a, sizeof(a));
	return 0;
}

void coap_multicast_address_text(const uint8_t address[static COAP_MULTICAST_ADDRESS_BYTES], char *ret)
{
	if (is_v4(address))
		(void)inet_ntop(AF_INET, address + 12, ret, COAP_ADDR_TEXT_BYTES); /* fits: cannot fail */
	else
		(void)inet_ntop(AF_INET6, address, ret, COAP_ADDR_TEXT_BYTES);
}

bool coap_multicast_is_group(const uint8_t address[static COAP_MULTICAST_ADDRESS_BYTES])
{
	static const uint8_t zeros[13];
	const uint8_t *a = address;

	if (!is_multicast(a))
		return false;
	if (is_v4(a))
		return !(a[12] == 224 && a[13] == 0 && (a[14] == 0 || (a[14] == 1 && a[15] == 187)));
	/* ff0X::N with N a well-known name of all nodes, all routers, all CoAP nodes */
	return !(a[1] >> 4 == 0 && memcmp(a + 2, zeros, sizeof(zeros)) == 0 && (a[15] == 1 || a[15] == 2 || a[15] == 0xfd));
}

struct where {
	struct sockaddr_storage sa;
	socklen_t n;
	int family;
	unsigned ifindex;                      /* 0 = any */
	bool is_group;
};

static int where_of(const struct coap_multicast_group *g, struct where *ret)
{
	struct where w = { .family = is_v4(g->address) ? AF_INET : AF_INET6, .is_group = is_multicast(g->address) };

	if (g->interface && g->interface[0]) {
		w.ifindex = if_nametoindex(g->interface);
		if (w.ifindex == 0)
			return -ENODEV;
	}
	if (w.family == AF_INET) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(g->port) };

		memcpy(&in.sin_addr, g->address + 12, 4);
		memcpy(&w.sa, &in, sizeof(in));
		w.n = sizeof(in);
	} else {
		struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(g->port), .sin6_scope_id = w.ifindex };

		memcpy(&in6.sin6_addr, g->address, 16);
		memcpy(&w.sa, &in6, sizeof(in6));
		w.n = sizeof(in6);
	}
	*ret = w;
	return 0;
}

static int option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* ---- the message ---- */

int coap_multicast_encode(uint16_t message_id, struct span frame, uint8_t *ret, size_t max)
{
	uint8_t h[MESSAGE_HEADER_BYTES + PATH_BYTES + 1] = { MESSAGE_NON, MESSAGE_POST, (uint8_t)(message_id >> 8), (uint8_t)message_id,
							     OPTION_URI_PATH << 4 | 1, 'm', MESSAGE_MARKER };

	if (frame.n == 0 || frame.n > COAP_MULTICAST_FRAME_BYTES_MAX || max < sizeof(h) + frame.n)
		return -EMSGSIZE;
	memcpy(ret, h, sizeof(h));
	memcpy(ret + sizeof(h), frame.p, frame.n);
	return (int)(sizeof(h) + frame.n);
}

/* A nibble of an option's head, with its extension (RFC 7252 3.1). */
static unsigned extended(struct cursor *c, unsigned nibble)
{
	if (nibble == 13)
		return 13u + cur_u8(c);
	if (nibble == 14)
		return 269u + cur_be16(c);
	if (nibble == 15)
		c->bad = true;
	return nibble;
}

int coap_multicast_decode(struct span datagram, uint16_t *ret_message_id, struct span *ret_frame)
{
	struct cursor c = { .s = datagram };
	unsigned number = 0, n_path = 0;
	bool has_payload = false;

	if (cur_u8(&c) != MESSAGE_NON || cur_u8(&c) != MESSAGE_POST)
		return -EBADMSG;
	uint16_t mid = cur_be16(&c);
	while (cur_ok(&c) && cur_left(&c) > 0) {
		uint8_t head = cur_u8(&c);

		if (head == MESSAGE_MARKER) {
			has_payload = true;
			break;
		}
		unsigned delta = extended(&c, head >> 4), n = extended(&c, head & 15);
		struct span v = cur_take(&c, n);

		number += delta;
		if (number == OPTION_URI_PATH) {
			if (++n_path > 1 || !span_eq_str(v, "m"))
				return -EBADMSG;
		} else if (number & 1) { /* critical */
			return -EBADMSG;
		}
	}
	size_t left = cur_left(&c);
	if (!cur_ok(&c) || n_path != 1 || !has_payload || left == 0 || left > COAP_MULTICAST_FRAME_BYTES_MAX)
		return -EBADMSG;
	*ret_message_id = mid;
	*ret_frame = cur_take(&c, left);
	return 0;
}

/* ---- the sender ---- */

struct coap_multicast_sender {
	int fd;
	struct where to;
	uint16_t message_id;
};

static int aim_v4(int fd, const struct where *w, int hops, bool loop)
{
	struct ip_mreqn m = { .imr_ifindex = (int)w->ifindex };

	if (w->ifindex && setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof(m)) < 0)
		return -errno;
	int r = option(fd, IPPROTO_IP, IP_MULTICAST_TTL, hops);
	return r < 0 ? r : option(fd, IPPROTO_IP, IP_MULTICAST_LOOP, loop);
}

static int aim_v6(int fd, const struct where *w, int hops, bool loop)
{
	int r = w->ifindex ? option(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)w->ifindex) : 0;

	if (r == 0)
		r = option(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, hops);
	return r < 0 ? r : option(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, loop);
}

int coap_multicast_sender_open(const struct coap_multicast_group *g, struct coap_multicast_sender **ret)
{
	int hops = g->hop_limit ? g->hop_limit : 1;
	struct where w;

	if (g->port == 0)
		return -EINVAL;
	int r = where_of(g, &w);
	if (r < 0)
		return r;
	_cleanup_close_ int fd = socket(w.family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (w.is_group)
		r = w.family == AF_INET ? aim_v4(fd, &w, hops, g->loop) : aim_v6(fd, &w, hops, g->loop);
	if (r < 0)
		return r;
	struct coap_multicast_sender *s = NEW(struct coap_multicast_sender);
	s->fd = fd;
	fd = -1;
	s->to = w;
	s->message_id = (uint16_t)random_u64();
	*ret = s;
	return 0;
}

struct coap_multicast_sender *coap_multicast_sender_close(struct coap_multicast_sender *s)
{
	if (!s)
		return NULL;
	close(s->fd);
	free(s);
	return NULL;
}

int coap_multicast_send(struct coap_multicast_sender *s, struct span frame)
{
	uint8_t m[MESSAGE_HEADER_BYTES + PATH_BYTES + 1 + COAP_MULTICAST_FRAME_BYTES_MAX];
	int n = coap_multicast_encode(s->message_id, frame, m, sizeof(m));

	if (n < 0)
		return n;
	if (sendto(s->fd, m, (size_t)n, MSG_DONTWAIT, (struct sockaddr *)&s->to.sa, s->to.n) == n) {
		s->message_id++;
		return 0;
	}
	switch (errno) {
	case ENOBUFS:
	case EWOULDBLOCK:
	case EINTR:
	case ENOMEM:
	case ECONNREFUSED: /* an ICMP answer to an earlier one; unicast only */
		return -EAGAIN;
	case ENXIO:
		return -ENODEV;
	case EHOSTUNREACH:
		return -ENETUNREACH;
	default:
		return -errno;
	}
}

/* ---- the receiver ---- */

struct heard_message {
	uint8_t from[COAP_MULTICAST_ADDRESS_BYTES];
	uint16_t port, mid;
	struct mono at;
};

struct coap_multicast_receiver {
	int fd;
	struct loop_io *io;
	coap_multicast_fn *fn;
	void *ctx;
	unsigned ifindex;
	bool is_group;
	struct heard_message ring[COAP_MULTICAST_RING];
	size_t n_ring, at_ring;
	struct coap_multicast_counts counts;
	double loss;
	uint64_t prng;
	bool reading, closed;
};

static bool is_repeat(struct coap_multicast_receiver *r, const struct coap_multicast_heard *h, uint16_t mid)
{
	struct mono now = mono_now();

	for (size_t i = 0; i < r->n_ring; i++) {
		const struct heard_message *m = &r->ring[i];

		if (m->mid == mid && m->port == h->from_port && memcmp(m->from, h->from, sizeof(m->from)) == 0 &&
		    mono_diff_ms(now, m->at) < RING_MS)
			return true;
	}
	struct heard_message *m = &r->ring[r->at_ring];
	*m = (struct heard_message){ .port = h->from_port, .mid = mid, .at = now };
	memcpy(m->from, h->from, sizeof(m->from));
	r->at_ring = (r->at_ring + 1) % COAP_MULTICAST_RING;
	if (r->n_ring < COAP_MULTICAST_RING)
		r->n_ring++;
	return false;
}

/* splitmix64 */
static bool is_lost(struct coap_multicast_receiver *r)
{
	if (r->loss <= 0)
		return false;
	uint64_t z = r->prng += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (double)((z ^ z >> 31) >> 11) * 0x1p-53 < r->loss;
}

static void source_of(const struct sockaddr_storage *sa, struct coap_multicast_heard *ret)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

	memset(ret->from, 0, sizeof(ret->from));
	if (sa->ss_family == AF_INET) {
		memset(ret->from + 10, 0xff, 2);
		memcpy(ret->from + 12, &in->sin_addr, 4);
		ret->from_port = ntohs(in->sin_port);
	} else {
		memcpy(ret->from, &in6->sin6_addr, 16);
		ret->from_port = ntohs(in6->sin6_port);
	}
}

static bool came_by(struct coap_multicast_receiver *r, struct msghdr *m)
{
	if (!r->is_group || !r->ifindex)
		return true;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo i;
			memcpy(&i, CMSG_DATA(c), sizeof(i));
			return i.ipi6_ifindex == r->ifindex;
		}
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo i;
			memcpy(&i, CMSG_DATA(c), sizeof(i));
			return (unsigned)i.ipi_ifindex == r->ifindex;
		}
	}
	return false;
}

/* False: nothing more to read. */
static bool read_one(struct coap_multicast_receiver *r)
{
	uint8_t b[DATAGRAM_BYTES_MAX];
	_Alignas(struct cmsghdr) uint8_t control[256];
	struct sockaddr_storage from;
	struct iovec v = { b, sizeof(b) };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &v, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct coap_multicast_heard h;
	uint16_t mid;

	ssize_t n = recvmsg(r->fd, &m, MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR;
	if (!came_by(r, &m) || is_lost(r))
		return true;
	if (m.msg_flags & MSG_TRUNC || coap_multicast_decode(SPAN(b, (size_t)n), &mid, &h.frame) < 0) {
		r->counts.bad++;
		return true;
	}
	source_of(&from, &h);
	if (is_repeat(r, &h, mid)) {
		r->counts.repeats++;
		return true;
	}
	r->counts.frames++;
	r->fn(r->ctx, &h);
	return true;
}

static void receiver_free(struct coap_multicast_receiver *r)
{
	loop_io_free(r->io);
	close(r->fd);
	free(r);
}

static void on_readable(void *ctx, int fd, unsigned what)
{
	struct coap_multicast_receiver *r = ctx;

	r->reading = true;
	for (int i = 0; i < COAP_MULTICAST_TURN_MAX && !r->closed && read_one(r); i++)
		;
	r->reading = false;
	if (r->closed)
		receiver_free(r);
}

static int join(int fd, const struct coap_multicast_group *g, const struct where *w)
{
	if (w->family == AF_INET) {
		struct ip_mreqn m = { .imr_ifindex = (int)w->ifindex };

		memcpy(&m.imr_multiaddr, g->address + 12, 4);
		(void)option(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0); /* came_by() looks as well */
		int r = option(fd, IPPROTO_IP, IP_PKTINFO, 1);
		return r < 0 ? r : setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)) < 0 ? -errno : 0;
	}
	struct ipv6_mreq m = { .ipv6mr_interface = w->ifindex };
	memcpy(&m.ipv6mr_multiaddr, g->address, 16);
	(void)option(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
	int r = option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	return r < 0 ? r : setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m)) < 0 ? -errno : 0;
}

int coap_multicast_receiver_open(struct loop *l, const struct coap_multicast_group *g, coap_multicast_fn *fn, void *ctx,
				 struct coap_multicast_receiver **ret)
{
	struct where w;
	int r = where_of(g, &w);

	if (r < 0)
		return r;
	_cleanup_close_ int fd = socket(w.family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	r = w.is_group ? option(fd, SOL_SOCKET, SO_REUSEADDR, 1) : 0;
	if (r < 0)
		return r;
	(void)option(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_BYTES); /* less is no error */
	/* Bound to the group's address: nothing sent to another one comes in. */
	if (bind(fd, (struct sockaddr *)&w.sa, w.n) < 0)
		return -errno;
	r = w.is_group ? join(fd, g, &w) : 0;
	if (r < 0)
		return r;
	struct coap_multicast_receiver *s = NEW(struct coap_multicast_receiver);
	*s = (struct coap_multicast_receiver){ .fd = fd, .fn = fn, .ctx = ctx, .ifindex = w.ifindex, .is_group = w.is_group };
	fd = -1;
	s->io = loop_io_new(l, s->fd, LOOP_READ, on_readable, s);
	*ret = s;
	return 0;
}

struct coap_multicast_receiver *coap_multicast_receiver_close(struct coap_multicast_receiver *r)
{
	if (!r)
		return NULL;
	r->closed = true;
	if (!r->reading)
		receiver_free(r);
	return NULL;
}

struct coap_multicast_counts coap_multicast_receiver_counts(const struct coap_multicast_receiver *r)
{
	return r->counts;
}

uint16_t coap_multicast_receiver_port(const struct coap_multicast_receiver *r)
{
	struct sockaddr_storage sa;
	socklen_t n = sizeof(sa);
	struct coap_multicast_heard h;

	if (getsockname(r->fd, (struct sockaddr *)&sa, &n) < 0)
		return 0;
	source_of(&sa, &h);
	return h.from_port;
}

void coap_multicast_receiver_set_loss(struct coap_multicast_receiver *r, double fraction, uint64_t seed)
{
	r->loss = fraction;
	r->prng = seed;
}
