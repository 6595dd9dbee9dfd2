#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/mem.h"

enum { BATCH = 64, BUFFER_BYTES = 4 << 20, FIRST_PEER = 0x7f0a0001, WAIT_MS = 10 };

struct load_config load = {
	.path = "", .query = "", .window = 64, .peers = 1, .endpoints = 1, .types = 16, .szx = MESSAGE_SZX_MAX, .retries = 4,
	.count = 60000, .duration_s = 10, .timeout_s = 2, .body_bytes = -1,
};
char **load_location;

static int fd;
static struct slot *slots;
static uint32_t *free_slots, *queue;
static size_t n_free, n_queue;
static uint16_t *next_mid;                     /* of each peer */
static uint32_t *n_mid;
static uint64_t n_started, n_done;
static struct load_result result;
static bool measuring;

uint64_t load_random(void)
{
	static uint64_t state;
	uint64_t z = state += 0x9e3779b97f4a7c15u; /* splitmix64: the same in every run */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "coapload: %s\n", what);
	exit(2);
}

/* ---- operations ---- */

/* A server that detects duplicates answers a message id seen within 247 s from its memory: 65536 for each peer. */
static void take_mid(struct slot *s)
{
	if (++n_mid[s->peer] == 65536) {
		n_mid[s->peer] = 0;
		result.mid_wraps++;
	}
	s->mid = next_mid[s->peer]++;
}

static void enqueue(struct slot *s)
{
	queue[n_queue++] = (uint32_t)(s - slots);
}

static void fresh_timeout(struct slot *s)
{
	s->tries = 0;
	s->timeout_ns = (uint64_t)(load.timeout_s * 1e9 * (1 + (double)(load_random() >> 11) / (double)(1ull << 53) / 2));
}

static void start_operation(uint64_t now)
{
	struct slot *s = &slots[free_slots[--n_free]];
	uint64_t i = n_started++;

	s->active = true;
	s->generation++;
	s->endpoint = (uint32_t)((load.random ? load_random() : i) % load.endpoints);
	s->peer = (load.random ? s->endpoint : (uint32_t)i) % load.peers; /* an endpoint stays where it is */
	s->started_ns = now;
	take_mid(s);
	fresh_timeout(s);
	request_begin(s, (uint16_t)(s - slots));
	enqueue(s);
}

static void next_block(struct slot *s)
{
	take_mid(s);
	fresh_timeout(s);
	request_seal(s);
	enqueue(s);
}

static void finish(struct slot *s, bool ok, uint64_t now)
{
	if (measuring && ok) {
		result.ok++;
		histogram_add(result.operation, now - s->started_ns);
	} else if (measuring) {
		result.failed++;
	}
	s->active = false;
	s->generation++;
	free_slots[n_free++] = (uint32_t)(s - slots);
	if (++n_done == load.skip) {
		result_start(&result);
		measuring = true;
	}
}

static void mismatch(struct slot *s, uint64_t now)
{
	result.mismatched++;
	finish(s, false, now);
}

/* ---- sending ---- */

static void choose_source(struct msghdr *m, void *control, size_t n, uint32_t peer)
{
	struct in_pktinfo info = { .ipi_spec_dst.s_addr = htonl(FIRST_PEER + peer) };
	struct cmsghdr *c;

	m->msg_control = control;
	m->msg_controllen = n;
	c = CMSG_FIRSTHDR(m);
	*c = (struct cmsghdr){ .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO, .cmsg_len = CMSG_LEN(sizeof(info)) };
	memcpy(CMSG_DATA(c), &info, sizeof(info));
}

static void send_batch(struct mmsghdr *m, unsigned n)
{
	for (unsigned done = 0; done < n;) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		int r = sendmmsg(fd, m + done, n - done, 0);

		if (r > 0) {
			done += (unsigned)r;
		} else if (errno == EAGAIN || errno == ENOBUFS) {
			(void)poll(&p, 1, WAIT_MS); /* whatever it says: try again */
		} else if (errno != EINTR) {
			result.send_errors++;  /* settled by a retransmission */
			done++;
		}
	}
}

