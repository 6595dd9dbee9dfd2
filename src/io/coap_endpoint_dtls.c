/* DTLS: who is at the other end by PSK or certificate, and nodes that come anew. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/text.h"
#include "base/tmpfile.h"
#include "io/coap_endpoint_priv.h"

#define X509_PREFIX "x509:"

/* SHA-1 of the public key: what a CA usually writes as the subject key identifier (RFC 5280 4.2.1.2, method 1), but computed, for
 * the extension itself is whatever the requester could talk its CA into. */
static void x509_identity(SSL *ssl, char ret[static COAP_IDENTITY_BYTES_MAX + 1])
{
	X509 *cert = ssl ? SSL_get1_peer_certificate(ssl) : NULL;
	uint8_t md[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (!cert)
		return;
	if (X509_pubkey_digest(cert, EVP_sha1(), md, &n) == 1 && strlen(X509_PREFIX) + 2 * n <= COAP_IDENTITY_BYTES_MAX) {
		memcpy(ret, X509_PREFIX, sizeof(X509_PREFIX));
		text_hex(SPAN(md, n), ret + strlen(X509_PREFIX));
	}
	X509_free(cert);
}

static bool psk_identity_ok(struct span id)
{
	return id.n > 0 && id.n <= COAP_IDENTITY_BYTES_MAX && text_is_clean(id) && !span_starts(id, SPAN_LIT(X509_PREFIX));
}

void endpoint_identify(const coap_session_t *session, struct coap_peer *ret)
{
	const coap_bin_const_t *id = coap_session_get_psk_identity(session);
	struct span s = id ? SPAN(id->s, id->length) : SPAN_NONE;
	coap_tls_library_t lib;

	if (!ret->secure)
		return;
	if (s.n == 0)
		x509_identity(coap_session_get_tls(session, &lib), ret->identity);
	else if (psk_identity_ok(s))
		(void)text_copy(ret->identity, sizeof(ret->identity), s); /* length checked */
}

uint64_t peer_bytes_heard(const struct peer *p)
{
	coap_tls_library_t lib;
	SSL *ssl = p->p.secure ? coap_session_get_tls(p->session, &lib) : NULL;

	return ssl ? BIO_number_read(SSL_get_rbio(ssl)) : 0;
}

/* ---- a node that lost its session and says hello again from the same port ----
 *
 * OpenSSL drops a ClientHello (epoch 0) on an association that is up, so such a node would stay out until the session
 * is idle, which its hellos prevent. Anybody can send a hello with its address, though: so ask the association itself,
 * with a CoAP ping, and end it only when nothing authentic comes back (RFC 6347 4.2.8 in spirit). */

enum { DTLS_HEADER_BYTES = 14, DTLS_HANDSHAKE = 22, DTLS_CLIENT_HELLO = 1 };

static void probe(struct coap_endpoint *e, const coap_address_t *from, uint16_t local_port)
{
	struct coap_peer_key key;
	struct peer *p;
	coap_mid_t mid;

	coap_lib_key_of(from, local_port, &key);
	DL_FOREACH(e->peers, p) {
		key.session = p->key.session;
		if (p->p.secure && !p->probed && memcmp(&key, &p->key, sizeof(key)) == 0)
			break;
	}
	if (!p)
		return;
	mid = coap_session_send_ping(p->session);
	if (mid == COAP_INVALID_MID)
		return;
	p->probed = true;
	p->probe_mid = (uint16_t)mid;
	p->probe_at = mono_now();
	e->n_probed++;
}

static void peek_hello(struct coap_endpoint *e, const struct listener *l)
{
	uint8_t h[DTLS_HEADER_BYTES];
	struct sockaddr_storage from;
	socklen_t n = sizeof(from);
	coap_address_t a;

	if (recvfrom(l->fd, h, sizeof(h), MSG_PEEK | MSG_DONTWAIT, (struct sockaddr *)&from, &n) != sizeof(h))
		return;
	if (h[0] != DTLS_HANDSHAKE || h[3] != 0 || h[4] != 0 || h[13] != DTLS_CLIENT_HELLO)
		return;
	coap_address_init(&a);
	memcpy(&a.addr, &from, n < sizeof(a.addr) ? n : sizeof(a.addr));
	probe(e, &a, coap_address_get_port(&l->addr));
}

/* Looks at the head of each queue; a hello that is missed comes again. */
void endpoint_peek_hello(struct coap_endpoint *e)
{
	for (size_t i = 0; i < e->n_listener; i++) {
		if (e->listener[i].secure)
			peek_hello(e, &e->listener[i]);
	}
}

void endpoint_sweep_probes(struct coap_endpoint *e, struct mono now)
{
	struct peer *p;

	if (e->n_probed == 0)
		return;
	DL_FOREACH(e->peers, p) {
		if (!p->probed || mono_diff_ms(now, p->probe_at) < ENDPOINT_PROBE_MS)
			continue;
		p->closed = true;
		loop_timer_set(e->close, 0);
	}
}

static const coap_bin_const_t *on_identity(coap_bin_const_t *identity, coap_session_t *session, void *arg)
{
	struct coap_endpoint *e = arg;
	struct span id = SPAN(identity->s, identity->length);
	struct buf text = { 0 };
	int n = -ENOENT;

	mem_wipe(e->psk_key, sizeof(e->psk_key));
	if (psk_identity_ok(id))
		n = e->c.psk(e->c.psk_ctx, id, e->psk_key, sizeof(e->psk_key));
	if (n > 0) {
		e->psk = (coap_bin_const_t){ .length = (size_t)n, .s = e->psk_key };
		return &e->psk;
	}
	text_add_escaped(&text, id, COAP_IDENTITY_BYTES_MAX);
	log_event(EV_AUTH_REFUSED, LOG_INFO, "DTLS: no key for identity \"%s\"", buf_str(&text));
	buf_done(&text);
	return NULL;
}

static int no_passphrase(char *ret, int size, int writing, void *ctx)
{
	return -1; /* libcoap would ask at the terminal, at each handshake */
}

/* Whether the PEM texts hold a certificate and its unencrypted key: libcoap would notice at the first handshake only. */
static bool is_pair(struct span cert, struct span key)
{
	BIO *c = BIO_new_mem_buf(cert.p, (int)cert.n), *k = BIO_new_mem_buf(key.p, (int)key.n);
	X509 *x = c ? PEM_read_bio_X509(c, NULL, NULL, NULL) : NULL;
	EVP_PKEY *pkey = k ? PEM_read_bio_PrivateKey(k, NULL, no_passphrase, NULL) : NULL;
	bool ok = x && pkey && X509_check_private_key(x, pkey) == 1;

	EVP_PKEY_free(pkey);
	X509_free(x);
	BIO_free(k);
	BIO_free(c);
	ERR_clear_error();
	return ok;
}

/* Given a file name, libcoap reads the file again at each handshake; so it gets the bytes, which the endpoint keeps. */
static int setup_x509(struct coap_endpoint *e)
{
	const char *const file[ENDPOINT_PEM_COUNT] = { e->c.cert_file, e->c.key_file, e->c.ca_file };
	coap_dtls_pki_t pki = {
		.version = COAP_DTLS_PKI_SETUP_VERSION,
		.verify_peer_cert = 1,
		.cert_chain_validation = 1,
		.cert_chain_verify_depth = 4,
	};
	coap_pki_key_pem_buf_t *pem = &pki.pki_key.key.pem_buf;

	for (size_t i = 0; i < ENDPOINT_PEM_COUNT; i++) {
		int r = file[i] ? file_read(AT_FDCWD, file[i], ENDPOINT_PEM_BYTES_MAX, &e->pem[i], &e->n_pem[i]) : -EINVAL;

		if (r < 0)
			return r;
	}
	if (!is_pair(SPAN(e->pem[0], e->n_pem[0]), SPAN(e->pem[1], e->n_pem[1])))
		return -EINVAL;
	pki.pki_key.key_type = COAP_PKI_KEY_PEM_BUF;
	pem->public_cert = e->pem[0];
	pem->public_cert_len = e->n_pem[0];
	pem->private_key = e->pem[1];
	pem->private_key_len = e->n_pem[1];
	pem->ca_cert = e->pem[2];
	pem->ca_cert_len = e->n_pem[2];
	return coap_context_set_pki(e->ctx, &pki) ? 0 : -EINVAL;
}

void endpoint_dtls_done(struct coap_endpoint *e)
{
	for (size_t i = 0; i < ENDPOINT_PEM_COUNT; i++) {
		if (e->pem[i])
			mem_wipe(e->pem[i], e->n_pem[i]);
		free(e->pem[i]);
	}
}

int endpoint_dtls_setup(struct coap_endpoint *e)
{
	coap_dtls_spsk_t psk = {
		.version = COAP_DTLS_SPSK_SETUP_VERSION,
		.validate_id_call_back = on_identity,
		.id_call_back_arg = e,
	};

	if (!e->c.psk && !e->c.cert_file)
		return -EINVAL;
	if (e->c.cert_file) {
		int r = setup_x509(e);

		if (r < 0)
			return r;
	}
	if (e->c.psk) {
		/* libcoap wants some key here; every handshake asks on_identity() instead. */
		random_bytes(e->psk_key, sizeof(e->psk_key));
		psk.psk_info.key = (coap_bin_const_t){ .length = sizeof(e->psk_key), .s = e->psk_key };
		if (!coap_context_set_psk2(e->ctx, &psk))
			return -EINVAL;
	}
	return 0;
}
