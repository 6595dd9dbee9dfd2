/* tests/io/wire.h - a raw socket on the test's loop: what it is given to say is written as fast as the peer
 * takes it, what comes is kept. Every wait is bounded by WIRE_LIMIT_MS. */
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/mem.h"
#include "io/loop.h"

enum { WIRE_LIMIT_MS = 20000 };

struct wire {
	struct loop *loop;
	struct loop_io *read, *write;
	int fd;
	struct buf in, out;
	size_t sent;
	bool eof, reset;
	const char *until;                     /* stop the loop once this has come */
	bool until_eof;
};

static inline bool wire_has(const struct wire *w, const char *text)
{
	return w->in.n && memmem(w->in.p, w->in.n, text, strlen(text));
}

static inline size_t wire_count(const struct wire *w, const char *text)
{
	size_t n = 0;
	struct span rest = buf_span(&w->in);

	for (const uint8_t *p; rest.n && (p = memmem(rest.p, rest.n, text, strlen(text))); n++)
		rest = span_sub(buf_span(&w->in), (size_t)(p - w->in.p) + strlen(text), SIZE_MAX);
	return n;
}

static inline void wire_check(struct wire *w)
{
	if ((w->until && wire_has(w, w->until)) || (w->until_eof && w->eof))
		loop_stop(w->loop);
}

static inline void wire_read_cb(void *ctx, int fd, unsigned what)
{
	struct wire *w = ctx;
	uint8_t b[65536];
	ssize_t n = read(fd, b, sizeof(b));

	if (n > 0) {
		buf_add(&w->in, SPAN(b, (size_t)n));
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		w->eof = true;
		w->reset = n < 0;
		w->read = loop_io_free(w->read);
	}
	wire_check(w);
}

static inline void wire_write_cb(void *ctx, int fd, unsigned what)
{
	struct wire *w = ctx;
	ssize_t n = send(fd, w->out.p + w->sent, w->out.n - w->sent, MSG_NOSIGNAL);

	if (n > 0)
		w->sent += (size_t)n;
	if ((n < 0 && errno != EAGAIN) || w->sent == w->out.n)
		w->write = loop_io_free(w->write);
}

static inline void wire_adopt(struct wire *w, struct loop *l, int fd)
{
	*w = (struct wire){ .loop = l, .fd = fd };
	w->read = loop_io_new(l, fd, LOOP_READ, wire_read_cb, w);
}

/* "127.0.0.1:80", "[::1]:80" or "unix:/path". */
static inline void wire_connect(struct wire *w, struct loop *l, const char *address)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} a = { 0 };
	socklen_t n;
	const char *port = strrchr(address, ':');

	if (strncmp(address, "unix:", 5) == 0) {
		a.un.sun_family = AF_UNIX;
		(void)snprintf(a.un.sun_path, sizeof(a.un.sun_path), "%s", address + 5);
		n = sizeof(a.un);
	} else if (*address == '[') {
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_addr = in6addr_loopback;
		a.in6.sin6_port = htons((uint16_t)atoi(port + 1));
		n = sizeof(a.in6);
	} else {
		a.in.sin_family = AF_INET;
		a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		a.in.sin_port = htons((uint16_t)atoi(port + 1));
		n = sizeof(a.in);
	}
	int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_true(connect(fd, &a.sa, n) == 0 || errno == EINPROGRESS);
	wire_adopt(w, l, fd);
}

static inline void wire_say(struct wire *w, struct span s)
{
	buf_add(&w->out, s);
	if (!w->write)
		w->write = loop_io_new(w->loop, w->fd, LOOP_WRITE, wire_write_cb, w);
}

static inline void wire_stop_reading(struct wire *w)
{
	w->read = loop_io_free(w->read);
}

static inline void wire_go_on_reading(struct wire *w)
{
	w->read = loop_io_new(w->loop, w->fd, LOOP_READ, wire_read_cb, w);
}

static inline void wire_wait(struct wire *w, const char *text)
{
	if (wire_has(w, text))
		return;
	w->until = text;
	int r = loop_run_for(w->loop, WIRE_LIMIT_MS);
	w->until = NULL;
	if (r < 0 || !wire_has(w, text))
		fail_msg("did not come: %s\nbut: %s", text, buf_str(&w->in));
}

static inline void wire_wait_eof(struct wire *w)
{
	if (w->eof)
		return;
	w->until_eof = true;
	int r = loop_run_for(w->loop, WIRE_LIMIT_MS);
	w->until_eof = false;
	if (r < 0)
		fail_msg("the peer did not close; it said: %s", buf_str(&w->in));
}

static inline void wire_close(struct wire *w)
{
	loop_io_free(w->read);
	loop_io_free(w->write);
	if (w->fd >= 0)
		close(w->fd);
	buf_done(&w->in);
	buf_done(&w->out);
	w->fd = -1;
}
