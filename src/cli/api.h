/* cli/api.h - the daemon's HTTP API (man dormouse-rest.7), asked and answered one call at a time: over its Unix
 * socket or a URL. Everything that goes wrong is printed with what to do about it; the functions return
 * enum cli_exit. */
#pragma once
#include "cli/cli.h"
#include "cli/out.h"

enum { API_ANSWER_BYTES_MAX = 64 * 1024 * 1024, API_PAGES_MAX = 10000 };

struct api_answer {
	int status;
	struct buf body;
	struct json_doc *doc;                  /* NULL when the body is not JSON */
};
void api_answer_done(struct api_answer *a);

/* method: GET POST PUT DELETE. path: below /api/v1/, escaped (api_path_add). body: JSON, or empty. Statuses of 400 and
 * more are printed and CLI_FAILED, with ret filled all the same. */
int api_call(const struct cli *cli, const char *method, const char *path, struct span body, struct api_answer *ret);
/* Without the printing of statuses. */
int api_call_quietly(const struct cli *cli, const char *method, const char *path, struct span body, struct api_answer *ret);
/* Prints "detail" of a problem, or what the status means. */
int api_print_problem(const struct api_answer *a);

/* Appends text with everything but unreserved characters escaped. */
void api_path_add(struct buf *path, const char *text);
/* "?key=value" or "&key=value"; nothing when value is NULL. */
void api_query_add(struct buf *path, const char *key, const char *value);

/* A whole list, page by page, as a table; with --json as one {"items":[...],"total":N,"next":null}. */
int api_list(const struct cli *cli, const char *path, const struct column *columns, size_t n_columns);
/* One object as fields, or as JSON. */
int api_show(const struct cli *cli, const char *path);
/* A call whose answer needs no showing: prints done, or the JSON. */
int api_do(const struct cli *cli, const char *method, const char *path, struct span body, const char *done);

/* An endless answer: piece() gets it as it comes; -ECANCELED from it ends it well. */
int api_stream(const struct cli *cli, const char *path, int (*piece)(void *ctx, struct span data), void *ctx);
