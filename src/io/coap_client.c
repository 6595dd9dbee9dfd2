/* One libcoap context for all sessions of a client: two descriptors for it and one per session, so that a
 * simulator can hold thousands. */
#include "io/coap_client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "io/coap_client_priv.h"

static double loss;                            /* process-wide, as in libcoap */

/* ---- libcoap's callbacks ---- */

static coap_response_t on_response(coap_session_t *session, const coap_pdu_t *sent, const coap_pdu_t *received,
				   const coap_mid_t mid)
{
	struct coap_session *s = coap_session_get_app_data(session);

	return s && call_on_response(s, received) ? COAP_RESPONSE_OK : COAP_RESPONSE_FAIL;
}

static void on_nack(coap_session_t *session, const coap_pdu_t *sent, const coap_nack_reason_t reason, const coap_mid_t mid)
{
	struct coap_session *s = coap_session_get_app_data(session);

	if (s)
		call_on_nack(s, sent, reason);
}

/* ---- the loop ---- */

static void bury(void *ctx)
{
	struct coap_client *c = ctx;
	struct coap_session *s, *next;

	LL_FOREACH_SAFE(c->grave, s, next) {
		/* Takes its messages out of libcoap's queues, which would keep it alive until they time out. */
		coap_session_disconnected(s->s, COAP_NACK_NOT_DELIVERABLE);
		coap_session_release(s->s);
		free(s->identity);
		if (s->key)
			mem_wipe(s->key, s->n_key);
		free(s->key);
		free(s);
	}
	c->grave = NULL;
}

/* libcoap arms its timer at the end of a turn only. A session that was just opened has had none, so its first hello
 * would never be sent again; and a time that passes while the timer is being set leaves it unset. So we look ourselves:
 * soon after a session was opened, when libcoap says, and not long after any turn. */
static void on_turn(void *ctx)
{
	struct coap_client *c = ctx;
	coap_tick_t now;
	unsigned ms;

	coap_ticks(&now);
	c->turning = true;
	ms = coap_io_prepare_epoll(c->ctx, now);
	c->turning = false;
	bury(c);
	if (ms > 0)
		loop_timer_set(c->turn, ms < CLIENT_TURN_MS_MIN ? CLIENT_TURN_MS_MIN : ms);
}

static void on_readable(void *ctx, int fd, unsigned what)
{
	struct coap_client *c = ctx;
	struct epoll_event ev[CLIENT_EVENTS_MAX];
	int n = epoll_wait(fd, ev, CLIENT_EVENTS_MAX, 0);

	if (n <= 0)
		return;
	c->turning = true; /* a session closed now may have an event of its own further on in ev */
	coap_io_do_epoll(c->ctx, ev, (size_t)n);
	c->turning = false;
	bury(c);
	if (!loop_timer_armed(c->turn))
		loop_timer_set(c->turn, CLIENT_TURN_MS);
}

struct coap_client *coap_client_new(struct loop *l)
{
	struct coap_client *c = NEW(struct coap_client);

	coap_lib_start();
	c->loop = l;
	c->token_salt = (uint32_t)random_u64();
	c->ctx = coap_new_context(NULL);
	if (!c->ctx) {
		free(c);
		return NULL;
	}
	coap_set_app_data(c->ctx, c);
	coap_context_set_block_mode(c->ctx, 0);
	coap_register_response_handler(c->ctx, on_response);
	coap_register_nack_handler(c->ctx, on_nack);
	serve_setup(c->ctx);
	c->io = loop_io_new(l, coap_context_get_coap_fd(c->ctx), LOOP_READ, on_readable, c);
	c->bury = loop_timer_new(l, bury, c);
	c->turn = loop_timer_new(l, on_turn, c);
	return c;
}

struct coap_client *coap_client_free(struct coap_client *c)
{
	if (!c)
		return NULL;
	while (c->sessions)
		coap_session_close(c->sessions);
	bury(c);
	loop_io_free(c->io);
	loop_timer_free(c->bury);
	loop_timer_free(c->turn);
	coap_free_context(c->ctx);
	free(c);
	return NULL;
}

/* ---- loss ---- */

void coap_client_set_loss(double fraction, uint64_t seed)
{
	char text[16];

	coap_lib_start();
	loss = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
	(void)snprintf(text, sizeof(text), "%d%%", (int)(loss * 100 + 0.5));
	(void)coap_debug_set_packet_loss(text); /* what we send; the text is well-formed */
}

