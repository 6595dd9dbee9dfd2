/* cli/cmd_events.c - what happened: the last events, and with -f what comes too (Server-Sent Events of the API). */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/api.h"

enum { LINE_BYTES_MAX = 256 * 1024, EVENTS_KEPT = 1000 };

struct reader {
	const struct cli *cli;
	struct buf line, data;                 /* of the event being received */
};

static void print_event(const struct cli *cli, const struct json_value *event)
{
	const struct column at = { "", "at", COL_TIME, NULL };
	_cleanup_buf_ struct buf line = { 0 };

	if (cli->json) {
		json_dump(event, false, &line);
		out_json(buf_span(&line));
		return;
	}
	const char *kind = json_get_str(event, "event"), *text = json_get_str(event, "text");
	out_cell(event, &at);
	printf("  %-22s ", kind ? kind : "?");
	out_text(text ? text : "");
	putchar('\n');
}

static void print_received(const struct cli *cli, struct span json)
{
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;
	char error[80];

	if (json_parse(json, &doc, error, sizeof(error)) == 0) /* else not ours to show */
		print_event(cli, json_root(doc));
}

static int show_last(const struct cli *cli, const char *last, const char *kind)
{
	__attribute__((cleanup(api_answer_done))) struct api_answer a = { 0 };
	_cleanup_buf_ struct buf path = { 0 };

	buf_add_str(&path, "events/recent");
	api_query_add(&path, "limit", last);
	api_query_add(&path, "types", kind);
	int r = api_call(cli, "GET", buf_str(&path), SPAN_NONE, &a);
	const struct json_value *items = r == CLI_OK && a.doc ? json_get(json_root(a.doc), "items") : NULL;
	for (size_t i = 0; items && i < json_n(items); i++)
		print_event(cli, json_get(json_at(items, i), "data"));
	return r;
}

static void end_line(struct reader *r)
{
	struct span s = buf_span(&r->line);

	if (s.n && s.p[s.n - 1] == '\r')
		s.n--;
	if (s.n == 0) {
		if (r->data.n)
			print_received(r->cli, buf_span(&r->data));
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
	uint64_t n;
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
	if (text_parse_u64(span_str(last), EVENTS_KEPT, &n, 0) < 0) {
		(void)cli_error("-n wants a number up to %d, not \"%s\"", EVENTS_KEPT, last);
		return CLI_USAGE;
	}
	if (!follow)
		return n ? show_last(cli, last, kind) : CLI_OK;
	buf_add_str(&path, "events");
	api_query_add(&path, "last", last);
	api_query_add(&path, "types", kind);
	int result = api_stream(cli, buf_str(&path), on_piece, &r);
	buf_done(&r.line);
	buf_done(&r.data);
	return result;
}
