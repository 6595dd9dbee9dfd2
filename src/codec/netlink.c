#include "codec/netlink.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include "base/text.h"

/* The kernel gives these to nobody in a header: net/nl802154.h, which says that numbers stay. */
enum { NL802154_GET_PHY = 1, NL802154_GET_INTERFACE = 5, NL802154_SET_CHANNEL = 9, NL802154_SET_PAN_ID = 10, NL802154_SET_SHORT_ADDR = 11 };
enum { NL802154_IFINDEX = 3, NL802154_PAGE = 7, NL802154_CHANNEL = 8, NL802154_PAN_ID = 9, NL802154_SHORT_ADDR = 10 };

enum { ATTRIBUTE_HEADER_BYTES = 4, ALIGN = 4 };

_Static_assert(sizeof(struct nlmsghdr) == NETLINK_HEADER_BYTES, "a netlink header");
_Static_assert(IFNAMSIZ == NETLINK_NAME_BYTES, "an interface's name");

static size_t padded(size_t n)
{
	return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static void skip_padding(struct cursor *c, size_t n)
{
	size_t pad = padded(n) - n;

	(void)cur_take(c, pad < cur_left(c) ? pad : cur_left(c)); /* the last one may go without */
}

/* What follows a head that says how long both are together. */
static int take_body(struct cursor *c, size_t n, size_t n_head, struct span *ret)
{
	if (n < n_head)
		return -EBADMSG;
	*ret = cur_take(c, n - n_head);
	if (!cur_ok(c))
		return -EBADMSG;
	skip_padding(c, n);
	return 0;
}

int netlink_next(struct cursor *c, struct netlink_message *ret)
{
	struct nlmsghdr h;

	if (cur_at_end(c))
		return 0;
	struct span head = cur_take(c, sizeof(h));
	if (!cur_ok(c))
		return -EBADMSG;
	memcpy(&h, head.p, sizeof(h));
	*ret = (struct netlink_message){ .type = h.nlmsg_type, .flags = h.nlmsg_flags, .sequence = h.nlmsg_seq, .port = h.nlmsg_pid };
	int r = take_body(c, h.nlmsg_len, sizeof(h), &ret->body);
	return r < 0 ? r : 1;
}

int netlink_attribute_next(struct cursor *c, struct netlink_attribute *ret)
{
	struct nlattr h;

	if (cur_at_end(c))
		return 0;
	struct span head = cur_take(c, sizeof(h));
	if (!cur_ok(c))
		return -EBADMSG;
	memcpy(&h, head.p, sizeof(h));
	*ret = (struct netlink_attribute){ .type = h.nla_type & NLA_TYPE_MASK };
	int r = take_body(c, h.nla_len, sizeof(h), &ret->value);
	return r < 0 ? r : 1;
}

bool netlink_uint(struct span v, uint64_t *ret)
{
	uint16_t n2;
	uint32_t n4;

	switch (v.n) {
	case 1:
		*ret = v.p[0];
		return true;
	case 2:
		memcpy(&n2, v.p, 2);
		*ret = n2;
		return true;
	case 4:
		memcpy(&n4, v.p, 4);
		*ret = n4;
		return true;
	case 8:
		memcpy(ret, v.p, 8);
		return true;
	default:
		return false;
	}
}

/* A fixed struct at the head of the body; the attributes follow it. */
static bool take_struct(struct cursor *c, void *ret, size_t n)
{
	struct span s = cur_take(c, n);

	if (!cur_ok(c))
		return false;
	memcpy(ret, s.p, n);
	skip_padding(c, n);
	return true;
}

static bool take_uint(struct span v, uint64_t max, uint64_t *ret)
{
	uint64_t n;

	if (!netlink_uint(v, &n) || n > max)
		return false;
	*ret = n;
	return true;
}

/* Text ended by NUL or by the attribute's end; false: it does not fit, or is no name. */
static bool take_text(struct span v, char *ret, size_t bytes)
{
	const uint8_t *end = v.n ? memchr(v.p, 0, v.n) : NULL;

	return text_copy(ret, bytes, end ? SPAN(v.p, (size_t)(end - v.p)) : v) == 0;
}

static bool take_bytes(struct span v, uint8_t *ret, size_t max, size_t *ret_n)
{
	if (v.n > max)
		return false;
	if (v.n)
		memcpy(ret, v.p, v.n);
	*ret_n = v.n;
	return true;
}

int netlink_error_decode(const struct netlink_message *m, int *ret_error, char text[static NETLINK_TEXT_BYTES])
{
	struct cursor c = { .s = m->body };
	struct netlink_attribute a;
	struct nlmsgerr e;
	int r;

	text[0] = 0;
	if (m->type != NLMSG_ERROR || !take_struct(&c, &e, sizeof(e)) || e.error > 0)
		return -EBADMSG;
	*ret_error = e.error;
	if (!(m->flags & NLM_F_ACK_TLVS))
		return 0;
	/* What was asked stands between, unless it is capped. */
	if (!(m->flags & NLM_F_CAPPED) && e.msg.nlmsg_len > sizeof(e.msg)) {
		(void)cur_take(&c, e.msg.nlmsg_len - sizeof(e.msg));
		skip_padding(&c, e.msg.nlmsg_len);
	}
	while ((r = netlink_attribute_next(&c, &a)) > 0)
		if (a.type == NLMSGERR_ATTR_MSG && !take_text(a.value, text, NETLINK_TEXT_BYTES))
			text[0] = 0;           /* too long: the errno is enough */
	return r;
}

/* ---- rtnetlink ---- */

static bool link_counters(struct span v, struct netlink_link *l)
{
	struct rtnl_link_stats64 s = { 0 };

	/* Later kernels append to it. */
	if (v.n < offsetof(struct rtnl_link_stats64, rx_errors))
		return false;
	memcpy(&s, v.p, offsetof(struct rtnl_link_stats64, rx_errors));
	l->has_counters = true;
	l->rx_packets = s.rx_packets;
	l->tx_packets = s.tx_packets;
	l->rx_bytes = s.rx_bytes;
	l->tx_bytes = s.tx_bytes;
	return true;
}

static bool link_info(struct span v, struct netlink_link *l)
{
	struct cursor c = { .s = v };
	struct netlink_attribute a;
	int r;

	while ((r = netlink_attribute_next(&c, &a)) > 0)
		if (a.type == IFLA_INFO_KIND && !take_text(a.value, l->kind, sizeof(l->kind)))
			l->kind[0] = 0;        /* longer than any that we know */
	return r == 0;
}

/* Settings of IPv6 as an array of numbers, the first of which is `forwarding`. */
static bool link_ipv6(struct span v, struct netlink_link *l)
{
	struct cursor c = { .s = v };
	struct netlink_attribute a;
	int32_t first;
	int r;

	while ((r = netlink_attribute_next(&c, &a)) > 0)
		if (a.type == IFLA_INET6_CONF && a.value.n >= sizeof(first)) {
			memcpy(&first, a.value.p, sizeof(first));
			l->forwards = first > 0;
		}
	return r == 0;
}

static bool link_families(struct span v, struct netlink_link *l)
{
	struct cursor c = { .s = v };
	struct netlink_attribute a;
	int r;

	while ((r = netlink_attribute_next(&c, &a)) > 0)
		if (a.type == AF_INET6 && !link_ipv6(a.value, l))
			return false;
	return r == 0;
}

static bool link_attribute(const struct netlink_attribute *a, struct netlink_link *l)
{
	uint64_t n = 0;

	switch (a->type) {
	case IFLA_IFNAME:
		return take_text(a->value, l->name, sizeof(l->name));
	case IFLA_MTU:
		if (!take_uint(a->value, UINT32_MAX, &n))
			return false;
		l->mtu = (uint32_t)n;
		return true;
	case IFLA_LINK:
		if (!take_uint(a->value, INT32_MAX, &n))
			return false;
		l->parent = (int)n;
		return true;
	case IFLA_ADDRESS:
		return take_bytes(a->value, l->address, sizeof(l->address), &l->n_address);
	case IFLA_LINKINFO:
		return link_info(a->value, l);
	case IFLA_AF_SPEC:
		return link_families(a->value, l);
	case IFLA_STATS64:
		return link_counters(a->value, l);
	default:
		return true;
	}
}

int netlink_link_decode(const struct netlink_message *m, struct netlink_link *ret)
{
	struct cursor c = { .s = m->body };
	struct netlink_link l = { 0 };
	struct netlink_attribute a;
	struct ifinfomsg h;
	int r;

	if (!take_struct(&c, &h, sizeof(h)) || h.ifi_index <= 0)
		return -EBADMSG;
	l.index = h.ifi_index;
	l.hardware = h.ifi_type;
	l.flags = h.ifi_flags;
	while ((r = netlink_attribute_next(&c, &a)) > 0)
		if (!link_attribute(&a, &l))
			return -EBADMSG;
	if (r < 0 || !l.name[0])
		return -EBADMSG;
	*ret = l;
	return 0;
}

int netlink_address_decode(const struct netlink_message *m, struct netlink_address *ret)
{
	struct cursor c = { .s = m->body };
	struct netlink_address d = { 0 };
	struct netlink_attribute a;
	struct ifaddrmsg h;
	bool has_address = false;
	uint64_t n;
	int r;

	if (!take_struct(&c, &h, sizeof(h)) || h.ifa_index == 0 || h.ifa_index > INT32_MAX)
		return -EBADMSG;
	if (h.ifa_family != AF_INET6)
		return -ENOTSUP;
	d.index = (int)h.ifa_index;
	d.prefix_bits = h.ifa_prefixlen;
	d.scope = h.ifa_scope;
	d.flags = h.ifa_flags;
	while ((r = netlink_attribute_next(&c, &a)) > 0) {
		if (a.type == IFA_ADDRESS && a.value.n == sizeof(d.address)) {
			memcpy(d.address, a.value.p, sizeof(d.address));
			has_address = true;
		} else if (a.type == IFA_FLAGS && take_uint(a.value, UINT32_MAX, &n)) {
			d.flags = (uint32_t)n;
		}
	}
	if (r < 0 || !has_address || d.prefix_bits > 128)
		return -EBADMSG;
	*ret = d;
	return 0;
}

int netlink_neighbour_decode(const struct netlink_message *m, struct netlink_neighbour *ret)
{
	struct cursor c = { .s = m->body };
	struct netlink_neighbour d = { 0 };
	struct netlink_attribute a;
	bool has_address = false;
	struct ndmsg h;
	int r;

	if (!take_struct(&c, &h, sizeof(h)) || h.ndm_ifindex <= 0)
		return -EBADMSG;
	if (h.ndm_family != AF_INET6)
		return -ENOTSUP;
	d.index = h.ndm_ifindex;
	d.state = h.ndm_state;
	while ((r = netlink_attribute_next(&c, &a)) > 0) {
		if (a.type == NDA_DST && a.value.n == sizeof(d.address)) {
			memcpy(d.address, a.value.p, sizeof(d.address));
			has_address = true;
		} else if (a.type == NDA_LLADDR && !take_bytes(a.value, d.lladdr, sizeof(d.lladdr), &d.n_lladdr)) {
			return -EBADMSG;
		}
	}
	if (r < 0 || !has_address)
		return -EBADMSG;
	*ret = d;
	return 0;
}

/* ---- requests ---- */

static void put_length(struct buf *b)
{
	uint32_t n = (uint32_t)b->n;

	if (buf_ok(b))
		memcpy(b->p, &n, sizeof(n)); /* nlmsg_len stands first */
}

static void begin(struct buf *b, uint16_t type, uint16_t flags, struct span fixed)
{
	struct nlmsghdr h = { .nlmsg_type = type, .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags) };

	buf_clear(b);
	buf_add(b, SPAN(&h, sizeof(h)));
	buf_add(b, fixed);
	(void)buf_grow(b, padded(b->n) - b->n); /* a failure sticks */
	put_length(b);
}

