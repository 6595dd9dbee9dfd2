#include "node/smp_node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/tmpfile.h"
#include "codec/json.h"
#include "io/udp.h"

enum { RESTART_MS = 300, CRASH_MS = 200, BUF_SIZE = 2048, BUF_COUNT = 4, STATUS_MS = 20 };

static const char *const slot_files[SMP_SERVER_SLOTS] = { "slot-0", "slot-1" };
static const char state_file[] = "smp-state";

struct smp_node {
	struct smp_node_config c;
	struct smp_server *server;
	struct udp *udp;
	struct loop_timer *timer, *status;
	int dirfd;
	uint64_t random;
	uint64_t saved;                        /* what was last written to the disk, as counted by changes() */
	char address[UDP_ADDRESS_TEXT_BYTES];
};

int smp_node_kind(const char *words, struct smp_server_config *ret)
{
	struct smp_server_config c = { .version = SMP_V2, .buf_size = BUF_SIZE, .buf_count = BUF_COUNT, .restart_ms = RESTART_MS };
	_cleanup_free_ char *copy = mem_strdup(words ? words : "");
	const struct { const char *word; bool *flag; } flags[] = {
		{ "single-slot", &c.single_slot }, { "no-hash", &c.no_hash }, { "no-resume", &c.no_resume }, { "must-erase", &c.must_erase },
		{ "damages", &c.damages }, { "refuses-confirm", &c.refuses_confirm },
	};
	char *save = NULL;

	for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		bool known = !strcmp(w, "v1") || !strcmp(w, "no-params") || !strcmp(w, "crashes");

		if (!strcmp(w, "v1"))
			c.version = SMP_V1;
		if (!strcmp(w, "no-params"))
			c.buf_size = 0;
		if (!strcmp(w, "crashes"))
			c.crash_ms = CRASH_MS;
		for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++)
			if (!strcmp(w, flags[i].word))
				known = *flags[i].flag = true;
		if (!known)
			return -EINVAL;
	}
	*ret = c;
	return 0;
}

/* ---- flash ---- */

static uint64_t changes(const struct smp_node *n)
{
	struct smp_server_counts s = smp_server_counts(n->server);

	return s.uploads_begun + s.erases + s.tests + s.restarts + s.confirms;
}

static void save(struct smp_node *n)
{
	char state[32];

	if (changes(n) == n->saved)
		return;
	n->saved = changes(n);
	(void)snprintf(state, sizeof(state), "%s%s\n", smp_server_is_confirmed(n->server) ? "confirmed" : "trial",
		       smp_server_is_pending(n->server) ? " pending" : ""); /* fits */
	int r = file_write_durable(n->dirfd, state_file, span_str(state));
	for (unsigned i = 0; i < SMP_SERVER_SLOTS && r >= 0; i++)
		r = file_write_durable(n->dirfd, slot_files[i], smp_server_slot(n->server, i));
	if (r < 0)
		log_line(LOG_ERR, "%s: %s", n->c.dir, strerror(-r));
}

static int load(struct smp_node *n)
{
	_cleanup_free_ uint8_t *state = NULL;
	size_t n_state;

	for (unsigned i = 0; i < SMP_SERVER_SLOTS; i++) {
		_cleanup_free_ uint8_t *image = NULL;
		size_t n_image;
		int r = file_read(n->dirfd, slot_files[i], SMP_SERVER_SLOT_BYTES, &image, &n_image);

		if (r == 0)
			r = smp_server_put(n->server, i, SPAN(image, n_image));
		if (r < 0 && r != -ENOENT)
			return r;
	}
	if (file_read(n->dirfd, state_file, 64, &state, &n_state) == 0)
		smp_server_restore(n->server, strstr((char *)state, "confirmed"), strstr((char *)state, "pending"));
	return 0;
}

/* ---- what is told of it ---- */

static void put_status(const struct smp_node *n, struct buf *b)
{
	struct smp_server_counts s = smp_server_counts(n->server);
	struct json_out j = json_writer(b);
	const struct { const char *key; uint64_t v; } counts[] = {
		{ "requests", s.requests }, { "uploads", s.uploads_begun }, { "resumed", s.resumed }, { "chunks", s.chunks },
		{ "misplaced", s.misplaced }, { "bytes", s.bytes }, { "erases", s.erases }, { "tests", s.tests }, { "restarts", s.restarts },
		{ "swaps", s.swaps }, { "reverts", s.reverts }, { "confirms", s.confirms },
	};

	json_open_object(&j, NULL);
	json_str(&j, "address", n->address);
	json_str(&j, "version", smp_server_version(n->server));
	json_bool(&j, "confirmed", smp_server_is_confirmed(n->server));
	json_bool(&j, "pending", smp_server_is_pending(n->server));
	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
		json_uint(&j, counts[i].key, counts[i].v);
	json_close_object(&j);
	buf_add_str(b, "\n");
}

