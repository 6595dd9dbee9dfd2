/* cli/cli.h - dormousectl: what every command gets, and how it talks to people and programs.
 * One cmd_*.c per noun; cli/main.c holds the only list of commands. Errors go to stderr as
 * "dormousectl: what is wrong; what to do", results to stdout. One thread, blocking. */
#pragma once
#include "base/buf.h"

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,                        /* the daemon says no, cannot be reached, or a file cannot be read */
	CLI_USAGE = 2,
	CLI_REJECTED = 3,                      /* verify: judged, and refused; audit verify: does not fit */
	CLI_NOT_DECODABLE = 4,                 /* verify: not even an envelope */
	CLI_UNDECIDED = 5,                     /* verify: a fact is missing */
};

struct cli {
	const char *api;                       /* path of a Unix socket, or http(s)://host:port */
	const char *token_file, *ca_file;      /* NULL = none */
	bool json;                             /* print what the API said */
	bool color;
	unsigned timeout_s;
};

struct cli_command {
	const char *name;
	const char *usage;                     /* after the name, for --help */
	const char *summary;
	const char *words;                     /* verbs and options, separated by blanks: for completion */
	int (*run)(const struct cli *cli, int argc, char **argv);      /* argv[0] is the name; returns enum cli_exit */
};

int cmd_approve(const struct cli *cli, int argc, char **argv);
int cmd_audit(const struct cli *cli, int argc, char **argv);
int cmd_author(const struct cli *cli, int argc, char **argv);
int cmd_ble(const struct cli *cli, int argc, char **argv);
int cmd_completion(const struct cli *cli, int argc, char **argv);
int cmd_config(const struct cli *cli, int argc, char **argv);
int cmd_credentials(const struct cli *cli, int argc, char **argv);
int cmd_devices(const struct cli *cli, int argc, char **argv);
int cmd_endpoints(const struct cli *cli, int argc, char **argv);
int cmd_events(const struct cli *cli, int argc, char **argv);
int cmd_health(const struct cli *cli, int argc, char **argv);
int cmd_images(const struct cli *cli, int argc, char **argv);
int cmd_jobs(const struct cli *cli, int argc, char **argv);
int cmd_multicast(const struct cli *cli, int argc, char **argv);
int cmd_radios(const struct cli *cli, int argc, char **argv);
int cmd_recall(const struct cli *cli, int argc, char **argv);
int cmd_revocation(const struct cli *cli, int argc, char **argv);
int cmd_rollouts(const struct cli *cli, int argc, char **argv);
int cmd_sources(const struct cli *cli, int argc, char **argv);
int cmd_status(const struct cli *cli, int argc, char **argv);
int cmd_updates(const struct cli *cli, int argc, char **argv);
int cmd_verify(const struct cli *cli, int argc, char **argv);
int cmd_why_not(const struct cli *cli, int argc, char **argv);

extern const struct cli_command cli_commands[];                /* ends with name NULL */

/* The usage line of a command to stderr; returns CLI_USAGE. */
int cli_usage(const char *command);
/* "dormousectl: ..." to stderr; returns CLI_FAILED. */
int cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The verb argv[1], or fallback when there is none; the verb is taken out, so options follow argv[0]. */
const char *cli_verb(int *argc, char **argv, const char *fallback);
