/* cli/cmd_updates.c - updates, approve, recall, images, why-not. An update is named by its id, or by the first digits of it. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/api.h"
#include "codec/json.h"

static const struct column update_columns[] = {
	{ "UPDATE", "id", COL_SHORT, NULL },           { "STATE", "state", COL_STATE, NULL },
	{ "SEQ", "sequence", COL_TEXT, NULL },         { "VERSION", "version", COL_TEXT, NULL },
	{ "APPROVED", "approved", COL_BOOL, NULL },    { "SOURCE", "source", COL_TEXT, NULL },
	{ "ANCHOR", "anchor", COL_TEXT, NULL },        { "FOUND", "found_at", COL_TIME, NULL },
	{ "REASON", "reason", COL_TEXT, NULL },
};

static const struct column image_columns[] = {
	{ "IMAGE", "digest", COL_SHORT, NULL },        { "SIZE", "bytes", COL_BYTES, NULL },
	{ "VERIFIED", "is_verified", COL_BOOL, NULL }, { "IN USE BY", "pins", COL_TEXT, NULL },
	{ "USED", "used_at", COL_TIME, NULL },
};

static int list_updates(const struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { { "state", required_argument, NULL, 's' }, { NULL, 0, NULL, 0 } };
	_cleanup_buf_ struct buf path = { 0 };
	const char *state = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 's')
			return CLI_USAGE;
		state = optarg;
	}
	if (optind != argc)
		return cli_usage("updates");
	buf_add_str(&path, "updates");
	api_query_add(&path, "state", state);
	return api_list(cli, buf_str(&path), update_columns, sizeof(update_columns) / sizeof(*update_columns));
}

static void update_path(struct buf *path, const char *id, const char *below)
{
	buf_add_str(path, "updates/");
	api_path_add(path, id);
	buf_add_str(path, below);
}

static void print_rule(const struct cli *cli, const struct json_value *rule)
{
	const char *outcome = json_get_str(rule, "outcome"), *id = json_get_str(rule, "id"), *name = json_get_str(rule, "name"),
		   *evidence = json_get_str(rule, "evidence");

	out_word(cli, outcome ? outcome : "?");
	printf("%*s%-6s ", outcome && strlen(outcome) < 10 ? (int)(10 - strlen(outcome)) : 1, "", id ? id : "");
	out_text(name ? name : "");
	fputs(": ", stdout);
	out_text(evidence ? evidence : "");
	putchar('\n');
}

static int show_verdict(const struct cli *cli, const char *id)
{
	__attribute__((cleanup(api_answer_done))) struct api_answer a = { 0 };
	_cleanup_buf_ struct buf path = { 0 };

	update_path(&path, id, "/verdict");
	int r = api_call(cli, "GET", buf_str(&path), SPAN_NONE, &a);
	if (r != CLI_OK)
		return r;
	const struct json_value *rules = a.doc ? json_get(json_root(a.doc), "rules") : NULL;
	if (cli->json || !rules) {
		out_json(buf_span(&a.body));
		return CLI_OK;
	}
	out_word(cli, json_get_str(json_root(a.doc), "outcome") ? json_get_str(json_root(a.doc), "outcome") : "?");
	putchar('\n');
	for (size_t i = 0; i < json_n(rules); i++)
		print_rule(cli, json_at(rules, i));
	return CLI_OK;
}

/* The update, then its verdict. */
static int show_update(const struct cli *cli, const char *id)
{
	_cleanup_buf_ struct buf path = { 0 };

	update_path(&path, id, "");
	int r = api_show(cli, buf_str(&path));
	if (r != CLI_OK || cli->json)
		return r;
	fputs("verdict:         ", stdout);
	return show_verdict(cli, id);
}

int cmd_updates(const struct cli *cli, int argc, char **argv)
{
	const char *verb = cli_verb(&argc, argv, "list");

	if (!strcmp(verb, "list"))
		return list_updates(cli, argc, argv);
	if (!strcmp(verb, "show") && argc == 2)
		return show_update(cli, argv[1]);
	if (!strcmp(verb, "verdict") && argc == 2)
		return show_verdict(cli, argv[1]);
	return cli_usage("updates");
}

