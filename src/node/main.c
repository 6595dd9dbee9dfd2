/* node/main.c - dormouse-node: the options of the reference node and simulator. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/text.h"
#include "base/tmpfile.h"
#include "node/fleet.h"
#include "node/smp_node.h"

enum { EXIT_USAGE = 2, EXIT_TIME = 3, ANCHOR_BYTES_MAX = 1024 * 1024 };

struct options {
	struct fleet_config fleet;
	uint8_t psk[FLEET_PSK_BYTES_MAX], mac[FLEET_PSK_BYTES_MAX];
	size_t n_psk, n_mac;
	const char *anchor, *vendor, *class, *smp, *smp_is;
	double loss;
	bool has_sleepers, has_seed, is_verbose;
};

enum {
	OPT_GATEWAY = 256, OPT_EP, OPT_STATE, OPT_COUNT, OPT_IDENTITY, OPT_PSK_HEX, OPT_PSK_FILE, OPT_MAC_KEY, OPT_ANCHOR, OPT_VENDOR, OPT_CLASS,
	OPT_HW, OPT_BASE, OPT_SLEEP, OPT_SLEEPERS, OPT_AWAKE, OPT_LOSS, OPT_SEED, OPT_SPEED, OPT_LIFETIME, OPT_SZX, OPT_ONCE, OPT_WHEN_UPDATED,
	OPT_START_SEQ, OPT_NON_SECURE, OPT_STATUS, OPT_CRASH, OPT_PROXY, OPT_TIMEOUT, OPT_ACK_TIMEOUT, OPT_MULTICAST, OPT_SMP, OPT_SMP_IS, OPT_VERBOSE, OPT_HELP, OPT_VERSION,
};

static const struct option long_options[] = {
	{ "gateway", required_argument, NULL, OPT_GATEWAY },
	{ "ep", required_argument, NULL, OPT_EP },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "count", required_argument, NULL, OPT_COUNT },
	{ "identity", required_argument, NULL, OPT_IDENTITY },
	{ "psk-hex", required_argument, NULL, OPT_PSK_HEX },
	{ "psk-file", required_argument, NULL, OPT_PSK_FILE },
	{ "mac-key-hex", required_argument, NULL, OPT_MAC_KEY },
	{ "anchor-key", required_argument, NULL, OPT_ANCHOR },
	{ "vendor", required_argument, NULL, OPT_VENDOR },
	{ "class", required_argument, NULL, OPT_CLASS },
	{ "hw", required_argument, NULL, OPT_HW },
	{ "base", required_argument, NULL, OPT_BASE },
	{ "sleep", required_argument, NULL, OPT_SLEEP },
	{ "sleepers", required_argument, NULL, OPT_SLEEPERS },
	{ "awake", required_argument, NULL, OPT_AWAKE },
	{ "loss", required_argument, NULL, OPT_LOSS },
	{ "crash", required_argument, NULL, OPT_CRASH },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "speed", required_argument, NULL, OPT_SPEED },
	{ "lifetime", required_argument, NULL, OPT_LIFETIME },
	{ "szx", required_argument, NULL, OPT_SZX },
	{ "once", no_argument, NULL, OPT_ONCE },
	{ "exit-when-updated", no_argument, NULL, OPT_WHEN_UPDATED },
	{ "start-seq", required_argument, NULL, OPT_START_SEQ },
	{ "non-secure", no_argument, NULL, OPT_NON_SECURE },
	{ "status-json", required_argument, NULL, OPT_STATUS },
	{ "by-proxy-uri", no_argument, NULL, OPT_PROXY },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "ack-timeout", required_argument, NULL, OPT_ACK_TIMEOUT },
	{ "multicast", required_argument, NULL, OPT_MULTICAST },
	{ "smp", required_argument, NULL, OPT_SMP },
	{ "smp-is", required_argument, NULL, OPT_SMP_IS },
	{ "verbose", no_argument, NULL, OPT_VERBOSE },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

static void help(FILE *f)
{
	fputs("usage: dormouse-node --gateway URI --ep NAME --state DIR [options]\n"
	      "       dormouse-node --smp [HOST:]PORT --state DIR [--smp-is WORD,...] [--loss P] [--seed S] [--timeout S] [--status-json FILE]\n"
	      "who:    --count N  --vendor DOMAIN|UUID  --class NAME|UUID  --hw REV  --start-seq N  --base URI\n"
	      "trust:  --psk-hex K | --psk-file F  --identity ID  --anchor-key PEM | --mac-key-hex K | --non-secure\n"
	      "life:   --sleep PERIOD_S  --sleepers M  --awake S  --lifetime S  --speed F  --szx 0..6  --by-proxy-uri\n"
	      "        --multicast IFACE\n"
	      "trouble: --loss P  --crash P  --seed S\n"
	      "run:    --once | --exit-when-updated  --timeout S  --status-json FILE|-  --verbose\n"
	      "See dormouse-node(1).\n", f);
}

static int wrong(const char *option, const char *want)
{
	fprintf(stderr, "dormouse-node: --%s wants %s, not \"%s\"\n", option, want, optarg);
	return -EINVAL;
}

static int take_number(const char *option, uint64_t min, uint64_t max, uint64_t *ret)
{
	char want[64];

	if (text_parse_u64(span_str(optarg), max, ret, 0) >= 0 && *ret >= min)
		return 0;
	(void)snprintf(want, sizeof(want), "a number from %llu to %llu", (unsigned long long)min, (unsigned long long)max); /* fits */
	return wrong(option, want);
}