static void flush_queue(uint64_t now)
{
	static struct mmsghdr m[BATCH];
	static struct iovec iov[BATCH];
	static _Alignas(struct cmsghdr) char control[BATCH][CMSG_SPACE(sizeof(struct in_pktinfo))];
	static struct sockaddr_in to;
	unsigned n = 0;

	to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(load.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	for (size_t i = 0; i < n_queue; i++) {
		struct slot *s = &slots[queue[i]];

		iov[n] = (struct iovec){ s->datagram, s->n };
		m[n].msg_hdr = (struct msghdr){ .msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &iov[n], .msg_iovlen = 1 };
		if (load.peers > 1)
			choose_source(&m[n].msg_hdr, control[n], sizeof(control[n]), s->peer);
		s->sent_ns = now;
		if (++n == BATCH) {
			send_batch(m, n);
			n = 0;
		}
	}
	send_batch(m, n);
	n_queue = 0;
}

/* ---- receiving ---- */

struct answer {
	struct message m;
	bool has_block;
	struct block block;
	struct span etag;
	char location[LOCATION_BYTES_MAX];
	size_t n_location;
};

static void add_segment(struct answer *a, struct span v)
{
	if (a->n_location + v.n + 2 > sizeof(a->location))
		return;
	a->location[a->n_location++] = '/';
	memcpy(a->location + a->n_location, v.p, v.n);
	a->n_location += v.n;
	a->location[a->n_location] = '\0';
}

static bool read_answer(struct span in, struct answer *a)
{
	unsigned number;
	struct span v;

	if (!message_read(in, &a->m))
		return false;
	a->has_block = false;
	a->etag = SPAN_NONE;
	a->n_location = 0;
	while (message_option(&a->m, &number, &v)) {
		if (number == OPT_ETAG)
			a->etag = v;
		else if (number == OPT_LOCATION_PATH)
			add_segment(a, v);
		else if (number == OPT_BLOCK2)
			a->has_block = block_read(v, &a->block);
	}
	return !a->m.bad;
}

/* True when it was the last one of its body. */
static bool take_block(struct slot *s, const struct answer *a, uint64_t now)
{
	uint32_t off = a->has_block ? a->block.num << (a->block.szx + 4) : 0;
	bool more = a->has_block && a->block.more;

	if (off != s->received || (more && a->m.payload.n != (size_t)16 << a->block.szx)) {
		mismatch(s, now);
		return false;
	}
	if (off == 0) {
		if (measuring)
			histogram_add(result.first, now - s->started_ns);
		s->n_etag = a->etag.n <= sizeof(s->etag) ? a->etag.n : 0;
		if (s->n_etag)
			memcpy(s->etag, a->etag.p, s->n_etag);
	} else if (!span_eq(a->etag, SPAN(s->etag, s->n_etag))) {
		mismatch(s, now);
		return false;
	}
	s->received += (uint32_t)a->m.payload.n;
	if (more && load.mode == LOAD_BLOCK) {
		s->szx = a->block.szx;
		next_block(s);
		return false;
	}
	if (load.body_bytes >= 0 && s->received != (uint32_t)load.body_bytes) {
		mismatch(s, now);
		return false;
	}
	return true;
}

static void take_answer(struct slot *s, const struct answer *a, uint64_t now)
{
	if (measuring) {
		result.code[a->m.code]++;
		result.messages++;
		result.bytes += a->m.payload.n;
	}
	if (a->m.code != load.expect) {
		finish(s, false, now);
		return;
	}
	if (load.mode == LOAD_REGISTER) {
		if (a->n_location == 0) {
			mismatch(s, now);
			return;
		}
		free(load_location[s->endpoint]);
		load_location[s->endpoint] = mem_strdup(a->location);
	} else if (!take_block(s, a, now)) {
		return;
	}
	finish(s, true, now);
}

static void on_datagram(struct span in, uint64_t now)
{
	struct answer a;
	unsigned index, generation;

	if (!read_answer(in, &a) || a.m.token.n != 4) {
		result.stray++;
		return;
	}
	index = (unsigned)(a.m.token.p[0] << 8 | a.m.token.p[1]);
	generation = (unsigned)(a.m.token.p[2] << 8 | a.m.token.p[3]);
	if (index >= load.window || !slots[index].active || slots[index].generation != generation ||
	    (a.m.type == MESSAGE_ACK && a.m.mid != slots[index].mid))
		result.stray++; /* of an operation that is over, or of an earlier block */
	else
		take_answer(&slots[index], &a, now);
}

static void receive(void)
{
	static uint8_t in[BATCH][MESSAGE_BYTES_MAX];
	static struct mmsghdr m[BATCH];
	static struct iovec iov[BATCH];
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, WAIT_MS) <= 0)
		return;
	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){ in[i], MESSAGE_BYTES_MAX };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	int n = recvmmsg(fd, m, BATCH, MSG_DONTWAIT, NULL);
	uint64_t now = load_now_ns();
	for (int i = 0; i < n; i++)
		on_datagram(SPAN(in[i], m[i].msg_len), now);
}

