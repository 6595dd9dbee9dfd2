/* cli/main.c - dormousectl: the list of commands, and the options that stand before them. */
#include "cli/cli.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

static const char default_api[] = "/run/dormouse/api.sock";

const struct cli_command cli_commands[] = {
	{ "status", "", "what the gateway does now", "", cmd_status },
	{ "devices", "[list [--state S] | show ID | add ID [options] | enrol ID | quarantine ID | retire ID | remove ID |\n"
	  "                    credential IDENTITY [--psk-file FILE] [--mac-key-file FILE] [--role ROLE] [--device ID]]",
	  "the devices known here", "list show add enrol quarantine retire remove credential --state --name --vendor --class --hw --driver --address "
	  "--proof --identity --wake --psk-file --mac-key-file --role --device", cmd_devices },
	{ "credentials", "[list | remove IDENTITY [--kind psk|mac]]", "identities and their roles; set by devices credential",
	  "list remove --kind", cmd_credentials },
	{ "endpoints", "[list | show LOCATION | remove LOCATION]", "what is registered in the directory", "list show remove", cmd_endpoints },
	{ "updates", "[list [--state S] | show ID | verdict ID]", "updates and their verdicts", "list show verdict --state", cmd_updates },
	{ "approve", "UPDATE", "let an update go to its devices", "", cmd_approve },
	{ "recall", "UPDATE --reason TEXT", "withdraw an update and stop its jobs", "--reason", cmd_recall },
	{ "rollouts", "[list | show ID]", "updates on their way", "list show", cmd_rollouts },
	{ "jobs", "[list [--state S] [--device D] [--update U] | show ID | retry ID | cancel ID]", "one update for one device each",
	  "list show retry cancel --state --device --update", cmd_jobs },
	{ "ble", "[nodes | adapters | show NODE | pair NODE | unpair NODE | passkey NODE DIGITS]", "Bluetooth LE nodes in range, and pairing with them",
	  "nodes adapters show pair unpair passkey", cmd_ble },
	{ "multicast", "[sessions | groups | show ID | members ID | pause ID | resume ID | abort ID | rekey GROUP]",
	  "one transmission for a whole group: how it goes", "sessions groups show members pause resume abort rekey", cmd_multicast },
	{ "radios", "[list | show NAME]", "radios below IPv6: state, neighbours, airtime", "list show", cmd_radios },
	{ "why-not", "DEVICE UPDATE", "every rule that keeps an update from a device", "", cmd_why_not },
	{ "images", "[list]", "what is in the cache", "list", cmd_images },
	{ "sources", "[list | poll NAME]", "where updates come from", "list poll", cmd_sources },
	{ "events", "[-f] [-n LAST] [--kind SLUG,...]", "what happens, live with -f", "-f --follow --kind --last", cmd_events },
	{ "audit", "[list [--subject S] | checkpoint | key | prove SUBJECT [-o FILE] | verify [FILE... --key KEY | --state DIR]]",
	  "the log of what was done, and its proofs", "list checkpoint key prove verify --key --state --subject --output", cmd_audit },
	{ "revocation", "refresh", "fetch the revocation status of all live updates now", "refresh", cmd_revocation },
	{ "config", "reload", "read the configuration again", "reload", cmd_config },
	{ "health", "", "is everything well? exit 0 only if so", "", cmd_health },
	{ "verify", "FILE [--anchors DIR] [--crl FILE]... [--ocsp FILE]... [--device FACTS.json] [--at TIME] [--json]\n"
	  "                   [--no-revocation] [--mac-key HEX] [--allow-untagged] [--payload FILE]",
	  "judge an envelope offline: exit 0 accepted, 3 rejected, 4 not decodable, 5 could not decide",
	  "--anchors --crl --ocsp --device --at --json --no-revocation --mac-key --allow-untagged --payload", cmd_verify },
	{ "author", "keygen | sign | inspect ...", "make and show envelopes",
	  "keygen sign inspect --alg --public --output --key --chain --vendor --class --sequence --image --uri --integrated --version "
	  "--description --use-before --sever --component --mac-key --kid", cmd_author },
	{ "completion", "bash", "print the completion script of a shell", "bash", cmd_completion },
	{ NULL },
};