static int take_fraction(const char *option, double max, double *ret)
{
	char *end;

	*ret = strtod(optarg, &end);
	if (*end || end == optarg || !isfinite(*ret) || *ret < 0 || *ret > max)
		return wrong(option, max > 1 ? "a number above 0" : "a fraction from 0 to 1");
	return 0;
}

static int take_key(const char *option, uint8_t *ret, size_t *ret_n)
{
	if (text_parse_hex_var(span_str(optarg), ret, FLEET_PSK_BYTES_MAX, ret_n) < 0 || *ret_n < 16)
		return wrong(option, "16 to 64 bytes in hex");
	return 0;
}

static int take_numbers(struct options *o, int c)
{
	struct fleet_config *f = &o->fleet;
	uint64_t v = 0;
	int r;

	switch (c) {
	case OPT_COUNT:
		r = take_number("count", 1, FLEET_NODES_MAX, &v);
		f->count = (unsigned)v;
		return r;
	case OPT_SLEEP:
		r = take_number("sleep", 0, 30 * 86400, &v);
		f->sleep_s = (uint32_t)v;
		return r;
	case OPT_SLEEPERS:
		r = take_number("sleepers", 0, FLEET_NODES_MAX, &v);
		f->sleepers = (unsigned)v;
		o->has_sleepers = true;
		return r;
	case OPT_AWAKE:
		r = take_number("awake", 0, 86400, &v);
		f->awake_s = (uint32_t)v;
		return r;
	case OPT_LIFETIME:
		r = take_number("lifetime", 1, UINT32_MAX, &v);
		f->lifetime_s = (uint32_t)v;
		return r;
	case OPT_SZX:
		r = take_number("szx", 0, 6, &v);
		f->szx = (uint8_t)v;
		return r;
	case OPT_START_SEQ:
		return take_number("start-seq", 0, UINT64_MAX, &f->start_sequence);
	case OPT_SEED:
		o->has_seed = true;
		return take_number("seed", 0, UINT64_MAX, &f->seed);
	case OPT_TIMEOUT:
		r = take_number("timeout", 1, UINT32_MAX, &v);
		f->timeout_s = (uint32_t)v;
		return r;
	case OPT_ACK_TIMEOUT:
		r = take_number("ack-timeout", 1, 60000, &v);
		f->ack_timeout_ms = (unsigned)v;
		return r;
	case OPT_LOSS:
		return take_fraction("loss", 1, &o->loss);
	case OPT_CRASH:
		return take_fraction("crash", 1, &f->crash);
	case OPT_SPEED:
		return take_fraction("speed", 1e6, &f->speed);
	default:
		return -ENOENT;
	}
}