static void add_inner(struct buf *b, uint16_t type, struct span value)
{
	struct nlattr h = { .nla_len = (uint16_t)(ATTRIBUTE_HEADER_BYTES + value.n), .nla_type = type };

	buf_add(b, SPAN(&h, sizeof(h)));
	buf_add(b, value);
	if (padded(value.n) > value.n)
		(void)buf_grow(b, padded(value.n) - value.n);
}

static void add(struct buf *b, uint16_t type, struct span value)
{
	add_inner(b, type, value);
	put_length(b);
}

static void add_u8(struct buf *b, uint16_t type, uint8_t v)
{
	add(b, type, SPAN(&v, sizeof(v)));
}


static void add_u32(struct buf *b, uint16_t type, uint32_t v)
{
	add(b, type, SPAN(&v, sizeof(v)));
}

void netlink_encode_dump(struct buf *b, uint16_t type, uint8_t family)
{
	struct ifinfomsg link = { .ifi_family = family };
	struct ifaddrmsg address = { .ifa_family = family };
	struct ndmsg neighbour = { .ndm_family = family };

	begin(b, type, NLM_F_DUMP, type == RTM_GETADDR ? SPAN(&address, sizeof(address)) :
				   type == RTM_GETNEIGH ? SPAN(&neighbour, sizeof(neighbour)) : SPAN(&link, sizeof(link)));
}

