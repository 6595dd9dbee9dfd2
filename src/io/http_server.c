#include "io/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "io/http_conn.h"

enum { HTTP_ACCEPTS_PER_TURN = 16, HTTP_ACCEPT_PAUSE_MS = 200, HTTP_BACKLOG = 128, HTTP_FULL_LOG_S = 60 };

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

struct http_listener {
	struct http_server *server;
	int fd;
	struct loop_io *io;                    /* NULL while paused */
	struct loop_timer *resume;
	SSL_CTX *tls;                          /* NULL = plain */
	bool is_unix, check_host;
	char text[sizeof(((struct sockaddr_un *)0)->sun_path) + 8]; /* "unix:" and a path, or an address with port */
	dev_t dev;                             /* of the socket we made, so that we remove no other */
	ino_t ino;
};

struct http_server *http_server_new(struct loop *l, http_handler_fn *fn, void *ctx)
{
	struct http_server *s = NEW(struct http_server);

	*s = (struct http_server){ .loop = l, .fn = fn, .ctx = ctx, .limits = HTTP_LIMITS_DEFAULT };
	return s;
}

static void listener_free(struct http_listener *ln)
{
	struct stat st;

	if (ln->is_unix && ln->ino && stat(ln->text + 5, &st) == 0 && st.st_dev == ln->dev && st.st_ino == ln->ino)
		(void)unlink(ln->text + 5);    /* a left-over is replaced by the next start */
	loop_io_free(ln->io);
	loop_timer_free(ln->resume);
	SSL_CTX_free(ln->tls);
	closep(&ln->fd);
	free(ln);
}

static void listener_freep(struct http_listener **ln)
{
	if (*ln)
		listener_free(*ln);
}

struct http_server *http_server_free(struct http_server *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < s->n_listeners; i++)
		listener_free(s->listeners[i]);
	while (s->conns)
		http_conn_free(s->conns);
	for (size_t i = 0; i < s->n_names; i++)
		free(s->names[i]);
	free(s);
	return NULL;
}

void http_server_set_limits(struct http_server *s, const struct http_limits *limits)
{
	s->limits = *limits;
	if (s->limits.n_connections > HTTP_CONNECTIONS_MAX)
		s->limits.n_connections = HTTP_CONNECTIONS_MAX;
}

void http_server_set_names(struct http_server *s, const char *const *names, size_t n)
{
	for (size_t i = 0; i < s->n_names; i++)
		free(s->names[i]);
	s->n_names = n < HTTP_NAMES_MAX ? n : HTTP_NAMES_MAX;
	for (size_t i = 0; i < s->n_names; i++)
		s->names[i] = mem_strdup(names[i]);
}

const char *http_server_address(struct http_server *s, size_t i)
{
	return i < s->n_listeners ? s->listeners[i]->text : NULL;
}

/* Accepting */

/* Room for one more, if need be by dropping the connection that has been idle the longest. What comes over TCP never
 * drops a Unix socket's: that one may be an administrator's whose request is on its way. */
static bool server_has_room(struct http_server *s, bool is_unix)
{
	size_t max = is_unix ? s->limits.n_connections : s->limits.n_connections - s->limits.n_connections / 8;
	struct http_conn *c;
	struct mono now = mono_now();

	if (s->n_conns < max)
		return true;
	DL_FOREACH(s->conns, c) {
		if (c->state == HTTP_CONN_IDLE && (is_unix || !c->is_unix)) {
			http_conn_free(c);
			return true;
		}
	}
	if (!s->full_was_logged || mono_diff_ms(now, s->full_logged) >= HTTP_FULL_LOG_S * 1000) {
		log_event(EV_LIMIT_REACHED, LOG_WARNING, "http: %zu connections are open; new ones are refused", s->n_conns);
		s->full_was_logged = true;
		s->full_logged = now;
	}
	return false;
}

