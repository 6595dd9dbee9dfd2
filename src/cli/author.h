/* cli/author.h - the algorithms an author may name, and the inspection of envelopes. */
#pragma once
#include "cli/cli.h"
#include "trust/sign.h"

/* "p256, p384, ed25519": kinds of key that keygen makes. */
const char *author_kind_names(void);
/* A kind by its name or by one of its algorithms: "p256", "es256", "esp256", ... -EINVAL. */
int author_kind_parse(const char *text, enum sign_key_kind *ret);
/* "es256, esp256, ...": COSE algorithms that sign can be told to use. */
const char *author_alg_names(void);
/* -EINVAL. */
int author_alg_parse(const char *text, int64_t *ret);

int author_inspect(const struct cli *cli, const char *path);
