/* cli/cmd_multicast.c - groups, and sessions that carry one image to many. */
#include <string.h>

#include "cli/api.h"

static const struct column group_columns[] = {
	{ "GROUP", "name", COL_TEXT, NULL },           { "INTERFACE", "interface", COL_TEXT, NULL },
	{ "UP", "is_up", COL_BOOL, NULL },             { "ADDRESS", "address", COL_TEXT, NULL },
	{ "PORT", "port", COL_TEXT, NULL },            { "KEY", "gid", COL_TEXT, NULL },
	{ "MEMBERS", "members", COL_TEXT, NULL },      { "SESSIONS", "sessions", COL_TEXT, NULL },
	{ "ERROR", "error", COL_TEXT, NULL },
};

static const struct column session_columns[] = {
	{ "SESSION", "id", COL_TEXT, NULL },           { "GROUP", "group", COL_TEXT, NULL },
	{ "UPDATE", "update", COL_SHORT, NULL },       { "PHASE", "phase", COL_STATE, NULL },
	{ "MEMBERS", "member_states", COL_COUNTS, NULL }, { "LOSS", "loss", COL_TEXT, NULL },
	{ "DEFICIT", "deficit", COL_TEXT, NULL },      { "FRAMES", "frames", COL_TEXT, NULL },
	{ "ROUND", "round", COL_TEXT, NULL },          { "RATIO", "ratio", COL_TEXT, NULL },
	{ "ETA", "eta_s", COL_SECONDS, NULL },
};

static const struct column member_columns[] = {
	{ "DEVICE", "device", COL_TEXT, NULL },        { "JOB", "job", COL_SHORT, NULL },
	{ "STATE", "state", COL_STATE, NULL },         { "DEFICIT", "deficit", COL_TEXT, NULL },
	{ "LOSS", "loss", COL_TEXT, NULL },            { "REPORTS", "reports", COL_TEXT, NULL },
	{ "UNICAST", "by_unicast", COL_BOOL, NULL },   { "WHY", "why", COL_TEXT, NULL },
};

#define COLUMNS(c_) (c_), sizeof(c_) / sizeof(*(c_))

static int act(const struct cli *cli, const char *noun, const char *id, const char *verb, const char *done)
{
	_cleanup_buf_ struct buf path = { 0 };

	buf_add_str(&path, noun);
	api_path_add(&path, id);
	buf_add_str(&path, verb);
	return api_do(cli, "POST", buf_str(&path), SPAN_NONE, done);
}

int cmd_multicast(const struct cli *cli, int argc, char **argv)
{
	static const struct {
		const char *verb, *noun, *path, *done;
	} acts[] = {
		{ "pause", "multicast/sessions/", "/pause", "paused" },
		{ "resume", "multicast/sessions/", "/resume", "goes on" },
		{ "abort", "multicast/sessions/", "/abort", "aborted; its members go on by unicast" },
		{ "rekey", "multicast/groups/", "/rekey", "its members get a new key with the next session" },
	};
	const char *verb = cli_verb(&argc, argv, "sessions");
	_cleanup_buf_ struct buf path = { 0 };

	if (!strcmp(verb, "sessions") && argc == 1)
		return api_list(cli, "multicast/sessions", COLUMNS(session_columns));
	if (!strcmp(verb, "groups") && argc == 1)
		return api_list(cli, "multicast/groups", COLUMNS(group_columns));
	if (argc != 2)
		return cli_usage("multicast");
	for (size_t i = 0; i < sizeof(acts) / sizeof(*acts); i++)
		if (!strcmp(verb, acts[i].verb))
			return act(cli, acts[i].noun, argv[1], acts[i].path, acts[i].done);
	buf_add_str(&path, "multicast/sessions/");
	api_path_add(&path, argv[1]);
	if (!strcmp(verb, "show"))
		return api_show(cli, buf_str(&path));
	if (strcmp(verb, "members") != 0)
		return cli_usage("multicast");
	buf_add_str(&path, "/members");
	return api_list(cli, buf_str(&path), COLUMNS(member_columns));
}
