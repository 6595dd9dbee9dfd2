/* The real kernel, in a network namespace of this process: a tunnel named like a Thread border router's interface comes, goes and comes
 * back with another index; its address, its airtime, its neighbours, and the router advertisements that come out of the tunnel. */
#include "radio/lowpan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "codec/router_advert.h"
#include "io/udp.h"

static const uint8_t ours[16] = { 0xfd, 0, 0, 0x15, 0, 4, [15] = 1 };

struct place {
	struct loop *loop;
	struct lowpan *p;
	int tun;
	char events[256];
	unsigned n_levels;
};

/* Root of a namespace of our own: nothing on this machine changes. */
static bool alone(void)
{
	return unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
}

static int tun_new(const char *name)
{
	struct ifreq r = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &r) < 0) {
		int e = -errno;
		close(fd);
		return e;
	}
	return fd;
}

static void set_up(const char *name, bool up)
{
	struct ifreq r = { 0 };
	_cleanup_close_ int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &r), 0);
	r.ifr_flags = (short)(up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &r), 0);
}

static void on_interface(void *ctx, const char *name, enum lowpan_kind kind, bool is_up)
{
	struct place *p = ctx;
	size_t n = strlen(p->events);

	(void)snprintf(p->events + n, sizeof(p->events) - n, "%s/%s/%s ", name, lowpan_kind_name(kind), is_up ? "up" : "down");
}

static void on_level(void *ctx, const char *name, enum airtime_level level)
{
	((struct place *)ctx)->n_levels++;
}

static bool turn_until(struct place *p, bool (*test)(struct place *p))
{
	for (int i = 0; i < 500; i++) {
		if (test(p))
			return true;
		(void)loop_run_for(p->loop, 10); /* it times out */
	}
	return false;
}

static struct lowpan_view view(struct place *p, const char *name)
{
	struct lowpan_view v;

	for (bool more = lowpan_next(p->p, NULL, &v); more; more = lowpan_next(p->p, v.name, &v))
		if (strcmp(v.name, name) == 0)
			return v;
	return (struct lowpan_view){ 0 };
}

static bool is_here(struct place *p)
{
	return view(p, "wpan0").index != 0;
}

static bool is_gone(struct place *p)
{
	return view(p, "wpan0").index == 0;
}

static bool is_down(struct place *p)
{
	struct lowpan_view v = view(p, "wpan0");

	return !v.is_up && !v.address[0];
}

static bool has_address(struct place *p)
{
	return strcmp(view(p, "wpan0").address, "fd00:15:4::1/64") == 0;
}

static void place_open(struct place *p)
{
	static const struct lowpan_ops ops = { .interface = on_interface, .level = on_level };
	int r;

	*p = (struct place){ .loop = loop_new(), .tun = -1 };
	p->p = lowpan_new(p->loop, &ops, p, &r);
	assert_int_equal(r, 0);
}

static void place_close(struct place *p)
{
	lowpan_free(p->p);
	loop_free(p->loop);
	if (p->tun >= 0)
		close(p->tun);
}

static void a_tunnel_named_wpan_is_watched_without_being_configured(void **state)
{
	struct place p;
	int other;

	place_open(&p);
	other = tun_new("tunnel");
	assert_true(other >= 0);
	p.tun = tun_new("wpan0");
	assert_true(p.tun >= 0);
	assert_true(turn_until(&p, is_here));
	struct lowpan_view v = view(&p, "wpan0");
	assert_int_equal(v.kind, LOWPAN_THREAD);
	assert_false(v.is_up);
	assert_false(v.is_configured);
	assert_int_equal(lowpan_block_bytes(p.p, v.index), LOWPAN_BLOCK_THREAD);
	assert_string_equal(lowpan_name(p.p, v.index), "wpan0");
	assert_int_equal(lowpan_block_bytes(p.p, if_nametoindex("lo")), 0);
	assert_string_equal(lowpan_name(p.p, if_nametoindex("tunnel")), "");
	close(p.tun);
	p.tun = -1;
	close(other);
	assert_true(turn_until(&p, is_gone));
	assert_string_equal(p.events, "wpan0/thread/down wpan0/thread/down ");
	place_close(&p);
}

