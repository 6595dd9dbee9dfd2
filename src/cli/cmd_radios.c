/* cli/cmd_radios.c - radios below IPv6: 6LoWPAN, BLE, Thread. */
#include <string.h>

#include "cli/api.h"

static const struct column columns[] = {
	{ "RADIO", "name", COL_TEXT, NULL },           { "KIND", "kind", COL_TEXT, NULL },
	{ "UP", "is_up", COL_BOOL, NULL },             { "ADDRESS", "address", COL_TEXT, NULL },
	{ "PAN", "pan_id", COL_TEXT, NULL },           { "CHANNEL", "channel", COL_TEXT, NULL },
	{ "NEIGHBOURS", "neighbours", COL_TEXT, NULL }, { "BLOCK", "block_bytes", COL_TEXT, NULL },
	{ "AIRTIME/1000", "airtime_permille", COL_TEXT, NULL }, { "BUDGET/1000", "budget_permille", COL_TEXT, NULL },
	{ "BUDGET", "budget", COL_STATE, NULL },       { "STATE", "state", COL_TEXT, NULL },
};

int cmd_radios(const struct cli *cli, int argc, char **argv)
{
	const char *verb = cli_verb(&argc, argv, "list");
	_cleanup_buf_ struct buf path = { 0 };

	if (!strcmp(verb, "list") && argc == 1)
		return api_list(cli, "radios", columns, sizeof(columns) / sizeof(*columns));
	if (strcmp(verb, "show") != 0 || argc != 2)
		return cli_usage("radios");
	buf_add_str(&path, "radios/");
	api_path_add(&path, argv[1]);
	return api_show(cli, buf_str(&path));
}
