/* config/load.h - inside of config_load(): the state of one loading, and where each value came from, so that
 * the checks across keys (config/check.h) can point at a line. */
#pragma once
#include "config/schema.h"

struct loader_origin {
	const void *field;                     /* in the config being filled; its elements do not move while loading */
	const char *file;
	unsigned line;
	bool bad;                              /* refused already; checks that build on it keep quiet */
};

struct loader {
	struct config *c;
	struct buf *error;
	unsigned n_errors;
	struct loader_origin *origins;
	size_t n_origins, cap_origins;
};

/* One line of error, at the place of field, or at the config file itself when it stands at its default.
 * path: the key, "coap.cert_file". */
void loader_error(struct loader *l, const void *field, const char *path, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Neither refused already nor, when it must_be_set, left at its default. */
bool loader_is_good(const struct loader *l, const void *field);
bool loader_is_set(const struct loader *l, const void *field);

/* As config_load(), for text in memory and without drop-ins. file names it and says where relative paths start. */
int config_parse(struct span text, const char *file, struct config **ret, struct buf *error);
