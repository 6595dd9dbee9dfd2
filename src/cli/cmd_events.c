/* cli/cmd_events.c - what happens: the last events, and with -f what comes (Server-Sent Events of the API). */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/api.h"

enum { LINE_BYTES_MAX = 256 * 1024, QUIET_MS = 400 };

struct reader {
	const struct cli *cli;
	struct buf line, data;                 /* of the event being received */
};

static void print_event(const struct cli *cli, struct span json)
{
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;
	const struct column at = { "", "at", COL_TIME, NULL };
	char error[80];

	if (cli->json) {
		out_json(json);
		return;
	}
	if (json_parse(json, &doc, error, sizeof(error)) < 0)
		return; /* not ours to show */
	const char *event = json_get_str(json_root(doc), "event"), *text = json_get_str(json_root(doc), "text");
	out_cell(json_root(doc), &at);
	printf("  %-22s ", event ? event : "?");
	out_text(text ? text : "");
	putchar('\n');
}

static void end_line(struct reader *r)
{
	struct span s = buf_span(&r->line);

	if (s.n && s.p[s.n - 1] == '\r')
		s.n--;
	if (s.n == 0) {
		if (r->data.n)
			print_event(r->cli, buf_span(&r->data));
		buf_clear(&r->data);
	} else if (span_starts(s, SPAN_LIT("data:"))) {
		size_t skip = s.n > 5 && s.p[5] == ' ' ? 6 : 5;
		if (r->data.n)
			buf_add_str(&r->data, "\n");
		buf_add(&r->data, span_sub(s, skip, s.n));
	}
	buf_clear(&r->line);
}

static int on_piece(void *ctx, struct span data)
{
	struct reader *r = ctx;

	for (size_t i = 0; i < data.n; i++) {
		if (data.p[i] == '\n')
			end_line(r);
		else
			buf_add_u8(&r->line, data.p[i]);
	}
	if (!buf_ok(&r->line) || !buf_ok(&r->data))
		return -EMSGSIZE;
	if (fflush(stdout) != 0) {             /* nobody reads any more: end like any other filter */
		(void)signal(SIGPIPE, SIG_DFL);
		(void)raise(SIGPIPE);
	}
	return 0;
}

int cmd_events(const struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "follow", no_argument, NULL, 'f' },
		{ "kind", required_argument, NULL, 'k' },
		{ "last", required_argument, NULL, 'n' },
		{ NULL, 0, NULL, 0 },
	};
	struct reader r = { .cli = cli, .line = { .max = LINE_BYTES_MAX }, .data = { .max = LINE_BYTES_MAX } };
	_cleanup_buf_ struct buf path = { 0 };
	const char *kind = NULL, *last = "20";
	bool follow = false;
	int c;

	while ((c = getopt_long(argc, argv, "fn:", options, NULL)) != -1) {
		if (c == 'f')
			follow = true;
		else if (c == 'k')
			kind = optarg;
		else if (c == 'n')
			last = optarg;
		else
			return CLI_USAGE;
	}
	if (optind != argc)
		return cli_usage("events");
	buf_add_str(&path, "events");
	api_query_add(&path, "last", last);
	api_query_add(&path, "types", kind);
	int result = api_stream(cli, buf_str(&path), follow ? 0 : QUIET_MS, on_piece, &r);
	buf_done(&r.line);
	buf_done(&r.data);
	return result;
}