int cmd_approve(const struct cli *cli, int argc, char **argv)
{
	_cleanup_buf_ struct buf path = { 0 };

	if (argc != 2)
		return cli_usage("approve");
	update_path(&path, argv[1], "/approve");
	return api_do(cli, "POST", buf_str(&path), SPAN_NONE, "approved");
}

int cmd_recall(const struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { { "reason", required_argument, NULL, 'r' }, { NULL, 0, NULL, 0 } };
	_cleanup_buf_ struct buf path = { 0 }, body = { 0 };
	const char *reason = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 'r')
			return CLI_USAGE;
		reason = optarg;
	}
	if (optind + 1 != argc)
		return cli_usage("recall");
	if (!reason || !*reason)
		return cli_error("recall wants --reason TEXT: it stands in the audit log and in every stopped job");
	struct json_out j = json_writer(&body);
	json_open_object(&j, NULL);
	json_str(&j, "reason", reason);
	json_close_object(&j);
	update_path(&path, argv[optind], "/recall");
	return api_do(cli, "POST", buf_str(&path), buf_span(&body), "recalled");
}

int cmd_images(const struct cli *cli, int argc, char **argv)
{
	const char *verb = cli_verb(&argc, argv, "list");

	if (strcmp(verb, "list") != 0 || argc != 1)
		return cli_usage("images");
	return api_list(cli, "images", image_columns, sizeof(image_columns) / sizeof(*image_columns));
}

static void print_block(const struct cli *cli, const struct json_value *b)
{
	bool is_wait = false;

	(void)json_get_bool(b, "is_wait", &is_wait); /* absent = a block */
	out_word(cli, is_wait ? "waiting" : "stopped");
	printf("  %s: ", json_get_str(b, "rule") ? json_get_str(b, "rule") : "?");
	out_text(json_get_str(b, "text") ? json_get_str(b, "text") : "");
	putchar('\n');
}

static void print_why_not(const struct cli *cli, const struct json_value *root)
{
	const struct json_value *blocks = json_get(root, "blocks"), *job = json_get(root, "job"), *way = json_get(root, "way");
	bool allowed = false;

	for (size_t i = 0; blocks && i < json_n(blocks); i++)
		print_block(cli, json_at(blocks, i));
	if (json_get_bool(root, "allowed", &allowed) && allowed)
		puts("nothing keeps this update from this device");
	if (way && json_get_str(way, "text")) {
		fputs("way: ", stdout);
		out_text(json_get_str(way, "text"));
		putchar('\n');
	}
	if (job && json_get_str(job, "state")) {
		printf("job %s: ", json_get_str(job, "id") ? json_get_str(job, "id") : "?");
		out_word(cli, json_get_str(job, "state"));
		putchar(' ');
		out_text(json_get_str(job, "reason") ? json_get_str(job, "reason") : "");
		putchar('\n');
	}
}

int cmd_why_not(const struct cli *cli, int argc, char **argv)
{
	__attribute__((cleanup(api_answer_done))) struct api_answer a = { 0 };
	_cleanup_buf_ struct buf path = { 0 };

	if (argc != 3)
		return cli_usage("why-not");
	buf_add_str(&path, "why-not");
	api_query_add(&path, "device", argv[1]);
	api_query_add(&path, "update", argv[2]);
	int r = api_call(cli, "GET", buf_str(&path), SPAN_NONE, &a);
	if (r != CLI_OK)
		return r;
	if (cli->json || !a.doc)
		out_json(buf_span(&a.body));
	else
		print_why_not(cli, json_root(a.doc));
	return CLI_OK;
}

int cmd_revocation(const struct cli *cli, int argc, char **argv)
{
	if (argc != 2 || strcmp(argv[1], "refresh") != 0)
		return cli_usage("revocation");
	return api_do(cli, "POST", "revocation/refresh", SPAN_NONE, "asked");
}
