#include "serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

enum { BATCH = 32, BUFFER_BYTES = 4 << 20 };

static volatile sig_atomic_t stop;

static void on_signal(int signo)
{
	(void)signo;
	stop = 1;
}

static int open_socket(uint16_t port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), bytes = BUFFER_BYTES;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)); /* as much as there is */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : fd;
}

static void send_all(int fd, struct mmsghdr *m, unsigned n)
{
	for (unsigned done = 0; done < n;) {
		int r = sendmmsg(fd, m + done, n - done, 0);

		if (r > 0)
			done += (unsigned)r;
		else if (errno != EINTR)
			done++; /* the client asks again */
	}
}

static void turn(int fd, serve_fn *answer)
{
	static uint8_t in[BATCH][MESSAGE_BYTES_MAX], out[BATCH][MESSAGE_BYTES_MAX];
	static struct sockaddr_in from[BATCH];
	static struct mmsghdr got[BATCH], send[BATCH];
	static struct iovec in_iov[BATCH], out_iov[BATCH];
	unsigned n_send = 0;
	int n;

	for (int i = 0; i < BATCH; i++) {
		in_iov[i] = (struct iovec){ in[i], MESSAGE_BYTES_MAX };
		got[i].msg_hdr = (struct msghdr){ .msg_name = &from[i], .msg_namelen = sizeof(from[i]), .msg_iov = &in_iov[i], .msg_iovlen = 1 };
	}
	n = recvmmsg(fd, got, BATCH, MSG_WAITFORONE, NULL);
	for (int i = 0; i < n; i++) {
		size_t bytes = answer(SPAN(in[i], got[i].msg_len), &from[i], out[n_send]);

		if (bytes == 0)
			continue;
		out_iov[n_send] = (struct iovec){ out[n_send], bytes };
		send[n_send].msg_hdr = (struct msghdr){ .msg_name = &from[i], .msg_namelen = sizeof(from[i]), .msg_iov = &out_iov[n_send], .msg_iovlen = 1 };
		n_send++;
	}
	send_all(fd, send, n_send);
}

int serve(uint16_t port, serve_fn *answer)
{
	struct sigaction action = { .sa_handler = on_signal };
	int fd = open_socket(port);

	if (fd < 0) {
		fprintf(stderr, "port %u: %s\n", port, strerror(-fd));
		return 1;
	}
	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGINT, &action, NULL);
	while (!stop)
		turn(fd, answer);
	return 0;
}