/* SLP-1 */
static void what_was_asked_for_is_done_again_when_it_comes_back_with_another_index(void **state)
{
	struct lowpan_settings s = { .interface = "wpan0", .kind = LOWPAN_THREAD, .address_bits = 64, .block_bytes = 128, .pan_id = LOWPAN_PAN_ANY,
				     .short_address = LOWPAN_SHORT_ANY, .channel = LOWPAN_CHANNEL_ANY };
	unsigned first = 0;
	struct place p;

	place_open(&p);
	memcpy(s.address, ours, sizeof(ours));
	lowpan_set(p.p, &s, 1);
	assert_string_equal(view(&p, "wpan0").name, "wpan0");          /* listed before it is there */
	for (int round = 0; round < 2; round++) {
		p.tun = tun_new("wpan0");
		assert_true(p.tun >= 0);
		set_up("wpan0", true);
		assert_true(turn_until(&p, has_address));
		struct lowpan_view v = view(&p, "wpan0");
		assert_int_not_equal(v.index, first);
		first = v.index;
		assert_int_equal(lowpan_block_bytes(p.p, v.index), 128);
		assert_int_equal(lowpan_index_of(p.p, ours), v.index);
		set_up("wpan0", false);                                /* the kernel forgets its addresses */
		assert_true(turn_until(&p, is_down));
		set_up("wpan0", true);
		assert_true(turn_until(&p, has_address));
		close(p.tun);
		p.tun = -1;
		assert_true(turn_until(&p, is_gone));
		assert_int_equal(lowpan_block_bytes(p.p, first), 0);
	}
	place_close(&p);
}

/* ---- what comes out of the tunnel ---- */

static struct router_advert heard;

/* Whether an advertisement came, from a link-local address, to all nodes, with the hop limit that proves the link. */
static bool take_advert(struct place *p)
{
	struct router_advert a;
	struct ip6_hdr h;
	uint8_t b[2048];
	ssize_t n;

	while ((n = read(p->tun, b, sizeof(b))) > 0) {
		if ((size_t)n < sizeof(h))
			continue;
		memcpy(&h, b, sizeof(h));
		if (h.ip6_nxt != IPPROTO_ICMPV6 || router_advert_decode(SPAN(b + sizeof(h), (size_t)n - sizeof(h)), &a) < 0)
			continue;
		assert_int_equal(h.ip6_hlim, 255);
		assert_true(IN6_IS_ADDR_LINKLOCAL(&h.ip6_src));
		assert_true(IN6_IS_ADDR_MULTICAST(&h.ip6_dst) && h.ip6_dst.s6_addr[1] == 2 && h.ip6_dst.s6_addr[15] == 1);
		heard = a;
		return true;
	}
	return false;
}

