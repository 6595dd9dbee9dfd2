#include "cli/api.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/files.h"
#include "codec/uri.h"
#include "io/http_client.h"

struct place {                                 /* what -s says */
	char *url;                             /* without the path */
	const char *socket;                    /* NULL = TCP */
	char *authorization;                   /* field value, or NULL */
};

static void place_done(struct place *p)
{
	free(p->url);
	if (p->authorization)
		mem_wipe(p->authorization, strlen(p->authorization));
	free(p->authorization);
}

static int read_token(const struct cli *cli, struct place *p)
{
	_cleanup_buf_ struct buf token = { 0 };

	if (!cli->token_file || !*cli->token_file)
		return 0;
	if (files_read_line(cli->token_file, &token) < 0)
		return -EINVAL;
	p->authorization = mem_printf("Bearer %s", buf_str(&token));
	mem_wipe(token.p, token.n);
	return 0;
}

static int place_of(const struct cli *cli, struct place *ret)
{
	const char *at = cli->api;

	*ret = (struct place){ 0 };
	if (!strncmp(at, "http://", 7) || !strncmp(at, "https://", 8)) {
		size_t n = strlen(at);
		while (n && at[n - 1] == '/')
			n--;
		ret->url = mem_strndup(SPAN(at, n));
	} else if (!strncmp(at, "unix:", 5) || strchr(at, '/') || !strchr(at, ':')) {
		ret->socket = at + (strncmp(at, "unix:", 5) ? 0 : 5);
		ret->url = mem_strdup("http://localhost");
	} else {
		ret->url = mem_printf("http://%s", at);
	}
	return read_token(cli, ret);
}

static int print_unreachable(const struct cli *cli, const struct place *p, int error, const char *text)
{
	struct stat st;
	bool is_there = !p->socket || stat(p->socket, &st) == 0;

	if (!is_there && errno == EACCES)
		return cli_error("%s: %s: this user may not administrate (group and mode of the socket's directory)", p->socket, strerror(errno));
	if (!is_there)
		return cli_error("%s: %s: is dormoused running? its http.listen names the socket; give it with -s", p->socket, strerror(errno));
	if (p->socket && access(p->socket, W_OK) < 0)
		return cli_error("%s: %s: this user may not administrate (http.socket_mode, group of the socket)", p->socket, strerror(errno));
	if (error == -ETIMEDOUT)
		return cli_error("%s did not answer within %u s (--timeout)", cli->api, cli->timeout_s);
	if (p->socket)                         /* the library speaks of a port of localhost then */
		return cli_error("cannot reach dormoused at %s: nothing answers on this socket; is it running?", p->socket);
	return cli_error("cannot reach dormoused at %s: %s; is it running?", cli->api, text && *text ? text : strerror(-error));
}

struct fetch {
	struct loop *loop;
	struct api_answer *answer;             /* NULL for a stream */
	int (*piece)(void *ctx, struct span data);
	void *ctx;
	int error, status;
	char error_text[200];
};

static void on_fetched(void *ctx, const struct http_fetch_result *res)
{
	struct fetch *f = ctx;

	f->error = res->error;
	if (res->error_text)
		(void)snprintf(f->error_text, sizeof(f->error_text), "%s", res->error_text); /* cut is fine */
	f->status = res->status;
	if (f->answer) {
		f->answer->status = res->status;
		buf_add(&f->answer->body, res->body);
	}
	loop_stop(f->loop);
}

static int on_piece(void *ctx, uint64_t off, struct span data)
{
	struct fetch *f = ctx;

	return f->piece(f->ctx, data);
}

