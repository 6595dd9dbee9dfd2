#include "codec/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"

struct recorded { uint8_t b[8192]; size_t n; };

static struct span record(const char *name, struct recorded *r)
{
	char path[512];

	(void)snprintf(path, sizeof(path), VECTORS "/netlink/%s.bin", name);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	ssize_t n = read(fd, r->b, sizeof(r->b));
	assert_true(n > 0 && (size_t)n < sizeof(r->b));
	r->n = (size_t)n;
	return SPAN(r->b, r->n);
}

/* The message number i of a recording. */
static struct netlink_message message(const char *name, struct recorded *r, size_t i)
{
	struct cursor c = { .s = record(name, r) };
	struct netlink_message m = { 0 };

	for (size_t k = 0; k <= i; k++)
		assert_int_equal(netlink_next(&c, &m), 1);
	return m;
}

static void links_are_what_the_kernel_has(void **state)
{
	static const uint8_t eui64[] = { 0xfa, 0x1b, 0xc3, 0x51, 0xbc, 0xb0, 0x52, 0x01 };
	struct recorded r;
	struct netlink_message m = message("links", &r, 0);
	struct netlink_link l;

	assert_int_equal(netlink_link_decode(&m, &l), 0);
	assert_string_equal(l.name, "lo");
	assert_int_equal(l.index, 1);
	assert_int_equal(l.mtu, 65536);
	assert_false(l.forwards);
	m = message("links", &r, 1);
	assert_int_equal(netlink_link_decode(&m, &l), 0);
	assert_string_equal(l.name, "wpan0");
	assert_int_equal(l.hardware, 804);
	assert_true(l.has_counters);
	assert_int_equal(l.tx_packets, 7);
	assert_int_equal(l.tx_bytes, 554);
	assert_int_equal(l.rx_bytes, 481);
	m = message("links", &r, 2);
	assert_int_equal(netlink_link_decode(&m, &l), 0);
	assert_string_equal(l.name, "lowpan0");
	assert_string_equal(l.kind, "lowpan");
	assert_int_equal(l.hardware, 825);
	assert_int_equal(l.parent, 2);
	assert_int_equal(l.mtu, 1280);
	assert_true(l.flags & IFF_UP);
	assert_int_equal(l.n_address, 8);
	assert_memory_equal(l.address, eui64, 8);
	m = message("links", &r, 3);
	assert_int_equal(m.type, NLMSG_DONE);
}

static void addresses_and_neighbours_too(void **state)
{
	static const uint8_t ours[16] = { 0xfd, 0, 0, 0x15, 0, 4, [15] = 1 }, theirs[16] = { 0xfd, 0, 0, 0x15, 0, 4, [15] = 2 };
	struct netlink_neighbour n;
	struct netlink_address a;
	struct recorded r;
	struct netlink_message m = message("addresses", &r, 1);

	assert_int_equal(netlink_address_decode(&m, &a), 0);
	assert_int_equal(a.index, 4);
	assert_int_equal(a.prefix_bits, 64);
	assert_memory_equal(a.address, ours, 16);
	m = message("neighbours", &r, 1);
	assert_int_equal(netlink_neighbour_decode(&m, &n), 0);
	assert_int_equal(n.index, 4);
	assert_int_equal(n.state, NUD_REACHABLE);
	assert_memory_equal(n.address, theirs, 16);
	assert_int_equal(n.n_lladdr, 8);
}

static void nl802154_tells_of_interface_and_radio(void **state)
{
	struct netlink_wpan w;
	struct recorded r;
	struct netlink_message m = message("family", &r, 0);
	uint16_t family;

	assert_int_equal(netlink_family_decode(&m, &family), 0);
	assert_int_equal(family, 33);
	m = message("wpan_interface", &r, 0);
	assert_int_equal(netlink_wpan_decode(&m, &w), 0);
	assert_int_equal(w.index, 2);
	assert_int_equal(w.pan_id, 0xbeef);
	assert_int_equal(w.short_address, 1);
	assert_int_equal(w.channel, WPAN_UNKNOWN);
	m = message("wpan_phy", &r, 0);
	assert_int_equal(netlink_wpan_decode(&m, &w), 0);
	assert_int_equal(w.page, 0);
	assert_int_equal(w.channel, 26);
	assert_int_equal(w.pan_id, WPAN_UNKNOWN);
}

