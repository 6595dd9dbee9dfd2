/* DTLS as constrained nodes use it: a fixed source port, and restarts that forget the session. The peer here is OpenSSL itself. */
#include <openssl/ssl.h>

#include "coap_fixture.h"

struct node {
	struct fixture *f;
	SSL_CTX *ctx;
	SSL *ssl;
	int fd;
};

static unsigned psk(SSL *ssl, const char *hint, char *identity, unsigned max_identity, unsigned char *key, unsigned max_key)
{
	(void)snprintf(identity, max_identity, "node-5");
	memcpy(key, "node-5", 6);
	return 6;
}

static void node_open(struct node *n, struct fixture *f)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	*n = (struct node){ .f = f, .ctx = SSL_CTX_new(DTLS_client_method()), .fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };
	a.sin_port = htons((uint16_t)atoi(strrchr(f->secure, ':') + 1));
	assert_int_equal(connect(n->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	SSL_CTX_set_psk_client_callback(n->ctx, psk);
	assert_int_equal(SSL_CTX_set_cipher_list(n->ctx, "PSK"), 1);
}

static void node_close(struct node *n)
{
	SSL_free(n->ssl);
	SSL_CTX_free(n->ctx);
	close(n->fd);
}

/* Power lost and found: a new association from the same port, the old one never closed. True when it came up. */
static bool node_boot(struct node *n, int in_ms)
{
	BIO *bio = BIO_new_dgram(n->fd, BIO_NOCLOSE);
	struct sockaddr_storage to;
	socklen_t n_to = sizeof(to);
	uint8_t old[1500];

	SSL_free(n->ssl);
	while (recv(n->fd, old, sizeof(old), 0) > 0)
		;
	n->ssl = SSL_new(n->ctx);
	assert_int_equal(getpeername(n->fd, (struct sockaddr *)&to, &n_to), 0);
	BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_CONNECTED, 0, &to);
	SSL_set_bio(n->ssl, bio, bio);
	for (int left = in_ms; left > 0; left -= 10) {
		int r = SSL_connect(n->ssl);

		if (r == 1)
			return true;
		if (SSL_get_error(n->ssl, r) != SSL_ERROR_WANT_READ)
			return false;
		(void)loop_run_for(n->f->loop, 10);
		(void)DTLSv1_handle_timeout(n->ssl); /* says hello again when it is time */
	}
	return false;
}

/* GET /secret, and the answer if it comes; pings are answered on the way when is_alive. */
static bool node_get(struct node *n, struct span *ret, uint8_t buf[static 1500])
{
	static uint16_t mid = 1;
	struct raw m;

	raw_start(&m, CON, COAP_M_GET, mid++, "g");
	raw_text(&m, 11, "secret");
	assert_int_equal(SSL_write(n->ssl, m.b, (int)m.n), (int)m.n);
	for (int left = 3000; left > 0; left -= 5) {
		int r = SSL_read(n->ssl, m.b, sizeof(m.b));

		if (r > 4 && m.b[1] == COAP_205_CONTENT) {
			m.n = (size_t)r;
			memcpy(buf, m.b, m.n);
			if (!raw_find(&m, 0xffff, ret))
				return false;
			*ret = SPAN(buf + (ret->p - m.b), ret->n);
			return true;
		}
		(void)loop_run_for(n->f->loop, 5);
	}
	return false;
}

static void a_node_that_restarts_on_its_port_is_let_in_again(void **state)
{
	struct fixture *f = *state;
	struct span body = SPAN_NONE;
	uint8_t buf[1500];
	struct node n;

	node_open(&n, f);
	assert_true(node_boot(&n, 5000));
	assert_true(node_get(&n, &body, buf));
	assert_true(span_eq_str(body, "node-5"));
	assert_true(node_boot(&n, 15000));
	assert_true(node_get(&n, &body, buf));
	node_close(&n);
}

/* A hello with the address of a node that is there must not end its association. */
static void a_forged_hello_does_not_put_a_node_out(void **state)
{
	static const uint8_t hello[] = { 22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1 };
	struct fixture *f = *state;
	struct span body = SPAN_NONE;
	uint8_t buf[1500];
	bool ponged = false;
	struct node n;

	node_open(&n, f);
	assert_true(node_boot(&n, 5000));
	assert_true(node_get(&n, &body, buf));
	assert_int_equal(send(n.fd, hello, sizeof(hello), 0), sizeof(hello));
	for (int left = 7000; left > 0; left -= 10) {
		struct raw m, pong;
		int r = SSL_read(n.ssl, m.b, sizeof(m.b));

		if (r == 4 && m.b[1] == 0 && !ponged) {
			raw_start(&pong, RST, 0, raw_mid(&m), "");
			assert_int_equal(SSL_write(n.ssl, pong.b, (int)pong.n), (int)pong.n);
			ponged = true;
		}
		(void)loop_run_for(f->loop, 10);
	}
	assert_true(ponged);
	assert_true(node_get(&n, &body, buf));
	node_close(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(a_node_that_restarts_on_its_port_is_let_in_again),
		fixture_test(a_forged_hello_does_not_put_a_node_out),
	};
	return cmocka_run_group_tests_name("io/coap_dtls", tests, NULL, NULL);
}