static void address_text(const union address *a, char *ret, size_t ret_bytes)
{
	char ip[INET6_ADDRSTRLEN] = "";

	if (a->sa.sa_family == AF_INET6) {
		(void)inet_ntop(AF_INET6, &a->in6.sin6_addr, ip, sizeof(ip)); /* fits */
		(void)snprintf(ret, ret_bytes, "[%s]:%u", ip, ntohs(a->in6.sin6_port)); /* fits */
	} else {
		(void)inet_ntop(AF_INET, &a->in.sin_addr, ip, sizeof(ip)); /* fits */
		(void)snprintf(ret, ret_bytes, "%s:%u", ip, ntohs(a->in.sin_port)); /* fits */
	}
}

static struct bufferevent *wrap_socket(struct http_listener *ln, int fd)
{
	struct event_base *base = loop_base(ln->server->loop);
	struct bufferevent *bev;

	if (!ln->tls)
		return bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	SSL *ssl = SSL_new(ln->tls);
	if (!ssl)
		return NULL;
	bev = bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
	if (bev)
		bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	else
		SSL_free(ssl);
	return bev;
}

static void welcome(struct http_listener *ln, int fd, const union address *peer)
{
	struct http_conn like = { .is_unix = ln->is_unix, .is_tls = ln->tls != NULL, .check_host = ln->check_host };
	int on = 1;

	if (ln->is_unix) {
		struct ucred cred = { .uid = (uid_t)-1 };
		socklen_t n = sizeof(cred);
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0) {
			(void)close(fd);       /* nobody we could name */
			return;
		}
		like.uid = cred.uid;
		(void)snprintf(like.peer, sizeof(like.peer), "unix:%u", like.uid); /* fits */
	} else {
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* only slower without */
		address_text(peer, like.peer, sizeof(like.peer));
	}
	struct bufferevent *bev = wrap_socket(ln, fd);
	if (bev)
		http_conn_new(ln->server, bev, &like);
	else
		(void)close(fd);               /* memory is gone */
}

static void accept_cb(void *ctx, int fd, unsigned what);

static void resume_cb(void *ctx)
{
	struct http_listener *ln = ctx;

	ln->io = loop_io_new(ln->server->loop, ln->fd, LOOP_READ, accept_cb, ln);
	if (!ln->io)
		loop_timer_set(ln->resume, HTTP_ACCEPT_PAUSE_MS);
}

static void accept_cb(void *ctx, int fd, unsigned what)
{
	struct http_listener *ln = ctx;

	for (int i = 0; i < HTTP_ACCEPTS_PER_TURN; i++) {
		union address peer = { 0 };
		socklen_t n = sizeof(peer);
		int conn = accept4(fd, &peer.sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (conn < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
				ln->io = loop_io_free(ln->io); /* it would stay readable: look again in a while */
				loop_timer_set(ln->resume, HTTP_ACCEPT_PAUSE_MS);
			}
			return;
		}
		if (server_has_room(ln->server, ln->is_unix))
			welcome(ln, conn, &peer);
		else
			(void)close(conn);     /* refused */
	}
}

/* Listening */

static int parse_tcp(const char *address, union address *ret, socklen_t *ret_n)
{
	const char *colon = strrchr(address, ':');
	char host[INET6_ADDRSTRLEN + 2];
	uint64_t port;

	if (!colon || text_copy(host, sizeof(host), SPAN(address, (size_t)(colon - address))) < 0 ||
	    text_parse_u64(span_str(colon + 1), 65535, &port, 0) < 0)
		return -EBADMSG;
	size_t n = strlen(host);
	*ret = (union address){ 0 };
	if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = 0;
		*ret_n = sizeof(ret->in6);
		ret->in6.sin6_family = AF_INET6;
		ret->in6.sin6_port = htons((uint16_t)port);
		return inet_pton(AF_INET6, host + 1, &ret->in6.sin6_addr) == 1 ? 0 : -EBADMSG;
	}
	*ret_n = sizeof(ret->in);
	ret->in.sin_family = AF_INET;
	ret->in.sin_port = htons((uint16_t)port);
	return inet_pton(AF_INET, host, &ret->in.sin_addr) == 1 ? 0 : -EBADMSG;
}