void netlink_encode_link_get(struct buf *b, int index)
{
	struct ifinfomsg h = { .ifi_family = AF_UNSPEC, .ifi_index = index };

	begin(b, RTM_GETLINK, NLM_F_ACK, SPAN(&h, sizeof(h)));
}

void netlink_encode_link_up(struct buf *b, int index, bool up)
{
	struct ifinfomsg h = { .ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = up ? IFF_UP : 0, .ifi_change = IFF_UP };

	begin(b, RTM_NEWLINK, NLM_F_ACK, SPAN(&h, sizeof(h)));
}

void netlink_encode_lowpan_add(struct buf *b, int parent, const char *name)
{
	struct ifinfomsg h = { .ifi_family = AF_UNSPEC };
	struct buf info = { 0 };

	begin(b, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, SPAN(&h, sizeof(h)));
	add_u32(b, IFLA_LINK, (uint32_t)parent);
	add(b, IFLA_IFNAME, SPAN(name, strlen(name) + 1));
	add_inner(&info, IFLA_INFO_KIND, SPAN("lowpan", 6));
	add(b, IFLA_LINKINFO | NLA_F_NESTED, buf_span(&info));
	buf_done(&info);
}

void netlink_encode_address_add(struct buf *b, int index, const uint8_t address[static 16], uint8_t prefix_bits)
{
	struct ifaddrmsg h = { .ifa_family = AF_INET6, .ifa_prefixlen = prefix_bits, .ifa_flags = IFA_F_NODAD, .ifa_index = (uint32_t)index };

	begin(b, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, SPAN(&h, sizeof(h)));
	add(b, IFA_LOCAL, SPAN(address, 16));
	add(b, IFA_ADDRESS, SPAN(address, 16));
}