static int run(struct fetch *f, const struct http_fetch_request *req)
{
	struct http_client *client;
	int r;

	f->loop = loop_new();
	client = http_client_new(f->loop);
	if (!client) {
		loop_free(f->loop);
		return -ENOTSUP;
	}
	r = http_fetch(client, req, on_fetched, f, NULL);
	if (r >= 0)
		r = loop_run(f->loop);
	int error = f->error;                  /* freeing cancels what still runs */
	http_client_free(client);
	loop_free(f->loop);
	(void)signal(SIGPIPE, SIG_DFL);        /* the loop ignores it; a command whose reader is gone ends like any other */
	return r < 0 ? r : error;
}

static int fetch(const struct cli *cli, const char *method, const char *path, struct span body, struct fetch *f)
{
	struct place p;
	_cleanup_free_ char *url = NULL;
	int r = place_of(cli, &p);

	if (r < 0) {
		place_done(&p);
		return CLI_FAILED;
	}
	url = mem_printf("%s/api/v1/%s", p.url, path);
	const struct http_fetch_request req = {
		.url = url, .method = method, .authorization = p.authorization, .unix_socket = p.socket, .ca_file = cli->ca_file,
		.allow_http = true, .allow_private = true,
		.post = body, .post_type = body.n ? "application/json" : NULL, .accept = "application/json, application/problem+json",
		.max_bytes = f->piece ? UINT64_MAX : API_ANSWER_BYTES_MAX,
		.timeout_ms = f->piece ? UINT_MAX : cli->timeout_s * 1000, .stall_ms = f->piece ? UINT_MAX : cli->timeout_s * 1000,
		.piece = f->piece ? on_piece : NULL,
	};
	r = run(f, &req);
	if (r < 0 && !(f->piece && r == -ECANCELED))
		r = print_unreachable(cli, &p, r, f->error_text);
	else
		r = CLI_OK;
	place_done(&p);
	return r;
}

void api_answer_done(struct api_answer *a)
{
	buf_done(&a->body);
	a->doc = json_doc_free(a->doc);
}

int api_call_quietly(const struct cli *cli, const char *method, const char *path, struct span body, struct api_answer *ret)
{
	struct fetch f = { .answer = ret };

	*ret = (struct api_answer){ .body = { .max = API_ANSWER_BYTES_MAX } };
	int r = fetch(cli, method, path, body, &f);
	if (r == CLI_OK && ret->body.n && (ret->body.p[0] == '{' || ret->body.p[0] == '['))
		(void)json_parse(buf_span(&ret->body), &ret->doc, NULL, 0); /* not JSON: doc stays NULL */
	return r;
}

int api_print_problem(const struct api_answer *a)
{
	const char *detail = a->doc ? json_get_str(json_root(a->doc), "detail") : NULL;

	fputs("dormousectl: ", stderr);
	fflush(stderr);
	if (detail) {
		_cleanup_buf_ struct buf b = { 0 };
		text_add_escaped(&b, span_str(detail), 1024);
		fprintf(stderr, "%s\n", buf_str(&b));
	} else if (a->status == 401) {
		fputs("the daemon wants a token: --token-file FILE or $DORMOUSE_TOKEN_FILE\n", stderr);
	} else if (a->status == 404) {
		fputs("not found\n", stderr);
	} else {
		fprintf(stderr, "the daemon answered with status %d\n", a->status);
	}
	return CLI_FAILED;
}

int api_call(const struct cli *cli, const char *method, const char *path, struct span body, struct api_answer *ret)
{
	int r = api_call_quietly(cli, method, path, body, ret);

	if (r == CLI_OK && ret->status >= 400)
		return api_print_problem(ret);
	return r;
}

void api_path_add(struct buf *path, const char *text)
{
	uri_encode(span_str(text), "", path);
}

void api_query_add(struct buf *path, const char *key, const char *value)
{
	if (!value)
		return;
	buf_printf(path, "%c%s=", path->n && memchr(path->p, '?', path->n) ? '&' : '?', key);
	api_path_add(path, value);
}

