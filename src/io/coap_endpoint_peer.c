/* Who is at the other end: our state per libcoap session, and DTLS credentials. */
#include <errno.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/random.h"
#include "base/text.h"
#include "io/coap_endpoint_priv.h"

#define X509_PREFIX "x509:"

enum { X509_KEY_ID_BYTES_MAX = 28, X509_KEY_ID_BYTES_OWN = 20 };

/* The certificate's subject key identifier, or the start of SHA-256 of its public key. */
static void x509_identity(SSL *ssl, char ret[static COAP_IDENTITY_BYTES_MAX + 1])
{
	X509 *cert = ssl ? SSL_get1_peer_certificate(ssl) : NULL;
	const ASN1_OCTET_STRING *id;
	uint8_t *der = NULL;
	int n;

	if (!cert)
		return;
	memcpy(ret, X509_PREFIX, sizeof(X509_PREFIX));
	id = X509_get0_subject_key_id(cert);
	n = id ? ASN1_STRING_length(id) : 0;
	if (n > 0 && n <= X509_KEY_ID_BYTES_MAX) {
		text_hex(SPAN(ASN1_STRING_get0_data(id), (size_t)n), ret + strlen(X509_PREFIX));
	} else if ((n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der)) > 0) {
		struct digest d = digest_of(SPAN(der, (size_t)n));

		text_hex(SPAN(d.b, X509_KEY_ID_BYTES_OWN), ret + strlen(X509_PREFIX));
		OPENSSL_free(der);
	} else {
		ret[0] = '\0';
	}
	X509_free(cert);
}

static bool psk_identity_ok(struct span id)
{
	return id.n > 0 && id.n <= COAP_IDENTITY_BYTES_MAX && text_is_clean(id) && !span_starts(id, SPAN_LIT(X509_PREFIX));
}

static void set_identity(struct peer *p)
{
	const coap_bin_const_t *id = coap_session_get_psk_identity(p->session);
	struct span s = id ? SPAN(id->s, id->length) : SPAN_NONE;
	coap_tls_library_t lib;

	if (!p->p.secure)
		return;
	if (s.n == 0)
		x509_identity(coap_session_get_tls(p->session, &lib), p->p.identity);
	else if (psk_identity_ok(s))
		(void)text_copy(p->p.identity, sizeof(p->p.identity), s); /* length checked */
}

struct peer *peer_get(struct coap_endpoint *e, coap_session_t *session)
{
	struct peer *p = coap_session_get_app_data(session);

	if (p)
		return p;
	p = NEW(struct peer);
	p->e = e;
	p->session = session;
	coap_lib_peer(session, &p->p);
	p->p.session = ++e->next_session;
	coap_lib_peer_key(session, &p->key);
	if (p->p.secure)
		p->key.session = p->p.session;
	set_identity(p);
	DL_APPEND(e->peers, p);
	coap_session_set_app_data(session, p);
	metric_add(METRIC_COAP_SESSIONS, 1);
	return p;
}

void peer_hold(struct peer *p)
{
	coap_session_reference(p->session);
}

void peer_release(struct peer *p)
{
	coap_session_release(p->session);
}

void peer_end(struct peer *p)
{
	peer_is_alive(p); /* no longer asked, at any rate */
	observers_drop_peer(p);
	deferred_drop_peer(p);
	while (p->assemblies)
		assembly_drop(p->assemblies);
	coap_snapshots_forget(p->e->snapshots, p->p.session);
}

void peer_drop(struct peer *p)
{
	peer_end(p);
	coap_session_set_app_data(p->session, NULL);
	DL_DELETE(p->e->peers, p);
	metric_add(METRIC_COAP_SESSIONS, -1);
	free(p);
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

void peer_is_alive(struct peer *p)
{
	if (!p->probed)
		return;
	p->probed = false;
	p->e->n_probed--;
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

static int setup_x509(struct coap_endpoint *e)
{
	coap_dtls_pki_t pki = {
		.version = COAP_DTLS_PKI_SETUP_VERSION,
		.verify_peer_cert = 1,
		.cert_chain_validation = 1,
		.cert_chain_verify_depth = 4,
	};

	pki.pki_key.key_type = COAP_PKI_KEY_PEM;
	pki.pki_key.key.pem.public_cert = e->c.cert_file;
	pki.pki_key.key.pem.private_key = e->c.key_file;
	pki.pki_key.key.pem.ca_file = e->c.ca_file;
	return coap_context_set_pki(e->ctx, &pki) ? 0 : -EINVAL;
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
	if (e->c.cert_file && setup_x509(e) < 0)
		return -EINVAL;
	if (e->c.psk) {
		/* libcoap wants some key here; every handshake asks on_identity() instead. */
		random_bytes(e->psk_key, sizeof(e->psk_key));
		psk.psk_info.key = (coap_bin_const_t){ .length = sizeof(e->psk_key), .s = e->psk_key };
		if (!coap_context_set_psk2(e->ctx, &psk))
			return -EINVAL;
	}
	return 0;
}