static uint16_t checksum(const struct ip6_hdr *h, const uint8_t *b, size_t n)
{
	uint32_t sum = IPPROTO_ICMPV6 + (uint32_t)n;
	uint8_t pseudo[32];

	memcpy(pseudo, &h->ip6_src, 16);
	memcpy(pseudo + 16, &h->ip6_dst, 16);
	for (size_t i = 0; i < 32; i += 2)
		sum += (uint32_t)pseudo[i] << 8 | pseudo[i + 1];
	for (size_t i = 0; i < n; i += 2)
		sum += (uint32_t)b[i] << 8 | b[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void solicit(struct place *p, uint8_t hops)
{
	struct ip6_hdr h = { .ip6_flow = htonl(6u << 28), .ip6_plen = htons(8), .ip6_nxt = IPPROTO_ICMPV6, .ip6_hlim = hops };
	uint8_t rs[8] = { 133 }, b[sizeof(h) + 8];
	uint16_t sum;

	h.ip6_src = (struct in6_addr){ .s6_addr = { 0xfe, 0x80, [15] = 9 } };
	h.ip6_dst = (struct in6_addr){ .s6_addr = { 0xff, 0x02, [15] = 2 } };
	sum = checksum(&h, rs, sizeof(rs));
	memcpy(rs + 2, &sum, 2);
	memcpy(b, &h, sizeof(h));
	memcpy(b + sizeof(h), rs, sizeof(rs));
	assert_int_equal(write(p->tun, b, sizeof(b)), sizeof(b));
}

static void a_prefix_is_offered_at_start_and_to_who_solicits(void **state)
{
	struct lowpan_settings s = { .interface = "wpan0", .kind = LOWPAN_THREAD, .address_bits = 64, .advertise = true, .pan_id = LOWPAN_PAN_ANY,
				     .short_address = LOWPAN_SHORT_ANY, .channel = LOWPAN_CHANNEL_ANY };
	struct place p;

	place_open(&p);
	memcpy(s.address, ours, sizeof(ours));
	lowpan_set(p.p, &s, 1);
	p.tun = tun_new("wpan0");
	assert_true(p.tun >= 0);
	set_up("wpan0", true);
	assert_true(turn_until(&p, take_advert));
	assert_true(view(&p, "wpan0").is_advertising);
	assert_int_equal(heard.n_prefixes, 1);
	assert_int_equal(heard.prefixes[0].bits, 64);
	assert_true(heard.prefixes[0].on_link && heard.prefixes[0].autonomous);
	assert_memory_equal(heard.prefixes[0].prefix, ours, 8);
	assert_int_equal(heard.lifetime_s, 0);                         /* this namespace forwards nothing */
	assert_int_equal(heard.n_lladdr, 0);                           /* a tunnel has none */
	solicit(&p, 64);                                               /* from somewhere else: not answered */
	solicit(&p, 255);
	assert_true(turn_until(&p, take_advert));                      /* within three and a half seconds, not in sixteen */
	place_close(&p);
}

/* What is sent is time on air, and uses the budget up. */
static bool is_over(struct place *p)
{
	return view(p, "wpan0").level == AIRTIME_OVER;
}

static void what_is_sent_uses_the_budget_up(void **state)
{
	struct lowpan_settings s = { .interface = "wpan0", .kind = LOWPAN_THREAD, .address_bits = 64, .airtime_permille = 1, .pan_id = LOWPAN_PAN_ANY,
				     .short_address = LOWPAN_SHORT_ANY, .channel = LOWPAN_CHANNEL_ANY };
	uint8_t data[1200] = { 0 };
	struct udp_address to;
	struct place p;
	uint32_t wait_s;

	place_open(&p);
	memcpy(s.address, ours, sizeof(ours));
	lowpan_set(p.p, &s, 1);
	p.tun = tun_new("wpan0");
	set_up("wpan0", true);
	assert_true(turn_until(&p, has_address));
	assert_int_equal(lowpan_level(p.p, "wpan0", &wait_s), AIRTIME_FREE);
	assert_int_equal(udp_address_parse(SPAN_LIT("[fd00:15:4::2]:5683"), 0, &to), 0);
	_cleanup_close_ int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	for (int i = 0; i < 400; i++) { /* about 60 ms each on air: a thousandth of an hour is 3.6 s */
		uint8_t drain[2048];
		struct sockaddr_in6 in6;
		memcpy(&in6, to.sockaddr, sizeof(in6));
		(void)sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&in6, sizeof(in6));
		while (read(p.tun, drain, sizeof(drain)) > 0)
			;
	}
	lowpan_set(p.p, &s, 1); /* asks for the counters now */
	assert_true(turn_until(&p, is_over));
	assert_int_equal(lowpan_level(p.p, "wpan0", &wait_s), AIRTIME_OVER);
	assert_true(wait_s > 0 && wait_s <= 3600);
	assert_int_equal(p.n_levels, 1);
	assert_true(view(&p, "wpan0").airtime_us > 3600000);
	s.airtime_permille = 0;
	lowpan_set(p.p, &s, 1);
	assert_int_equal(lowpan_level(p.p, "wpan0", &wait_s), AIRTIME_FREE);
	place_close(&p);
}

static void without_a_parent_it_says_so(void **state)
{
	struct lowpan_settings s = { .interface = "lowpan0", .kind = LOWPAN_802154, .create = true, .parent = "wpan7" };
	struct place p;

	place_open(&p);
	lowpan_set(p.p, &s, 1);
	for (int i = 0; i < 20; i++)
		(void)loop_run_for(p.loop, 10);
	assert_string_equal(view(&p, "lowpan0").state, "the radio is not there");
	lowpan_set(p.p, NULL, 0);
	assert_string_equal(view(&p, "lowpan0").name, "");
	place_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tunnel_named_wpan_is_watched_without_being_configured),
		cmocka_unit_test(what_was_asked_for_is_done_again_when_it_comes_back_with_another_index),
		cmocka_unit_test(a_prefix_is_offered_at_start_and_to_who_solicits),
		cmocka_unit_test(what_is_sent_uses_the_budget_up),
		cmocka_unit_test(without_a_parent_it_says_so),
	};
	int probe;

	if (!alone() || (probe = tun_new("probe")) < 0) {
		fprintf(stderr, "NOT TESTED: no network namespace or no tunnel can be had here (needs root, or user namespaces)\n");
		return 77;
	}
	close(probe);
	return cmocka_run_group_tests_name("radio/lowpan", tests, NULL, NULL);
}