/* One page onto the pile of items; *ret_next is the cursor of the next, empty at the end. */
static int take_page(const struct cli *cli, const char *path, const char *after, struct buf *items, uint64_t *ret_total, struct buf *ret_next)
{
	__attribute__((cleanup(api_answer_done))) struct api_answer a = { 0 };
	_cleanup_buf_ struct buf url = { 0 };
	int64_t total;

	buf_add_str(&url, path);
	api_query_add(&url, "limit", "1000");
	api_query_add(&url, "after", after);
	int r = api_call(cli, "GET", buf_str(&url), SPAN_NONE, &a);
	if (r != CLI_OK)
		return r;
	const struct json_value *list = a.doc ? json_get(json_root(a.doc), "items") : NULL;
	if (!list || !json_is_array(list))
		return cli_error("this is not a list of the API: is %s dormoused?", cli->api);
	for (size_t i = 0; i < json_n(list); i++) {
		if (items->n > 1)
			buf_add_str(items, ",");
		json_dump(json_at(list, i), false, items);
	}
	*ret_total = json_get_int(json_root(a.doc), "total", &total) && total >= 0 ? (uint64_t)total : 0;
	buf_clear(ret_next);
	if (json_get_str(json_root(a.doc), "next"))
		buf_add_str(ret_next, json_get_str(json_root(a.doc), "next"));
	return CLI_OK;
}

static int take_list(const struct cli *cli, const char *path, struct buf *items, uint64_t *ret_total)
{
	_cleanup_buf_ struct buf next = { 0 }, after = { 0 };

	buf_add_str(items, "[");
	for (unsigned page = 0; page < API_PAGES_MAX; page++) {
		int r = take_page(cli, path, after.n ? buf_str(&after) : NULL, items, ret_total, &next);
		if (r != CLI_OK)
			return r;
		if (!next.n || span_eq(buf_span(&next), buf_span(&after)))
			break;
		buf_clear(&after);
		buf_add(&after, buf_span(&next));
	}
	buf_add_str(items, "]");
	return buf_ok(items) ? CLI_OK : cli_error("the list is too large to hold: narrow it");
}

int api_list(const struct cli *cli, const char *path, const struct column *columns, size_t n_columns)
{
	_cleanup_buf_ struct buf items = { 0 };
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;
	uint64_t total = 0;
	char error[120];

	int r = take_list(cli, path, &items, &total);
	if (r != CLI_OK)
		return r;
	if (cli->json) {
		printf("{\"items\":%s,\"total\":%llu,\"next\":null}\n", buf_str(&items), (unsigned long long)total);
		return CLI_OK;
	}
	if (json_parse(buf_span(&items), &doc, error, sizeof(error)) < 0)
		return cli_error("cannot read the list: %s", error);
	out_table(cli, json_root(doc), columns, n_columns);
	return CLI_OK;
}

int api_show(const struct cli *cli, const char *path)
{
	__attribute__((cleanup(api_answer_done))) struct api_answer a = { 0 };
	int r = api_call(cli, "GET", path, SPAN_NONE, &a);

	if (r != CLI_OK)
		return r;
	if (cli->json || !a.doc)
		out_json(buf_span(&a.body));
	else
		out_fields(cli, json_root(a.doc));
	return CLI_OK;
}

int api_do(const struct cli *cli, const char *method, const char *path, struct span body, const char *done)
{
	__attribute__((cleanup(api_answer_done))) struct api_answer a = { 0 };
	int r = api_call(cli, method, path, body, &a);

	if (r != CLI_OK)
		return r;
	if (cli->json)
		out_json(buf_span(&a.body));
	else
		puts(done);
	return CLI_OK;
}

int api_stream(const struct cli *cli, const char *path, int (*piece)(void *ctx, struct span data), void *ctx)
{
	struct fetch f = { .piece = piece, .ctx = ctx };
	int r = fetch(cli, "GET", path, SPAN_NONE, &f);

	if (r == CLI_OK && f.status >= 400)
		return api_print_problem(&(struct api_answer){ .status = f.status });
	return r;
}
