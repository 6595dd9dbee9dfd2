/* io/netlink.h - a netlink socket on the loop: requests one after the other, each with its end, and notices of the kernel's groups.
 * The messages are codec/netlink.h's. Only what the kernel itself sent is heard. Loop thread. */
#pragma once
#include "codec/netlink.h"
#include "io/loop.h"

enum { NETLINK_REQUESTS_MAX = 256, NETLINK_REQUEST_MS = 5000, NETLINK_TURN_MAX = 32, NETLINK_GROUPS_MAX = 8 };

struct netlink;

struct netlink_ops {                           /* each may be NULL; must not close the netlink */
	void (*notice)(void *ctx, const struct netlink_message *m);
	void (*lost)(void *ctx);               /* notices were lost: ask for everything again */
};

/* protocol: NETLINK_ROUTE, NETLINK_GENERIC. -errno; -EPROTONOSUPPORT, -EAFNOSUPPORT where this kernel or sandbox has none. */
int netlink_open(struct loop *l, int protocol, const unsigned *groups, size_t n_groups, const struct netlink_ops *ops, void *ctx,
		 struct netlink **ret);
struct netlink *netlink_close(struct netlink *n);      /* waiting requests are forgotten; nobody is called */

/* part: each message of the answer, may be NULL. done: once, never from inside; 0, or -errno with the kernel's words ("" = none);
 * -EAGAIN a dump that changed underway; -ETIMEDOUT. */
typedef void netlink_part_fn(void *ctx, const struct netlink_message *m);
typedef void netlink_done_fn(void *ctx, int error, const char *why);
/* request is copied. -ENOSPC over NETLINK_REQUESTS_MAX waiting; -EINVAL it went bad. */
int netlink_request(struct netlink *n, const struct buf *request, netlink_part_fn *part, netlink_done_fn *done, void *ctx);