static const struct cli_command *find(const char *name)
{
	for (const struct cli_command *c = cli_commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

int cli_usage(const char *command)
{
	const struct cli_command *c = find(command);

	fprintf(stderr, "usage: dormousectl %s %s\n", command, c ? c->usage : "");
	return CLI_USAGE;
}

int cli_error(const char *fmt, ...)
{
	va_list ap;

	fputs("dormousectl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return CLI_FAILED;
}

const char *cli_verb(int *argc, char **argv, const char *fallback)
{
	if (*argc < 2 || argv[1][0] == '-')
		return fallback;
	const char *verb = argv[1];
	memmove(argv + 1, argv + 2, (size_t)(*argc - 1) * sizeof(*argv)); /* with the NULL at the end */
	(*argc)--;
	return verb;
}

static void help(FILE *f)
{
	fputs("usage: dormousectl [-s SOCKET_OR_URL] [options] COMMAND ...\n\n", f);
	for (const struct cli_command *c = cli_commands; c->name; c++)
		fprintf(f, "  %-11s %s\n", c->name, c->summary);
	fprintf(f,
		"\noptions, before the command:\n"
		"  -s, --api SOCKET_OR_URL  where the daemon is (default $DORMOUSE_API or %s)\n"
		"      --token-file FILE    bearer token for a URL (default $DORMOUSE_TOKEN_FILE)\n"
		"      --ca-file FILE       CA of an https URL (default: the system's)\n"
		"      --timeout SECONDS    how long to wait for an answer (default 30)\n"
		"      --json               print what the API said\n"
		"      --color WHEN         auto, always, never\n"
		"  -h, --help  -V, --version\n",
		default_api);
}

enum { OPT_TOKEN = 256, OPT_CA, OPT_TIMEOUT, OPT_JSON, OPT_COLOR };

/* 0, or an exit status plus 1. */
static int parse_global(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "api", required_argument, NULL, 's' },
		{ "token-file", required_argument, NULL, OPT_TOKEN },
		{ "ca-file", required_argument, NULL, OPT_CA },
		{ "timeout", required_argument, NULL, OPT_TIMEOUT },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "color", required_argument, NULL, OPT_COLOR },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t v;
	int c;

	while ((c = getopt_long(argc, argv, "+s:hV", options, NULL)) != -1)
		switch (c) {
		case 's':
			cli->api = optarg;
			break;
		case OPT_TOKEN:
			cli->token_file = optarg;
			break;
		case OPT_CA:
			cli->ca_file = optarg;
			break;
		case OPT_TIMEOUT:
			if (text_parse_u64(span_str(optarg), 3600, &v, 0) < 0 || v == 0) {
				(void)cli_error("--timeout wants seconds from 1 to 3600, not \"%s\"", optarg);
				return CLI_USAGE + 1;
			}
			cli->timeout_s = (unsigned)v;
			break;
		case OPT_JSON:
			cli->json = true;
			break;
		case OPT_COLOR:
			cli->color = !strcmp(optarg, "always") || (!strcmp(optarg, "auto") && cli->color);
			break;
		case 'h':
			help(stdout);
			return CLI_OK + 1;
		case 'V':
			puts("dormousectl " DORMOUSE_VERSION);
			return CLI_OK + 1;
		default:
			help(stderr);
			return CLI_USAGE + 1;
		}
	return 0;
}

/* --json may stand anywhere before "--": it is taken out here, so that no command must know it. */
static void take_json(struct cli *cli, int *argc, char **argv)
{
	int n = 1;

	for (int i = 1; i < *argc; i++) {
		if (!strcmp(argv[i], "--")) {
			while (i < *argc)
				argv[n++] = argv[i++];
			break;
		}
		if (!strcmp(argv[i], "--json"))
			cli->json = true;
		else
			argv[n++] = argv[i];
	}
	argv[n] = NULL;
	*argc = n;
}

int main(int argc, char **argv)
{
	const char *no_color = getenv("NO_COLOR");
	struct cli cli = {
		.api = getenv("DORMOUSE_API"),
		.token_file = getenv("DORMOUSE_TOKEN_FILE"),
		.color = isatty(STDOUT_FILENO) && !(no_color && *no_color),
		.timeout_s = 30,
	};
	int r = parse_global(&cli, argc, argv);

	log_set_max_priority(LOG_ERR); /* how the loop does is no business of who asks */
	if (r)
		return r - 1;
	if (!cli.api || !*cli.api)
		cli.api = default_api;
	if (optind >= argc) {
		help(stderr);
		return CLI_USAGE;
	}
	const struct cli_command *c = find(argv[optind]);
	if (!c) {
		(void)cli_error("no command \"%s\"; see dormousectl --help", argv[optind]);
		return CLI_USAGE;
	}
	argc -= optind;
	argv += optind;
	optind = 0; /* glibc: start anew, for the command's own options */
	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		printf("usage: dormousectl %s %s\n%s\n", c->name, c->usage, c->summary);
		return CLI_OK;
	}
	take_json(&cli, &argc, argv);
	r = c->run(&cli, argc, argv);
	if (fflush(stdout) || ferror(stdout))
		return r ? r : cli_error("cannot write the result: is the disk full?");
	return r;
}