static void look_for_timeouts(uint64_t now)
{
	for (unsigned i = 0; i < load.window; i++) {
		struct slot *s = &slots[i];

		if (!s->active || now < s->sent_ns || now - s->sent_ns < s->timeout_ns << s->tries)
			continue;
		if (!load.non && s->tries < load.retries) {
			s->tries++;
			result.repeated++;
			enqueue(s);
		} else {
			result.timed_out++;
			finish(s, false, now);
		}
	}
}

static void run(void)
{
	uint64_t end = load_now_ns() + (uint64_t)(load.duration_s * 1e9), looked = 0;

	result_start(&result);
	measuring = load.skip == 0;
	while (n_done < load.count) {
		uint64_t now = load_now_ns();

		if (now >= end)
			break;
		while (n_free && n_started < load.count)
			start_operation(now);
		flush_queue(now);
		receive();
		now = load_now_ns();
		if (now - looked > WAIT_MS * 1000000u) {
			looked = now;
			look_for_timeouts(now);
		}
	}
	result_end(&result);
}

/* ---- set-up ---- */

static void open_socket(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(load.from) };
	int bytes = BUFFER_BYTES;

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0)
		fail(strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)); /* as much as there is */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static void read_locations(void)
{
	char line[LOCATION_BYTES_MAX + 2];
	FILE *f = load.locations ? fopen(load.locations, "r") : NULL;
	unsigned n = 0;

	if (!f)
		fail("update wants --locations, as register wrote it");
	load_location = NEW_N(char *, load.endpoints);
	while (n < load.endpoints && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		load_location[n++] = mem_strdup(line);
	}
	fclose(f);
	if (n == 0)
		fail("no locations");
	load.endpoints = n;
}

static void write_locations(void)
{
	FILE *f = fopen(load.locations, "w");

	if (!f)
		fail("cannot write the locations");
	for (unsigned i = 0; i < load.endpoints; i++)
		if (load_location[i])
			fprintf(f, "%s\n", load_location[i]);
	if (fclose(f) != 0)
		fail("cannot write the locations");
}

static void prepare(void)
{
	open_socket();
	next_mid = NEW_N(uint16_t, load.peers);
	n_mid = NEW_N(uint32_t, load.peers);
	for (unsigned i = 0; i < load.peers; i++)
		next_mid[i] = (uint16_t)load_random();
	slots = NEW_N(struct slot, load.window);
	free_slots = NEW_N(uint32_t, load.window);
	queue = NEW_N(uint32_t, 2 * load.window); /* an operation queues once in a turn, and a repetition */
	for (unsigned i = load.window; i-- > 0;)
		free_slots[n_free++] = i;
	if (load.mode == LOAD_REGISTER)
		load_location = NEW_N(char *, load.endpoints);
	else if (load.mode == LOAD_UPDATE)
		read_locations();
}