static bool is_loopback(const union address *a)
{
	if (a->sa.sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
	return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
}

static int listen_tcp(struct http_listener *ln, const char *address)
{
	union address a;
	socklen_t n;
	int on = 1;

	int r = parse_tcp(address, &a, &n);
	if (r < 0)
		return r;
	ln->check_host = is_loopback(&a);
	if (!ln->check_host && !ln->tls)
		return -EPERM;
	ln->fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (ln->fd < 0)
		return -errno;
	if (setsockopt(ln->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    (a.sa.sa_family == AF_INET6 && setsockopt(ln->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) ||
	    bind(ln->fd, &a.sa, n) < 0 || listen(ln->fd, HTTP_BACKLOG) < 0 || getsockname(ln->fd, &a.sa, &n) < 0)
		return -errno;
	address_text(&a, ln->text, sizeof(ln->text));
	return 0;
}

/* A socket left by a daemon that died may go; one that somebody answers on, or anything else, stays. */
static int remove_stale_socket(const struct sockaddr_un *un)
{
	struct stat st;

	if (lstat(un->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 || errno == EAGAIN)
		return -EADDRINUSE;
	if (errno != ECONNREFUSED)
		return -errno;
	return unlink(un->sun_path) < 0 ? -errno : 0;
}

static int listen_unix(struct http_listener *ln, const char *path, unsigned mode)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct stat st;

	ln->is_unix = true;
	if (*path != '/')
		return -EBADMSG;
	if (text_copy(un.sun_path, sizeof(un.sun_path), span_str(path)) < 0)
		return -ENAMETOOLONG;
	int r = remove_stale_socket(&un);
	if (r < 0)
		return r;
	ln->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (ln->fd < 0)
		return -errno;
	/* The kernel makes the file with the socket's own mode (less the umask), so it is never wider than asked;
	 * chmod() then gives back what the umask took, before anyone can connect. */
	if (fchmod(ln->fd, mode) < 0 || bind(ln->fd, (const struct sockaddr *)&un, sizeof(un)) < 0)
		return -errno;
	if (stat(path, &st) < 0)
		return -errno;
	ln->dev = st.st_dev;
	ln->ino = st.st_ino;
	(void)snprintf(ln->text, sizeof(ln->text), "unix:%s", path); /* fits, as sun_path did */
	if (chmod(path, mode) < 0 || listen(ln->fd, HTTP_BACKLOG) < 0)
		return -errno;
	return 0;
}

static int no_password(char *buf, int size, int rwflag, void *ctx)
{
	return 0;                              /* never ask at the terminal */
}

static int load_tls(const char *cert_file, const char *key_file, SSL_CTX **ret)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_server_method());

	if (!tls)
		return -ENOMEM;
	SSL_CTX_set_default_passwd_cb(tls, no_password);
	(void)SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	if (SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1 || SSL_CTX_use_certificate_chain_file(tls, cert_file) != 1 ||
	    SSL_CTX_use_PrivateKey_file(tls, key_file ? key_file : cert_file, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(tls) != 1) {
		ERR_clear_error();
		SSL_CTX_free(tls);
		return -EKEYREJECTED;
	}
	*ret = tls;
	return 0;
}

int http_server_listen(struct http_server *s, const char *address, unsigned unix_mode, const char *cert_file, const char *key_file)
{
	_cleanup_(listener_freep) struct http_listener *ln = NULL;
	int r;

	if (s->n_listeners == HTTP_LISTENERS_MAX)
		return -ENOSPC;
	ln = NEW(struct http_listener);
	ln->server = s;
	ln->fd = -1;
	if (cert_file) {
		r = load_tls(cert_file, key_file, &ln->tls);
		if (r < 0)
			return r;
	}
	if (strncmp(address, "unix:", 5) == 0)
		r = listen_unix(ln, address + 5, unix_mode);
	else
		r = listen_tcp(ln, address);
	if (r < 0)
		return r;
	ln->resume = loop_timer_new(s->loop, resume_cb, ln);
	ln->io = loop_io_new(s->loop, ln->fd, LOOP_READ, accept_cb, ln);
	if (!ln->io)
		return -EIO;
	s->listeners[s->n_listeners++] = TAKE(ln);
	return 0;
}