static int take_option(struct options *o, int c)
{
	struct fleet_config *f = &o->fleet;

	switch (c) {
	case OPT_GATEWAY:
		f->gateway = optarg;
		return 0;
	case OPT_EP:
		f->name = optarg;
		return 0;
	case OPT_STATE:
		f->dir = optarg;
		return 0;
	case OPT_IDENTITY:
		f->identity = optarg;
		return 0;
	case OPT_PSK_HEX:
		return take_key("psk-hex", o->psk, &o->n_psk);
	case OPT_PSK_FILE:
		f->psk_file = optarg;
		return 0;
	case OPT_MAC_KEY:
		return take_key("mac-key-hex", o->mac, &o->n_mac);
	case OPT_ANCHOR:
		o->anchor = optarg;
		return 0;
	case OPT_VENDOR:
		o->vendor = optarg;
		return 0;
	case OPT_CLASS:
		o->class = optarg;
		return 0;
	case OPT_HW:
		f->hw = optarg;
		return 0;
	case OPT_BASE:
		f->base = optarg;
		return 0;
	case OPT_ONCE:
		f->once = true;
		return 0;
	case OPT_WHEN_UPDATED:
		f->exit_when_updated = true;
		return 0;
	case OPT_NON_SECURE:
		f->trust.proof = PROOF_NONE;
		return 0;
	case OPT_STATUS:
		f->status_file = optarg;
		return 0;
	case OPT_PROXY:
		f->by_proxy_uri = true;
		return 0;
	case OPT_MULTICAST:
		f->multicast = optarg;
		return 0;
	case OPT_SMP:
		o->smp = optarg;
		return 0;
	case OPT_SMP_IS:
		o->smp_is = optarg;
		return 0;
	case OPT_VERBOSE:
		o->is_verbose = true;
		return 0;
	default:
		return take_numbers(o, c);
	}
}

/* A device that is called, and calls nobody. */
static int parse_smp(const struct options *o, bool is_all)
{
	struct smp_server_config kind;

	if (!is_all || o->fleet.gateway || o->fleet.name || !o->fleet.dir) {
		help(stderr);
		return -EINVAL;
	}
	if (smp_node_kind(o->smp_is, &kind) < 0) {
		fputs("dormouse-node: --smp-is wants words of: v1 single-slot no-hash no-params no-resume must-erase damages refuses-confirm crashes\n",
		      stderr);
		return -EINVAL;
	}
	return 0;
}

/* 0; -EINVAL; 1 when there is nothing more to do. */
static int parse(struct options *o, int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (c == OPT_HELP) {
			help(stdout);
			return 1;
		}
		if (c == OPT_VERSION) {
			puts("dormouse-node " DORMOUSE_VERSION);
			return 1;
		}
		if (take_option(o, c) < 0)
			return -EINVAL;
	}
	if (o->smp)
		return parse_smp(o, optind == argc);
	if (optind != argc || !o->fleet.gateway || !o->fleet.name || !o->fleet.dir) {
		help(stderr);
		return -EINVAL;
	}
	if (strlen(o->fleet.name) > 50 || !text_is_clean(span_str(o->fleet.name)) || strchr(o->fleet.name, '/')) {
		fputs("dormouse-node: --ep wants at most 50 bytes without \"/\" and control characters\n", stderr);
		return -EINVAL;
	}
	return 0;
}

