/* cli/out.h - tables and key-value lists for people, made from the API's JSON. Peer text is
 * escaped on the way out, so that a device's name cannot paint the terminal. */
#pragma once
#include "cli/cli.h"
#include "codec/json.h"

enum column_kind {
	COL_TEXT,                              /* strings and numbers as they are */
	COL_SHORT,                             /* the first 12 characters: of digests and ids */
	COL_BYTES,                             /* 12.3 KiB */
	COL_TIME,                              /* RFC 3339 without milliseconds; "-" when never */
	COL_STATE,                             /* coloured by what it means */
	COL_BOOL,                              /* yes, no */
	COL_SECONDS,                           /* 2 h 05 min */
	COL_WORDS,                             /* a list of words: "device, admin" */
	COL_COUNTS,                            /* an object of numbers: "3 queued, 4 confirmed"; zeros are left out */
	COL_PROGRESS,                          /* "key" and "key2": sent of total, in per cent */
};

struct column {
	const char *title, *key;
	enum column_kind kind;
	const char *key2;
};

/* A table of items (an array of objects), then a line with the number of them. */
void out_table(const struct cli *cli, const struct json_value *items, const struct column *columns, size_t n_columns);
/* Every field of an object, one a line; objects and lists in it indented. */
void out_fields(const struct cli *cli, const struct json_value *object);
/* One cell, alone. */
void out_cell(const struct json_value *item, const struct column *col);
/* A word in the colour of what it means, when colours are on; else plain. */
void out_word(const struct cli *cli, const char *word);
/* Text from a peer, escaped. */
void out_text(const char *text);
/* Printed JSON with a newline. */
void out_json(struct span json);