/* What we receive is dropped by the kernel, before libcoap could take an ACK from it. */
static void lose_some(struct coap_session *s, int hint)
{
	uint32_t threshold = (uint32_t)(loss * UINT32_MAX);
	struct sock_filter code[] = {
		{ BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM) },
		{ BPF_JMP | BPF_JGE | BPF_K, 0, 1, threshold },
		{ BPF_RET | BPF_K, 0, 0, UINT32_MAX },
		{ BPF_RET | BPF_K, 0, 0, 0 },
	};
	struct sock_fprog prog = { .len = sizeof(code) / sizeof(*code), .filter = code };
	int fd = coap_lib_find_socket(s->c->ctx, coap_session_get_addr_local(s->s), hint, NULL, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0)
		log_line(LOG_WARNING, "coap: no loss of received datagrams: %s", strerror(fd < 0 ? -fd : errno));
}

/* The descriptor that the next socket() will return. */
static int lowest_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd;
}

/* ---- sessions ---- */

static void set_timing(struct coap_session *s, const struct coap_session_config *q, bool secure)
{
	s->ack_ms = q->ack_timeout_ms ? q->ack_timeout_ms : CLIENT_ACK_MS_DEFAULT;
	if (s->ack_ms < CLIENT_ACK_MS_MIN)
		s->ack_ms = CLIENT_ACK_MS_MIN;
	s->max_retransmit = q->max_retransmit ? q->max_retransmit : CLIENT_RETRANSMIT_DEFAULT;
	if (s->max_retransmit > CLIENT_RETRANSMIT_MAX)
		s->max_retransmit = CLIENT_RETRANSMIT_MAX;
	coap_session_set_ack_timeout(s->s, (coap_fixed_point_t){ (uint16_t)(s->ack_ms / 1000), (uint16_t)(s->ack_ms % 1000) });
	coap_session_set_max_retransmit(s->s, (uint16_t)s->max_retransmit);
	coap_session_set_mtu(s->s, secure ? CLIENT_DTLS_MTU : CLIENT_UDP_MTU);
}

static void open_session(struct coap_session *s, const coap_address_t *to, bool secure)
{
	coap_dtls_cpsk_t psk = { .version = COAP_DTLS_CPSK_SETUP_VERSION };

	if (!secure) {
		s->s = coap_new_client_session(s->c->ctx, NULL, to, COAP_PROTO_UDP);
		return;
	}
	/* libcoap keeps these pointers as long as the session. */
	psk.psk_info.identity = (coap_bin_const_t){ .length = strlen(s->identity), .s = (const uint8_t *)s->identity };
	psk.psk_info.key = (coap_bin_const_t){ .length = s->n_key, .s = s->key };
	s->s = coap_new_client_session_psk2(s->c->ctx, NULL, to, COAP_PROTO_DTLS, &psk);
}

int coap_session_open(struct coap_client *c, const struct coap_session_config *q, struct coap_session **ret)
{
	struct coap_session *s;
	struct coap_uri u;
	coap_address_t to;
	int hint = -1;
	int r = coap_uri_parse(span_str(q->uri), &u);

	if (r < 0)
		return r;
	if (u.secure && (!q->psk_identity || q->psk_key.n == 0))
		return -EINVAL;
	r = coap_lib_resolve(&u, true, &to);
	if (r < 0)
		return r;
	s = NEW(struct coap_session);
	s->c = c;
	if (u.secure) {
		s->identity = mem_strdup(q->psk_identity);
		s->n_key = q->psk_key.n;
		s->key = mem_new(1, s->n_key);
		memcpy(s->key, q->psk_key.p, s->n_key);
	}
	if (loss > 0)
		hint = lowest_fd();
	open_session(s, &to, u.secure);
	if (!s->s) {
		free(s->identity);
		free(s->key);
		free(s);
		return -EHOSTUNREACH;
	}
	coap_session_set_app_data(s->s, s);
	set_timing(s, q, u.secure);
	if (loss > 0)
		lose_some(s, hint);
	DL_APPEND(c->sessions, s);
	if (u.secure)
		loop_timer_set(c->turn, CLIENT_TURN_MS_MIN);
	*ret = s;
	return 0;
}

struct coap_session *coap_session_close(struct coap_session *s)
{
	struct coap_client *c;

	if (!s)
		return NULL;
	c = s->c;
	coap_session_set_app_data(s->s, NULL);
	DL_DELETE(c->sessions, s);
	calls_end(s, -ECANCELED);
	serve_end(s);
	LL_PREPEND(c->grave, s);
	if (!c->turning)
		loop_timer_set(c->bury, 0);
	return NULL;
}