void netlink_set_sequence(struct buf *b, uint32_t sequence)
{
	if (b->n >= NETLINK_HEADER_BYTES)
		memcpy(b->p + offsetof(struct nlmsghdr, nlmsg_seq), &sequence, sizeof(sequence));
}

/* ---- generic netlink ---- */

static void begin_generic(struct buf *b, uint16_t family, uint8_t command, uint16_t flags)
{
	struct genlmsghdr h = { .cmd = command };

	begin(b, family, flags, SPAN(&h, sizeof(h)));
}

void netlink_encode_family_get(struct buf *b, const char *name)
{
	begin_generic(b, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_ACK);
	add(b, CTRL_ATTR_FAMILY_NAME, SPAN(name, strlen(name) + 1));
}

int netlink_family_decode(const struct netlink_message *m, uint16_t *ret)
{
	struct cursor c = { .s = m->body };
	struct netlink_attribute a;
	struct genlmsghdr h;
	uint64_t id = 0;
	int r;

	if (!take_struct(&c, &h, sizeof(h)) || h.cmd != CTRL_CMD_NEWFAMILY)
		return -EBADMSG;
	while ((r = netlink_attribute_next(&c, &a)) > 0)
		if (a.type == CTRL_ATTR_FAMILY_ID && !take_uint(a.value, UINT16_MAX, &id))
			return -EBADMSG;
	if (r < 0 || id < GENL_MIN_ID)
		return -EBADMSG;
	*ret = (uint16_t)id;
	return 0;
}

