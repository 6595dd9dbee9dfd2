/* DTLS as constrained nodes use it: a fixed source port, restarts that forget the session, certificates. The peer here is OpenSSL
 * itself. */
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

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

/* ---- our own client, over a line that loses a datagram ---- */

struct line {
	int client, server;                    /* the client's far end; connected to the endpoint */
	struct sockaddr_in from;
	unsigned n, lost;
};

static void line_open(struct line *l, const struct fixture *f, char uri[static 64], unsigned lost)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);

	*l = (struct line){ .client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), .server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), .lost = lost };
	assert_int_equal(bind(l->client, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(l->client, (struct sockaddr *)&a, &n), 0);
	(void)snprintf(uri, 64, "coaps://127.0.0.1:%u", ntohs(a.sin_port));
	a.sin_port = htons((uint16_t)atoi(strrchr(f->secure, ':') + 1));
	assert_int_equal(connect(l->server, (struct sockaddr *)&a, sizeof(a)), 0);
}

static void line_turn(struct line *l)
{
	socklen_t n_from = sizeof(l->from);
	uint8_t b[2000];
	ssize_t n;

	while ((n = recvfrom(l->client, b, sizeof(b), MSG_DONTWAIT, (struct sockaddr *)&l->from, &n_from)) > 0)
		if (l->n++ != l->lost)
			assert_int_equal(send(l->server, b, (size_t)n, 0), n);
	while ((n = recv(l->server, b, sizeof(b), MSG_DONTWAIT)) > 0)
		if (l->n++ != l->lost)
			assert_int_equal(sendto(l->client, b, (size_t)n, 0, (struct sockaddr *)&l->from, sizeof(l->from)), n);
}

/* Whichever datagram of the handshake is lost, the first among them: it is sent again in a second or two. */
static void a_handshake_survives_the_loss_of_each_datagram(void **state)
{
	struct fixture *f = *state;
	struct coap_call_request q = a_get("secret");
	unsigned handshake = 0;

	for (unsigned lost = 0; lost <= handshake; lost++) {
		struct coap_session_config c = { .psk_identity = "node-5", .psk_key = span_str("node-5") };
		struct mono start = mono_now();
		struct coap_session *s;
		unsigned before = f->n_got;
		struct line l;
		char uri[64];

		line_open(&l, f, uri, lost ? lost - 1 : UINT32_MAX); /* none at first, to count them */
		c.uri = uri;
		assert_int_equal(coap_session_open(f->client, &c, &s), 0);
		assert_int_equal(coap_call(s, &q, on_answer, f, NULL), 0);
		while (f->n_got == before && mono_diff_ms(mono_now(), start) < 10000) {
			(void)loop_run_for(f->loop, 5);
			line_turn(&l);
		}
		assert_int_equal(f->n_got, before + 1);
		assert_int_equal(f->got.code, COAP_205_CONTENT);
		if (lost == 0)
			handshake = l.n;
		coap_session_close(s);
		(void)loop_run_for(f->loop, 5);
		close(l.client);
		close(l.server);
	}
	assert_in_range(handshake, 7, 16);
}

/* ---- certificates ---- */

