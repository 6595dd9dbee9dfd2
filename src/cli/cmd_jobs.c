/* cli/cmd_jobs.c - jobs and rollouts. */
#include <getopt.h>
#include <string.h>

#include "cli/api.h"

static const struct column job_columns[] = {
	{ "JOB", "id", COL_SHORT, NULL },              { "DEVICE", "device", COL_TEXT, NULL },
	{ "UPDATE", "update", COL_SHORT, NULL },       { "STATE", "state", COL_STATE, NULL },
	{ "SENT", "sent_bytes", COL_PROGRESS, "total_bytes" }, { "TRIES", "attempts", COL_TEXT, NULL },
	{ "SINCE", "state_at", COL_TIME, NULL },       { "REASON", "reason", COL_TEXT, NULL },
};

static const struct column rollout_columns[] = {
	{ "ROLLOUT", "id", COL_SHORT, NULL },          { "UPDATE", "update", COL_SHORT, NULL },
	{ "STATE", "state", COL_STATE, NULL },         { "SINCE", "state_at", COL_TIME, NULL },
	{ "JOBS", "jobs", COL_COUNTS, NULL },
};

static int list_jobs(const struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "state", required_argument, NULL, 's' },
		{ "device", required_argument, NULL, 'd' },
		{ "update", required_argument, NULL, 'u' },
		{ NULL, 0, NULL, 0 },
	};
	_cleanup_buf_ struct buf path = { 0 };
	int c;

	buf_add_str(&path, "jobs");
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?')
			return CLI_USAGE;
		api_query_add(&path, c == 's' ? "state" : c == 'd' ? "device" : "update", optarg);
	}
	if (optind != argc)
		return cli_usage("jobs");
	return api_list(cli, buf_str(&path), job_columns, sizeof(job_columns) / sizeof(*job_columns));
}

int cmd_jobs(const struct cli *cli, int argc, char **argv)
{
	const char *verb = cli_verb(&argc, argv, "list");
	_cleanup_buf_ struct buf path = { 0 };

	if (!strcmp(verb, "list"))
		return list_jobs(cli, argc, argv);
	if (argc != 2)
		return cli_usage("jobs");
	buf_add_str(&path, "jobs/");
	api_path_add(&path, argv[1]);
	if (!strcmp(verb, "show"))
		return api_show(cli, buf_str(&path));
	bool retry = !strcmp(verb, "retry");
	if (!retry && strcmp(verb, "cancel") != 0)
		return cli_usage("jobs");
	buf_add_str(&path, retry ? "/retry" : "/cancel");
	return api_do(cli, "POST", buf_str(&path), SPAN_NONE, retry ? "queued again" : "cancelled");
}

int cmd_rollouts(const struct cli *cli, int argc, char **argv)
{
	const char *verb = cli_verb(&argc, argv, "list");
	_cleanup_buf_ struct buf path = { 0 };

	if (!strcmp(verb, "list") && argc == 1)
		return api_list(cli, "rollouts", rollout_columns, sizeof(rollout_columns) / sizeof(*rollout_columns));
	if (strcmp(verb, "show") != 0 || argc != 2)
		return cli_usage("rollouts");
	buf_add_str(&path, "rollouts/");
	api_path_add(&path, argv[1]);
	return api_show(cli, buf_str(&path));
}