static void on_status(void *ctx)
{
	struct smp_node *n = ctx;
	_cleanup_free_ char *tmp = mem_printf("%s.tmp", n->c.status_file);
	_cleanup_buf_ struct buf b = { 0 };

	put_status(n, &b);
	FILE *out = fopen(tmp, "we");
	bool ok = out && fwrite(b.p, 1, b.n, out) == b.n;
	if (out && fclose(out) != 0)
		ok = false;
	if (!ok || rename(tmp, n->c.status_file) < 0) /* whole or not at all; it need not survive a crash */
		log_line(LOG_ERR, "%s: %m", n->c.status_file);
}

/* ---- the wire ---- */

static void changed(struct smp_node *n)
{
	save(n);
	loop_timer_set(n->timer, smp_server_wait_ms(n->server, mono_now()));
	if (n->c.status_file && !loop_timer_armed(n->status))
		loop_timer_set(n->status, STATUS_MS);
}

static bool is_lost(struct smp_node *n)
{
	n->random = n->random * 6364136223846793005u + 1442695040888963407u;
	return (double)(n->random >> 40) < n->c.loss * (double)(1 << 24);
}

static void on_datagram(void *ctx, const struct udp_address *from, struct span datagram)
{
	struct smp_node *n = ctx;
	_cleanup_buf_ struct buf reply = { 0 };

	if (is_lost(n))
		return;
	smp_server_handle(n->server, datagram, mono_now(), &reply);
	if (reply.n && !is_lost(n))
		(void)udp_send(n->udp, from, buf_span(&reply)); /* as if lost */
	changed(n);
}

static void on_timer(void *ctx)
{
	struct smp_node *n = ctx;

	smp_server_tick(n->server, mono_now());
	changed(n);
}

/* ---- life ---- */

static int listen_at(struct smp_node *n, struct loop *l)
{
	struct udp_address a;
	char text[UDP_ADDRESS_TEXT_BYTES];
	uint64_t port;

	if (text_parse_u64(span_str(n->c.listen), UINT16_MAX, &port, 0) == 0)
		(void)snprintf(text, sizeof(text), "127.0.0.1:%u", (unsigned)port); /* fits */
	else if (text_copy(text, sizeof(text), span_str(n->c.listen)) < 0)
		return -EINVAL;
	int r = udp_address_parse(span_str(text), SMP_PORT, &a);
	if (r == 0)
		r = udp_listen(l, &a, on_datagram, n, &n->udp);
	if (r == 0)
		r = udp_local(n->udp, &a);
	if (r == 0)
		(void)udp_address_text(&a, n->address); /* in place */
	return r;
}

int smp_node_open(struct loop *l, const struct smp_node_config *c, struct smp_node **ret)
{
	struct smp_server_config kind;
	struct smp_node *n;
	int r = smp_node_kind(c->kind, &kind);

	if (r < 0)
		return r;
	n = NEW(struct smp_node);
	n->c = *c;
	n->random = c->seed;
	n->server = smp_server_new(&kind);
	n->timer = loop_timer_new(l, on_timer, n);
	n->status = loop_timer_new(l, on_status, n);
	n->dirfd = mkdir(c->dir, 0700) < 0 && errno != EEXIST ? -1 : open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = n->dirfd < 0 ? -errno : load(n);
	if (r < 0)
		log_line(LOG_ERR, "%s: %s", c->dir, strerror(-r));
	if (r == 0 && (r = listen_at(n, l)) < 0)
		log_line(LOG_ERR, "--smp %s: %s", c->listen, strerror(-r));
	if (r < 0) {
		smp_node_close(n);
		return r;
	}
	log_line(LOG_INFO, "SMP on %s, version %s", n->address, smp_server_version(n->server));
	if (c->status_file)
		on_status(n);
	*ret = n;
	return 0;
}

struct smp_node *smp_node_close(struct smp_node *n)
{
	if (!n)
		return NULL;
	udp_close(n->udp);
	loop_timer_free(n->timer);
	loop_timer_free(n->status);
	smp_server_free(n->server);
	if (n->dirfd >= 0)
		(void)close(n->dirfd); /* only read through it */
	free(n);
	return NULL;
}
