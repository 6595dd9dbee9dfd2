#include "radio/lowpan_advert.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "codec/router_advert.h"

enum { HOPS = 255, TURN_MAX = 16, DATAGRAM_BYTES = 1280, NO_ADDRESS_MS = 200 };

struct lowpan_advert {
	struct lowpan_advert_config c;
	char name[16];
	int fd;
	struct loop_io *io;
	struct loop_timer *timer;
	unsigned n_sent;
	struct mono sent_at, due_at;
	bool is_failing, is_router;
};

/* The address that the kernel would send from. An advertisement from any other than a link-local one is ignored by all (RFC 4861
 * section 6.1.2), and an interface that came up just now may not have it yet: -EADDRNOTAVAIL. */
static int link_local(const struct sockaddr_in6 *to, struct in6_addr *ret)
{
	_cleanup_close_ int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 from = { 0 };
	socklen_t n = sizeof(from);

	if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &to->sin6_scope_id, sizeof(to->sin6_scope_id)) < 0 ||
	    connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0 || getsockname(fd, (struct sockaddr *)&from, &n) < 0)
		return -errno;
	*ret = from.sin6_addr;
	return IN6_IS_ADDR_LINKLOCAL(ret) ? 0 : -EADDRNOTAVAIL;
}

static int send_from(int fd, const struct in6_addr *from, const struct sockaddr_in6 *to, struct span b)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = { 0 };
	struct in6_pktinfo info = { .ipi6_addr = *from, .ipi6_ifindex = to->sin6_scope_id };
	struct iovec v = { (void *)(uintptr_t)b.p, b.n };
	struct msghdr m = { .msg_name = (void *)(uintptr_t)to, .msg_namelen = sizeof(*to), .msg_iov = &v, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = IPPROTO_IPV6;
	c->cmsg_type = IPV6_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(info));
	memcpy(CMSG_DATA(c), &info, sizeof(info));
	return sendmsg(fd, &m, MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int send_advert(struct lowpan_advert *a, bool is_last)
{
	struct sockaddr_in6 all = { .sin6_family = AF_INET6, .sin6_scope_id = a->c.index, .sin6_addr.s6_addr = { 0xff, 0x02, [15] = 1 } };
	struct in6_addr from;
	struct router_advert ra = { .n_lladdr = a->c.n_lladdr, .mtu = a->c.mtu, .n_prefixes = 1 };
	_cleanup_buf_ struct buf b = { 0 };

	memcpy(ra.lladdr, a->c.lladdr, a->c.n_lladdr);
	ra.prefixes[0] = (struct router_prefix){ .bits = a->c.bits, .on_link = true, .autonomous = a->c.bits == 64,
						 .valid_s = ADVERT_VALID_S, .preferred_s = ADVERT_PREFERRED_S };
	memcpy(ra.prefixes[0].prefix, a->c.prefix, sizeof(ra.prefixes[0].prefix));
	if (!is_last && a->is_router)
		ra.lifetime_s = ADVERT_LIFETIME_S;
	int r = router_advert_encode(&ra, &b);
	if (r == 0)
		r = link_local(&all, &from);
	return r < 0 ? r : send_from(a->fd, &from, &all, buf_span(&b));
}

/* Between the least and the most that RFC 4861 wants, and not in step with others. */
static int64_t interval_ms(const struct lowpan_advert *a)
{
	if (a->n_sent < ADVERT_INITIAL)
		return ADVERT_INITIAL_MS;
	return ADVERT_MIN_MS + (int64_t)(random_u64() % (ADVERT_MAX_MS - ADVERT_MIN_MS));
}

static void set_due(struct lowpan_advert *a, int64_t in_ms)
{
	a->due_at = mono_add_ms(mono_now(), in_ms);
	loop_timer_set(a->timer, in_ms);
}

static void on_timer(void *ctx)
{
	struct lowpan_advert *a = ctx;
	int r = send_advert(a, false);

	if (r == -EADDRNOTAVAIL) {
		set_due(a, NO_ADDRESS_MS);
		return;
	}
	a->sent_at = mono_now();
	if (r < 0 && !a->is_failing)
		log_line(LOG_WARNING, "%s: a router advertisement was not sent: %s", a->name, strerror(-r));
	a->is_failing = r < 0;
	if (r == 0 && a->n_sent < ADVERT_INITIAL)
		a->n_sent++;
	set_due(a, r < 0 ? ADVERT_GAP_MS : interval_ms(a));
}

/* Whoever solicits is answered to all, soon, but not more often than every few seconds. */
static void solicited(struct lowpan_advert *a)
{
	int64_t in_ms = (int64_t)(random_u64() % ADVERT_ANSWER_MS);
	int64_t earliest_ms = a->n_sent ? ADVERT_GAP_MS - mono_diff_ms(mono_now(), a->sent_at) : 0;

	if (in_ms < earliest_ms)
		in_ms = earliest_ms;
	if (mono_diff_ms(a->due_at, mono_now()) > in_ms)
		set_due(a, in_ms);
}

static bool has_hop_limit(struct msghdr *m)
{
	int hops;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT) {
			memcpy(&hops, CMSG_DATA(c), sizeof(hops));
			return hops == HOPS;   /* it came from this very link */
		}
	return false;
}

