/* cli/cmd_status.c - status, health, config reload: the daemon itself. */
#include <stdio.h>
#include <string.h>

#include "cli/api.h"

int cmd_status(const struct cli *cli, int argc, char **argv)
{
	return argc == 1 ? api_show(cli, "status") : cli_usage("status");
}

static void print_problems(const struct json_value *root)
{
	const struct json_value *problems = json_get(root, "problems");

	for (size_t i = 0; problems && i < json_n(problems); i++) {
		const struct json_value *p = json_at(problems, i);
		out_text(json_get_str(p, "what") ? json_get_str(p, "what") : "?");
		fputs(": ", stdout);
		out_text(json_get_str(p, "text") ? json_get_str(p, "text") : "?");
		putchar('\n');
	}
}

int cmd_health(const struct cli *cli, int argc, char **argv)
{
	__attribute__((cleanup(api_answer_done))) struct api_answer a = { 0 };

	if (argc != 1)
		return cli_usage("health");
	int r = api_call_quietly(cli, "GET", "health", SPAN_NONE, &a);
	if (r != CLI_OK)
		return r;
	if (!a.doc || (a.status != 200 && a.status != 503))
		return api_print_problem(&a);
	if (cli->json) {
		out_json(buf_span(&a.body));
	} else {
		print_problems(json_root(a.doc));
		out_word(cli, a.status == 200 ? "healthy" : "degraded");
		putchar('\n');
	}
	return a.status == 200 ? CLI_OK : CLI_FAILED;
}

int cmd_config(const struct cli *cli, int argc, char **argv)
{
	__attribute__((cleanup(api_answer_done))) struct api_answer a = { 0 };

	if (argc != 2 || strcmp(argv[1], "reload") != 0)
		return cli_usage("config");
	int r = api_call(cli, "POST", "reload", SPAN_NONE, &a);
	if (r != CLI_OK)
		return r;
	const char *changes = a.doc ? json_get_str(json_root(a.doc), "changes") : NULL;
	if (cli->json || !changes)
		out_json(buf_span(&a.body));
	else
		fputs(*changes ? changes : "read again; nothing changed\n", stdout);
	return CLI_OK;
}