static void a_refusal_is_an_errno_with_or_without_words(void **state)
{
	static const uint8_t worded[] = {       /* -EINVAL, capped, "no such thing" as NLMSGERR_ATTR_MSG */
		0x38, 0, 0, 0, 2, 0, 0x00, 0x03, 9, 0, 0, 0, 0, 0, 0, 0, 0xea, 0xff, 0xff, 0xff, 0x20, 0, 0, 0, 16, 0, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0,
		0x12, 0, 1, 0, 'n', 'o', ' ', 's', 'u', 'c', 'h', ' ', 't', 'h', 'i', 'n', 'g', 0, 0, 0 };
	char why[NETLINK_TEXT_BYTES];
	struct recorded r;
	struct netlink_message m = message("refused", &r, 0);
	struct cursor c = { .s = SPAN_OF(worded) };
	int error = 0;

	assert_int_equal(netlink_error_decode(&m, &error, why), 0);
	assert_int_equal(error, -ENODEV);
	assert_string_equal(why, "");
	assert_int_equal(netlink_next(&c, &m), 1);
	assert_int_equal(netlink_error_decode(&m, &error, why), 0);
	assert_int_equal(error, -EINVAL);
	assert_string_equal(why, "no such thing");
}

/* Decoders see every prefix of every message of every recording: none may read past it, and what is cut in the middle of an attribute
 * is refused. */
static void every_truncation_is_refused_or_shorter(void **state)
{
	static const char *const names[] = { "links", "addresses", "neighbours", "refused", "family", "wpan_interface", "wpan_phy" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct recorded r;
		struct cursor c = { .s = record(names[i], &r) };
		struct netlink_message m;

		while (netlink_next(&c, &m) > 0) {
			struct netlink_message cut = m;
			for (cut.body.n = 0; cut.body.n < m.body.n; cut.body.n++) {
				_cleanup_buf_ struct buf copy = { 0 };   /* so that a sanitizer sees a read past the end */
				struct netlink_message at = cut;
				struct netlink_neighbour n;
				struct netlink_address a;
				struct netlink_wpan w;
				struct netlink_link l;
				uint16_t family;
				char why[NETLINK_TEXT_BYTES];
				int error;

				buf_add(&copy, cut.body);
				at.body = buf_span(&copy);
				if (cut.body.n < 4)
					assert_int_equal(netlink_wpan_decode(&at, &w), -EBADMSG);
				if (cut.body.n < 16 + 4 + 3)
					assert_int_equal(netlink_link_decode(&at, &l), -EBADMSG);
				(void)netlink_address_decode(&at, &a); /* none may read past the end */
				(void)netlink_neighbour_decode(&at, &n);
				(void)netlink_family_decode(&at, &family);
				(void)netlink_error_decode(&at, &error, why);
			}
		}
		for (size_t n = 0; n < r.n; n++) {
			struct cursor whole = { .s = SPAN(r.b, n) };
			while (netlink_next(&whole, &m) > 0)
				;
		}
	}
}

static void lengths_that_lie_are_refused(void **state)
{
	static const uint8_t shorter[16] = { 15 }, longer[16] = { 17 };
	static const uint8_t attribute_0[20] = { 20, 0, 0, 0, [16] = 0 }, attribute_3[20] = { 20, 0, 0, 0, [16] = 3 };
	struct netlink_attribute a;
	struct netlink_message m;

	struct cursor c = { .s = SPAN_OF(shorter) };
	assert_int_equal(netlink_next(&c, &m), -EBADMSG);
	c = (struct cursor){ .s = SPAN_OF(longer) };
	assert_int_equal(netlink_next(&c, &m), -EBADMSG);
	c = (struct cursor){ .s = SPAN(attribute_0 + 16, 4) };
	assert_int_equal(netlink_attribute_next(&c, &a), -EBADMSG); /* it would never end */
	c = (struct cursor){ .s = SPAN(attribute_3 + 16, 4) };
	assert_int_equal(netlink_attribute_next(&c, &a), -EBADMSG);
}