static void on_readable(void *ctx, int fd, unsigned what)
{
	struct lowpan_advert *a = ctx;

	(void)what;
	for (int i = 0; i < TURN_MAX; i++) {
		_Alignas(struct cmsghdr) uint8_t control[128];
		uint8_t b[DATAGRAM_BYTES];
		struct iovec v = { b, sizeof(b) };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);

		if (n < 0)
			return;
		if (!(m.msg_flags & MSG_TRUNC) && has_hop_limit(&m) && router_solicit_decode(SPAN(b, (size_t)n)) == 0)
			solicited(a);
	}
}

static int set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int set_up(int fd, const struct lowpan_advert_config *c)
{
	struct ipv6_mreq routers = { .ipv6mr_interface = c->index };
	struct icmp6_filter filter;
	int r = setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, c->interface, (socklen_t)strlen(c->interface) + 1) < 0 ? -errno : 0;

	ICMP6_FILTER_SETBLOCKALL(&filter);
	ICMP6_FILTER_SETPASS(ND_ROUTER_SOLICIT, &filter);
	if (r == 0 && setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof(filter)) < 0)
		r = -errno;
	r = r < 0 ? r : set_option(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)c->index);
	r = r < 0 ? r : set_option(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, HOPS);
	r = r < 0 ? r : set_option(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0);
	r = r < 0 ? r : set_option(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, HOPS);
	r = r < 0 ? r : set_option(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
	routers.ipv6mr_multiaddr = (struct in6_addr){ .s6_addr = { 0xff, 0x02, [15] = 2 } };
	if (r == 0 && setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &routers, sizeof(routers)) < 0)
		r = -errno;
	return r;
}

int lowpan_advert_open(struct loop *l, const struct lowpan_advert_config *c, struct lowpan_advert **ret)
{
	_cleanup_close_ int fd = socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMPV6);

	if (fd < 0)
		return errno == EACCES ? -EPERM : -errno;
	int r = set_up(fd, c);
	if (r < 0)
		return r;
	struct lowpan_advert *a = NEW(struct lowpan_advert);
	a->c = *c;
	(void)snprintf(a->name, sizeof(a->name), "%s", c->interface); /* an interface's name fits */
	a->c.interface = a->name;
	a->fd = fd;
	fd = -1;
	a->timer = loop_timer_new(l, on_timer, a);
	a->io = loop_io_new(l, a->fd, LOOP_READ, on_readable, a);
	set_due(a, 0);
	*ret = a;
	return 0;
}

void lowpan_advert_set_router(struct lowpan_advert *a, bool is_router)
{
	if (a->is_router == is_router)
		return;
	a->is_router = is_router;
	if (a->n_sent)
		set_due(a, ADVERT_GAP_MS);     /* the nodes want to know */
}

struct lowpan_advert *lowpan_advert_close(struct lowpan_advert *a)
{
	if (!a)
		return NULL;
	if (a->is_router)
		(void)send_advert(a, true); /* no longer a router; best effort */
	loop_io_free(a->io);
	loop_timer_free(a->timer);
	(void)close(a->fd); /* nothing left to do about an error here */
	free(a);
	return NULL;
}
