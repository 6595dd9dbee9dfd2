/* codec/netlink.h - messages of Linux's netlink: the frame with its attributes, and of rtnetlink and generic netlink what a gateway
 * wants to know and to set (rtnetlink(7), nl802154 of the kernel's 802.15.4 stack). In the machine's own byte order, as the kernel
 * speaks it. Pure: decoded spans borrow from the input; lengths are checked whatever sent them. */
#pragma once
#include "base/buf.h"
#include "base/cursor.h"

enum {
	NETLINK_NAME_BYTES = 16,               /* IFNAMSIZ */
	NETLINK_KIND_BYTES = 16,
	NETLINK_LLADDR_BYTES_MAX = 32,
	NETLINK_HEADER_BYTES = 16,
	NETLINK_MESSAGE_BYTES_MAX = 64 * 1024, /* one datagram */
	NETLINK_TEXT_BYTES = 128,
};

struct netlink_message {
	uint16_t type, flags;
	uint32_t sequence, port;
	struct span body;                      /* after the header; borrowed */
};

/* The next message of a datagram: 1, 0 at the end, -EBADMSG. */
int netlink_next(struct cursor *c, struct netlink_message *ret);

struct netlink_attribute {
	uint16_t type;                         /* without the flags of nesting and byte order */
	struct span value;
};
/* The next attribute: 1, 0 at the end, -EBADMSG. */
int netlink_attribute_next(struct cursor *c, struct netlink_attribute *ret);
/* A number of exactly 1, 2, 4 or 8 bytes; false: of another length. */
bool netlink_uint(struct span value, uint64_t *ret);

/* NLMSG_ERROR: the errno (0 = done, else negative) and what the kernel says in words; -EBADMSG. */
int netlink_error_decode(const struct netlink_message *m, int *ret_error, char text[static NETLINK_TEXT_BYTES]);

/* ---- rtnetlink ---- */

struct netlink_link {                          /* RTM_NEWLINK, RTM_DELLINK */
	int index;
	uint16_t hardware;                     /* ARPHRD_... */
	uint32_t flags;                        /* IFF_... */
	char name[NETLINK_NAME_BYTES];
	char kind[NETLINK_KIND_BYTES];         /* IFLA_INFO_KIND: "lowpan", "tun", "veth"; "" = a device of its own */
	uint32_t mtu;
	int parent;                            /* IFLA_LINK; 0 = none */
	uint8_t address[NETLINK_LLADDR_BYTES_MAX];
	size_t n_address;
	bool forwards;                         /* IPv6 packets: it is a router there */
	bool has_counters;
	uint64_t rx_packets, tx_packets, rx_bytes, tx_bytes;
};
int netlink_link_decode(const struct netlink_message *m, struct netlink_link *ret);

struct netlink_address {                       /* RTM_NEWADDR, RTM_DELADDR: of IPv6; -ENOTSUP others */
	int index;
	uint8_t address[16], prefix_bits, scope;
	uint32_t flags;                        /* IFA_F_... */
};
int netlink_address_decode(const struct netlink_message *m, struct netlink_address *ret);

struct netlink_neighbour {                     /* RTM_NEWNEIGH, RTM_DELNEIGH: of IPv6; -ENOTSUP others */
	int index;
	uint16_t state;                        /* NUD_... */
	uint8_t address[16];
	uint8_t lladdr[NETLINK_LLADDR_BYTES_MAX];
	size_t n_lladdr;
};
int netlink_neighbour_decode(const struct netlink_message *m, struct netlink_neighbour *ret);

/* Requests: a whole message each, for netlink_send(), which sets the sequence. */
void netlink_encode_dump(struct buf *b, uint16_t type, uint8_t family);                /* RTM_GETLINK, RTM_GETADDR, RTM_GETNEIGH */
void netlink_encode_link_get(struct buf *b, int index);
void netlink_encode_link_up(struct buf *b, int index, bool up);
/* A link of kind "lowpan" on a radio's interface. */
void netlink_encode_lowpan_add(struct buf *b, int parent, const char *name);
void netlink_encode_address_add(struct buf *b, int index, const uint8_t address[static 16], uint8_t prefix_bits);

/* ---- generic netlink ---- */

void netlink_encode_family_get(struct buf *b, const char *name);
/* The number of a family, from the answer; -EBADMSG. */
int netlink_family_decode(const struct netlink_message *m, uint16_t *ret);

enum { WPAN_UNKNOWN = -1, WPAN_PAN_NONE = 0xffff, WPAN_SHORT_NONE = 0xffff };

/* What nl802154 tells of an interface, or of its radio (page, channel); WPAN_UNKNOWN what is not in it. */
struct netlink_wpan {
	int index, pan_id, short_address, page, channel;
};
int netlink_wpan_decode(const struct netlink_message *m, struct netlink_wpan *ret);
void netlink_encode_wpan_get(struct buf *b, uint16_t family, int index);               /* the interface: PAN id, short address */
void netlink_encode_wpan_phy_get(struct buf *b, uint16_t family, int index);           /* its radio: page, channel */
void netlink_encode_wpan_pan(struct buf *b, uint16_t family, int index, uint16_t pan_id);
void netlink_encode_wpan_short(struct buf *b, uint16_t family, int index, uint16_t address);
void netlink_encode_wpan_channel(struct buf *b, uint16_t family, int index, uint8_t page, uint8_t channel);

/* Sets the sequence of the message in b. */
void netlink_set_sequence(struct buf *b, uint32_t sequence);
