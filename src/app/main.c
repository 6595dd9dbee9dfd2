/* dormoused: the gateway daemon. dormoused(8). */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/gateway.h"
#include "base/log.h"
#include "codec/json.h"
#include "io/library.h"

#ifndef DORMOUSE_CONFIG
#define DORMOUSE_CONFIG "/etc/dormouse/dormouse.toml"
#endif

enum { EXIT_USAGE = 2, EXIT_CONFIG = 78 };      /* 78: EX_CONFIG; the unit does not restart on it */

static void usage(FILE *f)
{
	fprintf(f, "usage: dormoused [-c FILE] [--check] [--version] [--help]\n"
		   "  -c, --config FILE   the configuration (default %s)\n"
		   "      --check         check it and print what is in effect; start nothing\n"
		   "      --version       version and features\n"
		   "See dormoused(8).\n", DORMOUSE_CONFIG);
}

static void version(void)
{
	_cleanup_buf_ struct buf io = { 0 };

	io_library_versions(&io);
	printf("dormoused %s\n", DORMOUSE_VERSION);
	printf("libraries: %s, SQLite %s, jansson %s\n", buf_str(&io), db_library_version(), json_library_version());
	printf("features: rd(RFC 9176) suit cose-es256 cose-es384 cose-eddsa cose-mac0 x5chain crl ocsp coap coaps-psk coaps-x509 observe "
	       "block coap-pull smp-udp smp-ble nordic-dfu forward-proxy https-source folder-source audit-log http-api coap-admin\n"
	       "absent: oscore lms ml-dsa (newer libraries add them at build time)\n");
}

static int check(const struct config *c)
{
	_cleanup_buf_ struct buf text = { 0 }, error = { 0 };
	struct trust_anchors *anchors = NULL;

	config_print(c, &text);
	printf("%s", buf_str(&text));
	int r = config_check_files(c, &error);
	if (r == 0)
		r = gateway_anchors_load(c, &anchors, &error);
	trust_anchors_unref(anchors);
	if (r < 0)
		fprintf(stderr, "%s", buf_str(&error));
	return r < 0 ? EXIT_CONFIG : 0;
}

static int serve(struct config *c)
{
	struct gateway g = { 0 };

	log_open("dormoused", gateway_log_priority(c));
	if (gateway_start(&g, c) < 0)
		return EXIT_FAILURE;
	int r = gateway_run(&g);
	gateway_stop(&g);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "check", no_argument, NULL, 'k' },
		{ "version", no_argument, NULL, 'V' },      { "help", no_argument, NULL, 'h' }, { 0 },
	};
	const char *file = DORMOUSE_CONFIG;
	_cleanup_buf_ struct buf error = { 0 };
	struct config *c;
	bool is_check = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			file = optarg;
			break;
		case 'k':
			is_check = true;
			break;
		case 'V':
			version();
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return EXIT_USAGE;
	}
	int r = config_load(file, &c, &error);
	if (r < 0) {
		fprintf(stderr, "%s", buf_str(&error));
		if (!error.n)
			fprintf(stderr, "%s: %s\n", file, strerror(-r));
		return EXIT_CONFIG;
	}
	if (is_check) {
		r = check(c);
		config_free(c);
		return r;
	}
	return serve(c);
}