static const struct option options[] = {
	{ "mode", required_argument, NULL, 'm' }, { "port", required_argument, NULL, 'p' }, { "path", required_argument, NULL, 'P' },
	{ "query", required_argument, NULL, 'q' }, { "etag", required_argument, NULL, 'e' }, { "window", required_argument, NULL, 'w' },
	{ "peers", required_argument, NULL, 'n' }, { "endpoints", required_argument, NULL, 'N' }, { "links", required_argument, NULL, 'l' },
	{ "types", required_argument, NULL, 't' }, { "szx", required_argument, NULL, 'z' }, { "expect", required_argument, NULL, 'x' },
	{ "random", no_argument, NULL, 'r' }, { "non", no_argument, NULL, 'o' }, { "count", required_argument, NULL, 'c' },
	{ "skip", required_argument, NULL, 's' }, { "duration", required_argument, NULL, 'd' }, { "timeout", required_argument, NULL, 'T' },
	{ "body", required_argument, NULL, 'b' }, { "locations", required_argument, NULL, 'L' }, { "pid", required_argument, NULL, 'i' },
	{ "from", required_argument, NULL, 'f' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
};

static void usage(void)
{
	puts("usage: coapload --mode get|block|register|update --port PORT [OPTION]...\n"
	     "Sends CoAP requests to 127.0.0.1 and prints what came of it as a line of JSON.\n"
	     "  --path P --query Q      {ep} n000042, {rt} t2, {k} 42; query parts are cut at &\n"
	     "  --etag HEX              sent with each request\n"
	     "  --window N              operations outstanding (64)\n"
	     "  --from PORT             source port: an endpoint keeps its address over several calls\n"
	     "  --peers N               source addresses out of 127/8, from one socket (1)\n"
	     "  --endpoints N           endpoints to name (1), in turn or --random\n"
	     "  --links N --types N     of a registration: links, and resource types in all\n"
	     "  --szx 0..6              asked for in the first request of a body\n"
	     "  --expect C.DD           the code that counts as success\n"
	     "  --body BYTES            each body must have\n"
	     "  --count N --skip N      operations in all (60000), and how many of them are not measured\n"
	     "  --duration S            end at the latest (10)\n"
	     "  --timeout S             until a CON is repeated (2)\n"
	     "  --non                   NON instead of CON\n"
	     "  --locations FILE        register writes it, update reads it\n"
	     "  --pid PID               of the server: its CPU time and memory\n");
	exit(0);
}

static enum load_mode parse_mode(const char *s)
{
	static const char *const names[] = { [LOAD_GET] = "get", [LOAD_BLOCK] = "block", [LOAD_REGISTER] = "register", [LOAD_UPDATE] = "update" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(s, names[i]) == 0)
			return (enum load_mode)i;
	fail("unknown mode");
}

static unsigned parse_number(const char *s, unsigned max)
{
	char *end;
	unsigned long v = strtoul(s, &end, 10);

	if (*s == '\0' || *end || v > max)
		fail("a number is out of range");
	return (unsigned)v;
}

static void parse_etag(const char *s)
{
	for (; load.n_etag < sizeof(load.etag) && sscanf(s, "%2hhx", &load.etag[load.n_etag]) == 1; s += 2)
		load.n_etag++;
}

static unsigned parse_code(const char *s)
{
	unsigned class, detail;

	if (sscanf(s, "%u.%u", &class, &detail) != 2 || class > 7 || detail > 31)
		fail("a code is like 2.05");
	return class << 5 | detail;
}

static void take_option(int c)
{
	switch (c) {
	case 'm': load.mode = parse_mode(optarg); break;
	case 'p': load.port = (uint16_t)parse_number(optarg, UINT16_MAX); break;
	case 'P': load.path = optarg; break;
	case 'q': load.query = optarg; break;
	case 'e': parse_etag(optarg); break;
	case 'w': load.window = parse_number(optarg, WINDOW_MAX); break;
	case 'n': load.peers = parse_number(optarg, PEERS_MAX); break;
	case 'N': load.endpoints = parse_number(optarg, ENDPOINTS_MAX); break;
	case 'l': load.links = parse_number(optarg, LINKS_MAX); break;
	case 't': load.types = parse_number(optarg, ENDPOINTS_MAX); break;
	case 'z': load.szx = parse_number(optarg, MESSAGE_SZX_MAX); load.has_szx = true; break;
	case 'x': load.expect = parse_code(optarg); break;
	case 'r': load.random = true; break;
	case 'o': load.non = true; break;
	case 'c': load.count = parse_number(optarg, UINT32_MAX); break;
	case 's': load.skip = parse_number(optarg, UINT32_MAX); break;
	case 'd': load.duration_s = strtod(optarg, NULL); break;
	case 'T': load.timeout_s = strtod(optarg, NULL); break;
	case 'b': load.body_bytes = (long)parse_number(optarg, INT32_MAX); break;
	case 'L': load.locations = optarg; break;
	case 'i': load.pid = (int)parse_number(optarg, INT32_MAX); break;
	case 'f': load.from = (uint16_t)parse_number(optarg, UINT16_MAX); break;
	case 'h': usage(); break;
	default: exit(2);
	}
}

int main(int argc, char **argv)
{
	static const unsigned usual[] = { [LOAD_GET] = MESSAGE_205, [LOAD_BLOCK] = MESSAGE_205, [LOAD_REGISTER] = MESSAGE_201, [LOAD_UPDATE] = MESSAGE_204 };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(c);
	if (optind < argc || load.port == 0 || !load.window || !load.peers || !load.endpoints || !load.types)
		fail("see --help");
	if (load.expect == 0)
		load.expect = usual[load.mode];
	if (load.mode == LOAD_REGISTER)
		load.count = load.endpoints;   /* each once */
	prepare();
	run();
	result_print(&result);
	if (load.mode == LOAD_REGISTER && load.locations)
		write_locations();
	return result.ok && !result.failed && !result.mismatched ? 0 : 1;
}