/* PAN id and short address travel as in frames: least significant byte first. */
static bool take_le16(struct span v, int *ret)
{
	if (v.n != 2)
		return false;
	*ret = v.p[0] | v.p[1] << 8;
	return true;
}

static bool take_small(struct span v, int *ret)
{
	uint64_t n;

	if (!take_uint(v, INT32_MAX, &n))
		return false;
	*ret = (int)n;
	return true;
}

static bool wpan_attribute(const struct netlink_attribute *a, struct netlink_wpan *w)
{
	switch (a->type) {
	case NL802154_IFINDEX:
		return take_small(a->value, &w->index);
	case NL802154_PAGE:
		return take_small(a->value, &w->page);
	case NL802154_CHANNEL:
		return take_small(a->value, &w->channel);
	case NL802154_PAN_ID:
		return take_le16(a->value, &w->pan_id);
	case NL802154_SHORT_ADDR:
		return take_le16(a->value, &w->short_address);
	default:
		return true;
	}
}

int netlink_wpan_decode(const struct netlink_message *m, struct netlink_wpan *ret)
{
	struct netlink_wpan w = { WPAN_UNKNOWN, WPAN_UNKNOWN, WPAN_UNKNOWN, WPAN_UNKNOWN, WPAN_UNKNOWN };
	struct cursor c = { .s = m->body };
	struct netlink_attribute a;
	struct genlmsghdr h;
	int r;

	if (!take_struct(&c, &h, sizeof(h)))
		return -EBADMSG;
	while ((r = netlink_attribute_next(&c, &a)) > 0)
		if (!wpan_attribute(&a, &w))
			return -EBADMSG;
	if (r < 0)
		return r;
	*ret = w;
	return 0;
}

static void wpan(struct buf *b, uint16_t family, uint8_t command, int index)
{
	begin_generic(b, family, command, NLM_F_ACK);
	add_u32(b, NL802154_IFINDEX, (uint32_t)index);
}

void netlink_encode_wpan_get(struct buf *b, uint16_t family, int index)
{
	wpan(b, family, NL802154_GET_INTERFACE, index);
}

void netlink_encode_wpan_phy_get(struct buf *b, uint16_t family, int index)
{
	wpan(b, family, NL802154_GET_PHY, index);
}

static void add_le16(struct buf *b, uint16_t type, uint16_t v)
{
	uint8_t bytes[2] = { (uint8_t)v, (uint8_t)(v >> 8) };

	add(b, type, SPAN_OF(bytes));
}

void netlink_encode_wpan_pan(struct buf *b, uint16_t family, int index, uint16_t pan_id)
{
	wpan(b, family, NL802154_SET_PAN_ID, index);
	add_le16(b, NL802154_PAN_ID, pan_id);
}

void netlink_encode_wpan_short(struct buf *b, uint16_t family, int index, uint16_t address)
{
	wpan(b, family, NL802154_SET_SHORT_ADDR, index);
	add_le16(b, NL802154_SHORT_ADDR, address);
}

void netlink_encode_wpan_channel(struct buf *b, uint16_t family, int index, uint8_t page, uint8_t channel)
{
	wpan(b, family, NL802154_SET_CHANNEL, index);
	add_u8(b, NL802154_PAGE, page);
	add_u8(b, NL802154_CHANNEL, channel);
}
