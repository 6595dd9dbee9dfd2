/* cli/cmd_sources.c - where updates come from. */
#include <string.h>

#include "cli/api.h"

static const struct column columns[] = {
	{ "SOURCE", "name", COL_TEXT, NULL },          { "KIND", "kind", COL_TEXT, NULL },
	{ "OK", "is_ok", COL_BOOL, NULL },             { "POLLED", "polled_at", COL_TIME, NULL },
	{ "NEXT", "next_poll_at", COL_TIME, NULL },    { "LOCATION", "location", COL_TEXT, NULL },
	{ "ERROR", "error", COL_TEXT, NULL },
};

int cmd_sources(const struct cli *cli, int argc, char **argv)
{
	const char *verb = cli_verb(&argc, argv, "list");
	_cleanup_buf_ struct buf path = { 0 };

	if (!strcmp(verb, "list") && argc == 1)
		return api_list(cli, "sources", columns, sizeof(columns) / sizeof(*columns));
	if (strcmp(verb, "poll") != 0 || argc != 2)
		return cli_usage("sources");
	buf_add_str(&path, "sources/");
	api_path_add(&path, argv[1]);
	buf_add_str(&path, "/poll");
	return api_do(cli, "POST", buf_str(&path), SPAN_NONE, "polling");
}