/* Which proof this node can check: the strongest it has means for. */
static int make_trust(struct options *o)
{
	struct node_trust *t = &o->fleet.trust;
	static const char *const any[] = { "any", NULL }, *const none[] = { NULL };
	static const char *const every_host[] = { "*", NULL }; /* the image comes from the gateway, whatever the URI */
	_cleanup_free_ uint8_t *pem = NULL;
	char error[200] = "";
	size_t n = 0;

	if (o->vendor) {
		t->has_vendor = true;
		uuid_of_vendor(span_str(o->vendor), t->vendor_id);
	}
	if (o->class) {
		if (!o->vendor && text_parse_uuid(span_str(o->class), t->class_id) < 0) {
			fputs("dormouse-node: --class NAME wants --vendor with it: classes are named by their vendor\n", stderr);
			return -EINVAL;
		}
		t->has_class = true;
		uuid_of_class(t->vendor_id, span_str(o->class), t->class_id);
	}
	if (!o->anchor) {
		if (t->proof == PROOF_SIGNATURE && (o->n_mac || o->fleet.psk_file))
			t->proof = PROOF_MAC;
		if (t->proof != PROOF_SIGNATURE)
			return 0;
		fputs("dormouse-node: give --anchor-key PEM, --mac-key-hex K, or --non-secure: a node that checks nothing must say so\n", stderr);
		return -EINVAL;
	}
	int r = file_read(AT_FDCWD, o->anchor, ANCHOR_BYTES_MAX, &pem, &n);
	if (r < 0) {
		fprintf(stderr, "dormouse-node: %s: %s\n", o->anchor, strerror(-r));
		return r;
	}
	const struct trust_anchor_config c = {
		.name = "anchor", .pem = SPAN(pem, n), .vendor_ids = any, .class_ids = none, .hosts = every_host, .mode = REVOCATION_SOFT,
		.requires_no_identity = !o->vendor,
	};
	r = trust_anchors_build(&c, 1, &t->anchors, error, sizeof(error));
	if (r < 0)
		fprintf(stderr, "dormouse-node: %s: %s\n", o->anchor, error);
	t->proof = PROOF_SIGNATURE;
	return r;
}

static void on_signal(void *ctx, int signo)
{
	loop_stop(ctx);
}

static int run(struct options *o)
{
	struct loop *l = loop_new();
	struct loop_signal *term = loop_signal_new(l, SIGTERM, on_signal, l), *intr = loop_signal_new(l, SIGINT, on_signal, l);
	struct fleet *f = NULL;
	int status = EXIT_FAILURE;

	o->fleet.loss = o->loss;
	if (o->loss > 0)
		coap_client_set_loss(o->loss, o->fleet.seed);
	if (fleet_open(l, &o->fleet, &f) >= 0) {
		status = loop_run(l) < 0 ? EXIT_FAILURE : fleet_exit(f);
		fleet_close(f);
	}
	loop_signal_free(term);
	loop_signal_free(intr);
	loop_free(l);
	return status;
}

static int run_smp(const struct options *o)
{
	struct loop *l = loop_new();
	struct loop_signal *term = loop_signal_new(l, SIGTERM, on_signal, l), *intr = loop_signal_new(l, SIGINT, on_signal, l);
	struct smp_node_config c = { .listen = o->smp, .dir = o->fleet.dir, .kind = o->smp_is, .loss = o->loss, .seed = o->fleet.seed,
				     .status_file = o->fleet.status_file };
	struct smp_node *n = NULL;
	int r = smp_node_open(l, &c, &n);

	if (r == 0)
		r = o->fleet.timeout_s ? loop_run_for(l, (int64_t)o->fleet.timeout_s * 1000) : loop_run(l);
	smp_node_close(n);
	loop_signal_free(term);
	loop_signal_free(intr);
	loop_free(l);
	return r == -ETIMEDOUT ? EXIT_TIME : r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct options o = {
		.fleet = { .count = 1, .lifetime_s = 3600, .speed = 1, .szx = 6, .trust.proof = PROOF_SIGNATURE },
	};
	int r = parse(&o, argc, argv);

	if (r != 0)
		return r < 0 ? EXIT_USAGE : EXIT_SUCCESS;
	log_open("dormouse-node", o.is_verbose ? LOG_DEBUG : LOG_ERR);
	if (!o.has_seed)
		o.fleet.seed = random_u64();
	if (o.smp)
		return run_smp(&o);
	if (make_trust(&o) < 0)
		return EXIT_USAGE;
	if (!o.has_sleepers)
		o.fleet.sleepers = o.fleet.count;
	o.fleet.psk_key = SPAN(o.psk, o.n_psk);
	o.fleet.mac_key = SPAN(o.mac, o.n_mac);
	r = run(&o);
	trust_anchors_unref(o.fleet.trust.anchors);
	mem_wipe(&o, sizeof(o));
	return r;
}
