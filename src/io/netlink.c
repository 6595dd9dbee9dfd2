#include "io/netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/mem.h"

enum { NOTICE_BUFFER_BYTES = 512 * 1024 };

struct request {
	uint32_t sequence;
	struct buf message;
	netlink_part_fn *part;
	netlink_done_fn *done;
	void *ctx;
	bool is_interrupted;                   /* a dump: something changed while it was made */
	struct request *prev, *next;
};

struct netlink {
	int ask, hear;                         /* two sockets: what answers a request is not mistaken for a notice; hear -1 = no groups */
	struct loop_io *ask_io, *hear_io;
	struct loop_timer *timer;
	struct netlink_ops ops;
	void *ctx;
	uint32_t sequence;
	struct request *requests;              /* the first one is under way */
	bool is_sent;
	uint8_t buf[NETLINK_MESSAGE_BYTES_MAX];
};

static void request_free(struct netlink *n, struct request *q)
{
	DL_DELETE(n->requests, q);
	buf_done(&q->message);
	free(q);
}

static void send_next(struct netlink *n);

/* The first request has its end. */
static void finish(struct netlink *n, int error, const char *why)
{
	struct request *q = n->requests;
	netlink_done_fn *done = q->done;
	void *ctx = q->ctx;

	if (error == 0 && q->is_interrupted)
		error = -EAGAIN;
	n->is_sent = false;
	request_free(n, q);
	send_next(n);
	if (done)
		done(ctx, error, why);
}

static void send_next(struct netlink *n)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct request *q = n->requests;

	if (!q || n->is_sent)
		return;
	n->is_sent = true;
	ssize_t r = sendto(n->ask, q->message.p, q->message.n, MSG_DONTWAIT, (struct sockaddr *)&kernel, sizeof(kernel));
	/* What was not taken ends like what is not answered. */
	loop_timer_set(n->timer, r < 0 ? 0 : NETLINK_REQUEST_MS);
}

static void on_timer(void *ctx)
{
	struct netlink *n = ctx;

	if (n->requests && n->is_sent)
		finish(n, -ETIMEDOUT, "the kernel does not answer");
}

static void on_answer(struct netlink *n, const struct netlink_message *m)
{
	char why[NETLINK_TEXT_BYTES];
	struct request *q = n->requests;
	int error;

	if (!q || !n->is_sent || m->sequence != q->sequence)
		return;
	if (m->flags & NLM_F_DUMP_INTR)
		q->is_interrupted = true;
	if (m->type == NLMSG_ERROR)
		finish(n, netlink_error_decode(m, &error, why) < 0 ? -EBADMSG : error, why);
	else if (m->type == NLMSG_DONE)
		finish(n, 0, "");
	else if (m->type >= NLMSG_MIN_TYPE && q->part)
		q->part(q->ctx, m);
}

/* One datagram of the kernel: its length; 0 = another's, or nothing; -errno. */
static ssize_t receive(struct netlink *n, int fd)
{
	struct sockaddr_nl from = { 0 };
	struct iovec v = { n->buf, sizeof(n->buf) };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &v, .msg_iovlen = 1 };
	ssize_t r = recvmsg(fd, &m, MSG_DONTWAIT);

	if (r < 0)
		return -errno;
	if (m.msg_flags & MSG_TRUNC)
		return -ENOBUFS;
	return m.msg_namelen == sizeof(from) && from.nl_pid == 0 ? r : 0;
}

static void on_ask(void *ctx, int fd, unsigned what)
{
	struct netlink *n = ctx;
	struct netlink_message m;

	(void)what;
	for (int i = 0; i < NETLINK_TURN_MAX; i++) {
		ssize_t r = receive(n, fd);
		if (r == -ENOBUFS && n->requests && n->is_sent)
			finish(n, -EAGAIN, "");
		if (r < 0)
			return;
		struct cursor c = { .s = SPAN(n->buf, (size_t)r) };
		while (netlink_next(&c, &m) > 0)
			on_answer(n, &m);
	}
}

static void on_hear(void *ctx, int fd, unsigned what)
{
	struct netlink *n = ctx;
	struct netlink_message m;
	int r = 0;

	(void)what;
	for (int i = 0; i < NETLINK_TURN_MAX; i++) {
		ssize_t got = receive(n, fd);
		if (got == -ENOBUFS && n->ops.lost)
			n->ops.lost(n->ctx);
		if (got < 0)
			return;
		struct cursor c = { .s = SPAN(n->buf, (size_t)got) };
		while ((r = netlink_next(&c, &m)) > 0)
			if (m.type >= NLMSG_MIN_TYPE && n->ops.notice)
				n->ops.notice(n->ctx, &m);
		if (r < 0 && n->ops.lost)
			n->ops.lost(n->ctx);
	}
}

static int open_socket(int protocol)
{
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol), on = 1;

	if (fd < 0)
		return -errno;
	/* Kernels without them answer more loosely, or with less words. */
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&self, sizeof(self)) < 0) {
		int r = -errno;

		(void)close(fd); /* the first error is the one to tell */
		return r;
	}
	return fd;
}

static int join_groups(int fd, const unsigned *groups, size_t n)
{
	int bytes = NOTICE_BUFFER_BYTES;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)); /* less means to ask again more often */
	for (size_t i = 0; i < n; i++)
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof(groups[i])) < 0)
			return -errno;
	return 0;
}

int netlink_open(struct loop *l, int protocol, const unsigned *groups, size_t n_groups, const struct netlink_ops *ops, void *ctx,
		 struct netlink **ret)
{
	int ask = open_socket(protocol), hear = -1;

	if (ask < 0)
		return ask;
	if (n_groups) {
		hear = open_socket(protocol);
		int r = hear < 0 ? hear : join_groups(hear, groups, n_groups);
		if (r < 0) {
			if (hear >= 0)
				(void)close(hear); /* the first error is the one to tell */
			(void)close(ask);
			return r;
		}
	}
	struct netlink *n = NEW(struct netlink);
	n->ask = ask;
	n->hear = hear;
	n->ctx = ctx;
	if (ops)
		n->ops = *ops;
	n->timer = loop_timer_new(l, on_timer, n);
	n->ask_io = loop_io_new(l, ask, LOOP_READ, on_ask, n);
	if (hear >= 0)
		n->hear_io = loop_io_new(l, hear, LOOP_READ, on_hear, n);
	*ret = n;
	return 0;
}

struct netlink *netlink_close(struct netlink *n)
{
	if (!n)
		return NULL;
	while (n->requests)
		request_free(n, n->requests);
	loop_timer_free(n->timer);
	loop_io_free(n->ask_io);
	(void)close(n->ask); /* nothing left to do about an error here */
	if (n->hear_io)
		loop_io_free(n->hear_io);
	if (n->hear >= 0)
		(void)close(n->hear);
	free(n);
	return NULL;
}

int netlink_request(struct netlink *n, const struct buf *request, netlink_part_fn *part, netlink_done_fn *done, void *ctx)
{
	struct request *q;
	size_t count = 0;

	if (!buf_ok(request) || request->n < NETLINK_HEADER_BYTES)
		return -EINVAL;
	DL_COUNT(n->requests, q, count);
	if (count >= NETLINK_REQUESTS_MAX)
		return -ENOSPC;
	q = NEW(struct request);
	q->sequence = ++n->sequence;
	q->part = part;
	q->done = done;
	q->ctx = ctx;
	buf_add(&q->message, buf_span(request));
	netlink_set_sequence(&q->message, q->sequence);
	DL_APPEND(n->requests, q);
	send_next(n);
	return 0;
}