struct issued {
	EVP_PKEY *key;
	X509 *cert;
};

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *ext;
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(ext);
	assert_int_equal(X509_add_ext(cert, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

static struct issued issue(const char *name, const struct issued *ca, bool with_key_id)
{
	struct issued out = { .key = EVP_EC_gen("P-256"), .cert = X509_new() };
	X509 *issuer = ca ? ca->cert : out.cert;

	assert_non_null(out.key);
	X509_set_version(out.cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(out.cert), (long)strlen(name) + 1);
	X509_gmtime_adj(X509_getm_notBefore(out.cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(out.cert), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(out.cert), "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1, 0);
	X509_set_issuer_name(out.cert, X509_get_subject_name(issuer));
	X509_set_pubkey(out.cert, out.key);
	add_extension(out.cert, issuer, NID_basic_constraints, ca ? "CA:FALSE" : "critical,CA:TRUE");
	if (with_key_id)
		add_extension(out.cert, issuer, NID_subject_key_identifier, "hash");
	assert_true(X509_sign(out.cert, ca ? ca->key : out.key, EVP_sha256()) > 0);
	return out;
}

static void issued_free(struct issued *i)
{
	EVP_PKEY_free(i->key);
	X509_free(i->cert);
}

static void write_pem(const char *path, X509 *cert, EVP_PKEY *key)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	if (cert)
		assert_int_equal(PEM_write_X509(f, cert), 1);
	if (key)
		assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	assert_int_equal(fclose(f), 0);
}

/* Puts an endpoint with certificates beside the fixture's, as its "secure" one. */
static struct coap_endpoint *x509_endpoint(struct fixture *f, const struct issued *ca)
{
	static const char *const listen[] = { "coaps://127.0.0.1:0" };
	const struct coap_route r = { .path = "secret", .methods = BIT(COAP_M_GET), .secure_only = true, .fn = on_secret, .ctx = f };
	char dir[] = "/tmp/coap-x509-XXXXXX", path[3][64];
	struct coap_endpoint_config c = {
		.listen = listen, .n_listen = 1, .psk = on_psk, .ca_file = path[0], .cert_file = path[1], .key_file = path[2],
	};
	struct issued server = issue("gateway", ca, true);
	struct coap_endpoint *e;

	assert_non_null(mkdtemp(dir));
	for (int i = 0; i < 3; i++)
		(void)snprintf(path[i], sizeof(path[i]), "%s/%d.pem", dir, i);
	write_pem(path[0], ca->cert, NULL);
	write_pem(path[1], server.cert, NULL);
	write_pem(path[2], NULL, server.key);
	e = coap_endpoint_new(f->loop, &c, NULL);
	assert_non_null(e);
	assert_int_equal(coap_endpoint_add(e, &r), 0);
	(void)snprintf(f->secure, sizeof(f->secure), "%s", coap_endpoint_address(e, 0));
	for (int i = 0; i < 3; i++) /* read at the start */
		unlink(path[i]);
	rmdir(dir);
	issued_free(&server);
	return e;
}

static bool boot_with(struct node *n, struct fixture *f, const struct issued *who, const struct issued *ca)
{
	node_open(n, f);
	assert_int_equal(SSL_CTX_set_cipher_list(n->ctx, "ECDHE"), 1);
	SSL_CTX_set_psk_client_callback(n->ctx, NULL);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(n->ctx), ca->cert);
	SSL_CTX_set_verify(n->ctx, SSL_VERIFY_PEER, NULL);
	if (who) {
		assert_int_equal(SSL_CTX_use_certificate(n->ctx, who->cert), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(n->ctx, who->key), 1);
	}
	return node_boot(n, 3000);
}

/* As `openssl x509 -ext subjectKeyIdentifier` shows it, without the colons. */
static void key_identity(X509 *cert, char ret[static 64])
{
	uint8_t md[20];
	unsigned n = 0;

	assert_int_equal(X509_pubkey_digest(cert, EVP_sha1(), md, &n), 1);
	(void)snprintf(ret, 64, "x509:");
	for (unsigned i = 0; i < n; i++)
		(void)snprintf(ret + 5 + 2 * i, 3, "%02x", md[i]);
	if (X509_get0_subject_key_id(cert))
		assert_memory_equal(ASN1_STRING_get0_data(X509_get0_subject_key_id(cert)), md, n);
}

static void a_certificate_is_an_identity(void **state)
{
	struct fixture *f = *state;
	struct issued ca = issue("Root", NULL, true), other = issue("Root", NULL, true);
	struct issued who[] = { issue("with-key-id", &ca, true), issue("without", &ca, false), issue("foreign", &other, true) };
	struct coap_endpoint *e = x509_endpoint(f, &ca);
	struct span body = SPAN_NONE;
	uint8_t buf[1500];
	char want[64];
	struct node n;

	for (int i = 0; i < 2; i++) {
		assert_true(boot_with(&n, f, &who[i], &ca));
		assert_true(node_get(&n, &body, buf));
		key_identity(who[i].cert, want);
		assert_true(span_eq_str(body, want));
		node_close(&n);
	}
	/* from another root, or none at all: no association (the client may think so for a while) */
	for (int i = 0; i < 2; i++) {
		if (boot_with(&n, f, i ? NULL : &who[2], &ca))
			assert_false(node_get(&n, &body, buf));
		node_close(&n);
	}
	node_open(&n, f); /* PSK goes on beside certificates */
	assert_true(node_boot(&n, 3000));
	assert_true(node_get(&n, &body, buf));
	assert_true(span_eq_str(body, "node-5"));
	node_close(&n);
	coap_endpoint_free(e);
	for (int i = 0; i < 3; i++)
		issued_free(&who[i]);
	issued_free(&ca);
	issued_free(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(a_certificate_is_an_identity),
		fixture_test(a_node_that_restarts_on_its_port_is_let_in_again),
		fixture_test(a_forged_hello_does_not_put_a_node_out),
		fixture_test(a_handshake_survives_the_loss_of_each_datagram),
	};
	return cmocka_run_group_tests_name("io/coap_dtls", tests, NULL, NULL);
}