/* What we send, read back by the same rules. */
static void requests_say_what_is_wanted(void **state)
{
	static const uint8_t address[16] = { 0xfd, 0, 0, 0x15, 0, 4, [15] = 1 };
	_cleanup_buf_ struct buf b = { 0 };
	struct netlink_attribute a;
	struct netlink_message m;
	struct netlink_address d;
	struct netlink_wpan w;
	struct netlink_link l;

	netlink_encode_address_add(&b, 7, address, 64);
	netlink_set_sequence(&b, 42);
	struct cursor c = { .s = buf_span(&b) };
	assert_int_equal(netlink_next(&c, &m), 1);
	assert_int_equal(m.type, RTM_NEWADDR);
	assert_int_equal(m.sequence, 42);
	assert_true(m.flags & NLM_F_ACK);
	assert_int_equal(netlink_address_decode(&m, &d), 0);
	assert_int_equal(d.index, 7);
	assert_memory_equal(d.address, address, 16);

	netlink_encode_wpan_pan(&b, 33, 7, 0xbeef);
	c = (struct cursor){ .s = buf_span(&b) };
	assert_int_equal(netlink_next(&c, &m), 1);
	assert_int_equal(m.type, 33);
	assert_int_equal(netlink_wpan_decode(&m, &w), 0);
	assert_int_equal(w.index, 7);
	assert_int_equal(w.pan_id, 0xbeef);
	netlink_encode_wpan_channel(&b, 33, 7, 0, 26);
	c = (struct cursor){ .s = buf_span(&b) };
	assert_int_equal(netlink_next(&c, &m), 1);
	assert_int_equal(netlink_wpan_decode(&m, &w), 0);
	assert_int_equal(w.page, 0);
	assert_int_equal(w.channel, 26);

	netlink_encode_lowpan_add(&b, 2, "lowpan0");
	c = (struct cursor){ .s = buf_span(&b) };
	assert_int_equal(netlink_next(&c, &m), 1);
	assert_true((m.flags & (NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK)) == (NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK));
	assert_int_equal(netlink_link_decode(&m, &l), -EBADMSG); /* it has no index yet */
	struct cursor attributes = { .s = span_sub(m.body, sizeof(struct ifinfomsg), m.body.n) };
	assert_int_equal(netlink_attribute_next(&attributes, &a), 1);
	assert_int_equal(a.type, IFLA_LINK);
	assert_int_equal(netlink_attribute_next(&attributes, &a), 1);
	assert_int_equal(a.type, IFLA_IFNAME);
	assert_string_equal((const char *)a.value.p, "lowpan0");
	assert_int_equal(netlink_attribute_next(&attributes, &a), 1);
	assert_int_equal(a.type, IFLA_LINKINFO);
	struct cursor inner = { .s = a.value };
	struct netlink_attribute kind;
	assert_int_equal(netlink_attribute_next(&inner, &kind), 1);
	assert_int_equal(kind.type, IFLA_INFO_KIND);
	assert_true(span_eq_str(kind.value, "lowpan"));
	assert_int_equal(netlink_attribute_next(&attributes, &a), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(links_are_what_the_kernel_has),
		cmocka_unit_test(addresses_and_neighbours_too),
		cmocka_unit_test(nl802154_tells_of_interface_and_radio),
		cmocka_unit_test(a_refusal_is_an_errno_with_or_without_words),
		cmocka_unit_test(every_truncation_is_refused_or_shorter),
		cmocka_unit_test(lengths_that_lie_are_refused),
		cmocka_unit_test(requests_say_what_is_wanted),
	};

	return cmocka_run_group_tests_name("codec/netlink", tests, NULL, NULL);
}
